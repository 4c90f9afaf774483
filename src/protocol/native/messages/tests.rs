//! Every message reads back as it was written, and nothing a peer sends makes a decoder panic.

use proptest::prelude::*;

use super::*;
use crate::base::stages::{Path, StageTimes};
use crate::base::{LogId, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};
use crate::batch::RecordsBuilder;
use crate::protocol::native::errors::ErrorCode;

fn log() -> LogId {
    LogId {
        topic: TopicId::new([5; 16]),
        partition: PartitionId::new(2),
    }
}

fn fetched() -> FetchedEntry {
    FetchedEntry {
        topic_id: [5; 16],
        partition: 2,
        bytes: 0,
        log_start: 1,
        high_watermark: 9,
        leader_epoch: 3,
        error: ErrorCode::OffsetOutOfRange.code(),
    }
}

/// One frame of every kind, small.
pub(crate) fn one_of_each() -> Vec<(Kind, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut add = |kind: Kind, encode: &dyn Fn(&mut Vec<u8>) -> Result<(), super::super::FrameError>| {
        let mut out = Vec::new();
        encode(&mut out).unwrap();
        frames.push((kind, out));
    };
    let hello = Hello {
        features: 0,
        version_min: 1,
        version_max: 1,
        name: "test",
    };
    add(Kind::Hello, &|out| hello.encode(out, 1));
    let welcome = Welcome {
        head: WelcomeHead::default(),
        name: "corelog",
    };
    add(Kind::Welcome, &|out| welcome.encode(out, 1));
    add(Kind::Metadata, &|out| {
        Metadata::Named(vec!["a", "topic"]).encode(out, 2)
    });
    let answer = MetadataAnswer {
        nodes: vec![NodeInfo {
            id: 0,
            host: "localhost",
            port: 9193,
        }],
        topics: vec![TopicInfo {
            name: "a",
            id: TopicId::new([5; 16]),
            error: None,
            max_batch_bytes: 1 << 20,
            relaxed: true,
            leaders: vec![0, 1, 0],
        }],
    };
    add(Kind::MetadataAnswer, &|out| answer.encode(out, 2));
    let create = CreateTopic {
        name: "a",
        partitions: 3,
        configs: vec![("retention.ms", "1000")],
    };
    add(Kind::CreateTopic, &|out| create.encode(out, 3));
    let topic = TopicAnswer {
        id: TopicId::new([5; 16]),
        partitions: 3,
    };
    add(Kind::TopicCreated, &|out| {
        topic.encode(out, Kind::TopicCreated, 3)
    });
    add(Kind::DeleteTopic, &|out| DeleteTopic { name: "a" }.encode(out, 4));
    add(Kind::TopicDeleted, &|out| {
        topic.encode(out, Kind::TopicDeleted, 4)
    });
    add(Kind::InitProducer, &|out| InitProducer::encode(out, 5));
    let ready = ProducerReady {
        id: ProducerId::new(7),
        epoch: ProducerEpoch::new(0),
    };
    add(Kind::ProducerReady, &|out| ready.encode(out, 5));
    add(Kind::Produce, &|out| {
        let mut builder = RecordsBuilder::new();
        builder
            .push(Some(b"k"), Some(b"v"), Timestamp::new(1), [])
            .unwrap();
        let mut writer = ProduceWriter::begin(out, 6, Acks::Durable);
        writer.batch(log(), None, &mut builder).unwrap();
        writer.finish()
    });
    add(Kind::Produced, &|out| {
        let entries = [
            ProducedEntry::safe(Offset::new(8), Offset::ZERO),
            ProducedEntry::refused(ErrorCode::DiskFull),
        ];
        Produced::encode(out, 6, entries.into_iter(), Some(StageTimes::new(Path::Durable)))
    });
    let fetch = FetchEntry {
        topic_id: [5; 16],
        partition: 2,
        max_bytes: 100,
        offset: 4,
    };
    add(Kind::Fetch, &|out| {
        encode_fetch(out, 7, &FetchHead::default(), &[fetch])
    });
    add(Kind::Fetched, &|out| {
        encode_fetched_before(out, Kind::Fetched, 7, &[fetched()])
    });
    add(Kind::Subscribe, &|out| {
        Subscribe::encode(out, 8, 1000, 0, &[SubscribeEntry::new(log(), From::Offset(4))])
    });
    add(Kind::Subscribed, &|out| {
        Subscribed::encode(out, 8, &[SubscribedEntry::default()])
    });
    add(Kind::Push, &|out| {
        encode_fetched_before(out, Kind::Push, 8, &[fetched()])
    });
    let credit = Credit {
        subscription: 8,
        bytes: 500,
    };
    add(Kind::Credit, &|out| credit.encode(out));
    add(Kind::Unsubscribe, &|out| {
        Unsubscribe { subscription: 8 }.encode(out)
    });
    let ended = SubscriptionEnded {
        subscription: 8,
        error: Some(ErrorCode::Stopping),
    };
    add(Kind::SubscriptionEnded, &|out| ended.encode(out));
    let query = OffsetsEntry::new(log(), Query::AtTime(Timestamp::new(9)));
    add(Kind::Offsets, &|out| Offsets::encode(out, 9, &[query]));
    add(Kind::OffsetsAnswer, &|out| {
        OffsetsAnswer::encode(
            out,
            9,
            &[OffsetsAnswerEntry::refused(ErrorCode::UnknownPartition)],
        )
    });
    let fault = ErrorFrame {
        code: ErrorCode::TopicExists,
        fatal: false,
        text: "there is one",
    };
    add(Kind::Error, &|out| fault.encode(out, 3));
    frames
}

/// Decodes whatever the frame says it is; `Some` with a description when it reads.
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
            format!("{:?} {}", produce.acks, produce.batches.count())
        }
        Kind::Produced => {
            let produced = Produced::decode(frame)?;
            let entries: Vec<_> = produced.entries.iter().collect();
            format!("{entries:?} {:?}", produced.stages)
        }
        Kind::Fetch => format!("{:?}", Fetch::decode(frame)?.entries.get(0)),
        Kind::Fetched | Kind::Push => {
            let fetched = Fetched::decode(frame)?;
            format!(
                "{:?}",
                fetched.partitions().map(|(entry, _)| entry).collect::<Vec<_>>()
            )
        }
        Kind::Subscribe => format!("{:?}", Subscribe::decode(frame)?.entries.get(0)),
        Kind::Subscribed => format!("{:?}", Subscribed::decode(frame)?.entries.get(0)),
        Kind::Credit => format!("{:?}", Credit::decode(frame)?),
        Kind::Unsubscribe => format!("{:?}", Unsubscribe::decode(frame)?),
        Kind::SubscriptionEnded => format!("{:?}", SubscriptionEnded::decode(frame)?),
        Kind::Offsets => format!("{:?}", Offsets::decode(frame)?.entries.get(0)),
        Kind::OffsetsAnswer => format!("{:?}", OffsetsAnswer::decode(frame)?.entries.get(0)),
        Kind::Error => format!("{:?}", ErrorFrame::decode(frame)?),
    })
}

#[test]
fn every_kind_has_a_message_that_reads_back() {
    let frames = one_of_each();
    let kinds: Vec<Kind> = frames.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, Kind::ALL);
    for (kind, bytes) in &frames {
        let frame = Frame::parse(bytes).unwrap();
        assert_eq!(frame.head.kind, *kind);
        assert!(read(&frame).is_ok(), "{kind:?}");
    }
}

#[test]
fn what_was_said_is_what_is_heard() {
    let heard: Vec<String> = one_of_each()
        .iter()
        .map(|(_, bytes)| read(&Frame::parse(bytes).unwrap()).unwrap())
        .collect();
    let all = heard.join("\n");
    for expected in [
        "name: \"test\"",
        "Named([\"a\", \"topic\"])",
        "leaders: [0, 1, 0]",
        "relaxed: true",
        "(\"retention.ms\", \"1000\")",
        "Durable 1",
        "base_offset: 8",
        "error: 50",
        "high_watermark: 9",
        "bytes: 500",
        "error: Some(Stopping)",
        "timestamp: 9",
        "text: \"there is one\"",
    ] {
        assert!(all.contains(expected), "{expected} is missing in\n{all}");
    }
}

#[test]
fn unknown_flags_and_choices_are_refused() {
    let mut out = Vec::new();
    let mut entry = SubscribeEntry::new(log(), From::Latest);
    entry.from = 3;
    Subscribe::encode(&mut out, 8, 1000, 0, &[entry]).unwrap();
    assert_eq!(
        Subscribe::decode(&Frame::parse(&out).unwrap()).err(),
        Some(DecodeError::Unknown)
    );
    let mut out = Vec::new();
    FrameWriter::begin(&mut out, Kind::InitProducer, 1)
        .with_flags(4)
        .finish()
        .unwrap();
    assert_eq!(
        InitProducer::decode(&Frame::parse(&out).unwrap()).err(),
        Some(DecodeError::Unknown)
    );
}

#[test]
fn a_push_that_promises_other_bytes_than_it_has_is_refused() {
    let mut entry = fetched();
    entry.bytes = 32;
    let mut out = Vec::new();
    encode_fetched_before(&mut out, Kind::Push, 1, &[entry, entry]).unwrap();
    let control = out.len();
    out.resize(control + 64, 0);
    let frame = Frame::parse(&out).unwrap();
    assert_eq!(Fetched::decode(&frame).unwrap().partitions().len(), 2);
    let short = Frame {
        batches: &frame.batches[..48],
        ..frame
    };
    assert_eq!(Fetched::decode(&short).err(), Some(DecodeError::Truncated));
    let long = Frame {
        batches: &out[..96],
        ..frame
    };
    assert_eq!(Fetched::decode(&long).err(), Some(DecodeError::Trailing));
}

proptest! {
    #[test]
    fn damaged_control_parts_never_panic(
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let frames = one_of_each();
        let (_, bytes) = &frames[which.index(frames.len())];
        let frame = Frame::parse(bytes).unwrap();
        let mut control = frame.control.to_vec();
        for (at, with) in flips.iter().filter(|_| !frame.control.is_empty()) {
            let at = at.index(control.len());
            control[at] ^= with;
        }
        control.truncate(cut.index(control.len() + 1));
        for kind in Kind::ALL {
            let mut head = frame.head;
            head.kind = *kind;
            let _outcome = read(&Frame { head, control: &control, ..frame });
        }
    }

    #[test]
    fn noise_is_no_frame_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Frame::parse(&bytes).is_err());
        let _outcome = super::super::next_frame(&bytes, 1 << 20);
    }
}

/// One line for sixteen bytes.
fn dump(frames: &[(Kind, Vec<u8>)]) -> String {
    let mut text = String::new();
    for (kind, bytes) in frames {
        text += &format!("{} {kind:?}\n", kind.code());
        for (line, chunk) in bytes.chunks(16).enumerate() {
            let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            text += &format!("  {:>4}  {}\n", 16 * line, hex.join(" "));
        }
    }
    text
}

/// The bytes a golden file shows, so that old files are read, not only new ones compared.
fn parsed(text: &str) -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("  ") {
            None => frames.push(Vec::new()),
            Some(line) => {
                let hex = line[6..].split_whitespace();
                let bytes = hex.map(|byte| u8::from_str_radix(byte, 16).unwrap());
                frames.last_mut().unwrap().extend(bytes);
            }
        }
    }
    frames
}

#[test]
fn frames_of_version_1_are_these_bytes() {
    let golden = expect_test::expect_file!["../../../../tests/golden/native_protocol_v1.txt"];
    let frames = one_of_each();
    golden.assert_eq(&dump(&frames));
    for (bytes, (kind, expected)) in parsed(&golden.data()).iter().zip(&frames) {
        assert_eq!(bytes, expected, "{kind:?}");
        assert!(read(&Frame::parse(bytes).unwrap()).is_ok());
    }
}
