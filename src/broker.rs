//! The broker room: what a broker decides, without sockets, shards or clocks.
//!
//! Everything here is a state machine that takes its inputs and the time as arguments and gives back decisions; the shard
//! above does the I/O. So it runs the same in production, in a unit test and in a simulator.
//!
//! - [`topic`] and [`image`]: what topics there are and what their configuration comes to; one immutable image, shared.
//! - [`cleanup`]: what `cleanup.policy` and the keys of compaction mean.
//! - [`placement`]: which shard owns a partition, a pure function.
//! - [`producer_state`]: has this idempotent batch been appended before, and may it be now? One table per partition,
//!   touched by the shard that owns it.
//! - [`meta_store`]: topics, configs and all that is rare and must survive, as ordered keys under compare-and-swap.
//!   It is the one exception to "no I/O": it belongs to the control thread, where blocking on a disk harms no client.
//!
//! Boundary: no wire type comes in here, and errors are facts; the doors turn them into the codes of their protocol.

pub mod cleanup;
pub mod image;
pub mod meta_store;
pub mod placement;
pub mod producer_state;
pub mod topic;
