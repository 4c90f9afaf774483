//! Other people's clients: where they are, and how they are run.
//!
//! They come from `scripts/setup-test-env`. A test that needs one and does not find it fails and names that
//! script; it never passes by skipping.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The script that installs what is missing.
const SETUP: &str = "scripts/setup-test-env";

/// The interpreter with the Kafka client packages.
pub(crate) fn python() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let python = target
        .parent()
        .expect("the build directory")
        .join("test-env/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: run {SETUP} first",
        python.display()
    );
    python
}

/// Fails unless kcat can be run.
pub(crate) fn require_kcat() {
    let found = Command::new("kcat").arg("-V").output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "kcat is missing: run {SETUP} first"
    );
}

/// A Python program of `tests/clients`.
pub(crate) fn client_program(name: &str) -> Command {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name);
    assert!(script.is_file(), "{} is missing", script.display());
    let mut command = Command::new(python());
    // No .pyc files into the source tree, no buffering between a program's words and the reader of a failure.
    command.arg("-B").arg("-u").arg(script).stdin(Stdio::null());
    command
}

/// Runs a program to its end; what it printed if it failed.
pub(crate) fn run(mut command: Command) -> Result<(), String> {
    let output: Output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Err(format!(
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    ))
}

/// A program that works until its standard input closes.
pub(crate) struct Worker {
    child: Child,
    name: String,
}

impl Worker {
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Self {
            child,
            name: name.to_owned(),
        }
    }

    /// Fails the test if the program ended before it was told to.
    pub(crate) fn assert_running(&mut self) {
        let state = self.child.try_wait().expect("the program's state is known");
        assert!(state.is_none(), "{} ended by itself: {state:?}", self.name);
    }

    /// Tells the program one line.
    pub(crate) fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("the program still listens");
        writeln!(stdin, "{line}").unwrap_or_else(|error| panic!("{} listens: {error}", self.name));
    }

    /// Closes the program's input and waits for a good end, up to a bound.
    pub(crate) fn finish(mut self, bound: Duration) {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + bound;
        loop {
            if let Some(status) = self.child.try_wait().expect("the program's state is known") {
                assert!(status.success(), "{} ended with {status}", self.name);
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{} did not end within {bound:?}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Already ended on the good path; on the way out of a failed test it must not outlive the broker.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
