//! Read-ahead: what a sequential reader of a segment will ask for next is read while the client still takes the last answer.
//!
//! A read that went on where an earlier one ended is followed by another, and that by the next as soon as its end is known:
//! so the device is busy while the reader is. They wait here until the reader asks for just that. There are few at a time; a
//! reader that found no place reads as it did before, and what nobody came for makes room after a while.

use bytes::Bytes;

use crate::log::{DiskRead, ReadProgress};
use crate::types::{LogId, Offset};

use super::Shard;
use super::disk::Op;
use super::effect::{DiskError, DiskOp, DiskReply};
use super::outgoing::Lease;

/// Reads that wait or are under way at a time: of one log, and of one shard.
const LOG_READS_MAX: usize = 3;
const READS_MAX: usize = 12;
/// A client that has not come back by then reads elsewhere or nothing at all.
const KEPT_US: u64 = 1_000_000;

#[derive(Default)]
pub struct Ahead {
    reads: Vec<ReadAhead>,
}

struct ReadAhead {
    id: u64,
    log: LogId,
    read: DiskRead,
    since_us: u64,
    state: State,
    reserved: Lease,
}

enum State {
    UnderWay,
    /// The reader came before the bytes did.
    Claimed {
        reading: u64,
        index: usize,
    },
    Here {
        bytes: Bytes,
        found: Found,
    },
}

/// The whole batches in what a read brought, and where its reader goes on.
struct Found {
    slices: Vec<Bytes>,
    next: Option<Offset>,
}

impl Shard {
    /// `read` is complete, and its reader would go on at `next`.
    pub(super) fn read_ahead(&mut self, log: LogId, read: &DiskRead, next: Offset) {
        let oldest_us = self.now.mono_us.saturating_sub(KEPT_US);
        let reads = &mut self.ahead.reads;
        reads.retain(|ahead| ahead.since_us >= oldest_us || !matches!(ahead.state, State::Here { .. }));
        let of_log = reads.iter().filter(|ahead| ahead.log == log && !ahead.is_claimed());
        if reads.len() >= READS_MAX || of_log.count() >= LOG_READS_MAX || self.outgoing.grant().is_short {
            return;
        }
        let Some(partition) = self.partitions.get_mut(&log) else {
            return;
        };
        let upto = partition.log.last_stable_offset(partition.replica.high_watermark());
        let mut at = next;
        let read = loop {
            let Some(planned) = partition.log.read_on(read, at, upto) else {
                return;
            };
            // Behind those that are there already.
            let there = (reads.iter()).find(|ahead| ahead.log == log && ahead.read.instead_of(&planned).is_some());
            let Some(there) = there else {
                break planned;
            };
            let State::Here {
                found: Found { next: Some(next), .. },
                ..
            } = there.state
            else {
                return;
            };
            at = next;
        };
        self.stats.reads_ahead += 1;
        let what = DiskOp::from(&read);
        let id = self.new_id();
        self.ahead.reads.push(ReadAhead {
            id,
            log,
            since_us: self.now.mono_us,
            state: State::UnderWay,
            reserved: self.outgoing.reserve(read.len),
            read,
        });
        self.disk(Op::ReadAhead { id }, what);
    }

    /// Gives a planned read what was read ahead, or will be. False when there is nothing of the kind.
    pub(super) fn take_ahead(&mut self, reading: u64, index: usize, log: LogId, read: &DiskRead) -> bool {
        let reads = &mut self.ahead.reads;
        let found = reads.iter().enumerate().find_map(|(i, ahead)| {
            let is_free = ahead.log == log && !ahead.is_claimed();
            let read = ahead.read.instead_of(read).filter(|_| is_free)?;
            Some((i, read))
        });
        let Some((i, read)) = found else {
            return false;
        };
        self.stats.reads_ahead_used += 1;
        if let State::UnderWay = reads[i].state {
            reads[i].read = read;
            reads[i].state = State::Claimed { reading, index };
            return true;
        }
        let State::Here { bytes, found } = reads.swap_remove(i).state else {
            unreachable!("neither under way nor claimed")
        };
        if !found.slices.is_empty() && found.len() <= read.bytes_max() {
            let Found { slices, next } = found;
            self.read_progressed(reading, index, log, &read, Ok(ReadProgress::Done { slices, next }));
        } else {
            self.read_done(reading, index, log, &read, Ok(DiskReply::Bytes(bytes)));
        }
        true
    }

    pub(super) fn ahead_done(&mut self, id: u64, result: Result<DiskReply, DiskError>) {
        let reads = &mut self.ahead.reads;
        let i = (reads.iter().position(|ahead| ahead.id == id)).expect("what is under way is kept");
        let log = reads[i].log;
        match (&reads[i].state, result) {
            (&State::Claimed { reading, index }, result) => {
                let read = reads.swap_remove(i).read;
                self.read_done(reading, index, log, &read, result);
            }
            (_, Ok(DiskReply::Bytes(bytes))) => {
                let read = reads[i].read.clone();
                let partition = self.partitions.get_mut(&log);
                let progress = partition.map(|partition| partition.log.finish_read(&read, bytes.clone()));
                let found = match progress {
                    Some(Ok(ReadProgress::Done { slices, next })) => Found { slices, next },
                    Some(Ok(ReadProgress::More(next))) => {
                        // A batch that is longer than one operation.
                        let what = DiskOp::from(&next);
                        reads[i].reserved = self.outgoing.reserve(next.memory_bytes());
                        reads[i].read = next;
                        return self.disk(Op::ReadAhead { id }, what);
                    }
                    // The reader comes upon it itself.
                    _ => Found {
                        slices: Vec::new(),
                        next: None,
                    },
                };
                let next = found.next;
                reads[i].state = State::Here { bytes, found };
                if let Some(next) = next {
                    self.read_ahead(log, &read, next);
                }
            }
            (_, _) => drop(reads.swap_remove(i)),
        }
    }
}

impl ReadAhead {
    fn is_claimed(&self) -> bool {
        matches!(self.state, State::Claimed { .. })
    }
}

impl Found {
    fn len(&self) -> usize {
        self.slices.iter().map(Bytes::len).sum()
    }
}
