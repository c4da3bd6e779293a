//! Messages beside the bytes that Kafka's own classes write for them (`tests/data/WireGolden.java`).

use bytes::Bytes;
use tidemill::types::Uuid;
use tidemill::wire::control_records::*;
use tidemill::wire::frame;
use tidemill::wire::metadata_records::*;
use tidemill::wire::produce_fetch::*;
use tidemill::wire::{ApiKey, connect::*, metadata::*};

/// What WireGolden prints.
const GOLDEN: &str = "\
metadata-1 000300010000000700026d6500000001000161
metadata-12 0003000c0000000700026d65000200000000000000000000000000000000026100010000
api-versions-4 001200040000000700026d65000574696465023100
api-versions-5 001200050000000700026d65000574696465023102630000000300
api-versions-answer-4 00000007000001000000000201080000000000000003030101
fetch-17 000100110000000700026d6500000001f4000000017fffffff000000000900000002020102030405060708090a0b0c0d0e0f100200000001ffffffff000000000000004dffffffffffffffffffffffff000003e80100100102030405060708090a0b0c0d0e0f1000010101010d00000005000000000000000600
fetch-answer-17 000000070000000000000000000004020102030405060708090a0b0c0d0e0f10020000000100000000000000000008ffffffffffffffffffffffffffffffff01ffffffff0101000d000000010000000000000002000001000d02000000010268000000090000
topic-partitions-answer-0 00000007000000000001010274000000020000
topic-partitions-answer-end-0 00000007000000000001ff00
topic-0 01020004666f6f0102030405060708090a0b0c0d0e0f1000
partition-change-2 010502000000020102030405060708090a0b0c0d0e0f100300050200000003010400000003060101
register-broker-3 01000300000001000102030405060708090a0b0c0d0e0f1000000000000000050101000100010011020102030405060708090a0b0c0d0e0f10
register-broker-4 01000400000001000102030405060708090a0b0c0d0e0f1000000000000000050101000100020011020102030405060708090a0b0c0d0e0f100111020102030405060708090a0b0c0d0e0f10
broker-registration-change-3 011103000000010000000000000005020001ff030101
unregister-controller-0 011d000000000200
begin-transaction-0 0117000100020278
leader-change 00000000000102000000010002000000010000
voters 000002000000010102030405060708090a0b0c0d0e0f100202430268fde80000000001000000
commit 000000000102
";

const ID: Uuid = Uuid([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);

fn golden(name: &str) -> Vec<u8> {
    let line = GOLDEN
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .expect(name);
    let digits: Vec<u8> = line
        .chars()
        .map(|digit| digit.to_digit(16).expect("hexadecimal") as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn requests() {
    let topics = Some(vec![MetadataRequestTopic {
        name: Some("a".into()),
        ..Default::default()
    }]);
    let metadata = MetadataRequest {
        topics,
        ..Default::default()
    };
    assert_eq!(
        frame::request(&metadata, 1, 7, Some("me")).unwrap()[4..],
        golden("metadata-1")
    );
    assert_eq!(
        frame::request(&metadata, 12, 7, Some("me")).unwrap()[4..],
        golden("metadata-12")
    );

    let versions = ApiVersionsRequest {
        client_software_name: "tide".into(),
        client_software_version: "1".into(),
        cluster_id: Some("c".into()),
        node_id: 3,
    };
    assert_eq!(
        frame::request(&versions, 5, 7, Some("me")).unwrap()[4..],
        golden("api-versions-5")
    );
    assert_eq!(
        frame::request(&versions, 4, 7, Some("me")).unwrap()[4..],
        golden("api-versions-4")
    );

    let partition = FetchPartition {
        partition: 1,
        fetch_offset: 77,
        partition_max_bytes: 1000,
        replica_directory_id: ID,
        ..Default::default()
    };
    let fetch = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        session_id: 9,
        session_epoch: 2,
        replica_state: ReplicaState {
            replica_id: 5,
            replica_epoch: 6,
        },
        topics: vec![FetchTopic {
            topic_id: ID,
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(
        frame::request(&fetch, 17, 7, Some("me")).unwrap()[4..],
        golden("fetch-17")
    );
}

#[test]
fn responses() {
    let versions = ApiVersionsResponse {
        finalized_features_epoch: 3,
        zk_migration_ready: true,
        ..Default::default()
    };
    let bytes = frame::response(ApiKey::ApiVersions, 4, 7, &versions).unwrap();
    assert_eq!(bytes[4..], golden("api-versions-answer-4"));

    let partition = PartitionData {
        partition_index: 1,
        high_watermark: 8,
        diverging_epoch: EpochEndOffset {
            epoch: 1,
            end_offset: 2,
        },
        ..Default::default()
    };
    let endpoint = FetchNodeEndpoint {
        node_id: 1,
        host: "h".into(),
        port: 9,
        rack: None,
    };
    let fetched = FetchResponse {
        session_id: 4,
        responses: vec![FetchableTopicResponse {
            topic_id: ID,
            partitions: vec![partition],
            ..Default::default()
        }],
        node_endpoints: vec![endpoint],
        ..Default::default()
    };
    assert_eq!(
        frame::response(ApiKey::Fetch, 17, 7, &fetched).unwrap()[4..],
        golden("fetch-answer-17")
    );

    let cursor = DescribeTopicPartitionsResponseCursor {
        topic_name: "t".into(),
        partition_index: 2,
    };
    for (name, next_cursor) in [
        ("topic-partitions-answer-0", Some(cursor)),
        ("topic-partitions-answer-end-0", None),
    ] {
        let answer = DescribeTopicPartitionsResponse {
            next_cursor,
            ..Default::default()
        };
        let bytes = frame::response(ApiKey::DescribeTopicPartitions, 0, 7, &answer).unwrap();
        assert_eq!(bytes[4..], golden(name));
        let back = frame::decode_response::<DescribeTopicPartitionsRequest>(&bytes.slice(4..), 0).unwrap();
        assert_eq!(back, (7, answer));
    }
}

#[test]
fn metadata_records() {
    let change = PartitionChangeRecord {
        topic_id: ID,
        partition_id: 2,
        leader: 3,
        isr: Some(vec![3]),
        eligible_leader_replicas: Some(vec![]),
        ..Default::default()
    };
    let broker = RegisterBrokerRecord {
        broker_id: 1,
        incarnation_id: ID,
        broker_epoch: 5,
        rack: None,
        log_dirs: vec![ID],
        ..Default::default()
    };
    let cordoned = RegisterBrokerRecord {
        cordoned_log_dirs: Some(vec![ID]),
        ..broker.clone()
    };
    let uncordoned = BrokerRegistrationChangeRecord {
        broker_id: 1,
        broker_epoch: 5,
        fenced: -1,
        cordoned_log_dirs: Some(vec![]),
        ..Default::default()
    };
    // What Kafka 4.1 reads, and what 4.4 added.
    let (old, new) = (27, METADATA_VERSION);
    let records: [(&str, i16, MetadataRecord); 7] = [
        (
            "topic-0",
            old,
            TopicRecord {
                name: "foo".into(),
                topic_id: ID,
            }
            .into(),
        ),
        ("partition-change-2", old, change.into()),
        ("register-broker-3", old, broker.into()),
        ("register-broker-4", new, cordoned.into()),
        ("broker-registration-change-3", new, uncordoned.into()),
        (
            "unregister-controller-0",
            new,
            UnregisterControllerRecord { controller_id: 2 }.into(),
        ),
        (
            "begin-transaction-0",
            old,
            BeginTransactionRecord { name: Some("x".into()) }.into(),
        ),
    ];
    for (name, metadata_version, record) in records {
        assert_eq!(record.encode(metadata_version).unwrap()[..], golden(name), "{name}");
        assert_eq!(MetadataRecord::decode(&Bytes::from(golden(name))), Ok(record));
    }
}

#[test]
fn control_records() {
    let voters = vec![LeaderChangeVoter {
        voter_id: 1,
        ..Default::default()
    }];
    let change = LeaderChangeMessage {
        leader_id: 1,
        voters: voters.clone(),
        granting_voters: voters,
        ..Default::default()
    };
    let voter = VotersRecordVoter {
        voter_id: 1,
        voter_directory_id: ID,
        endpoints: vec![VotersRecordEndpoint {
            name: "C".into(),
            host: "h".into(),
            port: 65000,
        }],
        kraft_version_feature: KRaftVersionRange {
            min_supported_version: 0,
            max_supported_version: 1,
        },
    };
    for (name, record) in [
        ("leader-change", ControlRecord::LeaderChange(change)),
        (
            "voters",
            ControlRecord::KRaftVoters(VotersRecord {
                version: 0,
                voters: vec![voter],
            }),
        ),
        ("commit", ControlRecord::Commit(EndTxnMarker { coordinator_epoch: 258 })),
    ] {
        let (key, value) = record.encode().unwrap();
        assert_eq!(value[..], golden(name), "{name}");
        assert_eq!(ControlRecord::decode(&key, &golden(name)), Ok(record));
    }
}

mod java {
    use std::process::Command;

    #[test]
    fn kafkas_classes_still_write_these_bytes() {
        let root = env!("CARGO_MANIFEST_DIR");
        let output = Command::new(format!("{root}/tools/kafka"))
            .args(["java", &format!("{root}/tests/data/WireGolden.java")])
            .output()
            .expect("tools/kafka runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), super::GOLDEN, "{output:?}");
    }
}
