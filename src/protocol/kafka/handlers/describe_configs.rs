//! DescribeConfigs: the settings of topics, nodes, loggers and groups. See [`super::configs`] for what there is.
//!
//! The empty broker name means what was set for all brokers. Groups are told the times the broker has for all of them; client
//! metrics have no settings, which is no error: tools ask for them beside topics. A resource named twice is answered once.

use crate::base::hash::HashSet;

use super::configs::alter::{invalid, node_id};
use super::configs::{self, Entry, Synonym};
use super::{Fault, code_and_message};
use crate::broker::image::Image;
use crate::broker::topic::check_name;
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym, RESOURCE_BROKER, RESOURCE_TOPIC,
};
use crate::shard::Cluster;

/// Kafka's number for the loggers of a broker.
const RESOURCE_BROKER_LOGGER: i8 = 8;
/// Kafka's number for the metrics clients are asked for.
const RESOURCE_CLIENT_METRICS: i8 = 16;
/// Kafka's number for a consumer group.
const RESOURCE_GROUP: i8 = 32;

/// Answers each resource for itself.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: DescribeConfigsRequest<'_> = call.decode()?;
    let mut seen = HashSet::default();
    let resources: Vec<_> = request
        .resources
        .iter()
        .filter(|resource| seen.insert((resource.resource_type, resource.resource_name)))
        .collect();
    let held = call.reserve(reserve_bytes(&resources)).await;
    let image = call.shard.image();
    let described: Vec<_> = resources
        .into_iter()
        .map(|resource| (resource, describe(call.shard.cluster(), &image, resource)))
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

fn reserve_bytes(resources: &[&DescribeConfigsResource<'_>]) -> usize {
    let bytes = resources.iter().map(|resource| match resource.resource_type {
        RESOURCE_BROKER => configs::BROKER_RESERVE_BYTES,
        _ => configs::TOPIC_RESERVE_BYTES,
    });
    bytes.fold(0, usize::saturating_add)
}

fn describe(
    cluster: &Cluster,
    image: &Image,
    resource: &DescribeConfigsResource<'_>,
) -> Result<Vec<Entry>, Fault> {
    let (name, broker) = (resource.resource_name, image.broker());
    let node = |name| {
        let id = node_id(cluster, name)?;
        let node = cluster.nodes.iter().find(|node| node.id == id);
        node.ok_or_else(|| invalid(format!("no broker has the id {id}")))
    };
    let mut entries = match resource.resource_type {
        RESOURCE_TOPIC => {
            check_name(name)?;
            let topic = image
                .topic(name)
                .ok_or_else(|| Fault::of(ErrorCode::UnknownTopicOrPartition))?;
            configs::of_topic(&topic.overrides, broker)
        }
        RESOURCE_BROKER if name.is_empty() => configs::of_cluster(broker),
        RESOURCE_BROKER => configs::of_node(node(name)?, broker),
        RESOURCE_BROKER_LOGGER => node(name).map(|_| configs::of_loggers(broker))?,
        RESOURCE_GROUP | RESOURCE_CLIENT_METRICS if name.is_empty() => {
            return Err(invalid("the name is empty"));
        }
        RESOURCE_GROUP => configs::of_group(broker),
        RESOURCE_CLIENT_METRICS => Vec::new(),
        other => {
            return Err(invalid(format!(
                "resources of type {other} have no configuration here"
            )));
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
    let synonyms = if request.include_synonyms {
        entry.given.iter().map(synonym).collect()
    } else {
        Vec::new()
    };
    DescribeConfigsResourceResult {
        name: entry.name,
        value: entry.value(),
        read_only: entry.read_only,
        config_source: entry.source(),
        is_sensitive: false,
        synonyms,
        config_type: entry.kind,
        documentation: request.include_documentation.then_some(entry.doc),
    }
}

fn synonym(given: &Synonym) -> DescribeConfigsSynonym<'_> {
    DescribeConfigsSynonym {
        name: given.name,
        value: Some(&given.value),
        source: given.source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{Advertise, Node};

    fn outcome(resource_type: i8, resource_name: &str, keys: Option<Vec<&str>>) -> Result<usize, i16> {
        let node = Node {
            native_port: 0,
            id: 0,
            host: "localhost".to_owned(),
            port: 9092,
        };
        let cluster = Cluster {
            id: "test".to_owned(),
            nodes: vec![node],
            advertise: Advertise::Single,
            shards: 1,
        };
        let resource = DescribeConfigsResource {
            resource_type,
            resource_name,
            configuration_keys: keys,
        };
        describe(&cluster, &Image::default(), &resource)
            .map(|entries| entries.len())
            .map_err(|fault| fault.code.code())
    }

    #[test]
    fn unknown_things_are_refused_as_kafka_does() {
        for (kind, name, code) in [
            (2, "nope", 3),
            (2, "a b", 17),
            (2, "", 17),
            (4, "99", 42),
            (4, "x", 42),
            (8, "", 42),
            (16, "", 42),
            (32, "", 42),
            (3, "x", 42),
            (64, "x", 42),
        ] {
            assert_eq!(outcome(kind, name, None), Err(code), "{kind} {name:?}");
        }
    }

    #[test]
    fn keys_asked_for_are_picked_and_unknown_ones_left_out() {
        assert_eq!(
            outcome(4, "0", Some(vec!["node.id", "nope", "log.retention.ms"])),
            Ok(2)
        );
        assert_eq!(outcome(4, "0", Some(vec![])), Ok(0));
        assert_eq!(outcome(4, "", None), Ok(0));
        assert_eq!(outcome(8, "0", None), Ok(1));
        assert_eq!(outcome(32, "group", None), Ok(2));
        assert_eq!(outcome(16, "metrics", None), Ok(0));
    }
}
