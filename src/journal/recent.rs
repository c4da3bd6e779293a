//! Which logs changed lately, and where they ended. A commit lists it of the commits before it, so that what a damaged commit
//! held can still be told: the logs in it, and how far they went. A log that is not in the list lost nothing.
//!
//! ```text
//! list in a commit, little-endian, behind the commit's header: its entries, the log that changed last first
//!   0  16B  topic id
//!  16  i32  partition
//!  20  u32  changed     how many commits before this one its newest frame is
//!  24  i64  end         the offset after its last record; -1 when no frame said so
//!  32  u32  control     how many commits before this one its newest frame is that is neither an append nor an epoch;
//!                       4294967295 for none, or too many
//!  36  u32  controls    how many such frames of it that commit holds; 0 where an earlier version did not say
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::hash::BuildHasherDefault;

use bytes::{BufMut, BytesMut};
use hashbrown::HashMap;

use super::live::LogHasher;
use crate::types::{LogId, Offset, Uuid};

/// Of one entry.
pub const LOG_END_BYTES: usize = 40;

/// So many entries a list may have besides those of the commit before it, which its frames paid for.
pub const LIST_FREE: usize = 10;

/// More logs than these are not remembered.
const LOGS_MAX: usize = 4096;

const NEVER: u32 = u32::MAX;

/// One log, as a list says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogEnd {
    pub log: LogId,
    /// The offset after its last record, if a frame said so.
    pub end: Option<Offset>,
    /// Sequence of the commit with its newest frame.
    pub changed: u64,
    /// Its newest control frames (`Frame::is_control`).
    pub control: Option<Control>,
}

/// The control frames of one log in one commit, its newest with any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Control {
    pub sequence: u64,
    pub frames: u32,
}

#[derive(Debug)]
struct Change {
    end: Option<Offset>,
    changed: u64,
    control: Option<Control>,
}

/// Invariant: every log with a frame in commit `since` or a later one is here.
#[derive(Debug, Default)]
pub struct Recent {
    logs: HashMap<LogId, Change, BuildHasherDefault<LogHasher>>,
    /// By sequence; an entry counts while it is the log's newest.
    order: VecDeque<(u64, LogId)>,
    since: u64,
    newest: u64,
    /// How many logs changed in the commit `newest`.
    newest_logs: usize,
}

/// The list of one commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct List {
    pub count: u32,
    /// Every log with a frame in this commit or a later one, up to the one with the list, is in it.
    pub since: u64,
}

impl Recent {
    /// Nothing is known of the commits before `sequence`.
    pub fn forget_before(&mut self, sequence: u64) {
        self.since = self.since.max(sequence);
    }

    /// A frame of `log` is in commit `sequence`, which is not before the newest one. `end` is where the log ends with it, if it
    /// says so.
    pub fn note(&mut self, log: LogId, sequence: u64, end: Option<Offset>, is_control: bool) {
        let change = self.logs.entry(log).or_insert(Change {
            end: None,
            changed: 0,
            control: None,
        });
        change.end = end.or(change.end);
        if is_control {
            let earlier = change.control.filter(|control| control.sequence == sequence);
            let frames = earlier.map_or(0, |control| control.frames) + 1;
            change.control = Some(Control { sequence, frames });
        }
        if change.changed == sequence {
            return;
        }
        change.changed = sequence;
        if self.newest != sequence {
            (self.newest, self.newest_logs) = (sequence, 0);
        }
        self.newest_logs += 1;
        self.order.push_back((sequence, log));
        if self.logs.len() > LOGS_MAX {
            self.forget_oldest();
        }
        if self.order.len() > 2 * self.logs.len() + 64 {
            let logs = &self.logs;
            self.order
                .retain(|(changed, log)| logs.get(log).is_some_and(|change| change.changed == *changed));
        }
    }

    /// The list of a commit says it of a log whose frames are lost, or were noted. It is in the lists of the commits to come as
    /// if its frames had been there, so that it is not overlooked when the commit with the list is damaged next.
    pub fn note_told(&mut self, told: LogEnd) {
        let change = self.logs.entry(told.log).or_insert(Change {
            end: None,
            changed: 0,
            control: None,
        });
        if change.changed < told.changed {
            (change.changed, change.end) = (told.changed, told.end.or(change.end));
            let at = self.order.partition_point(|(changed, _)| *changed <= told.changed);
            self.order.insert(at, (told.changed, told.log));
        }
        let key = |control: &Control| (control.sequence, control.frames);
        change.control = change.control.into_iter().chain(told.control).max_by_key(key);
        if self.logs.len() > LOGS_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        while let Some((changed, log)) = self.order.pop_front() {
            if self.logs.get(&log).is_some_and(|change| change.changed == changed) {
                self.logs.remove(&log);
                self.forget_before(changed + 1);
                return;
            }
        }
    }

    /// How long the list of commit `sequence` may be in bytes, at most.
    pub fn list_bytes_max(&self, sequence: u64) -> u64 {
        (self.list_max(sequence) * LOG_END_BYTES) as u64
    }

    /// What of that the frames of the commit before it paid for.
    pub fn list_bytes_paid(&self, sequence: u64) -> u64 {
        (self.paid(sequence) * LOG_END_BYTES) as u64
    }

    fn list_max(&self, sequence: u64) -> usize {
        (LIST_FREE + self.paid(sequence)).min(self.logs.len())
    }

    fn paid(&self, sequence: u64) -> usize {
        if self.newest + 1 == sequence {
            self.newest_logs
        } else {
            0
        }
    }

    /// The log's newest control frames.
    pub fn control(&self, log: LogId) -> Option<Control> {
        self.logs.get(&log).and_then(|change| change.control)
    }

    /// Appends the list of commit `sequence`, of which no frame was noted yet.
    pub fn encode(&self, sequence: u64, out: &mut BytesMut) -> List {
        let count = self.list_max(sequence);
        let mut list = List {
            count: 0,
            since: self.since,
        };
        for (changed, log) in self.order.iter().rev() {
            let Some(change) = self.logs.get(log).filter(|change| change.changed == *changed) else {
                continue;
            };
            if list.count as usize == count {
                list.since = list.since.max(changed + 1);
                break;
            }
            list.count += 1;
            out.put_slice(&log.topic.0);
            out.put_i32_le(log.partition);
            out.put_u32_le(back(sequence, *changed));
            out.put_i64_le(change.end.unwrap_or(-1));
            out.put_u32_le(change.control.map_or(NEVER, |control| back(sequence, control.sequence)));
            out.put_u32_le(change.control.map_or(0, |control| control.frames));
            if list.count as usize == self.logs.len() {
                break;
            }
        }
        list
    }
}

fn back(sequence: u64, earlier: u64) -> u32 {
    u32::try_from(sequence - earlier).unwrap_or(NEVER)
}

/// The entries of the list of commit `sequence`, whose checksum is right.
pub fn decode(bytes: &[u8], sequence: u64) -> Vec<LogEnd> {
    let entry = |entry: &[u8]| {
        let u32_at = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("4 bytes"));
        let end = i64::from_le_bytes(entry[24..32].try_into().expect("8 bytes"));
        LogEnd {
            log: LogId {
                topic: Uuid(entry[..16].try_into().expect("16 bytes")),
                partition: u32_at(16) as i32,
            },
            end: Some(end).filter(|end| (0..1 << 62).contains(end)),
            changed: sequence.saturating_sub(u32_at(20).into()),
            control: Some(u32_at(32)).filter(|back| *back != NEVER).map(|back| Control {
                sequence: sequence.saturating_sub(back.into()),
                frames: u32_at(36),
            }),
        }
    };
    bytes.chunks_exact(LOG_END_BYTES).map(entry).collect()
}

impl fmt::Display for LogEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} changed in commit {}", self.log, self.changed)?;
        if let Some(end) = self.end {
            write!(f, ", ended at {end}")?;
        }
        match self.control {
            Some(control) => write!(f, ", {} control frames in commit {}", control.frames, control.sequence),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(n: i32) -> LogId {
        LogId {
            topic: Uuid([n as u8; 16]),
            partition: n,
        }
    }

    fn list(recent: &Recent, sequence: u64) -> (u64, Vec<LogEnd>) {
        let mut bytes = BytesMut::new();
        let list = recent.encode(sequence, &mut bytes);
        assert!(bytes.len() as u64 <= recent.list_bytes_max(sequence));
        let entries = decode(&bytes, sequence);
        assert_eq!(entries.len(), list.count as usize);
        (list.since, entries)
    }

    #[test]
    fn a_list_says_where_logs_ended() {
        let mut recent = Recent::default();
        recent.forget_before(3);
        recent.note(log(1), 3, Some(7), false);
        recent.note(log(1), 3, Some(8), false);
        recent.note(log(2), 4, None, true);
        recent.note(log(2), 4, None, true);
        recent.note(log(1), 9, Some(9), false);
        let entry = |n, end, changed, control| LogEnd {
            log: log(n),
            end,
            changed,
            control,
        };
        let control = Control { sequence: 4, frames: 2 };
        let expected = vec![entry(1, Some(9), 9, None), entry(2, None, 4, Some(control))];
        assert_eq!(list(&recent, 10), (3, expected));
    }

    #[test]
    fn a_list_has_the_logs_of_the_commit_before_it_and_some_more() {
        let mut recent = Recent::default();
        for sequence in 1..=4 {
            (0..20).for_each(|n| recent.note(log(20 * sequence + n), sequence as u64, Some(1), false));
        }
        let (since, entries) = list(&recent, 5);
        assert_eq!(entries.len(), 20 + LIST_FREE);
        assert_eq!(since, 4, "half of the commit before is left out");
        // Behind a commit without frames.
        let (since, entries) = list(&recent, 6);
        assert_eq!((since, entries.len()), (5, LIST_FREE));
    }

    #[test]
    fn what_an_earlier_list_told_is_listed_in_its_place() {
        let mut recent = Recent::default();
        recent.note(log(1), 3, Some(7), false);
        recent.note(log(2), 6, Some(2), false);
        let told = |n, changed, end, control| LogEnd {
            log: log(n),
            end: Some(end),
            changed,
            control,
        };
        let control = Some(Control { sequence: 4, frames: 1 });
        // One that was not there, one that went on, and one that is older than what is known.
        recent.note_told(told(3, 4, 5, control));
        recent.note_told(told(1, 5, 9, None));
        recent.note_told(told(2, 4, 1, None));
        let expected = vec![told(2, 6, 2, None), told(1, 5, 9, None), told(3, 4, 5, control)];
        assert_eq!(list(&recent, 7), (0, expected));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut recent = Recent::default();
        for sequence in 1..20_000 {
            recent.note(log(sequence as i32 % 5_000), sequence, Some(1), false);
            recent.note(log(6_000), sequence, Some(sequence as Offset), false);
        }
        assert!(recent.logs.len() <= LOGS_MAX && recent.order.len() <= 2 * LOGS_MAX + 64);
        let (since, entries) = list(&recent, 20_000);
        assert!(entries.iter().all(|entry| entry.changed >= since));
    }
}
