//! A clean stop: answer what is in flight, write every byte to its segment, and leave a folder that Kafka's tools read.

use std::collections::{BTreeSet, VecDeque};

use crate::controller::start::stop_records;
use crate::error::ErrorCode;
use crate::log::producers::encode_snapshot;
use crate::log::side_files::{self, PartitionOffset};
use crate::types::{ConnId, LogId, ShardId};

use super::disk::Op;
use super::effect::{DiskError, DiskOp, DiskReply, Effect};
use super::folders::Folder;
use super::message::{FlowId, Message, SealedLog};
use super::partition::Partition;
use super::{CONTROLLER, Flow, Shard, Stage};

/// Side files that are written at the same time.
const FILES_AT_ONCE: usize = 8;

pub struct Stopping {
    phase: Phase,
    /// Small files to write, and how many are being written.
    files: VecDeque<DiskOp>,
    in_flight: usize,
    /// Logs whose recovery point could not be written: what it was to settle stays in the journal.
    unsaved: BTreeSet<LogId>,
    /// Logs that could not be written out: the stop is not clean, their records stay in the journal.
    has_failed: bool,
}

/// What the shards have sealed; of the controller's shard. The others may be told to stop a moment before it is.
#[derive(Default)]
pub struct Sealed {
    logs: Vec<SealedLog>,
    shards: usize,
    has_failed: bool,
    /// Every shard has: none asks another anything any more, and each may end.
    is_all: bool,
}

/// In this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Requests that were begun are answered; no new one is.
    Draining,
    /// Every log is written to its segments.
    Sealing,
    /// Recovery points, so that the next start scans nothing and the journal needs no frame.
    Saving,
    /// Kafka's files of each log.
    SideFiles,
    /// The journal's last superblock.
    Journal,
    /// Until every shard has come so far: one that still answers its clients asks the others. The controller's shard counts.
    Gathering,
    /// Kafka's offsets of every log of the folder.
    Offsets,
    /// The file that says that the stop was clean, after everything that it speaks for.
    Mark,
    Done,
}

pub enum StopOp {
    File,
    Journal,
}

impl Shard {
    pub(super) fn is_stopping(&self) -> bool {
        matches!(&self.stage, Stage::Stopping(_))
    }

    pub(super) fn stop(&mut self) {
        match &self.stage {
            Stage::Serving => {}
            Stage::Booting(_) => {
                // Nothing was acknowledged; the next start does the same again.
                self.stage = Stage::Stopped;
                if self.config.id == CONTROLLER {
                    self.tell_all_sealed();
                } else {
                    let (logs, is_clean) = (Vec::new(), false);
                    self.tell(CONTROLLER, Message::Sealed { logs, is_clean });
                }
                return self.emit(Effect::Stopped { is_clean: true });
            }
            Stage::Stopping(_) | Stage::Stopped => return,
        }
        if let Some(metadata) = &self.metadata
            && metadata.broker_epoch >= 0
        {
            let records = stop_records(self.config.broker.node_id, metadata.broker_epoch);
            // Without room for it the next start finds a broker that did not say that it would go.
            let _ = self.append_metadata(&records);
        }
        self.stage = Stage::Stopping(Stopping {
            phase: Phase::Draining,
            files: VecDeque::new(),
            in_flight: 0,
            unsaved: BTreeSet::new(),
            has_failed: self.commit.failed().is_some(),
        });
        self.answer_fetches_now();
        self.decide_waiting();
        for log in self.blocked.logs() {
            self.fail_pending(log, ErrorCode::NotLeaderOrFollower, "the broker is stopping");
        }
    }

    /// Parked fetches answer with what they have.
    fn answer_fetches_now(&mut self) {
        let parked: Vec<FlowId> = self.deadlines.iter().map(|(_, flow)| *flow).collect();
        self.deadlines.clear();
        for flow in parked {
            self.fetch_expired(flow);
        }
    }

    /// How far a stop came, and what it waits for, in words.
    pub(super) fn describe_stop(&self) -> String {
        let Stage::Stopping(stopping) = &self.stage else {
            return "not stopping".into();
        };
        let open = self.partitions.values().filter(|partition| !partition.log.is_closed());
        let open: Vec<String> = open
            .map(|partition| {
                let (applied, durable, end) = (partition.log.applied(), partition.log.durable(), partition.log.end());
                let (folder, is_online) = (partition.folder, partition.is_online());
                format!(
                    "{} ({folder:?}, online {is_online}, applied {applied}, durable {durable}, end {end})",
                    partition.name()
                )
            })
            .collect();
        format!(
            "stopping: {:?}, {} files, open {open:?}",
            stopping.phase, stopping.in_flight
        )
    }

    fn stopping(&mut self) -> &mut Stopping {
        match &mut self.stage {
            Stage::Stopping(stopping) => stopping,
            _ => unreachable!("the shard is not stopping"),
        }
    }

    /// Appends are refused once their log may be closed.
    pub(super) fn is_sealing(&self) -> bool {
        matches!(&self.stage, Stage::Stopping(stopping) if stopping.phase != Phase::Draining)
    }

    /// Does what can be done now; called whenever something was completed.
    pub(super) fn stop_may_go_on(&mut self) {
        while self.is_stopping() {
            let before = self.stopping().phase;
            match before {
                Phase::Draining => self.drain(),
                Phase::Sealing => self.seal(),
                Phase::Saving => self.save(),
                Phase::SideFiles | Phase::Offsets | Phase::Mark => self.write_files(),
                Phase::Gathering => self.gather_sealed(),
                Phase::Journal => {}
                Phase::Done => return self.stopped(),
            }
            if !self.is_stopping() || self.stopping().phase == before {
                return;
            }
        }
    }

    fn drain(&mut self) {
        let is_waiting = |flow: &Flow| !matches!(flow, Flow::Administering(_));
        let has_failed = self.commit.failed().is_some();
        if !has_failed && (!self.commit.is_idle() || !self.appending.is_empty() || self.flows.values().any(is_waiting))
        {
            return;
        }
        let mut conns: Vec<ConnId> = self.connections.keys().copied().collect();
        conns.sort_unstable();
        for conn in conns {
            self.close(conn, String::new());
        }
        if has_failed {
            self.stopping().has_failed = true;
            self.stopping().phase = Phase::SideFiles;
            return;
        }
        for partition in self.partitions.values_mut() {
            partition.log.close();
        }
        // Once more, whatever was found before: nobody asks for the room during a stop.
        self.checkpoint.space_known();
        self.stopping().phase = Phase::Sealing;
    }

    fn seal(&mut self) {
        self.checkpoint_if_due();
        let open = self
            .partitions
            .values()
            .filter(|p| p.is_online() && !p.log.is_closed() && p.folder != Folder::Refused);
        if open.count() > 0 && self.commit.failed().is_none() && !self.space.is_full {
            return;
        }
        if !self.checkpoint.is_idle() {
            return;
        }
        // One that is offline was not read, or lacks a mend that its files need.
        let all = (self.partitions.values()).all(|partition| partition.is_online() && partition.log.is_closed());
        if !all {
            tracing::error!(
                "shard {}: not every log could be written out; its records stay in the journal",
                self.config.id.0
            );
            self.stopping().has_failed = true;
        }
        self.stopping().phase = Phase::Saving;
    }

    fn save(&mut self) {
        let mut wanted: Vec<LogId> = (self.partitions.iter())
            .filter(|(log, partition)| self.wants_saving(**log, partition))
            .map(|(log, _)| *log)
            .collect();
        wanted.sort_unstable();
        for log in wanted.into_iter().take(FILES_AT_ONCE) {
            if self.partition(log).saving.is_none() {
                // What changed since the last start has side files that are out of date.
                let files = self.side_files_of(log);
                self.stopping().files.extend(files);
                self.save_recovery_point(log);
            }
        }
        let is_saving =
            |(log, partition): (&LogId, &Partition)| partition.saving.is_some() || self.wants_saving(*log, partition);
        // A journal that failed will never have what a recovery point waits for.
        if self.commit.failed().is_some() || !self.partitions.iter().any(is_saving) {
            self.stopping().phase = Phase::SideFiles;
        }
    }

    fn wants_saving(&self, log: LogId, partition: &Partition) -> bool {
        let Stage::Stopping(stopping) = &self.stage else {
            return false;
        };
        let is_outdated = partition.log.is_closed() && partition.log.recovery_point_outdated();
        is_outdated && partition.can_save() && !stopping.unsaved.contains(&log)
    }

    /// Once is enough: a stop does not wait for a device that fails.
    pub(super) fn saving_failed_at_stop(&mut self, log: LogId) {
        if let Stage::Stopping(stopping) = &mut self.stage {
            stopping.unsaved.insert(log);
        }
    }

    fn side_files_of(&self, log: LogId) -> Vec<DiskOp> {
        let partition = self.partition(log);
        let dir = partition.log.dir();
        let mut files = vec![DiskOp::ReplaceFile {
            path: format!("{dir}/{}", side_files::LEADER_EPOCHS),
            content: side_files::leader_epochs(partition.log.epochs()),
        }];
        if log != LogId::METADATA && !partition.log.producers().is_empty() {
            let path = side_files::producer_snapshot_name(partition.log.end());
            let content = encode_snapshot(partition.log.producers());
            files.push(DiskOp::ReplaceFile {
                path: format!("{dir}/{path}"),
                content,
            });
        }
        files
    }

    fn write_files(&mut self) {
        loop {
            let stopping = self.stopping();
            if stopping.in_flight >= FILES_AT_ONCE {
                return;
            }
            let Some(what) = stopping.files.pop_front() else { break };
            stopping.in_flight += 1;
            self.disk(Op::Stop(StopOp::File), what);
        }
        if self.stopping().in_flight > 0 {
            return;
        }
        match self.stopping().phase {
            Phase::SideFiles => self.files_written(),
            Phase::Offsets => self.mark_clean(),
            Phase::Mark => self.stopping().phase = Phase::Done,
            other => unreachable!("no files are written in {other:?}"),
        }
    }

    fn files_written(&mut self) {
        // A start that seals at once comes here before its own two superblocks are written, and the last one follows them.
        let is_starting = self.commit.failed().is_none() && self.journal.is_starting();
        if is_starting || self.commit.is_superblock_in_flight() || self.parking.is_removing() {
            return;
        }
        // Dropped, and the metadata that says so is durable: a start makes nothing of what it does not know.
        for log in self.journal.live_logs() {
            if !self.partitions.contains_key(&log) {
                self.journal.forget(log);
            }
        }
        let last = match self.commit.failed() {
            Some(_) => None,
            None => self.journal.close(),
        };
        match last {
            Some(write) => {
                self.stopping().phase = Phase::Journal;
                let file = self.commit.ring.clone();
                let what = DiskOp::Write {
                    file,
                    position: write.position,
                    slices: vec![write.block],
                    durable: true,
                };
                self.disk(Op::Stop(StopOp::Journal), what);
            }
            None => self.shard_sealed(),
        }
    }

    fn shard_sealed(&mut self) {
        let mut logs: Vec<SealedLog> = Vec::new();
        for partition in self.partitions.values().filter(|partition| partition.log.is_closed()) {
            if partition.log.id() != LogId::METADATA {
                logs.push(SealedLog {
                    topic: partition.topic.clone(),
                    partition: partition.log.id().partition,
                    start: partition.log.start(),
                    high_watermark: partition.replica.high_watermark(),
                    recovery_point: partition.log.end(),
                });
            }
        }
        // The mark says that the journals may go: a control frame may be in there still, if it could not be settled. So may
        // what was put aside, and Kafka, which may open the folder next, would not know of it.
        let is_clean = !self.stopping().has_failed && self.journal.is_empty() && self.parking.is_empty();
        self.stopping().has_failed = !is_clean;
        self.stats.stops_clean += u64::from(is_clean);
        self.stopping().phase = Phase::Gathering;
        if self.config.id == CONTROLLER {
            self.sealed(logs, is_clean);
        } else {
            self.tell(CONTROLLER, Message::Sealed { logs, is_clean });
        }
    }

    /// A shard has written everything out.
    pub(super) fn sealed(&mut self, logs: Vec<SealedLog>, is_clean: bool) {
        self.sealed.logs.extend(logs);
        self.sealed.shards += 1;
        self.sealed.has_failed |= !is_clean;
        self.stop_may_go_on();
    }

    pub(super) fn all_sealed(&mut self) {
        self.sealed.is_all = true;
        self.stop_may_go_on();
    }

    fn tell_all_sealed(&mut self) {
        for shard in (1..self.config.shards).map(ShardId) {
            self.tell(shard, Message::AllSealed);
        }
    }

    fn gather_sealed(&mut self) {
        if self.config.id != CONTROLLER {
            if self.sealed.is_all {
                self.stopping().phase = Phase::Done;
            }
            return;
        }
        if self.sealed.shards < usize::from(self.config.shards) {
            return;
        }
        self.tell_all_sealed();
        if self.sealed.has_failed {
            self.stopping().phase = Phase::Done;
            return;
        }
        let mut logs = std::mem::take(&mut self.sealed.logs);
        logs.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let file = |name: &str, offset: fn(&SealedLog) -> i64| {
            let entry = |log: &SealedLog| PartitionOffset {
                topic: log.topic.to_string(),
                partition: log.partition,
                offset: offset(log),
            };
            let entries: Vec<PartitionOffset> = logs.iter().map(entry).collect();
            DiskOp::ReplaceFile {
                path: name.into(),
                content: side_files::offsets(&entries),
            }
        };
        let files = [
            file(side_files::RECOVERY_POINTS, |log| log.recovery_point),
            file(side_files::HIGH_WATERMARKS, |log| log.high_watermark),
            file(side_files::LOG_STARTS, |log| log.start),
        ];
        self.stopping().files.extend(files);
        self.stopping().phase = Phase::Offsets;
    }

    fn mark_clean(&mut self) {
        if self.stopping().has_failed {
            self.stopping().phase = Phase::Done;
            return;
        }
        let broker_epoch = self.metadata.as_ref().map_or(-1, |metadata| metadata.broker_epoch);
        let content = side_files::clean_shutdown(broker_epoch);
        let path = side_files::CLEAN_SHUTDOWN.to_string();
        self.stopping().files.push_back(DiskOp::ReplaceFile { path, content });
        self.stopping().phase = Phase::Mark;
    }

    pub(super) fn stop_done(&mut self, op: StopOp, result: Result<DiskReply, DiskError>) {
        if let Err(error) = result {
            tracing::error!("shard {}: the stop is not clean: {error}", self.config.id.0);
            self.stopping().has_failed = true;
        }
        match op {
            StopOp::File => {
                self.stopping().in_flight -= 1;
            }
            StopOp::Journal => self.shard_sealed(),
        }
        self.stop_may_go_on();
    }

    pub(super) fn stop_failed(&mut self) {
        self.stop_is_not_clean();
        self.stop_may_go_on();
    }

    /// If this is a stop.
    pub(super) fn stop_is_not_clean(&mut self) {
        if let Stage::Stopping(stopping) = &mut self.stage {
            stopping.has_failed = true;
        }
    }

    fn stopped(&mut self) {
        // What nobody waits for is still answered before the process may end.
        if self.ops.is_empty() {
            let is_clean = !self.stopping().has_failed && !self.sealed.has_failed;
            self.stage = Stage::Stopped;
            self.emit(Effect::Stopped { is_clean });
        }
    }
}
