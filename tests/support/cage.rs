//! A memory limit that the kernel keeps: a control group of one process.
//!
//! What a process allocates, what the kernel allocates on its behalf and its share of the page cache count together; where
//! the kernel finds nothing to reclaim it kills. A resident size that a test reads now and then can miss a peak, this cannot.
//! Needs root and a memory controller, of the first kind (`/sys/fs/cgroup/memory`) or the second; [`Cage::new`] gives nothing
//! where there is none, and the test then has the resident size alone.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where the memory controller is, and the file that takes the limit.
const CONTROLLERS: [(&str, &str); 2] = [
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    ("/sys/fs/cgroup", "memory.max"),
];
/// Files that count kills, by kind of controller.
const KILL_COUNTS: [&str; 2] = ["memory.oom_control", "memory.events"];
/// How long the group of a dying process is tried to be removed.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(5);

/// A group with a limit; it goes when this is dropped, which must be after its process has ended.
pub(crate) struct Cage(PathBuf);

impl Cage {
    /// A group of at most `bytes`, or nothing where none can be made.
    pub(crate) fn new(bytes: u64) -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "corelog-test-{}-{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        );
        CONTROLLERS.into_iter().find_map(|(root, limit)| {
            let path = Path::new(root).join(&name);
            std::fs::create_dir(&path).ok()?;
            let cage = Self(path);
            // Only where the controller is at work is there such a file; the group goes again otherwise.
            let file = cage.0.join(limit);
            (file.exists() && std::fs::write(file, bytes.to_string()).is_ok()).then_some(cage)
        })
    }

    /// A command that puts itself into the group and becomes what stands behind it.
    pub(crate) fn launcher(&self) -> Vec<String> {
        let path = self.0.to_str().expect("a path of ours is text");
        let enter = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;
        ["sh", "-c", enter, path].map(str::to_owned).to_vec()
    }

    /// How many processes of the group the kernel has killed for want of memory.
    pub(crate) fn kills(&self) -> u64 {
        let count = |file| {
            let text = std::fs::read_to_string(self.0.join(file)).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
            line.trim().parse().ok()
        };
        KILL_COUNTS.into_iter().find_map(count).unwrap_or(0)
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        let deadline = Instant::now() + REMOVAL_PATIENCE;
        while std::fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
