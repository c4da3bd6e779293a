//! Work in proportion to bytes: a little of it is done on the loop, the rest on worker threads.
//!
//! Few jobs are given away at a time and whose turn it is goes round, so that one client's work waits for a job of each of
//! the others and not for all of theirs.
//!
//! Invariants
//! * At most [`COMPUTE_WORKERS`] jobs are given away, and one of them is a large one; none that may run waits while there
//!   are fewer.
//! * Whoever is in `waiting` has a job there.

use std::any::Any;
use std::collections::VecDeque;

use crate::record::RecordError;
use crate::types::{ConnId, LogId, OpId, ShardId};

use super::Shard;
use super::disk::Op;
use super::effect::{COMPUTE_WORKERS, Compute, ComputeJob, ComputePanicked, ComputeReply, Effect, JOB_BYTES_MAX};
use super::message::Asker;

/// What batches may inflate to on the loop in one round.
const INFLATED_BYTES_PER_ROUND: usize = 1024 * 1024;

/// For whom work is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    Connection(ShardId, ConnId),
    /// One of a kind that a connection has one of at a time.
    Request(Asker),
}

pub struct Computing {
    /// What batches may still inflate to on the loop in this round.
    pub inline_left: usize,
    running: usize,
    /// The job that takes much memory.
    large: Option<OpId>,
    waiting: VecDeque<(Client, VecDeque<(OpId, ComputeJob)>)>,
}

impl Default for Computing {
    fn default() -> Computing {
        Computing {
            inline_left: INFLATED_BYTES_PER_ROUND,
            running: 0,
            large: None,
            waiting: VecDeque::new(),
        }
    }
}

impl Computing {
    pub fn new_round(&mut self) {
        self.inline_left = INFLATED_BYTES_PER_ROUND;
    }

    fn push(&mut self, client: Client, op: OpId, job: ComputeJob) {
        match self.waiting.iter_mut().find(|(waiting, _)| *waiting == client) {
            Some((_, jobs)) => jobs.push_back((op, job)),
            None => self.waiting.push_back((client, VecDeque::from([(op, job)]))),
        }
    }

    /// The next job that may be given away; its client is the last in line for another.
    fn pop(&mut self) -> Option<(OpId, ComputeJob)> {
        if self.running == COMPUTE_WORKERS {
            return None;
        }
        let may_run = |jobs: &VecDeque<(OpId, ComputeJob)>| {
            let (_, job) = jobs.front().expect("whoever waits has a job");
            !job.is_large || self.large.is_none()
        };
        let at = self.waiting.iter().position(|(_, jobs)| may_run(jobs))?;
        let (client, mut jobs) = self.waiting.remove(at).expect("just found");
        let (op, job) = jobs.pop_front().expect("whoever waits has a job");
        if !jobs.is_empty() {
            self.waiting.push_back((client, jobs));
        }
        self.running += 1;
        if job.is_large {
            self.large = Some(op);
        }
        Some((op, job))
    }

    fn done(&mut self, op: OpId) {
        self.running -= 1;
        if self.large == Some(op) {
            self.large = None;
        }
    }
}

impl Shard {
    /// Runs `job`, which takes `memory_bytes` beyond what it holds now, on a worker thread; what it gives comes to
    /// [`Shard::computed`].
    pub(super) fn compute<T: Any + Send>(
        &mut self,
        client: Client,
        op: Op,
        memory_bytes: usize,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> OpId {
        let op = self.new_op(op);
        let job = ComputeJob {
            run: Box::new(move || Box::new(job())),
            is_large: memory_bytes > JOB_BYTES_MAX,
        };
        self.stats.large_jobs += u64::from(job.is_large);
        self.computing.push(client, op, job);
        self.give_jobs_away();
        op
    }

    fn give_jobs_away(&mut self) {
        while let Some((op, job)) = self.computing.pop() {
            let what = Compute::Run(job);
            self.emit(Effect::Compute { op, what });
        }
    }

    pub(super) fn computed(&mut self, op: OpId, result: ComputeReply) {
        self.computing.done(op);
        self.give_jobs_away();
        match self.ops.remove(&op).expect("work completes once") {
            Op::Checked(log) => {
                let checked = finished(log, result).unwrap_or(Err(RecordError::Unchecked));
                self.checked(op, log, checked);
            }
            Op::LookedUp { at, log } => self.looked_up(at, log, finished(log, result)),
            _ => unreachable!("work of the disk completes as Disk"),
        }
        if self.is_stopping() {
            self.stop_may_go_on();
        }
    }
}

/// What a job gave; nothing when it panicked, which costs no more than its batch.
fn finished<T: Any>(log: LogId, reply: ComputeReply) -> Option<T> {
    match reply.downcast::<T>() {
        Ok(result) => Some(*result),
        Err(other) => {
            let panicked = other
                .downcast::<ComputePanicked>()
                .expect("the kind that was asked for");
            tracing::error!(
                "{log}: a batch cannot be looked at, because the thread that did panicked: {}",
                panicked.0
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(is_large: bool) -> ComputeJob {
        ComputeJob {
            run: Box::new(|| Box::new(())),
            is_large,
        }
    }

    fn of(conn: u64) -> Client {
        Client::Connection(ShardId(0), ConnId(conn))
    }

    #[test]
    fn clients_take_turns() {
        let mut computing = Computing::default();
        let mut push = |conn, ops: std::ops::Range<u64>| {
            for op in ops {
                computing.push(of(conn), OpId(op), job(false));
            }
        };
        push(1, 10..15);
        push(2, 20..22);
        push(3, 30..31);
        let mut given = Vec::new();
        while let Some((op, _)) = computing.pop() {
            given.push(op.0);
            if computing.running == COMPUTE_WORKERS {
                assert!(computing.pop().is_none());
                computing.done(op);
            }
        }
        assert_eq!(given, [10, 20, 30, 11, 21, 12, 13, 14]);
    }

    #[test]
    fn one_large_job_at_a_time_and_the_small_ones_pass_it() {
        let mut computing = Computing::default();
        for (conn, op, is_large) in [(1, 10, true), (2, 20, true), (3, 30, false), (3, 31, false)] {
            computing.push(of(conn), OpId(op), job(is_large));
        }
        let mut next = |done: Option<u64>| {
            done.into_iter().for_each(|op| computing.done(OpId(op)));
            computing.pop().map(|(op, _)| op.0)
        };
        assert_eq!(next(None), Some(10));
        assert_eq!(next(None), Some(30));
        assert_eq!(next(Some(30)), Some(31));
        assert_eq!(next(Some(31)), None, "the other large one waits");
        assert_eq!(next(Some(10)), Some(20));
    }
}
