//! The only place that asks what time it is.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::types::Now;

/// All shards of a process count from the same start, so that they may tell each other deadlines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    pub(super) fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono_us: self.mono_us(),
            wall_ms: wall.as_millis() as i64,
        }
    }

    pub(super) fn mono_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}
