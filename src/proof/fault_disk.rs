//! A disk that can be told to fail: a block device of this process with a volatile cache, a file system on it, mounted.
//!
//! A program that stores its data below [`FaultDisk::path`] runs on the kernel's own ext4 or XFS, on a loop device, on a
//! file that this process serves through FUSE. What the device acknowledged without a flush is at risk, exactly as on a
//! disk with a write-back cache: [`cut_power`](FaultDisk::cut_power) keeps, loses or tears each such write, and from then
//! on every request fails, until [`restore_power`](FaultDisk::restore_power) mounts what is left and the file system
//! replays its journal. Single reads, writes and flushes can be made to fail, all be made slow, bits be flipped.
//!
//! **Promises.** What a flush covered survives every cut. A cut is repeated by its seed if the same writes are pending.
//! Nothing is left behind: dropping the disk unmounts and detaches it, and what a killed process could not take away, the
//! next [`FaultDisk::create`] on the machine does (`fault_disk/host.rs` says how it tells its own).
//!
//! **Its limits.** The image lives in the memory of this process, pages of zeros left out. It needs root, FUSE and loop
//! devices: [`FaultDisk::probe`]. The process must not do much I/O of its own on the disk: if it is killed in the middle
//! of a read that only it could answer, the kernel waits for ever.
//!
//! Rooms within: `image` has the bytes, `device` the rules (pure), `serve` the threads that answer the kernel, `host`
//! the commands. Chosen over device-mapper's flakey and log-writes targets, which kernels of containers do not have, and
//! over interposing on system calls, which io_uring bypasses.

mod device;
mod host;
mod image;
mod serve;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use device::{BLOCK, Counters, Cut, CutMode, SECTOR, Target};
use device::{Device, Kind};
use host::Home;
use serve::{Disk, Server};

/// The smallest disk that XFS can be made on, with some room.
pub const XFS_BYTES_MIN: u64 = 320 << 20;
/// What a disk has if nothing else is asked for: enough for either file system.
pub const DEFAULT_BYTES: u64 = XFS_BYTES_MIN;

/// The file system on a fault disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4 as `mkfs.ext4` makes it: a journal of metadata, data before metadata, barriers.
    Ext4,
    /// XFS as `mkfs.xfs` makes it.
    Xfs,
}

/// What to make.
#[derive(Clone, Debug)]
pub struct FaultDiskOptions {
    /// Size of the device; at least [`XFS_BYTES_MIN`] for XFS. Only what is written takes memory.
    pub bytes: u64,
    /// What is made on it.
    pub file_system: FileSystem,
    /// An existing directory to put the mount points in.
    pub parent: PathBuf,
}

impl FaultDiskOptions {
    /// A disk of [`DEFAULT_BYTES`] below the directory for temporary files.
    #[must_use]
    pub fn new(file_system: FileSystem) -> Self {
        Self {
            bytes: DEFAULT_BYTES,
            file_system,
            parent: std::env::temp_dir(),
        }
    }
}

/// Why a fault disk cannot be had, or does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum FaultDiskError {
    /// This machine or this user cannot have one.
    #[error("{0}")]
    Unavailable(String),
    /// A program failed.
    #[error("`{command}` failed: {said}")]
    Command {
        /// With its arguments.
        command: String,
        /// Its standard error.
        said: String,
    },
    /// A call failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
}

impl FaultDiskError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// A mounted disk under control.
pub struct FaultDisk {
    disk: Arc<Disk>,
    server: Option<Server>,
    home: Home,
    file_system: FileSystem,
    device: Option<PathBuf>,
    mounted: bool,
}

impl FaultDisk {
    /// Whether a fault disk with this file system can be had here.
    ///
    /// # Errors
    /// One sentence on what is missing.
    pub fn probe(file_system: FileSystem) -> Result<(), String> {
        host::obstacle()
            .or_else(|| host::obstacle_to(file_system))
            .map_or(Ok(()), Err)
    }

    /// Makes an empty disk and mounts it; first takes away what dead processes left of theirs.
    ///
    /// # Errors
    /// What [`probe`](Self::probe) says, or what failed; then nothing is left behind.
    pub fn create(options: &FaultDiskOptions) -> Result<Self, FaultDiskError> {
        Self::probe(options.file_system).map_err(FaultDiskError::Unavailable)?;
        if options.file_system == FileSystem::Xfs && options.bytes < XFS_BYTES_MIN {
            let small = format!("XFS needs a disk of {XFS_BYTES_MIN} bytes");
            return Err(FaultDiskError::Unavailable(small));
        }
        host::sweep();
        let home = Home::create(&options.parent)?;
        let mut made = Self {
            disk: Disk::new(Device::new(options.bytes)),
            server: None,
            home,
            file_system: options.file_system,
            device: None,
            mounted: false,
        };
        // From here on dropping `made` takes away as much as there is.
        let fuse = made.home.fuse();
        let server =
            Server::start(&made.disk, &fuse).map_err(FaultDiskError::io("mount a disk on", &fuse))?;
        made.server = Some(server);
        let device = host::attach(&made.home)?;
        made.device = Some(device.clone());
        host::make_file_system(&device, options.file_system)?;
        made.mount()?;
        Ok(made)
    }

    /// Where the file system is mounted. A path, not a promise: nothing is there while the power is off.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.home.mount()
    }

    /// Cuts the power: each write since the last flush is kept, lost or torn as `mode` and `seed` say, and every request
    /// fails from now on, those under way included. Programs on the disk are not told; they must end before
    /// [`restore_power`](Self::restore_power).
    pub fn cut_power(&self, seed: u64, mode: CutMode) -> Cut {
        self.disk.with_held_answered(|device| device.cut(seed, mode))
    }

    /// Plans a cut like [`cut_power`](Self::cut_power), in the middle of the first write or flush after `requests` more of
    /// them: so that a series of cuts visits every step of what a program does, not only where it spends its time.
    pub fn cut_power_after(&self, requests: u64, seed: u64, mode: CutMode) {
        self.disk.lock().device.cut_after(requests, seed, mode);
    }

    /// Whether the power is on.
    #[must_use]
    pub fn is_powered(&self) -> bool {
        self.disk.lock().device.is_powered()
    }

    /// What the last cut did, a planned one included.
    #[must_use]
    pub fn last_cut(&self) -> Option<Cut> {
        self.disk.lock().device.last_cut()
    }

    /// Starts the machine again: unmounts, takes the device away, puts it back with the power on and no error armed, and
    /// mounts it, for which the file system replays its journal. Without a cut before it, it is a remount.
    ///
    /// # Errors
    /// Somebody still uses the file system after ten seconds, or it does not mount.
    pub fn restore_power(&mut self) -> Result<(), FaultDiskError> {
        self.set_delay(Duration::ZERO);
        self.unmount()?;
        if let Some(device) = self.device.take() {
            host::detach(&device).inspect_err(|_| self.device = Some(device.clone()))?;
        }
        self.disk.lock().device.power_on();
        self.device = Some(host::attach(&self.home)?);
        self.mount()
    }

    /// The next `count` reads that `target` means fail with EIO. 0 ends it; it replaces what was armed before.
    pub fn fail_reads(&self, target: Target, count: u64) {
        self.disk.lock().device.fail(Kind::Read, target, count);
    }

    /// The next `count` writes that `target` means fail with EIO and write nothing.
    pub fn fail_writes(&self, target: Target, count: u64) {
        self.disk.lock().device.fail(Kind::Write, target, count);
    }

    /// The next `count` flushes that `target` means fail with EIO and drop the writes they were to make durable: reads
    /// give the old bytes again, and no later flush mentions it.
    pub fn fail_flushes(&self, target: Target, count: u64) {
        self.disk.lock().device.fail(Kind::Flush, target, count);
    }

    /// No request fails any more that was told to.
    pub fn fail_nothing(&self) {
        let device = &mut self.disk.lock().device;
        for kind in [Kind::Read, Kind::Write, Kind::Flush] {
            device.fail(kind, Target::Any, 0);
        }
    }

    /// Whether every error that was armed has struck.
    #[must_use]
    pub fn all_struck(&self) -> bool {
        let device = &self.disk.lock().device;
        [Kind::Read, Kind::Write, Kind::Flush]
            .into_iter()
            .all(|kind| device.armed(kind) == 0)
    }

    /// Every answer comes this much later, those already waited for included; requests still overlap.
    pub fn set_delay(&self, delay: Duration) {
        self.disk.set_delay(delay);
    }

    /// What the disk has done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.disk.lock().device.counters()
    }

    /// Every place on the medium where `pattern` (1 to 4096 bytes, not all zeros) begins.
    #[must_use]
    pub fn find(&self, pattern: &[u8]) -> Vec<u64> {
        self.disk.lock().device.find_durable(pattern)
    }

    /// Whether `pattern` (as for [`find`](Self::find)) was written but is nowhere on the medium: what was acknowledged must
    /// not be.
    #[must_use]
    pub fn is_only_cached(&self, pattern: &[u8]) -> bool {
        self.disk.lock().device.is_only_cached(pattern)
    }

    /// Rot: turns over one bit (0 to 7, counted modulo 8) of the byte at `offset`, which must be below the disk's end. The
    /// kernel's caches do not know; direct reads see it.
    pub fn flip_bit(&self, offset: u64, bit: u8) {
        let device = &mut self.disk.lock().device;
        assert!(offset < device.bytes(), "offset {offset} is beyond the disk");
        device.flip_bit(offset, bit);
    }

    fn mount(&mut self) -> Result<(), FaultDiskError> {
        if let Some(device) = &self.device {
            host::mount(device, &self.home.mount(), self.file_system)?;
            self.mounted = true;
        }
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), FaultDiskError> {
        if self.mounted {
            host::unmount(&self.home.mount())?;
            self.mounted = false;
        }
        Ok(())
    }

    /// Takes everything away, as far as it goes; the first thing that does not.
    fn dismantle(&mut self) -> Result<(), FaultDiskError> {
        // No user can keep a dead disk busy with writes.
        self.cut_power(0, CutMode::KeepAll);
        let unmounted = self.unmount();
        if unmounted.is_err() {
            host::unmount_lazily(&self.home.mount())?;
        }
        if let Some(device) = self.device.take() {
            host::detach(&device)?;
        }
        if let Some(mut server) = self.server.take() {
            let gone = host::unmount(&self.home.fuse());
            server.end();
            gone?;
        }
        unmounted?;
        let home = self.home.fuse();
        self.home.remove().map_err(FaultDiskError::io("remove", &home))
    }
}

impl Drop for FaultDisk {
    fn drop(&mut self) {
        if let Err(error) = self.dismantle() {
            tracing::warn!(%error, disk = %self.path().display(), "a fault disk is not taken away; the next one will try again");
        }
    }
}
