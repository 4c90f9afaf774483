//! The scrub of a shard: one task that reads sealed segments again, so that rot is found before a reader meets it.
//!
//! A pass goes over every log of the shard, segment by segment, frame by frame, and checks what a reader would: that each
//! frame is there, is this log's and in its place, and passes its checksums. Passes begin [`ScrubConfig::interval`] apart,
//! the first so long after the start; with none set there is no task.
//!
//! **What is found.** The range from the first bad frame to the next sound one is marked damaged, as recovery would mark it: readers
//! are refused there before a byte is served, compaction steps over the segment, the clean-stop marker says so, and the
//! index file goes, which would let the next start skip the scan that finds the damage again. It is logged once, as an
//! error, and counted. Only what is bad twice is damaged: the device is asked again first. A read that fails is the device's
//! word, not rot: it is logged, and the segment is left for the next pass.
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
use crate::storage::layout::index_name;
use crate::storage::log::Edition;
use std::ops::Range;
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

/// A segment to read.
#[derive(Clone, Copy, Debug)]
struct Sealed {
    base: Offset,
    edition: Edition,
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
            while let Some(sealed) = next_sealed(&partition, from) {
                from = sealed.base.plus(1);
                if self.scrub_segment(&partition, sealed).await.is_err() && self.stopping.get() {
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
        sealed: Sealed,
    ) -> Result<(), Abandoned> {
        let mut reader =
            FrameReader::open(Purpose::Scrub, self, partition, sealed.base, Offset::ZERO).await?;
        loop {
            match reader.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(Abandoned::Later) => return Err(Abandoned::Later),
                Err(Abandoned::Unreadable) => {
                    reader.forget();
                    if reader.next().await.is_ok() {
                        tracing::warn!(log = %partition.id, offset = %reader.offset(), "a second reading of a segment was sound");
                        continue;
                    }
                    let start = reader.offset();
                    let end = reader.skip_unreadable().await?;
                    let sound = reader.position();
                    self.found_damage(partition, sealed, start..end, sound).await?;
                }
            }
        }
    }

    /// Makes readers, compaction and the next start know, unless they do. The frame behind the damage is at `sound`.
    async fn found_damage(
        &self,
        partition: &Partition,
        sealed: Sealed,
        range: Range<Offset>,
        sound: u64,
    ) -> Result<(), Abandoned> {
        // Compaction relies on the segments of its group staying as they were when it began.
        let _files = partition.upkeep.acquire(1).await;
        self.check_going_on(partition)?;
        // Positions mean nothing in a segment that took the place of the one that was opened.
        if partition.log.borrow().edition(sealed.base) != Some(sealed.edition) {
            return Err(Abandoned::Later);
        }
        if !partition.log.borrow_mut().mark_damaged(range.clone()) {
            return Ok(());
        }
        // A reader behind the damage must find a place to start there.
        partition
            .log
            .borrow_mut()
            .note_sound(sealed.base, range.end, sound);
        count(&self.probe.scrub_damaged, 1);
        let topic = partition.topic.borrow().name.clone();
        tracing::error!(
            topic = %topic, partition = %partition.id.partition, offset = %range.start, to = %range.end,
            "the scrub found acknowledged records damaged on disk; this range is refused, the rest is served"
        );
        let index = partition.directory.join(index_name(sealed.base));
        let removed = match self.disk.unlink(&index).await {
            Ok(()) => self.disk.sync_directory(&partition.directory).await,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::warn!(%error, log = %partition.id, "a damaged segment keeps its index: the next start may not see the damage, the next pass will");
        }
        Ok(())
    }
}

/// The first segment at or after `from` that the writer is done with.
fn next_sealed(partition: &Partition, from: Offset) -> Option<Sealed> {
    let log = partition.log.borrow();
    let start = log.start();
    log.segments()
        .find(|segment| {
            segment.base >= from
                && segment.end > start
                && !segment.is_empty()
                // One whose index is still to be written would get it behind our back.
                && (segment.is_settled() || (segment.sealed && segment.damaged))
        })
        .map(|segment| Sealed {
            base: segment.base,
            edition: segment.edition,
        })
}
