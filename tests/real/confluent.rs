//! The newest librdkafka, as Python programs have it.

use std::path::PathBuf;
use std::process::Command;

use tidemill::record::Codec;
use tidemill::record::scan::{Depth, Scan};

use crate::broker::{Broker, complaints, run_ok};
use crate::client::{Client, FETCH, fetch_request};
use crate::kafka::TOOL_TIME;

/// Where tools/install puts it: the newest of the versions that are there.
fn library() -> PathBuf {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"),
    };
    let is_ours = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("confluent-kafka-")
    };
    let found = std::fs::read_dir(cache.join("tidemill")).into_iter().flatten();
    let mut found: Vec<_> = found.map(|entry| entry.unwrap().path()).filter(is_ours).collect();
    found.sort();
    found
        .pop()
        .expect("tools/install puts confluent-kafka into the project's cache")
}

#[test]
fn a_whole_round() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let mut program = Command::new("python3");
    program.env("PYTHONPATH", library());
    program.args([
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/confluent_round.py"),
        broker.address(),
    ]);
    let said = run_ok(&mut program, TOOL_TIME);
    assert!(said.contains("\na whole round with librdkafka 2."), "{said}");
    // What a person sees who subscribes.
    assert!(
        said.contains("subscriber: _UNSUPPORTED_FEATURE JoinGroup failed"),
        "{said}"
    );

    // A library that believes the broker not to know a codec stores uncompressed, without a word.
    let mut client = Client::connect(broker.address());
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for (partition, codec) in (0..).zip(codecs) {
        // Behind what the program deleted.
        let request = fetch_request("round", [partition], 200);
        let answer = client.call(&request, FETCH).responses.remove(0).partitions.remove(0);
        let records = answer.records.unwrap();
        let batches = Scan::new(&records, Depth::Crc);
        let stored: Vec<Codec> = batches.map(|view| view.header.codec().unwrap()).collect();
        assert!(
            !stored.is_empty() && stored.iter().all(|stored| *stored == codec),
            "{partition}: {stored:?}"
        );
    }
    let log = broker.stop();
    assert!(complaints(&log).is_empty(), "{log}");
}
