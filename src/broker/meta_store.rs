//! The metadata of the broker: ordered keys with small values, changed by compare-and-swap transactions.
//!
//! Promise: a transaction that [`MetaStore::commit`] has answered is on the disk, all of it; one that was refused left
//! nothing. Each commit gets the next [`Revision`]; a key remembers the revision that last wrote it, which is what a
//! later transaction may insist on. [`LocalMetaStore`] keeps all keys in memory (reads cost no I/O) and two files in its
//! directory, so that a broker alone needs no service beside it:
//!
//! ```text
//! <data>/meta/journal     every commit since the snapshot, appended and synced before the commit returns
//! <data>/meta/snapshot    all keys as of one revision; absent until the first journal was full
//! <data>/meta/temporary   the next version of one of them while it is written; ignored and removed at open
//! ```
//!
//! **When the journal is full** the next commit first writes the snapshot, then an empty journal: each to the temporary
//! file, synced, renamed, directory synced. A crash leaves the old pair, or the new snapshot with the old journal (whose
//! entries the snapshot already holds and which are skipped by revision), or the new pair. Nothing is ever half there.
//!
//! **After an I/O error** the store is poisoned: the disk may or may not hold the last transaction, so no further commit
//! is taken and the process must stop ([`LocalMetaStore::is_poisoned`]). Reads still answer from memory, which holds only what
//! was committed. A full disk is different: what was written of the commit is cut off again, and the store goes on.
//!
//! **Damage**: an unreadable end of the journal with nothing readable after it is a commit that was never answered, and
//! is cut. Anything else that does not check out refuses to open and names file and position: metadata is never guessed.
//! (Rot in precisely the last entry looks like a torn write and is cut as well; the journal cannot tell.)
//!
//! Only the control thread touches it; the blocking calls of `std::fs` are right there and wrong anywhere else. Values are
//! opaque bytes. A subscription is absent: a commit hands its changes to the caller, who is the only writer.

mod disk;
pub(crate) mod journal;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::Path;

use crate::storage::error::{is_failure, is_full};
use disk::{Directory, Disk, Looking, Name};
use journal::Damage;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// Largest transaction as it stands in the journal, in bytes. Big enough to create ten thousand partitions at once.
pub const TXN_BYTES_MAX: usize = 4 << 20;

/// A journal that has grown past this many bytes is replaced by a snapshot before the next commit. Reading it back takes
/// milliseconds; a snapshot of a usual store is written about once per ten thousand commits.
pub const JOURNAL_BYTES_MAX: usize = 1 << 20;

/// The number of a commit, dense from 1. Zero is the empty store, before any commit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Revision(u64);

impl Revision {
    /// Before any commit.
    pub const ZERO: Self = Self(0);

    /// Wraps a raw number.
    #[must_use]
    pub const fn new(revision: u64) -> Self {
        Self(revision)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a key holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// The bytes that were put.
    pub value: Vec<u8>,
    /// The commit that put them.
    pub mod_revision: Revision,
}

/// What a transaction insists on about a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// The key does not exist.
    Absent,
    /// The key exists and was last written by this commit.
    Version(Revision),
}

/// A condition of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compare {
    /// The key it is about.
    pub key: String,
    /// What must be so.
    pub expected: Expected,
}

/// A change that a transaction makes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Creates the key or replaces its value.
    Put {
        /// At most [`KEY_BYTES_MAX`] bytes, not empty.
        key: String,
        /// Opaque bytes.
        value: Vec<u8>,
    },
    /// Removes the key; no change if it is absent.
    Delete {
        /// The key.
        key: String,
    },
}

impl Op {
    /// The key it changes.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Conditions and changes, all or nothing. Changes apply in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Txn {
    /// All must hold, or nothing is changed.
    pub compares: Vec<Compare>,
    /// The changes. With none, the commit only checks and gets no revision of its own.
    pub ops: Vec<Op>,
}

impl Txn {
    /// An empty transaction.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn expect(mut self, key: impl Into<String>, expected: Expected) -> Self {
        self.compares.push(Compare {
            key: key.into(),
            expected,
        });
        self
    }

    /// Adds a put.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.ops.push(Op::Put {
            key: key.into(),
            value: value.into(),
        });
        self
    }

    /// Adds a delete.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.ops.push(Op::Delete { key: key.into() });
        self
    }
}

/// The outcome of a commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The revision of the store that holds the changes.
    pub revision: Revision,
    /// The changes, in order, for those who watch: deletes of absent keys are left out.
    pub changes: Vec<Op>,
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A condition does not hold. Nothing changed; read again and decide anew.
    #[error("key {key:?} is not as expected: {expected:?}, found revision {found:?}")]
    Conflict {
        /// The first key that failed.
        key: String,
        /// What the transaction insisted on.
        expected: Expected,
        /// The revision that last wrote the key, or `None` when it is absent.
        found: Option<Revision>,
    },
    /// An empty key, or one longer than [`KEY_BYTES_MAX`]. Nothing changed.
    #[error("a key of {bytes} bytes is not allowed (1 to {KEY_BYTES_MAX})")]
    BadKey {
        /// Its length.
        bytes: usize,
    },
    /// The transaction is larger than [`TXN_BYTES_MAX`]. Nothing changed.
    #[error("a transaction of {bytes} bytes is not allowed (at most {TXN_BYTES_MAX})")]
    TooLarge {
        /// Its size in the journal.
        bytes: usize,
    },
    /// An earlier write failed; see the essay. Nothing changed.
    #[error("the metadata store stopped after an earlier I/O error")]
    Poisoned,
    /// A file does not check out. The store does not open.
    #[error("metadata file {file} is damaged at byte {position}: {reason}")]
    Corrupt {
        /// Path of the file.
        file: String,
        /// Where the bytes stop making sense.
        position: usize,
        /// What was found.
        reason: &'static str,
    },
    /// The disk failed. During a commit it is unknown whether the transaction survives, and the store is poisoned.
    #[error("cannot {action} in {place}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The directory.
        place: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Whether the disk had no room, which passes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }

    /// Whether the disk failed, which is final.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_failure(source))
    }
}

/// A store of metadata; this broker's own or, one day, one that a cluster shares.
pub trait MetaStore {
    /// The revision of the newest commit.
    fn revision(&self) -> Revision;

    /// What `key` holds.
    fn get(&self, key: &str) -> Option<&Item>;

    /// All keys that start with `prefix`, in byte order.
    fn range<'a>(&'a self, prefix: &'a str) -> Box<dyn Iterator<Item = (&'a str, &'a Item)> + 'a>;

    /// Applies `txn` durably and whole, or not at all.
    fn commit(&mut self, txn: Txn) -> Result<Committed, Error>;
}

/// All keys, in order.
type Image = BTreeMap<String, Item>;

/// The store in a directory of this machine.
pub struct LocalMetaStore {
    disk: Box<dyn Disk + Send>,
    revision: Revision,
    image: Image,
    journal_bytes: usize,
    journal_bytes_max: usize,
    poisoned: bool,
}

impl LocalMetaStore {
    /// Opens the store in `dir`, making an empty one if there is none; reads everything into memory and cuts a torn end
    /// of the journal. A crash during it leaves a store that opens again.
    ///
    /// The caller holds the lock of the data directory: two stores over one directory would destroy it.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let disk = Directory::open(dir).map_err(|source| Error::Io {
            action: "open the metadata directory",
            place: dir.display().to_string(),
            source,
        })?;
        Self::open_on(Box::new(disk), JOURNAL_BYTES_MAX)
    }

    /// Reads the store in `dir` as [`open`](Self::open) would and changes nothing; commits are refused. For tools that look at
    /// the directory of a stopped broker.
    pub fn look(dir: &Path) -> Result<Self, Error> {
        Self::open_on(Box::new(Looking(dir.to_owned())), JOURNAL_BYTES_MAX)
    }

    fn open_on(disk: Box<dyn Disk + Send>, journal_bytes_max: usize) -> Result<Self, Error> {
        let mut store = Self {
            disk,
            revision: Revision::ZERO,
            image: Image::new(),
            journal_bytes: 0,
            journal_bytes_max,
            poisoned: false,
        };
        store.io("remove the temporary file", |disk| disk.remove_temporary())?;
        let snapshot = store.io("read the snapshot", |disk| disk.read(Name::Snapshot))?;
        let journal = store.io("read the journal", |disk| disk.read(Name::Journal))?;
        match (snapshot, journal) {
            (None, None) => store.replace(Name::Journal, &journal::encode_header(Revision::ZERO))?,
            (snapshot, Some(journal)) => {
                if let Some(snapshot) = snapshot {
                    store.load_snapshot(&snapshot)?;
                }
                store.replay(&journal)?;
            }
            (Some(_), None) => {
                return Err(store.corrupt(
                    Name::Journal,
                    Damage {
                        position: 0,
                        reason: "the file is missing",
                    },
                ));
            }
        }
        Ok(store)
    }

    /// Whether an I/O error left it unknown what the disk holds: no commit is taken any more.
    #[must_use]
    pub const fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    fn load_snapshot(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let decoded = journal::decode_snapshot(bytes);
        (self.revision, self.image) = decoded.map_err(|damage| self.corrupt(Name::Snapshot, damage))?;
        Ok(())
    }

    fn replay(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let journal = journal::decode(bytes).map_err(|damage| self.corrupt(Name::Journal, damage))?;
        if journal.base > self.revision {
            let reason = "the snapshot it continues is missing or older";
            return Err(self.corrupt(Name::Journal, Damage { position: 0, reason }));
        }
        if journal.last() < self.revision {
            // The snapshot was made of this journal, or the journal was begun at the snapshot: it reaches at least there.
            let reason = "it ends before the snapshot does";
            return Err(self.corrupt(
                Name::Journal,
                Damage {
                    position: journal.end,
                    reason,
                },
            ));
        }
        if journal.end < bytes.len() {
            self.io("cut the torn end of the journal", |disk| {
                disk.truncate_journal(journal.end)
            })?;
        }
        for entry in journal.entries {
            if entry.revision > self.revision {
                self.apply(entry.revision, entry.ops);
            }
        }
        self.journal_bytes = journal.end;
        Ok(())
    }

    /// Writes a snapshot, then an empty journal that continues it. Each step leaves a pair of files that opens.
    fn compact(&mut self) -> Result<(), Error> {
        let snapshot = journal::encode_snapshot(self.revision, &self.image);
        self.replace(Name::Snapshot, &snapshot)?;
        self.replace(Name::Journal, &journal::encode_header(self.revision))
    }

    fn replace(&mut self, name: Name, bytes: &[u8]) -> Result<(), Error> {
        let written = self.io("write the temporary file", |disk| disk.write_temporary(bytes));
        if written.as_ref().is_err_and(Error::is_full) {
            // Nobody looks at it before it is renamed.
            self.poisoned = false;
        }
        written?;
        self.io("rename the temporary file", |disk| disk.publish_temporary(name))?;
        self.io("sync the directory", |disk| disk.sync_directory())?;
        if name == Name::Journal {
            self.journal_bytes = bytes.len();
        }
        Ok(())
    }

    fn apply(&mut self, revision: Revision, ops: Vec<Op>) -> Vec<Op> {
        self.revision = revision;
        let mut changes = Vec::with_capacity(ops.len());
        for op in ops {
            let changed = match &op {
                Op::Put { key, value } => {
                    let item = Item {
                        value: value.clone(),
                        mod_revision: revision,
                    };
                    self.image.insert(key.clone(), item);
                    true
                }
                Op::Delete { key } => self.image.remove(key).is_some(),
            };
            if changed {
                changes.push(op);
            }
        }
        changes
    }

    fn check(&self, txn: &Txn) -> Result<(), Error> {
        for key in txn.ops.iter().map(Op::key) {
            if key.is_empty() || key.len() > KEY_BYTES_MAX {
                return Err(Error::BadKey { bytes: key.len() });
            }
        }
        for Compare { key, expected } in &txn.compares {
            let found = self.image.get(key).map(|item| item.mod_revision);
            let holds = match expected {
                Expected::Absent => found.is_none(),
                Expected::Version(revision) => found == Some(*revision),
            };
            if !holds {
                return Err(Error::Conflict {
                    key: key.clone(),
                    expected: *expected,
                    found,
                });
            }
        }
        Ok(())
    }

    /// Appends to the journal, durably. If there is no room for it, nothing is left of it.
    fn append(&mut self, entry: &[u8]) -> Result<(), Error> {
        let appended = self.io("append to the journal", |disk| disk.append_journal(entry));
        if appended.as_ref().is_err_and(Error::is_full) {
            let sound = self.journal_bytes;
            self.poisoned = self
                .io("cut the journal", |disk| disk.truncate_journal(sound))
                .is_err();
        }
        appended
    }

    /// Every call to the disk goes through here: a failure poisons the store.
    fn io<T>(
        &mut self,
        action: &'static str,
        body: impl FnOnce(&mut dyn Disk) -> io::Result<T>,
    ) -> Result<T, Error> {
        body(self.disk.as_mut()).map_err(|source| {
            self.poisoned = true;
            Error::Io {
                action,
                place: self.disk.place(),
                source,
            }
        })
    }

    fn corrupt(&self, name: Name, damage: Damage) -> Error {
        let file = format!("{}/{}", self.disk.place(), name.file_name());
        Error::Corrupt {
            file,
            position: damage.position,
            reason: damage.reason,
        }
    }
}

impl MetaStore for LocalMetaStore {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn get(&self, key: &str) -> Option<&Item> {
        self.image.get(key)
    }

    fn range<'a>(&'a self, prefix: &'a str) -> Box<dyn Iterator<Item = (&'a str, &'a Item)> + 'a> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let keys = self
            .image
            .range::<str, _>(from)
            .take_while(move |(key, _)| key.starts_with(prefix));
        Box::new(keys.map(|(key, item)| (key.as_str(), item)))
    }

    fn commit(&mut self, txn: Txn) -> Result<Committed, Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        self.check(&txn)?;
        if txn.ops.is_empty() {
            return Ok(Committed {
                revision: self.revision,
                changes: Vec::new(),
            });
        }
        let revision = self.revision.next();
        let entry = journal::encode_entry(revision, &txn.ops)?;
        if self.journal_bytes > self.journal_bytes_max {
            self.compact()?;
        }
        self.append(&entry)?;
        self.journal_bytes += entry.len();
        let changes = self.apply(revision, txn.ops);
        Ok(Committed { revision, changes })
    }
}

impl fmt::Debug for LocalMetaStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalMetaStore")
            .field("place", &self.disk.place())
            .field("revision", &self.revision)
            .field("keys", &self.image.len())
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
