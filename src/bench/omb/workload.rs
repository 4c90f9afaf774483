//! A workload file: topics, rates, sizes and times.

use std::str::FromStr;
use std::time::Duration;

use super::yaml::{Entries, OmbError};

/// What a workload file says, its defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// `name`.
    pub name: String,
    /// `topics`.
    pub topics: usize,
    /// `partitionsPerTopic`.
    pub partitions_per_topic: u32,
    /// `keyDistributor`.
    pub key_distributor: KeyDistributor,
    /// `messageSize`, in bytes.
    pub message_bytes: usize,
    /// `subscriptionsPerTopic`.
    pub subscriptions_per_topic: usize,
    /// `consumerPerSubscription`.
    pub consumers_per_subscription: usize,
    /// `producersPerTopic`.
    pub producers_per_topic: usize,
    /// `producerRate` in messages per second; 0 for the highest.
    pub producer_rate: f64,
    /// `testDurationMinutes`.
    pub duration: Duration,
    /// `warmupDurationMinutes`.
    pub warmup: Duration,
}

/// `keyDistributor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyDistributor {
    /// `NO_KEY`.
    #[default]
    None,
    /// `KEY_ROUND_ROBIN`.
    RoundRobin,
    /// `RANDOM_NANO`.
    Random,
}

impl FromStr for KeyDistributor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "NO_KEY" => Ok(Self::None),
            "KEY_ROUND_ROBIN" => Ok(Self::RoundRobin),
            "RANDOM_NANO" => Ok(Self::Random),
            _ => Err(()),
        }
    }
}

/// Most topics, partitions, producers or consumers a file may ask for.
const COUNT_MAX: usize = 1_000_000;
/// The benchmark's own default.
const WARMUP_MINUTES: f64 = 1.0;
/// More than anyone waits for: a year.
const MINUTES_MAX: f64 = 525_600.0;

impl Workload {
    /// Reads the text of a file; what is not carried out goes to `warnings`.
    ///
    /// # Errors
    /// See [`OmbError`].
    pub fn parse(text: &str, warnings: &mut Vec<String>) -> Result<Self, OmbError> {
        let mut entries = Entries::parse(text)?;
        let workload = Self {
            name: entries.take("name")?.unwrap_or_else(|| "workload".to_owned()),
            topics: count(&mut entries, "topics", 1)?,
            partitions_per_topic: partitions(&mut entries)?,
            key_distributor: entries
                .take_as("keyDistributor", "NO_KEY, KEY_ROUND_ROBIN or RANDOM_NANO")?
                .unwrap_or_default(),
            message_bytes: entries
                .take_as("messageSize", "a number of bytes")?
                .ok_or(OmbError::Missing("messageSize"))?,
            subscriptions_per_topic: count(&mut entries, "subscriptionsPerTopic", 0)?,
            consumers_per_subscription: count(&mut entries, "consumerPerSubscription", 0)?,
            producers_per_topic: count(&mut entries, "producersPerTopic", 1)?,
            producer_rate: rate(&mut entries)?,
            duration: minutes(&mut entries, "testDurationMinutes", None)?,
            warmup: minutes(&mut entries, "warmupDurationMinutes", Some(WARMUP_MINUTES))?,
        };
        not_carried_out(&mut entries, &workload, warnings)?;
        let unknown = entries.left().into_iter();
        warnings.extend(unknown.map(|name| format!("workload: {name} is not known and ignored")));
        Ok(workload)
    }
}

fn count(entries: &mut Entries, key: &'static str, missing: usize) -> Result<usize, OmbError> {
    let found = entries
        .take_as(key, "a number up to a million")?
        .unwrap_or(missing);
    within(found, key, COUNT_MAX)
}

fn within(found: usize, key: &'static str, max: usize) -> Result<usize, OmbError> {
    if found <= max {
        return Ok(found);
    }
    Err(OmbError::Value {
        key: key.to_owned(),
        expected: "a number up to a million",
        found: found.to_string(),
    })
}

fn partitions(entries: &mut Entries) -> Result<u32, OmbError> {
    let key = "partitionsPerTopic";
    let found: usize = entries.take_as(key, "a number up to a million")?.unwrap_or(1);
    Ok(u32::try_from(within(found.max(1), key, COUNT_MAX)?).unwrap_or(1))
}

fn rate(entries: &mut Entries) -> Result<f64, OmbError> {
    let key = "producerRate";
    let expected = "messages per second, or 0 for the highest";
    let found: f64 = entries.take_as(key, expected)?.unwrap_or(0.0);
    if found.is_finite() && found >= 0.0 {
        return Ok(found);
    }
    Err(OmbError::Value {
        key: key.to_owned(),
        expected,
        found: found.to_string(),
    })
}

fn minutes(entries: &mut Entries, key: &'static str, missing: Option<f64>) -> Result<Duration, OmbError> {
    let expected = "a number of minutes";
    let found: f64 = match entries.take_as(key, expected)?.or(missing) {
        Some(found) => found,
        None => return Err(OmbError::Missing(key)),
    };
    if (0.0..=MINUTES_MAX).contains(&found) {
        return Ok(Duration::from_secs_f64(found * 60.0));
    }
    Err(OmbError::Value {
        key: key.to_owned(),
        expected,
        found: found.to_string(),
    })
}

/// Takes the keys that are understood and not done, and says so where it matters.
fn not_carried_out(
    entries: &mut Entries,
    workload: &Workload,
    warnings: &mut Vec<String>,
) -> Result<(), OmbError> {
    let randomized = entries.take("useRandomizedPayloads")?;
    let ratio = entries.take("randomBytesRatio")?;
    if randomized.as_deref() == Some("true") && ratio.is_some_and(|ratio| ratio.parse() != Ok(0.5)) {
        warnings.push("workload: payloads are half random bytes, whatever randomBytesRatio says".to_owned());
    }
    // The pool's size changes nothing that is measured, and the file is the other way to fill payloads.
    entries.take("randomizedPayloadPoolSize")?;
    if let Some(file) = entries.take("payloadFile")?
        && randomized.as_deref() != Some("true")
    {
        warnings.push(format!("workload: payloads are made, {file} is not read"));
    }
    if entries
        .take("consumerBacklogSizeGB")?
        .is_some_and(|size| size != "0")
    {
        warnings
            .push("workload: no backlog is built up first; consumers start with the producers".to_owned());
    }
    entries.take("backlogDrainRatio")?;
    if workload.producer_rate == 0.0 {
        warnings.push(
            "workload: producerRate 0 sends as fast as it is acknowledged; `bench sweep` finds the highest rate that \
             keeps an objective"
                .to_owned(),
        );
    }
    Ok(())
}
