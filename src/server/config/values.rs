//! The types of settings that are not plain numbers: addresses, core lists, modes and bounds with a "none".
//!
//! Each reads from text and writes the same text back; an error says what would have been right.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::base::units::{ByteSize, TimeSpan};

/// An address to listen on: `ip:port`, or `localhost:port` for the IPv4 loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenAddr(pub SocketAddr);

impl ListenAddr {
    /// The IPv4 loopback with `port`.
    #[must_use]
    pub const fn loopback(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        self.0.ip().to_canonical().is_loopback()
    }
}

impl FromStr for ListenAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        numeric.parse().map(Self).map_err(|_| {
            format!("\"{text}\" is not an address to listen on: write ip:port, such as 127.0.0.1:9092 or [::]:9092")
        })
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The cores that run shards.
///
/// Written `all` (every core the affinity mask allows), `any:N` (the first N of those), or a list with ranges,
/// `0-3,6`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CoreSet {
    /// Every core this process may run on.
    All,
    /// The first so many of the cores this process may run on.
    Any(usize),
    /// Exactly these, ascending and without repeats.
    List(Vec<usize>),
}

impl CoreSet {
    /// The cores to use when `allowed` (ascending) is what the affinity mask permits. Never empty.
    pub fn resolve(&self, allowed: &[usize]) -> Result<Vec<usize>, String> {
        let allowed_count = allowed.len();
        match self {
            _ if allowed.is_empty() => Err("the affinity mask of this process allows no core".to_owned()),
            Self::All => Ok(allowed.iter().copied().take(CORES_MAX).collect()),
            Self::Any(count) if *count <= allowed_count => Ok(allowed[..*count].to_vec()),
            Self::Any(count) => Err(format!(
                "{count} cores are asked for, the affinity mask allows {allowed_count}"
            )),
            Self::List(cores) => match cores.iter().find(|core| !allowed.contains(core)) {
                None => Ok(cores.clone()),
                Some(core) => Err(format!(
                    "core {core} is not among the cores this process may run on ({})",
                    CoreList(allowed)
                )),
            },
        }
    }
}

impl FromStr for CoreSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "all" {
            return Ok(Self::All);
        }
        if let Some(count) = text.strip_prefix("any:") {
            return match count.parse() {
                Ok(count @ 1..=CORES_MAX) => Ok(Self::Any(count)),
                _ => Err(format!(
                    "\"{text}\": the number after any: must be 1 to {CORES_MAX}"
                )),
            };
        }
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = core_range(part.trim())?;
            cores.extend(first..=last);
        }
        cores.sort_unstable();
        cores.dedup();
        Ok(Self::List(cores))
    }
}

/// One core or one inclusive range of them.
fn core_range(part: &str) -> Result<(usize, usize), String> {
    let wrong =
        || format!("\"{part}\" is not a core or a range of cores: write all, any:2, or a list such as 0-3,6");
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let first: usize = first.trim().parse().map_err(|_| wrong())?;
    let last: usize = last.trim().parse().map_err(|_| wrong())?;
    if first > last || last >= CORES_MAX {
        Err(wrong())
    } else {
        Ok((first, last))
    }
}

impl fmt::Display for CoreSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Any(count) => write!(f, "any:{count}"),
            Self::List(cores) => CoreList(cores).fmt(f),
        }
    }
}

/// Ascending core numbers written with ranges: `0-3,6`.
#[derive(Clone, Copy, Debug)]
pub struct CoreList<'a>(pub &'a [usize]);

impl fmt::Display for CoreList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|a, b| a + 1 == *b);
        for (index, run) in runs.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match run {
                [only] => write!(f, "{comma}{only}")?,
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

/// The most cores one process may use: node ids and ports stay small, and the mesh of rings is quadratic in it.
pub const CORES_MAX: usize = 256;

/// Which brokers a client is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Advertise {
    /// Every shard is a broker with a port of its own: clients reach the right core directly.
    PerCore,
    /// One broker, one port: for firewalls and tools that dislike many brokers.
    Single,
}

impl fmt::Display for Advertise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PerCore => "per-core",
            Self::Single => "single",
        })
    }
}

/// How a shard waits when it has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Poll {
    /// Poll for a short budget after work, then sleep.
    Adaptive,
    /// Never sleep; burns the core.
    Busy,
    /// Sleep at once.
    Sleep,
}

/// How a write of the log is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteSync {
    /// `RWF_DSYNC` on the write itself.
    Dsync,
    /// A write linked to an `fdatasync`.
    Link,
}

impl fmt::Display for WriteSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dsync => "dsync",
            Self::Link => "link",
        })
    }
}

/// How log lines are written to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// A bound that may be absent: a size, or `-1` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SizeLimit(pub Option<ByteSize>);

/// A bound in milliseconds that may be absent: an integer of milliseconds, a duration such as `"7d"`, or `-1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MillisLimit(pub Option<TimeSpan>);

impl Serialize for SizeLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(size) => size.serialize(serializer),
            None => serializer.serialize_i64(NO_LIMIT),
        }
    }
}

impl Serialize for MillisLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(span) => serializer.serialize_u64(span.as_millis()),
            None => serializer.serialize_i64(NO_LIMIT),
        }
    }
}

impl<'de> Deserialize<'de> for SizeLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeLimitVisitor)
    }
}

impl<'de> Deserialize<'de> for MillisLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MillisLimitVisitor)
    }
}

struct SizeLimitVisitor;
struct MillisLimitVisitor;

impl Visitor<'_> for SizeLimitVisitor {
    type Value = SizeLimit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"10GiB\", a number of bytes, or -1 for no limit")
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<SizeLimit, E> {
        match u64::try_from(bytes) {
            Ok(bytes) => Ok(SizeLimit(Some(ByteSize::new(bytes)))),
            Err(_) if bytes == NO_LIMIT => Ok(SizeLimit(None)),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(bytes), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<SizeLimit, E> {
        Ok(SizeLimit(Some(ByteSize::new(bytes))))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SizeLimit, E> {
        if text.trim() == NO_LIMIT_TEXT {
            return Ok(SizeLimit(None));
        }
        text.parse().map(|size| SizeLimit(Some(size))).map_err(E::custom)
    }
}

impl Visitor<'_> for MillisLimitVisitor {
    type Value = MillisLimit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of milliseconds, a duration such as \"7d\", or -1 for no limit")
    }

    fn visit_i64<E: de::Error>(self, millis: i64) -> Result<MillisLimit, E> {
        match u64::try_from(millis) {
            Ok(millis) => Ok(MillisLimit(Some(TimeSpan::from_millis(millis)))),
            Err(_) if millis == NO_LIMIT => Ok(MillisLimit(None)),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(millis), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, millis: u64) -> Result<MillisLimit, E> {
        Ok(MillisLimit(Some(TimeSpan::from_millis(millis))))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<MillisLimit, E> {
        if let Ok(millis) = text.trim().parse() {
            return self.visit_i64(millis);
        }
        text.parse()
            .map(|span| MillisLimit(Some(span)))
            .map_err(E::custom)
    }
}

const NO_LIMIT: i64 = -1;
const NO_LIMIT_TEXT: &str = "-1";

/// Serde through `Display` and `FromStr`, for the types that are one word of text.
macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

as_text!(ListenAddr, CoreSet);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists_read_ranges_and_write_them_back() {
        let cases = [
            ("all", "all"),
            ("any:2", "any:2"),
            ("0-3,6", "0-3,6"),
            ("6, 1,0,2 ,2", "0-2,6"),
            ("5", "5"),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<CoreSet>().unwrap().to_string(), expected);
        }
        for wrong in ["", "3-1", "a", "0,,1", "any:0", "any:x", "0-99999999999", "-1"] {
            assert!(wrong.parse::<CoreSet>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn cores_outside_the_affinity_mask_are_refused_by_name() {
        let allowed = [1, 2, 3, 8];
        assert_eq!(CoreSet::All.resolve(&allowed).unwrap(), allowed);
        assert_eq!(CoreSet::Any(2).resolve(&allowed).unwrap(), [1, 2]);
        assert_eq!(CoreSet::List(vec![2, 8]).resolve(&allowed).unwrap(), [2, 8]);
        let error = CoreSet::List(vec![2, 4]).resolve(&allowed).unwrap_err();
        assert_eq!(
            error,
            "core 4 is not among the cores this process may run on (1-3,8)"
        );
        assert!(CoreSet::Any(5).resolve(&allowed).is_err());
        assert!(CoreSet::All.resolve(&[]).is_err());
    }

    #[test]
    fn addresses_are_numeric_or_localhost() {
        assert_eq!("localhost:9092".parse(), Ok(ListenAddr::loopback(9092)));
        assert!("[::1]:9092".parse::<ListenAddr>().unwrap().is_loopback());
        assert!("127.1.2.3:1".parse::<ListenAddr>().unwrap().is_loopback());
        assert!(!"0.0.0.0:9092".parse::<ListenAddr>().unwrap().is_loopback());
        assert!("9092".parse::<ListenAddr>().unwrap_err().contains("ip:port"));
    }

    #[test]
    fn minus_one_means_no_limit() {
        let sizes: Vec<SizeLimit> = ["-1", "5", "\"1GiB\""]
            .iter()
            .map(|text| parse(text))
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(
            sizes,
            [
                SizeLimit(None),
                SizeLimit(Some(ByteSize::new(5))),
                SizeLimit(Some(ByteSize::gib(1)))
            ]
        );
        let spans: Vec<MillisLimit> = ["-1", "5", "\"7d\""]
            .iter()
            .map(|text| parse(text))
            .collect::<Result<_, _>>()
            .unwrap();
        let week = TimeSpan::from_secs(7 * 86_400);
        assert_eq!(
            spans,
            [
                MillisLimit(None),
                MillisLimit(Some(TimeSpan::from_millis(5))),
                MillisLimit(Some(week))
            ]
        );
        assert!(parse::<SizeLimit>("-2").unwrap_err().contains("-1 for no limit"));
    }

    fn parse<T: de::DeserializeOwned>(text: &str) -> Result<T, String> {
        let deserializer = toml::de::ValueDeserializer::parse(text).map_err(|e| e.message().to_owned())?;
        T::deserialize(deserializer).map_err(|e| e.message().to_owned())
    }
}
