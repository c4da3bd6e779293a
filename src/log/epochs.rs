//! Which leader epoch wrote which offsets (KIP-101, KIP-279): Kafka's `LeaderEpochFileCache`.
//!
//! Invariant: entries rise strictly in both epoch and start offset.

use crate::types::{LeaderEpoch, Offset};

/// "No such epoch", and "no such offset", on the wire.
pub const UNDEFINED_EPOCH: LeaderEpoch = -1;
pub const UNDEFINED_OFFSET: Offset = -1;

/// An epoch and the offset of its first record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochStart {
    pub epoch: LeaderEpoch,
    pub start: Offset,
}

/// The epochs of one log, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Epochs {
    entries: Vec<EpochStart>,
}

impl Epochs {
    pub fn new() -> Epochs {
        Epochs::default()
    }

    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    pub fn latest(&self) -> Option<EpochStart> {
        self.entries.last().copied()
    }

    /// Enters that `epoch` begins at `start`: on becoming leader, before any append, and for each batch of a follower or
    /// of a replay. Entries that contradict it go, as they belong to records that were cut off. Gives whether anything
    /// changed. Neither number may be negative.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        assert!(epoch >= 0 && start >= 0, "epoch {epoch} from offset {start}");
        if self
            .latest()
            .is_some_and(|latest| latest.epoch == epoch && latest.start <= start)
        {
            return false;
        }
        while self
            .latest()
            .is_some_and(|latest| latest.epoch >= epoch || latest.start >= start)
        {
            self.entries.pop();
        }
        self.entries.push(EpochStart { epoch, start });
        true
    }

    /// The log now ends at `end`: drops the epochs that begin there or later. Gives whether anything changed.
    pub fn truncate_end(&mut self, end: Offset) -> bool {
        let before = self.entries.len();
        self.entries
            .truncate(self.entries.partition_point(|entry| entry.start < end));
        self.entries.len() != before
    }

    /// The log now starts at `start`: the epoch that `start` belongs to begins there, older ones go. Gives whether
    /// anything changed.
    pub fn truncate_start(&mut self, start: Offset) -> bool {
        let gone = self.entries.partition_point(|entry| entry.start <= start);
        let Some(last) = gone.checked_sub(1) else { return false };
        let changed = last > 0 || self.entries[last].start != start;
        self.entries.drain(..last);
        self.entries[0].start = start;
        changed
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let above = self.entries.partition_point(|entry| entry.start <= offset);
        above.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// Kafka's answer to OffsetForLeaderEpoch: the largest epoch that is not above `requested`, and the offset at which it
    /// ended, which is where the next one starts, or `log_end` for the latest. Undefined when `requested` is above all;
    /// when it is below all, itself and the start of the oldest.
    pub fn end_offset_for(&self, requested: LeaderEpoch, log_end: Offset) -> (LeaderEpoch, Offset) {
        const UNDEFINED: (LeaderEpoch, Offset) = (UNDEFINED_EPOCH, UNDEFINED_OFFSET);
        if requested == UNDEFINED_EPOCH {
            return UNDEFINED;
        }
        if self.latest().is_some_and(|latest| latest.epoch == requested) {
            return (requested, log_end);
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= requested);
        let Some(next) = self.entries.get(above) else {
            return UNDEFINED;
        };
        match above.checked_sub(1) {
            None => (requested, next.start),
            Some(floor) => (self.entries[floor].epoch, next.start),
        }
    }
}

impl FromIterator<EpochStart> for Epochs {
    /// Entries in any state that a stored list could be in; those that contradict later ones go, negative ones are skipped.
    fn from_iter<I: IntoIterator<Item = EpochStart>>(entries: I) -> Epochs {
        let mut epochs = Epochs::new();
        for EpochStart { epoch, start } in entries {
            if epoch >= 0 && start >= 0 {
                epochs.assign(epoch, start);
            }
        }
        epochs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn epochs(entries: &[(LeaderEpoch, Offset)]) -> Epochs {
        entries
            .iter()
            .map(|&(epoch, start)| EpochStart { epoch, start })
            .collect()
    }

    fn list(epochs: &Epochs) -> Vec<(LeaderEpoch, Offset)> {
        epochs
            .entries()
            .iter()
            .map(|entry| (entry.epoch, entry.start))
            .collect()
    }

    /// The cases of Kafka's LeaderEpochFileCacheTest.
    #[test]
    fn end_offsets_are_kafkas() {
        assert_eq!(Epochs::new().end_offset_for(0, 0), (-1, -1));
        assert_eq!(epochs(&[(2, 10)]).end_offset_for(2, 14), (2, 14));
        assert_eq!(epochs(&[(2, 10)]).end_offset_for(3, 14), (-1, -1));
        assert_eq!(epochs(&[(2, 10)]).end_offset_for(-1, 14), (-1, -1));
        let several = epochs(&[(2, 11), (3, 12), (5, 14)]);
        assert_eq!(several.end_offset_for(1, 20), (1, 11));
        assert_eq!(several.end_offset_for(2, 20), (2, 12));
        assert_eq!(several.end_offset_for(4, 20), (3, 14));
        assert_eq!(several.end_offset_for(5, 20), (5, 20));
        assert_eq!(several.end_offset_for(6, 20), (-1, -1));
    }

    #[test]
    fn assign_keeps_the_list_rising() {
        let mut e = epochs(&[(2, 6)]);
        assert!(!e.assign(2, 7), "the first start of an epoch stands");
        assert!(e.assign(3, 6), "nothing was written in epoch 2");
        assert_eq!(list(&e), [(3, 6)]);
        assert!(e.assign(4, 9));
        assert!(e.assign(2, 8));
        assert_eq!(list(&e), [(2, 8)]);
        let mut later = epochs(&[(1, 5), (3, 9)]);
        assert!(later.assign(3, 7), "an earlier start of the latest epoch is taken");
        assert_eq!(list(&later), [(1, 5), (3, 7)]);
    }

    #[test]
    fn truncated_at_both_ends() {
        let all = epochs(&[(2, 6), (3, 8), (4, 11)]);
        let end = |at| {
            let mut cut = all.clone();
            let changed = cut.truncate_end(at);
            assert_eq!(changed, cut != all);
            list(&cut)
        };
        assert_eq!(end(8), [(2, 6)]);
        assert_eq!(end(9), [(2, 6), (3, 8)]);
        assert_eq!(end(6), []);
        assert_eq!(end(12), [(2, 6), (3, 8), (4, 11)]);
        let start = |at| {
            let mut cut = all.clone();
            let changed = cut.truncate_start(at);
            assert_eq!(changed, cut != all);
            list(&cut)
        };
        assert_eq!(start(5), [(2, 6), (3, 8), (4, 11)]);
        assert_eq!(start(7), [(2, 7), (3, 8), (4, 11)]);
        assert_eq!(start(8), [(3, 8), (4, 11)]);
        assert_eq!(start(9), [(3, 9), (4, 11)]);
        assert_eq!(start(99), [(4, 99)]);
    }

    proptest! {
        #[test]
        fn always_rising(steps in prop::collection::vec((0..3u8, 0..8i32, 0..20i64), 0..40)) {
            let mut e = Epochs::new();
            for (what, epoch, offset) in steps {
                match what {
                    0 => e.assign(epoch, offset),
                    1 => e.truncate_end(offset),
                    _ => e.truncate_start(offset),
                };
                prop_assert!(e.entries().is_sorted_by(|a, b| a.epoch < b.epoch && a.start < b.start));
                for entry in e.entries() {
                    prop_assert_eq!(e.epoch_at(entry.start), Some(entry.epoch));
                }
            }
        }
    }
}
