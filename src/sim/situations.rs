//! What a seed would have to be lucky to meet, by name.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::world::{Action, Faults, FromBroker, Slow, World};
use crate::config::BrokerConfig;
use crate::error::ErrorCode;
use crate::log::side_files;
use crate::record::{BatchBuilder, Header};
use crate::shard::effect::{DiskOp, DiskReply};
use crate::shard::{owner, ring_path};
use crate::types::{ConnId, LogId, Offset, ShardId, TopicId, Uuid};
use crate::wire::api::Request;
use crate::wire::frame;
use crate::wire::offsets::*;
use crate::wire::produce_fetch::*;
use crate::wire::topics::*;

mod failing;
mod losses;

const SHARDS: u16 = 3;

/// A broker, and one client that asks one thing after the other.
struct Script {
    world: World,
    conn: Option<ConnId>,
}

impl Script {
    fn start(seed: u64) -> Script {
        Script::start_with(seed, &[])
    }

    fn start_with(seed: u64, more: &[(&'static str, i64)]) -> Script {
        let mut script = Script::new(seed, more);
        script.restart();
        script
    }

    fn new(seed: u64, more: &[(&'static str, i64)]) -> Script {
        let usual = [
            ("tidemill.journal.bytes", 1 << 20),
            ("tidemill.disk.reserve.bytes", 1 << 20),
            ("log.segment.bytes", 16_000),
            ("message.max.bytes", 16_000),
            ("log.segment.delete.delay.ms", 50),
        ];
        let config = BrokerConfig::beyond_bounds(usual.into_iter().chain(more.iter().copied()));
        let world = World::new(seed, config, 64 << 20);
        Script { world, conn: None }
    }

    fn restart(&mut self) {
        self.world.start(SHARDS);
        self.until("a start", |script, _| script.world.is_ready());
        self.connect();
    }

    /// A connection of its own for what is asked from here on.
    fn connect(&mut self) {
        self.conn = None;
        self.world.act(0, Action::Connect);
        self.until("a connection", |script, what| {
            if let Some(FromBroker::Connected(conn)) = what {
                script.conn = Some(*conn);
            }
            script.conn.is_some()
        });
    }

    #[track_caller]
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Script, Option<&FromBroker>) -> bool) {
        for _ in 0..200_000 {
            let mut to_client = Vec::new();
            let goes_on = self.world.step(&mut to_client);
            assert_eq!(self.world.fatal(), None);
            for (_, from_broker) in &to_client {
                if done(self, Some(from_broker)) {
                    return;
                }
            }
            if done(self, None) {
                return;
            }
            assert!(goes_on, "{what} never came");
        }
        panic!("{what} never came: {}", self.world.describe());
    }

    fn pass(&mut self, ms: u64) {
        let to_us = self.world.now_us + ms * 1000;
        self.until("a while", |script, _| script.world.now_us >= to_us);
    }

    fn send<R: Request>(&mut self, request: &R, version: i16) {
        let bytes = frame::request(request, version, 1, None).unwrap();
        let conn = self.conn.expect("connected");
        self.world.act(0, Action::Send(conn, BytesMut::from(&bytes[4..])));
    }

    #[track_caller]
    fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.send(request, version);
        let mut found: Option<Bytes> = None;
        self.until("an answer", |_, what| {
            if let Some(FromBroker::Response(_, bytes)) = what {
                found = Some(bytes.clone());
            }
            found.is_some()
        });
        frame::decode_response::<R>(&found.expect("just seen"), version)
            .unwrap()
            .1
    }

    fn create(&mut self, name: &str, partitions: i32) -> TopicId {
        let created = self.call(&creation(name, partitions), 7).topics.remove(0);
        assert_eq!(created.error_code, 0, "{created:?}");
        created.topic_id
    }

    fn delete(&mut self, topic_id: TopicId) {
        let topics = vec![DeleteTopicState { name: None, topic_id }];
        let request = DeleteTopicsRequest {
            topics,
            ..Default::default()
        };
        assert_eq!(self.call(&request, 6).responses[0].error_code, 0);
    }

    /// One record of 5,000 bytes.
    fn produce(&mut self, topic_id: TopicId, index: i32) -> Result<Offset, ErrorCode> {
        self.produce_bytes(topic_id, index, 5_000)
    }

    fn produce_bytes(&mut self, topic_id: TopicId, index: i32, bytes: usize) -> Result<Offset, ErrorCode> {
        let now_ms = self.world.now().wall_ms;
        let records = BatchBuilder::new().record(now_ms, None, Some(&vec![7; bytes])).build();
        let request = ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![TopicProduceData {
                topic_id,
                partition_data: vec![PartitionProduceData {
                    index,
                    records: Some(records.freeze()),
                }],
                ..Default::default()
            }],
        };
        let answer = self
            .call(&request, 13)
            .responses
            .remove(0)
            .partition_responses
            .remove(0);
        match ErrorCode::from_code(answer.error_code).unwrap() {
            ErrorCode::None => Ok(answer.base_offset),
            error => Err(error),
        }
    }

    fn delete_records(&mut self, name: &str, offset: Offset) {
        let partition_index = 0;
        let partitions = vec![DeleteRecordsPartition {
            partition_index,
            offset,
        }];
        let name = name.to_string();
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic { name, partitions }],
            timeout_ms: 1_000,
        };
        let answer = self.call(&request, 2).topics.remove(0).partitions.remove(0);
        assert_eq!((answer.error_code, answer.low_watermark), (0, offset));
    }

    fn end_offset(&mut self, name: &str, partition_index: i32) -> Offset {
        let partitions = vec![ListOffsetsPartition {
            partition_index,
            timestamp: -1,
            ..Default::default()
        }];
        let name = name.to_string();
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic { name, partitions }],
            ..Default::default()
        };
        self.call(&request, 7).topics.remove(0).partitions.remove(0).offset
    }

    /// The offsets of the records of a partition, or why they cannot be read.
    fn fetch(&mut self, topic_id: TopicId, partition: i32) -> Result<Vec<Offset>, ErrorCode> {
        let mut offsets: Vec<Offset> = Vec::new();
        loop {
            let request = FetchRequest {
                max_bytes: 1 << 20,
                session_epoch: -1,
                topics: vec![FetchTopic {
                    topic_id,
                    partitions: vec![FetchPartition {
                        partition,
                        fetch_offset: offsets.last().map_or(0, |last| last + 1),
                        partition_max_bytes: 1 << 20,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            };
            let answer = self.call(&request, 13).responses.remove(0).partitions.remove(0);
            let error = ErrorCode::from_code(answer.error_code).unwrap();
            if error != ErrorCode::None {
                return Err(error);
            }
            let bytes = answer.records.unwrap_or_default();
            let mut at = 0;
            while let Ok(header) = Header::decode(&bytes[at..]) {
                offsets.push(header.base_offset);
                at += header.size_bytes;
            }
            if at == 0 {
                return Ok(offsets);
            }
        }
    }

    fn stop(&mut self) {
        self.world.stop_cleanly();
        self.until("a stop", |script, _| script.world.is_stopped());
        self.world.end();
    }

    fn kill(&mut self) {
        self.world.kill();
    }

    /// Replays the journals, writes them out, and ends.
    fn seal(&mut self) {
        self.world.start_sealing(SHARDS);
        self.until("the end of a sealing", |script, _| script.world.is_stopped());
        self.kill();
    }

    fn last_segment(&self, folder: &str) -> String {
        let mut files = self.world.disk.files();
        files.retain(|path| path.starts_with(folder) && path.ends_with(".log"));
        files.pop().expect("there is one")
    }

    /// Every file of a folder, byte by byte.
    fn content_of(&mut self, folder: &str) -> Vec<(String, Bytes)> {
        let mut files = self.world.disk.files();
        files.retain(|path| path.starts_with(folder));
        let read =
            files.into_iter().map(
                |path| match self.world.disk.perform(&DiskOp::ReadFile { path: path.clone() }) {
                    Ok(DiskReply::Bytes(bytes)) => (path, bytes),
                    other => panic!("{path}: {other:?}"),
                },
            );
        read.collect()
    }

    /// What the shards of earlier lives counted.
    fn counted(&self, what: &str) -> u64 {
        self.world.counters.get(what).copied().unwrap_or(0)
    }

    fn perform(&mut self, what: DiskOp) {
        self.world.disk.perform(&what).unwrap();
    }

    /// Puts a folder that says that it is this topic's.
    /// Where the frames of a topic's appends lie in a journal.
    fn appends(&self, ring: &str, id: TopicId) -> Vec<usize> {
        let content = self.world.disk.content(ring, 0..1 << 20);
        let is_append = |at: &usize| content[at + 4] == 1 && content[at + 16..at + 32] == id.0;
        (0..content.len() - 72).step_by(8).filter(is_append).collect()
    }

    /// A topic of one partition, on this shard.
    fn topic_on(&mut self, prefix: &str, shard: u16) -> TopicId {
        for n in 0..100 {
            let topic = self.create(&format!("{prefix}{n}"), 1);
            if owner(LogId { topic, partition: 0 }, SHARDS).0 == shard {
                return topic;
            }
            self.delete(topic);
        }
        panic!("no id falls to shard {shard}");
    }

    fn put_folder(&mut self, path: &str, id: TopicId) {
        self.perform(DiskOp::CreateDir { path: path.into() });
        let content = side_files::partition_metadata(id);
        let path = format!("{path}/{}", side_files::PARTITION_METADATA);
        self.perform(DiskOp::ReplaceFile { path, content });
    }

    fn folders(&mut self) -> Vec<String> {
        let root = DiskOp::List { path: String::new() };
        let Ok(DiskReply::Entries(entries)) = self.world.disk.perform(&root) else {
            panic!("the data folder is there")
        };
        let folders = entries.into_iter().filter(|entry| entry.is_dir);
        folders
            .map(|entry| entry.name)
            .filter(|name| !name.starts_with("__"))
            .collect()
    }
}

fn creation(name: &str, num_partitions: i32) -> CreateTopicsRequest {
    CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.into(),
            num_partitions,
            replication_factor: 1,
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The shard of the first topic must not take the second one's folder for its own, whatever each of them is doing.
#[test]
fn a_topic_is_made_anew_on_another_shard() {
    made_anew("t", 0..30);
}

#[test]
fn a_topic_with_the_longest_name_is_made_anew() {
    made_anew(&"x".repeat(249), 100..120);
}

fn made_anew(name: &str, seeds: Range<u64>) {
    let (mut late, mut passed_on) = (0, 0);
    for seed in seeds {
        let mut script = Script::start(seed);
        script.world.faults.disk_us_max = [200, 5_000, 20_000][seed as usize % 3];
        for round in 0..6 {
            let id = script.create(name, 3);
            if round % 2 == 1 {
                for partition in 0..3 {
                    script.produce(id, partition).unwrap();
                }
                script.pass(seed);
            }
            script.delete(id);
        }
        let id = script.create(name, 3);
        for number in 0..12 {
            assert_eq!(script.produce(id, number % 3), Ok((number / 3).into()), "seed {seed}");
        }
        script.pass(2_000);
        if seed % 2 == 0 {
            script.kill();
        } else {
            script.stop();
        }
        script.restart();
        for partition in 0..3 {
            assert_eq!(script.end_offset(name, partition), 4, "seed {seed}");
        }
        // What was on its way out when the process ended goes now.
        script.pass(3_000);
        let expected: Vec<String> = (0..3).map(|partition| format!("{name}-{partition}")).collect();
        assert_eq!(script.folders(), expected, "seed {seed}");
        script.stop();
        late += script.counted("folder made later");
        passed_on += script.counted("deleted topic's name was another's by then");
        assert_eq!(script.counted("folder refused"), 0);
    }
    assert!(late > 0 && passed_on > 0, "{late} late, {passed_on} passed on");
}

#[test]
fn a_folder_is_in_the_way_until_somebody_moves_it() {
    let mut script = Script::start(1);
    script.put_folder("t-0", Uuid([9; 16]));
    let id = script.create("t", 1);
    assert_eq!(script.produce(id, 0), Ok(0));
    script.pass(60_000);
    script.world.disk.remove_tree("t-0");
    assert_eq!(script.produce(id, 0), Ok(1));
    script.pass(10_000);
    script.stop();
    // Told once, and tried at a pace that nobody notices.
    assert_eq!(script.counted("folder refused"), 1);
    assert!(
        (10..25).contains(&script.counted("folder made later")),
        "{:?}",
        script.world.counters
    );
    assert_eq!(script.counted("shard sealed"), u64::from(SHARDS));
    script.restart();
    assert_eq!(script.end_offset("t", 0), 2);
}

#[test]
fn a_stop_ends_while_a_folder_is_in_the_way() {
    let mut script = Script::start(2);
    script.put_folder("t-0", Uuid([9; 16]));
    let id = script.create("t", 1);
    assert_eq!(script.produce(id, 0), Ok(0));
    script.stop();
    assert_eq!(script.counted("folder refused"), 1);
    assert_eq!(script.counted("shard sealed"), u64::from(SHARDS) - 1);
    // The next start moves it away itself.
    script.restart();
    assert_eq!(script.end_offset("t", 0), 1);
    assert_eq!(script.produce(id, 0), Ok(1));
    script.stop();
    assert_eq!(script.folders().len(), 2, "t-0 and a stray");
}

#[test]
fn a_deleted_folder_that_cannot_be_renamed_is_tried_again() {
    let mut script = Script::start(3);
    let id = script.create("t", 1);
    script.pass(1_000);
    let taken = format!("t-0.{id}-delete");
    script.put_folder(&taken, id);
    script.delete(id);
    let id = script.create("t", 1);
    script.pass(30_000);
    script.world.disk.remove_tree(&taken);
    script.pass(30_000);
    assert_eq!(script.produce(id, 0), Ok(0));
    assert_eq!(script.folders(), ["t-0"]);
    script.stop();
    assert_eq!(script.counted("removal of a folder refused"), 1);
    assert_eq!(script.counted("shard sealed"), u64::from(SHARDS));
}

#[test]
fn a_folder_that_vanishes_takes_its_log_offline() {
    let mut script = Script::start(4);
    let (id, other) = (script.create("t", 1), script.create("other", 1));
    script.pass(1_000);
    script.world.remove_tree("t-0");
    assert_eq!(script.produce(id, 0), Ok(0));
    script.pass(30_000);
    assert_eq!(script.produce(id, 0), Err(ErrorCode::KafkaStorageError));
    assert_eq!(script.produce(other, 0), Ok(0));
    script.stop();
    assert_eq!(script.counted("checkpoint failed"), 1);
    assert_eq!(script.counted("shard sealed"), u64::from(SHARDS) - 1);
}

#[test]
fn a_topic_is_made_while_the_broker_stops() {
    for seed in 0..60 {
        let mut script = Script::start(seed);
        script.world.faults.disk_us_max = 5_000;
        let id = script.create("t", 3);
        script.produce(id, 0).unwrap();
        script.send(&creation("late", 6), 7);
        for _ in 0..seed {
            script.world.step(&mut Vec::new());
        }
        script.stop();
        script.restart();
        assert_eq!(script.end_offset("t", 0), 1, "seed {seed}");
        script.stop();
        assert_eq!(script.counted("shard sealed"), 2 * u64::from(SHARDS), "seed {seed}");
    }
}

/// A process is killed when only the kernel knows of a folder's name, and the next one finds it.
#[test]
fn a_folder_that_a_start_finds_is_synced_before_anybody_is_served() {
    let mut unsynced = 0;
    for seed in 0..10 {
        let mut script = Script::start(seed);
        script.send(&creation("t", 1), 7);
        script.until("a folder", |script, _| {
            script.world.disk.len("t-0/partition.metadata").is_some()
        });
        script.kill();
        unsynced += u32::from(!script.world.disk.is_synced("t-0"));
        script.restart();
        assert!(script.world.disk.is_synced("t-0"), "seed {seed}");
    }
    assert!(unsynced > 0);
}

/// A bit of the journal's last frame of a log flips: of what says whose it is, or of its record.
#[test]
fn the_last_frame_of_a_log_is_damaged() {
    for behind in [0, 1_000] {
        let mut script = Script::start(1);
        // Not beside the metadata, which might have lost something as well.
        let is_beside = |topic| owner(LogId { topic, partition: 0 }, SHARDS).0 == 0;
        let mut topics = (0..).map(|n| script.create(&format!("t{n}"), 1));
        let id = topics.find(|topic| !is_beside(*topic)).expect("there are more");
        drop(topics);
        let other = script.create("other", 3);
        for _ in 0..3 {
            script.produce(id, 0).unwrap();
        }
        // Commits behind it, which prove that it was complete.
        for number in 0..9 {
            script.produce(other, number % 3).unwrap();
        }
        script.kill();
        let log = LogId {
            topic: id,
            partition: 0,
        };
        let ring = ring_path(owner(log, SHARDS));
        let last = *script.appends(&ring, id).last().expect("it was produced to");
        let position = last + 16 + behind;
        assert!(script.world.disk.flip(&ring, position, 0));
        script.restart();
        assert_eq!(script.fetch(id, 0), Ok(vec![0, 1]));
        assert_eq!(
            script.produce(id, 0),
            Err(ErrorCode::KafkaStorageError),
            "its offset was another's"
        );
        for partition in 0..3 {
            assert_eq!(script.produce(other, partition), Ok(3));
        }
    }
}

/// At any effect, while six folders go and six of the same names are made; the next start puts right what that leaves.
#[test]
fn the_power_fails_while_folders_are_made_and_removed() {
    for seed in 0..60 {
        let mut script = Script::start(seed);
        script.world.faults = Faults {
            disk_us_max: 5_000,
            ..Faults::NONE
        };
        let name = "x".repeat(230);
        let id = script.create(&name, 6);
        script.produce(id, 0).unwrap();
        script.pass(seed % 20);
        script.delete(id);
        let id = script.create(&name, 6);
        for partition in 0..6 {
            script.produce(id, partition).unwrap();
        }
        script.world.cut_after(1 + seed * 2, super::world::Moment::Any);
        while !script.world.was_cut && script.world.step(&mut Vec::new()) {}
        script.restart();
        for partition in 0..6 {
            assert_eq!(script.end_offset(&name, partition), 1, "seed {seed}");
        }
        script.pass(5_000);
        let is_left = |name: &String| name.ends_with("-delete");
        assert!(!script.folders().iter().any(is_left), "{:?}", script.folders());
        script.stop();
    }
}

/// A segment with applied records, and a journal with more, and what follows when the segment cannot be read.
fn unreadable(seed: u64) -> (Script, TopicId, TopicId) {
    let mut script = Script::start(seed);
    let (id, other) = (script.create("t", 1), script.create("other", 3));
    for offset in 0..7 {
        assert_eq!(script.produce(id, 0), Ok(offset));
    }
    script.stop();
    script.restart();
    for offset in 7..9 {
        assert_eq!(script.produce(id, 0), Ok(offset));
    }
    script.kill();
    let segment = script.last_segment("t-0/");
    script.world.disk.make_unreadable(&segment, 0);
    script.restart();
    (script, id, other)
}

#[test]
fn a_segment_that_cannot_be_read_takes_its_log_offline() {
    for seed in 0..12 {
        let (mut script, id, other) = unreadable(seed);
        let before = script.content_of("t-0/");
        let mut others = 0;
        for life in 0..3 {
            assert_eq!(script.produce(id, 0), Err(ErrorCode::KafkaStorageError), "seed {seed}");
            assert_eq!(script.fetch(id, 0), Err(ErrorCode::KafkaStorageError));
            assert_eq!(script.end_offset("t", 0), -1);
            // Several laps of each ring.
            for _ in 0..500 {
                for partition in 0..3 {
                    assert_eq!(script.produce(other, partition), Ok(others), "seed {seed}");
                }
                others += 1;
            }
            match (seed + life) % 3 {
                0 => script.kill(),
                1 => script.world.cut(),
                _ => script.stop(),
            }
            assert!(!script.world.is_marked_clean(), "its records are in the journal only");
            // As for another number of cores: the journals may not go.
            script.seal();
            assert!(!script.world.is_marked_clean());
            script.restart();
        }
        assert_eq!(script.content_of("t-0/"), before);
        script.kill();
        assert!(script.counted("ring gone round") >= 9, "{:?}", script.world.counters);
        assert_eq!(script.counted("recovery: log offline"), 7);
        script.world.disk.repair();
        script.restart();
        assert_eq!(script.fetch(id, 0), Ok((0..9).collect()), "seed {seed}");
        assert_eq!(script.produce(id, 0), Ok(9));
        assert_eq!(script.fetch(other, 1), Ok((0..others).collect()));
        script.stop();
        assert!(script.world.is_marked_clean());
        script.restart();
        assert_eq!(script.fetch(id, 0), Ok((0..10).collect()));
    }
}

/// The journal has nothing of it but that.
#[test]
fn records_were_deleted_of_a_log_that_cannot_be_read() {
    let mut script = Script::start(5);
    let (id, other) = (script.create("t", 1), script.create("other", 3));
    for _ in 0..7 {
        script.produce(id, 0).unwrap();
    }
    script.stop();
    script.restart();
    script.delete_records("t", 4);
    for life in 0..4 {
        script.kill();
        let segment = script.last_segment("t-0/");
        if life < 2 {
            script.world.disk.make_unreadable(&segment, 0);
        } else {
            script.world.disk.repair();
        }
        script.restart();
        let expected = match life {
            0 | 1 => Err(ErrorCode::KafkaStorageError),
            _ => Err(ErrorCode::OffsetOutOfRange),
        };
        assert_eq!(script.fetch(id, 0), expected, "life {life}");
        for number in 0..1_500 {
            script.produce(other, number % 3).unwrap();
        }
    }
    assert_eq!(script.end_offset("t", 0), 7);
    assert_eq!(script.produce(id, 0), Ok(7));
    script.stop();
    assert_eq!(script.counted("recovery: log offline"), 2);
}

#[test]
fn a_topic_that_cannot_be_read_is_changed_and_deleted() {
    let (mut script, id, other) = unreadable(1);
    let more = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: "t".into(),
            count: 2,
            assignments: None,
        }],
        ..Default::default()
    };
    assert_eq!(script.call(&more, 3).results[0].error_code, 0);
    assert_eq!(script.produce(id, 1), Ok(0));
    assert_eq!(script.produce(id, 0), Err(ErrorCode::KafkaStorageError));
    script.delete(id);
    let again = script.create("t", 1);
    script.pass(2_000);
    assert_eq!(script.produce(again, 0), Ok(0));
    assert_eq!(script.folders(), ["other-0", "other-1", "other-2", "t-0"]);
    assert_eq!(script.produce(other, 0), Ok(0));
    script.stop();
    assert!(script.world.is_marked_clean());
}

/// It waits at the end of a partition of this shard or of another one, alone or beside one that stays.
#[test]
fn a_waiting_fetch_of_a_deleted_topic_is_told_at_once() {
    for seed in 0..12 {
        let mut script = Script::start(seed);
        let (id, other) = (script.create("t", 1), script.create("other", 1));
        let partitions = |topic_id| FetchTopic {
            topic_id,
            partitions: vec![FetchPartition {
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        };
        let request = FetchRequest {
            max_wait_ms: 60_000,
            min_bytes: 1,
            max_bytes: 1 << 20,
            session_epoch: if seed % 2 == 0 { -1 } else { 0 },
            topics: vec![partitions(id), partitions(other)],
            ..Default::default()
        };
        script.send(&request, 13);
        let waiting = script.conn;
        script.pass(500);
        script.connect();
        let deletion = DeleteTopicsRequest {
            topics: vec![DeleteTopicState {
                name: None,
                topic_id: id,
            }],
            ..Default::default()
        };
        script.send(&deletion, 6);
        let begun_us = script.world.now_us;
        let mut found = None;
        script.until("an answer to the fetch", |_, what| {
            if let Some(FromBroker::Response(conn, bytes)) = what
                && Some(*conn) == waiting
            {
                found = Some(bytes.clone());
            }
            found.is_some()
        });
        let took_us = script.world.now_us - begun_us;
        assert!(took_us < 1_000_000, "seed {seed}: after {took_us} us");
        let (_, answer) = frame::decode_response::<FetchRequest>(&found.unwrap(), 13).unwrap();
        let gone = answer.responses.iter().find(|topic| topic.topic_id == id).unwrap();
        let code = ErrorCode::from_code(gone.partitions[0].error_code);
        let is_told = matches!(
            code,
            Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId)
        );
        assert!(is_told, "seed {seed}: {code:?}");
    }
}

/// Producers leave the metadata log less room than the request's records take, and the segments are written slowly.
#[test]
fn an_admin_request_waits_for_room_in_the_journal() {
    let mut waited = 0;
    for seed in 0..2 {
        let mut script = Script::new(seed, &[]);
        script.world.metadata_batch_bytes = 300;
        script.restart();
        let id = script.create("t", 3);
        script.world.faults.disk_us_max = 10_000;
        script.world.faults.slow = Slow::Segments;
        let records = BatchBuilder::new().record(0, None, Some(&[7; 5_000])).build().freeze();
        let produce = |index| ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: 600_000,
            topic_data: vec![TopicProduceData {
                topic_id: id,
                partition_data: vec![PartitionProduceData {
                    index,
                    records: Some(records.clone()),
                }],
                ..Default::default()
            }],
        };
        (0..400).for_each(|number| script.send(&produce(number % 3), 13));
        script.until("a full journal", |script, _| {
            script.world.has_counted("append waited for room")
        });
        // Of every shard, the controller's among them.
        script.pass(20);
        script.connect();
        let asking = script.conn;
        script.send(&creation("large", 120), 7);
        let mut found = None;
        script.until("an answer to the creation", |_, what| {
            match what {
                Some(FromBroker::Response(conn, bytes)) if Some(*conn) == asking => found = Some(bytes.clone()),
                Some(FromBroker::Closed(conn)) if Some(*conn) == asking => panic!("its connection was closed"),
                _ => {}
            }
            found.is_some()
        });
        let (_, answer) = frame::decode_response::<CreateTopicsRequest>(&found.unwrap(), 7).unwrap();
        assert_eq!(answer.topics[0].error_code, 0, "seed {seed}");
        waited += u32::from(script.world.has_counted("metadata records waited for room"));
    }
    assert!(waited > 0, "the journal always had room");
}

#[test]
fn a_broker_that_is_killed_again_and_again_still_writes_snapshots() {
    let snapshots = "metadata.log.max.record.bytes.between.snapshots";
    let mut script = Script::start_with(1, &[(snapshots, 5_000)]);
    script.create("t", 1);
    for _ in 0..40 {
        script.pass(2_000);
        script.kill();
        script.restart();
    }
    script.kill();
    let (written, lives) = (script.counted("metadata snapshot written"), 41);
    assert!((1..lives / 2).contains(&written), "{written} in {lives} lives");
}

/// The machine's clock is a year ahead when the broker starts, and set right a while later.
#[test]
fn a_wrong_clock_at_a_start_deletes_nothing() {
    const YEAR_MS: i64 = 365 * 86_400_000;
    let ages = [("log.retention.ms", 60_000), ("log.retention.check.interval.ms", 1_000)];
    let mut script = Script::start_with(1, &ages);
    let id = script.create("t", 1);
    let begun_us = script.world.now_us;
    for offset in 0..5 {
        assert_eq!(script.produce(id, 0), Ok(offset));
    }
    for life in 0..3 {
        script.kill();
        script.world.wall_ahead_ms = YEAR_MS;
        script.restart();
        script.pass(5_000);
        script.create(&format!("made by a wrong clock {life}").replace(' ', "-"), 1);
        assert_eq!(script.fetch(id, 0), Ok((0..5).collect()), "life {life}");
    }
    assert!(script.world.has_counted("clock not believed"));
    script.world.wall_ahead_ms = 0;
    script.pass(2_000);
    assert!(script.world.now_us - begun_us < 60_000_000, "they are young still");
    assert_eq!(script.fetch(id, 0), Ok((0..5).collect()));
    script.pass(61_000);
    assert_eq!(
        script.fetch(id, 0),
        Err(ErrorCode::OffsetOutOfRange),
        "and now they are not"
    );
}

/// Nobody changes the metadata for longer than a start allows for, and the process is killed.
#[test]
fn a_crash_after_quiet_days_does_not_make_the_clock_doubtful() {
    let ages = [("log.retention.ms", 60_000), ("log.retention.check.interval.ms", 1_000)];
    let mut script = Script::start_with(1, &ages);
    let id = script.create("t", 1);
    for _ in 0..30 {
        script.pass(3_600_000);
    }
    script.kill();
    script.restart();
    assert!(!script.world.has_counted("clock not believed"));
    assert_eq!(script.produce(id, 0), Ok(0));
    script.pass(62_000);
    assert_eq!(
        script.fetch(id, 0),
        Err(ErrorCode::OffsetOutOfRange),
        "it is old by now"
    );
    assert!(!script.world.has_counted("clock not believed"));
}

/// Faster than anybody asks how much room there is. Recovery points and the like may take of the reserve, records not.
#[test]
fn a_fast_fill_leaves_the_reserve_alone() {
    const MIB: u64 = 1 << 20;
    for seed in 0..4 {
        let small = [("tidemill.disk.reserve.bytes", 4 << 20), ("log.segment.bytes", 8 << 20)];
        let mut script = Script::start_with(seed, &small);
        let id = script.create("t", 3);
        script.world.disk.capacity_bytes = script.world.disk.used_bytes() + 12 * MIB;
        script.pass(1_500);
        let records = BatchBuilder::new().record(0, None, Some(&[7; 15_000])).build().freeze();
        for number in 0..1500 {
            let request = ProduceRequest {
                transactional_id: None,
                acks: -1,
                timeout_ms: 30_000,
                topic_data: vec![TopicProduceData {
                    topic_id: id,
                    partition_data: vec![PartitionProduceData {
                        index: number % 3,
                        records: Some(records.clone()),
                    }],
                    ..Default::default()
                }],
            };
            script.send(&request, 13);
        }
        let (mut taken, mut refused) = (0, 0);
        script.until("every answer", |script, what| {
            if let Some(FromBroker::Response(_, bytes)) = what {
                let (_, answer) = frame::decode_response::<ProduceRequest>(bytes, 13).unwrap();
                match ErrorCode::from_code(answer.responses[0].partition_responses[0].error_code) {
                    Some(ErrorCode::None) => taken += 1,
                    Some(ErrorCode::KafkaStorageError) => refused += 1,
                    other => panic!("{other:?}"),
                }
                let free = script.world.disk.capacity_bytes - script.world.disk.used_bytes();
                assert!(
                    free >= 3 * MIB,
                    "seed {seed}: {free} bytes are left after {taken} batches"
                );
            }
            taken + refused == 1500
        });
        // Of the 8 MiB beside the reserve most could be used.
        assert!(
            taken > 200 && refused > 0,
            "seed {seed}: {taken} taken, {refused} refused"
        );
        let kept: usize = (0..3).map(|partition| script.fetch(id, partition).unwrap().len()).sum();
        assert_eq!(kept, taken, "seed {seed}");
    }
}

/// One sector of a journal is lost, of a log that goes on. The logs that were quiet before and after lost nothing.
#[test]
fn a_lost_sector_of_a_journal_stops_nobody_else() {
    let mut script = Script::start(1);
    let quiet: Vec<TopicId> = (0..6).map(|n| script.topic_on(&format!("quiet{n}x"), 1)).collect();
    let busy = script.topic_on("busy", 1);
    for id in &quiet {
        script.produce(*id, 0).unwrap();
    }
    for _ in 0..5 {
        script.produce(busy, 0).unwrap();
    }
    script.kill();
    let ring = ring_path(ShardId(1));
    let appends = script.appends(&ring, busy);
    assert!(script.world.disk.lose_sector(&ring, appends[appends.len() - 3]));
    script.restart();
    for id in &quiet {
        assert_eq!(script.fetch(*id, 0), Ok(vec![0]));
        assert_eq!(script.produce(*id, 0), Ok(1));
    }
    // What it lost is said where it was; what is around it is there.
    assert_eq!(script.fetch(busy, 0), Err(ErrorCode::CorruptMessage));
    assert_eq!(script.produce(busy, 0), Ok(5));
    script.kill();
    assert_eq!(script.counted("recovery: log damage reported"), 1);
    assert_eq!(script.counted("recovery: log made read-only"), 0);
    assert!(script.counted("recovery: damage put down to logs") > 0);
}

/// The broker was idle for a moment: the record that was produced last is proved, and damage to it is no torn commit.
#[test]
fn the_last_record_before_an_idle_moment_is_not_replaced() {
    for is_idle in [false, true] {
        let mut script = Script::start(1);
        let (id, other) = (script.topic_on("t", 1), script.topic_on("other", 1));
        script.produce(other, 0).unwrap();
        script.pass(1_000);
        for offset in 0..2 {
            assert_eq!(script.produce(id, 0), Ok(offset));
        }
        let before = script.world.effects();
        script.pass(if is_idle { 5_000 } else { 10 });
        assert!(
            script.world.effects() - before < 200,
            "an idle broker does not write for ever"
        );
        script.kill();
        let ring = ring_path(ShardId(1));
        let last = *script.appends(&ring, id).last().unwrap();
        assert!(script.world.disk.flip(&ring, last + 500, 3));
        script.restart();
        assert_eq!(script.fetch(id, 0), Ok(vec![0]));
        let expected = match is_idle {
            true => Err(ErrorCode::KafkaStorageError),
            false => Ok(1),
        };
        assert_eq!(script.produce(id, 0), expected, "its offset was another's");
        assert_eq!(script.produce(other, 0), Ok(1));
        script.kill();
    }
}
