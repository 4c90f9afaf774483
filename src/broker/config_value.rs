//! What configuration values may be: the types Kafka reports and the bounds we hold values to.
//!
//! A key of a topic or of the broker has a [`Domain`]; checking a text against it is all the validation a value gets by
//! itself. Texts are judged as Kafka judges them: surrounding blanks do not matter, `TRUE` is true, words are
//! case-sensitive, lists are separated by commas. What was given is stored as given. Pure; any thread.

/// Kafka's type of a config value, as DescribeConfigs reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigType {
    /// True or false.
    Boolean,
    /// Free or enumerated text.
    String,
    /// 32-bit integer.
    Int,
    /// 16-bit integer.
    Short,
    /// 64-bit integer.
    Long,
    /// Floating point.
    Double,
    /// Comma-separated list.
    List,
    /// Name of a class, in Kafka; nothing here loads one.
    Class,
}

/// What values a key takes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Domain {
    /// True or false.
    Boolean,
    /// A 32-bit integer from the first to the second.
    Int(i32, i32),
    /// A 32-bit integer from the second to the third, or the first, which stands apart.
    IntOr(i32, i32, i32),
    /// A 16-bit integer; only reported.
    Short,
    /// A 64-bit integer of at least this.
    Long(i64),
    /// A number from the first to the second.
    Double(f64, f64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of these words, possibly empty.
    Words(&'static [&'static str]),
    /// Any text.
    Text,
    /// A list of any texts.
    Texts,
    /// `*`, or a list of `partition:broker`.
    Replicas,
    /// A class name; only reported.
    Class,
}

/// The largest 32-bit integer, for domains without an upper bound.
pub const INT_MAX: i32 = i32::MAX;

impl Domain {
    /// The type tools are told.
    #[must_use]
    pub const fn kind(self) -> ConfigType {
        match self {
            Self::Boolean => ConfigType::Boolean,
            Self::Int(..) | Self::IntOr(..) => ConfigType::Int,
            Self::Short => ConfigType::Short,
            Self::Long(_) => ConfigType::Long,
            Self::Double(..) => ConfigType::Double,
            Self::Word(_) | Self::Text => ConfigType::String,
            Self::Words(_) | Self::Texts | Self::Replicas => ConfigType::List,
            Self::Class => ConfigType::Class,
        }
    }

    /// Whether values can be added to and taken away.
    #[must_use]
    pub const fn is_list(self) -> bool {
        matches!(self.kind(), ConfigType::List)
    }

    /// Checks a value.
    ///
    /// # Errors
    /// What would have been right.
    pub fn check(self, value: &str) -> Result<(), String> {
        let trimmed = value.trim();
        let fits = match self {
            Self::Boolean => boolean(trimmed).is_some(),
            Self::Int(min, max) => trimmed.parse().is_ok_and(|n: i32| (min..=max).contains(&n)),
            Self::IntOr(apart, min, max) => trimmed
                .parse()
                .is_ok_and(|n: i32| n == apart || (min..=max).contains(&n)),
            Self::Short => trimmed.parse::<i16>().is_ok(),
            Self::Long(min) => trimmed.parse().is_ok_and(|n: i64| n >= min),
            Self::Double(min, max) => trimmed.parse().is_ok_and(|n: f64| (min..=max).contains(&n)),
            Self::Word(words) => words.contains(&trimmed),
            Self::Words(words) => items(value).all(|item| words.contains(&item)),
            Self::Text | Self::Texts | Self::Class => true,
            Self::Replicas => trimmed == "*" || items(value).all(is_replica),
        };
        if fits { Ok(()) } else { Err(self.expected()) }
    }

    /// What is right, for people.
    fn expected(self) -> String {
        match self {
            Self::Boolean => "true or false".to_owned(),
            Self::Int(min, INT_MAX) => format!("a 32-bit integer of at least {min}"),
            Self::Int(min, max) => format!("an integer from {min} to {max}"),
            Self::IntOr(apart, min, max) => format!("an integer from {min} to {max}, or {apart}"),
            Self::Short => "a 16-bit integer".to_owned(),
            Self::Long(min) => format!("an integer of at least {min}"),
            Self::Double(min, max) => format!("a number from {min} to {max}"),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Words(words) => format!("a list of {}", words.join(", ")),
            Self::Replicas => "*, or a list of partition:broker".to_owned(),
            Self::Text | Self::Texts | Self::Class => "a text".to_owned(),
        }
    }
}

/// Reads a boolean as Kafka does.
#[must_use]
pub fn boolean(value: &str) -> Option<bool> {
    let value = value.trim();
    if value.eq_ignore_ascii_case("true") {
        Some(true)
    } else if value.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// The items of a list; the empty text has none.
pub fn items(value: &str) -> impl Iterator<Item = &str> {
    let all = (!value.trim().is_empty()).then(|| value.split(','));
    all.into_iter().flatten().map(str::trim)
}

fn is_replica(item: &str) -> bool {
    item.split_once(':')
        .is_some_and(|(partition, broker)| partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_judged_as_kafka_does() {
        let policies = Domain::Words(&["compact", "delete"]);
        let words = Domain::Word(&["a", "b"]);
        for (domain, good, bad) in [
            (
                Domain::Boolean,
                &["true", "TRUE", " false "][..],
                &["yes", "", "1"][..],
            ),
            (
                Domain::Int(0, INT_MAX),
                &["0", " 7 ", "2147483647"],
                &["-1", "2147483648", "x", "", "1.0"],
            ),
            (Domain::IntOr(-1, 1, 9), &["-1", "1", "9"], &["0", "10", "-2"]),
            (
                Domain::Long(-1),
                &["-1", "9223372036854775807"],
                &["-2", "9223372036854775808", "1e3"],
            ),
            (
                Domain::Double(0.0, 1.0),
                &["0", "0.5", "1"],
                &["1.1", "-0.1", "NaN", "half"],
            ),
            (words, &["a", "b"], &["A", "", "c", "a,b"]),
            (
                policies,
                &["", "delete", "compact, delete", "delete,delete"],
                &["Delete", "delete;compact", "delete,"],
            ),
            (
                Domain::Replicas,
                &["", "*", "0:1", "0:1, 1:0"],
                &["x", "0", "0:", "0:1,*"],
            ),
        ] {
            for value in good {
                assert_eq!(domain.check(value), Ok(()), "{domain:?} {value:?}");
            }
            for value in bad {
                assert!(domain.check(value).is_err(), "{domain:?} {value:?}");
            }
        }
    }

    #[test]
    fn a_refusal_says_what_is_right() {
        assert_eq!(
            Domain::Long(-1).check("x"),
            Err("an integer of at least -1".to_owned())
        );
        assert_eq!(
            Domain::Word(&["a", "b"]).check("c"),
            Err("one of a, b".to_owned())
        );
    }
}
