//! RabbitMQ by AMQP 0-9-1: a queue per partition, publisher confirms, consumers with a prefetch window.
//!
//! A partition is the durable queue `topic.N`. The setting `x-queue-type` says which kind: `quorum` (the default), a
//! replicated log whose messages are removed when consumed, or `stream`, a log. Messages are persistent and published
//! through the default exchange with the queue's name as routing key; a key becomes the message id. The server confirms
//! by number, many at a time. Consumers acknowledge many at a time as well: once per piece of input.
//!
//! A queue is no log: two consumers of one share its messages, and what was there before a consumer started is given to
//! it whether it asks for it or not. So fan-out and [`StartAt`] mean something only for streams.
//!
//! What a confirm promises: a quorum queue's leader has written and synced the message (with one replica); a stream has
//! handed it to the kernel and syncs nothing.

mod consumer;
mod frame;
mod handshake;
mod producer;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use self::consumer::Consumer;
use self::frame::{FRAME_METHOD, Fields, Frame, Method, put_long, put_method, put_short};
use self::handshake::{CHANNEL, Handshake, refuse_close};
use self::producer::Producer;
use super::dial::{Line, homes};
use super::{
    Broken, ConsumeOptions, Conversation, Door, Layout, PartitionHome, PartitionIndex, ProduceOptions,
    StartAt, TopicSpec,
};

/// Setting that says what kind a queue is.
const QUEUE_TYPE: &str = "x-queue-type";
/// The kind of a queue whose setting is absent.
const QUEUE_TYPE_DEFAULT: &str = "quorum";
/// The kind that is a log.
const QUEUE_TYPE_STREAM: &str = "stream";
/// Class of everything about messages.
const CLASS_BASIC: u16 = 60;
/// Bit of a queue's declaration: survives a restart.
const DURABLE: u8 = 2;

const QUEUE_DECLARE: Method = Method(50, 10);
const QUEUE_DECLARE_OK: Method = Method(50, 11);
const QUEUE_DELETE: Method = Method(50, 40);
const QUEUE_DELETE_OK: Method = Method(50, 41);
const BASIC_ACK: Method = Method(CLASS_BASIC, 80);

/// A RabbitMQ server.
#[derive(Debug)]
pub struct AmqpDoor {
    address: SocketAddr,
    /// Whether the queues of the run are streams: only those take, and only those need, an offset.
    streams: AtomicBool,
}

impl AmqpDoor {
    /// The server at `address`.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self {
            address,
            streams: AtomicBool::new(false),
        }
    }
}

impl Door for AmqpDoor {
    fn name(&self) -> &'static str {
        "amqp"
    }

    fn prepare(&self, spec: &TopicSpec) -> anyhow::Result<Layout> {
        let mut channel = Channel::open(self.address)?;
        let arguments = queue_arguments(&spec.settings);
        let is_stream = |(name, value): &(String, String)| name == QUEUE_TYPE && value == QUEUE_TYPE_STREAM;
        self.streams
            .store(spec.settings.iter().any(is_stream), Ordering::Relaxed);
        let layout = Layout {
            partitions: homes(spec, self.address),
        };
        for home in &layout.partitions {
            let queue = queue_of(home);
            channel.ask(QUEUE_DECLARE, QUEUE_DECLARE_OK, |out| {
                out.extend_from_slice(&0u16.to_be_bytes());
                put_short(out, queue.as_bytes());
                out.push(DURABLE);
                put_long(out, &arguments);
            })?;
        }
        Ok(layout)
    }

    fn producer(
        &self,
        layout: &Layout,
        _address: SocketAddr,
        _partitions: &[PartitionIndex],
        options: ProduceOptions,
    ) -> anyhow::Result<Box<dyn Conversation>> {
        let queues: Vec<String> = layout.partitions.iter().map(queue_of).collect();
        Ok(Box::new(Producer::new(queues, options.acks)))
    }

    fn consumer(
        &self,
        layout: &Layout,
        _address: SocketAddr,
        partitions: &[PartitionIndex],
        options: ConsumeOptions,
    ) -> anyhow::Result<Box<dyn Conversation>> {
        let queue = |index: &PartitionIndex| Some((*index, queue_of(layout.partitions.get(index.0)?)));
        let queues = partitions
            .iter()
            .map(queue)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| anyhow::anyhow!("a partition that is not in the layout"))?;
        let offset = match options.start {
            StartAt::Latest => "next",
            StartAt::Earliest => "first",
        };
        let offset = self.streams.load(Ordering::Relaxed).then_some(offset);
        Ok(Box::new(Consumer::new(queues, offset)))
    }

    fn clean_up(&self, spec: &TopicSpec) -> anyhow::Result<()> {
        let mut channel = Channel::open(self.address)?;
        for home in homes(spec, self.address) {
            channel.ask(QUEUE_DELETE, QUEUE_DELETE_OK, |out| {
                out.extend_from_slice(&0u16.to_be_bytes());
                put_short(out, queue_of(&home).as_bytes());
                out.push(0);
            })?;
        }
        Ok(())
    }
}

fn queue_of(home: &PartitionHome) -> String {
    format!("{}.{}", home.topic, home.partition)
}

/// The arguments of a declaration as a table: numbers as 64-bit integers, everything else as text.
fn queue_arguments(settings: &[(String, String)]) -> Vec<u8> {
    let mut table = Vec::new();
    if !settings.iter().any(|(name, _)| name == QUEUE_TYPE) {
        put_text_entry(&mut table, QUEUE_TYPE, QUEUE_TYPE_DEFAULT);
    }
    for (name, value) in settings {
        match value.parse::<i64>() {
            Ok(number) => {
                put_short(&mut table, name.as_bytes());
                table.push(b'l');
                table.extend_from_slice(&number.to_be_bytes());
            }
            Err(_) => put_text_entry(&mut table, name, value),
        }
    }
    table
}

fn put_text_entry(table: &mut Vec<u8>, name: &str, value: &str) {
    put_short(table, name.as_bytes());
    table.push(b'S');
    put_long(table, value.as_bytes());
}

/// A channel for one request at a time.
struct Channel {
    line: Line,
}

impl Channel {
    fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let mut line = Line::dial(address)?;
        let mut out = Vec::new();
        let mut handshake = Handshake::open(&mut out);
        line.send(&out)?;
        while !handshake.is_done() {
            out.clear();
            line.until(|input| {
                each_method(input, |method, fields| {
                    handshake.take(method, fields, &mut out)?;
                    Ok(Some(()))
                })
            })?;
            line.send(&out)?;
        }
        Ok(Self { line })
    }

    fn ask(&mut self, method: Method, answer: Method, fill: impl FnOnce(&mut Vec<u8>)) -> anyhow::Result<()> {
        let mut out = Vec::new();
        put_method(&mut out, CHANNEL, method, fill);
        self.line.send(&out)?;
        self.line
            .until(|input| each_method(input, |method, _fields| Ok((method == answer).then_some(()))))
    }
}

/// Reads the first frame of `input` and gives its method to `take`; frames of other kinds are passed over.
fn each_method(
    input: &[u8],
    take: impl FnOnce(Method, &mut Fields<'_>) -> Result<Option<()>, Broken>,
) -> Result<(usize, Option<()>), Broken> {
    let Some((frame, length)) = Frame::read(input)? else {
        return Ok((0, None));
    };
    if frame.kind != FRAME_METHOD {
        return Ok((length, None));
    }
    let mut fields = Fields(frame.payload);
    let method = fields.method()?;
    refuse_close(method, &mut fields)?;
    Ok((length, take(method, &mut fields)?))
}

#[cfg(test)]
mod tests;
