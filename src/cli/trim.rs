//! `tidemill trim DIR`: a start and a clean stop of the broker in that folder, without serving in between. Afterwards every
//! segment holds every byte of its records and nothing else, and tools that know Kafka's files can read them.

use std::process::ExitCode;
use std::sync::Arc;

use super::serve::shard_config;
use crate::config::BrokerConfig;
use crate::runtime;

pub fn run(config: BrokerConfig) -> ExitCode {
    let broker = Arc::new(config);
    match runtime::seal(&broker, false, &|place| shard_config(&broker, place)) {
        Ok(_) => {
            tracing::info!("every segment in {} is complete", broker.data_dir());
            ExitCode::SUCCESS
        }
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}
