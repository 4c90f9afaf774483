//! LeaveGroup: members go, one until version 2, several from version 3 on.

use super::{rpc, wire_struct};

wire_struct! {
    /// These go.
    LeaveGroupRequest<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// The member.
        member_id: &'a str => 0..=2;
        /// The members.
        members: Vec<LeaveGroupMember<'a>> => 3..;
    }
}

wire_struct! {
    /// One that goes.
    LeaveGroupMember<'a> {
        /// The member; empty if a static one is meant by its name.
        member_id: &'a str => 3..;
        /// The name of a static member.
        group_instance_id: Option<&'a str> => 3.., null 3..;
        /// Why it goes, for people.
        reason: Option<&'a str> => 5.., null 5..;
    }
}

wire_struct! {
    /// Who went.
    LeaveGroupResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 1..;
        /// An error of the group, or of the one member.
        error_code: i16 => 0..;
        /// By member.
        members: Vec<LeaveGroupMemberResponse<'a>> => 3..;
    }
}

wire_struct! {
    /// Whether one went.
    LeaveGroupMemberResponse<'a> {
        /// The member.
        member_id: &'a str => 3..;
        /// The name of a static member.
        group_instance_id: Option<&'a str> => 3.., null 3..;
        /// 0, or why not.
        error_code: i16 => 3..;
    }
}

rpc!(LeaveGroup: <'a> LeaveGroupRequest<'a> => <'r> LeaveGroupResponse<'r>);
