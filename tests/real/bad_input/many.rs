//! Requests that are correct and ask for very much, or for the same thing very often: answered in time or refused, and the
//! neighbour does not notice.

use tidemill::error::ErrorCode;
use tidemill::wire::codec::ELEMENTS_MAX;
use tidemill::wire::configs::*;
use tidemill::wire::connect::*;
use tidemill::wire::log_dirs::*;
use tidemill::wire::metadata::*;
use tidemill::wire::offsets::*;
use tidemill::wire::produce_fetch::*;

use crate::broker::{Broker, complaints, wait_for};
use crate::client::{Client, Neighbour, batch};

fn unknown_topics(count: usize) -> MetadataRequest {
    let topic = |number| MetadataRequestTopic {
        name: Some(format!("unknown-{number}")),
        ..Default::default()
    };
    MetadataRequest {
        topics: Some((0..count).map(topic).collect()),
        allow_auto_topic_creation: true,
        ..Default::default()
    }
}

#[test]
fn questions_that_are_many_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let mut neighbour = Neighbour::new(broker.address());
    let mut client = Client::connect(broker.address());

    // More topics than may be made at once.
    let answer = client.call(&unknown_topics(100_000), 4);
    assert_eq!(answer.topics.len(), 100_000);
    let refused = ErrorCode::PolicyViolation.code();
    assert!(answer.topics.iter().all(|topic| topic.error_code == refused));
    neighbour.is_served();

    // One broker, asked for as often as a small frame can.
    let broker_config = DescribeConfigsResource {
        resource_type: 4,
        resource_name: "1".into(),
        ..Default::default()
    };
    let request = DescribeConfigsRequest {
        resources: vec![broker_config; 100_000],
        include_documentation: true,
        include_synonyms: true,
    };
    assert_eq!(client.call(&request, 3).results.len(), 1);
    neighbour.is_served();

    // A name as long as a string can be.
    let long = client.try_create(&"x".repeat(32_767), 1, &[]);
    assert_eq!(long.error_code, ErrorCode::InvalidTopicException.code());

    // Beyond any bound the connection goes, with a line.
    let bytes = tidemill::wire::frame::request(&unknown_topics(ELEMENTS_MAX + 1), 4, 1, None).unwrap();
    client.send(&bytes);
    client.expect_closed();
    let line = broker.wait_log("closed:");
    assert!(line.contains("elements"), "{line}");
    neighbour.is_served();
    broker.stop();
}

#[test]
fn partitions_that_are_named_twice() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let mut client = Client::connect(broker.address());
    client.create("topic", 2, &[]);
    client.produce("topic", &[(0, batch(&["one"])), (1, batch(&["two"]))]);

    let latest = |partition_index| ListOffsetsPartition {
        partition_index,
        timestamp: -1,
        ..Default::default()
    };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: "topic".into(),
            partitions: vec![latest(0), latest(1), latest(0)],
        }],
        ..Default::default()
    };
    let answer = client.call(&request, 7).topics.remove(0).partitions;
    let codes: Vec<i16> = answer.iter().map(|partition| partition.error_code).collect();
    let invalid = ErrorCode::InvalidRequest.code();
    assert_eq!(codes, [invalid, 0], "each once");

    // Without any bytes allowed, one batch of one partition comes, however many are named.
    let wanted = |partition| FetchPartition {
        partition,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let request = FetchRequest {
        session_epoch: -1,
        max_bytes: 0,
        topics: vec![FetchTopic {
            topic: "topic".into(),
            partitions: vec![wanted(0), wanted(1), wanted(0)],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = client.call(&request, 12).responses.remove(0).partitions;
    let lengths: Vec<usize> = (answer.iter())
        .map(|partition| partition.records.as_ref().map_or(0, |records| records.len()))
        .collect();
    assert_eq!(lengths.len(), 2);
    assert!(lengths[0] > 0 && lengths[1] == 0, "{lengths:?}");
    broker.stop();
}

/// No wait brings more of a partition than one answer holds: a consumer that wants much at once gets what there is.
#[test]
fn a_fetch_that_wants_more_than_can_come_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let mut client = Client::connect(broker.address());
    client.create("topic", 1, &[]);
    let large = "x".repeat(300_000);
    (0..8).for_each(|_| _ = client.append("topic", &large));
    let fetch = |min_bytes, max_bytes, partition_max_bytes| FetchRequest {
        // An hour: an answer is one that did not wait.
        max_wait_ms: 3_600_000,
        min_bytes,
        max_bytes,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: "topic".into(),
            partitions: vec![FetchPartition {
                partition_max_bytes,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    for (request, batches) in [
        // Whole batches that fit come to less than the partition's limit, which is what is waited for.
        (fetch(1 << 20, 50 << 20, 1 << 20), 3),
        // More is waited for than may come.
        (fetch(i32::MAX, 700_000, 50 << 20), 2),
    ] {
        let answer = client.call(&request, 12).responses.remove(0).partitions.remove(0);
        assert_eq!(answer.records.unwrap().len() / large.len(), batches);
    }
    broker.stop();
}

/// Java clients before 3.9 throw at a feature whose lowest level is 0 (KAFKA-17011): only version 4 has them.
#[test]
fn features_that_older_clients_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let mut client = Client::connect(broker.address());
    let request = ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1".into(),
        ..Default::default()
    };
    let lowest = |client: &mut Client, version| {
        let features = client.call(&request, version).supported_features;
        assert!(features.iter().any(|feature| feature.name == "metadata.version"));
        // A folder has levels for groups and transactions too; this broker has neither.
        assert!(features.iter().all(|feature| feature.name != "group.version"));
        features.iter().map(|feature| feature.min_version).min()
    };
    assert!(lowest(&mut client, 3) > Some(0));
    assert_eq!(lowest(&mut client, 4), Some(0));
    broker.stop();
}

fn broker(settings: &[&str]) -> (tempfile::TempDir, Broker, Neighbour) {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), settings);
    let neighbour = Neighbour::new(broker.address());
    (folder, broker, neighbour)
}

/// Nothing of it is worth a line.
#[track_caller]
fn end(broker: Broker) {
    let log = broker.stop();
    assert!(complaints(&log).is_empty(), "{log}");
}

#[test]
fn more_elements_than_a_request_may_have() {
    const PRODUCE: i16 = 0;
    const METADATA: i16 = 3;
    let (_folder, broker, mut neighbour) = broker(&["tidemill.log.level=debug"]);
    // Names of two bytes; and three arrays in one another, all but the innermost with one element.
    let names = |count: usize| [&(count as i32).to_be_bytes()[..], &vec![0; 2 * count]].concat();
    let partitions = |count: usize| {
        let start = [
            &(-1i16).to_be_bytes()[..],
            &1i16.to_be_bytes(),
            &0i32.to_be_bytes(),
            &1i32.to_be_bytes(),
            b"\0\x01t",
            &(count as i32).to_be_bytes(),
        ];
        // Each without records.
        [start.concat(), [&[0; 4][..], &[0xff; 4]].concat().repeat(count)].concat()
    };
    let mut client = Client::connect(broker.address());
    client.send_request(METADATA, 1, &names(ELEMENTS_MAX));
    assert!(client.frame().is_some());
    client.send_request(PRODUCE, 3, &partitions(ELEMENTS_MAX - 1));
    assert!(client.frame().is_some());
    neighbour.is_served();
    let too_many = [
        (METADATA, 1, names(ELEMENTS_MAX + 1)),
        (PRODUCE, 3, partitions(ELEMENTS_MAX)),
    ];
    for (api, version, body) in &too_many {
        let mut client = Client::connect(broker.address());
        client.send_request(*api, *version, body);
        client.expect_closed();
        neighbour.is_served();
    }
    let line = format!("more than {ELEMENTS_MAX} elements together");
    wait_for("a line for each", || {
        (broker.log().matches(&line).count() == 2).then_some(())
    });
    broker.stop();
}

#[test]
fn topics_of_which_not_all_find_room() {
    const ASKED: usize = 10_000;
    let (_folder, broker, mut neighbour) = broker(&[]);
    let name = |number| MetadataRequestTopic {
        name: Some(format!("topic_{number}_with_many_places_where_it_could_collide")),
        ..Default::default()
    };
    let request = MetadataRequest {
        topics: Some((0..ASKED).map(name).collect()),
        ..Default::default()
    };
    let answer = Client::connect(broker.address()).call(&request, 9);
    neighbour.is_served();
    let codes = |error: ErrorCode| {
        let topics = answer.topics.iter();
        topics.filter(|topic| topic.error_code == error.code()).count()
    };
    let (made, refused) = (codes(ErrorCode::None), codes(ErrorCode::PolicyViolation));
    assert!(made > 100 && made + refused == ASKED, "{made} were made, {refused} not");
    end(broker);
}

#[test]
fn a_session_of_very_many_partitions() {
    // One shard, so that all connections see the same sessions.
    let (_folder, broker, mut neighbour) = broker(&["tidemill.cores=0"]);
    let mut client = Client::connect(broker.address());
    let request = |partitions: std::ops::Range<i32>| FetchRequest {
        session_epoch: 0,
        topics: vec![FetchTopic {
            topic: "nowhere".into(),
            partitions: (partitions.clone())
                .map(|partition| FetchPartition {
                    partition,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = client.call(&request(0..ELEMENTS_MAX as i32 - 1), 12);
    assert_eq!(answer.session_id, 0, "a session of so many is not kept");
    assert_eq!(answer.responses[0].partitions.len(), ELEMENTS_MAX - 1);
    neighbour.is_served();
    // This many are, and forgotten but for one.
    let session = client.call(&request(0..2_500), 12).session_id;
    assert_ne!(session, 0);
    let forget = FetchRequest {
        session_id: session,
        session_epoch: 1,
        forgotten_topics_data: vec![ForgottenTopic {
            topic: "nowhere".into(),
            partitions: (0..2_499).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = client.call(&forget, 12);
    assert_eq!((answer.error_code, answer.session_id), (0, session));
    let left: Vec<i32> = answer.responses[0]
        .partitions
        .iter()
        .map(|p| p.partition_index)
        .collect();
    assert_eq!(left, [2_499]);
    // Who comes back on another connection begins another session.
    drop(client);
    let again = FetchRequest {
        session_id: session,
        session_epoch: 2,
        ..Default::default()
    };
    wait_for("the session to be gone", || {
        let answer = Client::connect(broker.address()).call(&again, 12);
        (answer.error_code == ErrorCode::FetchSessionIdNotFound.code()).then_some(())
    });
    neighbour.is_served();
    end(broker);
}

#[test]
fn partitions_that_are_deleted_from_or_described_twice() {
    let (_folder, broker, mut neighbour) = broker(&[]);
    let mut client = Client::connect(broker.address());
    client.create("t", 3, &[]);
    (0..5).for_each(|_| _ = client.append("t", "record"));
    let delete = |offsets: &[(i32, i64)]| DeleteRecordsRequest {
        topics: (offsets.iter())
            .map(|&(partition_index, offset)| DeleteRecordsTopic {
                name: "t".into(),
                partitions: vec![DeleteRecordsPartition {
                    partition_index,
                    offset,
                }],
            })
            .collect(),
        timeout_ms: 20_000,
    };
    let deleted = client.call(&delete(&[(0, 4), (1, 0), (0, 2)]), 2).topics;
    let marks: Vec<_> = (deleted.iter().flat_map(|topic| &topic.partitions))
        .map(|partition| (partition.partition_index, partition.error_code, partition.low_watermark))
        .collect();
    assert_eq!(marks, [(0, 0, 2), (1, 0, 0)], "the last offset counts");

    let describe = DescribeLogDirsRequest {
        topics: Some(
            [("t", vec![2, 7]), ("nowhere", vec![0]), ("t", vec![0, 2])]
                .map(|(topic, partitions)| DescribableLogDirTopic {
                    topic: topic.into(),
                    partitions,
                })
                .to_vec(),
        ),
    };
    let described = client.call(&describe, 4).results.remove(0).topics;
    assert_eq!(described.len(), 1);
    let indexes: Vec<_> = described[0].partitions.iter().map(|p| p.partition_index).collect();
    assert_eq!(indexes, [0, 2]);
    neighbour.is_served();
    end(broker);
}
