//! ListOffsets: the offset at either end, by time, and of the greatest timestamp (Kafka 4.4, KIP-734, KIP-405, KIP-1005, KIP-1023).

use bytes::Bytes;

use crate::record::read::{first_record_since, newest_record};
use crate::record::scan::Depth;
use crate::record::{RecordError, StampedBatch};
use crate::types::{BLOCK_BYTES, LeaderEpoch, Offset, Position};

use super::Log;
use super::disk_read::{DiskRead, Ended, Goal, Stretch, walk};
use super::epochs::UNDEFINED_EPOCH;
use super::read::ReadError;

/// What ListOffsets asks for, by its special timestamps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetSpec {
    /// -2
    Earliest,
    /// -1; where that is for this caller is the caller's to say.
    Latest,
    /// -3: the record with the greatest timestamp.
    MaxTimestamp,
    /// -4: the first one on this broker's disk, which is the first one.
    EarliestLocal,
    /// -5: the last one in tiered storage, of which there is none.
    LatestTiered,
    /// -6: the first one that still has to go to tiered storage, of which there is none.
    EarliestPendingUpload,
    /// The first record at or after this time.
    Timestamp(i64),
}

impl OffsetSpec {
    /// None for a negative number that Kafka 4.4 gives no meaning.
    pub fn from_wire(timestamp: i64) -> Option<OffsetSpec> {
        match timestamp {
            -1 => Some(OffsetSpec::Latest),
            -2 => Some(OffsetSpec::Earliest),
            -3 => Some(OffsetSpec::MaxTimestamp),
            -4 => Some(OffsetSpec::EarliestLocal),
            -5 => Some(OffsetSpec::LatestTiered),
            -6 => Some(OffsetSpec::EarliestPendingUpload),
            0.. => Some(OffsetSpec::Timestamp(timestamp)),
            _ => None,
        }
    }

    /// Batches must be looked at, in memory or on the device.
    pub fn is_search(self) -> bool {
        matches!(self, OffsetSpec::MaxTimestamp | OffsetSpec::Timestamp(_))
    }
}

/// -1 for what there is none of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    pub timestamp: i64,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

#[derive(Debug)]
pub enum ListProgress {
    /// None: no record is like that.
    Done(Option<Found>),
    More(DiskRead),
    /// [`Lookup::run`] it where that may take its time, and give what comes of it to [`Log::finish_lookup`].
    Within(Lookup),
}

/// The search within one batch that would hold up whoever is asked: its records are compressed, or many.
#[derive(Debug)]
pub struct Lookup {
    search: Search,
    generation: u64,
    batch: StampedBatch,
}

/// What a [`Lookup`] brought.
#[derive(Debug)]
pub struct LookupDone {
    search: Search,
    generation: u64,
    /// Of the batch.
    next_offset: Offset,
    found: Result<Option<Found>, RecordError>,
}

impl Lookup {
    /// What [`Lookup::run`] takes beyond the batch.
    pub fn memory_bytes(&self) -> usize {
        self.batch.inflate_memory_bytes()
    }

    pub fn run(self) -> LookupDone {
        LookupDone {
            search: self.search,
            generation: self.generation,
            next_offset: self.batch.next_offset(),
            found: self.search.within(&self.batch),
        }
    }
}

/// The first batch from `from_offset` on whose max timestamp is at least `timestamp`, and in it the first such record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    timestamp: i64,
    from_offset: Offset,
    /// The caller's high watermark or last stable offset: nothing from there on is found.
    upto: Offset,
    want: Want,
}

#[derive(Clone, Copy, Debug)]
enum Want {
    /// The first record that is late enough.
    First,
    /// The first record with the greatest timestamp of all, which is the search's.
    Newest,
    /// The same when the greatest timestamp that is known belongs to records below the log's start: every batch counts, and
    /// this is the best so far.
    NewestOf(Option<Found>),
}

/// A batch of this many bytes, not compressed, is searched at once.
const AT_ONCE_BYTES_MAX: usize = 64 * 1024;
/// What one step of a search reads.
const STEP_BYTES: u64 = 128 * 1024;

impl Log {
    /// `upto` is the high watermark or the last stable offset, as the caller's isolation says.
    pub fn list_offset(&mut self, spec: OffsetSpec, upto: Offset) -> Result<ListProgress, ReadError> {
        let found = match spec {
            OffsetSpec::Earliest | OffsetSpec::EarliestLocal => self.at(self.start),
            OffsetSpec::Latest => Found {
                timestamp: -1,
                offset: upto,
                leader_epoch: self.latest_epoch().unwrap_or(UNDEFINED_EPOCH),
            },
            OffsetSpec::LatestTiered | OffsetSpec::EarliestPendingUpload => Found {
                timestamp: -1,
                offset: -1,
                leader_epoch: UNDEFINED_EPOCH,
            },
            OffsetSpec::MaxTimestamp => {
                let live = self.segments.iter().filter(|segment| segment.next > self.start);
                // The first of equals, as in Kafka.
                let newest = live.rev().max_by_key(|segment| segment.max_timestamp);
                let Some(newest) = newest.filter(|segment| segment.max_timestamp >= 0) else {
                    return Ok(ListProgress::Done(None));
                };
                let is_live = newest.max_timestamp_offset >= self.start;
                return self.search(Search {
                    timestamp: if is_live { newest.max_timestamp } else { 0 },
                    from_offset: if is_live {
                        newest.max_timestamp_offset
                    } else {
                        self.start
                    },
                    upto,
                    want: if is_live { Want::Newest } else { Want::NewestOf(None) },
                });
            }
            OffsetSpec::Timestamp(timestamp) => {
                let search = Search {
                    timestamp,
                    from_offset: self.start,
                    upto,
                    want: Want::First,
                };
                return self.search(search);
            }
        };
        Ok(ListProgress::Done(Some(found)))
    }

    fn at(&self, offset: Offset) -> Found {
        Found {
            timestamp: -1,
            offset,
            leader_epoch: self.epochs.epoch_at(offset).unwrap_or(UNDEFINED_EPOCH),
        }
    }

    /// The log is not what it was when the search began.
    fn search_again(&mut self, search: Search) -> Result<ListProgress, ReadError> {
        if !matches!(search.want, Want::First) {
            return self.list_offset(OffsetSpec::MaxTimestamp, search.upto);
        }
        self.search(Search {
            from_offset: search.from_offset.max(self.start),
            ..search
        })
    }

    fn search(&mut self, search: Search) -> Result<ListProgress, ReadError> {
        let candidate =
            |segment: &&super::Segment| segment.next > search.from_offset && segment.max_timestamp >= search.timestamp;
        let Some(segment) = self.segments.iter().find(candidate) else {
            return Ok(ListProgress::Done(search.best()));
        };
        if self.damage.iter().any(|range| range.contains(&search.from_offset)) {
            return Err(ReadError::Damaged {
                offset: search.from_offset,
            });
        }
        let by_time = segment.index.before_timestamp(search.timestamp);
        let by_offset = segment
            .index
            .before_offset((search.from_offset - segment.base).max(0) as u32);
        let from = by_time.position.max(by_offset.position);
        if from >= segment.written {
            return self.search_memory(search, segment.base, from);
        }
        let offset = search.from_offset;
        let stretch = Stretch {
            file: segment.file().ok_or(ReadError::Missing { offset })?,
            segment_base: segment.base,
            generation: self.generation,
            from,
            limit: segment.written,
        };
        Ok(ListProgress::More(DiskRead::new(
            stretch,
            STEP_BYTES,
            Goal::List(search),
        )))
    }

    /// Goes on in the tail, at or behind `from` in the segment.
    fn search_memory(
        &self,
        mut search: Search,
        segment_base: Offset,
        from: Position,
    ) -> Result<ListProgress, ReadError> {
        let behind = |run: &&super::tail::Run| {
            run.segment_base > segment_base || run.segment_base == segment_base && run.end() > from
        };
        for run in self.tail.from(search.from_offset).skip_while(|run| !behind(run)) {
            for (at, header) in run.batches() {
                if header.max_timestamp >= search.timestamp && header.next_offset() > search.from_offset {
                    let batch = StampedBatch::check(run.bytes.slice(at..at + header.size_bytes));
                    let batch = batch.map_err(damaged(&search))?;
                    if let Some(progress) = self.search_batch(&mut search, &batch, false)? {
                        return Ok(progress);
                    }
                }
            }
        }
        Ok(ListProgress::Done(search.best()))
    }

    /// `None` when the search goes on behind it. What a read brought must stay with the thread that read it: for a worker
    /// thread it is copied.
    fn search_batch(
        &self,
        search: &mut Search,
        batch: &StampedBatch,
        is_read: bool,
    ) -> Result<Option<ListProgress>, ReadError> {
        if batch.is_compressed() || batch.size_bytes > AT_ONCE_BYTES_MAX {
            return Ok(Some(ListProgress::Within(Lookup {
                search: *search,
                generation: self.generation,
                batch: if is_read { batch.copied() } else { batch.clone() },
            })));
        }
        let found = search.within(batch).map_err(damaged(search))?;
        Ok(search.take(found, batch.next_offset()))
    }

    /// Takes what a [`Lookup`] brought.
    pub fn finish_lookup(&mut self, done: LookupDone) -> Result<ListProgress, ReadError> {
        let mut search = done.search;
        let found = done.found.map_err(damaged(&search));
        if done.generation != self.generation {
            return self.search_again(search);
        }
        let found = found?;
        if found.is_some_and(|found| found.offset < self.start) {
            return self.search_again(search);
        }
        match search.take(found, done.next_offset) {
            Some(progress) => Ok(progress),
            None => self.search(search),
        }
    }

    /// There was no such file. The lookup is planned again when its segment was deleted meanwhile; `None` when the file is one
    /// of this log's still.
    pub fn missed_list(&mut self, read: &DiskRead) -> Option<Result<ListProgress, ReadError>> {
        let Goal::List(search) = read.goal else {
            panic!("{}: a fetch's read missed as a lookup's", self.name)
        };
        (!self.has_file(&read.file)).then(|| self.search_again(search))
    }

    /// Takes what a [`DiskRead`] of [`Log::list_offset`] brought.
    pub fn finish_list(&mut self, read: &DiskRead, bytes: Bytes) -> Result<ListProgress, ReadError> {
        let Goal::List(mut search) = read.goal else {
            panic!("{}: a fetch's read finished as a lookup's", self.name)
        };
        if read.generation != self.generation {
            return self.search_again(search);
        }
        let offset = search.from_offset;
        if let Some(next) = read.next_piece(&bytes) {
            return Ok(ListProgress::More(next));
        }
        let view = read.view(bytes).ok_or(ReadError::Missing { offset })?;
        let mut found = Ok(None);
        let ended = walk(&view, Depth::Crc, |batch| {
            let header = &batch.header;
            if header.max_timestamp >= search.timestamp && header.next_offset() > search.from_offset {
                found = self.search_batch(&mut search, &batch.slice_of(&view), true);
            }
            !matches!(found, Ok(None))
        });
        match ended {
            None => Ok(found?.expect("the walk ended because of it")),
            Some(Ended::Damaged { .. } | Ended::Zeros) => Err(ReadError::Damaged { offset }),
            Some(Ended::NeedsMore { at, size }) => {
                if let Some(mut next) = read.go_on(&view, at, size, STEP_BYTES + BLOCK_BYTES) {
                    next.goal = Goal::List(search);
                    return Ok(ListProgress::More(next));
                }
                // The rest of an active segment is in memory; behind a complete one the next candidate follows.
                let position = read.from + at as Position;
                let segment = self.segments.iter().find(|segment| segment.base == read.segment_base);
                match segment {
                    Some(segment) if segment.size > position => self.search_memory(search, read.segment_base, position),
                    Some(segment) if segment.next > search.from_offset => self.search(Search {
                        from_offset: segment.next,
                        ..search
                    }),
                    _ => self.search(search),
                }
            }
        }
    }
}

impl Search {
    fn within(&self, batch: &StampedBatch) -> Result<Option<Found>, RecordError> {
        let record = match self.want {
            Want::First => first_record_since(batch, self.timestamp, self.from_offset)?,
            Want::Newest | Want::NewestOf(_) => {
                newest_record(batch, self.from_offset)?.filter(|(timestamp, _)| *timestamp >= self.timestamp)
            }
        };
        Ok(record.map(|(timestamp, offset)| Found {
            timestamp,
            offset,
            leader_epoch: batch.leader_epoch,
        }))
    }

    /// Takes what a batch that ends before `next_offset` brought. `None` when the search goes on from there.
    fn take(&mut self, found: Option<Found>, next_offset: Offset) -> Option<ListProgress> {
        self.from_offset = next_offset;
        let visible = found.filter(|found| found.offset < self.upto);
        match self.want {
            Want::First | Want::Newest => found.map(|_| ListProgress::Done(visible)),
            Want::NewestOf(_) => {
                if let Some(better) = visible {
                    self.timestamp = better.timestamp + 1;
                    self.want = Want::NewestOf(visible);
                }
                None
            }
        }
    }

    /// What is left when there is no further batch.
    fn best(&self) -> Option<Found> {
        match self.want {
            Want::First | Want::Newest => None,
            Want::NewestOf(best) => best,
        }
    }
}

fn damaged(search: &Search) -> impl Fn(RecordError) -> ReadError {
    let offset = search.from_offset;
    move |_| ReadError::Damaged { offset }
}
