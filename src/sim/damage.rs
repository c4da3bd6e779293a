//! What the device does to the files that it holds: it damages them, or it cannot read or write them.
//!
//! Whatever is done here tells the oracle which logs it may have cost something, so that it excuses no other.

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::Bytes;

use crate::journal::format::{CommitHeader, Superblock, SuperblockRead};
use crate::journal::{RING_START, frame};
use crate::log::{INDEX_SUFFIX, RECOVERY_POINT};
use crate::shard::effect::{BLOCK_BYTES, DiskOp};
use crate::types::LogId;

use super::History;
use super::disk::SECTOR;
use super::world::RingWrite;

impl History {
    /// The device cannot read a segment any more, or the rest of it.
    pub(super) fn make_unreadable(&mut self) {
        let Some(path) = self.pick_file(|path| path.ends_with(".log")) else {
            return;
        };
        let len = self.world.disk.len(&path).unwrap_or(0);
        let from = [0, self.world.random.below(len + 1), len][self.world.random.below(3) as usize];
        self.world.note(|| format!("{path} cannot be read from byte {from} on"));
        self.world.disk.make_unreadable(&path, from);
    }

    /// A segment cannot be written any more, or nothing in its folder can. False when there is none.
    pub(super) fn make_unwritable(&mut self) -> bool {
        let Some(path) = self.pick_file(|path| path.ends_with(".log")) else {
            return false;
        };
        let folder = path.rfind('/').map_or(0, |at| at + 1);
        let prefix = match self.world.random.below(2) {
            0 => &path[..],
            _ => &path[..folder],
        };
        self.world.note(|| format!("{prefix} cannot be written"));
        self.world.count("file cannot be written");
        self.world.disk.make_unwritable(prefix);
        true
    }

    pub(super) fn repair(&mut self) {
        if self.world.disk.is_failing() {
            self.world.note(|| "the device is repaired".into());
            self.world.count("device repaired");
            self.world.disk.repair();
        }
    }

    /// One of the files that are not the metadata's.
    fn pick_file(&mut self, is_wanted: impl Fn(&str) -> bool) -> Option<String> {
        let mut files = self.world.disk.files();
        files.retain(|path| !path.starts_with("__cluster_metadata") && is_wanted(path));
        let count = files.len() as u64;
        (count > 0).then(|| files.swap_remove(self.world.random.below(count) as usize))
    }

    /// Between two lives the device flips a bit of what it holds.
    pub(super) fn damage(&mut self) -> bool {
        let ends: &[&str] = match self.world.random.below(2) {
            0 => &[".log", ".ring", RECOVERY_POINT, INDEX_SUFFIX],
            _ => &[".ring"],
        };
        let Some(path) = &self.pick_file(|path| ends.iter().any(|end| path.ends_with(end))) else {
            return false;
        };
        let Some(len) = self.world.disk.len(path).filter(|len| *len > 0) else {
            return false;
        };
        if path.ends_with(".ring") {
            let path = path.clone();
            return self.damage_journal(&path, len);
        }
        if !path.ends_with(".log") {
            let (path, position) = (path.clone(), self.world.random.below(len) as usize);
            return self.damage_side_file(&path, position);
        }
        let position = self.world.random.below(len) as usize;
        let what = match self.world.random.below(6) {
            0 => self.overwrite(path, position, len, None),
            1 => {
                let from = self.world.random.below(len) as usize;
                self.overwrite(path, position, len, Some(from))
            }
            2 => {
                self.world.disk.shorten(path, position);
                Some("segment truncated")
            }
            _ => {
                let bit = self.world.random.below(8) as u8;
                let is_flipped = self.world.disk.flip(path, position, bit);
                is_flipped.then_some("bit flipped in a segment")
            }
        };
        let Some(what) = what else {
            return false;
        };
        self.world.note(|| format!("{what}: {path} at {position} of {len}"));
        self.world.count(what);
        let logs = self.logs_of_folder(path);
        self.oracle.damaged(&logs);
        self.is_damaged = true;
        true
    }

    /// A bit or a sector of a recovery point, of which there are two copies, or of an index file, which is made again. It
    /// excuses nothing.
    fn damage_side_file(&mut self, path: &str, position: usize) -> bool {
        let is_point = path.ends_with(RECOVERY_POINT);
        let position = match is_point {
            true => self.within_a_copy(path),
            false => position,
        };
        let (done, what) = match self.world.random.below(3) {
            0 => {
                let done = self.world.disk.lose_sector(path, position);
                let what = if is_point {
                    "sector of a recovery point lost"
                } else {
                    "sector of an index file lost"
                };
                (done, what)
            }
            1 if !is_point => {
                let removed = self.world.disk.perform(&DiskOp::RemoveFile { path: path.into() });
                (removed.is_ok(), "index file lost")
            }
            _ => {
                let bit = self.world.random.below(8) as u8;
                let done = self.world.disk.flip(path, position, bit);
                let what = if is_point {
                    "bit flipped in a recovery point"
                } else {
                    "bit flipped in an index file"
                };
                (done, what)
            }
        };
        if done {
            self.world.note(|| format!("{path}: {what}, at byte {position}"));
            self.world.count(what);
        }
        done
    }

    /// A byte of one of a recovery point's copies: most of its blocks are padding.
    fn within_a_copy(&mut self, path: &str) -> usize {
        let half = self.world.disk.len(path).unwrap_or(0) / 2;
        let length = self
            .world
            .disk
            .content(path, 12..16)
            .try_into()
            .map_or(0, u32::from_le_bytes);
        let random = &mut self.world.random;
        (random.below(2) * half + random.below(u64::from(length).clamp(1, half.max(1)))) as usize
    }

    /// Some sectors of a file are zeros, or those of another place of it.
    fn overwrite(&mut self, path: &str, position: usize, len: u64, from: Option<usize>) -> Option<&'static str> {
        let sectors = 1 + self.world.random.below(24) as usize;
        let position = position / SECTOR * SECTOR;
        let from = from.map(|from| from / SECTOR * SECTOR);
        let count = (sectors * SECTOR).min(len as usize - position.max(from.unwrap_or(0)));
        let content = match from {
            Some(from) => self.world.disk.content(path, from..from + count).to_vec(),
            None => vec![0; count],
        };
        let is_changed = self.world.disk.overwrite(path, position, &content);
        is_changed.then_some(match from {
            Some(_) => "stretch of a segment misdirected",
            None => "stretch of a segment zeroed",
        })
    }

    /// The logs whose files lie in the folder of `path`, in any of the topics of its name.
    fn logs_of_folder(&self, path: &str) -> BTreeSet<LogId> {
        let folder = path.split('/').next().unwrap_or_default();
        let is_of = |log: &LogId| {
            let made = self.topics.made.get(&log.topic);
            made.is_none_or(|made| folder.starts_with(&format!("{}-{}", made.name, log.partition)))
        };
        self.oracle.logs().filter(is_of).collect()
    }

    /// The logs of which a frame lies there in a journal.
    fn logs_in_journal(&self, path: &str, range: &Range<u64>) -> BTreeSet<LogId> {
        let content = self
            .world
            .disk
            .content(path, 0..self.world.disk.len(path).unwrap_or(0) as usize);
        let ring = &content[RING_START as usize..];
        let copies = content.chunks(BLOCK_BYTES as usize).take(2).map(Superblock::decode);
        let nonce = copies.into_iter().find_map(|copy| match copy {
            SuperblockRead::Valid(superblock) => Some(superblock.nonce),
            _ => None,
        });
        let mut logs = BTreeSet::new();
        for at in (0..ring.len()).step_by(BLOCK_BYTES as usize) {
            let Some((header, _)) = nonce.and_then(|nonce| CommitHeader::decode(&ring[at..], nonce)) else {
                continue;
            };
            let around = [&ring[at..], &ring[..at]].concat();
            let commit = Bytes::from(around).slice(..(header.length as usize).min(ring.len()));
            let mut within = header.frames_at();
            while let Some(frame) = commit
                .get(within..)
                .and_then(|_| frame::decode(&commit.slice(within..), nonce.expect("a header was read with it")))
            {
                let place = |offset: usize| RING_START + ((at + offset) % ring.len()) as u64;
                let overlaps = (within..within + frame.ring_bytes).any(|offset| range.contains(&place(offset)));
                if overlaps {
                    logs.insert(frame.frame.log);
                }
                within += frame.ring_bytes;
            }
        }
        logs
    }

    /// A bit, a sector or a stretch of a journal: where it was written last, since most of it is of no use any more.
    fn damage_journal(&mut self, path: &str, len: u64) -> bool {
        let choice = self.world.random.below(8);
        let mut writes: Vec<RingWrite> = self.world.ring_writes(path).copied().collect();
        writes.retain(|write| write.is_superblock() == (choice == 1));
        let nth = match choice {
            0 => usize::MAX,
            1 => 0,
            _ => {
                let below = 1 + self.world.random.below(writes.len().max(1) as u64);
                self.world.random.below(below) as usize
            }
        };
        let position = match writes.get(nth) {
            Some(write) => write.position + self.world.random.below(write.len),
            None => self.world.random.below(len),
        };
        let is_superblock = position < RING_START;
        if is_superblock && !self.has_both_superblocks(path) {
            // The power tore the other one a moment ago: these would be two faults.
            return false;
        }
        let sector = SECTOR as u64;
        let from = position / sector * sector;
        let how = self.world.random.below(4);
        let bit = self.world.random.below(8) as u8;
        let sectors = 1 + self.world.random.below(24) * u64::from(!is_superblock);
        let range = match how {
            0 | 1 => position..position + 1,
            2 => from..from + sector,
            _ => from..(from + sectors * sector).min(len),
        };
        let logs = self.logs_in_journal(path, &range);
        let at = position as usize;
        let what = match how {
            0 | 1 => self
                .world
                .disk
                .flip(path, at, bit)
                .then_some("bit flipped in a journal"),
            2 => self
                .world
                .disk
                .lose_sector(path, at)
                .then_some("sector of a journal lost"),
            _ => {
                let zeros = vec![0; (range.end - range.start) as usize];
                let is_changed = self.world.disk.overwrite(path, range.start as usize, &zeros);
                is_changed.then_some("stretch of a journal lost")
            }
        };
        let Some(what) = what else {
            return false;
        };
        self.world.note(|| format!("{what}: {range:?} of {path}, of {logs:?}"));
        self.world.count(what);
        if is_superblock {
            // What there are two for: it excuses nothing.
            self.world.count("superblock damaged");
            return true;
        }
        if self.flushes_later || self.world.may_look_torn(path, &range) {
            self.oracle.may_look_torn();
        }
        if range.end - range.start > sector {
            // More commits than what is left says something of.
            self.oracle.suspects_all();
        }
        self.oracle.damaged(&logs);
        self.is_damaged = true;
        true
    }

    fn has_both_superblocks(&self, path: &str) -> bool {
        let block = BLOCK_BYTES as usize;
        [0..block, block..2 * block].into_iter().all(|range| {
            let content = self.world.disk.content(path, range);
            matches!(Superblock::decode(content), SuperblockRead::Valid(_))
        })
    }
}
