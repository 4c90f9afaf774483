//! Which logs a path names, and their files opened for reading only.
//!
//! A path is a data directory, the directory of a topic or of a partition, or one segment file. Which log the files
//! belong to is not asked of the metadata, which may be what is broken: frames and index files name their log.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::super::CliError;
use crate::base::{LogId, Offset};
use crate::batch::{BatchHeader, HEADER_BYTES};
use crate::storage::Error;
use crate::storage::layout::{DataDir, index_name, parse_segment_name};
use crate::storage::recovery::{Access, DirectFile, read_index};
use crate::storage::scan::{FrameSource, Window};

/// Directories between a segment file and the data directory it may lie in.
const ROOT_DISTANCE: usize = 4;

/// One log: the segment files of a partition, in order.
#[derive(Debug)]
pub(super) struct LogFiles {
    /// `topic/partition`, or the path that was given.
    pub(super) name: String,
    /// At least one.
    pub(super) segments: Vec<SegmentPath>,
}

/// A segment file.
#[derive(Debug)]
pub(super) struct SegmentPath {
    /// First offset, from its name.
    pub(super) base: Offset,
    pub(super) path: PathBuf,
}

impl SegmentPath {
    pub(super) fn index_path(&self) -> PathBuf {
        self.path.with_file_name(index_name(self.base))
    }
}

/// Keeps brokers off the data directory for as long as it lives.
#[derive(Debug)]
pub(super) struct Quiet {
    /// The data directory, when the path lies in one.
    pub(super) data: Option<DataDir>,
    #[expect(dead_code, reason = "held for its lock")]
    lock: Option<File>,
}

/// Takes the lock of the data directory that `path` lies in, shared. A path elsewhere needs none.
pub(super) fn quiet(path: &Path) -> Result<Quiet, CliError> {
    let absolute = path.canonicalize().map_err(|error| missing(path, &error))?;
    let roots = absolute.ancestors().take(ROOT_DISTANCE + 1);
    let Some(data) = roots.map(DataDir::new).find(|data| data.lock().is_file()) else {
        return Ok(Quiet {
            data: None,
            lock: None,
        });
    };
    let file = File::open(data.lock()).map_err(|error| missing(&data.lock(), &error))?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err() {
        let holder = std::fs::read_to_string(data.lock()).unwrap_or_default();
        return Err(CliError::Failed(format!(
            "a broker uses {} (process {}): stop it first",
            data.root().display(),
            holder.trim()
        )));
    }
    Ok(Quiet {
        data: Some(data),
        lock: Some(file),
    })
}

/// The logs that `path` names, by name.
pub(super) fn find(path: &Path) -> Result<Vec<LogFiles>, CliError> {
    if path.is_file() {
        return one_segment(path).map(|log| vec![log]);
    }
    let topics = DataDir::new(path).topics();
    let mut found = Vec::new();
    if topics.is_dir() {
        for topic in directories(&topics)? {
            collect(&topic, &topics, &mut found)?;
        }
    } else {
        let own = log_in(path, path.display().to_string())?;
        found.extend(own);
        if found.is_empty() {
            collect(path, path.parent().unwrap_or(path), &mut found)?;
        }
        if found.is_empty() {
            return Err(CliError::Failed(format!(
                "{}: neither a data directory nor the directory of a topic or partition",
                path.display()
            )));
        }
    }
    Ok(found)
}

/// The partitions of a topic's directory, by number.
fn collect(topic: &Path, names_from: &Path, found: &mut Vec<LogFiles>) -> Result<(), CliError> {
    for partition in directories(topic)? {
        let name = partition.strip_prefix(names_from).unwrap_or(&partition);
        found.extend(log_in(&partition, name.display().to_string())?);
    }
    Ok(())
}

fn one_segment(path: &Path) -> Result<LogFiles, CliError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let base = name.and_then(parse_segment_name).ok_or_else(|| {
        CliError::Failed(format!(
            "{}: not a segment: its name is twenty digits and .log",
            path.display()
        ))
    })?;
    Ok(LogFiles {
        name: path.display().to_string(),
        segments: vec![SegmentPath {
            base,
            path: path.to_owned(),
        }],
    })
}

/// The log in a partition's directory; `None` when no segment is there.
fn log_in(directory: &Path, name: String) -> Result<Option<LogFiles>, CliError> {
    let mut segments = Vec::new();
    for path in entries(directory)? {
        let base = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(parse_segment_name);
        if let Some(base) = base {
            segments.push(SegmentPath { base, path });
        }
    }
    segments.sort_unstable_by_key(|segment| segment.base);
    Ok((!segments.is_empty()).then_some(LogFiles { name, segments }))
}

/// Directories in `directory`: numbers in their order, then names in theirs.
fn directories(directory: &Path) -> Result<Vec<PathBuf>, CliError> {
    let mut found: Vec<PathBuf> = entries(directory)?
        .into_iter()
        .filter(|path| path.is_dir())
        .collect();
    found.sort_by_key(|path| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        (name.parse().unwrap_or(u64::MAX), name)
    });
    Ok(found)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, CliError> {
    std::fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|error| missing(directory, &error))
}

pub(super) fn missing(path: &Path, error: &io::Error) -> CliError {
    CliError::Failed(format!("{}: {error}", path.display()))
}

/// A segment opened for reading: past the page cache, so that what is judged is what the disk holds, or through it
/// where direct I/O is not to be had (a copy on tmpfs).
#[derive(Debug)]
pub(super) enum SegmentFile {
    Direct(DirectFile),
    Buffered(File, u64),
}

impl SegmentFile {
    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        match DirectFile::open(path, Access::Read) {
            Ok(file) => Ok(Self::Direct(file)),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidInput => {
                let file = File::open(path).map_err(|error| missing(path, &error))?;
                let len = file.metadata().map_err(|error| missing(path, &error))?.len();
                Ok(Self::Buffered(file, len))
            }
            Err(error) => Err(CliError::failed(error)),
        }
    }
}

impl FrameSource for SegmentFile {
    fn len(&self) -> u64 {
        match self {
            Self::Direct(file) => file.len(),
            Self::Buffered(_, len) => *len,
        }
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Direct(file) => file.read_at(position, buffer),
            Self::Buffered(file, _) => file.read_exact_at(buffer, position),
        }
    }
}

/// The log that the files say they belong to: an index file's word, else the first frame's at its place, else that of any
/// frame that could be in its place. `None` when no frame of the kind is there, as before the first write.
pub(super) fn identify(log: &LogFiles) -> Result<Option<LogId>, CliError> {
    for segment in &log.segments {
        let index = read_index(&segment.index_path()).map_err(CliError::failed)?;
        if let Some(index) = index.filter(|index| index.base == segment.base) {
            return Ok(Some(index.log));
        }
    }
    for place in [Place::Start, Place::Anywhere] {
        for (at, segment) in log.segments.iter().enumerate() {
            let end = log.segments.get(at + 1).map(|next| next.base);
            if let Some(id) = first_frame(segment, end, place)? {
                return Ok(Some(id));
            }
        }
    }
    Ok(None)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    Anywhere,
}

fn first_frame(segment: &SegmentPath, end: Option<Offset>, place: Place) -> Result<Option<LogId>, CliError> {
    let broken = |error| missing(&segment.path, &error);
    let file = SegmentFile::open(&segment.path)?;
    let mut window = Window::new(&file);
    let mut at = 0;
    while let Some(candidate) = window.find_magic(at).map_err(broken)? {
        let bytes = window.bytes(candidate, HEADER_BYTES).map_err(broken)?;
        if let Some(Ok(header)) = bytes.map(BatchHeader::decode) {
            let fits = header.base_offset >= segment.base && end.is_none_or(|end| header.end_offset() <= end);
            let starts = candidate == 0 && header.base_offset == segment.base;
            if starts || fits && place == Place::Anywhere {
                return Ok(Some(header.log));
            }
        }
        if place == Place::Start {
            break;
        }
        at = candidate + 1;
    }
    Ok(None)
}
