//! JoinGroup: become a member of a group and hear what the others can do.
//!
//! What a protocol's metadata says is between the members; the broker carries it.

use super::{rpc, wire_struct};

wire_struct! {
    /// Let me in.
    JoinGroupRequest<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// A member silent for this many ms is taken for dead.
        session_timeout_ms: i32 => 0..;
        /// How long the others may take to join again, in ms; -1 in version 0, which means the session's.
        rebalance_timeout_ms: i32 => 1.., default -1;
        /// The member, empty for a new one.
        member_id: &'a str => 0..;
        /// The name of a static member.
        group_instance_id: Option<&'a str> => 5.., null 5..;
        /// What kind of group it is, such as `consumer`.
        protocol_type: &'a str => 0..;
        /// The protocols the member speaks, the best first.
        protocols: Vec<JoinGroupRequestProtocol<'a>> => 0..;
        /// Why it joins, for people.
        reason: Option<&'a str> => 8.., null 8..;
    }
}

wire_struct! {
    /// One protocol.
    JoinGroupRequestProtocol<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// What the member says in it.
        metadata: &'a [u8] => 0..;
    }
}

wire_struct! {
    /// The group as it is now.
    JoinGroupResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 2..;
        /// 0, or why the member is not in.
        error_code: i16 => 0..;
        /// The generation.
        generation_id: i32 => 0.., default -1;
        /// What kind of group it is.
        protocol_type: Option<&'a str> => 7.., null 7..;
        /// The protocol chosen.
        protocol_name: Option<&'a str> => 0.., null 7..;
        /// The member that assigns.
        leader: &'a str => 0..;
        /// Whether the leader need not assign.
        skip_assignment: bool => 9..;
        /// This member.
        member_id: &'a str => 0..;
        /// All members, for the leader only.
        members: Vec<JoinGroupResponseMember<'a>> => 0..;
    }
}

wire_struct! {
    /// One member.
    JoinGroupResponseMember<'a> {
        /// The member.
        member_id: &'a str => 0..;
        /// Its name, if it is static.
        group_instance_id: Option<&'a str> => 5.., null 5..;
        /// What it says in the protocol chosen.
        metadata: &'a [u8] => 0..;
    }
}

rpc!(JoinGroup: <'a> JoinGroupRequest<'a> => <'r> JoinGroupResponse<'r>);
