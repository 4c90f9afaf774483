//! What admin tools ask about logs wherever they live: their sizes, their producers.
//!
//! **Promise.** Answers are in the order asked and say `None` for a log that is not there. No I/O: all of it is in memory.
//! A question about many logs crosses in pieces of `LOGS_MAX`, so that no shard is held up for long.

use super::Shard;
use super::request::{Body, Inspected, Inspection, ProducerReport};
use super::router::{group, peer};
use crate::base::{LogId, ShardId};
use crate::runtime::fs::{self, Space};
use std::rc::Rc;

/// Most logs in one message: at about 100 ns a log, 0.1 ms.
const LOGS_MAX: usize = 1024;

impl Shard {
    /// Where the files are.
    #[must_use]
    pub fn data_root(&self) -> &std::path::Path {
        self.data.root()
    }

    /// The room on the file system of the data directory; `None` if it does not say. One system call that the kernel
    /// answers from memory.
    #[must_use]
    pub fn space(&self) -> Option<Space> {
        fs::space(self.data.root()).ok()
    }

    /// Bytes of each log.
    pub async fn sizes(self: &Rc<Self>, logs: Vec<LogId>) -> Vec<Option<u64>> {
        let sizes = |inspected| match inspected {
            Inspected::Sizes(sizes) => sizes,
            Inspected::Producers(_) => Vec::new(),
        };
        self.inspect_each(logs, Inspection::Sizes, sizes).await
    }

    /// The idempotent producers each log remembers.
    pub async fn producers(self: &Rc<Self>, logs: Vec<LogId>) -> Vec<Option<Vec<ProducerReport>>> {
        let producers = |inspected| match inspected {
            Inspected::Producers(producers) => producers,
            Inspected::Sizes(_) => Vec::new(),
        };
        self.inspect_each(logs, Inspection::Producers, producers).await
    }

    async fn inspect_each<T>(
        self: &Rc<Self>,
        logs: Vec<LogId>,
        ask: fn(Vec<LogId>) -> Inspection,
        answer: fn(Inspected) -> Vec<Option<T>>,
    ) -> Vec<Option<T>> {
        let mut done: Vec<Option<T>> = logs.iter().map(|_| None).collect();
        for group in group(logs, |log| self.owner_of(*log)) {
            let mut places = group.places.into_iter();
            for logs in group.items.chunks(LOGS_MAX) {
                let inspected = self.inspect(group.owner, ask(logs.to_vec())).await;
                let answers = inspected.map(answer).unwrap_or_default();
                for (place, answer) in places.by_ref().take(logs.len()).zip(answers) {
                    done[place] = answer;
                }
            }
        }
        done
    }

    /// One question to one shard, this one or another.
    async fn inspect(self: &Rc<Self>, shard: ShardId, inspection: Inspection) -> Option<Inspected> {
        if shard == self.id {
            return Some(self.inspect_here(inspection));
        }
        match self.call(peer(shard), Body::Inspect(inspection)).await {
            Body::Inspected(inspected) => Some(inspected),
            _ => None,
        }
    }

    /// Looks at logs of this shard.
    pub(crate) fn inspect_here(&self, inspection: Inspection) -> Inspected {
        match inspection {
            Inspection::Sizes(logs) => Inspected::Sizes(
                logs.into_iter()
                    .map(|log| Some(self.partition(log)?.log.borrow().size_bytes()))
                    .collect(),
            ),
            Inspection::Producers(logs) => Inspected::Producers(
                logs.into_iter()
                    .map(|log| Some(self.partition(log)?.producers.borrow().reports().collect()))
                    .collect(),
            ),
        }
    }
}
