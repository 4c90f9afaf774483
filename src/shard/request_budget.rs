//! [`RequestBudget`]: memory for requests, a part of it for small ones alone.
//!
//! **Promise.** A small request ([`RequestBudget::small_bytes`]) never waits behind a large one: it takes what is free of all the
//! memory, and waits, if it must, for a part that large requests cannot have. Within each part it is first come, first
//! served. A request larger than its part has it to itself.
//!
//! **Invariant.** `limit == large.limit + small.limit`. One shard's thread.

use crate::runtime::local::{Budget, Permit};

/// The part for small requests: one byte of this many.
const SMALL_SHARE: usize = 8;

/// So many of the largest small requests fit in their part.
const SMALL_COUNT: usize = 16;

/// See the module.
#[derive(Clone, Debug)]
pub struct RequestBudget {
    large: Budget,
    small: Budget,
}

impl RequestBudget {
    /// A budget of `bytes`, all free.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let small = bytes / SMALL_SHARE;
        Self {
            large: Budget::new(bytes - small),
            small: Budget::new(small),
        }
    }

    /// The whole of it, in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.large.limit() + self.small.limit()
    }

    /// What nobody holds.
    #[must_use]
    pub fn available(&self) -> usize {
        self.large.available() + self.small.available()
    }

    /// The most bytes a small request has.
    #[must_use]
    pub fn small_bytes(&self) -> usize {
        self.small.limit() / SMALL_COUNT
    }

    /// Whether somebody waits for what others hold.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.large.is_wanted() || self.small.is_wanted()
    }

    /// Takes `bytes` now, if nobody waits and they are free.
    #[must_use]
    pub fn try_acquire(&self, bytes: usize) -> Option<Permit> {
        let large = self.large.try_acquire(bytes);
        large.or_else(|| self.is_small(bytes).then(|| self.small.try_acquire(bytes))?)
    }

    /// Waits until `bytes` are free and everyone of this size who asked earlier has been served.
    pub async fn acquire(&self, bytes: usize) -> Permit {
        if self.is_small(bytes) {
            match self.large.try_acquire(bytes) {
                Some(permit) => permit,
                None => self.small.acquire(bytes).await,
            }
        } else {
            self.large.acquire(bytes).await
        }
    }

    fn is_small(&self, bytes: usize) -> bool {
        bytes <= self.small_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::executor;
    use futures_lite::future::poll_once;

    #[test]
    fn small_requests_have_a_part_of_their_own_and_share_the_rest() {
        let budget = RequestBudget::new(1024);
        assert_eq!((budget.limit(), budget.small_bytes()), (1024, 8));
        let first = budget.try_acquire(800).unwrap();
        let by_small = budget.try_acquire(8).unwrap();
        assert_eq!(budget.available(), 1024 - 808);
        let mut waits = Box::pin(budget.acquire(800));
        assert!(executor::block_on(poll_once(waits.as_mut())).is_none());
        assert!(budget.is_wanted());
        // Behind the one that waits there is no overtaking; beside it there is room for sixteen.
        let beside: Vec<Permit> = (0..16).map(|_| budget.try_acquire(8).unwrap()).collect();
        assert!(budget.try_acquire(8).is_none());
        assert!(budget.try_acquire(9).is_none());
        drop((first, by_small));
        assert!(executor::block_on(poll_once(waits.as_mut())).is_some());
        drop((beside, waits));
        assert_eq!(budget.available(), 1024);
        assert!(!budget.is_wanted());
    }
}
