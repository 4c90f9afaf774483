//! `corelog serve`: from arguments to a configuration, a log output and the server.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::server::config::LogFormat;
use crate::server::{self, Config, ServeError};

use super::CliError;
use super::args::ServeArgs;
use super::config::load_for;

pub(super) fn run(args: &ServeArgs) -> Result<(), CliError> {
    let config = load_for(args)?.config;
    start_logging(&config)?;
    server::serve(&config).map_err(|error| match error {
        ServeError::Config(_) => CliError::Usage(error.to_string()),
        _ if error.is_disk_failure() => CliError::DiskFailed(error.to_string()),
        _ => CliError::failed(error),
    })
}

/// Sends log lines to stderr. May be called once in a process; later calls keep the first output.
fn start_logging(config: &Config) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(&config.log_level).map_err(|error| CliError::Usage(error.to_string()))?;
    let output = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let started = match config.log_format {
        LogFormat::Pretty => output.with_target(false).try_init(),
        LogFormat::Json => output.json().flatten_event(true).try_init(),
    };
    // Only a test that started logging first gets here with an error; its output is as good.
    drop(started);
    Ok(())
}
