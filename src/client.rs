//! Clients of brokers. [`native`] speaks Corelog's own protocol; its names are re-exported here. `kafka` is the blocking
//! Kafka client of the command line and the load generator; it works against any Kafka broker.

#[cfg(feature = "server")]
pub mod kafka;
pub mod partitioner;
