//! Connections that ask for more than they take: replies that nobody reads, requests behind one that waits for ever.

use bytes::Bytes;
use tidemill::wire::configs::{DescribeConfigsRequest, DescribeConfigsResource};
use tidemill::wire::produce_fetch::FetchRequest;

use crate::broker::Broker;
use crate::client::{Client, FETCH, Neighbour, batch, fetch_request};

const METADATA: i16 = 3;

/// All of one shard, so that everybody is in everybody's way.
fn broker(settings: &[&str]) -> (tempfile::TempDir, Broker, Neighbour) {
    let folder = tempfile::tempdir().unwrap();
    let settings = [&["tidemill.cores=0"], settings].concat();
    let broker = Broker::start(folder.path(), &settings);
    let neighbour = Neighbour::new(broker.address());
    (folder, broker, neighbour)
}

/// The most memory that the broker had at a time, in MiB.
pub fn peak_mib(broker: &Broker) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

#[test]
fn requests_without_end_whose_answers_nobody_reads() {
    const REQUESTS: usize = 10_000;
    let (_folder, broker, mut neighbour) = broker(&[]);
    Client::connect(broker.address()).create("wide", 500, &[]);
    neighbour.is_served();
    let before = peak_mib(&broker);
    let mut client = Client::connect(broker.address());
    let mut flood = client.twin();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Of all topics, in the version that needs 18 bytes for it.
            let request = [0, 0, 0, 14, 0, METADATA as u8, 0, 0, 0, 0, 0, 7, 0xff, 0xff, 0, 0, 0, 0];
            flood.send(&request.repeat(REQUESTS));
        });
        (0..20).for_each(|_| neighbour.is_served());
        for answered in 0..REQUESTS {
            assert!(client.frame().unwrap().len() > 13_000);
            if answered % 1000 == 0 {
                neighbour.is_served();
            }
        }
    });
    // The answers are more than 130 MB.
    let grown = peak_mib(&broker) - before;
    assert!(grown < 48, "memory grew by {grown} MiB");
    broker.stop();
}

#[test]
fn a_fetch_that_waits_for_ever_and_a_large_request_behind_it() {
    let (_folder, broker, mut neighbour) = broker(&["queued.max.request.bytes=1048576"]);
    neighbour.is_served();
    let waits = FetchRequest {
        max_wait_ms: i32::MAX,
        min_bytes: i32::MAX,
        ..fetch_request(Neighbour::TOPIC, [0], 0)
    };
    let mut client = Client::connect(broker.address());
    client.ask(&waits, FETCH);
    let mut behind = client.twin();
    let mut others: Vec<Client> = (0..4).map(|_| Client::connect(broker.address())).collect();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            behind.try_send(&3_000_000i32.to_be_bytes());
            behind.try_send(&vec![0; 3_000_000]);
        });
        for round in 0..40 {
            neighbour.is_served();
            if round % 10 == 5 {
                others[round / 10].ask(&waits, FETCH);
            }
        }
        client.shut();
    });
    neighbour.is_served();
    drop(others);
    broker.stop();
}

#[test]
fn consumers_that_fetch_all_and_take_nothing() {
    const PARTITIONS: i32 = 60;
    // The cache is as small as it can be.
    let (_folder, broker, mut neighbour) = broker(&["tidemill.cache.bytes=0"]);
    let mut client = Client::connect(broker.address());
    client.create("cold", PARTITIONS, &[]);
    let value = "v".repeat(500_000);
    for _ in 0..2 {
        let batches: Vec<(i32, Bytes)> = (0..PARTITIONS).map(|partition| (partition, batch(&[&value]))).collect();
        for batch in batches {
            let answer = client.produce("cold", &[batch]).remove(0);
            assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        }
    }
    let mut all = fetch_request("cold", 0..PARTITIONS, 0);
    all.topics[0]
        .partitions
        .iter_mut()
        .for_each(|partition| partition.partition_max_bytes = 1 << 20);
    let before = peak_mib(&broker);
    let mut slow: Vec<Client> = (0..20).map(|_| Client::connect(broker.address())).collect();
    for client in &mut slow {
        client.ask(&all, FETCH);
        neighbour.is_served();
    }
    // Whoever takes what he asks for gets everything.
    let values = client.values("cold", 0);
    assert!(values.len() == 2 && values.iter().all(|(_, read)| *read == value));
    // They asked for a gigabyte.
    let grown = peak_mib(&broker) - before;
    assert!(grown < 96, "memory grew by {grown} MiB");
    // Whoever would wait for more than there is memory for does not wait.
    let waits = FetchRequest {
        max_wait_ms: i32::MAX,
        min_bytes: i32::MAX,
        ..all
    };
    assert!(client.call(&waits, FETCH).responses[0].partitions[0].records.is_some());
    for client in &mut slow {
        let answer = client.answer::<FetchRequest>(FETCH);
        let partitions = &answer.responses[0].partitions;
        assert!(partitions.iter().all(|partition| partition.error_code == 0));
        assert!(partitions.iter().any(|partition| {
            partition
                .records
                .as_ref()
                .is_some_and(|records| records.len() > 500_000)
        }));
        neighbour.is_served();
    }
    broker.stop();
}

/// Each asks for little enough; all of them together do not.
#[test]
fn many_clients_that_take_no_answer() {
    const TOPICS: usize = 50;
    const CLIENTS: usize = 200;
    const DESCRIBE_CONFIGS: i16 = 4;
    let (_folder, broker, mut neighbour) = broker(&["tidemill.cache.bytes=0", "socket.send.buffer.bytes=16384"]);
    let mut client = Client::connect(broker.address());
    let topics: Vec<String> = (0..TOPICS).map(|topic| format!("topic-{topic}")).collect();
    for topic in &topics {
        client.create(topic, 1, &[]);
    }
    let everything = DescribeConfigsRequest {
        resources: topics
            .iter()
            .map(|topic| DescribeConfigsResource {
                resource_type: 2,
                resource_name: topic.as_str().into(),
                configuration_keys: None,
            })
            .collect(),
        include_synonyms: true,
        include_documentation: true,
    };
    let one = client.call(&everything, DESCRIBE_CONFIGS);
    assert_eq!(one.results.len(), TOPICS);
    neighbour.is_served();
    let before = peak_mib(&broker);
    let mut flood: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(broker.address())).collect();
    for client in &mut flood {
        client.ask(&everything, DESCRIBE_CONFIGS);
    }
    (0..20).for_each(|_| neighbour.is_served());
    // Who takes the answer gets it, however many before him do not.
    assert_eq!(client.call(&everything, DESCRIBE_CONFIGS), one);
    neighbour.is_served();
    let grown = peak_mib(&broker) - before;
    assert!(grown < 40, "memory grew by {grown} MiB");
    drop(flood);
    (0..20).for_each(|_| neighbour.is_served());
    let log = broker.stop();
    assert!(log.contains("it does not take its replies"), "{log}");
}
