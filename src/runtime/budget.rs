//! Memory that requests of one shard may hold, taken as their bytes arrive.
//!
//! A frame's claimed length costs nothing; each byte that arrives is taken from the budget and given back when the request
//! is answered. When it is used up, connections stop reading and wait in line. Frames that began and cannot finish would
//! then wait for each other for ever, so there is one lane: its holder may read one frame to the end whatever is left.
//!
//! Invariants
//! * `used <= limit + one frame` (and what one receive brings along behind it), because the lane is free again only when its
//!   holder's requests are answered or `used` is below the limit.
//! * Only who is in the middle of a frame keeps the lane: nobody waits for a connection that has nothing to say.

use std::collections::VecDeque;

use crate::types::ConnId;

pub(super) struct Budget {
    limit: usize,
    used: usize,
    lane: Option<Lane>,
    line: VecDeque<ConnId>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Lane {
    holder: ConnId,
    /// Its frame is complete: it reads no further, and the lane is free when it is answered.
    is_done: bool,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Budget {
        Budget {
            limit,
            used: 0,
            lane: None,
            line: VecDeque::new(),
        }
    }

    /// How many bytes this connection may read now, of the `want` that it could use. 0: it is in line and will be among
    /// those that [`Budget::freed`] names.
    pub(super) fn grant(&mut self, conn: ConnId, want: usize) -> usize {
        let granted = self.room(conn, want);
        let waits = self.line.iter().position(|&other| other == conn);
        match waits {
            None if granted == 0 => self.line.push_back(conn),
            Some(place) if granted > 0 => {
                self.line.remove(place);
            }
            _ => {}
        }
        granted
    }

    fn room(&mut self, conn: ConnId, want: usize) -> usize {
        if self.used < self.limit {
            return want.min(self.limit - self.used);
        }
        match self.lane {
            Some(lane) if self.is_in_lane(conn) && !lane.is_done => want,
            Some(_) => 0,
            None => {
                let is_done = false;
                self.lane = Some(Lane { holder: conn, is_done });
                want
            }
        }
    }

    pub(super) fn is_in_lane(&self, conn: ConnId) -> bool {
        self.lane.is_some_and(|lane| lane.holder == conn)
    }

    /// This connection has completed a frame.
    pub(super) fn completed(&mut self, conn: ConnId) {
        if let Some(lane) = self.lane.as_mut().filter(|lane| lane.holder == conn) {
            lane.is_done = true;
        }
    }

    /// This connection has nothing to read and is not in the middle of a frame.
    pub(super) fn rest(&mut self, conn: ConnId) {
        if self.lane.is_some_and(|lane| lane.holder == conn && !lane.is_done) {
            self.lane = None;
        }
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.used += bytes;
    }

    /// Gives back what a connection's answered request held. `is_last`: it has no other that is not answered.
    pub(super) fn give(&mut self, conn: ConnId, bytes: usize, is_last: bool) {
        self.used -= bytes;
        let is_over = self
            .lane
            .is_some_and(|lane| lane.holder == conn && lane.is_done && is_last);
        if is_over || self.used < self.limit {
            self.lane = None;
        }
    }

    /// The connection is gone with everything that it held.
    pub(super) fn leave(&mut self, conn: ConnId, holds: usize) {
        self.completed(conn);
        self.give(conn, holds, true);
        self.line.retain(|&other| other != conn);
    }

    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        self.used == 0 && self.lane.is_none() && self.line.is_empty()
    }

    /// The next connection in line that may try again, when there is room or the lane is free.
    pub(super) fn freed(&mut self) -> Option<ConnId> {
        if self.used < self.limit || self.lane.is_none() {
            self.line.pop_front()
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_frames_that_fill_the_budget_finish_one_after_the_other() {
        let (a, b, c) = (ConnId(1), ConnId(2), ConnId(3));
        let mut budget = Budget::new(100);
        for conn in [a, b] {
            assert_eq!(budget.grant(conn, 50), 50);
            budget.take(50);
        }
        // All is used and no frame is complete: the first to ask goes on, the others wait.
        assert_eq!(budget.grant(a, 50), 50);
        assert_eq!(budget.grant(b, 50), 0);
        assert_eq!(budget.grant(c, 50), 0);
        budget.take(50);
        assert_eq!(budget.freed(), None);
        budget.completed(a);
        budget.give(a, 100, true);
        assert_eq!(budget.freed(), Some(b));
        assert_eq!(budget.grant(b, 50), 50);
        budget.leave(b, 50);
        assert_eq!(budget.freed(), Some(c));
        assert_eq!(budget.freed(), None);
        assert_eq!(budget.used, 0);
    }

    #[test]
    fn a_lane_holder_that_leaves_frees_the_lane() {
        let mut budget = Budget::new(10);
        budget.take(10);
        assert_eq!(budget.grant(ConnId(1), 5), 5);
        assert_eq!(budget.grant(ConnId(2), 5), 0);
        budget.leave(ConnId(1), 0);
        assert_eq!(budget.freed(), Some(ConnId(2)));
        assert_eq!(budget.grant(ConnId(2), 5), 5);
    }

    #[test]
    fn the_lane_is_for_frames_only() {
        let (idle, half, next) = (ConnId(1), ConnId(2), ConnId(3));
        let mut budget = Budget::new(100);
        budget.take(100);
        assert_eq!(budget.grant(idle, 50), 50);
        assert_eq!(budget.grant(half, 50), 0);
        // It found nothing to read.
        budget.rest(idle);
        assert_eq!(budget.freed(), Some(half));
        assert_eq!(budget.grant(half, 50), 50);
        budget.take(50);
        // Its frame is complete: neither it nor another reads on before it is answered.
        budget.completed(half);
        budget.rest(half);
        assert_eq!(budget.grant(half, 50), 0);
        assert_eq!(budget.grant(next, 50), 0);
        assert_eq!(budget.freed(), None);
        budget.give(half, 50, true);
        assert_eq!(budget.freed(), Some(half));
        assert_eq!(budget.freed(), Some(next));
    }
}
