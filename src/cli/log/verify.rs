//! `corelog log verify`: every frame of every log, judged as recovery would judge it.
//!
//! Checksums, identity, offsets and epochs of each frame; then whether what fails was ever acknowledged. Proof of that is
//! what recovery takes for proof (a later frame's word, a later segment) and two things more: an index file and the
//! clean-stop marker name an end only after it was durable. A torn tail is normal after a crash and no damage.
//!
//! What cannot be told is what recovery cannot tell: damage in the very last write, after which nothing was written.
//!
//! With `--deep` every frame is opened as well, and everything beside the frames is looked at ([`super::deep`]): a second list
//! says what was found, and any error in it fails the command, too.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};

use super::super::args::OutputFormat;
use super::super::output::Listing;
use super::super::{CliError, Streams};
use super::deep::{self, Findings, Judged};
use super::files::{LogFiles, SegmentFile, find, identify, missing, quiet};
use crate::base::{LeaderEpoch, LogId, Offset};
use crate::batch::kafka::KAFKA_HEADER_BYTES;
use crate::batch::{BatchHeader, Contents, HEADER_BYTES};
use crate::runtime::buffer::{BLOCK_BYTES, align_up};
use crate::storage::index::SegmentSummary;
use crate::storage::layout::DataDir;
use crate::storage::marker::{self, CleanEnd};
use crate::storage::recovery::read_index;
use crate::storage::scan::{Expect, FrameSource as _, Scan, Window, scan};

/// Spacing of the index that a scan builds on the side; nobody reads it here.
const INDEX_INTERVAL_BYTES: u64 = 1 << 20;

/// How far to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Depth {
    /// At frames, as recovery does.
    Frames,
    /// At all that a reader meets.
    Records,
}

/// Checks what `path` names, prints a row a log, and fails if any is damaged.
pub(super) fn run(
    path: &Path,
    depth: Depth,
    output: OutputFormat,
    streams: &mut Streams<'_>,
) -> Result<(), CliError> {
    let quiet = quiet(path)?;
    let logs = find(path)?;
    let ends = match &quiet.data {
        Some(data) => clean_ends(&data.marker())?,
        None => HashMap::new(),
    };
    let mut listing = Listing::new(&[
        "log", "segments", "frames", "records", "start", "end", "torn", "damaged", "indexes", "status",
    ]);
    let mut damaged = 0;
    let mut findings = Findings::default();
    for log in &logs {
        let found = verify(log, &ends)?;
        damaged += usize::from(!found.damaged.is_empty());
        listing.push(found.row(log));
        if depth == Depth::Records {
            deep::check_log(log, &found.summary(log)?, &ends, &mut findings)?;
        }
    }
    if depth == Depth::Frames {
        listing.print(output, streams.out)?;
    } else {
        if let Some(data) = quiet.data.as_ref().filter(|data| is_whole(data, path)) {
            deep::check_data(data, &logs, &ends, &mut findings);
        }
        findings.print(&listing, output, streams.out)?;
    }
    streams.out.flush()?;
    if damaged > 0 {
        return Err(CliError::Failed(format!(
            "acknowledged records are damaged in {damaged} of {} logs",
            logs.len()
        )));
    }
    match findings.errors() {
        0 => Ok(()),
        errors => Err(CliError::Failed(format!("{errors} errors were found"))),
    }
}

/// Whether `path` is all of the data directory.
fn is_whole(data: &DataDir, path: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| path == data.root())
}

fn clean_ends(path: &Path) -> Result<HashMap<LogId, CleanEnd>, CliError> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let ends = marker::decode(&bytes).unwrap_or_default();
            Ok(ends.into_iter().map(|end| (end.log, end)).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(HashMap::new()),
        Err(error) => Err(missing(path, &error)),
    }
}

/// What one log holds.
#[derive(Debug, Default)]
struct Found {
    frames: u64,
    records: u64,
    end: Offset,
    torn_bytes: u64,
    damaged: Vec<Range<Offset>>,
    indexes: [u64; 4],
}

/// How an index file compares with its segment; the place in [`Found::indexes`] and in [`INDEX_WORDS`].
#[derive(Clone, Copy)]
enum IndexState {
    Current,
    Stale,
    Broken,
    Missing,
}

const INDEX_WORDS: [&str; 4] = ["ok", "stale", "broken", "missing"];

impl Found {
    /// What the deep checks go by.
    fn summary(&self, log: &LogFiles) -> Result<Judged, CliError> {
        Ok(Judged {
            id: identify(log)?,
            end: self.end,
            damaged: self.damaged.clone(),
        })
    }

    fn row(&self, log: &LogFiles) -> [Value; 10] {
        let ranges: Vec<String> = self
            .damaged
            .iter()
            .map(|range| format!("{}..{}", range.start, range.end))
            .collect();
        let indexes: Vec<String> = INDEX_WORDS
            .iter()
            .zip(self.indexes)
            .filter(|(_, count)| *count > 0)
            .map(|(word, count)| format!("{count} {word}"))
            .collect();
        let status = match (self.damaged.is_empty(), self.torn_bytes) {
            (false, _) => "damaged",
            (true, 0) => "ok",
            (true, _) => "torn tail",
        };
        [
            json!(log.name),
            json!(log.segments.len()),
            json!(self.frames),
            json!(self.records),
            json!(log.segments[0].base.get()),
            json!(self.end.get()),
            json!(self.torn_bytes),
            if ranges.is_empty() {
                Value::Null
            } else {
                json!(ranges.join(" "))
            },
            json!(indexes.join(", ")),
            json!(status),
        ]
    }
}

fn verify(log: &LogFiles, ends: &HashMap<LogId, CleanEnd>) -> Result<Found, CliError> {
    let mut found = Found {
        end: log.segments[0].base,
        ..Found::default()
    };
    let Some(id) = identify(log)? else {
        found.indexes[IndexState::Missing as usize] = log.segments.len() as u64;
        return Ok(found);
    };
    let mut epoch = LeaderEpoch::ZERO;
    for (at, segment) in log.segments.iter().enumerate() {
        let broken = |error| missing(&segment.path, &error);
        let file = SegmentFile::open(&segment.path)?;
        let next_base = log.segments.get(at + 1).map(|next| next.base);
        let index = read_index(&segment.index_path()).map_err(CliError::failed)?;
        let index = index.filter(|index| index.log == id && index.base == segment.base);
        let proofs = [
            index.as_ref().map(|index| index.end),
            ends.get(&id).map(|clean| clean.end),
        ];
        let expect = Expect {
            log: id,
            base: segment.base,
            epoch,
            limit: next_base,
            durable: proofs.into_iter().flatten().max().unwrap_or_default(),
            index_interval_bytes: INDEX_INTERVAL_BYTES,
        };
        let (scan, records) = counted(&file, expect).map_err(broken)?;
        epoch = scan.epoch;
        found.frames += scan.frames;
        found.records += records;
        found.end = scan.end;
        found.damaged.extend(scan.damaged.iter().cloned());
        found.torn_bytes += torn_bytes(&file, id, &scan).map_err(broken)?;
        let state = index_state(index.as_ref(), &scan, segment.index_path().exists());
        found.indexes[state as usize] += 1;
    }
    Ok(found)
}

/// A scan and the records in the frames it trusts.
fn counted(file: &SegmentFile, expect: Expect) -> std::io::Result<(Scan, u64)> {
    let (mut records, mut cleaned) = (0, Vec::new());
    let scan = scan(file, expect, &mut |header, position| match header.contents {
        Contents::AsAppended => records += u64::from(header.record_count),
        Contents::Cleaned => cleaned.push(position),
    })?;
    // Compaction took records out of these; how many are left stands in their batches.
    let mut window = Window::new(file);
    for position in cleaned {
        let head = window.bytes(position + HEADER_BYTES as u64, KAFKA_HEADER_BYTES)?;
        let count = head
            .and_then(|head| head.last_chunk())
            .map(|field| u32::from_be_bytes(*field));
        records += u64::from(count.unwrap_or(0));
    }
    Ok((scan, records))
}

fn index_state(index: Option<&SegmentSummary>, scan: &Scan, is_there: bool) -> IndexState {
    match index {
        Some(index) if index.end == scan.end => IndexState::Current,
        Some(_) => IndexState::Stale,
        None if is_there => IndexState::Broken,
        None => IndexState::Missing,
    }
}

/// Bytes of a write that did not arrive whole: the frame that begins where the log ends and fails its checks, or what the
/// last block holds behind the end, where a whole write leaves zeros.
fn torn_bytes(file: &SegmentFile, id: LogId, scan: &Scan) -> std::io::Result<u64> {
    let mut window = Window::new(file);
    let block_end = align_up(scan.end_position);
    for at in [scan.end_position, block_end] {
        let header = window.bytes(at, HEADER_BYTES)?.map(BatchHeader::decode);
        if let Some(Ok(header)) = header.filter(|header| {
            header
                .as_ref()
                .is_ok_and(|header| header.log == id && header.base_offset == scan.end)
        }) {
            return Ok((header.frame_len() as u64).min(file.len() - at));
        }
    }
    let rest = usize::try_from(block_end - scan.end_position).unwrap_or(BLOCK_BYTES);
    let behind = window.bytes(scan.end_position, rest)?.unwrap_or_default();
    Ok(behind
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last as u64 + 1))
}
