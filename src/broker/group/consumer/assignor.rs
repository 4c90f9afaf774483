//! Who should read which partition: pure functions from subscriptions to a target assignment.
//!
//! Kafka's two server-side assignors, chosen by name. Promise of both: every partition of a subscribed topic goes to exactly
//! one of the topic's subscribers; equal inputs give equal outputs. `uniform` also balances numbers and moves as little
//! as it can; `range` gives the same partition numbers of equally subscribed topics to the same member, for joins.
//!
//! Racks are not looked at: all partitions of one node have one rack, so they would decide nothing.

mod range;
mod uniform;

use super::assignment::Assignment;
use crate::base::{PartitionId, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An assignment strategy of the broker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Assignor {
    /// Balanced and sticky; the default, as in Kafka.
    #[default]
    Uniform,
    /// Contiguous ranges per topic, co-partitioned.
    Range,
}

/// One member as the assignors see it.
#[derive(Clone, Debug)]
pub struct Subscriber<'a> {
    /// Its id.
    pub member_id: &'a str,
    /// The name that outlives its process.
    pub instance_id: Option<&'a str>,
    /// The existing topics it subscribes; shared among members that subscribe the same.
    pub topics: Arc<BTreeSet<TopicId>>,
    /// The target it has so far.
    pub held: &'a Assignment,
}

impl Assignor {
    /// Every assignor, the default one first.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// The name clients know it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// The target assignment of each of `subscribers` (who come in the order of their ids), given the number of partitions
    /// of every subscribed topic.
    #[must_use]
    pub fn assign(
        self,
        subscribers: &[Subscriber<'_>],
        partitions: &BTreeMap<TopicId, u32>,
    ) -> Vec<Assignment> {
        match self {
            Self::Uniform => uniform::assign(subscribers, partitions),
            Self::Range => range::assign(subscribers, partitions),
        }
    }
}

/// Number of partitions of a topic, 0 for one that is not there.
fn partition_count(topic: TopicId, partitions: &BTreeMap<TopicId, u32>) -> u32 {
    partitions.get(&topic).copied().unwrap_or(0)
}

/// Every partition of those topics in order.
fn all_partitions(
    topics: &BTreeSet<TopicId>,
    partitions: &BTreeMap<TopicId, u32>,
) -> impl Iterator<Item = (TopicId, PartitionId)> {
    topics.iter().flat_map(|topic| {
        (0..partition_count(*topic, partitions)).map(|partition| (*topic, PartitionId::new(partition)))
    })
}

#[cfg(test)]
pub(super) mod testing {
    //! Made-up groups, and what must hold of every assignment of them.

    use super::*;
    use proptest::prelude::*;

    /// A group: partitions per topic, and per member the topics it subscribes (ids without partitions included).
    #[derive(Clone, Debug)]
    pub(crate) struct Case {
        pub(crate) partitions: BTreeMap<TopicId, u32>,
        pub(crate) members: BTreeMap<String, Arc<BTreeSet<TopicId>>>,
    }

    pub(crate) fn topic(number: u8) -> TopicId {
        TopicId::new([number; 16])
    }

    pub(crate) fn homogeneous() -> impl Strategy<Value = Case> {
        (proptest::collection::vec(0u32..12, 1..5), 1usize..9).prop_map(|(counts, members)| {
            let partitions: BTreeMap<TopicId, u32> = (1u8..).map(topic).zip(counts).collect();
            let topics = Arc::new(partitions.keys().copied().collect::<BTreeSet<_>>());
            let members = (0..members)
                .map(|member| (format!("m{member}"), Arc::clone(&topics)))
                .collect();
            Case { partitions, members }
        })
    }

    pub(crate) fn heterogeneous() -> impl Strategy<Value = Case> {
        let members = proptest::collection::vec(proptest::collection::btree_set(1u8..6, 0..5), 1..8);
        (proptest::collection::vec(0u32..12, 1..5), members).prop_map(|(counts, members)| Case {
            partitions: (1u8..).map(topic).zip(counts).collect(),
            members: members
                .into_iter()
                .enumerate()
                .map(|(number, topics)| {
                    let topics = topics.into_iter().map(topic).collect();
                    (format!("m{number}"), Arc::new(topics))
                })
                .collect(),
        })
    }

    impl Case {
        /// Assigns, with `held` as the target so far.
        pub(crate) fn assign(
            &self,
            assignor: Assignor,
            held: &BTreeMap<String, Assignment>,
        ) -> BTreeMap<String, Assignment> {
            let none = Assignment::default();
            let subscribers: Vec<Subscriber<'_>> = self
                .members
                .iter()
                .map(|(id, topics)| Subscriber {
                    member_id: id,
                    instance_id: None,
                    topics: Arc::clone(topics),
                    held: held.get(id).unwrap_or(&none),
                })
                .collect();
            let assigned = assignor.assign(&subscribers, &self.partitions);
            assert_eq!(assigned.len(), self.members.len());
            self.members.keys().cloned().zip(assigned).collect()
        }

        /// Every partition of a topic with subscribers has exactly one owner, who subscribes the topic; nothing else is
        /// assigned.
        pub(crate) fn check_complete(&self, assigned: &BTreeMap<String, Assignment>) {
            let mut owners: BTreeMap<(TopicId, PartitionId), &str> = BTreeMap::new();
            for (member, assignment) in assigned {
                for (topic, partition) in assignment.iter() {
                    assert!(
                        self.members[member].contains(&topic),
                        "{member} did not ask for {topic}"
                    );
                    let count = self.partitions.get(&topic).copied().unwrap_or(0);
                    assert!(partition.get() < count, "{topic}/{partition} does not exist");
                    let other = owners.insert((topic, partition), member);
                    assert_eq!(other, None, "{topic}/{partition} has two owners");
                }
            }
            let subscribed: BTreeSet<TopicId> = self
                .members
                .values()
                .flat_map(|topics| topics.iter().copied())
                .collect();
            let expected: Vec<_> = all_partitions(&subscribed, &self.partitions).collect();
            assert_eq!(owners.len(), expected.len(), "not everything is assigned");
        }
    }

    pub(crate) fn spread(assigned: &BTreeMap<String, Assignment>) -> usize {
        let counts = || assigned.values().map(Assignment::len);
        counts().max().unwrap_or(0) - counts().min().unwrap_or(0)
    }

    #[test]
    fn names_are_kafkas() {
        assert_eq!(Assignor::from_name("uniform"), Some(Assignor::Uniform));
        assert_eq!(Assignor::from_name("range"), Some(Assignor::Range));
        assert_eq!(Assignor::from_name("Range"), None);
        assert_eq!(Assignor::default().name(), "uniform");
    }
}
