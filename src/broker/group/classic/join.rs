//! Joining a classic group: new members, members that come again, and static members that take over their own place.

use super::member::{Member, protocol_bytes, timeout};
use super::rebalance::select_protocol;
use super::{ClassicGroup, Context, GROUP_BYTES_MAX, PENDING_MAX, State, refuse_join};
use crate::base::hash::HashSet;
use crate::broker::group::error::GroupError;
use crate::broker::group::request::{GroupReply, JoinRequest, Joined, JoinedMember, MemberRef, Ticket};
use std::sync::Arc;

/// A new member whose first join is not answered within this is dropped: it cannot show by heartbeats that it lives, since
/// it does not know its id, and Kafka's clients give up sooner and join as somebody else.
pub(super) const NEW_MEMBER_JOIN_MS: u64 = 5 * 60 * 1000;

/// A member's id begins with the name of its client or instance, or as much of it as still leaves room.
const ID_PREFIX_BYTES_MAX: usize = 1024;

impl ClassicGroup {
    /// A join; answered under `ticket`, now or when the generation begins.
    pub fn join(&mut self, mut request: JoinRequest, ticket: Ticket, cx: &mut Context<'_>) {
        // Counted once each, or "all members support it" could not be told from a sum.
        let mut names = HashSet::default();
        request
            .protocols
            .retain(|protocol| names.insert(Arc::clone(&protocol.name)));
        if !self.has_place_for(&request, cx) {
            self.turn_away(&request.member_id, ticket, cx);
        } else if !self.supports(&request) {
            let id = Arc::from(request.member_id.as_str());
            refuse_join(cx.effects, ticket, GroupError::InconsistentProtocol, id);
        } else if request.member_id.is_empty() {
            self.join_new(&request, ticket, cx);
        } else if request.instance_id.is_none() && self.pending.contains_key(request.member_id.as_str()) {
            let id = Arc::from(request.member_id.as_str());
            self.add_and_rebalance(id, &request, ticket, cx);
        } else {
            self.join_again(&request, ticket, cx);
        }
    }

    /// Whether it comes from a member of the group, by its id or in the place of its instance.
    #[must_use]
    pub fn has_member(&self, request: &JoinRequest) -> bool {
        self.member_of(request).is_some()
    }

    /// Whether it comes from a member that brings no more than it has brought.
    #[must_use]
    pub fn holds(&self, request: &JoinRequest) -> bool {
        let held = self
            .member_of(request)
            .map(|member| protocol_bytes(&member.protocols));
        held.is_some_and(|held| protocol_bytes(&request.protocols) <= held)
    }

    fn member_of(&self, request: &JoinRequest) -> Option<&Member> {
        self.members.get(request.member_id.as_str()).or_else(|| {
            let id = self.instances.get(request.instance_id.as_deref()?)?;
            self.members.get(id)
        })
    }

    /// Kafka's rule: in a rebalance those who have joined count, otherwise all members; who is in already stays in. And the
    /// group's bytes must fit one record.
    fn has_place_for(&self, request: &JoinRequest, cx: &Context<'_>) -> bool {
        let max = usize::try_from(cx.config.size_max).unwrap_or(usize::MAX);
        let known = self.member_of(request);
        let held = known.map_or(0, |member| protocol_bytes(&member.protocols));
        if self.bytes - held + protocol_bytes(&request.protocols) > GROUP_BYTES_MAX {
            return false;
        }
        match self.state {
            State::Empty => true,
            State::Preparing => known.is_some_and(|member| member.joining.is_some()) || self.joined < max,
            State::Completing | State::Stable => known.is_some() || self.members.len() < max,
        }
    }

    fn turn_away(&mut self, member_id: &str, ticket: Ticket, cx: &mut Context<'_>) {
        refuse_join(cx.effects, ticket, GroupError::GroupFull, Arc::default());
        if self.members.contains_key(member_id) {
            self.remove(member_id, cx);
            self.after_departure(cx);
        }
    }

    /// Whether the members would still have a protocol in common.
    fn supports(&self, request: &JoinRequest) -> bool {
        if self.members.is_empty() {
            return !request.protocol_type.is_empty() && !request.protocols.is_empty();
        }
        let everybody = self.members.len();
        let common = |name: &str| self.supported.get(name) == Some(&everybody);
        self.protocol_type.as_deref() == Some(&*request.protocol_type)
            && request.protocols.iter().any(|protocol| common(&protocol.name))
    }

    fn join_new(&mut self, request: &JoinRequest, ticket: Ticket, cx: &mut Context<'_>) {
        let prefix = request.instance_id.as_deref().unwrap_or(&request.client_id);
        let prefix = &prefix[..prefix.floor_char_boundary(ID_PREFIX_BYTES_MAX)];
        let id: Arc<str> = Arc::from(format!("{prefix}-{}", request.fresh_id));
        let known = request
            .instance_id
            .as_deref()
            .and_then(|instance| self.instances.get(instance));
        if let Some(old) = known.cloned() {
            self.take_over(&old, id, request, ticket, cx);
        } else if request.instance_id.is_none() && request.needs_known_id {
            self.promise(Arc::clone(&id), request, cx);
            refuse_join(cx.effects, ticket, GroupError::MemberIdRequired, id);
        } else {
            self.add_and_rebalance(id, request, ticket, cx);
        }
    }

    /// Remembers an id that was given out, for as long as the member's session.
    fn promise(&mut self, id: Arc<str>, request: &JoinRequest, cx: &Context<'_>) {
        if self.pending.len() >= PENDING_MAX {
            let first = self.pending.iter().min_by_key(|(_, at)| **at);
            let first = first.map(|(id, _)| Arc::clone(id));
            first.and_then(|id| self.pending.remove(&id));
        }
        let at = cx.now.mono_ms + u64::from(timeout(request.session_timeout_ms));
        self.pending.insert(id, at);
        self.arm(at);
    }

    pub(super) fn add_and_rebalance(
        &mut self,
        id: Arc<str>,
        request: &JoinRequest,
        ticket: Ticket,
        cx: &mut Context<'_>,
    ) {
        if self.state == State::Preparing && self.generation == 0 {
            self.company = true;
        }
        let mut member = Member::new(Arc::clone(&id), request);
        member.joining = Some(ticket);
        let at = cx.now.mono_ms + NEW_MEMBER_JOIN_MS;
        member.deadline = Some(at);
        self.arm(at);
        self.pending.remove(&id);
        self.joined += 1;
        if self.members.is_empty() {
            self.protocol_type = Some(Arc::clone(&request.protocol_type));
        }
        if self.leader.is_none() {
            self.leader = Some(Arc::clone(&id));
        }
        self.insert(member);
        self.rebalance_or_complete(cx);
    }

    /// A member of the group joins again: to take part in a rebalance, or to ask for one.
    fn join_again(&mut self, request: &JoinRequest, ticket: Ticket, cx: &mut Context<'_>) {
        let who = MemberRef {
            member_id: request.member_id.clone(),
            instance_id: request.instance_id.clone(),
        };
        let checked = self.check_member(&who);
        let id: Arc<str> = Arc::from(request.member_id.as_str());
        if let Err(error) = checked {
            return refuse_join(cx.effects, ticket, error, id);
        }
        let unchanged = self.members[&id].protocols == request.protocols;
        match self.state {
            State::Preparing => self.update_and_rebalance(&id, request, ticket, cx),
            // The answer of the join may have been lost: the generation stands.
            State::Completing if unchanged => self.tell_generation(&id, ticket, cx),
            // A leader that joins again wants to assign anew; any other member that changed nothing does not.
            State::Stable if unchanged && !self.is_leader(&id) => self.tell_generation(&id, ticket, cx),
            State::Completing | State::Stable => self.update_and_rebalance(&id, request, ticket, cx),
            State::Empty => refuse_join(cx.effects, ticket, GroupError::UnknownMember, id),
        }
    }

    fn tell_generation(&mut self, id: &Arc<str>, ticket: Ticket, cx: &mut Context<'_>) {
        let joined = self.joined_answer(id);
        cx.effects.replies.push((ticket, GroupReply::Join(Ok(joined))));
    }

    fn update_and_rebalance(
        &mut self,
        id: &Arc<str>,
        request: &JoinRequest,
        ticket: Ticket,
        cx: &mut Context<'_>,
    ) {
        self.update(id, request, Some(ticket), cx);
        self.rebalance_or_complete(cx);
    }

    /// All of a member's properties are those of its newest join.
    fn update(&mut self, id: &Arc<str>, request: &JoinRequest, ticket: Option<Ticket>, cx: &mut Context<'_>) {
        let Some(mut member) = self.take(id) else { return };
        member.protocols.clone_from(&request.protocols);
        member.client_id = Arc::clone(&request.client_id);
        member.client_host = Arc::clone(&request.client_host);
        member.session_timeout_ms = timeout(request.session_timeout_ms);
        member.rebalance_timeout_ms = timeout(request.rebalance_timeout_ms);
        if let Some(ticket) = ticket {
            match member.joining.replace(ticket) {
                // The same member on another connection; whoever still listens to the first may ask again.
                Some(first) => {
                    refuse_join(cx.effects, first, GroupError::RebalanceInProgress, Arc::clone(id));
                }
                None => self.joined += 1,
            }
        }
        self.insert(member);
    }

    /// A static member came back under a new id: it takes over the place, and whoever used the old id is fenced.
    fn take_over(
        &mut self,
        old: &Arc<str>,
        id: Arc<str>,
        request: &JoinRequest,
        ticket: Ticket,
        cx: &mut Context<'_>,
    ) {
        let former_leader = self.leader.clone().unwrap_or_default();
        self.rename(old, &id, cx);
        self.update(&id, request, None, cx);
        self.touch(&id, cx.now);
        match self.state {
            State::Stable if self.protocol == select_protocol(&self.members) => {
                // The assignment stands; the log learns the new id before the member does.
                self.record(cx.effects);
                let mut joined = self.joined_answer(&id);
                if request.can_skip_assignment {
                    joined.skip_assignment = self.is_leader(&id);
                } else {
                    // A leader of old would assign although nobody will ask for it: let it believe in its predecessor.
                    joined.leader = former_leader;
                    joined.members = Vec::new();
                }
                cx.effects.replies.push((ticket, GroupReply::Join(Ok(joined))));
            }
            _ => {
                self.await_join(&id, ticket);
                match self.state {
                    State::Preparing => self.complete_if_all_joined(cx),
                    // Its old id may be in the leader's hands already.
                    _ => self.prepare(cx),
                }
            }
        }
    }

    fn await_join(&mut self, id: &Arc<str>, ticket: Ticket) {
        if let Some(member) = self.members.get_mut(id)
            && member.joining.replace(ticket).is_none()
        {
            self.joined += 1;
        }
    }

    /// Gives a member another id; open requests under the old one are fenced.
    fn rename(&mut self, old: &Arc<str>, id: &Arc<str>, cx: &mut Context<'_>) {
        let Some(mut member) = self.take(old) else { return };
        if let Some(ticket) = member.joining.take() {
            self.joined -= 1;
            refuse_join(cx.effects, ticket, GroupError::FencedInstance, Arc::clone(old));
        }
        if let Some(ticket) = member.syncing.take() {
            let fenced = GroupReply::Sync(Err(GroupError::FencedInstance));
            cx.effects.replies.push((ticket, fenced));
        }
        member.id = Arc::clone(id);
        self.insert(member);
        if self.is_leader(old) {
            self.leader = Some(Arc::clone(id));
        }
    }

    /// What a member is told of the generation.
    pub(super) fn joined_answer(&self, id: &Arc<str>) -> Joined {
        let protocol = self.protocol.clone();
        let chosen = protocol.as_deref().unwrap_or_default();
        let tell = |member: &Member| JoinedMember {
            id: Arc::clone(&member.id),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(chosen),
        };
        let members = match self.is_leader(id) {
            true => self.members.values().map(tell).collect(),
            false => Vec::new(),
        };
        Joined {
            member_id: Arc::clone(id),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            members,
            protocol,
        }
    }
}
