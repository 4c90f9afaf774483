//! Numbers as people read them in a line or a table: three or four digits and a unit.

/// A count or rate: `950`, `200.0k`, `1.5M`.
#[must_use]
pub fn count(number: f64) -> String {
    match number {
        _ if number >= 1e9 => format!("{:.1}G", number / 1e9),
        _ if number >= 1e6 => format!("{:.1}M", number / 1e6),
        _ if number >= 1e4 => format!("{:.1}k", number / 1e3),
        _ if number >= 100.0 || number.fract() == 0.0 => format!("{number:.0}"),
        _ => format!("{number:.1}"),
    }
}

/// Bytes per second: `195.3 MiB/s`.
#[must_use]
pub fn bytes_rate(per_second: f64) -> String {
    const UNITS: [(&str, f64); 3] = [("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0), ("KiB", 1_024.0)];
    let unit = UNITS.iter().find(|(_, factor)| per_second >= *factor);
    unit.map_or_else(
        || format!("{per_second:.0} B/s"),
        |(name, factor)| format!("{:.1} {name}/s", per_second / factor),
    )
}

/// A latency of `ns` nanoseconds: `850ns`, `12.3us`, `142us`, `1.92ms`, `10.5s`.
#[must_use]
pub fn latency(ns: u64) -> String {
    let ns = ns as f64;
    let (number, unit) = match ns {
        _ if ns >= 1e9 => (ns / 1e9, "s"),
        _ if ns >= 1e6 => (ns / 1e6, "ms"),
        _ if ns >= 1e3 => (ns / 1e3, "us"),
        _ => (ns, "ns"),
    };
    match number {
        _ if unit == "ns" || number >= 99.95 => format!("{number:.0}{unit}"),
        _ if number >= 9.995 => format!("{number:.1}{unit}"),
        _ => format!("{number:.2}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_or_four_digits() {
        let counts = [
            (0.0, "0"),
            (0.5, "0.5"),
            (950.0, "950"),
            (200_000.0, "200.0k"),
            (1.5e6, "1.5M"),
        ];
        for (number, text) in counts {
            assert_eq!(count(number), text);
        }
        let latencies = [
            (850, "850ns"),
            (1_500, "1.50us"),
            (12_340, "12.3us"),
            (142_400, "142us"),
            (1_920_000, "1.92ms"),
            (10_500_000_000, "10.5s"),
        ];
        for (ns, text) in latencies {
            assert_eq!(latency(ns), text);
        }
        assert_eq!(bytes_rate(204_800_000.0), "195.3 MiB/s");
        assert_eq!(bytes_rate(12.0), "12 B/s");
    }
}
