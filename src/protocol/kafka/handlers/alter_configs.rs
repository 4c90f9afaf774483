//! AlterConfigs: a configuration is replaced; what is not given goes back to its default.
//!
//! The older way, which old tools still use. See [`alter`] for what it shares with the newer one.

use super::Fault;
use super::configs::alter::{self, Wanted, alter_all, check_unique, invalid};
use crate::broker::config_change::Alteration;
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::messages::{AlterConfigsRequest, AlterConfigsResponse, ReplacedConfigs};

/// Replaces the configurations one after the other.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: AlterConfigsRequest<'_> = call.decode()?;
    let wanted = request.resources.iter().map(|resource| Wanted {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        alteration: alteration(resource),
    });
    let outcomes = alter_all(&call, wanted.collect(), request.validate_only).await;
    Ok(call.answer(AlterConfigsResponse {
        throttle_time_ms: 0,
        responses: outcomes.iter().map(alter::response).collect(),
    }))
}

fn alteration(resource: &ReplacedConfigs<'_>) -> Result<Alteration, Fault> {
    check_unique(resource.configs.iter().map(|config| config.name))?;
    let values: Result<_, _> = resource
        .configs
        .iter()
        .map(|config| {
            let value = config
                .value
                .map(|value| (config.name.to_owned(), value.to_owned()));
            value.ok_or_else(|| invalid(format!("{} comes without a value", config.name)))
        })
        .collect();
    values.map(Alteration::All)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::kafka::messages::ReplacedConfig;

    fn code(configs: &[(&'static str, Option<&'static str>)]) -> i16 {
        let configs = configs
            .iter()
            .map(|&(name, value)| ReplacedConfig { name, value });
        let resource = ReplacedConfigs {
            resource_type: 2,
            resource_name: "events",
            configs: configs.collect(),
        };
        alteration(&resource).map_or_else(|fault| fault.code.code(), |_| 0)
    }

    #[test]
    fn every_key_comes_once_and_with_a_value() {
        assert_eq!(code(&[]), 0);
        assert_eq!(code(&[("a", Some("1")), ("b", Some(""))]), 0);
        assert_eq!(code(&[("a", None)]), 42);
        assert_eq!(code(&[("a", Some("1")), ("a", Some("2"))]), 42);
    }
}
