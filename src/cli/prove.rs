//! `corelog prove`: the user's own proof, on the user's own disk. `crate::proof` does it; here are arguments and figures.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::args::{DurabilityArg, FileSystemArg, ProveArgs};
use super::output::{Description, print_described};
use super::{CliError, Streams};
use crate::proof::fault_disk::{FaultDisk, FileSystem};
use crate::proof::interrupt::Interrupt;
use crate::proof::moment::Moment;
use crate::proof::prover::{After, Durability, ProveOptions, Strikes, Trial, Until, prove};
use crate::proof::report::{Report, Verdict};

pub(super) fn run(args: &ProveArgs, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let unable = |error: &dyn std::fmt::Display| CliError::Unable(error.to_string());
    let interrupt = Interrupt::on_signals().map_err(|error| unable(&error))?;
    let mut options = options(args).map_err(|error| unable(&error))?;
    if let Strikes::PowerCuts(file_system) = options.strikes
        && let Err(obstacle) = FaultDisk::probe(file_system)
    {
        writeln!(
            streams.err,
            "no power can be cut here, so the broker is only killed: {obstacle}"
        )?;
        options.strikes = Strikes::Kills;
    }
    writeln!(streams.err, "seed {}", options.seed)?;
    let mut tell = |line: &str| {
        // Progress that nobody sees is no reason to stop proving.
        let _told = writeln!(streams.err, "{line}");
    };
    let report = prove(&options, &interrupt, &mut tell).map_err(|error| unable(&error))?;
    print_described(std::slice::from_ref(&report), args.output, streams.out)?;
    streams.out.flush()?;
    let again = format!("seed {}", report.seed);
    match report.verdict {
        Verdict::Proven => Ok(()),
        Verdict::Violated => Err(CliError::Failed(format!("{} ({again})", report.summary))),
        Verdict::Interrupted => Err(CliError::Unable(format!("{} ({again})", report.summary))),
    }
}

fn options(args: &ProveArgs) -> std::io::Result<ProveOptions> {
    Ok(ProveOptions {
        program: std::env::current_exe()?,
        // The broker must find it wherever it was started.
        directory: args.directory.canonicalize()?,
        until: args
            .time
            .map_or(Until::Cycles(args.cycles), |time| Until::Time(time.get())),
        seed: args.seed.unwrap_or_else(fresh_seed),
        shards: args.shards,
        rate: args.rate,
        settings: args.set.clone(),
        durability: match args.durability {
            DurabilityArg::Default => Durability::Default,
            DurabilityArg::Relaxed => Durability::Relaxed,
        },
        strikes: match args.power_cuts {
            None => Strikes::Kills,
            Some(FileSystemArg::Ext4) => Strikes::PowerCuts(FileSystem::Ext4),
            Some(FileSystemArg::Xfs) => Strikes::PowerCuts(FileSystem::Xfs),
        },
        after: if args.keep { After::Keep } else { After::Remove },
        trial: if args.self_test {
            Trial::FalseAcknowledgement
        } else {
            Trial::None
        },
    })
}

/// A seed that no other run of today has.
#[expect(
    clippy::disallowed_methods,
    reason = "a seed that nobody gave comes from the clock, once"
)]
fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mixed = u64::from(since.subsec_nanos()) ^ since.as_secs().rotate_left(32);
    // Short enough to be typed.
    (mixed ^ u64::from(std::process::id()).rotate_left(20)) % SEEDS
}

const SEEDS: u64 = 1_000_000_000;

impl Description for Report {
    fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|error| json!({ "error": error.to_string() }))
    }

    fn print(&self, out: &mut dyn Write) -> Result<(), CliError> {
        let figures = [
            ("acknowledged", self.acked),
            ("found", self.found),
            ("let go by compaction and deletion", self.let_go),
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("out of order", self.out_of_order),
            ("changed", self.changed),
            ("unreadable", self.unreadable),
            ("cycles", self.cycles),
            ("kills", self.kills),
            ("power cuts", self.power_cuts),
            ("ready after a restart, median ms", self.restart_ms_median),
            ("ready after a restart, longest ms", self.restart_ms_max),
            ("seed", self.seed),
        ];
        for (what, figure) in figures {
            writeln!(out, "{what:<36}{figure}")?;
        }
        if let Some(flushes) = self.flushes {
            writeln!(out, "{:<36}{flushes}", "flushes of its disk")?;
        }
        for moment in Moment::ALL {
            let what = format!("struck during {}", moment.name());
            writeln!(out, "{what:<36}{}", self.struck.of(moment))?;
        }
        for witness in &self.witnesses {
            writeln!(out, "witness: {witness}")?;
        }
        if let Some(kept) = &self.kept {
            writeln!(out, "kept in {}", kept.display())?;
        }
        writeln!(out, "{} in {:.1} s", self.summary, self.seconds)?;
        Ok(())
    }
}
