//! The accept loop of one listener, for any protocol: a session is a function of a stream and a shard.
//!
//! **Promise.** Never more connections than the process allows: one too many is closed at once, before it costs
//! anything. Running out of descriptors pauses accepting and ends nothing. After a stop no connection is accepted, and
//! the loop returns when those it accepted have been answered and closed.
//!
//! **Invariants.** Each connection lives on the shard that accepted it. The count of open connections is the only thing
//! shared between shards here, touched once per accept and close.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_lite::future::or;

use crate::runtime::executor;
use crate::runtime::local::Notify;
use crate::runtime::net::{Listener, Stream};
use crate::shard::{Shard, count};

/// Pause after `accept` failed: what it lacked (descriptors, memory) needs a moment to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Most connections the process holds, shared by all its doors.
#[derive(Clone, Debug)]
pub struct ConnectionLimit {
    open: Arc<AtomicUsize>,
    max: usize,
}

impl ConnectionLimit {
    /// At most `max` connections, counted in `open`.
    #[must_use]
    pub const fn new(open: Arc<AtomicUsize>, max: usize) -> Self {
        Self { open, max }
    }

    /// A place for one connection, if there is one.
    fn enter(&self) -> Option<ConnectionPlace> {
        let more = |open: usize| (open < self.max).then(|| open + 1);
        // Relaxed: the number orders nothing else.
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()
            .map(|_| ConnectionPlace(Arc::clone(&self.open)))
    }
}

/// One connection's place; free again when dropped.
struct ConnectionPlace(Arc<AtomicUsize>);

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sessions of this listener.
#[derive(Default)]
struct Sessions {
    open: Cell<usize>,
    ended: Notify,
}

/// Accepts and serves connections until the shard stops, then waits for those it accepted to end; the caller bounds
/// that wait if it must (a peer that never reads is given up after half a minute).
pub(in crate::protocol) async fn serve<S, F>(
    listener: Listener,
    shard: Rc<Shard>,
    connections: ConnectionLimit,
    session: S,
) where
    S: Fn(Stream, Rc<Shard>) -> F,
    F: Future<Output = ()> + 'static,
{
    let sessions = Rc::new(Sessions::default());
    let stop = shard.stop_signal();
    let mut stopping = std::pin::pin!(stop.wait());
    while !shard.is_stopping() {
        let accepted = or(
            async {
                stopping.as_mut().await;
                None
            },
            async { Some(listener.accept().await) },
        )
        .await;
        match accepted {
            None => break,
            Some(Ok(stream)) => {
                if let Some(place) = connections.enter() {
                    let session = session(stream, Rc::clone(&shard));
                    admit(session, place, &shard, &sessions);
                } else {
                    count(&shard.probe().connections_refused, 1);
                }
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "accepting a connection failed");
                executor::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while sessions.open.get() > 0 {
        sessions.ended.notified().await;
    }
}

/// Starts a session in a task of its own.
fn admit(
    session: impl Future<Output = ()> + 'static,
    place: ConnectionPlace,
    shard: &Rc<Shard>,
    sessions: &Rc<Sessions>,
) {
    let probe = shard.probe();
    count(&probe.connections_total, 1);
    count(&probe.connections_open, 1);
    sessions.open.set(sessions.open.get() + 1);
    let (shard, sessions) = (Rc::clone(shard), Rc::clone(sessions));
    executor::spawn(async move {
        session.await;
        drop(place);
        let open = &shard.probe().connections_open;
        open.set(open.get().saturating_sub(1));
        sessions.open.set(sessions.open.get() - 1);
        sessions.ended.notify();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let open = Arc::new(AtomicUsize::new(0));
        let limit = ConnectionLimit::new(Arc::clone(&open), 2);
        let (first, second) = (limit.enter(), limit.enter());
        assert!(first.is_some() && second.is_some());
        assert!(limit.enter().is_none());
        drop(first);
        assert!(limit.enter().is_some());
        drop(second);
        assert_eq!(open.load(Ordering::Relaxed), 0);
    }
}
