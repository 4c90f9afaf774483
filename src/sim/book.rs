//! What a run shares: the stories of all logs, the first broken rules, a diary, and where the broker is.
//!
//! One per run, on its one thread. Clients tell it what they were told; the driver asks whether something is wrong.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use super::history::{LogStory, Nature, Rule, Violation};
use super::member::GroupStory;
use crate::base::TopicId;
use crate::runtime::clock::Mono;
use crate::runtime::sim::World;

/// Lines of the diary that are kept.
const DIARY_LINES: usize = 400;

/// Where a broker listens; its shards have the ports behind it.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// See [`HOST`].
const BASE_PORT: u16 = 9092;

/// A topic of a run: one incarnation, which may be deleted and be followed by another of its name.
#[derive(Clone, Debug)]
pub(super) struct TopicPlan {
    pub(super) name: String,
    pub(super) partitions: i32,
    pub(super) nature: Nature,
    pub(super) configs: Vec<(&'static str, String)>,
    /// Known once it was created.
    pub(super) id: Option<TopicId>,
}

/// Number of a topic in the book.
pub(super) type TopicKey = usize;

/// A log in the book: its topic and its partition.
pub(super) type LogKey = (TopicKey, i32);

/// What happens for how long and how well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Load and faults.
    Storm,
    /// No faults; clients finish what they have begun.
    Calm,
}

/// See the module.
pub(super) struct Book {
    pub(super) world: World,
    topics: RefCell<Vec<TopicPlan>>,
    stories: RefCell<BTreeMap<(TopicKey, i32), LogStory>>,
    /// By group, topic and partition.
    groups: RefCell<BTreeMap<(usize, LogKey), GroupStory>>,
    violation: RefCell<Option<Violation>>,
    diary: RefCell<VecDeque<String>>,
    diary_kept: bool,
    shards: Cell<u16>,
    phase: Cell<Phase>,
    /// Clients that still have something to finish.
    busy: RefCell<BTreeSet<String>>,
    counts: RefCell<BTreeMap<&'static str, u64>>,
}

impl Book {
    pub(super) fn new(world: World, diary_kept: bool) -> Rc<Self> {
        Rc::new(Self {
            world,
            topics: RefCell::default(),
            stories: RefCell::default(),
            groups: RefCell::default(),
            violation: RefCell::default(),
            diary: RefCell::default(),
            diary_kept,
            shards: Cell::new(1),
            phase: Cell::new(Phase::Storm),
            busy: RefCell::default(),
            counts: RefCell::default(),
        })
    }

    /// Adds a topic that is to be created.
    pub(super) fn add_topic(&self, plan: TopicPlan) -> TopicKey {
        let mut topics = self.topics.borrow_mut();
        let key = topics.len();
        for partition in 0..plan.partitions {
            let story = LogStory::new(format!("{}/{partition}", plan.name), plan.nature);
            self.stories.borrow_mut().insert((key, partition), story);
        }
        topics.push(plan);
        key
    }

    pub(super) fn topic(&self, key: TopicKey) -> TopicPlan {
        self.topics.borrow()[key].clone()
    }

    pub(super) fn topic_count(&self) -> usize {
        self.topics.borrow().len()
    }

    pub(super) fn found_id(&self, key: TopicKey, id: TopicId) {
        self.topics.borrow_mut()[key].id = Some(id);
    }

    /// Looks at, or adds to, the story of a log. A broken rule is noted.
    pub(super) fn story<T: Default>(
        &self,
        topic: TopicKey,
        partition: i32,
        tell: impl FnOnce(&mut LogStory) -> Result<T, Violation>,
    ) -> T {
        let told = {
            let mut stories = self.stories.borrow_mut();
            let story = stories.get_mut(&(topic, partition));
            tell(story.expect("every partition of a topic in the book has a story"))
        };
        told.unwrap_or_else(|violation| {
            self.violated(violation);
            T::default()
        })
    }

    /// A topic was deleted: nothing is known of it any more.
    pub(super) fn forget_topic(&self, key: TopicKey) {
        self.stories.borrow_mut().retain(|(topic, _), _| *topic != key);
    }

    /// Looks at, or adds to, how far a group has got in a log.
    pub(super) fn group<T>(
        &self,
        group: usize,
        log: (TopicKey, i32),
        tell: impl FnOnce(&mut GroupStory) -> T,
    ) -> T {
        tell(self.groups.borrow_mut().entry((group, log)).or_default())
    }

    /// Adds a group that is to read all of these logs.
    pub(super) fn add_group(&self, group: usize, logs: impl IntoIterator<Item = (TopicKey, i32)>) {
        for log in logs {
            self.group(group, log, |_| ());
        }
    }

    /// Whether the group has committed everything that is known of its logs.
    pub(super) fn group_goal_reached(&self, group: usize) -> bool {
        let groups = self.groups.borrow();
        let stories = self.stories.borrow();
        let of_group = groups.range((group, (0, 0))..=(group, (TopicKey::MAX, i32::MAX)));
        of_group
            .into_iter()
            .all(|((_, log), story)| story.has_committed(stories[log].floor().end()))
    }

    /// Every log of the book.
    pub(super) fn logs(&self) -> Vec<(TopicKey, i32)> {
        self.stories.borrow().keys().copied().collect()
    }

    /// The broker crashed: relaxed logs may have lost what was acknowledged.
    pub(super) fn crashed(&self) {
        self.stories.borrow_mut().values_mut().for_each(LogStory::crash);
    }

    pub(super) fn each_story(&self, tell: impl FnMut(&mut LogStory)) {
        self.stories.borrow_mut().values_mut().for_each(tell);
    }

    /// Notes a broken rule. The first counts.
    pub(super) fn violated(&self, violation: Violation) {
        self.say(|| format!("VIOLATION {:?}: {}", violation.rule, violation.witness));
        self.violation.borrow_mut().get_or_insert(violation);
    }

    pub(super) fn break_rule(&self, rule: Rule, witness: impl fmt::Display) {
        self.violated(Violation {
            rule,
            witness: witness.to_string(),
        });
    }

    pub(super) fn is_violated(&self) -> bool {
        self.violation.borrow().is_some()
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        self.violation.borrow().clone()
    }

    /// Writes a line into the diary, if there is one.
    pub(super) fn say(&self, line: impl FnOnce() -> String) {
        if !self.diary_kept {
            return;
        }
        let mut diary = self.diary.borrow_mut();
        if diary.len() == DIARY_LINES {
            diary.pop_front();
        }
        let since = self.world.now().since(Mono::default());
        diary.push_back(format!("{:>12.6} {}", since.as_secs_f64(), line()));
    }

    pub(super) fn diary(&self) -> Vec<String> {
        self.diary.borrow().iter().cloned().collect()
    }

    /// Counts something rare, to show that it happened.
    pub(super) fn mark(&self, what: &'static str, more: u64) {
        *self.counts.borrow_mut().entry(what).or_default() += more;
    }

    pub(super) fn marks(&self) -> BTreeMap<&'static str, u64> {
        self.counts.borrow().clone()
    }

    pub(super) fn set_shards(&self, shards: u16) {
        self.shards.set(shards);
    }

    /// Where the broker listens now: the port of all its shards, and one of each.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        (0..=self.shards.get()).map(address).collect()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.set(phase);
    }

    /// A client begins something that it wants to finish.
    pub(super) fn begin(&self, who: &str) {
        self.busy.borrow_mut().insert(who.to_owned());
    }

    pub(super) fn finish(&self, who: &str) {
        self.busy.borrow_mut().remove(who);
    }

    /// Who has not finished.
    pub(super) fn busy(&self) -> Vec<String> {
        self.busy.borrow().iter().cloned().collect()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.busy.borrow().is_empty()
    }
}

/// The base address is number 0, that of the first shard number 1.
pub(super) fn address(number: u16) -> SocketAddr {
    (HOST, BASE_PORT + number).into()
}
