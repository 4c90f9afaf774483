//! What the machine gives without a broker: a bare ring writing durably, a bare durable block, a bare echo.
//!
//! Everything here is as simple as it can be and still be durable: files filled with zeros beforehand, direct I/O,
//! `RWF_DSYNC`, one file per write in flight, no checksums, no copies.
#![expect(
    unsafe_code,
    reason = "submission entries carry raw pointers to buffers this loop keeps alive"
)]

use corelog::runtime::clock;
use io_uring::{IoUring, opcode, types};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

const BLOCK: usize = 4096;
const HUGE_PAGE: usize = 2 << 20;
/// Bytes written at once when filling.
const FILL_BYTES: usize = 1 << 20;

/// Memory direct I/O accepts, filled with a pattern; in huge pages where it is large, as the broker's is: pinning small
/// pages costs more than the write itself.
#[derive(Debug)]
pub(crate) struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(crate) fn new(len: usize, fill: u8) -> Self {
        let align = if len < HUGE_PAGE { BLOCK } else { HUGE_PAGE };
        let mut bytes: Vec<u8> = Vec::with_capacity(len + align);
        let start = bytes.as_ptr().align_offset(align);
        if align == HUGE_PAGE {
            let from = bytes.as_mut_ptr().wrapping_add(start);
            // SAFETY: the range lies in the vector's own reserve, and the advice changes no contents.
            let advised = unsafe { rustix::mm::madvise(from.cast(), len, rustix::mm::Advice::LinuxHugepage) };
            // Small pages do as well, only slower, and the broker has them too then.
            let _small_pages = advised;
        }
        bytes.resize(len + align, fill);
        Self { bytes, start, len }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

/// A file of `len` written, synced zeros, opened for direct I/O.
pub(crate) fn zero_filled(path: &Path, len: u64) -> File {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .expect("a file for the floor");
    let zeros = Aligned::new(FILL_BYTES, 0);
    let mut at = 0;
    while at < len {
        let take = usize::try_from((len - at).min(FILL_BYTES as u64)).expect("at most FILL_BYTES");
        file.write_all_at(&zeros.bytes()[..take], at)
            .expect("space for the floor's files");
        at += take as u64;
    }
    file.sync_all().expect("the floor's files are synced");
    file
}

/// Writes `total` bytes durably in pieces of `piece`, one write in flight per file, each file from its start on. Returns
/// the time it took.
pub(crate) fn durable_writes(files: &[File], piece: usize, total: u64) -> Duration {
    let memory = Aligned::new((piece * files.len()).next_multiple_of(HUGE_PAGE), 0x5a);
    let buffers: Vec<&[u8]> = memory.bytes().chunks(piece).collect();
    let mut ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(256)
        .expect("a ring");
    let length = u32::try_from(piece).expect("a small piece");
    let mut left = total / piece as u64;
    let mut positions = vec![0u64; files.len()];
    let entry = |index: usize, position: u64| {
        opcode::Write::new(
            types::Fd(files[index].as_raw_fd()),
            buffers[index].as_ptr(),
            length,
        )
        .offset(position)
        .rw_flags(libc::RWF_DSYNC)
        .build()
        .user_data(index as u64)
    };
    let begun = clock::now();
    let mut in_flight = 0usize;
    let mut ready: Vec<usize> = (0..files.len()).collect();
    while left > 0 || in_flight > 0 {
        while left > 0
            && let Some(index) = ready.pop()
        {
            let entry = entry(index, positions[index]);
            // SAFETY: the buffer and the file outlive the loop, which ends with nothing in flight.
            unsafe { ring.submission().push(&entry) }.expect("fewer writes in flight than entries");
            positions[index] += piece as u64;
            left -= 1;
            in_flight += 1;
        }
        ring.submit_and_wait(1).expect("the ring takes the writes");
        for completion in ring.completion() {
            assert_eq!(
                usize::try_from(completion.result()).ok(),
                Some(piece),
                "a durable write"
            );
            ready.push(usize::try_from(completion.user_data()).expect("an index"));
            in_flight -= 1;
        }
    }
    clock::now().since(begun)
}

/// One durable 4 KiB block at a time.
#[derive(Debug)]
pub(crate) struct Blocks {
    file: File,
    block: Aligned,
    next: u64,
    len: u64,
}

impl Blocks {
    pub(crate) fn new(path: &Path, len: u64) -> Self {
        Self {
            file: zero_filled(path, len),
            block: Aligned::new(BLOCK, 0x5a),
            next: 0,
            len,
        }
    }

    /// Writes the next block; returns microseconds.
    pub(crate) fn write(&mut self) -> f64 {
        let begun = clock::now();
        let written = rustix::io::pwritev2(
            &self.file,
            &[IoSlice::new(self.block.bytes())],
            self.next,
            rustix::io::ReadWriteFlags::DSYNC,
        );
        let took = clock::now().since(begun);
        assert_eq!(written, Ok(BLOCK), "a durable block");
        self.next = (self.next + BLOCK as u64) % self.len;
        took.as_secs_f64() * 1e6
    }
}

/// A server that answers every `ask` bytes with `answer` bytes, on a thread pinned to `core`. It ends with its client.
pub(crate) fn echo_server(core: usize, ask: usize, answer: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    corelog::runtime::executor::spawn_thread("echo", move || {
        pin_to(core);
        // The client is gone when this fails; so is the need to serve it.
        let _ended = serve_echo(&listener, ask, answer);
    })
    .expect("a thread");
    address
}

fn serve_echo(listener: &TcpListener, ask: usize, answer: usize) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let (mut request, response) = (vec![0; ask], vec![0; answer]);
    loop {
        stream.read_exact(&mut request)?;
        stream.write_all(&response)?;
    }
}

/// The client's side of [`echo_server`].
#[derive(Debug)]
pub(crate) struct Echo {
    stream: TcpStream,
    request: Vec<u8>,
    response: Vec<u8>,
}

impl Echo {
    pub(crate) fn connect(address: SocketAddr, ask: usize, answer: usize) -> Self {
        let stream = TcpStream::connect(address).expect("the echo server");
        stream.set_nodelay(true).expect("a TCP socket");
        Self {
            stream,
            request: vec![0; ask],
            response: vec![0; answer],
        }
    }

    /// One round trip; returns microseconds.
    pub(crate) fn round_trip(&mut self) -> f64 {
        let begun = clock::now();
        self.stream
            .write_all(&self.request)
            .expect("the echo server reads");
        self.stream
            .read_exact(&mut self.response)
            .expect("the echo server answers");
        clock::now().since(begun).as_secs_f64() * 1e6
    }
}

/// Pins the calling thread, if the machine has that core.
pub(crate) fn pin_to(core: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
}
