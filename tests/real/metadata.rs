//! The metadata log and the KRaft folder as Kafka 4.4 itself reads and continues them. One folder is made from the
//! controller's own bytes, so that it has every kind of record, another by the real binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tidemill::config::BrokerConfig;
use tidemill::controller::batch::encode;
use tidemill::controller::files::{METADATA_FOLDER, QUORUM_STATE, QuorumState};
use tidemill::controller::image::Endpoint;
use tidemill::controller::snapshot::{SnapshotId, decode_snapshot, encode_snapshot, format_files};
use tidemill::controller::start::{self, stop_records};
use tidemill::controller::{Controller, Node, Replay};
use tidemill::record::scan::{Depth, Scan};
use tidemill::record::{Batch, Stop};
use tidemill::types::{Random, Uuid};
use tidemill::wire::configs::*;
use tidemill::wire::metadata_records::{METADATA_VERSION, MetadataRecord};
use tidemill::wire::topics::*;

use crate::client::{Client, now_ms};

const LOG: &str = "00000000000000000000.log";

/// A data folder with the log of a process that made a few topics and stopped cleanly.
struct Folder {
    dir: PathBuf,
    replay: Replay,
    epoch: i32,
    log: Vec<u8>,
}

fn config() -> Arc<BrokerConfig> {
    Arc::new(BrokerConfig::default())
}

fn node(port: u16) -> Node {
    let endpoint = |listener: &str, port| Endpoint {
        listener: listener.into(),
        host: "127.0.0.1".into(),
        port,
        security_protocol: 0,
    };
    Node {
        id: 1,
        directory_id: Random::new(1).uuid(),
        incarnation: Random::new(2).uuid(),
        rack: None,
        endpoint: endpoint("PLAINTEXT", port),
        controller_endpoint: endpoint("CONTROLLER", port + 1),
    }
}

impl Folder {
    fn make(dir: &Path, port: u16) -> Folder {
        let cluster_id = Random::new(3).uuid().to_string();
        let node = node(port);
        fs::create_dir_all(dir.join(METADATA_FOLDER)).unwrap();
        for (path, content) in format_files(&cluster_id, &node, now_ms()).unwrap() {
            fs::write(dir.join(path), content).unwrap();
        }
        let replay = Replay::new(&cluster_id, 1, config());
        let start = start::start(&replay, None, &node, false, now_ms(), 1 << 20).unwrap();
        let mut folder = Folder {
            dir: dir.to_owned(),
            replay,
            epoch: start.epoch,
            log: Vec::new(),
        };
        start.batches.into_iter().for_each(|batch| folder.append(batch));
        folder.change();
        folder.commit(&stop_records(1, start.broker_epoch));
        folder.write(&start.quorum_state);
        folder
    }

    fn append(&mut self, batch: Batch) {
        let batch = batch.stamp(self.replay.next_offset(), self.epoch);
        self.replay.apply(&batch).unwrap();
        self.log.extend_from_slice(batch.bytes());
    }

    fn commit(&mut self, records: &[MetadataRecord]) {
        // Small batches, so that one of the topics becomes a transaction.
        for batch in encode(records, METADATA_VERSION, now_ms(), 1000).unwrap() {
            self.append(batch);
        }
    }

    fn change(&mut self) {
        let mut controller = Controller::new(1, 10_000, Random::new(4));
        let topic = |name: &str, num_partitions| CreatableTopic {
            name: name.into(),
            num_partitions,
            replication_factor: -1,
            configs: vec![CreatableTopicConfig {
                name: "retention.ms".into(),
                value: Some("86400000".into()),
            }],
            ..Default::default()
        };
        for (name, partitions) in [("small", 2), ("large", 40), ("gone", 1)] {
            let request = CreateTopicsRequest {
                topics: vec![topic(name, partitions)],
                ..Default::default()
            };
            let decision = controller.create_topics(self.replay.image(), &request);
            assert_eq!(decision.reply.topics[0].error_code, 0);
            self.commit(&decision.records);
        }
        let grow = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: "small".into(),
                count: 3,
                assignments: None,
            }],
            ..Default::default()
        };
        let grown = controller.create_partitions(self.replay.image(), &grow);
        self.commit(&grown.records);
        let delete = DeleteTopicsRequest {
            topics: vec![DeleteTopicState {
                name: Some("gone".into()),
                topic_id: Uuid::ZERO,
            }],
            ..Default::default()
        };
        let deleted = controller.delete_topics(self.replay.image(), &delete, 6);
        self.commit(&deleted.records);
        let alter = IncrementalAlterConfigsRequest {
            resources: vec![IncrementalAlterConfigsResource {
                resource_type: 4,
                resource_name: String::new(),
                configs: vec![IncrementalAlterConfigsAlterableConfig {
                    name: "log.retention.ms".into(),
                    config_operation: 0,
                    value: Some("600000".into()),
                }],
            }],
            ..Default::default()
        };
        let altered = controller.incremental_alter_configs(self.replay.image(), &alter);
        assert_eq!(altered.reply.responses[0].error_code, 0, "{:?}", altered.reply);
        self.commit(&altered.records);
        let epoch = self.replay.image().brokers[&1].epoch;
        let block = controller.allocate_producer_ids(self.replay.image(), 1, epoch);
        self.commit(&block.records);
    }

    fn write(&self, quorum: &QuorumState) {
        let metadata = self.dir.join(METADATA_FOLDER);
        fs::write(metadata.join(LOG), &self.log).unwrap();
        fs::write(metadata.join(QUORUM_STATE), quorum.encode()).unwrap();
        fs::write(metadata.join("leader-epoch-checkpoint"), "0\n1\n1 0\n").unwrap();
        let id = Uuid::METADATA_TOPIC;
        fs::write(
            metadata.join("partition.metadata"),
            format!("version: 0\ntopic_id: {id}"),
        )
        .unwrap();
    }
}

/// Replays the whole log of a folder, as a start does that has no snapshot.
fn replay_log(dir: &Path) -> Replay {
    let log = Bytes::from(fs::read(dir.join(METADATA_FOLDER).join(LOG)).unwrap());
    let mut replay = Replay::new("any", 1, config());
    let mut scan = Scan::new(&log, Depth::Crc);
    for view in scan.by_ref() {
        replay.apply(&view.slice_of(&log)).unwrap();
    }
    // A segment that a killed Kafka has left may end in space that it had reserved.
    assert!(
        matches!(scan.stop(), Some(Stop::End | Stop::Zeros { .. })),
        "{:?}",
        scan.stop()
    );
    replay
}

#[test]
fn a_folder_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::make(dir.path(), 9092);
    let replay = replay_log(dir.path());
    assert_eq!(replay.next_offset(), folder.replay.next_offset());
    assert_eq!(replay.image().partition_count(), 43);
    assert_eq!(
        replay.image().topic("large").unwrap().config.retention_ms,
        Some(86_400_000)
    );
}

/// Against Kafka's own tools and broker: `tools/kafka`.
mod java {

    use super::*;
    use crate::broker::{Broker, run_ok};
    use crate::kafka::{Node, TOOL_TIME, command, free_ports, kafka, kafka_at};

    fn records(dump: &str, kind: &str) -> usize {
        dump.matches(&format!(r#""type":"{kind}""#)).count()
    }

    /// What `kafka-dump-log` makes of a metadata log or snapshot.
    #[track_caller]
    fn dump(path: PathBuf) -> String {
        let path = path.to_str().unwrap();
        let dump = kafka(&["dump-log", "--cluster-metadata-decoder", "--files", path]);
        assert!(!dump.contains("isvalid: false"), "{dump}");
        assert!(
            !dump.to_lowercase().contains("could not") && !dump.contains("Exception"),
            "{dump}"
        );
        dump
    }

    fn create(address: &str, topic: &str) {
        kafka_at(address, &["topics", "--create", "--topic", topic, "--partitions", "4"]);
    }

    fn folder_with_snapshot() -> (tempfile::TempDir, SnapshotId, Bytes) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::make(dir.path(), 9092);
        let (id, snapshot) = encode_snapshot(&folder.replay, now_ms()).unwrap();
        fs::write(dir.path().join(METADATA_FOLDER).join(id.file_name()), &snapshot).unwrap();
        (dir, id, snapshot)
    }

    #[test]
    fn dump_log_reads_log_and_snapshots() {
        let (dir, id, snapshot) = folder_with_snapshot();
        let metadata = dir.path().join(METADATA_FOLDER);
        let log = dump(metadata.join(LOG));
        for control in ["LeaderChange", "KRaftVersion", "KRaftVoters"] {
            assert_eq!(log.matches(&format!(" {control}")).count(), 1, "{control}: {log}");
        }
        let counts = [
            ("BEGIN_TRANSACTION_RECORD", 2),
            ("END_TRANSACTION_RECORD", 2),
            ("FEATURE_LEVEL_RECORD", 6),
            ("REGISTER_CONTROLLER_RECORD", 1),
            ("REGISTER_BROKER_RECORD", 1),
            ("BROKER_REGISTRATION_CHANGE_RECORD", 2),
            ("TOPIC_RECORD", 3),
            ("PARTITION_RECORD", 44),
            ("REMOVE_TOPIC_RECORD", 1),
            ("CONFIG_RECORD", 5),
            ("PRODUCER_IDS_RECORD", 1),
        ];
        for (kind, count) in counts {
            assert_eq!(records(&log, kind), count, "{kind}: {log}");
        }

        let snapshot_dump = dump(metadata.join(id.file_name()));
        assert!(snapshot_dump.contains("SnapshotHeader") && snapshot_dump.contains("SnapshotFooter"));
        assert_eq!(records(&snapshot_dump, "PARTITION_RECORD"), 43);
        let bootstrap = dump(dir.path().join("bootstrap.checkpoint"));
        assert_eq!(records(&bootstrap, "FEATURE_LEVEL_RECORD"), 6);

        let read = decode_snapshot(id, &snapshot, "any", 1, config()).unwrap();
        assert_eq!(read.image().partition_count(), 43);
    }

    const SHELL_TRIES: usize = 5;

    #[test]
    fn metadata_shell_reads_log_and_snapshot() {
        let (dir, id, _) = folder_with_snapshot();
        let metadata = dir.path().join(METADATA_FOLDER);
        for file in [LOG, &id.file_name()] {
            let path = metadata.join(file);
            // The shell answers as soon as it has applied anything of the file, on a busy host before it comes to the topics or
            // to their partitions.
            let shell = |command: &str, node: &str| {
                let ask = || kafka(&["metadata-shell", "--snapshot", path.to_str().unwrap(), command, node]);
                let mut answers = (0..SHELL_TRIES).map(|_| ask());
                let is_early = |answer: &str| answer.trim().is_empty() || answer.contains("No such file");
                answers.find(|answer| !is_early(answer)).unwrap_or_default()
            };
            let topics = shell("ls", "/image/topics/byName");
            let topics: Vec<&str> = topics.split_whitespace().collect();
            assert_eq!(topics, ["large", "small"], "{file}");
            let partition = shell("cat", "/image/topics/byName/small/2");
            assert!(
                partition.contains("leader=1") && partition.contains("isr=[1]"),
                "{file}: {partition}"
            );
        }
    }

    #[test]
    fn a_java_controller_continues_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let port = free_ports();
        let logs = dir.path().join("logs");
        let folder = Folder::make(&logs, port);
        let end = folder.replay.next_offset();

        let kafka_node = Node::start(dir.path(), port, &[]);
        create(&kafka_node.address, "made-by-kafka");
        let described = kafka_at(&kafka_node.address, &["topics", "--describe"]);
        assert!(
            described.contains("Topic: large") && described.contains("PartitionCount: 40"),
            "{described}"
        );
        assert!(described.contains("retention.ms=86400000"), "{described}");
        kafka_node.stop();

        let replay = replay_log(&logs);
        assert!(replay.next_offset() > end);
        assert!(replay.image().reached.epoch > folder.epoch);
        let image = replay.image();
        assert_eq!(image.topic("made-by-kafka").unwrap().partition_count(), 4);
        let before = folder.replay.image().topic("large").unwrap().id;
        assert_eq!(image.topic("large").unwrap().id, before);

        // And we continue what Kafka wrote: in a later epoch, leading every partition again.
        let quorum = QuorumState::decode(&fs::read(logs.join(METADATA_FOLDER).join(QUORUM_STATE)).unwrap()).unwrap();
        let start = start::start(&replay, Some(&quorum), &node(port), false, now_ms(), 1 << 20).unwrap();
        assert!(start.epoch > quorum.leader_epoch);
        let mut replay = replay;
        for batch in start.batches {
            let batch = batch.stamp(replay.next_offset(), start.epoch);
            replay.apply(&batch).unwrap();
        }
        assert!(replay.image().is_active(1));
        let leaders = replay.image().topics().flat_map(|topic| topic.partitions.values());
        assert!(
            leaders
                .into_iter()
                .all(|partition| partition.leader == 1 && partition.isr == [1])
        );
    }

    /// What the real binary has written is read by `kafka-dump-log`; a copy of it is continued by Kafka, records and all,
    /// and what Kafka has made of it is continued by the real binary.
    #[test]
    fn a_java_controller_continues_a_folder_of_the_real_binary() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        let settings = [
            "metadata.log.max.record.bytes.between.snapshots=1000",
            "log.segment.bytes=1048576",
        ];
        let broker = Broker::start(&logs, &settings);
        let at = broker.address();
        for topic in ["kept", "gone", "large"] {
            create(at, topic);
        }
        kafka_at(at, &["topics", "--alter", "--topic", "large", "--partitions", "40"]);
        kafka_at(at, &["topics", "--delete", "--topic", "gone"]);
        let alter = ["configs", "--alter", "--entity-type", "topics", "--entity-name", "kept"];
        kafka_at(at, &[&alter[..], &["--add-config", "retention.ms=86400000"]].concat());
        let lines = dir.path().join("lines");
        fs::write(&lines, (1..=1000).map(|n| format!("{n}\n")).collect::<String>()).unwrap();
        let mut produce = command(&["console-producer", "--bootstrap-server", at, "--topic", "kept"]);
        run_ok(produce.stdin(fs::File::open(&lines).unwrap()), TOOL_TIME);
        let shown_by_us = consume(at, "kept");
        assert_eq!(
            shown_by_us.iter().map(String::len).sum::<usize>(),
            fs::read(&lines).unwrap().len()
        );
        // What was deleted here stays deleted in Kafka, and the other way round.
        let mut client = Client::connect(at);
        let value = "x".repeat(100_000);
        (0..30).for_each(|n| assert_eq!(client.append("large", &value), n));
        client.delete_below("large", 5);
        broker.stop();
        let index = logs.join("large-0/00000000000000000000.tidemill-index");
        assert!(index.exists(), "Kafka finds files that it does not know");

        let metadata = logs.join(METADATA_FOLDER);
        let names = fs::read_dir(&metadata)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let (mut segments, mut snapshots) = (0, 0);
        for name in names {
            if name.ends_with(".log") {
                segments += 1;
                let log = dump(metadata.join(name));
                assert!(
                    records(&log, "TOPIC_RECORD") == 3 && records(&log, "REMOVE_TOPIC_RECORD") == 1,
                    "{log}"
                );
            } else if name.ends_with(".checkpoint") && !name.starts_with("00000000000000000000-") {
                snapshots += 1;
                let snapshot = dump(metadata.join(name));
                assert!(
                    snapshot.contains("SnapshotHeader") && snapshot.contains("SnapshotFooter"),
                    "{snapshot}"
                );
            }
        }
        assert!(
            segments == 1 && snapshots > 0,
            "{segments} segments, {snapshots} snapshots"
        );
        let before = replay_log(&logs);

        let port = free_ports();
        let kafka_node = Node::start(dir.path(), port, &[]);
        create(&kafka_node.address, "made-by-kafka");
        let described = kafka_at(&kafka_node.address, &["topics", "--describe"]);
        assert!(
            described.contains("Topic: large") && described.contains("PartitionCount: 40"),
            "{described}"
        );
        assert!(
            described.contains("retention.ms=86400000") && !described.contains("gone"),
            "{described}"
        );
        assert_eq!(consume(&kafka_node.address, "kept"), shown_by_us);
        let mut produce = command(&[
            "console-producer",
            "--bootstrap-server",
            &kafka_node.address,
            "--topic",
            "kept",
        ]);
        run_ok(produce.stdin(fs::File::open(&lines).unwrap()), TOOL_TIME);
        let shown_by_kafka = consume(&kafka_node.address, "kept");
        let mut client = Client::connect(&kafka_node.address);
        assert_eq!((client.earliest("large"), client.values("large", 5).len()), (5, 25));
        assert_eq!(client.append("large", "by Kafka"), 30);
        client.delete_below("large", 15);
        kafka_node.stop();

        let broker = Broker::start(&logs, &[]);
        assert_eq!(consume(broker.address(), "kept"), shown_by_kafka);
        let mut client = Client::connect(broker.address());
        assert_eq!((client.earliest("large"), client.values("large", 15).len()), (15, 16));
        create(broker.address(), "made-again");
        broker.stop();
        let after = replay_log(&logs);
        let id = |replay: &Replay, topic: &str| replay.image().topic(topic).unwrap().id;
        assert_eq!(id(&after, "kept"), id(&before, "kept"));
        assert!(after.image().topic("made-by-kafka").is_some() && after.image().topic("made-again").is_some());
    }

    /// A folder of an older Kafka stays one that it opens, whatever was made in it here.
    #[test]
    fn a_folder_of_kafka_4_1_is_kept_at_its_level() {
        let dir = tempfile::tempdir().unwrap();
        let (logs, port) = (dir.path().join("logs"), free_ports());
        let kafka_node = Node::start_release("4.1.0", dir.path(), port, &[]);
        create(&kafka_node.address, "made-by-kafka");
        kafka_node.stop();

        let broker = Broker::start(&logs, &["metadata.log.max.record.bytes.between.snapshots=1000"]);
        create(broker.address(), "made-here");
        let features = kafka(&["features", "--bootstrap-server", broker.address(), "describe"]);
        let metadata = features.lines().find(|line| line.contains("metadata.version")).unwrap();
        for level in ["SupportedMaxVersion: 4.4-IV2", "FinalizedVersionLevel: 4.1-IV1"] {
            assert!(metadata.contains(level), "{features}");
        }
        broker.stop();
        assert_eq!(replay_log(&logs).image().features["metadata.version"], 27);

        let kafka_node = Node::start_release("4.1.0", dir.path(), port, &[]);
        let described = kafka_at(&kafka_node.address, &["topics", "--describe"]);
        for topic in ["made-by-kafka", "made-here"] {
            assert!(described.contains(&format!("Topic: {topic}\t")), "{described}");
        }
        kafka_node.stop();
    }

    /// What each partition holds.
    fn consume(address: &str, topic: &str) -> Vec<String> {
        let ends = kafka_at(address, &["get-offsets", "--topic", topic]);
        let read = |line: &str| {
            let fields: Vec<&str> = line.split(':').collect();
            let consume = [
                "console-consumer",
                "--topic",
                topic,
                "--offset",
                "earliest",
                "--timeout-ms",
                "20000",
            ];
            kafka_at(
                address,
                &[&consume[..], &["--partition", fields[1], "--max-messages", fields[2]]].concat(),
            )
        };
        ends.lines().filter(|line| !line.ends_with(":0")).map(read).collect()
    }
}
