//! What may go: by time, by size, by log start; a segment at a time, never the active one.

use crate::config::CleanupPolicy;
use crate::types::{File, Now, Offset};

use super::Log;

impl Log {
    /// The log start that `retention.ms` and `retention.bytes` ask for, when it is above the present one. Counts only what is
    /// below the high watermark. When even the active segment is to go, a new one is begun first. Nothing goes from a topic
    /// whose policy is another, and nothing for its age by a clock that is not believed.
    pub fn retention(&mut self, now: Now, is_clock_believed: bool, high_watermark: Offset) -> Option<Offset> {
        if self.config.cleanup_policy != CleanupPolicy::Delete {
            return None;
        }
        let by_time = if is_clock_believed { self.expired(now) } else { 0 };
        let by_size = self.oversized();
        let below = self
            .segments
            .iter()
            .take_while(|segment| segment.next <= high_watermark)
            .count();
        let mut count = by_time.max(by_size).min(below);
        if count == self.segments.len() {
            if self.active().size > 0 {
                self.roll(now);
            } else {
                count -= 1;
            }
        }
        let start = self.segments[count].base;
        (start > self.start).then_some(start)
    }

    /// How many segments at the front have no record younger than `retention.ms`.
    fn expired(&self, now: Now) -> usize {
        let Some(retention_ms) = self.config.retention_ms else {
            return 0;
        };
        let old = |segment: &&super::Segment| now.wall_ms.saturating_sub(segment.newest_ms()) > retention_ms;
        self.segments.iter().take_while(old).count()
    }

    /// How many segments at the front can go and leave at least `retention.bytes`.
    fn oversized(&self) -> usize {
        let Some(limit) = self.config.retention_bytes.and_then(|bytes| u64::try_from(bytes).ok()) else {
            return 0;
        };
        let Some(mut excess) = self.size_bytes().checked_sub(limit) else {
            return 0;
        };
        let fits = |segment: &&super::Segment| match excess.checked_sub(segment.size) {
            Some(left) => {
                excess = left;
                true
            }
            None => false,
        };
        self.segments.iter().take_while(fits).count()
    }

    /// The log starts at `offset` now; it goes to the journal as a frame, and is settled by the next recovery point. False
    /// when it starts there or later already.
    ///
    /// # Panics
    /// When `offset` is above the durable end: the caller answers OFFSET_OUT_OF_RANGE above the high watermark.
    pub fn raise_start(&mut self, offset: Offset) -> bool {
        assert!(
            offset <= self.durable,
            "{}: a start at {offset} above {}",
            self.name,
            self.durable
        );
        if offset <= self.start {
            return false;
        }
        self.start = offset;
        self.epochs.truncate_start(offset);
        self.damage.retain(|range| range.end > offset);
        self.saving.note_control();
        true
    }

    /// The journal's frame that says so is on the device.
    pub fn start_is_durable(&mut self, start: Offset) {
        self.durable_start = self.durable_start.max(start);
    }

    /// Segments that are not wanted any more, at most `max` of them. They are gone from the log; their files are to be renamed
    /// (see [`DELETED_SUFFIX`](super::DELETED_SUFFIX)) and, after `file.delete.delay.ms`, removed.
    pub fn take_deleted(&mut self, max: usize) -> Vec<File> {
        let mut files = Vec::new();
        while files.len() < max && self.first_is_deleted() && self.first_is_saved() {
            let (first, second) = (&self.segments[0], &self.segments[1]);
            // The next segment's name keeps the log's place, so it must be there first.
            if self.in_flight == Some(first.base) || !second.created {
                break;
            }
            let first = self.segments.pop_front().expect("there are two");
            if first.created {
                files.extend(first.file());
            }
            self.tail.drop_below(self.segments[0].base);
        }
        self.raise_applied();
        files
    }

    /// A recovery point would let [`Log::take_deleted`] go on: it has the producers of the segment's batches, so that one that
    /// is sent again is known after a crash too. (In Kafka their snapshots see to that.)
    pub fn deletion_waits(&self) -> bool {
        self.first_is_deleted() && !self.first_is_saved()
    }

    /// What waits for a recovery point goes without.
    pub fn delete_unsaved(&mut self) {
        self.producers_saved = self.durable;
    }

    fn first_is_deleted(&self) -> bool {
        self.segments
            .get(1)
            .is_some_and(|second| second.base <= self.durable_start)
    }

    fn first_is_saved(&self) -> bool {
        self.segments[0].next <= self.producers_saved
    }
}
