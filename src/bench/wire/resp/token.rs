//! The Redis serialisation protocol (RESP2), one token at a time.
//!
//! Replies nest, but are read as a flat run of tokens: an array says how many values follow, and the reader of the
//! reply keeps count. So a reply of many megabytes is digested as it comes, and nothing of it is read twice.

use crate::bench::wire::Broken;

/// Longest line: a length, a number, or an error's words.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Longest bulk string we accept; the server's own limit is 512 MiB, no message of a run comes near this.
const BULK_BYTES_MAX: i64 = 64 * 1024 * 1024;
/// Most values an array may announce.
const ARRAY_VALUES_MAX: i64 = 1 << 24;

/// One value, or the head of an array.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `+text`.
    Simple(&'a [u8]),
    /// `-text`: the server refuses.
    Error(&'a [u8]),
    /// `:number`.
    Integer(i64),
    /// `$length` and bytes.
    Bulk(&'a [u8]),
    /// `*count`: so many values follow.
    Array(usize),
    /// A string or an array that is not there.
    Nil,
}

impl<'a> Token<'a> {
    /// The first token of `input` and its length, or none while it is incomplete.
    pub(super) fn read(input: &'a [u8]) -> Result<Option<(Self, usize)>, Broken> {
        let Some(end) = input.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n') else {
            if input.len() >= LINE_BYTES_MAX {
                return Err(Broken("an endless line".to_owned()));
            }
            return Ok(None);
        };
        let line = input[..end]
            .strip_suffix(b"\r")
            .ok_or_else(|| Broken("a line without its carriage return".to_owned()))?;
        let (kind, rest) = line
            .split_first()
            .ok_or_else(|| Broken("an empty line".to_owned()))?;
        let behind = end + 1;
        let token = match kind {
            b'+' => Self::Simple(rest),
            b'-' => Self::Error(rest),
            b':' => Self::Integer(number(rest)?),
            b'*' => match size(rest, ARRAY_VALUES_MAX)? {
                None => Self::Nil,
                Some(count) => Self::Array(count),
            },
            b'$' => match size(rest, BULK_BYTES_MAX)? {
                None => Self::Nil,
                Some(length) => return Self::read_bulk(input, behind, length),
            },
            _ => return Err(Broken(format!("a line {:?}", String::from_utf8_lossy(line)))),
        };
        Ok(Some((token, behind)))
    }

    fn read_bulk(input: &'a [u8], start: usize, length: usize) -> Result<Option<(Self, usize)>, Broken> {
        let end = start + length;
        let Some(tail) = input.get(end..end + 2) else {
            return Ok(None);
        };
        if tail != b"\r\n" {
            return Err(Broken("a string that does not end where it should".to_owned()));
        }
        Ok(Some((Self::Bulk(&input[start..end]), end + 2)))
    }
}

fn number(text: &[u8]) -> Result<i64, Broken> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Broken(format!("a number {:?}", String::from_utf8_lossy(text))))
}

/// A length; none for the -1 that means nothing is there.
fn size(text: &[u8], most: i64) -> Result<Option<usize>, Broken> {
    match number(text)? {
        -1 => Ok(None),
        size if size <= most => usize::try_from(size)
            .map(Some)
            .map_err(|_negative| Broken(format!("a length of {size}"))),
        size => Err(Broken(format!("a length of {size}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_only_when_they_are_complete() {
        let cases: [(&[u8], Token<'_>); 7] = [
            (b"+OK\r\n", Token::Simple(b"OK")),
            (b"-ERR no\r\n", Token::Error(b"ERR no")),
            (b":-12\r\n", Token::Integer(-12)),
            (b"$5\r\nhe\r\no\r\n", Token::Bulk(b"he\r\no")),
            (b"$-1\r\n", Token::Nil),
            (b"*-1\r\n", Token::Nil),
            (b"*3\r\n", Token::Array(3)),
        ];
        for (input, token) in cases {
            for cut in 0..input.len() {
                assert_eq!(
                    Token::read(&input[..cut]).unwrap(),
                    None,
                    "{input:?} cut at {cut}"
                );
            }
            assert_eq!(Token::read(input).unwrap(), Some((token, input.len())));
        }
    }

    #[test]
    fn what_cannot_become_a_token_is_refused() {
        for bad in [
            &b"\r\n"[..],
            b"\n",
            b"OK\r\n",
            b"+OK\n",
            b":\r\n",
            b":1x\r\n",
            b"$-2\r\n",
            b"$67108865\r\n",
            b"*16777217\r\n",
            b"$2\r\nabcd",
        ] {
            Token::read(bad).expect_err(&String::from_utf8_lossy(bad));
        }
        Token::read(&vec![b'+'; LINE_BYTES_MAX]).unwrap_err();
    }
}
