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

mod reads;
mod token;

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use self::reads::{Part, Reads};
use self::token::Token;
use super::dial::Line;
use super::window::Window;
use super::{
    Acks, Batch, Broken, ConsumeOptions, Conversation, Door, Event, Layout, PartitionHome, PartitionIndex,
    ProduceOptions, StartAt, Ticket, TopicSpec,
};

/// Field of the message.
const VALUE_FIELD: &[u8] = b"v";
/// Field of its key.
const KEY_FIELD: &[u8] = b"k";
/// Bytes we take a message to have when an answer's size is turned into its count of entries.
const MESSAGE_BYTES_GUESS: u32 = 512;
/// Answers with the id of a stream's last entry, in one token.
const LAST_ID_SCRIPT: &[u8] = b"local e = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1) \
    return e[1] and e[1][1] or '0-0'";
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

fn id_of(bytes: &[u8]) -> Result<&str, Broken> {
    std::str::from_utf8(bytes).map_err(|_not_text| Broken("an id that is no text".to_owned()))
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

/// How far one partition was read.
#[derive(Debug)]
struct Cursor {
    partition: PartitionIndex,
    key: String,
    /// Id of the last entry seen.
    last: String,
}

/// What a consumer's next reply is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Where the streams end now, so many of which are known, and then a greeting.
    Ends(usize),
    /// Messages.
    Reading,
}

/// Blocking reads, one after the other.
struct Consumer {
    cursors: Vec<Cursor>,
    by_key: HashMap<Vec<u8>, usize>,
    phase: Phase,
    options: ConsumeOptions,
    reads: Reads,
    /// The partition the reply is in, as an index into `cursors`.
    current: Option<usize>,
}

impl Consumer {
    fn new(cursors: Vec<Cursor>, options: ConsumeOptions) -> Self {
        Self {
            by_key: cursors
                .iter()
                .zip(0..)
                .map(|(cursor, index)| (cursor.key.clone().into_bytes(), index))
                .collect(),
            cursors,
            phase: Phase::Ends(0),
            options,
            reads: Reads::default(),
            current: None,
        }
    }

    fn poll(&self, out: &mut Vec<u8>) {
        let count = (self.options.max_bytes / MESSAGE_BYTES_GUESS).max(1).to_string();
        // A wait of 0 would be one without end.
        let wait = self.options.max_wait.as_millis().max(1).to_string();
        write!(out, "*{}\r\n", 6 + 2 * self.cursors.len()).expect("a vector takes every byte");
        for word in ["XREAD", "COUNT", &count, "BLOCK", &wait, "STREAMS"] {
            argument(out, word.as_bytes());
        }
        for cursor in &self.cursors {
            argument(out, cursor.key.as_bytes());
        }
        for cursor in &self.cursors {
            argument(out, cursor.last.as_bytes());
        }
    }

    /// Takes the answer to where a stream ends, or the greeting behind the last of them.
    fn take_end(
        &mut self,
        answered: usize,
        token: &Token<'_>,
        out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Broken> {
        match (token, self.cursors.get_mut(answered)) {
            (Token::Bulk(id), Some(cursor)) => {
                id_of(id)?.clone_into(&mut cursor.last);
                self.phase = Phase::Ends(answered + 1);
                Ok(())
            }
            (Token::Simple(b"PONG"), _) => {
                self.phase = Phase::Reading;
                events(Event::Ready);
                self.poll(out);
                Ok(())
            }
            (other, _) => Err(Broken(format!("{other:?} for a greeting"))),
        }
    }

    fn take_read(&mut self, token: &Token<'_>, events: &mut dyn FnMut(Event<'_>)) -> Result<(), Broken> {
        match self.reads.take(token)? {
            Part::Structure => Ok(()),
            Part::Stream(name) => {
                self.current = self.by_key.get(name).copied();
                self.current
                    .map(|_found| ())
                    .ok_or_else(|| Broken(format!("a message of stream {}", String::from_utf8_lossy(name))))
            }
            Part::Entry(id) => {
                let id = id_of(id)?;
                let cursor = self.cursor_mut()?;
                cursor.last.clear();
                cursor.last.push_str(id);
                Ok(())
            }
            Part::Value(value) => {
                let partition = self.cursor_mut()?.partition;
                events(Event::Message { partition, value });
                Ok(())
            }
        }
    }

    fn cursor_mut(&mut self) -> Result<&mut Cursor, Broken> {
        self.current
            .and_then(|index| self.cursors.get_mut(index))
            .ok_or_else(|| Broken("an entry of no stream".to_owned()))
    }
}

impl Conversation for Consumer {
    fn open(&mut self, out: &mut Vec<u8>, _events: &mut dyn FnMut(Event<'_>)) {
        // The id `$` of XREAD would be taken anew by each poll, and lose what comes between two of them.
        if self.options.start == StartAt::Latest {
            for cursor in &self.cursors {
                command(out, &[b"EVAL", LAST_ID_SCRIPT, b"1", cursor.key.as_bytes()]);
            }
        }
        command(out, &[b"PING"]);
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
        while let Some((token, length)) = Token::read(&input[used..])? {
            used += length;
            match self.phase {
                Phase::Ends(answered) => self.take_end(answered, &token, out, events)?,
                Phase::Reading => {
                    self.take_read(&token, events)?;
                    if self.reads.is_done() {
                        self.poll(out);
                    }
                }
            }
        }
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::script::{Script, layout, message};
    use super::*;

    fn door() -> RespDoor {
        RespDoor::new(SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    fn producer(door: &RespDoor, acks: Acks) -> Box<dyn Conversation> {
        let options = ProduceOptions {
            acks,
            stages: false,
            idempotent: false,
        };
        door.producer(&layout("t", 2), door.address, &[], options)
            .unwrap()
    }

    fn consumer(start: StartAt) -> Box<dyn Conversation> {
        let options = ConsumeOptions {
            start,
            max_bytes: 1024,
            max_wait: Duration::from_millis(250),
        };
        let door = door();
        let all = [PartitionIndex(0), PartitionIndex(1)];
        door.consumer(&layout("t", 2), door.address, &all, options)
            .unwrap()
    }

    #[test]
    fn a_batch_is_acknowledged_after_all_of_its_adds_however_the_answers_are_cut() {
        let door = door();
        let mut talk = producer(&door, Acks::All);
        let mut script = Script::open(&mut *talk);
        assert_eq!(script.sent_text(), "*1\r\n$4\r\nPING\r\n");
        script.hear(b"+PONG\r\n");
        assert_eq!(script.told(), ["ready"]);
        script.produce(5, 1, &[message(None, b"a"), message(Some(b"key"), b"bb")]);
        assert_eq!(
            script.sent_text(),
            "*5\r\n$4\r\nXADD\r\n$3\r\nt.1\r\n$1\r\n*\r\n$1\r\nv\r\n$1\r\na\r\n\
             *7\r\n$4\r\nXADD\r\n$3\r\nt.1\r\n$1\r\n*\r\n$1\r\nk\r\n$3\r\nkey\r\n$1\r\nv\r\n$2\r\nbb\r\n"
        );
        script.hear(b"$3\r\n1-0\r\n");
        assert!(script.told().is_empty());
        script.hear(b"-OOM too much\r\n");
        assert_eq!(script.told(), ["failed 5 OOM too much"]);
        script.produce(6, 0, &[message(None, b"c")]);
        script.hear(b"$3\r\n1-1\r\n");
        assert_eq!(script.told(), ["acked 6"]);
        script.hear_broken(b"$3\r\n1-2\r\n");
    }

    #[test]
    fn a_bound_on_entries_is_part_of_each_add() {
        let door = door();
        door.entries_max.store(50, Ordering::Relaxed);
        let mut talk = producer(&door, Acks::None);
        let mut script = Script::open(&mut *talk);
        script.hear(b"+PONG\r\n");
        script.sent();
        script.produce(1, 0, &[message(None, b"c")]);
        assert_eq!(
            script.sent_text(),
            "*8\r\n$4\r\nXADD\r\n$3\r\nt.0\r\n$6\r\nMAXLEN\r\n$1\r\n~\r\n$2\r\n50\r\n$1\r\n*\r\n$1\r\nv\r\n$1\r\nc\r\n"
        );
        script.hear(b"$3\r\n1-1\r\n");
        assert_eq!(script.told(), ["ready"]);
    }

    #[test]
    fn a_producer_refuses_answers_that_are_none() {
        for bad in [&b":1\r\n"[..], b"-NOAUTH\r\n", b"+PONG\r\n:1\r\n", b"*1\r\n"] {
            let door = door();
            let mut talk = producer(&door, Acks::All);
            Script::open(&mut *talk).hear_broken(bad);
        }
    }

    #[test]
    fn a_consumer_reads_on_from_the_last_entry_of_each_stream() {
        let mut talk = consumer(StartAt::Latest);
        let mut script = Script::open(&mut *talk);
        assert!(script.sent_text().starts_with("*4\r\n$4\r\nEVAL\r\n"));
        script.hear(b"$3\r\n7-1\r\n$3\r\n0-0\r\n+PONG\r\n");
        assert_eq!(script.told(), ["ready"]);
        let poll = |first: &str, second: &str| {
            format!(
                "*10\r\n$5\r\nXREAD\r\n$5\r\nCOUNT\r\n$1\r\n2\r\n$5\r\nBLOCK\r\n$3\r\n250\r\n$7\r\nSTREAMS\r\n\
                 $3\r\nt.0\r\n$3\r\nt.1\r\n$3\r\n{first}\r\n$3\r\n{second}\r\n"
            )
        };
        assert_eq!(script.sent_text(), poll("7-1", "0-0"));
        script.hear(b"*-1\r\n");
        assert_eq!(script.sent_text(), poll("7-1", "0-0"));
        script.hear(
            b"*1\r\n*2\r\n$3\r\nt.1\r\n*2\r\n*2\r\n$3\r\n8-0\r\n*2\r\n$1\r\nv\r\n$2\r\nhi\r\n\
              *2\r\n$3\r\n8-1\r\n*4\r\n$1\r\nk\r\n$1\r\nv\r\n$1\r\nv\r\n$2\r\nho\r\n",
        );
        assert_eq!(script.told(), ["message 1 hi", "message 1 ho"]);
        assert_eq!(script.sent_text(), poll("7-1", "8-1"));
    }

    #[test]
    fn a_consumer_from_the_start_asks_for_no_ends_and_refuses_strange_streams() {
        let mut talk = consumer(StartAt::Earliest);
        let mut script = Script::open(&mut *talk);
        assert_eq!(script.sent_text(), "*1\r\n$4\r\nPING\r\n");
        script.hear(b"+PONG\r\n");
        script.hear_broken(b"*1\r\n*2\r\n$1\r\nx\r\n");
    }
}
