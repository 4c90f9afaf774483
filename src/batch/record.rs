//! The one word both encodings share below the batch: a record's header.
//!
//! Records themselves are read through `kafka::Record` and `records::RecordRef`, which borrow from different
//! layouts; only the key-value pairs a record carries look the same in both.

/// A key-value pair attached to a record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RecordHeader<'a> {
    /// UTF-8 by Kafka's rules; the broker carries the bytes and does not judge them.
    pub key: &'a [u8],
    /// The value, which may be null.
    pub value: Option<&'a [u8]>,
}

impl<'a> RecordHeader<'a> {
    /// A header with a value.
    #[must_use]
    pub const fn new(key: &'a str, value: &'a [u8]) -> Self {
        Self {
            key: key.as_bytes(),
            value: Some(value),
        }
    }
}
