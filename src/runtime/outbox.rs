//! Replies of one connection that are not sent, in their order.

use std::collections::VecDeque;
use std::io::Result;
use std::os::fd::BorrowedFd;

use bytes::{Buf, Bytes};

use super::socket::send_some;

#[derive(Default)]
pub(super) struct Outbox {
    /// None is empty.
    slices: VecDeque<Bytes>,
    bytes: usize,
    /// What of the first slice is sent already; its memory is free only when all of it is.
    sent_of_first: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, slices: Vec<Bytes>) {
        for slice in slices.into_iter().filter(|slice| !slice.is_empty()) {
            self.bytes += slice.len();
            self.slices.push_back(slice);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// To be sent.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory that this takes.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes + self.sent_of_first
    }

    /// What is to be sent next.
    pub(super) fn first(&self) -> Option<&Bytes> {
        self.slices.front()
    }

    /// Sends as much as the socket takes in one call, at most `bytes_max` or a little more. `None` when it is full.
    pub(super) fn send(&mut self, fd: BorrowedFd<'_>, bytes_max: usize) -> Result<Option<usize>> {
        let sent = send_some(fd, &self.slices, bytes_max)?;
        sent.into_iter().for_each(|sent| self.sent(sent));
        Ok(sent)
    }

    /// The first so many bytes are sent.
    pub(super) fn sent(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while let Some(first) = self.slices.front_mut().filter(|_| bytes > 0) {
            if first.len() > bytes {
                first.advance(bytes);
                self.sent_of_first += bytes;
                return;
            }
            bytes -= first.len();
            self.slices.pop_front();
            self.sent_of_first = 0;
        }
    }

    /// Nothing more is sent.
    pub(super) fn clear(&mut self) {
        *self = Outbox::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::SLICES_MAX;
    use super::super::socket::tests::pair;
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn more_slices_than_one_call_takes_arrive_in_order() {
        let (near, mut far) = pair();
        let wanted: Vec<u8> = (0..3000u32).flat_map(|i| i.to_be_bytes()).collect();
        let mut outbox = Outbox::default();
        outbox.push(wanted.chunks(4).map(Bytes::copy_from_slice).collect());
        let sent = outbox.send(near.as_fd(), usize::MAX).unwrap();
        assert_eq!(sent, Some(4 * SLICES_MAX));
        while !outbox.is_empty() {
            outbox.send(near.as_fd(), usize::MAX).unwrap();
        }
        drop(near);
        let mut got = Vec::new();
        far.read_to_end(&mut got).unwrap();
        assert_eq!(got, wanted);
    }

    #[test]
    fn a_full_socket_keeps_what_it_did_not_take() {
        let (near, _far) = pair();
        let mut outbox = Outbox::default();
        outbox.push((0..64).map(|_| Bytes::from(vec![1; 1 << 20])).collect());
        let mut sent = 0;
        while let Some(more) = outbox.send(near.as_fd(), usize::MAX).unwrap() {
            sent += more;
        }
        assert_eq!(sent + outbox.bytes(), 64 << 20);
    }

    #[test]
    fn a_slice_holds_its_memory_until_all_of_it_is_sent() {
        let mut outbox = Outbox::default();
        outbox.push(vec![Bytes::from(vec![1; 100]), Bytes::new(), Bytes::from(vec![2; 50])]);
        let mut sizes = Vec::new();
        for sent in [30, 30, 39, 1, 10, 40] {
            outbox.sent(sent);
            sizes.push((outbox.bytes(), outbox.held_bytes()));
        }
        assert_eq!(sizes, [(120, 150), (90, 150), (51, 150), (50, 50), (40, 50), (0, 0)]);
        assert!(outbox.is_empty());
        outbox.push(vec![Bytes::from(vec![1; 20]), Bytes::from(vec![1; 20])]);
        outbox.sent(25);
        assert_eq!((outbox.bytes(), outbox.held_bytes()), (15, 20));
    }
}
