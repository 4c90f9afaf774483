//! The asynchronous front: the same client over tokio's sockets and timers.
//!
//! The same names as in the blocking front, and the same machines below; only the waiting differs. Nothing is spawned: a
//! client works while one of its futures is polled, and stands still otherwise. Every future may be dropped at any point;
//! whatever it had begun goes on with the next one, because all state is the client's. Needs a tokio runtime with I/O and
//! time, of any flavour. No threads beyond those tokio uses to resolve names.

mod sockets;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::blocking::{now, wall};
use super::caller::{Answer, Call, CallerCore, Position, TopicDescription};
use super::cluster::Cluster;
use super::config::{ClientConfig, ConsumerConfig, ProducerConfig, Start};
use super::consumer::ConsumerCore;
use super::consumer::view::Batches;
use super::error::{Error, Waited};
use super::producer::delivery::{Callback, Delivered, Delivery};
use super::producer::{Moment, NewRecord, PUMP_EVERY, ProducerCore};
use sockets::Sockets;

/// As [`blocking::Client`](super::blocking::Client).
#[derive(Debug)]
pub struct Client {
    core: CallerCore,
    sockets: Sockets,
    topic: Arc<str>,
}

impl Client {
    /// As [`blocking::Client::connect`](super::blocking::Client::connect).
    ///
    /// # Errors
    /// `Address` or `Unreachable`.
    pub async fn connect(addresses: &str) -> Result<Self, Error> {
        Self::connect_with(addresses, ClientConfig::default()).await
    }

    /// As [`Self::connect`], with settings.
    ///
    /// # Errors
    /// `Address` or `Unreachable`.
    pub async fn connect_with(addresses: &str, config: ClientConfig) -> Result<Self, Error> {
        let mut client = Self {
            core: CallerCore::new(Cluster::new(addresses, config)?),
            sockets: Sockets::default(),
            topic: Arc::from(""),
        };
        client.call(Call::Greet).await?;
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

    /// As [`blocking::Client::create_topic`](super::blocking::Client::create_topic).
    ///
    /// # Errors
    /// As there.
    pub async fn create_topic(
        &mut self,
        name: &str,
        partitions: u32,
        configs: &[(&str, &str)],
    ) -> Result<(), Error> {
        self.call(Call::create(name, partitions, configs)).await.map(drop)
    }

    /// As [`blocking::Client::delete_topic`](super::blocking::Client::delete_topic).
    ///
    /// # Errors
    /// As there.
    pub async fn delete_topic(&mut self, name: &str) -> Result<(), Error> {
        self.call(Call::Delete {
            name: name.to_owned(),
        })
        .await
        .map(drop)
    }

    /// All topics.
    ///
    /// # Errors
    /// `Unreachable` or `TimedOut`.
    pub async fn topics(&mut self) -> Result<Vec<TopicDescription>, Error> {
        self.call(Call::Describe { name: None })
            .await
            .map(Answer::into_topics)
    }

    /// One topic; `None` if there is none of this name.
    ///
    /// # Errors
    /// `Unreachable` or `TimedOut`.
    pub async fn describe_topic(&mut self, name: &str) -> Result<Option<TopicDescription>, Error> {
        let name = Some(name.to_owned());
        let topics = self
            .call(Call::Describe { name })
            .await
            .map(Answer::into_topics)?;
        Ok(topics.into_iter().next())
    }

    /// As [`blocking::Client::offset`](super::blocking::Client::offset).
    ///
    /// # Errors
    /// As there.
    pub async fn offset(&mut self, topic: &str, partition: u32, start: Start) -> Result<Option<u64>, Error> {
        if let Start::Offset(offset) = start {
            return Ok(Some(offset));
        }
        let topic = topic.into();
        let call = Call::Offset {
            topic,
            partition,
            start,
        };
        self.call(call).await.map(Answer::into_offset)
    }

    /// As [`blocking::Client::fetch`](super::blocking::Client::fetch).
    ///
    /// # Errors
    /// As there.
    pub async fn fetch(&mut self, topic: &str, position: Position) -> Result<Batches<'_>, Error> {
        self.topic = topic.into();
        let topic = Arc::clone(&self.topic);
        self.call(Call::Fetch { topic, position }).await?;
        self.core.lend(&self.topic)
    }

    async fn call(&mut self, call: Call) -> Result<Answer, Error> {
        self.core.begin(call);
        let until = now() + self.core.patience();
        let answer = self
            .sockets
            .drive(&mut self.core, until, |core, _| core.answer())
            .await;
        answer.unwrap_or_else(|| Err(self.core.give_up()))
    }
}

/// As [`blocking::Producer`](super::blocking::Producer).
#[derive(Debug)]
pub struct Producer {
    core: ProducerCore,
    sockets: Sockets,
    pumped: Option<Instant>,
}

impl Producer {
    /// As [`blocking::Producer::send`](super::blocking::Producer::send). A dropped future either accepted the record or did
    /// not; it is accepted once this returns.
    ///
    /// # Errors
    /// As there.
    pub async fn send(&mut self, record: &NewRecord<'_>) -> Result<Delivery, Error> {
        self.accept(record, None).await
    }

    /// As [`blocking::Producer::send_with`](super::blocking::Producer::send_with).
    ///
    /// # Errors
    /// As there.
    pub async fn send_with(&mut self, record: &NewRecord<'_>, callback: Callback) -> Result<(), Error> {
        self.accept(record, Some(callback)).await.map(drop)
    }

    async fn accept(
        &mut self,
        record: &NewRecord<'_>,
        mut callback: Option<Callback>,
    ) -> Result<Delivery, Error> {
        let start = now();
        let moment = |now| Moment { now, wall: wall() };
        let accepted = match self.core.offer(record, &mut callback, moment(start)) {
            Some(accepted) => accepted?,
            None => {
                let until = start + self.core.patience();
                let offer = |core: &mut ProducerCore, now| core.offer(record, &mut callback, moment(now));
                let offered = self.sockets.drive(&mut self.core, until, offer).await;
                offered.unwrap_or_else(|| Err(self.core.why_waiting(record)))?
            }
        };
        if self.core.is_busy() || self.pumped.is_none_or(|pumped| start >= pumped + PUMP_EVERY) {
            self.sockets.turn(&mut self.core, start);
            self.pumped = Some(start);
        }
        Ok(accepted)
    }

    /// Lets everything under way move on for up to `time`.
    pub async fn poll(&mut self, time: Duration) {
        let until = now() + time;
        let settled = |core: &mut ProducerCore, _| core.is_settled().then_some(());
        self.sockets.drive(&mut self.core, until, settled).await;
    }

    /// As [`blocking::Producer::wait`](super::blocking::Producer::wait).
    ///
    /// # Errors
    /// As there.
    pub async fn wait(&mut self, delivery: &Delivery) -> Result<Delivered, Error> {
        let until = now() + self.core.patience() * 2;
        let outcome = self
            .sockets
            .drive(&mut self.core, until, |_, _| delivery.outcome())
            .await;
        outcome.unwrap_or(Err(Error::TimedOut {
            what: Waited::Delivery,
        }))
    }

    /// As [`blocking::Producer::flush`](super::blocking::Producer::flush).
    ///
    /// # Errors
    /// As there.
    pub async fn flush(&mut self) -> Result<(), Error> {
        let until = now() + self.core.patience() * 2;
        self.core.begin_flush();
        let flushed = self
            .sockets
            .drive(&mut self.core, until, |core, _| core.flushed())
            .await;
        flushed.unwrap_or(Err(Error::TimedOut {
            what: Waited::Delivery,
        }))
    }

    /// Flushes and closes the connections.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub async fn close(mut self) -> Result<(), Error> {
        self.flush().await
    }

    /// Bytes of records that have no outcome yet.
    #[must_use]
    pub const fn buffered_bytes(&self) -> usize {
        self.core.buffered_bytes()
    }
}

/// As [`blocking::Consumer`](super::blocking::Consumer).
#[derive(Debug)]
pub struct Consumer {
    core: ConsumerCore,
    sockets: Sockets,
}

impl Consumer {
    /// As [`blocking::Consumer::subscribe`](super::blocking::Consumer::subscribe).
    ///
    /// # Errors
    /// As there.
    pub async fn subscribe(
        &mut self,
        topic: &str,
        partitions: Option<&[u32]>,
        start: Start,
    ) -> Result<(), Error> {
        self.core.settle_down();
        let until = now() + self.core.patience();
        let done = |core: &mut ConsumerCore, now| core.subscribe(topic, partitions, start, now);
        let done = self.sockets.drive(&mut self.core, until, done).await;
        done.unwrap_or_else(|| Err(self.core.why_waiting()))
    }

    /// As [`blocking::Consumer::poll`](super::blocking::Consumer::poll).
    ///
    /// # Errors
    /// As there.
    pub async fn poll(&mut self, time: Duration) -> Result<Option<Batches<'_>>, Error> {
        self.core.release();
        let until = now() + time;
        match self
            .sockets
            .drive(&mut self.core, until, |core, _| core.ready())
            .await
        {
            None => Ok(None),
            Some(Err(error)) => Err(error),
            Some(Ok(())) => self.core.lend().map(Some),
        }
    }

    /// As [`blocking::Consumer::seek`](super::blocking::Consumer::seek).
    ///
    /// # Errors
    /// As there.
    pub fn seek(&mut self, topic: &str, partition: u32, start: Start) -> Result<(), Error> {
        self.core.seek(topic, partition, start)
    }

    /// As [`blocking::Consumer::position`](super::blocking::Consumer::position).
    ///
    /// # Errors
    /// As there.
    pub fn position(&self, topic: &str, partition: u32) -> Result<Option<u64>, Error> {
        self.core.position(topic, partition)
    }
}
