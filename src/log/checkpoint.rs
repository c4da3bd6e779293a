//! From memory to segments: whole blocks of what is durable in the journal, and a segment's last block when it is sealed.
//!
//! A block is written once it is full: what is below `written` never changes again, except that the first write after a start,
//! after a cut or behind a partial block begins in the block where the file ended, and repeats the bytes that are there.

use bytes::Bytes;

use crate::types::{BLOCK_BYTES, File, FileIds, Offset, Position};

use super::tail::Tail;
use super::{Appended, Head, Log};

/// To be done in this order; each as one or more effects, the writes in any order. Then [`Log::checkpointed`].
/// 1. `reserve`: create the file, reserve space.
/// 2. `extend`: set the file's size, so that the writes do not.
/// 3. Every write.
/// 4. `truncate`: set the file's size.
/// 5. Sync the file.
/// 6. `sync_folder`: the file's name is new, or may be: sync the log's folder.
#[derive(Debug, Clone)]
pub struct CheckpointStep {
    pub file: File,
    pub reserve: Option<u64>,
    pub extend: Option<u64>,
    pub writes: Vec<SegmentWrite>,
    pub truncate: Option<u64>,
    pub sync_folder: bool,
    segment_base: Offset,
    /// Written up to here when it is done.
    upto: Position,
}

/// One operation: starts at a block, is at most [`WRITE_BYTES_MAX`] long; the last one of a sealed segment is not a whole
/// number of blocks (whoever writes pads it).
#[derive(Debug, Clone)]
pub struct SegmentWrite {
    pub position: Position,
    pub slices: Vec<Bytes>,
}

/// What one operation writes at most: the bytes are gathered in one go, and the journal's next commit waits for that.
const WRITE_BYTES_MAX: usize = 256 * 1024;
/// Space is reserved in steps that grow with the segment, so that ten thousand idle partitions reserve little.
const RESERVE_BYTES_MIN: u64 = 256 * 1024;
const RESERVE_BYTES_STEP_MAX: u64 = 64 * 1024 * 1024;

impl CheckpointStep {
    /// Where the last write ends.
    pub fn end(&self) -> Position {
        self.upto
    }

    pub fn bytes(&self) -> usize {
        let slices = self.writes.iter().flat_map(|write| &write.slices);
        slices.map(Bytes::len).sum()
    }
}

impl Log {
    /// The next blocks to write, about `bytes_max` at most; None when there are none, or while a step is under way.
    pub fn checkpoint(&mut self, bytes_max: usize, files: &mut FileIds) -> Option<CheckpointStep> {
        self.checkpoint_upto(bytes_max, self.is_closing, files)
    }

    /// The same with the last, partial block. The file then ends with the log, and the next write repeats the bytes in that
    /// block: they are the same ones, so that a torn write of it loses nothing. It costs a block written twice and a change
    /// of the file's size, so it is for when nothing else makes room: one partial block keeps its whole batch in the journal
    /// and in memory.
    pub fn checkpoint_tail(&mut self, bytes_max: usize, files: &mut FileIds) -> Option<CheckpointStep> {
        self.checkpoint_upto(bytes_max, true, files)
    }

    fn checkpoint_upto(&mut self, bytes_max: usize, with_tail: bool, files: &mut FileIds) -> Option<CheckpointStep> {
        if self.in_flight.is_some() || self.is_cutting || self.is_unread {
            return None;
        }
        let i = self.segments.iter().position(|segment| !segment.exact)?;
        let is_active = i + 1 == self.segments.len();
        let durable_to = self.durable_position(i);
        let segment = &self.segments[i];
        let seal = (!is_active || with_tail) && self.durable >= segment.next;
        let from = floor(segment.written);
        let target = if seal { segment.size } else { floor(durable_to) };
        let limit = floor(from + (bytes_max as u64).max(BLOCK_BYTES));
        let upto = target.min(limit);
        let seals = seal && upto == segment.size;
        // Only its name keeps the log's place once the segments before it are deleted.
        let creates = segment.base > 0 && !segment.created;
        if upto <= segment.written && !seals && !creates {
            return None;
        }
        let slices = match upto > segment.written {
            true => self.gather(segment.base, from, upto)?,
            false => Vec::new(),
        };
        let config_bytes = self.config.segment_bytes;
        let segment = &mut self.segments[i];
        let wanted = (2 * upto).clamp(RESERVE_BYTES_MIN, upto + RESERVE_BYTES_STEP_MAX);
        let wanted = wanted.min(config_bytes.max(upto)).next_multiple_of(BLOCK_BYTES);
        let reserve = (!segment.created || upto > segment.reserved && !seals).then_some(wanted);
        if let Some(reserve) = reserve {
            segment.reserved = reserve;
        }
        let writes = operations(from, slices);
        // A file system writes beyond a file's end one operation at a time. The size runs ahead by this step only.
        let extend = (writes.len() > 1).then_some(upto.next_multiple_of(BLOCK_BYTES));
        let step = CheckpointStep {
            file: segment.open(files),
            reserve,
            extend,
            writes,
            truncate: seals.then_some(segment.size),
            sync_folder: !segment.created || !self.is_folder_synced,
            segment_base: segment.base,
            upto,
        };
        self.in_flight = Some(segment.base);
        Some(step)
    }

    /// Whether [`Log::checkpoint`] has something to do, or is under way.
    pub fn wants_checkpoint(&self) -> bool {
        if self.in_flight.is_some() {
            return true;
        }
        if self.is_unread {
            return false;
        }
        let Some(i) = self.segments.iter().position(|segment| !segment.exact) else {
            return false;
        };
        let segment = &self.segments[i];
        let is_active = i + 1 == self.segments.len();
        let durable_to = self.durable_position(i);
        (!is_active || self.is_closing) && self.durable >= segment.next
            || floor(durable_to) > segment.written
            || segment.base > 0 && !segment.created
    }

    /// Everything of the step is on the device. `applied` may have risen: the journal is to be told.
    pub fn checkpointed(&mut self, step: &CheckpointStep) {
        assert_eq!(
            self.in_flight.take(),
            Some(step.segment_base),
            "{}: a step that was not begun",
            self.name
        );
        let Some(segment) = self
            .segments
            .iter_mut()
            .find(|segment| segment.base == step.segment_base)
        else {
            unreachable!("{}: a segment that is being written is not removed", self.name)
        };
        self.is_folder_synced |= step.sync_folder;
        segment.written = segment.written.max(step.upto);
        segment.created = true;
        if let Some(size) = step.truncate {
            segment.reserved = size;
            segment.exact = size == segment.size;
        }
        let (base, written) = (segment.base, segment.written);
        self.tail.applied(base, written);
        self.raise_applied();
        self.keep_hole(base, written);
    }

    /// Lost frames of the journal may leave a hole where the block of the next write begins: it was just written as zeros, and
    /// neither the tail nor what a start read has them.
    fn keep_hole(&mut self, base: Offset, written: Position) {
        let (segment_base, position) = self.write_start();
        if segment_base != base || position >= written || self.head.is_some() || self.tail.holds(base, position) {
            return;
        }
        let behind = self.tail.position_after(base, position);
        let upto = behind.map_or(written, |behind| behind.min(written));
        self.head = Some(Head {
            segment_base,
            position,
            bytes: vec![0; (upto - position) as usize].into(),
        });
    }

    /// The step failed before anything was written, for want of space: it may be asked for again.
    pub fn checkpoint_aborted(&mut self, step: &CheckpointStep) {
        self.in_flight = None;
        if let Some(segment) = self
            .segments
            .iter_mut()
            .find(|segment| segment.base == step.segment_base)
        {
            segment.reserved = segment.written;
        }
    }

    pub(super) fn raise_applied(&mut self) {
        let applied = self.tail.dirty().next().map_or(self.end(), |run| run.base);
        assert!(applied >= self.applied, "{}: applied fell", self.name);
        assert!(applied <= self.durable, "{}: applied what is not durable", self.name);
        if applied > self.applied {
            self.applied = applied;
            self.saving.note_applied();
        }
        let (segment, position) = self.write_start();
        if self
            .head
            .as_ref()
            .is_some_and(|head| head.segment_base != segment || head.position != position)
        {
            self.head = None;
        }
    }

    /// From now on [`Log::checkpoint`] also writes the last, partial block and cuts the file to its size. Nothing may be
    /// appended any more.
    pub fn close(&mut self) {
        self.is_closing = true;
        self.tail.settle();
    }

    /// Closing, and every byte is in its file.
    pub fn is_closed(&self) -> bool {
        let is_written = self.in_flight.is_none() && self.segments.iter().all(|segment| segment.exact);
        self.is_closing && is_written && !self.is_unread
    }

    /// Every batch from `applied` to the end, for the journal to write once more.
    pub fn carry(&self) -> Vec<Appended> {
        let mut carried = Vec::new();
        for run in self.tail.dirty() {
            carried.extend(run.batches().map(|(at, header)| Appended {
                segment_base: run.segment_base,
                position: run.position + at as Position,
                base_offset: header.base_offset,
                last_offset: header.last_offset(),
                leader_epoch: header.leader_epoch,
                bytes: run.bytes.slice(at..at + header.size_bytes),
            }));
        }
        carried
    }

    /// Everything that is not in its files was put aside: it is not here any more, and nobody is served until a restart.
    pub fn put_aside(&mut self) {
        assert!(self.in_flight.is_none(), "{}: put aside while it is written", self.name);
        self.tail = Tail::default();
        self.head = None;
        self.is_unread = true;
    }

    /// The segment and the block where its next write starts.
    pub(super) fn write_start(&self) -> (Offset, Position) {
        let writing = self.segments.iter().find(|segment| !segment.exact);
        let segment = writing.unwrap_or(self.active());
        (segment.base, floor(segment.written))
    }

    /// The bytes of the `i`th segment below this position are durable in the journal.
    fn durable_position(&self, i: usize) -> Position {
        let segment = &self.segments[i];
        if self.durable >= segment.next {
            return segment.size;
        }
        // What is not durable is dirty, so it is in the tail.
        let Some(run) = self.tail.from(self.durable).next() else {
            return segment.size;
        };
        if run.segment_base != segment.base {
            return segment.written;
        }
        let boundary = run.batches().find(|(_, header)| header.next_offset() > self.durable);
        run.position + boundary.map_or(0, |(at, _)| at) as Position
    }

    /// The bytes `from..to` of a segment; None when the block in which they begin is not at hand (only after damage).
    fn gather(&self, segment_base: Offset, from: Position, to: Position) -> Option<Vec<Bytes>> {
        let mut slices = Vec::new();
        let mut at = from;
        let written = self.segments[self.segment_of(segment_base)].written;
        if from < written && !self.tail.holds(segment_base, from) {
            let head = self.head.as_ref()?;
            if head.segment_base != segment_base || head.position != from {
                return None;
            }
            slices.push(head.bytes.clone());
            at += head.bytes.len() as Position;
        }
        while at < to {
            let before = slices.len();
            self.tail.slices(segment_base, at, to, &mut slices);
            at += slices[before..]
                .iter()
                .map(|slice| slice.len() as Position)
                .sum::<Position>();
            if at < to {
                // Lost frames of the journal leave a hole: it reads as zeros, which are no batch.
                let next = self
                    .tail
                    .position_after(segment_base, at)
                    .map_or(to, |next| next.min(to));
                slices.push(vec![0; (next - at) as usize].into());
                at = next;
            }
        }
        Some(slices)
    }
}

/// Cuts what is to be written from `position` on into operations.
fn operations(mut position: Position, slices: Vec<Bytes>) -> Vec<SegmentWrite> {
    let mut writes = Vec::new();
    let (mut write, mut room) = (Vec::new(), WRITE_BYTES_MAX);
    for mut slice in slices {
        while slice.len() >= room {
            write.push(slice.split_to(room));
            writes.push(SegmentWrite {
                position,
                slices: std::mem::take(&mut write),
            });
            position += WRITE_BYTES_MAX as u64;
            room = WRITE_BYTES_MAX;
        }
        if !slice.is_empty() {
            room -= slice.len();
            write.push(slice);
        }
    }
    if !write.is_empty() {
        writes.push(SegmentWrite {
            position,
            slices: write,
        });
    }
    writes
}

pub(super) fn floor(position: Position) -> Position {
    position - position % BLOCK_BYTES
}
