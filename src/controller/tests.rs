//! The whole of it: a controller, its log, and what a later process makes of that log.

use std::sync::Arc;

use bytes::Bytes;

use super::image::{ConfigResource, Endpoint, LeaderRecovery};
use super::start::stop_records;
use super::*;
use crate::config::{BrokerConfig, Origin, Pair};
use crate::controller::batch::encode;
use crate::controller::describe::{Asked, describe_cluster, describe_topic_partitions, metadata};
use crate::controller::files::QuorumState;
use crate::controller::snapshot::{SnapshotError, SnapshotId, decode_snapshot, encode_snapshot};
use crate::error::ErrorCode;
use crate::record::StampedBatch;
use crate::types::{Random, Uuid};
use crate::wire::configs::*;
use crate::wire::metadata::*;
use crate::wire::metadata_records::{METADATA_VERSION, MetadataRecord};
use crate::wire::topics::*;

const BATCH_BYTES_MAX: usize = 1 << 20;

fn node() -> Node {
    let endpoint = |listener: &str, port| Endpoint {
        listener: listener.into(),
        host: "127.0.0.1".into(),
        port,
        security_protocol: 0,
    };
    Node {
        id: 1,
        directory_id: Uuid([0xD1; 16]),
        incarnation: Uuid([0x1C; 16]),
        rack: None,
        endpoint: endpoint("PLAINTEXT", 9092),
        controller_endpoint: endpoint("CONTROLLER", 9093),
    }
}

fn config(pairs: &[(&str, &str)]) -> Arc<BrokerConfig> {
    let pair = |&(key, value): &(&str, &str)| Pair {
        key: key.into(),
        value: value.into(),
        origin: Origin::Option("--set"),
    };
    Arc::new(BrokerConfig::from_pairs(&pairs.iter().map(pair).collect::<Vec<_>>()).unwrap())
}

/// A process with its log; everything that it appends is durable at once.
struct Process {
    replay: Replay,
    controller: Controller,
    epoch: i32,
    broker_epoch: i64,
    log: Vec<StampedBatch>,
}

impl Process {
    fn fresh(pairs: &[(&str, &str)]) -> Process {
        Process::over(Vec::new(), None, false, pairs)
    }

    fn over(log: Vec<StampedBatch>, quorum: Option<QuorumState>, unclean: bool, pairs: &[(&str, &str)]) -> Process {
        let mut replay = Replay::new("cluster", 1, config(pairs));
        log.iter().for_each(|batch| replay.apply(batch).unwrap());
        let start = start(&replay, quorum.as_ref(), &node(), unclean, 1000, BATCH_BYTES_MAX).unwrap();
        let mut process = Process {
            replay,
            controller: Controller::new(1, 20_000, Random::new(7)),
            epoch: start.epoch,
            broker_epoch: start.broker_epoch,
            log,
        };
        start.batches.into_iter().for_each(|batch| process.append(batch));
        process
    }

    fn append(&mut self, batch: crate::record::Batch) {
        let batch = batch.stamp(self.replay.next_offset(), self.epoch);
        self.replay.apply(&batch).unwrap();
        self.log.push(batch);
    }

    fn commit(&mut self, records: &[MetadataRecord]) {
        for batch in encode(records, self.image().metadata_version(), 2000, BATCH_BYTES_MAX).unwrap() {
            self.append(batch);
        }
    }

    fn image(&self) -> &Image {
        self.replay.image()
    }

    fn create(&mut self, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
        let request = CreateTopicsRequest {
            topics,
            ..Default::default()
        };
        let decision = self.controller.create_topics(self.replay.image(), &request);
        self.commit(&decision.records);
        decision.reply.topics
    }

    /// The error of creating one topic.
    fn refused(&mut self, topic: CreatableTopic) -> (i16, String) {
        let mut results = self.create(vec![topic]);
        let result = results.remove(0);
        (result.error_code, result.error_message.unwrap_or_default())
    }

    fn restarted(self, unclean: bool) -> Process {
        let quorum = QuorumState::leader(1, self.epoch);
        Process::over(self.log, Some(quorum), unclean, &[])
    }
}

fn topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: -1,
        ..Default::default()
    }
}

fn with_config(mut topic: CreatableTopic, key: &str, value: Option<&str>) -> CreatableTopic {
    topic.configs.push(CreatableTopicConfig {
        name: key.into(),
        value: value.map(str::to_owned),
    });
    topic
}

const ASKED: Asked<'static> = Asked {
    version: 12,
    listener: "PLAINTEXT",
};

#[test]
fn a_fresh_log_begins_as_kafkas_does() {
    let process = Process::fresh(&[]);
    let offsets: Vec<_> = process
        .log
        .iter()
        .map(|b| (b.base_offset, b.is_control(), b.leader_epoch))
        .collect();
    // LeaderChange + KRaftVersion + KRaftVoters; bootstrap; RegisterController; RegisterBroker; unfence.
    assert_eq!(
        offsets,
        [
            (0, true, 1),
            (3, false, 1),
            (12, false, 1),
            (13, false, 1),
            (14, false, 1)
        ]
    );
    let image = process.image();
    assert_eq!(image.features["metadata.version"], 33);
    assert_eq!(image.features.len(), 6);
    let broker = &image.brokers[&1];
    assert_eq!((broker.epoch, broker.fenced), (13, false));
    let defaults = image.overrides(&ConfigResource::default_broker()).unwrap();
    assert_eq!(defaults["min.insync.replicas"], "1");
}

#[test]
fn topics_are_created_with_ids_partitions_and_configs() {
    let mut process = Process::fresh(&[("num.partitions", "3")]);
    let before = process.image().clone();
    let created = process.create(vec![
        with_config(topic("a", 2), "retention.ms", Some("1000")),
        topic("b", -1),
    ]);
    assert!(created.iter().all(|result| result.error_code == 0), "{created:?}");
    assert_eq!((created[0].num_partitions, created[1].num_partitions), (2, 3));
    assert_eq!(created[0].replication_factor, 1);
    let retention = created[0]
        .configs
        .iter()
        .flatten()
        .find(|c| c.name == "retention.ms")
        .unwrap();
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("1000"), 1));

    let image = process.image();
    let a = image.topic("a").unwrap();
    assert_eq!(a.id, created[0].topic_id);
    assert_eq!(a.config.retention_ms, Some(1000));
    let partition = &a.partitions[&1];
    assert_eq!(
        (partition.leader, partition.leader_epoch, partition.partition_epoch),
        (1, 0, 0)
    );
    assert_eq!(partition.directories, [node().directory_id]);
    assert_eq!(partition.leader_recovery, LeaderRecovery::Recovered);

    let delta = Delta::between(&before, image);
    assert_eq!(delta.created.len(), 5);
    assert!(delta.deleted.is_empty() && delta.changed.is_empty() && !delta.brokers_changed);
    assert!(Delta::between(image, &image.clone()).is_empty());
}

#[test]
fn what_cannot_be_created_is_refused_in_kafkas_words() {
    let mut process = Process::fresh(&[]);
    process.create(vec![topic("x_y", 1)]);
    assert_eq!(
        process.refused(topic("x_y", 1)),
        (36, "Topic 'x_y' already exists.".into())
    );
    assert_eq!(
        process.refused(topic("x.y", 1)),
        (17, "Topic 'x.y' collides with existing topic: x_y".into())
    );
    assert_eq!(process.refused(topic("a/b", 1)).0, 17);
    assert_eq!(
        process.refused(topic("p", 0)),
        (
            37,
            "Number of partitions was set to an invalid non-positive value.".into()
        )
    );
    let mut replicated = topic("r", 1);
    replicated.replication_factor = 3;
    assert_eq!(
        process.refused(replicated),
        (
            38,
            "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached because \
             only 1 broker(s) are registered."
                .into()
        )
    );
    assert_eq!(
        process.refused(with_config(topic("c", 1), "retention.ms", None)),
        (40, "Null value not supported for topic configs: retention.ms".into())
    );
    assert!(
        process
            .refused(with_config(topic("c", 1), "retentoin.ms", Some("1")))
            .1
            .contains("Unknown topic config")
    );
    assert_eq!(
        process.refused(topic("huge", 10_001)),
        (44, "Excessively large number of partitions per request.".into())
    );
    assert_eq!(
        process.refused(topic("__cluster_metadata", 1)),
        (
            42,
            "Creation of internal topic __cluster_metadata is prohibited.".into()
        )
    );
    let twice = process.create(vec![topic("t", 1), topic("t", 1), topic("u", 1)]);
    let codes: Vec<_> = twice.iter().map(|r| (r.name.as_str(), r.error_code)).collect();
    assert_eq!(codes, [("u", 0), ("t", 42)]);

    let mut assigned = topic("m", -1);
    for (partition_index, broker_ids) in [(0, vec![1]), (2, vec![1])] {
        assigned.assignments.push(CreatableReplicaAssignment {
            partition_index,
            broker_ids,
        });
    }
    assert_eq!(
        process.refused(assigned.clone()).1,
        "partitions should be a consecutive 0-based integer sequence"
    );
    assigned.assignments[1].broker_ids = vec![4];
    assert_eq!(
        process.refused(assigned.clone()).1,
        "The manual partition assignment includes broker 4, but no such broker is registered."
    );
    assigned.assignments.truncate(1);
    assert_eq!(process.refused(assigned).0, 0);
}

#[test]
fn the_brokers_default_counts_among_the_partitions_of_a_request() {
    let mut process = Process::fresh(&[("num.partitions", "2147483647")]);
    assert_eq!(
        process.refused(topic("huge", -1)),
        (44, "Excessively large number of partitions per request.".into())
    );
    assert_eq!(process.create(vec![topic("small", 2)])[0].error_code, 0);
}

#[test]
fn validating_only_changes_nothing() {
    let mut process = Process::fresh(&[]);
    let request = CreateTopicsRequest {
        topics: vec![topic("v", 4)],
        validate_only: true,
        ..Default::default()
    };
    let decision = process.controller.create_topics(process.replay.image(), &request);
    assert!(decision.records.is_empty());
    assert_eq!(decision.reply.topics[0].num_partitions, 4);
}

#[test]
fn room_for_partitions_ends() {
    let mut process = Process::fresh(&[]);
    process.controller.partitions_max = 5;
    let results = process.create(vec![topic("a", 3), topic("b", 3), topic("c", 2)]);
    let codes: Vec<_> = results.iter().map(|r| r.error_code).collect();
    assert_eq!(codes, [0, 44, 0]);
    assert!(
        results[1]
            .error_message
            .as_ref()
            .unwrap()
            .contains("have room for 5 partitions")
    );
}

#[test]
fn topics_grow() {
    let mut process = Process::fresh(&[]);
    process.create(vec![topic("g", 2)]);
    let mut grow = |count, assignments: Option<Vec<Vec<i32>>>| {
        let assignments = assignments.map(|all| {
            all.into_iter()
                .map(|broker_ids| CreatePartitionsAssignment { broker_ids })
                .collect()
        });
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: "g".into(),
                count,
                assignments,
            }],
            ..Default::default()
        };
        let decision = process.controller.create_partitions(process.replay.image(), &request);
        process.commit(&decision.records);
        let result = decision.reply.results[0].clone();
        (result.error_code, result.error_message.unwrap_or_default())
    };
    assert_eq!(grow(2, None), (37, "Topic already has 2 partition(s).".into()));
    assert_eq!(
        grow(1, None),
        (
            37,
            "The topic g currently has 2 partition(s); 1 would not be an increase.".into()
        )
    );
    assert_eq!(
        grow(4, Some(vec![vec![1]])),
        (
            39,
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.".into()
        )
    );
    assert_eq!(grow(4, None).0, 0);
    assert_eq!(grow(5, Some(vec![vec![1]])).0, 0);
    assert_eq!(process.image().topic("g").unwrap().partition_count(), 5);
    assert_eq!(process.image().partition_count(), 5);
}

#[test]
fn topics_are_deleted_by_name_and_by_id() {
    let mut process = Process::fresh(&[]);
    process.create(vec![
        with_config(topic("a", 2), "retention.ms", Some("5")),
        topic("b", 1),
        topic("c", 1),
    ]);
    let before = process.image().clone();
    let id = |name: &str| before.topic(name).unwrap().id;
    let by = |name: Option<&str>, topic_id| DeleteTopicState {
        name: name.map(str::to_owned),
        topic_id,
    };
    let request = DeleteTopicsRequest {
        topics: vec![
            by(Some("a"), Uuid::ZERO),
            by(None, id("b")),
            by(None, Uuid([9; 16])),
            by(Some("nope"), Uuid::ZERO),
            by(None, Uuid::ZERO),
            by(Some("c"), id("c")),
            by(None, id("c")),
            by(Some("c"), Uuid::ZERO),
        ],
        ..Default::default()
    };
    let decision = process.controller.delete_topics(process.replay.image(), &request, 6);
    process.commit(&decision.records);
    let mut codes: Vec<_> = decision
        .reply
        .responses
        .iter()
        .map(|r| (r.name.clone().unwrap_or_default(), r.error_code))
        .collect();
    codes.sort();
    let expected = [
        ("", 42),
        ("", 100),
        ("a", 0),
        ("b", 0),
        ("c", 42),
        ("c", 42),
        ("nope", 3),
    ];
    assert_eq!(codes, expected.map(|(name, code)| (name.to_owned(), code)));
    let delta = Delta::between(&before, process.image());
    assert_eq!(delta.deleted.len(), 2);
    assert!(process.image().topic_overrides("a").is_none());
    assert_eq!(process.image().partition_count(), 1);

    // Its name is free again, for another topic.
    assert_eq!(process.create(vec![topic("a", 1)])[0].error_code, 0);
    assert_ne!(process.image().topic("a").unwrap().id, id("a"));
}

fn alter(process: &mut Process, kind: i8, name: &str, changes: &[(&str, i8, Option<&str>)]) -> (i16, String) {
    let configs = changes.iter().map(
        |&(name, config_operation, value)| IncrementalAlterConfigsAlterableConfig {
            name: name.into(),
            config_operation,
            value: value.map(str::to_owned),
        },
    );
    let request = IncrementalAlterConfigsRequest {
        resources: vec![IncrementalAlterConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configs: configs.collect(),
        }],
        ..Default::default()
    };
    let decision = process
        .controller
        .incremental_alter_configs(process.replay.image(), &request);
    process.commit(&decision.records);
    let result = decision.reply.responses[0].clone();
    (result.error_code, result.error_message.unwrap_or_default())
}

#[test]
fn topic_configs_are_altered_one_by_one() {
    let mut process = Process::fresh(&[]);
    process.create(vec![topic("t", 1)]);
    let before = process.image().clone();
    assert_eq!(
        alter(
            &mut process,
            2,
            "t",
            &[("retention.ms", 0, Some("77")), ("segment.bytes", 0, Some("2000000"))]
        )
        .0,
        0
    );
    assert_eq!(process.image().topic("t").unwrap().config.retention_ms, Some(77));
    assert_eq!(Delta::between(&before, process.image()).reconfigured.len(), 1);
    let offset = process.image().reached.offset;
    assert_eq!(alter(&mut process, 2, "t", &[("retention.ms", 0, Some("77"))]).0, 0);
    assert_eq!(
        process.image().reached.offset,
        offset,
        "an unchanged value is not written again"
    );
    assert_eq!(alter(&mut process, 2, "t", &[("retention.ms", 1, None)]).0, 0);
    assert_eq!(process.image().topic_overrides("t").unwrap().len(), 1);
    assert_eq!(
        alter(&mut process, 2, "t", &[("retention.ms", 2, Some("1"))]),
        (
            40,
            "Can't APPEND to key retention.ms because its type is not LIST.".into()
        )
    );
    assert_eq!(alter(&mut process, 2, "t", &[("retention.ms", 0, Some("many"))]).0, 40);
    assert_eq!(
        alter(&mut process, 2, "nope", &[]),
        (3, "The topic 'nope' does not exist.".into())
    );
    assert_eq!(
        alter(&mut process, 2, "", &[]).1,
        "Default topic resources are not allowed."
    );
    assert_eq!(
        alter(&mut process, 2, "t", &[("a", 0, None)]).1,
        "Null value not supported for : a"
    );
    assert_eq!(
        alter(
            &mut process,
            2,
            "t",
            &[("retention.ms", 0, Some("1")), ("retention.ms", 1, None)]
        )
        .1,
        "Error due to duplicate config keys"
    );
    assert_eq!(alter(&mut process, 99, "t", &[]).1, "Unknown resource type 99");
    let long = "x".repeat(40_000);
    assert!(
        alter(&mut process, 2, "t", &[("retention.ms", 0, Some(&long))])
            .1
            .contains("maximum value size of 32767")
    );
}

#[test]
fn altering_all_at_once_removes_what_is_not_named() {
    let mut process = Process::fresh(&[]);
    process.create(vec![with_config(topic("t", 1), "retention.ms", Some("5"))]);
    let request = AlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 2,
            resource_name: "t".into(),
            configs: vec![AlterConfigsAlterableConfig {
                name: "segment.bytes".into(),
                value: Some("3000000".into()),
            }],
        }],
        ..Default::default()
    };
    let decision = process.controller.alter_configs(process.replay.image(), &request);
    assert_eq!(decision.reply.responses[0].error_code, 0);
    process.commit(&decision.records);
    let overrides = process.image().topic_overrides("t").unwrap();
    assert_eq!(
        overrides
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect::<Vec<_>>(),
        [("segment.bytes", "3000000")]
    );
}

#[test]
fn a_brokers_default_reaches_its_topics() {
    let mut process = Process::fresh(&[]);
    process.create(vec![
        topic("t", 1),
        with_config(topic("own", 1), "retention.ms", Some("5")),
    ]);
    let before = process.image().clone();
    assert_eq!(
        alter(&mut process, 4, "", &[("log.retention.ms", 0, Some("4242"))]),
        (0, String::new())
    );
    let retention = |process: &Process, name: &str| process.image().topic(name).unwrap().config.retention_ms;
    assert_eq!(
        (retention(&process, "t"), retention(&process, "own")),
        (Some(4242), Some(5))
    );
    let delta = Delta::between(&before, process.image());
    assert!(delta.broker_reconfigured);
    assert_eq!(delta.reconfigured.len(), 1);
    assert_eq!(
        alter(&mut process, 4, "1", &[("num.partitions", 0, Some("9"))]).1,
        "Cannot update these configs dynamically: Set(num.partitions)"
    );
    assert_eq!(
        alter(&mut process, 4, "2", &[]).1,
        "Unexpected broker id, expected 1, but received 2"
    );
    assert_eq!(
        alter(&mut process, 4, "", &[("min.insync.replicas", 1, None)]),
        (
            40,
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.".into()
        )
    );
    assert_eq!(
        alter(&mut process, 4, "1", &[("min.insync.replicas", 0, Some("1"))]),
        (
            40,
            "Broker-level min.insync.replicas cannot be altered while ELR is enabled.".into()
        )
    );
}

#[test]
fn producer_ids_come_in_blocks() {
    let mut process = Process::fresh(&[]);
    for first in [0, 1000] {
        let decision = process
            .controller
            .allocate_producer_ids(process.replay.image(), 1, process.broker_epoch);
        assert_eq!(decision.reply.map(|block| block.first), Ok(first));
        process.commit(&decision.records);
    }
    let stale = process.controller.allocate_producer_ids(process.replay.image(), 1, 3);
    assert_eq!(stale.reply, Err(ErrorCode::StaleBrokerEpoch));
    let process = process.restarted(true);
    assert_eq!(process.image().next_producer_id, 2000);
}

#[test]
fn each_start_is_a_new_epoch_and_an_unclean_one_raises_the_partitions() {
    let mut process = Process::fresh(&[]);
    process.create(vec![topic("t", 2)]);
    let epochs = |process: &Process| {
        process
            .image()
            .topic("t")
            .unwrap()
            .partitions
            .values()
            .map(|p| p.leader_epoch)
            .collect::<Vec<_>>()
    };
    process.commit(&stop_records(1, process.broker_epoch));
    assert!(process.image().brokers[&1].fenced);
    let process = process.restarted(false);
    assert_eq!((process.epoch, epochs(&process)), (2, vec![0, 0]));
    assert!(process.image().is_active(1));
    let process = process.restarted(true);
    assert_eq!((process.epoch, epochs(&process)), (3, vec![1, 1]));
    assert_eq!(process.image().topic("t").unwrap().partitions[&0].partition_epoch, 1);
}

#[test]
fn a_transaction_counts_when_it_ends() {
    let mut process = Process::fresh(&[]);
    let request = CreateTopicsRequest {
        topics: vec![topic("t", 50)],
        ..Default::default()
    };
    let decision = process.controller.create_topics(process.replay.image(), &request);
    let batches = encode(&decision.records, METADATA_VERSION, 1, 1000).unwrap();
    let last = batches.len() - 1;
    assert!(last > 2);
    for (index, batch) in batches.into_iter().enumerate() {
        assert!(process.image().topic("t").is_none());
        if index < last {
            process.append(batch);
        }
    }
    // The process dies before the end is written: the next one aborts it.
    assert!(process.replay.in_transaction());
    let process = process.restarted(true);
    assert!(!process.replay.in_transaction());
    assert!(process.image().topic("t").is_none());
}

#[test]
fn a_snapshot_and_the_log_behind_it_make_the_same_image() {
    let mut process = Process::fresh(&[]);
    for name in 0..40 {
        process.create(vec![with_config(
            topic(&format!("t{name}"), 50),
            "retention.ms",
            Some("9"),
        )]);
    }
    let block = process
        .controller
        .allocate_producer_ids(process.replay.image(), 1, process.broker_epoch);
    process.commit(&block.records);
    let (id, bytes) = encode_snapshot(&process.replay, 3000).unwrap();
    assert_eq!(SnapshotId::parse(&id.file_name()), Some(id));
    let end = process.log.len();
    process.create(vec![topic("later", 1)]);

    let decode = |bytes: &Bytes| decode_snapshot(id, bytes, "cluster", 1, config(&[]));
    let mut replay = decode(&bytes).unwrap();
    process.log[end..].iter().for_each(|batch| replay.apply(batch).unwrap());
    let (old, new) = (process.image(), replay.image());
    assert!(Delta::between(old, new).created.is_empty() && Delta::between(old, new).deleted.is_empty());
    assert!(Delta::between(old, new).changed.is_empty() && Delta::between(old, new).reconfigured.is_empty());
    assert_eq!(
        (old.reached, old.next_producer_id, &old.features),
        (new.reached, new.next_producer_id, &new.features)
    );
    assert_eq!(old.configs, new.configs);
    assert_eq!(old.partition_count(), new.partition_count());
    assert_eq!(
        encode_snapshot(&replay, 1).unwrap(),
        encode_snapshot(&process.replay, 1).unwrap()
    );

    assert_eq!(
        decode(&bytes.slice(..bytes.len() - 75)).unwrap_err(),
        SnapshotError::NoFooter
    );
    assert!(matches!(
        decode(&bytes.slice(..bytes.len() - 5)),
        Err(SnapshotError::Damaged(_))
    ));
    assert!(matches!(decode(&Bytes::new()), Err(SnapshotError::NoFooter)));
}

#[test]
fn metadata_answers_by_name_and_id() {
    let mut process = Process::fresh(&[]);
    process.create(vec![topic("a", 2), topic("b", 1)]);
    let image = process.image();
    let ask = |topics: Option<Vec<(Option<&str>, Uuid)>>, version| {
        let request = MetadataRequest {
            topics: topics.map(|topics| {
                let topic = |(name, topic_id): (Option<&str>, Uuid)| MetadataRequestTopic {
                    name: name.map(str::to_owned),
                    topic_id,
                };
                topics.into_iter().map(topic).collect()
            }),
            ..Default::default()
        };
        metadata(image, &request, Asked { version, ..ASKED })
    };
    let all = ask(None, 12);
    assert_eq!(all.response.topics.len(), 2);
    assert_eq!(all.response.brokers[0].port, 9092);
    assert_eq!(all.response.controller_id, 1);
    let partition = &all.response.topics[0].partitions[1];
    assert_eq!(
        (partition.leader_id, partition.error_code, partition.leader_epoch),
        (1, 0, 0)
    );
    assert_eq!(ask(Some(vec![]), 0).response.topics.len(), 2);
    assert_eq!(ask(Some(vec![]), 1).response.topics.len(), 0);

    let some = ask(
        Some(vec![
            (Some("a"), Uuid::ZERO),
            (Some("new"), Uuid::ZERO),
            (Some("a/b"), Uuid::ZERO),
        ]),
        12,
    );
    let codes: Vec<_> = some.response.topics.iter().map(|t| t.error_code).collect();
    assert_eq!(codes, [0, 3, 17]);
    assert_eq!(some.missing, ["new"]);
    let id = image.topic("b").unwrap().id;
    let by_id = ask(Some(vec![(None, id), (None, Uuid([3; 16]))]), 12);
    assert_eq!(by_id.response.topics[0].name.as_deref(), Some("b"));
    assert_eq!(by_id.response.topics[1].error_code, 100);
    assert_eq!(ask(Some(vec![(None, id)]), 11).response.topics[0].error_code, 42);
}

#[test]
fn topics_appear_when_asked_for() {
    let mut process = Process::fresh(&[]);
    process.create(vec![topic("a.b", 1)]);
    let names = ["new".to_owned(), "a_b".to_owned(), "__consumer_offsets".to_owned()];
    let decision = process.controller.auto_create(process.replay.image(), &names);
    process.commit(&decision.records);
    assert_eq!(
        decision.reply,
        [
            ("new".to_owned(), ErrorCode::None),
            ("a_b".to_owned(), ErrorCode::InvalidTopicException),
            ("__consumer_offsets".to_owned(), ErrorCode::UnknownTopicOrPartition),
        ]
    );
    assert!(process.image().topic("new").is_some());
}

#[test]
fn partitions_are_described_in_pages() {
    let mut process = Process::fresh(&[]);
    process.create(vec![topic("a", 3), topic("b", 3)]);
    let image = process.image();
    let mut request = DescribeTopicPartitionsRequest {
        response_partition_limit: 4,
        ..Default::default()
    };
    let mut pages = Vec::new();
    loop {
        let response = describe_topic_partitions(image, &request, ASKED);
        let page: Vec<_> = response
            .topics
            .iter()
            .map(|t| {
                (
                    t.name.clone().unwrap(),
                    t.partitions.iter().map(|p| p.partition_index).collect::<Vec<_>>(),
                )
            })
            .collect();
        pages.push(page);
        let Some(cursor) = response.next_cursor else { break };
        request.cursor = Some(DescribeTopicPartitionsRequestCursor {
            topic_name: cursor.topic_name,
            partition_index: cursor.partition_index,
        });
    }
    let page = |topics: &[(&str, &[i32])]| {
        topics
            .iter()
            .map(|(n, p)| (n.to_string(), p.to_vec()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        pages,
        [page(&[("a", &[0, 1, 2]), ("b", &[0])]), page(&[("b", &[1, 2])])]
    );
}

#[test]
fn the_cluster_and_its_configs_are_described() {
    let mut process = Process::fresh(&[]);
    process.create(vec![with_config(topic("t", 1), "retention.ms", Some("5"))]);
    let cluster = describe_cluster(process.image(), &DescribeClusterRequest::default(), ASKED);
    assert_eq!(
        (
            cluster.brokers.len(),
            cluster.controller_id,
            cluster.cluster_id.as_str()
        ),
        (1, 1, "cluster")
    );
    let controllers = DescribeClusterRequest {
        endpoint_type: 2,
        ..Default::default()
    };
    assert_eq!(describe_cluster(process.image(), &controllers, ASKED).error_code, 114);

    let ask = |resource_type, name: &str, keys: Option<Vec<&str>>| {
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type,
                resource_name: name.into(),
                configuration_keys: keys.map(|keys| keys.into_iter().map(str::to_owned).collect()),
            }],
            include_synonyms: true,
            ..Default::default()
        };
        describe_configs(process.image(), &request).results.remove(0)
    };
    let retention = ask(2, "t", Some(vec!["retention.ms"]));
    assert_eq!((retention.configs.len(), retention.configs[0].config_source), (1, 1));
    assert!(ask(4, "1", None).configs.len() > 20);
    assert_eq!(ask(4, "", None).configs.len(), 1);
    assert_eq!(ask(2, "nope", None).error_code, 3);
    assert_eq!(ask(4, "7", None).error_code, 42);
}

#[test]
fn a_resource_is_described_once() {
    let mut process = Process::fresh(&[]);
    process.create(vec![topic("t", 1)]);
    let named = [
        (4, "1"),
        (2, "t"),
        (4, "1"),
        (4, "01"),
        (4, "+1"),
        (2, "t"),
        (4, "1"),
        (8, "1"),
    ];
    let request = DescribeConfigsRequest {
        resources: (named.iter())
            .map(|&(resource_type, name)| DescribeConfigsResource {
                resource_type,
                resource_name: name.into(),
                configuration_keys: None,
            })
            .collect(),
        ..Default::default()
    };
    let described = describe_configs(process.image(), &request).results;
    let seen: Vec<_> = (described.iter())
        .map(|result| {
            (
                result.resource_type,
                &*result.resource_name,
                result.error_code,
                result.configs.len() > 20,
            )
        })
        .collect();
    // However the broker's number could be written, it is one resource.
    let expected = [
        (4, "1", 0, true),
        (2, "t", 0, true),
        (4, "01", 42, false),
        (4, "+1", 42, false),
        (8, "1", 0, false),
    ];
    assert_eq!(seen, expected);
    assert_eq!(
        alter(&mut process, 4, "01", &[("log.retention.ms", 0, Some("5"))]).0,
        42
    );
}

#[test]
fn names_collide_by_the_names_of_their_metrics() {
    let mut process = Process::fresh(&[]);
    let (dots, lines) = ("a.b_c.d_e.f_g.h_i.j_k", "a_b.c_d.e_f.g_h.i_j.k");
    process.create(vec![topic("plain", 1), topic("plain.x", 1), topic(dots, 1)]);
    let (code, why) = process.refused(topic(lines, 1));
    assert_eq!(code, 17);
    assert!(why.ends_with(&format!("collides with existing topic: {dots}")), "{why}");
    for free in ["plain_", "plain_y", "a.b_c.d_e.f_g.h_i.j_l", "a.b_c.d_e.f_g.h_i.j"] {
        assert_eq!(process.refused(topic(free, 1)).0, 0, "{free}");
    }
    let request = DeleteTopicsRequest {
        topic_names: vec![dots.into()],
        ..Default::default()
    };
    let decision = process.controller.delete_topics(process.replay.image(), &request, 5);
    process.commit(&decision.records);
    assert_eq!(process.refused(topic(lines, 1)).0, 0);
}

#[test]
fn what_a_client_wrote_is_cut_in_messages() {
    let mut process = Process::fresh(&[]);
    for name in ["x".repeat(32_767), "é".repeat(16_383)] {
        let (code, why) = process.refused(topic(&name, 1));
        assert_eq!(code, 17);
        assert!(why.len() < 300 && why.contains("bytes)"), "{} bytes: {why}", why.len());
    }
    // The answer can be written.
    let results = process.create(vec![topic(&"x".repeat(32_767), 1)]);
    let response = CreateTopicsResponse {
        topics: results,
        ..Default::default()
    };
    crate::wire::frame::response(crate::wire::ApiKey::CreateTopics, 7, 1, &response).unwrap();
}
