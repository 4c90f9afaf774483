//! Compaction against a naive model: a plain list of the records that must be left, worked out from the rules and nothing
//! else, through any order of appends, rolls, passes, trims, retention and restarts, with a crash at any step of a swap.
//!
//! `CORELOG_SEED=n` runs one seed of the model test, `CORELOG_STEPS` changes its length.

use super::keys::KeyMap;
use super::opened::{Learned, Opened};
use super::rewrite::{GroupWriter, Pass};
use super::swap::{self, Step};
use crate::base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use crate::batch::kafka::{KafkaBatch, KafkaBatchBuilder, Records};
use crate::batch::records::{RecordsView, aligned_copy};
use crate::batch::{
    Attributes, BatchHeader, Compression, Contents, HEADER_BYTES, ProducerInfo, RecordHeader, RecordsBuilder,
};
use crate::runtime::buffer::{Arena, align_up};
use crate::storage::layout::{
    CHECKPOINT_NAME, clean_index_name, clean_name, index_name, parse_name, parse_segment_name, segment_name,
};
use crate::storage::log::{Durability, Log, Retired};
use crate::storage::recovery::{self, FrameVisitor};
use crate::storage::segment::SEGMENT_BYTES_MIN;
use crate::storage::testing::{self, Disk, Random, any_file, arena, config, log_id, read, settle};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const NOW: i64 = 1_700_000_000_000;
const GRACE_MS: i64 = 50;
const KEYS: u64 = 7;

/// A record as a reader gets it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Plain {
    offset: u64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A batch that was appended, and those of its records that must be left.
#[derive(Clone, Debug)]
struct Batch {
    base: u64,
    end: u64,
    horizon: Option<i64>,
    left: Vec<Plain>,
}

/// The producers as recovery rebuilds them: the last sequence of each, by frames and snapshots.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Producers(BTreeMap<i64, (i32, u64)>);

impl FrameVisitor for Producers {
    fn restore(&mut self, snapshot: &[u8]) {
        self.0.clear();
        for entry in snapshot.chunks_exact(20) {
            let field = |at: usize, len: usize| &entry[at..at + len];
            self.0.insert(
                i64::from_le_bytes(field(0, 8).try_into().unwrap()),
                (
                    i32::from_le_bytes(field(8, 4).try_into().unwrap()),
                    u64::from_le_bytes(field(12, 8).try_into().unwrap()),
                ),
            );
        }
    }

    fn frame(&mut self, header: &BatchHeader) {
        if let Some(producer) = header
            .producer
            .filter(|_| header.contents == Contents::AsAppended)
        {
            self.0.insert(
                producer.id.get(),
                (producer.base_sequence, header.base_offset.get()),
            );
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (id, (sequence, offset)) in &self.0 {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&sequence.to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
        }
        out
    }
}

/// The frames of a segment's bytes that cover `[base, end)`, with their payloads.
fn frames(bytes: &[u8], base: Offset, end: Offset) -> Vec<(BatchHeader, Vec<u8>)> {
    let mut found = Vec::new();
    let (mut at, mut next) = (0, base);
    while next < end {
        match BatchHeader::decode(&bytes[at..]) {
            Ok(header) if header.base_offset == next => {
                let payload = &bytes[at + HEADER_BYTES..][..header.payload_len as usize];
                found.push((header, payload.to_vec()));
                at += header.frame_len();
                next = header.end_offset();
            }
            _ => {
                let block = usize::try_from(align_up(at as u64)).unwrap();
                assert!(block > at, "no frame at {at}");
                at = block;
            }
        }
    }
    found
}

/// A log with its model.
struct Model {
    random: Random,
    arena: Arena,
    disk: Disk,
    log: Log,
    batches: Vec<Batch>,
    producers: Producers,
    now: i64,
    directory: tempfile::TempDir,
    /// Segments that were replaced, and crashes inside a swap.
    swaps: u64,
    crashes: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            arena: arena(),
            disk: Disk::default(),
            log: Log::empty(log_id(1), config(SEGMENT_BYTES_MIN, Durability::Durable)),
            batches: Vec::new(),
            producers: Producers::default(),
            now: NOW,
            directory: tempfile::tempdir_in("target").unwrap(),
            swaps: 0,
            crashes: 0,
        }
    }

    fn step(&mut self) {
        self.now += i64::try_from(self.random.below(20)).unwrap();
        match self.random.below(100) {
            0..70 => self.append(),
            70..78 => {
                let producers = self.producers.snapshot();
                self.log.roll_active(|| producers);
            }
            78..90 => self.pass(),
            90..92 => self.trim(),
            92..94 => self.retire(),
            94..96 => drop(self.log.evict()),
            _ => {
                settle(&mut self.log, &mut self.disk);
                self.disk.store(self.directory.path());
                self.reopen();
            }
        }
        settle(&mut self.log, &mut self.disk);
        self.check();
    }

    fn append(&mut self) {
        let base = self.log.next().get();
        let count = 1 + self.random.below(6);
        let records: Vec<Plain> = (0..count).map(|n| self.record(base + n)).collect();
        let producer = (!self.random.one_in(3)).then(|| ProducerInfo {
            id: ProducerId::new(i64::try_from(self.random.below(3)).unwrap()),
            epoch: ProducerEpoch::new(0),
            base_sequence: i32::try_from(base).unwrap(),
        });
        let snapshot = self.producers.snapshot();
        let now = Timestamp::new(self.now);
        let appended = if self.random.one_in(3) {
            let payload = native(&records);
            let view = RecordsView::parse(&payload).unwrap();
            let placement = self.log.placement(now);
            let header =
                BatchHeader::for_records(&view, &payload, Attributes::default(), producer, &placement);
            self.log
                .append_native(&header, &payload, now, &self.arena, || snapshot)
        } else {
            let codec = Compression::ALL[usize::try_from(self.random.below(5)).unwrap()];
            let bytes = kafka(&records, codec, producer);
            let batch = KafkaBatch::parse(&bytes).unwrap();
            self.log.append(&batch, now, &self.arena, || snapshot)
        };
        let end = appended.unwrap().end.get();
        if let Some(producer) = producer {
            let last = (producer.base_sequence, base);
            self.producers.0.insert(producer.id.get(), last);
        }
        self.batches.push(Batch {
            base,
            end,
            horizon: None,
            left: records,
        });
    }

    fn record(&mut self, offset: u64) -> Plain {
        let random = &mut self.random;
        let len = usize::try_from([3, 40, 900][usize::try_from(random.below(3)).unwrap()]).unwrap();
        let fill = u8::try_from(random.below(251)).unwrap();
        Plain {
            offset,
            timestamp: self.now - i64::try_from(random.below(9)).unwrap(),
            key: (!random.one_in(40)).then(|| vec![b'k', u8::try_from(random.below(KEYS)).unwrap()]),
            value: (!random.one_in(4)).then(|| vec![fill; len]),
            headers: if random.one_in(5) {
                vec![(b"h".to_vec(), Some(vec![fill])), (b"n".to_vec(), None)]
            } else {
                Vec::new()
            },
        }
    }

    fn trim(&mut self) {
        let (start, end) = (self.log.start().get(), self.log.durable().get());
        let to = Offset::new(start + self.random.below((end - start) / 4 + 1));
        self.disk.checkpoint = Some(self.log.checkpoint(to).encode());
        self.log.start_at(to);
        while let Some(retired) = self.log.retire_below_start() {
            self.disk.retire(retired.base);
        }
    }

    fn retire(&mut self) {
        if let Some(retired) = testing::retire_front(&mut self.log) {
            self.disk.retire(retired.base);
        }
    }

    /// One pass over the log, as the cleaner does it.
    fn pass(&mut self) {
        settle(&mut self.log, &mut self.disk);
        let segments: Vec<(Offset, Offset, u64)> = self
            .log
            .segments()
            .take_while(|s| self.log.is_replaceable(s.base, s.end))
            .map(|s| (s.base, s.end, s.chain.end()))
            .collect();
        let Some(eligible) = segments.last().map(|(_, end, _)| *end) else {
            return;
        };
        let from = self.log.first_dirty();
        let memory = [0, 1 << 20][usize::try_from(self.random.below(2)).unwrap()];
        let mut keys = KeyMap::new(memory, eligible.get());
        let mut end = eligible;
        // A map this small is never full of seven keys, so the bound is tried by hand.
        let bound = self.random.one_in(3).then(|| {
            let dirty = eligible.get().saturating_sub(from.get());
            Offset::new(from.get() + self.random.below(dirty + 1))
        });
        'learn: for (base, segment_end, _) in &segments {
            for (header, payload) in frames(&self.disk.segments[&base.get()].durable, *base, *segment_end) {
                let opened = Opened::open(&header, &payload).unwrap();
                if header.end_offset() <= from {
                    continue;
                }
                if bound.is_some_and(|bound| header.base_offset >= bound) {
                    end = header.base_offset;
                    break 'learn;
                }
                if let Learned::Until(offset) = opened.learn(from, &mut keys) {
                    end = offset;
                    break 'learn;
                }
            }
        }
        let end = end.max(from).min(eligible);
        let now = Timestamp::new(self.now);
        let mut pass = Pass::new(keys, end, now, Timestamp::new(self.now + GRACE_MS));
        self.clean_model(from.get(), end.get());
        let mut at = 0;
        while at < segments.len() && segments[at].0 < end {
            let take = 1 + usize::try_from(self.random.below(3)).unwrap();
            let group = &segments[at..segments.len().min(at + take)];
            let group: Vec<_> = group
                .iter()
                .take_while(|(base, ..)| *base < end)
                .copied()
                .collect();
            at += group.len();
            if self.replace(&mut pass, &group) {
                // The crash ended the pass; what it did to other groups stays done.
                self.clean_again();
                return;
            }
        }
        self.log.cleaned(end.max(from), pass.tally().next_horizon);
        self.disk.checkpoint = Some(self.log.checkpoint(Offset::ZERO).encode());
        self.compare_all();
    }

    /// Rewrites and swaps one group. True when a crash came in between.
    fn replace(&mut self, pass: &mut Pass, group: &[(Offset, Offset, u64)]) -> bool {
        let (base, end) = (group[0].0, group[group.len() - 1].1);
        let mut writer = GroupWriter::new(self.log.id(), base, 2048);
        let mut out = Vec::new();
        for (base, end, _) in group {
            for (header, payload) in frames(&self.disk.segments[&base.get()].durable, *base, *end) {
                writer.push(pass, &header, &payload, &mut out);
            }
        }
        let finished = writer.finish(&mut out);
        assert_eq!((finished.summary.base, finished.summary.end), (base, end));
        assert_eq!(finished.summary.end_position, out.len() as u64);
        if !finished.changed && group.len() == 1 {
            return false;
        }
        out.resize(usize::try_from(align_up(out.len() as u64)).unwrap(), 0);
        let segment = finished.segment(out.len() as u64);
        let last = group[group.len() - 1].0;
        let producers = crate::storage::index::SegmentSummary::decode(&self.disk.indexes[&last.get()]);
        let index = self
            .log
            .replacement_summary(&segment, producers.unwrap().producers)
            .encode();
        self.swaps += 1;
        let replaced: Vec<Retired> = group
            .iter()
            .map(|(base, _, capacity)| Retired {
                base: *base,
                capacity: *capacity,
            })
            .collect();
        if self.random.one_in(3) {
            self.crashes += 1;
            self.disk.store(self.directory.path());
            let mut files = files_in(self.directory.path());
            files.insert(clean_name(base), out);
            files.insert(clean_index_name(base), index);
            let steps = all_steps(base, &replaced);
            let cut = usize::try_from(self.random.below(steps.len() as u64 + 1)).unwrap();
            let states = crash_states(&files, &steps[..cut]);
            let at = usize::try_from(self.random.below(states.len() as u64)).unwrap();
            put_files(self.directory.path(), &states[at]);
            self.reopen();
            return true;
        }
        let retired = self.log.replace(segment, any_file());
        assert_eq!(retired.len(), replaced.len());
        for old in &retired {
            self.disk.segments.remove(&old.base.get());
            self.disk.indexes.remove(&old.base.get());
        }
        self.disk.attach(base, out.len() as u64);
        let image = self.disk.segments.get_mut(&base.get()).unwrap();
        image.cache.clone_from(&out);
        image.durable = out;
        self.disk.indexes.insert(base.get(), index);
        self.log.replaced(base);
        false
    }

    /// The rules, on the plain list: of each key of `[from, end)` the last record counts.
    fn clean_model(&mut self, from: u64, end: u64) {
        let mut last = BTreeMap::new();
        for record in self.batches.iter().flat_map(|batch| &batch.left) {
            if let Some(key) = record
                .key
                .as_ref()
                .filter(|_| (from..end).contains(&record.offset))
            {
                last.insert(key.clone(), record.offset);
            }
        }
        let (now, log_start) = (self.now, self.log.segments().next().unwrap().base.get());
        for batch in self.batches.iter_mut().filter(|batch| batch.base < end) {
            let horizon = batch.horizon;
            batch.left.retain(|record| {
                let Some(key) = &record.key else { return true };
                let replaced = last.get(key).is_some_and(|last| *last > record.offset);
                let expired = record.value.is_none() && horizon.is_some_and(|horizon| horizon < now);
                !replaced && !expired
            });
            let tombstones = batch
                .left
                .iter()
                .any(|record| record.key.is_some() && record.value.is_none());
            if !tombstones {
                batch.horizon = None;
            } else if batch.end <= end && batch.base >= log_start {
                batch.horizon.get_or_insert(now + GRACE_MS);
            }
        }
    }

    /// After a pass that a crash ended: some groups are cleaned and some are not. What is there now is taken for the truth
    /// once it is one of the two for each record.
    fn clean_again(&mut self) {
        let there: BTreeMap<u64, Plain> = self.read_all().into_iter().map(|r| (r.offset, r)).collect();
        let wanted: BTreeSet<u64> = self
            .batches
            .iter()
            .flat_map(|b| &b.left)
            .map(|r| r.offset)
            .filter(|offset| *offset >= self.log.start().get())
            .collect();
        for offset in &wanted {
            assert!(there.contains_key(offset), "offset {offset} is gone");
        }
        // Horizons and leftovers are known by the frames only; read them back.
        let bases: Vec<(u64, Offset, Offset)> = self
            .log
            .segments()
            .map(|s| (s.base.get(), s.base, s.end))
            .collect();
        let mut horizons = BTreeMap::new();
        for (key, base, end) in bases {
            let Some(image) = self.disk.segments.get(&key) else {
                continue;
            };
            for (header, _) in frames(&image.durable, base, end) {
                horizons.insert(header.end_offset().get(), header.delete_horizon);
            }
        }
        for batch in &mut self.batches {
            let known: BTreeMap<u64, Plain> = batch
                .left
                .iter()
                .map(|record| (record.offset, record.clone()))
                .collect();
            for (offset, record) in there.range(batch.base..batch.end) {
                if !known.contains_key(offset) {
                    batch.left.push(record.clone());
                }
            }
            batch.left.sort_unstable_by_key(|record| record.offset);
            if let Some(horizon) = horizons.get(&batch.end) {
                batch.horizon = horizon.map(Timestamp::get);
            }
        }
    }

    fn read_all(&self) -> Vec<Plain> {
        let mut found = Vec::new();
        let mut next = self.log.start();
        while next < self.log.visible() {
            let (_, bytes) = read(&self.log, &self.disk, &self.arena, next);
            assert!(!bytes.is_empty(), "nothing to read at {next}");
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let len = 12 + usize::try_from(i32::from_be_bytes(rest[8..12].try_into().unwrap())).unwrap();
                let (first, behind) = rest.split_at(len);
                rest = behind;
                let batch = KafkaBatch::parse(first).unwrap();
                batch.verify_crc().unwrap();
                let base = u64::try_from(batch.base_offset()).unwrap();
                assert!(base <= next.get(), "a hole before {base}");
                let end = base + u64::try_from(batch.last_offset_delta()).unwrap() + 1;
                found.extend(records_of(&batch).into_iter().filter(|r| r.offset >= next.get()));
                next = Offset::new(end);
            }
        }
        found
    }

    fn wanted(&self) -> Vec<Plain> {
        let start = self.log.start().get();
        let left = self.batches.iter().flat_map(|batch| &batch.left);
        left.filter(|record| record.offset >= start).cloned().collect()
    }

    fn compare_all(&self) {
        let (found, wanted) = (self.read_all(), self.wanted());
        let brief = |records: &[Plain], other: &[Plain]| -> Vec<_> {
            let odd = records.iter().filter(|record| !other.contains(record));
            odd.map(|r| (r.offset, r.key.clone(), r.value.is_some()))
                .collect()
        };
        assert!(
            found == wanted,
            "[{}, {}): too many {:?}, missing {:?}",
            self.log.start(),
            self.log.next(),
            brief(&found, &wanted),
            brief(&wanted, &found)
        );
    }

    fn check(&mut self) {
        assert!(self.log.start() <= self.log.durable());
        let mut at = self.log.segments().next().map(|segment| segment.base);
        for segment in self.log.segments() {
            assert_eq!(Some(segment.base), at, "segments tile the log");
            at = Some(segment.end);
        }
        let front = self.log.segments().next().map_or(0, |segment| segment.base.get());
        self.batches.retain(|batch| batch.end > front);
        if self.random.one_in(4) {
            self.compare_all();
        }
        // A reader may begin anywhere.
        let (start, end) = (self.log.start().get(), self.log.visible().get());
        if start < end {
            let offset = start + self.random.below(end - start);
            let (_, bytes) = read(&self.log, &self.disk, &self.arena, Offset::new(offset));
            let batch =
                &bytes[..12 + usize::try_from(i32::from_be_bytes(bytes[8..12].try_into().unwrap())).unwrap()];
            let batch = KafkaBatch::parse(batch).unwrap();
            let first = u64::try_from(batch.base_offset()).unwrap();
            let last = first + u64::try_from(batch.last_offset_delta()).unwrap();
            assert!(
                (first..=last).contains(&offset),
                "{offset} is not in {first}..={last}"
            );
        }
    }

    /// Opens what the directory holds, after an unclean stop.
    fn reopen(&mut self) {
        let start = self.log.start();
        let (next, config) = (self.log.next(), self.log.config());
        let mut producers = Producers::default();
        let (log, _) =
            recovery::open(self.directory.path(), log_id(1), config, None, &mut producers).unwrap();
        for name in files_in(self.directory.path()).keys() {
            let known = name == CHECKPOINT_NAME
                || parse_segment_name(name).is_some()
                || parse_name(name, "idx").is_some();
            assert!(known, "{name} is left over");
        }
        self.log = log;
        assert_eq!(self.log.next(), next, "everything was durable");
        assert_eq!(self.log.damaged(), [], "nothing rots here");
        assert_eq!(self.log.start(), start);
        let front = self.log.segments().next().map_or(0, |segment| segment.base.get());
        let expected: BTreeMap<_, _> = self.producers.0.iter().filter(|(_, at)| at.1 >= front).collect();
        for (id, last) in expected {
            assert_eq!(producers.0.get(id), Some(last), "producer {id}");
        }
        self.disk.load(self.directory.path());
    }
}

fn records_of(batch: &KafkaBatch<'_>) -> Vec<Plain> {
    let section = batch.uncompressed(1 << 24).unwrap();
    let count = u32::try_from(batch.record_count()).unwrap();
    Records::new(&section, count)
        .map(|record| {
            let record = record.unwrap();
            Plain {
                offset: u64::try_from(batch.base_offset() + i64::from(record.offset_delta)).unwrap(),
                timestamp: batch.base_timestamp().get() + record.timestamp_delta,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record
                    .headers
                    .map(|one| (one.key.to_vec(), one.value.map(<[u8]>::to_vec)))
                    .collect(),
            }
        })
        .collect()
}

fn headers_of(record: &Plain) -> Vec<RecordHeader<'_>> {
    let headers = record.headers.iter();
    headers
        .map(|(key, value)| RecordHeader {
            key,
            value: value.as_deref(),
        })
        .collect()
}

fn kafka(records: &[Plain], codec: Compression, producer: Option<ProducerInfo>) -> Vec<u8> {
    let mut builder = KafkaBatchBuilder::new();
    for record in records {
        builder.push(
            record.key.as_deref(),
            record.value.as_deref(),
            Timestamp::new(record.timestamp),
            headers_of(record),
        );
    }
    builder.build(codec, producer).unwrap()
}

fn native(records: &[Plain]) -> rkyv::util::AlignedVec<16> {
    let mut builder = RecordsBuilder::new();
    for record in records {
        builder
            .push(
                record.key.as_deref(),
                record.value.as_deref(),
                Timestamp::new(record.timestamp),
                headers_of(record),
            )
            .unwrap();
    }
    aligned_copy(&builder.finish().unwrap())
}

type Files = BTreeMap<String, Vec<u8>>;

fn files_in(directory: &Path) -> Files {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn put_files(directory: &Path, files: &Files) {
    for name in files_in(directory).keys() {
        std::fs::remove_file(directory.join(name)).unwrap();
    }
    for (name, bytes) in files {
        std::fs::write(directory.join(name), bytes).unwrap();
    }
}

fn all_steps(base: Offset, replaced: &[Retired]) -> Vec<Step> {
    let mut steps = swap::prepare();
    steps.extend(swap::commit(base));
    steps.extend(swap::settle(base, replaced));
    steps
}

fn apply(files: &mut Files, step: &Step) {
    match step {
        Step::Sync => {}
        Step::Rename { from, to } => {
            let bytes = files.remove(from).unwrap();
            files.insert(to.clone(), bytes);
        }
        Step::Remove(old) => {
            files.remove(&segment_name(old.base));
            files.remove(&index_name(old.base));
        }
    }
}

/// Every directory a crash can leave once `steps` were asked for: what was synced is there, of the rest any choice.
fn crash_states(files: &Files, steps: &[Step]) -> Vec<Files> {
    let mut synced = files.clone();
    let last = steps
        .iter()
        .rposition(|step| *step == Step::Sync)
        .map_or(0, |at| at + 1);
    for step in &steps[..last] {
        apply(&mut synced, step);
    }
    let pending = &steps[last..];
    (0..1_usize << pending.len())
        .map(|choice| {
            let mut state = synced.clone();
            for (at, step) in pending.iter().enumerate() {
                if choice >> at & 1 == 1 {
                    apply(&mut state, step);
                }
            }
            state
        })
        .collect()
}

fn run(seed: u64) -> (u64, u64) {
    let steps = std::env::var("CORELOG_STEPS").map_or(400, |steps| steps.parse().unwrap());
    println!("CORELOG_SEED={seed}");
    let mut model = Model::new(seed);
    for _ in 0..steps {
        model.step();
    }
    (model.swaps, model.crashes)
}

#[test]
fn a_compacted_log_is_what_the_rules_leave_of_a_plain_list() {
    let seeds =
        std::env::var("CORELOG_SEED").map_or_else(|_| (0..12).collect(), |seed| vec![seed.parse().unwrap()]);
    let done: Vec<_> = seeds.into_iter().map(run).collect();
    assert!(
        done.len() == 1 || done.iter().all(|(swaps, crashes)| *swaps > 5 && *crashes > 0),
        "{done:?}"
    );
}

/// Four sealed segments of a few keys and an active one; the middle two are cleaned into one.
fn small() -> (Model, Files, Vec<u8>, Vec<u8>, Vec<Retired>) {
    let mut model = Model::new(1);
    for _ in 0..4 {
        for _ in 0..12 {
            model.append();
        }
        let producers = model.producers.snapshot();
        model.log.roll_active(|| producers);
        settle(&mut model.log, &mut model.disk);
    }
    model.append();
    settle(&mut model.log, &mut model.disk);
    let group: Vec<_> = model
        .log
        .segments()
        .skip(1)
        .take(2)
        .map(|s| (s.base, s.end))
        .collect();
    let end = group[1].1;
    let mut keys = KeyMap::new(1 << 20, 1000);
    let mut writer = GroupWriter::new(model.log.id(), group[0].0, 2048);
    let mut out = Vec::new();
    let all: Vec<_> = group
        .iter()
        .flat_map(|(base, end)| frames(&model.disk.segments[&base.get()].durable, *base, *end))
        .collect();
    for (header, payload) in &all {
        Opened::open(header, payload)
            .unwrap()
            .learn(Offset::ZERO, &mut keys);
    }
    let mut pass = Pass::new(keys, end, Timestamp::new(NOW), Timestamp::new(NOW + GRACE_MS));
    for (header, payload) in &all {
        writer.push(&mut pass, header, payload, &mut out);
    }
    let finished = writer.finish(&mut out);
    assert!(finished.changed && pass.tally().removed > 0);
    out.resize(usize::try_from(align_up(out.len() as u64)).unwrap(), 0);
    let segment = finished.segment(out.len() as u64);
    let last = &model.disk.indexes[&group[1].0.get()];
    let producers = crate::storage::index::SegmentSummary::decode(last)
        .unwrap()
        .producers;
    let index = model.log.replacement_summary(&segment, producers).encode();
    model.disk.store(model.directory.path());
    let files = files_in(model.directory.path());
    let replaced = group.iter().map(|(base, _)| Retired {
        base: *base,
        capacity: 0,
    });
    let replaced = replaced.collect();
    (model, files, out, index, replaced)
}

#[test]
fn every_crash_during_a_swap_leaves_the_old_segments_or_the_new_one() {
    let (mut model, files, out, index, replaced) = small();
    let (base, before) = (replaced[0].base, model.read_all());
    // Before the names are synced any part of the new files may be there.
    for cut in [0, 1, out.len() / 2] {
        let mut state = files.clone();
        state.insert(clean_name(base), out[..cut].to_vec());
        state.insert(clean_index_name(base), index[..index.len().min(cut)].to_vec());
        put_files(model.directory.path(), &state);
        model.reopen();
        assert_eq!(model.read_all(), before);
    }
    let mut with_new = files;
    with_new.insert(clean_name(base), out);
    with_new.insert(clean_index_name(base), index);
    let steps = all_steps(base, &replaced);
    let committed = steps.iter().position(|step| *step == Step::Sync).unwrap() + 2;
    let mut after = None;
    for cut in (0..=steps.len()).rev() {
        for state in crash_states(&with_new, &steps[..cut]) {
            put_files(model.directory.path(), &state);
            model.reopen();
            let found = model.read_all();
            let after = after.get_or_insert_with(|| found.clone());
            assert_ne!(*after, before);
            if cut > committed {
                assert_eq!(found, *after, "committed, step {cut}");
            } else {
                assert!(found == before || found == *after, "step {cut}");
            }
            // Once more, as after a crash of the start itself.
            model.reopen();
            assert_eq!(model.read_all(), found);
        }
    }
}

#[test]
fn a_swap_is_finished_even_when_its_index_is_lost() {
    let (mut model, mut files, out, index, replaced) = small();
    let base = replaced[0].base;
    files.insert(clean_name(base), out);
    files.insert(clean_index_name(base), index);
    for step in swap::prepare().iter().chain(&swap::commit(base)) {
        apply(&mut files, step);
    }
    put_files(model.directory.path(), &files);
    model.reopen();
    let wanted = model.read_all();
    files.get_mut(&clean_index_name(base)).unwrap()[30] ^= 1;
    put_files(model.directory.path(), &files);
    // Producers of cleaned frames cannot be told without the index; the records can.
    model.producers = Producers::default();
    model.reopen();
    assert_eq!(model.read_all(), wanted);
}

#[test]
fn a_batch_nobody_can_open_stays_and_tombstones_behind_it_do_too() {
    let record = |offset, value: Option<&[u8]>| Plain {
        offset,
        timestamp: NOW,
        key: Some(b"k".to_vec()),
        value: value.map(<[u8]>::to_vec),
        headers: Vec::new(),
    };
    let mut model = Model::new(3);
    let whole = kafka(&[record(0, Some(b"old"))], Compression::Gzip, None);
    // A batch whose records are not what its codec says, with a good checksum, as a broken producer may send it.
    let mut broken = whole;
    broken[61] ^= 0xff;
    let crc = crate::base::crc32c(&broken[21..]);
    broken[17..21].copy_from_slice(&crc.to_be_bytes());
    let tombstone = kafka(&[record(1, None)], Compression::None, None);
    for bytes in [&broken, &tombstone] {
        let batch = KafkaBatch::parse(bytes).unwrap();
        let now = Timestamp::new(NOW);
        model.log.append(&batch, now, &model.arena, Vec::new).unwrap();
    }
    model.log.roll_active(Vec::new);
    settle(&mut model.log, &mut model.disk);
    let all = frames(&model.disk.segments[&0].durable, Offset::ZERO, Offset::new(2));
    let mut keys = KeyMap::new(0, 10);
    assert!(Opened::open(&all[0].0, &all[0].1).is_err());
    Opened::open(&all[1].0, &all[1].1)
        .unwrap()
        .learn(Offset::ZERO, &mut keys);
    for now in [NOW, NOW + 2 * GRACE_MS] {
        let mut pass = Pass::new(
            KeyMap::new(0, 10),
            Offset::new(2),
            Timestamp::new(now),
            Timestamp::new(now + GRACE_MS),
        );
        let mut writer = GroupWriter::new(model.log.id(), Offset::ZERO, 2048);
        let mut out = Vec::new();
        for (header, payload) in &all {
            writer.push(&mut pass, header, payload, &mut out);
        }
        assert!(!writer.finish(&mut out).changed);
        assert_eq!(frames(&out, Offset::ZERO, Offset::new(2)), all);
    }
}

#[test]
fn gaps_do_not_cross_epochs_and_join_cheap_neighbours() {
    let log = log_id(1);
    let record = |offset: u64, key: u8| Plain {
        offset,
        timestamp: NOW,
        key: Some(vec![key]),
        value: Some(vec![key; 10]),
        headers: Vec::new(),
    };
    // Keys 1 1 1 | 1 2 1, the epoch changes in the middle.
    let keys_of = [1, 1, 1, 1, 2, 1];
    let mut all = Vec::new();
    for (offset, key) in keys_of.into_iter().enumerate() {
        let offset = offset as u64;
        let mut bytes = kafka(&[record(offset, key)], Compression::None, None);
        let epoch = LeaderEpoch::new(u32::from(offset >= 3));
        crate::batch::kafka::patch(&mut bytes, Offset::new(offset), epoch);
        let placement = crate::batch::Placement {
            log,
            base_offset: Offset::new(offset),
            leader_epoch: epoch,
            durable_end: Offset::new(offset),
            append_time: Timestamp::new(NOW + i64::try_from(offset).unwrap()),
        };
        let header = BatchHeader::for_kafka(&KafkaBatch::parse(&bytes).unwrap(), &placement);
        all.push((header, bytes));
    }
    let mut keys = KeyMap::new(0, 10);
    for (header, payload) in &all {
        Opened::open(header, payload)
            .unwrap()
            .learn(Offset::ZERO, &mut keys);
    }
    let mut pass = Pass::new(keys, Offset::new(6), Timestamp::new(NOW), Timestamp::new(NOW));
    let mut writer = GroupWriter::new(log, Offset::ZERO, 2048);
    let mut out = Vec::new();
    for (header, payload) in &all {
        writer.push(&mut pass, header, payload, &mut out);
    }
    let finished = writer.finish(&mut out);
    assert_eq!(pass.tally().removed, 4);
    let shape: Vec<_> = frames(&out, Offset::ZERO, Offset::new(6))
        .iter()
        .map(|(header, payload)| {
            let batch = KafkaBatch::parse(payload).unwrap();
            let (base, end) = (header.base_offset.get(), header.end_offset().get());
            (base, end, batch.record_count(), header.leader_epoch.get())
        })
        .collect();
    assert_eq!(shape, [(0, 3, 0, 0), (3, 5, 1, 1), (5, 6, 1, 1)]);
    assert_eq!(finished.summary.first_append_time, Timestamp::new(NOW + 2));
    assert_eq!(finished.summary.last_append_time, Timestamp::new(NOW + 5));
    assert_eq!(finished.summary.max_timestamp, Timestamp::new(NOW));
}
