//! Whether the wall clock can be believed when it says that records are old: what it says alone decides whether retention
//! deletes them, and a machine may start with any time, until somebody sets it right.
//!
//! The clock is held against the newest time that is known and against the time that passed since then, which a process
//! measures by itself. One that went further ahead is not believed before it has stayed there for [`DOUBT_US`]; one that went
//! back makes records younger, which deletes nothing. Between two processes nobody measured anything, so that a start
//! allows for [`START_LEEWAY_MS`].

use crate::types::Now;

/// How long a clock that went ahead is not believed: those who set it right, people or NTP, had their time.
const DOUBT_US: u64 = 3_600_000_000;
/// The longest that a broker is commonly not running.
const START_LEEWAY_MS: i64 = 86_400_000;
/// What a clock is set ahead by while a process runs, without anybody's having been wrong.
const LEEWAY_MS: i64 = 60_000;

#[derive(Debug)]
pub struct Clock {
    /// The newest time that was believed; None before the first.
    known: Option<Now>,
    leeway_ms: i64,
    doubted_since_us: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Belief {
    Yes,
    /// The clock is ahead by so much; said once for each time that doubt begins.
    Begins {
        ahead_ms: i64,
    },
    No,
}

impl Default for Clock {
    /// Of a folder that knows no time: it has nothing to lose.
    fn default() -> Clock {
        Clock {
            known: None,
            leeway_ms: LEEWAY_MS,
            doubted_since_us: None,
        }
    }
}

impl Clock {
    /// At a start: `known_ms` is the newest time that a process before this one has left, 0 or less for none.
    pub fn at_start(known_ms: i64, now: Now) -> Clock {
        let wall_ms = known_ms;
        Clock {
            known: (known_ms > 0).then_some(Now { wall_ms, ..now }),
            leeway_ms: START_LEEWAY_MS,
            doubted_since_us: None,
        }
    }

    /// The wall time, or, while that is not believed, what it would be had the clock gone on as time did. What is written with
    /// it is the newest known time of the next start, which doubts a wrong clock again.
    pub fn time_ms(&self, now: Now) -> i64 {
        match self.ahead_ms(now) {
            ahead_ms if ahead_ms > self.leeway_ms => now.wall_ms - ahead_ms,
            _ => now.wall_ms,
        }
    }

    fn ahead_ms(&self, now: Now) -> i64 {
        let passed_ms = |known: Now| (now.mono_us.saturating_sub(known.mono_us) / 1000) as i64;
        self.known.map_or(0, |known| {
            now.wall_ms
                .saturating_sub(known.wall_ms.saturating_add(passed_ms(known)))
        })
    }

    /// To be asked every second or so.
    pub fn believes(&mut self, now: Now) -> Belief {
        let ahead_ms = self.ahead_ms(now);
        if ahead_ms > self.leeway_ms {
            match self.doubted_since_us {
                None => {
                    self.doubted_since_us = Some(now.mono_us);
                    return Belief::Begins { ahead_ms };
                }
                Some(since_us) if now.mono_us - since_us < DOUBT_US => return Belief::No,
                Some(_) => {}
            }
        }
        *self = Clock {
            known: Some(now),
            ..Clock::default()
        };
        Belief::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn at(passed_ms: i64, wall_ms: i64) -> Now {
        Now {
            mono_us: 1000 * passed_ms as u64,
            wall_ms,
        }
    }

    #[test]
    fn a_start_allows_for_a_day_and_doubts_more_for_an_hour() {
        let known = 1_700_000_000_000;
        let mut clock = Clock::at_start(known, at(0, known + 23 * HOUR_MS));
        assert_eq!(clock.believes(at(0, known + 23 * HOUR_MS)), Belief::Yes);

        let wrong = known + 25 * HOUR_MS;
        let mut clock = Clock::at_start(known, at(0, wrong));
        assert_eq!(clock.believes(at(0, wrong)), Belief::Begins { ahead_ms: 25 * HOUR_MS });
        assert_eq!(clock.believes(at(HOUR_MS - 1, wrong + HOUR_MS - 1)), Belief::No);
        assert_eq!(clock.time_ms(at(HOUR_MS - 1, wrong + HOUR_MS - 1)), known + HOUR_MS - 1);
        assert_eq!(
            clock.believes(at(HOUR_MS, wrong + HOUR_MS)),
            Belief::Yes,
            "nobody set it right"
        );
        assert_eq!(clock.time_ms(at(HOUR_MS, wrong + HOUR_MS)), wrong + HOUR_MS);
    }

    #[test]
    fn a_clock_that_is_set_right_is_believed_at_once() {
        let known = 1_700_000_000_000;
        let mut clock = Clock::at_start(known, at(0, i64::MAX));
        assert!(matches!(clock.believes(at(0, i64::MAX)), Belief::Begins { .. }));
        assert_eq!(clock.believes(at(1000, known + 5000)), Belief::Yes);
        assert_eq!(clock.believes(at(2000, known + 6000)), Belief::Yes);
    }

    #[test]
    fn while_a_process_runs_the_clock_may_not_go_further_than_time_does() {
        let mut clock = Clock::default();
        let begun = 1_700_000_000_000;
        assert_eq!(clock.believes(at(0, begun)), Belief::Yes, "a new folder");
        assert_eq!(clock.believes(at(HOUR_MS, begun + HOUR_MS + LEEWAY_MS)), Belief::Yes);
        let known = begun + HOUR_MS + LEEWAY_MS;
        let jumped = at(HOUR_MS + 1, known + LEEWAY_MS + 2);
        assert!(matches!(clock.believes(jumped), Belief::Begins { .. }));
        // Back, and ahead again: the doubt begins anew.
        assert_eq!(clock.believes(at(HOUR_MS + 2, 0)), Belief::Yes);
        assert!(matches!(
            clock.believes(at(2 * HOUR_MS + 2, jumped.wall_ms)),
            Belief::Begins { .. }
        ));
    }
}
