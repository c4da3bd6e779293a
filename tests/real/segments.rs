//! Segments as `kafka-dump-log` reads them: after a clean stop, and after `kill -9` and `tidemill trim`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::broker::{Broker, PATIENCE, run_ok, wait_for};
use crate::kafka::{TOOL_TIME, kafka};

const SETTINGS: [&str; 3] = [
    "num.partitions=2",
    "log.segment.bytes=1048576",
    "tidemill.journal.bytes=67108864",
];

/// Every segment of the topics below this prefix, in order.
fn segments(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let is_topic = |path: &PathBuf| path.is_dir() && path.file_name().unwrap().to_str().unwrap().starts_with(prefix);
    let logs = entries(folder).into_iter().filter(is_topic);
    let mut segments: Vec<PathBuf> = logs.flat_map(|log| entries(&log)).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.sort();
    segments
}

/// What `kafka-dump-log` says about these segments; none of it may be a complaint.
#[track_caller]
fn dump(segments: &[PathBuf], options: &[&str]) -> String {
    let files: Vec<&str> = segments.iter().map(|path| path.to_str().unwrap()).collect();
    let dump = kafka(&[&["dump-log", "--files", &files.join(",")], options].concat());
    let complaints = [
        "isvalid: false",
        "Found timestamp mismatch",
        "Mismatches in",
        "Exception",
        "trailing",
        "Non-consecutive",
    ];
    let found = complaints.iter().find(|complaint| dump.contains(**complaint));
    assert!(found.is_none(), "{found:?} in {dump}");
    dump
}

/// The records that the batches claim to have.
fn records(dump: &str) -> usize {
    let counts = dump.split(" count: ").skip(1);
    counts
        .map(|rest| rest.split(' ').next().unwrap().parse::<usize>().unwrap())
        .sum()
}

fn line(number: usize) -> String {
    format!("{number} {}", "record ".repeat(number % 40))
}

mod java {
    pub mod kcat {
        use super::super::*;

        const CODECS: [&str; 4] = ["none", "gzip", "snappy", "zstd"];
        const LINES: usize = 60_000;

        fn produce(address: &str, topic: &str, codec: &str, from: &Path) -> Command {
            let mut kcat = Command::new("kcat");
            kcat.args(["-P", "-b", address, "-t", topic, "-z", codec]);
            kcat.args(["-X", "enable.idempotence=true", "-X", "linger.ms=20"]);
            kcat.stdin(std::fs::File::open(from).unwrap());
            kcat
        }

        /// Sorted: two partitions share the lines.
        fn consume(address: &str, topic: &str) -> Vec<String> {
            let mut kcat = Command::new("kcat");
            kcat.args(["-C", "-q", "-e", "-b", address, "-t", topic, "-o", "beginning"]);
            let mut lines: Vec<String> = run_ok(&mut kcat, TOOL_TIME).lines().map(str::to_owned).collect();
            lines.sort();
            lines
        }

        fn fill(broker: &Broker, lines: &Path) {
            let text: String = (0..LINES).map(|number| line(number) + "\n").collect();
            std::fs::write(lines, text).unwrap();
            for codec in CODECS {
                run_ok(
                    &mut produce(broker.address(), &format!("codec-{codec}"), codec, lines),
                    TOOL_TIME,
                );
            }
        }

        #[track_caller]
        fn expect_all(address: &str) {
            let mut expected: Vec<String> = (0..LINES).map(line).collect();
            expected.sort();
            for codec in CODECS {
                assert!(consume(address, &format!("codec-{codec}")) == expected, "{codec}");
            }
        }

        #[test]
        fn a_clean_stop_leaves_whole_segments() {
            let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let broker = Broker::start(folder.path(), &SETTINGS);
            fill(&broker, &scratch.path().join("lines"));
            broker.stop();
            let all = segments(folder.path(), "codec-");
            assert!(all.len() > 2 * CODECS.len(), "{all:?}");
            assert_eq!(records(&dump(&all, &[])), CODECS.len() * LINES);

            let one = segments(folder.path(), "codec-zstd-0");
            let deep = dump(&one[..1], &["--deep-iteration", "--print-data-log"]);
            let payloads: Vec<&str> = deep
                .lines()
                .filter_map(|line| Some(line.split_once(" payload: ")?.1))
                .collect();
            assert_eq!(payloads.len(), records(&deep));
            let mut numbers = payloads
                .iter()
                .map(|payload| payload.split(' ').next().unwrap().parse::<usize>().unwrap());
            assert!(
                numbers
                    .by_ref()
                    .zip(&payloads)
                    .all(|(number, payload)| line(number) == **payload)
            );

            let broker = Broker::start(folder.path(), &SETTINGS);
            expect_all(broker.address());
            broker.stop();
        }

        #[test]
        fn trim_makes_whole_segments_of_what_a_kill_left() {
            let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let broker = Broker::start(folder.path(), &SETTINGS);
            let lines = scratch.path().join("lines");
            fill(&broker, &lines);
            // In the middle of another.
            let mut unfinished = produce(broker.address(), "unfinished", "snappy", &lines);
            let mut unfinished = unfinished.stderr(Stdio::null()).spawn().unwrap();
            wait_for("the unfinished topic's log", || {
                folder.path().join("unfinished-0").exists().then_some(())
            });
            broker.kill();
            unfinished.kill().unwrap();
            unfinished.wait().unwrap();

            let mut trim = Command::new(env!("CARGO_BIN_EXE_tidemill"));
            run_ok(trim.arg("trim").arg(folder.path()), PATIENCE);
            let all = segments(folder.path(), "codec-");
            assert_eq!(records(&dump(&all, &[])), CODECS.len() * LINES);
            let unfinished = dump(&segments(folder.path(), "unfinished-"), &[]);

            let broker = Broker::start(folder.path(), &SETTINGS);
            expect_all(broker.address());
            assert_eq!(consume(broker.address(), "unfinished").len(), records(&unfinished));
            broker.stop();
        }
    }
}
