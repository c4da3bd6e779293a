//! Messages between shards. One queue per ordered pair; first in, first out.

/// What one shard asks or tells another.
#[derive(Debug)]
pub enum Message {}
