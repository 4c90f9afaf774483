//! Numbers and text as a page shows them.

/// `text` with everything HTML gives a meaning taken out.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Three significant digits, no needless zeros.
pub(super) fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Nanoseconds with the unit that fits.
pub(super) fn time(ns: f64) -> String {
    let (unit, size) = match ns {
        ns if ns >= 999_500_000.0 => ("s", 1e9),
        ns if ns >= 999_500.0 => ("ms", 1e6),
        ns if ns >= 999.5 => ("µs", 1e3),
        _ => ("ns", 1.0),
    };
    format!("{} {unit}", digits(ns / size))
}

/// A count or rate with a decimal prefix.
pub(super) fn count(value: f64) -> String {
    let (prefix, size) = match value.abs() {
        size if size >= 999.5e6 => ("G", 1e9),
        size if size >= 999.5e3 => ("M", 1e6),
        size if size >= 9_995.0 => ("k", 1e3),
        _ => ("", 1.0),
    };
    format!("{}{prefix}", digits(value / size))
}

/// Bytes with a binary prefix.
pub(super) fn bytes(value: f64) -> String {
    const PREFIXES: [(&str, f64); 3] = [("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0), ("KiB", 1024.0)];
    PREFIXES.iter().find(|(_, size)| value >= *size).map_or_else(
        || format!("{} B", digits(value)),
        |(prefix, size)| format!("{} {prefix}", digits(value / size)),
    )
}

/// A count as a number that can be drawn.
#[expect(clippy::cast_precision_loss, reason = "a drawing needs no 53 bits")]
pub(super) fn real(value: u64) -> f64 {
    value as f64
}

/// The same of a length.
pub(super) fn real_len(value: usize) -> f64 {
    real(u64::try_from(value).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let shown = [1.0, 999.0, 1_000.0, 123_456.0, 2_000_000.0, 999_900.0, 1.5e9].map(time);
        assert_eq!(
            shown,
            ["1 ns", "999 ns", "1 µs", "123 µs", "2 ms", "1 ms", "1.5 s"]
        );
        assert_eq!(
            [0.0, 12.0, 9_000.0, 200_000.0, 1.25e6].map(count),
            ["0", "12", "9000", "200k", "1.25M"]
        );
        assert_eq!(
            [100.0, 4096.0, 1.5 * 1_073_741_824.0].map(bytes),
            ["100 B", "4 KiB", "1.5 GiB"]
        );
    }

    #[test]
    fn nothing_in_a_name_becomes_markup() {
        assert_eq!(
            escape("<a href=\"x\">'&"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;"
        );
    }
}
