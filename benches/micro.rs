//! The parts of the hot path one by one: `cargo bench --bench micro`.
//!
//! These say where time goes when a figure of `figures` moves. They touch no disk and no socket; every one works on a
//! batch of sixteen 1 KiB records, so a number times 65,536 is seconds per GiB.

use corelog::base::{LogId, Offset, PartitionId, Timestamp, TopicId};
use corelog::batch::{BatchHeader, Compression, HEADER_BYTES, KafkaBatch, KafkaBatchBuilder, Placement};
use corelog::protocol::kafka::header::RequestHeader;
use corelog::protocol::kafka::messages::{
    Message as _, PartitionProduceData, ProduceRequest, TopicProduceData,
};
use corelog::protocol::kafka::wire::{Reader, Writer};
use corelog::runtime::buffer::Arena;
use corelog::runtime::disk::File;
use corelog::runtime::ring;
use corelog::storage::index::{IndexEntry, SegmentIndex};
use corelog::storage::log::{Action, Durability, Log, LogConfig, ReadStart};
use corelog::storage::read::{Want, gather};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;

const VERSION: i16 = 9;
const ARENA_BYTES: usize = 64 << 20;
const INDEX_ENTRIES: u32 = 4096;

const LOG: LogId = LogId {
    topic: TopicId::NIL,
    partition: PartitionId::ZERO,
};

fn batch() -> Vec<u8> {
    let mut builder = KafkaBatchBuilder::new();
    for _ in 0..16 {
        builder.push(None, Some(&[0x5a; 1008]), Timestamp::new(1_700_000_000_000), []);
    }
    builder.build(Compression::None, None).expect("a batch")
}

fn frame(batch: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    RequestHeader {
        api_key: 0,
        api_version: VERSION,
        correlation_id: 1,
        client_id: Some("micro"),
    }
    .encode(&mut writer);
    let partition = PartitionProduceData {
        index: 0,
        records: Some(batch),
    };
    ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 1000,
        topic_data: [TopicProduceData {
            name: "topic",
            partition_data: [partition].into_iter().collect(),
        }]
        .into_iter()
        .collect(),
        ..ProduceRequest::default()
    }
    .encode(&mut writer, VERSION);
    writer.finish().expect("a request").into_vec()
}

fn log() -> Log {
    let config = LogConfig {
        segment_bytes: 1 << 30,
        index_interval_bytes: 32 * 1024,
        durability: Durability::Durable,
    };
    Log::empty(LOG, config)
}

/// Lets every write of the log complete at once.
fn settle(log: &mut Log, file: &File) {
    while let Some(action) = log.next_action() {
        match action {
            Action::Attach { base, .. } => log.attach(base, file.clone()),
            Action::Write(job) => log.wrote(&job),
        }
    }
}

fn null() -> File {
    File::from_fd(std::fs::File::open("/dev/null").expect("/dev/null").into())
}

fn rings(c: &mut Criterion) {
    let (mut producer, mut consumer) = ring::ring::<u64>(512);
    c.bench_function("ring: push and pop", |b| {
        b.iter(|| {
            producer.push(black_box(7)).expect("room");
            black_box(consumer.pop());
        });
    });
}

fn headers(c: &mut Criterion) {
    let bytes = batch();
    let batch = KafkaBatch::parse(&bytes).expect("a batch");
    let placement = Placement {
        log: LOG,
        base_offset: Offset::new(5),
        leader_epoch: corelog::base::LeaderEpoch::new(1),
        durable_end: Offset::new(5),
        append_time: Timestamp::new(1),
    };
    c.bench_function("frame header: make and encode", |b| {
        b.iter(|| BatchHeader::for_kafka(black_box(&batch), &placement).encode());
    });
    let encoded: [u8; HEADER_BYTES] = BatchHeader::for_kafka(&batch, &placement).encode();
    c.bench_function("frame header: decode", |b| {
        b.iter(|| BatchHeader::decode(black_box(&encoded)))
    });
    c.bench_function("batch: parse and check 16 KiB", |b| {
        b.iter(|| {
            let batch = KafkaBatch::parse(black_box(&bytes)).expect("a batch");
            batch.verify_crc().expect("a checksum");
            batch.check_produced().expect("a meaning");
        });
    });
}

fn requests(c: &mut Criterion) {
    let frame = frame(&batch());
    c.bench_function("Produce: decode", |b| {
        b.iter(|| {
            let mut reader = Reader::new(black_box(&frame));
            RequestHeader::decode(&mut reader).expect("a header");
            black_box(ProduceRequest::decode_from(&mut reader, VERSION).expect("a request"));
        });
    });
}

fn appends(c: &mut Criterion) {
    let (bytes, file) = (batch(), null());
    let batch = KafkaBatch::parse(&bytes).expect("a batch");
    let arena = Arena::new(ARENA_BYTES).expect("memory");
    c.bench_function("Log: append 16 KiB and complete its write", |b| {
        let mut log = log();
        b.iter(|| {
            log.append(&batch, Timestamp::new(1), &arena, Vec::new)
                .expect("memory");
            settle(&mut log, &file);
            while arena.used_bytes() > ARENA_BYTES / 2 && log.evict() {}
        });
    });
}

fn reads(c: &mut Criterion) {
    let (bytes, file) = (batch(), null());
    let batch = KafkaBatch::parse(&bytes).expect("a batch");
    let arena = Arena::new(ARENA_BYTES).expect("memory");
    let mut log = log();
    for _ in 0..64 {
        log.append(&batch, Timestamp::new(1), &arena, Vec::new)
            .expect("memory");
        settle(&mut log, &file);
    }
    c.bench_function("fetch: gather 1 MiB from the tail", |b| {
        b.iter_batched_ref(
            || Vec::with_capacity(2 << 20),
            |out| {
                let Ok(ReadStart::Tail { chain, from }) = log.read_start(Offset::ZERO) else {
                    panic!("the tail is in memory");
                };
                let want = Want {
                    offset: Offset::ZERO,
                    max_bytes: 2 << 20,
                    oversized_first: true,
                    verify: false,
                };
                gather(chain, LOG, from, want, out)
            },
            BatchSize::LargeInput,
        );
    });
}

fn indexes(c: &mut Criterion) {
    let mut index = SegmentIndex::default();
    for entry in 0..INDEX_ENTRIES {
        index.push(IndexEntry {
            relative_offset: entry * 32,
            position: entry * 32 * 1024,
            max_timestamp_before: entry.into(),
        });
    }
    c.bench_function("index: floor among 4096", |b| {
        b.iter(|| index.floor(black_box(INDEX_ENTRIES * 13)));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = rings, headers, requests, appends, reads, indexes
}
criterion_main!(benches);
