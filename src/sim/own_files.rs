//! Damage to what the folder needs of itself, between two lives: its format, its name, its metadata, the heads of its journals.
//! A start refuses it or loses nothing by it; what it refused before it touched anything is put right, and the history goes on
//! as if nothing had happened.

use bytes::Bytes;

use super::{History, STEPS_MAX};
use crate::controller::files::META_PROPERTIES;
use crate::controller::snapshot::SnapshotId;
use crate::journal::RING_START;
use crate::shard::effect::DiskOp;
use crate::shard::survey::Files;
use crate::shard::{format, ring_path};
use crate::types::ShardId;

use super::world::Faults;

const METADATA: &str = "__cluster_metadata-0/";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// A bit of one of the small files flips, or it is gone.
    SmallFile,
    /// The first blocks of a journal are zeros, or it is gone.
    JournalHead,
    /// A bit of the newest snapshot of the metadata flips.
    Snapshot,
    /// A bit of the metadata's log flips.
    MetadataLog,
}

impl History {
    /// A device that is damaged in other ways, or full, would be two faults.
    pub(super) fn damage_own_files(&mut self, shards: u16) {
        let choice = self.world.random.below(4) as usize;
        let damage = [
            Damage::SmallFile,
            Damage::JournalHead,
            Damage::Snapshot,
            Damage::MetadataLog,
        ][choice];
        let content = Files::read(&mut self.world.disk, format::FILE, u64::MAX);
        let Some(format) = (content.ok().flatten()).and_then(|content| format::decode(&content).ok()) else {
            return;
        };
        if !format.has_metadata || self.world.disk.is_failing() || self.is_damaged {
            return;
        }
        let whole = self.world.disk.clone();
        let faults = std::mem::replace(&mut self.world.faults, Faults::NONE);
        let (was_done, counted) = match damage {
            Damage::SmallFile => (self.damage_small_file(), "small file of the folder damaged"),
            Damage::JournalHead => {
                let is_missed = format.has_journals && !self.world.is_marked_clean();
                (is_missed && self.damage_journal_head(shards), "head of a journal lost")
            }
            Damage::Snapshot => (self.damage_snapshot(), "metadata snapshot damaged"),
            Damage::MetadataLog => (self.damage_metadata_log(), "metadata log damaged"),
        };
        if was_done {
            self.world.count(counted);
            let damaged = self.world.disk.clone();
            self.world.start_sealing(shards);
            let is_refused = self.is_refused();
            self.world.kill();
            match damage {
                Damage::SmallFile => {
                    assert!(is_refused, "a small file was damaged, and the start went on");
                    if self.world.random.below(2) == 0 {
                        // Nothing of a topic is in it.
                        self.world.disk = damaged;
                        self.world.repair(shards);
                        assert!(!self.is_refused(), "the repair was refused: {:?}", self.world.fatal());
                        self.world.kill();
                        self.world.count("small file of the folder repaired");
                    } else {
                        self.world.disk = whole;
                    }
                }
                Damage::JournalHead => {
                    assert!(is_refused, "the head of a journal was lost, and the start went on");
                    self.world.disk = whole;
                }
                Damage::Snapshot => assert!(!is_refused, "an older snapshot did not do: {:?}", self.world.fatal()),
                Damage::MetadataLog => {
                    self.had_metadata_damage = true;
                    self.world.disk = whole;
                }
            }
        }
        self.world.faults = faults;
    }

    /// Whether the process that runs gives up before it has come to its end.
    fn is_refused(&mut self) -> bool {
        for _ in 0..STEPS_MAX {
            if self.world.fatal().is_some() {
                return true;
            }
            if self.world.is_stopped() {
                return false;
            }
            assert!(self.step(), "a start never came to its end: {}", self.world.describe());
        }
        panic!("a start never came to its end: {}", self.world.describe());
    }

    fn damage_small_file(&mut self) -> bool {
        let path = [format::FILE, META_PROPERTIES][self.world.random.below(2) as usize];
        match self.world.random.below(3) {
            0 => {
                let removed = self.world.disk.perform(&DiskOp::RemoveFile { path: path.into() });
                // Without a journal nothing is lost with the format.
                removed.is_ok() && (path == META_PROPERTIES || self.world.disk.len(&ring_path(ShardId(0))).is_some())
            }
            1 => {
                let (path, content) = (path.into(), Bytes::new());
                self.world.disk.perform(&DiskOp::ReplaceFile { path, content }).is_ok()
            }
            _ => {
                let len = self.world.disk.len(format::FILE).unwrap_or(0);
                let position = self.world.random.below(len) as usize;
                let bit = self.world.random.below(8) as u8;
                self.world.disk.flip(format::FILE, position, bit)
            }
        }
    }

    fn damage_journal_head(&mut self, shards: u16) -> bool {
        let path = ring_path(ShardId(self.world.random.below(shards.into()) as u16));
        match self.world.random.below(3) {
            0 => self.world.disk.perform(&DiskOp::RemoveFile { path }).is_ok(),
            blocks => {
                self.world
                    .disk
                    .zero(&path, 0..RING_START as usize + (blocks as usize - 1) * 4096);
                true
            }
        }
    }

    fn damage_snapshot(&mut self) -> bool {
        let files = self.world.disk.files();
        let newest = files.iter().rfind(|path| {
            let name = path.strip_prefix(METADATA);
            name.and_then(SnapshotId::parse).is_some_and(|id| id.end_offset > 0)
        });
        let Some(newest) = newest.cloned() else { return false };
        self.flip_somewhere(&newest)
    }

    fn damage_metadata_log(&mut self) -> bool {
        let mut files = self.world.disk.files();
        files.retain(|path| path.starts_with(METADATA) && path.ends_with(".log"));
        let Some(newest) = files.pop() else { return false };
        self.flip_somewhere(&newest)
    }

    fn flip_somewhere(&mut self, path: &str) -> bool {
        let len = self.world.disk.len(path).unwrap_or(0);
        let bit = self.world.random.below(8) as u8;
        len > 0 && {
            let position = self.world.random.below(len) as usize;
            self.world
                .note(|| format!("bit {bit} of byte {position} of {path} flipped"));
            self.world.disk.flip(path, position, bit)
        }
    }
}
