//! What must not go wrong when the input is wrong: a clear error, nothing lost, nobody else disturbed.
//!
//! Every test has a [`Neighbour`](crate::client::Neighbour), another connection that is served all the time.

mod batches;
mod bombs;
mod damage;
mod device;
mod disk_full;
mod floods;
mod frames;
mod gone;
mod lookups;
mod many;
mod memory;
mod names;
mod start;
