//! The Kafka wire protocol: bytes to values and back. Knows nothing of what the values mean.
//!
//! [`codec`] reads and writes primitive types within bounds; [`declare`] has the macro by which every message is declared,
//! one line per field, in the files named by area; [`api`] is the one table of what is served; [`header`] and [`frame`]
//! are what surrounds a message. Schemas: `common/message/*.json` of Kafka 4.1's clients jar, `common/metadata/*.json` of
//! its metadata jar, against which a test compares every field.

pub mod api;
pub mod codec;
pub mod connect;
pub mod control_records;
pub mod declare;
pub mod frame;
pub mod header;
pub mod metadata;
pub mod metadata_records;

pub use api::ApiKey;
pub use codec::{Reader, WireError, Writer};
pub use declare::{Message, Version, Versions};
