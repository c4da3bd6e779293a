//! The record batch, format version 2 (KIP-98): named byte ranges, check, stamp, scan, read, build, and the codecs.
//!
//! A batch is another type before and after it was checked: [`Batch::check`] takes a producer's bytes, [`Scan`] walks what a
//! file or a peer holds, and what they give has accessors that cannot fail. The bytes that were checked are the bytes that
//! are journalled, stored and served.
//!
//! Deliberately missing: the formats 0 and 1, which Kafka 4 does not accept either.

pub mod batch;
pub mod build;
pub mod compress;
pub mod crc;
pub mod error;
pub mod header;
pub mod read;
pub mod scan;
pub mod varint;
mod walk;

pub use batch::{Batch, INFLATED_BYTES_MAX, Limits, StampedBatch};
pub use build::BatchBuilder;
pub use compress::{Codec, Compression};
pub use error::RecordError;
pub use header::{Header, TimestampType};
pub use read::{Record, Records};
pub use scan::{Scan, Stop, View};
