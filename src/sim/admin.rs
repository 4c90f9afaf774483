//! What an operator does over the wire: topics made and their ids learned.
//!
//! Every step is tried until it succeeds, over a new connection each time; a step that was carried out without an answer is
//! recognised when it is tried again.

use std::rc::Rc;
use std::time::Duration;

use super::book::{Book, TopicKey};
use super::history::Rule;
use super::link::Link;
use super::reader::{Broken, told};
use crate::base::TopicId;
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse, MetadataRequest,
    MetadataRequestTopic, MetadataResponse,
};
use crate::runtime::executor;
use crate::runtime::sim::{ProcessId, Random};

/// Before a step is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(30);

/// See the module.
pub(super) struct Admin {
    pub(super) book: Rc<Book>,
    pub(super) process: ProcessId,
    pub(super) dice: Random,
}

impl Admin {
    pub(super) fn new(book: &Rc<Book>, dice: Random) -> Self {
        Self {
            book: Rc::clone(book),
            process: book.world.new_process(),
            dice,
        }
    }

    /// A connection to any shard.
    pub(super) fn connect(&mut self) -> Result<Link, Broken> {
        let addresses = self.book.addresses();
        let address = addresses[self.dice.index(addresses.len())];
        Ok(Link::open(&self.book.world, address)?)
    }

    /// Creates these topics and learns their ids.
    pub(super) async fn create(&mut self, topics: &[TopicKey]) {
        for topic in topics {
            while self.try_create(*topic).await.is_err() {
                executor::sleep(RETRY_PAUSE).await;
            }
        }
    }

    async fn try_create(&mut self, key: TopicKey) -> Result<(), Broken> {
        let mut link = self.connect()?;
        let plan = self.book.topic(key);
        let configs = plan.configs.iter().map(|(name, value)| CreatableTopicConfig {
            name,
            value: Some(value),
        });
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: &plan.name,
                num_partitions: plan.partitions,
                replication_factor: 1,
                assignments: Vec::new(),
                configs: configs.collect(),
            }],
            ..CreateTopicsRequest::default()
        };
        let answer = told(&self.book, link.call(request, 5).await)?;
        let answer: CreateTopicsResponse<'_> = told(&self.book, answer.decode())?;
        let code = answer.topics.first().map_or(-1, |topic| topic.error_code);
        match ErrorCode::from_wire(code) {
            Some(ErrorCode::None | ErrorCode::TopicAlreadyExists) => {}
            Some(error) if error.is_retriable() => return Err(Broken),
            other => {
                self.book.break_rule(
                    Rule::AnswersMakeSense,
                    format!("cannot create {}: {other:?}", plan.name),
                );
                return Err(Broken);
            }
        }
        self.learn_id(&mut link, key).await
    }

    async fn learn_id(&self, link: &mut Link, key: TopicKey) -> Result<(), Broken> {
        let id = self.look_up(link, key).await?.ok_or(Broken)?;
        self.book.found_id(key, id);
        Ok(())
    }

    /// The id under which the topic's name is known, if it is.
    pub(super) async fn look_up(&self, link: &mut Link, key: TopicKey) -> Result<Option<TopicId>, Broken> {
        let plan = self.book.topic(key);
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(&plan.name),
                ..MetadataRequestTopic::default()
            }]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let answer = told(&self.book, link.call(request, 12).await)?;
        let answer: MetadataResponse<'_> = told(&self.book, answer.decode())?;
        let topic = answer.topics.first().filter(|topic| topic.error_code == 0);
        Ok(topic.map(|topic| topic.topic_id))
    }
}
