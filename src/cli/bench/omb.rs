//! `corelog bench omb`: a workload file of the OpenMessaging Benchmark, driven by our engine.
//!
//! The files say what is sent and how; the command line says where, and may replace the lengths. What the files ask for
//! and will not happen is told before the run.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::load::{LoadArgs, judge, run_once, save};
use super::show;
use crate::base::units::TimeSpan;
use crate::bench::omb::{Acknowledged, Idempotent, KeyDistributor, OmbRun, Overrides};
use crate::bench::spec::{Keys, Kind, Rate, RunSpec};
use crate::bench::wire::Acks;
use crate::cli::{CliError, Streams};

/// `bench omb`.
#[derive(Debug, Args)]
pub struct OmbArgs {
    /// The workload
    #[arg(value_name = "FILE")]
    pub workload: PathBuf,
    /// The driver file, whose topic, producer and consumer settings count
    #[arg(long, value_name = "FILE")]
    pub driver: Option<PathBuf>,
    /// Where to run it; what the files say is taken from them.
    #[command(flatten)]
    pub load: LoadArgs,
}

pub(super) fn run(args: &OmbArgs, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let load = &args.load;
    let workload = text(&args.workload)?;
    let driver = args.driver.as_deref().map(text).transpose()?;
    let overrides = Overrides {
        duration: load.duration.map(TimeSpan::get),
        warmup: load.warmup.map(TimeSpan::get),
    };
    let asked = OmbRun::parse(&workload, driver.as_deref(), overrides).map_err(CliError::failed)?;
    for warning in &asked.warnings {
        writeln!(streams.err, "warning: {warning}")?;
    }
    let spec = spec(&asked, load);
    let outcome = run_once(&spec, load, &load.door()?, streams)?;
    show::run(&outcome.result, load.output, streams.out)?;
    if let Some(directory) = &load.out {
        let written = save(&outcome, directory)?;
        show::files(Some(directory), &written, streams.err)?;
    }
    judge(load, !outcome.result.verdict.valid)
}

fn text(path: &Path) -> Result<String, CliError> {
    fs::read_to_string(path).map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))
}

/// The run of the files at the place of the command line.
fn spec(asked: &OmbRun, load: &LoadArgs) -> RunSpec {
    let kind = if asked.subscriptions > 0 {
        Kind::E2e
    } else {
        Kind::Produce
    };
    let mut spec = load.spec(kind, Rate::new(asked.rate));
    if let (Some(first), true) = (spec.topic.names.first().cloned(), asked.topics > 1) {
        spec.topic.names = (0..asked.topics)
            .map(|number| format!("{first}-{number}"))
            .collect();
    }
    spec.topic.partitions = asked.partitions;
    spec.topic
        .settings
        .splice(0..0, asked.topic_settings.iter().cloned());
    spec.name = load.name.clone().unwrap_or_else(|| asked.name.clone());
    spec.size = asked.message_bytes;
    spec.keys = match asked.keys {
        KeyDistributor::None => Keys::None,
        KeyDistributor::RoundRobin => Keys::RoundRobin,
        KeyDistributor::Random => Keys::Random,
    };
    spec.producers = asked.producers;
    spec.fanout = asked.subscriptions.max(1);
    spec.consumers = asked.consumers.max(1);
    spec.duration = asked.duration;
    spec.warmup = asked.warmup;
    spec.acks = match asked.acknowledged {
        Acknowledged::Never => Acks::None,
        Acknowledged::Always => Acks::All,
    };
    spec.idempotent = asked.idempotent == Idempotent::Yes;
    spec.linger = asked.linger;
    spec.batch_bytes = asked.batch_bytes;
    spec.in_flight = asked.in_flight;
    spec.fetch_bytes = asked.fetch_bytes;
    spec.fetch_wait = asked.fetch_wait;
    spec
}
