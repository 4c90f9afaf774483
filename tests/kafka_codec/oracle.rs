//! Every message in every version, there and back, by both codecs.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use corelog::protocol::kafka::api::{self, ApiKey};
use corelog::protocol::kafka::messages::{self as ours, Message};
use corelog::protocol::kafka::wire::{DecodeError, Encoded, Writer};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::random::{Arbitrary, Random, base_seed};
use crate::tree::{Tree, compare};

/// Random messages per message type and version.
const CASES: u64 = 200;

pub(crate) fn encode<M: Message<'static>>(message: M, version: i16) -> Encoded {
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    writer
        .finish()
        .expect("test messages are within the protocol's limits")
}

pub(crate) fn oracle_encode<T: Encodable>(message: &T, version: i16) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    message
        .encode(&mut bytes, version)
        .expect("the oracle encodes what it decoded");
    bytes.to_vec()
}

pub(crate) fn oracle_decode<T: Decodable>(bytes: &[u8], version: i16, context: &str) -> T {
    let mut buffer = Bytes::copy_from_slice(bytes);
    let message = T::decode(&mut buffer, version)
        .unwrap_or_else(|error| panic!("{context}: the oracle refuses {bytes:02x?}: {error}"));
    assert!(
        buffer.is_empty(),
        "{context}: the oracle leaves {} bytes",
        buffer.len()
    );
    message
}

/// Decoded values live as long as the test process, so that one generic function serves all lifetimes.
pub(crate) fn leak(bytes: Vec<u8>) -> &'static [u8] {
    Box::leak(bytes.into_boxed_slice())
}

fn agrees_with_the_oracle<M, T>(name: &str)
where
    M: Message<'static> + Arbitrary + Clone + Debug + PartialEq,
    T: Encodable + Decodable + Debug + kafka_protocol::protocol::Message,
{
    let versions = M::API.versions();
    for version in versions.min..=versions.max {
        for seed in 0..CASES {
            let context = format!("{name} v{version} seed {seed}+{}", base_seed());
            let mut random = Random::new(seed << 8 | u64::from(version.unsigned_abs()));
            let message = M::arbitrary(&mut random);
            let encoded = encode(message, version);
            let total_len = encoded.total_len();
            let bytes = encoded.into_vec();
            assert_eq!(bytes.len(), total_len, "{context}");

            let decoded = M::decode(leak(bytes.clone()), version)
                .unwrap_or_else(|error| panic!("{context}: we refuse our own bytes: {error}"));
            if version <= T::VERSIONS.max {
                let oracle: T = oracle_decode(&bytes, version, &context);
                let oracle_bytes = oracle_encode(&oracle, version);
                assert_eq!(bytes, oracle_bytes, "{context}: the oracle encodes differently");
                compare(&Tree::of(&decoded), &Tree::of(&oracle), &context);
            }
            assert_eq!(
                encode(decoded.clone(), version).into_vec(),
                bytes,
                "{context}: not a round trip"
            );

            let longer = [bytes.as_slice(), &[0]].concat();
            assert_eq!(
                M::decode(leak(longer), version).err(),
                Some(DecodeError::TrailingBytes { left: 1 }),
                "{context}"
            );
        }
    }
}

fn refuses_truncation<M>(name: &str)
where
    M: Message<'static> + Arbitrary,
{
    let versions = M::API.versions();
    for version in versions.min..=versions.max {
        for seed in 0..4 {
            let bytes = leak(encode(M::arbitrary(&mut Random::new(seed)), version).into_vec());
            // Long record chunks are all alike inside; cutting the ends of the message is enough.
            for cut in (0..bytes.len()).filter(|&cut| cut < 4_000 || bytes.len() - cut < 1_000) {
                assert!(
                    M::decode(&bytes[..cut], version).is_err(),
                    "{name} v{version} seed {seed} cut {cut}"
                );
            }
        }
    }
}

/// One message type, for tests that go through all of them.
pub(crate) struct Decoder {
    pub(crate) name: &'static str,
    pub(crate) api: ApiKey,
    pub(crate) accepts: fn(&[u8], i16) -> bool,
    pub(crate) example: fn(&mut Random, i16) -> Vec<u8>,
}

macro_rules! messages {
    ($($module:ident: $name:ident;)*) => {
        $(mod $module {
            #[test]
            fn agrees_with_the_oracle() {
                super::agrees_with_the_oracle::<super::ours::$name, super::theirs::$name>(stringify!($name));
            }

            #[test]
            fn refuses_truncation() {
                super::refuses_truncation::<super::ours::$name>(stringify!($name));
            }
        })*

        pub(crate) const DECODERS: &[Decoder] = &[$(Decoder {
            name: stringify!($name),
            api: <ours::$name as Message>::API,
            accepts: |bytes, version| ours::$name::decode(bytes, version).is_ok(),
            example: |random, version| encode(ours::$name::arbitrary(random), version).into_vec(),
        }),*];
    };
}

messages! {
    alter_configs_request: AlterConfigsRequest;
    alter_configs_response: AlterConfigsResponse;
    alter_partition_reassignments_request: AlterPartitionReassignmentsRequest;
    alter_partition_reassignments_response: AlterPartitionReassignmentsResponse;
    alter_replica_log_dirs_request: AlterReplicaLogDirsRequest;
    alter_replica_log_dirs_response: AlterReplicaLogDirsResponse;
    api_versions_request: ApiVersionsRequest;
    api_versions_response: ApiVersionsResponse;
    consumer_group_describe_request: ConsumerGroupDescribeRequest;
    consumer_group_describe_response: ConsumerGroupDescribeResponse;
    consumer_group_heartbeat_request: ConsumerGroupHeartbeatRequest;
    consumer_group_heartbeat_response: ConsumerGroupHeartbeatResponse;
    create_partitions_request: CreatePartitionsRequest;
    create_partitions_response: CreatePartitionsResponse;
    create_topics_request: CreateTopicsRequest;
    create_topics_response: CreateTopicsResponse;
    delete_groups_request: DeleteGroupsRequest;
    delete_groups_response: DeleteGroupsResponse;
    delete_records_request: DeleteRecordsRequest;
    delete_records_response: DeleteRecordsResponse;
    delete_topics_request: DeleteTopicsRequest;
    delete_topics_response: DeleteTopicsResponse;
    describe_cluster_request: DescribeClusterRequest;
    describe_cluster_response: DescribeClusterResponse;
    describe_configs_request: DescribeConfigsRequest;
    describe_configs_response: DescribeConfigsResponse;
    describe_groups_request: DescribeGroupsRequest;
    describe_groups_response: DescribeGroupsResponse;
    describe_log_dirs_request: DescribeLogDirsRequest;
    describe_log_dirs_response: DescribeLogDirsResponse;
    describe_producers_request: DescribeProducersRequest;
    describe_producers_response: DescribeProducersResponse;
    describe_topic_partitions_request: DescribeTopicPartitionsRequest;
    describe_topic_partitions_response: DescribeTopicPartitionsResponse;
    elect_leaders_request: ElectLeadersRequest;
    elect_leaders_response: ElectLeadersResponse;
    fetch_request: FetchRequest;
    fetch_response: FetchResponse;
    find_coordinator_request: FindCoordinatorRequest;
    find_coordinator_response: FindCoordinatorResponse;
    heartbeat_request: HeartbeatRequest;
    heartbeat_response: HeartbeatResponse;
    incremental_alter_configs_request: IncrementalAlterConfigsRequest;
    incremental_alter_configs_response: IncrementalAlterConfigsResponse;
    init_producer_id_request: InitProducerIdRequest;
    init_producer_id_response: InitProducerIdResponse;
    join_group_request: JoinGroupRequest;
    join_group_response: JoinGroupResponse;
    leave_group_request: LeaveGroupRequest;
    leave_group_response: LeaveGroupResponse;
    list_config_resources_request: ListConfigResourcesRequest;
    list_config_resources_response: ListConfigResourcesResponse;
    list_groups_request: ListGroupsRequest;
    list_groups_response: ListGroupsResponse;
    list_offsets_request: ListOffsetsRequest;
    list_offsets_response: ListOffsetsResponse;
    list_partition_reassignments_request: ListPartitionReassignmentsRequest;
    list_partition_reassignments_response: ListPartitionReassignmentsResponse;
    metadata_request: MetadataRequest;
    metadata_response: MetadataResponse;
    offset_commit_request: OffsetCommitRequest;
    offset_commit_response: OffsetCommitResponse;
    offset_delete_request: OffsetDeleteRequest;
    offset_delete_response: OffsetDeleteResponse;
    offset_fetch_request: OffsetFetchRequest;
    offset_fetch_response: OffsetFetchResponse;
    offset_for_leader_epoch_request: OffsetForLeaderEpochRequest;
    offset_for_leader_epoch_response: OffsetForLeaderEpochResponse;
    produce_request: ProduceRequest;
    produce_response: ProduceResponse;
    sync_group_request: SyncGroupRequest;
    sync_group_response: SyncGroupResponse;
}

#[test]
fn every_api_has_both_directions_tested() {
    for &api in api::ADVERTISED {
        assert_eq!(
            DECODERS.iter().filter(|decoder| decoder.api == api).count(),
            2,
            "{api:?}"
        );
    }
}
