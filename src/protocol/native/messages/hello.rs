//! Hello and welcome: the first frame in each direction.
//!
//! The client names the versions of the protocol it speaks, what it can do, and itself; the broker picks a version and
//! says who it is, what it can do and what it accepts. Anything else first is an error and closes. Feature bits are
//! reserved for things a peer may do without; none exists yet, and unknown bits are ignored. Any thread.

use super::{count_of, cut, open};
use crate::protocol::native::frame::{Frame, FrameError, FrameWriter, Kind};
use crate::protocol::native::pod::{DecodeError, pod};

pod! {
    /// The fixed part of a hello.
    HelloHead 16 {
        /// What the client can do.
        0 features: u64,
        /// Bytes of the client's name.
        8 name_len: u32,
        /// Oldest version the client speaks.
        12 version_min: u8,
        /// Newest version the client speaks.
        13 version_max: u8,
        reserved 2
    }

    /// The fixed part of a welcome: who the broker is and what it accepts.
    WelcomeHead 48 {
        /// What the broker can do.
        0 features: u64,
        /// Most credit one subscription may hold, in bytes.
        8 credit_bytes_max: u64,
        /// Largest frame the broker reads.
        16 max_frame_bytes: u32,
        /// Requests of one connection under way at once; more are read later.
        20 in_flight_max: u32,
        /// Subscriptions of one connection.
        24 subscriptions_max: u32,
        /// Batches of one produce frame.
        28 produce_batches_max: u32,
        /// The node this connection leads to, as in metadata.
        32 node_id: u32,
        /// The shard this connection lives on.
        36 shard: u32,
        /// Bytes of the broker's name.
        40 name_len: u32,
        /// The version spoken from here on.
        44 version: u8,
        reserved 3
    }
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello<'a> {
    /// What the client can do; 0 for now.
    pub features: u64,
    /// Oldest version the client speaks.
    pub version_min: u8,
    /// Newest version the client speaks.
    pub version_max: u8,
    /// The client's name and version, for the broker's log.
    pub name: &'a str,
}

impl<'a> Hello<'a> {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// Never in practice: the frame is small.
    pub fn encode(&self, out: &mut Vec<u8>, correlation: u64) -> Result<(), FrameError> {
        let name = cut(self.name);
        let mut writer = FrameWriter::begin(out, Kind::Hello, correlation);
        writer.pod(&HelloHead {
            features: self.features,
            name_len: count_of(name.len()),
            version_min: self.version_min,
            version_max: self.version_max,
        });
        writer.bytes(name.as_bytes());
        writer.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::Hello, 0)?;
        let head: HelloHead = reader.pod()?;
        let name = reader.text(head.name_len as usize)?;
        reader.finish()?;
        Ok(Self {
            features: head.features,
            version_min: head.version_min,
            version_max: head.version_max,
            name,
        })
    }
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Welcome<'a> {
    /// Who the broker is and what it accepts; `name_len` is set when encoding.
    pub head: WelcomeHead,
    /// The broker's name and version, such as `corelog 0.1.0`.
    pub name: &'a str,
}

impl<'a> Welcome<'a> {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// Never in practice: the frame is small.
    pub fn encode(&self, out: &mut Vec<u8>, correlation: u64) -> Result<(), FrameError> {
        let name = cut(self.name);
        let mut writer = FrameWriter::begin(out, Kind::Welcome, correlation);
        writer.pod(&WelcomeHead {
            name_len: count_of(name.len()),
            ..self.head
        });
        writer.bytes(name.as_bytes());
        writer.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::Welcome, 0)?;
        let head: WelcomeHead = reader.pod()?;
        let name = reader.text(head.name_len as usize)?;
        reader.finish()?;
        Ok(Self { head, name })
    }
}
