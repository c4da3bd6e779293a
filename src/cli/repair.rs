//! `tidemill repair DIR`: what a start would refuse and what is lost, log by log; with `--accept-loss`, gives that up. Nothing is
//! removed: what is damaged is kept under another name.
//!
//! Exit code 0 when a start goes on and nothing is lost, or was just given up.

use std::process::ExitCode;
use std::sync::Arc;

use super::out::{Out, complain};
use super::serve::shard_config;
use crate::config::BrokerConfig;
use crate::runtime;

pub fn run(config: BrokerConfig, accepts_loss: bool) -> ExitCode {
    let broker = Arc::new(config);
    let place = |place| shard_config(&broker, place);
    let mut out = Out::new();
    let code = match runtime::repair(&broker, &place, accepts_loss, &mut out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            complain(why);
            ExitCode::FAILURE
        }
    };
    out.finish(code)
}
