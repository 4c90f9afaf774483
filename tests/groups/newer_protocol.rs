//! Groups of the newer protocol (KIP-848): clients that know it, and a broker that dies under its members.

use crate::member::{commit, committed, connect};
use crate::support::broker::{Advertise, Broker, Options};
use crate::support::client::Client;
use crate::support::programs;
use crate::support::wire::{Connection, Fields};

const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
const STALE_MEMBER_EPOCH: i16 = 113;
const FENCED_MEMBER_EPOCH: i16 = 110;
const UNKNOWN_MEMBER: i16 = 25;
const LOADING: i16 = 14;

fn shared(shards: u16, advertise: Advertise) {
    let options = Options::new(shards, advertise)
        .set("group.consumer_heartbeat_interval=200ms")
        .set("group.initial_rebalance_delay=0ms");
    let mut broker = Broker::start(options);
    let mut command = programs::client_program("consumer_groups_program.py");
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

/// What a heartbeat was answered.
#[derive(Debug, PartialEq, Eq)]
struct Beat {
    error: i16,
    epoch: i32,
    /// Number of partitions, if the assignment was told.
    partitions: Option<usize>,
}

fn compact(body: &mut Vec<u8>, text: &str) {
    body.push(u8::try_from(text.len() + 1).expect("a short name"));
    body.extend(text.as_bytes());
}

/// ConsumerGroupHeartbeat version 1: everything when joining, nothing but the epoch else.
fn beat(connection: &mut Connection, group: &str, member: &str, epoch: i32) -> Beat {
    let mut body = vec![0];
    compact(&mut body, group);
    compact(&mut body, member);
    body.extend(epoch.to_be_bytes());
    body.extend([0, 0]);
    if epoch == 0 {
        body.extend(60_000_i32.to_be_bytes());
        body.push(2);
        compact(&mut body, "topic");
        body.extend([0, 0, 1]);
    } else {
        body.extend((-1_i32).to_be_bytes());
        body.extend([0, 0, 0, 0]);
    }
    body.push(0);
    let answer = connection
        .call(CONSUMER_GROUP_HEARTBEAT, 1, &body)
        .expect("an answer");
    let mut fields = Fields(&answer);
    read_beat(&mut fields).unwrap_or_else(|| panic!("no answer to a heartbeat: {answer:?}"))
}

fn read_beat(fields: &mut Fields<'_>) -> Option<Beat> {
    let uvarint = |fields: &mut Fields<'_>| fields.take(1).map(|byte| usize::from(byte[0]));
    fields.take(1)?;
    fields.i32()?;
    let error = fields.i16()?;
    for _ in ["message", "member id"] {
        let length = uvarint(fields)?;
        fields.take(length.saturating_sub(1))?;
    }
    let (epoch, _interval) = (fields.i32()?, fields.i32()?);
    let mut partitions = None;
    if fields.take(1)?[0] == 1 {
        let mut count = 0;
        for _ in 1..uvarint(fields)? {
            fields.take(16)?;
            let here = uvarint(fields)? - 1;
            fields.take(here * 4 + 1)?;
            count += here;
        }
        partitions = Some(count);
    }
    Some(Beat {
        error,
        epoch,
        partitions,
    })
}

/// Members go on in their epoch after a kill, with what they had, under another number of shards, too.
#[test]
fn members_outlive_a_killed_broker() {
    let mut broker = Broker::start(Options::new(2, Advertise::PerCore));
    Client::connect(broker.kafka()).create("topic", 4, &[]);
    broker.wait_ready();
    let groups: Vec<String> = (0..20).map(|n| format!("newer-{n}")).collect();
    for group in &groups {
        let mut connection = connect(broker.kafka(), group);
        let told = Beat {
            error: 0,
            epoch: 1,
            partitions: Some(4),
        };
        assert_eq!(beat(&mut connection, group, "first", 0), told);
        let waits = Beat {
            error: 0,
            epoch: 2,
            partitions: Some(0),
        };
        assert_eq!(beat(&mut connection, group, "second", 0), waits);
        assert_eq!(
            commit(&mut connection, group, (1, "first"), ("topic", 1), 7).expect("an answer"),
            0
        );
        assert_eq!(
            commit(&mut connection, group, (1, "second"), ("topic", 1), 9).unwrap(),
            STALE_MEMBER_EPOCH
        );
    }
    for shards in [2, 1, 3] {
        broker.kill();
        broker.reconfigure(|options| options.shards = shards);
        broker.spawn();
        broker.wait_ready();
        for group in &groups {
            let mut connection = connect(broker.kafka(), group);
            let mut again = |member: &str, epoch| loop {
                let beat = beat(&mut connection, group, member, epoch);
                if beat.error != LOADING {
                    return (beat.error, beat.epoch);
                }
            };
            assert_eq!(
                again("first", 1),
                (0, 1),
                "still asked to give back, so still in its epoch"
            );
            assert_eq!(again("second", 2), (0, 2));
            assert_eq!(again("second", 3).0, FENCED_MEMBER_EPOCH);
            assert_eq!(again("third", 1).0, UNKNOWN_MEMBER);
            assert_eq!(committed(&mut connection, group, "topic", 1).unwrap(), (0, 7));
        }
    }
    for group in &groups {
        let mut connection = connect(broker.kafka(), group);
        assert_eq!(beat(&mut connection, group, "first", -1).error, 0);
        let heir = beat(&mut connection, group, "second", 2);
        assert_eq!(
            (heir.error, heir.partitions),
            (0, Some(4)),
            "everything is the other's at once"
        );
    }
}
