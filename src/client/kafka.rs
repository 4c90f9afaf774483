//! A blocking Kafka client for the command line: one request at a time, on ordinary sockets.
//!
//! The promise: every wait has an end (connect, write and read time-outs, a bounded number of retries), every
//! answer has a largest size, and an error says which broker said what. It knows only the Kafka protocol, so it
//! works against any Kafka broker and never takes a short cut into this one.
//!
//! [`Client`] finds brokers and asks them; [`producer`] and [`consumer`] stand on it. Retrying is safe for what is
//! retried: questions, and produce requests that carry sequence numbers. Absent on purpose: background threads,
//! connection pools, authentication. Consumer groups: [`groups`] asks about them, [`member`] is in one.

mod admin;
pub(crate) mod assignment;
pub mod connection;
pub mod consumer;
pub mod error;
pub mod groups;
pub mod member;
#[cfg(test)]
pub(crate) mod peer;
pub mod producer;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, MetadataRequest, MetadataRequestTopic,
    MetadataResponseTopic, Request,
};

pub use admin::{Effect, NewTopic, Outcome, TopicConfig};
pub use connection::{Address, Connection};
pub use error::ClientError;

/// How patient a client is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection to be made.
    pub connect: Duration,
    /// For an answer to begin and for each of its parts to follow.
    pub answer: Duration,
    /// Before the first retry; doubled for each further one up to [`PAUSE_MAX`].
    pub pause: Duration,
    /// Retries of one request.
    pub retries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(30),
            pause: Duration::from_millis(50),
            retries: 25,
        }
    }
}

/// The longest pause between two retries.
pub const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A client of one cluster.
#[derive(Debug)]
pub struct Client {
    bootstrap: Vec<Address>,
    patience: Patience,
    /// Whether anyone ever answered. Until then a failure is more likely a wrong address than a restart.
    met: bool,
    brokers: BTreeMap<i32, Address>,
    /// By node id; the connection made first, before ids were known, is under [`BOOTSTRAP`].
    connections: BTreeMap<i32, Connection>,
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Whoever answers.
    Anyone,
    /// The broker with this node id.
    Node(i32),
}

/// What a cluster says about one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id, as a UUID; all zeros if the broker knows none.
    pub id: String,
    /// Whether it belongs to the broker.
    pub internal: bool,
    /// Its partitions by index.
    pub partitions: BTreeMap<i32, Partition>,
}

/// What a cluster says about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Node id of the leader, -1 for none.
    pub leader: i32,
    /// Epoch of the leader, -1 if unknown.
    pub leader_epoch: i32,
    /// Node ids of the replicas.
    pub replicas: Vec<i32>,
    /// Node ids of those in sync.
    pub in_sync: Vec<i32>,
}

impl Client {
    /// A client that will look for the cluster at `bootstrap`, each `host` or `host:port`. Connects on first use.
    pub fn new(bootstrap: &[String], patience: Patience) -> Result<Self, ClientError> {
        let bootstrap = bootstrap
            .iter()
            .map(|text| text.parse())
            .collect::<Result<Vec<_>, _>>()?;
        if bootstrap.is_empty() {
            return Err(ClientError::NoBroker);
        }
        Ok(Self {
            bootstrap,
            patience,
            met: false,
            brokers: BTreeMap::new(),
            connections: BTreeMap::new(),
        })
    }

    /// Another client of the same cluster, with connections of its own.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self {
            bootstrap: self.bootstrap.clone(),
            patience: self.patience,
            met: self.met,
            brokers: self.brokers.clone(),
            connections: BTreeMap::new(),
        }
    }

    /// Sends `request` and hands the answer to `read`. One attempt; a connection that fails is dropped.
    pub fn ask<'q, R, T>(
        &mut self,
        to: To,
        request: R,
        read: impl for<'r> FnOnce(R::Response<'r>) -> T,
    ) -> Result<T, ClientError>
    where
        R: Request<'q>,
    {
        let node = self.connect(to)?;
        let connection = self
            .connections
            .get_mut(&node)
            .expect("connect gives the key of a connection");
        let answer = connection.send(request).and_then(|ticket| {
            connection.receive(&ticket)?;
            Ok(read(connection.answer::<R::Response<'_>>(&ticket)?))
        });
        if answer.is_err() {
            self.connections.remove(&node);
        }
        answer
    }

    /// Tries `attempt` until it succeeds, fails for good, or the patience is used up. A cluster that was never
    /// reached is not waited for.
    pub fn persist<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut pauses = Pauses::new(self.patience);
        loop {
            match attempt(self) {
                Err(error) if error.is_transient() && self.met => pauses.wait(error)?,
                outcome => return outcome,
            }
        }
    }

    /// How patient this client is.
    #[must_use]
    pub const fn patience(&self) -> Patience {
        self.patience
    }

    /// Where the broker with this node id is, if an answer has named it.
    #[must_use]
    pub fn address(&self, node: i32) -> Option<&Address> {
        self.brokers.get(&node)
    }

    /// The connection to `node`, made if need be. For callers that keep several requests in flight.
    pub fn connection(&mut self, node: i32) -> Result<&mut Connection, ClientError> {
        let node = self.connect(To::Node(node))?;
        Ok(self
            .connections
            .get_mut(&node)
            .expect("connect gives the key of a connection"))
    }

    /// Forgets the connection to `node`, after an error on it.
    pub fn disconnect(&mut self, node: i32) {
        self.connections.remove(&node);
    }

    /// The key of a usable connection to `to`.
    fn connect(&mut self, to: To) -> Result<i32, ClientError> {
        match to {
            To::Node(node) => {
                if !self.connections.contains_key(&node) {
                    let address = self.brokers.get(&node).ok_or(ClientError::UnknownNode { node })?;
                    let connection = Connection::open(address, self.patience)?;
                    self.connections.insert(node, connection);
                }
                Ok(node)
            }
            To::Anyone => match self.connections.keys().next() {
                Some(node) => Ok(*node),
                None => self.bootstrap(),
            },
        }
    }

    /// Connects to the first broker that lets us, known ones after the bootstrap list.
    fn bootstrap(&mut self) -> Result<i32, ClientError> {
        let mut failure = ClientError::NoBroker;
        for address in self.bootstrap.iter().chain(self.brokers.values()) {
            match Connection::open(address, self.patience) {
                Ok(connection) => {
                    self.connections.insert(BOOTSTRAP, connection);
                    self.met = true;
                    return Ok(BOOTSTRAP);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The topics named, or all of them, each with its error code. Learns the brokers on the way.
    pub fn topics(
        &mut self,
        names: Option<&[&str]>,
        missing: Missing,
    ) -> Result<Vec<(Topic, i16)>, ClientError> {
        self.persist(|client| client.topics_once(names, missing))
    }

    fn topics_once(
        &mut self,
        names: Option<&[&str]>,
        missing: Missing,
    ) -> Result<Vec<(Topic, i16)>, ClientError> {
        let request = MetadataRequest {
            topics: names.map(|names| names.iter().map(|name| asked_for(name)).collect()),
            allow_auto_topic_creation: missing == Missing::Create,
            ..MetadataRequest::default()
        };
        let (brokers, topics) = self.ask(To::Anyone, request, |answer| {
            let brokers = answer.brokers.iter();
            let topics = answer.topics.iter();
            (
                brokers
                    .map(|one| (one.node_id, Address::new(one.host, one.port)))
                    .collect(),
                topics.map(|topic| (describe(topic), topic.error_code)).collect(),
            )
        })?;
        self.learn(brokers);
        Ok(topics)
    }

    /// Node ids of the brokers answers have named.
    fn nodes(&self) -> Vec<i32> {
        self.brokers.keys().copied().collect()
    }

    /// Takes over where one broker is.
    fn meet(&mut self, node: i32, address: Address) {
        if self.brokers.get(&node) != Some(&address) {
            self.connections.remove(&node);
            self.brokers.insert(node, address);
        }
    }

    /// Takes over a list of brokers; connections to brokers that moved are dropped.
    fn learn(&mut self, brokers: BTreeMap<i32, Address>) {
        let known = std::mem::replace(&mut self.brokers, brokers);
        let brokers = &self.brokers;
        self.connections
            .retain(|node, _| *node == BOOTSTRAP || known.get(node) == brokers.get(node));
    }

    /// One topic, once every partition has a leader. Retries while the broker says that this takes a moment.
    pub fn topic(&mut self, name: &str, missing: Missing) -> Result<Topic, ClientError> {
        self.persist(|client| client.topic_once(name, missing))
    }

    fn topic_once(&mut self, name: &str, missing: Missing) -> Result<Topic, ClientError> {
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        let answer = self.topics_once(Some(&[name]), missing)?;
        let (topic, code) = answer
            .into_iter()
            .find(|(topic, _)| topic.name == name)
            .ok_or_else(|| ClientError::refused(name, unknown, None))?;
        if code == unknown && missing == Missing::Fail {
            return Err(ClientError::NoSuchTopic {
                topic: name.to_owned(),
            });
        }
        ClientError::check(name, code, None)?;
        match topic
            .partitions
            .iter()
            .find(|(_, partition)| partition.leader < 0)
        {
            Some((index, _)) => {
                let what = format!("{name}-{index}");
                Err(ClientError::refused(
                    &what,
                    ErrorCode::LeaderNotAvailable.code(),
                    None,
                ))
            }
            None => Ok(topic),
        }
    }

    /// The offset of each partition of `topic` at `timestamp`: milliseconds, or one of the protocol's questions
    /// such as `TIMESTAMP_LATEST`. -1 for a partition without such a record.
    pub fn offsets(&mut self, topic: &str, timestamp: i64) -> Result<BTreeMap<i32, i64>, ClientError> {
        self.persist(|client| {
            let leaders = client.topic_once(topic, Missing::Fail)?.by_leader();
            let mut offsets = BTreeMap::new();
            for (leader, partitions) in leaders {
                let answers = client.ask(
                    To::Node(leader),
                    offsets_at(topic, &partitions, timestamp),
                    |answer| {
                        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
                        partitions
                            .map(|one| (one.partition_index, one.error_code, one.offset))
                            .collect::<Vec<_>>()
                    },
                )?;
                for (partition, code, offset) in answers {
                    ClientError::check(&format!("{topic}-{partition}"), code, None)?;
                    offsets.insert(partition, offset);
                }
            }
            Ok(offsets)
        })
    }
}

impl Topic {
    /// Partition indexes by the node id of their leader.
    #[must_use]
    pub fn by_leader(&self) -> BTreeMap<i32, Vec<i32>> {
        let mut leaders = BTreeMap::<i32, Vec<i32>>::new();
        for (index, partition) in &self.partitions {
            leaders.entry(partition.leader).or_default().push(*index);
        }
        leaders
    }
}

/// What to do about a topic that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Ask the broker to create it, and wait.
    Create,
    /// Say so.
    Fail,
}

/// The pauses between the retries of one request.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    left: u32,
    next: Duration,
}

impl Pauses {
    /// Nothing tried yet.
    #[must_use]
    pub const fn new(patience: Patience) -> Self {
        Self {
            left: patience.retries,
            next: patience.pause,
        }
    }

    /// Waits before the next attempt, or gives `error` back when there shall be none.
    pub fn wait(&mut self, error: ClientError) -> Result<(), ClientError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Err(error);
        };
        self.left = left;
        pause(self.next);
        self.next = (self.next * 2).min(PAUSE_MAX);
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command line has no shard to stall and nothing else to do"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

fn asked_for(name: &str) -> MetadataRequestTopic<'_> {
    MetadataRequestTopic {
        name: Some(name),
        ..MetadataRequestTopic::default()
    }
}

fn describe(topic: &MetadataResponseTopic<'_>) -> Topic {
    let partitions = topic.partitions.iter().map(|partition| {
        let described = Partition {
            leader: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.clone(),
            in_sync: partition.isr_nodes.clone(),
        };
        (partition.partition_index, described)
    });
    Topic {
        name: topic.name.unwrap_or_default().to_owned(),
        id: topic.topic_id.to_string(),
        internal: topic.is_internal,
        partitions: partitions.collect(),
    }
}

fn offsets_at<'a>(topic: &'a str, partitions: &[i32], timestamp: i64) -> ListOffsetsRequest<'a> {
    let partitions = partitions.iter().map(|index| ListOffsetsPartition {
        partition_index: *index,
        timestamp,
        ..ListOffsetsPartition::default()
    });
    ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: topic,
            partitions: partitions.collect(),
        }],
        timeout_ms: ADMIN_TIMEOUT_MS,
        ..ListOffsetsRequest::default()
    }
}

/// Where the connection made before ids were known is kept; no broker has this id.
const BOOTSTRAP: i32 = i32::MIN;
/// How long a broker may take to create, delete or look up; below the time-out of an answer.
const ADMIN_TIMEOUT_MS: i32 = 20_000;

#[cfg(test)]
mod tests {
    use super::peer::{Fault, Peer};
    use super::*;

    #[test]
    fn a_topic_is_created_grown_described_and_deleted() {
        let peer = Peer::start();
        let mut client = peer.client();
        let new = NewTopic {
            name: "t".to_owned(),
            partitions: Some(2),
            config: Vec::new(),
        };
        let created = client.create_topics(std::slice::from_ref(&new)).unwrap();
        assert_eq!(
            created,
            [Outcome {
                name: "t".to_owned(),
                code: 0,
                message: None
            }]
        );
        let again = client.create_topics(&[new]).unwrap();
        assert_eq!(again[0].code, ErrorCode::TopicAlreadyExists.code());
        client.create_partitions("t", 3, Effect::Change).unwrap();
        let topic = client.topic("t", Missing::Fail).unwrap();
        assert_eq!(topic.partitions.len(), 3);
        assert_eq!(
            client.offsets("t", -1).unwrap(),
            BTreeMap::from([(0, 0), (1, 0), (2, 0)])
        );
        assert_eq!(client.delete_topics(&["t".to_owned()]).unwrap()[0].code, 0);
        let gone = client.topic("t", Missing::Fail).unwrap_err();
        assert!(matches!(gone, ClientError::NoSuchTopic { .. }), "{gone}");
    }

    #[test]
    fn a_dropped_connection_is_made_again() {
        let peer = Peer::start();
        let mut client = peer.client();
        peer.fail_next(Fault::Hangup);
        assert_eq!(client.topics(None, Missing::Fail).unwrap(), []);
        peer.fail_next(Fault::Hangup);
        assert_eq!(client.topics(None, Missing::Fail).unwrap(), []);
    }

    #[test]
    fn patience_ends() {
        let peer = Peer::start();
        let mut client = peer.client();
        for _ in 0..100 {
            peer.fail_next(Fault::Hangup);
        }
        let error = client.topics(None, Missing::Fail).unwrap_err();
        assert!(matches!(error, ClientError::Io { .. }), "{error}");
        assert_eq!(peer.faults_left(), 94, "one attempt and five retries");
        client.offsets("t", -1).unwrap_err();
        assert_eq!(peer.faults_left(), 88, "retries do not multiply");
    }

    #[test]
    fn garbage_and_giants_are_errors() {
        for fault in [Fault::Garbage, Fault::Giant, Fault::WrongCorrelation] {
            let peer = Peer::start();
            let mut client = peer.client();
            peer.fail_next(fault);
            let error = client
                .ask(To::Anyone, MetadataRequest::default(), |_| ())
                .unwrap_err();
            assert!(!error.is_transient(), "{fault:?}: {error}");
        }
    }

    #[test]
    fn nobody_there_names_the_address() {
        // With retries this would take minutes.
        let patience = Patience {
            pause: Duration::from_secs(60),
            ..Patience::default()
        };
        let mut client = Client::new(&["127.0.0.1:1".to_owned()], patience).unwrap();
        let error = client.topics(None, Missing::Fail).unwrap_err();
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
        assert!(Client::new(&["a:b".to_owned()], patience).is_err());
    }
}
