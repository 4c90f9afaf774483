//! What a consumer subscribes: the topics in its metadata (Kafka's `ConsumerProtocolSubscription`).
//!
//! ```text
//! i16 version | i32 n | n x string topic | ... user data, owned partitions and more, depending on the version
//! ```
//!
//! Only the topics are read, and only their place is relied on, which no version has changed. Consumers agree on the rest among
//! themselves.

use super::record::{RecordError, RecordReader};

/// Fewest bytes of a topic.
const TOPIC_BYTES_MIN: usize = 2;

/// The topics in a consumer's metadata; `None` if it cannot be read.
pub(crate) fn subscribed_topics(metadata: &[u8]) -> Option<Vec<&str>> {
    let read = || -> Result<Vec<&str>, RecordError> {
        let mut reader = RecordReader::new(metadata);
        if reader.i16()? < 0 {
            return Err(RecordError::Invalid("subscription version"));
        }
        let count = reader.count(TOPIC_BYTES_MIN)?;
        (0..count).map(|_| reader.string()).collect()
    };
    read().ok()
}

#[cfg(test)]
mod tests {
    use super::super::record::RecordWriter;
    use super::*;

    #[test]
    fn topics_are_read_in_every_version_and_nonsense_is_not() {
        for version in [0, 1, 3, 9] {
            let metadata = RecordWriter::new(version)
                .count(2)
                .string("a")
                .string("bc")
                .raw(&[0xff; 7])
                .finish();
            assert_eq!(subscribed_topics(&metadata), Some(vec!["a", "bc"]));
        }
        for nonsense in [
            &b""[..],
            b"\0",
            b"\0\0\x7f\xff\xff\xff",
            b"\xff\xff\0\0\0\0",
            b"\0\0\0\0\0\x01\0\x02\xff\xfe",
        ] {
            assert_eq!(subscribed_topics(nonsense), None, "{nonsense:?}");
        }
    }
}
