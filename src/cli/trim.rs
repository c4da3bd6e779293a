//! `tidemill trim DIR`: a start and a clean stop of the broker in that folder, without serving in between. Afterwards every
//! segment holds every byte of its records and nothing else, and tools that know Kafka's files can read them.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use super::serve::shard_config;
use crate::config::BrokerConfig;
use crate::controller::files::META_PROPERTIES;
use crate::runtime;

pub fn run(config: BrokerConfig) -> ExitCode {
    match trim(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn trim(config: BrokerConfig) -> Result<(), String> {
    let folder = config.data_dir();
    // A start would make a new folder here.
    if !Path::new(folder).join(META_PROPERTIES).is_file() {
        return Err(format!("{folder} is no data folder: it has no {META_PROPERTIES}"));
    }
    let broker = Arc::new(config);
    runtime::start(&broker, |place| shard_config(&broker, place, true))?.wait_stopped()?;
    tracing::info!("every segment in {} is complete", broker.data_dir());
    Ok(())
}
