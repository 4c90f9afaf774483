//! The storage room: logs made of segments made of frames, and everything needed to trust them after a crash.
//!
//! ```text
//! <data>/LOCK                                       held by the one broker that owns the directory
//! <data>/clean-stop                                 present only between a clean stop and the next start (marker)
//! <data>/meta/                                      metadata journal and snapshots (broker::meta_store)
//! <data>/pool/<size>-<n>.seg                        zero-filled, synced segment files nobody uses yet (pool)
//! <data>/topics/<topic>/<partition>/<base>.log      frames; <base> is twenty decimal digits (segment)
//! <data>/topics/<topic>/<partition>/<base>.idx      sparse indexes of a sealed segment; can be rebuilt (index)
//! <data>/topics/<topic>/<partition>/<base>.clean     a segment the cleaner writes, with <base>.cleanidx; then
//! <data>/topics/<topic>/<partition>/<base>.swap      the same, certain to become <base>.log (compaction::swap)
//! <data>/topics/<topic>/<partition>/checkpoint      where the log starts, how far it was cleaned (checkpoint)
//! <data>/trash/<topic id>/                          a deleted topic on its way out
//! ```
//!
//! A [`log::Log`] is a state machine: it takes batches and completions and says what to write next; it never does
//! I/O. The shard (`shard::partition`) performs its actions on the disk ring. [`recovery`] reads files with blocking
//! direct reads before the shard serves anybody.
//!
//! **Invariants.** `log_start <= durable <= log_end`. At most one write of a log is in flight. Every byte below the
//! durable end was covered by a completed durable write, and writes start at the block that holds the durable end, so
//! that block is only ever rewritten with the same prefix. A frame is trusted only if its checksums hold, it names
//! this log, it continues the offsets exactly, and its leader epoch does not go back.

pub mod chain;
pub mod checkpoint;
pub mod compaction;
pub mod error;
#[cfg(test)]
mod formats;
pub mod index;
pub mod layout;
pub mod log;
pub mod marker;
pub mod pool;
pub mod read;
pub mod recovery;
pub mod scan;
pub mod segment;
#[cfg(test)]
mod testing;

pub use error::{Error, ReadError};
