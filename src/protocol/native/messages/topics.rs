//! Creating and deleting topics, by name.
//!
//! Both are answered when every shard knows the change, with the topic as it is (or was). A refused one is answered by an
//! error frame whose text says why. Any thread.

use super::{TEXT_BYTES_MAX, count_of, cut, open, short};
use crate::base::TopicId;
use crate::protocol::native::frame::{Frame, FrameError, FrameWriter, Kind};
use crate::protocol::native::pod::{DecodeError, pod};

/// Configuration entries one request may carry.
pub const CONFIGS_MAX: u32 = 256;

pod! {
    /// The fixed part of a create request.
    CreateHead 12 {
        /// Partitions; 0 for the broker's default.
        0 partitions: u32,
        /// Configuration entries.
        4 config_count: u32,
        /// Bytes of the name.
        8 name_len: u16,
        reserved 2
    }

    /// One configuration entry; key and value follow the name, in this order.
    ConfigEntry 4 {
        /// Bytes of its key.
        0 key_len: u16,
        /// Bytes of its value.
        2 value_len: u16,
        reserved 0
    }

    /// The fixed part of a delete request.
    DeleteHead 4 {
        /// Bytes of the name.
        0 name_len: u16,
        reserved 2
    }

    /// The whole of either answer.
    TopicAnswerHead 32 {
        /// Its id.
        0 topic_id: [u8; 16],
        /// Its partitions.
        16 partitions: u32,
        reserved 12
    }
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// Partitions; 0 for the broker's default.
    pub partitions: u32,
    /// Configuration that differs from the broker's defaults.
    pub configs: Vec<(&'a str, &'a str)>,
}

impl<'a> CreateTopic<'a> {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// `TooLarge` for more configuration than any broker accepts.
    pub fn encode(&self, out: &mut Vec<u8>, correlation: u64) -> Result<(), FrameError> {
        let mut writer = FrameWriter::begin(out, Kind::CreateTopic, correlation);
        writer.pod(&CreateHead {
            partitions: self.partitions,
            config_count: count_of(self.configs.len()),
            name_len: short(cut(self.name).len()),
        });
        for (key, value) in &self.configs {
            writer.pod(&ConfigEntry {
                key_len: short(cut(key).len()),
                value_len: short(cut(value).len()),
            });
        }
        writer.bytes(cut(self.name).as_bytes());
        for (key, value) in &self.configs {
            writer.bytes(cut(key).as_bytes());
            writer.bytes(cut(value).as_bytes());
        }
        writer.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::CreateTopic, 0)?;
        let head: CreateHead = reader.pod()?;
        let entries = reader.table::<ConfigEntry>(head.config_count, CONFIGS_MAX)?;
        let name = reader.text(usize::from(head.name_len).min(TEXT_BYTES_MAX))?;
        let mut configs = Vec::with_capacity(entries.len());
        for entry in entries.iter() {
            let key = reader.text(usize::from(entry.key_len))?;
            configs.push((key, reader.text(usize::from(entry.value_len))?));
        }
        reader.finish()?;
        Ok(Self {
            name,
            partitions: head.partitions,
            configs,
        })
    }
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeleteTopic<'a> {
    /// Its name.
    pub name: &'a str,
}

impl<'a> DeleteTopic<'a> {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// Never in practice: the frame is small.
    pub fn encode(&self, out: &mut Vec<u8>, correlation: u64) -> Result<(), FrameError> {
        let name = cut(self.name);
        let mut writer = FrameWriter::begin(out, Kind::DeleteTopic, correlation);
        writer.pod(&DeleteHead {
            name_len: short(name.len()),
        });
        writer.bytes(name.as_bytes());
        writer.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::DeleteTopic, 0)?;
        let head: DeleteHead = reader.pod()?;
        let name = reader.text(usize::from(head.name_len))?;
        reader.finish()?;
        Ok(Self { name })
    }
}

/// The answer to either.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicAnswer {
    /// Its id.
    pub id: TopicId,
    /// Its partitions.
    pub partitions: u32,
}

impl TopicAnswer {
    /// Appends the frame to `out`; `kind` is `TopicCreated` or `TopicDeleted`.
    ///
    /// # Errors
    /// Never in practice: the frame is small.
    pub fn encode(&self, out: &mut Vec<u8>, kind: Kind, correlation: u64) -> Result<(), FrameError> {
        let mut writer = FrameWriter::begin(out, kind, correlation);
        writer.pod(&TopicAnswerHead {
            topic_id: self.id.to_bytes(),
            partitions: self.partitions,
        });
        writer.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'_>) -> Result<Self, DecodeError> {
        let kind = match frame.head.kind {
            Kind::TopicDeleted => Kind::TopicDeleted,
            _ => Kind::TopicCreated,
        };
        let mut reader = open(frame, kind, 0)?;
        let head: TopicAnswerHead = reader.pod()?;
        reader.finish()?;
        Ok(Self {
            id: TopicId::new(head.topic_id),
            partitions: head.partitions,
        })
    }
}
