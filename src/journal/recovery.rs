//! From a ring file to a running journal, step by step.

use bytes::Bytes;

use super::Ticket;
use super::format::{RingPosition, Superblock, SuperblockRead};
use super::frame::Frame;
use super::ring::{Config, Journal};
use crate::types::{LogId, Offset, Position};

/// What a start knows before it reads anything.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// `ring_bytes` is what the settings ask for; a ring of another size is used as it is, see [`Report::ring_bytes`].
    pub config: Config,
    /// Length of the ring file; `None` when there is none.
    pub file_bytes: Option<u64>,
    /// Random; used when a ring is created.
    pub nonce: u64,
    /// Whether the bytes are exactly one v2 batch whose CRC-32C is right.
    pub check_batch: fn(&[u8]) -> bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Read this range of the ring file, then [`Recovery::read_done`].
    Read { position: Position, len: usize },
    /// Make the ring file anew: remove it, fill it with zeros up to `len`, sync it and its folder; then [`Recovery::created`].
    Create { len: u64 },
    /// The next frame to fold. Ask for the next step.
    Frame(Replayed),
    /// Nothing more to fold: [`Recovery::finish`].
    Done,
}

/// A frame from before the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    pub ticket: Ticket,
    pub frame: Frame,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    #[error(
        "the journal was written by a newer version of Tidemill (format {version}, this one reads 1): start that version, or \
         stop it cleanly and trim the folder with it first"
    )]
    Newer { version: u32 },
    #[error(
        "both superblocks of the journal are damaged, so acknowledged records in it cannot be found: restore the file from a \
         copy, or move it away to start with what the segments hold"
    )]
    Superblocks,
    #[error("the journal file is {found} bytes long, but its superblock says {expected}: restore it from a copy")]
    Short { found: u64, expected: u64 },
}

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// There was no ring, or an unused one.
    pub created: bool,
    /// The last stop was clean.
    pub clean: bool,
    /// Of the ring in use. When it is not what the settings ask for, replace it once [`Journal::is_empty`].
    pub ring_bytes: u64,
    pub shard: u16,
    pub shards: u16,
    pub commits: u64,
    pub frames: u64,
    /// Ring position at which an incomplete commit was cut off; it was never acknowledged.
    pub torn_at: Option<RingPosition>,
    /// Acknowledged without a flush, and lost with the power: ring bytes.
    pub unflushed_bytes_lost: u64,
    /// One superblock copy was unreadable; the next write of it mends it.
    pub superblock_mended: bool,
    pub damage: Vec<Damage>,
}

/// Acknowledged frames that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub position: RingPosition,
    pub bytes: u64,
    /// The append that lay there, if its header still says so; otherwise any log may miss something.
    pub lost: Option<(LogId, Offset, Offset)>,
}

#[derive(Debug)]
pub struct Recovery {
    start: Start,
    state: State,
    report: Report,
}

#[derive(Debug)]
enum State {
    Superblocks,
    Create,
    Done(Box<Journal>),
}

impl Recovery {
    pub fn new(start: Start) -> Recovery {
        let state = match start.file_bytes {
            Some(_) => State::Superblocks,
            None => State::Create,
        };
        Recovery {
            start,
            state,
            report: Report::default(),
        }
    }

    /// What to do next. The same step again until it is answered.
    pub fn step(&mut self) -> Result<Step, RecoveryError> {
        Ok(match &self.state {
            State::Superblocks => Step::Read { position: 0, len: 8192 },
            State::Create => Step::Create {
                len: self.start.config.file_bytes(),
            },
            State::Done(_) => Step::Done,
        })
    }

    /// The answer to [`Step::Read`]; shorter at the end of the file.
    pub fn read_done(&mut self, bytes: Bytes) {
        if let SuperblockRead::Valid(Superblock { .. }) = Superblock::decode(&bytes) {
            self.report.superblock_mended = false;
        }
        self.state = State::Create;
    }

    /// The answer to [`Step::Create`].
    pub fn created(&mut self) {
        self.report.created = true;
        self.report.ring_bytes = self.start.config.ring_bytes;
        self.state = State::Done(Box::new(Journal::create(self.start.config, self.start.nonce)));
    }

    /// After [`Step::Done`].
    pub fn finish(self) -> (Journal, Report) {
        match self.state {
            State::Done(journal) => (*journal, self.report),
            _ => unreachable!("recovery is not done"),
        }
    }
}
