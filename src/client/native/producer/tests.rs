//! The producer against a broker in memory: what is delivered, in which order, how often.

use proptest::prelude::*;

use super::*;
use crate::client::native::blocking::{now, wall};
use crate::client::native::config::ClientConfig;
use crate::client::native::peer::{Fault, Peer, TOPIC};

struct Bench {
    peer: Peer,
    core: ProducerCore,
    now: Instant,
}

impl Bench {
    fn new(partitions: u32, config: ProducerConfig) -> Self {
        let cluster = Cluster::new("peer:1", ClientConfig::default()).unwrap();
        Self {
            peer: Peer::new(partitions),
            core: ProducerCore::new(cluster, config).unwrap(),
            now: now(),
        }
    }

    fn send(&mut self, record: &NewRecord<'_>) -> Result<Delivery, Error> {
        let wall = wall();
        self.peer.drive(&mut self.core, &mut self.now, |core, now| {
            core.offer(record, &mut None, Moment { now, wall })
        })
    }

    fn value(&mut self, value: &str) -> Delivery {
        self.send(&NewRecord::to(TOPIC).value(value.as_bytes()).partition(0))
            .unwrap()
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.core.begin_flush();
        self.peer
            .drive(&mut self.core, &mut self.now, |core, _| core.flushed())
    }
}

fn small() -> ProducerConfig {
    ProducerConfig {
        batch_bytes: 100,
        ..ProducerConfig::default()
    }
}

fn words(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("record {index}")).collect()
}

#[test]
fn records_arrive_in_order_and_their_handles_know_where() {
    let mut bench = Bench::new(1, small());
    let words = words(50);
    let handles: Vec<Delivery> = words.iter().map(|word| bench.value(word)).collect();
    bench.flush().unwrap();
    assert_eq!(bench.peer.values(0), words);
    for (offset, handle) in (0_u64..).zip(&handles) {
        assert_eq!(handle.outcome().unwrap().unwrap().offset, Some(offset));
    }
    assert_eq!(bench.core.buffered_bytes(), 0);
}

#[test]
fn records_collect_while_batches_are_on_their_way() {
    let mut bench = Bench::new(
        1,
        ProducerConfig {
            in_flight: 1,
            ..ProducerConfig::default()
        },
    );
    for word in words(100) {
        bench.value(&word);
    }
    bench.flush().unwrap();
    assert!(
        bench.peer.produce_frames <= 3,
        "{} frames",
        bench.peer.produce_frames
    );
}

#[test]
fn a_lost_answer_is_not_a_second_copy() {
    let mut bench = Bench::new(1, small());
    bench.value("first");
    bench.flush().unwrap();
    bench
        .peer
        .faults
        .extend([Fault::LoseAnswer, Fault::LoseAnswer, Fault::LoseRequest].map(Some));
    let words = words(30);
    words.iter().for_each(|word| drop(bench.value(word)));
    bench.flush().unwrap();
    assert_eq!(bench.peer.values(0)[1..], words);
}

#[test]
fn a_batch_refused_for_good_fails_alone() {
    let mut bench = Bench::new(1, small());
    bench.value("before");
    bench.flush().unwrap();
    bench
        .peer
        .faults
        .push_back(Some(Fault::Refuse(ErrorCode::InvalidBatch)));
    let words = words(30);
    let handles: Vec<Delivery> = words.iter().map(|word| bench.value(word)).collect();
    let error = bench.flush().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidBatch));
    let failed = handles
        .iter()
        .filter(|one| one.outcome().unwrap().is_err())
        .count();
    assert!((1..10).contains(&failed), "{failed} failed");
    assert_eq!(bench.peer.values(0)[1..], words[failed..]);
    bench.flush().unwrap();
}

#[test]
fn a_batch_refused_for_now_is_sent_again_in_its_place() {
    let mut bench = Bench::new(1, small());
    bench
        .peer
        .faults
        .extend([Some(Fault::Refuse(ErrorCode::DiskFull)); 2]);
    let words = words(30);
    words.iter().for_each(|word| drop(bench.value(word)));
    bench.flush().unwrap();
    assert_eq!(bench.peer.values(0), words);
}

#[test]
fn a_broker_that_forgot_the_producer_gets_a_new_one() {
    let mut bench = Bench::new(1, small());
    bench.value("before");
    bench.flush().unwrap();
    bench
        .peer
        .faults
        .push_back(Some(Fault::Refuse(ErrorCode::OutOfOrderSequence)));
    let words = words(20);
    words.iter().for_each(|word| drop(bench.value(word)));
    bench.flush().unwrap();
    assert_eq!(bench.peer.values(0)[1..], words);
}

#[test]
fn keys_decide_and_keyless_records_move_on() {
    let mut bench = Bench::new(8, small());
    for key in ["a", "b", "c", "a"] {
        let record = NewRecord::to(TOPIC).key(key.as_bytes()).value(key.as_bytes());
        let delivery = bench.send(&record).unwrap();
        bench.flush().unwrap();
        let partition = partition_of(key.as_bytes(), 8);
        assert_eq!(delivery.outcome().unwrap().unwrap().partition, partition);
        assert!(bench.peer.values(partition).contains(&key.to_owned()));
    }
    for _ in 0..8 {
        bench.send(&NewRecord::to(TOPIC).value(b"keyless")).unwrap();
        bench.flush().unwrap();
    }
    assert!((0..8).all(|partition| bench.peer.values(partition).contains(&"keyless".to_owned())));
}

#[test]
fn without_acknowledgements_nothing_is_waited_for() {
    let mut bench = Bench::new(
        1,
        ProducerConfig {
            acks: Acks::None,
            ..small()
        },
    );
    let words = words(30);
    let handles: Vec<Delivery> = words.iter().map(|word| bench.value(word)).collect();
    bench.flush().unwrap();
    assert!(
        handles
            .iter()
            .all(|one| one.outcome().unwrap().unwrap().offset.is_none())
    );
    bench.peer.serve(&mut bench.core, bench.now);
    assert_eq!(bench.peer.values(0), words);
}

#[test]
fn what_cannot_be_is_said_at_once() {
    let mut bench = Bench::new(2, ProducerConfig::default());
    let unknown = bench.send(&NewRecord::to("nowhere").value(b"x")).unwrap_err();
    assert_eq!(unknown.code(), Some(ErrorCode::UnknownTopic));
    let partition = bench.send(&NewRecord::to(TOPIC).partition(2)).unwrap_err();
    assert!(matches!(partition, Error::NoSuchPartition { count: 2, .. }));
    let large = vec![0; 2 << 20];
    let error = bench.send(&NewRecord::to(TOPIC).value(&large)).unwrap_err();
    assert!(matches!(error, Error::RecordTooLarge { .. }));
}

#[test]
fn a_record_that_cannot_be_delivered_fails_in_time() {
    let mut bench = Bench::new(1, small());
    bench.value("before");
    bench.flush().unwrap();
    bench.peer.faults.extend(std::iter::repeat_n(
        Some(Fault::Refuse(ErrorCode::DiskFull)),
        10_000,
    ));
    let delivery = bench.value("too late");
    assert!(matches!(
        bench.flush(),
        Err(Error::TimedOut {
            what: Waited::Delivery
        })
    ));
    assert!(delivery.outcome().unwrap().is_err());
    bench.peer.faults.clear();
    bench.value("after");
    bench.flush().unwrap();
    assert_eq!(bench.peer.values(0), ["before", "after"]);
}

#[test]
fn callbacks_are_called_once_with_their_own_offset() {
    let (told, heard) = std::sync::mpsc::channel();
    let mut bench = Bench::new(1, ProducerConfig::default());
    bench.value("before");
    let callback: Callback = Box::new(move |outcome| told.send(outcome.unwrap().offset).unwrap());
    let (record, wall) = (NewRecord::to(TOPIC).value(b"x").partition(0), wall());
    let mut callback = Some(callback);
    let offered = |core: &mut ProducerCore, now| core.offer(&record, &mut callback, Moment { now, wall });
    bench
        .peer
        .drive(&mut bench.core, &mut bench.now, offered)
        .unwrap();
    bench.flush().unwrap();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [Some(1)]);
}

fn faults() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::LoseRequest),
        Just(Fault::LoseAnswer),
        Just(Fault::Refuse(ErrorCode::DiskFull)),
        Just(Fault::Refuse(ErrorCode::UnknownPartition)),
    ]
}

proptest! {
    #[test]
    fn whatever_breaks_every_record_is_there_once_and_in_order(
        faults in prop::collection::vec(prop::option::weighted(0.5, faults()), 0..40),
        in_flight in 1..=crate::client::native::config::IN_FLIGHT_MAX,
        count in 1..200_usize,
    ) {
        let mut bench = Bench::new(1, ProducerConfig { in_flight, ..small() });
        bench.peer.faults.extend(faults);
        let words = words(count);
        let handles: Vec<Delivery> = words.iter().map(|word| bench.value(word)).collect();
        bench.flush().unwrap();
        prop_assert_eq!(bench.peer.values(0), &words[..]);
        for (offset, handle) in (0_u64..).zip(&handles) {
            prop_assert_eq!(handle.outcome().unwrap().unwrap().offset, Some(offset));
        }
    }
}
