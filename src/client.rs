//! Clients of brokers. [`native`] speaks Corelog's own protocol; its names are re-exported here. `kafka` is the blocking
//! Kafka client of the command line and the load generator; it works against any Kafka broker.

#[cfg(feature = "server")]
pub mod kafka;
pub mod native;
pub mod partitioner;

pub use native::blocking::{Client, Consumer, Producer};
pub use native::{
    Batch, Batches, Callback, ClientConfig, ConsumerConfig, Delivered, Delivery, Error, Identity, NewRecord,
    OutOfRange, Position, ProducerConfig, Record, Stages, Start, TopicDescription, Waited,
};

#[cfg(feature = "client-async")]
pub use native::asynchronous;

pub use crate::base::stages::{Stage, StageTimes};
pub use crate::batch::RecordHeader;
pub use crate::protocol::native::errors::ErrorCode;
pub use crate::protocol::native::messages::Acks;
