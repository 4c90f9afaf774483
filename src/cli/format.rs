//! The little language of `-f`: how a record is printed, and how a line becomes a record.
//!
//! `%v` value, `%k` key, `%o` offset, `%p` partition, `%t` topic, `%T` timestamp in milliseconds, `%h` headers as
//! `name=value,name=value`, `%V` and `%K` bytes of value and key (-1 for null), `%%` a percent sign;
//! `\n \t \r \0 \\ \xNN`. Everything is bytes: a value that is not UTF-8 comes out as it went in, and a null prints as nothing.
//! A field may say how it is written: `%v{hex}` and `%v{base64}` (also of `%k`), `%T{iso}`.
//!
//! Reading is the reverse for `%k` and `%v` only, in hex and base64 too. A record is a line; what stands between two fields
//! separates them at its first occurrence, and the last field takes the rest of the line.

use std::borrow::Cow;
use std::io::{self, Write};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::moment;
use crate::client::kafka::consumer::Fetched;

/// A parsed `-f`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Field(FieldOf),
}

/// How the bytes of a key or value are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Raw,
    Hex,
    Base64,
}

impl Style {
    fn write(self, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Raw => out.write_all(bytes),
            Self::Hex => bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
            Self::Base64 => out.write_all(BASE64.encode(bytes).as_bytes()),
        }
    }

    /// The bytes that were written like this; `None` if they were not.
    fn read(self, text: &[u8]) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Raw => Some(Cow::Borrowed(text)),
            Self::Hex => read_hex(text).map(Cow::Owned),
            Self::Base64 => BASE64.decode(text).ok().map(Cow::Owned),
        }
    }
}

fn read_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let (pairs, rest) = text.as_chunks::<2>();
    let bytes = pairs
        .iter()
        .map(|[high, low]| Some(digit(high)? << 4 | digit(low)?));
    bytes.collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty())
}

/// What can stand behind a `%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldOf {
    Key(Style),
    Value(Style),
    KeyBytes,
    ValueBytes,
    Offset,
    Partition,
    Topic,
    Timestamp,
    TimestampIso,
    Headers,
}

impl Format {
    /// Prints one record.
    pub fn print(&self, out: &mut dyn Write, record: &Fetched<'_>) -> io::Result<()> {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Literal(bytes) => out.write_all(bytes),
            Piece::Field(FieldOf::Key(style)) => style.write(record.key.unwrap_or_default(), out),
            Piece::Field(FieldOf::Value(style)) => style.write(record.value.unwrap_or_default(), out),
            Piece::Field(FieldOf::KeyBytes) => print_length(out, record.key),
            Piece::Field(FieldOf::ValueBytes) => print_length(out, record.value),
            Piece::Field(FieldOf::Offset) => write!(out, "{}", record.offset),
            Piece::Field(FieldOf::Partition) => write!(out, "{}", record.partition),
            Piece::Field(FieldOf::Topic) => out.write_all(record.topic.as_bytes()),
            Piece::Field(FieldOf::Timestamp) => write!(out, "{}", record.timestamp),
            Piece::Field(FieldOf::TimestampIso) => {
                out.write_all(moment::to_text(record.timestamp).as_bytes())
            }
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
                Piece::Field(FieldOf::Key(_)) => 0,
                Piece::Field(FieldOf::Value(_)) => 1,
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

fn print_length(out: &mut dyn Write, bytes: Option<&[u8]>) -> io::Result<()> {
    match bytes {
        Some(bytes) => write!(out, "{}", bytes.len()),
        None => out.write_all(b"-1"),
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
pub type Split<'a> = (Option<Cow<'a, [u8]>>, Cow<'a, [u8]>);

impl LineReader {
    /// Key and value of `line`, which has no line end; `None` if the line does not look like the format.
    #[must_use]
    pub fn read<'a>(&self, line: &'a [u8]) -> Option<Split<'a>> {
        let (mut key, mut value) = (None, Cow::Borrowed(&line[..0]));
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
                FieldOf::Key(style) => key = Some(style.read(taken)?),
                FieldOf::Value(style) => value = style.read(taken)?,
                _ => return None,
            }
        }
        rest.is_empty().then_some((key, value))
    }

    /// Whether the format has a key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.0
            .iter()
            .any(|piece| matches!(piece, Piece::Field(FieldOf::Key(_))))
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Why a format cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A `%` with something unknown behind it.
    #[error("%{0} is not a field: use %v %k %V %K %o %p %t %T %h, or %% for a percent sign")]
    UnknownField(char),
    /// A field written in a way it cannot be.
    #[error("%{0} cannot be written as {{{1}}}: %v and %k take hex or base64, %T takes iso")]
    UnknownStyle(char, String),
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
                '%' => match field(chars.next().ok_or(FormatError::Unfinished)?, &mut chars)? {
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

/// The field a letter and what is in braces behind it name; `None` for the percent sign itself.
fn field(letter: char, chars: &mut std::str::Chars<'_>) -> Result<Option<FieldOf>, FormatError> {
    // Only fields that have styles take braces: `{` behind any other is a character like all others.
    let styled = matches!(letter, 'v' | 'k' | 'T')
        .then(|| style(chars))
        .transpose()?
        .flatten();
    Ok(Some(match (letter, styled.as_deref()) {
        ('v', None) => FieldOf::Value(Style::Raw),
        ('v', Some("hex")) => FieldOf::Value(Style::Hex),
        ('v', Some("base64")) => FieldOf::Value(Style::Base64),
        ('k', None) => FieldOf::Key(Style::Raw),
        ('k', Some("hex")) => FieldOf::Key(Style::Hex),
        ('k', Some("base64")) => FieldOf::Key(Style::Base64),
        ('T', None) => FieldOf::Timestamp,
        ('T', Some("iso")) => FieldOf::TimestampIso,
        (letter, Some(style)) => return Err(FormatError::UnknownStyle(letter, style.to_owned())),
        (letter, None) => return plain_field(letter),
    }))
}

/// What is in the braces that follow, if any follow.
fn style(chars: &mut std::str::Chars<'_>) -> Result<Option<String>, FormatError> {
    let Some(inside) = chars.as_str().strip_prefix('{') else {
        return Ok(None);
    };
    let (style, rest) = inside.split_once('}').ok_or(FormatError::Unfinished)?;
    *chars = rest.chars();
    Ok(Some(style.to_owned()))
}

fn plain_field(letter: char) -> Result<Option<FieldOf>, FormatError> {
    Ok(Some(match letter {
        'K' => FieldOf::KeyBytes,
        'V' => FieldOf::ValueBytes,
        'o' => FieldOf::Offset,
        'p' => FieldOf::Partition,
        't' => FieldOf::Topic,
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
        let record = Fetched {
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
        assert_eq!(
            printed("%k{hex} %k{base64} %K %V %v{hex} %T{iso} %o{hex}"),
            "6b6579 a2V5 3 -1  2023-11-14T22:13:20Z 42{hex}"
        );
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| text.parse::<Format>().unwrap_err();
        assert_eq!(error("%z"), FormatError::UnknownField('z'));
        assert_eq!(error("%v{oct}"), FormatError::UnknownStyle('v', "oct".to_owned()));
        assert_eq!(error("%T{hex}"), FormatError::UnknownStyle('T', "hex".to_owned()));
        assert_eq!(error("\\q"), FormatError::UnknownEscape('q'));
        assert_eq!(error("\\xzz"), FormatError::UnknownEscape('x'));
        for unfinished in ["%", "\\", "\\x4", "\\x4é", "%v{hex"] {
            assert_eq!(error(unfinished), FormatError::Unfinished, "{unfinished}");
        }
    }

    fn read(format: &str, line: &str) -> Option<(Option<String>, String)> {
        let text = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).unwrap();
        let reader = format.parse::<Format>().unwrap().reader().unwrap();
        reader
            .read(line.as_bytes())
            .map(|(key, value)| (key.map(text), text(value)))
    }

    #[test]
    fn lines_are_read_as_asked() {
        let split = |key: Option<&str>, value: &str| Some((key.map(str::to_owned), value.to_owned()));
        assert_eq!(read("%v\\n", "a:b"), split(None, "a:b"));
        assert_eq!(read("%v", ""), split(None, ""));
        assert_eq!(read("%k:%v\\n", "a:b:c"), split(Some("a"), "b:c"));
        assert_eq!(read("%k:%v", ":"), split(Some(""), ""));
        assert_eq!(read("%k:%v", "no separator"), None);
        assert_eq!(read("<%v> %k", "<x> y"), split(Some("y"), "x"));
        assert_eq!(read("<%v>", "<x> y"), None);
        assert_eq!(read("<%v>", "x>"), None);
        assert_eq!(read("%k{hex} %v{base64}", "6b4B aGk="), split(Some("kK"), "hi"));
        for wrong in ["6b4 aGk=", "6x aGk=", "6b aGk", "+b aGk="] {
            assert_eq!(read("%k{hex} %v{base64}", wrong), None, "{wrong}");
        }
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
        fn what_is_printed_reads_back(key in "[^\t\n]{0,20}", value in "[^\n]{0,20}", style in 0usize..3) {
            let format = ["%k\\t%v\\n", "%k{hex}\\t%v{hex}\\n", "%k{base64}\\t%v{base64}\\n"][style];
            let format: Format = format.parse().unwrap();
            let record = Fetched {
                topic: "", partition: 0, offset: 0, timestamp: 0,
                key: Some(key.as_bytes()), value: Some(value.as_bytes()), headers: &[],
            };
            let mut line = Vec::new();
            format.print(&mut line, &record).unwrap();
            prop_assert_eq!(line.pop(), Some(b'\n'));
            let split = (Some(Cow::Borrowed(key.as_bytes())), Cow::Borrowed(value.as_bytes()));
            prop_assert_eq!(format.reader().unwrap().read(&line), Some(split));
        }

        #[test]
        fn no_format_panics(text in ".{0,16}", line in proptest::collection::vec(any::<u8>(), 0..16)) {
            if let Ok(Ok(reader)) = text.parse::<Format>().map(|format| format.reader()) {
                let _ignored = reader.read(&line);
            }
        }
    }
}
