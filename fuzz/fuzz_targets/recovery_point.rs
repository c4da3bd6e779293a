//! A recovery point and a closed segment's index file, with length and checksum made right; and the small files of a data
//! folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidemill::controller::files::{MetaProperties, QuorumState};
use tidemill::log::{describe_recovery_point, describe_segment_index};
use tidemill::shard::format;

/// The frame of a stored file around these bytes: magic, version, flags, and the checksum of all but itself.
fn sealed(head: &[u8; 8], content: &[u8]) -> Vec<u8> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(content);
    [&head[..], &hasher.finalize().to_le_bytes(), content].concat()
}

fuzz_target!(|bytes: &[u8]| {
    let _ = describe_recovery_point(bytes);
    let _ = describe_segment_index(bytes);
    let length = 16 + bytes.len() as u32;
    let body = [&length.to_le_bytes()[..], bytes].concat();
    let mut copy = sealed(b"TMRP\x02\0\0\0", &body);
    copy.resize(copy.len().next_multiple_of(4096), 0);
    let _ = describe_recovery_point(&[&copy[..], &copy].concat());
    let mut old = b"TMRP\x01\0\0\0".to_vec();
    old.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    old.extend_from_slice(bytes);
    let _ = describe_recovery_point(&old);
    let _ = describe_segment_index(&sealed(b"TMSI\x01\0\0\0", bytes));
    let _ = MetaProperties::decode(bytes);
    let _ = QuorumState::decode(bytes);
    let _ = format::decode(bytes);
});
