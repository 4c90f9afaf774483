//! The frame header: 128 bytes in front of every payload a log stores, readable without looking anything up.
//!
//! It is an rkyv 0.8 archive of plain little-endian fields, no pointers, so its bytes are the table below and a
//! reader in any language needs nothing but the table. A frame starts 16-aligned and is
//! `header (128) | payload | zeros to a multiple of 16`, so the payload is 16-aligned too.
//!
//! ```text
//! at   bytes field             what
//!   0   4    magic             "CLG1"
//!   4   4    header_crc        CRC32C of bytes 8..128
//!   8   4    payload_len       bytes of payload, padding not counted
//!  12   4    payload_crc       see below
//!  16   1    format_version    1
//!  17   1    encoding          1 rkyv, 2 kafka
//!  18   2    attributes        Kafka's bits, see `attributes`
//!  20   4    record_count      at least 1; offsets covered
//!  24  16    topic_id          UUID, in the order of RFC 9562
//!  40   4    partition
//!  44   4    leader_epoch
//!  48   8    base_offset       offset of the first record
//!  56   8    durable_end       durable end of the log (exclusive) when the frame was built
//!  64   8    first_timestamp   signed milliseconds since 1970, as are the next two
//!  72   8    max_timestamp
//!  80   8    append_time       the broker's clock
//!  88   8    producer_id       signed; -1 none
//!  96   4    base_sequence     signed; -1 none
//! 100   2    producer_epoch    signed; -1 none
//! 102   1    flags             bit 0 cleaned; the others zero
//! 103   1    reserved          zero
//! 104   8    delete_horizon    when the tombstones in it may leave, signed ms; 0 none
//! 112  16    reserved          zeros
//! ```
//!
//! **A cleaned frame** (bit 0) had records taken out of it by compaction. Frames tile the offsets of a log without holes, so
//! it covers the offsets of what is missing, too: `record_count` is then the number of offsets from `base_offset` on, of
//! which the payload may hold any number of records, also none, each with its own offset delta. Its payload is always in
//! encoding kafka, where last offset delta = `record_count` - 1. `producer` is that of the batch it was made from, whose
//! sequences it no longer proves. A broker of before these fields refuses such a frame by its reserved bytes.
//!
//! **What is summed.** `header_crc` covers every header byte behind it; a damaged magic or sum shows as itself.
//! For encoding rkyv `payload_crc` is the CRC32C of the whole payload. For encoding kafka it is the batch's own
//! CRC field, which covers payload bytes 21 to the end; the 21 bytes in front of those are each implied by the
//! header and compared with it: base offset = `base_offset`, batch length = `payload_len` - 12, partition
//! leader epoch = `leader_epoch`, magic = 2, crc = `payload_crc`. So every stored byte is covered, yet a
//! produced byte is summed once, on arrival.
//!
//! Header and payload sums are apart so that recovery can walk header by header and tell a frame whose payload
//! is torn from a place where no frame was. `durable_end` makes the second distinction: a valid frame that says
//! the log was durable beyond a damaged place proves rot, not a torn tail.
//!
//! `payload` does the summing; this file does the header's own.
//!
//! Encoding and decoding touch one 128-byte local and never allocate. Absent: any notion of where in a file
//! the frame lies.

use std::mem::{offset_of, size_of};

use rkyv::api::low;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::SubAllocator;
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Serialize};
use thiserror::Error;

use crate::base::{
    LeaderEpoch, LogId, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId, crc32c,
};
use crate::batch::attributes::{Attributes, TimestampType};
use crate::batch::kafka::KafkaBatch;

/// Size of the header.
pub const HEADER_BYTES: usize = 128;

/// Frames start at multiples of this, and so do their payloads.
pub const FRAME_ALIGN: usize = 16;

/// The first four bytes of every frame.
pub const MAGIC: [u8; 4] = *b"CLG1";

/// The only layout this code writes and reads.
pub const FORMAT_VERSION: u8 = 1;

/// What the payload's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Encoding {
    /// An archived native batch (`batch::records`).
    Rkyv,
    /// A Kafka `RecordBatch` v2 with base offset and leader epoch patched (`batch::kafka`).
    Kafka,
}

/// Whether a frame still holds what was appended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Contents {
    /// Every record of the batch.
    #[default]
    AsAppended,
    /// Records may be missing, and the offsets covered may be more than the batch's.
    Cleaned,
}

/// The idempotent producer that sent a batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ProducerInfo {
    /// Never negative.
    pub id: ProducerId,
    /// Generation of the id.
    pub epoch: ProducerEpoch,
    /// Sequence of the first record; it wraps from `i32::MAX` to 0. -1 only in control batches.
    pub base_sequence: i32,
}

/// Where and when a broker puts a batch: the part of a header that the payload does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    /// The log it goes to.
    pub log: LogId,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Epoch of the leader that appends it.
    pub leader_epoch: LeaderEpoch,
    /// Durable end of the log (exclusive) at this moment.
    pub durable_end: Offset,
    /// The broker's clock.
    pub append_time: Timestamp,
}

/// What a header says, in the broker's own words. See the module for the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// The log the frame belongs to; anything else found there is a misplaced write.
    pub log: LogId,
    /// What the payload's bytes are.
    pub encoding: Encoding,
    /// Compression, timestamp type, transactional, control.
    pub attributes: Attributes,
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offsets covered, at least 1: the records of the batch, and in a cleaned frame also those that are gone.
    pub record_count: u32,
    /// Epoch of the leader that appended the batch.
    pub leader_epoch: LeaderEpoch,
    /// Durable end of the log (exclusive) when the frame was built.
    pub durable_end: Offset,
    /// Timestamp of the first record.
    pub first_timestamp: Timestamp,
    /// Largest timestamp of the batch.
    pub max_timestamp: Timestamp,
    /// The broker's clock at append.
    pub append_time: Timestamp,
    /// The idempotent producer, if there was one.
    pub producer: Option<ProducerInfo>,
    /// Bytes of payload, padding not counted.
    pub payload_len: u32,
    /// Checksum of the payload; which bytes it covers depends on the encoding.
    pub payload_crc: u32,
    /// Whether records are missing.
    pub contents: Contents,
    /// When the tombstones in it may leave, once it was cleaned.
    pub delete_horizon: Option<Timestamp>,
}

/// Why 128 bytes are not a header. The order of the variants is the order of the checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum HeaderError {
    /// Fewer than [`HEADER_BYTES`] were given.
    #[error("a frame header needs {HEADER_BYTES} bytes, found {found}")]
    TooShort {
        /// Bytes given.
        found: usize,
    },
    /// No frame starts here.
    #[error("no frame here: magic is {found:02x?}")]
    Magic {
        /// The four bytes found.
        found: [u8; 4],
    },
    /// Written by a newer layout.
    #[error("frame format version {found} is not known")]
    Version {
        /// The version found.
        found: u8,
    },
    /// The header is damaged.
    #[error("frame header checksum is {found:08x}, its bytes sum to {expected:08x}")]
    Checksum {
        /// Sum of the bytes.
        expected: u32,
        /// Sum recorded.
        found: u32,
    },
    /// The payload is in an encoding this code does not know.
    #[error("payload encoding {found} is not known")]
    Encoding {
        /// The encoding found.
        found: u8,
    },
    /// Bytes that version 1 keeps zero are not.
    #[error("reserved header bytes are not zero")]
    Reserved,
    /// A batch without records.
    #[error("a batch holds at least one record")]
    NoRecords,
    /// The last offset would be above `i64::MAX`.
    #[error("{record_count} records from offset {base_offset} pass the largest offset")]
    OffsetRange {
        /// Offset of the first record.
        base_offset: u64,
        /// Records in the batch.
        record_count: u32,
    },
    /// A negative producer id other than the canonical "none" (-1, -1, -1).
    #[error("producer id {id} is neither an identity nor none")]
    Producer {
        /// The id found.
        id: i64,
    },
}

impl BatchHeader {
    /// The header for a Kafka batch stored at `placement`. The batch's bytes must be patched to the same base
    /// offset and epoch ([`patch`](crate::batch::kafka::patch)) or
    /// [`verify_payload`](crate::batch::verify_payload) will refuse them.
    ///
    /// The batch must have passed [`KafkaBatch::check_produced`]; without it a non-positive count becomes 0,
    /// which no reader will accept.
    #[must_use]
    pub fn for_kafka(batch: &KafkaBatch<'_>, placement: &Placement) -> Self {
        Self {
            log: placement.log,
            encoding: Encoding::Kafka,
            attributes: batch.attributes(),
            base_offset: placement.base_offset,
            record_count: u32::try_from(batch.record_count()).unwrap_or(0),
            leader_epoch: placement.leader_epoch,
            durable_end: placement.durable_end,
            first_timestamp: batch.base_timestamp(),
            max_timestamp: batch.max_timestamp(),
            append_time: placement.append_time,
            producer: batch.producer(),
            payload_len: batch.total_bytes(),
            payload_crc: batch.crc(),
            contents: Contents::AsAppended,
            delete_horizon: None,
        }
    }

    /// Gives every record the broker's time, for topics with LogAppendTime. The payload of a native batch stays as it is:
    /// readers go by the header. That of a Kafka batch must be stamped, too, and its new checksum recorded here.
    pub fn stamp_append_time(&mut self, time: Timestamp) {
        self.attributes = self.attributes.with_timestamp_type(TimestampType::LogAppendTime);
        self.max_timestamp = time;
    }

    /// The 128 bytes, checksum included.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        low::to_bytes_in_with_alloc::<_, _, Failure>(
            &self.to_wire(),
            Buffer::from(&mut bytes),
            SubAllocator::new(&mut []),
        )
        .expect("the archived size is asserted to be the size of this buffer");
        let sum = crc32c(&bytes[SUMMED_FROM..]);
        bytes[HEADER_CRC_AT..SUMMED_FROM].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of `bytes`, which need not be aligned and may be longer.
    ///
    /// # Errors
    /// The first failing check, in the order of [`HeaderError`]'s variants.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let found = bytes.len();
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(HeaderError::TooShort { found })?;
        // Recovery probes many places where no frame is, so the magic is read before anything is copied.
        if !bytes.starts_with(&MAGIC) {
            return Err(HeaderError::Magic {
                found: [bytes[0], bytes[1], bytes[2], bytes[3]],
            });
        }
        let aligned = Aligned(*bytes);
        let wire = low::access::<ArchivedWireHeader, Failure>(&aligned.0)
            .expect("plain integers in an aligned buffer of their exact size are always valid");
        if wire.format_version != FORMAT_VERSION {
            return Err(HeaderError::Version {
                found: wire.format_version,
            });
        }
        let expected = crc32c(&aligned.0[SUMMED_FROM..]);
        let found = wire.header_crc.to_native();
        if found != expected {
            return Err(HeaderError::Checksum { expected, found });
        }
        Self::from_wire(wire)
    }

    /// One past the last record's offset.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.base_offset.plus(u64::from(self.record_count))
    }

    /// Bytes the whole frame takes: header, payload and padding. Always a multiple of [`FRAME_ALIGN`].
    #[must_use]
    pub const fn frame_len(&self) -> usize {
        HEADER_BYTES + (self.payload_len as usize).next_multiple_of(FRAME_ALIGN)
    }

    fn to_wire(self) -> WireHeader {
        let producer = self.producer;
        WireHeader {
            magic: u32::from_le_bytes(MAGIC),
            header_crc: 0,
            payload_len: self.payload_len,
            payload_crc: self.payload_crc,
            format_version: FORMAT_VERSION,
            encoding: self.encoding.id(),
            attributes: self.attributes.bits(),
            record_count: self.record_count,
            topic_id: self.log.topic.to_bytes(),
            partition: self.log.partition.get(),
            leader_epoch: self.leader_epoch.get(),
            base_offset: self.base_offset.get(),
            durable_end: self.durable_end.get(),
            first_timestamp: self.first_timestamp.get(),
            max_timestamp: self.max_timestamp.get(),
            append_time: self.append_time.get(),
            producer_id: producer.map_or(NONE_ID, |one| one.id.get()),
            base_sequence: producer.map_or(NONE_SEQUENCE, |one| one.base_sequence),
            producer_epoch: producer.map_or(NONE_EPOCH, |one| one.epoch.get()),
            flags: match self.contents {
                Contents::AsAppended => 0,
                Contents::Cleaned => CLEANED,
            },
            reserved_byte: 0,
            delete_horizon: self.delete_horizon.map_or(0, Timestamp::get),
            reserved: [0; 16],
        }
    }

    /// The checks that follow the checksum: a header that fails one was written wrong, not damaged later.
    fn from_wire(wire: &ArchivedWireHeader) -> Result<Self, HeaderError> {
        let encoding =
            Encoding::from_id(wire.encoding).ok_or(HeaderError::Encoding { found: wire.encoding })?;
        if wire.reserved != [0; 16] || wire.reserved_byte != 0 || wire.flags & !CLEANED != 0 {
            return Err(HeaderError::Reserved);
        }
        let record_count = wire.record_count.to_native();
        if record_count == 0 {
            return Err(HeaderError::NoRecords);
        }
        let base_offset = wire.base_offset.to_native();
        match base_offset.checked_add(u64::from(record_count)) {
            Some(end) if end <= OFFSET_END_MAX => {}
            _ => {
                return Err(HeaderError::OffsetRange {
                    base_offset,
                    record_count,
                });
            }
        }
        Ok(Self {
            log: LogId {
                topic: TopicId::new(wire.topic_id),
                partition: PartitionId::new(wire.partition.to_native()),
            },
            encoding,
            attributes: Attributes::from_bits(wire.attributes.to_native()),
            base_offset: Offset::new(base_offset),
            record_count,
            leader_epoch: LeaderEpoch::new(wire.leader_epoch.to_native()),
            durable_end: Offset::new(wire.durable_end.to_native()),
            first_timestamp: Timestamp::new(wire.first_timestamp.to_native()),
            max_timestamp: Timestamp::new(wire.max_timestamp.to_native()),
            append_time: Timestamp::new(wire.append_time.to_native()),
            producer: wire.producer()?,
            payload_len: wire.payload_len.to_native(),
            payload_crc: wire.payload_crc.to_native(),
            contents: if wire.flags & CLEANED == 0 {
                Contents::AsAppended
            } else {
                Contents::Cleaned
            },
            delete_horizon: Some(Timestamp::new(wire.delete_horizon.to_native()))
                .filter(|horizon| *horizon != Timestamp::ZERO),
        })
    }
}

impl Encoding {
    const fn id(self) -> u8 {
        match self {
            Self::Rkyv => 1,
            Self::Kafka => 2,
        }
    }

    const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Rkyv),
            2 => Some(Self::Kafka),
            _ => None,
        }
    }
}

/// The bytes, as rkyv lays them out. Field order is the format; the asserts below hold it still.
#[derive(Archive, Serialize)]
struct WireHeader {
    magic: u32,
    header_crc: u32,
    payload_len: u32,
    payload_crc: u32,
    format_version: u8,
    encoding: u8,
    attributes: u16,
    record_count: u32,
    topic_id: [u8; 16],
    partition: u32,
    leader_epoch: u32,
    base_offset: u64,
    durable_end: u64,
    first_timestamp: i64,
    max_timestamp: i64,
    append_time: i64,
    producer_id: i64,
    base_sequence: i32,
    producer_epoch: i16,
    flags: u8,
    reserved_byte: u8,
    delete_horizon: i64,
    reserved: [u8; 16],
}

impl ArchivedWireHeader {
    fn producer(&self) -> Result<Option<ProducerInfo>, HeaderError> {
        let id = self.producer_id.to_native();
        let (epoch, base_sequence) = (self.producer_epoch.to_native(), self.base_sequence.to_native());
        match id {
            0.. => Ok(Some(ProducerInfo {
                id: ProducerId::new(id),
                epoch: ProducerEpoch::new(epoch),
                base_sequence,
            })),
            NONE_ID if epoch == NONE_EPOCH && base_sequence == NONE_SEQUENCE => Ok(None),
            _ => Err(HeaderError::Producer { id }),
        }
    }
}

/// Archived integers of 8 bytes must be read from 8-aligned addresses; outside bytes promise nothing.
#[repr(align(16))]
struct Aligned([u8; HEADER_BYTES]);

/// The flag of a cleaned frame.
const CLEANED: u8 = 1;

const HEADER_CRC_AT: usize = 4;
const SUMMED_FROM: usize = 8;
const NONE_ID: i64 = -1;
const NONE_EPOCH: i16 = -1;
const NONE_SEQUENCE: i32 = -1;

/// Exclusive ends reach `i64::MAX`, so the last offset is one less: Kafka's clients store both as i64.
const OFFSET_END_MAX: u64 = i64::MAX.cast_unsigned();

/// The layout as data: (offset, width, name) of every archived field, for the asserts below and the tests.
macro_rules! layout {
    ($($at:literal $bytes:literal $field:ident),* $(,)?) => {
        const _: () = {
            $(assert!(offset_of!(ArchivedWireHeader, $field) == $at);)*
            assert!(0 $(+ $bytes)* == HEADER_BYTES);
            assert!(size_of::<ArchivedWireHeader>() == HEADER_BYTES);
            assert!(HEADER_BYTES.is_multiple_of(FRAME_ALIGN));
        };

        #[cfg(test)]
        const FIELDS: &[(usize, usize, &str)] =
            &[$((offset_of!(ArchivedWireHeader, $field), $bytes, stringify!($field))),*];
    };
}

layout! {
    0 4 magic, 4 4 header_crc, 8 4 payload_len, 12 4 payload_crc, 16 1 format_version, 17 1 encoding,
    18 2 attributes, 20 4 record_count, 24 16 topic_id, 40 4 partition, 44 4 leader_epoch, 48 8 base_offset,
    56 8 durable_end, 64 8 first_timestamp, 72 8 max_timestamp, 80 8 append_time, 88 8 producer_id,
    96 4 base_sequence, 100 2 producer_epoch, 102 1 flags, 103 1 reserved_byte, 104 8 delete_horizon, 112 16 reserved,
}

#[cfg(test)]
pub(in crate::batch) mod tests;
