//! The owner's side of a produce: check the batch, give it offsets, append, join the commit, answer when it is safe.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::error::ErrorCode;
use crate::log::AppendError;
use crate::record::compress::inflate_memory_bytes;
use crate::record::header::HEADER_BYTES;
use crate::record::{Batch, Codec, Compression, Limits, RecordError};
use crate::types::{ConnId, LogId, Offset, OpId};

use super::Shard;
use super::compute::Client;
use super::disk::Op;
use super::folders::Folder;
use super::message::{Answer, AppendItem, AppendOutcome, Asker};

/// Above these, of a batch as it is and of its records inflated, work on a batch's bytes leaves the shard's loop.
const INLINE_CODEC_BYTES_MAX: usize = 64 * 1024;
const INLINE_INFLATED_BYTES_MAX: usize = 256 * 1024;
/// Deflating takes so many times as long as inflating, or more.
const DEFLATE_WEIGHT: usize = 16;

/// One [`Ask::Append`](super::message::Ask::Append) that is not answered yet.
pub struct Appending {
    asker: Asker,
    client: Client,
    outcomes: Vec<AppendOutcome>,
    outstanding: usize,
}

/// Which partition of which ask.
#[derive(Clone, Copy, Debug)]
pub struct AppendSlot {
    append: u64,
    slot: usize,
}

/// A batch that waits its turn: behind a batch on a worker thread, or for room in the journal or in memory.
pub struct Pending {
    at: AppendSlot,
    deadline_us: u64,
    zstd_allowed: bool,
    state: Checked,
}

enum Checked {
    Not(BytesMut),
    OnWorker(OpId),
    Yes(Batch),
}

/// Partitions whose next batch waits, in the order in which they came.
#[derive(Default)]
pub struct Blocked {
    queue: VecDeque<(LogId, Lack)>,
    /// How many of them wait for room.
    for_room: usize,
    /// The size of the first batch that waits for room.
    bytes_wanted: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lack {
    /// In the journal or in memory, which all partitions share.
    Room,
    /// Logs without a folder hold a bounded part of both, since nothing of them can be written out; and one that was put aside
    /// writes what it has before it takes more.
    Files,
}

impl Blocked {
    fn push(&mut self, log: LogId, lack: Lack) {
        self.for_room += usize::from(lack == Lack::Room);
        self.queue.push_back((log, lack));
    }

    pub fn remove(&mut self, log: LogId) {
        self.queue.retain(|(waiting, _)| *waiting != log);
        self.for_room = self.queue.iter().filter(|(_, lack)| *lack == Lack::Room).count();
    }

    pub fn logs(&self) -> Vec<LogId> {
        self.queue.iter().map(|(log, _)| *log).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    fn wants_room(&self) -> bool {
        self.for_room > 0
    }

    /// What is to be free for the one that waits longest, in bytes of a batch; 0 when nobody waits.
    pub fn room_wanted(&self) -> u64 {
        if self.wants_room() { self.bytes_wanted } else { 0 }
    }
}

/// An appended batch that is not durable yet. Answered when the log is durable up to `next_offset`.
pub struct Waiter {
    at: AppendSlot,
    next_offset: Offset,
    outcome: AppendOutcome,
}

/// Whether the head of a partition's queue moved on.
enum Progress {
    Done,
    Blocked,
}

impl Shard {
    pub(super) fn serve_append(
        &mut self,
        asker: Asker,
        conn: ConnId,
        acks: i16,
        deadline_us: u64,
        items: Vec<AppendItem>,
    ) {
        let append = self.new_id();
        let outcomes = Vec::with_capacity(items.len());
        self.appending.insert(
            append,
            Appending {
                asker,
                client: Client::Connection(asker.shard, conn),
                outcomes,
                outstanding: items.len(),
            },
        );
        for item in items {
            let at = AppendSlot {
                append,
                slot: item.slot,
            };
            match self.admit(item.log, acks, &item) {
                Ok(()) => {
                    let pending = Pending {
                        at,
                        deadline_us,
                        zstd_allowed: item.zstd_allowed,
                        state: Checked::Not(item.records),
                    };
                    self.partition_mut(item.log).pending.push_back(pending);
                    if self.partition(item.log).pending.len() == 1 {
                        self.advance_appends(item.log);
                    }
                }
                Err((error, message)) => self.append_done(at, AppendOutcome::refused(at.slot, error, message)),
            }
        }
    }

    /// What can be refused before the batch is looked at.
    fn admit(&self, log: LogId, acks: i16, item: &AppendItem) -> Result<(), (ErrorCode, Option<String>)> {
        let Some(partition) = self.partitions.get(&log) else {
            return Err((ErrorCode::UnknownTopicOrPartition, None));
        };
        partition
            .replica
            .accepts(acks)
            .map_err(|error| (error, partition.offline_reason()))?;
        if let Some((error, why)) = partition.read_only() {
            return Err((error, Some(why)));
        }
        if let Some(why) = self.produce_refused() {
            return Err((ErrorCode::KafkaStorageError, Some(why)));
        }
        let max = partition.config.max_message_bytes;
        if item.records.len() > max {
            let message = format!(
                "The batch has {} bytes, the topic's max.message.bytes is {max}: raise it or send smaller batches",
                item.records.len()
            );
            return Err((ErrorCode::MessageTooLarge, Some(message)));
        }
        Ok(())
    }

    /// Appends from the front of a partition's queue until it is empty or must wait.
    pub(super) fn advance_appends(&mut self, log: LogId) {
        while let Some(partition) = self.partitions.get_mut(&log) {
            let Some(pending) = partition.pending.pop_front() else {
                return;
            };
            if let Progress::Blocked = self.advance_append(log, pending) {
                return;
            }
        }
    }

    fn advance_append(&mut self, log: LogId, mut pending: Pending) -> Progress {
        let batch = match pending.state {
            Checked::Yes(batch) => batch,
            Checked::OnWorker(op) => {
                pending.state = Checked::OnWorker(op);
                self.partition_mut(log).pending.push_front(pending);
                return Progress::Blocked;
            }
            Checked::Not(records) => {
                let partition = self.partition(log);
                let limits = partition.batch_limits(pending.zstd_allowed);
                let recompress = partition.recompression();
                match self.check_inline(records, &limits, recompress) {
                    Ok(Ok(batch)) => batch,
                    Ok(Err(error)) => {
                        let log_start = self.partition(log).log.start();
                        self.append_done(pending.at, refused_batch(pending.at.slot, &error, log_start));
                        return Progress::Done;
                    }
                    Err(records) => {
                        self.stats.batches_on_worker += 1;
                        let client = self.appending[&pending.at.append].client;
                        let now_ms = self.now.wall_ms;
                        let memory_bytes = check_memory_bytes(&records, recompress);
                        let op = self.compute(client, Op::Checked(log), memory_bytes, move || {
                            let batch = Batch::check(records, &limits, now_ms)?;
                            recompressed(batch, recompress, &limits)
                        });
                        pending.state = Checked::OnWorker(op);
                        self.partition_mut(log).pending.push_front(pending);
                        return Progress::Blocked;
                    }
                }
            }
        };
        if batch.is_transactional() {
            // Without a coordinator nobody could ever end the transaction.
            let message = "Transactions are not served, and the batch is part of one".to_string();
            let outcome = AppendOutcome::refused(pending.at.slot, ErrorCode::InvalidTxnState, Some(message));
            self.append_done(pending.at, outcome);
            return Progress::Done;
        }
        let largest = self.largest_batch_bytes();
        if batch.size_bytes as u64 > largest {
            // It would wait for ever, and everybody behind it.
            let message = format!(
                "The batch has {} bytes, this broker's journal takes at most {largest}: send smaller batches, or raise \
                 tidemill.journal.bytes",
                batch.size_bytes
            );
            let outcome = AppendOutcome::refused(pending.at.slot, ErrorCode::MessageTooLarge, Some(message));
            self.append_done(pending.at, outcome);
            return Progress::Done;
        }
        if let Some(lack) = self.lacks(log, batch.size_bytes) {
            if lack == Lack::Files
                && let Some(why) = self.folder_refused(log)
            {
                let outcome = AppendOutcome::refused(pending.at.slot, ErrorCode::KafkaStorageError, Some(why));
                self.append_done(pending.at, outcome);
                return Progress::Done;
            }
            self.stats.appends_blocked += 1;
            if lack == Lack::Room && !self.space.takes(batch.size_bytes) {
                self.space.want(batch.size_bytes);
                self.ask_space();
            }
            if lack == Lack::Room && !self.blocked.wants_room() {
                self.blocked.bytes_wanted = batch.size_bytes as u64;
            }
            pending.state = Checked::Yes(batch);
            self.partition_mut(log).pending.push_front(pending);
            self.blocked.push(log, lack);
            self.want_room();
            return Progress::Blocked;
        }
        self.append(log, pending.at, batch);
        Progress::Done
    }

    /// What a batch of this size must wait for before the log takes it. Whoever waits for room is served in the order of
    /// coming: a large batch would otherwise wait for as long as small ones come.
    fn lacks(&self, log: LogId, bytes: usize) -> Option<Lack> {
        let is_placed = self.partition(log).folder == Folder::Ready;
        let is_beyond_share = !is_placed && self.unplaced_bytes + bytes as u64 > self.limits.unplaced_bytes();
        if is_beyond_share || self.parking.holds(log) {
            return Some(Lack::Files);
        }
        let has_room = !self.blocked.wants_room() && self.has_room_for(bytes);
        (!has_room).then_some(Lack::Room)
    }

    /// Checks a batch, as long as that is little work; otherwise gives its bytes back as they were.
    ///
    /// The bytes of a compressed batch say nothing of what they inflate to, so that is found out: the loop inflates up to a
    /// bound, and the worker thread begins anew.
    fn check_inline(
        &mut self,
        records: BytesMut,
        limits: &Limits,
        recompress: Option<Compression>,
    ) -> Result<Result<Batch, RecordError>, BytesMut> {
        let codec = claimed_codec(&records);
        let deflates = recompress.is_some_and(|to| to.codec as u8 != codec);
        if codec == Codec::None as u8 && !deflates {
            return Ok(Batch::check(records, limits, self.now.wall_ms));
        }
        let weight = if deflates { DEFLATE_WEIGHT } else { 1 };
        let bytes_max = INLINE_INFLATED_BYTES_MAX.min(self.computing.inline_left) / weight;
        if records.len() > bytes_max.min(INLINE_CODEC_BYTES_MAX) {
            return Err(records);
        }
        let bytes = records.len();
        let mut room = bytes_max;
        let checked = Batch::check_within(records, limits, self.now.wall_ms, &mut room);
        self.computing.inline_left -= bytes.max(bytes_max - room) * weight;
        match checked {
            Ok(checked) => Ok(checked.and_then(|batch| recompressed(batch, recompress, limits))),
            Err(records) => {
                self.stats.batches_handed_on += 1;
                Err(records)
            }
        }
    }

    /// Offsets, log, journal. The batch is answered when its commit is durable.
    fn append(&mut self, log: LogId, at: AppendSlot, batch: Batch) {
        let partition = self.partitions.get_mut(&log).expect("the caller found it");
        let epoch = partition.replica.leader_epoch;
        let stamps_time = partition.stamps_time();
        let max_timestamp = batch.max_timestamp;
        let log_start = partition.log.start();
        let outcome = |base_offset, max_timestamp| AppendOutcome {
            slot: at.slot,
            error: ErrorCode::None,
            message: None,
            record_index: None,
            base_offset,
            log_append_time_ms: if stamps_time { max_timestamp } else { -1 },
            log_start,
        };
        match partition.log.append_leader(self.now, batch, epoch, &mut self.arena) {
            Ok(appended) => {
                if partition.folder != Folder::Ready {
                    partition.unplaced_bytes += appended.bytes.len() as u64;
                    self.unplaced_bytes += appended.bytes.len() as u64;
                }
                let next_offset = appended.last_offset + 1;
                let is_flushed = partition.must_flush(next_offset);
                let answer = outcome(appended.base_offset, max_timestamp);
                partition.waiters.push_back(Waiter {
                    at,
                    next_offset,
                    outcome: answer,
                });
                self.journal_append(log, appended, is_flushed);
            }
            Err(AppendError::Duplicate {
                base_offset,
                last_offset,
                timestamp,
            }) => {
                self.stats.duplicates += 1;
                let answer = outcome(base_offset, timestamp);
                if last_offset < partition.log.durable() {
                    self.append_done(at, answer);
                } else {
                    partition.waiters.push_back(Waiter {
                        at,
                        next_offset: last_offset + 1,
                        outcome: answer,
                    });
                }
            }
            Err(error) => {
                let message = Some(error.to_string());
                let refused = AppendOutcome::refused(at.slot, error.code(), message);
                // Where the log begins says whether retention may have taken what the producer goes by.
                self.append_done(at, AppendOutcome { log_start, ..refused });
            }
        }
    }

    /// A worker thread has looked at a batch of this partition.
    pub(super) fn checked(&mut self, op: OpId, log: LogId, result: Result<Batch, RecordError>) {
        let Some(partition) = self.partitions.get_mut(&log) else {
            return;
        };
        // Deleted and made again under the same id cannot be, but its queue may have been failed meanwhile.
        let Some(pending) = partition.pending.front_mut() else {
            return;
        };
        if !matches!(pending.state, Checked::OnWorker(waiting) if waiting == op) {
            return;
        }
        match result {
            Ok(batch) => pending.state = Checked::Yes(batch),
            Err(error) => {
                let at = pending.at;
                let log_start = partition.log.start();
                partition.pending.pop_front();
                self.append_done(at, refused_batch(at.slot, &error, log_start));
            }
        }
        self.advance_appends(log);
    }

    /// The log is durable further than before: answer who waited for that.
    pub(super) fn answer_durable(&mut self, log: LogId) {
        loop {
            let partition = self.partition_mut(log);
            let durable = partition.log.durable();
            match partition.waiters.front() {
                Some(waiter) if waiter.next_offset <= durable => {
                    let waiter = partition.waiters.pop_front().expect("it is there");
                    self.append_done(waiter.at, waiter.outcome);
                }
                _ => return,
            }
        }
    }

    /// What waits its turn is refused; what was appended is still answered.
    pub(super) fn fail_pending(&mut self, log: LogId, error: ErrorCode, message: &str) {
        let Some(partition) = self.partitions.get_mut(&log) else {
            return;
        };
        let slots: Vec<AppendSlot> = partition.pending.drain(..).map(|pending| pending.at).collect();
        self.blocked.remove(log);
        self.refuse(slots, error, message);
    }

    /// Nothing of this partition will become durable any more: answer everyone.
    pub(super) fn fail_appends(&mut self, log: LogId, error: ErrorCode, message: &str) {
        self.fail_pending(log, error, message);
        if let Some(partition) = self.partitions.get_mut(&log) {
            let slots: Vec<AppendSlot> = partition.waiters.drain(..).map(|waiter| waiter.at).collect();
            self.refuse(slots, error, message);
        }
    }

    fn refuse(&mut self, slots: Vec<AppendSlot>, error: ErrorCode, message: &str) {
        for at in slots {
            self.append_done(at, AppendOutcome::refused(at.slot, error, Some(message.to_string())));
        }
    }

    /// Room came back, or time passed: try again what waits for room, and give up what waited too long.
    pub(super) fn retry_blocked(&mut self) {
        if self.blocked.is_empty() {
            return;
        }
        let blocked = std::mem::take(&mut self.blocked).queue;
        let now_us = self.now.mono_us;
        for (log, lack) in blocked {
            while let Some(partition) = self.partitions.get_mut(&log) {
                match partition.pending.front() {
                    Some(pending) if pending.deadline_us <= now_us => {
                        let at = partition.pending.pop_front().expect("it is there").at;
                        self.stats.appends_timed_out += 1;
                        let message = match lack {
                            Lack::Room => "There was no room to append before the request's time-out",
                            Lack::Files => "The partition's files were not ready before the request's time-out",
                        }
                        .to_string();
                        self.append_done(
                            at,
                            AppendOutcome::refused(at.slot, ErrorCode::RequestTimedOut, Some(message)),
                        );
                    }
                    _ => break,
                }
            }
            self.advance_appends(log);
        }
        self.want_room();
    }

    fn append_done(&mut self, at: AppendSlot, outcome: AppendOutcome) {
        let appending = self
            .appending
            .get_mut(&at.append)
            .expect("an append is answered once per partition");
        appending.outcomes.push(outcome);
        appending.outstanding -= 1;
        if appending.outstanding == 0 {
            let appending = self.appending.remove(&at.append).expect("it is there");
            self.answer(
                appending.asker,
                Answer::Append {
                    items: appending.outcomes,
                },
            );
        }
    }
}

/// The batch as its topic stores it.
fn recompressed(batch: Batch, recompress: Option<Compression>, limits: &Limits) -> Result<Batch, RecordError> {
    match recompress {
        Some(to) if batch.codec()? != to.codec => batch.recompress(to, limits),
        _ => Ok(batch),
    }
}

fn refused_batch(slot: usize, error: &RecordError, log_start: Offset) -> AppendOutcome {
    use RecordError::{Empty, MoreThanOneBatch, OldFormat, ZstdNotAllowed};
    // Kafka finds some before it looks at the log, and answers those with two codes without it.
    let is_early = matches!(
        error,
        Empty | MoreThanOneBatch { .. } | OldFormat { .. } | ZstdNotAllowed
    );
    let is_without_log = is_early || matches!(error.code(), ErrorCode::CorruptMessage | ErrorCode::MessageTooLarge);
    AppendOutcome {
        record_index: error.record_index(),
        log_start: if is_without_log { -1 } else { log_start },
        ..AppendOutcome::refused(slot, error.code(), Some(error.to_string()))
    }
}

/// What checking a batch and compressing it anew take beyond the batch. How large its records are is not known yet.
fn check_memory_bytes(records: &[u8], recompress: Option<Compression>) -> usize {
    let Ok(codec) = Codec::from_id(claimed_codec(records)) else {
        return 0;
    };
    let inflate = inflate_memory_bytes(codec, records.get(HEADER_BYTES..).unwrap_or_default());
    let to = recompress.filter(|to| to.codec != codec);
    inflate + to.map_or(0, Compression::memory_bytes_max)
}

/// The number of the codec that an unchecked batch claims: it is in the low bits of the attributes.
fn claimed_codec(records: &[u8]) -> u8 {
    records.get(22).map_or(0, |attributes| attributes & 7)
}
