//! The corpora that the house's own encoders make: for each target small inputs that are what it expects, for a fuzzer to
//! start from. `tests` compares them with the files in `fuzz/corpus`, so that they follow the formats.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::batches::LOG;
use super::kafka_wire;
use super::log::{History, expect, scanned, summary};
use crate::base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId};
use crate::batch::compression::compress;
use crate::batch::header::ProducerInfo;
use crate::batch::{Compression, KafkaBatchBuilder, RecordHeader, RecordsBuilder};
use crate::broker::group::Effects;
use crate::broker::group::classic::Context;
use crate::broker::group::config::GroupConfig;
use crate::broker::group::consumer::ConsumerHeartbeat;
use crate::broker::group::consumer::assignment::Assignment;
use crate::broker::group::coordinator::{Coordinator, Room};
use crate::broker::group::record::GroupRecord;
use crate::broker::group::request::{
    CommitPart, CommitRequest, GroupReply, GroupRequest, JoinRequest, MemberRef, Now, Protocol, SyncRequest,
};
use crate::broker::image::Image;
use crate::broker::meta_store::{Item, Op, Revision, journal};
use crate::broker::producer_state::{Placement, ProducerStamp, ProducerTable};
use crate::broker::topic::{Topic, TopicDefaults, settings};
use crate::client::kafka::assignment;
use crate::protocol::kafka::api::{ADVERTISED, ApiKey};
use crate::protocol::kafka::header::RequestHeader;
use crate::protocol::kafka::messages::{self as messages, Message as _};
use crate::protocol::kafka::wire::Writer;
use crate::protocol::native::batches::append_batch;
use crate::protocol::native::messages::tests::one_of_each;
use crate::storage::checkpoint::Checkpoint;
use crate::storage::marker::{self, CleanEnd};

/// An input: its target, its name, its bytes.
pub(super) struct Seed {
    pub(super) target: &'static str,
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// All of them.
pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = Seeds(Vec::new());
    codecs(&mut seeds);
    batches(&mut seeds);
    small_files(&mut seeds);
    metadata(&mut seeds);
    groups(&mut seeds);
    kafka(&mut seeds);
    native(&mut seeds);
    logs(&mut seeds);
    texts(&mut seeds);
    seeds.0
}

struct Seeds(Vec<Seed>);

impl Seeds {
    fn add(&mut self, target: &'static str, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push(Seed {
            target,
            name: name.into(),
            bytes: bytes.into(),
        });
    }
}

fn codecs(seeds: &mut Seeds) {
    let text = b"one line of a log, and another line of a log, and one line more. ".repeat(3);
    for (index, codec) in Compression::ALL.into_iter().enumerate() {
        let head = [u8::try_from(index).unwrap(), 0, 1];
        let packed = compress(codec, &text);
        seeds.add("compression", codec.name(), [&head[..], &packed].concat());
    }
    let raw = snap::raw::Encoder::new().compress_vec(&text).unwrap();
    seeds.add("compression", "snappy-raw", [&[2, 0, 1][..], &raw].concat());
    let streamed = zstd::stream::encode_all(&text[..], 1).unwrap();
    seeds.add("compression", "zstd-stream", [&[4, 0, 1][..], &streamed].concat());
}

fn kafka_batch(codec: Compression, producer: Option<ProducerInfo>) -> Vec<u8> {
    let mut builder = KafkaBatchBuilder::new();
    builder.push(
        Some(b"key"),
        Some(b"value value value"),
        Timestamp::new(1_700_000_000_000),
        [
            RecordHeader::new("header", b"x"),
            RecordHeader {
                key: b"null",
                value: None,
            },
        ],
    );
    builder.push(None, Some(b""), Timestamp::new(1_700_000_000_007), []);
    builder.push(Some(b""), None, Timestamp::new(1_699_999_999_999), []);
    builder.build(codec, producer).unwrap()
}

fn producer() -> ProducerInfo {
    ProducerInfo {
        id: ProducerId::new(9),
        epoch: ProducerEpoch::new(1),
        base_sequence: 40,
    }
}

fn records(count: u8) -> RecordsBuilder {
    let mut builder = RecordsBuilder::new();
    for at in 0..count {
        let header = [RecordHeader::new("h", b"x")];
        let headers = header.into_iter().take(usize::from(at % 2));
        let (key, value) = (
            (at % 3 != 0).then_some(&b"key"[..]),
            (at != 2).then_some(&b"value"[..]),
        );
        let time = Timestamp::new(1_700_000_000_000 + i64::from(at) * 5_000_000_000);
        builder.push(key, value, time, headers).unwrap();
    }
    builder
}

fn batches(seeds: &mut Seeds) {
    for codec in Compression::ALL {
        seeds.add("kafka_batch", codec.name(), kafka_batch(codec, Some(producer())));
    }
    seeds.add("kafka_batch", "no-producer", kafka_batch(Compression::None, None));
    seeds.add(
        "native_payload",
        "every-table",
        records(5).finish().unwrap().to_vec(),
    );
    seeds.add(
        "native_payload",
        "one-record",
        records(1).finish().unwrap().to_vec(),
    );
    let mut out = Vec::new();
    append_batch(&mut out, LOG, Some(producer()), &mut records(4)).unwrap();
    append_batch(&mut out, LOG, None, &mut records(1)).unwrap();
    seeds.add("native_batches", "two", out);
}

fn small_files(seeds: &mut Seeds) {
    let checkpoint = Checkpoint {
        log: LOG,
        start: Offset::new(5),
        first_dirty: Offset::new(9),
        delete_horizon: Some(Timestamp::new(1_700_000_000_000)),
    };
    seeds.add("checkpoint", "cleaned", checkpoint.encode());
    let ends: Vec<CleanEnd> = (0..2)
        .map(|n| CleanEnd {
            log: LOG,
            end: Offset::new(n * 100),
            epoch: LeaderEpoch::new(2),
            damaged: n == 1,
        })
        .collect();
    seeds.add("clean_stop", "two-logs", marker::encode(&ends));
    let mut table = ProducerTable::new();
    for (id, sequence) in [(9, 0), (9, 3), (11, i32::MAX - 1)] {
        let stamp = ProducerStamp {
            id: ProducerId::new(id),
            epoch: ProducerEpoch::new(1),
            base_sequence: sequence,
        };
        let placement = Placement {
            base_offset: Offset::new(100),
            last_offset: Offset::new(102),
            timestamp: Timestamp::new(1_700_000_000_000),
        };
        table.record(stamp, 3, placement, Timestamp::new(1_700_000_000_000));
    }
    seeds.add("producer_table", "two-producers", table.encode());
}

fn metadata(seeds: &mut Seeds) {
    let put = |key: &str, value: &[u8]| Op::Put {
        key: key.to_owned(),
        value: value.to_vec(),
    };
    let mut bytes = journal::encode_header(Revision::new(3));
    let first = [
        put("topics/orders", b"{}"),
        Op::Delete {
            key: "gone".to_owned(),
        },
    ];
    bytes.extend(journal::encode_entry(Revision::new(4), &first).unwrap());
    bytes.extend(journal::encode_entry(Revision::new(5), &[put("cluster/id", b"abc")]).unwrap());
    seeds.add("meta_journal", "two-commits", &bytes[..]);
    seeds.add("meta_journal", "torn", &bytes[..bytes.len() - 5]);
    let item = Item {
        value: b"{}".to_vec(),
        mod_revision: Revision::new(2),
    };
    let image = BTreeMap::from([
        ("topics/a".to_owned(), item.clone()),
        ("topics/b".to_owned(), item),
    ]);
    let snapshot = journal::encode_snapshot(Revision::new(3), &image);
    let len = u16::try_from(snapshot.len()).unwrap().to_le_bytes();
    seeds.add(
        "meta_store",
        "snapshot-and-journal",
        [&len[..], &snapshot, &bytes].concat(),
    );
    let mut alone = journal::encode_header(Revision::ZERO);
    alone.extend(journal::encode_entry(Revision::new(1), &[put("k", b"v")]).unwrap());
    seeds.add("meta_store", "journal-alone", [&[0, 0][..], &alone].concat());
    seeds.add("meta_snapshot", "two-keys", snapshot);
}

/// A coordinator whose answers and records are taken at once.
struct Desk {
    coordinator: Coordinator,
    image: Image,
    now_ms: u64,
    written: Vec<GroupRecord>,
}

impl Desk {
    fn ask(&mut self, group: &str, request: GroupRequest) -> Option<GroupReply> {
        let replies = self.with(|coordinator, cx| {
            coordinator.request(&Arc::from(group), request, 1, Room::Enough, cx);
        });
        replies.into_iter().next()
    }

    fn with(&mut self, work: impl FnOnce(&mut Coordinator, &mut Context<'_>)) -> Vec<GroupReply> {
        let mut effects = Effects::default();
        let mut context = Context {
            config: &GroupConfig::default(),
            now: Now {
                mono_ms: self.now_ms,
                wall: Timestamp::new(1_700_000_000_000),
            },
            image: &self.image,
            effects: &mut effects,
        };
        work(&mut self.coordinator, &mut context);
        self.written.extend(effects.records);
        effects.replies.into_iter().map(|(_, reply)| reply).collect()
    }
}

fn topic() -> Topic {
    Topic {
        id: TopicId::new([5; 16]),
        name: Arc::from("t"),
        partitions: 4,
        overrides: BTreeMap::new(),
        settings: settings(&BTreeMap::new(), &TopicDefaults::default()),
    }
}

fn groups(seeds: &mut Seeds) {
    let mut image = Image::default();
    image.put(topic());
    let mut desk = Desk {
        coordinator: Coordinator::default(),
        image,
        now_ms: 1_000,
        written: Vec::new(),
    };
    classic_group(&mut desk);
    seeds.add(
        "group_records",
        "classic",
        on_disk(&std::mem::take(&mut desk.written)),
    );
    consumer_group(&mut desk);
    seeds.add(
        "group_records",
        "consumer",
        on_disk(&std::mem::take(&mut desk.written)),
    );
    desk.ask("simple", GroupRequest::Commit(commit("", -1)));
    desk.ask("simple", GroupRequest::DeleteOffsets(vec![(Arc::from("t"), 1)]));
    seeds.add("group_records", "offsets", on_disk(&desk.written));
    let topics = assignment::encode_subscription(&["t", "orders"]);
    seeds.add("consumer_protocol", "subscription", topics);
    let assigned = BTreeMap::from([("t".to_owned(), vec![0, 1]), ("orders".to_owned(), vec![7])]);
    seeds.add("consumer_protocol", "assignment", assignment::encode(&assigned));
}

fn classic_group(desk: &mut Desk) {
    let join = JoinRequest {
        member_id: String::new(),
        fresh_id: "1".to_owned(),
        instance_id: Some("one".to_owned()),
        client_id: Arc::from("client"),
        client_host: Arc::from("/127.0.0.1"),
        protocol_type: Arc::from("consumer"),
        protocols: vec![Protocol {
            name: Arc::from("range"),
            metadata: Arc::from(assignment::encode_subscription(&["t"])),
        }],
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        needs_known_id: false,
        can_skip_assignment: false,
    };
    desk.ask("classic", GroupRequest::Join(join));
    desk.now_ms += 60_000;
    let joined = desk.with(|coordinator, cx| coordinator.tick(cx));
    let Some(GroupReply::Join(Ok(joined))) = joined.into_iter().next() else {
        panic!("the member did not join");
    };
    let member_id = joined.member_id.to_string();
    let sync = SyncRequest {
        member_id: member_id.clone(),
        instance_id: Some("one".to_owned()),
        generation: joined.generation,
        protocol_type: None,
        protocol: None,
        assignments: vec![(member_id.clone(), Arc::from(&b"share"[..]))],
    };
    assert!(matches!(
        desk.ask("classic", GroupRequest::Sync(sync)),
        Some(GroupReply::Sync(Ok(_)))
    ));
    let leave = MemberRef {
        member_id,
        instance_id: Some("one".to_owned()),
    };
    desk.ask("classic", GroupRequest::Leave(vec![leave]));
}

fn consumer_group(desk: &mut Desk) {
    let heartbeat = |epoch| ConsumerHeartbeat {
        member_id: Arc::from("m"),
        member_epoch: epoch,
        rack_id: Some(Arc::from("r")),
        rebalance_timeout_ms: Some(5_000),
        names: Some(vec![Arc::from("t")]),
        pattern: Some(Arc::from("t.*")),
        owned: Some(Assignment::default()),
        client_id: Arc::from("client"),
        client_host: Arc::from("/127.0.0.1"),
        ..ConsumerHeartbeat::default()
    };
    for epoch in [0, 1, -1] {
        desk.ask(
            "consumer",
            GroupRequest::ConsumerHeartbeat(Box::new(heartbeat(epoch))),
        );
    }
}

fn commit(member: &str, generation: i32) -> CommitRequest {
    let part = |partition| CommitPart {
        topic: Arc::from("t"),
        topic_id: TopicId::new([5; 16]),
        partition,
        offset: 77,
        leader_epoch: 3,
        metadata: "note".to_owned(),
    };
    CommitRequest {
        member: MemberRef {
            member_id: member.to_owned(),
            instance_id: None,
        },
        generation,
        expire: None,
        parts: vec![part(0), part(1)],
    }
}

/// Records as the target reads them.
fn on_disk(records: &[GroupRecord]) -> Vec<u8> {
    assert!(!records.is_empty());
    let mut out = Vec::new();
    for GroupRecord { key, value } in records {
        let len = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap();
        out.extend(len(key).to_le_bytes());
        out.extend(value.as_deref().map_or(u16::MAX, len).to_le_bytes());
        out.extend(key);
        out.extend(value.as_deref().unwrap_or_default());
    }
    out
}

fn kafka(seeds: &mut Seeds) {
    for &api in ADVERTISED {
        let version = api.versions().max;
        let head = [u8::try_from(api.key()).unwrap(), u8::try_from(version).unwrap()];
        let request = kafka_wire::empty_request(api, version);
        seeds.add(
            "kafka_request",
            format!("{api:?}"),
            [&head[..], &request].concat(),
        );
        let response = kafka_wire::empty_response(api, version);
        seeds.add(
            "kafka_response",
            format!("{api:?}"),
            [&head[..], &response].concat(),
        );
    }
    for version in [3, 9, 13] {
        let request = produce();
        let mut writer = Writer::new();
        request.encode(&mut writer, version);
        let body = writer.finish().unwrap().into_vec();
        let head = [0, u8::try_from(version).unwrap()];
        seeds.add(
            "kafka_request",
            format!("Produce-{version}"),
            [&head[..], &body].concat(),
        );
    }
    let mut stream = Vec::new();
    for (api, version) in [
        (ApiKey::ApiVersions, 3),
        (ApiKey::Metadata, 9),
        (ApiKey::Metadata, 0),
    ] {
        let header = RequestHeader {
            api_key: api.key(),
            api_version: version,
            correlation_id: 1,
            client_id: Some("seed"),
        };
        let mut writer = Writer::framed();
        header.encode(&mut writer);
        writer.raw(&kafka_wire::empty_request(api, version));
        stream.extend(writer.finish().unwrap().into_vec());
    }
    seeds.add("kafka_frame", "three", stream);
}

fn produce() -> messages::ProduceRequest<'static> {
    let partition = messages::PartitionProduceData {
        index: 1,
        records: Some(b"not a batch, which is not looked at here"),
    };
    let topic = messages::TopicProduceData {
        name: "t",
        topic_id: TopicId::new([5; 16]),
        partition_data: [partition].into_iter().collect(),
    };
    messages::ProduceRequest {
        acks: -1,
        timeout_ms: 1_000,
        topic_data: [topic].into_iter().collect(),
        stages_layout: 1,
        ..Default::default()
    }
}

fn native(seeds: &mut Seeds) {
    for (kind, bytes) in one_of_each() {
        seeds.add("native_frame", format!("{kind:?}"), [&[200][..], &bytes].concat());
    }
}

fn logs(seeds: &mut Seeds) {
    // Two appends, a start, an append behind it, one that says the log was durable; see `History::step`.
    let script = [
        &[0, 7, 30, 0, 2][..],
        &[1, 7, 9, 0, 1],
        &[2],
        &[0, 1, 5, 0, 0],
        &[9, 1],
        &[1, 2, 1, 0, 3],
    ]
    .concat();
    let mut history = History::new();
    history.run(&script);
    let bytes = history.active_bytes();
    seeds.add("frame_scan", "four-frames", [&[0, 0, 0][..], &bytes].concat());
    let (found, _) = scanned(&bytes, expect(Offset::ZERO));
    assert_eq!((found.frames, found.damaged.len()), (4, 0));
    seeds.add("index_file", "one-segment", summary(Offset::ZERO, found).encode());
    seeds.add("recovery", "one-segment", script.clone());
    let rolled = [&script[..], &[10, 3, 8, 1], &script, &[3], &script].concat();
    seeds.add("recovery", "three-segments", rolled.clone());
    seeds.add("recovery", "rot", [&rolled[..], &[4, 200, 0, 3, 0, 0]].concat());
    seeds.add(
        "recovery",
        "torn-tail",
        [&script[..], &[5, 200, 1, 255, 255]].concat(),
    );
    seeds.add(
        "recovery",
        "misdirected",
        [&script[..], &[6, 0, 0, 1, 0, 1, 0, 0]].concat(),
    );
    seeds.add(
        "recovery",
        "another-log",
        [&script[..], &[11, 1, 1, 0, 0], &script].concat(),
    );
    seeds.add(
        "recovery",
        "missing-frame",
        [&script[..], &[12, 2], &script].concat(),
    );
}

fn texts(seeds: &mut Seeds) {
    let some =
        "data_dir = \"/d\"\n[kafka]\nlisten = \"127.0.0.1:9092\"\n[log]\nindex_interval_bytes = \"1KiB\"\n";
    let environment = "CORELOG_MEMORY=64MiB\nCORELOG_LOG__POOL_SEGMENTS=3";
    let assignments = "cores=0-3,6\nruntime.shards=2\nkafka.advertise=single";
    seeds.add(
        "config",
        "three-sources",
        format!("{some}\x1e{environment}\x1e{assignments}"),
    );
    for (name, text) in [
        ("class", "orders-[a-z]+(eu|us)?\x1eorders-xeu"),
        ("quoted", "\\Qa.b\\E.*\x1ea.b-c"),
        ("plain", "orders\x1eorders-eu"),
    ] {
        seeds.add("topic_pattern", name, text);
    }
}
