//! A nonblocking socket with its two buffers.
//!
//! Output grows with what the window allows and is handed to the kernel as soon as it takes it. Input grows with the
//! largest frame a conversation has not finished, up to [`INPUT_BYTES_MAX`]: a peer that announces more ends the run.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a connection may take to be made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Largest unfinished input.
const INPUT_BYTES_MAX: usize = 256 << 20;
/// Room that must be free before a read.
const READ_BYTES_MIN: usize = 2 * 1024;

/// How much a socket expects to receive.
#[derive(Clone, Copy, Debug)]
pub(super) enum Traffic {
    /// Acknowledgements.
    Answers,
    /// Messages.
    Messages,
}

/// The socket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    /// Bytes to send; those before `sent` are the kernel's already.
    pub(super) out: Vec<u8>,
    sent: usize,
    /// Bytes ever handed to the kernel.
    handed: u64,
    /// Received bytes are `input[begin..end]`; the rest is room.
    input: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Socket {
    /// Connects, and only then stops blocking.
    pub(super) fn connect(address: SocketAddr, traffic: Traffic) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let room = match traffic {
            Traffic::Answers => 4 * 1024,
            Traffic::Messages => 256 * 1024,
        };
        Ok(Self {
            stream,
            out: Vec::new(),
            sent: 0,
            handed: 0,
            input: vec![0; room],
            begin: 0,
            end: 0,
        })
    }

    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Bytes the kernel has not taken yet.
    pub(super) const fn pending(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Bytes ever handed to the kernel.
    pub(super) const fn handed(&self) -> u64 {
        self.handed
    }

    /// Bytes ever put into `out`.
    pub(super) const fn queued(&self) -> u64 {
        self.handed + self.pending() as u64
    }

    /// Hands over as much as the kernel takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.sent += count;
                    self.handed += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads once, as much as there is room for. False if there was nothing.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        self.make_room()?;
        match self.stream.read(&mut self.input[self.end..]) {
            Ok(0) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the broker closed the connection",
            )),
            Ok(count) => {
                self.end += count;
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// What was received and not used, and where answers to it go.
    pub(super) fn split(&mut self) -> (&[u8], &mut Vec<u8>) {
        (&self.input[self.begin..self.end], &mut self.out)
    }

    /// Forgets `count` bytes of the input.
    pub(super) fn used(&mut self, count: usize) {
        self.begin = (self.begin + count).min(self.end);
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        }
    }

    fn make_room(&mut self) -> io::Result<()> {
        if self.input.len() - self.end >= READ_BYTES_MIN.max(self.input.len() / 4) {
            return Ok(());
        }
        self.input.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        if self.end > self.input.len() / 2 {
            let length = self.input.len() * 2;
            if length > INPUT_BYTES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the broker sent an endless answer",
                ));
            }
            self.input.resize(length, 0);
        }
        Ok(())
    }
}
