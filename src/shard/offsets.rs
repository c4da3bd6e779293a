//! The owner's side of OffsetForLeaderEpoch, DeleteRecords and DescribeLogDirs; that of ListOffsets is in `lookups`.

use crate::error::ErrorCode;
use crate::types::{LogId, Offset};

use super::Shard;
use super::message::{Answer, Asker, DeleteItem, DeleteOutcome, EpochItem, EpochOutcome, LogSize};

/// One [`Ask::DeleteRecords`](super::message::Ask::DeleteRecords) that waits for the journal.
pub struct Deleting {
    asker: Asker,
    outcomes: Vec<DeleteOutcome>,
    outstanding: usize,
}

/// Waits until the log's start is durable at `offset`.
pub struct Starting {
    deleting: u64,
    slot: usize,
    offset: Offset,
}

impl Shard {
    pub(super) fn serve_epoch_ends(&mut self, asker: Asker, items: Vec<EpochItem>) {
        let outcomes = items.iter().map(|item| {
            let found = self
                .partitions
                .get(&item.log)
                .ok_or(ErrorCode::UnknownTopicOrPartition)
                .and_then(|partition| {
                    partition.replica.check_epoch(item.current_leader_epoch)?;
                    Ok(partition.log.end_offset_for_epoch(item.leader_epoch))
                });
            match found {
                Ok((leader_epoch, end_offset)) => EpochOutcome {
                    slot: item.slot,
                    error: ErrorCode::None,
                    leader_epoch,
                    end_offset,
                },
                Err(error) => EpochOutcome {
                    slot: item.slot,
                    error,
                    leader_epoch: -1,
                    end_offset: -1,
                },
            }
        });
        let items = outcomes.collect();
        self.answer(asker, Answer::EpochEnd { items });
    }

    pub(super) fn serve_delete_records(&mut self, asker: Asker, items: Vec<DeleteItem>) {
        let deleting = self.new_id();
        let state = Deleting {
            asker,
            outcomes: Vec::with_capacity(items.len()),
            outstanding: items.len(),
        };
        self.deleting.insert(deleting, state);
        for item in items {
            let slot = item.slot;
            match self.delete_one(deleting, &item) {
                Ok(Some(low_watermark)) => self.deleted(deleting, slot, ErrorCode::None, low_watermark),
                Ok(None) => {}
                Err(error) => self.deleted(deleting, slot, error, -1),
            }
        }
    }

    /// The low watermark, when nothing is to be done for it.
    fn delete_one(&mut self, deleting: u64, item: &DeleteItem) -> Result<Option<Offset>, ErrorCode> {
        let partition = self
            .partitions
            .get_mut(&item.log)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if !partition.is_online() || self.parking.holds(item.log) || self.commit.failed().is_some() {
            return Err(ErrorCode::KafkaStorageError);
        }
        if let Some((error, _)) = partition.read_only() {
            return Err(error);
        }
        let high_watermark = partition.replica.high_watermark();
        let offset = if item.before == -1 { high_watermark } else { item.before };
        if offset < 0 || offset > high_watermark {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        if offset <= partition.log.start() && partition.starts.is_empty() {
            return Ok(Some(partition.log.start()));
        }
        // A start that an earlier request raised and that is not durable yet is waited for as well.
        let offset = offset.max(partition.log.start());
        partition.starts.push(Starting {
            deleting,
            slot: item.slot,
            offset,
        });
        self.raise_start(item.log, offset);
        Ok(None)
    }

    fn deleted(&mut self, deleting: u64, slot: usize, error: ErrorCode, low_watermark: Offset) {
        let state = self.deleting.get_mut(&deleting).expect("answered once per partition");
        state.outcomes.push(DeleteOutcome {
            slot,
            error,
            low_watermark,
        });
        state.outstanding -= 1;
        if state.outstanding == 0 {
            let done = self.deleting.remove(&deleting).expect("it is there");
            self.answer(done.asker, Answer::DeleteRecords { items: done.outcomes });
        }
    }

    /// The log's start is durable at `start`.
    pub(super) fn answer_starts(&mut self, log: LogId, start: Offset) {
        let Some(partition) = self.partitions.get_mut(&log) else {
            return;
        };
        let (done, waiting) = std::mem::take(&mut partition.starts)
            .into_iter()
            .partition(|s| s.offset <= start);
        partition.starts = waiting;
        let done: Vec<Starting> = done;
        for starting in done {
            self.deleted(starting.deleting, starting.slot, ErrorCode::None, start);
        }
    }

    pub(super) fn fail_starts(&mut self, log: LogId, error: ErrorCode) {
        let Some(partition) = self.partitions.get_mut(&log) else {
            return;
        };
        for starting in std::mem::take(&mut partition.starts) {
            self.deleted(starting.deleting, starting.slot, error, -1);
        }
    }

    pub(super) fn serve_log_sizes(&mut self, asker: Asker) {
        let sizes = |(log, partition): (&LogId, &super::Partition)| LogSize {
            log: *log,
            size_bytes: partition.log.size_bytes(),
        };
        let logs = self.partitions.iter().map(sizes).collect();
        self.answer(asker, Answer::LogSizes { logs });
    }
}
