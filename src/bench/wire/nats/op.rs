//! What a NATS server says, read from its bytes: lines, and messages behind lines that tell their length.
//!
//! Nothing is copied: an [`Op`] borrows the input. Incomplete input is no error; input that can never become an
//! operation is.

use crate::bench::wire::Broken;

/// Longest protocol line we accept; the server's own limit for one is 4 KiB, its greeting may be longer.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Largest message we accept; servers are configured for 64 MiB at the very most.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A message as the server hands it over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery<'a> {
    pub(super) subject: &'a [u8],
    pub(super) sid: &'a [u8],
    pub(super) reply: Option<&'a [u8]>,
    /// Its header block, empty when there is none.
    pub(super) header: &'a [u8],
    pub(super) payload: &'a [u8],
}

/// One thing the server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Op<'a> {
    Info,
    Ping,
    Pong,
    Deliver(Delivery<'a>),
}

impl<'a> Op<'a> {
    /// The first operation of `input` and its length, or none while it is incomplete.
    pub(super) fn read(input: &'a [u8]) -> Result<Option<(Self, usize)>, Broken> {
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
            if input.len() > LINE_BYTES_MAX {
                return Err(Broken("an endless line".to_owned()));
            }
            return Ok(None);
        };
        let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
        let (verb, rest) = split_word(line);
        match verb {
            b"MSG" => Self::read_message(rest, &input[end + 1..], end + 1, false),
            b"HMSG" => Self::read_message(rest, &input[end + 1..], end + 1, true),
            b"PING" => Ok(Some((Self::Ping, end + 1))),
            b"PONG" => Ok(Some((Self::Pong, end + 1))),
            b"INFO" | b"+OK" => Ok(Some((Self::Info, end + 1))),
            b"-ERR" => Err(Broken(format!(
                "the server says {}",
                String::from_utf8_lossy(rest)
            ))),
            _ => Err(Broken(format!("a line {:?}", String::from_utf8_lossy(line)))),
        }
    }

    /// `MSG subject sid [reply] total`, or `HMSG subject sid [reply] header total`, and the bytes behind the line.
    fn read_message(
        line: &'a [u8],
        body: &'a [u8],
        line_length: usize,
        with_header: bool,
    ) -> Result<Option<(Self, usize)>, Broken> {
        let broken = || Broken(format!("a message line {:?}", String::from_utf8_lossy(line)));
        let words = Words::of(line).ok_or_else(broken)?;
        let fixed = if with_header { 4 } else { 3 };
        let words = &words.words[..words.count];
        let reply = match words.len().checked_sub(fixed) {
            Some(0) => None,
            Some(1) => words.get(2).copied(),
            _ => return Err(broken()),
        };
        let size_at = |from_end: usize| {
            words
                .len()
                .checked_sub(from_end)
                .and_then(|at| number(words[at]))
                .and_then(|size| usize::try_from(size).ok())
                .filter(|size| *size <= MESSAGE_BYTES_MAX)
                .ok_or_else(broken)
        };
        let total = size_at(1)?;
        let header = if with_header { size_at(2)? } else { 0 };
        if header > total {
            return Err(broken());
        }
        if body.len() < total + 2 {
            return Ok(None);
        }
        if &body[total..total + 2] != b"\r\n" {
            return Err(Broken("a message that does not end where it should".to_owned()));
        }
        let delivery = Delivery {
            subject: words[0],
            sid: words[1],
            reply,
            header: &body[..header],
            payload: &body[header..total],
        };
        Ok(Some((Self::Deliver(delivery), line_length + total + 2)))
    }
}

/// The words of a message line; there are never more than five.
struct Words<'a> {
    words: [&'a [u8]; 5],
    count: usize,
}

impl<'a> Words<'a> {
    fn of(mut line: &'a [u8]) -> Option<Self> {
        let mut words: [&[u8]; 5] = [b""; 5];
        let mut count = 0;
        while !line.is_empty() {
            let (word, rest) = split_word(line);
            *words.get_mut(count)? = word;
            count += 1;
            line = rest;
        }
        Some(Self { words, count })
    }
}

/// The first word of `line` and what follows the blanks behind it.
fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii();
    let end = line
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(line.len());
    (&line[..end], line[end..].trim_ascii_start())
}

pub(super) fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// The status in the first line of a header block, such as `100 FlowControl Request`; none for a plain message.
pub(super) fn status_of(header: &[u8]) -> Option<&[u8]> {
    let first = header.split(|byte| *byte == b'\n').next()?;
    let status = first.strip_prefix(b"NATS/1.0")?.trim_ascii();
    (!status.is_empty()).then_some(status)
}

pub(super) fn header_value<'a>(header: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    header.split(|byte| *byte == b'\n').find_map(|line| {
        let rest = line.strip_prefix(name)?.strip_prefix(b":")?;
        Some(rest.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_read_only_when_they_are_complete() {
        let input = b"MSG a.b 2 _R 5\r\nhello\r\n";
        for cut in 0..input.len() {
            assert_eq!(Op::read(&input[..cut]).unwrap(), None, "{cut}");
        }
        let (op, length) = Op::read(input).unwrap().unwrap();
        assert_eq!(length, input.len());
        let Op::Deliver(delivery) = op else {
            panic!("{op:?}")
        };
        assert_eq!(delivery.subject, b"a.b");
        assert_eq!(delivery.reply, Some(&b"_R"[..]));
        assert_eq!(delivery.payload, b"hello");
        assert_eq!(delivery.header, b"");
    }

    #[test]
    fn a_header_block_is_kept_from_the_payload() {
        let input = b"HMSG s 1 26 28\r\nNATS/1.0 100 Idle\r\nA: b\r\nhi\r\n";
        let header = b"NATS/1.0 100 Idle\r\nA: b\r\n".len();
        let input = String::from_utf8(input.to_vec()).unwrap();
        let input = input.replace("26 28", &format!("{header} {}", header + 2));
        let (op, length) = Op::read(input.as_bytes()).unwrap().unwrap();
        assert_eq!(length, input.len());
        let Op::Deliver(delivery) = op else {
            panic!("{op:?}")
        };
        assert_eq!(delivery.payload, b"hi");
        assert_eq!(status_of(delivery.header), Some(&b"100 Idle"[..]));
        assert_eq!(header_value(delivery.header, b"A"), Some(&b"b"[..]));
        assert_eq!(header_value(delivery.header, b"B"), None);
    }

    #[test]
    fn what_cannot_become_an_operation_is_refused() {
        for bad in [
            &b"NOISE\r\n"[..],
            b"\r\n",
            b"-ERR 'Authorization Violation'\r\n",
            b"MSG\r\n",
            b"MSG a\r\n",
            b"MSG a 1 -1\r\n",
            b"MSG a 1 r 1 1\r\nx\r\n",
            b"MSG a 1 99999999999999999999\r\n",
            b"MSG a 1 67108865\r\n",
            b"MSG a 1 2\r\nhixx",
            b"HMSG a 1 5\r\nhello\r\n",
            b"HMSG a 1 6 5\r\nhello\r\n",
            b"HMSG a 1 r x 1 5 6\r\nhello\r\n",
        ] {
            Op::read(bad).expect_err(&String::from_utf8_lossy(bad));
        }
        Op::read(&vec![b'x'; LINE_BYTES_MAX + 1]).unwrap_err();
    }
}
