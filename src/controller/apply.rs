//! What each record of the metadata log does to the image.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::{ConfigError, Overrides, TopicConfig};
use crate::types::{NodeId, Uuid};
use crate::wire::metadata_records::*;

use super::image::{
    BrokerRegistration, Carried, ConfigResource, ControllerRegistration, DIRECTORY_MIGRATING, Endpoint, Image,
    LeaderRecovery, PartitionRegistration, ResourceKind, SupportedFeature, Topic,
};
use super::names;
use super::replay::Touched;

/// In a PartitionChangeRecord: the leader stays.
pub(super) const NO_LEADER_CHANGE: NodeId = -2;

impl Image {
    /// Applies one record. What it says about configurations is in force after [`Image::resolve`] with what was touched.
    /// The error says what the record contradicts; the log or this code is broken then.
    pub(super) fn apply(&mut self, record: &MetadataRecord, touched: &mut BTreeSet<Touched>) -> Result<(), String> {
        match record {
            MetadataRecord::RegisterBroker(record) => self.register_broker(record),
            MetadataRecord::UnregisterBroker(record) => {
                self.broker(record.broker_id, record.broker_epoch)?;
                self.brokers.remove(&record.broker_id);
            }
            MetadataRecord::FenceBroker(record) => self.broker(record.id, record.epoch)?.fenced = true,
            MetadataRecord::UnfenceBroker(record) => self.broker(record.id, record.epoch)?.fenced = false,
            MetadataRecord::BrokerRegistrationChange(record) => self.change_broker(record)?,
            MetadataRecord::RegisterController(record) => self.register_controller(record),
            MetadataRecord::UnregisterController(record) => {
                self.controllers.remove(&record.controller_id);
            }
            MetadataRecord::Topic(record) => self.add_topic(record)?,
            MetadataRecord::RemoveTopic(record) => self.remove_topic(record.topic_id)?,
            MetadataRecord::Partition(record) => self.add_partition(record)?,
            MetadataRecord::PartitionChange(record) => self.change_partition(record)?,
            MetadataRecord::ClearElr(record) => self.clear_elr(&record.topic_name)?,
            MetadataRecord::Config(record) => self.configure(record, touched)?,
            MetadataRecord::FeatureLevel(record) => {
                let features = Arc::make_mut(&mut self.features);
                match record.feature_level {
                    0 => features.remove(&record.name),
                    level => features.insert(record.name.clone(), level),
                };
            }
            MetadataRecord::ProducerIds(record) => self.next_producer_id = record.next_producer_id,
            MetadataRecord::ClientQuota(quota) => {
                let entity = quota
                    .entity
                    .iter()
                    .map(|e| (e.entity_type.clone(), e.entity_name.clone()));
                self.carry(
                    Carried::Quota(entity.collect(), quota.key.clone()),
                    record,
                    !quota.remove,
                );
            }
            MetadataRecord::AccessControlEntry(acl) => self.carry(Carried::Acl(acl.id), record, true),
            MetadataRecord::RemoveAccessControlEntry(acl) => self.carry(Carried::Acl(acl.id), record, false),
            MetadataRecord::UserScramCredential(user) => {
                self.carry(Carried::Scram(user.mechanism, user.name.clone()), record, true);
            }
            MetadataRecord::RemoveUserScramCredential(user) => {
                self.carry(Carried::Scram(user.mechanism, user.name.clone()), record, false);
            }
            MetadataRecord::DelegationToken(token) => self.carry(Carried::Token(token.token_id.clone()), record, true),
            MetadataRecord::RemoveDelegationToken(token) => {
                self.carry(Carried::Token(token.token_id.clone()), record, false);
            }
            // Replay itself deals with transactions. Kafka 4 neither migrates from ZooKeeper nor remembers that it did.
            MetadataRecord::NoOp(_)
            | MetadataRecord::ZkMigrationState(_)
            | MetadataRecord::BeginTransaction(_)
            | MetadataRecord::EndTransaction(_)
            | MetadataRecord::AbortTransaction(_) => {}
        }
        Ok(())
    }

    fn register_broker(&mut self, record: &RegisterBrokerRecord) {
        let endpoints = record.end_points.iter().map(|e| Endpoint {
            listener: e.name.clone(),
            host: e.host.clone(),
            port: e.port,
            security_protocol: e.security_protocol,
        });
        let features = record.features.iter().map(|f| SupportedFeature {
            name: f.name.clone(),
            min: f.min_supported_version,
            max: f.max_supported_version,
        });
        let mut directories = record.log_dirs.clone();
        directories.sort_unstable();
        let broker = BrokerRegistration {
            id: record.broker_id,
            epoch: record.broker_epoch,
            incarnation: record.incarnation_id,
            endpoints: endpoints.collect(),
            features: features.collect(),
            rack: record.rack.clone(),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            directories,
            cordoned_directories: record.cordoned_log_dirs.clone(),
        };
        self.brokers.insert(broker.id, Arc::new(broker));
    }

    fn broker(&mut self, id: NodeId, epoch: i64) -> Result<&mut BrokerRegistration, String> {
        match self.brokers.get_mut(&id) {
            None => Err(format!("broker {id} is not registered")),
            Some(broker) if broker.epoch != epoch => Err(format!(
                "broker {id} is registered with epoch {}, not {epoch}",
                broker.epoch
            )),
            Some(broker) => Ok(Arc::make_mut(broker)),
        }
    }

    fn change_broker(&mut self, record: &BrokerRegistrationChangeRecord) -> Result<(), String> {
        let broker = self.broker(record.broker_id, record.broker_epoch)?;
        // As in Kafka: -1 is no longer so, 0 no change, 1 so from now on.
        let changed = |now: bool, change: i8| match change {
            -1 => Ok(false),
            0 => Ok(now),
            1 => Ok(true),
            other => Err(format!("{other} is not a change")),
        };
        broker.fenced = changed(broker.fenced, record.fenced)?;
        broker.in_controlled_shutdown = changed(broker.in_controlled_shutdown, record.in_controlled_shutdown)?;
        if !record.log_dirs.is_empty() {
            broker.directories = record.log_dirs.clone();
            broker.directories.sort_unstable();
        }
        if let Some(cordoned) = &record.cordoned_log_dirs {
            broker.cordoned_directories = Some(cordoned.clone());
        }
        Ok(())
    }

    fn register_controller(&mut self, record: &RegisterControllerRecord) {
        let endpoints = record.end_points.iter().map(|e| Endpoint {
            listener: e.name.clone(),
            host: e.host.clone(),
            port: e.port,
            security_protocol: e.security_protocol,
        });
        let features = record.features.iter().map(|f| SupportedFeature {
            name: f.name.clone(),
            min: f.min_supported_version,
            max: f.max_supported_version,
        });
        let controller = ControllerRegistration {
            id: record.controller_id,
            incarnation: record.incarnation_id,
            endpoints: endpoints.collect(),
            features: features.collect(),
        };
        self.controllers.insert(controller.id, Arc::new(controller));
    }

    fn add_topic(&mut self, record: &TopicRecord) -> Result<(), String> {
        if let Some(id) = self.topics_by_name.get(&*record.name) {
            return Err(format!("topic {} exists already, with id {id}", record.name));
        }
        let name: Arc<str> = record.name.as_str().into();
        let topic = Topic {
            id: record.topic_id,
            name: name.clone(),
            partitions: Default::default(),
            config: self.default_topic_config.clone(),
        };
        if let Some(before) = self.topics.insert(topic.id, Arc::new(topic)) {
            return Err(format!("topic id {} is {}'s already", before.id, before.name));
        }
        self.metric_names
            .extend(names::metric_name(&name).map(|metric| (metric, name.clone())));
        self.topics_by_name.insert(name, record.topic_id);
        Ok(())
    }

    fn remove_topic(&mut self, id: Uuid) -> Result<(), String> {
        let topic = self.topics.remove(&id).ok_or(format!("no topic has the id {id}"))?;
        self.topics_by_name.remove(&topic.name);
        if let Some(metric) = names::metric_name(&topic.name) {
            self.metric_names.remove(&(metric, topic.name.clone()));
        }
        self.configs.remove(&ConfigResource::topic(&topic.name));
        self.partition_count -= topic.partitions.len();
        Ok(())
    }

    fn topic_mut(&mut self, id: Uuid) -> Result<&mut Topic, String> {
        let topic = self.topics.get_mut(&id).ok_or(format!("no topic has the id {id}"))?;
        Ok(Arc::make_mut(topic))
    }

    fn add_partition(&mut self, record: &PartitionRecord) -> Result<(), String> {
        let registration = PartitionRegistration {
            directories: directories_of(record.replicas.len(), &record.directories)?,
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            elr: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
            adding: record.adding_replicas.clone(),
            removing: record.removing_replicas.clone(),
            leader: record.leader,
            leader_recovery: recovery_of(record.leader_recovery_state)?,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        };
        let partition = record.partition_id;
        if partition < 0 {
            return Err(format!("{partition} is not the number of a partition"));
        }
        let topic = self.topic_mut(record.topic_id)?;
        // Kafka lets a PartitionRecord replace an earlier one of the same partition.
        if topic.partitions.insert(partition, Arc::new(registration)).is_none() {
            self.partition_count += 1;
        }
        Ok(())
    }

    /// Kafka's `PartitionRegistration.merge`.
    fn change_partition(&mut self, record: &PartitionChangeRecord) -> Result<(), String> {
        let topic = self.topic_mut(record.topic_id)?;
        let partition = topic.partitions.get_mut(&record.partition_id).ok_or(format!(
            "topic {} has no partition {}",
            record.topic_id, record.partition_id
        ))?;
        let partition = Arc::make_mut(partition);
        let set = |to: &mut Vec<NodeId>, from: &Option<Vec<NodeId>>| {
            if let Some(from) = from {
                to.clone_from(from);
            }
        };
        set(&mut partition.replicas, &record.replicas);
        set(&mut partition.isr, &record.isr);
        set(&mut partition.removing, &record.removing_replicas);
        set(&mut partition.adding, &record.adding_replicas);
        set(&mut partition.elr, &record.eligible_leader_replicas);
        set(&mut partition.last_known_elr, &record.last_known_elr);
        if record.replicas.is_some() || record.directories.is_some() {
            let directories = record.directories.as_ref().unwrap_or(&partition.directories);
            partition.directories = directories_of(partition.replicas.len(), directories)?;
        }
        if record.leader != NO_LEADER_CHANGE {
            partition.leader = record.leader;
            partition.leader_epoch += 1;
        }
        if record.leader_recovery_state != NO_RECOVERY_CHANGE {
            partition.leader_recovery = recovery_of(record.leader_recovery_state)?;
        }
        partition.partition_epoch += 1;
        Ok(())
    }

    fn clear_elr(&mut self, topic_name: &str) -> Result<(), String> {
        let ids: Vec<Uuid> = match topic_name {
            "" => self.topics.keys().copied().collect(),
            name => vec![
                *self
                    .topics_by_name
                    .get(name)
                    .ok_or(format!("there is no topic {name}"))?,
            ],
        };
        for id in ids {
            let topic = self.topics.get(&id).expect("found above");
            let with_elr = topic
                .partitions
                .iter()
                .filter(|(_, p)| !p.elr.is_empty() || !p.last_known_elr.is_empty());
            let with_elr: Vec<i32> = with_elr.map(|(&partition, _)| partition).collect();
            if with_elr.is_empty() {
                continue;
            }
            let topic = self.topic_mut(id)?;
            for partition in with_elr {
                let partition = Arc::make_mut(topic.partitions.get_mut(&partition).expect("found above"));
                partition.elr.clear();
                partition.last_known_elr.clear();
                partition.partition_epoch += 1;
            }
        }
        Ok(())
    }

    fn configure(&mut self, record: &ConfigRecord, touched: &mut BTreeSet<Touched>) -> Result<(), String> {
        let kind = ResourceKind::from_code(record.resource_type)
            .ok_or(format!("{} is not a type of resource", record.resource_type))?;
        let resource = ConfigResource {
            kind,
            name: record.resource_name.as_str().into(),
        };
        match kind {
            ResourceKind::Topic => touched.insert(Touched::Topic(resource.name.clone())),
            ResourceKind::Broker => touched.insert(Touched::Broker),
            _ => false,
        };
        let mut overrides = self.configs.get(&resource).cloned().unwrap_or_default();
        match &record.value {
            Some(value) => Arc::make_mut(&mut overrides).insert(record.name.clone(), value.clone()),
            None => Arc::make_mut(&mut overrides).remove(&record.name),
        };
        match overrides.is_empty() {
            true => self.configs.remove(&resource),
            false => self.configs.insert(resource, overrides),
        };
        Ok(())
    }

    fn carry(&mut self, key: Carried, record: &MetadataRecord, keep: bool) {
        match keep {
            true => self.carried.insert(key, record.clone()),
            false => self.carried.remove(&key),
        };
    }

    /// Puts the touched configurations in force. Says which values of the log this broker cannot follow; it goes on without
    /// them, because a folder that Kafka wrote may hold settings that we do not have.
    pub(super) fn resolve(&mut self, touched: BTreeSet<Touched>) -> Vec<String> {
        let mut complaints = Vec::new();
        for touched in touched {
            match touched {
                Touched::Broker => self.resolve_broker(&mut complaints),
                Touched::Topic(name) => self.resolve_topic(&name, &mut complaints),
            }
        }
        complaints
    }

    fn resolve_broker(&mut self, complaints: &mut Vec<String>) {
        let of = |resource: &ConfigResource| self.configs.get(resource).map(|o| (**o).clone()).unwrap_or_default();
        let mut sets = [
            of(&ConfigResource::broker(self.node_id)),
            of(&ConfigResource::default_broker()),
        ];
        let config = without_bad_values("this broker", &mut sets, complaints, |[own, default]| {
            self.broker_config.with_dynamic(own, default)
        });
        let Some(config) = config else { return };
        if config == *self.broker_config {
            return;
        }
        let defaults_changed = config.topic != *self.default_topic_config;
        self.broker_config = Arc::new(config);
        if defaults_changed {
            self.default_topic_config = Arc::new(self.broker_config.topic.clone());
            let names: Vec<Arc<str>> = self.topics_by_name.keys().cloned().collect();
            for name in names {
                self.resolve_topic(&name, complaints);
            }
        }
    }

    fn resolve_topic(&mut self, name: &str, complaints: &mut Vec<String>) {
        // The topic may have been removed in the batch that configured it.
        let Some(id) = self.topics_by_name.get(name).copied() else {
            return;
        };
        let config = match self.topic_overrides(name) {
            None => self.default_topic_config.clone(),
            Some(overrides) => {
                let resolved = without_bad_values(name, &mut [(**overrides).clone()], complaints, |[overrides]| {
                    TopicConfig::resolve(&self.broker_config, overrides)
                });
                resolved.map_or_else(|| self.default_topic_config.clone(), Arc::new)
            }
        };
        if self.topics.get(&id).is_some_and(|topic| topic.config != config) {
            self.topic_mut(id).expect("its name is known").config = config;
        }
    }
}

/// What `resolve` makes of `sets` once every value that it refuses is taken out of them.
fn without_bad_values<const N: usize, T>(
    whose: &str,
    sets: &mut [Overrides; N],
    complaints: &mut Vec<String>,
    resolve: impl Fn(&[Overrides; N]) -> Result<T, ConfigError>,
) -> Option<T> {
    loop {
        let error = match resolve(sets) {
            Ok(resolved) => return Some(resolved),
            Err(error) => error,
        };
        complaints.push(format!(
            "the configuration of {whose} is followed without a part of it: {error}"
        ));
        let (ConfigError::UnknownKey { key, .. } | ConfigError::BadValue { key, .. }) = &error else {
            return None;
        };
        let removed = sets.iter_mut().filter_map(|set| set.remove(key)).count();
        if removed == 0 {
            return None;
        }
    }
}

/// In a PartitionChangeRecord: the recovery state stays.
const NO_RECOVERY_CHANGE: i8 = -1;

fn recovery_of(state: i8) -> Result<LeaderRecovery, String> {
    match state {
        0 => Ok(LeaderRecovery::Recovered),
        1 => Ok(LeaderRecovery::Recovering),
        other => Err(format!("{other} is not a leader recovery state")),
    }
}

/// Records from before directories had ids name none.
fn directories_of(replicas: usize, directories: &[Uuid]) -> Result<Vec<Uuid>, String> {
    match directories.len() {
        0 => Ok(vec![DIRECTORY_MIGRATING; replicas]),
        count if count == replicas => Ok(directories.to_vec()),
        count => Err(format!("{replicas} replicas have {count} directories")),
    }
}
