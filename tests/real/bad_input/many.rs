//! Requests that are correct and ask for very much, or for the same thing very often: answered in time or refused, and the
//! neighbour does not notice.

use tidemill::error::ErrorCode;
use tidemill::wire::codec::ELEMENTS_MAX;
use tidemill::wire::configs::*;
use tidemill::wire::connect::*;
use tidemill::wire::metadata::*;
use tidemill::wire::offsets::*;
use tidemill::wire::produce_fetch::*;

use crate::broker::Broker;
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
    assert_eq!(codes, [invalid, 0, invalid]);

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
    };
    let lowest = |client: &mut Client, version| {
        let features = client.call(&request, version).supported_features;
        assert!(features.iter().any(|feature| feature.name == "metadata.version"));
        features.iter().map(|feature| feature.min_version).min()
    };
    assert!(lowest(&mut client, 3) > Some(0));
    assert_eq!(lowest(&mut client, 4), Some(0));
    broker.stop();
}
