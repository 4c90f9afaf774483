//! Bare durable writes: every size at every depth, by the ring and by blocking threads.
//!
//! A lane is one write in flight and the file it goes to, round and round. Lanes share nothing but the device.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;

use super::disk::{OnRing, together};
use super::one_in_flight::{PATTERN, timed, write_durably};
use super::{Driver, DurableWrite, FloorOptions, Scratch, direct, on_thread, per_second, record};
use crate::bench::result::{Distribution, new_histogram};
use crate::runtime::buffer::AlignedBuffer;
use crate::runtime::clock;
use crate::runtime::disk::{OpenMode, WriteSync};

pub(super) fn measure(
    options: &FloorOptions,
    scratch: &Scratch,
    progress: &mut dyn FnMut(&str),
) -> anyhow::Result<Vec<DurableWrite>> {
    let mut found = Vec::new();
    for &bytes in &options.sizes {
        for &depth in &options.depths {
            progress(&format!("durable writes of {bytes} bytes, {depth} in flight"));
            let load = Load {
                bytes,
                depth,
                duration: options.duration,
                file_bytes: scratch.file_bytes,
            };
            found.push(load.told(Driver::Ring, &by_ring(load, scratch)?));
            found.push(load.told(Driver::Threads, &by_threads(load, scratch)?));
        }
    }
    Ok(found)
}

/// One measurement.
#[derive(Clone, Copy)]
struct Load {
    bytes: usize,
    depth: usize,
    duration: Duration,
    file_bytes: u64,
}

/// What all lanes recorded, and how long they took.
struct Recorded {
    histogram: Histogram<u64>,
    took: Duration,
}

impl Load {
    fn told(self, driver: Driver, recorded: &Recorded) -> DurableWrite {
        let writes = recorded.histogram.len();
        let bytes = u64::try_from(self.bytes).unwrap_or(u64::MAX);
        DurableWrite {
            driver,
            bytes: self.bytes,
            depth: self.depth,
            latency: Distribution::of(&recorded.histogram),
            bytes_per_second: per_second(writes.saturating_mul(bytes), recorded.took),
            writes_per_second: per_second(writes, recorded.took),
        }
    }

    /// The position after `position`, back at the start where the next write would not fit.
    fn next(self, position: u64) -> u64 {
        let bytes = u64::try_from(self.bytes).unwrap_or(u64::MAX);
        let next = position + bytes;
        if next + bytes > self.file_bytes { 0 } else { next }
    }
}

fn by_ring(load: Load, scratch: &Scratch) -> anyhow::Result<Recorded> {
    let paths: Vec<_> = (0..load.depth).map(|index| scratch.file(index)).collect();
    let recorded = OnRing::run(load.bytes * load.depth, async move |ring: OnRing| {
        let histogram = Rc::new(RefCell::new(new_histogram()));
        let mut lanes = Vec::new();
        for path in paths {
            let file = ring.disk.open_direct(&path, OpenMode::Direct).await?;
            let pieces = ring.pieces(load.bytes)?;
            let (disk, histogram) = (ring.disk.clone(), Rc::clone(&histogram));
            lanes.push(async move {
                let begun = clock::now();
                let (mut now, mut position) = (begun, 0);
                while now.since(begun) < load.duration {
                    disk.write(&file, position, pieces.clone(), WriteSync::Dsync)
                        .await?;
                    let done = clock::now();
                    record(&mut histogram.borrow_mut(), done.since(now));
                    (now, position) = (done, load.next(position));
                }
                Ok(())
            });
        }
        let begun = clock::now();
        together(lanes).await?;
        let took = clock::now().since(begun);
        let histogram = histogram.borrow().clone();
        io::Result::Ok(Recorded { histogram, took })
    });
    recorded.context("durable writes through the ring")
}

fn by_threads(load: Load, scratch: &Scratch) -> anyhow::Result<Recorded> {
    let begun = clock::now();
    let lanes = (0..load.depth).map(|index| {
        let path = scratch.file(index);
        on_thread("floor-writer", None, move || lane(load, &path))
    });
    let lanes: Vec<_> = lanes.collect::<Result<_, _>>()?;
    let mut histogram = new_histogram();
    for lane in lanes {
        let part = lane.recv().context("a writing thread ended early")?;
        histogram += part.context("durable writes by threads")?;
    }
    let took = clock::now().since(begun);
    Ok(Recorded { histogram, took })
}

fn lane(load: Load, path: &Path) -> io::Result<Histogram<u64>> {
    let file = direct(path, false)?;
    let mut memory = AlignedBuffer::zeroed(load.bytes);
    memory.fill(PATTERN);
    let mut histogram = new_histogram();
    let begun = clock::now();
    let mut position = 0;
    while clock::now().since(begun) < load.duration {
        let took = timed(|| write_durably(&file, &memory[..load.bytes], position))?;
        record(&mut histogram, took);
        position = load.next(position);
    }
    Ok(histogram)
}
