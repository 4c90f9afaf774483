//! From the frames of adjacent segments to the frames of the one that replaces them.
//!
//! A [`Pass`] holds what is common to a pass over a log: the keys, how far they reach, the clock, and whether tombstones
//! may be dealt with. A [`GroupWriter`] takes the frames of one group in order and gives bytes to write. Offsets whose
//! records are all gone are a **gap**: it is covered by the next frame that is written again anyway, or by a frame of no
//! records. Gaps do not cross leader epochs, so that the epochs can be read from the frames as before.
//!
//! A frame from which nothing is taken is copied. With a gap in front it is written again only where that is cheap (not
//! compressed, or small); else the gap gets a frame of its own, and the batch keeps its bytes and its producer's proof.

use super::keys::KeyMap;
use super::opened::Opened;
use crate::base::{LeaderEpoch, LogId, Offset, Timestamp};
use crate::batch::kafka::{self, KafkaBatch, Span};
use crate::batch::{Attributes, BatchHeader, Compression, Contents, Encoding, FRAME_ALIGN};
use crate::storage::index::{SegmentIndex, SegmentSummary};
use crate::storage::segment::{Segment, note_in_index};

/// A compressed batch of at most so many bytes is packed again to cover a gap in front of it.
const PACK_AGAIN_BYTES_MAX: u32 = 4096;

/// Whether a pass may set horizons and remove tombstones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tombstones {
    /// Everything older was understood and cleaned.
    Known,
    /// Something older could not be read, so that an older record of the same key may be there.
    Unknown,
}

/// What a pass did so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Records seen below the end of the keys.
    pub records: u64,
    /// Records removed.
    pub removed: u64,
    /// Of these, tombstones whose time had come.
    pub tombstones: u64,
    /// When the first tombstone that is left may leave.
    pub next_horizon: Option<Timestamp>,
}

/// See the module.
#[derive(Debug)]
pub struct Pass {
    keys: KeyMap,
    /// Keys of records below are known.
    end: Offset,
    now: Timestamp,
    horizon: Timestamp,
    tombstones: Tombstones,
    tally: Tally,
}

impl Pass {
    /// A pass over everything below `end`, whose uncleaned keys are `keys`. Tombstones cleaned for the first time may leave
    /// at `horizon`, those whose horizon is before `now` leave.
    #[must_use]
    pub fn new(keys: KeyMap, end: Offset, now: Timestamp, horizon: Timestamp) -> Self {
        Self {
            keys,
            end,
            now,
            horizon,
            tombstones: Tombstones::Known,
            tally: Tally::default(),
        }
    }

    /// Everything below is cleaned when the pass ends.
    #[must_use]
    pub const fn end(&self) -> Offset {
        self.end
    }

    /// A part of the log that comes next is not cleaned: it is damaged.
    pub const fn skipped(&mut self) {
        self.tombstones = Tombstones::Unknown;
    }

    /// What it did so far.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    fn note_horizon(&mut self, horizon: Option<Timestamp>) {
        if let Some(horizon) = horizon {
            let next = self.tally.next_horizon.map_or(horizon, |next| next.min(horizon));
            self.tally.next_horizon = Some(next);
        }
    }
}

/// What is to become of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Stays,
    StaysAsTombstone,
    Leaves,
    LeavesAsTombstone,
}

/// What is to become of a frame's records together.
#[derive(Clone, Copy, Default)]
struct Verdict {
    stay: u32,
    leave: u32,
    tombstones_stay: u32,
}

/// Offsets that no frame covers yet, and what the last frame of them said.
#[derive(Clone, Copy, Debug)]
struct Gap {
    base: Offset,
    last: BatchHeader,
}

/// The frames of one group on their way into a new segment.
#[derive(Debug)]
pub struct GroupWriter {
    log: LogId,
    base: Offset,
    index_interval_bytes: u64,
    next: Offset,
    position: u64,
    gap: Option<Gap>,
    index: SegmentIndex,
    first_append_time: Option<Timestamp>,
    last_append_time: Timestamp,
    max_timestamp: Timestamp,
    frames_in: u64,
    frames_out: u64,
    changed: bool,
}

impl GroupWriter {
    /// Begins the segment at `base`.
    #[must_use]
    pub fn new(log: LogId, base: Offset, index_interval_bytes: u64) -> Self {
        Self {
            log,
            base,
            index_interval_bytes,
            next: base,
            position: 0,
            gap: None,
            index: SegmentIndex::default(),
            first_append_time: None,
            last_append_time: Timestamp::ZERO,
            max_timestamp: Timestamp::new(i64::MIN),
            frames_in: 0,
            frames_out: 0,
            changed: false,
        }
    }

    /// Takes the next frame, whose payload passed its checksum, and appends what is to be written to `out`: nothing, or
    /// whole frames.
    pub fn push(&mut self, pass: &mut Pass, header: &BatchHeader, payload: &[u8], out: &mut Vec<u8>) {
        self.frames_in += 1;
        if header.base_offset >= pass.end {
            self.copy(header, payload, out);
            return;
        }
        let Ok(opened) = Opened::open(header, payload) else {
            pass.skipped();
            self.copy(header, payload, out);
            return;
        };
        if header.attributes.is_control() {
            self.copy(header, payload, out);
            return;
        }
        let verdict = judge(pass, header, &opened);
        pass.tally.removed += u64::from(verdict.leave);
        pass.tally.records += u64::from(verdict.leave + verdict.stay);
        if verdict.stay == 0 {
            self.changed |= verdict.leave > 0;
            self.grow_gap(header, out);
            return;
        }
        let horizon = self.horizon(pass, header, verdict);
        pass.note_horizon(horizon);
        self.changed |= horizon != header.delete_horizon;
        let new = BatchHeader {
            delete_horizon: horizon,
            ..*header
        };
        if verdict.leave == 0 && (self.gap.is_none() || !is_cheap(header)) {
            self.copy(&new, payload, out);
            return;
        }
        self.changed |= verdict.leave > 0;
        // Judged by the header as it is stored: the horizon in it decides whether a tombstone leaves.
        let keep = |record: &kafka::Record<'_>| {
            let delta = u64::try_from(record.offset_delta).unwrap_or(0);
            let fate = fate(pass, header, header.base_offset.plus(delta), record);
            matches!(fate, Fate::Stays | Fate::StaysAsTombstone)
        };
        self.rewrite(&new, payload, &opened, keep, out);
    }

    /// Ends the segment, which then covers everything up to `end`.
    #[must_use]
    pub fn finish(mut self, out: &mut Vec<u8>) -> Finished {
        self.flush_gap(out);
        let summary = SegmentSummary {
            log: self.log,
            base: self.base,
            end: self.next,
            end_position: self.position,
            first_append_time: self.first_append_time.unwrap_or(self.last_append_time),
            last_append_time: self.last_append_time,
            max_timestamp: self.max_timestamp,
            index: self.index,
            epochs: Vec::new(),
            producers: Vec::new(),
        };
        Finished {
            changed: self.changed || self.frames_out < self.frames_in,
            summary,
        }
    }

    fn horizon(&self, pass: &Pass, header: &BatchHeader, verdict: Verdict) -> Option<Timestamp> {
        if verdict.tombstones_stay == 0 {
            return None;
        }
        // A frame that the keys do not reach the end of is cleaned again, by the next pass.
        let known = pass.tombstones == Tombstones::Known && header.end_offset() <= pass.end;
        header.delete_horizon.or_else(|| known.then_some(pass.horizon))
    }

    fn rewrite(
        &mut self,
        header: &BatchHeader,
        payload: &[u8],
        opened: &Opened<'_>,
        keep: impl FnMut(&kafka::Record<'_>) -> bool,
        out: &mut Vec<u8>,
    ) {
        let mut base = header.base_offset;
        if let Some(gap) = self.gap {
            let span = span(gap.base, header.end_offset(), header.leader_epoch);
            if gap.last.leader_epoch == header.leader_epoch && span.fits() {
                base = gap.base;
                self.gap = None;
            } else {
                self.flush_gap(out);
            }
        }
        let span = span(base, header.end_offset(), header.leader_epoch);
        match kafka::rewrite(&opened.batch(), opened.section(), &span, keep) {
            Ok(Some(batch)) => {
                let header = cleaned_header(header, &span, &batch);
                self.emit(&header, &batch, out);
            }
            // It cannot grow beyond what a batch may be by losing records; should it, it stays.
            Ok(None) | Err(_) => {
                if base < header.base_offset {
                    self.gap = Some(Gap {
                        base,
                        last: BatchHeader {
                            base_offset: base,
                            record_count: u32::try_from(header.base_offset.get() - base.get())
                                .unwrap_or(u32::MAX),
                            ..*header
                        },
                    });
                }
                self.copy(header, payload, out);
            }
        }
    }

    /// Writes the frame as it is, behind a frame for the gap in front of it.
    fn copy(&mut self, header: &BatchHeader, payload: &[u8], out: &mut Vec<u8>) {
        self.flush_gap(out);
        self.emit(header, payload, out);
    }

    /// Nothing is left of this frame.
    fn grow_gap(&mut self, header: &BatchHeader, out: &mut Vec<u8>) {
        let joins = self.gap.filter(|gap| {
            gap.last.leader_epoch == header.leader_epoch
                && span(gap.base, header.end_offset(), header.leader_epoch).fits()
        });
        if joins.is_none() {
            self.flush_gap(out);
        }
        self.gap = Some(Gap {
            base: joins.map_or(header.base_offset, |gap| gap.base),
            last: *header,
        });
    }

    fn flush_gap(&mut self, out: &mut Vec<u8>) {
        let Some(gap) = self.gap.take() else { return };
        let span = span(gap.base, gap.last.end_offset(), gap.last.leader_epoch);
        let batch = kafka::gap(&span);
        let header = BatchHeader {
            attributes: Attributes::default(),
            producer: None,
            delete_horizon: None,
            ..cleaned_header(&gap.last, &span, &batch)
        };
        self.emit(&header, &batch, out);
    }

    fn emit(&mut self, header: &BatchHeader, payload: &[u8], out: &mut Vec<u8>) {
        debug_assert_eq!(header.base_offset, self.next, "frames tile the offsets");
        note_in_index(
            &mut self.index,
            self.base,
            header,
            self.position,
            self.max_timestamp,
            self.index_interval_bytes,
        );
        self.first_append_time.get_or_insert(header.append_time);
        self.last_append_time = header.append_time;
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        self.next = header.end_offset();
        self.frames_out += 1;
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(payload);
        let padding = payload.len().next_multiple_of(FRAME_ALIGN) - payload.len();
        out.extend_from_slice(&[0; FRAME_ALIGN][..padding]);
        self.position += header.frame_len() as u64;
    }
}

/// A new segment, all of its bytes given.
#[derive(Debug)]
pub struct Finished {
    /// Whether it differs from what it was made of.
    pub changed: bool,
    /// What is in it, without epochs and producers, which are the log's to add.
    pub summary: SegmentSummary,
}

impl Finished {
    /// The segment as it takes its place in the log, in a file of `capacity` bytes.
    #[must_use]
    pub fn segment(self, capacity: u64) -> Segment {
        let mut segment = Segment::opened(self.summary, None, capacity);
        segment.sealed = true;
        segment.index_written = true;
        segment
    }
}

fn judge(pass: &mut Pass, header: &BatchHeader, opened: &Opened<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    for (offset, record) in opened.records() {
        match fate(pass, header, offset, &record) {
            Fate::Stays => verdict.stay += 1,
            Fate::StaysAsTombstone => {
                verdict.stay += 1;
                verdict.tombstones_stay += 1;
            }
            Fate::Leaves => verdict.leave += 1,
            Fate::LeavesAsTombstone => {
                verdict.leave += 1;
                pass.tally.tombstones += 1;
            }
        }
    }
    verdict
}

fn fate(pass: &Pass, header: &BatchHeader, offset: Offset, record: &kafka::Record<'_>) -> Fate {
    let Some(key) = record.key else {
        return Fate::Stays;
    };
    if pass.keys.latest(key).is_some_and(|latest| latest > offset) {
        return Fate::Leaves;
    }
    if record.value.is_some() {
        return Fate::Stays;
    }
    let expired = header.delete_horizon.is_some_and(|horizon| horizon < pass.now);
    if expired && pass.tombstones == Tombstones::Known {
        Fate::LeavesAsTombstone
    } else {
        Fate::StaysAsTombstone
    }
}

/// Whether covering a gap in front of it costs little.
fn is_cheap(header: &BatchHeader) -> bool {
    header.attributes.compression() == Ok(Compression::None) || header.payload_len <= PACK_AGAIN_BYTES_MAX
}

fn span(base: Offset, end: Offset, epoch: LeaderEpoch) -> Span {
    Span { base, end, epoch }
}

/// The header of what `original` became.
fn cleaned_header(original: &BatchHeader, span: &Span, batch: &[u8]) -> BatchHeader {
    let parsed = KafkaBatch::parse(batch).expect("the batch was just written");
    BatchHeader {
        encoding: Encoding::Kafka,
        base_offset: span.base,
        record_count: u32::try_from(span.len()).expect("a span fits a batch"),
        first_timestamp: parsed.base_timestamp(),
        max_timestamp: parsed.max_timestamp(),
        payload_len: parsed.total_bytes(),
        payload_crc: parsed.crc(),
        contents: Contents::Cleaned,
        ..*original
    }
}
