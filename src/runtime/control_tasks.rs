//! Tasks of the control thread: a few words over tokio, which runs that thread, and over the world in its place where there
//! is one (`runtime::sim`, unit tests only).
//!
//! Only for what a simulated broker runs; servers of ordinary protocols on that thread use tokio as it is.

use std::future::Future;
use std::time::Duration;

/// Runs `future` as a task of the control thread, detached.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    #[cfg(test)]
    if let Some(world) = super::sim::here() {
        return world.spawn_here(future);
    }
    tokio::task::spawn_local(future);
}

/// Waits without blocking the thread.
pub async fn sleep(time: Duration) {
    #[cfg(test)]
    if super::sim::here().is_some() {
        return super::executor::sleep(time).await;
    }
    tokio::time::sleep(time).await;
}

/// Runs `future` for at most `limit`; `None` when time ran out.
pub async fn timeout<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    #[cfg(test)]
    if super::sim::here().is_some() {
        return super::executor::timeout(limit, future).await;
    }
    tokio::time::timeout(limit, future).await.ok()
}

/// Runs `work`, which blocks, on a thread where it disturbs nobody; `None` if it panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    #[cfg(test)]
    if super::sim::here().is_some() {
        return Some(work());
    }
    tokio::task::spawn_blocking(work).await.ok()
}
