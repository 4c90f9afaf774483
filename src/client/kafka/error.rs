//! What can go wrong between the command line and a broker, and whether trying again can help.

use std::io;

use crate::batch::KafkaBatchError;
use crate::batch::kafka::{BuildError, OpenError, RecordError};
use crate::protocol::kafka::api::ApiKey;
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::wire::{DecodeError, EncodeError};

/// Why a request had no useful answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be read.
    #[error("\"{text}\" is not the address of a broker: write host:port")]
    Address {
        /// What was written.
        text: String,
    },
    /// No connection could be made.
    #[error("cannot connect to {address}: {source}{}", hint(.source))]
    Connect {
        /// Whom we called.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to {address} broke: {source}")]
    Io {
        /// Whom we talked to.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The broker sent something that is no answer.
    #[error("{address} sent something that is no answer: {reason}")]
    Nonsense {
        /// Whom we talked to.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Broker and client have no version of an API in common.
    #[error("{address} does not speak a version of {api:?} that this client knows")]
    Unsupported {
        /// Whom we talked to.
        address: String,
        /// The API.
        api: ApiKey,
    },
    /// Our request cannot be written.
    #[error("the request cannot be written: {0}")]
    Encode(#[from] EncodeError),
    /// Our batch cannot be built.
    #[error("the batch cannot be built: {0}")]
    Build(#[from] BuildError),
    /// The broker refused.
    #[error("{what}: {}", describe(*.code, .message.as_deref()))]
    Refused {
        /// The topic or partition it is about.
        what: String,
        /// Kafka's error code.
        code: i16,
        /// The broker's own words.
        message: Option<String>,
    },
    /// There is no such topic.
    #[error("there is no topic \"{topic}\": corelog topic create {topic}")]
    NoSuchTopic {
        /// Its name.
        topic: String,
    },
    /// There is no such partition.
    #[error("topic \"{topic}\" has no partition {partition}: it has {count}")]
    NoSuchPartition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: i32,
        /// How many there are.
        count: usize,
    },
    /// What was fetched is damaged.
    #[error("{partition} at offset {offset}: {reason}")]
    Damaged {
        /// The partition, as topic and index.
        partition: String,
        /// Where reading stood.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
    /// The metadata named a broker it did not list.
    #[error("the cluster names a broker {node} but not its address")]
    UnknownNode {
        /// The broker.
        node: i32,
    },
    /// No address was given.
    #[error("no broker to talk to")]
    NoBroker,
    /// Our own output failed.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
}

/// The usual reason for a refused connection.
fn hint(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::ConnectionRefused {
        "; is `corelog serve` running there?"
    } else {
        ""
    }
}

impl ClientError {
    /// A refusal by the broker.
    pub(crate) fn refused(what: &str, code: i16, message: Option<&str>) -> Self {
        Self::Refused {
            what: what.to_owned(),
            code,
            message: message.map(str::to_owned),
        }
    }

    /// Turns a code from the wire into a result.
    pub(crate) fn check(what: &str, code: i16, message: Option<&str>) -> Result<(), Self> {
        if code == ErrorCode::None.code() {
            Ok(())
        } else {
            Err(Self::refused(what, code, message))
        }
    }

    pub(crate) fn nonsense(address: &str, reason: impl ToString) -> Self {
        Self::Nonsense {
            address: address.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Whether the same request may succeed a moment later, perhaps at another broker.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Io { .. } | Self::UnknownNode { .. } => true,
            Self::Refused { code, .. } => ErrorCode::from_wire(*code).is_some_and(ErrorCode::is_retriable),
            _ => false,
        }
    }
}

/// Why a fetched batch cannot be read, in its own words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchFault {
    #[error(transparent)]
    Batch(#[from] KafkaBatchError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("a batch says it holds {0} records")]
    Count(i32),
}

/// A decoding failure is the peer's, and needs to know which.
pub(crate) fn undecodable(address: &str, error: &DecodeError) -> ClientError {
    ClientError::nonsense(address, error)
}

/// A code in words: the broker's if it has any, else ours.
#[must_use]
pub(crate) fn describe(code: i16, message: Option<&str>) -> String {
    let known = ErrorCode::from_wire(code);
    let name = known.map_or_else(|| format!("error {code}"), |known| known.name().to_owned());
    match (message.filter(|message| !message.is_empty()), known) {
        (Some(message), _) => format!("{name}: {message}"),
        (None, Some(known)) => format!("{name}: {}", known.message()),
        (None, None) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_speak_the_brokers_words_or_ours() {
        let own = ClientError::refused("t", 36, Some("it is there already"));
        assert_eq!(own.to_string(), "t: TOPIC_ALREADY_EXISTS: it is there already");
        let ours = ClientError::refused("t", 36, None).to_string();
        assert!(
            ours.starts_with("t: TOPIC_ALREADY_EXISTS: ") && ours.ends_with('.'),
            "{ours}"
        );
        assert_eq!(
            ClientError::refused("t", 12_345, None).to_string(),
            "t: error 12345"
        );
    }

    #[test]
    fn only_what_passes_is_transient() {
        assert!(ClientError::refused("t", ErrorCode::NotLeaderOrFollower.code(), None).is_transient());
        assert!(!ClientError::refused("t", ErrorCode::MessageTooLarge.code(), None).is_transient());
        assert!(!ClientError::refused("t", 12_345, None).is_transient());
        assert!(!ClientError::NoBroker.is_transient());
    }
}
