//! A folder that Apache Kafka wrote opens here, with nothing of it lost, and goes back to Kafka.

/// Against Kafka's own tools and broker: `tools/kafka`.
mod java {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use bytes::Bytes;
    use tidemill::error::ErrorCode;
    use tidemill::record::scan::Depth;
    use tidemill::record::{BatchBuilder, Records, Scan};
    use tidemill::wire::offsets::*;

    use crate::broker::{Broker, complaints, wait_for};
    use crate::client::{Client, FETCH, batch, fetch_request, now_ms};
    use crate::kafka::{Node, free_ports, kafka_at};

    const DAY_MS: i64 = 86_400_000;
    const KAFKA: [&str; 5] = [
        "offsets.topic.num.partitions=1",
        "log.cleaner.backoff.ms=100",
        "log.cleaner.min.cleanable.ratio=0.01",
        "log.segment.bytes=1048576",
        "log.retention.hours=-1",
    ];
    /// Retention acts a few times in each second, and Kafka's default of never is one of its server.properties.
    const TIDEMILL: [&str; 1] = ["log.retention.check.interval.ms=100"];
    const KEYS: usize = 10;

    type Found = BTreeMap<i64, (Option<Bytes>, Option<Bytes>)>;

    /// Every record of partition 0, by its offset.
    #[track_caller]
    fn records(client: &mut Client, topic: &str) -> Found {
        let mut found = Found::new();
        let mut offset = listed(client, topic, -2).0;
        loop {
            let answer = client.call(&fetch_request(topic, [0], offset), FETCH);
            let answer = &answer.responses[0].partitions[0];
            assert_eq!(answer.error_code, 0, "{topic} at {offset}");
            if offset >= answer.high_watermark {
                return found;
            }
            let bytes = answer.records.clone().unwrap();
            let mut scan = Scan::new(&bytes, Depth::Crc);
            let before = offset;
            for view in scan.by_ref() {
                offset = view.header.next_offset();
                let batch = view.slice_of(&bytes);
                // Of a batch that Kafka keeps for its producer alone, no record is left.
                if batch.record_count > 0 {
                    for record in Records::of(&batch, 64 << 20).unwrap() {
                        let record = record.unwrap();
                        found.insert(record.offset, (record.key, record.value));
                    }
                }
            }
            assert!(offset > before, "{topic}: nothing at {offset}");
        }
    }

    fn list(client: &mut Client, topic: &str, timestamp: i64) -> ListOffsetsPartitionResponse {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: topic.into(),
                partitions: vec![ListOffsetsPartition {
                    timestamp,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        client.call(&request, 7).topics.remove(0).partitions.remove(0)
    }

    /// Offset and timestamp.
    #[track_caller]
    fn listed(client: &mut Client, topic: &str, timestamp: i64) -> (i64, i64) {
        let answer = list(client, topic, timestamp);
        assert_eq!(answer.error_code, 0, "{topic}");
        (answer.offset, answer.timestamp)
    }

    /// Records of `KEYS` keys, a batch for each, of 30 days ago and every second one second later, with values of this many bytes.
    #[track_caller]
    fn fill(client: &mut Client, topic: &str, rounds: usize, value_bytes: usize) {
        let begun = now_ms() - 30 * DAY_MS;
        for round in 0..rounds {
            let mut builder = BatchBuilder::new();
            for key in 0..KEYS {
                let value = format!("{round} {}", "x".repeat(value_bytes));
                // Now and then a key of which there is one record only: it stays, between others that do not.
                let key = if key == 3 && round % 10 == 0 { 1000 + round } else { key };
                builder.push(
                    begun + 1000 * round as i64,
                    Some(format!("key {key}").as_bytes()),
                    Some(value.as_bytes()),
                    &[],
                );
            }
            let answer = client.produce(topic, &[(0, builder.build().freeze())]).remove(0);
            assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        }
    }

    fn segment_bytes(logs: &Path, topic: &str) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(logs.join(format!("{topic}-0"))).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let segments = paths.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        let mut segments: Vec<_> = segments
            .map(|path| {
                (
                    path.file_name().unwrap().to_string_lossy().into_owned(),
                    fs::read(&path).unwrap(),
                )
            })
            .collect();
        segments.sort();
        segments
    }

    /// What a client may learn of a topic by reading: every record, and where times lead to.
    type Told = (Found, Vec<(i64, i64)>);

    #[track_caller]
    fn told(client: &mut Client, topic: &str) -> Told {
        let begun = now_ms() / DAY_MS * DAY_MS - 30 * DAY_MS;
        let mut times = vec![-1, -2, -3, 0, begun - DAY_MS, begun + 2 * DAY_MS];
        // From end to end of what was written, in the gaps of a compacted log as well.
        let newest = listed(client, topic, -3).1;
        times.extend((0..20).map(|step| newest - 25_000 * step));
        let listed = times.into_iter().map(|time| listed(client, topic, time)).collect();
        (records(client, topic), listed)
    }

    #[track_caller]
    fn delete_records(client: &mut Client, topic: &str) -> ErrorCode {
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: topic.into(),
                partitions: vec![DeleteRecordsPartition {
                    partition_index: 0,
                    offset: 1,
                }],
            }],
            timeout_ms: 10_000,
        };
        let answer = client.call(&request, 2);
        ErrorCode::from_code(answer.topics[0].partitions[0].error_code).unwrap()
    }

    #[track_caller]
    fn refused(client: &mut Client, topic: &str, code: ErrorCode) -> String {
        let answer = client.produce(topic, &[(0, batch(&["more"]))]).remove(0);
        assert_eq!(ErrorCode::from_code(answer.error_code), Some(code), "{topic}");
        assert_eq!(delete_records(client, topic), code, "{topic}");
        answer.error_message.unwrap()
    }

    #[test]
    fn a_folder_of_kafkas_opens_here_and_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (logs, port) = (dir.path().join("logs"), free_ports());
        let node = Node::start(dir.path(), port, &KAFKA);
        let at = node.address.clone();
        let mut client = Client::connect(&at);
        client.create("table", 1, &[("cleanup.policy", "compact")]);
        client.create(
            "both",
            1,
            &[("cleanup.policy", "compact,delete"), ("retention.ms", "1000")],
        );
        client.create("kept", 1, &[("retention.ms", "-1")]);
        client.create("expiring", 1, &[("retention.ms", "604800000")]);
        // Most of this is older than its keys' last values, and several segments.
        fill(&mut client, "table", 300, 1000);
        fill(&mut client, "kept", 20, 10);
        let group = ["--group", "readers", "--from-beginning", "--max-messages", "50"];
        kafka_at(&at, &[&["console-consumer", "--topic", "kept"], &group[..]].concat());
        // Files come and go meanwhile.
        wait_for("Kafka to compact", || {
            let entries = fs::read_dir(logs.join("table-0")).unwrap().flatten();
            let segments = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".log"));
            let sizes = segments.map(|entry| entry.metadata().ok().map(|metadata| metadata.len()));
            let bytes: u64 = sizes.sum::<Option<u64>>()?;
            (bytes < 2_000_000).then_some(())
        });
        let topics = ["table", "kept", "__consumer_offsets"];
        let before: Vec<Told> = topics.map(|topic| told(&mut client, topic)).into();
        assert!(
            before[0].0.len() < 300 * KEYS && before[0].0.len() >= KEYS,
            "{}",
            before[0].0.len()
        );
        let positions: Vec<i64> = before[0].0.keys().copied().collect();
        assert!(
            positions.windows(2).any(|pair| pair[1] > pair[0] + 1),
            "offsets without gaps"
        );
        drop(client);
        node.stop();
        let files = topics.map(|topic| segment_bytes(&logs, topic));

        let broker = Broker::start(&logs, &TIDEMILL);
        let line = broker.wait_log("served read-only");
        for topic in ["table", "both", "__consumer_offsets"] {
            assert!(line.contains(topic), "{line}");
        }
        assert!(!line.contains("kept") && !line.contains("expiring"), "{line}");
        let mut client = Client::connect(broker.address());
        let message = refused(&mut client, "table", ErrorCode::PolicyViolation);
        assert!(
            message.contains("cleanup.policy") && message.contains("read-only"),
            "{message}"
        );
        refused(&mut client, "both", ErrorCode::PolicyViolation);
        let message = refused(&mut client, "__consumer_offsets", ErrorCode::InvalidTopicException);
        assert!(message.contains("internal topic"), "{message}");
        // Retention has looked at all of them by the time that it has taken this one.
        fill(&mut client, "expiring", 1, 10);
        broker.wait_log("expiring-0: retention deletes");
        let here = |client: &mut Client| -> Vec<Told> { topics.map(|topic| told(client, topic)).into() };
        assert!(here(&mut client) == before, "records or offsets are other ones here");
        let value = "written by Tidemill";
        let offset = client.append("kept", value);
        assert_eq!(offset, before[1].1[0].0);
        drop(client);

        // The same after a kill, from recovery points or the segments themselves.
        broker.kill();
        let broker = Broker::start(&logs, &TIDEMILL);
        let mut client = Client::connect(broker.address());
        assert!(
            records(&mut client, "table") == before[0].0 && records(&mut client, "__consumer_offsets") == before[2].0
        );
        assert_eq!(records(&mut client, "kept").len(), before[1].0.len() + 1);
        drop(client);
        let log = broker.stop();
        for line in complaints(&log) {
            assert!(
                line.contains("read-only") || line.contains("is followed without a part"),
                "{line}"
            );
        }
        for (index, topic) in [(0, "table"), (2, "__consumer_offsets")] {
            assert!(
                segment_bytes(&logs, topic) == files[index],
                "{topic}: its segments changed"
            );
        }

        let node = Node::start(dir.path(), port, &KAFKA);
        let mut client = Client::connect(&at);
        // It listens before it leads.
        for topic in ["table", "kept"] {
            wait_for("Kafka to lead", || {
                (list(&mut client, topic, -2).error_code == 0).then_some(())
            });
        }
        assert!(records(&mut client, "table").len() <= before[0].0.len());
        let kept = records(&mut client, "kept");
        assert_eq!(kept[&offset].1.as_deref(), Some(value.as_bytes()));
        assert!(
            before[1]
                .0
                .iter()
                .all(|(offset, record)| kept.get(offset) == Some(record))
        );
        let described = kafka_at(&at, &["consumer-groups", "--describe", "--group", "readers"]);
        let committed = described
            .lines()
            .find(|line| line.contains(" kept "))
            .unwrap_or_default();
        assert!(committed.split_whitespace().any(|word| word == "50"), "{described}");
        node.stop();
    }

    /// Kafka was killed while it put compacted segments in the place of others: what is in them may be nowhere else.
    #[test]
    fn a_compaction_that_was_cut_off_is_left_to_kafka() {
        let dir = tempfile::tempdir().unwrap();
        let (logs, port) = (dir.path().join("logs"), free_ports());
        let node = Node::start(dir.path(), port, &KAFKA);
        let mut client = Client::connect(&node.address);
        client.create("table", 1, &[("cleanup.policy", "compact")]);
        client.create("other", 1, &[]);
        fill(&mut client, "table", 2, 10);
        drop(client);
        node.stop();
        let folder = logs.join("table-0");
        let name = |suffix: &str| folder.join(format!("{:020}.log{suffix}", 0));
        let content = fs::read(name("")).unwrap();
        fs::write(name(".swap"), &content).unwrap();
        fs::rename(name(""), name(".deleted")).unwrap();

        let broker = Broker::start(&logs, &TIDEMILL);
        let line = broker.wait_log("table-0: offline");
        assert!(line.contains(".swap") && line.contains("start Kafka"), "{line}");
        let mut client = Client::connect(broker.address());
        let answer = client.produce("table", &[(0, batch(&["more"]))]).remove(0);
        assert_eq!(
            ErrorCode::from_code(answer.error_code),
            Some(ErrorCode::KafkaStorageError)
        );
        client.append("other", "is served");
        drop(client);
        broker.kill();
        assert_eq!(fs::read(name(".swap")).unwrap(), content);
        assert_eq!(fs::read(name(".deleted")).unwrap(), content);
    }
}
