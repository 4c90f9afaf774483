//! The store against a plain map, on a disk of memory that can stop, tear and forget; and once on a real directory.
#![expect(
    clippy::disallowed_types,
    reason = "the test keeps a hand on the disk that it gave to the store"
)]

use std::sync::{Arc, Mutex, MutexGuard};

use proptest::prelude::*;

use super::*;

/// Small enough that a handful of commits fills it.
const SMALL_JOURNAL: usize = 120;

type Files = BTreeMap<Name, Vec<u8>>;

/// A disk whose owner can look at it while the store has it.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: Files,
    /// What the names stand for after a power cut: renames count only once the directory is synced.
    durable: Files,
    renamed: bool,
    temporary: Option<Vec<u8>>,
    /// Fails the call after this many that change something, and all later ones.
    calls_left: Option<usize>,
    /// How many bytes of a failing append arrive.
    torn_bytes: usize,
    /// There is no room for more than those.
    full: bool,
}

impl State {
    /// A step that takes room.
    fn step_of_more(&mut self) -> io::Result<()> {
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.step()
    }

    fn step(&mut self) -> io::Result<()> {
        match &mut self.calls_left {
            None => Ok(()),
            Some(0) => Err(io::Error::other("pulled the plug")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn settle(&mut self) {
        if !self.renamed {
            self.durable = self.files.clone();
        }
    }
}

impl Memory {
    fn with(files: Files) -> Self {
        let memory = Self::default();
        memory.lock().durable = files.clone();
        memory.lock().files = files;
        memory
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn open(&self) -> Result<LocalMetaStore, Error> {
        LocalMetaStore::open_on(Box::new(self.clone()), SMALL_JOURNAL)
    }

    fn journal(&self) -> Vec<u8> {
        self.lock().files[&Name::Journal].clone()
    }

    fn set_journal(&self, bytes: &[u8]) {
        self.lock().files.insert(Name::Journal, bytes.to_vec());
    }
}

impl Disk for Memory {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn read(&mut self, name: Name) -> io::Result<Option<Vec<u8>>> {
        Ok(self.lock().files.get(&name).cloned())
    }

    fn append_journal(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let outcome = state.step_of_more();
        let arrived = if outcome.is_ok() {
            bytes
        } else {
            &bytes[..state.torn_bytes.min(bytes.len())]
        };
        state
            .files
            .get_mut(&Name::Journal)
            .unwrap()
            .extend_from_slice(arrived);
        state.settle();
        outcome
    }

    fn truncate_journal(&mut self, len: usize) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        state.files.get_mut(&Name::Journal).unwrap().truncate(len);
        state.settle();
        Ok(())
    }

    fn write_temporary(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let outcome = state.step_of_more();
        let arrived = if outcome.is_ok() {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        state.temporary = Some(bytes[..arrived].to_vec());
        outcome
    }

    fn publish_temporary(&mut self, name: Name) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        let bytes = state.temporary.take().unwrap();
        state.files.insert(name, bytes);
        state.renamed = true;
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        state.renamed = false;
        state.settle();
        Ok(())
    }

    fn remove_temporary(&mut self) -> io::Result<()> {
        self.lock().temporary = None;
        Ok(())
    }
}

fn contents(store: &LocalMetaStore) -> Vec<(String, Vec<u8>, u64)> {
    let items = store
        .range("")
        .map(|(key, item)| (key.to_owned(), item.value.clone(), item.mod_revision.get()));
    items.collect()
}

/// The `n`th commit of the crash tests: some keys come, some are replaced, some go.
fn numbered(n: u64) -> Txn {
    let txn = Txn::new().put(format!("key/{}", n % 7), format!("value {n}"));
    if n % 5 == 4 {
        txn.delete(format!("key/{}", (n + 1) % 7))
    } else {
        txn
    }
}

fn after(commits: u64) -> Vec<(String, Vec<u8>, u64)> {
    let mut store = Memory::default().open().unwrap();
    for n in 0..commits {
        store.commit(numbered(n)).unwrap();
    }
    contents(&store)
}

#[test]
fn a_commit_is_seen_and_survives() {
    let disk = Memory::default();
    let mut store = disk.open().unwrap();
    let committed = store
        .commit(Txn::new().put("a", "1").put("b", "2").delete("absent"))
        .unwrap();
    assert_eq!(committed.revision, Revision::new(1));
    assert_eq!(
        committed.changes.len(),
        2,
        "deleting what is not there is no change"
    );
    store.commit(Txn::new().put("b", "3").delete("a")).unwrap();
    for store in [store, disk.open().unwrap()] {
        assert_eq!(store.revision(), Revision::new(2));
        assert_eq!(store.get("a"), None);
        assert_eq!(
            store.get("b"),
            Some(&Item {
                value: b"3".to_vec(),
                mod_revision: Revision::new(2)
            })
        );
    }
}

#[test]
fn a_failed_condition_changes_nothing() {
    let disk = Memory::default();
    let mut store = disk.open().unwrap();
    store
        .commit(Txn::new().expect("a", Expected::Absent).put("a", "1"))
        .unwrap();
    let before = (disk.journal(), contents(&store));
    for expected in [Expected::Absent, Expected::Version(Revision::new(7))] {
        let outcome = store.commit(Txn::new().expect("a", expected).put("b", "2").put("a", "2"));
        assert!(
            matches!(
                outcome,
                Err(Error::Conflict {
                    found: Some(Revision(1)),
                    ..
                })
            ),
            "{outcome:?}"
        );
    }
    let outcome = store.commit(
        Txn::new()
            .expect("b", Expected::Version(Revision::new(1)))
            .delete("a"),
    );
    assert!(
        matches!(outcome, Err(Error::Conflict { found: None, .. })),
        "{outcome:?}"
    );
    assert_eq!((disk.journal(), contents(&store)), before);
    store
        .commit(
            Txn::new()
                .expect("a", Expected::Version(Revision::new(1)))
                .put("a", "2"),
        )
        .unwrap();
}

#[test]
fn a_commit_that_only_checks_gets_no_revision() {
    let mut store = Memory::default().open().unwrap();
    let committed = store.commit(Txn::new().expect("a", Expected::Absent)).unwrap();
    assert_eq!(
        (committed.revision, store.revision()),
        (Revision::ZERO, Revision::ZERO)
    );
}

#[test]
fn a_range_is_all_keys_with_the_prefix_and_no_other() {
    let mut store = Memory::default().open().unwrap();
    let txn = ["t", "t/", "t/a", "t/a/b", "t0", "s/z", "t/é"]
        .iter()
        .fold(Txn::new(), |txn, key| txn.put(*key, ""));
    store.commit(txn).unwrap();
    let keys: Vec<_> = store.range("t/").map(|(key, _)| key).collect();
    assert_eq!(keys, ["t/", "t/a", "t/a/b", "t/é"]);
}

#[test]
fn keys_and_transactions_are_bounded() {
    let mut store = Memory::default().open().unwrap();
    for len in [0, KEY_BYTES_MAX + 1] {
        let outcome = store.commit(Txn::new().put("k".repeat(len), ""));
        assert!(
            matches!(outcome, Err(Error::BadKey { bytes }) if bytes == len),
            "{outcome:?}"
        );
    }
    let outcome = store.commit(Txn::new().put("k", vec![0; TXN_BYTES_MAX]));
    assert!(matches!(outcome, Err(Error::TooLarge { .. })), "{outcome:?}");
    store
        .commit(Txn::new().put("k".repeat(KEY_BYTES_MAX), ""))
        .unwrap();
    assert_eq!(store.revision(), Revision::new(1));
}

#[test]
fn an_entry_torn_at_any_byte_is_cut() {
    let disk = Memory::default();
    let mut store = disk.open().unwrap();
    store.commit(numbered(0)).unwrap();
    let whole = disk.journal();
    store.commit(numbered(1)).unwrap();
    let longer = disk.journal();
    for len in whole.len()..longer.len() {
        for zeros in [0, 1, 600] {
            // A file may have got its new length before its bytes.
            let mut torn = longer[..len].to_vec();
            torn.resize(len + zeros, 0);
            if torn.starts_with(&longer) {
                continue;
            }
            disk.set_journal(&torn);
            let mut store = disk.open().unwrap();
            assert_eq!(contents(&store), after(1), "length {len}, zeros {zeros}");
            assert_eq!(disk.journal(), whole, "the tail is gone from the file too");
            store.commit(numbered(1)).unwrap();
            assert_eq!(contents(&disk.open().unwrap()), after(2));
        }
    }
}

#[test]
fn a_flipped_bit_before_the_last_entry_refuses_to_open() {
    let disk = Memory::default();
    let mut store = disk.open().unwrap();
    store.commit(numbered(0)).unwrap();
    let early = disk.journal().len();
    store.commit(numbered(1)).unwrap();
    let sound = disk.journal();
    for bit in 0..early * 8 {
        let mut bad = sound.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        disk.set_journal(&bad);
        let error = disk.open().expect_err("a damaged commit below a sound one");
        assert!(
            error
                .to_string()
                .starts_with("metadata file memory/journal is damaged at byte"),
            "{error}"
        );
        assert_eq!(disk.journal(), bad, "nothing is touched");
    }
}

#[test]
fn a_missing_file_of_a_pair_refuses_to_open() {
    let disk = Memory::default();
    let mut store = disk.open().unwrap();
    for n in 0..20 {
        store.commit(numbered(n)).unwrap();
    }
    let files = disk.lock().files.clone();
    assert_eq!(files.len(), 2, "the journal was full at least once");
    for missing in [Name::Journal, Name::Snapshot] {
        let mut files = files.clone();
        files.remove(&missing);
        let error = Memory::with(files).open().expect_err("half a store");
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
}

#[test]
fn a_crash_at_any_step_keeps_what_was_answered() {
    const COMMITS: u64 = 25;
    let mut crashes = 0;
    for calls in 0.. {
        let mut completed = false;
        for torn_bytes in [0, 1, 7, 8, 9, 20, usize::MAX] {
            let disk = Memory::default();
            disk.lock().calls_left = Some(calls);
            disk.lock().torn_bytes = torn_bytes;
            let mut answered = 0;
            if let Ok(mut store) = disk.open() {
                while answered < COMMITS && store.commit(numbered(answered)).is_ok() {
                    answered += 1;
                }
                if answered < COMMITS {
                    assert!(matches!(store.commit(numbered(0)), Err(Error::Poisoned)));
                    assert_eq!(
                        contents(&store),
                        after(answered),
                        "memory holds what was answered"
                    );
                }
            }
            completed = answered == COMMITS;
            let (written, durable) = {
                let state = disk.lock();
                (state.files.clone(), state.durable.clone())
            };
            for image in [written, durable] {
                crashes += 1;
                let disk = Memory::with(image);
                let mut store = disk.open().unwrap();
                // The commit under way may have made it to the disk, whole.
                let survived = store.revision().get();
                assert!(
                    survived == answered || survived == answered + 1,
                    "{survived} of {answered}"
                );
                assert_eq!(contents(&store), after(survived));
                store.commit(numbered(survived)).unwrap();
                assert_eq!(contents(&disk.open().unwrap()), after(survived + 1));
            }
        }
        if completed {
            break;
        }
    }
    assert!(crashes > 400, "the plug was pulled at every step: {crashes}");
}

#[test]
fn a_full_disk_refuses_commits_and_takes_them_again_when_there_is_room() {
    // Far enough that the journal is replaced on the way, which takes room, too.
    for torn_bytes in [0, 5, 30] {
        let memory = Memory::default();
        let mut store = memory.open().unwrap();
        for n in 0..12 {
            memory.lock().full = true;
            memory.lock().torn_bytes = torn_bytes;
            for _ in 0..2 {
                let refused = store.commit(numbered(n)).unwrap_err();
                assert!(refused.is_full() && !store.is_poisoned(), "{refused}");
            }
            assert_eq!(contents(&memory.open().unwrap()), after(n));
            memory.lock().full = false;
            store.commit(numbered(n)).unwrap();
            assert_eq!(contents(&memory.open().unwrap()), after(n + 1));
        }
    }
}

#[test]
fn a_disk_that_fails_while_a_full_one_is_tidied_poisons_the_store() {
    let memory = Memory::default();
    let mut store = memory.open().unwrap();
    memory.lock().full = true;
    memory.lock().calls_left = Some(0);
    assert!(store.commit(numbered(1)).is_err());
    assert!(store.is_poisoned());
}

#[test]
fn the_real_directory_keeps_the_store_over_snapshots_and_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data").join("meta");
    let open = || LocalMetaStore::open_on(Box::new(Directory::open(&path).unwrap()), SMALL_JOURNAL).unwrap();
    for n in 0..40 {
        let mut store = open();
        assert_eq!(contents(&store), after(n));
        store.commit(numbered(n)).unwrap();
    }
    std::fs::write(path.join("temporary"), b"left by a crash").unwrap();
    let journal = path.join("journal");
    let mut torn = std::fs::read(&journal).unwrap();
    torn.extend_from_slice(b"half an entry");
    std::fs::write(&journal, torn).unwrap();
    assert_eq!(contents(&open()), after(40));
    assert!(!path.join("temporary").exists());
    assert_eq!(contents(&LocalMetaStore::open(&path).unwrap()), after(40));
}

#[derive(Clone, Debug)]
enum Action {
    Commit(Vec<(u8, Guess)>, Vec<(u8, Option<Vec<u8>>)>),
    Reopen,
}

/// What a random transaction insists on; `Right` looks it up, so that enough of them succeed.
#[derive(Clone, Copy, Debug)]
enum Guess {
    Right,
    Absent,
    Version(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let guess = prop_oneof![
        6 => Just(Guess::Right),
        1 => Just(Guess::Absent),
        1 => (0..20_u64).prop_map(Guess::Version)
    ];
    let compares = proptest::collection::vec((0..8_u8, guess), 0..3);
    let value = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..20));
    let ops = proptest::collection::vec((0..8_u8, value), 0..4);
    prop_oneof![
        8 => (compares, ops).prop_map(|(compares, ops)| Action::Commit(compares, ops)),
        1 => Just(Action::Reopen)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_map_with_versions(actions in proptest::collection::vec(action(), 0..80)) {
        let disk = Memory::default();
        let mut store = disk.open().unwrap();
        let mut model: BTreeMap<String, (Vec<u8>, u64)> = BTreeMap::new();
        let mut revision = 0;
        for action in actions {
            let Action::Commit(compares, ops) = action else {
                store = disk.open().unwrap();
                continue;
            };
            let mut txn = Txn::new();
            let mut holds = true;
            for (key, guess) in compares {
                let key = format!("k{key}");
                let found = model.get(&key).map(|&(_, version)| version);
                let insisted = match guess {
                    Guess::Right => found,
                    Guess::Absent => None,
                    Guess::Version(version) => Some(version),
                };
                holds &= found == insisted;
                txn = txn.expect(key, insisted.map_or(Expected::Absent, |v| Expected::Version(Revision::new(v))));
            }
            for (key, value) in &ops {
                let key = format!("k{key}");
                txn = match value {
                    Some(value) => txn.put(key, value.clone()),
                    None => txn.delete(key),
                };
            }
            prop_assert_eq!(store.commit(txn).is_ok(), holds);
            if holds && !ops.is_empty() {
                revision += 1;
                for (key, value) in ops {
                    let key = format!("k{key}");
                    match value {
                        Some(value) => drop(model.insert(key, (value, revision))),
                        None => drop(model.remove(&key)),
                    }
                }
            }
            let expected: Vec<_> = model.iter().map(|(k, (v, r))| (k.clone(), v.clone(), *r)).collect();
            prop_assert_eq!((contents(&store), store.revision().get()), (expected, revision));
        }
        prop_assert_eq!(contents(&disk.open().unwrap()), contents(&store));
    }
}
