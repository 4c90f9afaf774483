//! Many batches in flight over loopback, against a bare ring with as many durable writes in flight.

use crate::append::batch;
use crate::broker::{Broker, home};
use crate::client::{Client, assert_acked, produce};
use crate::floor::{durable_writes, zero_filled};
use crate::report::{Figure, Goal, Report};
use crate::stats::median;
use corelog::runtime::clock;
use std::sync::mpsc::sync_channel;

const ROUNDS: usize = 5;
const ROUND_BYTES: u64 = 256 << 20;
const PARTITIONS: u32 = 8;
const IN_FLIGHT: usize = 16;
const FLOOR_PIECE: usize = 128 << 10;

pub(crate) fn measure(report: &mut Report) {
    let place = home("throughput");
    let files: Vec<_> = (0..PARTITIONS)
        .map(|index| {
            zero_filled(
                &place.path().join(format!("floor-{index}")),
                ROUND_BYTES / u64::from(PARTITIONS),
            )
        })
        .collect();
    let broker = Broker::start(place.path(), &["--cores", "0"]);
    let mut client = Client::connect(broker.kafka());
    client.create(&["many".to_owned()], PARTITIONS);
    let batch = batch();
    let request = produce("many", PARTITIONS, &batch);
    let (mut bare, mut ours, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let took = durable_writes(&files, FLOOR_PIECE, ROUND_BYTES).as_secs_f64();
        let requests = usize::try_from(ROUND_BYTES).expect("64 bits") / (batch.len() * PARTITIONS as usize);
        let used = broker.cpu();
        let begun = clock::now();
        pipeline(&client, &request, requests);
        let ours_took = clock::now().since(begun).as_secs_f64();
        if round > 0 {
            bare.push(ROUND_BYTES as f64 / took / 1e6);
            ours.push(ROUND_BYTES as f64 / ours_took / 1e6);
            let records = ROUND_BYTES as f64 / 1024.0;
            cpu.push((broker.cpu() - used).as_secs_f64() * 1e9 / records);
        }
    }
    report.add(Figure {
        name: format!("throughput over TCP, 16 KiB x {PARTITIONS} partitions"),
        value: median(&mut ours),
        floor: Some(median(&mut bare)),
        unit: "MB/s",
        goal: Goal::Known,
        durability: "durable(dsync)",
        note: format!(
            "one shard, one connection, {IN_FLIGHT} requests in flight; broker CPU {:.0} ns a KiB, pool filling included",
            median(&mut cpu)
        ),
    });
}

/// Sends `requests` times the same request with `IN_FLIGHT` of them unanswered; a second thread takes the answers.
fn pipeline(client: &Client, request: &[u8], requests: usize) {
    let (answered, room) = sync_channel::<()>(IN_FLIGHT);
    for _ in 0..IN_FLIGHT {
        answered.send(()).expect("room for the window");
    }
    let (mut sender, mut receiver) = (client.share(), client.share());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut answer = Vec::new();
            for _ in 0..requests {
                receiver.receive(&mut answer);
                assert_acked(&answer);
                // The sender ends first.
                let _ended = answered.send(());
            }
        });
        for _ in 0..requests {
            room.recv().expect("the receiver lives");
            sender.send(request);
        }
        drop(room);
    });
}
