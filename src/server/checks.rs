//! The start-up checks: can this machine keep the promise, and what about it is worth a warning?
//!
//! What is fatal is found here before a socket is open, and says what failed, why, and what to do about it. What is
//! only slow or risky is a [`Warning`] with an id, printed in the banner; `tuning.md` has a paragraph for each id.
//! The probes themselves are in `runtime::probe`; the judgement is pure functions of what they found.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::base::units::ByteSize;
use crate::runtime::probe::{
    DataDirError, DataDirProbe, ProbeError, RingFacts, memlock_needed, probe_data_dir, probe_ring,
};
use crate::storage::error::is_failure;

use super::config::Config;

/// A failed check: what failed, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What cannot be done.
    pub what: String,
    /// What is behind it.
    pub cause: String,
    /// The next thing to do.
    pub fix: String,
    /// What has to change.
    pub blame: Blame,
}

/// What a failed check blames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// How the machine is set up: it stays so until somebody changes it.
    Setup,
    /// The disk, which failed.
    Disk,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  cause  {}\n  fix    {}", self.what, self.cause, self.fix)
    }
}

impl Explained {
    fn new(what: impl Into<String>, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            cause: cause.into(),
            fix: fix.into(),
            blame: Blame::Setup,
        }
    }

    fn of_disk(mut self) -> Self {
        self.blame = Blame::Disk;
        self
    }
}

/// Something that works but could be better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Stable name; a heading of `tuning.md`.
    pub id: &'static str,
    /// What was found and what it costs.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.message)
    }
}

/// What the checks found on a machine that can serve.
#[derive(Clone, Debug)]
pub struct Report {
    /// The right to use rings.
    pub ring: RingFacts,
    /// The data directory.
    pub data_dir: DataDirProbe,
    /// What could be better.
    pub warnings: Vec<Warning>,
}

/// Runs every check. All failures are reported, not only the first.
pub fn run(config: &Config, shard_count: usize) -> Result<Report, Vec<Explained>> {
    let ring = probe_ring(shard_count).map_err(|error| explain_ring(&error));
    let data_dir = probe_data_dir(&config.data_dir).map_err(|error| explain_data_dir(&error));
    match (ring, data_dir) {
        (Ok(ring), Ok(data_dir)) => {
            let machine = Machine::read();
            let warnings = warnings(config, shard_count, &ring, &data_dir, &machine);
            Ok(Report {
                ring,
                data_dir,
                warnings,
            })
        }
        (ring, data_dir) => Err([ring.err(), data_dir.err()].into_iter().flatten().collect()),
    }
}

/// What to tell the operator when rings are refused.
#[must_use]
pub fn explain_ring(error: &ProbeError) -> Explained {
    match error {
        ProbeError::Seccomp => Explained::new(
            "io_uring_setup: operation not permitted",
            "a seccomp filter forbids it (Seccomp: 2 in /proc/self/status); container runtimes do by default",
            "allow io_uring_setup, io_uring_enter and io_uring_register: run the container with \
             --security-opt seccomp=PROFILE.json (or seccomp=unconfined to try it out)",
        ),
        ProbeError::Sysctl { value: 1 } => Explained::new(
            "io_uring_setup: operation not permitted",
            "kernel.io_uring_disabled = 1 allows it to privileged processes only",
            "sysctl -w kernel.io_uring_disabled=0, or add this user to the group in kernel.io_uring_group",
        ),
        ProbeError::Sysctl { value } => Explained::new(
            "io_uring_setup: operation not permitted",
            format!("kernel.io_uring_disabled = {value} switches it off for everyone"),
            "sysctl -w kernel.io_uring_disabled=0 (and in /etc/sysctl.d to keep it)",
        ),
        ProbeError::KernelTooOld { release } => Explained::new(
            "io_uring_setup: not supported by this kernel",
            format!("the kernel is {release}; Linux 6.1 or later is needed"),
            "run a newer kernel",
        ),
        ProbeError::Memlock {
            limit_bytes,
            needed_bytes,
        } => Explained::new(
            "not enough lockable memory for io_uring",
            format!(
                "the limit (ulimit -l) is {}, {} are needed (512 KiB a shard)",
                ByteSize::new(*limit_bytes).approximate(),
                ByteSize::new(*needed_bytes).approximate()
            ),
            "ulimit -l unlimited; systemd: LimitMEMLOCK=infinity; docker: --ulimit memlock=-1",
        ),
        ProbeError::OpenFiles => Explained::new(
            "io_uring_setup: too many open files",
            "the limit on open files is used up",
            "ulimit -n 65536; systemd: LimitNOFILE=1048576",
        ),
        ProbeError::Other { .. } => Explained::new(
            error.to_string(),
            "unknown: neither a seccomp filter nor kernel.io_uring_disabled explains it",
            "see the kernel log and the audit log (SELinux or AppArmor may forbid it)",
        ),
    }
}

/// What to tell the operator when the data directory cannot be used.
#[must_use]
pub fn explain_data_dir(error: &DataDirError) -> Explained {
    let what = error.to_string();
    let elsewhere = "choose another directory with --data-dir, on ext4 or XFS on a local disk";
    match error {
        DataDirError::NotADirectory { source, .. }
        | DataDirError::NotWritable { source, .. }
        | DataDirError::Io { source, .. }
            if is_failure(source) && source.raw_os_error() != Some(libc::EROFS) =>
        {
            Explained::new(
                what,
                "the disk or its file system failed",
                "see the kernel log; check the disk, then the file system (fsck), and start again",
            )
            .of_disk()
        }
        DataDirError::NotADirectory { .. } => Explained::new(
            what,
            "a file is in the way, or a directory above it may not be written",
            elsewhere,
        ),
        DataDirError::NotWritable { source, .. } if source.raw_os_error() == Some(libc::EROFS) => {
            Explained::new(
                what,
                "the file system is read-only: mounted so, or made so by the kernel after an error",
                format!("see the kernel log; check the disk and mount it again, or {elsewhere}"),
            )
            .of_disk()
        }
        DataDirError::NotWritable { .. } => Explained::new(
            what,
            "this user may not write there",
            "give the directory to the user that runs corelog (chown), or choose another with --data-dir",
        ),
        DataDirError::NoSpace { .. } => Explained::new(
            what,
            "the disk or the quota is full",
            "free some space, or choose another disk",
        ),
        DataDirError::NoDirectIo { filesystem, .. } => Explained::new(
            what,
            format!("{filesystem} refuses O_DIRECT; tmpfs, overlay and some network file systems do"),
            format!("in a container mount a volume; else {elsewhere}"),
        ),
        DataDirError::NoDurableWrites { filesystem, .. } => Explained::new(
            what,
            format!("{filesystem} cannot promise that a write is on the disk"),
            elsewhere,
        ),
        DataDirError::Mismatch { .. } => Explained::new(
            what,
            "the disk, its driver or the file system loses or changes data",
            "do not keep data there; check the disk",
        )
        .of_disk(),
        DataDirError::Io { .. } => Explained::new(
            what,
            "the operating system failed the probe",
            "see the kernel log; check the disk",
        ),
    }
}

/// What the warnings look at besides the probes. A fact that cannot be read causes no warning.
#[derive(Clone, Debug, Default)]
struct Machine {
    memory_bytes: Option<u64>,
    open_files_max: Option<u64>,
    governor: Option<String>,
    huge_pages: Option<String>,
}

impl Machine {
    fn read() -> Self {
        Self {
            memory_bytes: read("/proc/meminfo").as_deref().and_then(total_memory),
            open_files_max: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled"),
        }
    }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}

fn warnings(
    config: &Config,
    shard_count: usize,
    ring: &RingFacts,
    data_dir: &DataDirProbe,
    machine: &Machine,
) -> Vec<Warning> {
    [
        volatile_filesystem(data_dir),
        little_space(config, data_dir),
        much_memory(config, shard_count, machine),
        few_open_files(config, machine),
        little_memlock(shard_count, ring),
        slow_governor(machine),
        small_pages(machine),
        exposed(config),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn volatile_filesystem(data_dir: &DataDirProbe) -> Option<Warning> {
    let filesystem = data_dir.filesystem.as_str();
    let message = match filesystem {
        "tmpfs" | "ramfs" => "the data directory is in memory: nothing survives a reboot".to_owned(),
        "overlay" => {
            "the data directory is in a container's own layer: it goes with the container".to_owned()
        }
        "nfs" | "nfs4" | "cifs" | "9p" | "virtiofs" => {
            format!("the data directory is on {filesystem}: durability depends on the other side")
        }
        _ => return None,
    };
    Some(Warning {
        id: "data-filesystem",
        message,
    })
}

fn little_space(config: &Config, data_dir: &DataDirProbe) -> Option<Warning> {
    let free = ByteSize::new(data_dir.free_bytes);
    let floor = config.log.min_free_bytes;
    (free < floor).then(|| Warning {
        id: "disk-space",
        message: format!(
            "{} free, below log.min_free_bytes = {floor}: produce requests will be refused",
            free.approximate()
        ),
    })
}

fn much_memory(config: &Config, shard_count: usize, machine: &Machine) -> Option<Warning> {
    let wanted = config
        .memory
        .get()
        .saturating_mul(u64::try_from(shard_count).unwrap_or(u64::MAX));
    let total = machine.memory_bytes?;
    (wanted > total / 100 * MEMORY_SHARE_PERCENT).then(|| Warning {
        id: "memory",
        message: format!(
            "{shard_count} shards may use {}, the machine has {}: lower memory",
            ByteSize::new(wanted).approximate(),
            ByteSize::new(total).approximate()
        ),
    })
}

fn few_open_files(config: &Config, machine: &Machine) -> Option<Warning> {
    let limit = machine.open_files_max?;
    let wanted = u64::from(config.kafka.max_connections) + OPEN_FILES_RESERVED;
    (limit < wanted).then(|| Warning {
        id: "open-files",
        message: format!(
            "the limit on open files is {limit}, kafka.max_connections wants {wanted} (ulimit -n)"
        ),
    })
}

fn little_memlock(shard_count: usize, ring: &RingFacts) -> Option<Warning> {
    let limit = ring.memlock_bytes.filter(|_| ring.memlock_enforced)?;
    let wanted = memlock_needed(shard_count);
    (limit < wanted).then(|| Warning {
        id: "memlock",
        message: format!(
            "{} of lockable memory for {shard_count} shards, {} are wanted: buffers will not be registered",
            ByteSize::new(limit).approximate(),
            ByteSize::new(wanted).approximate()
        ),
    })
}

fn slow_governor(machine: &Machine) -> Option<Warning> {
    machine
        .governor
        .as_deref()
        .filter(|governor| *governor == "powersave")
        .map(|governor| Warning {
            id: "cpu-governor",
            message: format!("the governor is {governor}: expect slower and uneven answers"),
        })
}

fn small_pages(machine: &Machine) -> Option<Warning> {
    machine
        .huge_pages
        .as_deref()
        .filter(|modes| modes.contains("[never]"))
        .map(|_| Warning {
            id: "huge-pages",
            message: "transparent huge pages are off: large writes cost about twice the processor time"
                .to_owned(),
        })
}

fn exposed(config: &Config) -> Option<Warning> {
    let open = [config.kafka.listen, config.admin.listen]
        .into_iter()
        .find(|address| !address.is_loopback())?;
    Some(Warning {
        id: "insecure",
        message: format!("{open} is open to other machines without authentication"),
    })
}

/// Above this share of the machine's memory the page cache and everybody else are squeezed.
const MEMORY_SHARE_PERCENT: u64 = 80;
/// Segments, rings, listeners and the like, beside connections.
const OPEN_FILES_RESERVED: u64 = 1_024;

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use expect_test::expect;

    use super::*;

    #[test]
    fn every_refusal_of_a_ring_has_a_cause_and_a_fix() {
        let errors = [
            ProbeError::Seccomp,
            ProbeError::Sysctl { value: 1 },
            ProbeError::Sysctl { value: 2 },
            ProbeError::KernelTooOld {
                release: "5.15.0".to_owned(),
            },
            ProbeError::Memlock {
                limit_bytes: 65_536,
                needed_bytes: 1 << 20,
            },
            ProbeError::OpenFiles,
            ProbeError::Other { errno: libc::EPERM },
        ];
        let text: Vec<String> = errors
            .iter()
            .map(|error| explain_ring(error).to_string())
            .collect();
        expect![[r#"
            io_uring_setup: operation not permitted
              cause  a seccomp filter forbids it (Seccomp: 2 in /proc/self/status); container runtimes do by default
              fix    allow io_uring_setup, io_uring_enter and io_uring_register: run the container with --security-opt seccomp=PROFILE.json (or seccomp=unconfined to try it out)
            io_uring_setup: operation not permitted
              cause  kernel.io_uring_disabled = 1 allows it to privileged processes only
              fix    sysctl -w kernel.io_uring_disabled=0, or add this user to the group in kernel.io_uring_group
            io_uring_setup: operation not permitted
              cause  kernel.io_uring_disabled = 2 switches it off for everyone
              fix    sysctl -w kernel.io_uring_disabled=0 (and in /etc/sysctl.d to keep it)
            io_uring_setup: not supported by this kernel
              cause  the kernel is 5.15.0; Linux 6.1 or later is needed
              fix    run a newer kernel
            not enough lockable memory for io_uring
              cause  the limit (ulimit -l) is 64 KiB, 1 MiB are needed (512 KiB a shard)
              fix    ulimit -l unlimited; systemd: LimitMEMLOCK=infinity; docker: --ulimit memlock=-1
            io_uring_setup: too many open files
              cause  the limit on open files is used up
              fix    ulimit -n 65536; systemd: LimitNOFILE=1048576
            io_uring_setup failed: Operation not permitted (os error 1)
              cause  unknown: neither a seccomp filter nor kernel.io_uring_disabled explains it
              fix    see the kernel log and the audit log (SELinux or AppArmor may forbid it)"#]].assert_eq(&text.join("\n"));
    }

    #[test]
    fn every_refusal_of_a_directory_has_a_cause_and_a_fix() {
        let path = || PathBuf::from("/data");
        let os = io::Error::from_raw_os_error;
        let filesystem = || "overlay".to_owned();
        let errors = [
            DataDirError::NotADirectory {
                path: path(),
                source: os(libc::ENOTDIR),
            },
            DataDirError::NotWritable {
                path: path(),
                source: os(libc::EACCES),
            },
            DataDirError::NotWritable {
                path: path(),
                source: os(libc::EROFS),
            },
            DataDirError::NoSpace { path: path() },
            DataDirError::NoDirectIo {
                path: path(),
                filesystem: filesystem(),
            },
            DataDirError::NoDurableWrites {
                path: path(),
                filesystem: filesystem(),
            },
            DataDirError::Mismatch { path: path() },
            DataDirError::Io {
                path: path(),
                source: os(libc::EIO),
            },
        ];
        let text: Vec<String> = errors
            .iter()
            .map(|error| explain_data_dir(error).to_string())
            .collect();
        expect![[r#"
            cannot create the data directory /data: Not a directory (os error 20)
              cause  a file is in the way, or a directory above it may not be written
              fix    choose another directory with --data-dir, on ext4 or XFS on a local disk
            cannot write in the data directory /data: Permission denied (os error 13)
              cause  this user may not write there
              fix    give the directory to the user that runs corelog (chown), or choose another with --data-dir
            cannot write in the data directory /data: Read-only file system (os error 30)
              cause  the file system is read-only: mounted so, or made so by the kernel after an error
              fix    see the kernel log; check the disk and mount it again, or choose another directory with --data-dir, on ext4 or XFS on a local disk
            no space left for the data directory /data
              cause  the disk or the quota is full
              fix    free some space, or choose another disk
            overlay at /data does not support direct I/O
              cause  overlay refuses O_DIRECT; tmpfs, overlay and some network file systems do
              fix    in a container mount a volume; else choose another directory with --data-dir, on ext4 or XFS on a local disk
            overlay at /data does not support durable writes (RWF_DSYNC)
              cause  overlay cannot promise that a write is on the disk
              fix    choose another directory with --data-dir, on ext4 or XFS on a local disk
            a block written to /data did not read back as it was written
              cause  the disk, its driver or the file system loses or changes data
              fix    do not keep data there; check the disk
            cannot use the data directory /data: Input/output error (os error 5)
              cause  the disk or its file system failed
              fix    see the kernel log; check the disk, then the file system (fsck), and start again"#]].assert_eq(&text.join("\n"));
    }

    fn sound() -> (Config, RingFacts, DataDirProbe, Machine) {
        let ring = RingFacts {
            memlock_bytes: Some(8 << 20),
            memlock_enforced: true,
            ..RingFacts::default()
        };
        let data_dir = DataDirProbe {
            filesystem: "ext4".to_owned(),
            device: "/dev/vda".to_owned(),
            free_bytes: 100 << 30,
            dma_alignment_bytes: 512,
        };
        let machine = Machine {
            memory_bytes: Some(8 << 30),
            open_files_max: Some(1 << 20),
            governor: Some("performance".to_owned()),
            huge_pages: Some("always [madvise] never".to_owned()),
        };
        (Config::default(), ring, data_dir, machine)
    }

    #[test]
    fn a_sound_machine_has_no_warnings() {
        let (config, ring, data_dir, machine) = sound();
        assert_eq!(warnings(&config, 4, &ring, &data_dir, &machine), []);
        assert_eq!(
            warnings(&config, 4, &RingFacts::default(), &data_dir, &Machine::default()),
            []
        );
    }

    #[test]
    fn what_could_be_better_is_said() {
        let (mut config, ring, mut data_dir, mut machine) = sound();
        config.kafka.listen = "192.0.2.1:9092".parse().unwrap();
        data_dir.filesystem = "tmpfs".to_owned();
        data_dir.free_bytes = 100 << 20;
        machine.memory_bytes = Some(1 << 30);
        machine.open_files_max = Some(1024);
        machine.governor = Some("powersave".to_owned());
        machine.huge_pages = Some("always madvise [never]".to_owned());
        let text: Vec<String> = warnings(&config, 32, &ring, &data_dir, &machine)
            .iter()
            .map(ToString::to_string)
            .collect();
        expect![[r#"
            data-filesystem: the data directory is in memory: nothing survives a reboot
            disk-space: 100 MiB free, below log.min_free_bytes = 1GiB: produce requests will be refused
            memory: 32 shards may use 8 GiB, the machine has 1 GiB: lower memory
            open-files: the limit on open files is 1024, kafka.max_connections wants 11024 (ulimit -n)
            memlock: 8 MiB of lockable memory for 32 shards, 16 MiB are wanted: buffers will not be registered
            cpu-governor: the governor is powersave: expect slower and uneven answers
            huge-pages: transparent huge pages are off: large writes cost about twice the processor time
            insecure: 192.0.2.1:9092 is open to other machines without authentication"#]]
        .assert_eq(&text.join("\n"));
    }

    #[test]
    fn memory_is_read_in_kib() {
        assert_eq!(
            total_memory("MemTotal:        2048 kB\nMemFree: 1 kB\n"),
            Some(2 << 20)
        );
        assert_eq!(total_memory("nothing"), None);
    }
}
