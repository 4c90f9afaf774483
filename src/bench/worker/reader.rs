//! One consumer's connection: what arrived, when, and whether it was the next.

use crate::bench::ledger::{Ledger, Sighting};
use crate::bench::payload::Stamp;
use crate::bench::record::{Measure, Recorder};
use crate::bench::spec::Kind;

/// The reader.
#[derive(Debug)]
pub(super) struct Reader {
    kind: Kind,
    group: usize,
    run: u32,
    /// When data came last.
    last_ns: Option<u64>,
}

impl Reader {
    pub(super) const fn new(kind: Kind, group: usize, run: u32) -> Self {
        Self {
            kind,
            group,
            run,
            last_ns: None,
        }
    }

    /// Takes a message that arrived at `now`. True if it counts: in an end-to-end run those of this run that come for the
    /// first time, in a run of consumers all.
    pub(super) fn take(
        &self,
        value: &[u8],
        now_ns: u64,
        recorder: &mut Recorder,
        ledgers: &mut [Ledger],
    ) -> bool {
        let counts = &mut recorder.current.counts;
        if self.kind == Kind::Consume {
            counts.received += 1;
            counts.received_bytes += value.len() as u64;
            return true;
        }
        let Some(stamp) = Stamp::read(value).filter(|stamp| stamp.run == self.run) else {
            return false;
        };
        match ledgers[self.group].see(stamp.producer, stamp.sequence) {
            Sighting::Foreign | Sighting::Again => false,
            Sighting::New => {
                counts.received += 1;
                counts.received_bytes += value.len() as u64;
                recorder.received(stamp.intended_ns, now_ns);
                true
            }
        }
    }

    /// In a run of consumers: records how long this connection waited for data, which came at `now`.
    pub(super) fn arrived(&mut self, now_ns: u64, recorder: &mut Recorder) {
        if self.kind == Kind::Consume {
            if let Some(last_ns) = self.last_ns {
                recorder
                    .current
                    .histograms
                    .record(Measure::Service, now_ns - last_ns, 1);
            }
            self.last_ns = Some(now_ns);
        }
    }
}
