//! What a broker costs when nothing happens: processor time, memory, and the time to start, with and without 10,000
//! empty partitions, after a clean stop and after a kill.

use crate::broker::{Broker, home};
use crate::client::Client;
use crate::report::{Figure, Goal, Report};
use corelog::runtime::clock;
use std::time::Duration;

const IDLE: Duration = Duration::from_secs(10);
/// Topics and partitions of each.
const SHAPES: [(usize, u32); 2] = [(1, 10_000), (1_000, 10)];
const START_LIMIT_MS: f64 = 2_000.0;
const RESIDENT_LIMIT_MIB: f64 = 1_024.0;

pub(crate) fn measure(report: &mut Report) {
    let place = home("idle");
    let broker = Broker::start(place.path(), &[]);
    start(report, "start, fresh directory", &broker);
    resident(report, "resident, no partitions", &broker);
    idle(report, "idle, no partitions", &broker);
    broker.stop();
    for (topics, partitions) in SHAPES {
        shape(report, topics, partitions);
    }
}

fn shape(report: &mut Report, topics: usize, partitions: u32) {
    let place = home("partitions");
    let shape = format!("{topics} x {partitions}");
    let broker = Broker::start(place.path(), &[]);
    let mut client = Client::connect(broker.kafka());
    let names: Vec<String> = (0..topics).map(|index| format!("topic-{index}")).collect();
    let begun = clock::now();
    client.create(&names, partitions);
    let took = clock::now().since(begun);
    report.add(plain(
        &format!("create {shape} partitions"),
        took.as_secs_f64() * 1e3,
        None,
        "ms",
        String::new(),
    ));
    drop(client);
    resident(
        report,
        &format!("resident, {shape} partitions, as created"),
        &broker,
    );
    broker.stop();
    let broker = Broker::start(place.path(), &[]);
    start(report, &format!("start, {shape} partitions, clean stop"), &broker);
    broker.kill();
    let broker = Broker::start(place.path(), &[]);
    start(report, &format!("start, {shape} partitions, kill -9"), &broker);
    resident(
        report,
        &format!("resident, {shape} partitions, restarted"),
        &broker,
    );
    idle(report, &format!("idle, {shape} partitions"), &broker);
}

fn idle(report: &mut Report, name: &str, broker: &Broker) {
    // What a start leaves to do in the background is not idleness.
    clock::block_for(Duration::from_secs(1));
    let before = broker.cpu();
    clock::block_for(IDLE);
    let used = (broker.cpu() - before).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    report.add(plain(name, used, Some(1.0), "% of core", String::new()));
}

fn resident(report: &mut Report, name: &str, broker: &Broker) {
    let mib = broker.resident() as f64 / f64::from(1 << 20);
    report.add(plain(name, mib, Some(RESIDENT_LIMIT_MIB), "MiB", String::new()));
}

fn start(report: &mut Report, name: &str, broker: &Broker) {
    let ms = broker.ready_after.as_secs_f64() * 1e3;
    report.add(plain(name, ms, Some(START_LIMIT_MS), "ms", String::new()));
}

fn plain(name: &str, value: f64, limit: Option<f64>, unit: &'static str, note: String) -> Figure {
    Figure {
        name: name.to_owned(),
        value,
        floor: limit,
        unit,
        goal: if limit.is_some() {
            Goal::RatioAtMost(1.0)
        } else {
            Goal::Known
        },
        durability: "none",
        note,
    }
}
