//! `corelog log verify --deep`: what a reader would meet, and everything beside the frames.
//!
//! Each frame that the scan trusts is opened ([`frames`]): its batch agrees with its header, its records are there, in order and
//! as many as it says. Indexes point at frames and agree with them, checkpoint and clean-stop marker with the log. Over a whole
//! data directory ([`metadata`]) the metadata is read, every topic has its directories, and these hold that topic's logs.
//!
//! **Errors and notes.** An error is what no sequence of crashes of a sound broker on a sound disk leaves; it fails the
//! command. A note is what a crash may leave and the next start puts right: a stale index, files of an unfinished swap, a topic
//! on its way out. Memory is bounded by one frame, opened, and [`FINDINGS_MAX`] findings a log.

mod frames;
mod metadata;

pub(super) use metadata::check_data;

use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;

use serde_json::{Value, json};

use super::super::CliError;
use super::super::args::OutputFormat;
use super::super::output::Listing;
use super::files::{LogFiles, SegmentFile, SegmentPath, missing};
use crate::base::{LeaderEpoch, LogId, Offset};
use crate::broker::producer_state::ProducerTable;
use crate::runtime::buffer::align_up;
use crate::storage::checkpoint::Checkpoint;
use crate::storage::index::SegmentSummary;
use crate::storage::layout::{CHECKPOINT_NAME, INDEX_SUFFIX, SEGMENT_SUFFIX, parse_name};
use crate::storage::marker::CleanEnd;
use crate::storage::scan::{Expect, Scan, scan};

/// Most findings printed of one log; the rest is counted.
const FINDINGS_MAX: usize = 100;

/// Spacing of the index that a scan builds on the side; nobody reads it here.
const INDEX_INTERVAL_BYTES: u64 = 1 << 20;

/// What the frames alone have said about a log.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    /// Whose frames they are, if that can be told.
    pub(super) id: Option<LogId>,
    /// One past the last offset.
    pub(super) end: Offset,
    /// Acknowledged offsets that cannot be read.
    pub(super) damaged: Vec<Range<Offset>>,
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Severity {
    /// See the module.
    Error,
    /// See the module.
    Note,
}

/// What was found, in the order of the search.
#[derive(Debug, Default)]
pub(super) struct Findings {
    rows: Vec<[Value; 4]>,
    errors: u64,
    /// The log that findings are about, and how many it has.
    about: (String, usize),
}

impl Findings {
    /// How many of them fail the command.
    pub(super) const fn errors(&self) -> u64 {
        self.errors
    }

    fn add(&mut self, severity: Severity, place: &str, offset: Option<Offset>, what: impl Into<String>) {
        self.errors += u64::from(severity == Severity::Error);
        if self.about.0 != place {
            self.about = (place.to_owned(), 0);
        }
        self.about.1 += 1;
        let what = match self.about.1.cmp(&FINDINGS_MAX) {
            std::cmp::Ordering::Less => what.into(),
            std::cmp::Ordering::Equal => "more was found here; only the beginning is shown".to_owned(),
            std::cmp::Ordering::Greater => return,
        };
        let word = match severity {
            Severity::Error => "error",
            Severity::Note => "note",
        };
        self.rows.push([
            json!(place),
            json!(offset.map(Offset::get)),
            json!(word),
            json!(what),
        ]);
    }

    fn error(&mut self, place: &str, offset: impl Into<Option<Offset>>, what: impl Into<String>) {
        self.add(Severity::Error, place, offset.into(), what);
    }

    fn note(&mut self, place: &str, what: impl Into<String>) {
        self.add(Severity::Note, place, None, what);
    }

    /// Prints the logs, then what was found: two tables, or one object of two lists.
    pub(super) fn print(
        &self,
        logs: &Listing,
        output: OutputFormat,
        out: &mut dyn Write,
    ) -> Result<(), CliError> {
        let mut listing = Listing::new(&["where", "offset", "severity", "what"]);
        for row in &self.rows {
            listing.push(row.clone());
        }
        match output {
            OutputFormat::Json => {
                let both = json!({ "logs": logs.to_json(), "findings": listing.to_json() });
                writeln!(out, "{both:#}")?;
            }
            OutputFormat::Table => {
                logs.print(output, out)?;
                if !self.rows.is_empty() {
                    writeln!(out)?;
                    listing.print(output, out)?;
                }
            }
        }
        Ok(())
    }
}

/// Looks at everything of one log.
pub(super) fn check_log(
    log: &LogFiles,
    judged: &Judged,
    ends: &HashMap<LogId, CleanEnd>,
    findings: &mut Findings,
) -> Result<(), CliError> {
    for range in &judged.damaged {
        let what = format!("acknowledged records up to {} cannot be read", range.end);
        findings.error(&log.name, range.start, what);
    }
    check_names(log, findings);
    let Some(id) = judged.id else {
        return Ok(());
    };
    let mut before = frames::Before::default();
    let mut epoch = LeaderEpoch::ZERO;
    for (at, segment) in log.segments.iter().enumerate() {
        let next_base = log.segments.get(at + 1).map(|next| next.base);
        let expect = Expect {
            log: id,
            base: segment.base,
            epoch,
            limit: next_base,
            durable: Offset::ZERO,
            index_interval_bytes: INDEX_INTERVAL_BYTES,
        };
        epoch = check_segment(&log.name, segment, expect, &mut before, findings)?;
    }
    check_checkpoint(log, id, judged, findings);
    if let Some(clean) = ends.get(&id)
        && clean.end != judged.end
    {
        let what = format!("the clean-stop marker says that the log ends at {}", clean.end);
        findings.error(&log.name, judged.end, what);
    }
    Ok(())
}

/// Opens every frame of a segment and holds its index against them. Gives the epoch of the last frame.
fn check_segment(
    place: &str,
    segment: &SegmentPath,
    expect: Expect,
    before: &mut frames::Before,
    findings: &mut Findings,
) -> Result<LeaderEpoch, CliError> {
    let broken = |error| missing(&segment.path, &error);
    let file = SegmentFile::open(&segment.path)?;
    let index = read_index(place, segment, expect.log, findings);
    let mut entries = IndexWalk::new(index.as_ref());
    let mut opener = frames::Opener::new(&file);
    let mut failed = None;
    let scan = scan(&file, expect, &mut |header, position| {
        entries.frame(header, position, expect.base);
        if let Err(error) = opener.check(place, header, position, before, findings) {
            failed.get_or_insert(error);
        }
    })
    .map_err(broken)?;
    if let Some(error) = failed {
        return Err(broken(error));
    }
    if let Some(index) = &index {
        check_index(place, segment, index, &scan, entries.finish(), findings);
    }
    Ok(scan.epoch)
}

/// The index file of a segment, if it is one and this segment's.
fn read_index(
    place: &str,
    segment: &SegmentPath,
    id: LogId,
    findings: &mut Findings,
) -> Option<SegmentSummary> {
    let bytes = match std::fs::read(segment.index_path()) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            findings.error(
                place,
                segment.base,
                format!("the index file cannot be read: {error}"),
            );
            return None;
        }
    };
    let Some(index) = SegmentSummary::decode(&bytes) else {
        let what = format!(
            "the index of segment {} fails its checks; it is made anew when needed",
            segment.base
        );
        findings.note(place, what);
        return None;
    };
    if index.log != id || index.base != segment.base {
        let what = format!("the index file is of segment {} of {}", index.base, index.log);
        findings.error(place, segment.base, what);
        return None;
    }
    Some(index)
}

/// Holds the entries of an index against the frames, which come by in order.
struct IndexWalk<'a> {
    entries: &'a [crate::storage::index::IndexEntry],
    max_timestamp: i64,
    wrong: Option<u32>,
}

impl<'a> IndexWalk<'a> {
    fn new(index: Option<&'a SegmentSummary>) -> Self {
        Self {
            entries: index.map_or(&[], |index| index.index.entries()),
            max_timestamp: i64::MIN,
            wrong: None,
        }
    }

    fn frame(&mut self, header: &crate::batch::BatchHeader, position: u64, base: Offset) {
        while let Some((entry, rest)) = self.entries.split_first() {
            if u64::from(entry.position) > position {
                break;
            }
            let offset = base.plus(entry.relative_offset.into());
            let holds = u64::from(entry.position) == position
                && offset == header.base_offset
                && entry.max_timestamp_before >= self.max_timestamp;
            if !holds {
                self.wrong.get_or_insert(entry.position);
            }
            self.entries = rest;
        }
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp.get());
    }

    /// Position of the first entry that is wrong, those behind the last frame included.
    fn finish(self) -> Option<u32> {
        self.wrong
            .or_else(|| self.entries.first().map(|entry| entry.position))
    }
}

/// What an index file says besides its entries. One that ends elsewhere than its segment is stale, and nobody goes by it.
fn check_index(
    place: &str,
    segment: &SegmentPath,
    index: &SegmentSummary,
    scan: &Scan,
    wrong_entry: Option<u32>,
    findings: &mut Findings,
) {
    if !index.producers.is_empty()
        && let Err(error) = ProducerTable::decode(&index.producers)
    {
        findings.error(
            place,
            segment.base,
            format!("the producers in the index: {error}"),
        );
    }
    if index.end != scan.end {
        let what = format!(
            "the index of segment {} ends at {}, its frames at {}; it is made anew when needed",
            segment.base, index.end, scan.end
        );
        return findings.note(place, what);
    }
    if !scan.damaged.is_empty() {
        return;
    }
    if let Some(position) = wrong_entry {
        findings.error(
            place,
            segment.base,
            format!("the index entry of byte {position} is wrong"),
        );
    }
    let in_place =
        scan.end_position <= index.end_position && index.end_position <= align_up(scan.end_position);
    if !in_place {
        let what = format!(
            "the index says that the frames end at byte {}, not {}",
            index.end_position, scan.end_position
        );
        findings.error(place, segment.base, what);
    }
    let epochs: Vec<_> = index.epochs_with_records().collect();
    if epochs != scan.epochs {
        findings.error(
            place,
            segment.base,
            "the leader epochs in the index are not those of the frames",
        );
    }
    if scan.frames > 0 && index.max_timestamp < scan.max_timestamp {
        findings.error(
            place,
            segment.base,
            "the largest timestamp in the index is not that of the frames",
        );
    }
}

fn check_checkpoint(log: &LogFiles, id: LogId, judged: &Judged, findings: &mut Findings) {
    let path = log.segments[0].path.with_file_name(CHECKPOINT_NAME);
    let Ok(bytes) = std::fs::read(&path) else {
        return;
    };
    match Checkpoint::decode(&bytes) {
        None => findings.note(&log.name, "the checkpoint fails its checks and counts as missing"),
        Some(found) if found.log != id => {
            findings.error(&log.name, None, format!("the checkpoint is of {}", found.log));
        }
        Some(found) if found.start > judged.end => {
            let what = format!(
                "the checkpoint says that the log starts at {}, behind its end",
                found.start
            );
            findings.error(&log.name, judged.end, what);
        }
        Some(_) => {}
    }
}

/// Files that are neither segments nor what belongs to one.
fn check_names(log: &LogFiles, findings: &mut Findings) {
    let Some(directory) = log.segments[0].path.parent() else {
        return;
    };
    if log.segments.len() == 1 && log.name == log.segments[0].path.display().to_string() {
        // A single file was asked about, not the directory it is in.
        return;
    }
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    for name in names {
        let of_segment = parse_name(&name, INDEX_SUFFIX);
        let known = name == CHECKPOINT_NAME
            || parse_name(&name, SEGMENT_SUFFIX).is_some()
            || of_segment.is_some_and(|base| log.segments.iter().any(|segment| segment.base == base));
        if !known {
            findings.note(&log.name, format!("{name} belongs to nothing that is in use"));
        }
    }
}
