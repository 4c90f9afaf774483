//! What the judge talks about: partitions, places in them, and values that tell who sent them.
//!
//! A value is unique by construction: a producer's number and a sequence that the producer counts up from zero over
//! everything it sends. So a value read from a log says by itself whether it was ever sent, whether it is there twice and
//! what must have come before it, and a record costs the judge a few words however long it is. The text form is
//! `producer:sequence:filling`.

use std::fmt;

use crate::base::crc32c;

/// A partition under test: any number that stands for one partition of one topic throughout a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u64);

impl fmt::Display for Partition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "p{}", self.0)
    }
}

/// Where a value was seen or acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The partition.
    pub partition: Partition,
    /// The offset of the record in it.
    pub offset: u64,
}

impl Place {
    /// The place of `offset` in the partition of that number.
    #[must_use]
    pub const fn new(partition: u64, offset: u64) -> Self {
        Self {
            partition: Partition(partition),
            offset,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.partition, self.offset)
    }
}

/// A value, by who sent it and by a sum of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Value {
    /// The producer that made it; counted from zero, it costs the judge a table for each.
    pub producer: u32,
    /// The how-manyth value of that producer, counted from zero over all partitions, rising in the order of sending.
    pub sequence: u64,
    /// A sum over the bytes, so that a record that says the same name in other bytes is found; 0 compares with nothing.
    pub sum: u32,
}

impl Value {
    /// A value of which only the name is known.
    #[must_use]
    pub const fn new(producer: u32, sequence: u64) -> Self {
        Self {
            producer,
            sequence,
            sum: 0,
        }
    }

    /// The value whose text is `bytes`: `producer:sequence:filling`, with the sum of all of it; nothing if no producer of
    /// ours makes such bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.splitn(3, |byte| *byte == b':');
        let mut number = || std::str::from_utf8(parts.next()?).ok();
        let producer = number()?.parse().ok()?;
        let sequence = number()?.parse().ok()?;
        parts.next()?;
        Some(Self {
            producer,
            sequence,
            sum: crc32c(bytes).max(1),
        })
    }

    /// Whether both name the same send.
    #[must_use]
    pub fn same_send(self, other: Self) -> bool {
        (self.producer, self.sequence) == (other.producer, other.sequence)
    }

    /// Whether both are known to have the same bytes, or one of them is not known.
    pub(super) const fn same_bytes(self, other: Self) -> bool {
        self.sum == other.sum || self.sum == 0 || other.sum == 0
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.producer, self.sequence)?;
        if self.sum == 0 {
            return Ok(());
        }
        write!(out, " (sum {:08x})", self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_from_their_text() {
        let value = Value::parse(b"7:42:whatever:more").expect("a value");
        assert_eq!((value.producer, value.sequence), (7, 42));
        assert_ne!(value.sum, 0);
        for not_ours in [&b"garbage"[..], b"1:2", b"x:1:y", b"1:-1:", b"", b"\xff:1:z"] {
            assert_eq!(Value::parse(not_ours), None);
        }
    }

    #[test]
    fn unknown_bytes_differ_from_nothing() {
        let (first, other) = (Value::parse(b"1:2:a"), Value::parse(b"1:2:b"));
        let (first, other) = (first.expect("a value"), other.expect("a value"));
        assert!(first.same_send(other) && !first.same_bytes(other));
        assert!(first.same_bytes(Value::new(1, 2)));
    }
}
