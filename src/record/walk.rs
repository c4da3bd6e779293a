//! The walk over a batch's records: every length, every place, keys and timestamps; nothing is allocated for the records of
//! an uncompressed batch, and one window for a compressed one, however long its records are.
//!
//! A record (`DefaultRecord` in Kafka; all numbers are zigzag varints but the attributes' byte): length of what follows,
//! attributes (unused), timestamp delta (64 bits), offset delta, key length (-1 for null) and key, value length (-1 for
//! null) and value, header count, and for each header: key length and key, value length (-1 for null) and value.

use super::compress::{Codec, Inflate};
use super::error::RecordError;
use super::header::NO_TIMESTAMP;
use super::varint::{INT_BYTES_MAX, LONG_BYTES_MAX, read_int, read_long};

/// What of a compressed batch is in memory at a time.
const WINDOW_BYTES: usize = 64 * 1024;

/// What the records must be.
pub(super) struct Rules {
    pub count: i32,
    pub base_timestamp: i64,
    /// Of a record of a compressed batch.
    pub inflated_record_bytes_max: usize,
    pub keys_required: bool,
    /// The earliest and latest timestamp that are allowed, unless the broker sets them.
    pub timestamps: Option<(i64, i64)>,
}

/// Walks `records`, which are not compressed; gives the greatest timestamp.
pub(super) fn walk(records: &[u8], rules: &Rules) -> Result<i64, RecordError> {
    let mut newest = NO_TIMESTAMP;
    let mut at = 0;
    for index in 0..rules.count {
        let body = match read_int(records, &mut at) {
            Some(length) if length >= 0 && length as usize <= records.len() - at => &records[at..at + length as usize],
            Some(_) => {
                return Err(RecordError::Record {
                    index,
                    what: "its length is beyond the batch",
                });
            }
            None => {
                return Err(RecordError::Record {
                    index,
                    what: "its length is cut off",
                });
            }
        };
        newest = newest.max(check_record(body, index, rules)?);
        at += body.len();
    }
    match at == records.len() {
        true => Ok(newest),
        false => Err(RecordError::BytesAfterRecords { count: rules.count }),
    }
}

/// Walks `records`, inflating them piece by piece; gives the greatest timestamp. What they inflate to is taken off `room`.
pub(super) fn walk_compressed(
    codec: Codec,
    records: &[u8],
    room: &mut usize,
    rules: &Rules,
) -> Result<i64, RecordError> {
    let mut window = Window::new(Inflate::new(codec, records, *room)?);
    let newest = walk_window(&mut window, rules);
    *room = window.source.room();
    newest
}

fn walk_window(window: &mut Window, rules: &Rules) -> Result<i64, RecordError> {
    let mut newest = NO_TIMESTAMP;
    for index in 0..rules.count {
        let length = window.record_length(index)?;
        if length > rules.inflated_record_bytes_max {
            let max = rules.inflated_record_bytes_max;
            return Err(RecordError::RecordTooLarge { index, length, max });
        }
        let timestamp = if length > WINDOW_BYTES {
            check_long_record(window, length, index, rules)?
        } else {
            window.want(length)?;
            let body = window.held().get(..length).ok_or(RecordError::Record {
                index,
                what: BEYOND_THE_BATCH,
            })?;
            let timestamp = check_record(body, index, rules)?;
            window.skip(length);
            timestamp
        };
        newest = newest.max(timestamp);
    }
    window.want(1)?;
    match window.held().is_empty() {
        true => Ok(newest),
        false => Err(RecordError::BytesAfterRecords { count: rules.count }),
    }
}

/// Shows the timestamp delta and the offset delta of each of `count` records to `each`, until it has seen enough.
pub(super) fn skim(
    codec: Codec,
    records: &[u8],
    inflated_bytes_max: usize,
    count: i32,
    mut each: impl FnMut(i64, i32) -> bool,
) -> Result<(), RecordError> {
    let mut window = Window::new(Inflate::new(codec, records, inflated_bytes_max)?);
    for index in 0..count {
        let left = window.record_length(index)?;
        let mut record = Piecewise {
            window: &mut window,
            index,
            left,
        };
        record.pass(1, "its timestamp is cut off")?; // The attributes.
        let timestamp_delta = record.number(read_long, "its timestamp is cut off")?;
        let offset_delta = record.number(read_int, "its offset delta is cut off")?;
        if each(timestamp_delta, offset_delta) {
            return Ok(());
        }
        record.pass(record.left, BEYOND_THE_BATCH)?;
    }
    Ok(())
}

const BEYOND_THE_BATCH: &str = "its length is beyond the batch";

/// Checks one record, whose length is that of `body`; gives its timestamp.
#[inline(always)]
fn check_record(body: &[u8], index: i32, rules: &Rules) -> Result<i64, RecordError> {
    match parse_record(body, index, rules.base_timestamp) {
        Some((timestamp, has_key)) => allow(timestamp, has_key, index, rules),
        None => Err(refuse(body, index)),
    }
}

/// [`check_record`] for one that is longer than the window.
#[cold]
fn check_long_record(window: &mut Window, length: usize, index: i32, rules: &Rules) -> Result<i64, RecordError> {
    const HEADERS: &str = "its headers are beyond the record";
    let mut record = Piecewise {
        window,
        index,
        left: length,
    };
    record.pass(1, "its timestamp is cut off")?; // The attributes.
    let timestamp_delta = record.number(read_long, "its timestamp is cut off")?;
    if record.number(read_int, "its offset delta is cut off")? != index {
        return Err(record.refuse("its offset delta is not its place"));
    }
    let has_key = record.pass_nullable("its key is beyond the record")?;
    record.pass_nullable("its value is beyond the record")?;
    let headers = record.number(read_int, "its header count is cut off")?;
    if headers < 0 {
        return Err(record.refuse(HEADERS));
    }
    for _ in 0..headers {
        if !record.pass_nullable(HEADERS)? {
            return Err(record.refuse(HEADERS));
        }
        record.pass_nullable(HEADERS)?;
    }
    if record.left > 0 {
        return Err(record.refuse("its fields end before its length says"));
    }
    allow(
        rules.base_timestamp.wrapping_add(timestamp_delta),
        has_key,
        index,
        rules,
    )
}

/// Gives the timestamp back when the topic takes such a record.
#[inline(always)]
fn allow(timestamp: i64, has_key: bool, index: i32, rules: &Rules) -> Result<i64, RecordError> {
    if rules.keys_required && !has_key {
        return Err(RecordError::KeyMissing { index });
    }
    if let Some((earliest, latest)) = rules.timestamps
        && (timestamp < earliest || timestamp > latest)
        && timestamp != NO_TIMESTAMP
    {
        return Err(RecordError::TimestampOutOfRange {
            index,
            timestamp,
            earliest,
            latest,
        });
    }
    Ok(timestamp)
}

/// The timestamp and whether there is a key; `None` when anything is wrong, which [`refuse`] then names.
#[inline(always)]
fn parse_record(body: &[u8], index: i32, base_timestamp: i64) -> Option<(i64, bool)> {
    let mut at = 1; // The attributes.
    let timestamp = base_timestamp.wrapping_add(read_long(body, &mut at)?);
    if read_int(body, &mut at)? != index {
        return None;
    }
    let key = skip_nullable(body, &mut at)?;
    skip_nullable(body, &mut at)?;
    let headers = read_int(body, &mut at)?;
    if headers != 0 {
        skip_headers(body, &mut at, headers)?;
    }
    (at == body.len()).then_some((timestamp, key))
}

/// Moves `at` behind a length and as many bytes; gives whether it was not null.
#[inline(always)]
fn skip_nullable(body: &[u8], at: &mut usize) -> Option<bool> {
    let length = read_int(body, at)?;
    if length < 0 {
        return (length == -1).then_some(false);
    }
    if length as usize > body.len() - *at {
        return None;
    }
    *at += length as usize;
    Some(true)
}

fn skip_headers(body: &[u8], at: &mut usize, count: i32) -> Option<()> {
    // Each takes two bytes at least, so a count beyond that ends the loop early; a negative one is never right.
    if count < 0 {
        return None;
    }
    for _ in 0..count {
        if !skip_nullable(body, at)? {
            return None;
        }
        skip_nullable(body, at)?;
    }
    Some(())
}

/// Says what is wrong with a record that did not parse. Off the hot path.
#[cold]
fn refuse(body: &[u8], index: i32) -> RecordError {
    let mut at = 1;
    let what = if body.is_empty() || read_long(body, &mut at).is_none() {
        "its timestamp is cut off"
    } else {
        match read_int(body, &mut at) {
            None => "its offset delta is cut off",
            Some(delta) if delta != index => "its offset delta is not its place",
            Some(_) if skip_nullable(body, &mut at).is_none() => "its key is beyond the record",
            Some(_) if skip_nullable(body, &mut at).is_none() => "its value is beyond the record",
            Some(_) => match read_int(body, &mut at) {
                None => "its header count is cut off",
                Some(count) if skip_headers(body, &mut at, count).is_none() => "its headers are beyond the record",
                Some(_) => "its fields end before its length says",
            },
        }
    };
    RecordError::Record { index, what }
}

/// What has been inflated and not yet walked.
struct Window<'a> {
    source: Inflate<'a>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
}

impl<'a> Window<'a> {
    fn new(source: Inflate<'a>) -> Window<'a> {
        Window {
            source,
            buffer: vec![0; WINDOW_BYTES],
            start: 0,
            end: 0,
            ended: false,
        }
    }

    fn held(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn skip(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// Holds at least `bytes`, of which a window must be able to hold as many, or all that there is.
    fn want(&mut self, bytes: usize) -> Result<(), RecordError> {
        debug_assert!(bytes <= WINDOW_BYTES);
        while self.end - self.start < bytes && !self.ended {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let read = self.source.read(&mut self.buffer[self.end..])?;
            self.end += read;
            self.ended = read == 0;
        }
        Ok(())
    }

    /// Moves on by so many bytes, held or not; false when there are not as many.
    fn pass(&mut self, mut bytes: usize) -> Result<bool, RecordError> {
        loop {
            let step = bytes.min(self.end - self.start);
            self.start += step;
            bytes -= step;
            if bytes == 0 || self.ended {
                return Ok(bytes == 0);
            }
            self.want(1)?;
        }
    }

    /// Reads the length with which a record begins.
    fn record_length(&mut self, index: i32) -> Result<usize, RecordError> {
        self.want(INT_BYTES_MAX)?;
        let mut prefix = 0;
        let length = read_int(self.held(), &mut prefix);
        self.skip(prefix);
        match length {
            Some(length) if length >= 0 => Ok(length as usize),
            Some(_) => Err(RecordError::Record {
                index,
                what: "its length is negative",
            }),
            None => Err(RecordError::Record {
                index,
                what: "its length is cut off",
            }),
        }
    }
}

/// A record that is not held as a whole: its fields are read as they come, its key and its values are passed by.
struct Piecewise<'w, 'a> {
    window: &'w mut Window<'a>,
    index: i32,
    /// The bytes of it that are still to come, by its length.
    left: usize,
}

impl Piecewise<'_, '_> {
    fn refuse(&self, what: &'static str) -> RecordError {
        RecordError::Record {
            index: self.index,
            what,
        }
    }

    fn number<T>(
        &mut self,
        read: impl Fn(&[u8], &mut usize) -> Option<T>,
        what: &'static str,
    ) -> Result<T, RecordError> {
        self.window.want(LONG_BYTES_MAX)?;
        let held = self.window.held();
        let mut bytes = 0;
        let number = read(&held[..held.len().min(self.left)], &mut bytes).ok_or_else(|| self.refuse(what))?;
        self.window.skip(bytes);
        self.left -= bytes;
        Ok(number)
    }

    fn pass(&mut self, bytes: usize, what: &'static str) -> Result<(), RecordError> {
        if bytes > self.left {
            return Err(self.refuse(what));
        }
        self.left -= bytes;
        match self.window.pass(bytes)? {
            true => Ok(()),
            false => Err(self.refuse(BEYOND_THE_BATCH)),
        }
    }

    /// Passes a length and as many bytes; gives whether it was not null.
    fn pass_nullable(&mut self, what: &'static str) -> Result<bool, RecordError> {
        match self.number(read_int, what)? {
            -1 => Ok(false),
            length if length < 0 => Err(self.refuse(what)),
            length => self.pass(length as usize, what).map(|()| true),
        }
    }
}
