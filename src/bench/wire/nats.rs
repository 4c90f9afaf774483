//! NATS JetStream: a stream per topic, a subject per partition, one acknowledged publish per message.
//!
//! A topic becomes one file-backed stream (one replica) that takes the subjects `topic.0`, `topic.1` and so on: that
//! is how partitions are made there, and it is kind to the peer, because all of them share one log. Messages are
//! published one by one with a reply subject, pipelined, as its own asynchronous publishers do; the server answers
//! each with a sequence or an error. A key travels as the header `Key`. Consumers are push consumers with flow
//! control and no acknowledgements, which is what its clients call ordered consumers. Pushes are not polled for, so
//! [`ConsumeOptions::max_wait`] and `max_bytes` mean nothing here.
//!
//! What an acknowledgement promises is the server's `sync_interval`: written to the page cache, or synced each.
//!
//! Settings of a [`TopicSpec`] are those of a stream configuration by their own names (`max_bytes`, `discard`, ...).

use std::io::Write;
use std::net::SocketAddr;

use serde_json::{Value, json};

mod consumer;
mod op;

use self::consumer::{Consumer, consumer_requests};
use self::op::{Delivery, Op, number, status_of};
use super::dial::{Line, homes};
use super::window::Window;
use super::{
    Acks, Batch, Broken, ConsumeOptions, Conversation, Door, Event, Layout, PartitionHome, PartitionIndex,
    ProduceOptions, Ticket, TopicSpec,
};

/// What we say of ourselves; `headers` and `no_responders` make the server tell when nobody takes a message.
const CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\
    \"lang\":\"rust\",\"version\":\"1\",\"protocol\":1,\"headers\":true,\"no_responders\":true}\r\n";

/// A NATS server with JetStream.
#[derive(Clone, Copy, Debug)]
pub struct NatsDoor {
    address: SocketAddr,
}

impl NatsDoor {
    /// The server at `address`.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self { address }
    }
}

impl Door for NatsDoor {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn prepare(&self, spec: &TopicSpec) -> anyhow::Result<Layout> {
        let mut api = Api::open(self.address)?;
        for topic in &spec.names {
            let stream = stream_name(topic);
            let mut config = json!({
                "name": stream, "subjects": [format!("{stream}.*")], "retention": "limits", "storage": "file",
                "num_replicas": 1, "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "discard": "old",
            });
            for (key, value) in &spec.settings {
                config[key] = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value.as_str()));
            }
            api.request(&format!("$JS.API.STREAM.CREATE.{stream}"), &config.to_string())?;
        }
        Ok(Layout {
            partitions: homes(spec, self.address),
        })
    }

    fn producer(
        &self,
        layout: &Layout,
        _address: SocketAddr,
        _partitions: &[PartitionIndex],
        options: ProduceOptions,
    ) -> anyhow::Result<Box<dyn Conversation>> {
        Ok(Box::new(Producer {
            inbox: inbox(),
            subjects: layout.partitions.iter().map(subject).collect(),
            window: (options.acks == Acks::All).then(Window::new),
            header: Vec::new(),
            greeted: false,
        }))
    }

    fn consumer(
        &self,
        layout: &Layout,
        _address: SocketAddr,
        partitions: &[PartitionIndex],
        options: ConsumeOptions,
    ) -> anyhow::Result<Box<dyn Conversation>> {
        let inbox = inbox();
        let requests = consumer_requests(layout, partitions, &inbox, options.start)?;
        let subjects = partitions
            .iter()
            .filter_map(|index| Some((subject(layout.partitions.get(index.0)?).into_bytes(), *index)))
            .collect();
        Ok(Box::new(Consumer {
            inbox,
            subjects,
            uncreated: requests.len(),
            requests,
        }))
    }

    fn clean_up(&self, spec: &TopicSpec) -> anyhow::Result<()> {
        let mut api = Api::open(self.address)?;
        for topic in &spec.names {
            api.request(&format!("$JS.API.STREAM.DELETE.{}", stream_name(topic)), "")?;
        }
        Ok(())
    }
}

/// Stream names are one token of a subject: no dots, spaces or wildcards.
fn stream_name(topic: &str) -> String {
    topic.replace(['.', ' ', '*', '>', '/', '\\', '\t'], "_")
}

fn subject(home: &PartitionHome) -> String {
    format!("{}.{}", stream_name(&home.topic), home.partition)
}

/// A subject prefix nobody else uses.
fn inbox() -> String {
    format!("_INBOX.{}", uuid::Uuid::new_v4().simple())
}

/// Publishes, and the answers to them.
struct Producer {
    inbox: String,
    subjects: Vec<String>,
    /// None when no answers are asked for.
    window: Option<Window>,
    /// The header block of the message being written.
    header: Vec<u8>,
    greeted: bool,
}

impl Conversation for Producer {
    fn open(&mut self, out: &mut Vec<u8>, _events: &mut dyn FnMut(Event<'_>)) {
        out.extend_from_slice(CONNECT);
        write_to(out, format_args!("SUB {}.* 1\r\nPING\r\n", self.inbox));
    }

    fn produce(&mut self, ticket: Ticket, batch: &Batch<'_>, out: &mut Vec<u8>) {
        let subject = &self.subjects[batch.partition.0];
        let first = self
            .window
            .as_mut()
            .map(|window| window.push(ticket, batch.messages.len()));
        for (message, offset) in batch.messages.iter().zip(0u64..) {
            self.header.clear();
            if let Some(key) = message.key {
                write_key(&mut self.header, key);
            }
            let verb = if self.header.is_empty() { "PUB" } else { "HPUB" };
            write_to(out, format_args!("{verb} {subject}"));
            if let Some(first) = first {
                write_to(out, format_args!(" {}.{}", self.inbox, first + offset));
            }
            if !self.header.is_empty() {
                write_to(out, format_args!(" {}", self.header.len()));
            }
            write_to(
                out,
                format_args!(" {}\r\n", self.header.len() + message.value.len()),
            );
            out.extend_from_slice(&self.header);
            out.extend_from_slice(message.value);
            out.extend_from_slice(b"\r\n");
        }
    }

    fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<usize, Broken> {
        let mut used = 0;
        while let Some((op, length)) = Op::read(&input[used..])? {
            match op {
                Op::Ping => out.extend_from_slice(b"PONG\r\n"),
                Op::Pong if !self.greeted => {
                    self.greeted = true;
                    events(Event::Ready);
                }
                Op::Deliver(delivery) => {
                    if let Some(window) = &mut self.window {
                        let number = number_of(&delivery, &self.inbox)?;
                        window.settle(number, refusal(&delivery).as_deref(), events)?;
                    }
                }
                Op::Pong | Op::Info => {}
            }
            used += length;
        }
        Ok(used)
    }
}

/// The message number an answer's subject ends in.
fn number_of(delivery: &Delivery<'_>, inbox: &str) -> Result<u64, Broken> {
    delivery
        .subject
        .strip_prefix(inbox.as_bytes())
        .and_then(|rest| rest.strip_prefix(b"."))
        .and_then(number)
        .ok_or_else(|| {
            Broken(format!(
                "an answer to {}",
                String::from_utf8_lossy(delivery.subject)
            ))
        })
}

/// Why the server refused what this answers, if it did.
fn refusal(delivery: &Delivery<'_>) -> Option<String> {
    if let Some(status) = status_of(delivery.header) {
        return Some(format!("status {}", String::from_utf8_lossy(status)));
    }
    // An acknowledgement is a few dozen bytes; parsing each as JSON would be time taken from the measured.
    let error = delivery
        .payload
        .windows(b"\"error\"".len())
        .any(|window| window == b"\"error\"");
    let acknowledged = delivery.payload.starts_with(b"{") && !error;
    (!acknowledged).then(|| String::from_utf8_lossy(delivery.payload).into_owned())
}

/// The header block of a message with a key. Bytes that would end a header line early go as hexadecimal.
fn write_key(header: &mut Vec<u8>, key: &[u8]) {
    header.extend_from_slice(b"NATS/1.0\r\nKey: ");
    if key.iter().all(u8::is_ascii_graphic) {
        header.extend_from_slice(key);
    } else {
        for byte in key {
            write_to(header, format_args!("{byte:02x}"));
        }
    }
    header.extend_from_slice(b"\r\n\r\n");
}

/// Appends formatted text.
fn write_to(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes every byte");
}

/// Requests to the server's own API, one at a time.
struct Api {
    line: Line,
    inbox: String,
}

impl Api {
    fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let mut line = Line::dial(address)?;
        let inbox = inbox();
        line.send(CONNECT)?;
        line.send(format!("SUB {inbox} 1\r\nPING\r\n").as_bytes())?;
        line.until(|input| {
            let next = Op::read(input)?;
            Ok(next.map_or((0, None), |(op, length)| (length, (op == Op::Pong).then_some(()))))
        })?;
        Ok(Self { line, inbox })
    }

    fn request(&mut self, subject: &str, body: &str) -> anyhow::Result<()> {
        let request = format!("PUB {subject} {} {}\r\n{body}\r\n", self.inbox, body.len());
        self.line.send(request.as_bytes())?;
        let refusal = self.line.until(|input| {
            Ok(match Op::read(input)? {
                None => (0, None),
                Some((Op::Deliver(delivery), length)) => (length, Some(refusal(&delivery))),
                // A ping in the middle of a few requests may go unanswered: the server asks again before it gives up.
                Some((_, length)) => (length, None),
            })
        })?;
        refusal.map_or(Ok(()), |reason| Err(anyhow::anyhow!("{subject}: {reason}")))
    }
}

#[cfg(test)]
mod tests;
