//! The broker under proof: the real program as a child process, killed and started again on the same data and ports.
//!
//! What the process says goes to a file, which is shown when a start fails. The handle owns the process: dropping it
//! kills it. The child is in a process group of its own, so an interrupt from the terminal reaches the prover only, which
//! then ends it. It sees none of this process's `CORELOG_` variables. One thread, the prover's.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::interrupt::Interrupt;
use crate::runtime::clock::{block_for, now};

/// How a broker is started.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// The program; `serve` and its arguments follow.
    pub program: PathBuf,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// The file its output is appended to.
    pub log: PathBuf,
    /// Shards it runs.
    pub shards: u16,
    /// `key=value` settings, later ones before earlier ones.
    pub settings: Vec<String>,
}

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// No run of free ports.
    #[error("no run of {0} free ports on the loopback address")]
    NoPorts(u16),
    /// The program cannot be started.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It ended by itself.
    #[error("the broker ended with {status}; it said:\n{said}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// The end of its output.
        said: String,
    },
    /// It runs and is not ready, or does not stop.
    #[error("the broker was not {what} within {}s; it said:\n{said}", PATIENCE.as_secs())]
    Late {
        /// What was waited for.
        what: &'static str,
        /// The end of its output.
        said: String,
    },
    /// The operating system refuses something about the process.
    #[error("the broker's process cannot be managed: {0}")]
    Process(io::Error),
    /// Somebody wants to stop.
    #[error("interrupted")]
    Interrupted,
}

/// A broker process, running or not.
#[derive(Debug)]
pub struct Broker {
    options: BrokerOptions,
    /// The Kafka port; see [`ports_of`].
    base: u16,
    child: Option<Child>,
}

impl Broker {
    /// A broker with ports of its own, not started yet.
    ///
    /// # Errors
    /// [`BrokerError::NoPorts`].
    pub fn new(options: BrokerOptions) -> Result<Self, BrokerError> {
        let count = ports_of(options.shards);
        let base = free_ports(count).ok_or(BrokerError::NoPorts(count))?;
        Ok(Self {
            options,
            base,
            child: None,
        })
    }

    /// Starts the process and returns at once.
    ///
    /// # Errors
    /// [`BrokerError::Start`].
    pub fn spawn(&mut self) -> Result<(), BrokerError> {
        let failed = |source| BrokerError::Start {
            program: self.options.program.clone(),
            source,
        };
        let log = File::options().append(true).create(true).open(&self.options.log);
        let log = log.map_err(failed)?;
        let mut command = Command::new(&self.options.program);
        command
            .arg("serve")
            .args(["--data-dir".as_ref(), self.options.data_dir.as_os_str()])
            .args(["--set", &format!("runtime.shards={}", self.options.shards)]);
        for setting in &self.options.settings {
            command.args(["--set", setting]);
        }
        command
            .args(["--kafka", &self.kafka().to_string()])
            .args(["--admin", &self.admin().to_string()])
            .args(["--set", &format!("native.listen={}", self.native())]);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CORELOG_") {
                command.env_remove(name);
            }
        }
        let output = log.try_clone().map_err(failed)?;
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(log);
        self.child = Some(command.spawn().map_err(failed)?);
        Ok(())
    }

    /// Waits until the broker takes clients.
    ///
    /// # Errors
    /// `Ended`, `Late`, or `Interrupted`.
    pub fn wait_ready(&mut self, interrupt: &Interrupt) -> Result<(), BrokerError> {
        let until = now().after(PATIENCE);
        while now() < until {
            if interrupt.is_set() {
                return Err(BrokerError::Interrupted);
            }
            self.check_running()?;
            if self.is_ready() {
                return Ok(());
            }
            block_for(LOOK_EVERY);
        }
        Err(BrokerError::Late {
            what: "ready",
            said: self.said(),
        })
    }

    /// An error if the process has ended by itself.
    ///
    /// # Errors
    /// `Ended`.
    pub fn check_running(&mut self) -> Result<(), BrokerError> {
        let ended = match &mut self.child {
            Some(child) => child.try_wait().map_err(BrokerError::Process)?,
            None => None,
        };
        let Some(status) = ended else {
            return Ok(());
        };
        self.child = None;
        Err(BrokerError::Ended {
            status,
            said: self.said(),
        })
    }

    /// Kills the process at once, if it runs: its memory is gone, what it wrote is in the kernel's hands.
    ///
    /// # Errors
    /// `Process`.
    pub fn kill(&mut self) -> Result<(), BrokerError> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child.kill().map_err(BrokerError::Process)?;
        child.wait().map(drop).map_err(BrokerError::Process)
    }

    /// Asks the process to stop, and waits for its end, which must be a success.
    ///
    /// # Errors
    /// `Ended` with the status, or `Late`.
    pub fn stop(&mut self) -> Result<(), BrokerError> {
        let Some(child) = &self.child else {
            return Ok(());
        };
        kill_process(Pid::from_child(child), Signal::TERM)
            .map_err(|error| BrokerError::Process(error.into()))?;
        let until = now().after(PATIENCE);
        while now() < until {
            match self.check_running() {
                Err(BrokerError::Ended { status, .. }) if status.success() => return Ok(()),
                outcome => outcome?,
            }
            block_for(LOOK_EVERY);
        }
        Err(BrokerError::Late {
            what: "stopped",
            said: self.said(),
        })
    }

    /// The Kafka bootstrap address.
    #[must_use]
    pub fn kafka(&self) -> SocketAddr {
        SocketAddr::from((LOOPBACK, self.base))
    }

    /// The native base address.
    #[must_use]
    pub fn native(&self) -> SocketAddr {
        SocketAddr::from((LOOPBACK, self.base + 1 + self.options.shards))
    }

    /// Where the data is.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.options.data_dir
    }

    fn admin(&self) -> SocketAddr {
        SocketAddr::from((LOOPBACK, self.base + 2 * (1 + self.options.shards)))
    }

    /// Whether `/readyz` answers 200.
    fn is_ready(&self) -> bool {
        let ask = || -> io::Result<bool> {
            let mut stream = TcpStream::connect_timeout(&self.admin(), ADMIN_PATIENCE)?;
            stream.set_read_timeout(Some(ADMIN_PATIENCE))?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: corelog\r\nConnection: close\r\n\r\n")?;
            let mut answer = [0; READY.len()];
            stream.read_exact(&mut answer)?;
            Ok(&answer == READY)
        };
        ask().unwrap_or(false)
    }

    /// The end of what the process has said over all its runs.
    fn said(&self) -> String {
        let text = std::fs::read(&self.options.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SAID_LINES)..].join("\n")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // What cannot be killed has ended by itself.
        let _ended = self.kill();
    }
}

/// Ports of a broker: Kafka and one for each shard, the same for the native door, and one for the admin door.
const fn ports_of(shards: u16) -> u16 {
    2 * (1 + shards) + 1
}

/// The first of a run of ports that nobody listens on, below the range from which the kernel takes those of outgoing
/// connections. Each process begins to look somewhere else.
fn free_ports(count: u16) -> Option<u16> {
    let runs = (PORTS.end - PORTS.start) / count;
    let start = u16::try_from(std::process::id() % u32::from(runs)).expect("a remainder below a u16");
    let bases = (0..runs).map(|turn| PORTS.start + (start + turn) % runs * count);
    bases.into_iter().find(|base| {
        (*base..base + count).all(|port| TcpListener::bind(SocketAddr::from((LOOPBACK, port))).is_ok())
    })
}

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
const PORTS: std::ops::Range<u16> = 15_000..20_000;
/// A start with recovery, or a graceful stop.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(3);
const ADMIN_PATIENCE: Duration = Duration::from_secs(2);
const READY: &[u8; 12] = b"HTTP/1.1 200";
/// Lines of a broker's output that an error shows.
const SAID_LINES: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_ends_is_an_error_with_its_words() {
        let home = tempfile::tempdir().unwrap();
        let script = home.path().join("broker");
        std::fs::write(&script, "#!/bin/sh\necho no disk today; exit 7\n").unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&script, executable).unwrap();
        let mut broker = Broker::new(BrokerOptions {
            program: script,
            data_dir: home.path().join("data"),
            log: home.path().join("log"),
            shards: 1,
            settings: Vec::new(),
        })
        .unwrap();
        broker.spawn().unwrap();
        let error = broker.wait_ready(&Interrupt::default()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, BrokerError::Ended { .. }), "{text}");
        assert!(text.contains("no disk today") && text.contains('7'), "{text}");
    }
}
