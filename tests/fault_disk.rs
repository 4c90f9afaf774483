//! The fault disk itself: what a cut of the power does to writers that sync and to writers that do not, on the kernel's
//! own file systems. Needs root, FUSE and loop devices, as everything that uses it.
//!
//! A test of the broker on this disk says something only if the disk does lose what a careless writer leaves in its cache.

#![expect(
    clippy::disallowed_methods,
    reason = "a test has clocks, threads and patience of its own"
)]

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use corelog::proof::fault_disk::{CutMode, FaultDisk, FaultDiskOptions, FileSystem, Target};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};

const BLOCK: usize = 4096;
/// Blocks a writer writes in one go. That a random cut spares all of them has a chance of one in 3^40.
const BLOCKS: u8 = 40;
const O_DIRECT: i32 = rustix::fs::OFlags::DIRECT.bits().cast_signed();
const FILE_SYSTEMS: [FileSystem; 2] = [FileSystem::Ext4, FileSystem::Xfs];
/// Set for the process that is killed with a disk in its hands.
const OWNER: &str = "FAULT_DISK_OWNER";

fn disk(file_system: FileSystem) -> FaultDisk {
    let mut options = FaultDiskOptions::new(file_system);
    options.parent = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    FaultDisk::create(&options).expect("a fault disk (this test needs root)")
}

/// A block that direct I/O takes.
#[repr(align(4096))]
struct Block([u8; BLOCK]);

/// How a writer makes sure, or does not, before it counts a block as written.
#[derive(Clone, Copy, Debug)]
enum Writer {
    /// Through the page cache, and no sync.
    Plain,
    /// Directly, and no sync: the device has it, in its cache.
    Direct,
    /// Through the page cache, fdatasync after each block.
    Synced,
    /// Directly, each write with RWF_DSYNC.
    DirectSynced,
}

/// Whether the blocks are there before they are written.
#[derive(Clone, Copy, Debug)]
enum Layout {
    ZeroFilled,
    Growing,
}

fn prepare(path: &Path, writer: Writer, layout: Layout) -> File {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    if matches!(writer, Writer::Direct | Writer::DirectSynced) {
        options.custom_flags(O_DIRECT);
    }
    let file = options.open(path).expect("the file opens");
    if matches!(layout, Layout::ZeroFilled) {
        for number in 0..BLOCKS {
            put(&file, number, 0, ReadWriteFlags::empty());
        }
    }
    file.sync_all().expect("a sync");
    let directory = File::open(path.parent().expect("a directory"));
    directory
        .expect("the directory opens")
        .sync_all()
        .expect("a sync of it");
    file
}

fn put(file: &File, number: u8, byte: u8, flags: ReadWriteFlags) {
    let block = Block([byte; BLOCK]);
    let offset = u64::from(number) * 4096;
    let written = pwritev2(file, &[IoSlice::new(&block.0)], offset, flags).expect("a write");
    assert_eq!(written, BLOCK);
}

/// Writes block `n` full of `n + 1` for each n.
fn write_all(file: &File, writer: Writer) {
    let flags = match writer {
        Writer::DirectSynced => ReadWriteFlags::DSYNC,
        _ => ReadWriteFlags::empty(),
    };
    for number in 0..BLOCKS {
        put(file, number, number + 1, flags);
        if matches!(writer, Writer::Synced) {
            file.sync_data().expect("a sync");
        }
    }
}

/// How many of those blocks are not whole.
fn missing(path: &Path) -> usize {
    let mut bytes = std::fs::read(path).expect("the blocks are read");
    bytes.resize(usize::from(BLOCKS) * BLOCK, 0);
    let whole = |(block, byte): &(&[u8], u8)| block.iter().all(|found| found == byte);
    usize::from(BLOCKS) - bytes.chunks(BLOCK).zip(1..=BLOCKS).filter(whole).count()
}

#[test]
fn a_cut_loses_blocks_of_writers_that_do_not_sync_and_none_of_others() {
    for file_system in FILE_SYSTEMS {
        let mut disk = disk(file_system);
        let path = disk.path().join("blocks");
        for (seed, writer) in (1..).zip([
            Writer::Plain,
            Writer::Direct,
            Writer::Synced,
            Writer::DirectSynced,
        ]) {
            for layout in [Layout::ZeroFilled, Layout::Growing] {
                let file = prepare(&path, writer, layout);
                write_all(&file, writer);
                drop(file);
                let cut = disk.cut_power(seed, CutMode::Random);
                disk.restore_power().unwrap();
                let missing = missing(&path);
                let case = format!("{file_system:?}, {writer:?}, {layout:?}, seed {seed}: {cut:?}");
                let careless = matches!(writer, Writer::Plain | Writer::Direct);
                assert_eq!(
                    missing > 0,
                    careless,
                    "{case}: {missing} of {BLOCKS} blocks are missing"
                );
            }
        }
    }
}

#[test]
fn a_planned_cut_comes_while_a_writer_works_and_spares_what_it_has_synced() {
    for requests in [1, 8, 21] {
        let mut disk = disk(FileSystem::Ext4);
        let path = disk.path().join("blocks");
        let file = prepare(&path, Writer::DirectSynced, Layout::ZeroFilled);
        disk.cut_power_after(requests, requests, CutMode::Random);
        let block = |number: u8| Block([number + 1; BLOCK]);
        let write = |number: u8| {
            let offset = u64::from(number) * 4096;
            pwritev2(
                &file,
                &[IoSlice::new(&block(number).0)],
                offset,
                ReadWriteFlags::DSYNC,
            )
        };
        let synced = (0..BLOCKS)
            .take_while(|number| write(*number) == Ok(BLOCK))
            .count();
        assert!(synced < usize::from(BLOCKS), "the power goes in between");
        assert!(!disk.is_powered() && disk.last_cut().is_some());
        drop(file);
        disk.restore_power().unwrap();
        // The one that failed may be there, too.
        let there = usize::from(BLOCKS) - missing(&path);
        assert!(
            (synced..=synced + 1).contains(&there),
            "{synced} synced, {there} there"
        );
    }
}

#[test]
fn while_the_power_is_off_everything_fails() {
    let mut disk = disk(FileSystem::Ext4);
    let path = disk.path().join("blocks");
    let file = prepare(&path, Writer::DirectSynced, Layout::ZeroFilled);
    write_all(&file, Writer::DirectSynced);
    disk.cut_power(1, CutMode::LoseAll);
    let block = Block([9; BLOCK]);
    let refused = pwritev2(&file, &[IoSlice::new(&block.0)], 0, ReadWriteFlags::empty());
    assert_eq!(refused, Err(Errno::IO));
    drop(file);
    disk.restore_power().unwrap();
    assert_eq!(missing(&path), 0);
}

#[test]
fn a_failed_flush_is_told_once_and_what_it_covered_is_gone() {
    for file_system in FILE_SYSTEMS {
        let mut disk = disk(file_system);
        let path = disk.path().join("blocks");
        let file = prepare(&path, Writer::Direct, Layout::ZeroFilled);
        write_all(&file, Writer::Direct);
        disk.fail_flushes(Target::Any, 1);
        assert_eq!(
            file.sync_data().unwrap_err().raw_os_error(),
            Some(5),
            "{file_system:?}"
        );
        assert!(disk.all_struck());
        assert!(
            file.sync_data().is_ok(),
            "{file_system:?}: the next one says nothing of it"
        );
        assert_eq!(missing(&path), usize::from(BLOCKS), "{file_system:?}");
        drop(file);
        disk.cut_power(1, CutMode::KeepAll);
        disk.restore_power().unwrap();
        assert_eq!(missing(&path), usize::from(BLOCKS), "{file_system:?}");
    }
}

#[test]
fn single_requests_fail_when_told_and_rot_is_read() {
    let disk = disk(FileSystem::Ext4);
    let path = disk.path().join("blocks");
    let file = prepare(&path, Writer::DirectSynced, Layout::ZeroFilled);
    let word = b"a word on the disk".to_vec();
    let mut block = Block([b'.'; BLOCK]);
    block.0[100..100 + word.len()].copy_from_slice(&word);
    disk.fail_writes(Target::Containing(word.clone()), 1);
    put(&file, 0, 1, ReadWriteFlags::DSYNC);
    let write = || pwritev2(&file, &[IoSlice::new(&block.0)], 0, ReadWriteFlags::DSYNC);
    assert_eq!(write(), Err(Errno::IO));
    assert_eq!(write(), Ok(BLOCK));
    assert!(!disk.is_only_cached(&word));

    let reader = File::options()
        .read(true)
        .custom_flags(O_DIRECT)
        .open(&path)
        .unwrap();
    let mut read = Block([0; BLOCK]);
    disk.fail_reads(Target::Containing(word.clone()), 1);
    assert_eq!(
        reader.read_at(&mut read.0, 0).unwrap_err().raw_os_error(),
        Some(5)
    );
    assert_eq!(reader.read_at(&mut read.0, 0).unwrap(), BLOCK);
    let places = disk.find(&word);
    assert_eq!(places.len(), 1);
    disk.flip_bit(places[0], 0);
    assert_eq!(reader.read_at(&mut read.0, 0).unwrap(), BLOCK);
    assert_eq!(read.0[100], word[0] ^ 1);
}

#[test]
fn flushes_are_counted_and_only_a_flush_empties_the_cache() {
    let disk = disk(FileSystem::Ext4);
    let file = prepare(&disk.path().join("blocks"), Writer::Direct, Layout::ZeroFilled);
    let before = disk.counters();
    write_all(&file, Writer::Direct);
    let written = disk.counters();
    assert_eq!(written.flushes, before.flushes);
    assert!(written.pending_bytes >= before.pending_bytes + u64::from(BLOCKS) * 4096);
    assert!(disk.is_only_cached(&[BLOCKS; 2048]));
    write_all(&file, Writer::DirectSynced);
    let synced = disk.counters();
    assert!(
        synced.flushes >= written.flushes + u64::from(BLOCKS),
        "{synced:?}"
    );
    assert!(!disk.is_only_cached(&[BLOCKS; 2048]));
    assert!(synced.pending_bytes_max >= written.pending_bytes);
    assert_eq!(synced.failed, 0);
}

#[test]
fn a_slow_disk_answers_late_and_a_cut_answers_whatever_it_held_back() {
    let disk = disk(FileSystem::Ext4);
    let file = prepare(
        &disk.path().join("blocks"),
        Writer::DirectSynced,
        Layout::ZeroFilled,
    );
    let delay = Duration::from_millis(30);
    disk.set_delay(delay);
    let begun = Instant::now();
    put(&file, 0, 1, ReadWriteFlags::DSYNC);
    assert!(begun.elapsed() >= delay * 2, "a write and a flush");
    disk.set_delay(Duration::from_secs(3600));
    let stuck = std::thread::spawn(move || {
        let block = Block([2; BLOCK]);
        pwritev2(&file, &[IoSlice::new(&block.0)], 0, ReadWriteFlags::DSYNC)
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while disk.counters().pending_bytes == 0 {
        assert!(Instant::now() < deadline, "the write arrives");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(!stuck.is_finished());
    disk.cut_power(1, CutMode::Random);
    assert_eq!(stuck.join().unwrap(), Err(Errno::IO));
}

/// Mounts and loop devices whose path contains `name`.
fn traces(name: &str) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    let mut found: Vec<String> = table
        .lines()
        .filter(|line| line.contains(name))
        .map(str::to_owned)
        .collect();
    for block in std::fs::read_dir("/sys/block")
        .expect("the block devices")
        .flatten()
    {
        let backing = std::fs::read_to_string(block.path().join("loop/backing_file"));
        found.extend(backing.into_iter().filter(|backing| backing.contains(name)));
    }
    found
}

#[test]
fn nothing_is_left_of_a_disk_that_is_dropped() {
    let disk = disk(FileSystem::Ext4);
    let home = disk.path().parent().unwrap().to_owned();
    let name = home.file_name().unwrap().to_string_lossy().into_owned();
    // The file system, the disk it is on, and the loop device between them.
    assert_eq!(traces(&name).len(), 3);
    drop(disk);
    assert_eq!(traces(&name), Vec::<String>::new());
    assert!(!home.exists());
}

/// Not a test but the process of the next one.
#[test]
fn owner_of_a_disk_that_is_killed() {
    if std::env::var_os(OWNER).is_none() {
        return;
    }
    let disk = disk(FileSystem::Ext4);
    std::fs::write(disk.path().join("dirty"), vec![1; 1 << 20]).unwrap();
    println!("\n{}", disk.path().display());
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn the_disk_of_a_killed_process_is_taken_away_by_the_next_one() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner_of_a_disk_that_is_killed", "--nocapture"])
        .env(OWNER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    let mut output = owner.stdout.take().unwrap();
    let mut piece = [0; 4096];
    let path = loop {
        let length = output.read(&mut piece).unwrap();
        assert_ne!(length, 0, "the owner ended: {}", String::from_utf8_lossy(&said));
        said.extend(&piece[..length]);
        let text = String::from_utf8_lossy(&said);
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        if let Some(path) = lines.map(str::trim).find(|line| line.ends_with("/mount")) {
            break PathBuf::from(path);
        }
    };
    owner.kill().unwrap();
    owner.wait().unwrap();
    let home = path.parent().unwrap().to_owned();
    let name = home.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(traces(&name).len(), 3, "a killed process cleans nothing up");
    let living = disk(FileSystem::Ext4);
    assert_eq!(traces(&name), Vec::<String>::new());
    assert_eq!(std::fs::metadata(home).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(living.path().exists(), "and the living keep theirs");
}
