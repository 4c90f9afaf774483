//! What can go wrong between a native client and a broker, and whether trying again can help.
//!
//! One enum for everything, cheap to clone, because the failure of one batch is the failure of each record in it. The
//! client retries by itself whatever is safe to retry, within its time-outs; an error that reaches the caller is what was
//! left after that. Any thread.

use std::fmt;
use std::sync::Arc;

use crate::protocol::native::errors::ErrorCode;

/// Why a native client could not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be read or resolved.
    #[error("\"{address}\" is not the address of a broker: {reason}")]
    Address {
        /// What was written.
        address: Arc<str>,
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// No connection could be made, or the broker did not welcome it.
    #[error("cannot connect to {address}: {reason}")]
    Unreachable {
        /// Whom we called.
        address: Arc<str>,
        /// What the operating system, or the broker, said.
        reason: Arc<str>,
    },
    /// The connection broke while an answer was due. What was asked may have been done.
    #[error("the connection to {address} broke: {reason}")]
    Lost {
        /// Whom we talked to.
        address: Arc<str>,
        /// What happened.
        reason: Arc<str>,
    },
    /// Time ran out. What was asked may have been done.
    #[error("time ran out waiting for {what}")]
    TimedOut {
        /// What did not happen in time.
        what: Waited,
    },
    /// The broker refused.
    #[error("{what}: {code}{}", words(.reason))]
    Refused {
        /// What was refused: a topic, a partition or a request.
        what: Arc<str>,
        /// Why.
        code: ErrorCode,
        /// The broker's own words; may be empty.
        reason: Arc<str>,
    },
    /// The broker sent something that is no answer.
    #[error("{address} sent something that is no answer: {reason}")]
    Protocol {
        /// Whom we talked to.
        address: Arc<str>,
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// A batch that was read does not pass its checks.
    #[error("{topic}-{partition} at offset {offset} is damaged: {reason}")]
    Damaged {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: u32,
        /// Where reading stood.
        offset: u64,
        /// Which check failed.
        reason: Arc<str>,
    },
    /// There is no such partition.
    #[error("topic \"{topic}\" has no partition {partition}: it has {count}")]
    NoSuchPartition {
        /// The topic.
        topic: Arc<str>,
        /// The partition asked for.
        partition: u32,
        /// How many there are.
        count: u32,
    },
    /// A record that no batch of its topic may hold.
    #[error("a record of {bytes} bytes, batches of the topic hold {max}")]
    RecordTooLarge {
        /// Bytes of the record in a batch of its own.
        bytes: usize,
        /// The topic's bound.
        max: usize,
    },
    /// A setting that cannot work.
    #[error("{0}")]
    Setting(&'static str),
}

/// What did not happen in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waited {
    /// A broker to talk to.
    Broker,
    /// Metadata of a topic.
    Topic,
    /// Room in the buffer of a producer.
    Room,
    /// The acknowledgement of a batch.
    Delivery,
    /// The answer to a request.
    Answer,
}

impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broker => "a broker",
            Self::Topic => "a topic's metadata",
            Self::Room => "room in the producer's buffer",
            Self::Delivery => "an acknowledgement",
            Self::Answer => "an answer",
        })
    }
}

impl Error {
    /// Whether the same call may succeed a moment later without anybody changing it.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } | Self::TimedOut { .. } => true,
            Self::Refused { code, .. } => code.is_retriable(),
            _ => false,
        }
    }

    /// The broker's code, if it refused.
    #[must_use]
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    pub(super) fn refused(what: impl Into<Arc<str>>, code: ErrorCode) -> Self {
        Self::Refused {
            what: what.into(),
            code,
            reason: Arc::from(""),
        }
    }

    pub(super) fn protocol(address: &Arc<str>, reason: impl ToString) -> Self {
        Self::Protocol {
            address: Arc::clone(address),
            reason: reason.to_string().into(),
        }
    }

    pub(super) fn lost(address: &Arc<str>, reason: impl ToString) -> Self {
        Self::Lost {
            address: Arc::clone(address),
            reason: reason.to_string().into(),
        }
    }

    pub(super) fn unreachable(address: &Arc<str>, reason: impl ToString) -> Self {
        Self::Unreachable {
            address: Arc::clone(address),
            reason: reason.to_string().into(),
        }
    }
}

fn words(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(" ({reason})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_carry_the_code_and_the_brokers_words() {
        let error = Error::Refused {
            what: "t".into(),
            code: ErrorCode::InvalidConfig,
            reason: "no such key".into(),
        };
        let text = error.to_string();
        assert!(text.starts_with("t: INVALID_CONFIG"), "{text}");
        assert!(text.ends_with("(no such key)"), "{text}");
        assert!(!error.is_retriable());
        assert!(Error::refused("t", ErrorCode::DiskFull).is_retriable());
    }
}
