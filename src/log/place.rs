//! Whether a batch is where its log has it. Kafka's CRC covers a batch from byte 21 on. Before that lie the base offset and the
//! leader epoch, which nothing in the batch protects; length, magic and the CRC itself are held by the CRC.
//!
//! What surrounds a batch is the witness: in a dense log a batch begins where the one before it ended, epochs never fall, and
//! what the journal still holds comes after everything that its segment has.

use crate::record::Header;
use crate::types::{LeaderEpoch, Offset};

/// Kafka's rule (LogSegment): no record is further from its segment's base.
const SEGMENT_OFFSETS_MAX: i64 = i32::MAX as i64;

/// Where a batch lies, as far as the log knows without it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The offset after the batch before it.
    pub next: Offset,
    /// Every offset is some record's. A log that was compacted has gaps.
    pub is_dense: bool,
    pub segment_base: Offset,
    /// The first offset that the journal has: everything here is below.
    pub bound: Option<Offset>,
    /// The first offset that the journal, or a later segment, has: no batch that is believed only for what it says of itself
    /// reaches beyond it.
    pub behind: Option<Offset>,
    /// The epoch of the record before it; None when that is not known.
    pub epoch: Option<LeaderEpoch>,
    /// Above this no leader has been. It is asked only when nothing follows the batch.
    pub epoch_max: LeaderEpoch,
    /// The epochs up to here are known: none begins with this batch.
    pub is_epoch_known: bool,
}

/// What comes behind the batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Following {
    Nothing,
    /// A batch that says of itself that it has this base offset and, when it is in the same file, this leader epoch.
    Batch(Offset, Option<LeaderEpoch>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Fits,
    /// It is right, and what comes before it is not there: a gap, which in a dense log is damage.
    BehindGap,
    /// Its first bytes are damaged. It held the offsets from [`Place::next`] to here.
    Damaged {
        upto: Offset,
    },
    /// It cannot be here at all, and nobody can say what was.
    Misplaced,
}

impl Place {
    /// Whether nothing else need be asked to know that the batch fits.
    pub fn fits_plainly(&self, header: &Header) -> bool {
        header.base_offset == self.next && self.epoch == Some(header.leader_epoch) && self.holds(header.next_offset())
    }

    /// Judges a batch whose CRC is right.
    pub fn judge(&self, header: &Header, following: Following) -> Verdict {
        let records_end = self.next + header.last_offset_delta.max(0) as i64 + 1;
        let (base, end) = (header.base_offset, header.next_offset());
        let (behind, behind_epoch) = match following {
            Following::Nothing => (None, None),
            Following::Batch(offset, epoch) => (Some(offset), epoch),
        };
        let is_epoch_right = self.is_epoch_right(header.leader_epoch, behind_epoch);
        let goes_on = behind.is_none_or(|behind| behind == end || !self.is_dense && behind > end);
        if base == self.next {
            return match (self.holds(end), is_epoch_right) {
                (false, _) => Verdict::Misplaced,
                (true, true) => Verdict::Fits,
                (true, false) => Verdict::Damaged { upto: records_end },
            };
        }
        let is_ahead = base > self.next && self.holds(end) && self.is_before_behind(end) && is_epoch_right;
        if is_ahead && goes_on && (behind.is_some() || !self.is_dense) {
            return Verdict::BehindGap;
        }
        let upto = match behind {
            Some(behind) if !self.is_dense && behind > self.next => behind,
            _ => records_end,
        };
        match self.is_before_behind(upto) {
            true => Verdict::Damaged { upto },
            false => Verdict::Misplaced,
        }
    }

    /// Whether the segment may hold records up to here.
    fn holds(&self, end: Offset) -> bool {
        let is_near = (self.segment_base..=self.segment_base + SEGMENT_OFFSETS_MAX + 1).contains(&end);
        is_near && self.bound.is_none_or(|bound| end <= bound)
    }

    /// Whether nothing that is known to come later is below `end`.
    pub fn is_before_behind(&self, end: Offset) -> bool {
        self.behind.is_none_or(|behind| end <= behind)
    }

    fn is_epoch_right(&self, epoch: LeaderEpoch, behind: Option<LeaderEpoch>) -> bool {
        let Some(before) = self.epoch else {
            return behind.is_none_or(|behind| epoch <= behind);
        };
        if epoch <= before || self.is_epoch_known {
            return epoch == before;
        }
        match behind {
            Some(behind) => epoch <= behind,
            None => epoch <= self.epoch_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;

    /// A batch of two records.
    fn header(base_offset: Offset, leader_epoch: LeaderEpoch) -> Header {
        let batch = BatchBuilder::new().record(1, None, None).record(2, None, None);
        Header {
            base_offset,
            leader_epoch,
            ..*batch.build_stamped(0, 0).header()
        }
    }

    fn place() -> Place {
        Place {
            next: 10,
            is_dense: true,
            segment_base: 4,
            bound: None,
            behind: None,
            epoch: Some(3),
            epoch_max: 5,
            is_epoch_known: false,
        }
    }

    fn batch(offset: Offset) -> Following {
        Following::Batch(offset, Some(3))
    }

    #[test]
    fn any_flipped_bit_of_a_base_offset_is_seen() {
        for bit in 0..64 {
            let flipped = header(10 ^ (1 << bit), 3);
            for following in [batch(12), Following::Batch(12, None), Following::Nothing] {
                assert_eq!(
                    place().judge(&flipped, following),
                    Verdict::Damaged { upto: 12 },
                    "{bit}"
                );
            }
            let gapped = Place {
                is_dense: false,
                ..place()
            };
            assert_eq!(
                gapped.judge(&flipped, batch(12)),
                Verdict::Damaged { upto: 12 },
                "{bit}"
            );
        }
    }

    #[test]
    fn any_flipped_bit_of_a_leader_epoch_is_seen() {
        for bit in 0..32 {
            let flipped = header(10, 3 ^ (1 << bit));
            assert_eq!(
                place().judge(&flipped, batch(12)),
                Verdict::Damaged { upto: 12 },
                "{bit}"
            );
            // Without anything behind it, an epoch that has been is believed.
            let known = Place {
                is_epoch_known: true,
                ..place()
            };
            assert_eq!(known.judge(&flipped, Following::Nothing), Verdict::Damaged { upto: 12 });
        }
        assert_eq!(place().judge(&header(10, 5), Following::Nothing), Verdict::Fits);
        assert_eq!(
            place().judge(&header(10, 6), Following::Nothing),
            Verdict::Damaged { upto: 12 }
        );
        assert_eq!(
            place().judge(&header(10, 4), Following::Batch(12, Some(4))),
            Verdict::Fits
        );
    }

    #[test]
    fn missing_batches_are_told_from_a_damaged_offset() {
        assert_eq!(place().judge(&header(15, 3), batch(17)), Verdict::BehindGap);
        // Both are damaged, or batches are missing and one is damaged: its records are these.
        assert_eq!(place().judge(&header(15, 3), batch(30)), Verdict::Damaged { upto: 12 });
        let gapped = Place {
            is_dense: false,
            ..place()
        };
        for following in [batch(17), batch(20), Following::Nothing] {
            assert_eq!(gapped.judge(&header(15, 3), following), Verdict::BehindGap);
        }
    }

    #[test]
    fn what_the_journal_has_is_right() {
        let bounded = Place {
            bound: Some(13),
            behind: Some(13),
            ..place()
        };
        assert_eq!(bounded.judge(&header(10, 3), Following::Batch(13, None)), Verdict::Fits);
        assert_eq!(bounded.judge(&header(12, 3), batch(14)), Verdict::Damaged { upto: 12 });
        let full = Place {
            bound: Some(11),
            behind: Some(11),
            ..place()
        };
        assert_eq!(
            full.judge(&header(10, 3), Following::Batch(11, None)),
            Verdict::Misplaced
        );
    }
}
