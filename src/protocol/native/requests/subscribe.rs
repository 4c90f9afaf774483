//! Subscribe, credit and unsubscribe: the control of what [`subscription`](crate::protocol::native::subscription) pushes.
//!
//! A subscription exists from the moment its request is read, so that credit and the end may follow at once; it begins to
//! push when its answer leaves.

use std::rc::Rc;

use super::{Connection, Refusal, Request};
use crate::base::{LogId, Offset};
use crate::protocol::native::errors::ErrorCode;
use crate::protocol::native::map;
use crate::protocol::native::messages::{
    CREDIT_BYTES_MAX, Credit, From, SUBSCRIPTIONS_MAX, Subscribe, Subscribed, SubscribedEntry,
    SubscriptionEnded, Unsubscribe,
};
use crate::protocol::native::outbox::Answer;
use crate::protocol::native::subscription::{self, Position, Subscription};
use crate::runtime::local::Permit;
use crate::shard::request::{Bounds, OffsetAnswer, OffsetQuery, ReadFailure};

/// Takes the request in; its answer, and then its pushes, follow.
pub(super) fn begin(connection: &Rc<Connection>, request: &Request, memory: Permit) {
    let correlation = request.head.correlation;
    let subscription = match admit(connection, request) {
        Ok(subscription) => subscription,
        Err(refusal) => {
            let answer = refusal.answer(connection, correlation);
            connection.outbox.answer_now(answer, memory);
            return;
        }
    };
    let (shared, request) = (Rc::clone(connection), request.clone());
    let answer = async move {
        match start(&shared, &request, &subscription).await {
            Ok(answer) => answer,
            Err(refusal) => {
                shared.subscriptions.remove(correlation);
                refusal.answer(&shared, correlation)
            }
        }
    };
    connection.outbox.answer(Box::pin(answer), memory);
}

fn admit(connection: &Connection, request: &Request) -> Result<Rc<Subscription>, Refusal> {
    let frame = request.frame();
    let subscribe = Subscribe::decode(&frame)?;
    if !(1..=CREDIT_BYTES_MAX).contains(&subscribe.credit_bytes) {
        let text = format!("credit must be 1 to {CREDIT_BYTES_MAX} bytes");
        return Err(Refusal::new(ErrorCode::InvalidCredit, text));
    }
    if subscribe.entries.is_empty() {
        return Err(Refusal::new(
            ErrorCode::Malformed,
            "a subscription of no partition",
        ));
    }
    let subscriptions = &connection.subscriptions;
    if subscriptions.get(subscribe.subscription).is_some() {
        return Err(Refusal::new(ErrorCode::SubscriptionExists, ""));
    }
    if subscriptions.len() >= SUBSCRIPTIONS_MAX as usize {
        let text = format!("at most {SUBSCRIPTIONS_MAX} on one connection");
        return Err(Refusal::new(ErrorCode::TooManySubscriptions, text));
    }
    Ok(subscriptions.add(Subscription::new(
        subscribe.subscription,
        subscribe.credit_bytes,
        subscribe.push_bytes,
    )))
}

/// Finds where each partition begins, answers, and lets the pushes begin.
async fn start(
    connection: &Rc<Connection>,
    request: &Request,
    subscription: &Rc<Subscription>,
) -> Result<Answer, Refusal> {
    let frame = request.frame();
    let subscribe = Subscribe::decode(&frame)?;
    let queries = subscribe
        .entries
        .iter()
        .map(|entry| (entry.log(), OffsetQuery::Latest))
        .collect();
    let known = connection.shard.offsets(queries).await;
    let mut positions = Vec::with_capacity(known.len());
    let mut entries = Vec::with_capacity(known.len());
    let mut refused = None;
    for (entry, known) in subscribe.entries.iter().zip(known) {
        let from = entry.start().unwrap_or(From::Latest);
        match place(&mut positions, entry.log(), from, known) {
            Ok(entry) => entries.push(entry),
            Err(code) => {
                refused = Some(code);
                entries.push(SubscribedEntry {
                    error: code.code(),
                    ..SubscribedEntry::default()
                });
            }
        }
    }
    if refused.is_some() {
        connection.count_error();
    }
    let mut out = Vec::new();
    Subscribed::encode(&mut out, subscribe.subscription, &entries)?;
    subscription::start(connection, subscription, positions, refused);
    Ok(Answer::of(out))
}

/// Where one partition begins, unless it cannot.
fn place(
    positions: &mut Vec<Position>,
    log: LogId,
    from: From,
    known: Result<OffsetAnswer, ReadFailure>,
) -> Result<SubscribedEntry, ErrorCode> {
    let Bounds {
        log_start,
        high_watermark,
        ..
    } = known.map_err(map::read_failure)?.bounds;
    let next = match from {
        From::Earliest => log_start,
        From::Latest => high_watermark,
        From::Offset(offset) => Offset::new(offset),
    };
    if next < log_start || next > high_watermark {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    if positions.iter().any(|known| known.log == log) {
        return Err(ErrorCode::SubscriptionExists);
    }
    positions.push(Position { log, next });
    Ok(SubscribedEntry {
        offset: next.get(),
        log_start: log_start.get(),
        high_watermark: high_watermark.get(),
        error: 0,
    })
}

/// Adds credit. There is no answer; credit for a subscription that ended meanwhile is nobody's.
pub(super) fn credit(connection: &Rc<Connection>, request: &Request, memory: Permit) {
    match Credit::decode(&request.frame()) {
        Ok(credit) => {
            if let Some(subscription) = connection.subscriptions.get(credit.subscription) {
                subscription.add_credit(credit.bytes);
            }
        }
        Err(error) => {
            let answer = Refusal::from(error).answer(connection, request.head.correlation);
            connection.outbox.answer_now(answer, memory);
        }
    }
}

/// Ends a subscription. The word of it leaves as a push does, behind the last push of the subscription.
pub(super) async fn end(connection: Rc<Connection>, request: Request) -> Result<Answer, Refusal> {
    let id = Unsubscribe::decode(&request.frame())?.subscription;
    let error = match connection.subscriptions.get(id) {
        Some(subscription) => {
            subscription.stop_quietly();
            subscription.ended().await;
            None
        }
        None => Some(ErrorCode::UnknownSubscription),
    };
    let ended = SubscriptionEnded {
        subscription: id,
        error,
    };
    let mut frame = Vec::new();
    ended.encode(&mut frame)?;
    connection.outbox.push(Answer::of(frame));
    Ok(Answer::default())
}
