//! The server: the one room that knows every other, and starts and stops them.
//!
//! [`config`] says what was asked for, [`checks`] whether this machine can do it, [`banner`] what came of it.
//! Nothing here is on the path of a record.

pub mod banner;
pub mod checks;
pub mod config;

pub use config::Config;

/// Why the server stopped, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The machine cannot run it; each with cause and fix.
    #[error("{}", joined(.0))]
    Checks(Vec<checks::Explained>),
    /// The values do not fit this machine.
    #[error("{}", joined(.0))]
    Config(Vec<config::Problem>),
    /// The server is not part of this build.
    #[error("this build has no server yet")]
    Unavailable,
}

/// Runs the server until it is told to stop. Blocks the calling thread.
pub fn serve(config: Config) -> Result<(), ServeError> {
    drop(config);
    Err(ServeError::Unavailable)
}

fn joined<T: std::fmt::Display>(list: &[T]) -> String {
    list.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
