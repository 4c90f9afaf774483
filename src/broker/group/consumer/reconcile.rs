//! One step of one member towards its target.
//!
//! ```text
//!             has to give back                       has nothing (more) to give back
//!   Stable ----------------------> Unrevoked ------------------------------------------+
//!     ^  |                             |  confirms: no longer among what it owns       |
//!     |  +------------------ new epoch, nothing to give back --------------------------+
//!     |                                                                                v
//!     +--- every partition of the target is free or its own ------------------- takes what is free
//!     ^                                                                                |
//!     |        the others let go                            some are still owned       |
//!     +------------------------------ Unreleased <-------------------------------------+
//! ```
//!
//! **Promise.** A partition is given only when nobody owns it: `assigned` and `revoking` of all members together are disjoint
//! before and after. The epoch of a member grows to the target's when it has nothing left to give back, so an epoch once
//! shown stands for a known set. Rules are Kafka's, so that clients see the sequences they were tested with.

use super::assignment::Assignment;
use super::member::{Holding, MemberState};
use crate::base::{PartitionId, TopicId};

/// What a member is meant to have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) epoch: i32,
    pub(super) partitions: &'a Assignment,
}

/// What a member says it owns.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owned<'a> {
    /// Nothing: it joins, so it has abandoned all it had.
    Nothing,
    /// Not said: as before, which may be everything it was told of.
    Unsaid,
    /// Exactly this, when it spoke.
    Exactly(&'a Assignment),
}

/// The member's next holding, or `None` if nothing changes. `is_free` says whether no member owns a partition.
pub(super) fn step(
    holding: &Holding,
    target: Target<'_>,
    owned: Owned<'_>,
    is_free: impl Fn(TopicId, PartitionId) -> bool,
) -> Option<Holding> {
    let moves = match holding.state {
        MemberState::Stable => holding.epoch != target.epoch,
        MemberState::Unrevoked => has_given_back(owned, &holding.revoking),
        MemberState::Unreleased => true,
    };
    let next = moves.then(|| advance(holding, target, owned, is_free))?;
    (next != *holding).then_some(next)
}

/// Whether a member that was asked for them no longer owns these partitions.
fn has_given_back(owned: Owned<'_>, asked_for: &Assignment) -> bool {
    match owned {
        Owned::Nothing => true,
        Owned::Unsaid => asked_for.is_empty(),
        Owned::Exactly(owned) => !owned.intersects(asked_for),
    }
}

/// Whether a member has to be asked for `surplus`, what it has beyond `kept`. If it does not own the surplus, that may be
/// because it was told of it a moment ago and is about to take it. Only one who owns exactly what it may keep is past that.
/// (It could not be asked either: being told what it has already, it would have nothing to confirm.)
fn has_to_be_asked(owned: Owned<'_>, surplus: &Assignment, kept: &Assignment) -> bool {
    match owned {
        Owned::Nothing => false,
        Owned::Unsaid => !surplus.is_empty(),
        Owned::Exactly(owned) => !surplus.is_empty() && owned != kept,
    }
}

fn advance(
    holding: &Holding,
    target: Target<'_>,
    owned: Owned<'_>,
    is_free: impl Fn(TopicId, PartitionId) -> bool,
) -> Holding {
    let wanted = |&(topic, partition): &(TopicId, PartitionId)| target.partitions.contains(topic, partition);
    let (kept, surplus): (Vec<_>, Vec<_>) = holding.assigned.iter().partition(wanted);
    let surplus: Assignment = surplus.into_iter().collect();
    let mut assigned: Assignment = kept.into_iter().collect();
    if has_to_be_asked(owned, &surplus, &assigned) {
        return Holding {
            state: MemberState::Unrevoked,
            assigned,
            revoking: surplus,
            ..holding.clone()
        };
    }
    let mut state = MemberState::Stable;
    let missing = |&(topic, partition): &(TopicId, PartitionId)| !assigned.contains(topic, partition);
    let missing: Vec<_> = target.partitions.iter().filter(missing).collect();
    for (topic, partition) in missing {
        // What the member itself was giving back is free again for it, if the target has changed its mind.
        if is_free(topic, partition)
            || surplus.contains(topic, partition)
            || holding.revoking.contains(topic, partition)
        {
            assigned.insert(topic, partition);
        } else {
            state = MemberState::Unreleased;
        }
    }
    let next = Holding {
        state,
        assigned,
        revoking: Assignment::default(),
        ..holding.clone()
    };
    next.with_epoch(target.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: TopicId = TopicId::new([7; 16]);

    fn set(partitions: &[u32]) -> Assignment {
        partitions
            .iter()
            .map(|partition| (TOPIC, PartitionId::new(*partition)))
            .collect()
    }

    fn holding(epoch: i32, state: MemberState, assigned: &[u32], revoking: &[u32]) -> Holding {
        Holding {
            epoch,
            previous_epoch: epoch - 1,
            state,
            assigned: set(assigned),
            revoking: set(revoking),
        }
    }

    /// One step towards `target` at epoch 10; `taken` is owned by others.
    fn step_to(from: &Holding, target: &[u32], owned: Option<&[u32]>, taken: &[u32]) -> Option<Holding> {
        let (partitions, taken) = (set(target), set(taken));
        let target = Target {
            epoch: 10,
            partitions: &partitions,
        };
        let owned = owned.map(set);
        let owned = owned.as_ref().map_or(Owned::Unsaid, Owned::Exactly);
        step(from, target, owned, |topic, partition| {
            !taken.contains(topic, partition)
        })
    }

    #[test]
    fn a_newcomer_takes_what_is_free_and_waits_for_the_rest() {
        let joined = step_to(&Holding::default(), &[0, 1], Some(&[]), &[1]).unwrap();
        assert_eq!((joined.epoch, joined.previous_epoch), (10, 0));
        assert_eq!(
            (joined.state, &joined.assigned),
            (MemberState::Unreleased, &set(&[0]))
        );
        assert_eq!(step_to(&joined, &[0, 1], None, &[1]), None);
        let done = step_to(&joined, &[0, 1], None, &[]).unwrap();
        assert_eq!(
            (done.state, &done.assigned, done.epoch),
            (MemberState::Stable, &set(&[0, 1]), 10)
        );
    }

    #[test]
    fn revocation_comes_before_assignment_and_keeps_the_epoch() {
        let stable = holding(9, MemberState::Stable, &[0, 1], &[]);
        let asked = step_to(&stable, &[1, 2], None, &[]).unwrap();
        assert_eq!(asked, holding(9, MemberState::Unrevoked, &[1], &[0]));
        assert_eq!(
            step_to(&asked, &[1, 2], None, &[]),
            None,
            "silence confirms nothing"
        );
        assert_eq!(step_to(&asked, &[1, 2], Some(&[0, 1]), &[]), None);
        let done = step_to(&asked, &[1, 2], Some(&[1]), &[]).unwrap();
        assert_eq!((done.state, &done.assigned), (MemberState::Stable, &set(&[1, 2])));
        assert_eq!((done.epoch, done.previous_epoch), (10, 9));
        assert!(done.revoking.is_empty());
    }

    #[test]
    fn what_was_given_back_already_needs_no_asking() {
        let stable = holding(9, MemberState::Stable, &[0, 1], &[]);
        let done = step_to(&stable, &[1], Some(&[1]), &[]).unwrap();
        assert_eq!((done.state, done.epoch), (MemberState::Stable, 10));
    }

    #[test]
    fn what_may_not_have_been_taken_yet_is_asked_for() {
        let told = holding(9, MemberState::Stable, &[0, 1, 2], &[]);
        let asked = step_to(&told, &[0, 1], Some(&[0]), &[]).unwrap();
        assert_eq!(asked, holding(9, MemberState::Unrevoked, &[0, 1], &[2]));
        let done = step_to(&asked, &[0, 1], Some(&[0, 1]), &[]).unwrap();
        assert_eq!((done.state, done.epoch), (MemberState::Stable, 10));
    }

    #[test]
    fn whoever_joins_has_abandoned_everything() {
        let told = holding(9, MemberState::Stable, &[0, 1], &[]);
        let partitions = set(&[1]);
        let target = Target {
            epoch: 10,
            partitions: &partitions,
        };
        let done = step(&told, target, Owned::Nothing, |_, _| false).unwrap();
        assert_eq!((done.state, &done.assigned), (MemberState::Stable, &partitions));
    }

    #[test]
    fn a_target_that_changes_its_mind_gives_the_partition_back_to_its_owner() {
        let asked = holding(9, MemberState::Unrevoked, &[1], &[0]);
        let done = step_to(&asked, &[0, 1], Some(&[1]), &[0]).unwrap();
        assert_eq!((done.state, &done.assigned), (MemberState::Stable, &set(&[0, 1])));
    }

    #[test]
    fn whoever_waits_may_be_asked_to_give_back() {
        let waiting = holding(9, MemberState::Unreleased, &[0, 1], &[]);
        let asked = step_to(&waiting, &[1], None, &[]).unwrap();
        assert_eq!(asked, holding(9, MemberState::Unrevoked, &[1], &[0]));
    }

    #[test]
    fn at_the_target_nothing_moves() {
        let stable = holding(10, MemberState::Stable, &[0], &[]);
        assert_eq!(step_to(&stable, &[0], Some(&[]), &[]), None);
    }
}
