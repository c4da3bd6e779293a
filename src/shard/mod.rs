//! One core's share of the broker, as a plain value: events in, effects out.
//!
//! [`Shard::handle`] takes one event and appends what it wants done; [`Shard::end_round`] closes a round and is where the
//! round's appends become one commit of the journal. Nothing here waits, asks the time or touches a file.

use crate::types::{Now, ShardId};

#[cfg(test)]
pub(crate) mod contract;
pub mod effect;
pub mod message;

use effect::{Effect, Event};

/// What a shard is told once, at its start.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    pub id: ShardId,
    /// How many shards this process has.
    pub shards: u16,
    /// Seed of this shard's random numbers.
    pub seed: u64,
}

pub struct Shard {
    config: ShardConfig,
}

impl Shard {
    pub fn new(config: ShardConfig) -> Shard {
        Shard { config }
    }

    /// The first effects: recovery begins. To be called once, before any event.
    pub fn start(&mut self, _now: Now, out: &mut Vec<Effect>) {
        let _ = self.config.id;
        out.push(Effect::Ready);
    }

    pub fn handle(&mut self, _now: Now, _event: Event, _out: &mut Vec<Effect>) {}

    /// Call after the last event of a round, and whenever [`Shard::deadline`] has passed.
    pub fn end_round(&mut self, _now: Now, _out: &mut Vec<Effect>) {}

    /// When to call [`Shard::end_round`] again if no event comes, in microseconds of [`Now::mono_us`].
    pub fn deadline(&self) -> Option<u64> {
        None
    }
}
