//! Situations of damage within batches, the bytes that Kafka's checksum leaves bare among them.

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::record::BatchBuilder;
use crate::types::Offset;

use super::model::{DIR, EPOCH, World};
use super::situations::{error_at, first_segment};
use super::*;

/// Batches of one record, of which the first five are applied and the others are in the journal only, and the segment file.
fn applied_and_journaled() -> (World, usize) {
    let mut world = World::with_segments(1, 1 << 20);
    for _ in 0..20 {
        world.append(1, 5_000);
    }
    world.commit();
    // A recovery point from before anything reached the segment.
    world.take_point();
    while world.log.wants_checkpoint() {
        assert!(world.checkpoint(1 << 20, false, usize::MAX));
    }
    world.trim_journal();
    for _ in 0..5 {
        world.append(1, 5_000);
    }
    world.commit();
    let size = world.batches[0].bytes.len();
    (world, size)
}

/// Everything but `damaged` is read as it was appended, and that is refused.
fn check_all_but(world: &mut World, damaged: std::ops::Range<Offset>) {
    let upto = world.log.end();
    for batch in world.batches.clone() {
        match damaged.contains(&batch.base) {
            true => assert_eq!(error_at(world, batch.base), ErrorCode::CorruptMessage),
            false => assert_eq!(world.read(batch.base, 1000, true, upto)[0].bytes, batch.bytes),
        }
    }
}

/// Each bit of a batch's header and some of its records, in the middle of what a start scans and at its end.
#[test]
fn a_bit_flipped_anywhere_in_a_batch_costs_that_batch() {
    for nth in [0usize, 5, 18] {
        let (mut world, size) = applied_and_journaled();
        let (before, end) = (world.disk.clone(), world.log.end());
        let frames = world.frames.clone();
        for at in (0..61).chain([100, size - 1]) {
            for bit in [0, 1, 6, 7] {
                (world.disk, world.frames) = (before.clone(), frames.clone());
                world.durable_frames = world.frames.len();
                let file = world.disk.files.get_mut(&first_segment()).unwrap();
                file.live[nth * size + at] ^= 1 << bit;
                let (report, _) = world.start();
                assert_eq!(report.len(), 1, "byte {at} bit {bit}: {report:?}");
                let lost = nth as Offset..nth as Offset + 1;
                assert_eq!(
                    world.log.damage(),
                    std::slice::from_ref(&lost),
                    "byte {at} bit {bit}: {report:?}"
                );
                assert_eq!((world.log.end(), world.log.is_read_only()), (end, false));
                check_all_but(&mut world, lost);
            }
        }
        // It goes on where it was.
        let lost = nth as Offset..nth as Offset + 1;
        world.append(1, 100);
        world.commit();
        check_all_but(&mut world, lost.clone());
        world.log.close();
        while !world.log.is_closed() {
            assert!(world.checkpoint(1 << 20, false, usize::MAX));
        }
        world.take_point();
        world.trim_journal();
        let (report, _) = world.start();
        assert_eq!(report, [""; 0]);
        check_all_but(&mut world, lost);
    }
}

/// With a recovery point nobody scans it: a reader sees it.
#[test]
fn a_flipped_base_offset_is_not_served() {
    for bit in 0..64 {
        let mut world = World::with_segments(1, 1 << 20);
        (0..20).for_each(|_| world.append(1, 5_000));
        world.clean_stop();
        let size = world.batches[0].bytes.len();
        let file = world.disk.files.get_mut(&first_segment()).unwrap();
        file.live[3 * size + 7 - bit / 8] ^= 1 << (bit % 8);
        let (report, _) = world.start();
        assert_eq!(report, [""; 0]);
        let upto = world.log.end();
        assert!(!world.read(2, 1000, true, upto).is_empty());
        assert_eq!(error_at(&mut world, 3), ErrorCode::CorruptMessage, "bit {bit}");
    }
}

/// A stretch of the segment is another stretch of it, or zeros, or missing.
#[test]
fn a_stretch_that_is_not_what_was_written() {
    for what in ["misdirected", "zeros"] {
        for nth in [1usize, 7, 15] {
            for count in [1usize, 3] {
                let (mut world, size) = applied_and_journaled();
                let end = world.log.end();
                let file = world.disk.files.get_mut(&first_segment()).unwrap();
                let (from, to) = (nth * size, (nth + count) * size);
                match what {
                    "misdirected" => file.live.copy_within(0..count * size, from),
                    _ => file.live[from..to].fill(0),
                }
                let (report, _) = world.start();
                assert!(!report.is_empty());
                assert_eq!((world.log.end(), world.log.is_read_only()), (end, false), "{report:?}");
                let lost = world.log.damage()[0].start..world.log.damage().last().unwrap().end;
                assert_eq!(lost.start, nth as Offset, "{what}: {report:?}");
                if what == "misdirected" {
                    assert_eq!(lost.end, (nth + count) as Offset, "{report:?}");
                }
                // Whatever the journal has is there.
                assert!(lost.end <= end - 5);
                check_all_but(&mut world, lost);
            }
        }
    }
}

/// One bit of a base offset in a segment that has room for more, and a batch of many records that only the journal has: the
/// flipped offset lies within that batch.
#[test]
fn no_frame_of_the_journal_is_dropped() {
    let (mut world, size) = applied_and_journaled();
    world.append(40, 4_000);
    world.commit();
    let (end, frames) = (world.log.end(), world.frames.len());
    let file = world.disk.files.get_mut(&first_segment()).unwrap();
    file.live[3 * size + 7] ^= 1 << 5;
    let (report, _) = world.start();
    assert_eq!(report.len(), 1, "{report:?}");
    assert_eq!(world.log.damage(), std::slice::from_ref(&(3..4)));
    assert_eq!(world.log.end(), end);
    let dirty: usize = world.log.carry().len();
    assert!(frames > 0 && dirty >= 6, "{dirty} of {frames}");
    check_all_but(&mut world, 3..4);
    // Also a scan from the segment's beginning that the journal contradicts ends where the journal begins.
    let (mut world, _) = applied_and_journaled();
    world.disk.files.remove(&format!("{DIR}/{RECOVERY_POINT}"));
    world
        .frames
        .retain(|frame| matches!(frame, Replay::Append(append) if append.base_offset >= 20));
    for frame in &mut world.frames {
        if let Replay::Append(append) = frame {
            let batch = BatchBuilder::new()
                .record(1, None, None)
                .build_stamped(append.base_offset - 3, EPOCH);
            (append.base_offset, append.last_offset) = (batch.base_offset, batch.last_offset());
            append.bytes = batch.into_bytes();
        }
    }
    world.durable_frames = world.frames.len();
    let (report, _) = world.start();
    assert!(!report.is_empty());
    let carried = world.log.carry();
    assert_eq!(carried.len(), world.frames.len());
    assert_eq!(carried[0].base_offset, 17);
    assert_eq!(world.log.end(), 22);
}

/// What Kafka compacted has gaps: the first start finds that out, and later ones know it.
#[test]
fn gaps_of_a_compacted_log_are_no_damage() {
    let mut world = World::with_segments(1, 1 << 20);
    let batches: Vec<Bytes> = [0, 3, 4, 90, 91, 500]
        .map(|base| {
            let batch = BatchBuilder::new().record(5, None, Some(&[1; 5000]));
            batch.build_stamped(base, EPOCH).into_bytes()
        })
        .to_vec();
    let file = super::model::TestFile::of(batches.concat());
    world.disk.files.insert(first_segment(), file);
    world.frames.clear();
    world.is_kafkas = true;
    let (report, _) = world.start();
    assert_eq!(report, [""; 0]);
    assert_eq!((world.log.end(), world.log.damage()), (501, &[][..]));
    world.acknowledged = 501;
    world.take_point();
    world.is_kafkas = false;
    let (report, _) = world.start();
    assert_eq!(report, [""; 0]);
    assert!(world.log.has_gaps);
    for asked in [0, 1, 3, 89, 100] {
        let ReadPlan::Disk(read) = world.log.read(asked, 100, true, 501).unwrap() else {
            panic!("it is not in memory")
        };
        let bytes = world.disk.read(&read.file, read.position, read.len);
        assert!(matches!(
            world.log.finish_read(&read, bytes),
            Ok(ReadProgress::Done { .. })
        ));
    }
    // The same in a log that was always ours.
    world.disk.files.remove(&format!("{DIR}/{RECOVERY_POINT}"));
    let (report, _) = world.start();
    assert_eq!(report.len(), 3, "{report:?}");
    assert_eq!(
        world.log.damage().iter().map(|range| range.end).collect::<Vec<_>>(),
        [3, 90, 93]
    );
}
