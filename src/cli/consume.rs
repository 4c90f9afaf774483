//! `corelog consume`: the records of a topic, printed as asked.
//!
//! Records of one partition come in order; between partitions there is no order. What one fetch brought is written
//! out before the next, so that a pipe sees records as they arrive.

use std::io::Write;
use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::args::{ConsumeArgs, OutputFormat, StartAt};
use super::topic::connect;
use super::{CliError, Streams};
use crate::client::kafka::consumer::{Consumer, Fetched};
use crate::client::kafka::member::{Member, Standing};
use crate::client::kafka::{Client, ClientError, Missing, pause};

/// How long a member without partitions waits before it shows again that it is there.
const UNASSIGNED_PAUSE: Duration = Duration::from_millis(500);

pub(super) fn run(args: &ConsumeArgs, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let client = connect(&args.connection)?;
    let mut left = args.count.unwrap_or(u64::MAX);
    if let Some(group) = &args.group {
        return run_in_group(args, group, client, &mut left, streams);
    }
    let mut consumer = Consumer::new(client, &args.topic, args.partition, args.offset)?;
    while left > 0 {
        if round(args, &mut consumer, &mut left, streams)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Prints what one fetch brings; `Break` once there is no more to print.
fn round(
    args: &ConsumeArgs,
    consumer: &mut Consumer,
    left: &mut u64,
    streams: &mut Streams<'_>,
) -> Result<ControlFlow<()>, CliError> {
    let flow = consumer.poll(&mut |record| {
        print(args, streams.out, record).map_err(ClientError::Output)?;
        *left -= 1;
        Ok(if *left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    streams.out.flush()?;
    Ok(if flow.is_break() || args.exit_at_end && consumer.at_end() {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    })
}

/// Prints as a member of a group. What was printed is committed before the group may give its partitions to another member,
/// so a record is printed by two members only if one of them dies between printing and committing.
fn run_in_group(
    args: &ConsumeArgs,
    group: &str,
    mut client: Client,
    left: &mut u64,
    streams: &mut Streams<'_>,
) -> Result<(), CliError> {
    let mut member = Member::new(group, &args.topic);
    while *left > 0 {
        let partitions = member.join(&mut client)?;
        let topic = client.topic(&args.topic, Missing::Fail)?;
        let offsets = member.places(&mut client, &partitions)?;
        let mut consumer = Consumer::at(client, topic, StartAt::Start, &offsets);
        let mut committed = offsets;
        let (flow, standing) = loop {
            let flow = if committed.is_empty() {
                // More members than partitions: nothing to read, and a place to keep.
                pause(UNASSIGNED_PAUSE);
                ControlFlow::Continue(())
            } else {
                round(args, &mut consumer, left, streams)?
            };
            let now_at = consumer.offsets();
            let standing = if now_at == committed {
                member.heartbeat(consumer.client())?
            } else {
                member.commit(consumer.client(), &now_at)?
            };
            committed = now_at;
            if flow.is_break() || standing == Standing::Rejoin {
                break (flow, standing);
            }
        };
        client = consumer.into_client();
        if flow.is_break() {
            if standing == Standing::Member {
                member.leave(&mut client)?;
            }
            break;
        }
    }
    Ok(())
}

fn print(args: &ConsumeArgs, out: &mut dyn Write, record: &Fetched<'_>) -> std::io::Result<()> {
    match args.output {
        Some(OutputFormat::Json) => writeln!(out, "{}", to_json(record)),
        Some(OutputFormat::Table) | None => args.format.print(out, record),
    }
}

/// One record as an object. Bytes that are not UTF-8 are under `key_hex` or `value_hex` instead.
fn to_json(record: &Fetched<'_>) -> Value {
    let mut object = Map::new();
    object.insert("topic".to_owned(), json!(record.topic));
    object.insert("partition".to_owned(), json!(record.partition));
    object.insert("offset".to_owned(), json!(record.offset));
    object.insert("timestamp".to_owned(), json!(record.timestamp));
    insert_bytes(&mut object, "key", record.key);
    insert_bytes(&mut object, "value", record.value);
    let headers = record.headers.iter().map(|(name, value)| {
        let mut header = Map::new();
        insert_bytes(&mut header, "name", Some(name));
        insert_bytes(&mut header, "value", *value);
        Value::Object(header)
    });
    object.insert("headers".to_owned(), headers.collect());
    Value::Object(object)
}

fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    let text = bytes.map(str::from_utf8).transpose();
    match (text, bytes) {
        (Err(_), Some(bytes)) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            object.insert(format!("{name}_hex"), json!(hex));
        }
        (text, _) => {
            object.insert(name.to_owned(), json!(text.ok().flatten()));
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::tests::corelog;
    use super::*;
    use crate::client::kafka::peer::Peer;

    fn consume(peer: &Peer, line: &[&str]) -> (u8, String, String) {
        corelog(
            &[&["consume", "t", "--brokers", &peer.address()], line].concat(),
            "",
        )
    }

    fn peer() -> Peer {
        let peer = Peer::start();
        peer.create("t", 2);
        peer.append("t", 0, &["a", "b"], 1000);
        peer.append("t", 1, &["c"], 2000);
        peer
    }

    #[test]
    fn records_are_printed_as_asked() {
        let peer = peer();
        let printed = |line: &[&str]| {
            let (code, out, err) = consume(&peer, line);
            assert_eq!((code, err.as_str()), (0, ""));
            out
        };
        assert_eq!(printed(&["-e"]), "a\nb\nc\n");
        assert_eq!(printed(&["-e", "-p", "1"]), "c\n");
        assert_eq!(printed(&["-n", "2"]), "a\nb\n");
        assert_eq!(printed(&["-n", "0"]), "");
        assert_eq!(printed(&["-e", "-o", "end"]), "");
        assert_eq!(
            printed(&["-e", "-o", "@1500", "-f", "%t/%p@%o %k=%v %T %h;"]),
            "t/1@0 k=c 2000 h=1;"
        );
        expect![[r#"
            {"headers":[{"name":"h","value":"1"}],"key":"k","offset":0,"partition":0,"timestamp":1000,"topic":"t","value":"a"}
        "#]].assert_eq(&printed(&["-n", "1", "--output", "json"]));
    }

    #[test]
    fn what_is_not_there_is_said() {
        let peer = peer();
        assert_eq!(
            consume(&peer, &["-p", "5", "-e"]).2,
            "error: topic \"t\" has no partition 5: it has 2\n"
        );
        let (code, _, err) = corelog(&["consume", "nope", "-e", "--brokers", &peer.address()], "");
        assert_eq!(
            (code, err.as_str()),
            (
                1,
                "error: there is no topic \"nope\": corelog topic create nope\n"
            )
        );
        let (code, _, err) = corelog(&["consume", "t", "--brokers", "not an address:x"], "");
        assert_eq!(code, 2);
        assert!(err.contains("host:port"), "{err}");
    }

    #[test]
    fn what_was_produced_is_consumed_byte_for_byte() {
        let peer = Peer::start();
        let lines: String = (0..5000)
            .map(|n| format!("line {n} {}\n", "z".repeat(n % 100)))
            .collect();
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let topic = format!("t-{codec}");
            let line = ["produce", &topic, "-z", codec, "--brokers", &peer.address()];
            assert_eq!(corelog(&line, &lines), (0, String::new(), String::new()));
            let (code, out, _) = corelog(&["consume", &topic, "-e", "--brokers", &peer.address()], "");
            assert_eq!(code, 0);
            assert!(
                out == lines,
                "{codec}: {} bytes came back of {}",
                out.len(),
                lines.len()
            );
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_hex_in_json() {
        let record = Fetched {
            topic: "t",
            partition: 0,
            offset: 0,
            timestamp: 0,
            key: None,
            value: Some(&[0xff, 0x00]),
            headers: &[(b"h", None)],
        };
        let object = to_json(&record);
        assert_eq!(object["value_hex"], "ff00");
        assert_eq!(object["key"], Value::Null);
        assert_eq!(object.get("value"), None);
    }
}
