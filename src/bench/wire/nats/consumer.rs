//! Push consumers: created by request, pushed to at once, kept going by answers to the server's flow control.

use std::collections::HashMap;

use serde_json::json;

use super::op::{Delivery, Op, header_value, status_of};
use super::{CONNECT, refusal, stream_name, subject, write_to};
use crate::bench::wire::{Batch, Broken, Conversation, Event, Layout, PartitionIndex, StartAt, Ticket};

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

/// Pushed messages, and the server's flow control.
pub(super) struct Consumer {
    pub(super) inbox: String,
    pub(super) subjects: HashMap<Vec<u8>, PartitionIndex>,
    pub(super) requests: Vec<(String, String)>,
    /// Creation requests not yet answered.
    pub(super) uncreated: usize,
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

/// One creation request per topic: its subject and its body.
pub(super) fn consumer_requests(
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
