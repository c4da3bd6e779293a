//! What random histories run on and are compared with: a ring file of which a crash leaves what it may, and logs as frames make
//! them.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::journal::{Append, BLOCK, Body, Frame};
use crate::types::{LogId, Offset, Random};

const SECTOR: usize = 512;

/// A ring file with what is on the device and what only looks so.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) nonce: u64,
    /// What reads see; empty while there is no file.
    pub(super) seen: Vec<u8>,
    pub(super) device: Vec<u8>,
    pub(super) in_flight: Vec<DiskWrite>,
    /// Complete, not flushed.
    pub(super) cached: Vec<DiskWrite>,
}

#[derive(Clone)]
pub(super) struct DiskWrite {
    pub(super) position: usize,
    pub(super) bytes: Vec<u8>,
    pub(super) flush: bool,
}

impl Disk {
    pub(super) fn create(&mut self, len: u64) {
        self.seen = vec![0; len as usize];
        self.device = self.seen.clone();
        self.cached.clear();
    }

    pub(super) fn start(&mut self, position: u64, slices: &[Bytes], flush: bool) {
        let mut bytes = slices.concat();
        bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        self.in_flight.push(DiskWrite {
            position: position as usize,
            bytes,
            flush,
        });
    }

    /// One of the writes in flight completes.
    pub(super) fn complete(&mut self, index: usize) {
        let write = self.in_flight.swap_remove(index);
        put(&mut self.seen, write.position, &write.bytes);
        if write.flush {
            // What was there before does not come after it.
            let end = write.position + write.bytes.len();
            let overlaps = |old: &mut DiskWrite| old.position < end && write.position < old.position + old.bytes.len();
            for old in self.cached.extract_if(.., overlaps) {
                put(&mut self.device, old.position, &old.bytes);
            }
            put(&mut self.device, write.position, &write.bytes);
        } else {
            self.cached.push(write);
        }
    }

    pub(super) fn sync(&mut self) {
        for write in self.cached.drain(..) {
            put(&mut self.device, write.position, &write.bytes);
        }
    }

    /// The process ends: what was in flight lands, or not, in part and in any order. With the power, so does what was only cached.
    pub(super) fn crash(&mut self, random: &mut Random, power: bool) {
        let mut torn = Vec::new();
        for write in self.in_flight.drain(..) {
            torn.extend(survivors(random, &write));
        }
        if power {
            for write in self.cached.drain(..) {
                for part in survivors(random, &write) {
                    put(&mut self.device, part.position, &part.bytes);
                }
            }
            for part in torn {
                put(&mut self.device, part.position, &part.bytes);
            }
            self.seen = self.device.clone();
        } else {
            for part in torn {
                put(&mut self.seen, part.position, &part.bytes);
                self.cached.push(part);
            }
        }
    }

    pub(super) fn read(&self, position: u64, len: usize) -> Bytes {
        let from = (position as usize).min(self.seen.len());
        let to = (from + len).min(self.seen.len());
        Bytes::copy_from_slice(&self.seen[from..to])
    }
}

pub(super) fn put(file: &mut [u8], position: usize, bytes: &[u8]) {
    file[position..position + bytes.len()].copy_from_slice(bytes);
}

/// The parts of a write that land when the power goes.
fn survivors(random: &mut Random, write: &DiskWrite) -> Vec<DiskWrite> {
    let part = |from: usize, to: usize| DiskWrite {
        position: write.position + from,
        bytes: write.bytes[from..to].to_vec(),
        flush: false,
    };
    let unit = if random.below(2) == 0 { SECTOR } else { BLOCK as usize };
    if write.bytes.is_empty() {
        return Vec::new();
    }
    match random.below(4) {
        0 => Vec::new(),
        1 => vec![part(0, write.bytes.len())],
        2 => {
            let some = |&at: &usize| at < write.bytes.len();
            let starts = (0..).map(|i| i * unit).take_while(some);
            let mut parts: Vec<_> = starts.map(|at| part(at, (at + unit).min(write.bytes.len()))).collect();
            parts.retain(|_| random.below(2) == 0);
            parts
        }
        // All but one unit: the tear that is hardest to see.
        _ => {
            let len = write.bytes.len();
            let hole = random.below(len.div_ceil(unit) as u64) as usize * unit;
            vec![part(0, hole), part((hole + unit).min(len), len)]
        }
    }
}

/// What one log holds.
#[derive(Clone, Default, Debug, PartialEq)]
pub(super) struct LogState {
    pub(super) batches: Vec<Append>,
    pub(super) start: Offset,
    pub(super) epochs: Vec<(i32, Offset)>,
}

impl LogState {
    pub(super) fn end(&self) -> Offset {
        self.batches.last().map_or(0, |batch| batch.last_offset + 1)
    }

    pub(super) fn cut(&mut self, to: Offset) {
        self.batches.retain(|batch| batch.last_offset < to);
        self.epochs.retain(|&(_, start)| start < to);
    }

    /// Up to where both hold the same.
    pub(super) fn common(&self, other: &LogState) -> usize {
        let pairs = self.batches.iter().zip(&other.batches);
        pairs.take_while(|(a, b)| a == b).count()
    }
}

pub(super) type State = BTreeMap<LogId, LogState>;

pub(super) fn apply(state: &mut State, frame: &Frame) {
    let log = state.entry(frame.log).or_default();
    match &frame.body {
        Body::Append(append) => log.batches.push(append.clone()),
        Body::Truncate { to } => log.cut(*to),
        Body::Start { offset } => log.start = log.start.max(*offset),
        Body::Epoch { epoch, start_offset } => {
            if !log.epochs.contains(&(*epoch, *start_offset)) {
                log.epochs.push((*epoch, *start_offset));
            }
        }
        Body::Drop => {
            state.remove(&frame.log);
        }
        Body::Restate { base, .. } => log.cut(*base),
    }
}

/// What a shard does with replayed frames, over what its logs' own files hold. Also says which logs miss something.
pub(super) fn fold(files: &State, frames: &[Frame]) -> (State, Vec<LogId>) {
    let mut state = files.clone();
    let mut holes = BTreeMap::new();
    for frame in frames {
        let end = state.get(&frame.log).map_or(0, LogState::end);
        match &frame.body {
            Body::Append(append) if append.base_offset < end => continue,
            Body::Append(append) if append.base_offset > end => {
                holes.insert(frame.log, append.base_offset);
                continue;
            }
            Body::Restate { base, .. } if *base > end => {
                holes.insert(frame.log, *base);
                continue;
            }
            Body::Truncate { to } if *to > end => continue,
            Body::Truncate { .. } | Body::Restate { .. } | Body::Drop => {
                holes.remove(&frame.log);
            }
            _ => {}
        }
        apply(&mut state, frame);
    }
    (state, holes.into_keys().collect())
}

pub(super) fn without_empty(state: &State) -> State {
    let mut state = state.clone();
    state.retain(|_, log| *log != LogState::default());
    state
}
