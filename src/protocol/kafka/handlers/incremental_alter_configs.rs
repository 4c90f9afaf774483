//! IncrementalAlterConfigs: some keys are set, grow, shrink or go back to their default; the others stay.
//!
//! A value must come with every operation but the removal of a key. See [`alter`] for the rest.

use super::Fault;
use super::configs::alter::{self, Wanted, alter_all, check_unique, invalid};
use crate::broker::config_change::{Alteration, ConfigChange, ConfigOperation};
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::messages::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    OPERATION_APPEND, OPERATION_DELETE, OPERATION_SET, OPERATION_SUBTRACT,
};

/// Changes the resources one after the other.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: IncrementalAlterConfigsRequest<'_> = call.decode()?;
    let wanted = request.resources.iter().map(|resource| Wanted {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        alteration: alteration(resource),
    });
    let outcomes = alter_all(&call, wanted.collect(), request.validate_only).await;
    Ok(call.answer(IncrementalAlterConfigsResponse {
        throttle_time_ms: 0,
        responses: outcomes.iter().map(alter::response).collect(),
    }))
}

fn alteration(resource: &AlterConfigsResource<'_>) -> Result<Alteration, Fault> {
    check_unique(resource.configs.iter().map(|config| config.name))?;
    let changes: Result<Vec<_>, _> = resource.configs.iter().map(change).collect();
    changes.map(Alteration::Some)
}

fn change(config: &AlterableConfig<'_>) -> Result<ConfigChange, Fault> {
    let value = || {
        let value = config.value.map(str::to_owned);
        value.ok_or_else(|| invalid(format!("{} comes without a value", config.name)))
    };
    let operation = match config.config_operation {
        OPERATION_SET => ConfigOperation::Set(value()?),
        OPERATION_DELETE => ConfigOperation::Delete,
        OPERATION_APPEND => ConfigOperation::Append(value()?),
        OPERATION_SUBTRACT => ConfigOperation::Subtract(value()?),
        other => return Err(invalid(format!("{other} is not an operation"))),
    };
    Ok(ConfigChange {
        key: config.name.to_owned(),
        operation,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(configs: &[(&'static str, i8, Option<&'static str>)]) -> i16 {
        let configs = configs
            .iter()
            .map(|&(name, config_operation, value)| AlterableConfig {
                name,
                config_operation,
                value,
            });
        let resource = AlterConfigsResource {
            resource_type: 2,
            resource_name: "events",
            configs: configs.collect(),
        };
        alteration(&resource).map_or_else(|fault| fault.code.code(), |_| 0)
    }

    #[test]
    fn only_a_removal_comes_without_a_value() {
        assert_eq!(code(&[]), 0);
        assert_eq!(
            code(&[("a", 0, Some("1")), ("b", 1, None), ("c", 1, Some("1"))]),
            0
        );
        assert_eq!(code(&[("a", 2, Some("1")), ("b", 3, Some("1"))]), 0);
        for operation in [0, 2, 3] {
            assert_eq!(code(&[("a", operation, None)]), 42, "{operation}");
        }
        assert_eq!(code(&[("a", 4, Some("1"))]), 42);
        assert_eq!(code(&[("a", 0, Some("1")), ("a", 1, None)]), 42);
    }
}
