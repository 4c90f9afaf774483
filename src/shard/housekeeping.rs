//! What a shard does on its own: filling segments for the pool, retention, syncing relaxed topics, forgetting silent producers.

use super::Shard;
use super::partition::Partition;
use crate::base::Timestamp;
use crate::broker::topic::TopicSettings;
use crate::runtime::clock;
use crate::runtime::executor;
use crate::storage::layout::{index_name, segment_name};
use crate::storage::log::Retired;
use crate::storage::segment::{Segment, is_common_capacity};
use std::rc::Rc;
use std::time::Duration;

/// Granularity of `flush.ms`.
const SYNC_TICK: Duration = Duration::from_millis(10);

/// Partitions looked at by retention before other tasks get a turn.
const PARTITIONS_PER_TURN: usize = 64;

/// Whether the age of its first record says that the active segment is to be sealed: `segment.ms` less this segment's share
/// of the jitter, or in a compacted topic `max.compaction.lag.ms`.
fn roll_due(settings: &TopicSettings, active: &Segment, now: Timestamp) -> bool {
    let age = now.age_of(active.first_append_time);
    let jitter_ms = u64::try_from(settings.segment_jitter.as_millis()).unwrap_or(u64::MAX);
    // Any spread will do, if it stays the same for a segment; this one needs no state.
    let spread = active.base.get() ^ active.first_append_time.get().cast_unsigned();
    let share = Duration::from_millis(spread.wrapping_mul(SPREAD) % jitter_ms.saturating_add(1));
    age > settings.segment_age.saturating_sub(share)
        || (settings.cleanup.compacts() && age > settings.compaction.max_lag)
}

/// An odd number with its bits well mixed.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

pub(crate) fn start(shard: &Rc<Shard>) {
    let filler = Rc::clone(shard);
    executor::spawn(async move {
        let error = filler.pool.clone().keep_filled().await;
        filler.disk_failed("fill a segment in", &filler.data.pool(), &error);
    });
    let retention = Rc::clone(shard);
    executor::spawn(async move {
        loop {
            executor::sleep(retention.retention_check_interval).await;
            retention.retain_all().await;
        }
    });
    let relaxed = Rc::clone(shard);
    executor::spawn(async move {
        loop {
            if relaxed.dirty.borrow().is_empty() {
                relaxed.dirty_work.notified().await;
            }
            executor::sleep(SYNC_TICK).await;
            relaxed.sync_due();
        }
    });
}

impl Shard {
    /// Remembers that a relaxed partition has something to sync, and syncs at once when `flush.messages` says so.
    pub(crate) fn note_dirty(self: &Rc<Self>, partition: &Rc<Partition>, records: u64) {
        let unsynced = partition.dirty_records.get() + records;
        partition.dirty_records.set(unsynced);
        if partition.dirty_since.get().is_none() {
            partition.dirty_since.set(Some(clock::now()));
            self.dirty.borrow_mut().push(Rc::clone(partition));
            self.dirty_work.notify();
        }
        if unsynced >= partition.topic.borrow().settings.flush_messages {
            partition.dirty_records.set(0);
            self.drive_sync(partition);
        }
    }

    fn sync_due(self: &Rc<Self>) {
        let now = clock::now();
        let mut due = Vec::new();
        self.dirty.borrow_mut().retain(|partition| {
            let interval = partition.topic.borrow().settings.flush_interval;
            let is_due = partition
                .dirty_since
                .get()
                .is_none_or(|since| now.since(since) >= interval);
            if is_due {
                due.push(Rc::clone(partition));
            }
            !is_due
        });
        for partition in due {
            partition.dirty_since.set(None);
            partition.dirty_records.set(0);
            self.drive_sync(&partition);
            if partition.log.borrow().durable() < partition.log.borrow().next() {
                // Bytes still on their way to the disk are synced a turn later.
                self.note_dirty(&partition, 0);
            }
        }
    }

    async fn retain_all(self: &Rc<Self>) {
        let partitions: Vec<Rc<Partition>> = self.partitions.borrow().values().cloned().collect();
        for (at, partition) in partitions.into_iter().enumerate() {
            if at % PARTITIONS_PER_TURN == 0 {
                executor::yield_now().await;
            }
            if !partition.closed.get() && !self.stopping.get() {
                self.retain(&partition).await;
            }
        }
        self.count_producers();
    }

    /// Applies retention to one log: whole segments, oldest first, by the broker's append time and by size where the
    /// topic's policy deletes, and whatever lies below the log's start. Seals the active segment when it is due.
    pub(crate) async fn retain(self: &Rc<Self>, partition: &Rc<Partition>) {
        let settings = partition.topic.borrow().settings;
        let deletes = settings.cleanup.deletes();
        let now = self.time_for_ages();
        let first = partition
            .log
            .borrow()
            .segments()
            .next()
            .map(|segment| segment.base);
        partition
            .sightings
            .borrow_mut()
            .keep_from(first.unwrap_or_default());
        let too_old = |segment: &Segment| {
            deletes
                && settings.retention.is_some_and(|keep| {
                    let appended = partition.sightings.borrow_mut().append_time(segment, now);
                    now.age_of(appended) > keep
                })
        };
        partition
            .producers
            .borrow_mut()
            .expire(now, self.producer_expiration);
        let active_due = partition
            .log
            .borrow()
            .segments()
            .next_back()
            .is_some_and(|active| {
                !active.is_empty()
                    && active.is_durable()
                    && (too_old(active) || roll_due(&settings, active, now))
            });
        if active_due {
            let producers = || partition.producers.borrow().encode();
            if partition.log.borrow_mut().roll_active(producers) {
                self.drive(partition);
                partition.quiet().await;
            }
        }
        self.write_empty_index(partition).await;
        let Some(_files) = partition.upkeep.try_acquire(1) else {
            // The cleaner is at work here; there is another round.
            return;
        };
        let to = {
            let log = partition.log.borrow();
            let mut size = log.size_bytes();
            log.start_without(|segment| {
                let left = size.saturating_sub(segment.chain.end());
                let over = too_old(segment)
                    || (deletes && settings.retention_bytes.is_some_and(|keep| left >= keep));
                size = left;
                over
            })
        };
        if to > partition.log.borrow().start() && self.move_start(partition, to).await.is_err() {
            if self.check_going_on(partition).is_err() {
                return;
            }
            // It could not be written down. A full disk is what retention is to end; after a crash now the log may start where it
            // did.
            partition.log.borrow_mut().start_at(to);
        }
        self.remove_below_start(partition).await;
    }

    /// An empty active segment is all that is left of a log whose records expired: its index file keeps the leader epoch
    /// and the producers across a crash.
    async fn write_empty_index(&self, partition: &Partition) {
        let summary = {
            let log = partition.log.borrow();
            let active = log.segments().next_back();
            if log.segments().len() < 2
                || active.is_none_or(|active| !active.is_empty() || active.index_written)
            {
                return;
            }
            log.active_summary(partition.producers.borrow().encode())
        };
        let Some(summary) = summary else { return };
        if let Err(error) = self.write_index(partition, &summary).await {
            self.upkeep_failed("write an index file in", &partition.directory, &error);
            return;
        }
        // Until here the log refuses to retire what is in front of it.
        partition.log.borrow_mut().empty_index_written(&summary);
    }

    /// Removes the files of a segment that retention gave up. One that cannot be removed is found again by the next start.
    pub(crate) async fn remove_segment(self: &Rc<Self>, partition: &Rc<Partition>, retired: &Retired) {
        tracing::debug!(log = %partition.id, base = %retired.base, "retention removes a segment");
        if let Err(error) = self.remove_files(partition, retired).await {
            self.upkeep_failed("remove an old segment of", &partition.directory, &error);
        }
    }

    /// Gives the file of a segment that left its log to the pool, or removes it, and removes its index file.
    pub(crate) async fn remove_files(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        retired: &Retired,
    ) -> std::io::Result<()> {
        self.cold.forget(partition.id);
        let segment = partition.directory.join(segment_name(retired.base));
        let index = partition.directory.join(index_name(retired.base));
        let common = is_common_capacity(retired.capacity, partition.log.borrow().config().segment_bytes);
        // A cleaned segment is as long as its frames; the pool would keep a size that nobody asks for.
        if common {
            self.pool.recycle(&segment, retired.capacity).await?;
        } else {
            self.disk.unlink(&segment).await?;
        }
        match self.disk.unlink(&index).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// A segment could not be had for lack of space: produce is refused while any partition waits for one.
    pub(crate) fn note_no_room(&self, partition: &Partition) {
        if partition.lacks_room.replace(true) {
            return;
        }
        let waiting = self.without_room.get() + 1;
        self.without_room.set(waiting);
        if waiting == 1 {
            tracing::warn!("the disk is full; produce is refused until space is freed, reads go on");
            self.pool.set_paused(true);
        }
    }

    /// A partition has its segment, or does not want it any more.
    pub(crate) fn note_room(&self, partition: &Partition) {
        if !partition.lacks_room.replace(false) {
            return;
        }
        let waiting = self.without_room.get() - 1;
        self.without_room.set(waiting);
        if waiting == 0 {
            if !self.sealed.get() {
                tracing::info!("no partition waits for space any more; produce is accepted");
            }
            self.pool.set_paused(self.below_floor.get());
        }
    }
}
