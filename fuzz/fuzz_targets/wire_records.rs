//! Records of the metadata log, and control records: the first byte divides key from value.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidemill::wire::control_records::ControlRecord;
use tidemill::wire::metadata_records::{METADATA_VERSION, MetadataRecord};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = MetadataRecord::decode(&Bytes::copy_from_slice(bytes)) {
        // Older versions are written again in today's.
        let value = record.encode(METADATA_VERSION).expect("what was read can be written");
        let kind = |record: &MetadataRecord| record.kind(METADATA_VERSION);
        assert_eq!(MetadataRecord::decode(&value).as_ref().map(kind), Ok(kind(&record)));
    }
    let [at, rest @ ..] = bytes else { return };
    let (key, value) = rest.split_at(rest.len().min(usize::from(*at)));
    if let Ok(record) = ControlRecord::decode(key, value) {
        let (key, value) = record.encode().expect("what was read can be written");
        assert_eq!(ControlRecord::decode(&key, &value), Ok(record));
    }
});
