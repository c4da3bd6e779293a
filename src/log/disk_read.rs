//! Reading batches from a segment's file: whole blocks, at most [`OPERATION_BYTES_MAX`] in one operation, until the batches
//! that are wanted are complete.

use bytes::{Bytes, BytesMut};

use crate::record::{Scan, Stop, View};
use crate::types::{BLOCK_BYTES, File, OPERATION_BYTES_MAX, Offset, Position};

use super::lookup::Search;
use super::read::Wanted;
use crate::record::scan::Depth;

/// One operation: bytes `position .. position + len` of `file`, fewer at its end. What comes goes to
/// [`Log::finish_read`](super::Log::finish_read), [`Log::finish_list`](super::Log::finish_list) or
/// [`Log::finish_truncation`](super::Log::finish_truncation), whoever gave it.
#[derive(Clone, Debug)]
pub struct DiskRead {
    pub file: File,
    pub position: Position,
    pub len: usize,
    pub(super) segment_base: Offset,
    pub(super) generation: u64,
    /// The batch at which what is wanted begins.
    pub(super) from: Position,
    /// Whole batches end here.
    pub(super) limit: Position,
    /// The base offset of that batch, if the log knows it.
    pub(super) expected: Option<Offset>,
    /// It goes on where an earlier read ended.
    pub(super) is_sequential: bool,
    /// `from .. position`, read by earlier operations because the batch at `from` is longer than one.
    held: Vec<Bytes>,
    /// The size of that batch; 0 as long as nothing is held.
    batch_bytes: usize,
    pub(super) goal: Goal,
}

#[derive(Clone, Debug)]
pub(super) enum Goal {
    Read(Wanted),
    List(Search),
    Cut(Offset),
}

/// Where a [`DiskRead`] begins and ends.
pub(super) struct Stretch {
    pub file: File,
    pub segment_base: Offset,
    pub generation: u64,
    pub from: Position,
    pub limit: Position,
}

impl DiskRead {
    /// Reads `wanted` bytes from `stretch.from` on, as far as one operation reaches.
    pub(super) fn new(stretch: Stretch, wanted: u64, goal: Goal) -> DiskRead {
        debug_assert!(stretch.from < stretch.limit);
        let mut read = DiskRead {
            file: stretch.file,
            position: 0,
            len: 0,
            segment_base: stretch.segment_base,
            generation: stretch.generation,
            from: stretch.from,
            limit: stretch.limit,
            expected: None,
            is_sequential: false,
            held: Vec::new(),
            batch_bytes: 0,
            goal,
        };
        read.aim(stretch.from, wanted);
        read
    }

    /// At most this many bytes of batches will come of it, unless a single batch is larger.
    pub fn bytes_max(&self) -> usize {
        match &self.goal {
            Goal::Read(wanted) => wanted.bytes_max,
            Goal::List(_) | Goal::Cut(_) => 0,
        }
    }

    /// What it brings, and what earlier operations brought for it.
    pub fn memory_bytes(&self) -> usize {
        self.held_bytes() + self.len
    }

    /// The size of the batch that is read in pieces because one operation does not reach its end; 0 when there is none.
    pub fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    fn held_bytes(&self) -> usize {
        self.held.iter().map(Bytes::len).sum()
    }

    /// The segment, and the position in it of the first batch that is read.
    pub fn first_position(&self) -> (Offset, Position) {
        (self.segment_base, self.from)
    }

    pub fn is_sequential(&self) -> bool {
        self.is_sequential
    }

    /// This read, which begins at the same batch and offset as `other`, for what `other` is for; None when it begins elsewhere.
    pub fn instead_of(&self, other: &DiskRead) -> Option<DiskRead> {
        let offset = |goal: &Goal| match goal {
            Goal::Read(wanted) => Some(wanted.offset),
            Goal::List(_) | Goal::Cut(_) => None,
        };
        let begins = |read: &DiskRead| (read.file.id, read.generation, read.from, offset(&read.goal));
        let goal = other.goal.clone();
        (begins(self) == begins(other)).then(|| DiskRead { goal, ..self.clone() })
    }

    fn aim(&mut self, at: Position, wanted: u64) {
        let end = at
            .saturating_add(wanted.max(1))
            .min(self.limit)
            .next_multiple_of(BLOCK_BYTES);
        self.position = at - at % BLOCK_BYTES;
        self.len = (end - self.position).min(OPERATION_BYTES_MAX as u64) as usize;
    }

    /// What this operation brought of the bytes from `from` on. None when the file ended before what was asked for.
    fn fresh(&self, bytes: &Bytes) -> Option<Bytes> {
        let end = (self.position + self.len as u64).min(self.limit);
        let skip = if self.held.is_empty() {
            self.from - self.position
        } else {
            0
        };
        if (bytes.len() as u64) < end - self.position {
            return None;
        }
        Some(bytes.slice(skip as usize..(end - self.position) as usize))
    }

    /// The next operation when the batch that is read in pieces is still not complete. Its pieces are put together once,
    /// when all are there: doing so after each would copy a large batch as often as it has pieces.
    pub(super) fn next_piece(&self, bytes: &Bytes) -> Option<DiskRead> {
        let fresh = self.fresh(bytes)?;
        let read_bytes = self.held_bytes() + fresh.len();
        if read_bytes >= self.batch_bytes {
            return None;
        }
        let mut next = self.clone();
        next.held.push(fresh);
        next.aim(
            self.from + read_bytes as Position,
            (self.batch_bytes - read_bytes) as u64,
        );
        Some(next)
    }

    /// The bytes from `from` on, as far as they were read. None when the file ended before what was asked for.
    pub(super) fn view(&self, bytes: Bytes) -> Option<Bytes> {
        let fresh = self.fresh(&bytes)?;
        if self.held.is_empty() {
            return Some(fresh);
        }
        let mut whole = BytesMut::with_capacity(self.held_bytes() + fresh.len());
        self.held.iter().for_each(|held| whole.extend_from_slice(held));
        whole.extend_from_slice(&fresh);
        Some(whole.freeze())
    }

    /// The operation that goes on where `view` ended for lack of bytes: at the batch `at`, of which `size` bytes are needed.
    /// None when there are no more below the limit.
    pub(super) fn go_on(&self, view: &Bytes, at: usize, size: usize, wanted: u64) -> Option<DiskRead> {
        let from = self.from + at as Position;
        if from >= self.limit || from + size as Position > self.limit {
            return None;
        }
        let mut next = self.clone();
        next.from = from;
        next.expected = next.expected.filter(|_| at == 0);
        next.held.clear();
        next.batch_bytes = 0;
        if at == 0 && !view.is_empty() {
            // Even one operation was not enough for the first batch.
            let read_to = self.from + view.len() as Position;
            next.held.push(view.clone());
            next.batch_bytes = size;
            // What was read ends at a block's end, since it is not the end of what there is.
            next.aim(read_to, (size - view.len()) as u64);
        } else {
            next.aim(from, wanted.max(size as u64));
        }
        Some(next)
    }
}

/// What the batches in a view end with.
pub(super) enum Ended {
    /// Between batches, or within one that starts at `at` and of which `size` bytes are needed.
    NeedsMore {
        at: usize,
        size: usize,
    },
    Damaged {
        at: usize,
    },
    /// What is left of the view is zeros.
    Zeros,
}

/// Shows the batches of `view` to `each` until it has seen enough; then there is no ending.
pub(super) fn walk<'a>(view: &'a Bytes, depth: Depth, mut each: impl FnMut(View<'a>) -> bool) -> Option<Ended> {
    let mut scan = Scan::new(view, depth);
    for batch in scan.by_ref() {
        if each(batch) {
            return None;
        }
    }
    Some(match scan.stop().expect("a scan that ended says why") {
        Stop::End => Ended::NeedsMore {
            at: view.len(),
            size: 1,
        },
        Stop::Torn { position, size } => Ended::NeedsMore {
            at: *position,
            size: *size,
        },
        Stop::Zeros { .. } => Ended::Zeros,
        Stop::Corrupt { position, .. } => Ended::Damaged { at: *position },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::FileIds;

    #[test]
    fn the_pieces_of_a_large_batch_are_put_together_once() {
        let batch_bytes = 5 * OPERATION_BYTES_MAX + 1000;
        let file = File {
            id: FileIds::default().next(),
            path: "t-0/00000000000000000000.log".into(),
        };
        let stretch = Stretch {
            file,
            segment_base: 0,
            generation: 0,
            from: 100,
            limit: 100 + batch_bytes as u64,
        };
        let content: Vec<u8> = (0..100 + batch_bytes).map(|i| i as u8).collect();
        let of = |read: &DiskRead| {
            let end = (read.position as usize + read.len).min(content.len());
            Bytes::copy_from_slice(&content[read.position as usize..end])
        };
        let first = DiskRead::new(stretch, 1, Goal::Cut(0));
        assert!(
            first.next_piece(&of(&first)).is_none(),
            "what it is a piece of is not known yet"
        );
        let view = first.view(of(&first)).unwrap();
        let mut read = first.go_on(&view, 0, batch_bytes, 1).unwrap();
        let mut pieces = 1;
        while let Some(next) = read.next_piece(&of(&read)) {
            read = next;
            pieces += 1;
        }
        assert_eq!(pieces, 5);
        assert_eq!(read.view(of(&read)).unwrap(), content[100..]);
        assert!(read.go_on(&Bytes::new(), batch_bytes, 1, 1).is_none());
    }
}
