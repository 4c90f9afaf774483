//! The task that runs when no other does, and puts the thread to sleep.
//!
//! It is always runnable, so the executor below never thinks of sleeping itself: its own way to sleep costs several
//! system calls, and it may take it while tasks are runnable. The idler's turn comes after every task that was runnable.
//! When none but itself ran since its last turn, nothing is left to do here: it submits what was queued and waits, in
//! one system call. Completions, deadlines and other threads make tasks runnable, and the round begins again.
//!
//! **Promise.** The kernel is entered at least every [`ROUNDS_MAX`] rounds, however busy the tasks are. A thread with nothing
//! to do uses no CPU. While it spins ([`PollMode::Spin`]) it yields the core if the disk has work, because the kernel's own
//! threads need it for that.

use super::super::clock;
use super::super::executor::PollMode;
use super::{Inner, Reactor};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Rounds of the run queue without an enter. One request needs about three (reader, writer, answer), which should share
/// one enter.
const ROUNDS_MAX: u32 = 4;

thread_local! {
    /// Polls of tasks of this thread; wraps.
    static POLLS: Cell<u64> = const { Cell::new(0) };
}

/// Notes that a task is polled. All tasks do, or the thread would sleep while they are runnable.
pub(in crate::runtime) fn count_poll() {
    POLLS.set(POLLS.get().wrapping_add(1));
}

/// See the module.
pub(in crate::runtime) struct Idler {
    inner: Rc<Inner>,
    poll: PollMode,
    polls_seen: u64,
    rounds: u32,
}

impl Idler {
    pub(in crate::runtime) fn new(reactor: &Reactor, poll: PollMode) -> Self {
        Self {
            inner: Rc::clone(&reactor.0),
            poll,
            // The executor polls a task as it is spawned, when whoever spawns it has not had its own turn yet.
            polls_seen: POLLS.get().wrapping_sub(1),
            rounds: 0,
        }
    }
}

impl Future for Idler {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.inner.ended.get() {
            return Poll::Ready(());
        }
        let polls = POLLS.get();
        if polls == self.polls_seen {
            self.rounds = 0;
            self.inner.rest(self.poll);
        } else {
            self.polls_seen = polls;
            self.rounds += 1;
            if self.rounds == ROUNDS_MAX {
                self.rounds = 0;
                self.inner.look();
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Inner {
    /// Submits, and wakes whom something happened for, without waiting.
    fn look(&self) {
        self.enter_now();
        self.gather();
    }

    /// As `look`, but waits until something happened.
    fn rest(&self, poll: PollMode) {
        if self.afar.borrow().gather() || self.timers.fire() {
            return self.look();
        }
        if let PollMode::Spin(budget) = poll
            && self.spin(budget)
        {
            return self.look();
        }
        self.arm_event();
        // The look between `park` and the sleep is this side's half of the handshake in `runtime::doorbell`.
        if self.afar.borrow_mut().park() {
            self.enter_and_wait(self.timers.nearest());
            self.afar.borrow_mut().unpark();
        }
        self.gather();
    }

    fn gather(&self) {
        self.reap();
        self.timers.fire();
        self.afar.borrow().gather();
    }

    /// Submits and looks for completions again and again for `budget`; whether something happened.
    fn spin(&self, budget: Duration) -> bool {
        self.enter_now();
        let begun = clock::now();
        let limit = self
            .timers
            .nearest()
            .map_or(budget, |nearest| nearest.min(budget));
        loop {
            if self.has_completions() || self.afar.borrow().is_rung() {
                return true;
            }
            if clock::now().since(begun) >= limit {
                return limit < budget;
            }
            if self.disk_in_kernel.get() > 0 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }
}
