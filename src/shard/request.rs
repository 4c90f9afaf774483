//! What shards ask of each other and of the control thread, in the broker's own words.

use crate::base::{LeaderEpoch, LogId, Offset, ProducerId, Timestamp};
use crate::batch::Encoding;
use crate::broker::broker_config::Scope;
use crate::broker::config_change::Alteration;
use crate::broker::group::error::GroupError;
use crate::broker::group::request::{GroupReply, GroupRequest, ListedGroup};
use crate::broker::image::Image;
pub use crate::broker::producer_state::ProducerReport;
use crate::runtime::clock::Mono;
use crate::storage::read::ReadFormat;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The bytes of one client frame, shared by the parts of its request; never changed after it was read.
pub type FrameBytes = Arc<Vec<u8>>;

/// One batch to append.
#[derive(Clone, Debug)]
pub struct ProducePart {
    /// Where.
    pub log: LogId,
    /// The batch within the frame. Its door checked it, checksum included: in Kafka's encoding the client's record batch,
    /// in the native one header and payload as the client built them.
    pub batch: Range<usize>,
    /// Which of the two.
    pub encoding: Encoding,
}

/// A batch that is as safe as its topic promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Produced {
    /// Offset of its first record; of the original for a repeated batch.
    pub base_offset: Offset,
    /// First readable offset of the log.
    pub log_start: Offset,
    /// The time the broker gave its records, where the topic's are stamped by the broker.
    pub append_time: Option<Timestamp>,
    /// When it went through its stages.
    pub stamps: super::stages::BatchStamps,
}

/// Why a batch was not appended, or will not be acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProduceError {
    /// The topic or partition is not there (any more).
    #[error("no such partition")]
    UnknownPartition,
    /// The producer's epoch is older than one already seen.
    #[error("producer epoch is stale")]
    InvalidProducerEpoch,
    /// The producer's sequence does not continue.
    #[error("sequence does not continue")]
    OutOfOrderSequence,
    /// The sequence was seen too long ago to say which batch it was.
    #[error("sequence was appended before")]
    DuplicateSequence,
    /// Free space is below the floor; reads go on, and so does produce once space is freed.
    #[error("the disk is full")]
    DiskFull,
    /// The disk failed, or the broker is stopping.
    #[error("the disk failed or the broker is stopping")]
    Storage,
}

/// One partition to read.
#[derive(Clone, Copy, Debug)]
pub struct ReadPart {
    /// Which.
    pub log: LogId,
    /// From where.
    pub offset: Offset,
    /// Stop before exceeding this, except for the first batch where [`ReadLimits`] allows it.
    pub max_bytes: usize,
    /// Epoch of the last record the reader has, if it wants to know whether its log parts from ours.
    pub last_epoch: Option<LeaderEpoch>,
}

/// Bounds over all parts of a read.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Stop before exceeding this over all parts.
    pub max_bytes: usize,
    /// The first batch found is returned whole even when it exceeds the bounds (KIP-74).
    pub oversized_first: bool,
    /// What the reader wants to get.
    pub format: ReadFormat,
}

/// The state of a partition a reader is told with every answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bounds {
    /// First readable offset.
    pub log_start: Offset,
    /// Everything below may be read.
    pub high_watermark: Offset,
    /// Epoch of the leader.
    pub epoch: LeaderEpoch,
}

/// What reading one partition gave.
#[derive(Debug)]
pub struct PartRead {
    /// Batches in the format asked for, whole, possibly beginning before the offset asked for; or why there are none.
    pub records: Result<Vec<u8>, ReadFailure>,
    /// One past the last record of these batches; the offset asked for if there are none.
    pub next: Offset,
    /// Present unless the partition is unknown.
    pub bounds: Option<Bounds>,
    /// Where the reader's log parts from ours, when [`ReadPart::last_epoch`] shows that it does: the last epoch both
    /// know, and its end here. There are no records then.
    pub diverging: Option<(LeaderEpoch, Offset)>,
}

/// Why a partition could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadFailure {
    /// The topic or partition is not there (any more).
    #[error("no such partition")]
    UnknownPartition,
    /// Outside the readable range.
    #[error("offset out of range")]
    OutOfRange,
    /// The bytes do not pass their checks, or the disk failed to give them.
    #[error("the log is damaged here")]
    Storage,
}

/// Why the start of a log was not moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrimError {
    /// The topic or partition is not there (any more).
    #[error("no such partition")]
    UnknownPartition,
    /// Above the high watermark.
    #[error("offset out of range")]
    OutOfRange,
    /// The topic's cleanup policy does not delete.
    #[error("the topic's cleanup policy does not delete records")]
    Policy,
    /// The new start could not be made durable, or the broker is stopping.
    #[error("the disk failed or the broker is stopping")]
    Storage,
}

/// What can be asked about offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetQuery {
    /// First readable offset.
    Earliest,
    /// The high watermark.
    Latest,
    /// First record at or after a time.
    AtTime(Timestamp),
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// Where the records of an epoch end.
    EpochEnd(LeaderEpoch),
}

/// The answer to an [`OffsetQuery`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetAnswer {
    /// The offset and, for queries by time, the record's timestamp; `None` when no record matches.
    pub found: Option<(Offset, Option<Timestamp>)>,
    /// Epoch of the record or, for [`OffsetQuery::EpochEnd`], the epoch that was found; else the leader's.
    pub epoch: LeaderEpoch,
    /// The leader's epoch, for fencing stale clients.
    pub bounds: Bounds,
}

/// What admin tools ask about logs of a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inspection {
    /// Bytes of these.
    Sizes(Vec<LogId>),
    /// Producers of these.
    Producers(Vec<LogId>),
}

/// To [`Inspection`], in its order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inspected {
    /// Bytes, `None` for a log that is not there.
    Sizes(Vec<Option<u64>>),
    /// Producers, `None` for a log that is not there.
    Producers(Vec<Option<Vec<ProducerReport>>>),
}

/// A topic to create.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` for the broker's default.
    pub partitions: Option<u32>,
    /// Its explicit configuration.
    pub configs: BTreeMap<String, String>,
}

/// A change of configuration.
#[derive(Clone, Debug)]
pub struct AlterConfigs {
    /// Of what.
    pub resource: ConfigResource,
    /// What to change.
    pub alteration: Alteration,
    /// Only say whether it would be accepted.
    pub validate_only: bool,
}

/// What has a configuration that can be changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigResource {
    /// The topic of that name.
    Topic(String),
    /// The broker.
    Broker(Scope),
}

/// A change to metadata, carried out by the control thread. When it is answered, every shard has the new image.
#[derive(Clone, Debug)]
pub enum ControlRequest {
    /// Create a topic.
    CreateTopic(NewTopic),
    /// Delete a topic by name.
    DeleteTopic(String),
    /// Grow a topic to this many partitions.
    SetPartitions {
        /// The topic.
        name: String,
        /// The new total.
        partitions: u32,
    },
    /// Change the explicit configuration of a topic or of the broker.
    AlterConfigs(AlterConfigs),
    /// A block of fresh producer ids.
    ProducerIds,
}

/// What a [`ControlRequest`] came to.
#[derive(Clone, Debug)]
pub enum ControlReply {
    /// Done; for a topic, how it is now (as it was, for a deleted one).
    Topic(Arc<crate::broker::topic::Topic>),
    /// Ids for the asker alone.
    ProducerIds(Range<i64>),
    /// The configuration is changed, or would be.
    Altered,
}

/// Why a metadata change was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ControlError {
    /// No topic of that name.
    #[error("topic {0:?} does not exist")]
    UnknownTopic(String),
    /// There is one already.
    #[error("topic {0:?} already exists")]
    TopicExists(String),
    /// The name is not legal.
    #[error("{0}")]
    InvalidName(String),
    /// Too many, too few, or fewer than there are.
    #[error("{0}")]
    InvalidPartitions(String),
    /// The broker's own topic: not for clients to make, grow or delete.
    #[error("topic {0:?} is the broker's own")]
    InternalTopic(String),
    /// A config key or value is not acceptable.
    #[error("{0}")]
    InvalidConfig(String),
    /// The broker's configuration cannot be changed like that.
    #[error("{0}")]
    InvalidBrokerConfig(String),
    /// The metadata store cannot write.
    #[error("the metadata store failed: {0}")]
    Storage(String),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopping,
}

/// The id of a watch, chosen by the shard that waits.
pub type WatchId = u64;

/// A message through the mesh. Requests and their replies are paired by the order-free `call` id of the asker.
#[derive(Debug)]
pub struct Message {
    /// The asker's number for this call.
    pub call: u64,
    /// What it says.
    pub body: Body,
}

/// See [`Message`].
#[derive(Debug)]
pub enum Body {
    /// Append these batches of one frame, which was parsed then.
    Produce(FrameBytes, Vec<ProducePart>, Mono),
    /// To [`Body::Produce`]; the frame goes home with it.
    Produced(FrameBytes, Vec<Result<Produced, ProduceError>>),
    /// Read these partitions.
    Read(Vec<ReadPart>, ReadLimits),
    /// To [`Body::Read`].
    ReadDone(Vec<PartRead>),
    /// Tell me once any of these logs is readable beyond its offset.
    Watch(WatchId, Vec<(LogId, Offset)>),
    /// Forget these watches.
    Unwatch(Vec<WatchId>),
    /// These watches fired.
    Fired(Vec<WatchId>),
    /// Answer these queries.
    Offsets(Vec<(LogId, OffsetQuery)>),
    /// To [`Body::Offsets`].
    OffsetsDone(Vec<Result<OffsetAnswer, ReadFailure>>),
    /// Look at logs of yours.
    Inspect(Inspection),
    /// To [`Body::Inspect`].
    Inspected(Inspected),
    /// Move the starts of these logs: to the offset, or to the high watermark.
    Trim(Vec<(LogId, Option<Offset>)>),
    /// To [`Body::Trim`]: where they start now.
    Trimmed(Vec<Result<Offset, TrimError>>),
    /// To the control thread.
    Control(ControlRequest),
    /// From the control thread.
    ControlDone(Result<ControlReply, ControlError>),
    /// From the control thread: this is the metadata now.
    SetImage(Arc<Image>),
    /// From the control thread: free space fell below the floor, or rose above it.
    DiskFull(bool),
    /// From the control thread: counters, please.
    Stats,
    /// To [`Body::Stats`].
    StatsDone(Box<super::ShardStats>),
    /// From the control thread: stop serving, give connections this long to finish. Answered by [`Body::Ack`].
    Drain(std::time::Duration),
    /// From the control thread, once every shard has drained: append nothing more, settle all logs, report their ends.
    Settle,
    /// To [`Body::Settle`].
    Settled(Vec<crate::storage::marker::CleanEnd>),
    /// Ask a group kept in this log, under the asker's number. Acknowledged at once; answered by [`Body::GroupAnswers`].
    Group(u64, LogId, Arc<str>, Box<GroupRequest>),
    /// Answers to [`Body::Group`], by the asker's numbers.
    GroupAnswers(Vec<(u64, GroupReply)>),
    /// List the groups you coordinate.
    ListGroups,
    /// To [`Body::ListGroups`].
    GroupsListed(Result<Vec<ListedGroup>, GroupError>),
    /// From the control thread: how far your logs and your groups have got.
    Numbers,
    /// To [`Body::Numbers`].
    NumbersDone(Box<super::numbers::Numbers>),
    /// From the control thread: when was the record at each of these offsets appended?
    AppendTimes(Vec<(LogId, Offset)>),
    /// To [`Body::AppendTimes`], in order; none where there is no such record (any more).
    AppendTimesDone(Vec<Option<Timestamp>>),
    /// Done, nothing to say.
    Ack,
}

/// A fresh producer id, or why there is none.
pub type ProducerIdResult = Result<ProducerId, ControlError>;
