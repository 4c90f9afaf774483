//! The clocks of a shard: readings for [`Calendar`], and what is said when the wall clock steps.

use super::Shard;
use super::partition::Partition;
use crate::base::hash::HashMap;
use crate::base::{Offset, Timestamp};
use crate::broker::calendar::{BELIEVED_AFTER, Calendar, Notice};
use crate::runtime::clock::{self, Mono};
use crate::runtime::executor;
use crate::storage::segment::Segment;
use std::rc::Rc;
use std::time::Duration;

/// How often the clock is looked at when nothing asks for ages.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A record this far in the future was stamped by a clock that was wrong.
const AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);

/// A shard begins with the clock as it is; [`Shard::start_calendar`] then tells it of the records there are.
pub(super) fn begin() -> Calendar {
    Calendar::new(clock::wall_ms(), mono_ms(), None)
}

fn mono_ms() -> u64 {
    let since = clock::now().since(Mono::default());
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Shard {
    /// Compares the clock with the newest records, and looks at it from time to time.
    pub(super) fn start_calendar(self: &Rc<Self>) {
        let newest = |partition: &Rc<Partition>| {
            let log = partition.log.borrow();
            let appended = log.segments().filter(|segment| !segment.is_empty());
            appended.map(|segment| segment.last_append_time).max()
        };
        let newest = self.partitions.borrow().values().filter_map(newest).max();
        let calendar = Calendar::new(clock::wall_ms(), mono_ms(), newest);
        self.calendar.set(calendar);
        if calendar.ahead_ms() > 0 {
            say(Notice::Forward(calendar.ahead_ms()));
        }
        let shard = Rc::clone(self);
        executor::spawn(async move {
            loop {
                executor::sleep(LOOK_EVERY).await;
                shard.time_for_ages();
            }
        });
    }

    /// The time by which records, producers and offsets are old.
    pub(crate) fn time_for_ages(&self) -> Timestamp {
        let mut calendar = self.calendar.get();
        let notice = calendar.read(clock::wall_ms(), mono_ms());
        self.calendar.set(calendar);
        if let Some(notice) = notice {
            say(notice);
        }
        calendar.for_ages()
    }

    /// The time by which producers' stamps are judged: the clock, or what it was before it stepped back a while ago.
    #[must_use]
    pub fn time_for_stamps(&self) -> Timestamp {
        let behind_ms = self.calendar.get().behind_ms();
        Timestamp::new(clock::wall_ms().get().saturating_add(behind_ms))
    }
}

fn say(notice: Notice) {
    let minutes = BELIEVED_AFTER.as_secs() / 60;
    match notice {
        Notice::Forward(ms) => tracing::warn!(
            seconds = ms / 1000,
            "the clock is far ahead of what came before; nothing is deleted for its age because of that for {minutes} minutes. Is the clock right?"
        ),
        Notice::Backward(ms) => tracing::warn!(
            seconds = ms / 1000,
            "the clock went back; records keep until it has caught up. Is the clock right?"
        ),
        Notice::Believed => tracing::warn!("the clock is believed again; what is too old by it is deleted"),
    }
}

/// When the segments of a log were written, where a clock that was wrong says that they will be: when they were first seen.
#[derive(Debug, Default)]
pub(crate) struct Sightings(HashMap<Offset, Timestamp>);

impl Sightings {
    /// When the last record of `segment` was appended, as far as can be believed at `now`.
    pub(crate) fn append_time(&mut self, segment: &Segment, now: Timestamp) -> Timestamp {
        let stamp = segment.last_append_time;
        if stamp.age_of(now) <= AHEAD_MAX {
            return stamp;
        }
        *self.0.entry(segment.base).or_insert(now)
    }

    /// Forgets segments that are gone.
    pub(crate) fn keep_from(&mut self, start: Offset) {
        self.0.retain(|base, _| *base >= start);
    }
}
