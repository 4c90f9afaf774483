//! The messages of a run: what a producer puts in and a consumer can judge.
//!
//! Every value begins with a [`Stamp`] that says when the message was meant to be sent and which one it is, so that a
//! consumer in the same process measures the whole way by one clock and notices loss, repetition and reordering.
//! Behind it come bytes from a pool made once per run, half of them random as in the OpenMessaging Benchmark, so that
//! compression finds neither nothing nor everything.

mod pool;

pub use pool::{KEY_BYTES, KEYS, Pool};

/// Smallest value that holds a stamp. Shorter messages carry none: they can be sent, not traced.
pub const STAMP_BYTES: usize = 28;

/// First bytes of a stamped value.
const STAMP_MAGIC: [u8; 4] = *b"CLBN";

/// What a stamped value says of itself: `magic 4 | run 4 | intended_ns 8 | producer 4 | sequence 8`, little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The run; values of other runs are ignored.
    pub run: u32,
    /// When it was meant to be sent: nanoseconds of the run's clock.
    pub intended_ns: u64,
    /// Which producer.
    pub producer: u32,
    /// The producer's count for this partition, from 0.
    pub sequence: u64,
}

impl Stamp {
    /// Writes the stamp into the front of `value`; a value that is too short is left as it is.
    pub fn write(&self, value: &mut [u8]) {
        let Some(front) = value.first_chunk_mut::<STAMP_BYTES>() else {
            return;
        };
        front[..4].copy_from_slice(&STAMP_MAGIC);
        front[4..8].copy_from_slice(&self.run.to_le_bytes());
        front[8..16].copy_from_slice(&self.intended_ns.to_le_bytes());
        front[16..20].copy_from_slice(&self.producer.to_le_bytes());
        front[20..].copy_from_slice(&self.sequence.to_le_bytes());
    }

    /// Reads the stamp of a value, if it has one.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        let front = value.first_chunk::<STAMP_BYTES>()?;
        let (magic, rest) = front.split_first_chunk::<4>()?;
        let (run, rest) = rest.split_first_chunk::<4>()?;
        let (intended, rest) = rest.split_first_chunk::<8>()?;
        let (producer, rest) = rest.split_first_chunk::<4>()?;
        let sequence = rest.first_chunk::<8>()?;
        (*magic == STAMP_MAGIC).then(|| Self {
            run: u32::from_le_bytes(*run),
            intended_ns: u64::from_le_bytes(*intended),
            producer: u32::from_le_bytes(*producer),
            sequence: u64::from_le_bytes(*sequence),
        })
    }
}

/// One message to send.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its key, if the run uses keys.
    pub key: Option<&'a [u8]>,
    /// Its value, stamped.
    pub value: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_from_the_value_it_was_written_to() {
        let stamp = Stamp {
            run: 7,
            intended_ns: u64::MAX - 1,
            producer: 3,
            sequence: 1 << 40,
        };
        let mut value = vec![0xaa; 100];
        stamp.write(&mut value);
        assert_eq!(Stamp::read(&value), Some(stamp));
        value[0] ^= 1;
        assert_eq!(Stamp::read(&value), None);
        assert_eq!(Stamp::read(&value[..STAMP_BYTES - 1]), None);
    }
}
