//! `tidemill serve`.

use std::process::ExitCode;

use crate::config::BrokerConfig;

pub fn run(config: BrokerConfig) -> ExitCode {
    tracing::error!("cannot serve {} yet", config.data_dir());
    ExitCode::FAILURE
}
