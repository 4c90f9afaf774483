//! What the members' subscriptions come to: patterns resolved to names, names to topics and their partitions.
//!
//! A pattern is matched against all names when it first appears and again when topics have changed, at most once per
//! [`REFRESH_INTERVAL_MS`] per group: the creation of a thousand topics must not cost a thousand times all names. Between, its
//! last result counts; it is in the log, so a restart does not change anybody's subscription. Internal topics match no pattern:
//! a group that reads `.*` would otherwise read its own commits for ever.
//!
//! The hash over names, ids and partition counts of all subscribed topics tells whether a change of topics concerns the group;
//! it is in the log too, so that what changed while the broker was down is noticed.

use super::assignor::Assignor;
use super::member::{Member, MemberMetadata};
use super::pattern::{PatternError, TopicPattern};
use crate::base::{Timestamp, TopicId};
use crate::broker::image::Image;
use crate::broker::topic::is_internal;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Shortest time between two resolutions of a group's patterns.
pub(super) const REFRESH_INTERVAL_MS: u64 = 1000;

/// Different patterns per group: each costs a match against every name when topics change.
pub const PATTERNS_MAX: usize = 100;

/// The topics a pattern matched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Resolved {
    pub(super) topics: BTreeSet<Arc<str>>,
    /// The metadata image it was matched against.
    pub(super) revision: u64,
    /// When.
    pub(super) time: Timestamp,
}

/// A pattern that members subscribe.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) resolved: Resolved,
    /// `None` until it is needed: patterns from the log are compiled when topics change.
    pub(super) compiled: Option<TopicPattern>,
}

impl Pattern {
    /// Compiles and resolves a new pattern.
    pub(super) fn new(source: &str, image: &Image, time: Timestamp) -> Result<Self, PatternError> {
        let compiled = TopicPattern::new(source)?;
        let topics = matching(&compiled, image);
        Ok(Self {
            resolved: Resolved {
                topics,
                revision: image.revision,
                time,
            },
            compiled: Some(compiled),
        })
    }

    /// Resolves again; true if the result differs. A pattern of the log that does not compile keeps what it matched.
    pub(super) fn refresh(&mut self, source: &str, image: &Image, time: Timestamp) -> bool {
        if self.compiled.is_none() {
            self.compiled = TopicPattern::new(source).ok();
        }
        let Some(compiled) = &self.compiled else {
            return false;
        };
        let topics = matching(compiled, image);
        if topics == self.resolved.topics {
            return false;
        }
        self.resolved = Resolved {
            topics,
            revision: image.revision,
            time,
        };
        true
    }
}

fn matching(pattern: &TopicPattern, image: &Image) -> BTreeSet<Arc<str>> {
    let names = image.topics().map(|topic| &topic.name);
    names
        .filter(|name| !is_internal(name))
        .filter(|name| pattern.matches(name))
        .cloned()
        .collect()
}

/// The existing topics of each member, and their partitions.
#[derive(Debug)]
pub(super) struct Interests {
    /// In the order of the members; members with equal subscriptions share one set.
    pub(super) topics: Vec<Arc<BTreeSet<TopicId>>>,
    pub(super) partitions: BTreeMap<TopicId, u32>,
}

/// The names a member subscribes, by itself and by its pattern.
pub(super) fn names_of<'a>(
    metadata: &'a MemberMetadata,
    patterns: &'a BTreeMap<Arc<str>, Pattern>,
) -> impl Iterator<Item = &'a Arc<str>> {
    let matched = metadata
        .pattern
        .as_ref()
        .and_then(|pattern| patterns.get(pattern));
    let matched = matched.into_iter().flat_map(|pattern| &pattern.resolved.topics);
    metadata.names.iter().chain(matched)
}

/// See [`Interests`].
pub(super) fn interests(
    members: &BTreeMap<Arc<str>, Member>,
    patterns: &BTreeMap<Arc<str>, Pattern>,
    image: &Image,
) -> Interests {
    let mut shared = BTreeMap::<(&BTreeSet<Arc<str>>, Option<&str>), _>::new();
    let mut partitions = BTreeMap::new();
    let mut topics = Vec::with_capacity(members.len());
    for member in members.values() {
        let metadata = &member.metadata;
        let key = (&*metadata.names, metadata.pattern.as_deref());
        let set = shared.entry(key).or_insert_with(|| {
            let found = names_of(metadata, patterns).filter_map(|name| image.topic(name));
            let found = found.inspect(|topic| {
                partitions.insert(topic.id, topic.partitions);
            });
            Arc::new(found.map(|topic| topic.id).collect::<BTreeSet<TopicId>>())
        });
        topics.push(Arc::clone(set));
    }
    Interests { topics, partitions }
}

/// A number that changes when one of the subscribed topics appears, disappears, grows or is replaced by another of
/// its name. 0 if there are none.
pub(super) fn topics_hash(
    members: &BTreeMap<Arc<str>, Member>,
    patterns: &BTreeMap<Arc<str>, Pattern>,
    image: &Image,
) -> i64 {
    let mut names: BTreeSet<&Arc<str>> = BTreeSet::new();
    let mut last: Option<&MemberMetadata> = None;
    for member in members.values() {
        let metadata = &member.metadata;
        if !last.is_some_and(|last| last.names == metadata.names && last.pattern == metadata.pattern) {
            names.extend(names_of(metadata, patterns));
        }
        last = Some(metadata);
    }
    let mut hash = Fnv::default();
    let mut found = false;
    for topic in names.into_iter().filter_map(|name| image.topic(name)) {
        found = true;
        hash.add(topic.name.as_bytes());
        hash.add(&topic.id.to_bytes());
        hash.add(&topic.partitions.to_be_bytes());
    }
    if found { hash.0.cast_signed() } else { 0 }
}

/// FNV-1a: the same on every machine and in every version, which the standard hashers do not promise.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// The bytes and an end mark that no UTF-8 contains.
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// The assignor that most members ask for; the default if nobody does.
pub(super) fn preferred_assignor(members: &BTreeMap<Arc<str>, Member>) -> Assignor {
    let votes = |assignor| {
        let asked = members
            .values()
            .filter(|member| member.metadata.assignor == Some(assignor));
        asked.count()
    };
    // The first of equals: `max_by_key` takes the last.
    Assignor::ALL
        .into_iter()
        .rev()
        .max_by_key(|assignor| votes(*assignor))
        .unwrap_or_default()
}
