//! The command line: what is asked for, the configuration it names, and one file per subcommand.
//!
//! Exit codes: 0 done; 1 it failed; 2 the command line or the configuration is wrong, nothing was touched.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use out::{Out, complain};

use crate::config::{BrokerConfig, ConfigError, ConfigErrors, LogLevel, Origin, Pair, parse_properties};

mod check;
mod dump;
mod out;
mod repair;
mod serve;
mod settings;
mod trim;

#[derive(Parser)]
#[command(
    name = "tidemill",
    version,
    about = "A log broker that speaks the Apache Kafka protocol and flushes before it answers",
    max_term_width = 120
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the broker. Without options it listens on 127.0.0.1:9092 and keeps its data in ./tidemill-data
    Serve(ConfigOptions),
    /// Say whether this machine and the data folder are fit for `serve`, and what to change if not
    Check(ConfigOptions),
    /// Show what a file of the data folder says: segments, journals, metadata, recovery points, Kafka's small files
    Dump(dump::Options),
    /// Complete every segment in the data folder of a stopped broker, so that Kafka's own tools can read them
    Trim {
        /// The data folder
        dir: String,
        #[command(flatten)]
        settings: SettingOptions,
    },
    /// Say what a start of a stopped broker would refuse and what is lost; on request, put aside what is damaged and go on
    Repair {
        /// The data folder
        dir: String,
        /// Give up what is lost, so that the next start goes on. Nothing is removed: what is damaged gets another name
        #[arg(long)]
        accept_loss: bool,
        #[command(flatten)]
        settings: SettingOptions,
    },
    /// List every setting: key, type, default, bounds and what it does
    Settings {
        /// As the table in README.md
        #[arg(long)]
        markdown: bool,
    },
}

/// Later ones win: the file, then --set in its order.
#[derive(Args)]
struct SettingOptions {
    /// Settings in the syntax of Kafka's server.properties
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting; `tidemill settings` lists them
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// The other options win over the settings.
#[derive(Args)]
struct ConfigOptions {
    #[command(flatten)]
    settings: SettingOptions,
    /// The data folder (log.dirs)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where to listen (listeners); port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// What clients are told to connect to (advertised.listeners)
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// The cores that get a shard each (tidemill.cores): auto, or numbers and ranges such as 0,2-3
    #[arg(long, value_name = "LIST|auto")]
    cores: Option<String>,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) if error.use_stderr() => {
            let _ = error.print();
            return ExitCode::from(2);
        }
        // What was asked for: --help, --version.
        Err(asked) => {
            let mut out = Out::new();
            let text = asked.render();
            let _ = match std::io::stdout().is_terminal() {
                true => write!(out, "{}", text.ansi()),
                false => write!(out, "{text}"),
            };
            return out.finish(ExitCode::SUCCESS);
        }
    };
    match command_line.command {
        Command::Serve(options) => with_config(options.pairs(), serve::run),
        Command::Check(options) => with_config(options.pairs(), check::run),
        Command::Dump(options) => dump::run(&options),
        Command::Trim { dir, settings } => with_config(settings.pairs_of(dir), trim::run),
        Command::Repair {
            dir,
            accept_loss,
            settings,
        } => with_config(settings.pairs_of(dir), |config| repair::run(config, accept_loss)),
        Command::Settings { markdown } => settings::run(markdown),
    }
}

/// What a person wrote: pairs, weakest first, and what is wrong with lines that are none.
#[derive(Default)]
struct Read {
    pairs: Vec<Pair>,
    problems: Vec<ConfigError>,
}

impl Read {
    fn config(self) -> Result<BrokerConfig, ConfigErrors> {
        let mut problems = self.problems;
        match BrokerConfig::from_pairs(&self.pairs) {
            Ok(config) if problems.is_empty() => Ok(config),
            Ok(_) => Err(ConfigErrors(problems)),
            Err(ConfigErrors(more)) => {
                problems.extend(more);
                Err(ConfigErrors(problems))
            }
        }
    }
}

fn with_config(read: Result<Read, String>, run: impl FnOnce(BrokerConfig) -> ExitCode) -> ExitCode {
    let config = read.and_then(|read| read.config().map_err(|errors| errors.to_string()));
    match config {
        Ok(config) => {
            log_to_stderr(config.log_level);
            if !config.passed_over.is_empty() {
                let keys = config.passed_over.join(", ");
                tracing::warn!("settings of Kafka's that have no effect here are passed over: {keys}");
            }
            run(config)
        }
        Err(message) => {
            message.lines().for_each(complain);
            ExitCode::from(2)
        }
    }
}

impl SettingOptions {
    /// For a folder that nobody is served from.
    fn pairs_of(&self, dir: String) -> Result<Read, String> {
        let mut read = self.pairs()?;
        read.pairs.push(pair("DIR", "log.dirs", dir));
        // What a file says of addresses need not hold here.
        read.pairs
            .push(pair("DIR", "listeners", "PLAINTEXT://127.0.0.1:0".into()));
        Ok(read)
    }

    fn pairs(&self) -> Result<Read, String> {
        let mut read = Read::default();
        if let Some(path) = &self.config {
            let name = path.display().to_string();
            let bytes = std::fs::read(path).map_err(|e| format!("--config {name}: {e}"))?;
            let text = std::str::from_utf8(&bytes).map_err(|error| {
                let line = 1 + bytes[..error.valid_up_to()]
                    .iter()
                    .filter(|&&byte| byte == b'\n')
                    .count();
                format!("{name}:{line}: this is not UTF-8; save the file in that encoding")
            })?;
            (read.pairs, read.problems) = parse_properties(&name, text);
        }
        for set in &self.set {
            match set.split_once('=') {
                Some((key, value)) => read.pairs.push(pair("--set", key.trim(), value.to_owned())),
                None => read.problems.push(ConfigError::BadLine {
                    reason: format!("expected KEY=VALUE, found {set:?}"),
                    origin: Origin::Option("--set"),
                }),
            }
        }
        Ok(read)
    }
}

impl ConfigOptions {
    fn pairs(&self) -> Result<Read, String> {
        let mut read = self.settings.pairs()?;
        // Kafka's way to write it is as welcome.
        let plaintext = |address: &String| match address.contains("://") {
            true => address.clone(),
            false => format!("PLAINTEXT://{address}"),
        };
        let named = [
            ("--data-dir", "log.dirs", self.data_dir.clone()),
            ("--listen", "listeners", self.listen.as_ref().map(plaintext)),
            (
                "--advertise",
                "advertised.listeners",
                self.advertise.as_ref().map(plaintext),
            ),
            ("--cores", "tidemill.cores", self.cores.clone()),
        ];
        for (option, key, value) in named {
            read.pairs.extend(value.map(|value| pair(option, key, value)));
        }
        Ok(read)
    }
}

fn pair(option: &'static str, key: &str, value: String) -> Pair {
    Pair {
        key: key.to_owned(),
        value,
        origin: Origin::Option(option),
    }
}

/// One line per event, on stderr; nothing but `tidemill.log.level` says which.
fn log_to_stderr(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // What glommio says of the host, buffers that it could not register or a device that cannot be polled, the preflight says in
    // words for a person, where it matters; what fails is an error that is told by whoever asked for it.
    let targets = Targets::new()
        .with_default(level)
        .with_target("glommio", LevelFilter::OFF);
    // https://no-color.org: any value but the empty one asks for plain text.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_coloured = std::io::stderr().is_terminal() && !no_color;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        // A log that cannot be written would be complained about on the same stream, with a panic.
        .log_internal_errors(false)
        .with_target(false)
        .with_ansi(is_coloured);
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
}
