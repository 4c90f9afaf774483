//! Performing a log's actions: attach, write, index. One task per partition while it has work.
//!
//! **Promise.** At most one write per partition is in flight; batches that arrive meanwhile leave together with the next
//! (group commit without a timer). An I/O error on a write, sync, rename or open is final: everybody waiting is answered
//! with a storage error and the process is told to stop ([`super::Shard::disk_failed`]). Running out of space is not
//! an error of the disk: the log waits and tries again.

use super::partition::Partition;
use super::{Shard, count};
use crate::runtime::clock::{self, Mono};
use crate::runtime::disk::{OpenMode, WriteSync};
use crate::runtime::executor;
use crate::storage::error::passes;
use crate::storage::index::SegmentSummary;
use crate::storage::layout::{index_name, segment_name};
use crate::storage::log::{Action, SyncJob, WriteJob};
use futures_lite::future::poll_once;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// Pause before asking for a segment again when the disk was full.
const DISK_FULL_RETRY: Duration = Duration::from_millis(200);

impl Shard {
    /// Starts the writer of `partition` if it has work and none runs.
    pub(crate) fn drive(self: &Rc<Self>, partition: &Rc<Partition>) {
        if partition.driving.replace(true) {
            return;
        }
        // A task per burst of writes, not per partition: idle partitions cost nothing.
        executor::spawn(drive(Rc::clone(self), Rc::clone(partition)));
    }

    /// Starts a sync of a relaxed partition if it has bytes to sync and none runs.
    pub(crate) fn drive_sync(self: &Rc<Self>, partition: &Rc<Partition>) {
        if partition.syncing.replace(true) {
            return;
        }
        let (shard, partition) = (Rc::clone(self), Rc::clone(partition));
        executor::spawn(async move {
            loop {
                let job = partition.log.borrow().next_sync();
                let Some(job) = job.filter(|_| !partition.failed.get()) else {
                    break;
                };
                shard.sync(&partition, job).await;
            }
            partition.syncing.set(false);
            partition.wake_quiet();
        });
    }

    async fn sync(self: &Rc<Self>, partition: &Rc<Partition>, job: SyncJob) {
        let begun = clock::now();
        match self.disk.sync(&job.file).await {
            Ok(()) => {
                partition.log.borrow_mut().synced(&job);
                // A log that was relaxed until now: its first durable batches settle by a sync.
                if partition.trace.is_waiting() {
                    self.settled(partition, begun, clock::now());
                }
                self.published(partition);
            }
            Err(error) => self.disk_failed("sync", &partition.directory, &error),
        }
    }

    /// Tells waiters and watchers that more of the log is settled or visible.
    pub(crate) fn published(self: &Rc<Self>, partition: &Rc<Partition>) {
        partition.wake_settled();
        partition.fire_watchers();
    }

    /// Performs one write. Nobody is told that it completed; the caller owes [`announce`](Self::announce) then.
    async fn write(self: &Rc<Self>, partition: &Rc<Partition>, mut job: WriteJob) -> News {
        let sync = if job.durable {
            self.write_sync
        } else {
            WriteSync::None
        };
        let pieces = std::mem::take(&mut job.pieces);
        count(&self.probe.writes, 1);
        let begun = clock::now();
        match self.disk.write(&job.file, job.position, pieces, sync).await {
            Ok(()) => {
                let done = clock::now();
                self.probe.write_latency.record(done.since(begun));
                partition.log.borrow_mut().wrote(&job);
                self.settled(partition, begun, done);
                News::Owed
            }
            Err(error) => {
                self.disk_failed("write", &partition.directory, &error);
                News::None
            }
        }
    }

    /// Books the batches that what was handed to the ring at `submitted` settled.
    fn settled(&self, partition: &Partition, submitted: Mono, done: Mono) {
        let end = partition.log.borrow().visible();
        partition.trace.settle(end, submitted, done, &self.probe.stages);
    }

    /// Tells whoever waits for a write of `partition`, if one completed since they were told last.
    fn announce(self: &Rc<Self>, partition: &Rc<Partition>, news: &mut News) {
        if std::mem::replace(news, News::None) == News::Owed {
            self.memory_freed.wake_all();
            self.published(partition);
        }
    }

    async fn attach(self: &Rc<Self>, partition: &Rc<Partition>, base: crate::base::Offset, capacity: u64) {
        let target = partition.directory.join(segment_name(base));
        match self.pool.take(capacity, &target).await {
            Ok(file) => {
                partition.log.borrow_mut().attach(base, file);
                self.note_room(partition);
            }
            Err(error) if passes(&error) => {
                if !partition.lacks_room.get() {
                    tracing::warn!(%error, log = %partition.id, "cannot have a segment now; trying again");
                }
                partition.log.borrow_mut().attach_failed();
                self.note_no_room(partition);
                executor::sleep(DISK_FULL_RETRY).await;
            }
            Err(error) => self.disk_failed("make a segment in", &partition.directory, &error),
        }
    }

    /// Writes index files of segments that were sealed and became durable. Doing without one costs a scan at the next unclean
    /// start.
    async fn write_indexes(self: &Rc<Self>, partition: &Rc<Partition>) {
        loop {
            let Some(summary) = partition.log.borrow().next_index() else {
                return;
            };
            let base = summary.base;
            if let Err(error) = self.write_index(partition, &summary).await {
                self.upkeep_failed("write an index file in", &partition.directory, &error);
            }
            partition.log.borrow_mut().index_written(base);
        }
    }

    pub(crate) async fn write_index(
        &self,
        partition: &Partition,
        summary: &SegmentSummary,
    ) -> io::Result<()> {
        let path = partition.directory.join(index_name(summary.base));
        // By rename: the file it replaces may be all that remembers the log's epoch.
        let new = path.with_extension("idx.new");
        let file = self.disk.open_direct(&new, OpenMode::BufferedCreate).await?;
        self.disk
            .write_buffered(&file, 0, summary.encode().into())
            .await?;
        self.disk.sync(&file).await?;
        self.disk.rename(&new, &path).await?;
        self.disk.sync_directory(&partition.directory).await
    }
}

/// Whether a write completed that nobody was told of yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum News {
    None,
    Owed,
}

async fn drive(shard: Rc<Shard>, partition: Rc<Partition>) {
    let mut news = News::None;
    loop {
        if partition.failed.get() {
            break;
        }
        let action = partition.log.borrow_mut().next_action();
        if !matches!(action, Some(Action::Write(_))) {
            shard.announce(&partition, &mut news);
        }
        match action {
            Some(Action::Write(job)) => {
                // The next write is queued before anyone hears of the last: those who wait answer with a window of new
                // batches, and the device would be idle while they are copied.
                let mut write = pin!(shard.write(&partition, job));
                let begun = poll_once(write.as_mut()).await;
                shard.announce(&partition, &mut news);
                news = match begun {
                    Some(done) => done,
                    None => write.await,
                };
            }
            Some(Action::Attach { base, capacity }) => {
                if partition.closed.get() {
                    break;
                }
                shard.attach(&partition, base, capacity).await;
                if partition.lacks_room.get() && shard.sealed.get() {
                    // A stop does not wait for room: the next start scans this log.
                    break;
                }
            }
            None => {
                let urgent = partition.log.borrow().urgent_sync();
                if let Some(job) = urgent {
                    shard.sync(&partition, job).await;
                    continue;
                }
                shard.write_indexes(&partition).await;
                // More may have been appended while the index was written.
                if partition.log.borrow().is_idle() {
                    break;
                }
            }
        }
    }
    shard.announce(&partition, &mut news);
    // Whatever it waited for, it does not wait any more.
    shard.note_room(&partition);
    partition.driving.set(false);
    partition.wake_quiet();
}
