//! The parts of the hot path one by one.
//!
//! ```text
//! cargo bench --bench micro                        time, by criterion
//! cargo bench --bench micro -- --instructions      instructions, by callgrind: the same on every run and every day
//! ```
//!
//! These say where time goes when a figure of `figures` moves. They touch no disk and no socket; every one that handles a
//! batch has sixteen records of 1 KiB, so a number times 65,536 is seconds (or instructions) per GiB. Instructions are the
//! difference of two runs of one case with different counts, so that starting up does not count. `--instructions` takes part
//! of a name to choose cases, and compares with the last run of the same cases (`target/micro.instructions`).
#![expect(clippy::print_stdout, reason = "a report for the person who asked for it")]

use corelog::base::{LogId, Offset, PartitionId, Timestamp, TopicId};
use corelog::batch::records::{RecordsBuilder, RecordsView, aligned_copy};
use corelog::batch::{
    BatchHeader, Compression, HEADER_BYTES, KafkaBatch, KafkaBatchBuilder, Placement, TimestampType,
};
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
use corelog::storage::read::{ReadFormat, Want, gather};
use criterion::Criterion;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

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
            ..TopicProduceData::default()
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
        timestamp_type: TimestampType::CreateTime,
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

/// One thing to measure. Making it is not measured; each call of what it makes is.
struct Case {
    name: &'static str,
    make: fn() -> Box<dyn FnMut()>,
}

const CASES: [Case; 11] = [
    Case {
        name: "ring: push and pop",
        make: ring_push_pop,
    },
    Case {
        name: "frame header: make and encode",
        make: header_encode,
    },
    Case {
        name: "frame header: decode",
        make: header_decode,
    },
    Case {
        name: "batch: parse and check 16 KiB",
        make: batch_check,
    },
    Case {
        name: "native batch: build 16 KiB",
        make: records_build,
    },
    Case {
        name: "native batch: check 16 KiB and read each record",
        make: records_view,
    },
    Case {
        name: "Produce: decode",
        make: produce_decode,
    },
    Case {
        name: "Log: append 16 KiB and complete its write",
        make: log_append,
    },
    Case {
        name: "fetch: gather 1 MiB from the tail",
        make: fetch_gather,
    },
    Case {
        name: "index: floor among 4096",
        make: index_floor,
    },
    Case {
        name: "checksum: 16 KiB",
        make: checksum,
    },
];

/// A batch that lives as long as the program, so that views of it can too.
fn kept_batch() -> KafkaBatch<'static> {
    KafkaBatch::parse(batch().leak()).expect("a batch")
}

fn ring_push_pop() -> Box<dyn FnMut()> {
    let (mut producer, mut consumer) = ring::ring::<u64>(512);
    Box::new(move || {
        producer.push(black_box(7)).expect("room");
        black_box(consumer.pop());
    })
}

const PLACEMENT: Placement = Placement {
    log: LOG,
    base_offset: Offset::new(5),
    leader_epoch: corelog::base::LeaderEpoch::new(1),
    durable_end: Offset::new(5),
    append_time: Timestamp::new(1),
};

fn header_encode() -> Box<dyn FnMut()> {
    let batch = kept_batch();
    Box::new(move || {
        black_box(BatchHeader::for_kafka(black_box(&batch), &PLACEMENT).encode());
    })
}

fn header_decode() -> Box<dyn FnMut()> {
    let encoded: [u8; HEADER_BYTES] = BatchHeader::for_kafka(&kept_batch(), &PLACEMENT).encode();
    Box::new(move || {
        black_box(BatchHeader::decode(black_box(&encoded)).expect("a header"));
    })
}

fn batch_check() -> Box<dyn FnMut()> {
    let bytes = batch();
    Box::new(move || {
        let batch = KafkaBatch::parse(black_box(&bytes)).expect("a batch");
        batch.verify_crc().expect("a checksum");
        batch.check_produced().expect("a meaning");
    })
}

fn records_built(builder: &mut RecordsBuilder) {
    for _ in 0..16 {
        builder
            .push(None, Some(&[0x5a; 1008]), Timestamp::new(1_700_000_000_000), [])
            .expect("room");
    }
}

fn records_build() -> Box<dyn FnMut()> {
    let mut builder = RecordsBuilder::new();
    Box::new(move || {
        builder.clear();
        records_built(&mut builder);
        black_box(builder.finish().expect("a payload"));
    })
}

fn records_view() -> Box<dyn FnMut()> {
    let mut builder = RecordsBuilder::new();
    records_built(&mut builder);
    let payload = aligned_copy(&builder.finish().expect("a payload"));
    Box::new(move || {
        let view = RecordsView::parse(black_box(&payload)).expect("a native batch");
        for record in view.iter() {
            black_box(record.value);
        }
    })
}

fn produce_decode() -> Box<dyn FnMut()> {
    let frame = frame(&batch());
    Box::new(move || {
        let mut reader = Reader::new(black_box(&frame));
        RequestHeader::decode(&mut reader).expect("a header");
        black_box(ProduceRequest::decode_from(&mut reader, VERSION).expect("a request"));
    })
}

fn log_append() -> Box<dyn FnMut()> {
    let (batch, file) = (kept_batch(), null());
    let arena = Arena::new(ARENA_BYTES).expect("memory");
    let mut log = log();
    Box::new(move || {
        log.append(&batch, Timestamp::new(1), &arena, Vec::new)
            .expect("memory");
        settle(&mut log, &file);
        while arena.used_bytes() > ARENA_BYTES / 2 && log.evict() {}
    })
}

fn fetch_gather() -> Box<dyn FnMut()> {
    let (batch, file) = (kept_batch(), null());
    let arena = Arena::new(ARENA_BYTES).expect("memory");
    let mut log = log();
    for _ in 0..64 {
        log.append(&batch, Timestamp::new(1), &arena, Vec::new)
            .expect("memory");
        settle(&mut log, &file);
    }
    let mut out = Vec::with_capacity(2 << 20);
    Box::new(move || {
        // The arena's chunks belong to it for as long as the log reads them.
        let _home = &arena;
        out.clear();
        let Ok(ReadStart::Tail { chain, from }) = log.read_start(Offset::ZERO) else {
            panic!("the tail is in memory");
        };
        let want = Want {
            offset: Offset::ZERO,
            max_bytes: 2 << 20,
            oversized_first: true,
            verify: false,
            format: ReadFormat::Kafka,
        };
        gather(chain, LOG, from, want, &mut out);
        black_box(out.len());
    })
}

fn index_floor() -> Box<dyn FnMut()> {
    let mut index = SegmentIndex::default();
    for entry in 0..INDEX_ENTRIES {
        index.push(IndexEntry {
            relative_offset: entry * 32,
            position: entry * 32 * 1024,
            max_timestamp_before: entry.into(),
        });
    }
    Box::new(move || {
        black_box(index.floor(black_box(INDEX_ENTRIES * 13)));
    })
}

fn checksum() -> Box<dyn FnMut()> {
    let bytes = vec![0x5a; 16 << 10];
    Box::new(move || {
        black_box(corelog::base::crc32c(black_box(&bytes)));
    })
}

/// Set, with the number of calls, in the environment of a run under valgrind; the case's name is its argument.
const CALLS: &str = "MICRO_CALLS";
const CALLS_FEW: u64 = 100;
const CALLS_MANY: u64 = 600;

/// Where the last counts are kept, for the next run to compare with.
const LAST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/micro.instructions");

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.iter().find(|one| !one.starts_with('-'));
    if let Some(calls) = std::env::var(CALLS).ok().and_then(|calls| calls.parse().ok()) {
        return call(name.expect("the case's name"), calls);
    }
    if arguments.iter().any(|one| one == "--instructions") {
        return count_instructions(name.map_or("", String::as_str));
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1))
        .configure_from_args();
    for case in &CASES {
        let mut one = (case.make)();
        criterion.bench_function(case.name, |b| b.iter(&mut one));
    }
    criterion.final_summary();
}

/// The workload under valgrind.
fn call(name: &str, calls: u64) {
    let case = CASES.iter().find(|case| case.name == name).expect("a case");
    let mut one = (case.make)();
    for _ in 0..calls {
        one();
    }
}

fn count_instructions(part: &str) {
    let last: BTreeMap<String, u64> = std::fs::read_to_string(LAST)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.rsplit_once('\t'))
        .filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)))
        .collect();
    let mut now = last.clone();
    println!("{:<52} {:>12} {:>10}", "instructions a call", "now", "to last");
    for case in CASES.iter().filter(|case| case.name.contains(part)) {
        let (Some(few), Some(many)) = (total(case.name, CALLS_FEW), total(case.name, CALLS_MANY)) else {
            println!("valgrind is not here; instructions are not counted");
            return;
        };
        let count = many.saturating_sub(few) / (CALLS_MANY - CALLS_FEW);
        let ratio = last
            .get(case.name)
            .map_or_else(String::new, |last| format!("{:.3}", count as f64 / *last as f64));
        println!("{:<52} {count:>12} {ratio:>10}", case.name);
        now.insert(case.name.to_owned(), count);
    }
    let lines: String = now
        .iter()
        .map(|(name, count)| format!("{name}\t{count}\n"))
        .collect();
    std::fs::write(LAST, lines).expect("target/ can be written");
}

/// All instructions of a process that calls the case `calls` times; `None` without valgrind.
fn total(name: &str, calls: u64) -> Option<u64> {
    let place = std::env::temp_dir().join(format!("micro.{}.callgrind", std::process::id()));
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", place.display()))
        .arg(std::env::current_exe().ok()?)
        .arg(name)
        .env(CALLS, calls.to_string())
        .output()
        .ok()?;
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let total = read_total(&place);
    // A left-over profile costs a little space in a temporary directory.
    let _removed = std::fs::remove_file(&place);
    total
}

fn read_total(profile: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(profile).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("summary: "))?;
    line.trim().parse().ok()
}
