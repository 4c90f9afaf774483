//! What a proof came to: figures, verdict, witnesses; for people and for programs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::history::{Findings, History, Rule};
use super::moment::Account;

/// What can be said in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every promise held through everything that was done.
    Proven,
    /// A promise was broken; there are witnesses.
    Violated,
    /// Nothing was broken so far, and the run did not come to its end.
    Interrupted,
}

/// The figures of a proof.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// See [`Verdict`].
    pub verdict: Verdict,
    /// The verdict in one line.
    pub summary: String,
    /// Repeats the choices of the run.
    pub seed: u64,
    /// Rounds of load, strike, restart, and look.
    pub cycles: u64,
    /// Times the process was killed, those inside recovery included.
    pub kills: u64,
    /// Of those, times the power of its disk went with it.
    pub power_cuts: u64,
    /// Flushes that disk carried out; nothing where the disk is the machine's own.
    pub flushes: Option<u64>,
    /// What kills and cuts fell into.
    pub struck: Account,
    /// Records that producers were told are safe.
    pub acked: u64,
    /// Of those, records that were read where they have to be.
    pub found: u64,
    /// Of those, records that compaction replaced or DeleteRecords deleted before anybody read them.
    pub let_go: u64,
    /// Acknowledged and not there.
    pub lost: u64,
    /// There twice.
    pub duplicated: u64,
    /// There, and not where order wants them.
    pub out_of_order: u64,
    /// One offset, two contents.
    pub changed: u64,
    /// Reads that the broker could not answer.
    pub unreadable: u64,
    /// Every broken rule with how often.
    pub broken: BTreeMap<&'static str, u64>,
    /// Median time from the start of the process to readiness, in ms.
    pub restart_ms_median: u64,
    /// The longest.
    pub restart_ms_max: u64,
    /// Whole run, in seconds.
    pub seconds: f64,
    /// The first violation of each kind, in a sentence each.
    pub witnesses: Vec<String>,
    /// Where data, logs and this report are kept.
    pub kept: Option<PathBuf>,
}

/// What the prover counts as it goes.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) cycles: u64,
    pub(super) kills: u64,
    pub(super) power_cuts: u64,
    pub(super) flushes: Option<u64>,
    pub(super) struck: Account,
    pub(super) restarts_ms: Vec<u64>,
    pub(super) unreadable: u64,
    /// What went wrong beside the history: a broker that did not come back, a client that was let down.
    pub(super) trouble: Vec<String>,
}

impl Figures {
    /// The report of these figures and of what the judge found.
    pub(super) fn report(mut self, history: &History, found: &Findings, seed: u64, seconds: f64) -> Report {
        self.restarts_ms.sort_unstable();
        let count = |rules: &[Rule]| rules.iter().map(|rule| found.count(*rule)).sum::<u64>();
        let broken = found.counts().iter().map(|(rule, count)| (rule.name(), *count));
        let sound = found.is_empty() && self.trouble.is_empty() && self.unreadable == 0;
        let mut witnesses = self.trouble;
        witnesses.extend(found.witnesses().iter().map(ToString::to_string));
        let (acked, found_there) = (history.acked_count(), history.found_count());
        let lost = count(&[Rule::LostWrite, Rule::Unseen]);
        Report {
            verdict: if sound { Verdict::Proven } else { Verdict::Violated },
            summary: String::new(),
            seed,
            cycles: self.cycles,
            kills: self.kills,
            power_cuts: self.power_cuts,
            flushes: self.flushes,
            struck: self.struck,
            acked,
            found: found_there,
            let_go: acked.saturating_sub(found_there).saturating_sub(lost),
            lost,
            duplicated: count(&[Rule::Duplicate]),
            out_of_order: count(&[
                Rule::Disorder,
                Rule::NonmonotonicSend,
                Rule::RealTime,
                Rule::NonmonotonicPoll,
                Rule::IntNonmonotonicPoll,
            ]),
            changed: count(&[Rule::Changed, Rule::InconsistentOffsets]),
            unreadable: self.unreadable,
            broken: broken.collect(),
            restart_ms_median: median(&self.restarts_ms),
            restart_ms_max: self.restarts_ms.last().copied().unwrap_or(0),
            seconds,
            witnesses,
            kept: None,
        }
        .summed_up()
    }
}

impl Report {
    /// The same for a run that was ended from outside before it was done.
    pub(super) fn interrupted(mut self) -> Self {
        if self.verdict == Verdict::Proven {
            self.verdict = Verdict::Interrupted;
        }
        self.summed_up()
    }

    fn summed_up(mut self) -> Self {
        let strikes = match (self.kills - self.power_cuts, self.power_cuts) {
            (kills, 0) => format!("{kills} kills"),
            (0, cuts) => format!("{cuts} power cuts"),
            (kills, cuts) => format!("{kills} kills and {cuts} power cuts"),
        };
        let acked = self.acked;
        self.summary = match self.verdict {
            Verdict::Proven => {
                format!("proven: {acked} acknowledged records survived {strikes}; none lost, none changed")
            }
            Verdict::Violated => format!(
                "violated: after {strikes}, of {acked} acknowledged records {} are lost, {} duplicated, {} out of order, {} \
                 changed",
                self.lost, self.duplicated, self.out_of_order, self.changed
            ),
            Verdict::Interrupted => {
                format!("interrupted: {acked} acknowledged records survived {strikes} so far")
            }
        };
        self
    }
}

fn median(sorted: &[u64]) -> u64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::history::{Place, Value};
    use super::*;

    fn report(history: &History) -> Report {
        let figures = Figures {
            kills: 5,
            power_cuts: 2,
            restarts_ms: vec![30, 10, 20],
            ..Figures::default()
        };
        figures.report(history, &history.check_all(), 42, 1.5)
    }

    #[test]
    fn a_sound_history_is_proven() {
        let mut history = History::default();
        history.attempted(0, 1);
        history.acked(Place::new(0, 0), Value::new(0, 0));
        history.seen(Place::new(0, 0), Value::new(0, 0));
        let report = report(&history);
        assert_eq!(
            (report.verdict, report.acked, report.found),
            (Verdict::Proven, 1, 1)
        );
        assert_eq!((report.restart_ms_median, report.restart_ms_max), (20, 30));
        assert_eq!(
            report.summary,
            "proven: 1 acknowledged records survived 3 kills and 2 power cuts; none lost, none changed"
        );
        assert_eq!(report.interrupted().verdict, Verdict::Interrupted);
    }

    #[test]
    fn a_lost_record_is_a_violation_even_of_a_run_cut_short() {
        let mut history = History::default();
        history.attempted(0, 1);
        history.acked(Place::new(0, 0), Value::new(0, 0));
        let report = report(&history).interrupted();
        assert_eq!(
            (report.verdict, report.lost, report.found),
            (Verdict::Violated, 1, 0)
        );
        assert!(report.witnesses[0].contains("0:0"), "{:?}", report.witnesses);
        assert_eq!(report.broken, BTreeMap::from([("unseen", 1)]));
    }
}
