//! The recovery point: what a log knows of its own files, so that a start need not scan them from their beginnings.
//!
//! Derived, never evidence: one that is missing or damaged is made again from the segments. `tidemill.recovery` in the
//! partition's folder, replaced atomically, little-endian:
//!
//! ```text
//!   0   4B   magic "TMRP"
//!   4   u16  version 1
//!   6   u16  flags: bit 0 the log is read-only, because acknowledged records at its end were lost
//!   8   u32  CRC-32 (crc32fast) of everything from byte 12
//!  12   16B  topic id
//!  28   i32  partition
//!  32   i64  log start
//!  40   i64  applied: the next offset that is not in the segments
//!  48   i64  state end: epochs, timestamps and producers are those of the log up to here; all of it was durable when the
//!            file was written
//!  56   u32  epochs; for each: i32 epoch, i64 first offset
//!       u32  damaged ranges; for each: i64 first offset, i64 the offset after the last
//!       u32  segments, up to the one with the last applied batch; for each:
//!            i64 base, i64 next offset, u64 bytes, i64 max timestamp, i64 its batch's base offset,
//!            i64 first timestamp (i64::MIN for none), i64 begun at (when no batch has a timestamp: the arrival of the newest), u64 index spacing,
//!            u32 index entries; for each: u32 offset delta, u32 position, i64 max timestamp before
//!       rest producers, see `Producers::encode`
//! ```

use std::fmt;
use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::types::{LogId, Now, Offset, Position, Uuid};

use super::Log;
use super::epochs::{EpochStart, Epochs};
use super::index::{ENTRIES_MAX, Index, IndexEntry};
use super::producers::Producers;

/// The file's name in the partition's folder.
pub const RECOVERY_POINT: &str = "tidemill.recovery";

const MAGIC: &[u8; 4] = b"TMRP";
const VERSION: u16 = 1;
const FLAG_READ_ONLY: u16 = 1;
const CRC_FROM: usize = 12;

/// One to be written: to [`RecoveryPoint::path`], once the log is flushed up to `needs_durable`; then
/// [`Log::recovery_point_saved`].
#[derive(Clone, Debug)]
pub struct RecoveryPoint {
    pub path: String,
    pub content: Bytes,
    /// What it says of producers and epochs holds only if the records up to here survive.
    pub needs_durable: Offset,
    /// The log start and epochs in it: frames of the journal that say the same are settled by it.
    pub start: Offset,
    has_control: bool,
    generation: u64,
}

/// When the next one is due.
#[derive(Debug)]
pub(super) struct Saving {
    saved_at_us: u64,
    /// Appended since.
    bytes: u64,
    /// Size of the last one: a large one is saved less often, so that it never costs more than a part of the log itself.
    size_bytes: u64,
    is_changed: bool,
    /// A log start, an epoch or a cut is in the journal only.
    control: bool,
    is_under_way: bool,
    /// The last one failed: none before this time.
    retry_at_us: u64,
}

/// 16 MiB or 10 s of change.
const DUE_BYTES: u64 = 16 * 1024 * 1024;
const DUE_US: u64 = 10_000_000;
/// How long after one that could not be written.
const RETRY_US: u64 = 10_000_000;
/// How many times its own size must change before a recovery point is saved again.
const DUE_FACTOR: u64 = 16;
/// For each of these bytes of its size it is saved once in ten seconds less often.
const DUE_SIZE_BYTES: u64 = 256 * 1024;

impl Saving {
    pub(super) fn new(now: Now) -> Saving {
        Saving {
            saved_at_us: now.mono_us,
            bytes: 0,
            size_bytes: 0,
            is_changed: false,
            control: false,
            is_under_way: false,
            retry_at_us: 0,
        }
    }

    pub(super) fn note_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    pub(super) fn note_applied(&mut self) {
        self.is_changed = true;
    }

    pub(super) fn note_control(&mut self) {
        self.is_changed = true;
        self.control = true;
    }
}

impl Log {
    /// Whether a recovery point is to be saved now. (Also save one when closing, and to settle a control frame early.)
    pub fn recovery_point_due(&self, now: Now) -> bool {
        let saving = &self.saving;
        if saving.is_under_way || !saving.is_changed || now.mono_us < saving.retry_at_us {
            return false;
        }
        let waited_us = now.mono_us.saturating_sub(saving.saved_at_us);
        self.deletion_waits()
            || saving.bytes >= DUE_BYTES.max(DUE_FACTOR * saving.size_bytes)
            || waited_us >= DUE_US * (1 + saving.size_bytes / DUE_SIZE_BYTES)
    }

    /// Something that the last recovery point does not say: saving one makes a start faster, or settles a control frame.
    pub fn recovery_point_outdated(&self) -> bool {
        self.saving.is_changed
    }

    /// A log start or an epoch that only the journal knows.
    pub fn has_unsaved_control(&self) -> bool {
        self.saving.control
    }

    /// Whether a recovery point would settle a control frame, and the last one did not just fail.
    pub fn may_settle_control(&self, now: Now) -> bool {
        self.saving.control && self.may_save(now)
    }

    /// The last one did not just fail.
    pub fn may_save(&self, now: Now) -> bool {
        now.mono_us >= self.saving.retry_at_us
    }

    /// One is being saved, or waits for its records to be durable.
    pub fn is_saving(&self) -> bool {
        self.saving.is_under_way
    }

    /// The log as it is now. Also lets go of memory shared with others, since a log that saves is idle or writes much.
    pub fn recovery_point(&mut self, now: Now) -> RecoveryPoint {
        assert!(!self.is_unread, "{}: nobody knows what its files hold", self.name);
        self.tail.settle();
        let content = self.encode_point();
        let has_control = self.saving.control;
        self.saving = Saving {
            saved_at_us: now.mono_us,
            bytes: 0,
            size_bytes: content.len() as u64,
            is_changed: false,
            control: false,
            is_under_way: true,
            retry_at_us: 0,
        };
        RecoveryPoint {
            path: self.recovery_point_path(),
            content,
            needs_durable: self.end(),
            start: self.start,
            has_control,
            generation: self.generation,
        }
    }

    pub(super) fn recovery_point_path(&self) -> String {
        format!("{}/{RECOVERY_POINT}", self.dir)
    }

    /// False when the log was cut meanwhile: it must not be written any more.
    pub fn recovery_point_holds(&self, point: &RecoveryPoint) -> bool {
        point.generation == self.generation
    }

    /// The file was replaced, or the log was cut meanwhile: another one may be asked for.
    pub fn recovery_point_saved(&mut self, point: &RecoveryPoint) {
        self.saving.is_under_way = false;
        if self.recovery_point_holds(point) {
            self.producers_saved = point.needs_durable;
            self.start_is_durable(point.start);
        }
    }

    /// The file was not replaced: what it would have said is still to be said, control frames among it.
    pub fn recovery_point_failed(&mut self, now: Now, point: &RecoveryPoint) {
        self.saving.is_under_way = false;
        self.saving.is_changed = true;
        self.saving.control |= point.has_control;
        self.saving.retry_at_us = now.mono_us + RETRY_US;
    }

    fn encode_point(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(4096);
        out.put_slice(MAGIC);
        out.put_u16_le(VERSION);
        out.put_u16_le(if self.is_read_only { FLAG_READ_ONLY } else { 0 });
        out.put_u32_le(0);
        out.put_slice(&self.id.topic.0);
        out.put_i32_le(self.id.partition);
        out.put_i64_le(self.start);
        out.put_i64_le(self.applied);
        out.put_i64_le(self.end());
        out.put_u32_le(self.epochs.entries().len() as u32);
        for entry in self.epochs.entries() {
            out.put_i32_le(entry.epoch);
            out.put_i64_le(entry.start);
        }
        out.put_u32_le(self.damage.len() as u32);
        for range in &self.damage {
            out.put_i64_le(range.start);
            out.put_i64_le(range.end);
        }
        let dirty = self.tail.dirty().next().map(|run| (run.segment_base, run.position));
        let count = match dirty {
            // A segment of which nothing is applied is known from the journal's frames.
            Some((base, position)) => self
                .segments
                .partition_point(|s| s.base < base || s.base == base && position > 0),
            None => self.segments.len(),
        };
        out.put_u32_le(count as u32);
        for segment in self.segments.range(..count) {
            let (next, size) = match dirty {
                Some((base, position)) if base == segment.base => (self.applied, position),
                _ => (segment.next, segment.size),
            };
            out.put_i64_le(segment.base);
            out.put_i64_le(next);
            out.put_u64_le(size);
            out.put_i64_le(segment.max_timestamp);
            out.put_i64_le(segment.max_timestamp_offset);
            out.put_i64_le(segment.first_timestamp.unwrap_or(i64::MIN));
            out.put_i64_le(segment.begun_ms());
            out.put_u64_le(segment.index.spacing_bytes());
            let entries = segment.index.entries();
            let entries = &entries[..entries.partition_point(|entry| (entry.position as Position) < size)];
            out.put_u32_le(entries.len() as u32);
            for entry in entries {
                out.put_u32_le(entry.offset_delta);
                out.put_u32_le(entry.position);
                out.put_i64_le(entry.max_timestamp_before);
            }
        }
        self.producers.encode(&mut out);
        let crc = crc32fast::hash(&out[CRC_FROM..]);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out.freeze()
    }
}

/// A decoded recovery point.
#[derive(Debug)]
pub(super) struct Point {
    pub id: LogId,
    pub is_read_only: bool,
    pub start: Offset,
    pub applied: Offset,
    pub state_end: Offset,
    pub epochs: Epochs,
    pub damage: Vec<Range<Offset>>,
    pub segments: Vec<PointSegment>,
    pub producers: Producers,
}

#[derive(Debug)]
pub(super) struct PointSegment {
    pub base: Offset,
    pub next: Offset,
    pub size: Position,
    pub max_timestamp: i64,
    pub max_timestamp_offset: Offset,
    pub first_timestamp: Option<i64>,
    pub created_ms: i64,
    pub index: Index,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PointError {
    #[error("it is not a recovery point")]
    Magic,
    #[error("it was written by a newer version of Tidemill (format {version}, this one reads 1)")]
    Newer { version: u16 },
    #[error("its checksum is wrong")]
    Crc,
    #[error("its content contradicts itself")]
    Content,
}

/// What a recovery point says, for people.
pub fn describe_recovery_point(bytes: &[u8]) -> Result<String, PointError> {
    Point::decode(bytes).map(|point| point.to_string())
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "log {} start {} applied {} state end {}{}",
            self.id,
            self.start,
            self.applied,
            self.state_end,
            if self.is_read_only { ", read-only" } else { "" }
        )?;
        for EpochStart { epoch, start } in self.epochs.entries() {
            write!(f, "\nepoch {epoch} from {start}")?;
        }
        for range in &self.damage {
            write!(f, "\ndamaged {}..{}", range.start, range.end)?;
        }
        for segment in &self.segments {
            write!(
                f,
                "\nsegment {:020} up to {}, {} bytes, newest timestamp {} in the batch at {}, {} index entries",
                segment.base,
                segment.next,
                segment.size,
                segment.max_timestamp,
                segment.max_timestamp_offset,
                segment.index.entries().len()
            )?;
        }
        for (id, producer) in self.producers.iter() {
            write!(f, "\nproducer {id} {producer}")?;
        }
        Ok(())
    }
}

impl Point {
    pub(super) fn decode(bytes: &[u8]) -> Result<Point, PointError> {
        if bytes.len() < CRC_FROM || &bytes[..4] != MAGIC {
            return Err(PointError::Magic);
        }
        let mut head = &bytes[4..CRC_FROM];
        let (version, flags, crc) = (head.get_u16_le(), head.get_u16_le(), head.get_u32_le());
        if version != VERSION {
            return Err(PointError::Newer { version });
        }
        if crc != crc32fast::hash(&bytes[CRC_FROM..]) {
            return Err(PointError::Crc);
        }
        Point::read(&bytes[CRC_FROM..], flags).ok_or(PointError::Content)
    }

    fn read(mut bytes: &[u8], flags: u16) -> Option<Point> {
        let mut topic = [0; 16];
        bytes.try_copy_to_slice(&mut topic).ok()?;
        let partition = bytes.try_get_i32_le().ok()?;
        let start = bytes.try_get_i64_le().ok()?;
        let applied = bytes.try_get_i64_le().ok()?;
        let state_end = bytes.try_get_i64_le().ok()?;
        let mut epochs = Vec::new();
        // No count reserves memory: a false one ends at the end of the bytes.
        for _ in 0..bytes.try_get_u32_le().ok()? {
            let epoch = bytes.try_get_i32_le().ok()?;
            let start = bytes.try_get_i64_le().ok()?;
            epochs.push(EpochStart { epoch, start });
        }
        let mut damage = Vec::new();
        for _ in 0..bytes.try_get_u32_le().ok()? {
            let start = bytes.try_get_i64_le().ok()?;
            damage.push(start..bytes.try_get_i64_le().ok()?);
        }
        let mut segments: Vec<PointSegment> = Vec::new();
        for _ in 0..bytes.try_get_u32_le().ok()? {
            let segment = PointSegment::read(&mut bytes)?;
            let follows = segments
                .last()
                .is_none_or(|last| last.next <= segment.base && last.base < segment.base);
            if !follows || segment.next > applied {
                return None;
            }
            segments.push(segment);
        }
        let mut at = 0;
        let producers = Producers::decode(bytes, &mut at).ok()?;
        let is_sane = at == bytes.len() && start >= 0 && (0..=state_end).contains(&applied);
        is_sane.then_some(Point {
            id: LogId {
                topic: Uuid(topic),
                partition,
            },
            is_read_only: flags & FLAG_READ_ONLY != 0,
            start,
            applied,
            state_end,
            epochs: epochs.into_iter().collect(),
            damage,
            segments,
            producers,
        })
    }
}

impl PointSegment {
    fn read(bytes: &mut &[u8]) -> Option<PointSegment> {
        let base = bytes.try_get_i64_le().ok()?;
        let next = bytes.try_get_i64_le().ok()?;
        let size = bytes.try_get_u64_le().ok()?;
        let max_timestamp = bytes.try_get_i64_le().ok()?;
        let max_timestamp_offset = bytes.try_get_i64_le().ok()?;
        let first_timestamp = Some(bytes.try_get_i64_le().ok()?).filter(|&first| first != i64::MIN);
        let created_ms = bytes.try_get_i64_le().ok()?;
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
        Some(PointSegment {
            base,
            next,
            size,
            max_timestamp,
            max_timestamp_offset,
            first_timestamp,
            created_ms,
            index: Index::restore(entries, spacing_bytes)?,
        })
    }
}
