//! Damage found while the broker runs: by the scrub, or by a reader that came first.
//!
//! The range from the first bad frame to the next sound one is marked damaged, as recovery would mark it: readers are refused
//! there before a byte is served and find their way behind it, compaction steps over the segment, the clean-stop marker says
//! so, and the index file goes, which would let the next start skip the scan that finds the damage again.
//!
//! Only what is bad twice is damaged: the device is asked again first. A read that fails is the device's word, not rot, and
//! marks nothing.

use super::Shard;
use super::cleaner::{Abandoned, FrameReader, Purpose};
use super::partition::Partition;
use crate::base::Offset;
use crate::storage::layout::index_name;
use crate::storage::log::Edition;
use crate::storage::segment::Segment;
use std::io;
use std::ops::Range;
use std::rc::Rc;

/// A segment as it was when somebody began to read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) base: Offset,
    /// Positions mean nothing in another of that name.
    pub(crate) edition: Edition,
    /// Bytes at and after this position are not frames.
    pub(crate) written: u64,
    pub(crate) end: Offset,
    /// Nothing will be added to it, and all of it is on the disk.
    pub(crate) whole: bool,
    /// Its index file is still to be written.
    pub(crate) wants_index: bool,
}

impl Seen {
    pub(crate) fn of(segment: &Segment) -> Self {
        Self {
            base: segment.base,
            edition: segment.edition,
            written: segment.written,
            end: segment.end,
            whole: segment.is_over(),
            wants_index: segment.wants_index(),
        }
    }
}

/// What is bad in a segment, and where the sound frame behind it begins.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    pub(crate) seen: Seen,
    pub(crate) offsets: Range<Offset>,
    /// `None` when nothing sound follows in the segment.
    pub(crate) sound: Option<u64>,
}

impl Shard {
    /// A reader could not make sense of the frame of `offset` in the segment at `base`: looks again, and marks what is damaged.
    /// True when reading once more may go better: the damage is known now and can be stepped over, or a second look found none.
    pub(crate) async fn examine(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        base: Offset,
        offset: Offset,
    ) -> bool {
        // One reader looks, and nobody while the cleaner has the files: whoever is refused meanwhile comes again.
        let Some(_files) = partition.upkeep.try_acquire(1) else {
            return false;
        };
        let (known, seen) = {
            let log = partition.log.borrow();
            let known = log.damaged().iter().any(|range| range.contains(&offset));
            let segment = log.segments().find(|segment| segment.base == base);
            (known, segment.map(Seen::of))
        };
        if known {
            return true;
        }
        let look = seen.map(|seen| (offset, seen));
        if look.is_none() || partition.vain_look.get() == look {
            return false;
        }
        // A window that was read wrong must not be read again.
        self.cold.forget(partition.id);
        match self.look_at(partition, base, offset).await {
            Ok(true) => true,
            // What passes its checks here and failed them there may do so again; nobody is to look for ever.
            Ok(false) => {
                partition.vain_look.set(look);
                true
            }
            Err(Abandoned::Failed) => false,
            Err(_) => {
                partition.vain_look.set(look);
                false
            }
        }
    }

    /// Reads the segment up to `offset`; gives whether anything there is damaged.
    async fn look_at(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        base: Offset,
        offset: Offset,
    ) -> Result<bool, Abandoned> {
        let mut reader = FrameReader::open(Purpose::Examination, self, partition, base, offset).await?;
        let mut damaged = false;
        while reader.offset() <= offset {
            match reader.next().await {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(Abandoned::Unreadable) => {
                    if let Some(damage) = reader.past_damage().await? {
                        self.found_damage(partition, damage, "a reader").await?;
                        damaged = true;
                    }
                }
                Err(abandoned) => return Err(abandoned),
            }
        }
        Ok(damaged)
    }

    /// Makes readers, compaction and the next start know; true unless they did. The caller holds `upkeep`.
    pub(crate) async fn found_damage(
        &self,
        partition: &Partition,
        damage: Damage,
        finder: &str,
    ) -> Result<bool, Abandoned> {
        self.check_going_on(partition)?;
        let Damage { seen, offsets, sound } = damage;
        if sound.is_none() && !seen.whole {
            // What follows may be on its way to the disk; once it is there the damage has an end.
            return Err(Abandoned::Later);
        }
        let (sealed, fresh) = {
            let mut log = partition.log.borrow_mut();
            let segment = log.segments().find(|segment| segment.base == seen.base);
            let segment = segment.filter(|segment| segment.edition == seen.edition && !segment.wants_index());
            // An index file that is being written would be there again after it was removed.
            let sealed = segment.ok_or(Abandoned::Later)?.sealed;
            if let Some(position) = sound {
                // A reader behind the damage must find a place to start there, also where the damage itself is gone.
                log.note_sound(seen.base, offsets.end, position);
            }
            (sealed, log.mark_damaged(offsets.clone()))
        };
        // That of an active segment is needed for the epoch it may be the only one to know.
        if sealed && let Err(error) = self.remove_index(partition, seen.base).await {
            tracing::warn!(%error, log = %partition.id, "a damaged segment keeps its index: the next start may not see the damage, the next pass of the scrub will");
        }
        if fresh {
            let topic = partition.topic.borrow().name.clone();
            tracing::error!(
                topic = %topic, partition = %partition.id.partition, offset = %offsets.start, to = %offsets.end,
                "{finder} found acknowledged records damaged on disk; this range is refused, the rest is served"
            );
        }
        Ok(fresh)
    }

    async fn remove_index(&self, partition: &Partition, base: Offset) -> io::Result<()> {
        match self
            .disk
            .unlink(&partition.directory.join(index_name(base)))
            .await
        {
            Ok(()) => self.disk.sync_directory(&partition.directory).await,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}
