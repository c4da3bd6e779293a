//! The power goes: the real binary on real file systems, on a disk that remembers each write and each flush (`disk`). One
//! history of producing, creating, deleting, killing and stopping is recorded; then the power is cut at many points of it,
//! and a start on what the disk may hold there must show everything that was acknowledged before the cut.
//!
//! `tools/power-cuts N` tries more points than the few here. A disk that fails is kept as an image, with its name in the
//! test's message.

mod disk;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tidemill::types::{Random, Uuid};
use tidemill::wire::metadata::MetadataRequest;
use tidemill::wire::offsets::*;
use tidemill::wire::topics::*;

use crate::broker::{Broker, complaints};
use crate::client::{Client, batch};
use disk::{Disk, FileSystem, Mounted, SharedDisk};

/// Segments roll, and the smallest ring is lapped. The disk is small.
const SETTINGS: &[&str] = &["log.segment.bytes=1048576", "tidemill.disk.reserve.bytes=1048576"];

/// Topics of one partition, which is on one or the other shard as its id has it.
const TOPICS: [&str; 4] = ["one", "two", "three", "four"];
/// A broker's lives: the first ends by kill -9, the second by SIGTERM, the third with the recording.
const LIVES: usize = 3;
/// Of each topic in each life.
const BATCHES: u64 = 40;

/// What was asked and what was acknowledged, each with the number of disk operations that were done before it was noted: so a
/// power cut from there on comes after it.
#[derive(Default)]
struct Truth {
    topics: BTreeMap<String, Topic>,
}

#[derive(Default)]
struct Topic {
    /// When it was acknowledged.
    created: Option<usize>,
    delete_asked: Option<usize>,
    deleted: Option<usize>,
    /// When the records below an offset were acknowledged.
    ends: Vec<(usize, i64)>,
    /// When the deletion of the records below an offset was asked for and when it was acknowledged.
    starts: Vec<(usize, usize, i64)>,
}

/// A recording that goes on, as its threads share it.
#[derive(Clone)]
struct Recording {
    disk: SharedDisk,
    truth: Arc<Mutex<Truth>>,
}

impl Recording {
    fn now(&self) -> usize {
        self.disk.lock().unwrap().now()
    }

    /// Notes what has just been seen. The operations that made it so are on the disk, so the time is taken first.
    fn note(&self, topic: &str, change: impl FnOnce(&mut Topic, usize)) {
        let now = self.now();
        change(
            self.truth.lock().unwrap().topics.entry(topic.to_owned()).or_default(),
            now,
        );
    }

    fn create(&self, client: &mut Client, topic: &str) {
        self.note(topic, |_, _| ());
        client.create(topic, 1, &[]);
        self.note(topic, |topic, now| topic.created = Some(now));
    }

    fn append(&self, client: &mut Client, topic: &str, from: i64, records: u64) -> i64 {
        let values: Vec<String> = (from..from + records as i64)
            .map(|offset| value(topic, offset))
            .collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let answer = client.produce(topic, &[(0, batch(&values))]).remove(0);
        assert_eq!(
            (answer.error_code, answer.base_offset),
            (0, from),
            "{:?}",
            answer.error_message
        );
        let end = from + records as i64;
        self.note(topic, |topic, now| topic.ends.push((now, end)));
        end
    }

    /// Some ten megabytes to one topic; the last batch is sent and not waited for.
    fn produce(&self, address: &str, topic: &str, life: usize, mut chance: Random) {
        let mut client = Client::connect(address);
        let known = self.truth.lock().unwrap().topics[topic]
            .ends
            .last()
            .map_or(0, |end| end.1);
        let mut end = client.fetch(topic, known).high_watermark;
        for n in 0..BATCHES {
            // Single records, and now and then what is several commits' worth.
            let records = match chance.below(8) {
                0 => 1500,
                1 | 2 => 300,
                _ => 1 + chance.below(10),
            };
            end = self.append(&mut client, topic, end, records);
            if topic == TOPICS[0] && n == BATCHES / 2 {
                self.delete_records(&mut client, topic, end / 2 + life as i64);
            }
        }
        let values = [value(topic, end), value(topic, end + 1)];
        client.ask_produce(topic, &[(0, batch(&values.each_ref().map(String::as_str)))]);
    }

    fn delete_records(&self, client: &mut Client, name: &str, offset: i64) {
        let asked = self.now();
        let partition = DeleteRecordsPartition {
            partition_index: 0,
            offset,
        };
        let topic = DeleteRecordsTopic {
            name: name.to_owned(),
            partitions: vec![partition],
        };
        let request = DeleteRecordsRequest {
            topics: vec![topic],
            timeout_ms: 20_000,
        };
        let answer = client.call(&request, 2).topics.remove(0).partitions.remove(0);
        assert_eq!((answer.error_code, answer.low_watermark), (0, offset));
        self.note(name, |topic, now| topic.starts.push((asked, now, offset)));
    }

    /// Topics that come and go.
    fn churn(&self, address: &str, life: usize) {
        let mut client = Client::connect(address);
        for n in 0..6 {
            let topic = format!("life-{life}-{n}");
            self.create(&mut client, &topic);
            self.append(&mut client, &topic, 0, 3);
            if n % 3 != 0 {
                self.note(&topic, |topic, now| topic.delete_asked = Some(now));
                let state = DeleteTopicState {
                    name: Some(topic.clone()),
                    topic_id: Uuid::ZERO,
                };
                let request = DeleteTopicsRequest {
                    topics: vec![state],
                    timeout_ms: 20_000,
                    ..Default::default()
                };
                assert_eq!(client.call(&request, 6).responses[0].error_code, 0);
                self.note(&topic, |topic, now| topic.deleted = Some(now));
            }
        }
    }

    /// The whole history; how many operations it had.
    fn record(&self, data: &Path) -> usize {
        for life in 0..LIVES {
            let broker = Broker::start(data, SETTINGS);
            let address = broker.address();
            if life == 0 {
                let mut client = Client::connect(address);
                TOPICS.iter().for_each(|topic| self.create(&mut client, topic));
            }
            std::thread::scope(|scope| {
                for (n, topic) in TOPICS.iter().enumerate() {
                    scope.spawn(move || self.produce(address, topic, life, Random::new((life * 10 + n) as u64)));
                }
                scope.spawn(move || self.churn(address, life));
            });
            let end = self.now();
            match life {
                0 => _ = broker.kill(),
                1 => _ = broker.stop(),
                _ => return end,
            }
        }
        unreachable!("the last life ends the recording")
    }
}

/// The record at an offset, which is known without having been noted.
fn value(topic: &str, offset: i64) -> String {
    let length = offset as usize * 7919 % 700;
    format!("{topic} {offset} {}", "x".repeat(length))
}

/// Starts a broker on what a power cut left and compares it with what was acknowledged before.
fn judge(data: &Path, truth: &Truth, cut: usize) -> Result<(), String> {
    let broker = Broker::spawn(&mut crate::broker::serve(data, SETTINGS)).map_err(|log| format!("no start:\n{log}"))?;
    let log = broker.log();
    let before = |when: Option<usize>| when.is_some_and(|when| when <= cut);
    // The power may go between a deletion and the renaming of the folder, which is kept then.
    let is_of_a_deletion = |line: &str| {
        let is_gone = |(_, topic): &(&String, &Topic)| !before(topic.created) || before(topic.delete_asked);
        let says = |(name, _): (&String, &Topic)| line.contains(&format!(" {name}-0 belongs to no topic that exists"));
        truth.topics.iter().filter(is_gone).any(says)
    };
    // Or between the first index files of a log and its first recovery point.
    let is_of_a_first_point =
        |line: &str| line.contains("tidemill.recovery is missing, so that the segments are scanned");
    if !(complaints(&log).into_iter()).all(|line| is_of_a_deletion(line) || is_of_a_first_point(line)) {
        return Err(format!("complaints:\n{log}"));
    }
    let mut client = Client::connect(broker.address());
    let all = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    let mut found: BTreeMap<String, ()> = BTreeMap::new();
    for topic in client.call(&all, 12).topics {
        found.insert(topic.name.unwrap(), ());
    }
    if let Some(strange) = found.keys().find(|name| !truth.topics.contains_key(*name)) {
        return Err(format!("nobody asked for a topic {strange}"));
    }
    for (name, topic) in &truth.topics {
        let is_there = found.contains_key(name);
        if before(topic.created) && !before(topic.delete_asked) && !is_there {
            return Err(format!("topic {name} is lost"));
        }
        if before(topic.deleted) && is_there {
            return Err(format!("topic {name} is back after its deletion"));
        }
        if is_there {
            judge_records(&mut client, name, topic, cut).map_err(|wrong| format!("{name}: {wrong}\n{log}"))?;
        }
    }
    broker.stop();
    Ok(())
}

fn judge_records(client: &mut Client, name: &str, topic: &Topic, cut: usize) -> Result<(), String> {
    let end = topic
        .ends
        .iter()
        .take_while(|end| end.0 <= cut)
        .last()
        .map_or(0, |end| end.1);
    let answer = client.fetch(name, end);
    if answer.error_code != 0 {
        let code = answer.error_code;
        return Err(format!(
            "a fetch at {end}, which was acknowledged, is answered with error {code}"
        ));
    }
    let start = answer.log_start_offset;
    let least = topic
        .starts
        .iter()
        .filter(|start| start.1 <= cut)
        .map(|start| start.2)
        .max();
    let most = topic
        .starts
        .iter()
        .filter(|start| start.0 <= cut)
        .map(|start| start.2)
        .max();
    if !(least.unwrap_or(0)..=most.unwrap_or(0)).contains(&start) {
        return Err(format!("it begins at {start}, not in {least:?}..={most:?}"));
    }
    let mut next = start;
    for (offset, found) in client.values(name, start) {
        if offset != next || found != value(name, offset) {
            return Err(format!("where offset {next} should be there is {offset}: {found}"));
        }
        next += 1;
    }
    if next < end {
        return Err(format!("it ends at {next}, and {end} was acknowledged"));
    }
    // It goes on from there.
    let appended = client.append(name, &value(name, next));
    (appended == next)
        .then_some(())
        .ok_or(format!("an append is given {appended}, not {next}"))
}

fn shared(disk: Disk) -> SharedDisk {
    Arc::new(Mutex::new(disk))
}

/// Records a history and cuts the power at `cuts` points of it; every third time once more, during or after the start that
/// follows.
fn power_cuts(kind: FileSystem, cuts: u64) {
    let recording = Recording {
        disk: shared(Disk::formatted(kind)),
        truth: Arc::default(),
    };
    let operations = {
        let mounted = match Mounted::new(kind, recording.disk.clone()) {
            Ok(mounted) => mounted,
            Err(why) => {
                assert!(std::env::var_os("CI").is_none(), "{why}");
                eprintln!("SKIPPED: no disk that remembers: {why}");
                return;
            }
        };
        recording.record(&mounted.at().join("data"))
    };
    let truth = recording.truth.lock().unwrap();
    let acknowledged: i64 = truth
        .topics
        .values()
        .filter_map(|topic| topic.ends.last())
        .map(|end| end.1)
        .sum();
    let recorded = recording.disk.lock().unwrap();
    let flushes = recorded.flushes(operations);
    println!("{kind:?}: {acknowledged} records, {operations} operations, {flushes} of them flushes");
    assert!(acknowledged > 50_000 && flushes > 500, "too little happened");
    // Other points in each run: the history differs from run to run as well.
    let seed = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64;
    let mut chance = Random::new(seed);
    for n in 0..cuts {
        let cut = chance.below(operations as u64 + 1) as usize;
        let mut disk = shared(recorded.after_power_cut(cut, &mut chance));
        if n % 3 == 0 {
            let mounted = Mounted::new(kind, disk.clone()).unwrap();
            let broker = Broker::spawn(&mut crate::broker::serve(&mounted.at().join("data"), SETTINGS));
            let again = {
                let disk = disk.lock().unwrap();
                disk.after_power_cut(chance.below(disk.now() as u64 + 1) as usize, &mut chance)
            };
            drop((broker, mounted));
            disk = shared(again);
        }
        let image = disk.lock().unwrap().image();
        let mounted = Mounted::new(kind, disk.clone()).unwrap();
        if let Err(wrong) = judge(&mounted.at().join("data"), &truth, cut) {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("power-cut-{kind:?}.img"));
            image.write(&kept);
            panic!(
                "{kind:?}: after a power cut behind operation {cut} of {operations} (cut {n}, seed {seed}): {wrong}\nThe disk \
                 as the cut left it is kept as {}",
                kept.display()
            );
        }
    }
}

/// How many cuts this run is to try on each file system.
fn cuts() -> u64 {
    let wanted = std::env::var("TIDEMILL_POWER_CUTS").ok();
    wanted.map_or(6, |cuts| cuts.parse().expect("TIDEMILL_POWER_CUTS is a number"))
}

#[test]
fn what_was_acknowledged_survives_power_cuts_on_ext4() {
    power_cuts(FileSystem::Ext4, cuts());
}

#[test]
fn what_was_acknowledged_survives_power_cuts_on_xfs() {
    power_cuts(FileSystem::Xfs, cuts());
}
