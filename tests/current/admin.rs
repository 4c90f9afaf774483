//! What tools ask about topics, logs, producers and leaders.

use corelog::batch::Compression;
use corelog::protocol::kafka::messages::*;

use crate::support::broker::{Advertise, Broker, Options};
use crate::talk::{Talk, batch};

const UNKNOWN: i16 = 3;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_REQUEST: i16 = 42;
const LOG_DIR_NOT_FOUND: i16 = 57;
const ELECTION_NOT_NEEDED: i16 = 84;
const NO_REASSIGNMENT: i16 = 85;

fn broker(shards: u16) -> (Broker, Talk) {
    let broker = Broker::start(Options::new(shards, Advertise::Single));
    let talk = Talk::to(broker.kafka());
    (broker, talk)
}

/// Names and partitions of all pages, each within the limit.
fn pages(talk: &mut Talk, topics: &[&'static str], limit: i32) -> Vec<(&'static str, i32, i32)> {
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let request = DescribeTopicPartitionsRequest {
            topics: topics
                .iter()
                .map(|&name| DescribeTopicPartitionsTopic { name })
                .collect(),
            response_partition_limit: limit,
            cursor,
        };
        let answer = talk.ask(request, 0);
        let mut count = 0;
        for topic in &answer.topics {
            for partition in &topic.partitions {
                assert_eq!((partition.leader_id, partition.leader_epoch), (0, 0));
                seen.push((topic.name.expect("a name"), partition.partition_index, 0));
                count += 1;
            }
            if topic.error_code != 0 {
                seen.push((topic.name.expect("a name"), -1, topic.error_code.into()));
            }
        }
        assert!(count <= limit);
        cursor = answer.next_cursor;
        if cursor.is_none() {
            return seen;
        }
    }
}

#[test]
fn topics_are_described_page_by_page() {
    let (_broker, mut talk) = broker(2);
    talk.create("b", 3);
    talk.create("a", 2);
    talk.create("c", 1);
    let all = [
        ("a", 0, 0),
        ("a", 1, 0),
        ("b", 0, 0),
        ("b", 1, 0),
        ("b", 2, 0),
        ("c", 0, 0),
    ];
    for limit in [1, 2, 3, 5, 6, 100] {
        assert_eq!(pages(&mut talk, &[], limit), all, "limit {limit}");
    }
    assert_eq!(
        pages(&mut talk, &["c", "no-such", "a", "a", "no/such"], 2),
        [
            ("a", 0, 0),
            ("a", 1, 0),
            ("c", 0, 0),
            ("no-such", -1, i32::from(UNKNOWN)),
            ("no/such", -1, 17)
        ]
    );
    let elsewhere = DescribeTopicPartitionsRequest {
        topics: vec![DescribeTopicPartitionsTopic { name: "a" }],
        cursor: Some(TopicPartitionsCursor {
            topic_name: "b",
            partition_index: 0,
        }),
        ..Default::default()
    };
    assert_eq!(talk.ask(elsewhere, 0).topics[0].error_code, INVALID_REQUEST);
}

#[test]
fn resources_are_listed_by_type() {
    let (_broker, mut talk) = broker(1);
    talk.create("t", 1);
    let mut list = |types: &[i8], version| {
        let request = ListConfigResourcesRequest {
            resource_types: types.to_vec(),
        };
        let answer = talk.ask(request, version);
        let resources = answer.config_resources.into_iter();
        let resources: Vec<_> = resources
            .map(|found| (found.resource_type, found.resource_name))
            .collect();
        (answer.error_code, resources)
    };
    assert_eq!(list(&[], 0), (0, vec![]), "version 0 asks for client metrics");
    assert_eq!(
        list(&[], 1),
        (0, vec![(RESOURCE_TOPIC, "t"), (RESOURCE_BROKER, "0")])
    );
    assert_eq!(list(&[RESOURCE_TOPIC], 1), (0, vec![(RESOURCE_TOPIC, "t")]));
    assert_eq!(list(&[RESOURCE_GROUP], 1), (0, vec![]));
    assert_eq!(list(&[77], 1), (35, vec![]));
}

#[test]
fn log_directories_say_how_large_logs_are() {
    let (broker, mut talk) = broker(2);
    let id = talk.create("sized", 3);
    talk.create("empty", 1);
    talk.append(id, 1, Compression::None, &[1; 100]);
    for version in 1..=5 {
        let answer = talk.ask(DescribeLogDirsRequest::default(), version);
        let [dir] = &answer.results[..] else {
            panic!("{answer:?}")
        };
        assert_eq!(std::path::Path::new(dir.log_dir), broker.data_dir());
        let sizes: Vec<_> = dir
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(move |one| (topic.name, one)))
            .map(|(name, one)| (name, one.partition_index, one.partition_size > 0))
            .collect();
        let expected = [
            ("empty", 0, false),
            ("sized", 0, false),
            ("sized", 1, true),
            ("sized", 2, false),
        ];
        assert_eq!(sizes, expected, "v{version}");
        let knows_room = dir.total_bytes > 0 && (0..=dir.total_bytes).contains(&dir.usable_bytes);
        assert_eq!(knows_room, version >= 4);
    }
    let some = DescribeLogDirsRequest {
        topics: Some(vec![DescribableLogDirTopic {
            topic: "sized",
            partitions: vec![1, 1, 9],
        }]),
    };
    let answer = talk.ask(some, 4);
    assert_eq!(answer.results[0].topics.len(), 1);
    assert_eq!(answer.results[0].topics[0].partitions.len(), 1);

    let path: &'static str = answer.results[0].log_dir;
    let to = |path| AlterReplicaLogDir {
        path,
        topics: vec![AlterReplicaLogDirTopic {
            name: "sized",
            partitions: vec![0, 9],
        }],
    };
    let mut alter = |path| {
        let answer = talk.ask(AlterReplicaLogDirsRequest { dirs: vec![to(path)] }, 2);
        let partitions = answer.results[0].partitions.iter();
        partitions.map(|one| one.error_code).collect::<Vec<_>>()
    };
    assert_eq!(alter(path), [0, UNKNOWN]);
    assert_eq!(alter("/elsewhere"), [LOG_DIR_NOT_FOUND; 2]);
}

#[test]
fn a_log_tells_who_produced_to_it() {
    let (_broker, mut talk) = broker(2);
    let id = talk.create("produced", 2);
    let producer = talk.ask(InitProducerIdRequest::default(), 4);
    let stamp = (producer.producer_id, producer.producer_epoch, 0);
    let appended = talk.produce(id, 1, batch(Compression::None, &[1, 2, 3], Some(stamp)));
    assert_eq!(appended.error_code, 0);
    let request = DescribeProducersRequest {
        topics: vec![DescribeProducersTopic {
            name: "produced",
            partition_indexes: vec![0, 1, 5],
        }],
    };
    let answer = talk.ask(request, 0);
    let partitions = &answer.topics[0].partitions;
    assert!(partitions[0].active_producers.is_empty());
    let [found] = &partitions[1].active_producers[..] else {
        panic!("{partitions:?}")
    };
    assert_eq!(found.producer_id, producer.producer_id);
    assert_eq!(found.producer_epoch, i32::from(producer.producer_epoch));
    assert_eq!((found.last_sequence, found.current_txn_start_offset), (2, -1));
    assert!(found.last_timestamp > 0);
    assert_eq!(partitions[2].error_code, UNKNOWN);
}

#[test]
fn leaders_and_replicas_stay_where_they_are() {
    let (_broker, mut talk) = broker(1);
    talk.create("stays", 1);
    let election = |election_type| ElectLeadersRequest {
        election_type,
        topic_partitions: Some(vec![ElectLeadersTopic {
            topic: "stays",
            partitions: vec![0, 0, 4],
        }]),
        ..Default::default()
    };
    let answer = talk.ask(election(ELECTION_PREFERRED), 2);
    let codes: Vec<_> = answer.replica_election_results[0]
        .partition_result
        .iter()
        .map(|one| (one.partition_id, one.error_code))
        .collect();
    assert_eq!(codes, [(0, ELECTION_NOT_NEEDED), (4, UNKNOWN)]);
    assert_eq!(talk.ask(election(9), 2).error_code, INVALID_REQUEST);
    let all = talk.ask(ElectLeadersRequest::default(), 0);
    assert!(all.replica_election_results.is_empty());

    let mut reassign = |partition_index, replicas: Option<&[i32]>| {
        let request = AlterPartitionReassignmentsRequest {
            topics: vec![ReassignableTopic {
                name: "stays",
                partitions: vec![ReassignablePartition {
                    partition_index,
                    replicas: replicas.map(<[i32]>::to_vec),
                }],
            }],
            ..Default::default()
        };
        talk.ask(request, 1).responses[0].partitions[0].error_code
    };
    assert_eq!(reassign(0, Some(&[0])), 0);
    for elsewhere in [&[1][..], &[0, 1], &[]] {
        assert_eq!(reassign(0, Some(elsewhere)), INVALID_REPLICA_ASSIGNMENT);
    }
    assert_eq!(reassign(0, None), NO_REASSIGNMENT);
    assert_eq!(reassign(4, Some(&[0])), UNKNOWN);
    let moving = talk.ask(ListPartitionReassignmentsRequest::default(), 0);
    assert!(moving.error_code == 0 && moving.topics.is_empty());
}
