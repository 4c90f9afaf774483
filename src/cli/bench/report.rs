//! `corelog bench report`: runs, sweeps and floors as one page.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use crate::bench::omb::{OMB_FILE, result_json};
use crate::bench::report::{REPORT_FILE, Report};
use crate::bench::result::{RESULT_FILE, RunResult, write_json};
use crate::cli::{CliError, Streams};

/// `bench report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Directories of runs, repeats, sweeps or floors
    #[arg(required = true, value_name = "DIR")]
    pub directories: Vec<PathBuf>,
    /// The page to write; report.html in the first directory if not given
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Also write omb.json beside each result, for the OpenMessaging Benchmark's charts
    #[arg(long)]
    pub omb: bool,
}

/// Reads, draws and writes.
pub(super) fn run(args: &ReportArgs, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let report = Report::read(&args.directories).map_err(CliError::failed)?;
    let html = report.html().map_err(CliError::failed)?;
    let first = args
        .directories
        .first()
        .map(|directory| directory.join(REPORT_FILE));
    let Some(path) = args.out.clone().or(first) else {
        return Err(CliError::Usage("name a directory".to_owned()));
    };
    fs::write(&path, html).map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))?;
    writeln!(streams.err, "wrote {}", path.display())?;
    if args.omb {
        for directory in args
            .directories
            .iter()
            .filter(|directory| directory.join(RESULT_FILE).is_file())
        {
            let run = RunResult::read(directory).map_err(CliError::failed)?;
            let value = result_json(&run).map_err(CliError::failed)?;
            write_json(directory, OMB_FILE, &value).map_err(CliError::failed)?;
            writeln!(streams.err, "wrote {}", directory.join(OMB_FILE).display())?;
        }
    }
    Ok(())
}
