//! Memory that requests of one shard may hold, taken as their bytes arrive.
//!
//! A frame's claimed length costs nothing; each byte that arrives is taken from the budget and given back when the request
//! is answered. When it is used up, connections stop reading and wait in line. Frames that began and cannot finish would
//! then wait for each other for ever, so there is one lane: its holder may read one frame to the end whatever is left.
//!
//! A client may make its own request wait, a fetch for weeks, and the requests behind it with it. While it does, it gets a
//! small share and no lane.
//!
//! Invariants
//! * `used <= limit + one frame` (and what one receive brings along behind it), because the lane is free again only when its
//!   holder's requests are answered or `used` is below the limit; and a share for each request that came by the lane and
//!   is no larger than that, since such a request gives the lane back when it starts.
//! * Only who is in the middle of a frame keeps the lane, or whose frame the shard answers as soon as it can: nobody waits for
//!   a connection that has nothing to say, or that waits itself.

use std::collections::VecDeque;

use crate::types::ConnId;

pub(super) struct Budget {
    limit: usize,
    /// What a connection may hold while it waits, see [`Budget::ahead`].
    waiting_max: usize,
    used: usize,
    lane: Option<Lane>,
    line: VecDeque<ConnId>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Lane {
    holder: ConnId,
    /// Its frame is complete: it reads no further, and the lane is free after so many answers, of which the last is the
    /// frame's.
    answers_left: Option<usize>,
}

impl Budget {
    pub(super) fn new(limit: usize, waiting_max: usize) -> Budget {
        Budget {
            limit,
            waiting_max,
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
            Some(lane) if lane.holder == conn && lane.answers_left.is_none() => want,
            Some(_) => 0,
            None => {
                self.lane = Some(Lane {
                    holder: conn,
                    answers_left: None,
                });
                want
            }
        }
    }

    /// The same for a connection that holds this much and whose next request could not start: it is not in line, what it
    /// waits for wakes it.
    pub(super) fn ahead(&self, want: usize, holds: usize) -> usize {
        want.min(self.waiting_max.saturating_sub(holds))
            .min(self.limit.saturating_sub(self.used))
    }

    pub(super) fn is_in_lane(&self, conn: ConnId) -> bool {
        self.lane.is_some_and(|lane| lane.holder == conn)
    }

    /// The shard has to have the lane's frame: it is this connection's, which has so many requests with the shard, and is
    /// not among them.
    pub(super) fn hurries(&self, conn: ConnId, unanswered: usize) -> bool {
        self.lane
            .is_some_and(|lane| lane.holder == conn && lane.answers_left.is_none_or(|left| left > unanswered))
    }

    /// This connection has completed a frame, and has so many requests that came before it and are not answered.
    pub(super) fn completed(&mut self, conn: ConnId, unanswered: usize) {
        if let Some(lane) = self.lane.as_mut().filter(|lane| lane.holder == conn) {
            lane.answers_left.get_or_insert(unanswered + 1);
        }
    }

    /// The shard has started this connection's request, of so many bytes, whose answer may take long.
    pub(super) fn may_wait(&mut self, conn: ConnId, bytes: usize) {
        let is_in = |lane: Lane| lane.holder == conn && lane.answers_left.is_some();
        if bytes <= self.waiting_max && self.lane.is_some_and(is_in) {
            self.lane = None;
        }
    }

    /// This connection has nothing to read and is not in the middle of a frame.
    pub(super) fn rest(&mut self, conn: ConnId) {
        if self
            .lane
            .is_some_and(|lane| lane.holder == conn && lane.answers_left.is_none())
        {
            self.lane = None;
        }
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.used += bytes;
    }

    /// Gives back what a connection's oldest request held, which is answered.
    pub(super) fn give(&mut self, conn: ConnId, bytes: usize) {
        self.used -= bytes;
        if let Some(lane) = self.lane.as_mut().filter(|lane| lane.holder == conn)
            && let Some(left) = &mut lane.answers_left
        {
            *left -= 1;
            if *left == 0 {
                self.lane = None;
            }
        }
        if self.used < self.limit {
            self.lane = None;
        }
    }

    /// The connection is gone with everything that it held.
    pub(super) fn leave(&mut self, conn: ConnId, holds: usize) {
        self.used -= holds;
        if self.is_in_lane(conn) || self.used < self.limit {
            self.lane = None;
        }
        self.line.retain(|&other| other != conn);
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used
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
        let mut budget = Budget::new(100, 10);
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
        budget.completed(a, 0);
        budget.give(a, 100);
        assert_eq!(budget.freed(), Some(b));
        assert_eq!(budget.grant(b, 50), 50);
        budget.leave(b, 50);
        assert_eq!(budget.freed(), Some(c));
        assert_eq!(budget.freed(), None);
        assert_eq!(budget.used, 0);
    }

    #[test]
    fn a_lane_holder_that_leaves_frees_the_lane() {
        let mut budget = Budget::new(10, 1);
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
        let mut budget = Budget::new(100, 10);
        budget.take(100);
        assert_eq!(budget.grant(idle, 50), 50);
        assert_eq!(budget.grant(half, 50), 0);
        // It found nothing to read.
        budget.rest(idle);
        assert_eq!(budget.freed(), Some(half));
        assert_eq!(budget.grant(half, 50), 50);
        budget.take(50);
        // Its frame is complete: neither it nor another reads on before it is answered.
        budget.completed(half, 0);
        budget.rest(half);
        assert_eq!(budget.grant(half, 50), 0);
        assert_eq!(budget.grant(next, 50), 0);
        assert_eq!(budget.freed(), None);
        budget.give(half, 50);
        assert_eq!(budget.freed(), Some(half));
        assert_eq!(budget.freed(), Some(next));
    }

    #[test]
    fn who_waits_gets_a_share_and_keeps_no_lane() {
        let (waits, half) = (ConnId(1), ConnId(2));
        let mut budget = Budget::new(100, 10);
        assert_eq!(budget.ahead(50, 0), 10);
        assert_eq!(budget.ahead(50, 10), 0);
        budget.take(95);
        assert_eq!(budget.ahead(50, 0), 5);
        budget.take(5);
        assert_eq!(budget.ahead(50, 0), 0);
        // A small request comes by the lane and waits: the next one may come.
        assert_eq!(budget.grant(waits, 50), 50);
        assert_eq!(budget.grant(half, 50), 0);
        budget.take(8);
        budget.may_wait(waits, 8);
        assert_eq!(budget.freed(), None, "its frame is not complete");
        budget.completed(waits, 0);
        budget.may_wait(waits, 8);
        assert_eq!(budget.freed(), Some(half));
        assert_eq!(budget.grant(half, 50), 50);
        // A large one keeps it until it is answered.
        budget.take(50);
        budget.completed(half, 0);
        budget.may_wait(half, 50);
        assert!(budget.is_in_lane(half));
        budget.give(half, 50);
        assert!(!budget.is_in_lane(half));
        budget.leave(waits, 8);
    }

    #[test]
    fn the_lane_is_for_its_frame_and_not_for_what_is_around_it() {
        let conn = ConnId(1);
        let mut budget = Budget::new(100, 10);
        budget.take(130);
        assert_eq!(budget.grant(conn, 50), 50);
        // Two requests before it, and one that came along behind it.
        budget.take(50);
        budget.completed(conn, 2);
        for unanswered in [2, 1, 0] {
            assert!(budget.hurries(conn, unanswered));
        }
        budget.give(conn, 5);
        budget.give(conn, 5);
        assert!(budget.is_in_lane(conn) && budget.hurries(conn, 0));
        assert!(!budget.hurries(conn, 1), "the shard has it");
        budget.give(conn, 40);
        assert!(!budget.is_in_lane(conn));
    }
}
