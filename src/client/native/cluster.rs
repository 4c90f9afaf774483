//! What a client knows of its cluster: the connections, the topics it uses and who leads their partitions.
//!
//! Every machine (producer, consumer, single calls) stands on one of these. [`Cluster::advance`] reads what the
//! connections received: welcomes and metadata it keeps, the rest goes to the machine ([`Handler`]). Metadata is asked for
//! when somebody [uses](Cluster::topic) a topic that is not known, and again when somebody says that it is
//! [stale](Cluster::refresh); never on a timer. Pure: no I/O, `now` is an argument.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::config::{ClientConfig, PAUSE_MIN, READ_BYTES};
use super::error::Error;
use super::link::{Link, said};
use crate::base::TopicId;
use crate::protocol::native::errors::ErrorCode;
use crate::protocol::native::frame::{Frame, Inbox, Kind};
use crate::protocol::native::messages::{ErrorFrame, Metadata, MetadataAnswer};

/// Which connection, by its place in the cluster's list. Connections are never removed.
pub(super) type LinkId = usize;

/// See the module.
#[derive(Debug)]
pub(super) struct Cluster {
    config: Arc<ClientConfig>,
    links: Vec<Link>,
    bootstrap: usize,
    nodes: BTreeMap<u32, LinkId>,
    topics: BTreeMap<Arc<str>, Option<Topic>>,
    metadata: Asking,
    correlation: u64,
    /// There is a new question to ask; nobody may go to sleep over it.
    eager: bool,
}

#[derive(Clone, Copy, Debug)]
enum Asking {
    Content,
    Stale { after: Option<Instant> },
    Asked { link: LinkId, correlation: u64 },
}

/// One topic as the metadata has it.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) id: TopicId,
    pub(super) error: Option<ErrorCode>,
    pub(super) max_batch_bytes: usize,
    /// Node of each partition.
    pub(super) leaders: Vec<u32>,
}

/// The machine on top.
pub(super) trait Handler {
    /// A frame came that is not the cluster's own.
    ///
    /// # Errors
    /// Why the peer cannot be trusted any more; the connection is then given up.
    fn frame(&mut self, from: From<'_>, frame: &Frame<'_>) -> Result<Flow, Error>;

    /// A connection went down: nothing it was asked will be answered.
    fn lost(&mut self, cluster: &mut Cluster, link: LinkId, error: &Error);
}

/// Where a frame came from.
#[derive(Debug)]
pub(super) struct From<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) link: LinkId,
    pub(super) now: Instant,
}

/// Whether to go on reading a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// With the next frame.
    Next,
    /// Not now: the frame stays where it is ([`Cluster::held`]) until the machine lets the front read on.
    Hold,
}

impl Cluster {
    pub(super) fn new(addresses: &str, config: ClientConfig) -> Result<Self, Error> {
        let mut cluster = Self {
            config: Arc::new(config),
            links: Vec::new(),
            bootstrap: 0,
            nodes: BTreeMap::new(),
            topics: BTreeMap::new(),
            metadata: Asking::Content,
            correlation: 0,
            eager: false,
        };
        for address in addresses.split(',').map(str::trim) {
            cluster.link_to(checked(address)?);
        }
        cluster.bootstrap = cluster.links.len();
        Ok(cluster)
    }

    /// Another one with the same first addresses and settings, that knows nothing yet.
    pub(super) fn beside(&self) -> Result<Self, Error> {
        let addresses: Vec<&str> = self.links[..self.bootstrap]
            .iter()
            .map(|link| &**link.address())
            .collect();
        Self::new(&addresses.join(","), ClientConfig::clone(&self.config))
    }

    pub(super) const fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    pub(super) fn links(&mut self) -> &mut [Link] {
        &mut self.links
    }

    pub(super) fn link(&mut self, id: LinkId) -> &mut Link {
        &mut self.links[id]
    }

    /// A number no request of this client had before.
    pub(super) const fn correlate(&mut self) -> u64 {
        self.correlation += 1;
        self.correlation
    }

    /// Any connection that is up. If none is, those of the first addresses are asked for.
    pub(super) fn anyone(&mut self) -> Option<LinkId> {
        let up = self.links.iter().position(Link::is_up);
        if up.is_none() {
            self.links[..self.bootstrap].iter_mut().for_each(Link::want);
        }
        up
    }

    /// The connection to `node`, if it is up; else it is asked for.
    pub(super) fn node(&mut self, node: u32) -> Option<LinkId> {
        let id = *self.nodes.get(&node)?;
        let link = &mut self.links[id];
        link.want();
        link.is_up().then_some(id)
    }

    /// Why no connection stands, for whoever gives up waiting for one.
    pub(super) fn why_down(&self) -> Option<Error> {
        if self.links.iter().any(Link::is_up) {
            return None;
        }
        self.links.iter().rev().find_map(Link::last_failure).cloned()
    }

    /// What is known of a topic; asks for it if nothing is.
    pub(super) fn topic(&mut self, name: &str) -> Option<&Topic> {
        if !self.topics.contains_key(name) {
            self.topics.insert(name.into(), None);
            self.metadata = Asking::Stale { after: None };
            self.eager = true;
        }
        self.topics.get(name)?.as_ref()
    }

    /// Whether the machine must be turned again before anybody waits, once.
    pub(super) const fn take_eager(&mut self) -> bool {
        std::mem::replace(&mut self.eager, false)
    }

    /// Asks for all metadata again, a little later.
    pub(super) fn refresh(&mut self, now: Instant) {
        if matches!(self.metadata, Asking::Content) {
            let after = Some(now + PAUSE_MIN);
            self.metadata = Asking::Stale { after };
        }
    }

    /// Whether an answer about metadata is on its way, or wanted.
    pub(super) const fn is_refreshing(&self) -> bool {
        !matches!(self.metadata, Asking::Content)
    }

    /// An answer to a request just put into the outbox of `link` is due within the time-out.
    pub(super) fn expect(&mut self, link: LinkId, correlation: u64, now: Instant) {
        let deadline = now + self.config.request_timeout;
        self.links[link].expect(correlation, deadline);
    }

    /// The frame on which a handler said [`Flow::Hold`].
    pub(super) fn held(&self, link: LinkId) -> Option<Frame<'_>> {
        Frame::parse(self.links[link].inbox.held()).ok()
    }

    /// When something must happen even if no byte moves.
    pub(super) fn wake(&self) -> Option<Instant> {
        let metadata = match self.metadata {
            Asking::Stale { after } => after.filter(|_| self.links.iter().any(Link::is_up)),
            _ => None,
        };
        self.links.iter().filter_map(Link::wake).chain(metadata).min()
    }

    /// Digests what happened. Stops early at a held frame and gives the connection that holds it.
    pub(super) fn advance(&mut self, handler: &mut impl Handler, now: Instant) -> Option<LinkId> {
        let mut held = None;
        for id in 0..self.links.len() {
            self.links[id].tick(now);
            self.notice_loss(handler, id);
            if held.is_none() && self.read(handler, id, now) == Flow::Hold {
                held = Some(id);
            }
            self.notice_loss(handler, id);
        }
        self.ask_metadata(now);
        held
    }

    fn notice_loss(&mut self, handler: &mut impl Handler, id: LinkId) {
        let Some(error) = self.links[id].take_lost() else {
            return;
        };
        if matches!(self.metadata, Asking::Asked { link, .. } if link == id) {
            self.metadata = Asking::Stale { after: None };
        }
        handler.lost(self, id, &error);
    }

    /// Reads the frames of one connection until there is none or one is held.
    fn read(&mut self, handler: &mut impl Handler, id: LinkId, now: Instant) -> Flow {
        // Frames borrow from the inbox while everything else may change, so the inbox steps aside meanwhile.
        let mut inbox = std::mem::replace(&mut self.links[id].inbox, Inbox::new(0));
        let mut flow = Flow::Next;
        while flow == Flow::Next && self.links[id].has_socket() {
            match inbox.next() {
                Ok(Some(frame)) => flow = self.digest(handler, id, &frame, now),
                Ok(None) => break,
                Err(error) => self.links[id].nonsense(&error, now),
            }
        }
        self.links[id].inbox = inbox;
        flow
    }

    fn digest(&mut self, handler: &mut impl Handler, id: LinkId, frame: &Frame<'_>, now: Instant) -> Flow {
        let link = &mut self.links[id];
        if link.is_greeting() {
            link.greeted(frame, now);
            return Flow::Next;
        }
        link.answered(frame.head.correlation);
        if let (Kind::Error, Ok(error)) = (frame.head.kind, ErrorFrame::decode(frame))
            && error.fatal
        {
            link.fail(said(&error), now);
            return Flow::Next;
        }
        let ours = matches!(self.metadata, Asking::Asked { link, correlation }
            if link == id && correlation == frame.head.correlation);
        let outcome = if ours {
            self.learn(frame, now).map(|()| Flow::Next)
        } else {
            handler.frame(
                From {
                    cluster: self,
                    link: id,
                    now,
                },
                frame,
            )
        };
        outcome.unwrap_or_else(|error| {
            self.links[id].fail(error, now);
            Flow::Next
        })
    }

    fn ask_metadata(&mut self, now: Instant) {
        let Asking::Stale { after } = self.metadata else {
            return;
        };
        if after.is_some_and(|after| now < after) {
            return;
        }
        let Some(link) = self.anyone() else {
            return;
        };
        let correlation = self.correlate();
        let names = self.topics.keys().map(|name| &**name).collect();
        if Metadata::Named(names)
            .encode(self.links[link].outbox(), correlation)
            .is_ok()
        {
            self.expect(link, correlation, now);
            self.metadata = Asking::Asked { link, correlation };
        }
    }

    /// Takes over an answer about metadata.
    fn learn(&mut self, frame: &Frame<'_>, now: Instant) -> Result<(), Error> {
        if let Ok(error) = ErrorFrame::decode(frame) {
            // It is asked again: whoever waits gives up by the time-out of its own.
            let after = Some(now + super::config::PAUSE_MAX);
            self.metadata = Asking::Stale { after };
            return if error.code.is_retriable() {
                Ok(())
            } else {
                Err(self.nonsense(said(&error)))
            };
        }
        let answer = MetadataAnswer::decode(frame).map_err(|error| self.nonsense(error))?;
        for node in &answer.nodes {
            let link = self.link_to(address_of(node.host, node.port));
            self.nodes.insert(node.id, link);
        }
        for topic in &answer.topics {
            let known = Topic {
                id: topic.id,
                error: topic.error,
                max_batch_bytes: topic.max_batch_bytes as usize,
                leaders: topic.leaders.clone(),
            };
            self.topics.insert(topic.name.into(), Some(known));
        }
        // A topic may have been added to the list since the question was asked.
        self.metadata = if self.topics.values().any(Option::is_none) {
            Asking::Stale { after: None }
        } else {
            Asking::Content
        };
        Ok(())
    }

    fn nonsense(&self, reason: impl ToString) -> Error {
        let address = match self.metadata {
            Asking::Asked { link, .. } => self.links[link].address(),
            _ => self.links[0].address(),
        };
        Error::protocol(address, reason)
    }

    fn link_to(&mut self, address: Arc<str>) -> LinkId {
        let known = self.links.iter().position(|link| *link.address() == address);
        known.unwrap_or_else(|| {
            self.links.push(Link::new(address));
            self.links.len() - 1
        })
    }
}

/// `host:port`, or only `host` for the port of the protocol.
fn checked(address: &str) -> Result<Arc<str>, Error> {
    let refuse = |reason: &str| Error::Address {
        address: address.into(),
        reason: reason.into(),
    };
    if address.is_empty() {
        return Err(refuse("it is empty"));
    }
    let behind_brackets = address.rfind(']').map_or(0, |end| end + 1);
    match address[behind_brackets..].rsplit_once(':') {
        None => Ok(format!("{address}:{DEFAULT_PORT}").into()),
        Some((_, port)) if port.parse::<u16>().is_ok() => Ok(address.into()),
        Some(_) => Err(refuse("write host:port")),
    }
}

fn address_of(host: &str, port: u16) -> Arc<str> {
    if host.contains(':') {
        format!("[{host}]:{port}").into()
    } else {
        format!("{host}:{port}").into()
    }
}

/// The port of the native protocol.
pub(super) const DEFAULT_PORT: u16 = 9192;

const _: () = assert!(READ_BYTES >= 4096, "one read should bring several frames");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_protocols_port() {
        let read = |text| checked(text).map(|address| address.to_string()).map_err(|_| ());
        assert_eq!(read("example"), Ok("example:9192".to_owned()));
        assert_eq!(read("example:1"), Ok("example:1".to_owned()));
        assert_eq!(read("[::1]"), Ok("[::1]:9192".to_owned()));
        assert_eq!(read("[::1]:7"), Ok("[::1]:7".to_owned()));
        assert_eq!(read("example:port"), Err(()));
        assert_eq!(read(""), Err(()));
    }

    #[test]
    fn a_client_needs_somebody_to_talk_to() {
        assert!(Cluster::new("", ClientConfig::default()).is_err());
        let mut cluster = Cluster::new("a, b:1", ClientConfig::default()).unwrap();
        assert_eq!(cluster.links().len(), 2);
        assert_eq!(cluster.anyone(), None);
    }
}
