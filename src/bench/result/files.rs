//! Results on disk: which files a run's directory holds, and reading them with judgement.
//!
//! A reader refuses a file of a newer schema: its numbers might mean something else. An older file, or one that lacks
//! what came later, is read with defaults.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{RunResult, SCHEMA_VERSION, Sweep};

/// The run, in its directory.
pub const RESULT_FILE: &str = "result.json";
/// The sweep, in its directory.
pub const SWEEP_FILE: &str = "sweep.json";

/// Why a result could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// The file system said no.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file is not what its name says.
    #[error("{} is no result: {source}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// A newer program wrote it.
    #[error(
        "{} has schema {found}, this program knows up to {SCHEMA_VERSION}: use the program that wrote it, or a newer one",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
    },
    /// There is no result where one was named.
    #[error("{} holds no {RESULT_FILE}, and no directory in it does", .0.display())]
    Missing(PathBuf),
}

impl RunResult {
    /// Reads `path`, a `result.json` or the directory that holds it.
    ///
    /// # Errors
    /// See [`ResultError`].
    pub fn read(path: &Path) -> Result<Self, ResultError> {
        read_judged(&file_in(path, RESULT_FILE))
    }

    /// Writes [`RESULT_FILE`] into `directory`, which is made if need be.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, directory: &Path) -> Result<(), ResultError> {
        write_json(directory, RESULT_FILE, self)
    }
}

impl Sweep {
    /// Reads `path`, a `sweep.json` or the directory that holds it.
    ///
    /// # Errors
    /// See [`ResultError`].
    pub fn read(path: &Path) -> Result<Self, ResultError> {
        read_judged(&file_in(path, SWEEP_FILE))
    }

    /// Writes [`SWEEP_FILE`] into `directory`, which is made if need be.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, directory: &Path) -> Result<(), ResultError> {
        write_json(directory, SWEEP_FILE, self)
    }
}

/// The runs at `path`: one if it is a `result.json` or a directory with one, else one for each directory in it that has
/// one, by name.
///
/// # Errors
/// See [`ResultError`]; finding none is one.
pub fn read_runs(path: &Path) -> Result<Vec<RunResult>, ResultError> {
    if path.is_file() || path.join(RESULT_FILE).is_file() {
        return Ok(vec![RunResult::read(path)?]);
    }
    let listing = fs::read_dir(path).map_err(|source| io_error(path, source))?;
    let mut repeats = Vec::new();
    for entry in listing {
        let inner = entry.map_err(|source| io_error(path, source))?.path();
        if inner.join(RESULT_FILE).is_file() {
            repeats.push(inner);
        }
    }
    repeats.sort();
    if repeats.is_empty() {
        return Err(ResultError::Missing(path.to_owned()));
    }
    repeats.iter().map(|inner| RunResult::read(inner)).collect()
}

/// Writes `value` as `name` into `directory`, which is made if need be.
///
/// # Errors
/// What the file system says.
pub fn write_json(directory: &Path, name: &str, value: &impl Serialize) -> Result<(), ResultError> {
    let path = directory.join(name);
    let write = || {
        fs::create_dir_all(directory)?;
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        fs::write(&path, text)
    };
    write().map_err(|source| io_error(&path, source))
}

/// Reads a JSON file whose `schema` is one this program knows.
///
/// # Errors
/// See [`ResultError`].
pub fn read_judged<T: DeserializeOwned>(path: &Path) -> Result<T, ResultError> {
    let malformed = |source| ResultError::Malformed {
        path: path.to_owned(),
        source,
    };
    let text = fs::read_to_string(path).map_err(|source| io_error(path, source))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(malformed)?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(found) if found > u64::from(SCHEMA_VERSION) => Err(ResultError::Newer {
            path: path.to_owned(),
            found,
        }),
        _ => serde_json::from_value(value).map_err(malformed),
    }
}

fn file_in(path: &Path, name: &str) -> PathBuf {
    if path.is_dir() {
        path.join(name)
    } else {
        path.to_owned()
    }
}

fn io_error(path: &Path, source: io::Error) -> ResultError {
    ResultError::Io {
        path: path.to_owned(),
        source,
    }
}
