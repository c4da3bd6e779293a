//! Partitions come and go with the metadata: their folders are made, described, renamed away and removed.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::controller::{Delta, Image, image::PartitionRegistration, image::Topic};
use crate::error::ErrorCode;
use crate::journal::Body;
use crate::log::side_files;
use crate::log::{Log, LogConfig};
use crate::replica::{Leader, Replica};
use crate::types::{LogId, TopicId};

use super::Shard;
use super::commit::Control;
use super::disk::Op;
use super::effect::{DiskError, DiskOp, DiskReply};
use super::partition::Partition;
use super::upkeep::ms_as_us;

/// A folder's name behind its partition's, once it is to be removed: `<topic>-<n>.<id>-delete`.
pub const DELETE_SUFFIX: &str = "-delete";
/// A folder that no topic of the metadata claims.
pub const STRAY_SUFFIX: &str = "-stray";

/// Files of a folder that are removed in one step.
const REMOVED_AT_ONCE_MAX: usize = 64;
/// Folders that are made at the same time.
const MAKING_MAX: usize = 16;
const RETRY_US: u64 = 100_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Folder {
    /// Waits until its turn comes, or until an older folder of its name is out of the way.
    Wanted,
    Making,
    Ready,
}

/// Making one folder, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FolderStep {
    Created,
    /// Whose it was before, if it was there.
    Asked,
    Described,
    Synced,
}

/// A folder on its way out; keyed by an id of its own, since it may be nobody's.
pub struct Removal {
    /// Whose it was, when it was ours.
    log: Option<LogId>,
    /// Its name, which is its partition's until the rename is complete.
    dir: String,
    /// Operations that name the folder and are not complete.
    busy: usize,
    stage: RemovalStage,
}

#[derive(Debug)]
enum RemovalStage {
    /// Until the drop is durable and nothing names the folder any more.
    Waiting {
        is_dropped: bool,
    },
    Renaming,
    SyncingRename,
    /// Until `file.delete.delay.ms` is over.
    Resting {
        until_us: u64,
    },
    Listing,
    Removing {
        files: VecDeque<String>,
        in_flight: usize,
    },
    RemovingFolder,
}

#[derive(Default)]
pub struct Folders {
    wanted: VecDeque<LogId>,
    /// When those that could not be made, or were another topic's, are tried again.
    retry_at_us: Option<u64>,
    making: usize,
    removals: std::collections::BTreeMap<u64, Removal>,
}

impl Shard {
    /// The metadata went on from `before`: this shard's partitions follow.
    pub(super) fn follow_image(&mut self, before: &Image) {
        let image = self.image.clone();
        let delta = Delta::between(before, &image);
        for topic in &delta.deleted {
            for &partition in topic.partitions.keys() {
                self.drop_partition(topic.log_id(partition), topic.config.file_delete_delay_ms);
            }
        }
        for created in &delta.created {
            let log = created.topic.log_id(created.partition);
            if self.owner(log) == self.config.id && !self.partitions.contains_key(&log) {
                self.create_partition(&created.topic, log, &created.registration);
            }
        }
        for changed in &delta.changed {
            let log = changed.topic.log_id(changed.partition);
            self.lead(log, &changed.after);
        }
        for topic in &delta.reconfigured {
            for &partition in topic.partitions.keys() {
                self.reconfigure(topic.log_id(partition), topic);
            }
        }
        self.make_folders();
    }

    fn create_partition(&mut self, topic: &Topic, log: LogId, registration: &PartitionRegistration) {
        let name = format!("{}-{}", topic.name, log.partition);
        let new = Log::create(log, &name, &name, LogConfig::from(&*topic.config), self.now);
        let leader = leader_of(registration, topic);
        let replica = Replica::leader(leader, registration.leader_epoch, registration.partition_epoch, 0);
        let partition = Partition::new(new, replica, topic.name.clone(), topic.config.clone(), Folder::Wanted);
        self.partitions.insert(log, partition);
        self.enter_epoch(log, registration.leader_epoch);
        self.want_folder(log);
    }

    /// The partition's role as the image has it now.
    fn lead(&mut self, log: LogId, registration: &PartitionRegistration) {
        let Some(topic) = self.image.topic_by_id(log.topic).cloned() else {
            return;
        };
        let Some(partition) = self.partitions.get_mut(&log) else {
            return;
        };
        if registration.partition_epoch <= partition.replica.partition_epoch || !partition.is_online() {
            return;
        }
        let high_watermark = partition.replica.high_watermark();
        let leader = leader_of(registration, &topic);
        partition.replica = Replica::leader(
            leader,
            registration.leader_epoch,
            registration.partition_epoch,
            high_watermark,
        );
        self.enter_epoch(log, registration.leader_epoch);
    }

    /// (epoch, log end) is entered before this leader's first append (KIP-101).
    pub(super) fn enter_epoch(&mut self, log: LogId, epoch: i32) {
        let partition = self.partition_mut(log);
        if partition.log.become_leader(epoch) {
            let start_offset = partition.log.end();
            // An append of this epoch says the same, so that a journal without room for the frame loses nothing.
            if let Some(ticket) = self.journal_control(log, Body::Epoch { epoch, start_offset }, Control::None) {
                self.partition_mut(log).control = ticket;
            }
        }
    }

    fn reconfigure(&mut self, log: LogId, topic: &Topic) {
        if let Some(partition) = self.partitions.get_mut(&log) {
            partition.log.set_config(LogConfig::from(&*topic.config));
            partition.config = topic.config.clone();
            partition
                .replica
                .set_in_sync_min(topic.config.min_insync_replicas.max(1) as usize);
        }
    }

    // -- Making

    pub(super) fn want_folder(&mut self, log: LogId) {
        self.folders.wanted.push_back(log);
    }

    pub(super) fn make_folders(&mut self) {
        if self.folders.retry_at_us.is_some() {
            return;
        }
        for _ in 0..self.folders.wanted.len() {
            if self.folders.making >= MAKING_MAX {
                return;
            }
            let Some(log) = self.folders.wanted.pop_front() else {
                return;
            };
            let Some(partition) = self.partitions.get_mut(&log) else {
                continue;
            };
            let path = partition.log.dir().to_string();
            // A folder of the same name that is not out of the way yet goes first.
            if self
                .folders
                .removals
                .values()
                .any(|removal| removal.dir == path && removal.is_in_the_way())
            {
                self.folders.wanted.push_back(log);
                continue;
            }
            partition.folder = Folder::Making;
            partition.busy += 1;
            self.folders.making += 1;
            self.disk(Op::Folder(log, FolderStep::Created), DiskOp::CreateDir { path });
        }
    }

    pub(super) fn folder_done(&mut self, log: LogId, step: FolderStep, result: Result<DiskReply, DiskError>) {
        let result = match (step, result) {
            // A deleted topic's, whose shard has not renamed it yet: it must not become this one's with what is in it.
            (FolderStep::Asked, Ok(DiskReply::Bytes(bytes))) => match side_files::parse_partition_metadata(&bytes) {
                Ok(topic) if topic != log.topic => Err(DiskError::NotFound { path: String::new() }),
                _ => Ok(DiskReply::Done),
            },
            (FolderStep::Asked, Err(DiskError::NotFound { .. })) => Ok(DiskReply::Done),
            (_, result) => result,
        };
        let is_last = step == FolderStep::Synced || result.is_err() || !self.partitions.contains_key(&log);
        if is_last {
            self.folders.making -= 1;
            if let Some(partition) = self.partitions.get_mut(&log) {
                match result {
                    Ok(_) => {
                        partition.folder = Folder::Ready;
                        self.stats.folders_made += 1;
                    }
                    // Renamed meanwhile, because it was a deleted topic's.
                    Err(DiskError::NotFound { .. }) => self.make_folder_later(log),
                    Err(error) => {
                        tracing::error!("{}: cannot make its folder, will try again: {error}", partition.name());
                        self.make_folder_later(log);
                    }
                }
            }
            self.no_longer_busy(log);
            return self.make_folders();
        }
        let dir = self.partition(log).log.dir().to_string();
        let (step, what) = match step {
            FolderStep::Created => {
                let path = format!("{dir}/{}", side_files::PARTITION_METADATA);
                (FolderStep::Asked, DiskOp::ReadFile { path })
            }
            FolderStep::Asked => {
                let content = side_files::partition_metadata(log.topic);
                (
                    FolderStep::Described,
                    DiskOp::ReplaceFile {
                        path: format!("{dir}/{}", side_files::PARTITION_METADATA),
                        content,
                    },
                )
            }
            _ => (FolderStep::Synced, DiskOp::SyncDir { path: String::new() }),
        };
        self.disk(Op::Folder(log, step), what);
    }

    fn make_folder_later(&mut self, log: LogId) {
        self.partition_mut(log).folder = Folder::Wanted;
        self.folders.wanted.push_back(log);
        self.folders.retry_at_us = Some(self.now.mono_us + RETRY_US);
    }

    /// Folders that could not be made a while ago.
    pub(super) fn retry_folders(&mut self) {
        if self.folders.retry_at_us.is_some_and(|at_us| at_us <= self.now.mono_us) {
            self.folders.retry_at_us = None;
            self.make_folders();
        }
    }

    pub(super) fn folders_deadline(&self) -> Option<u64> {
        self.folders.retry_at_us
    }

    /// An operation that named the log's folder is complete.
    pub(super) fn no_longer_busy(&mut self, log: LogId) {
        if let Some(partition) = self.partitions.get_mut(&log) {
            partition.busy -= 1;
            return;
        }
        let removal = self
            .folders
            .removals
            .iter_mut()
            .find(|(_, removal)| removal.log == Some(log));
        if let Some((&id, removal)) = removal {
            removal.busy -= 1;
            self.advance_removal(id);
        }
    }

    // -- Removing

    fn drop_partition(&mut self, log: LogId, delay_ms: i64) {
        if !self.partitions.contains_key(&log) {
            return;
        }
        self.fail_appends(log, ErrorCode::UnknownTopicOrPartition, "the topic was deleted");
        self.fail_starts(log, ErrorCode::UnknownTopicOrPartition);
        self.wake_fetches(log);
        let partition = self.partitions.remove(&log).expect("just seen");
        self.dirty_bytes -= partition.log.dirty_bytes() as u64;
        self.cached_bytes = self.cached_bytes.saturating_sub(partition.log.cached_bytes() as u64);
        self.blocked.remove(&log);
        if partition.saving.as_ref().is_some_and(|saving| !saving.is_written()) {
            self.saving_abandoned();
        }
        let busy = partition.busy + usize::from(self.checkpoint.is_writing(log));
        let removal = Removal {
            log: Some(log),
            dir: partition.log.dir().to_string(),
            busy,
            stage: RemovalStage::Waiting { is_dropped: false },
        };
        let id = self.new_id();
        tracing::info!("{}: deleted, its files go in {delay_ms} ms", partition.name());
        self.folders.removals.insert(id, removal);
        self.want_drop(log);
    }

    /// The drop is durable: replay would skip the log's frames from here on.
    pub(super) fn drop_durable(&mut self, log: LogId) {
        let removal = self
            .folders
            .removals
            .iter_mut()
            .find(|(_, removal)| removal.log == Some(log));
        if let Some((&id, removal)) = removal {
            if let RemovalStage::Waiting { is_dropped } = &mut removal.stage {
                *is_dropped = true;
            }
            self.advance_removal(id);
        }
    }

    /// A folder that was already renamed when the broker stopped, or that nobody claims: `dir` is removed without delay.
    pub(super) fn remove_folder(&mut self, dir: String) {
        let id = self.new_id();
        let stage = RemovalStage::Resting { until_us: 0 };
        self.folders.removals.insert(
            id,
            Removal {
                log: None,
                dir,
                busy: 0,
                stage,
            },
        );
        self.advance_removal(id);
    }

    /// Folders whose delay is over.
    pub(super) fn remove_rested(&mut self) {
        let now_us = self.now.mono_us;
        let due = |removal: &Removal| matches!(removal.stage, RemovalStage::Resting { until_us } if until_us <= now_us);
        let rested: Vec<u64> = self
            .folders
            .removals
            .iter()
            .filter(|(_, r)| due(r))
            .map(|(&id, _)| id)
            .collect();
        for id in rested {
            self.advance_removal(id);
        }
    }

    fn advance_removal(&mut self, id: u64) {
        let now_us = self.now.mono_us;
        let Some(removal) = self.folders.removals.get_mut(&id) else {
            return;
        };
        let what = match &mut removal.stage {
            RemovalStage::Waiting { is_dropped: true } if removal.busy == 0 => {
                let log = removal.log.expect("only our own wait");
                removal.stage = RemovalStage::Renaming;
                DiskOp::Rename {
                    from: removal.dir.clone(),
                    to: deleted_name(&removal.dir, log.topic),
                }
            }
            RemovalStage::Resting { until_us } if *until_us <= now_us => {
                removal.stage = RemovalStage::Listing;
                DiskOp::List {
                    path: removal.dir.clone(),
                }
            }
            RemovalStage::Removing { files, in_flight } => match files.pop_front() {
                Some(path) => {
                    *in_flight += 1;
                    DiskOp::RemoveLargeFile { path }
                }
                None if *in_flight > 0 => return,
                None => {
                    removal.stage = RemovalStage::RemovingFolder;
                    DiskOp::RemoveDir {
                        path: removal.dir.clone(),
                    }
                }
            },
            _ => return,
        };
        self.disk(Op::Removal(id), what);
    }

    pub(super) fn removal_done(&mut self, id: u64, result: Result<DiskReply, DiskError>) {
        let now_us = self.now.mono_us;
        let Some(removal) = self.folders.removals.get_mut(&id) else {
            return;
        };
        match (&mut removal.stage, result) {
            // A partition that was never written has no folder.
            (RemovalStage::Renaming, Ok(_) | Err(DiskError::NotFound { .. })) => {
                let log = removal.log.expect("only our own are renamed");
                removal.dir = deleted_name(&removal.dir, log.topic);
                removal.stage = RemovalStage::SyncingRename;
                return self.disk(Op::Removal(id), DiskOp::SyncDir { path: String::new() });
            }
            (RemovalStage::SyncingRename, Ok(_)) => {
                let delay_us = ms_as_us(self.image.broker_config.topic.file_delete_delay_ms);
                removal.stage = RemovalStage::Resting {
                    until_us: now_us + delay_us,
                };
                if let Some(log) = removal.log {
                    self.journal.forget(log);
                }
                // The name is free for a topic that was made anew.
                self.make_folders();
                return;
            }
            (RemovalStage::Listing, Ok(DiskReply::Entries(entries))) => {
                let dir = removal.dir.clone();
                let files = entries
                    .into_iter()
                    .map(|entry| format!("{dir}/{}", entry.name))
                    .collect();
                removal.stage = RemovalStage::Removing { files, in_flight: 0 };
                for _ in 0..REMOVED_AT_ONCE_MAX.min(4) {
                    self.advance_removal(id);
                }
                return;
            }
            (RemovalStage::Removing { in_flight, .. }, Ok(_)) => {
                *in_flight -= 1;
                return self.advance_removal(id);
            }
            (RemovalStage::RemovingFolder, Ok(_)) | (_, Err(DiskError::NotFound { .. })) => {
                self.stats.folders_removed += 1;
            }
            (stage, Err(error)) => {
                tracing::warn!("cannot remove a deleted folder ({stage:?}), the next start will: {error}")
            }
            (stage, Ok(_)) => unreachable!("nothing was asked for in {stage:?}"),
        }
        self.folders.removals.remove(&id);
    }
}

impl Removal {
    /// Its name may not be used yet.
    fn is_in_the_way(&self) -> bool {
        matches!(self.stage, RemovalStage::Waiting { .. } | RemovalStage::Renaming)
    }
}

fn leader_of(registration: &PartitionRegistration, topic: &Topic) -> Leader {
    Leader {
        in_sync: registration.isr.clone(),
        in_sync_min: topic.config.min_insync_replicas.max(1) as usize,
    }
}

/// Kafka's rule: at most 255 bytes, the topic's name gives way.
fn deleted_name(dir: &str, topic: TopicId) -> String {
    let suffix = format!(".{topic}{DELETE_SUFFIX}");
    let room = 255 - suffix.len();
    let kept: String = dir.chars().take(room).collect();
    format!("{kept}{suffix}")
}

/// What a folder in the data folder is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FolderName {
    Partition { topic: Arc<str>, partition: i32 },
    Deleted,
    Stray,
    Other,
}

impl FolderName {
    pub fn parse(name: &str) -> FolderName {
        if name.ends_with(DELETE_SUFFIX) && name.contains('.') {
            return FolderName::Deleted;
        }
        if name.ends_with(STRAY_SUFFIX) && name.contains('.') {
            return FolderName::Stray;
        }
        match name.rsplit_once('-') {
            Some((topic, digits)) if !topic.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                match digits.parse() {
                    Ok(partition) => FolderName::Partition {
                        topic: topic.into(),
                        partition,
                    },
                    Err(_) => FolderName::Other,
                }
            }
            _ => FolderName::Other,
        }
    }
}
