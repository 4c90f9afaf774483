//! `corelog log dump`: the frames of segments as they lie there, damaged ones included.
//!
//! The walk trusts headers and judges payloads: a frame whose payload fails is shown as such and passed by its length.
//! Where no header decodes, the walk goes on at the next one of the same log that does not go back; a jump in the
//! positions shows it. Rows are written as they are found, in columns of fixed width, because a segment may hold a
//! million frames.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::args::OutputFormat;
use super::super::{CliError, Streams};
use super::files::{SegmentFile, SegmentPath, find, missing, quiet};
use crate::base::{LogId, Offset};
use crate::batch::kafka::{KafkaBatch, Records as KafkaRecords};
use crate::batch::records::{RecordsView, aligned_copy};
use crate::batch::{BatchHeader, Contents, Encoding, HEADER_BYTES, verify_payload};
use crate::runtime::buffer::align_up;
use crate::storage::scan::Window;

/// Most bytes a frame's records may have once they are uncompressed.
const OPENED_BYTES_MAX: usize = 256 << 20;

/// Most bytes of a key or value that a table shows.
const SHOWN_BYTES_MAX: usize = 120;

/// Whether records are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Records {
    Shown,
    Hidden,
}

/// What to print.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// Stop after so many.
    pub(super) frames: u64,
    pub(super) records: Records,
    pub(super) output: OutputFormat,
}

/// Prints the frames of the segments that `path` names.
pub(super) fn run(path: &Path, wanted: Wanted, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let _quiet = quiet(path)?;
    let logs = find(path)?;
    let [log] = logs.as_slice() else {
        return Err(CliError::Usage(format!(
            "{}: name one partition's directory or one segment",
            path.display()
        )));
    };
    let mut printer = Printer {
        out: streams.out,
        wanted,
        printed: 0,
    };
    printer.begin()?;
    for segment in &log.segments {
        dump(segment, &mut printer)?;
    }
    printer.end()
}

fn dump(segment: &SegmentPath, printer: &mut Printer<'_>) -> Result<(), CliError> {
    let broken = |error| missing(&segment.path, &error);
    let file = SegmentFile::open(&segment.path)?;
    let mut window = Window::new(&file);
    let mut walk = Walk {
        log: None,
        offset: segment.base,
        position: 0,
    };
    while printer.printed < printer.wanted.frames {
        let Some((position, header)) = walk.next(&mut window).map_err(broken)? else {
            return Ok(());
        };
        let start = position + HEADER_BYTES as u64;
        let payload = window
            .bytes(start, header.payload_len as usize)
            .map_err(broken)?
            .unwrap_or_default();
        printer.frame(position, &header, payload)?;
    }
    Ok(())
}

/// Where the next frame is looked for.
struct Walk {
    log: Option<LogId>,
    offset: Offset,
    position: u64,
}

impl Walk {
    fn next(&mut self, window: &mut Window<'_>) -> std::io::Result<Option<(u64, BatchHeader)>> {
        let mut places = [self.position, align_up(self.position)].into_iter();
        let mut search = self.position;
        loop {
            let at = match places.next() {
                Some(at) => at,
                None => match window.find_magic(search)? {
                    Some(at) => {
                        search = at + 1;
                        at
                    }
                    None => return Ok(None),
                },
            };
            let header = window.bytes(at, HEADER_BYTES)?.map(BatchHeader::decode);
            if let Some(Ok(header)) = header
                && self.log.is_none_or(|log| log == header.log)
                && header.base_offset >= self.offset
            {
                self.log = Some(header.log);
                self.offset = header.end_offset();
                self.position = at + header.frame_len() as u64;
                return Ok(Some((at, header)));
            }
        }
    }
}

struct Printer<'a> {
    out: &'a mut dyn Write,
    wanted: Wanted,
    printed: u64,
}

const COLUMNS: &str = "POSITION    OFFSETS                  RECORDS  EPOCH  DURABLE     PRODUCER        FIRST TIME     MAX TIME       \
                       APPENDED       ENCODING      PAYLOAD  CRC";

impl Printer<'_> {
    fn begin(&mut self) -> Result<(), CliError> {
        match self.wanted.output {
            OutputFormat::Table => writeln!(self.out, "{COLUMNS}")?,
            OutputFormat::Json => write!(self.out, "[")?,
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), CliError> {
        if self.wanted.output == OutputFormat::Json {
            writeln!(self.out, "{}]", if self.printed == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }

    fn frame(&mut self, position: u64, header: &BatchHeader, payload: &[u8]) -> Result<(), CliError> {
        let sound = verify_payload(header, payload).map_err(|error| error.to_string());
        let records = match (self.wanted.records, &sound) {
            (Records::Shown, Ok(())) => Some(open(header, payload)),
            _ => None,
        };
        match self.wanted.output {
            OutputFormat::Table => self.row(position, header, payload, &sound, records)?,
            OutputFormat::Json => self.object(position, header, payload, &sound, records)?,
        }
        self.printed += 1;
        Ok(())
    }

    fn row(
        &mut self,
        position: u64,
        header: &BatchHeader,
        payload: &[u8],
        sound: &Result<(), String>,
        records: Option<Result<Vec<Shown>, String>>,
    ) -> Result<(), CliError> {
        let offsets = format!("{}..{}", header.base_offset, header.end_offset());
        let producer = header.producer.map_or_else(
            || "-".to_owned(),
            |producer| format!("{}/{}/{}", producer.id, producer.epoch, producer.base_sequence),
        );
        writeln!(
            self.out,
            "{position:<12}{offsets:<25}{:<9}{:<7}{:<12}{producer:<16}{:<15}{:<15}{:<15}{:<14}{:<9}{}",
            held(header, payload),
            header.leader_epoch,
            header.durable_end,
            header.first_timestamp,
            header.max_timestamp,
            header.append_time,
            format!("{}/{}", encoding(header), codec(header)),
            header.payload_len,
            sound.as_ref().map_or_else(|error| error.as_str(), |()| "ok"),
        )?;
        match records {
            None => {}
            Some(Err(problem)) => writeln!(self.out, "  {problem}")?,
            Some(Ok(records)) => {
                for record in records {
                    writeln!(
                        self.out,
                        "  {}  {}  {}  {}",
                        record.offset,
                        record.timestamp,
                        brief(record.key.as_deref()),
                        brief(record.value.as_deref())
                    )?;
                }
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        position: u64,
        header: &BatchHeader,
        payload: &[u8],
        sound: &Result<(), String>,
        records: Option<Result<Vec<Shown>, String>>,
    ) -> Result<(), CliError> {
        let producer = header.producer.map(|producer| {
            json!({
                "id": producer.id.get(),
                "epoch": producer.epoch.get(),
                "base_sequence": producer.base_sequence,
            })
        });
        let mut frame = json!({
            "position": position,
            "log": header.log.to_string(),
            "base_offset": header.base_offset.get(),
            "end_offset": header.end_offset().get(),
            "records_count": held(header, payload),
            "leader_epoch": header.leader_epoch.get(),
            "durable_end": header.durable_end.get(),
            "producer": producer,
            "first_timestamp": header.first_timestamp.get(),
            "max_timestamp": header.max_timestamp.get(),
            "append_time": header.append_time.get(),
            "encoding": encoding(header),
            "codec": codec(header),
            "payload_bytes": header.payload_len,
            "crc_ok": sound.is_ok(),
        });
        match records {
            None => {}
            Some(Err(problem)) => frame["records_error"] = json!(problem),
            Some(Ok(records)) => frame["records"] = records.iter().map(Shown::to_json).collect(),
        }
        write!(self.out, "{}\n{frame}", if self.printed == 0 { "" } else { "," })?;
        Ok(())
    }
}

/// Records in a frame: as many as it covers, unless compaction took some out.
fn held(header: &BatchHeader, payload: &[u8]) -> u32 {
    let batch = match header.contents {
        Contents::AsAppended => None,
        Contents::Cleaned => KafkaBatch::parse(payload).ok(),
    };
    let count = batch.and_then(|batch| u32::try_from(batch.record_count()).ok());
    count.unwrap_or(header.record_count)
}

fn encoding(header: &BatchHeader) -> &'static str {
    match header.encoding {
        Encoding::Rkyv => "rkyv",
        Encoding::Kafka => "kafka",
    }
}

fn codec(header: &BatchHeader) -> &'static str {
    header
        .attributes
        .compression()
        .map_or("unknown", crate::batch::Compression::name)
}

/// A record, copied out of its frame.
struct Shown {
    offset: u64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: usize,
}

impl Shown {
    fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("offset".to_owned(), json!(self.offset));
        object.insert("timestamp".to_owned(), json!(self.timestamp));
        for (name, bytes) in [("key", &self.key), ("value", &self.value)] {
            match bytes.as_deref().map(str::from_utf8) {
                Some(Err(_)) => {
                    let hex = bytes.iter().flatten().map(|byte| format!("{byte:02x}"));
                    object.insert(format!("{name}_hex"), json!(hex.collect::<String>()));
                }
                text => {
                    object.insert(name.to_owned(), json!(text.and_then(Result::ok)));
                }
            }
        }
        object.insert("headers_count".to_owned(), json!(self.headers));
        Value::Object(object)
    }
}

/// The records of a frame whose checksum holds, or why they cannot be read.
fn open(header: &BatchHeader, payload: &[u8]) -> Result<Vec<Shown>, String> {
    match header.encoding {
        Encoding::Kafka => open_kafka(header, payload),
        Encoding::Rkyv => open_native(header, payload),
    }
}

fn open_kafka(header: &BatchHeader, payload: &[u8]) -> Result<Vec<Shown>, String> {
    let batch = KafkaBatch::parse(payload).map_err(|error| error.to_string())?;
    let section = batch
        .uncompressed(OPENED_BYTES_MAX)
        .map_err(|error| error.to_string())?;
    let base = batch.base_timestamp().get();
    let count = u32::try_from(batch.record_count()).map_err(|error| error.to_string())?;
    KafkaRecords::new(&section, count)
        .map(|record| {
            let record = record.map_err(|error| error.to_string())?;
            let delta = u64::try_from(record.offset_delta).map_err(|error| error.to_string())?;
            Ok(Shown {
                offset: header.base_offset.get() + delta,
                timestamp: base.saturating_add(record.timestamp_delta),
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record.headers.len(),
            })
        })
        .collect()
}

fn open_native(header: &BatchHeader, payload: &[u8]) -> Result<Vec<Shown>, String> {
    let aligned = aligned_copy(payload);
    let view = RecordsView::parse(&aligned).map_err(|error| error.to_string())?;
    let offsets = header.base_offset.get()..;
    Ok(offsets
        .zip(view.iter())
        .map(|(offset, record)| Shown {
            offset,
            timestamp: record.timestamp.get(),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.count(),
        })
        .collect())
}

/// Bytes on one line of a table: escaped, cut, `-` for null.
fn brief(bytes: Option<&[u8]>) -> Cow<'static, str> {
    let Some(bytes) = bytes else {
        return Cow::Borrowed("-");
    };
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let more = if shown.len() < bytes.len() { "..." } else { "" };
    Cow::Owned(format!("\"{}\"{more}", shown.escape_ascii()))
}
