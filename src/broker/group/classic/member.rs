//! One member of a classic group. Passive: the group decides.

use crate::broker::group::request::{JoinRequest, Protocol, REBALANCE_TIMEOUT_MS_MAX, Ticket};
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: Arc<str>,
    pub(super) instance_id: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) session_timeout_ms: u32,
    pub(super) rebalance_timeout_ms: u32,
    /// What it supports, most wanted first.
    pub(super) protocols: Vec<Protocol>,
    /// Of the current generation; empty until its leader has assigned.
    pub(super) assignment: Arc<[u8]>,
    /// Its join waits for the others.
    pub(super) joining: Option<Ticket>,
    /// Its sync waits for the leader.
    pub(super) syncing: Option<Ticket>,
    /// It has asked for its assignment in this generation.
    pub(super) synced: bool,
    /// It has not been in a generation yet.
    pub(super) is_new: bool,
    /// When it counts as gone; none while an open request shows that it is alive.
    pub(super) deadline: Option<u64>,
}

impl Member {
    /// A member that joins for the first time. The caller has checked the times.
    pub(super) fn new(id: Arc<str>, request: &JoinRequest) -> Self {
        Self {
            id,
            instance_id: request.instance_id.as_deref().map(Arc::from),
            client_id: Arc::clone(&request.client_id),
            client_host: Arc::clone(&request.client_host),
            session_timeout_ms: timeout(request.session_timeout_ms),
            rebalance_timeout_ms: timeout(request.rebalance_timeout_ms),
            protocols: request.protocols.clone(),
            assignment: Arc::default(),
            joining: None,
            syncing: None,
            synced: false,
            is_new: true,
            deadline: None,
        }
    }

    /// What it said under a protocol.
    pub(super) fn metadata(&self, protocol: &str) -> Arc<[u8]> {
        let found = self.protocols.iter().find(|known| &*known.name == protocol);
        found.map(|known| Arc::clone(&known.metadata)).unwrap_or_default()
    }

    /// Metadata and assignment.
    pub(super) fn bytes(&self) -> usize {
        protocol_bytes(&self.protocols) + self.assignment.len()
    }

    /// Whether silence does not count against it.
    pub(super) fn is_waiting(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }
}

/// Bytes of a list of protocols.
pub(super) fn protocol_bytes(protocols: &[Protocol]) -> usize {
    protocols
        .iter()
        .map(|protocol| protocol.name.len() + protocol.metadata.len())
        .sum()
}

/// Milliseconds from the wire: not negative, not beyond reason.
pub(super) fn timeout(ms: i32) -> u32 {
    u32::try_from(ms).unwrap_or(0).min(REBALANCE_TIMEOUT_MS_MAX)
}
