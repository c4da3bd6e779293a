//! A connection's requests: Kafka's order, and who may overlap whom.
//!
//! Kafka handles one request of a connection at a time and clients rely on it. Here produces of one connection overlap; any
//! other request starts when every earlier one is complete. Replies leave in request order.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::message::FlowId;

/// One request of one connection: numbers count up from 0 per connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RequestNumber(pub u64);

enum Slot {
    Waiting(BytesMut),
    Running { is_produce: bool },
    Done(Vec<Bytes>),
}

/// Invariants: slots are `Done* mixed with Running`, then `Waiting*`; `started` counts the former; no `Done` is at the front.
#[derive(Default)]
pub struct Connection {
    slots: VecDeque<Slot>,
    /// The number of the front slot.
    first: u64,
    started: usize,
    running: usize,
    running_other: usize,
    closing: bool,
    /// The fetch or the lookup that was begun last, to be abandoned when the connection closes. It may be over.
    pub flow: Option<FlowId>,
}

/// Whether a frame is a produce, the only request that others of its kind may overlap.
pub fn is_produce(frame: &[u8]) -> bool {
    frame.starts_with(&[0, 0])
}

impl Connection {
    pub fn push(&mut self, frame: BytesMut) {
        if !self.closing {
            self.slots.push_back(Slot::Waiting(frame));
        }
    }

    /// The next request that may start, if any.
    pub fn start(&mut self) -> Option<(RequestNumber, BytesMut)> {
        if self.closing {
            return None;
        }
        let slot = self.slots.get_mut(self.started)?;
        let Slot::Waiting(frame) = slot else {
            unreachable!("a started slot behind the started ones")
        };
        let is_produce = is_produce(frame);
        if self.running > 0 && !(is_produce && self.running_other == 0) {
            return None;
        }
        let frame = std::mem::take(frame);
        *slot = Slot::Running { is_produce };
        let number = RequestNumber(self.first + self.started as u64);
        self.started += 1;
        self.running += 1;
        self.running_other += usize::from(!is_produce);
        Some((number, frame))
    }

    /// A request is complete; `reply` is empty for one that has none.
    pub fn finish(&mut self, number: RequestNumber, reply: Vec<Bytes>) {
        if self.closing {
            return;
        }
        let slot = &mut self.slots[(number.0 - self.first) as usize];
        let Slot::Running { is_produce } = *slot else {
            unreachable!("a request is finished once")
        };
        self.running -= 1;
        self.running_other -= usize::from(!is_produce);
        *slot = Slot::Done(reply);
    }

    /// The next reply in order, if it is there.
    pub fn next_reply(&mut self) -> Option<Vec<Bytes>> {
        let Some(Slot::Done(reply)) = self.slots.front_mut() else {
            return None;
        };
        let reply = std::mem::take(reply);
        self.slots.pop_front();
        self.first += 1;
        self.started -= 1;
        Some(reply)
    }

    /// No further request is started or answered.
    pub fn close(&mut self) {
        self.closing = true;
        self.slots.clear();
    }

    pub fn is_closing(&self) -> bool {
        self.closing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn produce() -> BytesMut {
        BytesMut::from(&[0u8, 0][..])
    }

    fn fetch() -> BytesMut {
        BytesMut::from(&[0u8, 1][..])
    }

    #[test]
    fn produces_overlap_and_nothing_else_does() {
        let mut c = Connection::default();
        for frame in [produce(), produce(), fetch(), produce()] {
            c.push(frame);
        }
        let a = c.start().unwrap().0;
        let b = c.start().unwrap().0;
        assert!(c.start().is_none(), "a fetch waits for the produces before it");
        c.finish(b, vec![Bytes::from_static(b"b")]);
        assert!(c.next_reply().is_none(), "replies keep order");
        c.finish(a, vec![Bytes::from_static(b"a")]);
        assert_eq!(c.next_reply().unwrap()[0], "a");
        assert_eq!(c.next_reply().unwrap()[0], "b");
        let f = c.start().unwrap().0;
        assert!(c.start().is_none(), "a produce waits for the fetch before it");
        c.finish(f, Vec::new());
        assert!(c.next_reply().unwrap().is_empty());
        assert!(c.start().is_some());
    }

    #[test]
    fn a_closing_connection_starts_and_answers_nothing() {
        let mut c = Connection::default();
        c.push(produce());
        let a = c.start().unwrap().0;
        c.close();
        c.finish(a, Vec::new());
        c.push(produce());
        assert!(c.start().is_none() && c.next_reply().is_none());
    }
}
