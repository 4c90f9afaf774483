//! `corelog bench`: the laboratory. Runs and sweeps against any broker, what the machine does without one, and what the
//! results say together.
//!
//! A run prints a line each second to stderr and its table to stdout; with `-o json` both are NDJSON on stdout. An
//! invalid run says so loudly and still exits with 0, unless `--strict`.

mod compare;
mod floor;
mod load;
mod omb;
mod report;
mod show;
mod sweep;

use clap::Subcommand;

use super::{CliError, Streams};

pub use compare::{CompareArgs, Percent};
pub use floor::FloorArgs;
pub use load::{AcksArg, ConsumeLoad, CoreNumbers, KeysArg, LoadArgs, Protocol, RunArgs};
pub use omb::OmbArgs;
pub use report::ReportArgs;
pub use sweep::SweepArgs;

/// What to measure or to look at.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Send at a rate and measure from the intended send to the acknowledgement
    Produce(Box<RunArgs>),
    /// Read what a topic holds and measure how fast it comes
    Consume(Box<ConsumeLoad>),
    /// Send and read: measure from the intended send to the consumer
    E2e(Box<RunArgs>),
    /// Find the highest rate that keeps an objective
    Sweep(Box<SweepArgs>),
    /// Run a workload file of the OpenMessaging Benchmark
    Omb(Box<OmbArgs>),
    /// Measure what the machine does without a broker
    Floor(FloorArgs),
    /// Compare runs
    Compare(CompareArgs),
    /// Draw runs, sweeps and floors as one page
    Report(ReportArgs),
}

pub(super) fn run(command: &BenchCommand, streams: &mut Streams<'_>) -> Result<(), CliError> {
    match command {
        BenchCommand::Produce(args) => load::produce(args, streams),
        BenchCommand::Consume(args) => load::consume(args, streams),
        BenchCommand::E2e(args) => load::e2e(args, streams),
        BenchCommand::Sweep(args) => sweep::run(args, streams),
        BenchCommand::Omb(args) => omb::run(args, streams),
        BenchCommand::Floor(args) => floor::run(args, streams),
        BenchCommand::Compare(args) => compare::run(args, streams),
        BenchCommand::Report(args) => report::run(args, streams),
    }
}
