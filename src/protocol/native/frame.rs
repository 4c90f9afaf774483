//! The frame: 32 bytes of head, a control part, and stored batches behind it.
//!
//! ```text
//! frame = head (32) | control (control_len) | batches (length - 32 - control_len)
//!
//! at bytes field        what
//!  0   4   length       of the whole frame; a multiple of 16
//!  4   4   crc          CRC32C of bytes 8 .. 32 + control_len, xor length
//!  8   1   kind         see `Kind`
//!  9   1   version      1
//! 10   2   flags        per kind; unknown bits are refused
//! 12   4   control_len  a multiple of 16
//! 16   8   correlation  chosen by the client and copied to the answer; the subscription on pushes
//! 24   2   error        a code of `errors`, 0 none; only in `error` and `subscription_ended`
//! 26   6   reserved     zeros
//! ```
//!
//! **Why the sum leaves batches out.** Each batch brings its own two checksums, made when it was built and checked by
//! whoever reads it last; summing it again on every hop would say nothing new.
//!
//! **Why everything is a multiple of 16.** A receiver whose buffer starts at such an address finds every batch where
//! its archive can be read in place. [`Inbox`] is such a buffer.
//!
//! **Promise.** No length is believed before it is compared with a bound; nothing is reserved for a frame before its
//! head was judged ([`next_frame`]). No I/O, no clock, any thread.

use rkyv::util::AlignedVec;
use thiserror::Error;

use super::errors::ErrorCode;
use super::pod::{ControlReader, Pod, pod};
use crate::base::crc32c;

/// Bytes of the head.
pub const HEAD_BYTES: usize = 32;

/// Frames, control parts and batches are multiples of this.
pub const FRAME_ALIGN: usize = crate::batch::FRAME_ALIGN;

/// The only version of the protocol.
pub const VERSION: u8 = 1;

/// The largest frame anybody may send, whatever a broker says in its welcome.
pub const FRAME_BYTES_MAX: u32 = 1 << 30;

const SUMMED_FROM: usize = 8;
const CRC_AT: usize = 4;

pod! {
    /// The head of a frame, as it is on the wire; see the module.
    Head 32 {
        /// Bytes of the whole frame.
        0 length: u32,
        /// See the module.
        4 crc: u32,
        /// A [`Kind`].
        8 kind: u8,
        /// [`VERSION`].
        9 version: u8,
        /// Per kind.
        10 flags: u16,
        /// Bytes of the control part.
        12 control_len: u32,
        /// Request and answer, or subscription.
        16 correlation: u64,
        /// An [`ErrorCode`], 0 none.
        24 error: u16,
        reserved 6
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident $code:literal,)*) => {
        /// What a frame is.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$doc])* $variant = $code,)*
        }

        impl Kind {
            /// Every kind in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The kind behind a byte.
            #[must_use]
            pub const fn from_wire(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// Client: the first frame of a connection.
    Hello 1,
    /// Broker: its answer.
    Welcome 2,
    /// Client: topics and who serves them.
    Metadata 3,
    /// Broker: its answer.
    MetadataAnswer 4,
    /// Client: make a topic.
    CreateTopic 5,
    /// Broker: its answer.
    TopicCreated 6,
    /// Client: delete a topic.
    DeleteTopic 7,
    /// Broker: its answer.
    TopicDeleted 8,
    /// Client: an identity for an idempotent producer.
    InitProducer 9,
    /// Broker: its answer.
    ProducerReady 10,
    /// Client: append batches.
    Produce 11,
    /// Broker: its answer.
    Produced 12,
    /// Client: read once.
    Fetch 13,
    /// Broker: its answer.
    Fetched 14,
    /// Client: read from now on.
    Subscribe 15,
    /// Broker: its answer; pushes follow.
    Subscribed 16,
    /// Broker: batches of a subscription.
    Push 17,
    /// Client: more may be pushed. No answer.
    Credit 18,
    /// Client: no more pushes. Answered by `SubscriptionEnded`.
    Unsubscribe 19,
    /// Broker: nothing more will be pushed; asked for or not.
    SubscriptionEnded 20,
    /// Client: where logs begin, end, or are at a time.
    Offsets 21,
    /// Broker: its answer.
    OffsetsAnswer 22,
    /// Broker: a request as a whole could not be answered, or the stream cannot be trusted any more.
    Error 23,
}

impl Kind {
    /// The byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        // The discriminants are the codes.
        self as u8
    }

    /// Whether a client sends it.
    #[must_use]
    pub const fn is_request(self) -> bool {
        matches!(
            self,
            Self::Hello
                | Self::Metadata
                | Self::CreateTopic
                | Self::DeleteTopic
                | Self::InitProducer
                | Self::Produce
                | Self::Fetch
                | Self::Subscribe
                | Self::Credit
                | Self::Unsubscribe
                | Self::Offsets
        )
    }

    /// Whether batches may follow its control part.
    #[must_use]
    pub const fn carries_batches(self) -> bool {
        matches!(self, Self::Produce | Self::Fetched | Self::Push)
    }
}

/// A judged head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHead {
    /// What the frame is.
    pub kind: Kind,
    /// Per kind.
    pub flags: u16,
    /// Request and answer, or subscription.
    pub correlation: u64,
    /// Bytes of the whole frame.
    pub length: usize,
    /// Bytes of the control part.
    pub control_len: usize,
    /// An [`ErrorCode`] as the peer sent it, 0 none.
    pub error: u16,
}

impl FrameHead {
    /// The error it carries; a code this end does not know is [`ErrorCode::Internal`].
    #[must_use]
    pub fn error(&self) -> Option<ErrorCode> {
        ErrorCode::carried(self.error)
    }

    fn judge(head: &Head, max_frame_bytes: u32) -> Result<Self, FrameError> {
        let Head { length, kind, .. } = *head;
        let max = max_frame_bytes.min(FRAME_BYTES_MAX);
        if length > max {
            return Err(FrameError::TooLarge { length, max });
        }
        let (length, control_len) = (length as usize, head.control_len as usize);
        let whole = length.is_multiple_of(FRAME_ALIGN) && control_len.is_multiple_of(FRAME_ALIGN);
        if !whole
            || length
                .checked_sub(HEAD_BYTES)
                .is_none_or(|body| control_len > body)
        {
            return Err(FrameError::Lengths);
        }
        if head.version != VERSION {
            return Err(FrameError::Version { found: head.version });
        }
        let kind = Kind::from_wire(kind).ok_or(FrameError::Kind { found: kind })?;
        if !kind.carries_batches() && length != HEAD_BYTES + control_len {
            return Err(FrameError::Lengths);
        }
        Ok(Self {
            kind,
            flags: head.flags,
            correlation: head.correlation,
            length,
            control_len,
            error: head.error,
        })
    }
}

/// Why bytes are not a frame. After one of these the stream cannot be trusted: answer, then close.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum FrameError {
    /// Larger than this end accepts.
    #[error("a frame of {length} bytes, at most {max} are accepted")]
    TooLarge {
        /// Bytes announced.
        length: u32,
        /// The bound.
        max: u32,
    },
    /// Lengths that contradict each other, or are no multiples of 16.
    #[error("the lengths of the frame contradict each other")]
    Lengths,
    /// Another version of the protocol.
    #[error("protocol version {found} is not known")]
    Version {
        /// The version found.
        found: u8,
    },
    /// No such kind of frame.
    #[error("frame kind {found} is not known")]
    Kind {
        /// The kind found.
        found: u8,
    },
    /// Head bytes that are zero in this version are not.
    #[error("reserved head bytes are not zero")]
    Reserved,
    /// Head or control part is damaged.
    #[error("frame checksum is {found:08x}, its bytes sum to {expected:08x}")]
    Checksum {
        /// Sum of the bytes.
        expected: u32,
        /// Sum recorded.
        found: u32,
    },
}

impl FrameError {
    /// What a broker tells the client about it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } => ErrorCode::FrameTooLarge,
            Self::Lengths | Self::Reserved => ErrorCode::Malformed,
            Self::Version { .. } => ErrorCode::UnsupportedVersion,
            Self::Kind { .. } => ErrorCode::UnknownKind,
            Self::Checksum { .. } => ErrorCode::FrameChecksum,
        }
    }
}

/// What is at the start of the bytes received so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// Not even a head: at least this many bytes are missing.
    NeedsHead {
        /// Bytes missing.
        missing: usize,
    },
    /// The head is there and acceptable; the frame is not whole yet.
    NeedsBody {
        /// The head.
        head: FrameHead,
        /// Bytes missing.
        missing: usize,
    },
    /// The first `head.length` bytes are a frame: give them to [`Frame::parse`].
    Whole {
        /// The head.
        head: FrameHead,
    },
}

/// Whether a whole frame is at the start of `bytes`, and how long it is. The head is judged as soon as it is there, so
/// that memory can be reserved, or the frame refused, before its body is read; the checksum is [`Frame::parse`]'s work.
///
/// # Errors
/// Every [`FrameError`] but `Checksum`.
pub fn next_frame(bytes: &[u8], max_frame_bytes: u32) -> Result<Framing, FrameError> {
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
        return Ok(Framing::NeedsHead {
            missing: HEAD_BYTES - bytes.len(),
        });
    };
    let head = Head::read(head).map_err(|_| FrameError::Reserved)?;
    let head = FrameHead::judge(&head, max_frame_bytes)?;
    Ok(match head.length.checked_sub(bytes.len()) {
        None | Some(0) => Framing::Whole { head },
        Some(missing) => Framing::NeedsBody { head, missing },
    })
}

/// One whole frame, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its head.
    pub head: FrameHead,
    /// Its control part.
    pub control: &'a [u8],
    /// The stored batches behind it, back to back; read them with [`Batches`](super::batches::Batches).
    pub batches: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame that `bytes` are, checksum included. `bytes` must be exactly the frame's length.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let head = Head::read(bytes).map_err(|_| FrameError::Reserved)?;
        let judged = FrameHead::judge(&head, FRAME_BYTES_MAX)?;
        if judged.length != bytes.len() {
            return Err(FrameError::Lengths);
        }
        let control_end = HEAD_BYTES + judged.control_len;
        let expected = crc32c(&bytes[SUMMED_FROM..control_end]) ^ head.length;
        if head.crc != expected {
            return Err(FrameError::Checksum {
                expected,
                found: head.crc,
            });
        }
        Ok(Self {
            head: judged,
            control: &bytes[HEAD_BYTES..control_end],
            batches: &bytes[control_end..],
        })
    }

    /// A reader over the control part.
    #[must_use]
    pub const fn reader(&self) -> ControlReader<'a> {
        ControlReader::new(self.control)
    }
}

/// Appends one frame to a buffer: begin, control part, batches, finish.
#[derive(Debug)]
pub struct FrameWriter<'v> {
    out: &'v mut Vec<u8>,
    start: usize,
    control_end: Option<usize>,
    head: Head,
}

impl<'v> FrameWriter<'v> {
    /// Begins a frame behind what `out` holds.
    #[must_use]
    pub fn begin(out: &'v mut Vec<u8>, kind: Kind, correlation: u64) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        let head = Head {
            kind: kind.code(),
            version: VERSION,
            correlation,
            ..Head::default()
        };
        Self {
            out,
            start,
            control_end: None,
            head,
        }
    }

    /// Sets the flags.
    #[must_use]
    pub const fn with_flags(mut self, flags: u16) -> Self {
        self.head.flags = flags;
        self
    }

    /// Sets the error.
    #[must_use]
    pub const fn with_error(mut self, code: ErrorCode) -> Self {
        self.head.error = code.code();
        self
    }

    /// Appends a struct to the control part.
    pub fn pod(&mut self, pod: &impl Pod) {
        debug_assert!(self.control_end.is_none(), "the control part is complete");
        pod.put(self.out);
    }

    /// Appends bytes to the control part.
    pub fn bytes(&mut self, bytes: &[u8]) {
        debug_assert!(self.control_end.is_none(), "the control part is complete");
        self.out.extend_from_slice(bytes);
    }

    /// Completes the control part and gives the buffer, to append whole stored batches to.
    pub fn batches(&mut self) -> &mut Vec<u8> {
        self.end_control();
        self.out
    }

    /// Overwrites the first struct of the control part: for counts known only at the end.
    pub(super) fn replace_first<T: Pod>(&mut self, pod: &T) {
        let mut bytes = Vec::with_capacity(T::BYTES);
        pod.put(&mut bytes);
        let at = self.start + HEAD_BYTES;
        self.out[at..at + T::BYTES].copy_from_slice(&bytes);
    }

    /// Bytes of the frame so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.out.len() - self.start
    }

    /// Never: a frame has a head.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Completes the frame.
    ///
    /// # Errors
    /// `TooLarge`; the buffer is then as it was before [`Self::begin`].
    pub fn finish(self) -> Result<(), FrameError> {
        self.finish_before(0)
    }

    /// As [`Self::finish`], for a frame whose last `following` bytes of batches are sent from elsewhere, right behind.
    ///
    /// # Errors
    /// `TooLarge`; the buffer is then as it was before [`Self::begin`].
    pub fn finish_before(mut self, following: usize) -> Result<(), FrameError> {
        let control_end = self.end_control();
        let total = (self.out.len() - self.start).saturating_add(following);
        let length = u32::try_from(total).unwrap_or(u32::MAX);
        if length > FRAME_BYTES_MAX {
            self.out.truncate(self.start);
            return Err(FrameError::TooLarge {
                length,
                max: FRAME_BYTES_MAX,
            });
        }
        self.head.length = length;
        self.head.control_len = u32::try_from(control_end - self.start - HEAD_BYTES).unwrap_or(0);
        let mut head = Vec::with_capacity(HEAD_BYTES);
        self.head.put(&mut head);
        self.out[self.start..self.start + HEAD_BYTES].copy_from_slice(&head);
        let crc = crc32c(&self.out[self.start + SUMMED_FROM..control_end]) ^ length;
        self.out[self.start + CRC_AT..self.start + SUMMED_FROM].copy_from_slice(&crc.to_le_bytes());
        Ok(())
    }

    fn end_control(&mut self) -> usize {
        if let Some(end) = self.control_end {
            return end;
        }
        let padded = (self.out.len() - self.start).next_multiple_of(FRAME_ALIGN);
        self.out.resize(self.start + padded, 0);
        self.control_end = Some(self.start + padded);
        self.start + padded
    }
}

/// Received bytes at 16-aligned addresses: what a client reads its socket into.
///
/// Read into [`Self::spare`], say how much came with [`Self::filled`], take frames with [`Self::next`] until there is
/// none. A frame is borrowed and stays valid until the next call.
#[derive(Debug)]
pub struct Inbox {
    buffer: AlignedVec<FRAME_ALIGN>,
    /// Start of the frame taken last; `held == start` if there is none.
    held: usize,
    start: usize,
    end: usize,
    max_frame_bytes: u32,
}

impl Inbox {
    /// An empty one that accepts frames up to `max_frame_bytes`; it takes memory as frames need it.
    #[must_use]
    pub fn new(max_frame_bytes: u32) -> Self {
        Self {
            buffer: AlignedVec::new(),
            held: 0,
            start: 0,
            end: 0,
            max_frame_bytes,
        }
    }

    /// Changes the bound, for a broker's welcome.
    pub const fn set_max_frame_bytes(&mut self, max_frame_bytes: u32) {
        self.max_frame_bytes = max_frame_bytes;
    }

    /// Room to receive into: at least `wanted` bytes, and at least what the frame at hand still lacks.
    pub fn spare(&mut self, wanted: usize) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let missing = match next_frame(&self.buffer[self.start..self.end], self.max_frame_bytes) {
            Ok(Framing::NeedsBody { missing, .. }) => missing,
            _ => 0,
        };
        let room = wanted.max(missing).max(HEAD_BYTES);
        if self.buffer.len() - self.end < room {
            // Frames are multiples of 16, so what is left starts aligned, and does so again at the front.
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buffer.len() - self.end < room {
                self.buffer.resize(self.end + room, 0);
            }
        }
        self.held = self.start;
        &mut self.buffer[self.end..]
    }

    /// `count` bytes were put into [`Self::spare`].
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// The bytes of the frame that [`Self::next`] took last, still where they were. Empty once [`Self::spare`] was
    /// called since.
    #[must_use]
    pub fn held(&self) -> &[u8] {
        &self.buffer[self.held..self.start]
    }

    /// Whether [`Self::next`] has a frame to give.
    ///
    /// # Errors
    /// A [`FrameError`] but `Checksum`; the stream is then unusable.
    pub fn has_frame(&self) -> Result<bool, FrameError> {
        let framing = next_frame(&self.buffer[self.start..self.end], self.max_frame_bytes)?;
        Ok(matches!(framing, Framing::Whole { .. }))
    }

    /// Takes the next whole frame out.
    ///
    /// # Errors
    /// See [`FrameError`]; the stream is then unusable.
    #[expect(
        clippy::should_implement_trait,
        reason = "a frame borrows from the inbox, which an iterator cannot express"
    )]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Framing::Whole { head } = next_frame(&self.buffer[self.start..self.end], self.max_frame_bytes)?
        else {
            return Ok(None);
        };
        let at = self.start;
        self.held = at;
        self.start += head.length;
        Frame::parse(&self.buffer[at..at + head.length]).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = FrameWriter::begin(&mut out, Kind::Produce, 7).with_flags(1);
        writer.bytes(b"twenty bytes of text");
        writer.batches().extend_from_slice(&[9; 48]);
        writer.finish().unwrap();
        out
    }

    #[test]
    fn a_frame_reads_back_as_it_was_written() {
        let bytes = sample();
        assert_eq!(bytes.len(), 32 + 32 + 48);
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!(
            (frame.head.kind, frame.head.flags, frame.head.correlation),
            (Kind::Produce, 1, 7)
        );
        assert_eq!(&frame.control[..20], b"twenty bytes of text");
        assert_eq!(frame.batches, [9; 48]);
    }

    #[test]
    fn every_bit_of_head_and_control_is_covered() {
        let bytes = sample();
        for bit in 0..(32 + 32) * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::parse(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn lengths_are_judged_before_the_body_arrives() {
        let bytes = sample();
        let needs = |found: &[u8]| next_frame(found, 1 << 20);
        assert_eq!(needs(&bytes[..31]), Ok(Framing::NeedsHead { missing: 1 }));
        assert!(matches!(
            needs(&bytes[..40]),
            Ok(Framing::NeedsBody { missing: 72, .. })
        ));
        assert!(matches!(needs(&bytes), Ok(Framing::Whole { .. })));
        assert_eq!(
            next_frame(&bytes[..32], 111),
            Err(FrameError::TooLarge {
                length: 112,
                max: 111
            })
        );
        let lie = |at: usize, with: u8| {
            let mut lying = bytes[..32].to_vec();
            lying[at] = with;
            needs(&lying)
        };
        assert_eq!(lie(0, 113), Err(FrameError::Lengths));
        assert_eq!(lie(0, 16), Err(FrameError::Lengths));
        assert_eq!(lie(12, 96), Err(FrameError::Lengths));
        assert_eq!(lie(12, 33), Err(FrameError::Lengths));
        assert_eq!(lie(9, 2), Err(FrameError::Version { found: 2 }));
        assert_eq!(lie(8, 99), Err(FrameError::Kind { found: 99 }));
        assert_eq!(lie(8, Kind::Fetch.code()), Err(FrameError::Lengths));
        assert_eq!(lie(31, 1), Err(FrameError::Reserved));
    }

    #[test]
    fn an_inbox_gives_aligned_frames_however_the_bytes_arrive() {
        let one = sample();
        let stream: Vec<u8> = one.iter().chain(&one).chain(&one).copied().collect();
        for step in [1, 7, 16, 100, 1000] {
            let mut inbox = Inbox::new(1 << 20);
            let (mut sent, mut seen) = (0, 0);
            while sent < stream.len() {
                let spare = inbox.spare(1);
                let count = step.min(stream.len() - sent).min(spare.len());
                spare[..count].copy_from_slice(&stream[sent..sent + count]);
                inbox.filled(count);
                sent += count;
                while let Some(frame) = inbox.next().unwrap() {
                    assert_eq!(frame.batches, [9; 48]);
                    assert!(frame.batches.as_ptr().addr().is_multiple_of(FRAME_ALIGN));
                    seen += 1;
                }
            }
            assert_eq!(seen, 3, "step {step}");
        }
    }

    #[test]
    fn a_frame_may_be_completed_from_elsewhere() {
        let mut out = Vec::new();
        FrameWriter::begin(&mut out, Kind::Push, 1)
            .finish_before(48)
            .unwrap();
        assert_eq!(out.len(), 32);
        out.extend_from_slice(&[1; 48]);
        assert_eq!(Frame::parse(&out).unwrap().batches.len(), 48);
    }
}
