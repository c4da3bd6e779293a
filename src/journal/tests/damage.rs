//! Damage in the ring: what of it is put down to which logs.

use bytes::Bytes;

use super::World;
use crate::journal::*;
use crate::types::{LogId, Offset, Uuid};

/// What a start makes of the ring.
pub(super) struct Found {
    pub(super) frames: Vec<Frame>,
    pub(super) ended: Vec<Ended>,
    pub(super) report: Report,
    pub(super) journal: Journal,
}

/// Logs that are appended to one after the other, each append in a commit of its own.
fn appended(order: &[u8]) -> (World, Vec<u64>) {
    let mut world = World::new(1);
    (world.plain, world.batch_bytes_max) = (false, 700);
    world.recover();
    let mut positions = Vec::new();
    for n in order {
        let log = log(*n);
        world.current.entry(log).or_default();
        let body = Body::Append(world.batch(log));
        let usage = world.journal().usage();
        positions.push(usage.used_bytes);
        world.push(Frame { log, body });
        world.quiesce();
    }
    (world, positions)
}

pub(super) fn log(n: u8) -> LogId {
    LogId {
        topic: Uuid([n; 16]),
        partition: n.into(),
    }
}

pub(super) fn find(seen: &[u8], config: Config) -> Found {
    let start = Start {
        config,
        file_bytes: Some(seen.len() as u64),
        nonce: 0,
        is_empty: false,
    };
    let mut recovery = Recovery::new(start);
    let (mut frames, mut ended) = (Vec::new(), Vec::new());
    loop {
        match recovery.step().expect("a ring that we wrote") {
            Step::Read { position, len } => {
                let end = (position as usize + len).min(seen.len());
                recovery.read_done(Bytes::copy_from_slice(&seen[position as usize..end]));
            }
            Step::Create { .. } => panic!("there is a ring"),
            Step::Sync => recovery.synced(),
            Step::Frame(replayed) => frames.push(replayed.frame),
            Step::Ended(log) => ended.push(log),
            Step::Done => break,
        }
    }
    let (journal, report) = recovery.finish();
    Found {
        frames,
        ended,
        report,
        journal,
    }
}

/// One block of a commit is lost, and no log is suspected but the one whose frame was in it.
#[test]
fn a_lost_commit_is_put_down_to_its_log() {
    let order = [1, 2, 3, 4, 9, 9, 9, 9, 9];
    let (world, positions) = appended(&order);
    for (nth, position) in positions.iter().enumerate().take(order.len() - 1) {
        for lost in [0..512usize, 0..4096] {
            let mut seen = world.disk.seen.clone();
            let at = (RING_START + position) as usize;
            seen[at + lost.start..at + lost.end].fill(0);
            let found = find(&seen, world.config);
            assert_eq!(found.report.unknown_damages, 0, "{}", found.report);
            assert!(
                found.report.damage.iter().any(|damage| damage.is_attributed),
                "{}",
                found.report
            );
            assert_eq!(found.frames.len(), order.len() - 1);
            let n = order[nth];
            let end = (order[..=nth].iter().filter(|other| **other == n).count()) as Offset;
            let ended = |ended: &Ended| {
                let state = &world.current[&log(n)];
                let batch = &state.batches[end as usize - 1];
                *ended
                    == Ended {
                        log: log(n),
                        end: Some(batch.last_offset + 1),
                        lost_control: false,
                    }
            };
            assert!(
                found.ended.len() == 1 && ended(&found.ended[0]),
                "{nth}: {:?}",
                found.ended
            );
            // The new journal knows what the old one did, so that damage to the last commit can be told too.
            drop(found.journal);
        }
    }
}

/// Commits in a row are lost: what is left says what all of them held.
#[test]
fn a_lost_stretch_is_put_down_to_its_logs() {
    let order = [1, 2, 3, 4, 5, 6, 9, 9];
    let (world, positions) = appended(&order);
    let mut seen = world.disk.seen.clone();
    let (from, to) = (RING_START + positions[1], RING_START + positions[5]);
    seen[from as usize..to as usize].fill(0);
    let found = find(&seen, world.config);
    assert_eq!(found.report.unknown_damages, 0, "{}", found.report);
    let mut logs: Vec<LogId> = found.ended.iter().map(|ended| ended.log).collect();
    logs.sort_unstable();
    assert_eq!(logs, [2, 3, 4, 5].map(log));
}

/// Where the nth frame of `log` is, of those whose commits have no list in front of them that names it.
fn frame_at(seen: &[u8], log: LogId, nth: usize) -> usize {
    let is_topic = |window: &[u8]| window == log.topic.0;
    let mut topics = seen.windows(16).enumerate().filter(|(_, window)| is_topic(window));
    topics.nth(nth).expect("it was written").0 - 16
}

/// Control frames of two logs in one commit, of which the nth of the first log is lost.
fn lose_control(bodies: &[Body], nth: usize) -> Vec<Ended> {
    let mut world = World::new(1);
    (world.plain, world.batch_bytes_max) = (false, 700);
    world.recover();
    for body in bodies {
        let body = body.clone();
        world.push(Frame { log: log(1), body });
        let body = Body::Start { offset: 1 };
        world.push(Frame { log: log(2), body });
    }
    world.quiesce();
    world.current.entry(log(9)).or_default();
    let body = Body::Append(world.batch(log(9)));
    world.push(Frame { log: log(9), body });
    world.quiesce();
    let mut seen = world.disk.seen.clone();
    let at = frame_at(&seen, log(1), nth);
    seen[at] ^= 1;
    let mut found = find(&seen, world.config);
    assert_eq!(found.report.unknown_damages, 0, "{}", found.report);
    assert_eq!(
        found.frames.len(),
        2 * bodies.len(),
        "all but one, and the one behind them"
    );
    found.ended.sort_unstable_by_key(|ended| ended.log);
    found.ended
}

/// A start that is lost raises nothing, and no record shows that. An epoch that is lost takes nothing with it.
#[test]
fn a_lost_start_is_told_and_a_lost_epoch_is_not() {
    let start = |offset| Body::Start { offset };
    let epoch = Body::Epoch {
        epoch: 1,
        start_offset: 0,
    };
    for (bodies, nth, expected) in [
        (vec![start(1), epoch.clone()], 0, true),
        (vec![epoch.clone(), start(1)], 1, true),
        (vec![start(1), epoch.clone()], 1, false),
        (vec![epoch.clone()], 0, false),
        // The other one does not stand for it.
        (vec![start(1), start(2)], 0, true),
        (vec![start(1), start(2)], 1, true),
    ] {
        let ended = lose_control(&bodies, nth);
        let lost: Vec<(LogId, bool)> = ended.iter().map(|ended| (ended.log, ended.lost_control)).collect();
        assert_eq!(lost, [(log(1), expected), (log(2), false)], "{bodies:?} {nth}");
    }
}

#[test]
fn an_idle_journal_proves_its_last_commit() {
    for is_closed in [false, true] {
        let (mut world, positions) = appended(&[1, 2]);
        if is_closed {
            world.journal().close_chain();
            world.quiesce();
            assert!(!world.journal().is_open(), "once is enough");
            world.journal().close_chain();
            assert!(!world.journal().has_pending());
        }
        for at in [4, 70, 2_000] {
            let mut seen = world.disk.seen.clone();
            let at = RING_START + positions[1] + at;
            seen[at as usize] ^= 1;
            let found = find(&seen, world.config);
            let is_padding = found.frames.len() == 2;
            if is_padding {
                continue;
            }
            assert_eq!(found.report.damage.is_empty(), !is_closed, "{}", found.report);
            assert_eq!(found.ended.len(), usize::from(is_closed));
            // The offsets of what was lost are not free.
            let head = found.journal.usage();
            assert!(!is_closed || head.needed_bytes > BLOCK);
        }
        // What a start replayed is as open as it was left.
        let found = find(&world.disk.seen, world.config);
        let mut journal = found.journal;
        while journal.begin_superblock().is_some() {
            journal.superblock_done();
        }
        assert!(journal.is_open());
    }
}
