//! A blocking line to a broker, for what a door does before and after a run: create, wait, remove.
//!
//! Also where everything is when the broker is one server. One request at a time, every wait bounded. Never used while anything is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

use super::{Broken, PartitionHome, TopicSpec};

/// Longest wait for a connection, or for the broker to say anything at all.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes asked of the socket at a time.
const READ_BYTES: usize = 16 * 1024;
/// An answer to an administrative request that grows beyond this is refused.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One connection and the bytes of it that nobody has used yet.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    unused: Vec<u8>,
}

impl Line {
    pub(super) fn dial(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            unused: Vec::new(),
        })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream
            .write_all(bytes)
            .context("the broker does not take the request")
    }

    /// Reads until `digest` finds what it wants. It gets the unused bytes and says how many it used, with its find.
    pub(super) fn until<T>(
        &mut self,
        mut digest: impl FnMut(&[u8]) -> Result<(usize, Option<T>), Broken>,
    ) -> anyhow::Result<T> {
        let mut chunk = vec![0; READ_BYTES];
        loop {
            let (used, found) = digest(&self.unused)?;
            self.unused.drain(..used.min(self.unused.len()));
            if let Some(found) = found {
                return Ok(found);
            }
            if used > 0 && !self.unused.is_empty() {
                continue;
            }
            let count = self
                .stream
                .read(&mut chunk)
                .context("no answer from the broker")?;
            anyhow::ensure!(count > 0, "the broker closed the connection");
            self.unused.extend_from_slice(&chunk[..count]);
            anyhow::ensure!(self.unused.len() <= ANSWER_BYTES_MAX, "an endless answer");
        }
    }
}

/// Every partition of `spec`, all served at `address`: what a broker that is one server has.
pub(super) fn homes(spec: &TopicSpec, address: SocketAddr) -> Vec<PartitionHome> {
    let of_topic = |topic: &String| {
        let topic = topic.clone();
        (0..spec.partitions).map(move |partition| PartitionHome {
            topic: topic.clone(),
            partition,
            address,
        })
    };
    spec.names.iter().flat_map(of_topic).collect()
}
