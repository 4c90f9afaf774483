//! A consumer's side of a native connection: greeting, subscriptions with credit, and pushes from then on.
//!
//! Credit is given back push by push, as much as each used, so the broker may always have as much under way as at the
//! beginning and never waits for a poll. Records are read where they lie in the input; the engine's buffer keeps frames at
//! their alignment, and a batch that is not aligned all the same is copied.

use std::collections::HashMap;

use super::expect;
use super::greeting::{Greeting, broken, fail, frame, hello};
use crate::base::LogId;
use crate::batch::records::aligned_copy;
use crate::batch::{FRAME_ALIGN, RecordsView};
use crate::bench::wire::{
    Batch, Broken, ConsumeOptions, Conversation, Event, Layout, PartitionIndex, StartAt, Ticket,
};
use crate::protocol::native::batches::Batches;
use crate::protocol::native::messages::subscribe::SUBSCRIBE_ENTRIES_MAX;
use crate::protocol::native::messages::{
    CREDIT_BYTES_MAX, Credit, Fetched, From, PUSH_BYTES_MAX, Subscribe, SubscribeEntry, Subscribed,
};
use crate::protocol::native::{Frame, Kind};

/// Pushes that may be under way for one subscription.
const PUSHES: u64 = 4;

/// The conversation.
#[derive(Debug)]
pub(super) struct Consumer {
    greeting: Greeting,
    options: ConsumeOptions,
    logs: HashMap<LogId, PartitionIndex>,
    /// Subscriptions that have no answer; `None` before there are any.
    unanswered: Option<usize>,
}

impl Consumer {
    pub(super) fn new(layout: &Layout, partitions: &[PartitionIndex], options: ConsumeOptions) -> Self {
        Self {
            greeting: Greeting::new(layout, partitions),
            options,
            logs: HashMap::new(),
            unanswered: None,
        }
    }

    fn push_bytes(&self) -> u32 {
        self.options.max_bytes.min(PUSH_BYTES_MAX)
    }

    fn greeted(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
        let Some(logs) = self.greeting.take(frame, out)? else {
            return Ok(());
        };
        let from = match self.options.start {
            StartAt::Latest => From::Latest,
            StartAt::Earliest => From::Earliest,
        };
        let entries: Vec<_> = logs
            .iter()
            .map(|(_, log)| SubscribeEntry::new(*log, from))
            .collect();
        let credit = (u64::from(self.push_bytes()) * PUSHES).min(CREDIT_BYTES_MAX);
        let mut subscriptions = 0;
        for entries in entries.chunks(SUBSCRIBE_ENTRIES_MAX as usize) {
            subscriptions += 1;
            Subscribe::encode(out, subscriptions, credit, self.push_bytes(), entries).map_err(broken)?;
        }
        self.unanswered = Some(usize::try_from(subscriptions).map_err(broken)?);
        self.logs = logs.into_iter().map(|(index, log)| (log, index)).collect();
        Ok(())
    }

    fn subscribed(&mut self, frame: &Frame<'_>, events: &mut dyn FnMut(Event<'_>)) -> Result<(), Broken> {
        expect(frame, Kind::Subscribed)?;
        let answer = Subscribed::decode(frame).map_err(broken)?;
        if let Some(code) = answer.entries.iter().find_map(|entry| entry.error()) {
            return Err(Broken(format!("a partition cannot be subscribed to: {code}")));
        }
        match self.unanswered {
            Some(1) => events(Event::Ready),
            Some(_) => {}
            None => return Err(Broken("an answer to no subscription".to_owned())),
        }
        self.unanswered = self.unanswered.map(|count| count.saturating_sub(1));
        Ok(())
    }

    fn pushed(
        &self,
        frame: &Frame<'_>,
        length: usize,
        out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Broken> {
        let pushed = Fetched::decode(frame).map_err(broken)?;
        for (entry, batches) in pushed.partitions() {
            if let Some(code) = entry.error() {
                return Err(Broken(format!("a partition cannot be read any more: {code}")));
            }
            let partition = *self
                .logs
                .get(&entry.log())
                .ok_or_else(|| Broken("a push of a partition nobody subscribed to".to_owned()))?;
            deliver(partition, batches, events)?;
        }
        let credit = Credit {
            subscription: frame.head.correlation,
            bytes: length as u64,
        };
        credit.encode(out).map_err(broken)
    }
}

fn deliver(
    partition: PartitionIndex,
    batches: Batches<'_>,
    events: &mut dyn FnMut(Event<'_>),
) -> Result<(), Broken> {
    for batch in batches {
        let batch = batch.map_err(broken)?;
        if batch.payload.as_ptr().addr().is_multiple_of(FRAME_ALIGN) {
            report(partition, &batch.records().map_err(broken)?, events);
        } else {
            let copy = aligned_copy(batch.payload);
            report(partition, &RecordsView::parse(&copy).map_err(broken)?, events);
        }
    }
    Ok(())
}

fn report(partition: PartitionIndex, records: &RecordsView<'_>, events: &mut dyn FnMut(Event<'_>)) {
    for record in records.iter() {
        let value = record.value.unwrap_or_default();
        events(Event::Message { partition, value });
    }
}

impl Conversation for Consumer {
    fn open(&mut self, out: &mut Vec<u8>, _events: &mut dyn FnMut(Event<'_>)) {
        hello(out).expect("a hello is a small frame");
    }

    fn produce(&mut self, _ticket: Ticket, _batch: &Batch<'_>, _out: &mut Vec<u8>) {
        debug_assert!(false, "the engine produces through producers only");
    }

    fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<usize, Broken> {
        let mut used = 0;
        while let Some((frame, length)) = frame(&input[used..])? {
            match frame.head.kind {
                Kind::Push => self.pushed(&frame, length, out, events)?,
                Kind::SubscriptionEnded | Kind::Error => return Err(fail(&frame)),
                _ if self.unanswered.is_none() => self.greeted(&frame, out)?,
                _ => self.subscribed(&frame, events)?,
            }
            used += length;
        }
        Ok(used)
    }
}
