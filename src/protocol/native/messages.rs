//! What each kind of frame says: one file per conversation, both directions of every message.
//!
//! A control part is one fixed struct, then tables of fixed entries whose lengths the struct names, then text (names back
//! to back, their lengths in the entries), then zeros to a multiple of 16. Structs and entries are declared with their
//! offsets (`pod!`), which is the documentation another language needs.
//!
//! **Promise.** Decoding borrows; only answers about topics allocate, and only for entries that are really there. Every
//! bound on a count is a constant here. Flags and choices this version does not know are refused, never ignored.
//!
//! **Errors of single partitions** ride in the entries of an answer. A request that cannot be answered as a whole gets an
//! [`ErrorFrame`] instead of its answer, under its correlation.

pub mod fault;
pub mod fetch;
pub mod hello;
pub mod metadata;
pub mod offsets;
pub mod produce;
pub mod producer;
pub mod subscribe;
pub mod topics;

pub use fault::{ERROR_IS_FATAL, ErrorFrame};
pub use fetch::{
    FETCH_ENTRIES_MAX, Fetch, FetchEntry, FetchHead, Fetched, FetchedEntry, encode_fetch,
    encode_fetched_before,
};
pub use hello::{Hello, Welcome, WelcomeHead};
pub use metadata::{METADATA_TOPICS_MAX, Metadata, MetadataAnswer, NodeInfo, TopicInfo};
pub use offsets::{OFFSETS_ENTRIES_MAX, Offsets, OffsetsAnswer, OffsetsAnswerEntry, OffsetsEntry, Query};
pub use produce::{Acks, PRODUCE_BATCHES_MAX, Produce, ProduceWriter, Produced, ProducedEntry};
pub use producer::{InitProducer, ProducerReady};
pub use subscribe::{
    CREDIT_BYTES_MAX, Credit, From, PUSH_BYTES_MAX, SUBSCRIPTIONS_MAX, Subscribe, SubscribeEntry, Subscribed,
    SubscribedEntry, SubscriptionEnded, Unsubscribe,
};
pub use topics::{CONFIGS_MAX, CreateTopic, DeleteTopic, TopicAnswer};

use super::frame::{Frame, FrameWriter, Kind};
use super::pod::{ControlReader, DecodeError, Pod, Table, pod};

/// Bytes of any single text in a frame.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Checks that a frame is of `kind` and carries only `flags`, and begins reading its control part.
fn open<'a>(frame: &Frame<'a>, kind: Kind, flags: u16) -> Result<ControlReader<'a>, DecodeError> {
    if frame.head.kind != kind {
        return Err(DecodeError::Kind);
    }
    if frame.head.flags & !flags != 0 {
        return Err(DecodeError::Unknown);
    }
    Ok(frame.reader())
}

/// A count as the wire has it. More than `u32::MAX` elements exceed every bound, and so does what stands for them.
fn count_of(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

pod! {
    /// The fixed part of every message that is one table.
    TableHead 8 {
        /// Rows.
        0 entry_count: u32,
        reserved 4
    }
}

/// Appends the whole control part of a message that is one table.
fn put_table<T: Pod>(writer: &mut FrameWriter<'_>, entries: &[T]) {
    writer.pod(&TableHead {
        entry_count: count_of(entries.len()),
    });
    entries.iter().for_each(|entry| writer.pod(entry));
}

/// Reads what [`put_table`] wrote, of at most `max` rows.
fn take_table<'a, T: Pod>(reader: &mut ControlReader<'a>, max: u32) -> Result<Table<'a, T>, DecodeError> {
    let head: TableHead = reader.pod()?;
    reader.table(head.entry_count, max)
}

/// A text's length as the wire has it.
fn short(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// As much of `text` as a frame carries, cut at a character.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
pub(crate) mod tests;
