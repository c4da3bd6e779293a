//! Memory of records on their way to clients, from the read that finds them until they are sent.
//!
//! A reply holds what it sends: what a disk read brought, or a part of the tail that may leave the cache meanwhile. How long
//! it does is its client's to say. So every slice that a fetch is given counts until the last of it is dropped, wherever that
//! happens: sent, left out because the reply is full, or gone with its connection.
//!
//! A read is given a share of what is left, so that however many take long there is something for the next; and never so
//! little that a client would not get on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// A read is given at most one part in so many of what is left.
const SHARE: usize = 4;
/// And this much in any case, as well as a first batch of any size.
const GRANT_BYTES_MIN: usize = 16 * 1024;

/// What one shard's partitions have given to fetches, of this shard's connections and others'.
pub struct Outgoing {
    limit: usize,
    bytes: Arc<AtomicUsize>,
}

/// Counts until it is dropped, on whichever thread.
pub struct Lease {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

struct Leased {
    slice: Bytes,
    _lease: Lease,
}

/// How much a read may give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    pub bytes_max: usize,
    /// Memory is short: who has something is better answered than kept waiting for more.
    pub is_short: bool,
}

impl Outgoing {
    pub fn new(limit: usize) -> Outgoing {
        Outgoing {
            limit,
            bytes: Arc::default(),
        }
    }

    pub fn grant(&self) -> Grant {
        let share = self.limit.saturating_sub(self.bytes.load(Ordering::Relaxed)) / SHARE;
        Grant {
            bytes_max: share.max(GRANT_BYTES_MIN),
            is_short: share < 2 * self.parked_bytes_max(),
        }
    }

    /// A fetch that has this much is answered: while it waits for more it holds what it has. At most half of a share that is
    /// not short, so that whole batches can reach it.
    pub fn parked_bytes_max(&self) -> usize {
        self.limit / 32
    }

    /// For what is not there yet.
    pub fn reserve(&self, bytes: usize) -> Lease {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Lease {
            bytes,
            all: self.bytes.clone(),
        }
    }

    /// The same bytes, counted.
    pub fn count(&self, slice: Bytes) -> Bytes {
        let lease = self.reserve(slice.len());
        Bytes::from_owner(Leased { slice, _lease: lease })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for Leased {
    fn as_ref(&self) -> &[u8] {
        &self.slice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_counts_until_the_last_of_it_is_gone() {
        let outgoing = Outgoing::new(1 << 20);
        let slice = outgoing.count(Bytes::from(vec![7; 100_000]));
        let reserved = outgoing.reserve(5);
        let mut rest = slice.slice(99_000..);
        drop(slice);
        assert_eq!(outgoing.bytes.load(Ordering::Relaxed), 100_005);
        bytes::Buf::advance(&mut rest, 999);
        assert_eq!(rest, [7][..]);
        std::thread::spawn(move || drop(rest)).join().unwrap();
        assert_eq!(outgoing.bytes.load(Ordering::Relaxed), 5);
        drop(reserved);
        assert_eq!(outgoing.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_takes_all_that_is_given_leaves_something_for_the_next() {
        let outgoing = Outgoing::new(1 << 20);
        let mut held = Vec::new();
        for _ in 0..5 {
            let grant = outgoing.grant();
            assert_eq!(grant.is_short, grant.bytes_max < (1 << 20) / 16);
            held.push(outgoing.reserve(grant.bytes_max));
        }
        assert_eq!(outgoing.grant().bytes_max, (1 << 20) * 243 / 1024 / SHARE);
        for _ in 0..1000 {
            held.push(outgoing.reserve(outgoing.grant().bytes_max));
        }
        // Beyond the limit it is little for each, and never nothing.
        let short = Grant {
            bytes_max: GRANT_BYTES_MIN,
            is_short: true,
        };
        assert_eq!(outgoing.grant(), short);
        assert!(outgoing.bytes.load(Ordering::Relaxed) <= (1 << 20) + 1000 * GRANT_BYTES_MIN);
        held.clear();
        assert!(!outgoing.grant().is_short);
    }
}
