//! The opening of a connection and of its one channel, for producers, consumers and the door's own line.
//!
//! `protocol header, Start, StartOk, Tune, TuneOk, Open, OpenOk, channel Open, OpenOk`. Heartbeats are declined: a run
//! is short, and the generator notices silence.

use super::frame::{Fields, Method, OVERHEAD_BYTES, put_long, put_method, put_short};
use crate::bench::wire::Broken;

/// The only channel of a connection.
pub(super) const CHANNEL: u16 = 1;
/// The largest frame we ask for; the server may want smaller.
const FRAME_BYTES_MAX: u32 = 128 * 1024;
/// Smallest frame size the protocol allows.
const FRAME_BYTES_MIN: u32 = 4096;
/// Highest channel we ask for; some servers take 0 for no limit, others for none.
const CHANNEL_MAX: u16 = 16;
/// User and password every fresh server lets in from its own machine.
const PLAIN_LOGIN: &[u8] = b"\0guest\0guest";

const CONNECTION_START: Method = Method(10, 10);
const CONNECTION_START_OK: Method = Method(10, 11);
const CONNECTION_TUNE: Method = Method(10, 30);
const CONNECTION_TUNE_OK: Method = Method(10, 31);
const CONNECTION_OPEN: Method = Method(10, 40);
const CONNECTION_OPEN_OK: Method = Method(10, 41);
const CONNECTION_CLOSE: Method = Method(10, 50);
const CHANNEL_OPEN: Method = Method(20, 10);
const CHANNEL_OPEN_OK: Method = Method(20, 11);
const CHANNEL_CLOSE: Method = Method(20, 40);

/// How far the opening has come.
#[derive(Debug)]
pub(super) struct Handshake {
    expected: Option<Method>,
    frame_bytes: u32,
}

impl Handshake {
    /// Appends the first bytes of a connection.
    pub(super) fn open(out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(b"AMQP\0\0\x09\x01");
        Self {
            expected: Some(CONNECTION_START),
            frame_bytes: FRAME_BYTES_MAX,
        }
    }

    /// Whether the channel is open.
    pub(super) const fn is_done(&self) -> bool {
        self.expected.is_none()
    }

    /// How much of a message fits into a frame that both sides take.
    fn piece_bytes(&self) -> usize {
        usize::try_from(self.frame_bytes).map_or(usize::MAX, |bytes| bytes - OVERHEAD_BYTES)
    }

    /// Takes the server's next method and appends the answer.
    pub(super) fn take(
        &mut self,
        method: Method,
        fields: &mut Fields<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        if Some(method) != self.expected {
            return Err(Broken(format!(
                "{method:?} where {:?} was expected",
                self.expected
            )));
        }
        self.expected = match method {
            CONNECTION_START => {
                put_method(out, 0, CONNECTION_START_OK, |out| {
                    put_long(out, b"");
                    put_short(out, b"PLAIN");
                    put_long(out, PLAIN_LOGIN);
                    put_short(out, b"en_US");
                });
                Some(CONNECTION_TUNE)
            }
            CONNECTION_TUNE => {
                self.tune(fields, out)?;
                Some(CONNECTION_OPEN_OK)
            }
            CONNECTION_OPEN_OK => {
                put_method(out, CHANNEL, CHANNEL_OPEN, |out| put_short(out, b""));
                Some(CHANNEL_OPEN_OK)
            }
            _ => None,
        };
        Ok(())
    }

    fn tune(&mut self, fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
        let _channels = fields.u16()?;
        let frame_bytes = fields.u32()?;
        // Zero is no limit.
        if frame_bytes != 0 {
            self.frame_bytes = frame_bytes.clamp(FRAME_BYTES_MIN, FRAME_BYTES_MAX);
        }
        put_method(out, 0, CONNECTION_TUNE_OK, |out| {
            out.extend_from_slice(&CHANNEL_MAX.to_be_bytes());
            out.extend_from_slice(&self.frame_bytes.to_be_bytes());
            out.extend_from_slice(&0u16.to_be_bytes());
        });
        put_method(out, 0, CONNECTION_OPEN, |out| {
            put_short(out, b"/");
            put_short(out, b"");
            out.push(0);
        });
        Ok(())
    }
}

/// Where the opening is, after a method of the server.
#[derive(Debug)]
pub(super) enum Progress {
    /// The method was part of it; more are to come.
    Opening,
    /// The method ended it.
    Opened {
        /// How much of a message fits into a frame.
        piece_bytes: usize,
    },
    /// It was over before: the method means something else.
    Open,
}

/// Lets the opening take `method` if it is not over.
pub(super) fn advance(
    handshake: &mut Option<Handshake>,
    method: Method,
    fields: &mut Fields<'_>,
    out: &mut Vec<u8>,
) -> Result<Progress, Broken> {
    let handshake = handshake
        .as_mut()
        .ok_or_else(|| Broken("a method before there is a conversation".to_owned()))?;
    if handshake.is_done() {
        return Ok(Progress::Open);
    }
    handshake.take(method, fields, out)?;
    Ok(if handshake.is_done() {
        Progress::Opened {
            piece_bytes: handshake.piece_bytes(),
        }
    } else {
        Progress::Opening
    })
}

/// What the server says when it closes the connection or the channel: the end, with its reason.
pub(super) fn refuse_close(method: Method, fields: &mut Fields<'_>) -> Result<(), Broken> {
    if method != CONNECTION_CLOSE && method != CHANNEL_CLOSE {
        return Ok(());
    }
    let code = fields.u16()?;
    let text = String::from_utf8_lossy(fields.short()?).into_owned();
    Err(Broken(format!("the server closes: {code} {text}")))
}
