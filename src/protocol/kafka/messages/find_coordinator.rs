//! FindCoordinator: which broker coordinates a group or a transaction.
//!
//! Up to version 3 one key is asked for and answered in the message itself; from version 4 on many, in lists.

use super::{rpc, wire_struct};

/// The keys are group ids.
pub const KEY_GROUP: i8 = 0;
/// The keys are transactional ids.
pub const KEY_TRANSACTION: i8 = 1;
/// The keys are share-group partitions.
pub const KEY_SHARE: i8 = 2;

wire_struct! {
    /// Who coordinates this?
    FindCoordinatorRequest<'a> {
        /// The key (up to version 3).
        key: &'a str => 0..=3;
        /// What the keys are.
        key_type: i8 => 1..;
        /// The keys (version 4 on).
        coordinator_keys: Vec<&'a str> => 4..;
    }
}

wire_struct! {
    /// The coordinators.
    FindCoordinatorResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 1..;
        /// 0, or why there is none (up to version 3, like all but the list).
        error_code: i16 => 0..=3;
        /// The same in words.
        error_message: Option<&'a str> => 1..=3, null 1..=3;
        /// Its node id.
        node_id: i32 => 0..=3;
        /// Where clients reach it.
        host: &'a str => 0..=3;
        /// And at which port.
        port: i32 => 0..=3;
        /// By key (version 4 on).
        coordinators: Vec<Coordinator<'a>> => 4..;
    }
}

wire_struct! {
    /// The coordinator of one key.
    Coordinator<'a> {
        /// The key.
        key: &'a str => 4..;
        /// Its node id.
        node_id: i32 => 4..;
        /// Where clients reach it.
        host: &'a str => 4..;
        /// And at which port.
        port: i32 => 4..;
        /// 0, or why there is none.
        error_code: i16 => 4..;
        /// The same in words.
        error_message: Option<&'a str> => 4.., null 4..;
    }
}

rpc!(FindCoordinator: <'a> FindCoordinatorRequest<'a> => <'r> FindCoordinatorResponse<'r>);
