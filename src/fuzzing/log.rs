//! Segments: any bytes scanned, and whole directories that a crash and a bad disk could have left, opened and read.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Range;

use super::batches::LOG;
use super::input::Input;
use super::scratch::Scratch;
use super::seal;
use crate::base::{LeaderEpoch, LogId, Offset, Timestamp, TopicId};
use crate::batch::records::aligned_copy;
use crate::batch::{
    BatchHeader, Compression, FRAME_ALIGN, HEADER_BYTES, KafkaBatch, KafkaBatchBuilder, Placement,
    RecordsBuilder, RecordsView, TimestampType, kafka, verify_payload,
};
use crate::runtime::buffer::{Arena, BLOCK_BYTES, ChunkClass, SLAB_BYTES, align_up};
use crate::storage::chain::Chain;
use crate::storage::index::SegmentSummary;
use crate::storage::layout::{index_name, segment_name};
use crate::storage::log::{Durability, Log, LogConfig, WalkStart};
use crate::storage::read::{ReadFormat, Walked, Want, gather};
use crate::storage::recovery::open;
use crate::storage::scan::{Expect, Scan, scan};

/// Largest segment of an input.
const SEGMENT_BYTES_MAX: usize = 4 * SLAB_BYTES;

/// Most steps of a history of [`recovery`].
const STEPS_MAX: usize = 48;

/// Log bytes per index entry here: small, so that small segments have several.
const INDEX_INTERVAL_BYTES: u64 = 512;

thread_local! {
    static ARENA: OnceCell<Arena> = const { OnceCell::new() };
}

/// Any bytes as a segment: `base, limit or 0, epoch, bytes`, as they are and resealed.
pub fn frame_scan(data: &[u8]) {
    let mut input = Input::new(data);
    let base = Offset::new(input.byte().into());
    let limit = u64::from(input.byte());
    let expect = Expect {
        log: LOG,
        base,
        epoch: LeaderEpoch::new(input.byte().into()),
        limit: (limit != 0).then(|| base.plus(limit)),
        durable: Offset::ZERO,
        index_interval_bytes: INDEX_INTERVAL_BYTES,
    };
    let mut bytes = input.rest().to_vec();
    bytes.truncate(SEGMENT_BYTES_MAX);
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    judge_segment(&bytes, expect);
    seal::stored_frames(&mut bytes);
    judge_segment(&bytes, expect);
}

pub(super) fn scanned(bytes: &Vec<u8>, expect: Expect) -> (Scan, Vec<(BatchHeader, u64)>) {
    let mut frames = Vec::new();
    let scan = scan(bytes, expect, &mut |header, position| {
        frames.push((*header, position))
    });
    (scan.expect("memory does not fail"), frames)
}

fn judge_segment(bytes: &Vec<u8>, expect: Expect) {
    let (found, frames) = scanned(bytes, expect);
    check_frames(bytes, expect, &found, &frames);
    assert_eq!(
        scanned(bytes, expect),
        (found.clone(), frames.clone()),
        "scanned twice"
    );
    if found.damaged.is_empty() {
        let mut cut = bytes.clone();
        cut[place(found.end_position)..].fill(0);
        let (again, same) = scanned(&cut, expect);
        assert_eq!(
            (again.end, &again.index, same),
            (found.end, &found.index, frames),
            "without what is torn"
        );
    }
    check_reads(bytes, expect, &found);
}

/// Frames are whole, ours, in order, without holes but for what is reported as damaged.
fn check_frames(bytes: &[u8], expect: Expect, found: &Scan, frames: &[(BatchHeader, u64)]) {
    let (mut end, mut position, mut epoch) = (expect.base, 0, expect.epoch);
    let mut damaged = found.damaged.iter().cloned();
    for (header, at) in frames {
        assert!(*at >= position && at.is_multiple_of(FRAME_ALIGN as u64));
        let frame = &bytes[place(*at)..][..header.frame_len()];
        assert_eq!(BatchHeader::decode(frame).as_ref(), Ok(header));
        let payload = &frame[HEADER_BYTES..][..header.payload_len as usize];
        assert_eq!(verify_payload(header, payload), Ok(()));
        assert_eq!(header.log, expect.log);
        assert!(header.leader_epoch >= epoch);
        if header.base_offset != end {
            assert_eq!(
                damaged.next(),
                Some(end..header.base_offset),
                "a hole that nobody reports"
            );
        }
        end = header.end_offset();
        position = at + header.frame_len() as u64;
        epoch = header.leader_epoch;
    }
    assert_eq!(
        (found.frames, found.end_position, found.epoch),
        (frames.len() as u64, position, epoch)
    );
    if found.end != end {
        assert_eq!(
            (Some(found.end), damaged.next()),
            (expect.limit, Some(end..found.end))
        );
    }
    assert_eq!(damaged.next(), None, "damage where there is none");
    assert!(found.epoch_seen >= found.epoch && expect.limit.is_none_or(|limit| found.end <= limit));
    let places: BTreeMap<u64, u64> = frames
        .iter()
        .map(|(header, at)| (*at, header.base_offset.get()))
        .collect();
    for entry in found.index.entries() {
        let offset = expect.base.plus(entry.relative_offset.into());
        assert_eq!(
            places.get(&entry.position.into()),
            Some(&offset.get()),
            "an index entry beside the frames"
        );
    }
}

/// A reader that starts at any trusted place gets whole batches or nothing, never bytes that fail their sums.
fn check_reads(bytes: &[u8], expect: Expect, found: &Scan) {
    let chain = chain_of(bytes);
    for entry in found.index.entries() {
        let offset = expect.base.plus(entry.relative_offset.into());
        let from = WalkStart {
            position: entry.position.into(),
            offset,
            // Beyond what is trusted, too: the walk itself has to notice.
            limit: found.end.plus(3),
        };
        for format in [ReadFormat::Kafka, ReadFormat::Frames] {
            let want = Want {
                offset,
                max_bytes: bytes.len(),
                oversized_first: true,
                verify: true,
                format,
            };
            let mut out = Vec::new();
            let (ended, next) = gather(&chain, expect.log, from, want, &mut out);
            check_gathered(&out, offset, next, ended, format);
        }
    }
}

fn check_gathered(mut out: &[u8], from: Offset, next: Offset, ended: Walked, format: ReadFormat) {
    let mut offset = from;
    while !out.is_empty() {
        let (len, end) = match format {
            ReadFormat::Frames => {
                let header = BatchHeader::decode(out).expect("a stored frame");
                let payload = &out[HEADER_BYTES..][..header.payload_len as usize];
                assert_eq!(verify_payload(&header, payload), Ok(()));
                (header.frame_len(), header.end_offset())
            }
            ReadFormat::Kafka => {
                let length = i32::from_be_bytes([out[8], out[9], out[10], out[11]]);
                let len = 12 + usize::try_from(length).expect("a stored batch");
                let batch = KafkaBatch::parse(&out[..len]).expect("a stored batch");
                assert_eq!(batch.verify_crc(), Ok(()));
                assert_eq!(batch.base_offset().cast_unsigned(), offset.get());
                // How far it reaches is the frame's word, which is not in this format.
                (len, next)
            }
        };
        out = &out[len..];
        if format == ReadFormat::Kafka && !out.is_empty() {
            offset = Offset::new(u64::from_be_bytes(*out.first_chunk().expect("another batch")));
            assert!(offset > from && offset < next);
        } else {
            offset = end;
        }
    }
    assert_eq!(offset, next, "{ended:?}");
}

fn chain_of(bytes: &[u8]) -> Chain {
    let arena = ARENA.with(|arena| {
        arena
            .get_or_init(|| Arena::new(2 * SEGMENT_BYTES_MAX).expect("a fuzzer has memory"))
            .clone()
    });
    let chunks = bytes.chunks(SLAB_BYTES).map(|part| {
        let chunk = arena
            .alloc(ChunkClass::Large)
            .expect("the arena holds two segments");
        chunk.copy_in(0, part);
        chunk
    });
    Chain::of_read(0, chunks.collect(), bytes.len())
}

fn place(position: u64) -> usize {
    usize::try_from(position).expect("segments here are small")
}

/// A directory of segments as a history of appends, crashes and bad writes leaves it: a step a byte, with its arguments.
///
/// It opens; opening it again changes nothing; every batch that can be reached is whole.
pub fn recovery(data: &[u8]) {
    let mut history = History::new();
    history.run(data);
    let scratch = Scratch::new("log");
    history.store(&scratch);
    let first = opened(&scratch);
    let files = segments_of(&scratch);
    check_log(&first, &files);
    let second = opened(&scratch);
    assert_eq!(Facts::of(&second), Facts::of(&first), "opened twice");
    assert_eq!(segments_of(&scratch), files, "opening twice writes twice");
    // Over an epoch that was led with, nothing that follows could be told from what was before.
    assert!(first.segments().next().is_none() || second.epoch() > first.epoch());
}

fn opened(scratch: &Scratch) -> Log {
    let config = LogConfig {
        segment_bytes: 1 << 20,
        index_interval_bytes: INDEX_INTERVAL_BYTES,
        durability: Durability::Durable,
        timestamp_type: TimestampType::CreateTime,
    };
    let (log, _) = open(scratch.path(), LOG, config, None, &mut ()).expect("files in memory do not fail");
    log
}

/// What clients can notice of a log.
#[derive(PartialEq, Eq, Debug)]
struct Facts {
    start: Offset,
    next: Offset,
    damaged: Vec<Range<Offset>>,
    segments: Vec<(Offset, Offset)>,
}

impl Facts {
    fn of(log: &Log) -> Self {
        Self {
            start: log.start(),
            next: log.next(),
            damaged: log.damaged().to_vec(),
            segments: log.segments().map(|one| (one.base, one.end)).collect(),
        }
    }
}

fn segments_of(scratch: &Scratch) -> Vec<(String, Vec<u8>)> {
    let mut files = scratch.files();
    files.retain(|(name, _)| name.ends_with(".log"));
    files
}

fn check_log(log: &Log, files: &[(String, Vec<u8>)]) {
    let Facts {
        start,
        next,
        damaged,
        segments,
    } = Facts::of(log);
    assert!(start <= next && log.durable() == next && log.visible() == next);
    assert_eq!(segments.len(), files.len());
    let mut end = segments.first().map_or(next, |(base, _)| *base);
    for (base, segment_end) in &segments {
        assert_eq!(*base, end, "segments lie one behind the other");
        end = *segment_end;
    }
    assert_eq!(end, next);
    let mut before = Offset::ZERO;
    for range in &damaged {
        assert!(
            range.start < range.end && range.start >= before && range.end <= next,
            "{damaged:?}"
        );
        before = range.end;
    }
    for (segment, (_, bytes)) in log.segments().zip(files) {
        read_segment(log, segment.base, segment.end, &damaged, bytes);
    }
}

/// Everything of a segment that is not reported as damaged can be read, unless its index file said more than there is: a file
/// that was sealed is believed until somebody reads it, and then nothing false is served.
fn read_segment(log: &Log, base: Offset, end: Offset, damaged: &[Range<Offset>], bytes: &[u8]) {
    let chain = chain_of(bytes);
    let mut offset = base;
    while offset < end {
        if let Some(range) = damaged.iter().find(|range| range.contains(&offset)) {
            offset = range.end;
            continue;
        }
        let Some(segment) = log.segments().find(|one| one.base == base) else {
            return;
        };
        let relative = u32::try_from(offset.get() - base.get()).expect("offsets here are small");
        let (floor, position) = segment.index.floor(relative);
        let limit = damaged
            .iter()
            .map(|range| range.start)
            .find(|start| *start > offset)
            .unwrap_or(end);
        let from = WalkStart {
            position: position.into(),
            offset: base.plus(floor.into()),
            limit: limit.min(end),
        };
        let want = Want {
            offset,
            max_bytes: bytes.len(),
            oversized_first: true,
            verify: true,
            format: ReadFormat::Frames,
        };
        let mut out = Vec::new();
        let (ended, next) = gather(&chain, log.id(), from, want, &mut out);
        if !out.is_empty() {
            let first = BatchHeader::decode(&out).expect("a stored frame").base_offset;
            check_gathered(&out, first, next, ended, ReadFormat::Frames);
        }
        if ended != Walked::Done || next <= offset {
            return;
        }
        offset = next;
    }
}

/// What is known of a segment of [`History`] before it is scanned.
pub(super) const fn expect(base: Offset) -> Expect {
    Expect {
        log: LOG,
        base,
        epoch: LeaderEpoch::ZERO,
        limit: None,
        durable: Offset::ZERO,
        index_interval_bytes: INDEX_INTERVAL_BYTES,
    }
}

/// The index file of a segment that was scanned.
pub(super) fn summary(base: Offset, found: Scan) -> SegmentSummary {
    SegmentSummary {
        log: LOG,
        base,
        end: found.end,
        end_position: found.end_position,
        first_append_time: found.first_append_time,
        last_append_time: found.last_append_time,
        max_timestamp: found.max_timestamp,
        index: found.index,
        epochs: found.epochs,
        producers: Vec::new(),
    }
}

/// A partition's directory in the making.
pub(super) struct History {
    segments: Vec<(Offset, Vec<u8>)>,
    indexes: BTreeMap<u64, Vec<u8>>,
    next: Offset,
    epoch: LeaderEpoch,
    lag: u64,
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            segments: vec![(Offset::ZERO, Vec::new())],
            indexes: BTreeMap::new(),
            next: Offset::ZERO,
            epoch: LeaderEpoch::ZERO,
            lag: 0,
        }
    }

    /// Takes the steps that `script` says, as far as it goes.
    pub(super) fn run(&mut self, script: &[u8]) {
        let mut input = Input::new(script);
        for _ in 0..STEPS_MAX {
            if input.is_empty() {
                break;
            }
            self.step(&mut input);
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 14 {
            0 => self.append_kafka(input, LOG),
            1 => self.append_native(input),
            2 => self.restart(),
            3 => self.roll(),
            4 => self.flip(input),
            5 => self.overwrite(input, |_| 0),
            6 => self.misdirect(input),
            7 => {
                let len = usize::from(input.byte());
                let bytes = input.bytes(len).to_vec();
                self.active().extend(bytes);
            }
            8 => self.epoch = LeaderEpoch::new(self.epoch.get() + u32::from(input.byte() % 4)),
            9 => self.lag = u64::from(input.byte()),
            10 => self.index(),
            11 => {
                let other = LogId {
                    topic: TopicId::new([8; 16]),
                    ..LOG
                };
                self.append_kafka(input, other);
            }
            12 => self.next = self.next.plus(u64::from(input.byte() % 8)),
            _ => {
                let fill = input.byte();
                self.overwrite(input, |byte| byte ^ fill);
            }
        }
    }

    fn active(&mut self) -> &mut Vec<u8> {
        let (_, bytes) = self.segments.last_mut().expect("there is always one");
        bytes.truncate(SEGMENT_BYTES_MAX - 2 * BLOCK_BYTES);
        bytes
    }

    fn placement(&self, log: LogId) -> Placement {
        Placement {
            log,
            base_offset: self.next,
            leader_epoch: self.epoch,
            durable_end: Offset::new(self.next.get().saturating_sub(self.lag)),
            append_time: Timestamp::new(1),
        }
    }

    fn append_kafka(&mut self, input: &mut Input<'_>, log: LogId) {
        let mut builder = KafkaBatchBuilder::new();
        let value = vec![input.byte(); input.below(700)];
        for at in 0..1 + input.byte() % 4 {
            builder.push(Some(b"k"), Some(&value), Timestamp::new(at.into()), []);
        }
        let mut payload = builder
            .build(Compression::None, None)
            .expect("it holds records and is small");
        let placement = self.placement(log);
        kafka::patch(&mut payload, placement.base_offset, placement.leader_epoch);
        let batch = KafkaBatch::parse(&payload).expect("just built");
        let header = BatchHeader::for_kafka(&batch, &placement);
        self.append(&header, &payload);
    }

    fn append_native(&mut self, input: &mut Input<'_>) {
        let mut builder = RecordsBuilder::new();
        let value = vec![input.byte(); input.below(700)];
        for at in 0..1 + input.byte() % 4 {
            let pushed = builder.push(None, Some(&value), Timestamp::new(at.into()), []);
            pushed.expect("it is small");
        }
        let payload = aligned_copy(&builder.finish().expect("it holds records and is small"));
        let view = RecordsView::parse(&payload).expect("just built");
        let header =
            BatchHeader::for_records(&view, &payload, Default::default(), None, &self.placement(LOG));
        self.append(&header, &payload);
    }

    fn append(&mut self, header: &BatchHeader, payload: &[u8]) {
        self.next = header.end_offset();
        let bytes = self.active();
        let at = bytes.len().next_multiple_of(FRAME_ALIGN);
        bytes.resize(at, 0);
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(payload);
        bytes.resize(at + header.frame_len(), 0);
    }

    /// Appending goes on at the next block, as after a start.
    fn restart(&mut self) {
        let bytes = self.active();
        let len = bytes.len().next_multiple_of(BLOCK_BYTES);
        bytes.resize(len, 0);
    }

    fn roll(&mut self) {
        let base = self.segments.last().map_or(Offset::ZERO, |(base, _)| *base);
        if self.next > base {
            self.segments.push((self.next, Vec::new()));
        }
    }

    fn flip(&mut self, input: &mut Input<'_>) {
        let (place, bit) = (usize::from(input.number()), input.byte() % 8);
        let which = input.below(self.segments.len());
        if let Some(byte) = self.segments[which].1.get_mut(place) {
            *byte ^= 1 << bit;
        }
    }

    fn overwrite(&mut self, input: &mut Input<'_>, change: impl Fn(u8) -> u8) {
        let (place, len) = (usize::from(input.number()), usize::from(input.number()));
        let bytes = self.active();
        let end = place.saturating_add(len).min(bytes.len());
        for byte in bytes.get_mut(place..end).unwrap_or_default() {
            *byte = change(*byte);
        }
    }

    /// Some sectors land where they should not.
    fn misdirect(&mut self, input: &mut Input<'_>) {
        const SECTOR_BYTES: usize = 512;
        let (from, to) = (input.below(64) * SECTOR_BYTES, input.below(64) * SECTOR_BYTES);
        let len = usize::from(1 + input.byte() % 8) * SECTOR_BYTES;
        let which = input.below(self.segments.len());
        let source = &self.segments[which].1;
        let moved = source
            .get(from..(from + len).min(source.len()))
            .unwrap_or_default()
            .to_vec();
        let bytes = self.active();
        let end = (to + moved.len()).min(bytes.len());
        if let Some(room) = bytes.get_mut(to..end) {
            room.copy_from_slice(&moved[..end - to]);
        }
    }

    /// Writes the index of the active segment as it would be if everything were as it was meant.
    fn index(&mut self) {
        let base = self.segments.last().map_or(Offset::ZERO, |(base, _)| *base);
        let (found, _) = scanned(&self.active_bytes(), expect(base));
        self.indexes.insert(base.get(), summary(base, found).encode());
    }

    /// The active segment as a file has it.
    pub(super) fn active_bytes(&self) -> Vec<u8> {
        let (_, bytes) = self.segments.last().expect("there is always one");
        let mut bytes = bytes.clone();
        bytes.resize(place(align_up(bytes.len() as u64)), 0);
        bytes
    }

    fn store(&self, scratch: &Scratch) {
        for (base, bytes) in &self.segments {
            let mut bytes = bytes.clone();
            let len = place(align_up(bytes.len() as u64)) + BLOCK_BYTES;
            bytes.resize(len, 0);
            scratch.write(&segment_name(*base), &bytes);
        }
        for (base, bytes) in &self.indexes {
            scratch.write(&index_name(Offset::new(*base)), bytes);
        }
    }
}
