//! Writing answers to a peer that may be slow, gone or hostile.
//!
//! **Promise.** A peer that takes next to nothing for [`WRITE_STALL_TIMEOUT`] is given up, so that it cannot hold the memory
//! of its answers; for [`PRESSED_STALL_TIMEOUT`], when others wait for that memory. Any number of chunks leave in as few vectored writes as the socket takes. One shard's thread.

use std::future::Future;
use std::io::{self, IoSlice};
use std::time::Duration;

use futures_lite::future::poll_once;
use smallvec::SmallVec;

use crate::runtime::executor;
use crate::runtime::local::Budget;
use crate::runtime::net::Stream;

/// Longest time the peer may need to take [`WRITE_STRETCH_BYTES`], or the rest if that is less.
const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The same while somebody waits for the memory that its answers hold.
const PRESSED_STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// What a peer must take in that time: about 2 KiB/s, so that it cannot hold its answers' memory by single bytes.
const WRITE_STRETCH_BYTES: usize = 64 * 1024;

/// Slices kept on the stack for a write; more are collected on the heap.
const WRITE_SLICES_INLINE: usize = 16;

/// Why the writer ended the connection.
#[derive(Debug, thiserror::Error)]
pub(in crate::protocol) enum Undelivered {
    /// A request is answered by closing.
    #[error("{0}")]
    Refused(&'static str),
    /// The peer takes nothing.
    #[error("the peer does not read its answers")]
    Stalled,
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes all of `chunks`, in order. `memory` is what they are held out of.
///
/// # Errors
/// `Stalled` or `Io`.
pub(in crate::protocol) async fn write_chunks(
    stream: &Stream,
    chunks: &[Vec<u8>],
    memory: &Budget,
) -> Result<(), Undelivered> {
    let mut slices: SmallVec<[IoSlice<'_>; WRITE_SLICES_INLINE]> =
        chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let mut passed = Duration::ZERO;
        while within(
            PRESSED_STALL_TIMEOUT,
            write_stretch(stream, &mut rest, &mut bytes),
        )
        .await
        .transpose()?
        .is_none()
        {
            passed += PRESSED_STALL_TIMEOUT;
            if passed >= WRITE_STALL_TIMEOUT || memory.is_wanted() {
                return Err(Undelivered::Stalled);
            }
        }
    }
    Ok(())
}

/// Writes all of `rest`, or enough of it to call the peer alive; `bytes` of the stretch are written before and after.
async fn write_stretch(stream: &Stream, rest: &mut &mut [IoSlice<'_>], bytes: &mut usize) -> io::Result<()> {
    while !rest.is_empty() && *bytes < WRITE_STRETCH_BYTES {
        let written = stream.write_some(rest).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(rest, written);
        *bytes += written;
    }
    Ok(())
}

/// As [`executor::timeout`], but makes no timer for what is ready at once.
pub(in crate::protocol) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    if let Some(value) = poll_once(future.as_mut()).await {
        return Some(value);
    }
    executor::timeout(limit, future).await
}
