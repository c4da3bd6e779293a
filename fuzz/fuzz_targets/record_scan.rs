//! A segment's bytes after a crash, and what is derived from it: batches, producer state, side files.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use tidemill::log::producers::{Producers, decode_snapshot, encode_snapshot};
use tidemill::log::side_files;
use tidemill::record::scan::Depth;
use tidemill::record::{Records, Scan};

fuzz_target!(|bytes: &[u8]| {
    let shared = Bytes::copy_from_slice(bytes);
    let mut producers = Producers::new();
    // Without the CRC, which noise would never pass.
    let mut scan = Scan::new(&shared, Depth::Headers);
    let mut next_offset = 0;
    for view in scan.by_ref() {
        // What goes back ends a scan as damage does: no state is made from it.
        if view.header.base_offset < next_offset {
            continue;
        }
        next_offset = view.header.next_offset();
        let batch = view.slice_of(&shared);
        if let Ok(records) = Records::of(&batch, 1 << 20) {
            records.for_each(drop);
        }
        let _ = producers.check(&batch);
        producers.append(&batch);
    }
    assert!(scan.stop().is_some());
    assert!(scan.position() <= bytes.len());
    let mut point = BytesMut::new();
    producers.encode(&mut point);
    assert_eq!(Producers::decode(&point, &mut 0).as_ref(), Ok(&producers));
    decode_snapshot(&encode_snapshot(&producers)).expect("we wrote it");

    let _ = Producers::decode(bytes, &mut 0);
    let _ = decode_snapshot(bytes);
    let _ = side_files::parse_partition_metadata(bytes);
    let _ = side_files::parse_leader_epochs(bytes);
    let _ = side_files::parse_offsets(bytes);
    let _ = side_files::parse_clean_shutdown(bytes);
});
