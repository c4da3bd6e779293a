//! `tidemill check`.

use std::process::ExitCode;

use crate::config::BrokerConfig;

pub fn run(config: BrokerConfig) -> ExitCode {
    tracing::error!("cannot check {} yet", config.data_dir());
    ExitCode::FAILURE
}
