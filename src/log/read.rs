//! The way out: batches from an offset on, from memory or by one planned disk operation.

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::record::scan::Depth;
use crate::types::{BLOCK_BYTES, File, Offset, Position};

use super::Log;
use super::disk_read::{DiskRead, Ended, Goal, Stretch, walk};
use super::segment::Segment;

#[derive(Debug)]
pub enum ReadPlan {
    /// Whole batches, one after another. Empty when there is nothing (yet).
    Memory(Vec<Bytes>),
    Disk(DiskRead),
}

#[derive(Debug)]
pub enum ReadProgress {
    /// `next`: where a sequential reader goes on in the same file.
    Done {
        slices: Vec<Bytes>,
        next: Option<Offset>,
    },
    More(DiskRead),
}

impl ReadProgress {
    fn of(slices: Vec<Bytes>) -> ReadProgress {
        ReadProgress::Done { slices, next: None }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    #[error("offset {offset} is not within the log, which holds {start} to {end}")]
    OutOfRange { offset: Offset, start: Offset, end: Offset },
    #[error("the records at offset {offset} are damaged")]
    Damaged { offset: Offset },
    #[error("the file ends before the records at offset {offset}")]
    Missing { offset: Offset },
}

impl ReadError {
    pub fn code(&self) -> ErrorCode {
        match self {
            ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            ReadError::Damaged { .. } => ErrorCode::CorruptMessage,
            ReadError::Missing { .. } => ErrorCode::KafkaStorageError,
        }
    }
}

/// What a reader asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub offset: Offset,
    pub bytes_max: usize,
    /// The first batch is given even if it is larger than `bytes_max`.
    pub min_one: bool,
    /// No batch that reaches to this offset or above is given.
    pub upto: Offset,
}

/// Where the last disk reads ended: where a sequential reader goes on, exactly.
#[derive(Debug, Default)]
pub(super) struct Hints {
    hints: [Option<(Offset, Position)>; 16],
    next: usize,
}

impl Hints {
    fn note(&mut self, offset: Offset, position: Position) {
        self.hints[self.next % self.hints.len()] = Some((offset, position));
        self.next += 1;
    }

    fn get(&self, offset: Offset) -> Option<Position> {
        let found = self.hints.iter().flatten().find(|(of, _)| *of == offset);
        found.map(|(_, position)| *position)
    }
}

impl Log {
    /// Whole batches from the one that holds `offset`, at most `bytes_max` bytes of them, all below `upto` (the high
    /// watermark, the last stable offset, or for a replica the log end). With `min_one` the first batch is given whatever its
    /// size. What begins in memory stays there; what begins in a file is one operation, or more for a large batch.
    pub fn read(
        &mut self,
        offset: Offset,
        bytes_max: usize,
        min_one: bool,
        upto: Offset,
    ) -> Result<ReadPlan, ReadError> {
        if offset < self.start || offset > self.end() {
            return Err(ReadError::OutOfRange {
                offset,
                start: self.start,
                end: self.end(),
            });
        }
        let mut upto = upto.min(self.end());
        for range in &self.damage {
            if range.contains(&offset) {
                return Err(ReadError::Damaged { offset });
            }
            if range.start > offset {
                upto = upto.min(range.start);
            }
        }
        if offset >= upto || bytes_max == 0 && !min_one {
            return Ok(ReadPlan::Memory(Vec::new()));
        }
        let wanted = Wanted {
            offset,
            bytes_max,
            min_one,
            upto,
        };
        if offset >= self.applied || self.tail.start().is_some_and(|start| offset >= start) {
            return Ok(ReadPlan::Memory(self.read_memory(&wanted)));
        }
        self.plan_disk(wanted)
            .map(ReadPlan::Disk)
            .ok_or(ReadError::Missing { offset })
    }

    fn read_memory(&self, wanted: &Wanted) -> Vec<Bytes> {
        let mut slices = Vec::new();
        let mut taken = 0;
        for run in self.tail.from(wanted.offset) {
            let whole = run.base >= wanted.offset && run.next <= wanted.upto;
            if whole && taken + run.bytes.len() <= wanted.bytes_max {
                taken += run.bytes.len();
                slices.push(run.bytes.clone());
                continue;
            }
            // The first or the last run: some of its batches.
            let (mut from, mut to) = (None, 0);
            for (at, header) in run.batches() {
                let end = at + header.size_bytes;
                if header.next_offset() <= wanted.offset {
                    continue;
                }
                let first = from.is_none() && slices.is_empty();
                let size = end - from.unwrap_or(at);
                let fits = taken + size <= wanted.bytes_max || first && wanted.min_one;
                if header.next_offset() > wanted.upto || !fits {
                    break;
                }
                from.get_or_insert(at);
                to = end;
            }
            let Some(from) = from else { break };
            slices.push(run.bytes.slice(from..to));
            taken += to - from;
            if to < run.bytes.len() || taken >= wanted.bytes_max {
                break;
            }
        }
        slices
    }

    /// `wanted.offset` is below `applied` and not in memory. None when its file is not there (only after damage).
    fn plan_disk(&mut self, mut wanted: Wanted) -> Option<DiskRead> {
        wanted.upto = wanted.upto.min(self.applied);
        let mut i = self.segment_of(wanted.offset);
        // An offset behind a segment's last batch belongs to the next one.
        while wanted.offset >= self.segments[i].next && i + 1 < self.segments.len() {
            i += 1;
        }
        let segment = &self.segments[i];
        let hint = self.hints.get(wanted.offset);
        let place = segment
            .index
            .before_offset((wanted.offset - segment.base).max(0) as u32);
        let limit = segment.written;
        let (from, detour) = match hint.filter(|hint| (place.position..limit).contains(hint)) {
            Some(hint) => (hint, 0),
            None if wanted.offset <= segment.base => (0, 0),
            None => (place.position, place.next.unwrap_or(limit) - place.position),
        };
        if from >= limit {
            return None;
        }
        let stretch = Stretch {
            file: segment.file()?,
            segment_base: segment.base,
            generation: self.generation,
            from,
            limit,
        };
        // Room for the block in which it starts and for a last batch that would be cut.
        let bytes = detour + wanted.bytes_max as u64 + BLOCK_BYTES;
        let entries = segment.index.entries();
        let entry = entries
            .partition_point(|entry| Position::from(entry.position) <= from)
            .checked_sub(1);
        let entry = entry
            .map(|i| &entries[i])
            .filter(|entry| Position::from(entry.position) == from);
        let expected = match (from, entry) {
            (0, _) => Some(segment.base),
            (_, Some(entry)) => Some(segment.base + Offset::from(entry.offset_delta)),
            _ => Some(wanted.offset).filter(|_| hint == Some(from)),
        };
        let mut read = DiskRead::new(stretch, bytes, Goal::Read(wanted));
        read.expected = expected;
        read.is_sequential = hint == Some(from);
        Some(read)
    }

    /// What a sequential reader will want to read from a file after `read`, from `next` on (see [`ReadProgress::Done`]).
    pub fn read_on(&mut self, read: &DiskRead, next: Offset, upto: Offset) -> Option<DiskRead> {
        match self.read(next, read.bytes_max(), true, upto) {
            Ok(ReadPlan::Disk(ahead)) => Some(ahead).filter(DiskRead::is_sequential),
            _ => None,
        }
    }

    /// Takes what a [`DiskRead`] of [`Log::read`] brought.
    pub fn finish_read(&mut self, read: &DiskRead, bytes: Bytes) -> Result<ReadProgress, ReadError> {
        let Goal::Read(wanted) = &read.goal else {
            panic!("{}: a lookup's read finished as a fetch's", self.name)
        };
        if read.generation != self.generation {
            return self.read_again(wanted, wanted.offset);
        }
        let offset = wanted.offset;
        if let Some(next) = read.next_piece(&bytes) {
            return Ok(ReadProgress::More(next));
        }
        let view = read.view(bytes).ok_or(ReadError::Missing { offset })?;
        let (mut from, mut to) = (None, 0);
        let mut next_offset = offset;
        let mut is_enough = false;
        let mut is_damaged = false;
        // Where the batch after a damaged one must begin, if the damaged one's length is to be believed.
        let mut behind_damage = None;
        // A batch's base offset is not under its CRC: it is held against its neighbours.
        let mut earlier_end = read.expected.unwrap_or(read.segment_base);
        let mut is_exact = !self.has_gaps && read.expected.is_some();
        let segment_end = self.segments[self.segment_of(read.segment_base)].next;
        let ended = walk(&view, Depth::Headers, |batch| {
            let is_before = batch.header.next_offset() <= offset;
            let (base, next) = (batch.header.base_offset, batch.header.next_offset());
            let known = self.damage.iter().find(|range| is_exact && range.start == earlier_end);
            if let Some(known) = known.filter(|known| known.end != base && known.end <= offset) {
                // A batch that a start found damaged.
                (earlier_end, behind_damage) = (known.end, None);
                return false;
            }
            let is_next = !is_exact || base == earlier_end || known.is_some_and(|known| known.end == base);
            let is_in_order = base >= earlier_end && next <= segment_end;
            let is_at_its_place = is_next && is_in_order && behind_damage.is_none_or(|next| next == base);
            is_exact = !self.has_gaps;
            earlier_end = next;
            let is_intact = batch.is_intact();
            if !is_at_its_place || !is_intact && !is_before {
                is_damaged = true;
                return true;
            }
            behind_damage = (!is_intact).then_some(batch.header.next_offset());
            if is_before {
                return false;
            }
            let end = batch.position + batch.header.size_bytes;
            let size = end - from.unwrap_or(batch.position);
            let fits = size <= wanted.bytes_max || from.is_none() && wanted.min_one;
            if batch.header.next_offset() > wanted.upto || !fits {
                is_enough = true;
                return true;
            }
            from.get_or_insert(batch.position);
            to = end;
            next_offset = batch.header.next_offset();
            false
        });
        if let Some(from) = from {
            let position = read.from + to as Position;
            // At the limit, the next offset may be another segment's first.
            let next = (position < read.limit).then_some(next_offset);
            if let Some(next) = next {
                self.hints.note(next, position);
            }
            let slices = vec![view.slice(from..to)];
            return Ok(ReadProgress::Done { slices, next });
        }
        match ended {
            None if is_damaged => Err(ReadError::Damaged { offset }),
            None => Ok(ReadProgress::of(Vec::new())),
            Some(Ended::Damaged { .. } | Ended::Zeros) => Err(ReadError::Damaged { offset }),
            Some(Ended::NeedsMore { at, size }) => {
                if let Some(next) = read.go_on(&view, at, size, wanted.bytes_max as u64 + BLOCK_BYTES) {
                    return Ok(ReadProgress::More(next));
                }
                // Compaction or a leader's gap: the offset lies between this segment's last batch and the next segment.
                let next_segment = self.segments.iter().find(|segment| segment.base > read.segment_base);
                match next_segment.map(|segment| segment.base) {
                    Some(base) if at == view.len() => self.read_again(wanted, base.max(offset)),
                    _ => Err(ReadError::Damaged { offset }),
                }
            }
        }
    }

    /// There was no such file. The read is planned again when its segment was deleted meanwhile; `None` when the file is one
    /// of this log's still.
    pub fn missed_read(&mut self, read: &DiskRead) -> Option<Result<ReadProgress, ReadError>> {
        let Goal::Read(wanted) = &read.goal else {
            panic!("{}: a lookup's read missed as a fetch's", self.name)
        };
        (!self.has_file(&read.file)).then(|| self.read_again(wanted, wanted.offset))
    }

    pub(super) fn has_file(&self, file: &File) -> bool {
        let is_it = |segment: &Segment| segment.file().is_some_and(|ours| ours.id == file.id);
        self.segments.iter().any(is_it)
    }

    fn read_again(&mut self, wanted: &Wanted, offset: Offset) -> Result<ReadProgress, ReadError> {
        Ok(
            match self.read(offset, wanted.bytes_max, wanted.min_one, wanted.upto)? {
                ReadPlan::Memory(slices) => ReadProgress::of(slices),
                ReadPlan::Disk(read) => ReadProgress::More(read),
            },
        )
    }
}
