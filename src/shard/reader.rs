//! Reading records of partitions of this shard: from the tail in memory, or from the disk with read-ahead.
//!
//! **Promise.** Only visible records; only whole batches whose bytes passed their checks; a batch that does not is an
//! error, never skipped. Cold reads run a few at a time ([`COLD_READS_MAX`]) into chunks of a bounded share of the arena, so
//! they neither crowd out writes nor the tails of busy partitions.
//!
//! A sequential reader finds its place by a cursor, and the bytes behind its last answer usually in a window that was read
//! ahead while that answer travelled.

use super::partition::{Cursor, Partition};
use super::request::{PartRead, ReadFailure, ReadLimits, ReadPart};
use super::{Shard, count};
use crate::base::{LeaderEpoch, LogId, Offset};
use crate::runtime::buffer::{BLOCK_BYTES, Chunk, ChunkClass, SLAB_BYTES, align_down, align_up};
use crate::runtime::disk::{File, OpenMode, Piece};
use crate::runtime::executor;
use crate::runtime::local::Budget;
use crate::storage::ReadError;
use crate::storage::chain::Chain;
use crate::storage::layout::segment_name;
use crate::storage::log::{Edition, ReadStart, WalkStart};
use crate::storage::read::{Walked, Want, gather};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Pause of a cold read that finds no memory and nothing to evict.
const MEMORY_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// Cold reads in the kernel at once.
const COLD_READS_MAX: usize = 4;

/// Bytes of an ordinary cold window.
const WINDOW_BYTES: u64 = 2 * SLAB_BYTES as u64;

/// Share of the arena cold windows may hold: one in this many bytes.
const COLD_SHARE: usize = 4;

/// The windows read from disk, newest last.
#[derive(Debug)]
pub(crate) struct ColdReads {
    windows: RefCell<VecDeque<Window>>,
    slots: Budget,
    bytes_max: usize,
}

#[derive(Clone, Debug)]
struct Window {
    log: LogId,
    segment: Offset,
    edition: Edition,
    chain: Rc<Chain>,
}

impl ColdReads {
    pub(crate) fn new(arena_bytes: usize) -> Self {
        Self {
            windows: RefCell::new(VecDeque::new()),
            slots: Budget::new(COLD_READS_MAX),
            bytes_max: arena_bytes / COLD_SHARE,
        }
    }

    fn find(&self, log: LogId, cold: &Cold, position: u64, len: usize) -> Option<Rc<Chain>> {
        let windows = self.windows.borrow();
        let fits = |window: &&Window| {
            window.log == log
                && window.segment == cold.base
                && window.edition == cold.edition
                && window.chain.holds(position, len)
        };
        windows
            .iter()
            .rev()
            .find(fits)
            .map(|window| Rc::clone(&window.chain))
    }

    fn keep(&self, window: Window) {
        let mut windows = self.windows.borrow_mut();
        let bytes = |chain: &Chain| chain.chunk_count() * SLAB_BYTES;
        let mut held: usize = windows.iter().map(|window| bytes(&window.chain)).sum();
        held += bytes(&window.chain);
        windows.push_back(window);
        while held > self.bytes_max && windows.len() > 1 {
            held -= windows.pop_front().map_or(0, |window| bytes(&window.chain));
        }
    }

    /// Gives up the oldest windows nobody reads; returns the chunks freed.
    pub(crate) fn evict(&self, chunks: usize) -> usize {
        let mut windows = self.windows.borrow_mut();
        let mut freed = 0;
        while freed < chunks
            && let Some(window) = windows.pop_front()
        {
            freed += window.chain.chunk_count();
        }
        freed
    }

    /// Forgets a log's windows; its files are going away.
    pub(crate) fn forget(&self, log: LogId) {
        self.windows.borrow_mut().retain(|window| window.log != log);
    }
}

impl Shard {
    /// Reads `parts`, all owned by this shard, within `limits`.
    pub(crate) async fn read_parts(self: &Rc<Self>, parts: &[ReadPart], limits: ReadLimits) -> Vec<PartRead> {
        let mut left = limits.max_bytes;
        let mut oversized_first = limits.oversized_first;
        let mut done = Vec::with_capacity(parts.len());
        for part in parts {
            let Some(partition) = self
                .partition(part.log)
                .filter(|partition| !partition.closed.get())
            else {
                done.push(PartRead {
                    records: Err(ReadFailure::UnknownPartition),
                    next: part.offset,
                    bounds: None,
                    diverging: None,
                });
                continue;
            };
            match divergence(&partition, part) {
                Ok(None) => {}
                outcome => {
                    done.push(PartRead {
                        records: outcome.map(|_| Vec::new()),
                        next: part.offset,
                        bounds: Some(partition.bounds()),
                        diverging: outcome.ok().flatten(),
                    });
                    continue;
                }
            }
            let want = Want {
                offset: part.offset,
                max_bytes: part.max_bytes.min(left),
                oversized_first,
                verify: false,
                format: limits.format,
            };
            let (records, next) = match self.read_one(&partition, want).await {
                Ok((records, next)) => (Ok(records), next),
                Err(failure) => (Err(failure), part.offset),
            };
            if let Ok(records) = &records {
                left = left.saturating_sub(records.len());
                oversized_first &= records.is_empty();
            }
            done.push(PartRead {
                records,
                next,
                bounds: Some(partition.bounds()),
                diverging: None,
            });
        }
        done
    }

    /// Reads one partition as far as `want` goes; whether bytes are summed again is decided here. Gives the batches and the
    /// offset behind them.
    pub(crate) async fn read_one(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        want: Want,
    ) -> Result<(Vec<u8>, Offset), ReadFailure> {
        let mut out = Vec::new();
        let max_bytes = want.max_bytes;
        let mut next = want.offset;
        let mut examined = None;
        loop {
            let (end, cold) = {
                let log = partition.log.borrow();
                match log.read_start(next) {
                    Ok(ReadStart::End) => break,
                    Ok(ReadStart::Tail { chain, from }) => {
                        let want = Want {
                            offset: next,
                            verify: false,
                            ..want
                        };
                        if out.capacity() == 0 {
                            out.reserve(readable(chain, from).min(max_bytes));
                        }
                        (gather(chain, partition.id, from, want, &mut out), None)
                    }
                    Ok(ReadStart::Cold {
                        file,
                        base,
                        edition,
                        from,
                        written,
                    }) => (
                        (Walked::Done, next),
                        Some(Cold {
                            file,
                            base,
                            edition,
                            from,
                            written,
                            durable: log.durable(),
                        }),
                    ),
                    Err(error) => return settle_error(error, out, next),
                }
            };
            let mut segment = None;
            let (walked, reached) = match cold {
                None => end,
                Some(cold) => {
                    let want = Want {
                        offset: next,
                        verify: true,
                        ..want
                    };
                    let (base, edition) = (cold.base, cold.edition);
                    segment = Some(base);
                    let read = self.read_cold(partition, cold, want, &mut out).await;
                    let failed = matches!(read, Err(_) | Ok((Walked::Corrupt { .. }, _)));
                    if failed && partition.log.borrow().edition(base) != Some(edition) {
                        // The segment left or was replaced meanwhile, and with it what was known of its file.
                        next = read.map_or(next, |(_, reached)| reached);
                        continue;
                    }
                    read?
                }
            };
            if let Walked::Corrupt { offset } = walked {
                count(&self.probe.damaged_reads, 1);
                tracing::error!(log = %partition.id, %offset, "bytes on disk do not pass their checks; refusing to serve them");
                // What is sound behind it, and in front of it, can be read once it is known how far it goes.
                if let Some(base) = segment
                    && examined.replace(offset) != Some(offset)
                    && self.examine(partition, base, offset).await
                {
                    next = reached;
                    continue;
                }
                let damaged = ReadError::Damaged {
                    log: partition.id,
                    offset,
                };
                return settle_error(damaged, out, reached);
            }
            let stuck = reached == next;
            next = reached;
            if stuck || out.len() >= max_bytes {
                break;
            }
        }
        Ok((out, next))
    }

    /// Reads from windows of the segment, reading them from disk as needed, until the want is met or the segment ends.
    async fn read_cold(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        cold: Cold,
        want: Want,
        out: &mut Vec<u8>,
    ) -> Result<(Walked, Offset), ReadFailure> {
        let mut from = cold.from;
        if let Some(position) = partition.cursor(cold.base, cold.edition, want.offset) {
            from = WalkStart {
                position,
                offset: want.offset,
                ..from
            };
        }
        let mut want = want;
        let mut need = BLOCK_BYTES.min(crate::batch::HEADER_BYTES);
        loop {
            let Some(chain) = self.window(partition, &cold, from.position, need).await? else {
                return Ok((cold.ended(from.offset), want.offset));
            };
            let (walked, reached) = gather(&chain, partition.id, from, want, out);
            let Walked::Needs {
                position,
                offset,
                len,
            } = walked
            else {
                return Ok((walked, reached));
            };
            if position == from.position && len <= need && reached == want.offset {
                // The window held what was asked and still the frame does not fit.
                return Ok((cold.ended(offset), reached));
            }
            if reached > want.offset {
                partition.remember(Cursor {
                    segment: cold.base,
                    edition: cold.edition,
                    offset: reached,
                    position,
                });
            }
            if !out.is_empty() {
                self.read_ahead(partition, &cold, position, len);
                return Ok((Walked::Done, reached));
            }
            want.offset = reached;
            from = WalkStart {
                position,
                offset,
                ..from
            };
            need = len;
        }
    }

    /// A window that holds `[position, position + len)`, cached or read now; `None` when that is beyond what is written.
    async fn window(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        cold: &Cold,
        position: u64,
        len: usize,
    ) -> Result<Option<Rc<Chain>>, ReadFailure> {
        if position + len as u64 > cold.written {
            return Ok(None);
        }
        if let Some(chain) = self.cold.find(partition.id, cold, position, len) {
            return Ok(Some(chain));
        }
        let _slot = self.cold.slots.acquire(1).await;
        // Whoever held the slot may have read just this.
        if let Some(chain) = self.cold.find(partition.id, cold, position, len) {
            return Ok(Some(chain));
        }
        self.load(partition, cold, position, len).await.map(Some)
    }

    async fn load(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        cold: &Cold,
        position: u64,
        len: usize,
    ) -> Result<Rc<Chain>, ReadFailure> {
        let start = align_down(position);
        let end =
            align_up(cold.written).min(start + WINDOW_BYTES.max(align_up(position + len as u64) - start));
        let bytes = usize::try_from(end - start).expect("a window fits in memory");
        let (chunks, pieces) = self.cold_chunks(bytes).await;
        let failed = |error: std::io::Error| {
            tracing::error!(%error, log = %partition.id, "cannot read a segment");
            ReadFailure::Storage
        };
        let file = match &cold.file {
            Some(file) => file.clone(),
            None => {
                let path = partition.directory.join(segment_name(cold.base));
                self.disk
                    .open_direct(&path, OpenMode::Direct)
                    .await
                    .map_err(failed)?
            }
        };
        count(&self.probe.cold_reads, 1);
        let read = self.disk.read(&file, start, pieces).await.map_err(failed)?;
        // What lies behind the written position is not there yet, and the window outlives the moment it will be.
        let written = usize::try_from(cold.written - start).unwrap_or(usize::MAX);
        let chain = Rc::new(Chain::of_read(start, chunks, read.min(written)));
        if !chain.holds(position, len) {
            return Err(ReadFailure::Storage);
        }
        self.cold.keep(Window {
            log: partition.id,
            segment: cold.base,
            edition: cold.edition,
            chain: Rc::clone(&chain),
        });
        Ok(chain)
    }

    /// Chunks for a cold window; waits for memory like an append does.
    pub(crate) async fn cold_chunks(self: &Rc<Self>, bytes: usize) -> (Vec<Chunk>, Vec<Piece>) {
        let mut chunks: Vec<Chunk> = Vec::with_capacity(bytes.div_ceil(SLAB_BYTES));
        let mut pieces = Vec::with_capacity(chunks.capacity());
        let mut left = bytes;
        while left > 0 {
            let Some(chunk) = self.arena.alloc(ChunkClass::Large) else {
                if self.evict(4) == 0 {
                    executor::sleep(MEMORY_PAUSE).await;
                }
                continue;
            };
            let len = left.min(chunk.len());
            pieces.push(Piece {
                chunk: chunk.clone(),
                start: 0,
                len,
            });
            chunks.push(chunk);
            left -= len;
        }
        (chunks, pieces)
    }

    /// Reads the window a sequential reader will want next, if a slot is free.
    fn read_ahead(self: &Rc<Self>, partition: &Rc<Partition>, cold: &Cold, position: u64, len: usize) {
        if position + len as u64 > cold.written || self.cold.find(partition.id, cold, position, len).is_some()
        {
            return;
        }
        let Some(slot) = self.cold.slots.try_acquire(1) else {
            return;
        };
        let (shard, partition, cold) = (Rc::clone(self), Rc::clone(partition), cold.clone());
        executor::spawn(async move {
            let _slot = slot;
            // A failure is the next reader's to see.
            let _read = shard.load(&partition, &cold, position, len).await;
        });
    }
}

/// Where the log of a reader that named its last epoch parts from ours. An epoch we never had is out of range, as in
/// Kafka.
fn divergence(partition: &Partition, part: &ReadPart) -> Result<Option<(LeaderEpoch, Offset)>, ReadFailure> {
    let Some(epoch) = part.last_epoch else {
        return Ok(None);
    };
    let log = partition.log.borrow();
    let (known, end) = log.epoch_end(epoch).ok_or(ReadFailure::OutOfRange)?;
    if part.offset < log.start() {
        return Err(ReadFailure::OutOfRange);
    }
    Ok((known < epoch || end < part.offset).then_some((known, end)))
}

#[derive(Clone, Debug)]
struct Cold {
    file: Option<File>,
    base: Offset,
    edition: Edition,
    from: WalkStart,
    written: u64,
    durable: Offset,
}

impl Cold {
    /// How a walk ends that needs more than is written at the frame of `offset`. A relaxed log may show what is still to be
    /// written; what is durable must be there.
    fn ended(&self, offset: Offset) -> Walked {
        if offset < self.durable {
            Walked::Corrupt { offset }
        } else {
            Walked::Done
        }
    }
}

/// Records already gathered are good even if what follows is not.
fn settle_error(error: ReadError, out: Vec<u8>, next: Offset) -> Result<(Vec<u8>, Offset), ReadFailure> {
    if !out.is_empty() {
        return Ok((out, next));
    }
    Err(match error {
        ReadError::OutOfRange { .. } => ReadFailure::OutOfRange,
        ReadError::Damaged { .. } => ReadFailure::Storage,
    })
}

/// Bytes from `from` to the end of the window: enough room to gather without growing.
fn readable(chain: &Chain, from: WalkStart) -> usize {
    usize::try_from(chain.end().saturating_sub(from.position)).unwrap_or(usize::MAX)
}
