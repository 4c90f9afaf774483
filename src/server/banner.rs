//! The banner: the first thing an operator sees, and often the only thing.
//!
//! It answers, in this order: what is this and is it ready; where does it listen; where is the data and is it
//! durable; which cores; what is badly tuned; what to type next. A pure function of [`BannerFacts`]; it goes to
//! stderr, so that stdout stays data.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::units::ByteSize;
use crate::runtime::probe::DataDirProbe;

use super::checks::Warning;
use super::config::{Advertise, CoreList, WriteSync};

/// What the banner tells.
#[derive(Clone, Debug)]
pub struct BannerFacts {
    /// The version, such as `0.1.0`.
    pub version: String,
    /// Time from the start of the process to the first accepted connection.
    pub ready_after: Duration,
    /// The bootstrap address.
    pub kafka: SocketAddr,
    /// One address a shard, in shard order; empty with `advertise = "single"`.
    pub kafka_per_core: Vec<SocketAddr>,
    /// The native base address, if there is a native door.
    pub native: Option<SocketAddr>,
    /// As `kafka_per_core`.
    pub native_per_core: Vec<SocketAddr>,
    /// What clients are told.
    pub advertise: Advertise,
    /// The host clients are told to connect to.
    pub advertised_host: String,
    /// The admin server.
    pub admin: SocketAddr,
    /// The data directory as it was given.
    pub data_dir: PathBuf,
    /// What is under it.
    pub disk: DataDirProbe,
    /// How writes are made durable.
    pub write_sync: WriteSync,
    /// Topics with `corelog.durability=relaxed`.
    pub relaxed_topics: usize,
    /// The core of each shard, in shard order.
    pub cores: Vec<usize>,
    /// Memory of each shard.
    pub memory: ByteSize,
    /// Topics and partitions that were found.
    pub topics: usize,
    /// See `topics`.
    pub partitions: usize,
    /// Partitions that recovery marked damaged.
    pub damaged_partitions: usize,
    /// What could be better.
    pub warnings: Vec<Warning>,
}

/// The banner, ending in a newline.
#[must_use]
pub fn banner(facts: &BannerFacts) -> String {
    let mut out = Banner(format!(
        "corelog {:<42} ready in {} ms\n",
        facts.version,
        facts.ready_after.as_millis()
    ));
    out.line("kafka", &kafka(facts));
    if let Some(native) = facts.native {
        out.line("native", &ports(native, &facts.native_per_core));
    }
    out.line(
        "admin",
        &format!("http://{}  /healthz /readyz /metrics /v1/node", facts.admin),
    );
    out.line("data", &data(facts));
    out.line("durable", &durability(facts));
    out.line("cores", &cores(facts));
    out.line("topics", &topics(facts));
    out.warnings(&facts.warnings);
    out.line("try", &next_command(facts));
    out.0
}

struct Banner(String);

impl Banner {
    fn line(&mut self, label: &str, text: &str) {
        writeln!(self.0, "  {label:<8} {text}").expect("writing to a string cannot fail");
    }

    fn warnings(&mut self, warnings: &[Warning]) {
        match warnings.len() {
            0 => self.line("checks", "passed"),
            1 => self.line("checks", "1 warning, see tuning.md"),
            count => self.line("checks", &format!("{count} warnings, see tuning.md")),
        }
        for warning in warnings {
            self.line("", &format!("! {warning}"));
        }
    }
}

/// A base address and the ports of the shards.
fn ports(base: SocketAddr, per_core: &[SocketAddr]) -> String {
    let mut text = base.to_string();
    match per_core {
        [] => text.push_str("  one broker (single)"),
        [only] => push(&mut text, format_args!("  shard 0 on port {}", only.port())),
        [first, .., last] => push(
            &mut text,
            format_args!(
                "  shards 0-{} on ports {}-{}",
                per_core.len() - 1,
                first.port(),
                last.port()
            ),
        ),
    }
    text
}

fn kafka(facts: &BannerFacts) -> String {
    let mut text = ports(facts.kafka, &facts.kafka_per_core);
    if facts.advertised_host != facts.kafka.ip().to_string() {
        push(
            &mut text,
            format_args!("  advertised as {}", facts.advertised_host),
        );
    }
    text
}

fn data(facts: &BannerFacts) -> String {
    let disk = &facts.disk;
    let mut text = format!("{}  {}", facts.data_dir.display(), disk.filesystem);
    if !disk.device.is_empty() && disk.device != disk.filesystem {
        push(&mut text, format_args!(" on {}", disk.device));
    }
    let free = ByteSize::new(disk.free_bytes).approximate();
    push(
        &mut text,
        format_args!("  free {free}  O_DIRECT align {}", disk.dma_alignment_bytes),
    );
    text
}

fn durability(facts: &BannerFacts) -> String {
    let how = match facts.write_sync {
        WriteSync::Dsync => "RWF_DSYNC",
        WriteSync::Link => "write then fdatasync",
    };
    let mut text = format!("every acknowledged record is on the disk ({how}, group commit)");
    match facts.relaxed_topics {
        0 => {}
        1 => text.push_str("; 1 topic is relaxed"),
        count => push(&mut text, format_args!("; {count} topics are relaxed")),
    }
    text
}

fn cores(facts: &BannerFacts) -> String {
    let count = facts.cores.len();
    let plural = if count == 1 { "" } else { "s" };
    format!(
        "{count} shard{plural} on core{plural} {}  memory {count} x {}",
        CoreList(&facts.cores),
        facts.memory
    )
}

fn topics(facts: &BannerFacts) -> String {
    let mut text = format!("{} with {} partitions", facts.topics, facts.partitions);
    if facts.damaged_partitions > 0 {
        push(
            &mut text,
            format_args!(", {} DAMAGED: corelog log verify", facts.damaged_partitions),
        );
    }
    text
}

fn next_command(facts: &BannerFacts) -> String {
    let usual = facts.kafka.port() == DEFAULT_PORT && facts.kafka.ip().is_loopback();
    let brokers = if usual {
        String::new()
    } else {
        format!(" --brokers {}", reachable(facts.kafka))
    };
    format!(
        "corelog topic create hello -p 4{brokers} && echo hi | corelog produce hello{brokers} && \
         corelog consume hello -n 1{brokers}"
    )
}

/// An address one can connect to: a wildcard is not one.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], address.port()))
    } else {
        address
    }
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("writing to a string cannot fail");
}

/// Where the command line looks for a broker when it is not told.
const DEFAULT_PORT: u16 = 9092;

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn facts() -> BannerFacts {
        BannerFacts {
            version: "0.1.0".to_owned(),
            ready_after: Duration::from_millis(143),
            kafka: ([127, 0, 0, 1], 9092).into(),
            kafka_per_core: (9093..9096).map(|port| ([127, 0, 0, 1], port).into()).collect(),
            native: Some(([127, 0, 0, 1], 9192).into()),
            native_per_core: (9193..9196).map(|port| ([127, 0, 0, 1], port).into()).collect(),
            advertise: Advertise::PerCore,
            advertised_host: "127.0.0.1".to_owned(),
            admin: ([127, 0, 0, 1], 9644).into(),
            data_dir: "./corelog-data".into(),
            disk: DataDirProbe {
                filesystem: "xfs".to_owned(),
                device: "/dev/nvme0n1".to_owned(),
                free_bytes: 412 << 30,
                dma_alignment_bytes: 512,
            },
            write_sync: WriteSync::Dsync,
            relaxed_topics: 0,
            cores: vec![0, 1, 3],
            memory: ByteSize::mib(256),
            topics: 2,
            partitions: 12,
            damaged_partitions: 0,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_sound_start() {
        expect![[r#"
            corelog 0.1.0                                      ready in 143 ms
              kafka    127.0.0.1:9092  shards 0-2 on ports 9093-9095
              native   127.0.0.1:9192  shards 0-2 on ports 9193-9195
              admin    http://127.0.0.1:9644  /healthz /readyz /metrics /v1/node
              data     ./corelog-data  xfs on /dev/nvme0n1  free 412 GiB  O_DIRECT align 512
              durable  every acknowledged record is on the disk (RWF_DSYNC, group commit)
              cores    3 shards on cores 0-1,3  memory 3 x 256MiB
              topics   2 with 12 partitions
              checks   passed
              try      corelog topic create hello -p 4 && echo hi | corelog produce hello && corelog consume hello -n 1
        "#]].assert_eq(&banner(&facts()));
    }

    #[test]
    fn everything_worth_a_look() {
        let facts = BannerFacts {
            kafka: ([0, 0, 0, 0], 19092).into(),
            kafka_per_core: Vec::new(),
            native: None,
            native_per_core: Vec::new(),
            advertise: Advertise::Single,
            advertised_host: "broker.example".to_owned(),
            disk: DataDirProbe {
                filesystem: "tmpfs".to_owned(),
                device: "tmpfs".to_owned(),
                ..facts().disk
            },
            write_sync: WriteSync::Link,
            relaxed_topics: 1,
            cores: vec![0],
            damaged_partitions: 1,
            warnings: vec![
                Warning {
                    id: "data-filesystem",
                    message: "the data directory is in memory".to_owned(),
                },
                Warning {
                    id: "insecure",
                    message: "0.0.0.0:19092 is open to other machines".to_owned(),
                },
            ],
            ..facts()
        };
        expect![[r#"
            corelog 0.1.0                                      ready in 143 ms
              kafka    0.0.0.0:19092  one broker (single)  advertised as broker.example
              admin    http://127.0.0.1:9644  /healthz /readyz /metrics /v1/node
              data     ./corelog-data  tmpfs  free 412 GiB  O_DIRECT align 512
              durable  every acknowledged record is on the disk (write then fdatasync, group commit); 1 topic is relaxed
              cores    1 shard on core 0  memory 1 x 256MiB
              topics   2 with 12 partitions, 1 DAMAGED: corelog log verify
              checks   2 warnings, see tuning.md
                       ! data-filesystem: the data directory is in memory
                       ! insecure: 0.0.0.0:19092 is open to other machines
              try      corelog topic create hello -p 4 --brokers 127.0.0.1:19092 && echo hi | corelog produce hello --brokers 127.0.0.1:19092 && corelog consume hello -n 1 --brokers 127.0.0.1:19092
        "#]].assert_eq(&banner(&facts));
    }
}
