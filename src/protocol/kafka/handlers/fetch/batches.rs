//! Walking fetched batches by their lengths, for clients too old for what is in them.
//!
//! Promise: never reads outside the bytes, never loops without progress. The bytes come from the log and passed its
//! checks; whatever does not look like a batch ends the walk. Pure.

use crate::batch::attributes::{Attributes, Compression};

/// Bytes in front of what the length field counts.
const LENGTH_END: usize = 12;

/// Where the attributes are.
const ATTRIBUTES_AT: usize = 21;

/// How many bytes of `records` come before the first batch compressed with zstd: all of them if there is none.
pub(super) fn bytes_before_zstd(records: &[u8]) -> usize {
    let mut at = 0;
    while let Some(batch) = records.get(at..).filter(|rest| !rest.is_empty()) {
        let Some((length, attributes)) = peek(batch) else {
            break;
        };
        if attributes.compression() == Ok(Compression::Zstd) {
            return at;
        }
        at += LENGTH_END + length;
    }
    records.len()
}

fn peek(batch: &[u8]) -> Option<(usize, Attributes)> {
    let length = batch.get(LENGTH_END - 4..)?.first_chunk()?;
    let attributes = batch.get(ATTRIBUTES_AT..)?.first_chunk()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    Some((length, Attributes::from_bits(u16::from_be_bytes(*attributes))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::batch::kafka::KafkaBatchBuilder;

    fn batch(codec: Compression) -> Vec<u8> {
        let mut builder = KafkaBatchBuilder::new();
        builder.push(None, Some(b"value"), Timestamp::new(1), []);
        builder.build(codec, None).unwrap()
    }

    #[test]
    fn old_clients_get_the_batches_before_the_first_zstd_one() {
        let (plain, zstd) = (batch(Compression::Lz4), batch(Compression::Zstd));
        assert_eq!(bytes_before_zstd(&[]), 0);
        assert_eq!(bytes_before_zstd(&plain), plain.len());
        assert_eq!(bytes_before_zstd(&zstd), 0);
        assert_eq!(
            bytes_before_zstd(&[&plain[..], &plain, &zstd, &plain].concat()),
            2 * plain.len()
        );
    }

    #[test]
    fn nonsense_ends_the_walk() {
        for nonsense in [&[0xff; 40][..], &[0; 40], &[1, 2, 3]] {
            assert_eq!(bytes_before_zstd(nonsense), nonsense.len());
        }
    }
}
