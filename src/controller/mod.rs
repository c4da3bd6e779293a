//! The cluster's metadata: a value ([`Image`]), the records that change it, and who decides them.
//!
//! Everything here is bytes in, bytes out. The metadata log is an ordinary log that another part keeps; this one says what
//! to append, applies what was appended ([`Replay`]), and knows the files of a KRaft folder. State changes only by replay:
//!
//! ```text
//! request -> decision on the newest image: records, reply -> batch -> append -> Replay::apply -> Image
//!         -> durable -> every shard holds the image (Delta) -> reply
//! ```

mod apply;
pub mod batch;
mod configs;
pub mod decide;
pub mod delta;
pub mod describe;
mod describe_configs;
pub mod files;
pub mod image;
pub mod names;
pub mod producer_ids;
pub mod replay;
pub mod snapshot;
pub mod start;
#[cfg(test)]
mod tests;
mod topics;

pub use decide::{Controller, Decision};
pub use delta::Delta;
pub use describe_configs::describe_configs;
pub use image::Image;
pub use producer_ids::ProducerIdBlock;
pub use replay::{Replay, ReplayError, topics_removed};
pub use start::{Node, Start, StartError, start};
pub use topics::TOPICS_CREATED_MAX;
