//! The metadata log and the KRaft folder as Kafka 4.1 itself reads and continues them. The folder is made from the
//! controller's own bytes, without a broker.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tidemill::config::BrokerConfig;
use tidemill::controller::batch::encode;
use tidemill::controller::files::{METADATA_FOLDER, QUORUM_STATE, QuorumState};
use tidemill::controller::image::Endpoint;
use tidemill::controller::snapshot::{decode_snapshot, encode_snapshot, format_files};
use tidemill::controller::start::{self, stop_records};
use tidemill::controller::{Controller, Node, Replay};
use tidemill::record::scan::{Depth, Scan};
use tidemill::record::{Batch, Stop};
use tidemill::types::{Random, Uuid};
use tidemill::wire::configs::*;
use tidemill::wire::metadata_records::MetadataRecord;
use tidemill::wire::topics::*;

const LOG: &str = "00000000000000000000.log";
const NOW_MS: i64 = 1_795_360_000_000;

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
        for (path, content) in format_files(&cluster_id, &node, NOW_MS).unwrap() {
            fs::write(dir.join(path), content).unwrap();
        }
        let replay = Replay::new(&cluster_id, 1, config());
        let start = start::start(&replay, None, &node, false, NOW_MS, 1 << 20).unwrap();
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
        for batch in encode(records, NOW_MS, 1000).unwrap() {
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
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    fn kafka(arguments: &[&str]) -> String {
        let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/kafka"))
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tools/kafka {arguments:?}: {text}\n{errors}");
        text
    }

    fn records(dump: &str, kind: &str) -> usize {
        dump.matches(&format!(r#""type":"{kind}""#)).count()
    }

    #[test]
    fn dump_log_reads_log_and_snapshots() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::make(dir.path(), 9092);
        let metadata = dir.path().join(METADATA_FOLDER);
        let (id, snapshot) = encode_snapshot(&folder.replay, NOW_MS).unwrap();
        fs::write(metadata.join(id.file_name()), &snapshot).unwrap();
        let dump = |path: PathBuf| {
            let dump = kafka(&[
                "dump-log",
                "--cluster-metadata-decoder",
                "--files",
                path.to_str().unwrap(),
            ]);
            assert!(!dump.contains("isvalid: false"), "{dump}");
            assert!(
                !dump.to_lowercase().contains("could not") && !dump.contains("Exception"),
                "{dump}"
            );
            dump
        };

        let log = dump(metadata.join(LOG));
        for control in ["LeaderChange", "KRaftVersion", "KRaftVoters"] {
            assert_eq!(log.matches(&format!(" {control}")).count(), 1, "{control}: {log}");
        }
        let counts = [
            ("BEGIN_TRANSACTION_RECORD", 2),
            ("END_TRANSACTION_RECORD", 2),
            ("FEATURE_LEVEL_RECORD", 4),
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
        assert_eq!(records(&bootstrap, "FEATURE_LEVEL_RECORD"), 4);

        let read = decode_snapshot(id, &snapshot, "any", 1, config()).unwrap();
        assert_eq!(read.image().partition_count(), 43);
    }

    #[test]
    fn metadata_shell_reads_log_and_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::make(dir.path(), 9092);
        let metadata = dir.path().join(METADATA_FOLDER);
        let (id, snapshot) = encode_snapshot(&folder.replay, NOW_MS).unwrap();
        fs::write(metadata.join(id.file_name()), snapshot).unwrap();
        for file in [LOG, &id.file_name()] {
            let path = metadata.join(file);
            let shell = |command: &str, node: &str| {
                kafka(&["metadata-shell", "--snapshot", path.to_str().unwrap(), command, node])
            };
            let topics = shell("ls", "/image/topics/byName");
            assert_eq!(
                topics.split_whitespace().collect::<Vec<_>>(),
                ["large", "small"],
                "{file}"
            );
            let partition = shell("cat", "/image/topics/byName/small/2");
            assert!(
                partition.contains("leader=1") && partition.contains("isr=[1]"),
                "{file}: {partition}"
            );
        }
    }

    /// Two ports in a row that nobody listens on now.
    fn free_ports() -> u16 {
        loop {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
                return port;
            }
        }
    }

    struct Broker(String);

    impl Broker {
        /// Stops it as SIGTERM does, and waits.
        fn stop(self) {
            kafka(&["stop", &self.0]);
            std::mem::forget(self);
        }
    }

    impl Drop for Broker {
        fn drop(&mut self) {
            let _ = Command::new("kill").args(["-9", &self.0]).status();
        }
    }

    #[test]
    fn a_java_controller_continues_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let port = free_ports();
        let logs = dir.path().join("logs");
        let folder = Folder::make(&logs, port);
        let end = folder.replay.next_offset();

        let pid = kafka(&["start", &port.to_string(), dir.path().to_str().unwrap()]);
        let broker = Broker(pid.trim().to_owned());
        let server = format!("127.0.0.1:{port}");
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(&server).is_err() {
            assert!(Instant::now() < deadline, "Kafka does not listen");
        }
        kafka(&[
            "topics",
            "--bootstrap-server",
            &server,
            "--create",
            "--topic",
            "made-by-kafka",
            "--partitions",
            "4",
        ]);
        let described = kafka(&["topics", "--bootstrap-server", &server, "--describe"]);
        assert!(
            described.contains("Topic: large") && described.contains("PartitionCount: 40"),
            "{described}"
        );
        assert!(described.contains("retention.ms=86400000"), "{described}");
        broker.stop();

        let replay = replay_log(&logs);
        assert!(replay.next_offset() > end);
        assert!(replay.image().reached.epoch > folder.epoch);
        let image = replay.image();
        assert_eq!(image.topic("made-by-kafka").unwrap().partition_count(), 4);
        let before = folder.replay.image().topic("large").unwrap().id;
        assert_eq!(image.topic("large").unwrap().id, before);

        // And we continue what Kafka wrote: in a later epoch, leading every partition again.
        let quorum = QuorumState::decode(&fs::read(logs.join(METADATA_FOLDER).join(QUORUM_STATE)).unwrap()).unwrap();
        let start = start::start(&replay, Some(&quorum), &node(port), false, NOW_MS, 1 << 20).unwrap();
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
}
