//! Wake-ups from other threads: how they reach a thread that sleeps in its ring.
//!
//! A task that another thread is to wake hands out [`Afar::waker_for`] instead of its own waker, which is good on its
//! thread only. Promise: after such a waker was used, the thread looks at [`Afar::gather`] and wakes the task, and if it sleeps,
//! it is woken first. Waking a thread that is awake costs a store, a fence and a load; no system call.
//!
//! It is the handshake of [`super::doorbell`] once more, with a flag in the place of the rings: the waker sets the flag,
//! then rings; the thread parks, then looks at the flag. The waker does not say which task is meant: all that are
//! registered run once, which is one (the receiver of the mesh) but for the start.

use std::cell::RefCell;
use std::task::{Wake, Waker};

use super::doorbell::{Bell, Parker, doorbell};
use super::ring::sync::{AtomicBool, Ordering};

/// One thread's end.
pub(super) struct Afar {
    flag: std::sync::Arc<Flag>,
    /// `flag` as a waker.
    handle: Waker,
    parker: Parker,
    /// Wakes the thread itself.
    thread: Waker,
    tasks: RefCell<Vec<Waker>>,
}

struct Flag {
    rung: AtomicBool,
    bell: Bell,
}

impl Wake for Flag {
    fn wake(self: std::sync::Arc<Self>) {
        // Release: who sees the flag sees what was done before waking.
        self.rung.store(true, Ordering::Release);
        self.bell.ring();
    }
}

impl Afar {
    /// `thread` ends the sleep of the calling thread, from any other.
    pub(super) fn new(thread: Waker) -> Self {
        let (bell, parker) = doorbell();
        let flag = std::sync::Arc::new(Flag {
            rung: AtomicBool::new(false),
            bell,
        });
        Self {
            handle: Waker::from(std::sync::Arc::clone(&flag)),
            flag,
            parker,
            thread,
            tasks: RefCell::default(),
        }
    }

    /// A waker for other threads, good for one wake-up of the task of `waker`.
    pub(super) fn waker_for(&self, waker: &Waker) -> Waker {
        let mut tasks = self.tasks.borrow_mut();
        if !tasks.iter().any(|known| known.will_wake(waker)) {
            tasks.push(waker.clone());
        }
        self.handle.clone()
    }

    /// Whether somebody rang since the last [`Self::gather`].
    pub(super) fn is_rung(&self) -> bool {
        self.flag.rung.load(Ordering::Acquire)
    }

    /// Wakes the tasks if somebody rang; whether somebody did.
    pub(super) fn gather(&self) -> bool {
        // Acquire pairs with the Release in `wake`. The load keeps the line shared while nobody rings.
        if !self.is_rung() || !self.flag.rung.swap(false, Ordering::AcqRel) {
            return false;
        }
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        for task in tasks {
            task.wake();
        }
        true
    }

    /// Announces that the thread is about to sleep; whether it may. If so, call [`Self::unpark`] after.
    pub(super) fn park(&mut self) -> bool {
        self.parker.park(&self.thread);
        let quiet = !self.is_rung();
        if !quiet {
            self.parker.unpark();
        }
        quiet
    }

    /// The thread is awake again.
    pub(super) fn unpark(&mut self) {
        self.parker.unpark();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::executor;
    use super::super::mesh::{Envelope, Mesh, Port};
    use std::rc::Rc;

    const MESSAGES: u64 = 20_000;

    /// Passes a number to and fro, each time after a pause of its own length: nothing, a little work, or time enough for the
    /// other side to fall asleep or to be about to.
    async fn play(port: Port<u64>, serves: bool) -> u64 {
        let port = Rc::new(port);
        let peer = port.others().next().expect("two ports");
        let mut seen = 0;
        let mut dice = 0x9e37_79b9_u64 + u64::from(serves);
        if serves {
            port.send_request(port.try_credit(peer).expect("all credits are free"), 0);
            port.ring_doorbells();
        }
        while seen < MESSAGES {
            let received = port.recv().await;
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            match dice >> 62 {
                0 => executor::yield_now().await,
                1 => (0..dice >> 52).for_each(|_| std::hint::spin_loop()),
                _ => {}
            }
            match received.message {
                Envelope::Request(value) => {
                    seen = value;
                    port.send_reply(peer, value);
                    port.send_request(port.credit(peer).await, value + 1);
                }
                Envelope::Reply(_) => {}
            }
            port.ring_doorbells();
        }
        seen
    }

    #[test]
    fn no_message_between_two_sleeping_threads_is_left_lying() {
        let mut ports = Mesh::new(2).into_iter();
        let (first, second) = (ports.next().unwrap(), ports.next().unwrap());
        let ends = std::thread::scope(|scope| {
            let other = scope.spawn(|| executor::block_on(play(second, false)));
            (executor::block_on(play(first, true)), other.join().unwrap())
        });
        assert!(ends.0 >= MESSAGES && ends.1 >= MESSAGES);
    }

    #[test]
    fn a_channel_of_another_thread_wakes_a_task() {
        for _ in 0..50 {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let value = std::thread::scope(|scope| {
                scope.spawn(|| sender.send(7).unwrap());
                executor::block_on(executor::from_afar(receiver))
            });
            assert_eq!(value, Ok(7));
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::cell::Cell;

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

    thread_local! {
        /// The model's receiving task is runnable.
        static RUNNABLE: Cell<bool> = const { Cell::new(false) };
    }

    struct Task;

    impl Wake for Task {
        fn wake(self: std::sync::Arc<Self>) {
            RUNNABLE.set(true);
        }
    }

    /// A task in the way of `Port::poll_recv` on a thread in the way of `Inner::rest`. A lost wake-up shows as a deadlock.
    fn pop_asleep<T>(consumer: &mut Consumer<T>, parker: &mut Parker, afar: &mut Afar, bed: &Bed) -> T {
        let task = Waker::from(std::sync::Arc::new(Task));
        loop {
            if let Some(value) = consumer.pop() {
                return value;
            }
            parker.park(&afar.waker_for(&task));
            if let Some(value) = consumer.pop() {
                parker.unpark();
                return value;
            }
            RUNNABLE.set(false);
            while !RUNNABLE.get() {
                if !afar.gather() && afar.park() {
                    bed.0.wait();
                    afar.unpark();
                }
            }
        }
    }

    #[test]
    fn a_sleeping_thread_learns_of_every_value() {
        let mut model = loom::model::Builder::new();
        // All interleavings with at most this many forced switches: the full set takes minutes.
        model.preemption_bound = Some(3);
        model.check(|| {
            let (mut producer, mut consumer) = ring(2);
            let (bell, mut parker) = doorbell();
            let bed = std::sync::Arc::new(Bed(Notify::new()));
            let mut afar = Afar::new(Waker::from(std::sync::Arc::clone(&bed)));
            let sender = thread::spawn(move || {
                for value in 0..2 {
                    producer.push(value).unwrap();
                    bell.ring();
                }
            });
            assert_eq!(pop_asleep(&mut consumer, &mut parker, &mut afar, &bed), 0);
            assert_eq!(pop_asleep(&mut consumer, &mut parker, &mut afar, &bed), 1);
            sender.join().unwrap();
        });
    }
}
