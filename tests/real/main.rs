//! The real binary under real clients, real crashes and bad input: as much of the world as one machine has.
//!
//! Tests that need something installed live in a module named after it (`java`, `kcat`, `librdkafka`, `confluent`,
//! `strace`, `flights`);
//! tools/test skips by these names what a machine lacks.

mod bad_input;
mod beside_kafka;
mod broker;
mod client;
mod confluent;
mod crash;
mod durability;
mod fetch;
mod flights;
mod kafka;
mod metadata;
mod migration;
mod mount;
mod power;
mod retries;
mod segments;
mod settings;
mod shards;
mod soak;
mod subscribers;
mod tour;
mod versions;
