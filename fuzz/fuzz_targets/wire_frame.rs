//! A connection's bytes as a server reads them: prefix, header, and the request that the header announces.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use tidemill::wire::header::RequestHeader;
use tidemill::wire::produce::Produce;
use tidemill::wire::{ApiKey, Reader, Writer, frame};

fuzz_target!(|bytes: &[u8]| {
    let Some((prefix, rest)) = bytes.split_first_chunk() else { return };
    let Ok(length) = frame::request_bytes(*prefix, 1 << 20) else { return };
    let Some(request) = rest.get(..length) else { return };
    let Ok(header) = RequestHeader::decode(request) else { return };
    let _ = header.client_id(request);
    if !header.is_served() {
        return;
    }
    let shared = Bytes::copy_from_slice(request);
    let mut r = Reader::sharing(&shared);
    r.take(header.body_at).expect("the header was read from here");
    let declared = (header.api.recode().0)(&mut r, &mut Writer::new(), header.version);
    if header.api == ApiKey::Produce {
        // The view and the declaration read the same language.
        let view = Produce::decode(BytesMut::from(request), &header);
        assert_eq!(view.is_ok(), declared.is_ok());
    }
});
