//! A member of a classic group that does what it is told, over frames by hand: the old non-flexible versions of the group
//! APIs, every error code given back.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use crate::support::wire::{self, Answer, Connection, Fields};
use std::io;
use std::net::SocketAddr;

pub(crate) const OFFSET_COMMIT: i16 = 8;
pub(crate) const OFFSET_FETCH: i16 = 9;
pub(crate) const FIND_COORDINATOR: i16 = 10;
pub(crate) const JOIN_GROUP: i16 = 11;
pub(crate) const HEARTBEAT: i16 = 12;
pub(crate) const LEAVE_GROUP: i16 = 13;
pub(crate) const SYNC_GROUP: i16 = 14;

/// Session timeout of every member, unless a test says otherwise.
pub(crate) const SESSION_MS: i32 = 60_000;

/// The answer to a join.
#[derive(Debug, Clone)]
pub(crate) struct Joined {
    pub(crate) error: i16,
    pub(crate) generation: i32,
    pub(crate) leader: String,
    pub(crate) member: String,
    pub(crate) members: Vec<String>,
}

fn text(fields: &mut Fields<'_>) -> Option<String> {
    String::from_utf8(fields.string()?.to_vec()).ok()
}

/// JoinGroup version 2: the member is not asked to join twice.
pub(crate) fn join_body(group: &str, member: &str) -> Vec<u8> {
    let mut body = Vec::new();
    wire::string(&mut body, group.as_bytes());
    body.extend(SESSION_MS.to_be_bytes());
    body.extend(60_000_i32.to_be_bytes());
    wire::string(&mut body, member.as_bytes());
    wire::string(&mut body, b"consumer");
    body.extend(1_i32.to_be_bytes());
    wire::string(&mut body, b"range");
    wire::bytes(&mut body, b"\0\0\0\0\0\x01\0\x05topic\xff\xff\xff\xff");
    body
}

pub(crate) fn joined(answer: &[u8]) -> Joined {
    let mut fields = Fields(answer);
    let read = |fields: &mut Fields<'_>| {
        fields.i32()?;
        let (error, generation) = (fields.i16()?, fields.i32()?);
        text(fields)?;
        let (leader, member) = (text(fields)?, text(fields)?);
        let mut members = Vec::new();
        for _ in 0..fields.i32()? {
            members.push(text(fields)?);
            let length = usize::try_from(fields.i32()?).ok()?;
            fields.take(length)?;
        }
        Some(Joined {
            error,
            generation,
            leader,
            member,
            members,
        })
    };
    read(&mut fields).expect("an answer to a join")
}

/// SyncGroup version 1.
pub(crate) fn sync_body(group: &str, generation: i32, member: &str, shares: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    wire::string(&mut body, group.as_bytes());
    body.extend(generation.to_be_bytes());
    wire::string(&mut body, member.as_bytes());
    body.extend(i32::try_from(shares.len()).unwrap().to_be_bytes());
    for (member, share) in shares {
        wire::string(&mut body, member.as_bytes());
        wire::bytes(&mut body, share);
    }
    body
}

/// The error and the share.
pub(crate) fn synced(answer: &[u8]) -> (i16, Vec<u8>) {
    let mut fields = Fields(answer);
    let read = |fields: &mut Fields<'_>| {
        fields.i32()?;
        let error = fields.i16()?;
        let length = usize::try_from(fields.i32()?).ok()?;
        Some((error, fields.take(length)?.to_vec()))
    };
    read(&mut fields).expect("an answer to a sync")
}

/// Heartbeat version 1.
pub(crate) fn heartbeat_body(group: &str, generation: i32, member: &str) -> Vec<u8> {
    let mut body = Vec::new();
    wire::string(&mut body, group.as_bytes());
    body.extend(generation.to_be_bytes());
    wire::string(&mut body, member.as_bytes());
    body
}

/// The error of an answer that is a throttle time and an error.
pub(crate) fn plain_error(answer: &[u8]) -> i16 {
    let mut fields = Fields(answer);
    fields.i32();
    fields.i16().expect("an error code")
}

/// Node and port of a group's coordinator.
pub(crate) fn coordinator(connection: &mut Connection, group: &str) -> io::Result<(i16, i32, u16)> {
    let mut body = Vec::new();
    wire::string(&mut body, group.as_bytes());
    let answer = connection.call(FIND_COORDINATOR, 0, &body)?;
    let mut fields = Fields(&answer);
    let (error, node) = (fields.i16().unwrap(), fields.i32().unwrap());
    fields.string();
    Ok((error, node, u16::try_from(fields.i32().unwrap()).unwrap_or(0)))
}

/// A connection to the coordinator of a group.
pub(crate) fn connect(bootstrap: SocketAddr, group: &str) -> Connection {
    try_connect(bootstrap, group).expect("a connection to the coordinator")
}

/// The same with a broker that may not be there.
pub(crate) fn try_connect(bootstrap: SocketAddr, group: &str) -> io::Result<Connection> {
    let (error, _, port) = coordinator(&mut Connection::open(bootstrap)?, group)?;
    if error != 0 {
        return Err(io::Error::other(format!("no coordinator: error {error}")));
    }
    Connection::open(SocketAddr::new(bootstrap.ip(), port))
}

pub(crate) fn join(connection: &mut Connection, group: &str, member: &str) -> Joined {
    joined(
        &connection
            .call(JOIN_GROUP, 2, &join_body(group, member))
            .expect("an answer"),
    )
}

pub(crate) fn sync(
    connection: &mut Connection,
    group: &str,
    generation: i32,
    member: &str,
    shares: &[(String, Vec<u8>)],
) -> (i16, Vec<u8>) {
    let body = sync_body(group, generation, member, shares);
    synced(&connection.call(SYNC_GROUP, 1, &body).expect("an answer"))
}

pub(crate) fn heartbeat(connection: &mut Connection, group: &str, generation: i32, member: &str) -> i16 {
    let body = heartbeat_body(group, generation, member);
    plain_error(&connection.call(HEARTBEAT, 1, &body).expect("an answer"))
}

/// LeaveGroup version 1.
pub(crate) fn leave(connection: &mut Connection, group: &str, member: &str) -> i16 {
    let mut body = Vec::new();
    wire::string(&mut body, group.as_bytes());
    wire::string(&mut body, member.as_bytes());
    plain_error(&connection.call(LEAVE_GROUP, 1, &body).expect("an answer"))
}

/// OffsetCommit version 2 of one partition; the error.
pub(crate) fn commit(
    connection: &mut Connection,
    group: &str,
    (generation, member): (i32, &str),
    (topic, partition): (&str, i32),
    offset: i64,
) -> io::Result<i16> {
    let mut body = Vec::new();
    wire::string(&mut body, group.as_bytes());
    body.extend(generation.to_be_bytes());
    wire::string(&mut body, member.as_bytes());
    body.extend((-1_i64).to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    wire::string(&mut body, topic.as_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(offset.to_be_bytes());
    wire::string(&mut body, b"");
    let answer = connection.call(OFFSET_COMMIT, 2, &body)?;
    let mut fields = Fields(&answer);
    fields.i32();
    fields.string();
    fields.take(8);
    Ok(fields.i16().expect("an error code"))
}

/// OffsetFetch version 1 of one partition; error and offset.
pub(crate) fn committed(
    connection: &mut Connection,
    group: &str,
    topic: &str,
    partition: i32,
) -> io::Result<(i16, i64)> {
    let mut body = Vec::new();
    wire::string(&mut body, group.as_bytes());
    body.extend(1_i32.to_be_bytes());
    wire::string(&mut body, topic.as_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    let answer = connection.call(OFFSET_FETCH, 1, &body)?;
    let mut fields = Fields(&answer);
    fields.i32();
    fields.string();
    fields.take(8);
    let offset = fields.i64().expect("an offset");
    fields.string();
    Ok((fields.i16().expect("an error code"), offset))
}

/// The next answer's body, whatever its correlation id.
pub(crate) fn next(connection: &mut Connection) -> Vec<u8> {
    match connection.read().expect("an answer in time") {
        Answer::Frame(frame) => frame[4..].to_vec(),
        Answer::Closed => panic!("the broker closed the connection"),
    }
}
