//! What must hold between settings before a server may start with them.
//!
//! Types have already refused what is not a number, an address or a word; these are the rules that need more than
//! one value or a judgement. Each answer names the setting, what is wrong and what to do. Rules that need the
//! machine (does the core exist, does the disk do direct I/O) are in `server::checks`.

use std::fmt;

use tracing_subscriber::EnvFilter;

use crate::base::units::{ByteSize, TimeSpan};

use super::values::CORES_MAX;
use super::{Advertise, Config, ListenAddr};

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting that has to change.
    pub key: &'static str,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

impl Config {
    /// Everything that is wrong, in the order of the file; empty when a server may start.
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        let mut found = Found(Vec::new());
        self.check_memory(&mut found);
        self.check_log_level(&mut found);
        self.check_exposure(&mut found);
        self.check_kafka(&mut found);
        self.check_runtime(&mut found);
        self.check_log(&mut found);
        self.check_group(&mut found);
        found.0
    }

    /// Everything that is wrong with the ports once `shard_count` shards each want one.
    #[must_use]
    pub fn check_ports(&self, shard_count: usize) -> Vec<Problem> {
        let mut found = Found(Vec::new());
        let ports = |listen: ListenAddr| {
            let base = usize::from(listen.0.port());
            match self.kafka.advertise {
                Advertise::PerCore => base..=base + shard_count,
                Advertise::Single => base..=base,
            }
        };
        let mut doors = vec![("kafka.listen", "Kafka", self.kafka.listen)];
        if self.native.enabled {
            doors.push(("native.listen", "native", self.native.listen));
        }
        let admin = self.admin.listen;
        let admin_port = usize::from(admin.0.port());
        for (key, name, listen) in doors {
            let range = ports(listen);
            let (base, last) = (*range.start(), *range.end());
            if base == 0 {
                continue;
            }
            if last > usize::from(u16::MAX) {
                found.say(
                    key,
                    format!("{shard_count} shards need ports {base} to {last}, above 65535"),
                );
            }
            if range.contains(&admin_port) && overlap(listen, admin) {
                let what = format!(
                    "port {admin_port} is also one of the {name} ports {base} to {last}: choose another"
                );
                found.say("admin.listen", what);
            }
        }
        let (kafka, native) = (ports(self.kafka.listen), ports(self.native.listen));
        let apart = kafka.end() < native.start() || native.end() < kafka.start();
        let chosen = *kafka.start() != 0 && *native.start() != 0;
        if self.native.enabled && chosen && !apart && overlap(self.kafka.listen, self.native.listen) {
            let what = format!(
                "ports {} to {} are wanted, some are Kafka ports ({} to {}): choose others",
                native.start(),
                native.end(),
                kafka.start(),
                kafka.end()
            );
            found.say("native.listen", what);
        }
        found.0
    }

    fn check_memory(&self, found: &mut Found) {
        if self.memory < MEMORY_MIN {
            found.say(
                "memory",
                format!("{} is too little for a shard: at least {MEMORY_MIN}", self.memory),
            );
        }
        if self.data_dir.as_os_str().is_empty() {
            found.say("data_dir", "is empty: name a directory".to_owned());
        }
    }

    fn check_log_level(&self, found: &mut Found) {
        if let Err(error) = EnvFilter::try_new(&self.log_level) {
            let what = format!(
                "\"{}\" is not a log filter ({error}): such as info or debug",
                self.log_level
            );
            found.say("log_level", what);
        }
    }

    fn check_exposure(&self, found: &mut Found) {
        let mut doors = vec![("kafka.listen", self.kafka.listen)];
        if self.native.enabled {
            doors.push(("native.listen", self.native.listen));
        }
        doors.push(("admin.listen", self.admin.listen));
        for (key, address) in doors {
            if !self.insecure && !address.is_loopback() {
                found.say(key, exposed(address));
            }
        }
    }

    fn check_kafka(&self, found: &mut Found) {
        let kafka = &self.kafka;
        found.at_least_one("kafka.max_connections", kafka.max_connections);
        found.at_least_one("kafka.in_flight_max", kafka.in_flight_max);
        found.count("kafka.num_partitions", kafka.num_partitions, PARTITIONS_MAX);
        found.some_time("kafka.idle_timeout", kafka.idle_timeout);
        found.some_time("kafka.frame_timeout", kafka.frame_timeout);
        if kafka.max_frame_bytes > FRAME_BYTES_MAX {
            let what = format!(
                "{} does not fit in the protocol's 32-bit length",
                kafka.max_frame_bytes
            );
            found.say("kafka.max_frame_bytes", what);
        }
        let host = &kafka.advertised_host;
        if host.contains(|c: char| c.is_whitespace() || c == '/' || c == ',') {
            found.say(
                "kafka.advertised_host",
                format!("\"{host}\" is not a host name: write it without a port"),
            );
        }
        if host.is_empty() && kafka.listen.0.ip().is_unspecified() {
            let what = format!(
                "clients would be told to connect to {}, which is no address: set the name they reach this host by",
                kafka.listen.0.ip()
            );
            found.say("kafka.advertised_host", what);
        }
    }

    fn check_runtime(&self, found: &mut Found) {
        let shards = self.runtime.shards;
        if usize::try_from(shards).is_ok_and(|shards| shards > CORES_MAX) {
            found.say("runtime.shards", format!("{shards} is more than {CORES_MAX}"));
        }
        if self.runtime.poll_budget_us > POLL_BUDGET_US_MAX {
            let what = format!(
                "{} us is more than {POLL_BUDGET_US_MAX}",
                self.runtime.poll_budget_us
            );
            found.say("runtime.poll_budget_us", what);
        }
    }

    fn check_log(&self, found: &mut Found) {
        let log = &self.log;
        let whole_blocks = log.segment_bytes.get().is_multiple_of(SEGMENT_BLOCK);
        if log.segment_bytes < SEGMENT_BYTES_MIN || log.segment_bytes > SEGMENT_BYTES_MAX || !whole_blocks {
            let what = format!(
                "{} is not a multiple of 4KiB from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}",
                log.segment_bytes
            );
            found.say("log.segment_bytes", what);
        }
        self.check_message_size(found);
        if log.index_interval_bytes == ByteSize::ZERO {
            found.say("log.index_interval_bytes", "must be at least 1".to_owned());
        }
        found.count("log.pool_segments", log.pool_segments, POOL_SEGMENTS_MAX);
        found.some_time("log.retention_check_interval", log.retention_check_interval);
        found.some_time("log.relaxed_sync_interval", log.relaxed_sync_interval);
        found.some_time("log.producer_id_expiration", log.producer_id_expiration);
        found.some_time("compaction.check_interval", self.compaction.check_interval);
    }

    fn check_group(&self, found: &mut Found) {
        let group = &self.group;
        found.at_least_one("group.max_size", group.max_size);
        found.count(
            "group.offsets_partitions",
            group.offsets_partitions,
            OFFSETS_PARTITIONS_MAX,
        );
        found.some_time(
            "group.offsets_retention_check_interval",
            group.offsets_retention_check_interval,
        );
        if group.session_timeout_min > group.session_timeout_max {
            let what = format!(
                "{} is more than group.session_timeout_max, which is {}",
                group.session_timeout_min, group.session_timeout_max
            );
            found.say("group.session_timeout_min", what);
        }
        if group.session_timeout_max > SESSION_TIMEOUT_MAX {
            let what = format!("{} is more than {SESSION_TIMEOUT_MAX}", group.session_timeout_max);
            found.say("group.session_timeout_max", what);
        }
        if group.initial_rebalance_delay > SESSION_TIMEOUT_MAX {
            let what = format!(
                "{} is more than {SESSION_TIMEOUT_MAX}",
                group.initial_rebalance_delay
            );
            found.say("group.initial_rebalance_delay", what);
        }
        found.at_least_one("group.consumer_max_size", group.consumer_max_size);
        found.some_time(
            "group.consumer_heartbeat_interval",
            group.consumer_heartbeat_interval,
        );
        if group.consumer_session_timeout > SESSION_TIMEOUT_MAX {
            let what = format!(
                "{} is more than {SESSION_TIMEOUT_MAX}",
                group.consumer_session_timeout
            );
            found.say("group.consumer_session_timeout", what);
        }
        if group.consumer_heartbeat_interval >= group.consumer_session_timeout {
            let what = format!(
                "{} leaves no time within group.consumer_session_timeout, which is {}",
                group.consumer_heartbeat_interval, group.consumer_session_timeout
            );
            found.say("group.consumer_heartbeat_interval", what);
        }
        if group.offset_metadata_max > OFFSET_METADATA_MAX {
            let what = format!("{} is more than {OFFSET_METADATA_MAX}", group.offset_metadata_max);
            found.say("group.offset_metadata_max", what);
        }
    }

    /// The largest batch must fit, with room for the frame around it, in a request and in a segment.
    fn check_message_size(&self, found: &mut Found) {
        let wanted = self.log.max_message_bytes;
        let framed = ByteSize::new(wanted.get().saturating_add(FRAME_OVERHEAD));
        if wanted == ByteSize::ZERO {
            found.say("log.max_message_bytes", "must be at least 1".to_owned());
        }
        if framed > self.frame_bytes_max() {
            let what = format!(
                "a batch of {wanted} does not fit in a request, at most {} here (the smaller of \
                 kafka.max_frame_bytes and a quarter of memory): raise those or lower this",
                self.frame_bytes_max()
            );
            found.say("log.max_message_bytes", what);
        }
        if framed > self.log.segment_bytes {
            let what = format!(
                "a batch of {wanted} does not fit in a segment of {}",
                self.log.segment_bytes
            );
            found.say("log.max_message_bytes", what);
        }
    }
}

fn exposed(address: ListenAddr) -> String {
    format!(
        "{address} can be reached from other machines and there is no authentication yet: listen on \
         127.0.0.1, or accept that with --insecure (insecure = true)"
    )
}

/// The problems found so far.
struct Found(Vec<Problem>);

impl Found {
    fn say(&mut self, key: &'static str, message: String) {
        self.0.push(Problem { key, message });
    }

    fn at_least_one(&mut self, key: &'static str, value: u32) {
        self.count(key, value, u32::MAX);
    }

    fn count(&mut self, key: &'static str, value: u32, max: u32) {
        if value == 0 || value > max {
            let what = if max == u32::MAX {
                "must be at least 1".to_owned()
            } else {
                format!("{value} is not 1 to {max}")
            };
            self.say(key, what);
        }
    }

    fn some_time(&mut self, key: &'static str, value: TimeSpan) {
        if value < INTERVAL_MIN {
            self.say(key, format!("{value} is too short: at least {INTERVAL_MIN}"));
        }
    }
}

/// A topic's files cost memory and start-up time; no cluster is known to use more than a few hundred.
const OFFSETS_PARTITIONS_MAX: u32 = 10_000;
/// Members cannot ask for longer: the wire counts milliseconds in an `i32`, and a day is beyond use.
const SESSION_TIMEOUT_MAX: TimeSpan = TimeSpan::from_secs(86_400);
/// A note is kept as a string of at most 32767 bytes, up to three of them for one of its units.
const OFFSET_METADATA_MAX: ByteSize = ByteSize::kib(10);

/// Below this a shard cannot hold its buffers, one large request and a tail worth caching.
const MEMORY_MIN: ByteSize = ByteSize::mib(16);
/// A request's length is a positive `i32` on the wire.
const FRAME_BYTES_MAX: ByteSize = ByteSize::new(i32::MAX.unsigned_abs() as u64);
/// Headers of the request and of the log's frame around a batch, rounded up generously.
const FRAME_OVERHEAD: u64 = 4096;
/// A typing mistake here would create this many files for each new topic.
const PARTITIONS_MAX: u32 = 10_000;
/// Polling longer than this is `poll = "busy"`.
const POLL_BUDGET_US_MAX: u32 = 1_000_000;
/// The block a direct write is aligned to.
const SEGMENT_BLOCK: u64 = 4096;
const SEGMENT_BYTES_MIN: ByteSize = ByteSize::mib(1);
/// Positions in a segment's index are 32 bits.
const SEGMENT_BYTES_MAX: ByteSize = ByteSize::gib(2);
const POOL_SEGMENTS_MAX: u32 = 1_024;
/// Shorter intervals are a spin, not a period.
const INTERVAL_MIN: TimeSpan = TimeSpan::from_millis(1);

/// Whether two listeners may meet on a port.
fn overlap(one: ListenAddr, other: ListenAddr) -> bool {
    let (one, other) = (one.0.ip(), other.0.ip());
    one == other || one.is_unspecified() || other.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::CoreSet;

    fn problems(change: impl FnOnce(&mut Config)) -> Vec<&'static str> {
        let mut config = Config::default();
        change(&mut config);
        config.check().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn the_defaults_are_sound() {
        assert_eq!(Config::default().check(), []);
        assert_eq!(Config::default().check_ports(64), []);
    }

    #[test]
    fn an_open_listener_needs_a_word_of_consent() {
        let open: ListenAddr = "192.0.2.1:9092".parse().unwrap();
        assert_eq!(problems(|c| c.kafka.listen = open), ["kafka.listen"]);
        assert_eq!(problems(|c| c.admin.listen = open), ["admin.listen"]);
        let consented = problems(|c| {
            c.kafka.listen = open;
            c.admin.listen = open;
            c.insecure = true;
        });
        assert!(consented.is_empty(), "{consented:?}");
    }

    #[test]
    fn a_wildcard_address_is_not_advertised() {
        let wildcard = |c: &mut Config| {
            c.kafka.listen = "0.0.0.0:9092".parse().unwrap();
            c.insecure = true;
        };
        assert_eq!(problems(wildcard), ["kafka.advertised_host"]);
        let named = problems(|c| {
            wildcard(c);
            c.kafka.advertised_host = "broker.example".to_owned();
        });
        assert!(named.is_empty(), "{named:?}");
    }

    #[test]
    fn sizes_must_fit_in_each_other() {
        assert_eq!(
            problems(|c| c.memory = ByteSize::mib(1)),
            ["memory", "log.max_message_bytes"]
        );
        assert_eq!(
            problems(|c| c.log.max_message_bytes = ByteSize::mib(70)),
            ["log.max_message_bytes"]
        );
        assert_eq!(
            problems(|c| c.kafka.max_frame_bytes = ByteSize::mib(1)),
            ["log.max_message_bytes"]
        );
        assert_eq!(
            problems(|c| c.log.segment_bytes = ByteSize::new(5_000_000)),
            ["log.segment_bytes"]
        );
        assert_eq!(
            problems(|c| c.kafka.max_frame_bytes = ByteSize::gib(2)),
            ["kafka.max_frame_bytes"]
        );
    }

    #[test]
    fn counts_and_times_have_bounds() {
        assert_eq!(
            problems(|c| c.kafka.max_connections = 0),
            ["kafka.max_connections"]
        );
        assert_eq!(
            problems(|c| c.kafka.num_partitions = 100_000),
            ["kafka.num_partitions"]
        );
        assert_eq!(
            problems(|c| c.kafka.idle_timeout = TimeSpan::ZERO),
            ["kafka.idle_timeout"]
        );
        assert_eq!(
            problems(|c| c.log_level = "corelog=loud".to_owned()),
            ["log_level"]
        );
        assert_eq!(problems(|c| c.cores = CoreSet::Any(1)), [""; 0]);
    }

    #[test]
    fn shard_ports_do_not_run_into_the_admin_port() {
        let mut config = Config::default();
        config.admin.listen = ListenAddr::loopback(9094);
        assert_eq!(config.check_ports(1), []);
        assert_eq!(config.check_ports(2)[0].key, "admin.listen");
        config.kafka.advertise = Advertise::Single;
        assert_eq!(config.check_ports(2), []);
        config.kafka.advertise = Advertise::PerCore;
        config.kafka.listen = ListenAddr::loopback(65_530);
        assert_eq!(config.check_ports(8)[0].key, "kafka.listen");
    }
}
