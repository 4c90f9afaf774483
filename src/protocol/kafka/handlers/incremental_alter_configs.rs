//! IncrementalAlterConfigs: some keys of a topic are set or go back to their default.
//!
//! Topics only: a node's settings are in its configuration file. No topic key is a list of more than one value, so
//! adding to a list or taking from it is refused. All keys of a resource change together or none does; each resource
//! for itself.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Fault, code_and_message};
use crate::broker::image::Image;
use crate::broker::topic::{check_overrides, key};
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, OPERATION_DELETE, OPERATION_SET, RESOURCE_TOPIC,
};
use crate::shard::request::ControlRequest;

/// Keys to set or, with `None`, to remove.
type Changes = Vec<(String, Option<String>)>;

/// Changes the resources one after the other.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: IncrementalAlterConfigsRequest<'_> = call.decode()?;
    let image = call.shard.image();
    let mut times_named: HashMap<(i8, &str), usize> = HashMap::new();
    for resource in &request.resources {
        *times_named
            .entry((resource.resource_type, resource.resource_name))
            .or_default() += 1;
    }
    let mut outcomes = Vec::with_capacity(times_named.len());
    for resource in &request.resources {
        let outcome = match times_named.remove(&(resource.resource_type, resource.resource_name)) {
            Some(1) => alter(&call, &image, resource, request.validate_only).await,
            Some(_) => Err(Fault::new(
                ErrorCode::InvalidRequest,
                "the resource is named more than once",
            )),
            None => continue,
        };
        if outcome.is_err() {
            call.count_error();
        }
        outcomes.push((resource, outcome));
    }
    let responses = outcomes.iter().map(|(resource, outcome)| {
        let (error_code, error_message) = code_and_message(outcome);
        AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        }
    });
    Ok(call.answer(IncrementalAlterConfigsResponse {
        throttle_time_ms: 0,
        responses: responses.collect(),
    }))
}

async fn alter(
    call: &Call,
    image: &Image,
    resource: &AlterConfigsResource<'_>,
    validate_only: bool,
) -> Result<(), Fault> {
    let changes = check(image, resource)?;
    if validate_only {
        return Ok(());
    }
    let request = ControlRequest::AlterConfigs {
        name: resource.resource_name.to_owned(),
        changes,
    };
    call.shard.control(request).await?;
    Ok(())
}

fn check(image: &Image, resource: &AlterConfigsResource<'_>) -> Result<Changes, Fault> {
    if resource.resource_type != RESOURCE_TOPIC {
        let message = "only topics can be configured at run time";
        return Err(Fault::new(ErrorCode::InvalidRequest, message));
    }
    if image.topic(resource.resource_name).is_none() {
        return Err(Fault::of(ErrorCode::UnknownTopicOrPartition));
    }
    let mut named = HashSet::new();
    if !resource.configs.iter().all(|config| named.insert(config.name)) {
        return Err(Fault::new(
            ErrorCode::InvalidRequest,
            "a key is named more than once",
        ));
    }
    let changes: Changes = resource.configs.iter().map(change).collect::<Result<_, _>>()?;
    // Keys do not depend on each other, so what is set may be judged without what was set before.
    let set: BTreeMap<_, _> = changes
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
        .collect();
    check_overrides(&set)?;
    Ok(changes)
}

fn change(config: &AlterableConfig<'_>) -> Result<(String, Option<String>), Fault> {
    let name = config.name.to_owned();
    match (config.config_operation, config.value) {
        (OPERATION_SET, Some(value)) => Ok((name, Some(value.to_owned()))),
        (OPERATION_SET, None) => Err(Fault::new(
            ErrorCode::InvalidRequest,
            format!("no value to set {name} to"),
        )),
        (OPERATION_DELETE, _) if key(&name).is_some() => Ok((name, None)),
        (OPERATION_DELETE, _) => {
            let message = format!("unknown topic config {name:?}");
            Err(Fault::new(ErrorCode::InvalidConfig, message))
        }
        _ => Err(Fault::new(
            ErrorCode::InvalidConfig,
            format!("{name} is not a list to add to or take from"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TopicId;
    use crate::broker::topic::{Topic, TopicDefaults, settings};

    fn code(resource_type: i8, configs: &[(&'static str, i8, Option<&'static str>)]) -> i16 {
        let mut image = Image::default();
        let overrides = BTreeMap::new();
        image.put(Topic {
            name: "events".into(),
            id: TopicId::new([1; 16]),
            partitions: 1,
            settings: settings(&overrides, &TopicDefaults::default()),
            overrides,
        });
        let configs = configs
            .iter()
            .map(|&(name, config_operation, value)| AlterableConfig {
                name,
                config_operation,
                value,
            });
        let resource = AlterConfigsResource {
            resource_type,
            resource_name: "events",
            configs: configs.collect(),
        };
        check(&image, &resource).map_or_else(|fault| fault.code.code(), |_| 0)
    }

    #[test]
    fn topics_take_set_and_delete_and_nothing_else() {
        assert_eq!(
            code(2, &[("retention.ms", 0, Some("1")), ("segment.bytes", 1, None)]),
            0
        );
        assert_eq!(code(2, &[("retention.ms", 0, None)]), 42);
        assert_eq!(code(2, &[("retention.ms", 2, Some("1"))]), 40);
        assert_eq!(code(2, &[("retention.ms", 0, Some("x"))]), 40);
        assert_eq!(code(2, &[("nonsense", 1, None)]), 40);
        assert_eq!(
            code(2, &[("retention.ms", 0, Some("1")), ("retention.ms", 1, None)]),
            42
        );
        assert_eq!(code(4, &[("retention.ms", 0, Some("1"))]), 42);
    }
}
