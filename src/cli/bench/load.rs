//! `corelog bench produce`, `consume` and `e2e`: from arguments to runs, and from runs to tables and files.
//!
//! Topics without a name (`-t`) are made for the run and removed behind it; topics with one are found or made, and kept.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::show;
use crate::base::units::{ByteSize, TimeSpan};
use crate::bench::engine::{self, Outcome};
use crate::bench::environment::{BrokerHost, Subject, capture};
use crate::bench::omb::{OMB_FILE, result_json};
use crate::bench::output;
use crate::bench::report::{REPORT_FILE, Report};
use crate::bench::result::{RESULT_FILE, write_json};
use crate::bench::schedule::Arrival;
use crate::bench::spec::{Keys, Kind, Rate, RunSpec};
use crate::bench::wire::amqp::AmqpDoor;
use crate::bench::wire::kafka::KafkaDoor;
use crate::bench::wire::native::NativeDoor;
use crate::bench::wire::nats::NatsDoor;
use crate::bench::wire::resp::RespDoor;
use crate::bench::wire::{Acks, Door, TopicSpec};
use crate::cli::args::{Assignment, OutputFormat};
use crate::cli::{CliError, Streams};
use crate::runtime::clock::wall_ms;

/// `bench produce` and `bench e2e`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Messages per second of all producers together, such as 500, 200k or 1.5M; max for as many as the windows allow
    #[arg(long, default_value = "10k")]
    pub rate: Rate,
    /// How to drive it.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Runs, one after another; the median by response p99 is shown with the spread
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeat: u32,
}

/// `bench consume`.
#[derive(Debug, Args)]
pub struct ConsumeLoad {
    /// Produce so much before, and read exactly that
    #[arg(long, value_name = "SIZE")]
    pub fill: Option<ByteSize>,
    /// How to drive it.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// What all runs share.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// Bytes of a value
    #[arg(long, value_name = "SIZE", default_value = "1KiB")]
    pub size: ByteSize,
    /// Topic to use and keep; a new one for each run, removed behind it, if not given
    #[arg(short, long, value_name = "NAME")]
    pub topic: Option<String>,
    /// Partitions of each topic
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub partitions: u32,
    /// Topics
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub topics: u32,
    /// A setting of the topics by the broker's name, such as retention.bytes=1000000; may be given many times
    #[arg(long = "config", value_name = "KEY=VALUE")]
    pub config: Vec<Assignment>,
    /// Producers, each with connections of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub producers: usize,
    /// Consumers of each group
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub consumers: usize,
    /// Groups of consumers; each reads everything
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub fanout: usize,
    /// The measured part; 10s if not given
    #[arg(long, value_name = "TIME")]
    pub duration: Option<TimeSpan>,
    /// Before it, under the same load, not counted; 2s if not given
    #[arg(long, value_name = "TIME")]
    pub warmup: Option<TimeSpan>,
    /// Acknowledgements to wait for
    #[arg(long, value_enum, default_value_t = AcksArg::All)]
    pub acks: AcksArg,
    /// Protocol to speak
    #[arg(long, value_enum, default_value_t = Protocol::Kafka)]
    pub proto: Protocol,
    /// Where the broker is; the protocol's usual port here if not given
    #[arg(short, long, value_name = "HOST:PORT,..", value_delimiter = ',')]
    pub bootstrap: Vec<String>,
    /// When messages are meant to be sent: fixed, poisson or burst:N
    #[arg(long, default_value = "fixed")]
    pub arrival: Arrival,
    /// Keys, and with them the partition of each message
    #[arg(long, value_enum, default_value_t = KeysArg::None)]
    pub keys: KeysArg,
    /// Producers with sequence numbers
    #[arg(long)]
    pub idempotent: bool,
    /// Ask the broker how long each stage took, where the protocol can
    #[arg(long)]
    pub stages: bool,
    /// How long a batch waits for more messages; 0 sends what is due
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub linger: TimeSpan,
    /// Bytes at which a batch is closed; 1 for one message in each
    #[arg(long, value_name = "SIZE", default_value = "128KiB")]
    pub batch_bytes: ByteSize,
    /// Requests in flight on each connection
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub in_flight: usize,
    /// Most bytes of one answer to a consumer
    #[arg(long, value_name = "SIZE", default_value = "8MiB")]
    pub fetch_bytes: ByteSize,
    /// Longest wait of a poll that finds nothing
    #[arg(long, value_name = "TIME", default_value = "500ms")]
    pub fetch_wait: TimeSpan,
    /// Threads of the generator
    #[arg(long, value_name = "N", conflicts_with = "cores")]
    pub threads: Option<usize>,
    /// Pin one thread to each of these cores, such as 8-11
    #[arg(long, value_name = "LIST")]
    pub cores: Option<CoreNumbers>,
    /// Where results go; nothing is written if not given
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Name of the run in tables and charts
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// What the broker promises with an acknowledgement, for the result
    #[arg(long, value_name = "TEXT", default_value = "unknown")]
    pub durability: String,
    /// The broker's process on this machine, to measure the cores it uses
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub broker_pid: Option<i32>,
    /// The broker's data directory on this machine, to name its disk in the result
    #[arg(long, value_name = "DIR")]
    pub broker_data: Option<PathBuf>,
    /// Self-test: the generator stops itself for so long in the middle, which must show in the response time
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub inject_stall: TimeSpan,
    /// Of arrivals, keys and payloads
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Exit with 1 if the run is invalid
    #[arg(long)]
    pub strict: bool,
    /// How to print: a table, or NDJSON with a line each second and the result last
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
}

/// Protocols the generator speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Any Kafka broker
    Kafka,
    /// Corelog's own
    Native,
    /// NATS JetStream
    Nats,
    /// Redis Streams
    Redis,
    /// AMQP 0-9-1, such as RabbitMQ
    Amqp,
}

/// Which acknowledgements a run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AcksArg {
    /// The broker's strongest
    All,
    /// None
    None,
}

/// How messages find their partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeysArg {
    /// No keys; each batch goes to the next partition
    None,
    /// Keys in turn
    RoundRobin,
    /// Keys at random
    Random,
}

/// Core numbers: `3`, `0-3,6`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreNumbers(Vec<usize>);

impl std::str::FromStr for CoreNumbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected core numbers such as 3 or 0-3,6".to_owned();
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u16, u16) = (
                first.parse().map_err(|_| wrong())?,
                last.parse().map_err(|_| wrong())?,
            );
            if last < first {
                return Err(wrong());
            }
            cores.extend((first..=last).map(usize::from));
        }
        Ok(Self(cores))
    }
}

impl Protocol {
    /// The port its brokers listen on.
    const fn port(self) -> u16 {
        match self {
            Self::Kafka => 9092,
            Self::Native => 9192,
            Self::Nats => 4222,
            Self::Redis => 6379,
            Self::Amqp => 5672,
        }
    }
}

impl LoadArgs {
    /// The run these arguments ask for.
    pub(super) fn spec(&self, kind: Kind, rate: Rate) -> RunSpec {
        let cores = self.cores.as_ref().map_or_else(Vec::new, |cores| cores.0.clone());
        let base = self
            .topic
            .clone()
            .unwrap_or_else(|| format!("bench-{:x}", wall_ms().get()));
        let names = match self.topics {
            1 => vec![base],
            count => (0..count).map(|number| format!("{base}-{number}")).collect(),
        };
        RunSpec {
            kind,
            name: self.name.clone().unwrap_or_else(|| kind.name().to_owned()),
            rate,
            arrival: self.arrival,
            size: self.size.to_usize(),
            topic: TopicSpec {
                names,
                partitions: self.partitions,
                settings: self
                    .config
                    .iter()
                    .map(|one| (one.key.clone(), one.value.clone()))
                    .collect(),
            },
            producers: self.producers,
            consumers: self.consumers,
            fanout: self.fanout,
            duration: self.duration.map_or(DURATION, TimeSpan::get),
            warmup: self.warmup.map_or(WARMUP, TimeSpan::get),
            acks: match self.acks {
                AcksArg::All => Acks::All,
                AcksArg::None => Acks::None,
            },
            keys: match self.keys {
                KeysArg::None => Keys::None,
                KeysArg::RoundRobin => Keys::RoundRobin,
                KeysArg::Random => Keys::Random,
            },
            idempotent: self.idempotent,
            stages: self.stages,
            linger: self.linger.get(),
            batch_bytes: self.batch_bytes.to_usize(),
            in_flight: self.in_flight,
            threads: self.threads.unwrap_or_else(|| cores.len().max(1)),
            cores,
            seed: self.seed,
            inject_stall: self.inject_stall.get(),
            messages: 0,
            durability: self.durability.clone(),
            broker_pid: self.broker_pid,
            fetch_bytes: u32::try_from(self.fetch_bytes.get()).unwrap_or(u32::MAX),
            fetch_wait: self.fetch_wait.get(),
        }
    }

    /// The broker these arguments name.
    pub(super) fn door(&self) -> Result<Arc<dyn Door>, CliError> {
        Ok(match self.proto {
            Protocol::Kafka => Arc::new(KafkaDoor::new(self.brokers())),
            Protocol::Native => Arc::new(NativeDoor::new(self.address()?)),
            Protocol::Nats => Arc::new(NatsDoor::new(self.address()?)),
            Protocol::Redis => Arc::new(RespDoor::new(self.address()?)),
            Protocol::Amqp => Arc::new(AmqpDoor::new(self.address()?)),
        })
    }

    /// Every broker to ask, with a port.
    fn brokers(&self) -> Vec<String> {
        if self.bootstrap.is_empty() {
            return vec![format!("127.0.0.1:{}", self.proto.port())];
        }
        let with_port = |broker: &String| match broker.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => broker.clone(),
            _ => format!("{broker}:{}", self.proto.port()),
        };
        self.bootstrap.iter().map(with_port).collect()
    }

    fn address(&self) -> Result<SocketAddr, CliError> {
        let broker = self.brokers().swap_remove(0);
        let found = broker
            .to_socket_addrs()
            .map_err(|error| CliError::Usage(format!("{broker}: {error}")))?;
        found
            .into_iter()
            .next()
            .ok_or_else(|| CliError::Usage(format!("{broker} has no address")))
    }
}

pub(super) fn produce(args: &RunArgs, streams: &mut Streams<'_>) -> Result<(), CliError> {
    repeat(Kind::Produce, args, streams)
}

pub(super) fn e2e(args: &RunArgs, streams: &mut Streams<'_>) -> Result<(), CliError> {
    repeat(Kind::E2e, args, streams)
}

/// Runs as often as asked for and shows the median run.
fn repeat(kind: Kind, args: &RunArgs, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let load = &args.load;
    let door = load.door()?;
    let mut outcomes = Vec::new();
    for number in 1..=args.repeat {
        let mut spec = load.spec(kind, args.rate);
        if args.repeat > 1 {
            writeln!(streams.err, "run {number} of {}", args.repeat)?;
            spec.name = format!("{} {number}", spec.name);
        }
        let directory = load.out.as_ref().map(|out| match args.repeat {
            1 => out.clone(),
            _ => out.join(format!("{number:04}")),
        });
        let outcome = run_once(&spec, load, &door, streams)?;
        let written = match &directory {
            Some(directory) => save(&outcome, directory)?,
            None => Vec::new(),
        };
        outcomes.push((outcome, directory, written));
    }
    outcomes.sort_by_key(|(outcome, ..)| show::headline(&outcome.result));
    let middle = (outcomes.len() - 1) / 2;
    if outcomes.len() > 1 && load.output == OutputFormat::Table {
        show::spread(outcomes.iter().map(|(outcome, ..)| &outcome.result), streams.out)?;
    }
    let (outcome, directory, written) = outcomes.swap_remove(middle);
    show::run(&outcome.result, load.output, streams.out)?;
    show::files(directory.as_deref(), &written, streams.err)?;
    let invalid =
        !outcome.result.verdict.valid || outcomes.iter().any(|(other, ..)| !other.result.verdict.valid);
    judge(load, invalid)
}

/// Fails an invalid run if it shall.
pub(super) fn judge(load: &LoadArgs, invalid: bool) -> Result<(), CliError> {
    if load.strict && invalid {
        return Err(CliError::Failed("the run is invalid".to_owned()));
    }
    Ok(())
}

pub(super) fn consume(args: &ConsumeLoad, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let load = &args.load;
    let door = load.door()?;
    let mut spec = load.spec(Kind::Consume, Rate::MAX);
    spec.warmup = Duration::ZERO;
    if args.fill.is_none() && load.topic.is_none() {
        return Err(CliError::Usage(
            "name a topic (-t) or fill a new one (--fill)".to_owned(),
        ));
    }
    if let Some(fill) = args.fill {
        spec.messages = fill.get().div_ceil(load.size.get().max(1)).max(1);
        let mut filling = spec.clone();
        filling.kind = Kind::Produce;
        filling.duration = FILL_PATIENCE;
        filling.broker_pid = None;
        writeln!(streams.err, "filling {} messages of {}", spec.messages, load.size)?;
        let filled = drive(&filling, load, &door, streams)?;
        if filled.result.totals.acked != spec.messages {
            clean_up(&filling, load, &door, streams)?;
            let reasons = filled.result.verdict.invalid.join("; ");
            return Err(CliError::Failed(format!(
                "the topic could not be filled: {reasons}"
            )));
        }
    }
    let outcome = run_once(&spec, load, &door, streams)?;
    show::run(&outcome.result, load.output, streams.out)?;
    if let Some(directory) = &load.out {
        let written = save(&outcome, directory)?;
        show::files(Some(directory), &written, streams.err)?;
    }
    judge(load, !outcome.result.verdict.valid)
}

/// The measured part, unless said otherwise.
const DURATION: Duration = Duration::from_secs(10);
/// The warm-up, unless said otherwise.
const WARMUP: Duration = Duration::from_secs(2);
/// A topic that is not full by then never will be.
const FILL_PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// One run, its environment and its cleaning up.
pub(super) fn run_once(
    spec: &RunSpec,
    load: &LoadArgs,
    door: &Arc<dyn Door>,
    streams: &mut Streams<'_>,
) -> Result<Outcome, CliError> {
    let outcome = drive(spec, load, door, streams);
    clean_up(spec, load, door, streams)?;
    let mut outcome = outcome?;
    let broker = load
        .brokers()
        .first()
        .and_then(|broker| broker.to_socket_addrs().ok()?.next());
    outcome.result.environment = capture(&Subject {
        directory: load.broker_data.clone(),
        protocol: Some(outcome.result.protocol.clone()),
        durability: Some(outcome.result.durability.clone()),
        broker: broker.map_or(BrokerHost::Unknown, BrokerHost::of),
    });
    Ok(outcome)
}

fn drive(
    spec: &RunSpec,
    load: &LoadArgs,
    door: &Arc<dyn Door>,
    streams: &mut Streams<'_>,
) -> Result<Outcome, CliError> {
    spec.check().map_err(CliError::Usage)?;
    let mut unheard = None;
    let outcome = engine::run(spec, door, &mut |live| {
        let said = show::live(live, load.output, streams);
        if let Err(error) = said {
            unheard.get_or_insert(error);
        }
    });
    let outcome = outcome.map_err(|error| CliError::Failed(format!("{error:#}")))?;
    match unheard {
        Some(error) => Err(error.into()),
        None => Ok(outcome),
    }
}

/// Removes the topics of a run that nobody named. A broker that will not is told about, and no reason to lose a result.
fn clean_up(
    spec: &RunSpec,
    load: &LoadArgs,
    door: &Arc<dyn Door>,
    streams: &mut Streams<'_>,
) -> Result<(), CliError> {
    if load.topic.is_none()
        && let Err(error) = door.clean_up(&spec.topic)
    {
        writeln!(
            streams.err,
            "warning: the topics of the run are still there: {error:#}"
        )?;
    }
    Ok(())
}

/// Writes everything a run leaves and returns the names of the files.
pub(super) fn save(outcome: &Outcome, directory: &Path) -> Result<Vec<&'static str>, CliError> {
    let failed = |error: std::io::Error| CliError::Failed(format!("{}: {error}", directory.display()));
    outcome.result.write(directory).map_err(CliError::failed)?;
    let mut written = vec![RESULT_FILE];
    written.extend(output::write(outcome, directory).map_err(failed)?);
    write_json(directory, ENVIRONMENT_FILE, &outcome.result.environment).map_err(CliError::failed)?;
    written.push(ENVIRONMENT_FILE);
    let omb = result_json(&outcome.result).map_err(CliError::failed)?;
    write_json(directory, OMB_FILE, &omb).map_err(CliError::failed)?;
    written.push(OMB_FILE);
    let report = Report::read(&[directory.to_owned()]).map_err(CliError::failed)?;
    let html = report.html().map_err(CliError::failed)?;
    std::fs::write(directory.join(REPORT_FILE), html).map_err(failed)?;
    written.push(REPORT_FILE);
    Ok(written)
}

/// The machine and the build, by themselves.
const ENVIRONMENT_FILE: &str = "env.json";
