//! runtime
pub mod probe;
