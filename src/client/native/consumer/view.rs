//! What a consumer reads: batches where the socket put them, records as slices of them.
//!
//! Nothing is copied between the kernel and the caller. A native batch is read in place; a batch that a Kafka client
//! produced is opened and rewritten as a native one first (in a buffer of the consumer's), so that readers see one kind
//! only. Every batch was checked against its checksums, and its structure verified, before it is handed out; reading a
//! record cannot fail. Everything here borrows from the client and lasts until its next call.

use crate::base::Timestamp;
use crate::batch::records::HeaderIter;
use crate::batch::{BatchHeader, RecordsView};

/// The batches of one answer or push, in the order of their offsets for each partition.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    pub(in crate::client::native) batches: Vec<Batch<'a>>,
}

impl<'a> Batches<'a> {
    /// The batches.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Batch<'a>> {
        self.batches.iter()
    }

    /// The records of all batches.
    pub fn records(&self) -> impl Iterator<Item = Record<'a>> {
        self.batches.iter().flat_map(Batch::records)
    }

    /// Whether there is no record. Only a fetch can be empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

impl<'a> IntoIterator for Batches<'a> {
    type Item = Batch<'a>;
    type IntoIter = std::vec::IntoIter<Batch<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.batches.into_iter()
    }
}

/// One batch, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub(in crate::client::native) topic: &'a str,
    pub(in crate::client::native) header: BatchHeader,
    pub(in crate::client::native) view: RecordsView<'a>,
    /// Offset of each record from the batch's base, when compaction took some out.
    pub(in crate::client::native) deltas: Option<&'a [u32]>,
    pub(in crate::client::native) skip: usize,
    pub(in crate::client::native) high_watermark: u64,
}

impl<'a> Batch<'a> {
    /// Its topic.
    #[must_use]
    pub const fn topic(&self) -> &'a str {
        self.topic
    }

    /// Its partition.
    #[must_use]
    pub const fn partition(&self) -> u32 {
        self.header.log.partition.get()
    }

    /// What is stored in front of it: offsets, times, producer.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Everything below could be read when the broker sent this.
    #[must_use]
    pub const fn high_watermark(&self) -> u64 {
        self.high_watermark
    }

    /// Records in it, without those in front of the offset that was asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.view.len() - self.skip
    }

    /// Never: a batch is handed out for its records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its records in order.
    pub fn records(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let (topic, header) = (self.topic, self.header);
        let (base, deltas) = (header.base_offset.get(), self.deltas);
        let offset = move |at: usize| {
            let delta = deltas
                .and_then(|deltas| deltas.get(at))
                .map(|delta| u64::from(*delta));
            base + delta.unwrap_or(at as u64)
        };
        let records = self.view.iter().enumerate();
        records
            .map(move |(at, record)| (offset(at), record))
            .skip(self.skip)
            .map(move |(offset, record)| Record {
                topic,
                partition: header.log.partition.get(),
                offset,
                timestamp: header
                    .attributes
                    .record_timestamp(record.timestamp, header.max_timestamp),
                key: record.key,
                value: record.value,
                headers: record.headers,
            })
    }
}

/// One record, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Its time: the producer's, or the broker's if the topic is set up so.
    pub timestamp: Timestamp,
    /// Its key; `None` is null, which is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is null.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: HeaderIter<'a>,
}
