//! The release binary as a child process, and what the kernel says about it.

use corelog::runtime::clock;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longest start anyone would wait for.
const PATIENCE: Duration = Duration::from_secs(60);
/// `USER_HZ`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A running broker; killed when dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    kafka: SocketAddr,
    home: PathBuf,
    /// From the start of the process until the Kafka port answered a byte of protocol.
    pub(crate) ready_after: Duration,
}

impl Broker {
    /// Starts a broker on `home` with further arguments and waits until it serves.
    pub(crate) fn start(home: &Path, arguments: &[&str]) -> Self {
        std::fs::create_dir_all(home).expect("a home");
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(home.join("said"))
            .expect("a log");
        let (kafka, admin) = (free_address(), free_address());
        let mut command = Command::new(env!("CARGO_BIN_EXE_corelog"));
        command
            .arg("serve")
            .args(["--data-dir".as_ref(), home.join("data").as_os_str()])
            .args(["--kafka", &kafka.to_string(), "--admin", &admin.to_string()])
            .args(["--advertise", "single"])
            .args(["--set", "native.enabled=false"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        let begun = clock::now();
        let child = command.spawn().expect("the broker starts");
        let mut broker = Self {
            child,
            kafka,
            home: home.to_owned(),
            ready_after: Duration::ZERO,
        };
        broker.wait_until_served(begun);
        broker
    }

    /// Ports are bound long before anyone accepts, so readiness is an answer, not a connection.
    fn wait_until_served(&mut self, begun: clock::Mono) {
        let versions = [
            0, 0, 0, 10, // size
            0, 18, 0, 0, // ApiVersions 0
            0, 0, 0, 1, // correlation id
            255, 255, // no client id
        ];
        while clock::now().since(begun) < PATIENCE {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the broker ended: {status}\n{}", self.said());
            }
            if std::net::TcpStream::connect(self.kafka).is_ok() {
                let mut client = crate::client::Client::connect(self.kafka);
                client.send(&versions);
                client.receive(&mut Vec::new());
                self.ready_after = clock::now().since(begun);
                return;
            }
            clock::block_for(LOOK_AGAIN);
        }
        panic!("the broker does not serve\n{}", self.said());
    }

    pub(crate) fn kafka(&self) -> SocketAddr {
        self.kafka
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.home.join("said")).unwrap_or_default()
    }

    /// Stops it in order.
    pub(crate) fn stop(mut self) {
        let id = self.child.id().to_string();
        let told = Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .expect("kill(1)");
        assert!(told.success());
        let status = self.child.wait().expect("our child");
        assert!(status.success(), "{status}\n{}", self.said());
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
    }

    /// Processor time it has used, user and system.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks: u64 = [11, 12]
            .iter()
            .map(|at| fields[*at].parse::<u64>().unwrap_or(0))
            .sum();
        Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND)
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = self.proc("status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
    }

    fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).expect("the broker lives")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}

/// A directory for brokers, on the disk that holds the build.
pub(crate) fn home(name: &str) -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix(&format!("figures-{name}-"))
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a directory beside the build")
}
