//! Whether every message came, once and in order.
//!
//! Each stream's messages are numbered from 0, so a consumer needs two numbers a stream to judge them: what comes next, and
//! how many were skipped. A number below the next one is a skipped message that came late (reordered) as long as some
//! are missing, else a message that came twice. What was acknowledged and never came is missing.

/// What a group has seen of one stream.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Seen {
    next: u64,
    skipped: u64,
}

/// What one group's readers on one worker have seen.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    streams: Vec<Seen>,
    /// Messages that came twice.
    pub(super) duplicates: u64,
    /// Messages that came after a later one.
    pub(super) reordered: u64,
}

/// What a message was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sighting {
    /// Seen for the first time.
    New,
    /// Seen before.
    Again,
    /// Of no stream of this run.
    Foreign,
}

impl Ledger {
    /// For `streams` streams.
    #[must_use]
    pub(super) fn new(streams: usize) -> Self {
        Self {
            streams: vec![Seen::default(); streams],
            duplicates: 0,
            reordered: 0,
        }
    }

    /// Takes note of a message.
    pub(super) fn see(&mut self, stream: u32, sequence: u64) -> Sighting {
        let Some(seen) = usize::try_from(stream)
            .ok()
            .and_then(|stream| self.streams.get_mut(stream))
        else {
            return Sighting::Foreign;
        };
        if sequence >= seen.next {
            seen.skipped += sequence - seen.next;
            seen.next = sequence + 1;
        } else if seen.skipped > 0 {
            seen.skipped -= 1;
            self.reordered += 1;
        } else {
            self.duplicates += 1;
            return Sighting::Again;
        }
        Sighting::New
    }

    /// Messages of each stream that came, each counted once.
    pub(super) fn unique(&self) -> impl Iterator<Item = u64> {
        self.streams.iter().map(|seen| seen.next - seen.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_repetition_and_reordering_are_told_apart() {
        let mut ledger = Ledger::new(2);
        for sequence in [0, 1, 1, 4, 2, 5] {
            ledger.see(1, sequence);
        }
        assert_eq!((ledger.duplicates, ledger.reordered), (1, 1));
        assert_eq!(ledger.unique().collect::<Vec<_>>(), [0, 5], "3 is missing");
        assert_eq!(ledger.see(2, 0), Sighting::Foreign);
        assert_eq!(ledger.see(1, 6), Sighting::New);
    }
}
