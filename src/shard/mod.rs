//! One core's share of the broker, as a plain value: events in, effects out.
//!
//! [`Shard::handle`] takes one event and appends what it wants done; [`Shard::end_round`] closes a round and is where the
//! round's appends become one commit of the journal. Nothing here waits, asks the time or touches a file.
//!
//! This file only dispatches. A record's way in: `requests` → `produce` → `append` → `commit` → `requests`; its way out:
//! `requests` → `fetch` → `read` (→ `ahead`) → `fetch` → `requests`. `boot`, `registration` and `stop` are the ends of a shard's life, `checkpoint`
//! and `upkeep` its background, `metadata` the part that only the controller's shard has.
//!
//! Invariants
//! * A flow of several steps is an entry of a table, by an id that is never reused; an answer or a completion that finds no
//!   entry is for a flow that is over.
//! * Every disk operation has an entry in `ops` until its [`Event::Disk`].
//! * Shards ask each other and themselves by the same road ([`message`]); each ask is answered exactly once.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::BytesMut;

use crate::config::{BrokerConfig, Limits};
use crate::controller::Image;
use crate::journal::{self, Journal};
use crate::types::{ConnId, FileIds, LogId, Map, Now, OpId, Random, ShardId};

mod admin;
mod ahead;
mod append;
mod boot;
mod checkpoint;
mod clock;
mod commit;
mod compute;
mod connection;
#[cfg(test)]
pub(crate) mod contract;
mod coordinators;
mod disk;
pub mod effect;
mod fetch;
mod folders;
pub mod format;
mod gather;
mod kraft;
mod lookups;
pub mod message;
mod metadata;
mod offsets;
mod outgoing;
mod parking;
mod partition;
mod produce;
mod quarantine;
mod read;
mod registration;
mod requests;
mod sessions;
#[cfg(test)]
mod situations;
mod stats;
mod stop;
pub mod survey;
mod upkeep;

pub use boot::ring_path;
use connection::Connection;
pub use connection::is_produce;
use disk::Op;
use effect::{Effect, Event};
use message::{Answer, Ask, Asker, FlowId, Message};
use partition::Partition;
use sessions::Sessions;
pub use stats::Stats;

/// The shard that runs the controller and owns the metadata log.
pub const CONTROLLER: ShardId = ShardId(0);

/// More records of one decision go in several batches.
pub const METADATA_BATCH_BYTES: usize = 1 << 20;

/// What a shard is told once, at its start.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    pub id: ShardId,
    /// How many shards this process has.
    pub shards: u16,
    /// Seed of this shard's random numbers.
    pub seed: u64,
    pub broker: Arc<BrokerConfig>,
    /// Where clients are told to connect.
    pub advertised: (String, u16),
    /// The data folder, as people know it: for messages and DescribeLogDirs only.
    pub data_dir: Arc<str>,
    /// The largest batch of metadata records, [`METADATA_BATCH_BYTES`] but in a simulated history.
    pub metadata_batch_bytes: usize,
    /// Recover, write everything to its segments, stop; serve nobody.
    pub only_seal: bool,
    /// The last stop was clean, as [`survey`] saw it before any shard started: the journals hold nothing.
    pub was_clean: bool,
    /// A person has accepted that what is damaged is lost: the start goes on without it.
    pub accepts_loss: bool,
}

/// Where a shard is in its life.
enum Stage {
    Booting(Box<boot::Boot>),
    Serving,
    Stopping(stop::Stopping),
    Stopped,
}

/// A request that needs other shards, the disk or time.
enum Flow {
    Producing(produce::Producing),
    Fetching(Box<fetch::Fetching>),
    Gathering(gather::Gathering),
    Administering(admin::Administering),
}

pub struct Shard {
    config: ShardConfig,
    limits: Limits,
    random: Random,
    files: FileIds,
    now: Now,
    out: Vec<Effect>,
    last_id: u64,
    stage: Stage,
    image: Arc<Image>,
    /// Somebody may be served: the image has this process's registration.
    is_ready: bool,

    connections: Map<ConnId, Connection>,
    /// Connections where something happened in this event.
    touched: Vec<ConnId>,
    flows: Map<FlowId, Flow>,
    sessions: Sessions,
    /// When a waiting flow answers with what it has.
    deadlines: BTreeSet<(u64, FlowId)>,
    producer_ids: admin::ProducerIds,

    partitions: Map<LogId, Partition>,
    /// In memory because they are not in a segment yet; and because readers may want them.
    dirty_bytes: u64,
    /// Of the dirty ones, those of logs that have no folder (yet).
    unplaced_bytes: u64,
    cached_bytes: u64,
    folders: folders::Folders,
    appending: Map<u64, append::Appending>,
    blocked: append::Blocked,
    reading: Map<u64, read::Reading>,
    ahead: ahead::Ahead,
    outgoing: outgoing::Outgoing,
    listing: Map<u64, lookups::Listing>,
    lookups: lookups::Lookups,
    deleting: Map<u64, offsets::Deleting>,
    computing: compute::Computing,
    interest: Map<Asker, Vec<LogId>>,
    /// Small batches are copied here, so that they do not pin the read buffers they arrived in.
    arena: BytesMut,

    journal: Journal,
    /// The journal is the one that recovery handed over.
    has_journal: bool,
    commit: commit::Committing,
    checkpoint: checkpoint::Checkpointing,
    parking: parking::Parking,
    space: disk::Space,
    clock: clock::Clock,
    ops: Map<OpId, Op>,
    /// Of the controller's shard only.
    metadata: Option<metadata::Metadata>,
    upkeep: upkeep::Upkeep,
    /// What the start found damaged or lost, a sentence each; kept for whoever asks.
    findings: Vec<String>,
    stats: Stats,
    sealed: stop::Sealed,
}

impl Shard {
    pub fn new(config: ShardConfig) -> Shard {
        let limits = config.broker.limits(config.shards);
        let mut files = FileIds::default();
        let commit = commit::Committing::of(config.id, &mut files);
        // Replaced by the one that recovery hands over, before anything is pushed.
        let journal = Journal::create(journal::Config::new(limits.journal_bytes, config.id, config.shards), 0);
        Shard {
            random: Random::new(config.seed),
            files,
            now: Now::default(),
            out: Vec::new(),
            last_id: 0,
            stage: Stage::Booting(Box::new(boot::Boot::new())),
            image: Arc::new(Image::empty("", config.broker.node_id, config.broker.clone())),
            is_ready: false,
            connections: Map::default(),
            touched: Vec::new(),
            flows: Map::default(),
            sessions: Sessions::new(limits.fetch_sessions),
            deadlines: BTreeSet::new(),
            producer_ids: admin::ProducerIds::default(),
            partitions: Map::default(),
            dirty_bytes: 0,
            unplaced_bytes: 0,
            cached_bytes: 0,
            folders: folders::Folders::default(),
            appending: Map::default(),
            blocked: append::Blocked::default(),
            reading: Map::default(),
            ahead: ahead::Ahead::default(),
            outgoing: outgoing::Outgoing::new(limits.outgoing_bytes),
            listing: Map::default(),
            lookups: lookups::Lookups::default(),
            deleting: Map::default(),
            computing: compute::Computing::default(),
            interest: Map::default(),
            arena: BytesMut::new(),
            journal,
            has_journal: false,
            commit,
            checkpoint: checkpoint::Checkpointing::default(),
            parking: parking::Parking::default(),
            space: disk::Space::default(),
            clock: clock::Clock::default(),
            ops: Map::default(),
            metadata: None,
            upkeep: upkeep::Upkeep::default(),
            findings: Vec::new(),
            stats: Stats::default(),
            sealed: stop::Sealed::default(),
            limits,
            config,
        }
    }

    /// The first effects: recovery begins. To be called once, before any event.
    pub fn start(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.enter(now, out);
        self.begin_boot();
        self.leave(out);
    }

    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        self.enter(now, out);
        match event {
            Event::Connected { conn } => self.connected(conn),
            Event::Request { conn, frame } => self.received(conn, frame),
            Event::Closed { conn } => self.closed(conn),
            Event::FromShard { from, message } => self.told(from, message),
            Event::Disk { op, result } => self.disk_done(op, result),
            Event::Computed { op, result } => self.computed(op, result),
            Event::Stop => self.stop(),
        }
        self.run_connections();
        self.leave(out);
    }

    /// Call after the last event of a round, and whenever [`Shard::deadline`] has passed.
    pub fn end_round(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.enter(now, out);
        self.expire();
        self.run_upkeep();
        self.lookups.new_round();
        self.run_lookups();
        if self.is_stopping() {
            self.stop_may_go_on();
        }
        self.run_connections();
        self.begin_commit();
        self.computing.new_round();
        self.leave(out);
    }

    /// When to call [`Shard::end_round`] again if no event comes, in microseconds of [`Now::mono_us`].
    pub fn deadline(&self) -> Option<u64> {
        let flow = self.deadlines.first().map(|(at_us, _)| *at_us);
        let lookups = self.lookups.is_due().then_some(self.now.mono_us);
        [flow, self.upkeep_deadline(), lookups].into_iter().flatten().min()
    }

    /// What keeps appends waiting, in words: for whoever looks at a shard that does not go on.
    pub fn describe(&self) -> String {
        let waiting = |log: &LogId| match self.partitions.get(log) {
            None => format!("{log} (gone)"),
            Some(partition) => format!(
                "{log} ({:?}, applied {}, durable {}, end {}, dirty {}, checkpoint {}, control {}, saving {})",
                partition.folder,
                partition.log.applied(),
                partition.log.durable(),
                partition.log.end(),
                partition.log.dirty_bytes(),
                partition.log.wants_checkpoint(),
                partition.log.has_unsaved_control(),
                partition.saving.is_some(),
            ),
        };
        format!(
            "shard {}: {} blocked, room {}, {:?}, must apply {:?}, must carry {:?}, checkpoint idle {}, {} operations, {} lookups, {}",
            self.config.id.0,
            self.blocked.len(),
            self.journal.room(),
            self.journal.usage(),
            self.journal.must_apply().iter().map(waiting).collect::<Vec<_>>(),
            self.journal.must_carry(),
            self.checkpoint.is_idle(),
            self.ops.len(),
            self.lookups.running(),
            self.describe_stop(),
        )
    }

    /// What the start found damaged or lost, a sentence each.
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// What this shard did since its start.
    pub fn stats(&self) -> Stats {
        Stats {
            laps: self.journal.laps(),
            ..self.stats
        }
    }

    fn enter(&mut self, now: Now, out: &mut Vec<Effect>) {
        debug_assert!(now.mono_us >= self.now.mono_us, "time went back");
        self.now = now;
        std::mem::swap(&mut self.out, out);
    }

    fn leave(&mut self, out: &mut Vec<Effect>) {
        std::mem::swap(&mut self.out, out);
    }

    fn emit(&mut self, effect: Effect) {
        self.out.push(effect);
    }

    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The shard of a partition: even, and a pure function, so that a host with more cores needs no migration.
    fn owner(&self, log: LogId) -> ShardId {
        owner(log, self.config.shards)
    }

    fn partition(&self, log: LogId) -> &Partition {
        &self.partitions[&log]
    }

    fn partition_mut(&mut self, log: LogId) -> &mut Partition {
        self.partitions.get_mut(&log).expect("the caller found it")
    }

    fn tell(&mut self, to: ShardId, message: Message) {
        debug_assert_ne!(to, self.config.id, "a shard does not send to itself");
        self.emit(Effect::ToShard { to, message });
    }

    fn told(&mut self, from: ShardId, message: Message) {
        match message {
            Message::Ask { flow, ask } => self.asked(Asker { shard: from, flow }, ask),
            Message::Answer { flow, answer } => self.answered(flow, from, answer),
            Message::Wake { flow } => self.woken(flow, from),
            Message::Forget { flow } => self.forget(Asker { shard: from, flow }),
            Message::Image { image, deleted } => {
                self.topics_deleted(deleted);
                self.image_published(image);
            }
            Message::ImageHeld { offset } => self.image_held(from, offset),
            Message::Sealed { logs, is_clean } => self.sealed(logs, is_clean),
            Message::AllSealed => self.all_sealed(),
        }
    }

    /// Asks a shard; its answer comes to `answered` with this flow, at once when the shard is this one and has it.
    fn ask(&mut self, flow: FlowId, to: ShardId, ask: Ask) {
        if to == self.config.id {
            self.asked(Asker { shard: to, flow }, ask);
        } else {
            self.tell(to, Message::Ask { flow, ask });
        }
    }

    fn asked(&mut self, asker: Asker, ask: Ask) {
        match ask {
            Ask::Append {
                conn,
                acks,
                deadline_us,
                items,
            } => self.serve_append(asker, conn, acks, deadline_us, items),
            Ask::Read { items, bytes_max, park } => self.serve_read(asker, items, bytes_max, park),
            Ask::ListOffsets { items } => self.serve_list_offsets(asker, items),
            Ask::EpochEnd { items } => self.serve_epoch_ends(asker, items),
            Ask::DeleteRecords { items } => self.serve_delete_records(asker, items),
            Ask::LogSizes => self.serve_log_sizes(asker),
            Ask::Admin(request) => self.serve_admin(asker, request),
        }
    }

    fn answer(&mut self, asker: Asker, answer: Answer) {
        if asker.shard == self.config.id {
            self.answered(asker.flow, asker.shard, answer);
        } else {
            self.tell(
                asker.shard,
                Message::Answer {
                    flow: asker.flow,
                    answer,
                },
            );
        }
    }

    fn answered(&mut self, flow: FlowId, from: ShardId, answer: Answer) {
        match self.flows.remove(&flow) {
            Some(Flow::Producing(producing)) => self.produce_answered(flow, producing, answer),
            Some(Flow::Fetching(fetching)) => self.fetch_answered(flow, fetching, from, answer),
            Some(Flow::Gathering(gathering)) => self.gather_answered(flow, gathering, answer),
            Some(Flow::Administering(administering)) => self.admin_answered(administering, answer),
            // The connection closed meanwhile.
            None => {}
        }
    }

    fn expire(&mut self) {
        while let Some(&(at_us, flow)) = self.deadlines.first() {
            if at_us > self.now.mono_us {
                return;
            }
            self.deadlines.pop_first();
            self.fetch_expired(flow);
        }
    }
}

/// Shard `(hash(topic id) + partition) mod shards`. Topic ids are random, so their low bits are hash enough; the metadata
/// log stays with the controller.
pub fn owner(log: LogId, shards: u16) -> ShardId {
    if log == LogId::METADATA {
        return CONTROLLER;
    }
    let hash = u128::from_be_bytes(log.topic.0) as u64;
    ShardId((hash.wrapping_add(log.partition as u64) % u64::from(shards)) as u16)
}
