//! The table against its rules one by one, against a model that forgets nothing, and its bytes.

use expect_test::expect;
use proptest::prelude::*;

use super::*;

fn stamp(id: i64, epoch: i16, base_sequence: i32) -> ProducerStamp {
    ProducerStamp {
        id: ProducerId::new(id),
        epoch: ProducerEpoch::new(epoch),
        base_sequence,
    }
}

fn at(base: u64, count: u32) -> Placement {
    Placement {
        base_offset: Offset::new(base),
        last_offset: Offset::new(base + u64::from(count) - 1),
        timestamp: Timestamp::new(i64::try_from(base).unwrap() + 1000),
    }
}

fn duplicate(placement: Placement) -> Result<Verdict, SequenceError> {
    let Placement {
        base_offset,
        last_offset,
        timestamp,
    } = placement;
    Ok(Verdict::Duplicate {
        base_offset,
        last_offset,
        timestamp,
    })
}

fn out_of_order(id: i64, got: i32, expected: i32) -> Result<Verdict, SequenceError> {
    Err(SequenceError::OutOfOrderSequence {
        id: ProducerId::new(id),
        got,
        expected,
    })
}

const NOW: Timestamp = Timestamp::new(50);

/// Producer 1 in epoch 2 with batches of ten records from `first`, at offsets 100, 110 and so on.
fn table(first: i32, batches: u32) -> ProducerTable {
    let mut table = ProducerTable::new();
    let mut sequence = first;
    for n in 0..batches {
        let stamp = stamp(1, 2, sequence);
        assert_eq!(table.check(stamp, 10), Ok(Verdict::Append));
        table.record(stamp, 10, at(100 + u64::from(n) * 10, 10), NOW);
        sequence = last_sequence(sequence, 11);
    }
    table
}

#[test]
fn an_unknown_producer_may_start_anywhere() {
    for sequence in [0, 1, 77, i32::MAX] {
        assert_eq!(
            ProducerTable::new().check(stamp(1, 0, sequence), 1),
            Ok(Verdict::Append)
        );
    }
}

#[test]
fn the_last_five_batches_are_known_again_and_older_ones_are_out_of_order() {
    let table = table(0, 7);
    for n in 2..7_u32 {
        let placement = at(100 + u64::from(n) * 10, 10);
        assert_eq!(
            table.check(stamp(1, 2, i32::try_from(n).unwrap() * 10), 10),
            duplicate(placement)
        );
    }
    for n in 0..2 {
        assert_eq!(table.check(stamp(1, 2, n * 10), 10), out_of_order(1, n * 10, 70));
    }
}

#[test]
fn only_the_whole_batch_is_a_duplicate() {
    let table = table(0, 3);
    assert_eq!(table.check(stamp(1, 2, 10), 9), out_of_order(1, 10, 30));
    assert_eq!(table.check(stamp(1, 2, 10), 11), out_of_order(1, 10, 30));
    assert_eq!(table.check(stamp(1, 2, 11), 9), out_of_order(1, 11, 30));
    assert_eq!(table.check(stamp(1, 2, 25), 10), out_of_order(1, 25, 30));
}

#[test]
fn a_gap_is_out_of_order() {
    let table = table(0, 2);
    assert_eq!(table.check(stamp(1, 2, 20), 1), Ok(Verdict::Append));
    assert_eq!(table.check(stamp(1, 2, 21), 1), out_of_order(1, 21, 20));
    assert_eq!(table.check(stamp(1, 2, -1), 1), out_of_order(1, -1, 20));
    assert_eq!(
        ProducerTable::new().check(stamp(1, 2, -1), 1),
        out_of_order(1, -1, 0)
    );
}

#[test]
fn a_new_epoch_starts_at_zero_and_ends_the_old_one() {
    let mut table = table(0, 2);
    assert_eq!(table.check(stamp(1, 3, 20), 1), out_of_order(1, 20, 0));
    assert_eq!(
        table.check(stamp(1, 3, 0), 10),
        Ok(Verdict::Append),
        "no duplicate of epoch 2"
    );
    table.record(stamp(1, 3, 0), 10, at(120, 10), NOW);
    assert_eq!(table.check(stamp(1, 3, 0), 10), duplicate(at(120, 10)));
    let (id, current) = (ProducerId::new(1), ProducerEpoch::new(3));
    for sequence in [0, 10, 20] {
        assert_eq!(
            table.check(stamp(1, 2, sequence), 10),
            Err(SequenceError::InvalidProducerEpoch {
                id,
                got: ProducerEpoch::new(2),
                current
            }),
        );
    }
}

#[test]
fn sequences_wrap_after_the_largest_integer() {
    assert_eq!(last_sequence(i32::MAX, 1), i32::MAX);
    assert_eq!(last_sequence(i32::MAX, 2), 0);
    assert_eq!(last_sequence(i32::MAX - 2, 10), 6);
    // A batch that ends at the last sequence, and one that wraps inside.
    for (first, next) in [(i32::MAX - 9, 0), (i32::MAX - 4, 5)] {
        let table = table(first, 1);
        assert_eq!(table.check(stamp(1, 2, first), 10), duplicate(at(100, 10)));
        assert_eq!(table.check(stamp(1, 2, next), 1), Ok(Verdict::Append));
        assert_eq!(
            table.check(stamp(1, 2, next + 1), 1),
            out_of_order(1, next + 1, next)
        );
    }
}

#[test]
fn producers_do_not_know_each_other() {
    let mut table = table(0, 1);
    assert_eq!(table.check(stamp(2, 0, 5), 1), Ok(Verdict::Append));
    table.record(stamp(2, 0, 5), 1, at(110, 1), NOW);
    assert_eq!(table.check(stamp(1, 2, 10), 1), Ok(Verdict::Append));
    assert_eq!(table.check(stamp(2, 0, 6), 1), Ok(Verdict::Append));
    assert_eq!(table.len(), 2);
}

#[test]
fn the_unused_expire() {
    let mut table = ProducerTable::new();
    for (id, now) in [(1, 1000), (2, 2000), (3, 3000)] {
        table.record(stamp(id, 0, 0), 1, at(0, 1), Timestamp::new(now));
    }
    table.record(stamp(1, 0, 1), 1, at(1, 1), Timestamp::new(2500));
    assert_eq!(table.expire(Timestamp::new(3000), Duration::from_millis(1000)), 0);
    assert_eq!(table.expire(Timestamp::new(3001), Duration::from_millis(1000)), 1);
    assert_eq!(table.check(stamp(2, 0, 9), 1), Ok(Verdict::Append), "2 is gone");
    assert_eq!(table.check(stamp(1, 0, 9), 1), out_of_order(1, 9, 2));
    assert_eq!(table.expire(Timestamp::new(i64::MIN), Duration::MAX), 0);
    assert_eq!(table.expire(Timestamp::new(i64::MAX), Duration::ZERO), 2);
    assert!(table.is_empty());
}

#[test]
fn a_full_table_forgets_those_unused_for_longest() {
    let mut table = ProducerTable::new();
    let max = i64::try_from(PRODUCERS_MAX).unwrap();
    let evicted = i64::try_from(PRODUCERS_EVICTED).unwrap();
    for id in 0..max {
        table.record(stamp(id, 0, 0), 1, at(0, 1), Timestamp::new(id));
    }
    table.record(stamp(0, 0, 1), 1, at(0, 1), Timestamp::new(max));
    table.record(stamp(max, 0, 0), 1, at(0, 1), Timestamp::new(max));
    assert_eq!(table.len(), PRODUCERS_MAX - PRODUCERS_EVICTED + 1);
    let known = |id| table.producers.contains_key(&ProducerId::new(id));
    assert!(known(0) && known(max) && known(evicted + 1));
    assert!((1..=evicted).all(|id| !known(id)));
}

#[test]
fn the_bytes_are_laid_out_as_drawn() {
    let mut table = table(0, 1);
    table.record(stamp(0x0102, 7, i32::MAX), 2, at(0x0a0b, 2), Timestamp::new(-1));
    let bytes = table.encode();
    let lines: Vec<String> = bytes
        .chunks(16)
        .enumerate()
        .map(|(row, chunk)| {
            let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{:03}  {}\n", row * 16, hex.join(" "))
        })
        .collect();
    expect![[r#"
        000  01 00 02 00 00 00 01 00 00 00 00 00 00 00 02 00
        016  32 00 00 00 00 00 00 00 01 00 00 00 00 09 00 00
        032  00 64 00 00 00 00 00 00 00 6d 00 00 00 00 00 00
        048  00 4c 04 00 00 00 00 00 00 02 01 00 00 00 00 00
        064  00 07 00 ff ff ff ff ff ff ff ff 01 ff ff ff 7f
        080  00 00 00 00 0b 0a 00 00 00 00 00 00 0c 0a 00 00
        096  00 00 00 00 f3 0d 00 00 00 00 00 00
    "#]]
    .assert_eq(&lines.concat());
    assert_eq!(ProducerTable::decode(&bytes), Ok(table));
}

#[test]
fn bad_bytes_are_refused() {
    let mut table = table(0, 7);
    table.record(stamp(2, 0, 0), 1, at(0, 1), NOW);
    let bytes = table.encode();
    for len in 0..bytes.len() {
        assert_eq!(
            ProducerTable::decode(&bytes[..len]),
            Err(DecodeError::Incomplete),
            "length {len}"
        );
    }
    let with = |position: usize, patch: &[u8]| {
        let mut bad = bytes.clone();
        bad[position..position + patch.len()].copy_from_slice(patch);
        ProducerTable::decode(&bad)
    };
    assert_eq!(with(0, &[2]), Err(DecodeError::Version(2)));
    assert_eq!(
        with(2, &[255; 4]),
        Err(DecodeError::Invalid("number of producers"))
    );
    assert_eq!(with(2, &[1]), Err(DecodeError::Invalid("length")));
    assert_eq!(with(6, &[2]), Err(DecodeError::Invalid("order of producers")));
    assert_eq!(with(24, &[0]), Err(DecodeError::Invalid("number of batches")));
    assert_eq!(with(24, &[6]), Err(DecodeError::Invalid("number of batches")));
    assert_eq!(with(25, &[255; 4]), Err(DecodeError::Invalid("sequence")));
    assert_eq!(with(33, &[255; 8]), Err(DecodeError::Invalid("offset")));
    assert_eq!(with(33, &[255; 16]), Err(DecodeError::Invalid("offset")));
}

/// Remembers every batch that was ever appended, and reads the rules off that.
#[derive(Default)]
struct Model(BTreeMap<i64, Vec<Appended>>);

struct Appended {
    epoch: i16,
    /// Sequences counted without wrapping.
    first: i64,
    count: u32,
    placement: Placement,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Append,
    Duplicate(Placement),
    Epoch,
    Order,
}

impl Model {
    fn check(&self, id: i64, epoch: i16, sequence: i32, count: u32) -> Outcome {
        let history = self.0.get(&id).map_or(&[][..], Vec::as_slice);
        let Some(newest) = history.last() else {
            return Outcome::Append;
        };
        if epoch < newest.epoch {
            return Outcome::Epoch;
        }
        let wrapped = |long: i64| i32::try_from(long & 0x7fff_ffff).unwrap();
        let recent = history
            .iter()
            .rev()
            .take_while(|batch| batch.epoch == epoch)
            .take(5);
        let same = recent
            .into_iter()
            .find(|batch| wrapped(batch.first) == sequence && batch.count == count);
        if let Some(batch) = same {
            return Outcome::Duplicate(batch.placement);
        }
        let next = if epoch > newest.epoch {
            0
        } else {
            wrapped(newest.first + i64::from(newest.count))
        };
        if sequence == next {
            Outcome::Append
        } else {
            Outcome::Order
        }
    }

    fn append(&mut self, id: i64, epoch: i16, sequence: i32, count: u32, placement: Placement) {
        let history = self.0.entry(id).or_default();
        let first = match history.last() {
            Some(newest) if newest.epoch == epoch => newest.first + i64::from(newest.count),
            _ => i64::from(sequence),
        };
        history.push(Appended {
            epoch,
            first,
            count,
            placement,
        });
    }
}

/// A batch: its producer, what epoch it has beside the newest, and what sequence.
#[derive(Clone, Debug)]
struct Sent {
    id: i64,
    epoch_step: i16,
    sequence: Choice,
    count: u32,
}

#[derive(Clone, Debug)]
enum Choice {
    Next,
    /// The same again, this many batches back.
    Again(usize),
    /// Beside the right one.
    Off(i32),
    Exactly(i32),
}

fn sent() -> impl Strategy<Value = Sent> {
    let sequence = prop_oneof![
        6 => Just(Choice::Next),
        4 => (0..8_usize).prop_map(Choice::Again),
        2 => (-6..6_i32).prop_map(Choice::Off),
        1 => prop_oneof![Just(0), Just(i32::MAX), Just(i32::MAX - 3)].prop_map(Choice::Exactly),
    ];
    let epoch_step = prop_oneof![10 => Just(0_i16), 1 => Just(1), 1 => Just(-1)];
    (1..4_i64, epoch_step, sequence, 1..6_u32).prop_map(|(id, epoch_step, sequence, count)| Sent {
        id,
        epoch_step,
        sequence,
        count,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_table_that_forgets_nothing(batches in proptest::collection::vec(sent(), 1..120)) {
        let mut table = ProducerTable::new();
        let mut model = Model::default();
        let mut end = 0;
        for Sent { id, epoch_step, sequence, mut count } in batches {
            let history = model.0.get(&id).map_or(&[][..], Vec::as_slice);
            let wrapped = |long: i64| i32::try_from(long & 0x7fff_ffff).unwrap();
            let next = history.last().map_or(i32::MAX - 9, |last| wrapped(last.first + i64::from(last.count)));
            let epoch = history.last().map_or(3, |last| last.epoch) + epoch_step;
            let sequence = match sequence {
                Choice::Next if epoch_step > 0 => 0,
                Choice::Next => next,
                Choice::Again(back) => match history.iter().rev().nth(back) {
                    Some(batch) => {
                        count = batch.count;
                        wrapped(batch.first)
                    }
                    None => next,
                },
                Choice::Off(by) => wrapped(i64::from(next) + i64::from(by)),
                Choice::Exactly(sequence) => sequence,
            };
            let stamp = stamp(id, epoch, sequence);
            let got = match table.check(stamp, count) {
                Ok(Verdict::Append) => Outcome::Append,
                Ok(Verdict::Duplicate { base_offset, last_offset, timestamp }) => {
                    Outcome::Duplicate(Placement { base_offset, last_offset, timestamp })
                }
                Err(SequenceError::InvalidProducerEpoch { .. }) => Outcome::Epoch,
                Err(SequenceError::OutOfOrderSequence { .. }) => Outcome::Order,
            };
            let expected = model.check(id, epoch, sequence, count);
            prop_assert_eq!(&got, &expected);
            if got == Outcome::Append {
                let placement = at(end, count);
                table.record(stamp, count, placement, Timestamp::new(1));
                model.append(id, epoch, sequence, count, placement);
                end += u64::from(count);
            }
            // A restart at any moment changes nothing.
            table = ProducerTable::decode(&table.encode()).unwrap();
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(table) = ProducerTable::decode(&bytes) {
            prop_assert_eq!(table.encode(), bytes);
        }
    }
}

#[test]
fn those_unused_since_a_time_are_forgotten_up_to_a_number() {
    let mut table = ProducerTable::new();
    for id in 0..10 {
        table.record(stamp(id, 0, 0), 1, at(0, 1), Timestamp::new(id / 2));
    }
    assert_eq!(table.forget(Timestamp::new(1), 3), 3);
    assert_eq!(table.forget(Timestamp::new(1), 3), 1);
    assert_eq!(table.forget(Timestamp::new(1), 3), 0);
    let left: Vec<i64> = table.reports().map(|report| report.id.get()).collect();
    assert_eq!(left, [4, 5, 6, 7, 8, 9]);
}
