//! The controller's shard: the metadata log, who decides what goes into it, and how the other shards come to act on it.
//!
//! A decision is made on the newest image, appended at once and applied by replay; it is answered when it is durable and
//! every shard has said that it holds the image that the decision made.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::controller::snapshot::SnapshotId;
use crate::controller::{Controller, Decision, Delta, Image, Replay, batch, snapshot};
use crate::journal;
use crate::record::{Batch, StampedBatch};
use crate::types::{LogId, Offset, ShardId, TopicId};
use crate::wire::metadata_records::MetadataRecord;

use super::disk::Op;
use super::effect::{DiskError, DiskOp, DiskReply};
use super::kraft::METADATA_DIR;
use super::message::{AdminReply, AdminRequest, Answer, Asker, Message};
use super::registration::Registration;
use super::{CONTROLLER, Shard};

pub struct Metadata {
    pub(super) controller: Controller,
    /// Of every record appended, durable or not.
    pub(super) replay: Replay,
    /// Of this process's registration; -1 when it did not register.
    pub(super) broker_epoch: i64,
    /// Nothing is published before the log is durable up to here: the broker's own registration.
    pub(super) publish_from: Offset,
    /// Images that become true when the log is durable up to the offset.
    unpublished: VecDeque<(Offset, Arc<Image>)>,
    /// How far this process is with registering itself.
    pub(super) registration: Registration,
    /// In the order of their offsets: answered when every shard holds the image up to there.
    waiting: VecDeque<(Offset, Asker, AdminReply)>,
    /// Requests whose records found no room in the journal: the first one decides anew when there is some, the others follow.
    undecided: VecDeque<Undecided>,
    /// What the first of them needs, in bytes of the journal; 0 when none waits.
    room_wanted: u64,
    /// By shard: the offset up to which it acts on the metadata.
    held: Vec<Offset>,
    has_failed: bool,
    /// Bytes of metadata log since the last snapshot that is on the device.
    bytes_since_snapshot: u64,
    /// Since when the log holds what no snapshot has, or when the last one was written; wall time.
    snapshot_ms: i64,
    is_snapshotting: bool,
    /// The last one failed: none before this time.
    snapshot_retry_us: u64,
}

/// What a start finds in the metadata log behind its newest snapshot. It counts towards the next one: a process that is killed
/// again and again would never write one otherwise, and each of its starts would replay more.
#[derive(Clone, Copy, Debug)]
pub struct Unsnapshotted {
    pub bytes: u64,
    /// When the first of it was appended, by the broker's clock then; the start's own time when there is nothing.
    pub since_ms: i64,
}

/// An admin request that waits for room in the journal.
struct Undecided {
    asker: Asker,
    request: AdminRequest,
    /// It is answered as unavailable then.
    deadline_us: u64,
}

/// As long as Kafka's clients wait for an answer.
const UNDECIDED_US: u64 = 30_000_000;

/// Why the metadata log does not take a group of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotTaken {
    /// The journal has no room now, and was asked to make some.
    NoRoom,
    Refused,
}

/// A file of the metadata folder being written.
pub enum FileOp {
    /// The folder has journals.
    Format,
    /// The epoch that this process leads.
    QuorumState,
    /// A snapshot, which makes an older one superfluous once it is on the device.
    Snapshot(Snapshotting),
    /// The names of all snapshots.
    Snapshots,
}

/// A snapshot being written.
pub struct Snapshotting {
    name: String,
    /// Of the log that is in it and not in the one before.
    bytes: u64,
    begun_ms: i64,
}

/// The newest, and the one that is read when it is damaged.
const SNAPSHOTS_KEPT: usize = 2;
const SNAPSHOT_RETRY_US: u64 = 10_000_000;

impl Metadata {
    pub fn new(
        controller: Controller,
        replay: Replay,
        registration: Registration,
        shards: u16,
        unsnapshotted: Unsnapshotted,
    ) -> Metadata {
        Metadata {
            controller,
            replay,
            broker_epoch: -1,
            publish_from: Offset::MAX,
            unpublished: VecDeque::new(),
            registration,
            waiting: VecDeque::new(),
            undecided: VecDeque::new(),
            room_wanted: 0,
            held: vec![-1; shards.into()],
            has_failed: false,
            bytes_since_snapshot: unsnapshotted.bytes,
            snapshot_ms: unsnapshotted.since_ms,
            is_snapshotting: false,
            snapshot_retry_us: 0,
        }
    }

    /// The offset up to which every shard acts on the metadata.
    pub fn held_by_all(&self) -> Offset {
        self.held.iter().min().copied().unwrap_or(-1)
    }
}

impl Shard {
    /// Decides an admin request, in its turn. Only the controller's shard is asked.
    pub(super) fn serve_admin(&mut self, asker: Asker, request: AdminRequest) {
        let deadline_us = self.now.mono_us + UNDECIDED_US;
        let undecided = Undecided {
            asker,
            request,
            deadline_us,
        };
        match &mut self.metadata {
            Some(metadata) if !metadata.undecided.is_empty() => metadata.undecided.push_back(undecided),
            _ => self.decide(undecided),
        }
    }

    /// Room may have come back.
    pub(super) fn decide_waiting(&mut self) {
        for _ in 0..self.undecided_count() {
            let metadata = self.metadata.as_mut().expect("there are some");
            let next = metadata.undecided.pop_front().expect("there are some");
            let count = metadata.undecided.len();
            self.decide(next);
            if self.undecided_count() > count {
                return;
            }
        }
    }

    pub(super) fn undecided_count(&self) -> usize {
        self.metadata.as_ref().map_or(0, |metadata| metadata.undecided.len())
    }

    /// What a group of metadata records waits for, in bytes of the journal.
    pub(super) fn metadata_room_wanted(&self) -> u64 {
        self.metadata.as_ref().map_or(0, |metadata| metadata.room_wanted)
    }

    fn decide(&mut self, undecided: Undecided) {
        let asker = undecided.asker;
        let node_id = self.config.broker.node_id;
        let Some(metadata) = self.metadata.as_mut().filter(|metadata| !metadata.has_failed) else {
            return self.answer(asker, Answer::Admin(Box::new(AdminReply::Unavailable)));
        };
        let image = metadata.replay.image().clone();
        let controller = &mut metadata.controller;
        let (records, reply) = match &undecided.request {
            AdminRequest::CreateTopics(body) => split(controller.create_topics(&image, body), AdminReply::CreateTopics),
            AdminRequest::DeleteTopics(body, version) => split(
                controller.delete_topics(&image, body, *version),
                AdminReply::DeleteTopics,
            ),
            AdminRequest::CreatePartitions(body) => {
                split(controller.create_partitions(&image, body), AdminReply::CreatePartitions)
            }
            AdminRequest::AlterConfigs(body) => split(controller.alter_configs(&image, body), AdminReply::AlterConfigs),
            AdminRequest::IncrementalAlterConfigs(body) => split(
                controller.incremental_alter_configs(&image, body),
                AdminReply::IncrementalAlterConfigs,
            ),
            AdminRequest::AutoCreate(names) => split(controller.auto_create(&image, names), AdminReply::AutoCreate),
            AdminRequest::ProducerIds => {
                let epoch = image.brokers.get(&node_id).map_or(-1, |broker| broker.epoch);
                let decision = controller.allocate_producer_ids(&image, node_id, epoch);
                split(decision, |reply| {
                    AdminReply::ProducerIds(reply.map(|block| block.first))
                })
            }
        };
        self.metadata.as_mut().expect("seen above").room_wanted = 0;
        match self.append_metadata(&records) {
            Ok(()) => {}
            Err(NotTaken::NoRoom) if undecided.deadline_us > self.now.mono_us && !self.is_stopping() => {
                let metadata = self.metadata.as_mut().expect("seen above");
                return metadata.undecided.push_front(undecided);
            }
            Err(_) => {
                self.metadata.as_mut().expect("seen above").room_wanted = 0;
                return self.answer(asker, Answer::Admin(Box::new(AdminReply::Unavailable)));
            }
        }
        // Even an answer that changes nothing was made on what may not be durable yet.
        let metadata = self.metadata.as_mut().expect("seen above");
        let offset = metadata.replay.next_offset();
        metadata.waiting.push_back((offset, asker, reply));
        self.answer_admins();
    }

    /// Appends one group of records and applies them, all or none.
    pub(super) fn append_metadata(&mut self, records: &[MetadataRecord]) -> Result<(), NotTaken> {
        if records.is_empty() {
            return Ok(());
        }
        let now_ms = self.clock.time_ms(self.now);
        let level = self
            .metadata
            .as_ref()
            .expect("the controller's shard has the log")
            .replay
            .image()
            .metadata_version();
        let batches = match batch::encode(records, level, now_ms, self.config.metadata_batch_bytes) {
            Ok(batches) => batches,
            Err(error) => {
                tracing::error!("a decision cannot be written as records: {error}");
                return Err(NotTaken::Refused);
            }
        };
        self.stats.metadata_groups_split += u64::from(batches.len() > 1);
        self.metadata_log_takes(&batches)?;
        for (index, batch) in batches.into_iter().enumerate() {
            if !self.append_metadata_batch(batch) {
                assert_eq!(index, 0, "a group of metadata records was appended in part");
                return Err(NotTaken::Refused);
            }
        }
        Ok(())
    }

    /// Of a group that has begun, nothing may be refused any more: what comes after it would be part of its transaction.
    fn metadata_log_takes(&mut self, batches: &[Batch]) -> Result<(), NotTaken> {
        let largest = batches.iter().map(|batch| batch.size_bytes as u64).max().unwrap_or(0);
        let bytes = journal::group_bytes(batches.iter().map(|batch| batch.size_bytes as u64));
        let log = self.partition(LogId::METADATA).log.config();
        let journal = self.journal.config();
        if largest > log.segment_bytes || bytes > journal.payload_bytes_max() {
            tracing::error!(
                "a request's metadata records are refused: together they take {bytes} bytes, the largest batch of them \
                 {largest}; the journal takes {} at once, a segment {}. Ask for less in one request, or raise \
                 tidemill.journal.bytes or metadata.log.segment.bytes",
                journal.payload_bytes_max(),
                log.segment_bytes
            );
            return Err(NotTaken::Refused);
        }
        if !self.metadata_log_takes_records() {
            return Err(NotTaken::Refused);
        }
        if !self.metadata_log_has_room(bytes) {
            self.stats.metadata_groups_delayed += 1;
            // Until then producers leave that much alone: they would take what comes free for ever.
            self.metadata.as_mut().expect("it has the log").room_wanted = bytes;
            self.want_room();
            return Err(NotTaken::NoRoom);
        }
        Ok(())
    }

    /// The metadata log may use what the journal keeps free for internal topics; it never waits for memory.
    pub(super) fn metadata_log_has_room(&self, bytes: u64) -> bool {
        self.metadata_log_takes_records() && self.journal.room() >= bytes
    }

    /// Otherwise waiting brings nothing before a restart.
    fn metadata_log_takes_records(&self) -> bool {
        let log = LogId::METADATA;
        self.partition(log).is_online() && !self.parking.holds(log) && self.commit.failed().is_none()
    }

    /// The journal was asked for room.
    pub(super) fn append_metadata_batch(&mut self, batch: Batch) -> bool {
        let log = LogId::METADATA;
        let partition = self
            .partitions
            .get_mut(&log)
            .expect("the controller's shard has the metadata log");
        let epoch = partition.replica.leader_epoch;
        let appended = match partition.log.append_leader(self.now, batch, epoch, &mut self.arena) {
            Ok(appended) => appended,
            Err(error) => {
                tracing::error!("the metadata log refuses an append: {error}");
                return false;
            }
        };
        let stamped = StampedBatch::check(appended.bytes.clone()).expect("what the log took is a batch");
        self.journal_append(log, appended, true);
        let metadata = self.metadata.as_mut().expect("the caller has it");
        metadata
            .replay
            .apply(&stamped)
            .expect("what the controller decides can be applied");
        for complaint in metadata.replay.take_complaints() {
            tracing::warn!("{complaint}");
        }
        metadata.bytes_since_snapshot += stamped.size_bytes as u64;
        let image = Arc::new(metadata.replay.image().clone());
        metadata.unpublished.push_back((stamped.next_offset(), image));
        true
    }

    /// More of the metadata log is durable: shards may act on it.
    pub(super) fn metadata_durable(&mut self) {
        let durable = self.partition(LogId::METADATA).log.durable();
        self.mark_if_registered(durable);
        let Some(metadata) = self
            .metadata
            .as_mut()
            .filter(|metadata| metadata.publish_from <= durable)
        else {
            return;
        };
        let mut newest = None;
        while metadata
            .unpublished
            .front()
            .is_some_and(|(offset, _)| *offset <= durable)
        {
            newest = metadata.unpublished.pop_front();
        }
        if let Some((_, image)) = newest {
            self.publish(image, Arc::default());
        }
        self.snapshot_if_due();
    }

    /// `deleted`: see [`Message::Image`].
    pub(super) fn publish(&mut self, image: Arc<Image>, deleted: Arc<BTreeSet<TopicId>>) {
        for shard in (0..self.config.shards)
            .map(ShardId)
            .filter(|&shard| shard != CONTROLLER)
        {
            let (image, deleted) = (image.clone(), deleted.clone());
            self.tell(shard, Message::Image { image, deleted });
        }
        self.topics_deleted(deleted);
        self.image_published(image);
    }

    /// A shard acts on the metadata up to `offset`.
    pub(super) fn image_held(&mut self, shard: ShardId, offset: Offset) {
        if let Some(metadata) = &mut self.metadata {
            metadata.held[usize::from(shard.0)] = offset;
            self.elect_if_recovered();
            self.answer_admins();
        }
    }

    fn answer_admins(&mut self) {
        loop {
            let metadata = self.metadata.as_mut().expect("the caller has it");
            let held = metadata.held_by_all();
            match metadata.waiting.front() {
                Some((offset, ..)) if *offset <= held => {
                    let (_, asker, reply) = metadata.waiting.pop_front().expect("it is there");
                    self.answer(asker, Answer::Admin(Box::new(reply)));
                }
                _ => return,
            }
        }
    }

    /// The journal failed: nothing that waits will become durable.
    pub(super) fn metadata_failed(&mut self) {
        let Some(metadata) = &mut self.metadata else { return };
        metadata.has_failed = true;
        metadata.unpublished.clear();
        metadata.room_wanted = 0;
        let undecided = std::mem::take(&mut metadata.undecided);
        let waiting = std::mem::take(&mut metadata.waiting)
            .into_iter()
            .map(|(_, asker, _)| asker);
        for asker in waiting.chain(undecided.into_iter().map(|undecided| undecided.asker)) {
            self.answer(asker, Answer::Admin(Box::new(AdminReply::Unavailable)));
        }
    }

    pub(super) fn snapshot_if_due(&mut self) {
        let Some(durable) = (self.partitions.get(&LogId::METADATA)).map(|partition| partition.log.durable()) else {
            return;
        };
        let Some(metadata) = &mut self.metadata else { return };
        let age_ms = self.now.wall_ms - metadata.snapshot_ms;
        let is_due = snapshot::snapshot_due(&self.config.broker, metadata.bytes_since_snapshot, age_ms);
        let is_waiting = metadata.is_snapshotting || self.now.mono_us < metadata.snapshot_retry_us;
        if is_waiting || !is_due || metadata.replay.in_transaction() {
            return;
        }
        // Of what is durable, not of what was only appended, and never will be once the journal has failed.
        if metadata.replay.next_offset() > durable {
            return;
        }
        let (id, content) = match snapshot::encode_snapshot(&metadata.replay, self.now.wall_ms) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                metadata.snapshot_retry_us = self.now.mono_us + SNAPSHOT_RETRY_US;
                return tracing::error!("the metadata cannot be written as a snapshot: {error}");
            }
        };
        metadata.is_snapshotting = true;
        let snapshotting = Snapshotting {
            name: id.file_name(),
            bytes: metadata.bytes_since_snapshot,
            begun_ms: self.now.wall_ms,
        };
        let path = format!("{METADATA_DIR}/{}", snapshotting.name);
        self.disk(
            Op::Metadata(FileOp::Snapshot(snapshotting)),
            DiskOp::ReplaceFile { path, content },
        );
    }

    pub(super) fn metadata_file_done(&mut self, op: FileOp, result: Result<DiskReply, DiskError>) {
        let snapshot = match op {
            FileOp::Format => return self.format_written(result),
            FileOp::QuorumState => return self.elected(result),
            FileOp::Snapshots => return self.snapshots_listed(result),
            FileOp::Snapshot(snapshot) => snapshot,
        };
        let Some(metadata) = &mut self.metadata else { return };
        let name = snapshot.name;
        metadata.is_snapshotting = false;
        match result {
            Ok(_) => {
                tracing::info!("wrote the metadata snapshot {name}");
                metadata.bytes_since_snapshot -= snapshot.bytes;
                metadata.snapshot_ms = snapshot.begun_ms;
                self.stats.metadata_snapshots += 1;
                // Otherwise the next one does.
                if !self.parking.holds(LogId::METADATA) {
                    self.list_snapshots();
                }
            }
            Err(error) => {
                metadata.snapshot_retry_us = self.now.mono_us + SNAPSHOT_RETRY_US;
                tracing::warn!("cannot write the metadata snapshot {name}, will try again: {error}");
            }
        }
    }

    /// Which snapshots there are decides where the log may start and which of them may go: asked when there is a new one, and
    /// again when the start is on the device.
    pub(super) fn list_snapshots(&mut self) {
        let path = METADATA_DIR.to_string();
        self.disk(Op::Metadata(FileOp::Snapshots), DiskOp::List { path });
    }

    fn snapshots_listed(&mut self, result: Result<DiskReply, DiskError>) {
        let entries = match result {
            Ok(DiskReply::Entries(entries)) => entries,
            Ok(other) => unreachable!("a folder's names, not {other:?}"),
            Err(error) => return tracing::warn!("cannot list the metadata snapshots, old ones stay: {error}"),
        };
        let mut snapshots: Vec<SnapshotId> = (entries.iter())
            .filter_map(|entry| SnapshotId::parse(&entry.name))
            .collect();
        snapshots.sort_unstable();
        let kept = snapshots.split_off(snapshots.len().saturating_sub(SNAPSHOTS_KEPT));
        let Some(oldest) = kept.first() else { return };
        // The log goes on from the oldest that is kept, so that this one does when the newest turns out to be damaged.
        if oldest.end_offset > self.partition(LogId::METADATA).log.durable_start() {
            return self.raise_start(LogId::METADATA, oldest.end_offset);
        }
        for old in snapshots {
            let path = format!("{METADATA_DIR}/{}", old.file_name());
            self.stats.metadata_snapshots_removed += 1;
            self.disk(Op::Forgotten, DiskOp::RemoveFile { path });
        }
    }

    /// Durable metadata arrived: this shard acts on it from here on.
    pub(super) fn image_published(&mut self, image: Arc<Image>) {
        let offset = image.reached.offset + 1;
        let before = std::mem::replace(&mut self.image, image);
        if matches!(self.stage, super::Stage::Booting(_)) {
            // Said to be held once its logs are recovered.
            return self.boot_image();
        }
        if self.config.id == CONTROLLER {
            tell_of_topics(&Delta::between(&before, &self.image));
        }
        self.follow_image(&before);
        self.serve_if_registered();
        if self.config.id == CONTROLLER {
            self.image_held(CONTROLLER, offset);
        } else {
            self.tell(CONTROLLER, Message::ImageHeld { offset });
        }
    }
}

/// `1 partition`, `2 partitions`.
fn counted(partitions: usize) -> String {
    match partitions {
        1 => "1 partition".into(),
        _ => format!("{partitions} partitions"),
    }
}

/// One line for each topic that was created, grown or deleted; one for all beyond [`TOPICS_TOLD_MAX`].
fn tell_of_topics(delta: &Delta) {
    let mut lines: Vec<String> = Vec::new();
    let deleted = delta.deleted.iter();
    lines.extend(deleted.map(|topic| {
        let partitions = counted(topic.partitions.len());
        format!("topic {} ({}) deleted, with {partitions}", topic.name, topic.id)
    }));
    for (at, created) in delta.created.iter().enumerate() {
        let topic = &created.topic;
        if at > 0 && delta.created[at - 1].topic.id == topic.id {
            continue;
        }
        let (partitions, is_new) = (counted(topic.partitions.len()), created.partition == 0);
        lines.push(match is_new {
            true => format!("topic {} ({}) created, with {partitions}", topic.name, topic.id),
            false => format!("topic {} has {partitions} now", topic.name),
        });
    }
    let more = lines.len().saturating_sub(TOPICS_TOLD_MAX);
    lines
        .iter()
        .take(TOPICS_TOLD_MAX)
        .for_each(|line| tracing::info!("{line}"));
    if more > 0 {
        tracing::info!("{more} more topics were created, grown or deleted at the same time");
    }
}

/// What one request changes in more topics than these is one line.
const TOPICS_TOLD_MAX: usize = 20;

fn split<R>(decision: Decision<R>, reply: impl FnOnce(R) -> AdminReply) -> (Vec<MetadataRecord>, AdminReply) {
    (decision.records, reply(decision.reply))
}
