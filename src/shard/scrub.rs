//! The scrub of a shard: one task that reads sealed segments again, so that rot is found before a reader meets it.
//!
//! A pass goes over every log of the shard, segment by segment, frame by frame, and checks what a reader would: that each
//! frame is there, is this log's and in its place, and passes its checksums. Passes begin [`ScrubConfig::interval`] apart,
//! the first so long after the start; with none set there is no task.
//!
//! **What is found** is marked (`super::damage`), logged once and counted. A read that fails is the device's word, not rot: it is
//! logged, and the segment is left for the next pass.
//!
//! **Never in the way.** One window at a time ([`FrameReader`]), paid for at [`ScrubConfig::bytes_per_second`]; buffers are
//! those of cold reads and what is read does not stay in their cache. It looks at each segment as the log has it at that
//! moment and holds nothing meanwhile: a segment that retention or compaction took away is forgotten, and what they put in its
//! place belongs to the next pass. Only what is sealed and durable is read; the active segment is still in the hands of the
//! writer.

use super::cleaner::{Abandoned, FrameReader, Purpose};
use super::partition::Partition;
use super::{Shard, count};
use crate::base::{LogId, Offset};
use crate::runtime::executor;
use std::rc::Rc;
use std::time::Duration;

/// Bounds of the scrub.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrubConfig {
    /// Time between the ends of passes and the beginnings of the next; `None` for no scrub.
    pub interval: Option<Duration>,
    /// Bytes read per second by a shard; `None` for no limit.
    pub bytes_per_second: Option<u64>,
}

pub(crate) fn start(shard: &Rc<Shard>) {
    let Some(interval) = shard.scrub.interval else {
        return;
    };
    let shard = Rc::clone(shard);
    executor::spawn(async move {
        loop {
            executor::sleep(interval).await;
            if shard.scrub_all().await.is_ok() {
                count(&shard.probe.scrub_passes, 1);
            }
        }
    });
}

impl Shard {
    /// One pass. It ends early only when the shard stops.
    async fn scrub_all(self: &Rc<Self>) -> Result<(), Abandoned> {
        let mut logs: Vec<LogId> = self.partitions.borrow().keys().copied().collect();
        logs.sort_unstable();
        for log in logs {
            if self.stopping.get() || self.failed.get() {
                return Err(Abandoned::Later);
            }
            let Some(partition) = self.partition(log) else {
                continue;
            };
            let mut from = Offset::ZERO;
            while let Some(base) = next_sealed(&partition, from) {
                from = base.plus(1);
                if self.scrub_segment(&partition, base).await.is_err() && self.stopping.get() {
                    return Err(Abandoned::Later);
                }
            }
            executor::yield_now().await;
        }
        Ok(())
    }

    /// Reads one segment to its end, whatever is in it.
    async fn scrub_segment(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        base: Offset,
    ) -> Result<(), Abandoned> {
        let mut reader = FrameReader::open(Purpose::Scrub, self, partition, base, Offset::ZERO).await?;
        loop {
            match reader.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(Abandoned::Unreadable) => {
                    let Some(damage) = reader.past_damage().await? else {
                        continue;
                    };
                    // Compaction relies on the segments of its group staying as they were when it began.
                    let _files = partition.upkeep.acquire(1).await;
                    if self.found_damage(partition, damage, "the scrub").await? {
                        count(&self.probe.scrub_damaged, 1);
                    }
                }
                Err(abandoned) => return Err(abandoned),
            }
        }
    }
}

/// The first segment at or after `from` that the writer is done with.
fn next_sealed(partition: &Partition, from: Offset) -> Option<Offset> {
    let log = partition.log.borrow();
    let start = log.start();
    log.segments()
        .find(|segment| {
            segment.base >= from
                && segment.end > start
                && !segment.is_empty()
                && segment.is_durable()
                // One whose index is still to be written would get it behind our back.
                && (segment.is_settled() || (segment.sealed && segment.damaged))
        })
        .map(|segment| segment.base)
}
