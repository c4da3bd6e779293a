//! Frames of one log that are put aside in files beside the ring, so that the ring can go round without them.
//!
//! A log that is offline cannot take its frames into its segments. They are written here, in one or several parts, and count
//! once part 0 is there, which is written last. A start gives them to the log before what the ring still has of it. A later
//! set of a log has everything that an earlier one had, and another generation, so that neither is ever written over.
//!
//! ```text
//! tidemill-parked-<topic id>-<partition>.<generation>.<part>, little-endian
//!   0  8B   "tdmlpark"
//!   8  u32  checksum     CRC-32 of everything behind it
//!  12  u32  version      1
//!  16  16B  topic id
//!  32  i32  partition
//!  36  u32  part         from 0
//!  40  u32  parts
//!  44  u32  frames       in this part
//!  48  u64  generation
//!  56       the frames one after the other, as in the ring (see `frame`), with nonce 0 and commit 0; the first one of part 0
//!           is a restate, which says how many there are in all parts
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{self, Binding, Body, Frame};
use crate::types::{LogId, Offset, Uuid};

const MAGIC: &[u8; 8] = b"tdmlpark";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 56;
const CHECKED_FROM: usize = 12;
pub const PREFIX: &str = "tidemill-parked-";
/// A part takes no further frame once it has so many bytes.
const PART_BYTES: u64 = 4 << 20;
/// Of a topic id in a file's name.
const ID_CHARS: usize = 22;
const BINDING: Binding = Binding {
    nonce: 0,
    sequence: 0,
    in_set: true,
};

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub name: PartName,
    pub parts: u32,
    pub frames: Vec<Frame>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartName {
    pub log: LogId,
    pub generation: u64,
    pub part: u32,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParkedError {
    #[error(
        "it was written by a newer version of Tidemill (its format is {0}, this one knows {VERSION}): use that version"
    )]
    Newer(u32),
    #[error("it is damaged")]
    Damaged,
}

impl std::fmt::Display for PartName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PartName { log, generation, part } = self;
        write!(f, "{PREFIX}{log}.{generation}.{part}")
    }
}

impl PartName {
    pub fn parse(name: &str) -> Option<PartName> {
        let rest = name.strip_prefix(PREFIX)?;
        let (id, rest) = (rest.get(..ID_CHARS)?, rest.get(ID_CHARS..)?.strip_prefix('-')?);
        let mut numbers = rest.split('.');
        let parsed = PartName {
            log: LogId {
                topic: Uuid::parse(id)?,
                partition: numbers.next()?.parse().ok()?,
            },
            generation: numbers.next()?.parse().ok()?,
            part: numbers.next()?.parse().ok()?,
        };
        // Nothing else says the same: `+1`, `01` and what follows a number are no names of ours.
        (parsed.to_string() == name).then_some(parsed)
    }
}

/// The parts of a set of `log`: from `base` on it holds what `frames` say. Its own files hold what is below.
pub fn split(log: LogId, generation: u64, base: Offset, frames: Vec<Frame>) -> Vec<Part> {
    let body = Body::Restate {
        base,
        frames: frames.len() as u32,
    };
    let mut parts = vec![vec![Frame { log, body }]];
    let mut bytes = 0;
    for frame in frames {
        if bytes >= PART_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += frame.ring_bytes();
        parts.last_mut().expect("there is one").push(frame);
    }
    let count = parts.len() as u32;
    let named = (0..).zip(parts).map(|(part, frames)| Part {
        name: PartName { log, generation, part },
        parts: count,
        frames,
    });
    named.collect()
}

impl Part {
    pub fn encode(&self) -> Bytes {
        let frame_bytes: u64 = self.frames.iter().map(Frame::ring_bytes).sum();
        let mut out = BytesMut::with_capacity(HEADER_BYTES + frame_bytes as usize);
        out.put_slice(MAGIC);
        out.put_u32_le(0);
        out.put_u32_le(VERSION);
        out.put_slice(&self.name.log.topic.0);
        out.put_i32_le(self.name.log.partition);
        out.put_u32_le(self.name.part);
        out.put_u32_le(self.parts);
        out.put_u32_le(self.frames.len() as u32);
        out.put_u64_le(self.name.generation);
        for frame in &self.frames {
            frame::encode_header(frame, BINDING, &mut out);
            out.put_slice(frame.payload());
            let padded = (out.len() - HEADER_BYTES).next_multiple_of(frame::FRAME_ALIGN) + HEADER_BYTES;
            out.put_bytes(0, padded - out.len());
        }
        let checksum = crc32fast::hash(&out[CHECKED_FROM..]);
        out[8..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
        out.freeze()
    }

    pub fn decode(content: &Bytes) -> Result<Part, ParkedError> {
        let header = content.get(..HEADER_BYTES).ok_or(ParkedError::Damaged)?;
        let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        let is_intact = &header[..8] == MAGIC && crc32fast::hash(&content[CHECKED_FROM..]) == u32_at(8);
        if !is_intact {
            return Err(ParkedError::Damaged);
        }
        if u32_at(12) != VERSION {
            return Err(ParkedError::Newer(u32_at(12)));
        }
        let log = LogId {
            topic: Uuid(header[16..32].try_into().expect("16 bytes")),
            partition: u32_at(32) as i32,
        };
        let mut frames = Vec::new();
        let mut rest = content.slice(HEADER_BYTES..);
        for _ in 0..u32_at(44) {
            let decoded = frame::decode(&rest, BINDING.nonce).ok_or(ParkedError::Damaged)?;
            if decoded.frame.log != log || decoded.ring_bytes > rest.len() {
                return Err(ParkedError::Damaged);
            }
            rest = rest.slice(decoded.ring_bytes..);
            frames.push(decoded.frame);
        }
        if !rest.is_empty() {
            return Err(ParkedError::Damaged);
        }
        let generation = u64::from_le_bytes(header[48..56].try_into().expect("8 bytes"));
        let part = u32_at(36);
        Ok(Part {
            name: PartName { log, generation, part },
            parts: u32_at(40),
            frames,
        })
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PartName { log, generation, part } = self.name;
        write!(f, "part {part} of {} of {log}, generation {generation}", self.parts)?;
        self.frames.iter().try_for_each(|frame| write!(f, "\n  {frame}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Append;
    use crate::record::BatchBuilder;

    const LOG: LogId = LogId {
        topic: Uuid([0xFB; 16]),
        partition: 12,
    };

    fn frames(count: i64, value_bytes: usize) -> Vec<Frame> {
        let append = |offset| {
            let batch = BatchBuilder::new()
                .record(5, None, Some(&vec![1; value_bytes]))
                .build_stamped(offset, 1);
            let body = Body::Append(Append {
                segment_base: 0,
                position: 0,
                base_offset: offset,
                last_offset: offset,
                leader_epoch: 1,
                bytes: batch.bytes().clone(),
            });
            Frame { log: LOG, body }
        };
        (0..count).map(append).collect()
    }

    #[test]
    fn parts_are_what_was_put_aside() {
        let all = frames(10, 1 << 20);
        let parts = split(LOG, 3, 7, all.clone());
        assert_eq!(parts.len(), 3);
        let mut found = Vec::new();
        for part in &parts {
            assert_eq!(PartName::parse(&part.name.to_string()), Some(part.name));
            let decoded = Part::decode(&part.encode()).unwrap();
            assert_eq!(&decoded, part);
            found.extend(decoded.frames);
        }
        assert_eq!(found[0].body, Body::Restate { base: 7, frames: 10 });
        assert_eq!(found[1..], all);
    }

    #[test]
    fn what_only_the_ring_had_of_a_log_may_be_control_frames() {
        let frame = Frame {
            log: LOG,
            body: Body::Start { offset: 9 },
        };
        let parts = split(LOG, 1, 9, vec![frame]);
        let shown = Part::decode(&parts[0].encode()).unwrap().to_string();
        assert_eq!(
            shown,
            "part 0 of 1 of -_v7-_v7-_v7-_v7-_v7-w-12, generation 1\n  \
             restate -_v7-_v7-_v7-_v7-_v7-w-12 from 9 in 1 frames\n  start -_v7-_v7-_v7-_v7-_v7-w-12 at 9"
        );
    }

    #[test]
    fn any_flipped_bit_and_any_lost_end_are_noticed() {
        let content = split(LOG, 1, 0, frames(2, 10)).remove(0).encode();
        for at in 0..content.len() {
            let mut flipped = content.to_vec();
            flipped[at] ^= 1 << (at % 8);
            assert_eq!(Part::decode(&flipped.into()), Err(ParkedError::Damaged), "byte {at}");
            assert_eq!(Part::decode(&content.slice(..at)), Err(ParkedError::Damaged));
        }
    }

    #[test]
    fn a_newer_format_is_said() {
        let mut content = split(LOG, 1, 0, Vec::new()).remove(0).encode().to_vec();
        content[12] = 2;
        let checksum = crc32fast::hash(&content[CHECKED_FROM..]);
        content[8..12].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(Part::decode(&content.into()), Err(ParkedError::Newer(2)));
    }

    #[test]
    fn other_names_are_not_ours() {
        for name in ["tidemill-parked-x-1.1.1", "tidemill-journal-0.ring", "tidemill-parked-"] {
            assert_eq!(PartName::parse(name), None, "{name}");
        }
        let name = PartName {
            log: LOG,
            generation: 1,
            part: 0,
        };
        assert_eq!(PartName::parse(&format!("{name}.tmp")), None);
        assert_eq!(PartName::parse(&name.to_string().replace("-12.", "-012.")), None);
    }
}
