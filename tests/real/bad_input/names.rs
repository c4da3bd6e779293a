//! Topics, partitions and configs that are not there, or cannot be: Kafka's codes, and a message that says what to change.

use tidemill::error::ErrorCode;
use tidemill::types::Uuid;
use tidemill::wire::api::Request;
use tidemill::wire::configs::*;
use tidemill::wire::metadata::*;
use tidemill::wire::offsets::*;
use tidemill::wire::produce_fetch::*;
use tidemill::wire::topics::*;

use crate::broker::{Broker, complaints, wait_for};
use crate::client::{Client, Neighbour, batch};

struct Fixture {
    _folder: tempfile::TempDir,
    broker: Broker,
    neighbour: Neighbour,
    client: Client,
}

/// A broker with the topic `a.b` of two partitions.
fn fixture(settings: &[&str]) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), settings);
    let neighbour = Neighbour::new(broker.address());
    let mut client = Client::connect(broker.address());
    client.create("a.b", 2, &[]);
    Fixture {
        _folder: folder,
        broker,
        neighbour,
        client,
    }
}

impl Fixture {
    /// The code, and every one of these words in the message.
    #[track_caller]
    fn expect(&mut self, expected: ErrorCode, code: i16, message: Option<String>, words: &[&str]) {
        let message = message.unwrap_or_default();
        assert_eq!(code, expected.code(), "{message}");
        for word in words {
            assert!(message.contains(word), "{word:?} is not in {message:?}");
        }
        self.neighbour.is_served();
    }

    #[track_caller]
    fn call<R: Request>(&mut self, request: R, version: i16) -> R::Response {
        self.client.call(&request, version)
    }

    /// Nothing of all this is worth a line, and all of it is over.
    fn end(self) {
        let log = self.broker.stop();
        assert!(complaints(&log).is_empty(), "{log}");
    }
}

#[test]
fn topics_that_cannot_be() {
    use ErrorCode::{
        InvalidConfig, InvalidPartitions, InvalidReplicationFactor, InvalidTopicException, TopicAlreadyExists,
    };
    let mut fixture = fixture(&[]);
    let long = "x".repeat(250);
    // Name, partitions, configs; code, and words of the message.
    type Case<'a> = (&'a str, i32, &'a [(&'a str, &'a str)], ErrorCode, &'a [&'a str]);
    let cases: [Case; 14] = [
        ("", 1, &[], InvalidTopicException, &["empty"]),
        (".", 1, &[], InvalidTopicException, &["'.'"]),
        ("..", 1, &[], InvalidTopicException, &["'..'"]),
        (
            "a topic",
            1,
            &[],
            InvalidTopicException,
            &["a topic", "ASCII alphanumerics"],
        ),
        ("tópico", 1, &[], InvalidTopicException, &["tópico"]),
        (&long, 1, &[], InvalidTopicException, &["249"]),
        ("a_b", 1, &[], InvalidTopicException, &["a_b", "collide", "a.b"]),
        ("a.b", 1, &[], TopicAlreadyExists, &["a.b", "already exists"]),
        ("none", 0, &[], InvalidPartitions, &["partitions", "non-positive"]),
        ("none", -7, &[], InvalidPartitions, &["partitions", "non-positive"]),
        (
            "config",
            1,
            &[("no.such.config", "1")],
            InvalidConfig,
            &["no.such.config"],
        ),
        (
            "config",
            1,
            &[("retention.ms", "soon")],
            InvalidConfig,
            &["retention.ms", "soon", "LONG"],
        ),
        (
            "config",
            1,
            &[("segment.bytes", "1")],
            InvalidConfig,
            &["segment.bytes", "1048576"],
        ),
        (
            "config",
            1,
            &[("cleanup.policy", "compact")],
            InvalidConfig,
            &["cleanup.policy"],
        ),
    ];
    for (name, partitions, configs, code, words) in cases {
        let created = fixture.client.try_create(name, partitions, configs);
        fixture.expect(code, created.error_code, created.error_message, words);
    }
    let assigned = |topic: &str, replicas: &[i32], replication_factor: i16| CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: topic.into(),
            num_partitions: if replicas.is_empty() { 1 } else { -1 },
            replication_factor,
            assignments: (0..i32::from(!replicas.is_empty()))
                .map(|partition_index| CreatableReplicaAssignment {
                    partition_index,
                    broker_ids: replicas.to_vec(),
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let cases: [(&[i32], i16, ErrorCode, &[&str]); 4] = [
        (&[], 3, InvalidReplicationFactor, &["3 time(s)", "only 1 broker(s)"]),
        (&[], 0, InvalidReplicationFactor, &["larger than 0"]),
        (&[7], -1, ErrorCode::InvalidReplicaAssignment, &["7"]),
        (
            &[1, 1],
            -1,
            ErrorCode::InvalidReplicaAssignment,
            &["broker 1 more than once"],
        ),
    ];
    for (replicas, factor, code, words) in cases {
        let created = fixture.call(assigned("replicas", replicas, factor), 7).topics.remove(0);
        fixture.expect(code, created.error_code, created.error_message, words);
    }
    fixture.end();
}

#[test]
fn topics_and_partitions_that_are_not_there() {
    use ErrorCode::{UnknownTopicId, UnknownTopicOrPartition};
    let mut fixture = fixture(&["auto.create.topics.enable=false"]);
    for (topic, partition) in [("nowhere", 0), ("a.b", 2), ("a.b", -1), ("bad name", 0)] {
        let produced = fixture
            .client
            .produce(topic, &[(partition, batch(&["lost"]))])
            .remove(0);
        fixture.expect(UnknownTopicOrPartition, produced.error_code, None, &[]);

        let list = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: topic.into(),
                partitions: vec![ListOffsetsPartition {
                    partition_index: partition,
                    timestamp: -1,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let listed = fixture.call(list, 7).topics.remove(0).partitions.remove(0);
        fixture.expect(UnknownTopicOrPartition, listed.error_code, None, &[]);

        let delete = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: topic.into(),
                partitions: vec![DeleteRecordsPartition {
                    partition_index: partition,
                    offset: 1,
                }],
            }],
            timeout_ms: 1000,
        };
        let deleted = fixture.call(delete, 2).topics.remove(0).partitions.remove(0);
        fixture.expect(UnknownTopicOrPartition, deleted.error_code, None, &[]);
    }
    let fetched = fixture.client.fetch("nowhere", 0);
    fixture.expect(UnknownTopicOrPartition, fetched.error_code, None, &[]);
    let fetched = fixture.client.fetch("a.b", 5);
    fixture.expect(ErrorCode::OffsetOutOfRange, fetched.error_code, None, &[]);

    let by_id = ProduceRequest {
        acks: -1,
        topic_data: vec![TopicProduceData {
            topic_id: Uuid([7; 16]),
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(batch(&["lost"])),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let produced = fixture
        .call(by_id, 13)
        .responses
        .remove(0)
        .partition_responses
        .remove(0);
    fixture.expect(UnknownTopicId, produced.error_code, None, &[]);

    for (name, code) in [
        ("nowhere", UnknownTopicOrPartition),
        ("bad name", ErrorCode::InvalidTopicException),
    ] {
        let ask = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(name.into()),
                ..Default::default()
            }]),
            ..Default::default()
        };
        let told = fixture.call(ask, 12).topics.remove(0);
        fixture.expect(code, told.error_code, None, &[]);
    }
    let delete = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some("nowhere".into()),
            topic_id: Uuid::ZERO,
        }],
        ..Default::default()
    };
    let deleted = fixture.call(delete, 6).responses.remove(0);
    fixture.expect(
        UnknownTopicOrPartition,
        deleted.error_code,
        deleted.error_message,
        &["does not host"],
    );
    for (topic, count, code, words) in [
        ("nowhere", 3, UnknownTopicOrPartition, ""),
        ("a.b", 2, ErrorCode::InvalidPartitions, "already has 2 partition(s)"),
        ("a.b", 1, ErrorCode::InvalidPartitions, "would not be an increase"),
    ] {
        let grow = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: topic.into(),
                count,
                assignments: None,
            }],
            ..Default::default()
        };
        let grown = fixture.call(grow, 3).results.remove(0);
        fixture.expect(code, grown.error_code, grown.error_message, &[words]);
    }
    fixture.end();
}

#[test]
fn configs_that_cannot_be() {
    use ErrorCode::{InvalidConfig, InvalidRequest, UnknownTopicOrPartition};
    const TOPIC: i8 = 2;
    const BROKER: i8 = 4;
    let mut fixture = fixture(&[]);
    // Type and name of the resource, key, value; code, and words of the message.
    type Case<'a> = (i8, &'a str, &'a str, &'a str, ErrorCode, &'a [&'a str]);
    let cases: [Case; 7] = [
        (
            TOPIC,
            "a.b",
            "retention.ms",
            "x",
            InvalidConfig,
            &["retention.ms", "x", "LONG"],
        ),
        (
            TOPIC,
            "a.b",
            "max.message.bytes",
            "-1",
            InvalidConfig,
            &["max.message.bytes", "at least 0"],
        ),
        (TOPIC, "a.b", "no.such.config", "1", InvalidConfig, &["no.such.config"]),
        (
            TOPIC,
            "a.b",
            "cleanup.policy",
            "compact",
            InvalidConfig,
            &["cleanup.policy"],
        ),
        (TOPIC, "nowhere", "retention.ms", "1", UnknownTopicOrPartition, &[]),
        (BROKER, "1", "num.partitions", "3", InvalidRequest, &["num.partitions"]),
        (BROKER, "1", "no.such.config", "3", InvalidRequest, &["no.such.config"]),
    ];
    for (kind, name, key, value, code, words) in cases {
        let alter = IncrementalAlterConfigsRequest {
            resources: vec![IncrementalAlterConfigsResource {
                resource_type: kind,
                resource_name: name.into(),
                configs: vec![IncrementalAlterConfigsAlterableConfig {
                    name: key.into(),
                    config_operation: 0,
                    value: Some(value.into()),
                }],
            }],
            ..Default::default()
        };
        let altered = fixture.call(alter, 1).responses.remove(0);
        fixture.expect(code, altered.error_code, altered.error_message, words);
    }
    let describe = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: "nowhere".into(),
            configuration_keys: None,
        }],
        ..Default::default()
    };
    let described = fixture.call(describe, 4).results.remove(0);
    fixture.expect(
        UnknownTopicOrPartition,
        described.error_code,
        described.error_message,
        &[],
    );
    fixture.end();
}

/// What a folder of such a topic is renamed to has no room for the whole name, and must still tell partitions apart.
#[test]
fn the_longest_name_is_deleted_and_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let name = "x".repeat(249);
    let settings = ["log.segment.delete.delay.ms=0"];
    let folders = |what: &str| {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.starts_with("xx") && name.contains(what))
            .count()
    };
    let mut log = String::new();
    let mut made = |broker: Broker, client: &mut Client, round: usize| {
        client.create(&name, 3, &[]);
        let batches = [0, 1, 2].map(|partition| (partition, batch(&["kept"])));
        for produced in client.produce(&name, &batches) {
            assert_eq!((produced.error_code, produced.base_offset), (0, 0), "round {round}");
        }
        wait_for("the folders", || {
            (folders("") == 3 && folders("-delete") == 0).then_some(())
        });
        log += &if round == 2 { broker.stop() } else { broker.kill() };
    };
    for round in 0..3 {
        let broker = Broker::start(folder.path(), &settings);
        let mut client = Client::connect(broker.address());
        if round > 0 {
            assert_eq!(client.values(&name, 0), [(0, "kept".to_string())]);
            let delete = DeleteTopicsRequest {
                topics: vec![DeleteTopicState {
                    name: Some(name.clone()),
                    topic_id: Uuid::ZERO,
                }],
                ..Default::default()
            };
            assert_eq!(client.call(&delete, 6).responses[0].error_code, 0);
        }
        made(broker, &mut client, round);
    }
    // A folder that another topic left under the name is moved away by a start.
    let other = format!("version: 0\ntopic_id: {}", Uuid([9; 16]));
    std::fs::write(folder.path().join(format!("{name}-1/partition.metadata")), other).unwrap();
    let broker = Broker::start(folder.path(), &settings);
    assert_eq!(folders("-stray"), 1);
    wait_for("the folders", || (folders("") == 4).then_some(()));
    broker.stop();
    assert!(complaints(&log).is_empty(), "{log}");
}
