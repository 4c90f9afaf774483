//! Asking the kernel, before anything starts, whether this process may use `io_uring` and direct I/O.
//!
//! In containers the first thing that fails is `io_uring_setup`, and what the kernel answers (EPERM) does not say
//! why. The probe sets up a ring exactly like the ones shards use, throws it away, and when that is refused looks
//! at the four things that can be behind it: the seccomp filter, the sysctl `kernel.io_uring_disabled`, the age of the
//! kernel and the limit on locked memory. [`classify`] decides between them and is a pure function.
//!
//! [`disk`] does the same for the data directory. Both run on the main thread before any shard exists, and leave
//! nothing behind. What to tell the operator is `server::checks`.

pub mod disk;

use std::{fs, io};

use io_uring::IoUring;

pub use disk::{DataDirError, DataDirProbe, probe_data_dir};

/// What the process may do with rings, as the kernel describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingFacts {
    /// `Seccomp:` of `/proc/self/status`: 0 none, 1 strict, 2 filter. `None` when it cannot be read.
    pub seccomp: Option<u32>,
    /// `kernel.io_uring_disabled`: 0 allowed, 1 only for the privileged, 2 for nobody. `None` before Linux 6.6.
    pub sysctl: Option<u32>,
    /// The soft limit on locked memory in bytes; `None` for no limit.
    pub memlock_bytes: Option<u64>,
    /// Whether the limit on locked memory applies: without `CAP_IPC_LOCK` it does.
    pub memlock_enforced: bool,
    /// Whether the process is privileged enough for `kernel.io_uring_disabled = 1`.
    pub sys_admin: bool,
    /// The kernel's release, such as `6.1.0-28-amd64`.
    pub kernel_release: String,
}

/// Why this process cannot have rings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// A seccomp filter refuses the system calls.
    #[error("io_uring_setup is refused by a seccomp filter")]
    Seccomp,
    /// The administrator switched io_uring off.
    #[error("io_uring is switched off by kernel.io_uring_disabled = {value}")]
    Sysctl {
        /// 1 or 2.
        value: u32,
    },
    /// The kernel does not know io_uring, or not the parts of it that shards need.
    #[error("the kernel {release} is too old")]
    KernelTooOld {
        /// Its release.
        release: String,
    },
    /// There is not enough lockable memory for one executor.
    #[error("the limit on locked memory is {limit_bytes} bytes, {needed_bytes} are needed")]
    Memlock {
        /// The limit.
        limit_bytes: u64,
        /// What the shards need.
        needed_bytes: u64,
    },
    /// The process may not open another file.
    #[error("the limit on open files is used up")]
    OpenFiles,
    /// Something else; the operating system's own words.
    #[error("io_uring_setup failed: {}", io::Error::from_raw_os_error(*.errno))]
    Other {
        /// The error number.
        errno: i32,
    },
}

/// Lockable memory one executor wants; with less than one executor's share the runtime refuses to start.
pub const MEMLOCK_PER_EXECUTOR: u64 = 512 * 1024;

/// Sets up and drops a ring like a shard's. `executor_count` is how many shards will want theirs.
pub fn probe_ring(executor_count: usize) -> Result<RingFacts, ProbeError> {
    let facts = RingFacts::read();
    if let Some(limit_bytes) = facts.memlock_bytes.filter(|limit| *limit < MEMLOCK_PER_EXECUTOR) {
        return Err(ProbeError::Memlock {
            limit_bytes,
            needed_bytes: memlock_needed(executor_count),
        });
    }
    let ring: io::Result<IoUring> = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(PROBE_ENTRIES);
    match ring {
        Ok(_dropped) => Ok(facts),
        Err(error) => Err(classify(
            error.raw_os_error().unwrap_or(libc::EIO),
            &facts,
            executor_count,
        )),
    }
}

/// Lockable memory that `executor_count` executors want together.
#[must_use]
pub fn memlock_needed(executor_count: usize) -> u64 {
    u64::try_from(executor_count)
        .unwrap_or(u64::MAX)
        .saturating_mul(MEMLOCK_PER_EXECUTOR)
}

/// What is behind the error number that `io_uring_setup` gave.
#[must_use]
pub fn classify(errno: i32, facts: &RingFacts, executor_count: usize) -> ProbeError {
    let filtered = facts.seccomp == Some(SECCOMP_FILTER);
    let too_old = || ProbeError::KernelTooOld {
        release: facts.kernel_release.clone(),
    };
    match errno {
        libc::EPERM | libc::EACCES => match facts.sysctl {
            Some(value @ 2..) => ProbeError::Sysctl { value },
            Some(1) if !facts.sys_admin => ProbeError::Sysctl { value: 1 },
            _ if filtered => ProbeError::Seccomp,
            _ => ProbeError::Other { errno },
        },
        // Filters may answer ENOSYS as well; a kernel that has io_uring does not.
        libc::ENOSYS if filtered && at_least(&facts.kernel_release, FIRST_WITH_IO_URING) => {
            ProbeError::Seccomp
        }
        libc::ENOSYS => too_old(),
        // The flags of the ring are unknown to kernels before 6.1.
        libc::EINVAL if !at_least(&facts.kernel_release, FIRST_WITH_DEFER_TASKRUN) => too_old(),
        libc::ENOMEM => ProbeError::Memlock {
            limit_bytes: facts.memlock_bytes.unwrap_or(u64::MAX),
            needed_bytes: memlock_needed(executor_count),
        },
        libc::EMFILE | libc::ENFILE => ProbeError::OpenFiles,
        _ => ProbeError::Other { errno },
    }
}

impl RingFacts {
    fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let capabilities = status_field(&status, "CapEff:")
            .and_then(|text| u64::from_str_radix(text, 16).ok())
            .unwrap_or_default();
        let has = |capability: u32| capabilities >> capability & 1 == 1;
        Self {
            seccomp: status_field(&status, "Seccomp:").and_then(|text| text.parse().ok()),
            sysctl: fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
                .ok()
                .and_then(|text| text.trim().parse().ok()),
            memlock_bytes: rustix::process::getrlimit(rustix::process::Resource::Memlock).current,
            memlock_enforced: !has(CAP_IPC_LOCK),
            sys_admin: has(CAP_SYS_ADMIN),
            kernel_release: rustix::system::uname().release().to_string_lossy().into_owned(),
        }
    }
}

/// The value behind `name` in the format of `/proc/self/status`.
fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// Whether a kernel release is at least `(major, minor)`; an unreadable one is taken for new.
fn at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= wanted,
        _ => true,
    }
}

/// The smallest ring; it is never used.
const PROBE_ENTRIES: u32 = 4;
const SECCOMP_FILTER: u32 = 2;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;
const FIRST_WITH_IO_URING: (u32, u32) = (5, 1);
const FIRST_WITH_DEFER_TASKRUN: (u32, u32) = (6, 1);

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> RingFacts {
        RingFacts {
            seccomp: Some(0),
            sysctl: Some(0),
            memlock_bytes: Some(8 << 20),
            memlock_enforced: true,
            sys_admin: false,
            kernel_release: "6.1.0-28-amd64".to_owned(),
        }
    }

    #[test]
    fn a_refusal_is_traced_to_its_cause() {
        let filter = || RingFacts {
            seccomp: Some(2),
            ..facts()
        };
        let sysctl = |value| RingFacts {
            sysctl: Some(value),
            ..facts()
        };
        let old = |release: &str| RingFacts {
            kernel_release: release.to_owned(),
            ..facts()
        };
        let cases = [
            (libc::EPERM, filter(), ProbeError::Seccomp),
            (
                libc::EPERM,
                RingFacts {
                    sysctl: None,
                    ..filter()
                },
                ProbeError::Seccomp,
            ),
            (libc::EPERM, sysctl(2), ProbeError::Sysctl { value: 2 }),
            (libc::EPERM, sysctl(1), ProbeError::Sysctl { value: 1 }),
            (
                libc::EPERM,
                RingFacts {
                    sysctl: Some(2),
                    ..filter()
                },
                ProbeError::Sysctl { value: 2 },
            ),
            (
                libc::EPERM,
                RingFacts {
                    sysctl: Some(1),
                    sys_admin: true,
                    ..filter()
                },
                ProbeError::Seccomp,
            ),
            (libc::EPERM, facts(), ProbeError::Other { errno: libc::EPERM }),
            (libc::ENOSYS, filter(), ProbeError::Seccomp),
            (
                libc::ENOSYS,
                old("4.19.0"),
                ProbeError::KernelTooOld {
                    release: "4.19.0".to_owned(),
                },
            ),
            (
                libc::EINVAL,
                old("5.15.0"),
                ProbeError::KernelTooOld {
                    release: "5.15.0".to_owned(),
                },
            ),
            (libc::EINVAL, facts(), ProbeError::Other { errno: libc::EINVAL }),
            (
                libc::ENOMEM,
                facts(),
                ProbeError::Memlock {
                    limit_bytes: 8 << 20,
                    needed_bytes: 2 << 20,
                },
            ),
            (libc::EMFILE, facts(), ProbeError::OpenFiles),
        ];
        for (errno, facts, expected) in cases {
            assert_eq!(
                classify(errno, &facts, 4),
                expected,
                "errno {errno} with {facts:?}"
            );
        }
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        assert!(at_least("6.10.2", (6, 9)));
        assert!(at_least("6.1.0-28-amd64", (6, 1)));
        assert!(!at_least("5.15.0-foo", (6, 1)));
        assert!(at_least("weird", (6, 1)));
    }

    #[test]
    fn the_running_kernel_describes_itself() {
        let facts = RingFacts::read();
        assert!(facts.seccomp.is_some());
        assert!(facts.kernel_release.starts_with(|c: char| c.is_ascii_digit()));
    }

    #[test]
    fn status_fields_are_found_by_their_whole_name() {
        let status = "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        assert_eq!(status_field(status, "Seccomp:"), Some("2"));
        assert_eq!(status_field(status, "CapEff:"), None);
    }
}
