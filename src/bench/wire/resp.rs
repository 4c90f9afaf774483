//! Redis Streams: a stream per partition, `XADD` per message, `XREAD` for consumers.
//!
//! A partition is the key `topic.N`. Messages are added one by one, pipelined, with the field `v` (and `k` for a key);
//! each is answered with its id, in order. Consumers are plain readers, not consumer groups: they read from all of
//! their partitions at once with a blocking `XREAD`, and from the id they last saw.
//!
//! What an acknowledgement promises is the server's `appendfsync`: the answers of one turn of its event loop wait for
//! one sync (`always`), or for none.
//!
//! The setting `maxlen` of a [`TopicSpec`] trims each stream to about so many entries, which is its retention.

mod consumer;
mod reads;
mod token;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use self::consumer::{Consumer, Cursor};
use self::token::Token;
use super::dial::{Line, homes};
use super::window::Window;
use super::{
    Acks, Batch, Broken, ConsumeOptions, Conversation, Door, Event, Layout, PartitionHome, PartitionIndex,
    ProduceOptions, Ticket, TopicSpec,
};

/// Field of the message.
const VALUE_FIELD: &[u8] = b"v";
/// Field of its key.
const KEY_FIELD: &[u8] = b"k";
/// A consumer group made only because that makes an empty stream, and removed at once.
const MAKER_GROUP: &[u8] = b"corelog-bench";

/// A Redis server.
#[derive(Debug)]
pub struct RespDoor {
    address: SocketAddr,
    /// Entries to keep per stream; 0 for all.
    entries_max: AtomicU64,
}

impl RespDoor {
    /// The server at `address`.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self {
            address,
            entries_max: AtomicU64::new(0),
        }
    }
}

impl Door for RespDoor {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn prepare(&self, spec: &TopicSpec) -> anyhow::Result<Layout> {
        for (key, value) in &spec.settings {
            anyhow::ensure!(key == "maxlen", "a Redis stream has no setting {key}");
            self.entries_max.store(value.parse()?, Ordering::Relaxed);
        }
        let layout = Layout {
            partitions: homes(spec, self.address),
        };
        let mut line = Line::dial(self.address)?;
        for home in &layout.partitions {
            let key = key_of(home);
            ask(
                &mut line,
                &[
                    b"XGROUP",
                    b"CREATE",
                    key.as_bytes(),
                    MAKER_GROUP,
                    b"$",
                    b"MKSTREAM",
                ],
            )?;
            ask(&mut line, &[b"XGROUP", b"DESTROY", key.as_bytes(), MAKER_GROUP])?;
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
        let entries_max = self.entries_max.load(Ordering::Relaxed);
        Ok(Box::new(Producer {
            heads: layout
                .partitions
                .iter()
                .map(|home| add_head(&key_of(home), entries_max))
                .collect(),
            window: (options.acks == Acks::All).then(Window::new),
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
        let cursor = |index: &PartitionIndex| {
            let home = layout.partitions.get(index.0)?;
            Some(Cursor {
                partition: *index,
                key: key_of(home),
                last: "0-0".to_owned(),
            })
        };
        let cursors = partitions
            .iter()
            .map(cursor)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| anyhow::anyhow!("a partition that is not in the layout"))?;
        Ok(Box::new(Consumer::new(cursors, options)))
    }

    fn clean_up(&self, spec: &TopicSpec) -> anyhow::Result<()> {
        let mut line = Line::dial(self.address)?;
        for home in homes(spec, self.address) {
            ask(&mut line, &[b"DEL", key_of(&home).as_bytes()])?;
        }
        Ok(())
    }
}

fn key_of(home: &PartitionHome) -> String {
    format!("{}.{}", home.topic, home.partition)
}

/// Appends one argument of a command.
fn argument(out: &mut Vec<u8>, bytes: &[u8]) {
    write!(out, "${}\r\n", bytes.len()).expect("a vector takes every byte");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    write!(out, "*{}\r\n", arguments.len()).expect("a vector takes every byte");
    for bytes in arguments {
        argument(out, bytes);
    }
}

/// One request and its one-token answer.
fn ask(line: &mut Line, arguments: &[&[u8]]) -> anyhow::Result<()> {
    let mut request = Vec::new();
    command(&mut request, arguments);
    line.send(&request)?;
    let refused = line.until(|input| {
        Ok(match Token::read(input)? {
            None => (0, None),
            Some((Token::Error(words), length)) => {
                (length, Some(Some(String::from_utf8_lossy(words).into_owned())))
            }
            Some((_, length)) => (length, Some(None)),
        })
    })?;
    refused.map_or(Ok(()), |words| Err(anyhow::anyhow!("the server says {words}")))
}

/// The arguments of `XADD` that are the same for every message of a partition.
fn add_head(key: &str, entries_max: u64) -> Head {
    let mut bytes = Vec::new();
    argument(&mut bytes, b"XADD");
    argument(&mut bytes, key.as_bytes());
    let mut count = 3;
    if entries_max > 0 {
        for word in ["MAXLEN", "~", &entries_max.to_string()] {
            argument(&mut bytes, word.as_bytes());
        }
        count += 3;
    }
    argument(&mut bytes, b"*");
    Head { bytes, count }
}

struct Head {
    bytes: Vec<u8>,
    /// Arguments in `bytes`.
    count: usize,
}

/// Adds, and their answers.
struct Producer {
    heads: Vec<Head>,
    /// None when the answers, which come all the same, mean nothing.
    window: Option<Window>,
    greeted: bool,
}

impl Conversation for Producer {
    fn open(&mut self, out: &mut Vec<u8>, _events: &mut dyn FnMut(Event<'_>)) {
        command(out, &[b"PING"]);
    }

    fn produce(&mut self, ticket: Ticket, batch: &Batch<'_>, out: &mut Vec<u8>) {
        let head = &self.heads[batch.partition.0];
        for message in batch.messages {
            let fields = if message.key.is_some() { 4 } else { 2 };
            write!(out, "*{}\r\n", head.count + fields).expect("a vector takes every byte");
            out.extend_from_slice(&head.bytes);
            if let Some(key) = message.key {
                argument(out, KEY_FIELD);
                argument(out, key);
            }
            argument(out, VALUE_FIELD);
            argument(out, message.value);
        }
        if let Some(window) = &mut self.window {
            window.push(ticket, batch.messages.len());
        }
    }

    fn receive(
        &mut self,
        input: &[u8],
        _out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<usize, Broken> {
        let mut used = 0;
        while let Some((token, length)) = Token::read(&input[used..])? {
            used += length;
            if !self.greeted {
                if token != Token::Simple(b"PONG") {
                    return Err(Broken(format!("{token:?} for a greeting")));
                }
                self.greeted = true;
                events(Event::Ready);
                continue;
            }
            let refused = match token {
                Token::Bulk(_id) => None,
                Token::Error(words) => Some(String::from_utf8_lossy(words)),
                other => return Err(Broken(format!("{other:?} for an added entry"))),
            };
            if let Some(window) = &mut self.window {
                let oldest = window
                    .oldest()
                    .ok_or_else(|| Broken("an answer to nothing asked".to_owned()))?;
                window.settle(oldest, refused.as_deref(), events)?;
            }
        }
        Ok(used)
    }
}

#[cfg(test)]
mod tests;
