//! Heartbeat: a member of a group is alive, and hears whether it must join again.

use super::{rpc, wire_struct};

wire_struct! {
    /// I am here.
    HeartbeatRequest<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// The generation the member knows.
        generation_id: i32 => 0..;
        /// The member.
        member_id: &'a str => 0..;
        /// Its name, if it is static.
        group_instance_id: Option<&'a str> => 3.., null 3..;
    }
}

wire_struct! {
    /// Whether the member may stay as it is.
    HeartbeatResponse {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 1..;
        /// 0, or what to do.
        error_code: i16 => 0..;
    }
}

rpc!(Heartbeat: <'a> HeartbeatRequest<'a> => <'r> HeartbeatResponse);
