//! What a topic asks of the records it takes, beyond the form of their batch: keys where it is compacted, stamps near the
//! broker's clock, enough replicas.
//!
//! Both doors judge by these rules, each with its own reader of records; so a topic takes the same records from either.
//! Nothing here looks at bytes. Pure; the shard that received the batch.
//!
//! **Cost.** A topic that asks for nothing special is judged by the largest stamp in the batch's header alone. Only keys and a
//! bound into the past need the records opened ([`RecordRules::need_records`]).

use super::topic::TopicSettings;
use crate::base::Timestamp;

/// What a topic asks of each record now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordRules {
    keys: bool,
    earliest: Option<i64>,
    latest: Option<i64>,
}

/// Why a topic does not take a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordFault {
    /// A compacted topic keeps the last record of each key, and this one has none.
    NoKey,
    /// Stamped before `message.timestamp.before.max.ms` ago.
    TooOld,
    /// Stamped after `message.timestamp.after.max.ms` from now.
    TooNew,
}

impl RecordFault {
    /// For people.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::NoKey => "a compacted topic takes no record without a key",
            Self::TooOld => "the timestamp is further in the past than message.timestamp.before.max.ms",
            Self::TooNew => "the timestamp is further in the future than message.timestamp.after.max.ms",
        }
    }
}

impl RecordRules {
    /// The rules of a topic at `now`, the broker's time.
    #[must_use]
    pub fn of(settings: &TopicSettings, now: Timestamp) -> Self {
        Self {
            keys: settings.cleanup.compacts(),
            earliest: settings
                .timestamps
                .before_ms
                .map(|bound| now.get().saturating_sub(bound)),
            latest: settings
                .timestamps
                .after_ms
                .map(|bound| now.get().saturating_add(bound)),
        }
    }

    /// Whether the header of a batch is not enough to judge it.
    #[must_use]
    pub const fn need_records(self) -> bool {
        self.keys || self.earliest.is_some()
    }

    /// Whether a batch whose largest stamp is this may be taken, as far as the future goes.
    #[must_use]
    pub fn take_latest(self, max_timestamp: Timestamp) -> bool {
        self.latest.is_none_or(|latest| max_timestamp.get() <= latest)
    }

    /// Judges one record. A record without a stamp is neither too old nor too new.
    #[must_use]
    pub fn judge(self, has_key: bool, timestamp: Timestamp) -> Option<RecordFault> {
        let stamp = timestamp.get();
        if self.keys && !has_key {
            Some(RecordFault::NoKey)
        } else if stamp == NO_TIMESTAMP {
            None
        } else if self.earliest.is_some_and(|earliest| stamp < earliest) {
            Some(RecordFault::TooOld)
        } else if self.latest.is_some_and(|latest| stamp > latest) {
            Some(RecordFault::TooNew)
        } else {
            None
        }
    }
}

/// Whether the replicas there are, which is one, are enough for a batch that wants all in-sync replicas to have it.
#[must_use]
pub const fn enough_replicas(settings: &TopicSettings) -> bool {
    settings.min_insync_replicas <= 1
}

/// Kafka's stamp of a record that has none.
const NO_TIMESTAMP: i64 = -1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::broker_config::BrokerConfig;

    const NOW: Timestamp = Timestamp::new(10_000_000);

    fn rules(pairs: &[(&str, &str)]) -> RecordRules {
        let overrides = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        RecordRules::of(&BrokerConfig::default().topic_settings(&overrides), NOW)
    }

    #[test]
    fn by_default_only_an_hour_ahead_is_too_far() {
        let rules = rules(&[]);
        assert!(!rules.need_records());
        assert!(rules.take_latest(Timestamp::new(13_600_000)));
        assert!(!rules.take_latest(Timestamp::new(13_600_001)));
        assert_eq!(rules.judge(false, Timestamp::new(0)), None);
        assert_eq!(
            rules.judge(false, Timestamp::new(13_600_001)),
            Some(RecordFault::TooNew)
        );
    }

    #[test]
    fn a_bound_into_the_past_needs_the_records_and_spares_those_without_a_stamp() {
        let rules = rules(&[("message.timestamp.before.max.ms", "1000")]);
        assert!(rules.need_records());
        assert_eq!(rules.judge(true, Timestamp::new(9_999_000)), None);
        assert_eq!(
            rules.judge(true, Timestamp::new(9_998_999)),
            Some(RecordFault::TooOld)
        );
        assert_eq!(rules.judge(true, Timestamp::new(-1)), None);
    }

    #[test]
    fn compacted_topics_want_keys() {
        for (policy, wants) in [("delete", false), ("compact", true), ("delete,compact", true)] {
            let rules = rules(&[("cleanup.policy", policy)]);
            assert_eq!(rules.need_records(), wants, "{policy}");
            assert_eq!(rules.judge(false, NOW).is_some(), wants, "{policy}");
            assert_eq!(rules.judge(true, NOW), None);
        }
    }

    #[test]
    fn the_brokers_own_stamps_have_no_bounds() {
        let rules = rules(&[("message.timestamp.type", "LogAppendTime")]);
        assert!(rules.take_latest(Timestamp::new(i64::MAX)));
    }
}
