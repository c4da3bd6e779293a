//! The records of a batch as values, for coordinators, the metadata log, ListOffsets by time, the dump command and tests.

use bytes::Bytes;

use crate::types::Offset;

use super::batch::{HEADER_BYTES, Header, RecordError, StampedBatch, TimestampType};
use super::compress;
use super::varint::{read_int, read_long};

/// One record. Key, value and headers are slices of the (inflated) batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub offset: Offset,
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

impl Record {
    /// The type of a control record, from its key: see [`control_key`](super::build::control_key).
    pub fn control_type(&self) -> Option<i16> {
        match self.key.as_deref() {
            Some([_, _, high, low, ..]) => Some(i16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }
}

/// Iterates over a batch's records; after an error it ends.
#[derive(Debug)]
pub struct Records {
    header: Header,
    records: Bytes,
    at: usize,
    index: i32,
}

impl Records {
    /// Inflates at most `inflated_bytes_max`.
    pub fn of(batch: &StampedBatch, inflated_bytes_max: usize) -> Result<Records, RecordError> {
        let header = *batch.header();
        let records = compress::inflate(header.codec()?, batch.bytes().slice(HEADER_BYTES..), inflated_bytes_max)?;
        Ok(Records {
            header,
            records,
            at: 0,
            index: 0,
        })
    }

    fn read(&mut self) -> Result<Record, &'static str> {
        let (records, at) = (&self.records, &mut self.at);
        let length = read_int(records, at).ok_or("its length is cut off")?;
        let end = at.checked_add(usize::try_from(length).map_err(|_| "its length is negative")?);
        let end = end
            .filter(|&end| end <= records.len())
            .ok_or("its length is beyond the batch")?;
        let body = records.slice(..end);
        *at += 1; // The attributes.
        let delta = read_long(&body, at).ok_or("its timestamp is cut off")?;
        let timestamp = match self.header.timestamp_type() {
            TimestampType::CreateTime => self.header.base_timestamp.wrapping_add(delta),
            TimestampType::LogAppendTime => self.header.max_timestamp,
        };
        let offset_delta = read_int(&body, at).ok_or("its offset delta is cut off")?;
        let key = read_nullable(&body, at).ok_or("its key is beyond the record")?;
        let value = read_nullable(&body, at).ok_or("its value is beyond the record")?;
        let count = read_int(&body, at)
            .filter(|&count| count >= 0)
            .ok_or("its header count is cut off")?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let key = read_nullable(&body, at)
                .flatten()
                .ok_or("a header's key is beyond the record")?;
            let value = read_nullable(&body, at).ok_or("a header's value is beyond the record")?;
            headers.push((key, value));
        }
        if *at != end {
            return Err("its fields end before its length says");
        }
        let offset = self.header.base_offset.wrapping_add(offset_delta as i64);
        Ok(Record {
            offset,
            timestamp,
            key,
            value,
            headers,
        })
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.header.record_count {
            return None;
        }
        let index = self.index;
        let read = self.read();
        self.index = if read.is_ok() { index + 1 } else { i32::MAX };
        Some(read.map_err(|what| RecordError::Record { index, what }))
    }
}

/// The first record of the batch that carries its greatest timestamp (ListOffsets -3); the last offset when the broker set
/// the time.
pub fn newest_record(batch: &StampedBatch, inflated_bytes_max: usize) -> Result<(i64, Offset), RecordError> {
    if batch.timestamp_type() == TimestampType::LogAppendTime {
        return Ok((batch.max_timestamp, batch.last_offset()));
    }
    let mut newest = (i64::MIN, batch.base_offset);
    for record in Records::of(batch, inflated_bytes_max)? {
        let record = record?;
        if record.timestamp > newest.0 {
            newest = (record.timestamp, record.offset);
        }
    }
    Ok(newest)
}

/// The first record at or after `from_offset` whose timestamp is at least `timestamp` (ListOffsets by time).
pub fn first_record_since(
    batch: &StampedBatch,
    timestamp: i64,
    from_offset: Offset,
    inflated_bytes_max: usize,
) -> Result<Option<(i64, Offset)>, RecordError> {
    for record in Records::of(batch, inflated_bytes_max)? {
        let record = record?;
        if record.timestamp >= timestamp && record.offset >= from_offset {
            return Ok(Some((record.timestamp, record.offset)));
        }
    }
    Ok(None)
}

fn read_nullable(bytes: &Bytes, at: &mut usize) -> Option<Option<Bytes>> {
    let length = read_int(bytes, at)?;
    if length < 0 {
        return (length == -1).then_some(None);
    }
    let end = at.checked_add(length as usize).filter(|&end| end <= bytes.len())?;
    let slice = bytes.slice(*at..end);
    *at = end;
    Some(Some(slice))
}
