//! The append path: a whole shard on one core, fed with batches from memory, against a bare ring on the same core.
//!
//! The floor is the best of several write sizes at the number of writes in flight the shard may have (one per
//! partition). Both write into files that were filled with zeros before the clock started.

use crate::floor;
use crate::report::{Figure, Goal, Report};
use crate::stats::median;
use corelog::base::{LogId, PartitionId, ShardId, Timestamp, TopicId};
use corelog::batch::{Compression, KafkaBatch, KafkaBatchBuilder};
use corelog::broker::image::Image;
use corelog::broker::topic::{self, Topic, TopicDefaults};
use corelog::runtime::clock;
use corelog::runtime::disk::WriteSync;
use corelog::runtime::executor::{self, PollMode, ShardOptions};
use corelog::runtime::mesh::Mesh;
use corelog::shard::coordinator::GroupSettings;
use corelog::shard::request::{FrameBytes, Message, ProducePart};
use corelog::shard::{Advertise, CleanerConfig, Cluster, DoorLimits, Node, ScrubConfig, Shard, ShardConfig};
use corelog::storage::layout::DataDir;
use futures_lite::future::poll_once;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const BATCH_BYTES: usize = 16 * 1024;
const ROUND_BYTES: u64 = 256 << 20;
const ROUNDS: usize = 7;
const PIECES: [usize; 4] = [128 << 10, 256 << 10, 512 << 10, 1 << 20];
const MEMORY_BYTES: usize = 256 << 20;
/// Partitions, batches in flight of each, and whether the door's checks are part of it.
const LOADS: [(u32, usize, Checks); 4] = [
    (1, 256, Checks::None),
    (4, 64, Checks::None),
    (8, 64, Checks::None),
    (8, 64, Checks::Door),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Checks {
    None,
    Door,
}

struct Load {
    topic: TopicId,
    partitions: u32,
    window: usize,
    checks: Checks,
}

pub(crate) fn measure(report: &mut Report) {
    let home = tempfile::Builder::new()
        .prefix("figures-append-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a directory beside the build");
    let place = home.path().to_owned();
    let options = ShardOptions {
        name: "append".to_owned(),
        core: 0,
        poll: PollMode::Sleep,
    };
    let figures = executor::spawn_shard(&options, move || run(place))
        .expect("a thread")
        .join()
        .expect("the shard runs");
    for figure in figures {
        report.add(figure);
    }
}

async fn run(home: PathBuf) -> Vec<Figure> {
    let data = DataDir::new(home.join("data"));
    let floor_files: Vec<File> = (0..8)
        .map(|index| floor::zero_filled(&home.join(format!("floor-{index}")), ROUND_BYTES))
        .collect();
    let (image, loads) = topics(&data);
    let pool_found = fill_pool(&data, &loads);
    let mut ports = Mesh::<Message>::new(2);
    let _control = ports.pop().expect("the control thread's port");
    let port = ports.pop().expect("the shard's port");
    let shard = Shard::start(config(data, image, pool_found), port).expect("a shard");
    let mut figures = Vec::new();
    for load in &loads {
        figures.push(compare(&shard, &floor_files, load).await);
    }
    figures
}

/// Alternates bare ring and shard; the floor is the best write size of the medians.
async fn compare(shard: &Rc<Shard>, files: &[File], load: &Load) -> Figure {
    let files = &files[..load.partitions as usize];
    let mut bare: Vec<Vec<f64>> = PIECES.iter().map(|_| Vec::new()).collect();
    let mut ours = Vec::new();
    let mut write_bytes = Vec::new();
    for round in 0..=ROUNDS {
        for (samples, piece) in bare.iter_mut().zip(PIECES) {
            let took = floor::durable_writes(files, piece, ROUND_BYTES);
            samples.push(rate(took));
        }
        let writes = shard.probe().writes.get();
        let took = feed(shard, load).await;
        if round == 0 {
            // The first round walks up the segment sizes and warms everything.
            bare.iter_mut().for_each(Vec::clear);
            continue;
        }
        ours.push(rate(took));
        write_bytes.push(ROUND_BYTES as f64 / (shard.probe().writes.get() - writes) as f64 / 1024.0);
    }
    let floors: Vec<f64> = bare.iter_mut().map(|samples| median(samples)).collect();
    let best = floors.iter().copied().fold(0.0, f64::max);
    let by_piece: Vec<String> = floors.iter().map(|floor| format!("{floor:.0}")).collect();
    let checks = if load.checks == Checks::Door {
        ", door checks"
    } else {
        ""
    };
    Figure {
        name: format!("append 16 KiB, {} partition(s){checks}", load.partitions),
        value: median(&mut ours),
        floor: Some(best),
        unit: "MB/s",
        goal: Goal::RatioAtLeast(0.8),
        durability: "durable(dsync)",
        note: format!(
            "window {}, {:.0} KiB a write; bare 128K/256K/512K/1M: {}",
            load.window,
            median(&mut write_bytes),
            by_piece.join("/")
        ),
    }
}

fn rate(took: Duration) -> f64 {
    ROUND_BYTES as f64 / took.as_secs_f64() / 1e6
}

/// Produces `ROUND_BYTES` over all partitions, `window` batches of each in flight.
async fn feed(shard: &Rc<Shard>, load: &Load) -> Duration {
    let batch: FrameBytes = Arc::new(batch());
    let total = ROUND_BYTES / batch.len() as u64 / u64::from(load.partitions);
    let done = Rc::new(std::cell::Cell::new(0));
    let finished = Rc::new(corelog::runtime::local::Notify::default());
    let begun = clock::now();
    for partition in 0..load.partitions {
        let log = LogId {
            topic: load.topic,
            partition: PartitionId::new(partition),
        };
        let (shard, batch, done, finished) = (
            Rc::clone(shard),
            Arc::clone(&batch),
            Rc::clone(&done),
            Rc::clone(&finished),
        );
        let (window, checks) = (load.window, load.checks);
        executor::spawn(async move {
            feed_one(&shard, &batch, log, total, window, checks).await;
            done.set(done.get() + 1);
            finished.notify();
        });
    }
    while done.get() < load.partitions {
        finished.notified().await;
    }
    clock::now().since(begun)
}

/// As a connection does it: first stages in order, answers taken in order.
async fn feed_one(
    shard: &Rc<Shard>,
    batch: &FrameBytes,
    log: LogId,
    total: u64,
    window: usize,
    checks: Checks,
) {
    let mut pending = VecDeque::with_capacity(window);
    let mut sent = 0;
    while sent < total || !pending.is_empty() {
        while sent < total && pending.len() < window {
            if checks == Checks::Door {
                let parsed = KafkaBatch::parse(batch).expect("a batch");
                parsed.verify_crc().expect("its checksum");
                parsed.check_produced().expect("its meaning");
            }
            let part = ProducePart {
                log,
                batch: 0..batch.len(),
                encoding: corelog::batch::Encoding::Kafka,
            };
            let stage = shard.produce(Arc::clone(batch), vec![part]).await;
            pending.push_back(Box::pin(stage.finish()));
            sent += 1;
        }
        if let Some(first) = pending.pop_front() {
            acked(&first.await);
        }
        while let Some(next) = pending.front_mut() {
            let Some(results) = poll_once(next).await else {
                break;
            };
            acked(&results);
            pending.pop_front();
        }
    }
}

fn acked<T: std::fmt::Debug, E: std::fmt::Debug>(results: &[Result<T, E>]) {
    assert!(
        results.iter().all(Result::is_ok),
        "every batch is acked: {results:?}"
    );
}

/// A batch of sixteen records of about 1 KiB.
pub(crate) fn batch() -> Vec<u8> {
    batch_of(16, BATCH_BYTES / 16 - 16)
}

/// An uncompressed batch of `records` with values of `value_bytes`.
pub(crate) fn batch_of(records: usize, value_bytes: usize) -> Vec<u8> {
    let mut builder = KafkaBatchBuilder::new();
    let value: Vec<u8> = (0..=u8::MAX).cycle().take(value_bytes).collect();
    for _ in 0..records {
        builder.push(None, Some(&value), Timestamp::new(1_700_000_000_000), []);
    }
    builder.build(Compression::None, None).expect("a batch")
}

fn topics(data: &DataDir) -> (Image, Vec<Load>) {
    let mut image = Image::default();
    let mut loads = Vec::new();
    for (index, (partitions, window, checks)) in LOADS.into_iter().enumerate() {
        let name = format!("load-{index}");
        let id = TopicId::new([u8::try_from(index + 1).expect("few loads"); 16]);
        for partition in 0..partitions {
            std::fs::create_dir_all(data.partition(&name, PartitionId::new(partition))).expect("directories");
        }
        let overrides = BTreeMap::new();
        image.put(Topic {
            name: name.as_str().into(),
            id,
            partitions,
            settings: topic::settings(&overrides, &TopicDefaults::default()),
            overrides,
        });
        loads.push(Load {
            topic: id,
            partitions,
            window,
            checks,
        });
    }
    (image, loads)
}

/// Zero-filled segments for every round, in the sizes the logs will ask for.
fn fill_pool(data: &DataDir, loads: &[Load]) -> Vec<(u64, PathBuf)> {
    std::fs::create_dir_all(data.pool()).expect("a pool");
    let mut found = Vec::new();
    let mut fill = |pool: &Path, size: u64| {
        let path = pool.join(format!("{size}-figures{}.seg", found.len()));
        floor::zero_filled(&path, size);
        found.push((size, path));
    };
    for load in loads {
        // Frames are a little larger than batches, and the last segment of a log is rarely full.
        let each = (ROUND_BYTES * (ROUNDS as u64 + 1) / u64::from(load.partitions)) / 100 * 102;
        for _ in 0..load.partitions {
            let mut have = 0;
            let mut previous = None;
            while have < each {
                let size = corelog::storage::segment::next_capacity(
                    previous,
                    TopicDefaults::default().segment_bytes,
                    BATCH_BYTES,
                );
                fill(&data.pool(), size);
                have += size;
                previous = Some(size);
            }
        }
    }
    found
}

fn config(data: DataDir, image: Image, pool_found: Vec<(u64, PathBuf)>) -> ShardConfig {
    let node = Node {
        native_port: 0,
        id: 0,
        host: "localhost".to_owned(),
        port: 0,
    };
    ShardConfig {
        id: ShardId::new(0),
        cluster: Cluster {
            id: "figures".to_owned(),
            nodes: vec![node],
            advertise: Advertise::Single,
            shards: 1,
        },
        limits: DoorLimits {
            max_frame_bytes: 1 << 20,
            idle_timeout: Duration::from_secs(60),
            frame_timeout: Duration::from_secs(60),
            in_flight_max: 64,
            auto_create_topics: false,
            num_partitions: 1,
        },
        data,
        memory_bytes: MEMORY_BYTES,
        write_sync: WriteSync::Dsync,
        // Nothing is filled while the clock runs; the pool was filled before.
        pool_depth: 0,
        pool_found,
        image: Arc::new(image),
        clean: None,
        retention_check_interval: Duration::from_secs(3600),
        producer_expiration: Duration::from_secs(3600),
        cleaner: CleanerConfig {
            check_interval: Duration::from_secs(3600),
            memory_bytes: 1 << 20,
            bytes_per_second: None,
        },
        scrub: ScrubConfig {
            interval: None,
            bytes_per_second: None,
        },
        groups: GroupSettings::default(),
        fatal: Arc::new(|problem| panic!("{problem}")),
    }
}
