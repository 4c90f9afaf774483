//! A scripted broker for tests: real sockets, logs in memory, and faults on demand.
//!
//! It speaks through the same codec as everybody else, which the codec's own tests hold against an independent
//! one. A fault that was asked for strikes the next request that is not ApiVersions. Each connection has a thread,
//! which ends with its connection.
#![expect(
    clippy::disallowed_types,
    reason = "the threads of this test double share their logs"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::base::{LeaderEpoch, Offset, Timestamp};
use crate::batch::kafka::{Records, patch};
use crate::batch::{Compression, KafkaBatch, KafkaBatchBuilder, RecordHeader};
use crate::protocol::kafka::api::{ADVERTISED, ApiKey};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::header::{RequestHeader, ResponseHeader};
use crate::protocol::kafka::messages::*;
use crate::protocol::kafka::wire::{Reader, Records as WireRecords, Writer};

use super::{Client, Patience};

/// What goes wrong with the next request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The connection is closed instead of an answer.
    Hangup,
    /// The request is carried out and the connection closed instead of an answer.
    LoseAnswer,
    /// The answer's body is noise.
    Garbage,
    /// The answer claims to be 2 GiB long.
    Giant,
    /// The answer is for another request.
    WrongCorrelation,
    /// Every partition of a produce request is refused.
    Refuse(ErrorCode),
    /// The broker does nothing for so long, for nobody.
    Stall(Duration),
}

/// The broker, as a test holds it.
pub(crate) struct Peer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    port: u16,
    topics: BTreeMap<String, Vec<Log>>,
    faults: VecDeque<Fault>,
    producers: i64,
    duplicates: usize,
}

#[derive(Clone, Default)]
struct Log {
    batches: Vec<Vec<u8>>,
    sequences: Vec<i32>,
    seen: BTreeSet<(i64, i32)>,
}

impl Peer {
    /// Listens on a free port of the loopback.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            port: address.port(),
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), Arc::clone(&shared));
                spawn(move || drop(serve(stream, &state)));
            }
        });
        Self { address, state }
    }

    /// A client of this broker that does not dawdle.
    pub(crate) fn client(&self) -> Client {
        let patience = Patience {
            pause: Duration::ZERO,
            retries: 5,
            ..Patience::default()
        };
        Client::new(&[self.address.to_string()], patience).unwrap()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Strikes the next request, after the faults asked for before.
    pub(crate) fn fail_next(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    /// Faults that have not struck yet.
    pub(crate) fn faults_left(&self) -> usize {
        self.state().faults.len()
    }

    /// Creates a topic.
    pub(crate) fn create(&self, topic: &str, partitions: usize) {
        self.state()
            .topics
            .insert(topic.to_owned(), vec![Log::default(); partitions]);
    }

    /// Appends one batch.
    pub(crate) fn append(&self, topic: &str, partition: usize, values: &[&str], timestamp: i64) {
        let mut builder = KafkaBatchBuilder::new();
        let headers = [RecordHeader::new("h", b"1")];
        for value in values {
            builder.push(
                Some(b"k"),
                Some(value.as_bytes()),
                Timestamp::new(timestamp),
                headers,
            );
        }
        let batch = builder.build(Compression::Zstd, None).unwrap();
        self.state().topics.get_mut(topic).unwrap()[partition].append(batch);
    }

    /// Damages the first batch.
    pub(crate) fn flip_a_bit(&self, topic: &str, partition: usize) {
        let mut state = self.state();
        let batch = &mut state.topics.get_mut(topic).unwrap()[partition].batches[0];
        *batch.last_mut().unwrap() ^= 1;
    }

    /// Every value of a partition, in order.
    pub(crate) fn values(&self, topic: &str, partition: i32) -> Vec<String> {
        let state = self.state();
        let batches = &state.topics[topic][usize::try_from(partition).unwrap()].batches;
        let mut values = Vec::new();
        for batch in batches {
            let batch = KafkaBatch::parse(batch).unwrap();
            let section = batch.uncompressed(1 << 30).unwrap();
            let count = u32::try_from(batch.record_count()).unwrap();
            for record in Records::new(&section, count) {
                values.push(String::from_utf8_lossy(record.unwrap().value.unwrap()).into_owned());
            }
        }
        values
    }

    /// Base sequences of the batches of a partition, in order.
    pub(crate) fn sequences(&self, topic: &str, partition: i32) -> Vec<i32> {
        self.state().topics[topic][usize::try_from(partition).unwrap()]
            .sequences
            .clone()
    }

    /// Batches that were sent again and not written again.
    pub(crate) fn duplicates(&self) -> usize {
        self.state().duplicates
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

#[expect(clippy::disallowed_methods, reason = "a test double needs no core of its own")]
fn spawn(work: impl FnOnce() + Send + 'static) {
    drop(std::thread::spawn(work));
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    loop {
        let mut size = [0; 4];
        stream.read_exact(&mut size)?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
        stream.read_exact(&mut frame)?;
        let mut reader = Reader::new(&frame);
        let header = RequestHeader::decode(&mut reader).unwrap();
        let (api, version) = (header.api().unwrap(), header.api_version);
        let body = reader.rest();
        let mut state = state.lock().unwrap();
        let fault = if api == ApiKey::ApiVersions {
            None
        } else {
            state.faults.pop_front()
        };
        if matches!(fault, Some(Fault::Hangup)) {
            return Ok(());
        }
        if let Some(Fault::Stall(duration)) = fault {
            // With the state locked: every connection stands still.
            crate::runtime::clock::block_for(duration);
        }
        let mut writer = Writer::framed();
        let skew = i32::from(matches!(fault, Some(Fault::WrongCorrelation)));
        ResponseHeader {
            correlation_id: header.correlation_id + skew,
        }
        .encode(&mut writer, api, version);
        if matches!(fault, Some(Fault::Garbage)) {
            writer.raw(&[0xff; 32]);
        } else {
            state.answer(api, version, body, fault, &mut writer);
        }
        drop(state);
        if api == ApiKey::Produce && ProduceRequest::decode(body, version).is_ok_and(|one| one.acks == 0) {
            continue;
        }
        match fault {
            Some(Fault::LoseAnswer) => return Ok(()),
            Some(Fault::Giant) => stream.write_all(&i32::MAX.to_be_bytes())?,
            _ => stream.write_all(&writer.finish().unwrap().into_vec())?,
        }
    }
}

impl State {
    fn answer(&mut self, api: ApiKey, version: i16, body: &[u8], fault: Option<Fault>, writer: &mut Writer) {
        match api {
            ApiKey::ApiVersions => versions().encode(writer, version),
            ApiKey::Metadata => {
                self.metadata(&MetadataRequest::decode(body, version).unwrap())
                    .encode(writer, version);
            }
            ApiKey::CreateTopics => {
                self.create(&CreateTopicsRequest::decode(body, version).unwrap())
                    .encode(writer, version);
            }
            ApiKey::DeleteTopics => {
                self.delete(&DeleteTopicsRequest::decode(body, version).unwrap())
                    .encode(writer, version);
            }
            ApiKey::CreatePartitions => {
                self.grow(&CreatePartitionsRequest::decode(body, version).unwrap())
                    .encode(writer, version);
            }
            ApiKey::DescribeConfigs => {
                configs(&DescribeConfigsRequest::decode(body, version).unwrap()).encode(writer, version);
            }
            ApiKey::InitProducerId => {
                self.producers += 1;
                let answer = InitProducerIdResponse {
                    producer_id: self.producers,
                    ..Default::default()
                };
                answer.encode(writer, version);
            }
            ApiKey::Produce => {
                self.produce(&ProduceRequest::decode(body, version).unwrap(), fault)
                    .encode(writer, version);
            }
            ApiKey::ListOffsets => {
                self.offsets(&ListOffsetsRequest::decode(body, version).unwrap())
                    .encode(writer, version);
            }
            ApiKey::Fetch => self
                .fetch(&FetchRequest::decode(body, version).unwrap())
                .encode(writer, version),
            other => panic!("no test needs {other:?}"),
        }
    }

    fn metadata<'a>(&mut self, request: &MetadataRequest<'a>) -> MetadataResponse<'a> {
        for topic in request.topics.iter().flatten() {
            if request.allow_auto_topic_creation {
                self.topics
                    .entry(topic.name.unwrap().to_owned())
                    .or_insert_with(|| vec![Log::default()]);
            }
        }
        // Tests that list all topics have none; names of the request are all that is ever answered.
        let topics = request
            .topics
            .iter()
            .flatten()
            .map(|topic| self.describe(topic.name.unwrap()));
        let broker = MetadataResponseBroker {
            node_id: NODE,
            host: "127.0.0.1",
            port: i32::from(self.port),
            rack: None,
        };
        MetadataResponse {
            brokers: vec![broker],
            topics: topics.collect(),
            ..Default::default()
        }
    }

    fn describe<'a>(&self, name: &'a str) -> MetadataResponseTopic<'a> {
        let Some(logs) = self.topics.get(name) else {
            let error_code = ErrorCode::UnknownTopicOrPartition.code();
            return MetadataResponseTopic {
                name: Some(name),
                error_code,
                ..Default::default()
            };
        };
        let partitions = (0..)
            .zip(logs)
            .map(|(partition_index, _)| MetadataResponsePartition {
                partition_index,
                leader_id: NODE,
                replica_nodes: vec![NODE],
                isr_nodes: vec![NODE],
                ..Default::default()
            });
        MetadataResponseTopic {
            name: Some(name),
            partitions: partitions.collect(),
            ..Default::default()
        }
    }

    fn create<'a>(&mut self, request: &CreateTopicsRequest<'a>) -> CreateTopicsResponse<'a> {
        let topics = request.topics.iter().map(|topic| {
            let partitions = usize::try_from(topic.num_partitions).unwrap_or(1);
            let exists = self.topics.contains_key(topic.name);
            if !exists {
                self.topics
                    .insert(topic.name.to_owned(), vec![Log::default(); partitions]);
            }
            let code = if exists {
                ErrorCode::TopicAlreadyExists
            } else {
                ErrorCode::None
            };
            CreatableTopicResult {
                name: topic.name,
                error_code: code.code(),
                ..Default::default()
            }
        });
        CreateTopicsResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }

    fn delete<'a>(&mut self, request: &DeleteTopicsRequest<'a>) -> DeleteTopicsResponse<'a> {
        let responses = request.topics.iter().map(|topic| {
            let gone = self.topics.remove(topic.name.unwrap());
            let code = if gone.is_some() {
                ErrorCode::None
            } else {
                ErrorCode::UnknownTopicOrPartition
            };
            DeletableTopicResult {
                name: topic.name,
                error_code: code.code(),
                ..Default::default()
            }
        });
        DeleteTopicsResponse {
            responses: responses.collect(),
            ..Default::default()
        }
    }

    fn grow<'a>(&mut self, request: &CreatePartitionsRequest<'a>) -> CreatePartitionsResponse<'a> {
        let results = request.topics.iter().map(|topic| {
            let logs = self.topics.get_mut(topic.name).unwrap();
            logs.resize(usize::try_from(topic.count).unwrap(), Log::default());
            CreatePartitionsTopicResult {
                name: topic.name,
                ..Default::default()
            }
        });
        CreatePartitionsResponse {
            results: results.collect(),
            ..Default::default()
        }
    }

    fn produce<'a>(&mut self, request: &ProduceRequest<'a>, fault: Option<Fault>) -> ProduceResponse<'a> {
        let mut responses = Vec::new();
        for topic in &request.topic_data {
            let mut outcomes = Vec::new();
            for data in &topic.partition_data {
                let written = match fault {
                    Some(Fault::Refuse(code)) => Err(code),
                    _ => self.write(topic.name, data),
                };
                let outcome = PartitionProduceResponse {
                    index: data.index,
                    error_code: written.err().unwrap_or(ErrorCode::None).code(),
                    base_offset: written.unwrap_or(-1),
                    ..Default::default()
                };
                outcomes.push(outcome);
            }
            responses.push(TopicProduceResponse {
                name: topic.name,
                partition_responses: outcomes,
                ..Default::default()
            });
        }
        ProduceResponse {
            responses,
            ..Default::default()
        }
    }

    /// Appends a batch; its first offset.
    fn write(&mut self, topic: &str, data: &PartitionProduceData<'_>) -> Result<i64, ErrorCode> {
        let log = &mut self.topics.get_mut(topic).unwrap()[usize::try_from(data.index).unwrap()];
        let bytes = data.records.unwrap();
        let batch = KafkaBatch::parse(bytes).unwrap();
        batch.verify_crc().unwrap();
        batch.check_produced().unwrap();
        if let Some(producer) = batch.producer() {
            if !log.seen.insert((producer.id.get(), producer.base_sequence)) {
                self.duplicates += 1;
                return Err(ErrorCode::DuplicateSequenceNumber);
            }
            log.sequences.push(producer.base_sequence);
        }
        let base = log.end();
        log.append(bytes.to_vec());
        Ok(base)
    }

    fn offsets<'a>(&self, request: &ListOffsetsRequest<'a>) -> ListOffsetsResponse<'a> {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let log = &self.topics[topic.name][usize::try_from(asked.partition_index).unwrap()];
                ListOffsetsPartitionResponse {
                    partition_index: asked.partition_index,
                    offset: log.offset_at(asked.timestamp),
                    ..Default::default()
                }
            });
            ListOffsetsTopicResponse {
                name: topic.name,
                partitions: partitions.collect(),
            }
        });
        ListOffsetsResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }

    fn fetch<'a>(&self, request: &FetchRequest<'a>) -> FetchResponse<'a> {
        let responses = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let log = &self.topics[topic.topic][usize::try_from(asked.partition).unwrap()];
                log.read(asked.partition, asked.fetch_offset)
            });
            FetchableTopicResponse {
                topic: topic.topic,
                partitions: partitions.collect(),
                ..Default::default()
            }
        });
        FetchResponse {
            responses: responses.collect(),
            ..Default::default()
        }
    }
}

impl Log {
    fn append(&mut self, mut batch: Vec<u8>) {
        let base = u64::try_from(self.end()).unwrap();
        patch(&mut batch, Offset::new(base), LeaderEpoch::new(0));
        self.batches.push(batch);
    }

    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| end_of(batch))
    }

    fn offset_at(&self, timestamp: i64) -> i64 {
        match timestamp {
            TIMESTAMP_EARLIEST => 0,
            TIMESTAMP_LATEST => self.end(),
            millis => self
                .batches
                .iter()
                .map(|batch| KafkaBatch::parse(batch).unwrap())
                .find(|batch| batch.max_timestamp().get() >= millis)
                .map_or(-1, |batch| batch.base_offset()),
        }
    }

    fn read(&self, partition_index: i32, offset: i64) -> PartitionData<'static> {
        if offset < 0 || offset > self.end() {
            let error_code = ErrorCode::OffsetOutOfRange.code();
            return PartitionData {
                partition_index,
                error_code,
                high_watermark: -1,
                ..Default::default()
            };
        }
        let batches = self.batches.iter().filter(|batch| end_of(batch) > offset);
        let records: Vec<u8> = batches.flatten().copied().collect();
        PartitionData {
            partition_index,
            high_watermark: self.end(),
            records: WireRecords::from(records),
            ..Default::default()
        }
    }
}

fn end_of(batch: &[u8]) -> i64 {
    let batch = KafkaBatch::parse(batch).unwrap();
    batch.base_offset() + i64::from(batch.last_offset_delta()) + 1
}

fn versions() -> ApiVersionsResponse<'static> {
    let api_keys = ADVERTISED.iter().map(|api| ApiVersion {
        api_key: api.key(),
        min_version: api.advertised().min,
        max_version: api.advertised().max,
    });
    ApiVersionsResponse {
        api_keys: api_keys.collect(),
        ..Default::default()
    }
}

fn configs<'a>(request: &DescribeConfigsRequest<'a>) -> DescribeConfigsResponse<'a> {
    let results = request.resources.iter().map(|resource| DescribeConfigsResult {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        configs: vec![DescribeConfigsResourceResult {
            name: "retention.ms",
            value: Some("604800000"),
            config_source: SOURCE_DEFAULT,
            ..Default::default()
        }],
        ..Default::default()
    });
    DescribeConfigsResponse {
        results: results.collect(),
        ..Default::default()
    }
}

const NODE: i32 = 7;
