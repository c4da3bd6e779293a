//! What happens without being asked: recovery points, retention, expiry, room on the device, old files.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::ErrorCode;
use crate::journal::{Body, Ticket};
use crate::log::{DELETED_SUFFIX, RecoveryPoint, index_path};
use crate::types::{LogId, Offset};
use crate::wire::metadata_records::{MetadataRecord, NoOpRecord};

use super::clock::Belief;
use super::commit::Control;
use super::disk::{Op, Room};
use super::effect::{DiskError, DiskOp, DiskReply, READ_FILE_BYTES_MAX};
use super::partition::Partition;
use super::registration::Registration;
use super::{CONTROLLER, Shard};

const TICK_US: u64 = 1_000_000;
/// How old the newest time in the metadata log may become while a broker runs: far less than a start allows for.
const TIME_NOTED_MS: i64 = 3_600_000;
/// How often a batch that waits for room looks whether its time is up.
const BLOCKED_TICK_US: u64 = 50_000;
/// Recovery points that are written at the same time.
const SAVING_MAX: usize = 8;
/// Segments that one log gives up in one step.
const DELETED_SEGMENTS_MAX: usize = 16;

#[derive(Default)]
pub struct Upkeep {
    next_tick_us: u64,
    next_retention_us: u64,
    next_expiry_us: u64,
    saving: usize,
    /// Those of them that wait for the journal.
    unwritten: BTreeSet<LogId>,
    /// Logs whose control frame found no room in the journal yet.
    controls: Vec<(LogId, ControlWanted)>,
    /// Files to remove, by when.
    doomed: BTreeMap<u64, Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ControlWanted {
    Start(Offset),
    Drop,
}

/// A recovery point under way.
pub struct Saving {
    point: RecoveryPoint,
    /// Control frames up to this one are in it.
    settles: Ticket,
    /// What it says was in the journal by then: it is written once that is on the device.
    needs: Ticket,
    is_written: bool,
}

impl Saving {
    pub fn is_written(&self) -> bool {
        self.is_written
    }
}

impl Shard {
    pub(super) fn upkeep_deadline(&self) -> Option<u64> {
        if !self.is_serving() {
            return self.folders_deadline().filter(|_| self.is_stopping());
        }
        let waits_for_room = !self.blocked.is_empty() || self.undecided_count() > 0;
        let blocked = waits_for_room.then(|| self.now.mono_us + BLOCKED_TICK_US);
        [
            Some(self.upkeep.next_tick_us),
            blocked,
            self.commit.flush_at_us,
            self.close_chain_at_us(),
            self.folders_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn run_upkeep(&mut self) {
        if !self.is_serving() && !self.is_stopping() {
            return;
        }
        self.flush_by_time();
        self.retry_folders();
        self.tend_parked();
        self.retry_controls();
        self.settle_blocking_controls();
        self.checkpoint_if_due();
        self.carry_if_due();
        self.checkpoint_tails_if_due();
        self.append_registration();
        self.decide_waiting();
        if !self.blocked.is_empty() {
            self.retry_blocked();
        }
        if self.is_stopping() {
            return self.stop_may_go_on();
        }
        self.close_chain_if_due();
        if self.now.mono_us < self.upkeep.next_tick_us {
            return;
        }
        self.upkeep.next_tick_us = self.now.mono_us + TICK_US;
        self.ask_space();
        self.check_ring_name();
        self.save_due_recovery_points();
        self.snapshot_if_due();
        self.remove_doomed();
        self.remove_rested();
        let is_clock_believed = self.is_clock_believed();
        self.note_time_if_due();
        if self.now.mono_us >= self.upkeep.next_retention_us {
            self.retain_later();
            self.retain(is_clock_believed);
        }
        let config = self.image.broker_config.clone();
        if self.now.mono_us >= self.upkeep.next_expiry_us {
            self.upkeep.next_expiry_us = self.now.mono_us + ms_as_us(config.producer_id_expiration_check_interval_ms);
            let expiration_us = ms_as_us(config.producer_id_expiration_ms);
            for partition in self.partitions.values_mut() {
                partition.log.expire_producers(self.now, expiration_us);
            }
        }
    }

    // -- Room on the device

    pub(super) fn ask_space(&mut self) {
        if self.space.ask(self.dirty_bytes) {
            self.disk(Op::Space, DiskOp::Space);
        }
    }

    pub(super) fn space_known(&mut self, result: Result<DiskReply, DiskError>) {
        self.checkpoint.space_known();
        let free_and_total = match result {
            Ok(DiskReply::Space {
                free_bytes,
                total_bytes,
            }) => Some((free_bytes, total_bytes)),
            _ => None,
        };
        let reserve_bytes = self.config.broker.disk_reserve_bytes;
        let room = self.space.answered(free_and_total, reserve_bytes, self.config.shards);
        match room {
            Room::Full => return self.disk_full(&self.config.data_dir.clone()),
            Room::Enough if self.space.is_full => {
                self.space.is_full = false;
                tracing::info!(
                    "{}: {} bytes are free again, produces are accepted",
                    self.config.data_dir,
                    self.space.free_bytes.unwrap_or(0)
                );
            }
            Room::Enough | Room::Tight => {}
        }
        self.retry_blocked();
    }

    pub(super) fn disk_full(&mut self, path: &str) {
        if self.space.is_full {
            return;
        }
        self.space.is_full = true;
        self.stats.disk_full += 1;
        let free = self.space.free_bytes.unwrap_or(0);
        tracing::error!(
            "{path}: the disk is full ({free} bytes free, of which tidemill.disk.reserve.bytes keeps {}): produces are refused until there \
             is room; fetches and deletions work",
            self.config.broker.disk_reserve_bytes
        );
        for log in self.blocked.logs() {
            self.fail_pending(log, ErrorCode::KafkaStorageError, "the disk is full");
        }
    }

    // -- Control frames

    /// The log starts at `offset` from now on; answered and acted on when that is durable. Not one that is offline or put aside:
    /// its start stays.
    pub(super) fn raise_start(&mut self, log: LogId, offset: Offset) {
        let Some(partition) = self.partitions.get_mut(&log) else {
            return;
        };
        if !partition.is_online() || self.parking.holds(log) {
            return;
        }
        partition.log.raise_start(offset);
        self.want_control(log, ControlWanted::Start(offset));
    }

    pub(super) fn want_drop(&mut self, log: LogId) {
        self.want_control(log, ControlWanted::Drop);
    }

    fn want_control(&mut self, log: LogId, wanted: ControlWanted) {
        if !self.try_control(log, wanted) {
            self.upkeep.controls.push((log, wanted));
        }
    }

    fn try_control(&mut self, log: LogId, wanted: ControlWanted) -> bool {
        let (body, control) = match wanted {
            ControlWanted::Start(offset) => (Body::Start { offset }, Control::Start(log, offset)),
            ControlWanted::Drop => (Body::Drop, Control::Drop(log)),
        };
        match self.journal_control(log, body, control) {
            Some(ticket) => {
                if let Some(partition) = self.partitions.get_mut(&log) {
                    partition.control = ticket;
                }
                true
            }
            None => false,
        }
    }

    fn retry_controls(&mut self) {
        for (log, wanted) in std::mem::take(&mut self.upkeep.controls) {
            let may_start = self.partitions.get(&log).is_some_and(Partition::is_online);
            if wanted != ControlWanted::Drop && !may_start {
                // What is put aside of a log that is offline says its start. Later frames would be all that the journal has of
                // it, and the journal must have nothing.
                self.fail_starts(log, ErrorCode::KafkaStorageError);
            } else if !self.try_control(log, wanted) {
                self.upkeep.controls.push((log, wanted));
            }
        }
    }

    /// The start is on the device: segments below it may go.
    pub(super) fn start_durable(&mut self, log: LogId, start: Offset) {
        self.answer_starts(log, start);
        if let Some(partition) = self.partitions.get_mut(&log) {
            partition.log.start_is_durable(start);
        }
        self.give_up_segments(log);
        self.save_recovery_point_if_due(log);
        if log == LogId::METADATA {
            self.list_snapshots();
        }
    }

    /// Renames what lies below the log's durable start; it is removed after `file.delete.delay.ms`.
    fn give_up_segments(&mut self, log: LogId) {
        if self.is_stopping() {
            // The next start does it.
            return;
        }
        let Some(partition) = (self.partitions.get_mut(&log)).filter(|partition| partition.is_online()) else {
            return;
        };
        let dirty_before = partition.log.dirty_bytes();
        let files = partition.log.take_deleted(DELETED_SEGMENTS_MAX);
        self.dirty_bytes -= (dirty_before - partition.log.dirty_bytes()) as u64;
        let applied = partition.log.applied();
        let at_us = self.now.mono_us + ms_as_us(partition.config.file_delete_delay_ms);
        let is_more = files.len() == DELETED_SEGMENTS_MAX;
        partition.busy += files.len();
        self.stats.segments_deleted += files.len() as u64;
        self.journal.applied(log, applied);
        for file in files {
            let to = format!("{}{DELETED_SUFFIX}", file.path);
            let doomed = self.upkeep.doomed.entry(at_us).or_default();
            doomed.extend([to.clone(), index_path(&file.path)]);
            let from = file.path.to_string();
            self.disk(Op::Forgotten, DiskOp::Close { file });
            self.disk(Op::SegmentGone(log), DiskOp::Rename { from, to });
        }
        if is_more {
            self.give_up_segments(log);
        }
    }

    /// No recovery point can be written: what waits for one goes without, since deletion is what makes room.
    fn give_up_unsaved(&mut self, log: LogId) {
        let Some(partition) = self.partitions.get_mut(&log) else {
            return;
        };
        if partition.log.deletion_waits() {
            partition.log.delete_unsaved();
            self.stats.deleted_unsaved += 1;
            self.give_up_segments(log);
        }
    }

    pub(super) fn segment_gone(&mut self, log: LogId, result: Result<DiskReply, DiskError>) {
        if let Err(error) = result {
            tracing::warn!("cannot rename a deleted segment: {error}");
        }
        self.no_longer_busy(log);
    }

    fn remove_doomed(&mut self) {
        while let Some(entry) = self.upkeep.doomed.first_entry() {
            if *entry.key() > self.now.mono_us {
                return;
            }
            for path in entry.remove() {
                self.disk(Op::Forgotten, DiskOp::RemoveLargeFile { path });
            }
        }
    }

    /// Retention waits for one interval, after a start as well: whoever sets the machine's clock then has time to.
    pub(super) fn retain_later(&mut self) {
        let interval_ms = self.image.broker_config.log_retention_check_interval_ms;
        self.upkeep.next_retention_us = self.now.mono_us + ms_as_us(interval_ms);
    }

    /// The newest time that is known at a start is that of the metadata log's newest record ([`Clock`](super::clock::Clock)). Where
    /// the metadata does not change, a record without content goes on saying that time does, as Kafka's controller writes it.
    fn note_time_if_due(&mut self) {
        let Some(metadata) = &self.metadata else {
            return;
        };
        if self.config.only_seal || !matches!(metadata.registration, Registration::Done) {
            return;
        }
        let known_ms = metadata.replay.image().reached.timestamp_ms;
        if self.clock.time_ms(self.now).saturating_sub(known_ms) < TIME_NOTED_MS {
            return;
        }
        // Where the log takes nothing, the next tick tries again.
        let _ = self.append_metadata(&[MetadataRecord::NoOp(NoOpRecord {})]);
    }

    fn is_clock_believed(&mut self) -> bool {
        let belief = self.clock.believes(self.now);
        if let Belief::Begins { ahead_ms } = belief {
            self.stats.clock_doubted += 1;
            if self.config.id == CONTROLLER {
                tracing::warn!(
                    "the clock is {} minutes ahead of what it was before and the time that has passed since: no records are deleted \
                     for their age before it has stayed so for an hour. Set it right if it is wrong",
                    ahead_ms / 60_000
                );
            }
        }
        belief == Belief::Yes
    }

    fn retain(&mut self, is_clock_believed: bool) {
        let mut due: Vec<(LogId, Offset)> = Vec::new();
        for (log, partition) in &mut self.partitions {
            // The metadata log is cut by its snapshots.
            if *log != LogId::METADATA
                && partition.is_online()
                && !self.parking.holds(*log)
                && partition.read_only().is_none()
                && let Some(start) =
                    partition
                        .log
                        .retention(self.now, is_clock_believed, partition.replica.high_watermark())
            {
                due.push((*log, start));
            }
        }
        due.sort_unstable();
        for (log, start) in due {
            self.stats.retention += 1;
            tracing::info!(
                "{}: retention deletes what is below offset {start}",
                self.partition(log).name()
            );
            self.raise_start(log, start);
        }
    }

    // -- Recovery points

    fn save_due_recovery_points(&mut self) {
        let now = self.now;
        let mut due: Vec<LogId> = (self.partitions.iter())
            .filter(|(_, partition)| partition.can_save() && partition.log.recovery_point_due(now))
            .map(|(log, _)| *log)
            .collect();
        due.sort_unstable();
        for log in due {
            self.save_recovery_point_if_due(log);
        }
    }

    /// Also called when segments were written: a fast log writes in a second what takes a second to scan at a start.
    pub(super) fn save_recovery_point_if_due(&mut self, log: LogId) {
        let now = self.now;
        let is_due = (self.partitions.get(&log))
            .is_some_and(|partition| partition.can_save() && partition.log.recovery_point_due(now));
        if is_due && self.upkeep.saving < SAVING_MAX {
            self.save_recovery_point(log);
        }
    }

    /// Control frames that keep the ring from going round are settled by a recovery point that says the same.
    fn settle_blocking_controls(&mut self) {
        if self.upkeep.saving >= SAVING_MAX || self.commit.failed().is_some() {
            return;
        }
        let now = self.now;
        for log in self.journal.must_apply() {
            let wanted = self
                .partitions
                .get(&log)
                .is_some_and(|partition| partition.can_save() && partition.log.may_settle_control(now));
            if wanted {
                self.save_recovery_point(log);
            }
        }
    }

    /// Takes the log's state as it is now; written once what it says is durable.
    pub(super) fn save_recovery_point(&mut self, log: LogId) {
        let now = self.now;
        let needs = self.journal.newest();
        let partition = self.partition_mut(log);
        let point = partition.log.recovery_point(now);
        if point.content.len() as u64 > READ_FILE_BYTES_MAX {
            // Nobody could read it, and it would settle control frames all the same.
            tracing::error!(
                "{}: its recovery point would have {} bytes, more than a start reads: the start will scan its segments",
                partition.log.name(),
                point.content.len()
            );
            partition.log.recovery_point_failed(now, &point);
            self.give_up_unsaved(log);
            return self.saving_failed_at_stop(log);
        }
        partition.saving = Some(Saving {
            point,
            settles: partition.control,
            needs,
            is_written: false,
        });
        self.upkeep.saving += 1;
        self.upkeep.unwritten.insert(log);
        self.write_recovery_point(log);
    }

    /// Writes the recovery point that waits, if it may be written now.
    pub(super) fn write_recovery_point(&mut self, log: LogId) {
        let (progress, flushing) = (self.journal.progress(), self.journal.flushing());
        let partition = self.partitions.get_mut(&log);
        let Some(partition) = partition.filter(|partition| partition.saving.is_some()) else {
            self.upkeep.unwritten.remove(&log);
            return;
        };
        let saving = partition.saving.as_mut().expect("just seen");
        if saving.is_written || partition.log.durable() < saving.point.needs_durable {
            return;
        }
        if progress.durable < saving.needs {
            if saving.needs <= progress.written && flushing < saving.needs {
                self.commit.want_flush();
            }
            return;
        }
        self.upkeep.unwritten.remove(&log);
        if !partition.log.recovery_point_holds(&saving.point) {
            return self.recovery_point_over(log);
        }
        saving.is_written = true;
        partition.busy += 1;
        self.write_saving(log);
    }

    /// The next file of a recovery point that may be written: the index files of segments that were closed, then itself, which
    /// relies on them.
    fn write_saving(&mut self, log: LogId) {
        let partition = self.partition_mut(log);
        let saving = partition.saving.as_mut().expect("it is being written");
        while let Some(base) = saving.point.indexes.pop() {
            if let Some((path, content)) = partition.log.index_file(base) {
                return self.disk(Op::SegmentIndex(log, base), DiskOp::ReplaceFile { path, content });
            }
        }
        let (path, content) = (saving.point.path.clone(), saving.point.content.clone());
        self.disk(Op::RecoveryPoint(log), DiskOp::ReplaceFile { path, content });
    }

    pub(super) fn segment_index_done(&mut self, log: LogId, base: Offset, result: Result<DiskReply, DiskError>) {
        if result.is_err() {
            return self.recovery_point_done(log, result);
        }
        self.stats.segment_indexes += 1;
        let Some(partition) = self.partitions.get_mut(&log) else {
            self.recovery_point_over(log);
            return self.no_longer_busy(log);
        };
        partition.log.index_file_saved(base);
        let holds = (partition.saving.as_ref()).is_some_and(|saving| partition.log.recovery_point_holds(&saving.point));
        if holds {
            return self.write_saving(log);
        }
        self.recovery_point_over(log);
        self.no_longer_busy(log);
    }

    /// More of the journal is written or flushed: recovery points that waited for it.
    pub(super) fn write_waiting_recovery_points(&mut self) {
        let waiting: Vec<LogId> = self.upkeep.unwritten.iter().copied().collect();
        for log in waiting {
            self.write_recovery_point(log);
        }
    }

    pub(super) fn recovery_point_done(&mut self, log: LogId, result: Result<DiskReply, DiskError>) {
        match result {
            Ok(_) => {
                if let Some(saving) = self
                    .partitions
                    .get(&log)
                    .and_then(|partition| partition.saving.as_ref())
                {
                    self.journal.settled(log, saving.settles);
                    self.stats.recovery_points += 1;
                }
                self.recovery_point_over(log);
                self.give_up_segments(log);
                self.parked_is_saved(log);
                let partition = self.partitions.get_mut(&log);
                let removed = partition.map_or_else(Vec::new, |partition| partition.log.take_kafka_indexes());
                for path in removed {
                    self.disk(Op::Forgotten, DiskOp::RemoveFile { path });
                }
            }
            Err(error) => {
                self.stats.recovery_points_failed += 1;
                match &error {
                    DiskError::Full { path } => {
                        self.disk_full(path);
                        self.give_up_unsaved(log);
                    }
                    // Somebody removed it, and what is written to its open files goes nowhere. (A dropped log is renamed later.)
                    DiskError::NotFound { path } if self.partitions.contains_key(&log) => {
                        self.partition_failed(log, format!("its folder is gone: no {path}"));
                    }
                    // The one before it is as it was: the next start scans more.
                    error => tracing::warn!("cannot save a recovery point, will try again: {error}"),
                }
                self.recovery_point_failed(log);
            }
        }
        self.no_longer_busy(log);
        self.stop_may_go_on();
    }

    /// A log with a recovery point that was not written yet is gone.
    pub(super) fn saving_abandoned(&mut self) {
        self.upkeep.saving -= 1;
    }

    /// The one before it is as it was: the next start scans more, and control frames stay in the journal.
    fn recovery_point_failed(&mut self, log: LogId) {
        let now = self.now;
        if let Some(partition) = self.partitions.get_mut(&log)
            && let Some(saving) = partition.saving.take()
        {
            partition.log.recovery_point_failed(now, &saving.point);
        }
        self.upkeep.saving = self.upkeep.saving.saturating_sub(1);
        self.saving_failed_at_stop(log);
    }

    fn recovery_point_over(&mut self, log: LogId) {
        if let Some(partition) = self.partitions.get_mut(&log)
            && let Some(saving) = partition.saving.take()
        {
            partition.log.recovery_point_saved(&saving.point);
        }
        self.upkeep.saving = self.upkeep.saving.saturating_sub(1);
    }
}

pub(super) fn ms_as_us(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0).saturating_mul(1000).min(1 << 60)
}
