//! A start: the journal first, then the metadata log, then this shard's logs, each from its recovery point, its segments and
//! the journal's frames. Every step may be repeated; nothing is served before the last.
//!
//! The controller's shard reads the folder's own files and the metadata log, and publishes the image that the process before
//! left; the others wait for it with their journals already read. What this process appends comes after (`registration`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;

use crate::controller::image::Topic;
use crate::journal::parked::PartName;
use crate::journal::{self, Body, Frame, Recovery, Replayed, Step as JournalStep, Ticket};
use crate::log::{
    self, INDEX_SUFFIX, Journaled, Log, LogConfig, RECOVERY_POINT, Recovering, RecoveringSeed, RecoveryStep, Replay,
    side_files,
};
use crate::replica::{Leader, Replica};
use crate::types::{Entry, LeaderEpoch, LogId, Offset, Position, ShardId, TopicId};

use super::clock::Clock;
use super::commit::Committing;
use super::disk::Op;
use super::effect::{DiskError, DiskOp, DiskReply, Effect, File};
use super::folders::{Folder, FolderName, STRAY_SUFFIX, leader_of, name_with_suffix};
use super::format::Format;
use super::kraft::{Kraft, KraftOp};
use super::message::Message;
use super::partition::Partition;
use super::survey::{aside_name, way_out};
use super::{CONTROLLER, Shard, Stage};

/// Logs that are recovered at the same time.
const LOGS_AT_ONCE: usize = 64;

/// A compacted segment of Kafka's on its way to the place of those that it was made of. Those may be renamed to be deleted by
/// then, so that their records are in this file only.
const SWAP_SUFFIX: &str = ".swap";

pub struct Boot {
    /// The data folder's names.
    pub(super) root: Vec<Entry>,
    recovery: Option<Recovery>,
    pub(super) frames: BTreeMap<LogId, Frames>,
    /// Damaged stretches of the journal that may have held frames of any log.
    damages: u32,
    /// An image that came before the journal was read.
    has_image: bool,
    is_journal_read: bool,
    /// There was no journal: what the folder holds was not written through one.
    is_journal_new: bool,
    wanted: VecDeque<LogBoot>,
    logs: BTreeMap<LogId, LogBoot>,
    pub(super) kraft: Option<Kraft>,
    /// What the folder says of who wrote it; `None` when it is new, or Kafka's.
    pub(super) format: Option<Format>,
    /// Topics of which the metadata log still says that they were deleted.
    pub(super) deleted: Arc<BTreeSet<TopicId>>,
    /// Strays to move away, one after the other.
    pub(super) tidying: VecDeque<DiskOp>,
    /// Kafka's log starts, by folder; read once the first log needs them.
    kafka_starts: Option<BTreeMap<String, Offset>>,
}

/// What the journal still has of one log.
#[derive(Default)]
pub(super) struct Frames {
    pub(super) replay: Vec<Replay>,
    /// The newest control frame, which the next recovery point settles.
    control: Ticket,
    pub(super) is_dropped: bool,
    /// Acknowledged offsets that the journal lost, inclusive.
    lost: Vec<RangeInclusive<Offset>>,
    /// Damaged stretches before the newest frame: whatever they held, this log goes on behind them.
    damages: u32,
    /// A start or a cut of it was in one of them.
    lost_control: bool,
}

/// One log being recovered.
struct LogBoot {
    log: LogId,
    topic: Arc<str>,
    dir: String,
    config: LogConfig,
    entries: Vec<Entry>,
    has_folder: bool,
    is_described: bool,
    recovering: Option<Recovering>,
    recovered: Option<log::Recovered>,
    mending: VecDeque<DiskOp>,
    /// Index files that are being read: what came of each, and how many are still to come.
    indexes: Vec<Option<Bytes>>,
    indexes_left: usize,
}

/// Whose completion it is.
pub enum BootOp {
    Root,
    RingRead,
    /// One of the operations that make the ring file anew; how many follow.
    RingMade {
        left: VecDeque<DiskOp>,
    },
    RingSynced,
    Kraft(KraftOp),
    /// A part of what was put aside of a log, behind these frames of the earlier ones.
    LogParked {
        name: PartName,
        frames: Vec<Frame>,
    },
    LogListed(LogId),
    LogDescribed(LogId),
    LogMoved(LogId),
    LogPoint(LogId),
    /// Kafka's log starts, for the log with this recovery point.
    KafkaStarts(LogId, Option<Bytes>),
    /// The so manieth of the index files that are being read.
    LogIndex(LogId, usize),
    LogRead(LogId),
    LogMended(LogId),
    /// A folder that nobody claims was moved away, or the root synced after that.
    Tidied,
    /// One of the operations that keep frames apart of which nobody knows the topic; how many follow, and whose frames it was.
    FramesKept {
        left: VecDeque<DiskOp>,
        logs: Vec<LogId>,
    },
}

impl Boot {
    pub fn new() -> Boot {
        Boot {
            root: Vec::new(),
            recovery: None,
            frames: BTreeMap::new(),
            damages: 0,
            has_image: false,
            is_journal_read: false,
            is_journal_new: false,
            wanted: VecDeque::new(),
            logs: BTreeMap::new(),
            kraft: None,
            format: None,
            deleted: Arc::default(),
            tidying: VecDeque::new(),
            kafka_starts: None,
        }
    }
}

impl Shard {
    pub(super) fn boot(&mut self) -> &mut Boot {
        match &mut self.stage {
            Stage::Booting(boot) => boot,
            _ => unreachable!("the start is over"),
        }
    }

    pub(super) fn fatal(&mut self, message: String) {
        self.emit(Effect::Fatal { message });
    }

    /// The start does not go on, unless a person accepts what is lost.
    pub(super) fn refuse_start(&mut self, what: String) {
        let message = format!("{what}. {}", way_out(&self.config.data_dir));
        self.fatal(message);
    }

    /// Something acknowledged is damaged or lost.
    pub(super) fn found(&mut self, what: String) {
        tracing::error!("{what}");
        self.findings.push(what);
    }

    pub(super) fn topics_deleted(&mut self, deleted: Arc<BTreeSet<TopicId>>) {
        if let Stage::Booting(boot) = &mut self.stage {
            boot.deleted = deleted;
        }
    }

    pub(super) fn begin_boot(&mut self) {
        self.disk(Op::Boot(BootOp::Root), DiskOp::List { path: String::new() });
    }

    pub(super) fn boot_done(&mut self, op: BootOp, result: Result<DiskReply, DiskError>) {
        match op {
            BootOp::Root => match result {
                Ok(DiskReply::Entries(entries)) => {
                    self.find_parked(&entries);
                    self.boot().root = entries;
                    self.root_listed();
                }
                Ok(other) => unreachable!("a folder's names, not {other:?}"),
                Err(error) => self.fatal(format!("cannot list the data folder: {error}")),
            },
            BootOp::RingRead => match result {
                Ok(DiskReply::Bytes(bytes)) => {
                    self.boot()
                        .recovery
                        .as_mut()
                        .expect("it is being read")
                        .read_done(bytes);
                    self.advance_journal();
                }
                Ok(other) => unreachable!("bytes, not {other:?}"),
                Err(error) => self.fatal(format!(
                    "cannot read {}: {error}. Records that were acknowledged may be only there: check the device (dmesg), then \
                     start the broker again",
                    self.commit.ring.path
                )),
            },
            BootOp::RingMade { mut left } => match (result, left.pop_front()) {
                (Err(error), _) => self.fatal(format!("cannot make the journal: {error}")),
                (Ok(_), Some(next)) => self.disk(Op::Boot(BootOp::RingMade { left }), next),
                (Ok(_), None) => {
                    self.boot().recovery.as_mut().expect("it is being made").created();
                    self.advance_journal();
                }
            },
            BootOp::RingSynced => match result {
                Ok(_) => {
                    self.boot().recovery.as_mut().expect("it is being read").synced();
                    self.advance_journal();
                }
                Err(error) => self.fatal(format!("cannot flush the journal: {error}")),
            },
            BootOp::Tidied => {
                if let Err(error) = result {
                    tracing::warn!("cannot move a stray folder away: {error}");
                }
                self.tidy_next();
            }
            BootOp::FramesKept { left, logs } => self.frames_kept(left, logs, result),
            BootOp::Kraft(op) => self.kraft_done(op, result),
            BootOp::LogParked { name, frames } => self.part_read(name, frames, result),
            BootOp::LogListed(log) => self.log_listed(log, result),
            BootOp::LogDescribed(log) => self.log_described(log, result),
            BootOp::LogMoved(log) => match result {
                Ok(_) => self.log_mended(log),
                Err(error) => self.log_failed(log, format!("a folder of another topic could not be moved away: {error}")),
            },
            BootOp::LogPoint(log) => self.log_point(log, result),
            BootOp::KafkaStarts(log, point) => self.kafka_starts_read(log, point, result),
            BootOp::LogIndex(log, nth) => self.log_index(log, nth, result),
            BootOp::LogRead(log) => self.log_read(log, result),
            BootOp::LogMended(log) => match result {
                Ok(_) => self.log_mended(log),
                Err(error) => self.log_failed(log, format!("it could not be mended after a crash: {error}")),
            },
        }
    }

    fn root_listed(&mut self) {
        let ring = self.commit.ring.clone();
        let found = (self.boot().root)
            .iter()
            .find(|entry| entry.name == *ring.path)
            .map(|entry| entry.size_bytes);
        let config = journal::Config::new(self.limits.journal_bytes, self.config.id, self.config.shards);
        let nonce = self.random.next_u64();
        self.boot().recovery = Some(Recovery::new(journal::Start {
            config,
            file_bytes: found,
            nonce,
            is_empty: self.config.was_clean,
        }));
        if self.config.id == CONTROLLER {
            self.begin_kraft();
        } else {
            self.advance_journal();
        }
    }

    // -- The journal

    pub(super) fn advance_journal(&mut self) {
        loop {
            let ring: File = self.commit.ring.clone();
            let step = self.boot().recovery.as_mut().expect("it is being read").step();
            match step {
                Err(error) => return self.refuse_start(format!("{}: {error}", ring.path)),
                Ok(JournalStep::Read { position, len }) => {
                    return self.disk(
                        Op::Boot(BootOp::RingRead),
                        DiskOp::Read {
                            file: ring,
                            position,
                            len,
                        },
                    );
                }
                Ok(JournalStep::Create { len }) => {
                    // Another file of the same name: the old descriptor would go on with the one that was removed.
                    let fresh = File {
                        id: self.files.next(),
                        path: ring.path.clone(),
                    };
                    self.commit.ring = fresh.clone();
                    let left = VecDeque::from([
                        DiskOp::RemoveFile {
                            path: ring.path.to_string(),
                        },
                        DiskOp::Fill { file: fresh, len },
                        DiskOp::SyncDir { path: String::new() },
                    ]);
                    return self.disk(Op::Boot(BootOp::RingMade { left }), DiskOp::Close { file: ring });
                }
                Ok(JournalStep::Sync) => {
                    return self.disk(Op::Boot(BootOp::RingSynced), DiskOp::Sync { file: ring });
                }
                Ok(JournalStep::Frame(replayed)) => self.boot().fold(replayed),
                Ok(JournalStep::Ended(ended)) => self.boot().fold_end(ended),
                Ok(JournalStep::Done) => break,
            }
        }
        let recovery = self.boot().recovery.take().expect("it is being read");
        let (journal, report) = recovery.finish();
        if !report.damage.is_empty() {
            self.found(format!("{}: {report}", self.commit.ring.path));
        } else if !report.clean && !report.created {
            tracing::info!("shard {}: {report}", self.config.id.0);
        }
        self.stats.journal_recovered(&report);
        self.boot().damages = report.unknown_damages;
        self.boot().is_journal_new = report.created;
        for lost in report.damage.iter().filter_map(|damage| damage.lost) {
            let frames = self.boot().frames.entry(lost.log).or_default();
            frames.lost.push(lost.from..=lost.to);
        }
        self.journal = journal;
        self.has_journal = true;
        let (used, wanted) = (self.journal.config().ring_bytes, self.limits.journal_bytes);
        if used != wanted {
            tracing::warn!(
                "{} has {used} bytes, and tidemill.journal.bytes asks for {wanted}: it is used as it is, because it may hold records, \
                 and batches of more than {} bytes are refused. It is made anew by the first start after a clean stop",
                self.commit.ring.path,
                self.largest_batch_bytes()
            );
            self.limits = self.config.broker.limits_with(self.config.shards, used);
        }
        self.boot().is_journal_read = true;
        self.begin_commit();
        if self.config.id == CONTROLLER {
            self.recover_metadata_log();
        } else if self.boot().has_image {
            self.recover_logs();
        }
    }

    // -- Logs

    /// Durable metadata: what this shard has to recover. Only the first image comes during the start.
    pub(super) fn boot_image(&mut self) {
        self.boot().has_image = true;
        self.clock = Clock::at_start(self.image.reached.timestamp_ms, self.now);
        if self.boot().is_journal_read {
            self.recover_logs();
        }
    }

    fn recover_logs(&mut self) {
        let image = self.image.clone();
        let mut wanted = VecDeque::new();
        for topic in image.topics() {
            for &partition in topic.partitions.keys() {
                let log = topic.log_id(partition);
                if self.owner(log) == self.config.id {
                    wanted.push_back(LogBoot::new(log, topic));
                }
            }
        }
        self.boot().wanted = wanted;
        self.leave_strange_parked();
        self.part_with_unknown(&image);
    }

    pub(super) fn begin_logs(&mut self) {
        while self.boot().logs.len() < LOGS_AT_ONCE {
            let Some(next) = self.boot().wanted.pop_front() else {
                break;
            };
            self.begin_log(next);
        }
        let boot = self.boot();
        if boot.logs.is_empty() && boot.wanted.is_empty() {
            self.logs_recovered();
        }
    }

    pub(super) fn recover_metadata_log(&mut self) {
        let config = self.metadata_log_config();
        let dir = super::kraft::METADATA_DIR;
        self.begin_log(LogBoot {
            log: LogId::METADATA,
            topic: super::kraft::METADATA_TOPIC.into(),
            dir: dir.to_string(),
            config,
            entries: Vec::new(),
            has_folder: false,
            is_described: false,
            recovering: None,
            recovered: None,
            mending: VecDeque::new(),
            indexes: Vec::new(),
            indexes_left: 0,
        });
    }

    fn begin_log(&mut self, log_boot: LogBoot) {
        let log = log_boot.log;
        self.boot().logs.insert(log, log_boot);
        if !self.read_parked(log) {
            self.list_log(log);
        }
    }

    pub(super) fn list_log(&mut self, log: LogId) {
        let path = self.log_boot(log).dir.clone();
        self.disk(Op::Boot(BootOp::LogListed(log)), DiskOp::List { path });
    }

    /// What was put aside of a log, up to `end`, comes before what the journal still has of it. The log took no records since:
    /// what the journal has is in the set, or older, and nothing was lost with frames that are damaged. They lie there until
    /// the ring comes round, so that what is left of them must not have the set's own batches cut off.
    pub(super) fn replay_first(&mut self, log: LogId, frames: Vec<Frame>, end: Offset) {
        let damages = self.boot().damages;
        let journaled = self.boot().frames.entry(log).or_default();
        let behind = std::mem::take(&mut journaled.replay);
        journaled
            .replay
            .extend(frames.into_iter().filter_map(|frame| replay_of(frame.body)));
        journaled.replay.extend(behind.into_iter().filter(|frame| match frame {
            Replay::Start { .. } | Replay::Epoch { .. } => true,
            Replay::Append(append) => append.base_offset >= end,
            Replay::Ended { end: told } => *told > end,
            Replay::Truncate { .. } | Replay::Restate { .. } => false,
        }));
        journaled.lost.retain(|lost| *lost.end() >= end);
        journaled.damages = damages;
        journaled.lost_control = false;
    }

    fn log_boot(&mut self, log: LogId) -> &mut LogBoot {
        self.boot().logs.get_mut(&log).expect("it is being recovered")
    }

    fn log_listed(&mut self, log: LogId, result: Result<DiskReply, DiskError>) {
        match result {
            Ok(DiskReply::Entries(entries)) => {
                if let Some(swap) = entries.iter().find(|entry| entry.name.ends_with(SWAP_SUFFIX)) {
                    let why = format!(
                        "{} is there: Kafka was killed while it replaced segments by compacted ones, and only Kafka knows which of \
                         the files count. Nothing was changed: start Kafka on this folder and stop it cleanly, then start the \
                         broker again",
                        swap.name
                    );
                    return self.log_failed(log, why);
                }
                let log_boot = self.log_boot(log);
                log_boot.entries = entries;
                log_boot.has_folder = true;
                let path = format!("{}/{}", log_boot.dir, side_files::PARTITION_METADATA);
                self.disk(Op::Boot(BootOp::LogDescribed(log)), DiskOp::ReadFile { path });
            }
            Ok(other) => unreachable!("a folder's names, not {other:?}"),
            Err(DiskError::NotFound { .. }) => self.begin_recovering(log, None),
            Err(error) => self.log_failed(log, format!("its folder could not be listed: {error}")),
        }
    }

    /// A folder is checked against the metadata before a byte of it is touched.
    fn log_described(&mut self, log: LogId, result: Result<DiskReply, DiskError>) {
        let dir = self.log_boot(log).dir.clone();
        match result {
            Ok(DiskReply::Bytes(bytes)) => match side_files::parse_partition_metadata(&bytes) {
                Ok(found) if found == log.topic => self.log_boot(log).is_described = true,
                Ok(found) => {
                    // Of a topic that was deleted; the power failed before its folder was renamed.
                    let to = name_with_suffix(&dir, self.random.uuid(), STRAY_SUFFIX);
                    tracing::warn!("{dir} belongs to topic {found}, not {}: it is kept as {to}", log.topic);
                    let log_boot = self.log_boot(log);
                    log_boot.has_folder = false;
                    log_boot.entries.clear();
                    log_boot.mending = VecDeque::from([DiskOp::SyncDir { path: String::new() }]);
                    return self.disk(Op::Boot(BootOp::LogMoved(log)), DiskOp::Rename { from: dir, to });
                }
                Err(error) => tracing::warn!("{dir}/{}: {error}; it is written again", side_files::PARTITION_METADATA),
            },
            Ok(other) => unreachable!("bytes, not {other:?}"),
            Err(DiskError::NotFound { .. }) => {}
            // Nothing else says for certain whose folder it is.
            Err(error) => return self.log_failed(log, format!("nobody can tell whose its folder is: {error}")),
        }
        let path = format!("{dir}/{RECOVERY_POINT}");
        self.disk(Op::Boot(BootOp::LogPoint(log)), DiskOp::ReadFile { path });
    }

    fn log_point(&mut self, log: LogId, result: Result<DiskReply, DiskError>) {
        let mut point = match result {
            Ok(DiskReply::Bytes(bytes)) => Some(bytes),
            Ok(other) => unreachable!("bytes, not {other:?}"),
            Err(DiskError::NotFound { .. }) => None,
            // The metadata's log is scanned as if there were none: it is cut by its snapshots, which say so themselves.
            Err(error) if log == LogId::METADATA => {
                tracing::warn!("cannot read a recovery point, its log is scanned instead: {error}");
                None
            }
            // Only it may say which records were deleted, and that nothing may take the offsets of lost ones.
            Err(error) => return self.log_failed(log, format!("its recovery point could not be read: {error}")),
        };
        let checked = point.as_ref().map(|bytes| log::check_recovery_point(bytes, log));
        if let Some(Err(error)) = checked.filter(|_| log != LogId::METADATA) {
            let path = format!("{}/{RECOVERY_POINT}", self.log_boot(log).dir);
            if !self.config.accepts_loss || error.is_newer() {
                return self.log_failed(
                    log,
                    format!(
                        "{path} cannot be used: {error}. Nothing else says which records were deleted, who wrote them, and \
                         whether acknowledged ones are lost. Restore the file, or give that up with `tidemill repair`"
                    ),
                );
            }
            let aside = DiskOp::Rename {
                to: aside_name(&path, self.random.uuid()),
                from: path,
            };
            self.log_boot(log).mending.push_back(aside);
            point = None;
        }
        let log_boot = self.log_boot(log);
        let opened_by_kafka = log::was_opened_by_kafka(&log_boot.entries);
        // The power may go between the first index files and the first point, and this is a false alarm then.
        let had_point = (log_boot.entries.iter()).any(|entry| entry.name.ends_with(INDEX_SUFFIX));
        if point.is_none() && had_point && !opened_by_kafka && log != LogId::METADATA {
            tracing::warn!(
                "{}/{RECOVERY_POINT} is missing, so that the segments are scanned: records that were deleted from the first of them \
                 are back, and nobody knows who wrote the segments that were deleted",
                log_boot.dir
            );
        }
        if opened_by_kafka && self.boot().kafka_starts.is_none() {
            let path = side_files::LOG_STARTS.to_string();
            return self.disk(Op::Boot(BootOp::KafkaStarts(log, point)), DiskOp::ReadFile { path });
        }
        self.begin_recovering(log, point);
    }

    /// A folder of Kafka's: what DeleteRecords deleted there is in its segments still.
    fn kafka_starts_read(&mut self, log: LogId, point: Option<Bytes>, result: Result<DiskReply, DiskError>) {
        let parsed = match result {
            Ok(DiskReply::Bytes(bytes)) => side_files::parse_offsets(&bytes).map_err(|error| error.to_string()),
            Ok(other) => unreachable!("bytes, not {other:?}"),
            Err(DiskError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        };
        let starts = parsed.unwrap_or_else(|error| {
            tracing::warn!(
                "{}: {error}; logs that Kafka wrote start with their first segments, as they would in Kafka",
                side_files::LOG_STARTS
            );
            Vec::new()
        });
        let starts = starts
            .into_iter()
            .map(|entry| (format!("{}-{}", entry.topic, entry.partition), entry.offset));
        self.boot().kafka_starts = Some(starts.collect());
        self.begin_recovering(log, point);
    }

    fn begin_recovering(&mut self, log: LogId, point: Option<Bytes>) {
        let recovering = self.recovering_of(log, point);
        self.log_boot(log).recovering = Some(recovering);
        self.advance_log(log);
    }

    fn recovering_of(&mut self, log: LogId, point: Option<Bytes>) -> Recovering {
        let damages = self.boot().damages;
        let frames = self.boot().frames.entry(log).or_default();
        let journaled = Journaled {
            frames: std::mem::take(&mut frames.replay),
            lost: std::mem::take(&mut frames.lost),
            may_have_lost: frames.damages < damages || frames.lost_control,
        };
        let (now, accepts_loss) = (self.now, self.config.accepts_loss);
        let registration = self.image.partition(log);
        let epoch_max = registration.map_or(LeaderEpoch::MAX, |registration| registration.leader_epoch);
        let Stage::Booting(boot) = &mut self.stage else {
            unreachable!("the start is not over")
        };
        let may_have_gaps = boot.is_journal_new;
        let log_boot = boot.logs.get_mut(&log).expect("it is being recovered");
        let starts = boot.kafka_starts.as_ref();
        let kafka_start = starts.and_then(|starts| starts.get(&log_boot.dir).copied());
        let seed = RecoveringSeed {
            id: log,
            name: &log_boot.dir,
            dir: &log_boot.dir,
            config: log_boot.config.clone(),
            now,
            point,
            entries: &log_boot.entries,
            kafka_start,
            journaled,
            epoch_max,
            may_have_gaps,
            accepts_loss,
        };
        Recovering::new(seed, &mut self.files)
    }

    fn advance_log(&mut self, log: LogId) {
        let log_boot = self.log_boot(log);
        match log_boot.recovering.as_ref().expect("it is being recovered").step() {
            RecoveryStep::ReadIndexes(paths) => {
                log_boot.indexes = vec![None; paths.len()];
                log_boot.indexes_left = paths.len();
                for (nth, path) in paths.into_iter().enumerate() {
                    self.disk(Op::Boot(BootOp::LogIndex(log, nth)), DiskOp::ReadFile { path });
                }
            }
            RecoveryStep::Read { file, position, len } => {
                self.disk(Op::Boot(BootOp::LogRead(log)), DiskOp::Read { file, position, len });
            }
            RecoveryStep::Done => {
                let recovering = log_boot.recovering.take().expect("just seen");
                let recovered = recovering.finish(&mut self.files);
                self.stats.log_recovered(&recovered);
                let dir = self.log_boot(log).dir.clone();
                for line in &recovered.report {
                    if recovered.is_damaged {
                        self.found(format!("{dir}: {line}"));
                    } else {
                        tracing::warn!("{dir}: {line}");
                    }
                }
                if recovered.log.is_read_only() && !recovered.is_damaged {
                    self.found(format!(
                        "{dir}: acknowledged records from offset {} on were lost, as an earlier start said, and the log takes no \
                         new ones; `tidemill repair` with --accept-loss lets it take records again",
                        recovered.log.end()
                    ));
                }
                let log_boot = self.log_boot(log);
                let mut mending = std::mem::take(&mut log_boot.mending);
                for (file, len) in &recovered.cut {
                    mending.push_back(DiskOp::Truncate {
                        file: file.clone(),
                        len: *len as Position,
                    });
                    mending.push_back(DiskOp::Sync { file: file.clone() });
                }
                mending.extend(
                    recovered
                        .remove
                        .iter()
                        .map(|path| DiskOp::RemoveFile { path: path.clone() }),
                );
                let aside = recovered.aside.iter().cloned();
                mending.extend(aside.map(|(from, to)| DiskOp::Rename { from, to }));
                if log_boot.has_folder && !log_boot.is_described {
                    let path = format!("{}/{}", log_boot.dir, side_files::PARTITION_METADATA);
                    let content = side_files::partition_metadata(log.topic);
                    mending.push_back(DiskOp::ReplaceFile { path, content });
                }
                if !recovered.remove.is_empty() || !recovered.aside.is_empty() {
                    mending.push_back(DiskOp::SyncDir {
                        path: log_boot.dir.clone(),
                    });
                }
                log_boot.mending = mending;
                log_boot.recovered = Some(recovered);
                self.log_mended(log);
            }
        }
    }

    /// Derived: the segment of one that cannot be read is scanned.
    fn log_index(&mut self, log: LogId, nth: usize, result: Result<DiskReply, DiskError>) {
        let Stage::Booting(boot) = &mut self.stage else {
            unreachable!("the start is not over")
        };
        let log_boot = boot.logs.get_mut(&log).expect("it is being recovered");
        log_boot.indexes_left -= 1;
        match result {
            Ok(DiskReply::Bytes(bytes)) => log_boot.indexes[nth] = Some(bytes),
            Ok(other) => unreachable!("bytes, not {other:?}"),
            Err(error) => tracing::warn!("cannot read an index file, its segment is scanned instead: {error}"),
        }
        if log_boot.indexes_left == 0 {
            let contents = std::mem::take(&mut log_boot.indexes);
            let recovering = log_boot.recovering.as_mut().expect("it is being recovered");
            recovering.indexes_read(contents, &mut self.files);
            self.advance_log(log);
        }
    }

    fn log_read(&mut self, log: LogId, result: Result<DiskReply, DiskError>) {
        match result {
            Ok(DiskReply::Bytes(bytes)) => {
                let Stage::Booting(boot) = &mut self.stage else {
                    unreachable!("the start is not over")
                };
                let log_boot = boot.logs.get_mut(&log).expect("it is being recovered");
                log_boot
                    .recovering
                    .as_mut()
                    .expect("it is being read")
                    .read_done(bytes, &mut self.files);
                self.advance_log(log);
            }
            Ok(other) => unreachable!("bytes, not {other:?}"),
            Err(error) => self.log_failed(log, format!("a segment could not be read: {error}")),
        }
    }

    /// A file or a folder of this log cannot be read or mended. It is offline until a start that can; its records stay in the
    /// journal, and what is in its files is left as it is: what cannot be read is not its end.
    pub(super) fn log_failed(&mut self, id: LogId, why: String) {
        let log_boot = self.log_boot(id);
        let dir = log_boot.dir.clone();
        if id == LogId::METADATA {
            return self.fatal(format!(
                "{dir}: {why}. Nothing can be served without the metadata: check the device (dmesg), then start the broker again"
            ));
        }
        let log = match (log_boot.recovered.take(), log_boot.recovering.take()) {
            (Some(recovered), _) if recovered.is_damaged => Err("acknowledged records of it are lost"),
            (Some(recovered), _) => Ok(recovered.log),
            (None, Some(recovering)) => recovering.without_files(),
            (None, None) => self.recovering_of(id, None).without_files(),
        };
        match log {
            Ok(log) => {
                self.stats.logs_offline += 1;
                self.findings.push(format!("{dir} is offline: {why}"));
                self.hold(id, log, Folder::Ready);
                self.take_offline(id, why);
                self.begin_logs();
            }
            Err(besides) => self.fatal(format!(
                "{dir}: {why}. It cannot be left aside, because {besides}, which is written down only when its files can be read: \
                 check the device (dmesg), then start the broker again"
            )),
        }
    }

    /// The next of the operations that a log needs before it is served.
    fn log_mended(&mut self, log: LogId) {
        let log_boot = self.log_boot(log);
        if let Some(what) = log_boot.mending.pop_front() {
            return self.disk(Op::Boot(BootOp::LogMended(log)), what);
        }
        if log_boot.recovered.is_none() {
            // A folder of another topic was moved away: there is nothing of this one.
            return self.begin_recovering(log, None);
        }
        self.log_recovered(log);
    }

    fn log_recovered(&mut self, id: LogId) {
        let log_boot = self.log_boot(id);
        let log = log_boot.recovered.take().expect("just seen").log;
        let folder = if log_boot.has_folder {
            Folder::Ready
        } else {
            Folder::Wanted
        };
        self.hold(id, log, folder);
        if folder == Folder::Wanted {
            self.want_folder(id);
        }
        if id == LogId::METADATA {
            return self.metadata_log_recovered();
        }
        self.enter_epoch(id, self.partition(id).replica.leader_epoch);
        self.begin_logs();
    }

    /// The log is one of this shard's partitions from here on.
    fn hold(&mut self, id: LogId, log: Log, folder: Folder) {
        let log_boot = self.boot().logs.remove(&id).expect("it is being recovered");
        let frames = self.boot().frames.remove(&id);
        self.dirty_bytes += log.dirty_bytes() as u64;
        self.journal.recovered(id, log.end());
        self.journal.applied(id, log.applied());
        let high_watermark = log.durable();
        let image = self.image.clone();
        let (replica, config) = if id == LogId::METADATA {
            let leader = Leader {
                in_sync: vec![self.config.broker.node_id],
                in_sync_min: 1,
            };
            let config = Arc::new(self.config.broker.topic.clone());
            (Replica::leader(leader, 0, 0, high_watermark), config)
        } else {
            let topic = image.topic_by_id(id.topic).expect("it was in the image");
            let registration = image.partition(id).expect("it was in the image");
            let leader = leader_of(registration, topic);
            let (leader_epoch, epoch) = (registration.leader_epoch, registration.partition_epoch);
            let replica = Replica::leader(leader, leader_epoch, epoch, high_watermark);
            (replica, topic.config.clone())
        };
        let mut partition = Partition::new(log, replica, log_boot.topic, config, folder);
        if folder != Folder::Ready {
            partition.unplaced_bytes = partition.log.dirty_bytes() as u64;
            self.unplaced_bytes += partition.unplaced_bytes;
        }
        partition.control = frames.map_or(Ticket::default(), |frames| frames.control);
        self.partitions.insert(id, partition);
    }

    /// All of this shard's logs are there.
    fn logs_recovered(&mut self) {
        // The others that are offline are put aside.
        let carried: Vec<LogId> = self.parking.unreadable().collect();
        if !carried.is_empty() && !self.journal.can_carry(&carried) {
            return self.fatal(format!(
                "{} has no room to keep the records of the logs that are offline and to go on: check the device (dmesg), then start \
                 the broker again",
                self.commit.ring.path
            ));
        }
        if self.config.id == CONTROLLER {
            self.find_strays();
        }
        self.tidy_next();
    }

    pub(super) fn begin_serving(&mut self) {
        let root = std::mem::take(&mut self.boot().root);
        self.stage = Stage::Serving;
        self.retain_later();
        if self.config.id == CONTROLLER {
            let image = self.image.clone();
            self.tell_read_only(image.topics());
            let is_deleted = |entry: &Entry| match FolderName::parse(&entry.name) {
                // What a crash left of a folder in the making: its shard goes on with it.
                FolderName::Deleted { id: Some(id) } => image.topic_by_id(id).is_none(),
                name => matches!(name, FolderName::Deleted { .. }),
            };
            let deleted = root.into_iter().filter(|entry| entry.is_dir && is_deleted(entry));
            deleted.for_each(|entry| self.remove_folder(entry.name));
        }
        self.make_folders();
        self.hold_first_image();
        if self.config.only_seal {
            self.emit(Effect::Ready);
            self.stop();
        }
    }

    /// This shard acts on the metadata that the process before left, once its journal has started: the folder's format says of
    /// every journal that it was made when every shard has come so far.
    pub(super) fn hold_first_image(&mut self) {
        self.commit.holds_image_back = !self.journal.has_started();
        if let Some(error) = self.commit.failed() {
            let message = format!(
                "{} cannot be written: {error}. Check the device (dmesg), then start the broker again",
                self.commit.ring.path
            );
            return self.fatal(message);
        }
        if self.commit.holds_image_back {
            return;
        }
        let offset = self.image.reached.offset + 1;
        if self.config.id == CONTROLLER {
            self.image_held(CONTROLLER, offset);
        } else {
            self.tell(CONTROLLER, Message::ImageHeld { offset });
        }
    }

    /// The first image after this shard's logs were recovered has the registration of this process in it.
    pub(super) fn serve_if_registered(&mut self) {
        if !self.is_ready && self.is_serving() {
            self.is_ready = true;
            self.emit(Effect::Ready);
        }
    }
}

impl Boot {
    /// Damaged frames were of this log: a log that is there up to where it ended lost nothing of them.
    fn fold_end(&mut self, ended: journal::Ended) {
        let frames = self.frames.entry(ended.log).or_default();
        frames.lost_control |= ended.lost_control;
        if let Some(end) = ended.end {
            frames.replay.push(Replay::Ended { end });
        }
    }

    fn fold(&mut self, replayed: Replayed) {
        let Replayed { ticket, frame, damages } = replayed;
        let frames = self.frames.entry(frame.log).or_default();
        frames.damages = damages;
        if !matches!(frame.body, Body::Append(_)) {
            frames.control = ticket;
        }
        if matches!(frame.body, Body::Restate { .. }) {
            frames.lost_control = false;
        }
        match replay_of(frame.body) {
            Some(replay) => frames.replay.push(replay),
            None => {
                frames.replay.clear();
                frames.is_dropped = true;
            }
        }
    }
}

/// A frame as its log replays it; nothing of a log that was dropped.
fn replay_of(body: Body) -> Option<Replay> {
    Some(match body {
        Body::Append(append) => Replay::Append(log::ReplayedAppend {
            segment_base: append.segment_base,
            position: append.position,
            base_offset: append.base_offset,
            last_offset: append.last_offset,
            bytes: append.bytes,
        }),
        Body::Truncate { to } => Replay::Truncate { to },
        Body::Start { offset } => Replay::Start { offset },
        Body::Epoch { epoch, start_offset } => Replay::Epoch { epoch, start_offset },
        Body::Restate { base, .. } => Replay::Restate { base },
        Body::Drop => return None,
    })
}

impl LogBoot {
    fn new(log: LogId, topic: &Topic) -> LogBoot {
        LogBoot {
            log,
            topic: topic.name.clone(),
            dir: format!("{}-{}", topic.name, log.partition),
            config: LogConfig::from(&*topic.config),
            entries: Vec::new(),
            has_folder: false,
            is_described: false,
            recovering: None,
            recovered: None,
            mending: VecDeque::new(),
            indexes: Vec::new(),
            indexes_left: 0,
        }
    }
}

/// The ring file of a shard.
pub fn ring_path(shard: ShardId) -> String {
    format!("tidemill-journal-{}.ring", shard.0)
}

impl Committing {
    pub fn of(shard: ShardId, files: &mut crate::types::FileIds) -> Committing {
        Committing::new(File {
            id: files.next(),
            path: ring_path(shard).into(),
        })
    }
}
