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
pub const SUPPORTED_FEATURES: [(&str, i16, i16); 6] = [
    ("metadata.version", 22, 27),
    ("eligible.leader.replicas.version", 0, 1),
    ("group.version", 0, 1),
    ("kraft.version", 0, 1),
    ("share.version", 0, 1),
    ("transaction.version", 0, 2),
];

/// What a fresh folder is formatted with, as Kafka 4.1 does; what is not named is at 0.
pub const BOOTSTRAP_FEATURES: [(&str, i16); 4] = [
    ("metadata.version", 27),
    ("eligible.leader.replicas.version", 1),
    ("group.version", 1),
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

    match replay.is_empty() {
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
        for batch in encode(records, self.now_ms, batch_bytes_max)? {
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

/// `again`: a process died between the first of these and the last.
fn bootstrap_records(image: &Image, again: bool) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    if again {
        records.push(abort());
    }
    let begin = BeginTransactionRecord {
        name: Some("Bootstrap records".into()),
    };
    records.push(begin.into());
    records.extend(bootstrap_features());
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
