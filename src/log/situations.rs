//! One situation each, by name, on the model's disk.

use bytes::{Bytes, BytesMut};

use crate::error::ErrorCode;
use crate::record::batch::inflated_bytes_max;
use crate::record::{Batch, BatchBuilder, Codec, Limits, StampedBatch};
use crate::types::{BLOCK_BYTES, FileIds, Offset, Random};

use super::model::{DIR, EPOCH, World};
use super::*;

pub(super) fn first_segment() -> String {
    format!("{DIR}/{:020}.log", 0)
}

/// Some closed segments and an active one, all in files, nothing in the journal.
pub(super) fn stopped_world() -> World {
    let mut world = World::new(7);
    for i in 0..60 {
        world.append(1 + i % 3, 200 + 53 * i);
    }
    world.clean_stop();
    assert!(world.log.segment_count() > 2);
    world
}

pub(super) fn error_at(world: &mut World, offset: Offset) -> ErrorCode {
    let upto = world.log.end();
    let mut read = match world.log.read(offset, 1000, true, upto) {
        Err(error) => return error.code(),
        Ok(ReadPlan::Memory(slices)) => panic!("it was read: {slices:?}"),
        Ok(ReadPlan::Disk(read)) => read,
    };
    loop {
        let bytes = world.disk.read(&read.file, read.position, read.len);
        match world.log.finish_read(&read, bytes) {
            Err(error) => return error.code(),
            Ok(ReadProgress::More(next)) => read = next,
            Ok(ReadProgress::Done { slices, .. }) => panic!("it was read: {slices:?}"),
        }
    }
}

#[test]
fn a_clean_stop_leaves_nothing_to_scan() {
    let mut world = stopped_world();
    for file in world.disk.files.values() {
        assert_eq!(file.live, file.durable);
    }
    let (report, scanned_bytes) = world.start();
    world.check_recovered(&report);
    assert!(scanned_bytes <= 4096, "only the block in which the next write starts");
    assert_eq!(world.log.dirty_bytes(), 0);
    assert!(!world.log.recovery_point_outdated());
    assert!(!world.log.wants_checkpoint());
    // The files are what was appended, byte for byte.
    let files: Vec<u8> = world
        .disk
        .files
        .iter()
        .filter(|(path, _)| path.ends_with(".log"))
        .flat_map(|(_, file)| file.live.clone())
        .collect();
    assert!(
        files
            == world
                .batches
                .iter()
                .flat_map(|batch| batch.bytes.to_vec())
                .collect::<Vec<u8>>()
    );
}

#[test]
fn a_bit_flipped_in_the_middle() {
    let mut world = stopped_world();
    let position = {
        let file = world.disk.files.get_mut(&first_segment()).unwrap();
        file.live[20_000] ^= 4;
        20_000
    };
    // With the recovery point nobody looks at it until it is read.
    let (report, _) = world.start();
    assert_eq!(report, [""; 0]);
    let mut at = 0;
    let damaged = world.batches.iter().find(|batch| {
        at += batch.bytes.len();
        at > position
    });
    let damaged = damaged.unwrap().clone();
    assert_eq!(error_at(&mut world, damaged.base), ErrorCode::CorruptMessage);
    let upto = world.log.end();
    assert!(!world.read(damaged.base - 1, 1000, true, upto).is_empty());
    // A scan finds it, and leads readers around it.
    world.disk.files.remove(&format!("{DIR}/{RECOVERY_POINT}"));
    let (report, _) = world.start();
    assert_eq!(report.len(), 1, "{report:?}");
    assert_eq!(world.log.damage(), std::slice::from_ref(&(damaged.base..damaged.next)));
    assert_eq!(error_at(&mut world, damaged.base), ErrorCode::CorruptMessage);
    assert!(!world.log.is_read_only());
    assert_eq!(world.log.end(), upto);
    for batch in world.batches.clone().iter().filter(|batch| batch.base != damaged.base) {
        let read = world.read(batch.base, 1000, true, upto);
        assert_eq!(read[0].bytes, batch.bytes);
    }
    // It stays known, and the log goes on.
    world.append(1, 100);
    world.clean_stop();
    let (report, _) = world.start();
    assert_eq!(report, [""; 0]);
    assert_eq!(world.log.damage(), std::slice::from_ref(&(damaged.base..damaged.next)));
}

#[test]
fn garbage_in_the_middle_hides_the_rest_of_its_segment_only() {
    let mut world = stopped_world();
    world.disk.files.get_mut(&first_segment()).unwrap().live[10_000..14_000].fill(0xEE);
    world.disk.files.remove(&format!("{DIR}/{RECOVERY_POINT}"));
    let end = world.log.end();
    let (report, _) = world.start();
    assert_eq!(report.len(), 1, "{report:?}");
    assert_eq!(world.log.end(), end);
    let hidden = world.log.damage()[0].clone();
    for batch in world.batches.clone() {
        if batch.next <= hidden.start || batch.base >= hidden.end {
            assert_eq!(world.read(batch.base, 1000, true, end)[0].bytes, batch.bytes);
        } else {
            assert_eq!(error_at(&mut world, batch.base), ErrorCode::CorruptMessage);
        }
    }
}

#[test]
fn a_segment_is_missing() {
    let mut world = stopped_world();
    let second = world.log.segments[1].base;
    let third = world.log.segments[2].base;
    world.disk.files.remove(&format!("{DIR}/{second:020}.log"));
    for _ in 0..2 {
        let (report, _) = world.start();
        assert_eq!(report.len(), 1, "{report:?}");
        assert_eq!(world.log.damage(), std::slice::from_ref(&(second..third)));
        let upto = world.log.end();
        assert_eq!(error_at(&mut world, second), ErrorCode::CorruptMessage);
        assert!(!world.read(third, 1000, true, upto).is_empty());
        assert!(!world.read(second - 1, 1 << 20, true, upto).is_empty());
        world.disk.files.remove(&format!("{DIR}/{RECOVERY_POINT}"));
    }
}

/// Compaction leaves gaps in segments and between them.
#[test]
fn a_gap_of_a_compacted_log_is_no_damage() {
    let mut world = stopped_world();
    let bases: Vec<Offset> = world.log.segments.iter().map(|segment| segment.base).collect();
    let mut config = world.log.config().clone();
    config.cleanup_policy = CleanupPolicy::NotFollowed;
    world.log.set_config(config);
    // All of the second segment, and the first batches of the third, which is named as before.
    world.disk.files.remove(&format!("{DIR}/{:020}.log", bases[1]));
    world.disk.files.remove(&format!("{DIR}/{RECOVERY_POINT}"));
    let third = world
        .disk
        .files
        .get_mut(&format!("{DIR}/{:020}.log", bases[2]))
        .unwrap();
    let kept = world.batches.iter().find(|batch| batch.base > bases[2] + 3).unwrap();
    let skipped: usize = (world.batches.iter())
        .filter(|batch| (bases[2]..kept.base).contains(&batch.base))
        .map(|batch| batch.bytes.len())
        .sum();
    third.live.drain(..skipped);
    // Kafka, which compacted it, leaves its own index beside the last segment.
    let last = bases.last().unwrap();
    world
        .disk
        .files
        .insert(format!("{DIR}/{last:020}.index"), Default::default());
    let (first_kept, timestamps) = (kept.clone(), kept.timestamps.clone());
    let is_left = |base: Offset| base < bases[1] || base >= first_kept.base;
    world.batches.retain(|batch| is_left(batch.base));
    for from_point in [false, true] {
        let (report, _) = world.start();
        assert_eq!(report, [""; 0], "{from_point}");
        assert!(world.log.damage().is_empty() && !world.log.is_read_only());
        let upto = world.log.end();
        for offset in [bases[1], bases[2] - 1, bases[2], first_kept.base] {
            let read = world.read(offset, 1, true, upto);
            assert_eq!(read[0].bytes, first_kept.bytes, "at {offset}");
        }
        // Batches before the gap may have it already.
        let expected = world.batches.iter().find_map(|batch| {
            let first = batch
                .timestamps
                .iter()
                .position(|timestamp| *timestamp >= timestamps[0])?;
            Some(batch.base + first as Offset)
        });
        let found = world.list(OffsetSpec::Timestamp(timestamps[0]));
        assert_eq!(found.map(|found| found.offset), expected);
        world.clean_stop();
    }
}

#[test]
fn nothing_goes_from_a_log_whose_policy_is_not_followed() {
    let mut world = stopped_world();
    world.start();
    let end = world.log.end();
    let mut config = world.log.config().clone();
    (config.retention_ms, config.retention_bytes) = (Some(1000), Some(1));
    world.now.wall_ms += 3_600_000;
    for (policy, expected) in [
        (CleanupPolicy::NotFollowed, None),
        (CleanupPolicy::Keep, None),
        (CleanupPolicy::Delete, Some(end)),
    ] {
        config.cleanup_policy = policy;
        world.log.set_config(config.clone());
        assert_eq!(world.log.retention(world.now, true, end), expected, "{policy:?}");
    }
}

#[test]
fn a_clock_that_is_not_believed_deletes_nothing() {
    let mut world = stopped_world();
    world.start();
    let end = world.log.end();
    let mut config = world.log.config().clone();
    config.retention_ms = Some(1000);
    world.log.set_config(config.clone());
    world.now.wall_ms += 3_600_000;
    assert_eq!(world.log.retention(world.now, false, end), None);
    config.retention_bytes = Some(1);
    world.log.set_config(config);
    assert!(
        world.log.retention(world.now, false, end).is_some(),
        "a size needs no clock"
    );
}

/// Kafka counts from the file's last change.
#[test]
fn records_without_a_timestamp_are_kept_from_their_arrival_on() {
    for is_mixed in [false, true] {
        let mut world = World::new(3);
        let mut config = world.log.config().clone();
        config.retention_ms = Some(1000);
        world.log.set_config(config);
        let begun_ms = world.now.wall_ms;
        let append = |world: &mut World, timestamp: i64| {
            let batch = BatchBuilder::new()
                .record(timestamp, None, Some(b"value"))
                .build_checked();
            world
                .log
                .append_leader(world.now, batch, EPOCH, &mut BytesMut::new())
                .unwrap();
            world.log.committed(world.log.end());
        };
        append(&mut world, if is_mixed { begun_ms - 5000 } else { -1 });
        world.now.wall_ms = begun_ms + 1500;
        append(&mut world, -1);
        let end = world.log.end();
        world.now.wall_ms = begun_ms + 2500;
        assert_eq!(
            world.log.retention(world.now, true, end),
            None,
            "it arrived 1000 ms ago"
        );
        world.now.wall_ms = begun_ms + 2501;
        assert_eq!(world.log.retention(world.now, true, end), Some(end));
    }
}

#[test]
fn the_acknowledged_end_is_lost() {
    let mut world = stopped_world();
    let last = world.log.segments.back().unwrap().base;
    let end = world.log.end();
    let file = world.disk.files.get_mut(&format!("{DIR}/{last:020}.log")).unwrap();
    let half = file.live.len() / 2;
    file.live.truncate(half);
    for _ in 0..2 {
        let (report, _) = world.start();
        assert!(report.iter().any(|line| line.contains("acknowledged and are lost")) || world.log.is_read_only());
        assert!(world.log.is_read_only() && world.log.end() < end);
        let batch = BatchBuilder::new().record(1, None, None).build_checked();
        let refused = world.log.append_leader(world.now, batch, EPOCH, &mut BytesMut::new());
        assert_eq!(refused.unwrap_err().code(), ErrorCode::KafkaStorageError);
        let upto = world.log.end();
        assert!(!world.read(0, 1000, true, upto).is_empty());
        // It stays so, also when that was written down.
        world.take_point();
    }
    world.disk.files.remove(&format!("{DIR}/{RECOVERY_POINT}"));
    let (_, _) = world.start();
    assert!(!world.log.is_read_only(), "the loss was accepted");
    world.batches.retain(|batch| batch.base < world.log.end());
    world.acknowledged = world.log.end();
    world.follow_sequence();
    world.append(1, 100);
    world.clean_stop();
    let (report, _) = world.start();
    assert_eq!(report, [""; 0]);
    world.check_all();
}

#[test]
fn a_segment_whose_frames_the_power_took_is_put_aside() {
    let mut world = World::with_segments(1, 40_000);
    while world.log.segments.len() < 2 {
        world.append(1, 5_000);
    }
    world.append(1, 5_000);
    world.append(1, 5_000);
    world.commit();
    while world.log.wants_checkpoint() {
        assert!(world.checkpoint(1 << 20, false, usize::MAX));
    }
    // They were not flushed, while earlier ones were.
    let second = world.log.segments[1].base;
    let is_of_second = |frame: &Replay| matches!(frame, Replay::Append(append) if append.segment_base == second);
    world.frames.retain(|frame| !is_of_second(frame));
    world.durable_frames = world.frames.len();
    world.batches.retain(|batch| batch.base < second);
    world.acknowledged = second;
    let (report, _) = world.start();
    assert!(report.len() == 1 && report[0].contains("kept as"), "{report:?}");
    assert_eq!(world.log.end(), second);
    // Others take its offsets, and are not followed by what is left of it.
    world.follow_sequence();
    world.append(1, 5_000);
    world.clean_stop();
    world.disk.files.remove(&format!("{DIR}/{RECOVERY_POINT}"));
    let (report, _) = world.start();
    assert_eq!(report, [""; 0]);
    world.check_all();
    assert!(world.disk.files.keys().any(|path| path.ends_with(".stray")));
}

/// Of what was written and not flushed the power took the frames, and left the records in the segment.
#[test]
fn what_lies_behind_the_end_is_not_the_log_of_a_later_start() {
    const WHOLE_BLOCK: usize = 4026;
    let mut world = World::with_segments(1, 1 << 20);
    for _ in 0..6 {
        world.append(1, WHOLE_BLOCK);
        assert_eq!(world.batches.last().unwrap().bytes.len() as u64, BLOCK_BYTES);
    }
    world.commit();
    assert!(world.checkpoint(1 << 20, false, usize::MAX));
    let end = 3;
    let is_flushed = |frame: &Replay| !matches!(frame, Replay::Append(append) if append.base_offset >= end);
    world.frames.retain(is_flushed);
    world.batches.truncate(end as usize);
    world.acknowledged = end;
    world.restart();
    // The log comes to end where one of those batches begins, and it has that batch's offset.
    world.append(1, WHOLE_BLOCK);
    world.commit();
    assert!(world.checkpoint(1 << 20, false, usize::MAX));
    world.take_point();
    world.trim_journal();
    assert!(world.frames.is_empty());
    world.restart();
}

/// The process is killed when the kernel alone knows of the segment, and the next one writes to what it finds.
#[test]
fn a_segment_that_a_start_finds_is_not_a_synced_one() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        for _ in 0..3 {
            world.append(1, 5_000);
        }
        world.take_point();
        world.commit();
        world.trim_journal();
        // All but the sync of the folder.
        assert!(!world.checkpoint(1 << 20, false, 3));
        world.restart();
        while world.log.wants_checkpoint() {
            assert!(world.checkpoint(1 << 20, false, usize::MAX));
        }
        world.trim_journal();
        world.power_cut();
        world.restart();
    }
}

#[test]
fn what_only_a_recovery_writes_down_is_not_left_to_the_journal() {
    let without_files = |journaled: Journaled| {
        let world = World::new(7);
        let seed = RecoveringSeed {
            id: world.log.id(),
            name: "t-0",
            dir: DIR,
            config: world.log.config().clone(),
            now: world.now,
            point: None,
            entries: &[],
            kafka_start: None,
            journaled,
            epoch_max: EPOCH,
            may_have_gaps: false,
            accepts_loss: false,
        };
        Recovering::new(seed, &mut FileIds::default()).without_files()
    };
    let start = vec![Replay::Start { offset: 5 }];
    let log = without_files(Journaled {
        frames: start,
        ..Default::default()
    })
    .unwrap();
    assert_eq!(log.start(), 5, "and not where the first frame is");
    let frames = vec![Replay::Truncate { to: 5 }];
    assert!(
        without_files(Journaled {
            frames,
            ..Default::default()
        })
        .is_err()
    );
    let lost = vec![1..=2];
    assert!(
        without_files(Journaled {
            lost,
            ..Default::default()
        })
        .is_err()
    );
    let may_have_lost = true;
    assert!(
        without_files(Journaled {
            may_have_lost,
            ..Default::default()
        })
        .is_err()
    );
}

#[test]
fn a_batch_longer_than_one_operation() {
    let mut world = World::with_segments(1, 8 << 20);
    world.append(1, 300);
    world.append(2, 1_700_000);
    world.append(1, 300);
    world.append(1, 600_000);
    world.clean_stop();
    for lost_point in [false, true] {
        if lost_point {
            world.disk.files.remove(&format!("{DIR}/{RECOVERY_POINT}"));
        }
        world.restart();
        let upto = world.log.end();
        for offset in 0..upto {
            assert!(!world.read(offset, 1, true, upto).is_empty());
        }
        assert!(world.read(1, 1000, false, upto).is_empty());
        for timestamp in [0, 1_000_000, 1_000_300, 2_000_000] {
            world.check_list(timestamp);
        }
    }
}

#[test]
fn small_batches_are_read_in_few_slices() {
    let mut world = World::with_segments(1, 8 << 20);
    for _ in 0..2000 {
        world.append(1, 20);
    }
    world.commit();
    let upto = world.log.end();
    let Ok(ReadPlan::Memory(slices)) = world.log.read(0, 1 << 20, true, upto) else {
        panic!("all of it is in memory")
    };
    let bytes: usize = slices.iter().map(Bytes::len).sum();
    assert!(slices.len() <= bytes / (16 * 1024) + 200, "{} slices", slices.len());
    assert_eq!(bytes, world.log.dirty_bytes());
    world.log.recovery_point(world.now);
    let Ok(ReadPlan::Memory(slices)) = world.log.read(0, 1 << 20, true, upto) else {
        panic!("all of it is in memory")
    };
    assert!(slices.len() <= bytes / (16 * 1024) + 1, "{} slices", slices.len());
    world.read(777, 5000, true, upto);
}

#[test]
fn sent_again() {
    let mut world = World::new(1);
    let batch = |sequence| {
        let builder = BatchBuilder::new().producer(5, 0, sequence);
        builder
            .record(1, None, Some(b"a"))
            .record(2, None, Some(b"b"))
            .build_checked()
    };
    let mut arena = BytesMut::new();
    let now = world.now;
    assert_eq!(
        world
            .log
            .append_leader(now, batch(0), EPOCH, &mut arena)
            .unwrap()
            .base_offset,
        0
    );
    let (base_offset, last_offset, timestamp) = (0, 1, 2);
    let duplicate = AppendError::Duplicate {
        base_offset,
        last_offset,
        timestamp,
    };
    assert_eq!(
        world.log.append_leader(now, batch(0), EPOCH, &mut arena),
        Err(duplicate)
    );
    let gap = world.log.append_leader(now, batch(4), EPOCH, &mut arena).unwrap_err();
    assert_eq!(gap.code(), ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(
        world
            .log
            .append_leader(now, batch(2), EPOCH, &mut arena)
            .unwrap()
            .base_offset,
        2
    );
}

#[test]
fn larger_than_a_segment() {
    let mut world = World::new(1);
    let batch = BatchBuilder::new().record(1, None, Some(&[0; 50_000])).build_checked();
    let refused = world
        .log
        .append_leader(world.now, batch, EPOCH, &mut BytesMut::new())
        .unwrap_err();
    assert_eq!(refused.code(), ErrorCode::RecordListTooLarge);
}

#[test]
fn rolls_by_time_of_the_records() {
    let mut world = World::new(1);
    let mut config = world.log.config().clone();
    config.segment_ms = 5000;
    world.log.set_config(config);
    world.append(1, 10);
    world.append(1, 10);
    assert_eq!(world.log.segment_count(), 1);
    world.now.wall_ms += 6000;
    world.append(1, 10);
    assert_eq!(world.log.segment_count(), 2);
}

#[test]
fn retention_by_time_and_size() {
    let mut world = stopped_world();
    world.start();
    let bases: Vec<Offset> = world.log.segments.iter().map(|segment| segment.base).collect();
    let end = world.log.end();
    let mut config = world.log.config().clone();
    assert_eq!(world.log.retention(world.now, true, end), None);
    config.retention_bytes = Some((world.log.size_bytes() - world.log.segments[0].size) as i64);
    world.log.set_config(config.clone());
    assert_eq!(world.log.retention(world.now, true, end), Some(bases[1]));
    assert_eq!(
        world.log.retention(world.now, true, bases[1] - 1),
        None,
        "not above the high watermark"
    );
    config.retention_bytes = None;
    config.retention_ms = Some(1000);
    world.log.set_config(config);
    world.now.wall_ms += 3_600_000;
    // All of it is old: the active segment is closed, and an empty one keeps the log's place.
    assert_eq!(world.log.retention(world.now, true, end), Some(end));
    assert_eq!(world.log.retention(world.now, true, end), Some(end));
    world.raise_start(end);
    world.commit();
    world.delete();
    assert!(world.log.segment_count() > 1, "the new segment's file is not there yet");
    while world.log.wants_checkpoint() {
        world.checkpoint(1 << 20, false, usize::MAX);
    }
    while world.log.segment_count() > 1 {
        world.delete();
    }
    world.power_cut();
    world.restart();
    assert_eq!((world.log.start(), world.log.end()), (end, end));
    world.follow_sequence();
    world.append(2, 100);
    assert_eq!(world.batches.last().unwrap().base, end);
}

#[test]
fn who_wrote_a_deleted_segment_is_known_after_a_power_cut() {
    let mut world = World::new(11);
    (0..4).for_each(|_| world.append(2, 100));
    world.commit();
    let producers = world.log.producers().clone();
    world.now.wall_ms += 3_600_000;
    let mut config = world.log.config().clone();
    config.retention_ms = Some(1000);
    world.log.set_config(config);
    let end = world.log.end();
    assert_eq!(world.log.retention(world.now, true, end), Some(end));
    while world.log.wants_checkpoint() {
        world.checkpoint(1 << 20, false, usize::MAX);
    }
    world.raise_start(end);
    world.commit();
    for is_saved in [false, true] {
        if is_saved {
            assert!(world.log.deletion_waits() && world.log.recovery_point_due(world.now));
            world.take_point();
        }
        world.delete();
        assert_eq!(world.log.segment_count() == 1, is_saved);
        world.trim_journal();
        world.power_cut();
        let (report, _) = world.start();
        assert_eq!(report, [""; 0]);
        assert_eq!(world.log.producers(), &producers);
    }
}

#[test]
fn who_wrote_below_the_start_is_known_before_a_recovery_point_says_so() {
    let mut world = World::new(5);
    world.append(1, 10);
    world.clean_stop();
    world.restart();
    while world.log.segments.len() < 2 {
        world.append(1, 5_000);
    }
    world.commit();
    while world.log.wants_checkpoint() {
        assert!(world.checkpoint(1 << 20, false, usize::MAX));
    }
    world.raise_start(world.log.durable());
    world.commit();
    world.trim_journal();
    // It compares the producers.
    world.restart();
}

#[test]
fn cut_and_recovered() {
    // Down to where: in memory, at a boundary of segments, in files.
    for keep in [59, 50, 40, 20, 3, 0] {
        for trims in [false, true] {
            let mut world = World::new(keep as u64);
            for i in 0..60 {
                world.append(1 + i % 3, 200 + 53 * i);
                if i == 52 {
                    world.commit();
                    while world.log.wants_checkpoint() {
                        world.checkpoint(1 << 20, false, usize::MAX);
                    }
                    world.take_point();
                }
            }
            world.commit();
            if trims {
                world.trim_journal();
            }
            let to = world.batches[keep].base;
            let mut plan = world.log.truncation(world.batches[keep].next - 1);
            let cut = loop {
                match plan {
                    TruncationPlan::Ready(cut) => break cut,
                    TruncationPlan::Disk(read) => {
                        let bytes = world.disk.read(&read.file, read.position, read.len);
                        plan = world.log.finish_truncation(&read, bytes).unwrap();
                    }
                    TruncationPlan::Busy => panic!("nothing is under way"),
                }
            };
            assert_eq!(cut.end, to);
            world.frames.push(Replay::Truncate { to });
            world.durable_frames = world.frames.len();
            world.batches.truncate(keep);
            world.acknowledged = to;
            // The power may fail between any two of its steps.
            let before = (world.disk.clone(), world.frames.clone());
            for steps in 0..4 {
                (world.disk, world.frames) = before.clone();
                world.durable_frames = world.frames.len();
                if steps > 0 {
                    world.disk.remove(&cut.recovery_point);
                    cut.indexes.iter().for_each(|path| world.disk.remove(path));
                    world.disk.sync_folder();
                }
                if steps > 1 {
                    cut.remove.iter().for_each(|file| world.disk.remove(&file.path));
                }
                if let Some((file, len)) = cut.cut.as_ref().filter(|_| steps > 2) {
                    world
                        .disk
                        .files
                        .get_mut(&*file.path)
                        .unwrap()
                        .live
                        .truncate(*len as usize);
                    world.disk.sync(&file.path);
                }
                world.random = Random::new(steps);
                world.power_cut();
                world.restart();
                assert_eq!(world.log.end(), to);
                for i in 0..10 {
                    world.append(1 + i % 3, 500 * i);
                }
                world.clean_stop();
                world.restart();
                world.batches.truncate(keep);
                world.acknowledged = to;
            }
        }
    }
}

/// A set was carried, and then the log's last block written: the file is longer than the log when the process is killed.
#[test]
fn killed_between_a_carried_set_and_the_cut_of_a_tail() {
    let mut world = World::new(3);
    world.append(1, 1500);
    world.commit();
    world.take_point();
    for _ in 0..20 {
        world.append(1, 1500);
    }
    world.commit();
    assert!(world.checkpoint(1 << 20, false, usize::MAX));
    let applied = world.log.applied();
    assert!(0 < applied && applied < world.log.end());
    world.carry();
    assert!(world.frames.iter().any(|frame| matches!(frame, Replay::Restate { .. })));
    // Everything of the step but the cut to its size. A kill loses no write.
    assert!(!world.checkpoint(1 << 20, true, 2));
    world.restart();
    assert_eq!(world.log.applied(), applied, "the files reach as far as they did");
    // The set stands for all frames before it.
    let set = world
        .frames
        .iter()
        .position(|frame| matches!(frame, Replay::Restate { .. }));
    world.frames.drain(..set.unwrap());
    world.durable_frames = world.frames.len();
    world.power_cut();
    world.restart();
}

#[test]
fn a_follower_keeps_gaps_and_epochs() {
    let mut world = World::new(1);
    let mut arena = BytesMut::new();
    let batch = |base, epoch| {
        BatchBuilder::new()
            .record(5, None, Some(&[1; 5000]))
            .build_stamped(base, epoch)
    };
    for (base, epoch) in [(10, 4), (20, 4), (30, 6)] {
        let appended = world.log.append_follower(world.now, batch(base, epoch), &mut arena);
        assert_eq!(appended.base_offset, base);
    }
    assert_eq!(world.log.end_offset_for_epoch(4), (4, 30));
    assert_eq!(world.log.end_offset_for_epoch(6), (6, 31));
    world.log.committed(31);
    world.log.close();
    while !world.log.is_closed() {
        world.checkpoint(1 << 20, false, usize::MAX);
    }
    world.log.evict_oldest(usize::MAX);
    for (asked, comes) in [(0, 10), (10, 10), (11, 20), (29, 30)] {
        let ReadPlan::Disk(read) = world.log.read(asked, 100, true, 31).unwrap() else {
            panic!("it is not in memory")
        };
        let bytes = world.disk.read(&read.file, read.position, read.len);
        let ReadProgress::Done { slices, .. } = world.log.finish_read(&read, bytes).unwrap() else {
            panic!("one read is enough")
        };
        assert_eq!(StampedBatch::check(slices.concat().into()).unwrap().base_offset, comes);
    }
}

#[test]
fn a_segment_is_deleted_while_it_is_read() {
    let mut world = stopped_world();
    world.start();
    let end = world.log.end();
    let planned = |world: &mut World, offset| match world.log.read(offset, 1000, true, end).unwrap() {
        ReadPlan::Disk(read) => read,
        ReadPlan::Memory(slices) => panic!("it is in memory: {slices:?}"),
    };
    let second = world.log.segments[1].base;
    let reads = [planned(&mut world, 0), planned(&mut world, second)];
    world.raise_start(second);
    world.commit();
    while world.log.segments[0].base < second {
        world.delete();
    }
    let gone = world.log.missed_read(&reads[0]).expect("it is nobody's any more");
    assert_eq!(gone.err().map(|error| error.code()), Some(ErrorCode::OffsetOutOfRange));
    assert!(world.log.missed_read(&reads[1]).is_none(), "it ought to be there");
}

#[test]
fn a_segment_is_deleted_while_a_time_is_looked_up() {
    let mut world = stopped_world();
    world.start();
    let end = world.log.end();
    let planned =
        |world: &mut World, timestamp| match world.log.list_offset(OffsetSpec::Timestamp(timestamp), end).unwrap() {
            ListProgress::More(read) => read,
            other => panic!("it needs no read: {other:?}"),
        };
    let second = world.log.segments[1].base;
    let timestamps = world.batches.iter().flat_map(|batch| batch.timestamps.iter().copied());
    let newest = timestamps.max().unwrap();
    let reads = [planned(&mut world, 0), planned(&mut world, newest)];
    world.raise_start(second);
    world.commit();
    while world.log.segments[0].base < second {
        world.delete();
    }
    assert!(world.log.missed_list(&reads[1]).is_none(), "it ought to be there");
    let again = world
        .log
        .missed_list(&reads[0])
        .expect("it is nobody's any more")
        .unwrap();
    assert_eq!(world.list_on(again).map(|found| found.offset), Some(second));
}

#[test]
fn a_batch_is_gone_while_it_is_searched() {
    let lookup = |world: &mut World, timestamp| {
        let upto = world.log.durable();
        match world.log.list_offset(OffsetSpec::Timestamp(timestamp), upto).unwrap() {
            ListProgress::Within(lookup) => lookup,
            other => panic!("it is searched at once: {other:?}"),
        }
    };
    let mut world = World::new(7);
    (0..3).for_each(|_| world.append(4, 100));
    world.commit();
    let batch = world.batches[1].clone();
    // Deleted: what comes behind it is found.
    let done = lookup(&mut world, 0).run();
    world.raise_start(batch.base + 2);
    let progress = world.log.finish_lookup(done).unwrap();
    assert_eq!(world.list_on(progress).map(|found| found.offset), Some(batch.base + 2));
    // Cut off: what was found is of a log that is no more.
    let done = lookup(&mut world, 0).run();
    world.log.generation += 1;
    let progress = world.log.finish_lookup(done).unwrap();
    assert!(matches!(progress, ListProgress::Within(_)), "{progress:?}");
}

/// The check and the lookup agree on what a batch may inflate to.
#[test]
fn a_time_within_a_batch_of_150_megabytes() {
    let mut world = World::with_segments(7, 1 << 20);
    let zeros = vec![0; 10 << 20];
    let mut builder = BatchBuilder::new().compression(Codec::Zstd);
    (0..15).for_each(|i| builder.push(world.now.wall_ms + i, None, Some(&zeros), &[]));
    let limits = Limits {
        inflated_bytes_max: inflated_bytes_max(2 << 20),
        ..Limits::default()
    };
    let batch = Batch::check(builder.build(), &limits, world.now.wall_ms).unwrap();
    let mut arena = BytesMut::new();
    world.log.append_leader(world.now, batch, EPOCH, &mut arena).unwrap();
    world.log.committed(world.log.end());
    let found = world.list(OffsetSpec::Timestamp(world.now.wall_ms + 11));
    assert_eq!(found.map(|found| found.offset), Some(11));
    let found = world.list(OffsetSpec::MaxTimestamp);
    assert_eq!(found.map(|found| found.offset), Some(14));
}
