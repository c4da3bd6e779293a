//! A device without room: produces are refused and say so, everything else works, and it ends by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tidemill::error::ErrorCode;
use tidemill::types::Uuid;
use tidemill::wire::topics::*;

use crate::broker::{Broker, run_ok, wait_for};
use crate::client::{Client, Neighbour, batch};
use crate::mount::Mount;

const MIB: u64 = 1024 * 1024;

/// Takes room away until this much is left.
fn fill(at: &Path, left: u64) -> PathBuf {
    let filler = at.join("filler");
    let blocks = Command::new("stat")
        .args(["-f", "-c", "%a %S"])
        .arg(at)
        .output()
        .unwrap()
        .stdout;
    let blocks = String::from_utf8(blocks).unwrap();
    let (count, size) = blocks.trim().split_once(' ').unwrap();
    let free = count.parse::<u64>().unwrap() * size.parse::<u64>().unwrap();
    let mut take = Command::new("fallocate");
    take.arg("-l").arg((free - left).to_string()).arg(&filler);
    run_ok(&mut take, Duration::from_secs(30));
    filler
}

/// Produces a record until the answer is this code.
#[track_caller]
fn wait_produced(client: &mut Client, topic: &str, code: ErrorCode) -> Option<String> {
    wait_for(&format!("a produce that is answered {code:?}"), || {
        let answer = client.produce(topic, &[(0, batch(&["more"]))]).remove(0);
        assert!(
            [0, ErrorCode::KafkaStorageError.code()].contains(&answer.error_code),
            "{answer:?}"
        );
        (answer.error_code == code.code()).then_some(answer.error_message)
    })
}

#[test]
fn produces_are_refused_until_there_is_room_and_nothing_else() {
    let Some(mount) = Mount::make() else { return };
    let data = mount.at().join("data");
    let settings = ["tidemill.disk.reserve.bytes=20971520", "log.segment.delete.delay.ms=0"];
    let broker = Broker::start(&data, &settings);
    let mut neighbour = Neighbour::new(broker.address());
    neighbour.is_served();
    let mut client = Client::connect(broker.address());
    for topic in ["kept", "given-up"] {
        client.create(topic, 1, &[]);
    }
    let large = "x".repeat(900_000);
    for _ in 0..8 {
        client.append("given-up", &large);
        client.append("kept", "before");
    }

    let filler = fill(&mount.at(), 16 * MIB);
    let message = wait_produced(&mut client, "kept", ErrorCode::KafkaStorageError).unwrap();
    assert!(
        message.contains("full") && message.contains(data.to_str().unwrap()),
        "{message}"
    );
    let line = broker.wait_log("the disk is full");
    assert!(
        line.contains(data.to_str().unwrap()) && line.contains("bytes free"),
        "{line}"
    );
    // Reads and administration work, and the one who only reads does not notice.
    neighbour.reads();
    let values = client.values("kept", 0);
    assert!(values.len() >= 8 && values[..8].iter().all(|(_, value)| value == "before"));
    client.create("made-when-full", 1, &[]);
    let delete = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some("given-up".into()),
            topic_id: Uuid::ZERO,
        }],
        ..Default::default()
    };
    assert_eq!(client.call(&delete, 6).responses[0].error_code, 0);
    wait_for("the deleted topic's folder to go", || {
        let names = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name());
        let left = names
            .into_iter()
            .filter(|name| name.to_str().unwrap().starts_with("given-up"))
            .count();
        (left == 0).then_some(())
    });

    fs::remove_file(filler).unwrap();
    wait_produced(&mut client, "kept", ErrorCode::None);
    neighbour.is_served();
    neighbour.reads();
    let kept = client.values("kept", 0);
    let log = broker.stop();
    let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    // One line of each shard, or of the one that produces were for.
    assert!((1..=2).contains(&lines("the disk is full")), "{log}");
    assert!(
        lines("produces are accepted") >= 1 && lines(" ERROR ") == lines("the disk is full"),
        "{log}"
    );

    let broker = Broker::start(&data, &settings);
    assert_eq!(Client::connect(broker.address()).values("kept", 0), kept);
    broker.stop();
}

#[test]
fn a_device_that_fills_to_the_last_byte_loses_nothing() {
    let Some(mount) = Mount::make() else { return };
    let data = mount.at().join("data");
    // No reserve: the file system itself says no.
    let settings = ["tidemill.disk.reserve.bytes=0", "log.segment.bytes=1048576"];
    let broker = Broker::start(&data, &settings);
    let mut client = Client::connect(broker.address());
    client.create("topic", 1, &[]);
    let filler = fill(&mount.at(), 4 * MIB);
    let large = "x".repeat(100_000);
    let mut acknowledged = Vec::new();
    let refused = (0..2000).find_map(|number| {
        let value = format!("{number} {large}");
        let answer = client.produce("topic", &[(0, batch(&[&value]))]).remove(0);
        if answer.error_code == 0 {
            acknowledged.push((answer.base_offset, value));
            return None;
        }
        Some(answer)
    });
    let refused = refused.expect("200 MB fit into 96 MiB");
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError.code(), "{refused:?}");
    assert!(client.values("topic", 0) == acknowledged);
    fs::remove_file(filler).unwrap();
    let more = wait_produced(&mut client, "topic", ErrorCode::None);
    assert_eq!(more, None);
    broker.kill();
    let broker = Broker::start(&data, &settings);
    let values = Client::connect(broker.address()).values("topic", 0);
    assert!(values[..acknowledged.len()] == acknowledged[..]);
    assert!(values[acknowledged.len()..].iter().all(|(_, value)| value == "more"));
    broker.stop();
}
