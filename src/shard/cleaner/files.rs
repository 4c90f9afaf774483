//! Reading frames of sealed segments and writing new ones, in bounded windows and at a bounded rate.

use super::{Abandoned, STRIDE_BYTES, WINDOW_BYTES};
use crate::base::{LogId, Offset};
use crate::batch::{BatchHeader, FRAME_ALIGN, HEADER_BYTES, verify_payload};
use crate::runtime::buffer::{SLAB_BYTES, align_down, align_up};
use crate::runtime::clock::{self, Mono};
use crate::runtime::disk::{File, OpenMode, WriteSync};
use crate::runtime::executor;
use crate::shard::damage::{Damage, Seen};
use crate::shard::partition::Partition;
use crate::shard::{Shard, count};
use crate::storage::chain::Chain;
use crate::storage::layout::segment_name;
use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Most bytes of an index file.
const INDEX_BYTES_MAX: usize = 64 << 20;

/// Longest wait for what was read or written at once, should the rate be tiny.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Bytes of I/O at a bounded rate: when the next may begin.
#[derive(Debug, Default)]
pub(crate) struct Pace(Cell<Option<Mono>>);

impl Pace {
    /// Waits for the share of `bytes` at `rate` a second.
    async fn pay(&self, bytes: usize, rate: Option<u64>) {
        let Some(rate) = rate.filter(|rate| *rate > 0) else {
            executor::yield_now().await;
            return;
        };
        let share = share(bytes, rate).min(PAUSE_MAX);
        executor::sleep(self.book(share)).await;
    }

    /// As [`pay`](Self::pay), however tiny the rate; ends early when `going_on` says so.
    async fn pay_all(&self, bytes: usize, rate: Option<u64>, going_on: impl Fn() -> bool) {
        let Some(rate) = rate.filter(|rate| *rate > 0) else {
            executor::yield_now().await;
            return;
        };
        let mut left = self.book(share(bytes, rate));
        while left > Duration::ZERO && going_on() {
            let pause = left.min(PAUSE_MAX);
            executor::sleep(pause).await;
            left -= pause;
        }
    }

    /// Takes the next `share` of the time; how long until it is over.
    fn book(&self, share: Duration) -> Duration {
        let now = clock::now();
        let from = self.0.get().filter(|next| *next > now).unwrap_or(now);
        let next = from.after(share);
        self.0.set(Some(next));
        next.since(now)
    }
}

/// The time that `bytes` are worth at `rate` a second.
fn share(bytes: usize, rate: u64) -> Duration {
    let nanos = u128::from(bytes as u64) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Whose budget a reader reads from, and where its bytes are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// The cleaner's.
    Compaction,
    /// The scrub's.
    Scrub,
    /// A reader's who met something that does not pass its checks, and waits.
    Examination,
}

impl Purpose {
    /// Counts `bytes` and waits for their share of the time.
    async fn pay(self, shard: &Shard, partition: &Partition, bytes: usize) {
        match self {
            Self::Compaction => {
                count(&shard.probe.compaction_read_bytes, bytes as u64);
                shard.pace.pay(bytes, shard.cleaner.bytes_per_second).await;
            }
            Self::Scrub => {
                count(&shard.probe.scrub_bytes, bytes as u64);
                let going_on = || shard.check_going_on(partition).is_ok();
                let rate = shard.scrub.bytes_per_second;
                shard.scrub_pace.pay_all(bytes, rate, going_on).await;
            }
            Self::Examination => executor::yield_now().await,
        }
    }
}

/// The frames of one segment in order.
pub(crate) struct FrameReader {
    purpose: Purpose,
    shard: Rc<Shard>,
    partition: Rc<Partition>,
    log: LogId,
    seen: Seen,
    file: File,
    position: u64,
    next: Offset,
    window: Chain,
    worked: usize,
}

impl FrameReader {
    /// Opens the segment at `base`, near the frame of `from`.
    pub(crate) async fn open(
        purpose: Purpose,
        shard: &Rc<Shard>,
        partition: &Rc<Partition>,
        base: Offset,
        from: Offset,
    ) -> Result<Self, Abandoned> {
        shard.check_going_on(partition)?;
        let (at, position, file, seen) = {
            let log = partition.log.borrow();
            let segment = log.segments().find(|segment| segment.base == base);
            let segment = segment.ok_or(Abandoned::Later)?;
            let relative = from.get().saturating_sub(base.get());
            let (at, position) = segment.index.floor(u32::try_from(relative).unwrap_or(u32::MAX));
            (at, position, segment.file.clone(), Seen::of(segment))
        };
        let file = match file {
            Some(file) => file,
            None => {
                let path = partition.directory.join(segment_name(base));
                let opened = shard.disk.open_direct(&path, OpenMode::Direct).await;
                // Retention may have been faster while keys are learned.
                opened.map_err(|_| Abandoned::Later)?
            }
        };
        Ok(Self {
            purpose,
            shard: Rc::clone(shard),
            partition: Rc::clone(partition),
            log: partition.id,
            seen,
            file,
            position: position.into(),
            next: base.plus(at.into()),
            window: Chain::at(0),
            worked: 0,
        })
    }

    /// The next frame, its payload checked; `None` behind the last.
    pub(crate) async fn next(&mut self) -> Result<Option<(BatchHeader, Vec<u8>)>, Abandoned> {
        if self.next >= self.seen.end {
            return Ok(None);
        }
        let at = self.position;
        let frame = self.frame().await;
        let Ok((header, _)) = &frame else {
            self.position = at;
            return frame.map(Some);
        };
        self.position += header.frame_len() as u64;
        self.next = header.end_offset();
        self.give_way(header.frame_len()).await;
        frame.map(Some)
    }

    /// After [`next`](Self::next) met something unreadable: asks the device again, and if that does not help goes behind what is
    /// bad. `None` when the second reading is sound; [`next`](Self::next) goes on behind it either way.
    pub(crate) async fn past_damage(&mut self) -> Result<Option<Damage>, Abandoned> {
        self.window = Chain::at(0);
        match self.next().await {
            Ok(_) => {
                let (log, offset) = (self.log, self.next);
                tracing::warn!(%log, %offset, "a second reading of a segment was sound");
                return Ok(None);
            }
            Err(Abandoned::Unreadable) => {}
            Err(abandoned) => return Err(abandoned),
        }
        let start = self.next;
        let sound = self.skip_unreadable().await?;
        Ok(Some(Damage {
            offsets: start..self.next,
            sound,
            seen: self.seen,
        }))
    }

    async fn frame(&mut self) -> Result<(BatchHeader, Vec<u8>), Abandoned> {
        let header = self.header().await?;
        match self.payload(&header).await? {
            Some(payload) => Ok((header, payload)),
            None => Err(self.unreadable()),
        }
    }

    /// The offset that [`next`](Self::next) reads next, or could not read.
    pub(crate) const fn offset(&self) -> Offset {
        self.next
    }

    /// Goes to the next sound frame of the segment, as recovery would, and gives its position; to the segment's end when there is
    /// none.
    async fn skip_unreadable(&mut self) -> Result<Option<u64>, Abandoned> {
        let step = FRAME_ALIGN as u64;
        let mut at = (self.position + 1).next_multiple_of(step);
        while at + HEADER_BYTES as u64 <= self.seen.written {
            self.position = at;
            self.hold(HEADER_BYTES).await?;
            let mut bytes = [0; HEADER_BYTES];
            let held = self.window.copy_to(at, &mut bytes);
            let header = BatchHeader::decode(&bytes).ok().filter(|header| {
                held && header.log == self.log
                    && header.base_offset > self.next
                    && header.end_offset() <= self.seen.end
            });
            if let Some(header) = header
                && at + header.frame_len() as u64 <= self.seen.written
                && self.payload(&header).await?.is_some()
            {
                self.next = header.base_offset;
                return Ok(Some(at));
            }
            self.give_way(FRAME_ALIGN).await;
            at += step;
        }
        self.next = self.seen.end;
        Ok(None)
    }

    /// The payload of the frame at the position; `None` when it does not pass its checks.
    async fn payload(&mut self, header: &BatchHeader) -> Result<Option<Vec<u8>>, Abandoned> {
        self.hold(header.frame_len()).await?;
        let len = header.payload_len as usize;
        let mut payload = Vec::with_capacity(len);
        let held = self
            .window
            .extend_vec(self.position + HEADER_BYTES as u64, len, &mut payload);
        Ok((held && verify_payload(header, &payload).is_ok()).then_some(payload))
    }

    /// Lets others have a turn after a stride of work.
    async fn give_way(&mut self, worked: usize) {
        self.worked += worked;
        if self.worked >= STRIDE_BYTES {
            self.worked = 0;
            executor::yield_now().await;
        }
    }

    async fn header(&mut self) -> Result<BatchHeader, Abandoned> {
        loop {
            self.hold(HEADER_BYTES).await?;
            let mut bytes = [0; HEADER_BYTES];
            let held = self.window.copy_to(self.position, &mut bytes);
            let header = BatchHeader::decode(&bytes).ok();
            let header = header.filter(|h| held && h.log == self.log && h.base_offset == self.next);
            if let Some(header) = header {
                return Ok(header);
            }
            // After a restart appending went on at the next block.
            let block = align_up(self.position);
            if block == self.position {
                return Err(self.unreadable());
            }
            self.position = block;
        }
    }

    /// Bytes that are not what they should be: damage, or the file is another's by now.
    fn unreadable(&self) -> Abandoned {
        let there = self.partition.log.borrow().edition(self.seen.base);
        if there == Some(self.seen.edition) {
            Abandoned::Unreadable
        } else {
            Abandoned::Later
        }
    }

    /// Makes the window hold `len` bytes from the position.
    async fn hold(&mut self, len: usize) -> Result<(), Abandoned> {
        if self.window.holds(self.position, len) {
            return Ok(());
        }
        self.shard.check_going_on(&self.partition)?;
        if self.position + len as u64 > self.seen.written {
            return Err(self.unreadable());
        }
        let start = align_down(self.position);
        let need = align_up(self.position + len as u64) - start;
        let end = (start + need.max(WINDOW_BYTES as u64)).min(align_up(self.seen.written));
        let bytes = usize::try_from(end - start).map_err(|_| Abandoned::Unreadable)?;
        // The old window goes first: a window's worth of memory is all there is.
        self.window = Chain::at(start);
        let (chunks, pieces) = self.shard.cold_chunks(bytes).await;
        let read = self.shard.disk.read(&self.file, start, pieces).await;
        let read = read.map_err(|error| {
            tracing::error!(%error, log = %self.log, purpose = ?self.purpose, "cannot read a segment in the background");
            Abandoned::Failed
        })?;
        self.window = Chain::of_read(start, chunks, read);
        self.purpose.pay(&self.shard, &self.partition, read).await;
        if self.window.holds(self.position, len) {
            Ok(())
        } else {
            Err(self.unreadable())
        }
    }
}

/// A new segment file, written front to back. Nothing is durable before [`finish`](Self::finish).
pub(super) struct SegmentWriter {
    shard: Rc<Shard>,
    partition: Rc<Partition>,
    file: File,
    pending: Chain,
    written: u64,
}

impl SegmentWriter {
    /// Creates the file at `path`.
    pub(super) async fn create(
        shard: &Rc<Shard>,
        partition: &Rc<Partition>,
        path: &Path,
    ) -> Result<Self, Abandoned> {
        let file = shard.disk.open_direct(path, OpenMode::DirectCreate).await;
        Ok(Self {
            shard: Rc::clone(shard),
            partition: Rc::clone(partition),
            file: shard.judge(partition, "make a file to compact into in", file)?,
            pending: Chain::at(0),
            written: 0,
        })
    }

    /// Takes `bytes`, all of them.
    pub(super) async fn push(&mut self, bytes: &mut Vec<u8>) -> Result<(), Abandoned> {
        for part in bytes.chunks(SLAB_BYTES) {
            if self.pending.room() < part.len() {
                let (chunks, _) = self.shard.cold_chunks(SLAB_BYTES).await;
                for chunk in chunks {
                    self.pending.push_chunk(chunk);
                }
            }
            self.pending.append(part);
            if self.pending.end() - self.written >= WINDOW_BYTES as u64 {
                self.write(align_down(self.pending.end())).await?;
            }
        }
        bytes.clear();
        Ok(())
    }

    /// Writes the rest, to a whole block, and makes all of it durable. Gives the file and its length.
    pub(super) async fn finish(mut self) -> Result<(File, u64), Abandoned> {
        self.write(self.pending.end()).await?;
        let synced = self.shard.disk.sync(&self.file).await;
        self.shard
            .judge(&self.partition, "sync a cleaned segment in", synced)?;
        Ok((self.file, self.written))
    }

    async fn write(&mut self, until: u64) -> Result<(), Abandoned> {
        if until == self.written {
            return Ok(());
        }
        self.shard.check_going_on(&self.partition)?;
        let pieces = self.pending.pieces(self.written, until);
        let bytes: usize = pieces.iter().map(|piece| piece.len).sum();
        let disk = &self.shard.disk;
        let written = disk
            .write(&self.file, self.written, pieces, WriteSync::None)
            .await;
        self.shard
            .judge(&self.partition, "write a cleaned segment in", written)?;
        self.written += bytes as u64;
        while self.pending.evict_front(self.written) {}
        count(&self.shard.probe.compaction_written_bytes, bytes as u64);
        self.shard
            .pace
            .pay(bytes, self.shard.cleaner.bytes_per_second)
            .await;
        Ok(())
    }
}

/// All bytes of a small file.
pub(super) async fn read_whole(shard: &Rc<Shard>, path: &Path) -> io::Result<Vec<u8>> {
    let file = shard.disk.open_direct(path, OpenMode::Direct).await?;
    let mut bytes = Vec::new();
    loop {
        let (chunks, pieces) = shard.cold_chunks(SLAB_BYTES).await;
        let read = shard.disk.read(&file, bytes.len() as u64, pieces).await?;
        for chunk in chunks.iter().take(1) {
            bytes.extend_from_slice(chunk.slice(0..read.min(chunk.len())));
        }
        if read < SLAB_BYTES {
            return Ok(bytes);
        }
        if bytes.len() > INDEX_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}
