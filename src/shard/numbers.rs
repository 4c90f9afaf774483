//! How far logs and groups have got: what monitoring makes consumer lag of.
//!
//! Asked for by the control thread at a scrape and made then; nothing is kept. The numbers of one shard are of one moment,
//! those of two shards are not, so a group may seem to be ahead of a log by what was produced in between.

use super::Shard;
use super::request::{ReadLimits, ReadPart};
use crate::base::{LogId, Offset, Timestamp};
use crate::batch::BatchHeader;
use crate::broker::group::coordinator::Group;
use crate::storage::read::ReadFormat;
use std::rc::Rc;
use std::sync::Arc;

/// A shard's part.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Numbers {
    /// First and next offset of each log it owns.
    pub logs: Vec<(LogId, Offset, Offset)>,
    /// Each group it coordinates.
    pub groups: Vec<GroupNumbers>,
}

/// A group in numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupNumbers {
    /// Its id.
    pub id: Arc<str>,
    /// Members.
    pub members: usize,
    /// Topic, partition and offset of each commit.
    pub offsets: Vec<(Arc<str>, i32, i64)>,
}

impl GroupNumbers {
    /// Those of a group.
    #[must_use]
    pub fn of(id: &Arc<str>, group: &Group) -> Self {
        let offsets = group.offsets.iter();
        let offsets =
            offsets.map(|(topic, partition, committed)| (Arc::clone(topic), partition, committed.offset));
        Self {
            id: Arc::clone(id),
            members: group.member_count(),
            offsets: offsets.collect(),
        }
    }
}

impl Shard {
    /// How far everything here has got.
    pub(crate) fn numbers(&self) -> Numbers {
        let partitions = self.partitions.borrow();
        let logs = partitions.values().map(|partition| {
            let bounds = partition.bounds();
            (partition.id, bounds.log_start, bounds.high_watermark)
        });
        Numbers {
            logs: logs.collect(),
            groups: self.group_numbers(),
        }
    }

    /// When the record at each offset was appended, by the broker's clock. One small read each, from memory for what was
    /// appended lately.
    pub(crate) async fn append_times(self: &Rc<Self>, asked: &[(LogId, Offset)]) -> Vec<Option<Timestamp>> {
        let limits = ReadLimits {
            max_bytes: 1,
            oversized_first: true,
            format: ReadFormat::Frames,
        };
        let mut times = Vec::with_capacity(asked.len());
        for &(log, offset) in asked {
            let part = ReadPart {
                log,
                offset,
                max_bytes: 1,
                last_epoch: None,
            };
            let read = self.read_parts(&[part], limits).await.pop();
            let frame = read.and_then(|read| read.records.ok()).unwrap_or_default();
            times.push(BatchHeader::decode(&frame).ok().map(|header| header.append_time));
        }
        times
    }
}
