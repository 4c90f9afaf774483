//! Evidence: what judges the promise "acknowledged means on the disk, once, in order, unchanged", and what breaks it.
//!
//! [`history`] is the judge: it takes what clients saw and names every contradiction. It knows no broker, no thread and
//! no clock, so the simulator, the kill loops and the user's own proof bring the same judge their observations.
//! [`fault_disk`] is a disk whose power can be cut, for the real broker to run on.
//!
//! Nothing in this room is on the path of a record.

pub mod fault_disk;
pub mod history;
