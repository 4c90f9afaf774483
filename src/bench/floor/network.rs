//! Bare TCP over loopback: round trips, and what one core can take in.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

use super::one_in_flight::{Client, PATTERN, serve, timed};
use super::{Cores, FloorOptions, Receive, RoundTrip, on_thread, per_second, record};
use crate::base::checksum::crc32c;
use crate::bench::result::{Distribution, new_histogram};
use crate::runtime::clock;

pub(super) fn round_trips(options: &FloorOptions, cores: Cores) -> anyhow::Result<Vec<RoundTrip>> {
    let one = |&request_bytes: &usize| {
        let address = serve(cores.far, request_bytes, || Ok(()))?;
        let duration = options.duration;
        let latency = on_thread("floor-client", Some(cores.near), move || -> io::Result<_> {
            let mut client = Client::connect(address, request_bytes)?;
            let mut histogram = new_histogram();
            client.round_trip()?;
            let begun = clock::now();
            loop {
                record(&mut histogram, timed(|| client.round_trip())?);
                if clock::now().since(begun) >= duration {
                    return Ok(Distribution::of(&histogram));
                }
            }
        })?
        .recv()
        .context("the measuring thread ended early")??;
        Ok(RoundTrip {
            request_bytes,
            latency,
        })
    };
    options.requests.iter().map(one).collect()
}

/// What the receiver does with what it reads.
#[derive(Clone, Copy)]
enum Handling {
    Drop,
    SumAndCopy,
}

pub(super) fn receive(duration: Duration, cores: Cores) -> anyhow::Result<Vec<Receive>> {
    let cases = [
        ("receive", Handling::Drop),
        ("receive+crc32c+copy", Handling::SumAndCopy),
    ];
    let one = |(what, handling): (&str, Handling)| {
        let listener = TcpListener::bind("127.0.0.1:0").context("a port on loopback")?;
        let address = listener.local_addr()?;
        let taken = on_thread("floor-receiver", Some(cores.near), move || {
            take(&listener, handling, duration)
        })?;
        let sending = on_thread("floor-sender", Some(cores.far), move || -> io::Result<()> {
            let mut stream = TcpStream::connect(address)?;
            let piece = vec![PATTERN; SEND_BYTES];
            loop {
                // Ends when the receiver has seen enough and hangs up.
                stream.write_all(&piece)?;
            }
        })?;
        let taken = taken.recv().context("the receiving thread ended early")?;
        let _hung_up = sending.recv();
        let (bytes, wall, cpu) = taken.context("receiving over loopback")?;
        Ok(Receive {
            what: what.to_owned(),
            bytes_per_second: per_second(bytes, wall),
            bytes_per_cpu_second: per_second(bytes, cpu),
        })
    };
    cases.into_iter().map(one).collect()
}

/// Bytes of one write to the socket.
const SEND_BYTES: usize = 64 << 10;
/// Room for one read; large, so that few system calls are counted.
const RECEIVE_BYTES: usize = 256 << 10;

/// Takes in bytes for `duration`; returns how many, and the time on the wall and on the processor.
fn take(
    listener: &TcpListener,
    handling: Handling,
    duration: Duration,
) -> io::Result<(u64, Duration, Duration)> {
    let (mut stream, _) = listener.accept()?;
    let mut buffer = vec![0; RECEIVE_BYTES];
    let mut kept = vec![0; RECEIVE_BYTES];
    stream.read_exact(&mut buffer)?;
    let (begun, cpu_begun) = (clock::now(), thread_time());
    let mut bytes = 0;
    loop {
        let count = stream.read(&mut buffer)?;
        if let Handling::SumAndCopy = handling {
            std::hint::black_box(crc32c(&buffer[..count]));
            kept[..count].copy_from_slice(&buffer[..count]);
            std::hint::black_box(&mut kept);
        }
        bytes += u64::try_from(count).unwrap_or(0);
        let wall = clock::now().since(begun);
        if count == 0 || wall >= duration {
            return Ok((bytes, wall, thread_time().saturating_sub(cpu_begun)));
        }
    }
}

/// Processor time of the calling thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
