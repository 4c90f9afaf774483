//! The load generator: open loop, one engine for every protocol, results that can be judged.
//!
//! A run is a [`spec::RunSpec`] driven by [`engine::run`] through a [`wire::Door`]. Every message has an intended send
//! time that nothing can move ([`schedule`]); `response` is the acknowledgement minus that time, so a broker or a
//! generator that stalls shows with all the messages it kept waiting. [`verdict`] says whether a run can be believed,
//! and [`result`] is what remains of it.
//!
//! The generator has threads, sockets and an epoll loop of its own ([`engine`], `worker`): it shares nothing with the
//! broker but the machine, and drives any broker whose protocol has a door.

mod clock;
pub mod compare;
mod cpu;
pub mod engine;
pub mod environment;
pub mod floor;
mod ledger;
pub mod omb;
pub mod output;
pub mod payload;
pub mod plan;
pub mod record;
pub mod report;
pub mod result;
pub mod schedule;
pub mod spec;
pub mod sweep;
#[cfg(test)]
mod testing;
pub mod text;
pub mod verdict;
pub mod wire;
mod worker;
