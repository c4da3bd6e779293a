//! `tidemill check`: what `serve` would fail on, tried before it is needed, line by line.

use std::process::ExitCode;

use super::out::Out;
use crate::config::BrokerConfig;
use crate::runtime::{self, Verdict};

pub fn run(config: BrokerConfig) -> ExitCode {
    let mut out = Out::new();
    let lines = runtime::check(&config);
    for line in &lines {
        out.line(line);
    }
    out.finish(
        match lines.iter().any(|line| matches!(line.verdict, Verdict::Refuse(_))) {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        },
    )
}
