//! Batches of records in both encodings, and the codecs around them.

use std::borrow::Cow;

use super::input::Input;
use super::seal;
use crate::base::{LeaderEpoch, LogId, Offset, PartitionId, Timestamp, TopicId};
use crate::batch::compression::{DecompressError, compress, decompress};
use crate::batch::kafka::{KAFKA_HEADER_BYTES, OpenError, Record, Records, Span, patch, stamp_append_time};
use crate::batch::records::{RecordRef, aligned_copy, to_kafka};
use crate::batch::{
    BatchHeader, Compression, KafkaBatch, Placement, RecordHeader, RecordsBuilder, RecordsView, kafka,
    verify_payload,
};

/// Most bytes a batch may open to here.
const OPENED_BYTES_MAX: usize = 1 << 18;

/// Unit of the bound that an input of [`compression`] chooses.
const CAP_STEP_BYTES: usize = 7;

/// The log that frames of the targets belong to.
pub(super) const LOG: LogId = LogId {
    topic: TopicId::new([7; 16]),
    partition: PartitionId::new(3),
};

fn placement(base_offset: u64) -> Placement {
    Placement {
        log: LOG,
        base_offset: Offset::new(base_offset),
        leader_epoch: LeaderEpoch::new(4),
        durable_end: Offset::ZERO,
        append_time: Timestamp::new(1),
    }
}

/// Any bytes as the data of a codec: `codec, u16 bound, data`.
///
/// The bound holds for length and capacity; what opens does so under exactly its own length and under nothing less; and it
/// packs and opens again to the same.
pub fn compression(data: &[u8]) {
    let mut input = Input::new(data);
    let codec = Compression::ALL[usize::from(input.byte()) % Compression::ALL.len()];
    let cap = usize::from(input.number()) * CAP_STEP_BYTES;
    let packed = input.rest();
    let output = match decompress(codec, packed, cap) {
        Ok(output) => output,
        Err(DecompressError::TooLarge { output_bytes_max }) => return assert_eq!(output_bytes_max, cap),
        Err(DecompressError::Malformed { codec: named, .. }) => return assert_eq!(named, codec),
    };
    assert!(
        output.len() <= cap,
        "{codec:?}: {} bytes past {cap}",
        output.len()
    );
    if let Cow::Owned(output) = &output {
        assert!(output.capacity() <= cap, "{codec:?} took {}", output.capacity());
    }
    let exact = decompress(codec, packed, output.len());
    assert_eq!(
        exact.ok().as_deref(),
        Some(&*output),
        "{codec:?}: at the exact bound"
    );
    if let Some(less) = output.len().checked_sub(1) {
        let refused = decompress(codec, packed, less);
        assert!(
            matches!(refused, Err(DecompressError::TooLarge { .. })),
            "{codec:?}: {refused:?} one byte below the exact bound"
        );
    }
    let again = compress(codec, &output);
    let opened = decompress(codec, &again, output.len());
    assert_eq!(opened.ok().as_deref(), Some(&*output), "{codec:?}: packed again");
}

/// Any bytes as a produced batch, as they are and resealed.
pub fn kafka_batch(data: &[u8]) {
    judge_batch(data);
    let mut sealed = data.to_vec();
    seal::kafka_batch(&mut sealed);
    judge_batch(&sealed);
}

fn judge_batch(bytes: &[u8]) {
    let Ok(batch) = KafkaBatch::parse(bytes) else {
        return;
    };
    if batch.verify_crc().is_err() || batch.check_produced().is_err() {
        return;
    }
    store(&batch);
    let section = match batch.uncompressed(OPENED_BYTES_MAX) {
        Ok(section) => section,
        Err(OpenError::Decompress(_)) => return,
        Err(OpenError::Batch(error)) => panic!("{error} after the batch passed its checks"),
    };
    let count = u32::try_from(batch.record_count()).expect("checked to be positive");
    let records: Result<Vec<Record<'_>>, _> = Records::new(&section, count).collect();
    let Ok(records) = records else { return };
    assert_eq!(records.len(), count as usize);
    for record in &records {
        assert_eq!(record.headers.count(), record.headers.len());
    }
    for codec in Compression::ALL {
        let packed = kafka::recompressed(&batch, &section, codec, None).expect("a fuzzer's inputs are small");
        let made = KafkaBatch::parse(&packed).expect("what we make is a batch");
        assert_eq!((made.verify_crc(), made.check_produced()), (Ok(()), Ok(())));
        let opened = made.uncompressed(section.len()).expect("what we pack opens");
        assert_eq!(opened, section, "{codec:?}");
    }
    rewrite(&batch, &section, &records);
}

/// What appending does to a batch: header, patch, perhaps a stamp; its sums hold afterwards.
fn store(batch: &KafkaBatch<'_>) {
    for stamped in [None, Some(Timestamp::new(99))] {
        let placement = placement(1000);
        let mut header = BatchHeader::for_kafka(batch, &placement);
        let mut stored = batch.bytes().to_vec();
        patch(&mut stored, placement.base_offset, placement.leader_epoch);
        if let Some(time) = stamped {
            header.stamp_append_time(time);
            let records_bytes = stored.len() - KAFKA_HEADER_BYTES;
            let head = stored.first_chunk_mut().expect("parsed as a batch");
            header.payload_crc = stamp_append_time(head, records_bytes, time);
        }
        assert_eq!(verify_payload(&header, &stored), Ok(()), "stamped {stamped:?}");
        assert_eq!(BatchHeader::decode(&header.encode()), Ok(header));
    }
}

/// What compaction does: some records leave, the others stay as they are.
fn rewrite(batch: &KafkaBatch<'_>, section: &[u8], records: &[Record<'_>]) {
    let in_order = |(index, record): (usize, &Record<'_>)| usize::try_from(record.offset_delta) == Ok(index);
    if !records.iter().enumerate().all(in_order) || batch.base_offset() < 0 {
        return;
    }
    let base = Offset::new(batch.base_offset().cast_unsigned());
    let span = Span {
        base,
        end: base.plus(records.len() as u64),
        epoch: LeaderEpoch::new(4),
    };
    let keeps = |record: &Record<'_>| record.offset_delta % 2 == 0;
    let Ok(rewritten) = kafka::rewrite(batch, section, &span, keeps) else {
        return;
    };
    let rewritten = rewritten.expect("the first record stays");
    let made = KafkaBatch::parse(&rewritten).expect("what we make is a batch");
    assert_eq!(made.verify_crc(), Ok(()));
    let opened = made.uncompressed(OPENED_BYTES_MAX).expect("what we pack opens");
    let count = u32::try_from(made.record_count()).expect("it holds records");
    let left = Records::new(&opened, count).map(|record| record.expect("what we write reads"));
    let expected = records.iter().filter(|record| keeps(record));
    assert!(
        left.map(|one| (one.offset_delta, one.timestamp_delta, one.key, one.value))
            .eq(expected.map(|one| (one.offset_delta, one.timestamp_delta, one.key, one.value)))
    );
}

/// Any bytes as a native payload: what is accepted is walked, built again and translated for Kafka's readers.
pub fn native_payload(data: &[u8]) {
    let payload = aligned_copy(data);
    let Ok(view) = RecordsView::parse(&payload) else {
        return;
    };
    walk_view(&view);
    let mut builder = RecordsBuilder::new();
    for record in view.iter() {
        builder
            .push(record.key, record.value, record.timestamp, record.headers)
            .expect("a fuzzer's inputs are small");
    }
    let again = builder.finish().expect("it holds records and is small");
    let again = RecordsView::parse(&again).expect("what we build is a payload");
    assert!(view.iter().map(plain).eq(again.iter().map(plain)));
    let header = BatchHeader::for_records(&view, &payload, Default::default(), None, &placement(5));
    translate(&header, &view);
}

/// Every record of a view can be taken.
pub(super) fn walk_view(view: &RecordsView<'_>) {
    assert!(!view.is_empty());
    assert_eq!(view.iter().count(), view.len());
    assert!(view.get(view.len()).is_none());
    for record in view.iter() {
        let _headers = record.headers.count();
    }
}

/// The batch a Kafka reader gets holds the same records.
pub(super) fn translate(header: &BatchHeader, view: &RecordsView<'_>) {
    let bytes = to_kafka(header, view).expect("a fuzzer's inputs are small");
    let batch = KafkaBatch::parse(&bytes).expect("a translation is a batch");
    assert_eq!(batch.verify_crc(), Ok(()));
    let section = batch.uncompressed(usize::MAX).expect("it is not compressed");
    let count = u32::try_from(batch.record_count()).expect("it holds records");
    let records = Records::new(&section, count).map(|record| record.expect("a translation reads"));
    let base = batch.base_timestamp().get();
    let theirs = records.map(|one| (one.key, one.value, base.wrapping_add(one.timestamp_delta)));
    assert!(theirs.eq(view.iter().map(|one| (one.key, one.value, one.timestamp.get()))));
}

type Plain<'a> = (
    Timestamp,
    Option<&'a [u8]>,
    Option<&'a [u8]>,
    Vec<RecordHeader<'a>>,
);

fn plain(record: RecordRef<'_>) -> Plain<'_> {
    (
        record.timestamp,
        record.key,
        record.value,
        record.headers.collect(),
    )
}
