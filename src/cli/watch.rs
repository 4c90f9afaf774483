//! `--watch`: what a command shows, shown again and again.
//!
//! Each round is gathered first and written in one piece, so that a terminal never shows half of it. On a terminal it
//! takes the place of the round before; a pipe gets one round after another. It ends when the reader goes away or a round fails.

use std::io::IsTerminal;

use super::args::Watch;
use super::{CliError, Streams};
use crate::client::kafka::pause;

/// Clears the terminal and puts the cursor into its corner.
const CLEAR: &[u8] = b"\x1b[2J\x1b[H";

/// Runs `show` once, or again and again.
pub(super) fn repeat(
    watch: Watch,
    streams: &mut Streams<'_>,
    mut show: impl FnMut(&mut Streams<'_>) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let Some(every) = watch.watch else {
        return show(streams);
    };
    let on_terminal = std::io::stdout().is_terminal();
    loop {
        let mut round = Vec::new();
        let shown = show(&mut Streams {
            input: streams.input,
            out: &mut round,
            err: streams.err,
        });
        if on_terminal {
            streams.out.write_all(CLEAR)?;
        }
        streams.out.write_all(&round)?;
        streams.out.flush()?;
        shown?;
        pause(every.get());
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::super::run_with;
    use super::*;
    use crate::client::kafka::peer::Peer;

    /// A reader that has seen enough after some rounds.
    struct Impatient(Vec<u8>, usize);

    impl Write for Impatient {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            self.1 = self.1.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(())
        }
    }

    #[test]
    fn rounds_follow_each_other_until_nobody_reads() {
        let peer = Peer::start();
        peer.create("t", 1);
        let (mut out, mut err) = (Impatient(Vec::new(), 2), Vec::new());
        let mut streams = Streams {
            input: &mut io::empty(),
            out: &mut out,
            err: &mut err,
        };
        let address = peer.address();
        let line = [
            "corelog",
            "topic",
            "describe",
            "t",
            "--watch=1ms",
            "--brokers",
            &address,
        ];
        assert_eq!(run_with(line.map(Into::into), &mut streams), 0);
        let text = String::from_utf8(out.0).unwrap();
        assert_eq!(
            text.matches("PARTITION").count(),
            3,
            "two rounds read, one refused: {text}"
        );
    }
}
