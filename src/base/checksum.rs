//! CRC32C (Castagnoli), the one checksum of the log, the journal and Kafka's record batch v2.
//!
//! One polynomial everywhere means that a Kafka batch's own checksum can serve as the payload checksum of the
//! frame that carries it (`batch::header`), so a produced byte is summed once on arrival and never again.

use crc_fast::CrcAlgorithm;

/// CRC32C of `bytes` (RFC 3720 appendix B.4; check value of `"123456789"` is `0xe3069283`).
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    truncate(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes))
}

/// CRC32C of two byte strings in a row, from their own sums and the length of the second; reads no byte.
#[must_use]
pub fn crc32c_combine(first: u32, second: u32, second_bytes: u64) -> u32 {
    let (first, second) = (u64::from(first), u64::from(second));
    truncate(crc_fast::checksum_combine(
        CrcAlgorithm::Crc32Iscsi,
        first,
        second,
        second_bytes,
    ))
}

/// CRC32C over several slices as if they were one.
#[derive(Debug)]
pub struct Crc32c(crc_fast::Digest);

impl Crc32c {
    /// Starts an empty sum.
    #[must_use]
    pub fn new() -> Self {
        Self(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    /// Adds `bytes` to the sum.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The sum of everything added so far.
    #[must_use]
    pub fn finish(&self) -> u32 {
        truncate(self.0.finalize())
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the crate returns 32-bit sums widened to u64"
)]
fn truncate(sum: u64) -> u32 {
    sum as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_matches_the_rfc() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn combined_sums_are_the_sum_of_the_whole() {
        let whole: Vec<u8> = (0..=255).collect();
        for split in [0, 1, 100, 256] {
            let (first, second) = whole.split_at(split);
            let combined = crc32c_combine(crc32c(first), crc32c(second), 256 - first.len() as u64);
            assert_eq!(combined, crc32c(&whole));
        }
    }

    #[test]
    fn pieces_sum_like_the_whole() {
        let whole: Vec<u8> = (0..=255).collect();
        for split in [0, 1, 100, 256] {
            let mut sum = Crc32c::new();
            sum.update(&whole[..split]);
            sum.update(&whole[split..]);
            assert_eq!(sum.finish(), crc32c(&whole));
        }
    }
}
