//! The clock of a shard's groups: one task that sleeps until something is due, and one that looks for what has expired.
//!
//! Both end when the broker stops: nobody loses a membership because the broker was busy stopping.

use super::super::Shard;
use super::Groups;
use super::hosted::Hosted;
use crate::broker::group::coordinator::Coordinator;
use crate::runtime::executor;
use std::rc::Rc;
use std::time::Duration;

/// Longest sleep, so that arithmetic on it is safe.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

pub(crate) fn start(shard: &Rc<Shard>) {
    executor::spawn(Rc::clone(shard).keep_group_time());
    executor::spawn(Rc::clone(shard).expire_offsets());
}

impl Groups {
    fn next_deadline(&self) -> u64 {
        let hosted = self.hosted.borrow();
        let served = hosted.values().filter(|hosted| hosted.refusal().is_none());
        let deadlines = served.filter_map(|hosted| hosted.machine.borrow().next_deadline());
        deadlines.min().unwrap_or(u64::MAX)
    }
}

impl Shard {
    /// Wakes the timer if a deadline came nearer than the one it sleeps for.
    pub(super) fn note_deadline(&self, hosted: &Hosted) {
        let next = hosted.machine.borrow().next_deadline();
        if next.is_some_and(|at| at < self.groups.asleep_until.get()) {
            self.groups.deadline_changed.notify();
        }
    }

    async fn keep_group_time(self: Rc<Self>) {
        while !self.groups.closed.get() {
            let next = self.groups.next_deadline();
            let now = self.group_now().mono_ms;
            if next > now {
                self.groups.asleep_until.set(next);
                let sleep = Duration::from_millis(next - now).min(SLEEP_MAX);
                executor::timeout(sleep, self.groups.deadline_changed.notified()).await;
                self.groups.asleep_until.set(0);
                continue;
            }
            for hosted in self.groups.all_hosted() {
                let due = hosted
                    .machine
                    .borrow()
                    .next_deadline()
                    .is_some_and(|at| at <= now);
                if due && hosted.refusal().is_none() {
                    self.act(&hosted, Coordinator::tick);
                }
            }
            executor::yield_now().await;
        }
    }

    async fn expire_offsets(self: Rc<Self>) {
        while !self.groups.closed.get() {
            executor::sleep(self.groups.settings.expiry_interval).await;
            for hosted in self.groups.all_hosted() {
                if hosted.refusal().is_none() && !self.groups.closed.get() {
                    self.act(&hosted, Coordinator::expire);
                }
                executor::yield_now().await;
            }
        }
    }
}
