//! Consumer groups: who reads what, and how far they got.
//!
//! Pure state machines: inputs and the time in, answers and records to append out. The coordinator in the shard room does
//! the I/O around them; the doors turn errors into the codes of their protocol.
//!
//! - [`consumer`]: a group of the next-generation protocol (KIP-848), which the broker assigns.
//! - [`record`]: what a change of a group looks like in the internal topic, in Kafka's own layout.
//!
//! Boundary: no wire type comes in here, nothing waits, nothing reads a clock.

pub mod consumer;
pub mod error;
pub mod offsets;
pub mod record;
pub mod request;
