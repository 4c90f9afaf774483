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

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;

use serde_json::{Value, json};

mod op;

use self::op::{Delivery, Op, header_value, number, status_of};
use super::dial::Line;
use super::window::Window;
use super::{
    Acks, Batch, Broken, ConsumeOptions, Conversation, Door, Event, Layout, PartitionHome, PartitionIndex,
    ProduceOptions, StartAt, Ticket, TopicSpec,
};

/// How often an idle push consumer tells that it is alive, in nanoseconds.
const IDLE_HEARTBEAT_NS: u64 = 5_000_000_000;
/// After this long without its subscriber the server removes a consumer, in nanoseconds.
const INACTIVE_NS: u64 = 60_000_000_000;
/// Subscription of answers.
const SID_ANSWERS: &[u8] = b"1";
/// Subscription of pushed messages.
const SID_PUSHES: &[u8] = b"2";
/// The token that answers to a consumer's creation carry in place of a message number.
const TOKEN_CREATED: &[u8] = b"created";
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
        let mut layout = Layout::default();
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
            layout
                .partitions
                .extend((0..spec.partitions).map(|partition| PartitionHome {
                    topic: topic.clone(),
                    partition,
                    address: self.address,
                }));
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

/// One creation request per topic: its subject and its body.
fn consumer_requests(
    layout: &Layout,
    partitions: &[PartitionIndex],
    inbox: &str,
    start: StartAt,
) -> anyhow::Result<Vec<(String, String)>> {
    let mut wanted: Vec<(String, Vec<String>)> = Vec::new();
    for index in partitions {
        let home = layout
            .partitions
            .get(index.0)
            .ok_or_else(|| anyhow::anyhow!("partition {} is not in the layout", index.0))?;
        let stream = stream_name(&home.topic);
        match wanted.iter_mut().find(|(name, _)| *name == stream) {
            Some((_, filters)) => filters.push(subject(home)),
            None => wanted.push((stream, vec![subject(home)])),
        }
    }
    let request = |(stream, filters): (String, Vec<String>)| {
        let all = layout
            .partitions
            .iter()
            .filter(|home| stream_name(&home.topic) == stream)
            .count();
        // A consumer of everything needs no list to look each message up in.
        let filters = if filters.len() == all { Vec::new() } else { filters };
        let policy = match start {
            StartAt::Latest => "new",
            StartAt::Earliest => "all",
        };
        let body = json!({"stream_name": stream, "config": {
            "deliver_subject": format!("{inbox}.push"), "deliver_policy": policy, "ack_policy": "none",
            "replay_policy": "instant", "filter_subjects": filters, "flow_control": true,
            "idle_heartbeat": IDLE_HEARTBEAT_NS, "inactive_threshold": INACTIVE_NS, "num_replicas": 1,
            "mem_storage": true,
        }});
        (format!("$JS.API.CONSUMER.CREATE.{stream}"), body.to_string())
    };
    Ok(wanted.into_iter().map(request).collect())
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

/// Pushed messages, and the server's flow control.
struct Consumer {
    inbox: String,
    subjects: HashMap<Vec<u8>, PartitionIndex>,
    requests: Vec<(String, String)>,
    /// Creation requests not yet answered.
    uncreated: usize,
}

impl Conversation for Consumer {
    fn open(&mut self, out: &mut Vec<u8>, _events: &mut dyn FnMut(Event<'_>)) {
        out.extend_from_slice(CONNECT);
        // The interest comes before the consumer, so that nothing it pushes finds nobody.
        let inbox = &self.inbox;
        write_to(
            out,
            format_args!("SUB {inbox}.created 1\r\nSUB {inbox}.push 2\r\n"),
        );
        for (subject, body) in &self.requests {
            let length = body.len();
            write_to(
                out,
                format_args!("PUB {subject} {inbox}.created {length}\r\n{body}\r\n"),
            );
        }
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
        while let Some((op, length)) = Op::read(&input[used..])? {
            match op {
                Op::Ping => out.extend_from_slice(b"PONG\r\n"),
                Op::Deliver(delivery) if delivery.sid == SID_ANSWERS => self.created(&delivery, events)?,
                Op::Deliver(delivery) if delivery.sid == SID_PUSHES => self.pushed(&delivery, out, events)?,
                Op::Deliver(_) => return Err(Broken("a message of no subscription".to_owned())),
                Op::Pong | Op::Info => {}
            }
            used += length;
        }
        Ok(used)
    }
}

impl Consumer {
    fn created(&mut self, delivery: &Delivery<'_>, events: &mut dyn FnMut(Event<'_>)) -> Result<(), Broken> {
        if !delivery.subject.ends_with(TOKEN_CREATED) {
            return Err(Broken("an answer to nothing asked".to_owned()));
        }
        if let Some(reason) = refusal(delivery) {
            return Err(Broken(format!("the consumer was refused: {reason}")));
        }
        self.uncreated = self
            .uncreated
            .checked_sub(1)
            .ok_or_else(|| Broken("an answer to nothing asked".to_owned()))?;
        if self.uncreated == 0 {
            events(Event::Ready);
        }
        Ok(())
    }

    fn pushed(
        &self,
        delivery: &Delivery<'_>,
        out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Broken> {
        match status_of(delivery.header) {
            None => {
                let partition = self.subjects.get(delivery.subject).copied().ok_or_else(|| {
                    Broken(format!(
                        "a message of subject {}",
                        String::from_utf8_lossy(delivery.subject)
                    ))
                })?;
                let value = delivery.payload;
                events(Event::Message { partition, value });
                Ok(())
            }
            // Flow control asks by its reply subject, a heartbeat of a stalled consumer by a header.
            Some(status) if status.starts_with(b"100") => {
                let asked = delivery
                    .reply
                    .or_else(|| header_value(delivery.header, b"Nats-Consumer-Stalled"));
                if let Some(asked) = asked {
                    out.extend_from_slice(b"PUB ");
                    out.extend_from_slice(asked);
                    out.extend_from_slice(b" 0\r\n\r\n");
                }
                Ok(())
            }
            Some(status) => Err(Broken(format!(
                "the consumer ended: {}",
                String::from_utf8_lossy(status)
            ))),
        }
    }
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
mod tests {
    use super::super::script::{Script, layout, message};
    use super::*;

    fn producer(acks: Acks) -> Box<dyn Conversation> {
        let options = ProduceOptions {
            acks,
            stages: false,
            idempotent: false,
        };
        let door = NatsDoor::new(SocketAddr::from(([127, 0, 0, 1], 1)));
        let layout = layout("my.topic", 2);
        door.producer(&layout, door.address, &[], options).unwrap()
    }

    fn consumer(start: StartAt) -> Consumer {
        let inbox = "_INBOX.me".to_owned();
        let layout = layout("t", 2);
        let all = [PartitionIndex(0), PartitionIndex(1)];
        let requests = consumer_requests(&layout, &all, &inbox, start).unwrap();
        Consumer {
            inbox,
            subjects: all
                .iter()
                .map(|index| (subject(&layout.partitions[index.0]).into_bytes(), *index))
                .collect(),
            uncreated: requests.len(),
            requests,
        }
    }

    #[test]
    fn a_batch_is_acknowledged_after_all_of_its_publishes_however_the_answers_are_cut() {
        let mut talk = producer(Acks::All);
        let mut script = Script::open(&mut *talk);
        let opened = script.sent_text();
        let inbox = opened
            .split("SUB ")
            .nth(1)
            .and_then(|rest| rest.split(".*").next())
            .unwrap()
            .to_owned();
        script.hear(b"INFO {\"max_payload\":1048576}\r\nPONG\r\n");
        assert_eq!(script.told(), ["ready"]);
        script.produce(9, 1, &[message(None, b"abc"), message(Some(b"k1"), b"de")]);
        assert_eq!(
            script.sent_text(),
            format!(
                "PUB my_topic.1 {inbox}.1 3\r\nabc\r\n\
                 HPUB my_topic.1 {inbox}.2 21 23\r\nNATS/1.0\r\nKey: k1\r\n\r\nde\r\n"
            )
        );
        let ack = |number: u32| {
            format!("MSG {inbox}.{number} 1 24\r\n{{\"stream\":\"t\",\"seq\":123}}\r\n").into_bytes()
        };
        script.hear(&ack(2));
        script.hear(b"PING\r\n");
        assert!(script.told().is_empty());
        assert_eq!(script.sent_text(), "PONG\r\n");
        script.hear(&ack(1));
        assert_eq!(script.told(), ["acked 9"]);
    }

    #[test]
    fn refusals_and_silence_of_the_stream_fail_the_batch() {
        let mut talk = producer(Acks::All);
        let mut script = Script::open(&mut *talk);
        let inbox = script.sent_text();
        let inbox = inbox.split("SUB ").nth(1).unwrap().split(".*").next().unwrap();
        script.produce(1, 0, &[message(None, b"x")]);
        script.produce(2, 0, &[message(None, b"x")]);
        let body = "{\"error\":{\"code\":503}}";
        script.hear(format!("MSG {inbox}.1 1 {}\r\n{body}\r\n", body.len()).as_bytes());
        script.hear(format!("HMSG {inbox}.2 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n").as_bytes());
        let told = script.told();
        assert_eq!(told.len(), 2);
        assert!(
            told[0].starts_with("failed 1") && told[0].contains("503"),
            "{told:?}"
        );
        assert!(
            told[1].starts_with("failed 2") && told[1].contains("503"),
            "{told:?}"
        );
    }

    #[test]
    fn answers_to_nothing_break_the_conversation() {
        for bad in [
            "MSG other.1 1 2\r\n{}\r\n".to_owned(),
            "MSG _INBOX.x 1 2\r\n{}\r\n".to_owned(),
        ] {
            let mut talk = producer(Acks::All);
            let mut script = Script::open(&mut *talk);
            script.hear_broken(bad.as_bytes());
        }
    }

    #[test]
    fn publishes_without_acknowledgement_carry_no_reply() {
        let mut talk = producer(Acks::None);
        let mut script = Script::open(&mut *talk);
        script.sent_text();
        script.produce(1, 0, &[message(None, b"x")]);
        assert_eq!(script.sent_text(), "PUB my_topic.0 1\r\nx\r\n");
    }

    #[test]
    fn a_consumer_is_ready_when_created_hears_its_partitions_and_answers_flow_control() {
        let mut talk = consumer(StartAt::Earliest);
        let mut script = Script::open(&mut talk);
        let opened = script.sent_text();
        assert!(
            opened.contains("PUB $JS.API.CONSUMER.CREATE.t _INBOX.me.created"),
            "{opened}"
        );
        assert!(opened.contains("\"deliver_policy\":\"all\""), "{opened}");
        script.hear(
            b"INFO {}\r\nMSG _INBOX.me.created 1 13\r\n{\"name\":\"c\"} \r\n\r\n"[..]
                .strip_suffix(b"\r\n")
                .unwrap(),
        );
        assert_eq!(script.told(), ["ready"]);
        script.hear(b"MSG t.1 2 $JS.ACK.t.c.1.1.1.1.0 5\r\nhello\r\n");
        assert_eq!(script.told(), ["message 1 hello"]);
        let flow = b"NATS/1.0 100 FlowControl Request\r\n\r\n";
        script.hear(format!("HMSG _INBOX.me.push 2 $JS.FC.t.x {0} {0}\r\n", flow.len()).as_bytes());
        script.hear(&[&flow[..], b"\r\n"].concat());
        assert_eq!(script.sent_text(), "PUB $JS.FC.t.x 0\r\n\r\n");
        assert!(script.told().is_empty());
        script.hear_broken(b"MSG t.7 2 1\r\nx\r\n");
    }

    #[test]
    fn a_consumer_of_some_partitions_names_them() {
        let requests =
            consumer_requests(&layout("t", 3), &[PartitionIndex(2)], "i", StartAt::Latest).unwrap();
        assert_eq!(requests.len(), 1);
        assert!(requests[0].1.contains("[\"t.2\"]"), "{requests:?}");
        assert!(requests[0].1.contains("\"new\""), "{requests:?}");
    }
}
