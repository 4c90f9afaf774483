//! The cleaner of a shard: one task that compacts one log at a time, behind everything else the shard does.
//!
//! Every [`CleanerConfig::check_interval`] it asks each compacted log whether a pass is due (`broker::cleaner`) and works on
//! the dirtiest until none is. A pass learns the keys of the uncleaned part within a bound on memory, then writes the
//! segments below again, group by group, each group's new segment taking the place of the old ones in a swap that a crash
//! cannot break (`storage::compaction`).
//!
//! **Never in the way.** It reads and writes with the shard's own ring in windows of at most [`WINDOW_BYTES`], pays for each
//! by waiting so that it stays below [`CleanerConfig::bytes_per_second`], gives way after [`STRIDE_BYTES`] of work, and takes
//! its buffers where cold readers take theirs. What unpacks to more than a bound is left as it is.
//!
//! **Who else is there.** While it writes a group it holds the partition's `upkeep`, so nobody removes what it reads. It
//! looks before each step whether the partition was closed or the shard stops, and then leaves what it has: unfinished
//! files go at the next start or the next pass.
//!
//! **Failures.** Bytes that do not pass their checks stop the cleaning of that log until the next start, which finds out
//! what is damaged. A full disk ends the pass. A write, sync or rename that fails otherwise stops the process, as any does.

mod files;

pub(crate) use files::{FrameReader, Pace, Purpose};

use super::partition::Partition;
use super::{Shard, count};
use crate::base::{Offset, Timestamp};
use crate::broker::cleaner::{Group, Plan, groups, plan};
use crate::runtime::clock;
use crate::runtime::disk::OpenMode;
use crate::runtime::executor;
use crate::storage::compaction::keys::KeyMap;
use crate::storage::compaction::opened::{Learned, Opened};
use crate::storage::compaction::rewrite::{Finished, GroupWriter, Pass};
use crate::storage::compaction::swap::{self, Step};
use crate::storage::error::is_full;
use crate::storage::index::SegmentSummary;
use crate::storage::layout::{clean_index_name, clean_name, index_name};
use files::SegmentWriter;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Bytes read or written at once.
const WINDOW_BYTES: usize = 512 * 1024;

/// Bytes worked on before others get a turn.
const STRIDE_BYTES: usize = 32 * 1024;

/// Bounds of the cleaner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanerConfig {
    /// How often logs are looked at.
    pub check_interval: Duration,
    /// Bytes of keys held during a pass.
    pub memory_bytes: usize,
    /// Bytes read and written per second; `None` for no limit.
    pub bytes_per_second: Option<u64>,
}

/// Why a pass ended early. What was swapped by then stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Abandoned {
    /// The partition closed, the shard stops, or the log changed underneath; a later round sees.
    Later,
    /// Bytes did not pass their checks.
    Unreadable,
    /// The device could not read.
    Failed,
}

pub(crate) fn start(shard: &Rc<Shard>) {
    let shard = Rc::clone(shard);
    executor::spawn(async move {
        loop {
            executor::sleep(shard.cleaner.check_interval).await;
            shard.clean_what_is_due().await;
        }
    });
}

impl Shard {
    async fn clean_what_is_due(self: &Rc<Self>) {
        while let Some((partition, plan)) = self.dirtiest() {
            let begun = clock::now();
            match self.clean(&partition, plan).await {
                Ok(()) => {
                    count(&self.probe.compaction_passes, 1);
                    let took = u64::try_from(clock::now().since(begun).as_millis()).unwrap_or(u64::MAX);
                    self.probe.compaction_last_ms.set(took);
                }
                Err(Abandoned::Unreadable | Abandoned::Failed) => {
                    tracing::error!(log = %partition.id, "cannot read what is to be compacted; it is left alone until the next start");
                    partition.uncleanable.set(true);
                }
                Err(Abandoned::Later) => return,
            }
        }
    }

    /// The compacted log most worth a pass.
    fn dirtiest(&self) -> Option<(Rc<Partition>, Plan)> {
        let now = self.time_for_ages();
        let partitions = self.partitions.borrow();
        let due = partitions.values().filter_map(|partition| {
            let settings = partition.topic.borrow().settings;
            let works = settings.cleanup.compacts() && !partition.uncleanable.get();
            if !works || self.check_going_on(partition).is_err() {
                return None;
            }
            let plan = plan(&partition.log.borrow(), &settings.compaction, now)?;
            Some((Rc::clone(partition), plan))
        });
        due.max_by_key(|(_, plan)| plan.dirty)
    }

    pub(crate) fn check_going_on(&self, partition: &Partition) -> Result<(), Abandoned> {
        let ends = partition.closed.get()
            || partition.failed.get()
            || self.stopping.get()
            || self.sealed.get()
            || self.failed.get();
        if ends { Err(Abandoned::Later) } else { Ok(()) }
    }

    /// One pass over one log.
    async fn clean(self: &Rc<Self>, partition: &Rc<Partition>, plan: Plan) -> Result<(), Abandoned> {
        let now = self.time_for_ages();
        let (keys, end) = self.learn(partition, plan).await?;
        let (settings, grace) = {
            let settings = partition.topic.borrow().settings;
            (settings, settings.compaction.delete_retention.as_millis())
        };
        let grace = i64::try_from(grace).unwrap_or(i64::MAX);
        let horizon = Timestamp::new(now.get().saturating_add(grace));
        tracing::debug!(log = %partition.id, first_dirty = %plan.first_dirty, %end, keys = keys.len(), "a compaction pass begins");
        let mut pass = Pass::new(keys, end, now, horizon);
        let (groups, mut next) = {
            let log = partition.log.borrow();
            let front = log.segments().next().map_or(end, |segment| segment.base);
            (groups(&log, end, settings.log.segment_bytes), front)
        };
        for group in groups {
            if group.base > next {
                pass.skipped();
            }
            next = group.end;
            self.clean_group(partition, &mut pass, group).await?;
        }
        self.finish_pass(partition, &pass, plan).await
    }

    async fn finish_pass(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        pass: &Pass,
        plan: Plan,
    ) -> Result<(), Abandoned> {
        let tally = pass.tally();
        count(&self.probe.compaction_removed_records, tally.removed);
        let _writing = partition.checkpointing.acquire(1).await;
        self.check_going_on(partition)?;
        partition
            .log
            .borrow_mut()
            .cleaned(pass.end().max(plan.first_dirty), tally.next_horizon);
        // Should it be lost, the next start cleans once more.
        if self.write_checkpoint(partition, Offset::ZERO).await.is_err() {
            tracing::warn!(log = %partition.id, "how far a log was cleaned is not recorded");
        }
        tracing::debug!(log = %partition.id, ?tally, "a compaction pass ended");
        Ok(())
    }

    /// Learns the keys of the uncleaned part, as far as memory goes. Gives how far that is.
    async fn learn(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        plan: Plan,
    ) -> Result<(KeyMap, Offset), Abandoned> {
        let records = plan.end.get().saturating_sub(plan.first_dirty.get());
        let mut keys = KeyMap::new(self.cleaner.memory_bytes, records);
        let segments: Vec<Offset> = {
            let log = partition.log.borrow();
            let dirty = log.segments().filter(|segment| {
                segment.end > plan.first_dirty && segment.base < plan.end && !segment.damaged
            });
            dirty.map(|segment| segment.base).collect()
        };
        for base in segments {
            let mut reader =
                FrameReader::open(Purpose::Compaction, self, partition, base, plan.first_dirty).await?;
            while let Some((header, payload)) = reader.next().await? {
                if header.end_offset() <= plan.first_dirty || header.attributes.is_control() {
                    continue;
                }
                let Ok(opened) = Opened::open(&header, &payload) else {
                    continue;
                };
                if let Learned::Until(offset) = opened.learn(plan.first_dirty, &mut keys) {
                    return Ok((keys, offset.min(plan.end)));
                }
            }
        }
        Ok((keys, plan.end))
    }

    /// Writes one group again and puts the new segment in its place.
    async fn clean_group(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        pass: &mut Pass,
        group: Group,
    ) -> Result<(), Abandoned> {
        let _files = partition.upkeep.acquire(1).await;
        self.check_going_on(partition)?;
        if !partition.log.borrow().is_replaceable(group.base, group.end) {
            return Err(Abandoned::Later);
        }
        let Some(producers) = self.producers_at(partition, group.last).await else {
            // Without them the producers' sequences would be forgotten; the next start makes the index anew.
            pass.skipped();
            return Ok(());
        };
        let clean = partition.directory.join(clean_name(group.base));
        self.remove_unfinished(partition, group).await;
        let mut out = SegmentWriter::create(self, partition, &clean).await?;
        let written = self.rewrite(partition, pass, group, &mut out).await;
        let single = group.base == group.last;
        match written {
            Ok(finished) if finished.changed || !single => {
                self.swap(partition, group, finished, out, producers).await
            }
            Ok(_) => {
                self.remove_unfinished(partition, group).await;
                Ok(())
            }
            Err(abandoned) => {
                self.remove_unfinished(partition, group).await;
                Err(abandoned)
            }
        }
    }

    async fn rewrite(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        pass: &mut Pass,
        group: Group,
        out: &mut SegmentWriter,
    ) -> Result<Finished, Abandoned> {
        let (bases, interval) = {
            let log = partition.log.borrow();
            let group = log
                .segments()
                .filter(|s| s.base >= group.base && s.base < group.end);
            let bases: Vec<Offset> = group.map(|segment| segment.base).collect();
            (bases, log.config().index_interval_bytes)
        };
        let mut writer = GroupWriter::new(partition.id, group.base, interval);
        let mut frames = Vec::new();
        for base in bases {
            let mut reader =
                FrameReader::open(Purpose::Compaction, self, partition, base, Offset::ZERO).await?;
            while let Some((header, payload)) = reader.next().await? {
                writer.push(pass, &header, &payload, &mut frames);
                out.push(&mut frames).await?;
            }
        }
        let finished = writer.finish(&mut frames);
        out.push(&mut frames).await?;
        if finished.summary.end != group.end {
            return Err(Abandoned::Unreadable);
        }
        Ok(finished)
    }

    async fn swap(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        group: Group,
        finished: Finished,
        out: SegmentWriter,
        producers: Vec<u8>,
    ) -> Result<(), Abandoned> {
        let (file, capacity) = out.finish().await?;
        let segment = finished.segment(capacity);
        let summary = partition.log.borrow().replacement_summary(&segment, producers);
        self.write_clean_index(partition, &summary).await?;
        let prepared = self.perform(partition, swap::prepare()).await;
        self.judge(partition, "sync", prepared)?;
        if let Err(abandoned) = self.check_going_on(partition) {
            self.remove_unfinished(partition, group).await;
            return Err(abandoned);
        }
        let committed = self.perform(partition, swap::commit(group.base)).await;
        self.must(partition, committed)?;
        let replaced = partition.log.borrow_mut().replace(segment, file);
        self.cold.forget(partition.id);
        let settled = self.perform(partition, swap::settle(group.base, &replaced)).await;
        self.must(partition, settled)?;
        partition.log.borrow_mut().replaced(group.base);
        Ok(())
    }

    async fn write_clean_index(
        &self,
        partition: &Partition,
        summary: &SegmentSummary,
    ) -> Result<(), Abandoned> {
        let path = partition.directory.join(clean_index_name(summary.base));
        let write = async {
            let file = self.disk.open_direct(&path, OpenMode::BufferedCreate).await?;
            self.disk
                .write_buffered(&file, 0, summary.encode().into())
                .await?;
            self.disk.sync(&file).await
        };
        let written = write.await;
        self.judge(partition, "write the index of a cleaned segment in", written)
    }

    async fn perform(self: &Rc<Self>, partition: &Rc<Partition>, steps: Vec<Step>) -> io::Result<()> {
        for step in steps {
            match step {
                Step::Sync => self.disk.sync_directory(&partition.directory).await,
                Step::Rename { from, to } => {
                    let from = partition.directory.join(from);
                    self.disk.rename(&from, &partition.directory.join(to)).await
                }
                Step::Remove(old) => self.remove_files(partition, &old).await,
            }?;
        }
        Ok(())
    }

    /// From the commit on there is no way back but a start, which finishes the swap.
    fn must(&self, partition: &Partition, done: io::Result<()>) -> Result<(), Abandoned> {
        done.map_err(|error| {
            self.disk_failed(
                "put a cleaned segment in its place in",
                &partition.directory,
                &error,
            );
            Abandoned::Later
        })
    }

    /// A full disk ends the pass; any other failure to write is the disk's end.
    fn judge<T>(
        &self,
        partition: &Partition,
        action: &'static str,
        done: io::Result<T>,
    ) -> Result<T, Abandoned> {
        done.map_err(|error| {
            if is_full(&error) {
                tracing::warn!(%error, log = %partition.id, "no room to compact");
            } else if !partition.closed.get() {
                self.disk_failed(action, &partition.directory, &error);
            }
            Abandoned::Later
        })
    }

    /// Best effort: what is left is removed by the next pass or the next start.
    async fn remove_unfinished(&self, partition: &Partition, group: Group) {
        for name in [clean_name(group.base), clean_index_name(group.base)] {
            let _left = self.disk.unlink(&partition.directory.join(name)).await;
        }
    }

    /// The producers known at the end of the segment at `base`, as its index file has them.
    async fn producers_at(self: &Rc<Self>, partition: &Rc<Partition>, base: Offset) -> Option<Vec<u8>> {
        let path = partition.directory.join(index_name(base));
        let bytes = files::read_whole(self, &path).await.ok()?;
        let summary = SegmentSummary::decode(&bytes)?;
        (summary.log == partition.id && summary.base == base).then_some(summary.producers)
    }
}
