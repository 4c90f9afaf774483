//! Following the metadata: opening, growing, reconfiguring and closing partitions as images change, and stopping.

use super::Shard;
use super::partition::{Partition, ProducerVisitor};
use crate::base::hash::HashMap;
use crate::base::{LogId, PartitionId};
use crate::broker::image::Image;
use crate::broker::topic::Topic;
use crate::runtime::clock;
use crate::runtime::executor;
use crate::storage::log::Log;
use crate::storage::marker::CleanEnd;
use crate::storage::recovery;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often a stopping shard looks whether its connections are gone.
const STOP_POLL: Duration = Duration::from_millis(5);

impl Shard {
    /// Opens every owned partition of `image` from disk. Blocks; nobody is served yet.
    pub(crate) fn open_owned(
        self: &Rc<Self>,
        image: &Arc<Image>,
        clean: Option<&HashMap<LogId, CleanEnd>>,
    ) -> Result<(), crate::storage::Error> {
        let mut recovered = 0u64;
        for topic in image.topics() {
            for log in owned_logs(self, topic, 0) {
                let directory = self.data.partition(&topic.name, log.partition);
                let mut producers = ProducerVisitor::default();
                let end = clean.and_then(|clean| clean.get(&log).copied());
                let (opened, report) =
                    recovery::open(&directory, log, topic.settings.log, end, &mut producers)?;
                if !report.clean && report.scanned_segments > 0 {
                    recovered += 1;
                    tracing::debug!(topic = %topic.name, partition = %log.partition, ?report, end = %opened.next(), "recovered");
                }
                for range in opened.damaged() {
                    tracing::error!(
                        topic = %topic.name, partition = %log.partition, from = %range.start, to = %range.end,
                        "acknowledged records are damaged on disk; this range is refused, the rest is served"
                    );
                }
                let partition = Partition::new(Arc::clone(topic), directory, opened, producers.0);
                self.partitions.borrow_mut().insert(log, partition);
            }
        }
        if recovered > 0 {
            tracing::info!(shard = %self.id, partitions = recovered, "recovered after an unclean stop");
        }
        *self.image.borrow_mut() = Arc::clone(image);
        self.follow_topics(&Image::default(), image);
        Ok(())
    }

    /// Takes a new image: requests see it from now on. Returns the partitions to close.
    pub(crate) fn swap_image(self: &Rc<Self>, image: Arc<Image>) -> Vec<Rc<Partition>> {
        let old = self.image.replace(Arc::clone(&image));
        for topic in image.topics() {
            match old.topic_by_id(topic.id) {
                Some(known) if Arc::ptr_eq(known, topic) => {}
                Some(known) => {
                    self.reconfigure(topic);
                    self.add_empty(topic, known.partitions);
                }
                None => self.add_empty(topic, 0),
            }
        }
        self.follow_topics(&old, &image);
        let gone = old.topics().filter(|topic| image.topic_by_id(topic.id).is_none());
        gone.flat_map(|topic| owned_logs(self, topic, 0))
            .filter_map(|log| {
                let partition = self.partitions.borrow_mut().remove(&log)?;
                partition.close();
                Some(partition)
            })
            .collect()
    }

    /// A partition that is new has nothing on disk: its directory was just made.
    fn add_empty(&self, topic: &Arc<Topic>, from: u32) {
        for log in owned_logs(self, topic, from) {
            let directory = self.data.partition(&topic.name, log.partition);
            let empty = Log::empty(log, topic.settings.log);
            let partition = Partition::new(Arc::clone(topic), directory, empty, ProducerVisitor::default().0);
            self.partitions.borrow_mut().insert(log, partition);
        }
    }

    fn reconfigure(self: &Rc<Self>, topic: &Arc<Topic>) {
        for log in owned_logs(self, topic, 0) {
            let Some(partition) = self.partition(log) else {
                continue;
            };
            *partition.topic.borrow_mut() = Arc::clone(topic);
            partition.log.borrow_mut().configure(topic.settings.log);
            // A topic that was relaxed may have bytes that only a sync makes durable.
            self.drive_sync(&partition);
        }
    }

    /// Waits for the last I/O of closed partitions and forgets them.
    pub(crate) async fn finish_closing(&self, closing: Vec<Rc<Partition>>) {
        for partition in closing {
            partition.quiet().await;
            // The directory's name may be another topic's soon: nobody may still be about to use it.
            let _files = partition.upkeep.acquire(1).await;
            let _checkpoint = partition.checkpointing.acquire(1).await;
            self.forget_lists(partition.id);
            self.cold.forget(partition.id);
        }
    }

    /// Stops serving: no connection is accepted, and those there are get this long to finish.
    pub(crate) async fn drain(self: &Rc<Self>, grace: Duration) {
        self.stopping.set(true);
        self.stop_waiters.wake_all();
        self.groups.close();
        let deadline = clock::now().after(grace);
        while self.probe.connections_open.get() > 0 && clock::now() < deadline {
            executor::sleep(STOP_POLL).await;
        }
    }

    /// Settles every log, writes the index of every active segment, and says where the logs end. Logs that could not be
    /// settled are left out: the next start scans them. Nothing is appended once this has begun, so that no record is
    /// acknowledged behind the end that is reported; until every shard has drained, requests still come from others.
    pub(crate) async fn settle(self: &Rc<Self>) -> Vec<CleanEnd> {
        self.sealed.set(true);
        let partitions: Vec<Rc<Partition>> = self.partitions.borrow().values().cloned().collect();
        for partition in &partitions {
            self.drive(partition);
            self.drive_sync(partition);
        }
        let mut ends = Vec::with_capacity(partitions.len());
        for partition in partitions {
            partition.quiet().await;
            self.drive_sync(&partition);
            partition.quiet().await;
            if let Some(end) = self.settle_log(&partition).await {
                ends.push(end);
            }
        }
        ends
    }

    async fn settle_log(&self, partition: &Partition) -> Option<CleanEnd> {
        let (end, active) = {
            let log = partition.log.borrow();
            if !log.is_settled() || partition.failed.get() {
                return None;
            }
            let damaged = log.has_damaged_segments();
            let end = CleanEnd {
                log: partition.id,
                end: log.next(),
                epoch: log.epoch(),
                damaged,
            };
            let current = log
                .segments()
                .next_back()
                .is_none_or(|active| active.index_written);
            let summary =
                (!current && !damaged).then(|| log.active_summary(partition.producers.borrow().encode()));
            (end, summary.flatten())
        };
        if let Some(summary) = active {
            if let Err(error) = self.write_index(partition, &summary).await {
                self.upkeep_failed("write an index file in", &partition.directory, &error);
                return None;
            }
            partition.log.borrow_mut().index_written(summary.base);
        }
        Some(end)
    }
}

/// The logs of `topic` from partition `from` on that this shard owns.
fn owned_logs(shard: &Shard, topic: &Topic, from: u32) -> Vec<LogId> {
    (from..topic.partitions)
        .map(|partition| LogId {
            topic: topic.id,
            partition: PartitionId::new(partition),
        })
        .filter(|log| shard.owner_of(*log) == shard.id)
        .collect()
}
