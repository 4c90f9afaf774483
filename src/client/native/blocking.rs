//! The blocking front: sockets that never block, and one place that waits (`poll(2)`).
//!
//! Methods return when what they promise has happened or their time is over. While one runs, everything the client has
//! under way moves on, on all its connections. No threads, no locks. Names are resolved by the system's resolver, which
//! blocks, once for each attempt to connect.

mod sockets;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::caller::{Answer, Call, CallerCore, Position, TopicDescription};
use super::cluster::Cluster;
use super::config::{ClientConfig, ConsumerConfig, ProducerConfig, Start};
use super::consumer::ConsumerCore;
use super::consumer::view::Batches;
use super::error::{Error, Waited};
use super::producer::delivery::{Callback, Delivered, Delivery};
use super::producer::{Moment, NewRecord, PUMP_EVERY, ProducerCore};
use crate::base::Timestamp;
use sockets::Sockets;

/// A client of one cluster: topics, offsets, single fetches, and the way to producers and consumers.
#[derive(Debug)]
pub struct Client {
    core: CallerCore,
    sockets: Sockets,
    topic: Arc<str>,
}

impl Client {
    /// Connects to the first of `addresses` that answers: `host` or `host:port`, several separated by commas.
    ///
    /// # Errors
    /// `Address`, or `Unreachable` when none answers within five seconds.
    pub fn connect(addresses: &str) -> Result<Self, Error> {
        Self::connect_with(addresses, ClientConfig::default())
    }

    /// As [`Self::connect`], with settings.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_with(addresses: &str, config: ClientConfig) -> Result<Self, Error> {
        let mut client = Self {
            core: CallerCore::new(Cluster::new(addresses, config)?),
            sockets: Sockets::default(),
            topic: Arc::from(""),
        };
        client.call(Call::Greet)?;
        Ok(client)
    }

    /// A producer with connections of its own.
    ///
    /// # Errors
    /// `Setting`.
    pub fn producer(&self, config: ProducerConfig) -> Result<Producer, Error> {
        Ok(Producer {
            core: ProducerCore::new(self.core.beside()?, config)?,
            sockets: Sockets::default(),
            pumped: None,
        })
    }

    /// A consumer with connections of its own.
    ///
    /// # Errors
    /// `Setting`.
    pub fn consumer(&self, config: ConsumerConfig) -> Result<Consumer, Error> {
        Ok(Consumer {
            core: ConsumerCore::new(self.core.beside()?, config)?,
            sockets: Sockets::default(),
        })
    }

    /// Creates a topic; 0 partitions for the broker's default. `configs` are its settings by Kafka's names.
    ///
    /// # Errors
    /// `Refused`; after `Lost` or `TimedOut` nobody knows whether it was created.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: u32,
        configs: &[(&str, &str)],
    ) -> Result<(), Error> {
        self.call(Call::create(name, partitions, configs)).map(drop)
    }

    /// Deletes a topic and everything in it.
    ///
    /// # Errors
    /// `Refused`; after `Lost` or `TimedOut` nobody knows whether it was deleted.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), Error> {
        self.call(Call::Delete {
            name: name.to_owned(),
        })
        .map(drop)
    }

    /// All topics.
    ///
    /// # Errors
    /// `Unreachable` or `TimedOut`.
    pub fn topics(&mut self) -> Result<Vec<TopicDescription>, Error> {
        self.call(Call::Describe { name: None }).map(Answer::into_topics)
    }

    /// One topic; `None` if there is none of this name.
    ///
    /// # Errors
    /// `Unreachable` or `TimedOut`.
    pub fn describe_topic(&mut self, name: &str) -> Result<Option<TopicDescription>, Error> {
        let name = Some(name.to_owned());
        let topics = self.call(Call::Describe { name }).map(Answer::into_topics)?;
        Ok(topics.into_iter().next())
    }

    /// The offset of `start` in a partition: the first, one past the last, or the first of a time or later (`None` if
    /// nothing is that late).
    ///
    /// # Errors
    /// `Refused`, `NoSuchPartition`, `Unreachable` or `TimedOut`.
    pub fn offset(&mut self, topic: &str, partition: u32, start: Start) -> Result<Option<u64>, Error> {
        if let Start::Offset(offset) = start {
            return Ok(Some(offset));
        }
        let topic = topic.into();
        self.call(Call::Offset {
            topic,
            partition,
            start,
        })
        .map(Answer::into_offset)
    }

    /// Reads a partition once. The batches last until the next call.
    ///
    /// # Errors
    /// `Refused` (such as `OFFSET_OUT_OF_RANGE`), `Damaged`, `NoSuchPartition`, `Unreachable` or `TimedOut`.
    pub fn fetch(&mut self, topic: &str, position: Position) -> Result<Batches<'_>, Error> {
        self.topic = topic.into();
        let topic = Arc::clone(&self.topic);
        self.call(Call::Fetch { topic, position })?;
        self.core.lend(&self.topic)
    }

    fn call(&mut self, call: Call) -> Result<Answer, Error> {
        self.core.begin(call);
        let until = now() + self.core.patience();
        let answer = self
            .sockets
            .drive(&mut self.core, Some(until), |core, _| core.answer());
        answer.unwrap_or_else(|| Err(self.core.give_up()))
    }
}

/// A producer. See [`ProducerConfig`] for how it collects and sends.
#[derive(Debug)]
pub struct Producer {
    core: ProducerCore,
    sockets: Sockets,
    /// When the machine was last driven.
    pumped: Option<Instant>,
}

impl Producer {
    /// Accepts a record, which is then on its way; the handle tells what becomes of it. Waits for metadata of a new topic
    /// and for room in the buffer, at most the delivery time-out.
    ///
    /// # Errors
    /// `Refused` for an unknown topic, `NoSuchPartition`, `RecordTooLarge`, `Unreachable`, or `TimedOut`: the record was
    /// not accepted.
    pub fn send(&mut self, record: &NewRecord<'_>) -> Result<Delivery, Error> {
        self.accept(record, None)
    }

    /// As [`Self::send`], with a function that is called with the outcome, on the thread that drives the producer.
    ///
    /// # Errors
    /// As [`Self::send`]; the function is then not called.
    pub fn send_with(&mut self, record: &NewRecord<'_>, callback: Callback) -> Result<(), Error> {
        self.accept(record, Some(callback)).map(drop)
    }

    fn accept(&mut self, record: &NewRecord<'_>, mut callback: Option<Callback>) -> Result<Delivery, Error> {
        let start = now();
        let moment = |now| Moment { now, wall: wall() };
        let accepted = match self.core.offer(record, &mut callback, moment(start)) {
            Some(accepted) => accepted?,
            None => {
                let until = start + self.core.patience();
                let offered = self.sockets.drive(&mut self.core, Some(until), |core, now| {
                    core.offer(record, &mut callback, moment(now))
                });
                offered.unwrap_or_else(|| Err(self.core.why_waiting(record)))?
            }
        };
        if self.core.is_busy() || self.pumped.is_none_or(|pumped| start >= pumped + PUMP_EVERY) {
            self.sockets.turn(&mut self.core, start);
            self.pumped = Some(start);
        }
        Ok(accepted)
    }

    /// Lets everything under way move on for up to `time`; zero only looks.
    pub fn poll(&mut self, time: Duration) {
        let until = now() + time;
        let settled = |core: &mut ProducerCore, _| core.is_settled().then_some(());
        self.sockets.drive(&mut self.core, Some(until), settled);
    }

    /// Waits for the outcome of one record.
    ///
    /// # Errors
    /// Why it was not delivered; `TimedOut` also if the producer cannot tell within twice the delivery time-out.
    pub fn wait(&mut self, delivery: &Delivery) -> Result<Delivered, Error> {
        let until = now() + self.core.patience() * 2;
        let outcome = self
            .sockets
            .drive(&mut self.core, Some(until), |_, _| delivery.outcome());
        outcome.unwrap_or(Err(Error::TimedOut {
            what: Waited::Delivery,
        }))
    }

    /// Sends everything and waits until every record has its outcome.
    ///
    /// # Errors
    /// The first failure since the last flush, or `TimedOut`.
    pub fn flush(&mut self) -> Result<(), Error> {
        let until = now() + self.core.patience() * 2;
        self.core.begin_flush();
        let flushed = self
            .sockets
            .drive(&mut self.core, Some(until), |core, _| core.flushed());
        flushed.unwrap_or(Err(Error::TimedOut {
            what: Waited::Delivery,
        }))
    }

    /// Flushes and closes the connections.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn close(mut self) -> Result<(), Error> {
        self.flush()
    }

    /// Bytes of records that have no outcome yet.
    #[must_use]
    pub const fn buffered_bytes(&self) -> usize {
        self.core.buffered_bytes()
    }
}

/// A consumer of any number of partitions.
#[derive(Debug)]
pub struct Consumer {
    core: ConsumerCore,
    sockets: Sockets,
}

impl Consumer {
    /// Reads `partitions` of `topic` from now on, all of them if none is named. What is read already stays.
    ///
    /// # Errors
    /// `Refused` for an unknown topic, `NoSuchPartition`, `Unreachable` or `TimedOut`.
    pub fn subscribe(&mut self, topic: &str, partitions: Option<&[u32]>, start: Start) -> Result<(), Error> {
        self.core.settle_down();
        let until = now() + self.core.patience();
        let done = |core: &mut ConsumerCore, now| core.subscribe(topic, partitions, start, now);
        let done = self.sockets.drive(&mut self.core, Some(until), done);
        done.unwrap_or_else(|| Err(self.core.why_waiting()))
    }

    /// The next batches, waiting for them up to `time`; `None` when there were none. They last until the next call, which
    /// returns their bytes to the broker as credit.
    ///
    /// # Errors
    /// `Damaged` or `Refused` for one partition, which then stands still until [`Self::seek`]; the others go on.
    pub fn poll(&mut self, time: Duration) -> Result<Option<Batches<'_>>, Error> {
        self.core.release();
        let until = now() + time;
        match self
            .sockets
            .drive(&mut self.core, Some(until), |core, _| core.ready())
        {
            None => Ok(None),
            Some(Err(error)) => Err(error),
            Some(Ok(())) => self.core.lend().map(Some),
        }
    }

    /// Goes on reading a partition from somewhere else.
    ///
    /// # Errors
    /// `NoSuchPartition` for one that is not subscribed to.
    pub fn seek(&mut self, topic: &str, partition: u32, start: Start) -> Result<(), Error> {
        self.core.seek(topic, partition, start)
    }

    /// Offset behind the last record handed out; `None` while only the broker knows.
    ///
    /// # Errors
    /// `NoSuchPartition` for one that is not subscribed to.
    pub fn position(&self, topic: &str, partition: u32) -> Result<Option<u64>, Error> {
        self.core.position(topic, partition)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the front is where a client's clock is read; machines are told"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "as above, for the time records are stamped with"
)]
pub(super) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
