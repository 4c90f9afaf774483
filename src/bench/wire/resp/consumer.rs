//! Reading streams: blocking reads, one after the other, each from the last entry seen.

use std::collections::HashMap;
use std::io::Write;

use super::reads::{Part, Reads};
use super::token::Token;
use super::{argument, command};
use crate::bench::wire::{
    Batch, Broken, ConsumeOptions, Conversation, Event, PartitionIndex, StartAt, Ticket,
};

/// Answers with the id of a stream's last entry, in one token.
const LAST_ID_SCRIPT: &[u8] = b"local e = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1) \
    return e[1] and e[1][1] or '0-0'";
/// Bytes we take a message to have when an answer's size is turned into its count of entries.
const MESSAGE_BYTES_GUESS: u32 = 512;

fn id_of(bytes: &[u8]) -> Result<&str, Broken> {
    std::str::from_utf8(bytes).map_err(|_not_text| Broken("an id that is no text".to_owned()))
}

/// How far one partition was read.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) partition: PartitionIndex,
    pub(super) key: String,
    /// Id of the last entry seen.
    pub(super) last: String,
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
pub(super) struct Consumer {
    cursors: Vec<Cursor>,
    by_key: HashMap<Vec<u8>, usize>,
    phase: Phase,
    options: ConsumeOptions,
    reads: Reads,
    /// The partition the reply is in, as an index into `cursors`.
    current: Option<usize>,
}

impl Consumer {
    pub(super) fn new(cursors: Vec<Cursor>, options: ConsumeOptions) -> Self {
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
