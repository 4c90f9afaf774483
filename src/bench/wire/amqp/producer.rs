//! Publishing, with confirms.

use super::frame::{
    FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD, Fields, Frame, Method, put_frame, put_method,
    put_short,
};
use super::handshake::{CHANNEL, Handshake, Progress, advance, refuse_close};
use super::{BASIC_ACK, CLASS_BASIC};
use crate::bench::wire::window::Window;
use crate::bench::wire::{Acks, Batch, Broken, Conversation, Event, Ticket};

/// Message properties: persistent.
const FLAG_DELIVERY_MODE: u16 = 0x1000;
/// Message properties: an id.
const FLAG_MESSAGE_ID: u16 = 0x0080;
/// The delivery mode of persistent messages.
const PERSISTENT: u8 = 2;

const BASIC_PUBLISH: Method = Method(CLASS_BASIC, 40);
pub(super) const BASIC_NACK: Method = Method(CLASS_BASIC, 120);
const CONFIRM_SELECT: Method = Method(85, 10);
pub(super) const CONFIRM_SELECT_OK: Method = Method(85, 11);

/// Publishes, and the confirms of them.
pub(super) struct Producer {
    queues: Vec<String>,
    handshake: Option<Handshake>,
    /// None when no confirms are asked for.
    window: Option<Window>,
    /// Most bytes of a message in one frame.
    piece_bytes: usize,
    greeted: bool,
}

impl Producer {
    pub(super) fn new(queues: Vec<String>, acks: Acks) -> Self {
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
        match advance(&mut self.handshake, method, &mut fields, out)? {
            Progress::Opening => return Ok(()),
            Progress::Opened { piece_bytes } => {
                self.piece_bytes = piece_bytes;
                match self.window {
                    Some(_) => put_method(out, CHANNEL, CONFIRM_SELECT, |out| out.push(0)),
                    None => self.greet(events),
                }
                return Ok(());
            }
            Progress::Open => {}
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
        let window = self
            .window
            .as_mut()
            .ok_or_else(|| Broken("a confirm nobody asked for".to_owned()))?;
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

pub(super) fn put_properties(out: &mut Vec<u8>, value_bytes: usize, key: Option<&[u8]>) {
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
