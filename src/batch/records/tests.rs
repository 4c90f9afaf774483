//! Native payloads against a naive model, and against bytes that lie about their own tables.

use proptest::prelude::*;
use rkyv::api::high;

use super::*;
use crate::base::{LeaderEpoch, LogId, Offset, ProducerEpoch, ProducerId};
use crate::batch::attributes::Attributes;
use crate::batch::header::{Placement, ProducerInfo};
use crate::batch::kafka::{KafkaBatch, Records};
use crate::batch::payload::verify_payload;

/// What a record holds, owned: the naive model the view is compared with.
type Plain = (
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    i64,
    Vec<(Vec<u8>, Option<Vec<u8>>)>,
);

fn built(records: &[Plain]) -> AlignedVec<16> {
    let mut builder = RecordsBuilder::new();
    for (key, value, timestamp, headers) in records {
        let headers = headers.iter().map(|(key, value)| RecordHeader {
            key,
            value: value.as_deref(),
        });
        builder
            .push(
                key.as_deref(),
                value.as_deref(),
                Timestamp::new(*timestamp),
                headers,
            )
            .unwrap();
    }
    let payload = builder.finish().unwrap();
    assert!(payload.len() <= builder.payload_bytes_max());
    payload
}

fn owned<'a>(headers: impl Iterator<Item = RecordHeader<'a>>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    headers
        .map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)))
        .collect()
}

fn read(view: &RecordsView<'_>) -> Vec<Plain> {
    let plain = view.iter().map(|one| {
        let (key, value) = (one.key.map(<[u8]>::to_vec), one.value.map(<[u8]>::to_vec));
        (key, value, one.timestamp.get(), owned(one.headers))
    });
    plain.collect()
}

fn sample() -> Vec<Plain> {
    vec![
        (None, Some(b"first".to_vec()), 1000, vec![]),
        (
            Some(b"k".to_vec()),
            None,
            1003,
            vec![(b"h".to_vec(), None), (b"i".to_vec(), Some(b"v".to_vec()))],
        ),
        (Some(Vec::new()), Some(Vec::new()), 1002, vec![]),
    ]
}

fn placed(payload: &[u8]) -> BatchHeader {
    let placement = Placement {
        log: LogId::default(),
        base_offset: Offset::new(500),
        leader_epoch: LeaderEpoch::new(6),
        durable_end: Offset::new(499),
        append_time: Timestamp::new(5000),
    };
    let producer = ProducerInfo {
        id: ProducerId::new(3),
        epoch: ProducerEpoch::new(1),
        base_sequence: 8,
    };
    let view = RecordsView::parse(payload).unwrap();
    BatchHeader::for_records(&view, payload, Attributes::default(), Some(producer), &placement)
}

#[test]
fn records_cost_what_the_essay_says() {
    let cost = |key: Option<&[u8]>, step: i64| {
        let mut builder = RecordsBuilder::new();
        for index in 0..1000 {
            builder
                .push(key, Some(&[7; 100]), Timestamp::new(index * step), [])
                .unwrap();
        }
        builder.finish().unwrap().len() - 1000 * (100 + key.map_or(0, <[u8]>::len)) - ROOT_BYTES
    };
    assert_eq!(
        [cost(None, 0), cost(None, 1), cost(Some(b"0123456789abcdef"), 1)],
        [4000, 8000, 12_000]
    );
}

#[test]
fn an_unaligned_payload_is_refused_and_a_copy_accepted() {
    let mut shifted = AlignedVec::<16>::new();
    shifted.extend_from_slice(&[0; 8]);
    shifted.extend_from_slice(&built(&sample()));
    assert_eq!(
        RecordsView::parse(&shifted[8..]).err(),
        Some(ViewError::Misaligned)
    );
    assert_eq!(
        read(&RecordsView::parse(&aligned_copy(&shifted[8..])).unwrap()),
        sample()
    );
}

/// Archives tables as they are, however wrong.
fn raw(wire: &WireRecords<'_>) -> AlignedVec<16> {
    let bytes = high::to_bytes_in::<_, Failure>(wire, AlignedVec::<16>::new());
    bytes.unwrap()
}

const ONE: WireRecords<'_> = WireRecords {
    base_timestamp: 0,
    ends: &[2],
    times_low: &[],
    times_high: &[],
    key_lens: &[],
    header_lens: &[],
    null_values: &[],
    blob: &[1, 2],
};

#[test]
fn each_wrong_table_has_its_own_error() {
    use ViewError as E;
    let error = |wire: WireRecords<'_>| RecordsView::parse(&raw(&wire)).err();
    let one = || WireRecords { ..ONE };
    assert_eq!(error(one()), None);
    assert_eq!(error(WireRecords { ends: &[], ..one() }), Some(E::Empty));
    assert_eq!(
        error(WireRecords { ends: &[1], ..one() }),
        Some(E::Ends { index: 1 })
    );
    assert_eq!(
        error(WireRecords { ends: &[3], ..one() }),
        Some(E::Ends { index: 0 })
    );
    assert_eq!(
        error(WireRecords {
            ends: &[1, 0, 2],
            ..one()
        }),
        Some(E::Ends { index: 1 })
    );
    assert_eq!(
        error(WireRecords {
            ends: &[3, 2],
            ..one()
        }),
        Some(E::Ends { index: 0 })
    );
    let lengths = E::TableLength {
        found: 2,
        record_count: 1,
    };
    assert_eq!(
        error(WireRecords {
            times_low: &[0, 0],
            ..one()
        }),
        Some(lengths)
    );
    assert_eq!(
        error(WireRecords {
            times_high: &[0, 0],
            ..one()
        }),
        Some(lengths)
    );
    assert_eq!(
        error(WireRecords {
            key_lens: &[0, 0],
            ..one()
        }),
        Some(lengths)
    );
    assert_eq!(
        error(WireRecords {
            header_lens: &[0, 0],
            ..one()
        }),
        Some(lengths)
    );
    assert_eq!(
        error(WireRecords {
            null_values: &[0, 0],
            ..one()
        }),
        Some(lengths)
    );
    let parts = Some(E::Parts { index: 0 });
    assert_eq!(
        error(WireRecords {
            key_lens: &[2],
            ..one()
        }),
        None
    );
    assert_eq!(
        error(WireRecords {
            key_lens: &[3],
            ..one()
        }),
        parts
    );
    assert_eq!(
        error(WireRecords {
            key_lens: &[u32::MAX - 1],
            header_lens: &[3],
            ..one()
        }),
        parts
    );
    assert_eq!(
        error(WireRecords {
            header_lens: &[2],
            ..one()
        }),
        parts
    );
    assert_eq!(
        error(WireRecords {
            null_values: &[1],
            ..one()
        }),
        parts
    );
    assert_eq!(
        error(WireRecords {
            null_values: &[1],
            key_lens: &[2],
            ..one()
        }),
        None
    );
}

#[test]
fn a_batch_without_records_cannot_be_built() {
    assert_eq!(RecordsBuilder::new().finish().err(), Some(RecordsError::Empty));
}

#[test]
fn a_short_buffer_is_refused_with_the_size_needed() {
    let mut builder = RecordsBuilder::new();
    builder.push(None, Some(b"x"), Timestamp::ZERO, []).unwrap();
    let needed = builder.finish().unwrap().len();
    let mut buffer = vec![0; needed];
    let found = needed - 1;
    let error = RecordsError::BufferTooSmall { needed, found };
    assert_eq!(builder.finish_into(&mut buffer[..found]), Err(error));
    assert_eq!(builder.finish_into(&mut buffer), Ok(needed));
}

#[test]
fn a_cleared_builder_starts_over() {
    let mut builder = RecordsBuilder::new();
    builder
        .push(
            Some(b"k"),
            None,
            Timestamp::new(9),
            [RecordHeader::new("h", b"v")],
        )
        .unwrap();
    builder.clear();
    builder.push(None, Some(b"x"), Timestamp::ZERO, []).unwrap();
    let payload = builder.finish().unwrap();
    assert_eq!(
        read(&RecordsView::parse(&payload).unwrap()),
        [(None, Some(b"x".to_vec()), 0, vec![])]
    );
}

#[test]
fn extreme_timestamps_survive() {
    let times = [i64::MAX, 0, i64::MIN, -1, 1 << 32];
    let records: Vec<Plain> = times
        .iter()
        .map(|time| (None, Some(vec![]), *time, vec![]))
        .collect();
    let payload = built(&records);
    let view = RecordsView::parse(&payload).unwrap();
    assert_eq!(read(&view), records);
    assert_eq!(
        (view.base_timestamp().get(), view.max_timestamp().get()),
        (i64::MIN, i64::MAX)
    );
}

#[test]
fn a_translation_keeps_offsets_times_and_producer() {
    let payload = built(&sample());
    let header = placed(&payload);
    assert_eq!(verify_payload(&header, &payload), Ok(()));
    let bytes = to_kafka(&header, &RecordsView::parse(&payload).unwrap()).unwrap();
    let batch = KafkaBatch::parse(&bytes).unwrap();
    assert_eq!((batch.verify_crc(), batch.check_produced()), (Ok(()), Ok(())));
    assert_eq!((batch.base_offset(), batch.leader_epoch()), (500, 6));
    assert_eq!(batch.producer(), header.producer);
    assert_eq!(
        (batch.base_timestamp(), batch.max_timestamp()),
        (header.first_timestamp, header.max_timestamp)
    );
}

proptest! {
    #[test]
    fn a_view_reads_what_was_pushed(records in prop::collection::vec(plain(), 1..70)) {
        let payload = built(&records);
        let view = RecordsView::parse(&payload).unwrap();
        prop_assert_eq!(read(&view), records);
        prop_assert!(view.get(view.len()).is_none());
    }

    #[test]
    fn a_translation_holds_the_same_records(records in prop::collection::vec(plain(), 1..20)) {
        let payload = built(&records);
        let bytes = to_kafka(&placed(&payload), &RecordsView::parse(&payload).unwrap()).unwrap();
        let batch = KafkaBatch::parse(&bytes).unwrap();
        let base = batch.base_timestamp().get();
        let mut seen = Vec::new();
        for record in Records::new(batch.records_section(), u32::try_from(records.len()).unwrap()) {
            let record = record.unwrap();
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            seen.push((key, value, base.wrapping_add(record.timestamp_delta), owned(record.headers)));
        }
        prop_assert_eq!(seen, records);
    }

    #[test]
    fn hostile_payloads_never_panic(
        records in prop::collection::vec(plain(), 1..6),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut payload = built(&records);
        for (at, with) in &flips {
            // Half of the damage goes to the root, where the pointers are.
            let reach = if with % 2 == 0 { payload.len() } else { ROOT_BYTES };
            let at = payload.len() - 1 - at.index(reach);
            payload[at] ^= with;
        }
        for bytes in [payload, aligned_copy(&noise)] {
            if let Ok(view) = RecordsView::parse(&bytes) {
                prop_assert_eq!(read(&view).len(), view.len());
            }
        }
    }
}

fn plain() -> impl Strategy<Value = Plain> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let nullable = move || prop::option::of(bytes());
    let headers = prop::collection::vec((bytes(), nullable()), 0..4);
    (
        nullable(),
        nullable(),
        prop_oneof![any::<i64>(), 0..5_i64, Just(7)],
        headers,
    )
}
