//! What a result is worth depends on where it was made: the machine, the kernel, the disk, the build.
//!
//! [`capture`] reads files of `/proc` and `/sys` and asks no other program, so it takes milliseconds and works in a
//! container. Whatever cannot be read is the text `unknown`, never left out: two environments always have the same
//! keys and a comparison can name what differs. Names that would tell whose machine it is (host, user, paths) are not
//! taken; the host is there as a hash, so that two runs can be known to come from one machine.
//!
//! Absent: anything measured. What the machine can do is [`super::floor`]'s business.

mod cpu;
mod disk;
mod system;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Facts by name.
pub type Environment = BTreeMap<String, Value>;

/// The text of a fact nobody could read.
pub const UNKNOWN: &str = "unknown";

/// Facts that differ between any two runs and say nothing about whether they can be compared.
pub const VOLATILE: [&str; 2] = ["memory.available_bytes", "cpu.load"];

/// What a run knows about itself and the machine does not.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// A directory on the disk under test: the broker's data directory if it is here, or the floor's.
    pub directory: Option<PathBuf>,
    /// Protocol, such as `native`.
    pub protocol: Option<String>,
    /// What an acknowledgement promises.
    pub durability: Option<String>,
    /// Where the broker is; [`BrokerHost::Unknown`] if there is none.
    pub broker: BrokerHost,
}

/// Whether the generator shares its machine with the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BrokerHost {
    /// It does: the two compete for cores, and no network is measured.
    Same,
    /// It does not.
    Other,
    /// Nobody knows, or there is no broker.
    #[default]
    Unknown,
}

impl BrokerHost {
    /// Judged by the address the generator connects to: loopback is the same host.
    #[must_use]
    pub fn of(address: std::net::SocketAddr) -> Self {
        if address.ip().is_loopback() {
            Self::Same
        } else {
            Self::Other
        }
    }
}

/// Reads everything there is to know. Takes milliseconds.
#[must_use]
pub fn capture(subject: &Subject) -> Environment {
    let mut facts = Facts::of(Path::new("/"));
    system::read(&mut facts);
    cpu::read(&mut facts);
    disk::read(&mut facts, subject.directory.as_deref());
    build(&mut facts);
    facts.text("run.protocol", subject.protocol.clone());
    facts.text("run.durability", subject.durability.clone());
    facts.put(
        "run.same_host_as_broker",
        match subject.broker {
            BrokerHost::Same => json!(true),
            BrokerHost::Other => json!(false),
            BrokerHost::Unknown => json!(UNKNOWN),
        },
    );
    facts.found
}

/// Names of the facts in which `a` and `b` differ, volatile ones aside, with both values.
#[must_use]
pub fn differences(a: &Environment, b: &Environment) -> Vec<(String, Value, Value)> {
    let missing = json!(UNKNOWN);
    let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| !VOLATILE.contains(&name.as_str()))
        .map(|name| {
            let value = |side: &Environment| side.get(name).unwrap_or(&missing).clone();
            (name.clone(), value(a), value(b))
        })
        .filter(|(_, a, b)| a != b)
        .collect()
}

fn build(facts: &mut Facts<'_>) {
    facts.put("build.version", json!(env!("CARGO_PKG_VERSION")));
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    facts.put("build.profile", json!(profile));
    let allocator = if cfg!(feature = "mimalloc") {
        "mimalloc"
    } else {
        "system"
    };
    facts.put("build.allocator", json!(allocator));
    facts.put(
        "build.target",
        json!(format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)),
    );
    facts.text(
        "build.commit",
        option_env!("CORELOG_BUILD_COMMIT").map(str::to_owned),
    );
    let dirty = match option_env!("CORELOG_BUILD_DIRTY") {
        Some("true") => json!(true),
        Some("false") => json!(false),
        _ => json!(UNKNOWN),
    };
    facts.put("build.dirty", dirty);
}

/// The facts found so far, and the root of the tree they are read from, which tests replace.
struct Facts<'a> {
    root: &'a Path,
    found: Environment,
}

impl<'a> Facts<'a> {
    fn of(root: &'a Path) -> Self {
        Self {
            root,
            found: Environment::new(),
        }
    }

    fn put(&mut self, name: &str, value: Value) {
        self.found.insert(name.to_owned(), value);
    }

    fn text(&mut self, name: &str, value: Option<String>) {
        self.put(name, json!(value.unwrap_or_else(|| UNKNOWN.to_owned())));
    }

    fn number(&mut self, name: &str, value: Option<u64>) {
        self.put(name, value.map_or_else(|| json!(UNKNOWN), |value| json!(value)));
    }

    /// The trimmed text of the file at `path` below the root; `None` if it cannot be read or is empty.
    fn file(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.root.join(path)).ok()?;
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Names in the directory at `path` below the root, sorted.
    fn names(&self, path: &str) -> Vec<String> {
        let listing = fs::read_dir(self.root.join(path)).into_iter().flatten();
        let mut names: Vec<String> = listing
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// The word in square brackets, which is how the kernel marks the chosen one of several; all of it if there is none.
fn chosen(text: &str) -> String {
    text.split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or(text, |(word, _)| word)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_is_there_even_on_a_machine_that_tells_nothing() {
        let empty = tempfile::tempdir().unwrap();
        let mut facts = Facts::of(empty.path());
        system::read(&mut facts);
        cpu::read(&mut facts);
        disk::read(&mut facts, None);
        build(&mut facts);
        let here = capture(&Subject::default());
        for name in facts.found.keys() {
            assert!(here.contains_key(name), "{name}");
        }
        assert_eq!(facts.found["kernel.clocksource"], UNKNOWN);
        assert_eq!(facts.found["disk.filesystem"], UNKNOWN);
        assert_eq!(facts.found["build.version"], env!("CARGO_PKG_VERSION"));
        assert_ne!(here["kernel.release"], UNKNOWN);
        assert_ne!(here["host.hash"], UNKNOWN);
    }

    #[test]
    fn a_described_machine_is_read_as_described() {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/sys/kernel/osrelease", "6.18.0\n"),
            (
                "proc/cmdline",
                "root=/dev/x secret=hush isolcpus=2-3 mitigations=off\n",
            ),
            (
                "proc/cpuinfo",
                "processor\t: 0\nmodel name\t: Fast One\nflags\t\t: fpu hypervisor\n\nprocessor\t: 1\n",
            ),
            ("sys/devices/system/cpu/smt/control", "on\n"),
            (
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
                "performance\n",
            ),
            ("sys/devices/system/cpu/intel_pstate/no_turbo", "1\n"),
            (
                "sys/devices/system/cpu/vulnerabilities/spectre_v2",
                "Mitigation: Retpolines\n",
            ),
            ("sys/devices/system/cpu/vulnerabilities/l1tf", "Not affected\n"),
            ("sys/devices/system/node/node0/x", ""),
            (
                "sys/kernel/mm/transparent_hugepage/enabled",
                "always [madvise] never\n",
            ),
            (
                "proc/self/limits",
                "Max open files            1024                 4096                 files\n",
            ),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut facts = Facts::of(root.path());
        system::read(&mut facts);
        cpu::read(&mut facts);
        let found = facts.found;
        assert_eq!(found["kernel.release"], "6.18.0");
        assert_eq!(found["kernel.cmdline"], "isolcpus=2-3 mitigations=off");
        assert_eq!(found["kernel.thp"], "madvise");
        assert_eq!(found["cpu.model"], "Fast One");
        assert_eq!(found["cpu.smt"], "on");
        assert_eq!(found["cpu.governor"], "performance");
        assert_eq!(found["cpu.turbo"], "off");
        assert_eq!(found["cpu.mitigations"], "spectre_v2: Mitigation: Retpolines");
        assert_eq!(found["cpu.numa_nodes"], 1);
        assert_eq!(found["machine.virtual"], "yes");
        assert_eq!(found["limits.open_files"], "1024");
        assert_eq!(found["limits.memlock"], UNKNOWN);
    }

    #[test]
    fn only_lasting_facts_count_as_differences() {
        let side = |pairs: &[(&str, i32)]| -> Environment {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect()
        };
        let a = side(&[("same", 1), ("memory.available_bytes", 5), ("cpu", 1)]);
        let b = side(&[("same", 1), ("memory.available_bytes", 6), ("disk", 2)]);
        let expected = vec![
            ("cpu".to_owned(), json!(1), json!(UNKNOWN)),
            ("disk".to_owned(), json!(UNKNOWN), json!(2)),
        ];
        assert_eq!(differences(&a, &b), expected);
    }
}
