//! What stands before every request and every response.

use std::borrow::Cow;
use std::ops::Range;

use super::api::ApiKey;
use super::codec::{Reader, WireError, Writer};

/// Request headers 1 and 2, response headers 0 and 1: each pair differs by the tagged fields at the end.
/// (Request header 0 belonged to ControlledShutdown 0 alone, which is gone.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderVersion {
    Plain,
    Flexible,
}

/// A request's header. The client's name stays in the frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    pub api: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
    /// Where in the frame the client's name is; `None` is null.
    pub client_id: Option<Range<usize>>,
    /// Where the request itself begins.
    pub body_at: usize,
}

impl RequestHeader {
    /// Reads the header of a frame (without its length prefix). An API that is not served is an error, and so is a
    /// version, except for ApiVersions: its answer tells the client what to do ([`is_served`](Self::is_served)).
    pub fn decode(frame: &[u8]) -> Result<RequestHeader, WireError> {
        let mut r = Reader::new(frame);
        let code = r.i16()?;
        let version = r.i16()?;
        let correlation_id = r.i32()?;
        let api = ApiKey::from_code(code).ok_or(WireError::Unknown {
            what: "API key",
            value: code.into(),
        })?;
        if !api.served().contains(version) && api != ApiKey::ApiVersions {
            return Err(WireError::UnsupportedVersion {
                message: api.request().name,
                version,
            });
        }
        // The name has a plain length even in flexible headers, so that any broker can read it (KIP-511).
        let client_id = r.str_range(false)?;
        if api.request_header(version) == HeaderVersion::Flexible {
            r.skip_tagged_fields()?;
        }
        Ok(RequestHeader {
            api,
            version,
            correlation_id,
            client_id,
            body_at: r.at(),
        })
    }

    /// Only an ApiVersions request can be one that is not served: it is answered in version 0 with UNSUPPORTED_VERSION.
    pub fn is_served(&self) -> bool {
        self.api.served().contains(self.version)
    }

    /// The client's name, from the frame that this header was read from; empty for null. People give their programs names
    /// in any encoding: U+FFFD stands for what is no UTF-8.
    pub fn client_id<'a>(&self, frame: &'a [u8]) -> Cow<'a, str> {
        let name = self.client_id.clone().and_then(|range| frame.get(range));
        String::from_utf8_lossy(name.unwrap_or_default())
    }

    /// Writes a header, as a client does.
    pub fn encode(
        w: &mut Writer,
        api: ApiKey,
        version: i16,
        correlation_id: i32,
        client_id: Option<&str>,
    ) -> Result<(), WireError> {
        w.i16(api.code());
        w.i16(version);
        w.i32(correlation_id);
        w.str(client_id, false)?;
        if api.request_header(version) == HeaderVersion::Flexible {
            w.uvarint(0);
        }
        Ok(())
    }
}

/// A response's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResponseHeader {
    pub correlation_id: i32,
}

impl ResponseHeader {
    pub fn encode(self, w: &mut Writer, version: HeaderVersion) {
        w.i32(self.correlation_id);
        if version == HeaderVersion::Flexible {
            w.uvarint(0);
        }
    }

    pub fn decode(r: &mut Reader<'_>, version: HeaderVersion) -> Result<ResponseHeader, WireError> {
        let correlation_id = r.i32()?;
        if version == HeaderVersion::Flexible {
            r.skip_tagged_fields()?;
        }
        Ok(ResponseHeader { correlation_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_in_both_forms() {
        for version in [0, 9] {
            let mut w = Writer::new();
            RequestHeader::encode(&mut w, ApiKey::Metadata, version, 7, Some("me")).unwrap();
            let frame = w.into_inner();
            let header = RequestHeader::decode(&frame).unwrap();
            assert_eq!(
                (header.api, header.version, header.correlation_id),
                (ApiKey::Metadata, version, 7)
            );
            assert_eq!(header.client_id(&frame), "me");
            assert_eq!(header.body_at, frame.len());
        }
    }

    #[test]
    fn unknown_versions_are_for_api_versions_only() {
        let frame = |api: i16, version: i16| {
            let mut w = Writer::new();
            w.i16(api);
            w.i16(version);
            w.i32(1);
            w.i16(-1);
            w.uvarint(0);
            w.into_inner()
        };
        let header = RequestHeader::decode(&frame(18, 99)).unwrap();
        assert!(!header.is_served());
        assert_eq!(header.client_id(&[]), "");
        assert!(matches!(
            RequestHeader::decode(&frame(3, 99)),
            Err(WireError::UnsupportedVersion { .. })
        ));
        assert!(matches!(
            RequestHeader::decode(&frame(999, 0)),
            Err(WireError::Unknown { .. })
        ));
        assert!(matches!(
            RequestHeader::decode(&[0, 3, 0]),
            Err(WireError::Truncated { .. })
        ));
    }
}
