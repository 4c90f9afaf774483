//! Consuming: from an offset, in order, every batch checked before a record of it is shown.
//!
//! One fetch is in flight to each leader; their answers are taken in turn. Records below the asked-for offset (a batch
//! may begin earlier) and control batches are skipped. A batch whose checksum does not hold is an error and never
//! shown. Groups are [`super::member`]'s matter. Absent: transactions (uncommitted records are shown), and partitions that are added while it reads.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::base::Timestamp;
use crate::batch::KafkaBatch;
use crate::batch::kafka::Records;
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData, TIMESTAMP_EARLIEST,
    TIMESTAMP_LATEST,
};

use super::error::BatchFault;
use super::{Client, ClientError, Missing, Pauses, Topic};

/// Where consuming begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The first record there is.
    Start,
    /// What comes from now on.
    End,
    /// This offset, in every partition.
    Offset(i64),
    /// So many records before the end of each partition.
    BeforeEnd(i64),
    /// The first record with this timestamp (milliseconds since 1970) or a later one.
    Timestamp(i64),
}

/// A record as it was fetched, borrowed from the answer.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
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

/// A reader of some partitions of one topic.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    topic: Topic,
    start: StartAt,
    places: BTreeMap<i32, Place>,
    pauses: Pauses,
}

/// Where reading stands in one partition.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The next offset to show.
    next: i64,
    /// Where the broker said the partition ended, in the last answer.
    end: Option<i64>,
}

/// Takes records one by one; `Break` to want no more.
pub type Sink<'a> = dyn FnMut(&Fetched<'_>) -> Result<ControlFlow<()>, ClientError> + 'a;

impl Consumer {
    /// Looks up where to begin in `partition`, or in all of them.
    pub fn new(
        mut client: Client,
        topic: &str,
        partition: Option<i32>,
        start: StartAt,
    ) -> Result<Self, ClientError> {
        let topic = client.topic(topic, Missing::Fail)?;
        let wanted: Vec<i32> = match partition {
            Some(partition) if topic.partitions.contains_key(&partition) => vec![partition],
            Some(partition) => {
                let count = topic.partitions.len();
                return Err(ClientError::NoSuchPartition {
                    topic: topic.name,
                    partition,
                    count,
                });
            }
            None => topic.partitions.keys().copied().collect(),
        };
        let starts = starts(&mut client, &topic.name, start)?;
        let offsets = wanted
            .into_iter()
            .map(|index| (index, starts.get(&index).copied().unwrap_or(0)))
            .collect();
        Ok(Self::at(client, topic, start, &offsets))
    }

    /// A reader of the partitions in `offsets`, each from its offset. `start` says what becomes of a partition whose offset
    /// is gone: [`StartAt::Start`] begins at the first record there is, anything else is an error.
    pub fn at(client: Client, topic: Topic, start: StartAt, offsets: &BTreeMap<i32, i64>) -> Self {
        let places = offsets.iter().map(|(index, offset)| {
            (
                *index,
                Place {
                    next: *offset,
                    end: None,
                },
            )
        });
        Self {
            pauses: Pauses::new(client.patience()),
            places: places.collect(),
            client,
            topic,
            start,
        }
    }

    /// The next offset to show, by partition.
    #[must_use]
    pub fn offsets(&self) -> BTreeMap<i32, i64> {
        self.places
            .iter()
            .map(|(index, place)| (*index, place.next))
            .collect()
    }

    /// The client, between polls.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Ends reading and gives the client back.
    #[must_use]
    pub fn into_client(self) -> Client {
        self.client
    }

    /// Whether every partition has been read to where it ended in the broker's last answer.
    #[must_use]
    pub fn at_end(&self) -> bool {
        self.places
            .values()
            .all(|place| place.end.is_some_and(|end| place.next >= end))
    }

    /// Fetches once from every leader and hands records to `sink`; `Break` if the sink wanted no more.
    pub fn poll(&mut self, sink: &mut Sink<'_>) -> Result<ControlFlow<()>, ClientError> {
        match self.fetch_once(sink) {
            Ok(flow) => {
                self.pauses = Pauses::new(self.client.patience());
                Ok(flow)
            }
            Err(error) if error.is_transient() => {
                self.pauses.wait(error)?;
                self.topic = self.client.topic(&self.topic.name, Missing::Fail)?;
                Ok(ControlFlow::Continue(()))
            }
            Err(error) => Err(error),
        }
    }

    fn fetch_once(&mut self, sink: &mut Sink<'_>) -> Result<ControlFlow<()>, ClientError> {
        let leaders = self.by_leader();
        let wait = if leaders.len() == 1 {
            WAIT_ALONE
        } else {
            WAIT_SHARED
        };
        let mut tickets = Vec::new();
        for (leader, partitions) in leaders {
            let request = fetch_request(&self.topic.name, &partitions, wait);
            let sent = self
                .client
                .connection(leader)
                .and_then(|connection| connection.send(request));
            match sent {
                Ok(ticket) => tickets.push((leader, ticket)),
                Err(error) => {
                    return Err(self.abandon(leader, tickets.into_iter().map(|(node, _)| node), error));
                }
            }
        }
        let mut tickets = tickets.into_iter();
        while let Some((leader, ticket)) = tickets.next() {
            let connection = self.client.connection(leader)?;
            let shown = connection.receive(&ticket).and_then(|()| {
                let answer = connection.answer::<FetchResponse<'_>>(&ticket)?;
                show(&self.topic.name, self.start, &answer, &mut self.places, sink)
            });
            match shown {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return Ok(ControlFlow::Break(())),
                Err(error) => return Err(self.abandon(leader, tickets.map(|(node, _)| node), error)),
            }
        }
        self.reset_lost_places()?;
        Ok(ControlFlow::Continue(()))
    }

    /// Drops connections whose answers nobody will take any more.
    fn abandon(&mut self, failed: i32, others: impl Iterator<Item = i32>, error: ClientError) -> ClientError {
        self.client.disconnect(failed);
        others.for_each(|node| self.client.disconnect(node));
        error
    }

    fn by_leader(&self) -> BTreeMap<i32, Vec<(i32, i64)>> {
        let mut leaders = BTreeMap::<i32, Vec<(i32, i64)>>::new();
        for (index, place) in &self.places {
            let leader = self
                .topic
                .partitions
                .get(index)
                .map_or(NO_LEADER, |partition| partition.leader);
            leaders.entry(leader).or_default().push((*index, place.next));
        }
        leaders
    }

    /// Sends partitions that lost their place (see [`LOST`]) back to the first record there is.
    fn reset_lost_places(&mut self) -> Result<(), ClientError> {
        if self.places.values().any(|place| place.next == LOST) {
            let first = self.client.offsets(&self.topic.name, TIMESTAMP_EARLIEST)?;
            for (index, place) in self.places.iter_mut().filter(|(_, place)| place.next == LOST) {
                place.next = first.get(index).copied().unwrap_or(0);
            }
        }
        Ok(())
    }
}

/// The offset to begin at, by partition.
pub(crate) fn starts(
    client: &mut Client,
    topic: &str,
    start: StartAt,
) -> Result<BTreeMap<i32, i64>, ClientError> {
    let first = client.offsets(topic, TIMESTAMP_EARLIEST)?;
    let end = client.offsets(topic, TIMESTAMP_LATEST)?;
    let mut at = match start {
        StartAt::Start => return Ok(first),
        StartAt::End => return Ok(end),
        StartAt::Offset(offset) => first.keys().map(|index| (*index, offset)).collect(),
        StartAt::BeforeEnd(count) => end
            .iter()
            .map(|(index, end)| (*index, end.saturating_sub(count)))
            .collect(),
        StartAt::Timestamp(millis) => client.offsets(topic, millis)?,
    };
    for (index, offset) in &mut at {
        let floor = first.get(index).copied().unwrap_or(0);
        match start {
            // No record is that young: what comes next will be.
            StartAt::Timestamp(_) if *offset < 0 => *offset = end.get(index).copied().unwrap_or(0),
            StartAt::BeforeEnd(_) => *offset = floor.max(*offset),
            _ => {}
        }
    }
    Ok(at)
}

fn fetch_request<'a>(topic: &'a str, partitions: &[(i32, i64)], wait: Duration) -> FetchRequest<'a> {
    let partitions = partitions.iter().map(|(index, offset)| FetchPartition {
        partition: *index,
        fetch_offset: *offset,
        partition_max_bytes: PARTITION_BYTES,
        ..FetchPartition::default()
    });
    FetchRequest {
        max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: 1,
        max_bytes: FETCH_BYTES,
        topics: vec![FetchTopic {
            topic,
            partitions: partitions.collect(),
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

/// Shows the records of an answer and moves the places behind them.
fn show(
    topic: &str,
    start: StartAt,
    answer: &FetchResponse<'_>,
    places: &mut BTreeMap<i32, Place>,
    sink: &mut Sink<'_>,
) -> Result<ControlFlow<()>, ClientError> {
    ClientError::check(topic, answer.error_code, None)?;
    for data in answer.responses.iter().flat_map(|topic| &topic.partitions) {
        let Some(place) = places.get_mut(&data.partition_index) else {
            continue;
        };
        let name = format!("{topic}-{}", data.partition_index);
        // Retention may pass the first record while we are on the way to it.
        if data.error_code == ErrorCode::OffsetOutOfRange.code() && start == StartAt::Start {
            place.next = LOST;
            continue;
        }
        ClientError::check(&format!("{name} at offset {}", place.next), data.error_code, None)?;
        place.end = Some(data.high_watermark);
        let flow = show_partition(topic, data, place, sink).map_err(|fault| match fault {
            Fault::Sink(error) => error,
            Fault::Batch(fault) => ClientError::Damaged {
                partition: name,
                offset: place.next,
                reason: fault.to_string(),
            },
        })?;
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Why showing a partition stopped.
enum Fault {
    Sink(ClientError),
    Batch(BatchFault),
}

impl<T: Into<BatchFault>> From<T> for Fault {
    fn from(fault: T) -> Self {
        Self::Batch(fault.into())
    }
}

fn show_partition(
    topic: &str,
    data: &PartitionData<'_>,
    place: &mut Place,
    sink: &mut Sink<'_>,
) -> Result<ControlFlow<()>, Fault> {
    for slice in data.records.slices() {
        let mut rest = slice;
        while let Some((batch, after)) = split_batch(rest) {
            rest = after;
            let batch = KafkaBatch::parse(batch)?;
            batch.verify_crc()?;
            let end = batch
                .base_offset()
                .saturating_add(i64::from(batch.last_offset_delta()))
                .saturating_add(1);
            if end > place.next && !batch.attributes().is_control() {
                let flow = show_batch(topic, data.partition_index, &batch, place, sink)?;
                if flow.is_break() {
                    return Ok(flow);
                }
            }
            place.next = place.next.max(end);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The first whole batch and what follows; `None` when what is left is cut short, as the last of an answer may be.
fn split_batch(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = bytes
        .get(BATCH_LENGTH_AT..BATCH_LENGTH_AT + 4)?
        .first_chunk::<4>()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    bytes.split_at_checked(length.checked_add(BATCH_LENGTH_AT + 4)?)
}

fn show_batch(
    topic: &str,
    partition: i32,
    batch: &KafkaBatch<'_>,
    place: &mut Place,
    sink: &mut Sink<'_>,
) -> Result<ControlFlow<()>, Fault> {
    let count = u32::try_from(batch.record_count()).map_err(|_| BatchFault::Count(batch.record_count()))?;
    let section = batch.uncompressed(UNPACKED_BYTES_MAX)?;
    let mut headers = Vec::new();
    for record in Records::new(&section, count) {
        let record = record?;
        let offset = batch.base_offset().saturating_add(i64::from(record.offset_delta));
        if offset < place.next {
            continue;
        }
        let own = Timestamp::new(batch.base_timestamp().get().wrapping_add(record.timestamp_delta));
        headers.clear();
        headers.extend(record.headers.map(|header| (header.key, header.value)));
        let fetched = Fetched {
            topic,
            partition,
            offset,
            timestamp: batch
                .attributes()
                .record_timestamp(own, batch.max_timestamp())
                .get(),
            key: record.key,
            value: record.value,
            headers: &headers,
        };
        let flow = sink(&fetched).map_err(Fault::Sink)?;
        place.next = offset + 1;
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// A place that retention took away; no offset is negative.
const LOST: i64 = -1;
const NO_LEADER: i32 = -1;
/// Position of a batch's length within it.
const BATCH_LENGTH_AT: usize = 8;
/// How long a broker may wait for records when it is the only one asked.
const WAIT_ALONE: Duration = Duration::from_millis(500);
/// The same when others are asked too: their records wait behind this one's answer.
const WAIT_SHARED: Duration = Duration::from_millis(50);
/// Bytes asked for from one partition and from one leader; one larger batch is still sent whole.
const PARTITION_BYTES: i32 = 4 << 20;
const FETCH_BYTES: i32 = 16 << 20;
/// Bytes one batch may unpack to.
const UNPACKED_BYTES_MAX: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::super::peer::{Fault as PeerFault, Peer};
    use super::*;

    fn read(peer: &Peer, partition: Option<i32>, start: StartAt, max: usize) -> Vec<String> {
        let mut consumer = Consumer::new(peer.client(), "t", partition, start).unwrap();
        let mut seen = Vec::new();
        loop {
            let flow = consumer.poll(&mut |record| {
                seen.push(format!(
                    "{}@{}",
                    String::from_utf8_lossy(record.value.unwrap()),
                    record.offset
                ));
                Ok(if seen.len() == max {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            });
            if flow.unwrap().is_break() || consumer.at_end() {
                return seen;
            }
        }
    }

    #[test]
    fn reading_begins_where_it_is_told() {
        let peer = Peer::start();
        peer.create("t", 1);
        // Two batches of three records: reading from inside a batch skips the first of them.
        peer.append("t", 0, &["a", "b", "c"], 1000);
        peer.append("t", 0, &["d", "e", "f"], 2000);
        let cases = [
            (StartAt::Start, usize::MAX, "a@0 b@1 c@2 d@3 e@4 f@5"),
            (StartAt::Offset(4), usize::MAX, "e@4 f@5"),
            (StartAt::BeforeEnd(2), usize::MAX, "e@4 f@5"),
            (StartAt::BeforeEnd(100), 1, "a@0"),
            (StartAt::Timestamp(1500), usize::MAX, "d@3 e@4 f@5"),
            (StartAt::Timestamp(9000), usize::MAX, ""),
            (StartAt::End, usize::MAX, ""),
            (StartAt::Start, 2, "a@0 b@1"),
        ];
        for (start, max, expected) in cases {
            assert_eq!(read(&peer, None, start, max).join(" "), expected, "{start:?}");
        }
    }

    #[test]
    fn an_offset_that_is_not_there_is_an_error() {
        let peer = Peer::start();
        peer.create("t", 1);
        let mut consumer = Consumer::new(peer.client(), "t", None, StartAt::Offset(7)).unwrap();
        let error = consumer.poll(&mut |_| Ok(ControlFlow::Continue(()))).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("t-0 at offset 7: OFFSET_OUT_OF_RANGE"),
            "{error}"
        );
    }

    #[test]
    fn a_broken_connection_continues_where_it_stood() {
        let peer = Peer::start();
        peer.create("t", 1);
        peer.append("t", 0, &["a", "b"], 1);
        let mut consumer = Consumer::new(peer.client(), "t", None, StartAt::Start).unwrap();
        peer.fail_next(PeerFault::Hangup);
        let mut seen = Vec::new();
        while !consumer.at_end() {
            let flow = consumer.poll(&mut |record| {
                seen.push(record.offset);
                Ok(ControlFlow::Continue(()))
            });
            assert!(flow.unwrap().is_continue());
        }
        assert_eq!(seen, [0, 1]);
    }

    #[test]
    fn damage_is_never_shown() {
        let peer = Peer::start();
        peer.create("t", 1);
        peer.append("t", 0, &["a"], 1);
        peer.flip_a_bit("t", 0);
        let mut consumer = Consumer::new(peer.client(), "t", None, StartAt::Start).unwrap();
        let error = consumer.poll(&mut |_| panic!("damage was shown")).unwrap_err();
        assert!(matches!(error, ClientError::Damaged { offset: 0, .. }), "{error}");
    }

    #[test]
    fn cut_off_batches_are_left_for_the_next_fetch() {
        assert_eq!(split_batch(&[0; 11]), None);
        let mut batch = vec![0; 8];
        batch.extend_from_slice(&2_i32.to_be_bytes());
        batch.push(1);
        assert_eq!(split_batch(&batch), None);
        batch.extend_from_slice(&[2, 9]);
        assert_eq!(split_batch(&batch).map(|(_, after)| after), Some([9].as_slice()));
        assert_eq!(split_batch(&[0xff; 20]), None);
    }
}
