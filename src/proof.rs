//! Evidence: what judges the promise "acknowledged means on the disk, once, in order, unchanged", and what breaks it.
//!
//! [`history`] is the judge: it takes what clients saw and names every contradiction. It knows no broker, no thread and
//! no clock, so the simulator, the kill loops and the user's own proof bring the same judge their observations.
//! [`fault_disk`] is a disk whose power can be cut, for the real broker to run on.
//!
//! [`prover`] is the user's own proof: the real program as a child process ([`broker`]) under the load of real clients
//! (`load`), killed at moments it aims at ([`moment`]), looked at after each restart (`reading`), and what it came to
//! ([`report`]).
//!
//! Nothing in this room is on the path of a record.

pub mod broker;
pub mod fault_disk;
pub mod history;
pub mod interrupt;
mod load;
mod medium;
pub mod moment;
pub mod prover;
mod reading;
pub mod report;

pub use load::LoadError;
