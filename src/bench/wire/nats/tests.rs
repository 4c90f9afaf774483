//! Conversations with a server of hand-made bytes.

use super::super::script::{Script, layout, message};
use super::*;
use crate::bench::wire::StartAt;

fn producer(acks: Acks) -> Box<dyn Conversation> {
    let options = ProduceOptions {
        acks,
        stages: false,
        idempotent: false,
    };
    let door = NatsDoor::new(SocketAddr::from(([127, 0, 0, 1], 1)));
    let layout = layout("my.topic", 2);
    door.producer(&layout, door.address, &[], options).unwrap()
}

fn consumer(start: StartAt) -> Consumer {
    let inbox = "_INBOX.me".to_owned();
    let layout = layout("t", 2);
    let all = [PartitionIndex(0), PartitionIndex(1)];
    let requests = consumer_requests(&layout, &all, &inbox, start).unwrap();
    Consumer {
        inbox,
        subjects: all
            .iter()
            .map(|index| (subject(&layout.partitions[index.0]).into_bytes(), *index))
            .collect(),
        uncreated: requests.len(),
        requests,
    }
}

#[test]
fn a_batch_is_acknowledged_after_all_of_its_publishes_however_the_answers_are_cut() {
    let mut talk = producer(Acks::All);
    let mut script = Script::open(&mut *talk);
    let opened = script.sent_text();
    let inbox = opened
        .split("SUB ")
        .nth(1)
        .and_then(|rest| rest.split(".*").next())
        .unwrap()
        .to_owned();
    script.hear(b"INFO {\"max_payload\":1048576}\r\nPONG\r\n");
    assert_eq!(script.told(), ["ready"]);
    script.produce(9, 1, &[message(None, b"abc"), message(Some(b"k1"), b"de")]);
    assert_eq!(
        script.sent_text(),
        format!(
            "PUB my_topic.1 {inbox}.1 3\r\nabc\r\n\
                 HPUB my_topic.1 {inbox}.2 21 23\r\nNATS/1.0\r\nKey: k1\r\n\r\nde\r\n"
        )
    );
    let ack = |number: u32| {
        format!("MSG {inbox}.{number} 1 24\r\n{{\"stream\":\"t\",\"seq\":123}}\r\n").into_bytes()
    };
    script.hear(&ack(2));
    script.hear(b"PING\r\n");
    assert!(script.told().is_empty());
    assert_eq!(script.sent_text(), "PONG\r\n");
    script.hear(&ack(1));
    assert_eq!(script.told(), ["acked 9"]);
}

#[test]
fn refusals_and_silence_of_the_stream_fail_the_batch() {
    let mut talk = producer(Acks::All);
    let mut script = Script::open(&mut *talk);
    let inbox = script.sent_text();
    let inbox = inbox.split("SUB ").nth(1).unwrap().split(".*").next().unwrap();
    script.produce(1, 0, &[message(None, b"x")]);
    script.produce(2, 0, &[message(None, b"x")]);
    let body = "{\"error\":{\"code\":503}}";
    script.hear(format!("MSG {inbox}.1 1 {}\r\n{body}\r\n", body.len()).as_bytes());
    script.hear(format!("HMSG {inbox}.2 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n").as_bytes());
    let told = script.told();
    assert_eq!(told.len(), 2);
    assert!(
        told[0].starts_with("failed 1") && told[0].contains("503"),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("failed 2") && told[1].contains("503"),
        "{told:?}"
    );
}

#[test]
fn answers_to_nothing_break_the_conversation() {
    for bad in [
        "MSG other.1 1 2\r\n{}\r\n".to_owned(),
        "MSG _INBOX.x 1 2\r\n{}\r\n".to_owned(),
    ] {
        let mut talk = producer(Acks::All);
        let mut script = Script::open(&mut *talk);
        script.hear_broken(bad.as_bytes());
    }
}

#[test]
fn publishes_without_acknowledgement_carry_no_reply() {
    let mut talk = producer(Acks::None);
    let mut script = Script::open(&mut *talk);
    script.sent_text();
    script.produce(1, 0, &[message(None, b"x")]);
    assert_eq!(script.sent_text(), "PUB my_topic.0 1\r\nx\r\n");
}

#[test]
fn a_consumer_is_ready_when_created_hears_its_partitions_and_answers_flow_control() {
    let mut talk = consumer(StartAt::Earliest);
    let mut script = Script::open(&mut talk);
    let opened = script.sent_text();
    assert!(
        opened.contains("PUB $JS.API.CONSUMER.CREATE.t _INBOX.me.created"),
        "{opened}"
    );
    assert!(opened.contains("\"deliver_policy\":\"all\""), "{opened}");
    script.hear(
        b"INFO {}\r\nMSG _INBOX.me.created 1 13\r\n{\"name\":\"c\"} \r\n\r\n"[..]
            .strip_suffix(b"\r\n")
            .unwrap(),
    );
    assert_eq!(script.told(), ["ready"]);
    script.hear(b"MSG t.1 2 $JS.ACK.t.c.1.1.1.1.0 5\r\nhello\r\n");
    assert_eq!(script.told(), ["message 1 hello"]);
    let flow = b"NATS/1.0 100 FlowControl Request\r\n\r\n";
    script.hear(format!("HMSG _INBOX.me.push 2 $JS.FC.t.x {0} {0}\r\n", flow.len()).as_bytes());
    script.hear(&[&flow[..], b"\r\n"].concat());
    assert_eq!(script.sent_text(), "PUB $JS.FC.t.x 0\r\n\r\n");
    assert!(script.told().is_empty());
    script.hear_broken(b"MSG t.7 2 1\r\nx\r\n");
}

#[test]
fn a_consumer_of_some_partitions_names_them() {
    let requests = consumer_requests(&layout("t", 3), &[PartitionIndex(2)], "i", StartAt::Latest).unwrap();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].1.contains("[\"t.2\"]"), "{requests:?}");
    assert!(requests[0].1.contains("\"new\""), "{requests:?}");
}
