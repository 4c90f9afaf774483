//! One message in flight: the request goes, the other side makes a block durable, the answer comes.
//!
//! Turns of bare round trips, bare writes and the whole alternate, so that all three see the same machine. A turn is a
//! stretch of one kind: a thread that runs once in a while meets cold caches and an idle device, which a broker under load
//! does not, and a floor must not be higher than what stands on it.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::{ANSWER_BYTES, Cores, ONE_REQUEST_BYTES, OneInFlight, Scratch, direct, on_thread, record};
use crate::bench::result::{Distribution, new_histogram};
use crate::runtime::buffer::{AlignedBuffer, BLOCK_BYTES};
use crate::runtime::clock;

pub(super) fn measure(scratch: &Scratch, cores: Cores, duration: Duration) -> anyhow::Result<OneInFlight> {
    let path = scratch.file(0);
    let file_bytes = scratch.file_bytes;
    let bare = serve(cores.far, ONE_REQUEST_BYTES, || Ok(()))?;
    let mut blocks = Blocks::open(&path, file_bytes)?;
    let durable = serve(cores.far, ONE_REQUEST_BYTES, move || blocks.write())?;
    let mine = Blocks::open(&path, file_bytes)?;
    // Where the scheduler likes, as a client of the broker is: beside the other side when that is cheaper than waking a core.
    on_thread("floor-client", None, move || turns(bare, durable, mine, duration))?
        .recv()
        .context("the measuring thread ended early")?
}

fn turns(
    bare: SocketAddr,
    durable: SocketAddr,
    mut mine: Blocks,
    duration: Duration,
) -> anyhow::Result<OneInFlight> {
    let mut bare = Client::connect(bare, ONE_REQUEST_BYTES)?;
    let mut durable = Client::connect(durable, ONE_REQUEST_BYTES)?;
    let mut histograms = [(); 4].map(|()| new_histogram());
    for _ in 0..WARM_UP_TURNS {
        bare.round_trip()?;
        mine.write()?;
        durable.round_trip()?;
    }
    let begun = clock::now();
    loop {
        let trips = stretch(|| bare.round_trip())?;
        let writes = stretch(|| mine.write())?;
        let wholes = stretch(|| durable.round_trip())?;
        for ((trip, write), whole) in trips.into_iter().zip(writes).zip(wholes) {
            for (histogram, took) in histograms.iter_mut().zip([trip, write, trip + write, whole]) {
                record(histogram, took);
            }
        }
        if clock::now().since(begun) >= duration {
            break;
        }
    }
    let [round_trip, write, sum, whole] = histograms.map(|histogram| Distribution::of(&histogram));
    Ok(OneInFlight {
        request_bytes: ONE_REQUEST_BYTES,
        write_bytes: BLOCK_BYTES,
        round_trip,
        write,
        sum,
        whole,
    })
}

/// First operations pay for page faults and cold paths.
const WARM_UP_TURNS: usize = 20;

/// Operations of one kind in a row.
const STRETCH: usize = 50;

/// Times [`STRETCH`] operations, each.
fn stretch(mut work: impl FnMut() -> io::Result<()>) -> io::Result<[Duration; STRETCH]> {
    let mut took = [Duration::ZERO; STRETCH];
    // The first is cold, for the thread that asks and for the one that is asked.
    work()?;
    for took in &mut took {
        *took = timed(&mut work)?;
    }
    Ok(took)
}

pub(super) fn timed(work: impl FnOnce() -> io::Result<()>) -> io::Result<Duration> {
    let begun = clock::now();
    work()?;
    Ok(clock::now().since(begun))
}

/// One durable block at a time, round and round a file.
struct Blocks {
    file: File,
    block: AlignedBuffer,
    next: u64,
    file_bytes: u64,
}

impl Blocks {
    fn open(path: &Path, file_bytes: u64) -> anyhow::Result<Self> {
        let mut block = AlignedBuffer::zeroed(BLOCK_BYTES);
        block.fill(PATTERN);
        Ok(Self {
            file: direct(path, false).with_context(|| format!("cannot open {}", path.display()))?,
            block,
            next: 0,
            file_bytes,
        })
    }

    fn write(&mut self) -> io::Result<()> {
        write_durably(&self.file, &self.block, self.next)?;
        self.next = (self.next + BLOCK_BYTES as u64) % self.file_bytes;
        Ok(())
    }
}

/// What is written: not zeros, which devices may treat specially.
pub(super) const PATTERN: u8 = 0x5a;

/// One direct write with `RWF_DSYNC`; a short one is an error.
pub(super) fn write_durably(file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
    let flags = rustix::io::ReadWriteFlags::DSYNC;
    let written = rustix::io::pwritev2(file, &[IoSlice::new(bytes)], position, flags)?;
    if written == bytes.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// Answers requests of `request_bytes` on a thread at `core` after `work` each, until its one client goes.
pub(super) fn serve(
    core: usize,
    request_bytes: usize,
    mut work: impl FnMut() -> io::Result<()> + Send + 'static,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("a port on loopback")?;
    let address = listener.local_addr()?;
    on_thread("floor-server", Some(core), move || -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let (mut request, answer) = (vec![0; request_bytes], [0; ANSWER_BYTES]);
        loop {
            // Ends with the client; the client's own error says what went wrong.
            stream.read_exact(&mut request)?;
            work()?;
            stream.write_all(&answer)?;
        }
    })?;
    Ok(address)
}

/// The near side of [`serve`].
pub(super) struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    answer: [u8; ANSWER_BYTES],
}

impl Client {
    pub(super) fn connect(address: SocketAddr, request_bytes: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            request: vec![PATTERN; request_bytes],
            answer: [0; ANSWER_BYTES],
        })
    }

    pub(super) fn round_trip(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.request)?;
        self.stream.read_exact(&mut self.answer)
    }
}
