//! Conversations with a server of hand-made bytes.

use std::time::Duration;

use super::super::script::{Script, layout, message};
use super::*;
use crate::bench::wire::StartAt;

fn door() -> RespDoor {
    RespDoor::new(SocketAddr::from(([127, 0, 0, 1], 1)))
}

fn producer(door: &RespDoor, acks: Acks) -> Box<dyn Conversation> {
    let options = ProduceOptions {
        acks,
        stages: false,
        idempotent: false,
    };
    door.producer(&layout("t", 2), door.address, &[], options)
        .unwrap()
}

fn consumer(start: StartAt) -> Box<dyn Conversation> {
    let options = ConsumeOptions {
        start,
        max_bytes: 1024,
        max_wait: Duration::from_millis(250),
    };
    let door = door();
    let all = [PartitionIndex(0), PartitionIndex(1)];
    door.consumer(&layout("t", 2), door.address, &all, options)
        .unwrap()
}

#[test]
fn a_batch_is_acknowledged_after_all_of_its_adds_however_the_answers_are_cut() {
    let door = door();
    let mut talk = producer(&door, Acks::All);
    let mut script = Script::open(&mut *talk);
    assert_eq!(script.sent_text(), "*1\r\n$4\r\nPING\r\n");
    script.hear(b"+PONG\r\n");
    assert_eq!(script.told(), ["ready"]);
    script.produce(5, 1, &[message(None, b"a"), message(Some(b"key"), b"bb")]);
    assert_eq!(
        script.sent_text(),
        "*5\r\n$4\r\nXADD\r\n$3\r\nt.1\r\n$1\r\n*\r\n$1\r\nv\r\n$1\r\na\r\n\
             *7\r\n$4\r\nXADD\r\n$3\r\nt.1\r\n$1\r\n*\r\n$1\r\nk\r\n$3\r\nkey\r\n$1\r\nv\r\n$2\r\nbb\r\n"
    );
    script.hear(b"$3\r\n1-0\r\n");
    assert!(script.told().is_empty());
    script.hear(b"-OOM too much\r\n");
    assert_eq!(script.told(), ["failed 5 OOM too much"]);
    script.produce(6, 0, &[message(None, b"c")]);
    script.hear(b"$3\r\n1-1\r\n");
    assert_eq!(script.told(), ["acked 6"]);
    script.hear_broken(b"$3\r\n1-2\r\n");
}

#[test]
fn a_bound_on_entries_is_part_of_each_add() {
    let door = door();
    door.entries_max.store(50, Ordering::Relaxed);
    let mut talk = producer(&door, Acks::None);
    let mut script = Script::open(&mut *talk);
    script.hear(b"+PONG\r\n");
    script.sent();
    script.produce(1, 0, &[message(None, b"c")]);
    assert_eq!(
        script.sent_text(),
        "*8\r\n$4\r\nXADD\r\n$3\r\nt.0\r\n$6\r\nMAXLEN\r\n$1\r\n~\r\n$2\r\n50\r\n$1\r\n*\r\n$1\r\nv\r\n$1\r\nc\r\n"
    );
    script.hear(b"$3\r\n1-1\r\n");
    assert_eq!(script.told(), ["ready"]);
}

#[test]
fn a_producer_refuses_answers_that_are_none() {
    for bad in [&b":1\r\n"[..], b"-NOAUTH\r\n", b"+PONG\r\n:1\r\n", b"*1\r\n"] {
        let door = door();
        let mut talk = producer(&door, Acks::All);
        Script::open(&mut *talk).hear_broken(bad);
    }
}

#[test]
fn a_consumer_reads_on_from_the_last_entry_of_each_stream() {
    let mut talk = consumer(StartAt::Latest);
    let mut script = Script::open(&mut *talk);
    assert!(script.sent_text().starts_with("*4\r\n$4\r\nEVAL\r\n"));
    script.hear(b"$3\r\n7-1\r\n$3\r\n0-0\r\n+PONG\r\n");
    assert_eq!(script.told(), ["ready"]);
    let poll = |first: &str, second: &str| {
        format!(
            "*10\r\n$5\r\nXREAD\r\n$5\r\nCOUNT\r\n$1\r\n2\r\n$5\r\nBLOCK\r\n$3\r\n250\r\n$7\r\nSTREAMS\r\n\
                 $3\r\nt.0\r\n$3\r\nt.1\r\n$3\r\n{first}\r\n$3\r\n{second}\r\n"
        )
    };
    assert_eq!(script.sent_text(), poll("7-1", "0-0"));
    script.hear(b"*-1\r\n");
    assert_eq!(script.sent_text(), poll("7-1", "0-0"));
    script.hear(
        b"*1\r\n*2\r\n$3\r\nt.1\r\n*2\r\n*2\r\n$3\r\n8-0\r\n*2\r\n$1\r\nv\r\n$2\r\nhi\r\n\
              *2\r\n$3\r\n8-1\r\n*4\r\n$1\r\nk\r\n$1\r\nv\r\n$1\r\nv\r\n$2\r\nho\r\n",
    );
    assert_eq!(script.told(), ["message 1 hi", "message 1 ho"]);
    assert_eq!(script.sent_text(), poll("7-1", "8-1"));
}

#[test]
fn a_consumer_from_the_start_asks_for_no_ends_and_refuses_strange_streams() {
    let mut talk = consumer(StartAt::Earliest);
    let mut script = Script::open(&mut *talk);
    assert_eq!(script.sent_text(), "*1\r\n$4\r\nPING\r\n");
    script.hear(b"+PONG\r\n");
    script.hear_broken(b"*1\r\n*2\r\n$1\r\nx\r\n");
}
