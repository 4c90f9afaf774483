//! The load generator: open loop, one engine for every protocol, results that can be judged.

pub mod compare;
pub mod environment;
pub mod floor;
pub mod omb;
pub mod payload;
pub mod report;
pub mod result;
pub mod wire;
