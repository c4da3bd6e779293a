//! At a start: closed segments that need not be scanned, because their index files or the recovery point say what they are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::types::{Entry, FileIds, Offset};

use super::point::Point;
use super::recover::Recovering;
use super::segment::{SEGMENT_SUFFIX, base_of, segment_path};
use super::segment_index::{INDEX_SUFFIX, SegmentState, base_of_index, decode_index, index_path};

/// Index files that are read at the same time.
const INDEXES_AT_ONCE: usize = 32;

/// What is known of segments before any of them is read, and how far it was put to use.
#[derive(Debug, Default)]
pub(super) struct Closed {
    /// Segments that have an index file.
    names: BTreeSet<Offset>,
    /// Index files that are still to be read.
    unread: Vec<Offset>,
    /// What those say that could be used.
    indexes: BTreeMap<Offset, SegmentState>,
    /// What the recovery point says.
    named: BTreeMap<Offset, SegmentState>,
    /// Segments below what the recovery point calls applied, in order, that are not in the log yet.
    queue: VecDeque<Offset>,
    /// The last of them, when the recovery point names it: what was applied since is scanned.
    resume: Option<SegmentState>,
    /// The recovery point's applied offset, until all of them are in the log.
    applied: Option<Offset>,
    /// Where the last one that was put in its place says that the next begins.
    following: Option<Offset>,
    /// Segments that had to be scanned.
    scanned: u64,
}

impl Closed {
    /// An entry of the folder: true when it is an index file.
    pub fn list(&mut self, name: &str) -> bool {
        let base = base_of_index(name);
        self.names.extend(base);
        base.is_some()
    }

    /// Some segment has an index file.
    pub fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// What the recovery point calls applied, while its segments are not all in the log.
    pub fn applied(&self) -> Offset {
        self.applied.unwrap_or(0)
    }

    /// How many had to be scanned.
    pub fn scanned(&self) -> u64 {
        self.scanned
    }

    /// The first offset of the segments that are not in the log yet.
    pub fn offset_behind(&self) -> Option<Offset> {
        let resume = self.resume.as_ref().map(|state| state.base);
        self.queue.front().copied().or(resume)
    }
}

/// Kafka's own index files. Kafka makes them for every segment when it opens a log, and makes those anew that are missing.
const KAFKA_INDEX_SUFFIX: &str = ".index";
const KAFKA_TIME_INDEX_SUFFIX: &str = ".timeindex";

/// Whether Kafka opened this folder since we did: with the first recovery point, Kafka's index of the segment that we go on to
/// write is removed, since Kafka could not rely on it any more.
pub fn was_opened_by_kafka(entries: &[Entry]) -> bool {
    let segments = entries.iter().filter_map(|entry| base_of(&entry.name, SEGMENT_SUFFIX));
    let last = segments.max().map(|base| format!("{base:020}{KAFKA_INDEX_SUFFIX}"));
    last.is_some_and(|last| entries.iter().any(|entry| entry.name == last))
}

/// What [`ReplaceFile`](crate::log) leaves of an index file when the power fails.
pub(super) fn is_index_in_the_making(name: &str) -> bool {
    name.strip_suffix(".tmp")
        .is_some_and(|name| name.ends_with(INDEX_SUFFIX))
}

impl Recovering {
    /// Which index files to read: those of segments that are there.
    pub(super) fn want_indexes(&mut self) {
        if self.cut.is_some() || self.opened_by_kafka {
            // Segments may not be what they were.
            return;
        }
        let names = self.closed.names.iter().copied();
        self.closed.unread = names.filter(|base| self.file_bytes.contains_key(base)).collect();
    }

    /// The next index files to read, by path.
    pub(super) fn unread_indexes(&self) -> Vec<String> {
        let bases = self.closed.unread.iter().take(INDEXES_AT_ONCE);
        bases
            .map(|base| index_path(&segment_path(&self.log.dir, *base)))
            .collect()
    }

    /// The answer to [`RecoveryStep::ReadIndexes`](super::RecoveryStep::ReadIndexes), in its order. None for a file that could
    /// not be read: its segment is scanned.
    pub fn indexes_read(&mut self, contents: Vec<Option<Bytes>>, files: &mut FileIds) {
        let bases: Vec<Offset> = self.closed.unread.drain(..contents.len()).collect();
        for (base, content) in bases.into_iter().zip(contents) {
            let decoded = content.and_then(|content| decode_index(&content).ok());
            if let Some((_, state)) = decoded.filter(|(id, state)| *id == self.log.id && state.base == base) {
                self.closed.indexes.insert(base, state);
            }
        }
        if self.closed.unread.is_empty() {
            self.next_segment(files);
        }
    }

    /// Takes from the recovery point what only it knows, and which segments are to be put in their places.
    pub(super) fn prepare_at_point(&mut self, point: Point) {
        self.is_from_point = true;
        self.state_end = point.state_end;
        self.log.epochs = point.epochs;
        self.log.producers = point.producers;
        self.log.producers_saved = point.state_end;
        self.log.segments.clear();
        self.frames.retain(|frame| frame.last_offset >= point.applied);
        let mut named: BTreeMap<Offset, SegmentState> = BTreeMap::new();
        named.extend(point.segments.into_iter().map(|state| (state.base, state)));
        let mut bases: BTreeSet<Offset> = named.keys().copied().collect();
        if !point.has_prefixes {
            named.clear();
        }
        bases.extend(self.file_bytes.keys().copied().filter(|base| *base < point.applied));
        let mut all: Vec<Offset> = bases
            .union(&self.file_bytes.keys().copied().collect())
            .copied()
            .collect();
        // Deleted, their producers saved: the power failed before their names were gone. What was deleted since is scanned for
        // its producers.
        all.retain(|base| *base <= self.log.start.min(point.state_end));
        let deleted = all.windows(2).map(|pair| pair[0]);
        for base in deleted {
            bases.remove(&base);
            named.remove(&base);
            if self.file_bytes.contains_key(&base) {
                self.remove_segments(vec![base]);
            }
        }
        let last = bases.last().copied();
        self.unvisited = self.file_bytes.clone();
        self.unvisited.retain(|base, _| last.is_none_or(|last| *base > last));
        let resume = last.and_then(|last| named.remove(&last));
        if let Some(state) = resume {
            bases.remove(&state.base);
            let bytes = self.file_bytes.get(&state.base).copied().unwrap_or(0);
            // Shorter, it is below the log's start: whoever trusted the recovery point has seen to that.
            self.closed.resume = (bytes >= state.size).then_some(state);
        }
        self.closed.queue = bases.into_iter().collect();
        self.closed.named = named;
        self.closed.applied = Some(point.applied);
        let first = self.closed.offset_behind();
        self.next = first.map_or(point.applied, |first| first.min(self.log.start));
    }

    /// Kafka wrote to the log since the recovery point was saved: it holds for what is below, and the segments are what they
    /// are by now. Kafka has taken over whatever was to be said of their end.
    pub(super) fn prepare_behind_kafka(&mut self, point: Option<Point>) {
        if let Some(point) = point {
            self.log.start = self.log.start.max(point.start);
            self.state_end = point.state_end;
            self.log.epochs = point.epochs;
            self.log.producers = point.producers;
            self.log.has_gaps = point.has_gaps;
        }
        self.prepare_at_first();
    }

    /// Puts the known segments in their places, up to one that has to be scanned. True when a scan was begun.
    pub(super) fn place_closed(&mut self, files: &mut FileIds) -> bool {
        while let Some(base) = self.closed.queue.pop_front() {
            let named = self.closed.named.remove(&base);
            let Some(bytes) = self.file_bytes.get(&base).copied() else {
                // Only the recovery point spoke of it.
                if let Some(state) = named {
                    self.missing(state.base, state.next);
                    self.next = state.next;
                }
                continue;
            };
            let is_known = named.is_some() || self.closed.indexes.contains_key(&base);
            if bytes == 0 && !is_known {
                self.remove_segments(vec![base]);
                continue;
            }
            if base < self.next {
                // It has no place in the log, and a start before this one said so.
                continue;
            }
            self.check_gap(base);
            let indexed = named.is_none();
            let Some(state) = named.or_else(|| self.closed.indexes.remove(&base)) else {
                self.closed.scanned += 1;
                self.next = base;
                let mut segment = self.new_segment(base);
                segment.created = true;
                self.log.segments.push_back(segment);
                self.scan_segment(base, 0, files);
                return true;
            };
            if bytes < state.size {
                self.short(base, bytes, state.size);
            }
            self.next = state.next;
            self.closed.following = state.following;
            self.put_segment(state, files);
            let segment = self.log.active_mut();
            segment.created = true;
            segment.exact = true;
            segment.indexed = indexed;
        }
        let applied = self.closed.applied.take();
        let Some(state) = self.closed.resume.take() else {
            if let Some(applied) = applied {
                // The last of them may have been scanned, and end early.
                self.check_gap(applied);
                self.next = self.next.max(applied);
            }
            return false;
        };
        self.check_gap(state.base);
        self.next = applied.unwrap_or(state.next);
        let (base, from) = (state.base, state.size);
        self.put_segment(state, files);
        self.log.active_mut().created = self.file_bytes.contains_key(&base);
        self.scan_segment(base, from, files);
        true
    }

    fn put_segment(&mut self, state: SegmentState, files: &mut FileIds) {
        let mut segment = self.new_segment(state.base);
        segment.open(files);
        segment.next = state.next;
        segment.size = state.size;
        segment.written = state.size;
        segment.index = state.index;
        segment.max_timestamp = state.max_timestamp;
        segment.max_timestamp_offset = state.max_timestamp_offset;
        segment.first_timestamp = state.first_timestamp;
        segment.restore_begun(state.created_ms);
        segment.prefixes = state.prefixes;
        self.log.segments.push_back(segment);
    }

    /// Between the segment that was placed last, or the log's start, and the one at `base` a file may be missing.
    fn check_gap(&mut self, base: Offset) {
        let following = self.closed.following.take();
        let expected = following.unwrap_or(self.next);
        if expected >= base {
            return;
        }
        // In a log that is not dense only an index file says which segment followed.
        match following.is_some() || self.is_dense() {
            true => self.missing(expected, base),
            false => self.log.has_gaps = true,
        }
    }

    fn missing(&mut self, from: Offset, to: Offset) {
        self.lost(from..to, format!("the segment that holds offset {from} is missing"));
    }

    /// The last segment of the log so far was scanned to its end, though it has an index file: is it what it was?
    pub(super) fn compare_with_index(&mut self) {
        let segment = self.log.active();
        let Some(state) = self.closed.indexes.remove(&segment.base) else {
            return;
        };
        let (base, next) = (segment.base, segment.next.max(state.next));
        let is_damaged = |range: &std::ops::Range<Offset>| range.start < next && base < range.end;
        if state.size != segment.size || self.log.damage.iter().any(is_damaged) {
            return;
        }
        if state.next == segment.next && state.prefixes == segment.prefixes {
            let segment = self.log.active_mut();
            segment.restore_begun(state.created_ms);
            segment.indexed = true;
            return;
        }
        self.is_damaged = true;
        self.report.push(format!(
            "segment {base:020}.log is not what it was when it was closed: an offset, a length or a leader epoch of one of its \
             batches changed, which no checksum of the batch covers"
        ));
    }

    /// The end of the recovery: index files that do not speak of a segment as it is now are removed; others follow.
    pub(super) fn settle_indexes(&mut self) {
        for base in std::mem::take(&mut self.closed.names) {
            let is_of = |segment: &&super::Segment| segment.base == base && segment.indexed;
            if !self.log.segments.iter().any(|segment| is_of(&segment)) {
                self.remove.push(index_path(&segment_path(&self.log.dir, base)));
            }
        }
        let last = self.log.segments.back().filter(|_| self.opened_by_kafka);
        if let Some(last) = last {
            let stem = format!("{}/{:020}", self.log.dir, last.base);
            let indexes = [KAFKA_INDEX_SUFFIX, KAFKA_TIME_INDEX_SUFFIX];
            self.log.kafka_indexes = indexes.map(|suffix| format!("{stem}{suffix}")).to_vec();
        }
        if self.closed.scanned > 0 && self.cut.is_none() {
            self.report.push(format!(
                "{} closed segments had no index file that could be used: they were scanned, and it is written again",
                self.closed.scanned
            ));
        }
    }
}
