//! The journal's commits: one in flight, everything that arrived meanwhile is the next one, answers when it is safe.

use std::collections::VecDeque;

use crate::error::ErrorCode;
use crate::journal::{self, Body, Frame, Mode, Progress, Ticket};
use crate::log::Appended;
use crate::types::{LogId, Offset};

use super::Shard;
use super::disk::Op;
use super::effect::{DiskError, DiskOp, DiskReply, File};

/// So long after its last commit a journal proves that one. A busy one never does, since each commit proves those before it.
const CLOSE_CHAIN_US: u64 = 100_000;

/// Invariant: tickets in `appends` and in `controls` rise.
pub struct Committing {
    pub(super) ring: File,
    writes_left: usize,
    superblock_in_flight: bool,
    /// Whether the ring still has its name is being asked.
    is_name_asked: bool,
    /// What the journal failed with: nothing is acknowledged any more until a restart.
    failed: Option<String>,
    appends: VecDeque<Queued>,
    controls: VecDeque<(Ticket, Control)>,
    /// When a topic's flush.ms is over.
    pub(super) flush_at_us: Option<u64>,
    flush_wanted: bool,
    /// When the newest commit was complete.
    completed_us: u64,
    /// The logs are recovered, and the journal has not started.
    pub(super) holds_image_back: bool,
}

struct Queued {
    ticket: Ticket,
    log: LogId,
    next_offset: Offset,
    /// The append counts when it is on the device, not merely in the ring.
    flush: bool,
}

/// What waits for a control frame to be on the device.
pub enum Control {
    /// Nobody.
    None,
    /// The log's start moved: DeleteRecords answers, segments below may go.
    Start(LogId, Offset),
    /// The log was dropped: its folder may go.
    Drop(LogId),
}

/// The log and the journal do not know each other.
impl From<Appended> for journal::Append {
    fn from(appended: Appended) -> journal::Append {
        journal::Append {
            segment_base: appended.segment_base,
            position: appended.position,
            base_offset: appended.base_offset,
            last_offset: appended.last_offset,
            leader_epoch: appended.leader_epoch,
            bytes: appended.bytes,
        }
    }
}

impl Committing {
    pub fn new(ring: File) -> Committing {
        Committing {
            ring,
            writes_left: 0,
            superblock_in_flight: false,
            is_name_asked: false,
            failed: None,
            appends: VecDeque::new(),
            controls: VecDeque::new(),
            flush_at_us: None,
            flush_wanted: false,
            completed_us: 0,
            holds_image_back: false,
        }
    }

    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// What was acknowledged without a flush is to be flushed.
    pub fn want_flush(&mut self) {
        self.flush_wanted = true;
    }

    pub fn is_superblock_in_flight(&self) -> bool {
        self.superblock_in_flight
    }

    /// Nothing is queued or in flight.
    pub fn is_idle(&self) -> bool {
        self.writes_left == 0 && self.appends.is_empty() && self.controls.is_empty()
    }
}

impl Shard {
    /// Would a batch of this size be taken now?
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        // A batch larger than the whole budget is let in when nothing else is dirty that could be written out.
        let fits =
            self.dirty_bytes <= self.unplaced_bytes || self.dirty_bytes + bytes as u64 <= self.limits.dirty_bytes;
        fits && self.space.takes(bytes) && self.journal_room_wanted(bytes) <= self.journal.room()
    }

    /// What the journal must have room for before a batch of this size is taken: the metadata log must not wait behind
    /// producers.
    fn journal_room_wanted(&self, bytes: usize) -> u64 {
        bytes as u64 + self.metadata_reserve().max(self.metadata_room_wanted())
    }

    /// What producers leave to the metadata log at any time.
    fn metadata_reserve(&self) -> u64 {
        (self.journal.config().ring_bytes / 16).min(self.config.metadata_batch_bytes as u64)
    }

    /// Tells the journal how much room whoever waits needs.
    pub(super) fn want_room(&mut self) {
        let wanted = match self.blocked.room_wanted() {
            0 => self.metadata_room_wanted(),
            bytes => self.journal_room_wanted(bytes as usize),
        };
        self.journal.want(wanted);
    }

    /// A larger batch never has room, however long it waits.
    pub(super) fn largest_batch_bytes(&self) -> u64 {
        let largest = self.journal.config().payload_bytes_max();
        largest.saturating_sub(self.metadata_reserve())
    }

    /// Why no produce is taken at all, if so.
    pub(super) fn produce_refused(&self) -> Option<String> {
        if let Some(error) = self.commit.failed() {
            return Some(format!(
                "the journal failed and takes nothing until the broker is restarted: {error}"
            ));
        }
        if self.is_sealing() {
            return Some("the broker is stopping".into());
        }
        if self.space.is_full {
            return Some(format!("the disk of {} is full", self.config.data_dir));
        }
        None
    }

    /// A batch that the log has taken goes to the journal; [`Shard::has_room_for`] was asked first.
    pub(super) fn journal_append(&mut self, log: LogId, appended: Appended, flush: bool) {
        let next_offset = appended.last_offset + 1;
        self.stats.rolls += u64::from(appended.position == 0 && appended.base_offset > 0);
        self.dirty_bytes += appended.bytes.len() as u64;
        self.space.appended(appended.bytes.len());
        let frame = Frame {
            log,
            body: Body::Append(appended.into()),
        };
        let ticket = self.journal.push(frame, flush).expect("there was room");
        self.commit.appends.push_back(Queued {
            ticket,
            log,
            next_offset,
            flush,
        });
    }

    /// A control frame; `control` goes on when it is on the device. Refused only by a journal that has failed or is full
    /// to its last reserve, which the caller tries again later.
    pub(super) fn journal_control(&mut self, log: LogId, body: Body, control: Control) -> Option<Ticket> {
        if self.commit.failed.is_some() {
            return None;
        }
        let ticket = self.journal.push(Frame { log, body }, true).ok()?;
        self.commit.controls.push_back((ticket, control));
        Some(ticket)
    }

    pub(super) fn begin_commit(&mut self) {
        if self.commit.failed.is_some() || !self.has_journal {
            return;
        }
        if let Some(write) = self.journal.begin_superblock() {
            let file = self.commit.ring.clone();
            let what = DiskOp::Write {
                file,
                position: write.position,
                slices: vec![write.block],
                durable: true,
            };
            self.commit.superblock_in_flight = true;
            self.stats.superblocks += 1;
            self.disk(Op::Superblock, what);
        }
        if let Some(commit) = self.journal.begin_commit() {
            self.stats.committed(commit.mode);
            self.commit.writes_left = commit.writes.len();
            for write in commit.writes {
                let file = self.commit.ring.clone();
                let durable = commit.mode == Mode::Dsync;
                let what = DiskOp::Write {
                    file,
                    position: write.position,
                    slices: write.slices,
                    durable,
                };
                self.disk(Op::CommitPiece { mode: commit.mode }, what);
            }
        }
        if self.commit.flush_wanted && self.journal.begin_flush() {
            self.commit.flush_wanted = false;
            self.stats.flushes += 1;
            self.disk(
                Op::Flush,
                DiskOp::Sync {
                    file: self.commit.ring.clone(),
                },
            );
        }
    }

    pub(super) fn commit_piece_done(&mut self, mode: Mode, result: Result<DiskReply, DiskError>) {
        self.commit.writes_left -= 1;
        if let Err(error) = result {
            return self.journal_failed(&error);
        }
        if self.commit.writes_left > 0 || self.commit.failed.is_some() {
            return;
        }
        if mode == Mode::PlainThenSync {
            self.disk(
                Op::CommitSync,
                DiskOp::Sync {
                    file: self.commit.ring.clone(),
                },
            );
        } else {
            self.commit_completed();
        }
    }

    pub(super) fn commit_synced(&mut self, result: Result<DiskReply, DiskError>) {
        match result {
            Ok(_) => self.commit_completed(),
            Err(error) => self.journal_failed(&error),
        }
    }

    pub(super) fn flush_done(&mut self, result: Result<DiskReply, DiskError>) {
        match result {
            Ok(_) => {
                let progress = self.journal.flush_done();
                self.progressed(progress);
                self.write_waiting_recovery_points();
            }
            Err(error) => self.journal_failed(&error),
        }
    }

    pub(super) fn superblock_done(&mut self, result: Result<DiskReply, DiskError>) {
        self.commit.superblock_in_flight = false;
        match result {
            Ok(_) => {
                self.journal.superblock_done();
                self.retry_blocked();
            }
            Err(error) => self.journal_failed(&error),
        }
        if self.commit.holds_image_back {
            self.hold_first_image();
        }
    }

    /// When the chain is to be closed, if nothing comes before that.
    pub(super) fn close_chain_at_us(&self) -> Option<u64> {
        let is_open = self.has_journal && self.commit.failed.is_none() && self.journal.is_open();
        is_open.then_some(self.commit.completed_us + CLOSE_CHAIN_US)
    }

    /// Once after the last commit of a busy time: what it holds was acknowledged, and damage in it must not pass for a commit that
    /// was never complete.
    pub(super) fn close_chain_if_due(&mut self) {
        if self.close_chain_at_us().is_some_and(|at_us| at_us <= self.now.mono_us) {
            // Without room for it now, it is tried again after as long.
            self.commit.completed_us = self.now.mono_us;
            self.journal.close_chain();
            self.stats.chains_closed += u64::from(self.journal.has_pending());
        }
    }

    fn commit_completed(&mut self) {
        self.commit.completed_us = self.now.mono_us;
        let progress = self.journal.commit_done();
        self.progressed(progress);
        self.write_waiting_recovery_points();
        self.stop_may_go_on();
    }

    /// Answers everything that the journal made safe.
    fn progressed(&mut self, progress: Progress) {
        let mut logs: Vec<LogId> = Vec::new();
        while let Some(queued) = self.commit.appends.front() {
            let safe = if queued.flush {
                progress.durable
            } else {
                progress.written
            };
            if queued.ticket > safe {
                break;
            }
            let queued = self.commit.appends.pop_front().expect("it is there");
            let Some(partition) = self.partitions.get_mut(&queued.log) else {
                continue;
            };
            partition.log.committed(queued.next_offset);
            if !queued.flush {
                self.flush_in_time(queued.log);
            }
            if logs.last() != Some(&queued.log) {
                logs.push(queued.log);
            }
        }
        logs.sort_unstable();
        logs.dedup();
        for log in logs {
            self.log_advanced(log);
        }
        while self
            .commit
            .controls
            .front()
            .is_some_and(|(ticket, _)| *ticket <= progress.durable)
        {
            let (_, control) = self.commit.controls.pop_front().expect("it is there");
            match control {
                Control::None => {}
                Control::Start(log, start) => self.start_durable(log, start),
                Control::Drop(log) => self.drop_durable(log),
            }
        }
    }

    /// More of the log is durable than before.
    fn log_advanced(&mut self, log: LogId) {
        let Some(partition) = self.partitions.get_mut(&log) else {
            return;
        };
        if partition.replica.durable(partition.log.durable()) {
            self.wake_fetches(log);
        }
        self.answer_durable(log);
        self.write_recovery_point(log);
        if log == LogId::METADATA {
            self.metadata_durable();
        }
    }

    /// A record is acknowledged that is not on the device: its topic says for how long that may be.
    fn flush_in_time(&mut self, log: LogId) {
        let ms = self.partition(log).config.flush_ms;
        if let Ok(ms) = u64::try_from(ms)
            && let Some(at_us) = ms.checked_mul(1000).and_then(|us| us.checked_add(self.now.mono_us))
        {
            self.commit.flush_at_us = Some(self.commit.flush_at_us.map_or(at_us, |earlier| earlier.min(at_us)));
        }
    }

    /// A topic's flush.ms may be over.
    pub(super) fn flush_by_time(&mut self) {
        if self.commit.flush_at_us.is_some_and(|at_us| at_us <= self.now.mono_us) {
            self.commit.flush_at_us = None;
            self.commit.flush_wanted = true;
        }
    }

    /// Writes to an open file succeed after its name is gone, and no start finds what they wrote.
    pub(super) fn check_ring_name(&mut self) {
        if self.commit.failed.is_none() && !std::mem::replace(&mut self.commit.is_name_asked, true) {
            let file = self.commit.ring.clone();
            self.disk(Op::RingNamed, DiskOp::CheckName { file });
        }
    }

    pub(super) fn ring_named(&mut self, result: Result<DiskReply, DiskError>) {
        self.commit.is_name_asked = false;
        let Err(error @ DiskError::NotFound { .. }) = result else {
            return;
        };
        self.stats.rings_vanished += 1;
        self.journal_failed(&error);
        self.fatal(format!(
            "{}/{} was removed, moved or replaced while the broker ran: no start would find what is acknowledged now. Put the data \
             folder back as it was and start the broker again; what was acknowledged in the last seconds may be missing",
            self.config.data_dir, self.commit.ring.path
        ));
    }

    /// Never retried, never acknowledged. What was acknowledged stays readable.
    fn journal_failed(&mut self, error: &DiskError) {
        if self.commit.failed.is_some() {
            return;
        }
        tracing::error!(
            "shard {}: the journal cannot be written, so nothing more is acknowledged here: {error}. Check the device (dmesg), \
             then restart the broker; what was acknowledged is on the device",
            self.config.id.0
        );
        self.stats.journals_failed += 1;
        self.commit.failed = Some(error.to_string());
        self.commit.appends.clear();
        self.commit.controls.clear();
        let mut logs: Vec<LogId> = self.partitions.keys().copied().collect();
        logs.sort_unstable();
        for log in logs {
            self.fail_appends(
                log,
                ErrorCode::KafkaStorageError,
                "the journal failed; restart the broker",
            );
            self.fail_starts(log, ErrorCode::KafkaStorageError);
        }
        self.metadata_failed();
        self.stop_failed();
        if self.is_serving() && !self.is_ready {
            self.fatal("the journal cannot be written; see the line above".into());
        }
    }
}
