//! Batches: the unit that is appended, checksummed and acknowledged, and every byte format it comes in.
//!
//! A **frame** is what a log stores: a [`BatchHeader`] of 128 bytes, a payload, and zero padding to a multiple
//! of 16. Two payload encodings exist: a client's Kafka `RecordBatch` v2 kept byte for byte ([`kafka`]) and an
//! archived native batch ([`records`]). [`compression`] opens and closes the codecs Kafka clients use.
//!
//! Everything here is a pure function of bytes: no I/O, no clock, no state that outlives a call, so any thread
//! may use any of it. Bytes from outside are checked before they are believed, never panic, and never make
//! this room allocate more than a bound its caller named. Absent on purpose: offsets being assigned (the
//! broker's work), files (storage's) and error codes of any wire (each protocol's).

pub mod attributes;
pub mod compression;
pub mod header;
pub mod kafka;
pub mod payload;
pub mod record;
pub mod records;

pub use attributes::{Attributes, Compression, TimestampType};
pub use header::{
    BatchHeader, Contents, Encoding, FRAME_ALIGN, HEADER_BYTES, HeaderError, Placement, ProducerInfo,
};
pub use kafka::{KafkaBatch, KafkaBatchBuilder, KafkaBatchError};
pub use payload::{PayloadError, PrefixField, verify_payload};
pub use record::RecordHeader;
pub use records::{RecordRef, RecordsBuilder, RecordsView};
