//! One connection, any request, any version; answers live as long as the test.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use corelog::base::{ProducerEpoch, ProducerId, Timestamp, TopicId};
use corelog::batch::kafka::KafkaBatchBuilder;
use corelog::batch::{Compression, ProducerInfo};
use corelog::protocol::kafka::header::{RequestHeader, ResponseHeader};
use corelog::protocol::kafka::messages::{
    CreatableTopic, CreateTopicsRequest, DeleteTopicState, DeleteTopicsRequest, Message,
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, Request, TopicProduceData,
};
use corelog::protocol::kafka::wire::{Reader, Writer};

/// The time of the first record of every test; later ones count from here.
pub(crate) const EPOCH_MS: i64 = 1_700_000_000_000;

const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct Talk {
    stream: TcpStream,
    correlation_id: i32,
}

impl Talk {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            correlation_id: 0,
        }
    }

    /// Sends a request and gives its answer.
    pub(crate) fn ask<R: Request<'static>>(&mut self, request: R, version: i16) -> R::Response<'static> {
        self.correlation_id += 1;
        let mut writer = Writer::framed();
        let header = RequestHeader {
            api_key: R::API.key(),
            api_version: version,
            correlation_id: self.correlation_id,
            client_id: Some("current"),
        };
        header.encode(&mut writer);
        request.encode(&mut writer, version);
        self.stream
            .write_all(&writer.finish().unwrap().into_vec())
            .unwrap();
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).unwrap();
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
        self.stream.read_exact(&mut frame).unwrap();
        let mut reader = Reader::new(frame.leak());
        let header = ResponseHeader::decode(&mut reader, R::API, version).unwrap();
        assert_eq!(header.correlation_id, self.correlation_id);
        <R::Response<'static> as Message<'static>>::decode(reader.rest(), version).unwrap()
    }

    /// Creates a topic and gives its id.
    pub(crate) fn create(&mut self, name: &'static str, partitions: i32) -> TopicId {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name,
                num_partitions: partitions,
                replication_factor: 1,
                ..Default::default()
            }],
            timeout_ms: 10_000,
            ..Default::default()
        };
        let answer = self.ask(request, 7);
        assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
        answer.topics[0].topic_id
    }

    pub(crate) fn delete(&mut self, name: &'static str) {
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState {
                name: Some(name),
                ..Default::default()
            }],
            timeout_ms: 10_000,
            ..Default::default()
        };
        assert_eq!(self.ask(request, 6).responses[0].error_code, 0);
    }

    /// Produces one batch by topic id.
    pub(crate) fn produce(
        &mut self,
        topic_id: TopicId,
        index: i32,
        batch: Vec<u8>,
    ) -> PartitionProduceResponse<'static> {
        let partition = PartitionProduceData {
            index,
            records: Some(batch.leak()),
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 10_000,
            topic_data: [TopicProduceData {
                topic_id,
                partition_data: [partition].into_iter().collect(),
                ..Default::default()
            }]
            .into_iter()
            .collect(),
            ..Default::default()
        };
        let answer = self.ask(request, 13);
        assert_eq!(answer.responses[0].topic_id, topic_id);
        answer.responses[0].partition_responses[0].clone()
    }

    /// Produces records stamped `EPOCH_MS` plus each of `times`, as one batch.
    pub(crate) fn append(&mut self, topic: TopicId, index: i32, codec: Compression, times: &[i64]) {
        let appended = self.produce(topic, index, batch(codec, times, None));
        assert_eq!(appended.error_code, 0, "{appended:?}");
    }
}

/// A batch of records stamped `EPOCH_MS` plus each of `times`.
pub(crate) fn batch(codec: Compression, times: &[i64], producer: Option<(i64, i16, i32)>) -> Vec<u8> {
    let mut builder = KafkaBatchBuilder::new();
    for time in times {
        let stamp = Timestamp::new(EPOCH_MS + time);
        builder.push(Some(b"key"), Some(b"value"), stamp, std::iter::empty());
    }
    let producer = producer.map(|(id, epoch, base_sequence)| ProducerInfo {
        id: ProducerId::new(id),
        epoch: ProducerEpoch::new(epoch),
        base_sequence,
    });
    builder.build(codec, producer).unwrap()
}
