//! What a shard did since its start, counted where it happens.
//!
//! The simulator asks for these to see what its histories reached; they are what metrics will show.

use crate::journal::{Mode, Report};
use crate::log::Recovered;

/// A counter is declared once: its field and what it counts.
macro_rules! counters {
    ($($field:ident: $words:literal,)*) => {
        #[derive(Clone, Copy, Default, Debug)]
        pub struct Stats {
            $(#[doc = $words] pub $field: u64,)*
        }

        impl Stats {
            /// Every counter with what it counts.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($words, self.$field),)*].into_iter()
            }
        }
    };
}

counters! {
    commits_flushed: "commit flushed",
    commits_plain: "commit not flushed",
    commits_then_synced: "commit flushed with plain ones before it",
    flushes: "flush of plain commits",
    superblocks: "superblock written",
    chains_closed: "chain closed",
    laps: "ring gone round",
    carried: "set carried forward",
    appends_blocked: "append waited for room",
    appends_timed_out: "append timed out",
    duplicates: "duplicate batch not stored",
    batches_on_worker: "batch checked on a worker",
    batches_handed_on: "batch handed on to a worker",
    large_jobs: "job that takes much memory",
    lookups_on_worker: "time looked up on a worker",
    lookups_waited: "lookup waited for its turn",
    lookups_forgotten: "lookups of a closed connection forgotten",
    checkpoints: "log checkpointed",
    tails_checkpointed: "partial block written",
    checkpoints_failed: "checkpoint failed",
    rolls: "segment rolled",
    recovery_points: "recovery point written",
    segment_indexes: "index file of a closed segment written",
    recovery_points_failed: "recovery point not written",
    retention: "log cut by retention",
    clock_doubted: "clock not believed",
    segments_deleted: "segment deleted",
    deleted_unsaved: "segments deleted, their producers not saved",
    folders_made: "folder made",
    folders_removed: "folder removed",
    folders_late: "folder made later",
    names_passed_on: "deleted topic's name was another's by then",
    folders_refused: "folder refused",
    removals_refused: "removal of a folder refused",
    logs_parked: "offline log put aside",
    parking_failed: "offline log not put aside",
    parked_read: "recovery: log that was put aside",
    rings_vanished: "journal removed while in use",
    journals_failed: "journal failed",
    disk_full: "disk found full",
    disk_reads: "fetch read from disk",
    reads_ahead: "read ahead of a sequential reader",
    reads_ahead_used: "fetch found what was read ahead",
    metadata_groups_split: "metadata records split into batches",
    metadata_groups_delayed: "metadata records waited for room",
    metadata_snapshots: "metadata snapshot written",
    metadata_snapshots_removed: "metadata snapshot removed",
    stops_clean: "shard sealed",
    replayed_frames: "recovery: frame replayed",
    replayed_sets: "recovery: carried set replayed",
    torn_commits: "recovery: torn commit cut off",
    unflushed_lost: "recovery: unflushed commits lost",
    superblocks_mended: "recovery: superblock mended",
    journal_damages: "recovery: journal damage reported",
    damages_attributed: "recovery: damage put down to logs",
    logs_recovered: "recovery: log recovered",
    points_used: "recovery: recovery point used",
    point_copies_damaged: "recovery: one copy of a recovery point damaged",
    closed_scanned: "recovery: closed segment scanned, for want of its index file",
    frames_dropped: "recovery: frames of a deleted topic dropped",
    frames_quarantined: "recovery: frames of an unknown topic kept apart",
    metadata_snapshots_passed_over: "recovery: older metadata snapshot used",
    tails_cut: "recovery: segment's tail cut",
    logs_damaged: "recovery: log damage reported",
    logs_read_only: "recovery: log made read-only",
    logs_offline: "recovery: log offline",
    folders_strayed: "recovery: stray folder moved away",
    registrations_delayed: "recovery: registration waited for room",
}

impl Stats {
    pub(super) fn committed(&mut self, mode: Mode) {
        match mode {
            Mode::Dsync => self.commits_flushed += 1,
            Mode::Plain => self.commits_plain += 1,
            Mode::PlainThenSync => self.commits_then_synced += 1,
        }
    }

    pub(super) fn journal_recovered(&mut self, report: &Report) {
        self.replayed_frames += report.frames;
        self.replayed_sets += report.sets;
        self.torn_commits += u64::from(report.torn_at.is_some());
        self.unflushed_lost += u64::from(report.unflushed_bytes_lost > 0);
        self.superblocks_mended += u64::from(report.superblock_mended);
        self.journal_damages += report.damage.len() as u64;
        self.damages_attributed += report.damage.iter().filter(|damage| damage.is_attributed).count() as u64;
    }

    pub(super) fn log_recovered(&mut self, recovered: &Recovered) {
        self.logs_recovered += 1;
        self.points_used += u64::from(recovered.is_from_point);
        self.point_copies_damaged += u64::from(recovered.is_copy_damaged);
        self.closed_scanned += recovered.closed_scanned;
        self.tails_cut += u64::from(!recovered.cut.is_empty());
        self.logs_damaged += u64::from(recovered.is_damaged);
        self.logs_read_only += u64::from(recovered.log.is_read_only());
    }
}
