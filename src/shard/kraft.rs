//! The controller's shard at a start: whose folder it is, the metadata log, and the new leader epoch.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::config::CleanupPolicy;
use crate::controller::files::{self, MetaProperties, QuorumState};
use crate::controller::image::Endpoint;
use crate::controller::snapshot::{self, SnapshotId, decode_snapshot, format_files};
use crate::controller::start::{self, Node};
use crate::controller::{Controller, Replay, topics_removed};
use crate::log::side_files::CLEAN_SHUTDOWN;
use crate::log::{DiskRead, LogConfig, ReadError, ReadPlan, ReadProgress};
use crate::record::{Scan, scan::Depth};
use crate::types::{Entry, LogId, Offset, TopicId, Uuid};

use super::Shard;
use super::boot::BootOp;
use super::clock::Clock;
use super::disk::Op;
use super::effect::{BLOCK_BYTES, DiskError, DiskOp, DiskReply};
use super::folders::FolderName;
use super::format::{self, Format};
use super::metadata::{Metadata, Unsnapshotted};
use super::registration::Registration;
use super::survey::aside_name;

pub const METADATA_TOPIC: &str = "__cluster_metadata";
pub const METADATA_DIR: &str = files::METADATA_FOLDER;

/// What one step of reading the metadata log takes.
const READ_BYTES: usize = 512 * 1024;

const JOURNAL_BYTES_PER_PARTITION: u64 = 4 * BLOCK_BYTES;

/// What the controller's shard knows before it serves.
pub struct Kraft {
    meta: MetaProperties,
    quorum: Option<QuorumState>,
    /// Those that were not tried yet, the newest last.
    snapshots: Vec<SnapshotId>,
    /// Snapshots that cannot be used.
    damaged: Vec<SnapshotId>,
    replay: Option<Replay>,
    /// What is read next. Below the replay's own offset it is only looked at for topics that were deleted.
    reading: Offset,
    /// What was applied of the log: its bytes, and when the first batch was appended.
    replayed_bytes: u64,
    replayed_since_ms: Option<i64>,
    deleted: BTreeSet<TopicId>,
    /// A person accepted that offsets from here to there are given up.
    given_up: Vec<(Offset, Offset)>,
}

pub enum KraftOp {
    Format,
    Meta,
    /// Operations that make a fresh folder ours.
    Formatting {
        meta: MetaProperties,
        left: VecDeque<DiskOp>,
    },
    CleanRemoved,
    CleanSynced,
    Quorum,
    Listed,
    Snapshot(SnapshotId),
    Read(Box<DiskRead>),
    Bootstrap,
    /// What the folder needs once the metadata is read, one operation after the other.
    Mending {
        left: VecDeque<DiskOp>,
    },
}

impl Shard {
    fn kraft(&mut self) -> &mut Kraft {
        self.boot().kraft.as_mut().expect("the folder's files were read")
    }

    fn kraft_disk(&mut self, op: KraftOp, what: DiskOp) {
        self.disk(Op::Boot(BootOp::Kraft(op)), what);
    }

    pub(super) fn begin_kraft(&mut self) {
        self.kraft_disk(
            KraftOp::Format,
            DiskOp::ReadFile {
                path: format::FILE.into(),
            },
        );
    }

    pub(super) fn kraft_done(&mut self, op: KraftOp, result: Result<DiskReply, DiskError>) {
        let content = match result {
            Ok(DiskReply::Bytes(bytes)) => Some(bytes),
            Ok(DiskReply::Entries(entries)) => {
                self.kraft().snapshots = entries
                    .iter()
                    .filter_map(|entry| SnapshotId::parse(&entry.name))
                    .collect();
                None
            }
            Ok(_) | Err(DiskError::NotFound { .. }) => None,
            Err(error) => match op {
                // Another one may do.
                KraftOp::Snapshot(id) => return self.snapshot_is_bad(id, error.to_string()),
                _ => return self.fatal(format!("cannot read or write a file of the data folder: {error}")),
            },
        };
        match op {
            KraftOp::Format => match content.map(|bytes| format::decode(&bytes)) {
                Some(Err(why)) => self.refuse_start(why.to_string()),
                Some(Ok(format)) if format.shards != self.config.shards => self.fatal(format!(
                    "the folder's journals belong to {} shards, not {}: they were not retired",
                    format.shards, self.config.shards
                )),
                found => {
                    self.boot().format = found.and_then(Result::ok);
                    let path = files::META_PROPERTIES.into();
                    self.kraft_disk(KraftOp::Meta, DiskOp::ReadFile { path });
                }
            },
            KraftOp::Meta => self.meta_read(content),
            KraftOp::Formatting { meta, mut left } => match left.pop_front() {
                Some(next) => self.kraft_disk(KraftOp::Formatting { meta, left }, next),
                None => self.folder_is_ours(meta),
            },
            KraftOp::CleanRemoved => self.kraft_disk(KraftOp::CleanSynced, DiskOp::SyncDir { path: String::new() }),
            KraftOp::CleanSynced => self.advance_journal(),
            KraftOp::Quorum => self.quorum_read(content),
            KraftOp::Listed => self.read_snapshot(),
            KraftOp::Snapshot(id) => self.snapshot_read(id, content),
            KraftOp::Bootstrap => self.bootstrap_read(content),
            KraftOp::Read(read) => {
                let bytes = content.expect("a read answers with bytes");
                match self.partition_mut(LogId::METADATA).log.finish_read(&read, bytes) {
                    Ok(ReadProgress::Done { slices, .. }) => self.apply_metadata(&slices),
                    Ok(ReadProgress::More(next)) => self.read_metadata_from_disk(next),
                    Err(error) => self.metadata_unreadable(&error),
                }
            }
            KraftOp::Mending { left } => self.mend_metadata(left),
        }
    }

    fn meta_read(&mut self, content: Option<Bytes>) {
        let node_id = self.config.broker.node_id;
        if let Some(content) = content {
            let meta = match MetaProperties::decode(&content) {
                Ok(meta) if meta.node_id == node_id => meta,
                Ok(meta) => {
                    let theirs = meta.node_id;
                    return self.fatal(format!(
                        "the data folder {} belongs to node {theirs}, and this is node {node_id}: set node.id={theirs} or use \
                         another folder",
                        self.config.data_dir
                    ));
                }
                Err(error) => return self.refuse_start(format!("{}/{error}", self.config.data_dir)),
            };
            // Replacing a file syncs its folder. A process that was killed may have left names here that only the kernel knows:
            // they count from now on, before a shard has metadata and finds its partitions' folders among them.
            // After a clean stop the journals hold nothing, and one that is missing is made.
            let kept = self.boot().format;
            let has_journals = kept.is_some_and(|format| format.has_journals) && !self.config.was_clean;
            let has_metadata = kept.is_some_and(|format| format.has_metadata);
            let left = VecDeque::from([self.write_format(has_journals, has_metadata)]);
            return self.kraft_disk(
                KraftOp::Formatting { meta, left },
                DiskOp::CreateDir {
                    path: METADATA_DIR.into(),
                },
            );
        }
        // A new folder, or one that lost the power while it was made: `survey` refuses one that was served.
        let meta = MetaProperties {
            cluster_id: self.random.uuid().to_string(),
            node_id,
            directory_id: self.random.uuid(),
        };
        tracing::info!(
            "{}: new data folder, cluster id {}",
            self.config.data_dir,
            meta.cluster_id
        );
        let node = self.node(meta.directory_id);
        let formatted = match format_files(&meta.cluster_id, &node, self.now.wall_ms) {
            Ok(formatted) => formatted,
            Err(error) => return self.fatal(format!("the data folder cannot be formatted: {error}")),
        };
        let mut left = VecDeque::from([DiskOp::SyncDir { path: String::new() }, self.write_format(false, false)]);
        left.extend(
            formatted
                .into_iter()
                .map(|(path, content)| DiskOp::ReplaceFile { path, content }),
        );
        self.kraft_disk(
            KraftOp::Formatting { meta, left },
            DiskOp::CreateDir {
                path: METADATA_DIR.into(),
            },
        );
    }

    pub(super) fn write_format(&self, has_journals: bool, has_metadata: bool) -> DiskOp {
        let format = Format {
            shards: self.config.shards,
            has_journals,
            has_metadata,
        };
        DiskOp::ReplaceFile {
            path: format::FILE.into(),
            content: format::encode(format),
        }
    }

    fn folder_is_ours(&mut self, meta: MetaProperties) {
        self.boot().kraft = Some(Kraft {
            meta,
            quorum: None,
            snapshots: Vec::new(),
            damaged: Vec::new(),
            replay: None,
            reading: 0,
            replayed_bytes: 0,
            replayed_since_ms: None,
            deleted: BTreeSet::new(),
            given_up: Vec::new(),
        });
        if self.config.was_clean {
            // From here on a crash is an unclean stop.
            self.kraft_disk(
                KraftOp::CleanRemoved,
                DiskOp::RemoveFile {
                    path: CLEAN_SHUTDOWN.into(),
                },
            );
        } else {
            self.advance_journal();
        }
    }

    pub(super) fn metadata_log_config(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.config.broker.metadata_log_segment_bytes,
            segment_ms: i64::MAX,
            segment_jitter_ms: 0,
            index_interval_bytes: 4096,
            retention_ms: None,
            retention_bytes: None,
            cleanup_policy: CleanupPolicy::Keep,
        }
    }

    pub(super) fn metadata_log_recovered(&mut self) {
        self.kraft_disk(
            KraftOp::Quorum,
            DiskOp::ReadFile {
                path: format!("{METADATA_DIR}/{}", files::QUORUM_STATE),
            },
        );
    }

    fn quorum_read(&mut self, content: Option<Bytes>) {
        match content.map(|bytes| QuorumState::decode(&bytes)).transpose() {
            Ok(quorum) => self.kraft().quorum = quorum,
            // Epochs rise from what the log says, too; a voter that stands alone has nothing else in it.
            Err(error) if self.config.accepts_loss => {
                tracing::warn!("{METADATA_DIR}/{error}: it is written anew");
            }
            Err(error) => return self.refuse_start(format!("{METADATA_DIR}/{error}")),
        }
        self.kraft_disk(
            KraftOp::Listed,
            DiskOp::List {
                path: METADATA_DIR.into(),
            },
        );
    }

    /// The newest snapshot that was not tried yet, if there is one.
    fn read_snapshot(&mut self) {
        self.kraft().snapshots.sort_unstable();
        match self.kraft().snapshots.pop() {
            Some(id) => {
                let path = format!("{METADATA_DIR}/{}", id.file_name());
                self.kraft_disk(KraftOp::Snapshot(id), DiskOp::ReadFile { path });
            }
            None => {
                let (cluster_id, node_id) = (self.kraft().meta.cluster_id.clone(), self.config.broker.node_id);
                let replay = Replay::new(&cluster_id, node_id, self.config.broker.clone());
                self.begin_replay(replay);
            }
        }
    }

    fn snapshot_read(&mut self, id: SnapshotId, content: Option<Bytes>) {
        let (cluster_id, node_id) = (self.kraft().meta.cluster_id.clone(), self.config.broker.node_id);
        let config = self.config.broker.clone();
        // Listed a moment ago.
        let content = content.unwrap_or_default();
        match decode_snapshot(id, &content, &cluster_id, node_id, config) {
            Ok(replay) => self.begin_replay(replay),
            Err(error) => self.snapshot_is_bad(id, error.to_string()),
        }
    }

    /// An older one does, as long as the log reaches back to it.
    fn snapshot_is_bad(&mut self, id: SnapshotId, why: String) {
        self.found(format!(
            "{METADATA_DIR}/{} cannot be used, an older snapshot is tried: {why}",
            id.file_name()
        ));
        self.stats.metadata_snapshots_passed_over += 1;
        self.kraft().damaged.push(id);
        self.read_snapshot();
    }

    fn begin_replay(&mut self, replay: Replay) {
        let offset = replay.next_offset();
        let start = self.partition(LogId::METADATA).log.start();
        let kraft = self.kraft();
        // What the snapshot covers, as far as the log still has it, says which topics were deleted not long ago.
        kraft.reading = start.min(offset);
        kraft.replay = Some(replay);
        self.read_metadata();
    }

    /// The next piece of the metadata log, until its end.
    fn read_metadata(&mut self) {
        let (offset, is_fresh) = (self.kraft().reading, self.replay().is_fresh());
        let log = &mut self.partition_mut(LogId::METADATA).log;
        let end = log.end();
        if offset >= end {
            return match is_fresh {
                true => {
                    let path = files::BOOTSTRAP_CHECKPOINT.into();
                    self.kraft_disk(KraftOp::Bootstrap, DiskOp::ReadFile { path });
                }
                false => self.metadata_replayed(),
            };
        }
        match log.read(offset, READ_BYTES, true, end) {
            Ok(ReadPlan::Memory(slices)) => self.apply_metadata(&slices),
            Ok(ReadPlan::Disk(read)) => self.read_metadata_from_disk(read),
            Err(error) => self.metadata_unreadable(&error),
        }
    }

    fn replay(&mut self) -> &mut Replay {
        self.kraft().replay.as_mut().expect("it is being replayed")
    }

    fn read_metadata_from_disk(&mut self, read: DiskRead) {
        let what = DiskOp::from(&read);
        self.kraft_disk(KraftOp::Read(Box::new(read)), what);
    }

    fn apply_metadata(&mut self, slices: &[Bytes]) {
        let before = self.kraft().reading;
        for slice in slices {
            let mut scan = Scan::new(slice, Depth::Crc);
            for view in scan.by_ref() {
                let next = view.header.next_offset();
                if next <= self.kraft().reading {
                    continue;
                }
                let batch = view.slice_of(slice);
                let removed = topics_removed(&batch);
                self.kraft().deleted.extend(removed);
                // A snapshot may end within what the log still holds.
                let applied = self.replay().next_offset();
                if next > applied {
                    if batch.base_offset > applied && self.config.accepts_loss {
                        self.kraft().given_up.push((applied, batch.base_offset));
                        self.replay().skip_to(batch.base_offset);
                    }
                    if let Err(error) = self.replay().apply(&batch) {
                        return self.metadata_is_lost(batch.base_offset, next, error.to_string());
                    }
                    let kraft = self.kraft();
                    kraft.replayed_bytes += view.header.size_bytes as u64;
                    kraft.replayed_since_ms.get_or_insert(view.header.max_timestamp);
                }
                self.kraft().reading = next;
            }
        }
        if self.kraft().reading == before {
            return self.metadata_is_lost(before, before + 1, "nothing can be read there".into());
        }
        self.read_metadata();
    }

    /// The levels that a folder was formatted with count until its log says some: another version may have formatted it.
    fn bootstrap_read(&mut self, content: Option<Bytes>) {
        let (cluster_id, node_id) = (self.kraft().meta.cluster_id.clone(), self.config.broker.node_id);
        let config = self.config.broker.clone();
        let id = SnapshotId {
            end_offset: 0,
            epoch: 0,
        };
        let decode = |content: Bytes| decode_snapshot(id, &content, &cluster_id, node_id, config);
        match content.map(decode).transpose() {
            Ok(Some(formatted)) => {
                let replay = self.kraft().replay.as_mut().expect("it was replayed");
                replay.format(&formatted);
            }
            Ok(None) => {}
            Err(error) => {
                return self.fatal(format!(
                    "{}/{} cannot be read, which says how the folder was formatted: {error}. Nothing is stored in the folder \
                     yet: use an empty one",
                    self.config.data_dir,
                    files::BOOTSTRAP_CHECKPOINT
                ));
            }
        }
        self.metadata_replayed();
    }

    fn metadata_unreadable(&mut self, error: &ReadError) {
        let offset = self.kraft().reading;
        let log = &self.partition(LogId::METADATA).log;
        let damaged = log.damage().iter().find(|range| range.contains(&offset));
        let next = damaged.map_or(offset + 1, |range| range.end).max(log.start());
        self.metadata_is_lost(offset, next, error.to_string());
    }

    /// Metadata from `offset` on, at least up to `next`, cannot be applied.
    fn metadata_is_lost(&mut self, offset: Offset, next: Offset, why: String) {
        let applied = self.replay().next_offset();
        if offset < applied {
            // A snapshot has it.
            self.kraft().reading = next.min(applied);
        } else if self.config.accepts_loss {
            self.kraft().given_up.push((offset, next));
            self.replay().skip_to(next);
            self.kraft().reading = next;
        } else {
            return self.refuse_start(format!(
                "{}/{METADATA_DIR}: acknowledged metadata at offset {offset} is lost: {why}",
                self.config.data_dir
            ));
        }
        self.read_metadata();
    }

    /// Everything that there is of the metadata was applied.
    fn metadata_replayed(&mut self) {
        let (offset, end) = (self.replay().next_offset(), self.partition(LogId::METADATA).log.end());
        let dir = format!("{}/{METADATA_DIR}", self.config.data_dir);
        if offset > end {
            return self.refuse_start(format!(
                "{dir}: its snapshot ends at {offset} and its log already at {end}: acknowledged metadata is missing"
            ));
        }
        if self.partition(LogId::METADATA).log.is_read_only() {
            let what: Vec<String> = self.findings.clone();
            return self.refuse_start(format!(
                "{dir}: topics or settings that were made may be lost: {}",
                what.join("; ")
            ));
        }
        let is_partition = |entry: &Entry| matches!(FolderName::parse(&entry.name), FolderName::Partition { topic, .. } if *topic != *METADATA_TOPIC);
        let boot = self.boot();
        let was_served = boot.format.is_some_and(|format| format.has_metadata) || boot.root.iter().any(is_partition);
        if end == 0 && was_served && !self.config.accepts_loss {
            return self.refuse_start(format!("{dir} holds no metadata, and the folder was served before"));
        }
        let mut left = VecDeque::new();
        // A damaged snapshot must not count as one of those that are kept.
        let random = self.random.uuid();
        for id in std::mem::take(&mut self.kraft().damaged) {
            let from = format!("{METADATA_DIR}/{}", id.file_name());
            let to = aside_name(&from, random);
            left.push_back(DiskOp::Rename { from, to });
        }
        if !left.is_empty() {
            left.push_back(DiskOp::SyncDir {
                path: METADATA_DIR.into(),
            });
        }
        let given_up = std::mem::take(&mut self.kraft().given_up);
        if !given_up.is_empty() {
            // Of what is left: the next start does not read what lies below it.
            let now_ms = self.now.wall_ms;
            match snapshot::encode_snapshot(self.replay(), now_ms) {
                Ok((id, content)) => left.push_back(DiskOp::ReplaceFile {
                    path: format!("{METADATA_DIR}/{}", id.file_name()),
                    content,
                }),
                Err(error) => return self.fatal(format!("the metadata cannot be written as a snapshot: {error}")),
            }
            for (from, to) in given_up {
                self.found(format!("{METADATA_DIR}: offsets {from} to {} are given up", to - 1));
            }
        }
        if end == 0 && was_served {
            let has_journals = self.boot().format.is_some_and(|format| format.has_journals);
            left.push_back(self.write_format(has_journals, false));
        }
        self.mend_metadata(left);
    }

    fn mend_metadata(&mut self, mut left: VecDeque<DiskOp>) {
        match left.pop_front() {
            Some(next) => self.kraft_disk(KraftOp::Mending { left }, next),
            None => self.metadata_is_known(),
        }
    }

    fn metadata_is_known(&mut self) {
        let mut replay = self.kraft().replay.take().expect("it is being replayed");
        for complaint in replay.take_complaints() {
            tracing::warn!("{complaint}");
        }
        let (quorum, is_unclean) = (self.kraft().quorum.clone(), !self.config.was_clean);
        let deleted = Arc::new(std::mem::take(&mut self.kraft().deleted));
        let directory_id = self.kraft().meta.directory_id;
        let controller = Controller::new(
            self.config.broker.node_id,
            self.partitions_max(),
            crate::types::Random::new(self.random.next_u64()),
        );
        let node = self.node(directory_id);
        let known_ms = replay.image().reached.timestamp_ms;
        let now_ms = Clock::at_start(known_ms, self.now).time_ms(self.now);
        let unsnapshotted = Unsnapshotted {
            bytes: self.kraft().replayed_bytes,
            since_ms: self.kraft().replayed_since_ms.unwrap_or(now_ms),
        };
        if self.config.only_seal {
            let image = Arc::new(replay.image().clone());
            self.metadata = Some(Metadata::new(
                controller,
                replay,
                Registration::Done,
                self.config.shards,
                unsnapshotted,
            ));
            return self.publish(image, deleted);
        }
        match start::start(
            &replay,
            quorum.as_ref(),
            &node,
            is_unclean,
            now_ms,
            self.config.metadata_batch_bytes,
        ) {
            Ok(start) => {
                let image = Arc::new(replay.image().clone());
                let registration = Registration::Recovering {
                    start: Box::new(start),
                    replayed: image.reached.offset + 1,
                };
                self.metadata = Some(Metadata::new(
                    controller,
                    replay,
                    registration,
                    self.config.shards,
                    unsnapshotted,
                ));
                // Logs are recovered with what the process before left; see `registration`.
                self.publish(image, deleted);
            }
            Err(error) => self.fatal(format!("{}: {error}", self.config.data_dir)),
        }
    }

    fn node(&mut self, directory_id: Uuid) -> Node {
        let (host, port) = self.config.advertised.clone();
        let endpoint = |listener: &str, host: &str, port| Endpoint {
            listener: listener.into(),
            host: host.into(),
            port,
            security_protocol: 0,
        };
        Node {
            id: self.config.broker.node_id,
            directory_id,
            incarnation: self.random.uuid(),
            rack: self.config.broker.broker_rack.clone(),
            endpoint: endpoint(super::admin::LISTENER, &host, port),
            controller_endpoint: endpoint("CONTROLLER", &host, port),
        }
    }

    /// The last, partial block of each log lives in the journal, and everything live must fit in it twice.
    fn partitions_max(&self) -> usize {
        let of_shard = self.limits.journal_bytes / JOURNAL_BYTES_PER_PARTITION;
        of_shard as usize * usize::from(self.config.shards)
    }
}
