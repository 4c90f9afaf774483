//! What a Fetch answers: records and bounds by partition, less what its session has told already.

use super::plan::{Ask, Plan, is_by_id, now_ms};
use super::{Found, READ_COMMITTED};
use crate::base::stages::StageTimes;
use crate::protocol::kafka::call::{Answer, Call};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::fetch_session::{Begun, News, Position, Told, TopicRef};
use crate::protocol::kafka::handlers::{wire_epoch, wire_offset};
use crate::protocol::kafka::map;
use crate::protocol::kafka::messages::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use crate::protocol::kafka::wire::Records;
use crate::runtime::clock;
use crate::shard::count;
use crate::shard::request::PartRead;
use crate::shard::stages::Handoff;

/// Makes the answer of everything read.
pub(super) fn answer(
    call: &Call,
    request: &FetchRequest<'_>,
    begun: &Begun,
    plan: &Plan<'_>,
    found: Found,
) -> Answer {
    let mut reads = found.reads.into_iter();
    let mut failed = false;
    let mut bytes = 0;
    let mut partitions = Vec::with_capacity(plan.asks.len());
    for ask in &plan.asks {
        let outcome = match ask.refused {
            None => reads.next().map_or(Err(ErrorCode::UnknownServerError), |read| {
                read_of(&ask.position, read)
            }),
            Some(code) => Err(code),
        };
        failed |= outcome.is_err();
        bytes += outcome.as_ref().map_or(0, record_bytes);
        partitions.push(partition_data(request, ask.position.partition, outcome));
    }
    if failed {
        call.count_error();
    }
    count(
        &call.shard.probe().bytes_fetched,
        u64::try_from(bytes).unwrap_or(0),
    );
    let (session_id, told) = tell(call, begun, plan, &partitions);
    let responses = by_topic(&plan.asks, partitions, &told);
    let asks = StageTimes::is_asked(request.stages_layout);
    let response = FetchResponse {
        session_id,
        responses,
        stages: found
            .trail
            .filter(|_| asks)
            .map(|trail| trail.times(clock::now())),
        ..FetchResponse::default()
    };
    let answer = match found.held {
        Some(held) => call.answer_holding(response, held),
        None => call.answer(response),
    };
    match found.trail {
        // An answer without records found nothing and sends nothing.
        Some(trail) if bytes > 0 => {
            call.shard.probe().stages.found(&trail);
            answer.ending(Handoff::Found(trail.found))
        }
        _ => answer,
    }
}

/// Which of the partitions go into the answer.
enum Telling {
    All,
    Some(Vec<bool>),
}

impl Telling {
    fn holds(&self, place: usize) -> bool {
        match self {
            Self::All => true,
            Self::Some(told) => told.get(place).copied().unwrap_or(true),
        }
    }
}

/// The session's part: its id for the answer, and what of the answer is news.
fn tell(call: &Call, begun: &Begun, plan: &Plan<'_>, partitions: &[PartitionData<'_>]) -> (i32, Telling) {
    let fetched = || std::iter::zip(&plan.asks, partitions);
    let mut sessions = call.fetch_sessions.borrow_mut();
    match begun {
        Begun::Sessionless => (0, Telling::All),
        Begun::Full => {
            let fetched = fetched().map(|(ask, data)| (ask.topic, ask.position, news_of(data)));
            let id = sessions.open(now_ms(), is_by_id(call.version), fetched);
            (id, Telling::All)
        }
        Begun::Incremental(id, asks) => {
            let tell = |((topic, position), data): (&(TopicRef, Position), _)| {
                sessions.tell(*id, topic, position.partition, news_of(data))
            };
            let told = std::iter::zip(asks, partitions).map(tell).collect();
            (*id, Telling::Some(told))
        }
    }
}

fn news_of(data: &PartitionData<'_>) -> News {
    let told = Told {
        high_watermark: data.high_watermark,
        log_start: data.log_start_offset,
    };
    if data.error_code != 0 {
        News::Fault
    } else if data.records.is_empty() && data.diverging_epoch == EpochEndOffset::default() {
        News::Quiet(told)
    } else {
        News::Records(told)
    }
}

/// Puts partitions under their topics; those of one topic that stand together share it.
fn by_topic<'a>(
    asks: &[Ask<'a>],
    partitions: Vec<PartitionData<'a>>,
    told: &Telling,
) -> Vec<FetchableTopicResponse<'a>> {
    let mut responses: Vec<FetchableTopicResponse<'a>> = Vec::new();
    let mut last = None;
    for (place, (ask, data)) in std::iter::zip(asks, partitions).enumerate() {
        if !told.holds(place) {
            continue;
        }
        match responses.last_mut().filter(|_| last == Some(ask.topic)) {
            Some(topic) => topic.partitions.push(data),
            None => responses.push(FetchableTopicResponse {
                topic: ask.name(),
                topic_id: ask.topic.id(),
                partitions: vec![data],
            }),
        }
        last = Some(ask.topic);
    }
    responses
}

fn record_bytes(read: &PartRead) -> usize {
    read.records.as_ref().map_or(0, Vec::len)
}

/// The read of one partition, unless an error or the client's epoch forbids it.
fn read_of(position: &Position, read: PartRead) -> Result<PartRead, ErrorCode> {
    let bounds = read.bounds.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if let Some(fenced) = map::fence(position.current_leader_epoch, bounds.epoch) {
        return Err(fenced);
    }
    match read.records {
        Err(failure) => Err(map::read_failure(failure)),
        // zstd goes to old clients too, as from Kafka: it refuses them only where the topic itself is configured for
        // zstd (KIP-110), and ours stores what producers send.
        Ok(_) => Ok(read),
    }
}

fn partition_data(
    request: &FetchRequest<'_>,
    partition_index: i32,
    outcome: Result<PartRead, ErrorCode>,
) -> PartitionData<'static> {
    match outcome {
        Ok(read) => {
            let bounds = read.bounds.unwrap_or_default();
            let diverging_epoch = read.diverging.map(|(epoch, end)| EpochEndOffset {
                epoch: wire_epoch(epoch),
                end_offset: wire_offset(end),
            });
            PartitionData {
                partition_index,
                high_watermark: wire_offset(bounds.high_watermark),
                last_stable_offset: wire_offset(bounds.high_watermark),
                log_start_offset: wire_offset(bounds.log_start),
                diverging_epoch: diverging_epoch.unwrap_or_default(),
                aborted_transactions: (request.isolation_level == READ_COMMITTED).then(Vec::new),
                records: Records::Chunk(read.records.unwrap_or_default()),
                ..PartitionData::default()
            }
        }
        Err(code) => PartitionData {
            partition_index,
            error_code: code.code(),
            high_watermark: -1,
            ..PartitionData::default()
        },
    }
}
