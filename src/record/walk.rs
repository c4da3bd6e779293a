//! The walk over a batch's records: every length, every place, keys and timestamps; nothing is allocated for the records of
//! an uncompressed batch, and one window for a compressed one.
//!
//! A record (`DefaultRecord` in Kafka; all numbers are zigzag varints but the attributes' byte): length of what follows,
//! attributes (unused), timestamp delta (64 bits), offset delta, key length (-1 for null) and key, value length (-1 for
//! null) and value, header count, and for each header: key length and key, value length (-1 for null) and value.

use super::batch::{NO_TIMESTAMP, RecordError};
use super::compress::{Codec, Inflate};
use super::varint::{INT_BYTES_MAX, read_int, read_long};

/// The first window of a compressed batch. It grows to the largest record.
const WINDOW_BYTES: usize = 64 * 1024;

/// What the records must be.
pub(super) struct Rules {
    pub count: i32,
    pub base_timestamp: i64,
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

/// Walks `records`, inflating them piece by piece; gives the greatest timestamp.
pub(super) fn walk_compressed(
    codec: Codec,
    records: &[u8],
    inflated_bytes_max: usize,
    rules: &Rules,
) -> Result<i64, RecordError> {
    let mut newest = NO_TIMESTAMP;
    let mut window = Window::new(Inflate::new(codec, records, inflated_bytes_max)?);
    for index in 0..rules.count {
        window.want(INT_BYTES_MAX)?;
        let mut prefix = 0;
        let length = match read_int(window.held(), &mut prefix) {
            Some(length) if length >= 0 => length as usize,
            Some(_) => {
                return Err(RecordError::Record {
                    index,
                    what: "its length is negative",
                });
            }
            None => {
                return Err(RecordError::Record {
                    index,
                    what: "its length is cut off",
                });
            }
        };
        if length > inflated_bytes_max {
            return Err(RecordError::Record {
                index,
                what: "its length is beyond the batch",
            });
        }
        window.skip(prefix);
        window.want(length)?;
        let Some(body) = window.held().get(..length) else {
            return Err(RecordError::Record {
                index,
                what: "its length is beyond the batch",
            });
        };
        newest = newest.max(check_record(body, index, rules)?);
        window.skip(length);
    }
    window.want(1)?;
    match window.held().is_empty() {
        true => Ok(newest),
        false => Err(RecordError::BytesAfterRecords { count: rules.count }),
    }
}

/// Checks one record, whose length is that of `body`; gives its timestamp.
#[inline(always)]
fn check_record(body: &[u8], index: i32, rules: &Rules) -> Result<i64, RecordError> {
    let Some((timestamp, has_key)) = parse_record(body, index, rules.base_timestamp) else {
        return Err(refuse(body, index));
    };
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

    /// Holds at least `bytes`, or all that there is. The buffer at most doubles with each refill, so that its size is
    /// backed by bytes that were really inflated, not by what a record claims.
    fn want(&mut self, bytes: usize) -> Result<(), RecordError> {
        while self.end - self.start < bytes && !self.ended {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.end == self.buffer.len() {
                self.buffer.resize(self.end * 2, 0);
            }
            let read = self.source.read(&mut self.buffer[self.end..])?;
            self.end += read;
            self.ended = read == 0;
        }
        Ok(())
    }
}
