//! What a start found in the ring, in words.

use std::fmt;

use super::format::RingPosition;
use crate::types::{LogId, Offset};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    #[error(
        "the journal was written by a newer version of Tidemill (its format is {version}, this one reads {}): start that \
         version, or stop it cleanly and run its `trim` first",
        super::format::VERSION
    )]
    Newer { version: u32 },
    #[error(
        "both superblocks of the journal are damaged, so the acknowledged records in it cannot be found: restore the file \
         from a copy"
    )]
    Superblocks,
    #[error("the journal is {found} bytes long where its superblock says {expected}: restore the file from a copy")]
    Short { found: u64, expected: u64 },
}

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// There was no ring, or one that was never used.
    pub created: bool,
    /// The last stop was clean.
    pub clean: bool,
    /// Of the ring in use. When it is not what the settings ask for, replace the ring once
    /// [`Journal::is_empty`](super::Journal::is_empty).
    pub ring_bytes: u64,
    /// Who wrote it.
    pub shard: u16,
    pub shards: u16,
    /// The incarnation that begins now.
    pub incarnation: u64,
    /// Replayed.
    pub commits: u64,
    pub frames: u64,
    /// Carried sets among them.
    pub sets: u64,
    pub bytes: u64,
    /// Where an incomplete commit was cut off, which was never acknowledged.
    pub torn_at: Option<RingPosition>,
    /// Ring bytes that were acknowledged without a flush and did not survive the power.
    pub unflushed_bytes_lost: u64,
    /// One copy of the superblock was unreadable; the next write mends it.
    pub superblock_mended: bool,
    pub damage: Vec<Damage>,
    /// The number of the last damaged stretch of which nobody can say what it held, counted like `Replayed::damages`; 0 for
    /// none.
    pub unknown_damages: u32,
}

/// Acknowledged bytes that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    pub position: RingPosition,
    pub bytes: u64,
    /// What lay there, if that can still be said; otherwise any log may miss something, which a later frame of it shows.
    pub lost: Option<Lost>,
    /// Commits behind it say which logs it held, and where those ended: see [`Step::Ended`](super::Step::Ended).
    pub is_attributed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    pub log: LogId,
    /// `Offset::MIN` when it is not known.
    pub from: Offset,
    /// Inclusive; `Offset::MAX` when only the beginning is known.
    pub to: Offset,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.created {
            return write!(f, "journal of {} bytes created", self.ring_bytes);
        }
        let stop = if self.clean { "a clean stop" } else { "an unclean stop" };
        write!(
            f,
            "journal replayed after {stop}: {} frames in {} commits, {} bytes",
            self.frames, self.commits, self.bytes
        )?;
        if let Some(position) = self.torn_at {
            write!(
                f,
                "; an incomplete commit at {position} was cut off, none of it acknowledged"
            )?;
        }
        if self.unflushed_bytes_lost > 0 {
            write!(
                f,
                "; {} bytes that topics with flush.messages above 1 had acknowledged were lost",
                self.unflushed_bytes_lost
            )?;
        }
        if self.superblock_mended {
            write!(f, "; one superblock was unreadable and is written again")?;
        }
        for damage in &self.damage {
            write!(f, "; {damage}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DAMAGED: {} bytes at {}", self.bytes, self.position)?;
        match self.lost {
            Some(Lost {
                log,
                from,
                to: Offset::MAX,
            }) => write!(f, ", {log} misses records from {from}"),
            Some(Lost { log, from, to }) => write!(f, ", {log} misses records {from}..={to}"),
            None if self.is_attributed => write!(f, ", and later commits say what they held"),
            None => Ok(()),
        }
    }
}
