//! One segment: a file `<base offset>.log` of batches, one after another, as they are on the wire.

use std::hash::Hasher;
use std::sync::Arc;

use bytes::BufMut;

use crate::record::Header;
use crate::record::header::{MAGIC, OUTSIDE_CRC_BYTES, PREFIX_BYTES};
use crate::types::{File, FileId, FileIds, LogId, Offset, Position};

use super::LogConfig;
use super::index::{Index, IndexEntry};

/// Invariants: `written <= size`, and a whole number of blocks unless it equals what the file holds exactly; `base <= next`.
#[derive(Clone, Debug)]
pub struct Segment {
    pub base: Offset,
    path: Arc<str>,
    /// None until something is to be done with the file.
    id: Option<FileId>,
    /// The offset after the last record.
    pub next: Offset,
    /// Bytes, those in memory included.
    pub size: Position,
    /// The bytes below are in the file, on the device.
    pub written: Position,
    /// The file and its name are on the device.
    pub created: bool,
    /// Space reserved in the file, as far as this process knows.
    pub reserved: Position,
    /// The file ends exactly at `size`: it was sealed, and nothing was appended since.
    pub exact: bool,
    pub index: Index,
    /// Of all its batches; -1 for none.
    pub max_timestamp: i64,
    /// The base offset of the first batch that has it.
    pub max_timestamp_offset: Offset,
    /// The max timestamp of the first batch, from which `segment.ms` counts.
    pub first_timestamp: Option<i64>,
    /// When it was begun, in milliseconds of wall time: `segment.ms` counts from here where batches carry no timestamp.
    pub created_ms: i64,
    /// When its newest batch without a timestamp arrived, in milliseconds of wall time; -1 for none. `retention.ms` counts from
    /// there: its records were written long after the segment was begun, as may be.
    pub arrived_ms: i64,
    /// Of `segment.ms`, so that partitions do not roll all at once.
    pub jitter_ms: i64,
    /// The sum of the CRC-32s of every batch's prefix: the bytes that the batch's own CRC leaves out. Whoever scans the
    /// closed segment again finds the same sum, or one of them changed.
    pub prefixes: u32,
    /// The index file on the device says what this closed segment is.
    pub indexed: bool,
}

impl Segment {
    pub fn new(owner: &Owner, base: Offset, wall_ms: i64) -> Segment {
        Segment {
            base,
            path: segment_path(owner.dir, base),
            id: None,
            next: base,
            size: 0,
            written: 0,
            created: false,
            reserved: 0,
            exact: false,
            index: Index::new(owner.config.index_interval_bytes),
            max_timestamp: -1,
            max_timestamp_offset: -1,
            first_timestamp: None,
            created_ms: wall_ms,
            arrived_ms: -1,
            jitter_ms: jitter_ms(owner, base),
            prefixes: 0,
            indexed: false,
        }
    }

    /// Its file, which may not exist yet.
    pub fn open(&mut self, files: &mut FileIds) -> File {
        let id = *self.id.get_or_insert_with(|| files.next());
        File {
            id,
            path: self.path.clone(),
        }
    }

    /// Its file, if anything was ever done with it.
    pub fn file(&self) -> Option<File> {
        self.id.map(|id| File {
            id,
            path: self.path.clone(),
        })
    }

    /// A batch at the end of this segment, arriving now: counts its bytes, its offsets and its times.
    pub fn note(&mut self, header: &Header, wall_ms: i64) {
        self.note_after(header, wall_ms, false);
    }

    /// [`Segment::note`]; behind damage, which no search can walk through, every search finds the batch.
    pub fn note_after(&mut self, header: &Header, wall_ms: i64, damage: bool) {
        debug_assert!(header.base_offset >= self.next);
        if self.size > 0 {
            let entry = IndexEntry {
                offset_delta: (header.base_offset - self.base) as u32,
                position: self.size as u32,
                max_timestamp_before: self.max_timestamp,
            };
            self.index.note(entry, damage);
        }
        self.size += header.size_bytes as Position;
        self.next = header.next_offset();
        self.exact = false;
        self.indexed = false;
        self.prefixes = self.prefixes.wrapping_add(prefix_crc(header));
        if self.first_timestamp.is_none() {
            self.first_timestamp = Some(header.max_timestamp);
        }
        if header.max_timestamp < 0 {
            self.arrived_ms = self.arrived_ms.max(wall_ms);
        }
        if header.max_timestamp > self.max_timestamp {
            self.max_timestamp = header.max_timestamp;
            self.max_timestamp_offset = header.base_offset;
        }
    }

    /// Whether a batch of `size` bytes that ends at `last_offset` belongs into a new segment, by Kafka's rule
    /// (LogSegment.shouldRoll): size, age against the first batch's timestamp, or an offset too far from the base.
    pub fn must_roll(&self, config: &LogConfig, batch: &Header, wall_ms: i64) -> bool {
        if self.size == 0 {
            return batch.last_offset() - self.base > i32::MAX as i64;
        }
        let age_ms = match self.first_timestamp {
            Some(first) if first >= 0 => batch.max_timestamp.saturating_sub(first),
            _ => wall_ms.saturating_sub(self.created_ms),
        };
        self.size + batch.size_bytes as Position > config.segment_bytes
            || age_ms > config.segment_ms.saturating_sub(self.jitter_ms)
            || batch.last_offset() - self.base > i32::MAX as i64
    }

    /// What is stored of it: of a segment without timestamps, from when `retention.ms` counts. Its age for `segment.ms`
    /// begins anew with a restart, as in Kafka.
    pub fn begun_ms(&self) -> i64 {
        match self.max_timestamp {
            -1 => self.created_ms.max(self.arrived_ms),
            _ => self.created_ms,
        }
    }

    /// Takes back what [`Segment::begun_ms`] said of it.
    pub fn restore_begun(&mut self, begun_ms: i64) {
        self.created_ms = begun_ms;
        if self.size > 0 && self.max_timestamp < 0 {
            self.arrived_ms = begun_ms;
        }
    }

    /// What `retention.ms` compares with the clock.
    pub fn newest_ms(&self) -> i64 {
        match self.max_timestamp.max(self.arrived_ms) {
            newest if newest >= 0 => newest,
            _ => self.created_ms,
        }
    }
}

/// CRC-32 of the [`OUTSIDE_CRC_BYTES`] of a batch, as they are in the file.
pub fn prefix_crc(header: &Header) -> u32 {
    let mut prefix = [0; OUTSIDE_CRC_BYTES];
    let mut out = &mut prefix[..];
    out.put_i64(header.base_offset);
    out.put_i32((header.size_bytes - PREFIX_BYTES) as i32);
    out.put_i32(header.leader_epoch);
    out.put_u8(MAGIC);
    out.put_u32(header.crc);
    crc32fast::hash(&prefix)
}

/// What a segment takes from its log.
pub struct Owner<'a> {
    pub id: LogId,
    pub dir: &'a str,
    pub config: &'a LogConfig,
}

/// Kafka draws a random number; a hash spreads as well, and a replay makes the same choice.
fn jitter_ms(owner: &Owner, base: Offset) -> i64 {
    let bound = owner.config.segment_jitter_ms.min(owner.config.segment_ms);
    if bound <= 0 {
        return 0;
    }
    let mut hash = crc32fast::Hasher::new();
    hash.update(&owner.id.topic.0);
    hash.write_i32(owner.id.partition);
    hash.write_i64(base);
    (hash.finalize() as i64) % bound
}

pub fn segment_path(dir: &str, base: Offset) -> Arc<str> {
    format!("{dir}/{base:020}{SEGMENT_SUFFIX}").into()
}

/// The base offset that a file's name says, if it is a segment's.
pub fn base_of_name(name: &str) -> Option<Offset> {
    base_of(name, SEGMENT_SUFFIX)
}

/// The base offset in a name that ends with `suffix`.
pub fn base_of(name: &str, suffix: &str) -> Option<Offset> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

pub const SEGMENT_SUFFIX: &str = ".log";

/// A deleted segment waits under its name and this for `file.delete.delay.ms`.
pub const DELETED_SUFFIX: &str = ".deleted";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        assert_eq!(&*segment_path("t-0", 170), "t-0/00000000000000000170.log");
        assert_eq!(base_of_name("00000000000000000170.log"), Some(170));
        for other in [
            "170.log",
            "00000000000000000170.index",
            "00000000000000000170.log.deleted",
            "9999999999999999999x.log",
        ] {
            assert_eq!(base_of_name(other), None, "{other}");
        }
        assert_eq!(base_of_name("99999999999999999999.log"), None);
    }
}
