//! Every response decoder in every version, as clients use them: the first byte chooses the API, the second the version. What was understood is
//! written and must be understood again, as the same bytes.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidemill::wire::{ApiKey, Reader, Writer};

fuzz_target!(|bytes: &[u8]| {
    let [api, version, body @ ..] = bytes else { return };
    let api = ApiKey::ALL[usize::from(*api) % ApiKey::ALL.len()];
    let (version, recode) = (i16::from(*version), api.recode().1);
    let again = |bytes: &[u8]| {
        let mut w = Writer::new();
        recode(&mut Reader::sharing(&Bytes::copy_from_slice(bytes)), &mut w, version).map(|()| w.into_inner())
    };
    if let Ok(once) = again(body) {
        assert_eq!(again(&once).as_ref(), Ok(&once));
    }
});
