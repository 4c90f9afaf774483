//! The native door from outside: a real broker, sockets, and frames made by the codec or against its rules.
//!
//! What is acknowledged is there after `kill -9`, batches come back as they were sent, whoever reads them; answers keep
//! their order; pushes keep to their credit; and whatever a client does wrong gets its code, or the end of its connection,
//! while a neighbour goes on.

#![expect(
    clippy::disallowed_methods,
    reason = "a test has clocks, threads and patience of its own"
)]

#[expect(
    clippy::allow_attributes,
    reason = "which helpers stay unused differs from program to program"
)]
#[allow(dead_code, reason = "each test program uses some of the shared helpers")]
#[path = "support/support.rs"]
mod support;

#[path = "support/native.rs"]
mod native;

use std::time::Duration;

use corelog::base::{ProducerEpoch, ProducerId, Timestamp};
use corelog::batch::{BatchHeader, HEADER_BYTES, ProducerInfo, RecordHeader, RecordsBuilder};
use corelog::protocol::native::frame::{FrameWriter, HEAD_BYTES};
use corelog::protocol::native::messages::{
    Acks, Credit, DeleteTopic, ErrorFrame, FetchEntry, FetchHead, From, InitProducer, Offsets, OffsetsAnswer,
    OffsetsEntry, ProduceWriter, ProducerReady, Query, SUBSCRIPTIONS_MAX, Subscribe, SubscribeEntry,
    Subscribed, SubscriptionEnded, Unsubscribe, encode_fetch,
};
use corelog::protocol::native::{ErrorCode, Kind};
use native::{Native, Seen, batch, log, produce_frame, seen};
use support::broker::{Advertise, Broker, Options};

/// Long enough for a push that is not to come to have come.
const QUIET: Duration = Duration::from_millis(300);

fn broker(shards: u16) -> Broker {
    Broker::start(Options::new(shards, Advertise::PerCore))
}

fn values(records: &[Seen]) -> Vec<&[u8]> {
    records
        .iter()
        .map(|record| record.value.as_deref().unwrap_or_default())
        .collect()
}

#[test]
fn what_is_produced_is_fetched_as_it_was_sent() {
    let broker = broker(1);
    let mut client = Native::connect(broker.native());
    let log = log(client.create("t", 1, &[]), 0);
    assert_eq!(client.produce(&[(log, b"one")]), [Ok(0)]);
    assert_eq!(client.produce(&[(log, b"two"), (log, b"three")]), [Ok(1), Ok(2)]);
    let read = client.read_all(log, 0);
    assert_eq!(values(&read), [&b"one"[..], b"two", b"three"]);
    assert_eq!(values(&client.read_all(log, 2)), [b"three"]);
    let (entry, _) = client.fetch(log, 9, 100);
    assert_eq!(entry.error(), Some(ErrorCode::OffsetOutOfRange));
}

#[test]
fn many_partitions_of_many_cores_in_one_frame() {
    for advertise in [Advertise::PerCore, Advertise::Single] {
        let broker = Broker::start(Options::new(3, advertise));
        let mut client = Native::connect(broker.native());
        let topic = client.create("t", 12, &[]);
        let (topics, nodes) = client.metadata(&["t", "t", "absent"]);
        assert_eq!(topics.len(), 2, "each name once");
        assert_eq!((topics[0].1.len(), topics[1].1.len()), (12, 0));
        assert_eq!(nodes.len(), usize::from(broker.options().advertised_brokers()));
        let texts: Vec<String> = (0..12).map(|partition| format!("value {partition}")).collect();
        let batches: Vec<_> = (0..12)
            .zip(&texts)
            .map(|(p, text)| (log(topic, p), text.as_bytes()))
            .collect();
        // Whichever core a connection is on, it reaches every partition.
        for (round, (_, port)) in (0..).zip(&nodes) {
            let mut client = Native::connect((broker.native().ip(), *port).into());
            assert_eq!(client.produce(&batches), vec![Ok(round); 12]);
            for (log, value) in &batches {
                assert_eq!(values(&client.read_all(*log, round)), [*value]);
            }
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let broker = broker(2);
    let mut client = Native::connect(broker.native());
    let topic = client.create("t", 4, &[]);
    let mut sent = Vec::new();
    for number in 0..200_u64 {
        let partition = u32::try_from(number % 4).expect("small");
        let text = number.to_string();
        sent.extend(produce_frame(
            1000 + number,
            Acks::Durable,
            &[(log(topic, partition), text.as_bytes())],
        ));
    }
    client.send(&sent);
    for number in 0..200 {
        assert_eq!(client.produced(), (1000 + number, vec![Ok(number / 4)]));
    }
    for partition in 0..4 {
        let read = client.read_all(log(topic, partition), 0);
        let expected: Vec<String> = (0..50).map(|index| (4 * index + partition).to_string()).collect();
        let expected: Vec<&[u8]> = expected.iter().map(String::as_bytes).collect();
        assert_eq!(values(&read), expected);
    }
}

#[test]
fn a_produce_without_acks_is_not_answered_and_there() {
    let broker = broker(1);
    let mut client = Native::connect(broker.native());
    let log = log(client.create("t", 1, &[]), 0);
    client.send(&produce_frame(7, Acks::None, &[(log, b"silent")]));
    assert_eq!(
        client.produce(&[(log, b"loud")]),
        [Ok(1)],
        "the next answer is to the next request"
    );
    assert_eq!(values(&client.read_all(log, 0)), [&b"silent"[..], b"loud"]);
}

#[test]
fn a_repeated_batch_is_appended_once() {
    let broker = broker(1);
    let mut client = Native::connect(broker.native());
    let log = log(client.create("t", 1, &[]), 0);
    let mut out = Vec::new();
    InitProducer::encode(&mut out, 2).expect("a request");
    client.send(&out);
    let ready = client.receive(|frame| ProducerReady::decode(frame).expect("an identity"));
    let mut produce = |base_sequence, id, epoch| {
        let producer = ProducerInfo {
            id,
            epoch: ProducerEpoch::new(epoch),
            base_sequence,
        };
        let mut out = Vec::new();
        let mut writer = ProduceWriter::begin(&mut out, 3, Acks::Durable);
        writer.encoded(&batch(log, b"x", Some(producer)));
        writer.finish().expect("a frame");
        client.send(&out);
        client.produced().1[0]
    };
    assert_eq!(produce(0, ready.id, 0), Ok(0));
    assert_eq!(produce(1, ready.id, 0), Ok(1));
    assert_eq!(
        produce(0, ready.id, 0),
        Ok(0),
        "where it was appended the first time"
    );
    assert_eq!(produce(5, ready.id, 0), Err(ErrorCode::OutOfOrderSequence));
    assert_eq!(
        produce(0, ProducerId::new(ready.id.get()), 1),
        Ok(2),
        "a new epoch begins anew"
    );
    assert_eq!(produce(2, ready.id, 0), Err(ErrorCode::StaleProducerEpoch));
}

#[test]
fn offsets_are_found_by_end_and_by_time() {
    let broker = broker(1);
    let mut client = Native::connect(broker.native());
    let log = log(client.create("t", 1, &[]), 0);
    for time in [100, 200, 300] {
        let mut builder = RecordsBuilder::new();
        builder
            .push(None, Some(b"x"), Timestamp::new(time), [])
            .expect("a record");
        let mut out = Vec::new();
        let mut writer = ProduceWriter::begin(&mut out, 3, Acks::Durable);
        writer.batch(log, None, &mut builder).expect("a batch");
        writer.finish().expect("a frame");
        client.send(&out);
        assert!(client.produced().1[0].is_ok());
    }
    let at = |time| Query::AtTime(Timestamp::new(time));
    let queries = [Query::Earliest, Query::Latest, at(150), at(300), at(301)];
    let entries: Vec<OffsetsEntry> = queries.map(|query| OffsetsEntry::new(log, query)).to_vec();
    let mut out = Vec::new();
    Offsets::encode(&mut out, 9, &entries).expect("a request");
    client.send(&out);
    let found: Vec<Option<u64>> = client.receive(|frame| {
        let answer = OffsetsAnswer::decode(frame).expect("offsets");
        let offset = |entry: corelog::protocol::native::messages::OffsetsAnswerEntry| {
            entry
                .outcome()
                .expect("an answer")
                .map(corelog::base::Offset::get)
        };
        answer.entries.iter().map(offset).collect()
    });
    assert_eq!(found, [Some(0), Some(3), Some(1), Some(2), None]);
}

#[test]
fn kafka_clients_read_what_native_clients_wrote_and_the_other_way_round() {
    let broker = broker(2);
    let mut client = Native::connect(broker.native());
    let topic = client.create("shared", 1, &[]);
    let log = log(topic, 0);
    let mut builder = RecordsBuilder::new();
    let at = |ms: i64| Timestamp::new(1_700_000_000_000 + ms);
    let headers = [RecordHeader::new("h", b"v"), RecordHeader::new("empty", b"")];
    builder
        .push(Some(b"key"), Some(b"value"), at(0), headers)
        .expect("a record");
    builder
        .push(Some(b"tombstone"), None, at(1), [])
        .expect("a record");
    builder.push(None, Some(b""), at(2), []).expect("a record");
    let mut out = Vec::new();
    let mut writer = ProduceWriter::begin(&mut out, 5, Acks::Durable);
    writer.batch(log, None, &mut builder).expect("a batch");
    writer.finish().expect("a frame");
    client.send(&out);
    assert_eq!(client.produced().1, [Ok(0)]);

    let mut kafka = support::client::Client::connect(broker.kafka());
    let fetched = rskafka_records(broker.kafka(), "shared");
    assert_eq!(fetched.len(), 3);
    let first = &fetched[0];
    assert_eq!(first.value.as_deref(), Some(&b"value"[..]));
    assert_eq!(first.key.as_deref(), Some(&b"key"[..]));
    assert_eq!(first.headers.get("h").map(Vec::as_slice), Some(&b"v"[..]));
    assert_eq!(
        (fetched[1].key.as_deref(), fetched[1].value.as_deref()),
        (Some(&b"tombstone"[..]), None)
    );
    assert_eq!(
        (fetched[2].key.as_deref(), fetched[2].value.as_deref()),
        (None, Some(&b""[..]))
    );

    kafka.produce_ok("shared", 0, &support::client::batch(&[b"from kafka"]));
    let (mut out, head) = (
        Vec::new(),
        FetchHead {
            max_bytes: 1 << 20,
            ..FetchHead::default()
        },
    );
    let entry = FetchEntry {
        topic_id: topic.to_bytes(),
        partition: 0,
        max_bytes: 1 << 20,
        offset: 3,
    };
    encode_fetch(&mut out, 6, &head, &[entry]).expect("a request");
    client.send(&out);
    client.receive(|frame| {
        let fetched = corelog::protocol::native::messages::Fetched::decode(frame).expect("batches");
        let (_, mut batches) = fetched.partitions().next().expect("one partition");
        let batch = batches.next().expect("a batch").expect("whole");
        batch.verify().expect("sound");
        assert_eq!(
            (batch.header.encoding, batch.header.base_offset.get()),
            (corelog::batch::Encoding::Kafka, 3)
        );
        let kafka = corelog::batch::KafkaBatch::parse(batch.payload).expect("a Kafka batch");
        assert_eq!((kafka.record_count(), kafka.verify_crc()), (1, Ok(())));
    });
}

/// All records of a topic's first partition, by a Kafka client nobody here wrote.
fn rskafka_records(address: std::net::SocketAddr, topic: &str) -> Vec<rskafka::record::Record> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let client = rskafka::client::ClientBuilder::new(vec![address.to_string()])
            .build()
            .await
            .expect("a client");
        let unknown = rskafka::client::partition::UnknownTopicHandling::Retry;
        let partition = client
            .partition_client(topic, 0, unknown)
            .await
            .expect("a partition");
        let (records, _) = partition
            .fetch_records(0, 1..1_000_000, 1_000)
            .await
            .expect("records");
        records.into_iter().map(|record| record.record).collect()
    })
}

#[test]
fn acknowledged_batches_survive_a_kill() {
    let mut broker = broker(2);
    let mut client = Native::connect(broker.native());
    let topic = client.create("t", 4, &[]);
    let mut acked = vec![Vec::new(); 4];
    for round in 0..50 {
        let texts: Vec<String> = (0..4).map(|partition| format!("{round}/{partition}")).collect();
        let batches: Vec<_> = (0..4)
            .zip(&texts)
            .map(|(p, text)| (log(topic, p), text.as_bytes()))
            .collect();
        for (partition, outcome) in client.produce(&batches).into_iter().enumerate() {
            acked[partition].push((outcome.expect("an ack"), texts[partition].clone()));
        }
    }
    // More under way when it dies.
    for round in 0..20 {
        client.send(&produce_frame(
            round,
            Acks::Durable,
            &[(log(topic, 0), b"unacknowledged")],
        ));
    }
    broker.kill();
    broker.spawn();
    broker.wait_ready();
    let mut client = Native::connect(broker.native());
    for (partition, acked) in (0..).zip(&acked) {
        let read = client.read_all(log(topic, partition), 0);
        for ((offset, text), seen) in acked.iter().zip(&read) {
            assert_eq!(
                (*offset, Some(text.as_bytes())),
                (seen.offset, seen.value.as_deref())
            );
        }
        assert!(read.len() >= acked.len(), "partition {partition}");
    }
}

fn subscribe(
    client: &mut Native,
    id: u64,
    credit: u64,
    entries: &[SubscribeEntry],
) -> Vec<(u64, Option<ErrorCode>)> {
    let mut out = Vec::new();
    Subscribe::encode(&mut out, id, credit, 0, entries).expect("a request");
    client.send(&out);
    client.receive(|frame| {
        assert_eq!((frame.head.kind, frame.head.correlation), (Kind::Subscribed, id));
        let answer = Subscribed::decode(frame).expect("an answer");
        answer
            .entries
            .iter()
            .map(|entry| (entry.offset, entry.error()))
            .collect()
    })
}

/// The records of the next push and the length of its frame.
fn push(client: &mut Native, id: u64) -> (Vec<Seen>, u64) {
    client.receive(|frame| {
        assert_eq!(
            (frame.head.kind, frame.head.correlation),
            (Kind::Push, id),
            "{:?}",
            frame.head
        );
        let records = seen(frame).into_iter().flat_map(|(_, records)| records).collect();
        (records, frame.head.length as u64)
    })
}

#[test]
fn records_are_pushed_as_they_become_readable_on_any_core() {
    let broker = broker(3);
    let mut producer = Native::connect(broker.native());
    let topic = producer.create("t", 6, &[]);
    producer.produce(&[(log(topic, 0), b"before")]);
    let (_, nodes) = producer.metadata(&[]);
    let logs: Vec<_> = (0..6).map(|partition| log(topic, partition)).collect();
    let mut consumers: Vec<Native> = nodes
        .iter()
        .map(|(_, port)| Native::connect((broker.native().ip(), *port).into()))
        .collect();
    for consumer in &mut consumers {
        let entries: Vec<_> = logs
            .iter()
            .map(|log| SubscribeEntry::new(*log, From::Earliest))
            .collect();
        assert_eq!(subscribe(consumer, 77, 1 << 20, &entries), vec![(0, None); 6]);
        assert_eq!(values(&push(consumer, 77).0), [b"before"]);
    }
    for round in 0..20_u64 {
        let partition = u32::try_from(round % 6).expect("small");
        let text = format!("live {round}");
        producer.produce(&[(log(topic, partition), text.as_bytes())]);
        for consumer in &mut consumers {
            assert_eq!(values(&push(consumer, 77).0), [text.as_bytes()]);
        }
    }
}

#[test]
fn pushes_keep_to_their_credit() {
    let broker = broker(1);
    let mut producer = Native::connect(broker.native());
    let log = log(producer.create("t", 1, &[]), 0);
    let value = vec![7; 10_000];
    for _ in 0..40 {
        producer.produce(&[(log, &value)]);
    }
    let one_batch = batch(log, &value, None).len() as u64 + 128;
    let mut consumer = Native::connect(broker.native());
    let mut credit = 50_000_i64;
    subscribe(
        &mut consumer,
        1,
        50_000,
        &[SubscribeEntry::new(log, From::Offset(3))],
    );
    let mut next = 3;
    let mut take = |consumer: &mut Native, credit: &mut i64| {
        while *credit > 0 {
            let (records, length) = push(consumer, 1);
            *credit -= i64::try_from(length).expect("small");
            for record in records {
                assert_eq!(record.offset, next);
                next += 1;
            }
        }
        assert!(
            *credit > -i64::try_from(one_batch).expect("small"),
            "overdrawn by {credit}"
        );
        next
    };
    assert!((7..=9).contains(&take(&mut consumer, &mut credit)));
    assert!(consumer.is_silent_for(QUIET), "nothing without credit");
    let mut more = |consumer: &mut Native, bytes: u64| {
        let mut out = Vec::new();
        Credit {
            subscription: 1,
            bytes,
        }
        .encode(&mut out)
        .expect("a frame");
        consumer.send(&out);
        credit += i64::try_from(bytes).expect("small");
        take(consumer, &mut credit)
    };
    let reached = more(&mut consumer, 60_000);
    assert!((10..20).contains(&reached), "{reached}");
    assert!(consumer.is_silent_for(QUIET));
    more(&mut consumer, 100_000);
}

#[test]
fn a_subscription_ends_when_asked_or_when_nothing_is_left_of_it() {
    let mut broker = broker(2);
    let mut client = Native::connect(broker.native());
    let (kept, gone) = (client.create("kept", 1, &[]), client.create("gone", 1, &[]));
    let latest = |topic| SubscribeEntry::new(log(topic, 0), From::Latest);
    let ended = |client: &mut Native, id| {
        client.receive(|frame| {
            assert_eq!(
                (frame.head.kind, frame.head.correlation),
                (Kind::SubscriptionEnded, id)
            );
            SubscriptionEnded::decode(frame).expect("the end").error
        })
    };
    let mut out = Vec::new();
    subscribe(&mut client, 1, 1000, &[latest(kept)]);
    Unsubscribe { subscription: 1 }.encode(&mut out).expect("a frame");
    client.send(&out);
    assert_eq!(ended(&mut client, 1), None);
    client.send(&out);
    assert_eq!(ended(&mut client, 1), Some(ErrorCode::UnknownSubscription));
    // A number may be used again, and a deleted topic leaves the others of its subscription alone.
    assert_eq!(
        subscribe(&mut client, 1, 1 << 20, &[latest(kept), latest(gone)]),
        [(0, None); 2]
    );
    out.clear();
    DeleteTopic { name: "gone" }
        .encode(&mut out, 50)
        .expect("a frame");
    client.send(&out);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        kinds.push(client.receive(|frame| {
            if frame.head.kind == Kind::Push {
                let (entry, _) = seen(frame).pop().expect("an entry");
                assert_eq!(
                    (entry.log(), entry.error()),
                    (log(gone, 0), Some(ErrorCode::UnknownPartition))
                );
            }
            frame.head.kind
        }));
    }
    assert!(
        kinds.contains(&Kind::Push) && kinds.contains(&Kind::TopicDeleted),
        "{kinds:?}"
    );
    let mut other = Native::connect(broker.native());
    other.produce(&[(log(kept, 0), b"still here")]);
    assert_eq!(values(&push(&mut client, 1).0), [b"still here"]);
    // Nothing there from the beginning; and a stop ends what is left.
    assert_eq!(
        subscribe(&mut client, 2, 1000, &[latest(gone)]),
        [(0, Some(ErrorCode::UnknownPartition))]
    );
    assert_eq!(ended(&mut client, 2), Some(ErrorCode::UnknownPartition));
    broker.signal(rustix::process::Signal::TERM);
    assert_eq!(ended(&mut client, 1), Some(ErrorCode::Stopping));
    assert_eq!(client.try_receive(|_| ()).expect("an orderly end"), None);
    assert!(broker.wait_exit().success());
}

#[test]
fn subscriptions_are_bounded_and_credit_is_judged() {
    let broker = broker(1);
    let mut client = Native::connect(broker.native());
    let topic = client.create("t", 1, &[]);
    let entry = SubscribeEntry::new(log(topic, 0), From::Latest);
    for id in 0..u64::from(SUBSCRIPTIONS_MAX) {
        subscribe(&mut client, id, 100, &[entry]);
    }
    let mut refused = |id, credit| {
        let mut out = Vec::new();
        Subscribe::encode(&mut out, id, credit, 0, &[entry]).expect("a frame");
        client.send(&out);
        client.receive(|frame| ErrorFrame::decode(frame).expect("a refusal").code)
    };
    assert_eq!(refused(1000, 100), ErrorCode::TooManySubscriptions);
    assert_eq!(refused(0, 100), ErrorCode::SubscriptionExists);
    assert_eq!(refused(1000, 0), ErrorCode::InvalidCredit);
    assert_eq!(refused(1000, u64::MAX), ErrorCode::InvalidCredit);
    let mut out = Vec::new();
    Credit {
        subscription: 5,
        bytes: u64::MAX,
    }
    .encode(&mut out)
    .expect("a frame");
    client.send(&out);
    let ended = client.receive(|frame| SubscriptionEnded::decode(frame).expect("the end"));
    assert_eq!(
        (ended.subscription, ended.error),
        (5, Some(ErrorCode::InvalidCredit))
    );
}

#[test]
fn a_waiting_fetch_is_woken_by_records_and_hurried_by_other_requests() {
    let broker = broker(2);
    let mut producer = Native::connect(broker.native());
    let topic = producer.create("t", 2, &[]);
    let mut consumer = Native::connect(broker.native());
    let wait = |correlation| {
        let head = FetchHead {
            max_bytes: 1000,
            min_bytes: 1,
            max_wait_ms: 60_000,
            ..FetchHead::default()
        };
        let entries = [0, 1].map(|partition| FetchEntry {
            topic_id: topic.to_bytes(),
            partition,
            max_bytes: 1000,
            offset: 0,
        });
        let mut out = Vec::new();
        encode_fetch(&mut out, correlation, &head, &entries).expect("a frame");
        out
    };
    consumer.send(&wait(10));
    let mut out = Vec::new();
    InitProducer::encode(&mut out, 20).expect("a frame");
    consumer.send(&out);
    for expected in [(Kind::Fetched, 10), (Kind::ProducerReady, 20)] {
        let answered = consumer.receive(|frame| (frame.head.kind, frame.head.correlation));
        assert_eq!(answered, expected, "a later request ends the wait");
    }
    consumer.send(&wait(11));
    producer.produce(&[(log(topic, 1), b"news")]);
    consumer.receive(|frame| {
        assert_eq!((frame.head.kind, frame.head.correlation), (Kind::Fetched, 11));
        assert_eq!(values(&seen(frame)[1].1), [b"news"]);
    });
}

/// What a hostile client sends, and what it is told before the connection ends (or not: `Ok` goes on).
type Attack = (&'static str, Vec<u8>, Result<ErrorCode, ErrorCode>);

fn attacks(log: corelog::base::LogId) -> Vec<Attack> {
    let sound = || produce_frame(9, Acks::Durable, &[(log, b"value")]);
    let patched = |at: usize, bytes: &[u8]| {
        let mut frame = sound();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    let resealed = |mut frame: Vec<u8>| {
        let control = u32::from_le_bytes(frame[12..16].try_into().expect("four bytes")) as usize;
        let length = u32::from_le_bytes(frame[..4].try_into().expect("four bytes"));
        let crc = corelog::base::crc32c(&frame[8..HEAD_BYTES + control]) ^ length;
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        frame
    };
    let raw = |kind: Kind, control: &[u8]| {
        let mut out = Vec::new();
        let mut writer = FrameWriter::begin(&mut out, kind, 9);
        writer.bytes(control);
        writer.finish().expect("a frame");
        out
    };
    let fatal = Err;
    vec![
        (
            "a length of 4 GiB",
            patched(0, &u32::MAX.to_le_bytes()),
            fatal(ErrorCode::FrameTooLarge),
        ),
        (
            "a length below a head",
            patched(0, &16_u32.to_le_bytes()),
            fatal(ErrorCode::Malformed),
        ),
        (
            "a length that is no multiple of 16",
            patched(0, &129_u32.to_le_bytes()),
            fatal(ErrorCode::Malformed),
        ),
        (
            "a control part beyond the frame",
            patched(12, &4096_u32.to_le_bytes()),
            fatal(ErrorCode::Malformed),
        ),
        (
            "another version",
            patched(9, &[2]),
            fatal(ErrorCode::UnsupportedVersion),
        ),
        ("no such kind", patched(8, &[200]), fatal(ErrorCode::UnknownKind)),
        (
            "a damaged control part",
            patched(HEAD_BYTES, &[9]),
            fatal(ErrorCode::FrameChecksum),
        ),
        (
            "a kind of the broker's",
            resealed(patched(8, &[Kind::Push.code()])),
            fatal(ErrorCode::UnknownKind),
        ),
        (
            "a second hello",
            raw(Kind::Hello, &[0; 16]),
            fatal(ErrorCode::HelloExpected),
        ),
        (
            "unknown flags",
            resealed(patched(10, &[0x80])),
            Ok(ErrorCode::Malformed),
        ),
        (
            "fewer batches than announced",
            resealed(patched(HEAD_BYTES, &[2])),
            Ok(ErrorCode::Malformed),
        ),
        (
            "more batches than announced",
            resealed(patched(HEAD_BYTES, &[0])),
            Ok(ErrorCode::Malformed),
        ),
        (
            "giant counts",
            resealed(patched(HEAD_BYTES, &u32::MAX.to_le_bytes())),
            Ok(ErrorCode::TooMany),
        ),
        (
            "a damaged batch header",
            patched(HEAD_BYTES + 16 + 20, &[9]),
            Ok(ErrorCode::InvalidBatch),
        ),
        (
            "a table that is not there",
            raw(Kind::Fetch, &[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Ok(ErrorCode::Malformed),
        ),
        (
            "text that is not there",
            raw(Kind::DeleteTopic, &[0xff, 0xff, 0, 0]),
            Ok(ErrorCode::Malformed),
        ),
        (
            "bytes left over",
            raw(Kind::InitProducer, &[0; 32]),
            Ok(ErrorCode::Malformed),
        ),
        (
            "an empty control part",
            raw(Kind::Subscribe, &[]),
            Ok(ErrorCode::Malformed),
        ),
    ]
}

#[test]
fn hostile_frames_get_their_code_and_disturb_nobody() {
    let broker = broker(2);
    let mut neighbour = Native::connect(broker.native());
    let log = log(neighbour.create("t", 1, &[]), 0);
    let mut appended = 0;
    for (what, bytes, expected) in attacks(log) {
        let mut attacker = Native::connect(broker.native());
        attacker.send(&bytes);
        let fault = attacker.receive(|frame| {
            let fault = ErrorFrame::decode(frame).unwrap_or_else(|error| panic!("{what}: {error}"));
            (fault.code, fault.fatal)
        });
        match expected {
            Ok(code) => {
                assert_eq!(fault, (code, false), "{what}");
                assert_eq!(attacker.produce(&[(log, b"goes on")]), [Ok(appended)], "{what}");
                appended += 1;
            }
            Err(code) => {
                assert_eq!(fault, (code, true), "{what}");
                // A reset is the end of a connection whose bytes nobody read, too.
                assert!(!matches!(attacker.try_receive(|_| ()), Ok(Some(()))), "{what}");
            }
        }
        assert_eq!(
            neighbour.produce(&[(log, b"neighbour")]),
            [Ok(appended)],
            "{what}"
        );
        appended += 1;
    }
}

#[test]
fn bad_batches_are_refused_each_for_itself() {
    let broker = broker(2);
    let mut client = Native::connect(broker.native());
    let topic = client.create("t", 2, &[("max.message.bytes", "2000")]);
    let good = batch(log(topic, 0), b"good", None);
    let mut damaged = good.clone();
    damaged[HEADER_BYTES + 2] ^= 1;
    let mut structure = good.clone();
    let mut header = BatchHeader::decode(&structure).expect("a header");
    let payload = HEADER_BYTES..HEADER_BYTES + header.payload_len as usize;
    structure[payload.end - 5] ^= 0x40;
    header.payload_crc = corelog::base::crc32c(&structure[payload]);
    structure[..HEADER_BYTES].copy_from_slice(&header.encode());
    let large = batch(log(topic, 0), &[1; 3000], None);
    let nowhere = batch(log(topic, 2), b"no such partition", None);
    let mut stranger = topic.to_bytes();
    stranger[0] ^= 1;
    let stranger = batch(
        log(corelog::base::TopicId::new(stranger), 0),
        b"no such topic",
        None,
    );
    let mut out = Vec::new();
    let mut writer = ProduceWriter::begin(&mut out, 4, Acks::Durable);
    for batch in [&good, &damaged, &structure, &large, &nowhere, &stranger, &good] {
        writer.encoded(batch);
    }
    writer.finish().expect("a frame");
    client.send(&out);
    assert_eq!(
        client.produced().1,
        [
            Ok(0),
            Err(ErrorCode::CorruptBatch),
            Err(ErrorCode::InvalidBatch),
            Err(ErrorCode::BatchTooLarge),
            Err(ErrorCode::UnknownPartition),
            Err(ErrorCode::UnknownPartition),
            Ok(1),
        ]
    );
    assert_eq!(values(&client.read_all(log(topic, 0), 0)), [b"good", b"good"]);
}

#[test]
fn anything_before_hello_ends_the_connection() {
    let broker = broker(1);
    let mut client = Native::silent(broker.native());
    let mut out = Vec::new();
    InitProducer::encode(&mut out, 3).expect("a frame");
    client.send(&out);
    let fault = client.receive(|frame| {
        let fault = ErrorFrame::decode(frame).expect("a refusal");
        (fault.code, fault.fatal)
    });
    assert_eq!(fault, (ErrorCode::HelloExpected, true));
    // A Kafka client at the wrong door, and one that never says a word.
    let mut lost = Native::silent(broker.native());
    lost.send(&support::wire::request(
        3,
        4,
        1,
        &support::wire::metadata_body("t"),
    ));
    assert!(!matches!(lost.try_receive(|frame| frame.head.kind), Ok(Some(kind)) if kind != Kind::Error));
}

#[test]
fn a_consumer_that_never_reads_costs_a_bounded_amount() {
    let broker = Broker::start(Options {
        memory: "64MiB",
        ..Options::new(1, Advertise::PerCore)
    });
    let mut producer = Native::connect(broker.native());
    let log = log(producer.create("t", 1, &[]), 0);
    let entry = SubscribeEntry::new(log, From::Earliest);
    let mut sleepers = Vec::new();
    for _ in 0..4 {
        let mut sleeper = Native::connect(broker.native());
        for id in 0..8 {
            subscribe(&mut sleeper, id, 1 << 30, &[entry]);
        }
        sleepers.push(sleeper);
    }
    // Far more than sockets and budgets hold, read by nobody but the neighbour.
    let value = vec![1; 500_000];
    for round in 0..200 {
        assert_eq!(producer.produce(&[(log, &value)]), [Ok(round)]);
    }
    let mut neighbour = Native::connect(broker.native());
    assert_eq!(neighbour.read_all(log, 190).len(), 10);
    let resident = broker.peak_resident_bytes();
    assert!(resident < (64 << 20) + (128 << 20), "{resident} bytes resident");
}

#[test]
fn the_broker_forgets_a_client_that_is_gone() {
    let broker = broker(2);
    let mut producer = Native::connect(broker.native());
    let topic = producer.create("t", 2, &[]);
    for _ in 0..20 {
        let mut client = Native::connect(broker.native());
        let entries = [0, 1].map(|partition| SubscribeEntry::new(log(topic, partition), From::Latest));
        subscribe(&mut client, 1, 1000, &entries);
    }
    let open = || {
        let (_, text) = broker.admin_get("/metrics").expect("metrics");
        let line = |line: &&str| line.starts_with("corelog_connections_open{");
        let count = |line: &str| {
            line.rsplit(' ')
                .next()
                .and_then(|count| count.parse::<f64>().ok())
        };
        text.lines().filter(line).filter_map(count).sum::<f64>()
    };
    let began = std::time::Instant::now();
    while open() > 1.5 {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{} connections are open",
            open()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(
        producer.produce(&[(log(topic, 0), b"x"), (log(topic, 1), b"y")]),
        [Ok(0), Ok(0)]
    );
}

#[test]
fn a_client_written_from_the_tables_alone_gets_along() {
    let broker = broker(2);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/native_client.py");
    let address = broker.native();
    let output = std::process::Command::new("python3")
        .args([script, &address.ip().to_string(), &address.port().to_string()])
        .output()
        .expect("python3 runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
