//! What people write: configuration and patterns of topics.

use std::path::PathBuf;

use crate::broker::group::consumer::pattern::TopicPattern;
use crate::server::config::text::{Origins, in_force};
use crate::server::config::{Sources, load};

/// Between the parts of an input: a character that nobody types.
const SEPARATOR: char = '\x1e';

/// A configuration: `file RS environment, a NAME=value a line, RS assignments, one a line`.
///
/// It is refused with reasons, or taken; and what is taken is written as a file that says the same.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split(SEPARATOR);
    let mut part = || parts.next().unwrap_or_default();
    let file = part();
    let environment = part().lines().filter_map(|line| line.split_once('='));
    let sources = Sources {
        file: Some((PathBuf::from("fuzz.toml"), file.to_owned())),
        environment: environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        assignments: part().lines().map(str::to_owned).collect(),
        ..Sources::default()
    };
    match load(&sources) {
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a reason");
            for error in errors {
                assert!(!error.to_string().is_empty());
            }
        }
        Ok(loaded) => {
            for origins in [Origins::Hidden, Origins::Shown] {
                let written = in_force(&loaded, origins);
                let sources = Sources {
                    file: Some((PathBuf::from("again.toml"), written.clone())),
                    ..Sources::default()
                };
                match load(&sources) {
                    Ok(again) => assert_eq!(again.config, loaded.config),
                    Err(errors) => panic!("{errors:?} in what we wrote:\n{written}"),
                }
            }
        }
    }
}

/// A consumer's pattern and names to match: `pattern RS name RS ..`.
pub fn topic_pattern(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split(SEPARATOR);
    let source = parts.next().unwrap_or_default();
    let Ok(pattern) = TopicPattern::new(source) else {
        return;
    };
    let is_plain = source
        .chars()
        .all(|char| char.is_ascii_alphanumeric() || char == '_' || char == '-');
    for name in parts.chain(["orders", source]) {
        let matches = pattern.matches(name);
        assert!(
            !is_plain || matches == (name == source),
            "{source:?} and {name:?}"
        );
    }
    // Quoted, it means itself.
    if !source.contains('\\')
        && let Ok(quoted) = TopicPattern::new(&format!("\\Q{source}\\E"))
    {
        assert!(quoted.matches(source), "{source:?} quoted");
    }
}
