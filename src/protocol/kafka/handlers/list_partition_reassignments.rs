//! ListPartitionReassignments: partitions stay where they are, so the list is empty.

use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

/// Answers with nothing.
pub(in crate::protocol::kafka) fn handle(call: &Call) -> Outcome {
    let _request: ListPartitionReassignmentsRequest<'_> = call.decode()?;
    Ok(call.answer(ListPartitionReassignmentsResponse::default()))
}
