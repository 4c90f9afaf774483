//! Filling a [`Config`] from its sources, in order, remembering where each value came from.
//!
//! A pure function of the file's text, the environment and the flags: nothing here opens a file or reads the
//! process's environment, so precedence and every error message are tested without either. Reading goes on after an
//! error, so that one run reports all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Value;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::field::ENV_PREFIX;
use super::text::closest_key;
use super::{Config, Field};

/// Where values are taken from. Later members win over earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Start from the development defaults.
    pub profile: Profile,
    /// The file: its path, for messages, and its text.
    pub file: Option<(PathBuf, String)>,
    /// The environment; what does not start with `CORELOG_` is ignored.
    pub environment: Vec<(String, String)>,
    /// The arguments of `--set`, each `key=value`.
    pub assignments: Vec<String>,
    /// Settings with a flag of their own: flag, key, value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

/// Which defaults to begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// The documented defaults.
    #[default]
    Standard,
    /// `--dev`: one core, little memory, talkative logs. Durability is the same.
    Development,
}

/// What differs from the defaults with `--dev`. Nothing here may touch durability.
const DEVELOPMENT: [(&str, &str); 4] = [
    ("cores", "any:1"),
    ("memory", "64MiB"),
    ("log_format", "pretty"),
    ("log_level", "info,corelog=debug"),
];

/// How serde begins its answer when a setting is no text at all.
const WRONG_TYPE: &str = "invalid type: string";

/// Environment variables with our prefix that are not settings: they belong to the command line itself.
const NOT_SETTINGS: [&str; 2] = ["CORELOG_BROKERS", "CORELOG_CONFIG"];

/// Where a value came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    #[default]
    Default,
    /// `--dev`.
    Development,
    /// The file.
    File(Place),
    /// An environment variable.
    Environment(String),
    /// `--set`.
    Assignment,
    /// A flag with a name of its own.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Development => f.write_str("--dev"),
            Self::File(place) => place.fmt(f),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Assignment => f.write_str("--set"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A place in a file, counted from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// One reason why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where reading stopped.
        place: Place,
        /// What was expected.
        message: String,
    },
    /// There is no such setting.
    #[error("{origin}: unknown setting \"{key}\"{}", suggest(.suggestion.as_deref()))]
    UnknownKey {
        /// Where it was written.
        origin: Origin,
        /// What was written.
        key: String,
        /// The setting that was probably meant.
        suggestion: Option<String>,
    },
    /// The value cannot be read.
    #[error("{origin}: {key}: {message} (expected {unit})")]
    BadValue {
        /// Where it was written.
        origin: Origin,
        /// The setting.
        key: String,
        /// What is wrong with the value.
        message: String,
        /// What the value is written in.
        unit: &'static str,
    },
    /// `--set` without a `=`.
    #[error("--set {text}: write it as section.name=value")]
    NotAnAssignment {
        /// What was written.
        text: String,
    },
    /// The values do not go together.
    #[error("{origin}: {key}: {message}")]
    Unsound {
        /// Where the value came from.
        origin: Origin,
        /// The setting.
        key: String,
        /// What is wrong and what would be right.
        message: String,
    },
}

fn suggest(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(
        || ": `corelog config default` lists them all".to_owned(),
        |key| format!(": did you mean \"{key}\"?"),
    )
}

/// A configuration that may be used, and where each of its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Origin by key; a key that is missing has its default.
    pub origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Where the value of `key` came from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or_default()
    }
}

/// Fills a configuration from `sources` and checks it; every problem there is, in the order of the sources.
pub fn load(sources: &Sources) -> Result<Loaded, Vec<ConfigError>> {
    let mut loader = Loader::default();
    if sources.profile == Profile::Development {
        for (key, text) in DEVELOPMENT {
            loader.set_text(key, text, &Origin::Development);
        }
    }
    if let Some((path, text)) = &sources.file {
        loader.read_file(path, text);
    }
    loader.read_environment(&sources.environment);
    for text in &sources.assignments {
        match text.split_once('=') {
            Some((key, value)) => loader.set_text(key.trim(), value, &Origin::Assignment),
            None => loader
                .errors
                .push(ConfigError::NotAnAssignment { text: text.clone() }),
        }
    }
    for (flag, key, value) in &sources.flags {
        loader.set_text(key, value, &Origin::Flag(flag));
    }
    loader.finish()
}

#[derive(Default)]
struct Loader {
    config: Config,
    origins: BTreeMap<String, Origin>,
    errors: Vec<ConfigError>,
}

impl Loader {
    fn finish(mut self) -> Result<Loaded, Vec<ConfigError>> {
        let loaded = Loaded {
            config: self.config,
            origins: self.origins,
        };
        // Values that could not be read kept their defaults, so what does not fit with them is no news.
        if self.errors.is_empty() {
            self.errors.extend(
                loaded
                    .config
                    .check()
                    .into_iter()
                    .map(|problem| ConfigError::Unsound {
                        origin: loaded.origin(problem.key),
                        key: problem.key.to_owned(),
                        message: problem.message,
                    }),
            );
        }
        if self.errors.is_empty() {
            Ok(loaded)
        } else {
            Err(self.errors)
        }
    }

    fn read_file(&mut self, path: &Path, text: &str) {
        let file = SourceFile { path, text };
        match DeTable::parse(text) {
            Ok(table) => self.read_table(&file, "", table.get_ref()),
            Err(error) => self.errors.push(ConfigError::Syntax {
                place: file.place(&error.span().unwrap_or(0..0)),
                message: error.message().to_owned(),
            }),
        }
    }

    fn read_table(&mut self, file: &SourceFile<'_>, section: &str, table: &DeTable<'_>) {
        // The parser hands entries out by name; people read errors from top to bottom.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let key = if section.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{section}.{name}", name = name.get_ref())
            };
            match value.get_ref() {
                DeValue::Table(inner) if section.is_empty() && is_section(&key) => {
                    self.read_table(file, &key, inner);
                }
                _ if is_section(&key) => {
                    let message = format!("is a section: write [{key}] and its settings below");
                    self.bad_value(&key, message, &Origin::File(file.place(&value.span())));
                }
                _ if find(&key).is_none() => {
                    self.unknown(&Origin::File(file.place(&name.span())), &key);
                }
                _ => {
                    let origin = Origin::File(file.place(&value.span()));
                    match file.value(&value.span()) {
                        Ok(value) => self.set(&key, value, &origin),
                        Err(message) => self.bad_value(&key, message, &origin),
                    }
                }
            }
        }
    }

    fn read_environment(&mut self, environment: &[(String, String)]) {
        let ours = environment
            .iter()
            .filter(|(name, _)| name.starts_with(ENV_PREFIX) && !NOT_SETTINGS.contains(&name.as_str()));
        for (name, text) in ours {
            let key = name[ENV_PREFIX.len()..].replace("__", ".").to_ascii_lowercase();
            // Without a section it may be somebody else's; a near miss is still taken for a mistake.
            let is_ours = key.contains('.') || find(&key).is_some() || closest_key(&key).is_some();
            if is_ours {
                self.set_text(&key, text, &Origin::Environment(name.clone()));
            }
        }
    }

    /// Sets `key` from text that has no TOML quotes around it: as a string if the setting takes one, else as the
    /// TOML value the text spells.
    fn set_text(&mut self, key: &str, text: &str, origin: &Origin) {
        let Some(field) = find(key) else {
            self.unknown(origin, key);
            return;
        };
        let as_string = match (field.set)(&mut self.config, Value::String(text.to_owned())) {
            Ok(()) => return self.remember(key, origin),
            Err(message) => message,
        };
        // A setting that takes text has said what is wrong with this text; the others have yet to see the value.
        let takes_text = !as_string.starts_with(WRONG_TYPE);
        match parse_value(text) {
            Ok(value) if !value.is_str() && (field.set)(&mut self.config, value.clone()).is_ok() => {
                self.remember(key, origin);
            }
            Ok(value) if !value.is_str() && !takes_text => self.set(key, value, origin),
            _ => self.bad_value(key, as_string, origin),
        }
    }

    fn set(&mut self, key: &str, value: Value, origin: &Origin) {
        let Some(field) = find(key) else {
            self.unknown(origin, key);
            return;
        };
        match (field.set)(&mut self.config, value) {
            Ok(()) => self.remember(key, origin),
            Err(message) => self.bad_value(key, message, origin),
        }
    }

    fn remember(&mut self, key: &str, origin: &Origin) {
        self.origins.insert(key.to_owned(), origin.clone());
    }

    fn unknown(&mut self, origin: &Origin, key: &str) {
        let suggestion = closest_key(key);
        self.errors.push(ConfigError::UnknownKey {
            origin: origin.clone(),
            key: key.to_owned(),
            suggestion,
        });
    }

    fn bad_value(&mut self, key: &str, message: String, origin: &Origin) {
        let unit = find(key).map_or("a table", |field| field.unit);
        self.errors.push(ConfigError::BadValue {
            origin: origin.clone(),
            key: key.to_owned(),
            message,
            unit,
        });
    }
}

fn find(key: &str) -> Option<&'static Field> {
    Config::fields().find(|field| field.key() == key)
}

fn is_section(name: &str) -> bool {
    Config::fields().any(|field| field.section == name)
}

fn parse_value(text: &str) -> Result<Value, String> {
    let deserializer = ValueDeserializer::parse(text).map_err(|error| error.message().to_owned())?;
    Value::deserialize(deserializer).map_err(|error| error.message().to_owned())
}

struct SourceFile<'a> {
    path: &'a Path,
    text: &'a str,
}

impl SourceFile<'_> {
    /// The value written at `span`.
    fn value(&self, span: &Range<usize>) -> Result<Value, String> {
        parse_value(self.text.get(span.clone()).unwrap_or_default())
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::base::units::ByteSize;
    use crate::server::config::{Advertise, CoreSet};

    fn with_file(text: &str) -> Sources {
        Sources {
            file: Some((PathBuf::from("corelog.toml"), text.to_owned())),
            ..Sources::default()
        }
    }

    fn check_errors(sources: &Sources, expected: &Expect) {
        let errors = load(sources).unwrap_err();
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn flags_win_over_assignments_over_environment_over_file() {
        let mut sources = with_file("memory = \"1GiB\"\n[kafka]\nnum_partitions = 2\nin_flight_max = 3\n");
        let memory = |sources: &Sources| {
            let loaded = load(sources).unwrap();
            (loaded.config.memory, loaded.origin("memory").to_string())
        };
        assert_eq!(
            memory(&sources),
            (ByteSize::gib(1), "corelog.toml:1:10".to_owned())
        );
        sources.environment = vec![("CORELOG_MEMORY".to_owned(), "512MiB".to_owned())];
        assert_eq!(
            memory(&sources),
            (ByteSize::mib(512), "environment CORELOG_MEMORY".to_owned())
        );
        sources.assignments = vec!["memory=128MiB".to_owned()];
        assert_eq!(memory(&sources), (ByteSize::mib(128), "--set".to_owned()));
        sources.flags = vec![("--memory", "memory", "64MiB".to_owned())];
        assert_eq!(memory(&sources), (ByteSize::mib(64), "--memory".to_owned()));

        let loaded = load(&sources).unwrap();
        assert_eq!(loaded.config.kafka.num_partitions, 2);
        assert_eq!(
            loaded.origin("kafka.num_partitions").to_string(),
            "corelog.toml:3:18"
        );
        assert_eq!(loaded.origin("kafka.listen"), Origin::Default);
    }

    #[test]
    fn text_is_read_as_the_setting_needs_it() {
        let sources = Sources {
            environment: vec![
                ("CORELOG_KAFKA__AUTO_CREATE_TOPICS".to_owned(), "false".to_owned()),
                ("CORELOG_KAFKA__ADVERTISED_HOST".to_owned(), "10".to_owned()),
                ("CORELOG_BROKERS".to_owned(), "elsewhere:9092".to_owned()),
                ("CORELOG_SEED".to_owned(), "7".to_owned()),
                ("PATH".to_owned(), "/bin".to_owned()),
            ],
            assignments: vec![
                "kafka.advertise=single".to_owned(),
                "log.retention_bytes=-1".to_owned(),
                "log.max_message_bytes=1000000".to_owned(),
                "runtime.poll_budget_us=50".to_owned(),
                "cores=0-1".to_owned(),
            ],
            ..Sources::default()
        };
        let config = load(&sources).unwrap().config;
        assert!(!config.kafka.auto_create_topics);
        assert_eq!(config.kafka.advertised_host, "10");
        assert_eq!(config.kafka.advertise, Advertise::Single);
        assert_eq!(config.log.retention_bytes.0, None);
        assert_eq!(config.log.max_message_bytes, ByteSize::new(1_000_000));
        assert_eq!(config.runtime.poll_budget_us, 50);
        assert_eq!(config.cores, CoreSet::List(vec![0, 1]));
    }

    #[test]
    fn development_defaults_give_way_to_everything_and_keep_durability() {
        let mut sources = with_file("memory = \"32MiB\"");
        sources.profile = Profile::Development;
        let loaded = load(&sources).unwrap();
        assert_eq!(loaded.config.memory, ByteSize::mib(32));
        assert_eq!(loaded.config.cores, CoreSet::Any(1));
        assert_eq!(loaded.origin("cores"), Origin::Development);
        assert_eq!(loaded.config.log, Config::default().log);
        assert_eq!(loaded.config.runtime, Config::default().runtime);
    }

    #[test]
    fn unknown_keys_name_their_place_and_a_likely_meaning() {
        let mut sources = with_file(
            "# comment\nmemmory = \"1GiB\"\n[kafka]\nlistn = \"x\"\n[kafak]\nlisten = \"x\"\n[log]\nadvertise = 1\nzzz = 2\n",
        );
        sources.environment = vec![
            ("CORELOG_LOG__SEGMENT_SIZE".to_owned(), "1".to_owned()),
            ("CORELOG_MEMROY".to_owned(), "1".to_owned()),
        ];
        sources.assignments = vec!["segment_bytes=1MiB".to_owned(), "memory".to_owned()];
        check_errors(
            &sources,
            &expect![[r#"
                corelog.toml:2:1: unknown setting "memmory": did you mean "memory"?
                corelog.toml:4:1: unknown setting "kafka.listn": did you mean "kafka.listen"?
                corelog.toml:5:2: unknown setting "kafak": `corelog config default` lists them all
                corelog.toml:8:1: unknown setting "log.advertise": did you mean "kafka.advertise"?
                corelog.toml:9:1: unknown setting "log.zzz": `corelog config default` lists them all
                environment CORELOG_LOG__SEGMENT_SIZE: unknown setting "log.segment_size": did you mean "log.segment_bytes"?
                environment CORELOG_MEMROY: unknown setting "memroy": did you mean "memory"?
                --set: unknown setting "segment_bytes": did you mean "log.segment_bytes"?
                --set memory: write it as section.name=value"#]],
        );
    }

    #[test]
    fn bad_values_name_their_place_and_what_would_be_right() {
        let mut sources = with_file(
            "memory = \"lots\"\ninsecure = \"yes\"\n[kafka]\nlisten = 9092\nadvertise = \"both\"\n\
             max_connections = -1\nidle_timeout = 30\n[log]\nretention_bytes = -5\nretention_ms = [1]\n",
        );
        sources.assignments = vec!["cores=3-1".to_owned(), "kafka.in_flight_max=many".to_owned()];
        sources.flags = vec![("--kafka", "kafka.listen", "9092".to_owned())];
        check_errors(
            &sources,
            &expect![[r#"
                corelog.toml:1:10: memory: expected a whole number with a unit, such as 512MiB or 30s (expected size)
                corelog.toml:2:12: insecure: invalid type: string "yes", expected a boolean (expected true|false)
                corelog.toml:4:10: kafka.listen: invalid type: integer `9092`, expected a string (expected ip:port)
                corelog.toml:5:13: kafka.advertise: unknown variant `both`, expected `per-core` or `single` (expected per-core|single)
                corelog.toml:6:19: kafka.max_connections: invalid value: integer `-1`, expected u32 (expected count)
                corelog.toml:7:16: kafka.idle_timeout: invalid type: integer `30`, expected a duration with its unit, such as "30s" or "500ms" (expected duration)
                corelog.toml:9:19: log.retention_bytes: invalid value: integer `-5`, expected a size such as "10GiB", a number of bytes, or -1 for no limit (expected size|-1)
                corelog.toml:10:16: log.retention_ms: invalid type: sequence, expected a number of milliseconds, a duration such as "7d", or -1 for no limit (expected milliseconds|duration|-1)
                --set: cores: "3-1" is not a core or a range of cores: write all, any:2, or a list such as 0-3,6 (expected cores)
                --set: kafka.in_flight_max: invalid type: string "many", expected u32 (expected count)
                --kafka: kafka.listen: "9092" is not an address to listen on: write ip:port, such as 127.0.0.1:9092 or [::]:9092 (expected ip:port)"#]],
        );
    }

    #[test]
    fn broken_toml_names_line_and_column() {
        check_errors(
            &with_file("memory = \"1GiB\"\n[kafka\nlisten = 1\n"),
            &expect!["corelog.toml:2:7: unclosed table, expected `]`"],
        );
        check_errors(
            &with_file("kafka = 5\n"),
            &expect![
                "corelog.toml:1:9: kafka: is a section: write [kafka] and its settings below (expected a table)"
            ],
        );
    }

    #[test]
    fn values_that_do_not_go_together_name_where_they_came_from() {
        let sources = with_file(
            "memory = \"16MiB\"\n[kafka]\nlisten = \"0.0.0.0:9092\"\n[log]\nmax_message_bytes = \"8MiB\"\n",
        );
        check_errors(
            &sources,
            &expect![[r#"
            corelog.toml:3:10: kafka.listen: 0.0.0.0:9092 can be reached from other machines and there is no authentication yet: listen on 127.0.0.1, or accept that with --insecure (insecure = true)
            default: kafka.advertised_host: clients would be told to connect to 0.0.0.0, which is no address: set the name they reach this host by
            corelog.toml:5:21: log.max_message_bytes: a batch of 8MiB does not fit in a request, at most 4MiB here (the smaller of kafka.max_frame_bytes and a quarter of memory): raise those or lower this"#]],
        );
    }
}
