//! Histories of one log on a small disk that forgets what was not synced: appends, commits, checkpoints, deletions,
//! recovery points, power cuts and starts in any order, against a list of batches that cannot forget.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use crate::config::CleanupPolicy;
use crate::record::{BatchBuilder, Codec, StampedBatch};
use crate::types::{BLOCK_BYTES, Entry, File, FileIds, LogId, Now, OPERATION_BYTES_MAX, Offset, Random, Uuid};

use super::*;

pub(super) const DIR: &str = "t-0";
pub(super) const EPOCH: LeaderEpoch = 3;

/// What a file holds now, and what it holds after the power fails.
#[derive(Clone, Default)]
pub(super) struct TestFile {
    pub live: Vec<u8>,
    pub durable: Vec<u8>,
    /// Its name is on the device.
    is_named: bool,
}

impl TestFile {
    /// On the device, with its name.
    pub fn of(content: Vec<u8>) -> TestFile {
        TestFile {
            live: content.clone(),
            durable: content,
            is_named: true,
        }
    }
}

#[derive(Clone, Default)]
pub(super) struct TestDisk {
    pub files: BTreeMap<String, TestFile>,
    /// Names that were removed and whose folder is not synced.
    removed: BTreeMap<String, TestFile>,
}

impl TestDisk {
    fn write(&mut self, path: &str, position: u64, slices: &[Bytes]) {
        assert_eq!(position % BLOCK_BYTES, 0);
        let bytes = slices.concat();
        assert!(!bytes.is_empty() && bytes.len() <= OPERATION_BYTES_MAX);
        let file = self
            .files
            .get_mut(path)
            .expect("a file is created before it is written");
        let padded = bytes.len().next_multiple_of(BLOCK_BYTES as usize);
        let end = position as usize + padded;
        if file.live.len() < end {
            file.live.resize(end, 0);
        }
        file.live[position as usize..end].fill(0);
        file.live[position as usize..][..bytes.len()].copy_from_slice(&bytes);
    }

    pub fn resize(&mut self, path: &str, len: u64) {
        let file = self.files.get_mut(path).expect("it exists");
        file.live.resize(len as usize, 0);
    }

    pub fn sync(&mut self, path: &str) {
        let file = self.files.get_mut(path).expect("it exists");
        file.durable = file.live.clone();
    }

    pub fn sync_folder(&mut self) {
        self.removed.clear();
        self.files.values_mut().for_each(|file| file.is_named = true);
    }

    pub fn remove(&mut self, path: &str) {
        if let Some(file) = self.files.remove(path).filter(|file| file.is_named) {
            self.removed.insert(path.to_string(), file);
        }
    }

    fn replace(&mut self, path: &str, content: &Bytes) {
        let file = TestFile::of(content.to_vec());
        self.files.insert(path.to_string(), file);
        // Replacing syncs the folder.
        self.sync_folder();
    }

    pub fn read(&self, file: &File, position: u64, len: usize) -> Bytes {
        assert!(position.is_multiple_of(BLOCK_BYTES) && (len as u64).is_multiple_of(BLOCK_BYTES));
        assert!(len > 0 && len <= OPERATION_BYTES_MAX);
        let live = &self.files[&*file.path].live;
        let end = (position as usize + len).min(live.len());
        Bytes::copy_from_slice(&live[(position as usize).min(end)..end])
    }

    /// The power fails: each sector that was not synced is old or new; names that were not synced are there or not.
    fn fail(&mut self, random: &mut Random) {
        for (path, file) in std::mem::take(&mut self.removed) {
            if random.below(2) == 0 {
                self.files.entry(path).or_insert(file);
            }
        }
        self.files.retain(|_, file| file.is_named || random.below(2) == 0);
        for file in self.files.values_mut() {
            if file.live == file.durable {
                continue;
            }
            let keeps_size = random.below(2) == 0;
            let len = if keeps_size {
                file.durable.len()
            } else {
                file.live.len()
            };
            let mut after = file.durable.clone();
            after.resize(len, 0);
            for (i, sector) in after.chunks_mut(512).enumerate() {
                if random.below(2) == 0 {
                    let new = file.live.get(i * 512..).unwrap_or_default();
                    let n = new.len().min(sector.len());
                    sector[..n].copy_from_slice(&new[..n]);
                }
            }
            file.live = after.clone();
            file.durable = after;
        }
    }

    fn list(&self) -> Vec<Entry> {
        let entry = |(path, file): (&String, &TestFile)| Entry {
            name: path.strip_prefix("t-0/").expect("one folder").to_string(),
            is_dir: false,
            size_bytes: file.live.len() as u64,
        };
        self.files.iter().map(entry).collect()
    }
}

/// A batch that was appended.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub base: Offset,
    pub next: Offset,
    pub bytes: Bytes,
    pub timestamps: Vec<i64>,
}

pub(super) struct World {
    pub disk: TestDisk,
    pub log: Log,
    pub files: FileIds,
    pub arena: BytesMut,
    pub now: Now,
    pub random: Random,
    /// The journal: frames, of which the first `durable_frames` survive.
    pub frames: Vec<Replay>,
    pub durable_frames: usize,
    pub batches: Vec<Written>,
    /// What a client was told.
    pub acknowledged: Offset,
    /// What the metadata says.
    pub epoch_max: LeaderEpoch,
    pub durable_start: Offset,
    /// Nothing from here on was to be deleted.
    pub start_max: Offset,
    pub point: Option<RecoveryPoint>,
    pub sequence: i32,
    /// Segments or the recovery point were taken away: producers need not be what they were.
    pub producers_may_differ: bool,
    /// Nobody but Kafka wrote the folder.
    pub is_kafkas: bool,
}

fn replayed(batch: Appended) -> Replay {
    Replay::Append(ReplayedAppend {
        segment_base: batch.segment_base,
        position: batch.position,
        base_offset: batch.base_offset,
        last_offset: batch.last_offset,
        bytes: batch.bytes,
    })
}

fn config(segment_bytes: u64) -> LogConfig {
    LogConfig {
        segment_bytes,
        segment_ms: i64::MAX,
        segment_jitter_ms: 0,
        index_interval_bytes: 3000,
        retention_ms: None,
        retention_bytes: None,
        cleanup_policy: CleanupPolicy::Delete,
    }
}

fn id() -> LogId {
    LogId {
        topic: Uuid(*b"0123456789abcdef"),
        partition: 0,
    }
}

impl World {
    pub fn new(seed: u64) -> World {
        World::with_segments(seed, 40_000)
    }

    pub fn with_segments(seed: u64, segment_bytes: u64) -> World {
        let now = Now {
            mono_us: 1,
            wall_ms: 1_000_000,
        };
        let mut world = World {
            disk: TestDisk::default(),
            log: Log::create(id(), "t-0", DIR, config(segment_bytes), now),
            files: FileIds::default(),
            arena: BytesMut::new(),
            now,
            random: Random::new(seed),
            frames: Vec::new(),
            durable_frames: 0,
            batches: Vec::new(),
            acknowledged: 0,
            epoch_max: EPOCH,
            durable_start: 0,
            start_max: 0,
            point: None,
            sequence: 0,
            producers_may_differ: false,
            is_kafkas: false,
        };
        assert!(world.log.become_leader(EPOCH));
        let start_offset = 0;
        world.frames.push(Replay::Epoch {
            epoch: EPOCH,
            start_offset,
        });
        world
    }

    /// The producer goes on where the log says, or anew when it was forgotten.
    pub fn follow_sequence(&mut self) {
        let producer = self.log.producers().get(9);
        self.sequence = producer.map_or(0, |producer| producer.last_sequence() + 1);
    }

    pub fn append(&mut self, records: usize, value_bytes: usize) {
        // Few enough to leave the sizes what they are asked to be.
        let codec = if records > 3 { Codec::Lz4 } else { Codec::None };
        let mut builder = BatchBuilder::new().producer(9, 0, self.sequence).compression(codec);
        let mut timestamps = Vec::new();
        for _ in 0..records {
            let timestamp = self.now.wall_ms + self.random.below(500) as i64;
            timestamps.push(timestamp);
            builder.push(timestamp, None, Some(&vec![records as u8; value_bytes / records]), &[]);
        }
        self.now.wall_ms += 10;
        let batch = builder.build_checked();
        let appended = self.log.append_leader(self.now, batch, EPOCH, &mut self.arena).unwrap();
        self.sequence += records as i32;
        self.batches.push(Written {
            base: appended.base_offset,
            next: appended.last_offset + 1,
            bytes: appended.bytes.clone(),
            timestamps,
        });
        self.frames.push(replayed(appended));
    }

    pub fn commit(&mut self) {
        self.durable_frames = self.frames.len();
        self.acknowledged = self.log.end();
        self.log.committed(self.acknowledged);
        self.durable_start = self.log.start();
        self.log.start_is_durable(self.durable_start);
        self.save_point_if_durable();
    }

    /// Some frames of the front are not needed any more: what a carried set says once more, if the ring has come so far,
    /// and what is in the log's files.
    pub fn trim_journal(&mut self) {
        let durable = &self.frames[..self.durable_frames];
        let set = durable
            .iter()
            .rposition(|frame| matches!(frame, Replay::Restate { .. }));
        if let Some(set) = set.filter(|_| self.random.below(2) == 0) {
            self.frames.drain(..set);
            self.durable_frames -= set;
        }
        let applied = self.log.applied();
        let settled = !self.log.has_unsaved_control() && self.point.is_none() && !self.log.is_saving();
        let frames = &self.frames[..self.durable_frames];
        let is_cut = |i: usize, base: Offset| {
            frames[i..]
                .iter()
                .any(|frame| matches!(frame, Replay::Truncate { to } if *to <= base))
        };
        let needed = frames.iter().enumerate().take_while(|(i, frame)| match frame {
            Replay::Append(append) => append.last_offset < applied || is_cut(*i, append.base_offset),
            Replay::Restate { .. } => true,
            _ => settled,
        });
        let gone = needed.count();
        self.frames.drain(..gone);
        self.durable_frames -= gone;
    }

    /// Writes what replay needs once more at the end. The older frames are in the ring until it has come round.
    pub fn carry(&mut self) {
        if self.log.has_unsaved_control() || self.log.is_saving() {
            return;
        }
        let carried = self.log.carry();
        let base = self.log.applied();
        self.frames.push(Replay::Restate { base });
        self.frames.extend(carried.into_iter().map(replayed));
        self.commit();
    }

    /// Does the first `parts` parts of the next checkpoint; true when that was all of it.
    pub fn checkpoint(&mut self, bytes_max: usize, with_tail: bool, mut parts: usize) -> bool {
        let step = match with_tail {
            true => self.log.checkpoint_tail(bytes_max, &mut self.files),
            false => self.log.checkpoint(bytes_max, &mut self.files),
        };
        let Some(step) = step else {
            return true;
        };
        let path = &*step.file.path;
        let mut part = || {
            parts = parts.saturating_sub(1);
            parts > 0
        };
        if step.reserve.is_some() {
            self.disk.files.entry(path.to_string()).or_default();
        }
        if let Some(len) = step.extend {
            if !part() {
                return false;
            }
            self.disk.resize(path, len);
        }
        for write in &step.writes {
            if !part() {
                return false;
            }
            self.disk.write(path, write.position, &write.slices);
        }
        if let Some(len) = step.truncate {
            if !part() {
                return false;
            }
            self.disk.resize(path, len);
        }
        if !part() {
            return false;
        }
        self.disk.sync(path);
        if step.sync_folder {
            if !part() {
                return false;
            }
            self.disk.sync_folder();
        }
        self.log.checkpointed(&step);
        true
    }

    pub fn take_point(&mut self) {
        if self.point.is_none() && !self.log.is_saving() {
            self.point = Some(self.log.recovery_point(self.now));
        }
        self.save_point_if_durable();
    }

    pub fn save_point_if_durable(&mut self) {
        if let Some(point) = self.point.take_if(|point| point.needs_durable <= self.acknowledged) {
            assert!(self.log.recovery_point_holds(&point));
            for base in &point.indexes {
                if let Some((path, content)) = self.log.index_file(*base) {
                    self.disk.replace(&path, &content);
                    self.log.index_file_saved(*base);
                }
            }
            self.disk.replace(&point.path, &point.content);
            self.log.recovery_point_saved(&point);
            for path in self.log.take_kafka_indexes() {
                self.disk.remove(&path);
            }
        }
    }

    pub fn raise_start(&mut self, offset: Offset) {
        if offset <= self.log.durable() && self.log.raise_start(offset) {
            self.frames.push(Replay::Start { offset });
            self.start_max = self.start_max.max(offset);
        }
    }

    pub fn delete(&mut self) {
        for file in self.log.take_deleted(2) {
            self.disk.remove(&file.path);
            self.disk.remove(&index_path(&file.path));
        }
    }

    pub fn clean_stop(&mut self) {
        self.commit();
        self.log.close();
        while !self.log.is_closed() {
            assert!(self.log.wants_checkpoint());
            assert!(self.checkpoint(1 << 20, false, usize::MAX));
        }
        self.take_point();
        self.disk.sync_folder();
        self.trim_journal();
        assert!(self.frames.is_empty(), "{:?}", self.frames);
        for written in self.batches.iter().filter(|batch| batch.base >= self.log.start()) {
            assert!(written.next <= self.log.applied());
        }
    }

    pub fn power_cut(&mut self) {
        let mut random = self.random.clone();
        self.disk.fail(&mut random);
        self.random = random;
        self.kill();
    }

    /// What the files hold stays; of what the journal was only asked to write, a part.
    pub fn kill(&mut self) {
        let torn = self.frames.len() - self.durable_frames;
        let kept = self.durable_frames + self.random.below(torn as u64 + 1) as usize;
        self.frames.truncate(kept);
        self.durable_frames = kept;
    }

    /// A start that cannot read the log's files after so many reads: the journal carries what it has, once round the ring.
    pub fn start_unread(&mut self, reads: u64) {
        let mut recovering = self.recovering();
        for _ in 0..reads {
            if !self.read_once(&mut recovering) {
                break;
            }
        }
        let mut log = recovering.without_files().expect("the journal is whole");
        let mut files = FileIds::default();
        assert!(!log.wants_checkpoint() && log.checkpoint(1 << 20, &mut files).is_none());
        if !self.frames.is_empty() {
            self.frames = vec![Replay::Restate { base: log.applied() }];
            self.frames.push(Replay::Start { offset: log.start() });
            let epochs = log.epochs().entries().iter();
            let unapplied = epochs.filter(|entry| entry.start >= log.applied());
            self.frames.extend(unapplied.map(|entry| Replay::Epoch {
                epoch: entry.epoch,
                start_offset: entry.start,
            }));
            self.frames.extend(log.carry().into_iter().map(replayed));
        }
        self.durable_frames = self.frames.len();
    }

    /// False when nothing is left to read.
    fn read_once(&mut self, recovering: &mut Recovering) -> bool {
        match recovering.step() {
            RecoveryStep::ReadIndexes(paths) => {
                let content = |path| self.disk.files.get(path).map(|file| Bytes::copy_from_slice(&file.live));
                let contents = paths.iter().map(content).collect();
                recovering.indexes_read(contents, &mut self.files);
            }
            RecoveryStep::Read { file, position, len } => {
                let bytes = self.disk.read(&file, position, len);
                recovering.read_done(bytes, &mut self.files);
            }
            RecoveryStep::Done => return false,
        }
        true
    }

    fn recovering(&mut self) -> Recovering {
        let path = format!("{DIR}/{RECOVERY_POINT}");
        let entries = self.disk.list();
        let seed = RecoveringSeed {
            id: id(),
            name: "t-0",
            dir: DIR,
            config: self.log.config().clone(),
            now: self.now,
            point: self
                .disk
                .files
                .get(&path)
                .map(|file| Bytes::copy_from_slice(&file.live)),
            entries: &entries,
            kafka_start: None,
            journaled: super::Journaled {
                frames: self.frames.clone(),
                ..Default::default()
            },
            epoch_max: self.epoch_max,
            may_have_gaps: self.is_kafkas,
            accepts_loss: false,
        };
        // Segments below the start are not scanned.
        let is_raised = self.frames.iter().any(|frame| matches!(frame, Replay::Start { .. }));
        self.producers_may_differ |= seed.point.is_none() && is_raised;
        Recovering::new(seed, &mut self.files)
    }

    /// The report, and how many bytes of segments were read.
    pub fn start(&mut self) -> (Vec<String>, u64) {
        let mut recovering = self.recovering();
        while self.read_once(&mut recovering) {}
        let recovered = recovering.finish(&mut self.files);
        for (file, len) in &recovered.cut {
            self.disk
                .files
                .get_mut(&*file.path)
                .expect("it exists")
                .live
                .resize(*len as usize, 0);
            self.disk.sync(&file.path);
        }
        let changes_names = !recovered.remove.is_empty() || !recovered.aside.is_empty();
        for path in &recovered.remove {
            self.disk.remove(path);
        }
        for (from, to) in recovered.aside {
            let file = self.disk.files.remove(&from).expect("it exists");
            self.disk.files.insert(to, file);
        }
        if changes_names {
            self.disk.sync_folder();
        }
        self.log = recovered.log;
        self.point = None;
        self.durable_frames = self.frames.len();
        (recovered.report, recovered.scanned_bytes)
    }

    /// A start after which nothing is missing.
    pub fn restart(&mut self) {
        let (report, _) = self.start();
        self.check_recovered(&report);
    }

    /// After a start without damage: everything acknowledged is there, nothing is there that was not appended.
    pub fn check_recovered(&mut self, report: &[String]) {
        assert_eq!(report, [""; 0]);
        let end = self.log.end();
        assert!(
            end >= self.acknowledged,
            "the log ends at {end}, acknowledged was {}",
            self.acknowledged
        );
        self.batches.retain(|batch| batch.base < end);
        assert_eq!(self.batches.last().map_or(0, |last| last.next), end);
        assert!((self.durable_start..=self.start_max).contains(&self.log.start()));
        assert!(self.log.durable() == end && self.log.applied() <= end);
        self.acknowledged = end;
        self.durable_start = self.log.start();
        let last = self.batches.last();
        if let Some(last) = last.filter(|last| last.base >= self.log.start()) {
            assert_eq!(self.log.epochs().epoch_at(last.base), Some(EPOCH));
        }
        if !self.producers_may_differ {
            let mut rebuilt = Producers::new();
            for batch in &self.batches {
                rebuilt.append(&StampedBatch::check(batch.bytes.clone()).unwrap());
            }
            assert_eq!(self.log.producers(), &rebuilt);
        }
        self.follow_sequence();
        self.check_all();
    }

    pub fn check_all(&mut self) {
        let upto = self.log.durable();
        let mut offset = self.log.start();
        let mut read_bytes = 0;
        while offset < upto {
            let batches = self.read(offset, 100_000, true, upto);
            assert!(!batches.is_empty(), "nothing at {offset} below {upto}");
            read_bytes += batches.iter().map(|batch| batch.bytes.len()).sum::<usize>();
            offset = batches.last().unwrap().next;
        }
        let expected = self
            .batches
            .iter()
            .filter(|b| b.next > self.log.start() && b.next <= upto);
        assert_eq!(read_bytes, expected.map(|b| b.bytes.len()).sum::<usize>());
    }

    /// Reads and compares; gives what came.
    pub fn read(&mut self, offset: Offset, bytes_max: usize, min_one: bool, upto: Offset) -> Vec<Written> {
        let mut plan = self.log.read(offset, bytes_max, min_one, upto).unwrap();
        let slices = loop {
            match plan {
                ReadPlan::Memory(slices) => break slices,
                ReadPlan::Disk(read) => {
                    let bytes = self.disk.read(&read.file, read.position, read.len);
                    match self.log.finish_read(&read, bytes).unwrap() {
                        ReadProgress::Done { slices, .. } => break slices,
                        ReadProgress::More(next) => plan = ReadPlan::Disk(next),
                    }
                }
            }
        };
        let got: Bytes = slices.concat().into();
        let mut expected = Vec::new();
        let mut at = 0;
        let wanted = self.batches.iter().filter(|b| b.next > offset && b.next <= upto);
        for batch in wanted.clone() {
            if at == got.len() {
                break;
            }
            assert_eq!(
                got.get(at..at + batch.bytes.len()),
                Some(&batch.bytes[..]),
                "at offset {}",
                batch.base
            );
            at += batch.bytes.len();
            expected.push(batch.clone());
        }
        assert_eq!(at, got.len(), "more than there is");
        assert!(got.len() <= bytes_max || min_one && expected.len() == 1);
        if let Some(first) = wanted.clone().next()
            && (min_one || first.bytes.len() <= bytes_max)
        {
            assert!(!expected.is_empty(), "nothing was read at {offset}");
        }
        expected
    }

    pub fn list(&mut self, spec: OffsetSpec) -> Option<Found> {
        let progress = self.log.list_offset(spec, self.log.durable()).unwrap();
        self.list_on(progress)
    }

    /// Does what a lookup asks for, to its end.
    pub fn list_on(&mut self, mut progress: ListProgress) -> Option<Found> {
        loop {
            match progress {
                ListProgress::Done(found) => return found,
                ListProgress::More(read) => {
                    let bytes = self.disk.read(&read.file, read.position, read.len);
                    progress = self.log.finish_list(&read, bytes).unwrap();
                }
                ListProgress::Within(lookup) => progress = self.log.finish_lookup(lookup.run()).unwrap(),
            }
        }
    }

    pub fn check_list(&mut self, timestamp: i64) {
        let (start, upto) = (self.log.start(), self.log.durable());
        let records = self.batches.iter().flat_map(|batch| {
            let offsets = batch.base..;
            offsets.zip(batch.timestamps.iter().copied()).collect::<Vec<_>>()
        });
        let records: Vec<(Offset, i64)> = records.filter(|(offset, _)| *offset >= start).collect();
        let expected = records
            .iter()
            .find(|(_, at)| *at >= timestamp)
            .filter(|(offset, _)| *offset < upto);
        let found = self.list(OffsetSpec::Timestamp(timestamp));
        assert_eq!(found.map(|found| (found.offset, found.timestamp)), expected.copied());
        if upto == self.log.end() {
            let newest = records.iter().map(|(_, at)| *at).max();
            let expected = records.iter().find(|(_, at)| Some(*at) == newest);
            let found = self.list(OffsetSpec::MaxTimestamp);
            assert_eq!(found.map(|found| (found.offset, found.timestamp)), expected.copied());
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Append {
        records: usize,
        value_bytes: usize,
    },
    Commit,
    Checkpoint {
        bytes_max: usize,
        with_tail: bool,
    },
    /// And then the end of the process, or of the power.
    HalfCheckpoint {
        bytes_max: usize,
        with_tail: bool,
        parts: usize,
        with_power_cut: bool,
    },
    TrimJournal,
    Carry,
    TakePoint,
    LosePoint,
    RaiseStart {
        back: i64,
    },
    Delete,
    Evict {
        bytes: usize,
    },
    Read {
        back: i64,
        bytes_max: usize,
        min_one: bool,
    },
    List {
        back: i64,
    },
    CleanStop,
    /// Its files cannot be read after so many reads, then they can.
    UnreadThenPowerCut {
        reads: u64,
    },
    PowerCut,
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = prop_oneof![Just(4096usize), Just(16_384), Just(1 << 20)];
    prop_oneof![
        12 => (1..5usize, 0..500usize).prop_map(|(records, value_bytes)| Op::Append { records, value_bytes }),
        6 => (1..5usize, 3000..12_000usize).prop_map(|(records, value_bytes)| Op::Append { records, value_bytes }),
        8 => Just(Op::Commit),
        6 => (bytes.clone(), any::<bool>()).prop_map(|(bytes_max, with_tail)| Op::Checkpoint { bytes_max, with_tail }),
        4 => (bytes, any::<bool>(), 0..6usize, any::<bool>()).prop_map(|(bytes_max, with_tail, parts, with_power_cut)| {
            Op::HalfCheckpoint { bytes_max, with_tail, parts, with_power_cut }
        }),
        3 => Just(Op::TrimJournal),
        1 => Just(Op::Carry),
        3 => Just(Op::TakePoint),
        1 => Just(Op::LosePoint),
        1 => (0..20i64).prop_map(|back| Op::RaiseStart { back }),
        2 => Just(Op::Delete),
        2 => (0..50_000usize).prop_map(|bytes| Op::Evict { bytes }),
        4 => (0..60i64, 0..30_000usize, any::<bool>())
            .prop_map(|(back, bytes_max, min_one)| Op::Read { back, bytes_max, min_one }),
        2 => (0..600i64).prop_map(|back| Op::List { back }),
        1 => Just(Op::CleanStop),
        1 => (0..4u64).prop_map(|reads| Op::UnreadThenPowerCut { reads }),
        1 => Just(Op::PowerCut),
    ]
}

fn run(seed: u64, ops: Vec<Op>) {
    let mut world = World::new(seed);
    for op in ops {
        match op {
            Op::Append { records, value_bytes } => world.append(records, value_bytes),
            Op::Commit => world.commit(),
            Op::Checkpoint { bytes_max, with_tail } => assert!(world.checkpoint(bytes_max, with_tail, usize::MAX)),
            Op::HalfCheckpoint {
                bytes_max,
                with_tail,
                parts,
                with_power_cut,
            } => {
                world.checkpoint(bytes_max, with_tail, parts);
                if with_power_cut {
                    world.power_cut();
                } else {
                    world.kill();
                }
                world.restart();
            }
            Op::TrimJournal => world.trim_journal(),
            Op::Carry => world.carry(),
            Op::TakePoint => world.take_point(),
            // Where a raised start is written down in it only, losing it is damage.
            Op::LosePoint if world.log.start() > 0 => {}
            Op::LosePoint => drop(world.disk.files.remove(&format!("{DIR}/{RECOVERY_POINT}"))),
            Op::RaiseStart { back } => world.raise_start(world.log.durable() - back),
            Op::Delete => world.delete(),
            Op::Evict { bytes } => {
                let (cached, freed) = (world.log.cached_bytes(), world.log.evict_oldest(bytes));
                assert_eq!(world.log.cached_bytes(), cached - freed);
            }
            Op::Read {
                back,
                bytes_max,
                min_one,
            } => {
                let upto = world.log.durable();
                let offset = (upto - back).max(world.log.start()).min(world.log.end());
                world.read(offset, bytes_max, min_one, upto);
            }
            Op::List { back } => world.check_list(world.now.wall_ms + 500 - back),
            Op::CleanStop => {
                world.clean_stop();
                world.restart();
                assert_eq!(world.log.applied(), world.log.end());
            }
            Op::UnreadThenPowerCut { reads } => {
                world.power_cut();
                world.start_unread(reads);
                world.power_cut();
                world.restart();
            }
            Op::PowerCut => {
                world.power_cut();
                world.restart();
            }
        }
        let dirty: usize = world.log.carry().iter().map(|batch| batch.bytes.len()).sum();
        assert_eq!(dirty, world.log.dirty_bytes());
    }
    world.commit();
    world.check_all();
    world.clean_stop();
    world.restart();
    world.power_cut();
    world.restart();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_acknowledged_is_lost(seed in any::<u64>(), ops in prop::collection::vec(op(), 1..120)) {
        run(seed, ops);
    }
}
