//! The sparse index of one segment: for every so many bytes one batch's offset and position, and the greatest timestamp
//! before it.
//!
//! It starts as fine as `index.interval.bytes` says and, when it grows past [`ENTRIES_MAX`], drops every second entry and
//! doubles its spacing: a segment of 1 GiB then has an entry for every 512 KiB, which is one disk operation. That of a closed
//! segment is in a file of its own ([`segment_index`](super::segment_index)). A sequential reader does not need it: see
//! [`Hints`](super::read::Hints).
//!
//! Deliberately missing: Kafka's index files. Kafka builds them anew when it finds none.

use crate::types::Position;

/// More than this and it is thinned. A power of two.
pub const ENTRIES_MAX: usize = 2048;

/// A batch that starts at `position` with offset `base + offset_delta`; the batches before it in this segment have no
/// timestamp above `max_timestamp_before` (-1 when there is none).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexEntry {
    pub offset_delta: u32,
    pub position: u32,
    pub max_timestamp_before: i64,
}

/// Invariants: offsets and positions rise strictly, timestamps never fall; the segment's first batch has no entry, since
/// every search may start there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Index {
    entries: Vec<IndexEntry>,
    spacing_bytes: u64,
}

/// Where a search may start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub position: Position,
    /// The position of the next entry: what is looked for starts before it. None in the last stretch.
    pub next: Option<Position>,
}

impl Index {
    pub fn new(interval_bytes: u64) -> Index {
        Index {
            entries: Vec::new(),
            spacing_bytes: interval_bytes.max(1),
        }
    }

    /// From an index file or a recovery point; None when the entries break the invariants.
    pub fn restore(entries: Vec<IndexEntry>, spacing_bytes: u64) -> Option<Index> {
        let rising = entries.windows(2).all(|pair| {
            pair[0].offset_delta < pair[1].offset_delta
                && pair[0].position < pair[1].position
                && pair[0].max_timestamp_before <= pair[1].max_timestamp_before
        });
        (rising && spacing_bytes > 0 && entries.len() <= ENTRIES_MAX).then_some(Index { entries, spacing_bytes })
    }

    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    pub fn spacing_bytes(&self) -> u64 {
        self.spacing_bytes
    }

    /// Every batch of the segment but the first passes here, in order. It gets an entry when the last one is far enough
    /// away, or must have one.
    pub fn note(&mut self, entry: IndexEntry, must: bool) {
        let last = self.entries.last().map_or(0, |last| last.position);
        if entry.position as u64 - (last as u64) < self.spacing_bytes && !must {
            return;
        }
        self.entries.push(entry);
        if self.entries.len() > ENTRIES_MAX {
            let mut keep = false;
            self.entries.retain(|_| {
                keep = !keep;
                keep
            });
            self.spacing_bytes *= 2;
        }
    }

    /// The last entry at or before `offset_delta`.
    pub fn before_offset(&self, offset_delta: u32) -> Place {
        self.place(self.entries.partition_point(|entry| entry.offset_delta <= offset_delta))
    }

    /// From where the first batch with a timestamp of at least `timestamp` is found.
    pub fn before_timestamp(&self, timestamp: i64) -> Place {
        self.place(
            self.entries
                .partition_point(|entry| entry.max_timestamp_before < timestamp),
        )
    }

    fn place(&self, next: usize) -> Place {
        Place {
            position: next.checked_sub(1).map_or(0, |i| self.entries[i].position as Position),
            next: self.entries.get(next).map(|entry| entry.position as Position),
        }
    }

    /// Forgets every batch at or after `position`.
    pub fn truncate(&mut self, position: Position) {
        let keep = self
            .entries
            .partition_point(|entry| (entry.position as Position) < position);
        self.entries.truncate(keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(i: u32) -> IndexEntry {
        IndexEntry {
            offset_delta: i * 3,
            position: i * 100,
            max_timestamp_before: i as i64 * 10,
        }
    }

    #[test]
    fn finds_the_stretch() {
        let mut index = Index::new(250);
        (0..20).for_each(|i| index.note(entry(i), false));
        let positions: Vec<u32> = index.entries().iter().map(|e| e.position).collect();
        assert_eq!(positions, [300, 600, 900, 1200, 1500, 1800]);
        let place = |position, next| Place { position, next };
        assert_eq!(index.before_offset(0), place(0, Some(300)));
        assert_eq!(index.before_offset(9), place(300, Some(600)));
        assert_eq!(index.before_offset(10), place(300, Some(600)));
        assert_eq!(index.before_offset(1000), place(1800, None));
        assert_eq!(index.before_timestamp(30), place(0, Some(300)));
        assert_eq!(index.before_timestamp(31), place(300, Some(600)));
        index.truncate(900);
        assert_eq!(index.before_offset(1000), place(600, None));
    }

    #[test]
    fn stays_small() {
        let mut index = Index::new(1);
        (0..100_000).for_each(|i| index.note(entry(i), false));
        assert!((ENTRIES_MAX / 2..=ENTRIES_MAX).contains(&index.entries().len()));
        assert!(Index::restore(index.entries().to_vec(), index.spacing_bytes()).is_some());
        let mut shuffled = index.entries().to_vec();
        shuffled.swap(3, 4);
        assert_eq!(Index::restore(shuffled, 1), None);
    }
}
