//! Values of two codecs compared by the names of their fields, through their `Debug` output.
//!
//! A field the oracle has and we lack fails the test unless [`BEYOND`] names it, the other way round [`AHEAD`]. A nullable
//! string that a version lacks reads as `None` here and as empty there. [`OWN`] names tagged fields that are ours alone.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// Fields the oracle knows and we leave out: versions we do not speak, and what only brokers say to one another.
const BEYOND: &[&str] = &[
    "enable_2_pc",
    "high_watermark",
    "keep_prepared_txn",
    "ongoing_txn_producer_epoch",
    "ongoing_txn_producer_id",
    "replica_directory_id",
    "replica_state",
];

/// Fields of versions the oracle does not know, and of structures that two versions share here and not there.
const AHEAD: &[&str] = &["is_cordoned", "topic_id"];

/// Fields of our own, which the oracle keeps as a tag it does not know.
const OWN: &[&str] = &["stages", "stages_layout"];

/// The tag they have.
const OWN_TAG: &str = "10000";

/// What `Debug` printed, taken apart. Newtypes and `Some` are transparent.
#[derive(Debug, PartialEq)]
pub(crate) enum Tree {
    Struct(BTreeMap<String, Self>),
    List(Vec<Self>),
    Atom(String),
}

impl Tree {
    pub(crate) fn of(value: &impl Debug) -> Self {
        let text = format!("{value:?}");
        let mut rest = text.as_str();
        let tree = Self::parse(&mut rest);
        assert!(rest.is_empty(), "unparsed: {rest}");
        tree
    }

    fn parse(rest: &mut &str) -> Self {
        if eat(rest, "[") {
            let mut items = Vec::new();
            while !eat(rest, "]") {
                items.push(Self::parse(rest));
                eat(rest, ", ");
            }
            return Self::List(items);
        }
        let name_len = rest
            .find(|c: char| !c.is_alphanumeric() && !"_-:".contains(c))
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(name_len);
        *rest = after;
        if rest.starts_with('"') {
            let string = quoted(rest);
            return if name == "b" {
                bytes_of(&string)
            } else {
                Self::Atom(string)
            };
        }
        if eat(rest, " {}") || eat(rest, "{}") {
            return Self::Struct(BTreeMap::new());
        }
        if eat(rest, " { ") {
            let mut fields = BTreeMap::new();
            while !eat(rest, " }") {
                let colon = rest.find(": ").expect("a field has a name");
                let field = rest[..colon].to_owned();
                *rest = &rest[colon + 2..];
                fields.insert(field, Self::parse(rest));
                eat(rest, ", ");
            }
            return Self::Struct(fields);
        }
        // A map: its keys print without quotes here.
        if eat(rest, "{") {
            let mut entries = BTreeMap::new();
            while !eat(rest, "}") {
                let colon = rest.find(": ").expect("an entry has a key");
                let key = rest[..colon].to_owned();
                *rest = &rest[colon + 2..];
                entries.insert(key, Self::parse(rest));
                eat(rest, ", ");
            }
            return Self::Struct(entries);
        }
        if eat(rest, "(") {
            let inside = Self::parse(rest);
            assert!(eat(rest, ")"), "unclosed: {rest}");
            return inside;
        }
        assert!(!name.is_empty(), "unparsed: {rest}");
        Self::Atom(name.to_owned())
    }

    /// Null and empty look alike here; the comparison of bytes tells them apart where it matters.
    fn is_nothing(&self) -> bool {
        match self {
            Self::Atom(atom) => atom == "None" || atom == "\"\"",
            Self::List(items) => items.is_empty(),
            Self::Struct(_) => false,
        }
    }
}

/// The oracle's byte fields print as `b"..\\x0a.."`, ours as lists of numbers.
fn bytes_of(literal: &str) -> Tree {
    let mut bytes = Vec::new();
    let mut chars = literal[1..literal.len() - 1].chars();
    while let Some(c) = chars.next() {
        let byte = match (c, (c == '\\').then(|| chars.next()).flatten()) {
            (_, Some('x')) => {
                let digits: String = chars.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).expect("two digits follow")
            }
            (_, Some('n')) => b'\n',
            (_, Some('r')) => b'\r',
            (_, Some('t')) => b'\t',
            (_, Some('0')) => 0,
            (_, Some(other)) => u8::try_from(other).expect("an escaped byte"),
            (plain, None) => u8::try_from(plain).expect("a byte"),
        };
        bytes.push(Tree::Atom(byte.to_string()));
    }
    Tree::List(bytes)
}

fn eat(rest: &mut &str, token: &str) -> bool {
    rest.strip_prefix(token).map(|after| *rest = after).is_some()
}

fn quoted(rest: &mut &str) -> String {
    let mut escaped = true;
    let end = rest
        .char_indices()
        .find(|&(_, c)| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })
        .map(|(index, _)| index + 1)
        .expect("a string ends");
    let (string, after) = rest.split_at(end);
    *rest = after;
    string.to_owned()
}

/// Compares what both know; `path` says where they stand.
pub(crate) fn compare(ours: &Tree, theirs: &Tree, path: &str) {
    match (ours, theirs) {
        (Tree::Struct(ours), Tree::Struct(theirs)) => {
            for (name, value) in ours {
                // Record bytes print differently; the comparison of bytes covers them.
                if name == "records" || OWN.contains(&name.as_str()) {
                    continue;
                }
                match theirs.get(name) {
                    Some(their_value) => compare(value, their_value, &format!("{path}.{name}")),
                    None => assert!(AHEAD.contains(&name.as_str()), "{path}: no {name} there"),
                }
            }
            for (name, value) in theirs.iter().filter(|(name, _)| !ours.contains_key(*name)) {
                let beyond = BEYOND.contains(&name.as_str());
                let may_own = OWN.iter().any(|own| ours.contains_key(*own));
                let tags_are_ours = name == "unknown_tagged_fields"
                    && matches!(value, Tree::Struct(tags) if tags.keys().all(|tag| may_own && tag == OWN_TAG));
                assert!(
                    beyond || tags_are_ours,
                    "{path}.{name}: missing here, there {value:?}"
                );
            }
        }
        (Tree::List(ours), Tree::List(theirs)) => {
            assert_eq!(ours.len(), theirs.len(), "{path}");
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                compare(ours, theirs, &format!("{path}[{index}]"));
            }
        }
        (ours, theirs) if ours.is_nothing() && theirs.is_nothing() => {}
        (ours, theirs) => assert_eq!(ours, theirs, "{path}"),
    }
}
