//! Random histories against a model: logs are appended to, cut, dropped, applied and carried, writes land in pieces and out
//! of order, the power goes at any step, recovery's included, and what comes back is compared with what was acknowledged.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::format::{Boundary, COMMIT_HEADER_BYTES_MAX, CommitHeader, RING_BYTES_MIN, Superblock, SuperblockRead};
use super::*;
use crate::record::BatchBuilder;
use crate::types::{LogId, Random, ShardId, Uuid};

mod damage;
mod model;

use damage::{find, log};
use model::{Disk, LogState, State, apply, fold, put, without_empty};

/// How often something worth seeing happened.
#[derive(Default, Debug)]
struct Seen {
    laps: u64,
    crashes: u64,
    crashes_in_recovery: u64,
    torn: u64,
    unflushed_lost: u64,
    carried: u64,
    split_sets: u64,
    full: u64,
    replayed: u64,
    clean: u64,
    closed: u64,
    in_flight_survived: u64,
    modes: [u64; 3],
}

struct World {
    random: Random,
    config: Config,
    disk: Disk,
    journal: Option<Journal>,
    /// Everything pushed.
    current: State,
    /// What the logs' own files hold.
    files: State,
    /// Pushed, not yet in a commit.
    ops: Vec<(Ticket, Option<Frame>)>,
    /// States that a crash may leave, oldest first: at the oldest ticket that must survive, then after each later commit.
    candidates: Vec<(Ticket, State)>,
    /// Must survive the power, and the end of the process.
    durable: Ticket,
    written: Ticket,
    /// Must survive the crash that just was.
    must: Ticket,
    mode: Option<Mode>,
    sync_needed: bool,
    superblock: Option<usize>,
    next_log: i32,
    broken: Vec<LogId>,
    logs_max: u64,
    batch_bytes_max: u64,
    plain: bool,
    seen: Seen,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let blocks = 64 + random.below(3) * 40;
        let mut config = Config::new(blocks * BLOCK, ShardId(0), 1);
        config.commit_bytes = (6 + random.below(4)) * BLOCK;
        config.piece_bytes = (1 + random.below(4)) * BLOCK;
        let logs_max = 1 + random.below(12);
        let batch_bytes_max = [100, 700, 9000, config.payload_bytes_max()][random.below(4) as usize];
        World {
            plain: random.below(2) == 0,
            disk: Disk {
                nonce: random.next_u64(),
                ..Disk::default()
            },
            random,
            config,
            journal: None,
            current: State::new(),
            files: State::new(),
            ops: Vec::new(),
            candidates: vec![(Ticket(0), State::new())],
            durable: Ticket(0),
            written: Ticket(0),
            must: Ticket(0),
            mode: None,
            sync_needed: false,
            superblock: None,
            next_log: 0,
            broken: Vec::new(),
            logs_max,
            batch_bytes_max,
            seen: Seen::default(),
        }
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.random.below(one_in) == 0
    }

    fn journal(&mut self) -> &mut Journal {
        self.journal.as_mut().expect("running")
    }

    fn pick(&mut self) -> Option<LogId> {
        let count = self.current.len() as u64;
        let index = (count > 0).then(|| self.random.below(count) as usize)?;
        self.current.keys().nth(index).copied()
    }

    // ---------------------------------------------------------------------------------------------- frames

    fn batch(&mut self, log: LogId) -> Append {
        let records = 1 + self.random.below(3);
        let bytes = self.random.below(self.batch_bytes_max).saturating_sub(200) / records;
        let mut builder = BatchBuilder::new();
        for _ in 0..records {
            let mut value = vec![0u8; bytes as usize];
            for chunk in value.chunks_mut(8) {
                chunk.copy_from_slice(&self.random.next_u64().to_le_bytes()[..chunk.len()]);
            }
            // No two batches are the same, or a file would seem to have one that was cut off and written again.
            builder.push((self.random.next_u64() >> 1) as i64, None, Some(&value), &[]);
        }
        let state = &self.current[&log];
        let base_offset = state.end();
        let epoch = state.epochs.last().map_or(0, |epoch| epoch.0);
        let batch = builder.build_stamped(base_offset, epoch);
        let position = state.batches.iter().map(|batch| batch.bytes.len() as u64).sum();
        Append {
            segment_base: 0,
            position,
            base_offset,
            last_offset: batch.last_offset(),
            leader_epoch: epoch,
            bytes: batch.into_bytes(),
        }
    }

    fn push(&mut self, frame: Frame) {
        let flush = !self.plain || !frame.log.partition % 2 == 0;
        let ticket = match self.journal().push(frame.clone(), flush) {
            Ok(ticket) => ticket,
            Err(PushError::Full) => {
                self.seen.full += 1;
                self.relieve();
                match self.journal().push(frame.clone(), flush) {
                    Ok(ticket) => ticket,
                    Err(_) => return self.check_refusal(&frame),
                }
            }
            Err(PushError::TooLarge) => panic!("{frame} is within the bound"),
        };
        apply(&mut self.current, &frame);
        self.ops.push((ticket, Some(frame)));
    }

    /// Batches that there is room for together are taken one after the other.
    fn push_group(&mut self) {
        let Some(log) = self.pick() else { return };
        let room = self.journal().room();
        let mut sizes = Vec::new();
        for _ in 0..20 {
            let append = self.batch(log);
            sizes.push(append.bytes.len() as u64);
            if group_bytes(sizes.iter().copied()) > room {
                return;
            }
            let body = Body::Append(append);
            let frame = Frame { log, body };
            let ticket = self.journal().push(frame.clone(), true).expect("there was room");
            apply(&mut self.current, &frame);
            self.ops.push((ticket, Some(frame)));
        }
    }

    /// All has been carried and freed, and still an append does not fit: then what is live, twice, must be what fills the ring.
    fn check_refusal(&mut self, frame: &Frame) {
        let need = frame.ring_cost();
        let config = self.config;
        let usage = self.journal().usage();
        let least = config.ring_bytes - config.ring_bytes / 8 - 3 * config.commit_bytes - 24 * BLOCK;
        let commits = 3 * usage.live_bytes / config.commit_bytes * (BLOCK + COMMIT_HEADER_BYTES_MAX);
        let logs = usage.live_logs * 6 * 112;
        assert!(
            2 * (usage.live_bytes + need + logs) + 2 * commits >= least.min(2 * config.payload_bytes_max()),
            "{frame} refused with {usage:?} of {config:?}; must carry {:?}",
            self.journal().must_carry()
        );
        self.broken.clear();
    }

    fn push_something(&mut self) {
        if (self.current.len() as u64) < self.logs_max && self.chance(3) {
            self.next_log += 1;
            let log = LogId {
                topic: Uuid([self.next_log as u8; 16]),
                partition: self.next_log,
            };
            self.current.insert(log, LogState::default());
        }
        if self.chance(30) {
            return self.push_group();
        }
        let Some(log) = self.pick() else { return };
        let state = &self.current[&log];
        let body = match self.random.below(40) {
            0 if !state.batches.is_empty() => {
                let index = self.random.below(state.batches.len() as u64) as usize;
                let to = state.batches[index].base_offset;
                Body::Truncate { to }
            }
            1 => Body::Start {
                offset: state.start + 1,
            },
            2 => Body::Epoch {
                epoch: state.epochs.last().map_or(0, |epoch| epoch.0) + 1,
                start_offset: state.end(),
            },
            3 if self.chance(3) => Body::Drop,
            _ => Body::Append(self.batch(log)),
        };
        self.push(Frame { log, body });
    }

    // ---------------------------------------------------------------------------------------------- the disk

    fn begin_commit(&mut self) {
        let anchors = self.anchors_on_device();
        let ring_bytes = self.config.ring_bytes;
        let Some(commit) = self.journal().begin_commit() else {
            return;
        };
        let (header, _) = CommitHeader::decode(&commit.writes[0].slices[0], self.disk.nonce).expect("a header");
        assert_eq!(header.sequence, commit.sequence);
        for anchor in anchors {
            let end = header.position + header.ring_bytes();
            assert!(
                end <= anchor + ring_bytes,
                "commit up to {end} overwrites what anchor {anchor} needs"
            );
        }
        self.seen.laps = self.seen.laps.max(header.position / ring_bytes);
        self.seen.modes[commit.mode as usize] += 1;
        let mut bytes = 0;
        for (index, write) in commit.writes.iter().enumerate() {
            let len = write.slices.iter().map(Bytes::len).sum::<usize>() as u64;
            assert!(len <= self.config.piece_bytes && write.position.is_multiple_of(BLOCK));
            assert!(len.is_multiple_of(BLOCK) || index == commit.writes.len() - 1);
            bytes += len.next_multiple_of(BLOCK);
            self.disk
                .start(write.position, &write.slices, commit.mode == Mode::Dsync);
        }
        assert_eq!(bytes, commit.bytes);
        self.mode = Some(commit.mode);
        self.sync_needed = commit.mode == Mode::PlainThenSync;
        // The state that a crash leaves when this commit is the last to survive.
        let mut state = self.candidates.last().expect("never empty").1.clone();
        let frames = commit.frames as usize;
        let mut last = self.candidates.last().expect("never empty").0;
        for (ticket, frame) in self.ops.drain(..frames) {
            last = ticket;
            if let Some(frame) = frame {
                apply(&mut state, &frame);
            }
        }
        self.candidates.push((last, state));
    }

    /// Anchors of the superblocks that a crash could leave.
    fn anchors_on_device(&self) -> Vec<u64> {
        let copies = self.disk.device.chunks(BLOCK as usize).take(2);
        copies
            .filter_map(|copy| match Superblock::decode(copy) {
                SuperblockRead::Valid(superblock) => Some(superblock.anchor.position),
                _ => None,
            })
            .collect()
    }

    /// One thing that is under way moves on.
    fn advance(&mut self) {
        let writes = self.disk.in_flight.len() as u64;
        if writes > 0 {
            let index = self.random.below(writes) as usize;
            let superblock = self.disk.in_flight[index].position < RING_START as usize;
            self.disk.complete(index);
            if superblock {
                self.superblock = None;
                self.journal().superblock_done();
            }
        }
        let commit_pieces = self.disk.in_flight.len() - usize::from(self.superblock.is_some());
        if self.mode.is_some() && commit_pieces == 0 {
            if std::mem::take(&mut self.sync_needed) {
                self.disk.sync();
                return;
            }
            self.mode = None;
            let progress = self.journal().commit_done();
            self.progress(progress);
        }
    }

    fn progress(&mut self, progress: Progress) {
        assert!(progress.durable >= self.durable && progress.written >= progress.durable);
        self.durable = progress.durable;
        self.written = progress.written;
        let keep = self
            .candidates
            .iter()
            .rposition(|(ticket, _)| *ticket <= progress.durable);
        self.candidates.drain(..keep.expect("the durable one is there"));
    }

    fn flush(&mut self) {
        if self.journal().begin_flush() {
            self.disk.sync();
            let progress = self.journal().flush_done();
            self.progress(progress);
        }
    }

    fn superblock(&mut self) {
        if self.superblock.is_none()
            && let Some(write) = self.journal().begin_superblock()
        {
            self.disk.start(write.position, &[write.block], true);
            self.superblock = Some(0);
        }
    }

    fn quiesce(&mut self) {
        for _ in 0..10_000 {
            self.superblock();
            self.begin_commit();
            if self.disk.in_flight.is_empty() && self.mode.is_none() && !self.journal().has_pending() {
                return;
            }
            self.advance();
        }
        panic!("the journal does not come to rest");
    }

    // ---------------------------------------------------------------------------------------------- the logs' files

    fn durable_state(&self) -> &State {
        &self.candidates[0].1
    }

    /// A log writes what is durable to its own files, or a part of it.
    fn write_files(&mut self, log: LogId, all: bool) {
        let Some(durable) = self.durable_state().get(&log).cloned() else {
            if self.files.remove(&log).is_some() || !self.current.contains_key(&log) {
                let durable = self.durable;
                self.journal().settled(log, durable);
            }
            return;
        };
        let file = self.files.entry(log).or_default();
        let common = file.common(&durable);
        file.batches.truncate(common);
        file.start = durable.start;
        file.epochs = durable.epochs.clone();
        let more = durable.batches.len() - common;
        let take = if all {
            more
        } else {
            self.random.below(more as u64 + 1) as usize
        };
        file.batches.extend_from_slice(&durable.batches[common..common + take]);
        if self.chance(8) {
            // The crash comes between the files and the journal's hearing of it.
            return;
        }
        let settled = self.durable;
        self.tell_applied(log);
        self.journal().settled(log, settled);
    }

    fn tell_applied(&mut self, log: LogId) {
        let (Some(file), Some(current)) = (self.files.get(&log), self.current.get(&log)) else {
            return;
        };
        // A cut that is pushed and not yet durable counts: the log has lowered its applied offset.
        let common = file.common(current);
        let applied = file.batches[..common].last().map_or(0, |batch| batch.last_offset + 1);
        self.journal().applied(log, applied);
    }

    fn carry(&mut self, log: LogId) {
        let Some(current) = self.current.get(&log).cloned() else {
            // Dropped: what is left is the drop itself, which its files can always take.
            self.write_files(log, true);
            return;
        };
        let file = self.files.get(&log).cloned().unwrap_or_default();
        let common = file.common(&current);
        let base = current.batches[..common]
            .last()
            .map_or(0, |batch| batch.last_offset + 1);
        let mut bodies = vec![Body::Start { offset: current.start }];
        let epochs = current.epochs.iter().filter(|&&(_, start_offset)| start_offset >= base);
        bodies.extend(epochs.map(|&(epoch, start_offset)| Body::Epoch { epoch, start_offset }));
        bodies.extend(current.batches[common..].iter().cloned().map(Body::Append));
        let frames: Vec<Frame> = bodies.into_iter().map(|body| Frame { log, body }).collect();
        let last = self.journal().carry(log, base, &frames).expect("carrying always fits");
        self.seen.carried += 1;
        self.seen.split_sets += u64::from(frames.iter().map(Frame::ring_bytes).sum::<u64>() > self.config.commit_bytes);
        // The set changes nothing, whichever part of it survives.
        for ticket in last.0 - frames.len() as u64..=last.0 {
            self.ops.push((Ticket(ticket), None));
        }
    }

    fn make_room(&mut self) {
        for log in self.journal().must_apply() {
            if !self.broken.contains(&log) && !self.chance(4) {
                self.write_files(log, false);
            }
        }
        for log in self.journal().must_carry() {
            if !self.broken.contains(&log) && self.chance(2) {
                self.write_files(log, false);
            }
        }
        let logs = self.journal().must_carry();
        assert!(logs.iter().collect::<BTreeSet<_>>().len() == logs.len(), "{logs:?}");
        logs.into_iter().for_each(|log| self.carry(log));
    }

    /// Does all that a shard can do for the ring while an append waits.
    fn relieve(&mut self) {
        for _ in 0..200 {
            self.quiesce();
            if self.journal().must_carry().is_empty() {
                break;
            }
            self.make_room();
        }
        self.quiesce();
    }

    // ---------------------------------------------------------------------------------------------- ends and starts

    fn crash(&mut self) {
        let power = !self.chance(4);
        self.seen.crashes += 1;
        self.disk.crash(&mut self.random, power);
        self.journal = None;
        self.must = if power { self.durable } else { self.written };
    }

    fn clean_stop(&mut self) {
        self.quiesce();
        self.flush();
        let logs = self.journal().live_logs();
        for log in logs {
            self.write_files(log, true);
            self.tell_applied(log);
            let durable = self.durable;
            self.journal().settled(log, durable);
        }
        let write = self.journal().close().expect("at rest");
        self.disk.start(write.position, &[write.block], true);
        assert!(self.journal().begin_commit().is_none());
        if !self.chance(5) {
            self.disk.complete(0);
        }
        self.crash();
    }

    fn recover(&mut self) -> Report {
        loop {
            let start = Start {
                is_empty: false,
                config: self.config,
                file_bytes: (!self.disk.seen.is_empty()).then_some(self.disk.seen.len() as u64),
                nonce: self.disk.nonce,
            };
            let mut frames = Vec::new();
            let mut tickets = Vec::new();
            let mut recovery = Recovery::new(start);
            let crash_at = if self.chance(4) {
                self.random.below(12)
            } else {
                u64::MAX
            };
            let mut steps = 0;
            let crashed = loop {
                steps += 1;
                if steps > crash_at {
                    break true;
                }
                match recovery.step().expect("a ring that we wrote") {
                    Step::Read { position, len } => recovery.read_done(self.disk.read(position, len)),
                    Step::Create { len } => {
                        self.disk.create(len);
                        recovery.created();
                    }
                    Step::Sync => {
                        self.disk.sync();
                        recovery.synced();
                    }
                    Step::Frame(Replayed { ticket, frame, .. }) => {
                        frames.push(frame);
                        tickets.push(ticket);
                    }
                    Step::Ended(ended) => panic!("nothing was damaged, and {ended:?}"),
                    Step::Done => break false,
                }
            };
            if crashed {
                self.seen.crashes_in_recovery += 1;
                let power = !self.chance(4);
                self.disk.crash(&mut self.random, power);
                if power {
                    self.must = self.durable;
                }
                continue;
            }
            assert!(tickets.iter().enumerate().all(|(i, ticket)| ticket.0 == i as u64 + 1));
            let (journal, report) = recovery.finish();
            self.seen.replayed += frames.len() as u64;
            self.seen.torn += u64::from(report.torn_at.is_some());
            self.seen.unflushed_lost += u64::from(report.unflushed_bytes_lost > 0);
            self.seen.clean += u64::from(report.clean);
            self.config = *journal.config();
            self.journal = Some(journal);
            self.resume(frames, &report);
            return report;
        }
    }

    /// Compares what recovery gave with what may have survived, and goes on from there.
    fn resume(&mut self, frames: Vec<Frame>, report: &Report) {
        let (state, holes) = fold(&self.files, &frames);
        assert_eq!(holes, [], "logs miss records");
        let must = self.must;
        self.candidates.retain(|(ticket, _)| *ticket >= must);
        let found = self
            .candidates
            .iter()
            .rposition(|(_, candidate)| without_empty(candidate) == without_empty(&state));
        let Some(found) = found else {
            panic!("{report:?}\n{}", self.difference(&state, &frames));
        };
        self.seen.in_flight_survived += u64::from(found > 0);
        self.restart(state, frames.len());
    }

    fn restart(&mut self, state: State, frames: usize) {
        self.durable = Ticket(frames as u64);
        self.candidates = vec![(self.durable, state.clone())];
        self.current = state;
        self.ops.clear();
        self.written = self.durable;
        self.mode = None;
        self.sync_needed = false;
        self.superblock = None;
        let logs: Vec<LogId> = self.files.keys().copied().collect();
        for log in logs {
            self.tell_applied(log);
        }
    }

    fn difference(&self, state: &State, frames: &[Frame]) -> String {
        let mut text = String::from("recovered what no crash may leave\n");
        for block in self.disk.seen.chunks(BLOCK as usize) {
            if let SuperblockRead::Valid(superblock) = Superblock::decode(block) {
                text += &format!("  {superblock}\n");
            }
            if let Some((header, _)) = CommitHeader::decode(block, self.disk.nonce) {
                text += &format!("  {header}\n");
            }
        }
        for frame in frames {
            text += &format!("  {frame}\n");
        }
        let short = |log: Option<&LogState>| {
            log.map(|log| {
                let batches: Vec<_> = log.batches.iter().map(|b| (b.base_offset, b.position)).collect();
                format!("start {} epochs {:?} batches {batches:?}", log.start, log.epochs)
            })
        };
        for (ticket, candidate) in &self.candidates {
            text += &format!("not the state at {}:\n", ticket.0);
            let logs: std::collections::BTreeSet<_> = candidate.keys().chain(state.keys()).collect();
            for log in logs {
                let (expected, found) = (candidate.get(log), state.get(log));
                if expected.unwrap_or(&LogState::default()) != found.unwrap_or(&LogState::default()) {
                    text += &format!("  {log} expected {:?}\n    found {:?}\n", short(expected), short(found));
                    text += &format!("    files {:?}\n", short(self.files.get(log)));
                }
            }
        }
        text
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..=34 => self.push_something(),
            35..=54 => self.begin_commit(),
            55..=84 => self.advance(),
            85..=88 => self.superblock(),
            89 => self.flush(),
            90..=93 => {
                if let Some(log) = self.pick()
                    && !self.broken.contains(&log)
                {
                    self.write_files(log, false);
                }
            }
            94..=95 => self.make_room(),
            96 => {
                let is_open = self.journal().is_open();
                self.journal().close_chain();
                self.seen.closed += u64::from(is_open && self.journal().has_pending());
            }
            97 => {
                if let Some(log) = self.pick()
                    && self.broken.len() < 2
                {
                    self.broken.push(log);
                }
            }
            98 if self.chance(3) => self.broken.clear(),
            99 if self.chance(3) => {
                if self.chance(4) {
                    self.clean_stop();
                } else {
                    self.crash();
                }
                self.recover();
            }
            _ => {}
        }
    }
}

fn history(seed: u64, steps: u64) -> World {
    let mut world = World::new(seed);
    world.recover();
    for _ in 0..steps {
        world.step();
    }
    world.crash();
    world.recover();
    world
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name: &str, or: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(or);
    let from = number("JOURNAL_FROM", 0);
    from..from + number("JOURNAL_SEEDS", default)
}

impl Seen {
    fn add(&mut self, other: Seen) {
        self.laps = self.laps.max(other.laps);
        self.crashes += other.crashes;
        self.crashes_in_recovery += other.crashes_in_recovery;
        self.torn += other.torn;
        self.unflushed_lost += other.unflushed_lost;
        self.carried += other.carried;
        self.split_sets += other.split_sets;
        self.full += other.full;
        self.replayed += other.replayed;
        self.clean += other.clean;
        self.closed += other.closed;
        self.in_flight_survived += other.in_flight_survived;
        for (sum, n) in self.modes.iter_mut().zip(other.modes) {
            *sum += n;
        }
    }

    /// Whatever never happened was not tested.
    fn check(&self) {
        let all = [
            self.laps,
            self.crashes,
            self.crashes_in_recovery,
            self.torn,
            self.unflushed_lost,
            self.carried,
            self.split_sets,
            self.full,
            self.replayed,
            self.clean,
            self.closed,
            self.in_flight_survived,
        ];
        assert!(all.iter().chain(&self.modes).all(|&n| n > 0), "{self:?}");
    }
}

/// `JOURNAL_SEEDS=100000 JOURNAL_FROM=0 cargo test --lib journal` runs more, or one again.
#[test]
fn random_histories_survive_crashes() {
    let seeds = seeds(1000);
    let many = seeds.end - seeds.start >= 300;
    let mut total = Seen::default();
    for seed in seeds {
        let seen = std::panic::catch_unwind(|| history(seed, 600).seen);
        total.add(seen.unwrap_or_else(|_| panic!("seed {seed}")));
    }
    if many {
        total.check();
    }
}

/// Of two commits that were not flushed the power takes the first and leaves the second. The next life's first commit is as
/// long as the one that is lost, and what lies behind it has the right sequence.
#[test]
fn a_commit_of_an_earlier_life_does_not_follow() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        (world.plain, world.batch_bytes_max) = (true, 100);
        world.recover();
        let log = LogId {
            topic: Uuid([2; 16]),
            partition: 2,
        };
        world.current.insert(log, LogState::default());
        let append = |world: &mut World| {
            let body = Body::Append(world.batch(log));
            world.push(Frame { log, body });
            world.quiesce();
        };
        append(&mut world);
        append(&mut world);
        assert_eq!(world.disk.cached.len(), 2, "they are plain");
        world.disk.cached.remove(0);
        world.disk.sync();
        world.disk.seen = world.disk.device.clone();
        (world.journal, world.must) = (None, world.durable);
        world.recover();
        assert_eq!(world.current.get(&log), None);
        world.current.insert(log, LogState::default());
        append(&mut world);
        (world.journal, world.must) = (None, world.written);
        world.recover();
        assert_eq!(world.current[&log].batches.len(), 1);
    }
}

/// A commit without a list, as the version before wrote it.
#[test]
fn a_ring_of_version_1_is_read() {
    let config = Config::new(RING_BYTES_MIN, ShardId(0), 1);
    let anchor = Boundary {
        position: 0,
        sequence: 1,
        previous: 0,
    };
    let superblock = Superblock {
        nonce: 77,
        generation: 2,
        ring_bytes: RING_BYTES_MIN,
        incarnation: 1,
        incarnation_start: 0,
        anchor,
        shard: 0,
        shards: 1,
        durable: 0,
        clean: false,
    };
    let mut block = superblock.encode().to_vec();
    block[8..12].copy_from_slice(&1u32.to_le_bytes());
    let mut seen = [block.clone(), block].concat();
    seen.resize(config.file_bytes() as usize, 0);
    let frame = Frame {
        log: log(1),
        body: Body::Start { offset: 5 },
    };
    let binding = frame::Binding {
        nonce: 77,
        sequence: 1,
        in_set: false,
    };
    let mut frames = bytes::BytesMut::new();
    let checksum = frame::encode_header(&frame, binding, &mut frames);
    let mut header = [0; 80];
    header[..4].copy_from_slice(b"TIDC");
    header[8] = 1;
    header[12] = 1;
    header[16] = 1;
    header[24] = 1;
    header[40] = 80 + frames.len() as u8;
    header[68..72].copy_from_slice(&crc32fast::hash(&checksum.to_le_bytes()).to_le_bytes());
    let mut crc = frame::seeded(77);
    crc.update(&header[8..]);
    let crc = crc.finalize();
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    let commit = [&header[..], &frames[..]].concat();
    put(&mut seen, RING_START as usize, &commit);
    let found = find(&seen, config);
    assert_eq!(found.frames, [frame]);
    assert_eq!(found.report.commits, 1);
    let mut journal = found.journal;
    let written = journal.begin_superblock().expect("a start writes one").block;
    assert_eq!(written[8], 2, "the version before refuses what this one writes");
}
