//! Groups that another core coordinates.
//!
//! The request is acknowledged at once, so that its wait holds no credit of the ring; the answer is a message of its own,
//! under the number the asker gave. Answers that gather while a credit is awaited leave together.

use super::super::request::{Body, Message};
use super::super::{Shard, count};
use super::Asker;
use crate::base::hash::HashMap;
use crate::base::{LogId, ShardId};
use crate::broker::group::request::{GroupReply, GroupRequest};
use crate::runtime::executor;
use crate::runtime::local::{Notify, OneShot};
use crate::runtime::mesh::{Peer, Port};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// Calls to other shards that wait, and answers to theirs that are to leave.
#[derive(Debug)]
pub(crate) struct Outbox {
    port: Rc<Port<Message>>,
    next_call: Cell<u64>,
    waiting: RefCell<HashMap<u64, OneShot<GroupReply>>>,
    answers: RefCell<HashMap<Peer, Vec<(u64, GroupReply)>>>,
    work: Notify,
}

impl Outbox {
    pub(crate) fn start(port: Rc<Port<Message>>) -> Rc<Self> {
        let outbox = Rc::new(Self {
            port,
            next_call: Cell::new(1),
            waiting: RefCell::new(HashMap::default()),
            answers: RefCell::new(HashMap::default()),
            work: Notify::default(),
        });
        executor::spawn(Rc::clone(&outbox).send_answers());
        outbox
    }

    /// Queues an answer to another shard.
    pub(super) fn answer(&self, peer: Peer, call: u64, reply: GroupReply) {
        self.answers
            .borrow_mut()
            .entry(peer)
            .or_default()
            .push((call, reply));
        self.work.notify();
    }

    /// Answers to calls of this shard arrived.
    pub(crate) fn receive(&self, answers: Vec<(u64, GroupReply)>) {
        for (call, reply) in answers {
            let slot = self.waiting.borrow_mut().remove(&call);
            if let Some(slot) = slot {
                slot.set(reply);
            }
        }
    }

    async fn send_answers(self: Rc<Self>) {
        loop {
            self.work.notified().await;
            let peers: Vec<Peer> = self.answers.borrow().keys().copied().collect();
            for peer in peers {
                let credit = self.port.credit(peer).await;
                let answers = self.answers.borrow_mut().remove(&peer).unwrap_or_default();
                let body = Body::GroupAnswers(answers);
                self.port.send_request(credit, Message { call: 0, body });
            }
            self.port.ring_doorbells();
        }
    }
}

impl Shard {
    pub(super) async fn ask_elsewhere(
        &self,
        owner: ShardId,
        log: LogId,
        group: Arc<str>,
        request: GroupRequest,
    ) -> GroupReply {
        let outbox = &self.groups.outbox;
        let credit = self.port.credit(Peer::new(owner.get())).await;
        let call = outbox.next_call.get();
        outbox.next_call.set(call + 1);
        let slot = OneShot::default();
        outbox.waiting.borrow_mut().insert(call, slot.clone());
        count(&self.probe.hops, 1);
        let body = Body::Group(call, log, group, Box::new(request));
        self.port.send_request(credit, Message { call: 0, body });
        self.port.ring_doorbells();
        slot.take().await
    }

    /// Another shard asks a group of ours.
    pub(crate) fn ask_from(
        self: &Rc<Self>,
        from: Peer,
        call: u64,
        log: LogId,
        group: &Arc<str>,
        request: GroupRequest,
    ) {
        count(&self.probe.hops, 1);
        let ticket = self.groups.open(Asker::There(from, call), &request);
        self.ask(log, group, request, ticket);
    }

    /// Answers of another shard to groups we asked there.
    pub(crate) fn receive_group_answers(&self, answers: Vec<(u64, GroupReply)>) {
        self.groups.outbox.receive(answers);
    }
}
