//! `corelog consume`: the records of a topic, printed as asked.
//!
//! Records of one partition come in order; between partitions there is no order. What one fetch brought is written
//! out before the next, so that a pipe sees records as they arrive.

use std::io::Write;
use std::ops::ControlFlow;

use serde_json::{Map, Value, json};

use super::args::{ConsumeArgs, OutputFormat};
use super::consumer::Consumer;
use super::format::Printed;
use super::topic::connect;
use super::{CliError, Streams};
use crate::client::kafka::ClientError;

pub(super) fn run(args: &ConsumeArgs, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut consumer = Consumer::new(
        connect(&args.connection)?,
        &args.topic,
        args.partition,
        args.offset,
    )?;
    while left > 0 {
        let flow = consumer.poll(&mut |record| {
            print(args, streams.out, record).map_err(ClientError::Output)?;
            left -= 1;
            Ok(if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        streams.out.flush()?;
        if flow.is_break() || args.exit_at_end && consumer.at_end() {
            break;
        }
    }
    Ok(())
}

fn print(args: &ConsumeArgs, out: &mut dyn Write, record: &Printed<'_>) -> std::io::Result<()> {
    match args.output {
        Some(OutputFormat::Json) => writeln!(out, "{}", to_json(record)),
        Some(OutputFormat::Table) | None => args.format.print(out, record),
    }
}

/// One record as an object. Bytes that are not UTF-8 are under `key_hex` or `value_hex` instead.
fn to_json(record: &Printed<'_>) -> Value {
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
        let record = Printed {
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
