//! Which partition a keyed record goes to: murmur2 over the key, as every Kafka client does by default.
//!
//! Records of one key must land in one partition whichever client wrote them, so the hash is part of the protocol in
//! all but name: 32-bit murmur2 with a fixed seed, the sign bit cleared, modulo the number of partitions.

/// The partition of `key` among `count`, which must not be zero.
#[must_use]
pub fn partition_of(key: &[u8], count: u32) -> u32 {
    (murmur2(key) & SIGN_CLEARED) % count
}

/// The 32-bit murmur2 of `data` with Kafka's seed.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    // The reference works on 32-bit lengths; longer keys do not exist on the wire.
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (words, tail) = data.as_chunks::<4>();
    let mut hash = words.iter().fold(SEED ^ length, |hash, word| {
        let mixed = u32::from_le_bytes(*word).wrapping_mul(MIX);
        hash.wrapping_mul(MIX) ^ (mixed ^ mixed >> SHIFT).wrapping_mul(MIX)
    });
    if !tail.is_empty() {
        let mut word = [0; 4];
        word[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u32::from_le_bytes(word)).wrapping_mul(MIX);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(MIX);
    hash ^ hash >> 15
}

const SEED: u32 = 0x9747_b28c;
const MIX: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;
const SIGN_CLEARED: u32 = 0x7fff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_agree_with_other_clients() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, expected) in cases {
            assert_eq!(
                murmur2(key).cast_signed(),
                expected,
                "{}",
                String::from_utf8_lossy(key)
            );
        }
    }

    #[test]
    fn partitions_are_in_range() {
        assert_eq!(partition_of(b"anything", 1), 0);
        assert!((0..100_u8).all(|key| partition_of(&[key], 7) < 7));
    }
}
