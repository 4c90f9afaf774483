//! What groups do, one behaviour a test, on the desk of [`super::desk`]: the clock is turned by hand, a crash reads the records
//! back. Random behaviour is [`super::model`]'s part.

use super::Room;
use super::desk::{Desk, join, member, topic};
use crate::broker::group::classic::{GROUP_BYTES_MAX, State};
use crate::broker::group::error::GroupError;
use crate::broker::group::request::{GroupReply, GroupRequest, JoinRequest};
use std::sync::Arc;

const RANGE: &[(&str, &str)] = &[("range", "m")];

fn state(desk: &Desk, group: &str) -> Option<State> {
    desk.coordinator
        .group(group)
        .map(|group| group.classic().unwrap().state())
}

fn heartbeat(desk: &mut Desk, id: &str, generation: i32) -> GroupReply {
    desk.ask("g", GroupRequest::Heartbeat(member(id, None), generation))
}

fn static_join(instance: &str) -> JoinRequest {
    JoinRequest {
        instance_id: Some(instance.to_owned()),
        ..join("", RANGE)
    }
}

#[test]
fn a_first_generation_waits_for_company_and_gives_everybody_the_same_news() {
    let mut desk = Desk::new();
    let first = desk.join("g", join("", &[("range", "a"), ("sticky", "b")]));
    desk.pass(2_000);
    let second = desk.join("g", join("", &[("sticky", "c"), ("range", "d")]));
    desk.pass(2_000);
    assert!(
        desk.replies.is_empty(),
        "somebody came, so three more seconds are waited"
    );
    desk.pass(2_000);
    let first = desk.joined(first).unwrap().unwrap();
    let second = desk.joined(second).unwrap().unwrap();
    assert_eq!((first.generation, second.generation), (1, 1));
    assert_eq!(first.leader, first.member_id);
    assert_eq!(second.leader, first.member_id);
    assert_eq!((first.members.len(), second.members.len()), (2, 0));
    assert_eq!(
        first.protocol.as_deref(),
        Some("range"),
        "one vote each, the first name wins"
    );
    let leads = desk.sync("g", &first.member_id, 1, &[(&second.member_id, "yours")]);
    let follows = desk.sync("g", &second.member_id, 1, &[]);
    let follows = desk.synced(follows).unwrap().unwrap();
    assert_eq!(&*follows.assignment, b"yours");
    let leads = desk.synced(leads).unwrap().unwrap();
    assert_eq!(
        leads.assignment.len(),
        10,
        "left out, it gets an assignment of nothing it can read"
    );
    assert_eq!(state(&desk, "g"), Some(State::Stable));
}

#[test]
fn a_new_member_learns_its_id_first_if_it_can() {
    let mut desk = Desk::new();
    let request = JoinRequest {
        needs_known_id: true,
        ..join("", RANGE)
    };
    let ticket = desk.join("g", request.clone());
    let refused = desk.joined(ticket).unwrap().unwrap_err();
    assert_eq!(refused.error, GroupError::MemberIdRequired);
    assert!(refused.member_id.starts_with("client-id"));
    let known = JoinRequest {
        member_id: refused.member_id.to_string(),
        ..request.clone()
    };
    let ticket = desk.join("g", known);
    desk.pass(3_000);
    assert_eq!(desk.joined(ticket).unwrap().unwrap().member_id, refused.member_id);
    // An id nobody comes back for lapses, and with it a group that never was.
    desk.join("h", request);
    assert!(state(&desk, "h").is_some());
    desk.pass(10_000);
    assert_eq!(state(&desk, "h"), None);
}

#[test]
fn members_are_checked_before_anything_else() {
    let mut desk = Desk::new();
    let (ids, generation) = desk.stable("g", 2);
    assert_eq!(
        heartbeat(&mut desk, "nobody", generation),
        GroupReply::Refused(GroupError::UnknownMember)
    );
    assert_eq!(
        heartbeat(&mut desk, &ids[0], generation + 1),
        GroupReply::Refused(GroupError::IllegalGeneration)
    );
    assert_eq!(heartbeat(&mut desk, &ids[0], generation), GroupReply::Done);
    let unknown = desk.ask("x", GroupRequest::Heartbeat(member(&ids[0], None), 1));
    assert_eq!(unknown, GroupReply::Refused(GroupError::UnknownMember));
    let ticket = desk.sync("g", &ids[1], generation + 1, &[]);
    assert_eq!(desk.synced(ticket), Some(Err(GroupError::IllegalGeneration)));
    let ticket = desk.join("g", join("", &[("other", "m")]));
    assert_eq!(
        desk.joined(ticket).unwrap().unwrap_err().error,
        GroupError::InconsistentProtocol
    );
    let short = JoinRequest {
        session_timeout_ms: 5_999,
        ..join("", RANGE)
    };
    let ticket = desk.join("g", short);
    assert_eq!(
        desk.joined(ticket).unwrap().unwrap_err().error,
        GroupError::InvalidSessionTimeout
    );
}

#[test]
fn silence_ends_a_membership_and_the_others_share_anew() {
    let mut desk = Desk::new();
    let (ids, generation) = desk.stable("g", 2);
    for _ in 0..3 {
        desk.pass(4_000);
        heartbeat(&mut desk, &ids[0], generation);
    }
    assert_eq!(
        heartbeat(&mut desk, &ids[0], generation),
        GroupReply::Refused(GroupError::RebalanceInProgress)
    );
    let ticket = desk.join("g", join(&ids[0], RANGE));
    let joined = desk.joined(ticket).unwrap().unwrap();
    assert_eq!((joined.generation, joined.members.len()), (generation + 1, 1));
}

#[test]
fn a_rebalance_waits_for_the_members_there_were_and_no_longer_than_they_asked_for() {
    let mut desk = Desk::new();
    let (ids, generation) = desk.stable("g", 3);
    let newcomer = desk.join("g", join("", RANGE));
    let leader = desk.join("g", join(&ids[0], RANGE));
    for _ in 0..14 {
        desk.pass(4_000);
        heartbeat(&mut desk, &ids[1], generation);
        heartbeat(&mut desk, &ids[2], generation);
    }
    assert!(desk.joined(newcomer).is_none());
    let second = desk.join("g", join(&ids[1], RANGE));
    desk.pass(4_000);
    let joined = desk.joined(leader).unwrap().unwrap();
    assert_eq!(joined.members.len(), 3, "the one that did not join is out");
    assert!(desk.joined(newcomer).unwrap().is_ok() && desk.joined(second).unwrap().is_ok());
    assert_eq!(
        heartbeat(&mut desk, &ids[2], generation + 1),
        GroupReply::Refused(GroupError::UnknownMember)
    );
}

#[test]
fn who_never_asks_for_its_share_is_dropped() {
    let mut desk = Desk::new();
    let one = desk.join("g", join("", RANGE));
    let two = desk.join("g", join("", RANGE));
    desk.pass(6_000);
    let one = desk.joined(one).unwrap().unwrap();
    let two = desk.joined(two).unwrap().unwrap();
    desk.sync("g", &one.member_id, 1, &[]);
    for _ in 0..16 {
        desk.pass(4_000);
        heartbeat(&mut desk, &one.member_id, 1);
        heartbeat(&mut desk, &two.member_id, 1);
    }
    assert_eq!(
        heartbeat(&mut desk, &two.member_id, 1),
        GroupReply::Refused(GroupError::UnknownMember)
    );
    assert_eq!(
        heartbeat(&mut desk, &one.member_id, 1),
        GroupReply::Refused(GroupError::RebalanceInProgress)
    );
}

#[test]
fn a_leader_that_joins_again_asks_for_a_rebalance_and_a_follower_does_not() {
    let mut desk = Desk::new();
    let (ids, generation) = desk.stable("g", 2);
    let follower = desk.join("g", join(&ids[1], RANGE));
    assert_eq!(desk.joined(follower).unwrap().unwrap().generation, generation);
    assert_eq!(state(&desk, "g"), Some(State::Stable));
    let changed = desk.join("g", join(&ids[1], &[("range", "other topics")]));
    assert_eq!(state(&desk, "g"), Some(State::Preparing));
    let leader = desk.join("g", join(&ids[0], RANGE));
    assert_eq!(desk.joined(leader).unwrap().unwrap().generation, generation + 1);
    assert_eq!(desk.joined(changed).unwrap().unwrap().generation, generation + 1);
    // A sync that waits for the leader is called off by the next rebalance.
    let waits = desk.sync("g", &ids[1], generation + 1, &[]);
    desk.join("g", join("", RANGE));
    assert_eq!(desk.synced(waits), Some(Err(GroupError::RebalanceInProgress)));
}

#[test]
fn a_static_member_takes_its_place_back_without_a_rebalance() {
    let mut desk = Desk::new();
    let first = desk.join("g", static_join("one"));
    desk.pass(3_000);
    let first = desk.joined(first).unwrap().unwrap();
    assert!(first.member_id.starts_with("one-"));
    desk.sync("g", &first.member_id, 1, &[(&first.member_id, "share")]);
    let back = desk.join("g", static_join("one"));
    let back = desk.joined(back).unwrap().unwrap();
    assert_ne!(back.member_id, first.member_id);
    assert_eq!(
        (back.generation, back.leader),
        (1, first.member_id.clone()),
        "it must not assign"
    );
    let skips = JoinRequest {
        can_skip_assignment: true,
        ..static_join("one")
    };
    let ticket = desk.join("g", skips);
    let again = desk.joined(ticket).unwrap().unwrap();
    assert_eq!((again.skip_assignment, &again.leader), (true, &again.member_id));
    let fenced = desk.ask(
        "g",
        GroupRequest::Heartbeat(member(&back.member_id, Some("one")), 1),
    );
    assert_eq!(fenced, GroupReply::Refused(GroupError::FencedInstance));
    let ticket = desk.sync("g", &again.member_id, 1, &[]);
    assert_eq!(&*desk.synced(ticket).unwrap().unwrap().assignment, b"share");
    // The new id survives a crash.
    desk.crash();
    let alive = desk.ask(
        "g",
        GroupRequest::Heartbeat(member(&again.member_id, Some("one")), 1),
    );
    assert_eq!(alive, GroupReply::Done);
    // An administrator removes it by its instance.
    let left = desk.ask(
        "g",
        GroupRequest::Leave(vec![member("", Some("one")), member("", Some("two"))]),
    );
    assert_eq!(
        left,
        GroupReply::Leave(vec![Ok(()), Err(GroupError::UnknownMember)])
    );
    assert_eq!(state(&desk, "g"), Some(State::Empty));
}

#[test]
fn a_generation_is_never_used_twice_even_if_nobody_assigned_it() {
    let mut desk = Desk::new();
    let (ids, generation) = desk.stable("g", 1);
    let ticket = desk.join("g", join(&ids[0], RANGE));
    assert_eq!(desk.joined(ticket).unwrap().unwrap().generation, generation + 1);
    desk.crash();
    assert_eq!(state(&desk, "g"), Some(State::Completing));
    let ticket = desk.sync("g", &ids[0], generation + 1, &[(&ids[0], "x")]);
    assert_eq!(&*desk.synced(ticket).unwrap().unwrap().assignment, b"x");
    desk.crash();
    assert_eq!(state(&desk, "g"), Some(State::Stable));
    assert_eq!(heartbeat(&mut desk, &ids[0], generation + 1), GroupReply::Done);
    // Sessions begin anew after a crash, and end as ever.
    desk.pass(10_000);
    assert_eq!(state(&desk, "g"), Some(State::Empty));
    desk.crash();
    let group = desk.coordinator.group("g").unwrap();
    assert_eq!(group.generation(), generation + 2);
}

#[test]
fn commits_follow_the_state_of_the_group() {
    let mut desk = Desk::new();
    let nobody = || member("", None);
    let refused = desk.commit("g", member("m", None), 5, 1);
    assert_eq!(refused, GroupReply::Refused(GroupError::UnknownGroup));
    assert_eq!(
        desk.commit("g", nobody(), -1, 10),
        GroupReply::PerOffset(vec![Ok(())])
    );
    assert_eq!(desk.committed("g"), Some(10));
    assert_eq!(desk.committed("never"), None);
    let (ids, generation) = desk.stable("g", 1);
    let refused = desk.commit("g", nobody(), -1, 11);
    assert_eq!(refused, GroupReply::Refused(GroupError::UnknownMember));
    let refused = desk.commit("g", member(&ids[0], None), generation - 1, 11);
    assert_eq!(refused, GroupReply::Refused(GroupError::IllegalGeneration));
    desk.commit("g", member(&ids[0], None), generation, 12);
    assert_eq!(desk.committed("g"), Some(12));
    // While members are joining, those of the last generation may still commit.
    let other = desk.join("g", join("", RANGE));
    desk.commit("g", member(&ids[0], None), generation, 13);
    assert_eq!(desk.committed("g"), Some(13));
    desk.join("g", join(&ids[0], RANGE));
    assert!(desk.joined(other).is_some());
    let refused = desk.commit("g", member(&ids[0], None), generation + 1, 14);
    assert_eq!(refused, GroupReply::Refused(GroupError::RebalanceInProgress));
    desk.crash();
    assert_eq!(desk.committed("g"), Some(13));
}

#[test]
fn offsets_expire_after_their_group_and_never_before() {
    let mut desk = Desk::new();
    let week = 7 * 24 * 3600 * 1000;
    desk.commit("simple", member("", None), -1, 1);
    let (ids, generation) = desk.stable("g", 1);
    desk.commit("g", member(&ids[0], None), generation, 5);
    for _ in 0..200 {
        desk.now_ms += week / 100;
        let at = desk.coordinator.next_deadline();
        heartbeat(&mut desk, &ids[0], generation);
        assert!(at.is_some());
    }
    desk.expire();
    assert_eq!((desk.committed("g"), desk.committed("simple")), (Some(5), None));
    assert_eq!(state(&desk, "simple"), None);
    desk.ask("g", GroupRequest::Leave(vec![member(&ids[0], None)]));
    desk.pass(week - 1);
    desk.expire();
    assert_eq!(desk.committed("g"), Some(5));
    desk.pass(1);
    desk.expire();
    assert_eq!(state(&desk, "g"), None);
    assert_eq!(desk.coordinator.counts().expired, 2);
    desk.crash();
    assert_eq!(desk.coordinator.groups().count(), 0);
}

#[test]
fn offsets_of_deleted_topics_go_with_them_also_while_the_broker_is_down() {
    let mut desk = Desk::new();
    desk.commit("g", member("", None), -1, 5);
    desk.delete_topic("t");
    assert_eq!(desk.committed("g"), None);
    let refused = desk.commit("g", member("", None), -1, 6);
    assert_eq!(
        refused,
        GroupReply::PerOffset(vec![Err(GroupError::UnknownTopic)])
    );
    desk.image.put(topic("t", 1));
    desk.commit("g", member("", None), -1, 7);
    // Deleted and created again behind its back.
    desk.image.put(topic("t", 9));
    desk.crash();
    assert_eq!(desk.committed("g"), None);
}

#[test]
fn groups_are_deleted_only_without_members() {
    let mut desk = Desk::new();
    let (ids, generation) = desk.stable("g", 1);
    desk.commit("g", member(&ids[0], None), generation, 5);
    assert_eq!(
        desk.ask("g", GroupRequest::Delete),
        GroupReply::Refused(GroupError::NonEmpty)
    );
    let offsets = GroupRequest::DeleteOffsets(vec![(Arc::from("t"), 0)]);
    // The metadata of this member cannot be read, so it counts as reading everything.
    assert_eq!(
        desk.ask("g", offsets.clone()),
        GroupReply::PerOffset(vec![Err(GroupError::SubscribedToTopic)])
    );
    desk.ask("g", GroupRequest::Leave(vec![member(&ids[0], None)]));
    assert_eq!(desk.ask("g", offsets), GroupReply::PerOffset(vec![Ok(())]));
    assert_eq!(desk.committed("g"), None);
    assert_eq!(desk.ask("g", GroupRequest::Delete), GroupReply::Done);
    assert_eq!(
        desk.ask("g", GroupRequest::Delete),
        GroupReply::Refused(GroupError::UnknownGroup)
    );
    assert_eq!(
        desk.ask("g", GroupRequest::Describe),
        GroupReply::Refused(GroupError::UnknownGroup)
    );
    desk.crash();
    assert_eq!(desk.coordinator.groups().count(), 0);
    assert_eq!(desk.coordinator.memory_bytes(), 0);
}

#[test]
fn members_without_patience_do_not_keep_the_clock_busy() {
    let mut desk = Desk::new();
    let hurried = |request: JoinRequest| JoinRequest {
        rebalance_timeout_ms: -1,
        ..request
    };
    let away = desk.join("g", hurried(static_join("away")));
    let leaves = desk.join("g", hurried(join("", RANGE)));
    desk.pass(3_000);
    let away = desk.joined(away).unwrap().unwrap();
    let leaves = desk.joined(leaves).unwrap().unwrap();
    for one in [&away, &leaves] {
        desk.sync("g", &one.member_id, 1, &[]);
    }
    desk.ask("g", GroupRequest::Leave(vec![member(&leaves.member_id, None)]));
    // The static member is waited for until its session ends, in steps that a clock can take.
    desk.pass(10_000);
    assert_eq!(state(&desk, "g"), Some(State::Empty));
}

#[test]
fn bounds_turn_newcomers_away_and_leave_the_others_alone() {
    let mut desk = Desk::new();
    desk.config.size_max = 2;
    let (ids, generation) = desk.stable("g", 2);
    let ticket = desk.join("g", join("", RANGE));
    assert_eq!(
        desk.joined(ticket).unwrap().unwrap_err().error,
        GroupError::GroupFull
    );
    let huge = "x".repeat(GROUP_BYTES_MAX);
    let ticket = desk.join("h", join("", &[("range", &huge)]));
    assert_eq!(
        desk.joined(ticket).unwrap().unwrap_err().error,
        GroupError::GroupFull
    );
    desk.room = Room::None;
    let ticket = desk.join("h", join("", RANGE));
    assert_eq!(
        desk.joined(ticket).unwrap().unwrap_err().error,
        GroupError::NotAvailable
    );
    let refused = desk.commit("h", member("", None), -1, 1);
    assert_eq!(refused, GroupReply::Refused(GroupError::NotAvailable));
    assert_eq!(heartbeat(&mut desk, &ids[0], generation), GroupReply::Done);
    assert_eq!(state(&desk, "g"), Some(State::Stable));
    assert_eq!(state(&desk, "h"), None);
}
