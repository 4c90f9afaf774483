//! Reading a partition of the offsets topic back, before its groups are served.
//!
//! From the start of the log to its end, whatever compaction has left of it. Until then requests are told to come again. A
//! range that is damaged, or a record that cannot be read, is not taken for emptiness: the groups of the partition are
//! refused, loudly, because a consumer that finds its offsets gone starts over from wherever it is configured to.

use super::super::Shard;
use super::super::request::{ReadLimits, ReadPart};
use super::hosted::{Hosted, Service};
use crate::base::Offset;
use crate::batch::kafka::{KafkaBatch, Records};
use crate::broker::group::coordinator::Coordinator;
use crate::runtime::executor;
use crate::storage::read::ReadFormat;
use std::rc::Rc;

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// Most bytes one batch may decompress to. The broker writes them uncompressed, and bounded.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Where the length of a Kafka batch ends; it counts the bytes behind it.
const LENGTH_END: usize = 12;

impl Shard {
    /// Loads the groups of a partition and begins to serve them.
    pub(super) async fn load_groups(self: Rc<Self>, hosted: Rc<Hosted>) {
        match self.read_groups(&hosted).await {
            Ok(records) => {
                hosted.set_service(Service::Ready);
                self.act(&hosted, Coordinator::finish_load);
                let groups = hosted.machine.borrow().groups().count();
                if records > 0 {
                    tracing::info!(log = %hosted.partition.id, records, groups, "groups loaded");
                }
            }
            Err(reason) => {
                hosted.set_service(Service::Lost);
                tracing::error!(
                    log = %hosted.partition.id, reason,
                    "the groups of this partition of the offsets topic cannot be read and are refused"
                );
            }
        }
    }

    async fn read_groups(self: &Rc<Self>, hosted: &Hosted) -> Result<u64, String> {
        let log = hosted.partition.id;
        if !hosted.partition.log.borrow().damaged().is_empty() {
            return Err("a range of the log is damaged".to_owned());
        }
        let limits = ReadLimits {
            max_bytes: READ_BYTES,
            oversized_first: true,
            format: ReadFormat::Kafka,
        };
        let mut records = 0;
        let mut offset: Offset = hosted.partition.log.borrow().start();
        while offset < hosted.partition.log.borrow().visible() {
            let part = ReadPart {
                log,
                offset,
                last_epoch: None,
                max_bytes: READ_BYTES,
            };
            let read = self.read_parts(&[part], limits).await.pop();
            let read = read.ok_or_else(|| "nothing was read".to_owned())?;
            let bytes = read.records.map_err(|failure| failure.to_string())?;
            if read.next <= offset {
                return Err(format!("reading stops at {offset}"));
            }
            offset = read.next;
            records += apply(&mut hosted.machine.borrow_mut(), &bytes)?;
            executor::yield_now().await;
        }
        Ok(records)
    }
}

/// Applies all records of whole batches; gives their number.
fn apply(machine: &mut Coordinator, mut bytes: &[u8]) -> Result<u64, String> {
    let mut applied = 0;
    while !bytes.is_empty() {
        let length = bytes
            .get(LENGTH_END - 4..LENGTH_END)
            .and_then(|field| field.first_chunk());
        let length = length
            .map(|field| i32::from_be_bytes(*field))
            .and_then(|length| usize::try_from(length).ok());
        let split = length.and_then(|length| bytes.split_at_checked(length + LENGTH_END));
        let (batch, rest) = split.ok_or_else(|| "half a batch".to_owned())?;
        bytes = rest;
        let batch = KafkaBatch::parse(batch).map_err(|error| error.to_string())?;
        if batch.attributes().is_control() {
            continue;
        }
        let section = batch
            .uncompressed(BATCH_BYTES_MAX)
            .map_err(|error| error.to_string())?;
        for record in Records::new(&section, batch.record_count().unsigned_abs()) {
            let record = record.map_err(|error| error.to_string())?;
            let Some(key) = record.key else { continue };
            machine
                .apply(key, record.value)
                .map_err(|error| error.to_string())?;
            applied += 1;
        }
    }
    Ok(applied)
}
