//! From memory to segments, off the acknowledgement's path: so that the ring can go round and memory is free again.
//!
//! A round takes some logs with whole blocks to write, and goes through reserve, extend, write, truncate, sync and sync of
//! folders together, with few operations in flight at a time: the journal's commits share the device.

use std::collections::VecDeque;

use crate::error::ErrorCode;
use crate::log::{CheckpointStep, Log};
use crate::replica::Role;
use crate::types::{FileIds, LogId};

use super::Shard;
use super::disk::Op;
use super::effect::{BLOCK_BYTES, DiskError, DiskOp, DiskReply};
use super::folders::Folder;
use super::parking;

/// What one round writes at most, over all its logs.
const ROUND_BYTES_MAX: usize = 16 << 20;
const ROUND_LOGS_MAX: usize = 256;
/// What one round takes of one log.
const LOG_BYTES_MAX: usize = 16 << 20;
/// While there is room for what producers send, the journal's commits have the device nearly to themselves.
const OPERATIONS_IN_FLIGHT: usize = 2;
/// When appends wait, or soon will.
const OPERATIONS_IN_FLIGHT_MAX: usize = 8;

#[derive(Default)]
pub struct Checkpointing {
    round: Option<Round>,
    /// A round found the disk full: no other begins before it is known how much room there is.
    is_out_of_space: bool,
}

struct Round {
    members: Vec<Member>,
    phase: Phase,
    queue: VecDeque<(usize, DiskOp)>,
    in_flight: usize,
}

struct Member {
    log: LogId,
    step: CheckpointStep,
    failed: Option<DiskError>,
}

/// In this order; every operation of one is complete before the next begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Reserve,
    Extend,
    Write,
    Truncate,
    Sync,
    SyncFolders,
    Done,
}

impl Phase {
    fn next(self) -> Phase {
        match self {
            Phase::Reserve => Phase::Extend,
            Phase::Extend => Phase::Write,
            Phase::Write => Phase::Truncate,
            Phase::Truncate => Phase::Sync,
            Phase::Sync => Phase::SyncFolders,
            Phase::SyncFolders | Phase::Done => Phase::Done,
        }
    }
}

/// One operation of the round, for this member.
pub struct Step {
    member: usize,
}

impl Checkpointing {
    pub fn is_idle(&self) -> bool {
        self.round.is_none()
    }

    /// How much room there is was asked again: what did not fit may be tried.
    pub fn space_known(&mut self) {
        self.is_out_of_space = false;
    }

    pub fn is_writing(&self, log: LogId) -> bool {
        self.round
            .iter()
            .flat_map(|round| &round.members)
            .any(|member| member.log == log)
    }
}

impl Shard {
    /// Begins a round when something is to be written; called at the end of every round of the loop.
    pub(super) fn checkpoint_if_due(&mut self) {
        if !self.may_checkpoint() {
            return;
        }
        let logs = self.logs_to_checkpoint();
        self.begin_round(logs, Log::checkpoint);
    }

    fn may_checkpoint(&self) -> bool {
        self.checkpoint.round.is_none() && !self.checkpoint.is_out_of_space && self.commit.failed().is_none()
    }

    /// When neither whole blocks nor carrying make room, what is left is partial blocks with the batches that end in them.
    pub(super) fn checkpoint_tails_if_due(&mut self) {
        if !self.may_checkpoint() {
            return;
        }
        let kept: Vec<LogId> = self.parking.kept().collect();
        if self.begin_round(kept, Log::checkpoint_tail) > 0 {
            return;
        }
        let is_ring_short = self.journal.must_apply_all() && self.journal.must_carry().is_empty();
        if is_ring_short || self.is_memory_short() {
            let logs = self.dirtiest_logs();
            self.stats.tails_checkpointed += self.begin_round(logs, Log::checkpoint_tail) as u64;
        }
    }

    /// How many logs are in it.
    fn begin_round(
        &mut self,
        logs: Vec<LogId>,
        checkpoint: fn(&mut Log, usize, &mut FileIds) -> Option<CheckpointStep>,
    ) -> usize {
        let mut members = Vec::new();
        let mut bytes = 0;
        for log in logs {
            if bytes >= ROUND_BYTES_MAX || members.len() >= ROUND_LOGS_MAX {
                break;
            }
            let Some(partition) = self.partitions.get_mut(&log) else {
                continue;
            };
            if partition.folder != Folder::Ready || !partition.is_online() {
                continue;
            }
            if let Some(step) = checkpoint(&mut partition.log, LOG_BYTES_MAX, &mut self.files) {
                bytes += step.bytes();
                members.push(Member {
                    log,
                    step,
                    failed: None,
                });
            }
        }
        let count = members.len();
        if count > 0 {
            let phase = Phase::Reserve;
            self.checkpoint.round = Some(Round {
                members,
                phase,
                queue: VecDeque::new(),
                in_flight: 0,
            });
            self.enter_phase(phase);
        }
        count
    }

    /// Those that keep the ring from going round first, then those with most in memory; all of them in a clean stop.
    fn logs_to_checkpoint(&mut self) -> Vec<LogId> {
        let mut logs = self.journal.must_apply();
        if self.is_memory_short() || self.journal.must_apply_all() || self.is_stopping() {
            logs.extend(self.dirtiest_logs());
        }
        logs
    }

    /// Whoever waits for memory makes it free, also below the threshold.
    fn is_memory_short(&self) -> bool {
        let wanted = self.blocked.room_wanted();
        self.dirty_bytes > self.limits.dirty_bytes / 2
            || wanted > 0 && self.dirty_bytes + wanted > self.limits.dirty_bytes
    }

    fn dirtiest_logs(&self) -> Vec<LogId> {
        let mut dirty: Vec<(usize, LogId)> = (self.partitions.iter())
            .filter(|(_, partition)| partition.log.dirty_bytes() > 0 || partition.log.wants_checkpoint())
            .map(|(log, partition)| (partition.log.dirty_bytes(), *log))
            .collect();
        dirty.sort_unstable_by(|a, b| b.cmp(a));
        dirty.into_iter().map(|(_, log)| log).collect()
    }

    /// Queues the operations of a phase; goes on to the next when there are none.
    fn enter_phase(&mut self, mut phase: Phase) {
        loop {
            let round = self.checkpoint.round.as_mut().expect("a round is under way");
            round.phase = phase;
            for (index, member) in round.members.iter().enumerate() {
                if member.failed.is_some() {
                    continue;
                }
                let file = &member.step.file;
                match phase {
                    Phase::Reserve => {
                        if let Some(len) = member.step.reserve {
                            let end = member.step.end().next_multiple_of(BLOCK_BYTES);
                            let len = if self.space.take_ahead(len.saturating_sub(end)) {
                                len
                            } else {
                                end
                            };
                            round.queue.push_back((
                                index,
                                DiskOp::Reserve {
                                    file: file.clone(),
                                    len,
                                },
                            ));
                        }
                    }
                    Phase::Write => {
                        round.queue.extend(member.step.writes.iter().map(|write| {
                            let (file, position, slices) = (file.clone(), write.position, write.slices.clone());
                            (
                                index,
                                DiskOp::Write {
                                    file,
                                    position,
                                    slices,
                                    durable: false,
                                },
                            )
                        }));
                    }
                    Phase::Extend | Phase::Truncate => {
                        let size = match phase {
                            Phase::Extend => member.step.extend,
                            _ => member.step.truncate,
                        };
                        if let Some(len) = size {
                            round.queue.push_back((
                                index,
                                DiskOp::Truncate {
                                    file: file.clone(),
                                    len,
                                },
                            ));
                        }
                    }
                    // Each file by itself, however many there are. One sync of the whole file system would be less work, but it
                    // waits for what other programs wrote, holds up the journal's flushes meanwhile, and when it fails nobody
                    // knows whose bytes are lost.
                    Phase::Sync => round.queue.push_back((index, DiskOp::Sync { file: file.clone() })),
                    Phase::SyncFolders => {
                        if member.step.sync_folder {
                            let path = folder_of(&file.path).to_string();
                            round.queue.push_back((index, DiskOp::SyncDir { path }));
                        }
                    }
                    Phase::Done => {}
                }
            }
            if phase == Phase::Done {
                return self.round_done();
            }
            if !round.queue.is_empty() {
                return self.issue_operations();
            }
            phase = phase.next();
        }
    }

    fn issue_operations(&mut self) {
        let is_pressed = !self.blocked.is_empty() || self.journal.must_apply_all();
        let in_flight_max = if is_pressed {
            OPERATIONS_IN_FLIGHT_MAX
        } else {
            OPERATIONS_IN_FLIGHT
        };
        loop {
            let round = self.checkpoint.round.as_mut().expect("a round is under way");
            if round.in_flight >= in_flight_max {
                return;
            }
            let Some((member, what)) = round.queue.pop_front() else {
                return;
            };
            round.in_flight += 1;
            self.disk(Op::Checkpoint(Step { member }), what);
        }
    }

    pub(super) fn checkpoint_done(&mut self, step: Step, result: Result<DiskReply, DiskError>) {
        let round = self.checkpoint.round.as_mut().expect("a round is under way");
        round.in_flight -= 1;
        if let Err(error) = result {
            let error = match error {
                // Bytes that were written are lost, and a sync is never tried again: not the same as no room to begin with.
                DiskError::Full { path } if matches!(round.phase, Phase::Sync | Phase::SyncFolders) => DiskError::Io {
                    message: format!("cannot sync {path}: the disk is full"),
                },
                other => other,
            };
            round.members[step.member].failed.get_or_insert(error);
            round
                .queue
                .retain(|(member, _)| round.members[*member].failed.is_none());
        }
        if !round.queue.is_empty() {
            return self.issue_operations();
        }
        if round.in_flight == 0 {
            let next = round.phase.next();
            self.enter_phase(next);
        }
    }

    fn round_done(&mut self) {
        let round = self.checkpoint.round.take().expect("a round is under way");
        for Member { log, step, failed } in round.members {
            let Some(partition) = self.partitions.get_mut(&log) else {
                self.no_longer_busy(log);
                continue;
            };
            match failed {
                None => {
                    let dirty_before = partition.log.dirty_bytes();
                    partition.log.checkpointed(&step);
                    self.stats.checkpoints += 1;
                    self.dirty_bytes -= (dirty_before - partition.log.dirty_bytes()) as u64;
                    self.cached_bytes += (dirty_before - partition.log.dirty_bytes()) as u64;
                    self.journal.applied(log, partition.log.applied());
                    self.save_recovery_point_if_due(log);
                }
                Some(DiskError::Full { path }) => {
                    partition.log.checkpoint_aborted(&step);
                    self.checkpoint.is_out_of_space = true;
                    self.disk_full(&path);
                }
                Some(error) => {
                    partition.log.checkpoint_aborted(&step);
                    self.partition_failed(log, format!("its segment could not be written: {error}"));
                }
            }
        }
        self.evict();
        self.retry_blocked();
        self.checkpoint_if_due();
        self.stop_may_go_on();
    }

    /// A segment or a folder that could not be written takes its log offline: nobody knows what it holds. The records that it
    /// lacks are put aside.
    pub(super) fn partition_failed(&mut self, log: LogId, why: String) {
        self.stats.checkpoints_failed += 1;
        self.take_offline(log, why);
    }

    /// Nobody is served and none of its files is written until a restart. What the segments lack is put aside, so that the
    /// others have the journal and the memory for themselves.
    pub(super) fn take_offline(&mut self, log: LogId, why: String) {
        let partition = self.partition_mut(log);
        tracing::error!(
            "{}: offline, because {why}. Check the device (dmesg) and restart the broker; acknowledged records that its \
             segments lack are in the journal, or in files beside it",
            partition.name()
        );
        partition.replica.role = Role::Offline { why: why.clone() };
        self.fail_appends(log, ErrorCode::KafkaStorageError, &why);
        self.wake_fetches(log);
        self.parking.want(log);
        self.stop_is_not_clean();
        if log == LogId::METADATA && self.is_serving() && !self.is_ready {
            self.fatal("the metadata log cannot be written; see the line above".into());
        }
    }

    /// Keeps what is in memory for readers within its budget, the oldest of each log first.
    fn evict(&mut self) {
        if self.cached_bytes <= self.limits.cache_bytes {
            return;
        }
        // Down to seven eighths, so that this is not done for every round.
        let target = self.limits.cache_bytes / 8 * 7;
        let mut cached: Vec<(usize, LogId)> = (self.partitions.iter())
            .filter(|(_, partition)| partition.log.cached_bytes() > 0)
            .map(|(log, partition)| (partition.log.cached_bytes(), *log))
            .collect();
        cached.sort_unstable_by(|a, b| b.cmp(a));
        let total: u64 = cached.iter().map(|(bytes, _)| *bytes as u64).sum();
        self.cached_bytes = total;
        let surplus = total.saturating_sub(target);
        for (bytes, log) in cached {
            // Each gives its share, so that a quiet log does not lose its few bytes to a busy one.
            let share = (surplus as u128 * bytes as u128).div_ceil(total.max(1) as u128) as usize;
            self.cached_bytes -= self.partition_mut(log).log.evict_oldest(share) as u64;
        }
    }

    /// Writes once more what keeps the ring from going round and cannot be applied now: partial last blocks, logs that are
    /// offline, control frames that no recovery point covers yet.
    pub(super) fn carry_if_due(&mut self) {
        if self.commit.failed().is_some() {
            return;
        }
        for log in self.journal.must_carry() {
            let Some(partition) = self.partitions.get(&log) else {
                // Dropped, and the metadata that says so is durable: replay skips what it does not know.
                self.journal.forget(log);
                continue;
            };
            if partition.is_online() && partition.log.wants_checkpoint() && partition.folder == Folder::Ready {
                continue;
            }
            if self.parking.is_writing(log) {
                continue;
            }
            if !partition.is_online() && self.parking.is_aside(log) {
                // The set has it all, and a carried one, without the records, would stand for it at a start.
                self.journal.forget(log);
                continue;
            }
            let frames = parking::restated(partition);
            let Ok(ticket) = self.journal.carry(log, partition.log.applied(), &frames) else {
                return;
            };
            self.stats.carried += 1;
            // The set says the control frames once more; a recovery point settles it as it would have settled them.
            let partition = self.partition_mut(log);
            partition.control = ticket;
            partition.log.control_restated();
        }
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
