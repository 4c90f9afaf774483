//! The disk as a state machine: what is durable, what is only in its cache, and which request fails next.
//!
//! `durable` is what survives a power cut; `current` is what a read gives; the writes since the last flush lie in between,
//! each under a [`Ticket`], oldest first. A flush covers the writes that were **answered** before it arrived and no
//! others: a real disk promises nothing about a write it has not answered yet, and a broker that acknowledged one by the
//! flush of another must not get away with it here. No I/O, no clock, no threads; the caller ([`super::serve`]) has those.
//!
//! `current` = `durable` + the pending writes in the order of their tickets, while the power is on.

use std::collections::BTreeMap;

use super::image::{Image, index, positions};
use crate::base::random::Random;

/// The unit in which a write may be torn: what disks have promised to write whole since ever.
pub const SECTOR: usize = 512;

/// What newer disks write whole.
pub const BLOCK: usize = 4096;

/// The stream of [`Random`] that decides the fate of pending writes.
const CUT_STREAM: u64 = 1;

/// What happens to the writes in the cache when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutMode {
    /// Each is kept, lost, or torn sector by sector; later ones may stay where earlier ones go.
    Random,
    /// The same, torn by [`BLOCK`]s, as disks do that write so many bytes whole. For XFS: its recovery does not replay over a
    /// block whose first sector is the newer one, so a block of its metadata that is torn inside is beyond it.
    RandomBlocks,
    /// All are lost.
    LoseAll,
    /// All are kept, as by a process that is killed while the machine goes on.
    KeepAll,
}

/// What became of the writes that were in the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Writes that reached the medium whole.
    pub kept: u64,
    /// Writes of which some sectors did.
    pub torn: u64,
    /// Writes that left no trace.
    pub lost: u64,
}

/// Which requests an error is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every request.
    Any,
    /// Requests that carry these bytes (1 to 4096, not all zeros): a write of them, a read that would give them, a flush
    /// while a write of them is pending. The bytes must lie within one request.
    Containing(Vec<u8>),
    /// Writes of nothing but zeros, reads that would give nothing else, flushes while such a write is pending.
    Zeros,
}

impl Target {
    fn matches(&self, data: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Containing(pattern) => positions(data, pattern).next().is_some(),
            Self::Zeros => data.iter().all(|byte| *byte == 0),
        }
    }
}

/// What the disk has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads answered with data.
    pub reads: u64,
    /// Writes taken.
    pub writes: u64,
    /// Bytes of them.
    pub written_bytes: u64,
    /// Flushes carried out.
    pub flushes: u64,
    /// Bytes in the cache now.
    pub pending_bytes: u64,
    /// The most there ever were.
    pub pending_bytes_max: u64,
    /// Reads, writes and flushes that failed because they were told to; what a disk without power refuses does not count.
    pub failed: u64,
}

/// The request is answered with EIO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed;

/// A write on its way: pending from now on, covered by flushes once it is [answered](Device::answered).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// A flush on its way: the last write it covers.
#[derive(Debug)]
pub(super) struct Flush {
    covers: Vec<Ticket>,
}

#[derive(Debug)]
struct Pending {
    offset: u64,
    data: Vec<u8>,
    answered: bool,
}

impl Pending {
    fn range(&self) -> std::ops::Range<u64> {
        self.offset..self.offset + length(&self.data)
    }
}

#[derive(Debug)]
struct Fault {
    target: Target,
    left: u64,
}

/// A kind of request that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Flush,
}

/// A disk with a volatile cache.
#[derive(Debug)]
pub(super) struct Device {
    bytes: u64,
    durable: Image,
    current: Image,
    pending: BTreeMap<Ticket, Pending>,
    next: u64,
    powered: bool,
    faults: [Option<Fault>; 3],
    planned: Option<PlannedCut>,
    last_cut: Option<Cut>,
    counters: Counters,
}

/// A cut that comes by itself.
#[derive(Debug)]
struct PlannedCut {
    /// Writes and flushes that are still carried out.
    left: u64,
    seed: u64,
    mode: CutMode,
}

impl Device {
    /// A disk of zeros, powered.
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            bytes,
            durable: Image::zeros(bytes),
            current: Image::zeros(bytes),
            pending: BTreeMap::new(),
            next: 0,
            powered: true,
            faults: [None, None, None],
            planned: None,
            last_cut: None,
            counters: Counters::default(),
        }
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn counters(&self) -> Counters {
        self.counters
    }

    /// What begins at `offset`, cut off at the end of the disk.
    pub(super) fn read(&mut self, offset: u64, length: u32) -> Result<Vec<u8>, Failed> {
        let length = u64::from(length).min(self.bytes.saturating_sub(offset));
        let mut data = vec![0; index(length)];
        self.current.read(offset.min(self.bytes), &mut data);
        if !self.powered || self.strikes(Kind::Read, &[&data]) {
            return Err(Failed);
        }
        self.counters.reads += 1;
        Ok(data)
    }

    /// Takes a write into the cache.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> Result<Ticket, Failed> {
        let inside = offset
            .checked_add(length(data))
            .is_some_and(|end| end <= self.bytes);
        if !self.powered || !inside || self.strikes(Kind::Write, &[data]) {
            return Err(Failed);
        }
        self.current.write(offset, data);
        let ticket = Ticket(self.next);
        self.next += 1;
        let pending = Pending {
            offset,
            data: data.to_vec(),
            answered: false,
        };
        self.pending.insert(ticket, pending);
        self.counters.writes += 1;
        self.counters.written_bytes += length(data);
        self.counters.pending_bytes += length(data);
        self.counters.pending_bytes_max = self.counters.pending_bytes_max.max(self.counters.pending_bytes);
        // A write that the cut comes in the middle of is pending, too: it may be torn.
        if self.planned_cut_comes() {
            Err(Failed)
        } else {
            Ok(ticket)
        }
    }

    /// The write is about to be answered; fails if the power went meanwhile.
    pub(super) fn answered(&mut self, ticket: Ticket) -> Result<(), Failed> {
        if let Some(pending) = self.pending.get_mut(&ticket) {
            pending.answered = true;
        }
        if self.powered { Ok(()) } else { Err(Failed) }
    }

    /// A flush arrives: what it covers is settled now.
    pub(super) fn flush_arrives(&self) -> Flush {
        let answered = self.pending.iter().filter(|(_, pending)| pending.answered);
        Flush {
            covers: answered.map(|(ticket, _)| *ticket).collect(),
        }
    }

    /// Carries a flush out. If it is to fail, the writes it covers are gone: from now on reads give what was there before.
    pub(super) fn flush(&mut self, flush: &Flush) -> Result<(), Failed> {
        if !self.powered || self.planned_cut_comes() {
            return Err(Failed);
        }
        let taken: Vec<Pending> = flush
            .covers
            .iter()
            .filter_map(|ticket| self.pending.remove(ticket))
            .collect();
        self.counters.pending_bytes -= taken.iter().map(|pending| length(&pending.data)).sum::<u64>();
        let data: Vec<&[u8]> = taken.iter().map(|pending| &pending.data[..]).collect();
        if self.strikes(Kind::Flush, &data) {
            self.forget_cache();
            return Err(Failed);
        }
        let all = self.pending.is_empty();
        for pending in &taken {
            if all {
                self.durable.share(&self.current, pending.range());
            } else {
                self.durable.write(pending.offset, &pending.data);
            }
        }
        self.counters.flushes += 1;
        Ok(())
    }

    /// Takes the power away. Until [`power_on`](Self::power_on) every request fails.
    pub(super) fn cut(&mut self, seed: u64, mode: CutMode) -> Cut {
        let mut random = Random::new(seed, CUT_STREAM);
        let mut cut = Cut::default();
        for (_, pending) in std::mem::take(&mut self.pending) {
            let fate = match mode {
                CutMode::KeepAll => 0,
                CutMode::LoseAll => 1,
                CutMode::Random | CutMode::RandomBlocks => random.below(3),
            };
            match fate {
                0 => {
                    self.durable.write(pending.offset, &pending.data);
                    cut.kept += 1;
                }
                1 => cut.lost += 1,
                _ => {
                    let unit = if mode == CutMode::RandomBlocks {
                        BLOCK
                    } else {
                        SECTOR
                    };
                    self.tear(&pending, unit, &mut random);
                    cut.torn += 1;
                }
            }
        }
        self.counters.pending_bytes = 0;
        self.forget_cache();
        self.powered = false;
        self.planned = None;
        self.last_cut = Some(cut);
        cut
    }

    /// Plans a cut in the middle of the first write or flush after `requests` more of them.
    pub(super) fn cut_after(&mut self, requests: u64, seed: u64, mode: CutMode) {
        self.planned = Some(PlannedCut {
            left: requests,
            seed,
            mode,
        });
    }

    /// What the last cut did.
    pub(super) const fn last_cut(&self) -> Option<Cut> {
        self.last_cut
    }

    fn planned_cut_comes(&mut self) -> bool {
        let Some(planned) = &mut self.planned else {
            return false;
        };
        if planned.left > 0 {
            planned.left -= 1;
            return false;
        }
        let (seed, mode) = (planned.seed, planned.mode);
        self.cut(seed, mode);
        true
    }

    /// The power is back; what is durable is what there is, and neither error nor cut is to come.
    pub(super) fn power_on(&mut self) {
        self.powered = true;
        self.planned = None;
        self.faults = [None, None, None];
    }

    pub(super) const fn is_powered(&self) -> bool {
        self.powered
    }

    /// The next `count` requests of this kind that `target` means fail; 0 ends it. Replaces what was armed before.
    pub(super) fn fail(&mut self, kind: Kind, target: Target, count: u64) {
        self.faults[slot(kind)] = (count > 0).then_some(Fault { target, left: count });
    }

    /// How many of the errors armed for this kind are still to come.
    pub(super) fn armed(&self, kind: Kind) -> u64 {
        self.faults[slot(kind)].as_ref().map_or(0, |fault| fault.left)
    }

    /// Where `pattern` is on the medium.
    pub(super) fn find_durable(&self, pattern: &[u8]) -> Vec<u64> {
        self.durable.find(pattern)
    }

    /// Whether a write of `pattern` is in the cache while the medium has it nowhere.
    pub(super) fn is_only_cached(&self, pattern: &[u8]) -> bool {
        let mut places = self
            .pending
            .values()
            .flat_map(|pending| positions(&pending.data, pattern).map(|at| pending.offset + at))
            .peekable();
        // The last block of a log is written again with the same prefix: the common case is found in place.
        let mut there = vec![0; pattern.len()];
        let mut on_medium = |at| {
            self.durable.read(at, &mut there);
            there == pattern
        };
        places.peek().is_some() && !places.any(&mut on_medium) && self.durable.find(pattern).is_empty()
    }

    /// Turns one bit over, on the medium and in what is read. A pending write over it still wins.
    pub(super) fn flip_bit(&mut self, offset: u64, bit: u8) {
        let mut byte = [0];
        for image in [&mut self.durable, &mut self.current] {
            image.read(offset, &mut byte);
            image.write(offset, &[byte[0] ^ 1 << (bit % 8)]);
        }
    }

    fn tear(&mut self, pending: &Pending, unit: usize, random: &mut Random) {
        for (sector, at) in pending.data.chunks(unit).zip((pending.offset..).step_by(unit)) {
            if random.below(2) == 0 {
                self.durable.write(at, sector);
            }
        }
    }

    /// Reads give what is durable, and the writes that are still pending.
    fn forget_cache(&mut self) {
        self.current = self.durable.clone();
        for pending in self.pending.values() {
            self.current.write(pending.offset, &pending.data);
        }
    }

    fn strikes(&mut self, kind: Kind, data: &[&[u8]]) -> bool {
        let armed = &mut self.faults[slot(kind)];
        let Some(fault) = armed else {
            return false;
        };
        // A flush with nothing to flush is a flush all the same.
        let meant = fault.target == Target::Any || data.iter().any(|data| fault.target.matches(data));
        if meant {
            fault.left -= 1;
            if fault.left == 0 {
                *armed = None;
            }
            self.counters.failed += 1;
        }
        meant
    }
}

const fn slot(kind: Kind) -> usize {
    match kind {
        Kind::Read => 0,
        Kind::Write => 1,
        Kind::Flush => 2,
    }
}

fn length(data: &[u8]) -> u64 {
    u64::try_from(data.len()).expect("a length fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 1 << 20;

    fn write(device: &mut Device, offset: u64, byte: u8, length: usize) {
        let ticket = device.write(offset, &vec![byte; length]).unwrap();
        device.answered(ticket).unwrap();
    }

    fn flush(device: &mut Device) -> Result<(), Failed> {
        device.flush(&device.flush_arrives())
    }

    /// The byte at `offset` after a cut that loses everything in the cache.
    fn durable(mut device: Device, offset: u64) -> u8 {
        device.cut(0, CutMode::LoseAll);
        device.power_on();
        device.read(offset, 1).unwrap()[0]
    }

    #[test]
    fn a_cut_loses_what_no_flush_covered_and_nothing_else() {
        let mut device = Device::new(BYTES);
        write(&mut device, 0, 1, 8192);
        flush(&mut device).unwrap();
        write(&mut device, 4096, 2, 4096);
        assert_eq!(device.read(4096, 1).unwrap(), [2]);
        assert_eq!(device.counters().pending_bytes, 4096);
        let cut = device.cut(0, CutMode::LoseAll);
        assert_eq!((cut.kept, cut.torn, cut.lost), (0, 0, 1));
        assert_eq!(device.read(0, 1), Err(Failed));
        assert_eq!(device.write(0, &[9]), Err(Failed));
        device.power_on();
        assert_eq!(device.read(0, 8192).unwrap(), [1; 8192]);
    }

    #[test]
    fn a_flush_covers_only_writes_answered_before_it_came() {
        let mut device = Device::new(BYTES);
        let ticket = device.write(0, &[7; 512]).unwrap();
        let early = device.flush_arrives();
        device.answered(ticket).unwrap();
        device.flush(&early).unwrap();
        assert_eq!(durable(device, 0), 0);
    }

    #[test]
    fn a_random_cut_keeps_loses_and_tears_by_the_sector_and_repeats_by_its_seed() {
        let after = |seed| {
            let mut device = Device::new(BYTES);
            for number in 0..60 {
                write(&mut device, number * 8192, 1, 8192);
            }
            let cut = device.cut(seed, CutMode::Random);
            device.power_on();
            (cut, device.read(0, 60 * 8192).unwrap())
        };
        let (cut, bytes) = after(3);
        assert!(cut.kept > 5 && cut.torn > 5 && cut.lost > 5, "{cut:?}");
        let whole = |sector: &[u8]| sector.iter().all(|byte| *byte == sector[0]);
        assert!(bytes.chunks(SECTOR).all(whole), "a sector is never torn");
        assert_eq!(after(3), (cut, bytes));
        assert_ne!(after(3), after(4));
    }

    #[test]
    fn a_planned_cut_comes_in_the_middle_of_a_request() {
        let mut device = Device::new(BYTES);
        device.cut_after(2, 1, CutMode::LoseAll);
        write(&mut device, 0, 1, 512);
        flush(&mut device).unwrap();
        assert_eq!(device.write(512, &[2; 512]), Err(Failed));
        let lost = Cut {
            lost: 1,
            ..Cut::default()
        };
        assert_eq!((device.is_powered(), device.last_cut()), (false, Some(lost)));
        device.power_on();
        device.cut_after(1, 1, CutMode::LoseAll);
        write(&mut device, 512, 3, 512);
        assert_eq!(flush(&mut device), Err(Failed), "the flush is not carried out");
        device.power_on();
        assert_eq!(device.read(0, 1024).unwrap(), [[1; 512], [0; 512]].concat());
    }

    #[test]
    fn a_failed_flush_drops_the_cache_once_and_the_next_flush_says_nothing_of_it() {
        let mut device = Device::new(BYTES);
        write(&mut device, 0, 1, 512);
        flush(&mut device).unwrap();
        write(&mut device, 0, 2, 512);
        device.fail(Kind::Flush, Target::Any, 1);
        assert_eq!(flush(&mut device), Err(Failed));
        assert_eq!(flush(&mut device), Ok(()));
        assert_eq!(device.read(0, 1).unwrap(), [1]);
        assert_eq!(durable(device, 0), 1);
    }

    #[test]
    fn errors_strike_the_requests_they_are_meant_for() {
        let mut device = Device::new(BYTES);
        let pattern = Target::Containing(b"index".to_vec());
        device.fail(Kind::Write, pattern.clone(), 1);
        assert!(device.write(0, b"segment").is_ok());
        assert_eq!(device.write(512, b"an index"), Err(Failed));
        assert_eq!(device.armed(Kind::Write), 0);
        let ticket = device.write(512, b"an index").unwrap();
        device.fail(Kind::Flush, pattern.clone(), 1);
        assert_eq!(flush(&mut device), Ok(()), "it is not answered, so not covered");
        device.answered(ticket).unwrap();
        assert_eq!(flush(&mut device), Err(Failed));
        device.fail(Kind::Read, pattern, 1);
        assert!(
            device.read(0, 4096).is_ok(),
            "the index was dropped with the cache"
        );
        device.fail(Kind::Write, Target::Zeros, 1);
        assert!(device.write(0, &[0, 1]).is_ok());
        assert_eq!(device.write(0, &[0; 2]), Err(Failed));
        assert_eq!(device.counters().failed, 3);
    }

    #[test]
    fn bytes_in_the_cache_are_told_from_bytes_on_the_medium() {
        let mut device = Device::new(BYTES);
        assert!(!device.is_only_cached(b"value 1"));
        write(&mut device, 0, b'x', 100);
        let ticket = device.write(100, b"value 1").unwrap();
        device.answered(ticket).unwrap();
        assert!(device.is_only_cached(b"value 1"));
        flush(&mut device).unwrap();
        assert!(!device.is_only_cached(b"value 1"));
        // Written again, beside something new, as the last block of a log is.
        let ticket = device.write(100, b"value 1value 2").unwrap();
        device.answered(ticket).unwrap();
        assert!(!device.is_only_cached(b"value 1"));
        assert!(device.is_only_cached(b"value 2"));
        assert_eq!(device.find_durable(b"value"), [100]);
    }

    #[test]
    fn a_flipped_bit_is_read_and_stays() {
        let mut device = Device::new(BYTES);
        write(&mut device, 0, 0b1000, 512);
        flush(&mut device).unwrap();
        device.flip_bit(5, 3);
        assert_eq!(device.read(4, 3).unwrap(), [8, 0, 8]);
        assert_eq!(durable(device, 5), 0);
    }

    #[test]
    fn what_lies_beyond_the_end_is_refused_and_reads_are_cut_off_there() {
        let mut device = Device::new(BYTES);
        assert_eq!(device.write(BYTES - 1, &[1, 2]), Err(Failed));
        assert_eq!(device.write(u64::MAX, &[1]), Err(Failed));
        assert_eq!(device.read(BYTES - 1, 10).unwrap().len(), 1);
        assert_eq!(device.read(u64::MAX, 10).unwrap().len(), 0);
    }
}
