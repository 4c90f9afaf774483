//! A broker under test: started, awaited, killed, restarted, read.
//!
//! [`Broker::start`] returns when the admin port's `/readyz` answers 200, which is the broker's own word that it
//! takes clients; if the process ends before that, or the bound passes, the test fails with everything the
//! broker said. Data lives in a temporary directory beside the build (a real file system, since direct I/O is
//! not to be had on every tmpfs) and goes when the handle is dropped, as does the process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::seccomp;

/// How long a start, with recovery, or a stop may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a condition. Short beside every latency a test measures its patience in.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Ports are handed out in runs this long: a Kafka port and one per shard, the same for the
/// native door from the middle on, and one for the admin door.
const PORTS_PER_BROKER: u16 = 16;
/// Below the range the kernel gives to outgoing connections, so that none of them takes a port in between.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How metadata presents the shards to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advertise {
    /// Each shard is a broker of its own.
    PerCore,
    /// One broker for all shards.
    Single,
}

/// What a test wants of its broker.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) shards: u16,
    pub(crate) advertise: Advertise,
    /// The memory budget, as the command line takes it.
    pub(crate) memory: &'static str,
    /// Further `key=value` settings.
    pub(crate) settings: Vec<String>,
    /// Where the data goes instead of beside the build.
    pub(crate) data_dir: Option<PathBuf>,
    /// A program and its arguments that start the broker, such as `prlimit` with a limit.
    pub(crate) launcher: Vec<String>,
    /// Whether the process may set up rings.
    pub(crate) io_uring: IoUring,
}

/// What the kernel says to `io_uring_setup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IoUring {
    /// What it says here.
    Allowed,
    /// EPERM, from a seccomp filter, as in most containers.
    Denied,
}

impl Options {
    pub(crate) fn new(shards: u16, advertise: Advertise) -> Self {
        Self {
            shards,
            advertise,
            memory: "512MiB",
            settings: Vec::new(),
            data_dir: None,
            launcher: Vec::new(),
            io_uring: IoUring::Allowed,
        }
    }

    /// The same with one setting more.
    pub(crate) fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// The same with the data somewhere else.
    pub(crate) fn data_in(mut self, directory: &Path) -> Self {
        self.data_dir = Some(directory.to_owned());
        self
    }

    /// How many brokers clients must find in the metadata.
    pub(crate) fn advertised_brokers(&self) -> u16 {
        match self.advertise {
            Advertise::PerCore => self.shards,
            Advertise::Single => 1,
        }
    }
}

/// A broker process and its data.
pub(crate) struct Broker {
    options: Options,
    home: tempfile::TempDir,
    kafka: SocketAddr,
    admin: SocketAddr,
    child: Option<Child>,
}

impl Broker {
    /// A broker on fresh data, ready for clients.
    pub(crate) fn start(options: Options) -> Self {
        let mut broker = Self::prepare(options);
        broker.spawn();
        broker.wait_ready();
        broker
    }

    /// A data directory and ports for a broker that is not started yet.
    pub(crate) fn prepare(options: Options) -> Self {
        let home = tempfile::Builder::new()
            .prefix("broker-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a temporary directory beside the build");
        let base = free_ports();
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            options,
            home,
            kafka: at(base),
            admin: at(base + PORTS_PER_BROKER - 1),
            child: None,
        }
    }

    /// Starts the process and returns at once.
    pub(crate) fn spawn(&mut self) {
        assert!(self.child.is_none(), "the broker runs already");
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.said_path())
            .expect("the broker's log opens");
        let mut command = match self.options.launcher.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary());
                command
            }
            None => Command::new(binary()),
        };
        if self.options.io_uring == IoUring::Denied {
            seccomp::deny_io_uring(&mut command);
        }
        command
            .arg("serve")
            .args(["--data-dir".as_ref(), self.data_dir().as_os_str()])
            .args(["--kafka", &self.kafka.to_string()])
            .args(["--admin", &self.admin.to_string()])
            .args(["--set", &format!("native.listen={}", self.native())])
            .args(["--memory", self.options.memory])
            .args([
                "--advertise",
                match self.options.advertise {
                    Advertise::PerCore => "per-core",
                    Advertise::Single => "single",
                },
            ])
            .args(["--set", &format!("runtime.shards={}", self.options.shards)]);
        for setting in &self.options.settings {
            command.args(["--set", setting]);
        }
        // The tests' own knobs share the broker's prefix; the broker must not see them.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CORELOG"))
        {
            command.env_remove(name);
        }
        let stdout = log.try_clone().expect("a second handle to the broker's log");
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(log).spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{} starts: {error}", binary().display())));
    }

    /// Returns when the broker says that it is ready; fails the test if it ends or takes too long.
    pub(crate) fn wait_ready(&mut self) {
        let ready = self.poll(|broker| {
            if let Some(status) = broker.exited() {
                panic!(
                    "the broker ended before it was ready: {status}\n{}",
                    broker.said()
                );
            }
            matches!(broker.admin_get("/readyz"), Some((200, _)))
        });
        assert!(
            ready,
            "the broker was not ready within {PATIENCE:?}\n{}",
            self.said()
        );
    }

    /// Kills the process outright, as a power cut would to its memory but not to the page cache.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("a broker to kill");
        child.kill().expect("the broker is killed");
        child.wait().expect("the killed broker is reaped");
    }

    /// Asks for a graceful stop and gives the exit status; fails the test if it does not come.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit()
    }

    /// Sends one signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the broker takes the signal");
    }

    /// The running process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("a running broker"))
    }

    /// The exit status once the process has ended; fails the test if it does not end.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let stopped = self.poll(|broker| broker.exited().is_some());
        assert!(
            stopped,
            "the broker did not stop within {PATIENCE:?}\n{}",
            self.said()
        );
        let mut child = self.child.take().expect("the broker that stopped");
        child.wait().expect("the stopped broker is reaped")
    }

    /// Returns when `condition` holds; fails the test, naming `what`, if it does not come to hold.
    pub(crate) fn wait_until(&mut self, what: &str, condition: impl FnMut(&mut Self) -> bool) {
        let came = self.poll(condition);
        assert!(came, "{what}: not within {PATIENCE:?}\n{}", self.said());
    }

    /// The exit status if the process ended by itself.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child
            .as_mut()
            .and_then(|child| child.try_wait().expect("the broker's state is known"))
    }

    /// Changes what the next start asks for; the data and the ports stay.
    pub(crate) fn reconfigure(&mut self, change: impl FnOnce(&mut Options)) {
        assert!(self.child.is_none(), "options change between runs");
        change(&mut self.options);
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The bootstrap address.
    pub(crate) fn kafka(&self) -> SocketAddr {
        self.kafka
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        let beside = || self.home.path().join("data");
        self.options.data_dir.clone().unwrap_or_else(beside)
    }

    /// The address of the admin door.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The native base address.
    pub(crate) fn native(&self) -> SocketAddr {
        SocketAddr::new(self.kafka.ip(), self.kafka.port() + PORTS_PER_BROKER / 2)
    }

    /// Takes another broker's ports, to collide with it.
    pub(crate) fn listen_where(&mut self, other: &Self) {
        self.kafka = other.kafka;
        self.admin = other.admin;
    }

    /// A directory for the test's own files, gone with the broker.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The most memory the process ever had resident, in bytes, or since [`forget_peak`](Self::forget_peak).
    pub(crate) fn peak_resident_bytes(&self) -> u64 {
        self.memory_bytes("VmHWM:")
    }

    /// The memory the process has resident, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.memory_bytes("VmRSS:")
    }

    /// Lets the peak begin anew.
    pub(crate) fn forget_peak(&self) {
        let path = format!("/proc/{}/clear_refs", self.pid().as_raw_nonzero());
        // A kernel without it keeps the older, higher peak.
        std::fs::write(path, "5").ok();
    }

    fn memory_bytes(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid().as_raw_nonzero());
        let status = std::fs::read_to_string(path).expect("the broker's status");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let text = line.expect("the field in the status").trim();
        let kib: u64 = text
            .trim_end_matches("kB")
            .trim()
            .parse()
            .expect("a number of kB");
        kib * 1024
    }

    /// The sum over all shards of one of the broker's metrics; nothing if it does not answer.
    pub(crate) fn metric(&self, name: &str) -> Option<u64> {
        let (status, text) = self.admin_get("/metrics")?;
        let of_it = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let value = rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next())??;
            value.parse::<u64>().ok()
        };
        let sum = text.lines().filter_map(of_it).sum();
        (status == 200).then_some(sum)
    }

    /// Everything the broker wrote to its standard output and error, over all its runs.
    pub(crate) fn said(&self) -> String {
        let text = std::fs::read(self.said_path()).unwrap_or_default();
        format!(
            "--- the broker said ---\n{}--- end ---",
            String::from_utf8_lossy(&text)
        )
    }

    /// One HTTP request to the admin port: the status code and the body, or nothing if nobody answers.
    pub(crate) fn admin_get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.admin, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: corelog\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    fn said_path(&self) -> PathBuf {
        self.home.path().join("broker.log")
    }

    fn poll(&mut self, mut condition: impl FnMut(&mut Self) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if condition(self) {
                return true;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        false
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = self.child.as_mut() {
            // It may have ended by itself; then there is nothing to kill and nothing to say.
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.said());
        }
    }
}

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("CORELOG").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_corelog")), PathBuf::from)
}

/// The first of a run of ports that nobody listens on. Each call gives another run; several test processes at
/// once start from different places.
fn free_ports() -> u16 {
    static HANDED_OUT: AtomicU16 = AtomicU16::new(0);
    let runs = (PORTS.end - PORTS.start) / PORTS_PER_BROKER;
    let start = u16::try_from(std::process::id() % u32::from(runs)).expect("a remainder below a u16");
    for _ in 0..runs {
        // 37 and the number of runs have no common divisor, so every run comes up once before any comes again.
        let turn = HANDED_OUT.fetch_add(1, Ordering::Relaxed).wrapping_mul(37);
        let base = PORTS.start + (start.wrapping_add(turn) % runs) * PORTS_PER_BROKER;
        if (base..base + PORTS_PER_BROKER).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return base;
        }
    }
    panic!("no run of {PORTS_PER_BROKER} free ports in {PORTS:?}");
}
