//! Topics: made, grown, removed. Codes and texts are those of Kafka 4.4 (`ControllerApis`, `ReplicationControlManager`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::{self, Overrides, TopicConfig, check_cleanup_policy};
use crate::error::ErrorCode;
use crate::types::{NodeId, TopicId, Uuid};
use crate::wire::metadata_records::{ConfigRecord, MetadataRecord, PartitionRecord, RemoveTopicRecord, TopicRecord};
use crate::wire::topics::*;

use super::configs::check_value_size;
use super::decide::{ApiError, Controller, Decision};
use super::image::{DIRECTORY_MIGRATING, DIRECTORY_UNASSIGNED, Image, ResourceKind, Topic};
use super::names;

/// Partitions that one request may make (`MAX_PARTITIONS_PER_BATCH`).
const REQUEST_PARTITIONS_MAX: usize = 10_000;

/// With more topics than this no request makes any.
pub const TOPICS_CREATED_MAX: usize = REQUEST_PARTITIONS_MAX;

/// The brokers that hold one new partition, the preferred one first.
type Replicas = Vec<NodeId>;

impl Controller {
    pub fn create_topics(&mut self, image: &Image, request: &CreateTopicsRequest) -> Decision<CreateTopicsResponse> {
        let mut response = CreateTopicsResponse::default();
        let duplicates = duplicates(request.topics.iter().map(|topic| topic.name.as_str()));
        let wanted = request.topics.iter();
        let wanted = wanted.filter(|t| !duplicates.contains(&*t.name) && t.name != names::CLUSTER_METADATA);
        let asked: usize = wanted.clone().map(|topic| partitions_asked_for(image, topic)).sum();
        let mut records = Vec::new();
        // Of the topics of this request that are taken so far.
        let mut partitions_added = 0;
        for topic in wanted {
            let created = match asked > REQUEST_PARTITIONS_MAX {
                true => Err(ApiError::new(
                    ErrorCode::PolicyViolation,
                    "Excessively large number of partitions per request.",
                )),
                false => self.create_topic(image, topic, partitions_added),
            };
            response.topics.push(match created {
                Ok(created) => {
                    partitions_added += created.result.num_partitions as usize;
                    records.extend(created.records);
                    created.result
                }
                Err(error) => refused_topic(&topic.name, error),
            });
        }
        for name in &duplicates {
            let error = ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
            response.topics.push(refused_topic(name, error));
        }
        if !duplicates.contains(names::CLUSTER_METADATA)
            && request.topics.iter().any(|t| t.name == names::CLUSTER_METADATA)
        {
            let name = names::CLUSTER_METADATA;
            let why = format!("Creation of internal topic {name} is prohibited.");
            response
                .topics
                .push(refused_topic(name, ApiError::new(ErrorCode::InvalidRequest, why)));
        }
        if request.validate_only {
            records.clear();
        }
        Decision {
            records,
            reply: response,
        }
    }

    /// What a Metadata request creates by asking for topics that are not there: each with the broker's defaults. The reply
    /// says why a name was not created; NONE for one that was.
    ///
    /// The broker's internal topics are not made this way: each is made by the coordinator that it belongs to.
    pub fn auto_create(&mut self, image: &Image, names: &[String]) -> Decision<Vec<(String, ErrorCode)>> {
        let (internal, wanted): (Vec<_>, Vec<_>) = names.iter().cloned().partition(|name| names::is_internal(name));
        let topics = wanted.into_iter().map(|name| CreatableTopic {
            name,
            num_partitions: -1,
            replication_factor: -1,
            ..CreatableTopic::default()
        });
        let request = CreateTopicsRequest {
            topics: topics.collect(),
            ..CreateTopicsRequest::default()
        };
        let created = self.create_topics(image, &request);
        let outcome = |result: CreatableTopicResult| {
            let code = ErrorCode::from_code(result.error_code).unwrap_or(ErrorCode::UnknownServerError);
            (result.name, code)
        };
        let mut reply: Vec<_> = created.reply.topics.into_iter().map(outcome).collect();
        reply.extend(
            internal
                .into_iter()
                .map(|name| (name, ErrorCode::UnknownTopicOrPartition)),
        );
        Decision {
            records: created.records,
            reply,
        }
    }

    fn create_topic(
        &mut self,
        image: &Image,
        topic: &CreatableTopic,
        partitions_added: usize,
    ) -> Result<Created, ApiError> {
        names::check(&topic.name).map_err(|why| ApiError::new(ErrorCode::InvalidTopicException, why))?;
        // Before the collision, which a topic has with itself.
        if image.topic(&topic.name).is_some() {
            let why = format!("Topic '{}' already exists.", topic.name);
            return Err(ApiError::new(ErrorCode::TopicAlreadyExists, why));
        }
        if let Some(other) = names::colliding(image, &topic.name) {
            let why = format!("Topic '{}' collides with existing topic: {other}", topic.name);
            return Err(ApiError::new(ErrorCode::InvalidTopicException, why));
        }
        let overrides = new_overrides(image, &topic.configs)?;
        let partitions = match topic.assignments.is_empty() {
            false => assigned(image, topic)?,
            true => placed(image, topic)?,
        };
        self.check_room(image, partitions_added + partitions.len())?;

        let id = self.random.uuid();
        let mut records: Vec<MetadataRecord> = vec![
            TopicRecord {
                name: topic.name.clone(),
                topic_id: id,
            }
            .into(),
        ];
        records.extend(overrides.iter().map(|(key, value)| {
            MetadataRecord::from(ConfigRecord {
                resource_type: ResourceKind::Topic.code(),
                resource_name: topic.name.clone(),
                name: key.clone(),
                value: Some(value.clone()),
            })
        }));
        let result = CreatableTopicResult {
            name: topic.name.clone(),
            topic_id: id,
            error_message: None,
            num_partitions: partitions.len() as i32,
            replication_factor: partitions[0].len() as i16,
            configs: Some(effective_configs(image, &overrides)),
            ..CreatableTopicResult::default()
        };
        for (index, replicas) in partitions.into_iter().enumerate() {
            records.push(new_partition(image, id, index as i32, replicas).into());
        }
        Ok(Created { records, result })
    }

    fn check_room(&self, image: &Image, more: usize) -> Result<(), ApiError> {
        let there = image.partition_count();
        if there + more <= self.partitions_max {
            return Ok(());
        }
        let why = format!(
            "The journals of this broker have room for {} partitions; it has {there}, and {more} more were asked for. Raise \
             tidemill.journal.bytes.",
            self.partitions_max
        );
        Err(ApiError::new(ErrorCode::PolicyViolation, why))
    }

    pub fn create_partitions(
        &mut self,
        image: &Image,
        request: &CreatePartitionsRequest,
    ) -> Decision<CreatePartitionsResponse> {
        let mut response = CreatePartitionsResponse::default();
        let result = |name: &str, error: Option<ApiError>| CreatePartitionsTopicResult {
            name: name.to_owned(),
            error_code: error.as_ref().map_or(0, |e| e.code.code()),
            error_message: error.and_then(|e| e.message),
        };
        let duplicates = duplicates(request.topics.iter().map(|topic| topic.name.as_str()));
        for name in &duplicates {
            let error = ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
            response.results.push(result(name, Some(error)));
        }
        let mut records = Vec::new();
        for topic in request.topics.iter().filter(|t| !duplicates.contains(&*t.name)) {
            let grown = self.grow_topic(image, topic, records.len());
            response
                .results
                .push(result(&topic.name, grown.as_ref().err().cloned()));
            records.extend(grown.into_iter().flatten());
        }
        if request.validate_only {
            records.clear();
        }
        Decision {
            records,
            reply: response,
        }
    }

    fn grow_topic(
        &self,
        image: &Image,
        request: &CreatePartitionsTopic,
        partitions_added: usize,
    ) -> Result<Vec<MetadataRecord>, ApiError> {
        let topic = image
            .topic(&request.name)
            .ok_or(ApiError::bare(ErrorCode::UnknownTopicOrPartition))?;
        let (count, there) = (request.count, topic.partition_count());
        if count == there {
            let why = format!("Topic already has {there} partition(s).");
            return Err(ApiError::new(ErrorCode::InvalidPartitions, why));
        }
        if count < there {
            let why = format!(
                "The topic {} currently has {there} partition(s); {count} would not be an increase.",
                request.name
            );
            return Err(ApiError::new(ErrorCode::InvalidPartitions, why));
        }
        let additional = (count - there) as usize;
        if let Some(assignments) = &request.assignments
            && assignments.len() != additional
        {
            let why = format!(
                "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, why));
        }
        if additional + partitions_added > REQUEST_PARTITIONS_MAX {
            let why = "Unable to perform excessively large batch operation.";
            return Err(ApiError::new(ErrorCode::PolicyViolation, why));
        }
        self.check_room(image, partitions_added + additional)?;
        let replication_factor = replication_factor_of(topic);
        let partitions: Vec<Replicas> = match &request.assignments {
            None => place(image, there, additional, replication_factor)
                .map_err(|why| ApiError::new(ErrorCode::InvalidReplicationFactor, why))?,
            Some(assignments) => {
                let mut partitions = Vec::with_capacity(additional);
                for (index, assignment) in assignments.iter().enumerate() {
                    check_assignment(image, &assignment.broker_ids, Some(replication_factor))?;
                    check_anyone_active(image, &assignment.broker_ids, there + index as i32)?;
                    partitions.push(assignment.broker_ids.clone());
                }
                partitions
            }
        };
        let records = partitions
            .into_iter()
            .zip(there..)
            .map(|(replicas, index)| new_partition(image, topic.id, index, replicas).into());
        Ok(records.collect())
    }

    /// `version` is the request's: older ones have another word for deletion being switched off.
    pub fn delete_topics(
        &self,
        image: &Image,
        request: &DeleteTopicsRequest,
        version: i16,
    ) -> Decision<DeleteTopicsResponse> {
        let mut answers = Vec::new();
        let mut answer = |name: Option<&str>, id: TopicId, error: Option<ApiError>| {
            answers.push(DeletableTopicResult {
                name: name.map(str::to_owned),
                topic_id: id,
                error_code: error.as_ref().map_or(0, |e| e.code.code()),
                error_message: error.and_then(|e| e.message),
            });
        };
        let invalid = |why: &str| Some(ApiError::new(ErrorCode::InvalidRequest, why));
        let by_name = request.topic_names.iter().map(String::as_str);
        let by_name: Vec<&str> = by_name
            .chain(
                request
                    .topics
                    .iter()
                    .filter(|t| t.topic_id.is_zero())
                    .filter_map(|t| t.name.as_deref()),
            )
            .collect();
        let by_id: Vec<TopicId> = request
            .topics
            .iter()
            .filter(|t| t.name.is_none() && !t.topic_id.is_zero())
            .map(|t| t.topic_id)
            .collect();

        if !image.broker_config.delete_topic_enable {
            let code = match version < 3 {
                true => ErrorCode::InvalidRequest,
                false => ErrorCode::TopicDeletionDisabled,
            };
            for name in by_name {
                answer(Some(name), Uuid::ZERO, Some(ApiError::bare(code)));
            }
            for id in by_id {
                answer(None, id, Some(ApiError::bare(code)));
            }
            return Decision::nothing(DeleteTopicsResponse {
                responses: answers,
                ..DeleteTopicsResponse::default()
            });
        }

        for topic in &request.topics {
            match (&topic.name, topic.topic_id.is_zero()) {
                (None, true) => answer(None, Uuid::ZERO, invalid("Neither topic name nor id were specified.")),
                (Some(name), false) => answer(
                    Some(name),
                    topic.topic_id,
                    invalid("You may not specify both topic name and topic id."),
                ),
                _ => {}
            }
        }
        let duplicate_names = duplicates(by_name.iter().copied());
        for name in &duplicate_names {
            answer(Some(name), Uuid::ZERO, invalid("Duplicate topic name."));
        }
        let duplicate_ids = duplicates(by_id.iter().copied());
        for &id in &duplicate_ids {
            answer(None, id, invalid("Duplicate topic id."));
        }
        let ids: BTreeSet<TopicId> = by_id.iter().copied().collect();
        // Topics that are named by name and by id: neither deletes them.
        let mut named_twice = BTreeSet::new();
        let mut deleted_by_name: Vec<&Arc<Topic>> = Vec::new();
        for name in by_name.into_iter().filter(|name| !duplicate_names.contains(name)) {
            match image.topic(name) {
                None => answer(Some(name), Uuid::ZERO, Some(ApiError::unknown_topic())),
                Some(topic) if ids.contains(&topic.id) => {
                    named_twice.insert(topic.id);
                    let why = "The provided topic name maps to an ID that was already supplied.";
                    answer(Some(name), topic.id, invalid(why));
                }
                Some(topic) => deleted_by_name.push(topic),
            }
        }
        let mut deleted: Vec<&Arc<Topic>> = Vec::new();
        for id in by_id.into_iter().filter(|id| !duplicate_ids.contains(id)) {
            match image.topic_by_id(id) {
                Some(_) if named_twice.contains(&id) => {}
                Some(topic) => deleted.push(topic),
                None => {
                    let error = ApiError::new(ErrorCode::UnknownTopicId, "This server does not host this topic ID.");
                    answer(None, id, Some(error));
                }
            }
        }
        deleted.extend(deleted_by_name);
        let mut records = Vec::new();
        for topic in deleted {
            records.push(RemoveTopicRecord { topic_id: topic.id }.into());
            answer(Some(&topic.name), topic.id, None);
        }
        Decision {
            records,
            reply: DeleteTopicsResponse {
                responses: answers,
                ..DeleteTopicsResponse::default()
            },
        }
    }
}

struct Created {
    records: Vec<MetadataRecord>,
    result: CreatableTopicResult,
}

fn refused_topic(name: &str, error: ApiError) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.to_owned(),
        error_code: error.code.code(),
        error_message: error.message,
        // As Kafka's own struct has it when nobody sets it.
        configs: Some(Vec::new()),
        ..CreatableTopicResult::default()
    }
}

/// What occurs more than once.
fn duplicates<T: Ord + Copy>(all: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    all.filter(|&one| !seen.insert(one)).collect()
}

/// The default counts in full, whatever num.partitions is: Kafka counts 1 and then makes them all.
fn partitions_asked_for(image: &Image, topic: &CreatableTopic) -> usize {
    match topic.assignments.len() {
        0 if topic.num_partitions == -1 => image.broker_config.num_partitions as usize,
        0 => topic.num_partitions.max(0) as usize,
        assigned => assigned,
    }
}

/// The settings of a new topic, checked one by one and together.
fn new_overrides(image: &Image, configs: &[CreatableTopicConfig]) -> Result<Overrides, ApiError> {
    let without_value: Vec<&str> = configs
        .iter()
        .filter(|c| c.value.is_none())
        .map(|c| c.name.as_str())
        .collect();
    if !without_value.is_empty() {
        let why = format!(
            "Null value not supported for topic configs: {}",
            without_value.join(",")
        );
        return Err(ApiError::new(ErrorCode::InvalidConfig, why));
    }
    let overrides: Overrides = configs
        .iter()
        .map(|c| (c.name.clone(), c.value.clone().unwrap_or_default()))
        .collect();
    overrides.values().try_for_each(|value| check_value_size(value))?;
    check_cleanup_policy(&Overrides::new(), &overrides)
        .and_then(|()| TopicConfig::resolve(&image.broker_config, &overrides))
        .map_err(|error| ApiError::new(ErrorCode::InvalidConfig, error.kafka_message()))?;
    Ok(overrides)
}

fn effective_configs(image: &Image, overrides: &Overrides) -> Vec<CreatableTopicConfigs> {
    let mut described = config::describe_topic(&image.broker_config, overrides);
    described.sort_by_key(|entry| entry.name);
    let entries = described.into_iter().map(|entry| CreatableTopicConfigs {
        name: entry.name.to_owned(),
        value: entry.value,
        read_only: false,
        config_source: entry.source as i8,
        is_sensitive: false,
    });
    entries.collect()
}

/// The partitions that the request names one by one.
fn assigned(image: &Image, topic: &CreatableTopic) -> Result<Vec<Replicas>, ApiError> {
    if topic.replication_factor != -1 {
        let why = "A manual partition assignment was specified, but replication factor was not set to -1.";
        return Err(ApiError::new(ErrorCode::InvalidRequest, why));
    }
    if topic.num_partitions != -1 {
        let why = "A manual partition assignment was specified, but numPartitions was not set to -1.";
        return Err(ApiError::new(ErrorCode::InvalidRequest, why));
    }
    let mut partitions: BTreeMap<i32, &Replicas> = BTreeMap::new();
    let mut replication_factor = None;
    for assignment in &topic.assignments {
        let (index, replicas) = (assignment.partition_index, &assignment.broker_ids);
        if partitions.contains_key(&index) {
            let why = format!("Found multiple manual partition assignments for partition {index}");
            return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, why));
        }
        check_assignment(image, replicas, replication_factor)?;
        replication_factor = Some(replicas.len());
        check_anyone_active(image, replicas, index)?;
        partitions.insert(index, replicas);
    }
    if !partitions.keys().copied().eq(0..partitions.len() as i32) {
        let why = "partitions should be a consecutive 0-based integer sequence";
        return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, why));
    }
    Ok(partitions.into_values().cloned().collect())
}

/// Kafka's `validateManualPartitionAssignment`.
fn check_assignment(image: &Image, replicas: &[NodeId], replication_factor: Option<usize>) -> Result<(), ApiError> {
    let invalid = |why: String| Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, why));
    if replicas.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".into());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    for (at, broker) in sorted.iter().enumerate() {
        if !image.brokers.contains_key(broker) {
            return invalid(format!(
                "The manual partition assignment includes broker {broker}, but no such broker is registered."
            ));
        }
        if at > 0 && sorted[at - 1] == *broker {
            return invalid(format!(
                "The manual partition assignment includes the broker {broker} more than once."
            ));
        }
    }
    match replication_factor {
        Some(expected) if expected != replicas.len() => invalid(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with \
             previous partitions, which have {expected} replica(s).",
            replicas.len()
        )),
        _ => Ok(()),
    }
}

fn check_anyone_active(image: &Image, replicas: &[NodeId], partition: i32) -> Result<(), ApiError> {
    if replicas.iter().any(|&broker| image.is_active(broker)) {
        return Ok(());
    }
    let why = format!(
        "All brokers specified in the manual partition assignment for partition {partition} are fenced or in controlled \
         shutdown."
    );
    Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, why))
}

/// The partitions of a request that gives numbers only.
fn placed(image: &Image, topic: &CreatableTopic) -> Result<Vec<Replicas>, ApiError> {
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        let why = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(ApiError::new(ErrorCode::InvalidReplicationFactor, why));
    }
    if topic.num_partitions < -1 || topic.num_partitions == 0 {
        let why = "Number of partitions was set to an invalid non-positive value.";
        return Err(ApiError::new(ErrorCode::InvalidPartitions, why));
    }
    let count = match topic.num_partitions {
        -1 => image.broker_config.num_partitions,
        count => count,
    };
    let replication_factor = match topic.replication_factor {
        -1 => image.broker_config.default_replication_factor as usize,
        factor => factor as usize,
    };
    place(image, 0, count as usize, replication_factor).map_err(|why| {
        let why = format!("Unable to replicate the partition {replication_factor} time(s): {why}");
        ApiError::new(ErrorCode::InvalidReplicationFactor, why)
    })
}

/// Spreads partitions over the brokers, those that serve first: on a single node, all of them onto it. (Kafka's placer also
/// knows racks and shuffles; that comes with more brokers.)
fn place(image: &Image, first: i32, count: usize, replication_factor: usize) -> Result<Vec<Replicas>, String> {
    let (mut brokers, waiting): (Vec<NodeId>, Vec<NodeId>) = image
        .brokers
        .keys()
        .copied()
        .partition(|&broker| image.is_active(broker));
    if brokers.is_empty() {
        return Err("All brokers are currently fenced.".into());
    }
    let registered = brokers.len() + waiting.len();
    if replication_factor > registered {
        return Err(format!(
            "The target replication factor of {replication_factor} cannot be reached because only {registered} \
             broker(s) are registered."
        ));
    }
    let serving = brokers.len();
    brokers.extend(waiting);
    let replicas = |index: usize| {
        let turn = (first as usize + index) % serving;
        let rotated = brokers[turn..serving]
            .iter()
            .chain(&brokers[..turn])
            .chain(&brokers[serving..]);
        rotated.copied().take(replication_factor).collect()
    };
    Ok((0..count).map(replicas).collect())
}

fn replication_factor_of(topic: &Topic) -> usize {
    topic
        .partitions
        .values()
        .next()
        .map_or(1, |partition| partition.replicas.len())
}

/// In sync are all that serve, and the first of them leads.
fn new_partition(image: &Image, topic_id: TopicId, partition_id: i32, replicas: Replicas) -> PartitionRecord {
    let isr: Vec<NodeId> = replicas
        .iter()
        .copied()
        .filter(|&broker| image.is_active(broker))
        .collect();
    PartitionRecord {
        partition_id,
        topic_id,
        leader: isr[0],
        isr,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: replicas.iter().map(|&broker| directory_on(image, broker)).collect(),
        replicas,
        ..PartitionRecord::default()
    }
}

/// Where a new replica goes on `broker`: its folder when it has only one, its own choice when it has more (KIP-858).
fn directory_on(image: &Image, broker: NodeId) -> Uuid {
    match image.brokers.get(&broker).map(|b| b.directories.as_slice()) {
        None | Some([]) => DIRECTORY_MIGRATING,
        Some([only]) => *only,
        Some(_) => DIRECTORY_UNASSIGNED,
    }
}
