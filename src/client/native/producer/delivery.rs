//! What becomes of a record: the handle its sender holds, and what the handle tells in the end.
//!
//! Records of one batch share one outcome, so a handle costs one reference count. Handles may be kept, dropped, cloned and
//! sent to other threads at will; they are settled exactly once, by the thread that drives the producer, and never change
//! afterwards. Dropping a producer settles nothing: what was not settled stays so.

use std::sync::{Arc, OnceLock};

use crate::base::stages::StageTimes;
use crate::client::native::error::Error;

/// Where a record went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// The partition of its topic.
    pub partition: u32,
    /// Its offset. `None` without acknowledgements, and for a batch that the broker knew already but not where.
    pub offset: Option<u64>,
    /// Where the time of its request went, if that was asked for: of the batch in it that was safe last.
    pub stages: Option<StageTimes>,
}

/// The outcome of one record, as soon as there is one.
#[derive(Clone, Debug)]
pub struct Delivery {
    outcome: Arc<Outcome>,
    index: u32,
}

/// Called once with the outcome of a record, on the thread that drives the producer.
pub type Callback = Box<dyn FnOnce(Result<Delivered, Error>) + Send>;

/// The outcome of one batch.
#[derive(Debug, Default)]
pub(super) struct Outcome(OnceLock<Result<Delivered, Error>>);

impl Delivery {
    pub(super) const fn new(outcome: Arc<Outcome>, index: u32) -> Self {
        Self { outcome, index }
    }

    /// What became of the record; `None` while nobody knows.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<Delivered, Error>> {
        self.outcome.0.get().map(|outcome| of_record(outcome, self.index))
    }

    /// Whether the outcome is known.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.outcome.0.get().is_some()
    }
}

impl Outcome {
    /// Settles the batch; `delivered` tells of its first record.
    pub(super) fn settle(&self, outcome: Result<Delivered, Error>) {
        let first = self.0.set(outcome).is_ok();
        debug_assert!(first, "a batch is settled once");
    }
}

/// The outcome of record `index` of a batch.
pub(super) fn of_record(batch: &Result<Delivered, Error>, index: u32) -> Result<Delivered, Error> {
    let mut delivered = batch.clone()?;
    delivered.offset = delivered.offset.map(|first| first + u64::from(index));
    Ok(delivered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_a_batch_share_its_outcome_and_count_their_offsets() {
        let outcome = Arc::new(Outcome::default());
        let third = Delivery::new(Arc::clone(&outcome), 2);
        assert!(!third.is_settled() && third.outcome().is_none());
        outcome.settle(Ok(Delivered {
            partition: 1,
            offset: Some(10),
            stages: None,
        }));
        assert_eq!(third.outcome().unwrap().unwrap().offset, Some(12));
    }
}
