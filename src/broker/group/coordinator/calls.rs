//! One request to one group: which group, whether it has to be there, and what of it is the group's and what the offsets'.

use super::{Coordinator, Group, Members, Room};
use crate::broker::group::classic::{ClassicGroup, Context};
use crate::broker::group::error::GroupError;
use crate::broker::group::offsets::{committed, key, record};
use crate::broker::group::record::GroupRecord;
use crate::broker::group::request::{
    CommitPart, CommitRequest, FetchRequest, FetchedOffsets, GroupReply, GroupRequest, JoinRefused,
    JoinRequest, SyncRequest, Ticket,
};
use std::sync::Arc;
use std::time::Duration;

impl Coordinator {
    /// Carries out one request; it is answered under `ticket` in the effects of this call or of a later one.
    pub fn request(
        &mut self,
        group: &Arc<str>,
        request: GroupRequest,
        ticket: Ticket,
        room: Room,
        cx: &mut Context<'_>,
    ) {
        if room == Room::None && self.grows(group, &request) {
            let refused = refused(request, GroupError::NotAvailable);
            return cx.effects.replies.push((ticket, refused));
        }
        let reply = match request {
            GroupRequest::Join(request) => return self.join(group, request, ticket, room, cx),
            GroupRequest::Sync(request) => return self.sync(group, request, ticket, cx),
            GroupRequest::Heartbeat(member, generation) => self
                .on_classic(group, cx, |group, cx| {
                    group.heartbeat(&member, generation, cx.now)
                })
                .unwrap_or(Err(GroupError::UnknownMember))
                .map(|()| GroupReply::Done),
            GroupRequest::Leave(members) => self
                .on_classic(group, cx, |group, cx| group.leave(&members, cx))
                .map(GroupReply::Leave)
                .ok_or(GroupError::UnknownMember),
            GroupRequest::Commit(request) => self.commit(group, request, room, cx),
            GroupRequest::Fetch(request) => self.fetch(group, request).map(GroupReply::Fetched),
            GroupRequest::DeleteOffsets(parts) => self.delete_offsets(group, &parts, cx),
            GroupRequest::Describe => self.describe(group),
            GroupRequest::Delete => self.delete(group, cx),
            GroupRequest::ConsumerHeartbeat(request) => self.consumer_heartbeat(group, &request, room, cx),
            GroupRequest::ConsumerDescribe => self.consumer_describe(group),
        };
        let reply = reply.unwrap_or_else(GroupReply::Refused);
        cx.effects.replies.push((ticket, reply));
    }

    fn join(
        &mut self,
        id: &Arc<str>,
        request: JoinRequest,
        ticket: Ticket,
        room: Room,
        cx: &mut Context<'_>,
    ) {
        let is_new = request.member_id.is_empty();
        let known = self.groups.get(id).and_then(Group::classic);
        // An id that was given out and not used yet makes no member.
        let joins = !known.is_some_and(|group| group.has_member(&request));
        let error = if !session_is_legal(&request, cx) {
            Some(GroupError::InvalidSessionTimeout)
        } else if !is_new && !self.groups.contains_key(id) {
            Some(GroupError::UnknownMember)
        } else if joins && room != Room::Enough {
            Some(GroupError::NotAvailable)
        } else {
            None
        };
        if let Some(error) = error {
            let member_id = Arc::from(request.member_id);
            let refused = GroupReply::Join(Err(JoinRefused { error, member_id }));
            return cx.effects.replies.push((ticket, refused));
        }
        self.create_if_absent(id, cx);
        self.end_consumer_protocol(id, cx);
        let is_classic = self.on_classic(id, cx, |group, cx| group.join(request, ticket, cx));
        if is_classic.is_none() {
            let refused = JoinRefused {
                error: GroupError::InconsistentProtocol,
                member_id: Arc::default(),
            };
            cx.effects.replies.push((ticket, GroupReply::Join(Err(refused))));
        }
    }

    /// Runs `work` on the members of a group of the classic protocol.
    fn on_classic<T>(
        &mut self,
        id: &Arc<str>,
        cx: &mut Context<'_>,
        work: impl FnOnce(&mut ClassicGroup, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let done = self.on_group(id, cx, |group, cx| {
            group.classic_mut().map(|members| work(members, cx))
        });
        done.flatten()
    }

    pub(super) fn create_if_absent(&mut self, id: &Arc<str>, cx: &Context<'_>) {
        if !self.groups.contains_key(id) {
            let group = Group::new(Members::Classic(ClassicGroup::new(Arc::clone(id), cx.now)));
            self.groups.insert(Arc::clone(id), group);
        }
    }

    fn sync(&mut self, id: &Arc<str>, request: SyncRequest, ticket: Ticket, cx: &mut Context<'_>) {
        let known = self.on_classic(id, cx, |group, cx| group.sync(request, ticket, cx));
        if known.is_none() {
            let unknown = GroupReply::Sync(Err(GroupError::UnknownMember));
            cx.effects.replies.push((ticket, unknown));
        }
    }

    fn commit(
        &mut self,
        id: &Arc<str>,
        request: CommitRequest,
        room: Room,
        cx: &mut Context<'_>,
    ) -> Result<GroupReply, GroupError> {
        if !self.groups.contains_key(id) && request.generation >= 0 {
            return Err(GroupError::UnknownGroup);
        }
        if room != Room::Enough && !self.knows_all(id, &request.parts) {
            return Err(GroupError::NotAvailable);
        }
        self.create_if_absent(id, cx);
        let done = self.on_group(id, cx, |group, cx| {
            group.check_commit(&request.member, request.generation, cx)?;
            let CommitRequest { expire, parts, .. } = request;
            let commit_one = |part| commit_one(id, group, part, expire, cx);
            Ok(parts.into_iter().map(commit_one).collect::<Vec<_>>())
        });
        let outcomes = done.unwrap_or(Err(GroupError::UnknownGroup))?;
        let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        self.counts.commits += u64::try_from(taken).unwrap_or(u64::MAX);
        Ok(GroupReply::PerOffset(outcomes))
    }

    fn knows_all(&self, id: &Arc<str>, parts: &[CommitPart]) -> bool {
        self.groups.get(id).is_some_and(|group| {
            parts
                .iter()
                .all(|part| group.offsets.get(&part.topic, part.partition).is_some())
        })
    }

    /// A group that is not there has committed nothing, and that is no error.
    fn fetch(&self, id: &Arc<str>, request: FetchRequest) -> Result<FetchedOffsets, GroupError> {
        let group = self.groups.get(id);
        if let Some(group) = group {
            group.check_fetch(request.member_id.as_deref(), request.member_epoch)?;
        }
        let offsets = group.map(|group| &group.offsets);
        Ok(match request.topics {
            Some(topics) => topics
                .into_iter()
                .map(|(topic, partitions)| {
                    let found = |partition: i32| {
                        let found = offsets.and_then(|offsets| offsets.get(&topic, partition));
                        (partition, found.cloned())
                    };
                    let found = partitions.into_iter().map(found).collect();
                    (topic, found)
                })
                .collect(),
            None => offsets.map(all_offsets).unwrap_or_default(),
        })
    }

    fn delete_offsets(
        &mut self,
        id: &Arc<str>,
        parts: &[(Arc<str>, i32)],
        cx: &mut Context<'_>,
    ) -> Result<GroupReply, GroupError> {
        let deleted = self.on_group(id, cx, |group, cx| {
            // A group that does not consume must be empty, whatever it subscribes.
            group.is_subscribed("")?;
            let delete = |(topic, partition): &(Arc<str>, i32)| {
                if group.is_subscribed(topic)? {
                    return Err(GroupError::SubscribedToTopic);
                }
                if group.offsets.remove(topic, *partition) {
                    let tombstone = GroupRecord::tombstone(key(id, topic, *partition));
                    cx.effects.records.push(tombstone);
                }
                Ok(())
            };
            Ok(parts.iter().map(delete).collect())
        });
        deleted
            .unwrap_or(Err(GroupError::UnknownGroup))
            .map(GroupReply::PerOffset)
    }

    fn describe(&self, id: &Arc<str>) -> Result<GroupReply, GroupError> {
        let group = self.groups.get(id).and_then(Group::classic);
        let description = group.ok_or(GroupError::UnknownGroup)?.describe();
        Ok(GroupReply::Described(Box::new(description)))
    }

    fn delete(&mut self, id: &Arc<str>, cx: &mut Context<'_>) -> Result<GroupReply, GroupError> {
        let group = self.groups.get(id).ok_or(GroupError::UnknownGroup)?;
        if !group.is_empty() {
            return Err(GroupError::NonEmpty);
        }
        self.delete_empty(id, cx);
        Ok(GroupReply::Done)
    }

    /// Writes off a group without members.
    pub(super) fn delete_empty(&mut self, id: &Arc<str>, cx: &mut Context<'_>) {
        self.on_group(id, cx, |group, cx| {
            let offsets = group.offsets.remove_where(id, |_, _, _| true);
            cx.effects.records.extend(offsets);
            cx.effects.records.extend(group.tombstones());
        });
        self.forget(id);
    }
}

/// A refusal of the whole request, in the form its answer has.
fn refused(request: GroupRequest, error: GroupError) -> GroupReply {
    match request {
        GroupRequest::Join(request) => GroupReply::Join(Err(JoinRefused {
            error,
            member_id: Arc::from(request.member_id),
        })),
        GroupRequest::Sync(_) => GroupReply::Sync(Err(error)),
        _ => GroupReply::Refused(error),
    }
}

fn session_is_legal(request: &JoinRequest, cx: &Context<'_>) -> bool {
    u64::try_from(request.session_timeout_ms).is_ok_and(|ms| {
        let session = Duration::from_millis(ms);
        (cx.config.session_timeout_min..=cx.config.session_timeout_max).contains(&session)
    })
}

fn commit_one(
    id: &Arc<str>,
    group: &mut Group,
    part: CommitPart,
    expire: Option<crate::base::Timestamp>,
    cx: &mut Context<'_>,
) -> Result<(), GroupError> {
    let max = usize::try_from(cx.config.offset_metadata_bytes_max).unwrap_or(usize::MAX);
    // Kafka counts UTF-16 units, of which there are never more than bytes.
    if part.metadata.len() > max && part.metadata.encode_utf16().count() > max {
        return Err(GroupError::OffsetMetadataTooLarge);
    }
    // The topic may have been deleted since the door looked.
    let topic = cx
        .image
        .topic(&part.topic)
        .filter(|topic| topic.id == part.topic_id);
    if topic.is_none() {
        return Err(GroupError::UnknownTopic);
    }
    let (topic, partition) = (Arc::clone(&part.topic), part.partition);
    let committed = committed(part, cx.now.wall, expire);
    cx.effects.records.push(record(id, &topic, partition, &committed));
    group.offsets.put(&topic, partition, committed);
    Ok(())
}

fn all_offsets(offsets: &crate::broker::group::offsets::Offsets) -> FetchedOffsets {
    let topic = |(topic, partitions): (&Arc<str>, &std::collections::BTreeMap<i32, _>)| {
        let partitions = partitions
            .iter()
            .map(
                |(partition, committed): (&i32, &crate::broker::group::request::Committed)| {
                    (*partition, Some(committed.clone()))
                },
            )
            .collect();
        (Arc::clone(topic), partitions)
    };
    offsets.topics().map(topic).collect()
}
