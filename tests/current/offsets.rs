//! ListOffsets 11: the ends of a log, the youngest record, and records by their time.

use corelog::batch::Compression;
use corelog::protocol::kafka::messages::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};

use crate::support::broker::{Advertise, Broker, Options};
use crate::talk::{EPOCH_MS, Talk};

/// Offset, time and epoch that a question is answered with.
fn list(talk: &mut Talk, isolation_level: i8, timestamp: i64) -> (i64, i64, i32) {
    let request = ListOffsetsRequest {
        isolation_level,
        topics: vec![ListOffsetsTopic {
            name: "times",
            partitions: vec![ListOffsetsPartition {
                partition_index: 1,
                timestamp,
                ..Default::default()
            }],
        }],
        timeout_ms: 1000,
        ..Default::default()
    };
    let answer = talk.ask(request, 11);
    let found = &answer.topics[0].partitions[0];
    assert_eq!(found.error_code, 0);
    (found.offset, found.timestamp, found.leader_epoch)
}

#[test]
fn every_question_is_answered_by_record() {
    let broker = Broker::start(Options::new(2, Advertise::Single));
    let mut talk = Talk::to(broker.kafka());
    let topic = talk.create("times", 2);
    let nothing = (-1, -1, -1);
    assert_eq!(list(&mut talk, 0, -1), (0, -1, 0), "the end of an empty log");
    assert_eq!(list(&mut talk, 0, -3), nothing, "nothing is youngest");
    assert_eq!(list(&mut talk, 0, 0), nothing);

    let codecs = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    // Three records a batch, ten ms apart, the last batch with one from the past and two of one time.
    for (codec, start) in std::iter::zip(codecs, (0_i64..).step_by(30)) {
        talk.append(topic, 1, codec, &[start, start + 10, start + 20]);
    }
    talk.append(topic, 1, Compression::Gzip, &[5, 500, 500, 7]);

    for isolation_level in [0, 1] {
        assert_eq!(list(&mut talk, isolation_level, -1), (19, -1, 0));
        assert_eq!(list(&mut talk, isolation_level, -2), (0, -1, 0));
    }
    assert_eq!(
        list(&mut talk, 0, -3),
        (16, EPOCH_MS + 500, 0),
        "the first of those that share the largest time"
    );
    assert_eq!(
        list(&mut talk, 0, -4),
        (0, -1, 0),
        "the local log is the whole log"
    );
    assert_eq!(list(&mut talk, 0, -5), nothing, "nothing is tiered");
    assert_eq!(list(&mut talk, 0, -6), nothing, "nothing is to be tiered");
    assert_eq!(list(&mut talk, 0, 0), (0, EPOCH_MS, 0));
    for offset in 0..15 {
        let time = EPOCH_MS + 10 * offset;
        assert_eq!(list(&mut talk, 0, time), (offset, time, 0), "just then");
        assert_eq!(list(&mut talk, 0, time - 9), (offset, time, 0), "a little before");
    }
    assert_eq!(list(&mut talk, 0, EPOCH_MS + 141), (16, EPOCH_MS + 500, 0));
    assert_eq!(list(&mut talk, 0, EPOCH_MS + 501), nothing, "younger than all");
}

#[test]
fn questions_of_the_future_fail_for_their_partition() {
    let broker = Broker::start(Options::new(1, Advertise::Single));
    let mut talk = Talk::to(broker.kafka());
    talk.create("times", 2);
    for (version, timestamp) in [(6, -3), (7, -4), (8, -5), (10, -6), (11, -7)] {
        let request = ListOffsetsRequest {
            topics: vec![ListOffsetsTopic {
                name: "times",
                partitions: vec![ListOffsetsPartition {
                    timestamp,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let answer = talk.ask(request, version);
        assert_eq!(
            answer.topics[0].partitions[0].error_code, 35,
            "v{version} {timestamp}"
        );
    }
}
