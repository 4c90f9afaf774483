//! A stored frame with its records laid open, in whichever encoding it is, and checked so far that the cleaner may decide
//! about each of them.
//!
//! Producers are believed by the broker that stores their batches: it does not open them. So what is inside may be
//! anything, and the cleaner must never drop what it did not understand: records that do not parse, that are not as many
//! as the batch says, or whose offsets do not rise inside the batch make the frame [`NotSound`], and it stays as it is.
//! Memory is bounded by [`OPENED_BYTES_MAX`]; what would need more is not sound either.

use super::keys::{Full, KeyMap};
use crate::base::Offset;
use crate::batch::kafka::{KafkaBatch, Record, Records};
use crate::batch::records::{RecordsView, aligned_copy, to_kafka};
use crate::batch::{BatchHeader, Encoding};
use std::borrow::Cow;

/// Most bytes of records a frame may unpack to. One that needs more is not cleaned.
pub const OPENED_BYTES_MAX: usize = 16 << 20;

/// The records of a frame cannot be told for certain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotSound;

/// See the module.
#[derive(Debug)]
pub struct Opened<'a> {
    /// The batch in Kafka's encoding.
    bytes: Cow<'a, [u8]>,
    section: Cow<'a, [u8]>,
}

/// How far the keys of a frame were learned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learned {
    /// To its end.
    All,
    /// The map has no room for the record at this offset.
    Until(Offset),
}

impl<'a> Opened<'a> {
    /// Opens a frame whose payload passed its checksum.
    ///
    /// # Errors
    /// [`NotSound`]; the frame is to be left as it is.
    pub fn open(header: &BatchHeader, payload: &'a [u8]) -> Result<Self, NotSound> {
        let bytes = match header.encoding {
            Encoding::Kafka => Cow::Borrowed(payload),
            Encoding::Rkyv => {
                let aligned = aligned_copy(payload);
                let view = RecordsView::parse(&aligned).map_err(|_| NotSound)?;
                Cow::Owned(to_kafka(header, &view).map_err(|_| NotSound)?)
            }
        };
        let section = section_of(&bytes)?;
        let opened = Self { bytes, section };
        opened.check(header)?;
        Ok(opened)
    }

    /// The batch in Kafka's encoding, its base offset and epoch those of the frame.
    #[must_use]
    pub fn batch(&self) -> KafkaBatch<'_> {
        KafkaBatch::parse(&self.bytes).expect("parsed when it was opened")
    }

    /// Its records, uncompressed.
    #[must_use]
    pub fn section(&self) -> &[u8] {
        &self.section
    }

    /// Its records with their offsets.
    pub fn records(&self) -> impl Iterator<Item = (Offset, Record<'_>)> {
        let batch = self.batch();
        let base = Offset::new(u64::try_from(batch.base_offset()).unwrap_or(0));
        let count = u32::try_from(batch.record_count()).unwrap_or(0);
        Records::new(&self.section, count).map_while(move |record| {
            let record = record.ok()?;
            let delta = u64::try_from(record.offset_delta).ok()?;
            Some((base.plus(delta), record))
        })
    }

    /// Notes the keys of the records from `from` on.
    pub fn learn(&self, from: Offset, map: &mut KeyMap) -> Learned {
        for (offset, record) in self.records().filter(|(offset, _)| *offset >= from) {
            if let Some(key) = record.key
                && map.note(key, offset) == Err(Full)
            {
                return Learned::Until(offset);
            }
        }
        Learned::All
    }

    fn check(&self, header: &BatchHeader) -> Result<(), NotSound> {
        let batch = self.batch();
        let span = u32::try_from(i64::from(batch.last_offset_delta()) + 1);
        let placed = u64::try_from(batch.base_offset()) == Ok(header.base_offset.get());
        let count = u32::try_from(batch.record_count()).map_err(|_| NotSound)?;
        if span != Ok(header.record_count) || !placed {
            return Err(NotSound);
        }
        let mut last = -1;
        for record in Records::new(&self.section, count) {
            let delta = record.map_err(|_| NotSound)?.offset_delta;
            if delta <= last || delta > batch.last_offset_delta() {
                return Err(NotSound);
            }
            last = delta;
        }
        Ok(())
    }
}

fn section_of<'a>(bytes: &Cow<'a, [u8]>) -> Result<Cow<'a, [u8]>, NotSound> {
    match bytes {
        Cow::Borrowed(bytes) => {
            let batch = KafkaBatch::parse(bytes).map_err(|_| NotSound)?;
            batch.uncompressed(OPENED_BYTES_MAX).map_err(|_| NotSound)
        }
        Cow::Owned(bytes) => {
            let batch = KafkaBatch::parse(bytes).map_err(|_| NotSound)?;
            let section = batch.uncompressed(OPENED_BYTES_MAX).map_err(|_| NotSound)?;
            Ok(Cow::Owned(section.into_owned()))
        }
    }
}
