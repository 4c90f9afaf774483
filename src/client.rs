//! Clients of brokers. [`kafka`] is the blocking Kafka client of the command line and the load generator; it works
//! against any Kafka broker.

#[cfg(feature = "server")]
pub mod kafka;
