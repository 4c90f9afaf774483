//! The configuration: one struct, from one table of settings, filled from four places.
//!
//! A setting's value comes from the first of: a command line flag, `--set section.name=value`, the environment
//! variable `CORELOG_SECTION__NAME`, the TOML file, (with `--dev`) the development defaults, the defaults. Where
//! each came from is remembered ([`Loaded::origins`]) and shown by `corelog config show --origin`.
//!
//! Invariants: a [`Config`] that [`load()`] returned has passed [`Config::check`], so every bound the rest of the
//! server relies on holds; an unknown key is an error and never ignored (an environment
//! variable without a section is ours only if it resembles a setting, since others use the prefix too); the default file
//! that `corelog config default` prints reads back as `Config::default()`. All problems are reported at once, each
//! with its place and what would be right.
//!
//! Read once at start-up on the main thread and immutable from then on. Settings of a single topic are not here:
//! they live in the metadata store, with the values in `[log]` as their defaults.

pub mod check;
pub mod field;
pub mod load;
pub mod text;
pub mod values;

use std::path::PathBuf;

use crate::base::units::{ByteSize, TimeSpan};

pub use check::Problem;
pub use field::Field;
pub use load::{ConfigError, Loaded, Origin, Sources, load};
pub use values::{
    Advertise, CoreList, CoreSet, ListenAddr, LogFormat, MillisLimit, Poll, SizeLimit, WriteSync,
};

use field::section;

section! {
    /// Everything the server can be told.
    pub struct Config at [] {
        /// Directory that holds the log and the metadata. Created if it is missing; one server per directory.
        data_dir: PathBuf = PathBuf::from("./corelog-data"), "path";
        /// Cores that run shards: "all" the process may use, "any:N" of those, or a list such as "0-3,6".
        cores: CoreSet = CoreSet::All, "cores";
        /// Memory budget of each shard. Requests may hold a quarter of it, the log's buffers and cache the rest;
        /// when it is used up clients wait.
        memory: ByteSize = ByteSize::mib(256), "size";
        /// How log lines are written to stderr: "pretty" for people, "json" for machines.
        log_format: LogFormat = LogFormat::Pretty, "pretty|json";
        /// What is logged: error, warn, info, debug or trace, or a filter such as "info,corelog::storage=debug".
        log_level: String = "info".to_owned(), "filter";
        /// Accept connections from other machines although there is no authentication. Without it a listener
        /// on an address that is not loopback refuses to start.
        insecure: bool = false, "true|false";
    }
    sections {
        /// The Kafka door.
        kafka: KafkaConfig;
        /// The native door. What `kafka` says of advertising, frames, connections and time-outs holds for it, too.
        native: NativeConfig;
        /// The admin HTTP server.
        admin: AdminConfig;
        /// Threads, rings and the way writes reach the disk.
        runtime: RuntimeConfig;
        /// The log, and the defaults of topics that do not set their own.
        log: LogConfig;
        /// The cleaner, which compacts the logs of topics with cleanup.policy=compact.
        compaction: CompactionConfig;
        /// The scrub, which reads sealed segments again to find rot before a reader does.
        scrub: ScrubConfig;
        /// Consumer groups and their committed offsets.
        group: GroupConfig;
    }
}

section! {
    /// The Kafka door.
    pub struct KafkaConfig at [kafka] {
        /// Address of the bootstrap port, served by every core. With advertise = "per-core", shard N also listens
        /// on this port + 1 + N.
        listen: ListenAddr = ListenAddr::loopback(9092), "ip:port";
        /// Which brokers clients are told about: "per-core" (each shard is one) or "single" (one id, one port).
        advertise: Advertise = Advertise::PerCore, "per-core|single";
        /// Host name or address clients are told to connect to. Empty: the address of `listen`.
        advertised_host: String = String::new(), "host";
        /// Largest request. A request must also fit in a quarter of `memory`, so the limit in force is the smaller
        /// of the two.
        max_frame_bytes: ByteSize = ByteSize::mib(100), "size";
        /// Connections of the whole process; one more is closed at once.
        max_connections: u32 = 10_000, "count";
        /// A connection that asks for nothing this long is closed.
        idle_timeout: TimeSpan = TimeSpan::from_secs(600), "duration";
        /// Time a client has to send the rest of a request it has begun.
        frame_timeout: TimeSpan = TimeSpan::from_secs(30), "duration";
        /// Requests of one connection that are worked on at the same time; the next waits in the socket.
        in_flight_max: u32 = 64, "count";
        /// Whether a client that asks for a topic that does not exist creates it.
        auto_create_topics: bool = true, "true|false";
        /// Partitions of a topic that is created without saying how many.
        num_partitions: u32 = 1, "count";
    }
}

section! {
    /// The native door. What `kafka` says of advertising, frames, connections and time-outs holds for it, too.
    pub struct NativeConfig at [native] {
        /// Whether native clients are served at all.
        enabled: bool = true, "true|false";
        /// Address of the native base port, served by every core. With kafka.advertise = "per-core", shard N also
        /// listens on this port + 1 + N.
        listen: ListenAddr = ListenAddr::loopback(9192), "ip:port";
    }
}

section! {
    /// The admin HTTP server.
    pub struct AdminConfig at [admin] {
        /// Address of /healthz, /readyz, /metrics and /v1.
        listen: ListenAddr = ListenAddr::loopback(9644), "ip:port";
    }
}

section! {
    /// Threads, rings and the way writes reach the disk.
    pub struct RuntimeConfig at [runtime] {
        /// How many shards to run; 0 for one on each core of `cores`. With more shards than cores several share a
        /// core, which is for tests: partitions stay where they are, only slower.
        shards: u32 = 0, "count";
        /// How an idle shard waits: "adaptive" polls for poll_budget_us and then sleeps, "busy" never sleeps (one core
        /// is used up), "sleep" sleeps at once.
        poll: Poll = Poll::Adaptive, "adaptive|busy|sleep";
        /// How long an adaptive shard polls after it ran out of work.
        poll_budget_us: u32 = 20, "microseconds";
        /// How a write is made durable: "dsync" (RWF_DSYNC on the write) or "link" (a write linked to fdatasync).
        /// Both are durable before the acknowledgement; which is faster depends on the disk.
        write_sync: WriteSync = WriteSync::Dsync, "dsync|link";
    }
}

section! {
    /// The log, and the defaults of topics that do not set their own.
    pub struct LogConfig at [log] {
        /// Size at which a segment is full and the next begins; a multiple of 4 KiB.
        segment_bytes: ByteSize = ByteSize::mib(128), "size";
        /// Bytes a partition keeps before its oldest segments are deleted; -1 for no limit.
        retention_bytes: SizeLimit = SizeLimit(None), "size|-1";
        /// Age at which a segment is deleted, by the time its records arrived at the broker; -1 for no limit.
        retention_ms: MillisLimit = MillisLimit(Some(TimeSpan::from_millis(604_800_000))), "milliseconds|duration|-1";
        /// How often retention is looked at.
        retention_check_interval: TimeSpan = TimeSpan::from_secs(10), "duration";
        /// Free space on the disk below which produce requests are refused; reads and deletes go on.
        min_free_bytes: ByteSize = ByteSize::gib(1), "size";
        /// Largest record batch a producer may send, as it is on the wire.
        max_message_bytes: ByteSize = ByteSize::new(1_048_588), "size";
        /// Bytes of log between two entries of the offset and time indexes.
        index_interval_bytes: ByteSize = ByteSize::kib(32), "size";
        /// Zero-filled segments each shard keeps ready, so that a roll does not wait for the disk.
        pool_segments: u32 = 2, "count";
        /// How often a topic with relaxed durability is synced. Other topics are always synced before they answer.
        relaxed_sync_interval: TimeSpan = TimeSpan::from_secs(1), "duration";
        /// How long the sequence numbers of an idle idempotent producer are remembered.
        producer_id_expiration: TimeSpan = TimeSpan::from_secs(86_400), "duration";
    }
}

section! {
    /// The cleaner, which compacts the logs of topics with cleanup.policy=compact.
    pub struct CompactionConfig at [compaction] {
        /// How often each shard looks for logs that are worth a pass.
        check_interval: TimeSpan = TimeSpan::from_secs(15), "duration";
        /// Memory for keys during a pass, per shard: 24 bytes for each. With less a log takes more passes.
        memory_bytes: ByteSize = ByteSize::mib(16), "size";
        /// Bytes the cleaner of a shard reads and writes per second; -1 for no limit.
        bytes_per_second: SizeLimit = SizeLimit(Some(ByteSize::mib(64))), "size|-1";
    }
}

section! {
    /// The scrub, which reads sealed segments again to find rot before a reader does.
    pub struct ScrubConfig at [scrub] {
        /// Time between the end of a pass over all logs and the beginning of the next, and from the start to the first; 0s for
        /// no scrub.
        interval: TimeSpan = TimeSpan::from_secs(604_800), "duration";
        /// Bytes the broker reads for it per second, all shards together; -1 for no limit.
        bytes_per_second: SizeLimit = SizeLimit(Some(ByteSize::mib(4))), "size|-1";
    }
}

section! {
    /// Consumer groups and their committed offsets.
    pub struct GroupConfig at [group] {
        /// Shortest session timeout a member may ask for.
        session_timeout_min: TimeSpan = TimeSpan::from_secs(6), "duration";
        /// Longest session timeout a member may ask for.
        session_timeout_max: TimeSpan = TimeSpan::from_secs(1800), "duration";
        /// How long an empty group waits for more members before its first generation. Longer saves rebalances when
        /// many consumers start together; 0s is quickest for one.
        initial_rebalance_delay: TimeSpan = TimeSpan::from_secs(3), "duration";
        /// Most members of a group.
        max_size: u32 = 2_147_483_647, "count";
        /// Partitions of the topic that groups are kept in, when it is created.
        offsets_partitions: u32 = 50, "count";
        /// How long committed offsets are kept after their group lost its last member, or after the commit for
        /// consumers that are in no group.
        offsets_retention: TimeSpan = TimeSpan::from_secs(604_800), "duration";
        /// How often expired offsets are looked for.
        offsets_retention_check_interval: TimeSpan = TimeSpan::from_secs(600), "duration";
        /// Longest note a client may add to an offset.
        offset_metadata_max: ByteSize = ByteSize::kib(4), "size";
        /// A member of a group of the newer protocol (KIP-848) that is silent for so long is gone.
        consumer_session_timeout: TimeSpan = TimeSpan::from_secs(45), "duration";
        /// How often members of such groups are told to report.
        consumer_heartbeat_interval: TimeSpan = TimeSpan::from_secs(5), "duration";
        /// Most members of such a group.
        consumer_max_size: u32 = 2_147_483_647, "count";
    }
}

impl Config {
    /// Every setting there is, in the order of the default file.
    pub fn fields() -> impl Iterator<Item = &'static Field> {
        [
            Self::FIELDS,
            KafkaConfig::FIELDS,
            NativeConfig::FIELDS,
            AdminConfig::FIELDS,
            RuntimeConfig::FIELDS,
            LogConfig::FIELDS,
            CompactionConfig::FIELDS,
            ScrubConfig::FIELDS,
            GroupConfig::FIELDS,
        ]
        .into_iter()
        .flatten()
    }

    /// Bytes of requests a shard may hold at once: a quarter of its memory.
    #[must_use]
    pub fn request_budget(&self) -> ByteSize {
        ByteSize::new(self.memory.get() / REQUEST_SHARE)
    }

    /// The largest request that is accepted: `max_frame_bytes`, or the request budget where that is smaller,
    /// since a request that cannot fit in its budget would wait for ever.
    #[must_use]
    pub fn frame_bytes_max(&self) -> ByteSize {
        self.kafka.max_frame_bytes.min(self.request_budget())
    }

    /// The core of each shard, in shard order, when `allowed` (ascending) is what the affinity mask permits.
    ///
    /// # Errors
    /// `cores` asks for what the mask does not allow.
    pub fn shard_cores(&self, allowed: &[usize]) -> Result<Vec<usize>, Problem> {
        let cores = self.cores.resolve(allowed).map_err(|message| Problem {
            key: "cores",
            message,
        })?;
        let count = match usize::try_from(self.runtime.shards) {
            Ok(0) | Err(_) => cores.len(),
            Ok(count) => count,
        };
        Ok(cores.into_iter().cycle().take(count).collect())
    }

    /// The host clients are told to connect to.
    #[must_use]
    pub fn advertised_host(&self) -> String {
        if self.kafka.advertised_host.is_empty() {
            self.kafka.listen.0.ip().to_string()
        } else {
            self.kafka.advertised_host.clone()
        }
    }
}

/// The share of a shard's memory that requests may hold, as a divisor.
const REQUEST_SHARE: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_never_exceeds_its_budget() {
        let mut config = Config::default();
        assert_eq!(
            config.frame_bytes_max(),
            ByteSize::mib(64),
            "a quarter of 256 MiB"
        );
        config.memory = ByteSize::gib(1);
        assert_eq!(config.frame_bytes_max(), ByteSize::mib(100));
    }

    #[test]
    fn shards_take_cores_in_turn() {
        let mut config = Config::default();
        assert_eq!(config.shard_cores(&[2, 3]).unwrap(), [2, 3]);
        config.runtime.shards = 1;
        assert_eq!(config.shard_cores(&[2, 3]).unwrap(), [2]);
        config.runtime.shards = 5;
        assert_eq!(config.shard_cores(&[2, 3]).unwrap(), [2, 3, 2, 3, 2]);
        config.cores = CoreSet::List(vec![7]);
        assert_eq!(config.shard_cores(&[2, 3]).unwrap_err().key, "cores");
    }

    #[test]
    fn every_setting_reads_back_what_it_shows() {
        let mut config = Config::default();
        for field in Config::fields() {
            let value = (field.show)(&config).unwrap_or_else(|| panic!("{field:?} has no value"));
            (field.set)(&mut config, value).unwrap();
        }
        assert_eq!(config, Config::default());
    }

    #[test]
    fn keys_are_unique() {
        let mut keys: Vec<String> = Config::fields().map(Field::key).collect();
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
