//! The grammar of `corelog prove`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::base::units::TimeSpan;

use super::OutputFormat;

/// `prove`.
#[derive(Debug, Args)]
#[command(after_help = PROVE_HELP)]
pub struct ProveArgs {
    /// Where to prove it: a directory on the disk that matters; a new directory in it is used and removed
    #[arg(default_value = ".")]
    pub directory: PathBuf,
    /// Stop after so many cycles of load, strike, restart and check
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "time")]
    pub cycles: u64,
    /// Go on for so long instead
    #[arg(long = "for", value_name = "TIME")]
    pub time: Option<TimeSpan>,
    /// Makes the choices of an earlier run again
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Shards of the broker
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub shards: u16,
    /// Records a second that are sent in all, about
    #[arg(long, value_name = "N", default_value_t = 6000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// One setting of the broker, such as runtime.write_sync=link; may be given many times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// What the topics promise: with `relaxed` a proof must fail
    #[arg(long, value_enum, default_value_t = DurabilityArg::Default)]
    pub durability: DurabilityArg,
    /// Cut the power of the broker's disk as well: an ext4 or XFS in memory, mounted below the directory. Needs root and FUSE
    #[arg(long, value_name = "FILE_SYSTEM", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "ext4")]
    pub power_cuts: Option<FileSystemArg>,
    /// Keep data and logs even if nothing broke
    #[arg(long)]
    pub keep: bool,
    /// Claim an acknowledgement that never was, to see that it is found: must exit with 1
    #[arg(long)]
    pub self_test: bool,
    /// How to print the figures
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table, alias = "format")]
    pub output: OutputFormat,
}

/// What topics promise when they acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DurabilityArg {
    /// What the settings say: on the disk
    Default,
    /// In memory
    Relaxed,
}

/// What is on the disk that loses its power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileSystemArg {
    /// As mkfs.ext4 makes it
    Ext4,
    /// As mkfs.xfs makes it
    Xfs,
}

const PROVE_HELP: &str = "\
Exit codes: 0 proven, 1 violated (data, logs and witnesses are kept), 2 used wrongly, 3 could not be tried or was
interrupted.

A killed process leaves the kernel's cache alone: kills find faults of state and order on your disk. A missing sync shows
only when the power goes: --power-cuts proves the broker's part of that, on a disk of its own.";
