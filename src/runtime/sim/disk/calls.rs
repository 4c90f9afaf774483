//! The calls of the simulated disk: those of a shard's ring, which complete after a while, and those that block their thread.

use super::state::Inode;
use super::state::State;
use super::state::{BLOCK_BYTES, Entries, Node, SECTOR_BYTES, eio};
use super::{Disk, Effect, SimFile};
use crate::runtime::disk::{OpenMode, Piece, WriteSync};
use crate::runtime::fs;
use crate::runtime::sim::{Random, here};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a blocking call costs its thread.
const BLOCKING_COST: Duration = Duration::from_micros(30);

/// What `runtime::disk` asks.
impl Disk {
    pub(crate) async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SimFile> {
        let path = path.to_owned();
        let effect: Effect = Box::new(move |state, _| {
            let inode = match mode {
                OpenMode::Direct | OpenMode::Directory => state.find(&path)?,
                OpenMode::DirectCreate => state.create(&path, Node::default())?,
                OpenMode::BufferedCreate => state.create_or_empty(&path)?,
            };
            Ok(usize::try_from(inode.0).expect("few inodes"))
        });
        let number = self.operate(&[20, path_mark(mode)], effect).await?;
        Ok(SimFile(Inode(number as u64)))
    }

    pub(crate) async fn write(
        &self,
        file: &SimFile,
        position: u64,
        pieces: Vec<Piece>,
        sync: WriteSync,
    ) -> io::Result<()> {
        assert_eq!(position % BLOCK_BYTES as u64, 0, "direct I/O starts at a block");
        let inode = file.0;
        let before = bytes_of(&pieces);
        assert_eq!(before.len() % BLOCK_BYTES, 0, "direct I/O is whole blocks");
        let failing = self.fault(|faults| faults.write_eio);
        let facts = [21, inode.0, position, sum(&before), sync as u64];
        let effect: Effect = Box::new(move |state, random| {
            // The device reads the memory at any time until it is done.
            let after = bytes_of(&pieces);
            let bytes = mix(&before, &after, random);
            let at = usize::try_from(position).expect("a small disk");
            state.counters.writes += 1;
            if failing {
                state.tear(inode, at, &bytes, random);
                return Err(eio());
            }
            state.store(inode, at, &bytes)?;
            if sync != WriteSync::None && !state.lies.dsync_is_volatile && !state.unflushed {
                state.make_durable(inode, at..at + bytes.len());
            }
            Ok(bytes.len())
        });
        self.operate(&facts, effect).await.map(drop)
    }

    pub(crate) async fn write_buffered(
        &self,
        file: &SimFile,
        position: u64,
        bytes: Box<[u8]>,
    ) -> io::Result<()> {
        let inode = file.0;
        let facts = [22, inode.0, position, sum(&bytes)];
        let effect: Effect = Box::new(move |state, _| {
            state.counters.writes += 1;
            state.store_growing(inode, usize::try_from(position).expect("a small disk"), &bytes)?;
            Ok(bytes.len())
        });
        self.operate(&facts, effect).await.map(drop)
    }

    pub(crate) async fn read(&self, file: &SimFile, position: u64, pieces: Vec<Piece>) -> io::Result<usize> {
        let inode = file.0;
        let failing = self.fault(|faults| faults.read_eio);
        let effect: Effect = Box::new(move |state, _| {
            state.counters.reads += 1;
            if failing {
                return Err(eio());
            }
            let node = state.nodes.get(&inode).ok_or(io::ErrorKind::NotFound)?;
            let mut at = usize::try_from(position).expect("a small disk");
            let mut done = 0;
            for piece in &pieces {
                let end = (at + piece.len).min(node.cached.len());
                let Some(bytes) = node.cached.get(at..end) else {
                    break;
                };
                piece.chunk.copy_in(piece.start, bytes);
                done += bytes.len();
                at = end;
            }
            Ok(done)
        });
        self.operate(&[23, inode.0, position], effect).await
    }

    pub(crate) async fn sync(&self, file: &SimFile) -> io::Result<()> {
        let inode = file.0;
        let failing = self.fault(|faults| faults.sync_eio);
        let effect: Effect = Box::new(move |state, _| state.sync(inode, failing).map(|()| 0));
        self.operate(&[24, inode.0], effect).await.map(drop)
    }

    pub(crate) async fn allocate(&self, file: &SimFile, len: u64) -> io::Result<()> {
        let inode = file.0;
        let effect: Effect = Box::new(move |state, _| {
            state.resize(inode, usize::try_from(len).expect("a small disk"))?;
            Ok(0)
        });
        self.operate(&[25, inode.0, len], effect).await.map(drop)
    }

    pub(crate) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        let effect: Effect = Box::new(move |state, _| state.rename(&from, &to).map(|()| 0));
        self.operate(&[26], effect).await.map(drop)
    }

    pub(crate) async fn unlink(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        let effect: Effect = Box::new(move |state, _| state.unlink(&path).map(|()| 0));
        self.operate(&[27], effect).await.map(drop)
    }

    pub(crate) async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        let failing = self.fault(|faults| faults.sync_eio);
        let effect: Effect = Box::new(move |state, _| {
            let inode = state.find(&path)?;
            if failing {
                return Err(eio());
            }
            state.sync_names(inode);
            Ok(0)
        });
        self.operate(&[28], effect).await.map(drop)
    }
}

/// What `runtime::fs` asks: calls that block their thread.
impl Disk {
    fn blocking<T>(&self, kind: u64, call: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        if let Some(world) = here() {
            world.note(&[40, kind]);
            world.pass(BLOCKING_COST);
        }
        self.go_on()?;
        call(&mut self.0.state.borrow_mut())
    }

    pub(crate) fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let failing = self.fault(|faults| faults.read_eio);
        self.blocking(1, |state| {
            let inode = state.find(path)?;
            if failing {
                return Err(eio());
            }
            Ok(state.nodes[&inode].cached.clone())
        })
    }

    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<fs::Entry>> {
        self.blocking(2, |state| {
            let entries = state.entries(state.find(path)?)?;
            let entry = |(name, inode): (&OsString, &Inode)| {
                let node = &state.nodes[inode];
                fs::Entry {
                    name: name.clone(),
                    bytes: node.cached.len() as u64,
                    is_directory: node.directory.is_some(),
                }
            };
            Ok(entries.cached.iter().map(entry).collect())
        })
    }

    pub(crate) fn is_directory(&self, path: &Path) -> bool {
        let state = self.0.state.borrow();
        let inode = state.find(path);
        inode.is_ok_and(|inode| state.nodes[&inode].directory.is_some())
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.0.state.borrow().find(path).is_ok()
    }

    pub(crate) fn create_directories(&self, path: &Path) -> io::Result<()> {
        self.blocking(3, |state| {
            let mut so_far = PathBuf::new();
            for part in path.components() {
                so_far.push(part);
                if state.find(&so_far).is_err() {
                    let directory = Node {
                        directory: Some(Entries::default()),
                        ..Node::default()
                    };
                    state.create(&so_far, directory)?;
                }
            }
            Ok(())
        })
    }

    pub(crate) fn rename_now(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.blocking(4, |state| state.rename(from, to))
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.blocking(5, |state| state.unlink(path))
    }

    pub(crate) fn remove_directory_all(&self, path: &Path) -> io::Result<()> {
        self.blocking(6, |state| state.remove_all(path))
    }

    pub(crate) fn sync_directory_now(&self, path: &Path) -> io::Result<()> {
        let failing = self.fault(|faults| faults.sync_eio);
        self.blocking(7, |state| {
            let inode = state.find(path)?;
            if failing {
                return Err(eio());
            }
            state.sync_names(inode);
            Ok(())
        })
    }

    /// Makes `path` hold `bytes`, synced but for its name.
    pub(crate) fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let failing = self.fault(|faults| faults.sync_eio);
        self.blocking(8, |state| {
            let inode = state.create_or_empty(path)?;
            state.store_growing(inode, 0, bytes)?;
            state.sync(inode, failing)
        })
    }

    pub(crate) fn open_now(&self, path: &Path) -> io::Result<SimFile> {
        self.blocking(9, |state| state.find(path).map(SimFile))
    }

    pub(crate) fn len(&self, file: &SimFile) -> u64 {
        let state = self.0.state.borrow();
        state
            .nodes
            .get(&file.0)
            .map_or(0, |node| node.cached.len() as u64)
    }

    pub(crate) fn read_now(&self, file: &SimFile, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let failing = self.fault(|faults| faults.read_eio);
        self.blocking(10, |state| {
            if failing {
                return Err(eio());
            }
            let node = state.nodes.get(&file.0).ok_or(io::ErrorKind::NotFound)?;
            let at = usize::try_from(position).expect("a small disk");
            let bytes = node.cached.get(at..at + buffer.len());
            buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    pub(crate) fn write_now(&self, file: &SimFile, position: u64, bytes: &[u8]) -> io::Result<()> {
        let failing = self.fault(|faults| faults.write_eio);
        self.blocking(11, |state| {
            if failing {
                return Err(eio());
            }
            state.counters.writes += 1;
            state.store_growing(file.0, usize::try_from(position).expect("a small disk"), bytes)
        })
    }

    pub(crate) fn set_len_now(&self, file: &SimFile, len: u64) -> io::Result<()> {
        self.blocking(12, |state| {
            state.resize(file.0, usize::try_from(len).expect("a small disk"))
        })
    }

    pub(crate) fn sync_now(&self, file: &SimFile) -> io::Result<()> {
        let failing = self.fault(|faults| faults.sync_eio);
        self.blocking(13, |state| state.sync(file.0, failing))
    }

    /// As [`Self::sync_now`], of a file that recovery is about to trust.
    pub(crate) fn sync_trusted(&self, file: &SimFile) -> io::Result<()> {
        if self.0.state.borrow().lies.forget_recovery_syncs {
            return Ok(());
        }
        self.sync_now(file)
    }

    pub(crate) fn space(&self) -> fs::Space {
        let state = self.0.state.borrow();
        fs::Space {
            total_bytes: state.faults.room_bytes,
            usable_bytes: state.faults.room_bytes.saturating_sub(state.used()),
        }
    }
}

/// Per sector, what the memory held at the start of the operation or at its end.
fn mix(before: &[u8], after: &[u8], random: &mut Random) -> Vec<u8> {
    if before == after {
        return after.to_vec();
    }
    let sectors = before.chunks(SECTOR_BYTES).zip(after.chunks(SECTOR_BYTES));
    sectors
        .flat_map(|(before, after)| if random.one_in(2) { before } else { after })
        .copied()
        .collect()
}

fn bytes_of(pieces: &[Piece]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(pieces.iter().map(|piece| piece.len).sum());
    for piece in pieces {
        bytes.extend_from_slice(piece.chunk.slice(piece.start..piece.start + piece.len));
    }
    bytes
}

fn sum(bytes: &[u8]) -> u64 {
    u64::from(crate::base::checksum::crc32c(bytes))
}

fn path_mark(mode: OpenMode) -> u64 {
    match mode {
        OpenMode::Direct => 1,
        OpenMode::DirectCreate => 2,
        OpenMode::BufferedCreate => 3,
        OpenMode::Directory => 4,
    }
}
