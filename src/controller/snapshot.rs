//! Snapshots of the metadata: an image as records, in Kafka's format (KIP-630).
//!
//! ```text
//! name   %020d-%010d.checkpoint   the offset behind the last record contained, and that record's epoch
//! batch  control: SnapshotHeader (time of the last record contained), KRaftVersion, KRaftVoters
//! batch  metadata records, as many batches as are needed; offsets go on through the whole file
//! batch  control: SnapshotFooter
//! ```
//!
//! A snapshot counts only when its footer is there: it is written beside its name and renamed.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::config::BrokerConfig;
use crate::record::scan::Depth;
use crate::record::{BatchBuilder, Scan, Stop};
use crate::types::{LeaderEpoch, NodeId, Offset};
use crate::wire::WireError;
use crate::wire::control_records::*;
use crate::wire::metadata_records::*;

use super::batch::control_batch;
use super::image::{Endpoint, Image, LeaderRecovery, Reached, SupportedFeature, Topic};
use super::replay::{Replay, ReplayError};
use super::start::{Node, bootstrap_features, voters};

/// What a snapshot contains: all records below `end_offset`, the last of which was appended in `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    pub end_offset: Offset,
    pub epoch: LeaderEpoch,
}

impl SnapshotId {
    /// The name of its file in `__cluster_metadata-0`.
    pub fn file_name(self) -> String {
        format!("{:020}-{:010}.checkpoint", self.end_offset, self.epoch)
    }

    /// `None` for any other file, and for what an unfinished write has left (`.part`).
    pub fn parse(file_name: &str) -> Option<SnapshotId> {
        let (end_offset, epoch) = file_name.strip_suffix(".checkpoint")?.split_once('-')?;
        let digits = |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(end_offset, 20) || !digits(epoch, 10) {
            return None;
        }
        Some(SnapshotId {
            end_offset: end_offset.parse().ok()?,
            epoch: epoch.parse().ok()?,
        })
    }
}

/// Why a snapshot cannot be used. An older one and a longer log may do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("it does not begin with a snapshot's header")]
    NoHeader,
    #[error("it ends without a snapshot's footer: it was never completed")]
    NoFooter,
    #[error("it is damaged: {0:?}")]
    Damaged(Stop),
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

/// Whether it is time for a snapshot: `bytes` of log were appended since the last one, the first of them `age_ms` ago.
pub fn snapshot_due(config: &BrokerConfig, bytes: u64, age_ms: i64) -> bool {
    let interval_ms = config.metadata_log_max_snapshot_interval_ms;
    bytes >= config.metadata_log_max_record_bytes_between_snapshots
        || (bytes > 0 && interval_ms > 0 && age_ms >= interval_ms)
}

/// The image without what an open transaction would add, as a file.
pub fn encode_snapshot(replay: &Replay, now_ms: i64) -> Result<(SnapshotId, Bytes), WireError> {
    let image = replay.image();
    let id = SnapshotId {
        end_offset: image.reached.offset + 1,
        epoch: image.reached.epoch,
    };
    let mut control = Vec::new();
    if let Some(voters) = &replay.voters {
        control.push(ControlRecord::KRaftVersion(KRaftVersionRecord {
            version: 0,
            kraft_version: image.kraft_version,
        }));
        control.push(ControlRecord::KRaftVoters(voters.clone()));
    }
    let level = image.metadata_version();
    let mut file = SnapshotFile::new(id.epoch, level, image.reached.timestamp_ms, control, now_ms)?;
    let mut failed = None;
    image.for_each_record(|record| {
        if failed.is_none() {
            failed = file.push(&record).err();
        }
    });
    match failed {
        Some(error) => Err(error),
        None => Ok((id, file.finish()?)),
    }
}

/// The files that a fresh folder is formatted with, by the name of each.
pub fn format_files(cluster_id: &str, node: &Node, now_ms: i64) -> Result<Vec<(String, Bytes)>, WireError> {
    use super::files::{BOOTSTRAP_CHECKPOINT, META_PROPERTIES, METADATA_FOLDER, MetaProperties};
    let mut bootstrap = SnapshotFile::new(0, METADATA_VERSION, 0, Vec::new(), now_ms)?;
    for record in bootstrap_features() {
        bootstrap.push(&record)?;
    }
    // The first voters, for a controller that starts before anything was appended.
    let first = SnapshotFile::new(0, METADATA_VERSION, now_ms, voters(node).to_vec(), now_ms)?;
    let first_id = SnapshotId {
        end_offset: 0,
        epoch: 0,
    };
    let meta = MetaProperties {
        cluster_id: cluster_id.to_owned(),
        node_id: node.id,
        directory_id: node.directory_id,
    };
    Ok(vec![
        (format!("{METADATA_FOLDER}/{}", first_id.file_name()), first.finish()?),
        (BOOTSTRAP_CHECKPOINT.to_owned(), bootstrap.finish()?),
        // Last: with it the folder counts as formatted.
        (META_PROPERTIES.to_owned(), meta.encode()),
    ])
}

/// A replay that has reached what the snapshot contains; the log goes on from there.
pub fn decode_snapshot(
    id: SnapshotId,
    bytes: &Bytes,
    cluster_id: &str,
    node_id: NodeId,
    config: Arc<BrokerConfig>,
) -> Result<Replay, SnapshotError> {
    let mut replay = Replay::new(cluster_id, node_id, config);
    let mut scan = Scan::new(bytes, Depth::Crc);
    let mut timestamp_ms = None;
    let mut complete = false;
    for view in scan.by_ref() {
        let batch = view.slice_of(bytes);
        let control = replay.apply_records(&batch)?;
        if timestamp_ms.is_none() {
            let header = control.iter().find_map(|record| match record {
                ControlRecord::SnapshotHeader(header) => Some(header.last_contained_log_timestamp),
                _ => None,
            });
            timestamp_ms = Some(header.ok_or(SnapshotError::NoHeader)?);
        }
        complete = control
            .iter()
            .any(|record| matches!(record, ControlRecord::SnapshotFooter(_)));
    }
    match scan.stop() {
        Some(Stop::End) | None => {}
        Some(stop) => return Err(SnapshotError::Damaged(stop.clone())),
    }
    if !complete {
        return Err(SnapshotError::NoFooter);
    }
    replay.start_behind(Reached {
        offset: id.end_offset - 1,
        epoch: id.epoch,
        timestamp_ms: timestamp_ms.unwrap_or(0),
    });
    Ok(replay)
}

struct SnapshotFile {
    bytes: BytesMut,
    next_offset: Offset,
    epoch: LeaderEpoch,
    metadata_version: i16,
    now_ms: i64,
    batch: BatchBuilder,
}

/// Small enough for every reader's buffer, large enough that headers do not count.
const BATCH_BYTES: usize = 256 * 1024;

impl SnapshotFile {
    fn new(
        epoch: LeaderEpoch,
        metadata_version: i16,
        last_contained_log_timestamp: i64,
        control: Vec<ControlRecord>,
        now_ms: i64,
    ) -> Result<SnapshotFile, WireError> {
        let mut file = SnapshotFile {
            bytes: BytesMut::new(),
            next_offset: 0,
            epoch,
            metadata_version,
            now_ms,
            batch: BatchBuilder::new(),
        };
        let header = ControlRecord::SnapshotHeader(SnapshotHeaderRecord {
            version: 0,
            last_contained_log_timestamp,
        });
        let records: Vec<_> = std::iter::once(header).chain(control).collect();
        file.append(control_batch(&records, now_ms)?);
        Ok(file)
    }

    fn append(&mut self, batch: BatchBuilder) {
        let batch = batch.build_stamped(self.next_offset, self.epoch);
        self.next_offset = batch.next_offset();
        self.bytes.extend_from_slice(batch.bytes());
    }

    fn push(&mut self, record: &MetadataRecord) -> Result<(), WireError> {
        let value = record.encode(self.metadata_version)?;
        self.batch.push(self.now_ms, None, Some(&value), &[]);
        if self.batch.size_bytes() >= BATCH_BYTES {
            let full = std::mem::take(&mut self.batch);
            self.append(full);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Bytes, WireError> {
        let last = std::mem::take(&mut self.batch);
        if last.record_count() > 0 {
            self.append(last);
        }
        let footer = ControlRecord::SnapshotFooter(SnapshotFooterRecord { version: 0 });
        self.append(control_batch(&[footer], self.now_ms)?);
        Ok(self.bytes.freeze())
    }
}

impl Image {
    /// Records that make this image out of an empty one, in Kafka's order (`MetadataImage.write`).
    pub(super) fn for_each_record(&self, mut emit: impl FnMut(MetadataRecord)) {
        // metadata.version first: readers decide by it how to read the rest.
        let (version, others): (Vec<_>, Vec<_>) =
            self.features.iter().partition(|(name, _)| *name == "metadata.version");
        for (name, &feature_level) in version.into_iter().chain(others) {
            emit(
                FeatureLevelRecord {
                    name: name.clone(),
                    feature_level,
                }
                .into(),
            );
        }
        self.node_records(&mut emit);
        for topic in self.topics() {
            topic_records(topic, &mut emit);
        }
        for (resource, overrides) in &self.configs {
            for (name, value) in overrides.iter() {
                let record = ConfigRecord {
                    resource_type: resource.kind.code(),
                    resource_name: resource.name.to_string(),
                    name: name.clone(),
                    value: Some(value.clone()),
                };
                emit(record.into());
            }
        }
        if self.next_producer_id > 0 {
            let record = ProducerIdsRecord {
                broker_id: -1,
                broker_epoch: -1,
                next_producer_id: self.next_producer_id,
            };
            emit(record.into());
        }
        for record in self.carried.values() {
            emit(record.clone());
        }
    }

    fn node_records(&self, emit: &mut impl FnMut(MetadataRecord)) {
        for broker in self.brokers.values() {
            let end_points = broker.endpoints.iter().map(|e: &Endpoint| BrokerEndpoint {
                name: e.listener.clone(),
                host: e.host.clone(),
                port: e.port,
                security_protocol: e.security_protocol,
            });
            let features = broker.features.iter().map(|f: &SupportedFeature| BrokerFeature {
                name: f.name.clone(),
                min_supported_version: f.min,
                max_supported_version: f.max,
            });
            let record = RegisterBrokerRecord {
                broker_id: broker.id,
                is_migrating_zk_broker: false,
                incarnation_id: broker.incarnation,
                broker_epoch: broker.epoch,
                end_points: end_points.collect(),
                features: features.collect(),
                rack: broker.rack.clone(),
                fenced: broker.fenced,
                in_controlled_shutdown: broker.in_controlled_shutdown,
                log_dirs: broker.directories.clone(),
                cordoned_log_dirs: broker.cordoned_directories.clone(),
            };
            emit(record.into());
        }
        for controller in self.controllers.values() {
            let end_points = controller.endpoints.iter().map(|e| ControllerEndpoint {
                name: e.listener.clone(),
                host: e.host.clone(),
                port: e.port,
                security_protocol: e.security_protocol,
            });
            let features = controller.features.iter().map(|f| ControllerFeature {
                name: f.name.clone(),
                min_supported_version: f.min,
                max_supported_version: f.max,
            });
            let record = RegisterControllerRecord {
                controller_id: controller.id,
                incarnation_id: controller.incarnation,
                zk_migration_ready: false,
                end_points: end_points.collect(),
                features: features.collect(),
            };
            emit(record.into());
        }
    }
}

fn topic_records(topic: &Topic, emit: &mut impl FnMut(MetadataRecord)) {
    let record = TopicRecord {
        name: topic.name.to_string(),
        topic_id: topic.id,
    };
    emit(record.into());
    // Kafka leaves out what is empty.
    let some = |nodes: &[NodeId]| (!nodes.is_empty()).then(|| nodes.to_vec());
    for (&partition_id, partition) in &topic.partitions {
        let record = PartitionRecord {
            partition_id,
            topic_id: topic.id,
            replicas: partition.replicas.clone(),
            isr: partition.isr.clone(),
            removing_replicas: partition.removing.clone(),
            adding_replicas: partition.adding.clone(),
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            directories: partition.directories.clone(),
            leader_recovery_state: match partition.leader_recovery {
                LeaderRecovery::Recovered => 0,
                LeaderRecovery::Recovering => 1,
            },
            eligible_leader_replicas: some(&partition.elr),
            last_known_elr: some(&partition.last_known_elr),
        };
        emit(record.into());
    }
}
