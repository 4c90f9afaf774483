//! Incremental fetch sessions (KIP-227): what a consumer fetches, remembered, so that it sends and hears only changes.
//!
//! **The protocol.** A request has a session id and an epoch. Epoch 0 fetches what the request names and asks for a
//! session; -1 fetches what it names and ends the session it names. Any other epoch continues: the request lists what
//! was added, changed or forgotten, everything else is fetched as before, and the answer leaves out partitions with
//! nothing to tell. The epoch counts the requests of a session, so a lost or repeated one is noticed: the client then
//! starts over with epoch 0.
//!
//! **What is told** of a partition in a session: records, an error, a place where logs part, a high watermark or log
//! start other than the ones told last. After an error nothing counts as told. A partition that was told goes behind
//! the others, so that one busy partition cannot keep a full answer from the rest.
//!
//! **Where sessions live.** In the door that took the request, on one shard, found by id from any of its connections. An
//! id says which shard gave it (its remainder by the number of shards), so an id of another shard is unknown here.
//!
//! **Bounds.** [`SessionLimits`]: sessions, their bytes, and as many bytes again twice for requests that are being served:
//! a short request can stand for many partitions, so what it takes is counted from [`SessionCache::begin`] to
//! [`SessionCache::end`]. A new session that finds no room takes that of the session unused
//! for longest, if that was for [`EVICT_AFTER_MS`]; otherwise it is declined (id 0) and its client goes on without one. A
//! session that grows beyond the bound, or whose request does, ends; its client hears that it is unknown and starts over.
//!
//! Pure: the time comes from outside. One shard's thread. Absent: replicas, whose sessions Kafka spares.

mod entries;

use crate::base::hash::HashMap;
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::base::TopicId;
use entries::Entries;

/// Sessions of a broker, all shards together: Kafka's `max.incremental.fetch.session.cache.slots`.
const SLOTS: usize = 1000;

/// Memory the sessions of one door may take: one byte of this many of the shard's memory for requests. At about 300 bytes a
/// partition, 64 MiB are enough for 27 000 partitions in sessions.
const REQUEST_SHARE: usize = 8;

/// Requests being served may take this many times as much: each session has one, as a rule.
const SERVED_FACTOR: usize = 2;

/// A session unused for this long gives way to a new one: Kafka's two minutes.
pub(super) const EVICT_AFTER_MS: u64 = 120_000;

/// What a session takes beside its partitions.
const SESSION_BYTES: usize = 256;

/// The epoch that asks for a session.
const EPOCH_OPEN: i32 = 0;
/// The epoch that ends one, or wants none.
const EPOCH_FINAL: i32 = -1;

/// How a request names a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TopicKey<'a> {
    /// Until version 12.
    Name(&'a str),
    /// From version 13 on.
    Id(TopicId),
}

impl TopicKey<'_> {
    /// The name on the wire, empty if there is none.
    pub(super) const fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Id(_) => "",
        }
    }

    /// The id on the wire, nil if there is none.
    pub(super) const fn id(self) -> TopicId {
        match self {
            Self::Name(_) => TopicId::NIL,
            Self::Id(id) => id,
        }
    }
}

/// A [`TopicKey`] that a session keeps.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum TopicRef {
    Name(Rc<str>),
    Id(TopicId),
}

impl TopicRef {
    pub(super) fn key(&self) -> TopicKey<'_> {
        match self {
            Self::Name(name) => TopicKey::Name(name),
            Self::Id(id) => TopicKey::Id(*id),
        }
    }
}

impl From<TopicKey<'_>> for TopicRef {
    fn from(key: TopicKey<'_>) -> Self {
        match key {
            TopicKey::Name(name) => Self::Name(name.into()),
            TopicKey::Id(id) => Self::Id(id),
        }
    }
}

/// What a client wants of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Position {
    /// The partition, as on the wire.
    pub(super) partition: i32,
    /// The leader epoch the client knows, -1 for none.
    pub(super) current_leader_epoch: i32,
    /// First offset wanted.
    pub(super) fetch_offset: i64,
    /// Epoch of the last record the client has, -1 for none.
    pub(super) last_fetched_epoch: i32,
    /// Most bytes.
    pub(super) max_bytes: i32,
}

/// The bounds a client was told of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Told {
    pub(super) high_watermark: i64,
    pub(super) log_start: i64,
}

/// What reading a partition came to, as far as a session cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum News {
    /// Bounds, with records or a place where logs part.
    Records(Told),
    /// Bounds and nothing else.
    Quiet(Told),
    /// An error.
    Fault,
}

/// How a request refers to a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reference {
    /// The session, 0 for none.
    pub(super) id: i32,
    /// Position in the session.
    pub(super) epoch: i32,
    /// Whether the request's version names topics by id.
    pub(super) by_id: bool,
}

/// What a request is in terms of sessions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Begun {
    /// Fetch what it names; there is no session.
    Sessionless,
    /// Fetch what it names, then [`SessionCache::open`].
    Full,
    /// Fetch these, then ask [`SessionCache::tell`] what to answer.
    Incremental(i32, Vec<(TopicRef, Position)>),
}

/// Why a request cannot continue its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// It ended, or never was here.
    #[error("no such fetch session")]
    Unknown,
    /// A request was lost, or came twice.
    #[error("the request does not follow the session's last one")]
    Epoch,
    /// Names in a session of ids, or the other way round.
    #[error("the session names topics in another way")]
    MixedTopics,
}

/// Bounds of a [`SessionCache`].
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionLimits {
    pub(super) slots: usize,
    pub(super) bytes: usize,
}

/// The sessions of one door.
#[derive(Debug)]
pub(super) struct SessionCache {
    limits: SessionLimits,
    shard: u16,
    shards: u16,
    random: u64,
    sessions: HashMap<i32, Session>,
    /// Time of last use and id, the oldest first.
    uses: BTreeSet<(u64, i32)>,
    bytes: usize,
    /// Partitions of requests that are being served.
    served: usize,
}

/// One session.
#[derive(Debug)]
struct Session {
    /// The epoch the next request must have.
    epoch: i32,
    by_id: bool,
    used_ms: u64,
    entries: Entries,
}

impl Session {
    fn bytes(&self) -> usize {
        SESSION_BYTES + self.entries.bytes()
    }
}

impl SessionCache {
    /// The cache of one of `shards` shards, which has `request_bytes` of memory for requests; `seed` makes ids that are
    /// hard to guess.
    pub(super) fn new(shard: u16, shards: u16, request_bytes: usize, seed: u64) -> Self {
        let limits = SessionLimits {
            slots: (SLOTS / usize::from(shards.max(1))).max(1),
            bytes: request_bytes / REQUEST_SHARE,
        };
        Self::with_limits(limits, shard, shards, seed)
    }

    pub(super) fn with_limits(limits: SessionLimits, shard: u16, shards: u16, seed: u64) -> Self {
        Self {
            limits,
            shard,
            shards: shards.max(1),
            random: seed,
            sessions: HashMap::default(),
            uses: BTreeSet::new(),
            bytes: 0,
            served: 0,
        }
    }

    /// Takes a request in: the changes it lists are made, and its session waits for the next epoch.
    ///
    /// # Errors
    /// Why it cannot continue its session. Nothing was changed then, except that a session that outgrew its bound ended.
    pub(super) fn begin<'a>(
        &mut self,
        now_ms: u64,
        reference: Reference,
        wanted: impl Iterator<Item = (TopicKey<'a>, Position)>,
        forgotten: impl Iterator<Item = (TopicKey<'a>, i32)>,
    ) -> Result<Begun, SessionError> {
        let Reference { id, epoch, by_id } = reference;
        if epoch == EPOCH_FINAL || epoch == EPOCH_OPEN {
            self.remove(id);
            return Ok(if epoch == EPOCH_OPEN {
                Begun::Full
            } else {
                Begun::Sessionless
            });
        }
        let session = self.sessions.get_mut(&id).ok_or(SessionError::Unknown)?;
        if session.epoch != epoch {
            return Err(SessionError::Epoch);
        }
        if session.by_id != by_id {
            return Err(SessionError::MixedTopics);
        }
        let before = session.bytes();
        session.entries.put_all(wanted);
        for (topic, partition) in forgotten {
            session.entries.forget(&TopicRef::from(topic), partition);
        }
        session.epoch = next_epoch(epoch);
        let count = session.entries.len();
        self.bytes = self.bytes - before + session.bytes();
        self.uses.remove(&(session.used_ms, id));
        session.used_ms = now_ms;
        self.uses.insert((now_ms, id));
        if count == 0 {
            self.remove(id);
            return Ok(Begun::Sessionless);
        }
        let served_bytes = (self.served + count).saturating_mul(entries::ENTRY_BYTES);
        if served_bytes > SERVED_FACTOR * self.limits.bytes || !self.make_room(now_ms, 0, 0) {
            self.remove(id);
            return Err(SessionError::Unknown);
        }
        let session = self.sessions.get(&id).ok_or(SessionError::Unknown)?;
        self.served += count;
        Ok(Begun::Incremental(id, session.entries.snapshot()))
    }

    /// An incremental request is answered or given up.
    pub(super) fn end(&mut self, begun: &Begun) {
        if let Begun::Incremental(_, asks) = begun {
            self.served -= asks.len();
        }
    }

    /// Opens a session over what was fetched and told; gives its id, or 0 if there is no room or nothing to remember.
    pub(super) fn open<'a>(
        &mut self,
        now_ms: u64,
        by_id: bool,
        fetched: impl Iterator<Item = (TopicKey<'a>, Position, News)>,
    ) -> i32 {
        let mut entries = Entries::default();
        for (topic, position, news) in fetched {
            entries.put_told(topic, position, news);
        }
        if entries.is_empty() {
            return 0;
        }
        let session = Session {
            epoch: next_epoch(EPOCH_OPEN),
            by_id,
            used_ms: now_ms,
            entries,
        };
        if !self.make_room(now_ms, 1, session.bytes()) {
            return 0;
        }
        let id = self.fresh_id();
        self.bytes += session.bytes();
        self.uses.insert((now_ms, id));
        self.sessions.insert(id, session);
        id
    }

    /// Whether a partition belongs in the answer to an incremental request; if so, it counts as told. A session that
    /// ended meanwhile leaves nothing out.
    pub(super) fn tell(&mut self, id: i32, topic: &TopicRef, partition: i32, news: News) -> bool {
        self.sessions
            .get_mut(&id)
            .is_none_or(|session| session.entries.tell(topic, partition, news))
    }

    /// How many sessions there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.uses.remove(&(session.used_ms, id));
            self.bytes -= session.bytes();
        }
    }

    /// Makes room for so many more sessions and bytes, at the cost of sessions long unused.
    fn make_room(&mut self, now_ms: u64, slots: usize, bytes: usize) -> bool {
        while self.sessions.len() + slots > self.limits.slots || self.bytes + bytes > self.limits.bytes {
            match self.uses.first() {
                Some(&(used_ms, id)) if now_ms.saturating_sub(used_ms) >= EVICT_AFTER_MS => self.remove(id),
                _ => return false,
            }
        }
        true
    }

    /// A positive id not in use, with this shard's remainder.
    fn fresh_id(&mut self) -> i32 {
        let shards = i32::from(self.shards);
        loop {
            // splitmix64
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let random = i32::try_from(mixed >> 33).expect("31 bits fit");
            // The largest multiple below leaves room for every remainder.
            let id = random.min(i32::MAX - shards) / shards * shards + i32::from(self.shard);
            if id > 0 && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }
}

/// The epoch after `epoch`: 1 follows the largest, since 0 would ask for a new session.
const fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests;
