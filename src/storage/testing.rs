//! What the tests of this room share: batches, a strict model of a disk, and a driver that does for a log what the shard
//! will do, one step at a time and under the test's control.
//!
//! The disk is as unkind as the contract allows: a durable write makes durable only its own bytes (force unit access, no
//! flush of what came before), and a crash keeps any choice of the 512-byte sectors that were written and not made
//! durable. Files handed out come back from retired segments with their stale bytes.

use super::index::SegmentSummary;
use super::layout::{CHECKPOINT_NAME, index_name, parse_segment_name, segment_name};
use super::log::{Action, Appended, Durability, Log, LogConfig, ReadStart, Retired, SyncJob, WriteJob};
use super::read::{ReadFormat, Walked, Want, gather};
use crate::base::{LogId, Offset, PartitionId, Timestamp, TopicId};
use crate::batch::{Compression, KafkaBatch, KafkaBatchBuilder, TimestampType, kafka};
use crate::runtime::buffer::{Arena, BLOCK_BYTES, ChunkClass, SLAB_BYTES, align_down, align_up};
use crate::runtime::disk::File;
pub(super) use crate::runtime::sim::Random;
use std::collections::BTreeMap;
use std::path::Path;

/// The unit of a torn write.
pub(super) const SECTOR_BYTES: usize = 512;

pub(super) fn log_id(n: u8) -> LogId {
    LogId {
        topic: TopicId::new([n; 16]),
        partition: PartitionId::new(u32::from(n)),
    }
}

pub(super) fn config(segment_bytes: u64, durability: Durability) -> LogConfig {
    LogConfig {
        segment_bytes,
        index_interval_bytes: 2048,
        durability,
        timestamp_type: TimestampType::CreateTime,
    }
}

pub(super) fn arena() -> Arena {
    Arena::new(64 * SLAB_BYTES).unwrap()
}

/// A Kafka batch of `records` records whose values are `value_bytes` of `fill`.
pub(super) fn batch(records: u64, value_bytes: usize, fill: u8, at: i64) -> Vec<u8> {
    let mut builder = KafkaBatchBuilder::new();
    for n in 0..records {
        let time = Timestamp::new(at + i64::try_from(n).unwrap());
        builder.push(None, Some(&vec![fill; value_bytes]), time, []);
    }
    builder.build(Compression::None, None).unwrap()
}

/// Appends and returns what a reader must get back for it.
pub(super) fn append(log: &mut Log, arena: &Arena, bytes: &[u8], now: i64) -> (Appended, Vec<u8>) {
    let parsed = KafkaBatch::parse(bytes).unwrap();
    let epoch = log.epoch();
    let appended = log
        .append(&parsed, Timestamp::new(now), arena, Vec::new)
        .expect("the arena of a test is large enough");
    let mut stored = bytes.to_vec();
    kafka::patch(&mut stored, appended.base, epoch);
    (appended, stored)
}

/// One file: what the device answers reads with, and what it would keep without power.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) cache: Vec<u8>,
    pub(super) durable: Vec<u8>,
}

impl Image {
    fn new(bytes: Vec<u8>) -> Self {
        Self {
            durable: bytes.clone(),
            cache: bytes,
        }
    }
}

/// A log's directory on the model disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) segments: BTreeMap<u64, Image>,
    pub(super) indexes: BTreeMap<u64, Vec<u8>>,
    /// The checkpoint file, replaced durably.
    pub(super) checkpoint: Option<Vec<u8>>,
    /// Retired files, stale bytes and all.
    pub(super) pool: Vec<Vec<u8>>,
}

impl Disk {
    /// A file for the segment at `base`: a retired one of that size if there is one.
    pub(super) fn attach(&mut self, base: Offset, capacity: u64) {
        let len = usize::try_from(capacity).unwrap();
        let found = self.pool.iter().position(|bytes| bytes.len() == len);
        let bytes = found.map_or_else(|| vec![0; len], |at| self.pool.swap_remove(at));
        self.segments.insert(base.get(), Image::new(bytes));
    }

    pub(super) fn write(&mut self, job: &WriteJob, bytes: &[u8]) {
        let image = self.segments.get_mut(&job.base.get()).unwrap();
        let start = usize::try_from(job.position).unwrap();
        let end = start + bytes.len();
        assert!(end <= image.cache.len(), "a write never grows a file");
        image.cache[start..end].copy_from_slice(bytes);
        if job.durable {
            image.durable[start..end].copy_from_slice(bytes);
        }
    }

    pub(super) fn sync(&mut self, base: Offset) {
        let image = self.segments.get_mut(&base.get()).unwrap();
        image.durable.clone_from(&image.cache);
    }

    pub(super) fn retire(&mut self, base: Offset) {
        let image = self.segments.remove(&base.get()).unwrap();
        self.indexes.remove(&base.get());
        self.pool.push(image.cache);
    }

    /// Loses power: of every sector not durable, and of the write in flight, any choice survives.
    pub(super) fn crash(&mut self, in_flight: Option<(&WriteJob, Vec<u8>)>, random: &mut Random) {
        if let Some((job, bytes)) = in_flight {
            let image = self.segments.get_mut(&job.base.get()).unwrap();
            let start = usize::try_from(job.position).unwrap();
            image.cache[start..start + bytes.len()].copy_from_slice(&bytes);
        }
        // All, nothing and something are each worth meeting often.
        let keep_one_in = [1, 2, 2, 8, u64::MAX][usize::try_from(random.below(5)).unwrap()];
        for image in self.segments.values_mut() {
            let sectors = image.cache.chunks(SECTOR_BYTES);
            for (new, old) in sectors.zip(image.durable.chunks_mut(SECTOR_BYTES)) {
                if new != old && random.one_in(keep_one_in) {
                    old.copy_from_slice(new);
                }
            }
            image.cache.clone_from(&image.durable);
        }
    }

    /// Puts the durable bytes into `directory`, in place of whatever is there.
    pub(super) fn store(&self, directory: &Path) {
        for entry in std::fs::read_dir(directory).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for (base, image) in &self.segments {
            std::fs::write(directory.join(segment_name(Offset::new(*base))), &image.durable).unwrap();
        }
        for (base, bytes) in &self.indexes {
            std::fs::write(directory.join(index_name(Offset::new(*base))), bytes).unwrap();
        }
        if let Some(bytes) = &self.checkpoint {
            std::fs::write(directory.join(CHECKPOINT_NAME), bytes).unwrap();
        }
    }

    /// Takes over what recovery left in `directory`.
    pub(super) fn load(&mut self, directory: &Path) {
        self.segments.clear();
        self.indexes.clear();
        self.checkpoint = None;
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let bytes = std::fs::read(entry.path()).unwrap();
            if let Some(base) = parse_segment_name(&name) {
                self.segments.insert(base.get(), Image::new(bytes));
            } else if name == CHECKPOINT_NAME {
                self.checkpoint = Some(bytes);
            } else {
                let base = name.strip_suffix(".idx").unwrap().parse().unwrap();
                self.indexes.insert(base, bytes);
            }
        }
    }
}

/// A descriptor for logs whose bytes go to a [`Disk`].
pub(super) fn any_file() -> File {
    File::from_fd(std::fs::File::open("/dev/null").unwrap().into())
}

/// The bytes a write carries at this moment.
pub(super) fn bytes_of(job: &WriteJob) -> Vec<u8> {
    let pieces = job.pieces.iter();
    let bytes: Vec<u8> = pieces
        .flat_map(|piece| piece.chunk.slice(piece.start..piece.start + piece.len).to_vec())
        .collect();
    assert_eq!(job.position % BLOCK_BYTES as u64, 0, "writes start at blocks");
    assert_eq!(bytes.len() % BLOCK_BYTES, 0, "writes are whole blocks");
    bytes
}

/// Performs everything the log asks for until it asks for nothing.
pub(super) fn settle(log: &mut Log, disk: &mut Disk) {
    loop {
        if let Some(action) = log.next_action() {
            match action {
                Action::Attach { base, capacity } => {
                    disk.attach(base, capacity);
                    log.attach(base, any_file());
                }
                Action::Write(job) => {
                    disk.write(&job, &bytes_of(&job));
                    log.wrote(&job);
                }
            }
        } else if let Some(job) = log.next_sync() {
            sync(log, disk, &job);
        } else if let Some(summary) = log.next_index() {
            index(log, disk, &summary);
        } else {
            return;
        }
    }
}

pub(super) fn sync(log: &mut Log, disk: &mut Disk, job: &SyncJob) {
    disk.sync(job.base);
    log.synced(job);
}

pub(super) fn index(log: &mut Log, disk: &mut Disk, summary: &SegmentSummary) {
    disk.indexes.insert(summary.base.get(), summary.encode());
    log.index_written(summary.base);
}

/// Reads what is at `offset` as the shard would: up to the end of its segment, the visible end, or damage.
pub(super) fn read(log: &Log, disk: &Disk, arena: &Arena, offset: Offset) -> (Walked, Vec<u8>) {
    let mut out = Vec::new();
    let want = |verify| Want {
        offset,
        max_bytes: usize::MAX,
        oversized_first: true,
        verify,
        format: ReadFormat::Kafka,
    };
    match log.read_start(offset).unwrap() {
        ReadStart::End => (Walked::Done, out),
        ReadStart::Tail { chain, from } => {
            let (ended, _) = gather(chain, log.id(), from, want(false), &mut out);
            (ended, out)
        }
        ReadStart::Cold {
            base, from, written, ..
        } => {
            let image = &disk.segments[&base.get()].cache;
            let start = align_down(from.position);
            let end = align_up(written).min(image.len() as u64);
            let bytes = &image[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
            let chunks = bytes.chunks(SLAB_BYTES).map(|part| {
                let chunk = arena.alloc(ChunkClass::Large).unwrap();
                chunk.copy_in(0, part);
                chunk
            });
            let chain = super::chain::Chain::of_read(start, chunks.collect(), bytes.len());
            let (ended, _) = gather(&chain, log.id(), from, want(true), &mut out);
            (ended, out)
        }
    }
}

/// What retention does to the oldest segment, if it may go.
pub(super) fn retire_front(log: &mut Log) -> Option<Retired> {
    let front = log.segments().next()?.base;
    if !log.may_retire_front() {
        return None;
    }
    log.start_at(log.start_without(|one| one.base == front));
    log.retire_below_start()
}
