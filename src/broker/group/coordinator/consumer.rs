//! Groups of the next-generation protocol in the coordinator: how a group gets and leaves that protocol.
//!
//! An empty group takes the protocol of whoever comes, both ways. What the old protocol left in the log is deleted in front
//! of what the new one writes, so that the log, compacted or not, ends in one of them.

use super::{Coordinator, Group, Members, Room};
use crate::broker::group::classic::{ClassicGroup, Context};
use crate::broker::group::consumer::member::EPOCH_JOIN;
use crate::broker::group::consumer::{
    ConsumerGroup, ConsumerGroupError, ConsumerHeartbeat, ConsumerHeartbeatReply,
};
use crate::broker::group::error::GroupError;
use crate::broker::group::record::RecordError;
use crate::broker::group::request::GroupReply;
use std::sync::Arc;

impl Coordinator {
    pub(super) fn consumer_heartbeat(
        &mut self,
        id: &Arc<str>,
        request: &ConsumerHeartbeat,
        room: Room,
        cx: &mut Context<'_>,
    ) -> Result<GroupReply, GroupError> {
        let known = self.groups.get(id);
        let members = known.and_then(Group::consumer);
        if members.is_none() && known.is_some_and(|group| !group.is_empty()) {
            // Kafka's answer where a group may not change its protocol: there is no consumer group of that name.
            return Err(GroupError::UnknownGroup);
        }
        let is_new = request.member_epoch == EPOCH_JOIN
            && !members.is_some_and(|members| members.has_member(&request.member_id));
        if is_new && room != Room::Enough {
            return Err(GroupError::NotAvailable);
        }
        let reply = if members.is_some() {
            let beat = |group: &mut Group, cx: &mut Context<'_>| {
                let members = group.consumer_mut().ok_or(ConsumerGroupError::UnknownMember)?;
                members.heartbeat(
                    request,
                    cx.image,
                    &cx.config.consumer,
                    cx.now,
                    &mut cx.effects.records,
                )
            };
            self.on_group(id, cx, beat)
                .unwrap_or(Err(ConsumerGroupError::UnknownMember))
        } else {
            self.begin_consumer_protocol(id, request, cx)
        };
        Ok(GroupReply::ConsumerHeartbeat(reply))
    }

    /// The first member of a group that is not there, or empty. If it is refused, nothing has happened.
    fn begin_consumer_protocol(
        &mut self,
        id: &Arc<str>,
        request: &ConsumerHeartbeat,
        cx: &mut Context<'_>,
    ) -> Result<ConsumerHeartbeatReply, ConsumerGroupError> {
        let mut members = ConsumerGroup::new(Arc::clone(id));
        let mut records = Vec::new();
        let reply = members.heartbeat(request, cx.image, &cx.config.consumer, cx.now, &mut records)?;
        self.create_if_absent(id, cx);
        self.on_group(id, cx, |group, cx| {
            cx.effects.records.extend(group.tombstones());
            cx.effects.records.append(&mut records);
            group.members = Members::Consumer(members);
        });
        Ok(reply)
    }

    /// Makes way for a member of the classic protocol, if the group is of the other one and empty.
    pub(super) fn end_consumer_protocol(&mut self, id: &Arc<str>, cx: &mut Context<'_>) {
        let is_left = |group: &&mut Group| group.consumer().is_some_and(ConsumerGroup::is_empty);
        let Some(group) = self.groups.get_mut(id).filter(is_left) else {
            return;
        };
        cx.effects.records.extend(group.tombstones());
        group.members = Members::Classic(ClassicGroup::new(Arc::clone(id), cx.now));
    }

    pub(super) fn consumer_describe(&self, id: &Arc<str>) -> Result<GroupReply, GroupError> {
        let members = self.groups.get(id).and_then(Group::consumer);
        let description = members.ok_or(GroupError::UnknownGroup)?.describe();
        Ok(GroupReply::ConsumerDescribed(Box::new(description)))
    }

    pub(super) fn apply_consumer(
        &mut self,
        id: &str,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), RecordError> {
        let group = self.known_or_new(id);
        if group.consumer().is_none() {
            if value.is_none() {
                // The end of its members under the other protocol is no news to a classic group.
                return Ok(());
            }
            group.members = Members::Consumer(ConsumerGroup::new(Arc::from(id)));
        }
        let members = group.consumer_mut();
        members.map_or(Ok(()), |members| members.apply(key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::group::consumer::assignment::Assignment;
    use crate::broker::group::consumer::member::EPOCH_LEAVE;
    use crate::broker::group::coordinator::desk::{Desk, join, member};
    use crate::broker::group::request::{GroupRequest, GroupType};

    const RANGE: &[(&str, &str)] = &[("range", "m")];

    fn heartbeat(epoch: i32) -> GroupRequest {
        GroupRequest::ConsumerHeartbeat(Box::new(ConsumerHeartbeat {
            member_id: "m".into(),
            member_epoch: epoch,
            rebalance_timeout_ms: Some(1000),
            names: Some(vec!["t".into()]),
            owned: (epoch == EPOCH_JOIN).then(Assignment::default),
            ..ConsumerHeartbeat::default()
        }))
    }

    fn epoch_of(reply: &GroupReply) -> i32 {
        match reply {
            GroupReply::ConsumerHeartbeat(Ok(reply)) => reply.member_epoch,
            other => panic!("{other:?}"),
        }
    }

    fn kind(desk: &Desk) -> GroupType {
        desk.coordinator.group("g").unwrap().kind()
    }

    #[test]
    fn an_empty_group_takes_the_protocol_of_whoever_comes() {
        let mut desk = Desk::new();
        assert_eq!(epoch_of(&desk.ask("g", heartbeat(EPOCH_JOIN))), 1);
        let ticket = desk.join("g", join("", RANGE));
        let refused = desk.joined(ticket).unwrap().unwrap_err();
        assert_eq!(refused.error, GroupError::InconsistentProtocol);
        desk.ask("g", heartbeat(EPOCH_LEAVE));
        desk.crash();
        assert_eq!(kind(&desk), GroupType::Consumer);
        let ticket = desk.join("g", join("", RANGE));
        desk.pass(3_000);
        let id = desk.joined(ticket).unwrap().unwrap().member_id;
        assert_eq!(kind(&desk), GroupType::Classic);
        assert_eq!(
            desk.ask("g", heartbeat(EPOCH_JOIN)),
            GroupReply::Refused(GroupError::UnknownGroup)
        );
        desk.crash();
        assert_eq!(kind(&desk), GroupType::Classic);
        desk.ask("g", GroupRequest::Leave(vec![member(&id, None)]));
        assert_eq!(epoch_of(&desk.ask("g", heartbeat(EPOCH_JOIN))), 1);
        desk.crash();
        assert_eq!(kind(&desk), GroupType::Consumer);
        assert_eq!(
            epoch_of(&desk.ask("g", heartbeat(1))),
            1,
            "a member across the restart"
        );
    }

    #[test]
    fn a_refused_first_member_leaves_no_group() {
        let mut desk = Desk::new();
        let reply = desk.ask("g", heartbeat(3));
        assert_eq!(
            reply,
            GroupReply::ConsumerHeartbeat(Err(ConsumerGroupError::UnknownMember))
        );
        assert!(desk.coordinator.group("g").is_none() && desk.log.is_empty());
    }

    #[test]
    fn members_fall_silent_and_the_group_is_deleted_with_its_records() {
        let mut desk = Desk::new();
        desk.ask("g", heartbeat(EPOCH_JOIN));
        assert_eq!(
            desk.ask("g", GroupRequest::Delete),
            GroupReply::Refused(GroupError::NonEmpty)
        );
        desk.pass(45_000);
        assert!(desk.coordinator.group("g").unwrap().is_empty());
        assert_eq!(desk.ask("g", GroupRequest::Delete), GroupReply::Done);
        desk.crash();
        assert!(desk.coordinator.group("g").is_none());
    }

    #[test]
    fn commits_are_the_members_alone() {
        let mut desk = Desk::new();
        desk.ask("g", heartbeat(EPOCH_JOIN));
        let mut ask = |id: &str, epoch| desk.commit("g", member(id, None), epoch, 7);
        assert_eq!(ask("m", 1), GroupReply::PerOffset(vec![Ok(())]));
        assert_eq!(ask("m", 2), GroupReply::Refused(GroupError::StaleMemberEpoch));
        assert_eq!(ask("", -1), GroupReply::Refused(GroupError::UnknownMember));
    }
}
