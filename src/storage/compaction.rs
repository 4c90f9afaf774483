//! Compaction: writing a log's old segments again without the records that later ones of the same key replaced.
//!
//! What a pass does, in the words of this room: [`keys`] learns for each key of the uncleaned part the offset of its last
//! record, within a bound on memory; [`rewrite`] walks the frames of a group of adjacent segments and gives the frames of
//! the one segment that replaces them; [`swap`] is the order of file operations that puts it in their place, so that a
//! crash at any moment leaves the old segments or the new one. All of it is pure: the shard's cleaner reads and writes.
//!
//! **What is kept.** A record stays unless a record of the same key with a higher offset was learned. A record without a
//! value (a tombstone) is marked with a horizon when it is first cleaned and leaves once that has passed; by then nothing
//! older of its key is left, because the pass that set the horizon removed it. Where a pass met something it could not
//! read, it neither sets horizons nor removes tombstones from there on. Records without a key, control batches and batches
//! whose records are not sound stay as they are. Offsets never change.
//!
//! **What it leaves.** Frames that tile the offsets as before (`batch::header`, "A cleaned frame"), so that scanning,
//! indexing and reading need not know that there was a pass. An untouched batch is copied byte for byte.

pub mod keys;
pub mod opened;
pub mod rewrite;
pub mod swap;

#[cfg(test)]
mod tests;
