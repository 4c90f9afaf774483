//! What one partition's records are refused for, in Kafka's order and with Kafka's codes.
//!
//! ```text
//! framing (87, 2), zstd for old clients (76)          the request makes no sense
//! the broker's own topic (17), replicas (19)          nothing may be appended here
//! base offset (87), size (10, 18), checksum (2), meaning (87, 76), timestamp type (32)
//! keys (87), timestamps (32)                          record by record: see `records`
//! ```

use super::Refusal;
use super::records::{Opened, Rewrites, judge};
use crate::base::Timestamp;
use crate::batch::attributes::{Compression, TimestampType};
use crate::batch::kafka::{KafkaBatch, MAGIC_V2};
use crate::broker::admission::{RecordRules, enough_replicas};
use crate::broker::topic::{StoredCompression, Topic, TopicSettings, is_internal};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::map;

/// First version whose clients know zstd.
const ZSTD_SINCE: i16 = 7;

/// Acks of a client that wants every in-sync replica to have its batch.
const ACKS_ALL: i16 = -1;

/// What a request says of all its batches, and the broker's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Version of the request.
    pub(super) version: i16,
    /// Its acks.
    pub(super) acks: i16,
    /// The broker's time.
    pub(super) now: Timestamp,
}

/// Where a batch that passed is to be taken from.
#[derive(Clone, Debug)]
pub(super) enum Passed<'a> {
    /// The client's frame.
    AsSent(KafkaBatch<'a>),
    /// The rewritten batches: the broker compressed it anew.
    Rewritten(std::ops::Range<usize>),
}

/// Judges one partition's records. What must be rewritten goes into `rewrites`.
///
/// # Errors
/// The first fault.
pub(super) fn check_batch<'a>(
    records: Option<&'a [u8]>,
    topic: &Topic,
    terms: Terms,
    rewrites: &mut Rewrites<'_>,
) -> Result<Passed<'a>, Refusal> {
    let batch = parse(records, terms.version)?;
    check_place(topic, terms.acks)?;
    check_form(&batch, &topic.settings)?;
    let rules = RecordRules::of(&topic.settings, terms.now);
    let codec = codec_for(&batch, topic.settings.compression);
    if codec.is_none() && !rules.need_records() && rules.take_latest(batch.max_timestamp()) {
        return Ok(Passed::AsSent(batch));
    }
    let opened = Opened::of(&batch, topic.settings.max_message_bytes, rewrites)?;
    judge(&opened, rules)?;
    match codec {
        None => Ok(Passed::AsSent(batch)),
        Some((codec, level)) => rewrites
            .add(&opened, codec, level, &topic.settings)
            .map(Passed::Rewritten),
    }
}

/// The codec to store the batch with, if it came with another.
fn codec_for(batch: &KafkaBatch<'_>, stored: StoredCompression) -> Option<(Compression, Option<i32>)> {
    match stored {
        StoredCompression::Producer => None,
        StoredCompression::Broker { codec, level } => {
            (batch.attributes().compression() != Ok(codec)).then_some((codec, level))
        }
    }
}

fn parse(records: Option<&[u8]>, version: i16) -> Result<KafkaBatch<'_>, Refusal> {
    let records = records.filter(|records| !records.is_empty());
    let Some(records) = records else {
        return Err(Refusal::new(
            ErrorCode::InvalidRecord,
            "a partition without records",
        ));
    };
    debug_assert_eq!(MAGIC_V2, 2, "every version from 3 on carries format 2 only");
    let batch = KafkaBatch::parse(records).map_err(map::batch_error)?;
    if version < ZSTD_SINCE && batch.attributes().compression() == Ok(Compression::Zstd) {
        let message = "zstd needs Produce version 7 or later";
        return Err(Refusal::new(ErrorCode::UnsupportedCompressionType, message));
    }
    Ok(batch)
}

fn check_place(topic: &Topic, acks: i16) -> Result<(), Refusal> {
    if is_internal(&topic.name) {
        let message = "the topic is the broker's own";
        return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
    }
    if acks == ACKS_ALL && !enough_replicas(&topic.settings) {
        let message = "the topic's min.insync.replicas is more than the one replica there is";
        return Err(Refusal::new(ErrorCode::NotEnoughReplicas, message));
    }
    Ok(())
}

fn check_form(batch: &KafkaBatch<'_>, settings: &TopicSettings) -> Result<(), Refusal> {
    if batch.base_offset() != 0 {
        let message = "the base offset of a new batch is 0";
        return Err(Refusal::new(ErrorCode::InvalidRecord, message));
    }
    check_size(batch.total_bytes(), settings)?;
    batch.verify_crc().map_err(map::batch_error)?;
    batch.check_produced().map_err(map::batch_error)?;
    if batch.attributes().timestamp_type() == TimestampType::LogAppendTime {
        let message = "producers may not set the timestamp type to LogAppendTime";
        return Err(Refusal::new(ErrorCode::InvalidTimestamp, message));
    }
    Ok(())
}

/// Whether a batch of so many bytes may be stored.
///
/// # Errors
/// 10 or 18.
pub(super) fn check_size(bytes: u32, settings: &TopicSettings) -> Result<(), Refusal> {
    if bytes > settings.max_message_bytes {
        let message = "the batch exceeds max.message.bytes";
        return Err(Refusal::new(ErrorCode::MessageTooLarge, message));
    }
    if u64::from(bytes) > settings.log.segment_bytes {
        let message = "the batch exceeds segment.bytes";
        return Err(Refusal::new(ErrorCode::RecordListTooLarge, message));
    }
    Ok(())
}
