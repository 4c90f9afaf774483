//! What a Fetch comes to before anything is read: partitions found or refused, bounds, memory.

use crate::base::{LeaderEpoch, Offset};
use crate::batch::attributes::Compression;
use crate::broker::image::Image;
use crate::broker::topic::{StoredCompression, Topic};
use crate::protocol::kafka::call::Call;
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::fetch_session::{Begun, Position, Reference, TopicKey};
use crate::protocol::kafka::handlers::log_of;
use crate::protocol::kafka::map;
use crate::protocol::kafka::messages::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
use crate::runtime::clock;
use crate::shard::request::{ReadLimits, ReadPart};
use crate::storage::read::ReadFormat;

/// Most bytes of one answer, whatever the client asks for; Kafka's `fetch.max.bytes`.
const FETCH_BYTES_MAX: usize = 55 << 20;

/// One answer takes at most this part of the response budget, so that a few large ones do not take turns.
const BUDGET_SHARE: usize = 4;

/// First version whose clients know zstd.
const ZSTD_SINCE: i16 = 10;

/// First version that names topics by id.
const TOPIC_IDS_SINCE: i16 = 13;

/// Whether requests of this version name topics by id.
pub(super) const fn is_by_id(version: i16) -> bool {
    version >= TOPIC_IDS_SINCE
}

/// One partition to fetch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) topic: TopicKey<'a>,
    pub(super) position: Position,
    /// Why it is not read; the others are, in order.
    pub(super) refused: Option<ErrorCode>,
}

impl<'a> Ask<'a> {
    /// The topic's name on the wire, empty if it goes by id.
    pub(super) const fn name(&self) -> &'a str {
        match self.topic {
            TopicKey::Name(name) => name,
            TopicKey::Id(_) => "",
        }
    }
}

/// What the request comes to.
pub(super) struct Plan<'a> {
    /// Every partition, in the order they are read and answered in.
    pub(super) asks: Vec<Ask<'a>>,
    /// Those to be read, in the same order.
    pub(super) parts: Vec<ReadPart>,
    pub(super) limits: ReadLimits,
    /// Bytes to reserve for reading them.
    pub(super) reserve: usize,
}

impl Plan<'_> {
    pub(super) fn has_refused(&self) -> bool {
        self.asks.iter().any(|ask| ask.refused.is_some())
    }

    /// The asks that were read, in the order of the reads.
    pub(super) fn asks_read(&self) -> impl Iterator<Item = &Ask<'_>> {
        self.asks.iter().filter(|ask| ask.refused.is_none())
    }
}

/// Takes the request into its session, if it has one.
pub(super) fn begin_session(call: &Call, request: &FetchRequest<'_>) -> Result<Begun, ErrorCode> {
    let reference = Reference {
        id: request.session_id,
        epoch: request.session_epoch,
        by_id: is_by_id(call.version),
    };
    let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
        let key = key_of_forgotten(topic, call.version);
        topic.partitions.iter().map(move |partition| (key, *partition))
    });
    call.fetch_sessions
        .borrow_mut()
        .begin(now_ms(), reference, wanted(request, call.version), forgotten)
        .map_err(map::session_error)
}

/// Sessions count time in ms of the monotonic clock.
pub(super) fn now_ms() -> u64 {
    u64::try_from(clock::now().since(clock::Mono::default()).as_millis()).unwrap_or(u64::MAX)
}

/// The partitions the request lists.
pub(super) fn wanted<'a>(
    request: &'a FetchRequest<'_>,
    version: i16,
) -> impl Iterator<Item = (TopicKey<'a>, Position)> {
    request.topics.iter().flat_map(move |topic| {
        let key = key_of(topic, version);
        topic
            .partitions
            .iter()
            .map(move |partition| (key, position_of(partition)))
    })
}

const fn key_of<'a>(topic: &FetchTopic<'a>, version: i16) -> TopicKey<'a> {
    if is_by_id(version) {
        TopicKey::Id(topic.topic_id)
    } else {
        TopicKey::Name(topic.topic)
    }
}

const fn key_of_forgotten<'a>(topic: &ForgottenTopic<'a>, version: i16) -> TopicKey<'a> {
    if is_by_id(version) {
        TopicKey::Id(topic.topic_id)
    } else {
        TopicKey::Name(topic.topic)
    }
}

const fn position_of(partition: &FetchPartition) -> Position {
    Position {
        partition: partition.partition,
        current_leader_epoch: partition.current_leader_epoch,
        fetch_offset: partition.fetch_offset,
        last_fetched_epoch: partition.last_fetched_epoch,
        max_bytes: partition.partition_max_bytes,
    }
}

/// Looks the partitions up and bounds what reading them may take.
pub(super) fn plan<'a>(
    call: &Call,
    request: &FetchRequest<'_>,
    wanted: impl Iterator<Item = (TopicKey<'a>, Position)>,
) -> Plan<'a> {
    let image = call.shard.image();
    let mut asks = Vec::new();
    let mut parts = Vec::new();
    let (mut wanted_bytes, mut largest_batch) = (0usize, 0usize);
    for (topic, position) in wanted {
        let refused = match find(&image, topic, position, call.version) {
            Ok((part, batch_bytes)) => {
                wanted_bytes = wanted_bytes.saturating_add(part.max_bytes);
                largest_batch = largest_batch.max(batch_bytes);
                parts.push(part);
                None
            }
            Err(code) => Some(code),
        };
        asks.push(Ask {
            topic,
            position,
            refused,
        });
    }
    let share = call.shard.response_budget().limit() / BUDGET_SHARE;
    let max_bytes = usize::try_from(request.max_bytes)
        .unwrap_or(0)
        .min(FETCH_BYTES_MAX)
        .min(share);
    Plan {
        asks,
        parts,
        limits: ReadLimits {
            max_bytes,
            oversized_first: true,
            format: ReadFormat::Kafka,
        },
        // The first batch may exceed `max_bytes`; the topic bounds by how much.
        reserve: wanted_bytes.min(max_bytes).max(largest_batch.min(share)),
    }
}

/// What to read for one partition, and the largest batch its topic allows.
fn find(
    image: &Image,
    topic: TopicKey<'_>,
    position: Position,
    version: i16,
) -> Result<(ReadPart, usize), ErrorCode> {
    let found = match topic {
        TopicKey::Name(name) => image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition),
        TopicKey::Id(id) => image.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId),
    }?;
    let log = log_of(found, position.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if version < ZSTD_SINCE && stores_zstd(found) {
        return Err(ErrorCode::UnsupportedCompressionType);
    }
    let offset = u64::try_from(position.fetch_offset).map_err(|_| ErrorCode::OffsetOutOfRange)?;
    let last_epoch = u32::try_from(position.last_fetched_epoch).ok();
    let part = ReadPart {
        log,
        offset: Offset::new(offset),
        max_bytes: usize::try_from(position.max_bytes).unwrap_or(0),
        last_epoch: last_epoch.map(LeaderEpoch::new),
    };
    Ok((
        part,
        usize::try_from(found.settings.max_message_bytes).unwrap_or(0),
    ))
}

/// Whether the broker itself compresses what the topic stores with zstd.
fn stores_zstd(topic: &Topic) -> bool {
    matches!(
        topic.settings.compression,
        StoredCompression::Broker {
            codec: Compression::Zstd,
            ..
        }
    )
}
