//! Waiting for records: a watch spans partitions of many shards and fires once when any of them grows.
//!
//! Local partitions fire it directly. For partitions elsewhere the owner is told to watch, and later answers with a message
//! of its own: the first message is acknowledged at once, so that a thousand idle consumers hold no credits of the ring.
//! Firings, and watches given up, leave in batches: one message for all that gathered while a credit was awaited.

use super::partition::WatchState;
use super::request::{Body, Message, WatchId};
use crate::base::hash::HashMap;
use crate::runtime::executor;
use crate::runtime::local::Notify;
use crate::runtime::mesh::{Peer, Port};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A watch held by this shard. Dropping it gives it up everywhere.
#[derive(Debug)]
pub struct Watch {
    pub(crate) state: Rc<WatchState>,
    pub(crate) remote: Option<RemoteHold>,
}

/// The part of a watch other shards know.
#[derive(Debug)]
pub(crate) struct RemoteHold {
    pub(crate) id: WatchId,
    pub(crate) peers: Vec<Peer>,
    pub(crate) outbox: Rc<Outbox>,
}

impl Watch {
    /// Waits until one of the watched logs is readable beyond its offset, is gone, or failed.
    pub async fn fired(&self) {
        while !self.state.has_fired() {
            self.state.notify.notified().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(remote) = self.remote.take() {
            remote.outbox.forget(&remote);
        }
    }
}

/// Messages about watches waiting to leave, per peer, and the watches of this shard others may fire.
#[derive(Debug)]
pub struct Outbox {
    port: Rc<Port<Message>>,
    /// Per peer: firings and give-ups to send.
    queues: RefCell<HashMap<Peer, Queue>>,
    work: Notify,
    held: RefCell<HashMap<WatchId, Rc<WatchState>>>,
    /// Watches of other shards on partitions of ours, alive until they fire or are given up.
    foreign: RefCell<HashMap<(Peer, WatchId), Rc<WatchState>>>,
    next_id: Cell<WatchId>,
}

#[derive(Debug, Default)]
struct Queue {
    fired: Vec<WatchId>,
    forgotten: Vec<WatchId>,
}

impl Outbox {
    pub(crate) fn start(port: Rc<Port<Message>>) -> Rc<Self> {
        let outbox = Rc::new(Self {
            port,
            queues: RefCell::new(HashMap::default()),
            work: Notify::default(),
            held: RefCell::new(HashMap::default()),
            foreign: RefCell::new(HashMap::default()),
            next_id: Cell::new(1),
        });
        executor::spawn(Rc::clone(&outbox).send_gathered());
        outbox
    }

    /// Registers a watch of this shard that other shards will be asked to fire.
    pub(crate) fn hold(&self, state: &Rc<WatchState>) -> WatchId {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        self.held.borrow_mut().insert(id, Rc::clone(state));
        id
    }

    /// Another shard fired watches of ours.
    pub(crate) fn receive_fired(&self, ids: &[WatchId]) {
        for id in ids {
            let state = self.held.borrow_mut().remove(id);
            if let Some(state) = state {
                state.fire();
            }
        }
    }

    /// Keeps a watch of another shard alive.
    pub(crate) fn adopt(&self, peer: Peer, id: WatchId, state: Rc<WatchState>) {
        self.foreign.borrow_mut().insert((peer, id), state);
    }

    /// Another shard gave up watches.
    pub(crate) fn receive_forgotten(&self, peer: Peer, ids: &[WatchId]) {
        let mut foreign = self.foreign.borrow_mut();
        for id in ids {
            foreign.remove(&(peer, *id));
        }
    }

    pub(crate) fn fired(&self, peer: Peer, id: WatchId) {
        self.foreign.borrow_mut().remove(&(peer, id));
        self.queues.borrow_mut().entry(peer).or_default().fired.push(id);
        self.work.notify();
    }

    fn forget(&self, hold: &RemoteHold) {
        let fired_by_a_peer = self.held.borrow_mut().remove(&hold.id).is_none();
        if fired_by_a_peer && hold.peers.len() == 1 {
            // The only other shard that knew it has forgotten it by firing it.
            return;
        }
        let mut queues = self.queues.borrow_mut();
        for peer in &hold.peers {
            queues.entry(*peer).or_default().forgotten.push(hold.id);
        }
        self.work.notify();
    }

    async fn send_gathered(self: Rc<Self>) {
        loop {
            self.work.notified().await;
            let peers: Vec<Peer> = self.queues.borrow().keys().copied().collect();
            for peer in peers {
                self.send_to(peer).await;
            }
            self.port.ring_doorbells();
        }
    }

    /// What gathers while a credit is awaited leaves with it.
    async fn send_to(&self, peer: Peer) {
        let credit = self.port.credit(peer).await;
        let fired = self
            .queues
            .borrow_mut()
            .get_mut(&peer)
            .map(|queue| std::mem::take(&mut queue.fired));
        match fired.filter(|fired| !fired.is_empty()) {
            Some(fired) => self.port.send_request(
                credit,
                Message {
                    call: 0,
                    body: Body::Fired(fired),
                },
            ),
            None => drop(credit),
        }
        let credit = self.port.credit(peer).await;
        let forgotten = self.queues.borrow_mut().remove(&peer).unwrap_or_default();
        if !forgotten.fired.is_empty() {
            // More fired meanwhile; they go with the next round.
            self.queues.borrow_mut().entry(peer).or_default().fired = forgotten.fired;
            self.work.notify();
        }
        if forgotten.forgotten.is_empty() {
            return;
        }
        self.port.send_request(
            credit,
            Message {
                call: 0,
                body: Body::Unwatch(forgotten.forgotten),
            },
        );
    }
}
