//! The Kafka wire protocol: bytes to values and back. Knows nothing of what the values mean.
//!
//! [`codec`] reads and writes primitive types within bounds; [`declare`] has the macro by which every message is declared,
//! one line per field, in the files named by area; [`api`] is the one table of what is served; [`header`] and [`frame`]
//! are what surrounds a message. Schemas: `common/message/*.json` of Kafka 4.4's clients jar, `common/metadata/*.json` of
//! its metadata jar, against which a test compares every field.

pub mod acls;
pub mod api;
pub mod brokers;
pub mod codec;
pub mod configs;
pub mod connect;
pub mod consumer_groups;
pub mod control_records;
pub mod declare;
pub mod fetch;
pub mod frame;
pub mod groups;
pub mod header;
pub mod log_dirs;
pub mod metadata;
pub mod metadata_records;
pub mod offsets;
pub mod produce;
pub mod produce_fetch;
pub mod quorum;
pub mod share;
pub mod topics;
pub mod transactions;

pub use api::ApiKey;
pub use codec::{Reader, WireError, Writer};
pub use declare::{Message, Version, Versions};
