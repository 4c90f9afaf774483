//! The Kafka door and the answers our own clients read.

use super::input::Input;
use crate::protocol::kafka::api::{ADVERTISED, ApiKey};
use crate::protocol::kafka::header::RequestHeader;
use crate::protocol::kafka::messages::{self as messages, Message as _};
use crate::protocol::kafka::session::frame::{Framing, next_frame};
use crate::protocol::kafka::wire::{FRAME_SIZE_BYTES, Reader, Writer};

/// Largest frame of [`kafka_frame`].
const FRAME_BYTES_MAX: usize = 1 << 20;

/// Decodes `$body` as `$name`; what is accepted must read the same after it was written. Writing may only shorten: what has
/// no meaning here (unknown tags, overlong numbers) is left out.
macro_rules! round_trip {
    ($name:ident, $body:expr, $version:expr) => {{
        let (body, version): (&[u8], i16) = ($body, $version);
        let decoded = messages::$name::decode(body, version).map(|message| written!(message, version));
        if let Ok(written) = decoded {
            let message = messages::$name::decode(body, version);
            let again = messages::$name::decode(&written, version);
            assert_eq!(again, message, "v{version}: read again");
            let twice = again.map(|message| written!(message, version));
            assert_eq!(twice.as_ref(), Ok(&written), "v{version}: written twice");
            let (short, long) = (written.len(), body.len());
            assert!(short <= long, "v{version}: {long} bytes became {short}");
        }
    }};
}

/// The body of a message in `$version`.
macro_rules! written {
    ($message:expr, $version:expr) => {{
        let mut writer = Writer::new();
        $message.encode(&mut writer, $version);
        writer
            .finish()
            .expect("what was read fits the protocol")
            .into_vec()
    }};
}

/// Functions over every API: matching exhaustively, so that a new one does not compile until it is here.
macro_rules! by_api {
    (fn $judge:ident, $empty:ident: $($api:ident => $message:ident,)*) => {
        fn $judge(api: ApiKey, body: &[u8], version: i16) {
            match api {
                $(ApiKey::$api => round_trip!($message, body, version),)*
            }
        }

        /// The body whose fields all have their defaults.
        #[cfg(test)]
        pub(super) fn $empty(api: ApiKey, version: i16) -> Vec<u8> {
            match api {
                $(ApiKey::$api => written!(messages::$message::default(), version),)*
            }
        }
    };
}

by_api! {
    fn judge_request, empty_request:
    Produce => ProduceRequest,
    Fetch => FetchRequest,
    ListOffsets => ListOffsetsRequest,
    Metadata => MetadataRequest,
    OffsetCommit => OffsetCommitRequest,
    OffsetFetch => OffsetFetchRequest,
    FindCoordinator => FindCoordinatorRequest,
    JoinGroup => JoinGroupRequest,
    Heartbeat => HeartbeatRequest,
    LeaveGroup => LeaveGroupRequest,
    SyncGroup => SyncGroupRequest,
    DescribeGroups => DescribeGroupsRequest,
    ListGroups => ListGroupsRequest,
    ApiVersions => ApiVersionsRequest,
    CreateTopics => CreateTopicsRequest,
    DeleteTopics => DeleteTopicsRequest,
    DeleteRecords => DeleteRecordsRequest,
    InitProducerId => InitProducerIdRequest,
    OffsetForLeaderEpoch => OffsetForLeaderEpochRequest,
    DescribeConfigs => DescribeConfigsRequest,
    AlterConfigs => AlterConfigsRequest,
    AlterReplicaLogDirs => AlterReplicaLogDirsRequest,
    DescribeLogDirs => DescribeLogDirsRequest,
    CreatePartitions => CreatePartitionsRequest,
    DeleteGroups => DeleteGroupsRequest,
    ElectLeaders => ElectLeadersRequest,
    IncrementalAlterConfigs => IncrementalAlterConfigsRequest,
    AlterPartitionReassignments => AlterPartitionReassignmentsRequest,
    ListPartitionReassignments => ListPartitionReassignmentsRequest,
    OffsetDelete => OffsetDeleteRequest,
    DescribeCluster => DescribeClusterRequest,
    DescribeProducers => DescribeProducersRequest,
    ConsumerGroupHeartbeat => ConsumerGroupHeartbeatRequest,
    ConsumerGroupDescribe => ConsumerGroupDescribeRequest,
    ListConfigResources => ListConfigResourcesRequest,
    DescribeTopicPartitions => DescribeTopicPartitionsRequest,
}

by_api! {
    fn judge_response, empty_response:
    Produce => ProduceResponse,
    Fetch => FetchResponse,
    ListOffsets => ListOffsetsResponse,
    Metadata => MetadataResponse,
    OffsetCommit => OffsetCommitResponse,
    OffsetFetch => OffsetFetchResponse,
    FindCoordinator => FindCoordinatorResponse,
    JoinGroup => JoinGroupResponse,
    Heartbeat => HeartbeatResponse,
    LeaveGroup => LeaveGroupResponse,
    SyncGroup => SyncGroupResponse,
    DescribeGroups => DescribeGroupsResponse,
    ListGroups => ListGroupsResponse,
    ApiVersions => ApiVersionsResponse,
    CreateTopics => CreateTopicsResponse,
    DeleteTopics => DeleteTopicsResponse,
    DeleteRecords => DeleteRecordsResponse,
    InitProducerId => InitProducerIdResponse,
    OffsetForLeaderEpoch => OffsetForLeaderEpochResponse,
    DescribeConfigs => DescribeConfigsResponse,
    AlterConfigs => AlterConfigsResponse,
    AlterReplicaLogDirs => AlterReplicaLogDirsResponse,
    DescribeLogDirs => DescribeLogDirsResponse,
    CreatePartitions => CreatePartitionsResponse,
    DeleteGroups => DeleteGroupsResponse,
    ElectLeaders => ElectLeadersResponse,
    IncrementalAlterConfigs => IncrementalAlterConfigsResponse,
    AlterPartitionReassignments => AlterPartitionReassignmentsResponse,
    ListPartitionReassignments => ListPartitionReassignmentsResponse,
    OffsetDelete => OffsetDeleteResponse,
    DescribeCluster => DescribeClusterResponse,
    DescribeProducers => DescribeProducersResponse,
    ConsumerGroupHeartbeat => ConsumerGroupHeartbeatResponse,
    ConsumerGroupDescribe => ConsumerGroupDescribeResponse,
    ListConfigResources => ListConfigResourcesResponse,
    DescribeTopicPartitions => DescribeTopicPartitionsResponse,
}

/// The API and version that two bytes choose: those of their numbers where there are such, else any.
fn choose(input: &mut Input<'_>) -> (ApiKey, i16) {
    let key = input.byte();
    let api =
        ApiKey::from_wire(i16::from(key)).unwrap_or_else(|| ADVERTISED[usize::from(key) % ADVERTISED.len()]);
    let (versions, version) = (api.versions(), i16::from(input.byte()));
    if versions.contains(version) {
        return (api, version);
    }
    (api, versions.min + version % (versions.max - versions.min + 1))
}

/// The body of a request: `api key, version, body`.
pub fn kafka_request(data: &[u8]) {
    let mut input = Input::new(data);
    let (api, version) = choose(&mut input);
    judge_request(api, input.rest(), version);
}

/// The body of a response: `api key, version, body`.
pub fn kafka_response(data: &[u8]) {
    let mut input = Input::new(data);
    let (api, version) = choose(&mut input);
    judge_response(api, input.rest(), version);
}

/// What a connection receives: frames with headers and bodies, one behind the other.
pub fn kafka_frame(data: &[u8]) {
    let mut rest = data;
    while let Ok(Framing::Begins(head)) = judge_head(rest) {
        assert!(head.size <= FRAME_BYTES_MAX && head.reserve_bytes() >= head.size);
        let Some(frame) = rest[FRAME_SIZE_BYTES..].get(..head.size) else {
            return;
        };
        rest = &rest[FRAME_SIZE_BYTES + head.size..];
        judge_frame(frame, head.api_key);
    }
}

/// A frame is judged the same from its first bytes as from all of it, and never asks for fewer bytes than it has.
fn judge_head(bytes: &[u8]) -> Result<Framing, ()> {
    let judged = next_frame(bytes, FRAME_BYTES_MAX);
    for len in 0..bytes.len().min(2 * FRAME_SIZE_BYTES) {
        match next_frame(&bytes[..len], FRAME_BYTES_MAX) {
            Ok(Framing::Incomplete { needed }) => assert!(needed > len),
            early => assert_eq!(early, judged),
        }
    }
    judged.map_err(|_| ())
}

fn judge_frame(frame: &[u8], api_key: i16) {
    let mut reader = Reader::new(frame);
    let Ok(header) = RequestHeader::decode(&mut reader) else {
        return;
    };
    assert_eq!(header.api_key, api_key);
    let mut writer = Writer::new();
    header.encode(&mut writer);
    let written = writer
        .finish()
        .expect("what was read fits the protocol")
        .into_vec();
    assert_eq!(RequestHeader::decode(&mut Reader::new(&written)), Ok(header));
    if let Some(api) = header.api()
        && api.versions().contains(header.api_version)
    {
        judge_request(api, reader.rest(), header.api_version);
    }
}
