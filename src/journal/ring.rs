//! The running journal: room, pushes, commits, superblocks.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use super::Ticket;
use super::format::{
    BLOCK, Boundary, COMMIT_HEADER_BYTES, COMMIT_HEADER_BYTES_MAX, CommitHeader, RING_BYTES_MIN, RING_START,
    RingPosition, Superblock, list_digest,
};
use super::frame::{self, Binding, Body, FRAME_HEADER_BYTES, Frame};
use super::live::{Kind, Live, Note, NotedSet};
use super::recent::{LOG_END_BYTES, List, Recent};
use crate::types::{LogId, Offset, Position, ShardId};

/// What the journal is told once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Bytes of the ring without its superblocks; a multiple of [`BLOCK`], at least [`RING_BYTES_MIN`]. Twice what
    /// the logs may hold unapplied is a good size: as much as is live is kept free for carrying it.
    pub ring_bytes: u64,
    pub shard: ShardId,
    pub shards: u16,
    /// A commit ends before the frame that would make it longer; a single longer frame is one commit.
    pub commit_bytes: u64,
    /// The largest single write.
    pub piece_bytes: u64,
}

impl Config {
    pub fn new(ring_bytes: u64, shard: ShardId, shards: u16) -> Config {
        assert!(ring_bytes.is_multiple_of(BLOCK) && ring_bytes >= RING_BYTES_MIN);
        Config {
            ring_bytes,
            shard,
            shards,
            commit_bytes: (ring_bytes / 16).next_multiple_of(BLOCK).clamp(8 * BLOCK, 4 << 20),
            piece_bytes: 256 * 1024,
        }
    }

    /// Length of the ring file.
    pub fn file_bytes(&self) -> u64 {
        RING_START + self.ring_bytes
    }

    /// Commits this near to one another are one to replay: the oldest live frame holds at most so much more than itself.
    pub(super) fn span_bytes(&self) -> u64 {
        (self.ring_bytes / 128).max(BLOCK)
    }

    /// Kept free besides what carrying needs: control frames, and the commits that share a span with the first carried ones.
    fn reserve_bytes(&self) -> u64 {
        self.ring_bytes / 16 + self.span_bytes() + self.commit_bytes
    }

    /// Dead bytes between live ones that are not worth carrying for.
    fn slack_bytes(&self) -> u64 {
        self.ring_bytes / 16
    }

    /// What writing `bytes` of frames of `logs` logs once more takes at most.
    fn carry_bytes(&self, bytes: u64, logs: u64) -> u64 {
        let frames = bytes + logs * RESTATE_BYTES;
        // Two commits in a row hold more than `commit_bytes` of frames.
        let commits = 2 * frames / self.commit_bytes + 2;
        frames + commits * (BLOCK + COMMIT_HEADER_BYTES_MAX)
    }

    /// The largest frame payload that is always admitted once nothing else is live.
    pub fn payload_bytes_max(&self) -> u64 {
        let fixed = self.reserve_bytes() + self.slack_bytes() + 2 * BLOCK + self.carry_bytes(0, 1);
        self.admissible(self.ring_bytes.saturating_sub(fixed))
    }

    /// The largest payload that fits `free` bytes twice: once written, once kept free for carrying it.
    fn admissible(&self, free: u64) -> u64 {
        let half = free / 2;
        let commits = 2 * half / self.commit_bytes + 2;
        half.saturating_sub(commits * (BLOCK + COMMIT_HEADER_BYTES_MAX) + 2 * FRAME_COST)
    }
}

/// A carried set's own frame, and those that say the log's start and epoch.
const RESTATE_BYTES: u64 = 4 * FRAME_COST;

/// What a frame takes besides its batch: its header, and an entry in the next commit's list.
const FRAME_COST: u64 = (FRAME_HEADER_BYTES + LOG_END_BYTES) as u64;

/// Payloads up to this are copied next to their headers: cheaper than one more slice.
const COPY_BYTES_MAX: usize = 512;

/// What appends that are pushed one after the other take together of [`Journal::room`] and
/// [`Config::payload_bytes_max`], which are for one.
pub fn group_bytes(payloads: impl IntoIterator<Item = u64>) -> u64 {
    let bytes = payloads.into_iter().map(|bytes| bytes + 2 * FRAME_COST);
    bytes.sum::<u64>().saturating_sub(2 * FRAME_COST)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PushError {
    /// Nothing was pushed. Wait until [`Journal::room`] grows: apply, carry, write superblocks.
    #[error("the journal is full until logs are applied")]
    Full,
    /// Nothing was pushed, and it never fits into this ring; see [`Config::payload_bytes_max`].
    #[error("larger than the journal can take")]
    TooLarge,
}

/// How a commit's writes are to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Write and flush in one operation (O_DSYNC).
    Dsync,
    /// Write only: no frame in it waits for the device.
    Plain,
    /// Write only, then flush the file (fdatasync), which also flushes the plain commits before it.
    PlainThenSync,
}

/// Commit `sequence`: all writes may be issued together.
#[derive(Debug)]
pub struct Commit {
    pub mode: Mode,
    pub writes: Vec<PieceWrite>,
    /// In the ring, padding included.
    pub bytes: u64,
    pub frames: u32,
    pub sequence: u64,
}

/// One write: at `position` in the ring file (a multiple of [`BLOCK`]), the slices one after the other, then zeros up to a
/// multiple of [`BLOCK`]. Slices of all pieces but a commit's last are whole blocks together.
#[derive(Debug)]
pub struct PieceWrite {
    pub position: Position,
    pub slices: Vec<Bytes>,
}

/// One block at `position` in the ring file, flushed (O_DSYNC).
#[derive(Debug)]
pub struct SuperblockWrite {
    pub position: Position,
    pub block: Bytes,
}

/// What a completed commit or flush made safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Frames up to this one are in the ring: they survive the end of the process.
    pub written: Ticket,
    /// Frames up to this one are on the device.
    pub durable: Ticket,
}

/// How full the ring is, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    pub ring_bytes: u64,
    /// Not to be written over yet.
    pub used_bytes: u64,
    /// From the oldest frame that replay needs to the end of what is pending.
    pub needed_bytes: u64,
    /// In frames that replay needs.
    pub live_bytes: u64,
    /// Logs with such frames.
    pub live_logs: u64,
    /// Acknowledged and not yet flushed.
    pub unflushed_bytes: u64,
}

#[derive(Debug)]
pub struct Journal {
    config: Config,
    nonce: u64,
    incarnation: u64,
    incarnation_start: RingPosition,
    live: Live,
    recent: Recent,
    next_ticket: u64,
    /// Payload of the largest append that was refused and has not come again.
    wanted: u64,

    /// Where the next commit begins.
    head: Boundary,
    /// One past the last pending commit.
    end: RingPosition,
    pending: VecDeque<Pending>,
    /// Bytes of the newest pending commit that are not yet slices.
    encoding: BytesMut,
    in_flight: Option<InFlight>,
    progress: Progress,
    /// Sequence of the newest commit on the device.
    durable: u64,
    /// Written in plain commits, not flushed since.
    unflushed_bytes: u64,
    flushing: Option<Flushing>,

    /// Anchors of copies A and B on the device.
    anchors: [RingPosition; 2],
    generation: u64,
    superblock_in_flight: Option<RingPosition>,
    /// Copies that must still be written before the first commit of this incarnation.
    superblocks_to_start: u8,
    /// Sequence of the newest commit that closed the chain.
    closing: u64,
    closed: bool,
}

/// A commit in the making.
#[derive(Debug)]
struct Pending {
    sequence: u64,
    position: RingPosition,
    list: List,
    list_bytes: Bytes,
    slices: Vec<Bytes>,
    /// Header and list included.
    bytes: u64,
    frames: u32,
    digest: crc32fast::Hasher,
    last: Ticket,
    flush: bool,
}

#[derive(Debug)]
struct InFlight {
    sequence: u64,
    last: Ticket,
    flushed: bool,
    bytes: u64,
}

#[derive(Debug)]
struct Flushing {
    sequence: u64,
    written: Ticket,
    bytes: u64,
}

/// What recovery, or the creation of a ring, hands over.
#[derive(Debug)]
pub(super) struct Origin {
    pub config: Config,
    pub nonce: u64,
    /// The new one.
    pub incarnation: u64,
    pub head: Boundary,
    pub anchor: Boundary,
    /// Of the newest superblock on the device, whose copy is `generation % 2`.
    pub generation: u64,
    pub live: Live,
    pub recent: Recent,
    pub tickets: u64,
}

impl Journal {
    pub(super) fn new(origin: Origin) -> Journal {
        let Origin {
            config,
            nonce,
            incarnation,
            head,
            anchor,
            generation,
            live,
            recent,
            tickets,
        } = origin;
        let progress = Progress {
            written: Ticket(tickets),
            durable: Ticket(tickets),
        };
        Journal {
            config,
            nonce,
            incarnation,
            incarnation_start: head.position,
            live,
            recent,
            next_ticket: tickets + 1,
            wanted: 0,
            head,
            end: head.position,
            pending: VecDeque::new(),
            encoding: BytesMut::new(),
            in_flight: None,
            progress,
            durable: head.sequence - 1,
            unflushed_bytes: 0,
            flushing: None,
            anchors: [anchor.position; 2],
            generation,
            superblock_in_flight: None,
            superblocks_to_start: 2,
            closing: 0,
            closed: false,
        }
    }

    /// The journal of a ring file that holds only zeros, such as a new one.
    pub fn create(config: Config, nonce: u64) -> Journal {
        let start = Boundary {
            position: 0,
            sequence: 1,
            previous: 0,
        };
        Journal::new(Origin {
            config,
            nonce,
            incarnation: 1,
            head: start,
            anchor: start,
            generation: 0,
            live: Live::default(),
            recent: Recent::default(),
            tickets: 0,
        })
    }

    /// How many times the ring has been written from its beginning to its end, since it was made.
    pub fn laps(&self) -> u64 {
        self.head.position / self.config.ring_bytes
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    // ------------------------------------------------------------------------------------------------ frames in

    /// Takes a frame into the next commit. With `flush` its commit is flushed before it is done; control frames always
    /// are. An append is refused when the ring must keep its room for carrying; a control frame only if not even that is left.
    pub fn push(&mut self, frame: Frame, flush: bool) -> Result<Ticket, PushError> {
        let bytes = frame.ring_bytes();
        let cost = frame.ring_cost();
        let (kind, flush, reserve) = match &frame.body {
            Body::Append(append) => {
                if append.bytes.len() as u64 > self.config.payload_bytes_max() {
                    return Err(PushError::TooLarge);
                }
                let last_offset = append.last_offset;
                (Kind::Append { last_offset }, flush, self.config.reserve_bytes())
            }
            Body::Truncate { to } => (Kind::Truncate { to: *to }, true, 0),
            Body::Start { .. } | Body::Epoch { .. } => (Kind::Control, true, 0),
            Body::Drop => (Kind::Drop, true, 0),
            Body::Restate { .. } => unreachable!("carry writes these"),
        };
        let logs = self.live.logs() + 1;
        let carry = self.config.carry_bytes(self.live.bytes() + cost, logs);
        if self.end_with(bytes) + carry + reserve > self.tail() + self.config.ring_bytes {
            self.wanted = self.wanted.max(frame.payload().len() as u64);
            return Err(PushError::Full);
        }
        if let Body::Append(append) = &frame.body
            && append.bytes.len() as u64 >= self.wanted
        {
            self.wanted = 0;
        }
        let ticket = self.encode(&frame, flush, false);
        let bytes = cost;
        let note = Note { ticket, bytes, kind };
        self.live.note(frame.log, note);
        Ok(ticket)
    }

    /// Writes all that replay needs of `log` once more, so that the ring can go on: `base` is what its own files reach
    /// (its applied offset), `frames` are the log start if it is not settled, every epoch that began at or after `base`, and
    /// every batch from `base` to the log's end, durable or not. Once the returned ticket is durable, older frames of the
    /// log are not needed.
    ///
    /// # Panics
    /// When the frames end before the log does: replay would cut what is missing.
    pub fn carry(&mut self, log: LogId, base: Offset, frames: &[Frame]) -> Result<Ticket, PushError> {
        let set_end = frames.iter().rev().find_map(|frame| match &frame.body {
            Body::Append(append) => Some(append.last_offset + 1),
            _ => None,
        });
        let set_end = set_end.unwrap_or(base);
        // A log that could not be read is carried without what the journal never had of it.
        assert!(
            self.live.end(log).is_none_or(|end| end <= set_end),
            "{log}: carried up to {set_end}, but it ends at {:?}",
            self.live.end(log)
        );
        let restate = Frame {
            log,
            body: Body::Restate {
                base,
                frames: frames.len() as u32,
            },
        };
        let bytes = frames.iter().map(Frame::ring_cost).sum::<u64>() + restate.ring_cost();
        if self.end + self.owed() + self.config.carry_bytes(bytes, 0) > self.tail() + self.config.ring_bytes {
            return Err(PushError::Full);
        }
        let first = self.encode(&restate, true, false);
        // Tracked before its other frames open another span: replay needs the set from its first frame on.
        let last = Ticket(first.0 + frames.len() as u64);
        let set = NotedSet {
            base,
            end: set_end,
            first,
            last,
            bytes,
            replayed: false,
        };
        self.live.note_set(log, set);
        for frame in frames {
            assert_eq!(frame.log, log);
            self.encode(frame, true, true);
        }
        Ok(last)
    }

    /// Appends a frame to the newest pending commit or begins one.
    fn encode(&mut self, frame: &Frame, flush: bool, in_set: bool) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let bytes = frame.ring_bytes();
        if !self.joins(bytes) {
            self.begin_pending();
        }
        let commit = self.pending.back_mut().expect("one is being made");
        self.recent
            .note(frame.log, commit.sequence, frame.log_end(), frame.is_control());
        self.live
            .enter_commit(commit.sequence, commit.position, self.config.span_bytes());
        let binding = Binding {
            nonce: self.nonce,
            sequence: commit.sequence,
            in_set,
        };
        let checksum = frame::encode_header(frame, binding, &mut self.encoding);
        commit.digest.update(&checksum.to_le_bytes());
        commit.frames += 1;
        commit.last = ticket;
        commit.flush |= flush;
        commit.bytes += bytes;
        let payload = frame.payload();
        match &frame.body {
            Body::Append(append) if payload.len() > COPY_BYTES_MAX => {
                commit.slices.push(self.encoding.split().freeze());
                commit.slices.push(append.bytes.clone());
            }
            _ => self.encoding.put_slice(payload),
        }
        self.encoding
            .put_bytes(0, bytes as usize - FRAME_HEADER_BYTES - payload.len());
        self.end = commit.position + commit.bytes.next_multiple_of(BLOCK);
        ticket
    }

    /// A commit behind all others, with the list of what they changed.
    fn begin_pending(&mut self) {
        self.seal();
        let sequence = self.next_sequence();
        let mut bytes = BytesMut::with_capacity(self.recent.list_bytes_max(sequence) as usize);
        let list = self.recent.encode(sequence, &mut bytes);
        self.pending.push_back(Pending {
            sequence,
            position: self.end,
            list,
            bytes: (COMMIT_HEADER_BYTES + bytes.len()) as u64,
            list_bytes: bytes.freeze(),
            slices: Vec::new(),
            frames: 0,
            digest: crc32fast::Hasher::new(),
            last: Ticket(self.next_ticket - 1),
            flush: false,
        });
    }

    /// Of the commit behind all others.
    fn next_sequence(&self) -> u64 {
        self.head.sequence + self.pending.len() as u64
    }

    /// What the frames of the newest commit take of the next one's list.
    fn owed(&self) -> u64 {
        self.recent.list_bytes_paid(self.next_sequence())
    }

    /// Whether a frame goes into the newest pending commit.
    fn joins(&self, bytes: u64) -> bool {
        self.pending
            .back()
            .is_some_and(|commit| commit.bytes - commit.list_bytes.len() as u64 + bytes <= self.config.commit_bytes)
    }

    /// The newest pending commit takes no more frames.
    fn seal(&mut self) {
        if let Some(commit) = self.pending.back_mut()
            && !self.encoding.is_empty()
        {
            commit.slices.push(self.encoding.split().freeze());
        }
    }

    /// Where the pending commits end with one more frame, and with what the next commit says of it.
    fn end_with(&self, bytes: u64) -> RingPosition {
        let entry = LOG_END_BYTES as u64;
        match self.pending.back() {
            Some(commit) if self.joins(bytes) => {
                commit.position + (commit.bytes + bytes).next_multiple_of(BLOCK) + self.owed() + entry
            }
            _ => self.end + (self.header_bytes_max() + bytes).next_multiple_of(BLOCK) + entry,
        }
    }

    /// Of the next commit, with its list.
    fn header_bytes_max(&self) -> u64 {
        COMMIT_HEADER_BYTES as u64 + self.recent.list_bytes_max(self.next_sequence())
    }

    // ------------------------------------------------------------------------------------------------ commits out

    /// Whether [`Journal::begin_commit`] has something to write.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The newest frame that was pushed.
    pub fn newest(&self) -> Ticket {
        Ticket(self.next_ticket - 1)
    }

    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Up to this frame a flush is under way.
    pub fn flushing(&self) -> Ticket {
        let flushing = self.flushing.as_ref();
        flushing.map_or(self.progress.durable, |flushing| flushing.written)
    }

    /// The next commit, unless one is in flight, nothing is pending, or the superblocks of this start are not yet written.
    pub fn begin_commit(&mut self) -> Option<Commit> {
        if self.in_flight.is_some() || self.superblocks_to_start > 0 || self.closed {
            return None;
        }
        if self.pending.len() == 1 {
            self.seal();
        }
        let pending = self.pending.pop_front()?;
        assert_eq!(
            (pending.sequence, pending.position),
            (self.head.sequence, self.head.position)
        );
        self.live.begun(pending.sequence, self.head.previous);
        let header = CommitHeader {
            frames: pending.frames,
            incarnation: self.incarnation,
            sequence: pending.sequence,
            position: pending.position,
            length: pending.bytes,
            replay_from: self.live.replay_from(self.head).position,
            durable: self.durable,
            previous: self.head.previous,
            digest: pending.digest.finalize(),
            list: Some(pending.list),
            list_digest: list_digest(&pending.list_bytes, self.nonce),
        };
        let (header_bytes, checksum) = header.encode(self.nonce);
        let bytes = header.ring_bytes();
        assert!(pending.position + bytes <= self.tail() + self.config.ring_bytes);
        self.head = Boundary {
            position: pending.position + bytes,
            sequence: pending.sequence + 1,
            previous: checksum,
        };
        let mode = match (pending.flush, self.unflushed_bytes) {
            (false, _) => Mode::Plain,
            (true, 0) => Mode::Dsync,
            (true, _) => Mode::PlainThenSync,
        };
        self.in_flight = Some(InFlight {
            sequence: pending.sequence,
            last: pending.last,
            flushed: mode != Mode::Plain,
            bytes,
        });
        let mut front = BytesMut::with_capacity(header_bytes.len() + pending.list_bytes.len());
        front.put_slice(&header_bytes);
        front.put_slice(&pending.list_bytes);
        let writes = self.pieces(pending.position, front.freeze(), pending.slices);
        Some(Commit {
            mode,
            writes,
            bytes,
            frames: pending.frames,
            sequence: pending.sequence,
        })
    }

    /// Cuts a commit at the end of the ring and into pieces.
    fn pieces(&self, position: RingPosition, header: Bytes, slices: Vec<Bytes>) -> Vec<PieceWrite> {
        let ring = self.config.ring_bytes;
        let mut writes = Vec::with_capacity(1);
        let mut position = position % ring;
        let mut piece = Vec::with_capacity(slices.len() + 1);
        let mut start = position;
        for mut slice in std::iter::once(header).chain(slices) {
            while !slice.is_empty() {
                let limit = (start + self.config.piece_bytes).min(ring);
                let fits = slice.len().min((limit - position) as usize);
                piece.push(slice.split_to(fits));
                position += fits as u64;
                if position == limit {
                    writes.push(PieceWrite {
                        position: RING_START + start,
                        slices: std::mem::take(&mut piece),
                    });
                    position %= ring;
                    start = position;
                }
            }
        }
        if !piece.is_empty() {
            writes.push(PieceWrite {
                position: RING_START + start,
                slices: piece,
            });
        }
        writes
    }

    /// Whether the newest commit is the last word of the chain though something in the ring is needed: nothing later proves that
    /// it was complete, so that a start takes damage in it for a commit that never was.
    pub fn is_open(&self) -> bool {
        let is_idle = self.pending.is_empty() && self.in_flight.is_none() && self.superblocks_to_start == 0;
        let is_flushed = self.durable + 1 == self.head.sequence;
        is_idle && is_flushed && self.closing < self.durable && !self.live.is_empty() && !self.closed
    }

    /// Makes a commit without frames that proves the ones before it, if there is room. Once is enough: it proves nothing that
    /// anybody needs of itself.
    pub fn close_chain(&mut self) {
        let carry = self.config.carry_bytes(self.live.bytes(), self.live.logs() + 1);
        let end = self.end + self.header_bytes_max().next_multiple_of(BLOCK);
        if !self.is_open() || end + carry + self.config.reserve_bytes() > self.tail() + self.config.ring_bytes {
            return;
        }
        self.begin_pending();
        let commit = self.pending.back_mut().expect("just made");
        commit.flush = true;
        self.closing = commit.sequence;
        self.end = commit.position + commit.bytes.next_multiple_of(BLOCK);
    }

    /// Every write of the commit in flight is complete, and its flush if its mode asks for one.
    pub fn commit_done(&mut self) -> Progress {
        let done = self.in_flight.take().expect("a commit is in flight");
        self.progress.written = done.last;
        if done.flushed {
            self.durable = done.sequence;
            self.progress.durable = done.last;
            self.unflushed_bytes = 0;
            self.live.durable(done.last);
        } else {
            self.unflushed_bytes += done.bytes;
        }
        self.progress
    }

    /// Starts a flush (fdatasync) of the plain commits that are done; false when there is nothing to flush or one is under way.
    pub fn begin_flush(&mut self) -> bool {
        if self.unflushed_bytes == 0 || self.flushing.is_some() {
            return false;
        }
        self.flushing = Some(Flushing {
            sequence: self.done_sequence(),
            written: self.progress.written,
            bytes: self.unflushed_bytes,
        });
        true
    }

    pub fn flush_done(&mut self) -> Progress {
        let flushed = self.flushing.take().expect("a flush is under way");
        if flushed.sequence > self.durable {
            self.durable = flushed.sequence;
            self.progress.durable = flushed.written;
            self.unflushed_bytes -= flushed.bytes;
            self.live.durable(flushed.written);
        }
        self.progress
    }

    /// Of the newest commit that is complete.
    fn done_sequence(&self) -> u64 {
        self.head.sequence - 1 - u64::from(self.in_flight.is_some())
    }

    // ------------------------------------------------------------------------------------------------ what is live

    /// A start found that `log` ends here, whatever its frames say: what they lack was lost.
    pub fn recovered(&mut self, log: LogId, end: Offset) {
        self.live.recovered(log, end);
    }

    /// Everything of `log` below `offset` is in its segments, on the device.
    pub fn applied(&mut self, log: LogId, offset: Offset) {
        self.live.applied(log, offset);
    }

    /// The control frames of `log` up to `ticket` are in its own files, on the device.
    pub fn settled(&mut self, log: LogId, ticket: Ticket) {
        self.live.settled(log, ticket);
    }

    /// No frame of `log` is needed any more: its deletion is durable elsewhere, or its frames were put aside.
    pub fn forget(&mut self, log: LogId) {
        self.live.forget(log);
    }

    /// Logs to write to their segments now because their frames are the oldest; empty while the ring is less than half full.
    pub fn must_apply(&self) -> Vec<LogId> {
        let full = self.needed_bytes() * 2 >= self.config.ring_bytes;
        if full || self.is_short(self.anchor_position()) {
            self.live.oldest().collect()
        } else {
            Vec::new()
        }
    }

    /// Whether every log that can be is to be written to its segments, because the oldest ones alone do not make room: what
    /// is left of them is then little enough to be carried.
    pub fn must_apply_all(&self) -> bool {
        self.is_short(self.anchor_position())
    }

    /// Logs to [`carry`](Journal::carry) now, after writing what can be written to their segments: appends are, or are about
    /// to be, refused because of their frames. Empty when that would not free anything worth it: then only applying helps.
    pub fn must_carry(&self) -> Vec<LogId> {
        let config = &self.config;
        let carry = config.carry_bytes(self.live.bytes(), self.live.logs() + 1);
        let gains = self.needed_bytes() >= carry + config.slack_bytes();
        if gains && self.is_short(self.anchor_position()) {
            self.live.oldest().collect()
        } else {
            Vec::new()
        }
    }

    /// Of a log's frames that replay needs.
    pub fn bytes_of(&self, log: LogId) -> u64 {
        self.live.bytes_of(log)
    }

    /// Whether the ring can go round, with room for others, though these logs are only carried, never applied. A running
    /// journal sees to that itself; at a start more is live than there was, since nobody knows what had been applied.
    pub fn can_carry(&self, logs: &[LogId]) -> bool {
        let config = &self.config;
        let bytes = logs.iter().map(|log| self.live.bytes_of(*log)).sum();
        let carry = config.carry_bytes(bytes, logs.len() as u64);
        let kept = bytes + carry + config.reserve_bytes() + config.slack_bytes();
        kept.max(self.needed_bytes() + carry) <= config.ring_bytes
    }

    /// Whether appends are, or are about to be, refused when the ring is free up to `tail`.
    fn is_short(&self, tail: RingPosition) -> bool {
        let enough = (self.config.ring_bytes / 16).max(self.wanted);
        self.room_from(tail) < enough.min(self.config.payload_bytes_max())
    }

    /// Every log with frames that replay needs.
    pub fn live_logs(&self) -> Vec<LogId> {
        self.live.all().collect()
    }

    /// Nothing is pending or needed: the ring could be replaced by another one.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.pending.is_empty() && self.in_flight.is_none()
    }

    /// Somebody waits until [`Journal::room`] is at least `bytes`; 0 when nobody does any more.
    pub fn want(&mut self, bytes: u64) {
        self.wanted = bytes.min(self.config.payload_bytes_max());
    }

    /// Payload bytes of an append that would be admitted now.
    pub fn room(&self) -> u64 {
        self.room_from(self.tail())
    }

    fn room_from(&self, tail: RingPosition) -> u64 {
        let config = &self.config;
        let carry = config.carry_bytes(self.live.bytes(), self.live.logs() + 1);
        let used = self.end + self.owed() - tail + carry + config.reserve_bytes() + 2 * BLOCK;
        let free = config.ring_bytes.saturating_sub(used);
        config.admissible(free).min(config.payload_bytes_max())
    }

    pub fn usage(&self) -> Usage {
        Usage {
            ring_bytes: self.config.ring_bytes,
            used_bytes: self.end - self.tail(),
            needed_bytes: self.needed_bytes(),
            live_bytes: self.live.bytes(),
            live_logs: self.live.logs(),
            unflushed_bytes: self.unflushed_bytes,
        }
    }

    /// From the oldest frame that replay needs to the end of what is pending.
    fn needed_bytes(&self) -> u64 {
        self.end - self.anchor_position()
    }

    /// Where the next superblock's anchor will be.
    fn anchor_position(&self) -> RingPosition {
        self.live.replay_from(self.head).position
    }

    /// No block from here on may be written: replay may need it after a crash.
    fn tail(&self) -> RingPosition {
        self.anchors[0].min(self.anchors[1])
    }

    // ------------------------------------------------------------------------------------------------ superblocks

    /// A superblock write when one is due: at the start, twice, before the first commit, and whenever it frees a good part
    /// of the ring. Only one is in flight: a torn one leaves the other copy.
    pub fn begin_superblock(&mut self) -> Option<SuperblockWrite> {
        if self.superblock_in_flight.is_some() || self.closed {
            return None;
        }
        let anchor = self.live.replay_from(self.head);
        let gain = anchor.position - self.tail();
        let due = gain >= self.config.ring_bytes / 8 || (gain > 0 && self.is_short(self.tail()));
        if self.superblocks_to_start == 0 && !due {
            return None;
        }
        Some(self.superblock(anchor, false))
    }

    /// Both superblocks of this incarnation are on the device: from now on a ring without one has lost them.
    pub fn has_started(&self) -> bool {
        self.superblocks_to_start == 0
    }

    pub fn superblock_done(&mut self) {
        let anchor = self.superblock_in_flight.take().expect("a superblock is in flight");
        self.anchors[self.generation as usize % 2] = anchor;
        self.superblocks_to_start = self.superblocks_to_start.saturating_sub(1);
    }

    /// Whether a superblock of the start is still to be written: nothing else is before it.
    pub fn is_starting(&self) -> bool {
        self.superblocks_to_start > 0
    }

    /// The last write of a clean stop, once nothing is pending or in flight; the next start then reads nothing else if no
    /// log needs a frame. Commits end here.
    pub fn close(&mut self) -> Option<SuperblockWrite> {
        let idle = self.pending.is_empty() && self.in_flight.is_none() && self.superblock_in_flight.is_none();
        if !idle || self.superblocks_to_start > 0 || self.closed {
            return None;
        }
        self.closed = true;
        let anchor = self.live.replay_from(self.head);
        Some(self.superblock(anchor, anchor == self.head))
    }

    fn superblock(&mut self, anchor: Boundary, clean: bool) -> SuperblockWrite {
        self.generation += 1;
        self.superblock_in_flight = Some(anchor.position);
        let superblock = Superblock {
            nonce: self.nonce,
            generation: self.generation,
            ring_bytes: self.config.ring_bytes,
            incarnation: self.incarnation,
            incarnation_start: self.incarnation_start,
            anchor,
            shard: self.config.shard.0,
            shards: self.config.shards,
            durable: self.durable,
            clean,
        };
        SuperblockWrite {
            position: self.generation % 2 * BLOCK,
            block: superblock.encode(),
        }
    }
}
