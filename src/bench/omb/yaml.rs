//! A flat YAML mapping, taken apart key by key: what nobody asked for is known at the end.

use saphyr::{LoadableYamlNode as _, Yaml};

/// Why a workload or driver file cannot be run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OmbError {
    /// It is no YAML.
    #[error("not YAML: {0}")]
    Syntax(String),
    /// It is YAML, but no mapping of names to values.
    #[error("expected a mapping such as `topics: 1`")]
    NoMapping,
    /// A value makes no sense.
    #[error("{key}: expected {expected}, not {found}")]
    Value {
        /// Its name.
        key: String,
        /// What would do.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A value that has no default is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
}

/// The mapping's entries as text; nested values are kept as their debug form, only to be named.
pub(super) struct Entries(Vec<(String, Entry)>);

enum Entry {
    Text(String),
    Nested,
    Null,
}

impl Entries {
    pub(super) fn parse(text: &str) -> Result<Self, OmbError> {
        let documents = Yaml::load_from_str(text).map_err(|error| OmbError::Syntax(error.to_string()))?;
        let mapping = documents
            .first()
            .and_then(Yaml::as_mapping)
            .ok_or(OmbError::NoMapping)?;
        let entry = |(key, value): (&Yaml<'_>, &Yaml<'_>)| Some((scalar(key)?, Entry::of(value)));
        Ok(Self(mapping.iter().filter_map(entry).collect()))
    }

    /// Takes the text of `key`, if it is there and not null.
    pub(super) fn take(&mut self, key: &str) -> Result<Option<String>, OmbError> {
        let Some(at) = self.0.iter().position(|(name, _)| name == key) else {
            return Ok(None);
        };
        match self.0.swap_remove(at).1 {
            Entry::Text(text) => Ok(Some(text)),
            Entry::Null => Ok(None),
            Entry::Nested => Err(OmbError::Value {
                key: key.to_owned(),
                expected: "a plain value",
                found: "a list or mapping".to_owned(),
            }),
        }
    }

    /// Takes a value of type `T`.
    pub(super) fn take_as<T: std::str::FromStr>(
        &mut self,
        key: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, OmbError> {
        let parse = |text: String| {
            text.parse().map_err(|_| OmbError::Value {
                key: key.to_owned(),
                expected,
                found: text.clone(),
            })
        };
        self.take(key)?.map(parse).transpose()
    }

    /// The names that were not taken, sorted.
    pub(super) fn left(self) -> Vec<String> {
        let mut names: Vec<String> = self.0.into_iter().map(|(name, _)| name).collect();
        names.sort();
        names
    }
}

impl Entry {
    fn of(value: &Yaml<'_>) -> Self {
        if value.is_null() {
            Self::Null
        } else {
            scalar(value).map_or(Self::Nested, Self::Text)
        }
    }
}

/// A scalar as it would be written.
fn scalar(value: &Yaml<'_>) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    if let Some(number) = value.as_integer() {
        return Some(number.to_string());
    }
    if let Some(number) = value.as_floating_point() {
        return Some(number.to_string());
    }
    value.as_bool().map(|flag| flag.to_string())
}
