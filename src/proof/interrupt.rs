//! Ctrl-C, as a flag: what runs looks at it between two steps and cleans up behind itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::runtime::clock::{block_for, now};
use crate::runtime::executor::spawn_thread;

/// Whether somebody wants to stop. Copies of it agree.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// A flag that SIGINT and SIGTERM set from now on, instead of ending the process.
    ///
    /// # Errors
    /// When the process may not listen to signals.
    pub fn on_signals() -> io::Result<Self> {
        let flag = Self::default();
        let set = flag.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let _inside = runtime.enter();
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(_inside);
        spawn_thread("signals", move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            set.set();
        })?;
        Ok(flag)
    }

    /// Sets it, for good.
    pub fn set(&self) {
        // Pairs with nothing: whoever sees it late looks again soon.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps so long, or until it is set.
    pub fn sleep(&self, duration: Duration) {
        let until = now().after(duration);
        loop {
            let left = until.since(now());
            if left.is_zero() || self.is_set() {
                return;
            }
            block_for(left.min(LOOK_EVERY));
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(20);
