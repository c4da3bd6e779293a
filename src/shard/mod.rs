//! One core's share of the broker, as a plain value: events in, effects out.

pub mod effect;
pub mod message;
