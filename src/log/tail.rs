//! The bytes of a log that are in memory: everything above `applied` (dirty, pinned) and, before it, what was applied
//! lately (cached, evicted when memory is short).
//!
//! A batch below [`SHARED_BYTES_MAX`] arrives as a piece of memory that it shares with others (the shard's arena), since a
//! slice of a network buffer would pin the whole buffer. Runs of such pieces are copied together once they make up
//! [`RUN_BYTES`], and by [`Tail::settle`] when a log falls idle: so a read finds few slices, and an idle log pins nothing
//! but its own bytes.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::record::header::Header;
use crate::types::{Offset, Position};

/// Batches below this many bytes are copied into the arena.
pub const SHARED_BYTES_MAX: usize = 4096;
/// How many bytes of small batches make one run.
const RUN_BYTES: usize = 16 * 1024;

/// One batch, or a run of batches that lie one after another in one segment.
#[derive(Clone, Debug)]
pub struct Run {
    pub segment_base: Offset,
    pub position: Position,
    pub base: Offset,
    pub next: Offset,
    pub bytes: Bytes,
    /// A piece of memory that others use too.
    shared: bool,
}

impl Run {
    pub fn end(&self) -> Position {
        self.position + self.bytes.len() as Position
    }

    /// Its batches' headers, each with where it starts within the run. The bytes were checked when they came in.
    pub fn batches(&self) -> impl Iterator<Item = (usize, Header)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
            let header = Header::decode(rest).expect("a run holds whole batches");
            let start = at;
            at += header.size_bytes;
            Some((start, header))
        })
    }

    /// Splits in two at a batch boundary: `at` bytes and `offset` are the second part's.
    fn split(&mut self, at: usize, offset: Offset) -> Run {
        let rest = Run {
            position: self.position + at as Position,
            base: offset,
            bytes: self.bytes.split_off(at),
            ..*self
        };
        self.next = offset;
        rest
    }
}

/// Invariants: runs are in offset order, without a gap in their segment's positions; the first `cached` ones are applied,
/// the others are not; `cached_bytes` and `dirty_bytes` are the sums of their lengths.
#[derive(Debug, Default)]
pub struct Tail {
    runs: VecDeque<Run>,
    cached: usize,
    cached_bytes: usize,
    dirty_bytes: usize,
    /// How many of the last runs are small, shared, and in one segment one after another; and their bytes.
    open_runs: usize,
    open_bytes: usize,
}

/// A batch on its way in.
pub struct Incoming {
    pub segment_base: Offset,
    pub position: Position,
    pub base: Offset,
    pub next: Offset,
    pub bytes: Bytes,
    pub shared: bool,
}

impl Tail {
    pub fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    pub fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// The first offset in memory.
    pub fn start(&self) -> Option<Offset> {
        self.runs.front().map(|run| run.base)
    }

    pub fn push(&mut self, batch: Incoming) {
        let run = Run {
            segment_base: batch.segment_base,
            position: batch.position,
            base: batch.base,
            next: batch.next,
            bytes: batch.bytes,
            shared: batch.shared,
        };
        debug_assert!(self.runs.back().is_none_or(|last| last.next <= run.base));
        self.dirty_bytes += run.bytes.len();
        let continues = self
            .runs
            .back()
            .is_some_and(|last| last.segment_base == run.segment_base);
        if !run.shared || !continues {
            self.open_runs = 0;
            self.open_bytes = 0;
        }
        if run.shared {
            self.open_runs += 1;
            self.open_bytes += run.bytes.len();
        }
        self.runs.push_back(run);
        if self.open_bytes >= RUN_BYTES {
            self.join_open();
        }
    }

    /// Copies the open runs into one of its own memory.
    fn join_open(&mut self) {
        let dirty = self.runs.len() - self.cached;
        let count = self.open_runs.min(dirty);
        self.open_runs = 0;
        self.open_bytes = 0;
        if count == 0 {
            return;
        }
        let from = self.runs.len() - count;
        let mut joined = BytesMut::with_capacity(self.runs.range(from..).map(|run| run.bytes.len()).sum());
        for run in self.runs.range(from..) {
            joined.extend_from_slice(&run.bytes);
        }
        let next = self.runs.back().expect("count is not 0").next;
        self.runs.truncate(from + 1);
        let run = &mut self.runs[from];
        run.bytes = joined.freeze();
        run.next = next;
        run.shared = false;
    }

    /// Lets go of shared memory: for a log that nothing is appended to at the moment.
    pub fn settle(&mut self) {
        self.join_open();
        for run in self.runs.iter_mut().filter(|run| run.shared) {
            run.bytes = Bytes::copy_from_slice(&run.bytes);
            run.shared = false;
        }
    }

    /// The runs from the one that holds or follows `offset`.
    pub fn from(&self, offset: Offset) -> impl Iterator<Item = &Run> + '_ {
        let first = self.runs.partition_point(|run| run.next <= offset);
        self.runs.range(first..)
    }

    pub fn dirty(&self) -> impl Iterator<Item = &Run> + '_ {
        self.runs.range(self.cached..)
    }

    /// The bytes `from..to` of a segment, as far as they are here from `from` on without a gap.
    pub fn slices(&self, segment_base: Offset, from: Position, to: Position, out: &mut Vec<Bytes>) {
        let first = self.runs.partition_point(|run| {
            run.segment_base < segment_base || run.segment_base == segment_base && run.end() <= from
        });
        let mut at = from;
        for run in self.runs.range(first..) {
            if run.segment_base != segment_base || run.position > at || at >= to {
                break;
            }
            let end = run.end().min(to);
            out.push(
                run.bytes
                    .slice((at - run.position) as usize..(end - run.position) as usize),
            );
            at = end;
        }
    }

    /// Whether the byte at `position` is here.
    pub fn holds(&self, segment_base: Offset, position: Position) -> bool {
        self.at(segment_base, position)
            .is_some_and(|run| run.segment_base == segment_base && run.position <= position)
    }

    /// Where the first byte behind `position` is, when that one is not here.
    pub fn position_after(&self, segment_base: Offset, position: Position) -> Option<Position> {
        let run = self.at(segment_base, position)?;
        (run.segment_base == segment_base).then_some(run.position.max(position))
    }

    fn at(&self, segment_base: Offset, position: Position) -> Option<&Run> {
        let before =
            |run: &Run| run.segment_base < segment_base || run.segment_base == segment_base && run.end() <= position;
        self.runs.get(self.runs.partition_point(before))
    }

    /// The segment's bytes below `written` are on the device now, and so are all segments before it: what lies wholly below
    /// is cached from here on.
    pub fn applied(&mut self, segment_base: Offset, written: Position) {
        while let Some(run) = self.runs.get_mut(self.cached) {
            if run.segment_base > segment_base || run.segment_base == segment_base && run.position >= written {
                break;
            }
            if run.segment_base == segment_base && run.end() > written {
                // The boundary lies within this run: split off the batches that are whole on the device.
                let boundary = run
                    .batches()
                    .take_while(|(at, header)| run.position + (at + header.size_bytes) as Position <= written)
                    .last()
                    .map(|(at, header)| (at + header.size_bytes, header.next_offset()));
                let Some((at, offset)) = boundary else { break };
                let rest = run.split(at, offset);
                self.runs.insert(self.cached + 1, rest);
                self.open_runs = 0;
                self.open_bytes = 0;
            }
            let bytes = self.runs[self.cached].bytes.len();
            self.cached += 1;
            self.cached_bytes += bytes;
            self.dirty_bytes -= bytes;
        }
        self.open_runs = self.open_runs.min(self.runs.len() - self.cached);
    }

    /// Forgets the oldest cached runs until at least `bytes` are freed, but none that reaches above `keep` in the segment
    /// `keep_segment`: the block in which the next write starts is still wanted. Returns what was freed.
    pub fn evict_oldest(&mut self, bytes: usize, keep_segment: Offset, keep: Position) -> usize {
        let mut freed = 0;
        while freed < bytes && self.cached > 0 {
            let run = &self.runs[0];
            if run.segment_base == keep_segment && run.end() > keep {
                break;
            }
            freed += run.bytes.len();
            self.runs.pop_front();
            self.cached -= 1;
        }
        self.cached_bytes -= freed;
        freed
    }

    /// Forgets what lies wholly below `offset`, dirty or not: the log starts there now.
    pub fn drop_below(&mut self, offset: Offset) {
        while self.runs.front().is_some_and(|run| run.next <= offset) {
            let run = self.runs.pop_front().expect("there is a first");
            if self.cached > 0 {
                self.cached -= 1;
                self.cached_bytes -= run.bytes.len();
            } else {
                self.dirty_bytes -= run.bytes.len();
            }
        }
        self.open_runs = self.open_runs.min(self.runs.len() - self.cached);
    }
}
