//! Cutting batches off the end (KIP-101): which bytes and files go. What the log then is, its epochs, producers and
//! timestamps included, is found the way a start finds it: [`Recovering`](super::Recovering) over the cut files and the
//! batches that are left in memory. So nothing has to be undone that could be undone wrongly.

use bytes::Bytes;

use crate::record::scan::Depth;
use crate::types::{BLOCK_BYTES, File, Offset, Position};

use super::disk_read::{DiskRead, Ended, Goal, Stretch, walk};
use super::read::ReadError;
use super::segment::segment_path;
use super::segment_index::index_path;
use super::{Appended, Log};

#[derive(Debug)]
pub enum TruncationPlan {
    Ready(Truncation),
    /// First this, then [`Log::finish_truncation`].
    Disk(DiskRead),
    /// A checkpoint is under way: ask again when it is done.
    Busy,
}

/// To be done in this order, once the journal's frame is durable: remove `recovery_point` and the `indexes` (paths) and sync
/// the folder; remove each file of `remove`, set the size of `cut`, sync it and the folder; recover the log with `kept` as its frames.
#[derive(Debug)]
pub struct Truncation {
    /// The new end: the base offset of the batch that held the offset that was asked for.
    pub end: Offset,
    pub recovery_point: String,
    pub indexes: Vec<String>,
    pub cut: Option<(File, Position)>,
    pub remove: Vec<File>,
    /// Batches below `end` that are not in the segments.
    pub kept: Vec<Appended>,
}

impl Log {
    /// What to do so that nothing at `offset` or above is left. From [`TruncationPlan::Ready`] on the log writes nothing more.
    pub fn truncation(&mut self, offset: Offset) -> TruncationPlan {
        if self.in_flight.is_some() {
            return TruncationPlan::Busy;
        }
        if offset >= self.end() {
            return TruncationPlan::Ready(self.cut_at(self.end(), self.active().base, self.active().size));
        }
        let in_memory = self
            .tail
            .from(offset)
            .next()
            .filter(|run| run.base <= offset || offset >= self.applied);
        if let Some(run) = in_memory {
            let cut = run.batches().find(|(_, header)| header.next_offset() > offset);
            let (at, header) = cut.expect("the run reaches above the offset");
            let (base, position) = (run.segment_base, run.position + at as Position);
            return TruncationPlan::Ready(self.cut_at(header.base_offset, base, position));
        }
        let mut i = self.segment_of(offset);
        while offset >= self.segments[i].next {
            i += 1;
        }
        let segment = &self.segments[i];
        let place = segment.index.before_offset((offset - segment.base).max(0) as u32);
        let stretch = Stretch {
            file: segment.file().expect("a file with applied batches was opened"),
            segment_base: segment.base,
            generation: self.generation,
            from: place.position,
            limit: segment.written,
        };
        let wanted = place.next.unwrap_or(segment.written) - place.position + BLOCK_BYTES;
        TruncationPlan::Disk(DiskRead::new(stretch, wanted, Goal::Cut(offset)))
    }

    /// Takes what a [`DiskRead`] of [`Log::truncation`] brought.
    pub fn finish_truncation(&mut self, read: &DiskRead, bytes: Bytes) -> Result<TruncationPlan, ReadError> {
        let Goal::Cut(offset) = read.goal else {
            panic!("{}: a fetch's read finished as a truncation's", self.name)
        };
        if let Some(next) = read.next_piece(&bytes) {
            return Ok(TruncationPlan::Disk(next));
        }
        let view = read.view(bytes).ok_or(ReadError::Missing { offset })?;
        let mut cut = None;
        let ended = walk(&view, Depth::Headers, |batch| {
            if batch.header.next_offset() > offset {
                cut = Some((batch.header.base_offset, read.from + batch.position as Position));
            }
            cut.is_some()
        });
        if let Some((end, position)) = cut {
            return Ok(TruncationPlan::Ready(self.cut_at(end, read.segment_base, position)));
        }
        match ended {
            Some(Ended::NeedsMore { at, size }) => match read.go_on(&view, at, size, BLOCK_BYTES) {
                Some(next) => Ok(TruncationPlan::Disk(next)),
                None => Err(ReadError::Damaged { offset }),
            },
            _ => Err(ReadError::Damaged { offset }),
        }
    }

    fn cut_at(&mut self, end: Offset, segment_base: Offset, position: Position) -> Truncation {
        self.is_cutting = true;
        let segment = self.segments.iter().find(|segment| segment.base == segment_base);
        let segment = segment.expect("the batch was found in it");
        let cut = segment.file().filter(|_| segment.written > position);
        let later = self
            .segments
            .iter()
            .filter(|segment| segment.base > segment_base && segment.created);
        let indexed = self
            .segments
            .iter()
            .filter(|segment| segment.base >= segment_base && segment.indexed);
        let indexes = indexed.map(|segment| index_path(&segment_path(&self.dir, segment.base)));
        let mut kept = self.carry();
        kept.retain(|batch| batch.base_offset < end);
        Truncation {
            end,
            recovery_point: self.recovery_point_path(),
            indexes: indexes.collect(),
            cut: cut.map(|file| (file, position)),
            remove: later.filter_map(|segment| segment.file()).collect(),
            kept,
        }
    }
}
