//! What a process appends before it serves: it becomes leader of the metadata log, as a KRaft quorum of one voter does, and
//! registers its broker.
//!
//! ```text
//! quorum-state with the new epoch, durable
//! LeaderChange                                (on a fresh log also KRaftVersion, KRaftVoters)
//! the bootstrap records                       (on a fresh log; else an open transaction is aborted)
//! RegisterController
//! RegisterBroker, fenced; its epoch is its offset
//! the broker is unfenced, and leads its partitions
//! ```

use std::sync::Arc;

use crate::record::Batch;
use crate::types::{LeaderEpoch, NodeId, Offset, Uuid};
use crate::wire::WireError;
use crate::wire::control_records::*;
use crate::wire::metadata_records::*;

use super::batch::{control_batch, encode};
use super::files::QuorumState;
use super::image::{Endpoint, Image, NO_LEADER, PartitionRegistration, ResourceKind, SupportedFeature};
use super::replay::Replay;

/// Who this process is.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: NodeId,
    /// Of meta.properties: one per data folder.
    pub directory_id: Uuid,
    /// One per process.
    pub incarnation: Uuid,
    pub rack: Option<String>,
    /// Where clients reach the broker.
    pub endpoint: Endpoint,
    /// Where other controllers would reach this one; its listener's name is CONTROLLER by custom. Nobody connects to it as
    /// long as it is the only voter, but the voters' record must name it.
    pub controller_endpoint: Endpoint,
}

/// What to do, in this order.
#[derive(Debug)]
pub struct Start {
    /// The epoch in which everything is appended from now on.
    pub epoch: LeaderEpoch,
    /// To be durable before anything is appended.
    pub quorum_state: QuorumState,
    /// To be appended, each as it is and with nothing between them. Nothing is served before all are durable.
    pub batches: Vec<Batch>,
    /// The offset of this process's RegisterBroker record.
    pub broker_epoch: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("feature {name} is finalised at {level}; this version works with {min} to {max}")]
    Feature {
        name: String,
        level: i16,
        min: i16,
        max: i16,
    },
    #[error("feature {name} is finalised at {level}; this version does not know it")]
    UnknownFeature { name: String, level: i16 },
    #[error("the metadata log belongs to a quorum of voters {voters:?}, and this broker is {node} and works alone")]
    Voters { voters: Vec<NodeId>, node: NodeId },
    #[error("the metadata log's voter {node} has directory {theirs}, and this folder is {ours}")]
    Directory { node: NodeId, ours: Uuid, theirs: Uuid },
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// The levels that we can work with. `kraft.version` is not a FeatureLevel record but a control record of its own.
pub const SUPPORTED_FEATURES: [(&str, i16, i16); 7] = [
    ("metadata.version", METADATA_VERSION_MIN, METADATA_VERSION),
    ("eligible.leader.replicas.version", 0, 1),
    ("group.version", 0, 1),
    ("kraft.version", 0, 1),
    ("share.version", 0, 2),
    ("streams.version", 0, 1),
    ("transaction.version", 0, 2),
];

/// Those of them that something here acts on, which is what administrators are shown. A folder keeps the levels of the others
/// for Kafka, which it may go back to.
pub const SHOWN_FEATURES: [&str; 3] = ["metadata.version", "eligible.leader.replicas.version", "kraft.version"];

/// What a fresh folder is formatted with, as Kafka 4.4 does.
pub const BOOTSTRAP_FEATURES: [(&str, i16); 6] = [
    ("metadata.version", METADATA_VERSION),
    ("eligible.leader.replicas.version", 1),
    ("group.version", 1),
    ("share.version", 2),
    ("streams.version", 1),
    ("transaction.version", 2),
];

pub(super) const KRAFT_VERSION: i16 = 1;

/// `unclean`: the last process did not stop cleanly, so that leader epochs must rise.
pub fn start(
    replay: &Replay,
    quorum: Option<&QuorumState>,
    node: &Node,
    unclean: bool,
    now_ms: i64,
    batch_bytes_max: usize,
) -> Result<Start, StartError> {
    let image = replay.image();
    check_features(image)?;
    check_voters(replay, node)?;
    let epoch = quorum.map_or(0, |quorum| quorum.leader_epoch).max(image.reached.epoch) + 1;
    let mut plan = Plan {
        next_offset: replay.next_offset(),
        metadata_version: image.metadata_version(),
        batches: Vec::new(),
        now_ms,
        batch_bytes_max,
    };

    let fresh_log = plan.next_offset == 0;
    let mut control = vec![leader_change(node.id)];
    if fresh_log {
        control.extend(voters(node));
    }
    plan.push(control_batch(&control, now_ms)?.build_checked());

    match replay.is_fresh() {
        // They are a transaction already.
        true => plan.append_within(&bootstrap_records(image, replay.in_transaction()), usize::MAX)?,
        false if replay.in_transaction() => plan.append(&[abort()])?,
        false => {}
    }
    plan.append(&[register_controller(node).into()])?;
    let broker_epoch = plan.next_offset;
    plan.append(&[register_broker(node, broker_epoch).into()])?;
    let unfence = BrokerRegistrationChangeRecord {
        broker_id: node.id,
        broker_epoch,
        fenced: -1,
        ..BrokerRegistrationChangeRecord::default()
    };
    let mut records = vec![unfence.into()];
    records.extend(lead(image, node.id, unclean));
    plan.append(&records)?;

    Ok(Start {
        epoch,
        quorum_state: QuorumState::leader(node.id, epoch),
        batches: plan.batches,
        broker_epoch,
    })
}

/// What a clean stop appends last: the broker is on its way out, then fenced. Partitions keep their leader: there is none
/// other, and so their epochs need not rise at the next start.
pub fn stop_records(node: NodeId, broker_epoch: i64) -> Vec<MetadataRecord> {
    let change = BrokerRegistrationChangeRecord {
        broker_id: node,
        broker_epoch,
        fenced: 1,
        in_controlled_shutdown: 1,
        ..BrokerRegistrationChangeRecord::default()
    };
    vec![change.into()]
}

struct Plan {
    next_offset: Offset,
    metadata_version: i16,
    batches: Vec<Batch>,
    now_ms: i64,
    batch_bytes_max: usize,
}

impl Plan {
    fn push(&mut self, batch: Batch) {
        self.next_offset += i64::from(batch.record_count);
        self.batches.push(batch);
    }

    fn append(&mut self, records: &[MetadataRecord]) -> Result<(), WireError> {
        self.append_within(records, self.batch_bytes_max)
    }

    fn append_within(&mut self, records: &[MetadataRecord], batch_bytes_max: usize) -> Result<(), WireError> {
        for batch in encode(records, self.metadata_version, self.now_ms, batch_bytes_max)? {
            self.push(batch);
        }
        Ok(())
    }
}

fn check_features(image: &Image) -> Result<(), StartError> {
    for (name, &level) in image.features.iter() {
        let Some(&(_, min, max)) = SUPPORTED_FEATURES.iter().find(|(known, ..)| known == name) else {
            return Err(StartError::UnknownFeature {
                name: name.clone(),
                level,
            });
        };
        if !(min..=max).contains(&level) {
            return Err(StartError::Feature {
                name: name.clone(),
                level,
                min,
                max,
            });
        }
    }
    Ok(())
}

fn check_voters(replay: &Replay, node: &Node) -> Result<(), StartError> {
    let Some(voters) = &replay.voters else {
        return Ok(());
    };
    match voters.voters.as_slice() {
        [voter] if voter.voter_id == node.id => match voter.voter_directory_id {
            theirs if theirs == node.directory_id || theirs.is_zero() => Ok(()),
            theirs => Err(StartError::Directory {
                node: node.id,
                ours: node.directory_id,
                theirs,
            }),
        },
        several => Err(StartError::Voters {
            voters: several.iter().map(|voter| voter.voter_id).collect(),
            node: node.id,
        }),
    }
}

fn leader_change(node: NodeId) -> ControlRecord {
    let us = || {
        vec![LeaderChangeVoter {
            voter_id: node,
            ..LeaderChangeVoter::default()
        }]
    };
    ControlRecord::LeaderChange(LeaderChangeMessage {
        leader_id: node,
        voters: us(),
        granting_voters: us(),
        ..LeaderChangeMessage::default()
    })
}

/// The quorum of this node alone.
pub(super) fn voters(node: &Node) -> [ControlRecord; 2] {
    let endpoint = &node.controller_endpoint;
    let voter = VotersRecordVoter {
        voter_id: node.id,
        voter_directory_id: node.directory_id,
        endpoints: vec![VotersRecordEndpoint {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
        }],
        kraft_version_feature: KRaftVersionRange {
            min_supported_version: 0,
            max_supported_version: KRAFT_VERSION,
        },
    };
    [
        ControlRecord::KRaftVersion(KRaftVersionRecord {
            version: 0,
            kraft_version: KRAFT_VERSION,
        }),
        ControlRecord::KRaftVoters(VotersRecord {
            version: 0,
            voters: vec![voter],
        }),
    ]
}

/// What the folder was formatted with. `again`: a process died between the first of these and the last.
fn bootstrap_records(image: &Image, again: bool) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    if again {
        records.push(abort());
    }
    let begin = BeginTransactionRecord {
        name: Some("Bootstrap records".into()),
    };
    records.push(begin.into());
    match image.features.is_empty() {
        true => records.extend(bootstrap_features()),
        false => image.for_each_record(|record| records.push(record)),
    }
    // With eligible leader replicas, what is in sync must not hang on the file of one broker or another (KIP-966).
    let min_isr = ConfigRecord {
        resource_type: ResourceKind::Broker.code(),
        resource_name: String::new(),
        name: "min.insync.replicas".into(),
        value: Some(image.broker_config.topic.min_insync_replicas.to_string()),
    };
    records.push(min_isr.into());
    records.push(EndTransactionRecord {}.into());
    records
}

pub(super) fn bootstrap_features() -> impl Iterator<Item = MetadataRecord> {
    BOOTSTRAP_FEATURES.iter().map(|&(name, feature_level)| {
        FeatureLevelRecord {
            name: name.into(),
            feature_level,
        }
        .into()
    })
}

fn abort() -> MetadataRecord {
    AbortTransactionRecord {
        reason: Some("Controller failover".into()),
    }
    .into()
}

pub(super) fn supported_features() -> Vec<SupportedFeature> {
    let feature = |&(name, min, max): &(&str, i16, i16)| SupportedFeature {
        name: name.into(),
        min,
        max,
    };
    SUPPORTED_FEATURES.iter().map(feature).collect()
}

fn register_controller(node: &Node) -> RegisterControllerRecord {
    let endpoint = &node.controller_endpoint;
    let features = supported_features().into_iter().map(|feature| ControllerFeature {
        name: feature.name,
        min_supported_version: feature.min,
        max_supported_version: feature.max,
    });
    RegisterControllerRecord {
        controller_id: node.id,
        incarnation_id: node.incarnation,
        zk_migration_ready: false,
        end_points: vec![ControllerEndpoint {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        }],
        features: features.collect(),
    }
}

fn register_broker(node: &Node, broker_epoch: i64) -> RegisterBrokerRecord {
    let endpoint = &node.endpoint;
    let features = supported_features().into_iter().map(|feature| BrokerFeature {
        name: feature.name,
        min_supported_version: feature.min,
        max_supported_version: feature.max,
    });
    RegisterBrokerRecord {
        broker_id: node.id,
        incarnation_id: node.incarnation,
        broker_epoch,
        end_points: vec![BrokerEndpoint {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        }],
        features: features.collect(),
        rack: node.rack.clone(),
        fenced: true,
        log_dirs: vec![node.directory_id],
        ..RegisterBrokerRecord::default()
    }
}

/// The broker takes the lead of every partition that it may lead and does not, as after Kafka stopped on this folder; after
/// an unclean stop it takes the lead of its own again, which raises their epochs.
fn lead(image: &Image, node: NodeId, unclean: bool) -> impl Iterator<Item = MetadataRecord> + '_ {
    let partitions = |topic: &Arc<super::image::Topic>| {
        let topic = topic.clone();
        let numbers: Vec<i32> = topic.partitions.keys().copied().collect();
        numbers
            .into_iter()
            .map(move |partition| (topic.id, partition, topic.partitions[&partition].clone()))
    };
    image
        .topics()
        .flat_map(partitions)
        .filter_map(move |(topic_id, partition_id, now)| {
            let change = PartitionChangeRecord {
                partition_id,
                topic_id,
                leader: node,
                ..PartitionChangeRecord::default()
            };
            match may_lead(&now, node) {
                Some(Eligible::InSync) if now.leader != node || unclean => Some(change.into()),
                // Nobody is in sync and this replica has everything: Kafka elects it in the same words.
                Some(Eligible::Elr) => Some(
                    PartitionChangeRecord {
                        isr: Some(vec![node]),
                        eligible_leader_replicas: Some(Vec::new()),
                        last_known_elr: Some(Vec::new()),
                        ..change
                    }
                    .into(),
                ),
                _ => None,
            }
        })
}

enum Eligible {
    InSync,
    Elr,
}

fn may_lead(partition: &PartitionRegistration, node: NodeId) -> Option<Eligible> {
    if partition.isr.contains(&node) {
        return Some(Eligible::InSync);
    }
    let elected = partition.isr.is_empty()
        && partition.leader == NO_LEADER
        && (partition.elr.contains(&node) || partition.last_known_elr == [node]);
    elected.then_some(Eligible::Elr)
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::{SnapshotId, decode_snapshot, encode_snapshot};
    use super::*;
    use crate::config::BrokerConfig;
    use crate::record::{Records, StampedBatch};

    fn node() -> Node {
        let endpoint = Endpoint {
            listener: "PLAINTEXT".into(),
            host: "h".into(),
            port: 1,
            security_protocol: 0,
        };
        Node {
            id: 1,
            directory_id: Uuid([1; 16]),
            incarnation: Uuid([2; 16]),
            rack: None,
            endpoint: endpoint.clone(),
            controller_endpoint: endpoint,
        }
    }

    fn empty() -> Replay {
        Replay::new("cluster", 1, Arc::new(BrokerConfig::default()))
    }

    fn append(replay: &mut Replay, log: &mut Vec<StampedBatch>, batches: Vec<Batch>) {
        for batch in batches {
            log.push(batch.stamp(replay.next_offset(), 1));
            replay.apply(log.last().unwrap()).unwrap();
        }
    }

    /// What a folder that was formatted at this level says: as the snapshot before the first record.
    fn formatted(metadata_version: i16) -> Replay {
        let mut replay = empty();
        let level = FeatureLevelRecord {
            name: "metadata.version".into(),
            feature_level: metadata_version,
        };
        let batches = encode(&[level.into()], metadata_version, 0, 1 << 20).unwrap();
        append(&mut replay, &mut Vec::new(), batches);
        let (_, snapshot) = encode_snapshot(&replay, 0).unwrap();
        let id = SnapshotId {
            end_offset: 0,
            epoch: 0,
        };
        decode_snapshot(id, &snapshot, "cluster", 1, Arc::new(BrokerConfig::default())).unwrap()
    }

    /// The log that a start on this makes.
    fn started(mut replay: Replay) -> Vec<StampedBatch> {
        let start = start(&replay, None, &node(), false, 0, 1 << 20).unwrap();
        let mut log = Vec::new();
        append(&mut replay, &mut log, start.batches);
        log
    }

    /// The level that a log says by itself, and the version of each of its records of this type.
    fn written(log: &[StampedBatch], kind: u8) -> (i16, Vec<u8>) {
        let mut replay = empty();
        log.iter().for_each(|batch| replay.apply(batch).unwrap());
        assert!(!replay.is_fresh());
        let records = log.iter().filter(|batch| !batch.is_control());
        let values = records.flat_map(|batch| {
            Records::of(batch, 1 << 20)
                .unwrap()
                .map(|record| record.unwrap().value.unwrap())
        });
        let versions = values.filter(|value| value[1] == kind).map(|value| value[2]).collect();
        (replay.image().features["metadata.version"], versions)
    }

    const REGISTER_BROKER: u8 = 0;

    #[test]
    fn a_fresh_folder_is_kept_at_the_level_that_it_was_formatted_at() {
        assert_eq!(written(&started(empty()), REGISTER_BROKER), (33, vec![4]));
        for (level, version) in [(22, 3), (27, 3), (30, 4), (33, 4)] {
            // Kafka 4.4 says the level in the first snapshot, 4.1 in bootstrap.checkpoint.
            assert!(formatted(level).is_fresh());
            assert_eq!(
                written(&started(formatted(level)), REGISTER_BROKER),
                (level, vec![version])
            );
            let mut replay = empty();
            replay.format(&formatted(level));
            assert_eq!(written(&started(replay), REGISTER_BROKER), (level, vec![version]));
        }
    }

    #[test]
    fn a_level_that_is_too_new_or_too_old_is_no_start() {
        for level in [21, 34] {
            let refused = start(&formatted(level), None, &node(), false, 0, 1 << 20).unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!("feature metadata.version is finalised at {level}; this version works with 22 to 33")
            );
        }
    }

    #[test]
    fn what_was_formatted_no_longer_counts_once_the_log_says() {
        let mut replay = empty();
        for batch in started(empty()) {
            replay.apply(&batch).unwrap();
        }
        replay.format(&formatted(27));
        assert_eq!(replay.image().metadata_version(), 33);
    }

    #[test]
    fn cordoned_folders_and_removed_controllers_survive_a_snapshot() {
        let mut replay = empty();
        let mut log = Vec::new();
        for batch in started(empty()) {
            replay.apply(&batch).unwrap();
        }
        let epoch = replay.image().brokers[&1].epoch;
        let change = BrokerRegistrationChangeRecord {
            broker_id: 1,
            broker_epoch: epoch,
            cordoned_log_dirs: Some(vec![node().directory_id]),
            ..Default::default()
        };
        let gone = UnregisterControllerRecord { controller_id: 1 };
        let batches = encode(&[change.into(), gone.into()], METADATA_VERSION, 0, 1 << 20).unwrap();
        append(&mut replay, &mut log, batches);
        assert!(replay.image().controllers.is_empty());
        let (id, snapshot) = encode_snapshot(&replay, 0).unwrap();
        let read = decode_snapshot(id, &snapshot, "cluster", 1, Arc::new(BrokerConfig::default())).unwrap();
        let cordoned = &read.image().brokers[&1].cordoned_directories;
        assert_eq!(*cordoned, Some(vec![node().directory_id]));
        assert!(read.image().controllers.is_empty());
    }
}
