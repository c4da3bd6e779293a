//! The whole broker on seeded fakes: virtual time, a disk that forgets, clients that misbehave, power cuts at any effect.
//!
//! [`run`] plays one history and panics at the first thing that must not be. The same seed gives the same history, so that
//! `tools/sim --from SEED --seeds 1 --trace` shows it again.

pub mod client;
pub mod disk;
pub mod oracle;
pub mod world;

use std::collections::BTreeMap;

use crate::config::BrokerConfig;
use crate::types::{LogId, Offset, Random};

use client::{Administrator, Client, Consumer, Producer, Scene, Topics};
use oracle::Oracle;
use world::{Faults, FromBroker, World};

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

/// Every counter that some history must reach: one that stays at zero says that nothing tests what it stands for.
pub const SOMETIMES: &[&str] = &[
    "power cut",
    "power cut with operations in flight",
    "power cut while recovering",
    "kill",
    "clean stop",
    "unflushed sectors lost",
    "write torn or reordered",
    "unsynced names lost",
    "produce acknowledged",
    "produce retried",
    "client gave up its connection",
    "consumer started over",
    "fetch session continued",
    "fetch answered with nothing new",
    "fetch out of range",
    "topic created",
    "topic deleted",
    "records deleted",
    "input/output error",
];

struct History {
    world: World,
    oracle: Oracle,
    topics: Topics,
    clients: Vec<Kind>,
    is_ending: bool,
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

/// More steps than this without an end means that something waits for ever.
const STEPS_MAX: u64 = 400_000;

/// Plays the history of `seed`. With `trace`, the report has every event and effect.
///
/// # Panics
/// When something happened that must not, with what it was.
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

/// A broker whose limits are so small that a short history meets them all.
fn config(random: &mut Random) -> BrokerConfig {
    let mut config = BrokerConfig::default();
    config.journal_bytes = [1024 * 1024, 1536 * 1024, 4096 * 1024][random.below(3) as usize];
    config.disk_reserve_bytes = 1024 * 1024;
    config.topic.segment_bytes = [4_000, 20_000, 200_000][random.below(3) as usize];
    config.topic.index_interval_bytes = 512;
    config.topic.max_message_bytes = 60_000;
    if random.below(5) == 0 {
        config.topic.flush_messages = 1 + random.below(20) as i64;
    }
    config
}

impl History {
    fn new(seed: u64) -> History {
        let mut random = Random::new(seed ^ 0x7464_6d69_6c6c);
        let config = config(&mut random);
        let topic_count = 1 + random.below(3) as usize;
        let volatile = if random.below(2) == 0 {
            vec![topic_count - 1]
        } else {
            Vec::new()
        };
        let topics = Topics {
            names: (0..topic_count).map(|t| format!("topic{t}")).collect(),
            ids: vec![None; topic_count],
            partitions: (0..topic_count).map(|_| 1 + random.below(4) as i32).collect(),
            volatile,
        };
        let mut world = World::new(seed, config, 64 << 20);
        world.faults = Faults {
            disk_us_max: [100, 2_000, 20_000][random.below(3) as usize],
            net_us_max: [50, 500][random.below(2) as usize],
            io_error_one_in: 0,
        };
        let admin = Administrator::new(10 + random.below(40));
        History {
            world,
            oracle: Oracle::default(),
            topics,
            clients: vec![Kind::Administrator(admin)],
            is_ending: false,
        }
    }

    fn play(&mut self) {
        let shards = 1 + self.world.random.below(3) as u16;
        let lives = 1 + self.world.random.below(5);
        for life in 0..lives {
            self.live(shards, life);
        }
        self.finish(shards);
    }

    /// One life of the process, from its start to whatever ends it.
    fn live(&mut self, shards: u16, life: u64) {
        self.world.faults.io_error_one_in = if self.world.random.below(12) == 0 { 2_000 } else { 0 };
        self.world.start(shards);
        let end = match self.world.random.below(10) {
            0..=5 => End::PowerCut,
            6..=7 => End::Kill,
            _ => End::CleanStop,
        };
        if end == End::PowerCut {
            // Now and then so early that recovery itself is cut.
            let effects = match self.world.random.below(4) {
                0 => 1 + self.world.random.below(200),
                _ => 1 + self.world.random.below(6_000),
            };
            self.world.cut_after(effects);
        }
        if life == 0 {
            self.start_client(0);
        }
        let steps = 500 + self.world.random.below(8_000);
        let mut steps_left = steps;
        while steps_left > 0 && !self.world.was_cut && self.world.fatal().is_none() {
            steps_left -= 1;
            if !self.step() {
                break;
            }
            if steps_left.is_multiple_of(64) {
                self.join_clients();
            }
        }
        if self.world.was_cut {
            return;
        }
        match end {
            End::Kill => self.world.kill(),
            End::CleanStop if self.world.is_ready() && self.world.faults.io_error_one_in == 0 => self.stop_cleanly(),
            _ => {
                if !self.world.is_ready() {
                    self.world.count("power cut while recovering");
                }
                self.world.cut();
            }
        }
    }

    /// New producers and consumers come as topics appear.
    fn join_clients(&mut self) {
        if self.is_ending || self.clients.len() > 14 {
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
        let waiting: Vec<String> = (self.clients.iter_mut())
            .filter_map(|kind| match kind {
                Kind::Producer(producer) if !producer.is_done() => Some(producer.describe()),
                _ => None,
            })
            .collect();
        panic!("{what} never came; at {} us; waiting: {waiting:?}", self.world.now_us);
    }

    fn stop_cleanly(&mut self) {
        self.world.stop_cleanly();
        self.step_until("a clean stop", |history| history.world.is_stopped());
        // What the process left in flight is nothing.
        self.world.end();
        self.world.count("clean stop");
    }

    /// Heals everything, sees the clients through, and reads every log twice: before and after a clean stop.
    fn finish(&mut self, shards: u16) {
        self.world.faults = Faults::NONE;
        self.is_ending = true;
        self.world.start(shards);
        self.step_until("recovery", |history| history.world.is_ready());
        for kind in &mut self.clients {
            match kind {
                Kind::Producer(producer) => producer.wind_up(),
                Kind::Administrator(admin) => admin.wind_up(),
                Kind::Consumer(_) => {}
            }
        }
        self.step_until("the end of what clients began", |history| {
            history.clients.iter_mut().all(|kind| match kind {
                Kind::Consumer(_) => true,
                other => other.client().is_done(),
            })
        });
        let first = self.read_everything();
        self.stop_cleanly();
        self.world.start(shards);
        self.step_until("a start after a clean stop", |history| history.world.is_ready());
        let second = self.read_everything();
        assert_eq!(first.len(), second.len());
        for (log, (start, end, found)) in &first {
            let (start_2, end_2, found_2) = &second[log];
            assert_eq!((start, end), (start_2, end_2), "{log}: a clean stop changed its bounds");
            assert!(found == found_2, "{log}: a clean stop changed its records");
        }
    }

    #[allow(clippy::type_complexity)]
    fn read_everything(&mut self) -> BTreeMap<LogId, (Offset, Offset, BTreeMap<Offset, Vec<u8>>)> {
        let from = self.clients.len();
        for log in self.oracle.promised_logs() {
            let Some(topic) = self.topics.ids.iter().position(|id| *id == Some(log.topic)) else {
                continue;
            };
            let reader = Consumer::new(&mut self.world.random, topic, log.topic, log.partition, true);
            self.clients.push(Kind::Consumer(reader));
            self.start_client(self.clients.len() - 1);
        }
        self.step_until("the end of the final reading", |history| {
            history.clients[from..].iter_mut().all(|kind| kind.client().is_done())
        });
        let mut read = BTreeMap::new();
        for kind in &mut self.clients[from..] {
            let Kind::Consumer(reader) = kind else {
                unreachable!("only readers were added")
            };
            let (start, end) = reader.range();
            let found = std::mem::take(&mut reader.found);
            self.oracle.check_whole(reader.log(), start, end, &found);
            read.insert(reader.log(), (start, end, found));
        }
        read
    }
}
