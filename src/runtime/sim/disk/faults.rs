//! What goes wrong with the simulated disk, what it pretends, and what it counts.

use std::ops::Range;
use std::time::Duration;

/// How long an operation takes on a healthy disk.
const USUAL_DELAY: Range<Duration> = Duration::from_micros(20)..Duration::from_micros(300);
/// Bytes of a disk that has room for everything.
pub(super) const PLENTY_BYTES: u64 = 1 << 40;

/// What goes wrong, each once in so many operations; zero for never.
#[derive(Clone, Debug)]
pub(crate) struct DiskFaults {
    /// A write gives EIO; some of its sectors may be there.
    pub(crate) write_eio: u64,
    /// A sync gives EIO, and what it should have made durable is gone.
    pub(crate) sync_eio: u64,
    /// A read gives EIO.
    pub(crate) read_eio: u64,
    /// An operation takes a hundred times as long.
    pub(crate) slow: u64,
    /// Room for all files together.
    pub(crate) room_bytes: u64,
    /// How long operations take.
    pub(crate) delay: Range<Duration>,
}

impl Default for DiskFaults {
    fn default() -> Self {
        Self {
            write_eio: 0,
            sync_eio: 0,
            read_eio: 0,
            slow: 0,
            room_bytes: PLENTY_BYTES,
            delay: USUAL_DELAY,
        }
    }
}

/// What the disk pretends, so that a broker looks like one that forgot something.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct DiskLies {
    /// Blocking syncs of segment files, which only recovery asks for, do nothing.
    pub(crate) forget_recovery_syncs: bool,
    /// Writes that ask to be durable are not.
    pub(crate) dsync_is_volatile: bool,
    /// Syncs of directories do nothing.
    pub(crate) forget_directory_syncs: bool,
}

/// How often things happened.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct DiskCounters {
    /// Writes, buffered ones included.
    pub(crate) writes: u64,
    /// Reads.
    pub(crate) reads: u64,
    /// Syncs of files.
    pub(crate) syncs: u64,
    /// Errors of any kind given out because of the plan.
    pub(crate) faults: u64,
    /// Times the power went.
    pub(crate) power_cuts: u64,
    /// Sectors that were not durable when it went, and did not survive.
    pub(crate) lost_sectors: u64,
}
