//! What must be true, whatever happened: the oracle knows every acknowledgement.
//!
//! Each record carries a number of its own, and its value follows from that number, so that a record found anywhere says who
//! sent it, when, and whether a byte of it changed.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{LogId, Offset, Random, TopicId};

/// A record's number, never used twice in a history.
pub type RecordNumber = u64;

#[derive(Clone, Copy, Debug)]
struct Sent {
    producer: usize,
    log: LogId,
    /// An idempotent producer's record is stored at most once, and in order.
    idempotent: bool,
    timestamp: i64,
}

#[derive(Default, Debug)]
struct LogTruth {
    /// Acknowledged with this offset: there for ever, unless the log start passes it.
    acked: BTreeMap<Offset, RecordNumber>,
    /// Seen by a consumer at this offset: must not change either.
    seen: BTreeMap<Offset, RecordNumber>,
    /// Deleting below this was asked for, perhaps in vain.
    start_max: Offset,
    /// Deleting below this was confirmed.
    start_min: Offset,
    high_watermark: Offset,
    /// The topic was deleted, or its deletion was asked for.
    deleted: bool,
    /// The device damaged something of this log: an error in place of a record is right.
    damaged: bool,
    /// Nobody can say that it lost nothing: it may take no records.
    suspected: bool,
}

/// What the broker said of damage, in any of its lives.
#[derive(Clone, Copy, Debug)]
pub struct Reported {
    /// Records of a log cannot be read.
    pub log: bool,
    /// Frames are gone: a log of which only its first ones were in the journal begins later.
    pub journal: bool,
}

#[derive(Default, Debug)]
pub struct Oracle {
    last_number: RecordNumber,
    sent: BTreeMap<RecordNumber, Sent>,
    logs: BTreeMap<LogId, LogTruth>,
    /// Nothing is deleted unless somebody asks for it.
    pub retains_all: bool,
    /// Of topics where somebody asked for it, perhaps in vain: the least age at which records may go, in milliseconds.
    kept_ms: BTreeMap<TopicId, i64>,
    /// Something that was acknowledged may be gone by right.
    pub has_forgotten: bool,
    /// Any log may be suspected, also one that nothing is known of.
    suspects_all: bool,
    /// The last damage was in a journal, where it may be taken for a commit that was never complete.
    may_look_torn: bool,
    pub acked_records: u64,
    pub seen_records: u64,
}

/// One number in so many is of a record that is long and all the same, so that a few bytes inflate to it.
const LONG_ONE_IN: RecordNumber = 64;

fn is_long(number: RecordNumber) -> bool {
    number.is_multiple_of(LONG_ONE_IN)
}

/// The value of a record: its number, then bytes that follow from it.
pub fn value(number: RecordNumber) -> Vec<u8> {
    if is_long(number) {
        return number.to_be_bytes().repeat(40_000);
    }
    let mut random = Random::new(number.wrapping_mul(0x2545_F491_4F6C_DD1D));
    let len = match random.below(50) {
        0 => 3000 + random.below(6_000) as usize,
        1..=10 => 200 + random.below(2000) as usize,
        _ => random.below(100) as usize,
    };
    let mut value = number.to_be_bytes().to_vec();
    while value.len() < 8 + len {
        value.extend_from_slice(&random.next_u64().to_be_bytes());
    }
    value.truncate(8 + len);
    value
}

/// The number of a record, if its value is whole.
fn number_of(bytes: &[u8]) -> Option<RecordNumber> {
    let number = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
    (value(number) == bytes).then_some(number)
}

impl Oracle {
    pub fn new(retains_all: bool) -> Oracle {
        Oracle {
            retains_all,
            ..Oracle::default()
        }
    }

    pub fn new_record(
        &mut self,
        producer: usize,
        log: LogId,
        idempotent: bool,
        timestamp: i64,
        long: bool,
    ) -> RecordNumber {
        self.last_number += 1;
        while is_long(self.last_number) != long {
            self.last_number += 1;
        }
        self.sent.insert(
            self.last_number,
            Sent {
                producer,
                log,
                idempotent,
                timestamp,
            },
        );
        self.last_number
    }

    /// A record that was acknowledged or seen in `log`: its offset and its timestamp.
    pub fn some_record(&self, log: LogId, random: &mut Random) -> Option<(Offset, i64)> {
        let truth = self.logs.get(&log)?;
        let known = if truth.acked.is_empty() {
            &truth.seen
        } else {
            &truth.acked
        };
        let nth = random.below(known.len().max(1) as u64) as usize;
        let (offset, number) = known.iter().nth(nth)?;
        Some((*offset, self.sent[number].timestamp))
    }

    /// ListOffsets answered that the first record at or after `wanted` is at `offset` and has `timestamp`. `promised` is such
    /// a record that was there before it was asked.
    pub fn looked_up(&self, log: LogId, wanted: i64, promised: Offset, offset: Offset, timestamp: i64) {
        let Some(truth) = self.logs.get(&log) else { return };
        if truth.damaged || self.has_forgotten || truth.deleted {
            return;
        }
        let is_kept = self.retains_all_of(log) && promised >= truth.start_max;
        if offset < 0 {
            assert!(!is_kept, "{log}: nothing at or after {wanted}, and {promised} is");
            return;
        }
        assert!(timestamp >= wanted, "{log}: {timestamp} at {offset} is before {wanted}");
        assert!(
            offset <= promised || !is_kept,
            "{log}: {promised} is at or after {wanted}, and {offset} was answered"
        );
        for known in [&truth.acked, &truth.seen] {
            if let Some(number) = known.get(&offset) {
                assert_eq!(
                    self.sent[number].timestamp, timestamp,
                    "{log}: the timestamp at {offset}"
                );
            }
            let mut earlier = known.range(truth.start_max..offset.max(truth.start_max));
            let earlier = earlier.find(|(_, number)| self.retains_all_of(log) && self.sent[number].timestamp >= wanted);
            assert!(
                earlier.is_none(),
                "{log}: {earlier:?} is at or after {wanted}, and {offset} was answered"
            );
        }
    }

    /// Produce answered without an error. Where the log's own files were damaged, the end of its last segment may be gone without
    /// anything that tells it from the end of the log: other records get those offsets then.
    pub fn acked(&mut self, log: LogId, base_offset: Offset, numbers: &[RecordNumber]) {
        let truth = self.logs.entry(log).or_default();
        for (offset, &number) in (base_offset..).zip(numbers) {
            let before = truth.acked.insert(offset, number);
            assert!(
                before.is_none_or(|before| before == number) || truth.damaged,
                "{log}: offset {offset} was acknowledged for record {before:?} and for record {number}"
            );
            let seen = truth.seen.get(&offset);
            assert!(
                seen.is_none_or(|seen| *seen == number) || truth.damaged,
                "{log}: a consumer saw {seen:?} at {offset}, acknowledged for {number}"
            );
            self.acked_records += 1;
        }
    }

    /// A consumer, or the final reading, found this value here.
    pub fn saw(&mut self, log: LogId, offset: Offset, bytes: &[u8]) {
        let number = number_of(bytes);
        let Some(number) = number else {
            panic!(
                "{log}: the record at {offset} is not what anyone sent ({} bytes)",
                bytes.len()
            )
        };
        let sent = self
            .sent
            .get(&number)
            .unwrap_or_else(|| panic!("{log}: record {number} was never sent"));
        assert_eq!(sent.log, log, "record {number} was sent to another partition");
        let truth = self.logs.entry(log).or_default();
        if let Some(acked) = truth.acked.get(&offset) {
            assert!(
                *acked == number || truth.damaged,
                "{log}: offset {offset} was acknowledged for another record"
            );
        }
        let before = truth.seen.insert(offset, number);
        assert!(
            before.is_none_or(|before| before == number) || truth.damaged,
            "{log}: offset {offset} held {before:?}, now {number}"
        );
        self.seen_records += 1;
    }

    /// The high watermark that a response named.
    pub fn high_watermark(&mut self, log: LogId, high_watermark: Offset) {
        let truth = self.logs.entry(log).or_default();
        truth.high_watermark = truth.high_watermark.max(high_watermark);
    }

    pub fn deleting_records(&mut self, log: LogId, before: Offset) {
        let truth = self.logs.entry(log).or_default();
        truth.start_max = truth.start_max.max(before);
    }

    pub fn deleted_records(&mut self, log: LogId, low_watermark: Offset) {
        let truth = self.logs.entry(log).or_default();
        truth.start_min = truth.start_min.max(low_watermark);
    }

    pub fn deleting_topic(&mut self, log: LogId) {
        self.logs.entry(log).or_default().deleted = true;
    }

    /// Records of the topic may go at this age from now on; those of an earlier, shorter time as well.
    pub fn keeping_for(&mut self, topic: TopicId, retention_ms: i64) {
        let kept_ms = self.kept_ms.entry(topic).or_insert(retention_ms);
        *kept_ms = retention_ms.min(*kept_ms);
    }

    /// Nothing of the log goes unless somebody deletes it.
    pub fn retains_all_of(&self, log: LogId) -> bool {
        self.retains_all && !self.kept_ms.contains_key(&log.topic)
    }

    /// The log begins at `start` at this time, by a clock that is right: what is below was deleted, or is old enough. True when
    /// something went for its age.
    pub fn begins_at(&self, log: LogId, start: Offset, true_ms: i64) -> bool {
        let (Some(truth), Some(kept_ms)) = (self.logs.get(&log), self.kept_ms.get(&log.topic)) else {
            return false;
        };
        if truth.damaged || truth.deleted || self.has_forgotten || !self.retains_all || start <= truth.start_max {
            return false;
        }
        let expired = truth.start_max..start;
        for (offset, number) in truth.acked.range(expired.clone()).chain(truth.seen.range(expired)) {
            let age_ms = true_ms - self.sent[number].timestamp;
            assert!(
                age_ms >= *kept_ms,
                "{log}: record {number} at {offset} is gone after {age_ms} ms, and is kept for {kept_ms}"
            );
        }
        true
    }

    /// Its deletion was asked for, perhaps in vain.
    pub fn may_be_deleted(&self, log: LogId) -> bool {
        self.logs.get(&log).is_some_and(|truth| truth.deleted)
    }

    /// The device damaged what it holds of these logs.
    pub fn damaged(&mut self, logs: &BTreeSet<LogId>) {
        for log in logs {
            let truth = self.logs.entry(*log).or_default();
            (truth.damaged, truth.suspected) = (true, true);
        }
    }

    /// The device damaged a journal so that nobody can say which logs lost something.
    pub fn suspects_all(&mut self) {
        self.suspects_all = true;
    }

    /// The device damaged a journal where that may be taken for a commit that was never complete.
    pub fn may_look_torn(&mut self) {
        self.may_look_torn = true;
        self.suspects_all = true;
        for truth in self.logs.values_mut() {
            truth.damaged = true;
        }
    }

    /// Logs that nobody deleted.
    pub fn logs(&self) -> impl Iterator<Item = LogId> + '_ {
        self.logs.keys().copied()
    }

    /// The last commit of a journal was taken for torn, and it may have been damaged instead.
    pub fn forget_if_damaged(&mut self) {
        if std::mem::take(&mut self.may_look_torn) {
            self.forget_acked();
        }
    }

    /// The power went, and of each log fewer records than its topic's `flush.messages` were not flushed: those before them are
    /// still promised.
    pub fn forget_unflushed(&mut self, flush_messages: impl Fn(LogId) -> i64) {
        self.has_forgotten = true;
        for (log, truth) in &mut self.logs {
            let known = [&truth.acked, &truth.seen].map(|of| of.last_key_value().map_or(0, |(last, _)| last + 1));
            let end = known[0].max(known[1]).max(truth.high_watermark);
            let promised = end - (flush_messages(*log) - 1).min(end);
            truth.acked.split_off(&promised);
            truth.seen.split_off(&promised);
            truth.high_watermark = truth.high_watermark.min(promised);
        }
    }

    /// What was acknowledged is not promised any more. It must still be stored at most once, and in order.
    pub fn forget_acked(&mut self) {
        self.has_forgotten = true;
        for truth in self.logs.values_mut() {
            truth.acked.clear();
            truth.seen.clear();
            truth.high_watermark = 0;
        }
    }

    /// It may take no records: it lost some, or nobody can say that it did not.
    pub fn may_be_read_only(&self, log: LogId) -> bool {
        self.suspects_all || self.logs.get(&log).is_some_and(|truth| truth.suspected)
    }

    /// Logs whose content is still promised.
    pub fn promised_logs(&self) -> Vec<LogId> {
        self.logs
            .iter()
            .filter(|(_, truth)| !truth.deleted)
            .map(|(log, _)| *log)
            .collect()
    }

    /// Everything of `log` was just read, from `start` to `end`, into `found`: is it all that was promised?
    /// With damage something may be missing, if the broker said so.
    pub fn check_whole(
        &self,
        log: LogId,
        start: Offset,
        end: Offset,
        found: &BTreeMap<Offset, Vec<u8>>,
        reported: Reported,
    ) {
        let empty = LogTruth::default();
        let truth = self.logs.get(&log).unwrap_or(&empty);
        if truth.deleted {
            return;
        }
        assert!(
            start <= truth.start_max
                || !self.retains_all_of(log)
                || truth.damaged && (reported.log || reported.journal),
            "{log}: starts at {start}, nothing beyond {} was to go",
            truth.start_max
        );
        // A journal that lost the frame that says so brings deleted records back. A recovery point does not: it is there twice.
        assert!(
            start >= truth.start_min || truth.damaged,
            "{log}: starts at {start}, deleting up to {} was confirmed",
            truth.start_min
        );
        if !truth.damaged {
            assert!(
                end >= truth.high_watermark,
                "{log}: ends at {end}, the high watermark was {}",
                truth.high_watermark
            );
            for offset in start..end {
                assert!(
                    found.contains_key(&offset),
                    "{log}: no record at {offset} of {start}..{end}"
                );
            }
            for (offset, number) in truth.acked.range(start..) {
                assert!(
                    found.contains_key(offset),
                    "{log}: acknowledged record {number} at {offset} is lost (end {end})"
                );
            }
        }
        let missing = truth
            .acked
            .range(start..)
            .find(|(offset, _)| !found.contains_key(offset));
        assert!(
            missing.is_none() || truth.damaged && reported.log,
            "{log}: {missing:?} is gone after damage, and nobody was told"
        );
        let mut last_of_producer: BTreeMap<usize, RecordNumber> = BTreeMap::new();
        let mut counts: BTreeMap<RecordNumber, Offset> = BTreeMap::new();
        for (offset, bytes) in found {
            let number =
                number_of(bytes).unwrap_or_else(|| panic!("{log}: the record at {offset} is not what anyone sent"));
            let sent = self.sent[&number];
            if !sent.idempotent {
                continue;
            }
            if let Some(earlier) = counts.insert(number, *offset) {
                panic!("{log}: record {number} is stored twice, at {earlier} and {offset}");
            }
            let last = last_of_producer.insert(sent.producer, number);
            assert!(
                last.is_none_or(|last| last < number),
                "{log}: record {number} at {offset} comes after {last:?}"
            );
        }
    }
}
