//! From a Kafka batch to a native payload, so that readers see one kind of batch only. A batch that compaction took records
//! out of comes with the offsets of those that are left, or as nothing when none is.
//!
//! Opens the records (a bound on their size is the caller's), and builds the native payload with the same records in the
//! same order. Pure. Absent: control batches, which hold no records for readers and are skipped before this.

use rkyv::util::AlignedVec;

use crate::base::Timestamp;
use crate::batch::kafka::{OpenError, RecordError, Records};
use crate::batch::records::RecordsError;
use crate::batch::{FRAME_ALIGN, KafkaBatch, KafkaBatchError, RecordsBuilder};

/// Why a stored Kafka batch cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::client::native) enum TranslateError {
    #[error(transparent)]
    Batch(#[from] KafkaBatchError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Build(#[from] RecordsError),
}

/// A Kafka batch as readers see it.
#[derive(Debug)]
pub(in crate::client::native) struct Translated {
    pub(in crate::client::native) payload: AlignedVec<FRAME_ALIGN>,
    /// Offset of each record from the batch's base, when they are not 0, 1, 2, ...
    pub(in crate::client::native) deltas: Option<Box<[u32]>>,
}

/// A native payload with the records of `batch`, which has passed its checksum; `None` when it has none.
pub(in crate::client::native) fn to_native(
    batch: &[u8],
    open_bytes_max: usize,
) -> Result<Option<Translated>, TranslateError> {
    let batch = KafkaBatch::parse(batch)?;
    let section = batch.uncompressed(open_bytes_max)?;
    let count = u32::try_from(batch.record_count()).unwrap_or(0);
    let base = batch.base_timestamp();
    if count == 0 {
        return Ok(None);
    }
    let whole = batch.last_offset_delta() == batch.record_count() - 1;
    let mut deltas = Vec::new();
    let mut builder = RecordsBuilder::new();
    for record in Records::new(&section, count) {
        let record = record?;
        let timestamp = Timestamp::new(base.get().wrapping_add(record.timestamp_delta));
        builder.push(record.key, record.value, timestamp, record.headers)?;
        if !whole {
            deltas.push(u32::try_from(record.offset_delta).unwrap_or(0));
        }
    }
    Ok(Some(Translated {
        payload: builder.finish()?,
        deltas: (!whole).then(|| deltas.into()),
    }))
}
