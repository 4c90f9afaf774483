//! Sessions rule by rule, then a client that hears only changes beside one that fetches everything.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LIMITS: SessionLimits = SessionLimits {
    slots: 2,
    bytes: 1 << 20,
};

fn cache() -> SessionCache {
    SessionCache::with_limits(LIMITS, 0, 1, 7)
}

fn position(partition: i32) -> Position {
    Position {
        partition,
        current_leader_epoch: -1,
        fetch_offset: 0,
        last_fetched_epoch: -1,
        max_bytes: 1000,
    }
}

const T: TopicKey<'_> = TopicKey::Name("t");

fn reference(id: i32, epoch: i32) -> Reference {
    Reference {
        id,
        epoch,
        by_id: false,
    }
}

/// Continues a session without changing it.
fn proceed(cache: &mut SessionCache, now_ms: u64, id: i32, epoch: i32) -> Result<Begun, SessionError> {
    cache.begin(
        now_ms,
        reference(id, epoch),
        std::iter::empty(),
        std::iter::empty(),
    )
}

const fn told(high_watermark: i64, log_start: i64) -> Told {
    Told {
        high_watermark,
        log_start,
    }
}

fn open(cache: &mut SessionCache, now_ms: u64, partitions: std::ops::Range<i32>) -> i32 {
    let fetched = partitions.map(|index| (T, position(index), News::Quiet(told(0, 0))));
    cache.open(now_ms, false, fetched)
}

fn partitions(begun: Result<Begun, SessionError>) -> Vec<i32> {
    match begun {
        Ok(Begun::Incremental(_, asks)) => asks.iter().map(|(_, position)| position.partition).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn epoch_0_opens_and_minus_1_ends() {
    let mut cache = cache();
    assert_eq!(proceed(&mut cache, 0, 0, 0), Ok(Begun::Full));
    let id = open(&mut cache, 0, 0..3);
    assert!(id > 0);
    assert_eq!(partitions(proceed(&mut cache, 0, id, 1)), [0, 1, 2]);
    assert_eq!(proceed(&mut cache, 0, id, -1), Ok(Begun::Sessionless));
    assert_eq!(proceed(&mut cache, 0, id, 2), Err(SessionError::Unknown));
    assert_eq!(cache.len(), 0);
    assert_eq!(cache.bytes, 0);
}

#[test]
fn asking_for_a_session_again_ends_the_old_one() {
    let mut cache = cache();
    let id = open(&mut cache, 0, 0..3);
    assert_eq!(proceed(&mut cache, 0, id, 0), Ok(Begun::Full));
    assert_eq!(cache.len(), 0);
}

#[test]
fn a_lost_or_repeated_request_is_noticed() {
    let mut cache = cache();
    let id = open(&mut cache, 0, 0..1);
    assert!(proceed(&mut cache, 0, id, 1).is_ok());
    assert_eq!(proceed(&mut cache, 0, id, 1), Err(SessionError::Epoch));
    assert_eq!(proceed(&mut cache, 0, id, 3), Err(SessionError::Epoch));
    assert!(
        proceed(&mut cache, 0, id, 2).is_ok(),
        "a wrong epoch changes nothing"
    );
    assert_eq!(
        proceed(&mut cache, 0, id.wrapping_add(1), 3),
        Err(SessionError::Unknown)
    );
}

#[test]
fn names_and_ids_do_not_mix() {
    let mut cache = cache();
    let id = open(&mut cache, 0, 0..1);
    let by_id = Reference {
        id,
        epoch: 1,
        by_id: true,
    };
    let mixed = cache.begin(0, by_id, std::iter::empty(), std::iter::empty());
    assert_eq!(mixed, Err(SessionError::MixedTopics));
}

#[test]
fn what_is_added_is_fetched_and_what_is_forgotten_is_not() {
    let mut cache = cache();
    let id = open(&mut cache, 0, 0..2);
    let begun = cache.begin(
        0,
        reference(id, 1),
        [(T, position(5))].into_iter(),
        [(T, 0), (T, 77), (TopicKey::Name("other"), 1)].into_iter(),
    );
    assert_eq!(partitions(begun), [1, 5]);
    let all = [(T, 1), (T, 5)].into_iter();
    assert_eq!(
        cache.begin(0, reference(id, 2), std::iter::empty(), all),
        Ok(Begun::Sessionless)
    );
    assert_eq!(cache.len(), 0, "an empty session ends");
}

#[test]
fn only_news_are_told_and_told_partitions_go_last() {
    let mut cache = cache();
    let id = open(&mut cache, 0, 0..3);
    assert!(proceed(&mut cache, 0, id, 1).is_ok());
    let topic = TopicRef::from(T);
    assert!(!cache.tell(id, &topic, 0, News::Quiet(told(0, 0))));
    assert!(cache.tell(id, &topic, 0, News::Quiet(told(1, 0))));
    assert!(!cache.tell(id, &topic, 0, News::Quiet(told(1, 0))));
    assert!(
        cache.tell(id, &topic, 0, News::Quiet(told(1, 1))),
        "the log start moved"
    );
    assert!(cache.tell(id, &topic, 1, News::Records(told(0, 0))));
    assert_eq!(partitions(proceed(&mut cache, 0, id, 2)), [2, 0, 1]);
    assert!(cache.tell(id, &topic, 2, News::Fault));
    assert!(cache.tell(id, &topic, 2, News::Fault));
    assert!(
        cache.tell(id, &topic, 2, News::Quiet(told(0, 0))),
        "the error is over"
    );
}

#[test]
fn a_full_cache_spares_sessions_in_use() {
    let mut cache = cache();
    let first = open(&mut cache, 0, 0..1);
    let second = open(&mut cache, 1, 0..1);
    assert_eq!(open(&mut cache, EVICT_AFTER_MS - 1, 0..1), 0);
    assert!(proceed(&mut cache, EVICT_AFTER_MS - 1, first, 1).is_ok());
    assert_ne!(open(&mut cache, EVICT_AFTER_MS + 1, 0..1), 0);
    let now_ms = EVICT_AFTER_MS + 1;
    assert_eq!(proceed(&mut cache, now_ms, second, 1), Err(SessionError::Unknown));
    assert!(proceed(&mut cache, now_ms, first, 2).is_ok());
}

#[test]
fn a_session_that_outgrows_the_memory_ends() {
    let limits = SessionLimits {
        slots: 2,
        bytes: 10_000,
    };
    let mut cache = SessionCache::with_limits(limits, 0, 1, 7);
    assert_eq!(open(&mut cache, 0, 0..100), 0);
    let id = open(&mut cache, 0, 0..5);
    let more = (0..100).map(|index| (T, position(index)));
    let begun = cache.begin(0, reference(id, 1), more, std::iter::empty());
    assert_eq!(begun, Err(SessionError::Unknown));
    assert_eq!(cache.bytes, 0);
}

#[test]
fn requests_being_served_are_bounded_too() {
    let limits = SessionLimits {
        slots: 2,
        bytes: 10_000,
    };
    let mut cache = SessionCache::with_limits(limits, 0, 1, 7);
    let id = open(&mut cache, 0, 0..30);
    let first = proceed(&mut cache, 0, id, 1).unwrap();
    let second = proceed(&mut cache, 0, id, 2).unwrap();
    cache.end(&first);
    let third = proceed(&mut cache, 0, id, 3).unwrap();
    assert_eq!(proceed(&mut cache, 0, id, 4), Err(SessionError::Unknown));
    cache.end(&second);
    cache.end(&third);
    assert_eq!((cache.served, cache.bytes), (0, 0));
}

#[test]
fn ids_say_which_shard_gave_them() {
    for shard in 0..3 {
        let mut cache = SessionCache::new(shard, 3, 1 << 20, 99);
        for now_ms in 0..100 {
            let id = open(&mut cache, now_ms, 0..1);
            assert!(id > 0);
            assert_eq!(id % 3, i32::from(shard));
        }
    }
}

#[test]
fn epochs_wrap_to_1() {
    assert_eq!(next_epoch(0), 1);
    assert_eq!(next_epoch(i32::MAX), 1);
}

/// What happens between two requests of a client.
#[derive(Clone, Debug)]
enum Step {
    /// A log gains records.
    Append(usize),
    /// A log loses its beginning.
    Trim(usize),
    /// A log fails, or works again.
    Toggle(usize),
    /// The client wants a partition.
    Add(usize),
    /// The client wants it no longer.
    Drop(usize),
    /// The client fetches.
    Fetch,
    /// A request was lost: the client starts over.
    Lose,
}

const LOGS: usize = 6;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..LOGS).prop_map(Step::Append),
        1 => (0..LOGS).prop_map(Step::Trim),
        1 => (0..LOGS).prop_map(Step::Toggle),
        2 => (0..LOGS).prop_map(Step::Add),
        1 => (0..LOGS).prop_map(Step::Drop),
        4 => Just(Step::Fetch),
        1 => Just(Step::Lose),
    ]
}

#[derive(Clone, Copy, Default, PartialEq, Debug)]
struct Log {
    end: i64,
    start: i64,
    failed: bool,
}

/// A client that keeps what it heard, and the naive truth beside it.
struct World {
    cache: SessionCache,
    logs: [Log; LOGS],
    id: i32,
    epoch: i32,
    /// What the client wants, with its offset; what it heard of it last.
    wanted: BTreeMap<i32, i64>,
    heard: BTreeMap<i32, Option<Told>>,
    dropped: Vec<i32>,
}

impl World {
    fn news(&self, partition: i32, offset: i64) -> News {
        let log = self.logs[usize::try_from(partition).unwrap()];
        match (log.failed, told(log.end, log.start)) {
            (true, _) => News::Fault,
            (false, bounds) if offset < log.end => News::Records(bounds),
            (false, bounds) => News::Quiet(bounds),
        }
    }

    fn hear(&mut self, partition: i32, news: News) {
        let (News::Records(told) | News::Quiet(told)) = news else {
            self.heard.insert(partition, None);
            return;
        };
        self.heard.insert(partition, Some(told));
        self.wanted.insert(partition, told.high_watermark);
    }

    fn asked(&self, partition: i32) -> Position {
        Position {
            fetch_offset: self.wanted[&partition],
            ..position(partition)
        }
    }

    fn fetch_full(&mut self) {
        let wanted: Vec<i32> = self.wanted.keys().copied().collect();
        self.heard.clear();
        let begun = proceed(&mut self.cache, 0, self.id, 0);
        assert_eq!(begun, Ok(Begun::Full));
        let fetched: Vec<_> = wanted
            .iter()
            .map(|&index| (T, self.asked(index), self.news(index, self.wanted[&index])))
            .collect();
        self.id = self.cache.open(0, false, fetched.iter().copied());
        assert_eq!(self.id == 0, wanted.is_empty());
        for (_, position, news) in fetched {
            self.hear(position.partition, news);
        }
        self.epoch = 1;
    }

    fn fetch_more(&mut self) {
        // Clients list what moved as well: here, everything with a new offset.
        let changed: Vec<_> = self.wanted.keys().map(|&index| (T, self.asked(index))).collect();
        let dropped = std::mem::take(&mut self.dropped);
        self.heard.retain(|partition, _| !dropped.contains(partition));
        let begun = self.cache.begin(
            0,
            reference(self.id, self.epoch),
            changed.into_iter(),
            dropped.iter().map(|&partition| (T, partition)),
        );
        self.epoch += 1;
        begun.iter().for_each(|begun| self.cache.end(begun));
        let asks = match begun {
            Ok(Begun::Incremental(_, asks)) => asks,
            Ok(Begun::Sessionless) => {
                assert!(self.wanted.is_empty());
                self.id = 0;
                return;
            }
            other => panic!("{other:?}"),
        };
        let mut fetched: Vec<i32> = asks.iter().map(|(_, position)| position.partition).collect();
        fetched.sort_unstable();
        assert!(
            fetched.iter().eq(self.wanted.keys()),
            "a session fetches what its client wants"
        );
        for (topic, position) in asks {
            assert_eq!(position.fetch_offset, self.wanted[&position.partition]);
            let news = self.news(position.partition, position.fetch_offset);
            if self.cache.tell(self.id, &topic, position.partition, news) {
                self.hear(position.partition, news);
            }
        }
    }

    fn fetch(&mut self) {
        if self.id == 0 {
            self.dropped.clear();
            self.fetch_full();
        } else {
            self.fetch_more();
        }
        for &partition in self.wanted.keys() {
            let log = self.logs[usize::try_from(partition).unwrap()];
            let truth = (!log.failed).then(|| told(log.end, log.start));
            assert_eq!(self.heard.get(&partition), Some(&truth), "partition {partition}");
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Append(log) => self.logs[log].end += 1,
            Step::Trim(log) => self.logs[log].start = (self.logs[log].start + 1).min(self.logs[log].end),
            Step::Toggle(log) => self.logs[log].failed = !self.logs[log].failed,
            Step::Add(log) => {
                let partition = i32::try_from(log).unwrap();
                self.wanted.entry(partition).or_insert(0);
                self.dropped.retain(|dropped| *dropped != partition);
            }
            Step::Drop(log) => {
                let partition = i32::try_from(log).unwrap();
                if self.wanted.remove(&partition).is_some() {
                    self.dropped.push(partition);
                }
            }
            Step::Fetch => self.fetch(),
            Step::Lose if self.id == 0 => {}
            Step::Lose => {
                // The request arrived, the answer did not.
                let lost = proceed(&mut self.cache, 0, self.id, self.epoch);
                self.cache.end(&lost.unwrap());
                let again = proceed(&mut self.cache, 0, self.id, self.epoch);
                assert!(again.is_err());
                self.dropped.clear();
                self.wanted.values_mut().for_each(|offset| *offset = 0);
                self.fetch_full();
            }
        }
    }
}

proptest! {
    /// A client that hears only changes knows as much as one that fetches everything every time.
    #[test]
    fn changes_add_up_to_the_whole(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World {
            cache: cache(),
            logs: [Log::default(); LOGS],
            id: 0,
            epoch: 0,
            wanted: BTreeMap::new(),
            heard: BTreeMap::new(),
            dropped: Vec::new(),
        };
        for step in &steps {
            world.apply(step);
            let bytes: usize = world.cache.sessions.values().map(Session::bytes).sum();
            prop_assert_eq!(world.cache.bytes, bytes);
            prop_assert_eq!(world.cache.served, 0);
            prop_assert_eq!(world.cache.uses.len(), world.cache.sessions.len());
        }
    }
}
