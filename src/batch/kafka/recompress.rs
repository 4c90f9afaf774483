//! The same records under another codec: what a topic's `compression.type` does to a batch that came with another.
//!
//! Only the codec bits, the length and the checksum of the header change, and the bytes of the records section, which open to
//! the same bytes as before. So offsets, stamps, producer and sequence stay what the producer made them. Pure.

use crate::batch::attributes::Compression;
use crate::batch::compression::compress_at;
use crate::batch::kafka::builder::{BuildError, seal};
use crate::batch::kafka::{KAFKA_HEADER_BYTES, KafkaBatch};

/// Makes the batch anew with `codec`, at a level of it or the default one. `section` is its records section, opened.
///
/// # Errors
/// `TooLarge` for a batch whose length does not fit its field.
///
/// # Panics
/// If the codec's library cannot get the memory it needs.
pub fn recompressed(
    batch: &KafkaBatch<'_>,
    section: &[u8],
    codec: Compression,
    level: Option<i32>,
) -> Result<Vec<u8>, BuildError> {
    let packed = compress_at(codec, level, section);
    let mut bytes = Vec::with_capacity(KAFKA_HEADER_BYTES + packed.len());
    bytes.extend_from_slice(&batch.bytes()[..KAFKA_HEADER_BYTES]);
    bytes.extend_from_slice(&packed);
    let attributes = batch.attributes().with_compression(codec);
    bytes[21..23].copy_from_slice(&attributes.bits().to_be_bytes());
    seal(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::Timestamp;
    use crate::batch::kafka::{KafkaBatchBuilder, Records};

    type Pair = (Option<Vec<u8>>, Option<Vec<u8>>, i64);

    fn records_of(batch: &KafkaBatch<'_>) -> Vec<Pair> {
        let section = batch.uncompressed(1 << 20).unwrap();
        let count = u32::try_from(batch.record_count()).unwrap();
        Records::new(&section, count)
            .map(|record| {
                let record = record.unwrap();
                (
                    record.key.map(<[u8]>::to_vec),
                    record.value.map(<[u8]>::to_vec),
                    batch.base_timestamp().get() + record.timestamp_delta,
                )
            })
            .collect()
    }

    proptest! {
        #[test]
        fn records_survive_every_change_of_codec(
            records in prop::collection::vec(
                (
                    prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
                    prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
                    0..1_000_000_i64,
                ),
                1..20,
            ),
            level in prop::option::of(1..9_i32),
        ) {
            for (from, to) in Compression::ALL.into_iter().flat_map(|from| Compression::ALL.map(|to| (from, to))) {
                let mut builder = KafkaBatchBuilder::new();
                for (key, value, at) in &records {
                    builder.push(key.as_deref(), value.as_deref(), Timestamp::new(*at), []);
                }
                let original = builder.build(from, None).unwrap();
                let original = KafkaBatch::parse(&original).unwrap();
                let section = original.uncompressed(1 << 20).unwrap();
                let made = recompressed(&original, &section, to, level).unwrap();
                let made = KafkaBatch::parse(&made).unwrap();
                prop_assert_eq!(made.verify_crc(), Ok(()));
                prop_assert_eq!(made.check_produced(), Ok(()));
                prop_assert_eq!(made.attributes().compression(), Ok(to));
                prop_assert_eq!(made.max_timestamp(), original.max_timestamp());
                prop_assert_eq!(made.producer(), original.producer());
                prop_assert_eq!(records_of(&made), records.clone());
            }
        }
    }
}
