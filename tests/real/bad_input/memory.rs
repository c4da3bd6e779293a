//! What strangers make the broker hold, by the peak of its resident memory (VmHWM).

use bytes::Bytes;
use tidemill::error::ErrorCode;
use tidemill::record::{BatchBuilder, Codec};
use tidemill::types::Random;
use tidemill::wire::configs::*;
use tidemill::wire::topics::*;

use super::floods::peak_mib;
use crate::broker::{Broker, complaints};
use crate::client::{Client, Neighbour, now_ms};

/// What README promises for two shards, beyond the frames that are being answered. Without optimisation the binary itself is
/// larger than the one that README speaks of.
const BOUND_MIB: usize = 400;

fn broker() -> (tempfile::TempDir, Broker, Neighbour) {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let neighbour = Neighbour::new(broker.address());
    (folder, broker, neighbour)
}

/// Seven tenths of it noise.
fn large(codec: Codec, bytes: usize) -> Bytes {
    let mut random = Random::new(1);
    let value: Vec<u8> = (0..bytes / 8)
        .flat_map(|at| if at % 10 < 7 { random.next_u64() } else { 0 }.to_be_bytes())
        .collect();
    let builder = BatchBuilder::new().compression(codec);
    builder.record(now_ms(), None, Some(&value)).build().freeze()
}

#[test]
fn the_costliest_compression_that_a_client_may_set() {
    const CLIENTS: usize = 4;
    let (_folder, broker, mut neighbour) = broker();
    let topic = [("compression.type", "zstd"), ("compression.zstd.level", "22")];
    Client::connect(broker.address()).create("costly", CLIENTS as i32, &topic);
    // Of a content that is not known to be smaller, an encoder of this level takes 750 MB.
    let batch = large(Codec::Lz4, 400_000);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS as i32)
            .map(|partition| {
                let (broker, batch) = (&broker, batch.clone());
                scope.spawn(move || {
                    Client::connect(broker.address())
                        .produce("costly", &[(partition, batch)])
                        .remove(0)
                })
            })
            .collect();
        while !clients.iter().all(|client| client.is_finished()) {
            neighbour.is_served();
        }
        for client in clients {
            let answer = client.join().unwrap();
            assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        }
    });
    let peak = peak_mib(&broker);
    assert!(peak < BOUND_MIB, "{peak} MiB");
    let log = broker.stop();
    assert!(complaints(&log).is_empty(), "{log}");
}

/// A frame of zstd may ask its reader for 128 MiB, and its content fill them.
#[test]
fn the_costliest_inflation_that_a_client_may_send() {
    const CLIENTS: usize = 4;
    let (_folder, broker, mut neighbour) = broker();
    Client::connect(broker.address()).create("wide", CLIENTS as i32, &[]);
    let zeros = vec![0; 8 << 20];
    let mut builder = BatchBuilder::new().compression(Codec::Zstd);
    (0..11).for_each(|_| builder.push(now_ms(), None, Some(&zeros), &[]));
    let batch = wide(builder.build().to_vec());
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS as i32)
            .map(|partition| {
                let (broker, batch) = (&broker, batch.clone());
                scope.spawn(move || {
                    Client::connect(broker.address())
                        .produce("wide", &[(partition, batch)])
                        .remove(0)
                })
            })
            .collect();
        while !clients.iter().all(|client| client.is_finished()) {
            neighbour.is_served();
        }
        for client in clients {
            let answer = client.join().unwrap();
            assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        }
    });
    let peak = peak_mib(&broker);
    assert!(peak < BOUND_MIB, "{peak} MiB");
    broker.stop();
}

/// The same records in a frame that asks for the largest window.
fn wide(batch: Vec<u8>) -> Bytes {
    const HEADER_BYTES: usize = 61;
    let records = zstd::decode_all(&batch[HEADER_BYTES..]).unwrap();
    let mut encoder = zstd::Encoder::new(batch[..HEADER_BYTES].to_vec(), 1).unwrap();
    encoder.window_log(27).unwrap();
    std::io::Write::write_all(&mut encoder, &records).unwrap();
    let mut wide = encoder.finish().unwrap();
    let length = (wide.len() - 12) as i32;
    wide[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = tidemill::record::crc::crc32c(&wide[21..]);
    wide[17..21].copy_from_slice(&crc.to_be_bytes());
    wide.into()
}

#[test]
fn errors_do_not_repeat_all_that_was_sent() {
    const TOPICS: usize = 1000;
    let (_folder, broker, mut neighbour) = broker();
    let mut client = Client::connect(broker.address());
    let long = |number: usize| format!("{number}-{}", "x".repeat(32_000));
    let topic = |number| CreatableTopic {
        name: long(number),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest {
        topics: (0..TOPICS).map(topic).collect(),
        ..Default::default()
    };
    let before = peak_mib(&broker);
    for topic in client.call(&request, 7).topics {
        assert_eq!(topic.error_code, ErrorCode::InvalidTopicException.code());
        let message = topic.error_message.unwrap();
        assert!(message.len() < 400 && message.contains("bytes)"), "{message}");
    }
    neighbour.is_served();
    let grown = peak_mib(&broker) - before;
    // The frame, its names, the answer's, and the answer.
    assert!(grown < 5 * ((TOPICS * 32_000) >> 20), "{grown} MiB");

    // Each name is looked up among the settings, and none of them is worth the guess at what was meant that others get.
    let topic = |number| CreatableTopic {
        name: format!("topic-{number}"),
        num_partitions: 1,
        replication_factor: 1,
        configs: vec![CreatableTopicConfig {
            name: long(number),
            value: Some("1".into()),
        }],
        ..Default::default()
    };
    let request = CreateTopicsRequest {
        topics: (0..TOPICS).map(topic).collect(),
        ..Default::default()
    };
    let asked = std::time::Instant::now();
    for topic in client.call(&request, 7).topics {
        assert_eq!(topic.error_code, ErrorCode::InvalidConfig.code());
        assert!(topic.error_message.unwrap().len() < 400);
    }
    assert!(
        asked.elapsed() < std::time::Duration::from_secs(15),
        "{:?}",
        asked.elapsed()
    );

    client.create("topic", 1, &[]);
    let alter = AlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 2,
            resource_name: "topic".into(),
            configs: (0..TOPICS)
                .map(|number| AlterConfigsAlterableConfig {
                    name: long(number),
                    value: Some(String::new()),
                })
                .collect(),
        }],
        ..Default::default()
    };
    let refused = client.call(&alter, 1).responses.remove(0);
    assert_ne!(refused.error_code, 0);
    let message = refused.error_message.unwrap();
    assert!(message.len() < 400, "{message}");
    neighbour.is_served();
    let log = broker.stop();
    assert!(complaints(&log).is_empty(), "{log}");
}
