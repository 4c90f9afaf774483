//! CreatePartitions: topics grow, never shrink. Each topic for itself; the broker's own topics do not (17). The request's
//! time-out is not used.

use crate::base::hash::HashMap;

use super::create_topics::is_one_node;
use super::{Fault, code_and_message};
use crate::broker::image::Image;
use crate::broker::topic::{PARTITIONS_MAX, is_internal};
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use crate::shard::Cluster;
use crate::shard::request::{ControlError, ControlRequest};

/// Grows the topics one after the other.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: CreatePartitionsRequest<'_> = call.decode()?;
    let image = call.shard.image();
    let mut times_named: HashMap<&str, usize> = HashMap::default();
    for topic in &request.topics {
        *times_named.entry(topic.name).or_default() += 1;
    }
    let mut outcomes = Vec::with_capacity(times_named.len());
    for topic in &request.topics {
        let outcome = match times_named.remove(topic.name) {
            Some(1) => grow(&call, &image, topic, request.validate_only).await,
            Some(_) => Err(Fault::new(
                ErrorCode::InvalidRequest,
                "the topic is named more than once",
            )),
            None => continue,
        };
        if outcome.is_err() {
            call.count_error();
        }
        outcomes.push((topic.name, outcome));
    }
    let results = outcomes.iter().map(|(name, outcome)| {
        let (error_code, error_message) = code_and_message(outcome);
        CreatePartitionsTopicResult {
            name,
            error_code,
            error_message,
        }
    });
    Ok(call.answer(CreatePartitionsResponse {
        throttle_time_ms: 0,
        results: results.collect(),
    }))
}

async fn grow(
    call: &Call,
    image: &Image,
    topic: &CreatePartitionsTopic<'_>,
    validate_only: bool,
) -> Result<(), Fault> {
    let partitions = check(call.shard.cluster(), image, topic)?;
    if validate_only {
        return Ok(());
    }
    let request = ControlRequest::SetPartitions {
        name: topic.name.to_owned(),
        partitions,
    };
    call.shard.control(request).await?;
    Ok(())
}

fn check(cluster: &Cluster, image: &Image, topic: &CreatePartitionsTopic<'_>) -> Result<u32, Fault> {
    if is_internal(topic.name) {
        return Err(ControlError::InternalTopic(topic.name.to_owned()).into());
    }
    let found = image
        .topic(topic.name)
        .ok_or_else(|| Fault::of(ErrorCode::UnknownTopicOrPartition))?;
    let now = found.partitions;
    let wanted = u32::try_from(topic.count)
        .ok()
        .filter(|count| (now + 1..=PARTITIONS_MAX).contains(count));
    let wanted = wanted.ok_or_else(|| {
        let message = format!(
            "{} partitions: the topic has {now}, and at most {PARTITIONS_MAX} are possible",
            topic.count
        );
        Fault::new(ErrorCode::InvalidPartitions, message)
    })?;
    if let Some(assignments) = &topic.assignments {
        let all_new = u32::try_from(assignments.len()) == Ok(wanted - now);
        if !all_new
            || !assignments
                .iter()
                .all(|new| is_one_node(cluster, &new.broker_ids))
        {
            let message = "an assignment gives each new partition one existing broker";
            return Err(Fault::new(ErrorCode::InvalidReplicaAssignment, message));
        }
    }
    Ok(wanted)
}
