//! Batches of a few kilobytes whose records inflate to almost what the topic allows: they are right and are taken, and the
//! work that they make is nobody else's.

use bytes::Bytes;
use tidemill::record::{BatchBuilder, Codec};
use tidemill::types::Random;
use tidemill::wire::frame;
use tidemill::wire::offsets::*;
use tidemill::wire::produce_fetch::*;

use crate::broker::{Broker, complaints};
use crate::client::{Client, Neighbour, now_ms};

const TOPIC: &str = "bombs";
const PARTITIONS: i32 = 24;
const RECORDS: i64 = 9;

/// 90 MB of zeros in about 9 KB.
fn bomb(first_ms: i64) -> Bytes {
    let zeros = vec![0; 10 << 20];
    let mut builder = BatchBuilder::new().compression(Codec::Zstd);
    (0..RECORDS).for_each(|i| builder.push(first_ms + i, None, Some(&zeros), &[]));
    builder.build().freeze()
}

/// What compresses badly, and is large enough to be checked where the bombs are.
fn large() -> Bytes {
    let mut random = Random::new(1);
    let noise: Vec<u8> = (0..20_000).flat_map(|_| random.next_u64().to_be_bytes()).collect();
    let builder = BatchBuilder::new().compression(Codec::Lz4);
    builder.record(now_ms(), None, Some(&noise)).build().freeze()
}

fn produce(records: &Bytes) -> ProduceRequest {
    let partition = |index| PartitionProduceData {
        index,
        records: Some(records.clone()),
    };
    ProduceRequest {
        acks: -1,
        timeout_ms: 20_000,
        topic_data: vec![TopicProduceData {
            name: TOPIC.into(),
            partition_data: (0..PARTITIONS).map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Where the last record of each bomb is: all of it must be inflated to know.
fn list_offsets(first_ms: i64) -> ListOffsetsRequest {
    let partition = |partition_index| ListOffsetsPartition {
        partition_index,
        timestamp: first_ms + RECORDS - 1,
        ..Default::default()
    };
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: TOPIC.into(),
            partitions: (0..PARTITIONS).map(partition).collect(),
        }],
        ..Default::default()
    }
}

/// How often the neighbours were served until the broker was through with what it was sent.
struct Served {
    small: usize,
    large: usize,
}

fn served_until<T: Send>(broker: &Broker, neighbour: &mut Neighbour, done: impl FnOnce() -> T + Send) -> (Served, T) {
    let large = large();
    let mut served = Served { small: 0, large: 0 };
    let result = std::thread::scope(|scope| {
        let work = scope.spawn(done);
        let others = scope.spawn(|| {
            let mut client = Client::connect(broker.address());
            let mut count = 0;
            while !work.is_finished() {
                let answer = client.produce("large", &[(0, large.clone())]).remove(0);
                assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
                count += 1;
            }
            (count, work.join().unwrap())
        });
        while !others.is_finished() {
            neighbour.is_served();
            served.small += 1;
        }
        let (count, result) = others.join().unwrap();
        served.large = count;
        result
    });
    (served, result)
}

#[test]
fn neighbours_are_served_while_bombs_go_off() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &["tidemill.cores=0"]);
    let mut neighbour = Neighbour::new(broker.address());
    let mut client = Client::connect(broker.address());
    client.create(TOPIC, PARTITIONS, &[]);
    client.create("large", 1, &[]);
    let first_ms = now_ms();
    let bomb = bomb(first_ms);
    assert!(bomb.len() < 60_000, "{}", bomb.len());

    const ROUNDS: i32 = 4;
    let (served, ()) = served_until(&broker, &mut neighbour, || {
        let request = |id| frame::request(&produce(&bomb), 12, id, Some("test")).unwrap();
        client.send(&(0..ROUNDS).flat_map(request).collect::<Vec<u8>>());
        for id in 0..ROUNDS {
            let answer = client.frame().expect("the connection was closed");
            let (correlation_id, answer) = frame::decode_response::<ProduceRequest>(&answer, 12).unwrap();
            assert_eq!(correlation_id, id);
            for partition in &answer.responses[0].partition_responses {
                assert_eq!(partition.error_code, 0, "{:?}", partition.error_message);
                assert_eq!(partition.base_offset, i64::from(id) * RECORDS);
            }
        }
    });
    // A loop that does the work itself serves nobody meanwhile.
    let bombs = (ROUNDS * PARTITIONS) as usize;
    assert!(
        served.small > bombs / 8,
        "served {} times during {bombs} bombs",
        served.small
    );
    // Behind a bomb of the other connection each time, not behind one of each partition.
    assert!(
        served.large > bombs / 8,
        "served {} times during {bombs} bombs",
        served.large
    );

    let (served, ()) = served_until(&broker, &mut neighbour, || {
        for _ in 0..ROUNDS {
            let answer = client.call(&list_offsets(first_ms), 7);
            for partition in &answer.topics[0].partitions {
                assert_eq!((partition.error_code, partition.offset), (0, RECORDS - 1));
            }
        }
    });
    assert!(
        served.small > bombs / 8,
        "served {} times during {bombs} lookups",
        served.small
    );
    assert!(
        served.large > bombs / 8,
        "served {} times during {bombs} lookups",
        served.large
    );
    neighbour.reads();
    let log = broker.stop();
    assert!(complaints(&log).is_empty(), "{log}");
}
