//! ListOffsets by time over many partitions, as `offsetsForTimes` asks: each batch is read once, few of them at a time.

use tidemill::record::{BatchBuilder, Codec};
use tidemill::types::Random;
use tidemill::wire::offsets::*;

use super::floods::peak_mib;
use crate::broker::{Broker, complaints};
use crate::client::{Client, Neighbour, now_ms};

const TOPIC: &str = "lookups";
const PARTITIONS: i32 = 64;
const RECORDS: i64 = 10;
const BATCH_BYTES: usize = 640 * 1024;

/// How many bytes the broker has read from the device.
fn read_bytes(broker: &Broker) -> usize {
    let io = std::fs::read_to_string(format!("/proc/{}/io", broker.pid())).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap();
    line.parse().unwrap()
}

#[test]
fn each_batch_is_read_once_and_few_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first_ms = now_ms();
    let mut random = Random::new(1);
    let mut builder = BatchBuilder::new().compression(Codec::Gzip);
    for i in 0..RECORDS {
        let noise: Vec<u8> = (0..BATCH_BYTES / 10 / 8)
            .flat_map(|_| random.next_u64().to_be_bytes())
            .collect();
        builder.push(first_ms + i, None, Some(&noise), &[]);
    }
    let batch = builder.build().freeze();
    let data_bytes = batch.len() * PARTITIONS as usize;

    let broker = Broker::start(folder.path(), &[]);
    let mut client = Client::connect(broker.address());
    client.create(TOPIC, PARTITIONS, &[]);
    for partition in 0..PARTITIONS {
        let answer = client.produce(TOPIC, &[(partition, batch.clone())]).remove(0);
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    }
    broker.stop();

    // What was stopped and started again has nothing in memory.
    let broker = Broker::start(folder.path(), &["tidemill.cores=0"]);
    let mut neighbour = Neighbour::new(broker.address());
    neighbour.is_served();
    let mut client = Client::connect(broker.address());
    let (read_before, peak_before) = (read_bytes(&broker), peak_mib(&broker));
    let partition = |partition_index| ListOffsetsPartition {
        partition_index,
        timestamp: first_ms + RECORDS / 2,
        ..Default::default()
    };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: TOPIC.into(),
            partitions: (0..PARTITIONS).map(partition).collect(),
        }],
        ..Default::default()
    };
    for found in client.call(&request, 7).topics.remove(0).partitions {
        assert_eq!((found.error_code, found.offset), (0, RECORDS / 2));
    }
    let read = read_bytes(&broker) - read_before;
    assert!(
        read >= data_bytes && read < data_bytes * 3 / 2,
        "{read} bytes of {data_bytes}"
    );
    // All at once they would be held twice, as read and as a worker thread searches it.
    let grown_mib = peak_mib(&broker) - peak_before;
    assert!(grown_mib < 20, "{grown_mib} MiB for {} MiB", data_bytes >> 20);
    neighbour.is_served();
    let log = broker.stop();
    assert!(complaints(&log).is_empty(), "{log}");
}
