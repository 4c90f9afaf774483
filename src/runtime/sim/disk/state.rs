//! What is on the simulated disk: inodes with cached and durable bytes, directories with cached and durable entries, and what was
//! done to names since they were synced. Pure: no clock, no waiting; dice are handed in.

use super::faults::{DiskCounters, DiskFaults, DiskLies, PLENTY_BYTES};
use crate::runtime::sim::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Range;
use std::path::{Component, Path};

/// The unit of a torn write.
pub(super) const SECTOR_BYTES: usize = 512;
/// What direct I/O comes in.
pub(super) const BLOCK_BYTES: usize = 4096;

pub(super) const ROOT: Inode = Inode(0);

/// A file or directory, by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Inode(pub(super) u64);

#[derive(Default)]
pub(super) struct Node {
    pub(super) cached: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Sectors whose cached bytes are newer than the durable ones.
    pub(super) dirty: BTreeSet<usize>,
    /// For directories: names now, and names without power.
    pub(super) directory: Option<Entries>,
}

#[derive(Clone, Default)]
pub(super) struct Entries {
    pub(super) cached: BTreeMap<OsString, Inode>,
    pub(super) durable: BTreeMap<OsString, Inode>,
}

/// Something done to names that is not durable yet.
#[derive(Clone)]
pub(super) enum NameOp {
    Link {
        directory: Inode,
        name: OsString,
        inode: Inode,
    },
    Unlink {
        directory: Inode,
        name: OsString,
        inode: Inode,
    },
    Rename {
        from: (Inode, OsString),
        to: (Inode, OsString),
        inode: Inode,
    },
}

impl NameOp {
    pub(super) fn inode(&self) -> Inode {
        match self {
            Self::Link { inode, .. } | Self::Unlink { inode, .. } | Self::Rename { inode, .. } => *inode,
        }
    }

    pub(super) fn touches(&self, wanted: Inode) -> bool {
        match self {
            Self::Link { directory, .. } | Self::Unlink { directory, .. } => *directory == wanted,
            Self::Rename { from, to, .. } => from.0 == wanted || to.0 == wanted,
        }
    }
}

pub(super) struct State {
    pub(super) nodes: BTreeMap<Inode, Node>,
    pub(super) names: Vec<NameOp>,
    pub(super) next: u64,
    pub(super) counters: DiskCounters,
    pub(super) faults: DiskFaults,
    pub(super) lies: DiskLies,
    /// Writes end before they are flushed: who asked for them dies.
    pub(super) unflushed: bool,
}

impl State {
    pub(super) fn find(&self, path: &Path) -> io::Result<Inode> {
        let mut at = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                let entries = self.entries(at)?;
                at = *entries.cached.get(name).ok_or(io::ErrorKind::NotFound)?;
            }
        }
        Ok(at)
    }

    pub(super) fn entries(&self, inode: Inode) -> io::Result<&Entries> {
        let node = self.nodes.get(&inode).ok_or(io::ErrorKind::NotFound)?;
        node.directory
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotADirectory.into())
    }

    pub(super) fn entries_mut(&mut self, inode: Inode) -> &mut Entries {
        let node = self.nodes.get_mut(&inode).expect("a directory that was found");
        node.directory.as_mut().expect("a directory that was found")
    }

    /// The directory of `path`, and its name there.
    pub(super) fn place(&self, path: &Path) -> io::Result<(Inode, OsString)> {
        let name = path
            .file_name()
            .map(OsStr::to_owned)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let directory = self.find(path.parent().unwrap_or_else(|| Path::new("/")))?;
        self.entries(directory)?;
        Ok((directory, name))
    }

    pub(super) fn create(&mut self, path: &Path, node: Node) -> io::Result<Inode> {
        let (directory, name) = self.place(path)?;
        if self.entries(directory)?.cached.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.room_for(1)?;
        let inode = Inode(self.next);
        self.next += 1;
        self.nodes.insert(inode, node);
        self.entries_mut(directory).cached.insert(name.clone(), inode);
        self.names.push(NameOp::Link {
            directory,
            name,
            inode,
        });
        Ok(inode)
    }

    pub(super) fn create_or_empty(&mut self, path: &Path) -> io::Result<Inode> {
        match self.find(path) {
            Ok(inode) => {
                self.resize(inode, 0)?;
                Ok(inode)
            }
            Err(_) => self.create(path, Node::default()),
        }
    }

    pub(super) fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let (directory, name) = self.place(path)?;
        let entries = self.entries_mut(directory);
        let inode = entries.cached.remove(&name).ok_or(io::ErrorKind::NotFound)?;
        self.names.push(NameOp::Unlink {
            directory,
            name,
            inode,
        });
        Ok(())
    }

    pub(super) fn remove_all(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.find(path)?;
        let children: Vec<OsString> = match &self.nodes[&inode].directory {
            Some(entries) => entries.cached.keys().cloned().collect(),
            None => Vec::new(),
        };
        for child in children {
            self.remove_all(&path.join(child))?;
        }
        self.unlink(path)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (source, target) = (self.place(from)?, self.place(to)?);
        let inode = self
            .entries_mut(source.0)
            .cached
            .remove(&source.1)
            .ok_or(io::ErrorKind::NotFound)?;
        self.entries_mut(target.0).cached.insert(target.1.clone(), inode);
        self.names.push(NameOp::Rename {
            from: source,
            to: target,
            inode,
        });
        Ok(())
    }

    /// Makes what was done to a directory durable, each with what was done before to the same inode.
    pub(super) fn sync_names(&mut self, directory: Inode) {
        if self.lies.forget_directory_syncs {
            return;
        }
        let pending = std::mem::take(&mut self.names);
        let mut durable = vec![false; pending.len()];
        for at in 0..pending.len() {
            if pending[at].touches(directory) {
                for earlier in 0..=at {
                    durable[earlier] |= pending[earlier].inode() == pending[at].inode();
                }
            }
        }
        for (op, durable) in pending.into_iter().zip(durable) {
            if durable {
                self.commit(&op);
            } else {
                self.names.push(op);
            }
        }
    }

    pub(super) fn commit(&mut self, op: &NameOp) {
        match op {
            NameOp::Link {
                directory,
                name,
                inode,
            } => {
                let entries = self.entries_mut(*directory);
                entries.durable.insert(name.clone(), *inode);
            }
            NameOp::Unlink {
                directory,
                name,
                inode,
            } => {
                let entries = self.entries_mut(*directory);
                if entries.durable.get(name) == Some(inode) {
                    entries.durable.remove(name);
                }
            }
            NameOp::Rename { from, to, inode } => {
                let entries = self.entries_mut(from.0);
                if entries.durable.get(&from.1) == Some(inode) {
                    entries.durable.remove(&from.1);
                }
                self.entries_mut(to.0).durable.insert(to.1.clone(), *inode);
            }
        }
    }

    /// Whether `op` can have happened, given what of the earlier ones did.
    pub(super) fn possible(&self, op: &NameOp) -> bool {
        let durable = |directory: Inode, name: &OsString| {
            let node = self.nodes.get(&directory);
            let entries = node.and_then(|node| node.directory.as_ref());
            entries.and_then(|entries| entries.durable.get(name)).copied()
        };
        match op {
            NameOp::Link { .. } => true,
            NameOp::Unlink {
                directory,
                name,
                inode,
            } => durable(*directory, name) == Some(*inode),
            NameOp::Rename { from, inode, .. } => durable(from.0, &from.1) == Some(*inode),
        }
    }

    pub(super) fn lose_names(&mut self, random: &mut Random) {
        let pending = std::mem::take(&mut self.names);
        // All, none, the first so many (as a journal would), or any choice.
        let way = random.below(4);
        let prefix = random.index(pending.len() + 1);
        for (at, op) in pending.iter().enumerate() {
            let survives = match way {
                0 => false,
                1 => true,
                2 => at < prefix,
                _ => random.one_in(2),
            };
            if survives && self.possible(op) {
                self.commit(op);
            }
        }
        for node in self.nodes.values_mut() {
            if let Some(entries) = &mut node.directory {
                entries.cached.clone_from(&entries.durable);
            }
        }
    }

    pub(super) fn lose_sectors(&mut self, random: &mut Random) {
        // All, nothing and something are each worth meeting often.
        let keep_one_in = [1, 2, 2, 8, 0][random.index(5)];
        for node in self.nodes.values_mut() {
            let dirty = std::mem::take(&mut node.dirty);
            for sector in dirty {
                let start = sector * SECTOR_BYTES;
                let end = (start + SECTOR_BYTES).min(node.cached.len());
                if random.one_in(keep_one_in) && start < end {
                    if node.durable.len() < end {
                        node.durable.resize(end, 0);
                    }
                    node.durable[start..end].copy_from_slice(&node.cached[start..end]);
                } else {
                    self.counters.lost_sectors += 1;
                }
            }
            // A cut that was not synced may or may not have happened.
            if node.cached.len() < node.durable.len() && random.one_in(2) {
                node.durable.truncate(node.cached.len());
            }
            node.cached.clone_from(&node.durable);
        }
    }

    pub(super) fn forget_unreachable(&mut self) {
        let mut reachable = BTreeSet::new();
        let mut open = vec![ROOT];
        while let Some(inode) = open.pop() {
            reachable.insert(inode);
            if let Some(entries) = self.nodes.get(&inode).and_then(|node| node.directory.as_ref()) {
                open.extend(entries.cached.values().copied());
            }
        }
        self.nodes.retain(|inode, _| reachable.contains(inode));
    }

    pub(super) fn used(&self) -> u64 {
        self.nodes.values().map(|node| node.cached.len() as u64).sum()
    }

    /// What is reserved can be written, however full the disk is.
    pub(super) fn room_for(&mut self, more: usize) -> io::Result<()> {
        if more > 0
            && self.faults.room_bytes < PLENTY_BYTES
            && self.used() + more as u64 > self.faults.room_bytes
        {
            self.counters.faults += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    pub(super) fn resize(&mut self, inode: Inode, len: usize) -> io::Result<()> {
        let have = self.nodes.get(&inode).map_or(0, |node| node.cached.len());
        self.room_for(len.saturating_sub(have))?;
        let node = self.nodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
        node.cached.resize(len, 0);
        node.dirty.retain(|sector| sector * SECTOR_BYTES < len);
        Ok(())
    }

    /// A direct write. It may grow a file, as the cleaner's do; what a failed one leaves out before its end is a hole of zeros.
    pub(super) fn store(&mut self, inode: Inode, at: usize, bytes: &[u8]) -> io::Result<()> {
        let have = self.nodes.get(&inode).map_or(0, |node| node.cached.len());
        self.room_for((at + bytes.len()).saturating_sub(have))?;
        let node = self.nodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
        if at + bytes.len() > have {
            node.cached.resize(at + bytes.len(), 0);
        }
        node.cached[at..at + bytes.len()].copy_from_slice(bytes);
        node.dirty
            .extend(at / SECTOR_BYTES..(at + bytes.len()).div_ceil(SECTOR_BYTES));
        Ok(())
    }

    pub(super) fn store_growing(&mut self, inode: Inode, at: usize, bytes: &[u8]) -> io::Result<()> {
        let have = self.nodes.get(&inode).map_or(0, |node| node.cached.len());
        if at + bytes.len() > have {
            self.resize(inode, at + bytes.len())?;
        }
        self.store(inode, at, bytes)
    }

    /// A write that failed: some of its sectors are there.
    pub(super) fn tear(&mut self, inode: Inode, at: usize, bytes: &[u8], random: &mut Random) {
        for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if random.one_in(2) {
                // The file is there: the write was accepted.
                let _stored = self.store(inode, at + number * SECTOR_BYTES, sector);
            }
        }
    }

    pub(super) fn make_durable(&mut self, inode: Inode, range: Range<usize>) {
        let node = self.nodes.get_mut(&inode).expect("it was written to");
        if node.durable.len() < range.end {
            node.durable.resize(range.end, 0);
        }
        node.durable[range.clone()].copy_from_slice(&node.cached[range.clone()]);
        let whole = range.start.div_ceil(SECTOR_BYTES)..range.end / SECTOR_BYTES;
        for sector in whole {
            node.dirty.remove(&sector);
        }
    }

    pub(super) fn sync(&mut self, inode: Inode, failing: bool) -> io::Result<()> {
        self.counters.syncs += 1;
        let node = self.nodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
        if node.directory.is_some() {
            self.sync_names(inode);
            return Ok(());
        }
        let dirty = std::mem::take(&mut node.dirty);
        if failing {
            // As on ext4 and XFS: the error is told once, the pages are dropped, the device has the old bytes.
            for sector in dirty {
                let start = sector * SECTOR_BYTES;
                let end = (start + SECTOR_BYTES).min(node.cached.len());
                for at in start..end {
                    node.cached[at] = node.durable.get(at).copied().unwrap_or(0);
                }
            }
            return Err(eio());
        }
        node.durable.resize(node.cached.len(), 0);
        for sector in dirty {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(node.cached.len());
            if start < end {
                node.durable[start..end].copy_from_slice(&node.cached[start..end]);
            }
        }
        Ok(())
    }
}

pub(super) fn eio() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}
