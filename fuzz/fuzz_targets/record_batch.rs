//! A producer's batch: as it comes, and once more with a header that says what is there, so that the records are reached.
//! What passes the check can be read, recompressed and scanned.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use tidemill::record::header::{HEADER_BYTES, OUTSIDE_CRC_BYTES, PREFIX_BYTES};
use tidemill::record::crc::crc32c;
use tidemill::record::scan::Depth;
use tidemill::record::{Batch, Codec, Limits, Records, Scan, Stop};

const INFLATED_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    check(bytes.into());
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let mut whole = BytesMut::from(bytes);
    whole[..8].fill(0);
    whole[8..12].copy_from_slice(&((bytes.len() - PREFIX_BYTES) as i32).to_be_bytes());
    whole[16] = 2;
    let count = i32::from(bytes[60]);
    whole[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    whole[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c(&whole[OUTSIDE_CRC_BYTES..]);
    whole[17..21].copy_from_slice(&crc.to_be_bytes());
    check(whole);
});

fn check(bytes: BytesMut) {
    let limits = Limits {
        inflated_bytes_max: INFLATED_BYTES_MAX,
        ..Limits::default()
    };
    let Ok(batch) = Batch::check(bytes.clone(), &limits, 0) else {
        return;
    };
    let stamped = batch.stamp(7, 1);
    let records: Result<Vec<_>, _> = Records::of(&stamped, INFLATED_BYTES_MAX).expect("checked").collect();
    let records = records.expect("what was checked can be read");
    assert_eq!(records.len() as i64, stamped.next_offset() - 7);
    let shared: Bytes = stamped.bytes().clone();
    let mut scan = Scan::new(&shared, Depth::Crc);
    assert_eq!(
        scan.by_ref().map(|view| view.slice_of(&shared)).collect::<Vec<_>>(),
        [stamped]
    );
    assert_eq!(scan.stop(), Some(&Stop::End));
    let again = Batch::check(bytes, &limits, 0).expect("as before");
    // It may inflate to more than a batch may weigh.
    if let Ok(plain) = again.recompress(Codec::None.into(), &limits) {
        let plain = plain.stamp(7, 1);
        let same: Result<Vec<_>, _> = Records::of(&plain, INFLATED_BYTES_MAX).expect("plain").collect();
        assert_eq!(same, Ok(records));
    }
}
