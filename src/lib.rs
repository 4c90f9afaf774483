#![doc = include_str!("../ARCHITECTURE.md")]

pub mod base;
pub mod batch;
pub mod bench;
pub mod broker;
pub mod cli;
pub mod client;
pub mod protocol;
pub mod runtime;
pub mod server;
pub mod shard;
pub mod storage;
