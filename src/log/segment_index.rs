//! The index file of a closed segment, and the frame that our stored formats share.
//!
//! A segment that is closed never changes again. What a start must know of it is written once, beside it, so that the
//! recovery point need not say it again each time. The file is derived: when it is missing, damaged or of a newer version,
//! the start scans that one segment, and the file is written again. Kafka passes over the name: its own suffixes are `.log`,
//! `.index`, `.timeindex`, `.txnindex`, `.snapshot`, `.deleted`, `.cleaned` and `.swap`.
//!
//! `%020d.tidemill-index` in the partition's folder, replaced atomically, little-endian:
//!
//! ```text
//!   0   4B   magic "TMSI"
//!   4   u16  version 1
//!   6   u16  0
//!   8   u32  CRC-32 (crc32fast) of all other bytes
//!  12   16B  topic id
//!  28   i32  partition
//!  32        the segment:
//!            i64 base, i64 next offset, i64 base of the segment that follows (-1 for none), u64 bytes,
//!            i64 max timestamp, i64 its batch's base offset, i64 first timestamp (i64::MIN for none), i64 begun at,
//!            u32 sum of the batches' prefix checksums (see `Segment::prefixes`),
//!            u64 index spacing, u32 index entries; for each: u32 offset delta, u32 position, i64 max timestamp before
//! ```

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::types::{LogId, Offset, Position, Uuid};

use super::index::{ENTRIES_MAX, Index, IndexEntry};
use super::segment::{SEGMENT_SUFFIX, Segment, base_of};

/// How the index file of a segment is named, behind its base offset.
pub const INDEX_SUFFIX: &str = ".tidemill-index";

const MAGIC: &[u8; 4] = b"TMSI";
const VERSION: u16 = 1;
/// Magic, version, flags and checksum: the same in every version of every format, so that an older broker knows a newer
/// file from a damaged one.
const FRAME_BYTES: usize = 12;
const CRC_AT: usize = 8;

/// Why a stored file was not understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoredError {
    #[error("its first bytes are not those of such a file")]
    Magic,
    #[error("it was written by a newer version of Tidemill (format {version}, this one reads {known})")]
    Newer { version: u16, known: u16 },
    #[error("its checksum is wrong")]
    Crc,
    #[error("its content contradicts itself")]
    Content,
}

/// The index file's path of the segment whose file this is.
pub fn index_path(segment_path: &str) -> String {
    let stem = segment_path.strip_suffix(SEGMENT_SUFFIX).unwrap_or(segment_path);
    format!("{stem}{INDEX_SUFFIX}")
}

/// The base offset that a file's name says, if it is an index file's.
pub fn base_of_index(name: &str) -> Option<Offset> {
    base_of(name, INDEX_SUFFIX)
}

/// Begins a file; [`seal`] ends it.
pub(super) fn begin(magic: &[u8; 4], version: u16, flags: u16) -> BytesMut {
    let mut out = BytesMut::with_capacity(4096);
    out.put_slice(magic);
    out.put_u16_le(version);
    out.put_u16_le(flags);
    out.put_u32_le(0);
    out
}

/// Puts the checksum of all that is there into its place.
pub(super) fn seal(out: &mut [u8]) {
    let crc = checksum(out);
    out[CRC_AT..FRAME_BYTES].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..CRC_AT]);
    hasher.update(&bytes[FRAME_BYTES..]);
    hasher.finalize()
}

/// The flags and what follows the frame, of a sealed file.
pub(super) fn open<'a>(bytes: &'a [u8], magic: &[u8; 4], known: u16) -> Result<(u16, &'a [u8]), StoredError> {
    if bytes.len() < FRAME_BYTES || &bytes[..4] != magic {
        return Err(StoredError::Magic);
    }
    let mut head = &bytes[4..FRAME_BYTES];
    let (version, flags, crc) = (head.get_u16_le(), head.get_u16_le(), head.get_u32_le());
    // Before the version: a flipped bit must not make it look newer.
    if crc != checksum(bytes) {
        return Err(StoredError::Crc);
    }
    if version > known {
        return Err(StoredError::Newer { version, known });
    }
    match version == known {
        true => Ok((flags, &bytes[FRAME_BYTES..])),
        false => Err(StoredError::Content),
    }
}

/// What a start must know of a segment to use it unread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SegmentState {
    pub base: Offset,
    pub next: Offset,
    /// The base of the segment that follows: without its file, records are missing.
    pub following: Option<Offset>,
    pub size: Position,
    pub max_timestamp: i64,
    pub max_timestamp_offset: Offset,
    pub first_timestamp: Option<i64>,
    pub created_ms: i64,
    pub prefixes: u32,
    pub index: Index,
}

impl SegmentState {
    pub fn of(segment: &Segment, following: Option<Offset>) -> SegmentState {
        SegmentState {
            base: segment.base,
            next: segment.next,
            following,
            size: segment.size,
            max_timestamp: segment.max_timestamp,
            max_timestamp_offset: segment.max_timestamp_offset,
            first_timestamp: segment.first_timestamp,
            created_ms: segment.begun_ms(),
            prefixes: segment.prefixes,
            index: segment.index.clone(),
        }
    }

    pub fn encode(&self, out: &mut BytesMut) {
        out.put_i64_le(self.base);
        out.put_i64_le(self.next);
        out.put_i64_le(self.following.unwrap_or(-1));
        out.put_u64_le(self.size);
        out.put_i64_le(self.max_timestamp);
        out.put_i64_le(self.max_timestamp_offset);
        out.put_i64_le(self.first_timestamp.unwrap_or(i64::MIN));
        out.put_i64_le(self.created_ms);
        out.put_u32_le(self.prefixes);
        out.put_u64_le(self.index.spacing_bytes());
        out.put_u32_le(self.index.entries().len() as u32);
        for entry in self.index.entries() {
            out.put_u32_le(entry.offset_delta);
            out.put_u32_le(entry.position);
            out.put_i64_le(entry.max_timestamp_before);
        }
    }

    pub fn read(bytes: &mut &[u8]) -> Option<SegmentState> {
        let base = bytes.try_get_i64_le().ok()?;
        let next = bytes.try_get_i64_le().ok()?;
        let following = Some(bytes.try_get_i64_le().ok()?).filter(|&following| following >= 0);
        let mut state = SegmentState::read_rest(bytes, base, next, true)?;
        state.following = following;
        let is_sane = following.is_none_or(|following| following >= next && following > base);
        is_sane.then_some(state)
    }

    /// As recovery points of version 1 have it: without what follows and without the prefixes' sum.
    pub fn read_version_1(bytes: &mut &[u8]) -> Option<SegmentState> {
        let base = bytes.try_get_i64_le().ok()?;
        let next = bytes.try_get_i64_le().ok()?;
        SegmentState::read_rest(bytes, base, next, false)
    }

    fn read_rest(bytes: &mut &[u8], base: Offset, next: Offset, has_prefixes: bool) -> Option<SegmentState> {
        let size = bytes.try_get_u64_le().ok()?;
        let max_timestamp = bytes.try_get_i64_le().ok()?;
        let max_timestamp_offset = bytes.try_get_i64_le().ok()?;
        let first_timestamp = Some(bytes.try_get_i64_le().ok()?).filter(|&first| first != i64::MIN);
        let created_ms = bytes.try_get_i64_le().ok()?;
        let prefixes = match has_prefixes {
            true => bytes.try_get_u32_le().ok()?,
            false => 0,
        };
        let spacing_bytes = bytes.try_get_u64_le().ok()?;
        let count = bytes.try_get_u32_le().ok()? as usize;
        if count > ENTRIES_MAX || base < 0 || next < base {
            return None;
        }
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(IndexEntry {
                offset_delta: bytes.try_get_u32_le().ok()?,
                position: bytes.try_get_u32_le().ok()?,
                max_timestamp_before: bytes.try_get_i64_le().ok()?,
            });
        }
        if entries.last().is_some_and(|last| last.position as Position >= size) {
            return None;
        }
        Some(SegmentState {
            base,
            next,
            following: None,
            size,
            max_timestamp,
            max_timestamp_offset,
            first_timestamp,
            created_ms,
            prefixes,
            index: Index::restore(entries, spacing_bytes)?,
        })
    }
}

impl fmt::Display for SegmentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "segment {:020} up to {}, {} bytes, newest timestamp {} in the batch at {}, {} index entries",
            self.base,
            self.next,
            self.size,
            self.max_timestamp,
            self.max_timestamp_offset,
            self.index.entries().len()
        )
    }
}

/// The content of a closed segment's index file.
pub(super) fn encode_index(id: LogId, state: &SegmentState) -> Bytes {
    let mut out = begin(MAGIC, VERSION, 0);
    out.put_slice(&id.topic.0);
    out.put_i32_le(id.partition);
    state.encode(&mut out);
    seal(&mut out);
    out.freeze()
}

pub(super) fn decode_index(bytes: &[u8]) -> Result<(LogId, SegmentState), StoredError> {
    let (_, mut body) = open(bytes, MAGIC, VERSION)?;
    read_index(&mut body)
        .filter(|_| body.is_empty())
        .ok_or(StoredError::Content)
}

fn read_index(bytes: &mut &[u8]) -> Option<(LogId, SegmentState)> {
    let mut topic = [0; 16];
    bytes.try_copy_to_slice(&mut topic).ok()?;
    let id = LogId {
        topic: Uuid(topic),
        partition: bytes.try_get_i32_le().ok()?,
    };
    Some((id, SegmentState::read(bytes)?))
}

/// What a segment's index file says, for people.
pub fn describe_segment_index(bytes: &[u8]) -> Result<String, StoredError> {
    let (id, state) = decode_index(bytes)?;
    let following = state.following.map_or(-1, |following| following);
    let mut said = format!(
        "log {id} {state}, followed by {following}, prefix checksums {:08x}",
        state.prefixes
    );
    for entry in state.index.entries() {
        let offset = state.base + Offset::from(entry.offset_delta);
        said.push_str(&format!("\noffset {offset} at {}", entry.position));
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state(entries: u32) -> SegmentState {
        let mut index = Index::new(100);
        for i in 1..=entries {
            let entry = IndexEntry {
                offset_delta: i * 2,
                position: i * 150,
                max_timestamp_before: i64::from(i),
            };
            index.note(entry, false);
        }
        SegmentState {
            base: 1000,
            next: 9000,
            following: Some(9000),
            size: 1 << 20,
            max_timestamp: 77,
            max_timestamp_offset: 1500,
            first_timestamp: Some(5),
            created_ms: 3,
            prefixes: 0xDEAD_BEEF,
            index,
        }
    }

    const ID: LogId = LogId {
        topic: Uuid([7; 16]),
        partition: 3,
    };

    #[test]
    fn names() {
        assert_eq!(
            index_path("t-0/00000000000000000170.log"),
            "t-0/00000000000000000170.tidemill-index"
        );
        assert_eq!(base_of_index("00000000000000000170.tidemill-index"), Some(170));
        assert_eq!(base_of_index("00000000000000000170.index"), None);
        assert_eq!(base_of_index("00000000000000000170.tidemill-index.tmp"), None);
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        for entries in [0, 1, 500] {
            let bytes = encode_index(ID, &state(entries));
            assert_eq!(decode_index(&bytes), Ok((ID, state(entries))));
        }
        let bytes = encode_index(ID, &state(20));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << bit;
                assert!(decode_index(&flipped).is_err(), "bit {bit} of byte {at}");
            }
            assert!(decode_index(&bytes[..at]).is_err());
        }
        let mut newer = bytes.to_vec();
        newer[4] = 9;
        seal(&mut newer);
        let (version, known) = (9, 1);
        assert_eq!(decode_index(&newer), Err(StoredError::Newer { version, known }));
    }

    proptest! {
        #[test]
        fn any_content_is_taken_or_refused(content in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = begin(MAGIC, VERSION, 0);
            bytes.put_slice(&content);
            seal(&mut bytes);
            let _ = describe_segment_index(&bytes);
        }
    }
}
