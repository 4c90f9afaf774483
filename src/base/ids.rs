//! Identities, offsets and positions, each a type of its own so that one cannot be passed for another.
//!
//! Ranges are half-open unless a name says `last_`. Kafka's wire knows these as signed integers with -1 for
//! "none"; inside the broker "none" is an `Option` and the conversion lives at the door.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($int);

        impl $name {
            /// The value zero.
            pub const ZERO: Self = Self(0);

            /// Wraps a raw value; there is no implicit conversion on purpose.
            #[must_use]
            pub const fn new(value: $int) -> Self {
                Self(value)
            }

            /// The raw value.
            #[must_use]
            pub const fn get(self) -> $int {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// Index of a record in a log, dense from 0. Never above `i64::MAX`, Kafka's limit.
    Offset(u64)
}
id! {
    /// Byte position inside one segment file.
    Position(u64)
}
id! {
    /// Index of a partition within its topic. Never above `i32::MAX`, Kafka's limit.
    PartitionId(u32)
}
id! {
    /// Index of a shard: one pinned core and everything it owns.
    ShardId(u16)
}
id! {
    /// Leadership generation of a log; it only grows. Never above `i32::MAX`, Kafka's limit.
    LeaderEpoch(u32)
}
id! {
    /// Identity of an idempotent producer, handed out once for the life of the cluster.
    ProducerId(i64)
}
id! {
    /// Generation of a producer id; it only grows.
    ProducerEpoch(i16)
}
id! {
    /// Milliseconds since the Unix epoch; Kafka allows negative values.
    Timestamp(i64)
}

impl Timestamp {
    /// How long before this moment `earlier` was; nothing when it was not.
    #[must_use]
    pub fn age_of(self, earlier: Self) -> std::time::Duration {
        let ms = self.0.saturating_sub(earlier.0);
        std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }
}

impl Offset {
    /// The offset `count` records later.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

/// Identity of a topic, unique for ever: a topic deleted and created again under its name is another topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId([u8; 16]);

impl TopicId {
    /// The id no topic has; Kafka's wire uses it for "not given".
    pub const NIL: Self = Self([0; 16]);

    /// Wraps the sixteen bytes of a UUID.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The sixteen bytes of the UUID, in the order of RFC 9562.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Identity of one log: a partition of a topic. Every frame carries it, so a misplaced write is noticed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogId {
    /// The topic.
    pub topic: TopicId,
    /// The partition within the topic.
    pub partition: PartitionId,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}
