//! What the metadata does not know: folders that no topic claims are moved out of the way of new topics, and frames of unknown
//! topics are dropped where the metadata says that the topic was deleted; otherwise a creation was lost, or somebody else changed
//! the folder, and they are kept in a folder that nobody claims.

use std::collections::{BTreeMap, VecDeque};

use crate::controller::Image;
use crate::log::{Replay, ReplayedAppend, side_files};
use crate::types::LogId;

use super::Shard;
use super::boot::{BootOp, Frames};
use super::disk::Op;
use super::effect::{DiskError, DiskOp, DiskReply};
use super::folders::{FolderName, STRAY_SUFFIX, name_with_suffix};

impl Shard {
    /// Folders that no topic claims. They are out of the way before anyone can make a topic of their name.
    pub(super) fn find_strays(&mut self) {
        let root = std::mem::take(&mut self.boot().root);
        let mut renames = VecDeque::new();
        for entry in root.iter().filter(|entry| entry.is_dir) {
            if let FolderName::Partition { topic, partition } = FolderName::parse(&entry.name) {
                let is_known = *topic == *super::kraft::METADATA_TOPIC
                    || self
                        .image
                        .topic(&topic)
                        .is_some_and(|topic| topic.partitions.contains_key(&partition));
                if !is_known {
                    let to = name_with_suffix(&entry.name, self.random.uuid(), STRAY_SUFFIX);
                    tracing::warn!("{} belongs to no topic that exists: it is kept as {to}", entry.name);
                    self.stats.folders_strayed += 1;
                    renames.push_back(DiskOp::Rename {
                        from: entry.name.clone(),
                        to,
                    });
                }
            }
        }
        if !renames.is_empty() {
            renames.push_back(DiskOp::SyncDir { path: String::new() });
        }
        self.boot().tidying = renames;
        self.boot().root = root;
    }

    pub(super) fn tidy_next(&mut self) {
        match self.boot().tidying.pop_front() {
            Some(what) => self.disk(Op::Boot(BootOp::Tidied), what),
            None => self.begin_serving(),
        }
    }

    pub(super) fn part_with_unknown(&mut self, image: &Image) {
        let unknown: Vec<LogId> = (self.boot().frames.keys().copied())
            .filter(|log| *log != LogId::METADATA && image.partition(*log).is_none())
            .collect();
        let (mut keeping, mut logs) = (VecDeque::new(), Vec::new());
        for log in unknown {
            let frames = self.boot().frames.remove(&log).expect("just seen");
            let is_told_only = frames.replay.iter().all(|frame| matches!(frame, Replay::Ended { .. }));
            let is_deleted = frames.is_dropped || self.boot().deleted.contains(&log.topic);
            let appends = frames.appends();
            if is_deleted || appends.is_empty() {
                if !frames.is_dropped && !is_told_only {
                    // The power went before this shard heard that the topic was deleted: the metadata is durable first.
                    tracing::info!("{log}: the journal has frames of a topic that was deleted; they are dropped");
                }
                self.stats.frames_dropped += 1;
                self.journal.forget(log);
                continue;
            }
            let named = format!("{}-{}", log.topic, log.partition);
            let dir = name_with_suffix(&named, self.random.uuid(), STRAY_SUFFIX);
            self.found(format!(
                "{}: the metadata knows no topic {} and does not say that it was deleted; what the journal has of its partition {}, \
                 {} batches, is kept as {dir}",
                self.commit.ring.path,
                log.topic,
                log.partition,
                appends.len()
            ));
            self.stats.frames_quarantined += 1;
            keeping.extend(quarantine(&dir, log, &appends));
            logs.push(log);
        }
        if !logs.is_empty() {
            keeping.push_back(DiskOp::SyncDir { path: String::new() });
        }
        self.keep_frames(keeping, logs);
    }

    /// Frames that nobody claims leave the journal once they are kept elsewhere.
    fn keep_frames(&mut self, mut left: VecDeque<DiskOp>, logs: Vec<LogId>) {
        match left.pop_front() {
            Some(next) => self.disk(Op::Boot(BootOp::FramesKept { left, logs }), next),
            None => {
                for log in logs {
                    self.journal.forget(log);
                }
                self.begin_logs();
            }
        }
    }

    pub(super) fn frames_kept(
        &mut self,
        left: VecDeque<DiskOp>,
        logs: Vec<LogId>,
        result: Result<DiskReply, DiskError>,
    ) {
        match result {
            Ok(_) => self.keep_frames(left, logs),
            Err(error) => self.fatal(format!(
                "{} holds records of a topic that the metadata does not know, and they cannot be kept apart: {error}. Make room \
                 on the device or check it (dmesg), then start the broker again",
                self.commit.ring.path
            )),
        }
    }
}

impl Frames {
    /// The batches that the frames leave, in the order of their offsets.
    fn appends(&self) -> Vec<&ReplayedAppend> {
        let mut appends = BTreeMap::new();
        for replay in &self.replay {
            match replay {
                Replay::Append(append) => {
                    appends.insert(append.base_offset, append);
                }
                Replay::Restate { .. } => appends.clear(),
                Replay::Truncate { to } => drop(appends.split_off(to)),
                Replay::Start { .. } | Replay::Epoch { .. } | Replay::Ended { .. } => {}
            }
        }
        appends.into_values().collect()
    }
}

/// Operations that write batches into a folder that nobody claims, as a segment that tools can read.
fn quarantine(dir: &str, log: LogId, appends: &[&ReplayedAppend]) -> [DiskOp; 3] {
    let base = appends.first().map_or(0, |append| append.base_offset);
    let batches: Vec<&[u8]> = appends.iter().map(|append| &append.bytes[..]).collect();
    [
        DiskOp::CreateDir { path: dir.into() },
        DiskOp::ReplaceFile {
            path: format!("{dir}/{}", side_files::PARTITION_METADATA),
            content: side_files::partition_metadata(log.topic),
        },
        DiskOp::ReplaceFile {
            path: format!("{dir}/{base:020}.log"),
            content: batches.concat().into(),
        },
    ]
}
