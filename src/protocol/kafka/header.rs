//! The headers in front of every request and response.
//!
//! ```text
//! request   | api key i16 | version i16 | correlation id i32 | client id: i16 length, bytes | tags (v2) |
//! response  | correlation id i32 | tags (v1) |
//! ```
//!
//! **Promise.** A request header decodes for any key and any version, known or not, so that an unsupported
//! request can still be answered under its correlation id. Header v2 (requests) and v1 (responses) belong to
//! flexible versions of a known API; for an unknown key the reader stops behind the client id.
//!
//! **Two exceptions, both Kafka's.** The client id is never compact, even in v2. The response to ApiVersions
//! always has header v0, because a client cannot know better before it has read that very response.
//!
//! Any thread. Absent: request header v0 (only ControlledShutdown v0 uses it) and the frame size before all this.

use super::api::ApiKey;
use super::wire::{DecodeError, Format, Reader, Writer};

/// The client id keeps the classic encoding in every header version.
const CLIENT_ID: Format = Format {
    version: 1,
    flexible: false,
    nullable: true,
};

/// What stands in front of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// The API key as sent; see [`ApiKey::from_wire`].
    pub api_key: i16,
    /// The version as sent; may be one we do not speak.
    pub api_version: i16,
    /// Chosen by the client, echoed in the response.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<&'a str>,
}

impl<'a> RequestHeader<'a> {
    /// Reads the header and leaves `reader` at the body.
    ///
    /// # Errors
    /// When the bytes are not a header; the connection cannot go on then.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let header = Self {
            api_key: reader.i16()?,
            api_version: reader.i16()?,
            correlation_id: reader.i32()?,
            client_id: reader.string(CLIENT_ID)?,
        };
        if header.is_flexible() {
            reader.skip_tags()?;
        }
        Ok(header)
    }

    /// Writes the header; the body follows.
    pub fn encode(&self, writer: &mut Writer) {
        writer.i16(self.api_key);
        writer.i16(self.api_version);
        writer.i32(self.correlation_id);
        writer.string(self.client_id, CLIENT_ID);
        if self.is_flexible() {
            writer.uvarint(0);
        }
    }

    /// The API, if this codec knows it.
    #[must_use]
    pub const fn api(&self) -> Option<ApiKey> {
        ApiKey::from_wire(self.api_key)
    }

    const fn is_flexible(&self) -> bool {
        match self.api() {
            // Nobody knows what a header of a version to come looks like, and only its fixed part is needed to answer.
            Some(ApiKey::ApiVersions) if !ApiKey::ApiVersions.versions().contains(self.api_version) => false,
            Some(api) => api.is_flexible(self.api_version),
            None => false,
        }
    }
}

/// What stands in front of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    /// The correlation id of the request.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads the header of a response to `api` at `version` and leaves `reader` at the body.
    ///
    /// # Errors
    /// When the bytes are not a header.
    pub fn decode(reader: &mut Reader<'_>, api: ApiKey, version: i16) -> Result<Self, DecodeError> {
        let correlation_id = reader.i32()?;
        if response_has_tags(api, version) {
            reader.skip_tags()?;
        }
        Ok(Self { correlation_id })
    }

    /// Writes the header of a response to `api` at `version`; the body follows.
    pub fn encode(self, writer: &mut Writer, api: ApiKey, version: i16) {
        writer.i32(self.correlation_id);
        if response_has_tags(api, version) {
            writer.uvarint(0);
        }
    }
}

/// Whether the response header is v1.
const fn response_has_tags(api: ApiKey, version: i16) -> bool {
    !matches!(api, ApiKey::ApiVersions) && api.is_flexible(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(header: &RequestHeader<'_>) -> Vec<u8> {
        let mut writer = Writer::new();
        header.encode(&mut writer);
        writer.finish().unwrap().into_vec()
    }

    #[test]
    fn request_headers_survive_the_round_trip() {
        for (api_key, api_version) in [(3, 8), (3, 9), (18, 0), (18, 3), (18, 99), (999, 0), (0, -1)] {
            for client_id in [None, Some(""), Some("agent")] {
                let header = RequestHeader {
                    api_key,
                    api_version,
                    correlation_id: -7,
                    client_id,
                };
                let mut bytes = encode(&header);
                bytes.push(0xaa);
                let mut reader = Reader::new(&bytes);
                assert_eq!(RequestHeader::decode(&mut reader), Ok(header));
                assert_eq!(reader.rest(), [0xaa]);
            }
        }
    }

    #[test]
    fn the_client_id_is_never_compact() {
        let header = RequestHeader {
            api_key: 3,
            api_version: 12,
            correlation_id: 1,
            client_id: Some("ab"),
        };
        assert_eq!(encode(&header), [0, 3, 0, 12, 0, 0, 0, 1, 0, 2, b'a', b'b', 0]);
    }

    #[test]
    fn header_tags_are_skipped_and_bounded() {
        let good = [0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff, 1, 0, 1, 7, 0xaa];
        let mut reader = Reader::new(&good);
        assert_eq!(RequestHeader::decode(&mut reader).unwrap().client_id, None);
        assert_eq!(reader.rest(), [0xaa]);
        let bad = [
            0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 0,
        ];
        assert!(matches!(
            RequestHeader::decode(&mut Reader::new(&bad)),
            Err(DecodeError::InvalidCount { .. })
        ));
    }

    #[test]
    fn the_api_versions_response_always_has_the_old_header() {
        for (api, version, expected) in [
            (ApiKey::ApiVersions, 4, 4),
            (ApiKey::Metadata, 8, 4),
            (ApiKey::Metadata, 9, 5),
            (ApiKey::DescribeCluster, 0, 5),
        ] {
            let mut writer = Writer::new();
            ResponseHeader { correlation_id: 1 }.encode(&mut writer, api, version);
            assert_eq!(
                writer.finish().unwrap().total_len(),
                expected,
                "{api:?} v{version}"
            );
        }
    }
}
