//! Every limit that follows from settings, derived here and nowhere else. Settings state totals; a shard has its share.

use super::BrokerConfig;

/// What one shard may use. Fixed at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Requests that arrived and are not answered.
    pub request_bytes: usize,
    /// What one connection may hold of these for as long as its client wishes: a fetch that waits for more, and what is read
    /// behind it. A larger fetch is answered at once.
    pub waiting_bytes: usize,
    /// Records that are not yet in their segments; when used up, appends wait.
    pub dirty_bytes: u64,
    /// Records that are in their segments and kept for consumers.
    pub cache_bytes: u64,
    /// Records on their way to clients; beyond it each fetch gets little.
    pub outgoing_bytes: usize,
    /// Replies of every kind that are not sent; beyond it only produces are handled.
    pub unsent_bytes: usize,
    /// The ring file.
    pub journal_bytes: u64,
    /// The largest batch that any topic may allow: four of them fit the ring.
    pub batch_bytes_max: u64,
    pub connections: usize,
    pub fetch_sessions: usize,
}

impl BrokerConfig {
    pub fn limits(&self, shards: u16) -> Limits {
        self.limits_with(shards, self.journal_bytes)
    }

    /// With journals of another size than the settings ask for.
    pub fn limits_with(&self, shards: u16, journal_bytes: u64) -> Limits {
        let shards = usize::from(shards.max(1));
        // What is dirty lies in the ring, which keeps as much free again for carrying it.
        let dirty_bytes = (self.dirty_bytes / shards as u64)
            .max(DIRTY_BYTES_MIN)
            .min(journal_bytes / 2);
        let request_bytes = (self.queued_max_request_bytes / shards).max(REQUEST_BYTES_MIN);
        let cache_bytes = (self.cache_bytes / shards as u64).max(CACHE_BYTES_MIN);
        // What is sent may have left the cache, or never been in it.
        let outgoing_bytes = (cache_bytes as usize / 2).max(CACHE_BYTES_MIN as usize);
        Limits {
            request_bytes,
            waiting_bytes: request_bytes / 32,
            dirty_bytes,
            cache_bytes,
            outgoing_bytes,
            unsent_bytes: outgoing_bytes + OTHER_REPLIES_BYTES,
            journal_bytes,
            batch_bytes_max: journal_bytes / 4,
            connections: self.max_connections.div_ceil(shards),
            fetch_sessions: self.max_incremental_fetch_session_cache_slots.div_ceil(shards),
        }
    }
}

impl Limits {
    /// What logs without a folder hold at most, all together: it can be written to no segment.
    pub fn unplaced_bytes(&self) -> u64 {
        self.dirty_bytes / 8
    }
}

/// Below these a shard could not keep its disk busy, however many shards share the total.
const DIRTY_BYTES_MIN: u64 = 16 * 1024 * 1024;
const CACHE_BYTES_MIN: u64 = 4 * 1024 * 1024;
const REQUEST_BYTES_MIN: usize = 1024 * 1024;
/// Answers that hold no records are small, unless somebody asks for much again and again.
const OTHER_REPLIES_BYTES: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_shards_stay_within_256_mb_of_cache_and_dirty() {
        let limits = BrokerConfig::default().limits(2);
        assert!(2 * (limits.dirty_bytes + limits.cache_bytes) <= 256_000_000);
    }
}
