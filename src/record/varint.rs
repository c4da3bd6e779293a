//! Zigzag varints, as records use them (Kafka's ByteUtils): at most 5 bytes for 32 bits, 10 for 64.

use bytes::{BufMut, BytesMut};

/// The longest encoding of an `i32`.
pub const INT_BYTES_MAX: usize = 5;
/// The longest encoding of an `i64`.
pub const LONG_BYTES_MAX: usize = 10;

/// Reads a 32-bit value at `at` and moves `at` behind it; `None` when the bytes end or the value is longer than 5 bytes.
#[inline(always)]
pub fn read_int(bytes: &[u8], at: &mut usize) -> Option<i32> {
    let first = *bytes.get(*at)? as u32;
    if first < 0x80 {
        *at += 1;
        return Some(unzigzag(first));
    }
    let second = *bytes.get(*at + 1)? as u32;
    if second < 0x80 {
        *at += 2;
        return Some(unzigzag(first & 0x7F | second << 7));
    }
    read_long_int(bytes, at)
}

fn read_long_int(bytes: &[u8], at: &mut usize) -> Option<i32> {
    let mut value = 0u32;
    for i in 0..5 {
        let byte = *bytes.get(*at + i)? as u32;
        value |= (byte & 0x7F) << (7 * i);
        if byte < 0x80 {
            *at += i + 1;
            return Some(unzigzag(value));
        }
    }
    None
}

/// Reads a 64-bit value at `at` and moves `at` behind it; `None` when the bytes end or the value is longer than 10 bytes.
#[inline(always)]
pub fn read_long(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let first = *bytes.get(*at)? as u64;
    if first < 0x80 {
        *at += 1;
        return Some(unzigzag_long(first));
    }
    read_longer(bytes, at)
}

fn read_longer(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut value = 0u64;
    for i in 0..10 {
        let byte = *bytes.get(*at + i)? as u64;
        value |= (byte & 0x7F) << (7 * i);
        if byte < 0x80 {
            *at += i + 1;
            return Some(unzigzag_long(value));
        }
    }
    None
}

#[inline(always)]
fn unzigzag(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

#[inline(always)]
fn unzigzag_long(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

pub fn write_int(out: &mut BytesMut, value: i32) {
    let mut rest = (value << 1 ^ value >> 31) as u32;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

pub fn write_long(out: &mut BytesMut, value: i64) {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// The bytes that [`write_int`] writes for `value`.
pub fn int_bytes(value: i32) -> usize {
    let bits = 32 - ((value << 1 ^ value >> 31) as u32 | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// The bytes that [`write_long`] writes for `value`.
pub fn long_bytes(value: i64) -> usize {
    let bits = 64 - ((value << 1 ^ value >> 63) as u64 | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kafkas_own_examples() {
        // ByteUtilsTest.testVarintSerde.
        for (value, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7E]),
            (-64, &[0x7F]),
            (64, &[0x80, 0x01]),
            (-65, &[0x81, 0x01]),
            (8191, &[0xFE, 0x7F]),
            (-8193, &[0x81, 0x80, 0x01]),
            (i32::MAX, &[0xFE, 0xFF, 0xFF, 0xFF, 0x0F]),
            (i32::MIN, &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F]),
        ] {
            let mut out = BytesMut::new();
            write_int(&mut out, value);
            assert_eq!(&out[..], bytes);
            assert_eq!(read_int(bytes, &mut 0), Some(value));
        }
    }

    #[test]
    fn too_long_or_cut_off() {
        assert_eq!(read_int(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01], &mut 0), None);
        assert_eq!(read_int(&[0x80, 0x80], &mut 0), None);
        assert_eq!(read_int(&[], &mut 0), None);
        assert_eq!(read_long(&[0x80; 11], &mut 0), None);
        assert_eq!(read_long(&[0x80; 9], &mut 0), None);
    }

    proptest! {
        #[test]
        fn round_trip(a: i32, b: i64) {
            let mut out = BytesMut::new();
            write_int(&mut out, a);
            prop_assert_eq!(out.len(), int_bytes(a));
            write_long(&mut out, b);
            prop_assert_eq!(out.len(), int_bytes(a) + long_bytes(b));
            let mut at = 0;
            prop_assert_eq!(read_int(&out, &mut at), Some(a));
            prop_assert_eq!(read_long(&out, &mut at), Some(b));
            prop_assert_eq!(at, out.len());
        }
    }
}
