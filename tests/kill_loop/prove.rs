//! `corelog prove` as users run it: what it finds sound, what it must find broken, and what it leaves behind.
//!
//! Sixty power cuts, half of them on ext4 and half on XFS, and kills on the disk of the build; each run aims at every moment
//! there is and must have hit it. Proofs that must fail: a topic that promises no more than memory, and an
//! acknowledgement that never was. Power cuts need root and FUSE.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::broker::binary;
use crate::support::seed::Seed;

/// Each moment comes up once in sixteen cycles; of the strikes of so many at least thirty cut the power.
const CUT_CYCLES: &str = "32";
const POWER_CUTS_MIN: u64 = 30;
const KILL_CYCLES: &str = "16";
/// Everything the prover aims at, by its name in the figures.
const MOMENTS: [&str; 8] = [
    "committing",
    "rolling",
    "cleaning",
    "creating",
    "deleting",
    "configuring",
    "trimming",
    "recovering",
];
const EXIT_VIOLATED: i32 = 1;
const EXIT_UNABLE: i32 = 3;
/// Fewer acknowledgements than this for each cycle, and the load was not one.
const ACKED_PER_CYCLE_MIN: u64 = 100;

#[test]
fn acknowledged_records_survive_power_cuts_on_ext4() {
    assert_power_cuts_are_survived("ext4");
}

#[test]
fn acknowledged_records_survive_power_cuts_on_xfs() {
    assert_power_cuts_are_survived("xfs");
}

fn assert_power_cuts_are_survived(file_system: &str) {
    let seed = seed(file_system);
    let cuts = format!("--power-cuts={file_system}");
    let report = assert_proven(&[&cuts, "--cycles", CUT_CYCLES, "--seed", &seed]);
    let count = number(&report, "power_cuts");
    assert!(count >= POWER_CUTS_MIN, "only {count} power cuts: {report:#}");
    // Group commit: many batches leave with one flush, and none without.
    assert!(number(&report, "flushes") > 0, "{report:#}");
}

#[test]
fn acknowledged_records_survive_kills_aimed_at_every_moment() {
    let seed = seed("kills");
    let report = assert_proven(&["--cycles", KILL_CYCLES, "--seed", &seed]);
    assert_eq!(number(&report, "power_cuts"), 0);
}

/// Runs a proof that must succeed, under a load worth the name, and hit every moment.
fn assert_proven(arguments: &[&str]) -> Value {
    let home = home();
    let (output, report) = prove(home.path(), arguments);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(report["verdict"], "proven");
    for nothing in ["lost", "duplicated", "out_of_order", "changed", "unreadable"] {
        assert_eq!(number(&report, nothing), 0, "{report:#}");
    }
    let (acked, let_go) = (number(&report, "acked"), number(&report, "let_go"));
    assert_eq!(acked, number(&report, "found") + let_go, "{report:#}");
    let wanted = number(&report, "cycles") * ACKED_PER_CYCLE_MIN;
    assert!(acked >= wanted, "only {acked} records were acknowledged: no load");
    for moment in MOMENTS {
        assert!(
            report["struck"][moment].as_u64() > Some(0),
            "nothing struck {moment}: {report:#}"
        );
    }
    eprintln!(
        "{} struck: {}; {}",
        arguments.join(" "),
        report["struck"],
        report["summary"]
    );
    assert_nothing_is_left(home.path());
    report
}

#[test]
fn a_topic_that_is_relaxed_is_caught() {
    // Cuts only: what was handed to the kernel outlives a kill, so a kill catches a relaxed topic in the microseconds before the
    // write, or never.
    for disk in ["--power-cuts=ext4", "--power-cuts=xfs"] {
        let seed = seed("relaxed");
        let report = assert_violated(&[disk, "--durability", "relaxed", "--cycles", "8", "--seed", &seed]);
        // The proof ends at the first strike that shows something. One may hit only what nobody was told about yet, and readers
        // saw: other records are in its place then.
        let broken = number(&report, "lost") + number(&report, "changed");
        assert!(broken > 0, "{disk}: {report:#}");
    }
}

#[test]
fn a_false_acknowledgement_is_found_and_everything_is_kept() {
    let report = assert_violated(&["--self-test", "--cycles", "2", "--seed", "1"]);
    assert_eq!(number(&report, "lost"), 1, "{report:#}");
    let witness = report["witnesses"][0].as_str().expect("a witness");
    assert!(
        witness.starts_with("unseen: 4294967295:0 was acknowledged"),
        "{witness}"
    );
}

/// Runs a proof that must fail, and finds the evidence where it says.
fn assert_violated(arguments: &[&str]) -> Value {
    let home = home();
    let (output, report) = prove(home.path(), arguments);
    assert_eq!(output.status.code(), Some(EXIT_VIOLATED), "{}", said(&output));
    assert_eq!(report["verdict"], "violated");
    let kept = Path::new(report["kept"].as_str().expect("a place where evidence is kept"));
    for evidence in ["report.json", "broker.log", "data/meta/journal"] {
        assert!(
            kept.join(evidence).exists(),
            "{evidence} is not in {}",
            kept.display()
        );
    }
    report
}

#[test]
fn a_proof_that_cannot_be_tried_says_why() {
    let home = home();
    let (output, _) = prove(&home.path().join("nowhere"), &[]);
    assert_eq!(output.status.code(), Some(EXIT_UNABLE), "{}", said(&output));
    let (output, _) = prove(home.path(), &["--set", "log.segment_bytes=nonsense"]);
    assert_eq!(output.status.code(), Some(EXIT_UNABLE), "{}", said(&output));
    assert!(said(&output).contains("log.segment_bytes"), "{}", said(&output));
    assert_nothing_is_left(home.path());
}

#[test]
fn an_interrupted_proof_leaves_nothing_behind() {
    let home = home();
    let mut child = command(home.path(), &["--power-cuts", "--for", "10m"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the prover starts");
    // Long enough for it to be in the middle of something; what, is up to the machine.
    std::thread::sleep(Duration::from_millis(2500));
    kill_process(Pid::from_child(&child), Signal::INT).expect("the prover takes the signal");
    let status = child.wait().expect("the prover ends");
    assert_eq!(status.code(), Some(EXIT_UNABLE));
    assert_nothing_is_left(home.path());
}

fn home() -> tempfile::TempDir {
    let made = tempfile::Builder::new()
        .prefix("prove-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    made.expect("a temporary directory beside the build")
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .arg("prove")
        .arg(directory)
        .args(arguments)
        .args(["-o", "json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// What the prover said, and its report if it gave one.
fn prove(directory: &Path, arguments: &[&str]) -> (Output, Value) {
    let output = command(directory, arguments).output().expect("the prover runs");
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, reports[0].clone())
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn number(report: &Value, figure: &str) -> u64 {
    report[figure]
        .as_u64()
        .unwrap_or_else(|| panic!("no {figure} in {report:#}"))
}

fn seed(test: &str) -> String {
    let mut seed = Seed::announced(&format!("prove {test}"));
    (seed.next() % 1_000_000_000).to_string()
}

fn assert_nothing_is_left(directory: &Path) {
    let left: Vec<_> = std::fs::read_dir(directory)
        .expect("the directory is there")
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let mounts = std::fs::read_to_string("/proc/mounts").expect("the mounts");
    let directory = directory.to_string_lossy();
    assert!(!mounts.contains(&*directory), "{mounts}");
}
