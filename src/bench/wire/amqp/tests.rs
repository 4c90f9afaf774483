//! Conversations with a broker of hand-made bytes.

use super::super::script::{Script, layout, message};
use super::consumer::{BASIC_CONSUME_OK, BASIC_DELIVER, BASIC_QOS_OK};
use super::frame::{FRAME_BODY, FRAME_HEADER, put_frame};
use super::producer::{BASIC_NACK, CONFIRM_SELECT_OK, put_properties};
use super::*;
use crate::bench::wire::Acks;

/// The server's side of the opening.
fn opening(frame_bytes: u32) -> Vec<u8> {
    let mut out = Vec::new();
    put_method(&mut out, 0, Method(10, 10), |out| {
        out.extend_from_slice(&[0, 9]);
        put_long(out, b"");
        put_long(out, b"PLAIN");
        put_long(out, b"en_US");
    });
    put_method(&mut out, 0, Method(10, 30), |out| {
        out.extend_from_slice(&2047u16.to_be_bytes());
        out.extend_from_slice(&frame_bytes.to_be_bytes());
        out.extend_from_slice(&60u16.to_be_bytes());
    });
    put_method(&mut out, 0, Method(10, 41), |out| put_short(out, b""));
    put_method(&mut out, 1, Method(20, 11), |out| put_long(out, b""));
    out
}

fn confirm(method: Method, number: u64, many: u8) -> Vec<u8> {
    let mut out = Vec::new();
    put_method(&mut out, 1, method, |out| {
        out.extend_from_slice(&number.to_be_bytes());
        out.push(many);
    });
    out
}

fn simple(method: Method) -> Vec<u8> {
    let mut out = Vec::new();
    put_method(&mut out, 1, method, |_out| ());
    out
}

fn deliver(tag: &str, number: u64, pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    put_method(&mut out, 1, BASIC_DELIVER, |out| {
        put_short(out, tag.as_bytes());
        out.extend_from_slice(&number.to_be_bytes());
        out.push(0);
        put_short(out, b"");
        put_short(out, b"t.0");
    });
    let size: usize = pieces.iter().map(|piece| piece.len()).sum();
    put_frame(&mut out, FRAME_HEADER, 1, |out| put_properties(out, size, None));
    for piece in pieces {
        put_frame(&mut out, FRAME_BODY, 1, |out| out.extend_from_slice(piece));
    }
    out
}

fn producer(acks: Acks) -> Producer {
    Producer::new(layout("t", 2).partitions.iter().map(queue_of).collect(), acks)
}

fn consumer() -> Consumer {
    let queue = |index: usize| (PartitionIndex(index), format!("t.{index}"));
    Consumer::new(vec![queue(0), queue(1)], Some("first"))
}

#[test]
fn confirms_of_one_and_of_many_acknowledge_batches_however_they_are_cut() {
    let mut talk = producer(Acks::All);
    let mut script = Script::open(&mut talk);
    assert_eq!(script.sent(), b"AMQP\0\0\x09\x01");
    script.hear(&opening(131_072));
    assert!(script.told().is_empty());
    script.hear(&simple(CONFIRM_SELECT_OK));
    assert_eq!(script.told(), ["ready"]);
    for ticket in 1..=3 {
        script.produce(ticket, 0, &[message(None, b"a"), message(Some(b"k"), b"b")]);
    }
    script.hear(&confirm(BASIC_ACK, 4, 0));
    assert!(script.told().is_empty());
    script.hear(&confirm(BASIC_ACK, 3, 1));
    assert_eq!(script.told(), ["acked 1", "acked 2"]);
    script.hear(&confirm(BASIC_NACK, 5, 0));
    script.hear(&confirm(BASIC_ACK, 0, 1));
    assert_eq!(script.told(), ["failed 3 nack"]);
    script.hear_broken(&confirm(BASIC_ACK, 7, 1));
}

#[test]
fn a_message_larger_than_a_frame_goes_in_pieces() {
    let mut talk = producer(Acks::None);
    let mut script = Script::open(&mut talk);
    script.hear(&opening(4096));
    assert_eq!(script.told(), ["ready"]);
    script.sent();
    let value = vec![7; 10_000];
    script.produce(1, 1, &[message(Some(b"key"), &value)]);
    let sent = script.sent();
    let mut used = 0;
    let mut kinds = Vec::new();
    let mut body = Vec::new();
    while let Some((frame, length)) = Frame::read(&sent[used..]).unwrap() {
        assert!(length <= 4096, "{length}");
        kinds.push(frame.kind);
        if frame.kind == FRAME_BODY {
            body.extend_from_slice(frame.payload);
        }
        used += length;
    }
    assert_eq!(
        kinds,
        [FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_BODY, FRAME_BODY]
    );
    assert_eq!(body, value);
}

#[test]
fn a_consumer_puts_messages_together_and_acknowledges_many_at_once() {
    let mut talk = consumer();
    let mut script = Script::open(&mut talk);
    script.hear(&opening(131_072));
    script.hear(&simple(BASIC_QOS_OK));
    script.hear(&simple(BASIC_CONSUME_OK));
    assert!(script.told().is_empty());
    script.hear(&simple(BASIC_CONSUME_OK));
    assert_eq!(script.told(), ["ready"]);
    script.hear(&deliver("1", 1, &[b"he", b"llo"]));
    script.hear(&deliver("0", 2, &[]));
    assert_eq!(script.told(), ["message 1 hello", "message 0 "]);

    let mut talk = consumer();
    talk.open(&mut Vec::new(), &mut |_event| ());
    let mut input = opening(0);
    input.extend(deliver("0", 1, &[b"a"]));
    input.extend(deliver("1", 2, &[b"b"]));
    let mut out = Vec::new();
    let used = talk.receive(&input, &mut out, &mut |_event| ()).unwrap();
    assert_eq!(used, input.len());
    assert!(out.ends_with(&confirm(BASIC_ACK, 2, 1)));
}

#[test]
fn a_close_breaks_the_conversation_with_the_servers_words() {
    let mut close = Vec::new();
    put_method(&mut close, 0, Method(10, 50), |out| {
        out.extend_from_slice(&320u16.to_be_bytes());
        put_short(out, b"CONNECTION_FORCED");
        out.extend_from_slice(&[0; 4]);
    });
    let mut talk = producer(Acks::All);
    talk.open(&mut Vec::new(), &mut |_event| ());
    let broken = talk
        .receive(&close, &mut Vec::new(), &mut |_event| ())
        .unwrap_err();
    assert!(broken.0.contains("320 CONNECTION_FORCED"), "{broken}");
}

#[test]
fn frames_out_of_place_break_the_conversation() {
    let body = {
        let mut out = Vec::new();
        put_frame(&mut out, FRAME_BODY, 1, |out| out.push(1));
        out
    };
    let header = {
        let mut out = Vec::new();
        put_frame(&mut out, FRAME_HEADER, 1, |out| put_properties(out, 1, None));
        out
    };
    let too_much = deliver("0", 1, &[b"ab"]);
    let too_much = [&deliver("0", 1, &[b"a"])[..too_much.len() - 10], &body, &body].concat();
    for bad in [
        body.clone(),
        header,
        too_much,
        deliver("9", 1, &[b"x"]),
        deliver("no", 1, &[b"x"]),
        simple(BASIC_DELIVER),
        simple(CONFIRM_SELECT_OK),
        simple(BASIC_CONSUME_OK).repeat(3),
    ] {
        let mut talk = consumer();
        let mut script = Script::open(&mut talk);
        script.hear(&opening(131_072));
        script.hear_broken(&bad);
    }
    for bad in [
        body,
        simple(BASIC_ACK),
        simple(QUEUE_DECLARE_OK),
        confirm(BASIC_ACK, 1, 0),
    ] {
        let mut talk = producer(Acks::All);
        let mut script = Script::open(&mut talk);
        script.hear(&opening(131_072));
        script.hear_broken(&bad);
    }
}

#[test]
fn queue_arguments_name_the_kind_and_keep_numbers_numbers() {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(text(&queue_arguments(&[])).contains("x-queue-typeS\0\0\0\x06quorum"));
    let settings = [("x-queue-type", "stream"), ("x-max-length-bytes", "9")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let table = text(&queue_arguments(&settings));
    assert!(table.contains("stream") && !table.contains("quorum"), "{table}");
    assert!(table.contains("x-max-length-bytesl\0\0\0\0\0\0\0\x09"), "{table}");
}
