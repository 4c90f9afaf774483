//! Disks that fill up and disks that fail: a small ext4 in a file, mounted for one test. Needs root.
//!
//! A [`Disk`] unmounts itself when it is dropped, trying again while a dying process still has files open there.
//! Declare it before the broker that lives on it, so that the broker goes first.

#![expect(unsafe_code, reason = "ioctl is unsafe by nature")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;

/// How long an unmount is tried.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(10);
/// `EXT4_IOC_SHUTDOWN`: `_IOR('X', 125, u32)`. All I/O of the file system fails from then on.
const EXT4_IOC_SHUTDOWN: u32 = 0x8004_587d;
/// Do not even write the journal first: what was promised has been written, what was not is lost.
const NO_LOG_FLUSH: u32 = 2;

/// A file system of its own.
pub(crate) struct Disk {
    home: tempfile::TempDir,
    mounted: bool,
}

impl Disk {
    /// An empty ext4 of `mib` mebibytes, with no blocks kept for root.
    pub(crate) fn ext4(mib: u64) -> Self {
        let home = tempfile::Builder::new()
            .prefix("disk-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a temporary directory beside the build");
        let mut disk = Self { home, mounted: false };
        let image = File::create(disk.image()).expect("an image file");
        image.set_len(mib << 20).expect("a sparse image");
        std::fs::create_dir(disk.path()).expect("a mount point");
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0"])
            .arg(disk.image()));
        disk.mount();
        disk
    }

    /// A file system that refuses `O_DIRECT`.
    pub(crate) fn without_direct_io() -> Self {
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let disk = Self { home, mounted: true };
        std::fs::create_dir(disk.path()).expect("a mount point");
        run(Command::new("mount")
            .args(["-t", "ramfs", "ramfs"])
            .arg(disk.path()));
        disk
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.home.path().join("mount")
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        let space = rustix::fs::statvfs(self.path()).expect("a mounted disk");
        space.f_bavail * space.f_frsize
    }

    /// Takes space away until `left` bytes are free.
    pub(crate) fn fill_to(&self, left: u64) -> Filler {
        let path = self.home.path().join("mount/filler");
        let file = File::create(&path).expect("a filler");
        let filler = Filler(path);
        let bytes = self.free_bytes().saturating_sub(left);
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes).expect("space to take away");
        filler
    }

    /// Takes every last block away.
    pub(crate) fn fill(&self) -> Filler {
        let filler = self.fill_to(1 << 20);
        let file = File::options().write(true).open(&filler.0).expect("the filler");
        let mut at = file.metadata().expect("the filler's length").len();
        while file.write_all_at(&[1; 4096], at).is_ok() {
            at += 4096;
        }
        // The space of delayed writes is not counted until they are done.
        file.sync_all().expect("the filler is on the disk");
        filler
    }

    /// Every read and write fails from now on, and what no sync had asked for is lost.
    pub(crate) fn fail(&self) {
        let directory = File::open(self.path()).expect("the mount point opens");
        // SAFETY: the opcode is that of a call that reads one u32.
        let shutdown = unsafe { rustix::ioctl::Setter::<{ EXT4_IOC_SHUTDOWN }, u32>::new(NO_LOG_FLUSH) };
        // SAFETY: as above, and the descriptor is open.
        let failed = unsafe { rustix::ioctl::ioctl(&directory, shutdown) };
        failed.expect("ext4 shuts down");
    }

    /// Unmounts and mounts again, as a restart of the machine would.
    pub(crate) fn remount(&mut self) {
        self.unmount().expect("nobody uses the disk");
        self.mount();
    }

    fn image(&self) -> PathBuf {
        self.home.path().join("image")
    }

    fn mount(&mut self) {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(self.image())
            .arg(self.path()));
        self.mounted = true;
    }

    fn unmount(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + UNMOUNT_PATIENCE;
        loop {
            let output = Command::new("umount").arg(self.path()).output();
            let output = output.map_err(|error| format!("umount: {error}"))?;
            if output.status.success() {
                self.mounted = false;
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = self.unmount()
        {
            eprintln!("{} stays mounted: {error}", self.path().display());
        }
    }
}

/// Space taken away; it comes back when this is dropped.
pub(crate) struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("the filler goes");
    }
}

/// The files below `directory` whose names end like this.
pub(crate) fn files_below(directory: &Path, suffix: &str) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let count = |entry: std::fs::DirEntry| {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, suffix)
        } else {
            usize::from(path.to_string_lossy().ends_with(suffix))
        }
    };
    entries.flatten().map(count).sum()
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} (this test needs root): {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
