//! The reply to `XREAD`, taken apart as its tokens come.
//!
//! `[[stream, [[id, [field, value, ...]], ...]], ...]`: the depth and the place in it say what a token is. The message
//! is the value of the field [`VALUE_FIELD`](super::VALUE_FIELD).

use super::VALUE_FIELD;
use super::token::Token;
use crate::bench::wire::Broken;

/// What a token of the reply meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Nothing to report yet.
    Structure,
    /// The entries that follow are of this stream.
    Stream(&'a [u8]),
    /// The values that follow are of this entry.
    Entry(&'a [u8]),
    /// A message.
    Value(&'a [u8]),
}

/// How far a reply has come.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Values still to come at each depth, outermost first.
    left: Vec<usize>,
    /// Whether the last field's name was the message's.
    value_next: bool,
}

/// Streams, a stream, its entries, an entry, its fields.
const DEPTH_MAX: usize = 5;

impl Reads {
    /// Whether the reply is complete, or none has begun.
    pub(super) fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    /// Takes the next token of a reply.
    pub(super) fn take<'a>(&mut self, token: &Token<'a>) -> Result<Part<'a>, Broken> {
        if let Some(left) = self.left.last_mut() {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| Broken("a reply longer than it said".to_owned()))?;
        }
        let part = match *token {
            Token::Array(count) => {
                self.enter(count)?;
                Part::Structure
            }
            Token::Nil if self.left.is_empty() => Part::Structure,
            Token::Bulk(bytes) => self.name(bytes)?,
            Token::Error(words) => return Err(Broken(String::from_utf8_lossy(words).into_owned())),
            ref other => return Err(Broken(format!("{other:?} inside a reply"))),
        };
        while self.left.last() == Some(&0) {
            self.left.pop();
        }
        Ok(part)
    }

    fn enter(&mut self, count: usize) -> Result<(), Broken> {
        let pair = matches!(self.left.len(), 1 | 3);
        let odd_fields = self.left.len() == 4 && count % 2 == 1;
        // The first of a pair is a name; only the second is an array.
        let too_early = matches!(self.left.len(), 2 | 4) && self.left.last() != Some(&0);
        if too_early || self.left.len() == DEPTH_MAX || (pair && count != 2) || odd_fields {
            return Err(Broken(format!(
                "an array of {count} at depth {}",
                self.left.len()
            )));
        }
        self.left.push(count);
        Ok(())
    }

    /// What a string is, by where it stands.
    fn name<'a>(&mut self, bytes: &'a [u8]) -> Result<Part<'a>, Broken> {
        match (self.left.len(), self.left.last()) {
            (2, Some(1)) => Ok(Part::Stream(bytes)),
            (4, Some(1)) => Ok(Part::Entry(bytes)),
            (5, Some(left)) if left % 2 == 1 => {
                self.value_next = bytes == VALUE_FIELD;
                Ok(Part::Structure)
            }
            (5, Some(_)) if self.value_next => Ok(Part::Value(bytes)),
            (5, Some(_)) => Ok(Part::Structure),
            (depth, _) => Err(Broken(format!("a string at depth {depth}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(input: &[u8]) -> Result<(Vec<String>, bool), Broken> {
        let mut reads = Reads::default();
        let mut told = Vec::new();
        let mut used = 0;
        while let Some((token, length)) = Token::read(&input[used..])? {
            match reads.take(&token)? {
                Part::Structure => (),
                Part::Stream(name) => told.push(format!("stream {}", String::from_utf8_lossy(name))),
                Part::Entry(id) => told.push(format!("entry {}", String::from_utf8_lossy(id))),
                Part::Value(value) => told.push(format!("value {}", String::from_utf8_lossy(value))),
            }
            used += length;
        }
        Ok((told, reads.is_done()))
    }

    #[test]
    fn a_reply_names_streams_entries_and_values() {
        let input = b"*2\r\n*2\r\n$1\r\na\r\n*2\r\n*2\r\n$3\r\n1-0\r\n*4\r\n$1\r\nk\r\n$1\r\nv\r\n$1\r\nv\r\n$2\r\nhi\r\n\
            *2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nv\r\n$2\r\nho\r\n*2\r\n$1\r\nb\r\n*0\r\n";
        let (told, done) = parts(input).unwrap();
        assert_eq!(
            told,
            [
                "stream a",
                "entry 1-0",
                "value hi",
                "entry 1-1",
                "value ho",
                "stream b"
            ]
        );
        assert!(done);
        assert_eq!(parts(b"*-1\r\n").unwrap(), (Vec::new(), true));
        assert!(!parts(b"*1\r\n*2\r\n$1\r\na\r\n").unwrap().1);
    }

    #[test]
    fn a_reply_of_another_shape_is_refused() {
        for bad in [
            &b"$1\r\na\r\n"[..],
            b"*1\r\n$1\r\na\r\n",
            b"*1\r\n*3\r\n",
            b"*1\r\n*2\r\n*1\r\n",
            b"*1\r\n*2\r\n:1\r\n",
            b"*1\r\n*2\r\n$-1\r\n",
            b"-ERR x\r\n",
            b"*1\r\n*2\r\n$1\r\na\r\n*1\r\n*2\r\n$1\r\n1\r\n*1\r\n",
            b"*1\r\n*2\r\n$1\r\na\r\n*1\r\n*2\r\n$1\r\n1\r\n*2\r\n*1\r\n",
        ] {
            parts(bad).expect_err(&String::from_utf8_lossy(bad));
        }
    }
}
