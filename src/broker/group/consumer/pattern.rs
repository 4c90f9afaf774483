//! Topic patterns of consumers: RE2 syntax, matched against whole names.
//!
//! KIP-848 lets the broker resolve patterns and names RE2 as their language, because its matching takes linear time whatever
//! the pattern. The `regex` crate gives the same guarantee and nearly the same syntax; RE2's quoting `\Q...\E`, which it
//! lacks, is translated. A pattern has to match the whole name, as in Kafka.
//!
//! Bounds: length of the source ([`PATTERN_BYTES_MAX`]), size of the compiled program (`PROGRAM_BYTES_MAX`) and nesting
//! (`NESTING_MAX`). What is over a bound is refused like a pattern that does not parse.

use regex::{Regex, RegexBuilder};

/// Longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 2048;

/// Memory of a compiled pattern, and of the states its matching may cache.
const PROGRAM_BYTES_MAX: usize = 1 << 20;

/// Depth of groups within groups.
const NESTING_MAX: u32 = 32;

/// Why a pattern is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PatternError {
    /// Over [`PATTERN_BYTES_MAX`].
    #[error("the pattern is longer than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// It does not parse, or its program is too large.
    #[error("{0}")]
    Syntax(String),
}

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct TopicPattern {
    regex: Regex,
}

impl TopicPattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn new(source: &str) -> Result<Self, PatternError> {
        if source.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let source = without_quotes(source);
        // On its own first: "a)|(b" would turn into something valid between the anchors.
        compile(&source)?;
        compile(&format!(r"\A(?:{source})\z")).map(|regex| Self { regex })
    }

    /// True if it matches the whole of `name`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }
}

fn compile(source: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(source)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(PROGRAM_BYTES_MAX)
        .nest_limit(NESTING_MAX)
        .build()
        .map_err(|error| PatternError::Syntax(error.to_string()))
}

/// Replaces RE2's `\Q...\E` (the end may be missing) by the escaped text.
fn without_quotes(source: &str) -> String {
    let mut plain = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(slash) = rest.find('\\') {
        let (before, escape) = rest.split_at(slash);
        plain.push_str(before);
        if let Some(quoted) = escape.strip_prefix(r"\Q") {
            let (text, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            plain.push_str(&regex::escape(text));
            rest = after;
        } else {
            // The escaped character goes along, or the second half of an escaped backslash would open a quote.
            let end = escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end);
            plain.push_str(&escape[..end]);
            rest = &escape[end..];
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        TopicPattern::new(pattern).unwrap().matches(name)
    }

    #[test]
    fn the_whole_name_has_to_match() {
        assert!(matches("orders.*", "orders-eu"));
        assert!(matches("^orders.*$", "orders-eu"));
        assert!(!matches("orders", "orders-eu"));
        assert!(!matches("rders.*", "orders-eu"));
        assert!(matches("a|b", "b"));
        assert!(!matches("a|b", "ab"));
        assert!(matches("(?i)ORDERS", "orders"));
    }

    #[test]
    fn quoted_text_is_literal() {
        assert!(matches(r"\Qa.b\E.*", "a.b-c"));
        assert!(!matches(r"\Qa.b\E.*", "axb-c"));
        assert!(matches(r"\Qa.b", "a.b"));
        assert!(matches(r"a\\Qb", r"a\Qb"));
        assert_eq!(without_quotes(r"\"), r"\");
        assert_eq!(without_quotes(r"\ä"), r"\ä");
    }

    #[test]
    fn what_is_not_re2_is_refused() {
        for bad in ["(", "[", "a)|(b", "(?=a)", r"(a)\1", "*", r"\", "(?x)a # b"] {
            assert!(TopicPattern::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        assert_eq!(
            TopicPattern::new(&"a".repeat(PATTERN_BYTES_MAX + 1)).unwrap_err(),
            PatternError::TooLong
        );
        assert!(TopicPattern::new("((a{1000}){1000}){1000}").is_err());
        assert!(TopicPattern::new(&format!("{}{}", "(".repeat(900), ")".repeat(900))).is_err());
        // Linear, however the pattern backtracks elsewhere.
        assert!(!matches("(a*)*b", &"a".repeat(249)));
    }
}
