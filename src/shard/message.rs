//! Messages between shards. One queue per ordered pair; first in, first out.
//!
//! The shard that owns a connection splits a request into one [`Ask`] per owning shard and gets exactly one [`Answer`] for
//! each. A shard asks itself by the same road, without the queue.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::controller::Image;
use crate::error::ErrorCode;
use crate::types::{ConnId, LeaderEpoch, LogId, Offset, ProducerId, ShardId, TopicId};
use crate::wire::configs::*;
use crate::wire::topics::*;

/// A flow of several steps of one shard; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlowId(pub u64);

/// Who asked: where the answer goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Asker {
    pub shard: ShardId,
    pub flow: FlowId,
}

/// What one shard asks or tells another.
#[derive(Debug)]
pub enum Message {
    Ask {
        flow: FlowId,
        ask: Ask,
    },
    Answer {
        flow: FlowId,
        answer: Answer,
    },
    /// A parked fetch of yours has something new to read here.
    Wake {
        flow: FlowId,
    },
    /// The fetch is over: forget its interest.
    Forget {
        flow: FlowId,
    },
    /// Durable metadata, from the controller's shard. With the first one come the topics of which the metadata log still says
    /// that they were deleted; later none.
    Image {
        image: Arc<Image>,
        deleted: Arc<BTreeSet<TopicId>>,
    },
    /// This shard acts on the metadata up to this offset of the metadata log.
    ImageHeld {
        offset: Offset,
    },
    /// This shard has written everything to its segments.
    Sealed {
        logs: Vec<SealedLog>,
        is_clean: bool,
    },
    /// Every shard has: nobody asks anybody anything any more.
    AllSealed,
}

/// What Kafka's per-folder checkpoint files say of a log after a clean stop.
#[derive(Debug, Clone)]
pub struct SealedLog {
    pub topic: Arc<str>,
    pub partition: i32,
    pub start: Offset,
    pub high_watermark: Offset,
    pub recovery_point: Offset,
}

#[derive(Debug)]
pub enum Ask {
    Append {
        /// Of the shard that asks.
        conn: ConnId,
        acks: i16,
        deadline_us: u64,
        items: Vec<AppendItem>,
    },
    Read {
        items: Vec<ReadItem>,
        bytes_max: usize,
        park: bool,
    },
    ListOffsets {
        items: Vec<ListItem>,
    },
    EpochEnd {
        items: Vec<EpochItem>,
    },
    DeleteRecords {
        items: Vec<DeleteItem>,
    },
    LogSizes,
    /// To the controller's shard.
    Admin(AdminRequest),
}

#[derive(Debug)]
pub enum Answer {
    Append {
        items: Vec<AppendOutcome>,
    },
    /// `is_short`: memory is, see [`Grant`](super::outgoing::Grant).
    Read {
        items: Vec<ReadOutcome>,
        is_short: bool,
    },
    ListOffsets {
        items: Vec<ListOutcome>,
    },
    EpochEnd {
        items: Vec<EpochOutcome>,
    },
    DeleteRecords {
        items: Vec<DeleteOutcome>,
    },
    LogSizes {
        logs: Vec<LogSize>,
    },
    Admin(Box<AdminReply>),
}

/// `slot` is the partition's place in the request, so that the answer finds it again.
#[derive(Debug)]
pub struct AppendItem {
    pub slot: usize,
    pub log: LogId,
    pub records: BytesMut,
    /// The producer's consumers may know zstd (KIP-110).
    pub zstd_allowed: bool,
}

#[derive(Debug, Clone)]
pub struct AppendOutcome {
    pub slot: usize,
    pub error: ErrorCode,
    pub message: Option<String>,
    /// The record that is to blame (KIP-467).
    pub record_index: Option<i32>,
    pub base_offset: Offset,
    pub log_append_time_ms: i64,
    pub log_start: Offset,
}

#[derive(Debug, Clone)]
pub struct ReadItem {
    pub slot: usize,
    pub log: LogId,
    pub offset: Offset,
    pub bytes_max: usize,
    pub leader_epoch: LeaderEpoch,
    /// -1 when the fetcher does not say.
    pub last_fetched_epoch: LeaderEpoch,
    pub read_committed: bool,
}

#[derive(Debug, Clone)]
pub struct ReadOutcome {
    pub slot: usize,
    pub error: ErrorCode,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    pub log_start: Offset,
    /// (epoch, its end offset) where the fetcher's log leaves ours (KIP-595).
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Whole batches.
    pub slices: Vec<Bytes>,
}

impl ReadOutcome {
    pub fn without_records(slot: usize, error: ErrorCode) -> ReadOutcome {
        ReadOutcome {
            slot,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start: -1,
            diverging: None,
            slices: Vec::new(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct ListItem {
    pub slot: usize,
    pub log: LogId,
    pub leader_epoch: LeaderEpoch,
    /// Milliseconds, or one of ListOffsets' special values.
    pub timestamp: i64,
    pub read_committed: bool,
}

#[derive(Debug, Clone)]
pub struct ListOutcome {
    pub slot: usize,
    pub error: ErrorCode,
    pub timestamp: i64,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

#[derive(Debug, Clone)]
pub struct EpochItem {
    pub slot: usize,
    pub log: LogId,
    pub current_leader_epoch: LeaderEpoch,
    pub leader_epoch: LeaderEpoch,
}

#[derive(Debug, Clone)]
pub struct EpochOutcome {
    pub slot: usize,
    pub error: ErrorCode,
    pub leader_epoch: LeaderEpoch,
    pub end_offset: Offset,
}

#[derive(Debug, Clone)]
pub struct DeleteItem {
    pub slot: usize,
    pub log: LogId,
    /// -1: up to the high watermark.
    pub before: Offset,
}

#[derive(Debug, Clone)]
pub struct DeleteOutcome {
    pub slot: usize,
    pub error: ErrorCode,
    pub low_watermark: Offset,
}

#[derive(Debug, Clone)]
pub struct LogSize {
    pub log: LogId,
    pub size_bytes: u64,
}

/// What only the controller decides.
#[derive(Debug)]
pub enum AdminRequest {
    CreateTopics(CreateTopicsRequest),
    /// With the request's version, which says how topics are named.
    DeleteTopics(DeleteTopicsRequest, i16),
    CreatePartitions(CreatePartitionsRequest),
    AlterConfigs(AlterConfigsRequest),
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest),
    AutoCreate(Vec<String>),
    ProducerIds,
}

#[derive(Debug)]
pub enum AdminReply {
    CreateTopics(CreateTopicsResponse),
    DeleteTopics(DeleteTopicsResponse),
    CreatePartitions(CreatePartitionsResponse),
    AlterConfigs(AlterConfigsResponse),
    IncrementalAlterConfigs(IncrementalAlterConfigsResponse),
    AutoCreate(Vec<(String, ErrorCode)>),
    /// The first of a block.
    ProducerIds(Result<ProducerId, ErrorCode>),
    /// The metadata log takes nothing; the client may try again.
    Unavailable,
}

impl AppendOutcome {
    pub fn refused(slot: usize, error: ErrorCode, message: Option<String>) -> AppendOutcome {
        AppendOutcome {
            slot,
            error,
            message,
            record_index: None,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start: -1,
        }
    }
}
