//! `tidemill serve`: a shard on each core, until a signal ends it.

use std::process::ExitCode;
use std::sync::Arc;

use crate::config::BrokerConfig;
use crate::runtime::{self, Place};
use crate::shard::{METADATA_BATCH_BYTES, ShardConfig};

pub fn run(config: BrokerConfig) -> ExitCode {
    let broker = Arc::new(config.clone());
    runtime::run(&config, |place| shard_config(&broker, place))
}

/// What a shard is told of this process.
pub fn shard_config(broker: &Arc<BrokerConfig>, place: Place) -> ShardConfig {
    let advertised = match &broker.advertised_listeners {
        Some(endpoint) => (endpoint.host.clone(), endpoint.port),
        // The port may have been the system's choice.
        None => (broker.listeners.host.clone(), place.address.port()),
    };
    // Kafka's tools and the log show it to people who do not know where the process was started.
    let data_dir = std::path::absolute(broker.data_dir());
    ShardConfig {
        id: place.id,
        shards: place.shards,
        seed: place.seed,
        advertised,
        data_dir: data_dir.map_or(broker.data_dir().into(), |path| path.to_string_lossy().into()),
        broker: broker.clone(),
        metadata_batch_bytes: METADATA_BATCH_BYTES,
        only_seal: place.only_seal,
        was_clean: place.was_clean,
        accepts_loss: place.accepts_loss,
    }
}
