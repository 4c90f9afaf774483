//! The shard room: one pinned core, what it owns, and how requests reach the core that owns what they need.
//!
//! A [`Shard`] is the whole of a core's state. Nothing in it is shared, locked or atomic; other threads reach it through
//! the mesh ([`request`]) and nowhere else. The doors (`protocol`) call [`router`]: it splits a request by owner, serves
//! the local part at once, and sends one message per other core for the rest.
//!
//! **Invariants.** Only the owner touches a partition ([`crate::broker::placement::owner`]). Batches of one connection are appended
//! in the order its requests arrived: the first stage of a produce ends only when every part was appended locally or put
//! into the ring of its owner. An ack leaves only after the owner saw the durable end pass the batch.

pub mod request;
pub mod router;

use std::rc::Rc;
