//! The stages of a batch and of a read, and [`StageTimes`]: what a client that asks for it is told.
//!
//! A stage is the time between two moments that follow one another, so the stages of one request add up to the time it
//! spent in the broker:
//!
//! ```text
//! produce   head of the frame known --receive--> frame complete --parse--> checked --route--> at the owner
//!           --append--> in the tail buffer --submit--> write handed to the ring --durable--> on the device
//!           --answer--> answer handed to the socket
//! relaxed   as above, but --visible--> instead of submit and durable: the answer does not wait for the device
//! read      request complete --wait, find--> records found --send--> answer handed to the socket
//! ```
//!
//! **The encoding**, 32 bytes, all integers little-endian, the same on every door:
//!
//! ```text
//!  0  1  layout version, 1
//!  1  1  path: 1 durable produce, 2 relaxed produce, 3 read
//!  2  2  zero
//!  4 28  seven u32 in nanoseconds; 4 294 967 295 also stands for anything longer
//!        durable   receive, parse, route, append, submit, durable, answer
//!        relaxed   receive, parse, route, append, 0, visible, answer
//!        read      wait, find, send, 0, 0, 0, 0
//! ```
//!
//! `answer` and `send` end when the answer is encoded there: it cannot tell how long its own way to the socket took. The
//! broker's histograms can, and do.
//!
//! **Promise.** Decoding what [`StageTimes::to_bytes`] made gives it back; anything else is `None`, except that bytes behind
//! the 32 are left to later layouts. Pure data, any thread; the server and client libraries share this file.

use std::time::Duration;

/// A stretch of a batch's or a read's way through the broker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    /// From the head of a request's frame to its last byte. Zero when it arrived in one piece.
    Receive,
    /// Decoding and checking.
    Parse,
    /// To the thread that owns the partition.
    Route,
    /// Into the tail buffer, waiting for memory included.
    Append,
    /// Until the write that covers the last byte of the batch is handed to the ring.
    Submit,
    /// Until the device has it.
    Durable,
    /// Until readers may see it, in a topic whose answers do not wait for the device.
    Visible,
    /// Until the answer is handed to the socket.
    Answer,
    /// What a read spent waiting for records to come.
    Wait,
    /// What a read spent finding them.
    Find,
    /// From found to handed to the socket.
    Send,
}

impl Stage {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// In the order a batch, then a read, goes through them.
    pub const ALL: [Self; 11] = [
        Self::Receive,
        Self::Parse,
        Self::Route,
        Self::Append,
        Self::Submit,
        Self::Durable,
        Self::Visible,
        Self::Answer,
        Self::Wait,
        Self::Find,
        Self::Send,
    ];

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in metrics, JSON and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Parse => "parse",
            Self::Route => "route",
            Self::Append => "append",
            Self::Submit => "submit",
            Self::Durable => "durable",
            Self::Visible => "visible",
            Self::Answer => "answer",
            Self::Wait => "wait",
            Self::Find => "find",
            Self::Send => "send",
        }
    }

    /// Whether it belongs to reads rather than to produce.
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Wait | Self::Find | Self::Send)
    }
}

/// Which way a request went, which says what its times mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// A produce answered when the batch was on the device.
    Durable,
    /// A produce answered when the batch was visible.
    Relaxed,
    /// A read.
    Read,
}

/// Times of a request.
const SLOTS: usize = 7;

const DURABLE_STAGES: [Option<Stage>; SLOTS] = [
    Some(Stage::Receive),
    Some(Stage::Parse),
    Some(Stage::Route),
    Some(Stage::Append),
    Some(Stage::Submit),
    Some(Stage::Durable),
    Some(Stage::Answer),
];

const RELAXED_STAGES: [Option<Stage>; SLOTS] = [
    Some(Stage::Receive),
    Some(Stage::Parse),
    Some(Stage::Route),
    Some(Stage::Append),
    None,
    Some(Stage::Visible),
    Some(Stage::Answer),
];

const READ_STAGES: [Option<Stage>; SLOTS] = [
    Some(Stage::Wait),
    Some(Stage::Find),
    Some(Stage::Send),
    None,
    None,
    None,
    None,
];

impl Path {
    const fn stages(self) -> &'static [Option<Stage>; SLOTS] {
        match self {
            Self::Durable => &DURABLE_STAGES,
            Self::Relaxed => &RELAXED_STAGES,
            Self::Read => &READ_STAGES,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Durable => 1,
            Self::Relaxed => 2,
            Self::Read => 3,
        }
    }

    const fn of_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Durable),
            2 => Some(Self::Relaxed),
            3 => Some(Self::Read),
            _ => None,
        }
    }
}

/// Where the time of one request went: for a produce of several partitions, that of the one answered last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageTimes {
    path: Path,
    ns: [u32; SLOTS],
}

impl StageTimes {
    /// The newest layout of the encoding, and the number a client asks with.
    pub const LAYOUT: u8 = 1;

    /// Bytes of the encoding.
    pub const BYTES: usize = 32;

    /// Whether a client that reads layouts up to `layout` asks for times this broker can give.
    #[must_use]
    pub fn is_asked(layout: i8) -> bool {
        u8::try_from(layout).is_ok_and(|layout| layout >= Self::LAYOUT)
    }

    /// No time spent anywhere yet.
    #[must_use]
    pub const fn new(path: Path) -> Self {
        Self { path, ns: [0; SLOTS] }
    }

    /// The same with the time of one stage, in ns; no change if `stage` is not on the path. Saturates at 4.29 s.
    #[must_use]
    pub fn with_ns(mut self, stage: Stage, ns: u64) -> Self {
        if let Some(slot) = self.slot(stage) {
            self.ns[slot] = u32::try_from(ns).unwrap_or(u32::MAX);
        }
        self
    }

    /// Which way the request went.
    #[must_use]
    pub const fn path(&self) -> Path {
        self.path
    }

    /// The time of one stage; `None` if it is not on the path.
    #[must_use]
    pub fn get(&self, stage: Stage) -> Option<Duration> {
        let slot = self.slot(stage)?;
        Some(Duration::from_nanos(self.ns[slot].into()))
    }

    /// The stages on the path, in order, with their times.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, Duration)> {
        let times = self.path.stages().iter().zip(self.ns);
        times.filter_map(|(stage, ns)| Some(((*stage)?, Duration::from_nanos(ns.into()))))
    }

    /// All stages together: the time in the broker, up to the encoding of the answer.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.iter().map(|(_, took)| took).sum()
    }

    fn slot(&self, stage: Stage) -> Option<usize> {
        self.path.stages().iter().position(|known| *known == Some(stage))
    }

    /// The encoding; see the module.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = Self::LAYOUT;
        bytes[1] = self.path.code();
        for (place, ns) in bytes[4..].chunks_exact_mut(size_of::<u32>()).zip(self.ns) {
            place.copy_from_slice(&ns.to_le_bytes());
        }
        bytes
    }

    /// What was encoded; `None` for another layout, an unknown path or too few bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.first_chunk()?;
        let path = Path::of_code(bytes[1]).filter(|_| bytes[0] == Self::LAYOUT)?;
        let mut ns = [0; SLOTS];
        for (ns, place) in ns.iter_mut().zip(bytes[4..].as_chunks().0) {
            *ns = u32::from_le_bytes(*place);
        }
        Some(Self { path, ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_what_the_table_says() {
        let times = StageTimes::new(Path::Durable)
            .with_ns(Stage::Receive, 1)
            .with_ns(Stage::Durable, 0x0102_0304)
            .with_ns(Stage::Answer, u64::MAX)
            .with_ns(Stage::Find, 9);
        let bytes = times.to_bytes();
        assert_eq!(bytes[..8], [1, 1, 0, 0, 1, 0, 0, 0]);
        assert_eq!(bytes[24..], [4, 3, 2, 1, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(StageTimes::from_bytes(&bytes), Some(times));
        assert_eq!(StageTimes::from_bytes(&[&bytes[..], &[7]].concat()), Some(times));
    }

    #[test]
    fn what_is_not_an_encoding_is_refused() {
        let bytes = StageTimes::new(Path::Read).to_bytes();
        assert_eq!(StageTimes::from_bytes(&bytes[..31]), None);
        for (at, value) in [(0, 0), (0, 2), (1, 0), (1, 4)] {
            let mut bytes = bytes;
            bytes[at] = value;
            assert_eq!(StageTimes::from_bytes(&bytes), None, "byte {at} = {value}");
        }
    }

    #[test]
    fn a_path_has_its_own_stages_only() {
        let times = StageTimes::new(Path::Relaxed)
            .with_ns(Stage::Visible, 5)
            .with_ns(Stage::Durable, 7);
        assert_eq!(times.get(Stage::Durable), None);
        assert_eq!(times.get(Stage::Visible), Some(Duration::from_nanos(5)));
        assert_eq!(times.total(), Duration::from_nanos(5));
        let names: Vec<_> = times.iter().map(|(stage, _)| stage.name()).collect();
        assert_eq!(
            names,
            ["receive", "parse", "route", "append", "visible", "answer"]
        );
    }

    #[test]
    fn stages_know_their_places() {
        for (at, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage.index(), at);
        }
    }
}
