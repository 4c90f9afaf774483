//! The Kafka door: an accept loop ([`crate::protocol::door`]) whose sessions speak Kafka. Each door has the
//! fetch sessions of its clients.

use std::cell::RefCell;
use std::rc::Rc;

use super::fetch_session::SessionCache;
use super::session;
use crate::protocol::door::{self, ConnectionLimit};
use crate::runtime::entropy;
use crate::runtime::net::Listener;
use crate::shard::Shard;

/// Accepts and serves Kafka clients until the shard stops, then waits for those it accepted to end; the caller bounds that
/// wait if it must (a peer that never reads is given up after half a minute).
pub async fn serve(listener: Listener, shard: Rc<Shard>, connections: ConnectionLimit) {
    // Ids that a stranger cannot guess.
    let seed = entropy::number();
    let sessions = SessionCache::new(
        shard.id().get(),
        shard.cluster().shards,
        shard.request_budget().limit(),
        seed,
    );
    let sessions = Rc::new(RefCell::new(sessions));
    let session = |stream, shard| session::run(stream, shard, Rc::clone(&sessions));
    door::serve(listener, shard, connections, session).await;
}
