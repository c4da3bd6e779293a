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
pub mod delta;
pub mod image;
pub mod names;
pub mod replay;

pub use delta::Delta;
pub use image::Image;
pub use replay::{Replay, ReplayError};
