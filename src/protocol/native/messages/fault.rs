//! The error frame: a request that could not be answered as a whole, or a stream that cannot be trusted any more.
//!
//! The code is in the frame's head; the text says what in particular, for people. With [`ERROR_IS_FATAL`] the broker
//! closes the connection behind it. The correlation is the request's, or 0 when no request could be read. Any thread.

use super::{count_of, cut, open};
use crate::protocol::native::errors::ErrorCode;
use crate::protocol::native::frame::{Frame, FrameError, FrameWriter, Kind};
use crate::protocol::native::pod::{DecodeError, pod};

/// Flag: the connection ends here.
pub const ERROR_IS_FATAL: u16 = 1;

pod! {
    /// What precedes the text.
    ErrorHead 8 {
        /// Bytes of text.
        0 text_len: u32,
        reserved 4
    }
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorFrame<'a> {
    /// What went wrong.
    pub code: ErrorCode,
    /// Whether the connection ends here.
    pub fatal: bool,
    /// What in particular; may be empty.
    pub text: &'a str,
}

impl<'a> ErrorFrame<'a> {
    /// Appends the frame to `out`. A long text is cut.
    ///
    /// # Errors
    /// Never in practice: the frame is small.
    pub fn encode(&self, out: &mut Vec<u8>, correlation: u64) -> Result<(), FrameError> {
        let text = cut(self.text);
        let flags = if self.fatal { ERROR_IS_FATAL } else { 0 };
        let mut writer = FrameWriter::begin(out, Kind::Error, correlation)
            .with_flags(flags)
            .with_error(self.code);
        writer.pod(&ErrorHead {
            text_len: count_of(text.len()),
        });
        writer.bytes(text.as_bytes());
        writer.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::Error, ERROR_IS_FATAL)?;
        let head: ErrorHead = reader.pod()?;
        let text = reader.text(head.text_len as usize)?;
        reader.finish()?;
        Ok(Self {
            code: frame.head.error().unwrap_or(ErrorCode::Internal),
            fatal: frame.head.flags & ERROR_IS_FATAL != 0,
            text,
        })
    }
}
