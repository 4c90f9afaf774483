//! Contiguous ranges, topic by topic.
//!
//! The subscribers of a topic stand in the order of their instance ids, or member ids where they have none; each takes
//! `partitions / subscribers` partitions in a row, the first `partitions % subscribers` of them one more. So topics with the
//! same subscribers and as many partitions are cut at the same places: partition 3 of the orders and partition 3 of
//! the payments meet in one member. What somebody held before plays no part, but static members keep their place.

use super::{Assignment, Subscriber, partition_count};
use crate::base::{PartitionId, TopicId};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
pub(super) fn assign(subscribers: &[Subscriber<'_>], partitions: &BTreeMap<TopicId, u32>) -> Vec<Assignment> {
    let mut order: Vec<usize> = (0..subscribers.len()).collect();
    order.sort_by_key(|&index| place(&subscribers[index]));
    let topics: BTreeSet<TopicId> = subscribers
        .iter()
        .flat_map(|subscriber| subscriber.topics.iter().copied())
        .collect();
    let mut assigned = vec![Assignment::default(); subscribers.len()];
    for topic in topics {
        let takers: Vec<usize> = order
            .iter()
            .copied()
            .filter(|&index| subscribers[index].topics.contains(&topic))
            .collect();
        let count = partition_count(topic, partitions);
        for (taker, range) in takers.iter().zip(ranges(count, takers.len())) {
            for partition in range {
                assigned[*taker].insert(topic, PartitionId::new(partition));
            }
        }
    }
    assigned
}

/// Members with a name of their own come first, by that name.
fn place<'a>(subscriber: &Subscriber<'a>) -> (bool, &'a str) {
    match subscriber.instance_id {
        Some(instance) => (false, instance),
        None => (true, subscriber.member_id),
    }
}

/// Cuts `0..count` into `takers` ranges whose lengths differ by one at most, longer ones first.
fn ranges(count: u32, takers: usize) -> impl Iterator<Item = std::ops::Range<u32>> {
    let takers = u32::try_from(takers).unwrap_or(u32::MAX).max(1);
    let (each, longer) = (count / takers, count % takers);
    (0..takers).map(move |index| {
        let start = index * each + index.min(longer);
        start..start + each + u32::from(index < longer)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{heterogeneous, homogeneous, spread, topic};
    use super::super::{Assignor, Subscriber};
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    proptest! {
        #[test]
        fn everything_is_assigned_once(case in heterogeneous()) {
            let assigned = case.assign(Assignor::Range, &BTreeMap::new());
            case.check_complete(&assigned);
            prop_assert_eq!(&assigned, &case.assign(Assignor::Range, &assigned), "depends on the past");
        }

        #[test]
        fn each_topic_is_balanced_and_contiguous(case in homogeneous()) {
            let assigned = case.assign(Assignor::Range, &BTreeMap::new());
            prop_assert!(spread(&assigned) <= case.partitions.len());
            for assignment in assigned.values() {
                for (_, partitions) in assignment.topics() {
                    let (first, last) = (partitions.first().unwrap(), partitions.last().unwrap());
                    prop_assert_eq!(
                        usize::try_from(last.get() - first.get()).unwrap() + 1,
                        partitions.len()
                    );
                }
            }
        }

        #[test]
        fn equal_topics_are_cut_alike(members in 1usize..8, count in 0u32..30) {
            let partitions = BTreeMap::from([(topic(1), count), (topic(2), count)]);
            let topics = Arc::new(partitions.keys().copied().collect::<BTreeSet<_>>());
            let ids: Vec<String> = (0..members).map(|member| format!("m{member}")).collect();
            let none = Assignment::default();
            let subscribers: Vec<_> = ids
                .iter()
                .map(|id| Subscriber {
                    member_id: id,
                    instance_id: None,
                    topics: Arc::clone(&topics),
                    held: &none,
                })
                .collect();
            for assignment in assign(&subscribers, &partitions) {
                let of = |wanted| {
                    let mut found = assignment.topics().filter(move |(id, _)| *id == topic(wanted));
                    found.next().map(|(_, partitions)| partitions.clone())
                };
                prop_assert_eq!(of(1), of(2));
            }
        }
    }

    #[test]
    fn a_static_member_keeps_its_range_under_a_new_member_id() {
        let partitions = BTreeMap::from([(topic(1), 6)]);
        let topics = Arc::new(BTreeSet::from([topic(1)]));
        let none = Assignment::default();
        let member = |member_id, instance_id| Subscriber {
            member_id,
            instance_id: Some(instance_id),
            topics: Arc::clone(&topics),
            held: &none,
        };
        let before = assign(&[member("a", "one"), member("b", "two")], &partitions);
        let after = assign(&[member("b", "two"), member("z", "one")], &partitions);
        assert_eq!((&before[0], &before[1]), (&after[1], &after[0]));
    }
}
