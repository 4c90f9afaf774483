//! The log against a plain list of batches, through every order of appends, writes, crashes and recoveries that a seed
//! can think of; and by hand the orders that once went wrong.
//!
//! `CORELOG_SEED=n` runs one seed of the model test, `CORELOG_STEPS` changes its length.

use super::*;
use crate::storage::error::ReadError;
use crate::storage::marker::CleanEnd;
use crate::storage::read::Walked;
use crate::storage::recovery;
use crate::storage::segment::SEGMENT_BYTES_MIN;
use crate::storage::testing::{
    self, Disk, Random, any_file, append, arena, batch, bytes_of, config, log_id, read, settle,
};

const NOW: i64 = 1_700_000_000_000;

/// One batch that was appended.
#[derive(Clone, Debug)]
struct Expected {
    base: Offset,
    end: Offset,
    epoch: LeaderEpoch,
    max_timestamp: Timestamp,
    bytes: Vec<u8>,
}

/// A log, the disk below it, and what it must hold.
struct Model {
    random: Random,
    durability: Durability,
    arena: Arena,
    disk: Disk,
    log: Log,
    /// Appended batches that were not lost to a crash and not retired.
    expected: Vec<Expected>,
    in_flight: Option<(WriteJob, Option<Vec<u8>>)>,
    attaching: Option<(Offset, u64)>,
    syncing: Option<SyncJob>,
    directory: tempfile::TempDir,
    /// The last epoch a batch was appended with.
    appended_epoch: Option<LeaderEpoch>,
    crashes: u64,
}

impl Model {
    fn new(seed: u64, durability: Durability) -> Self {
        let mut random = Random::new(seed);
        let segment_bytes = [SEGMENT_BYTES_MIN, 65_536, 2 << 20][usize::try_from(random.below(3)).unwrap()];
        Self {
            random,
            durability,
            arena: arena(),
            disk: Disk::default(),
            log: Log::empty(log_id(1), config(segment_bytes, durability)),
            expected: Vec::new(),
            in_flight: None,
            attaching: None,
            syncing: None,
            directory: tempfile::tempdir_in("target").unwrap(),
            appended_epoch: None,
            crashes: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..30 => self.append(),
            30..60 => self.act(),
            60..66 => self.sync(),
            66..70 => self.index(),
            70..85 => self.read_somewhere(),
            85..89 => drop(self.log.evict()),
            89..91 => drop(self.log.roll_active(Vec::new)),
            91..92 => self.log.seal_active(Vec::new),
            92..94 => self.retire(),
            94..95 => self.trim(),
            95..96 => self.clean_restart(),
            _ => self.crash(),
        }
        self.check();
        self.check_lookups();
    }

    fn append(&mut self) {
        let value_bytes = match self.random.below(20) {
            0 => 300_000,
            1..4 => 40_000,
            4..8 => 3_000,
            _ => 10 + self.random.below(400),
        };
        let records = 1 + self.random.below(3);
        let fill = u8::try_from(self.random.below(251)).unwrap();
        let at = NOW + i64::try_from(self.random.below(1_000)).unwrap();
        let bytes = batch(records, usize::try_from(value_bytes).unwrap(), fill, at);
        let parsed = KafkaBatch::parse(&bytes).unwrap();
        let epoch = self.log.epoch();
        // A full arena is back-pressure; the model just goes on.
        if let Ok(appended) = self
            .log
            .append(&parsed, Timestamp::new(NOW), &self.arena, Vec::new)
        {
            let mut stored = bytes.clone();
            kafka::patch(&mut stored, appended.base, epoch);
            self.appended_epoch = Some(epoch);
            self.expected.push(Expected {
                base: appended.base,
                end: appended.end,
                epoch,
                max_timestamp: KafkaBatch::parse(&bytes).unwrap().max_timestamp(),
                bytes: stored,
            });
        }
    }

    /// Starts or completes an action.
    fn act(&mut self) {
        if let Some((job, taken)) = self.in_flight.take() {
            // The kernel may have read the memory at any time between submission and completion.
            let bytes = taken.unwrap_or_else(|| bytes_of(&job));
            self.disk.write(&job, &bytes);
            self.log.wrote(&job);
        } else if let Some((base, capacity)) = self.attaching.take() {
            if self.random.one_in(10) {
                self.log.attach_failed();
            } else {
                self.disk.attach(base, capacity);
                self.log.attach(base, any_file());
            }
        }
        if self.random.one_in(3) {
            return;
        }
        match self.log.next_action() {
            Some(Action::Attach { base, capacity }) => self.attaching = Some((base, capacity)),
            Some(Action::Write(job)) => {
                let bytes = self.random.one_in(2).then(|| bytes_of(&job));
                self.in_flight = Some((job, bytes));
            }
            None => {}
        }
        assert!(
            self.log.next_action().is_none() || !self.log.is_busy(),
            "one at a time"
        );
    }

    fn sync(&mut self) {
        match self.syncing.take() {
            Some(job) => {
                // What was written before the sync was asked for is durable; later bytes are not promised.
                if self.disk.segments.contains_key(&job.base.get()) {
                    testing::sync(&mut self.log, &mut self.disk, &job);
                }
            }
            None => self.syncing = self.log.next_sync(),
        }
    }

    fn index(&mut self) {
        if let Some(summary) = self.log.next_index() {
            testing::index(&mut self.log, &mut self.disk, &summary);
        }
    }

    fn retire(&mut self) {
        let active = self.log.segments.back();
        if active.is_some_and(|active| active.is_empty() && !active.index_written)
            && let Some(summary) = self.log.active_summary(Vec::new())
        {
            testing::index(&mut self.log, &mut self.disk, &summary);
        }
        if let Some(retired) = testing::retire_front(&mut self.log) {
            self.disk.retire(retired.base);
            let start = self.log.start();
            self.expected.retain(|batch| batch.end > start);
        }
    }

    /// Moves the start to somewhere durable, as DeleteRecords does: first the checkpoint, then the log.
    fn trim(&mut self) {
        let (start, end) = (self.log.start().get(), self.log.durable().get());
        let to = Offset::new(start + self.random.below(end - start + 1));
        self.disk.checkpoint = Some(self.log.checkpoint(to).encode());
        self.log.start_at(to);
        assert_eq!(self.log.start(), to);
        while let Some(retired) = self.log.retire_below_start() {
            self.disk.retire(retired.base);
            assert!(self.log.start() == to, "only what lies below leaves");
        }
        self.expected.retain(|batch| batch.end > to);
        if to > Offset::ZERO {
            let below = Offset::new(to.get() - 1);
            assert!(matches!(
                self.log.read_start(below),
                Err(ReadError::OutOfRange { .. })
            ));
        }
    }

    fn read_somewhere(&mut self) {
        let (start, end) = (self.log.start().get(), self.log.visible().get());
        let offset = Offset::new(start + self.random.below(end - start + 1));
        self.read_at(offset);
    }

    /// What is read at `offset` is the batches from the one that holds it, in order, without an end before the first.
    fn read_at(&self, offset: Offset) {
        let (ended, bytes) = match self.log.read_start(offset) {
            Err(ReadError::Damaged { .. }) => return,
            _ => read(&self.log, &self.disk, &self.arena, offset),
        };
        if offset == self.log.visible() {
            return;
        }
        let first = self.expected.partition_point(|batch| batch.end <= offset);
        let mut left = &bytes[..];
        for batch in &self.expected[first..] {
            if left.is_empty() {
                break;
            }
            assert!(
                left.starts_with(&batch.bytes),
                "offset {offset}: not the batch at {}",
                batch.base
            );
            left = &left[batch.bytes.len()..];
        }
        assert!(
            left.is_empty(),
            "offset {offset}: {} bytes nobody appended",
            left.len()
        );
        // In a relaxed topic a batch that left the cache half-written has to wait for its write.
        let waits = self.durability == Durability::Relaxed && matches!(ended, Walked::Needs { .. });
        assert!(ended == Walked::Done || waits, "offset {offset}: {ended:?}");
        assert!(
            waits || !bytes.is_empty(),
            "offset {offset} is visible and not there"
        );
    }

    fn check(&self) {
        let log = &self.log;
        assert!(log.start() <= log.durable() && log.durable() <= log.next());
        assert!(log.durable() <= log.visible() && log.visible() <= log.next());
        let ends: Vec<_> = std::iter::once(log.start())
            .chain(self.expected.iter().map(|batch| batch.end))
            .collect();
        assert!(
            !log.damaged().is_empty() || ends.contains(&log.durable()),
            "durable is a batch boundary"
        );
        let bases: Vec<_> = log.segments().map(|segment| segment.base).collect();
        assert!(
            bases.windows(2).all(|pair| pair[0] < pair[1]),
            "bases rise: {bases:?}"
        );
        for segment in log.segments() {
            assert!(segment.synced <= segment.written && segment.written <= segment.chain.end());
            assert!(segment.chain.end() <= segment.capacity, "{segment:?}");
        }
        if self.durability == Durability::Durable {
            assert_eq!(log.visible(), log.durable());
        }
    }

    /// Where epochs end and times begin, against a walk over every batch.
    fn check_lookups(&mut self) {
        let log = &self.log;
        let leads = log.epoch().get();
        for asked in (0..=leads + 1).map(LeaderEpoch::new) {
            let naive = if asked.get() >= leads {
                (asked.get() == leads).then_some((asked, log.next()))
            } else {
                let last = self.expected.iter().rfind(|batch| batch.epoch <= asked);
                last.map(|last| (last.epoch, last.end))
            };
            if !self.expected.is_empty() || asked.get() >= leads {
                assert_eq!(log.epoch_end(asked), naive, "epoch {asked}");
            }
        }
        for batch in &self.expected {
            let readable = batch.base.max(log.start());
            if readable < batch.end {
                assert_eq!(log.epoch_at(readable), batch.epoch, "epoch at {readable}");
            }
        }
        let visible = || self.expected.iter().filter(|batch| batch.end <= log.visible());
        let (known, unknown) = log.max_timestamp_floor();
        let scanned = visible().filter(|batch| {
            let meets = |range: &Range<Offset>| batch.base < range.end && range.start < batch.end;
            unknown.iter().any(meets)
        });
        let largest = known
            .into_iter()
            .chain(scanned.map(|batch| batch.max_timestamp))
            .max();
        assert_eq!(
            largest,
            visible().map(|batch| batch.max_timestamp).max(),
            "largest time"
        );
        let asked = Timestamp::new(NOW + i64::try_from(self.random.below(1_010)).unwrap());
        let young = self.expected.iter().find(|batch| batch.max_timestamp >= asked);
        match (log.time_floor(asked), young) {
            (Some(floor), Some(young)) => {
                assert!(
                    log.start() <= floor && floor <= young.base.max(log.start()),
                    "{floor} for {}",
                    young.base
                );
            }
            (None, Some(young)) => assert!(young.end > log.visible()),
            // What was that young may lie below the start, in the same segment; whoever walks on from here finds out.
            (Some(floor), None) => assert!(
                log.segments.front().is_some_and(|front| front.base < log.start()),
                "{floor} for a time nobody wrote"
            ),
            (None, None) => {}
        }
    }

    fn crash(&mut self) {
        let (acked, start) = (self.log.durable(), self.log.start());
        let epoch = self.log.epoch();
        // An attach that was under way may or may not have got its name.
        if let Some((base, capacity)) = self.attaching.take()
            && self.random.one_in(2)
        {
            self.disk.attach(base, capacity);
        }
        self.syncing = None;
        let in_flight = self.in_flight.take();
        let in_flight = in_flight
            .as_ref()
            .map(|(job, taken)| (job, taken.clone().unwrap_or_else(|| bytes_of(job))));
        self.disk.crash(in_flight, &mut self.random);
        let forgets = self.random.one_in(2) && self.lose_some_indexes();
        self.disk.store(self.directory.path());
        self.reopen(None);
        assert!(self.log.next() >= acked, "{} < acked {acked}", self.log.next());
        assert_eq!(self.log.start(), start, "the log starts where it started");
        assert!(
            self.log.epoch() > epoch || forgets || self.log.segments.is_empty(),
            "an unclean start is a new term"
        );
        let next = self.log.next();
        let survivors = self.expected.partition_point(|batch| batch.end <= next);
        assert!(
            !self.log.damaged().is_empty()
                || self.expected[..survivors]
                    .last()
                    .map_or_else(|| self.log.start(), |batch| batch.end)
                    == next,
            "the log ends where a batch ends"
        );
        self.expected.truncate(survivors);
        assert_eq!(self.log.damaged(), [], "nothing rots here");
        self.crashes += 1;
        self.read_everything();
        // A crash during recovery, or right after it, changes nothing.
        if self.random.one_in(4) {
            let (next, epoch) = (self.log.next(), self.log.epoch());
            self.disk.load(self.directory.path());
            self.reopen(None);
            assert_eq!(self.log.next(), next);
            assert!(
                self.log.epoch() > epoch || self.log.segments.is_empty(),
                "every unclean start is a new term"
            );
        }
        self.disk.load(self.directory.path());
    }

    fn read_everything(&mut self) {
        self.disk.load(self.directory.path());
        for batch in &self.expected {
            self.read_at(batch.base.max(self.log.start()));
        }
    }

    /// Takes away or damages index files, which no crash does but people and disks do. True when any was.
    fn lose_some_indexes(&mut self) -> bool {
        let random = &mut self.random;
        let before = self.disk.indexes.clone();
        self.disk.indexes.retain(|_, _| !random.one_in(10));
        for bytes in self.disk.indexes.values_mut() {
            if random.one_in(10) {
                bytes[20] ^= 1;
            }
        }
        before != self.disk.indexes
    }

    fn clean_restart(&mut self) {
        self.finish_actions();
        settle(&mut self.log, &mut self.disk);
        assert!(self.log.is_settled());
        if let Some(summary) = self.log.active_summary(Vec::new()) {
            testing::index(&mut self.log, &mut self.disk, &summary);
        }
        let clean = CleanEnd {
            log: self.log.id(),
            end: self.log.next(),
            epoch: self.log.epoch(),
            damaged: self.log.has_damaged_segments(),
        };
        for image in self.disk.segments.values() {
            assert!(image.cache == image.durable, "a settled log is on the disk");
        }
        self.disk.store(self.directory.path());
        let epochs = self.log.epochs.clone();
        self.reopen(Some(clean));
        assert_eq!(self.log.next(), clean.end);
        if !clean.damaged {
            assert_eq!(self.log.epoch(), clean.epoch, "a clean start is no new term");
            assert_eq!(self.log.unindexed, 0);
            let named: Vec<_> = self.log.epochs.clone();
            assert!(
                epochs.iter().all(|entry| named.contains(entry)),
                "{epochs:?} became {named:?}"
            );
        }
        self.disk.load(self.directory.path());
    }

    fn finish_actions(&mut self) {
        self.syncing = None;
        if let Some((job, _)) = self.in_flight.take() {
            self.disk.write(&job, &bytes_of(&job));
            self.log.wrote(&job);
        }
        if self.attaching.take().is_some() {
            self.log.attach_failed();
        }
    }

    fn reopen(&mut self, clean: Option<CleanEnd>) {
        let (id, config) = (self.log.id(), self.log.config());
        let (log, report) = recovery::open(self.directory.path(), id, config, clean, &mut ()).unwrap();
        assert_eq!(report.clean, clean.is_some_and(|clean| !clean.damaged));
        self.log = log;
    }
}

fn run(seed: u64, durability: Durability) {
    let steps = std::env::var("CORELOG_STEPS").map_or(400, |steps| steps.parse().unwrap());
    println!("CORELOG_SEED={seed} {durability:?}");
    let mut model = Model::new(seed, durability);
    for _ in 0..steps {
        model.step();
    }
    assert!(model.crashes > 0 || steps < 100);
}

fn seeds() -> Vec<u64> {
    std::env::var("CORELOG_SEED").map_or_else(|_| (0..8).collect(), |seed| vec![seed.parse().unwrap()])
}

#[test]
fn a_durable_log_keeps_what_it_acked_and_nothing_it_was_not_given() {
    for seed in seeds() {
        run(seed, Durability::Durable);
    }
}

#[test]
fn a_relaxed_log_keeps_what_it_synced_and_nothing_it_was_not_given() {
    for seed in seeds() {
        run(seed, Durability::Relaxed);
    }
}

fn small(durability: Durability) -> (Log, Disk, Arena) {
    let log = Log::empty(log_id(1), config(SEGMENT_BYTES_MIN, durability));
    (log, Disk::default(), arena())
}

#[test]
fn a_frame_larger_than_an_empty_active_segment_takes_its_place() {
    let (mut log, mut disk, arena) = small(Durability::Durable);
    append(&mut log, &arena, &batch(1, 100, 1, NOW), NOW);
    settle(&mut log, &mut disk);
    assert!(log.roll_active(Vec::new));
    settle(&mut log, &mut disk);
    let (_, stored) = append(&mut log, &arena, &batch(1, 50_000, 2, NOW), NOW);
    settle(&mut log, &mut disk);
    let bases: Vec<_> = log.segments().map(|segment| segment.base.get()).collect();
    assert_eq!(bases, [0, 1]);
    assert_eq!(log.durable(), Offset::new(2));
    assert_eq!(read(&log, &disk, &arena, Offset::new(1)).1, stored);
}

#[test]
fn a_file_that_arrives_for_a_replaced_segment_is_asked_for_again() {
    let (mut log, mut disk, arena) = small(Durability::Durable);
    append(&mut log, &arena, &batch(1, 100, 1, NOW), NOW);
    settle(&mut log, &mut disk);
    assert!(log.roll_active(Vec::new));
    let Some(Action::Attach { base, capacity }) = log.next_action() else {
        panic!("the empty segment wants a file");
    };
    append(&mut log, &arena, &batch(1, 50_000, 2, NOW), NOW);
    disk.attach(base, capacity);
    log.attach(base, any_file());
    settle(&mut log, &mut disk);
    assert_eq!(log.durable(), Offset::new(2));
}

#[test]
fn nothing_is_appended_to_a_sealed_segment() {
    let (mut log, mut disk, arena) = small(Durability::Durable);
    append(&mut log, &arena, &batch(1, 100, 1, NOW), NOW);
    log.seal_active(Vec::new);
    append(&mut log, &arena, &batch(1, 100, 2, NOW), NOW);
    assert_eq!(log.segments().len(), 2);
    log.seal_active(Vec::new);
    log.seal_active(Vec::new);
    settle(&mut log, &mut disk);
    assert_eq!(disk.indexes.len(), 2);
    assert!(
        log.segments()
            .all(|segment| segment.file.is_none() && segment.on_disk)
    );
}

#[test]
fn turning_a_relaxed_log_durable_first_syncs_what_was_only_written() {
    let (mut log, mut disk, arena) = small(Durability::Relaxed);
    append(&mut log, &arena, &batch(1, 100, 1, NOW), NOW);
    append(&mut log, &arena, &batch(1, 100, 2, NOW), NOW);
    while let Some(action) = log.next_action() {
        match action {
            Action::Attach { base, capacity } => {
                disk.attach(base, capacity);
                log.attach(base, any_file());
            }
            Action::Write(job) => {
                disk.write(&job, &bytes_of(&job));
                log.wrote(&job);
            }
        }
    }
    assert_eq!(log.durable(), Offset::ZERO);
    log.configure(config(SEGMENT_BYTES_MIN, Durability::Durable));
    append(&mut log, &arena, &batch(1, 100, 3, NOW), NOW);
    let Some(Action::Write(job)) = log.next_action() else {
        panic!("there is a batch to write");
    };
    disk.write(&job, &bytes_of(&job));
    log.wrote(&job);
    assert_eq!(log.durable(), Offset::ZERO, "older batches were never synced");
    settle(&mut log, &mut disk);
    assert_eq!(log.durable(), Offset::new(3));
    for image in disk.segments.values() {
        assert!(image.cache == image.durable);
    }
}

#[test]
fn a_relaxed_log_syncs_a_segment_before_it_begins_the_next() {
    let (mut log, mut disk, arena) = small(Durability::Relaxed);
    append(&mut log, &arena, &batch(1, 100, 1, NOW), NOW);
    log.seal_active(Vec::new);
    append(&mut log, &arena, &batch(1, 100, 2, NOW), NOW);
    while let Some(action) = log.next_action() {
        match action {
            Action::Attach { base, capacity } => {
                assert_eq!(base, Offset::ZERO);
                disk.attach(base, capacity);
                log.attach(base, any_file());
            }
            Action::Write(job) => {
                disk.write(&job, &bytes_of(&job));
                log.wrote(&job);
            }
        }
    }
    let job = log.urgent_sync().expect("the log cannot go on");
    testing::sync(&mut log, &mut disk, &job);
    assert!(matches!(log.next_action(), Some(Action::Attach { base, .. }) if base == Offset::new(1)));
}

#[test]
fn a_sync_overtaken_by_eviction_leaves_nothing_unsynced() {
    let (mut log, mut disk, arena) = small(Durability::Relaxed);
    append(&mut log, &arena, &batch(1, 100, 1, NOW), NOW);
    for _ in 0..2 {
        match log.next_action() {
            Some(Action::Attach { base, capacity }) => {
                disk.attach(base, capacity);
                log.attach(base, any_file());
            }
            Some(Action::Write(job)) => {
                disk.write(&job, &bytes_of(&job));
                log.wrote(&job);
            }
            None => panic!("an attach and a write are due"),
        }
    }
    let job = log.next_sync().unwrap();
    assert!(log.evict());
    testing::sync(&mut log, &mut disk, &job);
    assert_eq!(log.durable(), Offset::new(1));
    assert!(log.next_sync().is_none());
}

#[test]
fn a_log_reduced_to_an_empty_segment_remembers_how_far_it_came() {
    let (mut log, mut disk, arena) = small(Durability::Durable);
    log.epoch = LeaderEpoch::new(7);
    append(&mut log, &arena, &batch(3, 100, 1, NOW), NOW);
    settle(&mut log, &mut disk);
    log.roll_active(Vec::new);
    let attach = log.next_action();
    assert!(matches!(attach, Some(Action::Attach { .. })));
    assert!(
        testing::retire_front(&mut log).is_none(),
        "the successor has no file"
    );
    disk.attach(Offset::new(3), SEGMENT_BYTES_MIN);
    log.attach(Offset::new(3), any_file());
    assert!(
        testing::retire_front(&mut log).is_none(),
        "only the old segment says which epoch it was"
    );
    let summary = log.active_summary(Vec::new()).unwrap();
    testing::index(&mut log, &mut disk, &summary);
    let retired = testing::retire_front(&mut log).unwrap();
    disk.retire(retired.base);
    let directory = tempfile::tempdir_in("target").unwrap();
    disk.store(directory.path());
    let (log, _) = recovery::open(directory.path(), log.id(), log.config(), None, &mut ()).unwrap();
    assert_eq!((log.start(), log.next()), (Offset::new(3), Offset::new(3)));
    assert_eq!(log.epoch(), LeaderEpoch::new(8));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    /// Whoever reads a log of LogAppendTime finds the records as they were sent, under a checksum that holds, with the
    /// broker's time for all of them; and a log of CreateTime the very bytes.
    #[test]
    fn the_brokers_stamp_changes_nothing_else(
        records in proptest::collection::vec((proptest::prelude::any::<Vec<u8>>(), 0..NOW * 2), 1..20),
        codec in 0..5_usize,
        stamps in proptest::prelude::any::<bool>(),
    ) {
        let mut builder = crate::batch::KafkaBatchBuilder::new();
        for (value, at) in &records {
            builder.push(None, Some(value), Timestamp::new(*at), []);
        }
        let sent = builder.build(crate::batch::Compression::ALL[codec], None).unwrap();
        let sent_batch = KafkaBatch::parse(&sent).unwrap();
        let arena = arena();
        let mut disk = Disk::default();
        let mut config = config(SEGMENT_BYTES_MIN, Durability::Durable);
        if stamps {
            config.timestamp_type = TimestampType::LogAppendTime;
        }
        let mut log = Log::empty(log_id(1), config);
        let appended = log.append(&sent_batch, Timestamp::new(NOW), &arena, Vec::new).unwrap();
        settle(&mut log, &mut disk);
        // From the disk every checksum is verified, the frame's own among them.
        while log.evict() {}
        let (walked, stored) = read(&log, &disk, &arena, appended.base);
        assert!(!matches!(walked, Walked::Corrupt { .. }), "{walked:?}");
        let batch = KafkaBatch::parse(&stored).unwrap();
        assert_eq!(batch.verify_crc(), Ok(()));
        assert_eq!(batch.records_section(), sent_batch.records_section());
        assert_eq!(batch.base_timestamp(), sent_batch.base_timestamp());
        if stamps {
            assert_eq!(batch.max_timestamp(), Timestamp::new(NOW));
            assert_eq!(batch.attributes().timestamp_type(), TimestampType::LogAppendTime);
        } else {
            assert_eq!(stored[16..], sent[16..]);
        }
    }
}
