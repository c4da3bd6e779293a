//! A recovery point, index entries included, with its checksum made right; and the small files of a data folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidemill::controller::files::{MetaProperties, QuorumState};
use tidemill::log::describe_recovery_point;
use tidemill::shard::format;

fuzz_target!(|bytes: &[u8]| {
    let _ = describe_recovery_point(bytes);
    let mut point = b"TMRP\x01\0\0\0\0\0\0\0".to_vec();
    point.extend_from_slice(bytes);
    let crc = crc32fast::hash(&point[12..]);
    point[8..12].copy_from_slice(&crc.to_le_bytes());
    let _ = describe_recovery_point(&point);
    let _ = MetaProperties::decode(bytes);
    let _ = QuorumState::decode(bytes);
    let _ = format::decode(bytes);
});
