//! How a thread that sleeps learns that a ring has something for it, at no cost while it is awake.
//!
//! One doorbell per receiving thread: [`Parker`] is the receiver's end (one task), [`Bell`] the senders' (any number of
//! threads). Promise: a value that was pushed before [`Bell::ring`] is either seen by the receiver's look at its rings
//! after [`Parker::park`], or the receiver's task is woken. Both may happen: a wake-up without a message is harmless.
//!
//! It is Dekker's handshake. Each side writes its own flag, fences, then reads the other's:
//!
//! ```text
//!   sender                        receiver
//!   push (writes the tail)        parked = true
//!   fence SeqCst                  fence SeqCst
//!   read parked                   pop (reads the tail)
//! ```
//!
//! The two fences are ordered one way or the other, so at least one side sees what the other wrote; the case where both
//! read the old value, which is the lost wake-up, cannot be. Without either fence it can (store buffers), and the loom
//! test at the end fails.
//!
//! A busy receiver costs a sender one fence and one load of a line that does not change; no system call. The waker is
//! kept behind a mutex that is touched only by a receiver whose waker changed (about once in its life) and by the one
//! sender that won the swap of `parked`. It is a `std` waker, so the receiver may be a task of any executor.
#![cfg_attr(
    not(loom),
    expect(
        clippy::disallowed_types,
        reason = "the waker's mutex is off the common path; see above"
    )
)]

use std::sync::PoisonError;
use std::task::Waker;

use super::ring::sync::{Arc, AtomicBool, Mutex, Ordering, fence};

/// The senders' end; clone one per sender.
#[derive(Clone)]
pub struct Bell(Arc<Doorbell>);

/// The receiver's end. One task parks at a time.
pub struct Parker {
    doorbell: Arc<Doorbell>,
    /// What `doorbell.waker` holds, so that parking again with the same waker takes no lock.
    registered: Option<Waker>,
}

struct Doorbell {
    /// True from the moment the receiver means to sleep until someone promises to wake it.
    parked: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// Makes the two ends of one doorbell.
#[must_use]
pub fn doorbell() -> (Bell, Parker) {
    let doorbell = Arc::new(Doorbell {
        parked: AtomicBool::new(false),
        waker: Mutex::new(None),
    });
    (
        Bell(Arc::clone(&doorbell)),
        Parker {
            doorbell,
            registered: None,
        },
    )
}

impl Bell {
    /// Wakes the receiver if it is parked. Call after the pushes it should learn of, once per batch.
    pub fn ring(&self) {
        // Pairs with the fence in `park`; see the essay.
        fence(Ordering::SeqCst);
        if !self.0.parked.load(Ordering::Relaxed) {
            return;
        }
        // Many senders may have seen the flag; the one that takes it wakes. Acquire pairs with the Release in `park`:
        // the waker we find is at least as new as the one that was stored before the flag.
        if self.0.parked.swap(false, Ordering::AcqRel)
            && let Some(waker) = self.0.waker()
        {
            waker.wake();
        }
    }
}

impl Parker {
    /// Announces that the receiver is about to sleep. The caller must look at all its rings once more before it does,
    /// and call [`Parker::unpark`] if that look found something.
    pub fn park(&mut self, waker: &Waker) {
        if !self
            .registered
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            self.registered = Some(waker.clone());
            self.doorbell.set_waker(Some(waker.clone()));
        }
        // Release: a sender that takes the flag finds the waker stored above (or a newer one). A store would do, since
        // nothing can come between a sender's swap and the value it read; loom does not derive that order, and a swap
        // here makes it plain to it for the price of one locked instruction per sleep.
        self.doorbell.parked.swap(true, Ordering::AcqRel);
        // Pairs with the fence in `ring`; see the essay.
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back: senders need not ring. A wake-up may still be on its way.
    pub fn unpark(&mut self) {
        self.doorbell.parked.store(false, Ordering::Relaxed);
    }
}

impl Drop for Parker {
    /// The receiver is gone and so may its executor be: nobody may keep a waker of it.
    fn drop(&mut self) {
        self.unpark();
        self.doorbell.set_waker(None);
    }
}

impl Doorbell {
    fn waker(&self) -> Option<Waker> {
        // A poisoned lock still holds a whole value: nothing that can panic runs while it is held but `clone`.
        self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_waker(&self, waker: Option<Waker>) {
        let old = {
            let mut slot = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *slot, waker)
        };
        // Dropped with the lock released: the last drop of a waker may run an executor's code.
        drop(old);
    }
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bell")
    }
}

impl std::fmt::Debug for Parker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parker")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Count {
        fn get(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn an_awake_receiver_is_not_woken() {
        let (bell, mut parker) = doorbell();
        let count = Arc::new(Count::default());
        bell.ring();
        parker.park(&Waker::from(Arc::clone(&count)));
        parker.unpark();
        bell.ring();
        assert_eq!(count.get(), 0);
    }

    #[test]
    fn a_parked_receiver_is_woken_once() {
        let (bell, mut parker) = doorbell();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        parker.park(&waker);
        bell.ring();
        let other = bell.clone();
        other.ring();
        assert_eq!(count.get(), 1);
        parker.park(&waker);
        bell.ring();
        assert_eq!(count.get(), 2);
    }

    #[test]
    fn the_newest_waker_is_the_one_that_is_woken() {
        let (bell, mut parker) = doorbell();
        let (old, new) = (Arc::new(Count::default()), Arc::new(Count::default()));
        parker.park(&Waker::from(Arc::clone(&old)));
        parker.park(&Waker::from(Arc::clone(&new)));
        bell.ring();
        assert_eq!((old.get(), new.get()), (0, 1));
    }

    #[test]
    fn a_receiver_that_is_gone_leaves_no_waker_behind() {
        let (bell, mut parker) = doorbell();
        let count = Arc::new(Count::default());
        parker.park(&Waker::from(Arc::clone(&count)));
        drop(parker);
        bell.ring();
        assert_eq!((count.get(), Arc::strong_count(&count)), (0, 1));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::task::Wake;

    use loom::sync::Notify;
    use loom::thread;

    use super::super::ring::{Consumer, ring};
    use super::*;

    struct Bed(Notify);

    impl Wake for Bed {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.notify();
        }
    }

    /// Pops, sleeping in the way of `Port::poll_recv`. A lost wake-up shows as a deadlock, which loom reports.
    fn pop_asleep<T>(consumers: &mut [Consumer<T>], parker: &mut Parker, bed: &std::sync::Arc<Bed>) -> T {
        let waker = Waker::from(std::sync::Arc::clone(bed));
        loop {
            if let Some(value) = consumers.iter_mut().find_map(Consumer::pop) {
                return value;
            }
            parker.park(&waker);
            if let Some(value) = consumers.iter_mut().find_map(Consumer::pop) {
                parker.unpark();
                return value;
            }
            bed.0.wait();
        }
    }

    #[test]
    fn no_wakeup_is_lost_with_one_sender() {
        loom::model(|| {
            let (mut producer, consumer) = ring(2);
            let (bell, mut parker) = doorbell();
            let sender = thread::spawn(move || {
                for value in 0..2 {
                    producer.push(value).unwrap();
                    bell.ring();
                }
            });
            let bed = std::sync::Arc::new(Bed(Notify::new()));
            let mut consumers = [consumer];
            assert_eq!(pop_asleep(&mut consumers, &mut parker, &bed), 0);
            assert_eq!(pop_asleep(&mut consumers, &mut parker, &bed), 1);
            sender.join().unwrap();
        });
    }

    #[test]
    fn no_wakeup_is_lost_with_two_senders() {
        let mut model = loom::model::Builder::new();
        // All interleavings with at most this many forced switches: the full set takes minutes.
        model.preemption_bound = Some(3);
        model.check(|| {
            let (bell, mut parker) = doorbell();
            let mut consumers = Vec::new();
            let senders: Vec<_> = (0..2)
                .map(|value| {
                    let (mut producer, consumer) = ring(1);
                    consumers.push(consumer);
                    let bell = bell.clone();
                    thread::spawn(move || {
                        producer.push(value).unwrap();
                        bell.ring();
                    })
                })
                .collect();
            let bed = std::sync::Arc::new(Bed(Notify::new()));
            let sum =
                pop_asleep(&mut consumers, &mut parker, &bed) + pop_asleep(&mut consumers, &mut parker, &bed);
            assert_eq!(sum, 1);
            for sender in senders {
                sender.join().unwrap();
            }
        });
    }
}
