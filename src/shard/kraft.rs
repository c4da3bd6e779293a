//! The controller's shard at a start: whose folder it is, the metadata log, and the new leader epoch.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::CleanupPolicy;
use crate::controller::files::{self, MetaProperties, QuorumState};
use crate::controller::image::Endpoint;
use crate::controller::snapshot::{SnapshotId, decode_snapshot, format_files};
use crate::controller::start::{self, Node};
use crate::controller::{Controller, Replay};
use crate::log::side_files::CLEAN_SHUTDOWN;
use crate::log::{DiskRead, LogConfig, ReadPlan, ReadProgress};
use crate::record::{Scan, scan::Depth};
use crate::types::{LogId, Uuid};

use super::Shard;
use super::boot::BootOp;
use super::clock::Clock;
use super::disk::Op;
use super::effect::{BLOCK_BYTES, DiskError, DiskOp, DiskReply};
use super::folders::FolderName;
use super::format::{self, Format};
use super::metadata::{Metadata, Unsnapshotted};
use super::registration::Registration;

pub const METADATA_TOPIC: &str = "__cluster_metadata";
pub const METADATA_DIR: &str = files::METADATA_FOLDER;

/// What one step of reading the metadata log takes.
const READ_BYTES: usize = 512 * 1024;

const JOURNAL_BYTES_PER_PARTITION: u64 = 4 * BLOCK_BYTES;

/// What the controller's shard knows before it serves.
pub struct Kraft {
    meta: MetaProperties,
    quorum: Option<QuorumState>,
    snapshots: Vec<SnapshotId>,
    replay: Option<Replay>,
    /// What was replayed of the log: its bytes, and when the first batch was appended.
    replayed_bytes: u64,
    replayed_since_ms: Option<i64>,
    /// The last process did not stop cleanly.
    is_unclean: bool,
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
            Err(error) => return self.fatal(format!("cannot read or write a file of the data folder: {error}")),
        };
        match op {
            KraftOp::Format => match content.map(|bytes| format::check(&bytes, self.config.shards)) {
                Some(Err(why)) => self.fatal(why),
                found => {
                    self.boot().has_journals = matches!(found, Some(Ok(format)) if format.has_journals);
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
            KraftOp::Snapshot(id) => self.snapshot_read(content.map(|content| (id, content))),
            KraftOp::Bootstrap => self.bootstrap_read(content),
            KraftOp::Read(read) => {
                let bytes = content.expect("a read answers with bytes");
                match self.partition_mut(LogId::METADATA).log.finish_read(&read, bytes) {
                    Ok(ReadProgress::Done { slices, .. }) => self.apply_metadata(&slices),
                    Ok(ReadProgress::More(next)) => self.read_metadata_from_disk(next),
                    Err(error) => self.fatal(format!("the metadata log cannot be read: {error}")),
                }
            }
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
                Err(error) => return self.fatal(format!("{}/{error}", self.config.data_dir)),
            };
            // Replacing a file syncs its folder. A process that was killed may have left names here that only the kernel knows:
            // they count from now on, before a shard has metadata and finds its partitions' folders among them.
            let has_journals = self.boot().has_journals;
            let left = VecDeque::from([self.write_format(has_journals)]);
            return self.kraft_disk(
                KraftOp::Formatting { meta, left },
                DiskOp::CreateDir {
                    path: METADATA_DIR.into(),
                },
            );
        }
        // The power may fail while a folder is formatted; the journal is made after that, so that with one there was more.
        let is_used = |name: &str| match FolderName::parse(name) {
            FolderName::Partition { topic, .. } => *topic != *METADATA_TOPIC,
            _ => name.ends_with(".ring"),
        };
        if let Some(found) = self.boot().root.iter().find(|entry| is_used(&entry.name)) {
            let name = found.name.clone();
            // The other shards' journals are made at the same time as the folder is formatted.
            if !name.ends_with(".ring") || name == *self.commit.ring.path {
                return self.fatal(format!(
                    "the data folder {} holds {name} but no {}: restore that file, or use an empty folder",
                    self.config.data_dir,
                    files::META_PROPERTIES
                ));
            }
        }
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
        let mut left = VecDeque::from([DiskOp::SyncDir { path: String::new() }, self.write_format(false)]);
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

    pub(super) fn write_format(&self, has_journals: bool) -> DiskOp {
        let shards = self.config.shards;
        DiskOp::ReplaceFile {
            path: format::FILE.into(),
            content: format::encode(Format { shards, has_journals }),
        }
    }

    fn folder_is_ours(&mut self, meta: MetaProperties) {
        let is_clean = self.boot().root.iter().any(|entry| entry.name == CLEAN_SHUTDOWN);
        self.boot().kraft = Some(Kraft {
            meta,
            quorum: None,
            snapshots: Vec::new(),
            replay: None,
            replayed_bytes: 0,
            replayed_since_ms: None,
            is_unclean: !is_clean,
        });
        if is_clean {
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
            Err(error) => return self.fatal(format!("{METADATA_DIR}/{error}")),
        }
        self.kraft_disk(
            KraftOp::Listed,
            DiskOp::List {
                path: METADATA_DIR.into(),
            },
        );
    }

    /// The newest snapshot, if there is one.
    fn read_snapshot(&mut self) {
        self.kraft().snapshots.sort_unstable();
        match self.kraft().snapshots.pop() {
            Some(id) => {
                let path = format!("{METADATA_DIR}/{}", id.file_name());
                self.kraft_disk(KraftOp::Snapshot(id), DiskOp::ReadFile { path });
            }
            None => self.snapshot_read(None),
        }
    }

    fn snapshot_read(&mut self, content: Option<(SnapshotId, Bytes)>) {
        let (cluster_id, node_id) = (self.kraft().meta.cluster_id.clone(), self.config.broker.node_id);
        let config = self.config.broker.clone();
        let replay = match content {
            Some((id, content)) => match decode_snapshot(id, &content, &cluster_id, node_id, config) {
                Ok(replay) => replay,
                // An older snapshot may still do, as long as the log reaches back to it.
                Err(error) => {
                    tracing::error!("{METADATA_DIR}: a snapshot cannot be read, an older one is tried: {error}");
                    return self.read_snapshot();
                }
            },
            None => Replay::new(&cluster_id, node_id, config),
        };
        self.kraft().replay = Some(replay);
        self.read_metadata();
    }

    /// The next piece of the metadata log, until its end.
    fn read_metadata(&mut self) {
        let replay = self.kraft().replay.as_ref().expect("it is being replayed");
        let (offset, is_fresh) = (replay.next_offset(), replay.is_fresh());
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
            Err(error) => self.fatal(format!("the metadata log cannot be read: {error}")),
        }
    }

    fn read_metadata_from_disk(&mut self, read: DiskRead) {
        let what = DiskOp::from(&read);
        self.kraft_disk(KraftOp::Read(Box::new(read)), what);
    }

    fn apply_metadata(&mut self, slices: &[Bytes]) {
        let kraft = self.boot().kraft.as_mut().expect("the folder's files were read");
        let replay = kraft.replay.as_mut().expect("it is being replayed");
        let before = replay.next_offset();
        for slice in slices {
            let mut scan = Scan::new(slice, Depth::Crc);
            for view in scan.by_ref() {
                // A snapshot may end within what the log still holds.
                if view.header.next_offset() <= before {
                    continue;
                }
                kraft.replayed_bytes += view.header.size_bytes as u64;
                kraft.replayed_since_ms.get_or_insert(view.header.max_timestamp);
                if let Err(error) = replay.apply(&view.slice_of(slice)) {
                    let dir = self.config.data_dir.clone();
                    return self.fatal(format!("{dir}/{METADATA_DIR}: {error}"));
                }
            }
        }
        if replay.next_offset() == before {
            return self.fatal(format!("{METADATA_DIR}: nothing can be read at offset {before}"));
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

    fn metadata_replayed(&mut self) {
        let offset = self.kraft().replay.as_ref().expect("it was replayed").next_offset();
        let end = self.partition(LogId::METADATA).log.end();
        if offset > end && end > 0 {
            return self.fatal(format!(
                "{METADATA_DIR}: its snapshot ends at {offset} and its log already at {end}: acknowledged metadata is missing"
            ));
        }
        if self.partition(LogId::METADATA).log.is_read_only() {
            return self.fatal(format!(
                "{METADATA_DIR}: acknowledged metadata is lost, see the lines above"
            ));
        }
        let mut replay = self.kraft().replay.take().expect("it is being replayed");
        for complaint in replay.take_complaints() {
            tracing::warn!("{complaint}");
        }
        let (quorum, is_unclean) = (self.kraft().quorum.clone(), self.kraft().is_unclean);
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
            return self.publish(image);
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
                self.publish(image);
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
