//! Who decides, and what a decision is.

use crate::error::ErrorCode;
use crate::types::{NodeId, Random};
use crate::wire::metadata_records::MetadataRecord;

/// What to append, as one group, and what to answer once it is durable and every shard holds the image that it makes.
/// Without records the answer may go at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<R> {
    pub records: Vec<MetadataRecord>,
    pub reply: R,
}

impl<R> Decision<R> {
    pub(super) fn nothing(reply: R) -> Decision<R> {
        Decision {
            records: Vec::new(),
            reply,
        }
    }
}

/// Turns admin requests into decisions. It holds no metadata: every decision is made on the image that it is given, which
/// must hold every record appended so far, durable or not.
///
/// The decisions themselves are in `topics`, `configs` and `producer_ids`, by what they change.
#[derive(Clone, Debug)]
pub struct Controller {
    pub(super) node_id: NodeId,
    /// What the journals have room for; what is asked for beyond it is refused.
    pub(super) partitions_max: usize,
    pub(super) random: Random,
}

impl Controller {
    pub fn new(node_id: NodeId, partitions_max: usize, random: Random) -> Controller {
        Controller {
            node_id,
            partitions_max,
            random,
        }
    }
}

const MESSAGE_BYTES_MAX: usize = 1000;

/// A code and what to say with it, for one topic or resource of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub code: ErrorCode,
    /// As Kafka has it; `None` is null on the wire.
    pub message: Option<String>,
}

impl ApiError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        let mut message = message.into();
        // It may repeat what the client sent, and a string on the wire has its limit.
        if message.len() > MESSAGE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
            message.push_str(" ...");
            message.shrink_to_fit();
        }
        ApiError {
            code,
            message: Some(message),
        }
    }

    /// For errors of which Kafka says nothing but the code.
    pub(super) fn bare(code: ErrorCode) -> ApiError {
        ApiError { code, message: None }
    }

    pub(super) fn unknown_topic() -> ApiError {
        ApiError::new(
            ErrorCode::UnknownTopicOrPartition,
            "This server does not host this topic-partition.",
        )
    }
}
