//! Disk operations under way: what each completion belongs to.

use crate::journal::Mode;
use crate::log::DiskRead;
use crate::types::{LogId, OpId};

use super::effect::{DiskError, DiskOp, DiskReply, Effect};
use super::lookups::ListSlot;
use super::{Shard, Stage, boot, checkpoint, folders, stop};

/// Whose completion it is.
pub enum Op {
    CommitPiece {
        mode: Mode,
    },
    CommitSync,
    Flush,
    Superblock,
    Read {
        reading: u64,
        index: usize,
        log: LogId,
        read: Box<DiskRead>,
    },
    ReadAhead {
        id: u64,
    },
    ListOffsets {
        at: ListSlot,
        log: LogId,
        read: Box<DiskRead>,
    },
    /// A batch on a worker thread.
    Checked(LogId),
    /// A batch in which a time is looked up on a worker thread.
    LookedUp {
        at: ListSlot,
        log: LogId,
    },
    Checkpoint(checkpoint::Step),
    Boot(boot::BootOp),
    Folder(LogId, folders::FolderStep),
    Removal(u64),
    RecoveryPoint(LogId),
    Parking(LogId),
    SegmentGone(LogId),
    Stop(stop::StopOp),
    Space,
    RingNamed,
    Metadata(super::metadata::FileOp),
    /// Nobody waits for it; a failure is logged.
    Forgotten,
}

/// Room on the device, as last seen.
#[derive(Default)]
pub struct Space {
    pub free_bytes: Option<u64>,
    pub total_bytes: Option<u64>,
    /// Free bytes fell below the reserve: produces are refused until there is room again.
    pub is_full: bool,
    pub is_asked: bool,
}

impl Shard {
    pub(super) fn new_op(&mut self, op: Op) -> OpId {
        let id = OpId(self.new_id());
        self.ops.insert(id, op);
        id
    }

    pub(super) fn disk(&mut self, op: Op, what: DiskOp) {
        let op = self.new_op(op);
        self.emit(Effect::Disk { op, what });
    }

    pub(super) fn disk_done(&mut self, op: OpId, result: Result<DiskReply, DiskError>) {
        let op = self.ops.remove(&op).expect("an operation completes once");
        if matches!(self.stage, Stage::Stopped) {
            return;
        }
        match op {
            Op::CommitPiece { mode } => self.commit_piece_done(mode, result),
            Op::CommitSync => self.commit_synced(result),
            Op::Flush => self.flush_done(result),
            Op::Superblock => self.superblock_done(result),
            Op::Read {
                reading,
                index,
                log,
                read,
            } => self.read_done(reading, index, log, &read, result),
            Op::ReadAhead { id } => self.ahead_done(id, result),
            Op::ListOffsets { at, log, read } => self.listed(at, log, &read, result),
            Op::Checkpoint(step) => self.checkpoint_done(step, result),
            Op::Boot(step) => self.boot_done(step, result),
            Op::Folder(log, step) => self.folder_done(log, step, result),
            Op::Removal(removal) => self.removal_done(removal, result),
            Op::RecoveryPoint(log) => self.recovery_point_done(log, result),
            Op::Parking(log) => self.parking_done(log, result),
            Op::SegmentGone(log) => self.segment_gone(log, result),
            Op::Stop(step) => self.stop_done(step, result),
            Op::Space => self.space_known(result),
            Op::RingNamed => self.ring_named(result),
            Op::Metadata(step) => self.metadata_file_done(step, result),
            Op::Forgotten => {
                if let Err(error) = result {
                    tracing::warn!("{error}");
                }
            }
            Op::Checked(_) | Op::LookedUp { .. } => unreachable!("work on a worker thread completes as Computed"),
        }
        if self.is_stopping() {
            self.stop_may_go_on();
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        matches!(self.stage, Stage::Serving)
    }
}
