//! `tidemill check`: what `serve` looks at before it starts, line by line.

use std::process::ExitCode;

use crate::config::BrokerConfig;
use crate::runtime::{self, Needs, Verdict};

pub fn run(config: BrokerConfig) -> ExitCode {
    let cores = match runtime::cores(&config.cores) {
        Ok(cores) => cores,
        Err(todo) => {
            println!("refused cores: {todo}");
            return ExitCode::FAILURE;
        }
    };
    println!("ok      cores: {cores:?}, one shard on each");
    let lines = runtime::preflight(&Needs::of(&config, cores.len() as u16));
    for line in &lines {
        println!("{line}");
    }
    match lines.iter().any(|line| matches!(line.verdict, Verdict::Refuse(_))) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}
