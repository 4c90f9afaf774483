//! A window of a segment's bytes held in chunks: the tail being written, or a cold range just read.
//!
//! Positions are the segment file's. The window is contiguous and block-aligned at its start; it grows at the end by
//! appends or whole chunks and shrinks at the front by eviction. Each chunk remembers the first frame that starts in
//! it, so that a reader at any cached offset walks at most one chunk of headers.
//!
//! **Invariant:** `start <= end <= start + capacity`, and bytes in `[start, end)` never change once appended.

use crate::base::Offset;
use crate::runtime::buffer::{BLOCK_BYTES, Chunk, align_up};
use crate::runtime::disk::Piece;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug, Default)]
pub struct Chain {
    entries: VecDeque<Entry>,
    start: u64,
    end: u64,
}

#[derive(Debug)]
struct Entry {
    chunk: Chunk,
    start: u64,
    first_frame: Option<(Offset, u64)>,
}

impl Entry {
    fn end(&self) -> u64 {
        self.start + self.chunk.len() as u64
    }
}

impl Chain {
    /// An empty window at `start`, which must be block-aligned.
    #[must_use]
    pub fn at(start: u64) -> Self {
        assert_eq!(start % BLOCK_BYTES as u64, 0, "windows start at blocks");
        Self {
            entries: VecDeque::new(),
            start,
            end: start,
        }
    }

    /// A full window over `chunks` of which `len` bytes hold data read from position `start`.
    #[must_use]
    pub fn of_read(start: u64, chunks: Vec<Chunk>, len: usize) -> Self {
        let mut chain = Self::at(start);
        for chunk in chunks {
            chain.push_chunk(chunk);
        }
        chain.end = start + len as u64;
        assert!(
            chain.end <= chain.capacity_end(),
            "a read cannot return more than it was given room for"
        );
        chain
    }

    /// First position held.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// One past the last position held: where the next append goes.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Whether no chunk is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Chunks held.
    #[must_use]
    pub fn chunk_count(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that can be appended before another chunk is needed.
    #[must_use]
    pub fn room(&self) -> usize {
        usize::try_from(self.capacity_end() - self.end).expect("a window is far below 2^63 bytes")
    }

    /// The newest chunk.
    #[must_use]
    pub fn last_chunk(&self) -> Option<&Chunk> {
        self.entries.back().map(|entry| &entry.chunk)
    }

    /// Adds room at the end.
    pub fn push_chunk(&mut self, chunk: Chunk) {
        let start = self.capacity_end();
        self.entries.push_back(Entry {
            chunk,
            start,
            first_frame: None,
        });
    }

    /// Appends `bytes`, which must fit in [`room`](Self::room).
    pub fn append(&mut self, mut bytes: &[u8]) {
        assert!(
            bytes.len() <= self.room(),
            "{} bytes do not fit in {}",
            bytes.len(),
            self.room()
        );
        while !bytes.is_empty() {
            let index = self.entry_at(self.end);
            let entry = &self.entries[index];
            let at = usize::try_from(self.end - entry.start).expect("inside a chunk");
            let take = bytes.len().min(entry.chunk.len() - at);
            entry.chunk.copy_in(at, &bytes[..take]);
            self.end += take as u64;
            bytes = &bytes[take..];
        }
    }

    /// Remembers that the frame of `offset` starts at `position`, if it is the first of its chunk.
    pub fn note_frame(&mut self, offset: Offset, position: u64) {
        let index = self.entry_at(position);
        self.entries[index].first_frame.get_or_insert((offset, position));
    }

    /// The last noted frame at or before `offset`: its offset and position.
    #[must_use]
    pub fn locate(&self, offset: Offset) -> Option<(Offset, u64)> {
        // From the newest: readers are mostly near the end, and chunks without a frame start break the order a
        // binary search needs.
        self.entries
            .iter()
            .rev()
            .filter_map(|entry| entry.first_frame)
            .find(|(first, _)| *first <= offset)
    }

    /// Copies `[position, position + out.len())` out. False when the window does not hold all of it.
    #[must_use]
    pub fn copy_to(&self, position: u64, out: &mut [u8]) -> bool {
        if !self.holds(position, out.len()) {
            return false;
        }
        let mut done = 0;
        self.for_each_slice(position, out.len(), |slice| {
            out[done..done + slice.len()].copy_from_slice(slice);
            done += slice.len();
        });
        true
    }

    /// Appends `[position, position + len)` to `out`. False, with nothing appended, when the window does not hold it.
    #[must_use]
    pub fn extend_vec(&self, position: u64, len: usize, out: &mut Vec<u8>) -> bool {
        if !self.holds(position, len) {
            return false;
        }
        self.for_each_slice(position, len, |slice| out.extend_from_slice(slice));
        true
    }

    /// Whether `[position, position + len)` lies in the window.
    #[must_use]
    pub fn holds(&self, position: u64, len: usize) -> bool {
        position >= self.start && position + len as u64 <= self.end
    }

    /// The block-aligned pieces that cover `[from, to)`, the bytes after [`end`](Self::end) in the last block zeroed.
    /// `from` must be block-aligned.
    #[must_use]
    pub fn pieces(&self, from: u64, to: u64) -> Vec<Piece> {
        let until = align_up(to);
        if until > self.end {
            self.zero(self.end, until);
        }
        let mut pieces = Vec::new();
        let mut at = from;
        while at < until {
            let entry = &self.entries[self.entry_at(at)];
            let start = usize::try_from(at - entry.start).expect("inside a chunk");
            let len = usize::try_from((until - at).min(entry.end() - at)).expect("inside a chunk");
            pieces.push(Piece {
                chunk: entry.chunk.clone(),
                start,
                len,
            });
            at += len as u64;
        }
        pieces
    }

    /// Drops the oldest chunk if all its bytes lie below `written`. True when something was freed.
    pub fn evict_front(&mut self, written: u64) -> bool {
        let Some(front) = self.entries.front() else {
            return false;
        };
        if front.end() > written || front.end() > self.end {
            return false;
        }
        self.start = front.end();
        self.entries.pop_front();
        true
    }

    /// Drops every chunk and moves the append position to the next block boundary. Everything must be written.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.end = align_up(self.end);
        self.start = self.end;
    }

    fn capacity_end(&self) -> u64 {
        self.entries.back().map_or(self.start, Entry::end)
    }

    fn zero(&self, from: u64, to: u64) {
        let entry = &self.entries[self.entry_at(from)];
        let start = usize::try_from(from - entry.start).expect("inside a chunk");
        let end = usize::try_from(to - entry.start).expect("inside a chunk");
        // One block lies in one chunk, because chunks are whole blocks.
        entry.chunk.zero(start..end);
    }

    /// Index of the entry that holds `position`.
    fn entry_at(&self, position: u64) -> usize {
        // Appends and writes look at the newest chunk; a tail of hundreds is searched for readers only.
        let in_last = self.entries.back().is_some_and(|last| last.start <= position);
        let after = if in_last {
            self.entries.len()
        } else {
            self.entries.partition_point(|entry| entry.start <= position)
        };
        let index = after
            .checked_sub(1)
            .expect("a position inside the window has an entry");
        assert!(
            position < self.entries[index].end(),
            "position {position} is beyond the window"
        );
        index
    }

    fn for_each_slice(&self, position: u64, len: usize, mut visit: impl FnMut(&[u8])) {
        let (mut at, end) = (position, position + len as u64);
        while at < end {
            let entry = &self.entries[self.entry_at(at)];
            let start = usize::try_from(at - entry.start).expect("inside a chunk");
            let len = usize::try_from((end - at).min(entry.end() - at)).expect("inside a chunk");
            visit(entry.chunk.slice(start..start + len));
            at += len as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::buffer::{Arena, ChunkClass, SLAB_BYTES};

    fn arena() -> Arena {
        Arena::new(8 * SLAB_BYTES).unwrap()
    }

    #[test]
    fn bytes_spanning_chunks_come_back_whole() {
        let arena = arena();
        let mut chain = Chain::at(8192);
        for _ in 0..3 {
            chain.push_chunk(arena.alloc(ChunkClass::Small).unwrap());
        }
        let bytes: Vec<u8> = (0..10_000u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        chain.append(&bytes);
        let mut out = vec![0; 9_000];
        assert!(chain.copy_to(8192 + 500, &mut out));
        assert_eq!(out, bytes[500..9_500]);
        assert!(!chain.copy_to(8192 + 5_000, &mut [0; 6_000]), "past the end");
        assert!(!chain.copy_to(0, &mut [0; 1]), "before the start");
    }

    #[test]
    fn pieces_cover_whole_blocks_and_pad_with_zeros() {
        let arena = arena();
        let mut chain = Chain::at(0);
        chain.push_chunk(arena.alloc(ChunkClass::Small).unwrap());
        chain.last_chunk().unwrap().copy_in(0, &[0xff; BLOCK_BYTES]);
        chain.append(&[1; 100]);
        let pieces = chain.pieces(0, 100);
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].len, BLOCK_BYTES);
        let block = pieces[0].chunk.slice(0..BLOCK_BYTES);
        assert!(block[..100].iter().all(|byte| *byte == 1) && block[100..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn locating_finds_the_nearest_noted_frame() {
        let arena = arena();
        let mut chain = Chain::at(0);
        for _ in 0..3 {
            chain.push_chunk(arena.alloc(ChunkClass::Small).unwrap());
        }
        chain.append(&[0; 3 * BLOCK_BYTES]);
        chain.note_frame(Offset::new(10), 0);
        chain.note_frame(Offset::new(11), 64);
        chain.note_frame(Offset::new(30), 2 * BLOCK_BYTES as u64 + 16);
        assert_eq!(chain.locate(Offset::new(9)), None);
        assert_eq!(chain.locate(Offset::new(29)), Some((Offset::new(10), 0)));
        assert_eq!(
            chain.locate(Offset::new(99)),
            Some((Offset::new(30), 2 * BLOCK_BYTES as u64 + 16))
        );
    }

    #[test]
    fn eviction_frees_only_what_is_written_and_keeps_the_append_chunk() {
        let arena = arena();
        let mut chain = Chain::at(0);
        for _ in 0..2 {
            chain.push_chunk(arena.alloc(ChunkClass::Small).unwrap());
        }
        chain.append(&[0; BLOCK_BYTES + 10]);
        assert!(!chain.evict_front(100));
        assert!(chain.evict_front(BLOCK_BYTES as u64 + 10));
        assert!(
            !chain.evict_front(BLOCK_BYTES as u64 + 10),
            "the rest is still being filled"
        );
        chain.clear();
        assert_eq!((chain.start(), chain.end(), arena.used_bytes()), (8192, 8192, 0));
    }

    proptest::proptest! {
        /// Against a plain vector: whatever is appended, evicted and cleared, what is held reads back the same.
        #[test]
        fn a_window_holds_what_a_vector_would(ops in proptest::collection::vec((0u8..6, 1usize..9_000), 1..80)) {
            let arena = arena();
            let mut chain = Chain::at(0);
            let (mut all, mut written) = (Vec::<u8>::new(), 0u64);
            for (step, (op, len)) in ops.into_iter().enumerate() {
                match op {
                    0..3 => {
                        while chain.room() < len {
                            let class = if len % 2 == 0 { ChunkClass::Small } else { ChunkClass::Medium };
                            chain.push_chunk(arena.alloc(class).unwrap());
                        }
                        let bytes = vec![u8::try_from(step % 250 + 1).unwrap(); len];
                        chain.append(&bytes);
                        all.extend_from_slice(&bytes);
                    }
                    3 => {
                        let from = crate::runtime::buffer::align_down(written);
                        let pieces = chain.pieces(from, chain.end());
                        let sent: Vec<u8> = pieces
                            .iter()
                            .flat_map(|piece| piece.chunk.slice(piece.start..piece.start + piece.len).to_vec())
                            .collect();
                        let want = &all[usize::try_from(from).unwrap()..];
                        proptest::prop_assert!(sent.starts_with(want) && sent.len() < want.len() + BLOCK_BYTES);
                        proptest::prop_assert!(sent[want.len()..].iter().all(|byte| *byte == 0));
                        written = chain.end();
                    }
                    4 => drop(chain.evict_front(written)),
                    _ => {
                        if written == chain.end() {
                            chain.clear();
                            written = chain.end();
                            all.resize(usize::try_from(written).unwrap(), 0);
                        }
                    }
                }
                proptest::prop_assert_eq!(chain.end(), all.len() as u64);
                proptest::prop_assert!(chain.start() <= written);
                let held = usize::try_from(chain.end() - chain.start()).unwrap();
                let at = chain.start() + (len % held.max(1)) as u64;
                let take = usize::try_from(chain.end() - at).unwrap();
                let mut out = Vec::new();
                proptest::prop_assert!(chain.extend_vec(at, take, &mut out));
                proptest::prop_assert_eq!(&out[..], &all[usize::try_from(at).unwrap()..]);
                proptest::prop_assert!(!chain.holds(at, take + 1));
            }
        }
    }
}
