//! Changing configurations, for both APIs that do: which resource is meant, and what became of each.
//!
//! **Resources.** Topics; the broker by the id of any of its nodes, or, with the empty name, all brokers. The levels of
//! loggers and the times of groups stand in the configuration file; client metrics have nothing that could be set.
//!
//! All keys of a resource change together or none does; each resource for itself, one after the other. A resource named
//! twice, or a key named twice within one, is refused. What the values may be, the control thread judges.

use crate::base::hash::{HashMap, HashSet};

use super::super::{Fault, code_and_message, has_node};
use crate::broker::broker_config::Scope;
use crate::broker::config_change::Alteration;
use crate::broker::topic::check_name;
use crate::protocol::kafka::call::Call;
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{AlterConfigsResourceResponse, RESOURCE_BROKER, RESOURCE_TOPIC};
use crate::shard::Cluster;
use crate::shard::request::{AlterConfigs, ConfigResource, ControlRequest};

/// One resource of a request, and what is asked for it: read when its turn comes.
pub(in crate::protocol::kafka::handlers) struct Wanted<'a> {
    /// Kafka's number for the type.
    pub(in crate::protocol::kafka::handlers) resource_type: i8,
    /// Its name.
    pub(in crate::protocol::kafka::handlers) resource_name: &'a str,
    /// What to change, or why the request makes no sense.
    pub(in crate::protocol::kafka::handlers) alteration: Result<Alteration, Fault>,
}

/// Changes the resources and says what became of each, in the order they were named first.
pub(in crate::protocol::kafka::handlers) async fn alter_all<'a>(
    call: &Call,
    wanted: Vec<Wanted<'a>>,
    validate_only: bool,
) -> Vec<(i8, &'a str, Result<(), Fault>)> {
    let mut times_named: HashMap<(i8, &str), usize> = HashMap::default();
    for one in &wanted {
        *times_named
            .entry((one.resource_type, one.resource_name))
            .or_default() += 1;
    }
    let mut outcomes = Vec::with_capacity(times_named.len());
    for one in wanted {
        let (kind, name) = (one.resource_type, one.resource_name);
        let outcome = match times_named.remove(&(kind, name)) {
            Some(1) => alter(call, one, validate_only).await,
            Some(_) => Err(invalid("the resource is named more than once")),
            None => continue,
        };
        if outcome.is_err() {
            call.count_error();
        }
        outcomes.push((kind, name, outcome));
    }
    outcomes
}

/// The same in Kafka's words.
pub(in crate::protocol::kafka::handlers) fn response<'a>(
    (resource_type, resource_name, outcome): &'a (i8, &'a str, Result<(), Fault>),
) -> AlterConfigsResourceResponse<'a> {
    let (error_code, error_message) = code_and_message(outcome);
    AlterConfigsResourceResponse {
        error_code,
        error_message,
        resource_type: *resource_type,
        resource_name,
    }
}

async fn alter(call: &Call, wanted: Wanted<'_>, validate_only: bool) -> Result<(), Fault> {
    let request = AlterConfigs {
        resource: resource(call.shard.cluster(), wanted.resource_type, wanted.resource_name)?,
        alteration: wanted.alteration?,
        validate_only,
    };
    call.shard.control(ControlRequest::AlterConfigs(request)).await?;
    Ok(())
}

/// What is meant by a type and a name.
fn resource(cluster: &Cluster, resource_type: i8, name: &str) -> Result<ConfigResource, Fault> {
    match resource_type {
        RESOURCE_TOPIC if name.is_empty() => Err(invalid("topics have no common configuration to change")),
        RESOURCE_TOPIC => {
            check_name(name)?;
            Ok(ConfigResource::Topic(name.to_owned()))
        }
        RESOURCE_BROKER if name.is_empty() => Ok(ConfigResource::Broker(Scope::Cluster)),
        RESOURCE_BROKER => {
            node_id(cluster, name)?;
            Ok(ConfigResource::Broker(Scope::Node))
        }
        other => Err(invalid(format!(
            "resources of type {other} have no configuration that can be changed"
        ))),
    }
}

/// The id of a node, given as text.
pub(in crate::protocol::kafka::handlers) fn node_id(cluster: &Cluster, name: &str) -> Result<i32, Fault> {
    let id: i32 = name
        .parse()
        .map_err(|_| invalid(format!("{name:?} is not the id of a broker")))?;
    if has_node(cluster, id) {
        return Ok(id);
    }
    Err(invalid(format!("no broker has the id {id}")))
}

/// Refuses a key that is named twice.
pub(in crate::protocol::kafka::handlers) fn check_unique<'a>(
    mut keys: impl Iterator<Item = &'a str>,
) -> Result<(), Fault> {
    let mut named = HashSet::default();
    if keys.all(|key| named.insert(key)) {
        return Ok(());
    }
    Err(invalid("a key is named more than once"))
}

/// A request that makes no sense.
pub(in crate::protocol::kafka::handlers) fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(ErrorCode::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::kafka::handlers::testing::cluster;

    #[test]
    fn topics_and_brokers_can_be_changed_and_nothing_else() {
        let found = |kind, name| resource(&cluster(), kind, name).map_err(|fault| fault.code.code());
        assert_eq!(found(2, "t"), Ok(ConfigResource::Topic("t".to_owned())));
        assert_eq!(found(4, ""), Ok(ConfigResource::Broker(Scope::Cluster)));
        assert_eq!(found(4, "1"), Ok(ConfigResource::Broker(Scope::Node)));
        for (kind, name, code) in [
            (2, "", 42),
            (2, "a b", 17),
            (4, "2", 42),
            (4, "x", 42),
            (8, "0", 42),
            (16, "m", 42),
            (32, "g", 42),
            (0, "x", 42),
        ] {
            assert_eq!(found(kind, name), Err(code), "{kind} {name:?}");
        }
    }

    #[test]
    fn keys_are_named_once() {
        assert!(check_unique(["a", "b"].into_iter()).is_ok());
        assert!(check_unique(["a", "b", "a"].into_iter()).is_err());
    }
}
