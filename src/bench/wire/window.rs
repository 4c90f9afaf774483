//! Messages in flight at brokers that acknowledge one message at a time, gathered back into the engine's batches.
//!
//! A batch is acknowledged when all of its messages are, and fails, once, when all are answered and one was refused.
//! Messages are numbered from 1 in the order they were sent, which is how AMQP counts them and all that the others need.
//! Each number is settled once: a second answer, or one for a number never given out, breaks the conversation.
//!
//! Absent: a bound. The engine bounds what is in flight and thereby what is held here.

use std::collections::VecDeque;

use super::{Broken, Event, Ticket};

/// The messages of one producer that the broker has not answered.
#[derive(Debug)]
pub(super) struct Window {
    /// Number of the first entry of `answered`.
    base: u64,
    /// Which messages from `base` on were answered; always as long as the batches in `open` together.
    answered: VecDeque<bool>,
    /// How many at its front are answered, so that nobody looks at them again.
    prefix: usize,
    /// Batches with unanswered messages, and answered ones behind them.
    open: VecDeque<Open>,
}

#[derive(Debug)]
struct Open {
    ticket: Ticket,
    /// Number of its first message.
    first: u64,
    count: usize,
    unanswered: usize,
    /// Why its first refused message was refused.
    refused: Option<String>,
}

impl Window {
    pub(super) const fn new() -> Self {
        Self {
            base: 1,
            answered: VecDeque::new(),
            prefix: 0,
            open: VecDeque::new(),
        }
    }

    /// Takes numbers for the `count` messages of a batch and returns the first.
    pub(super) fn push(&mut self, ticket: Ticket, count: usize) -> u64 {
        let first = self.next();
        self.answered.resize(self.answered.len() + count, false);
        self.open.push_back(Open {
            ticket,
            first,
            count,
            unanswered: count,
            refused: None,
        });
        first
    }

    /// The number the next message will get.
    fn next(&self) -> u64 {
        self.base + u64::try_from(self.answered.len()).expect("a length fits 64 bits")
    }

    /// The number the last message got; 0 before there was one.
    pub(super) fn newest(&self) -> u64 {
        self.next() - 1
    }

    /// The oldest unanswered message, for brokers that answer in order.
    pub(super) fn oldest(&self) -> Option<u64> {
        let unanswered = self.prefix < self.answered.len();
        unanswered.then(|| self.base + u64::try_from(self.prefix).expect("a length fits 64 bits"))
    }

    /// Settles message `number`; `refused` says why, when it was.
    pub(super) fn settle(
        &mut self,
        number: u64,
        refused: Option<&str>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Broken> {
        let answered = number
            .checked_sub(self.base)
            .and_then(|index| self.answered.get_mut(usize::try_from(index).ok()?))
            .filter(|answered| !**answered)
            .ok_or_else(|| Broken(format!("an answer to message {number}, which is not in flight")))?;
        *answered = true;
        // The batch is the last that begins at or before the number; they are in order.
        let place = self.open.partition_point(|open| open.first <= number);
        let open = place
            .checked_sub(1)
            .and_then(|place| self.open.get_mut(place))
            .ok_or_else(|| Broken(format!("message {number} belongs to no batch")))?;
        open.unanswered -= 1;
        if let Some(reason) = refused {
            open.refused.get_or_insert_with(|| reason.to_owned());
        }
        if open.unanswered == 0 {
            let ticket = open.ticket;
            match open.refused.take() {
                None => events(Event::Acked { ticket, stages: &[] }),
                Some(reason) => events(Event::Failed { ticket, reason }),
            }
        }
        self.forget_answered();
        Ok(())
    }

    /// Settles every unanswered message up to and with `number`.
    pub(super) fn settle_through(
        &mut self,
        number: u64,
        refused: Option<&str>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Broken> {
        if number >= self.next() {
            return Err(Broken(format!(
                "an answer up to message {number}, which was not sent"
            )));
        }
        while let Some(oldest) = self.oldest().filter(|oldest| *oldest <= number) {
            self.settle(oldest, refused, events)?;
        }
        Ok(())
    }

    fn forget_answered(&mut self) {
        while self.answered.get(self.prefix) == Some(&true) {
            self.prefix += 1;
        }
        while let Some(front) = self.open.front().filter(|front| front.unanswered == 0) {
            self.answered.drain(..front.count);
            self.prefix -= front.count;
            self.base = front.first + u64::try_from(front.count).expect("a length fits 64 bits");
            self.open.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(act: impl FnOnce(&mut dyn FnMut(Event<'_>))) -> Vec<String> {
        let mut told = Vec::new();
        act(&mut |event| told.push(format!("{event:?}")));
        told
    }

    #[test]
    fn a_batch_is_acknowledged_when_all_of_its_messages_are_in_any_order() {
        let mut window = Window::new();
        assert_eq!(window.push(70, 2), 1);
        assert_eq!(window.push(71, 1), 3);
        let first = told(|events| {
            window.settle(2, None, events).unwrap();
        });
        assert!(first.is_empty());
        let second = told(|events| {
            window.settle(3, None, events).unwrap();
            window.settle(1, None, events).unwrap();
        });
        assert_eq!(second.len(), 2);
        assert!(second[0].contains("71") && second[1].contains("70"), "{second:?}");
        assert_eq!(window.oldest(), None);
        assert_eq!(window.push(72, 1), 4);
    }

    #[test]
    fn one_refused_message_fails_its_batch_once_and_only_its_batch() {
        let mut window = Window::new();
        window.push(1, 3);
        window.push(2, 1);
        let told = told(|events| {
            window.settle(2, Some("full"), events).unwrap();
            window.settle_through(4, None, events).unwrap();
        });
        assert_eq!(told.len(), 2);
        assert!(told[0].contains("Failed") && told[0].contains("full"), "{told:?}");
        assert!(told[1].contains("Acked"), "{told:?}");
    }

    #[test]
    fn answers_to_messages_not_in_flight_break_the_conversation() {
        let mut window = Window::new();
        let silent: &mut dyn FnMut(Event<'_>) = &mut |_| ();
        window.settle(1, None, silent).unwrap_err();
        window.push(1, 2);
        window.settle(0, None, silent).unwrap_err();
        window.settle(3, None, silent).unwrap_err();
        window.settle_through(3, None, silent).unwrap_err();
        window.settle(2, None, silent).unwrap();
        window.settle(2, None, silent).unwrap_err();
        window.settle(1, None, silent).unwrap();
        window.settle(1, None, silent).unwrap_err();
    }
}
