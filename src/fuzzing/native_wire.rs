//! The native protocol, both ends: frames, their control parts, and the batches behind them.

use super::batches::{translate, walk_view};
use super::input::Input;
use super::seal;
use crate::batch::records::aligned_copy;
use crate::batch::{BatchHeader, FRAME_ALIGN};
use crate::protocol::native::batches::Batches;
use crate::protocol::native::messages::{
    CreateTopic, Credit, DeleteTopic, ErrorFrame, Fetch, Fetched, Hello, InitProducer, Metadata,
    MetadataAnswer, Offsets, OffsetsAnswer, Produce, Produced, ProducerReady, Subscribe, Subscribed,
    SubscriptionEnded, TopicAnswer, Unsubscribe, Welcome,
};
use crate::protocol::native::pod::DecodeError;
use crate::protocol::native::{Frame, FrameError, Framing, Inbox, Kind, next_frame};

/// Largest frame here.
const FRAME_BYTES_MAX: u32 = 1 << 20;

/// What a connection receives, as it is and resealed: `bytes a read, frames`.
///
/// However the bytes arrive, the same frames come out of them; every message that reads is written as one that reads the same.
pub fn native_frame(data: &[u8]) {
    let mut input = Input::new(data);
    let step = 1 + usize::from(input.byte());
    let mut bytes = input.rest().to_vec();
    judge_stream(&bytes, step);
    seal::native_frames(&mut bytes);
    judge_stream(&bytes, step);
}

fn judge_stream(bytes: &[u8], step: usize) {
    let bytes = aligned_copy(bytes);
    let mut inbox = Inbox::new(FRAME_BYTES_MAX);
    let mut pieces = bytes.chunks(step);
    let mut rest = &bytes[..];
    loop {
        let expected = whole_frame(rest);
        let expected = match expected {
            Ok(Some(len)) => {
                let (frame, behind) = rest.split_at(len);
                rest = behind;
                Frame::parse(frame).map(Some)
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        let found = receive(&mut inbox, &mut pieces);
        match (expected, found) {
            (Ok(Some(expected)), Ok(Some(found))) => {
                assert_eq!(found.head, expected.head);
                assert_eq!(
                    (found.control, found.batches),
                    (expected.control, expected.batches)
                );
                assert!(found.batches.as_ptr().addr().is_multiple_of(FRAME_ALIGN));
                judge_message(&expected);
            }
            (Ok(None), Ok(None)) => return,
            (Err(expected), Err(found)) => return assert_eq!(found, expected),
            (expected, found) => panic!("{found:?} instead of {expected:?}"),
        }
    }
}

/// The length of the whole frame at the start of `bytes`, if there is one.
fn whole_frame(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    Ok(match next_frame(bytes, FRAME_BYTES_MAX)? {
        Framing::Whole { head } => Some(head.length),
        Framing::NeedsBody { head, missing } => {
            assert_eq!(head.length, bytes.len() + missing);
            None
        }
        Framing::NeedsHead { missing } => {
            assert!(missing > 0);
            None
        }
    })
}

/// The next frame out of `inbox`, which is given more of the stream while it has none.
fn receive<'i, 'b>(
    inbox: &'i mut Inbox,
    pieces: &mut impl Iterator<Item = &'b [u8]>,
) -> Result<Option<Frame<'i>>, FrameError> {
    while !inbox.has_frame()? {
        let Some(piece) = pieces.next() else {
            return Ok(None);
        };
        inbox.spare(piece.len())[..piece.len()].copy_from_slice(piece);
        inbox.filled(piece.len());
    }
    inbox.next()
}

/// Reads the frame as the message it says it is, writes that and reads it again.
fn judge_message(frame: &Frame<'_>) {
    let Ok(heard) = read(frame) else { return };
    if let Some(written) = written(frame) {
        let again = Frame::parse(&written).expect("what we write is a frame");
        assert_eq!(read(&again).as_ref(), Ok(&heard));
    }
    judge_batches(frame.batches);
}

/// What the message says, every element of it.
fn read(frame: &Frame<'_>) -> Result<String, DecodeError> {
    Ok(match frame.head.kind {
        Kind::Hello => format!("{:?}", Hello::decode(frame)?),
        Kind::Welcome => format!("{:?}", Welcome::decode(frame)?),
        Kind::Metadata => format!("{:?}", Metadata::decode(frame)?),
        Kind::MetadataAnswer => format!("{:?}", MetadataAnswer::decode(frame)?),
        Kind::CreateTopic => format!("{:?}", CreateTopic::decode(frame)?),
        Kind::DeleteTopic => format!("{:?}", DeleteTopic::decode(frame)?),
        Kind::TopicCreated | Kind::TopicDeleted => format!("{:?}", TopicAnswer::decode(frame)?),
        Kind::InitProducer => format!("{:?}", InitProducer::decode(frame)?),
        Kind::ProducerReady => format!("{:?}", ProducerReady::decode(frame)?),
        Kind::Produce => {
            let produce = Produce::decode(frame)?;
            let batches = produce.batches.clone().count();
            format!(
                "{:?} {} {} {batches}",
                produce.acks, produce.stages, produce.batch_count
            )
        }
        Kind::Produced => {
            let produced = Produced::decode(frame)?;
            let entries: Vec<_> = produced.entries.iter().map(|one| (one, one.outcome())).collect();
            format!("{entries:?} {:?}", produced.stages)
        }
        Kind::Fetch => {
            let fetch = Fetch::decode(frame)?;
            let entries: Vec<_> = fetch.entries.iter().map(|one| (one, one.log())).collect();
            format!("{:?} {entries:?}", fetch.head)
        }
        Kind::Fetched | Kind::Push => {
            let fetched = Fetched::decode(frame)?;
            let partitions = fetched.partitions();
            let entries: Vec<_> = partitions
                .map(|(entry, batches)| (entry, entry.error(), batches.count()))
                .collect();
            format!("{entries:?}")
        }
        Kind::Subscribe => {
            let subscribe = Subscribe::decode(frame)?;
            let entries: Vec<_> = subscribe.entries.iter().map(|one| (one, one.start())).collect();
            format!(
                "{} {} {entries:?}",
                subscribe.subscription, subscribe.credit_bytes
            )
        }
        Kind::Subscribed => {
            let subscribed = Subscribed::decode(frame)?;
            let entries: Vec<_> = subscribed.entries.iter().map(|one| (one, one.error())).collect();
            format!("{entries:?}")
        }
        Kind::Credit => format!("{:?}", Credit::decode(frame)?),
        Kind::Unsubscribe => format!("{:?}", Unsubscribe::decode(frame)?),
        Kind::SubscriptionEnded => format!("{:?}", SubscriptionEnded::decode(frame)?),
        Kind::Offsets => {
            let offsets = Offsets::decode(frame)?;
            let entries: Vec<_> = offsets.entries.iter().map(|one| (one, one.question())).collect();
            format!("{entries:?}")
        }
        Kind::OffsetsAnswer => {
            let answer = OffsetsAnswer::decode(frame)?;
            let entries: Vec<_> = answer.entries.iter().map(|one| (one, one.outcome())).collect();
            format!("{entries:?}")
        }
        Kind::Error => format!("{:?}", ErrorFrame::decode(frame)?),
    })
}

/// The message written again, for those kinds whose whole message is one value.
fn written(frame: &Frame<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let correlation = frame.head.correlation;
    match frame.head.kind {
        Kind::Hello => Hello::decode(frame).ok()?.encode(&mut out, correlation),
        Kind::Welcome => Welcome::decode(frame).ok()?.encode(&mut out, correlation),
        Kind::Metadata => Metadata::decode(frame).ok()?.encode(&mut out, correlation),
        Kind::MetadataAnswer => MetadataAnswer::decode(frame).ok()?.encode(&mut out, correlation),
        Kind::CreateTopic => CreateTopic::decode(frame).ok()?.encode(&mut out, correlation),
        Kind::DeleteTopic => DeleteTopic::decode(frame).ok()?.encode(&mut out, correlation),
        Kind::TopicCreated | Kind::TopicDeleted => {
            let answer = TopicAnswer::decode(frame).ok()?;
            answer.encode(&mut out, frame.head.kind, correlation)
        }
        Kind::ProducerReady => ProducerReady::decode(frame).ok()?.encode(&mut out, correlation),
        Kind::Credit => Credit::decode(frame).ok()?.encode(&mut out),
        Kind::Unsubscribe => Unsubscribe::decode(frame).ok()?.encode(&mut out),
        Kind::SubscriptionEnded => SubscriptionEnded::decode(frame).ok()?.encode(&mut out),
        Kind::Error => ErrorFrame::decode(frame).ok()?.encode(&mut out, correlation),
        _ => return None,
    }
    .expect("a fuzzer's inputs are small");
    Some(out)
}

/// Stored frames as they come behind a control part, as they are and resealed.
pub fn native_batches(data: &[u8]) {
    judge_batches(&aligned_copy(data));
    let mut sealed = aligned_copy(data);
    seal::stored_frames(&mut sealed);
    judge_batches(&sealed);
}

fn judge_batches(bytes: &[u8]) {
    let mut batches = Batches::new(bytes);
    let mut walked = 0;
    while let Some(Ok(batch)) = batches.next() {
        assert_eq!(
            batch.frame.as_ptr(),
            bytes[walked..].as_ptr(),
            "batches lie one behind the other"
        );
        walked += batch.frame.len();
        assert_eq!(batches.rest().len(), bytes.len() - walked);
        assert_eq!(BatchHeader::decode(&batch.header.encode()), Ok(batch.header));
        if batch.verify().is_err() {
            continue;
        }
        if let Ok(view) = batch.records() {
            walk_view(&view);
            translate(&batch.header, &view);
        }
    }
}
