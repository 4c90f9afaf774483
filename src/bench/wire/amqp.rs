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

mod frame;
mod handshake;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use self::frame::{
    FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD, Fields, Frame, Method, OVERHEAD_BYTES,
    put_frame, put_long, put_method, put_short,
};
use self::handshake::{CHANNEL, Handshake, refuse_close};
use super::dial::Line;
use super::window::Window;
use super::{
    Acks, Batch, Broken, ConsumeOptions, Conversation, Door, Event, Layout, PartitionHome, PartitionIndex,
    ProduceOptions, StartAt, Ticket, TopicSpec,
};

/// Setting that says what kind a queue is.
const QUEUE_TYPE: &str = "x-queue-type";
/// The kind of a queue whose setting is absent.
const QUEUE_TYPE_DEFAULT: &str = "quorum";
/// The kind that is a log.
const QUEUE_TYPE_STREAM: &str = "stream";
/// Messages a consumer may have that it has not acknowledged.
const PREFETCH: u16 = 2000;
/// Largest message a consumer puts together.
const MESSAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Message properties: persistent.
const FLAG_DELIVERY_MODE: u16 = 0x1000;
/// Message properties: an id.
const FLAG_MESSAGE_ID: u16 = 0x0080;
/// The delivery mode of persistent messages.
const PERSISTENT: u8 = 2;
/// Class of everything about messages.
const CLASS_BASIC: u16 = 60;
/// Bit of a queue's declaration: survives a restart.
const DURABLE: u8 = 2;

const QUEUE_DECLARE: Method = Method(50, 10);
const QUEUE_DECLARE_OK: Method = Method(50, 11);
const QUEUE_DELETE: Method = Method(50, 40);
const QUEUE_DELETE_OK: Method = Method(50, 41);
const BASIC_QOS: Method = Method(CLASS_BASIC, 10);
const BASIC_QOS_OK: Method = Method(CLASS_BASIC, 11);
const BASIC_CONSUME: Method = Method(CLASS_BASIC, 20);
const BASIC_CONSUME_OK: Method = Method(CLASS_BASIC, 21);
const BASIC_PUBLISH: Method = Method(CLASS_BASIC, 40);
const BASIC_DELIVER: Method = Method(CLASS_BASIC, 60);
const BASIC_ACK: Method = Method(CLASS_BASIC, 80);
const BASIC_NACK: Method = Method(CLASS_BASIC, 120);
const CONFIRM_SELECT: Method = Method(85, 10);
const CONFIRM_SELECT_OK: Method = Method(85, 11);

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

fn homes(spec: &TopicSpec, address: SocketAddr) -> Vec<PartitionHome> {
    let of_topic = |topic: &String| {
        let topic = topic.clone();
        (0..spec.partitions).map(move |partition| PartitionHome {
            topic: topic.clone(),
            partition,
            address,
        })
    };
    spec.names.iter().flat_map(of_topic).collect()
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

/// Publishes, and the confirms of them.
struct Producer {
    queues: Vec<String>,
    handshake: Option<Handshake>,
    /// None when no confirms are asked for.
    window: Option<Window>,
    /// Most bytes of a message in one frame.
    piece_bytes: usize,
    greeted: bool,
}

impl Producer {
    fn new(queues: Vec<String>, acks: Acks) -> Self {
        Self {
            queues,
            handshake: None,
            window: (acks == Acks::All).then(Window::new),
            piece_bytes: 1,
            greeted: false,
        }
    }

    fn take_method(
        &mut self,
        payload: &[u8],
        out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Broken> {
        let mut fields = Fields(payload);
        let method = fields.method()?;
        refuse_close(method, &mut fields)?;
        let handshake = self.handshake.as_mut().ok_or_else(not_open)?;
        if !handshake.is_done() {
            handshake.take(method, &mut fields, out)?;
            if handshake.is_done() {
                self.piece_bytes = piece_bytes(handshake);
                match self.window {
                    Some(_) => put_method(out, CHANNEL, CONFIRM_SELECT, |out| out.push(0)),
                    None => self.greet(events),
                }
            }
            return Ok(());
        }
        let refused = match method {
            CONFIRM_SELECT_OK if !self.greeted => {
                self.greet(events);
                return Ok(());
            }
            BASIC_ACK => None,
            BASIC_NACK => Some("nack"),
            other => return Err(Broken(format!("{other:?} at a producer"))),
        };
        let number = fields.u64()?;
        let many = fields.u8()? & 1 == 1;
        let window = self.window.as_mut().ok_or_else(not_open)?;
        if many {
            // Number 0 stands for everything so far.
            let number = if number == 0 { window.newest() } else { number };
            window.settle_through(number, refused, events)
        } else {
            window.settle(number, refused, events)
        }
    }

    fn greet(&mut self, events: &mut dyn FnMut(Event<'_>)) {
        self.greeted = true;
        events(Event::Ready);
    }
}

fn not_open() -> Broken {
    Broken("a method before there is a conversation".to_owned())
}

/// How much of a message fits into a frame.
fn piece_bytes(handshake: &Handshake) -> usize {
    usize::try_from(handshake.frame_bytes()).map_or(usize::MAX, |bytes| bytes - OVERHEAD_BYTES)
}

impl Conversation for Producer {
    fn open(&mut self, out: &mut Vec<u8>, _events: &mut dyn FnMut(Event<'_>)) {
        self.handshake = Some(Handshake::open(out));
    }

    fn produce(&mut self, ticket: Ticket, batch: &Batch<'_>, out: &mut Vec<u8>) {
        let queue = self.queues[batch.partition.0].as_bytes();
        for message in batch.messages {
            put_method(out, CHANNEL, BASIC_PUBLISH, |out| {
                out.extend_from_slice(&0u16.to_be_bytes());
                put_short(out, b"");
                put_short(out, queue);
                out.push(0);
            });
            put_frame(out, FRAME_HEADER, CHANNEL, |out| {
                put_properties(out, message.value.len(), message.key);
            });
            for piece in message.value.chunks(self.piece_bytes) {
                put_frame(out, FRAME_BODY, CHANNEL, |out| out.extend_from_slice(piece));
            }
        }
        if let Some(window) = &mut self.window {
            window.push(ticket, batch.messages.len());
        }
    }

    fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<usize, Broken> {
        let mut used = 0;
        while let Some((frame, length)) = Frame::read(&input[used..])? {
            used += length;
            match frame.kind {
                FRAME_METHOD => self.take_method(frame.payload, out, events)?,
                FRAME_HEARTBEAT => {}
                kind => return Err(Broken(format!("a frame of kind {kind} at a producer"))),
            }
        }
        Ok(used)
    }
}

fn put_properties(out: &mut Vec<u8>, value_bytes: usize, key: Option<&[u8]>) {
    out.extend_from_slice(&CLASS_BASIC.to_be_bytes());
    out.extend_from_slice(&0u16.to_be_bytes());
    let size = u64::try_from(value_bytes).expect("a length fits 64 bits");
    out.extend_from_slice(&size.to_be_bytes());
    let with_key = if key.is_some() { FLAG_MESSAGE_ID } else { 0 };
    out.extend_from_slice(&(FLAG_DELIVERY_MODE | with_key).to_be_bytes());
    out.push(PERSISTENT);
    if let Some(key) = key {
        put_short(out, key);
    }
}

/// A message of which not all has come.
#[derive(Debug)]
struct Arriving {
    partition: PartitionIndex,
    /// None until its header frame says it.
    size: Option<u64>,
    value: Vec<u8>,
}

/// Deliveries, and their acknowledgement.
struct Consumer {
    queues: Vec<(PartitionIndex, String)>,
    /// The partitions of `queues`, looked up for each delivery.
    known: HashSet<PartitionIndex>,
    /// Where to begin in a stream; none for other queues.
    offset: Option<&'static str>,
    handshake: Option<Handshake>,
    /// Queues whose consumer is not confirmed yet.
    unconfirmed: usize,
    arriving: Option<Arriving>,
    /// The last delivery's number, when it is not acknowledged yet.
    unacknowledged: Option<u64>,
    /// The buffer of the last message that came in pieces, for the next.
    spare: Vec<u8>,
}

impl Consumer {
    fn new(queues: Vec<(PartitionIndex, String)>, offset: Option<&'static str>) -> Self {
        Self {
            unconfirmed: queues.len(),
            known: queues.iter().map(|(index, _)| *index).collect(),
            queues,
            offset,
            handshake: None,
            arriving: None,
            unacknowledged: None,
            spare: Vec::new(),
        }
    }

    fn subscribe(&self, out: &mut Vec<u8>) {
        let mut arguments = Vec::new();
        if let Some(offset) = self.offset {
            put_text_entry(&mut arguments, "x-stream-offset", offset);
        }
        for (index, queue) in &self.queues {
            put_method(out, CHANNEL, BASIC_CONSUME, |out| {
                out.extend_from_slice(&0u16.to_be_bytes());
                put_short(out, queue.as_bytes());
                put_short(out, index.0.to_string().as_bytes());
                out.push(0);
                put_long(out, &arguments);
            });
        }
    }

    fn take_method(
        &mut self,
        payload: &[u8],
        out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Broken> {
        let mut fields = Fields(payload);
        let method = fields.method()?;
        refuse_close(method, &mut fields)?;
        let handshake = self.handshake.as_mut().ok_or_else(not_open)?;
        if !handshake.is_done() {
            handshake.take(method, &mut fields, out)?;
            if handshake.is_done() {
                put_method(out, CHANNEL, BASIC_QOS, |out| {
                    out.extend_from_slice(&0u32.to_be_bytes());
                    out.extend_from_slice(&PREFETCH.to_be_bytes());
                    out.push(0);
                });
            }
            return Ok(());
        }
        match method {
            BASIC_QOS_OK => self.subscribe(out),
            BASIC_CONSUME_OK => {
                self.unconfirmed = self
                    .unconfirmed
                    .checked_sub(1)
                    .ok_or_else(|| Broken("a consumer nobody asked for".to_owned()))?;
                if self.unconfirmed == 0 {
                    events(Event::Ready);
                }
            }
            BASIC_DELIVER => self.begin(&mut fields)?,
            other => return Err(Broken(format!("{other:?} at a consumer"))),
        }
        Ok(())
    }

    fn begin(&mut self, fields: &mut Fields<'_>) -> Result<(), Broken> {
        let tag = fields.short()?;
        let partition = std::str::from_utf8(tag)
            .ok()
            .and_then(|tag| tag.parse().ok())
            .map(PartitionIndex)
            .filter(|index| self.known.contains(index))
            .ok_or_else(|| Broken(format!("a message for consumer {}", String::from_utf8_lossy(tag))))?;
        if self.arriving.is_some() {
            return Err(Broken("a message inside another".to_owned()));
        }
        self.unacknowledged = Some(fields.u64()?);
        let mut value = std::mem::take(&mut self.spare);
        value.clear();
        self.arriving = Some(Arriving {
            partition,
            size: None,
            value,
        });
        Ok(())
    }

    fn take_header(&mut self, payload: &[u8], events: &mut dyn FnMut(Event<'_>)) -> Result<(), Broken> {
        let mut fields = Fields(payload);
        let _class_and_weight = fields.u32()?;
        let size = fields.u64()?;
        let arriving = self
            .arriving
            .as_mut()
            .filter(|arriving| arriving.size.is_none() && size <= MESSAGE_BYTES_MAX)
            .ok_or_else(|| Broken(format!("a header of {size} bytes out of place")))?;
        arriving.size = Some(size);
        if size == 0 {
            self.take_body(b"", events)?;
        }
        Ok(())
    }

    fn take_body(&mut self, piece: &[u8], events: &mut dyn FnMut(Event<'_>)) -> Result<(), Broken> {
        let out_of_place = || Broken("a piece of a message out of place".to_owned());
        let arriving = self.arriving.as_mut().ok_or_else(out_of_place)?;
        let size = arriving.size.ok_or_else(out_of_place)?;
        let have = u64::try_from(arriving.value.len() + piece.len()).map_err(|_too_long| out_of_place())?;
        if have > size {
            return Err(out_of_place());
        }
        let partition = arriving.partition;
        if have < size {
            arriving.value.extend_from_slice(piece);
            return Ok(());
        }
        // Most messages come in one piece and need no copy.
        if arriving.value.is_empty() {
            events(Event::Message {
                partition,
                value: piece,
            });
        } else {
            arriving.value.extend_from_slice(piece);
            events(Event::Message {
                partition,
                value: &arriving.value,
            });
        }
        self.spare = self
            .arriving
            .take()
            .map_or_else(Vec::new, |arriving| arriving.value);
        Ok(())
    }

    fn acknowledge(&mut self, out: &mut Vec<u8>) {
        // The newest may still be arriving; the server does not mind when it is acknowledged.
        if let Some(number) = self.unacknowledged.take() {
            put_method(out, CHANNEL, BASIC_ACK, |out| {
                out.extend_from_slice(&number.to_be_bytes());
                out.push(1);
            });
        }
    }
}

impl Conversation for Consumer {
    fn open(&mut self, out: &mut Vec<u8>, _events: &mut dyn FnMut(Event<'_>)) {
        self.handshake = Some(Handshake::open(out));
    }

    fn produce(&mut self, _ticket: Ticket, _batch: &Batch<'_>, _out: &mut Vec<u8>) {
        // A consumer is never asked to.
    }

    fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<usize, Broken> {
        let mut used = 0;
        while let Some((frame, length)) = Frame::read(&input[used..])? {
            used += length;
            match frame.kind {
                FRAME_METHOD => self.take_method(frame.payload, out, events)?,
                FRAME_HEADER => self.take_header(frame.payload, events)?,
                FRAME_BODY => self.take_body(frame.payload, events)?,
                FRAME_HEARTBEAT => {}
                kind => return Err(Broken(format!("a frame of kind {kind}"))),
            }
        }
        self.acknowledge(out);
        Ok(used)
    }
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
