//! The settings of native clients, their defaults, and the bounds nobody can set.
//!
//! Every wait of a client ends by one of the time-outs here, every buffer by one of the sizes. Any thread.

use std::time::Duration;

use super::error::Error;
use crate::protocol::native::messages::{Acks, CREDIT_BYTES_MAX, PUSH_BYTES_MAX};

/// How a client behaves towards its brokers.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// How long until a connection must stand, welcome included.
    pub connect_timeout: Duration,
    /// How long until an answer must be there; afterwards the connection is given up.
    pub request_timeout: Duration,
    /// What the client calls itself in the broker's log.
    pub name: String,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            name: concat!("corelog-client ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Whether batches carry sequences, so that sending one again never appends it twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Identity {
    /// They do.
    #[default]
    Idempotent,
    /// They do not; a batch whose answer was lost may be appended twice.
    Anonymous,
}

/// Whether deliveries say how long the broker took for each stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stages {
    /// They do not.
    #[default]
    Unasked,
    /// They do, if the broker keeps them.
    Reported,
}

/// How a producer collects and sends.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// When a batch is acknowledged. With [`Acks::None`] it counts as delivered once it is handed to its connection, and
    /// carries no sequences.
    pub acks: Acks,
    /// See [`Identity`].
    pub identity: Identity,
    /// How long a batch waits for more records. Zero sends as soon as the partition may send; while it may not, records
    /// collect all the same.
    pub linger: Duration,
    /// A batch is closed before it exceeds this (and the topic's own bound).
    pub batch_bytes: usize,
    /// Batches of one partition on their way at once, at most [`IN_FLIGHT_MAX`].
    pub in_flight: usize,
    /// Bytes of records not acknowledged yet. When they are this many, `send` waits.
    pub buffer_bytes: usize,
    /// How long until a record must be acknowledged, and how long `send` waits for room.
    pub delivery_timeout: Duration,
    /// See [`Stages`].
    pub stages: Stages,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            acks: Acks::Durable,
            identity: Identity::Idempotent,
            linger: Duration::ZERO,
            batch_bytes: 256 << 10,
            in_flight: IN_FLIGHT_MAX,
            buffer_bytes: 32 << 20,
            delivery_timeout: Duration::from_secs(120),
            stages: Stages::Unasked,
        }
    }
}

impl ProducerConfig {
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.in_flight == 0 || self.in_flight > IN_FLIGHT_MAX {
            return Err(Error::Setting("in_flight must be 1 to 5"));
        }
        if self.batch_bytes == 0 || self.batch_bytes > BATCH_BYTES_MAX {
            return Err(Error::Setting("batch_bytes must be 1 byte to 64 MiB"));
        }
        if self.buffer_bytes < self.batch_bytes {
            return Err(Error::Setting("buffer_bytes must be at least batch_bytes"));
        }
        Ok(())
    }

    pub(super) fn is_idempotent(&self) -> bool {
        self.identity == Identity::Idempotent && self.acks == Acks::Durable
    }
}

/// Where reading begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// At the first record there is.
    Earliest,
    /// Behind the last record there is.
    Latest,
    /// At this offset.
    Offset(u64),
    /// At the first record of this time or later, in milliseconds since 1970; behind the last if there is none.
    Time(i64),
}

/// What a consumer does when its offset is not in the log (any more).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OutOfRange {
    /// `poll` says so, and the partition stays where it is until `seek`.
    #[default]
    Fail,
    /// Goes on at the first record there is.
    Earliest,
    /// Goes on behind the last record there is.
    Latest,
}

/// How a consumer reads.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// Bytes a broker may push on one connection before the consumer has taken them: the read-ahead.
    pub credit_bytes: u64,
    /// A push ends before it exceeds this, unless one batch does.
    pub push_bytes: u32,
    /// See [`OutOfRange`].
    pub out_of_range: OutOfRange,
    /// Bytes a compressed Kafka batch may open to.
    pub open_bytes: usize,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            credit_bytes: 4 << 20,
            push_bytes: 1 << 20,
            out_of_range: OutOfRange::Fail,
            open_bytes: 64 << 20,
        }
    }
}

impl ConsumerConfig {
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.credit_bytes == 0 || self.credit_bytes > CREDIT_BYTES_MAX {
            return Err(Error::Setting("credit_bytes must be 1 byte to 1 GiB"));
        }
        if self.push_bytes == 0 || self.push_bytes > PUSH_BYTES_MAX {
            return Err(Error::Setting("push_bytes must be 1 byte to 4 MiB"));
        }
        Ok(())
    }
}

/// Batches of one partition on their way at once: a broker remembers the last five of a producer, and one sent again must
/// be among them.
pub const IN_FLIGHT_MAX: usize = 5;

/// The largest batch a producer may be told to build.
pub const BATCH_BYTES_MAX: usize = 64 << 20;

/// Produce requests of one connection on their way at once; below the broker's own bound.
pub(super) const REQUESTS_MAX: usize = 16;

/// Bytes of one produce request, unless a single batch is larger.
pub(super) const REQUEST_BYTES: usize = 1 << 20;

/// Bytes waiting to be written to one connection before nothing more is put behind them.
pub(super) const OUTBOX_BYTES: usize = 4 << 20;

/// Bytes asked of a socket at once.
pub(super) const READ_BYTES: usize = 256 << 10;

/// The pause after the first failure of a connection or a refused batch; doubled for each further one.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(20);

/// The longest pause.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The pause after the `failures`th failure in a row.
pub(super) fn pause_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(PAUSE_DOUBLINGS_MAX);
    (PAUSE_MIN * (1 << doublings)).min(PAUSE_MAX)
}

const PAUSE_DOUBLINGS_MAX: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end() {
        let pauses: Vec<u128> = [1, 2, 3, 100].map(|n| pause_after(n).as_millis()).to_vec();
        assert_eq!(pauses, [20, 40, 80, 1000]);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert!(ProducerConfig::default().check().is_ok());
        let in_flight = ProducerConfig {
            in_flight: 6,
            ..ProducerConfig::default()
        };
        assert!(matches!(in_flight.check(), Err(Error::Setting(_))));
        let credit = ConsumerConfig {
            credit_bytes: 0,
            ..ConsumerConfig::default()
        };
        assert!(matches!(credit.check(), Err(Error::Setting(_))));
    }
}
