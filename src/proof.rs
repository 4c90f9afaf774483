//! Evidence: what judges the promise "acknowledged means on the disk, once, in order, unchanged", and what breaks it.
//!
//! [`history`] is the judge: it takes what clients saw and names every contradiction. It knows no broker, no thread and
//! no clock, so the simulator, the kill loops and the user's own proof bring the same judge their observations.
//!
//! Nothing in this room is on the path of a record.

pub mod history;
