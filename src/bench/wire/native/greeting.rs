//! What both conversations share: frames, the hello, and the ids of topics.

use std::collections::HashMap;

use super::{expect, refusal};
use crate::base::{LogId, PartitionId};
use crate::bench::wire::{Broken, Layout, PartitionIndex};
use crate::protocol::native::frame::{FRAME_BYTES_MAX, VERSION};
use crate::protocol::native::messages::{Hello, Metadata, MetadataAnswer};
use crate::protocol::native::{Frame, Framing, Kind, next_frame};

/// How the generator calls itself.
const NAME: &str = "corelog-bench";

/// Appends the first frame of a connection.
pub(super) fn hello(out: &mut Vec<u8>) -> Result<(), Broken> {
    let hello = Hello {
        features: 0,
        version_min: VERSION,
        version_max: VERSION,
        name: NAME,
    };
    hello.encode(out, 0).map_err(broken)
}

/// The first whole frame of `input` and its length, if there is one.
pub(super) fn frame(input: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Broken> {
    match next_frame(input, FRAME_BYTES_MAX).map_err(broken)? {
        Framing::Whole { head } => {
            let frame = Frame::parse(&input[..head.length]).map_err(broken)?;
            Ok(Some((frame, head.length)))
        }
        Framing::NeedsHead { .. } | Framing::NeedsBody { .. } => Ok(None),
    }
}

pub(super) fn broken(error: impl std::fmt::Display) -> Broken {
    Broken(error.to_string())
}

/// The beginning of a connection: hello, welcome, and the ids of the topics it is about.
#[derive(Debug)]
pub(super) struct Greeting {
    /// Topic and number of each partition of the connection.
    places: Vec<(PartitionIndex, String, u32)>,
    welcomed: bool,
}

impl Greeting {
    pub(super) fn new(layout: &Layout, partitions: &[PartitionIndex]) -> Self {
        let places = partitions.iter().map(|index| {
            let home = &layout.partitions[index.0];
            (*index, home.topic.clone(), home.partition)
        });
        Self {
            places: places.collect(),
            welcomed: false,
        }
    }

    /// Takes the next frame. The logs of the connection's partitions once they are known.
    pub(super) fn take(
        &mut self,
        frame: &Frame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Vec<(PartitionIndex, LogId)>>, Broken> {
        if !self.welcomed {
            expect(frame, Kind::Welcome)?;
            self.welcomed = true;
            let mut names: Vec<&str> = self.places.iter().map(|(_, topic, _)| topic.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            Metadata::Named(names).encode(out, 0).map_err(broken)?;
            return Ok(None);
        }
        expect(frame, Kind::MetadataAnswer)?;
        let answer = MetadataAnswer::decode(frame).map_err(broken)?;
        let ids: HashMap<_, _> = answer.topics.iter().map(|topic| (topic.name, topic.id)).collect();
        let logs = self.places.iter().map(|(index, topic, partition)| {
            let id = ids.get(topic.as_str());
            let topic = *id.ok_or_else(|| Broken(format!("the broker does not know topic {topic}")))?;
            let partition = PartitionId::new(*partition);
            Ok((*index, LogId { topic, partition }))
        });
        logs.collect::<Result<_, Broken>>().map(Some)
    }
}

/// Ends the run with the words of an error frame.
pub(super) fn fail(frame: &Frame<'_>) -> Broken {
    match refusal(frame) {
        Ok(Some((code, text))) => Broken(format!("{code} {text}")),
        Ok(None) => Broken(format!(
            "a frame of kind {:?}, which was not asked for",
            frame.head.kind
        )),
        Err(broken) => broken,
    }
}
