//! Fetch 13 to 18 and Produce 13: topic ids, sessions, epochs.

use corelog::base::TopicId;
use corelog::batch::Compression;
use corelog::protocol::kafka::messages::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, MetadataRequest, PartitionData,
};

use crate::support::broker::{Advertise, Broker, Options};
use crate::talk::{Talk, batch};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const SESSION_NOT_FOUND: i16 = 70;
const WRONG_SESSION_EPOCH: i16 = 71;
const UNKNOWN_TOPIC_ID: i16 = 100;
const MIXED_TOPICS: i16 = 106;

fn position(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    }
}

fn topic(topic_id: TopicId, partitions: Vec<FetchPartition>) -> FetchTopic<'static> {
    FetchTopic {
        topic_id,
        partitions,
        ..Default::default()
    }
}

fn request(session_id: i32, session_epoch: i32, topics: Vec<FetchTopic<'static>>) -> FetchRequest<'static> {
    FetchRequest {
        max_bytes: 10 << 20,
        session_id,
        session_epoch,
        topics,
        ..Default::default()
    }
}

/// Topic id, partition, error, high watermark and bytes of everything in the answer.
fn told(answer: &FetchResponse<'_>) -> Vec<(TopicId, i32, i16, i64, bool)> {
    let flat = answer
        .responses
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(move |data| (topic.topic_id, data)));
    let entry = |(id, data): (TopicId, &PartitionData<'_>)| {
        (
            id,
            data.partition_index,
            data.error_code,
            data.high_watermark,
            !data.records.is_empty(),
        )
    };
    flat.map(entry).collect()
}

#[test]
fn topics_go_by_id() {
    let broker = Broker::start(Options::new(2, Advertise::Single));
    let mut talk = Talk::to(broker.kafka());
    let id = talk.create("by-id", 2);
    talk.append(id, 1, Compression::Zstd, &[1, 2]);
    let stranger = TopicId::new([9; 16]);
    let refused = talk.produce(stranger, 0, batch(Compression::None, &[1], None));
    assert_eq!(refused.error_code, UNKNOWN_TOPIC_ID);
    let refused = talk.produce(id, 7, batch(Compression::None, &[1], None));
    assert_eq!(refused.error_code, UNKNOWN_TOPIC_OR_PARTITION);
    for version in 13..=18 {
        let topics = vec![
            topic(id, vec![position(1, 0), position(7, 0)]),
            topic(stranger, vec![position(0, 0)]),
        ];
        let answer = talk.ask(request(0, -1, topics), version);
        assert_eq!((answer.error_code, answer.session_id), (0, 0));
        let expected = [
            (id, 1, 0, 2, true),
            (id, 7, UNKNOWN_TOPIC_OR_PARTITION, -1, false),
            (stranger, 0, UNKNOWN_TOPIC_ID, -1, false),
        ];
        assert_eq!(told(&answer), expected, "v{version}");
    }
}

#[test]
fn a_recreated_topic_is_another_topic() {
    let broker = Broker::start(Options::new(1, Advertise::Single));
    let mut talk = Talk::to(broker.kafka());
    let old = talk.create("again", 1);
    talk.append(old, 0, Compression::None, &[1]);
    let answer = talk.ask(request(0, 0, vec![topic(old, vec![position(0, 1)])]), 17);
    let session = answer.session_id;
    assert_ne!(session, 0);
    talk.delete("again");
    let new = talk.create("again", 1);
    assert_ne!(old, new);
    let answer = talk.ask(request(session, 1, Vec::new()), 17);
    assert_eq!(told(&answer), [(old, 0, UNKNOWN_TOPIC_ID, -1, false)]);
    let swap = FetchRequest {
        forgotten_topics_data: vec![ForgottenTopic {
            topic_id: old,
            partitions: vec![0],
            ..Default::default()
        }],
        ..request(session, 2, vec![topic(new, vec![position(0, 0)])])
    };
    assert_eq!(told(&talk.ask(swap, 17)), [(new, 0, 0, 0, false)]);
}

#[test]
fn a_session_tells_only_what_is_new() {
    let broker = Broker::start(Options::new(2, Advertise::Single));
    let mut talk = Talk::to(broker.kafka());
    let id = talk.create("session", 3);
    let all = || vec![topic(id, (0..3).map(|index| position(index, 0)).collect())];
    let answer = talk.ask(request(0, 0, all()), 18);
    let session = answer.session_id;
    assert_ne!(session, 0);
    assert_eq!(told(&answer).len(), 3, "the first answer is whole");

    assert_eq!(told(&talk.ask(request(session, 1, Vec::new()), 18)), []);
    talk.append(id, 2, Compression::None, &[1]);
    // Every shard knows it at once only if it is the owner: the answer waits for a byte.
    let waiting = FetchRequest {
        min_bytes: 1,
        max_wait_ms: 20_000,
        ..request(session, 2, Vec::new())
    };
    let answer = talk.ask(waiting, 18);
    assert_eq!(answer.session_id, session);
    assert_eq!(told(&answer), [(id, 2, 0, 1, true)]);
    let moved = vec![topic(id, vec![position(2, 1)])];
    assert_eq!(told(&talk.ask(request(session, 3, moved), 18)), []);

    let repeated = talk.ask(request(session, 3, Vec::new()), 18);
    assert_eq!(
        (repeated.error_code, repeated.session_id),
        (WRONG_SESSION_EPOCH, 0)
    );
    let unknown = talk.ask(request(session ^ 0x40, 4, Vec::new()), 18);
    assert_eq!(unknown.error_code, SESSION_NOT_FOUND);
    let mixed = talk.ask(request(session, 4, Vec::new()), 12);
    assert_eq!(mixed.error_code, MIXED_TOPICS);

    let ended = talk.ask(request(session, -1, all()), 18);
    assert_eq!((ended.session_id, told(&ended).len()), (0, 3));
    let gone = talk.ask(request(session, 4, Vec::new()), 18);
    assert_eq!(gone.error_code, SESSION_NOT_FOUND);
}

#[test]
fn another_connection_may_continue_a_session() {
    let broker = Broker::start(Options::new(1, Advertise::Single));
    let mut talk = Talk::to(broker.kafka());
    let id = talk.create("moves", 1);
    let answer = talk.ask(request(0, 0, vec![topic(id, vec![position(0, 0)])]), 18);
    let mut other = Talk::to(broker.kafka());
    let answer = other.ask(request(answer.session_id, 1, Vec::new()), 18);
    assert_eq!(answer.error_code, 0);
}

#[test]
fn epochs_are_told_and_judged() {
    let broker = Broker::start(Options::new(2, Advertise::Single));
    let mut talk = Talk::to(broker.kafka());
    let id = talk.create("epochs", 4);
    let metadata = talk.ask(MetadataRequest::default(), 13);
    let partitions = &metadata.topics[0].partitions;
    assert_eq!(partitions.len(), 4);
    assert!(partitions.iter().all(|partition| partition.leader_epoch == 0));
    talk.append(id, 0, Compression::None, &[1, 2]);
    let with = |offset, epoch| FetchPartition {
        last_fetched_epoch: epoch,
        ..position(0, offset)
    };
    let mut fetch = |partition| {
        let answer = talk.ask(request(0, -1, vec![topic(id, vec![partition])]), 18);
        answer.responses[0].partitions[0].clone()
    };
    let agreed = fetch(with(1, 0));
    assert_eq!((agreed.error_code, agreed.records.is_empty()), (0, false));
    let ahead = fetch(with(5, 0));
    assert_eq!(ahead.error_code, 0);
    assert_eq!(
        (ahead.diverging_epoch.epoch, ahead.diverging_epoch.end_offset),
        (0, 2)
    );
    assert!(ahead.records.is_empty());
    assert_eq!(
        fetch(with(1, 3)).error_code,
        1,
        "an epoch that never was is out of range"
    );
}
