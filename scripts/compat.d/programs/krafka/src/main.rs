//! krafka: a client in pure Rust that speaks the newest versions of everything and shares no code with librdkafka.
//!
//! In the manner of ../harness.py: named cases, told line by line. `COMPAT_BOOTSTRAP` is the broker, `COMPAT_CASES` the cases
//! to run, `--list` names them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use krafka::admin::{ConfigOp, ConfigResource, NewTopic, OffsetSpec};
use krafka::consumer::{
    AutoOffsetReset, Consumer, ConsumerRecord, GroupProtocol, OffsetAndMetadata, PartitionAssignmentStrategy, TopicPartition,
};
use krafka::producer::Acks;
use krafka::{Compression, Kafka, Record};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome = Result<(), Failure>;
type Case = (&'static str, fn(Kafka, String) -> Pin<Box<dyn Future<Output = Outcome> + Send>>);

const PAST_MS: i64 = 1_600_000_000_000;
const PATIENCE: Duration = Duration::from_secs(30);

macro_rules! cases {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), |kafka, topic| Box::pin($name(kafka, topic)))),*] };
}

const CASES: &[Case] = cases![
    uncompressed,
    gzip,
    snappy,
    lz4,
    zstd,
    headers_nulls_and_timestamps,
    idempotent_pipeline,
    acks_none_and_one,
    large_and_too_large,
    sessions_over_many_partitions,
    classic_group_commits_and_resumes,
    classic_members_share_and_take_over,
    cooperative_members_share,
    static_member_comes_back,
    kip_848_group_commits_and_resumes,
    kip_848_members_share_and_take_over,
    topics_are_administered,
    configs_are_administered,
    config_resources_are_listed,
    offsets_and_epochs_are_listed,
    records_are_deleted,
    groups_are_administered,
    log_directories,
    leaders_and_reassignments,
];

fn holds(condition: bool, what: impl std::fmt::Display) -> Outcome {
    if condition { Ok(()) } else { Err(what.to_string().into()) }
}

fn same<T: PartialEq + std::fmt::Debug>(actual: T, expected: T, what: &str) -> Outcome {
    holds(actual == expected, format!("{what}: {actual:?}, expected {expected:?}"))
}

fn unique(label: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{label}-{:x}", now & 0xffff_ffff_ffff)
}

async fn connect() -> Result<Kafka, Failure> {
    let bootstrap = std::env::var("COMPAT_BOOTSTRAP").unwrap_or_else(|_| "127.0.0.1:9092".into());
    Ok(Kafka::builder(bootstrap).client_id("compat").connect().await?)
}

async fn create(kafka: &Kafka, topic: &str, partitions: i32) -> Outcome {
    let admin = kafka.admin();
    for (_, result) in admin.create_topics([NewTopic::new(topic, partitions, 1)?], Default::default()).await? {
        result?;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let about = admin.describe_topics([topic], Default::default()).await?.remove(topic);
        if let Some(Ok(about)) = about
            && about.partitions.len() == usize::try_from(partitions)?
            && about.partitions.iter().all(|part| part.leader.is_some())
        {
            return Ok(());
        }
        holds(Instant::now() < deadline, "the topic has no leaders")?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn send_numbers(kafka: &Kafka, topic: &str, count: usize, partitions: usize) -> Outcome {
    let producer = kafka.producer().linger(Duration::from_millis(5)).build().await?;
    let mut handles = Vec::new();
    for n in 0..count {
        let record = Record::new(topic, format!("v{n}")).key(format!("k{n}")).partition(i32::try_from(n % partitions)?);
        handles.push(producer.enqueue(record).await?);
    }
    for handle in handles {
        handle.await?;
    }
    producer.close().await?;
    Ok(())
}

async fn reader(kafka: &Kafka, topic: &str, partitions: i32) -> Result<Consumer, Failure> {
    let consumer = kafka
        .consumer_without_group()
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .fetch_max_wait(Duration::from_millis(100))
        .build()
        .await?;
    consumer.assign(topic, (0..partitions).collect()).await?;
    Ok(consumer)
}

async fn take(consumer: &Consumer, count: usize) -> Result<Vec<ConsumerRecord>, Failure> {
    let (mut got, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while got.len() < count {
        holds(Instant::now() < deadline, format!("{} of {count} records", got.len()))?;
        got.extend(consumer.poll(Duration::from_millis(200)).await?);
    }
    Ok(got)
}

fn places(records: &[ConsumerRecord]) -> BTreeSet<(i32, i64)> {
    records.iter().map(|record| (record.partition, record.offset)).collect()
}

async fn codec(kafka: Kafka, topic: String, compression: Compression) -> Outcome {
    create(&kafka, &topic, 1).await?;
    let producer = kafka.producer().compression(compression).linger(Duration::from_millis(20)).build().await?;
    let values: Vec<String> = (0..1000).map(|n| format!("{n:05} {}", ".".repeat(100))).collect();
    let mut handles = Vec::new();
    for value in &values {
        handles.push(producer.enqueue(Record::new(&topic, value.clone()).partition(0)).await?);
    }
    for (n, handle) in handles.into_iter().enumerate() {
        same(handle.await?.offset, i64::try_from(n)?, "acknowledged offset")?;
    }
    producer.close().await?;
    let consumer = reader(&kafka, &topic, 1).await?;
    let got = take(&consumer, 1000).await?;
    let read: Vec<&str> = got.iter().filter_map(|record| record.value_str()).collect();
    same(read, values.iter().map(String::as_str).collect(), "values")?;
    consumer.close().await?;
    Ok(())
}

async fn uncompressed(kafka: Kafka, topic: String) -> Outcome {
    codec(kafka, topic, Compression::None).await
}

async fn gzip(kafka: Kafka, topic: String) -> Outcome {
    codec(kafka, topic, Compression::Gzip).await
}

async fn snappy(kafka: Kafka, topic: String) -> Outcome {
    codec(kafka, topic, Compression::Snappy).await
}

async fn lz4(kafka: Kafka, topic: String) -> Outcome {
    codec(kafka, topic, Compression::Lz4).await
}

async fn zstd(kafka: Kafka, topic: String) -> Outcome {
    codec(kafka, topic, Compression::Zstd).await
}

async fn headers_nulls_and_timestamps(kafka: Kafka, topic: String) -> Outcome {
    create(&kafka, &topic, 1).await?;
    let producer = kafka.producer().build().await?;
    producer
        .send(Record::new(&topic, "v").key("k").header("a", "1").header("a", "2").timestamp(PAST_MS).partition(0))
        .await?;
    producer.send(Record::tombstone(&topic, "k").timestamp(PAST_MS + 1000).partition(0)).await?;
    producer.send(Record::new(&topic, "").timestamp(PAST_MS + 2000).partition(0)).await?;
    producer.close().await?;
    let consumer = reader(&kafka, &topic, 1).await?;
    let got = take(&consumer, 3).await?;
    same(got[0].headers_by_key("a").len(), 2, "headers of one name")?;
    same(got.iter().map(|r| r.timestamp).collect(), vec![PAST_MS, PAST_MS + 1000, PAST_MS + 2000], "timestamps")?;
    holds(got[1].is_tombstone() && got[2].key.is_none() && got[2].value_str() == Some(""), "nulls")?;
    let found = consumer.offsets_for_times(&[(topic.as_str(), 0)], PAST_MS + 1).await;
    holds(found.values().all(|at| matches!(at, Ok(1))), format!("offset by time: {found:?}"))?;
    consumer.close().await?;
    Ok(())
}

async fn idempotent_pipeline(kafka: Kafka, topic: String) -> Outcome {
    create(&kafka, &topic, 2).await?;
    let producer = kafka.producer().idempotent(true).acks(Acks::All).batch_size(500).build().await?;
    let mut handles = Vec::new();
    for n in 0..2000 {
        handles.push(producer.enqueue(Record::new(&topic, format!("{n}")).partition(n % 2)).await?);
    }
    let mut offsets = BTreeMap::<i32, Vec<i64>>::new();
    for handle in handles {
        let report = handle.await?;
        offsets.entry(report.partition).or_default().push(report.offset);
    }
    producer.close().await?;
    for (partition, offsets) in offsets {
        same(offsets, (0..1000).collect(), &format!("offsets of partition {partition}"))?;
    }
    Ok(())
}

async fn acks_none_and_one(kafka: Kafka, topic: String) -> Outcome {
    create(&kafka, &topic, 1).await?;
    for acks in [Acks::None, Acks::Leader] {
        let producer = kafka.producer().acks(acks).idempotent(false).build().await?;
        for n in 0..50 {
            producer.send(Record::new(&topic, format!("{n}")).partition(0)).await?;
        }
        producer.close().await?;
    }
    let consumer = reader(&kafka, &topic, 1).await?;
    same(take(&consumer, 100).await?.len(), 100, "records")?;
    consumer.close().await?;
    Ok(())
}

async fn large_and_too_large(kafka: Kafka, topic: String) -> Outcome {
    create(&kafka, &topic, 1).await?;
    let producer = kafka.producer().max_request_size(8_000_000).batch_size(4_000_000).build().await?;
    producer.send(Record::new(&topic, vec![b'a'; 900_000]).partition(0)).await?;
    let refused = producer.send(Record::new(&topic, vec![b'b'; 3_000_000]).partition(0)).await;
    holds(format!("{refused:?}").contains("MessageTooLarge"), format!("3 MB: {refused:?}"))?;
    producer.send(Record::new(&topic, vec![b'c'; 900_000]).partition(0)).await?;
    producer.close().await?;
    let consumer = reader(&kafka, &topic, 1).await?;
    let got = take(&consumer, 2).await?;
    let sizes: Vec<usize> = got.iter().filter_map(|record| record.value.as_ref()).map(|value| value.len()).collect();
    same(sizes, vec![900_000; 2], "sizes")?;
    consumer.close().await?;
    Ok(())
}

/// Fetch sessions: most partitions stay out of most requests and answers.
async fn sessions_over_many_partitions(kafka: Kafka, topic: String) -> Outcome {
    create(&kafka, &topic, 50).await?;
    let consumer = reader(&kafka, &topic, 50).await?;
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        send_numbers(&kafka, &topic, 100, 50).await?;
        seen.extend(places(&take(&consumer, 100).await?));
    }
    same(seen.len(), 1000, "distinct records")?;
    consumer.pause(&topic, &[0, 1, 2]).await;
    send_numbers(&kafka, &topic, 50, 50).await?;
    let got = take(&consumer, 47).await?;
    holds(got.iter().all(|record| record.partition > 2), "nothing of paused partitions")?;
    consumer.resume(&topic, &[0, 1, 2]).await;
    same(take(&consumer, 3).await?.len(), 3, "records of resumed partitions")?;
    consumer.seek(&topic, 7, 0).await?;
    holds(take(&consumer, 21).await?.iter().all(|record| record.partition == 7), "records after seeking back")?;
    consumer.close().await?;
    Ok(())
}

#[derive(Clone, Default)]
struct Membership {
    next_generation: bool,
    cooperative: bool,
    instance: Option<&'static str>,
}

/// A handle of its own for each member: a JoinGroup that waits would hold up what others send over the same connection,
/// heartbeats among them.
async fn member(group: &str, topic: &str, how: &Membership) -> Result<Consumer, Failure> {
    let mut builder = connect()
        .await?
        .consumer(group)
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .enable_auto_commit(false)
        .fetch_max_wait(Duration::from_millis(100))
        .session_timeout(Duration::from_secs(if how.instance.is_some() { 20 } else { 6 }))
        .heartbeat_interval(Duration::from_millis(300));
    if how.next_generation {
        builder = builder.group_protocol(GroupProtocol::Consumer);
    }
    if how.cooperative {
        builder = builder.partition_assignment_strategy(PartitionAssignmentStrategy::CooperativeSticky);
    }
    if let Some(instance) = how.instance {
        builder = builder.group_instance_id(instance);
    }
    let consumer = builder.build().await?;
    consumer.subscribe([topic]).await?;
    Ok(consumer)
}

async fn parts(consumer: &Consumer, topic: &str) -> BTreeSet<i32> {
    consumer.assignment().await.remove(topic).unwrap_or_default().into_iter().collect()
}

/// Polls one or two members side by side: one that joins waits in its poll for the other to join, too.
async fn poll_all(members: &[&Consumer]) -> Result<Vec<ConsumerRecord>, Failure> {
    let wait = Duration::from_millis(300);
    match members {
        [one] => Ok(one.poll(wait).await?),
        [one, two] => {
            let (one, two) = tokio::join!(one.poll(wait), two.poll(wait));
            let mut got = one?;
            got.extend(two?);
            Ok(got)
        }
        _ => Err("one member or two".into()),
    }
}

/// Polls all members until they own these numbers of partitions.
async fn settle(members: &[&Consumer], topic: &str, shares: &[usize]) -> Result<Vec<ConsumerRecord>, Failure> {
    let (mut got, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    loop {
        got.extend(poll_all(members).await?);
        let mut owned = Vec::new();
        for member in members {
            owned.push(parts(member, topic).await);
        }
        let together: BTreeSet<i32> = owned.iter().flatten().copied().collect();
        let counts: Vec<usize> = owned.iter().map(BTreeSet::len).collect();
        if counts == shares && together.len() == shares.iter().sum::<usize>() {
            return Ok(got);
        }
        holds(Instant::now() < deadline, format!("shares {counts:?}, expected {shares:?}"))?;
    }
}

async fn commits_and_resumes(kafka: Kafka, topic: String, how: Membership) -> Outcome {
    create(&kafka, &topic, 4).await?;
    send_numbers(&kafka, &topic, 200, 4).await?;
    let first = member(&topic, &topic, &how).await?;
    same(places(&take(&first, 200).await?).len(), 200, "distinct records")?;
    first.commit().await?;
    let note = OffsetAndMetadata::with_metadata(20, "a note");
    first.commit_offsets([(TopicPartition::new(&topic, 1), note)]).await?;
    let committed = first.committed(&[(&topic, 0), (&topic, 1)]).await?;
    let offsets: BTreeMap<i32, i64> = committed.iter().map(|((_, partition), at)| (*partition, at.offset)).collect();
    same(offsets, BTreeMap::from([(0, 50), (1, 20)]), "committed")?;
    first.close().await?;
    let listed = kafka.admin().list_consumer_group_offsets(&topic, Default::default()).await?;
    let noted = listed.get(&TopicPartition::new(&topic, 1)).and_then(|at| at.as_ref().ok()).and_then(|at| at.metadata.clone());
    same(noted.as_deref(), Some("a note"), "metadata")?;
    let second = member(&topic, &topic, &how).await?;
    let again = places(&take(&second, 30).await?);
    same(again, (20..50).map(|offset| (1, offset)).collect(), "what comes after the commit")?;
    second.close().await?;
    Ok(())
}

async fn share_and_take_over(kafka: Kafka, topic: String, how: Membership) -> Outcome {
    create(&kafka, &topic, 4).await?;
    let first = member(&topic, &topic, &how).await?;
    settle(&[&first], &topic, &[4]).await?;
    let second = member(&topic, &topic, &how).await?;
    settle(&[&first, &second], &topic, &[2, 2]).await?;
    send_numbers(&kafka, &topic, 80, 4).await?;
    let (mut got, deadline) = (BTreeSet::new(), Instant::now() + PATIENCE);
    let mut count = 0;
    while got.len() < 80 {
        holds(Instant::now() < deadline, format!("{} of 80 records", got.len()))?;
        let records = poll_all(&[&first, &second]).await?;
        count += records.len();
        got.extend(places(&records));
    }
    same(count, 80, "each record once")?;
    first.close().await?;
    settle(&[&second], &topic, &[4]).await?;
    second.close().await?;
    Ok(())
}

async fn classic_group_commits_and_resumes(kafka: Kafka, topic: String) -> Outcome {
    commits_and_resumes(kafka, topic, Membership::default()).await
}

async fn classic_members_share_and_take_over(kafka: Kafka, topic: String) -> Outcome {
    share_and_take_over(kafka, topic, Membership::default()).await
}

async fn cooperative_members_share(kafka: Kafka, topic: String) -> Outcome {
    share_and_take_over(kafka, topic, Membership { cooperative: true, ..Membership::default() }).await
}

async fn kip_848_group_commits_and_resumes(kafka: Kafka, topic: String) -> Outcome {
    commits_and_resumes(kafka, topic, Membership { next_generation: true, ..Membership::default() }).await
}

async fn kip_848_members_share_and_take_over(kafka: Kafka, topic: String) -> Outcome {
    share_and_take_over(kafka, topic, Membership { next_generation: true, ..Membership::default() }).await
}

async fn static_member_comes_back(kafka: Kafka, topic: String) -> Outcome {
    create(&kafka, &topic, 4).await?;
    let how = |instance| Membership { instance: Some(instance), ..Membership::default() };
    let steady = member(&topic, &topic, &how("steady")).await?;
    let leaving = member(&topic, &topic, &how("leaving")).await?;
    settle(&[&steady, &leaving], &topic, &[2, 2]).await?;
    let before = parts(&leaving, &topic).await;
    leaving.close().await?;
    steady.poll(Duration::from_millis(500)).await?;
    let back = member(&topic, &topic, &how("leaving")).await?;
    settle(&[&steady, &back], &topic, &[2, 2]).await?;
    same(parts(&back, &topic).await, before, "the partitions it had")?;
    back.close().await?;
    steady.close().await?;
    Ok(())
}

async fn topics_are_administered(kafka: Kafka, topic: String) -> Outcome {
    create(&kafka, &topic, 2).await?;
    let admin = kafka.admin();
    let again = admin.create_topics([NewTopic::new(&topic, 2, 1)?], Default::default()).await?.remove(&topic);
    holds(format!("{again:?}").contains("TopicAlreadyExists"), format!("again: {again:?}"))?;
    for (_, result) in admin.create_partitions([(&topic, 3)], Default::default()).await? {
        result?;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let about = admin.describe_topics([&topic], Default::default()).await?.remove(&topic);
        let about = about.ok_or("the topic is not described")??;
        holds(about.topic_id != [0; 16], "it has an id")?;
        if about.partitions.len() == 3 {
            break;
        }
        holds(Instant::now() < deadline, "three partitions")?;
    }
    holds(admin.list_topics(Default::default()).await?.contains(&topic), "listed")?;
    let cluster = admin.describe_cluster(Default::default()).await?;
    holds(cluster.brokers.iter().any(|broker| broker.id == cluster.controller_id), "the controller is a broker")?;
    for (_, result) in admin.delete_topics([&topic], Default::default()).await? {
        result?;
    }
    let missing = admin.delete_topics([unique("missing")], Default::default()).await?;
    holds(format!("{missing:?}").contains("UnknownTopicOrPartition"), format!("missing: {missing:?}"))?;
    Ok(())
}

async fn configs_are_administered(kafka: Kafka, topic: String) -> Outcome {
    create(&kafka, &topic, 1).await?;
    let admin = kafka.admin();
    let resource = ConfigResource::topic(&topic);
    let ops = vec![ConfigOp::set("retention.ms", "1000000"), ConfigOp::set("cleanup.policy", "compact")];
    for (_, result) in admin.incremental_alter_configs([(resource.clone(), ops)], Default::default()).await? {
        result?;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let entries = admin.describe_configs([resource.clone()], Default::default()).await?;
        let entries = entries.into_values().next().ok_or("nothing described")??;
        let value = |name: &str| entries.iter().find(|entry| entry.name == name).and_then(|entry| entry.value.clone());
        if value("retention.ms").as_deref() == Some("1000000") && value("cleanup.policy").as_deref() == Some("compact") {
            break;
        }
        holds(Instant::now() < deadline, "configs as they were set")?;
    }
    let bad = vec![ConfigOp::set("retention.ms", "soon")];
    let refused = admin.incremental_alter_configs([(resource, bad)], Default::default()).await?;
    holds(format!("{refused:?}").contains("InvalidConfig"), format!("a bad value: {refused:?}"))?;
    Ok(())
}

async fn config_resources_are_listed(kafka: Kafka, topic: String) -> Outcome {
    create(&kafka, &topic, 1).await?;
    let listed = kafka.admin().list_config_resources([], Default::default()).await?;
    holds(format!("{listed:?}").contains(&topic), format!("{listed:?}"))
}

async fn offsets_and_epochs_are_listed(kafka: Kafka, topic: String) -> Outcome {
    create(&kafka, &topic, 1).await?;
    let producer = kafka.producer().linger(Duration::from_millis(50)).build().await?;
    let mut handles = Vec::new();
    for n in 0..10 {
        let stamp = if n == 4 { PAST_MS + 1000 } else { PAST_MS + n };
        handles.push(producer.enqueue(Record::new(&topic, "x").partition(0).timestamp(stamp)).await?);
    }
    for handle in handles {
        handle.await?;
    }
    producer.close().await?;
    let (admin, part) = (kafka.admin(), TopicPartition::new(&topic, 0));
    for (spec, expected) in [
        (OffsetSpec::Earliest, 0),
        (OffsetSpec::Latest, 10),
        (OffsetSpec::Timestamp(PAST_MS + 3), 3),
        (OffsetSpec::MaxTimestamp, 4),
        (OffsetSpec::EarliestLocal, 0),
    ] {
        let what = format!("{spec:?}");
        let found = admin.list_offsets([(part.clone(), spec)], Default::default()).await?;
        let found = found.into_values().next().ok_or("nothing listed")??;
        same(found.offset, expected, &what)?;
    }
    let ends = admin.offset_for_leader_epoch([(part, 0)], Default::default()).await?;
    holds(ends.values().all(Result::is_ok), format!("ends of epochs: {ends:?}"))
}

async fn records_are_deleted(kafka: Kafka, topic: String) -> Outcome {
    create(&kafka, &topic, 1).await?;
    send_numbers(&kafka, &topic, 20, 1).await?;
    let part = TopicPartition::new(&topic, 0);
    let low = kafka.admin().delete_records([(part.clone(), 12)], Default::default()).await?;
    same(low.into_values().next().ok_or("nothing deleted")??, 12, "low watermark")?;
    let consumer = reader(&kafka, &topic, 1).await?;
    same(take(&consumer, 8).await?[0].offset, 12, "the first record that is left")?;
    consumer.close().await?;
    let refused = kafka.admin().delete_records([(part, 21)], Default::default()).await?;
    holds(format!("{refused:?}").contains("OffsetOutOfRange"), format!("behind the end: {refused:?}"))
}

async fn groups_are_administered(kafka: Kafka, topic: String) -> Outcome {
    create(&kafka, &topic, 2).await?;
    let admin = kafka.admin();
    let consumer = member(&topic, &topic, &Membership::default()).await?;
    settle(&[&consumer], &topic, &[2]).await?;
    let about = admin.describe_consumer_groups([&topic], Default::default()).await?.remove(&topic).ok_or("not described")??;
    same((about.state.as_str(), about.members.len()), ("Stable", 1), "described")?;
    let listed = admin.list_consumer_groups(Default::default()).await?;
    let names: BTreeSet<String> = listed.into_values().flatten().flatten().map(|group| group.group_id).collect();
    holds(names.contains(&topic), format!("listed: {names:?}"))?;
    let refused = admin.delete_consumer_groups([&topic], Default::default()).await?;
    holds(format!("{refused:?}").contains("NonEmptyGroup"), format!("with members: {refused:?}"))?;
    consumer.close().await?;
    let (zero, one) = (TopicPartition::new(&topic, 0), TopicPartition::new(&topic, 1));
    let altered = admin.alter_consumer_group_offsets(&topic, [(zero.clone(), 0), (one.clone(), 0)], Default::default()).await?;
    holds(altered.values().all(Result::is_ok), format!("altered: {altered:?}"))?;
    send_numbers(&kafka, &topic, 10, 2).await?;
    let lag = admin.consumer_group_lag(&topic, Default::default()).await?;
    let lags: BTreeSet<Option<i64>> = lag.into_values().flatten().map(|lag| lag.lag).collect();
    same(lags, BTreeSet::from([Some(5)]), "lag")?;
    let deleted = admin.delete_consumer_group_offsets(&topic, [one], Default::default()).await?;
    holds(deleted.values().all(Result::is_ok), format!("offsets deleted: {deleted:?}"))?;
    let left = admin.list_consumer_group_offsets(&topic, Default::default()).await?;
    same(left.into_keys().collect::<Vec<_>>(), vec![zero], "offsets that are left")?;
    let deleted = admin.delete_consumer_groups([&topic], Default::default()).await?;
    holds(deleted.values().all(Result::is_ok), format!("deleted: {deleted:?}"))
}

async fn log_directories(kafka: Kafka, topic: String) -> Outcome {
    create(&kafka, &topic, 1).await?;
    send_numbers(&kafka, &topic, 10, 1).await?;
    let brokers = kafka.admin().describe_cluster(Default::default()).await?.brokers;
    let ids: Vec<i32> = brokers.iter().map(|broker| broker.id).collect();
    let described = kafka.admin().describe_log_dirs(ids, Default::default()).await?;
    holds(format!("{described:?}").contains(&topic), format!("{described:?}").chars().take(300).collect::<String>())
}

async fn leaders_and_reassignments(kafka: Kafka, topic: String) -> Outcome {
    create(&kafka, &topic, 1).await?;
    let admin = kafka.admin();
    let ongoing = admin.list_partition_reassignments(Default::default()).await?;
    same(ongoing.len(), 0, "ongoing reassignments")?;
    let about = admin.describe_topics([&topic], Default::default()).await?.remove(&topic).ok_or("not described")??;
    let leader = about.partitions[0].leader.ok_or("no leader")?;
    let part = TopicPartition::new(&topic, 0);
    let kept = admin.alter_partition_reassignments([(part.clone(), Some(vec![leader]))], Default::default()).await?;
    holds(kept.values().all(Result::is_ok), format!("to where it is: {kept:?}"))?;
    let away = admin.alter_partition_reassignments([(part, Some(vec![4242]))], Default::default()).await?;
    holds(away.values().all(Result::is_err), format!("to a broker that is not there: {away:?}"))
}

#[tokio::main]
async fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        for (name, _) in CASES {
            println!("{name}");
        }
        return;
    }
    let wanted = std::env::var("COMPAT_CASES").ok();
    for (name, case) in CASES {
        if wanted.as_deref().is_some_and(|wanted| wanted.split(',').all(|one| one != *name)) {
            continue;
        }
        println!("@run {name}");
        let outcome = match connect().await {
            Ok(kafka) => case(kafka, unique(&name.replace('_', "-"))).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => println!("@passed {name}"),
            Err(error) => println!("@failed {name} {}", error.to_string().replace('\n', " ")),
        }
    }
}
