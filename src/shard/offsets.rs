//! The owner's side of ListOffsets, OffsetForLeaderEpoch, DeleteRecords and DescribeLogDirs.

use crate::error::ErrorCode;
use crate::log::{DiskRead, ListProgress, LookupDone, OffsetSpec};
use crate::types::{LogId, Offset};

use super::Shard;
use super::compute::Client;
use super::disk::Op;
use super::effect::{DiskError, DiskOp, DiskReply};
use super::message::{
    Answer, Asker, DeleteItem, DeleteOutcome, EpochItem, EpochOutcome, ListItem, ListOutcome, LogSize,
};

/// One [`Ask::ListOffsets`](super::message::Ask::ListOffsets) that is not answered yet.
pub struct Listing {
    asker: Asker,
    items: Vec<ListItem>,
    outcomes: Vec<ListOutcome>,
    outstanding: usize,
    /// A batch of one of its partitions is on its way through a worker thread.
    is_computing: bool,
    /// Partitions that begin again when that is done, so that a request does not hold a batch for each of its partitions.
    deferred: Vec<usize>,
}

/// Requests of which a batch is on its way through a worker thread; those beyond it are asked to try again.
const LOOKUPS_MAX: usize = 64;

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
    pub(super) fn serve_list_offsets(&mut self, asker: Asker, items: Vec<ListItem>) {
        let listing = self.new_id();
        let count = items.len();
        let state = Listing {
            asker,
            outcomes: (items.iter())
                .map(|item| listed_nothing(item.slot, ErrorCode::None))
                .collect(),
            items,
            outstanding: count,
            is_computing: false,
            deferred: Vec::new(),
        };
        self.listing.insert(listing, state);
        for index in 0..count {
            self.list_one(listing, index);
        }
    }

    fn list_one(&mut self, listing: u64, index: usize) {
        let item = self.listing[&listing].items[index].clone();
        let progress = self.list_first(&item);
        self.list_on(listing, index, item.log, progress);
    }

    /// Where a partition's lookup stands now, and what comes next.
    fn list_on(&mut self, listing: u64, index: usize, log: LogId, progress: Result<ListProgress, ErrorCode>) {
        let state = self.listing.get_mut(&listing).expect("a lookup is answered once");
        let outcome = &mut state.outcomes[index];
        match progress {
            Ok(ListProgress::Done(Some(found))) => {
                outcome.timestamp = found.timestamp;
                outcome.offset = found.offset;
                outcome.leader_epoch = found.leader_epoch;
            }
            Ok(ListProgress::Done(None)) => {}
            Ok(ListProgress::More(read)) => return self.list_from_disk(listing, index, log, read),
            Ok(ListProgress::Within(_)) if state.is_computing => {
                self.stats.lookups_deferred += 1;
                return state.deferred.push(index);
            }
            Ok(ListProgress::Within(_)) if self.lookups == LOOKUPS_MAX => outcome.error = ErrorCode::OffsetNotAvailable,
            Ok(ListProgress::Within(lookup)) => {
                self.stats.lookups_on_worker += 1;
                state.is_computing = true;
                self.lookups += 1;
                let client = Client::Request(state.asker);
                self.compute(client, Op::LookedUp { listing, index, log }, move || lookup.run());
                return;
            }
            Err(error) => outcome.error = error,
        }
        state.outstanding -= 1;
        if state.outstanding == 0 {
            let done = self.listing.remove(&listing).expect("it is there");
            self.answer(done.asker, Answer::ListOffsets { items: done.outcomes });
        }
    }

    /// A worker thread has searched a batch of this partition.
    pub(super) fn looked_up(&mut self, listing: u64, index: usize, log: LogId, done: Option<LookupDone>) {
        let state = self.listing.get_mut(&listing).expect("a lookup is answered once");
        state.is_computing = false;
        self.lookups -= 1;
        let deferred = std::mem::take(&mut state.deferred);
        let progress = match (self.partitions.get_mut(&log), done) {
            (None, _) => Err(ErrorCode::UnknownTopicOrPartition),
            (_, None) => Err(ErrorCode::CorruptMessage),
            (Some(partition), Some(done)) => partition.log.finish_lookup(done).map_err(|error| error.code()),
        };
        self.list_on(listing, index, log, progress);
        for index in deferred {
            self.list_one(listing, index);
        }
    }

    fn list_first(&mut self, item: &ListItem) -> Result<ListProgress, ErrorCode> {
        let partition = self
            .partitions
            .get_mut(&item.log)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?;
        partition.replica.check_epoch(item.leader_epoch)?;
        let spec = OffsetSpec::from_wire(item.timestamp).ok_or(ErrorCode::UnsupportedVersion)?;
        let high_watermark = partition.replica.high_watermark();
        let upto = match item.read_committed {
            true => partition.log.last_stable_offset(high_watermark),
            false => high_watermark,
        };
        partition.log.list_offset(spec, upto).map_err(|error| error.code())
    }

    fn list_from_disk(&mut self, listing: u64, index: usize, log: LogId, read: DiskRead) {
        let what = DiskOp::from(&read);
        self.disk(
            Op::ListOffsets {
                listing,
                index,
                log,
                read: Box::new(read),
            },
            what,
        );
    }

    pub(super) fn listed(
        &mut self,
        listing: u64,
        index: usize,
        log: LogId,
        read: &DiskRead,
        result: Result<DiskReply, DiskError>,
    ) {
        let progress = match (result, self.partitions.get_mut(&log)) {
            (_, None) => Err(ErrorCode::UnknownTopicOrPartition),
            (Ok(DiskReply::Bytes(bytes)), Some(partition)) => {
                partition.log.finish_list(read, bytes).map_err(|error| error.code())
            }
            (Ok(other), _) => unreachable!("a read answers with bytes, not {other:?}"),
            (Err(error), Some(partition)) => {
                let is_missing = matches!(error, DiskError::NotFound { .. });
                // Retention may have taken the segment while the read was on its way.
                match is_missing.then(|| partition.log.missed_list(read)).flatten() {
                    Some(again) => again.map_err(|error| error.code()),
                    None => {
                        tracing::error!("{}: cannot read {}: {error}", partition.name(), read.file.path);
                        Err(ErrorCode::KafkaStorageError)
                    }
                }
            }
        };
        self.list_on(listing, index, log, progress);
    }

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

fn listed_nothing(slot: usize, error: ErrorCode) -> ListOutcome {
    ListOutcome {
        slot,
        error,
        timestamp: -1,
        offset: -1,
        leader_epoch: -1,
    }
}
