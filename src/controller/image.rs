//! What the metadata log says up to some offset, as a value.
//!
//! An [`Image`] is cheap to clone: maps are persistent trees whose nodes are shared, topics and partitions sit behind
//! `Arc`, so a change costs the path to what changed and never the ten thousand partitions beside it. Two images are
//! compared the same way ([`Delta::between`](super::delta::Delta::between)).
//!
//! Invariants: `topics_by_name` holds exactly the names of `topics`; every partition of a topic has as many directories
//! as replicas; a partition's leader is -1 or one of its replicas.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::config::{BrokerConfig, Overrides, TopicConfig};
use crate::types::{LeaderEpoch, LogId, NodeId, Offset, ProducerId, TopicId, Uuid};
use crate::wire::metadata_records::{METADATA_VERSION, MetadataRecord};

/// Nobody leads the partition.
pub const NO_LEADER: NodeId = -1;

/// The directory id of a replica whose folder the controller does not know yet (KIP-858).
pub const DIRECTORY_UNASSIGNED: Uuid = Uuid::ZERO;
/// A folder that is offline, by no name.
pub const DIRECTORY_LOST: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
/// A replica that was placed before directories had ids.
pub const DIRECTORY_MIGRATING: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);

/// Where a node listens, under the name of one of its listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub listener: String,
    pub host: String,
    pub port: u16,
    /// 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// The levels of one feature that a node can work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportedFeature {
    pub name: String,
    pub min: i16,
    pub max: i16,
}

/// One broker, as its last RegisterBrokerRecord and what changed since have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRegistration {
    pub id: NodeId,
    /// The offset of the RegisterBrokerRecord.
    pub epoch: i64,
    /// One per process.
    pub incarnation: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub features: Vec<SupportedFeature>,
    pub rack: Option<String>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    /// Sorted.
    pub directories: Vec<Uuid>,
    /// Those of them that take no new partitions (KIP-1066); `None` before the broker has said.
    pub cordoned_directories: Option<Vec<Uuid>>,
}

impl BrokerRegistration {
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|e| e.listener == listener)
    }

    /// May lead and be in sync: neither fenced nor on its way out.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// Kafka's `hasOnlineDir`: a registration without directories, or a replica without one, is taken for online.
    pub fn has_online_directory(&self, directory: Uuid) -> bool {
        directory != DIRECTORY_LOST
            && (directory == DIRECTORY_UNASSIGNED
                || directory == DIRECTORY_MIGRATING
                || self.directories.is_empty()
                || self.directories.binary_search(&directory).is_ok())
    }
}

/// One controller, as its last RegisterControllerRecord has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerRegistration {
    pub id: NodeId,
    pub incarnation: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub features: Vec<SupportedFeature>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderRecovery {
    Recovered,
    /// The leader was elected outside the in-sync set and has not said yet that it is done.
    Recovering,
}

/// One partition, complete: what its PartitionRecord and PartitionChangeRecords say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRegistration {
    /// In the order of preference.
    pub replicas: Vec<NodeId>,
    /// Of each replica, in the same order.
    pub directories: Vec<Uuid>,
    pub isr: Vec<NodeId>,
    /// Eligible leader replicas (KIP-966): out of sync, but holding everything below the high watermark.
    pub elr: Vec<NodeId>,
    pub last_known_elr: Vec<NodeId>,
    pub adding: Vec<NodeId>,
    pub removing: Vec<NodeId>,
    /// [`NO_LEADER`] when there is none.
    pub leader: NodeId,
    pub leader_recovery: LeaderRecovery,
    pub leader_epoch: LeaderEpoch,
    /// Rises with every change.
    pub partition_epoch: i32,
}

impl PartitionRegistration {
    /// The folder in which `node` keeps its replica.
    pub fn directory_of(&self, node: NodeId) -> Option<Uuid> {
        let at = self.replicas.iter().position(|&r| r == node)?;
        self.directories.get(at).copied()
    }
}

/// One topic. Partitions are numbered from 0 without a gap once the records of one change are applied.
#[derive(Clone, Debug)]
pub struct Topic {
    pub id: TopicId,
    pub name: Arc<str>,
    pub partitions: OrdMap<i32, Arc<PartitionRegistration>>,
    /// What the topic's own settings and the broker's make together. Shared by all topics without own settings.
    pub config: Arc<TopicConfig>,
}

/// By what is the same in memory first, so that comparing two images does not walk what they share.
impl PartialEq for Topic {
    fn eq(&self, other: &Topic) -> bool {
        self.id == other.id
            && self.name == other.name
            && (Arc::ptr_eq(&self.config, &other.config) || self.config == other.config)
            && self.partitions == other.partitions
    }
}

impl Eq for Topic {}

impl Topic {
    pub fn log_id(&self, partition: i32) -> LogId {
        LogId {
            topic: self.id,
            partition,
        }
    }

    pub fn partition_count(&self) -> i32 {
        self.partitions.len() as i32
    }
}

/// Kafka's ConfigResource types, by their numbers on the wire and in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum ResourceKind {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl ResourceKind {
    pub fn from_code(code: i8) -> Option<ResourceKind> {
        use ResourceKind::*;
        [Topic, Broker, BrokerLogger, ClientMetrics, Group]
            .into_iter()
            .find(|kind| kind.code() == code)
    }

    pub fn code(self) -> i8 {
        self as i8
    }
}

/// What a ConfigRecord is about. A broker's name is its id in decimal; "" is the default of all brokers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    pub kind: ResourceKind,
    pub name: Arc<str>,
}

impl ConfigResource {
    pub fn topic(name: &str) -> ConfigResource {
        ConfigResource {
            kind: ResourceKind::Topic,
            name: name.into(),
        }
    }

    pub fn broker(id: NodeId) -> ConfigResource {
        ConfigResource {
            kind: ResourceKind::Broker,
            name: id.to_string().into(),
        }
    }

    /// Whose resource has this name. A number that is written another way is not an id (Kafka takes "01" for 1): one resource
    /// has one name.
    pub fn broker_id(name: &str) -> Option<NodeId> {
        name.parse().ok().filter(|id: &NodeId| id.to_string() == name)
    }

    pub fn default_broker() -> ConfigResource {
        ConfigResource {
            kind: ResourceKind::Broker,
            name: "".into(),
        }
    }
}

/// How far into the metadata log an image reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Of the last record applied; -1 before the first.
    pub offset: Offset,
    /// The leader epoch of that record's batch; 0 before the first.
    pub epoch: LeaderEpoch,
    /// The append time of that record's batch, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

#[derive(Clone, Debug)]
pub struct Image {
    pub cluster_id: Arc<str>,
    pub reached: Reached,
    /// Finalised levels, by feature name.
    pub features: Arc<BTreeMap<String, i16>>,
    /// The level of `kraft.version`, which control records say.
    pub kraft_version: i16,
    pub brokers: OrdMap<NodeId, Arc<BrokerRegistration>>,
    pub controllers: OrdMap<NodeId, Arc<ControllerRegistration>>,
    pub(super) topics: OrdMap<TopicId, Arc<Topic>>,
    pub(super) topics_by_name: OrdMap<Arc<str>, TopicId>,
    /// Of topics whose names could collide: the name of their metrics, and theirs (see [`names`](super::names)).
    pub(super) metric_names: OrdSet<(Arc<str>, Arc<str>)>,
    pub(super) configs: OrdMap<ConfigResource, Arc<Overrides>>,
    /// The first producer id that no broker was given.
    pub next_producer_id: ProducerId,
    /// Partitions of all topics.
    pub(super) partition_count: usize,
    /// Records of what this broker keeps but does not act on yet, so that a snapshot loses nothing.
    pub(super) carried: OrdMap<Carried, MetadataRecord>,
    /// Whose configuration `broker_config` is.
    pub(super) node_id: NodeId,
    /// This broker's configuration: its file and command line, and what the log says about it.
    pub broker_config: Arc<BrokerConfig>,
    /// What a topic without own settings has; `broker_config.topic`, shared.
    pub(super) default_topic_config: Arc<TopicConfig>,
}

/// What a carried record is about: a later one of the same takes its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Carried {
    Quota(Vec<(String, Option<String>)>, String),
    Acl(Uuid),
    Scram(i8, String),
    Token(String),
}

impl Image {
    /// The level of `metadata.version` at which records are written; the one that we format with before the log says one.
    pub fn metadata_version(&self) -> i16 {
        self.features
            .get("metadata.version")
            .copied()
            .unwrap_or(METADATA_VERSION)
    }

    pub fn empty(cluster_id: &str, node_id: NodeId, broker_config: Arc<BrokerConfig>) -> Image {
        Image {
            cluster_id: cluster_id.into(),
            reached: Reached {
                offset: -1,
                epoch: 0,
                timestamp_ms: 0,
            },
            features: Arc::default(),
            kraft_version: 0,
            brokers: OrdMap::new(),
            controllers: OrdMap::new(),
            topics: OrdMap::new(),
            topics_by_name: OrdMap::new(),
            metric_names: OrdSet::new(),
            configs: OrdMap::new(),
            next_producer_id: 0,
            partition_count: 0,
            carried: OrdMap::new(),
            node_id,
            default_topic_config: Arc::new(broker_config.topic.clone()),
            broker_config,
        }
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(self.topics_by_name.get(name)?)
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// In the order of their ids.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// From the first name that is not less than `from`, in the order of names.
    pub fn topics_by_name_from(&self, from: &str) -> impl Iterator<Item = &Arc<Topic>> {
        let names = self
            .topics_by_name
            .range::<_, str>((Bound::Included(from), Bound::Unbounded));
        names.filter_map(|(_, id)| self.topics.get(id))
    }

    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    pub fn partition(&self, log: LogId) -> Option<&Arc<PartitionRegistration>> {
        self.topics.get(&log.topic)?.partitions.get(&log.partition)
    }

    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// What was set on `resource`; `None` when nothing is.
    pub fn overrides(&self, resource: &ConfigResource) -> Option<&Arc<Overrides>> {
        self.configs.get(resource)
    }

    pub fn topic_overrides(&self, name: &str) -> Option<&Arc<Overrides>> {
        self.configs.get(&ConfigResource::topic(name))
    }

    pub fn is_active(&self, broker: NodeId) -> bool {
        self.brokers.get(&broker).is_some_and(|b| b.is_active())
    }
}
