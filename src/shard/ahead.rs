//! Read-ahead: what a sequential reader of a segment will ask for next is read while the client still takes the last answer.
//!
//! A read that went on where an earlier one ended is followed by another, of one operation, which waits here until the reader
//! asks for just that. There are few at a time; a reader that found no place reads as it did before, and what nobody came
//! for makes room after a while.

use bytes::Bytes;

use crate::log::DiskRead;
use crate::types::{LogId, Offset};

use super::Shard;
use super::disk::Op;
use super::effect::{DiskError, DiskOp, DiskReply};
use super::outgoing::Lease;

/// Reads that wait or are under way at a time, of one shard.
const READS_MAX: usize = 8;
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
    /// Of what it brings.
    _reserved: Lease,
}

enum State {
    UnderWay,
    /// The reader came before the bytes did.
    Claimed {
        reading: u64,
        index: usize,
    },
    Here(Bytes),
}

impl Shard {
    /// `read` is complete, and its reader would go on at `next`.
    pub(super) fn read_ahead(&mut self, log: LogId, read: &DiskRead, next: Offset) {
        let oldest_us = self.now.mono_us.saturating_sub(KEPT_US);
        let reads = &mut self.ahead.reads;
        reads.retain(|ahead| ahead.since_us >= oldest_us || !matches!(ahead.state, State::Here(_)));
        if reads.len() >= READS_MAX || self.outgoing.grant().is_short {
            return;
        }
        let Some(partition) = self.partitions.get_mut(&log) else {
            return;
        };
        let upto = partition.log.last_stable_offset(partition.replica.high_watermark());
        let Some(read) = partition.log.read_on(read, next, upto) else {
            return;
        };
        if reads.iter().any(|ahead| ahead.read.instead_of(&read).is_some()) {
            return;
        }
        self.stats.reads_ahead += 1;
        let what = DiskOp::from(&read);
        let id = self.new_id();
        self.ahead.reads.push(ReadAhead {
            id,
            log,
            since_us: self.now.mono_us,
            state: State::UnderWay,
            _reserved: self.outgoing.reserve(read.len),
            read,
        });
        self.disk(Op::ReadAhead { id }, what);
    }

    /// Gives a planned read what was read ahead, or will be. False when there is nothing of the kind.
    pub(super) fn take_ahead(&mut self, reading: u64, index: usize, log: LogId, read: &DiskRead) -> bool {
        let reads = &mut self.ahead.reads;
        let found = reads.iter().enumerate().find_map(|(i, ahead)| {
            let is_free = ahead.log == log && !matches!(ahead.state, State::Claimed { .. });
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
        let State::Here(bytes) = reads.swap_remove(i).state else {
            unreachable!("neither under way nor claimed")
        };
        self.read_done(reading, index, log, &read, Ok(DiskReply::Bytes(bytes)));
        true
    }

    pub(super) fn ahead_done(&mut self, id: u64, result: Result<DiskReply, DiskError>) {
        let reads = &mut self.ahead.reads;
        let i = (reads.iter().position(|ahead| ahead.id == id)).expect("what is under way is kept");
        match (&reads[i].state, result) {
            (&State::Claimed { reading, index }, result) => {
                let ReadAhead { log, read, .. } = reads.swap_remove(i);
                self.read_done(reading, index, log, &read, result);
            }
            (_, Ok(DiskReply::Bytes(bytes))) => reads[i].state = State::Here(bytes),
            // The reader comes upon it itself.
            (_, _) => drop(reads.swap_remove(i)),
        }
    }
}
