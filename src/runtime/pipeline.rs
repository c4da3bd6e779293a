//! The requests of one connection between its socket and its shard: which of them the shard may have now.
//!
//! Kafka handles one request of a connection at a time, and reads the next when the answer is sent. Here produces overlap,
//! and anything else is the shard's only when every earlier request is answered and every earlier reply has left: a client
//! that does not read its replies is not answered any further, and a connection gets one such request handled in a round,
//! however many arrived with it.
//!
//! Invariants
//! * The shard has at most [`PRODUCES_MAX`] produces of a connection, or one other request.
//! * Requests reach the shard in the order in which they arrived.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::shard::is_produce;

/// Produces of one connection that the shard has and has not answered.
const PRODUCES_MAX: usize = 512;

#[derive(Default)]
pub(super) struct Pipeline {
    /// Complete and not yet the shard's. Holds no memory while it is empty.
    waiting: VecDeque<BytesMut>,
    /// Sizes of the requests that the shard has, oldest first, with their length prefixes.
    unanswered: VecDeque<usize>,
    /// The one request that the shard has is no produce.
    runs_other: bool,
}

/// How much of the earlier replies the client has still to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unsent {
    Nothing,
    Little,
    TooMuch,
}

impl Pipeline {
    /// A request has arrived: the same again if the shard may have it now.
    pub(super) fn arrived(&mut self, frame: BytesMut, unsent: Unsent) -> Option<BytesMut> {
        if self.waiting.is_empty() && self.may_start(&frame, unsent) {
            return Some(self.start(frame));
        }
        self.waiting.push_back(frame);
        None
    }

    /// The next request that waited and that the shard may have now.
    pub(super) fn next(&mut self, unsent: Unsent) -> Option<BytesMut> {
        if !self.may_start(self.waiting.front()?, unsent) {
            return None;
        }
        let frame = self.waiting.pop_front()?;
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some(self.start(frame))
    }

    fn may_start(&self, frame: &[u8], unsent: Unsent) -> bool {
        match is_produce(frame) {
            true => !self.runs_other && self.unanswered.len() < PRODUCES_MAX && unsent != Unsent::TooMuch,
            false => self.unanswered.is_empty() && unsent == Unsent::Nothing,
        }
    }

    fn start(&mut self, frame: BytesMut) -> BytesMut {
        self.runs_other = !is_produce(&frame);
        self.unanswered.push_back(frame.len() + 4);
        frame
    }

    /// The size of the oldest request that the shard has, which is answered now.
    pub(super) fn answered(&mut self) -> Option<usize> {
        self.runs_other = false;
        self.unanswered.pop_front()
    }

    /// Requests wait for the client, or for what the shard has.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many requests the shard has.
    pub(super) fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// The size of the request that the shard has and that nothing may overlap.
    pub(super) fn other_bytes(&self) -> Option<usize> {
        self.unanswered.front().copied().filter(|_| self.runs_other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn produce() -> BytesMut {
        BytesMut::from(&[0u8, 0, 0, 9][..])
    }

    fn fetch() -> BytesMut {
        BytesMut::from(&[0u8, 1, 0, 12][..])
    }

    #[test]
    fn produces_overlap_and_others_are_alone() {
        let mut pipeline = Pipeline::default();
        assert!(pipeline.arrived(produce(), Unsent::Nothing).is_some());
        assert!(pipeline.arrived(produce(), Unsent::Little).is_some());
        assert!(pipeline.arrived(fetch(), Unsent::Nothing).is_none());
        assert!(pipeline.arrived(produce(), Unsent::Nothing).is_none(), "order is kept");
        assert_eq!(pipeline.answered(), Some(8));
        assert!(pipeline.next(Unsent::Nothing).is_none());
        assert_eq!((pipeline.answered(), pipeline.other_bytes()), (Some(8), None));
        assert_eq!(pipeline.next(Unsent::Nothing), Some(fetch()));
        assert_eq!(pipeline.other_bytes(), Some(8));
        assert!(pipeline.next(Unsent::Nothing).is_none());
        assert!(pipeline.answered().is_some() && pipeline.unanswered() == 0);
        assert_eq!(pipeline.next(Unsent::Nothing), Some(produce()));
        assert!(!pipeline.is_waiting() && pipeline.waiting.capacity() == 0);
    }

    #[test]
    fn who_does_not_read_is_not_answered_any_further() {
        let mut pipeline = Pipeline::default();
        assert!(pipeline.arrived(fetch(), Unsent::Little).is_none());
        assert!(pipeline.next(Unsent::Little).is_none());
        assert!(pipeline.next(Unsent::Nothing).is_some());
        assert!(pipeline.answered().is_some());
        assert!(pipeline.arrived(produce(), Unsent::TooMuch).is_none());
        assert!(pipeline.next(Unsent::Little).is_some());
    }

    #[test]
    fn produces_have_a_bound() {
        let mut pipeline = Pipeline::default();
        let started = (0..1000).filter(|_| pipeline.arrived(produce(), Unsent::Nothing).is_some());
        assert_eq!(started.count(), PRODUCES_MAX);
        assert!(pipeline.next(Unsent::Nothing).is_none());
        assert!(pipeline.answered().is_some());
        assert!(pipeline.next(Unsent::Nothing).is_some() && pipeline.next(Unsent::Nothing).is_none());
    }
}
