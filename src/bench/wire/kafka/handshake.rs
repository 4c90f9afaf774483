//! What both conversations share: request headers, frames, and which versions the broker speaks.

use crate::bench::wire::Broken;
use crate::protocol::kafka::api::ApiKey;
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::header::{RequestHeader, ResponseHeader};
use crate::protocol::kafka::messages::{ApiVersionsRequest, ApiVersionsResponse, Message, Request};
use crate::protocol::kafka::wire::{Reader, Writer};

/// How the generator calls itself.
pub(super) const CLIENT_ID: &str = "corelog-bench";
/// The version of ApiVersions that every broker answers.
const FIRST_VERSION: i16 = 0;

/// The versions to use on a connection, once the broker has said what it speaks.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions(Vec<(i16, i16, i16)>);

impl Versions {
    /// The newest version both sides speak.
    pub(super) fn of(&self, api: ApiKey) -> Result<i16, Broken> {
        let ours = api.versions_by_name();
        let theirs = self.0.iter().find(|(key, ..)| *key == api.key());
        theirs
            .map(|(_, min, max)| (ours.min.max(*min), ours.max.min(*max)))
            .filter(|(min, max)| min <= max)
            .map(|(_, max)| max)
            .ok_or_else(|| {
                Broken(format!(
                    "the broker and the generator share no version of {api:?}"
                ))
            })
    }

    /// Reads the broker's answer to [`ask`].
    pub(super) fn read(body: &[u8]) -> Result<Self, Broken> {
        let answer = ApiVersionsResponse::decode(body, FIRST_VERSION).map_err(broken)?;
        check("ApiVersions", answer.error_code)?;
        let keys = answer.api_keys.iter();
        Ok(Self(
            keys.map(|one| (one.api_key, one.min_version, one.max_version))
                .collect(),
        ))
    }
}

/// Appends the question for the broker's versions.
pub(super) fn ask_versions(correlation_id: i32, out: &mut Vec<u8>) {
    let request = ApiVersionsRequest::default();
    append(request, FIRST_VERSION, correlation_id, out).expect("an empty question fits every frame");
}

/// Appends a request.
pub(super) fn append<'q, R: Request<'q>>(
    request: R,
    version: i16,
    correlation_id: i32,
    out: &mut Vec<u8>,
) -> Result<(), Broken> {
    let mut writer = Writer::framed();
    let header = RequestHeader {
        api_key: R::API.key(),
        api_version: version,
        correlation_id,
        client_id: Some(CLIENT_ID),
    };
    header.encode(&mut writer);
    request.encode(&mut writer, version);
    let frame = writer.finish().map_err(|error| Broken(error.to_string()))?;
    frame
        .chunks()
        .iter()
        .for_each(|chunk| out.extend_from_slice(chunk));
    Ok(())
}

/// The first whole frame of `input` without its size, if there is one.
pub(super) fn frame(input: &[u8]) -> Result<Option<&[u8]>, Broken> {
    let Some((size, rest)) = input.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let size = usize::try_from(i32::from_be_bytes(*size))
        .map_err(|_| Broken("the broker sent a frame of a negative size".to_owned()))?;
    Ok(rest.get(..size))
}

/// Correlation id and body of an answer to a request of `api`.
pub(super) fn answer(frame: &[u8], api: ApiKey, version: i16) -> Result<(i32, &[u8]), Broken> {
    let mut reader = Reader::new(frame);
    let header = ResponseHeader::decode(&mut reader, api, version).map_err(broken)?;
    Ok((header.correlation_id, reader.rest()))
}

/// The body of the answer that must have `correlation_id`.
pub(super) fn expect(frame: &[u8], api: ApiKey, version: i16, correlation_id: i32) -> Result<&[u8], Broken> {
    match answer(frame, api, version)? {
        (found, body) if found == correlation_id => Ok(body),
        (found, _) => Err(Broken(format!(
            "an answer to request {found} instead of {correlation_id}"
        ))),
    }
}

/// An error code that ends the run.
pub(super) fn check(what: &str, code: i16) -> Result<(), Broken> {
    if code == ErrorCode::None.code() {
        return Ok(());
    }
    Err(Broken(format!("{what}: {}", name_of(code))))
}

/// An error code as people know it.
pub(super) fn name_of(code: i16) -> String {
    crate::client::kafka::ClientError::refused("the broker", code, None).to_string()
}

pub(super) fn broken(error: impl std::fmt::Display) -> Broken {
    Broken(format!("an answer that cannot be read: {error}"))
}
