//! Pinned executors: one thread, one core, one run queue, one ring.
//!
//! A [`ShardThread`] runs a glommio executor for its tasks, spawned with [`spawn`], which never leave their thread. All
//! waiting is on our own ring (`runtime::reactor`): the reactor's idler is always runnable, so glommio never sleeps, polls
//! no ring of its own, and cannot fall for its fault of sleeping with runnable tasks. Its timer that would interrupt the run
//! queue is set to never; [`yield_now`] is how a long task makes room.
//!
//! **Wakers of tasks are good on their thread only.** Who is woken by another thread asks for a waker that reaches it
//! ([`from_afar`]); the mesh does so itself.
#![expect(unsafe_code, reason = "a pinned field is reached through its pinned struct")]

use super::clock;
use super::reactor::{Idler, Reactor, Sleep, count_poll, waker_from_afar};
use std::any::Any;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

/// Locked memory for glommio's own three rings, which see no I/O: the minimum that registers under a small memlock limit.
const EXECUTOR_IO_MEMORY_BYTES: usize = 512 * 1024;

/// When glommio would interrupt the run queue to look at its own rings, which have nothing to say: never.
const PREEMPT_NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How a thread behaves when its run queue is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PollMode {
    /// Sleep in the kernel at once.
    Sleep,
    /// Poll for the given time, then sleep.
    Spin(Duration),
}

/// Where and how a shard thread runs.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// Thread name; at most 15 bytes show in the kernel's tools.
    pub name: String,
    /// The core to pin to.
    pub core: usize,
    /// Behaviour when idle.
    pub poll: PollMode,
}

/// A running shard thread.
#[derive(Debug)]
pub struct ShardThread<T: Send + 'static>(glommio::ExecutorJoinHandle<io::Result<T>>);

impl<T: Send + 'static> ShardThread<T> {
    /// Waits for the thread's main future.
    ///
    /// # Errors
    /// When the executor could not start, or a task outside [`catch_panic`] panicked.
    pub fn join(self) -> io::Result<T> {
        self.0
            .join()
            .map_err(|error| io::Error::other(error.to_string()))?
    }
}

/// Starts a pinned thread that runs the future `main` makes. Start-up problems on the thread itself (a refused
/// ring) surface at [`ShardThread::join`]; whoever needs to know earlier has `main` report its readiness.
///
/// # Errors
/// When the thread cannot be made.
pub fn spawn_shard<G, F, T>(options: &ShardOptions, main: G) -> io::Result<ShardThread<T>>
where
    G: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let poll = options.poll;
    builder(glommio::Placement::Fixed(options.core))
        .name(&options.name)
        .spawn(move || attended(poll, main))
        .map(ShardThread)
        .map_err(|error| io::Error::other(error.to_string()))
}

fn builder(placement: glommio::Placement) -> glommio::LocalExecutorBuilder {
    glommio::LocalExecutorBuilder::new(placement)
        .io_memory(EXECUTOR_IO_MEMORY_BYTES)
        .preempt_timer(PREEMPT_NEVER)
}

/// Makes the thread's ring, and runs what `main` makes with an idler beside it.
async fn attended<F: Future>(poll: PollMode, main: impl FnOnce() -> F) -> io::Result<F::Output> {
    let reactor = Reactor::start()?;
    // Not counted itself: it asks whether any other task ran.
    glommio::spawn_local(Idler::new(&reactor, poll)).detach();
    let value = Counted(main()).await;
    reactor.end();
    Ok(value)
}

/// A future whose polls count as work.
struct Counted<F>(F);

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        count_poll();
        // SAFETY: the field is pinned with the struct: it is never moved out, and `Counted` has no `Drop` of its own.
        unsafe { self.map_unchecked_mut(|counted| &mut counted.0) }.poll(cx)
    }
}

/// Starts an ordinary, named thread for something that blocks.
///
/// # Errors
/// When the kernel has no thread to give.
pub fn spawn_thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
}

/// Runs `future` to completion on an executor on the calling thread. For tests, tools and benchmarks.
///
/// # Panics
/// When the kernel refuses io_uring.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let executor = builder(glommio::Placement::Unbound)
        .make()
        .expect("io_uring is available; the start-up probe explains when it is not");
    let value = executor.run(attended(PollMode::Sleep, || future));
    // Tasks first: the ring waits for what they left in the kernel.
    drop(executor);
    Reactor::leave();
    value.expect("a second ring is available where the first was")
}

/// Runs `future` as a task of this thread, detached. A panic in it stops the thread; see [`catch_panic`].
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    #[cfg(test)]
    if let Some(world) = super::sim::here() {
        return world.spawn_here(future);
    }
    glommio::spawn_local(Counted(future)).detach();
}

/// Sleeps without blocking the thread.
pub async fn sleep(duration: Duration) {
    #[cfg(test)]
    if let Some(world) = super::sim::here() {
        return super::sim::Sleep::until(world, clock::now().after(duration)).await;
    }
    Sleep::until(clock::now().after(duration)).await;
}

/// Lets all other runnable tasks run once.
pub async fn yield_now() {
    futures_lite::future::yield_now().await;
}

/// Waits for something that another thread completes with a waker, such as a channel's message.
pub async fn from_afar<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let waker = waker_from_afar(cx.waker());
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}

/// Waits for `future` at most `limit`; `None` when time ran out. The future is dropped then, so it must not own
/// memory the kernel is using (our own operations keep theirs alive themselves).
pub async fn timeout<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut timer = pin!(sleep(limit));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Runs `future` and returns its panic as a value, so that one connection's bug ends one connection.
pub async fn catch_panic<T>(future: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    struct CatchPanic<F>(F);
    impl<F: Future + Unpin> Future for CatchPanic<F> {
        type Output = Result<F::Output, Box<dyn Any + Send>>;
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            let inner = Pin::new(&mut self.0);
            match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
                Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
                Ok(Poll::Pending) => Poll::Pending,
                Err(panic) => {
                    #[cfg(test)]
                    if let Some(world) = super::sim::here() {
                        world.caught_panic();
                    }
                    Poll::Ready(Err(panic))
                }
            }
        }
    }
    CatchPanic(std::pin::pin!(future)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_guarded_task_is_a_value() {
        let outcome = block_on(async {
            catch_panic(async {
                assert!(std::hint::black_box(false), "on purpose");
            })
            .await
        });
        assert!(outcome.is_err());
    }

    #[test]
    fn timeout_ends_a_future_that_never_does() {
        let outcome = block_on(timeout(Duration::from_millis(5), std::future::pending::<()>()));
        assert!(outcome.is_none());
        assert_eq!(block_on(timeout(Duration::from_secs(60), async { 7 })), Some(7));
    }
}
