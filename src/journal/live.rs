//! Which part of the ring replay still needs: for every log, where its frames lie that are not yet in its own files.
//!
//! The ring is counted in *spans* of some commits. A log has one entry for each span in which it has live frames, so that
//! tracking costs the same however small the appends are, and what replay needs starts with the oldest span that has an
//! entry. Work is constant per frame, and nothing is allocated once the queues have grown.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;

use super::Ticket;
use super::format::{Boundary, RingPosition};
use crate::types::{LogId, Offset};

#[derive(Debug, Default)]
pub struct Live {
    spans: VecDeque<Span>,
    /// Number of `spans[0]`; a span's number is never used again unless nothing was left in it.
    first_span: u64,
    logs: Vec<Track>,
    slots: HashMap<LogId, u32, BuildHasherDefault<LogHasher>>,
    free_slots: Vec<u32>,
    next_track: u64,
    /// Carried sets, cuts and drops that are not yet on the device, in the order of their tickets.
    superseding: VecDeque<Superseding>,
    live_bytes: u64,
    live_logs: u64,
    /// Emptied lists of spans, for reuse.
    spare: Vec<Vec<u32>>,
}

/// Commits that replay treats alike.
#[derive(Debug)]
struct Span {
    /// Of its first commit.
    sequence: u64,
    position: RingPosition,
    /// Known once that commit is begun.
    previous: Option<u32>,
    /// Entries that are not yet done.
    entries: u32,
    /// Slots that have, or had, an entry here, each once.
    logs: Vec<u32>,
}

#[derive(Debug)]
struct Track {
    id: LogId,
    /// Tells this use of the slot from an earlier one.
    number: u64,
    entries: VecDeque<Entry>,
    /// How many entries were removed from the front; `removed + i` names `entries[i]` for ever.
    removed: u64,
    /// Entries before this one are replaced by a newer set that is not yet on the device.
    replaced: u64,
    /// The newest span that lists the slot, whoever had the slot then.
    listed: Option<u64>,
    /// Everything below is in the log's own files.
    applied: Offset,
    /// Control frames up to this ticket are in the log's own files.
    settled: Ticket,
    /// Newest control frame.
    control: Ticket,
    /// One past the last offset pushed; unknown before the first frame.
    end: Option<Offset>,
    dropped: bool,
}

#[derive(Debug)]
struct Entry {
    span: u64,
    /// Highest offset of its appends, `Offset::MIN` without any.
    last_offset: Offset,
    /// Newest of its control frames.
    control: Ticket,
    bytes: u64,
}

#[derive(Debug)]
struct Superseding {
    ticket: Ticket,
    slot: u32,
    track: u64,
    /// Entries before this one are meant.
    before: u64,
    /// Their appends end below this offset then; without it they go altogether.
    cut: Option<Offset>,
}

/// One frame, as far as tracking cares.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    pub ticket: Ticket,
    pub bytes: u64,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Append { last_offset: Offset },
    Truncate { to: Offset },
    Control,
    Drop,
}

/// A carried set, as far as tracking cares.
#[derive(Clone, Copy, Debug)]
pub struct NotedSet {
    pub base: Offset,
    /// One past its last offset, `base` if it has no appends.
    pub end: Offset,
    pub first: Ticket,
    pub last: Ticket,
    pub bytes: u64,
    /// Read back at a start: it may stand for a cut that has not reached the log's files. One that is written now does so
    /// only if a control frame is not settled.
    pub replayed: bool,
}

impl Live {
    /// The next frames go into commit `sequence` at `position`. It joins the newest span, unless that one is `span_bytes`
    /// long by now or nothing in it is needed any more: what replay needs never moves back.
    pub fn enter_commit(&mut self, sequence: u64, position: RingPosition, span_bytes: u64) {
        match self.spans.back() {
            Some(span) if span.entries > 0 && position - span.position < span_bytes => return,
            Some(span) if span.entries == 0 => {
                // The next one gets its number.
                let mut logs = self.spans.pop_back().expect("it was there").logs;
                for slot in logs.drain(..) {
                    self.logs[slot as usize].listed = None;
                }
                self.spare.push(logs);
            }
            _ => {}
        }
        let logs = self.spare.pop().unwrap_or_default();
        self.spans.push_back(Span {
            sequence,
            position,
            previous: None,
            entries: 0,
            logs,
        });
        self.drop_dead_spans();
    }

    /// Commit `sequence` is begun behind a header with checksum `previous`.
    pub fn begun(&mut self, sequence: u64, previous: u32) {
        // Spans that wait for their commit are the last few.
        for span in self.spans.iter_mut().rev() {
            if span.previous.is_some() || span.sequence < sequence {
                break;
            }
            if span.sequence == sequence {
                span.previous = Some(previous);
            }
        }
    }

    /// The newest boundary behind which nothing is needed; `head` is where the next commit begins.
    pub fn replay_from(&self, head: Boundary) -> Boundary {
        match self.spans.front() {
            Some(&Span {
                sequence,
                position,
                previous: Some(previous),
                entries,
                ..
            }) if entries > 0 => Boundary {
                position,
                sequence,
                previous,
            },
            _ => head,
        }
    }

    pub fn bytes(&self) -> u64 {
        self.live_bytes
    }

    pub fn logs(&self) -> u64 {
        self.live_logs
    }

    pub fn bytes_of(&self, log: LogId) -> u64 {
        let track = self.slots.get(&log).map(|&slot| &self.logs[slot as usize]);
        track.map_or(0, |track| track.entries.iter().map(|entry| entry.bytes).sum())
    }

    pub fn is_empty(&self) -> bool {
        self.live_logs == 0
    }

    /// One past the last offset of `log` that was pushed or replayed.
    pub fn end(&self, log: LogId) -> Option<Offset> {
        self.slots.get(&log).and_then(|&slot| self.logs[slot as usize].end)
    }

    /// A frame of `log` goes into the open span.
    pub fn note(&mut self, log: LogId, note: Note) {
        let slot = self.slot(log);
        let track = &mut self.logs[slot as usize];
        let (last_offset, control) = match note.kind {
            Kind::Append { last_offset } => {
                track.end = Some(last_offset + 1);
                (last_offset, Ticket(0))
            }
            Kind::Truncate { to } => {
                track.applied = track.applied.min(to);
                track.end = Some(to);
                (Offset::MIN, note.ticket)
            }
            Kind::Control | Kind::Drop => (Offset::MIN, note.ticket),
        };
        track.control = track.control.max(control);
        let entry = Entry {
            span: self.first_span + self.spans.len() as u64 - 1,
            last_offset,
            control,
            bytes: note.bytes,
        };
        match note.kind {
            Kind::Append { .. } | Kind::Control => self.add(slot, entry, false),
            Kind::Truncate { to } => {
                self.add(slot, entry, true);
                self.supersede(slot, note.ticket, Some(to));
            }
            Kind::Drop => {
                self.add(slot, entry, true);
                self.logs[slot as usize].dropped = true;
                self.supersede(slot, note.ticket, None);
            }
        }
    }

    /// The frames of a carried set, which replace all of the log's earlier ones once `set.last` is on the device.
    pub fn note_set(&mut self, log: LogId, set: NotedSet) {
        let slot = self.slot(log);
        let track = &mut self.logs[slot as usize];
        let control = if set.replayed || track.control > track.settled {
            set.first
        } else {
            Ticket(0)
        };
        track.control = track.control.max(control);
        track.end = Some(set.end);
        let entry = Entry {
            span: self.first_span + self.spans.len() as u64 - 1,
            last_offset: if set.end > set.base { set.end - 1 } else { Offset::MIN },
            control,
            bytes: set.bytes,
        };
        self.add(slot, entry, true);
        self.supersede(slot, set.last, None);
    }

    /// `log` ends here, whatever its frames say.
    pub fn recovered(&mut self, log: LogId, end: Offset) {
        if let Some(&slot) = self.slots.get(&log) {
            self.logs[slot as usize].end = Some(end);
        }
    }

    /// Everything of `log` below `offset` is in its segments, on the device.
    pub fn applied(&mut self, log: LogId, offset: Offset) {
        if let Some(&slot) = self.slots.get(&log) {
            let track = &mut self.logs[slot as usize];
            track.applied = track.applied.max(offset);
            self.sweep(slot);
        }
    }

    /// The control frames of `log` up to `ticket` are in its files, on the device.
    pub fn settled(&mut self, log: LogId, ticket: Ticket) {
        if let Some(&slot) = self.slots.get(&log) {
            let track = &mut self.logs[slot as usize];
            track.settled = track.settled.max(ticket);
            self.sweep(slot);
        }
    }

    /// No frame of `log` is needed any more.
    pub fn forget(&mut self, log: LogId) {
        if let Some(&slot) = self.slots.get(&log) {
            let upto = self.logs[slot as usize].removed + self.logs[slot as usize].entries.len() as u64;
            self.remove_before(slot, upto);
            self.release(slot);
        }
    }

    /// Everything up to `ticket` is on the device: what it replaces is not needed any more.
    pub fn durable(&mut self, ticket: Ticket) {
        while let Some(superseding) = self.superseding.pop_front_if(|s| s.ticket <= ticket) {
            let Superseding {
                slot,
                track,
                before,
                cut,
                ..
            } = superseding;
            if self.logs[slot as usize].number != track {
                continue;
            }
            match cut {
                Some(to) => self.logs[slot as usize].cut(before, to),
                None => self.remove_before(slot, before),
            }
            self.sweep(slot);
        }
    }

    /// Logs whose frames keep the oldest span, those left out that are already being carried.
    pub fn oldest(&self) -> impl Iterator<Item = LogId> + '_ {
        self.spans
            .front()
            .into_iter()
            .flat_map(|span| span.logs.iter())
            .filter_map(|&slot| {
                let track = &self.logs[slot as usize];
                let entry = track.entries.front()?;
                let blocks = entry.span == self.first_span && track.removed >= track.replaced;
                blocks.then_some(track.id)
            })
    }

    /// Every log that has live frames.
    pub fn all(&self) -> impl Iterator<Item = LogId> + '_ {
        self.logs
            .iter()
            .filter(|track| !track.entries.is_empty())
            .map(|track| track.id)
    }

    fn slot(&mut self, log: LogId) -> u32 {
        if let Some(&slot) = self.slots.get(&log) {
            return slot;
        }
        self.next_track += 1;
        let free = self.free_slots.pop();
        let track = Track {
            id: log,
            number: self.next_track,
            entries: VecDeque::new(),
            removed: 0,
            replaced: 0,
            listed: free.and_then(|slot| self.logs[slot as usize].listed),
            applied: Offset::MIN,
            settled: Ticket(0),
            control: Ticket(0),
            end: None,
            dropped: false,
        };
        let slot = match free {
            Some(slot) => {
                self.logs[slot as usize] = track;
                slot
            }
            None => {
                self.logs.push(track);
                self.logs.len() as u32 - 1
            }
        };
        self.slots.insert(log, slot);
        slot
    }

    fn add(&mut self, slot: u32, entry: Entry, apart: bool) {
        let track = &mut self.logs[slot as usize];
        self.live_bytes += entry.bytes;
        if track.entries.is_empty() {
            self.live_logs += 1;
        }
        let joins = track.entries.back().is_some_and(|back| back.span == entry.span) && !apart;
        if let Some(back) = track.entries.back_mut().filter(|_| joins) {
            back.last_offset = back.last_offset.max(entry.last_offset);
            back.control = back.control.max(entry.control);
            back.bytes += entry.bytes;
            return;
        }
        let span = self.spans.back_mut().expect("a span is open");
        span.entries += 1;
        if track.listed != Some(entry.span) {
            track.listed = Some(entry.span);
            span.logs.push(slot);
        }
        track.entries.push_back(entry);
    }

    /// Entries before the newest one are cut, or go, once `ticket` is on the device.
    fn supersede(&mut self, slot: u32, ticket: Ticket, cut: Option<Offset>) {
        let track = &mut self.logs[slot as usize];
        let before = track.removed + track.entries.len() as u64 - 1;
        if cut.is_none() {
            track.replaced = before;
        }
        self.superseding.push_back(Superseding {
            ticket,
            slot,
            track: track.number,
            before,
            cut,
        });
    }

    /// Removes the entries at the front that are done.
    fn sweep(&mut self, slot: u32) {
        let track = &self.logs[slot as usize];
        let done = track
            .entries
            .iter()
            .take_while(|entry| entry.is_done(track.applied, track.settled))
            .count() as u64;
        let all = done == track.entries.len() as u64;
        let release = all && track.dropped;
        self.remove_before(slot, self.logs[slot as usize].removed + done);
        if release {
            self.release(slot);
        }
    }

    fn remove_before(&mut self, slot: u32, before: u64) {
        let track = &mut self.logs[slot as usize];
        if track.entries.is_empty() {
            return;
        }
        while track.removed < before && !track.entries.is_empty() {
            let entry = track.entries.pop_front().expect("not empty");
            track.removed += 1;
            self.live_bytes -= entry.bytes;
            self.spans[(entry.span - self.first_span) as usize].entries -= 1;
        }
        if track.entries.is_empty() {
            self.live_logs -= 1;
        }
        self.drop_dead_spans();
    }

    fn release(&mut self, slot: u32) {
        let track = &mut self.logs[slot as usize];
        self.slots.remove(&track.id);
        self.next_track += 1;
        track.number = self.next_track;
        self.free_slots.push(slot);
    }

    fn drop_dead_spans(&mut self) {
        while self.spans.len() > 1 && self.spans[0].entries == 0 {
            let mut logs = self.spans.pop_front().expect("longer than one").logs;
            self.first_span += 1;
            logs.clear();
            self.spare.push(logs);
        }
    }
}

impl Entry {
    fn is_done(&self, applied: Offset, settled: Ticket) -> bool {
        (self.last_offset == Offset::MIN || self.last_offset < applied) && self.control <= settled
    }
}

impl Track {
    /// The log ends at `to` since the entry `before`: appends behind `to` in earlier ones need not be replayed.
    fn cut(&mut self, before: u64, to: Offset) {
        let earlier = before.saturating_sub(self.removed) as usize;
        for entry in self.entries.iter_mut().take(earlier) {
            entry.last_offset = entry.last_offset.min(to - 1);
        }
    }
}

/// Topic ids are random already: a multiplication per word spreads them (and the partition) well, and the same in every process.
#[derive(Default)]
pub struct LogHasher(u64);

impl Hasher for LogHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0u8; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_i32(&mut self, number: i32) {
        self.write_u64(number as u32 as u64);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        let wide = u128::from(self.0.rotate_left(23) ^ number) * 0x9E37_79B9_7F4A_7C15;
        self.0 = wide as u64 ^ (wide >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
