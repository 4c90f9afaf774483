//! `corelog log`: look into the files of a stopped server.
//!
//! **Promise.** Nothing is written, created, cut or repaired: what recovery would do is said, never done. A data directory
//! that a broker uses is refused, and no broker can start on one while it is looked at (the same kernel lock, shared).
//! Copies of segments and partitions elsewhere need no lock, no metadata and no server.
//!
//! Memory is bounded by one frame, opened: lists grow with partitions, never with frames.

mod deep;
mod dump;
mod files;
mod verify;

use super::args::LogCommand;
use super::{CliError, Streams};

pub(super) fn run(command: &LogCommand, streams: &mut Streams<'_>) -> Result<(), CliError> {
    match command {
        LogCommand::Dump {
            path,
            count,
            records,
            output,
        } => {
            let wanted = dump::Wanted {
                frames: count.unwrap_or(u64::MAX),
                records: if *records {
                    dump::Records::Shown
                } else {
                    dump::Records::Hidden
                },
                output: *output,
            };
            dump::run(path, wanted, streams)
        }
        LogCommand::Verify { path, deep, output } => {
            let depth = if *deep {
                verify::Depth::Records
            } else {
                verify::Depth::Frames
            };
            verify::run(path, depth, *output, streams)
        }
    }
}

#[cfg(test)]
mod tests;
