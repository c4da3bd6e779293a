//! What clients do wrong is worth a line of the log, and a flood of it is not worth a flood of lines.
//!
//! The first complaint of a kind is said in full. Those of its kind that follow are counted, and every ten seconds one line
//! says how many there were. With `tidemill.log.level=debug` each of them is said.
//!
//! Invariants
//! * There are at most [`KINDS_MAX`] kinds, whatever clients do: what would be one more counts as the last of them.
//! * Each complaint is said in full, or counted in a line that follows within about [`QUIET`], or by [`Complaints::end`].

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::inbox::lock;

/// After a line about one kind of complaint, this much passes before the next one.
const QUIET: Duration = Duration::from_secs(10);
const KINDS_MAX: usize = 16;

/// Of the whole process: shared by the acceptor and all shards.
#[derive(Default)]
pub(super) struct Complaints {
    kinds: Mutex<Vec<Kind>>,
}

struct Kind {
    /// The words of its complaints without their numbers.
    words: String,
    /// When a line was said about it.
    said: Instant,
    /// How many were not said since.
    more: usize,
    last: String,
}

impl Complaints {
    /// `what` happened to whom, and `why`: complaints of one kind have the same words there, if not the same numbers.
    pub(super) fn say(&self, what: &str, why: &str) {
        match self.take(Instant::now(), what, why) {
            true => tracing::warn!("{what}: {why}"),
            false => tracing::debug!("{what}: {why}"),
        }
    }

    /// Says how many there were of each kind whose time has come. To be called about once a second.
    pub(super) fn tick(&self) {
        self.summaries(Instant::now(), QUIET)
            .iter()
            .for_each(|line| tracing::warn!("{line}"));
    }

    /// Says what is left to be said.
    pub(super) fn end(&self) {
        self.summaries(Instant::now(), Duration::ZERO)
            .iter()
            .for_each(|line| tracing::warn!("{line}"));
    }

    /// Whether this one is said in full; otherwise it is counted.
    fn take(&self, now: Instant, what: &str, why: &str) -> bool {
        let mut kinds = lock(&self.kinds);
        let words = why.replace(|c: char| c.is_ascii_digit(), "");
        let known = kinds.iter().position(|kind| kind.words == words);
        if known.is_none() && kinds.len() < KINDS_MAX {
            kinds.push(Kind {
                words,
                said: now,
                more: 0,
                last: String::new(),
            });
            return true;
        }
        let kind = &mut kinds[known.unwrap_or(KINDS_MAX - 1)];
        kind.more += 1;
        kind.last = format!("{what}: {why}");
        false
    }

    fn summaries(&self, now: Instant, quiet: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        lock(&self.kinds).retain_mut(|kind| {
            if now.duration_since(kind.said) < quiet {
                return true;
            }
            let (more, last) = (std::mem::take(&mut kind.more), std::mem::take(&mut kind.last));
            kind.said = now;
            match more {
                0 => return false,
                1 => lines.push(format!("once more: {last}")),
                _ => lines.push(format!("{more} more times, the last time: {last}")),
            }
            true
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_and_a_count() {
        let complaints = Complaints::default();
        let begun = Instant::now();
        let mut said = 0;
        for number in 0..50_000 {
            let why = format!("its frame claims {number} bytes");
            said += usize::from(complaints.take(begun, &format!("connection {number} closed"), &why));
        }
        assert_eq!(said, 1);
        assert_eq!(complaints.summaries(begun + QUIET / 2, QUIET), [""; 0]);
        let line = "49999 more times, the last time: connection 49999 closed: its frame claims 49999 bytes";
        assert_eq!(complaints.summaries(begun + QUIET, QUIET), [line]);
        // It went on, then it stopped.
        assert!(!complaints.take(begun + QUIET, "connection 1 closed", "its frame claims 1 bytes"));
        let line = "once more: connection 1 closed: its frame claims 1 bytes";
        assert_eq!(complaints.summaries(begun + 2 * QUIET, QUIET), [line]);
        assert_eq!(complaints.summaries(begun + 3 * QUIET, QUIET), [""; 0]);
        assert!(complaints.take(begun + 3 * QUIET, "connection 2 closed", "its frame claims 2 bytes"));
    }

    #[test]
    fn kinds_are_told_apart_and_have_a_bound() {
        let complaints = Complaints::default();
        let now = Instant::now();
        let said = (0..1000u32).filter(|number| {
            // Words of letters only, all different.
            let why: String = number.to_string().bytes().map(|digit| (digit + 49) as char).collect();
            complaints.take(now, "closed", &why)
        });
        assert_eq!(said.count(), KINDS_MAX);
        let lines = complaints.summaries(now, Duration::ZERO);
        assert_eq!(
            lines,
            [format!("{} more times, the last time: closed: jjj", 1000 - KINDS_MAX)]
        );
    }
}
