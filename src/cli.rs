//! The command line: one binary that is the server, its client and its tools.
//!
//! Data goes to stdout and everything else to stderr, so that a pipe carries records and nothing but records.
//! Exit codes: 0 done, 1 failed, 2 used wrongly (arguments or configuration), 3 could not be tried (`prove`). A reader that goes away
//! (`corelog consume t | head`) is not a failure.
//!
//! Every command is a function of its arguments and of [`Streams`], so that tests run it without a process. The
//! client commands talk to any Kafka broker through [`crate::client::kafka`], with blocking sockets and no runtime: a command
//! line has one thing to do at a time.

pub mod args;
pub mod bench;
mod config;
mod consume;
pub mod format;
mod generate;
mod group;
mod log;
mod moment;
mod output;
mod produce;
mod prove;
mod serve;
mod topic;
mod version;
mod watch;

use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

/// Runs the command in this process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    // Big enough that a file goes in big batches; standard input hands such reads straight through.
    let mut input = io::BufReader::with_capacity(INPUT_BYTES, io::stdin().lock());
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut err = io::stderr();
    let mut streams = Streams {
        input: &mut input,
        out: &mut out,
        err: &mut err,
    };
    ExitCode::from(run_with(std::env::args_os(), &mut streams))
}

/// Where a command reads and writes.
pub struct Streams<'a> {
    /// Records to produce.
    pub input: &'a mut dyn BufRead,
    /// Data.
    pub out: &'a mut dyn Write,
    /// Errors, progress and logs.
    pub err: &'a mut dyn Write,
}

impl std::fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Streams")
    }
}

/// Runs the command in `arguments` (the first is the program's name) and gives its exit code.
pub fn run_with(arguments: impl IntoIterator<Item = OsString>, streams: &mut Streams<'_>) -> u8 {
    let outcome = match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli.command, streams),
        Err(answer) => return print_usage(&answer, streams),
    };
    let outcome = outcome.and_then(|()| streams.out.flush().map_err(CliError::from));
    match outcome {
        Ok(()) | Err(CliError::ReaderGone) => EXIT_OK,
        Err(error) => {
            // With stderr gone as well there is nobody left to tell; the exit code still says it.
            let _told = writeln!(streams.err, "error: {error}");
            error.exit_code()
        }
    }
}

fn dispatch(command: Command, streams: &mut Streams<'_>) -> Result<(), CliError> {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Config { command } => config::run(&command, streams),
        Command::Topic { command } => topic::run(&command, streams),
        Command::Group { command } => group::run(&command, streams),
        Command::Prove(args) => prove::run(&args, streams),
        Command::Generate { command } => generate::run(&command, streams),
        Command::Produce(args) => produce::run(&args, streams),
        Command::Consume(args) => consume::run(&args, streams),
        Command::Log { command } => log::run(&command, streams),
        Command::Bench { command } => bench::run(&command, streams),
        Command::Version { output } => version::run(output, streams),
    }
}

/// Help and version are answers, everything else is a mistake; clap knows which stream each belongs to.
fn print_usage(answer: &clap::Error, streams: &mut Streams<'_>) -> u8 {
    let text = answer.render();
    let (stream, code) = if answer.use_stderr() {
        (&mut *streams.err, EXIT_USAGE)
    } else {
        (&mut *streams.out, EXIT_OK)
    };
    let _told = write!(stream, "{text}").and_then(|()| stream.flush());
    code
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// It was asked for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// It tried and failed.
    #[error("{0}")]
    Failed(String),
    /// The disk failed under the broker.
    #[error("{0}")]
    DiskFailed(String),
    /// It could not even be tried, or not to its end: nothing is known.
    #[error("{0}")]
    Unable(String),
    /// Nobody reads the output any more.
    #[error("the reader of the output went away")]
    ReaderGone,
}

impl CliError {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Failed(_) => EXIT_FAILED,
            Self::DiskFailed(_) => crate::server::bootstrap::EXIT_DISK_FAILED,
            Self::Unable(_) => EXIT_UNABLE,
            Self::ReaderGone => EXIT_OK,
        }
    }
}

impl From<crate::client::kafka::ClientError> for CliError {
    fn from(error: crate::client::kafka::ClientError) -> Self {
        match error {
            crate::client::kafka::ClientError::Output(error) => Self::from(error),
            error => Self::failed(error),
        }
    }
}

impl From<io::Error> for CliError {
    /// Only writing to our own streams converts by itself; other I/O is described where it happens.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }
}

/// Bytes read from standard input at once.
const INPUT_BYTES: usize = 1 << 20;
const EXIT_OK: u8 = 0;
const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_UNABLE: u8 = 3;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Exit code, stdout and stderr of a command line, `corelog` not included.
    pub(crate) fn corelog(arguments: &[&str], input: &str) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut streams = Streams {
            input: &mut input.as_bytes(),
            out: &mut out,
            err: &mut err,
        };
        let arguments = ["corelog"].iter().chain(arguments).map(OsString::from);
        let code = run_with(arguments, &mut streams);
        (
            code,
            String::from_utf8_lossy(&out).into_owned(),
            String::from_utf8_lossy(&err).into_owned(),
        )
    }

    #[test]
    fn help_is_data_and_mistakes_are_not() {
        let (code, out, err) = corelog(&["--help"], "");
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains("serve") && out.contains("consume"), "{out}");

        let (code, out, err) = corelog(&["sreve"], "");
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains("serve"), "{err}");
    }

    #[test]
    fn a_reader_that_goes_away_is_no_failure() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut err = Vec::new();
        let mut streams = Streams {
            input: &mut io::empty(),
            out: &mut Gone,
            err: &mut err,
        };
        let arguments = ["corelog", "config", "default"].map(OsString::from);
        assert_eq!(run_with(arguments, &mut streams), 0);
        assert!(err.is_empty());
    }
}
