//! Generations of a classic group: how one is prepared, begins, and what the clock does to it.

use super::member::Member;
use super::{ClassicGroup, Context, JoinTimer, State, refuse_join};
use crate::base::hash::HashMap;
use crate::broker::group::error::GroupError;
use crate::broker::group::request::GroupReply;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Shortest time a group waits for joins or syncs.
const REBALANCE_TIMEOUT_MS_MIN: u32 = 100;

impl ClassicGroup {
    /// Puts a member in its place in every count.
    pub(super) fn insert(&mut self, member: Member) {
        for protocol in &member.protocols {
            *self.supported.entry(Arc::clone(&protocol.name)).or_default() += 1;
        }
        self.bytes += member.bytes();
        if let Some(instance) = &member.instance_id {
            self.instances
                .insert(Arc::clone(instance), Arc::clone(&member.id));
        }
        self.members.insert(Arc::clone(&member.id), member);
    }

    /// Takes a member out of every count but `joined`.
    pub(super) fn take(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        for protocol in &member.protocols {
            if let Some(count) = self.supported.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(&protocol.name);
                }
            }
        }
        self.bytes -= member.bytes();
        if let Some(instance) = &member.instance_id {
            self.instances.remove(instance);
        }
        Some(member)
    }

    /// Removes a member; whoever waits under its id is told that it is none any more.
    pub(super) fn remove(&mut self, id: &str, cx: &mut Context<'_>) {
        let Some(member) = self.take(id) else { return };
        if let Some(ticket) = member.joining {
            self.joined -= 1;
            refuse_join(cx.effects, ticket, GroupError::UnknownMember, Arc::default());
        }
        if let Some(ticket) = member.syncing {
            let gone = GroupReply::Sync(Err(GroupError::UnknownMember));
            cx.effects.replies.push((ticket, gone));
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// After members have gone: the rest must agree anew, or need not wait any longer.
    pub(super) fn after_departure(&mut self, cx: &mut Context<'_>) {
        match self.state {
            State::Stable | State::Completing => self.prepare(cx),
            State::Preparing => self.complete_if_all_joined(cx),
            State::Empty => {}
        }
    }

    pub(super) fn rebalance_or_complete(&mut self, cx: &mut Context<'_>) {
        match self.state {
            State::Preparing => self.complete_if_all_joined(cx),
            State::Empty | State::Completing | State::Stable => self.prepare(cx),
        }
    }

    /// Begins to gather members for the next generation.
    pub(super) fn prepare(&mut self, cx: &mut Context<'_>) {
        if self.state == State::Completing {
            self.refuse_syncs(GroupError::RebalanceInProgress, cx);
        }
        self.sync_deadline = None;
        let was_empty = self.state == State::Empty;
        self.enter(State::Preparing, cx.now);
        if !was_empty {
            self.join_timer = None;
            if !self.complete_if_ready(cx) {
                self.wait_for_joins(cx);
            }
            return;
        }
        let delay = u64::try_from(cx.config.initial_rebalance_delay.as_millis()).unwrap_or(u64::MAX);
        let at = cx.now.mono_ms.saturating_add(delay);
        let left = self.rebalance_timeout_ms().saturating_sub(delay);
        self.company = false;
        self.join_timer = Some(JoinTimer::Initial { at, delay, left });
        self.arm(at);
        self.tick_join(cx);
    }

    fn wait_for_joins(&mut self, cx: &Context<'_>) {
        let at = cx.now.mono_ms + self.rebalance_timeout_ms();
        self.join_timer = Some(JoinTimer::Rebalance { at });
        self.arm(at);
    }

    /// The most patient member decides. Even members without patience get a moment, or a group of static members that are
    /// all away would be looked at without end.
    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        let timeouts = self.members.values().map(|member| member.rebalance_timeout_ms);
        timeouts.max().unwrap_or(0).max(REBALANCE_TIMEOUT_MS_MIN).into()
    }

    /// While the first generation waits for company, nobody can tell whether all are there.
    pub(super) fn complete_if_all_joined(&mut self, cx: &mut Context<'_>) {
        let waits_for_company = matches!(self.join_timer, Some(JoinTimer::Initial { .. }));
        if self.members.is_empty() && self.pending.is_empty() {
            self.complete_join(cx);
        } else if !waits_for_company {
            self.complete_if_ready(cx);
        }
    }

    fn complete_if_ready(&mut self, cx: &mut Context<'_>) -> bool {
        let ready = self.joined == self.members.len() && self.pending.is_empty();
        if ready {
            self.complete_join(cx);
        }
        ready
    }

    /// Joining is over. Dynamic members that did not come are dropped; static ones keep their place until their session
    /// ends.
    fn complete_join(&mut self, cx: &mut Context<'_>) {
        self.join_timer = None;
        let absent = |member: &&Member| member.joining.is_none() && member.instance_id.is_none();
        let absent: Vec<Arc<str>> = self
            .members
            .values()
            .filter(absent)
            .map(|member| Arc::clone(&member.id))
            .collect();
        for id in absent {
            self.remove(&id, cx);
        }
        if !self.members.is_empty() && !self.elect_present_leader() {
            return self.wait_for_joins(cx);
        }
        self.begin_generation(cx);
    }

    /// The leader must be somebody who is there. Says whether there is anybody.
    fn elect_present_leader(&mut self) -> bool {
        let present = |id: &Arc<str>| {
            self.members
                .get(id)
                .is_some_and(|member| member.joining.is_some())
        };
        if self.leader.as_ref().is_some_and(present) {
            return true;
        }
        let somebody = self.members.values().find(|member| member.joining.is_some());
        let Some(somebody) = somebody.map(|member| Arc::clone(&member.id)) else {
            return false;
        };
        self.leader = Some(somebody);
        true
    }

    fn begin_generation(&mut self, cx: &mut Context<'_>) {
        // After two thousand million generations the numbers start over rather than stop the group.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.company = false;
        if self.members.is_empty() {
            self.protocol = None;
            self.leader = None;
            self.enter(State::Empty, cx.now);
            return self.record(cx.effects);
        }
        self.protocol = select_protocol(&self.members);
        self.enter(State::Completing, cx.now);
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in &ids {
            self.forget_assignment(id);
            self.touch(id, cx.now);
        }
        self.joined = 0;
        let at = cx.now.mono_ms + self.rebalance_timeout_ms();
        self.sync_deadline = Some(at);
        self.arm(at);
        self.record(cx.effects);
        for id in &ids {
            let ticket = self.members.get_mut(id).and_then(|member| member.joining.take());
            if let Some(ticket) = ticket {
                let joined = self.joined_answer(id);
                cx.effects.replies.push((ticket, GroupReply::Join(Ok(joined))));
            }
        }
    }

    fn forget_assignment(&mut self, id: &str) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        self.bytes -= member.assignment.len();
        member.assignment = Arc::default();
        member.synced = false;
        member.is_new = false;
    }

    /// Answers every open sync with an error. Sessions that ended while their member waited begin anew.
    pub(super) fn refuse_syncs(&mut self, error: GroupError, cx: &mut Context<'_>) {
        let mut told = Vec::new();
        for member in self.members.values_mut() {
            if let Some(ticket) = member.syncing.take() {
                cx.effects.replies.push((ticket, GroupReply::Sync(Err(error))));
                told.push(Arc::clone(&member.id));
            }
        }
        for id in told {
            self.touch(&id, cx.now);
        }
    }

    /// Does what time asks for.
    pub fn tick(&mut self, cx: &mut Context<'_>) {
        self.wake_at = None;
        self.tick_pending(cx);
        self.tick_sessions(cx);
        self.tick_sync(cx);
        self.tick_join(cx);
        self.rearm();
    }

    fn tick_pending(&mut self, cx: &mut Context<'_>) {
        let before = self.pending.len();
        self.pending.retain(|_, at| *at > cx.now.mono_ms);
        if self.pending.len() < before && self.state == State::Preparing {
            self.complete_if_all_joined(cx);
        }
    }

    fn tick_sessions(&mut self, cx: &mut Context<'_>) {
        let mut silent = Vec::new();
        for member in self.members.values_mut() {
            if member.deadline.is_some_and(|at| at <= cx.now.mono_ms) {
                // Its deadline is set again when what it waits for is answered.
                member.deadline = None;
                if !member.is_waiting() {
                    silent.push(Arc::clone(&member.id));
                }
            }
        }
        if silent.is_empty() {
            return;
        }
        for id in silent {
            self.remove(&id, cx);
        }
        self.after_departure(cx);
    }

    /// Members that never asked for their assignment do not hold the others up.
    fn tick_sync(&mut self, cx: &mut Context<'_>) {
        if self.sync_deadline.is_none_or(|at| at > cx.now.mono_ms) {
            return;
        }
        self.sync_deadline = None;
        let late = self.members.values().filter(|member| !member.synced);
        let late: Vec<Arc<str>> = late.map(|member| Arc::clone(&member.id)).collect();
        if late.is_empty() {
            return;
        }
        for id in late {
            self.remove(&id, cx);
        }
        self.after_departure(cx);
    }

    fn tick_join(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.mono_ms;
        match self.join_timer {
            Some(JoinTimer::Initial { at, delay, left }) if at <= now => {
                if !self.company || left == 0 || cx.config.initial_rebalance_delay.is_zero() {
                    return self.complete_join(cx);
                }
                self.company = false;
                let most = u64::try_from(cx.config.initial_rebalance_delay.as_millis()).unwrap_or(u64::MAX);
                let next = most.min(left);
                let at = now.saturating_add(next);
                let left = left.saturating_sub(delay);
                self.join_timer = Some(JoinTimer::Initial {
                    at,
                    delay: next,
                    left,
                });
                self.arm(at);
            }
            Some(JoinTimer::Rebalance { at }) if at <= now => self.complete_join(cx),
            _ => {}
        }
    }

    /// Looks at every deadline there is.
    pub(super) fn rearm(&mut self) {
        let sessions = self.members.values().filter_map(|member| member.deadline);
        let joining = self.join_timer.map(|timer| match timer {
            JoinTimer::Initial { at, .. } | JoinTimer::Rebalance { at } => at,
        });
        self.wake_at = sessions
            .chain(self.pending.values().copied())
            .chain(self.sync_deadline)
            .chain(joining)
            .min();
    }
}

/// Each member votes for the first of its protocols that all support; the most votes win, and among equals the first name.
pub(super) fn select_protocol(members: &BTreeMap<Arc<str>, Member>) -> Option<Arc<str>> {
    let mut supported: HashMap<&Arc<str>, usize> = HashMap::default();
    for protocol in members.values().flat_map(|member| &member.protocols) {
        *supported.entry(&protocol.name).or_default() += 1;
    }
    let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
    for member in members.values() {
        let names = member.protocols.iter().map(|protocol| &protocol.name);
        let mut common = names.filter(|name| supported.get(name) == Some(&members.len()));
        if let Some(name) = common.next() {
            *votes.entry(name).or_default() += 1;
        }
    }
    let most = votes.values().copied().max()?;
    let winner = votes.into_iter().find(|(_, count)| *count == most);
    winner.map(|(name, _)| Arc::clone(name))
}
