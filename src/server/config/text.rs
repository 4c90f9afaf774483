//! The configuration as text: the documented default file, what is in force, and the nearest setting to a
//! misspelt one.

use std::fmt::Write;

use super::{Config, Loaded};

/// The default file: every setting with what it means, its unit and its default. It reads back as
/// `Config::default()`.
#[must_use]
pub fn default_file() -> String {
    let defaults = Config::default();
    let mut out = String::from(PREAMBLE);
    let mut section = "";
    for field in Config::fields() {
        if field.section != section {
            section = field.section;
            push(&mut out, format_args!("\n[{section}]\n"));
        }
        out.push('\n');
        for line in field.doc {
            push(&mut out, format_args!("#{line}\n"));
        }
        push(
            &mut out,
            format_args!("# ({}; {})\n", field.unit, field.env_name()),
        );
        push(
            &mut out,
            format_args!("{} = {}\n", field.name, field.value_text(&defaults)),
        );
    }
    out
}

/// The settings in force as a TOML file; with `origins`, each line says where its value came from.
#[must_use]
pub fn in_force(loaded: &Loaded, origins: Origins) -> String {
    let mut out = String::new();
    let mut section = "";
    for field in Config::fields() {
        if field.section != section {
            section = field.section;
            push(&mut out, format_args!("\n[{section}]\n"));
        }
        let line = format!("{} = {}", field.name, field.value_text(&loaded.config));
        match origins {
            Origins::Hidden => push(&mut out, format_args!("{line}\n")),
            Origins::Shown => {
                push(
                    &mut out,
                    format_args!("{line:<44} # {}\n", loaded.origin(&field.key())),
                );
            }
        }
    }
    out
}

/// Whether [`in_force`] says where values came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Only the values.
    Hidden,
    /// Each value with its origin as a comment.
    Shown,
}

/// The setting that was probably meant by `key`, if one is near enough.
#[must_use]
pub fn closest_key(key: &str) -> Option<String> {
    let wanted = key.to_ascii_lowercase();
    // The right name in the wrong section, or in none, is a likelier mistake than a misspelling.
    let last = wanted.rsplit('.').next().unwrap_or(&wanted);
    let mut same_name = Config::fields().filter(|field| field.name == last);
    if let (Some(only), None) = (same_name.next(), same_name.next()) {
        return Some(only.key());
    }
    Config::fields()
        .flat_map(|field| [field.key(), field.section.to_owned()])
        .map(|known| (distance(&wanted, &known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / NEAR_ENOUGH)
        .map(|(_, known)| known)
}

/// Levenshtein's distance: insertions, deletions and replacements that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replace = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string cannot fail");
}

/// One wrong letter in this many still counts as a misspelling.
const NEAR_ENOUGH: usize = 3;

const PREAMBLE: &str = "\
# Corelog's settings, each with its default.
#
# A value comes from the first of: a flag of `corelog serve`, `--set section.name=value`, the environment
# variable named beside it, this file, the default. Sizes: 64k, 512MiB, 1GB. Durations: 500ms, 30s, 7d.
# `corelog config check FILE` checks a file, `corelog config show --origin` says where each value came from.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::{Sources, load};

    #[test]
    fn the_default_file_reads_back_as_the_defaults() {
        let text = default_file();
        let sources = Sources {
            file: Some(("default.toml".into(), text)),
            ..Sources::default()
        };
        let loaded = load(&sources).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert_eq!(
            loaded.origins.len(),
            Config::fields().count(),
            "every setting is in the file"
        );
    }

    #[test]
    fn the_default_file_documents_every_setting() {
        expect_test::expect_file!["default.toml"].assert_eq(&default_file());
    }

    #[test]
    fn what_is_in_force_reads_back() {
        let sources = Sources {
            assignments: vec!["memory=1GiB".to_owned(), "log.retention_ms=-1".to_owned()],
            ..Sources::default()
        };
        let loaded = load(&sources).unwrap();
        for origins in [Origins::Hidden, Origins::Shown] {
            let text = in_force(&loaded, origins);
            let again = load(&Sources {
                file: Some(("f".into(), text)),
                ..Sources::default()
            })
            .unwrap();
            assert_eq!(again.config, loaded.config);
        }
        assert!(in_force(&loaded, Origins::Shown).contains("# --set\n"));
    }

    #[test]
    fn near_misses_find_what_was_meant() {
        let cases = [
            ("memroy", Some("memory")),
            ("kafka.listn", Some("kafka.listen")),
            ("kafka.segment_bytes", Some("log.segment_bytes")),
            ("advertise", Some("kafka.advertise")),
            ("Memory", Some("memory")),
            ("kafak", None),
            ("kafk", Some("kafka")),
            ("completely.different", None),
        ];
        for (written, meant) in cases {
            assert_eq!(closest_key(written).as_deref(), meant, "{written}");
        }
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
