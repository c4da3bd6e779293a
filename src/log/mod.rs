//! One partition's log. Touches no file: it gives plans, the shard's effects carry them out.

pub mod epochs;
pub mod producers;
