//! All groups of a shard at a glance: for lists, and for the numbers that monitoring wants.

use super::super::Shard;
use super::super::numbers::GroupNumbers;
use super::super::request::Body;
use super::hosted::Hosted;
use crate::broker::group::coordinator::Counts;
use crate::broker::group::error::GroupError;
use crate::broker::group::request::{GroupReply, GroupRequest, ListedGroup};
use crate::runtime::local::OneShot;
use crate::runtime::mesh::Peer;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a shard's groups have come to, for its statistics.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupStats {
    /// Groups by Kafka's name of their state.
    pub states: BTreeMap<&'static str, u64>,
    /// Members of all groups.
    pub members: u64,
    /// Committed offsets that are remembered.
    pub offsets: u64,
    /// Memory of all groups, roughly.
    pub memory_bytes: u64,
    /// Since the start.
    pub counts: Counts,
    /// Partitions of the offsets topic whose groups cannot be served.
    pub lost: u64,
}

impl Shard {
    /// Every group of the broker, in no order.
    ///
    /// # Errors
    /// Some groups are not there to be listed: still loading, or lost.
    pub async fn list_groups(self: &Rc<Self>) -> Result<Vec<ListedGroup>, GroupError> {
        let mut groups = self.list_own_groups().await?;
        for shard in (0..self.cluster.shards).filter(|shard| *shard != self.id.get()) {
            match self.call(Peer::new(shard), Body::ListGroups).await {
                Body::GroupsListed(listed) => groups.extend(listed?),
                _ => return Err(GroupError::NotAvailable),
            }
        }
        Ok(groups)
    }

    /// Every group this shard coordinates, in no order.
    ///
    /// # Errors
    /// As [`list_groups`](Self::list_groups).
    pub async fn list_own_groups(self: &Rc<Self>) -> Result<Vec<ListedGroup>, GroupError> {
        let mut groups = Vec::new();
        for hosted in self.groups.all_hosted() {
            match hosted.refusal() {
                Some(GroupError::Loading) => return Err(GroupError::Loading),
                // The groups of a lost partition are refused one by one; the rest can be seen.
                Some(_) => continue,
                None => groups.extend(hosted.machine.borrow().list()),
            }
            self.until_settled(&hosted).await;
        }
        Ok(groups)
    }

    /// Waits until what was decided so far is durable.
    async fn until_settled(self: &Rc<Self>, hosted: &Rc<Hosted>) {
        let slot = OneShot::default();
        let ticket = self
            .groups
            .open(super::Asker::Here(slot.clone()), &GroupRequest::Describe);
        self.act(hosted, |_, cx| {
            cx.effects.replies.push((ticket, GroupReply::Done))
        });
        slot.take().await;
    }

    /// The numbers of every group of this shard.
    pub(crate) fn group_numbers(&self) -> Vec<GroupNumbers> {
        let mut numbers = Vec::new();
        for hosted in self.groups.all_hosted() {
            let machine = hosted.machine.borrow();
            numbers.extend(machine.groups().map(|(id, group)| GroupNumbers::of(id, group)));
        }
        numbers
    }

    pub(crate) fn group_stats(&self) -> GroupStats {
        let mut stats = GroupStats::default();
        for hosted in self.groups.all_hosted() {
            let machine = hosted.machine.borrow();
            for (_, group) in machine.groups() {
                *stats.states.entry(group.state_name()).or_default() += 1;
                stats.members += group.member_count() as u64;
                stats.offsets += group.offsets.len() as u64;
            }
            stats.memory_bytes += machine.memory_bytes() as u64;
            let counts = machine.counts();
            stats.counts.commits += counts.commits;
            stats.counts.expired += counts.expired;
            stats.counts.rebalances += counts.rebalances;
            stats.lost += u64::from(hosted.refusal() == Some(GroupError::NotAvailable));
        }
        stats
    }
}
