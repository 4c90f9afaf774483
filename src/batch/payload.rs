//! Whether a payload is the one its header was written for, to the last bit.
//!
//! What is summed and what is compared instead is the header's business to say (`header`, "What is summed");
//! this file does it: lengths first, then the bytes in front of Kafka's checksummed part, then one pass over
//! the rest. Called once when a frame is read back from a device; on arrival a Kafka batch is summed by its own
//! view and a native one when its header is made, so no byte is summed twice. Absent: repair, and any opinion
//! on what a mismatch means for the log.

use thiserror::Error;

use crate::base::crc32c;
use crate::batch::header::{BatchHeader, Encoding};
use crate::batch::kafka;

/// Which of the 21 bytes in front of Kafka's checksummed part disagrees with the frame header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrefixField {
    /// Bytes 0..8.
    BaseOffset,
    /// Bytes 8..12.
    BatchLength,
    /// Bytes 12..16.
    LeaderEpoch,
    /// Byte 16.
    Magic,
    /// Bytes 17..21.
    Checksum,
}

/// Why a payload is not the one its header describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PayloadError {
    /// More or fewer bytes than the header says, or too few for the encoding.
    #[error("payload has {found} bytes, its header says {expected}")]
    Length {
        /// Bytes the header says.
        expected: u32,
        /// Bytes given.
        found: usize,
    },
    /// A field in front of Kafka's checksummed bytes is not what the header implies.
    #[error("{0:?} of the stored batch disagrees with its frame header")]
    Prefix(PrefixField),
    /// The bytes are damaged.
    #[error("payload sums to {found:08x}, its header says {expected:08x}")]
    Checksum {
        /// Sum recorded.
        expected: u32,
        /// Sum of the bytes.
        found: u32,
    },
}

/// Checks that `payload` (without padding) is the one `header` was written for, to the last bit.
///
/// # Errors
/// See [`PayloadError`]; lengths are compared before anything is summed.
pub fn verify_payload(header: &BatchHeader, payload: &[u8]) -> Result<(), PayloadError> {
    let expected = header.payload_len;
    if payload.len() != expected as usize {
        return Err(PayloadError::Length {
            expected,
            found: payload.len(),
        });
    }
    let summed = match header.encoding {
        Encoding::Rkyv => payload,
        Encoding::Kafka => kafka_summed_part(header, payload)?,
    };
    let found = crc32c(summed);
    if found != header.payload_crc {
        return Err(PayloadError::Checksum {
            expected: header.payload_crc,
            found,
        });
    }
    Ok(())
}

/// Compares what Kafka's checksum leaves out, and returns what it covers.
fn kafka_summed_part<'a>(header: &BatchHeader, payload: &'a [u8]) -> Result<&'a [u8], PayloadError> {
    let Some(prefix) = payload.first_chunk::<{ kafka::SUMMED_FROM }>() else {
        return Err(PayloadError::Length {
            expected: header.payload_len,
            found: payload.len(),
        });
    };
    let prefix = kafka::Prefix::read(prefix);
    let checks = [
        (
            prefix.base_offset == header.base_offset.get().cast_signed(),
            PrefixField::BaseOffset,
        ),
        (
            i64::from(prefix.batch_length) == i64::from(header.payload_len) - 12,
            PrefixField::BatchLength,
        ),
        (
            prefix.leader_epoch == header.leader_epoch.get().cast_signed(),
            PrefixField::LeaderEpoch,
        ),
        (prefix.magic == kafka::MAGIC_V2, PrefixField::Magic),
        (prefix.crc == header.payload_crc, PrefixField::Checksum),
    ];
    match checks.iter().find(|(holds, _)| !holds) {
        Some(&(_, field)) => Err(PayloadError::Prefix(field)),
        None => Ok(&payload[kafka::SUMMED_FROM..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::header::tests::sample;

    #[test]
    fn a_payload_is_checked_to_the_last_bit() {
        let payload: Vec<u8> = (0..33).collect();
        let header = BatchHeader {
            payload_crc: crc32c(&payload),
            ..sample()
        };
        assert_eq!(verify_payload(&header, &payload), Ok(()));
        assert_eq!(
            verify_payload(&header, &payload[..32]),
            Err(PayloadError::Length {
                expected: 33,
                found: 32
            })
        );
        for bit in 0..payload.len() * 8 {
            let mut damaged = payload.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(
                verify_payload(&header, &damaged),
                Err(PayloadError::Checksum { .. })
            ));
        }
    }
}
