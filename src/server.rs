//! The server: the one room that knows every other, and starts and stops them.
//!
//! [`config`] says what was asked for, [`checks`] whether this machine can do it, [`bootstrap`] brings the broker up and
//! down, [`control`] runs its control thread over the [`catalog`] of topics, [`admin`], [`metrics`] and `stages` and `lag` show it, [`banner`]
//! says what came of it. Nothing here is on the path of a record.

pub mod admin;
pub mod banner;
pub mod bootstrap;
pub mod catalog;
pub mod checks;
pub mod config;
pub mod control;
mod kafka_names;
mod lag;
pub mod lock;
pub mod metrics;
mod stages;

pub use bootstrap::serve;
pub use config::Config;

use std::net::SocketAddr;

/// Why the server did not start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The machine cannot run it; each with cause and fix.
    #[error("{}", joined(.0))]
    Checks(Vec<checks::Explained>),
    /// The values do not fit this machine.
    #[error("{}", joined(.0))]
    Config(Vec<config::Problem>),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}. Is another broker or program using the port?")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The kernel's reason.
        error: std::io::Error,
    },
    /// The data directory.
    #[error(transparent)]
    Storage(#[from] crate::storage::Error),
    /// The metadata.
    #[error("the metadata cannot be opened: {0}")]
    Catalog(#[from] catalog::CatalogError),
    /// A shard could not start.
    #[error("a shard cannot start: {0}")]
    Shard(String),
    /// A shard could not open its files.
    #[error("a shard cannot start: {0}")]
    ShardStorage(crate::storage::Error),
    /// A thread or the control runtime.
    #[error("cannot start the control thread: {0}")]
    Runtime(std::io::Error),
}

impl ServeError {
    /// Whether it was the disk that failed; then the exit status is [`EXIT_DISK_FAILED`](bootstrap::EXIT_DISK_FAILED).
    #[must_use]
    pub fn is_disk_failure(&self) -> bool {
        match self {
            Self::Checks(explained) => explained.iter().any(|one| one.blame == checks::Blame::Disk),
            Self::Storage(error) | Self::ShardStorage(error) => error.is_failure(),
            Self::Catalog(error) => error.is_failure(),
            Self::Config(_) | Self::Listen { .. } | Self::Shard(_) | Self::Runtime(_) => false,
        }
    }
}

fn joined<T: std::fmt::Display>(list: &[T]) -> String {
    list.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
