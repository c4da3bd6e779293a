//! A log at a start: from its recovery point, its folder, and the journal's frames for it.
//!
//! The recovery point says what the log was when it was saved, and the closed segments' index files what those hold
//! (`recover_closed`); what was applied since is scanned, batch by batch with its CRC, up to the place of the first frame that
//! the journal still has; the frames are the rest. Without a recovery point the scan begins at the first segment. Every step
//! may be repeated: nothing is written here.
//!
//! A batch is held against what surrounds it ([`Place`]), since Kafka's CRC leaves its first bytes bare, and what the journal
//! has outranks what a scan found: no intact frame is dropped.
//!
//! What does not fit together is damage: it is reported in one line, the offsets are kept apart
//! ([`Log::damage`]), what is intact around them stays readable. If acknowledged records at the end are gone, the log is
//! read-only from then on, so that nothing else gets their offsets; removing the recovery point's file accepts the loss.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;

use crate::record::scan::Depth;
use crate::record::{Header, StampedBatch};
use crate::types::{BLOCK_BYTES, Entry, File, FileIds, LeaderEpoch, LogId, Now, OPERATION_BYTES_MAX, Offset, Position};

use super::checkpoint::floor;
use super::disk_read::{Ended, walk};
use super::epochs::EpochStart;
use super::journaled::{Journaled, Replay, ReplayedAppend};
use super::place::{Following, Place, Verdict};
use super::point::Point;
use super::prefix::{Told, tell};
use super::recover_closed::{Closed, is_index_in_the_making, was_opened_by_kafka};
use super::segment::{DELETED_SUFFIX, Owner, Segment, base_of_name};
use super::tail::Incoming;
use super::{Head, Log, LogConfig, RECOVERY_POINT};

/// What is known before anything of the log's own is read.
pub struct RecoveringSeed<'a> {
    pub id: LogId,
    pub name: &'a str,
    pub dir: &'a str,
    pub config: LogConfig,
    pub now: Now,
    /// The recovery point's file, if there is one.
    pub point: Option<Bytes>,
    /// The folder's names.
    pub entries: &'a [Entry],
    /// Where the log starts by Kafka's `log-start-offset-checkpoint`, if [`was_opened_by_kafka`].
    pub kafka_start: Option<Offset>,
    pub journaled: Journaled,
    /// Of the metadata: no record of the log is of a later one.
    pub epoch_max: LeaderEpoch,
    /// This broker never served the folder: a gap in the log may be one that Kafka's compaction left.
    pub may_have_gaps: bool,
    /// A person has accepted the loss of what is damaged: the log takes records again.
    pub accepts_loss: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum RecoveryStep {
    /// Read these small files, in any order, then [`Recovering::indexes_read`].
    ReadIndexes(Vec<String>),
    /// Read this, then [`Recovering::read_done`].
    Read { file: File, position: Position, len: usize },
    /// [`Recovering::finish`].
    Done,
}

/// A log that may be served once `cut` and `remove` are done.
#[derive(Debug)]
pub struct Recovered {
    pub log: Log,
    /// Files with bytes behind the log's end, which nothing may take for batches later: set the size, sync.
    pub cut: Vec<(File, Position)>,
    /// Files that have no place in the log any more (paths); then the folder is to be synced.
    pub remove: Vec<String>,
    /// Files with records that have no place in the log, each with another name to keep it under; then the same.
    pub aside: Vec<(String, String)>,
    /// What was found and done, a line each, for the broker's log. Empty when everything fitted.
    pub report: Vec<String>,
    /// Something acknowledged cannot be read.
    pub is_damaged: bool,
    /// Bytes of segments that were read.
    pub scanned_bytes: u64,
    /// What lies before the recovery point was not scanned.
    pub is_from_point: bool,
    /// One of the recovery point's copies could not be used.
    pub is_copy_damaged: bool,
    /// Closed segments that were scanned, since they had no index file that could be used.
    pub closed_scanned: u64,
}

#[derive(Debug)]
pub struct Recovering {
    pub(super) log: Log,
    now: Now,
    /// Frames that are not below what the recovery point covers, by base offset.
    pub(super) frames: VecDeque<ReplayedAppend>,
    epoch_frames: VecDeque<EpochStart>,
    /// Where the frames leave the log's end.
    journal_end: Offset,
    /// Segment files that are not in the log yet: base offset, bytes.
    pub(super) unvisited: BTreeMap<Offset, u64>,
    /// Sizes of all segment files.
    pub(super) file_bytes: BTreeMap<Offset, u64>,
    /// Epochs and producers cover what is below.
    pub(super) state_end: Offset,
    /// Below this offset everything was acknowledged.
    evidence_end: Offset,
    /// The same, from a list in the journal.
    told_end: Offset,
    /// A truncation frame's offset: below it, and only below, the files are what they were.
    pub(super) cut: Option<Offset>,
    /// The offset after the last batch that was found.
    pub(super) next: Offset,
    scan: Option<Scanning>,
    pub(super) remove: Vec<String>,
    aside: Vec<(String, String)>,
    pub(super) report: Vec<String>,
    pub(super) is_damaged: bool,
    /// The frames moved the start or began an epoch.
    has_control: bool,
    accepts_loss: bool,
    /// Offsets whose frames were damaged: unless they are in the segments they are lost.
    lost: Vec<RangeInclusive<Offset>>,
    may_have_lost: bool,
    epoch_max: LeaderEpoch,
    may_have_gaps: bool,
    scanned_bytes: u64,
    pub(super) is_from_point: bool,
    is_copy_damaged: bool,
    pub(super) closed: Closed,
    pub(super) opened_by_kafka: bool,
}

/// The last segment of the log so far is being read.
#[derive(Debug)]
struct Scanning {
    file: File,
    /// The next batch starts here.
    from: Position,
    /// No batch is looked for from here on.
    limit: Position,
    position: Position,
    len: usize,
    /// `from .. position`, when the batch at `from` is longer than one operation.
    held: Bytes,
}

impl Recovering {
    pub fn new(seed: RecoveringSeed, files: &mut FileIds) -> Recovering {
        let (name, dir): (Arc<str>, Arc<str>) = (seed.name.into(), seed.dir.into());
        let log = Log::empty_at(seed.id, name, dir, seed.config, 0, seed.now);
        let mut recovering = Recovering {
            log,
            now: seed.now,
            frames: VecDeque::new(),
            epoch_frames: VecDeque::new(),
            journal_end: 0,
            unvisited: BTreeMap::new(),
            file_bytes: BTreeMap::new(),
            state_end: 0,
            evidence_end: 0,
            told_end: 0,
            cut: None,
            next: 0,
            scan: None,
            remove: Vec::new(),
            aside: Vec::new(),
            report: Vec::new(),
            is_damaged: false,
            has_control: false,
            accepts_loss: seed.accepts_loss,
            lost: seed.journaled.lost,
            may_have_lost: seed.journaled.may_have_lost,
            epoch_max: seed.epoch_max,
            may_have_gaps: seed.may_have_gaps && seed.point.is_none(),
            scanned_bytes: 0,
            is_from_point: false,
            is_copy_damaged: false,
            closed: Closed::default(),
            opened_by_kafka: was_opened_by_kafka(seed.entries),
        };
        recovering.log.is_folder_synced = seed.entries.is_empty();
        recovering.list(seed.entries);
        // An index file says that we served the folder, whatever became of the ring and the recovery point; and Kafka may have
        // compacted what it opened.
        recovering.may_have_gaps &= !recovering.closed.has_names();
        recovering.may_have_gaps |= recovering.opened_by_kafka;
        recovering.fold(seed.journaled.frames);
        let point = seed.point.and_then(|bytes| recovering.decode(&bytes));
        if recovering.opened_by_kafka {
            recovering.log.start = recovering.log.start.max(seed.kafka_start.unwrap_or(0));
            recovering.prepare_behind_kafka(point);
        } else {
            match point.and_then(|point| recovering.trust(point)) {
                Some(point) => recovering.prepare_at_point(point),
                None => recovering.prepare_at_first(),
            }
        }
        recovering.evidence_end = recovering.evidence_end.max(recovering.told_end);
        recovering.want_indexes();
        if recovering.unread_indexes().is_empty() {
            recovering.next_segment(files);
        }
        recovering
    }

    fn list(&mut self, entries: &[Entry]) {
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            if let Some(base) = base_of_name(&entry.name) {
                self.file_bytes.insert(base, entry.size_bytes);
            } else if self.closed.list(&entry.name) {
                // Read before the segments.
            } else if entry.name.ends_with(DELETED_SUFFIX)
                || entry.name == format!("{RECOVERY_POINT}.tmp")
                || is_index_in_the_making(&entry.name)
            {
                self.remove.push(format!("{}/{}", self.log.dir, entry.name));
            }
        }
    }

    /// Folds the frames in their order into what they leave.
    fn fold(&mut self, replay: Vec<Replay>) {
        let mut appends = BTreeMap::new();
        for frame in replay {
            self.has_control |= !matches!(frame, Replay::Append(_) | Replay::Ended { .. });
            match frame {
                Replay::Append(append) => {
                    self.journal_end = append.last_offset + 1;
                    // What was there before at these offsets was cut off by then.
                    appends.split_off(&append.base_offset);
                    appends.insert(append.base_offset, append);
                }
                Replay::Ended { end } => self.told_end = end,
                Replay::Truncate { to } => {
                    self.told_end = self.told_end.min(to);
                    appends.split_off(&to);
                    self.epoch_frames.retain(|entry| entry.start < to);
                    self.cut = Some(self.cut.map_or(to, |cut| cut.min(to)));
                }
                Replay::Restate { base } => {
                    // The journal forgets what came before the set, so what is below `base` counts in the files only: they
                    // reach that far. A cut below it has reached them too.
                    appends.clear();
                    self.told_end = 0;
                    self.journal_end = base;
                    self.cut = self.cut.filter(|cut| *cut >= base);
                }
                Replay::Start { offset } => self.log.start = self.log.start.max(offset),
                Replay::Epoch { epoch, start_offset } => self.epoch_frames.push_back(EpochStart {
                    epoch,
                    start: start_offset,
                }),
            }
        }
        self.frames = appends.into_values().collect();
        self.epoch_frames
            .make_contiguous()
            .sort_by_key(|entry| (entry.start, entry.epoch));
    }

    fn decode(&mut self, bytes: &[u8]) -> Option<Point> {
        let why = match Point::decode(bytes) {
            Ok(point) if point.id == self.log.id => {
                if let Some(why) = point.damaged_copy {
                    self.is_copy_damaged = true;
                    self.log.saving.note_applied();
                    let line = format!("one copy of the recovery point is damaged ({why}): the other one is used");
                    self.report.push(line);
                }
                return Some(point);
            }
            Ok(point) => format!("it is of {}", point.id),
            Err(error) => error.to_string(),
        };
        let line = format!("the recovery point is not used ({why}): the segments are scanned instead");
        self.report.push(line);
        None
    }

    /// Whether the files are what the recovery point says. Also when they are not, what only it knows is taken from it.
    fn trust(&mut self, point: Point) -> Option<Point> {
        let cut = self.cut.filter(|cut| *cut < point.state_end);
        let upto = cut.unwrap_or(Offset::MAX);
        self.log.start = self.log.start.max(point.start.min(upto));
        self.log.is_read_only = point.is_read_only && !self.accepts_loss;
        self.has_control |= point.is_read_only && self.accepts_loss;
        self.log.has_gaps = point.has_gaps;
        let below = point.damage.iter().map(|range| range.start..range.end.min(upto));
        self.log.damage = below.filter(|range| !range.is_empty()).collect();
        if cut.is_some() {
            // A truncation removes it first; this one is from before.
            return None;
        }
        self.evidence_end = point.state_end;
        let is_across =
            |frame: &ReplayedAppend| frame.base_offset < point.applied && frame.last_offset >= point.applied;
        if let Some(frame) = self.frames.iter().find(|frame| is_across(frame)) {
            let line = format!(
                "the recovery point is not used (it says that {} offsets are in the segments, where a batch of the journal goes \
                 from {} to {}): the segments are scanned instead",
                point.applied, frame.base_offset, frame.last_offset
            );
            self.is_damaged = true;
            self.report.push(line);
            return None;
        }
        if let Some(last) = point.segments.last() {
            let bytes = self.file_bytes.get(&last.base).copied().unwrap_or(0);
            if bytes < last.size && last.next > self.log.start {
                self.short(last.base, bytes, last.size);
                return None;
            }
        }
        Some(point)
    }

    pub(super) fn prepare_at_first(&mut self) {
        self.log.segments.clear();
        self.unvisited = self.file_bytes.clone();
        let start = self.log.start;
        let bases: Vec<Offset> = self.unvisited.keys().copied().collect();
        let deleted = bases.windows(2).filter(|pair| pair[1] <= start).map(|pair| pair[0]);
        self.remove_segments(deleted.collect());
        let first_file = self.unvisited.keys().next().copied();
        let first_frame = self.frames.front().map(|frame| frame.segment_base);
        let first = [first_file, first_frame].into_iter().flatten().min();
        self.next = first.unwrap_or(start);
    }

    pub(super) fn remove_segments(&mut self, bases: Vec<Offset>) {
        for base in bases {
            self.unvisited.remove(&base);
            self.file_bytes.remove(&base);
            self.remove
                .push(super::segment::segment_path(&self.log.dir, base).to_string());
        }
    }

    pub(super) fn new_segment(&self, base: Offset) -> Segment {
        let owner = Owner {
            id: self.log.id,
            dir: &self.log.dir,
            config: &self.log.config,
        };
        Segment::new(&owner, base, self.now.wall_ms)
    }

    /// Goes on with the next file, unless the journal's frames come before it.
    pub(super) fn next_segment(&mut self, files: &mut FileIds) {
        self.scan = None;
        if self.place_closed(files) {
            return;
        }
        while let Some((&base, _)) = self.unvisited.first_key_value() {
            let is_framed = |base| self.frames.iter().any(|frame| frame.segment_base == base);
            if self.cut.is_some_and(|cut| base >= cut) {
                // What lies there is from before the truncation, or is in the frames.
                let bases = self.unvisited.keys().copied().filter(|base| !is_framed(*base));
                let bases = bases.collect();
                return self.remove_segments(bases);
            }
            let active = self.log.segments.back().map_or(-1, |active| active.base);
            let frame = self.frames.front();
            let frame_is_next = |frame: &ReplayedAppend| {
                frame.segment_base <= active
                    || frame.segment_base < base
                    || frame.segment_base == base && frame.position == 0
            };
            if frame.is_some_and(frame_is_next) {
                return;
            }
            let bytes = self.unvisited.remove(&base);
            if base < self.next && bytes == Some(0) {
                // Its first batch was lost with the power before it was acknowledged, and others took its offsets.
                self.remove_segments(vec![base]);
                continue;
            }
            if base < self.next {
                let next = self.next;
                self.is_damaged = true;
                self.report.push(format!(
                    "segment {base:020}.log begins before offset {next}, where the one before it ends: it is left alone"
                ));
                continue;
            }
            if base > self.next && self.is_dense() {
                self.lost(self.next..base, "no segment has them".to_string());
            } else if base > self.next {
                self.log.has_gaps = true;
            }
            self.next = base;
            let mut segment = self.new_segment(base);
            segment.created = true;
            self.log.segments.push_back(segment);
            return self.scan_segment(base, 0, files);
        }
    }

    /// The segment at the log's end so far, from `from` on: to the place of the first frame, or to the file's end.
    pub(super) fn scan_segment(&mut self, base: Offset, from: Position, files: &mut FileIds) {
        let bytes = self.file_bytes.get(&base).copied().unwrap_or(0);
        let frame = self.frames.front().filter(|frame| frame.segment_base == base);
        let limit = frame.map_or(bytes, |frame| frame.position.min(bytes));
        self.scan_on(from, limit.max(from), files);
    }

    fn scan_on(&mut self, from: Position, limit: Position, files: &mut FileIds) {
        if from >= limit && from.is_multiple_of(BLOCK_BYTES) {
            self.log.head = None;
            return self.segment_done(files);
        }
        let mut scan = Scanning {
            file: self.log.active_mut().open(files),
            from,
            limit,
            position: 0,
            len: 0,
            held: Bytes::new(),
        };
        // Also when there is nothing to scan: the block in which the next write starts is read.
        scan.aim(from);
        self.scan = Some(scan);
    }

    pub fn step(&self) -> RecoveryStep {
        let indexes = self.unread_indexes();
        if !indexes.is_empty() {
            return RecoveryStep::ReadIndexes(indexes);
        }
        match &self.scan {
            Some(scan) => RecoveryStep::Read {
                file: scan.file.clone(),
                position: scan.position,
                len: scan.len,
            },
            None => RecoveryStep::Done,
        }
    }

    /// The answer to [`RecoveryStep::Read`].
    pub fn read_done(&mut self, bytes: Bytes, files: &mut FileIds) {
        let scan = self.scan.take().expect("a read was asked for");
        self.scanned_bytes += bytes.len() as u64;
        let end = (scan.position + scan.len as u64).min(scan.limit);
        if scan.position + (bytes.len() as u64) < end {
            return self.segment_ended(&scan, scan.from, "the file is shorter than its size", files);
        }
        let skip = if scan.held.is_empty() {
            scan.from - scan.position
        } else {
            0
        };
        let fresh = bytes.slice(skip as usize..(end - scan.position) as usize);
        let view: Bytes = match scan.held.is_empty() {
            true => fresh,
            false => [&scan.held[..], &fresh[..]].concat().into(),
        };
        let mut batches = Vec::new();
        let ended = walk(&view, Depth::Crc, |batch| {
            batches.push(batch);
            false
        });
        let ended = ended.expect("nothing stops it before the end");
        let mut at = 0;
        let mut stopped = None;
        for (i, batch) in batches.iter().enumerate() {
            let (start, header) = (batch.position, &batch.header);
            let end = start + header.size_bytes;
            let place = self.place();
            let following = match batches.get(i + 1) {
                Some(next) => Following::Batch(next.header.base_offset, Some(next.header.leader_epoch)),
                None if place.fits_plainly(header) => Following::Nothing,
                None => match self.following(&scan, &view, end) {
                    Ok(following) => following,
                    Err(size) => return self.read_on(scan, view.clone(), start, size - start),
                },
            };
            let verdict = place.judge(header, following);
            let ends_at = match verdict {
                Verdict::Damaged { upto } => upto,
                Verdict::Fits | Verdict::BehindGap => header.next_offset(),
                Verdict::Misplaced => {
                    stopped = Some(Stopped::Misplaced);
                    break;
                }
            };
            if self.cut.is_some_and(|cut| ends_at > cut) {
                stopped = Some(Stopped::AtCut);
                break;
            }
            match verdict {
                Verdict::Damaged { upto } => {
                    self.pass_over(scan.from + start as Position, header.size_bytes, upto);
                }
                _ => {
                    if verdict == Verdict::BehindGap {
                        self.behind_gap(header.base_offset);
                    }
                    self.take(header, || batch.slice_of(&view));
                }
            }
            at = end;
        }
        let position = scan.from + at as Position;
        self.keep_head(&scan, &bytes, position);
        let limit = scan.limit;
        match (ended, stopped) {
            (_, Some(Stopped::Misplaced)) => {
                self.segment_ended(&scan, position, "a batch has no place in the log", files);
            }
            (_, Some(Stopped::AtCut)) => self.segment_done(files),
            (Ended::NeedsMore { .. }, _) if position >= limit => self.segment_done(files),
            (Ended::NeedsMore { at, size }, _) if position + size as Position <= limit => {
                self.read_on(scan, view, at, size);
            }
            (Ended::Zeros, _) if self.evidence_end <= self.next && self.offset_behind().is_none() => {
                // Padding of a last block, or space that was reserved: nothing was ever there.
                self.segment_done(files);
            }
            (Ended::Zeros, _) => self.segment_ended(&scan, position, "there are zeros", files),
            (Ended::NeedsMore { at, .. } | Ended::Damaged { at }, _) => match self.skip(&scan, &view, at) {
                Skip::Over { size, upto } => {
                    if self.cut.is_some_and(|cut| upto > cut) {
                        return self.segment_done(files);
                    }
                    self.pass_over(position, size, upto);
                    self.scan_on(position + size as Position, limit, files);
                }
                Skip::NeedsMore(size) => self.read_on(scan, view, at, size),
                Skip::No => self.segment_ended(&scan, position, "there is no intact batch", files),
            },
        }
    }

    /// Whether offsets without a record are lost ones.
    pub(super) fn is_dense(&self) -> bool {
        self.log.config.is_dense() && !self.may_have_gaps && !self.log.has_gaps
    }

    /// What is known of the next batch without it.
    fn place(&self) -> Place {
        let framed = self.epoch_frames.iter().rfind(|entry| entry.start <= self.next);
        let epoch = self.log.epochs.epoch_at(self.next).max(framed.map(|entry| entry.epoch));
        let frame = self.frames.front().map(|frame| frame.base_offset);
        let later = self
            .unvisited
            .iter()
            .find(|(_, bytes)| **bytes > 0)
            .map(|(base, _)| *base);
        let later = later.filter(|base| self.cut.is_none_or(|cut| *base < cut));
        Place {
            next: self.next,
            is_dense: self.is_dense(),
            segment_base: self.log.active().base,
            bound: frame,
            behind: [frame, later].into_iter().flatten().min(),
            epoch,
            epoch_max: self.epoch_max,
            is_epoch_known: self.next < self.state_end,
        }
    }

    /// What comes behind the batch that ends at `end` in `view`. Refused with the bytes that are needed to tell.
    fn following(&self, scan: &Scanning, view: &Bytes, end: usize) -> Result<Following, usize> {
        const WANTED: usize = 16;
        let position = scan.from + end as Position;
        if position >= scan.limit {
            return Ok(self
                .offset_behind()
                .map_or(Following::Nothing, |offset| Following::Batch(offset, None)));
        }
        match view.get(end..end + WANTED) {
            Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) => Ok(Following::Nothing),
            Some(prefix) => {
                let offset = i64::from_be_bytes(prefix[..8].try_into().expect("8 bytes"));
                let epoch = i32::from_be_bytes(prefix[12..].try_into().expect("4 bytes"));
                Ok(Following::Batch(offset, Some(epoch)))
            }
            None if position + WANTED as Position <= scan.limit => Err(end + WANTED),
            None => Ok(Following::Nothing),
        }
    }

    /// The batch at the log's end so far is damaged, and ends where the next one begins.
    fn pass_over(&mut self, position: Position, size: usize, upto: Offset) {
        let base = self.log.active().base;
        let what = format!("the batch at {position} in segment {base:020}.log is damaged");
        self.lost(self.next..upto, what);
        let segment = self.log.active_mut();
        segment.size += size as Position;
        segment.next = upto;
        self.next = upto;
    }

    /// Offsets up to `base` have no record where the log goes on with an intact batch.
    fn behind_gap(&mut self, base: Offset) {
        if self.is_dense() {
            let segment = self.log.active().base;
            self.lost(self.next..base, format!("segment {segment:020}.log lacks them"));
        } else {
            self.log.has_gaps = true;
        }
    }

    /// The bytes before `position` in its block, for the first write behind it.
    fn keep_head(&mut self, scan: &Scanning, bytes: &Bytes, position: Position) {
        let block = floor(position);
        if block >= scan.position && position - scan.position <= bytes.len() as u64 {
            self.log.head = Some(Head {
                segment_base: self.log.active().base,
                position: block,
                bytes: bytes.slice((block - scan.position) as usize..(position - scan.position) as usize),
            });
        }
    }

    /// The next operation, for the batch at `at` of which `size` bytes are needed.
    fn read_on(&mut self, mut scan: Scanning, view: Bytes, at: usize, size: usize) {
        if at == 0 && size > view.len() && !view.is_empty() {
            let read_to = scan.from + view.len() as Position;
            scan.held = view;
            scan.aim(read_to);
        } else {
            scan.from += at as Position;
            scan.held = Bytes::new();
            scan.aim(scan.from);
        }
        self.scan = Some(scan);
    }

    /// A batch at the log's end as it is so far.
    fn take(&mut self, header: &Header, batch: impl FnOnce() -> StampedBatch) {
        let damage = self.log.damage.iter();
        let is_behind_damage = damage.rev().any(|range| range.end == header.base_offset);
        self.log
            .active_mut()
            .note_after(header, self.now.wall_ms, is_behind_damage);
        self.next = header.next_offset();
        if header.base_offset < self.state_end {
            return;
        }
        while let Some(entry) = self
            .epoch_frames
            .front()
            .filter(|entry| entry.start <= header.base_offset)
        {
            self.log.epochs.assign(entry.epoch, entry.start);
            self.epoch_frames.pop_front();
        }
        if header.leader_epoch >= 0 {
            self.log.epochs.assign(header.leader_epoch, header.base_offset);
        }
        if header.has_producer_id() {
            self.log.producers.append(&batch());
        }
    }

    /// Whether the damaged batch at `at` can be passed over: it is known where it ends, and which offsets it held.
    fn skip(&self, scan: &Scanning, view: &Bytes, at: usize) -> Skip {
        let left = (scan.limit - scan.from) as usize - at;
        let told = tell(&view[at..], left, self.next, self.offset_behind());
        let (header, size) = match told {
            Told::Prefix { header, size } => (header, size),
            Told::Body { size, upto } => {
                return match upto > self.next && self.place().is_before_behind(upto) {
                    true => Skip::Over { size, upto },
                    false => Skip::No,
                };
            }
            Told::NeedsMore(size) => return Skip::NeedsMore(size),
            Told::Nothing => return Skip::No,
        };
        let following = match self.following(scan, view, at + size) {
            Ok(following) => following,
            Err(size) => return Skip::NeedsMore(size - at),
        };
        let upto = match self.place().judge(&header, following) {
            Verdict::Damaged { upto } => upto,
            // Its length or its magic is what was damaged.
            Verdict::Fits | Verdict::BehindGap => header.next_offset(),
            Verdict::Misplaced => return Skip::No,
        };
        Skip::Over { size, upto }
    }

    /// The first offset that is known to lie behind the segment that is being scanned.
    fn offset_behind(&self) -> Option<Offset> {
        let frame = self.frames.front().map(|frame| frame.base_offset);
        let file = self.unvisited.keys().next().copied();
        let file = file.filter(|base| self.cut.is_none_or(|cut| *base < cut));
        let closed = self.closed.offset_behind();
        [frame, file, closed].into_iter().flatten().min()
    }

    /// The scan found nothing more: the log goes on with the next file, or with the frames.
    fn segment_done(&mut self, files: &mut FileIds) {
        let segment = self.log.active_mut();
        segment.written = segment.size;
        segment.exact = self.file_bytes.get(&segment.base) == Some(&segment.size);
        self.compare_with_index();
        self.next_segment(files);
    }

    /// The scan ended at `position`, before its limit, where there should have been more.
    fn segment_ended(&mut self, scan: &Scanning, position: Position, what: &str, files: &mut FileIds) {
        let base = self.log.active().base;
        let what = format!("{what} at {position} in segment {base:020}.log");
        let Some(behind) = self.offset_behind() else {
            if self.next >= self.evidence_end {
                self.report
                    .push(format!("{what}, the end of the log: it goes on from there"));
            }
            return self.segment_done(files);
        };
        self.lost(self.next..behind.max(self.next), what);
        self.next = self.next.max(behind);
        let bytes = self.file_bytes.get(&base).copied().unwrap_or(0);
        let frame = self.frames.front().filter(|frame| frame.segment_base == base);
        let end = frame.map_or(bytes, |frame| frame.position).max(position);
        let segment = self.log.active_mut();
        segment.size = segment.size.max(end);
        segment.next = self.next;
        self.log.head = None;
        if end > bytes || scan.from >= scan.limit {
            // What was damaged ends in this block and is not there: zeros are written before what is.
            self.log.head = Some(Head {
                segment_base: base,
                position: floor(end),
                bytes: vec![0; (end % BLOCK_BYTES) as usize].into(),
            });
            return self.segment_done(files);
        }
        self.scan_on(end, end, files);
    }

    /// After [`RecoveryStep::Done`].
    pub fn finish(mut self, files: &mut FileIds) -> Recovered {
        self.log.applied = self.next.max(self.log.segments.back().map_or(0, |last| last.next));
        self.replay_frames();
        self.settle_unvisited();
        self.settle_indexes();
        for entry in std::mem::take(&mut self.epoch_frames) {
            self.log.epochs.assign(entry.epoch, entry.start);
        }
        let mut log = self.log;
        let end = log.segments.back().map_or(self.next, |last| last.next);
        if log.segments.is_empty() || end < log.start {
            let owner = Owner {
                id: log.id,
                dir: &log.dir,
                config: &log.config,
            };
            let segment = Segment::new(&owner, end.max(log.start), self.now.wall_ms);
            log.segments.push_back(segment);
        }
        for lost in &self.lost {
            self.evidence_end = self.evidence_end.max(lost.end().saturating_add(1));
        }
        let accepting = match self.accepts_loss {
            true => "the loss is accepted: the log goes on from there",
            false => {
                "the log takes no new records. `tidemill repair` on the data folder says so of every log that lost some, and with \
                 --accept-loss lets them take records again"
            }
        };
        if self.may_have_lost || self.evidence_end == Offset::MAX {
            log.is_read_only = !self.accepts_loss;
            self.is_damaged = true;
            self.report.push(format!(
                "the journal lost frames that may have been of this log: acknowledged records from offset {end} on may be \
                 missing; {accepting}"
            ));
        } else if end < self.evidence_end {
            log.is_read_only = !self.accepts_loss;
            log.epochs.truncate_end(end);
            self.is_damaged = true;
            self.report.push(format!(
                "offsets {end} to {} were acknowledged and are lost; {accepting}",
                self.evidence_end - 1,
            ));
        }
        log.start = log.start.max(log.segments[0].base);
        log.durable_start = log.start;
        log.epochs.truncate_start(log.start);
        log.damage.retain(|range| range.end > log.start);
        log.durable = log.end();
        log.applied = log.tail.dirty().next().map_or(log.end(), |run| run.base);
        let (segment, block) = log.write_start();
        log.head = log
            .head
            .filter(|head| head.segment_base == segment && head.position == block);
        let mut cut = Vec::new();
        let active = log.segments.back_mut().expect("it was made");
        let bytes = self.file_bytes.get(&active.base).copied().unwrap_or(0);
        if !log.is_read_only && bytes > active.written && (bytes > active.size || self.cut.is_some()) {
            cut.push((active.open(files), active.written));
            active.exact = active.size == active.written;
        }
        if self.scanned_bytes > BLOCK_BYTES || self.is_damaged {
            log.saving.note_bytes(self.scanned_bytes as usize);
            log.saving.note_applied();
        }
        if log.tail.dirty_bytes() > 0 || self.has_control {
            log.saving.note_control();
        }
        Recovered {
            log,
            cut,
            remove: self.remove,
            aside: self.aside,
            report: self.report,
            is_damaged: self.is_damaged,
            scanned_bytes: self.scanned_bytes,
            is_from_point: self.is_from_point,
            is_copy_damaged: self.is_copy_damaged,
            closed_scanned: self.closed.scanned(),
        }
    }

    /// The end of a recovery whose files cannot be read: what the journal has, so that it can be carried until a start reads the
    /// rest. Refused, with the reason, when the journal says something that only a whole recovery writes down: it would be
    /// forgotten once the ring has gone round.
    pub fn without_files(self) -> Result<Log, &'static str> {
        let is_short = self.told_end > self.frames.back().map_or(0, |frame| frame.last_offset + 1);
        if !self.lost.is_empty() || self.may_have_lost || is_short {
            return Err("the journal lost frames of it");
        }
        if self.cut.is_some() {
            return Err("the journal cuts records off its end");
        }
        let first = self.frames.front();
        let known = self.next.max(self.closed.applied());
        let base = first.map_or(self.journal_end.max(known), |frame| frame.base_offset);
        let end = self.frames.back().map_or(base, |frame| frame.last_offset + 1);
        let mut segment = self.new_segment(first.map_or(base, |frame| frame.segment_base));
        segment.next = end;
        segment.size = self.file_bytes.values().sum();
        let mut log = self.log;
        log.is_unread = true;
        // The start and the epochs say what is known by now; what is below the frames is in the files, as it was.
        for entry in self.epoch_frames {
            log.epochs.assign(entry.epoch, entry.start);
        }
        (log.applied, log.durable) = (base, end);
        log.segments = VecDeque::from([segment]);
        for frame in self.frames {
            log.tail.push(Incoming {
                segment_base: frame.segment_base,
                position: frame.position,
                base: frame.base_offset,
                next: frame.last_offset + 1,
                bytes: frame.bytes,
                shared: false,
            });
        }
        Ok(log)
    }

    /// What is not in the segments: it is dirty as it was before.
    fn replay_frames(&mut self) {
        for frame in std::mem::take(&mut self.frames) {
            let batch = match StampedBatch::check(frame.bytes.clone()) {
                Ok(batch) if batch.base_offset == frame.base_offset && batch.base_offset >= self.next => batch,
                Ok(_) if frame.last_offset < self.next => continue,
                _ => {
                    let what = format!("the journal's batch at offset {} does not fit", frame.base_offset);
                    self.is_damaged = true;
                    self.report.push(what);
                    continue;
                }
            };
            let header = *batch.header();
            if header.base_offset > self.next && !self.log.segments.is_empty() {
                self.lost(
                    self.next..header.base_offset,
                    "neither the segments nor the journal has them".to_string(),
                );
            }
            let last = self.log.segments.back().map(|last| last.base);
            if last.is_none_or(|last| last < frame.segment_base) {
                let mut segment = self.new_segment(frame.segment_base);
                segment.created = self.file_bytes.contains_key(&frame.segment_base);
                if last.is_none() && frame.position > 0 {
                    // What is left of a deleted segment: the log begins here.
                    segment.written = frame.position;
                    self.log.start = self.log.start.max(header.base_offset);
                    self.log.damage.push(frame.segment_base..header.base_offset);
                    self.log.head = Some(Head {
                        segment_base: frame.segment_base,
                        position: floor(frame.position),
                        bytes: vec![0; (frame.position % BLOCK_BYTES) as usize].into(),
                    });
                }
                self.log.segments.push_back(segment);
            }
            let segment = self.log.active_mut();
            segment.exact = false;
            segment.size = segment.size.max(frame.position);
            let (segment_base, position) = (segment.base, segment.size);
            self.take(&header, || batch.clone());
            self.log.tail.push(Incoming {
                segment_base,
                position,
                base: header.base_offset,
                next: header.next_offset(),
                bytes: frame.bytes,
                shared: false,
            });
        }
    }

    /// Files that neither the scan nor the frames came to.
    fn settle_unvisited(&mut self) {
        for (base, bytes) in std::mem::take(&mut self.unvisited) {
            let end = self.log.segments.back().map_or(self.next, |last| last.next);
            if self.log.segments.iter().any(|segment| segment.base == base) {
                continue;
            }
            if self.cut.is_some_and(|cut| base >= cut) {
                self.remove_segments(vec![base]);
                continue;
            }
            if bytes > 0 {
                self.is_damaged = true;
                let fate = if self.may_have_lost || !self.lost.is_empty() || end < self.evidence_end {
                    // Nothing is appended, and a start without those frames finds its place.
                    "it is left alone".to_string()
                } else {
                    // Acknowledged before they were flushed, its records were here when the power took their frames and what
                    // comes before them. Under this name it would have others appended, or be taken for the log's end one day.
                    let path = super::segment::segment_path(&self.log.dir, base);
                    let kept = format!("{path}.{}.stray", self.now.wall_ms);
                    self.aside.push((path.to_string(), kept.clone()));
                    format!("the journal lacks what came before it, and it is kept as {kept}")
                };
                self.report.push(format!(
                    "segment {base:020}.log has no place in the log, which ends at {end}: {fate}"
                ));
            } else if base == end {
                // Begun, and nothing was appended yet.
                let mut segment = self.new_segment(base);
                segment.created = true;
                self.log.segments.push_back(segment);
            } else {
                self.remove_segments(vec![base]);
            }
        }
    }

    pub(super) fn lost(&mut self, range: std::ops::Range<Offset>, what: String) {
        let is_known = |known: &std::ops::Range<Offset>| known.start <= range.start && range.end <= known.end;
        if range.end <= self.log.start || self.log.damage.iter().any(is_known) {
            // Deleted, or a start before this one said so and the recovery point remembers it.
            return;
        }
        self.is_damaged = true;
        let (first, last) = (range.start, range.end - 1);
        self.report.push(format!(
            "{what}: offsets {first} to {last} cannot be read, what is around them can"
        ));
        self.log.damage.push(range);
    }

    pub(super) fn short(&mut self, base: Offset, bytes: u64, size: u64) {
        self.is_damaged = true;
        let line = format!("segment {base:020}.log has {bytes} bytes of the {size} that were written");
        self.report.push(line);
    }
}

enum Skip {
    /// It has so many bytes, and held the offsets up to this one.
    Over {
        size: usize,
        upto: Offset,
    },
    /// So many bytes from the batch on decide it.
    NeedsMore(usize),
    No,
}

#[derive(Clone, Copy)]
enum Stopped {
    Misplaced,
    AtCut,
}

impl Scanning {
    fn aim(&mut self, at: Position) {
        let end = self.limit.max(at + 1).next_multiple_of(BLOCK_BYTES);
        self.position = floor(at);
        self.len = (end - self.position).min(OPERATION_BYTES_MAX as u64) as usize;
    }
}
