//! Tidemill: a log broker for Linux that speaks the Apache Kafka wire protocol.
//!
//! `ARCHITECTURE.md` is the map. `async`, glommio, files, sockets, clocks and randomness are named in `runtime`, `client`
//! and `cli` only; everything else is synchronous and is told the time.

// One place prints, and it knows closed pipes and full devices: `cli::out`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod config;
pub mod controller;
pub mod error;
pub mod journal;
pub mod log;
pub mod record;
pub mod replica;
pub mod runtime;
pub mod shard;
pub mod sim;
pub mod types;
pub mod wire;
