//! What the machine has to do for a fault disk: loop devices, file systems, mounts; and taking away what a process left
//! behind that died with a disk in its hands.
//!
//! Done with the programs an administrator would use, so that what fails can be tried by hand and says why in words. Each
//! command ends by itself; those that meet a busy device are repeated for [`PATIENCE`] at most.
//!
//! **Names.** A disk lives in a directory `corelog-fault-disk.<pid namespace>.<pid>.<start time>.<number>`. The name says
//! which process owns it, exactly, and in whose counting: [`sweep`] removes disks whose owner is dead and that were made in
//! this very process-id namespace, and touches nothing else. Mounts are found in `mountinfo`, loop devices by the path
//! of their backing file in sysfs, neither of which needs the dead disk to answer.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::serve::DISK;
use super::{FaultDiskError, FileSystem};
use crate::runtime::clock;

/// How long a busy mount or device is asked again to go.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// How many free loop devices are tried for: others take them, too.
const ATTACH_TRIES: usize = 50;
/// The major number of loop devices.
const LOOP_MAJOR: &str = "7";

const PREFIX: &str = "corelog-fault-disk.";
/// Where the file `disk` is mounted.
const FUSE: &str = "device";
/// Where the file system on it is mounted.
const MOUNT: &str = "mount";

/// Numbers the disks of this process.
static DISKS: AtomicU32 = AtomicU32::new(0);

/// Why there can be no fault disk here, in one sentence; nothing if there can.
pub(super) fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("a fault disk needs root, to mount it".to_owned());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        // Opened, not only looked at: a container may show a device it does not allow.
        let opened = std::fs::File::options().read(true).write(true).open(device);
        if let Err(error) = opened {
            return Some(format!(
                "a fault disk needs {device}, which cannot be opened ({error})"
            ));
        }
    }
    let programs = ["losetup", "mount", "umount"];
    let missing = programs.into_iter().find(|program| !is_installed(program));
    missing.map(|program| format!("a fault disk needs the program {program}, of the package util-linux"))
}

/// As [`obstacle`], for the program that makes this file system.
pub(super) fn obstacle_to(file_system: FileSystem) -> Option<String> {
    let (program, package) = match file_system {
        FileSystem::Ext4 => ("mkfs.ext4", "e2fsprogs"),
        FileSystem::Xfs => ("mkfs.xfs", "xfsprogs"),
    };
    (!is_installed(program))
        .then(|| format!("a fault disk of this kind needs the program {program}, of the package {package}"))
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = |directory: &str| Path::new(directory).join(program).exists();
    path.split(':').chain(SYSTEM_PATH.split(':')).any(found)
}

/// Where the programs of an administrator are; not on everybody's path.
const SYSTEM_PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// The directory of one disk, with places to mount on.
#[derive(Debug)]
pub(super) struct Home(PathBuf);

impl Home {
    /// A new one in `parent`.
    pub(super) fn create(parent: &Path) -> Result<Self, FaultDiskError> {
        let number = DISKS.fetch_add(1, Ordering::Relaxed);
        let owner = Owner::this_process().map_err(FaultDiskError::io("read", Path::new("/proc/self")))?;
        // As sysfs and mountinfo will tell it.
        let parent = parent
            .canonicalize()
            .map_err(FaultDiskError::io("find", parent))?;
        let home = Self(parent.join(format!("{PREFIX}{}.{number}", owner.text())));
        for directory in [home.fuse(), home.mount()] {
            std::fs::create_dir_all(&directory).map_err(FaultDiskError::io("create", &directory))?;
        }
        Ok(home)
    }

    pub(super) fn fuse(&self) -> PathBuf {
        self.0.join(FUSE)
    }

    pub(super) fn mount(&self) -> PathBuf {
        self.0.join(MOUNT)
    }

    /// Removes the directories, which must be empty by now; what is in them is never touched.
    pub(super) fn remove(&self) -> io::Result<()> {
        std::fs::remove_dir(self.mount())?;
        std::fs::remove_dir(self.fuse())?;
        std::fs::remove_dir(&self.0)
    }
}

/// Makes a loop device of the disk in `home`; its path.
pub(super) fn attach(home: &Home) -> Result<PathBuf, FaultDiskError> {
    let file = home.fuse().join(DISK);
    for _ in 0..ATTACH_TRIES {
        let free = run(Command::new("losetup").arg("--find"))?;
        let device = PathBuf::from(free.trim());
        make_node(&device)?;
        let attached = run(Command::new("losetup")
            .arg("--direct-io=on")
            .args([device.as_path(), &file]));
        if attached.is_ok() {
            return Ok(device);
        }
        // Somebody else was quicker.
        clock::block_for(PAUSE);
    }
    let busy = io::Error::from(io::ErrorKind::ResourceBusy);
    Err(FaultDiskError::io("attach a loop device to", &file)(busy))
}

/// The kernel gives out more loop devices than it makes nodes for where no device manager runs.
fn make_node(device: &Path) -> Result<(), FaultDiskError> {
    let number = device.to_string_lossy();
    let number = number.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    if device.exists() || number.is_empty() {
        return Ok(());
    }
    run(Command::new("mknod")
        .args(["-m", "600"])
        .arg(device)
        .args(["b", LOOP_MAJOR, number]))?;
    Ok(())
}

/// Lets the loop device go and waits until it has.
pub(super) fn detach(device: &Path) -> Result<(), FaultDiskError> {
    let name = device.file_name().unwrap_or_default();
    let backing = Path::new("/sys/block").join(name).join("loop/backing_file");
    patiently(|| {
        if backing.exists() {
            run(Command::new("losetup").arg("--detach").arg(device))?;
        }
        if backing.exists() {
            // The kernel puts it off while somebody has the device open.
            let busy = io::Error::from(io::ErrorKind::ResourceBusy);
            return Err(FaultDiskError::io("detach", device)(busy));
        }
        Ok(())
    })
}

/// Makes an empty file system on the device.
pub(super) fn make_file_system(device: &Path, file_system: FileSystem) -> Result<(), FaultDiskError> {
    let mut command = match file_system {
        // Everything is written now, so that nothing is written behind the back of a test; no blocks are kept for root.
        FileSystem::Ext4 => {
            let mut command = Command::new("mkfs.ext4");
            command.args(["-q", "-F", "-m", "0"]);
            command.args(["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]);
            command
        }
        FileSystem::Xfs => {
            let mut command = Command::new("mkfs.xfs");
            command.args(["-q", "-f", "-K"]);
            command
        }
    };
    run(command.arg(device))?;
    Ok(())
}

/// Mounts what is on the device.
pub(super) fn mount(device: &Path, place: &Path, file_system: FileSystem) -> Result<(), FaultDiskError> {
    let kind = match file_system {
        FileSystem::Ext4 => "ext4",
        FileSystem::Xfs => "xfs",
    };
    run(Command::new("mount").args(["-t", kind]).args([device, place]))?;
    Ok(())
}

/// Unmounts, again and again while it is busy.
pub(super) fn unmount(place: &Path) -> Result<(), FaultDiskError> {
    patiently(|| run(Command::new("umount").arg(place)).map(drop))
}

/// Takes a mount out of sight at once; it goes when its last user does.
pub(super) fn unmount_lazily(place: &Path) -> Result<(), FaultDiskError> {
    run(Command::new("umount").arg("--lazy").arg(place)).map(drop)
}

fn patiently(mut attempt: impl FnMut() -> Result<(), FaultDiskError>) -> Result<(), FaultDiskError> {
    let begun = clock::now();
    loop {
        match attempt() {
            Err(_) if clock::now().since(begun) < PATIENCE => clock::block_for(PAUSE),
            outcome => return outcome,
        }
    }
}

/// Runs a program to its end; its output, or why it failed.
fn run(command: &mut Command) -> Result<String, FaultDiskError> {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:{SYSTEM_PATH}"));
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(FaultDiskError::io("run", Path::new(command.get_program())))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    Err(FaultDiskError::Command {
        command: words.join(" "),
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Takes away the disks of processes that are dead: unmounts, detaches, removes the empty directories. What does not go
/// stays for the next time; nobody is waiting for it.
pub(super) fn sweep() {
    let Ok(namespace) = pid_namespace() else {
        return;
    };
    let mounts = mount_points();
    let loops = loops();
    let homes: BTreeSet<PathBuf> = mounts
        .iter()
        .chain(loops.iter().map(|(_, file)| file))
        .filter_map(|path| home_of(path))
        .filter(|home| owner_of(home).is_some_and(|owner| owner.namespace == namespace && !owner.is_alive()))
        .collect();
    for home in homes {
        let home = Home(home);
        // The file system first, then its device, then the disk.
        if mounts.contains(&home.mount()) {
            unmount_lazily(&home.mount()).ok();
        }
        let file = home.fuse().join(DISK);
        for (device, _) in loops.iter().filter(|(_, backing)| *backing == file) {
            run(Command::new("losetup").arg("--detach").arg(device)).ok();
        }
        if mounts.contains(&home.fuse()) {
            unmount_lazily(&home.fuse()).ok();
        }
        home.remove().ok();
    }
}

/// Who made a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    namespace: u64,
    pid: u32,
    /// In clock ticks since the machine started, as the kernel tells it: process ids come again, not at the same time.
    started: u64,
}

impl Owner {
    fn this_process() -> io::Result<Self> {
        let pid = std::process::id();
        let started = start_time(pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Self {
            namespace: pid_namespace()?,
            pid,
            started,
        })
    }

    fn text(&self) -> String {
        format!("{}.{}.{}", self.namespace, self.pid, self.started)
    }

    fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}

/// The number of the namespace in which this process' id counts.
fn pid_namespace() -> io::Result<u64> {
    std::fs::metadata("/proc/self/ns/pid").map(|metadata| metadata.ino())
}

/// When a process started; nothing if it is no more, or a zombie.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name, in parentheses, and may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

/// The directory of the disk that `path` is part of.
fn home_of(path: &Path) -> Option<PathBuf> {
    let home = path.ancestors().find(|ancestor| owner_of(ancestor).is_some());
    home.map(Path::to_owned)
}

fn owner_of(home: &Path) -> Option<Owner> {
    let mut numbers = home.file_name()?.to_str()?.strip_prefix(PREFIX)?.split('.');
    let owner = Owner {
        namespace: numbers.next()?.parse().ok()?,
        pid: numbers.next()?.parse().ok()?,
        started: numbers.next()?.parse().ok()?,
    };
    numbers.next()?.parse::<u32>().ok()?;
    numbers.next().is_none().then_some(owner)
}

fn mount_points() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let fields = table
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(4));
    // Blanks and the like are written as octal numbers.
    fields
        .map(|field| PathBuf::from(field.replace("\\040", " ").replace("\\134", "\\")))
        .collect()
}

/// Loop devices that are in use, and the files behind them.
fn loops() -> Vec<(PathBuf, PathBuf)> {
    let Ok(blocks) = std::fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    let of = |block: std::fs::DirEntry| {
        let file = std::fs::read_to_string(block.path().join("loop/backing_file")).ok()?;
        Some((
            Path::new("/dev").join(block.file_name()),
            PathBuf::from(file.trim_end()),
        ))
    };
    blocks.flatten().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_who_owns_the_disk() {
        let owner = Owner::this_process().unwrap();
        assert!(owner.is_alive());
        let home = PathBuf::from(format!("/somewhere/{PREFIX}{}.12", owner.text()));
        assert_eq!(owner_of(&home), Some(owner));
        assert_eq!(home_of(&home.join("device/disk")), Some(home.clone()));
        assert!(
            !Owner {
                started: owner.started + 1,
                ..owner
            }
            .is_alive()
        );
        for other in [
            "corelog-fault-disk.1.2.3",
            "corelog-fault-disk.1.2.3.x",
            "disk.1.2.3.4",
            "corelog-fault-disk.1.2.3.4.5",
        ] {
            assert_eq!(home_of(Path::new(other)), None, "{other}");
        }
    }
}
