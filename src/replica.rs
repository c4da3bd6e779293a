//! A partition's role, its in-sync set and its high watermark.
//!
//! On a single node every partition is a leader whose in-sync set is itself, and acks, minimum in-sync and high watermark
//! run through the same functions that a replicated partition will use.

use crate::error::ErrorCode;
use crate::types::{LeaderEpoch, NodeId, Offset};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// Serves nothing until a restart or an image says otherwise; the reason is for people.
    Offline {
        why: String,
    },
    Leader(Leader),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leader {
    /// Brokers whose copies count, this one included.
    pub in_sync: Vec<NodeId>,
    /// `min.insync.replicas` of the topic, or all replicas where there are fewer.
    pub in_sync_min: usize,
}

/// Invariants: `high_watermark` never falls within a leader epoch and never exceeds the least durable end of the in-sync set.
#[derive(Clone, Debug)]
pub struct Replica {
    pub role: Role,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    high_watermark: Offset,
}

impl Replica {
    /// `high_watermark` is the restored one; it is clamped to what the log holds.
    pub fn leader(leader: Leader, leader_epoch: LeaderEpoch, partition_epoch: i32, high_watermark: Offset) -> Replica {
        Replica {
            role: Role::Leader(leader),
            leader_epoch,
            partition_epoch,
            high_watermark,
        }
    }

    pub fn set_in_sync_min(&mut self, min: usize) {
        if let Role::Leader(leader) = &mut self.role {
            leader.in_sync_min = min;
        }
    }

    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// True when the high watermark moved. It is frozen while the in-sync set is below its minimum (KIP-966), and offline.
    pub fn durable(&mut self, durable_end: Offset) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        // The in-sync set is this broker alone, so the least durable end is our own.
        if leader.in_sync.len() < leader.in_sync_min || durable_end <= self.high_watermark {
            return false;
        }
        self.high_watermark = durable_end;
        true
    }

    /// May a produce with these acks be appended (-1: all in-sync copies, 0, 1)?
    pub fn accepts(&self, acks: i16) -> Result<(), ErrorCode> {
        match &self.role {
            Role::Offline { .. } => Err(ErrorCode::KafkaStorageError),
            Role::Leader(leader) if acks == -1 && leader.in_sync.len() < leader.in_sync_min => {
                Err(ErrorCode::NotEnoughReplicas)
            }
            Role::Leader(_) => Ok(()),
        }
    }

    /// Checks the leader epoch that a client believes in; -1 means that it does not say (KIP-320).
    pub fn check_epoch(&self, claimed: LeaderEpoch) -> Result<(), ErrorCode> {
        match &self.role {
            Role::Offline { .. } => Err(ErrorCode::KafkaStorageError),
            Role::Leader(_) if claimed == -1 || claimed == self.leader_epoch => Ok(()),
            Role::Leader(_) if claimed < self.leader_epoch => Err(ErrorCode::FencedLeaderEpoch),
            Role::Leader(_) => Err(ErrorCode::UnknownLeaderEpoch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(in_sync_min: usize) -> Replica {
        Replica::leader(
            Leader {
                in_sync: vec![1],
                in_sync_min,
            },
            3,
            0,
            0,
        )
    }

    #[test]
    fn the_high_watermark_follows_the_durable_end() {
        let mut replica = alone(1);
        assert!(replica.durable(5));
        assert!(!replica.durable(4));
        assert_eq!(replica.high_watermark(), 5);
    }

    #[test]
    fn below_the_minimum_it_is_frozen_and_acks_all_is_refused() {
        let mut replica = alone(2);
        assert!(!replica.durable(5));
        assert_eq!(replica.accepts(-1), Err(ErrorCode::NotEnoughReplicas));
        assert_eq!(replica.accepts(1), Ok(()));
    }

    #[test]
    fn epochs_are_told_apart() {
        let replica = alone(1);
        assert_eq!(replica.check_epoch(-1), Ok(()));
        assert_eq!(replica.check_epoch(2), Err(ErrorCode::FencedLeaderEpoch));
        assert_eq!(replica.check_epoch(4), Err(ErrorCode::UnknownLeaderEpoch));
    }
}
