//! DeleteGroups: groups without members go, with all their positions.

use super::{rpc, wire_struct};

wire_struct! {
    /// Delete these groups.
    DeleteGroupsRequest<'a> {
        /// The groups.
        groups_names: Vec<&'a str> => 0..;
    }
}

wire_struct! {
    /// What became of them.
    DeleteGroupsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// By group.
        results: Vec<DeletableGroupResult<'a>> => 0..;
    }
}

wire_struct! {
    /// What became of one group.
    DeletableGroupResult<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// 0, or why it is still there.
        error_code: i16 => 0..;
    }
}

rpc!(DeleteGroups: <'a> DeleteGroupsRequest<'a> => <'r> DeleteGroupsResponse<'r>);
