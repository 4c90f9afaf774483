//! A broker under attack, its neighbours, and what must be true afterwards.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::attacker::raise_open_files;
use crate::neighbour::Neighbour;
use crate::support::broker::{Advertise, Broker, Options};
use crate::support::cage::Cage;
use crate::support::wire::{self, Answer, Connection, METADATA};

/// Shards of the broker, their memory budget as the command line takes it, and in bytes.
const SHARDS: u16 = 2;
const MEMORY: (&str, u64) = ("64MiB", 64 << 20);
/// What the kernel lets the process have, all in all.
const LIMIT_BYTES: u64 = 512 << 20;
/// What the process may hold beside its budget: code, stacks, rings, histograms, connections, what one request decodes to,
/// the allocator's slack.
const BESIDE_BUDGET_BYTES: u64 = 192 << 20;
/// The same when the attack is over.
const BESIDE_BUDGET_AFTERWARDS_BYTES: u64 = 96 << 20;
/// How soon memory and connections must have gone back after an attack.
const RECOVERY_WITHIN: Duration = Duration::from_secs(20);
/// How soon a broken frame must be answered by an error or a closed connection.
pub(crate) const VERDICT_WITHIN: Duration = Duration::from_secs(10);

/// Where an attack goes.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) kafka: SocketAddr,
    pub(crate) native: SocketAddr,
    pub(crate) admin: SocketAddr,
    neighbours: Arc<[Neighbour; 2]>,
}

impl Target {
    /// Keeps the attack up until the neighbours have been served in spite of it, twice over.
    pub(crate) fn hold(&self) {
        for _ in 0..2 {
            for neighbour in self.neighbours.iter() {
                neighbour.wait_for_progress();
            }
        }
    }
}

/// A name for people, and what it does. Returning is the end of the attack: whatever it opened is closed by then.
pub(crate) type Attack = (&'static str, fn(&Target));

/// Runs attacks one after another on one broker.
pub(crate) fn withstands(settings: &[&str], attacks: &[Attack]) {
    let mut siege = Siege::begin(settings);
    for (name, attack) in attacks {
        siege.withstand(name, attack);
    }
    siege.end();
}

/// Runs one attack on a fresh broker.
pub(crate) fn beside_a_neighbour(settings: &[&str], attack: impl FnOnce(&Target)) {
    let mut siege = Siege::begin(settings);
    siege.withstand("attack", attack);
    siege.end();
}

/// See the module.
pub(crate) struct Siege {
    pub(crate) broker: Broker,
    neighbours: Arc<[Neighbour; 2]>,
    /// Behind the broker, because it goes when its process is gone.
    cage: Option<Cage>,
}

impl Siege {
    /// A broker in its cage, and neighbours that are being served.
    pub(crate) fn begin(settings: &[&str]) -> Self {
        raise_open_files();
        let cage = Cage::new(LIMIT_BYTES);
        let mut options = Options::new(SHARDS, Advertise::PerCore);
        options.memory = MEMORY.0;
        options.settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        match &cage {
            Some(cage) => options.launcher = cage.launcher(),
            None => eprintln!("no memory control group can be made here: the resident size alone is judged"),
        }
        let broker = Broker::start(options);
        let neighbours = [
            Neighbour::producing(broker.kafka()),
            Neighbour::committing(broker.kafka()),
        ];
        for neighbour in &neighbours {
            neighbour.wait_for_progress();
            neighbour.longest_round();
        }
        Self {
            broker,
            neighbours: Arc::new(neighbours),
            cage,
        }
    }

    /// Where attacks go.
    pub(crate) fn target(&self) -> Target {
        Target {
            kafka: self.broker.kafka(),
            native: self.broker.native(),
            admin: self.broker.admin(),
            neighbours: Arc::clone(&self.neighbours),
        }
    }

    /// One attack, and everything that must hold during it and after it.
    pub(crate) fn withstand(&mut self, name: &str, attack: impl FnOnce(&Target)) {
        self.broker.forget_peak();
        let before: Vec<u64> = self.neighbours.iter().map(Neighbour::rounds).collect();
        let begun = Instant::now();
        attack(&self.target());
        let took = begun.elapsed();
        for (neighbour, before) in self.neighbours.iter().zip(before) {
            let during = neighbour.rounds() - before;
            let longest = neighbour.longest_round();
            eprintln!("{name}: {took:.1?}, a neighbour made {during} rounds, the longest took {longest:.1?}");
        }
        for neighbour in self.neighbours.iter() {
            neighbour.wait_for_progress();
        }
        self.judge(name);
    }

    fn judge(&mut self, name: &str) {
        let kills = self.cage.as_ref().map_or(0, Cage::kills);
        assert_eq!(
            kills, 0,
            "{name}: the kernel killed the broker for want of memory"
        );
        assert!(self.broker.exited().is_none(), "{name}: the broker runs on");
        for neighbour in self.neighbours.iter() {
            assert!(!neighbour.complains(), "{name}: a neighbour noticed, see below");
        }
        let budget = u64::from(SHARDS) * MEMORY.1;
        let peak = self.broker.peak_resident_bytes();
        assert!(
            peak <= budget + BESIDE_BUDGET_BYTES,
            "{name}: {peak} bytes were resident at the peak"
        );
        let quiet = u64::try_from(self.neighbours.len()).expect("two");
        let deadline = Instant::now() + RECOVERY_WITHIN;
        let begun = Instant::now();
        loop {
            let open = self.broker.metric("corelog_connections_open");
            let resident = self.broker.resident_bytes();
            if open == Some(quiet) && resident <= budget + BESIDE_BUDGET_AFTERWARDS_BYTES {
                let after = begun.elapsed();
                eprintln!("{name}: {peak} bytes at the peak, {resident} after {after:.1?}");
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{name}: {open:?} connections and {resident} bytes are left of it"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The neighbours leave content, and the broker stops as ever.
    pub(crate) fn end(mut self) {
        let neighbours = Arc::into_inner(self.neighbours).expect("the attacks are over");
        for neighbour in neighbours {
            neighbour.finish();
        }
        assert!(
            self.broker.terminate().success(),
            "a graceful stop exits with success"
        );
        drop(self.broker);
        drop(self.cage);
    }
}

/// Sends one frame on a connection of its own and waits for what comes of it.
pub(crate) fn verdict(address: SocketAddr, frame: &[u8]) -> Answer {
    let mut attacker = Connection::open(address).expect("a connection");
    attacker.set_patience(VERDICT_WITHIN);
    attacker.send(frame).expect("the frame is sent");
    attacker
        .read()
        .unwrap_or_else(|error| panic!("neither an answer nor a closed connection: {error}"))
}

/// Creates a topic by asking for its metadata, and returns when its partition 0 can be fetched from.
pub(crate) fn make_topic(client: &mut Connection, topic: &str) -> Result<(), String> {
    let deadline = Instant::now() + VERDICT_WITHIN;
    while Instant::now() < deadline {
        client
            .call(METADATA, 4, &wire::metadata_body(topic))
            .map_err(|error| format!("metadata: {error}"))?;
        let (error, _) = client
            .fetch(topic, 0)
            .map_err(|error| format!("first fetch: {error}"))?;
        if error == 0 {
            return Ok(());
        }
    }
    Err(format!("{topic} has no leader"))
}
