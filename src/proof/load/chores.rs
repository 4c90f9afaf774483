//! What operators do beside the load: topics come and go, a setting changes, a log is trimmed. Over and over, one chore at
//! a time, and between them a look at what the broker made of it.
//!
//! A chore that the broker confirmed must be there after any kill; one whose answer was lost may be there or not. Names
//! are never used twice, except for topics that a lost answer leaves in doubt.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::moment::Moment;
use super::{MAIN, TRIMMED, Witness, passes};
use crate::base::random::Random;
use crate::batch::Compression;
use crate::client::kafka::producer::{Identity, Producer, ProducerOptions};
use crate::client::kafka::{Client, ClientError, Effect, Missing, NewTopic};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{TIMESTAMP_EARLIEST, TIMESTAMP_LATEST};
use crate::runtime::clock::wall_ms;

pub(super) fn run(witness: &Witness) {
    let mut chores = Chores {
        witness: witness.clone(),
        random: Random::new(witness.seed, STREAM),
        topics: VecDeque::new(),
        made: 0,
        retention: RETENTION_MS,
    };
    let mut client = None;
    for turn in 0_usize.. {
        if witness.stopping() {
            return;
        }
        let Some(mut connected) = client.take().or_else(|| witness.kafka_client()) else {
            return;
        };
        let done = match chores.wanted().unwrap_or(turn % 6) {
            0 => chores.create(&mut connected),
            1 => chores.look_at_topics(&mut connected),
            2 => chores.configure(&mut connected),
            3 => chores.look_at_setting(&mut connected),
            4 => chores.trim(&mut connected),
            _ => chores.delete(&mut connected),
        };
        witness.shared.chore.store(0, Ordering::Relaxed);
        match done {
            Ok(()) => client = Some(connected),
            Err(error) if passes(&error) => {}
            Err(error) => witness.let_down("chores", &error),
        }
        witness
            .shared
            .stop
            .sleep(Duration::from_millis(chores.random.next() % PAUSE_MS));
    }
}

struct Chores {
    witness: Witness,
    random: Random,
    /// Topics that may be there, oldest first.
    topics: VecDeque<String>,
    made: u64,
    retention: u64,
}

impl Chores {
    /// The turn of the chore that the prover aims at, if it aims at one.
    fn wanted(&self) -> Option<usize> {
        match Moment::of_code(self.witness.shared.wanted.load(Ordering::Relaxed))? {
            Moment::Creating => Some(0),
            Moment::Configuring => Some(2),
            Moment::Trimming => Some(4),
            Moment::Deleting if self.topics.len() < TOPICS_KEPT => Some(0),
            Moment::Deleting => Some(5),
            _ => None,
        }
    }

    fn begin(&self, moment: Moment) {
        self.witness.shared.chore.store(moment.code(), Ordering::Relaxed);
    }

    fn create(&mut self, client: &mut Client) -> Result<(), ClientError> {
        self.made += 1;
        let name = format!("prove-chore-{}", self.made);
        self.topics.push_back(name.clone());
        self.change(&name, THERE);
        self.begin(Moment::Creating);
        let new = NewTopic {
            name: name.clone(),
            partitions: Some(CHORE_PARTITIONS),
            config: Vec::new(),
        };
        for outcome in client.create_topics(&[new])? {
            // It is there already if the first answer was lost.
            if outcome.code != ErrorCode::TopicAlreadyExists.code() {
                ClientError::check(&name, outcome.code, outcome.message.as_deref())?;
            }
        }
        self.changed(&name, THERE);
        self.fill(&name)
    }

    /// Gives a topic some records, so that there is something to delete.
    fn fill(&self, name: &str) -> Result<(), ClientError> {
        let Some(client) = self.witness.kafka_client() else {
            return Ok(());
        };
        let options = ProducerOptions {
            compression: Compression::None,
            acks: -1,
            identity: Identity::Anonymous,
            partition: None,
        };
        let mut producer = Producer::new(client, name, options)?;
        for number in 0..CHORE_RECORDS {
            let key = number.to_string();
            producer.push(
                Some(key.as_bytes()),
                Some(&[0; CHORE_RECORD_BYTES]),
                &[],
                wall_ms(),
            )?;
        }
        producer.flush()
    }

    fn delete(&mut self, client: &mut Client) -> Result<(), ClientError> {
        if self.topics.len() < TOPICS_KEPT {
            return Ok(());
        }
        let Some(name) = self.topics.front().cloned() else {
            return Ok(());
        };
        self.change(&name, GONE);
        self.begin(Moment::Deleting);
        for outcome in client.delete_topics(std::slice::from_ref(&name))? {
            // It is gone already if the first answer was lost, and was never there if that of its creation was.
            if outcome.code != ErrorCode::UnknownTopicOrPartition.code() {
                ClientError::check(&name, outcome.code, outcome.message.as_deref())?;
            }
        }
        self.changed(&name, GONE);
        // Looked at once more before it is forgotten.
        self.look_at_topics(client)?;
        self.topics.pop_front();
        Ok(())
    }

    fn look_at_topics(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let there = client.topics(None, Missing::Fail)?;
        for name in self.topics.clone() {
            let found = there.iter().any(|(topic, code)| topic.name == name && *code == 0);
            let state = if found { THERE } else { GONE };
            self.witness
                .learned(move |history| history.change_found(&of_topic(&name), state));
        }
        Ok(())
    }

    fn configure(&mut self, client: &mut Client) -> Result<(), ClientError> {
        self.retention += 1;
        let value = self.retention.to_string();
        let begun = value.clone();
        self.witness
            .learned(move |history| history.change_begun(SETTING, &begun));
        self.begin(Moment::Configuring);
        client.alter_topic(
            MAIN.name,
            &[(SETTING_KEY.to_owned(), Some(value.clone()))],
            Effect::Change,
        )?;
        self.witness
            .learned(move |history| history.changed(SETTING, &value));
        Ok(())
    }

    fn look_at_setting(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let settings = client.topic_config(MAIN.name)?;
        let found = settings.into_iter().find(|setting| setting.name == SETTING_KEY);
        let value = found.and_then(|setting| setting.value).unwrap_or_default();
        // Before the first change it has the broker's default, which is nobody's wish.
        if self.retention > RETENTION_MS + 1 {
            self.witness
                .learned(move |history| history.change_found(SETTING, &value));
        }
        Ok(())
    }

    fn trim(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let starts = client.offsets(TRIMMED.name, TIMESTAMP_EARLIEST)?;
        let ends = client.offsets(TRIMMED.name, TIMESTAMP_LATEST)?;
        let unsigned = |offset: i64| u64::try_from(offset).unwrap_or(u64::MAX);
        let mut before = std::collections::BTreeMap::new();
        for (index, partition) in TRIMMED.all() {
            let (Some(start), Some(end)) = (starts.get(&index).copied(), ends.get(&index).copied()) else {
                continue;
            };
            self.witness
                .learned(move |history| history.started_at(partition, unsigned(start)));
            if end - start < TRIM_LEAVES {
                continue;
            }
            let room = usize::try_from(end - start - TRIM_LEAVES).unwrap_or(0);
            let to = start + i64::try_from(self.random.below(room + 1)).unwrap_or(0);
            before.insert(index, to);
            self.witness
                .learned(move |history| history.trim_begun(partition, unsigned(to)));
        }
        if before.is_empty() {
            return Ok(());
        }
        self.begin(Moment::Trimming);
        let outcomes = client.delete_records(TRIMMED.name, &before)?;
        for (index, partition) in TRIMMED.all() {
            if let Some(&(start, code)) = outcomes.get(&index) {
                ClientError::check(&format!("{}-{index}", TRIMMED.name), code, None)?;
                self.witness
                    .learned(move |history| history.trimmed(partition, unsigned(start)));
            }
        }
        Ok(())
    }

    fn change(&self, topic: &str, state: &'static str) {
        let name = of_topic(topic);
        self.witness
            .learned(move |history| history.change_begun(&name, state));
    }

    fn changed(&self, topic: &str, state: &'static str) {
        let name = of_topic(topic);
        self.witness.learned(move |history| history.changed(&name, state));
    }
}

/// The history's name for whether a topic exists.
fn of_topic(name: &str) -> String {
    format!("topic {name}")
}

const THERE: &str = "there";
/// What a register is before anybody asked for anything.
const GONE: &str = "";
const SETTING_KEY: &str = "retention.ms";
const SETTING: &str = "retention.ms of prove";
/// A month; each change adds one.
const RETENTION_MS: u64 = 30 * 24 * 3600 * 1000;
const CHORE_PARTITIONS: i32 = 3;
const CHORE_RECORDS: u32 = 20;
const CHORE_RECORD_BYTES: usize = 200;
/// Topics there must be for one to be deleted.
const TOPICS_KEPT: usize = 2;
/// Records that a trim leaves.
const TRIM_LEAVES: i64 = 50;
/// The longest rest between two chores, in ms.
const PAUSE_MS: u64 = 8;
/// The stream of the seed that chores draw from.
const STREAM: u64 = 300;
