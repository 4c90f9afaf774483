//! The protocol case by case: what a member may say and what it is told.

use super::assignment::Assignment;
use super::member::{EPOCH_JOIN, EPOCH_LEAVE, EPOCH_STATIC_LEAVE};
use super::model::{now, set_topic};
use super::*;
use crate::broker::group::record::GroupRecord;
use crate::broker::image::Image;

const SESSION_MS: u64 = 45_000;

struct Room {
    group: ConsumerGroup,
    image: Image,
    config: ConsumerGroupConfig,
    now_ms: u64,
    log: Vec<GroupRecord>,
}

type Outcome = Result<ConsumerHeartbeatReply, ConsumerGroupError>;

fn room() -> Room {
    let mut image = Image::default();
    set_topic(&mut image, "t1", 4);
    Room {
        group: ConsumerGroup::new("g".into()),
        image,
        config: ConsumerGroupConfig::default(),
        now_ms: 0,
        log: Vec::new(),
    }
}

fn joining(id: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        member_id: id.into(),
        member_epoch: EPOCH_JOIN,
        rebalance_timeout_ms: Some(10_000),
        names: Some(vec!["t1".into()]),
        owned: Some(Assignment::default()),
        ..ConsumerHeartbeat::default()
    }
}

fn staying(id: &str, epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        member_id: id.into(),
        member_epoch: epoch,
        ..ConsumerHeartbeat::default()
    }
}

fn with_instance(mut request: ConsumerHeartbeat, instance: &str) -> ConsumerHeartbeat {
    request.instance_id = Some(instance.into());
    request
}

impl Room {
    fn send(&mut self, request: &ConsumerHeartbeat) -> Outcome {
        self.group.heartbeat(
            request,
            &self.image,
            &self.config,
            now(self.now_ms),
            &mut self.log,
        )
    }

    fn join(&mut self, id: &str) -> ConsumerHeartbeatReply {
        self.send(&joining(id)).unwrap()
    }

    /// Heartbeats that own exactly these partitions of `t1`.
    fn own(&mut self, id: &str, epoch: i32, partitions: &[u32]) -> Outcome {
        let owned = Some(self.of_t1(partitions));
        self.send(&ConsumerHeartbeat {
            owned,
            ..staying(id, epoch)
        })
    }

    fn of_t1(&self, partitions: &[u32]) -> Assignment {
        let topic = self.image.topic("t1").unwrap().id;
        partitions
            .iter()
            .map(|number| (topic, PartitionId::new(*number)))
            .collect()
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.group.tick(&self.image, now(self.now_ms), &mut self.log);
    }
}

#[test]
fn the_first_member_gets_everything_at_once() {
    let mut room = room();
    let reply = room.join("a");
    assert_eq!((reply.member_epoch, reply.heartbeat_interval_ms), (1, 5000));
    assert_eq!(reply.assignment, Some(room.of_t1(&[0, 1, 2, 3])));
    let reply = room.send(&staying("a", 1)).unwrap();
    assert_eq!(
        (reply.member_epoch, reply.assignment),
        (1, None),
        "nothing new, nothing told"
    );
    assert_eq!(room.group.state().name(), "Stable");
}

#[test]
fn a_heartbeat_that_changes_nothing_writes_nothing() {
    let mut room = room();
    room.join("a");
    let written = room.log.len();
    room.send(&staying("a", 1)).unwrap();
    room.own("a", 1, &[0, 1, 2, 3]).unwrap();
    assert_eq!(room.log.len(), written);
}

#[test]
fn a_second_member_waits_until_the_first_has_let_go() {
    let mut room = room();
    room.join("a");
    let b = room.join("b");
    assert_eq!((b.member_epoch, b.assignment), (2, Some(Assignment::default())));
    let a = room.send(&staying("a", 1)).unwrap();
    assert_eq!(
        (a.member_epoch, a.assignment),
        (1, Some(room.of_t1(&[0, 1]))),
        "epoch only after giving back"
    );
    assert_eq!(room.send(&staying("b", 2)).unwrap().assignment, None);
    assert_eq!(room.group.state().name(), "Reconciling");
    let a = room.own("a", 1, &[0, 1]).unwrap();
    assert_eq!((a.member_epoch, a.assignment), (2, None));
    let b = room.send(&staying("b", 2)).unwrap();
    assert_eq!(b.assignment, Some(room.of_t1(&[2, 3])));
    assert_eq!(room.group.state().name(), "Stable");
}

#[test]
fn whoever_does_not_let_go_in_time_is_fenced() {
    let mut room = room();
    room.join("a");
    room.join("b");
    room.send(&staying("a", 1)).unwrap();
    room.pass(9_999);
    room.send(&staying("a", 1)).unwrap();
    assert_eq!(room.group.len(), 2);
    room.pass(1);
    assert_eq!(
        room.send(&staying("a", 1)),
        Err(ConsumerGroupError::UnknownMember)
    );
    let b = room.send(&staying("b", 2)).unwrap();
    assert_eq!(b.assignment, Some(room.of_t1(&[0, 1, 2, 3])));
}

#[test]
fn whoever_is_silent_for_a_session_is_gone() {
    let mut room = room();
    room.join("a");
    room.pass(SESSION_MS - 1);
    room.send(&staying("a", 1)).unwrap();
    room.pass(SESSION_MS - 1);
    assert_eq!(room.group.len(), 1);
    room.pass(1);
    assert!(room.group.is_empty());
    assert_eq!(room.group.next_deadline_ms(), None);
    assert_eq!(
        room.send(&staying("a", 1)),
        Err(ConsumerGroupError::UnknownMember)
    );
}

#[test]
fn a_member_that_leaves_frees_its_partitions_at_once() {
    let mut room = room();
    room.join("a");
    room.join("b");
    let left = room.send(&staying("a", EPOCH_LEAVE)).unwrap();
    assert_eq!((left.member_epoch, left.heartbeat_interval_ms), (EPOCH_LEAVE, 0));
    assert_eq!(
        room.send(&staying("b", 2)).unwrap().assignment,
        Some(room.of_t1(&[0, 1, 2, 3]))
    );
    room.send(&staying("b", EPOCH_LEAVE)).unwrap();
    assert_eq!(room.group.state().name(), "Empty");
    assert_eq!(
        room.send(&staying("b", EPOCH_LEAVE)),
        Err(ConsumerGroupError::UnknownMember)
    );
}

#[test]
fn an_epoch_that_cannot_be_is_fenced() {
    let mut room = room();
    room.join("a");
    assert_eq!(
        room.send(&staying("a", 2)),
        Err(ConsumerGroupError::FencedMemberEpoch { got: 2, current: 1 })
    );
    room.join("b");
    room.own("a", 1, &[0, 1]).unwrap();
    // The answer that told epoch 2 was lost: the member says all it owns under the old one and is told again.
    let again = room.own("a", 1, &[0, 1]).unwrap();
    assert_eq!(
        (again.member_epoch, again.assignment),
        (2, Some(room.of_t1(&[0, 1])))
    );
    assert!(
        room.send(&staying("a", 1)).is_err(),
        "without saying what it owns"
    );
    assert!(room.own("a", 1, &[0, 3]).is_err(), "with what it may not own");
}

#[test]
fn a_fenced_member_joins_again_and_keeps_its_place() {
    let mut room = room();
    room.join("a");
    let again = room.join("a");
    assert_eq!(
        (again.member_epoch, again.assignment),
        (1, Some(room.of_t1(&[0, 1, 2, 3])))
    );
    assert_eq!(room.group.len(), 1);
}

#[test]
fn joining_again_gives_back_what_was_asked_for() {
    let mut room = room();
    room.join("a");
    room.join("b");
    room.send(&staying("a", 1)).unwrap();
    let again = room.join("a");
    assert_eq!(
        (again.member_epoch, again.assignment),
        (2, Some(room.of_t1(&[0, 1])))
    );
    assert_eq!(
        room.send(&staying("b", 2)).unwrap().assignment,
        Some(room.of_t1(&[2, 3]))
    );
}

#[test]
fn a_static_member_comes_back_to_what_it_had_and_nobody_notices() {
    let mut room = room();
    room.send(&with_instance(joining("a"), "one")).unwrap();
    room.send(&with_instance(joining("b"), "two")).unwrap();
    room.own("a", 1, &[0, 1]).unwrap();
    room.send(&staying("b", 2)).unwrap();
    assert_eq!(
        room.send(&with_instance(joining("c"), "one")),
        Err(ConsumerGroupError::UnreleasedInstance)
    );
    room.send(&with_instance(staying("a", EPOCH_STATIC_LEAVE), "one"))
        .unwrap();
    let epoch = room.group.describe().epoch;
    let back = room.send(&with_instance(joining("c"), "one")).unwrap();
    assert_eq!(
        (back.member_epoch, back.assignment),
        (2, Some(room.of_t1(&[0, 1])))
    );
    assert_eq!(room.group.describe().epoch, epoch, "no rebalance");
    assert_eq!(room.send(&staying("b", 2)).unwrap().assignment, None);
    assert_eq!(
        room.send(&with_instance(staying("a", 2), "one")),
        Err(ConsumerGroupError::FencedInstance)
    );
    assert_eq!(
        room.send(&staying("a", 2)),
        Err(ConsumerGroupError::UnknownMember)
    );
}

#[test]
fn a_static_member_may_come_back_under_its_old_member_id() {
    let mut room = room();
    room.send(&with_instance(joining("a"), "one")).unwrap();
    room.send(&with_instance(staying("a", EPOCH_STATIC_LEAVE), "one"))
        .unwrap();
    assert!(
        room.send(&with_instance(staying("a", 1), "one")).is_err(),
        "it has left"
    );
    let back = room.send(&with_instance(joining("a"), "one")).unwrap();
    assert_eq!(
        (back.member_epoch, back.assignment),
        (1, Some(room.of_t1(&[0, 1, 2, 3])))
    );
}

#[test]
fn a_static_member_that_stays_away_is_gone_after_its_session() {
    let mut room = room();
    room.send(&with_instance(joining("a"), "one")).unwrap();
    room.send(&with_instance(staying("a", EPOCH_STATIC_LEAVE), "one"))
        .unwrap();
    room.pass(SESSION_MS);
    assert!(room.group.is_empty());
    room.send(&with_instance(joining("b"), "one")).unwrap();
}

#[test]
fn commits_need_the_right_epoch() {
    let mut room = room();
    assert_eq!(
        room.group.check_commit("", -1),
        Ok(()),
        "a tool, and nobody is there"
    );
    room.join("a");
    assert_eq!(room.group.check_commit("a", 1), Ok(()));
    assert_eq!(
        room.group.check_commit("a", 0),
        Err(ConsumerGroupError::StaleMemberEpoch { got: 0, current: 1 })
    );
    assert_eq!(
        room.group.check_commit("b", 1),
        Err(ConsumerGroupError::UnknownMember)
    );
    assert_eq!(
        room.group.check_commit("", -1),
        Err(ConsumerGroupError::UnknownMember)
    );
    assert_eq!(room.group.check_fetch(None, -1), Ok(()));
    assert_eq!(room.group.check_fetch(Some("a"), 1), Ok(()));
    assert!(room.group.check_fetch(Some("a"), 2).is_err());
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut room = room();
    let owned = Some(room.of_t1(&[0]));
    for bad in [
        joining(""),
        with_instance(joining("a"), ""),
        ConsumerHeartbeat {
            rack_id: Some("".into()),
            ..joining("a")
        },
        ConsumerHeartbeat {
            rebalance_timeout_ms: None,
            ..joining("a")
        },
        ConsumerHeartbeat {
            owned: None,
            ..joining("a")
        },
        ConsumerHeartbeat {
            owned,
            ..joining("a")
        },
        ConsumerHeartbeat {
            names: None,
            ..joining("a")
        },
        ConsumerHeartbeat {
            names: Some(vec!["n".repeat(249).into(); 1100]),
            ..joining("a")
        },
        staying("a", EPOCH_STATIC_LEAVE),
        staying("a", -3),
        staying("a", i32::MIN),
    ] {
        let outcome = room.send(&bad);
        assert!(
            matches!(outcome, Err(ConsumerGroupError::InvalidRequest(_))),
            "{bad:?}: {outcome:?}"
        );
    }
    let assignor = Some("sticky".into());
    assert_eq!(
        room.send(&ConsumerHeartbeat {
            assignor,
            ..joining("a")
        }),
        Err(ConsumerGroupError::UnsupportedAssignor)
    );
    assert!(room.group.is_blank() && room.log.is_empty());
}

#[test]
fn a_full_group_takes_nobody_but_keeps_its_own() {
    let mut room = room();
    room.config.size_max = 1;
    room.send(&with_instance(joining("a"), "one")).unwrap();
    assert_eq!(room.send(&joining("b")), Err(ConsumerGroupError::GroupFull));
    room.send(&with_instance(joining("a"), "one")).unwrap();
    room.send(&with_instance(staying("a", EPOCH_STATIC_LEAVE), "one"))
        .unwrap();
    room.send(&with_instance(joining("c"), "one")).unwrap();
}

#[test]
fn patterns_follow_the_topics_at_their_own_pace() {
    let mut room = room();
    let pattern = |text: &str| ConsumerHeartbeat {
        names: None,
        pattern: Some(text.into()),
        ..joining("a")
    };
    let bad = room.send(&pattern("(")).unwrap_err();
    assert!(matches!(bad, ConsumerGroupError::InvalidPattern(_)));
    assert!(room.group.is_blank());
    set_topic(&mut room.image, "__consumer_offsets", 50);
    let joined = room.send(&pattern(".*")).unwrap();
    assert_eq!(
        joined.assignment.map(|all| all.len()),
        Some(4),
        "internal topics match nothing"
    );
    set_topic(&mut room.image, "t2", 2);
    let first = room.send(&staying("a", 1)).unwrap();
    assert_eq!(first.assignment.map(|all| all.len()), Some(6));
    set_topic(&mut room.image, "t3", 1);
    let soon = room.send(&staying("a", 2)).unwrap();
    assert_eq!(soon.assignment, None, "patterns rest for a while");
    let due = room.group.next_deadline_ms().unwrap();
    assert!(due <= 1000);
    room.pass(due);
    let later = room.send(&staying("a", 2)).unwrap();
    assert_eq!(
        (later.member_epoch, later.assignment.map(|all| all.len())),
        (3, Some(7))
    );
}

#[test]
fn topics_that_grow_and_go_are_noticed_by_tick_and_heartbeat() {
    let mut room = room();
    room.join("a");
    set_topic(&mut room.image, "other", 1);
    assert_eq!(room.send(&staying("a", 1)).unwrap().member_epoch, 1, "not ours");
    set_topic(&mut room.image, "t1", 6);
    room.pass(1);
    assert_eq!(room.group.state().name(), "Assigning");
    let grown = room.send(&staying("a", 1)).unwrap();
    assert_eq!(
        (grown.member_epoch, grown.assignment),
        (2, Some(room.of_t1(&[0, 1, 2, 3, 4, 5])))
    );
    set_topic(&mut room.image, "t1", 0);
    let gone = room.send(&staying("a", 2)).unwrap();
    assert_eq!(gone.assignment, Some(Assignment::default()));
}

#[test]
fn topics_that_changed_while_the_broker_was_down_are_noticed() {
    let mut room = room();
    room.join("a");
    let mut back = ConsumerGroup::new("g".into());
    for record in &room.log {
        back.apply(&record.key, record.value.as_deref()).unwrap();
    }
    back.resume(&room.config, now(room.now_ms));
    room.group = back;
    assert_eq!(
        room.send(&staying("a", 1)).unwrap().member_epoch,
        1,
        "nothing has changed"
    );
    set_topic(&mut room.image, "t1", 5);
    assert_eq!(room.send(&staying("a", 1)).unwrap().member_epoch, 2);
}

#[test]
fn most_votes_choose_the_assignor() {
    let mut room = room();
    room.join("a");
    assert_eq!(room.group.describe().assignor.name(), "uniform");
    let assignor = || Some(Arc::from("range"));
    room.send(&ConsumerHeartbeat {
        assignor: assignor(),
        ..joining("b")
    })
    .unwrap();
    assert_eq!(room.group.describe().assignor.name(), "range");
    room.send(&ConsumerHeartbeat {
        assignor: Some("uniform".into()),
        ..joining("c")
    })
    .unwrap();
    assert_eq!(
        room.group.describe().assignor.name(),
        "uniform",
        "the default wins a draw"
    );
}

#[test]
fn others_see_what_members_have_and_should_have() {
    let mut room = room();
    room.join("a");
    room.join("b");
    let seen = room.group.describe();
    assert_eq!((seen.epoch, seen.target_epoch, seen.members.len()), (2, 2, 2));
    assert_eq!(seen.members[0].assigned, room.of_t1(&[0, 1, 2, 3]));
    assert_eq!(seen.members[0].target, room.of_t1(&[0, 1]));
    assert_eq!(seen.members[1].target, room.of_t1(&[2, 3]));
    assert!(room.group.subscribes("t1") && !room.group.subscribes("t2"));
}

#[test]
fn a_damaged_record_changes_nothing() {
    let mut room = room();
    room.join("a");
    let before = format!("{:?}", room.group);
    let key = room
        .log
        .iter()
        .find(|record| record.key[1] == 8)
        .unwrap()
        .key
        .clone();
    assert!(room.group.apply(&key, Some(&[0, 0, 0])).is_err());
    assert!(room.group.apply(&key, Some(&[0, 9, 0])).is_err());
    assert_eq!(before, format!("{:?}", room.group));
}
