//! A frame: one change to one log, as it lies in the ring.
//!
//! ```text
//! frame, little-endian, starts at a multiple of 8 bytes within its commit
//!   0  u32  checksum     CRC-32 (seeded with the ring's nonce) of bytes 4..72 and of the batch's first 21 bytes, which
//!                        Kafka's own CRC-32C does not cover but which hold it: so the two together cover every byte
//!   4  u8   kind         1 append, 2 truncate, 3 start, 4 epoch, 5 drop, 6 restate
//!   5  u8   flags        1: belongs to the restated set before it
//!   6  u16  0
//!   8  u32  length       bytes of the batch that follows the header; 0 in a control frame
//!  12  i32  partition
//!  16  16B  topic id
//!  32  i64  segment base append: base offset of the segment that the batch belongs to
//!  40  u64  position     append: the batch's first byte in that segment; restate: how many frames follow
//!  48  i64  base offset  append: of the batch; truncate: the new end; start: the new start; epoch: its first offset;
//!                        restate: where the restated frames begin
//!  56  i64  last offset  append: of the batch
//!  64  i32  leader epoch append: of the batch; epoch: the new one
//!  68  u32  commit       low 32 bits of the commit's sequence: a frame of another lap never passes for one of this
//!  72       the batch, then zeros up to a multiple of 8
//! ```

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::format::counted;
use super::recent::LOG_END_BYTES;
use crate::types::{LeaderEpoch, LogId, Offset, Position, Uuid};

pub const FRAME_HEADER_BYTES: usize = 72;

/// Frames start at multiples of this.
pub const FRAME_ALIGN: usize = 8;

/// The start of a batch that Kafka's CRC-32C does not cover: base offset, length, leader epoch, magic and the CRC itself.
pub const BATCH_OUTSIDE_CRC: usize = 21;

const APPEND: u8 = 1;
const TRUNCATE: u8 = 2;
const START: u8 = 3;
const EPOCH: u8 = 4;
const DROP: u8 = 5;
const RESTATE: u8 = 6;

const IN_SET: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub log: LogId,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Append(Append),
    /// The log now ends at `to`.
    Truncate {
        to: Offset,
    },
    /// The log now starts at `offset`.
    Start {
        offset: Offset,
    },
    /// A leader epoch that began at `start_offset`.
    Epoch {
        epoch: LeaderEpoch,
        start_offset: Offset,
    },
    /// The log is gone for good.
    Drop,
    /// From `base` on, the log holds what the next `frames` frames say, and nothing else. Written by
    /// [`Journal::carry`](super::Journal::carry) only; replay gives it only when all of them are there.
    Restate {
        base: Offset,
        frames: u32,
    },
}

/// One record batch (v2) and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    pub segment_base: Offset,
    /// Of the batch's first byte in its segment.
    pub position: Position,
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub bytes: Bytes,
}

impl Frame {
    pub fn payload(&self) -> &[u8] {
        match &self.body {
            Body::Append(append) => &append.bytes,
            _ => &[],
        }
    }

    /// Bytes in the ring, padding included.
    pub fn ring_bytes(&self) -> u64 {
        frame_bytes(self.payload().len())
    }

    /// What it takes of the ring altogether: its log may be an entry of the next commit's list.
    pub fn ring_cost(&self) -> u64 {
        self.ring_bytes() + LOG_END_BYTES as u64
    }

    /// Where its log ends with it, if it says so.
    pub fn log_end(&self) -> Option<Offset> {
        match &self.body {
            Body::Append(append) => Some(append.last_offset + 1),
            Body::Truncate { to } => Some(*to),
            Body::Restate { base, .. } => Some(*base),
            Body::Start { .. } | Body::Epoch { .. } | Body::Drop => None,
        }
    }

    /// Its loss would go unnoticed, and undo what was acknowledged: no append, whose loss the log's end shows, and no epoch,
    /// which the log's records and the metadata say as well.
    pub fn is_control(&self) -> bool {
        !matches!(self.body, Body::Append(_) | Body::Epoch { .. })
    }
}

pub fn frame_bytes(payload: usize) -> u64 {
    (FRAME_HEADER_BYTES + payload).next_multiple_of(FRAME_ALIGN) as u64
}

/// What binds a frame to its place.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    pub nonce: u64,
    pub sequence: u64,
    /// It belongs to a restated set.
    pub in_set: bool,
}

/// Appends the frame's header, without its payload and padding. Returns its checksum.
pub fn encode_header(frame: &Frame, binding: Binding, out: &mut BytesMut) -> u32 {
    let (kind, segment_base, position, base_offset, last_offset, epoch) = match &frame.body {
        Body::Append(a) => (
            APPEND,
            a.segment_base,
            a.position,
            a.base_offset,
            a.last_offset,
            a.leader_epoch,
        ),
        Body::Truncate { to } => (TRUNCATE, 0, 0, *to, 0, 0),
        Body::Start { offset } => (START, 0, 0, *offset, 0, 0),
        Body::Epoch { epoch, start_offset } => (EPOCH, 0, 0, *start_offset, 0, *epoch),
        Body::Drop => (DROP, 0, 0, 0, 0, 0),
        Body::Restate { base, frames } => (RESTATE, 0, u64::from(*frames), *base, 0, 0),
    };
    let payload = frame.payload();
    let mut header = [0u8; FRAME_HEADER_BYTES];
    header[4] = kind;
    header[5] = if binding.in_set { IN_SET } else { 0 };
    header[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[12..16].copy_from_slice(&frame.log.partition.to_le_bytes());
    header[16..32].copy_from_slice(&frame.log.topic.0);
    header[32..40].copy_from_slice(&segment_base.to_le_bytes());
    header[40..48].copy_from_slice(&position.to_le_bytes());
    header[48..56].copy_from_slice(&base_offset.to_le_bytes());
    header[56..64].copy_from_slice(&last_offset.to_le_bytes());
    header[64..68].copy_from_slice(&epoch.to_le_bytes());
    header[68..72].copy_from_slice(&(binding.sequence as u32).to_le_bytes());
    let checksum = checksum(&header, payload, binding.nonce);
    header[..4].copy_from_slice(&checksum.to_le_bytes());
    out.put_slice(&header);
    checksum
}

fn checksum(header: &[u8], payload: &[u8], nonce: u64) -> u32 {
    let mut crc = seeded(nonce);
    crc.update(&header[4..FRAME_HEADER_BYTES]);
    crc.update(&payload[..payload.len().min(BATCH_OUTSIDE_CRC)]);
    crc.finalize()
}

/// Every checksum in the ring starts from the ring's nonce: bytes that a client chose never pass for ours.
pub fn seeded(nonce: u64) -> crc32fast::Hasher {
    crc32fast::Hasher::new_with_initial((nonce ^ (nonce >> 32)) as u32)
}

/// Reads the frame at the start of `bytes`. Its header is intact when this returns one; the batch behind its first 21
/// bytes is not looked at, which is what [`Decoded::frame`] still needs.
pub fn decode(bytes: &Bytes, nonce: u64) -> Option<Decoded> {
    let header = bytes.get(..FRAME_HEADER_BYTES)?;
    let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
    let length = u32_at(8) as usize;
    let payload_end = FRAME_HEADER_BYTES.checked_add(length)?;
    let known = bytes.get(FRAME_HEADER_BYTES..payload_end)?;
    if !(APPEND..=RESTATE).contains(&header[4]) || checksum(header, known, nonce) != u32_at(0) {
        return None;
    }
    // Offsets and positions are only ever counted up: none is negative, or near its end.
    if ![32, 40, 48, 56].iter().all(|&at| counted(u64_at(at))) {
        return None;
    }
    if header[4] == EPOCH && (u32_at(64) as i32) < 0 {
        return None;
    }
    let base_offset = u64_at(48) as i64;
    let body = match header[4] {
        APPEND => Body::Append(Append {
            segment_base: u64_at(32) as i64,
            position: u64_at(40),
            base_offset,
            last_offset: u64_at(56) as i64,
            leader_epoch: u32_at(64) as i32,
            bytes: bytes.slice(FRAME_HEADER_BYTES..payload_end),
        }),
        TRUNCATE => Body::Truncate { to: base_offset },
        START => Body::Start { offset: base_offset },
        EPOCH => Body::Epoch {
            epoch: u32_at(64) as i32,
            start_offset: base_offset,
        },
        DROP => Body::Drop,
        _ => Body::Restate {
            base: base_offset,
            frames: u64_at(40) as u32,
        },
    };
    let topic = Uuid(header[16..32].try_into().expect("16 bytes"));
    let partition = u32_at(12) as i32;
    Some(Decoded {
        frame: Frame {
            log: LogId { topic, partition },
            body,
        },
        checksum: u32_at(0),
        sequence_low: u32_at(68),
        in_set: header[5] & IN_SET != 0,
        ring_bytes: frame_bytes(length) as usize,
    })
}

/// A frame whose header is intact.
#[derive(Debug)]
pub struct Decoded {
    pub frame: Frame,
    pub checksum: u32,
    pub sequence_low: u32,
    pub in_set: bool,
    /// Where the next frame begins.
    pub ring_bytes: usize,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Append(a) => write!(
                f,
                "append {} {}..={} epoch {} segment {:020} at {} ({} bytes)",
                self.log,
                a.base_offset,
                a.last_offset,
                a.leader_epoch,
                a.segment_base,
                a.position,
                a.bytes.len()
            ),
            Body::Truncate { to } => write!(f, "truncate {} to {to}", self.log),
            Body::Start { offset } => write!(f, "start {} at {offset}", self.log),
            Body::Epoch { epoch, start_offset } => write!(f, "epoch {} {epoch} from {start_offset}", self.log),
            Body::Drop => write!(f, "drop {}", self.log),
            Body::Restate { base, frames } => write!(f, "restate {} from {base} in {frames} frames", self.log),
        }
    }
}
