//! The little language of `-f`: how a record is printed, and how a line becomes a record.
//!
//! `%v` value, `%k` key, `%o` offset, `%p` partition, `%t` topic, `%T` timestamp in milliseconds, `%h` headers as
//! `name=value,name=value`, `%%` a percent sign; `\n \t \r \0 \\ \xNN`. Everything is bytes: a value that is not UTF-8
//! comes out as it went in. A null key or value prints as nothing.
//!
//! Reading is the reverse for `%k` and `%v` only. A record is a line; what stands between two fields separates them at
//! its first occurrence, and the last field takes the rest of the line.

use std::io::{self, Write};
use std::str::FromStr;

/// A parsed `-f`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Field(FieldOf),
}

/// What can stand behind a `%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldOf {
    Key,
    Value,
    Offset,
    Partition,
    Topic,
    Timestamp,
    Headers,
}

/// A record as it is printed.
#[derive(Clone, Copy, Debug)]
pub struct Printed<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, milliseconds since 1970.
    pub timestamp: i64,
    /// Its key; `None` for null.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` for null.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

impl Format {
    /// Prints one record.
    pub fn print(&self, out: &mut dyn Write, record: &Printed<'_>) -> io::Result<()> {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Literal(bytes) => out.write_all(bytes),
            Piece::Field(FieldOf::Key) => out.write_all(record.key.unwrap_or_default()),
            Piece::Field(FieldOf::Value) => out.write_all(record.value.unwrap_or_default()),
            Piece::Field(FieldOf::Offset) => write!(out, "{}", record.offset),
            Piece::Field(FieldOf::Partition) => write!(out, "{}", record.partition),
            Piece::Field(FieldOf::Topic) => out.write_all(record.topic.as_bytes()),
            Piece::Field(FieldOf::Timestamp) => write!(out, "{}", record.timestamp),
            Piece::Field(FieldOf::Headers) => print_headers(out, record.headers),
        })
    }

    /// How lines are read, if this format can be read.
    pub fn reader(&self) -> Result<LineReader, FormatError> {
        let mut pieces = self.0.clone();
        strip_line_end(&mut pieces);
        let mut seen = [false; 2];
        let mut field_before = false;
        for piece in &pieces {
            let slot = match piece {
                Piece::Literal(_) => {
                    field_before = false;
                    continue;
                }
                Piece::Field(FieldOf::Key) => 0,
                Piece::Field(FieldOf::Value) => 1,
                Piece::Field(_) => return Err(FormatError::OnlyKeyAndValue),
            };
            if field_before || seen[slot] {
                return Err(FormatError::Ambiguous);
            }
            seen[slot] = true;
            field_before = true;
        }
        if seen[1] {
            Ok(LineReader(pieces))
        } else {
            Err(FormatError::NoValue)
        }
    }
}

fn print_headers(out: &mut dyn Write, headers: &[(&[u8], Option<&[u8]>)]) -> io::Result<()> {
    for (index, (name, value)) in headers.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        out.write_all(name)?;
        out.write_all(b"=")?;
        out.write_all(value.unwrap_or_default())?;
    }
    Ok(())
}

/// Lines arrive without their end, so the format's own must go as well.
fn strip_line_end(pieces: &mut Vec<Piece>) {
    let Some(Piece::Literal(last)) = pieces.last_mut() else {
        return;
    };
    if last.last() == Some(&b'\n') {
        last.pop();
    }
    if last.is_empty() {
        pieces.pop();
    }
}

/// Splits lines into key and value. Made by [`Format::reader`], so it has a value and no two fields touch.
#[derive(Clone, Debug)]
pub struct LineReader(Vec<Piece>);

/// A line as a record: key, if the format has one, and value.
pub type Split<'a> = (Option<&'a [u8]>, &'a [u8]);

impl LineReader {
    /// Key and value of `line`, which has no line end; `None` if the line does not look like the format.
    #[must_use]
    pub fn read<'a>(&self, line: &'a [u8]) -> Option<Split<'a>> {
        let (mut key, mut value) = (None, &line[..0]);
        let mut rest = line;
        let mut pieces = self.0.iter().peekable();
        while let Some(piece) = pieces.next() {
            let field = match piece {
                Piece::Literal(bytes) => {
                    rest = rest.strip_prefix(bytes.as_slice())?;
                    continue;
                }
                Piece::Field(field) => field,
            };
            let end = match pieces.peek() {
                Some(Piece::Literal(separator)) => find(rest, separator)?,
                _ => rest.len(),
            };
            let (taken, after) = rest.split_at(end);
            rest = after;
            match field {
                FieldOf::Key => key = Some(taken),
                _ => value = taken,
            }
        }
        rest.is_empty().then_some((key, value))
    }

    /// Whether the format has a key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.0.contains(&Piece::Field(FieldOf::Key))
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Why a format cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A `%` with something unknown behind it.
    #[error("%{0} is not a field: use %v %k %o %p %t %T %h, or %% for a percent sign")]
    UnknownField(char),
    /// A `\` with something unknown behind it.
    #[error("\\{0} is not an escape: use \\n \\t \\r \\0 \\\\ or \\xNN")]
    UnknownEscape(char),
    /// A `%` or `\` at the end.
    #[error("it ends in the middle of a field or an escape")]
    Unfinished,
    /// A field that only printing knows.
    #[error("only %k and %v can be read from a line")]
    OnlyKeyAndValue,
    /// No way to tell where a field ends.
    #[error("%k and %v must appear at most once, with something between them")]
    Ambiguous,
    /// Nothing would be sent.
    #[error("%v is missing")]
    NoValue,
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let mut pieces = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => match field(chars.next().ok_or(FormatError::Unfinished)?)? {
                    Some(field) => pieces.push(Piece::Field(field)),
                    None => literal(&mut pieces, b"%"),
                },
                '\\' => literal(&mut pieces, &[escape(&mut chars)?]),
                c => literal(&mut pieces, c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Ok(Self(pieces))
    }
}

fn literal(pieces: &mut Vec<Piece>, bytes: &[u8]) {
    match pieces.last_mut() {
        Some(Piece::Literal(last)) => last.extend_from_slice(bytes),
        _ => pieces.push(Piece::Literal(bytes.to_vec())),
    }
}

/// The field a letter names; `None` for the percent sign itself.
fn field(letter: char) -> Result<Option<FieldOf>, FormatError> {
    Ok(Some(match letter {
        'v' => FieldOf::Value,
        'k' => FieldOf::Key,
        'o' => FieldOf::Offset,
        'p' => FieldOf::Partition,
        't' => FieldOf::Topic,
        'T' => FieldOf::Timestamp,
        'h' => FieldOf::Headers,
        '%' => return Ok(None),
        other => return Err(FormatError::UnknownField(other)),
    }))
}

fn escape(chars: &mut std::str::Chars<'_>) -> Result<u8, FormatError> {
    match chars.next().ok_or(FormatError::Unfinished)? {
        'n' => Ok(b'\n'),
        't' => Ok(b'\t'),
        'r' => Ok(b'\r'),
        '0' => Ok(0),
        '\\' => Ok(b'\\'),
        'x' => {
            let digits = chars.as_str().get(..2).ok_or(FormatError::Unfinished)?;
            let byte = u8::from_str_radix(digits, 16).map_err(|_| FormatError::UnknownEscape('x'))?;
            *chars = chars.as_str()[2..].chars();
            Ok(byte)
        }
        other => Err(FormatError::UnknownEscape(other)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(format: &str) -> String {
        let record = Printed {
            topic: "t",
            partition: 3,
            offset: 42,
            timestamp: 1_700_000_000_000,
            key: Some(b"key"),
            value: None,
            headers: &[(b"a", Some(b"1")), (b"b", None)],
        };
        let mut out = Vec::new();
        format
            .parse::<Format>()
            .unwrap()
            .print(&mut out, &record)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn records_are_printed_as_asked() {
        assert_eq!(
            printed("%t/%p@%o %k=%v %T %h\\n"),
            "t/3@42 key= 1700000000000 a=1,b=\n"
        );
        assert_eq!(printed("100%% \\x41\\t\\\\é"), "100% A\t\\é");
        assert_eq!(printed(""), "");
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| text.parse::<Format>().unwrap_err();
        assert_eq!(error("%z"), FormatError::UnknownField('z'));
        assert_eq!(error("\\q"), FormatError::UnknownEscape('q'));
        assert_eq!(error("\\xzz"), FormatError::UnknownEscape('x'));
        for unfinished in ["%", "\\", "\\x4", "\\x4é"] {
            assert_eq!(error(unfinished), FormatError::Unfinished, "{unfinished}");
        }
    }

    fn read<'a>(format: &str, line: &'a str) -> Option<(Option<&'a str>, &'a str)> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        let reader = format.parse::<Format>().unwrap().reader().unwrap();
        reader
            .read(line.as_bytes())
            .map(|(key, value)| (key.map(text), text(value)))
    }

    #[test]
    fn lines_are_read_as_asked() {
        assert_eq!(read("%v\\n", "a:b"), Some((None, "a:b")));
        assert_eq!(read("%v", ""), Some((None, "")));
        assert_eq!(read("%k:%v\\n", "a:b:c"), Some((Some("a"), "b:c")));
        assert_eq!(read("%k:%v", ":"), Some((Some(""), "")));
        assert_eq!(read("%k:%v", "no separator"), None);
        assert_eq!(read("<%v> %k", "<x> y"), Some((Some("y"), "x")));
        assert_eq!(read("<%v>", "<x> y"), None);
        assert_eq!(read("<%v>", "x>"), None);
    }

    #[test]
    fn formats_that_cannot_be_read_are_refused() {
        let error = |text: &str| text.parse::<Format>().unwrap().reader().unwrap_err();
        assert_eq!(error("%k%v"), FormatError::Ambiguous);
        assert_eq!(error("%v %v"), FormatError::Ambiguous);
        assert_eq!(error("%k\\n"), FormatError::NoValue);
        assert_eq!(error("%o %v"), FormatError::OnlyKeyAndValue);
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(key in "[^\t\n]{0,20}", value in "[^\n]{0,20}") {
            let format: Format = "%k\\t%v\\n".parse().unwrap();
            let record = Printed {
                topic: "", partition: 0, offset: 0, timestamp: 0,
                key: Some(key.as_bytes()), value: Some(value.as_bytes()), headers: &[],
            };
            let mut line = Vec::new();
            format.print(&mut line, &record).unwrap();
            prop_assert_eq!(line.pop(), Some(b'\n'));
            prop_assert_eq!(format.reader().unwrap().read(&line), Some((Some(key.as_bytes()), value.as_bytes())));
        }

        #[test]
        fn no_format_panics(text in ".{0,16}", line in proptest::collection::vec(any::<u8>(), 0..16)) {
            if let Ok(Ok(reader)) = text.parse::<Format>().map(|format| format.reader()) {
                let _ignored = reader.read(&line);
            }
        }
    }
}
