//! SyncGroup: the leader's assignment in, each member's share out.

use super::{rpc, wire_struct};

wire_struct! {
    /// Here is the assignment, or: what is mine?
    SyncGroupRequest<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// The generation.
        generation_id: i32 => 0..;
        /// The member.
        member_id: &'a str => 0..;
        /// Its name, if it is static.
        group_instance_id: Option<&'a str> => 3.., null 3..;
        /// What kind of group it is.
        protocol_type: Option<&'a str> => 5.., null 5..;
        /// The protocol chosen.
        protocol_name: Option<&'a str> => 5.., null 5..;
        /// The assignment, from the leader only.
        assignments: Vec<SyncGroupRequestAssignment<'a>> => 0..;
    }
}

wire_struct! {
    /// One member's share.
    SyncGroupRequestAssignment<'a> {
        /// The member.
        member_id: &'a str => 0..;
        /// Its share.
        assignment: &'a [u8] => 0..;
    }
}

wire_struct! {
    /// The member's share.
    SyncGroupResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 1..;
        /// 0, or why there is none.
        error_code: i16 => 0..;
        /// What kind of group it is.
        protocol_type: Option<&'a str> => 5.., null 5..;
        /// The protocol chosen.
        protocol_name: Option<&'a str> => 5.., null 5..;
        /// The share, as the leader wrote it.
        assignment: &'a [u8] => 0..;
    }
}

rpc!(SyncGroup: <'a> SyncGroupRequest<'a> => <'r> SyncGroupResponse<'r>);
