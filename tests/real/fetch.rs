//! When a fetch is answered, and with how much. Where it must be at once, the client allows more time than a test lasts.

use bytes::Bytes;
use tidemill::record::scan::{Depth, Scan};
use tidemill::wire::frame;
use tidemill::wire::produce_fetch::*;

use crate::broker::Broker;
use crate::client::{Client, batch};

/// By topic names.
const VERSION: i16 = 12;
const FOREVER_MS: i32 = 600_000;
const BATCH_BYTES: usize = 200_000;
const BATCHES: usize = 10;

/// A broker with a topic of two partitions, and `BATCHES` batches of about `BATCH_BYTES` in the first of them.
fn fixture() -> (tempfile::TempDir, Broker, Client) {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let mut client = Client::connect(broker.address());
    client.create("t", 2, &[]);
    let value = "x".repeat(BATCH_BYTES);
    (0..BATCHES).for_each(|_| _ = client.append("t", &value));
    (folder, broker, client)
}

/// Of these partitions from their beginning, each with its limit.
fn request(partitions: &[(i32, usize)]) -> FetchRequest {
    let partition = |&(partition, bytes_max): &(i32, usize)| FetchPartition {
        partition,
        partition_max_bytes: bytes_max as i32,
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms: FOREVER_MS,
        min_bytes: 1,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: "t".into(),
            partitions: partitions.iter().map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// How many bytes of records each partition in the answer has.
#[track_caller]
fn sizes(answer: &FetchResponse) -> Vec<(i32, usize)> {
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|partition| {
            assert_eq!(partition.error_code, 0);
            (
                partition.partition_index,
                partition.records.as_ref().map_or(0, Bytes::len),
            )
        })
        .collect()
}

#[track_caller]
fn total(answer: &FetchResponse) -> usize {
    sizes(answer).iter().map(|(_, bytes)| bytes).sum()
}

fn batches(partition: &PartitionData) -> usize {
    Scan::new(partition.records.as_ref().unwrap(), Depth::Crc).count()
}

#[test]
fn a_backlog_is_answered_at_once_whatever_the_minimum() {
    let (folder, broker, mut client) = fixture();
    let ask = |client: &mut Client| {
        // More than the request may get, more than its partition may, and more than there is with a limit in its way.
        for (min_bytes, max_bytes, partition_bytes) in [
            (i32::MAX, 300_000, 1 << 20),
            (i32::MAX, i32::MAX, 500_000),
            (1_500_000, i32::MAX, 1_300_000),
        ] {
            let asked = FetchRequest {
                min_bytes,
                max_bytes,
                ..request(&[(0, partition_bytes), (1, 1 << 20)])
            };
            let bytes = total(&client.call(&asked, VERSION));
            let most = partition_bytes.min(max_bytes as usize);
            assert!((BATCH_BYTES..=most).contains(&bytes), "{bytes} of {most}");
        }
        // One operation of the disk brings less than this; the partition has more.
        let asked = FetchRequest {
            min_bytes: 1_000_000,
            ..request(&[(0, 64 << 20)])
        };
        total(&client.call(&asked, VERSION))
    };
    assert!(ask(&mut client) > BATCHES * BATCH_BYTES, "all of it is in memory");
    broker.stop();
    let broker = Broker::start(folder.path(), &[]);
    let bytes = ask(&mut Client::connect(broker.address()));
    assert!((BATCH_BYTES..1_000_000).contains(&bytes), "{bytes} from the disk");
    broker.stop();
}

#[test]
fn a_minimum_that_is_not_reached_waits_for_more() {
    let (_folder, broker, mut client) = fixture();
    let asked = FetchRequest {
        min_bytes: 50_000,
        ..request(&[(1, 1 << 20)])
    };
    client.send(&frame::request(&asked, VERSION, 1, None).unwrap());
    let mut other = Client::connect(broker.address());
    other.produce("t", &[(1, batch(&["too little"]))]);
    other.produce("t", &[(1, batch(&[&"x".repeat(60_000)]))]);
    let answer = client.frame().unwrap();
    let answer = frame::decode_response::<FetchRequest>(&answer, VERSION).unwrap().1;
    assert!(total(&answer) >= asked.min_bytes as usize, "{:?}", sizes(&answer));
    assert_eq!(batches(&answer.responses[0].partitions[0]), 2);
    broker.stop();
}

#[test]
fn a_maximum_of_nothing_is_one_batch_of_one_partition() {
    let (folder, broker, mut client) = fixture();
    client.produce("t", &[(1, batch(&["a"])), (1, batch(&["b"]))]);
    let ask = |client: &mut Client| {
        for partitions in [[(0, 1 << 20), (1, 1 << 20)], [(1, 1 << 20), (0, 1 << 20)]] {
            let asked = FetchRequest {
                max_bytes: 0,
                ..request(&partitions)
            };
            let answer = client.call(&asked, VERSION);
            let partitions = &answer.responses[0].partitions;
            assert_eq!(batches(&partitions[0]), 1, "the first in the client's order");
            assert_eq!(batches(&partitions[1]), 0);
        }
    };
    ask(&mut client);
    broker.stop();
    let broker = Broker::start(folder.path(), &[]);
    ask(&mut Client::connect(broker.address()));
    broker.stop();
}

#[test]
fn a_partition_that_is_named_twice_is_answered_once() {
    let (_folder, broker, mut client) = fixture();
    let mut asked = request(&[(0, 1 << 20), (1, 1 << 20), (0, 1 << 20), (0, 1)]);
    asked.topics.push(asked.topics[0].clone());
    // As the last one asks for it.
    asked.topics[1].partitions.truncate(1);
    asked.topics[1].partitions[0].fetch_offset = BATCHES as i64 - 1;
    for session_epoch in [-1, 0] {
        let asked = FetchRequest {
            session_epoch,
            ..asked.clone()
        };
        let answer = client.call(&asked, VERSION);
        let sizes = sizes(&answer);
        assert_eq!(sizes.len(), 2, "{sizes:?}");
        assert!(sizes[0].0 == 0 && sizes[1] == (1, 0), "{sizes:?}");
        assert_eq!(batches(&answer.responses[0].partitions[0]), 1);
    }
    broker.stop();
}
