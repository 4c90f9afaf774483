//! The broker's keys that are read-only: name, type, default, and what they mean here.
//!
//! Together with the keys behind those of topics ([`crate::broker::topic::KEYS`]) this is what tools see when they describe a
//! broker. Values come from the configuration file where we have the setting ([`super::BrokerConfig::fixed`]); the rest is
//! reported with Kafka's default, because user interfaces and cluster managers look for it, and says that it has no effect.

use crate::broker::config_value::Domain;

/// One read-only key of the broker.
#[derive(Clone, Copy, Debug)]
pub struct FixedKey {
    /// Kafka's name.
    pub name: &'static str,
    /// What values it takes.
    pub domain: Domain,
    /// Its default; `None` where Kafka has none.
    pub default: Option<&'static str>,
    /// One sentence for tools.
    pub doc: &'static str,
}

const fn fixed(
    name: &'static str,
    domain: Domain,
    default: Option<&'static str>,
    doc: &'static str,
) -> FixedKey {
    FixedKey {
        name,
        domain,
        default,
        doc,
    }
}

const NO_EFFECT: &str = "Reported for tools; it has no effect here.";
const INT: Domain = Domain::Int(i32::MIN, i32::MAX);
const LONG: Domain = Domain::Long(i64::MIN);
const DOUBLE: Domain = Domain::Double(f64::MIN, f64::MAX);

/// Every read-only key, sorted by name.
pub const FIXED_KEYS: &[FixedKey] = &[
    fixed(
        "advertised.listeners",
        Domain::Text,
        None,
        "Where clients are told to connect.",
    ),
    fixed("alter.config.policy.class.name", Domain::Class, None, NO_EFFECT),
    fixed(
        "authorizer.class.name",
        Domain::Text,
        Some(""),
        "There is no authorization.",
    ),
    fixed(
        "auto.create.topics.enable",
        Domain::Boolean,
        Some("true"),
        "Whether asking for a topic that does not exist may create it.",
    ),
    fixed(
        "auto.leader.rebalance.enable",
        Domain::Boolean,
        Some("true"),
        NO_EFFECT,
    ),
    fixed("background.threads", INT, Some("10"), NO_EFFECT),
    fixed("broker.heartbeat.interval.ms", INT, Some("2000"), NO_EFFECT),
    fixed(
        "broker.id",
        INT,
        Some("-1"),
        "The node's id: the number of the shard, or 0 for one node.",
    ),
    fixed("broker.rack", Domain::Text, None, "One node is in no rack."),
    fixed("broker.session.timeout.ms", INT, Some("9000"), NO_EFFECT),
    fixed("client.quota.callback.class", Domain::Class, None, NO_EFFECT),
    fixed(
        "connection.failed.authentication.delay.ms",
        INT,
        Some("100"),
        NO_EFFECT,
    ),
    fixed(
        "connections.max.idle.ms",
        LONG,
        Some("600000"),
        "A connection without requests is closed after this time.",
    ),
    fixed("connections.max.reauth.ms", LONG, Some("0"), NO_EFFECT),
    fixed(
        "controlled.shutdown.enable",
        Domain::Boolean,
        Some("true"),
        "A stop lets connections finish and settles every log.",
    ),
    fixed(
        "controller.listener.names",
        Domain::Text,
        None,
        "Every shard takes every request; there is no listener for controllers.",
    ),
    fixed(
        "controller.quorum.bootstrap.servers",
        Domain::Texts,
        Some(""),
        NO_EFFECT,
    ),
    fixed(
        "controller.quorum.voters",
        Domain::Texts,
        Some(""),
        "The metadata is this process's own; nobody votes.",
    ),
    fixed("create.topic.policy.class.name", Domain::Class, None, NO_EFFECT),
    fixed(
        "default.replication.factor",
        INT,
        Some("1"),
        "One node has one replica.",
    ),
    fixed(
        "delete.topic.enable",
        Domain::Boolean,
        Some("true"),
        "Topics can be deleted.",
    ),
    fixed(
        "fetch.max.bytes",
        INT,
        Some("57671680"),
        "Most bytes of records in an answer.",
    ),
    fixed(
        "group.consumer.assignors",
        Domain::Texts,
        Some("uniform,range"),
        "Assignors of consumer groups on the broker's side.",
    ),
    fixed(
        "group.consumer.heartbeat.interval.ms",
        INT,
        Some("5000"),
        "How often members of consumer groups report.",
    ),
    fixed(
        "group.consumer.max.heartbeat.interval.ms",
        INT,
        Some("15000"),
        "Longest heartbeat interval a group may choose.",
    ),
    fixed(
        "group.consumer.max.session.timeout.ms",
        INT,
        Some("60000"),
        "Longest session a group may choose.",
    ),
    fixed(
        "group.consumer.max.size",
        INT,
        Some("2147483647"),
        "Most members of a consumer group.",
    ),
    fixed(
        "group.consumer.migration.policy",
        Domain::Text,
        Some("disabled"),
        "Which groups may change their protocol while they have members.",
    ),
    fixed(
        "group.consumer.min.heartbeat.interval.ms",
        INT,
        Some("5000"),
        "Shortest heartbeat interval a group may choose.",
    ),
    fixed(
        "group.consumer.min.session.timeout.ms",
        INT,
        Some("45000"),
        "Shortest session a group may choose.",
    ),
    fixed(
        "group.consumer.session.timeout.ms",
        INT,
        Some("45000"),
        "A member of a consumer group that is silent this long is removed.",
    ),
    fixed("group.coordinator.append.linger.ms", INT, Some("5"), NO_EFFECT),
    fixed(
        "group.coordinator.rebalance.protocols",
        Domain::Texts,
        Some("classic,consumer"),
        "Group protocols that are served.",
    ),
    fixed(
        "group.coordinator.threads",
        INT,
        Some("4"),
        "Each shard coordinates the groups it owns.",
    ),
    fixed(
        "group.initial.rebalance.delay.ms",
        INT,
        Some("3000"),
        "How long a new group waits for more members.",
    ),
    fixed(
        "group.max.session.timeout.ms",
        INT,
        Some("1800000"),
        "Longest session a member of a classic group may ask for.",
    ),
    fixed(
        "group.max.size",
        INT,
        Some("2147483647"),
        "Most members of a classic group.",
    ),
    fixed(
        "group.min.session.timeout.ms",
        INT,
        Some("6000"),
        "Shortest session a member of a classic group may ask for.",
    ),
    fixed("inter.broker.listener.name", Domain::Text, None, NO_EFFECT),
    fixed(
        "inter.broker.protocol.version",
        Domain::Text,
        Some("4.1"),
        "The Kafka release whose behaviour clients may expect.",
    ),
    fixed("kafka.metrics.polling.interval.secs", INT, Some("10"), NO_EFFECT),
    fixed("kafka.metrics.reporters", Domain::Texts, Some(""), NO_EFFECT),
    fixed(
        "leader.imbalance.check.interval.seconds",
        LONG,
        Some("300"),
        NO_EFFECT,
    ),
    fixed(
        "leader.imbalance.per.broker.percentage",
        INT,
        Some("10"),
        NO_EFFECT,
    ),
    fixed(
        "listener.security.protocol.map",
        Domain::Text,
        Some("PLAINTEXT:PLAINTEXT"),
        "Listeners are not encrypted.",
    ),
    fixed("listeners", Domain::Text, None, "Addresses the node listens on."),
    fixed("log.cleaner.backoff.ms", LONG, Some("15000"), NO_EFFECT),
    fixed(
        "log.cleaner.dedupe.buffer.size",
        LONG,
        Some("134217728"),
        NO_EFFECT,
    ),
    fixed(
        "log.cleaner.enable",
        Domain::Boolean,
        Some("true"),
        "Compacted topics are cleaned.",
    ),
    fixed(
        "log.cleaner.io.buffer.load.factor",
        DOUBLE,
        Some("0.9"),
        NO_EFFECT,
    ),
    fixed("log.cleaner.io.buffer.size", INT, Some("524288"), NO_EFFECT),
    fixed(
        "log.cleaner.io.max.bytes.per.second",
        DOUBLE,
        Some("1.7976931348623157E308"),
        NO_EFFECT,
    ),
    fixed(
        "log.cleaner.threads",
        INT,
        Some("1"),
        "Each shard cleans the logs it owns.",
    ),
    fixed("log.dir", Domain::Text, None, "The data directory."),
    fixed("log.dirs", Domain::Text, None, "The data directory."),
    fixed(
        "log.flush.interval.messages",
        LONG,
        Some("9223372036854775807"),
        "Every batch is synced before it is acknowledged, unless its topic says otherwise.",
    ),
    fixed(
        "log.flush.interval.ms",
        LONG,
        None,
        "Every batch is synced before it is acknowledged, unless its topic says otherwise.",
    ),
    fixed(
        "log.flush.offset.checkpoint.interval.ms",
        INT,
        Some("60000"),
        NO_EFFECT,
    ),
    fixed(
        "log.flush.scheduler.interval.ms",
        LONG,
        Some("9223372036854775807"),
        NO_EFFECT,
    ),
    fixed(
        "log.flush.start.offset.checkpoint.interval.ms",
        INT,
        Some("60000"),
        NO_EFFECT,
    ),
    fixed(
        "log.message.format.version",
        Domain::Text,
        Some("3.0-IV1"),
        "There is one format.",
    ),
    fixed(
        "log.retention.check.interval.ms",
        LONG,
        Some("300000"),
        "How often retention is looked at.",
    ),
    fixed(
        "log.retention.hours",
        INT,
        Some("168"),
        "Time records are kept where neither the topic nor log.retention.ms says.",
    ),
    fixed(
        "log.retention.minutes",
        INT,
        None,
        "As log.retention.hours, in minutes.",
    ),
    fixed(
        "log.roll.hours",
        INT,
        Some("168"),
        "Age of a full segment where neither the topic nor log.roll.ms says.",
    ),
    fixed(
        "log.roll.jitter.hours",
        INT,
        Some("0"),
        "As log.roll.jitter.ms, in hours.",
    ),
    fixed("max.connection.creation.rate", INT, Some("2147483647"), NO_EFFECT),
    fixed(
        "max.connections",
        INT,
        Some("2147483647"),
        "Most connections of the whole process.",
    ),
    fixed("max.connections.per.ip", INT, Some("2147483647"), NO_EFFECT),
    fixed(
        "max.connections.per.ip.overrides",
        Domain::Text,
        Some(""),
        NO_EFFECT,
    ),
    fixed(
        "max.incremental.fetch.session.cache.slots",
        INT,
        Some("1000"),
        "Fetch sessions remembered.",
    ),
    fixed("max.request.partition.size.limit", INT, Some("2000"), NO_EFFECT),
    fixed(
        "metric.reporters",
        Domain::Texts,
        Some(""),
        "Metrics are at /metrics of the admin listener.",
    ),
    fixed("metrics.num.samples", INT, Some("2"), NO_EFFECT),
    fixed("metrics.recording.level", Domain::Text, Some("INFO"), NO_EFFECT),
    fixed("metrics.sample.window.ms", LONG, Some("30000"), NO_EFFECT),
    fixed(
        "node.id",
        INT,
        None,
        "The node's id: the number of the shard, or 0 for one node.",
    ),
    fixed(
        "num.io.threads",
        INT,
        Some("8"),
        "Threads that serve requests: the shards.",
    ),
    fixed(
        "num.network.threads",
        INT,
        Some("3"),
        "Threads that serve connections: the shards.",
    ),
    fixed(
        "num.partitions",
        INT,
        Some("1"),
        "Partitions of a topic whose creator does not say.",
    ),
    fixed(
        "num.recovery.threads.per.data.dir",
        INT,
        Some("2"),
        "Each shard recovers the logs it owns.",
    ),
    fixed("num.replica.fetchers", INT, Some("1"), NO_EFFECT),
    fixed(
        "offset.metadata.max.bytes",
        INT,
        Some("4096"),
        "Longest text a client may commit with an offset.",
    ),
    fixed("offsets.commit.timeout.ms", INT, Some("5000"), NO_EFFECT),
    fixed("offsets.load.buffer.size", INT, Some("5242880"), NO_EFFECT),
    fixed(
        "offsets.retention.check.interval.ms",
        LONG,
        Some("600000"),
        "How often expired offsets are looked for.",
    ),
    fixed(
        "offsets.retention.minutes",
        INT,
        Some("10080"),
        "How long offsets of a group without members are kept.",
    ),
    fixed("offsets.topic.compression.codec", INT, Some("0"), NO_EFFECT),
    fixed(
        "offsets.topic.num.partitions",
        INT,
        Some("50"),
        "Partitions of the topic that holds offsets.",
    ),
    fixed(
        "offsets.topic.replication.factor",
        Domain::Short,
        Some("1"),
        "One node has one replica.",
    ),
    fixed(
        "offsets.topic.segment.bytes",
        INT,
        Some("104857600"),
        "Segment size of the topic that holds offsets.",
    ),
    fixed(
        "process.roles",
        Domain::Texts,
        Some("broker,controller"),
        "The one process does everything.",
    ),
    fixed(
        "producer.id.expiration.check.interval.ms",
        INT,
        Some("600000"),
        NO_EFFECT,
    ),
    fixed(
        "producer.id.expiration.ms",
        INT,
        Some("86400000"),
        "How long the sequence numbers of an idle idempotent producer are remembered.",
    ),
    fixed(
        "producer.purgatory.purge.interval.requests",
        INT,
        Some("1000"),
        NO_EFFECT,
    ),
    fixed(
        "queued.max.request.bytes",
        LONG,
        Some("-1"),
        "Bytes of requests a shard holds at once.",
    ),
    fixed("queued.max.requests", INT, Some("500"), NO_EFFECT),
    fixed(
        "remote.log.storage.system.enable",
        Domain::Boolean,
        Some("false"),
        "There is no remote storage.",
    ),
    fixed("replica.fetch.max.bytes", INT, Some("1048576"), NO_EFFECT),
    fixed("replica.fetch.wait.max.ms", INT, Some("500"), NO_EFFECT),
    fixed("replica.lag.time.max.ms", LONG, Some("30000"), NO_EFFECT),
    fixed("replica.selector.class", Domain::Text, None, NO_EFFECT),
    fixed("request.timeout.ms", INT, Some("30000"), NO_EFFECT),
    fixed(
        "sasl.enabled.mechanisms",
        Domain::Texts,
        Some(""),
        "There is no authentication.",
    ),
    fixed(
        "sasl.mechanism.inter.broker.protocol",
        Domain::Text,
        Some("GSSAPI"),
        NO_EFFECT,
    ),
    fixed(
        "security.inter.broker.protocol",
        Domain::Text,
        Some("PLAINTEXT"),
        "There is one broker process.",
    ),
    fixed("socket.listen.backlog.size", INT, Some("50"), NO_EFFECT),
    fixed("socket.receive.buffer.bytes", INT, Some("102400"), NO_EFFECT),
    fixed(
        "socket.request.max.bytes",
        INT,
        Some("104857600"),
        "Largest request accepted.",
    ),
    fixed("socket.send.buffer.bytes", INT, Some("102400"), NO_EFFECT),
    fixed(
        "ssl.client.auth",
        Domain::Text,
        Some("none"),
        "Listeners are not encrypted.",
    ),
    fixed(
        "transaction.max.timeout.ms",
        INT,
        Some("900000"),
        "Longest time a transaction may take.",
    ),
    fixed(
        "transaction.state.log.min.isr",
        INT,
        Some("1"),
        "One node has one replica.",
    ),
    fixed(
        "transaction.state.log.num.partitions",
        INT,
        Some("50"),
        "Partitions of the topic that holds transactions.",
    ),
    fixed(
        "transaction.state.log.replication.factor",
        Domain::Short,
        Some("1"),
        "One node has one replica.",
    ),
    fixed(
        "transaction.state.log.segment.bytes",
        INT,
        Some("104857600"),
        "Segment size of the topic that holds transactions.",
    ),
    fixed(
        "transactional.id.expiration.ms",
        INT,
        Some("604800000"),
        "How long an idle transactional id is remembered.",
    ),
];

/// Keys that tools set on a broker while they move replicas: accepted, and reported where they are set.
pub(super) const THROTTLE_KEYS: &[&str] = &[
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];
