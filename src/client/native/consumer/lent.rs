//! What of a received frame is handed out: checked batches by their place, and the views made of them.
//!
//! Two steps, because a frame cannot be looked at and the consumer changed at once. [`Lent::plan`] checks each batch
//! (identity, checksums; Kafka batches are rewritten) and notes where it lies; [`Lent::views`] borrows the notes, the frame
//! and the rewritten payloads and gives what the caller reads. The structure of a native payload is verified by its view.

use std::sync::Arc;

use super::translate::{Translated, to_native};
use super::view::Batch;
use crate::base::LogId;
use crate::batch::{BatchHeader, Encoding, RecordsView};
use crate::client::native::error::Error;
use crate::protocol::native::batches::Batch as Stored;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::client::native) struct Lent {
    planned: Vec<Planned>,
    /// Payloads of Kafka batches, rewritten.
    rewritten: Vec<Translated>,
}

/// One batch of the frame.
#[derive(Clone, Copy, Debug)]
struct Planned {
    /// The caller's number of its partition.
    place: usize,
    header: BatchHeader,
    payload: Payload,
    skip: usize,
    high_watermark: u64,
}

#[derive(Clone, Copy, Debug)]
enum Payload {
    /// From here on in the batches of the frame.
    Frame { at: usize },
    /// This rewritten one.
    Rewritten { index: usize },
}

/// A batch whose records have no view.
#[derive(Debug)]
pub(in crate::client::native) struct Unsound {
    /// How many batches in front of it are sound.
    pub(in crate::client::native) at: usize,
    /// The caller's number of its partition.
    pub(in crate::client::native) place: usize,
    partition: u32,
    offset: u64,
    reason: String,
}

impl Lent {
    /// Checks one stored batch but for the structure of a native payload, and notes it unless nothing in it is for a reader
    /// at `position`. `base` is the address of the frame's batches. Gives the next position.
    pub(in crate::client::native) fn plan(
        &mut self,
        batch: &Stored<'_>,
        place: usize,
        log: LogId,
        position: u64,
        high_watermark: u64,
        base: usize,
        open_bytes: usize,
    ) -> Result<u64, String> {
        let header = batch.header;
        if header.log != log {
            return Err("a batch of another partition".to_owned());
        }
        let end = header.end_offset().get();
        if end <= position {
            return Ok(position);
        }
        batch.verify().map_err(|error| error.to_string())?;
        if header.attributes.is_control() {
            return Ok(end);
        }
        let payload = match header.encoding {
            Encoding::Rkyv => Payload::Frame {
                at: batch.payload.as_ptr().addr() - base,
            },
            Encoding::Kafka => {
                let translated = to_native(batch.payload, open_bytes).map_err(|error| error.to_string())?;
                let Some(translated) = translated else {
                    return Ok(end);
                };
                self.rewritten.push(translated);
                Payload::Rewritten {
                    index: self.rewritten.len() - 1,
                }
            }
        };
        let below = usize::try_from(position.saturating_sub(header.base_offset.get())).unwrap_or(usize::MAX);
        let deltas = match payload {
            Payload::Rewritten { index } => self.rewritten[index].deltas.as_deref(),
            Payload::Frame { .. } => None,
        };
        let skip = deltas.map_or(below, |deltas| {
            deltas.partition_point(|delta| (*delta as usize) < below)
        });
        if deltas.is_some_and(|deltas| skip == deltas.len()) {
            return Ok(end);
        }
        self.planned.push(Planned {
            place,
            header,
            payload,
            skip,
            high_watermark,
        });
        Ok(end)
    }

    pub(in crate::client::native) const fn is_empty(&self) -> bool {
        self.planned.is_empty()
    }

    /// One past the last record of a partition in here.
    pub(in crate::client::native) fn end_of(&self, place: usize) -> Option<u64> {
        let last = self.planned.iter().rev().find(|planned| planned.place == place);
        last.map(|planned| planned.header.end_offset().get())
    }

    /// Forgets the batches and gives, in order, partition and end of each.
    pub(in crate::client::native) fn take_ends(&mut self) -> impl Iterator<Item = (usize, u64)> + use<'_> {
        self.rewritten.clear();
        let planned = self.planned.drain(..);
        planned.map(|planned| (planned.place, planned.header.end_offset().get()))
    }

    /// Forgets all but the first batches.
    pub(in crate::client::native) fn truncate(&mut self, count: usize) {
        self.planned.truncate(count);
    }

    /// Views of the batches; `bytes` are those of the frame that was planned.
    pub(in crate::client::native) fn views<'a>(
        &'a self,
        topic: impl Fn(usize) -> &'a Arc<str>,
        bytes: &'a [u8],
    ) -> Result<Vec<Batch<'a>>, Unsound> {
        let batches = self.planned.iter().enumerate().map(|(at, planned)| {
            let (view, deltas) = planned.view(&self.rewritten, bytes).map_err(|reason| Unsound {
                at,
                place: planned.place,
                partition: planned.header.log.partition.get(),
                offset: planned.header.base_offset.get(),
                reason,
            })?;
            Ok(Batch {
                topic: topic(planned.place),
                header: planned.header,
                view,
                deltas,
                skip: planned.skip,
                high_watermark: planned.high_watermark,
            })
        });
        batches.collect()
    }
}

impl Planned {
    fn view<'a>(
        &self,
        rewritten: &'a [Translated],
        bytes: &'a [u8],
    ) -> Result<(RecordsView<'a>, Option<&'a [u32]>), String> {
        let (payload, deltas) = match self.payload {
            Payload::Frame { at } => (bytes.get(at..at + self.header.payload_len as usize), None),
            Payload::Rewritten { index } => {
                let translated = rewritten.get(index);
                let payload = translated.map(|translated| &translated.payload[..]);
                (
                    payload,
                    translated.and_then(|translated| translated.deltas.as_deref()),
                )
            }
        };
        let payload = payload.expect("planned from these very bytes");
        let view = RecordsView::parse(payload).map_err(|error| error.to_string())?;
        let records = deltas.map_or(self.header.record_count as usize, <[u32]>::len);
        if view.len() == records {
            Ok((view, deltas))
        } else {
            Err("it holds another number of records than its header says".to_owned())
        }
    }
}

impl Unsound {
    pub(in crate::client::native) fn describe(&self, topic: &Arc<str>) -> Error {
        Error::Damaged {
            topic: Arc::clone(topic),
            partition: self.partition,
            offset: self.offset,
            reason: self.reason.as_str().into(),
        }
    }
}
