//! A consumer group of two that commits after it has processed, over every kill of its coordinator.
//!
//! A member tells what it is given, what it has processed, what it is about to commit, what it was told is committed, and
//! where it resumes after each join. Now and then one joins again, so that the group changes. Processing is telling.
//! Members leave in the end only: a group that loses its coordinator before its next generation is durable waits for whom
//! it remembers, as Kafka's do, and would do nothing else here.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use super::super::history::{Attachment, Group, Reader};
use super::{MAIN, Witness, Work, passes, place_of, polled};
use crate::base::random::Random;
use crate::client::kafka::consumer::{Consumer, StartAt};
use crate::client::kafka::groups::TopicPartition;
use crate::client::kafka::member::{Member, Standing};
use crate::client::kafka::{Client, ClientError, Missing};

pub(super) fn threads() -> Vec<(String, Work)> {
    let thread = |number: u64| -> (String, Work) {
        let run = move |witness: &Witness| consume(witness, number);
        (format!("member {number}"), Box::new(run))
    };
    (0..MEMBERS).map(thread).collect()
}

fn consume(witness: &Witness, number: u64) {
    let mut random = Random::new(witness.seed, STREAM + number);
    let (mut client, mut member) = (None, None);
    while !witness.stopping() {
        let Some(mut connected) = client.take().or_else(|| witness.kafka_client()) else {
            return;
        };
        let stays = random.below(STAYS_MAX);
        // A member keeps its id while the broker is away, or the group would wait for whom nobody is any more.
        let joining = member.get_or_insert_with(|| Member::new(GROUP_NAME, MAIN.name));
        match membership(witness, number, &mut connected, joining, stays) {
            Ok(()) => client = Some(connected),
            Err(error) if passes(&error) => {}
            Err(error) => witness.let_down(&format!("group member {number}"), &error),
        }
    }
    // The other one may be waiting for this one to join again.
    if let (Some(mut member), Some(mut client)) = (member, client.or_else(|| witness.kafka_client())) {
        // It may not have joined at all.
        let _left = member.leave(&mut client);
    }
}

/// From joining to where it joins again, because it must or has been here long enough.
fn membership(
    witness: &Witness,
    number: u64,
    client: &mut Client,
    member: &mut Member,
    stays: usize,
) -> Result<(), ClientError> {
    let partitions = member.join(client)?;
    let places = places(witness, client, &partitions)?;
    let topic = client.topic(MAIN.name, Missing::Fail)?;
    // The consumer takes a client of its own: the member's stays with the coordinator.
    let Some(reading) = witness.kafka_client() else {
        return Ok(());
    };
    let mut consumer = Consumer::at(reading, topic, StartAt::Start, &places);
    let mut committed = places;
    for _ in 0..stays {
        if witness.stopping() {
            break;
        }
        if committed.is_empty() {
            witness.shared.stop.sleep(IDLE_PAUSE);
        } else {
            poll(witness, number, &mut consumer)?;
        }
        if commit(witness, client, member, &consumer.offsets(), &mut committed)? == Standing::Rejoin {
            break;
        }
    }
    Ok(())
}

/// Where to read on, by what the group committed.
fn places(
    witness: &Witness,
    client: &mut Client,
    partitions: &[i32],
) -> Result<BTreeMap<i32, i64>, ClientError> {
    let committed = client.committed(GROUP_NAME)?;
    let mut places = BTreeMap::new();
    for (index, partition) in MAIN.all().filter(|(index, _)| partitions.contains(index)) {
        let found = committed.get(&named(index)).copied();
        let found = found.and_then(|offset| u64::try_from(offset).ok());
        let at = found.unwrap_or(0);
        places.insert(index, i64::try_from(at).unwrap_or(i64::MAX));
        witness.learned(move |history| {
            history.commit_found(GROUP, partition, found);
            history.resumed(GROUP, partition, at);
        });
    }
    Ok(places)
}

fn poll(witness: &Witness, number: u64, consumer: &mut Consumer) -> Result<(), ClientError> {
    let mut records = Vec::new();
    let outcome = consumer.poll(&mut |record| {
        records.push(place_of(MAIN, record));
        Ok(ControlFlow::Continue(()))
    });
    let processed: Vec<_> = records.iter().map(|(place, _)| *place).collect();
    polled(witness, Reader(READERS + number), Attachment::Subscribed, records);
    witness.learned(move |history| {
        for place in processed {
            history.processed(GROUP, place.partition, place.offset);
        }
    });
    outcome.map(drop)
}

/// Commits where reading stands, if it moved.
fn commit(
    witness: &Witness,
    client: &mut Client,
    member: &mut Member,
    now_at: &BTreeMap<i32, i64>,
    committed: &mut BTreeMap<i32, i64>,
) -> Result<Standing, ClientError> {
    if now_at == committed {
        return member.heartbeat(client);
    }
    let offsets: Vec<_> = MAIN
        .all()
        .filter_map(|(index, partition)| Some((partition, u64::try_from(*now_at.get(&index)?).ok()?)))
        .collect();
    let begun = offsets.clone();
    witness.learned(move |history| {
        for (partition, offset) in begun {
            history.commit_begun(GROUP, partition, offset);
        }
    });
    let standing = member.commit(client, now_at)?;
    // Otherwise nobody knows.
    if standing == Standing::Member {
        witness.learned(move |history| {
            for (partition, offset) in offsets {
                history.committed(GROUP, partition, offset);
            }
        });
        committed.clone_from(now_at);
    }
    Ok(standing)
}

fn named(index: i32) -> TopicPartition {
    TopicPartition {
        topic: MAIN.name.to_owned(),
        partition: index,
    }
}

const GROUP: Group = Group(1);
const GROUP_NAME: &str = "prove";
const MEMBERS: u64 = 2;
/// The readers that members are begin here.
const READERS: u64 = 10;
/// Streams of the seed that members draw from begin here.
const STREAM: u64 = 200;
/// Polls of a member before it joins again, at most.
const STAYS_MAX: usize = 200;
/// How long a member without partitions waits before it shows again that it is there.
const IDLE_PAUSE: Duration = Duration::from_millis(50);
