//! From a ring file to a running journal, step by step: it says what to read and is told the bytes. Nothing is written
//! before the new journal's superblocks, so a crash at any step leads to the same steps again.
//!
//! Walk, from the newest superblock's anchor: a header continues the chain if its position, sequence, previous checksum and
//! incarnation are the expected ones. Where none does, either the chain ends (a commit was torn before it could be
//! acknowledged, or there is none) or a header was damaged later. The rest of the ring is searched to tell: a header further
//! on that says, in its `durable` field, that the missing commit had been flushed when it was written proves damage.
//! Commits that nothing proves flushed count only if all their frames verify; the first that does not ends the chain.
//! (Damage in the very last commit cannot be told from a torn one, and is taken for it. A journal that falls idle writes one
//! without frames behind it: [`Journal::close_chain`].)
//!
//! Replay, from the newest header's `replay_from`: frames in order, each verified again. What is damaged is reported with
//! the offsets that its header still tells; intact frames around it are given. Where not even a frame's header is left, the
//! list of a commit behind it says which logs the damaged commits held and where those ended ([`Step::Ended`]), so that no other
//! log is suspected, and one that is there up to that offset is proved intact.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::Ticket;
use super::format::{BLOCK, Boundary, COMMIT_HEADER_BYTES, CommitHeader, RING_START, RingPosition, Superblock};
use super::frame::{self, Body, Decoded, FRAME_ALIGN, Frame};
use super::live::{Kind, Live, Note, NotedSet};
use super::recent::{self, Control, Recent};
use super::report::{Damage, Lost, RecoveryError, Report};
use super::ring::{Config, Journal, Origin};
use crate::record::StampedBatch;
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
    /// The last stop was clean, so nothing is in the ring: one that is damaged, or not of the size that the settings ask for, is
    /// made anew.
    pub is_empty: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read this range of the ring file (whole blocks), then [`Recovery::read_done`].
    Read { position: Position, len: usize },
    /// Make the ring file anew: remove it, fill it with zeros up to `len`, sync it and its folder; then [`Recovery::created`].
    Create { len: u64 },
    /// Flush the ring file (fdatasync): what was read may not be on the device yet. Then [`Recovery::synced`].
    Sync,
    /// The next frame to fold; ask for the next step.
    ///
    /// Per log, an append whose base offset is below the log's end is there already: skip it. One whose base offset is above
    /// it belongs to a part that was written again later: skip it, and expect a [`Body::Restate`], which cuts the log to its
    /// base (appends follow), or a truncation or drop. If none comes, the log misses records: it is damaged.
    Frame(Replayed),
    /// A log may have lost frames by now, and ended so far. Ask for the next step.
    Ended(Ended),
    /// Nothing more to fold: [`Recovery::finish`].
    Done,
}

/// What is left of damaged frames: where their log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub log: LogId,
    /// The offset after its last record, if that is known.
    pub end: Option<Offset>,
    /// Something is lost that nothing else says: a start, a cut.
    pub lost_control: bool,
}

/// A frame from before the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// For [`Journal::settled`].
    pub ticket: Ticket,
    pub frame: Frame,
    /// How many damaged stretches lie before it of which nobody can say whose frames they held.
    pub damages: u32,
}

#[derive(Debug)]
pub struct Recovery {
    start: Start,
    /// Of the ring in use.
    config: Config,
    phase: Phase,
    window: Window,
    superblock: Option<Superblock>,
    /// Where the chain goes on; in the end the new journal's head.
    boundary: Boundary,
    /// Of the newest header on the chain.
    incarnation: u64,
    /// Newest sequence that some header or superblock says was flushed.
    proven: u64,
    found: VecDeque<Found>,
    set: Option<Set>,
    /// The last thing seen was damage: a set that goes on now has lost its beginning.
    behind_damage: bool,
    ready: VecDeque<Step>,
    live: Live,
    recent: Recent,
    /// Damaged stretches of which no commit said yet what they held.
    unattributed: Vec<Stretch>,
    /// The last commits are gone without a trace.
    ends_in_damage: bool,
    tickets: u64,
    /// Damaged stretches so far that may have held frames of any log.
    damages: u32,
    report: Report,
}

#[derive(Debug)]
enum Phase {
    Superblocks,
    /// No superblock is intact: the ring was never used, unless there is anything at `at` of the file or behind it.
    Blank {
        at: Position,
    },
    Create,
    Walk,
    Search {
        at: RingPosition,
        /// The first header behind the gap.
        first: Option<CommitHeader>,
        /// Where the last header that proves nothing says that its commit ends.
        end: RingPosition,
    },
    /// Verifies `found[index]`.
    Verify {
        index: usize,
    },
    Sync,
    Replay,
    Done,
}

/// A piece of the chain, in order.
#[derive(Debug)]
enum Found {
    Commit(CommitHeader),
    /// Acknowledged commits without a readable header.
    Gap {
        from: Boundary,
        to: RingPosition,
        /// Exclusive.
        sequence_end: u64,
    },
}

impl Found {
    fn end(&self) -> RingPosition {
        match self {
            Found::Commit(header) => header.position + header.ring_bytes(),
            Found::Gap { to, .. } => *to,
        }
    }
}

/// Damage that may have held frames of any log.
#[derive(Debug)]
struct Stretch {
    /// Sequences of the commits in which it lies.
    first: u64,
    last: u64,
    /// Counted from 1.
    number: u32,
    /// In the report.
    index: usize,
}

/// A carried set, kept back until it is complete.
#[derive(Debug)]
struct Set {
    restate: Frame,
    base: Offset,
    missing: u32,
    frames: Vec<Frame>,
    position: RingPosition,
}

impl Recovery {
    pub fn new(start: Start) -> Recovery {
        let phase = match start.file_bytes {
            Some(1..) => Phase::Superblocks,
            Some(0) | None => Phase::Create,
        };
        Recovery {
            start,
            config: start.config,
            phase,
            window: Window::default(),
            superblock: None,
            boundary: Boundary {
                position: 0,
                sequence: 1,
                previous: 0,
            },
            incarnation: 0,
            proven: 0,
            found: VecDeque::new(),
            set: None,
            behind_damage: false,
            ready: VecDeque::new(),
            live: Live::default(),
            recent: Recent::default(),
            unattributed: Vec::new(),
            ends_in_damage: false,
            tickets: 0,
            damages: 0,
            report: Report::default(),
        }
    }

    /// What to do next. The same again until it is answered.
    pub fn step(&mut self) -> Result<Step, RecoveryError> {
        loop {
            if let Some(step) = self.ready.pop_front() {
                return Ok(step);
            }
            let read = match self.phase {
                Phase::Superblocks => self.superblocks()?,
                Phase::Blank { at } => self.blank(at)?,
                Phase::Create => {
                    return Ok(Step::Create {
                        len: self.start.config.file_bytes(),
                    });
                }
                Phase::Walk => self.walk(),
                Phase::Search { at, first, end } => self.search(at, first, end),
                Phase::Verify { index } => self.verify(index),
                Phase::Sync => return Ok(Step::Sync),
                Phase::Replay => self.replay(),
                Phase::Done => return Ok(Step::Done),
            };
            if let Some(Missing { position, len }) = read {
                return Ok(Step::Read { position, len });
            }
        }
    }

    /// The answer to [`Step::Read`]; what the file does not have counts as zeros.
    pub fn read_done(&mut self, bytes: Bytes) {
        self.window.fill(bytes);
    }

    /// The answer to [`Step::Sync`].
    pub fn synced(&mut self) {
        self.phase = Phase::Replay;
    }

    /// The answer to [`Step::Create`].
    pub fn created(&mut self) {
        self.report.created = true;
        self.report.ring_bytes = self.start.config.ring_bytes;
        self.report.incarnation = 1;
        self.phase = Phase::Done;
    }

    /// After [`Step::Done`].
    pub fn finish(mut self) -> (Journal, Report) {
        assert!(matches!(self.phase, Phase::Done), "recovery is not done");
        if let Some(last) = self.unattributed.last() {
            self.report.unknown_damages = last.number;
            self.recent.forget_before(last.last + 1);
        }
        if self.ends_in_damage {
            self.report.unknown_damages = self.damages + 1;
        }
        let Some(superblock) = self.superblock else {
            return (Journal::create(self.start.config, self.start.nonce), self.report);
        };
        let journal = Journal::new(Origin {
            config: self.config,
            nonce: superblock.nonce,
            incarnation: superblock.incarnation + 1,
            head: self.boundary,
            anchor: superblock.anchor,
            generation: superblock.generation,
            live: self.live,
            recent: self.recent,
            tickets: self.tickets,
        });
        (journal, self.report)
    }

    // ------------------------------------------------------------------------------------------------ superblocks

    fn superblocks(&mut self) -> Result<Option<Missing>, RecoveryError> {
        let Some(head) = self.window.file(0, RING_START) else {
            return Ok(Some(self.window.missing_in_file(RING_START)));
        };
        let found = self.start.file_bytes.unwrap_or(0);
        let (superblock, is_mended) = match Superblock::newest(&head, found) {
            Ok(Some((superblock, _)))
                if self.start.is_empty && superblock.clean && superblock.ring_bytes != self.config.ring_bytes =>
            {
                self.phase = Phase::Create;
                return Ok(None);
            }
            Ok(Some(newest)) => newest,
            Err(error @ RecoveryError::Newer { .. }) => return Err(error),
            Ok(None) | Err(_) if self.start.is_empty => {
                self.phase = Phase::Create;
                return Ok(None);
            }
            Ok(None) => {
                self.phase = Phase::Blank { at: RING_START };
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        self.report.superblock_mended = is_mended;
        self.report.clean = superblock.clean;
        self.report.ring_bytes = superblock.ring_bytes;
        self.report.shard = superblock.shard;
        self.report.shards = superblock.shards;
        self.report.incarnation = superblock.incarnation + 1;
        if superblock.ring_bytes != self.config.ring_bytes {
            self.config = Config {
                piece_bytes: self.config.piece_bytes,
                ..Config::new(superblock.ring_bytes, self.config.shard, self.config.shards)
            };
        }
        self.boundary = superblock.anchor;
        self.proven = superblock.durable;
        self.window = Window {
            ring_bytes: superblock.ring_bytes,
            limit: superblock.anchor.position + superblock.ring_bytes,
            ..Window::default()
        };
        self.superblock = Some(superblock);
        self.phase = if superblock.clean { Phase::Done } else { Phase::Walk };
        Ok(None)
    }

    /// A commit is only ever written behind two valid superblocks: without one, the ring is made anew if nothing else is
    /// there, however the first superblock was torn, and is refused if there is.
    fn blank(&mut self, at: Position) -> Result<Option<Missing>, RecoveryError> {
        let left = self.start.file_bytes.unwrap_or(0).saturating_sub(at);
        if left == 0 {
            self.phase = Phase::Create;
            return Ok(None);
        }
        let len = left.next_multiple_of(BLOCK).min(READ_BYTES);
        let Some(bytes) = self.window.file(at, len) else {
            return Ok(Some(self.window.missing_in_file(len)));
        };
        if bytes.iter().any(|&b| b != 0) {
            return Err(RecoveryError::Superblocks);
        }
        self.phase = Phase::Blank { at: at + len };
        Ok(None)
    }

    // ------------------------------------------------------------------------------------------------ the chain

    fn walk(&mut self) -> Option<Missing> {
        let at = self.boundary.position;
        let header = if at < self.window.limit {
            let Some(bytes) = self.window.header(at) else {
                return Some(self.window.missing(BLOCK));
            };
            self.header(&bytes, at)
        } else {
            None
        };
        match header {
            Some((header, checksum))
                if header.sequence == self.boundary.sequence && header.previous == self.boundary.previous =>
            {
                self.follow(header, checksum);
            }
            _ => {
                self.phase = Phase::Search {
                    at: at + BLOCK,
                    first: None,
                    end: at,
                }
            }
        }
        None
    }

    /// The header that belongs at `at`, as far as that can be said without knowing the one before it.
    fn header(&self, bytes: &[u8], at: RingPosition) -> Option<(CommitHeader, u32)> {
        let superblock = self.superblock.as_ref().expect("read before the ring");
        let (header, checksum) = CommitHeader::decode(bytes, superblock.nonce)?;
        let alive = if at < superblock.incarnation_start {
            header.incarnation < superblock.incarnation
        } else {
            header.incarnation == superblock.incarnation
        };
        let fits = header.length <= superblock.ring_bytes && at + header.ring_bytes() <= self.window.limit;
        let belongs = header.position == at && header.incarnation >= self.incarnation && alive && fits;
        belongs.then_some((header, checksum))
    }

    fn follow(&mut self, header: CommitHeader, checksum: u32) {
        self.incarnation = header.incarnation;
        self.proven = self.proven.max(header.durable);
        self.found.push_back(Found::Commit(header));
        self.boundary = Boundary {
            position: header.position + header.ring_bytes(),
            sequence: header.sequence + 1,
            previous: checksum,
        };
    }

    /// No header at the boundary: looks for one further on that proves that there was one.
    fn search(
        &mut self,
        mut at: RingPosition,
        mut first: Option<CommitHeader>,
        mut end: RingPosition,
    ) -> Option<Missing> {
        while at < self.window.limit {
            let Some(bytes) = self.window.header(at) else {
                self.phase = Phase::Search { at, first, end };
                return Some(self.window.missing(BLOCK));
            };
            if let Some((header, _)) = self.header(&bytes, at)
                && header.sequence > self.boundary.sequence
            {
                self.proven = self.proven.max(header.durable);
                end = header.position + header.ring_bytes();
                let first = *first.get_or_insert(header);
                if self.proven >= self.boundary.sequence {
                    self.found.push_back(Found::Gap {
                        from: self.boundary,
                        to: first.position,
                        sequence_end: first.sequence,
                    });
                    // The header behind the gap is taken as it is: its predecessor cannot be asked.
                    self.boundary = Boundary {
                        position: first.position,
                        sequence: first.sequence,
                        previous: first.previous,
                    };
                    self.phase = Phase::Walk;
                    return None;
                }
            }
            at += BLOCK;
        }
        // Commits were written behind one of which not even the header is left: none of them was flushed, as far as one can see.
        self.report.unflushed_bytes_lost = end - self.boundary.position;
        let unproven = |found: &Found| matches!(found, Found::Commit(header) if header.sequence > self.proven);
        let index = self.found.iter().position(unproven).unwrap_or(self.found.len());
        self.phase = Phase::Verify { index };
        None
    }

    /// Commits that may have been in flight, or were never flushed: the first incomplete one ends the chain.
    fn verify(&mut self, index: usize) -> Option<Missing> {
        let Some(found) = self.found.get(index) else {
            self.chain_ends();
            return None;
        };
        if let Found::Commit(header) = found {
            let header = *header;
            let Some(bytes) = self.window.get(header.position, header.ring_bytes()) else {
                return Some(self.window.missing(header.ring_bytes()));
            };
            let commit = Bytes::copy_from_slice(&bytes[..header.length as usize]);
            if !self.is_complete(&header, &commit) {
                let lost = self.boundary.position + self.report.unflushed_bytes_lost - header.position;
                let later = lost - header.ring_bytes();
                self.report.torn_at = Some(header.position);
                if later > 0 {
                    self.report.unflushed_bytes_lost = lost;
                }
                self.found.truncate(index);
                self.boundary = Boundary {
                    position: header.position,
                    sequence: header.sequence,
                    previous: header.previous,
                };
                self.chain_ends();
                return None;
            }
        }
        self.phase = Phase::Verify { index: index + 1 };
        None
    }

    fn is_complete(&self, header: &CommitHeader, commit: &Bytes) -> bool {
        let mut digest = crc32fast::Hasher::new();
        let mut frames = 0;
        let mut at = header.frames_at();
        while at < commit.len() {
            let Some(decoded) = self.decode(&commit.slice(at..)) else {
                return false;
            };
            if decoded.sequence_low != header.sequence as u32 || !is_intact(&decoded.frame) {
                return false;
            }
            digest.update(&decoded.checksum.to_le_bytes());
            frames += 1;
            at += decoded.ring_bytes;
        }
        at == commit.len() && frames == header.frames && digest.finalize() == header.digest
    }

    fn decode(&self, bytes: &Bytes) -> Option<Decoded> {
        frame::decode(bytes, self.superblock.as_ref().expect("read before the ring").nonce)
    }

    fn chain_ends(&mut self) {
        let superblock = self.superblock.as_ref().expect("read before the ring");
        if superblock.durable >= self.boundary.sequence {
            self.report.damage.push(Damage {
                position: self.boundary.position,
                bytes: 0,
                lost: None,
                is_attributed: false,
            });
            self.ends_in_damage = true;
        }
        let newest = self.found.iter().rev().find_map(|found| match found {
            Found::Commit(header) => Some(header.replay_from),
            Found::Gap { .. } => None,
        });
        let replay_from = newest
            .unwrap_or(superblock.anchor.position)
            .max(superblock.anchor.position);
        while self.found.front().is_some_and(|found| found.end() <= replay_from) {
            self.found.pop_front();
        }
        match self.found.front() {
            Some(Found::Commit(header)) => self.recent.forget_before(header.sequence),
            Some(Found::Gap { from, .. }) => self.recent.forget_before(from.sequence),
            None => {}
        }
        self.phase = Phase::Sync;
    }

    // ------------------------------------------------------------------------------------------------ frames

    fn replay(&mut self) -> Option<Missing> {
        let Some(found) = self.found.front() else {
            // A set that was cut off by the crash: the frames that it would have replaced were given.
            self.set = None;
            self.phase = Phase::Done;
            return None;
        };
        match *found {
            Found::Commit(header) => {
                let Some(commit) = self.window.take(header.position, header.ring_bytes()) else {
                    return Some(self.window.missing(header.ring_bytes()));
                };
                self.report.commits += 1;
                self.report.bytes += header.ring_bytes();
                let boundary = Boundary {
                    position: header.position,
                    sequence: header.sequence,
                    previous: header.previous,
                };
                if !self.unattributed.is_empty() {
                    self.attribute(&header, &commit);
                }
                let frames = commit.slice(header.frames_at()..header.length as usize);
                let skipped = header.frames_at() as u64;
                self.frames(boundary, header.sequence + 1, skipped, frames, true);
            }
            Found::Gap { from, to, sequence_end } => {
                let Some(gap) = self.window.take(from.position, to - from.position) else {
                    return Some(self.window.missing(to - from.position));
                };
                let sequences = from.sequence..sequence_end;
                self.damaged(from.position, to - from.position, None, sequences);
                self.frames(from, sequence_end, 0, gap, false);
            }
        }
        self.found.pop_front();
        None
    }

    /// Gives the intact frames of `bytes`, which lie `skipped` bytes behind `boundary` and belong to its commit or, up to
    /// `sequence_end`, to later ones. Reports damaged frames and, when there should be nothing else, what is between frames.
    fn frames(&mut self, boundary: Boundary, sequence_end: u64, skipped: u64, bytes: Bytes, dense: bool) {
        let within = boundary.sequence..sequence_end;
        let expected = boundary.sequence as u32;
        let sequences = (sequence_end - boundary.sequence) as u32;
        let mut at = 0;
        let mut damaged_from = None;
        while at < bytes.len() {
            let decoded = self
                .decode(&bytes.slice(at..))
                .filter(|decoded| decoded.sequence_low.wrapping_sub(expected) < sequences);
            let position = boundary.position + skipped + at as u64;
            let Some(decoded) = decoded else {
                damaged_from.get_or_insert(position);
                at += FRAME_ALIGN;
                continue;
            };
            if let Some(from) = damaged_from.take().filter(|_| dense) {
                self.damaged(from, position - from, None, within.clone());
            }
            at += decoded.ring_bytes;
            if is_intact(&decoded.frame) {
                self.fold(boundary, position, decoded);
            } else {
                let bytes = decoded.ring_bytes as u64;
                self.damaged(position, bytes, lost(&decoded.frame), within.clone());
            }
        }
        if let Some(from) = damaged_from.filter(|_| dense) {
            let end = boundary.position + skipped + bytes.len() as u64;
            self.damaged(from, end - from, None, within);
        }
    }

    /// The commit says what the commits before it changed: which logs the damaged ones held, and where those ended.
    fn attribute(&mut self, header: &CommitHeader, commit: &[u8]) {
        let nonce = self.superblock.as_ref().expect("read before the ring").nonce;
        let Some((list, entries)) = header.list_in(commit, nonce) else {
            return;
        };
        let told: Vec<Stretch> = (self.unattributed)
            .extract_if(.., |stretch| list.since <= stretch.first)
            .collect();
        let Some(first) = told.iter().map(|stretch| stretch.first).min() else {
            return;
        };
        for stretch in &told {
            self.report.damage[stretch.index].is_attributed = true;
        }
        for entry in recent::decode(entries, header.sequence) {
            if entry.changed < first {
                continue;
            }
            let replayed = self.recent.control(entry.log);
            let is_lost = |control: Control| {
                let is_within = |stretch: &Stretch| (stretch.first..=stretch.last).contains(&control.sequence);
                let is_replayed = |replayed: Control| {
                    replayed.sequence > control.sequence
                        || replayed.sequence == control.sequence && replayed.frames >= control.frames
                };
                told.iter().any(is_within) && !replayed.is_some_and(is_replayed)
            };
            self.ready.push_back(Step::Ended(Ended {
                log: entry.log,
                end: entry.end,
                lost_control: entry.control.is_some_and(is_lost),
            }));
            self.recent.note_told(entry);
        }
    }

    fn damaged(&mut self, position: RingPosition, bytes: u64, lost: Option<Lost>, within: Range<u64>) {
        if lost.is_none() {
            self.damages += 1;
            self.unattributed.push(Stretch {
                first: within.start,
                last: within.end - 1,
                number: self.damages,
                index: self.report.damage.len(),
            });
        }
        self.report.damage.push(Damage {
            position,
            bytes,
            lost,
            is_attributed: false,
        });
        self.behind_damage = true;
        if let Some(set) = self.set.take() {
            self.report.damage.push(Damage {
                position: set.position,
                bytes: 0,
                lost: Some(Lost {
                    log: set.restate.log,
                    from: set.base,
                    to: Offset::MAX,
                }),
                is_attributed: false,
            });
        }
    }

    fn fold(&mut self, boundary: Boundary, position: RingPosition, decoded: Decoded) {
        let Decoded {
            frame,
            in_set,
            sequence_low,
            ..
        } = decoded;
        let sequence = boundary.sequence + u64::from(sequence_low.wrapping_sub(boundary.sequence as u32));
        self.recent
            .note(frame.log, sequence, frame.log_end(), frame.is_control());
        let behind_damage = std::mem::take(&mut self.behind_damage);
        if in_set {
            match &mut self.set {
                Some(set) => {
                    set.missing -= 1;
                    set.frames.push(frame);
                    self.complete_set();
                }
                None if behind_damage => {
                    let log = frame.log;
                    let (from, to) = (Offset::MIN, Offset::MAX);
                    self.report.damage.push(Damage {
                        position,
                        bytes: 0,
                        lost: Some(Lost { log, from, to }),
                        is_attributed: false,
                    });
                }
                // Its beginning lies before what replay needs, so the log does not need the rest either.
                None => {}
            }
            return;
        }
        // A set that a crash cut off, in an earlier life: what it would have replaced is still there.
        self.set = None;
        let span_bytes = self.config.span_bytes();
        self.live.enter_commit(boundary.sequence, boundary.position, span_bytes);
        self.live.begun(boundary.sequence, boundary.previous);
        if let Body::Restate { base, frames } = frame.body {
            self.set = Some(Set {
                restate: frame,
                base,
                missing: frames,
                frames: Vec::new(),
                position,
            });
            self.complete_set();
            return;
        }
        let kind = match &frame.body {
            Body::Append(append) => Kind::Append {
                last_offset: append.last_offset,
            },
            Body::Truncate { to } => Kind::Truncate { to: *to },
            Body::Drop => Kind::Drop,
            Body::Start { .. } | Body::Epoch { .. } | Body::Restate { .. } => Kind::Control,
        };
        let bytes = frame.ring_cost();
        let log = frame.log;
        let ticket = self.give(frame);
        self.live.note(log, Note { ticket, bytes, kind });
        self.live.durable(ticket);
    }

    /// Gives the set if none of its frames is missing.
    fn complete_set(&mut self) {
        let Some(Set {
            restate, base, frames, ..
        }) = self.set.take_if(|set| set.missing == 0)
        else {
            return;
        };
        let log = restate.log;
        let bytes = restate.ring_cost() + frames.iter().map(Frame::ring_cost).sum::<u64>();
        let end = frames.iter().rev().find_map(|frame| match &frame.body {
            Body::Append(append) => Some(append.last_offset + 1),
            _ => None,
        });
        self.report.sets += 1;
        let first = self.give(restate);
        for frame in frames {
            self.give(frame);
        }
        let last = Ticket(self.tickets);
        let set = NotedSet {
            base,
            end: end.unwrap_or(base),
            first,
            last,
            bytes,
            replayed: true,
        };
        self.live.note_set(log, set);
        self.live.durable(last);
    }

    fn give(&mut self, frame: Frame) -> Ticket {
        self.tickets += 1;
        self.report.frames += 1;
        let ticket = Ticket(self.tickets);
        let damages = self.damages;
        self.ready.push_back(Step::Frame(Replayed { ticket, frame, damages }));
        ticket
    }
}

/// Whether the part of a frame that its own checksum does not cover is what it was, and the frame says the same as its batch.
fn is_intact(frame: &Frame) -> bool {
    let Body::Append(append) = &frame.body else {
        return true;
    };
    StampedBatch::check(append.bytes.clone()).is_ok_and(|batch| {
        batch.base_offset == append.base_offset
            && batch.last_offset() == append.last_offset
            && append.segment_base <= append.base_offset
    })
}

fn lost(frame: &Frame) -> Option<Lost> {
    match &frame.body {
        Body::Append(append) => Some(Lost {
            log: frame.log,
            from: append.base_offset,
            to: append.last_offset,
        }),
        _ => None,
    }
}

/// A stretch of the ring in memory.
#[derive(Debug, Default)]
struct Window {
    /// 0 while the superblocks are read.
    ring_bytes: u64,
    /// Ring position at which the ring comes round to the anchor.
    limit: RingPosition,
    at: RingPosition,
    bytes: BytesMut,
    /// Asked for, in bytes.
    asked: usize,
}

/// A range of the ring file to read.
#[derive(Debug)]
struct Missing {
    position: Position,
    len: usize,
}

impl Window {
    /// `len` bytes at `at`, if they are here; otherwise the window moves there and [`Window::missing`] says what to read.
    fn get(&mut self, at: RingPosition, len: u64) -> Option<&[u8]> {
        self.move_to(at);
        self.bytes.get(..len as usize)
    }

    /// What may be a commit's header at `at`.
    fn header(&mut self, at: RingPosition) -> Option<[u8; COMMIT_HEADER_BYTES]> {
        let block = self.get(at, BLOCK)?;
        Some(block[..COMMIT_HEADER_BYTES].try_into().expect("shorter than a block"))
    }

    fn take(&mut self, at: RingPosition, len: u64) -> Option<Bytes> {
        self.move_to(at);
        (self.bytes.len() as u64 >= len).then(|| {
            self.at += len;
            self.bytes.split_to(len as usize).freeze()
        })
    }

    fn file(&mut self, at: Position, len: u64) -> Option<Bytes> {
        self.move_to(at);
        self.bytes.get(..len as usize).map(Bytes::copy_from_slice)
    }

    fn move_to(&mut self, at: RingPosition) {
        let here = self.at..=self.at + self.bytes.len() as u64;
        if here.contains(&at) {
            self.bytes.advance((at - self.at) as usize);
        } else {
            self.bytes.clear();
        }
        self.at = at;
    }

    /// The next read that brings the window nearer to `len` bytes.
    fn missing(&mut self, len: u64) -> Missing {
        let from = self.at + self.bytes.len() as u64;
        let wanted = (len - self.bytes.len() as u64).max(READ_BYTES);
        let in_file = from % self.ring_bytes;
        let len = wanted
            .min(READ_BYTES)
            .min(self.limit - from)
            .min(self.ring_bytes - in_file);
        self.asked = len as usize;
        Missing {
            position: RING_START + in_file,
            len: self.asked,
        }
    }

    fn missing_in_file(&mut self, len: u64) -> Missing {
        self.asked = len as usize - self.bytes.len();
        Missing {
            position: self.at + self.bytes.len() as u64,
            len: self.asked,
        }
    }

    fn fill(&mut self, bytes: Bytes) {
        let whole = self.bytes.len() + self.asked;
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(self.asked)]);
        self.bytes.resize(whole, 0);
        self.asked = 0;
    }
}

/// The size of one read: the fastest for direct I/O.
const READ_BYTES: u64 = 256 * 1024;
