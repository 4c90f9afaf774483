//! Our Kafka codec against an independent one, and against hostile bytes.
//!
//! **The oracle.** `kafka-protocol` is generated from Kafka's own schemas. For every message and every version we
//! speak: a random message of ours is encoded, decoded by the oracle, encoded again by the oracle, and the bytes
//! must be the same; decoded by us, it must encode to the same bytes again. Equal bytes cannot tell two
//! neighbouring fields of one type apart, so the two decoded values are also compared name by name through their
//! `Debug` output: a field the oracle has and we lack fails the test unless [`BEYOND`] names it.
//!
//! **What differs on purpose.** The oracle writes null records as -1; ours are never null. A nullable string that a
//! version lacks reads as `None` here and as empty there. [`OWN`] names tagged fields that are ours alone.
//!
//! **Hostility.** Truncation anywhere, lying counts, mutated messages and plain noise must end in an error or a
//! value, and must not allocate more than [`AMPLIFICATION_MAX`] times the input. A counting allocator watches.
//!
//! Randomness is seeded; failures name message, version and seed. `CORELOG_TEST_SEED` starts elsewhere.
#![expect(
    unsafe_code,
    reason = "a counting global allocator can only be installed with unsafe"
)]
#![expect(
    elided_lifetimes_in_paths,
    reason = "one macro names messages with and without a lifetime"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use corelog::base::TopicId;
use corelog::base::stages::{Path, Stage, StageTimes};
use corelog::protocol::kafka::api::{self, ApiKey};
use corelog::protocol::kafka::errors::ErrorCode;
use corelog::protocol::kafka::header::{RequestHeader, ResponseHeader};
use corelog::protocol::kafka::messages::{self as ours, Message};
use corelog::protocol::kafka::wire::{DecodeError, ELEMENTS_MAX, Encoded, Reader, Records, Writer};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use smallvec::{Array, SmallVec};

/// Random messages per message type and version.
const CASES: u64 = 200;

/// Fields the oracle knows from versions we do not speak yet.
const BEYOND: &[&str] = &[
    "enable_2_pc",
    "high_watermark",
    "keep_prepared_txn",
    "node_endpoints",
    "ongoing_txn_producer_epoch",
    "ongoing_txn_producer_id",
    "replica_directory_id",
    "replica_state",
    "topic_id",
];

/// Fields of our own, which the oracle keeps as a tag it does not know.
const OWN: &[&str] = &["stages", "stages_layout"];

/// The tag they have.
const OWN_TAG: &str = "10000";

/// Most bytes a decode may allocate per byte of input. The worst is a DescribeConfigs response that lies at
/// three depths at once: results of 7 bytes become 64, configs of 9 become 80, synonyms of 4 become 40.
const AMPLIFICATION_MAX: usize = 36;

/// The same for requests, which is what strangers send: 48 / 4 + 16 / 1, see the test that builds it.
const REQUEST_AMPLIFICATION_MAX: usize = 28;

// ---- allocations ----------------------------------------------------------------------------------------------

struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    ALLOCATED.with(|allocated| allocated.set(allocated.get().saturating_add(bytes)));
}

// SAFETY: every call is passed on to the system allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` and returns its result with the bytes it allocated on this thread.
fn allocations<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATED.get();
    let result = work();
    (result, ALLOCATED.get() - before)
}

// ---- random messages ------------------------------------------------------------------------------------------

/// splitmix64: small, seedable, good enough to pick field values.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed ^ base_seed())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a usize fits");
        usize::try_from(self.next() % bound).expect("it is below a usize")
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next().to_le_bytes()[0])
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

fn base_seed() -> u64 {
    std::env::var("CORELOG_TEST_SEED").map_or(0, |seed| seed.parse().expect("CORELOG_TEST_SEED is a number"))
}

trait Arbitrary {
    fn arbitrary(random: &mut Random) -> Self;
}

macro_rules! arbitrary_int {
    ($($ty:ty),*) => {$(
        impl Arbitrary for $ty {
            fn arbitrary(random: &mut Random) -> Self {
                match random.below(4) {
                    // Values near the defaults, so that tagged fields are sometimes left out.
                    0 => random.pick(&[0, -1, 1, <$ty>::MIN, <$ty>::MAX]),
                    _ => <$ty>::from_be_bytes(random.bytes()),
                }
            }
        }
    )*};
}

arbitrary_int!(i8, i16, i32, i64);

impl Arbitrary for bool {
    fn arbitrary(random: &mut Random) -> Self {
        random.below(2) == 0
    }
}

impl Arbitrary for TopicId {
    fn arbitrary(random: &mut Random) -> Self {
        Self::new(random.bytes())
    }
}

impl Arbitrary for &'static str {
    fn arbitrary(random: &mut Random) -> Self {
        const LONG: &str = "a-name-that-needs-two-bytes-for-its-compact-length-because-it-is-longer-than-one-\
                            hundred-and-twenty-six-bytes-in-all-which-is-where-varints-grow";
        const { assert!(LONG.len() > 127) }
        random.pick(&[
            "",
            "a",
            "topic-1",
            "größe/数",
            "cleanup.policy",
            "127.0.0.1",
            LONG,
        ])
    }
}

impl Arbitrary for &'static [u8] {
    fn arbitrary(random: &mut Random) -> Self {
        static POOL: [u8; 400] = [0xa5; 400];
        let length = random.pick(&[0, 1, 61, 126, 127, 128, 400]);
        &POOL[..length]
    }
}

impl Arbitrary for Records<'static> {
    fn arbitrary(random: &mut Random) -> Self {
        match random.below(16) {
            0 => Self::from(vec![7; 20_000]),
            1 => Self::from(vec![vec![1; 5], vec![2; 17_000], vec![], vec![3; 9]]),
            2..6 => Self::from(vec![random.bytes::<70>().to_vec()]),
            6..10 => Self::EMPTY,
            _ => Self::from(<&'static [u8]>::arbitrary(random)),
        }
    }
}

impl Arbitrary for StageTimes {
    fn arbitrary(random: &mut Random) -> Self {
        let path = random.pick(&[Path::Durable, Path::Relaxed, Path::Read]);
        Stage::ALL.into_iter().fold(Self::new(path), |times, stage| {
            times.with_ns(stage, u32::from_le_bytes(random.bytes::<4>()).into())
        })
    }
}

impl<T: Arbitrary> Arbitrary for Option<T> {
    fn arbitrary(random: &mut Random) -> Self {
        (random.below(3) != 0).then(|| T::arbitrary(random))
    }
}

impl<T: Arbitrary> Arbitrary for Vec<T> {
    fn arbitrary(random: &mut Random) -> Self {
        (0..random.below(4)).map(|_| T::arbitrary(random)).collect()
    }
}

impl<A: Array> Arbitrary for SmallVec<A>
where
    A::Item: Arbitrary,
{
    fn arbitrary(random: &mut Random) -> Self {
        (0..random.below(4)).map(|_| A::Item::arbitrary(random)).collect()
    }
}

/// Names every field, so that a new one does not compile until it is tested.
macro_rules! arbitrary_structs {
    ($($ty:ty { $($field:ident),* $(,)? })*) => {$(
        impl Arbitrary for $ty {
            fn arbitrary(random: &mut Random) -> Self {
                $(let $field = Arbitrary::arbitrary(random);)*
                Self { $($field),* }
            }
        }
    )*};
}

arbitrary_structs! {
    ours::ApiVersionsRequest<'static> { client_software_name, client_software_version }
    ours::ApiVersionsResponse<'static> { error_code, api_keys, throttle_time_ms, supported_features, finalized_features_epoch, finalized_features, zk_migration_ready }
    ours::ApiVersion { api_key, min_version, max_version }
    ours::SupportedFeatureKey<'static> { name, min_version, max_version }
    ours::FinalizedFeatureKey<'static> { name, max_version_level, min_version_level }
    ours::CreatePartitionsRequest<'static> { topics, timeout_ms, validate_only }
    ours::CreatePartitionsTopic<'static> { name, count, assignments }
    ours::CreatePartitionsAssignment { broker_ids }
    ours::CreatePartitionsResponse<'static> { throttle_time_ms, results }
    ours::CreatePartitionsTopicResult<'static> { name, error_code, error_message }
    ours::CreateTopicsRequest<'static> { topics, timeout_ms, validate_only }
    ours::CreatableTopic<'static> { name, num_partitions, replication_factor, assignments, configs }
    ours::CreatableReplicaAssignment { partition_index, broker_ids }
    ours::CreatableTopicConfig<'static> { name, value }
    ours::CreateTopicsResponse<'static> { throttle_time_ms, topics }
    ours::CreatableTopicResult<'static> { name, topic_id, error_code, error_message, topic_config_error_code, num_partitions, replication_factor, configs }
    ours::CreatableTopicConfigs<'static> { name, value, read_only, config_source, is_sensitive }
    ours::DeleteTopicsRequest<'static> { topics, topic_names, timeout_ms }
    ours::DeleteTopicState<'static> { name, topic_id }
    ours::DeleteTopicsResponse<'static> { throttle_time_ms, responses }
    ours::DeletableTopicResult<'static> { name, topic_id, error_code, error_message }
    ours::DescribeClusterRequest { include_cluster_authorized_operations, endpoint_type, include_fenced_brokers }
    ours::DescribeClusterResponse<'static> { throttle_time_ms, error_code, error_message, endpoint_type, cluster_id, controller_id, brokers, cluster_authorized_operations }
    ours::DescribeClusterBroker<'static> { broker_id, host, port, rack, is_fenced }
    ours::DescribeConfigsRequest<'static> { resources, include_synonyms, include_documentation }
    ours::DescribeConfigsResource<'static> { resource_type, resource_name, configuration_keys }
    ours::DescribeConfigsResponse<'static> { throttle_time_ms, results }
    ours::DescribeConfigsResult<'static> { error_code, error_message, resource_type, resource_name, configs }
    ours::DescribeConfigsResourceResult<'static> { name, value, read_only, config_source, is_sensitive, synonyms, config_type, documentation }
    ours::DescribeConfigsSynonym<'static> { name, value, source }
    ours::FetchRequest<'static> { cluster_id, replica_id, max_wait_ms, min_bytes, max_bytes, isolation_level, session_id, session_epoch, topics, forgotten_topics_data, rack_id, stages_layout }
    ours::FetchTopic<'static> { topic, partitions }
    ours::FetchPartition { partition, current_leader_epoch, fetch_offset, last_fetched_epoch, log_start_offset, partition_max_bytes }
    ours::ForgottenTopic<'static> { topic, partitions }
    ours::FetchResponse<'static> { throttle_time_ms, error_code, session_id, responses, stages }
    ours::FetchableTopicResponse<'static> { topic, partitions }
    ours::PartitionData<'static> { partition_index, error_code, high_watermark, last_stable_offset, log_start_offset, diverging_epoch, current_leader, snapshot_id, aborted_transactions, preferred_read_replica, records }
    ours::EpochEndOffset { epoch, end_offset }
    ours::SnapshotId { end_offset, epoch }
    ours::AbortedTransaction { producer_id, first_offset }
    ours::FindCoordinatorRequest<'static> { key, key_type, coordinator_keys }
    ours::FindCoordinatorResponse<'static> { throttle_time_ms, error_code, error_message, node_id, host, port, coordinators }
    ours::Coordinator<'static> { key, node_id, host, port, error_code, error_message }
    ours::IncrementalAlterConfigsRequest<'static> { resources, validate_only }
    ours::AlterConfigsResource<'static> { resource_type, resource_name, configs }
    ours::AlterableConfig<'static> { name, config_operation, value }
    ours::IncrementalAlterConfigsResponse<'static> { throttle_time_ms, responses }
    ours::AlterConfigsResourceResponse<'static> { error_code, error_message, resource_type, resource_name }
    ours::InitProducerIdRequest<'static> { transactional_id, transaction_timeout_ms, producer_id, producer_epoch }
    ours::InitProducerIdResponse { throttle_time_ms, error_code, producer_id, producer_epoch }
    ours::ListOffsetsRequest<'static> { replica_id, isolation_level, topics, timeout_ms }
    ours::ListOffsetsTopic<'static> { name, partitions }
    ours::ListOffsetsPartition { partition_index, current_leader_epoch, timestamp }
    ours::ListOffsetsResponse<'static> { throttle_time_ms, topics }
    ours::ListOffsetsTopicResponse<'static> { name, partitions }
    ours::ListOffsetsPartitionResponse { partition_index, error_code, timestamp, offset, leader_epoch }
    ours::MetadataRequest<'static> { topics, allow_auto_topic_creation, include_cluster_authorized_operations, include_topic_authorized_operations }
    ours::MetadataRequestTopic<'static> { topic_id, name }
    ours::MetadataResponse<'static> { throttle_time_ms, brokers, cluster_id, controller_id, topics, cluster_authorized_operations, error_code }
    ours::MetadataResponseBroker<'static> { node_id, host, port, rack }
    ours::MetadataResponseTopic<'static> { error_code, name, topic_id, is_internal, partitions, topic_authorized_operations }
    ours::MetadataResponsePartition { error_code, partition_index, leader_id, leader_epoch, replica_nodes, isr_nodes, offline_replicas }
    ours::OffsetForLeaderEpochRequest<'static> { replica_id, topics }
    ours::OffsetForLeaderTopic<'static> { topic, partitions }
    ours::OffsetForLeaderPartition { partition, current_leader_epoch, leader_epoch }
    ours::OffsetForLeaderEpochResponse<'static> { throttle_time_ms, topics }
    ours::OffsetForLeaderTopicResult<'static> { topic, partitions }
    ours::LeaderEpochEndOffset { error_code, partition, leader_epoch, end_offset }
    ours::ProduceRequest<'static> { transactional_id, acks, timeout_ms, topic_data, stages_layout }
    ours::TopicProduceData<'static> { name, partition_data }
    ours::PartitionProduceData<'static> { index, records }
    ours::ProduceResponse<'static> { responses, throttle_time_ms, node_endpoints, stages }
    ours::TopicProduceResponse<'static> { name, partition_responses }
    ours::PartitionProduceResponse<'static> { index, error_code, base_offset, log_append_time_ms, log_start_offset, record_errors, error_message, current_leader }
    ours::BatchIndexAndErrorMessage<'static> { batch_index, batch_index_error_message }
    ours::LeaderIdAndEpoch { leader_id, leader_epoch }
    ours::NodeEndpoint<'static> { node_id, host, port, rack }
}

// ---- the two codecs --------------------------------------------------------------------------------------------

fn encode<M: Message<'static>>(message: M, version: i16) -> Encoded {
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    writer
        .finish()
        .expect("test messages are within the protocol's limits")
}

fn oracle_encode<T: Encodable>(message: &T, version: i16) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    message
        .encode(&mut bytes, version)
        .expect("the oracle encodes what it decoded");
    bytes.to_vec()
}

fn oracle_decode<T: Decodable>(bytes: &[u8], version: i16, context: &str) -> T {
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
fn leak(bytes: Vec<u8>) -> &'static [u8] {
    Box::leak(bytes.into_boxed_slice())
}

fn agrees_with_the_oracle<M, T>(name: &str)
where
    M: Message<'static> + Arbitrary + Clone + Debug + PartialEq,
    T: Encodable + Decodable + Debug,
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

            let oracle: T = oracle_decode(&bytes, version, &context);
            let mut oracle_bytes = oracle_encode(&oracle, version);
            assert_eq!(bytes, oracle_bytes, "{context}: the oracle encodes differently");

            let decoded = M::decode(leak(bytes.clone()), version)
                .unwrap_or_else(|error| panic!("{context}: we refuse our own bytes: {error}"));
            compare(&Tree::of(&decoded), &Tree::of(&oracle), &context);
            assert_eq!(
                encode(decoded.clone(), version).into_vec(),
                bytes,
                "{context}: not a round trip"
            );

            oracle_bytes.push(0);
            assert_eq!(
                M::decode(leak(oracle_bytes), version).err(),
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

// ---- comparing values by name -----------------------------------------------------------------------------------

/// What `Debug` printed, taken apart. Newtypes and `Some` are transparent.
#[derive(Debug, PartialEq)]
enum Tree {
    Struct(BTreeMap<String, Self>),
    List(Vec<Self>),
    Atom(String),
}

impl Tree {
    fn of(value: &impl Debug) -> Self {
        let text = format!("{value:?}");
        let mut rest = text.as_str();
        let tree = Self::parse(&mut rest);
        assert!(rest.is_empty(), "unparsed: {rest}");
        tree
    }

    fn parse(rest: &mut &str) -> Self {
        if eat(rest, "[") {
            let mut items = Vec::new();
            while !eat(rest, "]") {
                items.push(Self::parse(rest));
                eat(rest, ", ");
            }
            return Self::List(items);
        }
        let name_len = rest
            .find(|c: char| !c.is_alphanumeric() && !"_-:".contains(c))
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(name_len);
        *rest = after;
        if rest.starts_with('"') {
            return Self::Atom(quoted(rest));
        }
        if eat(rest, " {}") || eat(rest, "{}") {
            return Self::Struct(BTreeMap::new());
        }
        if eat(rest, " { ") {
            let mut fields = BTreeMap::new();
            while !eat(rest, " }") {
                let colon = rest.find(": ").expect("a field has a name");
                let field = rest[..colon].to_owned();
                *rest = &rest[colon + 2..];
                fields.insert(field, Self::parse(rest));
                eat(rest, ", ");
            }
            return Self::Struct(fields);
        }
        // A map: its keys print without quotes here.
        if eat(rest, "{") {
            let mut entries = BTreeMap::new();
            while !eat(rest, "}") {
                let colon = rest.find(": ").expect("an entry has a key");
                let key = rest[..colon].to_owned();
                *rest = &rest[colon + 2..];
                entries.insert(key, Self::parse(rest));
                eat(rest, ", ");
            }
            return Self::Struct(entries);
        }
        if eat(rest, "(") {
            let inside = Self::parse(rest);
            assert!(eat(rest, ")"), "unclosed: {rest}");
            return inside;
        }
        assert!(!name.is_empty(), "unparsed: {rest}");
        Self::Atom(name.to_owned())
    }

    /// Null and empty look alike here; the comparison of bytes tells them apart where it matters.
    fn is_nothing(&self) -> bool {
        match self {
            Self::Atom(atom) => atom == "None" || atom == "\"\"",
            Self::List(items) => items.is_empty(),
            Self::Struct(_) => false,
        }
    }
}

fn eat(rest: &mut &str, token: &str) -> bool {
    rest.strip_prefix(token).map(|after| *rest = after).is_some()
}

fn quoted(rest: &mut &str) -> String {
    let mut escaped = true;
    let end = rest
        .char_indices()
        .find(|&(_, c)| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })
        .map(|(index, _)| index + 1)
        .expect("a string ends");
    let (string, after) = rest.split_at(end);
    *rest = after;
    string.to_owned()
}

fn compare(ours: &Tree, theirs: &Tree, path: &str) {
    match (ours, theirs) {
        (Tree::Struct(ours), Tree::Struct(theirs)) => {
            for (name, value) in ours {
                // Record bytes print differently; the comparison of bytes covers them.
                if name != "records" && !OWN.contains(&name.as_str()) {
                    let their_value = theirs
                        .get(name)
                        .unwrap_or_else(|| panic!("{path}: no {name} there"));
                    compare(value, their_value, &format!("{path}.{name}"));
                }
            }
            for (name, value) in theirs.iter().filter(|(name, _)| !ours.contains_key(*name)) {
                let beyond = BEYOND.contains(&name.as_str());
                let may_own = OWN.iter().any(|own| ours.contains_key(*own));
                let tags_are_ours = name == "unknown_tagged_fields"
                    && matches!(value, Tree::Struct(tags) if tags.keys().all(|tag| may_own && tag == OWN_TAG));
                assert!(
                    beyond || tags_are_ours,
                    "{path}.{name}: missing here, there {value:?}"
                );
            }
        }
        (Tree::List(ours), Tree::List(theirs)) => {
            assert_eq!(ours.len(), theirs.len(), "{path}");
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                compare(ours, theirs, &format!("{path}[{index}]"));
            }
        }
        (ours, theirs) if ours.is_nothing() && theirs.is_nothing() => {}
        (ours, theirs) => assert_eq!(ours, theirs, "{path}"),
    }
}

// ---- every message ----------------------------------------------------------------------------------------------

struct Decoder {
    name: &'static str,
    api: ApiKey,
    accepts: fn(&[u8], i16) -> bool,
    example: fn(&mut Random, i16) -> Vec<u8>,
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

        const DECODERS: &[Decoder] = &[$(Decoder {
            name: stringify!($name),
            api: <ours::$name as Message>::API,
            accepts: |bytes, version| ours::$name::decode(bytes, version).is_ok(),
            example: |random, version| encode(ours::$name::arbitrary(random), version).into_vec(),
        }),*];
    };
}

messages! {
    api_versions_request: ApiVersionsRequest;
    api_versions_response: ApiVersionsResponse;
    create_partitions_request: CreatePartitionsRequest;
    create_partitions_response: CreatePartitionsResponse;
    create_topics_request: CreateTopicsRequest;
    create_topics_response: CreateTopicsResponse;
    delete_topics_request: DeleteTopicsRequest;
    delete_topics_response: DeleteTopicsResponse;
    describe_cluster_request: DescribeClusterRequest;
    describe_cluster_response: DescribeClusterResponse;
    describe_configs_request: DescribeConfigsRequest;
    describe_configs_response: DescribeConfigsResponse;
    fetch_request: FetchRequest;
    fetch_response: FetchResponse;
    find_coordinator_request: FindCoordinatorRequest;
    find_coordinator_response: FindCoordinatorResponse;
    incremental_alter_configs_request: IncrementalAlterConfigsRequest;
    incremental_alter_configs_response: IncrementalAlterConfigsResponse;
    init_producer_id_request: InitProducerIdRequest;
    init_producer_id_response: InitProducerIdResponse;
    list_offsets_request: ListOffsetsRequest;
    list_offsets_response: ListOffsetsResponse;
    metadata_request: MetadataRequest;
    metadata_response: MetadataResponse;
    offset_for_leader_epoch_request: OffsetForLeaderEpochRequest;
    offset_for_leader_epoch_response: OffsetForLeaderEpochResponse;
    produce_request: ProduceRequest;
    produce_response: ProduceResponse;
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

// ---- tables ------------------------------------------------------------------------------------------------------

#[test]
fn keys_versions_and_headers_are_the_oracles() {
    for &api in api::ADVERTISED {
        let oracle = theirs::ApiKey::try_from(api.key()).unwrap();
        assert_eq!(format!("{oracle:?}"), format!("{api:?}"));
        let (ours, theirs) = (api.versions(), oracle.valid_versions());
        assert_eq!(ours.min, theirs.min, "{api:?}");
        assert!(ours.max <= theirs.max, "{api:?}");
        for version in ours.min..=ours.max {
            let flexible = api.is_flexible(version);
            assert_eq!(
                oracle.request_header_version(version),
                1 + i16::from(flexible),
                "{api:?} v{version}"
            );
            let tags = flexible && api != ApiKey::ApiVersions;
            assert_eq!(
                oracle.response_header_version(version),
                i16::from(tags),
                "{api:?} v{version}"
            );
        }
    }
}

#[test]
fn headers_agree_with_the_oracle() {
    for &api in api::ADVERTISED {
        for version in api.versions().min..=api.versions().max {
            let oracle_api = theirs::ApiKey::try_from(api.key()).unwrap();
            for client_id in [None, Some(""), Some("tail-and-ship")] {
                let header = RequestHeader {
                    api_key: api.key(),
                    api_version: version,
                    correlation_id: 77,
                    client_id,
                };
                let mut writer = Writer::new();
                header.encode(&mut writer);
                let bytes = writer.finish().unwrap().into_vec();
                let header_version = oracle_api.request_header_version(version);
                let oracle: theirs::RequestHeader = oracle_decode(&bytes, header_version, "request header");
                assert_eq!(oracle.request_api_key, header.api_key);
                assert_eq!(oracle.request_api_version, header.api_version);
                assert_eq!(oracle.correlation_id, header.correlation_id);
                assert_eq!(oracle.client_id.as_deref(), client_id);
                assert_eq!(oracle_encode(&oracle, header_version), bytes);
                assert_eq!(RequestHeader::decode(&mut Reader::new(&bytes)), Ok(header));
            }
            let header = ResponseHeader { correlation_id: -3 };
            let mut writer = Writer::new();
            header.encode(&mut writer, api, version);
            let bytes = writer.finish().unwrap().into_vec();
            let oracle: theirs::ResponseHeader = oracle_decode(
                &bytes,
                oracle_api.response_header_version(version),
                "response header",
            );
            assert_eq!(oracle.correlation_id, header.correlation_id);
            assert_eq!(
                ResponseHeader::decode(&mut Reader::new(&bytes), api, version),
                Ok(header)
            );
        }
    }
}

#[test]
fn error_codes_are_the_oracles() {
    use kafka_protocol::ResponseError;
    for &error in ErrorCode::ALL {
        match ResponseError::try_from_code(error.code()) {
            None => assert_eq!(error, ErrorCode::None),
            Some(oracle) => {
                assert_eq!(format!("{oracle:?}"), format!("{error:?}"));
                assert_eq!(oracle.is_retriable(), error.is_retriable(), "{error:?}");
            }
        }
    }
}

// ---- differences on purpose -------------------------------------------------------------------------------------

#[test]
fn null_records_are_read_but_never_written() {
    let partition = theirs::fetch_response::PartitionData::default().with_records(None);
    let topic = theirs::fetch_response::FetchableTopicResponse::default().with_partitions(vec![partition]);
    let oracle = theirs::FetchResponse::default().with_responses(vec![topic]);
    for version in 4..=12 {
        let bytes = leak(oracle_encode(&oracle, version));
        let response = ours::FetchResponse::decode(bytes, version).unwrap();
        assert!(response.responses[0].partitions[0].records.is_empty());
        let written: theirs::FetchResponse =
            oracle_decode(&encode(response, version).into_vec(), version, "fetch");
        assert_eq!(
            written.responses[0].partitions[0].records,
            Some(Bytes::new()),
            "v{version}"
        );
    }
}

#[test]
fn unknown_tags_are_skipped_wherever_they_stand() {
    let tag = |tag| (tag, Bytes::from_static(b"from the future"));
    let topic = theirs::metadata_request::MetadataRequestTopic::default()
        .with_unknown_tagged_fields([tag(0), tag(9_999)].into());
    let oracle = theirs::MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_unknown_tagged_fields([tag(3)].into());
    for version in 9..=13 {
        let bytes = oracle_encode(&oracle, version);
        let request = ours::MetadataRequest::decode(&bytes, version).unwrap();
        let topics = request.topics.unwrap();
        assert_eq!(
            topics,
            [ours::MetadataRequestTopic {
                name: Some(""),
                ..Default::default()
            }]
        );
    }
}

#[test]
fn a_field_the_version_lacks_is_left_out() {
    let request = ours::MetadataRequest {
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let bytes = leak(encode(request, 3).into_vec());
    assert!(
        ours::MetadataRequest::decode(bytes, 3)
            .unwrap()
            .allow_auto_topic_creation
    );
}

#[test]
fn an_unsupported_version_is_refused_in_both_directions() {
    for decoder in DECODERS {
        let versions = decoder.api.versions();
        for version in [i16::MIN, versions.min - 1, versions.max + 1, i16::MAX] {
            assert!(
                !(decoder.accepts)(&[0; 64], version),
                "{} v{version}",
                decoder.name
            );
        }
    }
    let mut writer = Writer::new();
    ours::MetadataRequest::default().encode(&mut writer, 99);
    assert!(writer.finish().is_err());
}

// ---- hostile bytes ----------------------------------------------------------------------------------------------

/// Decodes under the allocation watch; the input decides the bound.
fn decode_watched(decoder: &Decoder, bytes: &[u8], version: i16, context: &str) -> bool {
    let (accepted, allocated) = allocations(|| (decoder.accepts)(bytes, version));
    let factor = if decoder.name.ends_with("Request") {
        REQUEST_AMPLIFICATION_MAX
    } else {
        AMPLIFICATION_MAX
    };
    assert!(
        allocated <= factor * bytes.len(),
        "{context}: {} v{version} allocated {allocated} bytes for {} bytes: {bytes:02x?}",
        decoder.name,
        bytes.len()
    );
    accepted
}

#[test]
fn a_metadata_request_for_two_billion_topics_costs_nothing() {
    for (version, claim) in [
        (0, &[0x7f, 0xff, 0xff, 0xff][..]),
        (8, &[0x7f, 0xff, 0xff, 0xff, 1, 0, 0]),
        (9, &[0xff, 0xff, 0xff, 0xff, 0x0f, 1, 0, 0, 0]),
        (13, &[0xff, 0xff, 0xff, 0xff, 0x07, 1, 0, 0]),
    ] {
        let (result, allocated) = allocations(|| ours::MetadataRequest::decode(claim, version));
        assert!(
            matches!(result, Err(DecodeError::InvalidCount { .. })),
            "v{version}: {result:?}"
        );
        assert_eq!(allocated, 0, "v{version}");
    }
}

#[test]
fn a_frame_full_of_empty_topics_stops_at_the_element_budget() {
    let count = i32::try_from(ELEMENTS_MAX + 1).unwrap();
    let mut frame = count.to_be_bytes().to_vec();
    frame.resize(4 + 2 * (ELEMENTS_MAX + 1), 0);
    let (result, allocated) = allocations(|| ours::MetadataRequest::decode(&frame, 0));
    assert!(
        matches!(result, Err(DecodeError::TooManyElements { .. })),
        "{result:?}"
    );
    assert_eq!(allocated, 0);
}

#[test]
fn the_most_expensive_request_stays_within_its_bound() {
    // 4-byte resources for the whole frame are claimed; the first of them claims 1-byte keys for the rest.
    const FRAME: usize = 40_000;
    let mut writer = Writer::new();
    writer.uvarint(u32::try_from(FRAME / 4 - 1).unwrap());
    writer.i8(2);
    writer.uvarint(1);
    writer.uvarint(u32::try_from(FRAME - 20).unwrap());
    let mut frame = writer.finish().unwrap().into_vec();
    frame.resize(FRAME, 0);
    let (result, allocated) = allocations(|| ours::DescribeConfigsRequest::decode(&frame, 4));
    assert_eq!(
        result,
        Err(DecodeError::UnexpectedNull),
        "both claims were believed"
    );
    assert!(allocated > 27 * FRAME, "{allocated}: the bound could be lowered");
    assert!(allocated <= REQUEST_AMPLIFICATION_MAX * FRAME, "{allocated}");
}

#[test]
fn lying_lengths_anywhere_are_survived() {
    const LIES: &[&[u8]] = &[
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x80, 0x00, 0x00, 0x00],
        &[0xff, 0xff, 0xff, 0xfe],
        &[0x7f, 0xff],
        &[0x80, 0x00],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x80],
        &[0x00],
    ];
    for decoder in DECODERS {
        let versions = decoder.api.versions();
        for version in versions.min..=versions.max {
            let mut random = Random::new(11);
            let mut message = (decoder.example)(&mut random, version);
            message.truncate(600);
            for place in 0..message.len() {
                for lie in LIES {
                    let mut bytes = message.clone();
                    for (byte, lie) in bytes[place..].iter_mut().zip(*lie) {
                        *byte = *lie;
                    }
                    decode_watched(decoder, &bytes, version, "lie");
                }
            }
        }
    }
}

#[test]
fn noise_and_mutations_are_survived() {
    const ITERATIONS: u64 = 100_000;
    let mut random = Random::new(0x5eed);
    let mut accepted = 0_u32;
    for iteration in 0..ITERATIONS {
        let decoder = &DECODERS[random.below(DECODERS.len())];
        let versions = decoder.api.versions();
        let span = usize::try_from(versions.max - versions.min).unwrap() + 1;
        let version = versions.min + i16::try_from(random.below(span)).unwrap();
        let mut bytes = if random.below(2) == 0 {
            (0..random.below(200))
                .map(|_| random.bytes::<1>()[0] & random.pick(&[0xff, 0x07, 0x01]))
                .collect()
        } else {
            let mut bytes = (decoder.example)(&mut random, version);
            bytes.truncate(2_000);
            bytes
        };
        for _ in 0..random.below(4) {
            if !bytes.is_empty() {
                let place = random.below(bytes.len());
                bytes[place] = random.bytes::<1>()[0];
            }
        }
        let context = format!("iteration {iteration} of seed {}", base_seed());
        accepted += u32::from(decode_watched(decoder, &bytes, version, &context));
    }
    // Noise that is never accepted would mean that the decoders were hardly entered.
    assert!(accepted > 1_000, "only {accepted} accepted");
}

#[test]
fn noise_in_headers_is_survived() {
    let mut random = Random::new(0x4ead);
    for _ in 0..100_000 {
        let key = random.pick(&[0, 1, 3, 18, 60, 7]);
        let mut bytes = vec![0, key, 0, random.bytes::<1>()[0] & 0x0f, 0, 0, 0, 1];
        let length = random.below(24);
        bytes.extend((0..length).map(|_| random.bytes::<1>()[0] & random.pick(&[0xff, 0x03])));
        let (_, allocated) = allocations(|| RequestHeader::decode(&mut Reader::new(&bytes)).is_ok());
        assert_eq!(allocated, 0);
    }
}

#[test]
fn a_produce_request_of_one_partition_decodes_without_allocating() {
    let partition = ours::PartitionProduceData {
        index: 3,
        records: Some(&[7; 500]),
    };
    let topic = ours::TopicProduceData {
        name: "logs",
        partition_data: SmallVec::from_iter([partition]),
    };
    let request = ours::ProduceRequest {
        acks: -1,
        topic_data: SmallVec::from_iter([topic]),
        ..Default::default()
    };
    for version in 3..=11 {
        let bytes = leak(encode(request.clone(), version).into_vec());
        let (decoded, allocated) = allocations(|| ours::ProduceRequest::decode(bytes, version));
        assert_eq!(decoded.as_ref(), Ok(&request));
        assert_eq!(allocated, 0, "v{version}");
    }
}
