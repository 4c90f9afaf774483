//! What the load generator asks of a protocol: bytes out for a batch, events for bytes in.
//!
//! A [`Door`] knows one broker: it creates what the run needs and says where to connect. A [`Conversation`] is one
//! connection's state machine without its socket: the engine owns sockets, schedules and clocks, so every protocol meets
//! the same generator and none can flatter itself by timing its own work. Conversations never block, sleep or look at
//! a clock. They live on the worker thread that made them.
//!
//! Absent: retries (a failed request is counted, never hidden) and reconnects (a lost connection ends the run).

pub mod amqp;
pub mod kafka;
pub mod native;
pub mod nats;
pub mod resp;

mod dial;
#[cfg(test)]
mod script;
mod window;

use std::net::SocketAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::payload::Message;
use crate::base::stages::StageTimes;

/// What a run needs to exist at the broker.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    /// Topic, stream or queue names, one per topic of the run.
    pub names: Vec<String>,
    /// Partitions of each; protocols without partitions make as many streams or queues.
    pub partitions: u32,
    /// Extra settings by the peer's own names, such as `retention.bytes`.
    pub settings: Vec<(String, String)>,
}

/// One partition of the run: an index into [`Layout::partitions`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PartitionIndex(pub usize);

/// Where one partition is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionHome {
    /// Name of its topic.
    pub topic: String,
    /// Its number in the topic.
    pub partition: u32,
    /// Whom to connect to.
    pub address: SocketAddr,
}

/// What [`Door::prepare`] found or made.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Every partition of the run.
    pub partitions: Vec<PartitionHome>,
}

/// Which acknowledgement a producer asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acks {
    /// No answer; a batch counts as acknowledged when its bytes were handed to the kernel.
    None,
    /// The broker's strongest answer; whether that means the disk is the broker's configuration, stated in the result.
    All,
}

/// How a producer's requests look.
#[derive(Clone, Copy, Debug)]
pub struct ProduceOptions {
    /// See [`Acks`].
    pub acks: Acks,
    /// Ask for stage times in the answers, where the protocol can.
    pub stages: bool,
    /// Register as an idempotent producer, where the protocol can.
    pub idempotent: bool,
}

/// Where a consumer begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartAt {
    /// What is produced from now on.
    Latest,
    /// Everything there is.
    Earliest,
}

/// How a consumer asks.
#[derive(Clone, Copy, Debug)]
pub struct ConsumeOptions {
    /// See [`StartAt`].
    pub start: StartAt,
    /// Most bytes one answer or push may carry.
    pub max_bytes: u32,
    /// Longest wait of a poll that finds nothing.
    pub max_wait: Duration,
}

/// One batch to send: messages of one partition, in order.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Where it goes.
    pub partition: PartitionIndex,
    /// At least one.
    pub messages: &'a [Message<'a>],
    /// Milliseconds since 1970, for record timestamps.
    pub timestamp_ms: i64,
}

/// The engine's number for a batch in flight, unique per conversation.
pub type Ticket = u64;

/// What bytes from the broker, or bytes handed to the kernel, meant.
#[derive(Debug)]
pub enum Event<'a> {
    /// The handshake is over. Reported exactly once: by a producer when batches may be sent, by a consumer when its
    /// position is fixed, so that everything produced from now on will reach it.
    Ready,
    /// A batch is acknowledged. Never reported with [`Acks::None`]: the engine knows what the kernel took.
    Acked {
        /// Which.
        ticket: Ticket,
        /// The broker's own stage times in nanoseconds by name; empty unless asked for and given.
        stages: &'a [(&'static str, u32)],
    },
    /// A batch was refused.
    Failed {
        /// Which.
        ticket: Ticket,
        /// The broker's words or code.
        reason: String,
    },
    /// A message arrived at a consumer.
    Message {
        /// From where.
        partition: PartitionIndex,
        /// Its bytes as produced.
        value: &'a [u8],
    },
}

/// The broker's stage times as [`Event::Acked`] carries them; one longer than four seconds counts as that.
fn stage_list(times: Option<&StageTimes>) -> SmallVec<[(&'static str, u32); 8]> {
    let times = times.into_iter().flat_map(StageTimes::iter);
    times
        .map(|(stage, time)| (stage.name(), u32::try_from(time.as_nanos()).unwrap_or(u32::MAX)))
        .collect()
}

/// Bytes that break the protocol, or an error the broker closes with. Ends the run.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

/// One connection's protocol. The engine calls [`open`](Self::open) once, then any of the others.
pub trait Conversation {
    /// Appends the first bytes to `out`; [`Event::Ready`] comes from [`receive`](Self::receive), or at once through
    /// `events` when there is no handshake.
    fn open(&mut self, out: &mut Vec<u8>, events: &mut dyn FnMut(Event<'_>));

    /// Appends the request for `batch` to `out`. Producers only.
    fn produce(&mut self, ticket: Ticket, batch: &Batch<'_>, out: &mut Vec<u8>);

    /// Appends the requests for `batches`, each of another partition of this connection. A protocol whose clients put
    /// several partitions into one request does so here; others keep this default of one request each. Either way the
    /// engine counts one group as one request in flight, and is told of every batch by its own ticket.
    fn produce_group(&mut self, batches: &[(Ticket, Batch<'_>)], out: &mut Vec<u8>) {
        for (ticket, batch) in batches {
            self.produce(*ticket, batch, out);
        }
    }

    /// Digests bytes from the broker: reports events in order, appends what must be answered (polls, credits, consumer
    /// acknowledgements) to `out`, and returns how many bytes of `input` it used. Unused bytes come again with more
    /// behind them.
    ///
    /// # Errors
    /// When the conversation cannot go on.
    fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<usize, Broken>;
}

/// One broker, seen from the generator.
pub trait Door: Send + Sync {
    /// The name for results, such as `kafka`.
    fn name(&self) -> &'static str;

    /// Creates the topics (or finds them), waits until they can be used, and says where each partition is. Blocks.
    ///
    /// # Errors
    /// What the broker or the network says.
    fn prepare(&self, spec: &TopicSpec) -> anyhow::Result<Layout>;

    /// A producer's side of a connection to `address`, which homes `partitions`.
    fn producer(
        &self,
        layout: &Layout,
        address: SocketAddr,
        partitions: &[PartitionIndex],
        options: ProduceOptions,
    ) -> anyhow::Result<Box<dyn Conversation>>;

    /// A consumer's side of a connection to `address`, reading all of `partitions`.
    fn consumer(
        &self,
        layout: &Layout,
        address: SocketAddr,
        partitions: &[PartitionIndex],
        options: ConsumeOptions,
    ) -> anyhow::Result<Box<dyn Conversation>>;

    /// Removes what [`prepare`](Self::prepare) created. Blocks.
    ///
    /// # Errors
    /// What the broker or the network says.
    fn clean_up(&self, spec: &TopicSpec) -> anyhow::Result<()>;
}
