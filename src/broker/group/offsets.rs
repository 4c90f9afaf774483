//! The committed offsets of one group, and their records.
//!
//! ```text
//! key    i16 1 | string group | string topic | i32 partition
//! value  i16 version | i64 offset | i32 leader epoch (3) | string metadata | i64 commit time | i64 expire time (1 only)
//! ```
//!
//! Written in version 1 if the client said itself when the offset expires, else in version 4: that of version 3 with compact
//! lengths, and the topic's id in tagged field 0. The id is why: an offset of a topic that was deleted while the broker was
//! down must not be taken for one of the new topic of that name. Read are versions 0 to 4.
//!
//! **Invariant.** `bytes` is the memory of all entries, roughly. Passive: who may commit is the group's business.

use super::record::{GroupRecord, KEY_OFFSET_COMMIT, RecordError, RecordReader, RecordWriter};
use super::request::{CommitPart, Committed};
use crate::base::{Timestamp, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The value's tagged field that holds the topic's id.
const TAG_TOPIC_ID: u32 = 0;

const VERSION_EXPIRES: i16 = 1;
const VERSION_COMPACT: i16 = 4;

/// Bytes an entry costs beside its metadata, roughly.
const ENTRY_BYTES: usize = 160;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Offsets {
    topics: BTreeMap<Arc<str>, BTreeMap<i32, Committed>>,
    count: usize,
    bytes: usize,
}

impl Offsets {
    /// Offsets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Memory, roughly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// One offset.
    #[must_use]
    pub fn get(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.topics.get(topic)?.get(&partition)
    }

    /// Every offset, by topic and partition.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, i32, &Committed)> {
        self.topics.iter().flat_map(|(topic, partitions)| {
            partitions
                .iter()
                .map(move |(partition, committed)| (topic, *partition, committed))
        })
    }

    /// Topics with their partitions.
    pub fn topics(&self) -> impl Iterator<Item = (&Arc<str>, &BTreeMap<i32, Committed>)> {
        self.topics.iter()
    }

    /// Sets one offset.
    pub fn put(&mut self, topic: &Arc<str>, partition: i32, committed: Committed) {
        self.bytes += ENTRY_BYTES + committed.metadata.len();
        self.count += 1;
        let partitions = self.topics.entry(Arc::clone(topic)).or_default();
        if let Some(old) = partitions.insert(partition, committed) {
            self.bytes -= ENTRY_BYTES + old.metadata.len();
            self.count -= 1;
        }
    }

    /// Removes one offset; says whether it was there.
    pub fn remove(&mut self, topic: &str, partition: i32) -> bool {
        let Some(partitions) = self.topics.get_mut(topic) else {
            return false;
        };
        let Some(old) = partitions.remove(&partition) else {
            return false;
        };
        self.bytes -= ENTRY_BYTES + old.metadata.len();
        self.count -= 1;
        if partitions.is_empty() {
            self.topics.remove(topic);
        }
        true
    }

    /// Removes the offsets `which` names, and gives their tombstones.
    pub fn remove_where(
        &mut self,
        group: &str,
        mut which: impl FnMut(&str, i32, &Committed) -> bool,
    ) -> Vec<GroupRecord> {
        let named = self
            .iter()
            .filter(|(topic, partition, old)| which(topic, *partition, old));
        let named: Vec<(Arc<str>, i32)> = named
            .map(|(topic, partition, _)| (Arc::clone(topic), partition))
            .collect();
        named
            .into_iter()
            .map(|(topic, partition)| {
                self.remove(&topic, partition);
                GroupRecord::tombstone(key(group, &topic, partition))
            })
            .collect()
    }
}

/// The key of an offset's record.
#[must_use]
pub fn key(group: &str, topic: &str, partition: i32) -> Vec<u8> {
    RecordWriter::new(KEY_OFFSET_COMMIT)
        .string(group)
        .string(topic)
        .i32(partition)
        .finish()
}

/// The record of a commit.
#[must_use]
pub fn record(group: &str, topic: &str, partition: i32, committed: &Committed) -> GroupRecord {
    GroupRecord::put(key(group, topic, partition), value(committed))
}

fn value(committed: &Committed) -> Vec<u8> {
    let offset = committed.offset;
    if let Some(expire) = committed.expire {
        return RecordWriter::new(VERSION_EXPIRES)
            .i64(offset)
            .string(&committed.metadata)
            .i64(committed.time.get())
            .i64(expire.get())
            .finish();
    }
    RecordWriter::new(VERSION_COMPACT)
        .i64(offset)
        .i32(committed.leader_epoch)
        .compact_string(&committed.metadata)
        .i64(committed.time.get())
        .uvarint(1)
        .uvarint(TAG_TOPIC_ID)
        .uvarint(16)
        .topic_id(committed.topic_id)
        .finish()
}

/// Reads the value of an offset's record.
pub(super) fn read_value(value: &[u8]) -> Result<Committed, RecordError> {
    let mut reader = RecordReader::new(value);
    let version = reader.i16()?;
    if !(0..=VERSION_COMPACT).contains(&version) {
        return Err(RecordError::Version(version));
    }
    let offset = reader.i64()?;
    let leader_epoch = if version >= 3 { reader.i32()? } else { -1 };
    let metadata = match version {
        VERSION_COMPACT => reader.compact_string()?,
        _ => reader.string()?,
    };
    let time = Timestamp::new(reader.i64()?);
    let expire = match version {
        VERSION_EXPIRES => Some(reader.i64()?).filter(|at| *at >= 0).map(Timestamp::new),
        _ => None,
    };
    let mut topic_id = TopicId::NIL;
    if version == VERSION_COMPACT {
        reader.tags(|tag, mut field| {
            if tag == TAG_TOPIC_ID {
                topic_id = field.topic_id()?;
            }
            Ok(())
        })?;
    }
    Ok(Committed {
        offset,
        leader_epoch,
        metadata: Arc::from(metadata),
        time,
        expire,
        topic_id,
    })
}

/// What a commit of `part` leaves behind.
pub(super) fn committed(part: CommitPart, time: Timestamp, expire: Option<Timestamp>) -> Committed {
    Committed {
        offset: part.offset,
        leader_epoch: part.leader_epoch,
        metadata: Arc::from(part.metadata),
        time,
        expire,
        topic_id: part.topic_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(expire: Option<i64>) -> Committed {
        Committed {
            offset: 42,
            leader_epoch: if expire.is_some() { -1 } else { 7 },
            metadata: Arc::from("note"),
            time: Timestamp::new(1000),
            expire: expire.map(Timestamp::new),
            topic_id: if expire.is_some() {
                TopicId::NIL
            } else {
                TopicId::new([9; 16])
            },
        }
    }

    #[test]
    fn values_are_read_as_they_were_written() {
        for committed in [sample(None), sample(Some(5000))] {
            assert_eq!(read_value(&value(&committed)), Ok(committed));
        }
    }

    #[test]
    fn values_of_every_version_are_read_and_others_refused() {
        let old = RecordWriter::new(2).i64(5).string("m").i64(6).finish();
        assert_eq!(read_value(&old).unwrap().offset, 5);
        let plain = RecordWriter::new(3).i64(5).i32(4).string("m").i64(6).finish();
        assert_eq!(read_value(&plain).unwrap().leader_epoch, 4);
        assert_eq!(
            read_value(&RecordWriter::new(5).finish()),
            Err(RecordError::Version(5))
        );
        for cut in 0..plain.len() {
            assert!(read_value(&plain[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn the_books_balance() {
        let mut offsets = Offsets::default();
        let topics: Vec<Arc<str>> = vec![Arc::from("a"), Arc::from("b")];
        for step in 0..40 {
            offsets.put(&topics[step % 2], i32::try_from(step % 5).unwrap(), sample(None));
        }
        assert_eq!((offsets.len(), offsets.iter().count()), (10, 10));
        assert!(offsets.remove("a", 0) && !offsets.remove("a", 0) && !offsets.remove("c", 0));
        let gone = offsets.remove_where("g", |topic, _, _| topic == "b");
        assert_eq!((gone.len(), offsets.len()), (5, 4));
        assert!(gone.iter().all(|record| record.value.is_none()));
        offsets.remove_where("g", |_, _, _| true);
        assert_eq!((offsets.len(), offsets.memory_bytes()), (0, 0));
        assert_eq!(offsets.topics().count(), 0);
    }
}
