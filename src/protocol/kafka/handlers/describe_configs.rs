//! DescribeConfigs: the settings of topics and nodes. See [`super::configs`] for what there is.
//!
//! The empty broker name means "all brokers' dynamic defaults", of which there are none. A resource named twice is
//! answered once.

use std::collections::HashSet;

use super::configs::{self, Entry};
use super::{Fault, code_and_message, has_node};
use crate::broker::image::Image;
use crate::broker::topic::check_name;
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym, RESOURCE_BROKER, RESOURCE_TOPIC, SOURCE_DEFAULT,
};

/// Answers each resource for itself.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: DescribeConfigsRequest<'_> = call.decode()?;
    let held = call
        .reserve(request.resources.len().saturating_mul(configs::RESERVE_BYTES))
        .await;
    let image = call.shard.image();
    let mut seen = HashSet::new();
    let described: Vec<_> = request
        .resources
        .iter()
        .filter(|resource| seen.insert((resource.resource_type, resource.resource_name)))
        .map(|resource| (resource, describe(&call, &image, resource)))
        .collect();
    let results = described.iter().map(|(resource, outcome)| {
        let (error_code, error_message) = code_and_message(outcome);
        let entries = outcome.as_deref().unwrap_or_default();
        DescribeConfigsResult {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            configs: entries
                .iter()
                .map(|entry| config_response(&request, entry))
                .collect(),
        }
    });
    let response = DescribeConfigsResponse {
        throttle_time_ms: 0,
        results: results.collect(),
    };
    Ok(call.answer_holding(response, held))
}

fn describe(call: &Call, image: &Image, resource: &DescribeConfigsResource<'_>) -> Result<Vec<Entry>, Fault> {
    let limits = call.shard.limits();
    let name = resource.resource_name;
    let mut entries = match resource.resource_type {
        RESOURCE_TOPIC => {
            check_name(name)?;
            let topic = image
                .topic(name)
                .ok_or_else(|| Fault::of(ErrorCode::UnknownTopicOrPartition))?;
            configs::of_topic(topic, &limits.topic_defaults)
        }
        RESOURCE_BROKER if name.is_empty() => Vec::new(),
        RESOURCE_BROKER if name.parse().is_ok_and(|id| has_node(call.shard.cluster(), id)) => {
            configs::of_broker(limits)
        }
        RESOURCE_BROKER => {
            return Err(Fault::new(
                ErrorCode::InvalidRequest,
                format!("no broker has the id {name:?}"),
            ));
        }
        other => {
            return Err(Fault::new(
                ErrorCode::InvalidRequest,
                format!("resources of type {other} have no configuration here"),
            ));
        }
    };
    if let Some(keys) = &resource.configuration_keys {
        let keys: HashSet<&str> = keys.iter().copied().collect();
        entries.retain(|entry| keys.contains(entry.name));
    }
    Ok(entries)
}

fn config_response<'a>(
    request: &DescribeConfigsRequest<'_>,
    entry: &'a Entry,
) -> DescribeConfigsResourceResult<'a> {
    DescribeConfigsResourceResult {
        name: entry.name,
        value: Some(&entry.value),
        read_only: entry.read_only,
        config_source: entry.source,
        is_sensitive: false,
        synonyms: if request.include_synonyms {
            synonyms(entry)
        } else {
            Vec::new()
        },
        config_type: entry.kind,
        documentation: request.include_documentation.then_some(entry.doc),
    }
}

/// Every place the value could come from, the strongest first: where it is set, then its default.
fn synonyms(entry: &Entry) -> Vec<DescribeConfigsSynonym<'_>> {
    let own = DescribeConfigsSynonym {
        name: entry.name,
        value: Some(&entry.value),
        source: entry.source,
    };
    let default = DescribeConfigsSynonym {
        name: entry.name,
        value: Some(&entry.default),
        source: SOURCE_DEFAULT,
    };
    if entry.source == SOURCE_DEFAULT {
        vec![default]
    } else {
        vec![own, default]
    }
}
