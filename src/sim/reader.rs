//! A consumer without a group: it follows every partition of its topics, with or without fetch sessions, and tells the book
//! everything it is told.
//!
//! Each answer is opened as a client would: batches are parsed, their checksums verified, their records unpacked and compared
//! with what their marks say. What a reader asks for begins where it stopped; after `OFFSET_OUT_OF_RANGE` it asks where the log
//! starts. [`read_whole`] reads one log from its start to its end for the last judgement.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::book::{Book, Phase, TopicKey};
use super::history::{Floor, Mark, Rule};
use super::link::{Answer, Link};
use super::producer::MARK_HEADER;
use crate::base::TopicId;
use crate::batch::KafkaBatch;
use crate::batch::kafka::Records;
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ListOffsetsPartition, ListOffsetsRequest,
    ListOffsetsResponse, ListOffsetsTopic, PartitionData, TIMESTAMP_EARLIEST, TIMESTAMP_LATEST,
};
use crate::runtime::executor;
use crate::runtime::sim::{ProcessId, Random};

/// Before a connection is tried again, or a partition that was refused.
const RETRY_PAUSE: Duration = Duration::from_millis(25);

/// Refusals in the reading of a whole log that a client would bear.
const REFUSALS_MAX: u32 = 20;

/// Most bytes a batch of ours unpacks to.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Bytes of a small read.
const SOME_BYTES: i32 = 8 << 10;

/// Version of Fetch that names topics, and the one that knows them by id.
const VERSION_BY_NAME: i16 = 12;
/// See [`VERSION_BY_NAME`].
const VERSION_BY_ID: i16 = 16;

/// How a reader works.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    pub(super) topics: Vec<TopicKey>,
    /// Whether it keeps fetch sessions.
    pub(super) sessions: bool,
    /// Most bytes it asks for in one request.
    pub(super) max_bytes: i32,
    /// Microseconds between two requests.
    pub(super) pause: std::ops::Range<u64>,
}

/// See the module.
pub(super) struct Reader {
    book: Rc<Book>,
    process: ProcessId,
    number: u32,
    dice: Random,
    habits: Habits,
    positions: Vec<Position>,
}

struct Position {
    topic: TopicKey,
    partition: i32,
    next: u64,
    /// In the calm: up to where it has to come, and whether it has come there.
    goal: Option<u64>,
}

/// The state of a fetch session.
#[derive(Clone, Copy, Default)]
struct Session {
    id: i32,
    epoch: i32,
}

/// Why a connection is given up.
pub(super) struct Broken;

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Reader {
    pub(super) fn new(book: &Rc<Book>, number: u32, dice: Random, habits: Habits) -> Self {
        let mut positions = Vec::new();
        for topic in &habits.topics {
            for partition in 0..book.topic(*topic).partitions {
                positions.push(Position {
                    topic: *topic,
                    partition,
                    next: 0,
                    goal: None,
                });
            }
        }
        Self {
            book: Rc::clone(book),
            process: book.world.new_process(),
            number,
            dice,
            habits,
            positions,
        }
    }

    pub(super) fn start(self) {
        let (world, process) = (self.book.world.clone(), self.process);
        self.book.begin(&self.name());
        world.spawn(process, 0, self.run());
    }

    fn name(&self) -> String {
        format!("reader {}", self.number)
    }

    async fn run(mut self) {
        while !self.is_done() {
            if self.session().await.is_err() {
                executor::sleep(RETRY_PAUSE).await;
            }
        }
        self.book.finish(&self.name());
    }

    /// In the calm every reader follows each log to the end that was known then, and further while others still write.
    fn is_done(&mut self) -> bool {
        if self.book.phase() == Phase::Storm {
            return false;
        }
        for position in &mut self.positions {
            let (topic, partition) = (position.topic, position.partition);
            // A relaxed log may lose some of it yet, should what failed in the storm end the broker in the calm.
            let end = self.book.story(topic, partition, |story| Ok(story.floor().end()));
            let goal = position.goal.unwrap_or(end).min(end);
            position.goal = Some(goal);
            if position.next < goal {
                return false;
            }
        }
        true
    }

    async fn session(&mut self) -> Result<(), Broken> {
        let addresses = self.book.addresses();
        let address = addresses[self.dice.index(addresses.len())];
        let mut link = Link::open(&self.book.world, address)?;
        let by_id = self.dice.one_in(2)
            && self
                .habits
                .topics
                .iter()
                .all(|topic| self.book.topic(*topic).id.is_some());
        let mut session = Session::default();
        // What the session asks for, by topic and partition.
        let mut asked: BTreeMap<(TopicKey, i32), u64> = BTreeMap::new();
        while !self.is_done() {
            self.fetch(&mut link, by_id, &mut session, &mut asked).await?;
            let pause = self.dice.within(self.habits.pause.clone());
            executor::sleep(Duration::from_micros(pause)).await;
        }
        Ok(())
    }

    async fn fetch(
        &mut self,
        link: &mut Link,
        by_id: bool,
        session: &mut Session,
        asked: &mut BTreeMap<(TopicKey, i32), u64>,
    ) -> Result<(), Broken> {
        let wanted: Vec<(TopicKey, i32, u64)> = self
            .positions
            .iter()
            .map(|position| (position.topic, position.partition, position.next))
            .filter(|(topic, partition, next)| {
                session.epoch == 0 || asked.get(&(*topic, *partition)) != Some(next)
            })
            .collect();
        let floors: BTreeMap<(TopicKey, i32), Floor> = self
            .positions
            .iter()
            .map(|position| {
                let key = (position.topic, position.partition);
                (key, self.book.story(key.0, key.1, |story| Ok(story.floor())))
            })
            .collect();
        let names: Vec<(String, TopicId)> = wanted
            .iter()
            .map(|(topic, _, _)| self.book.topic(*topic))
            .map(|plan| (plan.name, plan.id.unwrap_or(TopicId::NIL)))
            .collect();
        let topics = wanted
            .iter()
            .zip(&names)
            .map(|((_, partition, next), (name, id))| FetchTopic {
                topic: name,
                topic_id: *id,
                partitions: vec![FetchPartition {
                    partition: *partition,
                    current_leader_epoch: -1,
                    fetch_offset: i64::try_from(*next).expect("a small offset"),
                    last_fetched_epoch: -1,
                    log_start_offset: -1,
                    partition_max_bytes: self.habits.max_bytes,
                }],
            });
        let request = FetchRequest {
            max_wait_ms: 200,
            min_bytes: 1,
            max_bytes: self.habits.max_bytes,
            isolation_level: i8::from(self.dice.one_in(2)),
            session_id: session.id,
            session_epoch: if self.habits.sessions { session.epoch } else { -1 },
            topics: topics.collect(),
            ..FetchRequest::default()
        };
        for (topic, partition, next) in &wanted {
            asked.insert((*topic, *partition), *next);
        }
        let version = if by_id { VERSION_BY_ID } else { VERSION_BY_NAME };
        let answer = told(&self.book, link.call(request, version).await)?;
        let answer: FetchResponse<'_> = told(&self.book, answer.decode())?;
        if answer.error_code != 0 {
            self.book
                .say(|| format!("a fetch session ended: {}", answer.error_code));
            *session = Session::default();
            asked.clear();
            return Ok(());
        }
        if self.habits.sessions && answer.session_id != 0 {
            session.id = answer.session_id;
            session.epoch = session.epoch.wrapping_add(1).max(1);
        } else {
            *session = Session::default();
        }
        for response in &answer.responses {
            for part in &response.partitions {
                let found = self.positions.iter().position(|position| {
                    let plan = self.book.topic(position.topic);
                    let same = if by_id {
                        plan.id == Some(response.topic_id)
                    } else {
                        plan.name == response.topic
                    };
                    same && position.partition == part.partition_index
                });
                let Some(index) = found else {
                    self.book
                        .break_rule(Rule::AnswersMakeSense, "a partition nobody asked for");
                    return Err(Broken);
                };
                let position = &self.positions[index];
                let key = (position.topic, position.partition);
                let floor = floors[&key];
                match ErrorCode::from_wire(part.error_code) {
                    Some(ErrorCode::None) => {
                        let bounds = (part.log_start_offset, part.high_watermark);
                        tell_bounds(&self.book, key, bounds, floor);
                        let records = part.records.slices().flatten().copied().collect::<Vec<u8>>();
                        let next = take_records(&self.book, key, &records, position.next, floor, None);
                        self.positions[index].next = next;
                    }
                    Some(ErrorCode::OffsetOutOfRange) => {
                        self.out_of_range(link, index, floor).await?;
                    }
                    Some(ErrorCode::KafkaStorageError)
                        if skip_damage(&self.book, key, position.next).is_some() =>
                    {
                        let past = skip_damage(&self.book, key, position.next);
                        self.positions[index].next = past.unwrap_or_default();
                    }
                    Some(error) if error.is_retriable() => executor::sleep(RETRY_PAUSE).await,
                    other => self.book.break_rule(
                        Rule::AnswersMakeSense,
                        format!("a fetch was refused with {other:?}"),
                    ),
                }
            }
        }
        Ok(())
    }

    /// What was asked for is not there: it was deleted meanwhile, or, in a relaxed log, forgotten.
    async fn out_of_range(&mut self, link: &mut Link, index: usize, floor: Floor) -> Result<(), Broken> {
        let position = &self.positions[index];
        let key = (position.topic, position.partition);
        let (start, end) = list_offsets(&self.book, link, key).await?;
        self.book
            .say(|| format!("{key:?}: {} is out of range {start}..{end}", position.next));
        self.book
            .story(key.0, key.1, |story| story.bounds(start, end, floor));
        let position = &mut self.positions[index];
        if position.next < start || position.next > end {
            position.next = start;
            position.goal = None;
        }
        Ok(())
    }
}

/// Makes a broken rule of an answer no broker may give.
pub(super) fn told<T>(book: &Book, outcome: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &outcome
        && error.kind() == io::ErrorKind::InvalidData
    {
        book.break_rule(Rule::AnswersMakeSense, error);
    }
    outcome
}

/// Where to read on after a refusal, if the disk was made to damage what is there.
fn skip_damage(book: &Book, key: (TopicKey, i32), next: u64) -> Option<u64> {
    let past = book.story(key.0, key.1, |story| Ok(story.damage_end(next)));
    if past.is_some() {
        book.mark("damage was refused", 1);
    }
    past
}

fn tell_bounds(book: &Book, key: (TopicKey, i32), (start, end): (i64, i64), floor: Floor) {
    match (u64::try_from(start), u64::try_from(end)) {
        (Ok(start), Ok(end)) => book.story(key.0, key.1, |story| story.bounds(start, end, floor)),
        _ => book.break_rule(Rule::AnswersMakeSense, format!("{key:?} is {start}..{end}")),
    }
}

/// Opens the batches of an answer and tells the book of every record from `next` on; gives the offset behind the last.
fn take_records(
    book: &Book,
    key: (TopicKey, i32),
    mut bytes: &[u8],
    mut next: u64,
    floor: Floor,
    mut keep: Option<&mut BTreeMap<u64, Mark>>,
) -> u64 {
    while bytes.len() >= 12 {
        let size = i32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let size = usize::try_from(size).map_or(usize::MAX, |size| size.saturating_add(12));
        let Some((batch, rest)) = bytes.split_at_checked(size) else {
            book.break_rule(Rule::AnswersMakeSense, format!("{key:?}: a part of a batch"));
            return next;
        };
        bytes = rest;
        match open_batch(batch) {
            Err(what) => {
                book.break_rule(Rule::NothingElse, format!("{key:?} behind {next}: {what}"));
                return next;
            }
            Ok(opened) => {
                for (offset, mark) in opened.records {
                    if offset < next {
                        continue;
                    }
                    book.story(key.0, key.1, |story| story.see(offset, mark, opened.epoch, floor));
                    if let Some(keep) = keep.as_deref_mut() {
                        keep.insert(offset, mark);
                    }
                    let jumped = offset > next && !book.topic(key.0).nature.compacted;
                    if jumped && !book.is_violated() {
                        book.break_rule(Rule::Dense, format!("{key:?}: {offset} follows {next}"));
                    }
                    next = offset + 1;
                }
                next = next.max(opened.end);
            }
        }
    }
    if !bytes.is_empty() {
        book.break_rule(Rule::AnswersMakeSense, format!("{key:?}: a part of a batch"));
    }
    next
}

struct Opened {
    epoch: i32,
    end: u64,
    records: Vec<(u64, Mark)>,
}

fn open_batch(bytes: &[u8]) -> Result<Opened, String> {
    let batch = KafkaBatch::parse(bytes).map_err(|error| error.to_string())?;
    batch.verify_crc().map_err(|error| error.to_string())?;
    let base = u64::try_from(batch.base_offset()).map_err(|_| "a negative offset".to_owned())?;
    let section = batch
        .uncompressed(BATCH_BYTES_MAX)
        .map_err(|error| error.to_string())?;
    let count = u32::try_from(batch.record_count()).map_err(|_| "a negative count".to_owned())?;
    let mut records = Vec::new();
    for record in Records::new(&section, count) {
        let record = record.map_err(|error| error.to_string())?;
        let offset = base + u64::try_from(record.offset_delta).map_err(|_| "a negative delta".to_owned())?;
        let mut headers = record.headers;
        let mark = headers
            .find(|header| header.key == MARK_HEADER)
            .and_then(|header| Mark::decode(header.value?))
            .ok_or_else(|| format!("the record at {offset} is nobody's"))?;
        if record.key != Some(&mark.key()) || record.value != mark.value().as_deref() {
            return Err(format!("{mark:?} at {offset} is not as it was sent"));
        }
        records.push((offset, mark));
    }
    let end = base + u64::try_from(batch.last_offset_delta()).map_err(|_| "a negative delta".to_owned())? + 1;
    Ok(Opened {
        epoch: batch.leader_epoch(),
        end,
        records,
    })
}

/// Where a log starts and ends.
pub(super) async fn list_offsets(
    book: &Book,
    link: &mut Link,
    key: (TopicKey, i32),
) -> Result<(u64, u64), Broken> {
    let (floor, epoch) = book.story(key.0, key.1, |story| Ok((story.floor(), story.epoch())));
    let (start, _) = list_one(book, link, key, TIMESTAMP_EARLIEST).await?;
    let (end, led_with) = list_one(book, link, key, TIMESTAMP_LATEST).await?;
    book.story(key.0, key.1, |story| {
        story.bounds(start, end, floor)?;
        story.lead(led_with, epoch)
    });
    Ok((start, end))
}

async fn list_one(
    book: &Book,
    link: &mut Link,
    key: (TopicKey, i32),
    timestamp: i64,
) -> Result<(u64, i32), Broken> {
    let name = book.topic(key.0).name;
    let request = ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: &name,
            partitions: vec![ListOffsetsPartition {
                partition_index: key.1,
                current_leader_epoch: -1,
                timestamp,
            }],
        }],
        ..ListOffsetsRequest::default()
    };
    let answer = told(book, link.call(request, 7).await)?;
    let answer: ListOffsetsResponse<'_> = told(book, answer.decode())?;
    let part = answer.topics.first().and_then(|topic| topic.partitions.first());
    let part = part.filter(|part| part.error_code == 0).ok_or(Broken)?;
    let offset = u64::try_from(part.offset).map_err(|_| Broken)?;
    Ok((offset, part.leader_epoch))
}

/// What to read of one log.
#[derive(Clone, Copy)]
struct Asked {
    from: u64,
    max_bytes: i32,
    max_wait_ms: i32,
}

/// Asks for some of one log, without a session.
async fn fetch_one(
    book: &Book,
    link: &mut Link,
    key: (TopicKey, i32),
    asked: Asked,
) -> Result<Answer, Broken> {
    let name = book.topic(key.0).name;
    let request = FetchRequest {
        max_wait_ms: asked.max_wait_ms,
        min_bytes: 1,
        max_bytes: asked.max_bytes,
        topics: vec![FetchTopic {
            topic: &name,
            topic_id: TopicId::NIL,
            partitions: vec![FetchPartition {
                partition: key.1,
                fetch_offset: i64::try_from(asked.from).expect("a small offset"),
                partition_max_bytes: asked.max_bytes,
                ..FetchPartition::default()
            }],
        }],
        ..FetchRequest::default()
    };
    Ok(told(book, link.call(request, VERSION_BY_NAME).await)?)
}

/// The partition that was asked for.
fn only_part<'a, 'b>(answer: &'a FetchResponse<'b>) -> Result<&'a PartitionData<'b>, Broken> {
    let topic = answer.responses.first();
    topic.and_then(|topic| topic.partitions.first()).ok_or(Broken)
}

/// Reads a little of one log from `from` on; gives the offset behind what was read.
pub(super) async fn read_some(
    book: &Book,
    link: &mut Link,
    key: (TopicKey, i32),
    from: u64,
) -> Result<u64, Broken> {
    let floor = book.story(key.0, key.1, |story| Ok(story.floor()));
    let asked = Asked {
        from,
        max_bytes: SOME_BYTES,
        max_wait_ms: 5,
    };
    let answer = fetch_one(book, link, key, asked).await?;
    let answer: FetchResponse<'_> = told(book, answer.decode())?;
    let part = only_part(&answer)?;
    match ErrorCode::from_wire(part.error_code) {
        Some(ErrorCode::None) => {}
        Some(ErrorCode::OffsetOutOfRange) => {
            // Deleted meanwhile.
            let (start, _) = list_offsets(book, link, key).await?;
            return if start > from { Ok(start) } else { Err(Broken) };
        }
        Some(ErrorCode::KafkaStorageError) => return skip_damage(book, key, from).ok_or(Broken),
        _ => return Err(Broken),
    }
    tell_bounds(book, key, (part.log_start_offset, part.high_watermark), floor);
    let records = part.records.slices().flatten().copied().collect::<Vec<u8>>();
    Ok(take_records(book, key, &records, from, floor, None))
}

/// Reads one log from its start to its end and judges it.
pub(super) async fn read_whole(book: &Rc<Book>, link: &mut Link, key: (TopicKey, i32)) -> Result<(), Broken> {
    let (start, end) = list_offsets(book, link, key).await?;
    let plan = book.topic(key.0);
    let mut found = BTreeMap::new();
    let mut next = start;
    let mut refused = 0;
    while next < end {
        let floor = book.story(key.0, key.1, |story| Ok(story.floor()));
        let asked = Asked {
            from: next,
            max_bytes: 1 << 20,
            max_wait_ms: 100,
        };
        let answer = fetch_one(book, link, key, asked).await?;
        let answer: FetchResponse<'_> = told(book, answer.decode())?;
        let part = only_part(&answer)?;
        match ErrorCode::from_wire(part.error_code) {
            Some(ErrorCode::None) => {
                let records = part.records.slices().flatten().copied().collect::<Vec<u8>>();
                let reached = take_records(book, key, &records, next, floor, Some(&mut found));
                if reached == next {
                    if plan.nature.compacted {
                        break;
                    }
                    book.break_rule(
                        Rule::Dense,
                        format!("{key:?}: nothing at {next} of {start}..{end}"),
                    );
                    return Err(Broken);
                }
                next = reached;
            }
            Some(ErrorCode::KafkaStorageError) if skip_damage(book, key, next).is_some() => {
                next = skip_damage(book, key, next).unwrap_or(end);
            }
            // The disk may fail while there are faults. In the calm nobody is refused for long: not while somebody else looks at the
            // damage in front of it, or has the files.
            Some(ErrorCode::KafkaStorageError) if book.phase() == Phase::Storm => return Err(Broken),
            Some(ErrorCode::KafkaStorageError) if refused < REFUSALS_MAX => {
                refused += 1;
                executor::sleep(RETRY_PAUSE).await;
            }
            other => {
                book.break_rule(
                    Rule::AllIsReadable,
                    format!("{key:?}: {next} of {start}..{end} cannot be read: {other:?}"),
                );
                return Err(Broken);
            }
        }
    }
    book.story(key.0, key.1, |story| story.judge(start, end, &found));
    Ok(())
}
