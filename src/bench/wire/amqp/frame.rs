//! AMQP 0-9-1 frames: a type, a channel, a length, so many bytes, and an end mark; and the values inside them.
//!
//! A method's arguments are read with [`Fields`], which never reads past its bytes, and written with the `put_`
//! functions into a frame whose length is filled in when it is closed.

use crate::bench::wire::Broken;

/// Kind of a frame that carries a method.
pub(super) const FRAME_METHOD: u8 = 1;
/// Kind of the frame that tells a message's size and properties.
pub(super) const FRAME_HEADER: u8 = 2;
/// Kind of a frame that carries a piece of a message.
pub(super) const FRAME_BODY: u8 = 3;
/// Kind of a frame that only says somebody is there.
pub(super) const FRAME_HEARTBEAT: u8 = 8;
/// Last byte of every frame.
const FRAME_END: u8 = 0xce;
/// Kind, channel and length.
const HEAD_BYTES: usize = 7;
/// Bytes of a frame that are not its payload.
pub(super) const OVERHEAD_BYTES: usize = HEAD_BYTES + 1;
/// Longest payload we accept; servers offer 128 KiB frames.
const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One frame of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) channel: u16,
    pub(super) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame of `input` and its length, or none while it is incomplete.
    pub(super) fn read(input: &'a [u8]) -> Result<Option<(Self, usize)>, Broken> {
        if input.first() == Some(&b'A') {
            return Err(Broken("the server speaks another version of AMQP".to_owned()));
        }
        let Some(head) = input.first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let [kind, channel_high, channel_low, length @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes(length))
            .ok()
            .filter(|length| *length <= PAYLOAD_BYTES_MAX)
            .ok_or_else(|| Broken("an endless frame".to_owned()))?;
        let end = HEAD_BYTES + length;
        match input.get(end) {
            None => Ok(None),
            Some(&FRAME_END) => {
                let frame = Self {
                    kind,
                    channel: u16::from_be_bytes([channel_high, channel_low]),
                    payload: &input[HEAD_BYTES..end],
                };
                Ok(Some((frame, end + 1)))
            }
            Some(_) => Err(Broken("a frame that does not end where it should".to_owned())),
        }
    }
}

/// Appends a frame whose payload `fill` appends.
pub(super) fn put_frame(out: &mut Vec<u8>, kind: u8, channel: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    out.extend_from_slice(&channel.to_be_bytes());
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let start = out.len();
    fill(out);
    let length =
        u32::try_from(out.len() - start).expect("callers keep payloads within a negotiated 32-bit size");
    out[length_at..start].copy_from_slice(&length.to_be_bytes());
    out.push(FRAME_END);
}

/// Appends a method frame; `fill` appends the arguments.
pub(super) fn put_method(out: &mut Vec<u8>, channel: u16, method: Method, fill: impl FnOnce(&mut Vec<u8>)) {
    put_frame(out, FRAME_METHOD, channel, |out| {
        out.extend_from_slice(&method.0.to_be_bytes());
        out.extend_from_slice(&method.1.to_be_bytes());
        fill(out);
    });
}

/// A text of at most 255 bytes; what is longer is cut.
pub(super) fn put_short(out: &mut Vec<u8>, text: &[u8]) {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    out.push(length);
    out.extend_from_slice(&text[..usize::from(length)]);
}

/// A text or a table that tells its length in 32 bits.
pub(super) fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("arguments are far below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A method by class and number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Method(pub(super) u16, pub(super) u16);

/// What is left to read of a frame's payload.
#[derive(Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (value, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or_else(|| Broken("a frame shorter than its arguments".to_owned()))?;
        self.0 = rest;
        Ok(*value)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Broken> {
        self.take::<1>().map(|[value]| value)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Broken> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Broken> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Broken> {
        self.take().map(u64::from_be_bytes)
    }

    pub(super) fn short(&mut self) -> Result<&'a [u8], Broken> {
        let length = usize::from(self.u8()?);
        let (text, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| Broken("a text longer than its frame".to_owned()))?;
        self.0 = rest;
        Ok(text)
    }

    pub(super) fn method(&mut self) -> Result<Method, Broken> {
        Ok(Method(self.u16()?, self.u16()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_only_when_they_are_complete() {
        let mut input = Vec::new();
        put_method(&mut input, 3, Method(60, 40), |out| put_short(out, b"queue"));
        for cut in 0..input.len() {
            assert_eq!(Frame::read(&input[..cut]).unwrap(), None, "{cut}");
        }
        let (frame, length) = Frame::read(&input).unwrap().unwrap();
        assert_eq!(
            (frame.kind, frame.channel, length),
            (FRAME_METHOD, 3, input.len())
        );
        let mut fields = Fields(frame.payload);
        assert_eq!(fields.method().unwrap(), Method(60, 40));
        assert_eq!(fields.short().unwrap(), b"queue");
        fields.u8().unwrap_err();
    }

    #[test]
    fn what_cannot_become_a_frame_is_refused() {
        Frame::read(b"AMQP\0\0\x09\x01").unwrap_err();
        Frame::read(&[1, 0, 0, 1, 0, 0, 1]).unwrap_err();
        Frame::read(&[1, 0, 0, 0, 0, 0, 1, 9, 0]).unwrap_err();
        Fields(&[5, b'a']).short().unwrap_err();
        Fields(&[1, 2, 3]).u32().unwrap_err();
    }
}
