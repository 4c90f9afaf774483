//! What a change of a configuration comes to: the texts that are set now, and what a client wants done to them.
//!
//! Kafka's rules: a change names each key once; adding to a list puts in what is not there yet, after what the key comes to
//! now (its default included); taking away what is not there is no fault; removing a key that is not set is none either.
//! What comes out still has to be checked key by key. Pure; the control thread, which serializes all changes.

use super::config_value::items;
use std::collections::BTreeMap;

/// One key and what to do to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigChange {
    /// The key.
    pub key: String,
    /// What to do.
    pub operation: ConfigOperation,
}

/// What to do to a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigOperation {
    /// Give it this value.
    Set(String),
    /// Take its value away, so that the default holds.
    Delete,
    /// Add these items to the list it is.
    Append(String),
    /// Take these items off the list it is.
    Subtract(String),
}

/// What a client wants to have changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Alteration {
    /// Some keys; the others stay.
    Some(Vec<ConfigChange>),
    /// All: what is not given is not set any more.
    All(BTreeMap<String, String>),
}

/// A key that is no list was to be added to, or taken from.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key} is not a list to add to or take from")]
pub struct NotAList {
    /// The key.
    pub key: String,
}

impl Alteration {
    /// Carries it out on what is set now. `list` tells of a key that is a list what it comes to now, and of any other
    /// nothing.
    ///
    /// # Errors
    /// [`NotAList`].
    pub fn apply(
        &self,
        current: &BTreeMap<String, String>,
        list: impl Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, String>, NotAList> {
        let changes = match self {
            Self::All(values) => return Ok(values.clone()),
            Self::Some(changes) => changes,
        };
        let mut values = current.clone();
        for ConfigChange { key, operation } in changes {
            let now = || list(key).ok_or_else(|| NotAList { key: key.clone() });
            let value = match operation {
                ConfigOperation::Set(value) => Some(value.clone()),
                ConfigOperation::Delete => None,
                ConfigOperation::Append(more) => Some(with(&now()?, more)),
                ConfigOperation::Subtract(less) => Some(without(&now()?, less)),
            };
            match value {
                Some(value) => values.insert(key.clone(), value),
                None => values.remove(key),
            };
        }
        Ok(values)
    }
}

fn with(list: &str, more: &str) -> String {
    let mut all: Vec<&str> = items(list).collect();
    for item in items(more) {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    all.join(",")
}

fn without(list: &str, less: &str) -> String {
    let less: Vec<&str> = items(less).collect();
    let left: Vec<&str> = items(list).filter(|item| !less.contains(item)).collect();
    left.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(current: &[(&str, &str)], key: &str, operation: ConfigOperation) -> Result<String, NotAList> {
        let current: BTreeMap<_, _> = current
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let list = |name: &str| {
            let set = current.get(name).cloned();
            (name == "list").then(|| set.unwrap_or_else(|| "default".to_owned()))
        };
        let change = ConfigChange {
            key: key.to_owned(),
            operation,
        };
        let values = Alteration::Some(vec![change]).apply(&current, list)?;
        Ok(format!("{values:?}"))
    }

    fn text(value: &str) -> String {
        value.to_owned()
    }

    #[test]
    fn keys_are_set_and_removed() {
        let set = ConfigOperation::Set(text("2"));
        assert_eq!(
            applied(&[("a", "1")], "b", set).unwrap(),
            r#"{"a": "1", "b": "2"}"#
        );
        assert_eq!(
            applied(&[("a", "1")], "a", ConfigOperation::Delete).unwrap(),
            "{}"
        );
        assert_eq!(applied(&[], "never", ConfigOperation::Delete).unwrap(), "{}");
    }

    #[test]
    fn lists_grow_from_their_default_and_shrink_to_nothing() {
        let append = |current, items| applied(current, "list", ConfigOperation::Append(text(items)));
        assert_eq!(append(&[], "new").unwrap(), r#"{"list": "default,new"}"#);
        assert_eq!(
            append(&[("list", "x, y")], "y,z").unwrap(),
            r#"{"list": "x,y,z"}"#
        );
        let subtract = |current, items| applied(current, "list", ConfigOperation::Subtract(text(items)));
        assert_eq!(subtract(&[("list", "x,y")], "x,q").unwrap(), r#"{"list": "y"}"#);
        assert_eq!(subtract(&[], "default").unwrap(), r#"{"list": ""}"#);
        assert!(applied(&[], "a", ConfigOperation::Append(text("1"))).is_err());
    }

    #[test]
    fn replacing_forgets_what_is_not_given() {
        let current = BTreeMap::from([(text("a"), text("1"))]);
        let wanted = BTreeMap::from([(text("b"), text("2"))]);
        let values = Alteration::All(wanted.clone()).apply(&current, |_| None);
        assert_eq!(values, Ok(wanted));
    }
}
