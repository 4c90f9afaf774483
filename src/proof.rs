//! Proof: what shows on a user's own machine that the promises hold.
//!
//! Floor 7: it may use every room below and is used by the command line alone. [`fault_disk`] is a disk whose power can be
//! cut, for the real broker to run on.

pub mod fault_disk;
