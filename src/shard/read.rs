//! The owner's side of a fetch: answer at once with what is there, within the asker's grant, and remember who waits.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::log::{DiskRead, ReadError, ReadPlan, ReadProgress};
use crate::types::LogId;

use super::Shard;
use super::disk::Op;
use super::effect::{DiskError, DiskOp, DiskReply};
use super::message::{Answer, Asker, Message, ReadItem, ReadOutcome};
use super::outgoing::{Grant, Lease};
use super::partition::{DAMAGE_TOLD_MAX, Partition};

/// One [`Ask::Read`](super::message::Ask::Read) that waits for the disk.
pub struct Reading {
    asker: Asker,
    outcomes: Vec<ReadOutcome>,
    outstanding: usize,
    is_short: bool,
    /// Of what the reads will bring.
    _reserved: Lease,
}

impl Shard {
    /// With `park`, the asker is woken when one of these partitions has more. At most `bytes_max` bytes in all, and no more
    /// than there is memory for, except that the first batch of the first partition that has any is never withheld.
    pub(super) fn serve_read(&mut self, asker: Asker, items: Vec<ReadItem>, bytes_max: usize, park: bool) {
        let reading = self.new_id();
        let mut outcomes = Vec::with_capacity(items.len());
        let mut from_disk = Vec::new();
        let Grant {
            bytes_max: granted,
            is_short,
        } = self.outgoing.grant();
        let bytes_max = bytes_max.min(granted);
        let (mut bytes_left, mut has_any) = (bytes_max, false);
        for item in &items {
            if park {
                self.add_interest(asker, item.log);
            }
            let mut outcome = ReadOutcome::without_records(item.slot, ErrorCode::None);
            match self.read_one(item, bytes_left, !has_any, &mut outcome) {
                Ok(Some(plan)) => {
                    // Seldom more comes of it, of a batch that is longer than one operation.
                    bytes_left = bytes_left.saturating_sub(plan.bytes_max().min(plan.len));
                    has_any = true;
                    from_disk.push((outcomes.len(), item.log, plan));
                }
                Ok(None) => {
                    bytes_left = bytes_left.saturating_sub(outcome.slices.iter().map(Bytes::len).sum());
                    has_any |= !outcome.slices.is_empty();
                }
                Err(error) => outcome.error = error,
            }
            outcomes.push(outcome);
        }
        if from_disk.is_empty() {
            let items = outcomes;
            return self.answer(asker, Answer::Read { items, is_short });
        }
        let to_come = from_disk.iter().map(|(_, _, plan)| plan.len).sum();
        self.reading.insert(
            reading,
            Reading {
                asker,
                outcomes,
                outstanding: from_disk.len(),
                is_short,
                _reserved: self.outgoing.reserve(to_come),
            },
        );
        for (index, log, plan) in from_disk {
            self.read_from_disk(reading, index, log, plan);
        }
    }

    /// Fills the outcome from memory, or says what to read.
    fn read_one(
        &mut self,
        item: &ReadItem,
        bytes_left: usize,
        is_first: bool,
        outcome: &mut ReadOutcome,
    ) -> Result<Option<DiskRead>, ErrorCode> {
        let partition = self
            .partitions
            .get_mut(&item.log)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?;
        partition.replica.check_epoch(item.leader_epoch)?;
        let high_watermark = partition.replica.high_watermark();
        outcome.high_watermark = high_watermark;
        outcome.last_stable_offset = partition.log.last_stable_offset(high_watermark);
        outcome.log_start = partition.log.start();
        if item.last_fetched_epoch >= 0 {
            let (epoch, end) = partition.log.end_offset_for_epoch(item.last_fetched_epoch);
            if epoch < 0 {
                return Err(ErrorCode::OffsetOutOfRange);
            }
            if epoch < item.last_fetched_epoch || end < item.offset {
                outcome.diverging = Some((epoch, end));
                return Ok(None);
            }
        }
        let upto = match item.read_committed {
            true => outcome.last_stable_offset,
            false => high_watermark,
        };
        let bytes_max = item.bytes_max.min(bytes_left);
        match partition
            .log
            .read(item.offset, bytes_max, is_first, upto)
            .map_err(|error| error.code())?
        {
            ReadPlan::Memory(slices) => {
                let counted = slices.into_iter().map(|slice| self.outgoing.count(slice));
                outcome.slices = counted.collect();
                Ok(None)
            }
            ReadPlan::Disk(read) => Ok(Some(read)),
        }
    }

    fn read_from_disk(&mut self, reading: u64, index: usize, log: LogId, read: DiskRead) {
        self.stats.disk_reads += 1;
        if self.take_ahead(reading, index, log, &read) {
            return;
        }
        let what = DiskOp::from(&read);
        self.disk(
            Op::Read {
                reading,
                index,
                log,
                read: Box::new(read),
            },
            what,
        );
    }

    pub(super) fn read_done(
        &mut self,
        reading: u64,
        index: usize,
        log: LogId,
        read: &DiskRead,
        result: Result<DiskReply, DiskError>,
    ) {
        let progress = match (result, self.partitions.get_mut(&log)) {
            (_, None) => Err(ErrorCode::UnknownTopicOrPartition),
            (Ok(DiskReply::Bytes(bytes)), Some(partition)) => {
                let progress = partition.log.finish_read(read, bytes);
                progress.map_err(|error| damage_found(partition, read, &error))
            }
            (Ok(other), _) => unreachable!("a read answers with bytes, not {other:?}"),
            (Err(error), Some(partition)) => {
                let is_missing = matches!(error, DiskError::NotFound { .. });
                // Retention may have taken the segment while the read was on its way.
                match is_missing.then(|| partition.log.missed_read(read)).flatten() {
                    Some(again) => again.map_err(|error| error.code()),
                    None => {
                        // A read that fails says nothing of the bytes beside it: only this answer is an error.
                        read_failed(partition, read, &error);
                        Err(ErrorCode::KafkaStorageError)
                    }
                }
            }
        };
        self.read_progressed(reading, index, log, read, progress);
    }

    /// The same once it is known what is in the bytes.
    pub(super) fn read_progressed(
        &mut self,
        reading: u64,
        index: usize,
        log: LogId,
        read: &DiskRead,
        progress: Result<ReadProgress, ErrorCode>,
    ) {
        let state = self.reading.get_mut(&reading).expect("a read is answered once");
        let mut go_on = None;
        match progress {
            Ok(ReadProgress::Done { slices, next }) => {
                // What a read brought is this shard's own memory (see `DiskReply::Bytes`): another one gets a copy. So does
                // who would keep all of a read for a small part of it.
                let is_small = slices.iter().map(Bytes::len).sum::<usize>() < read.len / 2;
                let is_copied = is_small || state.asker.shard != self.config.id;
                let counted = slices.into_iter().map(|slice| match is_copied {
                    true => self.outgoing.count(Bytes::copy_from_slice(&slice)),
                    false => self.outgoing.count(slice),
                });
                state.outcomes[index].slices = counted.collect();
                go_on = next;
            }
            Ok(ReadProgress::More(next)) => return self.read_from_disk(reading, index, log, next),
            Err(error) => state.outcomes[index] = ReadOutcome::without_records(state.outcomes[index].slot, error),
        }
        state.outstanding -= 1;
        if state.outstanding == 0 {
            let done = self.reading.remove(&reading).expect("it is there");
            let (items, is_short) = (done.outcomes, done.is_short);
            self.answer(done.asker, Answer::Read { items, is_short });
        }
        if let Some(next) = go_on.filter(|_| read.is_sequential()) {
            self.read_ahead(log, read, next);
        }
    }

    fn add_interest(&mut self, asker: Asker, log: LogId) {
        if let Some(partition) = self.partitions.get_mut(&log)
            && partition.interest.insert(asker)
        {
            self.interest.entry(asker).or_default().push(log);
        }
    }

    /// The partition has more to read, or is offline: everyone who waits for it asks again.
    pub(super) fn wake_fetches(&mut self, log: LogId) {
        if let Some(partition) = self.partitions.get_mut(&log) {
            let askers = std::mem::take(&mut partition.interest);
            self.wake_askers(askers);
        }
    }

    /// Who waited for a partition asks again. What the asker hears then is what the partition is by now.
    pub(super) fn wake_askers(&mut self, askers: BTreeSet<Asker>) {
        for asker in askers {
            self.forget_interest(asker);
            if asker.shard == self.config.id {
                self.woken(asker.flow, asker.shard);
            } else {
                self.tell(asker.shard, Message::Wake { flow: asker.flow });
            }
        }
    }

    /// Whoever asked is gone.
    pub(super) fn forget(&mut self, asker: Asker) {
        self.forget_interest(asker);
        self.forget_listing(asker);
    }

    pub(super) fn forget_interest(&mut self, asker: Asker) {
        for log in self.interest.remove(&asker).unwrap_or_default() {
            if let Some(partition) = self.partitions.get_mut(&log) {
                partition.interest.remove(&asker);
            }
        }
    }
}

/// The device refused a read: one line for each place, however often clients come back to it.
pub(super) fn read_failed(partition: &mut Partition, read: &DiskRead, error: &DiskError) {
    let place = read.first_position();
    if partition.failed_told.len() < DAMAGE_TOLD_MAX && !partition.failed_told.contains(&place) {
        partition.failed_told.push(place);
        tracing::error!("{}: cannot read {}: {error}", partition.name(), read.file.path);
    }
}

/// A read came upon damage: one line for each place.
fn damage_found(partition: &mut Partition, read: &DiskRead, error: &ReadError) -> ErrorCode {
    if let ReadError::Damaged { offset } | ReadError::Missing { offset } = *error
        && partition.damage_told.len() < DAMAGE_TOLD_MAX
        && !partition.damage_told.contains(&offset)
    {
        partition.damage_told.push(offset);
        tracing::error!(
            "{}: {error}, in {}: they cannot be read, what is around them can; restore the segment from a copy, or check the \
             device (dmesg)",
            partition.name(),
            read.file.path
        );
    }
    error.code()
}
