//! One frame laid open: does its batch say what its header says, and are its records what it promises?
//!
//! The checksums held when this is asked, so what is found here was written so: by a broker with a fault, or by a producer whose
//! batch nobody opened.

use std::io;

use super::super::files::SegmentFile;
use super::Findings;
use crate::base::Offset;
use crate::batch::compression::DecompressError;
use crate::batch::kafka::{KafkaBatch, OpenError, Records};
use crate::batch::records::{RecordsView, aligned_copy};
use crate::batch::{BatchHeader, Contents, Encoding, HEADER_BYTES, TimestampType};
use crate::storage::scan::Window;

/// Most bytes a batch is opened to.
const OPENED_BYTES_MAX: usize = 256 << 20;

/// What the frames before have said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    durable_end: Offset,
}

/// Reads payloads beside a scan.
pub(super) struct Opener<'a> {
    window: Window<'a>,
}

impl<'a> Opener<'a> {
    pub(super) fn new(file: &'a SegmentFile) -> Self {
        Self {
            window: Window::new(file),
        }
    }

    /// Judges the frame at `position`, which passed its checksums.
    pub(super) fn check(
        &mut self,
        place: &str,
        header: &BatchHeader,
        position: u64,
        before: &mut Before,
        findings: &mut Findings,
    ) -> io::Result<()> {
        check_durable_end(place, header, before, findings);
        let len = header.payload_len as usize;
        let payload = self.window.bytes(position + HEADER_BYTES as u64, len)?;
        let payload = payload.ok_or(io::ErrorKind::UnexpectedEof)?;
        let judged = match header.encoding {
            Encoding::Kafka => check_kafka(header, payload),
            Encoding::Rkyv => check_native(header, payload),
        };
        match judged {
            Ok(()) => {}
            Err(Fault::TooLarge) => {
                let what = format!(
                    "the batch of {} opens to more than is looked into",
                    header.base_offset
                );
                findings.note(place, what);
            }
            Err(Fault::Wrong(what)) => findings.error(place, header.base_offset, what),
        }
        Ok(())
    }
}

/// The durable end that a frame names is never behind what one before it named, nor beyond itself. Compaction moves frames'
/// beginnings, so those it wrote are not held to the second.
fn check_durable_end(place: &str, header: &BatchHeader, before: &mut Before, findings: &mut Findings) {
    if header.contents == Contents::Cleaned {
        return;
    }
    if header.durable_end > header.base_offset {
        let what = format!(
            "the frame says that the log was durable up to {}",
            header.durable_end
        );
        findings.error(place, header.base_offset, what);
    }
    if header.durable_end < before.durable_end {
        let what = format!(
            "the durable end went back from {} to {}",
            before.durable_end, header.durable_end
        );
        findings.error(place, header.base_offset, what);
    }
    before.durable_end = before.durable_end.max(header.durable_end);
}

/// Why a frame is not sound.
enum Fault {
    Wrong(String),
    TooLarge,
}

impl Fault {
    fn because(what: impl Into<String>) -> Self {
        Self::Wrong(what.into())
    }
}

fn check_kafka(header: &BatchHeader, payload: &[u8]) -> Result<(), Fault> {
    let batch = KafkaBatch::parse(payload).map_err(|error| Fault::because(error.to_string()))?;
    check_agreement(header, &batch)?;
    let section = match batch.uncompressed(OPENED_BYTES_MAX) {
        Ok(section) => section,
        Err(OpenError::Decompress(DecompressError::TooLarge { .. })) => return Err(Fault::TooLarge),
        Err(error) => return Err(Fault::because(error.to_string())),
    };
    let count = u32::try_from(batch.record_count()).unwrap_or(0);
    let mut next = 0_u32;
    for (index, record) in Records::new(&section, count).enumerate() {
        let record = record.map_err(|error| Fault::because(format!("record {index}: {error}")))?;
        let delta = u32::try_from(record.offset_delta).unwrap_or(u32::MAX);
        let in_order = match header.contents {
            Contents::AsAppended => delta == next,
            // Records have left; those that stayed keep their places.
            Contents::Cleaned => delta >= next && delta < header.record_count,
        };
        if !in_order {
            let what = format!("record {index} has the offset delta {}", record.offset_delta);
            return Err(Fault::Wrong(what));
        }
        next = delta.saturating_add(1);
    }
    Ok(())
}

fn check_agreement(header: &BatchHeader, batch: &KafkaBatch<'_>) -> Result<(), Fault> {
    let records = u32::try_from(batch.record_count()).unwrap_or(u32::MAX);
    let as_appended = header.contents == Contents::AsAppended;
    let checks = [
        (batch.attributes() == header.attributes, "attributes"),
        (
            batch.last_offset_delta() >= 0
                && batch.last_offset_delta().unsigned_abs() == header.record_count.saturating_sub(1),
            "last offset delta",
        ),
        (
            if as_appended {
                records == header.record_count
            } else {
                records <= header.record_count
            },
            "record count",
        ),
        (
            batch.base_timestamp() == header.first_timestamp || !as_appended,
            "base timestamp",
        ),
        (batch.max_timestamp() == header.max_timestamp, "largest timestamp"),
        (batch.producer() == header.producer || !as_appended, "producer"),
    ];
    match checks.iter().find(|(holds, _)| !holds) {
        Some((_, what)) => Err(Fault::because(format!(
            "the batch disagrees with its frame: {what}"
        ))),
        None => Ok(()),
    }
}

fn check_native(header: &BatchHeader, payload: &[u8]) -> Result<(), Fault> {
    let payload = aligned_copy(payload);
    let view = RecordsView::parse(&payload).map_err(|error| Fault::because(error.to_string()))?;
    if u32::try_from(view.len()) != Ok(header.record_count) {
        return Err(Fault::because("the batch disagrees with its frame: record count"));
    }
    let stamped = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
    if !stamped && view.max_timestamp() != header.max_timestamp {
        return Err(Fault::because(
            "the batch disagrees with its frame: largest timestamp",
        ));
    }
    let mut readable = 0;
    for record in view.iter() {
        // To their end, as a reader would.
        let _headers = record.headers.count();
        readable += 1;
    }
    if readable == view.len() {
        Ok(())
    } else {
        Err(Fault::because("records are missing"))
    }
}
