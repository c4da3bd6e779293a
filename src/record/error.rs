//! What is wrong with a batch, in words and as the protocol's code.

use crate::error::ErrorCode;
use crate::types::{Offset, ProducerId};

use super::compress::Codec;

/// Why a batch is refused. [`RecordError::code`] is what Kafka 4.4 answers, or the nearest that a producer acts on well.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    #[error("there is no record batch")]
    Empty,
    #[error("the record batch has {have} bytes of {size}")]
    Truncated { size: usize, have: usize },
    #[error("the record batch claims a length of {length}")]
    Length { length: i32 },
    #[error("message format {magic} is not supported, only format 2 is")]
    OldFormat { magic: u8 },
    #[error("unknown record batch magic {magic}")]
    UnknownMagic { magic: u8 },
    #[error("only one record batch is allowed, {extra} bytes follow it")]
    MoreThanOneBatch { extra: usize },
    #[error("the record batch has {size} bytes, the topic allows {max}")]
    TooLarge { size: usize, max: usize },
    #[error("the record batch is corrupt: its CRC is {stored:#010x}, its bytes give {computed:#010x}")]
    Crc { stored: u32, computed: u32 },
    #[error("the base offset of a produced record batch must be 0, not {base_offset}")]
    BaseOffset { base_offset: Offset },
    #[error("the record batch claims {count} records and a last offset delta of {last_offset_delta}")]
    Count { count: i32, last_offset_delta: i32 },
    #[error(
        "the record batch claims the offsets from {base_offset} on with a last offset delta of {last_offset_delta}"
    )]
    Offsets {
        base_offset: Offset,
        last_offset_delta: i32,
    },
    #[error("clients may not write control records")]
    Control,
    #[error("invalid sequence number {base_sequence} in a record batch of producer {producer_id}")]
    Sequence {
        base_sequence: i32,
        producer_id: ProducerId,
    },
    #[error("unknown compression type {id}")]
    UnknownCompression { id: u8 },
    #[error("zstd needs Produce version 7 or newer")]
    ZstdNotAllowed,
    #[error("record {index} is invalid: {what}")]
    Record { index: i32, what: &'static str },
    #[error("bytes follow the last of {count} records")]
    BytesAfterRecords { count: i32 },
    #[error("record {index} has no key, which a compacted topic needs")]
    KeyMissing { index: i32 },
    #[error("timestamp {timestamp} of record {index} is out of range: it should be within [{earliest}, {latest}]")]
    TimestampOutOfRange {
        index: i32,
        timestamp: i64,
        earliest: i64,
        latest: i64,
    },
    #[error("producers may not set the timestamp type to LogAppendTime")]
    AppendTimeFromProducer,
    #[error("the records cannot be decompressed: {codec}: {what}")]
    Inflate { codec: Codec, what: String },
    #[error("the records inflate to more than {max} bytes")]
    InflatedTooLarge { max: usize },
    #[error("record {index} has {length} bytes, the topic's max.decompressed.message.bytes is {max}")]
    RecordTooLarge { index: i32, length: usize, max: usize },
    #[error("the record batch could not be checked; the broker's log says why")]
    Unchecked,
}

impl RecordError {
    /// The code for the partition's part of the response.
    pub fn code(&self) -> ErrorCode {
        use RecordError::*;
        match self {
            // Retriable: a transport or a memory may have flipped a bit, the producer still has the true bytes.
            Truncated { .. } | Length { .. } | UnknownMagic { .. } | Crc { .. } | Offsets { .. } | Unchecked => {
                ErrorCode::CorruptMessage
            }
            // The CRC is right, so it was built wrong: sending it again would not help.
            Empty
            | OldFormat { .. }
            | MoreThanOneBatch { .. }
            | BaseOffset { .. }
            | Count { .. }
            | Control
            | Sequence { .. }
            | Record { .. }
            | BytesAfterRecords { .. }
            | KeyMissing { .. }
            | RecordTooLarge { .. }
            | Inflate { .. } => ErrorCode::InvalidRecord,
            TooLarge { .. } | InflatedTooLarge { .. } => ErrorCode::MessageTooLarge,
            UnknownCompression { .. } | ZstdNotAllowed => ErrorCode::UnsupportedCompressionType,
            TimestampOutOfRange { .. } | AppendTimeFromProducer => ErrorCode::InvalidTimestamp,
        }
    }

    /// The record within the batch that is to blame, for `record_errors` of the Produce response (KIP-467).
    pub fn record_index(&self) -> Option<i32> {
        match self {
            RecordError::Record { index, .. }
            | RecordError::KeyMissing { index }
            | RecordError::TimestampOutOfRange { index, .. } => Some(*index),
            _ => None,
        }
    }
}
