//! Versions newer than the oracle: bytes written by hand from Kafka's public schemas, read and written.

use std::fmt::Debug;

use corelog::base::TopicId;
use corelog::protocol::kafka::messages::{self as ours, Message};

use crate::oracle::{encode, leak};

const ID: [u8; 16] = [0xc7; 16];

/// `pieces` joined are `message` in `version`, in both directions.
fn check<M: Message<'static> + Clone + Debug + PartialEq>(message: M, version: i16, pieces: &[&[u8]]) {
    let bytes = pieces.concat();
    assert_eq!(encode(message.clone(), version).into_vec(), bytes);
    assert_eq!(M::decode(leak(bytes), version), Ok(message));
}

#[test]
fn list_offsets_11_is_laid_out_as_10() {
    let request = ours::ListOffsetsRequest {
        isolation_level: 1,
        topics: vec![ours::ListOffsetsTopic {
            name: "t",
            partitions: vec![ours::ListOffsetsPartition {
                partition_index: 2,
                current_leader_epoch: 3,
                timestamp: ours::TIMESTAMP_EARLIEST_PENDING_UPLOAD,
            }],
        }],
        timeout_ms: 500,
        ..Default::default()
    };
    check(
        request,
        11,
        &[
            &(-1_i32).to_be_bytes(),
            &[1, 2, 2, b't', 2],
            &2_i32.to_be_bytes(),
            &3_i32.to_be_bytes(),
            &(-6_i64).to_be_bytes(),
            &[0, 0],
            &500_i32.to_be_bytes(),
            &[0],
        ],
    );
    let response = ours::ListOffsetsResponse {
        throttle_time_ms: 1,
        topics: vec![ours::ListOffsetsTopicResponse {
            name: "t",
            partitions: vec![ours::ListOffsetsPartitionResponse {
                partition_index: 2,
                error_code: 5,
                timestamp: 6,
                offset: 7,
                leader_epoch: 8,
            }],
        }],
    };
    check(
        response,
        11,
        &[
            &1_i32.to_be_bytes(),
            &[2, 2, b't', 2],
            &2_i32.to_be_bytes(),
            &5_i16.to_be_bytes(),
            &6_i64.to_be_bytes(),
            &7_i64.to_be_bytes(),
            &8_i32.to_be_bytes(),
            &[0, 0, 0],
        ],
    );
}

#[test]
fn offset_commit_10_has_topic_ids_for_names() {
    let request = ours::OffsetCommitRequest {
        group_id: "g",
        generation_id_or_member_epoch: 4,
        member_id: "m",
        group_instance_id: None,
        topics: vec![ours::OffsetCommitRequestTopic {
            topic_id: TopicId::new(ID),
            partitions: vec![ours::OffsetCommitRequestPartition {
                partition_index: 1,
                committed_offset: 9,
                committed_leader_epoch: 2,
                committed_metadata: Some("x"),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    check(
        request,
        10,
        &[
            &[2, b'g'],
            &4_i32.to_be_bytes(),
            &[2, b'm', 0, 2],
            &ID,
            &[2],
            &1_i32.to_be_bytes(),
            &9_i64.to_be_bytes(),
            &2_i32.to_be_bytes(),
            &[2, b'x', 0, 0, 0],
        ],
    );
    let response = ours::OffsetCommitResponse {
        topics: vec![ours::OffsetCommitResponseTopic {
            topic_id: TopicId::new(ID),
            partitions: vec![ours::OffsetCommitResponsePartition {
                partition_index: 1,
                error_code: 25,
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    check(
        response,
        10,
        &[
            &0_i32.to_be_bytes(),
            &[2],
            &ID,
            &[2],
            &1_i32.to_be_bytes(),
            &25_i16.to_be_bytes(),
            &[0, 0, 0],
        ],
    );
}

#[test]
fn offset_fetch_10_has_topic_ids_for_names() {
    let request = ours::OffsetFetchRequest {
        groups: vec![ours::OffsetFetchRequestGroup {
            group_id: "g",
            member_id: Some("m"),
            member_epoch: 3,
            topics: Some(vec![ours::OffsetFetchRequestTopic {
                topic_id: TopicId::new(ID),
                partition_indexes: vec![5],
                ..Default::default()
            }]),
        }],
        require_stable: true,
        ..Default::default()
    };
    check(
        request,
        10,
        &[
            &[2, 2, b'g', 2, b'm'],
            &3_i32.to_be_bytes(),
            &[2],
            &ID,
            &[2],
            &5_i32.to_be_bytes(),
            &[0, 0, 1, 0],
        ],
    );
    let response = ours::OffsetFetchResponse {
        groups: vec![ours::OffsetFetchResponseGroup {
            group_id: "g",
            topics: vec![ours::OffsetFetchResponseTopic {
                topic_id: TopicId::new(ID),
                partitions: vec![ours::OffsetFetchResponsePartition {
                    partition_index: 5,
                    committed_offset: 77,
                    committed_leader_epoch: 1,
                    metadata: None,
                    error_code: 0,
                }],
                ..Default::default()
            }],
            error_code: 16,
        }],
        ..Default::default()
    };
    check(
        response,
        10,
        &[
            &0_i32.to_be_bytes(),
            &[2, 2, b'g', 2],
            &ID,
            &[2],
            &5_i32.to_be_bytes(),
            &77_i64.to_be_bytes(),
            &1_i32.to_be_bytes(),
            &[0, 0, 0, 0, 0],
            &16_i16.to_be_bytes(),
            &[0, 0],
        ],
    );
}

#[test]
fn describe_log_dirs_5_says_whether_a_directory_is_cordoned() {
    let response = ours::DescribeLogDirsResponse {
        results: vec![ours::DescribeLogDirsResult {
            log_dir: "/d",
            total_bytes: 10,
            usable_bytes: 9,
            is_cordoned: true,
            ..Default::default()
        }],
        ..Default::default()
    };
    check(
        response,
        5,
        &[
            &[0; 6],
            &[2, 0, 0, 3, b'/', b'd', 1],
            &10_i64.to_be_bytes(),
            &9_i64.to_be_bytes(),
            &[1, 0, 0],
        ],
    );
    check(ours::DescribeLogDirsRequest::default(), 5, &[&[0, 0]]);
}
