//! Instants as the command line reads and writes them: milliseconds since 1970 inside, RFC 3339 for people.
//!
//! Reading takes milliseconds (`1700000000000`), a date with a time and a zone (`2026-11-21T14:00:00Z`), and a time ago
//! (`-1h`, in the units of [`crate::base::units`]). Instants beyond the calendar print as their number. Pure.

use jiff::Timestamp;

use crate::base::units::TimeSpan;
use crate::runtime::clock::wall_ms;

/// The instant as RFC 3339 in UTC, without a fraction if it is a whole second.
pub(super) fn to_text(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |instant| instant.to_string())
}

/// Milliseconds since 1970 of what people write; `None` if it is no instant.
pub(super) fn parse(text: &str) -> Option<i64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago: TimeSpan = ago.parse().ok()?;
        let ago_ms = i64::try_from(ago.as_millis()).ok()?;
        return wall_ms().get().checked_sub(ago_ms);
    }
    Some(text.parse::<Timestamp>().ok()?.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_numbers_dates_or_times_ago() {
        assert_eq!(parse("1700000000000"), Some(1_700_000_000_000));
        assert_eq!(parse("2023-11-14T22:13:20Z"), Some(1_700_000_000_000));
        assert_eq!(parse("2023-11-14T23:13:20.5+01:00"), Some(1_700_000_000_500));
        let hour_ago = parse("-1h").unwrap();
        assert!((wall_ms().get() - hour_ago - 3_600_000).abs() < 60_000);
        for wrong in ["", "-", "yesterday", "-1", "99999999999999999999", "2023-11-14"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn instants_print_as_dates() {
        assert_eq!(to_text(1_700_000_000_500), "2023-11-14T22:13:20.5Z");
        assert_eq!(to_text(0), "1970-01-01T00:00:00Z");
        assert_eq!(to_text(i64::MAX), i64::MAX.to_string());
    }
}
