//! A driver file: Kafka's client and topic settings, as properties text.

use std::time::Duration;

use super::yaml::{Entries, OmbError};
use super::{Acknowledged, Idempotent};

/// What a driver file says, Kafka's client defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Driver {
    /// `name`.
    pub name: String,
    /// `acks`.
    pub acknowledged: Acknowledged,
    /// `enable.idempotence`.
    pub idempotent: Idempotent,
    /// `linger.ms`.
    pub linger: Duration,
    /// `batch.size`.
    pub batch_bytes: usize,
    /// `max.in.flight.requests.per.connection`.
    pub in_flight: usize,
    /// `topicConfig`, in order.
    pub topic_settings: Vec<(String, String)>,
    /// `max.partition.fetch.bytes`.
    pub fetch_bytes: u32,
    /// `fetch.max.wait.ms`.
    pub fetch_wait: Duration,
}

impl Default for Driver {
    fn default() -> Self {
        Self {
            name: String::new(),
            acknowledged: Acknowledged::Always,
            idempotent: Idempotent::No,
            linger: Duration::ZERO,
            batch_bytes: 16 << 10,
            in_flight: 5,
            topic_settings: Vec::new(),
            fetch_bytes: 1 << 20,
            fetch_wait: Duration::from_millis(500),
        }
    }
}

impl Driver {
    /// Reads the text of a file; what is not carried out goes to `warnings`.
    ///
    /// # Errors
    /// See [`OmbError`].
    pub fn parse(text: &str, warnings: &mut Vec<String>) -> Result<Self, OmbError> {
        let mut entries = Entries::parse(text)?;
        let mut driver = Self {
            name: entries.take("name")?.unwrap_or_default(),
            ..Self::default()
        };
        // Which Java class would run it, and whether it cleans up: ours always does.
        entries.take("driverClass")?;
        entries.take("reset")?;
        if let Some(replicas) = entries
            .take("replicationFactor")?
            .filter(|replicas| replicas != "1")
        {
            warnings.push(format!("driver: replicationFactor {replicas} is taken as 1"));
        }
        if entries.take("commonConfig")?.is_some() {
            warnings
                .push("driver: commonConfig is not used; brokers are named on the command line".to_owned());
        }
        driver.topic_settings = properties(&entries.take("topicConfig")?.unwrap_or_default());
        for (key, value) in properties(&entries.take("producerConfig")?.unwrap_or_default()) {
            driver.producer_setting(&key, &value, warnings)?;
        }
        for (key, value) in properties(&entries.take("consumerConfig")?.unwrap_or_default()) {
            driver.consumer_setting(&key, &value, warnings)?;
        }
        let unknown = entries.left().into_iter();
        warnings.extend(unknown.map(|name| format!("driver: {name} is not known and ignored")));
        Ok(driver)
    }

    fn producer_setting(
        &mut self,
        key: &str,
        value: &str,
        warnings: &mut Vec<String>,
    ) -> Result<(), OmbError> {
        match key {
            "acks" => {
                self.acknowledged = match value {
                    "0" => Acknowledged::Never,
                    "1" | "all" | "-1" => Acknowledged::Always,
                    _ => return Err(wrong(key, "0, 1 or all", value)),
                }
            }
            "enable.idempotence" => {
                self.idempotent = match value {
                    "true" => Idempotent::Yes,
                    "false" => Idempotent::No,
                    _ => return Err(wrong(key, "true or false", value)),
                }
            }
            "linger.ms" => self.linger = milliseconds(key, value)?,
            // Kafka's clients take 0 as no batching, which is what one byte does.
            "batch.size" => self.batch_bytes = number::<usize>(key, value)?.max(1),
            "max.in.flight.requests.per.connection" => self.in_flight = number::<usize>(key, value)?.max(1),
            "compression.type" if value == "none" => {}
            _ => warnings.push(format!("driver: producerConfig {key}={value} is not carried out")),
        }
        Ok(())
    }

    fn consumer_setting(
        &mut self,
        key: &str,
        value: &str,
        warnings: &mut Vec<String>,
    ) -> Result<(), OmbError> {
        match key {
            "max.partition.fetch.bytes" => self.fetch_bytes = number(key, value)?,
            "fetch.max.wait.ms" => self.fetch_wait = milliseconds(key, value)?,
            // Consumers start before the producers and commit nothing, so these change nothing.
            "auto.offset.reset" | "enable.auto.commit" => {}
            _ => warnings.push(format!("driver: consumerConfig {key}={value} is not carried out")),
        }
        Ok(())
    }
}

/// Lines `key=value` of Java properties text; blank lines and comments are skipped.
fn properties(text: &str) -> Vec<(String, String)> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '!']))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, OmbError> {
    value.parse().map_err(|_| wrong(key, "a number", value))
}

fn milliseconds(key: &str, value: &str) -> Result<Duration, OmbError> {
    number(key, value).map(Duration::from_millis)
}

fn wrong(key: &str, expected: &'static str, found: &str) -> OmbError {
    OmbError::Value {
        key: key.to_owned(),
        expected,
        found: found.to_owned(),
    }
}
