//! One durable record at a time over loopback, against a bare round trip plus a bare durable block.

use crate::append::batch_of;
use crate::broker::{Broker, home};
use crate::client::{Client, assert_acked, produce};
use crate::floor::{Blocks, Echo, echo_server, pin_to};
use crate::report::{Figure, Goal, Report};
use crate::stats::quantile;
use std::path::Path;

const ROUNDS: usize = 10;
const EACH: usize = 300;
/// Bytes of a Produce answer for one partition; the bare echo answers as many.
const ANSWER_BYTES: usize = 70;
const BLOCK_FILE_BYTES: u64 = 16 << 20;
/// The broker's core and the client's.
const CORES: (usize, usize) = (0, 1);

struct Samples {
    echo: Vec<f64>,
    block: Vec<f64>,
    ours: Vec<f64>,
}

pub(crate) fn measure(report: &mut Report) {
    for poll in ["adaptive", "busy"] {
        one(report, poll);
    }
}

fn one(report: &mut Report, poll: &str) {
    let place = home("latency");
    let setting = format!("runtime.poll={poll}");
    let broker = Broker::start(place.path(), &["--cores", "0", "--set", &setting]);
    // A thread of its own: a child process would inherit the pinning.
    std::thread::scope(|scope| {
        let client = scope.spawn(|| against(report, poll, &broker, place.path()));
        client.join().expect("the client's thread");
    });
}

fn against(report: &mut Report, poll: &str, broker: &Broker, place: &Path) {
    pin_to(CORES.1);
    let mut client = Client::connect(broker.kafka());
    client.create(&["one".to_owned()], 1);
    let request = produce("one", 1, &batch_of(1, 100));
    let mut blocks = Blocks::new(&place.join("block"), BLOCK_FILE_BYTES);
    let address = echo_server(CORES.0, request.len(), ANSWER_BYTES);
    let mut echo = Echo::connect(address, request.len(), ANSWER_BYTES);
    let mut samples = Samples {
        echo: Vec::new(),
        block: Vec::new(),
        ours: Vec::new(),
    };
    let mut answer = Vec::new();
    for round in 0..=ROUNDS {
        if round == 1 {
            // The first round made the segment and warmed the caches.
            samples.echo.clear();
            samples.block.clear();
            samples.ours.clear();
        }
        samples.echo.extend((0..EACH).map(|_| echo.round_trip()));
        samples.block.extend((0..EACH).map(|_| blocks.write()));
        for _ in 0..EACH {
            let begun = corelog::runtime::clock::now();
            client.send(&request);
            client.receive(&mut answer);
            samples
                .ours
                .push(corelog::runtime::clock::now().since(begun).as_secs_f64() * 1e6);
            assert_acked(&answer);
        }
    }
    let cpu = broker.cpu().as_secs_f64() * 1e6 / (EACH * (ROUNDS + 1)) as f64;
    let (echo_p50, block_p50) = (
        quantile(&mut samples.echo, 0.5),
        quantile(&mut samples.block, 0.5),
    );
    report.add(Figure {
        name: format!("produce 100 B, one in flight, poll={poll}, p50"),
        value: quantile(&mut samples.ours, 0.5),
        floor: Some(echo_p50 + block_p50),
        unit: "us",
        goal: if poll == "adaptive" {
            Goal::RatioAtMost(1.5)
        } else {
            Goal::Known
        },
        durability: "durable(dsync)",
        note: format!("echo {echo_p50:.0} + block {block_p50:.0}; broker CPU {cpu:.0} us a request"),
    });
    let floor_p99 = quantile(&mut samples.echo, 0.99) + quantile(&mut samples.block, 0.99);
    report.add(Figure {
        name: format!("produce 100 B, one in flight, poll={poll}, p99"),
        value: quantile(&mut samples.ours, 0.99),
        floor: Some(floor_p99),
        unit: "us",
        goal: Goal::Known,
        durability: "durable(dsync)",
        note: String::new(),
    });
}
