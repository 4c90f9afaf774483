//! One bounded queue from one thread to one other thread: the only memory two threads share on the message path.
//!
//! Promise: what is pushed is popped once, in order, by the one consumer; nothing is lost, and whatever is left when
//! both ends are gone is dropped. `push` and `pop` are wait-free: a handful of instructions, no lock, no system call,
//! no allocation after creation. A full ring hands the value back; it never waits and never overwrites.
//!
//! ```text
//!          head (consumer)                tail (producer)
//!            v                              v
//!   [ free ][ item ][ item ][ item ][ item ][ free ][ free ][ free ]     slot = index & (capacity - 1)
//! ```
//!
//! Invariants (the `SAFETY` comments cite them by number):
//!
//! 1. `head <= tail <= head + capacity`, as distances modulo 2^64: both only grow, by one, and wrap around freely.
//! 2. Slots `[head, tail)` are initialised and belong to the consumer; all others are uninitialised and belong to the
//!    producer.
//! 3. `tail` is written by the one [`Producer`] only and `head` by the one [`Consumer`] only: neither can be cloned, and
//!    both work through `&mut self`.
//! 4. A slot changes owner only by a `Release` store of an index, seen by the other side's `Acquire` load of it.
//!
//! Each end keeps its own index in a plain field and remembers the last index it saw of the other end, so that the
//! other core's cache line is read only when the ring looks full (or empty), not once per message. The indices live on
//! cache lines of their own.
//!
//! Absent on purpose: waking a sleeping consumer (`runtime::doorbell`), fairness and flow control
//! (`runtime::mesh`), growth, and blocking. The file compiles under `cfg(loom)` against loom's atomics; `scripts/loom`
//! runs every interleaving of the tests at the end, `scripts/miri` runs the plain ones under Miri.
#![expect(
    unsafe_code,
    reason = "the slots are shared between two threads; see the numbered invariants"
)]

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crossbeam_utils::CachePadded;

use sync::{Arc, AtomicUsize, Ordering, UnsafeCell};

/// The ring had no free slot; the value comes back untouched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Full<T>(pub T);

impl<T> fmt::Debug for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Full(..)")
    }
}

impl<T> fmt::Display for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ring is full")
    }
}

/// The sending end. It may move to another thread; it cannot be cloned or shared.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// Equal to `shared.tail`: this end is its only writer (invariant 3).
    tail: usize,
    /// Some earlier value of `shared.head`, so the ring is at most as full as it looks from here.
    head_seen: usize,
    not_sync: PhantomData<Cell<()>>,
}

/// The receiving end. It may move to another thread; it cannot be cloned or shared.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// Equal to `shared.head`: this end is its only writer (invariant 3).
    head: usize,
    /// Some earlier value of `shared.tail`, so the ring holds at least what it seems to hold from here.
    tail_seen: usize,
    not_sync: PhantomData<Cell<()>>,
}

/// Makes a ring of exactly `capacity` slots and gives out its two ends.
///
/// The slots are allocated here, once. Panics when `capacity` is not a power of two, which is a programmer's error.
#[must_use]
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    ring_starting_at(capacity, 0)
}

fn ring_starting_at<T>(capacity: usize, index: usize) -> (Producer<T>, Consumer<T>) {
    assert!(
        capacity.is_power_of_two(),
        "ring capacity {capacity} is not a power of two"
    );
    let shared = Arc::new(Shared {
        head: CachePadded::new(AtomicUsize::new(index)),
        tail: CachePadded::new(AtomicUsize::new(index)),
        slots: (0..capacity)
            .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
            .collect(),
    });
    let producer = Producer {
        shared: Arc::clone(&shared),
        tail: index,
        head_seen: index,
        not_sync: PhantomData,
    };
    let consumer = Consumer {
        shared,
        head: index,
        tail_seen: index,
        not_sync: PhantomData,
    };
    (producer, consumer)
}

impl<T> Producer<T> {
    /// Appends `value`, or gives it back when all slots are taken. The consumer can see it from here on, but is not
    /// woken.
    pub fn push(&mut self, value: T) -> Result<(), Full<T>> {
        let capacity = self.shared.capacity();
        if self.tail.wrapping_sub(self.head_seen) == capacity {
            // Acquire pairs with the Release in `pop`: the consumer's read of the slot is over before we reuse it.
            self.head_seen = self.shared.head.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) == capacity {
                return Err(Full(value));
            }
        }
        self.shared.slot(self.tail).with_mut(|slot| {
            // SAFETY: invariant 2: `tail < head + capacity` was just checked against a value of `head` that can only
            // have grown since, so the slot at `tail` is uninitialised and ours; invariant 4: we acquired it.
            unsafe { slot.write(MaybeUninit::new(value)) };
        });
        self.tail = self.tail.wrapping_add(1);
        // Release pairs with the Acquire in `pop`: whoever sees the new tail sees the value.
        self.shared.tail.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Number of slots, fixed at creation.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.capacity()
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest value, or `None` when nothing that was pushed is left.
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail_seen {
            // Acquire pairs with the Release in `push`: the value was written before its index was published.
            self.tail_seen = self.shared.tail.load(Ordering::Acquire);
            if self.head == self.tail_seen {
                return None;
            }
        }
        let value = self.shared.slot(self.head).with_mut(|slot| {
            // SAFETY: invariant 2: `head < tail`, so the slot at `head` is ours and nobody else looks at it; invariant
            // 4: the Acquire load that brought `tail_seen` past it made it ours.
            let slot = unsafe { &*slot };
            // SAFETY: invariant 2: slots in `[head, tail)` are initialised, and storing `head + 1` below means that
            // this value is read exactly once.
            unsafe { slot.assume_init_read() }
        });
        self.head = self.head.wrapping_add(1);
        // Release pairs with the Acquire in `push`: the slot is free only after we have read it.
        self.shared.head.store(self.head, Ordering::Release);
        Some(value)
    }

    /// Number of slots, fixed at creation.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.capacity()
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("tail", &self.tail)
            .field("capacity", &self.capacity())
            .finish()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("head", &self.head)
            .field("capacity", &self.capacity())
            .finish()
    }
}

struct Shared<T> {
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: values of `T` move from one thread to the other, which `T: Send` allows; the slots themselves are touched by
// one side at a time (invariants 2 and 4).
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above; the two ends share `&Shared`, and never reach one slot at the same time (invariants 2 to 4).
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn capacity(&self) -> usize {
        self.slots.len()
    }

    fn slot(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[index & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Both ends are gone and the last `Arc` ordered their work before this, so plain loads see the final indices.
        let tail = self.tail.load(Ordering::Relaxed);
        let mut index = self.head.load(Ordering::Relaxed);
        while index != tail {
            self.slot(index).with_mut(|slot| {
                // SAFETY: `&mut self`: no end is left, the slot is reachable from here only.
                let slot = unsafe { &mut *slot };
                // SAFETY: invariant 2: slots in `[head, tail)` are initialised; each is visited once.
                unsafe { slot.assume_init_drop() };
            });
            index = index.wrapping_add(1);
        }
    }
}

/// The atomics and cells of the ring and the doorbell: std's, or loom's when a model is checked.
#[cfg(not(loom))]
pub(super) mod sync {
    pub(crate) use std::sync::Arc;
    #[expect(
        clippy::disallowed_types,
        reason = "the doorbell keeps its waker in one, off the common path"
    )]
    pub(crate) use std::sync::Mutex;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

    /// `std::cell::UnsafeCell` behind loom's shape of the same type.
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// Calls `body` with the address of the value; loom reports accesses that overlap in time.
        #[inline]
        pub(crate) fn with_mut<R>(&self, body: impl FnOnce(*mut T) -> R) -> R {
            body(self.0.get())
        }
    }
}

/// The atomics and cells of the ring and the doorbell: std's, or loom's when a model is checked.
#[cfg(loom)]
pub(super) mod sync {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
    pub(crate) use loom::sync::{Arc, Mutex};
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;

    /// Few under Miri, which is some thousand times slower.
    const TRANSFERS: u64 = if cfg!(miri) { 300 } else { 200_000 };
    const CASES: u32 = if cfg!(miri) { 8 } else { 512 };

    #[test]
    fn a_full_ring_hands_the_value_back() {
        let (mut producer, mut consumer) = ring(2);
        assert_eq!(producer.push(1), Ok(()));
        assert_eq!(producer.push(2), Ok(()));
        assert_eq!(producer.push(3), Err(Full(3)));
        assert_eq!(consumer.pop(), Some(1));
        assert_eq!(producer.push(3), Ok(()));
        assert_eq!(
            (consumer.pop(), consumer.pop(), consumer.pop()),
            (Some(2), Some(3), None)
        );
    }

    #[test]
    fn one_slot_is_enough() {
        let (mut producer, mut consumer) = ring(1);
        for value in 0..5 {
            assert_eq!(consumer.pop(), None);
            assert_eq!(producer.push(value), Ok(()));
            assert_eq!(producer.push(99), Err(Full(99)));
            assert_eq!(consumer.pop(), Some(value));
        }
    }

    #[test]
    fn indices_wrap_around_the_integer() {
        let (mut producer, mut consumer) = ring_starting_at(4, usize::MAX - 2);
        for value in 0..20 {
            producer.push(value).unwrap();
            producer.push(value + 100).unwrap();
            assert_eq!(consumer.pop(), Some(value));
            assert_eq!(consumer.pop(), Some(value + 100));
            assert_eq!(consumer.pop(), None);
        }
    }

    #[test]
    fn what_is_left_is_dropped_with_the_last_end() {
        let token = Rc::new(());
        let (mut producer, mut consumer) = ring_starting_at(8, usize::MAX - 3);
        for _ in 0..7 {
            producer.push(Rc::clone(&token)).unwrap();
        }
        drop(consumer.pop());
        drop(producer);
        assert_eq!(Rc::strong_count(&token), 7);
        drop(consumer.pop());
        assert_eq!(Rc::strong_count(&token), 6);
        drop(consumer);
        assert_eq!(Rc::strong_count(&token), 1);
    }

    #[test]
    #[should_panic(expected = "not a power of two")]
    fn a_capacity_that_is_no_power_of_two_is_refused() {
        drop(ring::<u8>(6));
    }

    #[test]
    fn two_threads_see_every_value_once_and_in_order() {
        let (mut producer, mut consumer) = ring(16);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for value in 0..TRANSFERS {
                    let mut pending = Box::new(value);
                    while let Err(Full(back)) = producer.push(pending) {
                        pending = back;
                        std::thread::yield_now();
                    }
                }
            });
            for expected in 0..TRANSFERS {
                let value = loop {
                    match consumer.pop() {
                        Some(value) => break value,
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!(*value, expected);
            }
            assert!(consumer.pop().is_none());
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn behaves_like_a_bounded_deque(
            capacity_log2 in 0_u32..5,
            start in prop_oneof![Just(0), Just(usize::MAX - 5)],
            pushes in proptest::collection::vec(any::<bool>(), 0..200),
        ) {
            let capacity = 1_usize << capacity_log2;
            let (mut producer, mut consumer) = ring_starting_at(capacity, start);
            let mut model = VecDeque::new();
            for (value, push) in pushes.into_iter().enumerate() {
                if push {
                    let expected = if model.len() == capacity { Err(Full(Box::new(value))) } else { Ok(()) };
                    prop_assert_eq!(producer.push(Box::new(value)), expected.clone());
                    if expected.is_ok() {
                        model.push_back(value);
                    }
                } else {
                    prop_assert_eq!(consumer.pop().map(|value| *value), model.pop_front());
                }
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;

    fn pop_wait<T>(consumer: &mut Consumer<T>) -> T {
        loop {
            match consumer.pop() {
                Some(value) => return value,
                None => thread::yield_now(),
            }
        }
    }

    fn push_wait<T>(producer: &mut Producer<T>, mut value: T) {
        while let Err(Full(back)) = producer.push(value) {
            value = back;
            thread::yield_now();
        }
    }

    #[test]
    fn values_cross_in_order() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring(4);
            let sender = thread::spawn(move || {
                for value in 0..3 {
                    producer.push(Box::new(value)).unwrap();
                }
            });
            for expected in 0..3 {
                assert_eq!(*pop_wait(&mut consumer), expected);
            }
            sender.join().unwrap();
            assert!(consumer.pop().is_none());
        });
    }

    #[test]
    fn slots_are_reused_only_after_they_were_read() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring_starting_at(1, usize::MAX);
            let sender = thread::spawn(move || {
                for value in 0..3 {
                    push_wait(&mut producer, Box::new(value));
                }
            });
            for expected in 0..3 {
                assert_eq!(*pop_wait(&mut consumer), expected);
            }
            sender.join().unwrap();
        });
    }

    #[test]
    fn the_last_end_drops_what_is_left() {
        loom::model(|| {
            let token = Arc::new(());
            let (mut producer, mut consumer) = ring(2);
            let sender = {
                let token = Arc::clone(&token);
                thread::spawn(move || {
                    producer.push(Arc::clone(&token)).unwrap();
                    producer.push(token).unwrap();
                })
            };
            drop(consumer.pop());
            drop(consumer);
            sender.join().unwrap();
            assert_eq!(Arc::strong_count(&token), 1);
        });
    }
}
