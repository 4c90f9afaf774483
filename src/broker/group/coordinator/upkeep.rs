//! The end of offsets and groups that nobody needs any more: expired, or of topics that are gone.

use super::{Coordinator, Group};
use crate::broker::group::classic::Context;
use crate::broker::group::request::{Committed, Now};
use crate::broker::topic::Topic;
use std::sync::Arc;
use std::time::Duration;

impl Coordinator {
    /// Writes off expired offsets, and groups left with neither members nor offsets. Offsets of a group with members never
    /// expire; those of a group that had members count from when it became empty, those of one that never had any from when
    /// they were committed.
    pub fn expire(&mut self, cx: &mut Context<'_>) {
        let ids: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for id in ids {
            let left = self.on_group(&id, cx, |group, cx| {
                if !group.is_empty() {
                    return None;
                }
                let base = group.empty_since();
                let retention = cx.config.offsets_retention;
                let gone = group.offsets.remove_where(&id, |_, _, committed| {
                    is_expired(committed, base.unwrap_or(committed.time), retention, cx.now)
                });
                let expired = gone.len();
                cx.effects.records.extend(gone);
                Some((expired, group.offsets.is_empty()))
            });
            if let Some(Some((expired, is_bare))) = left {
                self.counts.expired += u64::try_from(expired).unwrap_or(u64::MAX);
                if is_bare {
                    self.delete_empty(&id, cx);
                }
            }
        }
    }

    /// Writes off the offsets of deleted topics.
    pub fn topics_deleted(&mut self, topics: &[Arc<Topic>], cx: &mut Context<'_>) {
        let reads = |group: &Group| {
            let mut names = group.offsets.topics().map(|(name, _)| name);
            names.any(|name| topics.iter().any(|topic| topic.name == *name))
        };
        let concerned = self.groups.iter().filter(|(_, group)| reads(group));
        let concerned: Vec<Arc<str>> = concerned.map(|(id, _)| Arc::clone(id)).collect();
        for id in concerned {
            self.on_group(&id, cx, |group, cx| {
                let gone = group.offsets.remove_where(&id, |name, _, committed| {
                    let mut named = topics.iter().filter(|topic| *topic.name == *name);
                    named.any(|topic| committed.is_of(topic.id))
                });
                cx.effects.records.extend(gone);
            });
        }
    }
}

fn is_expired(committed: &Committed, base: crate::base::Timestamp, retention: Duration, now: Now) -> bool {
    if let Some(expire) = committed.expire {
        return now.wall >= expire;
    }
    let age_ms = now.wall.get().saturating_sub(base.get());
    u128::try_from(age_ms).is_ok_and(|age| age >= retention.as_millis())
}
