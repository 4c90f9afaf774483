#![doc = include_str!("../ARCHITECTURE.md")]

pub mod base;
pub mod batch;
pub mod runtime;
pub mod storage;
pub mod broker;
pub mod shard;
pub mod protocol;
pub mod server;
pub mod cli;
