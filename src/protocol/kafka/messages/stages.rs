//! Stage times in a Kafka answer: a tagged field of our own, which clients that did not ask never meet.
//!
//! **How to ask.** In a flexible version (Produce 9+, Fetch 12+) the request body ends with the tagged field
//! [`STAGES_TAG`], one byte: the newest layout the client reads, 1 or more. **The answer** then has the field of the same tag at the
//! end of its body, with the 32 bytes of [`StageTimes`]; it is missing where there is nothing to tell (no batch was
//! accepted, no log was read). Without the question the answer is byte for byte what it would be otherwise. Other brokers
//! pass over the question as over any tag they do not know. The tag is far above those Kafka gives out, one by one.
//!
//! Any thread.

use crate::base::stages::StageTimes;
use crate::protocol::kafka::wire::{DecodeError, Format, Reader, Wire, Writer};

/// The tag of the question in a request and of the times in its answer.
pub const STAGES_TAG: u32 = 10_000;

impl Wire<'_> for Option<StageTimes> {
    fn bytes_min(_: Format) -> usize {
        1
    }

    /// Takes the whole field; a layout of the future reads as nothing.
    fn read(reader: &mut Reader<'_>, _: Format) -> Result<Self, DecodeError> {
        let bytes = reader.slice(reader.remaining())?;
        Ok(StageTimes::from_bytes(bytes))
    }

    fn write(self, writer: &mut Writer, _: Format) {
        if let Some(times) = self {
            writer.raw(&times.to_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::base::stages::{Path, Stage, StageTimes};
    use crate::protocol::kafka::messages::{
        FetchRequest, FetchResponse, Message, ProduceRequest, ProduceResponse,
    };
    use crate::protocol::kafka::wire::Writer;

    fn bytes<'a>(message: impl Message<'a>, version: i16) -> Vec<u8> {
        let mut writer = Writer::new();
        message.encode(&mut writer, version);
        writer.finish().unwrap().into_vec()
    }

    #[test]
    fn the_question_is_one_tagged_byte_behind_the_request() {
        let plain = bytes(ProduceRequest::default(), 9);
        let asking = ProduceRequest {
            stages_layout: 1,
            ..ProduceRequest::default()
        };
        let (kept, ending) = plain.split_at(plain.len() - 1);
        assert_eq!(ending, [0], "no tagged field");
        // One field, its tag 10 000 in base 128, one byte, layout 1.
        assert_eq!(bytes(asking.clone(), 9), [kept, &[1, 0x90, 0x4e, 1, 1]].concat());
        assert_eq!(bytes(asking, 8), bytes(ProduceRequest::default(), 8));
    }

    #[test]
    fn the_times_are_thirty_two_tagged_bytes_behind_the_answer() {
        let times = StageTimes::new(Path::Read).with_ns(Stage::Find, 77);
        let telling = FetchResponse {
            stages: Some(times),
            ..FetchResponse::default()
        };
        let bytes = bytes(telling.clone(), 12);
        let field = [&[1, 0x90, 0x4e, 32], &times.to_bytes()[..]].concat();
        assert!(bytes.ends_with(&field), "{bytes:?}");
        assert_eq!(FetchResponse::decode(&bytes, 12), Ok(telling));
    }

    #[test]
    fn a_layout_of_the_future_reads_as_nothing() {
        let mut future = bytes(
            ProduceResponse {
                stages: Some(StageTimes::new(Path::Durable)),
                ..ProduceResponse::default()
            },
            9,
        );
        let layout_at = future.len() - StageTimes::BYTES;
        future[layout_at] = 2;
        assert_eq!(ProduceResponse::decode(&future, 9).unwrap().stages, None);
        assert_eq!(FetchRequest::default().stages_layout, 0);
    }
}
