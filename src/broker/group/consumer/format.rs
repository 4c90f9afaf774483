//! The records of a consumer group, in Kafka's layout.
//!
//! ```text
//! kind  key after the group's id   value after its version (0); compact lengths, tagged fields at the end
//!    3  -                          i32 group epoch | tag 0: i64 hash of the subscribed topics
//!    5  string member              instance? rack? client id, client host | [names] | pattern? | i32 rebalance timeout |
//!                                  assignor? | tag 0: null (no member of the classic protocol)
//!    6  -                          i32 epoch of the target
//!    7  string member              [ topic id | [i32 partition] ]
//!    8  string member              i32 epoch | i32 previous epoch | i8 state | assigned | to give back (both as in 7)
//!   16  string pattern             [names] | i64 revision of the topics | i64 time
//! ```
//!
//! Kind 4 (the topics as the group saw them) is obsolete since the hash: read past, never written. Racks, host and client
//! id are kept for those who ask about the group.
//!
//! Values are decoded completely before anything of them counts; a later version is an error, unknown tags are not.

use super::assignment::Assignment;
use super::assignor::Assignor;
use super::member::{Holding, MemberMetadata, MemberState};
use super::subscription::Resolved;
use crate::base::Timestamp;
use crate::broker::group::record::{
    GroupRecord, KEY_CONSUMER_CURRENT, KEY_CONSUMER_GROUP, KEY_CONSUMER_MEMBER, KEY_CONSUMER_REGEX,
    KEY_CONSUMER_TARGET_EPOCH, KEY_CONSUMER_TARGET_MEMBER, KEY_CONSUMER_TOPICS, RecordError, RecordReader,
    RecordWriter,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The version of every value.
const VALUE_VERSION: i16 = 0;

/// The tagged field that says under which classic protocols a member came. It has to be there, as null: Kafka takes its
/// absence for an empty one, and the member for one of the classic protocol.
const TAG_CLASSIC: u32 = 0;

/// The tagged field that holds the hash of the topics.
const TAG_TOPICS_HASH: u32 = 0;

/// What a key says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key<'a> {
    Group,
    Topics,
    Member(&'a str),
    TargetEpoch,
    TargetMember(&'a str),
    Holding(&'a str),
    Pattern(&'a str),
}

impl<'a> Key<'a> {
    /// Reads a key of any group: the caller has found the group already.
    pub(super) fn decode(key: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = RecordReader::new(key);
        let kind = reader.i16()?;
        reader.string()?;
        match kind {
            KEY_CONSUMER_GROUP => Ok(Self::Group),
            KEY_CONSUMER_TOPICS => Ok(Self::Topics),
            KEY_CONSUMER_MEMBER => reader.string().map(Self::Member),
            KEY_CONSUMER_TARGET_EPOCH => Ok(Self::TargetEpoch),
            KEY_CONSUMER_TARGET_MEMBER => reader.string().map(Self::TargetMember),
            KEY_CONSUMER_CURRENT => reader.string().map(Self::Holding),
            KEY_CONSUMER_REGEX => reader.string().map(Self::Pattern),
            other => Err(RecordError::Version(other)),
        }
    }

    /// Its bytes, for that group.
    pub(super) fn encode(self, group: &str) -> Vec<u8> {
        let start = |kind| RecordWriter::new(kind).string(group);
        match self {
            Self::Group => start(KEY_CONSUMER_GROUP),
            Self::Topics => start(KEY_CONSUMER_TOPICS),
            Self::Member(id) => start(KEY_CONSUMER_MEMBER).string(id),
            Self::TargetEpoch => start(KEY_CONSUMER_TARGET_EPOCH),
            Self::TargetMember(id) => start(KEY_CONSUMER_TARGET_MEMBER).string(id),
            Self::Holding(id) => start(KEY_CONSUMER_CURRENT).string(id),
            Self::Pattern(pattern) => start(KEY_CONSUMER_REGEX).string(pattern),
        }
        .finish()
    }

    /// The record that deletes it.
    pub(super) fn tombstone(self, group: &str) -> GroupRecord {
        GroupRecord::tombstone(self.encode(group))
    }

    fn put(self, group: &str, value: RecordWriter) -> GroupRecord {
        GroupRecord::put(self.encode(group), value.finish())
    }
}

fn value() -> RecordWriter {
    RecordWriter::new(VALUE_VERSION)
}

/// Opens a value.
pub(super) fn open(value: &[u8]) -> Result<RecordReader<'_>, RecordError> {
    let mut reader = RecordReader::new(value);
    match reader.i16()? {
        VALUE_VERSION => Ok(reader),
        other => Err(RecordError::Version(other)),
    }
}

pub(super) fn group_record(group: &str, epoch: i32, topics_hash: i64) -> GroupRecord {
    let value = value()
        .i32(epoch)
        .uvarint(1)
        .uvarint(TAG_TOPICS_HASH)
        .uvarint(8)
        .i64(topics_hash);
    Key::Group.put(group, value)
}

/// The group's epoch and the hash of its topics.
pub(super) fn read_group(value: &[u8]) -> Result<(i32, i64), RecordError> {
    let mut reader = open(value)?;
    let epoch = reader.i32()?;
    let mut topics_hash = 0;
    reader.tags(|tag, mut field| {
        if tag == TAG_TOPICS_HASH {
            topics_hash = field.i64()?;
        }
        Ok(())
    })?;
    Ok((epoch, topics_hash))
}

pub(super) fn member_record(group: &str, member: &str, metadata: &MemberMetadata) -> GroupRecord {
    let mut writer = value()
        .compact_nullable_string(metadata.instance_id.as_deref())
        .compact_nullable_string(metadata.rack_id.as_deref())
        .compact_string(&metadata.client_id)
        .compact_string(&metadata.client_host);
    writer = write_names(writer, &metadata.names);
    writer = writer
        .compact_nullable_string(metadata.pattern.as_deref())
        .i32(i32::try_from(metadata.rebalance_timeout_ms).unwrap_or(i32::MAX))
        .compact_nullable_string(metadata.assignor.map(Assignor::name))
        .uvarint(1)
        .uvarint(TAG_CLASSIC)
        .uvarint(1)
        .uvarint(0);
    Key::Member(member).put(group, writer)
}

pub(super) fn read_member(value: &[u8]) -> Result<MemberMetadata, RecordError> {
    let mut reader = open(value)?;
    let shared = |text: Option<&str>| text.map(Arc::from);
    let found = MemberMetadata {
        instance_id: shared(reader.compact_nullable_string()?),
        rack_id: shared(reader.compact_nullable_string()?),
        client_id: reader.compact_string()?.into(),
        client_host: reader.compact_string()?.into(),
        names: Arc::new(read_names(&mut reader)?),
        pattern: shared(
            reader
                .compact_nullable_string()?
                .filter(|pattern| !pattern.is_empty()),
        ),
        rebalance_timeout_ms: u32::try_from(reader.i32()?).unwrap_or(0),
        // An assignor of a later version counts as no preference.
        assignor: reader.compact_nullable_string()?.and_then(Assignor::from_name),
    };
    reader.skip_tags()?;
    Ok(found)
}

pub(super) fn target_epoch_record(group: &str, epoch: i32) -> GroupRecord {
    Key::TargetEpoch.put(group, value().i32(epoch).no_tags())
}

pub(super) fn read_target_epoch(value: &[u8]) -> Result<i32, RecordError> {
    let mut reader = open(value)?;
    let epoch = reader.i32()?;
    reader.skip_tags()?;
    Ok(epoch)
}

pub(super) fn target_record(group: &str, member: &str, target: &Assignment) -> GroupRecord {
    Key::TargetMember(member).put(group, target.encode(value()).no_tags())
}

pub(super) fn read_target(value: &[u8]) -> Result<Assignment, RecordError> {
    let mut reader = open(value)?;
    let target = Assignment::decode(&mut reader)?;
    reader.skip_tags()?;
    Ok(target)
}

pub(super) fn holding_record(group: &str, member: &str, holding: &Holding) -> GroupRecord {
    let writer = value()
        .i32(holding.epoch)
        .i32(holding.previous_epoch)
        .i8(holding.state.code());
    let writer = holding.revoking.encode(holding.assigned.encode(writer)).no_tags();
    Key::Holding(member).put(group, writer)
}

pub(super) fn read_holding(value: &[u8]) -> Result<Holding, RecordError> {
    let mut reader = open(value)?;
    let found = Holding {
        epoch: reader.i32()?,
        previous_epoch: reader.i32()?,
        state: MemberState::from_code(reader.i8()?).ok_or(RecordError::Invalid("member state"))?,
        assigned: Assignment::decode(&mut reader)?,
        revoking: Assignment::decode(&mut reader)?,
    };
    reader.skip_tags()?;
    Ok(found)
}

pub(super) fn pattern_record(group: &str, pattern: &str, resolved: &Resolved) -> GroupRecord {
    let writer = write_names(value(), &resolved.topics)
        .i64(i64::try_from(resolved.revision).unwrap_or(i64::MAX))
        .i64(resolved.time.get())
        .no_tags();
    Key::Pattern(pattern).put(group, writer)
}

pub(super) fn read_pattern(value: &[u8]) -> Result<Resolved, RecordError> {
    let mut reader = open(value)?;
    let found = Resolved {
        topics: read_names(&mut reader)?,
        revision: u64::try_from(reader.i64()?).unwrap_or(0),
        time: Timestamp::new(reader.i64()?),
    };
    reader.skip_tags()?;
    Ok(found)
}

fn write_names(mut writer: RecordWriter, names: &BTreeSet<Arc<str>>) -> RecordWriter {
    writer = writer.compact_count(names.len());
    for name in names {
        writer = writer.compact_string(name);
    }
    writer
}

fn read_names(reader: &mut RecordReader<'_>) -> Result<BTreeSet<Arc<str>>, RecordError> {
    (0..reader.compact_count(1)?)
        .map(|_| reader.compact_string().map(Arc::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{PartitionId, TopicId};

    fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn metadata() -> MemberMetadata {
        MemberMetadata {
            instance_id: Some("i".into()),
            rack_id: None,
            client_id: "c".into(),
            client_host: "/h".into(),
            names: Arc::new(names(&["t"])),
            pattern: None,
            rebalance_timeout_ms: 258,
            assignor: Some(Assignor::Range),
        }
    }

    #[test]
    fn a_member_is_laid_out_as_kafka_does() {
        let record = member_record("g", "m", &metadata());
        assert_eq!(record.key, [0, 5, 0, 1, b'g', 0, 1, b'm']);
        #[rustfmt::skip]
        let expected = [
            0, 0, 2, b'i', 0, 2, b'c', 3, b'/', b'h', 2, 2, b't', 0, 0, 0, 1, 2,
            6, b'r', b'a', b'n', b'g', b'e', 1, 0, 1, 0,
        ];
        assert_eq!(record.value.unwrap(), expected);
    }

    #[test]
    fn a_holding_is_laid_out_as_kafka_does() {
        let holding = Holding {
            epoch: 3,
            previous_epoch: 2,
            state: MemberState::Unrevoked,
            assigned: [(TopicId::new([9; 16]), PartitionId::new(1))]
                .into_iter()
                .collect(),
            revoking: Assignment::default(),
        };
        let record = holding_record("g", "m", &holding);
        let mut expected = vec![0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 1, 2];
        expected.extend([9; 16]);
        expected.extend([2, 0, 0, 0, 1, 0, 1, 0]);
        assert_eq!(record.value.as_deref(), Some(expected.as_slice()));
        assert_eq!(read_holding(&expected), Ok(holding));
    }

    #[test]
    fn every_value_comes_back_and_no_cut_one_does() {
        fn check<T: PartialEq + std::fmt::Debug>(
            record: GroupRecord,
            read: fn(&[u8]) -> Result<T, RecordError>,
            written: T,
        ) {
            let bytes = record.value.unwrap();
            assert_eq!(read(&bytes), Ok(written));
            for end in 0..bytes.len() {
                assert!(read(&bytes[..end]).is_err(), "cut at {end}");
            }
            let mut later = bytes;
            later[1] = 1;
            assert_eq!(read(&later), Err(RecordError::Version(1)));
        }
        let target: Assignment = [(TopicId::new([1; 16]), PartitionId::new(300))]
            .into_iter()
            .collect();
        let resolved = Resolved {
            topics: names(&["a", "b"]),
            revision: 7,
            time: Timestamp::new(-1),
        };
        check(group_record("g", 4, -5), read_group, (4, -5));
        check(member_record("g", "m", &metadata()), read_member, metadata());
        check(target_epoch_record("g", 9), read_target_epoch, 9);
        check(target_record("g", "m", &target), read_target, target);
        check(pattern_record("g", "a|b", &resolved), read_pattern, resolved);
    }

    #[test]
    fn keys_come_back() {
        for key in [
            Key::Group,
            Key::Topics,
            Key::Member("m"),
            Key::TargetEpoch,
            Key::TargetMember("m"),
            Key::Holding("m"),
            Key::Pattern("^a.*"),
        ] {
            let bytes = key.encode("group");
            assert_eq!(Key::decode(&bytes), Ok(key));
            for end in 0..bytes.len() {
                assert!(Key::decode(&bytes[..end]).is_err());
            }
        }
        assert_eq!(Key::decode(&[0, 2, 0, 0]), Err(RecordError::Version(2)));
    }

    #[test]
    fn what_kafka_4_3_adds_is_read_past() {
        // A creation time in the group's value, assignment epochs per partition in a holding's (KIP-1282, KIP-1251).
        let group = RecordWriter::new(0)
            .i32(4)
            .uvarint(2)
            .uvarint(0)
            .uvarint(8)
            .i64(6)
            .uvarint(1)
            .uvarint(8)
            .i64(1)
            .finish();
        assert_eq!(read_group(&group), Ok((4, 6)));
        let holding = RecordWriter::new(0)
            .i32(1)
            .i32(0)
            .i8(0)
            .compact_count(1)
            .topic_id(TopicId::new([9; 16]))
            .compact_count(1)
            .i32(5)
            .uvarint(1)
            .uvarint(0)
            .uvarint(5)
            .compact_count(1)
            .i32(1)
            .compact_count(0)
            .no_tags()
            .finish();
        let found = read_holding(&holding).unwrap();
        assert!(
            found
                .assigned
                .contains(TopicId::new([9; 16]), PartitionId::new(5))
        );
    }
}
