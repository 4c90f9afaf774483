//! The control thread: metadata changes, free space, statistics, and the orderly end.
//!
//! One tokio runtime on the process's first thread. It never sits between a client and the log: shards ask it for what is
//! rare, and it tells them what changed. Changes are carried out one at a time, in the order they arrive; each is answered
//! when every shard has the new image.

use super::catalog::Catalog;
use crate::base::hash::HashMap;
use crate::runtime::control_tasks;
use crate::runtime::fs;
use crate::runtime::mesh::{Envelope, Peer, Port};
use crate::shard::request::{Body, ControlError, ControlReply, ControlRequest, Message};
use crate::shard::{FatalSink, ShardStats};
use crate::storage::layout::DataDir;
use crate::storage::marker::CleanEnd;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, oneshot};

/// How often free space is looked at.
const FREE_SPACE_INTERVAL: Duration = Duration::from_millis(500);

/// How long a shard may take to answer for its health.
pub(super) const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long connections get to finish at a graceful stop.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(5);

/// Why the data directory is not the one the broker started on any more, if so.
pub type LossCheck = Box<dyn Fn() -> Option<String>>;

/// See the module.
pub struct Control {
    port: Rc<Port<Message>>,
    shards: u16,
    calls: RefCell<HashMap<u64, oneshot::Sender<Body>>>,
    next_call: Cell<u64>,
    catalog: Mutex<Catalog>,
    data: DataDir,
    lost: LossCheck,
    fatal: FatalSink,
    min_free_bytes: u64,
    disk_full: Cell<bool>,
    free_bytes: Cell<u64>,
    stopping: Cell<bool>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

impl Control {
    /// Starts serving the shards. Call inside a tokio `LocalSet`.
    pub fn start(
        port: Port<Message>,
        shards: u16,
        catalog: Catalog,
        data: DataDir,
        min_free_bytes: u64,
        lost: LossCheck,
        fatal: FatalSink,
    ) -> Rc<Self> {
        let control = Rc::new(Self {
            port: Rc::new(port),
            shards,
            calls: RefCell::new(HashMap::default()),
            next_call: Cell::new(1),
            catalog: Mutex::new(catalog),
            data,
            lost,
            fatal,
            min_free_bytes,
            disk_full: Cell::new(false),
            free_bytes: Cell::new(0),
            stopping: Cell::new(false),
        });
        control_tasks::spawn(Rc::clone(&control).receive());
        control_tasks::spawn(Rc::clone(&control).watch_free_space());
        control
    }

    async fn receive(self: Rc<Self>) {
        loop {
            let received = self.port.recv().await;
            match received.message {
                Envelope::Reply(message) => {
                    let waiting = self.calls.borrow_mut().remove(&message.call);
                    if let Some(waiting) = waiting {
                        // Whoever asked may have stopped waiting.
                        let _given_up = waiting.send(message.body);
                    }
                }
                Envelope::Request(message) => {
                    let control = Rc::clone(&self);
                    control_tasks::spawn(async move { control.serve(received.from, message).await });
                }
            }
        }
    }

    async fn serve(self: Rc<Self>, from: Peer, message: Message) {
        let body = match message.body {
            Body::Control(request) => Body::ControlDone(self.carry_out(request).await),
            other => unreachable!("{other:?} is not a request to the control thread"),
        };
        self.port.send_reply(
            from,
            Message {
                call: message.call,
                body,
            },
        );
        self.port.ring_doorbells();
    }

    /// Carries out one change; every shard has the new image when this returns.
    ///
    /// # Errors
    /// What is wrong with the request, or that the store cannot write.
    pub async fn carry_out(self: &Rc<Self>, request: ControlRequest) -> Result<ControlReply, ControlError> {
        if self.stopping.get() {
            return Err(ControlError::Stopping);
        }
        let mut catalog = self.catalog.lock().await;
        let done = self.change(&mut catalog, request).await;
        self.judge(&catalog);
        done
    }

    /// A disk that failed under the metadata is the end of the process: nobody knows what of the last change survives.
    fn judge(&self, catalog: &Catalog) {
        if let Some(problem) = catalog.failure() {
            (self.fatal)(problem.to_owned());
        }
    }

    async fn change(
        self: &Rc<Self>,
        catalog: &mut Catalog,
        request: ControlRequest,
    ) -> Result<ControlReply, ControlError> {
        let topic = match request {
            ControlRequest::ProducerIds => return catalog.producer_ids().map(ControlReply::ProducerIds),
            ControlRequest::CreateTopic(new) => catalog.create(&new)?,
            ControlRequest::SetPartitions { name, partitions } => {
                catalog.set_partitions(&name, partitions)?
            }
            ControlRequest::AlterConfigs(request) => {
                let before = catalog.image();
                let reply = catalog.alter(&request)?;
                if !Arc::ptr_eq(&before, &catalog.image()) {
                    self.publish(catalog).await;
                    tracing::info!(resource = ?request.resource, change = ?request.alteration, "configuration changed");
                }
                return Ok(reply);
            }
            ControlRequest::DeleteTopic(name) => {
                let topic = catalog.delete(&name)?;
                self.publish(catalog).await;
                catalog
                    .move_to_trash(&topic.name, topic.id)
                    .map_err(|error| ControlError::Storage(error.to_string()))?;
                self.remove_later(topic.id);
                tracing::info!(topic = %topic.name, id = %topic.id, "topic deleted");
                return Ok(ControlReply::Topic(topic));
            }
        };
        self.publish(catalog).await;
        tracing::info!(topic = %topic.name, id = %topic.id, partitions = topic.partitions, "topic metadata changed");
        Ok(ControlReply::Topic(topic))
    }

    async fn publish(&self, catalog: &Catalog) {
        let image = catalog.image();
        self.ask_all(|| Body::SetImage(Arc::clone(&image))).await;
    }

    /// Removing files can take long; the deletion is answered before.
    fn remove_later(self: &Rc<Self>, id: crate::base::TopicId) {
        let control = Rc::clone(self);
        control_tasks::spawn(async move {
            let path = control.data.trashed(id);
            // What is left is removed with the tombstone below, or at the next start.
            let _left = control_tasks::blocking(move || fs::remove_directory_all(&path)).await;
            let mut catalog = control.catalog.lock().await;
            if let Err(error) = catalog.empty_trash(id) {
                tracing::warn!(%error, %id, "cannot remove a deleted topic's files; the next start tries again");
                control.judge(&catalog);
            }
        });
    }

    /// Sends a request to one thread and waits for its answer.
    pub(super) async fn ask(&self, to: Peer, body: Body) -> Option<Body> {
        let (answer, waiting) = oneshot::channel();
        let call = self.next_call.get();
        self.next_call.set(call + 1);
        self.calls.borrow_mut().insert(call, answer);
        let credit = self.port.credit(to).await;
        self.port.send_request(credit, Message { call, body });
        self.port.ring_doorbells();
        waiting.await.ok()
    }

    /// Sends a request to every shard and waits for all answers.
    pub(super) async fn ask_all(&self, body: impl Fn() -> Body) -> Vec<Body> {
        let asked: Vec<_> = (0..self.shards)
            .map(|shard| Box::pin(self.ask(Peer::new(shard), body())))
            .collect();
        let mut answers = Vec::with_capacity(asked.len());
        // Each was sent by the first poll of its future; polling them in turn would send them one after another.
        for answer in join_all(asked).await {
            answers.extend(answer);
        }
        answers
    }

    /// The statistics of every shard, or `None` if one does not answer in time: it is stuck.
    pub async fn stats(&self) -> Option<Vec<ShardStats>> {
        let answers = control_tasks::timeout(HEALTH_TIMEOUT, self.ask_all(|| Body::Stats)).await?;
        let stats: Vec<ShardStats> = answers
            .into_iter()
            .filter_map(|body| match body {
                Body::StatsDone(stats) => Some(*stats),
                _ => None,
            })
            .collect();
        (stats.len() == usize::from(self.shards)).then_some(stats)
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The topics now.
    pub async fn image(&self) -> Arc<crate::broker::image::Image> {
        self.catalog.lock().await.image()
    }

    /// Whether produce is refused for lack of space, and the bytes free at the last look.
    #[must_use]
    pub fn free_space(&self) -> (bool, u64) {
        (self.disk_full.get(), self.free_bytes.get())
    }

    /// Whether a stop has begun.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    async fn watch_free_space(self: Rc<Self>) {
        loop {
            if let Some(loss) = (self.lost)() {
                // Nothing more is acknowledged until the process has ended.
                self.ask_all(|| Body::DiskFull(true)).await;
                return (self.fatal)(loss);
            }
            if let Ok(space) = fs::space(self.data.root()) {
                let free = space.usable_bytes;
                self.free_bytes.set(free);
                let full = free < self.min_free_bytes;
                if full != self.disk_full.get() {
                    self.disk_full.set(full);
                    if full {
                        tracing::warn!(
                            free,
                            floor = self.min_free_bytes,
                            "free space is below the floor; produce is refused, reads go on"
                        );
                    } else {
                        tracing::info!(free, "free space is above the floor again; produce is accepted");
                    }
                    self.ask_all(|| Body::DiskFull(full)).await;
                }
            }
            control_tasks::sleep(FREE_SPACE_INTERVAL).await;
        }
    }

    /// Stops every shard and returns where the logs ended. Two rounds, because a connection of one shard appends to logs of
    /// another: no log may be settled while any shard still serves.
    pub async fn stop(&self) -> Vec<CleanEnd> {
        self.stopping.set(true);
        let mut ends = Vec::new();
        self.ask_all(|| Body::Drain(STOP_GRACE)).await;
        for answer in self.ask_all(|| Body::Settle).await {
            if let Body::Settled(more) = answer {
                ends.extend(more);
            }
        }
        ends
    }
}

/// Polls all futures until each is done; results in order.
async fn join_all<F: Future + Unpin>(futures: Vec<F>) -> Vec<F::Output> {
    let mut slots: Vec<(Option<F>, Option<F::Output>)> =
        futures.into_iter().map(|f| (Some(f), None)).collect();
    std::future::poll_fn(move |cx| {
        let mut pending = false;
        for (future, output) in &mut slots {
            if let Some(running) = future {
                match std::pin::Pin::new(running).poll(cx) {
                    std::task::Poll::Ready(value) => {
                        *future = None;
                        *output = Some(value);
                    }
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(slots.iter_mut().filter_map(|(_, output)| output.take()).collect())
    })
    .await
}
