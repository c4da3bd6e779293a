//! The recovery point: what a log knows of its own files, so that a start need not scan them from their beginnings, and what
//! nothing else knows: a start that was raised by DeleteRecords, the producers of segments that are deleted, how far records
//! were acknowledged, and that some of them were lost.
//!
//! What only it knows is evidence, so it is there twice: a flipped bit or a lost sector of one copy leaves the other. When
//! both are damaged, or a newer version wrote them, the log is offline until somebody decides
//! ([`check_recovery_point`]); it is never rebuilt with that loss.
//!
//! Its size does not depend on the log's: closed segments are in their own index files
//! ([`segment_index`](super::segment_index)), which are on the device before a recovery point that does not name them.
//!
//! `tidemill.recovery` in the partition's folder, replaced atomically: two equal copies, each padded with zeros to a multiple
//! of 4096 bytes. A copy, little-endian:
//!
//! ```text
//!   0   4B   magic "TMRP"
//!   4   u16  version 2
//!   6   u16  flags: bit 0 the log is read-only, because acknowledged records at its end were lost;
//!            bit 1 it has gaps between offsets that are no damage
//!   8   u32  CRC-32 (crc32fast) of all other bytes of this copy, its padding left out
//!  12   u32  bytes of this copy, its padding left out
//!  16   16B  topic id
//!  32   i32  partition
//!  36   i64  log start
//!  44   i64  applied: the next offset that is not in the segments
//!  52   i64  state end: epochs, timestamps and producers are those of the log up to here; all of it was durable when the
//!            file was written
//!  60   u32  epochs; for each: i32 epoch, i64 first offset
//!       u32  damaged ranges; for each: i64 first offset, i64 the offset after the last
//!       u32  segments that have applied batches and are not closed; each as in an index file
//!       rest producers, see `Producers::encode`
//! ```
//!
//! Version 1 is read: one copy without padding and without its length, whose checksum leaves out the first 12 bytes; it names
//! every segment up to the one with the last applied batch, without what follows and without the prefixes' sum. Since only a
//! scan finds that sum, the segments are scanned once.

use std::fmt;
use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::types::{BLOCK_BYTES, LogId, Now, Offset, Uuid};

use super::Log;
use super::epochs::{EpochStart, Epochs};
use super::producers::Producers;
use super::segment::prefix_crc;
use super::segment_index::{self, SegmentState, StoredError};

/// The file's name in the partition's folder.
pub const RECOVERY_POINT: &str = "tidemill.recovery";

const MAGIC: &[u8; 4] = b"TMRP";
const VERSION: u16 = 2;
const FLAG_READ_ONLY: u16 = 1;
const FLAG_GAPS: u16 = 2;
/// Where a copy's own length is, and where what it says begins.
const LENGTH_AT: usize = 12;
const BODY_AT: usize = 16;

/// One to be written once the log is flushed up to `needs_durable`: first what [`Log::index_file`] gives for each of
/// `indexes`, then the content to [`RecoveryPoint::path`]; then [`Log::recovery_point_saved`].
#[derive(Clone, Debug)]
pub struct RecoveryPoint {
    /// Closed segments that have no index file yet, by base offset: the content names none of them.
    pub indexes: Vec<Offset>,
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
        let indexes = (0..self.segments.len())
            .filter(|i| self.is_closed_segment(*i) && !self.segments[*i].indexed)
            .map(|i| self.segments[i].base)
            .collect();
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
            indexes,
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

    /// It is complete in its file and will not change.
    fn is_closed_segment(&self, i: usize) -> bool {
        i + 1 < self.segments.len() && self.segments[i].exact
    }

    /// The index file of a closed segment: its path and its content. None when the segment was deleted meanwhile.
    pub fn index_file(&self, base: Offset) -> Option<(String, Bytes)> {
        let i = self.segments.iter().position(|segment| segment.base == base)?;
        let following = self.segments.get(i + 1).map(|following| following.base);
        let path = segment_index::index_path(&super::segment::segment_path(&self.dir, base));
        let state = SegmentState::of(&self.segments[i], following);
        Some((path, segment_index::encode_index(self.id, &state)))
    }

    /// [`Log::index_file`] is on the device.
    pub fn index_file_saved(&mut self, base: Offset) {
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.base == base) {
            segment.indexed = true;
        }
    }

    /// The file was replaced, or the log was cut meanwhile: another one may be asked for.
    pub fn recovery_point_saved(&mut self, point: &RecoveryPoint) {
        self.saving.is_under_way = false;
        if self.recovery_point_holds(point) {
            self.producers_saved = point.needs_durable;
            self.start_is_durable(point.start);
        }
    }

    /// A recovery point is saved: files (paths) that are to be removed, which say that Kafka was here since the one before.
    pub fn take_kafka_indexes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.kafka_indexes)
    }

    /// The file was not replaced: what it would have said is still to be said, control frames among it.
    pub fn recovery_point_failed(&mut self, now: Now, point: &RecoveryPoint) {
        self.saving.is_under_way = false;
        self.saving.is_changed = true;
        self.saving.control |= point.has_control;
        self.saving.retry_at_us = now.mono_us + RETRY_US;
    }

    fn encode_point(&self) -> Bytes {
        let read_only = if self.is_read_only { FLAG_READ_ONLY } else { 0 };
        let gaps = if self.has_gaps { FLAG_GAPS } else { 0 };
        let mut out = segment_index::begin(MAGIC, VERSION, read_only | gaps);
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
        let segments = self.unclosed_segments();
        out.put_u32_le(segments.len() as u32);
        segments.iter().for_each(|segment| segment.encode(&mut out));
        self.producers.encode(&mut out);
        twice(out)
    }

    /// Segments that have applied batches and no index file to come, as far as they are applied.
    fn unclosed_segments(&self) -> Vec<SegmentState> {
        let dirty = self.tail.dirty().next().map(|run| (run.segment_base, run.position));
        let count = match dirty {
            // A segment of which nothing is applied is known from the journal's frames.
            Some((base, position)) => self
                .segments
                .partition_point(|s| s.base < base || s.base == base && position > 0),
            None => self.segments.len(),
        };
        let unclosed = (0..count).filter(|i| !self.is_closed_segment(*i));
        let state = |i: usize| {
            let segment = &self.segments[i];
            let following = self.segments.get(i + 1).map(|following| following.base);
            let mut state = SegmentState::of(segment, following);
            if let Some((base, position)) = dirty.filter(|(base, _)| *base == segment.base) {
                state.next = self.applied;
                state.size = position;
                state.following = None;
                state.index.truncate(position);
                let unapplied = self.tail.dirty().take_while(|run| run.segment_base == base);
                for (_, header) in unapplied.flat_map(|run| run.batches()) {
                    state.prefixes = state.prefixes.wrapping_sub(prefix_crc(&header));
                }
            }
            state
        };
        unclosed.map(state).collect()
    }
}

/// Two copies, each in blocks of its own.
fn twice(mut copy: BytesMut) -> Bytes {
    let length = copy.len() as u32;
    copy[LENGTH_AT..BODY_AT].copy_from_slice(&length.to_le_bytes());
    segment_index::seal(&mut copy);
    copy.resize(copy.len().next_multiple_of(BLOCK_BYTES as usize), 0);
    let second = copy.clone();
    copy.extend_from_slice(&second);
    copy.freeze()
}

/// A decoded recovery point.
#[derive(Debug)]
pub(super) struct Point {
    pub id: LogId,
    pub is_read_only: bool,
    pub has_gaps: bool,
    pub start: Offset,
    pub applied: Offset,
    pub state_end: Offset,
    pub epochs: Epochs,
    pub damage: Vec<Range<Offset>>,
    pub segments: Vec<SegmentState>,
    /// What it says of segments has the sums of their prefixes. Without these it is not put to use: the index files that
    /// follow from it would call healthy segments damaged.
    pub has_prefixes: bool,
    pub producers: Producers,
    /// Why one of the two copies cannot be used.
    pub damaged_copy: Option<StoredError>,
}

/// Whether a recovery point's file may be used for this log. When it may not, nobody knows what only it knows: the log must
/// not be served.
pub fn check_recovery_point(bytes: &[u8], log: LogId) -> Result<(), PointError> {
    match Point::decode(bytes)? {
        point if point.id == log => Ok(()),
        point => Err(PointError::OtherLog { of: point.id }),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PointError {
    #[error(transparent)]
    Stored(#[from] StoredError),
    #[error("it is of log {of}")]
    OtherLog { of: LogId },
}

impl PointError {
    /// That version can read it.
    pub fn is_newer(&self) -> bool {
        matches!(self, PointError::Stored(StoredError::Newer { .. }))
    }
}

/// What a recovery point says, for people.
pub fn describe_recovery_point(bytes: &[u8]) -> Result<String, PointError> {
    Ok(Point::decode(bytes).map(|point| point.to_string())?)
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
            write!(f, "\n{segment}")?;
        }
        for (id, producer) in self.producers.iter() {
            write!(f, "\nproducer {id} {producer}")?;
        }
        if let Some(why) = self.damaged_copy {
            write!(f, "\none of the two copies is damaged: {why}")?;
        }
        Ok(())
    }
}

impl Point {
    pub(super) fn decode(bytes: &[u8]) -> Result<Point, StoredError> {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        match (Point::decode_copy(first), Point::decode_copy(second)) {
            (Ok(point), second) => Ok(Point {
                damaged_copy: second.err(),
                ..point
            }),
            // A newer version may know more than two copies.
            (Err(newer @ StoredError::Newer { .. }), _) | (_, Err(newer @ StoredError::Newer { .. })) => Err(newer),
            (Err(why), Ok(point)) => Ok(Point {
                damaged_copy: Some(why),
                ..point
            }),
            // The file was cut, so that its middle is not where the second copy begins; or it is of version 1.
            (Err(why), Err(_)) => match Point::decode_copy(bytes) {
                Ok(point) => Ok(Point {
                    damaged_copy: Some(StoredError::Crc),
                    ..point
                }),
                Err(_) => Point::decode_version_1(bytes).ok_or(why),
            },
        }
    }

    fn decode_copy(bytes: &[u8]) -> Result<Point, StoredError> {
        let length = bytes.get(LENGTH_AT..BODY_AT).ok_or(StoredError::Magic)?;
        let length = u32::from_le_bytes(length.try_into().expect("4 bytes")) as usize;
        // Nothing but its checksum says that the length is right.
        let copy = bytes.get(..length.max(BODY_AT)).ok_or(StoredError::Crc)?;
        let (flags, body) = segment_index::open(copy, MAGIC, VERSION)?;
        Point::read(&body[BODY_AT - LENGTH_AT..], flags, SegmentState::read).ok_or(StoredError::Content)
    }

    fn decode_version_1(bytes: &[u8]) -> Option<Point> {
        let mut head = bytes.strip_prefix(MAGIC)?;
        let (version, flags) = (head.try_get_u16_le().ok()?, head.try_get_u16_le().ok()?);
        let crc = head.try_get_u32_le().ok()?;
        if version != 1 || crc != crc32fast::hash(head) {
            return None;
        }
        let point = Point::read(head, flags, SegmentState::read_version_1)?;
        Some(Point {
            has_prefixes: false,
            ..point
        })
    }

    fn read(mut bytes: &[u8], flags: u16, read_segment: impl Fn(&mut &[u8]) -> Option<SegmentState>) -> Option<Point> {
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
        let mut segments: Vec<SegmentState> = Vec::new();
        for _ in 0..bytes.try_get_u32_le().ok()? {
            let segment = read_segment(&mut bytes)?;
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
            has_gaps: flags & FLAG_GAPS != 0,
            start,
            applied,
            state_end,
            epochs: epochs.into_iter().collect(),
            damage,
            segments,
            has_prefixes: true,
            producers,
            damaged_copy: None,
        })
    }
}
