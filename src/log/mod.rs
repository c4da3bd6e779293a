//! One partition's log. Touches no file: it gives plans, the shard's effects carry them out.
//!
//! | the shard does | the log says what |
//! |---|---|
//! | [`Log::append_leader`], then a journal frame | [`Appended`]: the batch at its place |
//! | [`Log::committed`] when the frame's commit is done | |
//! | [`Log::read`], a disk read, [`Log::finish_read`] or [`Log::missed_read`] | slices of memory, or [`DiskRead`]s until there are whole batches |
//! | [`Log::list_offset`], a disk read or a [`Lookup`] run, and the finish of its kind | the offset, or what to do next |
//! | [`Log::checkpoint`], writes and syncs, [`Log::checkpointed`] | [`CheckpointStep`]: whole blocks for a segment |
//! | [`Log::recovery_point`], files replaced, [`Log::recovery_point_saved`] | what the next start need not scan for |
//! | [`Recovering`] at a start | which blocks to read, then a log and a report; or, without its files, what the journal has |

mod append;
mod checkpoint;
#[cfg(test)]
mod damage_situations;
mod disk_read;
pub mod epochs;
pub mod index;
mod journaled;
mod lookup;
#[cfg(test)]
mod model;
mod place;
mod point;
#[cfg(test)]
mod point_situations;
mod prefix;
pub mod producers;
mod read;
mod recover;
mod recover_closed;
mod retain;
mod segment;
mod segment_index;
pub mod side_files;
#[cfg(test)]
mod situations;
mod tail;
mod truncate;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::config::{CleanupPolicy, TopicConfig};
use crate::types::{LeaderEpoch, LogId, Now, Offset, Position};

use epochs::Epochs;
use producers::Producers;
use read::Hints;
use segment::{Owner, Segment};
use tail::Tail;

pub use append::{AppendError, Appended};
pub use checkpoint::{CheckpointStep, SegmentWrite};
pub use disk_read::DiskRead;
pub use journaled::{Journaled, Replay, ReplayedAppend};
pub use lookup::{Found, ListProgress, Lookup, LookupDone, OffsetSpec};
pub use point::{PointError, RECOVERY_POINT, RecoveryPoint, check_recovery_point, describe_recovery_point};
pub use read::{ReadError, ReadPlan, ReadProgress};
pub use recover::{Recovered, Recovering, RecoveringSeed, RecoveryStep};
pub use recover_closed::was_opened_by_kafka;
pub use segment::DELETED_SUFFIX;
pub use segment_index::{INDEX_SUFFIX, StoredError, describe_segment_index, index_path};
pub use tail::SHARED_BYTES_MAX;
pub use truncate::{Truncation, TruncationPlan};

/// The settings that act on one log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogConfig {
    pub segment_bytes: u64,
    pub segment_ms: i64,
    pub segment_jitter_ms: i64,
    pub index_interval_bytes: u64,
    /// None is for ever.
    pub retention_ms: Option<i64>,
    /// None is without limit.
    pub retention_bytes: Option<i64>,
    /// What retention may take, and whether a gap between offsets is damage: see [`CleanupPolicy`].
    pub cleanup_policy: CleanupPolicy,
}

impl LogConfig {
    /// Every offset is some record's. A log that Kafka compacts has gaps anywhere, and they are no damage.
    pub fn is_dense(&self) -> bool {
        self.cleanup_policy != CleanupPolicy::NotFollowed
    }
}

impl From<&TopicConfig> for LogConfig {
    fn from(topic: &TopicConfig) -> LogConfig {
        LogConfig {
            segment_bytes: topic.segment_bytes,
            segment_ms: topic.segment_ms,
            segment_jitter_ms: topic.segment_jitter_ms,
            index_interval_bytes: topic.index_interval_bytes,
            retention_ms: topic.retention_ms,
            retention_bytes: topic.retention_bytes,
            cleanup_policy: topic.cleanup_policy,
        }
    }
}

/// Invariants:
/// * `start <= end`, `applied <= durable <= end`; only `start` may pass `applied` (records that were deleted before they
///   reached their segment). None of them falls, except in a truncation.
/// * Segments are in offset order, each begins where the one before it ended or later; there is always an active one, the last.
/// * What is not below `applied` is in the tail and is never read from a file.
/// * Every segment before the first that is not `exact` is complete in its file.
#[derive(Debug)]
pub struct Log {
    id: LogId,
    name: Arc<str>,
    dir: Arc<str>,
    config: LogConfig,
    start: Offset,
    /// As far as `start` is on the device: segments below it may go.
    durable_start: Offset,
    applied: Offset,
    durable: Offset,
    segments: VecDeque<Segment>,
    tail: Tail,
    /// Applied bytes of the block in which the next write of a segment starts, when they are not in the tail.
    head: Option<Head>,
    epochs: Epochs,
    producers: Producers,
    /// A recovery point on the device has the producers of what is below, so that their batches are not needed for it.
    producers_saved: Offset,
    hints: Hints,
    /// Changes when batches are cut off: a read planned before it is planned again.
    generation: u64,
    /// The segment that a [`CheckpointStep`] under way writes to.
    in_flight: Option<Offset>,
    /// Files are being cut: nothing is written meanwhile.
    is_cutting: bool,
    is_closing: bool,
    /// Offsets that were acknowledged and cannot be read.
    damage: Vec<Range<Offset>>,
    /// Acknowledged records at the end are lost: nothing may take their offsets.
    is_read_only: bool,
    /// Kafka compacted it: a gap between two offsets is no damage. Otherwise every offset is some record's.
    has_gaps: bool,
    /// This start could not read its files: only what the journal has is here, for the journal to carry. Nobody is served, and
    /// no file is written ([`Recovering::without_files`]).
    is_unread: bool,
    /// The names in the folder are on the device. Those that a start finds may be known to the kernel only: the process
    /// before was killed, and the machine went on.
    is_folder_synced: bool,
    saving: point::Saving,
    /// Kafka's index files of the segment that is written to (paths), until a recovery point is saved; see
    /// [`was_opened_by_kafka`].
    kafka_indexes: Vec<String>,
}

#[derive(Debug)]
struct Head {
    segment_base: Offset,
    position: Position,
    bytes: bytes::Bytes,
}

impl Log {
    /// An empty log whose folder `dir` (relative to the data folder) holds nothing yet.
    pub fn create(id: LogId, name: &str, dir: &str, config: LogConfig, now: Now) -> Log {
        Log::empty_at(id, name.into(), dir.into(), config, 0, now)
    }

    fn empty_at(id: LogId, name: Arc<str>, dir: Arc<str>, config: LogConfig, offset: Offset, now: Now) -> Log {
        let owner = Owner {
            id,
            dir: &dir,
            config: &config,
        };
        let segments = VecDeque::from([Segment::new(&owner, offset, now.wall_ms)]);
        Log {
            id,
            name,
            dir,
            config,
            start: offset,
            durable_start: offset,
            applied: offset,
            durable: offset,
            segments,
            tail: Tail::default(),
            head: None,
            epochs: Epochs::new(),
            producers: Producers::new(),
            producers_saved: offset,
            hints: Hints::default(),
            generation: 0,
            in_flight: None,
            is_cutting: false,
            is_closing: false,
            damage: Vec::new(),
            is_read_only: false,
            has_gaps: false,
            is_unread: false,
            is_folder_synced: true,
            saving: point::Saving::new(now),
            kafka_indexes: Vec::new(),
        }
    }

    pub fn id(&self) -> LogId {
        self.id
    }

    /// `topic-0`, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Relative to the data folder.
    pub fn dir(&self) -> &str {
        &self.dir
    }

    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Acts from the next append, roll and retention on.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// The first offset that may be read.
    pub fn start(&self) -> Offset {
        self.start
    }

    /// Below it everything is in the segments, on the device.
    pub fn applied(&self) -> Offset {
        self.applied
    }

    /// Below it everything survives a crash, as far as the topic's `flush.messages` promises.
    pub fn durable(&self) -> Offset {
        self.durable
    }

    /// The offset that the next record gets.
    pub fn end(&self) -> Offset {
        self.active().next
    }

    /// Of all segments, what is in memory only included.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// In memory until a checkpoint writes them.
    pub fn dirty_bytes(&self) -> usize {
        // No checkpoint frees what an unread log holds: others would wait for it in vain.
        if self.is_unread { 0 } else { self.tail.dirty_bytes() }
    }

    /// In memory for readers; see [`Log::evict_oldest`].
    pub fn cached_bytes(&self) -> usize {
        self.tail.cached_bytes()
    }

    /// Forgets cached bytes, oldest first, until `bytes` are freed or none can be. Returns what was freed.
    pub fn evict_oldest(&mut self, bytes: usize) -> usize {
        let (segment, position) = self.write_start();
        self.tail.evict_oldest(bytes, segment, position)
    }

    /// The start that a frame on the device says; what lies below it may be removed.
    pub fn durable_start(&self) -> Offset {
        self.durable_start
    }

    /// Acknowledged records at the end were lost; every append is refused.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Ranges of acknowledged offsets that cannot be read any more.
    pub fn damage(&self) -> &[Range<Offset>] {
        &self.damage
    }

    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest().map(|latest| latest.epoch)
    }

    /// Enters (`epoch`, log end) before this leader's first append (KIP-101). True when that is new: then it goes to the
    /// journal as a frame, and is settled by the next recovery point.
    pub fn become_leader(&mut self, epoch: LeaderEpoch) -> bool {
        let changed = self.epochs.assign(epoch, self.end());
        if changed {
            self.saving.note_control();
        }
        changed
    }

    /// The journal has the control frames of this log once more, in a carried set: the next recovery point settles them.
    pub fn control_restated(&mut self) {
        self.saving.note_control();
    }

    /// Kafka's answer to OffsetForLeaderEpoch: (-1, -1) when unknown.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        self.epochs.end_offset_for(epoch, self.end())
    }

    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Forgets producers that were idle for `producer.id.expiration.ms`, given in microseconds.
    pub fn expire_producers(&mut self, now: Now, expiration_us: u64) {
        self.producers.expire(now.mono_us, expiration_us);
    }

    pub fn last_stable_offset(&self, high_watermark: Offset) -> Offset {
        self.producers.last_stable_offset(high_watermark)
    }

    /// Transactions that ended below the high watermark hold the last stable offset back no longer.
    pub fn high_watermark_rose(&mut self, high_watermark: Offset) {
        self.producers.forget_ended(high_watermark);
    }

    /// Everything below `offset` is in the journal now, durable as its topic wants it.
    pub fn committed(&mut self, offset: Offset) {
        assert!(
            offset <= self.end(),
            "{}: committed to {offset}, beyond the end {}",
            self.name,
            self.end()
        );
        self.durable = self.durable.max(offset);
    }

    fn active(&self) -> &Segment {
        self.segments.back().expect("there is always an active segment")
    }

    fn active_mut(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("there is always an active segment")
    }

    /// Where the segment that holds `offset`, or the first one after it, is in the list.
    fn segment_of(&self, offset: Offset) -> usize {
        self.segments
            .partition_point(|segment| segment.base <= offset)
            .saturating_sub(1)
    }

    fn roll(&mut self, now: Now) {
        let owner = Owner {
            id: self.id,
            dir: &self.dir,
            config: &self.config,
        };
        let base = self.end();
        let segment = Segment::new(&owner, base, now.wall_ms);
        // An empty segment that nobody has seen is replaced: two files cannot have one name.
        if self.active().size == 0 && self.active().base == base {
            return;
        }
        self.segments.push_back(segment);
    }
}
