//! Frames: a length of four bytes, then that many bytes.

use bytes::{Bytes, BytesMut};

use super::api::{ApiKey, Request};
use super::codec::{Reader, WireError, Writer};
use super::declare::Message;
use super::header::{RequestHeader, ResponseHeader};

/// Bytes of the length in front of a frame.
pub const PREFIX_BYTES: usize = 4;

/// The shortest request header: key, version, correlation id, null for the client's name.
const REQUEST_BYTES_MIN: usize = 10;

/// How many bytes follow the prefix of a request. Refused before anything is read or reserved: negative, too short for a
/// header, more than `bytes_max` (`socket.request.max.bytes`).
pub fn request_bytes(prefix: [u8; PREFIX_BYTES], bytes_max: usize) -> Result<usize, WireError> {
    let length = i32::from_be_bytes(prefix);
    match usize::try_from(length) {
        Ok(bytes) if (REQUEST_BYTES_MIN..=bytes_max).contains(&bytes) => Ok(bytes),
        _ => Err(WireError::Length {
            at: 0,
            length: length.into(),
        }),
    }
}

/// A writer that leaves room for the prefix; [`finish`] fills it in.
pub fn begin(capacity: usize) -> Writer {
    let mut w = Writer::over(BytesMut::with_capacity(capacity));
    w.i32(0);
    w
}

/// The frame, prefix included. `following` more bytes, sent behind it, belong to the frame.
pub fn finish(mut w: Writer, following: usize) -> Result<BytesMut, WireError> {
    let length = w.len() - PREFIX_BYTES + following;
    w.patch_i32(0, i32::try_from(length).map_err(|_| WireError::TooLong { length })?);
    Ok(w.into_inner())
}

/// A whole response frame, prefix included.
pub fn response(api: ApiKey, version: i16, correlation_id: i32, response: &impl Message) -> Result<Bytes, WireError> {
    let mut w = begin(128);
    ResponseHeader { correlation_id }.encode(&mut w, api.response_header(version));
    response.encode(&mut w, version)?;
    Ok(finish(w, 0)?.freeze())
}

/// A whole request frame, prefix included.
pub fn request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Bytes, WireError> {
    let mut w = begin(128);
    RequestHeader::encode(&mut w, R::KEY, version, correlation_id, client_id)?;
    request.encode(&mut w, version)?;
    Ok(finish(w, 0)?.freeze())
}

/// Reads the answer to a request of type `R`: a frame without its prefix. Returns the correlation id beside it.
pub fn decode_response<R: Request>(frame: &Bytes, version: i16) -> Result<(i32, R::Response), WireError> {
    let mut r = Reader::sharing(frame);
    let header = ResponseHeader::decode(&mut r, R::KEY.response_header(version))?;
    let response = R::Response::decode(&mut r, version)?;
    r.finish()?;
    Ok((header.correlation_id, response))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::connect::{ApiVersionsRequest, ApiVersionsResponse};
    use crate::wire::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

    #[test]
    fn lengths_are_checked_first() {
        let max = 100;
        assert_eq!(request_bytes(10i32.to_be_bytes(), max), Ok(10));
        assert_eq!(request_bytes(100i32.to_be_bytes(), max), Ok(100));
        for length in [i32::MIN, -1, 0, 9, 101, i32::MAX] {
            assert!(request_bytes(length.to_be_bytes(), max).is_err(), "{length}");
        }
    }

    #[test]
    fn a_request_has_kafkas_bytes() {
        // What `kafka-clients` 4.1 sends for `new MetadataRequest.Builder(List.of("a"), true)` in version 1 and 12.
        let topics = Some(vec![MetadataRequestTopic {
            name: Some("a".into()),
            ..Default::default()
        }]);
        let metadata = MetadataRequest {
            topics,
            ..Default::default()
        };
        assert_eq!(
            request(&metadata, 1, 5, Some("c")).unwrap()[..],
            *b"\0\0\0\x12\0\x03\0\x01\0\0\0\x05\0\x01c\0\0\0\x01\0\x01a"
        );
        let flexible = request(&metadata, 12, 5, Some("c")).unwrap();
        let body = [&[0u8, 2][..], &[0; 16], &[2, b'a', 0, 1, 0, 0]].concat();
        assert_eq!(flexible[4..], [&b"\0\x03\0\x0c\0\0\0\x05\0\x01c"[..], &body].concat());
    }

    #[test]
    fn a_response_comes_back() {
        let answer = MetadataResponse {
            controller_id: 3,
            ..Default::default()
        };
        let frame = response(ApiKey::Metadata, 9, 8, &answer).unwrap();
        assert_eq!(frame[..4], ((frame.len() - 4) as i32).to_be_bytes());
        let (correlation_id, back) = decode_response::<MetadataRequest>(&frame.slice(4..), 9).unwrap();
        assert_eq!((correlation_id, back), (8, answer));
    }

    #[test]
    fn api_versions_answers_with_a_plain_header() {
        let answer = ApiVersionsResponse {
            api_keys: ApiKey::advertised().collect(),
            ..Default::default()
        };
        let frame = response(ApiKey::ApiVersions, 3, 1, &answer).unwrap();
        assert_eq!(frame[4..10], [0, 0, 0, 1, 0, 0]);
        assert_eq!(
            decode_response::<ApiVersionsRequest>(&frame.slice(4..), 3).unwrap().1,
            answer
        );
    }
}
