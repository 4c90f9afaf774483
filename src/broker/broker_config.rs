//! The broker's own configuration, as tools see and change it under Kafka's names.
//!
//! **Three layers.** The configuration file, fixed while the process runs ([`BrokerConfig::fixed`],
//! [`BrokerConfig::defaults`]); what was set at run time for all brokers ([`Scope::Cluster`], Kafka's empty broker name); and
//! what was set for a broker by its id ([`Scope::Node`]), which wins. All shards are one process, so what is set for one of
//! its nodes is set for each: with a node per core, `0` and `1` are two names of the same thing.
//!
//! **What can be changed** are the keys that give topics their defaults, and nothing else: [`crate::broker::topic::KEYS`]
//! names them. A change makes new settings for every topic that does not set the key itself, and travels to the shards with
//! the image, like everything they know. Kafka's throttles are taken and do nothing: nothing is replicated.
//!
//! Immutable once in an image; the control thread makes new ones. Durable in the metadata store.

mod keys;

pub use keys::{FIXED_KEYS, FixedKey};

use super::config_value::{ConfigType, Domain};
use super::topic::{self, ConfigKey, TopicDefaults, TopicSettings, behind};
use keys::THROTTLE_KEYS;
use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BrokerConfig {
    /// What topics get that do not say otherwise, by the configuration file.
    pub defaults: TopicDefaults,
    /// What the configuration file says that has a name in Kafka, by that name.
    pub fixed: BTreeMap<&'static str, String>,
    /// What is logged, as a filter; shown as the level of the root logger.
    pub log_filter: String,
    cluster: BTreeMap<String, String>,
    node: BTreeMap<String, String>,
}

/// For whom a setting was made at run time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// All brokers.
    Cluster,
    /// The nodes of this process.
    Node,
}

impl Scope {
    /// Both, the weaker first.
    pub const ALL: [Self; 2] = [Self::Cluster, Self::Node];

    /// Its name in the metadata store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Node => "node",
        }
    }
}

/// Why a setting of the broker is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BrokerConfigError {
    /// No such key.
    #[error("unknown broker config {0:?}")]
    Unknown(String),
    /// The configuration file has it.
    #[error("{0} is read at the start of the broker and cannot be changed while it runs")]
    Fixed(String),
    /// The value is not one the key takes.
    #[error("invalid value {value:?} for {key}: {expected}")]
    Value {
        /// The key.
        key: String,
        /// What was given.
        value: String,
        /// What it takes.
        expected: String,
    },
}

/// Where a value comes from, the weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File,
    /// Set at run time for all brokers.
    Cluster,
    /// Set at run time for this one.
    Node,
    /// Set on the topic.
    Topic,
}

/// One place that gives a key its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given {
    /// The key as it is called there.
    pub name: &'static str,
    /// The value there.
    pub value: String,
    /// Which place.
    pub origin: Origin,
}

/// A key with every place that gives it a value.
#[derive(Clone, PartialEq, Debug)]
pub struct Described {
    /// The key.
    pub name: &'static str,
    /// The strongest first; empty for a key without value.
    pub given: Vec<Given>,
    /// Type of its values.
    pub kind: ConfigType,
    /// Whether it cannot be changed while the broker runs.
    pub read_only: bool,
    /// One sentence.
    pub doc: &'static str,
}

impl BrokerConfig {
    /// What the configuration file says, with nothing set at run time.
    #[must_use]
    pub fn of_file(
        defaults: TopicDefaults,
        fixed: BTreeMap<&'static str, String>,
        log_filter: String,
    ) -> Self {
        Self {
            defaults,
            fixed,
            log_filter,
            ..Self::default()
        }
    }

    /// What was set at run time.
    #[must_use]
    pub fn set(&self, scope: Scope) -> &BTreeMap<String, String> {
        match scope {
            Scope::Cluster => &self.cluster,
            Scope::Node => &self.node,
        }
    }

    /// The same with other settings made at run time.
    #[must_use]
    pub fn with(mut self, scope: Scope, values: BTreeMap<String, String>) -> Self {
        match scope {
            Scope::Cluster => self.cluster = values,
            Scope::Node => self.node = values,
        }
        self
    }

    /// What a topic with these overrides comes to.
    #[must_use]
    pub fn topic_settings(&self, overrides: &BTreeMap<String, String>) -> TopicSettings {
        if self.cluster.is_empty() && self.node.is_empty() {
            return topic::settings(overrides, &self.defaults);
        }
        let set = |layer: &BTreeMap<String, String>| {
            let known = layer
                .iter()
                .filter_map(|(name, value)| Some((behind(name)?.name.to_owned(), value.clone())));
            known.collect::<Vec<_>>()
        };
        let mut values: BTreeMap<String, String> = set(&self.cluster).into_iter().collect();
        values.extend(set(&self.node));
        values.extend(overrides.clone());
        topic::settings(&values, &self.defaults)
    }

    /// The places that give a topic's key its value.
    #[must_use]
    pub fn describe_topic_key(
        &self,
        key: &'static ConfigKey,
        overrides: &BTreeMap<String, String>,
    ) -> Described {
        let mut given = Vec::with_capacity(2);
        if let Some(value) = overrides.get(key.name) {
            given.push(Given {
                name: key.name,
                value: value.clone(),
                origin: Origin::Topic,
            });
        }
        self.give_defaults(key, key.broker.unwrap_or(key.name), &mut given);
        Described {
            name: key.name,
            given,
            kind: key.domain.kind(),
            read_only: false,
            doc: key.doc,
        }
    }

    /// What a topic's key that is a list comes to; `None` for one that is not.
    #[must_use]
    pub fn topic_list(&self, name: &str, overrides: &BTreeMap<String, String>) -> Option<String> {
        let key = topic::key_of(name).filter(|key| key.domain.is_list())?;
        let described = self.describe_topic_key(key, overrides);
        described.given.into_iter().next().map(|given| given.value)
    }

    /// What a broker's key that is a list comes to for a scope; `None` for one that is not.
    #[must_use]
    pub fn list(&self, scope: Scope, name: &str) -> Option<String> {
        let key = behind(name).filter(|key| key.domain.is_list())?;
        let set = self.set(scope).get(name).cloned();
        Some(set.unwrap_or_else(|| (key.default)(&self.defaults)))
    }

    /// Every key of a broker, by name. `of_node` are values that belong to the node that is described.
    #[must_use]
    pub fn describe_node(&self, of_node: &BTreeMap<&'static str, String>) -> Vec<Described> {
        let fixed = FIXED_KEYS.iter().map(|key| {
            let value = of_node.get(key.name).or_else(|| self.fixed.get(key.name));
            describe_fixed(key, value)
        });
        let changeable = topic::KEYS
            .iter()
            .filter_map(|key| Some(self.describe_changeable(key, key.broker?)));
        let throttles = THROTTLE_KEYS
            .iter()
            .map(|name| self.describe_throttle(name))
            .filter(|throttle| !throttle.given.is_empty());
        let mut all: Vec<Described> = fixed.chain(changeable).chain(throttles).collect();
        all.sort_by_key(|described| described.name);
        all
    }

    /// What was set for all brokers.
    #[must_use]
    pub fn describe_cluster(&self) -> Vec<Described> {
        let mut all = self.describe_node(&BTreeMap::new());
        for described in &mut all {
            described.given.retain(|given| given.origin == Origin::Cluster);
        }
        all.retain(|described| !described.given.is_empty());
        all
    }

    fn describe_changeable(&self, key: &'static ConfigKey, name: &'static str) -> Described {
        let mut given = Vec::with_capacity(1);
        self.give_defaults(key, name, &mut given);
        Described {
            name,
            given,
            kind: key.domain.kind(),
            read_only: false,
            doc: key.doc,
        }
    }

    fn describe_throttle(&self, name: &'static str) -> Described {
        let mut given = Vec::new();
        self.give_set(name, &mut given);
        Described {
            name,
            given,
            kind: THROTTLE.kind(),
            read_only: false,
            doc: "Accepted for tools; nothing is replicated.",
        }
    }

    /// The places below the topic, strongest first.
    fn give_defaults(&self, key: &ConfigKey, name: &'static str, given: &mut Vec<Given>) {
        if key.broker.is_some() {
            self.give_set(name, given);
        }
        let (file, default) = (
            (key.default)(&self.defaults),
            (key.default)(&TopicDefaults::default()),
        );
        if file != default {
            given.push(Given {
                name,
                value: file,
                origin: Origin::File,
            });
        }
        given.push(Given {
            name,
            value: default,
            origin: Origin::Default,
        });
    }

    fn give_set(&self, name: &'static str, given: &mut Vec<Given>) {
        for (scope, origin) in [(Scope::Node, Origin::Node), (Scope::Cluster, Origin::Cluster)] {
            if let Some(value) = self.set(scope).get(name) {
                given.push(Given {
                    name,
                    value: value.clone(),
                    origin,
                });
            }
        }
    }
}

fn describe_fixed(key: &FixedKey, value: Option<&String>) -> Described {
    let mut given = Vec::with_capacity(1);
    if let Some(value) = value.filter(|value| Some(value.as_str()) != key.default) {
        given.push(Given {
            name: key.name,
            value: value.clone(),
            origin: Origin::File,
        });
    }
    if let Some(default) = key.default {
        given.push(Given {
            name: key.name,
            value: default.to_owned(),
            origin: Origin::Default,
        });
    }
    Described {
        name: key.name,
        given,
        kind: key.domain.kind(),
        read_only: true,
        doc: key.doc,
    }
}

/// Checks all that would be set at run time.
///
/// # Errors
/// [`BrokerConfigError`] for the first key or value that is not acceptable.
pub fn check(values: &BTreeMap<String, String>) -> Result<(), BrokerConfigError> {
    for (name, value) in values {
        domain(name)?
            .check(value)
            .map_err(|expected| BrokerConfigError::Value {
                key: name.clone(),
                value: value.clone(),
                expected,
            })?;
    }
    Ok(())
}

/// What values a key takes that can be changed.
fn domain(name: &str) -> Result<Domain, BrokerConfigError> {
    if let Some(key) = behind(name) {
        return Ok(key.domain);
    }
    if THROTTLE_KEYS.contains(&name) {
        return Ok(THROTTLE);
    }
    if FIXED_KEYS.iter().any(|key| key.name == name) {
        return Err(BrokerConfigError::Fixed(name.to_owned()));
    }
    Err(BrokerConfigError::Unknown(name.to_owned()))
}

/// A throttle is a number of bytes a second.
const THROTTLE: Domain = Domain::Long(0);

#[cfg(test)]
mod tests;
