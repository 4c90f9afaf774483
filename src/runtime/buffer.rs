//! Aligned memory the kernel may read from and write into: an arena of chunks.
//!
//! One [`Arena`] per shard, mapped once at start; nothing is allocated from the heap on the way to or from the
//! disk. A [`Chunk`] is a reference-counted piece of it, handed to log tails, cold reads and in-flight operations
//! alike; the last owner returns it. Direct I/O needs address, length and file position aligned to
//! [`BLOCK_BYTES`]; every chunk is.
//!
//! **Invariants the unsafe code relies on**
//! 1. `base..base+len` lies in one private anonymous mapping, alive until the last chunk and the arena are gone.
//! 2. Two live chunks never overlap: a slab is owned by one class at a time and its bitmap has one bit per piece.
//! 3. Everything happens on one thread (`Rc`), so no byte is written while a Rust reference to it is read. The
//!    kernel may read a chunk while we append to it: a write in flight may then carry part of a newer frame, which
//!    is harmless because that frame is not durable until a later write covers it again.
//! 4. Readers only look at byte ranges that were written and are not written again while a reference lives; the log
//!    appends strictly beyond what it has published.
//!
//! **Huge pages.** The arena asks for them. The kernel pins the pages of every direct write; with 4 KiB pages that is
//! most of the cost of a large one: the append path wrote 2.0 to 2.5 GB/s with small pages and 3.3 to 5.1 with huge ones.
//! Registering the arena with the ring saves the pinning too, but less of it, and holds all of the memory from the start.
#![expect(
    unsafe_code,
    reason = "the arena hands out pieces of one mapping that the kernel also uses"
)]

use std::cell::RefCell;
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;

/// Alignment of direct I/O, in bytes. Covers 512- and 4096-byte sectors; checked against the device at start-up.
pub const BLOCK_BYTES: usize = 4096;

/// Size and alignment of a huge page on the machines this runs on.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Bytes of a slab, the largest chunk.
pub const SLAB_BYTES: usize = 256 * 1024;

/// `position` rounded down to a block boundary.
#[must_use]
pub const fn align_down(position: u64) -> u64 {
    position & !(BLOCK_BYTES as u64 - 1)
}

/// `position` rounded up to a block boundary.
#[must_use]
pub const fn align_up(position: u64) -> u64 {
    align_down(position + BLOCK_BYTES as u64 - 1)
}

/// The sizes chunks come in. Idle logs hold a small one, busy logs move up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ChunkClass {
    /// One block, 4 KiB.
    Small,
    /// 32 KiB.
    Medium,
    /// A whole slab, 256 KiB.
    Large,
}

impl ChunkClass {
    /// Size of a chunk of this class in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Small => BLOCK_BYTES,
            Self::Medium => 32 * 1024,
            Self::Large => SLAB_BYTES,
        }
    }

    const fn per_slab(self) -> u32 {
        match self {
            Self::Small => 64,
            Self::Medium => 8,
            Self::Large => 1,
        }
    }

    /// The next class up; the largest stays.
    #[must_use]
    pub const fn grown(self) -> Self {
        match self {
            Self::Small => Self::Medium,
            Self::Medium | Self::Large => Self::Large,
        }
    }

    /// The smallest class that holds `bytes`, or the largest there is.
    #[must_use]
    pub const fn fitting(bytes: usize) -> Self {
        if bytes <= Self::Small.bytes() {
            Self::Small
        } else if bytes <= Self::Medium.bytes() {
            Self::Medium
        } else {
            Self::Large
        }
    }
}

const _: () = assert!(SLAB_BYTES / BLOCK_BYTES == 64 && SLAB_BYTES.is_multiple_of(32 * 1024));

/// A shard's aligned memory. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Arena(Rc<ArenaInner>);

#[derive(Debug)]
struct ArenaInner {
    /// The whole mapping: `base..base+len` and what its alignment left over.
    mapping: (NonNull<u8>, usize),
    base: NonNull<u8>,
    len: usize,
    state: RefCell<Slabs>,
}

#[derive(Debug)]
struct Slabs {
    /// Slabs no class owns.
    free: Vec<u32>,
    /// Per slab: its class and the bitmap of free pieces; `None` for a slab in `free`.
    slabs: Vec<Option<(ChunkClass, u64)>>,
    /// Slabs of a class that may have a free piece; entries may be stale and are checked on use.
    partial: [Vec<u32>; 2],
    used_bytes: usize,
}

impl Arena {
    /// Maps `bytes` (rounded down to whole slabs, at least four) of zeroed memory.
    ///
    /// # Errors
    /// When the kernel refuses the mapping.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let count = (bytes / SLAB_BYTES).max(4);
        let len = count * SLAB_BYTES;
        let mapped = len + HUGE_PAGE_BYTES;
        // SAFETY: a fresh private anonymous mapping aliases nothing (invariant 1).
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                mapped,
                rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
                rustix::mm::MapFlags::PRIVATE | rustix::mm::MapFlags::NORESERVE,
            )
        }?;
        let base = start.wrapping_byte_add(start.addr().next_multiple_of(HUGE_PAGE_BYTES) - start.addr());
        // SAFETY: `base..base+len` lies in the mapping, which is longer by a huge page; the advice changes no contents.
        let advised = unsafe { rustix::mm::madvise(base, len, rustix::mm::Advice::LinuxHugepage) };
        // A kernel without huge pages refuses; writes cost more there and nothing else changes.
        let _small_pages = advised;
        let mapping = NonNull::new(start.cast()).expect("the kernel never maps page zero");
        let base = NonNull::new(base.cast()).expect("above the start of the mapping");
        let count = u32::try_from(count).expect("an arena has fewer than 2^32 slabs");
        Ok(Self(Rc::new(ArenaInner {
            mapping: (mapping, mapped),
            base,
            len,
            state: RefCell::new(Slabs {
                free: (0..count).rev().collect(),
                slabs: vec![None; count as usize],
                partial: [Vec::new(), Vec::new()],
                used_bytes: 0,
            }),
        })))
    }

    /// Takes a zeroed-or-stale chunk, or `None` when the arena has no room of that class. Contents are whatever the
    /// last owner left.
    #[must_use]
    pub fn alloc(&self, class: ChunkClass) -> Option<Chunk> {
        let (slab, piece) = self.0.state.borrow_mut().take(class)?;
        Some(Chunk(Rc::new(ChunkInner {
            arena: Rc::clone(&self.0),
            slab,
            piece,
            class,
        })))
    }

    /// Bytes in live chunks.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.0.state.borrow().used_bytes
    }

    /// Bytes of the whole arena.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.0.len
    }

    /// Whole slabs nobody uses.
    #[must_use]
    pub fn free_slabs(&self) -> usize {
        self.0.state.borrow().free.len()
    }
}

impl Slabs {
    fn take(&mut self, class: ChunkClass) -> Option<(u32, u32)> {
        if class == ChunkClass::Large {
            let slab = self.free.pop()?;
            self.slabs[slab as usize] = Some((class, 0));
            self.used_bytes += class.bytes();
            return Some((slab, 0));
        }
        let list = usize::from(class == ChunkClass::Medium);
        while let Some(&slab) = self.partial[list].last() {
            if let Some((owner, bits)) = &mut self.slabs[slab as usize]
                && *owner == class
                && *bits != 0
            {
                let piece = bits.trailing_zeros();
                *bits &= *bits - 1;
                self.used_bytes += class.bytes();
                return Some((slab, piece));
            }
            self.partial[list].pop();
        }
        let slab = self.free.pop()?;
        let all = if class.per_slab() == 64 {
            u64::MAX
        } else {
            (1 << class.per_slab()) - 1
        };
        self.slabs[slab as usize] = Some((class, all & !1));
        self.partial[list].push(slab);
        self.used_bytes += class.bytes();
        Some((slab, 0))
    }

    fn give_back(&mut self, slab: u32, piece: u32, class: ChunkClass) {
        self.used_bytes -= class.bytes();
        if class == ChunkClass::Large {
            self.slabs[slab as usize] = None;
            self.free.push(slab);
            return;
        }
        let (_, bits) = self.slabs[slab as usize]
            .as_mut()
            .expect("a live chunk's slab has an owner");
        assert!(
            *bits & (1 << piece) == 0,
            "chunk {slab}/{piece} was given back twice"
        );
        let was_full = *bits == 0;
        *bits |= 1 << piece;
        if bits.count_ones() == class.per_slab() {
            self.slabs[slab as usize] = None;
            self.free.push(slab);
        } else if was_full {
            self.partial[usize::from(class == ChunkClass::Medium)].push(slab);
        }
    }
}

impl Drop for ArenaInner {
    fn drop(&mut self) {
        // SAFETY: invariant 1; the last chunk holds an `Rc` of this, so none is left.
        let unmapped = unsafe { rustix::mm::munmap(self.mapping.0.as_ptr().cast(), self.mapping.1) };
        debug_assert!(unmapped.is_ok(), "unmapping our own mapping cannot fail");
    }
}

/// An aligned piece of the arena. Cloning shares the same memory.
#[derive(Clone, Debug)]
pub struct Chunk(Rc<ChunkInner>);

#[derive(Debug)]
struct ChunkInner {
    arena: Rc<ArenaInner>,
    slab: u32,
    piece: u32,
    class: ChunkClass,
}

impl Drop for ChunkInner {
    fn drop(&mut self) {
        self.arena
            .state
            .borrow_mut()
            .give_back(self.slab, self.piece, self.class);
    }
}

impl Chunk {
    /// Capacity in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.class.bytes()
    }

    /// Never: a chunk has at least one block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The class this chunk was taken from.
    #[must_use]
    pub fn class(&self) -> ChunkClass {
        self.0.class
    }

    /// How many owners share this chunk.
    #[must_use]
    pub fn owners(&self) -> usize {
        Rc::strong_count(&self.0)
    }

    /// Start address, for handing to the kernel.
    pub(super) fn as_ptr(&self) -> *mut u8 {
        let offset = self.0.slab as usize * SLAB_BYTES + self.0.piece as usize * self.0.class.bytes();
        // SAFETY: slab and piece lie inside the mapping by invariant 2.
        unsafe { self.0.arena.base.as_ptr().add(offset) }
    }

    /// Copies `bytes` to position `at`.
    ///
    /// # Panics
    /// When they do not fit.
    pub fn copy_in(&self, at: usize, bytes: &[u8]) {
        assert!(
            at + bytes.len() <= self.len(),
            "{} bytes at {at} overrun a chunk of {}",
            bytes.len(),
            self.len()
        );
        // SAFETY: `at` is inside the chunk by the assertion above.
        let target = unsafe { self.as_ptr().add(at) };
        // SAFETY: in bounds as asserted; `bytes` cannot overlap because references into a chunk only cover ranges
        // that are not written again (invariant 4).
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    }

    /// Sets `range` to zero.
    ///
    /// # Panics
    /// When the range does not fit.
    pub fn zero(&self, range: std::ops::Range<usize>) {
        assert!(
            range.start <= range.end && range.end <= self.len(),
            "{range:?} overruns a chunk of {}",
            self.len()
        );
        // SAFETY: the range is inside the chunk by the assertion above.
        let target = unsafe { self.as_ptr().add(range.start) };
        // SAFETY: in bounds as asserted; nobody reads a range before it is published (invariant 4).
        unsafe { std::ptr::write_bytes(target, 0, range.len()) };
    }

    /// The bytes of `range`. They must have been written before and must not be written while the slice lives.
    ///
    /// # Panics
    /// When the range does not fit.
    #[must_use]
    pub fn slice(&self, range: std::ops::Range<usize>) -> &[u8] {
        assert!(
            range.start <= range.end && range.end <= self.len(),
            "{range:?} overruns a chunk of {}",
            self.len()
        );
        // SAFETY: the start is inside the chunk by the assertion above.
        let start = unsafe { self.as_ptr().add(range.start) };
        // SAFETY: mapped and initialised (anonymous memory starts zeroed), in bounds, and not written while borrowed
        // (invariants 1, 3, 4).
        unsafe { std::slice::from_raw_parts(start, range.len()) }
    }
}

/// Heap memory with the alignment direct I/O needs, for set-up, recovery and tools.
#[derive(Debug)]
pub struct AlignedBuffer {
    blocks: Vec<Block>,
}

#[derive(Clone, Copy, Debug)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK_BYTES]);

impl AlignedBuffer {
    /// A zeroed buffer of `bytes`, rounded up to whole blocks.
    #[must_use]
    pub fn zeroed(bytes: usize) -> Self {
        Self {
            blocks: vec![Block([0; BLOCK_BYTES]); bytes.div_ceil(BLOCK_BYTES)],
        }
    }
}

impl std::ops::Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `Block` is exactly its array of bytes (size and alignment both 4096), so the vector is contiguous.
        unsafe { std::slice::from_raw_parts(self.blocks.as_ptr().cast(), self.blocks.len() * BLOCK_BYTES) }
    }
}

impl std::ops::DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and `&mut self` makes it exclusive.
        unsafe {
            std::slice::from_raw_parts_mut(self.blocks.as_mut_ptr().cast(), self.blocks.len() * BLOCK_BYTES)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn chunks_are_aligned_and_return_when_the_last_owner_goes() {
        let arena = Arena::new(4 * SLAB_BYTES).unwrap();
        let small = arena.alloc(ChunkClass::Small).unwrap();
        let medium = arena.alloc(ChunkClass::Medium).unwrap();
        let large = arena.alloc(ChunkClass::Large).unwrap();
        for chunk in [&small, &medium, &large] {
            assert_eq!(chunk.as_ptr() as usize % BLOCK_BYTES, 0);
        }
        let shared = small.clone();
        drop(small);
        assert_eq!(arena.used_bytes(), shared.len() + medium.len() + large.len());
        drop((shared, medium, large));
        assert_eq!((arena.used_bytes(), arena.free_slabs()), (0, 4));
    }

    #[test]
    fn an_exhausted_arena_says_so() {
        let arena = Arena::new(4 * SLAB_BYTES).unwrap();
        let held: Vec<_> = std::iter::from_fn(|| arena.alloc(ChunkClass::Large)).collect();
        assert_eq!(held.len(), 4);
        assert!(arena.alloc(ChunkClass::Small).is_none());
    }

    #[test]
    #[should_panic(expected = "overruns a chunk")]
    fn reading_past_the_end_is_refused() {
        let arena = Arena::new(4 * SLAB_BYTES).unwrap();
        let chunk = arena.alloc(ChunkClass::Small).unwrap();
        assert!(chunk.slice(4000..5000).is_empty(), "unreachable");
    }

    proptest! {
        /// Whatever is taken and given back, live chunks keep their own bytes and the arena ends whole.
        #[test]
        fn live_chunks_never_overlap(ops in proptest::collection::vec((0u8..4, any::<prop::sample::Index>()), 1..200)) {
            let arena = Arena::new(6 * SLAB_BYTES).unwrap();
            let mut live: Vec<(Chunk, u8)> = Vec::new();
            for (step, (op, pick)) in ops.into_iter().enumerate() {
                let class = match op { 0 => ChunkClass::Small, 1 => ChunkClass::Medium, _ => ChunkClass::Large };
                if op == 3 {
                    if !live.is_empty() { live.swap_remove(pick.index(live.len())); }
                } else if let Some(chunk) = arena.alloc(class) {
                    let mark = u8::try_from(step % 251).unwrap();
                    chunk.copy_in(0, &vec![mark; chunk.len()]);
                    live.push((chunk, mark));
                }
                for (chunk, mark) in &live {
                    prop_assert!(chunk.slice(0..chunk.len()).iter().all(|byte| byte == mark));
                }
            }
            live.clear();
            prop_assert_eq!((arena.used_bytes(), arena.free_slabs()), (0, 6));
        }
    }
}
