//! Somebody who changes things while others work: beginnings of logs deleted, configurations altered, a topic that comes and
//! goes under one name.
//!
//! What the operator asks for is in the story before it is asked, and what was promised after the answer: a log may then start
//! later than before and must not start earlier again.

use std::rc::Rc;
use std::time::Duration;

use super::admin::Admin;
use super::book::{Book, Phase, TopicKey, TopicPlan};
use super::history::{Nature, Rule};
use super::producer::{Job, Producer};
use super::reader::{Broken, read_whole, told};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    AlterConfigsResource, AlterableConfig, DeleteRecordsPartition, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteRecordsTopic, DeleteTopicsRequest, DeleteTopicsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, OPERATION_SET,
};
use crate::runtime::executor;
use crate::runtime::sim::Random;

/// Kafka's number for a topic among the resources that have a configuration.
const RESOURCE_TOPIC: i8 = 2;

/// Before a step is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(30);

/// Microseconds between two changes.
const PAUSE_US: std::ops::Range<u64> = 10_000..150_000;

/// The topic that comes and goes.
const BRIEF: &str = "brief";

/// Producers of the brief topic are numbered from here.
const BRIEF_PRODUCERS: u32 = 1000;

/// Starts somebody who changes the topics of the book, and somebody who makes and deletes one.
pub(super) fn start(book: &Rc<Book>, mut dice: Random, topics: Vec<TopicKey>) {
    let mut changes = Admin::new(book, Random::new(dice.next()));
    book.world.spawn(changes.process, 0, async move {
        while changes.book.phase() == Phase::Storm {
            let pause = changes.dice.within(PAUSE_US);
            executor::sleep(Duration::from_micros(pause)).await;
            let topic = topics[changes.dice.index(topics.len())];
            // What fails is not tried again: the next change is as good.
            let _failed = if changes.dice.one_in(3) {
                changes.alter(topic).await
            } else {
                changes.delete_records(topic).await
            };
        }
    });
    let mut brief = Admin::new(book, Random::new(dice.next()));
    book.begin(BRIEF);
    book.world.spawn(brief.process, 0, async move {
        for life in 0.. {
            if brief.book.phase() == Phase::Calm {
                break;
            }
            brief.live_briefly(life).await;
        }
        brief.book.finish(BRIEF);
    });
}

impl Admin {
    /// Changes the shape of a topic's logs.
    async fn alter(&mut self, topic: TopicKey) -> Result<(), Broken> {
        let mut link = self.connect()?;
        let plan = self.book.topic(topic);
        let segment_bytes = (16_u64 << self.dice.below(3)) << 10;
        let interval = 512_u64 << self.dice.below(4);
        let values = [
            ("segment.bytes", segment_bytes.to_string()),
            ("index.interval.bytes", interval.to_string()),
        ];
        let configs = values.iter().map(|(name, value)| AlterableConfig {
            name,
            config_operation: OPERATION_SET,
            value: Some(value),
        });
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: &plan.name,
                configs: configs.collect(),
            }],
            validate_only: false,
        };
        let answer = told(&self.book, link.call(request, 1).await)?;
        let answer: IncrementalAlterConfigsResponse<'_> = told(&self.book, answer.decode())?;
        let code = answer.responses.first().map_or(-1, |one| one.error_code);
        self.judge_code("altering a configuration", code)?;
        self.book.mark("configurations altered", 1);
        Ok(())
    }

    /// Deletes the beginning of one log of a topic, where its nature allows that.
    async fn delete_records(&mut self, topic: TopicKey) -> Result<(), Broken> {
        let plan = self.book.topic(topic);
        if plan.nature.relaxed || plan.nature.compacted {
            return Ok(());
        }
        let partition =
            i32::try_from(self.dice.index(usize::try_from(plan.partitions).unwrap_or(1))).unwrap_or(0);
        let mut link = self.connect()?;
        let floor = self.book.story(topic, partition, |story| Ok(story.floor()));
        let to = floor.start() + self.dice.below((floor.end() - floor.start()) / 3 + 1);
        self.book.story(topic, partition, |story| {
            story.ask_start(to);
            Ok(())
        });
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: &plan.name,
                partitions: vec![DeleteRecordsPartition {
                    partition_index: partition,
                    offset: i64::try_from(to).expect("a small offset"),
                }],
            }],
            timeout_ms: 10_000,
        };
        let answer = told(&self.book, link.call(request, 2).await)?;
        let answer: DeleteRecordsResponse<'_> = told(&self.book, answer.decode())?;
        let part = answer.topics.first().and_then(|topic| topic.partitions.first());
        let part = part.ok_or(Broken)?;
        self.judge_code("deleting records", part.error_code)?;
        let low = u64::try_from(part.low_watermark).unwrap_or(0);
        self.book
            .say(|| format!("{topic}/{partition} starts at {low}, asked for {to}"));
        if low < to {
            let what = format!(
                "{}/{partition}: starts at {low} after a deletion to {to}",
                plan.name
            );
            self.book.break_rule(Rule::StartAdvances, what);
        }
        self.book.story(topic, partition, |story| {
            story.promise_start(low);
            Ok(())
        });
        self.book.mark("beginnings deleted", 1);
        Ok(())
    }

    fn judge_code(&self, what: &str, code: i16) -> Result<(), Broken> {
        match ErrorCode::from_wire(code) {
            Some(ErrorCode::None) => Ok(()),
            Some(error) if error.is_retriable() => Err(Broken),
            other => {
                self.book.break_rule(
                    Rule::AnswersMakeSense,
                    format!("{what} was refused with {other:?}"),
                );
                Err(Broken)
            }
        }
    }

    /// A topic is made, written to, read and deleted.
    async fn live_briefly(&mut self, life: u32) {
        let key = self.book.add_topic(TopicPlan {
            name: BRIEF.to_owned(),
            partitions: 1,
            nature: Nature::default(),
            configs: vec![
                ("segment.bytes", "16384".to_owned()),
                ("retention.ms", "-1".to_owned()),
                ("message.timestamp.after.max.ms", i64::MAX.to_string()),
            ],
            id: None,
        });
        self.create(&[key]).await;
        let job = Job {
            topics: vec![key],
            batches: 6,
            acks: -1,
            pause: 100..5_000,
        };
        let dice = Random::new(self.dice.next());
        Producer::new(&self.book, BRIEF_PRODUCERS + life, dice, job)
            .run()
            .await;
        self.until_done(async |admin: &mut Self| {
            let mut link = admin.connect()?;
            read_whole(&Rc::clone(&admin.book), &mut link, (key, 0)).await
        })
        .await;
        self.until_done(async |admin: &mut Self| admin.delete(key).await)
            .await;
        self.book.forget_topic(key);
        self.book.mark("topics deleted", 1);
    }

    async fn until_done(&mut self, mut step: impl AsyncFnMut(&mut Self) -> Result<(), Broken>) {
        while step(self).await.is_err() && !self.book.is_violated() {
            executor::sleep(RETRY_PAUSE).await;
        }
    }

    /// Deletes a topic and makes sure that its name is free.
    async fn delete(&mut self, key: TopicKey) -> Result<(), Broken> {
        let mut link = self.connect()?;
        let plan = self.book.topic(key);
        let request = DeleteTopicsRequest {
            topic_names: vec![&plan.name],
            timeout_ms: 10_000,
            ..DeleteTopicsRequest::default()
        };
        let answer = told(&self.book, link.call(request, 5).await)?;
        let answer: DeleteTopicsResponse<'_> = told(&self.book, answer.decode())?;
        let code = answer.responses.first().map_or(-1, |one| one.error_code);
        // Gone already: an earlier try was carried out and not answered.
        if ErrorCode::from_wire(code) != Some(ErrorCode::UnknownTopicOrPartition) {
            self.judge_code("deleting a topic", code)?;
        }
        if self.look_up(&mut link, key).await?.is_some() {
            self.book.break_rule(
                Rule::AnswersMakeSense,
                "a topic is there after its deletion was answered",
            );
        }
        Ok(())
    }
}
