//! Makes checksums right, so that a fuzzer gets behind them. Each function changes the summed bytes and nothing else; what is
//! too short to have a sum stays as it is.

use crate::base::crc32c;
use crate::batch::header::MAGIC;
use crate::batch::{BatchHeader, FRAME_ALIGN, HEADER_BYTES, HeaderError, kafka};
use crate::protocol::native::frame::HEAD_BYTES;

/// `bytes[at..at + 4]` becomes the little-endian sum of `bytes[from..]`.
fn sum_behind(bytes: &mut [u8], at: usize, from: usize) {
    if bytes.len() >= from {
        let sum = crc32c(&bytes[from..]);
        bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A file that begins with a magic and then the sum of everything behind it: index, checkpoint, clean-stop marker.
pub(super) fn small_file(bytes: &mut [u8]) {
    sum_behind(bytes, 4, 8);
}

/// A file that ends with the sum of everything in front of it: the metadata snapshot.
pub(super) fn ending(bytes: &mut [u8]) {
    if let Some((body, end)) = bytes.split_last_chunk_mut::<4>() {
        *end = crc32c(body).to_le_bytes();
    }
}

/// The metadata journal: its header, then entry after entry as far as their lengths make sense.
pub(super) fn journal(bytes: &mut [u8]) {
    const HEADER_BYTES: usize = 24;
    const PREFIX_BYTES: usize = 8;
    let Some((header, mut entries)) = bytes.split_at_mut_checked(HEADER_BYTES) else {
        return;
    };
    ending(header);
    while let Some((prefix, rest)) = entries.split_at_mut_checked(PREFIX_BYTES) {
        let len = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
        let Some((payload, behind)) = rest.split_at_mut_checked(len) else {
            return;
        };
        prefix[4..].copy_from_slice(&crc32c(payload).to_le_bytes());
        entries = behind;
    }
}

/// A Kafka batch: its length, its magic and its sum.
pub(super) fn kafka_batch(bytes: &mut [u8]) {
    if bytes.len() < kafka::KAFKA_HEADER_BYTES {
        return;
    }
    let length = u32::try_from(bytes.len() - 12).expect("a fuzzer's inputs are small");
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16..17].copy_from_slice(&kafka::MAGIC_V2.to_be_bytes());
    let sum = crc32c(&bytes[kafka::SUMMED_FROM..]);
    bytes[17..kafka::SUMMED_FROM].copy_from_slice(&sum.to_be_bytes());
}

/// Every stored frame that begins at a frame's place, one behind the other: what its payload implies, its payload's sum and
/// its header's.
pub(super) fn stored_frames(bytes: &mut [u8]) {
    let mut at = 0;
    while at + HEADER_BYTES <= bytes.len() {
        at += if bytes[at..].starts_with(&MAGIC) {
            stored_frame(&mut bytes[at..])
        } else {
            FRAME_ALIGN
        };
    }
}

/// Seals the frame at the start of `bytes`, as far as it is there; how far to go for the next.
fn stored_frame(bytes: &mut [u8]) -> usize {
    let (header, rest) = bytes.split_at_mut(HEADER_BYTES);
    let payload_len = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
    let mut step = FRAME_ALIGN;
    if let Some(payload) = rest.get_mut(..payload_len) {
        step = HEADER_BYTES + payload_len.next_multiple_of(FRAME_ALIGN);
        let summed_from = if header[17] == KAFKA_ENCODING && payload.len() >= kafka::KAFKA_HEADER_BYTES {
            kafka_batch(payload);
            // The two fields that the frame's header says again, in the other byte order.
            reverse_into(&mut payload[..8], &header[48..56]);
            reverse_into(&mut payload[12..16], &header[44..48]);
            kafka::SUMMED_FROM
        } else {
            0
        };
        header[12..16].copy_from_slice(&crc32c(&payload[summed_from..]).to_le_bytes());
    }
    sum_behind(header, 4, 8);
    debug_assert!(!matches!(
        BatchHeader::decode(header),
        Err(HeaderError::Checksum { .. })
    ));
    step
}

fn reverse_into(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from.iter().rev()) {
        *to = *from;
    }
}

/// Every frame of the native protocol, one behind the other, as far as their lengths make sense.
pub(super) fn native_frames(mut bytes: &mut [u8]) {
    while let Some(head) = bytes.first_chunk::<HEAD_BYTES>() {
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (length, control_len) = (word(0), word(12) as usize);
        let control_end = HEAD_BYTES.saturating_add(control_len);
        let whole = length as usize >= HEAD_BYTES && length as usize <= bytes.len();
        if !whole || control_end > bytes.len() {
            return;
        }
        let sum = crc32c(&bytes[8..control_end]) ^ length;
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        bytes = &mut bytes[length as usize..];
    }
}

/// The encoding byte of a Kafka batch in a stored frame.
const KAFKA_ENCODING: u8 = 2;
