//! Offsets: the ends of logs, and the offset at a time.

use std::rc::Rc;

use super::{Connection, Refusal, Request};
use crate::protocol::native::map;
use crate::protocol::native::messages::{Offsets, OffsetsAnswer, OffsetsAnswerEntry, OffsetsEntry, Query};
use crate::protocol::native::outbox::Answer;
use crate::shard::request::OffsetQuery;

pub(super) async fn handle(connection: Rc<Connection>, request: Request) -> Result<Answer, Refusal> {
    let frame = request.frame();
    let queries = Offsets::decode(&frame)?
        .entries
        .iter()
        .map(|entry| (entry.log(), query(&entry)))
        .collect();
    let answers = connection.shard.offsets(queries).await;
    let entry = |answer: &Result<_, _>| match answer {
        Ok(crate::shard::request::OffsetAnswer { found, epoch, .. }) => {
            OffsetsAnswerEntry::found(*found, epoch.get())
        }
        Err(failure) => OffsetsAnswerEntry::refused(map::read_failure(*failure)),
    };
    let entries: Vec<OffsetsAnswerEntry> = answers.iter().map(entry).collect();
    if answers.iter().any(Result::is_err) {
        connection.count_error();
    }
    let mut out = Vec::new();
    OffsetsAnswer::encode(&mut out, request.head.correlation, &entries)?;
    Ok(Answer::of(out))
}

fn query(entry: &OffsetsEntry) -> OffsetQuery {
    match entry.question() {
        Some(Query::Earliest) => OffsetQuery::Earliest,
        Some(Query::AtTime(timestamp)) => OffsetQuery::AtTime(timestamp),
        // The decoder refused every other choice.
        Some(Query::Latest) | None => OffsetQuery::Latest,
    }
}
