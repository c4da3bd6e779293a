//! The protocol's primitive types, read and written within bounds.
//!
//! A [`Reader`] never looks behind the end of its bytes and never reserves memory for a count that the bytes left could
//! not hold. Byte fields are pieces of the frame, not copies, when it reads from [`Bytes`]. A [`Writer`] appends to a
//! [`BytesMut`].

use std::borrow::Cow;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use crate::types::Uuid;

/// Why bytes are not the message that they claim to be, or a value cannot be written in the version asked for.
/// Whoever sent such bytes is not speaking our protocol: the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("{needed} bytes are needed at byte {at}, but only {left} are left")]
    Truncated { at: usize, needed: usize, left: usize },
    #[error("{count} elements are announced at byte {at}, but only {left} bytes are left")]
    Count { at: usize, count: u64, left: usize },
    #[error("with those at byte {at}, its arrays have more than {ELEMENTS_MAX} elements together")]
    Elements { at: usize },
    #[error("length {length} at byte {at} is not possible")]
    Length { at: usize, length: i64 },
    #[error("null at byte {at}, where a value must be")]
    UnexpectedNull { at: usize },
    #[error("a variable-length number at byte {at} does not end where it must")]
    Varint { at: usize },
    #[error(
        "a string at byte {at} is not valid UTF-8, and too long with the characters that would stand for what is wrong"
    )]
    Utf8 { at: usize },
    #[error("{left} bytes are left over at byte {at}")]
    TrailingBytes { at: usize, left: usize },
    #[error("{message} has no version {version}")]
    UnsupportedVersion { message: &'static str, version: i16 },
    #[error("version {version} of {message} cannot carry a value of {field}")]
    FieldNotInVersion {
        message: &'static str,
        field: &'static str,
        version: i16,
    },
    #[error("a value of {length} bytes or elements is too long to be written")]
    TooLong { length: usize },
    #[error("null cannot be written here in version {version}")]
    NullNotInVersion { version: i16 },
    #[error("{what} {value} is unknown")]
    Unknown { what: &'static str, value: i64 },
}

/// Reads primitive types in order. Invariant: `at <= bytes.len()`.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The owner of `bytes`, when there is one: byte fields are then pieces of it.
    owner: Option<&'a Bytes>,
    /// How many more elements of arrays may come.
    elements_left: usize,
}

/// Elements of all arrays of one message together. One that is a few bytes on the wire takes some hundred in memory, and with
/// its place in the answer 400 (a partition of Produce): what a frame can make us hold is the frame and 80 MB, for as long
/// as it is answered. No client comes near, with every partition of a large cluster in one request.
pub const ELEMENTS_MAX: usize = 200_000;

impl<'a> Reader<'a> {
    /// Byte fields will be copied out of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader {
            bytes,
            at: 0,
            owner: None,
            elements_left: ELEMENTS_MAX,
        }
    }

    /// Byte fields will share the memory of `bytes`.
    pub fn sharing(bytes: &'a Bytes) -> Reader<'a> {
        Reader {
            bytes,
            at: 0,
            owner: Some(bytes),
            elements_left: ELEMENTS_MAX,
        }
    }

    /// How many bytes were read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Nothing may be left: for what is ours or stored. What stands behind a client's request is not for us (see
    /// `shard::requests`).
    pub fn finish(&self) -> Result<(), WireError> {
        match self.left() {
            0 => Ok(()),
            left => Err(WireError::TrailingBytes { at: self.at, left }),
        }
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let left = self.left();
        if len > left {
            return Err(WireError::Truncated {
                at: self.at,
                needed: len,
                left,
            });
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    /// The next `len` bytes as a value of its own, which shares the frame's memory if this reader does.
    pub fn take_bytes(&mut self, len: usize) -> Result<Bytes, WireError> {
        let start = self.at;
        let taken = self.take(len)?;
        Ok(match self.owner {
            Some(owner) => owner.slice(start..start + len),
            None => Bytes::copy_from_slice(taken),
        })
    }

    /// A reader of the next `len` bytes, which this one skips.
    pub fn part(&mut self, len: usize) -> Result<Reader<'a>, WireError> {
        let start = self.at;
        self.take(len)?;
        Ok(Reader {
            bytes: &self.bytes[..start + len],
            at: start,
            owner: self.owner,
            elements_left: self.elements_left,
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("take gives as many bytes as asked for"))
    }

    pub fn bool(&mut self) -> Result<bool, WireError> {
        Ok(self.i8()? != 0)
    }

    pub fn i8(&mut self) -> Result<i8, WireError> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub fn i16(&mut self) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub fn f64(&mut self) -> Result<f64, WireError> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    pub fn uuid(&mut self) -> Result<Uuid, WireError> {
        Ok(Uuid(self.array()?))
    }

    /// An unsigned number of at most 32 bits, seven in a byte, the lowest first.
    pub fn uvarint(&mut self) -> Result<u32, WireError> {
        let at = self.at;
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.i8()? as u8;
            let bits = u32::from(byte & 0x7F);
            // The fifth byte has room for four bits only.
            if shift == 28 && bits > 0x0F {
                return Err(WireError::Varint { at });
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Varint { at })
    }

    /// The length in front of a string, of bytes or of an array; `None` is null. `wide` are the four-byte lengths of
    /// versions that are not flexible (strings have two bytes there); flexible versions write length + 1.
    fn length(&mut self, flexible: bool, wide: bool) -> Result<Option<usize>, WireError> {
        let at = self.at;
        let length = match (flexible, wide) {
            (true, _) => i64::from(self.uvarint()?) - 1,
            (false, true) => i64::from(self.i32()?),
            (false, false) => i64::from(self.i16()?),
        };
        match length {
            -1 => Ok(None),
            // Java's own limit: what it would refuse to read we must not accept.
            _ if length < -1 || (!wide && length > i64::from(i16::MAX)) || length > i64::from(i32::MAX) => {
                Err(WireError::Length { at, length })
            }
            _ => Ok(Some(length as usize)),
        }
    }

    /// A string or null; a view of the bytes when they are valid UTF-8, else see [`lossy`].
    pub fn str(&mut self, flexible: bool) -> Result<Option<Cow<'a, str>>, WireError> {
        let Some(range) = self.str_range(flexible)? else {
            return Ok(None);
        };
        let at = range.start;
        lossy(&self.bytes[range]).ok_or(WireError::Utf8 { at }).map(Some)
    }

    /// Where a string's bytes lie in what this reader reads from, or null; they are skipped, whatever they are.
    pub fn str_range(&mut self, flexible: bool) -> Result<Option<Range<usize>>, WireError> {
        let length = self.length(flexible, false)?;
        length.map(|length| self.skip(length)).transpose()
    }

    /// Bytes or null.
    pub fn bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, WireError> {
        match self.length(flexible, true)? {
            Some(length) => self.take_bytes(length).map(Some),
            None => Ok(None),
        }
    }

    /// Where bytes lie in what this reader reads from, or null; the bytes are skipped.
    pub fn bytes_range(&mut self, flexible: bool) -> Result<Option<Range<usize>>, WireError> {
        let length = self.length(flexible, true)?;
        length.map(|length| self.skip(length)).transpose()
    }

    fn skip(&mut self, length: usize) -> Result<Range<usize>, WireError> {
        let start = self.at;
        self.take(length)?;
        Ok(start..start + length)
    }

    /// The count in front of an array whose elements take at least `element_bytes_min` bytes each, or null.
    pub fn count(&mut self, flexible: bool, element_bytes_min: usize) -> Result<Option<usize>, WireError> {
        let at = self.at;
        let Some(count) = self.length(flexible, true)? else {
            return Ok(None);
        };
        let left = self.left();
        if count > left / element_bytes_min {
            return Err(WireError::Count {
                at,
                count: count as u64,
                left,
            });
        }
        if count > self.elements_left {
            return Err(WireError::Elements { at });
        }
        self.elements_left -= count;
        Ok(Some(count))
    }

    /// The tagged fields at the end of a flexible structure: `field` reads the one with the number it is given and says
    /// so, or leaves it alone, and then it is skipped.
    pub fn tagged_fields(
        &mut self,
        mut field: impl FnMut(u32, &mut Reader<'a>) -> Result<bool, WireError>,
    ) -> Result<(), WireError> {
        let at = self.at;
        let count = self.uvarint()? as usize;
        if count > self.left() / 2 {
            return Err(WireError::Count {
                at,
                count: count as u64,
                left: self.left(),
            });
        }
        for _ in 0..count {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let mut part = self.part(size)?;
            if field(tag, &mut part)? {
                part.finish()?;
                self.elements_left = part.elements_left;
            }
        }
        Ok(())
    }

    pub fn skip_tagged_fields(&mut self) -> Result<(), WireError> {
        self.tagged_fields(|_, _| Ok(false))
    }
}

/// A client's string. Where it is not valid UTF-8, U+FFFD stands for what is wrong, as in Kafka (Java reads all strings that
/// way): such a client is served, and a topic of that name is one that cannot exist. `None` when the string has become too
/// long to be answered with.
pub fn lossy(bytes: &[u8]) -> Option<Cow<'_, str>> {
    Some(String::from_utf8_lossy(bytes)).filter(|text| text.len() <= i16::MAX as usize)
}

/// A string that is a piece of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(Bytes);

impl Text {
    /// Shares the memory of `bytes` when they are valid UTF-8, else see [`lossy`].
    pub fn new(bytes: Bytes) -> Option<Text> {
        Some(match lossy(&bytes)? {
            Cow::Borrowed(_) => Text(bytes),
            Cow::Owned(mended) => Text(mended.into()),
        })
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked when it was made")
    }
}

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

/// Appends primitive types to a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    buf: BytesMut,
}

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Goes on behind what `buf` holds.
    pub fn over(buf: BytesMut) -> Writer {
        Writer { buf }
    }

    pub fn into_inner(self) -> BytesMut {
        self.buf
    }

    pub fn len(&self) -> usize {
        self.buf.len()
    }

    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Overwrites four bytes that were written before.
    pub fn patch_i32(&mut self, at: usize, value: i32) {
        self.buf[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    pub fn bool(&mut self, value: bool) {
        self.buf.put_u8(value.into());
    }

    pub fn i8(&mut self, value: i8) {
        self.buf.put_i8(value);
    }

    pub fn i16(&mut self, value: i16) {
        self.buf.put_i16(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.buf.put_u16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.buf.put_i32(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.buf.put_u32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.buf.put_i64(value);
    }

    pub fn f64(&mut self, value: f64) {
        self.buf.put_f64(value);
    }

    pub fn uuid(&mut self, value: Uuid) {
        self.buf.extend_from_slice(&value.0);
    }

    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buf.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buf.put_u8(value as u8);
    }

    fn length(&mut self, length: Option<usize>, flexible: bool, wide: bool) -> Result<(), WireError> {
        let max = if wide { i32::MAX as usize } else { i16::MAX as usize };
        match length {
            Some(length) if length > max => return Err(WireError::TooLong { length }),
            Some(length) if flexible => self.uvarint(length as u32 + 1),
            Some(length) if wide => self.i32(length as i32),
            Some(length) => self.i16(length as i16),
            None if flexible => self.uvarint(0),
            None if wide => self.i32(-1),
            None => self.i16(-1),
        }
        Ok(())
    }

    pub fn str(&mut self, value: Option<&str>, flexible: bool) -> Result<(), WireError> {
        self.length(value.map(str::len), flexible, false)?;
        self.raw(value.unwrap_or_default().as_bytes());
        Ok(())
    }

    pub fn bytes(&mut self, value: Option<&[u8]>, flexible: bool) -> Result<(), WireError> {
        self.bytes_length(value.map(<[u8]>::len), flexible)?;
        self.raw(value.unwrap_or_default());
        Ok(())
    }

    /// The length in front of bytes that follow by other means.
    pub fn bytes_length(&mut self, length: Option<usize>, flexible: bool) -> Result<(), WireError> {
        self.length(length, flexible, true)
    }

    /// The count in front of an array, or null.
    pub fn count(&mut self, count: Option<usize>, flexible: bool) -> Result<(), WireError> {
        self.length(count, flexible, true)
    }

    /// One tagged field: number, size, and what `write` appends.
    pub fn tagged_field(
        &mut self,
        tag: u32,
        write: impl FnOnce(&mut Writer) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let mut value = Writer::new();
        write(&mut value)?;
        self.uvarint(tag);
        self.uvarint(u32::try_from(value.len()).map_err(|_| WireError::TooLong { length: value.len() })?);
        self.raw(&value.buf);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uvarint_at_its_borders() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u32::MAX - 1, u32::MAX] {
            let mut w = Writer::new();
            w.uvarint(value);
            assert_eq!(Reader::new(&w.buf).uvarint(), Ok(value));
        }
        assert_eq!(
            Reader::new(&[0xFF, 0xFF, 0xFF, 0xFF, 0x1F]).uvarint(),
            Err(WireError::Varint { at: 0 })
        );
        assert_eq!(Reader::new(&[0x80; 9]).uvarint(), Err(WireError::Varint { at: 0 }));
        assert!(matches!(
            Reader::new(&[0x80, 0x80]).uvarint(),
            Err(WireError::Truncated { .. })
        ));
    }

    #[test]
    fn counts_are_refused_before_anything_is_reserved() {
        assert!(matches!(
            Reader::new(&[0x7F, 0xFF, 0xFF, 0xFF]).count(false, 1),
            Err(WireError::Count { .. })
        ));
        assert!(matches!(
            Reader::new(&[0xFF, 0xFF, 0xFF, 0xFF, 0x07]).count(true, 1),
            Err(WireError::Count { .. })
        ));
        // Two elements of four bytes do not fit into seven.
        assert!(matches!(
            Reader::new(&[3, 0, 0, 0, 1, 0, 0, 0]).count(true, 4),
            Err(WireError::Count { count: 2, left: 7, .. })
        ));
        assert!(matches!(
            Reader::new(&[0xFF, 0xFF, 0xFF, 0xFE]).count(false, 1),
            Err(WireError::Length { .. })
        ));
        assert_eq!(Reader::new(&[0xFF, 0xFF, 0xFF, 0xFF]).count(false, 1), Ok(None));
    }

    #[test]
    fn the_elements_of_all_arrays_are_counted() {
        let mut w = Writer::new();
        w.i32(ELEMENTS_MAX as i32 - 1);
        // The last one that may be is in a tagged field.
        w.uvarint(1);
        w.tagged_field(0, |w| {
            w.i32(1);
            w.i8(7);
            Ok(())
        })
        .unwrap();
        let at = w.len();
        w.i32(1);
        w.raw(&vec![0; ELEMENTS_MAX]);
        let bytes = w.into_inner();
        let mut r = Reader::new(&bytes);
        assert_eq!(r.count(false, 1), Ok(Some(ELEMENTS_MAX - 1)));
        let in_field = |_, r: &mut Reader<'_>| {
            assert_eq!(r.count(false, 1), Ok(Some(1)));
            r.i8().map(|_| true)
        };
        r.tagged_fields(in_field).unwrap();
        assert_eq!(r.count(false, 1), Err(WireError::Elements { at }));
    }

    #[test]
    fn strings_must_be_utf8_and_short() {
        // Latin-1's "ä", as Kafka reads it.
        assert_eq!(Reader::new(b"\0\x03a\xe4b").str(false), Ok(Some("a\u{FFFD}b".into())));
        let grown = [&[0x7F, 0xFF][..], &[0xFF; 0x7FFF]].concat();
        assert_eq!(Reader::new(&grown).str(false), Err(WireError::Utf8 { at: 2 }));
        assert_eq!(&*Text::new(Bytes::from_static(b"\xe4")).unwrap(), "\u{FFFD}");
        assert_eq!(Text::new(Bytes::from_static(&[0xFF; 0x7FFF])), None);
        assert!(matches!(
            Reader::new(&[0xFF, 0xFF, 0x03]).str(true),
            Err(WireError::Length { .. })
        ));
        assert!(Writer::new().str(Some(&"x".repeat(32_768)), true).is_err());
    }

    #[test]
    fn byte_fields_share_the_frame() {
        let frame = Bytes::from_static(&[0, 0, 0, 2, 7, 8]);
        let taken = Reader::sharing(&frame).bytes(false).unwrap().unwrap();
        assert_eq!(taken.as_ptr(), frame[4..].as_ptr());
    }

    #[test]
    fn unknown_tags_are_skipped_and_known_ones_end_where_they_say() {
        let mut seen = Vec::new();
        let bytes = [2, 5, 1, 9, 1, 2, 0, 3];
        let mut r = Reader::new(&bytes);
        r.tagged_fields(|tag, r| {
            if tag == 1 {
                seen.push(r.i16()?);
            }
            Ok(tag == 1)
        })
        .unwrap();
        assert_eq!((seen, r.left()), (vec![3], 0));
        let overlong = [1, 1, 3, 0, 3, 0];
        assert!(matches!(
            Reader::new(&overlong).tagged_fields(|_, r| r.i16().map(|_| true)),
            Err(WireError::TrailingBytes { .. })
        ));
    }
}
