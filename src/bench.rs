//! The load generator: open loop, one engine for every protocol, results that can be judged.

pub mod environment;
pub mod payload;
pub mod result;
pub mod wire;
