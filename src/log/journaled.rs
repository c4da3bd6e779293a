//! What a start finds in the journal of one log: the frames that may not be in its segments, and what the journal lost.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::types::{LeaderEpoch, Offset, Position};

/// What the journal has of one log.
#[derive(Clone, Debug, Default)]
pub struct Journaled {
    /// In its order.
    pub frames: Vec<Replay>,
    /// Acknowledged offsets whose frames were damaged.
    pub lost: Vec<RangeInclusive<Offset>>,
    /// Frames were damaged of which nobody can say whose they were, and none of this log lies behind them.
    pub may_have_lost: bool,
}

/// One frame of the journal.
#[derive(Clone, Debug)]
pub enum Replay {
    Append(ReplayedAppend),
    /// Nothing at `to` or above is left.
    Truncate {
        to: Offset,
    },
    Start {
        offset: Offset,
    },
    Epoch {
        epoch: LeaderEpoch,
        start_offset: Offset,
    },
    /// The log's files held everything below `base` when this was written; from there on the log holds what the frames that
    /// follow say, and nothing else.
    Restate {
        base: Offset,
    },
    /// No frame: what is left of some that were damaged. The log ended here by then.
    Ended {
        end: Offset,
    },
}

#[derive(Clone, Debug)]
pub struct ReplayedAppend {
    pub segment_base: Offset,
    pub position: Position,
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub bytes: Bytes,
}
