//! One log: its segments, its offsets, and what to do next. A state machine without I/O.
//!
//! **Promise.** A batch appended gets the next dense offsets. [`Log::durable`] passes its end only after the device said
//! that a durable write covering it completed; [`Log::visible`] is what readers may see: the durable end, or in a relaxed
//! topic whatever is appended.
//!
//! **Who drives it.** The owning shard, and nobody else. The methods come in three kinds: *commands* ([`Log::append`],
//! [`Log::seal_active`], [`Log::retire_below_start`]), *actions to perform* ([`Log::next_action`], [`Log::next_sync`],
//! [`Log::next_index`]) and *completions* ([`Log::attach`], [`Log::wrote`], [`Log::synced`], [`Log::index_written`]).
//! After a command or a completion, ask for actions until there are none. What can be asked of a log is in `lookup`.
//!
//! **What a crash leaves.** A prefix of the appended frames that includes everything below `durable`, and possibly torn
//! or whole frames above it, which `recovery` judges.

mod damage;
mod lookup;
mod replace;
mod start;

pub use replace::Edition;

use super::chain::Chain;
use super::index::SegmentSummary;
use super::segment::{Segment, next_capacity, same_capacity};
use crate::base::{LeaderEpoch, LogId, Offset, Timestamp};
use crate::batch::kafka::{self, KAFKA_HEADER_BYTES, KafkaBatch};
use crate::batch::{BatchHeader, Contents, FRAME_ALIGN, Placement, TimestampType};
use crate::runtime::buffer::{Arena, Chunk, ChunkClass, align_down};
use crate::runtime::disk::{File, Piece};
#[cfg(test)]
use crate::runtime::sim::{Bug, planted};
use std::collections::VecDeque;
use std::ops::Range;

/// Most bytes one write carries. A durable write of 1 MiB costs little more than one of 128 KiB, and more would make the
/// batches behind it wait.
pub const WRITE_BYTES_MAX: u64 = 1 << 20;

/// What an ack of this log means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// On the device, flushed.
    #[default]
    Durable,
    /// In memory; written in the background and synced now and then.
    Relaxed,
}

/// The part of a topic's configuration that shapes its logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// File size of a full-grown segment, in bytes.
    pub segment_bytes: u64,
    /// Log bytes per sparse index entry.
    pub index_interval_bytes: u64,
    /// What an ack means.
    pub durability: Durability,
    /// Whose time the records bear. The broker's is put in as a batch is appended.
    pub timestamp_type: TimestampType,
}

/// Where a batch went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Offset of its first record.
    pub base: Offset,
    /// One past its last record.
    pub end: Offset,
}

/// Why a batch was not appended. Nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// The shard's buffers are full; try again after writes complete.
    #[error("the tail buffers are full")]
    NoMemory,
}

/// Something the shard must do for the log.
#[derive(Debug)]
pub enum Action {
    /// Get a file of `capacity` bytes from the pool, give it the name for `base`, make that durable, then
    /// [`Log::attach`] it.
    Attach {
        /// The segment.
        base: Offset,
        /// File size in bytes.
        capacity: u64,
    },
    /// Write, then [`Log::wrote`]. At most one per log is out at a time.
    Write(WriteJob),
}

/// One write. The pieces cover whole blocks starting at the block of the durable end.
#[derive(Debug)]
pub struct WriteJob {
    /// The segment.
    pub base: Offset,
    /// Its file.
    pub file: File,
    /// Where the pieces go.
    pub position: u64,
    /// What to write.
    pub pieces: Vec<Piece>,
    /// Bytes below this position are covered once the write completes.
    pub end_position: u64,
    /// Whether completion must mean durable.
    pub durable: bool,
}

/// One sync of a relaxed log's segment.
#[derive(Debug)]
pub struct SyncJob {
    /// The segment.
    pub base: Offset,
    /// Its file.
    pub file: File,
    /// Bytes below this position are durable once the sync completes.
    pub position: u64,
}

/// Where reading an offset starts.
#[derive(Debug)]
pub enum ReadStart<'a> {
    /// In memory.
    Tail {
        /// The bytes.
        chain: &'a Chain,
        /// Where to walk from.
        from: WalkStart,
    },
    /// On disk.
    Cold {
        /// The segment's file, if it is open.
        file: Option<File>,
        /// The segment.
        base: Offset,
        /// Which edition of it; positions are good in this one only.
        edition: Edition,
        /// Where to walk from.
        from: WalkStart,
        /// Bytes at and after this position are not on the disk yet.
        written: u64,
    },
    /// At the visible end: nothing to read yet.
    End,
}

/// A frame boundary from which headers can be walked towards a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalkStart {
    /// Position of a frame.
    pub position: u64,
    /// Its base offset.
    pub offset: Offset,
    /// First offset not in this segment, or not visible, or damaged: walking stops there.
    pub limit: Offset,
}

/// A segment that left the log; its files are the caller's to recycle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retired {
    /// First offset.
    pub base: Offset,
    /// Bytes of the file.
    pub capacity: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Log {
    id: LogId,
    config: LogConfig,
    segments: VecDeque<Segment>,
    /// Ascending; the leader epochs of all retained frames with their first offsets.
    epochs: Vec<(LeaderEpoch, Offset)>,
    epoch: LeaderEpoch,
    start: Offset,
    /// See [`Log::first_dirty`].
    first_dirty: Offset,
    /// See [`Log::delete_horizon`].
    delete_horizon: Option<Timestamp>,
    next: Offset,
    durable: Offset,
    visible: Offset,
    damaged: Vec<Range<Offset>>,
    writing: bool,
    /// Base and capacity of the file that was asked for.
    attaching: Option<(Offset, u64)>,
    /// Sealed segments whose index file is still to be written.
    unindexed: usize,
    next_class: ChunkClass,
    /// Segments that were replaced so far.
    editions: u64,
}

/// What recovery knows about a log; see [`Log::opened`].
#[derive(Debug, Default)]
pub struct LogImage {
    /// Segments in order; the last is the active one.
    pub segments: Vec<Segment>,
    /// Leader epochs in order.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// The epoch to lead with.
    pub epoch: LeaderEpoch,
    /// Unreadable ranges, ascending.
    pub damaged: Vec<Range<Offset>>,
    /// Where the next record goes when there is no segment.
    pub next: Offset,
}

impl Log {
    /// A log that never held anything. It has no file until the first append.
    #[must_use]
    pub fn empty(id: LogId, config: LogConfig) -> Self {
        Self::opened(id, config, LogImage::default())
    }

    /// A log as recovery found it; everything in it is durable.
    #[must_use]
    pub fn opened(id: LogId, config: LogConfig, image: LogImage) -> Self {
        let segments = VecDeque::from(image.segments);
        let next = segments.back().map_or(image.next, |segment| segment.end);
        #[cfg(test)]
        let next = if planted(Bug::ReusesOffset) {
            Offset::new(next.get().saturating_sub(1))
        } else {
            next
        };
        Self {
            id,
            config,
            start: segments.front().map_or(next, |segment| segment.base),
            first_dirty: Offset::ZERO,
            delete_horizon: None,
            unindexed: segments.iter().filter(|segment| segment.wants_index()).count(),
            segments,
            epochs: image.epochs,
            epoch: image.epoch,
            next,
            durable: next,
            visible: next,
            damaged: image.damaged,
            writing: false,
            attaching: None,
            next_class: ChunkClass::Small,
            editions: 0,
        }
    }

    /// The log's identity.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.id
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> LogConfig {
        self.config
    }

    /// Whether an ack of what is appended now means durable.
    #[must_use]
    pub fn is_durable_mode(&self) -> bool {
        self.config.durability == Durability::Durable
    }

    /// Changes the configuration for what is appended from now on.
    pub fn configure(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// First readable offset.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.start
    }

    /// The next offset to be assigned.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Everything below is durable.
    #[must_use]
    pub fn durable(&self) -> Offset {
        self.durable
    }

    /// Everything below may be read.
    #[must_use]
    pub fn visible(&self) -> Offset {
        self.visible
    }

    /// The epoch this log is led with.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Unreadable ranges, ascending.
    #[must_use]
    pub fn damaged(&self) -> &[Range<Offset>] {
        &self.damaged
    }

    /// Segments, oldest first.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &Segment> + ExactSizeIterator {
        self.segments.iter()
    }

    /// Bytes of frames in the log, padding included.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.chain.end()).sum()
    }

    /// Whether a write or an attach is out.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.writing || self.attaching.is_some()
    }

    /// Whether there is nothing to write and nothing out.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.is_busy() && self.first_unwritten().is_none()
    }

    /// Whether every appended byte is durable.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.durable == self.next && !self.is_busy()
    }

    /// Appends a Kafka batch that passed its checks. `producers` gives the snapshot to keep if this batch begins a new
    /// segment.
    ///
    /// # Errors
    /// [`AppendError`]; nothing changed then.
    pub fn append(
        &mut self,
        batch: &KafkaBatch<'_>,
        now: Timestamp,
        arena: &Arena,
        producers: impl FnOnce() -> Vec<u8>,
    ) -> Result<Appended, AppendError> {
        let mut header = BatchHeader::for_kafka(batch, &self.placement(now));
        let mut prefix = [0; KAFKA_HEADER_BYTES];
        let (head, rest) = batch.bytes().split_at(KAFKA_HEADER_BYTES);
        prefix.copy_from_slice(head);
        if self.config.timestamp_type == TimestampType::LogAppendTime {
            header.stamp_append_time(now);
            header.payload_crc = kafka::stamp_append_time(&mut prefix, rest.len(), now);
        }
        kafka::patch(&mut prefix, header.base_offset, header.leader_epoch);
        self.append_frame(&header, &[&prefix, rest], arena, producers)
    }

    /// Appends a native batch that passed its checks: `header` as its producer made it, with the broker's fields filled in
    /// here, and its payload.
    ///
    /// # Errors
    /// [`AppendError`]; nothing changed then.
    pub fn append_native(
        &mut self,
        header: &BatchHeader,
        payload: &[u8],
        now: Timestamp,
        arena: &Arena,
        producers: impl FnOnce() -> Vec<u8>,
    ) -> Result<Appended, AppendError> {
        let place = self.placement(now);
        let mut header = BatchHeader {
            log: place.log,
            base_offset: place.base_offset,
            leader_epoch: place.leader_epoch,
            durable_end: place.durable_end,
            append_time: place.append_time,
            contents: Contents::AsAppended,
            delete_horizon: None,
            ..*header
        };
        if self.config.timestamp_type == TimestampType::LogAppendTime {
            header.stamp_append_time(now);
        }
        self.append_frame(&header, &[payload], arena, producers)
    }

    /// The place the next batch gets.
    #[must_use]
    pub fn placement(&self, now: Timestamp) -> Placement {
        Placement {
            log: self.id,
            base_offset: self.next,
            leader_epoch: self.epoch,
            durable_end: self.durable,
            append_time: now,
        }
    }

    /// Appends a frame built for [`placement`](Self::placement), its payload given in parts.
    ///
    /// # Errors
    /// [`AppendError`]; nothing changed then.
    pub fn append_frame(
        &mut self,
        header: &BatchHeader,
        payload: &[&[u8]],
        arena: &Arena,
        producers: impl FnOnce() -> Vec<u8>,
    ) -> Result<Appended, AppendError> {
        assert_eq!(
            (header.log, header.base_offset),
            (self.id, self.next),
            "a frame is built for its place"
        );
        let frame_len = header.frame_len();
        let rolls = self
            .segments
            .back()
            .is_none_or(|active| !active.has_room(frame_len));
        let room = if rolls {
            0
        } else {
            self.segments.back().map_or(0, |active| active.chain.room())
        };
        let chunks = self.take_chunks(frame_len.saturating_sub(room), arena)?;
        if rolls {
            self.roll(frame_len, producers);
        }
        let interval = self.config.index_interval_bytes;
        let active = self
            .segments
            .back_mut()
            .expect("there is an active segment after rolling");
        for chunk in chunks {
            active.chain.push_chunk(chunk);
        }
        let position = active.chain.end();
        active.chain.append(&header.encode());
        for part in payload {
            active.chain.append(part);
        }
        let padding = position + frame_len as u64 - active.chain.end();
        active
            .chain
            .append(&[0; FRAME_ALIGN][..usize::try_from(padding).expect("less than FRAME_ALIGN")]);
        active.chain.note_frame(header.base_offset, position);
        active.book(header, position, interval);
        if self
            .epochs
            .last()
            .is_none_or(|(epoch, _)| *epoch != header.leader_epoch)
        {
            // An epoch without a record is none.
            self.epochs.pop_if(|(_, offset)| *offset == header.base_offset);
            self.epochs.push((header.leader_epoch, header.base_offset));
        }
        self.next = header.end_offset();
        if self.config.durability == Durability::Relaxed {
            self.visible = self.next;
        }
        #[cfg(test)]
        if planted(Bug::ServesAboveDurable) {
            self.visible = self.next;
        }
        Ok(Appended {
            base: header.base_offset,
            end: self.next,
        })
    }

    /// Takes chunks for `need` bytes, small ones for a log that has been idle, larger as it fills them.
    fn take_chunks(&mut self, need: usize, arena: &Arena) -> Result<Vec<Chunk>, AppendError> {
        // Empty, so without allocation, on all but the few appends that cross a chunk boundary.
        let mut chunks = Vec::new();
        let mut have = 0;
        while have < need {
            let class = self.next_class.max(ChunkClass::fitting(need - have));
            let chunk = arena
                .alloc(class)
                .or_else(|| arena.alloc(ChunkClass::fitting(need - have)))
                .ok_or(AppendError::NoMemory)?;
            have += chunk.len();
            self.next_class = class.grown();
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    fn roll(&mut self, frame_len: usize, producers: impl FnOnce() -> Vec<u8>) {
        let previous = self.segments.back().map(|segment| segment.capacity);
        let capacity = next_capacity(previous, self.config.segment_bytes, frame_len);
        self.begin_segment(capacity, producers);
    }

    fn begin_segment(&mut self, capacity: u64, producers: impl FnOnce() -> Vec<u8>) {
        self.seal_active(producers);
        // An empty segment too small for its first frame is replaced: two segments of one base would share a file name.
        self.segments.pop_back_if(|active| active.is_empty());
        self.segments.push_back(Segment::empty(self.next, capacity));
    }

    /// Ends the active segment, if it holds anything; the next append begins another.
    pub fn seal_active(&mut self, producers: impl FnOnce() -> Vec<u8>) {
        let active = self.segments.back_mut();
        if let Some(active) = active.filter(|active| !active.sealed && !active.is_empty()) {
            active.sealed = true;
            if active.wants_index() {
                active.producers_at_end = producers();
                self.unindexed += 1;
            }
            active.close_if_finished();
        }
    }

    /// Seals the active segment and begins an empty one, so that the old one can be retired. False when the active
    /// segment is empty already.
    pub fn roll_active(&mut self, producers: impl FnOnce() -> Vec<u8>) -> bool {
        let Some(active) = self.segments.back().filter(|active| !active.is_empty()) else {
            return false;
        };
        // It was not full, so its successor need not be larger: a log that rolls by age alone stays small.
        let capacity = same_capacity(active.capacity, self.config.segment_bytes);
        self.begin_segment(capacity, producers);
        true
    }

    /// The next thing to do, if any.
    #[must_use]
    pub fn next_action(&mut self) -> Option<Action> {
        if self.is_busy() {
            return None;
        }
        let index = self.first_unwritten()?;
        // A durable write makes its own bytes durable and no others. Where older ones still wait for a sync (the log was
        // relaxed until now), this write joins them: it must not be acked before they are.
        let owes_sync = self.owes_sync();
        let durable = self.is_durable_mode() && !owes_sync;
        let segment = &mut self.segments[index];
        let Some(file) = segment.file.clone() else {
            assert!(
                !segment.on_disk,
                "a segment keeps its file while it has bytes to write"
            );
            // A segment's file says that everything before it is durable; recovery tells rot from a torn end by that.
            if owes_sync {
                return None;
            }
            let (base, capacity) = (segment.base, segment.capacity);
            self.attaching = Some((base, capacity));
            return Some(Action::Attach { base, capacity });
        };
        let position = align_down(segment.written);
        let end_position = segment.chain.end().min(position + WRITE_BYTES_MAX);
        let pieces = segment.chain.pieces(position, end_position);
        self.writing = true;
        Some(Action::Write(WriteJob {
            base: segment.base,
            file,
            position,
            pieces,
            end_position,
            durable,
        }))
    }

    /// Index of the oldest segment with bytes to write, or an unattached active segment.
    fn first_unwritten(&self) -> Option<usize> {
        let mut found = None;
        for (index, segment) in self.segments.iter().enumerate().rev() {
            if segment.written < segment.chain.end() || !segment.on_disk {
                found = Some(index);
            } else if segment.sealed {
                break;
            }
        }
        found
    }

    /// A file was named, synced and opened for the segment at `base`. If the segment was replaced by a larger one
    /// meanwhile, the file is let go, and the action is given again; the new file takes the name over.
    pub fn attach(&mut self, base: Offset, file: File) {
        let Some((_, capacity)) = self.attaching.take() else {
            return;
        };
        if let Some(segment) = self.segment_mut(base).filter(|s| s.capacity == capacity) {
            segment.file = Some(file);
            segment.on_disk = true;
        }
    }

    /// No file could be had (the disk is full); the action will be given again.
    pub fn attach_failed(&mut self) {
        self.attaching = None;
    }

    /// A write completed.
    pub fn wrote(&mut self, job: &WriteJob) {
        self.writing = false;
        let Some(segment) = self.segment_mut(job.base) else {
            return;
        };
        segment.written = job.end_position;
        if job.durable {
            let durable = segment.advance_synced(job.end_position);
            segment.close_if_finished();
            self.advance_durable(durable);
        }
    }

    /// Whether written bytes wait for [`next_sync`](Self::next_sync).
    #[must_use]
    pub fn owes_sync(&self) -> bool {
        self.oldest_unsynced().is_some()
    }

    fn oldest_unsynced(&self) -> Option<&Segment> {
        let newest_first = self.segments.iter().rev();
        newest_first
            .take_while(|segment| !segment.sealed || !segment.is_durable())
            .filter(|segment| segment.synced < segment.written)
            .last()
    }

    /// The sync that the log cannot go on without: a relaxed log needs one before it begins the next segment, and a
    /// durable one that was relaxed before anything more can be acked.
    #[must_use]
    pub fn urgent_sync(&self) -> Option<SyncJob> {
        let blocked = self.is_durable_mode() || (!self.is_busy() && self.first_unwritten().is_some());
        self.next_sync().filter(|_| blocked)
    }

    /// A segment that has written bytes to make durable, oldest first.
    #[must_use]
    pub fn next_sync(&self) -> Option<SyncJob> {
        let segment = self.oldest_unsynced()?;
        Some(SyncJob {
            base: segment.base,
            file: segment.file.clone()?,
            position: segment.written,
        })
    }

    /// A sync completed.
    pub fn synced(&mut self, job: &SyncJob) {
        if let Some(segment) = self.segment_mut(job.base) {
            let durable = segment.advance_synced(job.position);
            segment.close_if_finished();
            self.advance_durable(durable);
        }
    }

    fn advance_durable(&mut self, durable: Option<Offset>) {
        let Some(durable) = durable else { return };
        assert!(
            self.durable <= durable && durable <= self.next,
            "{} <= {durable} <= {}",
            self.durable,
            self.next
        );
        self.durable = durable;
        self.visible = self.visible.max(durable);
    }

    /// A sealed, durable segment whose index file is not written yet.
    #[must_use]
    pub fn next_index(&self) -> Option<SegmentSummary> {
        if self.unindexed == 0 {
            return None;
        }
        let segment = self.segments.iter().find(|s| s.wants_index() && s.is_durable())?;
        Some(self.summary(segment, segment.producers_at_end.clone()))
    }

    /// What the index file of the active segment would say now, for a clean stop. `None` for a log without a file, and for
    /// a damaged segment, which must be scanned whenever it is opened.
    #[must_use]
    pub fn active_summary(&self, producers: Vec<u8>) -> Option<SegmentSummary> {
        let active = self.segments.back();
        let active = active.filter(|active| active.on_disk && !active.damaged)?;
        Some(self.summary(active, producers))
    }

    fn summary(&self, segment: &Segment, producers: Vec<u8>) -> SegmentSummary {
        let at_base = self.epochs.partition_point(|(_, offset)| *offset <= segment.base);
        let in_force = self.epochs.get(at_base.saturating_sub(1));
        let in_force = in_force.map(|(epoch, _)| (*epoch, segment.base));
        let later = self.epochs.iter().skip(at_base.max(1)).copied();
        let mut epochs: Vec<_> = in_force
            .into_iter()
            .chain(later)
            .filter(|(_, offset)| *offset < segment.end)
            .collect();
        // How far epochs have come, also when no record is of the latest; an empty segment says only this.
        if epochs.last().is_none_or(|(epoch, _)| *epoch < self.epoch) {
            epochs.push((self.epoch, segment.end));
        }
        segment.summary(self.id, epochs, producers)
    }

    /// The index file of the segment at `base` is on disk.
    pub fn index_written(&mut self, base: Offset) {
        let Some(segment) = self.segment_mut(base) else {
            return;
        };
        let wanted = segment.wants_index();
        segment.index_written = true;
        if segment.sealed {
            segment.producers_at_end = Vec::new();
        }
        segment.close_if_finished();
        self.unindexed -= usize::from(wanted);
    }

    /// The index file of an empty active segment is on disk; it counts unless something was appended meanwhile.
    pub fn empty_index_written(&mut self, written: &SegmentSummary) {
        if let Some(active) = self.segment_mut(written.base).filter(|s| s.is_empty()) {
            active.index_written = true;
        }
    }

    fn forget_before_start(&mut self) {
        let start = self.start;
        self.damaged.retain(|range| range.end > start);
        let current = self.epochs.partition_point(|(_, offset)| *offset <= start);
        if let Some(current) = current.checked_sub(1) {
            self.epochs.drain(..current);
        }
        if let Some(first) = self.epochs.first_mut() {
            first.1 = first.1.max(start);
        }
    }

    /// Gives up the oldest cached chunk that is written. An idle log gives up its last chunk too; its next append then
    /// begins at a block boundary.
    pub fn evict(&mut self) -> bool {
        let writing = self.writing;
        for segment in &mut self.segments {
            if segment.chain.is_empty() {
                continue;
            }
            if segment.chain.evict_front(segment.written) {
                return true;
            }
            if writing || segment.written < segment.chain.end() {
                return false;
            }
            let was_synced = segment.synced == segment.written;
            segment.chain.clear();
            segment.written = segment.chain.end();
            if was_synced {
                segment.synced = segment.written;
            }
            self.next_class = ChunkClass::Small;
            return true;
        }
        false
    }

    fn segment_mut(&mut self, base: Offset) -> Option<&mut Segment> {
        // Actions concern the newest segments, so look from the end.
        self.segments
            .iter_mut()
            .rev()
            .find(|segment| segment.base == base)
    }
}

#[cfg(test)]
mod tests;
