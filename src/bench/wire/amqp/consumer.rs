//! Deliveries, put together from their frames and acknowledged many at a time.

use std::collections::HashSet;

use super::frame::{
    FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD, Fields, Frame, Method, put_long, put_method,
    put_short,
};
use super::handshake::{CHANNEL, Handshake, Progress, advance, refuse_close};
use super::{BASIC_ACK, CLASS_BASIC, put_text_entry};
use crate::bench::wire::{Batch, Broken, Conversation, Event, PartitionIndex, Ticket};

/// Messages a consumer may have that it has not acknowledged.
const PREFETCH: u16 = 2000;
/// Largest message a consumer puts together.
const MESSAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;

const BASIC_QOS: Method = Method(CLASS_BASIC, 10);
pub(super) const BASIC_QOS_OK: Method = Method(CLASS_BASIC, 11);
const BASIC_CONSUME: Method = Method(CLASS_BASIC, 20);
pub(super) const BASIC_CONSUME_OK: Method = Method(CLASS_BASIC, 21);
pub(super) const BASIC_DELIVER: Method = Method(CLASS_BASIC, 60);

/// A message of which not all has come.
#[derive(Debug)]
struct Arriving {
    partition: PartitionIndex,
    /// None until its header frame says it.
    size: Option<u64>,
    value: Vec<u8>,
}

/// Deliveries, and their acknowledgement.
pub(super) struct Consumer {
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
    pub(super) fn new(queues: Vec<(PartitionIndex, String)>, offset: Option<&'static str>) -> Self {
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
        match advance(&mut self.handshake, method, &mut fields, out)? {
            Progress::Opening => return Ok(()),
            Progress::Opened { .. } => {
                put_method(out, CHANNEL, BASIC_QOS, |out| {
                    out.extend_from_slice(&0u32.to_be_bytes());
                    out.extend_from_slice(&PREFETCH.to_be_bytes());
                    out.push(0);
                });
                return Ok(());
            }
            Progress::Open => {}
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
