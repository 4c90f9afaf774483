//! What can go wrong in the storage room.

use crate::base::{LogId, Offset};
use rustix::io::Errno;
use std::io;
use std::path::PathBuf;

/// A failed operation on files of the data directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused or failed.
    #[error("{action} {path}: {source}", path = path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A file of ours holds something no version of this program wrote.
    #[error("{path} is not valid: {reason}", path = path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Whether an I/O error says that the file system has no room, which passes.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Whether an I/O error says that the disk or its file system failed, so that nothing more may be acknowledged: whatever the
/// kernel says that is neither [full](is_full) nor about this one call. Drivers have a dozen words for a failure (EIO, ENODATA,
/// EREMOTEIO, ETIMEDOUT, EUCLEAN, EROFS and so on), so it is told by what it is not.
#[must_use]
pub fn is_failure(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    code.is_some_and(|code| !is_full(error) && !REFUSALS.contains(&code))
}

/// What a working file system says, too: it is not there, not allowed, too much at once.
const REFUSALS: [Errno; 12] = [
    Errno::NOENT,
    Errno::NOTDIR,
    Errno::EXIST,
    Errno::NOTEMPTY,
    Errno::ACCESS,
    Errno::PERM,
    Errno::BUSY,
    Errno::MFILE,
    Errno::NFILE,
    Errno::NOMEM,
    Errno::INTR,
    Errno::AGAIN,
];

impl Error {
    /// Wraps an I/O error with what was attempted on which file.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Whether the file system had no room, which passes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }

    /// Whether the disk failed, which is final; see [`is_failure`].
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_failure(source))
    }
}

/// Whether an operation lacked something that comes back: room on the disk, or a descriptor. Nothing was written then.
#[must_use]
pub fn passes(error: &io::Error) -> bool {
    let descriptors = [Errno::MFILE, Errno::NFILE].map(|errno| errno.raw_os_error());
    is_full(error)
        || error
            .raw_os_error()
            .is_some_and(|code| descriptors.contains(&code))
}

/// Why a read gave no records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// Below the log's start or above its visible end.
    #[error("offset {offset} is outside [{start}, {end}]")]
    OutOfRange {
        /// Asked for.
        offset: Offset,
        /// The log's start.
        start: Offset,
        /// The visible end.
        end: Offset,
    },
    /// The bytes that should hold this offset do not pass their checks. They are never served.
    #[error("log {log} is damaged at offset {offset}")]
    Damaged {
        /// The log.
        log: LogId,
        /// First unreadable offset.
        offset: Offset,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_from_refusals_and_from_a_full_disk() {
        let code = |code: Errno| io::Error::from_raw_os_error(code.raw_os_error());
        for failure in [
            Errno::IO,
            Errno::ROFS,
            Errno::UCLEAN,
            Errno::TIMEDOUT,
            Errno::NXIO,
        ] {
            assert!(is_failure(&code(failure)), "{failure}");
        }
        for passes in [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::NOENT] {
            assert!(!is_failure(&code(passes)), "{passes}");
        }
        assert!(!is_failure(&io::Error::other("no word of the kernel's")));
    }
}
