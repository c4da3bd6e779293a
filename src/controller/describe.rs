//! Answers that need nothing but an image: Metadata, DescribeCluster, DescribeTopicPartitions.
//!
//! What a version of a response cannot carry is left out when it is written; here are the differences in meaning.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::ErrorCode;
use crate::types::{NodeId, Uuid};
use crate::wire::metadata::*;

use super::image::{BrokerRegistration, Endpoint, Image, NO_LEADER, PartitionRegistration, Topic};
use super::names;

/// What a handler knows about the request beside its body.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub version: i16,
    /// The name of the listener that it came in by: clients are told of endpoints of the same name.
    pub listener: &'a str,
}

/// Operations on a topic, as bits: all that there are, because nobody is refused any as long as there is no authorizer.
const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
/// Operations on the cluster.
const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// An answer to Metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataReply {
    /// With UNKNOWN_TOPIC_OR_PARTITION for what is in `missing`.
    pub response: MetadataResponse,
    /// Topics that the client asked for, that do not exist, and that it and we allow to be created now
    /// ([`Controller::auto_create`](super::Controller::auto_create)); ask again once that is done.
    pub missing: Vec<String>,
}

pub fn metadata(image: &Image, request: &MetadataRequest, asked: Asked<'_>) -> MetadataReply {
    let mut reply = MetadataReply {
        response: MetadataResponse {
            brokers: alive(image, asked.listener).map(metadata_broker).collect(),
            cluster_id: Some(image.cluster_id.to_string()),
            controller_id: a_controller(image),
            ..MetadataResponse::default()
        },
        missing: Vec::new(),
    };
    if request.include_cluster_authorized_operations {
        reply.response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    match &request.topics {
        None => reply.every_topic(image, asked),
        // Before null could be sent, an empty list meant all.
        Some(topics) if topics.is_empty() && asked.version == 0 => reply.every_topic(image, asked),
        Some(topics) => reply.these_topics(image, request, topics, asked),
    }
    if request.include_topic_authorized_operations {
        for topic in &mut reply.response.topics {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    reply
}

impl MetadataReply {
    fn every_topic(&mut self, image: &Image, asked: Asked<'_>) {
        let topics = image
            .topics_by_name_from("")
            .map(|topic| metadata_topic(image, topic, asked));
        self.response.topics.extend(topics);
    }

    fn these_topics(
        &mut self,
        image: &Image,
        request: &MetadataRequest,
        topics: &[MetadataRequestTopic],
        asked: Asked<'_>,
    ) {
        // Kafka refuses the whole request then, and its error for that names every topic.
        let impossible = |t: &MetadataRequestTopic| asked.version < 12 && (t.name.is_none() || !t.topic_id.is_zero());
        if topics.iter().any(impossible) {
            let refused = topics.iter().map(|topic| MetadataResponseTopic {
                error_code: ErrorCode::InvalidRequest.code(),
                name: Some(topic.name.clone().unwrap_or_default()),
                topic_id: topic.topic_id,
                ..MetadataResponseTopic::default()
            });
            self.response.topics.extend(refused);
            return;
        }
        let may_create = request.allow_auto_topic_creation && image.broker_config.auto_create_topics_enable;
        let by_id = topics.iter().any(|topic| !topic.topic_id.is_zero());
        let mut seen = BTreeSet::new();
        for wanted in topics {
            let found = match (by_id, &wanted.name) {
                (true, _) if wanted.topic_id.is_zero() => continue,
                (true, _) => image.topic_by_id(wanted.topic_id),
                (false, Some(name)) => image.topic(name),
                (false, None) => None,
            };
            if !seen.insert((wanted.topic_id, wanted.name.as_deref().filter(|_| !by_id))) {
                continue;
            }
            let answer = match (found, &wanted.name) {
                (Some(topic), _) => metadata_topic(image, topic, asked),
                (None, Some(name)) if !by_id => {
                    let code = match names::check(name) {
                        Err(_) => ErrorCode::InvalidTopicException,
                        Ok(()) => ErrorCode::UnknownTopicOrPartition,
                    };
                    if may_create && code == ErrorCode::UnknownTopicOrPartition && !names::is_internal(name) {
                        self.missing.push(name.clone());
                    }
                    missing_topic(code, Some(name), Uuid::ZERO)
                }
                (None, None) if wanted.topic_id.is_zero() => {
                    missing_topic(ErrorCode::InvalidRequest, Some(""), Uuid::ZERO)
                }
                (None, _) => missing_topic(ErrorCode::UnknownTopicId, None, wanted.topic_id),
            };
            self.response.topics.push(answer);
        }
    }
}

fn missing_topic(code: ErrorCode, name: Option<&str>, topic_id: Uuid) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: code.code(),
        name: name.map(str::to_owned),
        topic_id,
        is_internal: name.is_some_and(names::is_internal),
        ..MetadataResponseTopic::default()
    }
}

fn metadata_broker((broker, endpoint): (&Arc<BrokerRegistration>, &Endpoint)) -> MetadataResponseBroker {
    MetadataResponseBroker {
        node_id: broker.id,
        host: endpoint.host.clone(),
        port: endpoint.port.into(),
        rack: broker.rack.clone(),
    }
}

fn metadata_topic(image: &Image, topic: &Topic, asked: Asked<'_>) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter();
    MetadataResponseTopic {
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: names::is_internal(&topic.name),
        partitions: partitions
            .map(|(&index, partition)| metadata_partition(image, index, partition, asked))
            .collect(),
        ..MetadataResponseTopic::default()
    }
}

fn metadata_partition(
    image: &Image,
    partition_index: i32,
    partition: &PartitionRegistration,
    asked: Asked<'_>,
) -> MetadataResponsePartition {
    // The first version knew only replicas that can be reached, and an error for the others.
    let shown = |nodes: &[NodeId]| -> Vec<NodeId> {
        let reachable = |node: &NodeId| asked.version > 0 || is_alive(image, *node, asked.listener);
        nodes.iter().copied().filter(reachable).collect()
    };
    let (replica_nodes, isr_nodes) = (shown(&partition.replicas), shown(&partition.isr));
    let leader = image.brokers.get(&partition.leader);
    let (leader_id, error) = match leader {
        None => (NO_LEADER, ErrorCode::LeaderNotAvailable),
        Some(broker) if broker.endpoint(asked.listener).is_none() => match asked.version >= 6 {
            true => (NO_LEADER, ErrorCode::ListenerNotFound),
            false => (NO_LEADER, ErrorCode::LeaderNotAvailable),
        },
        Some(_) if replica_nodes.len() < partition.replicas.len() || isr_nodes.len() < partition.isr.len() => {
            (partition.leader, ErrorCode::ReplicaNotAvailable)
        }
        Some(_) => (partition.leader, ErrorCode::None),
    };
    MetadataResponsePartition {
        error_code: error.code(),
        partition_index,
        leader_id,
        leader_epoch: partition.leader_epoch,
        replica_nodes,
        isr_nodes,
        offline_replicas: offline(image, partition, asked.listener),
    }
}

/// Brokers that clients may be sent to, with where they listen for them.
fn alive<'a>(image: &'a Image, listener: &str) -> impl Iterator<Item = (&'a Arc<BrokerRegistration>, &'a Endpoint)> {
    let brokers = image.brokers.values().filter(|broker| !broker.fenced);
    brokers.filter_map(move |broker| Some((broker, broker.endpoint(listener)?)))
}

fn is_alive(image: &Image, node: NodeId, listener: &str) -> bool {
    image
        .brokers
        .get(&node)
        .is_some_and(|broker| !broker.fenced && broker.endpoint(listener).is_some())
}

/// Any broker that lives: it would pass on what is for the controller. (Kafka takes one at random.)
fn a_controller(image: &Image) -> NodeId {
    image
        .brokers
        .values()
        .find(|broker| !broker.fenced)
        .map_or(-1, |broker| broker.id)
}

fn offline(image: &Image, partition: &PartitionRegistration, listener: &str) -> Vec<NodeId> {
    let serves = |node: NodeId| {
        let directory = partition.directory_of(node).unwrap_or_default();
        is_alive(image, node, listener)
            && image
                .brokers
                .get(&node)
                .is_some_and(|broker| broker.has_online_directory(directory))
    };
    partition
        .replicas
        .iter()
        .copied()
        .filter(|&node| !serves(node))
        .collect()
}

pub fn describe_cluster(image: &Image, request: &DescribeClusterRequest, asked: Asked<'_>) -> DescribeClusterResponse {
    const BROKERS: i8 = 1;
    const CONTROLLERS: i8 = 2;
    let refused = |code: ErrorCode, why: String| DescribeClusterResponse {
        // The first version had no word for it.
        error_code: if asked.version == 0 {
            ErrorCode::InvalidRequest
        } else {
            code
        }
        .code(),
        error_message: Some(why),
        ..DescribeClusterResponse::default()
    };
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            let why =
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            return refused(ErrorCode::MismatchedEndpointType, why.into());
        }
        other => {
            return refused(
                ErrorCode::UnsupportedEndpointType,
                format!("Unsupported endpoint type {other}"),
            );
        }
    }
    let brokers = image
        .brokers
        .values()
        .filter(|broker| !broker.fenced || request.include_fenced_brokers);
    let brokers = brokers.filter_map(|broker| {
        let endpoint = broker.endpoint(asked.listener)?;
        Some(DescribeClusterBroker {
            broker_id: broker.id,
            host: endpoint.host.clone(),
            port: endpoint.port.into(),
            rack: broker.rack.clone(),
            is_fenced: broker.fenced,
        })
    });
    DescribeClusterResponse {
        cluster_id: image.cluster_id.to_string(),
        controller_id: a_controller(image),
        brokers: brokers.collect(),
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => CLUSTER_OPERATIONS,
            false => i32::MIN,
        },
        ..DescribeClusterResponse::default()
    }
}

/// Topics in the order of their names, and no more partitions than asked for (KIP-966): the cursor says where to go on.
pub fn describe_topic_partitions(
    image: &Image,
    request: &DescribeTopicPartitionsRequest,
    asked: Asked<'_>,
) -> DescribeTopicPartitionsResponse {
    let mut response = DescribeTopicPartitionsResponse::default();
    let cursor = request.cursor.as_ref();
    let from = cursor.map_or("", |cursor| cursor.topic_name.as_str());
    let named: BTreeSet<&str> = request
        .topics
        .iter()
        .map(|topic| topic.name.as_str())
        .filter(|name| *name >= from)
        .collect();
    let impossible = |cursor: &DescribeTopicPartitionsRequestCursor| {
        cursor.partition_index < 0 || (!request.topics.is_empty() && !named.contains(&*cursor.topic_name))
    };
    if cursor.is_some_and(impossible) {
        let refused = request.topics.iter().map(|topic| DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::InvalidRequest.code(),
            name: Some(topic.name.clone()),
            ..DescribeTopicPartitionsResponseTopic::default()
        });
        response.topics = refused.collect();
        return response;
    }
    let wanted: Box<dyn Iterator<Item = (&str, Option<&Arc<Topic>>)>> = match request.topics.is_empty() {
        true => Box::new(image.topics_by_name_from(from).map(|topic| (&*topic.name, Some(topic)))),
        false => Box::new(named.iter().map(|&name| (name, image.topic(name)))),
    };
    let room_max = image.broker_config.max_request_partition_size_limit;
    let mut room = request.response_partition_limit.clamp(1, room_max);
    for (name, topic) in wanted {
        let go_on_at = |partition_index| {
            Some(DescribeTopicPartitionsResponseCursor {
                topic_name: name.to_owned(),
                partition_index,
            })
        };
        if room == 0 {
            response.next_cursor = go_on_at(0);
            break;
        }
        let Some(topic) = topic else {
            let code = match names::check(name) {
                Ok(()) => ErrorCode::UnknownTopicOrPartition,
                Err(_) => ErrorCode::InvalidTopicException,
            };
            response.topics.push(DescribeTopicPartitionsResponseTopic {
                error_code: code.code(),
                name: Some(name.to_owned()),
                is_internal: names::is_internal(name),
                topic_authorized_operations: TOPIC_OPERATIONS,
                ..DescribeTopicPartitionsResponseTopic::default()
            });
            continue;
        };
        let first = cursor
            .filter(|cursor| cursor.topic_name == name)
            .map_or(0, |cursor| cursor.partition_index);
        let end = first.saturating_add(room).min(topic.partition_count());
        let partitions = topic.partitions.range(first..end.max(first));
        let partitions: Vec<_> = partitions
            .map(|(&index, partition)| described_partition(image, index, partition, asked))
            .collect();
        room -= partitions.len() as i32;
        response.topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(name.to_owned()),
            topic_id: topic.id,
            is_internal: names::is_internal(name),
            partitions,
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..DescribeTopicPartitionsResponseTopic::default()
        });
        if end < topic.partition_count() {
            response.next_cursor = go_on_at(end);
            break;
        }
    }
    response
}

fn described_partition(
    image: &Image,
    partition_index: i32,
    partition: &PartitionRegistration,
    asked: Asked<'_>,
) -> DescribeTopicPartitionsResponsePartition {
    let reachable = image
        .brokers
        .get(&partition.leader)
        .is_some_and(|b| b.endpoint(asked.listener).is_some());
    DescribeTopicPartitionsResponsePartition {
        error_code: 0,
        partition_index,
        leader_id: if reachable { partition.leader } else { NO_LEADER },
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: partition.isr.clone(),
        eligible_leader_replicas: Some(partition.elr.clone()),
        last_known_elr: Some(partition.last_known_elr.clone()),
        offline_replicas: offline(image, partition, asked.listener),
    }
}
