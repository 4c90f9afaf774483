//! Too few file descriptors, for connections and for segments.

use crate::support::broker::{Advertise, Broker, Options};
use crate::support::client::{Client, KAFKA_STORAGE_ERROR, Ledger, NONE, batch};

fn limited(files: u32) -> Broker {
    let mut options = Options::new(1, Advertise::Single);
    let limit = format!("--nofile={files}:{files}");
    options.launcher = ["prlimit", &limit, "--"].map(str::to_owned).to_vec();
    Broker::start(options)
}

#[test]
fn a_flood_of_connections_leaves_the_log_its_files() {
    let mut broker = limited(200);
    assert!(broker.said().contains("open-files"), "{}", broker.said());
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    let crowd: Vec<_> = (0..300)
        .map(|_| std::net::TcpStream::connect(broker.kafka()).expect("a connection"))
        .collect();
    // Every partition needs a file while the crowd stands there.
    client.create("served", 20, &[]);
    for partition in 0..20 {
        ledger.produce(&mut client, "served", partition, 1000);
    }
    assert!(broker.metric("corelog_connections_refused_total") >= Some(190));
    drop(crowd);
    broker.wait_until("the crowd is gone", |broker| {
        broker.metric("corelog_connections_open") == Some(1)
    });
    ledger.check(&mut Client::connect(broker.kafka()));
    assert!(broker.terminate().success());
}

#[test]
fn without_a_descriptor_for_a_segment_produce_is_refused_until_there_is_one() {
    let mut broker = limited(100);
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("kept", 1, &[]);
    ledger.produce(&mut client, "kept", 0, 1000);
    client.create("hungry", 100, &[]);
    let mut other = Client::connect(broker.kafka());
    for partition in 0..100 {
        other.produce_later("hungry", partition, &batch(&["one file more"]));
    }
    client.until(
        "produce is refused",
        |client| {
            client
                .produce("kept", 0, &batch(&["refused"]))
                .expect("an answer")
                .0
        },
        |error| *error == KAFKA_STORAGE_ERROR,
    );
    assert_eq!(client.delete("hungry"), NONE);
    let value = ledger.value(100);
    let (_, offset) = client.until(
        "produce is taken again",
        |client| client.produce("kept", 0, &batch(&[&value])).expect("an answer"),
        |(error, _)| *error == NONE,
    );
    ledger.acked("kept", 0, offset, &[value]);
    drop(other);
    assert!(broker.exited().is_none());
    assert!(broker.terminate().success());
}
