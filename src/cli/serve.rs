//! `tidemill serve`: a shard on each core, until a signal ends it.

use std::process::ExitCode;

use crate::config::BrokerConfig;
use crate::runtime;
use crate::shard::ShardConfig;

pub fn run(config: BrokerConfig) -> ExitCode {
    runtime::run(&config, |place| ShardConfig {
        id: place.id,
        shards: place.shards,
        seed: place.seed,
    })
}
