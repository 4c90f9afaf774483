//! Whole runs against the scripted Kafka broker, which stalls on demand: no stall may hide.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::bench::schedule::Arrival;
use crate::bench::spec::{Keys, Rate};
use crate::bench::testing::spec;
use crate::bench::wire::kafka::KafkaDoor;
use crate::bench::wire::{Acks, TopicSpec};
use crate::client::kafka::peer::{Fault, Peer};
use crate::protocol::kafka::errors::ErrorCode;

/// Far longer than anything a busy machine does by itself to a small run.
const STALL: Duration = Duration::from_millis(400);

fn drive(peer: &Peer, spec: &RunSpec) -> Outcome {
    let door: Arc<dyn Door> = Arc::new(KafkaDoor::new(vec![peer.address()]));
    run(spec, &door, &mut |_| {}).unwrap()
}

/// The run's p90 of response and service.
fn p90(outcome: &Outcome) -> (u64, u64) {
    let of = |measure| outcome.whole.of(measure).value_at_quantile(0.9);
    (of(Measure::Response), of(Measure::Service))
}

#[test]
fn a_broker_that_stalls_shows_with_every_message_it_kept_waiting() {
    let peer = Peer::start();
    peer.create("t", 1);
    // The requests that prepare the run, and the first batches, pass.
    for _ in 0..20 {
        peer.fail_next(Fault::Refuse(ErrorCode::None));
    }
    peer.fail_next(Fault::Stall(STALL));
    let mut spec = spec(Kind::Produce);
    spec.in_flight = 1;
    let outcome = drive(&peer, &spec);
    assert_eq!(peer.faults_left(), 0);
    // Four tenths of the messages were due during the stall, and waited up to all of it; one request met it.
    let (response, service) = p90(&outcome);
    assert!(response > nanos(STALL) / 2, "response p90 {response} ns");
    assert!(
        service < response / 4,
        "service p90 {service} ns, response p90 {response} ns"
    );
    let count = outcome.whole.of(Measure::Response).len();
    assert_eq!(count, 1000, "every message that was due is recorded");
}

#[test]
fn a_generator_that_stalls_shows_in_the_response_and_not_in_the_service() {
    let peer = Peer::start();
    let mut spec = spec(Kind::Produce);
    spec.inject_stall = STALL;
    let outcome = drive(&peer, &spec);
    let (response, service) = p90(&outcome);
    assert!(response > nanos(STALL) / 2, "response p90 {response} ns");
    assert!(
        service < response / 4,
        "service p90 {service} ns, response p90 {response} ns"
    );
    let delay = outcome.whole.of(Measure::Delay).value_at_quantile(0.9);
    assert!(delay > nanos(STALL) / 2, "delay p90 {delay} ns");
    assert!(
        outcome.result.totals.late_sends > 300,
        "{:?}",
        outcome.result.totals
    );
    assert!(!outcome.result.verdict.valid);
}

#[test]
fn end_to_end_runs_account_for_every_message() {
    let peer = Peer::start();
    let mut spec = spec(Kind::E2e);
    spec.topic = TopicSpec {
        names: vec!["a".to_owned(), "b".to_owned()],
        partitions: 3,
        settings: Vec::new(),
    };
    (spec.producers, spec.consumers, spec.fanout, spec.threads) = (3, 2, 2, 2);
    (spec.keys, spec.arrival) = (Keys::RoundRobin, Arrival::Poisson);
    (spec.linger, spec.idempotent) = (Duration::from_millis(2), true);
    let outcome = drive(&peer, &spec);
    let totals = &outcome.result.totals;
    let lost = (totals.missing, totals.duplicates, totals.reordered, totals.errors);
    assert_eq!(lost, (0, 0, 0, 0), "{:?}", outcome.result.verdict);
    let produced = outcome.whole.of(Measure::Response).len();
    assert!((800..1_200).contains(&produced), "{produced} of about 1000");
    assert_eq!(
        outcome.whole.of(Measure::E2e).len(),
        2 * produced,
        "each group reads everything"
    );
}

#[test]
fn refusals_are_counted_and_never_sent_again() {
    let peer = Peer::start();
    peer.create("t", 1);
    for _ in 0..10 {
        peer.fail_next(Fault::Refuse(ErrorCode::None));
    }
    peer.fail_next(Fault::Refuse(ErrorCode::MessageTooLarge));
    let mut spec = spec(Kind::Produce);
    spec.batch_bytes = 1;
    let outcome = drive(&peer, &spec);
    assert_eq!(outcome.result.totals.errors, 1);
    let reasons = &outcome.result.verdict.invalid;
    assert!(
        reasons.iter().any(|one| one.contains("MESSAGE_TOO_LARGE")),
        "{reasons:?}"
    );
}

#[test]
fn a_lost_connection_ends_the_run_and_says_so() {
    let peer = Peer::start();
    peer.create("t", 1);
    for _ in 0..10 {
        peer.fail_next(Fault::Refuse(ErrorCode::None));
    }
    peer.fail_next(Fault::Hangup);
    let outcome = drive(&peer, &spec(Kind::Produce));
    let reasons = &outcome.result.verdict.invalid;
    assert!(
        reasons.iter().any(|one| one.starts_with("the run ended early")),
        "{reasons:?}"
    );
    assert!(outcome.result.seconds < 1.0, "{}", outcome.result.seconds);
}

#[test]
fn closed_loops_send_whole_batches_and_stop_at_their_number_of_messages() {
    let peer = Peer::start();
    let mut spec = spec(Kind::Produce);
    (spec.rate, spec.messages) = (Rate::MAX, 1_003);
    spec.batch_bytes = 100 * spec.size;
    spec.producers = 2;
    let outcome = drive(&peer, &spec);
    let totals = &outcome.result.totals;
    assert_eq!((totals.acked, totals.batches), (1_003, 12));
    assert_eq!(peer.values("t", 0).len(), 1_003);

    spec.kind = Kind::Consume;
    let outcome = drive(&peer, &spec);
    let totals = &outcome.result.totals;
    assert_eq!(
        (totals.received, totals.missing, totals.duplicates),
        (1_003, 0, 0)
    );
    assert!(outcome.result.verdict.valid, "{:?}", outcome.result.verdict);
}

#[test]
fn without_acknowledgements_what_the_kernel_took_counts() {
    let peer = Peer::start();
    let mut spec = spec(Kind::Produce);
    (spec.acks, spec.messages) = (Acks::None, 50);
    let outcome = drive(&peer, &spec);
    assert_eq!(outcome.result.totals.acked, 50);
}
