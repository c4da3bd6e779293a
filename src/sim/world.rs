//! Virtual time, the network, and the performing of effects: one thread, one seed, one history.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::config::BrokerConfig;
use crate::journal::RING_START;
use crate::shard::effect::{Compute, DiskError, DiskOp, DiskReply, Effect, Entry, Event};
use crate::shard::message::Message;
use crate::shard::survey::{Files, Survey};
use crate::shard::{METADATA_BATCH_BYTES, Shard, ShardConfig, format};
use crate::types::{ConnId, Now, OpId, Random, ShardId};

use super::disk::SimDisk;

/// What the network and the disk may do in this history.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// The longest a disk operation takes.
    pub disk_us_max: u64,
    /// One in so many takes many times as long, so that what comes after it is complete before it; 0 for none.
    pub disk_slow_one_in: u64,
    /// What is slow, all of it, so that everything else overtakes it.
    pub slow: Slow,
    /// The longest a message between shards or to a client takes.
    pub net_us_max: u64,
    /// One in so many disk operations fails; 0 for none.
    pub io_error_one_in: u64,
}

impl Faults {
    pub const NONE: Faults = Faults {
        disk_us_max: 200,
        disk_slow_one_in: 0,
        slow: Slow::Nothing,
        net_us_max: 100,
        io_error_one_in: 0,
    };
}

/// Disk operations of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slow {
    Nothing,
    /// A journal goes round while one is on its way.
    Superblocks,
    /// A journal is full before they are written.
    Segments,
    /// Segments are written and names made while a recovery point is on its way.
    Replacing,
    /// Commits that are not flushed are acknowledged, and their flush is on its way.
    RingSyncs,
}

impl Slow {
    fn is_slow(self, what: &DiskOp) -> bool {
        match self {
            Slow::Nothing => false,
            Slow::Superblocks => is_superblock(what),
            Slow::Segments => matches!(
                what,
                DiskOp::Write { file, .. } | DiskOp::Sync { file } | DiskOp::Truncate { file, .. }
                    if file.path.ends_with(".log")
            ),
            Slow::Replacing => matches!(what, DiskOp::ReplaceFile { .. }),
            Slow::RingSyncs => matches!(what, DiskOp::Sync { file } if file.path.ends_with(".ring")),
        }
    }
}

/// How many times as long a slow disk operation takes.
const SLOW: u64 = 20;
const KIND_SLOW: u64 = 100;
/// How long the operation takes that the power does not wait for.
const STALL_US: u64 = 10_000_000;
/// So many writes of a journal are remembered.
const RING_WRITES_MAX: usize = 64;

/// One write to a journal. Those of one commit begin at the same time, those of two never do.
#[derive(Clone, Copy, Debug)]
pub struct RingWrite {
    at_us: u64,
    pub position: u64,
    pub len: u64,
    is_done: bool,
}

impl RingWrite {
    pub fn is_superblock(&self) -> bool {
        self.position < RING_START
    }
}

/// What the power waits for, so that it also goes in moments that are short and rare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    Any,
    /// A journal says that blocks of it are free.
    Superblock,
    /// A folder is named, or its names are synced.
    Names,
    /// A file is replaced: a recovery point, a snapshot.
    Replaced,
    /// A file is flushed, not the names of it.
    Synced,
}

impl Moment {
    pub const ALL: [Moment; 5] = [
        Moment::Any,
        Moment::Superblock,
        Moment::Names,
        Moment::Replaced,
        Moment::Synced,
    ];

    fn is_at(self, effect: &Effect) -> bool {
        let Effect::Disk { what, .. } = effect else {
            return self == Moment::Any;
        };
        match self {
            Moment::Any => true,
            Moment::Superblock => is_superblock(what),
            Moment::Names => matches!(what, DiskOp::Rename { .. } | DiskOp::SyncDir { .. }),
            Moment::Replaced => matches!(what, DiskOp::ReplaceFile { .. }),
            Moment::Synced => matches!(what, DiskOp::Sync { .. }),
        }
    }
}

/// What reaches a client.
#[derive(Debug)]
pub enum FromBroker {
    Connected(ConnId),
    Refused,
    /// One response, without its length prefix.
    Response(ConnId, Bytes),
    Closed(ConnId),
    /// A time that the client asked for.
    Tick(u64),
}

/// What a client does.
#[derive(Debug)]
pub enum Action {
    Connect,
    /// One request, without its length prefix.
    Send(ConnId, BytesMut),
    Close(ConnId),
    TickIn(u64, u64),
}

enum Item {
    Event(ShardId, Event),
    Disk(ShardId, OpId),
    Compute(ShardId, OpId, Compute),
    Client(usize, FromBroker),
    Connect(usize),
    Round(ShardId),
}

struct Conn {
    shard: ShardId,
    client: usize,
    /// Nothing overtakes on a connection.
    to_broker_us: u64,
    to_client_us: u64,
}

pub struct World {
    pub random: Random,
    pub now_us: u64,
    pub faults: Faults,
    pub disk: SimDisk,
    pub counters: BTreeMap<&'static str, u64>,
    /// What happened, line by line, when somebody wants to read it.
    pub trace: Option<Vec<String>>,
    config: Arc<BrokerConfig>,
    /// Producers leave as much of the journal to the metadata log: with small ones, groups of several meet a full journal.
    pub metadata_batch_bytes: usize,
    wall_start_ms: i64,
    /// What the machine's clock is ahead of the time that it should show.
    pub wall_ahead_ms: i64,
    shards: Vec<Shard>,
    ready: Vec<bool>,
    stopped: Vec<bool>,
    fatal: Option<String>,
    /// No shard that stopped said that it could not write everything.
    pub was_clean: bool,
    queue: BTreeMap<(u64, u64), Item>,
    /// Where in the queue each shard's next round is: one is enough, however many events asked for it.
    next_rounds: BTreeMap<ShardId, (u64, u64)>,
    sequence: u64,
    in_flight: BTreeMap<(ShardId, OpId), DiskOp>,
    conns: BTreeMap<ConnId, Conn>,
    last_conn: u64,
    mesh_us: BTreeMap<(ShardId, ShardId), u64>,
    effects_performed: u64,
    cut_at_effect: Option<u64>,
    cut_moment: Moment,
    stalls_next: bool,
    /// Where each journal was written last, the newest first.
    ring_writes: BTreeMap<Arc<str>, VecDeque<RingWrite>>,
    pub was_cut: bool,
    /// Somebody removed what is the broker's.
    is_tampered: bool,
    /// Nobody is served by a process that only seals, nor by one that stops.
    accepts: bool,
    /// The next processes go on without what is damaged.
    accepts_loss: bool,
}

impl World {
    pub fn new(seed: u64, config: BrokerConfig, disk_bytes: u64) -> World {
        let mut random = Random::new(seed);
        World {
            wall_ahead_ms: 0,
            wall_start_ms: 1_700_000_000_000 + random.below(1_000_000) as i64,
            random,
            now_us: 1_000_000,
            faults: Faults::NONE,
            disk: SimDisk::new(disk_bytes),
            counters: BTreeMap::new(),
            trace: None,
            config: Arc::new(config),
            metadata_batch_bytes: METADATA_BATCH_BYTES,
            shards: Vec::new(),
            ready: Vec::new(),
            stopped: Vec::new(),
            fatal: None,
            was_clean: true,
            queue: BTreeMap::new(),
            next_rounds: BTreeMap::new(),
            sequence: 0,
            in_flight: BTreeMap::new(),
            conns: BTreeMap::new(),
            last_conn: 0,
            mesh_us: BTreeMap::new(),
            effects_performed: 0,
            cut_at_effect: None,
            cut_moment: Moment::Any,
            stalls_next: false,
            ring_writes: BTreeMap::new(),
            was_cut: false,
            is_tampered: false,
            accepts: false,
            accepts_loss: false,
        }
    }

    /// The next processes have other settings.
    #[cfg(test)]
    pub fn set_config(&mut self, config: BrokerConfig) {
        self.config = Arc::new(config);
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counters.entry(what).or_default() += 1;
    }

    /// Whether that was counted, also by the shards that run.
    pub fn has_counted(&self, what: &str) -> bool {
        let counts = |shard: &Shard| shard.stats().named().any(|(named, count)| named == what && count > 0);
        self.counters.contains_key(what) || self.shards.iter().any(counts)
    }

    /// The broker that ran last says that it wrote everything out.
    pub fn is_marked_clean(&self) -> bool {
        self.disk.len(format::CLEAN_SHUTDOWN).is_some()
    }

    pub fn now(&self) -> Now {
        Now {
            mono_us: self.now_us,
            wall_ms: self.true_ms() + self.wall_ahead_ms,
        }
    }

    /// What every clock should show, and those of clients do.
    pub fn true_ms(&self) -> i64 {
        self.wall_start_ms + (self.now_us / 1000) as i64
    }

    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty() && self.ready.iter().all(|&ready| ready)
    }

    pub fn is_running(&self) -> bool {
        !self.shards.is_empty()
    }

    pub fn fatal(&self) -> Option<&str> {
        self.fatal.as_deref()
    }

    /// Starts the broker on what the disk holds.
    pub fn start(&mut self, shards: u16) {
        self.start_shards(shards, false);
    }

    /// Starts what writes every record to its segment and stops.
    pub fn start_sealing(&mut self, shards: u16) {
        self.start_shards(shards, true);
    }

    /// As `tidemill repair --accept-loss` does it: what is damaged is put aside, and then everything is written out without what
    /// is lost.
    pub fn repair(&mut self, shards: u16) {
        let survey = Survey::of(&mut self.disk).expect("nothing newer wrote it");
        let random = self.random.uuid();
        let config = self.config.clone();
        for what in survey.mending(&mut self.disk, &config, random) {
            self.note(|| format!("repair: {}", brief(&what)));
            self.disk.perform(&what).expect("the disk takes it");
        }
        self.accepts_loss = true;
        self.start_shards(shards, true);
        self.accepts_loss = false;
    }

    fn start_shards(&mut self, shards: u16, only_seal: bool) {
        assert!(self.shards.is_empty(), "it runs already");
        self.was_cut = false;
        self.accepts = !only_seal;
        self.cut_at_effect = None;
        self.ready = vec![false; shards.into()];
        self.stopped = vec![false; shards.into()];
        self.fatal = None;
        self.was_clean = true;
        let survey = Survey::of(&mut self.disk);
        let refusal = match &survey {
            Ok(survey) => survey.refusal("sim"),
            Err(why) => Some(why.clone()),
        };
        if let Some(refusal) = refusal {
            self.note(|| format!("refused: {refusal}"));
            self.count("start refused before anything was touched");
            self.fatal = Some(refusal);
            return;
        }
        let was_clean = survey.is_ok_and(|survey| survey.is_clean);
        for id in (0..shards).map(ShardId) {
            let seed = self.random.next_u64();
            self.shards.push(Shard::new(ShardConfig {
                id,
                shards,
                seed,
                broker: self.config.clone(),
                advertised: ("sim".into(), 9092),
                data_dir: "sim".into(),
                metadata_batch_bytes: self.metadata_batch_bytes,
                only_seal,
                was_clean,
                accepts_loss: self.accepts_loss,
            }));
        }
        let now = self.now();
        for shard in 0..shards {
            let mut out = Vec::new();
            self.shards[usize::from(shard)].start(now, &mut out);
            self.perform(ShardId(shard), out);
            self.schedule_round(ShardId(shard));
        }
    }

    /// What was on its way to clients does not arrive.
    pub fn drop_responses(&mut self) {
        let is_response = |item: &Item| matches!(item, Item::Client(_, FromBroker::Response(..)));
        self.queue.retain(|_, item| !is_response(item));
    }

    /// What the shards wait for.
    pub fn describe(&self) -> String {
        let shards: Vec<String> = self.shards.iter().map(Shard::describe).collect();
        shards.join("; ")
    }

    /// Whether a journal's recovery cut off what it took for a torn commit, or for commits that were not flushed, in this life.
    pub fn has_torn(&self) -> bool {
        let stats = self.shards.iter().map(Shard::stats);
        stats
            .into_iter()
            .any(|stats| stats.torn_commits > 0 || stats.unflushed_lost > 0)
    }

    /// The last writes of a journal, the newest first.
    pub fn ring_writes(&self, path: &str) -> impl Iterator<Item = &RingWrite> {
        self.ring_writes.get(path).into_iter().flatten()
    }

    /// What lies there in a journal may look like a commit that was never complete: only a complete commit behind it proves that
    /// it was.
    pub fn may_look_torn(&self, path: &str, range: &Range<u64>) -> bool {
        let commits = || self.ring_writes(path).filter(|write| !write.is_superblock());
        let newest = commits().map(|write| write.at_us).next();
        let is_complete = commits()
            .filter(|write| Some(write.at_us) == newest)
            .all(|write| write.is_done);
        let before = commits().map(|write| write.at_us).find(|at_us| Some(*at_us) != newest);
        commits()
            .filter(|write| Some(write.at_us) == newest || !is_complete && Some(write.at_us) == before)
            .any(|write| write.position < range.end && range.start < write.position + write.len)
    }

    /// How many effects were performed.
    #[cfg(test)]
    pub fn effects(&self) -> u64 {
        self.effects_performed
    }

    /// The power will go when so many more effects are performed, a little after the next such moment.
    pub fn cut_after(&mut self, effects: u64, moment: Moment) {
        self.cut_moment = moment;
        self.cut_at_effect = Some(self.effects_performed + effects);
    }

    /// The next start has these settings.
    #[cfg(test)]
    pub fn reconfigure(&mut self, config: BrokerConfig) {
        self.config = Arc::new(config);
    }

    /// Somebody removes a folder with all that is in it, behind the broker's back.
    #[cfg(test)]
    pub fn remove_tree(&mut self, path: &str) {
        self.is_tampered = true;
        self.disk.remove_tree(path);
    }

    pub fn stop_cleanly(&mut self) {
        self.accepts = false;
        for shard in 0..self.shards.len() {
            self.schedule(0, Item::Event(ShardId(shard as u16), Event::Stop));
        }
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.iter().all(|&stopped| stopped)
    }

    /// The process is gone after a clean stop.
    pub fn end(&mut self) {
        assert!(
            self.in_flight.is_empty(),
            "stopped with operations in flight: {:?}",
            self.in_flight
        );
        self.end_process();
    }

    /// The power goes now.
    pub fn cut(&mut self) {
        self.was_cut = true;
        self.count("power cut");
        let in_flight: Vec<DiskOp> = std::mem::take(&mut self.in_flight).into_values().collect();
        if !in_flight.is_empty() {
            self.count("power cut with operations in flight");
        }
        let report = self.disk.cut(&in_flight, &mut self.random);
        self.note(|| format!("power cut: {report:?}"));
        if report.sectors_lost > 0 {
            self.count("unflushed sectors lost");
        }
        if report.sectors_kept > 0 && report.sectors_lost > 0 {
            self.count("write torn or reordered");
        }
        if report.names_lost > 0 {
            self.count("unsynced names lost");
        }
        self.end_process();
    }

    /// The process is killed; the machine and its page cache live on.
    pub fn kill(&mut self) {
        self.count("kill");
        for op in std::mem::take(&mut self.in_flight).into_values() {
            // What was handed to the kernel completes, and some was not.
            if self.random.below(2) == 0 {
                let _ = self.disk.perform(&op);
            }
        }
        self.end_process();
    }

    fn end_process(&mut self) {
        for shard in std::mem::take(&mut self.shards) {
            for (what, count) in shard.stats().named().filter(|(_, count)| *count > 0) {
                *self.counters.entry(what).or_default() += count;
            }
        }
        self.disk.close_all();
        self.ready.clear();
        self.stopped.clear();
        self.in_flight.clear();
        self.cut_at_effect = None;
        self.stalls_next = false;
        self.mesh_us.clear();
        self.next_rounds.clear();
        self.queue
            .retain(|_, item| matches!(item, Item::Client(..) | Item::Connect(_)));
        for (conn, state) in std::mem::take(&mut self.conns) {
            self.schedule(0, Item::Client(state.client, FromBroker::Closed(conn)));
        }
    }

    /// Does the next thing. What a client must look at is returned; false when nothing is left to do.
    pub fn step(&mut self, to_client: &mut Vec<(usize, FromBroker)>) -> bool {
        let Some(((at_us, _), item)) = self.queue.pop_first() else {
            return false;
        };
        self.now_us = self.now_us.max(at_us);
        match item {
            Item::Client(client, what) => to_client.push((client, what)),
            Item::Connect(client) => self.connect(client, to_client),
            Item::Event(shard, event) => self.round(shard, Some(event)),
            Item::Round(shard) => {
                self.next_rounds.remove(&shard);
                self.round(shard, None);
            }
            Item::Disk(shard, op) => {
                let what = self
                    .in_flight
                    .remove(&(shard, op))
                    .expect("an operation completes once");
                let result = self.perform_disk(&what);
                if let (Ok(_), DiskOp::Write { file, position, .. }) = (&result, &what)
                    && let Some(writes) = self.ring_writes.get_mut(&file.path)
                {
                    let issued = writes.iter_mut().find(|write| write.position == *position);
                    issued.into_iter().for_each(|write| write.is_done = true);
                }
                self.round(shard, Some(Event::Disk { op, result }));
            }
            Item::Compute(shard, op, Compute::Run(job)) => {
                let result = (job.run)();
                self.round(shard, Some(Event::Computed { op, result }));
            }
        }
        true
    }

    fn perform_disk(&mut self, what: &DiskOp) -> Result<DiskReply, DiskError> {
        if self.faults.io_error_one_in > 0 && self.random.below(self.faults.io_error_one_in) == 0 {
            self.count("input/output error");
            // Nobody can tell from an error what was done.
            if self.random.below(2) == 0 && self.disk.perform(what).is_ok() {
                self.count("failed operation took effect");
            }
            return Err(DiskError::Io {
                message: "injected input/output error".into(),
            });
        }
        let result = self.disk.perform(what);
        match &result {
            Err(DiskError::Full { .. }) => self.count("disk full"),
            // Whoever changes a partition's files has made its folder, and nobody else may have taken it away.
            Err(DiskError::NotFound { path })
                if changes_files(what) && self.faults.io_error_one_in == 0 && !self.is_tampered =>
            {
                panic!("{path} vanished under {}", brief(what));
            }
            _ => {}
        }
        result
    }

    fn connect(&mut self, client: usize, to_client: &mut Vec<(usize, FromBroker)>) {
        if !self.is_ready() || !self.accepts {
            to_client.push((client, FromBroker::Refused));
            return;
        }
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        let shard = ShardId(self.random.below(self.shards.len() as u64) as u16);
        let state = Conn {
            shard,
            client,
            to_broker_us: 0,
            to_client_us: 0,
        };
        self.conns.insert(conn, state);
        self.round(shard, Some(Event::Connected { conn }));
        to_client.push((client, FromBroker::Connected(conn)));
    }

    pub fn act(&mut self, client: usize, action: Action) {
        match action {
            Action::Connect => {
                let delay = 1 + self.random.below(1000);
                self.schedule(delay, Item::Connect(client));
            }
            Action::TickIn(delay_us, token) => self.schedule(delay_us, Item::Client(client, FromBroker::Tick(token))),
            Action::Send(conn, frame) => {
                let delay = self.random.below(self.faults.net_us_max + 1);
                let now_us = self.now_us;
                let Some(state) = self.conns.get_mut(&conn) else { return };
                state.to_broker_us = state.to_broker_us.max(now_us + delay);
                let (at_us, shard) = (state.to_broker_us, state.shard);
                self.schedule(at_us - now_us, Item::Event(shard, Event::Request { conn, frame }));
            }
            Action::Close(conn) => {
                if let Some(state) = self.conns.remove(&conn) {
                    let delay = self.random.below(self.faults.net_us_max + 1);
                    let at_us = state.to_broker_us.max(self.now_us + delay);
                    self.schedule(at_us - self.now_us, Item::Event(state.shard, Event::Closed { conn }));
                }
            }
        }
    }

    /// One round of a shard: this event, perhaps more that are about to arrive, then everything it wants done.
    fn round(&mut self, shard: ShardId, event: Option<Event>) {
        let index = usize::from(shard.0);
        if index >= self.shards.len() {
            return;
        }
        let mut out = Vec::new();
        let now = self.now();
        if let Some(event) = event {
            self.handle(shard, now, event, &mut out);
        }
        // A busy shard finds several events waiting.
        while self.random.below(3) == 0 {
            let Some(entry) = self.queue.first_entry() else { break };
            let soon = entry.key().0 <= self.now_us + 50;
            if !soon || !matches!(entry.get(), Item::Event(to, _) if *to == shard) {
                break;
            }
            let ((at_us, _), Item::Event(_, event)) = entry.remove_entry() else {
                unreachable!("just seen")
            };
            self.now_us = self.now_us.max(at_us);
            let now = self.now();
            self.handle(shard, now, event, &mut out);
        }
        let now = self.now();
        self.shards[index].end_round(now, &mut out);
        self.perform(shard, out);
        self.schedule_round(shard);
    }

    fn handle(&mut self, shard: ShardId, now: Now, event: Event, out: &mut Vec<Effect>) {
        // What a closed connection sent before is not delivered any more.
        if let Event::Request { conn, .. } = &event
            && !self.conns.contains_key(conn)
        {
            return;
        }
        self.note(|| format!("{:>12} shard {} <- {}", now.mono_us, shard.0, brief(&event)));
        self.shards[usize::from(shard.0)].handle(now, event, out);
    }

    fn schedule_round(&mut self, shard: ShardId) {
        let Some(shard_state) = self.shards.get(usize::from(shard.0)) else {
            return;
        };
        if let Some(at_us) = shard_state.deadline() {
            let delay_us = at_us.saturating_sub(self.now_us).max(1);
            if let Some(next) = self.next_rounds.get(&shard) {
                if next.0 <= self.now_us + delay_us {
                    return;
                }
                self.queue.remove(next);
            }
            self.schedule(delay_us, Item::Round(shard));
            self.next_rounds.insert(shard, (self.now_us + delay_us, self.sequence));
        }
    }

    fn schedule(&mut self, delay_us: u64, item: Item) {
        self.sequence += 1;
        self.queue.insert((self.now_us + delay_us, self.sequence), item);
    }

    fn perform(&mut self, shard: ShardId, effects: Vec<Effect>) {
        for effect in effects {
            if self.was_cut {
                return;
            }
            self.effects_performed += 1;
            if self.cut_at_effect.is_some_and(|at| at <= self.effects_performed) && self.cut_moment.is_at(&effect) {
                if self.cut_moment == Moment::Any {
                    self.cut();
                    return;
                }
                // It stalls until then, and everything else goes on.
                self.stalls_next = true;
                let later = 1 << self.random.below(13);
                self.cut_after(later, Moment::Any);
            }
            let now_us = self.now_us;
            self.note(|| format!("{now_us:>12} shard {} -> {}", shard.0, brief(&effect)));
            self.perform_one(shard, effect);
        }
    }

    fn perform_one(&mut self, shard: ShardId, effect: Effect) {
        match effect {
            Effect::Reply { conn, slices } => {
                let delay = self.random.below(self.faults.net_us_max + 1);
                let now_us = self.now_us;
                let Some(state) = self.conns.get_mut(&conn) else { return };
                if slices.is_empty() {
                    return;
                }
                let bytes = slices.concat();
                assert_eq!(
                    bytes[..4],
                    ((bytes.len() - 4) as u32).to_be_bytes(),
                    "the frame's length is right"
                );
                state.to_client_us = state.to_client_us.max(now_us + delay);
                let (at_us, client) = (state.to_client_us, state.client);
                let response = Bytes::from(bytes).slice(4..);
                self.schedule(
                    at_us - now_us,
                    Item::Client(client, FromBroker::Response(conn, response)),
                );
            }
            Effect::Close { conn, why } => {
                self.note(|| format!("closed: {why}"));
                if let Some(state) = self.conns.remove(&conn) {
                    let at_us = state.to_client_us.max(self.now_us);
                    self.schedule(
                        at_us - self.now_us,
                        Item::Client(state.client, FromBroker::Closed(conn)),
                    );
                    self.schedule(1, Item::Event(shard, Event::Closed { conn }));
                }
            }
            Effect::ToShard { to, message } => self.send(shard, to, message),
            Effect::Disk { op, what } => {
                let mut delay = 1 + self.random.below(self.faults.disk_us_max);
                let slow_one_in = self.faults.disk_slow_one_in;
                if self.faults.slow.is_slow(&what) {
                    delay *= KIND_SLOW;
                } else if slow_one_in > 0 && self.random.below(slow_one_in) == 0 {
                    delay *= SLOW;
                }
                if std::mem::take(&mut self.stalls_next) {
                    delay = STALL_US;
                }
                if let DiskOp::Write {
                    file, position, slices, ..
                } = &what
                    && file.path.ends_with(".ring")
                {
                    let writes = self.ring_writes.entry(file.path.clone()).or_default();
                    writes.truncate(RING_WRITES_MAX - 1);
                    writes.push_front(RingWrite {
                        at_us: self.now_us,
                        position: *position,
                        len: slices.iter().map(|slice| slice.len() as u64).sum(),
                        is_done: false,
                    });
                }
                self.in_flight.insert((shard, op), of_shard(shard, what));
                self.schedule(delay, Item::Disk(shard, op));
            }
            Effect::Compute { op, what } => {
                let delay = 1 + self.random.below(self.faults.disk_us_max);
                self.schedule(delay, Item::Compute(shard, op, what));
            }
            Effect::Ready => self.ready[usize::from(shard.0)] = true,
            Effect::Stopped { is_clean } => {
                self.stopped[usize::from(shard.0)] = true;
                self.was_clean &= is_clean;
            }
            Effect::Fatal { message } => {
                self.note(|| format!("fatal: {message}"));
                self.fatal = Some(message);
            }
        }
    }

    fn send(&mut self, from: ShardId, to: ShardId, message: Message) {
        let delay = self.random.below(self.faults.net_us_max + 1);
        let last = self.mesh_us.entry((from, to)).or_default();
        *last = (*last).max(self.now_us + delay);
        let at_us = *last;
        self.schedule(at_us - self.now_us, Item::Event(to, Event::FromShard { from, message }));
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }
}

impl Files for SimDisk {
    fn list(&mut self, path: &str) -> Result<Option<Vec<Entry>>, String> {
        match self.perform(&DiskOp::List { path: path.into() }) {
            Ok(DiskReply::Entries(entries)) => Ok(Some(entries)),
            Ok(other) => unreachable!("a folder's names, not {other:?}"),
            Err(DiskError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn read(&mut self, path: &str, len: u64) -> Result<Option<Bytes>, String> {
        let Some(bytes) = self.len(path) else { return Ok(None) };
        let end = len.min(bytes) as usize;
        Ok(Some(Bytes::copy_from_slice(self.content(path, 0..end))))
    }
}

fn is_superblock(what: &DiskOp) -> bool {
    matches!(what, DiskOp::Write { file, position, .. } if file.path.ends_with(".ring") && *position < RING_START)
}

/// What only works where a folder is, and what is done to a folder that somebody counts on.
fn changes_files(what: &DiskOp) -> bool {
    matches!(
        what,
        DiskOp::Reserve { .. }
            | DiskOp::Write { .. }
            | DiskOp::Truncate { .. }
            | DiskOp::Sync { .. }
            | DiskOp::SyncDir { .. }
            | DiskOp::ReplaceFile { .. }
    )
}

/// File ids are a shard's own; the disk has one table for all.
fn of_shard(shard: ShardId, mut what: DiskOp) -> DiskOp {
    match &mut what {
        DiskOp::Write { file, .. }
        | DiskOp::Sync { file }
        | DiskOp::Read { file, .. }
        | DiskOp::Reserve { file, .. }
        | DiskOp::Fill { file, .. }
        | DiskOp::Truncate { file, .. }
        | DiskOp::CheckName { file }
        | DiskOp::Close { file } => file.id.0 |= u64::from(shard.0) << 48,
        _ => {}
    }
    what
}

/// One line of a value's debug form, without its bytes.
fn brief(value: &impl std::fmt::Debug) -> String {
    let mut text = format!("{value:?}");
    if let Some((at, _)) = text.char_indices().nth(220) {
        text.truncate(at);
        text.push('…');
    }
    text
}
