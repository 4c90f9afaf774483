//! Kafka's codecs, opened only where records must be read: compacted topics, our own clients, tools.
//!
//! | codec | written | read |
//! |---|---|---|
//! | gzip | one member | any number of members |
//! | snappy | the Java library's framing, blocks of 32 KiB | that framing, or one raw block as librdkafka writes |
//! | lz4 | a frame of independent 64 KiB blocks, which is all Kafka's Java client can read | one frame, of any kind but the retired "legacy" one |
//! | zstd | one frame | any number of frames |
//!
//! Promise: [`decompress`] never yields nor buffers more output than `output_bytes_max`, whatever the input
//! claims; memory grows with what was really decoded and is never reserved on the input's word beyond that bound.
//! On top come a decoder's fixed tables (zstd about 160 KiB, gzip 40 KiB) and, for lz4, its blocks
//! ([`LZ4_SCRATCH_BYTES_MAX`]). zstd's window needs no memory here because it decodes straight into the output.
//!
//! Absent: levels of lz4, whose library has one, and dictionaries (Kafka has none).

use std::borrow::Cow;
use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use thiserror::Error;
use zstd::zstd_safe;

use crate::batch::attributes::Compression;

/// Most bytes the lz4 decoder holds besides the output: two output blocks and one input block of 4 MiB, the
/// largest the frame format allows, and the 64 KiB window.
pub const LZ4_SCRATCH_BYTES_MAX: usize = 3 * (4 << 20) + (64 << 10);

/// Why compressed bytes could not be opened.
#[derive(Debug, Error)]
pub enum DecompressError {
    /// The output would pass the bound.
    #[error("decompressed records exceed {output_bytes_max} bytes")]
    TooLarge {
        /// The caller's bound.
        output_bytes_max: usize,
    },
    /// Not what the codec writes, or damaged.
    #[error("malformed {} data", codec.name())]
    Malformed {
        /// The codec asked for.
        codec: Compression,
        /// What the decoder said.
        source: io::Error,
    },
}

/// Compresses `input` the way Kafka's own clients do.
///
/// # Panics
/// If the codec's library cannot get the memory it needs.
#[must_use]
pub fn compress(codec: Compression, input: &[u8]) -> Vec<u8> {
    compress_at(codec, None, input)
}

/// As [`compress`], at a level of the codec: gzip has 1 to 9 and zstd up to 22; what lies outside is taken for the nearest.
/// The others have one level.
///
/// # Panics
/// As [`compress`].
#[must_use]
pub fn compress_at(codec: Compression, level: Option<i32>, input: &[u8]) -> Vec<u8> {
    match codec {
        Compression::None => Ok(input.to_vec()),
        Compression::Gzip => compress_gzip(input, level),
        Compression::Snappy => compress_snappy(input),
        Compression::Lz4 => compress_lz4(input),
        Compression::Zstd => zstd::bulk::compress(input, level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL)),
    }
    .expect("writing to memory fails only without memory")
}

/// Opens `input`; uncompressed bytes are borrowed, everything else is at most `output_bytes_max` long.
///
/// # Errors
/// `TooLarge` at the first byte past the bound (uncompressed input included), `Malformed` for bytes the codec
/// does not accept.
pub fn decompress(
    codec: Compression,
    input: &[u8],
    output_bytes_max: usize,
) -> Result<Cow<'_, [u8]>, DecompressError> {
    let opened = match codec {
        Compression::None if input.len() <= output_bytes_max => return Ok(Cow::Borrowed(input)),
        Compression::None => Err(Stop::TooLarge),
        Compression::Gzip => read_capped(MultiGzDecoder::new(input), input.len(), output_bytes_max),
        Compression::Snappy => decompress_snappy(input, output_bytes_max),
        Compression::Lz4 => decompress_lz4(input, output_bytes_max),
        Compression::Zstd => decompress_zstd(input, output_bytes_max),
    };
    match opened {
        Ok(output) => Ok(Cow::Owned(output)),
        Err(Stop::TooLarge) => Err(DecompressError::TooLarge { output_bytes_max }),
        Err(Stop::Malformed(source)) => Err(DecompressError::Malformed { codec, source }),
    }
}

/// Why a decoder stopped early, before the public error names the codec and the bound.
enum Stop {
    TooLarge,
    Malformed(io::Error),
}

impl Stop {
    fn malformed(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Malformed(io::Error::new(io::ErrorKind::InvalidData, what))
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Malformed(error)
    }
}

/// Reads to the end, growing by doubling but never past `cap`.
fn read_capped(mut reader: impl Read, input_bytes: usize, cap: usize) -> Result<Vec<u8>, Stop> {
    let mut output = vec![0; first_guess(input_bytes, cap)];
    let mut filled = 0;
    loop {
        if filled == output.len() {
            if filled == cap {
                let more = read_some(&mut reader, &mut [0])?;
                return if more == 0 {
                    Ok(output)
                } else {
                    Err(Stop::TooLarge)
                };
            }
            let grown = output.len().saturating_mul(2).clamp(1, cap);
            output.reserve_exact(grown - output.len());
            output.resize(grown, 0);
        }
        let read = read_some(&mut reader, &mut output[filled..])?;
        if read == 0 {
            output.truncate(filled);
            return Ok(output);
        }
        filled += read;
    }
}

fn read_some(reader: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Text and JSON usually shrink three- to fivefold, so most batches need no growth.
const fn first_guess(input_bytes: usize, cap: usize) -> usize {
    let guess = input_bytes.saturating_mul(4);
    if guess < cap { guess } else { cap }
}

fn compress_gzip(input: &[u8], level: Option<i32>) -> io::Result<Vec<u8>> {
    let level = level.map_or_else(flate2::Compression::default, |level| {
        flate2::Compression::new(level.clamp(1, GZIP_LEVEL_MAX).unsigned_abs())
    });
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(input)?;
    encoder.finish()
}

fn compress_lz4(input: &[u8]) -> io::Result<Vec<u8>> {
    let info = FrameInfo::new()
        .block_size(BlockSize::Max64KB)
        .block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(input)?;
    Ok(encoder.finish()?)
}

fn decompress_lz4(input: &[u8], cap: usize) -> Result<Vec<u8>, Stop> {
    // The legacy frame would make the decoder reserve twice the blocks of the largest real one, and the crate
    // takes an empty input for an empty output.
    if !input.starts_with(&LZ4_FRAME_MAGIC) {
        return Err(Stop::malformed("no lz4 frame magic"));
    }
    let mut source = Watched {
        rest: input,
        ran_dry: false,
    };
    let output = read_capped(FrameDecoder::new(&mut source), input.len(), cap)?;
    match source {
        Watched { ran_dry: true, .. } => Err(Stop::malformed("frame is cut")),
        Watched { rest: [], .. } => Ok(output),
        Watched { .. } => Err(Stop::malformed("bytes follow the frame")),
    }
}

/// Remembers whether its reader asked for more than there was. The lz4 crate takes input that ends between two
/// blocks for a finished frame, which would pass off a cut batch as a short one.
struct Watched<'a> {
    rest: &'a [u8],
    ran_dry: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.ran_dry |= into.len() > self.rest.len();
        self.rest.read(into)
    }
}

fn decompress_zstd(input: &[u8], cap: usize) -> Result<Vec<u8>, Stop> {
    let mut context = zstd_safe::DCtx::create();
    let mut size = first_guess(input.len(), cap);
    loop {
        // Decoding in one call writes matches from the output itself, so a claimed window of gigabytes costs
        // nothing. The price is starting over when the guess was short; doubling bounds that to twice the work.
        let mut output = Vec::with_capacity(size);
        match context.decompress(&mut output, input) {
            Ok(_) => return Ok(output),
            Err(ZSTD_OUTPUT_FULL) if size == cap => return Err(Stop::TooLarge),
            Err(ZSTD_OUTPUT_FULL) => size = size.saturating_mul(2).clamp(1, cap),
            Err(code) => return Err(Stop::malformed(zstd_safe::get_error_name(code))),
        }
    }
}

fn compress_snappy(input: &[u8]) -> io::Result<Vec<u8>> {
    let mut output = Vec::with_capacity(XERIAL_HEADER.len() + snap::raw::max_compress_len(input.len()));
    output.extend_from_slice(&XERIAL_HEADER);
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(XERIAL_BLOCK_BYTES) {
        let packed = encoder.compress_vec(block)?;
        let length = u32::try_from(packed.len()).map_err(io::Error::other)?;
        output.extend_from_slice(&length.to_be_bytes());
        output.extend_from_slice(&packed);
    }
    Ok(output)
}

fn decompress_snappy(input: &[u8], cap: usize) -> Result<Vec<u8>, Stop> {
    let mut output = Vec::new();
    if !input.starts_with(XERIAL_HEADER.split_at(XERIAL_MAGIC_BYTES).0) {
        append_snappy_block(input, &mut output, cap)?;
        return Ok(output);
    }
    let mut rest = input
        .get(XERIAL_HEADER.len()..)
        .ok_or_else(|| Stop::malformed("header is cut"))?;
    while !rest.is_empty() {
        let (length, behind) = rest
            .split_first_chunk()
            .ok_or_else(|| Stop::malformed("block is cut"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, behind) = behind
            .split_at_checked(length)
            .ok_or_else(|| Stop::malformed("block is cut"))?;
        append_snappy_block(block, &mut output, cap)?;
        rest = behind;
    }
    Ok(output)
}

fn append_snappy_block(block: &[u8], output: &mut Vec<u8>, cap: usize) -> Result<(), Stop> {
    let claimed = snap::raw::decompress_len(block).map_err(Stop::malformed)?;
    let start = output.len();
    if claimed > cap - start {
        return Err(Stop::TooLarge);
    }
    // No snappy element makes more than 64 bytes of three, so a block cannot claim memory it does not pay for.
    if claimed > block.len().saturating_mul(SNAPPY_EXPANSION_MAX) {
        return Err(Stop::malformed("claimed length is impossible"));
    }
    if claimed > output.capacity() - start {
        let doubled = output.capacity().saturating_mul(2);
        output.reserve_exact(doubled.clamp(start + claimed, cap) - start);
    }
    output.resize(start + claimed, 0);
    snap::raw::Decoder::new()
        .decompress(block, &mut output[start..])
        .map_err(Stop::malformed)?;
    Ok(())
}

/// `\x82SNAPPY\0`, version 1, oldest compatible version 1.
const XERIAL_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const XERIAL_MAGIC_BYTES: usize = 8;
const XERIAL_BLOCK_BYTES: usize = 32 << 10;
const SNAPPY_EXPANSION_MAX: usize = 64;
const GZIP_LEVEL_MAX: i32 = 9;
const LZ4_FRAME_MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();

/// `ZSTD_error_dstSize_tooSmall` (70) as functions return it: error codes are negated sizes.
const ZSTD_OUTPUT_FULL: usize = 70_usize.wrapping_neg();

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn opened(codec: Compression, input: &[u8], cap: usize) -> Option<Vec<u8>> {
        match decompress(codec, input, cap) {
            Ok(output) => Some(output.into_owned()),
            Err(DecompressError::TooLarge { output_bytes_max }) => {
                assert_eq!(output_bytes_max, cap);
                None
            }
            Err(error) => panic!("{codec:?}: {error:?}"),
        }
    }

    #[test]
    fn the_bound_is_exact_for_every_codec() {
        for codec in Compression::ALL {
            for length in [0_usize, 1, 100, 32 << 10, 200_000] {
                let input: Vec<u8> = (0..=250_u8)
                    .flat_map(|byte| [byte; 9])
                    .cycle()
                    .take(length)
                    .collect();
                let packed = compress(codec, &input);
                assert_eq!(
                    opened(codec, &packed, length),
                    Some(input.clone()),
                    "{codec:?} {length}"
                );
                assert_eq!(
                    opened(codec, &packed, length * 3 + 1),
                    Some(input),
                    "{codec:?} {length}"
                );
                if length > 0 {
                    assert_eq!(opened(codec, &packed, length - 1), None, "{codec:?} {length}");
                    assert_eq!(opened(codec, &packed, 0), None, "{codec:?} {length}");
                }
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let zeros = vec![0; 64 << 20];
        for codec in [
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            assert_eq!(
                opened(codec, &compress(codec, &zeros), 100_000),
                None,
                "{codec:?}"
            );
        }
    }

    #[test]
    fn raw_snappy_is_read_too() {
        let input = b"a block without framing, as librdkafka writes it".repeat(10);
        let packed = snap::raw::Encoder::new().compress_vec(&input).unwrap();
        assert_eq!(opened(Compression::Snappy, &packed, 1000), Some(input));
    }

    #[test]
    fn concatenated_gzip_members_and_zstd_frames_are_one_output() {
        for codec in [Compression::Gzip, Compression::Zstd] {
            let packed = [compress(codec, b"one "), compress(codec, b"two")].concat();
            assert_eq!(
                opened(codec, &packed, 100).as_deref(),
                Some(&b"one two"[..]),
                "{codec:?}"
            );
        }
    }

    #[test]
    fn zstd_without_a_content_size_is_read() {
        let input = vec![7; 300_000];
        let packed = zstd::stream::encode_all(&input[..], 19).unwrap();
        assert_eq!(opened(Compression::Zstd, &packed, 300_000), Some(input));
        assert_eq!(opened(Compression::Zstd, &packed, 299_999), None);
    }

    #[test]
    fn a_snappy_block_cannot_claim_what_it_does_not_pay_for() {
        // A raw block of ten bytes whose preamble claims 256 MiB.
        let block = [0x80, 0x80, 0x80, 0x80, 0x01, 0, 0, 0, 0, 0];
        let error = decompress(Compression::Snappy, &block, usize::MAX).unwrap_err();
        assert!(matches!(
            error,
            DecompressError::Malformed {
                codec: Compression::Snappy,
                ..
            }
        ));
    }

    #[test]
    fn cut_input_is_malformed() {
        let input: Vec<u8> = (0..50_000_u32).flat_map(|at| (at * 7919).to_le_bytes()).collect();
        for codec in [
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let packed = compress(codec, &input);
            for cut in [1, 3, 9, 17, packed.len() / 2, packed.len() - 1] {
                let result = decompress(codec, &packed[..cut], 1 << 20);
                assert!(
                    matches!(result, Err(DecompressError::Malformed { .. })),
                    "{codec:?} cut at {cut}: {:?}",
                    result.map(|output| output.len())
                );
            }
        }
    }

    proptest! {
        #[test]
        fn every_codec_round_trips(input in prop::collection::vec(any::<u8>(), 0..5000)) {
            for codec in Compression::ALL {
                let packed = compress(codec, &input);
                prop_assert_eq!(opened(codec, &packed, input.len()), Some(input.clone()));
            }
        }

        #[test]
        fn hostile_input_neither_panics_nor_passes_the_bound(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            for codec in Compression::ALL {
                for mut input in [bytes.clone(), compress(codec, &bytes)] {
                    for (at, with) in &flips {
                        if !input.is_empty() {
                            let at = at.index(input.len());
                            input[at] ^= with;
                        }
                    }
                    if let Ok(output) = decompress(codec, &input, 200) {
                        prop_assert!(output.len() <= 200);
                    }
                }
            }
        }
    }
}
