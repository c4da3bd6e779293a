//! Disk operations under way: what each completion belongs to.

use crate::journal::Mode;
use crate::log::DiskRead;
use crate::types::{LogId, Offset, OpId};

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
    /// The index file of the closed segment that begins there.
    SegmentIndex(LogId, Offset),
    SegmentGone(LogId),
    Stop(stop::StopOp),
    Space,
    RingNamed,
    Metadata(super::metadata::FileOp),
    /// Nobody waits for it; a failure is logged.
    Forgotten,
}

/// Room on the device, as last seen, and what this shard may append before it looks again. Without that a second's appends, and
/// what is in memory and not in the segments yet, would go into the reserve.
pub struct Space {
    pub free_bytes: Option<u64>,
    pub total_bytes: Option<u64>,
    /// There is no room beside the reserve: produces are refused until there is some again.
    pub is_full: bool,
    is_asked: bool,
    /// Bytes of batches since the start; how many they were, and how many of them were in memory only, when the device was
    /// asked last.
    appended: u64,
    appended_when_asked: u64,
    dirty_when_asked: u64,
    /// What `appended` may rise to before the next answer.
    appended_max: u64,
    /// The largest batch that waits for an answer, and how many answers in a row had no room for one.
    wanted: u64,
    short_answers: u32,
}

impl Default for Space {
    fn default() -> Space {
        Space {
            free_bytes: None,
            total_bytes: None,
            is_full: false,
            is_asked: false,
            appended: 0,
            appended_when_asked: 0,
            dirty_when_asked: 0,
            // Until the first answer nobody knows; it comes before the first produce.
            appended_max: u64::MAX,
            wanted: 0,
            short_answers: 0,
        }
    }
}

/// Room as a shard finds it when the device has answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    Enough,
    /// For what is there, not for more; whoever waits, waits.
    Tight,
    Full,
}

impl Space {
    pub fn takes(&self, bytes: usize) -> bool {
        self.appended.saturating_add(bytes as u64) <= self.appended_max
    }

    pub fn appended(&mut self, bytes: usize) {
        self.appended += bytes as u64;
    }

    /// Whether a file may get so many bytes more than are written to it; they are gone for batches before the next answer.
    pub fn take_ahead(&mut self, bytes: u64) -> bool {
        let is_free = self.appended.saturating_add(bytes) <= self.appended_max;
        self.appended += if is_free { bytes } else { 0 };
        is_free
    }

    /// A batch waits for the next answer.
    pub fn want(&mut self, bytes: usize) {
        self.wanted = self.wanted.max(bytes as u64);
    }

    /// Whether the device is to be asked now; `dirty_bytes` are in memory, and take room when they are written.
    pub fn ask(&mut self, dirty_bytes: u64) -> bool {
        let is_asked = std::mem::replace(&mut self.is_asked, true);
        if !is_asked {
            self.appended_when_asked = self.appended;
            self.dirty_when_asked = dirty_bytes;
        }
        !is_asked
    }

    /// The answer to [`Space::ask`]; None when the device gave none. A shard may use its share of what the reserve leaves.
    pub fn answered(&mut self, free_and_total: Option<(u64, u64)>, reserve_bytes: u64, shards: u16) -> Room {
        self.is_asked = false;
        let wanted = std::mem::take(&mut self.wanted);
        let Some((free_bytes, total_bytes)) = free_and_total else {
            return if self.is_full { Room::Tight } else { Room::Enough };
        };
        self.free_bytes = Some(free_bytes);
        self.total_bytes = Some(total_bytes);
        let beside_reserve = free_bytes.saturating_sub(reserve_bytes);
        let room = (beside_reserve / u64::from(shards)).saturating_sub(self.dirty_when_asked);
        self.appended_max = self.appended_when_asked + room;
        // What is dirty may go where space is reserved already, and brings back no more than itself.
        self.short_answers = if wanted > room { self.short_answers + 1 } else { 0 };
        let brings_none = wanted > room + self.dirty_when_asked || self.short_answers > SHORT_ANSWERS_MAX;
        if free_bytes < reserve_bytes || beside_reserve < self.dirty_when_asked || brings_none {
            Room::Full
        } else if room < ROOM_BYTES_MIN.min(total_bytes / 64) {
            Room::Tight
        } else {
            Room::Enough
        }
    }
}

/// As long as a second, with one answer for each look at what waits.
const SHORT_ANSWERS_MAX: u32 = 20;
/// A device that was full has room again when a shard may append this much, or a part of a small device.
const ROOM_BYTES_MIN: u64 = 16 * 1024 * 1024;

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
            Op::SegmentIndex(log, base) => self.segment_index_done(log, base, result),
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

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// Asks with so much dirty, and is answered with so much free of 10 GiB, of which 100 MiB are kept.
    fn asked(space: &mut Space, dirty_mib: u64, free_mib: u64) -> Room {
        assert!(space.ask(dirty_mib * MIB));
        assert!(!space.ask(0), "one at a time");
        space.answered(Some((free_mib * MIB, 10_240 * MIB)), 100 * MIB, 2)
    }

    #[test]
    fn between_two_answers_a_shard_appends_no_more_than_its_share() {
        let mut space = Space::default();
        assert!(space.takes(usize::MAX), "nobody knows yet");
        // 200 MiB beside the reserve, half of it another shard's, 30 MiB of ours not written yet.
        assert_eq!(asked(&mut space, 30, 300), Room::Enough);
        assert!(space.takes(70 << 20) && !space.takes((70 << 20) + 1));
        assert!(space.take_ahead(20 * MIB) && !space.take_ahead(51 * MIB));
        space.appended(50 << 20);
        assert!(!space.takes(1));
        // What is appended while the device is being asked is not in its answer.
        assert!(space.ask(0));
        space.appended(10 << 20);
        assert_eq!(
            space.answered(Some((200 * MIB, 10_240 * MIB)), 100 * MIB, 2),
            Room::Enough
        );
        assert!(space.takes(40 << 20) && !space.takes((40 << 20) + 1));
    }

    #[test]
    fn full_is_when_waiting_brings_nothing() {
        let mut space = Space::default();
        assert_eq!(asked(&mut space, 0, 99), Room::Full);
        assert_eq!(
            asked(&mut space, 30, 120),
            Room::Full,
            "it is gone once what is dirty is written"
        );
        assert_eq!(asked(&mut space, 30, 150), Room::Tight, "the other shard's share");
        for answer in 0..=SHORT_ANSWERS_MAX {
            space.want(20 << 20);
            let expected = if answer < SHORT_ANSWERS_MAX {
                Room::Tight
            } else {
                Room::Full
            };
            assert_eq!(asked(&mut space, 10, 150), expected, "what is dirty may bring some");
        }
        space.want(30 << 20);
        assert_eq!(asked(&mut space, 0, 150), Room::Full);
        assert_eq!(asked(&mut space, 0, 150), Room::Enough, "for smaller ones");
        assert_eq!(space.answered(None, 100 * MIB, 2), Room::Enough);
    }
}
