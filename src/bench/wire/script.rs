//! A broker of hand-made bytes for the tests of conversations.
//!
//! Everything it says is given twice: in one piece, and in every prefix growing byte by byte as a socket might; so a
//! conversation that depends on where its input is cut fails the test that happens to use it.

use super::{Batch, Conversation, Event, Layout, PartitionHome, PartitionIndex, Ticket};
use crate::bench::payload::Message;

/// A conversation under test.
pub(super) struct Script<'a> {
    talk: &'a mut dyn Conversation,
    out: Vec<u8>,
    unused: Vec<u8>,
    told: Vec<String>,
}

impl<'a> Script<'a> {
    pub(super) fn open(talk: &'a mut dyn Conversation) -> Self {
        let mut script = Self {
            talk,
            out: Vec::new(),
            unused: Vec::new(),
            told: Vec::new(),
        };
        let told = &mut script.told;
        script
            .talk
            .open(&mut script.out, &mut |event| told.push(tell(&event)));
        script
    }

    pub(super) fn produce(&mut self, ticket: Ticket, partition: usize, messages: &[Message<'_>]) {
        let batch = Batch {
            partition: PartitionIndex(partition),
            messages,
            timestamp_ms: 0,
        };
        self.talk.produce(ticket, &batch, &mut self.out);
    }

    /// The broker says `bytes`, one at a time.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.unused.push(*byte);
            self.receive().expect("these bytes break nothing");
        }
    }

    /// The broker says `bytes` at once, and they break the conversation.
    pub(super) fn hear_broken(&mut self, bytes: &[u8]) {
        self.unused.extend_from_slice(bytes);
        self.receive().expect_err("these bytes are wrong");
    }

    fn receive(&mut self) -> Result<(), super::Broken> {
        let told = &mut self.told;
        let used = self
            .talk
            .receive(&self.unused, &mut self.out, &mut |event| told.push(tell(&event)))?;
        self.unused.drain(..used);
        Ok(())
    }

    /// What the conversation reported since the last call.
    pub(super) fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// What it sent since the last call.
    pub(super) fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// The same as text.
    pub(super) fn sent_text(&mut self) -> String {
        String::from_utf8(self.sent()).unwrap()
    }
}

fn tell(event: &Event<'_>) -> String {
    match event {
        Event::Ready => "ready".to_owned(),
        Event::Acked { ticket, .. } => format!("acked {ticket}"),
        Event::Failed { ticket, reason } => format!("failed {ticket} {reason}"),
        Event::Message { partition, value } => {
            format!("message {} {}", partition.0, String::from_utf8_lossy(value))
        }
    }
}

pub(super) fn message<'a>(key: Option<&'a [u8]>, value: &'a [u8]) -> Message<'a> {
    Message { key, value }
}

pub(super) fn layout(topic: &str, partitions: u32) -> Layout {
    Layout {
        partitions: (0..partitions)
            .map(|partition| PartitionHome {
                topic: topic.to_owned(),
                partition,
                address: std::net::SocketAddr::from(([127, 0, 0, 1], 1)),
            })
            .collect(),
    }
}
