//! Who is connected: admission by `max.connections` and `max.connections.per.ip`, and the choice of the shard.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;

use super::inbox::lock;

/// Shared by the acceptor, which admits, and the shards, which tell who left.
pub(super) struct Guests {
    max: usize,
    max_per_address: usize,
    by_shard: Box<[AtomicUsize]>,
    /// Empty when there is no limit per address, so that leaving needs no lock then.
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Guests {
    pub(super) fn new(shards: usize, max: usize, max_per_address: usize) -> Guests {
        Guests {
            max,
            max_per_address,
            by_shard: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
            by_address: Mutex::default(),
        }
    }

    fn counts_addresses(&self) -> bool {
        self.max_per_address < self.max
    }

    /// The shard for one more connection, which counts from now on, or why there may not be one more.
    pub(super) fn admit(&self, address: IpAddr) -> Result<usize, String> {
        let open: usize = self.by_shard.iter().map(|open| open.load(Ordering::Relaxed)).sum();
        if open >= self.max {
            return Err(format!("{open} are open (max.connections, or the limit of open files)"));
        }
        if self.counts_addresses() {
            let mut by_address = lock(&self.by_address);
            let open = by_address.get(&address).copied().unwrap_or(0);
            if open >= self.max_per_address {
                return Err(format!("{open} from its address are open (max.connections.per.ip)"));
            }
            by_address.insert(address, open + 1);
        }
        let fewest = self
            .by_shard
            .iter()
            .enumerate()
            .min_by_key(|(_, open)| open.load(Ordering::Relaxed));
        let shard = fewest.map_or(0, |(shard, _)| shard);
        self.by_shard[shard].fetch_add(1, Ordering::Relaxed);
        Ok(shard)
    }

    pub(super) fn leave(&self, shard: usize, address: IpAddr) {
        self.by_shard[shard].fetch_sub(1, Ordering::Relaxed);
        if self.counts_addresses() {
            let mut by_address = lock(&self.by_address);
            match by_address.get_mut(&address) {
                Some(open) if *open > 1 => *open -= 1,
                _ => {
                    by_address.remove(&address);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_spread_evenly_within_the_limits() {
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let guests = Guests::new(2, 4, 3);
        assert_eq!(
            [guests.admit(a), guests.admit(a), guests.admit(a)],
            [Ok(0), Ok(1), Ok(0)]
        );
        assert!(guests.admit(a).unwrap_err().contains("max.connections.per.ip"));
        assert_eq!(guests.admit(b), Ok(1));
        assert!(guests.admit(b).unwrap_err().contains("max.connections"));
        guests.leave(1, a);
        assert_eq!(guests.admit(a), Ok(1));
        for (shard, address) in [(0, a), (1, a), (0, a), (1, b)] {
            guests.leave(shard, address);
        }
        assert!(lock(&guests.by_address).is_empty());
    }
}
