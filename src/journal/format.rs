//! What lies in a ring file around the frames: two superblocks, then commits.
//!
//! ```text
//! ring file                                   position in the file
//!   superblock A                              0
//!   superblock B                              4096
//!   ring                                      8192 .. 8192 + ring bytes
//!
//! superblock, little-endian, one block
//!   0  8B   "TIDERING"
//!   8  u32  version (2); a ring of version 1 holds commits of version 1 only, and is 2 from the next start on
//!  12  u32  checksum       CRC-32 of bytes 16..4096, in every version
//!  16  u64  nonce          random, taken when the ring is created; seeds every checksum in the ring
//!  24  u64  generation     the valid copy with the higher one counts
//!  32  u64  ring bytes
//!  40  u64  incarnation    counts starts
//!  48  u64  its start      ring position of its first commit: from here on no earlier incarnation counts
//!  56  u64  anchor: ring position of a commit's header, or of the place where the next one will be
//!  64  u64  anchor: that commit's sequence
//!  72  u32  anchor: checksum of the header before it
//!  76  u16  shard
//!  78  u16  shards
//!  80  u64  durable        sequence of the newest commit known to be on the device when this was written
//!  88  u32  flags          1: stopped cleanly, nothing lies at or behind the anchor
//!  92       zeros
//!
//! commit, little-endian, starts at a block
//!   0  4B   "TIDC"
//!   4  u32  checksum       CRC-32 (seeded with the nonce) of bytes 8..96
//!   8  u16  version (2)
//!  10  u16  0
//!  12  u32  frames         0 in one that only says that those before it are on the device
//!  16  u64  incarnation
//!  24  u64  sequence
//!  32  u64  ring position  of this header
//!  40  u64  length         bytes up to the end of the last frame, this header included
//!  48  u64  replay from    ring position of the commit with the oldest frame that is not yet in its segment
//!  56  u64  durable        sequence of the newest commit that was on the device when this one was begun
//!  64  u32  previous       checksum of the header before this one
//!  68  u32  digest         CRC-32 of the checksums of its frames, in order
//!  72  u32  list           so many entries say which logs the commits before this one changed, see `recent`
//!  76  u32  list digest    CRC-32 (seeded with the nonce) of the list
//!  80  u64  list since     every log with a frame in this commit or a later one, up to this header, is in the list
//!  88  u64  0
//!  96       the list, then frames, then zeros up to a whole block
//!
//! In version 1 the frames begin at 80, where the header and its checksum end, and there is no list.
//! ```
//!
//! A *ring position* counts the bytes since the ring was created and never wraps; its place in the file is
//! `8192 + ring position % ring bytes`. So a header of an earlier lap differs from an expected one in its position already.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::frame::seeded;
use super::recent::{LIST_FREE, LOG_END_BYTES, List};
use super::report::RecoveryError;
use crate::types::Position;

pub const BLOCK: u64 = 4096;

/// The smallest ring.
pub const RING_BYTES_MIN: u64 = 64 * BLOCK;

/// Bytes of the file before the ring.
pub const RING_START: Position = 2 * BLOCK;

/// Of a commit's header in this version, without the list.
pub const COMMIT_HEADER_BYTES: usize = 96;
const COMMIT_HEADER_BYTES_V1: usize = 80;

/// What a header takes at most, with the part of its list that no frame paid for.
pub const COMMIT_HEADER_BYTES_MAX: u64 = (COMMIT_HEADER_BYTES + LIST_FREE * LOG_END_BYTES) as u64;

pub const VERSION: u32 = 2;

const RING_MAGIC: &[u8; 8] = b"TIDERING";
const COMMIT_MAGIC: &[u8; 4] = b"TIDC";
const CLEAN: u32 = 1;

/// Bytes since the ring was created; see the module.
pub type RingPosition = u64;

/// A place between two commits, and what the header there must say to continue the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Boundary {
    pub position: RingPosition,
    /// Of the commit that begins here.
    pub sequence: u64,
    /// Of the header before it.
    pub previous: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Superblock {
    pub nonce: u64,
    pub generation: u64,
    pub ring_bytes: u64,
    pub incarnation: u64,
    pub incarnation_start: RingPosition,
    pub anchor: Boundary,
    pub shard: u16,
    pub shards: u16,
    pub durable: u64,
    pub clean: bool,
}

/// What a block that should be a superblock is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SuperblockRead {
    Valid(Superblock),
    /// Never written.
    Zeros,
    /// Intact, but written by a later version of the format.
    Newer {
        version: u32,
    },
    Damaged,
}

impl Superblock {
    pub fn encode(&self) -> Bytes {
        let mut block = BytesMut::zeroed(BLOCK as usize);
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, RING_MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(16, &self.nonce.to_le_bytes());
        put(24, &self.generation.to_le_bytes());
        put(32, &self.ring_bytes.to_le_bytes());
        put(40, &self.incarnation.to_le_bytes());
        put(48, &self.incarnation_start.to_le_bytes());
        put(56, &self.anchor.position.to_le_bytes());
        put(64, &self.anchor.sequence.to_le_bytes());
        put(72, &self.anchor.previous.to_le_bytes());
        put(76, &self.shard.to_le_bytes());
        put(78, &self.shards.to_le_bytes());
        put(80, &self.durable.to_le_bytes());
        put(88, &if self.clean { CLEAN } else { 0 }.to_le_bytes());
        let checksum = crc32fast::hash(&block[16..]);
        block[12..16].copy_from_slice(&checksum.to_le_bytes());
        block.freeze()
    }

    pub fn decode(block: &[u8]) -> SuperblockRead {
        if block.iter().all(|&b| b == 0) {
            return SuperblockRead::Zeros;
        }
        if block.len() != BLOCK as usize || &block[..8] != RING_MAGIC {
            return SuperblockRead::Damaged;
        }
        let at = Fields(block);
        if crc32fast::hash(&block[16..]) != at.u32(12) {
            return SuperblockRead::Damaged;
        }
        if !(1..=VERSION).contains(&at.u32(8)) {
            return SuperblockRead::Newer { version: at.u32(8) };
        }
        let superblock = Superblock {
            nonce: at.u64(16),
            generation: at.u64(24),
            ring_bytes: at.u64(32),
            incarnation: at.u64(40),
            incarnation_start: at.u64(48),
            anchor: Boundary {
                position: at.u64(56),
                sequence: at.u64(64),
                previous: at.u32(72),
            },
            shard: at.u16(76),
            shards: at.u16(78),
            durable: at.u64(80),
            clean: at.u32(88) & CLEAN != 0,
        };
        let whole = |bytes: u64| bytes.is_multiple_of(BLOCK);
        let sane = superblock.ring_bytes >= RING_BYTES_MIN
            && superblock.ring_bytes < 1 << 48
            && whole(superblock.ring_bytes)
            && superblock.anchor.sequence > 0
            && counted(superblock.anchor.sequence)
            && counted(superblock.generation)
            && counted(superblock.incarnation)
            && counted(superblock.incarnation_start)
            && counted(superblock.durable)
            && counted(superblock.anchor.position)
            && whole(superblock.anchor.position);
        if sane {
            SuperblockRead::Valid(superblock)
        } else {
            SuperblockRead::Damaged
        }
    }

    /// The copy that counts of the two in the first [`RING_START`] bytes of a ring file of `file_bytes`, and whether the other
    /// one is damaged. `None` when neither is intact: they were never written, or lost.
    pub fn newest(head: &[u8], file_bytes: u64) -> Result<Option<(Superblock, bool)>, RecoveryError> {
        let copies = [0, BLOCK as usize].map(|at| Superblock::decode(&head[at..at + BLOCK as usize]));
        let mut newest: Option<Superblock> = None;
        for copy in copies {
            match copy {
                SuperblockRead::Newer { version } => return Err(RecoveryError::Newer { version }),
                SuperblockRead::Valid(superblock) => {
                    newest = newest
                        .filter(|other| other.generation > superblock.generation)
                        .or(Some(superblock));
                }
                SuperblockRead::Zeros | SuperblockRead::Damaged => {}
            }
        }
        let is_damaged = copies.contains(&SuperblockRead::Damaged);
        let Some(superblock) = newest else { return Ok(None) };
        let expected = RING_START + superblock.ring_bytes;
        if file_bytes < expected {
            let found = file_bytes;
            return Err(RecoveryError::Short { found, expected });
        }
        Ok(Some((superblock, is_damaged)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommitHeader {
    pub frames: u32,
    pub incarnation: u64,
    pub sequence: u64,
    pub position: RingPosition,
    pub length: u64,
    pub replay_from: RingPosition,
    pub durable: u64,
    pub previous: u32,
    pub digest: u32,
    /// None in version 1.
    pub list: Option<List>,
    pub list_digest: u32,
}

impl CommitHeader {
    /// The bytes, in this version, and their checksum.
    pub fn encode(&self, nonce: u64) -> ([u8; COMMIT_HEADER_BYTES], u32) {
        let mut header = [0u8; COMMIT_HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, COMMIT_MAGIC);
        put(8, &(VERSION as u16).to_le_bytes());
        put(12, &self.frames.to_le_bytes());
        put(16, &self.incarnation.to_le_bytes());
        put(24, &self.sequence.to_le_bytes());
        put(32, &self.position.to_le_bytes());
        put(40, &self.length.to_le_bytes());
        put(48, &self.replay_from.to_le_bytes());
        put(56, &self.durable.to_le_bytes());
        put(64, &self.previous.to_le_bytes());
        put(68, &self.digest.to_le_bytes());
        let list = self.list.unwrap_or_default();
        put(72, &list.count.to_le_bytes());
        put(76, &self.list_digest.to_le_bytes());
        put(80, &list.since.to_le_bytes());
        let checksum = header_checksum(&header, nonce);
        header[4..8].copy_from_slice(&checksum.to_le_bytes());
        (header, checksum)
    }

    /// The intact header at the start of `block` and its checksum.
    pub fn decode(block: &[u8], nonce: u64) -> Option<(CommitHeader, u32)> {
        let version = u32::from(u16::from_le_bytes(block.get(8..10)?.try_into().expect("2 bytes")));
        let header = match version {
            1 => block.get(..COMMIT_HEADER_BYTES_V1)?,
            VERSION => block.get(..COMMIT_HEADER_BYTES)?,
            _ => return None,
        };
        let at = Fields(header);
        if &header[..4] != COMMIT_MAGIC
            || header_checksum(header, nonce) != at.u32(4)
            || ![16, 24, 32, 40].iter().all(|&count| counted(at.u64(count)))
        {
            return None;
        }
        let list = (version > 1).then(|| List {
            count: at.u32(72),
            since: at.u64(80),
        });
        let commit = CommitHeader {
            frames: at.u32(12),
            incarnation: at.u64(16),
            sequence: at.u64(24),
            position: at.u64(32),
            length: at.u64(40),
            replay_from: at.u64(48),
            durable: at.u64(56),
            previous: at.u32(64),
            digest: at.u32(68),
            list,
            list_digest: if version > 1 { at.u32(76) } else { 0 },
        };
        (commit.length >= commit.frames_at() as u64).then_some((commit, at.u32(4)))
    }

    /// Bytes in the ring, padding included.
    pub fn ring_bytes(&self) -> u64 {
        self.length.next_multiple_of(BLOCK)
    }

    /// Where its first frame begins, counted from the header.
    pub fn frames_at(&self) -> usize {
        match self.list {
            Some(list) => COMMIT_HEADER_BYTES + list.count as usize * LOG_END_BYTES,
            None => COMMIT_HEADER_BYTES_V1,
        }
    }

    /// Its list, if it has one that is intact. `commit` are the commit's bytes.
    pub fn list_in<'a>(&self, commit: &'a [u8], nonce: u64) -> Option<(List, &'a [u8])> {
        let list = self.list?;
        let bytes = commit.get(COMMIT_HEADER_BYTES..self.frames_at())?;
        (list_digest(bytes, nonce) == self.list_digest).then_some((list, bytes))
    }
}

pub fn list_digest(list: &[u8], nonce: u64) -> u32 {
    let mut crc = seeded(nonce);
    crc.update(list);
    crc.finalize()
}

fn header_checksum(header: &[u8], nonce: u64) -> u32 {
    let mut crc = seeded(nonce);
    crc.update(&header[8..]);
    crc.finalize()
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.0[at..at + 2].try_into().expect("2 bytes"))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().expect("4 bytes"))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("8 bytes"))
    }
}

impl fmt::Display for Superblock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "superblock {} shard {}/{} ring {} bytes, incarnation {} from {}, anchor {} commit {} after {:08x}, durable {}{}",
            self.generation,
            self.shard,
            self.shards,
            self.ring_bytes,
            self.incarnation,
            self.incarnation_start,
            self.anchor.position,
            self.anchor.sequence,
            self.anchor.previous,
            self.durable,
            if self.clean { ", clean" } else { "" }
        )
    }
}

impl fmt::Display for CommitHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "commit {} at {} incarnation {} frames {} length {} replay from {} durable {} after {:08x}, list of {}",
            self.sequence,
            self.position,
            self.incarnation,
            self.frames,
            self.length,
            self.replay_from,
            self.durable,
            self.previous,
            self.list.unwrap_or_default().count
        )
    }
}

/// Whether a journal can have come so far. Positions and numbers are only ever counted up: none of them is near its end.
pub(super) fn counted(count: u64) -> bool {
    count < 1 << 62
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Config, Recovery, Start, Step};

    /// Found by the fuzz target `journal_ring`: a start counted down from the sequence 0.
    #[test]
    fn numbers_that_no_journal_reaches_are_damage() {
        let good = Superblock {
            nonce: u64::MAX,
            generation: 1,
            ring_bytes: RING_BYTES_MIN,
            incarnation: 1,
            incarnation_start: 0,
            anchor: Boundary {
                position: BLOCK,
                sequence: 1,
                previous: 0,
            },
            shard: 0,
            shards: 1,
            durable: 0,
            clean: false,
        };
        assert_eq!(Superblock::decode(&good.encode()), SuperblockRead::Valid(good));
        let (mut none, mut last) = (good, good);
        none.anchor.sequence = 0;
        last.anchor.sequence = u64::MAX;
        for bad in [none, last] {
            assert_eq!(Superblock::decode(&bad.encode()), SuperblockRead::Damaged);
        }
    }

    fn superblock() -> Superblock {
        Superblock {
            nonce: 7,
            generation: 1,
            ring_bytes: RING_BYTES_MIN,
            incarnation: 1,
            incarnation_start: 0,
            anchor: Boundary {
                position: 0,
                sequence: 1,
                previous: 0,
            },
            shard: 0,
            shards: 1,
            durable: 0,
            clean: false,
        }
    }

    /// Whether the ring of this file is made anew, without a word of what it holds.
    fn is_made_anew(file: &[u8], is_empty: bool) -> Result<bool, RecoveryError> {
        let mut recovery = Recovery::new(Start {
            config: Config::new(2 * RING_BYTES_MIN, crate::types::ShardId(0), 1),
            file_bytes: Some(file.len() as u64),
            nonce: 1,
            is_empty,
        });
        loop {
            match recovery.step()? {
                Step::Read { position, len } => {
                    let from = file.len().min(position as usize);
                    let to = file.len().min(position as usize + len);
                    recovery.read_done(Bytes::copy_from_slice(&file[from..to]));
                }
                Step::Create { .. } => return Ok(true),
                Step::Sync => recovery.synced(),
                Step::Frame(_) | Step::Ended(_) => {}
                Step::Done => return Ok(false),
            }
        }
    }

    #[test]
    fn only_a_ring_that_holds_nothing_is_made_anew() {
        let blank = vec![0; (RING_START + RING_BYTES_MIN) as usize];
        assert_eq!(is_made_anew(&blank, false), Ok(true));
        // The first superblock was torn, before anything could be written behind it.
        let mut torn = blank.clone();
        torn[..40].copy_from_slice(&superblock().encode()[..40]);
        assert_eq!(is_made_anew(&torn, false), Ok(true));
        // Whatever lies in the ring was written behind two superblocks: they were lost.
        for at in [RING_START as usize, RING_START as usize + 100_000, blank.len() - 1] {
            let mut headless = blank.clone();
            headless[at] = 1;
            assert_eq!(
                is_made_anew(&headless, false),
                Err(RecoveryError::Superblocks),
                "at {at}"
            );
            assert_eq!(
                is_made_anew(&headless, true),
                Ok(true),
                "after a clean stop it holds nothing"
            );
            let short = &headless[..=at];
            assert_eq!(
                is_made_anew(short, false),
                Err(RecoveryError::Superblocks),
                "{at} bytes"
            );
        }
    }

    #[test]
    fn a_ring_of_another_size_is_made_anew_only_when_it_is_empty() {
        for (clean, is_empty) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut file = vec![0; (RING_START + RING_BYTES_MIN) as usize];
            let superblock = Superblock { clean, ..superblock() };
            file[..BLOCK as usize].copy_from_slice(&superblock.encode());
            assert_eq!(is_made_anew(&file, is_empty), Ok(clean && is_empty));
            let len = file.len() - 1;
            let short = is_made_anew(&file[..len], is_empty);
            assert_eq!(short.is_err(), !is_empty, "{short:?}");
        }
    }
}
