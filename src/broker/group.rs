//! Consumer groups: who reads what, and how far they got.
//!
//! Pure state machines: inputs and the time in, answers and records to append out. The coordinator in the shard room does
//! the I/O around them; the doors turn errors into the codes of their protocol.
//!
//! - [`request`] and [`error`]: what can be asked, what is answered, why something is refused.
//! - [`coordinator`]: all groups of one partition of the offsets topic; what the shard holds.
//! - [`classic`]: a group whose members agree among themselves.
//! - [`consumer`]: a group of the next-generation protocol (KIP-848), whose members the broker assigns.
//! - [`offsets`]: the committed offsets of a group.
//! - [`record`]: what a change of a group looks like in the internal topic, in Kafka's own layout.
//! - [`config`]: what an operator may set.
//!
//! **Promise.** Whatever an answer says follows from the records appended before it: if those are durable before the answer
//! leaves, no crash can make the broker forget what a client was told. Applying all records in order gives the same groups
//! again, but for what was under way: open joins, and who has been given an id.
//!
//! Boundary: no wire type comes in here, nothing waits, nothing reads a clock.

pub mod classic;
pub mod config;
pub mod consumer;
pub mod coordinator;
pub mod error;
pub mod offsets;
pub mod record;
pub mod request;
pub(crate) mod subscription;

use record::GroupRecord;
use request::{GroupReply, Ticket};

/// The topic that groups are kept in.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// What came of a request or of time passing: records to append, in order, and answers that may leave once everything
/// appended so far is durable.
#[derive(Debug, Default)]
pub struct Effects {
    /// To append.
    pub records: Vec<GroupRecord>,
    /// To send.
    pub replies: Vec<(Ticket, GroupReply)>,
}

/// The partition of the offsets topic that a group is kept in: Kafka's rule, by Java's hash of the id, so that tools that
/// know the rule find the right one.
///
/// # Panics
/// When the topic has no partitions, which no topic has.
#[must_use]
pub fn partition_of(group: &str, partitions: u32) -> u32 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    // Java's `abs` of the smallest integer is negative; Kafka takes 0 there.
    hash.checked_abs().unwrap_or(0).cast_unsigned() % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_where_kafka_puts_them() {
        // Java: "console-consumer-1".hashCode() and "my-group".hashCode().
        assert_eq!(partition_of("", 50), 0);
        assert_eq!(partition_of("a", 50), 97 % 50);
        assert_eq!(
            partition_of("my-group", 50),
            java_hash("my-group").unsigned_abs() % 50
        );
        // Its hash is the smallest integer.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
    }

    fn java_hash(text: &str) -> i32 {
        let mut hash = 0i64;
        for byte in text.bytes() {
            hash = (hash * 31 + i64::from(byte)) & 0xffff_ffff;
        }
        u32::try_from(hash).unwrap().cast_signed()
    }
}
