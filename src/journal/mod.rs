//! The shard's journal: one ring file that every append, truncation and deletion of the shard's logs goes through first.
//!
//! Nothing here touches a file or knows the time. [`Recovery`] says what to read, gives the frames that may not be in their
//! segments, and becomes a [`Journal`]. [`Journal::push`] takes frames, [`Journal::begin_commit`] says what to write,
//! [`Journal::commit_done`] says which tickets that made safe. [`Journal::applied`] and [`Journal::settled`] tell it what
//! has reached the logs' own files, so that the ring can go round.
//!
//! Invariants
//! * One commit in flight. A commit starts at a block that no earlier commit of this incarnation wrote and that lies
//!   outside `tail ..`, where `tail` is the lower anchor of the two superblock copies on the device.
//! * An anchor is at or before the oldest frame that replay needs.
//! * A commit counts if its header continues the chain and all its frames verify, in whatever order its pieces landed.
//! * Appends are refused early enough that everything live can be written once more (carried) without waiting for anything.

pub mod format;
pub mod frame;
mod live;
pub mod parked;
pub mod recent;
mod recovery;
mod report;
mod ring;

pub use format::{BLOCK, RING_START, RingPosition};
pub use frame::{Append, Body, Frame};
pub use recent::LogEnd;
pub use recovery::{Ended, Recovery, Replayed, Start, Step};
pub use report::{Damage, Lost, RecoveryError, Report};
pub use ring::{Commit, Config, Journal, Mode, PieceWrite, Progress, PushError, SuperblockWrite, Usage, group_bytes};

/// The number of a frame in the order of pushes, from 1; replayed frames count too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ticket(pub u64);

#[cfg(test)]
mod tests;
