//! A partition as its shard holds it: the log, its role, and who waits.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::config::{CleanupPolicy, CompressionType, TimestampType as ConfiguredTimestamp, TopicConfig};
use crate::controller::names::is_internal;
use crate::error::ErrorCode;
use crate::journal::Ticket;
use crate::log::Log;
use crate::record::{self, Codec, Compression};
use crate::replica::{Replica, Role};
use crate::types::{Offset, Position};

use super::append::{Pending, Waiter};
use super::folders::Folder;
use super::message::Asker;
use super::upkeep::Saving;

pub struct Partition {
    pub log: Log,
    /// The topic's name.
    pub topic: Arc<str>,
    pub replica: Replica,
    pub config: Arc<TopicConfig>,
    pub folder: Folder,
    /// What was appended while there was no folder.
    pub unplaced_bytes: u64,
    /// Batches that wait their turn; only the front one is worked on.
    pub pending: VecDeque<Pending>,
    /// Appended batches that are not durable yet.
    pub waiters: VecDeque<Waiter>,
    /// Parked fetches. Each of them may wait for every partition, so leaving must not take a look at all the others.
    pub interest: BTreeSet<Asker>,
    /// DeleteRecords that wait for the log's new start to be durable.
    pub starts: Vec<super::offsets::Starting>,
    /// What is below is on the device before any later append is acknowledged.
    pub flushed_to: Offset,
    /// A recovery point on its way.
    pub saving: Option<Saving>,
    /// The newest control frame, which a recovery point settles.
    pub control: Ticket,
    /// Operations under way that name the log's folder: it is not renamed before they are complete.
    pub busy: usize,
    /// Damaged offsets that readers came upon and the log has a line about; not more than [`DAMAGE_TOLD_MAX`].
    pub damage_told: Vec<Offset>,
    /// Where reads failed and the log has a line about it: the segment and the position. Not more than [`DAMAGE_TOLD_MAX`].
    pub failed_told: Vec<(Offset, Position)>,
}

/// A device that loses everything does not get a line for each batch.
pub const DAMAGE_TOLD_MAX: usize = 64;

/// Why a topic's records are kept as they are, with the code for whoever wants to add or delete some: those of the broker's own
/// topics belong to coordinators that are not available yet, and those of a compacted topic to a cleaner.
pub fn read_only(topic: &str, config: &TopicConfig) -> Option<(ErrorCode, String)> {
    if is_internal(topic) {
        let why = format!("{topic} is an internal topic, which clients may only read");
        return Some((ErrorCode::InvalidTopicException, why));
    }
    (config.cleanup_policy == CleanupPolicy::NotFollowed).then(|| {
        let why = format!(
            "{topic} has a cleanup.policy that is not available (compaction is not), so it is served read-only and keeps every \
             record. With cleanup.policy=delete it takes records, and loses old ones as retention.ms and retention.bytes say"
        );
        (ErrorCode::PolicyViolation, why)
    })
}

impl Partition {
    pub fn new(log: Log, replica: Replica, topic: Arc<str>, config: Arc<TopicConfig>, folder: Folder) -> Partition {
        Partition {
            flushed_to: log.durable(),
            log,
            topic,
            replica,
            config,
            folder,
            unplaced_bytes: 0,
            pending: VecDeque::new(),
            waiters: VecDeque::new(),
            interest: BTreeSet::new(),
            starts: Vec::new(),
            saving: None,
            control: Ticket::default(),
            busy: 0,
            damage_told: Vec::new(),
            failed_told: Vec::new(),
        }
    }

    /// A recovery point may be begun.
    pub fn can_save(&self) -> bool {
        self.saving.is_none() && self.folder == Folder::Ready && self.is_online()
    }

    /// Whether the append that ends before `next_offset` is flushed before it is acknowledged. Commits are complete in their
    /// order and a flush covers the earlier ones, so that fewer than `flush.messages` acknowledged records are not on the device.
    pub fn must_flush(&mut self, next_offset: Offset) -> bool {
        let must_flush = next_offset - self.flushed_to >= self.config.flush_messages;
        if must_flush {
            self.flushed_to = next_offset;
        }
        must_flush
    }

    pub fn name(&self) -> &str {
        self.log.name()
    }

    pub fn offline_reason(&self) -> Option<String> {
        match &self.replica.role {
            Role::Offline { why } => Some(why.clone()),
            Role::Leader(_) => None,
        }
    }

    /// See [`read_only`].
    pub fn read_only(&self) -> Option<(ErrorCode, String)> {
        read_only(&self.topic, &self.config)
    }

    pub fn is_online(&self) -> bool {
        matches!(self.replica.role, Role::Leader(_))
    }

    /// What the topic demands of a producer's batch.
    pub fn batch_limits(&self, zstd_allowed: bool) -> record::Limits {
        record::Limits {
            batch_bytes_max: self.config.max_message_bytes,
            inflated_bytes_max: record::batch::inflated_bytes_max(self.config.max_message_bytes),
            inflated_record_bytes_max: self.config.max_decompressed_message_bytes,
            keys_required: false,
            timestamp_type: match self.config.message_timestamp_type {
                ConfiguredTimestamp::CreateTime => record::TimestampType::CreateTime,
                ConfiguredTimestamp::LogAppendTime => record::TimestampType::LogAppendTime,
            },
            timestamp_before_ms_max: self.config.message_timestamp_before_max_ms,
            timestamp_after_ms_max: self.config.message_timestamp_after_max_ms,
            zstd_allowed,
        }
    }

    pub fn stamps_time(&self) -> bool {
        self.config.message_timestamp_type == ConfiguredTimestamp::LogAppendTime
    }

    /// The codec that the topic's batches are stored with, unless it keeps the producer's.
    pub fn recompression(&self) -> Option<Compression> {
        let codec = match self.config.compression_type {
            CompressionType::Producer => return None,
            CompressionType::Uncompressed => Codec::None,
            CompressionType::Gzip => Codec::Gzip,
            CompressionType::Snappy => Codec::Snappy,
            CompressionType::Lz4 => Codec::Lz4,
            CompressionType::Zstd => Codec::Zstd,
        };
        let default = Compression::from(codec);
        let level = match codec {
            Codec::Gzip if self.config.compression_gzip_level != -1 => self.config.compression_gzip_level,
            Codec::Zstd => self.config.compression_zstd_level,
            _ => default.level,
        };
        Some(Compression { codec, level })
    }
}
