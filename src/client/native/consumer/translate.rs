//! From a Kafka batch to a native payload, so that readers see one kind of batch only.
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

/// A native payload with the records of `batch`, which has passed its checksum.
pub(in crate::client::native) fn to_native(
    batch: &[u8],
    open_bytes_max: usize,
) -> Result<AlignedVec<FRAME_ALIGN>, TranslateError> {
    let batch = KafkaBatch::parse(batch)?;
    let section = batch.uncompressed(open_bytes_max)?;
    let count = u32::try_from(batch.record_count()).unwrap_or(0);
    let base = batch.base_timestamp();
    let mut builder = RecordsBuilder::new();
    for record in Records::new(&section, count) {
        let record = record?;
        let timestamp = Timestamp::new(base.get().wrapping_add(record.timestamp_delta));
        builder.push(record.key, record.value, timestamp, record.headers)?;
    }
    Ok(builder.finish()?)
}
