//! Balanced and sticky: as even as the subscriptions allow, moving as little as that takes.
//!
//! Where everybody subscribes the same topics the numbers differ by one at most, and no partition moves that does not have
//! to: a member keeps what it holds up to its share. Where subscriptions differ, three steps: everybody keeps what it
//! may keep; what is left goes to the least loaded subscriber, topics with few subscribers first; then partitions move
//! from more to less loaded subscribers of a topic while that narrows a difference above one. Each such move lowers
//! the sum of the squares of the loads, so it ends; [`MOVES_PER_PARTITION_MAX`] bounds it anyhow, because a worse balance
//! harms less than a stalled shard.

use super::{Assignment, Subscriber, all_partitions, partition_count};
use crate::base::{PartitionId, TopicId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

/// Moves that balancing may take, per partition.
const MOVES_PER_PARTITION_MAX: usize = 4;

/// See the module.
pub(super) fn assign(subscribers: &[Subscriber<'_>], partitions: &BTreeMap<TopicId, u32>) -> Vec<Assignment> {
    let Some((first, others)) = subscribers.split_first() else {
        return Vec::new();
    };
    let same =
        |other: &Subscriber<'_>| Arc::ptr_eq(&other.topics, &first.topics) || other.topics == first.topics;
    if others.iter().all(same) {
        assign_equal(subscribers, &first.topics, partitions)
    } else {
        let mut board = Board::new(subscribers, partitions);
        board.keep_what_is_held();
        board.place_the_rest();
        board.balance();
        board.finish()
    }
}

/// Everybody subscribes `topics`.
fn assign_equal(
    subscribers: &[Subscriber<'_>],
    topics: &BTreeSet<TopicId>,
    partitions: &BTreeMap<TopicId, u32>,
) -> Vec<Assignment> {
    let total = all_partitions(topics, partitions).count();
    let share = total / subscribers.len();
    let mut larger_shares = total % subscribers.len();
    let mut assigned = vec![Assignment::default(); subscribers.len()];
    let mut counts = vec![0usize; subscribers.len()];
    let mut taken: BTreeSet<(TopicId, PartitionId)> = BTreeSet::new();
    for (index, subscriber) in subscribers.iter().enumerate() {
        let exists = |(topic, partition): &(TopicId, PartitionId)| {
            topics.contains(topic) && partition.get() < partition_count(*topic, partitions)
        };
        for held in subscriber.held.iter().filter(exists) {
            let may_keep = counts[index] < share || (counts[index] == share && larger_shares > 0);
            if !may_keep || !taken.insert(held) {
                continue;
            }
            larger_shares -= usize::from(counts[index] == share);
            counts[index] += 1;
            assigned[index].insert(held.0, held.1);
        }
    }
    // Always the least loaded next, so that the partitions of one topic spread over the members.
    let mut order: BinaryHeap<Reverse<(usize, usize)>> = counts.into_iter().zip(0..).map(Reverse).collect();
    for (topic, partition) in all_partitions(topics, partitions).filter(|free| !taken.contains(free)) {
        let Some(mut least) = order.peek_mut() else {
            break;
        };
        assigned[least.0.1].insert(topic, partition);
        least.0.0 += 1;
    }
    assigned
}

/// A topic while it is being assigned.
struct Row {
    topic: TopicId,
    subscribers: Vec<usize>,
    /// Per partition its owner, an index of a subscriber.
    owners: Vec<Option<usize>>,
}

/// All topics while they are being assigned.
struct Board<'a> {
    subscribers: &'a [Subscriber<'a>],
    /// Topics with few subscribers first: they have the least choice.
    rows: Vec<Row>,
    loads: Vec<usize>,
}

impl<'a> Board<'a> {
    fn new(subscribers: &'a [Subscriber<'a>], partitions: &BTreeMap<TopicId, u32>) -> Self {
        let mut by_topic: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (index, subscriber) in subscribers.iter().enumerate() {
            for topic in subscriber.topics.iter() {
                by_topic.entry(*topic).or_default().push(index);
            }
        }
        let mut rows: Vec<Row> = by_topic
            .into_iter()
            .map(|(topic, takers)| Row {
                topic,
                subscribers: takers,
                owners: (0..partition_count(topic, partitions)).map(|_| None).collect(),
            })
            .collect();
        rows.sort_by_key(|row| (row.subscribers.len(), row.topic));
        Self {
            subscribers,
            rows,
            loads: vec![0; subscribers.len()],
        }
    }

    fn keep_what_is_held(&mut self) {
        for row in &mut self.rows {
            for &index in &row.subscribers {
                let held = self.subscribers[index].held.topics();
                let Some((_, held)) = held.into_iter().find(|(topic, _)| *topic == row.topic) else {
                    continue;
                };
                for partition in held {
                    let slot = usize::try_from(partition.get()).ok();
                    let slot = slot.and_then(|slot| row.owners.get_mut(slot));
                    if let Some(owner @ None) = slot {
                        *owner = Some(index);
                        self.loads[index] += 1;
                    }
                }
            }
        }
    }

    fn place_the_rest(&mut self) {
        let loads = &mut self.loads;
        for row in &mut self.rows {
            let takers = &row.subscribers;
            for owner in row.owners.iter_mut().filter(|owner| owner.is_none()) {
                if let Some(&least) = takers.iter().min_by_key(|&&index| loads[index]) {
                    *owner = Some(least);
                    loads[least] += 1;
                }
            }
        }
    }

    fn balance(&mut self) {
        let total: usize = self.rows.iter().map(|row| row.owners.len()).sum();
        let mut moves_left = total * MOVES_PER_PARTITION_MAX;
        loop {
            let before = moves_left;
            for row in 0..self.rows.len() {
                while moves_left > 0 && self.move_one(row) {
                    moves_left -= 1;
                }
            }
            if before == moves_left {
                return;
            }
        }
    }

    /// Moves one partition of that topic from its most to its least loaded subscriber if that narrows the difference.
    fn move_one(&mut self, row: usize) -> bool {
        let loads = &mut self.loads;
        let row = &mut self.rows[row];
        let Some(&least) = row.subscribers.iter().min_by_key(|&&index| loads[index]) else {
            return false;
        };
        // Among equally loaded owners one whose partition is new to it anyhow: such a move costs nobody anything.
        let cost = |slot: usize, owner: usize| {
            let partition = PartitionId::new(u32::try_from(slot).unwrap_or(u32::MAX));
            (
                loads[owner],
                !self.subscribers[owner].held.contains(row.topic, partition),
            )
        };
        let owned = row.owners.iter().enumerate();
        let owned = owned.filter_map(|(slot, owner)| owner.map(|owner| (slot, owner)));
        let Some((slot, most)) = owned.max_by_key(|&(slot, owner)| cost(slot, owner)) else {
            return false;
        };
        if loads[most] <= loads[least] + 1 {
            return false;
        }
        row.owners[slot] = Some(least);
        loads[most] -= 1;
        loads[least] += 1;
        true
    }

    fn finish(self) -> Vec<Assignment> {
        let mut assigned = vec![Assignment::default(); self.subscribers.len()];
        for row in self.rows {
            for (partition, owner) in (0u32..).zip(row.owners) {
                if let Some(owner) = owner {
                    assigned[owner].insert(row.topic, PartitionId::new(partition));
                }
            }
        }
        assigned
    }
}

#[cfg(test)]
mod tests {
    use super::super::Assignor;
    use super::super::testing::{Case, heterogeneous, homogeneous, spread, topic};
    use super::*;
    use proptest::prelude::*;

    /// Partitions of members that stay which are somewhere else afterwards.
    fn moved(before: &BTreeMap<String, Assignment>, after: &BTreeMap<String, Assignment>) -> usize {
        let lost = |(member, held): (&String, &Assignment)| {
            after.get(member).map_or(0, |now| {
                held.iter()
                    .filter(|(topic, partition)| !now.contains(*topic, *partition))
                    .count()
            })
        };
        before.iter().map(lost).sum()
    }

    /// No member could hand a partition to a subscriber with at least two fewer.
    fn check_no_move_helps(case: &Case, assigned: &BTreeMap<String, Assignment>) {
        for (member, assignment) in assigned {
            for (topic, _) in assignment.topics() {
                for (other, topics) in &case.members {
                    let helps = topics.contains(&topic) && assigned[other].len() + 1 < assignment.len();
                    assert!(!helps, "{member} could give a partition of {topic} to {other}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn equal_subscribers_get_equal_numbers(case in homogeneous()) {
            let assigned = case.assign(Assignor::Uniform, &BTreeMap::new());
            case.check_complete(&assigned);
            prop_assert!(spread(&assigned) <= 1);
            prop_assert_eq!(&assigned, &case.assign(Assignor::Uniform, &BTreeMap::new()));
            prop_assert_eq!(&assigned, &case.assign(Assignor::Uniform, &assigned), "not at rest");
        }

        #[test]
        fn a_newcomer_takes_only_its_share(case in homogeneous()) {
            let before = case.assign(Assignor::Uniform, &BTreeMap::new());
            let mut grown = case.clone();
            let topics = Arc::clone(&case.members["m0"]);
            grown.members.insert("new".to_owned(), topics);
            let after = grown.assign(Assignor::Uniform, &before);
            grown.check_complete(&after);
            prop_assert!(spread(&after) <= 1);
            prop_assert_eq!(moved(&before, &after), after["new"].len());
        }

        #[test]
        fn whoever_leaves_moves_nobody_elses_partitions(case in homogeneous(), gone in 0usize..8) {
            let before = case.assign(Assignor::Uniform, &BTreeMap::new());
            let mut shrunk = case;
            shrunk.members.remove(&format!("m{gone}"));
            let after = shrunk.assign(Assignor::Uniform, &before);
            prop_assert_eq!(moved(&before, &after), 0);
            prop_assert!(spread(&after) <= 1);
        }

        #[test]
        fn unequal_subscribers_are_balanced_as_far_as_they_can_be(case in heterogeneous()) {
            let assigned = case.assign(Assignor::Uniform, &BTreeMap::new());
            case.check_complete(&assigned);
            check_no_move_helps(&case, &assigned);
            prop_assert_eq!(&assigned, &case.assign(Assignor::Uniform, &BTreeMap::new()));
            prop_assert_eq!(&assigned, &case.assign(Assignor::Uniform, &assigned), "not at rest");
        }

        #[test]
        fn a_past_of_other_subscriptions_does_no_harm(old in heterogeneous(), new in heterogeneous()) {
            let held = old.assign(Assignor::Uniform, &BTreeMap::new());
            let assigned = new.assign(Assignor::Uniform, &held);
            new.check_complete(&assigned);
            check_no_move_helps(&new, &assigned);
        }

        #[test]
        fn a_topic_that_grows_moves_nothing(case in homogeneous(), more in 1u32..5) {
            let before = case.assign(Assignor::Uniform, &BTreeMap::new());
            let mut grown = case;
            grown.partitions.entry(topic(1)).and_modify(|count| *count += more);
            let after = grown.assign(Assignor::Uniform, &before);
            grown.check_complete(&after);
            prop_assert_eq!(moved(&before, &after), 0);
        }
    }
}
