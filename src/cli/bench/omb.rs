//! `corelog bench omb`: a workload of the OpenMessaging Benchmark as a run of ours.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::base::units::TimeSpan;
use crate::bench::omb::{OmbRun, Overrides};
use crate::cli::{CliError, Streams};

/// The files of `bench omb`, and what replaces parts of them.
#[derive(Debug, Args)]
pub struct OmbArgs {
    /// The workload file
    #[arg(value_name = "WORKLOAD.yaml")]
    pub workload: PathBuf,
    /// The driver file: topic, producer and consumer settings by their Kafka names
    #[arg(long, value_name = "DRIVER.yaml")]
    pub driver: Option<PathBuf>,
    /// Instead of testDurationMinutes
    #[arg(long, value_name = "TIME")]
    pub duration: Option<TimeSpan>,
    /// Instead of warmupDurationMinutes
    #[arg(long, value_name = "TIME")]
    pub warmup: Option<TimeSpan>,
}

/// Reads the files and says what of them will not happen.
pub(super) fn read(args: &OmbArgs, streams: &mut Streams<'_>) -> Result<OmbRun, CliError> {
    let workload = text(&args.workload)?;
    let driver = args.driver.as_deref().map(text).transpose()?;
    let overrides = Overrides {
        duration: args.duration.map(TimeSpan::get),
        warmup: args.warmup.map(TimeSpan::get),
    };
    let run = OmbRun::parse(&workload, driver.as_deref(), overrides).map_err(CliError::failed)?;
    for warning in &run.warnings {
        writeln!(streams.err, "warning: {warning}")?;
    }
    Ok(run)
}

/// The largest workload or driver file that is read: they are a page long.
const FILE_BYTES_MAX: u64 = 1 << 20;

fn text(path: &Path) -> Result<String, CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::Failed(format!("{}: {error}", path.display()));
    let size = fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed(&format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    fs::read_to_string(path).map_err(|error| failed(&error))
}
