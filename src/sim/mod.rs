//! The whole broker on seeded fakes: virtual time, a disk that forgets, clients that misbehave, power cuts at any effect.
//!
//! [`run`] plays one history and panics at the first thing that must not be. The same seed gives the same history, so that
//! `tools/sim --from SEED --seeds 1 --trace` shows it again.

mod admin;
pub mod client;
mod damage;
pub mod disk;
mod ending;
pub mod oracle;
mod own_files;
#[cfg(test)]
mod situations;
pub mod world;

use std::collections::BTreeMap;

use crate::config::BrokerConfig;
use crate::shard::effect::DiskOp;
use crate::shard::format::Format;
use crate::shard::survey::Files;
use crate::shard::{format, ring_path};
use crate::types::{LogId, Offset, Random, ShardId};

use admin::Administrator;
use client::{Client, Consumer, Producer, Scene, Topics};
use oracle::{Oracle, Reported};
use world::{Faults, FromBroker, Moment, Slow, World};

/// How a life of the broker ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    PowerCut,
    Kill,
    CleanStop,
}

/// A history that went well, by what was reached in it.
#[derive(Debug, Default)]
pub struct Report {
    pub counters: BTreeMap<&'static str, u64>,
    pub acked_records: u64,
    pub seen_records: u64,
    pub trace: Vec<String>,
}

/// What some of a few thousand histories must reach: a counter that stays at zero says that nothing tests what it stands for.
/// Counted by the simulated world, its clients, and the shards ([`Stats`](crate::shard::Stats)).
pub const SOMETIMES: &[&str] = &[
    "append waited for room",
    "batch handed on to a worker",
    "bit flipped in a journal",
    "bit flipped in a recovery point",
    "bit flipped in a segment",
    "bit flipped in an index file",
    "chain closed",
    "checkpoint failed",
    "clean stop",
    "clock jumped ahead",
    "clock jumped back",
    "clock not believed",
    "client gave up its connection",
    "commit flushed",
    "commit flushed with plain ones before it",
    "commit not flushed",
    "consumer started over",
    "deleted topic's name was another's by then",
    "device repaired",
    "disk found full",
    "disk full",
    "duplicate batch not stored",
    "failed operation took effect",
    "fetch answered with nothing new",
    "file cannot be written",
    "fetch found what was read ahead",
    "fetch out of range",
    "fetch read from disk",
    "fetch session continued",
    "flush of plain commits",
    "folder made",
    "folder made later",
    "folder removed",
    "head of a journal lost",
    "index file lost",
    "index file of a closed segment written",
    "input/output error",
    "journal failed",
    "journals of another number of shards retired",
    "kill",
    "log checkpointed",
    "log cut by retention",
    "metadata log damaged",
    "metadata records waited for room",
    "metadata records split into batches",
    "metadata snapshot damaged",
    "metadata snapshot removed",
    "metadata snapshot written",
    "offline log put aside",
    "others go on while a file cannot be written",
    "partial block written",
    "partition added",
    "power cut",
    "power cut while recovering",
    "power cut with operations in flight",
    "produce acknowledged",
    "produce refused",
    "produce retried",
    "records deleted",
    "records gone for their age",
    "recovery point not written",
    "recovery point written",
    "recovery: carried set replayed",
    "recovery: closed segment scanned, for want of its index file",
    "recovery: frame replayed",
    "recovery: frames of a deleted topic dropped",
    "recovery: damage put down to logs",
    "recovery: journal damage reported",
    "recovery: log damage reported",
    "recovery: log offline",
    "recovery: log that was put aside",
    "recovery: log recovered",
    "recovery: one copy of a recovery point damaged",
    "recovery: older metadata snapshot used",
    "recovery: recovery point used",
    "recovery: registration waited for room",
    "recovery: stray folder moved away",
    "recovery: torn commit cut off",
    "recovery: unflushed commits lost",
    "read ahead of a sequential reader",
    "retention changed",
    "ring gone round",
    "segment deleted",
    "segment rolled",
    "segment truncated",
    "sequence lost with the power",
    "set carried forward",
    "shard sealed",
    "sector of a journal lost",
    "sector of a recovery point lost",
    "sector of an index file lost",
    "small file of the folder damaged",
    "small file of the folder repaired",
    "start refused before anything was touched",
    "sealing for another number of shards failed",
    "stop while starting",
    "stretch of a journal lost",
    "stretch of a segment misdirected",
    "stretch of a segment zeroed",
    "superblock damaged",
    "superblock written",
    "time looked up",
    "time looked up on a worker",
    "topic created",
    "topic deleted",
    "unflushed sectors lost",
    "unsynced names lost",
    "write torn or reordered",
];

struct History {
    world: World,
    oracle: Oracle,
    topics: Topics,
    altering: Random,
    clients: Vec<Kind>,
    is_ending: bool,
    /// Topics are acknowledged before they are flushed.
    flushes_later: bool,
    /// Of a topic without its own.
    usual_flush_messages: i64,
    /// The device damages what it holds.
    is_damaging: bool,
    is_damaged: bool,
    /// What this life's recovery took for torn was looked at.
    was_forgiven: bool,
    was_killed: bool,
    /// A start saw damage of the metadata's log, which was put right afterwards.
    had_metadata_damage: bool,
}

enum Kind {
    Producer(Producer),
    Consumer(Consumer),
    Administrator(Administrator),
}

impl Kind {
    fn client(&mut self) -> &mut dyn Client {
        match self {
            Kind::Producer(client) => client,
            Kind::Consumer(client) => client,
            Kind::Administrator(client) => client,
        }
    }
}

const DISK_BYTES: u64 = 64 << 20;
/// How often a full disk is tried: once for each log and file of a shard that wants some.
const FULL_PER_SECOND_MAX: u64 = 60;

/// No client waits so long for a partition that nothing ails: some of its own time-outs.
const PROGRESS_US_MAX: u64 = 60_000_000;

/// Two are kept. Old ones go once the next one is on the device, and their names may come back with a power cut.
const SNAPSHOTS_MAX: usize = 5;

/// What a broker says of a device that damages what it holds.
const COMPLAINTS: [&str; 3] = [JOURNAL_DAMAGED, LOG_DAMAGED, "recovery: log made read-only"];
const JOURNAL_DAMAGED: &str = "recovery: journal damage reported";
const LOG_DAMAGED: &str = "recovery: log damage reported";

/// More steps than this without an end means that something waits for ever.
const STEPS_MAX: u64 = 400_000;

/// Plays the history of `seed`. With `trace`, the report has every event and effect.
///
/// # Panics
/// When something happened that must not, with what it was.
#[allow(clippy::print_stdout)]
pub fn run(seed: u64, trace: bool) -> Report {
    let mut history = History::new(seed);
    if trace {
        history.world.trace = Some(Vec::new());
    }
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history.play()));
    if let Err(panic) = result {
        if let Some(trace) = &history.world.trace {
            trace.iter().for_each(|line| println!("{line}"));
        }
        std::panic::resume_unwind(panic);
    }
    Report {
        counters: history.world.counters,
        acked_records: history.oracle.acked_records,
        seen_records: history.oracle.seen_records,
        trace: history.world.trace.unwrap_or_default(),
    }
}

/// A broker whose limits are so small that a short history meets them all. With `is_altered` records go for their age.
fn config(random: &mut Random, is_altered: bool) -> BrokerConfig {
    let mut pick = |values: &[i64]| values[random.below(values.len() as u64) as usize];
    let mut values = vec![
        (
            "tidemill.journal.bytes",
            pick(&[512 << 10, 1 << 20, 1536 << 10, 4 << 20]),
        ),
        ("tidemill.disk.reserve.bytes", 1 << 20),
        ("log.segment.bytes", pick(&[16_000, 40_000, 200_000])),
        ("log.index.interval.bytes", 512),
        ("message.max.bytes", 16_000),
        ("log.segment.delete.delay.ms", pick(&[0, 50, 60_000])),
    ];
    if pick(&[0, 0, 0, 1]) == 1 {
        values.push(("log.retention.bytes", pick(&[10_000, 100_000])));
        values.push(("log.retention.check.interval.ms", 100));
    }
    if is_altered {
        values.push(("log.retention.check.interval.ms", 100));
        // The machine's clock may be far behind those of the producers.
        values.push(("log.message.timestamp.after.max.ms", i64::MAX));
    }
    if pick(&[0, 0, 0, 1]) == 1 {
        values.push(("log.roll.ms", 200));
    }
    if pick(&[0, 0, 1]) == 1 {
        values.push(("metadata.log.max.record.bytes.between.snapshots", 2_000));
    }
    if pick(&[0, 0, 0, 1]) == 1 {
        values.push(("log.flush.interval.messages", pick(&[2, 5, 20])));
        values.push(("log.flush.interval.ms", pick(&[1, 20, 100_000])));
    }
    BrokerConfig::beyond_bounds(values)
}

impl History {
    fn new(seed: u64) -> History {
        let mut random = Random::new(seed ^ 0x7464_6d69_6c6c);
        // Numbers of its own: the other histories stay what they are.
        let mut altering = Random::new(seed ^ 0x616c_7465_7269);
        let is_altered = altering.below(3) == 0;
        let config = config(&mut random, is_altered);
        let has_retention = config.topic.retention_bytes.is_some();
        let topic_count = 1 + random.below(3) as usize;
        let mut flush_messages = vec![None; topic_count];
        if random.below(3) == 0 {
            let own = [None, Some(1), Some(2), Some(3), Some(20)];
            flush_messages.fill_with(|| own[random.below(own.len() as u64) as usize]);
        }
        let usual = config.topic.flush_messages;
        let flushes_later = flush_messages.iter().any(|own| own.unwrap_or(usual) > 1);
        let volatile = if random.below(2) == 0 {
            vec![topic_count - 1]
        } else {
            Vec::new()
        };
        // A long name has to be shortened for its folder to be removed.
        let prefix = if random.below(8) == 0 {
            "x".repeat(240)
        } else {
            "topic".into()
        };
        let topics = Topics {
            names: (0..topic_count).map(|t| format!("{prefix}{t}")).collect(),
            ids: vec![None; topic_count],
            made: BTreeMap::new(),
            partitions: (0..topic_count).map(|_| 1 + random.below(4) as i32).collect(),
            flush_messages,
            volatile,
            is_altered,
        };
        let mut world = World::new(seed, config, DISK_BYTES);
        world.faults = Faults {
            disk_us_max: [100, 2_000, 20_000][random.below(3) as usize],
            disk_slow_one_in: [0, 0, 20][random.below(3) as usize],
            slow: match random.below(18) {
                0..=2 => Slow::Superblocks,
                3..=4 => Slow::Segments,
                5..=6 => Slow::Replacing,
                7 => Slow::RingSyncs,
                _ => Slow::Nothing,
            },
            net_us_max: [50, 500][random.below(2) as usize],
            io_error_one_in: 0,
        };
        if random.below(3) == 0 {
            world.metadata_batch_bytes = 200 + random.below(600) as usize;
        }
        let usual_flush_messages = usual;
        let admin = Administrator::new(10 + random.below(40));
        History {
            world,
            oracle: Oracle::new(!has_retention),
            topics,
            altering,
            clients: vec![Kind::Administrator(admin)],
            is_ending: false,
            flushes_later,
            usual_flush_messages,
            is_damaging: random.below(6) == 0,
            is_damaged: false,
            was_forgiven: false,
            was_killed: false,
            had_metadata_damage: false,
        }
    }

    fn play(&mut self) {
        let mut shards = 1 + self.world.random.below(3) as u16;
        let lives = 1 + self.world.random.below(5);
        for life in 0..lives {
            self.live(shards, life);
            if self.world.random.below(2) == 0 {
                self.repair();
            }
            if self.world.was_cut && self.flushes_later {
                self.world.drop_responses();
                let (made, usual) = (&self.topics.made, self.usual_flush_messages);
                self.oracle.forget_unflushed(|log| {
                    made.get(&log.topic)
                        .and_then(|made| made.flush_messages)
                        .unwrap_or(usual)
                });
            }
            if self.is_damaging && self.world.random.below(2) == 0 {
                // One fault: what proves a damage may be damaged too.
                self.is_damaging = !self.damage();
            }
            if self.world.random.below(4) == 0 {
                shards = self.change_shards(shards);
            }
            if self.world.random.below(6) == 0 {
                self.damage_own_files(shards);
            }
        }
        self.finish(shards);
        self.check_complaints();
        assert!(
            self.oracle.acked_records > 0 || self.is_damaged || self.has_stray_segment(),
            "nothing was acknowledged: the history tests nothing"
        );
    }

    /// A device that keeps what it was told to flush is never accused of losing it.
    fn check_complaints(&self) {
        for what in COMPLAINTS {
            let is_excused =
                self.is_damaged || self.had_metadata_damage || self.has_stray_segment() && what != JOURNAL_DAMAGED;
            assert!(
                is_excused || !self.world.has_counted(what),
                "nothing was damaged, and: {what}"
            );
        }
    }

    /// Records that are acknowledged before they are flushed reach a segment before their frames are on the device. When a
    /// power cut takes the frames and earlier ones of the log are replayed, the segment has no place: that is reported as
    /// damage, since nobody can tell it from that.
    fn has_stray_segment(&self) -> bool {
        self.flushes_later && self.world.has_counted(LOG_DAMAGED)
    }

    /// One life of the process, from its start to whatever ends it.
    fn live(&mut self, shards: u16, life: u64) {
        self.world.faults.io_error_one_in = match self.world.random.below(12) {
            0 => 2_000,
            1 => 200,
            _ => 0,
        };
        if self.world.random.below(4) == 0 {
            self.make_unreadable();
        }
        if self.world.random.below(6) == 0 {
            self.make_unwritable();
        }
        self.world.start(shards);
        self.was_forgiven = false;
        // A kill leaves what only the kernel knows; the power takes it from a process that may rely on it by now.
        let was_killed = std::mem::take(&mut self.was_killed);
        let end = match self.world.random.below(10) {
            _ if was_killed && self.world.random.below(4) > 0 => End::PowerCut,
            0..=5 => End::PowerCut,
            6..=7 => End::Kill,
            _ => End::CleanStop,
        };
        if end == End::PowerCut {
            // Now and then so early that recovery itself is cut.
            let effects = match self.world.random.below(4) {
                0 => 1 + self.world.random.below(200),
                _ if was_killed => 1 + self.world.random.below(1_500),
                _ => 1 + self.world.random.below(6_000),
            };
            // And now and then in a moment that is short.
            let moment = match was_killed && self.world.random.below(2) == 0 {
                true => Moment::Names,
                false => Moment::ALL[self.world.random.below(Moment::ALL.len() as u64) as usize],
            };
            // Those of a start come before anything counts that this life does.
            let effects = match moment == Moment::Superblock && self.world.random.below(3) == 0 {
                true => 1,
                false => effects,
            };
            self.world.cut_after(effects, moment);
        }
        if life == 0 {
            self.start_client(0);
        }
        let steps = 500 + self.world.random.below(8_000);
        let mut steps_left = steps;
        // Now and then the disk is full for a part of the life.
        let fills = self.world.random.below(8) == 0;
        let (full_from, full_to) = (steps / 4 * 3, steps / 3);
        let mut full_since = (0, 0);
        while steps_left > 0 && !self.world.was_cut && self.world.fatal().is_none() {
            steps_left -= 1;
            if fills && steps_left == full_from {
                let left = self.world.random.below(2 << 20);
                self.world.disk.capacity_bytes = self.world.disk.used_bytes() + left;
                full_since = (self.world.now_us, self.times_full());
            }
            if fills && steps_left == full_to {
                self.world.disk.capacity_bytes = DISK_BYTES;
                let seconds = 1 + (self.world.now_us - full_since.0).div_ceil(1_000_000);
                let times = self.times_full() - full_since.1;
                assert!(
                    times <= seconds * FULL_PER_SECOND_MAX,
                    "in {seconds} seconds the full disk was tried {times} times"
                );
            }
            if !self.step() {
                break;
            }
            self.forgive_torn();
            if steps_left.is_multiple_of(64) {
                self.join_clients();
                self.jump_clock();
            }
        }
        self.world.disk.capacity_bytes = DISK_BYTES;
        if self.world.was_cut {
            return;
        }
        match end {
            End::Kill => {
                self.step_to_unsynced_names();
                self.world.kill();
                self.was_killed = true;
            }
            _ if self.world.fatal().is_some() => self.world.kill(),
            End::CleanStop if self.world.faults.io_error_one_in == 0 && self.world.is_ready() => self.stop_cleanly(),
            End::CleanStop if self.world.faults.io_error_one_in == 0 => {
                self.world.stop_cleanly();
                self.step_until("the stop of a broker that starts", |history| history.world.is_stopped());
                self.world.count("stop while starting");
                self.world.kill();
            }
            _ => {
                if !self.world.is_ready() {
                    self.world.count("power cut while recovering");
                }
                self.world.cut();
            }
        }
    }

    /// Somebody sets the machine's clock, or its battery is empty. Ahead it goes by more than a start believes, so that a record
    /// that goes for its age is as old as that; back it goes by anything.
    fn jump_clock(&mut self) {
        if !self.topics.is_altered || self.altering.below(30) > 0 {
            return;
        }
        const HOUR_MS: i64 = 3_600_000;
        let ahead_ms =
            [0, 30 * 24 * HOUR_MS, 26 * HOUR_MS, -HOUR_MS, -30 * 24 * HOUR_MS][self.altering.below(5) as usize];
        match ahead_ms.cmp(&self.world.wall_ahead_ms) {
            std::cmp::Ordering::Less => self.world.count("clock jumped back"),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => self.world.count("clock jumped ahead"),
        }
        self.world.wall_ahead_ms = ahead_ms;
    }

    /// If that comes soon, a process is killed when the kernel alone knows of a name that it made.
    fn step_to_unsynced_names(&mut self) {
        for _ in 0..1_000 {
            if self.world.fatal().is_some() || self.world.disk.has_unsynced_names() || !self.step() {
                return;
            }
        }
    }

    fn times_full(&self) -> u64 {
        self.world.counters.get("disk full").copied().unwrap_or(0)
    }

    /// A flipped bit in a journal's last commit cannot be told from a torn one: what it held is not promised any more.
    fn forgive_torn(&mut self) {
        if !self.is_damaged || self.was_forgiven {
            return;
        }
        // Also of a start that comes to nothing: the next one finds no trace of what this one cut off.
        let has_torn = self.world.has_torn();
        if has_torn {
            self.oracle.forget_if_damaged();
        }
        self.was_forgiven = has_torn || self.world.is_ready();
    }

    /// New producers and consumers come as topics appear.
    fn join_clients(&mut self) {
        let busy = (self.clients.iter_mut())
            .map(|kind| usize::from(!kind.client().is_done()))
            .sum::<usize>();
        if self.is_ending || busy > 14 || self.clients.len() > 100 {
            return;
        }
        let topic = self.world.random.below(self.topics.names.len() as u64) as usize;
        let Some(id) = self.topics.ids[topic] else { return };
        let partition = self.world.random.below(self.topics.partitions[topic] as u64) as i32;
        let random = &mut self.world.random;
        let kind = match random.below(3) {
            0 => Kind::Consumer(Consumer::new(random, topic, id, partition, false)),
            _ => {
                let batches = 5 + random.below(80);
                let idempotent = random.below(4) != 0;
                let by_id = self.topics.volatile.contains(&topic);
                Kind::Producer(Producer::new(random, idempotent, by_id, topic, id, partition, batches))
            }
        };
        self.clients.push(kind);
        self.start_client(self.clients.len() - 1);
    }

    fn start_client(&mut self, client: usize) {
        let History {
            world,
            oracle,
            topics,
            clients,
            is_ending,
            ..
        } = self;
        let mut scene = Scene {
            world,
            oracle,
            topics,
            client,
            is_ending: *is_ending,
        };
        clients[client].client().start(&mut scene);
    }

    fn step(&mut self) -> bool {
        let mut to_client = Vec::new();
        if !self.world.step(&mut to_client) {
            return false;
        }
        for (client, what) in to_client {
            self.deliver(client, what);
        }
        true
    }

    fn deliver(&mut self, client: usize, what: FromBroker) {
        let History {
            world,
            oracle,
            topics,
            clients,
            is_ending,
            ..
        } = self;
        let mut scene = Scene {
            world,
            oracle,
            topics,
            client,
            is_ending: *is_ending,
        };
        clients[client].client().on(&mut scene, what);
    }

    /// Steps until `done`; panics when that never comes.
    fn step_until(&mut self, what: &str, mut done: impl FnMut(&mut History) -> bool) {
        for _ in 0..STEPS_MAX {
            if done(self) {
                return;
            }
            if let Some(fatal) = self.world.fatal() {
                panic!("{what}: the broker gave up: {fatal}");
            }
            if !self.step() {
                break;
            }
        }
        if done(self) {
            return;
        }
        panic!("{what} never came; {}", self.describe());
    }

    /// Who waits, and for what.
    fn describe(&mut self) -> String {
        let waiting: Vec<String> = (self.clients.iter_mut())
            .filter_map(|kind| match kind {
                Kind::Producer(producer) if !producer.is_done() => Some(producer.describe()),
                _ => None,
            })
            .collect();
        format!(
            "at {} us; waiting: {waiting:?}; {}",
            self.world.now_us,
            self.world.describe()
        )
    }

    fn stop_cleanly(&mut self) {
        self.world.stop_cleanly();
        self.step_until("a clean stop", |history| history.world.is_stopped());
        assert_eq!(
            self.world.was_clean,
            self.world.is_marked_clean(),
            "what the process says of its stop"
        );
        // What the process left in flight is nothing.
        self.world.end();
        self.world.count("clean stop");
    }
}
