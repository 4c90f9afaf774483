//! The attribute bits of a batch, shared by the frame header and Kafka's `RecordBatch` v2.
//!
//! ```text
//! bit   0 1 2          3                4              5        6               7..15
//!       compression    timestamp type   transactional  control  delete horizon  unused
//! ```
//!
//! The bits are Kafka's so that they can be copied between the two headers without translation. Unknown bits
//! are carried, not judged: a client newer than this broker may set one.

use crate::base::Timestamp;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Compression {
    /// Not compressed.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy blocks in the framing of the Java library (`xerial`).
    Snappy,
    /// An LZ4 frame.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Every codec, in the order of their ids.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The id in the attribute bits and in Kafka's protocol, 0 to 4.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The codec of an id; `None` for one Kafka has not defined.
    #[must_use]
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The name used by `compression.type` in topic and client configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Whose clock stamped the records of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum TimestampType {
    /// The producing client's, record by record.
    #[default]
    CreateTime,
    /// The broker's when it appended: every record has the batch's max timestamp.
    LogAppendTime,
}

/// The sixteen attribute bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Attributes(u16);

impl Attributes {
    /// Wraps raw bits; any value is accepted.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The raw bits.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The codec, or the undefined id (5 to 7) that stands in its place.
    ///
    /// # Errors
    /// The id itself, when Kafka has not defined it.
    pub const fn compression(self) -> Result<Compression, u8> {
        let id = self.0.to_le_bytes()[0] & COMPRESSION_MASK;
        match Compression::from_id(id) {
            Some(codec) => Ok(codec),
            None => Err(id),
        }
    }

    /// Whose clock stamped the records.
    #[must_use]
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL != 0
    }

    /// Whether the batch holds a transaction marker, which only a broker may write.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & CONTROL != 0
    }

    /// The same bits with this codec.
    #[must_use]
    pub fn with_compression(self, codec: Compression) -> Self {
        Self(self.0 & !u16::from(COMPRESSION_MASK) | u16::from(codec.id()))
    }

    /// The same bits with this timestamp type.
    #[must_use]
    pub const fn with_timestamp_type(self, kind: TimestampType) -> Self {
        match kind {
            TimestampType::CreateTime => Self(self.0 & !LOG_APPEND_TIME),
            TimestampType::LogAppendTime => Self(self.0 | LOG_APPEND_TIME),
        }
    }

    /// The same bits, transactional.
    #[must_use]
    pub const fn transactional(self) -> Self {
        Self(self.0 | TRANSACTIONAL)
    }

    /// The same bits, marking a control batch.
    #[must_use]
    pub const fn control(self) -> Self {
        Self(self.0 | CONTROL)
    }

    /// The time a reader is shown for a record: its own, or the batch's if the broker stamped it.
    #[must_use]
    pub const fn record_timestamp(self, own: Timestamp, batch_max: Timestamp) -> Timestamp {
        match self.timestamp_type() {
            TimestampType::CreateTime => own,
            TimestampType::LogAppendTime => batch_max,
        }
    }
}

const COMPRESSION_MASK: u8 = 0b111;
const LOG_APPEND_TIME: u16 = 1 << 3;
const TRANSACTIONAL: u16 = 1 << 4;
const CONTROL: u16 = 1 << 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_ids_round_trip_and_the_rest_are_reported() {
        for bits in 0..8_u16 {
            let found = Attributes::from_bits(bits | 0xfff8).compression();
            match Compression::ALL
                .iter()
                .find(|codec| u16::from(codec.id()) == bits)
            {
                Some(codec) => assert_eq!(found, Ok(*codec)),
                None => assert_eq!(found.map_err(u16::from), Err(bits)),
            }
        }
    }

    #[test]
    fn each_builder_sets_only_its_own_bits() {
        assert_eq!(
            Attributes::default().with_compression(Compression::Zstd).bits(),
            4
        );
        assert_eq!(
            Attributes::from_bits(0xffff)
                .with_compression(Compression::None)
                .bits(),
            0xfff8
        );
        assert_eq!(
            Attributes::default()
                .with_timestamp_type(TimestampType::LogAppendTime)
                .bits(),
            8
        );
        assert_eq!(
            Attributes::from_bits(0xffff)
                .with_timestamp_type(TimestampType::CreateTime)
                .bits(),
            0xfff7
        );
        assert_eq!(Attributes::default().transactional().bits(), 16);
        assert_eq!(Attributes::default().control().bits(), 32);
    }

    #[test]
    fn broker_stamped_records_show_the_batch_time() {
        let (own, max) = (Timestamp::new(1), Timestamp::new(9));
        assert_eq!(Attributes::default().record_timestamp(own, max), own);
        let stamped = Attributes::default().with_timestamp_type(TimestampType::LogAppendTime);
        assert_eq!(stamped.record_timestamp(own, max), max);
    }
}
