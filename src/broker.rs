//! The broker room: what a broker decides, without sockets, shards or clocks.
//!
//! Everything here is a state machine that takes its inputs and the time as arguments and gives back decisions; the shard
//! above does the I/O. So it runs the same in production, in a unit test and in a simulator.
//!
//! - [`topic`] and [`image`]: what topics there are and what their configuration comes to; one immutable image, shared.
//! - [`broker_config`] and [`config_value`]: the broker's own settings under Kafka's names, those that can be changed while it
//!   runs among them, and what values may be. [`config_change`]: what a change of a configuration comes to.
//! - [`admission`]: what a topic asks of the records it takes.
//! - [`cleanup`]: what `cleanup.policy` and the keys of compaction mean; [`cleaner`]: when a log is worth a pass.
//! - [`placement`]: which shard owns a partition, a pure function.
//! - [`group`]: consumer groups, their members and committed offsets.
//! - [`producer_state`]: has this idempotent batch been appended before, and may it be now? One table per partition,
//!   touched by the shard that owns it.
//! - [`meta_store`]: topics, configs and all that is rare and must survive, as ordered keys under compare-and-swap.
//!   It is the one exception to "no I/O": it belongs to the control thread, where blocking on a disk harms no client.
//!
//! Boundary: no wire type comes in here, and errors are facts; the doors turn them into the codes of their protocol.

pub mod admission;
pub mod broker_config;
pub mod calendar;
pub mod cleaner;
pub mod cleanup;
pub mod config_change;
pub mod config_value;
pub mod group;
pub mod image;
pub mod meta_store;
pub mod placement;
pub mod producer_state;
pub mod topic;
