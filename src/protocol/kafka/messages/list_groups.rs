//! ListGroups: the groups a coordinator has.

use super::{rpc, wire_struct};

wire_struct! {
    /// Which groups are there?
    ListGroupsRequest<'a> {
        /// States wanted; empty is all of them.
        states_filter: Vec<&'a str> => 4..;
        /// Types wanted; empty is all of them.
        types_filter: Vec<&'a str> => 5..;
    }
}

wire_struct! {
    /// The groups.
    ListGroupsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 1..;
        /// 0, or why there is no list.
        error_code: i16 => 0..;
        /// The groups.
        groups: Vec<ListedGroup<'a>> => 0..;
    }
}

wire_struct! {
    /// One group.
    ListedGroup<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// What kind of group it is, such as `consumer`.
        protocol_type: &'a str => 0..;
        /// Its state, such as `Stable`.
        group_state: &'a str => 4..;
        /// Its type, such as `classic`.
        group_type: &'a str => 5..;
    }
}

rpc!(ListGroups: <'a> ListGroupsRequest<'a> => <'r> ListGroupsResponse<'r>);
