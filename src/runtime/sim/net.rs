//! A network in memory: bytes arrive in order after a delay, in pieces of any size, until a connection breaks.
//!
//! Each direction of a connection is a pipe of bounded size: who writes into a full one waits, as with a socket whose peer
//! does not read. A connection ends in one of two ways: shut down, when what was sent still arrives, or reset, when
//! nothing more does. Several listeners may have one address; a connection goes to any of them.

use super::{Random, World, here};
use crate::runtime::net::Want;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// What a pipe holds, sent and not read.
const PIPE_BYTES: usize = 64 * 1024;
/// How long bytes travel on a healthy network.
const USUAL_DELAY: Range<Duration> = Duration::from_micros(10)..Duration::from_micros(100);

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) struct NetFaults {
    /// How long bytes travel.
    pub(crate) delay: Range<Duration>,
    /// A write breaks the connection, once in so many; zero for never.
    pub(crate) reset: u64,
    /// A write takes only some of its bytes, once in so many.
    pub(crate) short: u64,
}

impl Default for NetFaults {
    fn default() -> Self {
        Self {
            delay: USUAL_DELAY,
            reset: 0,
            short: 4,
        }
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Net(Rc<Inner>);

struct Inner {
    listeners: RefCell<BTreeMap<SocketAddr, Vec<Weak<Queue>>>>,
    faults: RefCell<NetFaults>,
    random: RefCell<Random>,
    next_port: Cell<u16>,
    resets: Cell<u64>,
}

/// Connections nobody has accepted yet.
#[derive(Default)]
struct Queue {
    waiting: RefCell<VecDeque<(SimSocket, SocketAddr)>>,
    waker: RefCell<Option<Waker>>,
}

/// A listening socket.
pub(crate) struct SimListener(Rc<Queue>);

impl std::fmt::Debug for SimListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimListener")
    }
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    arrived: VecDeque<u8>,
    travelling: usize,
    /// No byte arrives before this instant: they keep their order.
    last_arrival: u64,
    /// The writer has ended its side, and all it sent has arrived.
    ended: bool,
    /// The writer may write no more.
    shut: bool,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    fn reset(&mut self) {
        self.reset = true;
        self.shut = true;
        self.arrived.clear();
        self.wake();
    }
}

type SharedPipe = Rc<RefCell<Pipe>>;

/// One end of a connection; it closes when its last owner is gone.
#[derive(Clone)]
pub(crate) struct SimSocket(Rc<End>);

impl std::fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimSocket")
    }
}

struct End {
    net: Net,
    incoming: SharedPipe,
    outgoing: SharedPipe,
}

impl Net {
    pub(super) fn new(random: Random) -> Self {
        Self(Rc::new(Inner {
            listeners: RefCell::default(),
            faults: RefCell::default(),
            random: RefCell::new(random),
            next_port: Cell::new(40_000),
            resets: Cell::new(0),
        }))
    }

    /// What goes wrong from now on.
    pub(crate) fn set_faults(&self, faults: NetFaults) {
        *self.0.faults.borrow_mut() = faults;
    }

    /// Connections that broke.
    pub(crate) fn resets(&self) -> u64 {
        self.0.resets.get()
    }

    /// Listens on `address`, beside whoever does already.
    pub(crate) fn listen(&self, address: SocketAddr) -> SimListener {
        let queue = Rc::new(Queue::default());
        let mut listeners = self.0.listeners.borrow_mut();
        let there = listeners.entry(address).or_default();
        there.retain(|queue| queue.strong_count() > 0);
        there.push(Rc::downgrade(&queue));
        SimListener(queue)
    }

    /// Connects to `address`.
    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<(SimSocket, SocketAddr)> {
        let there: Vec<Rc<Queue>> = {
            let listeners = self.0.listeners.borrow();
            let queues = listeners.get(&address).into_iter().flatten();
            queues.filter_map(Weak::upgrade).collect()
        };
        if there.is_empty() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let queue = &there[self.0.random.borrow_mut().index(there.len())];
        let (one, other) = (SharedPipe::default(), SharedPipe::default());
        let end = |incoming: &SharedPipe, outgoing: &SharedPipe| {
            SimSocket(Rc::new(End {
                net: self.clone(),
                incoming: Rc::clone(incoming),
                outgoing: Rc::clone(outgoing),
            }))
        };
        let port = self.0.next_port.get();
        self.0.next_port.set(port.checked_add(1).unwrap_or(40_000));
        let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), port);
        queue.waiting.borrow_mut().push_back((end(&other, &one), peer));
        if let Some(waker) = queue.waker.borrow_mut().take() {
            waker.wake();
        }
        Ok((end(&one, &other), address))
    }

    fn draw_delay(&self) -> Duration {
        let range = self.0.faults.borrow().delay.clone();
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bounds = ns(range.start)..ns(range.end).max(ns(range.start) + 1);
        Duration::from_nanos(self.0.random.borrow_mut().within(bounds))
    }

    fn happens(&self, one_in: impl FnOnce(&NetFaults) -> u64) -> bool {
        let one_in = one_in(&self.0.faults.borrow());
        self.0.random.borrow_mut().one_in(one_in)
    }
}

impl SimListener {
    /// Waits for a connection; also who is at its other end.
    pub(crate) async fn accept(&self) -> (SimSocket, SocketAddr) {
        poll_fn(|cx| match self.0.waiting.borrow_mut().pop_front() {
            Some(accepted) => Poll::Ready(accepted),
            None => {
                *self.0.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

impl SimSocket {
    /// As `runtime::net::Stream::read`.
    pub(crate) async fn read(
        &self,
        mut bytes: Vec<u8>,
        most: usize,
        want: Want,
    ) -> (io::Result<usize>, Vec<u8>) {
        let len = (bytes.capacity() - bytes.len()).min(most);
        let mut done = 0;
        let outcome = poll_fn(|cx| {
            let mut pipe = self.0.incoming.borrow_mut();
            if pipe.reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let count = pipe.arrived.len().min(len - done);
            bytes.extend(pipe.arrived.drain(..count));
            done += count;
            if count > 0
                && let Some(writer) = pipe.writer.take()
            {
                writer.wake();
            }
            let enough = match want {
                Want::Some => done > 0,
                Want::All => done == len,
            };
            if enough || pipe.ended || len == 0 {
                return Poll::Ready(Ok(done));
            }
            pipe.reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        (outcome, bytes)
    }

    /// As `runtime::net::Stream::write_some`.
    pub(crate) async fn write_some(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let world = here().expect("a simulated socket is used inside its world");
        if self.0.net.happens(|faults| faults.reset) {
            self.reset();
        }
        let mut taken = poll_fn(|cx| {
            let mut pipe = self.0.outgoing.borrow_mut();
            if pipe.reset {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
            }
            if pipe.shut {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let room = PIPE_BYTES - pipe.arrived.len() - pipe.travelling;
            if room == 0 {
                pipe.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let all = slices.iter().flat_map(|slice| slice.iter().copied());
            Poll::Ready(Ok(all.take(room).collect::<Vec<u8>>()))
        })
        .await?;
        if taken.len() > 1 && self.0.net.happens(|faults| faults.short) {
            let count = 1 + self.0.net.0.random.borrow_mut().index(taken.len() - 1);
            taken.truncate(count);
        }
        let count = taken.len();
        self.send(&world, taken);
        Ok(count)
    }

    /// As `runtime::net::Stream::wait_for_bytes`.
    pub(crate) async fn wait_for_bytes(&self, bytes: usize) -> io::Result<()> {
        poll_fn(|cx| {
            let mut pipe = self.0.incoming.borrow_mut();
            if pipe.reset || pipe.ended || pipe.arrived.len() >= bytes.min(PIPE_BYTES) {
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// As `runtime::net::Stream::bytes_under_way`.
    pub(crate) fn bytes_under_way(&self) -> usize {
        self.0.outgoing.borrow().travelling
    }

    /// Sends bytes on their way.
    fn send(&self, world: &World, bytes: Vec<u8>) {
        let mut pipe = self.0.outgoing.borrow_mut();
        pipe.travelling += bytes.len();
        let arrival = world.after(self.0.net.draw_delay()).max(pipe.last_arrival);
        pipe.last_arrival = arrival;
        let target = Rc::clone(&self.0.outgoing);
        world.call_at(arrival, move |world| {
            let mut pipe = target.borrow_mut();
            pipe.travelling -= bytes.len();
            if pipe.reset {
                return;
            }
            world.note(&[30, u64::from(crate::base::checksum::crc32c(&bytes))]);
            pipe.arrived.extend(bytes);
            if let Some(reader) = pipe.reader.take() {
                reader.wake();
            }
        });
    }

    /// Ends both directions.
    pub(crate) fn shut_down(&self) {
        self.0.end();
        let mut incoming = self.0.incoming.borrow_mut();
        incoming.ended = true;
        incoming.shut = true;
        incoming.wake();
    }

    /// Breaks the connection: nothing more arrives on either side.
    pub(crate) fn reset(&self) {
        let net = &self.0.net.0;
        net.resets.set(net.resets.get() + 1);
        self.0.incoming.borrow_mut().reset();
        self.0.outgoing.borrow_mut().reset();
    }
}

impl End {
    /// Lets the peer read the end of the stream behind what was sent.
    fn end(&self) {
        let mut pipe = self.outgoing.borrow_mut();
        if pipe.shut {
            return;
        }
        pipe.shut = true;
        pipe.wake();
        let Some(world) = here() else { return };
        let target = Rc::clone(&self.outgoing);
        let arrival = world.after(Duration::ZERO).max(pipe.last_arrival);
        world.call_at(arrival, move |_| {
            let mut pipe = target.borrow_mut();
            pipe.ended = true;
            pipe.wake();
        });
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.end();
        // Who writes to a socket that is closed is told so.
        let mut incoming = self.incoming.borrow_mut();
        incoming.shut = true;
        incoming.reset = true;
        incoming.wake();
    }
}
