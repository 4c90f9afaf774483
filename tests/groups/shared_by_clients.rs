//! The client programs, on every arrangement of shards.

use crate::support::broker::{Advertise, Broker, Options};
use crate::support::programs;

fn shared(shards: u16, advertise: Advertise) {
    let options = Options::new(shards, advertise).set("group.initial_rebalance_delay=100ms");
    let mut broker = Broker::start(options);
    let mut command = programs::client_program("groups_program.py");
    command.arg(broker.kafka().to_string());
    programs::run(command).unwrap_or_else(|failure| panic!("{failure}\n{}", broker.said()));
    assert!(broker.terminate().success(), "a graceful stop exits with success");
}

#[test]
fn one_shard_per_core() {
    shared(1, Advertise::PerCore);
}

#[test]
fn two_shards_per_core() {
    shared(2, Advertise::PerCore);
}

#[test]
fn two_shards_single() {
    shared(2, Advertise::Single);
}
