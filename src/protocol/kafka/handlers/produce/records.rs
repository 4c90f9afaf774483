//! Batches that must be opened: topics that want keys, bound timestamps into the past, or store with a codec of their own.
//!
//! **Promise.** Opening takes at most [`OPENED_BYTES_MAX`] (or what the topic allows a batch to have, if that is more) and no more
//! than [`EXPANSION_MAX`] times what was sent, one
//! batch at a time on a shard: nothing waits while one is open, and others get their turn between two. An opened batch is read to its end: a record count or an
//! offset that is not what the header says is refused, and so is everything that is no record.
//!
//! **Rewritten batches** lie in a frame of their own until they are appended, on the account of the shard's response memory.
//! None is waited for: a request that finds too little left is told to try again.

use std::borrow::Cow;
use std::ops::Range;

use super::Refusal;
use super::check::check_size;
use crate::base::Timestamp;
use crate::batch::attributes::Compression;
use crate::batch::compression::DecompressError;
use crate::batch::kafka::{KafkaBatch, OpenError, Records, recompressed};
use crate::broker::admission::{RecordFault, RecordRules};
use crate::broker::topic::TopicSettings;
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::map;
use crate::runtime::executor;
use crate::runtime::local::{Budget, Permit};

/// Most bytes the records of one batch may open to: thirty times the default bound on a batch.
const OPENED_BYTES_MAX: usize = 32 << 20;

/// And at most this many bytes for each byte as sent: text shrinks to a tenth, machine-made logs to a fiftieth, and what shrinks
/// to less was made to be expensive,
const EXPANSION_MAX: usize = 256;
/// unless it is no more than this.
const OPENED_BYTES_SPARED: usize = 4 << 20;

/// Other tasks get their turn when this many bytes were opened: some milliseconds' work.
const OPENED_BYTES_PER_TURN: usize = 4 << 20;

/// Most records of a batch that are named when they are refused.
const FAULTS_MAX: usize = 1000;

/// A batch and its records section, opened.
#[derive(Debug)]
pub(super) struct Opened<'a> {
    batch: KafkaBatch<'a>,
    section: Cow<'a, [u8]>,
}

impl<'a> Opened<'a> {
    /// Opens a batch whose form was checked.
    ///
    /// # Errors
    /// 10 if its records are too many bytes, 87 if they do not open.
    pub(super) fn of(
        batch: &KafkaBatch<'a>,
        batch_bytes_max: u32,
        rewrites: &mut Rewrites<'_>,
    ) -> Result<Self, Refusal> {
        let most = OPENED_BYTES_MAX.max(usize::try_from(batch_bytes_max).unwrap_or(usize::MAX));
        let packed = usize::try_from(batch.total_bytes()).unwrap_or(usize::MAX);
        let most = most.min(
            packed
                .saturating_mul(EXPANSION_MAX)
                .saturating_add(OPENED_BYTES_SPARED),
        );
        let opened = batch.uncompressed(most);
        // One that is given up was opened up to the bound.
        rewrites.opened_bytes += opened.as_ref().map_or(most, |section| section.len());
        match opened {
            Ok(section) => Ok(Self {
                batch: *batch,
                section,
            }),
            Err(OpenError::Batch(error)) => Err(map::batch_error(error).into()),
            Err(OpenError::Decompress(DecompressError::TooLarge { .. })) => Err(Refusal::new(
                ErrorCode::MessageTooLarge,
                "the records are too large to be opened",
            )),
            Err(OpenError::Decompress(DecompressError::Malformed { .. })) => Err(Refusal::new(
                ErrorCode::InvalidRecord,
                "the records do not decompress",
            )),
        }
    }
}

/// Reads every record and holds it to the rules.
///
/// # Errors
/// 87 for a malformed record, or one without the key it should have; 32 for timestamps out of bounds. The records at fault
/// are named, up to [`FAULTS_MAX`] of them.
pub(super) fn judge(opened: &Opened<'_>, rules: RecordRules) -> Result<(), Refusal> {
    let batch = &opened.batch;
    let count = u32::try_from(batch.record_count()).unwrap_or(0);
    let base = batch.base_timestamp().get();
    let mut faults = Vec::new();
    for (expected, record) in (0..).zip(Records::new(&opened.section, count)) {
        let record = record.map_err(|_| malformed("the records are not what the header says"))?;
        if record.offset_delta != expected {
            return Err(malformed("the offsets of the records do not count up from 0"));
        }
        let timestamp = Timestamp::new(base.wrapping_add(record.timestamp_delta));
        if let Some(fault) = rules.judge(record.key.is_some(), timestamp)
            && faults.len() < FAULTS_MAX
        {
            faults.push((expected, fault));
        }
    }
    if let Some((_, first)) = faults.first() {
        return Err(Refusal {
            code: code_of(*first),
            message: Some(first.message()),
            records: faults,
        });
    }
    if !rules.take_latest(batch.max_timestamp()) {
        let fault = RecordFault::TooNew;
        return Err(Refusal::new(code_of(fault), fault.message()));
    }
    Ok(())
}

const fn code_of(fault: RecordFault) -> ErrorCode {
    match fault {
        RecordFault::NoKey => ErrorCode::InvalidRecord,
        RecordFault::TooOld | RecordFault::TooNew => ErrorCode::InvalidTimestamp,
    }
}

fn malformed(message: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidRecord, message)
}

/// The rewritten batches of one request.
#[derive(Debug)]
pub(super) struct Rewrites<'b> {
    budget: &'b Budget,
    frame: Vec<u8>,
    held: Vec<Permit>,
    /// Bytes opened since other tasks had their turn.
    opened_bytes: usize,
}

impl<'b> Rewrites<'b> {
    /// None yet; their memory will be `budget`'s. Allocates nothing.
    pub(super) const fn new(budget: &'b Budget) -> Self {
        Self {
            budget,
            frame: Vec::new(),
            held: Vec::new(),
            opened_bytes: 0,
        }
    }

    /// Lets other tasks run if much was opened since they did.
    pub(super) async fn give_way(&mut self) {
        if self.opened_bytes >= OPENED_BYTES_PER_TURN {
            self.opened_bytes = 0;
            executor::yield_now().await;
        }
    }

    /// Compresses a batch anew and says where it lies in the frame.
    ///
    /// # Errors
    /// 10 or 18 if it grew too large, 7 if there is no memory for it now, which clients take for a reason to try again.
    pub(super) fn add(
        &mut self,
        opened: &Opened<'_>,
        codec: Compression,
        level: Option<i32>,
        settings: &TopicSettings,
    ) -> Result<Range<usize>, Refusal> {
        let made = rewritten(opened, codec, level, settings)?;
        let held = self.budget.try_acquire(made.len());
        let held = held.ok_or_else(|| {
            let message = "there is no memory to compress the batch anew; try again";
            Refusal::new(ErrorCode::RequestTimedOut, message)
        })?;
        self.held.push(held);
        let start = self.frame.len();
        self.frame.extend_from_slice(&made);
        Ok(start..self.frame.len())
    }

    /// The frame, and the memory that is held for it.
    pub(super) fn into_parts(self) -> (Vec<u8>, Vec<Permit>) {
        (self.frame, self.held)
    }
}

/// The same batch under another codec.
fn rewritten(
    opened: &Opened<'_>,
    codec: Compression,
    level: Option<i32>,
    settings: &TopicSettings,
) -> Result<Vec<u8>, Refusal> {
    let too_large = || Refusal::new(ErrorCode::MessageTooLarge, "the batch is too large to be stored");
    let made = recompressed(&opened.batch, &opened.section, codec, level).map_err(|_| too_large())?;
    check_size(u32::try_from(made.len()).map_err(|_| too_large())?, settings)?;
    Ok(made)
}
