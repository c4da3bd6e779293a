//! What can still be told of a batch that is damaged: how long it is, and which offsets it held.
//!
//! The first 21 bytes are outside its CRC and the rest is inside, so one of the two proves the other: if the CRC is right for
//! some length, the records are what they were, and only length, magic or offsets are damaged. If it is not, the header is
//! believed as far as what comes behind agrees with it.

use crate::record::batch::check_crc;
use crate::record::header::HEADER_BYTES;
use crate::record::{Header, StampedBatch};
use crate::types::Offset;

#[derive(Debug, PartialEq)]
pub(super) enum Told {
    /// The records are intact: the damage is in the first bytes. `header` may say a wrong offset.
    Prefix {
        header: Header,
        size: usize,
    },
    /// The records are damaged. The batch held the offsets up to this one.
    Body {
        size: usize,
        upto: Offset,
    },
    /// So many bytes from the batch on decide it.
    NeedsMore(usize),
    Nothing,
}

/// How far a batch whose length is damaged is searched for its end.
const SEARCH_BYTES_MAX: usize = 2 << 20;
/// Records may hold what looks like the begin of the next batch: so many of these are tried.
const TRIES_MAX: usize = 64;
const LENGTH: std::ops::Range<usize> = 8..12;
const MAGIC_AT: usize = 16;

/// `bytes` begin with the damaged batch; `left` bytes of its segment may belong to it and to what comes behind it, of which
/// `behind` is the first offset that is known. `next` is the offset after the batch before it.
pub(super) fn tell(bytes: &[u8], left: usize, next: Offset, behind: Option<Offset>) -> Told {
    if left < HEADER_BYTES {
        return Told::Nothing;
    }
    let Some(front) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Told::NeedsMore(HEADER_BYTES);
    };
    let header = with(front, |front| front[MAGIC_AT] = 2);
    if let Some(header) = header.filter(|header| header.size_bytes <= left) {
        let size = header.size_bytes;
        let Some(whole) = bytes.get(..size) else {
            return Told::NeedsMore(size);
        };
        if check_crc(whole, &header).is_ok() {
            return Told::Prefix { header, size };
        }
        match body(bytes, left, &header, next, behind) {
            Told::Nothing => {}
            told => return told,
        }
    }
    let wanted = left.min(SEARCH_BYTES_MAX);
    match bytes.get(..wanted) {
        Some(searched) => end_by_crc(front, searched, left, next),
        None => Told::NeedsMore(wanted),
    }
}

/// The header is believed when it continues the log and leads to what continues it, or to a batch that is intact.
fn body(bytes: &[u8], left: usize, header: &Header, next: Offset, behind: Option<Offset>) -> Told {
    let size = header.size_bytes;
    let is_told = |offset: Offset| header.base_offset == next && offset == header.next_offset() && offset > next;
    if size == left {
        return match behind {
            Some(upto) if upto > next => Told::Body { size, upto },
            _ => Told::Nothing,
        };
    }
    if left < size + HEADER_BYTES {
        return Told::Nothing;
    }
    let Some(following) = bytes.get(size..size + HEADER_BYTES) else {
        return Told::NeedsMore(size + HEADER_BYTES);
    };
    let offset = i64::from_be_bytes(following[..8].try_into().expect("8 bytes"));
    if is_told(offset) {
        return Told::Body { size, upto: offset };
    }
    let Ok(following) = Header::decode(following) else {
        return Told::Nothing;
    };
    if following.size_bytes > left - size {
        return Told::Nothing;
    }
    match bytes.get(size..size + following.size_bytes) {
        Some(whole) => match StampedBatch::check(bytes::Bytes::copy_from_slice(whole)) {
            Ok(following) if following.base_offset > next => Told::Body {
                size,
                upto: following.base_offset,
            },
            _ => Told::Nothing,
        },
        None => Told::NeedsMore(size + following.size_bytes),
    }
}

/// The length for which the CRC is right, of those that lead to the segment's end or to what looks like the next batch.
fn end_by_crc(front: &[u8; HEADER_BYTES], bytes: &[u8], left: usize, next: Offset) -> Told {
    let sized = |size: usize| {
        with(front, |front| {
            front[MAGIC_AT] = 2;
            front[LENGTH].copy_from_slice(&((size - LENGTH.end) as u32).to_be_bytes());
        })
    };
    let Some(header) = sized(HEADER_BYTES) else {
        return Told::Nothing;
    };
    let behind = next + header.last_offset_delta.max(0) as i64 + 1;
    let pattern = behind.to_be_bytes();
    let ends = bytes.windows(pattern.len()).enumerate().skip(HEADER_BYTES);
    let ends = ends.filter(|(_, window)| *window == pattern).map(|(at, _)| at);
    let last = (bytes.len() == left).then_some(left);
    for size in ends.take(TRIES_MAX).chain(last) {
        if let Some(header) = sized(size)
            && check_crc(&bytes[..size], &header).is_ok()
        {
            return Told::Prefix { header, size };
        }
    }
    Told::Nothing
}

/// The header with some of its first bytes changed.
fn with(front: &[u8; HEADER_BYTES], change: impl FnOnce(&mut [u8; HEADER_BYTES])) -> Option<Header> {
    let mut front = *front;
    change(&mut front);
    Header::decode(&front).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;

    /// Two batches of two records, at the offsets 10 and 12, and the size of the first.
    fn two() -> (Vec<u8>, usize) {
        let batch = |base| {
            let builder = BatchBuilder::new()
                .record(1, None, Some(b"a value"))
                .record(2, None, None);
            builder.build_stamped(base, 3).into_bytes()
        };
        (([batch(10), batch(12)]).concat(), batch(10).len())
    }

    #[test]
    fn a_flipped_bit_leaves_the_length_and_the_offsets() {
        let (bytes, size) = two();
        for at in 0..size {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                match tell(&bytes, bytes.len(), 10, None) {
                    Told::Prefix { header, size: told } => {
                        assert!(at < 17, "byte {at} is not in the prefix");
                        assert_eq!((told, header.last_offset_delta), (size, 1));
                    }
                    Told::Body { size: told, upto } => {
                        assert!(at >= 17);
                        assert_eq!((told, upto), (size, 12), "byte {at}");
                    }
                    other => panic!("byte {at} bit {bit}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn more_is_asked_for_until_it_is_enough() {
        let (mut bytes, size) = two();
        for at in [3, 9, 10, 30, size - 1] {
            bytes[at] ^= 4;
            let mut have = 0;
            for _ in 0..20 {
                match tell(&bytes[..have], bytes.len(), 10, None) {
                    Told::NeedsMore(more) => {
                        assert!(more > have && more <= bytes.len());
                        have = more;
                    }
                    told => {
                        assert_ne!(told, Told::Nothing, "byte {at}");
                        break;
                    }
                }
            }
            bytes[at] ^= 4;
        }
    }

    #[test]
    fn any_bytes_are_told_or_not() {
        let mut random = crate::types::Random::new(1);
        let (bytes, _) = two();
        for _ in 0..20_000 {
            let mut bytes = bytes.clone();
            for _ in 0..1 + random.below(6) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next_u64() as u8;
            }
            let left = random.below(bytes.len() as u64 + 1) as usize;
            bytes.truncate(left);
            if let Told::NeedsMore(more) = tell(&bytes, left, 10, Some(14)) {
                panic!("{more} of {left} bytes are asked for, and all are there");
            }
        }
    }
}
