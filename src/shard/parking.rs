//! A log that is offline holds nobody up: what only the journal and the memory have of it is put aside, in files beside the
//! ring, and both are free for the other logs.
//!
//! A set of files counts once its part 0 is there, which is written last. A start gives it to its log before what the ring
//! still has. Then the log writes everything to its own files, the set goes, and only then it takes records again: what is in
//! a set reaches to the end of its log, as what is in the ring does. Every new set has a new generation: what counts is never
//! written over, and what was put aside before is in it too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::journal::parked::{self, Part, PartName};
use crate::journal::{Body, Frame, Ticket};
use crate::types::{Entry, LogId, Offset};

use super::boot::BootOp;
use super::disk::Op;
use super::effect::{DiskError, DiskOp, DiskReply, READ_FILE_BYTES_MAX};
use super::partition::Partition;
use super::{Shard, Stage};

/// What could not be put aside is tried again after this long, in new files.
const RETRY_US: u64 = 1_000_000;

#[derive(Default)]
pub struct Parking {
    logs: BTreeMap<LogId, Parked>,
    /// Logs that are offline; each is put aside, unless there is nothing of it.
    wanted: BTreeSet<LogId>,
    retry_at_us: u64,
    /// Somebody was told that a log cannot be put aside.
    is_told: bool,
}

/// The files of one log.
#[derive(Default)]
struct Parked {
    files: BTreeSet<PartName>,
    /// The set that counts, if any, and the offset that it ends at.
    counts: Option<(u64, Offset)>,
    /// The set that was begun last, with the log's newest control frame then: while there is no later one, it is the same set
    /// when it is tried again.
    tried: Option<(u64, Ticket)>,
    stage: ParkedStage,
}

#[derive(Default)]
enum ParkedStage {
    #[default]
    Idle,
    /// This start cannot read what is there: it is left alone, and what the journal has stays in the journal.
    Unreadable,
    Writing {
        generation: u64,
        end: Offset,
        /// From the first part to the last, which is written first.
        left: Vec<Part>,
        /// The log's newest control frame when this was begun: a later one is not in it.
        control: Ticket,
    },
    Removing {
        left: VecDeque<DiskOp>,
        /// The part 0s among them.
        first: Vec<PartName>,
    },
}

impl Parking {
    /// Nothing is in files that a clean stop would leave behind.
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    pub fn is_removing(&self) -> bool {
        let is_removing = |parked: &Parked| matches!(parked.stage, ParkedStage::Removing { .. });
        self.logs.values().any(is_removing)
    }

    /// There are files of the log, or a power cut could bring them back: it takes no records, and its start stays.
    pub fn holds(&self, log: LogId) -> bool {
        !self.logs.is_empty() && self.logs.contains_key(&log)
    }

    /// Logs that are to write what a set holds to their own files.
    pub fn kept(&self) -> impl Iterator<Item = LogId> + '_ {
        let kept = self.logs.iter().filter(|(_, parked)| parked.counts.is_some());
        kept.map(|(log, _)| *log)
    }

    pub fn is_writing(&self, log: LogId) -> bool {
        (self.logs.get(&log)).is_some_and(|parked| matches!(parked.stage, ParkedStage::Writing { .. }))
    }

    /// Everything of the log, which is offline, is in its set: nothing of it is in the journal or in memory.
    pub fn is_aside(&self, log: LogId) -> bool {
        !self.wanted.contains(&log) && self.logs.get(&log).is_some_and(|parked| parked.counts.is_some())
    }

    /// Logs whose files this start cannot read: what the journal has of them stays there.
    pub fn unreadable(&self) -> impl Iterator<Item = LogId> + '_ {
        let unreadable = |parked: &Parked| matches!(parked.stage, ParkedStage::Unreadable);
        let logs = self.logs.iter().filter(move |(_, parked)| unreadable(parked));
        logs.map(|(log, _)| *log)
    }

    pub fn want(&mut self, log: LogId) {
        self.wanted.insert(log);
    }
}

/// Everything that `partition` has and its files lack: what the journal carries, and what is put aside.
pub fn restated(partition: &Partition) -> Vec<Frame> {
    let log = partition.log.id();
    let mut frames = vec![Frame {
        log,
        body: Body::Start {
            offset: partition.log.start(),
        },
    }];
    // Earlier ones are in the batches below; the newest may have none yet.
    let epochs = partition.log.epochs().entries();
    let unapplied = epochs.partition_point(|entry| entry.start < partition.log.applied());
    frames.extend(epochs[unapplied..].iter().map(|entry| Frame {
        log,
        body: Body::Epoch {
            epoch: entry.epoch,
            start_offset: entry.start,
        },
    }));
    frames.extend(partition.log.carry().into_iter().map(|carried| Frame {
        log,
        body: Body::Append(carried.into()),
    }));
    frames
}

impl Shard {
    // -- A start

    /// The data folder's names: which of this shard's logs were put aside.
    pub(super) fn find_parked(&mut self, root: &[Entry]) {
        for entry in root.iter().filter(|entry| !entry.is_dir) {
            let written = entry.name.strip_suffix(".tmp").unwrap_or(&entry.name);
            let Some(name) = PartName::parse(written).filter(|name| self.owner(name.log) == self.config.id) else {
                continue;
            };
            if written == entry.name {
                self.parking.logs.entry(name.log).or_default().files.insert(name);
            } else {
                // The process ended while it was written.
                let path = entry.name.clone();
                self.disk(Op::Forgotten, DiskOp::RemoveFile { path });
            }
        }
    }

    /// The metadata is known: files of a topic that it does not know are left for a person to look at.
    pub(super) fn leave_strange_parked(&mut self) {
        let image = self.image.clone();
        let is_strange = |log: &LogId| *log != LogId::METADATA && image.partition(*log).is_none();
        let strange = self.parking.logs.extract_if(.., |log, _| is_strange(log));
        for name in strange.flat_map(|(_, parked)| parked.files) {
            tracing::warn!(
                "{}/{name} holds records of a topic that does not exist (any more): it is left alone, remove it when nobody \
                 misses them",
                self.config.data_dir
            );
        }
    }

    /// Reads the set of `log` that counts, then goes on with the log's own files; false when there is none.
    pub(super) fn read_parked(&mut self, log: LogId) -> bool {
        let Some(parked) = self.parking.logs.get(&log) else {
            return false;
        };
        // Without its part 0 the newest was not complete: the one before it counts, and the journal has the rest.
        let Some(first) = parked.files.iter().rev().find(|name| name.part == 0).copied() else {
            self.remove_parked(log);
            return false;
        };
        self.read_part(first, Vec::new());
        true
    }

    fn read_part(&mut self, name: PartName, frames: Vec<Frame>) {
        let path = name.to_string();
        self.disk(Op::Boot(BootOp::LogParked { name, frames }), DiskOp::ReadFile { path });
    }

    pub(super) fn part_read(&mut self, name: PartName, mut frames: Vec<Frame>, result: Result<DiskReply, DiskError>) {
        let part = match result {
            Ok(DiskReply::Bytes(bytes)) => Part::decode(&bytes).map_err(|error| error.to_string()),
            Ok(other) => unreachable!("bytes, not {other:?}"),
            Err(error) => Err(error.to_string()),
        };
        let part = part.and_then(|part| match part.name == name {
            true => Ok(part),
            false => Err(format!("it is {}", part.name)),
        });
        match part {
            Ok(part) => {
                frames.extend(part.frames);
                let next = PartName {
                    part: name.part + 1,
                    ..name
                };
                match next.part < part.parts {
                    true => self.read_part(next, frames),
                    false => self.parked_read(name, frames),
                }
            }
            Err(why) => self.parked_unusable(name, &why),
        }
    }

    fn parked_unusable(&mut self, name: PartName, why: &str) {
        let parked = self.parking.logs.get_mut(&name.log).expect("it was found");
        parked.stage = ParkedStage::Unreadable;
        let why = format!(
            "{name}, which holds acknowledged records that its segments lack, cannot be used ({why}). Put the file back; \
             removing every {}{}.* gives these records up",
            parked::PREFIX,
            name.log
        );
        self.log_failed(name.log, why);
    }

    fn parked_read(&mut self, name: PartName, frames: Vec<Frame>) {
        let end = frames.iter().rev().find_map(|frame| match &frame.body {
            Body::Append(append) => Some(append.last_offset + 1),
            Body::Restate { base, .. } => Some(*base),
            _ => None,
        });
        let Some(end) = end else {
            return self.parked_unusable(name, "nothing says where its records begin");
        };
        let parked = self.parking.logs.get_mut(&name.log).expect("it was found");
        parked.counts = Some((name.generation, end));
        self.stats.parked_read += 1;
        self.replay_first(name.log, frames, end);
        self.list_log(name.log);
    }

    // -- Putting aside

    /// Goes on with every log that is to be put aside, or has files of its own again.
    pub(super) fn tend_parked(&mut self) {
        let may_go_on = matches!(self.stage, Stage::Serving) && self.commit.failed().is_none();
        let is_idle = self.parking.wanted.is_empty() && self.parking.logs.is_empty();
        if is_idle || !may_go_on || self.now.mono_us < self.parking.retry_at_us {
            return;
        }
        let logs: BTreeSet<LogId> = self
            .parking
            .wanted
            .iter()
            .chain(self.parking.logs.keys())
            .copied()
            .collect();
        for log in logs {
            match self.partitions.get(&log) {
                Some(partition) if partition.is_online() => self.settle_parked(log),
                Some(_) => self.park(log),
                // Its topic was deleted: what could not be removed then is tried again.
                None => self.unpark(log),
            }
        }
    }

    /// Puts a log aside that is offline, once nothing of it is on its way to the disk.
    fn park(&mut self, log: LogId) {
        let partition = &self.partitions[&log];
        let is_busy = partition.busy > 0 || partition.saving.is_some() || self.checkpoint.is_writing(log);
        if !self.parking.wanted.contains(&log) || is_busy {
            return;
        }
        if self.journal.bytes_of(log) == 0 && partition.log.dirty_bytes() == 0 {
            self.parking.wanted.remove(&log);
            if self
                .parking
                .logs
                .get(&log)
                .is_some_and(|parked| parked.counts.is_some())
            {
                // What this start read of the set is not needed in memory.
                self.partition_mut(log).log.put_aside();
            }
            return;
        }
        let parked = self.parking.logs.entry(log).or_default();
        if matches!(parked.stage, ParkedStage::Idle) {
            let control = partition.control;
            let generation = match parked.tried {
                Some((generation, of)) if of == control => generation,
                _ => 1 + parked.files.last().map_or(0, |newest| newest.generation),
            };
            parked.tried = Some((generation, control));
            let left = parked::split(log, generation, partition.log.applied(), restated(partition));
            parked.stage = ParkedStage::Writing {
                generation,
                end: partition.log.end(),
                left,
                control,
            };
            self.write_part(log);
        }
    }

    /// The files go once the log has what is in them in its own, and a recovery point has the rest.
    fn settle_parked(&mut self, log: LogId) {
        let now = self.now;
        let (Some(parked), partition) = (self.parking.logs.get(&log), self.partition(log)) else {
            return;
        };
        if partition.saving.is_some() {
            return;
        }
        match parked.counts {
            Some((generation, end)) if partition.log.end() < end => self.set_not_taken(log, generation, end),
            Some((_, end)) if partition.log.applied() < end => {}
            Some(_) if partition.log.recovery_point_outdated() => {
                if partition.can_save() && partition.log.may_save(now) {
                    self.save_recovery_point(log);
                }
            }
            _ => self.unpark(log),
        }
    }

    /// The set has records that its log could not take from it: it is the only place that has them.
    fn set_not_taken(&mut self, log: LogId, generation: u64, end: Offset) {
        let parked = self.parking.logs.get_mut(&log).expect("a set counts");
        if !matches!(parked.stage, ParkedStage::Idle) {
            return;
        }
        parked.stage = ParkedStage::Unreadable;
        let why = format!(
            "{}{log}.{generation}.* hold acknowledged records up to offset {end} that do not fit what its segments hold, which \
             end at {}. Removing every {}{log}.* gives these records up",
            parked::PREFIX,
            self.partition(log).log.end(),
            parked::PREFIX,
        );
        self.take_offline(log, why);
    }

    fn write_part(&mut self, log: LogId) {
        let parked = self.parking.logs.get_mut(&log).expect("it is being written");
        let ParkedStage::Writing { left, .. } = &mut parked.stage else {
            unreachable!("nothing is being written")
        };
        let part = left.pop().expect("part 0 is the last");
        parked.files.insert(part.name);
        let (path, content) = (part.name.to_string(), part.encode());
        if content.len() as u64 > READ_FILE_BYTES_MAX {
            let message = format!("{path} would have {} bytes, more than a start reads", content.len());
            return self.parking_failed(log, &DiskError::Io { message });
        }
        self.disk(Op::Parking(log), DiskOp::ReplaceFile { path, content });
    }

    pub(super) fn parking_done(&mut self, log: LogId, result: Result<DiskReply, DiskError>) {
        let parked = self.parking.logs.get_mut(&log).expect("an operation is under way");
        match (&mut parked.stage, result) {
            (ParkedStage::Writing { left, .. }, Ok(_)) if !left.is_empty() => self.write_part(log),
            (ParkedStage::Writing { .. }, Ok(_)) => self.set_complete(log),
            (ParkedStage::Writing { .. }, Err(error)) => self.parking_failed(log, &error),
            (ParkedStage::Removing { left, first }, Ok(_)) => {
                match left.pop_front() {
                    // These are gone for certain by now, and not before.
                    Some(DiskOp::SyncDir { .. }) => parked.files.retain(|name| !first.contains(name)),
                    Some(DiskOp::RemoveFile { path }) => {
                        parked.files.retain(|name| name.part == 0 || name.to_string() != path);
                    }
                    _ => {}
                }
                self.remove_next(log);
            }
            (ParkedStage::Removing { .. }, Err(error)) => {
                tracing::warn!(
                    "{log} takes no records until files of it are removed that it does not need any more, which is tried again \
                     every second: {error}"
                );
                parked.stage = ParkedStage::Idle;
                self.parking.retry_at_us = self.now.mono_us + RETRY_US;
            }
            (ParkedStage::Idle | ParkedStage::Unreadable, _) => unreachable!("nothing is under way"),
        }
    }

    /// Everything of the set is on the device: the journal and the memory need not hold it any more.
    fn set_complete(&mut self, log: LogId) {
        let parked = self.parking.logs.get_mut(&log).expect("it was written");
        let ParkedStage::Writing {
            generation,
            end,
            control,
            ..
        } = std::mem::take(&mut parked.stage)
        else {
            unreachable!("a set was written")
        };
        parked.counts = Some((generation, end));
        let Some(partition) = self.partitions.get_mut(&log) else {
            // Its topic was deleted meanwhile.
            return self.remove_parked(log);
        };
        if partition.control == control {
            let (dirty, cached) = (partition.log.dirty_bytes(), partition.log.cached_bytes());
            partition.log.put_aside();
            tracing::info!(
                "{}: its records are in {}{log}.*, until a start can use its own files",
                partition.name(),
                parked::PREFIX
            );
            self.dirty_bytes -= dirty as u64;
            self.unplaced_bytes -= std::mem::take(&mut partition.unplaced_bytes);
            self.cached_bytes = self.cached_bytes.saturating_sub(cached as u64);
            self.journal.forget(log);
            self.parking.wanted.remove(&log);
            self.parking.is_told = false;
            self.stats.logs_parked += 1;
        }
        self.remove_parked(log);
        self.retry_blocked();
    }

    fn parking_failed(&mut self, log: LogId, error: &DiskError) {
        self.parking.retry_at_us = self.now.mono_us + RETRY_US;
        self.stats.parking_failed += 1;
        let parked = self.parking.logs.get_mut(&log).expect("it was being written");
        parked.stage = ParkedStage::Idle;
        if !self.partitions.contains_key(&log) {
            return self.remove_parked(log);
        }
        if !std::mem::replace(&mut self.parking.is_told, true) {
            tracing::error!(
                "the records of {log}, which is offline, cannot be put aside, which is tried again every second: {error}. Until \
                 then they take room in the journal and in memory from other partitions"
            );
        }
    }

    // -- Removing

    /// A recovery point is on the device.
    pub(super) fn parked_is_saved(&mut self, log: LogId) {
        if self.parking.holds(log) && self.partitions.get(&log).is_some_and(Partition::is_online) {
            self.settle_parked(log);
        }
    }

    /// Nothing of the log is needed there any more.
    pub(super) fn unpark(&mut self, log: LogId) {
        self.parking.wanted.remove(&log);
        if let Some(parked) = self.parking.logs.get_mut(&log) {
            parked.counts = None;
            self.remove_parked(log);
        }
    }

    /// Removes what does not count. A part 0 is gone for certain before the others of its set are removed.
    fn remove_parked(&mut self, log: LogId) {
        let Some(parked) = self.parking.logs.get_mut(&log) else {
            return;
        };
        let is_known = self.partitions.contains_key(&log) || matches!(self.stage, Stage::Booting(_));
        match parked.stage {
            ParkedStage::Idle => {}
            // Nobody misses the records of a topic that was deleted.
            ParkedStage::Unreadable if !is_known => {}
            _ => return,
        }
        let counts = parked.counts.filter(|_| is_known).map(|(generation, _)| generation);
        let files = parked.files.iter().filter(|name| Some(name.generation) != counts);
        let (first, others): (Vec<PartName>, Vec<PartName>) = files.partition(|name| name.part == 0);
        let remove = |name: PartName| DiskOp::RemoveFile { path: name.to_string() };
        let mut left: VecDeque<DiskOp> = first.iter().copied().map(remove).collect();
        if !left.is_empty() {
            left.push_back(DiskOp::SyncDir { path: String::new() });
        }
        left.extend(others.into_iter().map(remove));
        parked.stage = ParkedStage::Removing { left, first };
        self.remove_next(log);
    }

    fn remove_next(&mut self, log: LogId) {
        let parked = self.parking.logs.get_mut(&log).expect("it is being removed");
        let ParkedStage::Removing { left, .. } = &mut parked.stage else {
            unreachable!("nothing is being removed")
        };
        match left.front().cloned() {
            Some(what) => self.disk(Op::Parking(log), what),
            None => {
                parked.stage = ParkedStage::Idle;
                if parked.files.is_empty() {
                    self.parking.logs.remove(&log);
                    self.retry_blocked();
                } else if parked.counts.is_none() {
                    // Its topic was deleted meanwhile.
                    self.remove_parked(log);
                }
            }
        }
    }
}
