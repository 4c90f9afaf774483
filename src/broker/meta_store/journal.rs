//! The bytes of the journal and of the snapshot: pure functions from values to bytes and back.
//!
//! All integers are little-endian; a string is its length as `u32` and its bytes.
//!
//! ```text
//! journal header            journal entry                    payload of an entry
//!  0  8  magic "CLOGMETJ"    0  4  len of the payload         0  8  revision
//!  8  4  version = 1         4  4  crc32c of the payload      8  4  number of ops
//! 12  8  base revision       8  len  payload                 12     ops: tag u8 (1 put, 2 delete), key, value if put
//! 20  4  crc32c of 0..20
//!
//! snapshot
//!  0  8  magic "CLOGMETS"   12  8  revision                  28     items: mod_revision u64, key, value
//!  8  4  version = 1        20  8  number of items          end  4  crc32c of all before it
//! ```
//!
//! Invariants of a sound journal: revisions are dense, and the first is `base + 1`. A journal whose base is at or below
//! the revision of the snapshot continues it.
//!
//! What follows the last sound entry is *torn* if no sound entry of a later revision starts at any byte after it, and
//! *damage* otherwise. The search at every byte is needed because a flipped bit in a length hides where the next entry
//! starts; it runs only over what would be cut.

use super::{Error, Image, Item, KEY_BYTES_MAX, Op, Revision, TXN_BYTES_MAX};
use crate::base::crc32c;

const JOURNAL_MAGIC: &[u8; 8] = b"CLOGMETJ";
const SNAPSHOT_MAGIC: &[u8; 8] = b"CLOGMETS";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;
const PREFIX_BYTES: usize = 8;
const PUT: u8 = 1;
const DELETE: u8 = 2;

/// More commits than a store can make: a million a second for 300,000 years leave room for as many again.
const REVISION_MAX: Revision = Revision::new(u64::MAX / 2);

/// Where bytes stop making sense, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Damage {
    pub(crate) position: usize,
    pub(crate) reason: &'static str,
}

/// One commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) revision: Revision,
    pub(crate) ops: Vec<Op>,
}

/// What a journal holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Journal {
    /// The revision it continues.
    pub(crate) base: Revision,
    pub(crate) entries: Vec<Entry>,
    /// Bytes that are sound; what follows is a torn entry.
    pub(crate) end: usize,
}

impl Journal {
    pub(crate) fn last(&self) -> Revision {
        self.entries.last().map_or(self.base, |entry| entry.revision)
    }
}

pub(crate) fn encode_header(base: Revision) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(JOURNAL_MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&base.get().to_le_bytes());
    append_checksum(&mut bytes);
    bytes
}

/// The whole entry, or [`Error::TooLarge`].
pub(crate) fn encode_entry(revision: Revision, ops: &[Op]) -> Result<Vec<u8>, Error> {
    let bytes = PREFIX_BYTES + 12 + ops.iter().map(op_bytes).sum::<usize>();
    if bytes > TXN_BYTES_MAX {
        return Err(Error::TooLarge { bytes });
    }
    let mut payload = Vec::with_capacity(bytes);
    payload.extend_from_slice(&revision.get().to_le_bytes());
    payload.extend_from_slice(&length(ops.len()).to_le_bytes());
    for op in ops {
        match op {
            Op::Put { key, value } => {
                payload.push(PUT);
                append_bytes(&mut payload, key.as_bytes());
                append_bytes(&mut payload, value);
            }
            Op::Delete { key } => {
                payload.push(DELETE);
                append_bytes(&mut payload, key.as_bytes());
            }
        }
    }
    let mut entry = Vec::with_capacity(bytes);
    entry.extend_from_slice(&length(payload.len()).to_le_bytes());
    entry.extend_from_slice(&crc32c(&payload).to_le_bytes());
    entry.append(&mut payload);
    Ok(entry)
}

/// Reads a journal up to its torn end, if it has one. Anything else that is not sound is damage.
pub(crate) fn decode(bytes: &[u8]) -> Result<Journal, Damage> {
    let base = decode_header(bytes)?;
    let mut journal = Journal {
        base,
        entries: Vec::new(),
        end: HEADER_BYTES,
    };
    while let Some((entry, len)) = decode_entry(&bytes[journal.end..]) {
        if entry.revision != journal.last().next() {
            return Err(Damage {
                position: journal.end,
                reason: "a commit is missing before this one",
            });
        }
        journal.entries.push(entry);
        journal.end += len;
    }
    if later_entry(bytes, journal.end, journal.last()) {
        return Err(Damage {
            position: journal.end,
            reason: "an unreadable commit with readable ones after it",
        });
    }
    Ok(journal)
}

fn decode_header(bytes: &[u8]) -> Result<Revision, Damage> {
    let damage = |reason| Damage { position: 0, reason };
    let header = bytes
        .get(..HEADER_BYTES)
        .ok_or_else(|| damage("the header is incomplete"))?;
    let mut rest = verify(header).ok_or_else(|| damage("the checksum of the header is wrong"))?;
    check_kind(&mut rest, JOURNAL_MAGIC)?;
    let base = read_revision(&mut rest).ok_or_else(|| damage("the header is incomplete"))?;
    check_reachable(base).ok_or_else(|| damage("no store has made so many commits"))?;
    Ok(base)
}

/// True if a sound entry of a commit after the next one starts somewhere behind `position`. (The next commit itself is
/// what is unreadable at `position`.)
fn later_entry(bytes: &[u8], position: usize, last: Revision) -> bool {
    let starts = position.saturating_add(1)..bytes.len();
    starts
        .into_iter()
        .any(|start| decode_entry(&bytes[start..]).is_some_and(|(entry, _)| entry.revision > last.next()))
}

/// The entry at the start of `bytes` and its length, if it is sound.
fn decode_entry(bytes: &[u8]) -> Option<(Entry, usize)> {
    let mut rest = bytes;
    let len = usize::try_from(read_u32(&mut rest)?).ok()?;
    let sum = read_u32(&mut rest)?;
    // Zeros are no entry: an empty payload has the checksum zero, but no revision.
    let payload = rest
        .get(..len)
        .filter(|payload| payload.len() <= TXN_BYTES_MAX && crc32c(payload) == sum)?;
    Some((decode_payload(payload)?, PREFIX_BYTES + len))
}

fn decode_payload(mut rest: &[u8]) -> Option<Entry> {
    let revision = read_revision(&mut rest)?;
    let count = read_u32(&mut rest)?;
    // No reservation by `count`: it is only as good as the bytes that follow.
    let mut ops = Vec::new();
    for _ in 0..count {
        let tag = read_u8(&mut rest)?;
        let key = read_key(&mut rest)?;
        ops.push(match tag {
            PUT => Op::Put {
                key,
                value: read_bytes(&mut rest)?.to_vec(),
            },
            DELETE => Op::Delete { key },
            _ => return None,
        });
    }
    rest.is_empty().then_some(Entry { revision, ops })
}

pub(crate) fn encode_snapshot(revision: Revision, image: &Image) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(SNAPSHOT_MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&revision.get().to_le_bytes());
    bytes.extend_from_slice(&u64::from(length(image.len())).to_le_bytes());
    for (key, item) in image {
        bytes.extend_from_slice(&item.mod_revision.get().to_le_bytes());
        append_bytes(&mut bytes, key.as_bytes());
        append_bytes(&mut bytes, &item.value);
    }
    append_checksum(&mut bytes);
    bytes
}

pub(crate) fn decode_snapshot(bytes: &[u8]) -> Result<(Revision, Image), Damage> {
    let damage = |position| Damage {
        position,
        reason: "the item does not check out",
    };
    let mut rest = verify(bytes).ok_or(Damage {
        position: 0,
        reason: "the checksum of the file is wrong",
    })?;
    let total = rest.len();
    check_kind(&mut rest, SNAPSHOT_MAGIC)?;
    let revision = read_revision(&mut rest)
        .and_then(check_reachable)
        .ok_or_else(|| damage(12))?;
    let count = read_u64(&mut rest).ok_or_else(|| damage(20))?;
    let mut image = Image::new();
    for _ in 0..count {
        let position = total - rest.len();
        let (key, item) = read_item(&mut rest)
            .filter(|(_, item)| item.mod_revision <= revision)
            .ok_or_else(|| damage(position))?;
        if image.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(Damage {
                position,
                reason: "the keys are out of order",
            });
        }
        image.insert(key, item);
    }
    if !rest.is_empty() {
        return Err(damage(total - rest.len()));
    }
    Ok((revision, image))
}

fn read_item(rest: &mut &[u8]) -> Option<(String, Item)> {
    let mod_revision = read_revision(rest)?;
    let key = read_key(rest)?;
    let value = read_bytes(rest)?.to_vec();
    Some((key, Item { value, mod_revision }))
}

fn check_kind(rest: &mut &[u8], magic: &[u8; 8]) -> Result<(), Damage> {
    if read_array::<8>(rest) != Some(*magic) {
        return Err(Damage {
            position: 0,
            reason: "it is a file of another kind",
        });
    }
    if read_u32(rest) != Some(VERSION) {
        return Err(Damage {
            position: 8,
            reason: "it was written by a version this one does not know",
        });
    }
    Ok(())
}

fn op_bytes(op: &Op) -> usize {
    match op {
        Op::Put { key, value } => 9 + key.len() + value.len(),
        Op::Delete { key } => 5 + key.len(),
    }
}

fn length(len: usize) -> u32 {
    u32::try_from(len).expect("keys, values and counts are bounded by TXN_BYTES_MAX; the keys fit in memory")
}

fn append_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length(bytes.len()).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn append_checksum(out: &mut Vec<u8>) {
    let sum = crc32c(out);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// What stands before a trailing checksum, if that is right.
fn verify(bytes: &[u8]) -> Option<&[u8]> {
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    (crc32c(body) == u32::from_le_bytes(*sum)).then_some(body)
}

fn read_array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn read_u8(rest: &mut &[u8]) -> Option<u8> {
    read_array(rest).map(u8::from_le_bytes)
}

fn read_u32(rest: &mut &[u8]) -> Option<u32> {
    read_array(rest).map(u32::from_le_bytes)
}

fn read_u64(rest: &mut &[u8]) -> Option<u64> {
    read_array(rest).map(u64::from_le_bytes)
}

fn read_revision(rest: &mut &[u8]) -> Option<Revision> {
    read_u64(rest).map(Revision::new)
}

/// The revision, if a store may go on from it: those that follow must have numbers, too.
fn check_reachable(revision: Revision) -> Option<Revision> {
    (revision <= REVISION_MAX).then_some(revision)
}

fn read_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(read_u32(rest)?).ok()?;
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}

fn read_key(rest: &mut &[u8]) -> Option<String> {
    let key = std::str::from_utf8(read_bytes(rest)?).ok()?;
    (1..=KEY_BYTES_MAX).contains(&key.len()).then(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(bytes: &[u8], expected: &Expect) {
        let mut lines = String::new();
        for (row, chunk) in bytes.chunks(16).enumerate() {
            let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            lines.push_str(&format!("{:02}  {}\n", row * 16, hex.join(" ")));
        }
        expected.assert_eq(&lines);
    }

    #[test]
    fn the_journal_is_laid_out_as_drawn() {
        let mut bytes = encode_header(Revision::new(7));
        let ops = [
            Op::Put {
                key: "k".to_owned(),
                value: b"vv".to_vec(),
            },
            Op::Delete { key: "d".to_owned() },
        ];
        bytes.append(&mut encode_entry(Revision::new(8), &ops).unwrap());
        check(
            &bytes,
            &expect![[r#"
                00  43 4c 4f 47 4d 45 54 4a 01 00 00 00 07 00 00 00
                16  00 00 00 00 29 09 c3 ba 1e 00 00 00 3b 5b 69 dc
                32  08 00 00 00 00 00 00 00 02 00 00 00 01 01 00 00
                48  00 6b 02 00 00 00 76 76 02 01 00 00 00 64
            "#]],
        );
        let journal = decode(&bytes).unwrap();
        assert_eq!(
            (journal.base, journal.last(), journal.end),
            (Revision::new(7), Revision::new(8), bytes.len())
        );
        assert_eq!(journal.entries[0].ops, ops);
    }

    #[test]
    fn the_snapshot_is_laid_out_as_drawn() {
        let item = Item {
            value: b"vv".to_vec(),
            mod_revision: Revision::new(3),
        };
        let image = Image::from([("k".to_owned(), item)]);
        let bytes = encode_snapshot(Revision::new(9), &image);
        check(
            &bytes,
            &expect![[r#"
                00  43 4c 4f 47 4d 45 54 53 01 00 00 00 09 00 00 00
                16  00 00 00 00 01 00 00 00 00 00 00 00 03 00 00 00
                32  00 00 00 00 01 00 00 00 6b 02 00 00 00 76 76 46
                48  0d 62 8f
            "#]],
        );
        assert_eq!(decode_snapshot(&bytes).unwrap(), (Revision::new(9), image));
    }

    #[test]
    fn revisions_that_no_store_reaches_are_refused() {
        for base in [REVISION_MAX.next(), Revision::new(u64::MAX)] {
            assert!(decode(&encode_header(base)).is_err());
            assert!(decode_snapshot(&encode_snapshot(base, &Image::new())).is_err());
        }
        assert!(decode(&encode_header(REVISION_MAX)).is_ok());
    }

    #[test]
    fn every_flipped_bit_of_a_snapshot_is_noticed() {
        let item = Item {
            value: b"value".to_vec(),
            mod_revision: Revision::new(3),
        };
        let bytes = encode_snapshot(Revision::new(9), &Image::from([("key".to_owned(), item)]));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_snapshot(&bad).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(decode_snapshot(&bytes[..len]).is_err(), "length {len}");
        }
    }
}
