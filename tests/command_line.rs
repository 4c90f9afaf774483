//! The command line against the real broker: groups read, moved and deleted, topics altered, grown and trimmed.
//!
//! Each step is a process of its own, as in a shell, and what it prints is what is judged. The consumer group has members of
//! this program only; other people's clients meet in `tests/groups.rs`.

#![expect(
    clippy::disallowed_methods,
    reason = "a test has clocks, threads and patience of its own"
)]
#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail the test")]

#[expect(
    clippy::allow_attributes,
    reason = "which helpers stay unused differs from program to program"
)]
#[allow(dead_code, reason = "each test program uses some of the shared helpers")]
#[path = "support/support.rs"]
mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use support::broker::{Advertise, Broker, Options, binary};

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker, and the program pointed at it.
struct Shell {
    broker: Broker,
}

impl Shell {
    fn start() -> Self {
        let options = Options::new(2, Advertise::PerCore).set("group.initial_rebalance_delay=10ms");
        Self {
            broker: Broker::start(options),
        }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(binary());
        command
            .args(line.split_whitespace())
            .arg("--brokers")
            .arg(self.broker.kafka().to_string());
        command
    }

    /// Exit code, stdout and stderr of a command that reads `input`.
    fn run(&self, line: &str, input: &str) -> (i32, String, String) {
        let mut child = self
            .command(line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    /// What a command that must succeed prints.
    fn print(&self, line: &str) -> String {
        let (code, out, err) = self.run(line, "");
        assert_eq!((code, err.as_str()), (0, ""), "{line}\n{out}");
        out
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.print(&format!("{line} -o json"))).unwrap()
    }

    /// Sends the numbers of a range as keys and values.
    fn produce(&self, topic: &str, numbers: std::ops::Range<u32>) {
        let lines: String = numbers.map(|n| format!("{n}:{n}\n")).collect();
        let (code, _, err) = self.run(&format!("produce {topic} -f %k:%v\\n"), &lines);
        assert_eq!((code, err.as_str()), (0, ""));
    }

    fn lag(&self, group: &str) -> i64 {
        self.json(&format!("group describe {group}"))[0]["lag"]
            .as_i64()
            .unwrap()
    }
}

fn numbers(printed: &str) -> Vec<u32> {
    printed.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_group_reads_once_and_goes_where_it_is_sent() {
    let shell = Shell::start();
    shell.print("topic create t -p 4");
    shell.produce("t", 0..100);

    let mut first = numbers(&shell.print("consume t -g g -e"));
    first.sort_unstable();
    assert_eq!(first, (0..100).collect::<Vec<_>>());
    assert_eq!(shell.print("consume t -g g -e"), "", "everything was committed");
    assert_eq!(shell.lag("g"), 0);
    let listed = shell.json("group list");
    assert_eq!(
        (&listed[0]["group"], &listed[0]["state"]),
        (&"g".into(), &"Empty".into())
    );

    shell.produce("t", 100..110);
    assert_eq!(shell.lag("g"), 10);
    let planned = shell.json("group seek g --to start --dry-run");
    assert_eq!(planned.as_array().unwrap().len(), 4);
    assert!(
        planned[0]["status"] == "would move" && planned[0]["after"] == 0,
        "{planned}"
    );
    assert_eq!(shell.lag("g"), 10, "a dry run moves nothing");

    shell.print("group seek g --to start");
    assert_eq!(shell.lag("g"), 110);
    assert_eq!(numbers(&shell.print("consume t -g g -e")).len(), 110);
    shell.print("group seek g --to -1 -t t:0,2");
    assert_eq!(shell.lag("g"), 2);

    let (code, _, err) = shell.run("group seek g --to start -t t:9", "");
    assert_eq!(
        (code, err.as_str()),
        (1, "error: topic \"t\" has no partition 9: it has 4\n")
    );
    shell.print("group delete g -t t:0 --dry-run");
    assert_eq!(shell.lag("g"), 2);
    shell.print("group delete g -t t:0");
    assert_eq!(shell.lag("g"), 1);
    shell.print("group delete g");
    assert_eq!(shell.json("group list"), Value::Array(Vec::new()));
    let (code, out, _) = shell.run("group delete g", "");
    assert!(code == 1 && out.contains("GROUP_ID_NOT_FOUND"), "{out}");
}

/// A member that prints until it is stopped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(shell: &Shell, line: &str) -> Self {
        let mut child = shell
            .command(line)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let out: ChildStdout = child.stdout.take().unwrap();
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn two_members_share_a_topic_and_cannot_be_moved_while_they_run() {
    let shell = Shell::start();
    shell.print("topic create t -p 4");
    let members = [
        Running::start(&shell, "consume t -g g"),
        Running::start(&shell, "consume t -g g"),
    ];
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let described = shell.json("group describe g");
        let members = described[0]["members"].as_array().cloned().unwrap_or_default();
        let shares: Vec<_> = members.iter().map(|one| one["partitions"].as_u64()).collect();
        if described[0]["state"] == "Stable" && shares == [Some(2), Some(2)] {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{described}");
        std::thread::sleep(Duration::from_millis(50));
    }
    shell.produce("t", 0..200);
    let mut seen = BTreeSet::new();
    let mut by_member = [0; 2];
    while seen.len() < 200 {
        assert!(std::time::Instant::now() < deadline, "{} of 200", seen.len());
        for (member, count) in members.iter().zip(&mut by_member) {
            while let Ok(line) = member.lines.recv_timeout(Duration::from_millis(20)) {
                assert!(
                    seen.insert(line.parse::<u32>().unwrap()),
                    "{line} was printed twice"
                );
                *count += 1;
            }
        }
    }
    assert!(by_member.iter().all(|count| *count > 0), "{by_member:?}");
    let (code, out, _) = shell.run("group seek g --to start", "");
    assert!(code == 1 && out.contains("UNKNOWN_MEMBER_ID"), "{out}");
    let (code, out, _) = shell.run("group delete g", "");
    assert!(code == 1 && out.contains("NON_EMPTY_GROUP"), "{out}");
}

#[test]
fn topics_are_altered_grown_and_trimmed() {
    let shell = Shell::start();
    shell.print("topic create t -p 1");
    let (code, _, err) = shell.run("produce t -H a=1 -H b=2 -Z -f %k=%v\\n", "k=v\nk=\n");
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        shell.print("consume t -e -f %k{hex}:%v{base64}:%V:%h;"),
        "6b:dg==:1:a=1,b=2;6b::-1:a=1,b=2;"
    );
    let config = |key: &str| {
        let described = shell.json("topic describe t");
        let all = described[0]["config"].as_array().unwrap().clone();
        all.into_iter().find(|one| one["key"] == key).unwrap()
    };
    shell.print("topic alter t -c retention.ms=1234567 --dry-run");
    assert_eq!(config("retention.ms")["source"], "default");
    shell.print("topic alter t -c retention.ms=1234567");
    assert_eq!(config("retention.ms")["value"], "1234567");
    shell.print("topic alter t --reset retention.ms");
    assert_eq!(config("retention.ms")["source"], "default");

    shell.print("topic add-partitions t --by 2 --dry-run");
    shell.print("topic add-partitions t --by 2");
    shell.print("topic add-partitions t --to 4");
    let (code, _, err) = shell.run("topic add-partitions t --to 3", "");
    assert!(code == 1 && err.contains("INVALID_PARTITIONS"), "{err}");
    assert_eq!(shell.json("topic list")[0]["partitions"], 4);

    let lines: String = (0..10).map(|n| format!("{n}\n")).collect();
    shell.run("produce t -p 3", &lines);
    let planned = shell.json("topic trim t --before -3 -p 3 --dry-run");
    assert_eq!(
        (&planned[0]["start_before"], &planned[0]["start"]),
        (&0.into(), &7.into())
    );
    shell.print("topic trim t --before -3 -p 3");
    assert_eq!(shell.print("consume t -e -p 3"), "7\n8\n9\n");
    shell.print("topic trim t --before end");
    assert_eq!(shell.print("consume t -e"), "");
}
