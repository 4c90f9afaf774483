//! What goes wrong in a run, drawn from its seed: the faults that last for all of the storm, and the troubles that come one
//! after another.
//!
//! Swarm style: each seed first draws which kinds of trouble it knows at all, so that some runs are all kills and others all
//! slow disks, and rare combinations come about.

use std::time::Duration;

use super::scenario::Profile;
use crate::runtime::sim::{DiskFaults, NetFaults, Random};

/// A kind of trouble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Kill,
    PowerCut,
    CleanStop,
    KillInStop,
    KillInStart,
    PowerCutInStart,
    FailingWrites,
    FailingSyncs,
    FailingReads,
    FullDisk,
    SlowDisk,
    BrokenConnections,
    Stall,
    ClockJump,
    Reshard,
    /// A bit of a segment turns. In runs of its own only: what it takes away is told apart from what is lost.
    Rot,
    /// A block of a segment was written where another is. As with rot, in runs of its own.
    Stray,
}

impl Kind {
    const ALL: [Self; 15] = [
        Self::Kill,
        Self::PowerCut,
        Self::CleanStop,
        Self::KillInStop,
        Self::KillInStart,
        Self::PowerCutInStart,
        Self::FailingWrites,
        Self::FailingSyncs,
        Self::FailingReads,
        Self::FullDisk,
        Self::SlowDisk,
        Self::BrokenConnections,
        Self::Stall,
        Self::ClockJump,
        Self::Reshard,
    ];

    /// Its name among the marks.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kills",
            Self::PowerCut => "power cuts",
            Self::CleanStop => "clean stops",
            Self::KillInStop => "kills in a stop",
            Self::KillInStart => "kills in a start",
            Self::PowerCutInStart => "power cuts in a start",
            Self::FailingWrites => "failing writes",
            Self::FailingSyncs => "failing syncs",
            Self::FailingReads => "failing reads",
            Self::FullDisk => "full disks",
            Self::SlowDisk => "slow disks",
            Self::BrokenConnections => "broken connections",
            Self::Stall => "stalls",
            Self::ClockJump => "clock jumps",
            Self::Reshard => "other numbers of shards",
            Self::Rot => "rotten frames",
            Self::Stray => "stray blocks",
        }
    }
}

/// One trouble.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    /// Quiet before it.
    pub(super) after: Duration,
    /// How long it lasts; for a crash, how long the broker is down.
    pub(super) lasts: Duration,
    /// For whatever it has to choose.
    pub(super) choice: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Plague {
    pub(super) disk: DiskFaults,
    pub(super) net: NetFaults,
    pub(super) troubles: Vec<Trouble>,
}

impl Plague {
    pub(super) fn draw(dice: &mut Random, profile: Profile) -> Self {
        let all: &[Kind] = match profile {
            Profile::Rot => &[
                Kind::Rot,
                Kind::Rot,
                Kind::Kill,
                Kind::PowerCut,
                Kind::CleanStop,
                Kind::Reshard,
            ],
            Profile::Stray => &[
                Kind::Stray,
                Kind::Stray,
                Kind::Rot,
                Kind::Kill,
                Kind::PowerCut,
                Kind::CleanStop,
                Kind::Reshard,
            ],
            _ => &Kind::ALL,
        };
        let known: Vec<Kind> = all.iter().copied().filter(|_| dice.one_in(2)).collect();
        let known = if known.is_empty() {
            vec![Kind::PowerCut]
        } else {
            known
        };
        let size = profile.size();
        let count = size.troubles / 3 + dice.index(size.troubles);
        let troubles = (0..count).map(|_| draw_trouble(dice, &known)).collect();
        let mut disk = DiskFaults::default();
        if dice.one_in(4) {
            disk.slow = 50;
        }
        let mut net = NetFaults::default();
        if dice.one_in(4) {
            net.reset = 400;
        }
        if dice.one_in(4) {
            net.delay = Duration::from_micros(50)..Duration::from_millis(8);
        }
        Self { disk, net, troubles }
    }

    /// The same troubles, all of these kinds.
    pub(super) fn only(mut self, dice: &mut Random, kinds: &[Kind]) -> Self {
        for trouble in &mut self.troubles {
            trouble.kind = kinds[dice.index(kinds.len())];
        }
        self
    }
}

fn draw_trouble(dice: &mut Random, known: &[Kind]) -> Trouble {
    let kind = known[dice.index(known.len())];
    let brief = dice.one_in(2);
    let after = if brief { 1_000..60_000 } else { 60_000..500_000 };
    Trouble {
        kind,
        after: Duration::from_micros(dice.within(after)),
        lasts: Duration::from_micros(dice.within(1_000..400_000)),
        choice: dice.next(),
    }
}
