//! Partitions come and go with the metadata: their folders are made, described, renamed away and removed.
//!
//! A topic that was deleted and one that was made anew under its name may lie on different shards, so the name of a folder is
//! never evidence of whose it is. A folder is made and described under the name that it would be removed under,
//! `<topic>-<n>.<id>-delete`, and renamed into place, which fails while another one is there; and a shard renames away only
//! what says that it is its own. What a crash leaves of a folder in the making is thus removed by the next start, Kafka's too.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::controller::{Delta, Image, image::PartitionRegistration, image::Topic};
use crate::error::ErrorCode;
use crate::journal::Body;
use crate::log::side_files;
use crate::log::{Log, LogConfig};
use crate::replica::{Leader, Replica};
use crate::types::{LogId, TopicId, Uuid};

use super::commit::Control;
use super::disk::Op;
use super::effect::{DiskError, DiskOp, DiskReply};
use super::partition::{Partition, read_only};
use super::upkeep::ms_as_us;
use super::{CONTROLLER, Shard};

/// A folder's name behind its partition's, before it is in place and once it is to be removed: `<topic>-<n>.<id>-delete`.
pub const DELETE_SUFFIX: &str = "-delete";
/// A folder that no topic of the metadata claims.
pub const STRAY_SUFFIX: &str = "-stray";

/// Files of a folder that are removed in one step.
const REMOVED_AT_ONCE_MAX: usize = 64;
/// Folders that are made at the same time.
const MAKING_MAX: usize = 16;
/// A folder that could not be made is tried again after this long, then after twice that, and so on.
const RETRY_US: u64 = 100_000;
const RETRY_DOUBLINGS_MAX: u32 = 6;
/// A deleted topic's folder is out of the way long before this many tries, after three seconds.
const TRIES_IN_SILENCE: u32 = 5;
/// A folder that could not be renamed away is tried again after this long.
const REMOVAL_RETRY_US: u64 = 10_000_000;
/// Topics that one line names.
const READ_ONLY_TOLD_MAX: usize = 20;
/// The longest name that Linux's file systems take.
const NAME_BYTES_MAX: usize = 255;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Folder {
    /// Waits until its turn comes, or until an older folder of its name is out of the way.
    Wanted,
    Making,
    Ready,
    /// Tried in vain again and again: somebody was told what is in the way. It is still tried now and then.
    Refused,
}

/// Making one folder, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FolderStep {
    /// Whose it is, if one of its name is there.
    Asked,
    Created,
    Described,
    Placed,
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
    /// Somebody was told that it is refused.
    is_told: bool,
}

#[derive(Debug)]
enum RemovalStage {
    /// Until the drop is durable and nothing names the folder any more.
    Waiting {
        is_dropped: bool,
    },
    /// Whose the folder of its name is now.
    Asking,
    Renaming,
    /// It could not be renamed and is tried again; somebody was told.
    Refused {
        until_us: u64,
    },
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
    making: usize,
    /// Those that could not be made, until they are or their topic is deleted.
    late: BTreeMap<LogId, Late>,
    removals: BTreeMap<u64, Removal>,
}

struct Late {
    tries: u32,
    why: String,
    /// When it is tried again; `None` while it is.
    retry_at_us: Option<u64>,
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
        // What is made while this shard seals its logs is the next start's: nobody would close its log.
        let created = if self.is_sealing() { &[][..] } else { &delta.created };
        for created in created {
            let log = created.topic.log_id(created.partition);
            if self.owner(log) == self.config.id && !self.partitions.contains_key(&log) {
                self.create_partition(&created.topic, log, &created.registration);
            }
        }
        for changed in &delta.changed {
            let log = changed.topic.log_id(changed.partition);
            self.lead(log, &changed.after);
        }
        self.tell_read_only(delta.reconfigured.iter().filter(|topic| {
            let was = before.topic_by_id(topic.id).map(|topic| &*topic.config);
            was.is_none_or(|was| read_only(&topic.name, was).is_none())
        }));
        for topic in &delta.reconfigured {
            for &partition in topic.partitions.keys() {
                self.reconfigure(topic.log_id(partition), topic);
            }
        }
        self.make_folders();
    }

    /// Says once which topics take no records and lose none, however many partitions they have.
    pub(super) fn tell_read_only<'a>(&self, topics: impl Iterator<Item = &'a Arc<Topic>>) {
        if self.config.id != CONTROLLER {
            return;
        }
        let names: Vec<&str> = topics
            .filter(|topic| read_only(&topic.name, &topic.config).is_some())
            .map(|topic| &*topic.name)
            .collect();
        if let Some((shown, more)) = names.split_at_checked(names.len().min(READ_ONLY_TOLD_MAX))
            && !shown.is_empty()
        {
            let more = match more.len() {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            tracing::warn!(
                "served read-only, and nothing of them is deleted, because compaction and coordinators are not available: {}{more}",
                shown.join(", ")
            );
        }
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
            if let Some(registration) = topic.partitions.get(&log.partition) {
                partition.replica.set_in_sync_min(in_sync_min(registration, topic));
            }
        }
    }

    // -- Making

    pub(super) fn want_folder(&mut self, log: LogId) {
        self.folders.wanted.push_back(log);
    }

    pub(super) fn make_folders(&mut self) {
        while self.folders.making < MAKING_MAX {
            let Some(log) = self.folders.wanted.pop_front() else {
                return;
            };
            let Some(partition) = self.partitions.get_mut(&log) else {
                continue;
            };
            partition.folder = Folder::Making;
            partition.busy += 1;
            self.folders.making += 1;
            let path = format!("{}/{}", partition.log.dir(), side_files::PARTITION_METADATA);
            self.disk(Op::Folder(log, FolderStep::Asked), DiskOp::ReadFile { path });
        }
    }

    pub(super) fn folder_done(&mut self, log: LogId, step: FolderStep, result: Result<DiskReply, DiskError>) {
        let next = match self.partitions.get(&log) {
            // Dropped meanwhile: its removal finds what was made.
            None => Ok(None),
            Some(partition) => next_step(partition, step, result),
        };
        match next {
            Ok(Some((step, what))) => return self.disk(Op::Folder(log, step), what),
            Ok(None) => {
                if let Some(partition) = self.partitions.get_mut(&log) {
                    partition.folder = Folder::Ready;
                    self.unplaced_bytes -= std::mem::take(&mut partition.unplaced_bytes);
                    self.stats.folders_made += 1;
                    self.folders.late.remove(&log);
                    self.retry_blocked();
                }
            }
            // Nobody knows whether a power cut would leave it: like a flush of a segment, never tried again.
            Err(why) if step == FolderStep::Synced => {
                self.partition_failed(log, format!("its folder could not be synced: {why}"));
            }
            Err(why) => self.make_folder_later(log, &why),
        }
        self.folders.making -= 1;
        self.no_longer_busy(log);
        self.make_folders();
    }

    fn make_folder_later(&mut self, log: LogId, why: &str) {
        let late = self.folders.late.entry(log).or_insert(Late {
            tries: 0,
            why: String::new(),
            retry_at_us: None,
        });
        late.why = why.to_string();
        late.retry_at_us = Some(self.now.mono_us + (RETRY_US << late.tries.min(RETRY_DOUBLINGS_MAX)));
        late.tries += 1;
        self.stats.folders_late += 1;
        let tries = late.tries;
        let partition = self.partition_mut(log);
        partition.folder = Folder::Wanted;
        if tries >= TRIES_IN_SILENCE {
            partition.folder = Folder::Refused;
        }
        if tries == TRIES_IN_SILENCE {
            tracing::error!(
                "{}: its folder cannot be made and is tried again every few seconds: {why}. Move what is in the way out of the \
                 data folder, or restart the broker; acknowledged records are in the journal",
                partition.name()
            );
            self.stats.folders_refused += 1;
            self.retry_blocked();
        }
    }

    /// Why nobody expects the log's folder to be made soon, if so.
    pub(super) fn folder_refused(&self, log: LogId) -> Option<String> {
        let is_refused = self.partition(log).folder == Folder::Refused;
        let late = self.folders.late.get(&log).filter(|_| is_refused)?;
        Some(format!(
            "the partition's folder cannot be made, and so it takes no more records: {}",
            late.why
        ))
    }

    /// Folders that could not be made a while ago.
    pub(super) fn retry_folders(&mut self) {
        let now_us = self.now.mono_us;
        for (&log, late) in &mut self.folders.late {
            if late.retry_at_us.is_some_and(|at_us| at_us <= now_us) {
                late.retry_at_us = None;
                self.folders.wanted.push_back(log);
            }
        }
        self.make_folders();
    }

    pub(super) fn folders_deadline(&self) -> Option<u64> {
        self.folders.late.values().filter_map(|late| late.retry_at_us).min()
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
        let mut partition = self.partitions.remove(&log).expect("just seen");
        // Only now: a fetch of this shard asks again at once, and must not find what is being dropped.
        self.wake_askers(std::mem::take(&mut partition.interest));
        self.dirty_bytes -= partition.log.dirty_bytes() as u64;
        self.unplaced_bytes -= partition.unplaced_bytes;
        self.cached_bytes = self.cached_bytes.saturating_sub(partition.log.cached_bytes() as u64);
        self.blocked.remove(log);
        self.folders.late.remove(&log);
        if partition.saving.as_ref().is_some_and(|saving| !saving.is_written()) {
            self.saving_abandoned();
        }
        let busy = partition.busy + usize::from(self.checkpoint.is_writing(log));
        let removal = Removal {
            log: Some(log),
            dir: partition.log.dir().to_string(),
            busy,
            stage: RemovalStage::Waiting { is_dropped: false },
            is_told: false,
        };
        let id = self.new_id();
        tracing::debug!("{}: deleted, its files go in {delay_ms} ms", partition.name());
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
                is_told: false,
            },
        );
        self.advance_removal(id);
    }

    /// Folders whose delay is over.
    pub(super) fn remove_rested(&mut self) {
        let now_us = self.now.mono_us;
        let due = |removal: &Removal| {
            matches!(
                removal.stage,
                RemovalStage::Resting { until_us } | RemovalStage::Refused { until_us } if until_us <= now_us
            )
        };
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
            RemovalStage::Waiting { is_dropped: true } if removal.busy == 0 => removal.ask(),
            RemovalStage::Refused { until_us } if *until_us <= now_us => removal.ask(),
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
        let own = removal.log.map(|log| log.topic);
        let is_described = matches!(result, Ok(DiskReply::Bytes(_)));
        match (&mut removal.stage, result) {
            (RemovalStage::Asking, Ok(DiskReply::Bytes(bytes)))
                if side_files::parse_partition_metadata(&bytes).ok() == own =>
            {
                let (from, to) = (removal.dir.clone(), removal.deleted_name());
                removal.stage = RemovalStage::Renaming;
                return self.disk(Op::Removal(id), DiskOp::Rename { from, to });
            }
            // Never made, or the name is another topic's by now: what there may be has its last name already.
            (stage @ (RemovalStage::Asking | RemovalStage::Renaming), Ok(_) | Err(DiskError::NotFound { .. })) => {
                self.stats.names_passed_on += u64::from(is_described && matches!(stage, RemovalStage::Asking));
                removal.dir = removal.deleted_name();
                removal.stage = RemovalStage::SyncingRename;
                return self.disk(Op::Removal(id), DiskOp::SyncDir { path: String::new() });
            }
            (RemovalStage::Asking | RemovalStage::Renaming, Err(error)) => {
                if !std::mem::replace(&mut removal.is_told, true) {
                    tracing::error!(
                        "a deleted folder cannot be moved out of the way, which is tried again every {} s: {error}. Move {} out of \
                         the data folder, or restart the broker",
                        REMOVAL_RETRY_US / 1_000_000,
                        removal.dir
                    );
                    self.stats.removals_refused += 1;
                }
                removal.stage = RemovalStage::Refused {
                    until_us: now_us + REMOVAL_RETRY_US,
                };
                return;
            }
            (RemovalStage::SyncingRename, Ok(_)) => {
                let delay_us = ms_as_us(self.image.broker_config.topic.file_delete_delay_ms);
                removal.stage = RemovalStage::Resting {
                    until_us: now_us + delay_us,
                };
                if let Some(log) = removal.log {
                    self.journal.forget(log);
                    self.unpark(log);
                }
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
    fn ask(&mut self) -> DiskOp {
        self.stage = RemovalStage::Asking;
        DiskOp::ReadFile {
            path: format!("{}/{}", self.dir, side_files::PARTITION_METADATA),
        }
    }

    fn deleted_name(&self) -> String {
        deleted_name(&self.dir, self.log.expect("only our own is renamed"))
    }
}

/// What making a partition's folder does after `step`; nothing after the last. The error says what stopped it.
fn next_step(
    partition: &Partition,
    step: FolderStep,
    result: Result<DiskReply, DiskError>,
) -> Result<Option<(FolderStep, DiskOp)>, String> {
    let log = partition.log.id();
    let dir = partition.log.dir();
    let made = deleted_name(dir, log);
    let sync = (FolderStep::Synced, DiskOp::SyncDir { path: String::new() });
    let next = match (step, result) {
        // A deleted topic's, whose shard has not renamed it yet: it must not become this one's with what is in it.
        (FolderStep::Asked, Ok(DiskReply::Bytes(bytes))) => match side_files::parse_partition_metadata(&bytes) {
            // Nobody knew whether it was placed, or synced.
            Ok(topic) if topic == log.topic => sync,
            Ok(topic) => {
                return Err(format!(
                    "{dir} is there and belongs to topic {topic}, this one is {}",
                    log.topic
                ));
            }
            Err(error) => {
                return Err(format!(
                    "{dir} is there, and its {}: {error}",
                    side_files::PARTITION_METADATA
                ));
            }
        },
        (FolderStep::Asked, Err(DiskError::NotFound { .. })) => (FolderStep::Created, DiskOp::CreateDir { path: made }),
        (_, Err(error)) => return Err(error.to_string()),
        (FolderStep::Created, Ok(_)) => {
            let path = format!("{made}/{}", side_files::PARTITION_METADATA);
            let content = side_files::partition_metadata(log.topic);
            (FolderStep::Described, DiskOp::ReplaceFile { path, content })
        }
        (FolderStep::Described, Ok(_)) => {
            let (from, to) = (made, dir.to_string());
            (FolderStep::Placed, DiskOp::Rename { from, to })
        }
        (FolderStep::Placed, Ok(_)) => sync,
        (FolderStep::Synced, Ok(_)) => return Ok(None),
        (FolderStep::Asked, Ok(other)) => unreachable!("bytes, not {other:?}"),
    };
    Ok(Some(next))
}

pub(super) fn leader_of(registration: &PartitionRegistration, topic: &Topic) -> Leader {
    Leader {
        in_sync: registration.isr.clone(),
        in_sync_min: in_sync_min(registration, topic),
    }
}

/// No more than there are replicas: a topic would never take a record otherwise.
fn in_sync_min(registration: &PartitionRegistration, topic: &Topic) -> usize {
    let wanted = topic.config.min_insync_replicas.max(1) as usize;
    wanted.min(registration.replicas.len())
}

/// The name of a log's folder before it is in place, and when it is to be removed.
fn deleted_name(dir: &str, log: LogId) -> String {
    name_with_suffix(dir, log.topic, DELETE_SUFFIX)
}

/// `<topic>-<n>.<id><suffix>` of a partition's folder. Kafka's rule (`UnifiedLog.logDirNameWithSuffixCappedLength`): the
/// topic's name gives way when it is too long, never the partition's number, which tells one folder from the next.
pub fn name_with_suffix(dir: &str, id: Uuid, suffix: &str) -> String {
    let (topic, partition) = dir.rsplit_once('-').unwrap_or((dir, ""));
    let suffix = format!("-{partition}.{id}{suffix}");
    let kept: String = topic.chars().take(NAME_BYTES_MAX - suffix.len()).collect();
    format!("{kept}{suffix}")
}

/// What a folder in the data folder is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FolderName {
    Partition {
        topic: Arc<str>,
        partition: i32,
    },
    /// Or in the making; of this topic, unless Kafka named it.
    Deleted {
        id: Option<TopicId>,
    },
    Stray,
    Other,
}

impl FolderName {
    pub fn parse(name: &str) -> FolderName {
        if let Some((_, id)) = name.strip_suffix(DELETE_SUFFIX).and_then(|name| name.rsplit_once('.')) {
            return FolderName::Deleted { id: Uuid::parse(id) };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_names_differ_by_partition_and_fit() {
        let id = Uuid([7; 16]);
        let topic = "x".repeat(249);
        let name = |partition: i32, suffix| name_with_suffix(&format!("{topic}-{partition}"), id, suffix);
        assert_eq!(name(0, DELETE_SUFFIX).len(), 255);
        assert!(name(0, DELETE_SUFFIX).ends_with(&format!("x-0.{id}-delete")));
        assert_ne!(name(0, DELETE_SUFFIX), name(1, DELETE_SUFFIX));
        assert_eq!(name(99_999, STRAY_SUFFIX).len(), 255);
        assert_eq!(
            name_with_suffix("a.b-c-7", id, STRAY_SUFFIX),
            format!("a.b-c-7.{id}-stray")
        );
    }

    #[test]
    fn what_a_folder_is() {
        let id = Uuid([0xfb; 16]);
        let kafkas = "t-0.0123456789abcdef0123456789abcdef-delete";
        let partition = |topic: &str, partition| FolderName::Partition {
            topic: topic.into(),
            partition,
        };
        for (name, expected) in [
            ("t-0".to_string(), partition("t", 0)),
            ("a.b-delete-3".into(), partition("a.b-delete", 3)),
            (format!("t-0.{id}-delete"), FolderName::Deleted { id: Some(id) }),
            (kafkas.into(), FolderName::Deleted { id: None }),
            (format!("t-0.{id}-stray"), FolderName::Stray),
            ("lost+found".into(), FolderName::Other),
        ] {
            assert_eq!(FolderName::parse(&name), expected, "{name}");
        }
    }
}
