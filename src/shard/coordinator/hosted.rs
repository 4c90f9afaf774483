//! One partition of the offsets topic and the coordinator of its groups.
//!
//! Decisions are made at once and in order; what they say goes into one queue, records and answers alike. A task appends the
//! records, many in one batch, and hands the answers to another, which lets them go when the log is durable that far. When
//! nothing is queued and the log is durable already, as it is for nearly every heartbeat, an answer leaves at once.
//!
//! **Turns.** A decision over thousands of members takes milliseconds, and one that writes a large group down makes megabytes
//! of a small request. Where that is so, requests wait in a backlog, are decided one a turn, and only as fast as the log
//! takes what was decided. The backlog is bounded; beyond it clients are told to come again.
//!
//! **When an append fails**, memory is ahead of the log and stays so: nothing more is answered from it but refusals, until
//! the process has started again. Nobody was told what is not in the log.

use super::super::Shard;
use super::super::partition::Partition;
use crate::base::Offset;
use crate::batch::attributes::Compression;
use crate::batch::kafka::KafkaBatchBuilder;
use crate::broker::group::Effects;
use crate::broker::group::classic::Context;
use crate::broker::group::coordinator::Coordinator;
use crate::broker::group::error::GroupError;
use crate::broker::group::record::GroupRecord;
use crate::broker::group::request::{GroupReply, GroupRequest, Ticket};
use crate::runtime::clock;
use crate::runtime::executor;
use crate::runtime::local::Notify;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Records are appended in batches of about this many bytes; one record may be larger.
const BATCH_BYTES: usize = 512 << 10;

/// A decision that takes this long has the next one wait for its turn.
const DECISION_LONG: Duration = Duration::from_millis(1);

/// Requests that wait for their turn at a partition; the rest are told to come again.
const BACKLOG_MAX: usize = 4096;

/// Decisions that are not in the log yet may take one byte of this many of the groups' memory,
const QUEUED_SHARE: usize = 2;
/// and those of one partition this much in any case.
const QUEUED_BYTES_SPARED: usize = 64 << 10;

/// How often a partition that lacks room looks whether there is some.
const FULL_POLL: Duration = Duration::from_millis(50);

/// Whether the groups of a partition can be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Service {
    /// The partition is being read.
    Loading,
    /// All is well.
    Ready,
    /// The partition cannot be read, or not be written any more.
    Lost,
}

/// A request to a group of the partition.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) group: Arc<str>,
    pub(super) request: GroupRequest,
    pub(super) ticket: Ticket,
}

#[derive(Debug)]
enum Queued {
    Record(GroupRecord),
    Answer(Ticket, GroupReply),
}

/// Answers, and how far the log must be durable for them.
#[derive(Debug)]
struct Pending {
    end: Offset,
    answers: Vec<(Ticket, GroupReply)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Hosted {
    pub(super) partition: Rc<Partition>,
    pub(super) machine: RefCell<Coordinator>,
    service: Cell<Service>,
    queue: RefCell<VecDeque<Queued>>,
    /// A batch was taken from the queue and is not appended yet.
    appending: Cell<bool>,
    queued: Notify,
    pending: RefCell<VecDeque<Pending>>,
    appended: Notify,
    has_tasks: Cell<bool>,
    /// Requests that wait for their turn.
    backlog: RefCell<VecDeque<Asked>>,
    /// A task takes them from there.
    serving: Cell<bool>,
    /// The last decision took long.
    costly: Cell<bool>,
    /// Bytes of the records in the queue and on their way to the log.
    queued_bytes: Cell<usize>,
    /// They have become fewer.
    relieved: Notify,
}

impl Hosted {
    pub(super) fn new(partition: Rc<Partition>) -> Rc<Self> {
        Rc::new(Self {
            partition,
            machine: RefCell::new(Coordinator::default()),
            service: Cell::new(Service::Loading),
            queue: RefCell::new(VecDeque::new()),
            appending: Cell::new(false),
            queued: Notify::default(),
            pending: RefCell::new(VecDeque::new()),
            appended: Notify::default(),
            has_tasks: Cell::new(false),
            backlog: RefCell::new(VecDeque::new()),
            serving: Cell::new(false),
            costly: Cell::new(false),
            queued_bytes: Cell::new(0),
            relieved: Notify::default(),
        })
    }

    /// Why nothing can be asked of it now, if so.
    pub(super) fn refusal(&self) -> Option<GroupError> {
        match self.service.get() {
            Service::Loading => Some(GroupError::Loading),
            Service::Ready => None,
            Service::Lost => Some(GroupError::NotAvailable),
        }
    }

    /// A log that never had a record need not be read.
    pub(super) fn begin_if_new(&self) -> bool {
        let log = self.partition.log.borrow();
        let is_new = log.next() == Offset::default() && log.damaged().is_empty();
        if is_new {
            self.set_service(Service::Ready);
        }
        is_new
    }

    pub(super) fn set_service(&self, service: Service) {
        self.service.set(service);
    }

    /// Everything decided so far is durable.
    fn is_settled(&self) -> bool {
        let log = self.partition.log.borrow();
        self.queue.borrow().is_empty() && !self.appending.get() && log.visible() == log.next()
    }

    /// Takes what makes up the next batch, and the answers up to its end.
    fn take_batch(&self) -> (Vec<GroupRecord>, Vec<(Ticket, GroupReply)>) {
        let mut queue = self.queue.borrow_mut();
        let (mut records, mut answers, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(next) = queue.pop_front() {
            match next {
                Queued::Record(record) => {
                    bytes += bytes_of(&record);
                    records.push(record);
                    if bytes >= BATCH_BYTES {
                        break;
                    }
                }
                Queued::Answer(ticket, reply) => answers.push((ticket, reply)),
            }
        }
        self.appending.set(!records.is_empty());
        (records, answers)
    }
}

impl Shard {
    /// Has a request decided: at once, or in its turn where decisions take long or the log is behind.
    pub(super) fn take_in(self: &Rc<Self>, hosted: &Rc<Hosted>, asked: Asked) {
        if !hosted.serving.get() && !hosted.costly.get() && !self.is_behind(hosted) {
            return self.decide(hosted, asked);
        }
        let bytes = asked.request.memory_bytes();
        let waiting = self.groups.backlog_bytes.get() + bytes;
        if hosted.backlog.borrow().len() >= BACKLOG_MAX || waiting > self.groups.bytes_max {
            return self.groups.refuse(asked.ticket, GroupError::NotAvailable);
        }
        self.groups.backlog_bytes.set(waiting);
        hosted.backlog.borrow_mut().push_back(asked);
        if !hosted.serving.replace(true) {
            executor::spawn(Rc::clone(self).serve_backlog(Rc::clone(hosted)));
        }
    }

    fn decide(self: &Rc<Self>, hosted: &Rc<Hosted>, asked: Asked) {
        let begun = clock::now();
        let room = self.groups.room();
        let Asked {
            group,
            request,
            ticket,
        } = asked;
        self.act(hosted, |machine, cx| {
            machine.request(&group, request, ticket, room, cx);
        });
        hosted.costly.set(clock::now().since(begun) >= DECISION_LONG);
    }

    /// One decision a turn, so that everybody else on the core has theirs in between.
    async fn serve_backlog(self: Rc<Self>, hosted: Rc<Hosted>) {
        loop {
            executor::yield_now().await;
            while self.is_behind(&hosted) && hosted.service.get() == Service::Ready && !self.sealed.get() {
                hosted.relieved.notified().await;
            }
            let next = hosted.backlog.borrow_mut().pop_front();
            let Some(asked) = next else { break };
            let waiting = self.groups.backlog_bytes.get() - asked.request.memory_bytes();
            self.groups.backlog_bytes.set(waiting);
            match hosted.refusal() {
                Some(error) => self.groups.refuse(asked.ticket, error),
                None if self.sealed.get() => self.groups.refuse(asked.ticket, GroupError::NotCoordinator),
                None => self.decide(&hosted, asked),
            }
        }
        hosted.serving.set(false);
    }

    /// Whether more was decided than the log has taken. What one partition may have in any case is beside the bound of all.
    fn is_behind(&self, hosted: &Hosted) -> bool {
        hosted.queued_bytes.get() > QUEUED_BYTES_SPARED
            && self.groups.queued_bytes.get() > self.groups.bytes_max / QUEUED_SHARE
    }

    fn note_queued(&self, hosted: &Hosted, records: &[GroupRecord]) {
        let bytes: usize = records.iter().map(bytes_of).sum();
        hosted.queued_bytes.set(hosted.queued_bytes.get() + bytes);
        self.groups
            .queued_bytes
            .set(self.groups.queued_bytes.get() + bytes);
    }

    fn note_appended(&self, hosted: &Hosted, records: &[GroupRecord]) {
        let bytes: usize = records.iter().map(bytes_of).sum();
        hosted.queued_bytes.set(hosted.queued_bytes.get() - bytes);
        self.groups
            .queued_bytes
            .set(self.groups.queued_bytes.get() - bytes);
        hosted.relieved.notify();
    }

    /// Lets the coordinator decide something, and sees to what follows from it.
    pub(super) fn act<T>(
        self: &Rc<Self>,
        hosted: &Rc<Hosted>,
        work: impl FnOnce(&mut Coordinator, &mut Context<'_>) -> T,
    ) -> T {
        let mut effects = Effects::default();
        let done = work(
            &mut hosted.machine.borrow_mut(),
            &mut Context {
                config: &self.groups.settings.config,
                now: self.group_now(),
                image: &self.image(),
                effects: &mut effects,
            },
        );
        self.note_deadline(hosted);
        if effects.records.is_empty() && hosted.is_settled() {
            for (ticket, reply) in effects.replies {
                self.groups.answer(ticket, reply);
            }
            return done;
        }
        self.note_queued(hosted, &effects.records);
        let records = effects.records.into_iter().map(Queued::Record);
        let answers = effects.replies.into_iter();
        let answers = answers.map(|(ticket, reply)| Queued::Answer(ticket, reply));
        hosted.queue.borrow_mut().extend(records.chain(answers));
        if !hosted.has_tasks.replace(true) {
            executor::spawn(Rc::clone(self).append_decisions(Rc::clone(hosted)));
            executor::spawn(Rc::clone(self).deliver_answers(Rc::clone(hosted)));
        }
        hosted.queued.notify();
        done
    }

    async fn append_decisions(self: Rc<Self>, hosted: Rc<Hosted>) {
        loop {
            hosted.queued.notified().await;
            while !hosted.queue.borrow().is_empty() {
                self.wait_for_room(&hosted).await;
                let (records, answers) = hosted.take_batch();
                let appended = match records.is_empty() {
                    true => Ok(hosted.partition.log.borrow().next()),
                    false => self.append_records(&hosted, &records).await,
                };
                hosted.appending.set(false);
                self.note_appended(&hosted, &records);
                match appended {
                    Ok(end) => {
                        hosted.pending.borrow_mut().push_back(Pending { end, answers });
                        hosted.appended.notify();
                    }
                    Err(()) => self.lose(&hosted, answers),
                }
            }
        }
    }

    /// While the disk is full, decisions stay here, where they are counted, and not in the buffers that reads need, too.
    async fn wait_for_room(&self, hosted: &Hosted) {
        while hosted.partition.lacks_room.get() && !self.sealed.get() {
            executor::sleep(FULL_POLL).await;
        }
    }

    /// Appends records; gives the end of the log behind them.
    async fn append_records(self: &Rc<Self>, hosted: &Hosted, records: &[GroupRecord]) -> Result<Offset, ()> {
        if hosted.service.get() == Service::Lost {
            return Err(());
        }
        let now = clock::wall_ms();
        let mut builder = KafkaBatchBuilder::new();
        for record in records {
            builder.push(Some(&record.key), record.value.as_deref(), now, []);
        }
        let batch = builder
            .build(Compression::None, None)
            .expect("a bounded number of bounded records fits a batch");
        let booked = self.append_own(hosted.partition.id, batch).await;
        booked.map(|ticket| ticket.end).map_err(|error| {
            tracing::error!(%error, log = %hosted.partition.id, "cannot write what groups decided; they are refused until the next start");
        })
    }

    fn lose(&self, hosted: &Hosted, answers: Vec<(Ticket, GroupReply)>) {
        hosted.set_service(Service::Lost);
        for (ticket, _) in answers {
            self.groups.refuse(ticket, GroupError::NotAvailable);
        }
    }

    async fn deliver_answers(self: Rc<Self>, hosted: Rc<Hosted>) {
        loop {
            hosted.appended.notified().await;
            loop {
                let next = hosted.pending.borrow_mut().pop_front();
                let Some(Pending { end, answers }) = next else {
                    break;
                };
                match hosted.partition.settled(end).await {
                    Ok(()) => {
                        for (ticket, reply) in answers {
                            self.groups.answer(ticket, reply);
                        }
                    }
                    Err(_) => self.lose(&hosted, answers),
                }
            }
        }
    }
}

fn bytes_of(record: &GroupRecord) -> usize {
    record.key.len() + record.value.as_ref().map_or(0, Vec::len)
}
