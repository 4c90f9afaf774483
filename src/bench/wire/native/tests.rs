//! Both conversations against frames made by the codec.

use std::time::Duration;

use super::*;
use crate::base::{Offset, TopicId};
use crate::bench::payload::Message;
use crate::bench::wire::{Acks, Batch, Event, StartAt};
use crate::protocol::native::messages::{Credit, From, Subscribed};
use crate::protocol::native::messages::{
    FetchedEntry, Hello, NodeInfo, Produce, Produced, ProducedEntry, Subscribe, SubscribedEntry, TopicInfo,
    Welcome, WelcomeHead, encode_fetched_before,
};

const TOPIC: TopicId = TopicId::new([7; 16]);

fn layout() -> Layout {
    let home = |partition| PartitionHome {
        topic: "t".to_owned(),
        partition,
        address: SocketAddr::from(([127, 0, 0, 1], 9192)),
    };
    Layout {
        partitions: vec![home(0), home(1)],
    }
}

/// What a conversation reported, in words.
fn receive(conversation: &mut dyn Conversation, input: &[u8], out: &mut Vec<u8>) -> Vec<String> {
    let mut said = Vec::new();
    // Byte by byte at first: a frame is used when it is whole, never before.
    for end in 0..input.len() {
        assert_eq!(
            conversation
                .receive(&input[..end.min(31)], out, &mut |_| ())
                .unwrap(),
            0
        );
    }
    let used = conversation
        .receive(input, out, &mut |event| {
            said.push(match event {
                Event::Ready => "ready".to_owned(),
                Event::Acked { ticket, .. } => format!("acked {ticket}"),
                Event::Failed { ticket, reason } => format!("failed {ticket}: {reason}"),
                Event::Message { partition, value } => {
                    format!("{} {}", partition.0, String::from_utf8_lossy(value))
                }
            })
        })
        .unwrap();
    assert_eq!(used, input.len());
    said
}

/// Answers hello and metadata.
fn greet(conversation: &mut dyn Conversation, out: &mut Vec<u8>) -> Vec<String> {
    conversation.open(out, &mut |_| ());
    let (asked, used) = frame(out).unwrap().unwrap();
    assert_eq!(Hello::decode(&asked).unwrap().name, "corelog-bench");
    out.drain(..used);
    let mut welcome = Vec::new();
    let head = WelcomeHead::default();
    Welcome { head, name: "" }.encode(&mut welcome, 0).unwrap();
    assert!(receive(conversation, &welcome, out).is_empty());
    let (asked, used) = frame(out).unwrap().unwrap();
    assert_eq!(Metadata::decode(&asked).unwrap(), Metadata::Named(vec!["t"]));
    out.drain(..used);
    let answer = MetadataAnswer {
        nodes: vec![NodeInfo {
            id: 1,
            host: "127.0.0.1",
            port: 9192,
        }],
        topics: vec![TopicInfo {
            name: "t",
            id: TOPIC,
            error: None,
            max_batch_bytes: 1 << 20,
            relaxed: false,
            leaders: vec![1, 1],
        }],
    };
    let mut bytes = Vec::new();
    answer.encode(&mut bytes, 0).unwrap();
    receive(conversation, &bytes, out)
}

#[test]
fn a_group_is_one_frame_and_each_batch_has_its_own_outcome() {
    let options = ProduceOptions {
        acks: Acks::All,
        stages: false,
        idempotent: false,
    };
    let mut producer = Producer::new(&layout(), &[PartitionIndex(0), PartitionIndex(1)], options);
    let mut out = Vec::new();
    assert_eq!(greet(&mut producer, &mut out), ["ready"]);
    let messages = [
        Message {
            key: None,
            value: b"one",
        },
        Message {
            key: Some(b"k"),
            value: b"two",
        },
    ];
    let batch = |partition| Batch {
        partition: PartitionIndex(partition),
        messages: &messages,
        timestamp_ms: 5,
    };
    producer.produce_group(&[(10, batch(1)), (11, batch(0))], &mut out);
    let (asked, used) = frame(&out).unwrap().unwrap();
    assert_eq!(used, out.len());
    let produce = Produce::decode(&asked).unwrap();
    let batches: Vec<_> = produce.batches.map(Result::unwrap).collect();
    let places: Vec<_> = batches
        .iter()
        .map(|one| (one.header.log.partition.get(), one.header.record_count))
        .collect();
    assert_eq!(places, [(1, 2), (0, 2)]);
    assert!(
        batches
            .iter()
            .all(|one| one.header.log.topic == TOPIC && one.verify().is_ok())
    );

    let entries = [
        ProducedEntry::safe(Offset::new(0), Offset::new(0)),
        ProducedEntry::refused(ErrorCode::DiskFull),
    ];
    let mut answer = Vec::new();
    Produced::encode(&mut answer, 10, entries.into_iter(), Default::default()).unwrap();
    let said = receive(&mut producer, &answer, &mut out);
    assert_eq!(said[0], "acked 10");
    assert!(said[1].starts_with("failed 11: "), "{said:?}");
}

#[test]
fn pushes_are_read_and_their_credit_given_back() {
    let options = ConsumeOptions {
        start: StartAt::Latest,
        max_bytes: 1 << 20,
        max_wait: Duration::ZERO,
    };
    let mut consumer = Consumer::new(&layout(), &[PartitionIndex(1)], options);
    let mut out = Vec::new();
    assert!(greet(&mut consumer, &mut out).is_empty());
    let (asked, used) = frame(&out).unwrap().unwrap();
    let subscribe = Subscribe::decode(&asked).unwrap();
    let entries: Vec<_> = subscribe
        .entries
        .iter()
        .map(|one| (one.log().partition.get(), one.start()))
        .collect();
    assert_eq!(entries, [(1, Some(From::Latest))]);
    let subscription = subscribe.subscription;
    out.drain(..used);

    let mut answer = Vec::new();
    Subscribed::encode(&mut answer, subscription, &[SubscribedEntry::default()]).unwrap();
    assert_eq!(receive(&mut consumer, &answer, &mut out), ["ready"]);

    let mut builder = crate::batch::RecordsBuilder::new();
    for value in ["a", "b"] {
        builder
            .push(None, Some(value.as_bytes()), crate::base::Timestamp::new(1), [])
            .unwrap();
    }
    let log = crate::base::LogId {
        topic: TOPIC,
        partition: crate::base::PartitionId::new(1),
    };
    let mut batch = Vec::new();
    crate::protocol::native::batches::append_batch(&mut batch, log, None, &mut builder).unwrap();
    let entry = FetchedEntry {
        topic_id: TOPIC.to_bytes(),
        partition: 1,
        bytes: u32::try_from(batch.len()).unwrap(),
        ..FetchedEntry::default()
    };
    let mut push = Vec::new();
    encode_fetched_before(&mut push, Kind::Push, subscription, &[entry]).unwrap();
    push.extend_from_slice(&batch);
    // One byte off every alignment.
    let mut shifted = vec![0];
    shifted.extend_from_slice(&push);
    for input in [push.as_slice(), &shifted[1..]] {
        assert_eq!(receive(&mut consumer, input, &mut out), ["1 a", "1 b"]);
        let (given, used) = frame(&out).unwrap().unwrap();
        let bytes = push.len() as u64;
        assert_eq!(Credit::decode(&given).unwrap(), Credit { subscription, bytes });
        out.drain(..used);
    }
}
