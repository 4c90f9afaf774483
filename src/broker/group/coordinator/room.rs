//! Whether a request needs memory that its group does not have yet.
//!
//! Two bounds, because a group that is known should outlive a flood of newcomers: where there is little memory left, nobody
//! new is taken ([`Room::Little`]); where there is none, what is known stays as large as it is ([`Room::None`]). Both refusals
//! are ones that clients try again after. Pure.

use super::{Coordinator, Group};
use crate::broker::group::consumer::ConsumerHeartbeat;
use crate::broker::group::request::{CommitPart, GroupRequest, SyncRequest};

/// Whether there is memory for more members and offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// There is.
    Enough,
    /// Not for anybody new: what is known goes on and may grow.
    Little,
    /// Not for anything: what is known goes on as large as it is.
    None,
}

/// Bytes of assignment for each member that a leader may bring in any case: a group that cannot share out its partitions has
/// stopped.
const SHARE_BYTES_SPARED: usize = 512;

impl Coordinator {
    /// Whether a request to a group would make it larger than it is.
    pub(super) fn grows(&self, group: &str, request: &GroupRequest) -> bool {
        let group = self.groups.get(group);
        match request {
            GroupRequest::Join(request) => !group
                .and_then(Group::classic)
                .is_some_and(|group| group.holds(request)),
            GroupRequest::Sync(request) => shares_much(group, request),
            GroupRequest::Commit(request) => !request.parts.iter().all(|part| holds_note(group, part)),
            GroupRequest::ConsumerHeartbeat(request) => !holds_subscription(group, request),
            _ => false,
        }
    }
}

fn shares_much(group: Option<&Group>, request: &SyncRequest) -> bool {
    let members = group.map_or(0, Group::member_count);
    let bytes: usize = request
        .assignments
        .iter()
        .map(|(id, share)| id.len() + share.len())
        .sum();
    bytes > members * SHARE_BYTES_SPARED
}

fn holds_note(group: Option<&Group>, part: &CommitPart) -> bool {
    let known = group.and_then(|group| group.offsets.get(&part.topic, part.partition));
    known.is_some_and(|known| known.metadata.len() >= part.metadata.len())
}

fn holds_subscription(group: Option<&Group>, request: &ConsumerHeartbeat) -> bool {
    let group = group.and_then(Group::consumer);
    group.is_some_and(|group| group.holds(request))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::group::coordinator::desk::{Desk, join, member};
    use crate::broker::group::error::GroupError;
    use crate::broker::group::request::{GroupReply, JoinRequest};

    fn refusal(desk: &mut Desk, request: JoinRequest) -> Option<GroupError> {
        let ticket = desk.join("g", request);
        let answer = desk.joined(ticket)?;
        answer.err().map(|refused| refused.error)
    }

    #[test]
    fn an_id_that_was_given_out_makes_no_member_where_there_is_little_room() {
        let mut desk = Desk::new();
        let mut request = join("", &[("range", "m")]);
        request.needs_known_id = true;
        let ticket = desk.join("g", request);
        let promised = desk.joined(ticket).unwrap().unwrap_err();
        assert_eq!(promised.error, GroupError::MemberIdRequired);
        desk.room = Room::Little;
        let with_id = join(&promised.member_id, &[("range", "m")]);
        assert_eq!(
            refusal(&mut desk, with_id.clone()),
            Some(GroupError::NotAvailable)
        );
        desk.room = Room::Enough;
        assert_eq!(refusal(&mut desk, with_id), None);
    }

    #[test]
    fn members_may_grow_where_there_is_little_room_and_not_where_there_is_none() {
        let mut desk = Desk::new();
        let (ids, _) = desk.stable("g", 1);
        let larger = join(&ids[0], &[("range", "much more than that")]);
        desk.room = Room::None;
        assert_eq!(refusal(&mut desk, larger.clone()), Some(GroupError::NotAvailable));
        // The leader joins again as it is: a rebalance, which ends at once because it is alone.
        assert_eq!(refusal(&mut desk, join(&ids[0], &[("range", "m")])), None);
        desk.room = Room::Little;
        assert_eq!(refusal(&mut desk, larger), None);
    }

    #[test]
    fn a_generation_is_shared_out_where_there_is_no_room_unless_the_shares_are_large() {
        let mut desk = Desk::new();
        let (ids, generation) = desk.stable("g", 1);
        desk.room = Room::None;
        let ticket = desk.join("g", join(&ids[0], &[("range", "m")]));
        let generation = desk.joined(ticket).unwrap().unwrap().generation.max(generation);
        let large = "s".repeat(SHARE_BYTES_SPARED);
        let ticket = desk.sync("g", &ids[0], generation, &[(&ids[0], &large)]);
        assert_eq!(desk.synced(ticket), Some(Err(GroupError::NotAvailable)));
        let ticket = desk.sync("g", &ids[0], generation, &[(&ids[0], "mine")]);
        assert!(desk.synced(ticket).unwrap().is_ok());
    }

    #[test]
    fn a_note_may_be_as_long_as_the_one_before_where_there_is_no_room() {
        let mut desk = Desk::new();
        desk.commit("g", member("", None), -1, 1);
        desk.room = Room::None;
        assert_eq!(
            desk.commit("g", member("", None), -1, 2),
            GroupReply::PerOffset(vec![Ok(())])
        );
        assert_eq!(desk.committed("g"), Some(2));
        assert_eq!(
            desk.commit("h", member("", None), -1, 2),
            GroupReply::Refused(GroupError::NotAvailable)
        );
    }
}
