//! DescribeGroups: the state and members of groups of the classic protocol.

use super::{AUTHORIZED_OPERATIONS_UNKNOWN, rpc, wire_struct};

wire_struct! {
    /// How are these groups?
    DescribeGroupsRequest<'a> {
        /// The groups.
        groups: Vec<&'a str> => 0..;
        /// Whether to say what the client may do to them.
        include_authorized_operations: bool => 3..;
    }
}

wire_struct! {
    /// The groups.
    DescribeGroupsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 1..;
        /// By group.
        groups: Vec<DescribedGroup<'a>> => 0..;
    }
}

wire_struct! {
    /// One group.
    DescribedGroup<'a> {
        /// 0, or why it cannot be described.
        error_code: i16 => 0..;
        /// The same in words.
        error_message: Option<&'a str> => 6.., null 6..;
        /// The group.
        group_id: &'a str => 0..;
        /// Its state, such as `Stable`.
        group_state: &'a str => 0..;
        /// What kind of group it is.
        protocol_type: &'a str => 0..;
        /// The protocol chosen, if it is stable.
        protocol_data: &'a str => 0..;
        /// Its members.
        members: Vec<DescribedGroupMember<'a>> => 0..;
        /// What the client may do to it, one bit per operation.
        authorized_operations: i32 => 3.., default AUTHORIZED_OPERATIONS_UNKNOWN;
    }
}

wire_struct! {
    /// One member.
    DescribedGroupMember<'a> {
        /// The member.
        member_id: &'a str => 0..;
        /// Its name, if it is static.
        group_instance_id: Option<&'a str> => 4.., null 4..;
        /// What its client calls itself.
        client_id: &'a str => 0..;
        /// Where its client is.
        client_host: &'a str => 0..;
        /// What it says in the protocol chosen.
        member_metadata: &'a [u8] => 0..;
        /// Its share.
        member_assignment: &'a [u8] => 0..;
    }
}

rpc!(DescribeGroups: <'a> DescribeGroupsRequest<'a> => <'r> DescribeGroupsResponse<'r>);
