//! The native protocol's error codes: number, name, whether trying again can help, and a sentence for people.
//!
//! **Promise.** Numbers never change their meaning; 0 is no error. A client that meets a code it does not know takes
//! it for [`ErrorCode::Internal`]. **Retriable** means that the same request may succeed later without anybody
//! changing it; the client should wait a little. Any thread; no state.
//!
//! Absent: the mapping from the broker's errors, which is the server side's (`map`).

macro_rules! error_codes {
    ($($variant:ident $code:literal $name:literal $retry:literal $message:literal;)*) => {
        /// An error code of the native protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum ErrorCode {
            $(#[doc = $message] $variant = $code,)*
        }

        impl ErrorCode {
            /// Every code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The error behind a code from the wire, if it is known here.
            #[must_use]
            pub const fn from_wire(code: u16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name, such as `UNKNOWN_PARTITION`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Whether the same request may succeed later.
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(Self::$variant => $retry,)*
                }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$variant => $message,)*
                }
            }
        }
    };
}

error_codes! {
    Internal 1 "INTERNAL" false "The broker failed to do this, or the code is newer than this client.";
    Malformed 2 "MALFORMED" false "The frame contradicts itself or the protocol.";
    UnsupportedVersion 3 "UNSUPPORTED_VERSION" false "The broker does not speak this version of the protocol.";
    UnknownKind 4 "UNKNOWN_KIND" false "The broker does not accept this kind of frame.";
    HelloExpected 5 "HELLO_EXPECTED" false "The first frame of a connection must be a hello, and only the first.";
    FrameTooLarge 6 "FRAME_TOO_LARGE" false "The frame is larger than the broker accepts.";
    FrameChecksum 7 "FRAME_CHECKSUM" false "The frame was damaged on its way.";
    TooMany 8 "TOO_MANY" false "More elements in one request than the broker accepts.";
    Stopping 9 "STOPPING" true "The broker is stopping.";
    UnknownTopic 10 "UNKNOWN_TOPIC" true "There is no topic of this name.";
    UnknownPartition 11 "UNKNOWN_PARTITION" true "There is no such topic id, or the topic has no such partition.";
    TopicExists 12 "TOPIC_EXISTS" false "There is a topic of this name already.";
    InvalidTopic 13 "INVALID_TOPIC" false "The topic's name is not allowed.";
    InvalidPartitions 14 "INVALID_PARTITIONS" false "The number of partitions is not possible.";
    InvalidConfig 15 "INVALID_CONFIG" false "A configuration key or value is not acceptable.";
    CorruptBatch 20 "CORRUPT_BATCH" true "The batch does not match its checksums.";
    InvalidBatch 21 "INVALID_BATCH" false "The batch breaks a rule: structure, counts, timestamps, keys its topic demands, or fields that are the broker's.";
    BatchTooLarge 22 "BATCH_TOO_LARGE" false "The batch is larger than its topic accepts.";
    NotEnoughReplicas 23 "NOT_ENOUGH_REPLICAS" true "The topic wants more replicas to have the batch than there are.";
    OutOfOrderSequence 30 "OUT_OF_ORDER_SEQUENCE" false "The batch does not follow the producer's last one.";
    DuplicateSequence 31 "DUPLICATE_SEQUENCE" false "The batch was appended too long ago to say where.";
    StaleProducerEpoch 32 "STALE_PRODUCER_EPOCH" false "The producer's epoch is over.";
    OffsetOutOfRange 40 "OFFSET_OUT_OF_RANGE" false "The offset is not in the log (any more).";
    Damaged 41 "DAMAGED" false "The log is damaged here, or the disk failed to give the bytes.";
    DiskFull 50 "DISK_FULL" true "The broker's disk is full; reading goes on.";
    Storage 51 "STORAGE" true "The broker's disk failed, or the broker is stopping: nothing was acknowledged.";
    SubscriptionExists 60 "SUBSCRIPTION_EXISTS" false "The connection has a subscription of this number already.";
    UnknownSubscription 61 "UNKNOWN_SUBSCRIPTION" false "The connection has no subscription of this number.";
    TooManySubscriptions 62 "TOO_MANY_SUBSCRIPTIONS" false "The connection has as many subscriptions as the broker allows.";
    InvalidCredit 63 "INVALID_CREDIT" false "Credit of nothing, or more than the broker allows.";
}

impl ErrorCode {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        // The discriminants are the codes.
        self as u16
    }

    /// The error a field carries: none for 0, [`Self::Internal`] for a code not known here.
    #[must_use]
    pub fn carried(code: u16) -> Option<Self> {
        (code != 0).then(|| Self::from_wire(code).unwrap_or(Self::Internal))
    }

    /// The code of an error that may not be there.
    #[must_use]
    pub fn code_of(error: Option<Self>) -> u16 {
        error.map_or(0, Self::code)
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.code(), self.message())
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_the_wire_and_ascend() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_wire(code.code()), Some(*code));
        }
        assert!(ErrorCode::ALL.is_sorted());
        assert_eq!(ErrorCode::carried(0), None);
        assert_eq!(ErrorCode::carried(9999), Some(ErrorCode::Internal));
    }
}
