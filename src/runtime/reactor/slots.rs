//! The operations of a ring: what each keeps alive, who waits for it, and what came of it.
//!
//! **Invariant.** A slot holds its [`Keep`] from the push of its entry to the completion, and is used again only after
//! both the completion was reaped and the future is gone. One thread.

use super::super::disk::{File, Piece};
use super::Reactor;
use std::ffi::CString;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What an operation needs kept alive until it completes; given back with the result.
#[expect(dead_code, reason = "most is held for its lifetime only")]
pub(in crate::runtime) enum Keep {
    /// A file.
    File(File),
    /// A file, chunks of the arena, and the vector that names them.
    Pieces {
        file: File,
        pieces: Vec<Piece>,
        iovecs: Box<[libc::iovec]>,
    },
    /// Paths.
    Paths(Box<[CString]>),
    /// A file and what is written to it.
    Bytes { file: File, bytes: Box<[u8]> },
    /// A socket.
    Socket(Rc<OwnedFd>),
    /// A socket and what is read from it.
    Received { socket: Rc<OwnedFd>, bytes: Vec<u8> },
}

enum Slot {
    Free,
    Waiting {
        waker: Option<Waker>,
        keep: Keep,
        disk: bool,
    },
    Abandoned {
        keep: Keep,
        disk: bool,
    },
    Done {
        result: i32,
        first: Option<i32>,
        keep: Keep,
    },
    /// The first of a linked pair.
    Linked {
        second: usize,
    },
}

/// See the module.
#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<usize>,
    in_kernel: usize,
    /// Results of the first of linked pairs whose second is out, by the slot of the second.
    first_results: Vec<(usize, i32)>,
}

/// What follows from a completion.
pub(super) struct Completed {
    pub(super) waker: Option<Waker>,
    pub(super) disk: bool,
}

impl Slots {
    fn put(&mut self, slot: Slot) -> usize {
        self.in_kernel += 1;
        if let Some(index) = self.free.pop() {
            self.slots[index] = slot;
            return index;
        }
        self.slots.push(slot);
        self.slots.len() - 1
    }

    pub(super) fn insert(&mut self, keep: Keep) -> usize {
        self.put(Slot::Waiting {
            waker: None,
            keep,
            disk: false,
        })
    }

    pub(super) fn insert_disk(&mut self, keep: Keep) -> usize {
        self.put(Slot::Waiting {
            waker: None,
            keep,
            disk: true,
        })
    }

    pub(super) fn insert_linked(&mut self, keep: Keep) -> (usize, usize) {
        let second = self.insert_disk(keep);
        (self.put(Slot::Linked { second }), second)
    }

    /// Operations whose completion has not been reaped.
    pub(super) fn in_kernel(&self) -> usize {
        self.in_kernel
    }

    pub(super) fn complete(&mut self, index: usize, result: i32) -> Completed {
        self.in_kernel -= 1;
        match std::mem::replace(&mut self.slots[index], Slot::Free) {
            Slot::Waiting { waker, keep, disk } => {
                let first = self.take_first(index);
                self.slots[index] = Slot::Done { result, first, keep };
                Completed { waker, disk }
            }
            Slot::Abandoned { keep, disk } => {
                drop(keep);
                self.take_first(index);
                self.free.push(index);
                Completed { waker: None, disk }
            }
            Slot::Linked { second } => {
                self.first_results.push((second, result));
                self.free.push(index);
                Completed {
                    waker: None,
                    disk: true,
                }
            }
            Slot::Free | Slot::Done { .. } => {
                unreachable!("a completion for slot {index}, which waits for none")
            }
        }
    }

    fn take_first(&mut self, second: usize) -> Option<i32> {
        let at = self.first_results.iter().position(|(slot, _)| *slot == second)?;
        Some(self.first_results.swap_remove(at).1)
    }
}

/// An operation's outcome and what it kept.
pub(in crate::runtime) struct Finished {
    /// The kernel's: a count, a descriptor, or a negated error number.
    pub(in crate::runtime) result: i32,
    /// The result of the first of a linked pair.
    pub(in crate::runtime) first: Option<i32>,
    /// What was kept alive.
    pub(in crate::runtime) keep: Keep,
}

impl Finished {
    /// The count.
    ///
    /// # Errors
    /// The kernel's.
    pub(in crate::runtime) fn count(&self) -> std::io::Result<usize> {
        count(self.result)
    }
}

/// The count a result is.
///
/// # Errors
/// The kernel's.
pub(in crate::runtime) fn count(result: i32) -> std::io::Result<usize> {
    usize::try_from(result).map_err(|_| std::io::Error::from_raw_os_error(-result))
}

/// Waits for one operation. Dropped, it leaves the operation to itself.
pub(in crate::runtime) struct Operation {
    reactor: Reactor,
    slot: Option<usize>,
}

impl Operation {
    pub(super) fn new(reactor: &Reactor, slot: usize) -> Self {
        Self {
            reactor: reactor.clone(),
            slot: Some(slot),
        }
    }
}

impl Future for Operation {
    type Output = Finished;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Finished> {
        let index = self.slot.expect("an operation is not polled after its end");
        let mut slots = self.reactor.0.slots.borrow_mut();
        if let Slot::Waiting { waker, .. } = &mut slots.slots[index] {
            match waker {
                Some(known) => known.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        let Slot::Done { result, first, keep } = std::mem::replace(&mut slots.slots[index], Slot::Free)
        else {
            unreachable!("this future owns its slot")
        };
        slots.free.push(index);
        drop(slots);
        self.slot = None;
        Poll::Ready(Finished { result, first, keep })
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let Some(index) = self.slot else { return };
        let mut slots = self.reactor.0.slots.borrow_mut();
        let given_up = match std::mem::replace(&mut slots.slots[index], Slot::Free) {
            Slot::Waiting { keep, disk, .. } => {
                slots.slots[index] = Slot::Abandoned { keep, disk };
                return;
            }
            done => done,
        };
        slots.free.push(index);
        drop(slots);
        drop(given_up);
    }
}
