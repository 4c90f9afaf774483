//! Deadlines of one thread in their order. The nearest is the time limit of the next sleep in the kernel.
//!
//! A timer costs an entry in a tree and no system call. One thread.

use super::super::clock::{self, Mono};
use super::Reactor;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A deadline; the number keeps equal ones apart.
type Key = (Mono, u64);

/// See the module.
#[derive(Default)]
pub(super) struct Timers {
    queue: RefCell<BTreeMap<Key, Waker>>,
    next: Cell<u64>,
}

impl Timers {
    /// Time until the nearest deadline.
    pub(super) fn nearest(&self) -> Option<Duration> {
        let (deadline, _) = *self.queue.borrow().first_key_value()?.0;
        Some(deadline.since(clock::now()))
    }

    /// Wakes whose deadline has passed; whether there was one.
    pub(super) fn fire(&self) -> bool {
        if self.queue.borrow().is_empty() {
            return false;
        }
        let now = clock::now();
        let mut fired = false;
        loop {
            let mut queue = self.queue.borrow_mut();
            let Some(first) = queue.first_entry().filter(|first| first.key().0 <= now) else {
                return fired;
            };
            let waker = first.remove();
            // Released first: waking may run code that comes back here.
            drop(queue);
            waker.wake();
            fired = true;
        }
    }
}

/// Ready at its deadline.
pub(in crate::runtime) struct Sleep {
    reactor: Reactor,
    deadline: Mono,
    key: Option<Key>,
}

impl Sleep {
    /// Waits until `deadline`, on the calling thread's ring.
    pub(in crate::runtime) fn until(deadline: Mono) -> Self {
        Self {
            reactor: Reactor::here(),
            deadline,
            key: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.deadline <= clock::now() {
            return Poll::Ready(());
        }
        let timers = &self.reactor.0.timers;
        let key = self.key.unwrap_or_else(|| {
            let number = timers.next.get();
            timers.next.set(number + 1);
            (self.deadline, number)
        });
        timers.queue.borrow_mut().insert(key, cx.waker().clone());
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let removed = self.reactor.0.timers.queue.borrow_mut().remove(&key);
            drop(removed);
        }
    }
}
