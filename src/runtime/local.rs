//! Waiting within one thread: the few pieces the shard's tasks use to wake each other.
//!
//! Nothing here is `Send`; none of it locks or allocates per wake beyond the waiter lists it keeps. Dropping a
//! waiting future leaves at worst a stale waker behind, which costs one spurious wake.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A latch that wakes whoever waits; setting it twice before anyone looks is one event.
#[derive(Debug, Default)]
pub struct Notify {
    set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Notify {
    /// Sets the latch and wakes the waiter, if there is one.
    pub fn notify(&self) {
        self.set.set(true);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the latch is set, without clearing it.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Ready once the latch is set, clearing it. One waiter at a time: a later caller replaces an earlier one.
    pub fn poll_notified(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.set.replace(false) {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits until the latch is set, then clears it.
    pub async fn notified(&self) {
        poll_fn(|cx| self.poll_notified(cx)).await;
    }
}

/// A list of tasks to wake together.
#[derive(Debug, Default)]
pub struct WakerList(RefCell<Vec<Waker>>);

impl WakerList {
    /// Adds a task to wake at the next [`wake_all`](Self::wake_all).
    pub fn register(&self, waker: &Waker) {
        let mut list = self.0.borrow_mut();
        if !list.iter().any(|known| known.will_wake(waker)) {
            list.push(waker.clone());
        }
    }

    /// Wakes and forgets every registered task.
    pub fn wake_all(&self) {
        let list = std::mem::take(&mut *self.0.borrow_mut());
        for waker in list {
            waker.wake();
        }
    }
}

/// One value handed from one task to another on the same thread.
#[derive(Debug)]
pub struct OneShot<T>(Rc<OneShotState<T>>);

#[derive(Debug)]
struct OneShotState<T> {
    value: RefCell<Option<T>>,
    waker: RefCell<Option<Waker>>,
}

impl<T> Clone for OneShot<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Default for OneShot<T> {
    fn default() -> Self {
        Self(Rc::new(OneShotState {
            value: RefCell::new(None),
            waker: RefCell::new(None),
        }))
    }
}

impl<T> OneShot<T> {
    /// Stores the value and wakes the receiver. A second value replaces the first.
    pub fn set(&self, value: T) {
        *self.0.value.borrow_mut() = Some(value);
        let waker = self.0.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for the value.
    pub async fn take(&self) -> T {
        poll_fn(|cx| {
            if let Some(value) = self.0.value.borrow_mut().take() {
                return Poll::Ready(value);
            }
            *self.0.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// A budget of units (bytes, slots) with first-come first-served waiting.
///
/// **Invariant:** `available + sum(live permits) == limit`. A request larger than the limit is granted when
/// the whole budget is free, so that it cannot wait for ever.
#[derive(Debug)]
pub struct Budget(Rc<BudgetState>);

#[derive(Debug)]
struct BudgetState {
    limit: usize,
    available: Cell<usize>,
    waiters: RefCell<VecDeque<Rc<BudgetWaiter>>>,
}

#[derive(Debug)]
struct BudgetWaiter {
    units: usize,
    granted: Cell<bool>,
    abandoned: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Clone for Budget {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl Budget {
    /// A budget of `limit` units, all free.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Rc::new(BudgetState {
            limit,
            available: Cell::new(limit),
            waiters: RefCell::new(VecDeque::new()),
        }))
    }

    /// The whole budget in units.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Units nobody holds.
    #[must_use]
    pub fn available(&self) -> usize {
        self.0.available.get()
    }

    /// Whether somebody waits for what others hold.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        // Those who gave up are taken out when something is given back, or here.
        let mut waiters = self.0.waiters.borrow_mut();
        while waiters.front().is_some_and(|first| first.abandoned.get()) {
            waiters.pop_front();
        }
        !waiters.is_empty()
    }

    /// Takes `units` now, if nobody waits and they are free.
    #[must_use]
    pub fn try_acquire(&self, units: usize) -> Option<Permit> {
        let units = units.min(self.0.limit);
        let available = self.0.available.get();
        if units > available || !self.0.waiters.borrow().is_empty() {
            return None;
        }
        self.0.available.set(available - units);
        Some(Permit {
            budget: Rc::clone(&self.0),
            units,
        })
    }

    /// Waits until `units` are free and everyone who asked earlier has been served.
    pub fn acquire(&self, units: usize) -> impl Future<Output = Permit> + use<> {
        let units = units.min(self.0.limit);
        let state = Rc::clone(&self.0);
        let first = self.try_acquire(units);
        let waiter = first.is_none().then(|| {
            let waiter = Rc::new(BudgetWaiter {
                units,
                granted: Cell::new(false),
                abandoned: Cell::new(false),
                waker: RefCell::new(None),
            });
            state.waiters.borrow_mut().push_back(Rc::clone(&waiter));
            waiter
        });
        Acquire { state, waiter, first }
    }
}

struct Acquire {
    state: Rc<BudgetState>,
    waiter: Option<Rc<BudgetWaiter>>,
    first: Option<Permit>,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        if let Some(permit) = self.first.take() {
            return Poll::Ready(permit);
        }
        let waiter = Rc::clone(
            self.waiter
                .as_ref()
                .expect("an acquire without a permit has a waiter"),
        );
        if waiter.granted.get() {
            self.waiter = None;
            return Poll::Ready(Permit {
                budget: Rc::clone(&self.state),
                units: waiter.units,
            });
        }
        *waiter.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            waiter.abandoned.set(true);
            if waiter.granted.get() {
                self.state.give_back(waiter.units);
            } else {
                self.state.grant();
            }
        }
    }
}

impl BudgetState {
    fn give_back(&self, units: usize) {
        self.available.set(self.available.get() + units);
        self.grant();
    }

    fn grant(&self) {
        loop {
            let mut waiters = self.waiters.borrow_mut();
            let Some(front) = waiters.front() else { return };
            if front.abandoned.get() {
                waiters.pop_front();
                continue;
            }
            let available = self.available.get();
            if front.units > available {
                return;
            }
            self.available.set(available - front.units);
            front.granted.set(true);
            let waker = front.waker.borrow_mut().take();
            waiters.pop_front();
            drop(waiters);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Units held out of a [`Budget`]; they return when this is dropped.
#[derive(Debug)]
pub struct Permit {
    budget: Rc<BudgetState>,
    units: usize,
}

impl Permit {
    /// How many units are held.
    #[must_use]
    pub fn units(&self) -> usize {
        self.units
    }

    /// Gives back all but `units`, if more are held.
    pub fn shrink_to(&mut self, units: usize) {
        if units < self.units {
            let surplus = self.units - units;
            self.units = units;
            self.budget.give_back(surplus);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.give_back(self.units);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll_once<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn budget_serves_in_order_and_a_small_request_does_not_overtake() {
        let budget = Budget::new(10);
        let held = budget.try_acquire(8).unwrap();
        let mut big = Box::pin(budget.acquire(5));
        let mut small = Box::pin(budget.acquire(1));
        assert!(poll_once(&mut big).is_pending());
        assert!(poll_once(&mut small).is_pending());
        assert!(budget.try_acquire(1).is_none());
        drop(held);
        let Poll::Ready(first) = poll_once(&mut big) else {
            panic!("big was first in line")
        };
        let Poll::Ready(second) = poll_once(&mut small) else {
            panic!("small fits beside it")
        };
        assert_eq!((first.units(), second.units(), budget.available()), (5, 1, 4));
        drop((first, second));
        assert_eq!(budget.available(), 10);
    }

    #[test]
    fn an_abandoned_waiter_gives_way_and_leaks_nothing() {
        let budget = Budget::new(4);
        let held = budget.try_acquire(4).unwrap();
        let mut first = Box::pin(budget.acquire(4));
        let mut second = Box::pin(budget.acquire(2));
        assert!(poll_once(&mut first).is_pending());
        assert!(poll_once(&mut second).is_pending());
        drop(held);
        drop(first);
        let Poll::Ready(permit) = poll_once(&mut second) else {
            panic!("second is next")
        };
        drop(permit);
        assert_eq!(budget.available(), 4);
    }

    #[test]
    fn a_budget_is_wanted_while_somebody_waits_for_it() {
        let budget = Budget::new(4);
        let held = budget.try_acquire(4).unwrap();
        assert!(!budget.is_wanted());
        let mut waits = Box::pin(budget.acquire(1));
        assert!(poll_once(&mut waits).is_pending());
        assert!(budget.is_wanted());
        drop(waits);
        assert!(!budget.is_wanted());
        drop(held);
    }

    #[test]
    fn a_request_beyond_the_limit_waits_for_the_whole_budget() {
        let budget = Budget::new(4);
        let permit = budget.try_acquire(100).unwrap();
        assert_eq!(permit.units(), 4);
        assert!(budget.try_acquire(1).is_none());
    }

    #[test]
    fn notify_before_waiting_is_not_lost() {
        let notify = Notify::default();
        notify.notify();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(notify.poll_notified(&mut cx).is_ready());
        assert!(notify.poll_notified(&mut cx).is_pending());
    }
}
