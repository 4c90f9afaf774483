//! The smallest Kafka client that can load a broker: requests encoded beforehand, sent over a blocking socket.

use corelog::protocol::kafka::api::ApiKey;
use corelog::protocol::kafka::header::{RequestHeader, ResponseHeader};
use corelog::protocol::kafka::messages::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse, Message, PartitionProduceData, ProduceRequest,
    ProduceResponse, TopicProduceData,
};
use corelog::protocol::kafka::wire::{Reader, Writer};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Version 9 is the first flexible Produce, what current clients send at least.
const PRODUCE_VERSION: i16 = 9;
const CREATE_VERSION: i16 = 5;
/// Creating thousands of partitions makes as many directories.
const PATIENCE: Duration = Duration::from_secs(120);

/// A request with its size in front.
pub(crate) fn encode<'a, M: Message<'a>>(message: M, version: i16) -> Vec<u8> {
    let mut writer = Writer::framed();
    RequestHeader {
        api_key: M::API.key(),
        api_version: version,
        correlation_id: 7,
        client_id: Some("figures"),
    }
    .encode(&mut writer);
    message.encode(&mut writer, version);
    writer.finish().expect("a request").into_vec()
}

/// A Produce of the same batch to partitions `0..partitions`.
pub(crate) fn produce(topic: &str, partitions: u32, batch: &[u8]) -> Vec<u8> {
    let data = (0..partitions).map(|index| PartitionProduceData {
        index: i32::try_from(index).expect("few partitions"),
        records: Some(batch),
    });
    let request = ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 30_000,
        topic_data: [TopicProduceData {
            name: topic,
            partition_data: data.collect(),
            ..TopicProduceData::default()
        }]
        .into_iter()
        .collect(),
        ..ProduceRequest::default()
    };
    encode(request, PRODUCE_VERSION)
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        Self(stream)
    }

    /// The same connection for another thread.
    pub(crate) fn share(&self) -> Self {
        Self(self.0.try_clone().expect("a second handle"))
    }

    pub(crate) fn send(&mut self, request: &[u8]) {
        self.0.write_all(request).expect("the broker reads");
    }

    /// Reads one answer into `buffer`, its size left out.
    pub(crate) fn receive(&mut self, buffer: &mut Vec<u8>) {
        let mut size = [0; 4];
        self.0.read_exact(&mut size).expect("an answer");
        let size = usize::try_from(i32::from_be_bytes(size)).expect("a size");
        buffer.resize(size, 0);
        self.0.read_exact(buffer).expect("a whole answer");
    }

    /// Creates topics and waits until they are there.
    pub(crate) fn create(&mut self, names: &[String], partitions: u32) {
        let topics = names.iter().map(|name| CreatableTopic {
            name,
            num_partitions: i32::try_from(partitions).expect("a Kafka count"),
            replication_factor: 1,
            assignments: Vec::new(),
            configs: Vec::new(),
        });
        let request = CreateTopicsRequest {
            topics: topics.collect(),
            timeout_ms: 60_000,
            validate_only: false,
        };
        self.send(&encode(request, CREATE_VERSION));
        let mut answer = Vec::new();
        self.receive(&mut answer);
        let created: CreateTopicsResponse<'_> = decode(&answer, CREATE_VERSION);
        for topic in &created.topics {
            assert_eq!(topic.error_code, 0, "{topic:?}");
        }
    }
}

/// Panics unless every partition of a Produce was acked.
pub(crate) fn assert_acked(answer: &[u8]) {
    let response: ProduceResponse<'_> = decode(answer, PRODUCE_VERSION);
    let partitions = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    for partition in partitions {
        assert_eq!(partition.error_code, 0, "{partition:?}");
    }
}

fn decode<'a, M: Message<'a>>(answer: &'a [u8], version: i16) -> M {
    let mut reader = Reader::new(answer);
    let api: ApiKey = M::API;
    ResponseHeader::decode(&mut reader, api, version).expect("a header");
    M::decode_from(&mut reader, version).expect("an answer")
}
