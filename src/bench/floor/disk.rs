//! The disk without a log: appends with `fdatasync`, whole files in a row, and the ring these and the durable writes use.

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::Future;
use std::io::{self, Write as _};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;

use super::one_in_flight::{PATTERN, timed};
use super::{Append, FloorOptions, Scratch, Sequential, per_second, record};
use crate::bench::result::{Distribution, new_histogram};
use crate::runtime::buffer::{Arena, ChunkClass, SLAB_BYTES};
use crate::runtime::clock;
use crate::runtime::disk::{DiskRing, File, OpenMode, Piece, WriteSync};
use crate::runtime::executor;
use crate::runtime::local::Notify;

pub(super) fn appends(options: &FloorOptions, scratch: &Scratch) -> anyhow::Result<Vec<Append>> {
    let one = |&bytes: &usize| -> io::Result<Append> {
        let path = scratch.directory.join("appended");
        let mut file = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&path)?;
        let piece = vec![PATTERN; bytes];
        let mut histogram = new_histogram();
        let (begun, mut room) = (clock::now(), scratch.file_bytes);
        let size = u64::try_from(bytes).unwrap_or(u64::MAX);
        // Bounded by space as well as by time: an append grows its file.
        while clock::now().since(begun) < options.duration && room >= size {
            let took = timed(|| {
                file.write_all(&piece)?;
                file.sync_data()
            })?;
            record(&mut histogram, took);
            room -= size;
        }
        fs::remove_file(&path)?;
        Ok(Append {
            bytes,
            latency: Distribution::of(&histogram),
        })
    };
    let all: io::Result<Vec<_>> = options.sizes.iter().map(one).collect();
    all.context("appends with fdatasync")
}

/// Bytes of one sequential operation.
const STREAM_BYTES: usize = 256 << 10;
/// Sequential operations in flight.
const STREAM_DEPTH: usize = 4;

pub(super) fn sequential(duration: Duration, scratch: &Scratch) -> anyhow::Result<Sequential> {
    let paths: Vec<_> = (0..scratch.count).map(|index| scratch.file(index)).collect();
    let file_bytes = scratch.file_bytes;
    let rates = OnRing::run(STREAM_BYTES * STREAM_DEPTH, async move |ring: OnRing| {
        let mut files = Vec::new();
        for path in paths {
            files.push(ring.disk.open_direct(&path, OpenMode::Direct).await?);
        }
        let files: Rc<[File]> = files.into();
        let write = stream(&ring, &files, Direction::Write, (file_bytes, duration)).await?;
        let read = stream(&ring, &files, Direction::Read, (file_bytes, duration)).await?;
        io::Result::Ok((write, read))
    });
    let (write, read) = rates.context("sequential writes and reads")?;
    Ok(Sequential {
        bytes: STREAM_BYTES,
        depth: STREAM_DEPTH,
        write_bytes_per_second: write,
        read_bytes_per_second: read,
    })
}

#[derive(Clone, Copy)]
enum Direction {
    Write,
    Read,
}

/// Goes through `files` from first to last, and again, several operations in flight; returns bytes a second.
async fn stream(
    ring: &OnRing,
    files: &Rc<[File]>,
    direction: Direction,
    (file_bytes, duration): (u64, Duration),
) -> io::Result<f64> {
    let step = STREAM_BYTES as u64;
    let slots = (file_bytes / step).max(1);
    let (next, done) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(0_u64)));
    let begun = clock::now();
    let mut lanes = Vec::new();
    for _ in 0..STREAM_DEPTH {
        let pieces = ring.pieces(STREAM_BYTES)?;
        let (disk, files) = (ring.disk.clone(), Rc::clone(files));
        let (next, done) = (Rc::clone(&next), Rc::clone(&done));
        lanes.push(async move {
            while clock::now().since(begun) < duration {
                let turn = next.replace(next.get() + 1);
                let index = usize::try_from(turn / slots).unwrap_or(0) % files.len();
                let (file, position) = (&files[index], turn % slots * step);
                match direction {
                    Direction::Write => {
                        disk.write(file, position, pieces.clone(), WriteSync::None)
                            .await?;
                        done.set(done.get() + step);
                    }
                    Direction::Read => {
                        let count = disk.read(file, position, pieces.clone()).await?;
                        done.set(done.get() + u64::try_from(count).unwrap_or(0));
                    }
                }
            }
            Ok(())
        });
    }
    together(lanes).await?;
    if let Direction::Write = direction {
        for file in files.iter() {
            ring.disk.sync(file).await?;
        }
    }
    Ok(per_second(done.get(), clock::now().since(begun)))
}

/// A ring with memory of its own, on an executor on the calling thread.
pub(super) struct OnRing {
    /// The ring.
    pub(super) disk: DiskRing,
    arena: Arena,
}

impl OnRing {
    /// Runs `work` with a ring and `bytes` of memory for its operations.
    pub(super) fn run<T>(bytes: usize, work: impl AsyncFnOnce(Self) -> io::Result<T>) -> io::Result<T> {
        executor::block_on(async {
            let disk = DiskRing::here();
            let arena = Arena::new(bytes + SPARE_SLABS * SLAB_BYTES)?;
            work(Self { disk, arena }).await
        })
    }

    /// Memory for one operation of `bytes`, filled with a pattern.
    pub(super) fn pieces(&self, bytes: usize) -> io::Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let class = ChunkClass::fitting(left);
            let chunk = self.arena.alloc(class).ok_or(io::ErrorKind::OutOfMemory)?;
            let len = left.min(chunk.len());
            chunk.copy_in(0, &vec![PATTERN; len]);
            pieces.push(Piece { chunk, start: 0, len });
            left -= len;
        }
        Ok(pieces)
    }
}

/// Slabs beyond the exact need: small pieces of several classes each open one.
const SPARE_SLABS: usize = super::DEPTH_MAX;

/// Runs all of `lanes` as tasks of this thread until each has ended; the first error is the answer.
pub(super) async fn together(lanes: Vec<impl Future<Output = io::Result<()>> + 'static>) -> io::Result<()> {
    let left = Rc::new(Cell::new(lanes.len()));
    let first_error = Rc::new(RefCell::new(None));
    let ended = Rc::new(Notify::default());
    for lane in lanes {
        let (left, first_error, ended) = (Rc::clone(&left), Rc::clone(&first_error), Rc::clone(&ended));
        executor::spawn(async move {
            if let Err(error) = lane.await {
                first_error.borrow_mut().get_or_insert(error);
            }
            left.set(left.get() - 1);
            ended.notify();
        });
    }
    while left.get() > 0 {
        ended.notified().await;
    }
    first_error.take().map_or(Ok(()), Err)
}
