//! The denominators: what this machine does with no broker in the way, measured in one run.
//!
//! A broker's round trip cannot be shorter than a bare TCP round trip and a bare durable write, and cannot take in
//! more than one core can receive, sum and copy, or than the disk makes durable. Each part here is as simple as it can
//! be and still keep that promise: std sockets, files filled with zeros and synced beforehand, direct I/O, `RWF_DSYNC`,
//! one file per write in flight, as the log's partitions have.
//!
//! Durable writes are measured two ways, by the crate's own ring and by one blocking thread per write in flight. The
//! lower figure is the floor; the difference is what the runtime costs. What is compared is interleaved: round trip,
//! write, and both behind one request take turns, so that a busy neighbour slows all three.
//!
//! Blocks the calling thread; its own threads are pinned, the client's side to the first allowed core and the other to
//! the last. Absent: a network other than loopback, and preconditioning the drive.

mod disk;
mod durable;
mod memory;
mod network;
mod one_in_flight;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::environment::{self, BrokerHost, Environment, Subject};
use super::result::{Distribution, SCHEMA_VERSION};
use crate::runtime::affinity::allowed_cores;
use crate::runtime::buffer::{AlignedBuffer, BLOCK_BYTES};
use crate::runtime::{clock, executor};

/// The file a floor is kept in.
pub const FLOOR_FILE: &str = "floor.json";

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct FloorOptions {
    /// A directory on the disk to measure; a scratch directory in it is made and removed.
    pub directory: PathBuf,
    /// Bytes of durable writes; each a multiple of [`BLOCK_BYTES`].
    pub sizes: Vec<usize>,
    /// Writes in flight.
    pub depths: Vec<usize>,
    /// Bytes of requests in bare round trips; answers are [`ANSWER_BYTES`] long.
    pub requests: Vec<usize>,
    /// Time for each single measurement.
    pub duration: Duration,
    /// Bytes of each scratch file; there are as many as the greatest depth.
    pub file_bytes: u64,
}

impl Default for FloorOptions {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("."),
            sizes: vec![4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20],
            depths: vec![1, 2, 4, 8],
            requests: vec![100, 1 << 10, 16 << 10, 64 << 10],
            duration: Duration::from_secs(1),
            file_bytes: 32 << 20,
        }
    }
}

/// Bytes of the answer in a round trip: about what an acknowledgement takes.
pub const ANSWER_BYTES: usize = 64;
/// Bytes of the request in the floor for one message in flight: a message of 100 bytes and its envelope.
pub const ONE_REQUEST_BYTES: usize = 200;
/// Most writes in flight that are measured.
pub const DEPTH_MAX: usize = 64;
/// Largest durable write that is measured.
pub const WRITE_BYTES_MAX: usize = 8 << 20;

/// All the denominators of one machine at one time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Floor {
    /// [`SCHEMA_VERSION`].
    pub schema: u32,
    /// When it began, milliseconds since 1970.
    pub started_ms: i64,
    /// One message in flight.
    pub one_in_flight: OneInFlight,
    /// Bare TCP round trips.
    pub round_trips: Vec<RoundTrip>,
    /// What one core can take from a socket.
    pub receive: Vec<Receive>,
    /// Durable overwrites of files filled before.
    pub durable: Vec<DurableWrite>,
    /// Appends through the page cache, each with `fdatasync`.
    pub appends: Vec<Append>,
    /// Whole files in a row, direct, without a sync until the end.
    pub sequential: Sequential,
    /// Memory and checksum rates of one core.
    pub memory: Vec<MemoryRate>,
    /// The machine and the build.
    pub environment: Environment,
}

/// The parts of one durable message, and the whole, measured in turns.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OneInFlight {
    /// Bytes of the request and of the durable write behind it.
    pub request_bytes: usize,
    /// See `request_bytes`.
    pub write_bytes: usize,
    /// A bare round trip.
    pub round_trip: Distribution,
    /// A bare durable write.
    pub write: Distribution,
    /// Round trip and write of the same turn, added.
    pub sum: Distribution,
    /// A round trip whose other side writes durably before it answers: the floor.
    pub whole: Distribution,
}

/// A bare TCP round trip over loopback.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoundTrip {
    /// Bytes there; [`ANSWER_BYTES`] come back.
    pub request_bytes: usize,
    /// Nanoseconds.
    pub latency: Distribution,
}

/// What one core takes from a socket that another core keeps full.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Receive {
    /// `receive`, or `receive+crc32c+copy`.
    pub what: String,
    /// By the clock on the wall: also bounded by the sender.
    pub bytes_per_second: f64,
    /// By the receiving thread's processor time: what a whole core could do.
    pub bytes_per_cpu_second: f64,
}

/// How durable writes were driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// The crate's io_uring, from one thread.
    Ring,
    /// `pwritev2`, one blocking thread for each write in flight.
    Threads,
}

/// Durable writes of one size and depth.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DurableWrite {
    /// How they were driven.
    pub driver: Driver,
    /// Bytes of each.
    pub bytes: usize,
    /// How many were in flight, each to its own file.
    pub depth: usize,
    /// Nanoseconds of each.
    pub latency: Distribution,
    /// Of all together.
    pub bytes_per_second: f64,
    /// Of all together.
    pub writes_per_second: f64,
}

/// Appends through the page cache, each followed by `fdatasync`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Append {
    /// Bytes of each.
    pub bytes: usize,
    /// Nanoseconds of each, sync included.
    pub latency: Distribution,
}

/// Files in a row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sequential {
    /// Bytes of each operation, and how many were in flight.
    pub bytes: usize,
    /// See `bytes`.
    pub depth: usize,
    /// Written, the final sync included.
    pub write_bytes_per_second: f64,
    /// Read past the page cache; a device may answer from its own memory.
    pub read_bytes_per_second: f64,
}

/// A rate of one core over a working set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemoryRate {
    /// `memcpy` or `crc32c`.
    pub what: String,
    /// Bytes of the working set: a small one stays in the caches.
    pub working_set: usize,
    /// Bytes copied, or summed, a second.
    pub bytes_per_second: f64,
}

/// Measures everything `options` name; `progress` is told what comes next. Takes about `duration` times the number of
/// measurements.
///
/// # Errors
/// Options out of bounds, or what the disk or the kernel says.
pub fn measure(options: &FloorOptions, progress: &mut dyn FnMut(&str)) -> anyhow::Result<Floor> {
    check(options)?;
    let cores = Cores::choose()?;
    let started_ms = clock::wall_ms().get();
    progress("scratch files");
    let scratch = Scratch::create(options)?;
    progress("one message in flight");
    let one_in_flight = one_in_flight::measure(&scratch, cores, options.duration * ONE_IN_FLIGHT_SHARE)?;
    progress("TCP round trips");
    let round_trips = network::round_trips(options, cores)?;
    progress("what one core can receive");
    let receive = network::receive(options.duration, cores)?;
    progress("memory and checksums");
    let memory = memory::measure(options.duration);
    progress("durable writes");
    let durable = durable::measure(options, &scratch, progress)?;
    progress("appends with fdatasync");
    let appends = disk::appends(options, &scratch)?;
    progress("sequential writes and reads");
    let sequential = disk::sequential(options.duration, &scratch)?;
    Ok(Floor {
        schema: SCHEMA_VERSION,
        started_ms,
        one_in_flight,
        round_trips,
        receive,
        durable,
        appends,
        sequential,
        memory,
        environment: environment::capture(&Subject {
            directory: Some(options.directory.clone()),
            durability: Some("O_DIRECT with RWF_DSYNC".to_owned()),
            protocol: Some("none".to_owned()),
            broker: BrokerHost::Unknown,
        }),
    })
}

/// Three things take turns there, and all ratios are taken to them.
const ONE_IN_FLIGHT_SHARE: u32 = 3;

fn check(options: &FloorOptions) -> anyhow::Result<()> {
    for &size in &options.sizes {
        anyhow::ensure!(
            size > 0 && size <= WRITE_BYTES_MAX && size.is_multiple_of(BLOCK_BYTES),
            "a durable write is a multiple of {BLOCK_BYTES} bytes up to {WRITE_BYTES_MAX}, not {size}"
        );
        anyhow::ensure!(
            u64::try_from(size).is_ok_and(|size| size <= options.file_bytes),
            "a write of {size} bytes does not fit scratch files of {}",
            options.file_bytes
        );
    }
    for &depth in &options.depths {
        anyhow::ensure!(
            depth > 0 && depth <= DEPTH_MAX,
            "1 to {DEPTH_MAX} writes in flight, not {depth}"
        );
    }
    anyhow::ensure!(
        !options.sizes.is_empty() && !options.depths.is_empty() && !options.requests.is_empty(),
        "at least one size, depth and request are needed"
    );
    Ok(())
}

/// Where the two sides of a measurement run.
#[derive(Clone, Copy)]
struct Cores {
    near: usize,
    far: usize,
}

impl Cores {
    fn choose() -> anyhow::Result<Self> {
        let allowed = allowed_cores()?;
        let near = *allowed.first().context("no core is allowed")?;
        let far = *allowed.last().context("no core is allowed")?;
        Ok(Self { near, far })
    }
}

/// Runs `work` on a thread of its own, pinned to `core` if one is named; the answer comes through the receiver.
fn on_thread<T: Send + 'static>(
    name: &str,
    core: Option<usize>,
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<mpsc::Receiver<T>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    executor::spawn_thread(name, move || {
        if let Some(core) = core {
            // A core that went away leaves the thread where the kernel puts it; the figures are still true.
            let _pinned = crate::runtime::affinity::pin_current(core);
        }
        // Nobody waits any more when this fails.
        let _taken = sender.send(work());
    })
    .context("a thread")?;
    Ok(receiver)
}

/// Files filled with zeros and synced, in a directory that goes when this does.
struct Scratch {
    directory: PathBuf,
    file_bytes: u64,
    count: usize,
}

impl Scratch {
    fn create(options: &FloorOptions) -> anyhow::Result<Self> {
        let directory = options
            .directory
            .join(format!("corelog-floor-{}", std::process::id()));
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let scratch = Self {
            directory,
            file_bytes: options.file_bytes,
            count: options.depths.iter().copied().max().unwrap_or(1),
        };
        for index in 0..scratch.count {
            fill(&scratch.file(index), scratch.file_bytes)
                .with_context(|| format!("cannot fill {}", scratch.file(index).display()))?;
        }
        Ok(scratch)
    }

    fn file(&self, index: usize) -> PathBuf {
        self.directory.join(format!("zeros-{index}"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left; the name says whose it was.
        let _removed = fs::remove_dir_all(&self.directory);
    }
}

fn direct(path: &Path, create: bool) -> std::io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(create)
        .custom_flags(libc::O_DIRECT)
        .open(path)
}

fn fill(path: &Path, bytes: u64) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    let file = direct(path, true)?;
    let zeros = AlignedBuffer::zeroed(FILL_BYTES);
    let mut at = 0;
    while at < bytes {
        let take = usize::try_from(bytes - at).unwrap_or(FILL_BYTES).min(FILL_BYTES);
        file.write_all_at(&zeros[..take], at)?;
        at += u64::try_from(take).unwrap_or(bytes);
    }
    file.sync_all()
}

/// Bytes written at once when filling.
const FILL_BYTES: usize = 1 << 20;

/// Nanoseconds of `duration`, for a histogram.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    histogram.saturating_record(nanos(duration));
}

#[expect(clippy::cast_precision_loss, reason = "a rate of 53 bits is precise enough")]
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_measures_everything_and_leaves_nothing() {
        let home = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let options = FloorOptions {
            directory: home.path().to_owned(),
            sizes: vec![4 << 10, 512 << 10],
            depths: vec![1, 2],
            requests: vec![100],
            duration: Duration::from_millis(5),
            file_bytes: 1 << 20,
        };
        let mut said = Vec::new();
        let floor = measure(&options, &mut |line| said.push(line.to_owned())).unwrap();
        assert_eq!(floor.durable.len(), 2 * 2 * 2);
        let one = &floor.one_in_flight;
        let parts = [&one.round_trip, &one.write, &one.sum, &one.whole];
        assert!(
            parts
                .iter()
                .all(|part| part.count > 0 && part.count == one.whole.count && part.min > 0)
        );
        assert!(
            floor
                .durable
                .iter()
                .all(|row| row.latency.count > 0 && row.bytes_per_second > 0.0)
        );
        assert!(floor.round_trips.iter().all(|row| row.latency.count > 0));
        assert!(floor.receive.len() == 2 && floor.receive.iter().all(|row| row.bytes_per_cpu_second > 0.0));
        assert!(floor.appends.len() == 2 && floor.appends.iter().all(|row| row.latency.count > 0));
        assert!(
            floor.sequential.write_bytes_per_second > 0.0 && floor.sequential.read_bytes_per_second > 0.0
        );
        assert!(floor.memory.len() == 4 && floor.memory.iter().all(|row| row.bytes_per_second > 0.0));
        assert!(
            said.iter().any(|line| line.contains("524288 bytes, 2 in flight")),
            "{said:?}"
        );
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn options_that_cannot_be_measured_are_refused_before_anything_is_written() {
        let good = FloorOptions::default();
        for bad in [
            FloorOptions {
                sizes: vec![100],
                ..good.clone()
            },
            FloorOptions {
                sizes: vec![],
                ..good.clone()
            },
            FloorOptions {
                sizes: vec![WRITE_BYTES_MAX + BLOCK_BYTES],
                ..good.clone()
            },
            FloorOptions {
                depths: vec![0],
                ..good.clone()
            },
            FloorOptions {
                depths: vec![DEPTH_MAX + 1],
                ..good.clone()
            },
            FloorOptions {
                file_bytes: 4096,
                ..good.clone()
            },
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
        check(&good).unwrap();
    }
}
