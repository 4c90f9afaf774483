//! What groups keep in `__consumer_offsets`, and what members of classic groups say to each other.

use std::sync::Arc;

use super::input::Input;
use crate::base::Timestamp;
use crate::broker::group::Effects;
use crate::broker::group::classic::Context;
use crate::broker::group::config::GroupConfig;
use crate::broker::group::coordinator::{Coordinator, Room};
use crate::broker::group::record::GroupRecord;
use crate::broker::group::request::{GroupRequest, MemberRef, Now};
use crate::broker::group::subscription::subscribed_topics;
use crate::broker::image::Image;
use crate::client::kafka::assignment;

/// Bytes of a value that stand for none.
const TOMBSTONE: u16 = u16::MAX;

/// A time when everybody has been silent for too long.
const LATER_MS: u64 = 1 << 40;

/// A partition of the offsets topic: `(u16 bytes of key, u16 bytes of value or 65535, key, value)*`.
///
/// Whatever stands there, a coordinator loads it, answers, lets time pass, and what it then writes reads again.
pub fn group_records(data: &[u8]) {
    let mut input = Input::new(data);
    let mut coordinator = Coordinator::default();
    while !input.is_empty() {
        let (key_len, value_len) = (input.number(), input.number());
        let key = input.bytes(key_len.into());
        let value = (value_len != TOMBSTONE).then(|| input.bytes(value_len.into()));
        let _unreadable = coordinator.apply(key, value);
    }
    let mut records = act(&mut coordinator, 1_000, |coordinator, cx| {
        coordinator.finish_load(cx)
    });
    records.extend(ask_everybody(&mut coordinator));
    records.extend(act(&mut coordinator, LATER_MS, |coordinator, cx| {
        coordinator.tick(cx)
    }));
    records.extend(act(&mut coordinator, LATER_MS, |coordinator, cx| {
        coordinator.expire(cx)
    }));
    records.extend(ask_everybody(&mut coordinator));
    let mut again = Coordinator::default();
    for GroupRecord { key, value } in records {
        let read = again.apply(&key, value.as_deref());
        assert_eq!(read, Ok(()), "a record of ours: {key:02x?} {value:02x?}");
    }
}

/// Lets the coordinator do something at a time of `mono_ms`; the records it writes.
fn act(
    coordinator: &mut Coordinator,
    mono_ms: u64,
    work: impl FnOnce(&mut Coordinator, &mut Context<'_>),
) -> Vec<GroupRecord> {
    let mut effects = Effects::default();
    let mut context = Context {
        config: &GroupConfig::default(),
        now: Now {
            mono_ms,
            wall: Timestamp::new(i64::try_from(mono_ms).expect("times here are small")),
        },
        image: &Image::default(),
        effects: &mut effects,
    };
    work(coordinator, &mut context);
    effects.records
}

/// What tools ask about every group, and a member that nobody knows.
fn ask_everybody(coordinator: &mut Coordinator) -> Vec<GroupRecord> {
    let groups: Vec<Arc<str>> = coordinator.groups().map(|(id, _)| Arc::clone(id)).collect();
    assert_eq!(coordinator.list().count(), groups.len());
    let mut records = Vec::new();
    for group in groups {
        let stranger = MemberRef {
            member_id: "stranger".to_owned(),
            instance_id: None,
        };
        for request in [
            GroupRequest::Describe,
            GroupRequest::ConsumerDescribe,
            GroupRequest::Heartbeat(stranger.clone(), 1),
            GroupRequest::Leave(vec![stranger]),
        ] {
            records.extend(act(coordinator, 2_000, |coordinator, cx| {
                coordinator.request(&group, request, 1, Room::Enough, cx);
            }));
        }
    }
    records
}

/// A member's subscription or assignment: broker and client read the same topics out of it.
pub fn consumer_protocol(data: &[u8]) {
    let heard = assignment::decode_subscription(data);
    if let Some(topics) = subscribed_topics(data) {
        assert_eq!(topics, heard);
    }
    if let Ok(count) = i16::try_from(heard.len()) {
        let topics: Vec<&str> = heard.iter().map(String::as_str).collect();
        let said = assignment::encode_subscription(&topics);
        assert_eq!(assignment::decode_subscription(&said), heard, "{count} topics");
        assert_eq!(subscribed_topics(&said), Some(topics));
    }
    let assigned = assignment::decode(data);
    assert_eq!(assignment::decode(&assignment::encode(&assigned)), assigned);
}
