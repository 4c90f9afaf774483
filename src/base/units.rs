//! Sizes and durations as people write them: `512MiB`, `1GB`, `64k`, `30s`, `500ms`, `7d`.
//!
//! The promise is that reading is exact and writing is reversible: a value is a whole number of bytes or of
//! microseconds, nothing is rounded, and `parse(x.to_string()) == x` for every value that exists. Fractions
//! (`1.5GiB`) are refused rather than rounded, because a configured bound has to be the number that was written.
//!
//! Units of size: `B`; `kB MB GB TB` are powers of 1000; `KiB MiB GiB TiB` are powers of 1024, and so are the bare
//! letters `k m g t` (what `dd`, `truncate` and the JVM mean by them). Case does not matter.
//! Units of time: `us ms s m h d w`. A size without a unit is bytes; a duration without a unit is refused, since
//! half of all configuration files would mean seconds by it and the other half milliseconds.
//!
//! Pure values, read at start-up and by the command line; no shard parses one while it serves.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A number of bytes, at most [`ByteSize::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

impl ByteSize {
    /// No bytes.
    pub const ZERO: Self = Self(0);
    /// The largest size that can be written: 2^63 - 1, so that every size is also a TOML integer and an `i64`.
    pub const MAX: Self = Self(i64::MAX.unsigned_abs());

    /// A size of `bytes`, cut off at [`ByteSize::MAX`].
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        if bytes > Self::MAX.0 {
            Self::MAX
        } else {
            Self(bytes)
        }
    }

    /// A size of `count` KiB.
    #[must_use]
    pub const fn kib(count: u64) -> Self {
        Self::new(count.saturating_mul(KIB))
    }

    /// A size of `count` MiB.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self::new(count.saturating_mul(MIB))
    }

    /// A size of `count` GiB.
    #[must_use]
    pub const fn gib(count: u64) -> Self {
        Self::new(count.saturating_mul(GIB))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as an index into memory; saturates where addresses are narrower than sizes.
    #[must_use]
    pub fn to_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The size in its largest unit with one decimal (`412.3 GiB`): for people, not reversible.
    #[must_use]
    pub fn approximate(self) -> String {
        let Some((name, factor)) = BINARY_UNITS.iter().find(|(_, factor)| self.0 >= *factor) else {
            return format!("{} B", self.0);
        };
        let tenths = u128::from(self.0) * 10 / u128::from(*factor);
        match tenths % 10 {
            0 => format!("{} {name}", tenths / 10),
            tenth => format!("{}.{tenth} {name}", tenths / 10),
        }
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text)?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => KIB,
            "m" | "mib" => MIB,
            "g" | "gib" => GIB,
            "t" | "tib" => TIB,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => {
                return Err(UnitError::UnknownUnit {
                    unit: unit.to_owned(),
                    known: SIZE_UNITS,
                });
            }
        };
        let bytes = number.checked_mul(factor).ok_or(UnitError::TooLarge)?;
        if bytes > Self::MAX.0 {
            Err(UnitError::TooLarge)
        } else {
            Ok(Self(bytes))
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = BINARY_UNITS
            .iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        match exact {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.to_string();
        match text.parse::<u64>() {
            Ok(plain) => serializer.serialize_u64(plain),
            Err(_) => serializer.serialize_str(&text),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByteSizeVisitor)
    }
}

struct ByteSizeVisitor;

impl Visitor<'_> for ByteSizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"512MiB\" or a number of bytes")
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
        if bytes > ByteSize::MAX.0 {
            Err(E::custom(UnitError::TooLarge))
        } else {
            Ok(ByteSize(bytes))
        }
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
        u64::try_from(bytes)
            .map(ByteSize)
            .map_err(|_| E::custom(UnitError::Negative))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(E::custom)
    }
}

/// A length of time in whole microseconds, at most [`TimeSpan::MAX`] (about 292,000 years).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimeSpan(u64);

impl TimeSpan {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest span that can be written: 2^63 - 1 microseconds.
    pub const MAX: Self = Self(i64::MAX.unsigned_abs());

    /// A span of `count` microseconds, cut off at [`TimeSpan::MAX`].
    #[must_use]
    pub const fn from_micros(count: u64) -> Self {
        if count > Self::MAX.0 {
            Self::MAX
        } else {
            Self(count)
        }
    }

    /// A span of `count` milliseconds.
    #[must_use]
    pub const fn from_millis(count: u64) -> Self {
        Self::from_micros(count.saturating_mul(1_000))
    }

    /// A span of `count` seconds.
    #[must_use]
    pub const fn from_secs(count: u64) -> Self {
        Self::from_micros(count.saturating_mul(1_000_000))
    }

    /// The span in the standard library's words.
    #[must_use]
    pub const fn get(self) -> Duration {
        Duration::from_micros(self.0)
    }

    /// Whole microseconds.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds; what is left over is dropped.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }
}

impl FromStr for TimeSpan {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text)?;
        if unit.is_empty() && number != 0 {
            return Err(UnitError::MissingUnit {
                known: TIME_UNIT_NAMES,
            });
        }
        let unit_lower = unit.to_ascii_lowercase();
        let factor = match TIME_UNITS.iter().find(|(name, _)| *name == unit_lower) {
            Some((_, factor)) => *factor,
            None if unit.is_empty() => 1,
            None => {
                return Err(UnitError::UnknownUnit {
                    unit: unit.to_owned(),
                    known: TIME_UNIT_NAMES,
                });
            }
        };
        let micros = number.checked_mul(factor).ok_or(UnitError::TooLarge)?;
        if micros > Self::MAX.0 {
            Err(UnitError::TooLarge)
        } else {
            Ok(Self(micros))
        }
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = TIME_UNITS
            .iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        match exact {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => f.write_str("0s"),
        }
    }
}

impl fmt::Debug for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TimeSpan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimeSpanVisitor)
    }
}

struct TimeSpanVisitor;

impl Visitor<'_> for TimeSpanVisitor {
    type Value = TimeSpan;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit, such as \"30s\" or \"500ms\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TimeSpan, E> {
        text.parse().map_err(E::custom)
    }
}

/// Why a size or a duration could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// There is no number at the start.
    #[error("expected a whole number with a unit, such as 512MiB or 30s")]
    NotANumber,
    /// There is a fraction.
    #[error("write a whole number of a smaller unit instead of a fraction")]
    Fraction,
    /// Below zero.
    #[error("must not be negative")]
    Negative,
    /// A duration without a unit.
    #[error("a duration needs a unit: one of {known}")]
    MissingUnit {
        /// The units there are.
        known: &'static str,
    },
    /// The word after the number is not a unit.
    #[error("unknown unit \"{unit}\": use one of {known}")]
    UnknownUnit {
        /// What was written.
        unit: String,
        /// The units there are.
        known: &'static str,
    },
    /// More than 2^63 - 1.
    #[error("too large: the limit is 2^63 - 1")]
    TooLarge,
}

/// Number and unit, with whitespace around either dropped.
fn split(text: &str) -> Result<(u64, &str), UnitError> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(UnitError::Negative);
    }
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(digits_end);
    if digits.is_empty() {
        return Err(UnitError::NotANumber);
    }
    if rest.starts_with('.') {
        return Err(UnitError::Fraction);
    }
    let number = digits.parse().map_err(|_| UnitError::TooLarge)?;
    Ok((number, rest.trim_start()))
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SIZE_UNITS: &str = "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB";
const TIME_UNIT_NAMES: &str = "us, ms, s, m, h, d, w";

/// Largest first, so that the first that divides is the shortest way to write a size.
const BINARY_UNITS: [(&str, u64); 4] = [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];

/// Largest first, in microseconds.
const TIME_UNITS: [(&str, u64); 7] = [
    ("w", 604_800_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(text: &str) -> Result<u64, UnitError> {
        text.parse::<ByteSize>().map(ByteSize::get)
    }

    fn span(text: &str) -> Result<u64, UnitError> {
        text.parse::<TimeSpan>().map(TimeSpan::as_micros)
    }

    #[test]
    fn sizes_are_read_in_every_unit() {
        let cases = [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("64k", 64 << 10),
            ("64K", 64 << 10),
            ("64kb", 64_000),
            ("32KiB", 32 << 10),
            ("512MiB", 512 << 20),
            ("512 mib", 512 << 20),
            ("2m", 2 << 20),
            ("3MB", 3_000_000),
            ("1GB", 1_000_000_000),
            ("1g", 1 << 30),
            ("2TiB", 2 << 40),
            (" 2TB ", 2_000_000_000_000),
        ];
        for (text, expected) in cases {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn durations_are_read_in_every_unit() {
        let cases = [
            ("0", 0),
            ("5us", 5),
            ("500ms", 500_000),
            ("30s", 30_000_000),
            ("10m", 600_000_000),
            ("2h", 7_200_000_000),
            ("7d", 604_800_000_000),
            ("1w", 604_800_000_000),
        ];
        for (text, expected) in cases {
            assert_eq!(span(text), Ok(expected), "{text}");
        }
        assert_eq!("7d".parse::<TimeSpan>().unwrap().get(), Duration::from_hours(168));
    }

    #[test]
    fn what_cannot_be_exact_is_refused() {
        assert_eq!(size(""), Err(UnitError::NotANumber));
        assert_eq!(size("MiB"), Err(UnitError::NotANumber));
        assert_eq!(size("1.5GiB"), Err(UnitError::Fraction));
        assert_eq!(size("-1"), Err(UnitError::Negative));
        assert_eq!(size("99999999999999999999"), Err(UnitError::TooLarge));
        assert_eq!(size("9223372036854775808"), Err(UnitError::TooLarge));
        assert_eq!(size("8388608TiB"), Err(UnitError::TooLarge));
        assert!(matches!(size("5 parsecs"), Err(UnitError::UnknownUnit { unit, .. }) if unit == "parsecs"));
        assert!(matches!(span("30"), Err(UnitError::MissingUnit { .. })));
        assert!(matches!(span("30 min"), Err(UnitError::UnknownUnit { .. })));
    }

    #[test]
    fn sizes_are_written_the_shortest_exact_way() {
        let cases = [
            (0, "0"),
            (1_048_588, "1048588"),
            (32 << 10, "32KiB"),
            (3 << 30, "3GiB"),
            (1 << 40, "1TiB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(ByteSize::new(bytes).to_string(), expected);
        }
        assert_eq!(ByteSize::new(412 * GIB + 400 * MIB).approximate(), "412.3 GiB");
        assert_eq!(ByteSize::new(256 * MIB).approximate(), "256 MiB");
        assert_eq!(ByteSize::new(512).approximate(), "512 B");
    }

    #[test]
    fn toml_takes_text_or_a_number() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Both {
            size: ByteSize,
            span: TimeSpan,
        }
        let read: Both = toml::from_str("size = \"64k\"\nspan = \"10m\"").unwrap();
        assert_eq!(
            read,
            Both {
                size: ByteSize::kib(64),
                span: TimeSpan::from_secs(600)
            }
        );
        let plain: Both = toml::from_str("size = 1048588\nspan = \"1s\"").unwrap();
        assert_eq!(
            toml::to_string(&plain).unwrap(),
            "size = 1048588\nspan = \"1s\"\n"
        );
        let negative = toml::from_str::<Both>("size = -1\nspan = \"1s\"").unwrap_err();
        assert!(negative.message().contains("negative"), "{negative}");
        let bare = toml::from_str::<Both>("size = 1\nspan = 30").unwrap_err();
        assert!(bare.message().contains("with its unit"), "{bare}");
    }

    proptest! {
        #[test]
        fn every_size_reads_back_as_it_was_written(bytes in 0..=ByteSize::MAX.get(), unit in 0..5_u32) {
            let size = ByteSize::new(bytes >> (10 * unit) << (10 * unit));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn every_span_reads_back_as_it_was_written(micros in 0..=TimeSpan::MAX.as_micros()) {
            let span = TimeSpan::from_micros(micros);
            prop_assert_eq!(span.to_string().parse(), Ok(span));
            let span = TimeSpan::from_millis(micros / 1_000);
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn no_text_panics(text in ".{0,24}") {
            let _ignored = (text.parse::<ByteSize>(), text.parse::<TimeSpan>());
        }
    }
}
