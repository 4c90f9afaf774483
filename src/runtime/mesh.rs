//! All-to-all mail between the threads of the broker: one [`Port`] per thread, one ring per ordered pair of threads.
//!
//! Promise: messages from one peer arrive once and in the order they were sent; a sender never spins, never drops and
//! never blocks its thread; a receiver that sleeps is woken; peers are served in turn, so none starves another.
//!
//! **Credits instead of full rings.** Every message is a *request* or the *reply* to one. A request needs a [`Credit`]
//! of its target, of which there are [`CREDITS`]; the reply gives it back. Who finds none waits for one as a task
//! ([`Port::credit`], first come first served) while its thread goes on receiving. A push can therefore not fail:
//!
//! - a request in the ring `a -> b` belongs to a credit that `a` took from its `CREDITS` for `b`, and that comes back
//!   only when `a` pops the reply, later than `b` popped the request: at most `CREDITS` requests are in the ring;
//! - a reply in the ring `a -> b` answers a request whose credit `b` holds until it pops this reply, and a request is
//!   answered at most once (`owed` counts them and [`Port::send_reply`] asserts it): at most `CREDITS` replies are in it;
//! - the ring has `2 * CREDITS` slots.
//!
//! So replies need no permission and no waiting, and two threads that flood each other cannot deadlock: whoever waits for
//! a credit waits for a reply, and replies always fit. What callers owe in return: **each request is answered, once**,
//! whatever the outcome (a request that is never answered costs its sender a credit for ever).
//!
//! **Doorbells.** Sending only marks the target; [`Port::ring_doorbells`] wakes the marked ones that sleep. Call it at the
//! end of each turn that sent something: once per batch, not per message. [`Port::poll_recv`] calls it before it
//! reports that there is nothing to do, so a task that loops on [`Port::recv`] needs no call of its own for what it sent
//! itself; every other task that sends does.
//!
//! A port belongs to one thread: it moves there (`Send`) and stays (`!Sync`; share it between tasks as `Rc<Port<M>>`).
//! One task receives. Nothing here knows an executor: wakers are std's, so shards and the control thread mix.
//!
//! Memory: `peers^2 * RING_CAPACITY * size_of::<Envelope<M>>` at most; keep `M` small and box what is large. With 17 peers
//! and 64-byte messages that is about 10 MiB, of which only the pages that were used count.
//!
//! Absent on purpose: mail to oneself (call the function), priorities, time-outs, and a way to take a request back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::doorbell::{Bell, Parker, doorbell};
use super::reactor::waker_from_afar;
use super::ring::{Consumer, Producer, ring};

/// Requests that one thread may have under way to one other thread. Enough to keep a peer busy over a wake-up (tens of
/// microseconds at a few hundred nanoseconds a request), small enough that a slow peer is felt soon.
pub const CREDITS: usize = 256;

/// Slots of one ring: a full set of requests and a full set of replies (see the essay).
pub const RING_CAPACITY: usize = 2 * CREDITS;

const _: () = assert!(RING_CAPACITY.is_power_of_two() && RING_CAPACITY >= 2 * CREDITS);

/// A thread of the mesh, numbered from 0: the shards first, the control thread last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Peer(u16);

impl Peer {
    /// The peer with this number.
    #[must_use]
    pub const fn new(index: u16) -> Self {
        Self(index)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message and its class. The class decides who pays for the slot; what the message says is the caller's affair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Envelope<M> {
    /// Wants exactly one [`Port::send_reply`] to its sender.
    Request(M),
    /// Answers one of our requests; its credit is free again.
    Reply(M),
}

/// A message and the peer that sent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received<M> {
    /// Who sent it.
    pub from: Peer,
    /// What was sent.
    pub message: Envelope<M>,
}

/// The mesh as a whole exists only while it is made; afterwards there are its ports.
#[derive(Debug)]
pub struct Mesh<M>(std::marker::PhantomData<M>);

impl<M> Mesh<M> {
    /// Connects `peers` threads all to all and gives out their ports, in peer order.
    ///
    /// Panics when `peers` does not fit [`Peer`]; the caller's limit on cores is far below.
    #[expect(clippy::new_ret_no_self, reason = "a mesh is nothing but its ports")]
    #[must_use]
    pub fn new(peers: usize) -> Vec<Port<M>> {
        let peers = u16::try_from(peers).expect("the number of threads is bounded by the number of cores");
        let mut inbound = Vec::new();
        let mut outbound: Vec<Vec<Option<Producer<Envelope<M>>>>> = (0..peers).map(|_| Vec::new()).collect();
        for to in 0..peers {
            let mut row = Vec::new();
            for from in 0..peers {
                let (producer, consumer) = if from == to { (None, None) } else { pair() };
                row.push(consumer);
                outbound[usize::from(from)].push(producer);
            }
            inbound.push(row);
        }
        let (bells, parkers): (Vec<Bell>, Vec<Parker>) = (0..peers).map(|_| doorbell()).unzip();
        let rings = inbound.into_iter().zip(outbound);
        (0..peers)
            .zip(rings.zip(parkers))
            .map(|(own, ((inbound, outbound), parker))| {
                let links = inbound.into_iter().zip(outbound).zip(&bells);
                let links = links
                    .map(|((inbound, outbound), bell)| Link::new(outbound?, inbound?, bell))
                    .collect();
                Port::new(Peer(own), links, parker)
            })
            .collect()
    }
}

type Ends<T> = (Option<Producer<T>>, Option<Consumer<T>>);

fn pair<M>() -> Ends<Envelope<M>> {
    let (producer, consumer) = ring(RING_CAPACITY);
    (Some(producer), Some(consumer))
}

/// One thread's end of the mesh.
///
/// All methods that name a peer panic when there is no such peer or when it is this port itself.
pub struct Port<M> {
    own: Peer,
    /// By peer number; `None` at our own place.
    links: Vec<Option<Link<M>>>,
    /// The peer that is looked at first by the next `try_recv`.
    cursor: Cell<usize>,
    /// Number of links marked dirty.
    dirty_count: Cell<usize>,
    parker: RefCell<Parker>,
}

struct Link<M> {
    outbound: RefCell<Producer<Envelope<M>>>,
    inbound: RefCell<Consumer<Envelope<M>>>,
    credits: CreditPool,
    /// Requests of this peer that we have received and not yet answered.
    owed: Cell<usize>,
    /// Something was sent since the bell was last rung.
    dirty: Cell<bool>,
    bell: Bell,
}

impl<M> Port<M> {
    fn new(own: Peer, links: Vec<Option<Link<M>>>, parker: Parker) -> Self {
        Self {
            own,
            links,
            cursor: Cell::new(0),
            dirty_count: Cell::new(0),
            parker: RefCell::new(parker),
        }
    }

    /// This port's own number.
    #[must_use]
    pub fn own(&self) -> Peer {
        self.own
    }

    /// All peers but this one, in order.
    pub fn others(&self) -> impl Iterator<Item = Peer> {
        let own = self.own;
        (0..=u16::MAX)
            .map(Peer)
            .take(self.links.len())
            .filter(move |&peer| peer != own)
    }

    /// The right to send one request to `to`, if one is free and nobody waits for it.
    pub fn try_credit(&self, to: Peer) -> Option<Credit<'_>> {
        let pool = &self.link(to).credits;
        pool.take().then(|| Credit { to, pool })
    }

    /// The right to send one request to `to`, as soon as one is free; waiters are served in the order of their first
    /// poll. Dropping the future gives up the place in the queue.
    ///
    /// The reply that ends the wait is noticed by whoever receives on this port, so that must be another task.
    pub fn credit(&self, to: Peer) -> CreditWait<'_> {
        CreditWait {
            to,
            pool: &self.link(to).credits,
            ticket: None,
        }
    }

    /// Requests to `to` that are under way, or for which a credit is held. At most [`CREDITS`].
    #[must_use]
    pub fn outstanding(&self, to: Peer) -> usize {
        CREDITS - self.link(to).credits.free.get()
    }

    /// Sends a request, for the credit. It is on its way at once; the peer is woken by [`Port::ring_doorbells`].
    pub fn send_request(&self, credit: Credit<'_>, message: M) {
        let link = self.link(credit.to);
        assert!(
            std::ptr::eq(credit.pool, &raw const link.credits),
            "the credit belongs to another port"
        );
        self.send(link, Envelope::Request(message));
        // Spent: the reply gives it back, not the drop.
        std::mem::forget(credit);
    }

    /// Answers a request of `to`. Never waits: the slot was paid for by the request. The peer is woken by
    /// [`Port::ring_doorbells`]. Panics when no request of `to` is unanswered.
    pub fn send_reply(&self, to: Peer, message: M) {
        let link = self.link(to);
        let owed = link.owed.get();
        assert!(owed > 0, "reply from {} to {to} without a request", self.own);
        link.owed.set(owed - 1);
        self.send(link, Envelope::Reply(message));
    }

    fn send(&self, link: &Link<M>, envelope: Envelope<M>) {
        let pushed = link.outbound.borrow_mut().push(envelope);
        assert!(
            pushed.is_ok(),
            "the credits of port {} do not cover its messages",
            self.own
        );
        if !link.dirty.replace(true) {
            self.dirty_count.set(self.dirty_count.get() + 1);
        }
    }

    /// Wakes the sleepers among the peers that were sent something since the last call. Call it at the end of a turn;
    /// it costs nothing when nothing was sent, and no system call for peers that are awake.
    pub fn ring_doorbells(&self) {
        if self.dirty_count.replace(0) == 0 {
            return;
        }
        for link in self.links.iter().flatten() {
            if link.dirty.replace(false) {
                link.bell.ring();
            }
        }
    }

    /// The next message, if one is there. Peers take turns, one message each.
    ///
    /// A reply frees its credit and wakes the first who waits for one.
    pub fn try_recv(&self) -> Option<Received<M>> {
        let count = self.links.len();
        let start = self.cursor.get();
        for index in (start..count).chain(0..start) {
            if let Some(link) = &self.links[index]
                && let Some(message) = link.pop()
            {
                self.cursor.set(if index + 1 == count { 0 } else { index + 1 });
                let from = Peer(u16::try_from(index).expect("there are at most u16::MAX links"));
                return Some(Received { from, message });
            }
        }
        None
    }

    /// The next message, as soon as there is one. One task at a time; dropping the future loses nothing.
    pub fn recv(&self) -> impl Future<Output = Received<M>> {
        poll_fn(|cx| self.poll_recv(cx))
    }

    /// The next message; when there is none, rings the doorbells, registers the task to be woken, and is pending.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Received<M>> {
        if let Some(received) = self.try_recv() {
            return Poll::Ready(received);
        }
        // We are about to sleep: what we sent must not sleep with us.
        self.ring_doorbells();
        self.parker.borrow_mut().park(&waker_from_afar(cx.waker()));
        // The look after `park` is the receiver's half of the handshake in `runtime::doorbell`.
        match self.try_recv() {
            Some(received) => {
                self.parker.borrow_mut().unpark();
                Poll::Ready(received)
            }
            None => Poll::Pending,
        }
    }

    fn link(&self, peer: Peer) -> &Link<M> {
        match self.links.get(peer.index()) {
            Some(Some(link)) => link,
            _ => panic!(
                "port {} has no link to {peer} (of {} peers)",
                self.own,
                self.links.len()
            ),
        }
    }
}

impl<M> Link<M> {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the caller collects the absent links as well"
    )]
    fn new(outbound: Producer<Envelope<M>>, inbound: Consumer<Envelope<M>>, bell: &Bell) -> Option<Self> {
        Some(Self {
            outbound: RefCell::new(outbound),
            inbound: RefCell::new(inbound),
            credits: CreditPool::new(),
            owed: Cell::new(0),
            dirty: Cell::new(false),
            bell: bell.clone(),
        })
    }

    fn pop(&self) -> Option<Envelope<M>> {
        let envelope = self.inbound.borrow_mut().pop()?;
        match &envelope {
            Envelope::Request(_) => self.owed.set(self.owed.get() + 1),
            Envelope::Reply(_) => self.credits.give_back(),
        }
        Some(envelope)
    }
}

impl<M> fmt::Debug for Port<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("own", &self.own)
            .field("peers", &self.links.len())
            .finish_non_exhaustive()
    }
}

/// The right to send one request to one peer. Dropping it unused gives it back.
#[must_use = "a credit is there to be spent"]
pub struct Credit<'a> {
    to: Peer,
    pool: &'a CreditPool,
}

impl Credit<'_> {
    /// The peer it is good for.
    #[must_use]
    pub fn to(&self) -> Peer {
        self.to
    }
}

impl Drop for Credit<'_> {
    fn drop(&mut self) {
        self.pool.give_back();
    }
}

impl fmt::Debug for Credit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credit")
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// The future of [`Port::credit`].
pub struct CreditWait<'a> {
    to: Peer,
    pool: &'a CreditPool,
    /// Our place in `pool.waiters`, while we have one.
    ticket: Option<u64>,
}

impl<'a> Future for CreditWait<'a> {
    type Output = Credit<'a>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Credit<'a>> {
        let (to, pool) = (self.to, self.pool);
        match self.ticket {
            None if pool.take() => Poll::Ready(Credit { to, pool }),
            None => {
                self.ticket = Some(pool.enqueue(cx.waker()));
                Poll::Pending
            }
            Some(ticket) if pool.claim(ticket, cx.waker()) => {
                self.ticket = None;
                Poll::Ready(Credit { to, pool })
            }
            Some(_) => Poll::Pending,
        }
    }
}

impl Drop for CreditWait<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.pool.leave(ticket);
        }
    }
}

impl fmt::Debug for CreditWait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreditWait")
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// The credits of one thread for one peer, and the tasks of the thread that wait for one.
///
/// Invariants: `free` plus granted waiters plus credits held plus unanswered requests is [`CREDITS`]; `free > 0` only
/// while nobody waits ungranted; granted waiters stand before ungranted ones; tickets grow along the queue. The queue
/// is as long as the thread has tasks that want to send, which the callers bound.
struct CreditPool {
    free: Cell<usize>,
    waiters: RefCell<VecDeque<Waiter>>,
    next_ticket: Cell<u64>,
}

struct Waiter {
    ticket: u64,
    waker: Waker,
    /// A credit was put aside for this waiter; it takes it at its next poll.
    granted: bool,
}

impl CreditPool {
    fn new() -> Self {
        Self {
            free: Cell::new(CREDITS),
            waiters: RefCell::new(VecDeque::new()),
            next_ticket: Cell::new(0),
        }
    }

    fn take(&self) -> bool {
        let free = self.free.get();
        if free > 0 {
            self.free.set(free - 1);
        }
        free > 0
    }

    fn give_back(&self) {
        let mut waiters = self.waiters.borrow_mut();
        let first = waiters.partition_point(|waiter| waiter.granted);
        if let Some(waiter) = waiters.get_mut(first) {
            waiter.granted = true;
            let waker = waiter.waker.clone();
            // Released first: waking may run code that comes back here.
            drop(waiters);
            waker.wake();
            return;
        }
        assert!(
            self.free.get() < CREDITS,
            "more credits came back than were given out"
        );
        self.free.set(self.free.get() + 1);
    }

    fn enqueue(&self, waker: &Waker) -> u64 {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        self.waiters.borrow_mut().push_back(Waiter {
            ticket,
            waker: waker.clone(),
            granted: false,
        });
        ticket
    }

    /// Takes the credit that was put aside for `ticket`, or renews its waker.
    fn claim(&self, ticket: u64, waker: &Waker) -> bool {
        let mut waiters = self.waiters.borrow_mut();
        let place = place(&waiters, ticket);
        if waiters[place].granted {
            waiters.remove(place);
            return true;
        }
        waiters[place].waker.clone_from(waker);
        false
    }

    fn leave(&self, ticket: u64) {
        let mut waiters = self.waiters.borrow_mut();
        let place = place(&waiters, ticket);
        let granted = waiters.remove(place).is_some_and(|waiter| waiter.granted);
        drop(waiters);
        if granted {
            self.give_back();
        }
    }
}

fn place(waiters: &VecDeque<Waiter>, ticket: u64) -> usize {
    waiters
        .binary_search_by_key(&ticket, |waiter| waiter.ticket)
        .expect("a ticket stays in the queue until its owner takes it out")
}

#[cfg(test)]
mod tests;
