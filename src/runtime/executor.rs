//! Pinned executors: one thread, one core, one run queue.
//!
//! A [`ShardThread`] is a glommio executor. Tasks are spawned with [`spawn`] and never leave their thread.
//! The executor's known habit of parking with runnable tasks is answered by [`Ticker`]: while anything is in
//! flight it wakes the thread every [`TICK`], and costs nothing when idle.

use super::local::Notify;
use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// How often a thread with work in flight is woken whatever the executor believes. Bounds the stall of the
/// park-while-runnable fault; 5 ms costs 1.7 % of a core while busy.
pub const TICK: Duration = Duration::from_millis(5);

/// Locked memory for glommio's own three rings. We do our disk I/O on our own ring, so the minimum that
/// registers under a small memlock limit is enough.
const EXECUTOR_IO_MEMORY_BYTES: usize = 512 * 1024;

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
pub struct ShardThread<T: Send + 'static>(glommio::ExecutorJoinHandle<T>);

impl<T: Send + 'static> ShardThread<T> {
    /// Waits for the thread's main future.
    ///
    /// # Errors
    /// When the executor could not start, or a task outside [`catch_panic`] panicked.
    pub fn join(self) -> io::Result<T> {
        self.0.join().map_err(|error| io::Error::other(error.to_string()))
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
    let mut builder = glommio::LocalExecutorBuilder::new(glommio::Placement::Fixed(options.core))
        .name(&options.name)
        .io_memory(EXECUTOR_IO_MEMORY_BYTES);
    if let PollMode::Spin(budget) = options.poll {
        builder = builder.spin_before_park(budget);
    }
    builder
        .spawn(main)
        .map(ShardThread)
        .map_err(|error| io::Error::other(error.to_string()))
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
    glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
        .io_memory(EXECUTOR_IO_MEMORY_BYTES)
        .make()
        .expect("io_uring is available; the start-up probe explains when it is not")
        .run(future)
}

/// Runs `future` as a task of this thread, detached. A panic in it stops the thread; see [`catch_panic`].
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    glommio::spawn_local(future).detach();
}

/// Sleeps without blocking the thread.
pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// Lets other tasks run if this one has used its share.
pub async fn yield_if_needed() {
    glommio::yield_if_needed().await;
}

/// Waits for `future` at most `limit`; `None` when time ran out. The future is dropped then, so it must not own
/// memory the kernel is using (our disk operations keep theirs alive themselves).
pub async fn timeout<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let deadline = super::clock::now().after(limit);
    let mut future = std::pin::pin!(future);
    let mut timer = None;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        let left = deadline.since(super::clock::now());
        if left.is_zero() {
            return Poll::Ready(None);
        }
        // glommio's timer registers anew at every poll and forgets the registration before, which then stays until it
        // expires: a body arriving in many pieces would leave one behind for each. Dropped, a timer cleans up.
        let fresh = timer.insert(glommio::timer::Timer::new(left));
        Pin::new(fresh).poll(cx).map(|_| None)
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
                Err(panic) => Poll::Ready(Err(panic)),
            }
        }
    }
    CatchPanic(std::pin::pin!(future)).await
}

/// Keeps the executor honest while work is in flight.
///
/// Hold a [`Busy`] for as long as something this thread waits for is outstanding; while any is held the thread
/// wakes every [`TICK`].
#[derive(Clone, Debug, Default)]
pub struct Ticker(Rc<TickerState>);

#[derive(Debug, Default)]
struct TickerState {
    busy: Cell<usize>,
    work: Notify,
}

impl Ticker {
    /// Starts the ticking task on this thread.
    #[must_use]
    pub fn start() -> Self {
        let ticker = Self::default();
        let state = Rc::clone(&ticker.0);
        spawn(async move {
            loop {
                if state.busy.get() == 0 {
                    state.work.notified().await;
                }
                sleep(TICK).await;
            }
        });
        ticker
    }

    /// Marks one piece of work as in flight until the guard is dropped.
    #[must_use]
    pub fn busy(&self) -> Busy {
        let count = self.0.busy.get();
        self.0.busy.set(count + 1);
        if count == 0 {
            self.0.work.notify();
        }
        Busy(Rc::clone(&self.0))
    }

    /// Pieces of work in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.busy.get()
    }
}

/// Guard of one piece of work in flight; see [`Ticker`].
#[derive(Debug)]
pub struct Busy(Rc<TickerState>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
    }
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

    #[test]
    fn ticker_counts_work_in_flight() {
        block_on(async {
            let ticker = Ticker::start();
            let first = ticker.busy();
            let second = ticker.busy();
            assert_eq!(ticker.in_flight(), 2);
            drop((first, second));
            assert_eq!(ticker.in_flight(), 0);
        });
    }
}
