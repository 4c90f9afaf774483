//! Metadata: which topics there are, and which node serves each partition.
//!
//! A node is a place to connect to: with a port per core, each shard is one. Any node serves any partition; the leader
//! serves it without crossing cores. A topic that was asked for and is not there is answered with its error. Any thread.

use super::{TEXT_BYTES_MAX, count_of, cut, open, short};
use crate::base::TopicId;
use crate::protocol::native::errors::ErrorCode;
use crate::protocol::native::frame::{Frame, FrameError, FrameWriter, Kind};
use crate::protocol::native::pod::{DecodeError, pod};

/// Topics one request may name.
pub const METADATA_TOPICS_MAX: u32 = 10_000;

/// Nodes, topics or partitions a client believes an answer to have.
const ANSWER_ENTRIES_MAX: u32 = 1 << 24;

/// Flag: every topic there is; the request names none.
const ALL_TOPICS: u16 = 1;

pod! {
    /// The fixed part of a request.
    MetadataHead 8 {
        /// Topics named.
        0 topic_count: u32,
        reserved 4
    }

    /// One topic of a request.
    NameEntry 2 {
        /// Bytes of its name.
        0 name_len: u16,
        reserved 0
    }

    /// The fixed part of an answer.
    MetadataAnswerHead 16 {
        /// Nodes.
        0 node_count: u32,
        /// Topics.
        4 topic_count: u32,
        /// Partitions of all topics together.
        8 partition_count: u32,
        reserved 4
    }

    /// One node of an answer.
    NodeEntry 8 {
        /// Its id.
        0 node_id: u32,
        /// Port of the native protocol.
        4 port: u16,
        /// Bytes of its host.
        6 host_len: u16,
        reserved 0
    }

    /// One topic of an answer.
    TopicEntry 32 {
        /// Its id; zeros with an error.
        0 topic_id: [u8; 16],
        /// Its partitions.
        16 partitions: u32,
        /// Largest batch it accepts, header included.
        20 max_batch_bytes: u32,
        /// Bytes of its name.
        24 name_len: u16,
        /// Why there is nothing to say about it, or 0.
        26 error: u16,
        /// 0: an ack means on the disk. 1: an ack means in memory.
        28 relaxed: u8,
        reserved 3
    }

    /// One partition of an answer; partitions of all topics follow each other.
    LeaderEntry 4 {
        /// The node that serves it.
        0 node_id: u32,
        reserved 0
    }
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Metadata<'a> {
    /// Every topic there is.
    All,
    /// These topics.
    Named(Vec<&'a str>),
}

impl<'a> Metadata<'a> {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// `TooLarge` for more names than any broker accepts.
    pub fn encode(&self, out: &mut Vec<u8>, correlation: u64) -> Result<(), FrameError> {
        let (flags, names) = match self {
            Self::All => (ALL_TOPICS, &[][..]),
            Self::Named(names) => (0, names.as_slice()),
        };
        let mut writer = FrameWriter::begin(out, Kind::Metadata, correlation).with_flags(flags);
        writer.pod(&MetadataHead {
            topic_count: count_of(names.len()),
        });
        for name in names {
            writer.pod(&NameEntry {
                name_len: short(cut(name).len()),
            });
        }
        for name in names {
            writer.bytes(cut(name).as_bytes());
        }
        writer.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::Metadata, ALL_TOPICS)?;
        let head: MetadataHead = reader.pod()?;
        let entries = reader.table::<NameEntry>(head.topic_count, METADATA_TOPICS_MAX)?;
        // Allocates: at most the bound above, for names that are in the frame.
        let names = entries
            .iter()
            .map(|entry| reader.text(usize::from(entry.name_len)))
            .collect::<Result<Vec<_>, _>>()?;
        reader.finish()?;
        match frame.head.flags & ALL_TOPICS {
            0 => Ok(Self::Named(names)),
            _ if names.is_empty() => Ok(Self::All),
            _ => Err(DecodeError::Trailing),
        }
    }
}

/// A place to connect to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeInfo<'a> {
    /// Its id.
    pub id: u32,
    /// Its host.
    pub host: &'a str,
    /// Port of the native protocol.
    pub port: u16,
}

/// What is known about one topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its id.
    pub id: TopicId,
    /// Why there is nothing to say about it.
    pub error: Option<ErrorCode>,
    /// Largest batch it accepts, header included.
    pub max_batch_bytes: u32,
    /// Whether an ack means in memory instead of on the disk.
    pub relaxed: bool,
    /// The node that serves each partition.
    pub leaders: Vec<u32>,
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MetadataAnswer<'a> {
    /// Nodes.
    pub nodes: Vec<NodeInfo<'a>>,
    /// Topics, in the order they were asked for.
    pub topics: Vec<TopicInfo<'a>>,
}

impl<'a> MetadataAnswer<'a> {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// `TooLarge` for more than a frame holds.
    pub fn encode(&self, out: &mut Vec<u8>, correlation: u64) -> Result<(), FrameError> {
        let mut writer = FrameWriter::begin(out, Kind::MetadataAnswer, correlation);
        writer.pod(&MetadataAnswerHead {
            node_count: count_of(self.nodes.len()),
            topic_count: count_of(self.topics.len()),
            partition_count: count_of(self.topics.iter().map(|topic| topic.leaders.len()).sum()),
        });
        for node in &self.nodes {
            writer.pod(&NodeEntry {
                node_id: node.id,
                port: node.port,
                host_len: short(cut(node.host).len()),
            });
        }
        for topic in &self.topics {
            writer.pod(&TopicEntry {
                topic_id: topic.id.to_bytes(),
                partitions: count_of(topic.leaders.len()),
                max_batch_bytes: topic.max_batch_bytes,
                name_len: short(cut(topic.name).len()),
                error: ErrorCode::code_of(topic.error),
                relaxed: u8::from(topic.relaxed),
            });
        }
        for node_id in self.topics.iter().flat_map(|topic| &topic.leaders) {
            writer.pod(&LeaderEntry { node_id: *node_id });
        }
        for node in &self.nodes {
            writer.bytes(cut(node.host).as_bytes());
        }
        for topic in &self.topics {
            writer.bytes(cut(topic.name).as_bytes());
        }
        writer.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::MetadataAnswer, 0)?;
        let head: MetadataAnswerHead = reader.pod()?;
        let nodes = reader.table::<NodeEntry>(head.node_count, ANSWER_ENTRIES_MAX)?;
        let topics = reader.table::<TopicEntry>(head.topic_count, ANSWER_ENTRIES_MAX)?;
        let leaders = reader.table::<LeaderEntry>(head.partition_count, ANSWER_ENTRIES_MAX)?;
        let mut answer = Self {
            nodes: Vec::with_capacity(nodes.len()),
            topics: Vec::with_capacity(topics.len()),
        };
        for node in nodes.iter() {
            answer.nodes.push(NodeInfo {
                id: node.node_id,
                host: reader.text(usize::from(node.host_len).min(TEXT_BYTES_MAX))?,
                port: node.port,
            });
        }
        let mut leaders = leaders.iter();
        for topic in topics.iter() {
            if leaders.len() < topic.partitions as usize {
                return Err(DecodeError::Truncated);
            }
            if topic.relaxed > 1 {
                return Err(DecodeError::Unknown);
            }
            answer.topics.push(TopicInfo {
                name: reader.text(usize::from(topic.name_len).min(TEXT_BYTES_MAX))?,
                id: TopicId::new(topic.topic_id),
                error: ErrorCode::carried(topic.error),
                max_batch_bytes: topic.max_batch_bytes,
                relaxed: topic.relaxed == 1,
                leaders: leaders
                    .by_ref()
                    .take(topic.partitions as usize)
                    .map(|leader| leader.node_id)
                    .collect(),
            });
        }
        if leaders.len() > 0 {
            return Err(DecodeError::Trailing);
        }
        reader.finish()?;
        Ok(answer)
    }
}
