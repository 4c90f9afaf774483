//! A native client by hand: one blocking connection and the library's codec, no retries, no batching.
//!
//! Included by the programs that need it. Whatever does not go as the test says fails the test.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use corelog::base::{LogId, Offset, PartitionId, Timestamp, TopicId};
use corelog::batch::{ProducerInfo, RecordsBuilder};
use corelog::protocol::native::messages::{
    Acks, CreateTopic, Fetch, FetchEntry, FetchHead, Fetched, FetchedEntry, Hello, Metadata, MetadataAnswer,
    ProduceWriter, Produced, TopicAnswer, Welcome, WelcomeHead, encode_fetch,
};
use corelog::protocol::native::{ErrorCode, Frame, Inbox, Kind};

/// The name of a topic and the node that leads each of its partitions.
pub(crate) type TopicLeaders = (String, Vec<u32>);

/// How long anything may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Read from the socket at once.
const READ_BYTES: usize = 64 * 1024;

/// One connection.
pub(crate) struct Native {
    stream: TcpStream,
    inbox: Inbox,
    correlation: u64,
    pub(crate) welcome: WelcomeHead,
}

impl Native {
    /// Connects and says hello.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut client = Self::silent(address);
        let mut out = Vec::new();
        let hello = Hello {
            features: 0,
            version_min: 1,
            version_max: 1,
            name: "test",
        };
        hello.encode(&mut out, 1).expect("a hello");
        client.send(&out);
        client.welcome = client.receive(|frame| Welcome::decode(frame).expect("a welcome").head);
        client
    }

    /// Connects and says nothing.
    pub(crate) fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time limit");
        Self {
            stream,
            inbox: Inbox::new(1 << 30),
            correlation: 1,
            welcome: WelcomeHead::default(),
        }
    }

    pub(crate) fn next_correlation(&mut self) -> u64 {
        self.correlation += 1;
        self.correlation
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker takes a frame");
    }

    /// The next frame.
    pub(crate) fn receive<T>(&mut self, read: impl FnOnce(&Frame<'_>) -> T) -> T {
        self.try_receive(read)
            .expect("an answer in time")
            .expect("an answer, not the end")
    }

    /// The next frame; `None` when the broker closed.
    pub(crate) fn try_receive<T>(&mut self, read: impl FnOnce(&Frame<'_>) -> T) -> io::Result<Option<T>> {
        loop {
            // Asked first, because a frame borrows the inbox that is read into otherwise.
            let whole = self.inbox.has_frame().expect("a sound stream");
            if whole {
                let frame = self.inbox.next().expect("a sound frame").expect("a whole frame");
                return Ok(Some(read(&frame)));
            }
            let count = self.stream.read(self.inbox.spare(READ_BYTES))?;
            if count == 0 {
                return Ok(None);
            }
            self.inbox.filled(count);
        }
    }

    /// Whether nothing arrives for `patience`.
    pub(crate) fn is_silent_for(&mut self, patience: Duration) -> bool {
        self.stream
            .set_read_timeout(Some(patience))
            .expect("a time limit");
        let outcome = self.try_receive(|frame| frame.head.kind);
        self.stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time limit");
        match outcome {
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
            Ok(_) => false,
        }
    }

    pub(crate) fn create(&mut self, name: &str, partitions: u32, configs: &[(&str, &str)]) -> TopicId {
        let (mut out, correlation) = (Vec::new(), self.next_correlation());
        let create = CreateTopic {
            name,
            partitions,
            configs: configs.to_vec(),
        };
        create.encode(&mut out, correlation).expect("a request");
        self.send(&out);
        self.receive(|frame| {
            assert_eq!(frame.head.correlation, correlation);
            let answer = TopicAnswer::decode(frame).expect("a topic");
            assert_eq!(answer.partitions, partitions);
            answer.id
        })
    }

    /// The topics asked for, and the ports of the nodes.
    pub(crate) fn metadata(&mut self, names: &[&str]) -> (Vec<TopicLeaders>, Vec<(u32, u16)>) {
        let (mut out, correlation) = (Vec::new(), self.next_correlation());
        let request = match names {
            [] => Metadata::All,
            names => Metadata::Named(names.to_vec()),
        };
        request.encode(&mut out, correlation).expect("a request");
        self.send(&out);
        self.receive(|frame| {
            let answer = MetadataAnswer::decode(frame).expect("metadata");
            let topics = answer.topics.iter();
            (
                topics
                    .map(|topic| (topic.name.to_owned(), topic.leaders.clone()))
                    .collect(),
                answer.nodes.iter().map(|node| (node.id, node.port)).collect(),
            )
        })
    }

    /// Produces one batch for each log and gives what came of each.
    pub(crate) fn produce(&mut self, batches: &[(LogId, &[u8])]) -> Vec<Result<u64, ErrorCode>> {
        let correlation = self.next_correlation();
        self.send(&produce_frame(correlation, Acks::Durable, batches));
        let (answered, outcomes) = self.produced();
        assert_eq!(answered, correlation);
        outcomes
    }

    /// The next answer to a produce.
    pub(crate) fn produced(&mut self) -> (u64, Vec<Result<u64, ErrorCode>>) {
        self.receive(|frame| {
            assert_eq!(frame.head.kind, Kind::Produced, "{:?}", frame.head);
            let produced = Produced::decode(frame).expect("an answer to a produce");
            let outcomes = produced
                .entries
                .iter()
                .map(|entry| entry.outcome().map(Offset::get));
            (frame.head.correlation, outcomes.collect())
        })
    }

    /// Fetches one partition at once.
    pub(crate) fn fetch(&mut self, log: LogId, offset: u64, max_bytes: u32) -> (FetchedEntry, Vec<Seen>) {
        let (mut out, correlation) = (Vec::new(), self.next_correlation());
        let head = FetchHead {
            max_bytes,
            ..FetchHead::default()
        };
        let entry = FetchEntry {
            topic_id: log.topic.to_bytes(),
            partition: log.partition.get(),
            max_bytes,
            offset,
        };
        encode_fetch(&mut out, correlation, &head, &[entry]).expect("a request");
        assert_eq!(
            Fetch::decode(&Frame::parse(&out).expect("a frame")).map(|fetch| fetch.entries.len()),
            Ok(1)
        );
        self.send(&out);
        self.receive(|frame| {
            assert_eq!(frame.head.correlation, correlation);
            let mut all = seen(frame);
            assert_eq!(all.len(), 1);
            all.pop().expect("one partition")
        })
    }

    /// Every native record of a log from `offset` to its end.
    pub(crate) fn read_all(&mut self, log: LogId, mut offset: u64) -> Vec<Seen> {
        let mut all = Vec::new();
        loop {
            let (entry, batch) = self.fetch(log, offset, 1 << 20);
            assert_eq!(entry.error(), None);
            if batch.is_empty() {
                assert_eq!(
                    entry.high_watermark, offset,
                    "everything below the watermark was read"
                );
                return all;
            }
            offset = batch.last().expect("not empty").offset + 1;
            all.extend(batch);
        }
    }
}

/// One record that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) offset: u64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: usize,
}

/// What an answer to a fetch, or a push, holds, all checksums verified. Kafka batches count without their records.
pub(crate) fn seen(frame: &Frame<'_>) -> Vec<(FetchedEntry, Vec<Seen>)> {
    let fetched = Fetched::decode(frame).expect("batches");
    let partitions = fetched.partitions().map(|(entry, batches)| {
        let mut records = Vec::new();
        for batch in batches {
            let batch = batch.expect("whole batches");
            batch.verify().expect("a sound payload");
            assert_eq!(batch.header.log, entry.log());
            let view = batch.records().expect("a native batch");
            for (offset, record) in (batch.header.base_offset.get()..).zip(view.iter()) {
                records.push(Seen {
                    offset,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: record.headers.count(),
                });
            }
        }
        (entry, records)
    });
    partitions.collect()
}

/// The log of a topic's partition.
pub(crate) fn log(topic: TopicId, partition: u32) -> LogId {
    LogId {
        topic,
        partition: PartitionId::new(partition),
    }
}

/// A stored batch of one record.
pub(crate) fn batch(log: LogId, value: &[u8], producer: Option<ProducerInfo>) -> Vec<u8> {
    let mut builder = RecordsBuilder::new();
    builder
        .push(None, Some(value), Timestamp::new(1_700_000_000_000), [])
        .expect("a record");
    let mut out = Vec::new();
    corelog::protocol::native::batches::append_batch(&mut out, log, producer, &mut builder).expect("a batch");
    out
}

/// A produce frame with one batch of one record for each log.
pub(crate) fn produce_frame(correlation: u64, acks: Acks, batches: &[(LogId, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = ProduceWriter::begin(&mut out, correlation, acks);
    for (log, value) in batches {
        writer.encoded(&batch(*log, value, None));
    }
    writer.finish().expect("a frame");
    out
}
