//! What a group was told outlives the broker that told it.

use crate::member::{commit, committed, connect, coordinator, heartbeat, join, leave, sync};
use crate::support::broker::{Advertise, Broker, Options};
use crate::support::client::Client;
use crate::support::wire::Connection;

const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;

fn broker(shards: u16, advertise: Advertise) -> Broker {
    let options = Options::new(shards, advertise).set("group.initial_rebalance_delay=0ms");
    let mut broker = Broker::start(options);
    Client::connect(broker.kafka()).create("topic", 4, &[]);
    broker.wait_ready();
    broker
}

/// Members go on in their generation after a kill, under another number of shards, too; commits are where they were.
#[test]
fn members_and_offsets_outlive_a_killed_broker() {
    let mut broker = broker(2, Advertise::PerCore);
    let groups: Vec<String> = (0..20).map(|n| format!("group-{n}")).collect();
    let mut known = Vec::new();
    for (n, group) in groups.iter().enumerate() {
        let mut connection = connect(broker.kafka(), group);
        let joined = join(&mut connection, group, "");
        assert_eq!((joined.error, joined.generation), (0, 1));
        let shares = [(joined.member.clone(), format!("share {n}").into_bytes())];
        let (error, share) = sync(&mut connection, group, 1, &joined.member, &shares);
        assert_eq!((error, share), (0, format!("share {n}").into_bytes()));
        let offset = 100 + i64::try_from(n).unwrap();
        let who = (1, joined.member.as_str());
        assert_eq!(
            commit(&mut connection, group, who, ("topic", 1), offset).unwrap(),
            0
        );
        known.push((joined.member, offset));
    }
    for shards in [2, 1, 3] {
        broker.kill();
        broker.reconfigure(|options| options.shards = shards);
        broker.spawn();
        broker.wait_ready();
        for (n, group) in groups.iter().enumerate() {
            let (member, offset) = &known[n];
            let mut connection = connect(broker.kafka(), group);
            let found = || committed(&mut connection, group, "topic", 1).unwrap();
            // Loading takes a moment, and says so.
            assert_eq!(until(found, |(error, _)| *error != 14), (0, *offset), "{group}");
            assert_eq!(heartbeat(&mut connection, group, 1, member), 0, "{group}");
            assert_eq!(heartbeat(&mut connection, group, 2, member), ILLEGAL_GENERATION);
            let (error, share) = sync(&mut connection, group, 1, member, &[]);
            assert_eq!((error, share), (0, format!("share {n}").into_bytes()));
        }
    }
    let (member, _) = &known[0];
    let mut connection = connect(broker.kafka(), &groups[0]);
    assert_eq!(leave(&mut connection, &groups[0], member), 0);
    assert_eq!(heartbeat(&mut connection, &groups[0], 1, member), UNKNOWN_MEMBER);
}

/// Any core takes a request for any group, whoever coordinates it.
#[test]
fn every_core_serves_every_group() {
    let broker = broker(3, Advertise::PerCore);
    let mut nodes = std::collections::BTreeSet::new();
    for n in 0..12 {
        let group = format!("anywhere-{n}");
        let mut first = Connection::open(broker.kafka()).expect("a connection");
        let (error, node, port) = coordinator(&mut first, &group).unwrap();
        assert_eq!(error, 0);
        nodes.insert((node, port));
    }
    assert_eq!(nodes.len(), 3, "groups are spread over the cores");
    for (_, port) in nodes {
        let address = std::net::SocketAddr::new(broker.kafka().ip(), port);
        let mut connection = Connection::open(address).expect("a connection");
        let group = format!("by-port-{port}");
        for n in 0..6 {
            let group = format!("{group}-{n}");
            let joined = join(&mut connection, &group, "");
            assert_eq!(joined.error, 0);
            let shares = [(joined.member.clone(), b"all".to_vec())];
            let (error, _) = sync(
                &mut connection,
                &group,
                joined.generation,
                &joined.member,
                &shares,
            );
            assert_eq!(error, 0);
            assert_eq!(
                heartbeat(&mut connection, &group, joined.generation, &joined.member),
                0
            );
        }
    }
}

/// A graceful stop does not leave anybody waiting, and takes no longer because somebody does.
#[test]
fn waiting_members_are_answered_when_the_broker_stops() {
    let mut broker = broker(2, Advertise::Single);
    let mut first = connect(broker.kafka(), "stopping");
    let one = join(&mut first, "stopping", "");
    let shares = [(one.member.clone(), b"all".to_vec())];
    assert_eq!(sync(&mut first, "stopping", 1, &one.member, &shares).0, 0);
    // The second waits for the first to join again, which it never does.
    let mut second = connect(broker.kafka(), "stopping");
    let waits = std::thread::spawn(move || join(&mut second, "stopping", "").error);
    let beat = || heartbeat(&mut first, "stopping", 1, &one.member);
    assert_eq!(
        until(beat, |error| *error == REBALANCE_IN_PROGRESS),
        REBALANCE_IN_PROGRESS
    );
    assert!(broker.terminate().success(), "a graceful stop exits with success");
    assert_eq!(
        waits.join().expect("an answer"),
        16,
        "the coordinator is elsewhere"
    );
}

/// Asks until the answer satisfies, politely and not for ever.
fn until<T>(mut ask: impl FnMut() -> T, satisfies: impl Fn(&T) -> bool) -> T {
    for _ in 0..1000 {
        let found = ask();
        if satisfies(&found) {
            return found;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    ask()
}
