//! The native door: an accept loop ([`crate::protocol::door`]) whose sessions speak the native protocol.

use std::rc::Rc;

use super::session;
use crate::protocol::door::{self, ConnectionLimit};
use crate::runtime::net::Listener;
use crate::shard::Shard;

/// Accepts and serves native clients until the shard stops, then waits for those it accepted to end; the caller bounds that
/// wait if it must (a peer that never reads is given up after half a minute).
pub async fn serve(listener: Listener, shard: Rc<Shard>, connections: ConnectionLimit) {
    door::serve(listener, shard, connections, session::run).await;
}
