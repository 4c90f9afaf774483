//! A classic group as a record: Kafka's `GroupMetadataValue`, versions 0 to 4.
//!
//! ```text
//! key    i16 2 | string group
//! value  i16 version | string protocol type | i32 generation | nullable string protocol | nullable string leader
//!        | i64 since (version 2) | members
//! member string id | nullable string instance (3) | string client id | string client host | i32 rebalance timeout (1)
//!        | i32 session timeout | bytes metadata under the protocol | bytes assignment
//! ```
//!
//! A stable or empty group is written in version 3, which every tool reads. A generation that has begun and is not
//! assigned yet is written in version 4, which differs in its compact lengths and its tagged fields; [`TAG_INCOMPLETE`] marks
//! it. Others pass over the tag and see a group with empty assignments. Version 4 without the tag is a stable group.

use super::member::Member;
use super::{ClassicGroup, State};
use crate::base::Timestamp;
use crate::broker::group::record::{GroupRecord, KEY_CLASSIC_GROUP, RecordError, RecordReader, RecordWriter};
use crate::broker::group::request::{JoinRequest, Now, Protocol};
use std::sync::Arc;

/// The value's tagged field that says: the leader has not assigned yet. One byte, 1. High, to stay clear of Kafka's own.
const TAG_INCOMPLETE: u32 = 10_000;

/// The newest version with fixed lengths.
const VERSION_FIXED: i16 = 3;

/// The first, and last known, version with compact lengths.
const VERSION_COMPACT: i16 = 4;

/// Fewest bytes of a member in any version.
const MEMBER_BYTES_MIN: usize = 14;

/// The key of a classic group's record.
pub(super) fn key(group: &str) -> Vec<u8> {
    RecordWriter::new(KEY_CLASSIC_GROUP).string(group).finish()
}

/// The group as it is now.
pub(super) fn record(group: &ClassicGroup) -> GroupRecord {
    let value = match group.state {
        State::Completing => compact(group),
        State::Empty | State::Preparing | State::Stable => fixed(group),
    };
    GroupRecord::put(key(&group.id), value)
}

fn fixed(group: &ClassicGroup) -> Vec<u8> {
    let chosen = group.protocol.as_deref().unwrap_or_default();
    let mut out = RecordWriter::new(VERSION_FIXED)
        .string(group.protocol_type.as_deref().unwrap_or_default())
        .i32(group.generation)
        .nullable_string(group.protocol.as_deref())
        .nullable_string(group.leader.as_deref())
        .i64(group.state_since.get())
        .count(group.members.len());
    for member in group.members.values() {
        out = out
            .string(&member.id)
            .nullable_string(member.instance_id.as_deref())
            .string(&member.client_id)
            .string(&member.client_host)
            .i32(member.rebalance_timeout_ms.cast_signed())
            .i32(member.session_timeout_ms.cast_signed())
            .bytes(&member.metadata(chosen))
            .bytes(&member.assignment);
    }
    out.finish()
}

fn compact(group: &ClassicGroup) -> Vec<u8> {
    let chosen = group.protocol.as_deref().unwrap_or_default();
    let mut out = RecordWriter::new(VERSION_COMPACT)
        .compact_string(group.protocol_type.as_deref().unwrap_or_default())
        .i32(group.generation)
        .compact_nullable_string(group.protocol.as_deref())
        .compact_nullable_string(group.leader.as_deref())
        .i64(group.state_since.get())
        .compact_count(group.members.len());
    for member in group.members.values() {
        let metadata = member.metadata(chosen);
        out = out
            .compact_string(&member.id)
            .compact_nullable_string(member.instance_id.as_deref())
            .compact_string(&member.client_id)
            .compact_string(&member.client_host)
            .i32(member.rebalance_timeout_ms.cast_signed())
            .i32(member.session_timeout_ms.cast_signed())
            .compact_count(metadata.len())
            .raw(&metadata)
            .compact_count(member.assignment.len())
            .raw(&member.assignment)
            .no_tags();
    }
    out.uvarint(1).uvarint(TAG_INCOMPLETE).uvarint(1).i8(1).finish()
}

/// A classic group as its newest record has it.
#[derive(Clone, Debug)]
pub(in crate::broker::group) struct ClassicValue {
    protocol_type: Arc<str>,
    generation: i32,
    protocol: Option<Arc<str>>,
    leader: Option<Arc<str>>,
    since: Timestamp,
    is_incomplete: bool,
    members: Vec<Member>,
}

impl ClassicValue {
    /// Reads a record's value.
    pub(in crate::broker::group) fn read(value: &[u8]) -> Result<Self, RecordError> {
        let mut reader = RecordReader::new(value);
        match reader.i16()? {
            version @ 0..=VERSION_FIXED => Self::read_fixed(&mut reader, version),
            VERSION_COMPACT => Self::read_compact(&mut reader),
            version => Err(RecordError::Version(version)),
        }
    }

    fn read_fixed(reader: &mut RecordReader<'_>, version: i16) -> Result<Self, RecordError> {
        let mut value = Self {
            protocol_type: Arc::from(reader.string()?),
            generation: reader.i32()?,
            protocol: reader.nullable_string()?.map(Arc::from),
            leader: reader.nullable_string()?.map(Arc::from),
            since: Timestamp::new(if version >= 2 { reader.i64()? } else { 0 }),
            is_incomplete: false,
            members: Vec::new(),
        };
        for _ in 0..reader.count(MEMBER_BYTES_MIN)? {
            let id = reader.string()?;
            let instance = if version >= 3 {
                reader.nullable_string()?
            } else {
                None
            };
            let client = (reader.string()?, reader.string()?);
            let rebalance = if version >= 1 { Some(reader.i32()?) } else { None };
            let session = reader.i32()?;
            let times = (rebalance.unwrap_or(session), session);
            let blobs = (reader.bytes()?, reader.bytes()?);
            let member = value.member((id, instance), client, times, blobs);
            value.members.push(member);
        }
        Ok(value)
    }

    fn read_compact(reader: &mut RecordReader<'_>) -> Result<Self, RecordError> {
        let mut value = Self {
            protocol_type: Arc::from(reader.compact_string()?),
            generation: reader.i32()?,
            protocol: reader.compact_nullable_string()?.map(Arc::from),
            leader: reader.compact_nullable_string()?.map(Arc::from),
            since: Timestamp::new(reader.i64()?),
            is_incomplete: false,
            members: Vec::new(),
        };
        for _ in 0..reader.compact_count(MEMBER_BYTES_MIN)? {
            let ids = (reader.compact_string()?, reader.compact_nullable_string()?);
            let client = (reader.compact_string()?, reader.compact_string()?);
            let rebalance = reader.i32()?;
            let times = (rebalance, reader.i32()?);
            let blobs = (compact_bytes(reader)?, compact_bytes(reader)?);
            reader.skip_tags()?;
            let member = value.member(ids, client, times, blobs);
            value.members.push(member);
        }
        let mut is_incomplete = false;
        reader.tags(|tag, _| {
            is_incomplete |= tag == TAG_INCOMPLETE;
            Ok(())
        })?;
        value.is_incomplete = is_incomplete;
        Ok(value)
    }

    fn member(
        &self,
        (id, instance_id): (&str, Option<&str>),
        (client_id, client_host): (&str, &str),
        (rebalance_timeout_ms, session_timeout_ms): (i32, i32),
        (metadata, assignment): (&[u8], &[u8]),
    ) -> Member {
        let protocols = self.protocol.iter().map(|name| Protocol {
            name: Arc::clone(name),
            metadata: Arc::from(metadata),
        });
        let request = JoinRequest {
            member_id: String::new(),
            fresh_id: String::new(),
            instance_id: instance_id.map(str::to_owned),
            client_id: Arc::from(client_id),
            client_host: Arc::from(client_host),
            protocol_type: Arc::clone(&self.protocol_type),
            protocols: protocols.collect(),
            session_timeout_ms,
            rebalance_timeout_ms,
            needs_known_id: false,
            can_skip_assignment: false,
        };
        Member {
            assignment: Arc::from(assignment),
            is_new: false,
            synced: !self.is_incomplete,
            ..Member::new(Arc::from(id), &request)
        }
    }

    /// The group. Its members' sessions begin at [`ClassicGroup::resume`].
    pub(in crate::broker::group) fn into_group(self, id: Arc<str>) -> ClassicGroup {
        let state = match (self.members.is_empty(), self.is_incomplete) {
            (true, _) => State::Empty,
            (false, true) => State::Completing,
            (false, false) => State::Stable,
        };
        let mut group = ClassicGroup {
            id,
            state,
            state_since: self.since,
            generation: self.generation,
            protocol_type: Some(self.protocol_type).filter(|kind| !kind.is_empty()),
            protocol: self.protocol,
            leader: self.leader,
            recorded: true,
            ..ClassicGroup::default()
        };
        for mut member in self.members {
            if state == State::Completing {
                member.synced = false;
            }
            group.insert(member);
        }
        group
    }
}

fn compact_bytes<'a>(reader: &mut RecordReader<'a>) -> Result<&'a [u8], RecordError> {
    let count = reader.compact_count(1)?;
    reader.take(count)
}

impl ClassicGroup {
    /// After it was read back: every member gets a whole session to show that it lives, and as long to ask for its share.
    pub fn resume(&mut self, now: Now) {
        for member in self.members.values_mut() {
            member.deadline = Some(now.mono_ms + u64::from(member.session_timeout_ms));
        }
        if self.state == State::Completing {
            self.sync_deadline = Some(now.mono_ms + self.rebalance_timeout_ms());
        }
        self.rearm();
    }

    /// The record that says it is gone, if any said it was there.
    #[must_use]
    pub fn tombstone(&self) -> Option<GroupRecord> {
        self.recorded.then(|| GroupRecord::tombstone(key(&self.id)))
    }
}
