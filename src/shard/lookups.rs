//! The owner's side of ListOffsets.
//!
//! A partition whose offset is known without a look at its batches is answered at once. One whose batches must be searched
//! waits for its turn: few lookups are under way at a time, each of them reads, copies and inflates one batch at a time, and
//! the turns go round among the requests. So a request of thousands of partitions holds no more memory than one of four,
//! reads each batch once, and another client's lookup waits for one partition of it and not for all.
//!
//! Invariants
//! * `running` lookups are in one of three places: a disk read, a job on a worker thread, `waiting_large`. Nobody else holds
//!   bytes of a batch.
//! * A request in `listing` is in `turns`, once, as long as it has something to begin or to go on with.
//! * A request that was forgotten is in `listing` no more; what it has under way ends without an answer.

use std::collections::VecDeque;

use crate::error::ErrorCode;
use crate::log::{DiskRead, Found, ListProgress, LookupDone, OffsetSpec};
use crate::types::LogId;

use super::Shard;
use super::compute::Client;
use super::disk::Op;
use super::effect::{DiskError, DiskOp, DiskReply};
use super::message::{Answer, Asker, ListItem, ListOutcome};
use super::read::read_failed;

/// Lookups under way at a time. Two worker threads and the device are busy with so many.
const RUNNING_MAX: usize = 4;
/// Lookups begun or gone on with in one round of the loop: one in memory looks at up to 64 KiB of records.
const STEPS_PER_ROUND: usize = 32;
/// Of batches larger than this, one at a time is read for a lookup.
const LARGE_BYTES: usize = 2 * 1024 * 1024;

/// One [`Ask::ListOffsets`](super::message::Ask::ListOffsets) that is not answered yet.
pub struct Listing {
    asker: Asker,
    items: Vec<ListItem>,
    outcomes: Vec<ListOutcome>,
    outstanding: usize,
    /// Items whose search has not begun.
    to_begin: VecDeque<usize>,
    /// Searches that go on with the next operation, and hold nothing.
    to_go_on: VecDeque<(usize, LogId, DiskRead)>,
}

/// Which partition of which ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListSlot {
    listing: u64,
    index: usize,
}

/// Whose turn it is.
#[derive(Default)]
pub struct Lookups {
    running: usize,
    steps: usize,
    /// Requests with something to begin or to go on with.
    turns: VecDeque<u64>,
    /// The one lookup that reads a large batch.
    large: Option<ListSlot>,
    waiting_large: VecDeque<(ListSlot, LogId, DiskRead)>,
}

impl Lookups {
    pub fn new_round(&mut self) {
        self.steps = 0;
    }

    pub fn running(&self) -> usize {
        self.running
    }

    /// A lookup waits for nothing but the loop.
    pub fn is_due(&self) -> bool {
        !self.turns.is_empty() && self.running < RUNNING_MAX
    }
}

impl Listing {
    fn has_more(&self) -> bool {
        !self.to_begin.is_empty() || !self.to_go_on.is_empty()
    }
}

impl Shard {
    pub(super) fn serve_list_offsets(&mut self, asker: Asker, items: Vec<ListItem>) {
        let listing = self.new_id();
        let is_search = |item: &ListItem| OffsetSpec::from_wire(item.timestamp).is_some_and(OffsetSpec::is_search);
        let (to_begin, at_once): (Vec<usize>, Vec<usize>) =
            (0..items.len()).partition(|&index| is_search(&items[index]));
        let state = Listing {
            asker,
            outcomes: items.iter().map(|item| listed_nothing(item.slot)).collect(),
            outstanding: items.len(),
            items,
            to_begin: to_begin.into(),
            to_go_on: VecDeque::new(),
        };
        if state.has_more() {
            self.lookups.turns.push_back(listing);
        }
        self.listing.insert(listing, state);
        for index in at_once {
            let at = ListSlot { listing, index };
            match self.begin_lookup(at).1 {
                Ok(ListProgress::Done(found)) => self.lookup_done(at, Ok(found)),
                Err(error) => self.lookup_done(at, Err(error)),
                Ok(other) => unreachable!("an offset that needs no search: {other:?}"),
            }
        }
        self.run_lookups();
    }

    /// Whoever asked is gone: what is not under way never will be.
    pub(super) fn forget_listing(&mut self, asker: Asker) {
        let found = self.listing.iter().find(|(_, listing)| listing.asker == asker);
        if let Some(listing) = found.map(|(listing, _)| *listing) {
            self.stats.lookups_forgotten += 1;
            self.listing.remove(&listing);
        }
    }

    /// Begins and goes on with lookups, as many as may be under way and as this round has time for.
    pub(super) fn run_lookups(&mut self) {
        while self.lookups.is_due() && self.lookups.steps < STEPS_PER_ROUND {
            let listing = self.lookups.turns.pop_front().expect("somebody is due");
            // It was forgotten, if it is not there.
            let Some(state) = self.listing.get_mut(&listing) else {
                continue;
            };
            let go_on = state.to_go_on.pop_front();
            let begin = if go_on.is_none() {
                state.to_begin.pop_front()
            } else {
                None
            };
            if state.has_more() {
                self.lookups.turns.push_back(listing);
            }
            self.lookups.running += 1;
            self.lookups.steps += 1;
            if let Some((index, log, read)) = go_on {
                self.list_from_disk(ListSlot { listing, index }, log, read);
            } else if let Some(index) = begin {
                let at = ListSlot { listing, index };
                let (log, progress) = self.begin_lookup(at);
                self.lookup_moved(at, log, progress);
            }
        }
        self.stats.lookups_waited += u64::from(!self.lookups.turns.is_empty());
    }

    /// Where a lookup that is under way stands now, and what comes next.
    fn lookup_moved(&mut self, at: ListSlot, log: LogId, progress: Result<ListProgress, ErrorCode>) {
        let Some(state) = self.listing.get_mut(&at.listing) else {
            return self.lookup_ended(at);
        };
        let result = match progress {
            Ok(ListProgress::More(read)) if read.batch_bytes() > 0 => return self.list_from_disk(at, log, read),
            Ok(ListProgress::More(read)) => {
                // It holds nothing between two batches, so that others may have their turn here.
                if !state.has_more() {
                    self.lookups.turns.push_back(at.listing);
                }
                state.to_go_on.push_back((at.index, log, read));
                return self.lookup_ended(at);
            }
            Ok(ListProgress::Within(lookup)) => {
                self.stats.lookups_on_worker += 1;
                let client = Client::Request(state.asker);
                let memory_bytes = lookup.memory_bytes();
                self.compute(client, Op::LookedUp { at, log }, memory_bytes, move || lookup.run());
                return;
            }
            Ok(ListProgress::Done(found)) => Ok(found),
            Err(error) => Err(error),
        };
        self.lookup_done(at, result);
        self.lookup_ended(at);
    }

    /// The answer is known for one partition.
    fn lookup_done(&mut self, at: ListSlot, result: Result<Option<Found>, ErrorCode>) {
        let state = self.listing.get_mut(&at.listing).expect("the caller saw it");
        let outcome = &mut state.outcomes[at.index];
        match result {
            Ok(Some(found)) => {
                outcome.timestamp = found.timestamp;
                outcome.offset = found.offset;
                outcome.leader_epoch = found.leader_epoch;
            }
            Ok(None) => {}
            Err(error) => outcome.error = error,
        }
        state.outstanding -= 1;
        if state.outstanding == 0 {
            let done = self.listing.remove(&at.listing).expect("it is there");
            self.answer(done.asker, Answer::ListOffsets { items: done.outcomes });
        }
    }

    /// A lookup is under way no more and holds nothing.
    fn lookup_ended(&mut self, at: ListSlot) {
        self.lookups.running -= 1;
        if self.lookups.large == Some(at) {
            self.lookups.large = None;
            if let Some((next, log, read)) = self.lookups.waiting_large.pop_front() {
                self.list_from_disk(next, log, read);
            }
        }
    }

    /// A worker thread has searched a batch of this partition.
    pub(super) fn looked_up(&mut self, at: ListSlot, log: LogId, done: Option<LookupDone>) {
        let progress = match (self.partitions.get_mut(&log), done) {
            (None, _) => Err(ErrorCode::UnknownTopicOrPartition),
            (_, None) => Err(ErrorCode::CorruptMessage),
            (Some(partition), Some(done)) => partition.log.finish_lookup(done).map_err(|error| error.code()),
        };
        self.lookup_moved(at, log, progress);
        self.run_lookups();
    }

    fn begin_lookup(&mut self, at: ListSlot) -> (LogId, Result<ListProgress, ErrorCode>) {
        let item = self.listing[&at.listing].items[at.index].clone();
        (item.log, self.list_first(&item))
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

    fn list_from_disk(&mut self, at: ListSlot, log: LogId, read: DiskRead) {
        if read.batch_bytes() > LARGE_BYTES && self.lookups.large != Some(at) {
            if self.lookups.large.is_some() {
                return self.lookups.waiting_large.push_back((at, log, read));
            }
            self.lookups.large = Some(at);
        }
        let what = DiskOp::from(&read);
        let read = Box::new(read);
        self.disk(Op::ListOffsets { at, log, read }, what);
    }

    pub(super) fn listed(&mut self, at: ListSlot, log: LogId, read: &DiskRead, result: Result<DiskReply, DiskError>) {
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
                        read_failed(partition, read, &error);
                        Err(ErrorCode::KafkaStorageError)
                    }
                }
            }
        };
        self.lookup_moved(at, log, progress);
        self.run_lookups();
    }
}

fn listed_nothing(slot: usize) -> ListOutcome {
    ListOutcome {
        slot,
        error: ErrorCode::None,
        timestamp: -1,
        offset: -1,
        leader_epoch: -1,
    }
}
