//! The native client: producers, consumers and topics over the native protocol, blocking or on tokio.
//!
//! ```no_run
//! use corelog::client::{Client, ConsumerConfig, NewRecord, ProducerConfig, Start};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), corelog::client::Error> {
//! let mut client = Client::connect("127.0.0.1:9192")?;
//! client.create_topic("hello", 4, &[])?;
//!
//! let mut producer = client.producer(ProducerConfig::default())?;
//! let delivery = producer.send(&NewRecord::to("hello").key(b"k").value(b"hi"))?;
//! println!("durable at {:?}", producer.wait(&delivery)?.offset);
//!
//! let mut consumer = client.consumer(ConsumerConfig::default())?;
//! consumer.subscribe("hello", None, Start::Earliest)?;
//! while let Some(batches) = consumer.poll(Duration::from_secs(1))? {
//!     for record in batches.records() {
//!         println!("{}: {:?}", record.offset, record.value);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Shape.** State machines without I/O (`producer`, `consumer`, `caller`, over `cluster` and `link`) hold everything that
//! is a decision; two fronts, [`blocking`] and (feature `client-async`) [`asynchronous`], hold sockets and wait. Both say
//! the same things under the same names.
//!
//! **Threads.** None. A client works while one of its methods runs: a producer sends, receives and resends inside
//! `send`, `poll`, `wait` and `flush`; a consumer receives inside `poll`. What a caller does not drive stands still, and
//! brokers wait for it. A client may move between threads and is used by one at a time.
//!
//! **Connections.** One to each node that leads a partition in use (with a port per core, that is one per core), made when
//! first needed and made again whenever they break, after a pause that grows from 20 ms to 1 s.

#[cfg(feature = "client-async")]
pub mod asynchronous;
pub mod blocking;
mod caller;
mod cluster;
mod config;
mod consumer;
mod drive;
mod error;
mod link;
#[cfg(test)]
mod peer;
mod producer;

pub use caller::{Position, TopicDescription};
pub use config::{
    BATCH_BYTES_MAX, ClientConfig, ConsumerConfig, IN_FLIGHT_MAX, Identity, OutOfRange, ProducerConfig,
    Stages, Start,
};
pub use consumer::view::{Batch, Batches, Record};
pub use error::{Error, Waited};
pub use producer::NewRecord;
pub use producer::delivery::{Callback, Delivered, Delivery};
