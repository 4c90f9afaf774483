//! A directory for the targets that read files: in memory where the kernel has one, else wherever temporary files go.
//!
//! One for each process and thread, emptied before each use, so that runs beside each other do not meet. It is left behind,
//! empty, when the process is killed; otherwise the next one of the same id takes it over.

use std::fs;
use std::path::{Path, PathBuf};

/// Memory that is a file system, where direct I/O works too.
const MEMORY: &str = "/dev/shm";

/// Where the files of one run lie.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// An empty directory that no other target of this process uses.
    pub(super) fn new(target: &str) -> Self {
        let memory = Path::new(MEMORY);
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let thread = format!("{:?}", std::thread::current().id());
        let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
        let path = parent.join(format!("corelog-fuzz-{target}-{}-{thread}", std::process::id()));
        clear(&path);
        fs::create_dir(&path).expect("a fuzzer may make directories");
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.join(name), bytes).expect("a fuzzer may write files");
    }

    /// Every file's name and bytes, by name.
    pub(super) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(&self.0).expect("the directory is there");
        let mut files: Vec<(String, Vec<u8>)> = entries
            .map(|entry| {
                let entry = entry.expect("the directory can be listed");
                let bytes = fs::read(entry.path()).expect("a file of ours can be read");
                (entry.file_name().to_string_lossy().into_owned(), bytes)
            })
            .collect();
        files.sort();
        files
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        clear(&self.0);
    }
}

/// What a run before this one may have left.
fn clear(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            panic!("{} cannot be removed: {error}", path.display())
        }
        _ => {}
    }
}
