//! Instructions per produced 1 KiB record at 16 KiB batches, by room.
//!
//! The hot path without its system calls (decode, check, append, complete the write, gather for a reader, encode the
//! answer) runs in this same program under callgrind, twice with different counts; the difference is the cost of the
//! path alone. Callgrind knows the source file of every instruction, inlined ones included, so a room is a directory of
//! `src/`. Valgrind hides the widest vector instructions of a processor, so checksums look dearer than they are, and counts
//! every byte of a `rep movsb` as an instruction: copies of a batch cost about one "instruction" a byte here.

use crate::append::batch;
use crate::client::produce;
use crate::report::{Figure, Goal, Report};
use corelog::base::{LogId, Offset, PartitionId, Timestamp, TopicId};
use corelog::batch::{KafkaBatch, TimestampType};
use corelog::protocol::kafka::api::ApiKey;
use corelog::protocol::kafka::header::{RequestHeader, ResponseHeader};
use corelog::protocol::kafka::messages::{
    Message as _, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use corelog::protocol::kafka::wire::{Reader, Writer};
use corelog::runtime::buffer::Arena;
use corelog::runtime::disk::File;
use corelog::storage::log::{Action, Durability, Log, LogConfig, ReadStart};
use corelog::storage::read::{ReadFormat, Want, gather};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

/// Set in the environment of the run under valgrind.
const WORKLOAD: &str = "FIGURES_WORKLOAD";
const COUNTS: (u64, u64) = (200, 1_200);
const RECORDS_PER_BATCH: u64 = 16;
const SIZE_BYTES: usize = 4;

pub(crate) fn measure(report: &mut Report) {
    if let Some(count) = std::env::var(WORKLOAD).ok().and_then(|count| count.parse().ok()) {
        return workload(count);
    }
    let place = crate::broker::home("instructions");
    let (Some(few), Some(many)) = (costs(place.path(), COUNTS.0), costs(place.path(), COUNTS.1)) else {
        println!("valgrind is not here; instructions are not counted");
        return;
    };
    let records = (COUNTS.1 - COUNTS.0) * RECORDS_PER_BATCH;
    let mut rooms: Vec<(String, f64)> = many
        .into_iter()
        .map(|(room, cost)| {
            let more = cost.saturating_sub(few.get(&room).copied().unwrap_or(0));
            (room, more as f64 / records as f64)
        })
        .filter(|(_, cost)| *cost >= 0.05)
        .collect();
    rooms.sort_by(|one, other| other.1.total_cmp(&one.1));
    let sum = rooms.iter().map(|(_, cost)| cost).sum();
    let all = ("all rooms".to_owned(), sum);
    for (room, cost) in std::iter::once(all).chain(rooms) {
        report.add(Figure {
            name: format!("instructions a 1 KiB record: {room}"),
            value: cost,
            floor: None,
            unit: "instr",
            goal: Goal::Known,
            durability: "none",
            note: String::new(),
        });
    }
}

/// Runs the workload under callgrind and sums its instructions by room.
fn costs(place: &Path, count: u64) -> Option<BTreeMap<String, u64>> {
    let out = place.join(format!("callgrind.{count}"));
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().ok()?)
        .arg("instructions")
        .env(WORKLOAD, count.to_string())
        .output()
        .ok()?;
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Some(by_room(&std::fs::read_to_string(out).ok()?))
}

/// Reads callgrind's profile format: `fl=`, `fi=` and `fe=` name the source of the lines that follow, `cfi=` and `cfl=` that
/// of a callee (a number stands for a name given before), a line of numbers is (line, cost), and the line after `calls=` is
/// the callee's cost, which is counted where it arises.
fn by_room(profile: &str) -> BTreeMap<String, u64> {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut costs = BTreeMap::new();
    let mut room = String::new();
    let mut callee = false;
    for line in profile.lines() {
        let key = ["fl=", "fi=", "fe=", "cfi=", "cfl="]
            .into_iter()
            .find(|key| line.starts_with(key));
        if let Some(key) = key {
            let source = &line[key.len()..];
            let (id, name) = source.split_once(' ').unwrap_or((source, ""));
            if !name.is_empty() {
                names.insert(id, name);
            }
            if !key.starts_with('c') {
                room = room_of(names.get(id).copied().unwrap_or(id));
            }
        } else if line.starts_with("calls=") {
            callee = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '*')) {
            let cost = line
                .split(' ')
                .nth(1)
                .and_then(|cost| cost.parse::<u64>().ok())
                .unwrap_or(0);
            if !std::mem::take(&mut callee) {
                *costs.entry(room.clone()).or_insert(0) += cost;
            }
        }
    }
    costs
}

fn room_of(source: &str) -> String {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
    let own = source.strip_prefix(own).or_else(|| source.strip_prefix("src/"));
    if let Some(inside) = own {
        return inside.split(['/', '.']).next().unwrap_or(inside).to_owned();
    }
    let known = [
        ("/sysdeps/x86_64/multiarch/mem", "libc copies"),
        ("crc-fast", "checksum"),
        ("/stdarch/", "checksum"),
        ("benches/", "the harness"),
        ("/library/", "Rust's library"),
        ("malloc", "libc malloc"),
    ];
    let found = known.iter().find(|(part, _)| source.contains(part));
    found.map_or_else(|| "other".to_owned(), |(_, room)| (*room).to_owned())
}

/// Produces and reads back `count` batches.
pub(crate) fn workload(count: u64) {
    let frame = produce("instructions", 1, &batch());
    let log_id = LogId {
        topic: TopicId::new([7; 16]),
        partition: PartitionId::new(0),
    };
    let config = LogConfig {
        segment_bytes: 1 << 30,
        index_interval_bytes: 32 * 1024,
        durability: Durability::Durable,
        timestamp_type: TimestampType::CreateTime,
    };
    let mut log = Log::empty(log_id, config);
    let arena = Arena::new(64 << 20).expect("memory");
    let null = File::from_fd(std::fs::File::open("/dev/null").expect("/dev/null").into());
    for _ in 0..count {
        one(&frame[SIZE_BYTES..], &mut log, &arena, &null);
    }
}

fn one(frame: &[u8], log: &mut Log, arena: &Arena, file: &File) {
    let mut reader = Reader::new(frame);
    let header = RequestHeader::decode(&mut reader).expect("a header");
    let request = ProduceRequest::decode_from(&mut reader, header.api_version).expect("a request");
    let records = request.topic_data[0].partition_data[0].records.expect("records");
    let batch = KafkaBatch::parse(records).expect("a batch");
    batch.verify_crc().expect("a checksum");
    batch.check_produced().expect("a meaning");
    let appended = log
        .append(&batch, Timestamp::new(1_700_000_000_000), arena, Vec::new)
        .expect("memory");
    while let Some(action) = log.next_action() {
        match action {
            Action::Attach { base, .. } => log.attach(base, file.clone()),
            Action::Write(job) => log.wrote(&job),
        }
    }
    black_box(read(log, appended.base));
    answer(&header, &request, appended.base);
    while arena.used_bytes() > arena.len_bytes() / 2 && log.evict() {}
}

fn read(log: &Log, offset: Offset) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 * 1024);
    let Ok(ReadStart::Tail { chain, from }) = log.read_start(offset) else {
        panic!("the batch just appended is in memory");
    };
    let want = Want {
        offset,
        max_bytes: 1 << 20,
        oversized_first: true,
        verify: false,
        format: ReadFormat::Kafka,
    };
    gather(chain, log.id(), from, want, &mut out);
    out
}

fn answer(header: &RequestHeader<'_>, request: &ProduceRequest<'_>, base: Offset) {
    let mut writer = Writer::framed_with_buffer(Vec::with_capacity(128));
    ResponseHeader {
        correlation_id: header.correlation_id,
    }
    .encode(&mut writer, ApiKey::Produce, header.api_version);
    let partition = PartitionProduceResponse {
        base_offset: i64::try_from(base.get()).expect("a small offset"),
        ..PartitionProduceResponse::default()
    };
    let topic = TopicProduceResponse {
        name: request.topic_data[0].name,
        partition_responses: vec![partition],
        ..TopicProduceResponse::default()
    };
    ProduceResponse {
        responses: vec![topic],
        ..ProduceResponse::default()
    }
    .encode(&mut writer, header.api_version);
    black_box(writer.finish().expect("an answer"));
}
