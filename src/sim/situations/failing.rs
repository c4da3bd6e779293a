//! A file that cannot be written, a folder in the way, a batch that is large: whom it concerns waits or is told, and nobody else.

use super::*;
use crate::journal::{Append, Body, Frame, parked};
use crate::sim::world::Slow;

/// Nothing waits longer than this for what others do.
const PROMPT_US: u64 = 1_000_000;

fn log_of(topic: TopicId) -> LogId {
    LogId { topic, partition: 0 }
}

impl Script {
    /// A topic whose only partition is on this shard.
    fn create_on(&mut self, prefix: &str, shard: u16) -> (String, TopicId) {
        for n in 0..100 {
            let name = format!("{prefix}{n}");
            let id = self.create(&name, 1);
            if owner(log_of(id), SHARDS).0 == shard {
                return (name, id);
            }
            self.delete(id);
        }
        panic!("no topic came to shard {shard}");
    }

    #[track_caller]
    fn produces_promptly(&mut self, id: TopicId, offset: Offset) {
        let before_us = self.world.now_us;
        assert_eq!(self.produce(id, 0), Ok(offset));
        let took_us = self.world.now_us - before_us;
        assert!(took_us < PROMPT_US, "it took {took_us} us: {}", self.world.describe());
    }

    /// Sends `count` batches at once, then waits for all answers: how many were acknowledged.
    fn produce_at_once(&mut self, id: TopicId, count: usize) -> Offset {
        for _ in 0..count {
            let request = self.produce_request(id, 5_000);
            self.send(&request, 13);
        }
        let (mut answers, mut acknowledged) = (0, 0);
        self.until("all answers", |_, what| {
            if let Some(FromBroker::Response(_, bytes)) = what {
                let (_, mut answer) = frame::decode_response::<ProduceRequest>(bytes, 13).unwrap();
                answers += 1;
                acknowledged += i64::from(answer.responses.remove(0).partition_responses[0].error_code == 0);
            }
            answers == count
        });
        acknowledged
    }

    fn produce_request(&mut self, topic_id: TopicId, value_bytes: usize) -> ProduceRequest {
        let now_ms = self.world.now().wall_ms;
        let records = BatchBuilder::new()
            .record(now_ms, None, Some(&vec![7; value_bytes]))
            .build();
        ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![TopicProduceData {
                topic_id,
                partition_data: vec![PartitionProduceData {
                    index: 0,
                    records: Some(records.freeze()),
                }],
                ..Default::default()
            }],
        }
    }

    fn parked_files(&self) -> usize {
        let files = self.world.disk.files();
        files.iter().filter(|path| path.starts_with("tidemill-parked-")).count()
    }
}

/// A topic whose records fill the journal and the memory of its shard before anything of it fails, how many of them were
/// acknowledged, and another topic of the shard.
fn failing(seed: u64) -> (Script, String, TopicId, Offset, TopicId) {
    let mut script = Script::start(seed);
    let (name, id) = script.create_on("t", 1);
    let (_, other) = script.create_on("other", 1);
    script.pass(2_000);
    assert_eq!(script.produce(other, 0), Ok(0));
    script.world.faults.slow = Slow::Segments;
    script.world.faults.disk_us_max = 2_000;
    script.world.disk.make_unwritable(&format!("{name}-0/"));
    let acknowledged = script.produce_at_once(id, 120);
    assert!(acknowledged > 20, "{acknowledged}");
    script.world.faults = Faults::NONE;
    assert_eq!(script.produce(id, 0), Err(ErrorCode::KafkaStorageError));
    (script, name, id, acknowledged, other)
}

#[test]
fn a_log_whose_segment_cannot_be_written_holds_nobody_up() {
    for seed in 0..6 {
        let (mut script, name, id, acknowledged, other) = failing(seed);
        let mut others = 1;
        for life in 0..3 {
            for _ in 0..400 {
                script.produces_promptly(other, others);
                others += 1;
            }
            assert!(script.parked_files() > 0);
            match (seed + life) % 3 {
                0 => script.kill(),
                1 => script.world.cut(),
                _ => script.stop(),
            }
            assert!(!script.world.is_marked_clean(), "a log lacks records");
            script.restart();
            // What was put aside is the log's again, until it fails again.
            if let Ok(found) = script.fetch(id, 0) {
                assert!(
                    found.len() as i64 >= acknowledged,
                    "seed {seed}, life {life}: {found:?}"
                );
            }
            script.pass(5_000);
        }
        script.kill();
        script.world.disk.repair();
        script.restart();
        let found = script.fetch(id, 0).unwrap();
        let end = found.len() as i64;
        assert!(end >= acknowledged, "seed {seed}: {end} of {acknowledged}");
        assert_eq!(found, (0..end).collect::<Vec<_>>());
        assert_eq!(script.produce(id, 0), Ok(end));
        script.stop();
        assert!(script.world.is_marked_clean());
        assert_eq!(script.parked_files(), 0);
        script.restart();
        assert_eq!(script.end_offset(&name, 0), end + 1);
        assert_eq!(script.fetch(other, 0), Ok((0..others).collect()));
    }
}

#[test]
fn a_topic_that_was_put_aside_is_deleted() {
    let (mut script, name, id, _, other) = failing(1);
    script.pass(2_000);
    assert_eq!(script.parked_files(), 1);
    script.delete(id);
    script.pass(1_000);
    assert_eq!(script.parked_files(), 0);
    script.world.disk.repair();
    let again = script.create(&name, 1);
    script.pass(2_000);
    assert_eq!(script.produce(again, 0), Ok(0));
    assert_eq!(script.produce(other, 0), Ok(1));
    script.stop();
    assert!(script.world.is_marked_clean());
}

#[test]
fn what_was_put_aside_is_lost_and_nobody_goes_on_without_it() {
    let (mut script, _, id, acknowledged, other) = failing(1);
    script.pass(2_000);
    script.kill();
    let files = script.world.disk.files();
    let parked = files.iter().find(|path| path.starts_with("tidemill-parked-")).unwrap();
    assert!(script.world.disk.flip(parked, 1_000, 3));
    script.world.disk.repair();
    for life in 0..2 {
        script.restart();
        assert_eq!(script.produce(id, 0), Err(ErrorCode::KafkaStorageError));
        for n in 0..300 {
            script.produces_promptly(other, 1 + life * 300 + n);
        }
        script.kill();
    }
    assert!(script.world.disk.flip(parked, 1_000, 3));
    script.restart();
    let end = script.fetch(id, 0).unwrap().len() as i64;
    assert!(end >= acknowledged, "{end} of {acknowledged}");
    assert_eq!(script.produce(id, 0), Ok(end));
    script.stop();
    assert!(script.world.is_marked_clean());
}

#[test]
fn a_folder_in_the_way_holds_nobody_up() {
    let mut script = Script::start(1);
    let (_, other) = script.create_on("other", 1);
    let mut n = 0;
    let (name, id) = loop {
        let name = format!("t{n}");
        script.put_folder(&format!("{name}-0"), Uuid([9; 16]));
        let id = script.create(&name, 1);
        if owner(log_of(id), SHARDS).0 == 1 {
            break (name, id);
        }
        n += 1;
    };
    let mut acknowledged = 0;
    let refused = loop {
        match script.produce(id, 0) {
            Ok(offset) => assert_eq!(offset, acknowledged),
            Err(error) => break error,
        }
        acknowledged += 1;
    };
    assert_eq!(refused, ErrorCode::KafkaStorageError);
    assert!((5..30).contains(&acknowledged), "{acknowledged}");
    for offset in 0..400 {
        script.produces_promptly(other, offset);
    }
    // The reason is for the client, too.
    let request = script.produce_request(id, 100_000 / 8);
    let answer = script
        .call(&request, 13)
        .responses
        .remove(0)
        .partition_responses
        .remove(0);
    let message = answer.error_message.unwrap();
    assert!(
        message.contains("folder cannot be made") && message.contains("belongs to topic"),
        "{message}"
    );
    script.world.disk.remove_tree(&format!("{name}-0"));
    script.pass(10_000);
    for offset in acknowledged..acknowledged + 400 {
        script.produces_promptly(id, offset);
    }
    script.stop();
    script.restart();
    assert_eq!(script.end_offset(&name, 0), acknowledged + 400);
}

#[test]
fn the_metadata_log_cannot_be_written_and_topics_are_served() {
    let mut script = Script::start(1);
    let (_, id) = script.create_on("t", 0);
    script.world.disk.make_unwritable("__cluster_metadata-0/");
    for offset in 0..600 {
        script.produces_promptly(id, offset);
        if offset % 6 == 0 && !script.world.has_counted("checkpoint failed") {
            script.create(&format!("more{offset}"), 1);
        }
    }
    assert!(script.world.has_counted("offline log put aside"));
    // Nothing is decided any more.
    script.send(&creation("another", 1), 7);
    script.until("the end of the connection", |_, what| {
        matches!(what, Some(FromBroker::Closed(_)))
    });
    script.kill();
    script.world.disk.repair();
    script.restart();
    assert_eq!(script.produce(id, 0), Ok(600));
    script.create("another", 1);
    script.stop();
    assert!(script.world.is_marked_clean());
}

/// Half of the memory is not enough for the checkpoint to begin by itself, nor the rest for a batch.
#[test]
fn a_large_batch_makes_room_for_itself() {
    let more = [
        ("tidemill.journal.bytes", 1 << 20),
        ("message.max.bytes", 250_000),
        ("log.segment.bytes", 1 << 20),
    ];
    let mut script = Script::start_with(1, &more);
    let (_, id) = script.create_on("t", 1);
    let (_, other) = script.create_on("other", 1);
    script.pass(2_000);
    for offset in 0..40 {
        let bytes = if offset % 2 == 0 { 230_000 } else { 200_000 };
        let request = script.produce_request(id, bytes);
        let before_us = script.world.now_us;
        let answer = script
            .call(&request, 13)
            .responses
            .remove(0)
            .partition_responses
            .remove(0);
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
        assert!(
            script.world.now_us - before_us < PROMPT_US,
            "{}",
            script.world.describe()
        );
        // Nobody comes meanwhile.
        script.pass(3_000);
    }
    assert_eq!(script.produce(other, 0), Ok(0));
}

#[test]
fn fewer_than_flush_messages_acknowledged_records_are_not_flushed() {
    for seed in 0..6 {
        let flush_messages = 2 + seed as i64 % 3 * 4;
        let mut script = Script::start_with(seed, &[("log.flush.interval.messages", flush_messages)]);
        let (name, id) = script.create_on("t", 1);
        script.pass(5_000);
        // What is asked for and not waited for takes long.
        script.world.faults.slow = Slow::RingSyncs;
        for offset in 0..60 {
            assert_eq!(script.produce(id, 0), Ok(offset));
        }
        script.world.cut();
        script.world.faults = Faults::NONE;
        script.restart();
        let lost = 60 - script.end_offset(&name, 0);
        assert!(
            lost < flush_messages,
            "seed {seed}: {lost} of flush.messages={flush_messages}"
        );
        script.kill();
    }
}

#[test]
fn a_journal_that_loses_its_name_acknowledges_nothing_more() {
    let mut script = Script::start(1);
    let (_, id) = script.create_on("t", 1);
    assert_eq!(script.produce(id, 0), Ok(0));
    let path = ring_path(crate::types::ShardId(1));
    script.world.disk.perform(&DiskOp::RemoveFile { path }).unwrap();
    let until_us = script.world.now_us + 3 * PROMPT_US;
    while script.world.fatal().is_none() {
        assert!(script.world.now_us < until_us, "nobody noticed");
        let mut to_client = Vec::new();
        script.world.step(&mut to_client);
    }
    let fatal = script.world.fatal().unwrap();
    assert!(fatal.starts_with("sim/tidemill-journal-1.ring was removed"), "{fatal}");
}

#[test]
fn a_stop_that_could_not_write_says_so() {
    for is_failing in [false, true] {
        let mut script = Script::start(1);
        let (name, id) = script.create_on("t", 1);
        script.pass(2_000);
        for offset in 0..3 {
            assert_eq!(script.produce(id, 0), Ok(offset));
        }
        if is_failing {
            script.world.disk.make_unwritable(&format!("{name}-0/"));
        }
        script.stop();
        assert_eq!(script.world.was_clean, !is_failing);
        assert_eq!(script.world.is_marked_clean(), !is_failing);
    }
}

/// A ring of another size than its setting is used as it is.
#[test]
fn a_batch_that_never_fits_is_refused_and_holds_nobody_up() {
    let mut script = Script::start(1);
    script.kill();
    script.world.reconfigure(BrokerConfig::beyond_bounds([
        ("tidemill.journal.bytes", 4 << 20),
        ("tidemill.disk.reserve.bytes", 1 << 20),
        ("message.max.bytes", 900_000),
        ("log.segment.bytes", 1 << 20),
    ]));
    script.restart();
    let (_, id) = script.create_on("t", 1);
    let (_, other) = script.create_on("other", 1);
    let mut answer = |value_bytes| {
        let request = script.produce_request(id, value_bytes);
        script
            .call(&request, 13)
            .responses
            .remove(0)
            .partition_responses
            .remove(0)
    };
    let refused = answer(800_000);
    assert_eq!(refused.error_code, ErrorCode::MessageTooLarge.code());
    assert!(refused.error_message.unwrap().contains("raise tidemill.journal.bytes"));
    assert_eq!((answer(250_000).error_code, answer(250_000).error_code), (0, 0));
    script.produces_promptly(other, 0);
}

/// What of the ring is damaged once the log's frames in it are not needed any more.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Nothing,
    /// One bit of a batch in the middle.
    OneFrame,
    /// Everything from the middle on is zeros.
    End,
}

/// They lie in the ring until it comes round, and its oldest frame is another log's.
#[test]
fn what_is_left_in_the_ring_of_a_log_that_was_put_aside_counts_for_nothing() {
    for damage in [Damage::Nothing, Damage::OneFrame, Damage::End] {
        dead_frames(damage);
    }
}

fn dead_frames(damage: Damage) {
    let mut script = Script::start(1);
    let (name, id) = script.create_on("t", 1);
    let (_, other) = script.create_on("other", 1);
    script.pass(2_000);
    for offset in 0..200 {
        script.produces_promptly(id, offset);
    }
    assert_eq!(script.produce(other, 0), Ok(0));
    script.world.faults.slow = Slow::Segments;
    script.world.faults.disk_us_max = 2_000;
    script.world.disk.make_unwritable(&format!("{name}-0/"));
    let acknowledged = 200 + script.produce_at_once(id, 120);
    script.world.faults = Faults::NONE;
    script.pass(2_000);
    assert_eq!(script.parked_files(), 1);
    script.kill();
    let ring = ring_path(ShardId(1));
    let appends = script.appends(&ring, id);
    let middle = appends[appends.len() / 2];
    let is_damaged = match damage {
        Damage::Nothing => true,
        Damage::OneFrame => script.world.disk.flip(&ring, middle + 500, 3),
        Damage::End => script.world.disk.overwrite(&ring, middle, &vec![0; (1 << 20) - middle]),
    };
    assert!(is_damaged);
    script.world.disk.repair();
    script.restart();
    let found = script.fetch(id, 0).unwrap();
    let end = found.len() as Offset;
    assert!(end >= acknowledged, "{damage:?}: {end} of {acknowledged}");
    assert_eq!(found, (0..end).collect::<Vec<_>>(), "{damage:?}");
    script.pass(2_000);
    assert_eq!(script.produce(id, 0), Ok(end), "{damage:?}");
    script.stop();
    assert_eq!(script.parked_files(), 0);
    script.restart();
    assert_eq!(script.fetch(id, 0), Ok((0..=end).collect()), "{damage:?}");
}

#[test]
fn a_topic_whose_set_is_damaged_is_deleted_with_it() {
    let (mut script, _, id, _, other) = failing(1);
    script.pass(2_000);
    script.kill();
    let files = script.world.disk.files();
    let parked = files.iter().find(|path| path.starts_with("tidemill-parked-")).unwrap();
    assert!(script.world.disk.flip(parked, 1_000, 3));
    script.world.disk.repair();
    script.restart();
    assert_eq!(script.produce(id, 0), Err(ErrorCode::KafkaStorageError));
    script.delete(id);
    script.pass(3_000);
    assert_eq!(script.parked_files(), 0);
    assert_eq!(script.produce(other, 0), Ok(1));
    script.stop();
    assert!(script.world.is_marked_clean());
}

/// A batch in it says other offsets than its frame: nobody removes the set, and producers are told.
#[test]
fn a_set_that_its_log_cannot_take_is_kept() {
    let mut script = Script::start(1);
    let (name, id) = script.create_on("t", 1);
    for offset in 0..3 {
        assert_eq!(script.produce(id, 0), Ok(offset));
    }
    script.stop();
    let (log, offset) = (log_of(id), 3);
    let append = Append {
        segment_base: 0,
        position: script
            .world
            .disk
            .len(&script.last_segment(&format!("{name}-0/")))
            .unwrap(),
        base_offset: offset,
        last_offset: offset,
        leader_epoch: 0,
        bytes: BatchBuilder::new().record(0, None, Some(&[7; 100])).build().freeze(),
    };
    let body = Body::Append(append);
    let part = parked::split(log, 1, offset, vec![Frame { log, body }]).remove(0);
    let (path, content) = (part.name.to_string(), part.encode());
    script.perform(DiskOp::ReplaceFile {
        path: path.clone(),
        content,
    });
    script.restart();
    script.pass(2_000);
    assert_eq!(script.produce(id, 0), Err(ErrorCode::KafkaStorageError));
    assert_eq!(script.parked_files(), 1);
    script.kill();
    script.perform(DiskOp::RemoveFile { path });
    script.restart();
    assert_eq!(script.fetch(id, 0), Ok((0..3).collect()));
    assert_eq!(script.produce(id, 0), Ok(3));
}
