//! What a folder needs of itself is damaged or gone: no start, nothing touched, and the same folder put right has lost nothing;
//! or a person gives it up, and the next start goes on with all that is left.

use super::*;
use crate::controller::snapshot::SnapshotId;
use crate::journal::RING_START;
use crate::shard::format;
use crate::sim::disk::SimDisk;
use crate::types::ShardId;

const METADATA: &str = "__cluster_metadata-0";

/// A broker with records in every journal that ended like this.
fn ended(seed: u64, ends_cleanly: bool) -> (Script, TopicId) {
    let mut script = Script::start(seed);
    let id = script.create("t", 6);
    for number in 0..24 {
        assert_eq!(script.produce(id, number % 6), Ok((number / 6).into()));
    }
    if ends_cleanly {
        script.stop();
    } else {
        script.kill();
    }
    (script, id)
}

impl Script {
    /// No start, and nothing was touched.
    #[track_caller]
    fn is_refused(&mut self, words: &str) {
        let before = self.content_of("");
        self.world.start(SHARDS);
        let fatal = self.world.fatal().expect("the start is refused").to_owned();
        assert!(fatal.contains(words), "{words:?} is not in {fatal}");
        assert!(fatal.contains("tidemill repair"), "{fatal}");
        assert_eq!(before, self.content_of(""));
        self.world.kill();
    }

    /// A start that is refused once it has begun.
    #[track_caller]
    fn is_refused_later(&mut self, words: &str) {
        self.world.start(SHARDS);
        for _ in 0..200_000 {
            if self.world.fatal().is_some() || !self.world.step(&mut Vec::new()) {
                break;
            }
        }
        assert!(!self.world.is_ready());
        let fatal = self.world.fatal().expect("the start is refused").to_owned();
        assert!(fatal.contains(words), "{words:?} is not in {fatal}");
        assert!(fatal.contains("tidemill repair"), "{fatal}");
        self.world.kill();
    }

    fn is_whole(&mut self, id: TopicId) {
        for partition in 0..6 {
            assert_eq!(self.fetch(id, partition), Ok((0..4).collect()));
        }
    }

    fn repair(&mut self) {
        self.world.repair(SHARDS);
        self.until("the end of a repair", |script, _| script.world.is_stopped());
        self.kill();
    }

    fn remove(&mut self, path: &str) {
        self.perform(DiskOp::RemoveFile { path: path.into() });
    }

    fn replace(&mut self, path: &str, content: &'static [u8]) {
        let (path, content) = (path.into(), Bytes::from_static(content));
        self.perform(DiskOp::ReplaceFile { path, content });
    }
}

fn ring(shard: u16) -> String {
    ring_path(ShardId(shard))
}

#[test]
fn a_journal_without_its_head_is_refused_and_can_be_given_up() {
    type Damage = fn(&mut Script, &str);
    let damages: [(&str, Damage); 4] = [
        ("is missing", |script, ring| script.remove(ring)),
        ("is empty", |script, ring| script.replace(ring, b"")),
        ("lost both superblocks", |script, ring| {
            script.world.disk.zero(ring, 0..RING_START as usize);
        }),
        // And the first block, which the anchor has left long ago.
        ("lost both superblocks", |script, ring| {
            script.world.disk.zero(ring, 0..RING_START as usize + 4096);
        }),
    ];
    for (seed, (words, damage)) in damages.into_iter().enumerate() {
        for shard in 0..SHARDS {
            let (mut script, id) = ended(seed as u64, false);
            let whole: SimDisk = script.world.disk.clone();
            damage(&mut script, &ring(shard));
            script.is_refused(words);
            script.is_refused(&ring(shard));
            let damaged = std::mem::replace(&mut script.world.disk, whole);
            script.restart();
            script.is_whole(id);
            script.kill();
            script.world.disk = damaged;
            script.repair();
            script.restart();
            // The other journals kept what was acknowledged by them.
            for partition in 0..6 {
                let LogId { topic, partition } = LogId { topic: id, partition };
                let owner = owner(LogId { topic, partition }, SHARDS).0;
                match script.fetch(id, partition) {
                    Ok(offsets) if owner != shard && shard != 0 => assert_eq!(offsets, (0..4).collect::<Vec<_>>()),
                    // With the metadata's journal the topic may be gone.
                    found => assert!(owner == shard || shard == 0, "{found:?}"),
                }
            }
            let again = script.create("again", 1);
            assert_eq!(script.produce(again, 0), Ok(0));
            script.stop();
            assert!(script.world.is_marked_clean());
        }
    }
}

#[test]
fn after_a_clean_stop_a_journal_is_not_missed() {
    for (seed, shard) in [(1, 0), (2, 1)] {
        let (mut script, id) = ended(seed, true);
        script.remove(&ring(shard));
        script.world.disk.zero(&ring(2), 0..RING_START as usize);
        // The power goes before the journal is made, and before the folder says so.
        script.world.start(SHARDS);
        for _ in 0..30 {
            script.world.step(&mut Vec::new());
        }
        script.world.cut();
        script.restart();
        script.is_whole(id);
    }
}

#[test]
fn metadata_that_is_gone_is_refused() {
    for ends_cleanly in [true, false] {
        let (mut script, id) = ended(3, ends_cleanly);
        let whole = script.world.disk.clone();
        script.world.remove_tree(METADATA);
        script.is_refused("__cluster_metadata-0 is missing");
        script.world.disk = whole.clone();
        script.restart();
        script.is_whole(id);
        script.kill();

        script.world.disk = whole.clone();
        if ends_cleanly {
            let segment = script.last_segment(METADATA);
            script.remove(&segment);
            script.is_refused("has no segment of the metadata log");
        } else {
            // All of it is in the journal still.
            script.world.remove_tree(METADATA);
            script.perform(DiskOp::CreateDir { path: METADATA.into() });
            script.restart();
            script.is_whole(id);
            script.kill();
        }
        script.world.disk = whole;
        script.restart();
        script.is_whole(id);
        assert_eq!(script.folders().len(), 6, "no folder is a stray");
    }
}

#[test]
fn metadata_that_is_gone_can_be_given_up() {
    let (mut script, id) = ended(4, true);
    script.world.remove_tree(METADATA);
    script.repair();
    script.restart();
    assert_eq!(script.fetch(id, 0), Err(ErrorCode::UnknownTopicId));
    let id = script.create("t", 6);
    assert_eq!(script.produce(id, 0), Ok(0));
    script.pass(1_000);
    let strays = script.folders().iter().filter(|name| name.ends_with("-stray")).count();
    assert_eq!(strays, 6, "{:?}", script.folders());
    script.stop();
}

#[test]
fn a_metadata_log_that_is_gone_goes_on_behind_its_snapshot() {
    let every = ("metadata.log.max.record.bytes.between.snapshots", 2_000);
    let mut script = Script::start_with(5, &[every]);
    let id = script.create("first", 3);
    for n in 0..30 {
        script.create(&format!("t{n}"), 1);
    }
    script.pass(5_000);
    for partition in 0..3 {
        assert_eq!(script.produce(id, partition), Ok(0));
    }
    script.stop();
    let mut files = script.world.disk.files();
    files.retain(|path| path.starts_with(METADATA) && path.ends_with(".log"));
    for segment in files {
        script.remove(&segment);
    }
    script.is_refused("has no segment of the metadata log");
    script.repair();
    for life in 0..3 {
        script.restart();
        for partition in 0..3 {
            assert_eq!(script.produce(id, partition), Ok(1 + life));
        }
        let name = format!("again{life}");
        let again = script.create(&name, 1);
        assert_eq!(script.produce(again, 0), Ok(0));
        script.kill();
    }
}

#[test]
fn small_files_that_are_gone_or_damaged_are_refused_and_written_again() {
    type Damage = fn(&mut Script);
    let damages: [(&str, Damage); 5] = [
        ("meta.properties is missing", |script| script.remove("meta.properties")),
        ("meta.properties: version is missing", |script| {
            script.replace("meta.properties", b"")
        }),
        ("tidemill.format is missing", |script| script.remove(format::FILE)),
        ("tidemill.format is damaged", |script| script.replace(format::FILE, b"")),
        ("tidemill.format is damaged", |script| {
            assert!(script.world.disk.flip(format::FILE, 20, 0));
        }),
    ];
    for (seed, (words, damage)) in damages.into_iter().enumerate() {
        for ends_cleanly in [true, false] {
            let (mut script, id) = ended(seed as u64, ends_cleanly);
            damage(&mut script);
            script.is_refused(words);
            // Nothing of a topic is in them.
            script.repair();
            script.restart();
            script.is_whole(id);
            assert_eq!(script.produce(id, 0), Ok(4));
            script.stop();
        }
    }
}

/// The snapshots that there are, the oldest first.
fn snapshots(script: &Script) -> Vec<SnapshotId> {
    let prefix = format!("{METADATA}/");
    let mut files = script.world.disk.files();
    files.retain(|path| path.starts_with(&prefix));
    let mut ids: Vec<_> = files
        .iter()
        .filter_map(|path| SnapshotId::parse(&path[prefix.len()..]))
        .collect();
    ids.sort_unstable();
    ids
}

#[test]
fn the_older_snapshot_is_used_when_the_newest_is_damaged() {
    let every = ("metadata.log.max.record.bytes.between.snapshots", 2_000);
    for seed in 0..6 {
        let mut script = Script::start_with(seed, &[every, ("metadata.log.segment.bytes", 4_000)]);
        let mut topics: Vec<(String, TopicId)> = Vec::new();
        for n in 0..30 {
            let name = format!("t{n}");
            let id = script.create(&name, 1);
            topics.push((name, id));
        }
        script.pass(1_000);
        let (_, deleted) = topics.pop().unwrap();
        script.delete(deleted);
        script.pass(5_000);
        match seed % 3 {
            0 => script.stop(),
            1 => script.kill(),
            _ => script.world.cut(),
        }
        for round in 0..2 {
            // The stop may have written one, and an old one is removed by the next start.
            let found = snapshots(&script);
            assert!(found.len() >= 2, "{found:?}");
            let newest = *found.last().unwrap();
            let path = format!("{METADATA}/{}", newest.file_name());
            assert!(script.world.disk.flip(&path, 200, 3));
            script.restart();
            for (name, _) in &topics {
                assert_eq!(script.end_offset(name, 0), 0, "seed {seed}, round {round}");
            }
            assert_eq!(script.end_offset("t29", 0), -1, "it was deleted");
            let is_kept = |file: &String| file.starts_with(&path) && file.ends_with("-aside");
            assert!(
                script.world.disk.files().iter().any(is_kept),
                "it is kept under another name"
            );
            // And so again, once there are two.
            for n in 0..30 {
                let name = format!("round{round}x{n}");
                let id = script.create(&name, 1);
                topics.push((name, id));
            }
            script.pass(5_000);
            script.kill();
            assert_eq!(script.counted("recovery: older metadata snapshot used"), round + 1);
        }
        // Without either of them nothing is left to start from.
        for id in snapshots(&script) {
            assert!(
                script
                    .world
                    .disk
                    .flip(&format!("{METADATA}/{}", id.file_name()), 200, 3)
            );
        }
        script.is_refused_later("acknowledged metadata at offset");
    }
}

/// Creates a topic, acknowledged, and loses the commit that says so; its records are in other journals.
fn lost_creation(seed: u64) -> (Script, TopicId, TopicId) {
    let mut script = Script::start(seed);
    let before = script.create("before", 3);
    script.pass(60_000);
    let id = script.create("lost", 3);
    for partition in 0..3 {
        for offset in 0..2 {
            assert_eq!(script.produce(id, partition), Ok(offset));
            assert_eq!(script.produce(before, partition), Ok(offset));
        }
    }
    script.kill();
    let ring = ring(0);
    let content = script.world.disk.content(&ring, 0..1 << 20).to_vec();
    let at = content
        .windows(16)
        .position(|bytes| bytes == id.0)
        .expect("its creation is there");
    let block = at / 4096 * 4096;
    script.world.disk.zero(&ring, block..block + 4096);
    (script, before, id)
}

#[test]
fn a_lost_commit_of_the_metadata_is_no_start() {
    for seed in 0..6 {
        let (mut script, before, id) = lost_creation(seed);
        for _ in 0..2 {
            script.is_refused_later("topics or settings that were made may be lost");
        }
        script.repair();
        script.restart();
        assert_eq!(script.fetch(id, 0), Err(ErrorCode::UnknownTopicId));
        for partition in 0..3 {
            let found = script.fetch(before, partition);
            let is_beside = owner(
                LogId {
                    topic: before,
                    partition,
                },
                SHARDS,
            )
            .0 == 0;
            assert!(is_beside || found == Ok(vec![0, 1]), "{found:?}");
            assert!(script.produce(before, partition).is_ok(), "the loss was accepted");
        }
        // What other journals and folders have of it is kept.
        let mut kept: Vec<i32> = Vec::new();
        let folders = script.folders();
        for folder in folders.iter().filter(|folder| folder.ends_with("-stray")) {
            let segments: usize = (script.content_of(&format!("{folder}/")).iter())
                .filter(|(path, _)| path.ends_with(".log"))
                .map(|(_, bytes)| bytes.len())
                .sum();
            let number = folder.split('.').next().and_then(|name| name.rsplit('-').next());
            kept.extend((segments > 9_000).then(|| number.unwrap().parse::<i32>().unwrap()));
        }
        for partition in 0..3 {
            let is_beside = owner(LogId { topic: id, partition }, SHARDS).0 == 0;
            assert!(
                is_beside || kept.contains(&partition),
                "{partition} of {kept:?}, {folders:?}"
            );
        }
        script.stop();
        assert!(script.world.is_marked_clean());
        script.restart();
        assert!(script.produce(before, 0).is_ok());
    }
}

#[test]
fn frames_of_a_topic_that_was_deleted_are_dropped() {
    for seed in 0..10 {
        let mut script = Script::start_with(seed, &[("metadata.log.max.record.bytes.between.snapshots", 300)]);
        script.world.faults.disk_us_max = 20_000;
        let id = script.create("t", 3);
        for partition in 0..3 {
            script.produce(id, partition).unwrap();
        }
        script.delete(id);
        script.world.cut();
        script.restart();
        script.stop();
        assert_eq!(
            script.counted("recovery: frames of an unknown topic kept apart"),
            0,
            "seed {seed}"
        );
    }
}

#[test]
fn a_journal_that_is_smaller_than_the_settings_say_refuses_what_it_cannot_hold() {
    let mut script = Script::start_with(1, &[("tidemill.journal.bytes", 512 << 10)]);
    let id = script.create("t", 3);
    script.produce(id, 0).unwrap();
    script.kill();
    script.world.set_config(BrokerConfig::beyond_bounds([
        ("tidemill.journal.bytes", 4 << 20),
        ("tidemill.disk.reserve.bytes", 1 << 20),
        ("message.max.bytes", 900_000),
        ("log.segment.bytes", 2 << 20),
    ]));
    script.restart();
    let large = |script: &mut Script| script.produce_bytes(id, 1, 700_000);
    assert_eq!(large(&mut script), Err(ErrorCode::MessageTooLarge));
    assert_eq!(script.produce(id, 1), Ok(0));
    // A clean stop leaves nothing in it: it is made as the settings say.
    script.stop();
    script.restart();
    assert_eq!(large(&mut script), Ok(1));
    script.stop();
}
