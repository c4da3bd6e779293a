//! Situations of recovery points and of the index files of closed segments: damaged, gone, older, newer, and after Kafka was here.

use bytes::{BufMut, BytesMut};

use crate::error::ErrorCode;
use crate::record::BatchBuilder;
use crate::types::{BLOCK_BYTES, LogId, Offset, Random};

use super::model::{DIR, EPOCH, World};
use super::point::Point;
use super::situations::{error_at, first_segment, stopped_world};
use super::*;

#[test]
fn the_recovery_point_is_gone_or_damaged() {
    // Each byte of its head in either copy, and some of the rest.
    let head = (0..70).flat_map(|at| [at, 4096 + at]).collect::<Vec<usize>>();
    for at in head {
        for bit in [0, 1, 7] {
            let mut world = stopped_world();
            let path = format!("{DIR}/{RECOVERY_POINT}");
            let file = world.disk.files.get_mut(&path).unwrap();
            assert_eq!(file.live.len(), 8192);
            file.live[at] ^= 1 << bit;
            let (report, scanned_bytes) = world.start();
            assert!(scanned_bytes <= 4096, "the other copy says all of it");
            assert!(
                report.len() == 1 && report[0].contains("the other one is used"),
                "byte {at}: {report:?}"
            );
            world.check_recovered(&[]);
            assert!(world.log.recovery_point_outdated(), "there are to be two again");
        }
    }
    // Both: whoever starts the log asks first, and does not go on.
    let mut world = stopped_world();
    let path = format!("{DIR}/{RECOVERY_POINT}");
    let file = world.disk.files.get_mut(&path).unwrap();
    file.live[50] ^= 1;
    file.live[4096 + 50] ^= 1;
    let checked = check_recovery_point(&file.live, world.log.id());
    assert_eq!(checked, Err(PointError::Stored(StoredError::Crc)));
    // None at all, as in a folder of Kafka's: the segments are scanned.
    world.disk.files.remove(&path);
    let (report, scanned_bytes) = world.start();
    assert!(scanned_bytes > 90_000 && report.is_empty(), "{report:?}");
    world.check_recovered(&[]);
    assert!(world.log.recovery_point_outdated());
}

#[test]
fn a_recovery_point_that_a_newer_version_wrote_is_told_from_a_damaged_one() {
    let mut world = stopped_world();
    let id = world.log.id();
    let point = world.log.recovery_point(world.now).content;
    assert_eq!(check_recovery_point(&point, id), Ok(()));
    let mut newer = point.to_vec();
    for copy in newer.chunks_mut(4096) {
        copy[4] = 3;
        let length = u32::from_le_bytes(copy[12..16].try_into().unwrap()) as usize;
        super::segment_index::seal(&mut copy[..length]);
    }
    let (version, known) = (3, 2);
    let newer = check_recovery_point(&newer, id);
    assert_eq!(newer, Err(PointError::Stored(StoredError::Newer { version, known })));
    let other = LogId { partition: 9, ..id };
    assert_eq!(
        check_recovery_point(&point, other),
        Err(PointError::OtherLog { of: id })
    );
}

/// The world's recovery point as version 1 wrote it: it named every segment with its index, and there was one copy.
fn version_1(world: &mut World) -> BytesMut {
    let point = Point::decode(&world.log.recovery_point(world.now).content).unwrap();
    let mut body = BytesMut::new();
    body.put_slice(&point.id.topic.0);
    body.put_i32_le(point.id.partition);
    body.put_i64_le(point.start);
    body.put_i64_le(point.applied);
    body.put_i64_le(point.state_end);
    body.put_u32_le(point.epochs.entries().len() as u32);
    for entry in point.epochs.entries() {
        body.put_i32_le(entry.epoch);
        body.put_i64_le(entry.start);
    }
    body.put_u32_le(0);
    body.put_u32_le(world.log.segments.len() as u32);
    for segment in &world.log.segments {
        body.put_i64_le(segment.base);
        body.put_i64_le(segment.next);
        body.put_u64_le(segment.size);
        body.put_i64_le(segment.max_timestamp);
        body.put_i64_le(segment.max_timestamp_offset);
        body.put_i64_le(segment.first_timestamp.unwrap_or(i64::MIN));
        body.put_i64_le(segment.created_ms);
        body.put_u64_le(segment.index.spacing_bytes());
        body.put_u32_le(segment.index.entries().len() as u32);
        for entry in segment.index.entries() {
            body.put_u32_le(entry.offset_delta);
            body.put_u32_le(entry.position);
            body.put_i64_le(entry.max_timestamp_before);
        }
    }
    point.producers.encode(&mut body);
    let mut old = BytesMut::from(&b"TMRP\x01\0\0\0"[..]);
    old.put_u32_le(crc32fast::hash(&body));
    old.put_slice(&body);
    old
}

#[test]
fn a_recovery_point_of_version_1_is_read() {
    let mut world = stopped_world();
    let mut old = version_1(&mut world);
    let path = format!("{DIR}/{RECOVERY_POINT}");
    world.disk.files.retain(|path, _| !path.ends_with(INDEX_SUFFIX));
    world.disk.files.get_mut(&path).unwrap().live = old.to_vec();
    assert_eq!(check_recovery_point(&old, world.log.id()), Ok(()));
    let (report, scanned_bytes) = world.start();
    assert!(
        report.len() == 1 && report[0].contains("they were scanned"),
        "{report:?}"
    );
    assert!(
        scanned_bytes > 90_000,
        "nothing but a scan finds the sums of the prefixes"
    );
    world.check_recovered(&[]);
    // The next one is of this version, with the index files that it relies on.
    world.append(1, 100);
    world.clean_stop();
    let (report, scanned_bytes) = world.start();
    assert!(report.is_empty() && scanned_bytes <= 4096, "{report:?}");
    world.check_recovered(&[]);
    // A scan of everything agrees with them.
    world.clean_stop();
    world.disk.files.remove(&path);
    let (report, scanned_bytes) = world.start();
    assert!(report.is_empty() && scanned_bytes > 90_000, "{report:?}");
    world.check_recovered(&[]);
    old[40] ^= 1;
    assert!(check_recovery_point(&old, world.log.id()).is_err());
}

/// What is cut off its file is in neither the segments nor the journal, which begins behind it.
#[test]
fn a_closed_segment_that_has_to_be_scanned_ends_early() {
    let mut world = World::with_segments(1, 40_000);
    while world.log.segment_count() < 2 {
        world.append(1, 5_000);
    }
    world.append(1, 5_000);
    world.commit();
    let second = world.log.segments[1].base;
    while world.log.applied() < second {
        assert!(world.checkpoint(1 << 20, false, usize::MAX));
    }
    assert_eq!(world.log.applied(), second, "nothing of the second segment is applied");
    world.take_point();
    world.trim_journal();
    let path = first_segment();
    world.disk.files.remove(&index_path(&path)).expect("it is closed");
    let file = &mut world.disk.files.get_mut(&path).unwrap().live;
    let size = world.batches[0].bytes.len();
    file.truncate(2 * size);
    let (report, _) = world.start();
    assert!(report.iter().any(|line| line.contains("cannot be read")), "{report:?}");
    assert_eq!(world.log.damage(), std::slice::from_ref(&(2..second)));
    assert_eq!(error_at(&mut world, 3), ErrorCode::CorruptMessage);
}

/// The files contradict the recovery point. What it alone knows holds all the same.
#[test]
fn a_recovery_point_that_is_not_trusted_still_says_what_only_it_knows() {
    for is_short in [true, false] {
        let mut world = stopped_world();
        world.start();
        let end = world.log.end();
        world.raise_start(5);
        world.commit();
        world.log.has_gaps = true;
        world.log.damage.push(9..10);
        world.log.is_read_only = !is_short;
        world.clean_stop();
        if is_short {
            let last = world.log.segments.back().unwrap().base;
            let file = world.disk.files.get_mut(&format!("{DIR}/{last:020}.log")).unwrap();
            let half = file.live.len() / 2;
            file.live.truncate(half);
        } else {
            let batch = world.batches.last().unwrap();
            world.frames.push(Replay::Append(ReplayedAppend {
                segment_base: world.log.segments.back().unwrap().base,
                position: 0,
                base_offset: end - 1,
                last_offset: end,
                bytes: batch.bytes.clone(),
            }));
            world.durable_frames = 1;
        }
        let (report, _) = world.start();
        let log = &world.log;
        assert!(log.has_gaps && log.is_read_only(), "{is_short} {report:?}");
        assert_eq!(log.start(), 5, "{is_short} {report:?}");
        assert!(log.damage.contains(&(9..10)), "{is_short} {report:?}");
    }
}

/// Kafka compacted the log, and its policy was changed to one that is followed.
#[test]
fn a_gap_that_kafka_may_have_left_is_no_damage() {
    for is_open in [true, false] {
        let mut world = stopped_world();
        let bases: Vec<Offset> = world.log.segments.iter().map(|segment| segment.base).collect();
        world.disk.files.remove(&format!("{DIR}/{:020}.log", bases[1]));
        let path = format!("{DIR}/{RECOVERY_POINT}");
        if is_open {
            let kafka_index = format!("{DIR}/{:020}.index", bases.last().unwrap());
            world.disk.files.insert(kafka_index, Default::default());
        } else {
            // The ring was made anew, and the recovery point is gone. Index files say that the folder was served all the same.
            world.disk.files.remove(&path);
            world.is_kafkas = true;
        }
        let (report, _) = world.start();
        assert_eq!(report.is_empty(), is_open, "{report:?}");
        assert_eq!((world.log.has_gaps, world.log.damage.is_empty()), (is_open, is_open));
    }
}

/// However long a log grows, its recovery point says the same.
#[test]
fn the_recovery_point_of_a_log_does_not_grow_with_it() {
    let mut world = World::with_segments(1, 4096);
    let mut sizes = Vec::new();
    for _ in 0..4 {
        for _ in 0..100 {
            world.append(1, 3000);
        }
        world.commit();
        while world.log.wants_checkpoint() {
            assert!(world.checkpoint(1 << 20, false, usize::MAX));
        }
        world.take_point();
        let path = format!("{DIR}/{RECOVERY_POINT}");
        sizes.push(world.disk.files[&path].live.len());
    }
    assert!(world.log.segment_count() > 300);
    assert!(sizes.iter().all(|size| *size == 8192), "{sizes:?}");
    let (report, scanned_bytes) = world.start();
    assert!(scanned_bytes <= 4096);
    world.check_recovered(&report);
}

#[test]
fn index_files_are_gone_or_damaged() {
    for damage in [0, 1, 2] {
        let mut world = stopped_world();
        let indexes = world.disk.files.keys().filter(|path| path.ends_with(INDEX_SUFFIX));
        let indexes: Vec<String> = indexes.cloned().collect();
        assert!(indexes.len() + 1 == world.log.segment_count() && indexes.len() > 1);
        match damage {
            0 => drop(world.disk.files.remove(&indexes[1])),
            1 => world.disk.files.get_mut(&indexes[1]).unwrap().live[33] ^= 1,
            // One of another segment.
            _ => {
                let other = world.disk.files[&indexes[0]].clone();
                world.disk.files.insert(indexes[1].clone(), other);
            }
        }
        let segment = world.log.segments[1].clone();
        let (report, scanned_bytes) = world.start();
        assert!(
            report.len() == 1 && report[0].contains("1 closed segments had no index file"),
            "{report:?}"
        );
        assert!(
            scanned_bytes < segment.size + 3 * BLOCK_BYTES,
            "{scanned_bytes} bytes for one of {}",
            segment.size
        );
        world.check_recovered(&[]);
        let found = &world.log.segments[1];
        assert_eq!((found.next, found.size), (segment.next, segment.size));
        assert_eq!(
            (found.index.clone(), found.prefixes),
            (segment.index.clone(), segment.prefixes)
        );
        // It is written again.
        assert!(world.log.recovery_point_outdated());
        world.append(1, 10);
        world.clean_stop();
        let (report, scanned_bytes) = world.start();
        assert!(scanned_bytes <= 4096);
        world.check_recovered(&report);
    }
}

/// The leader epoch of a batch is covered by nothing but the index file of its segment.
#[test]
fn a_bit_flips_in_a_leader_epoch() {
    let mut world = stopped_world();
    world.disk.files.get_mut(&first_segment()).unwrap().live[15] ^= 1;
    world.disk.files.remove(&format!("{DIR}/{RECOVERY_POINT}"));
    let (report, _) = world.start();
    assert!(
        report.len() == 1 && report[0].contains("is not what it was when it was closed"),
        "{report:?}"
    );
}

/// Kafka deletes segments, appends and goes; its index files say that it was here.
#[test]
fn a_log_comes_back_from_kafka() {
    let mut world = stopped_world();
    let end = world.log.end();
    let bases: Vec<Offset> = world.log.segments.iter().map(|segment| segment.base).collect();
    let kafka_index = |base: &Offset| format!("{DIR}/{base:020}.index");
    world.disk.files.remove(&first_segment());
    let gone = world.batches.iter().filter(|batch| batch.base < bases[1]).count();
    world.batches.drain(..gone);
    for base in &bases[1..] {
        world.disk.files.insert(kafka_index(base), Default::default());
    }
    let producer = BatchBuilder::new().producer(77, 0, 0);
    let appended = producer
        .record(1, None, Some(b"by Kafka"))
        .build_stamped(end, EPOCH + 1);
    let last = world
        .disk
        .files
        .get_mut(&format!("{DIR}/{:020}.log", bases.last().unwrap()))
        .unwrap();
    last.live.extend_from_slice(appended.bytes());
    world.epoch_max = EPOCH + 1;
    let (report, _) = world.start();
    assert_eq!(report, [""; 0]);
    assert_eq!((world.log.start(), world.log.end()), (bases[1], end + 1));
    assert_eq!(
        world.log.producers().len(),
        2,
        "who wrote to Kafka, and who wrote here before"
    );
    assert_eq!(world.log.latest_epoch(), Some(EPOCH + 1));
    // As long as nothing is written down, the next start finds the same.
    world.start();
    assert_eq!((world.log.start(), world.log.end()), (bases[1], end + 1));
    world.take_point();
    world.acknowledged = end + 1;
    world.save_point_if_durable();
    // Kafka could not rely on its index of the segment that is written to from now on. The others it may keep.
    let left: Vec<bool> = bases
        .iter()
        .map(|base| world.disk.files.contains_key(&kafka_index(base)))
        .collect();
    assert!(!left.last().unwrap() && left[1], "{left:?}");
    // From here on it is as if Kafka had not been here.
    world.disk.files.remove(&format!("{DIR}/{:020}.log", bases[1]));
    let (report, _) = world.start();
    assert!(report.len() == 1 && report[0].contains("is missing"), "{report:?}");
}

#[test]
fn index_files_go_with_their_segments() {
    let mut world = stopped_world();
    world.start();
    let second = world.log.segments[1].base;
    world.raise_start(second);
    world.commit();
    // A crash leaves the index file of a segment that is gone.
    for file in world.log.take_deleted(9) {
        world.disk.remove(&file.path);
    }
    let orphan = index_path(&first_segment());
    assert!(world.disk.files.contains_key(&orphan));
    world.disk.sync_folder();
    world.restart();
    assert!(!world.disk.files.contains_key(&orphan));
}

#[test]
fn any_recovery_point_is_taken_or_refused() {
    let mut world = stopped_world();
    let point = world.log.recovery_point(world.now).content;
    assert!(Point::decode(&point).is_ok());
    let mut random = Random::new(1);
    for _ in 0..20_000 {
        let length = u32::from_le_bytes(point[12..16].try_into().unwrap()) as usize;
        let mut bytes = point[..length].to_vec();
        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
        if bytes.len() > 20 {
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next_u64() as u8;
            }
            // Length and checksum are right, so that what is behind them is looked at.
            let length = bytes.len() as u32;
            bytes[12..16].copy_from_slice(&length.to_le_bytes());
            super::segment_index::seal(&mut bytes);
        }
        let _ = Point::decode(&bytes);
    }
}
