//! Opening a log from its directory, after a clean stop or a crash.
//!
//! **Clean.** The marker names the log's end and every segment has a current index file: nothing is scanned.
//!
//! **Unclean.** Each segment without a current index file, and always the last, is made durable again first (what is about
//! to be trusted may still sit in a volatile cache) and then scanned (`scan`). Running recovery again, also after a crash
//! inside it, gives the same log: it removes no segment, and the one block it rewrites keeps its trusted prefix.
//!
//! **After a torn end.** Appending goes on at the next block, so the rest of the last trusted block is set to zero: a torn
//! frame may have left a whole header there, which a reader would follow. Only the last segment can have a torn end: a
//! log asks for a segment's file when everything before it is durable, so anything missing in front of another segment is
//! damage.
//!
//! The leader epoch grows, beyond every epoch any whole frame has, whenever a log with a segment is opened uncleanly: a
//! frame that survived behind a torn one must not be taken for the successor of what is appended next at the same
//! offset.
//!
//! **A swap of the cleaner** that a crash interrupted is finished first, in either case (`compaction::swap`).
//!
//! Runs on the shard's thread before it serves, with blocking direct reads.

use super::checkpoint;
use super::compaction::swap;
use super::error::Error;
use super::index::SegmentSummary;
use super::layout::{index_name, parse_segment_name, segment_name};
use super::log::{Log, LogConfig, LogImage};
use super::marker::CleanEnd;
use super::scan::{Expect, FrameSource, Scan, scan};
use super::segment::Segment;
use crate::base::{LeaderEpoch, LogId, Offset};
use crate::batch::BatchHeader;
use crate::runtime::buffer::{AlignedBuffer, BLOCK_BYTES, align_down};
use crate::runtime::fs::{self, OpenFile};
use std::io;
use std::path::{Path, PathBuf};

/// State kept beside a log that recovery rebuilds from its frames: the producers' sequences.
pub trait FrameVisitor {
    /// Replaces the state by a snapshot from an index file. A snapshot that does not parse leaves it empty.
    fn restore(&mut self, snapshot: &[u8]);
    /// Sees a trusted frame; frames come in order after the last snapshot.
    fn frame(&mut self, header: &BatchHeader);
    /// The state as a snapshot, for the index file of a segment that was scanned.
    fn snapshot(&self) -> Vec<u8>;
}

/// A visitor for those who keep no state.
impl FrameVisitor for () {
    fn restore(&mut self, _snapshot: &[u8]) {}
    fn frame(&mut self, _header: &BatchHeader) {}
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// What opening a log did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Whether the clean-stop marker was used.
    pub clean: bool,
    /// Segments scanned.
    pub scanned_segments: u64,
    /// Frames seen by scans.
    pub scanned_frames: u64,
}

/// A segment file opened for direct blocking reads.
#[derive(Debug)]
pub struct DirectFile {
    file: OpenFile,
    len: u64,
}

impl DirectFile {
    /// Opens `path` for direct reads and writes, or reads only when `writable` is not asked for.
    ///
    /// # Errors
    /// The file system's; `InvalidInput` where direct I/O is not to be had.
    pub fn open(path: &Path, access: Access) -> Result<Self, Error> {
        let access = match access {
            Access::ReadWrite => fs::Access::DirectReadWrite,
            Access::Read => fs::Access::DirectRead,
        };
        let file = OpenFile::open(path, access).map_err(Error::io("open", path))?;
        let len = file.bytes().map_err(Error::io("stat", path))?;
        Ok(Self { file, len })
    }

    /// Sets the rest of the block of `position` to zero, durably, if it is not.
    fn clear_block_from(&self, position: u64) -> io::Result<()> {
        let start = align_down(position);
        let used = usize::try_from(position - start).expect("less than a block");
        if used == 0 {
            return Ok(());
        }
        let mut block = AlignedBuffer::zeroed(BLOCK_BYTES);
        self.read_at(start, &mut block)?;
        if block[used..].iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        block[used..].fill(0);
        self.file.write_at(start, &block)?;
        self.file.sync()
    }
}

/// How a [`DirectFile`] is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// For the broker.
    ReadWrite,
    /// For tools that look at a log another process may own.
    Read,
}

impl FrameSource for DirectFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(position, buffer)
    }
}

/// Opens the log in `directory`, which may be missing or empty (a log that never held anything).
///
/// # Errors
/// A file that cannot be read. Damage inside files is not an error: it is in
/// [`Log::damaged`].
pub fn open(
    directory: &Path,
    id: LogId,
    config: LogConfig,
    clean: Option<CleanEnd>,
    visitor: &mut dyn FrameVisitor,
) -> Result<(Log, Report), Error> {
    swap::finish(directory, id)?;
    let (mut log, report) = open_segments(directory, id, config, clean, visitor)?;
    if let Some(checkpoint) = checkpoint::read(directory, id)? {
        if !report.clean {
            // The process before may have ended between giving the file its name and making the name durable. Readers are about
            // to be told of this start, so it must not go back.
            super::marker::sync_directory(directory)?;
        }
        if !log.restore(&checkpoint) {
            // Left there it would hide what is appended from now on.
            checkpoint::remove(directory)?;
        }
    }
    Ok((log, report))
}

fn open_segments(
    directory: &Path,
    id: LogId,
    config: LogConfig,
    clean: Option<CleanEnd>,
    visitor: &mut dyn FrameVisitor,
) -> Result<(Log, Report), Error> {
    let found = list_segments(directory)?;
    if found.is_empty() {
        let image = LogImage {
            next: clean.map_or(Offset::ZERO, |clean| clean.end),
            epoch: clean.map_or(LeaderEpoch::ZERO, |clean| clean.epoch),
            ..LogImage::default()
        };
        return Ok((
            Log::opened(id, config, image),
            Report {
                clean: clean.is_some(),
                ..Report::default()
            },
        ));
    }
    if let Some(clean) = clean.filter(|clean| !clean.damaged)
        && let Some(image) = open_clean(&found, id, clean, visitor)?
    {
        return Ok((
            Log::opened(id, config, image),
            Report {
                clean: true,
                ..Report::default()
            },
        ));
    }
    let (image, report) = Scanner {
        found: &found,
        id,
        config,
        clean_end: clean.map(|clean| clean.end),
        visitor,
        report: Report::default(),
    }
    .run()?;
    Ok((Log::opened(id, config, image), report))
}

#[derive(Debug)]
struct Found {
    base: Offset,
    path: PathBuf,
    index: Option<SegmentSummary>,
}

fn list_segments(directory: &Path) -> Result<Vec<Found>, Error> {
    let entries = match fs::list(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", directory)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        if let Some(base) = entry.name.to_str().and_then(parse_segment_name) {
            found.push(Found {
                base,
                path: directory.join(segment_name(base)),
                index: None,
            });
        }
    }
    found.sort_unstable_by_key(|segment| segment.base);
    for segment in &mut found {
        segment.index = read_index(&directory.join(index_name(segment.base)))?;
    }
    Ok(found)
}

/// Reads an index file; `None` when it is missing or not valid.
///
/// # Errors
/// The file system's.
pub fn read_index(path: &Path) -> Result<Option<SegmentSummary>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(SegmentSummary::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// The index of a segment, if it is about this segment of this log and ends at `end`.
fn usable(found: &Found, id: LogId, end: Offset) -> Option<&SegmentSummary> {
    found
        .index
        .as_ref()
        .filter(|index| index.log == id && index.base == found.base && index.end == end)
}

fn open_clean(
    found: &[Found],
    id: LogId,
    clean: CleanEnd,
    visitor: &mut dyn FrameVisitor,
) -> Result<Option<LogImage>, Error> {
    let mut image = LogImage {
        epoch: clean.epoch,
        ..LogImage::default()
    };
    for (at, segment) in found.iter().enumerate() {
        let end = found.get(at + 1).map_or(clean.end, |next| next.base);
        let Some(index) = usable(segment, id, end) else {
            return Ok(None);
        };
        let file = DirectFile::open(&segment.path, Access::ReadWrite)?;
        let last = at + 1 == found.len();
        if last {
            visitor.restore(&index.producers);
        }
        add_segment(&mut image, index.clone(), file, last);
    }
    Ok(Some(image))
}

fn add_segment(image: &mut LogImage, index: SegmentSummary, file: DirectFile, last: bool) {
    for (epoch, offset) in index.epochs_with_records() {
        if image.epochs.last().is_none_or(|(known, _)| *known < epoch) {
            image.epochs.push((epoch, offset));
        }
    }
    // Whole blocks: a write that reached beyond would grow the file.
    let capacity = align_down(file.len);
    let file = last.then(|| file.file.into_file());
    let mut segment = Segment::opened(index, file, capacity);
    segment.sealed = !last;
    segment.index_written = true;
    image.segments.push(segment);
}

struct Scanner<'a> {
    found: &'a [Found],
    id: LogId,
    config: LogConfig,
    /// Where the log ended at a clean stop.
    clean_end: Option<Offset>,
    visitor: &'a mut dyn FrameVisitor,
    report: Report,
}

impl Scanner<'_> {
    fn run(mut self) -> Result<(LogImage, Report), Error> {
        let mut image = LogImage::default();
        let (mut epoch, mut epoch_seen) = (LeaderEpoch::ZERO, LeaderEpoch::ZERO);
        let mut note = None;
        let mut unindexed = Vec::new();
        for at in 0..self.found.len() {
            let segment = &self.found[at];
            let next_base = self.found.get(at + 1).map(|next| next.base);
            let hint = segment
                .index
                .as_ref()
                .filter(|index| index.log == self.id && index.base == segment.base);
            // Epochs an index names were led with, also when it is stale; but no frame has to be of them.
            epoch_seen = hint
                .iter()
                .flat_map(|index| &index.epochs)
                .fold(epoch_seen, |epoch, (named, _)| epoch.max(*named));
            if let Some(index) = next_base.and_then(|end| usable(segment, self.id, end)) {
                epoch = index
                    .epochs_with_records()
                    .fold(epoch, |epoch, (known, _)| epoch.max(known));
                self.visitor.restore(&index.producers);
                let file = DirectFile::open(&segment.path, Access::ReadWrite)?;
                add_segment(&mut image, index.clone(), file, false);
                continue;
            }
            let at_base = self.visitor.snapshot();
            if let Some(index) = hint {
                // Frames in front of its end are in its snapshot; cleaned ones would not tell.
                self.visitor.restore(&index.producers);
            }
            let known = Known {
                epoch,
                limit: next_base,
                indexed: hint.map_or(segment.base, |index| index.end),
            };
            let (file, scan) = self.scan(segment, known)?;
            epoch = scan.epoch;
            epoch_seen = epoch_seen.max(scan.epoch_seen);
            let damaged = !scan.damaged.is_empty();
            image.damaged.extend(scan.damaged.iter().cloned());
            let last = next_base.is_none();
            if last {
                // What is damaged needs to be scanned again, whoever follows: its note says nothing of what is in it.
                note = Some(match hint {
                    Some(index) if index.base == index.end || !damaged => index.clone(),
                    _ => Segment::empty(segment.base, 0).summary(self.id, Vec::new(), at_base),
                });
                file.clear_block_from(scan.end_position)
                    .map_err(Error::io("write", &segment.path))?;
            }
            if damaged && !last {
                unindexed.push(segment.base);
            }
            let summary = summarise(self.id, segment.base, scan);
            add_segment(&mut image, summary, file, last);
            // Damage lives only in memory and in the bytes: without an index file the next start finds it again.
            if let Some(added) = image.segments.last_mut() {
                added.index_written = false;
                added.damaged = damaged;
                added.producers_at_end = if last { Vec::new() } else { self.visitor.snapshot() };
            }
        }
        image.epoch = LeaderEpoch::new(epoch_seen.get() + 1);
        if let Some(note) = note {
            self.note_epoch(note, image.epoch)?;
        }
        // Only now, because what they said about epochs is in the note.
        for base in unindexed {
            self.remove_index(base)?;
        }
        Ok((image, self.report))
    }

    /// Records the epoch that is about to be led with, in an index file that claims nothing else than it did: without it the
    /// epoch would be used again if every trace of it were lost in the next crash.
    fn note_epoch(&self, mut note: SegmentSummary, epoch: LeaderEpoch) -> Result<(), Error> {
        // Those of which there is no record are over.
        note.epochs.retain(|(_, first)| *first < note.end);
        note.epochs.push((epoch, note.end));
        let base = note.base;
        let path = self.found[0].path.with_file_name(index_name(base));
        let new = path.with_extension("idx.new");
        // By rename, because the file it replaces may be the only one to know the epoch before.
        fs::write_synced(&new, &note.encode())
            .and_then(|()| fs::rename(&new, &path))
            .map_err(Error::io("write", &path))?;
        super::marker::sync_directory(path.parent().unwrap_or_else(|| Path::new(".")))
    }

    /// A damaged segment's index may be right about its end, and would let the next start skip the scan that finds the
    /// damage.
    fn remove_index(&self, base: Offset) -> Result<(), Error> {
        let path = self.found[0].path.with_file_name(index_name(base));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    fn scan(&mut self, segment: &Found, known: Known) -> Result<(DirectFile, Scan), Error> {
        let file = DirectFile::open(&segment.path, Access::ReadWrite)?;
        file.file
            .sync_before_trusting()
            .map_err(Error::io("sync", &segment.path))?;
        let expect = Expect {
            log: self.id,
            base: segment.base,
            epoch: known.epoch,
            limit: known.limit,
            durable: self.clean_end.map_or(known.indexed, |end| end.max(known.indexed)),
            index_interval_bytes: self.config.index_interval_bytes,
        };
        let visitor = &mut self.visitor;
        let scan = scan(&file, expect, &mut |header, _| {
            if header.base_offset >= known.indexed {
                visitor.frame(header);
            }
        })
        .map_err(Error::io("read", &segment.path))?;
        self.report.scanned_segments += 1;
        self.report.scanned_frames += scan.frames;
        Ok((file, scan))
    }
}

/// What is known of a segment before it is scanned.
#[derive(Clone, Copy)]
struct Known {
    /// Of the last frame in front of it.
    epoch: LeaderEpoch,
    /// Where the next segment begins.
    limit: Option<Offset>,
    /// How far its index file goes: the producers up to there are those of its snapshot.
    indexed: Offset,
}

fn summarise(id: LogId, base: Offset, scan: Scan) -> SegmentSummary {
    SegmentSummary {
        log: id,
        base,
        end: scan.end,
        end_position: scan.end_position,
        first_append_time: scan.first_append_time,
        last_append_time: scan.last_append_time,
        max_timestamp: scan.max_timestamp,
        index: scan.index,
        epochs: scan.epochs,
        producers: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
