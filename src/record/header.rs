//! A batch's header: where its fields are, and the numbers in them. Nothing here looks at the records.
//!
//! Byte map (big endian; `DefaultRecordBatch` in Kafka, KIP-98):
//!
//! | bytes | field | under the CRC |
//! |---|---|---|
//! | 0..8 | base offset | no |
//! | 8..12 | length: the bytes that follow this field | no |
//! | 12..16 | partition leader epoch | no |
//! | 16 | magic, 2 | no |
//! | 17..21 | CRC-32C of everything from byte 21 | no |
//! | 21..23 | attributes: bits 0-2 codec, 3 log append time, 4 transactional, 5 control, 6 delete horizon | yes |
//! | 23..27 | last offset delta | yes |
//! | 27..35 | base timestamp (the delete horizon when bit 6 is set) | yes |
//! | 35..43 | max timestamp | yes |
//! | 43..51 | producer id, -1 for none | yes |
//! | 51..53 | producer epoch | yes |
//! | 53..57 | base sequence | yes |
//! | 57..61 | record count | yes |
//! | 61.. | the records, compressed as one piece when there is a codec | yes |

use std::fmt;
use std::ops::Range;

use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use super::compress::Codec;
use super::crc::crc32c;
use super::error::RecordError;

/// The fixed part of a batch.
pub const HEADER_BYTES: usize = 61;
/// Base offset and length field: what must be there to know how long a batch is.
pub const PREFIX_BYTES: usize = 12;
/// The bytes before those that the batch's own CRC covers. Whoever stores a batch checks these by other means.
pub const OUTSIDE_CRC_BYTES: usize = 21;
/// The only format there is since Kafka 4.
pub const MAGIC: u8 = 2;
/// "No timestamp" on the wire.
pub const NO_TIMESTAMP: i64 = -1;
/// "No producer id": the batch is not idempotent.
pub const NO_PRODUCER_ID: ProducerId = -1;
/// "No sequence number".
pub const NO_SEQUENCE: i32 = -1;

pub(super) const BASE_OFFSET: Range<usize> = 0..8;
pub(super) const LENGTH: Range<usize> = 8..12;
pub(super) const LEADER_EPOCH: Range<usize> = 12..16;
pub(super) const MAGIC_AT: usize = 16;
pub(super) const CRC: Range<usize> = 17..21;
pub(super) const ATTRIBUTES: Range<usize> = 21..23;
pub(super) const LAST_OFFSET_DELTA: Range<usize> = 23..27;
const BASE_TIMESTAMP: Range<usize> = 27..35;
pub(super) const MAX_TIMESTAMP: Range<usize> = 35..43;
const PRODUCER_ID: Range<usize> = 43..51;
const PRODUCER_EPOCH: Range<usize> = 51..53;
const BASE_SEQUENCE: Range<usize> = 53..57;
pub(super) const RECORD_COUNT: Range<usize> = 57..61;

const CODEC_BITS: i16 = 0b111;
const LOG_APPEND_TIME_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// What `message.timestamp.type` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

/// The header's fields as numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub base_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: i32,
    pub record_count: i32,
    /// Of the whole batch, header included.
    pub size_bytes: usize,
}

macro_rules! field {
    ($bytes:expr, $range:expr, $type:ty) => {
        <$type>::from_be_bytes($bytes[$range].try_into().expect("a constant range"))
    };
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "batch {}..={} epoch {} ({} bytes, {} records",
            self.base_offset,
            self.last_offset(),
            self.leader_epoch,
            self.size_bytes,
            self.record_count
        )?;
        match self.codec() {
            Ok(codec) => write!(f, ", {codec}")?,
            Err(_) => write!(f, ", unknown codec")?,
        }
        write!(
            f,
            ") {:?} {}..={}",
            self.timestamp_type(),
            self.base_timestamp,
            self.max_timestamp
        )?;
        if self.has_producer_id() {
            let (first, last) = (self.base_sequence, self.last_sequence());
            write!(
                f,
                " producer {} epoch {} sequences {first}..={last}",
                self.producer_id, self.producer_epoch
            )?;
        }
        if self.is_transactional() {
            f.write_str(" transactional")?;
        }
        if self.is_control() {
            f.write_str(" control")?;
        }
        Ok(())
    }
}

impl Header {
    /// The numbers at the front of `bytes`, whatever they are: nothing is checked but that the header is complete and its
    /// length field and magic make sense.
    pub fn decode(bytes: &[u8]) -> Result<Header, RecordError> {
        let size_bytes = size_of_batch(bytes)?;
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(RecordError::Truncated {
                size: size_bytes,
                have: bytes.len(),
            });
        };
        match bytes[MAGIC_AT] {
            MAGIC => {}
            old @ (0 | 1) => return Err(RecordError::OldFormat { magic: old }),
            magic => return Err(RecordError::UnknownMagic { magic }),
        }
        if size_bytes < HEADER_BYTES {
            return Err(RecordError::Length {
                length: (size_bytes - PREFIX_BYTES) as i32,
            });
        }
        Ok(Header {
            base_offset: field!(bytes, BASE_OFFSET, i64),
            leader_epoch: field!(bytes, LEADER_EPOCH, i32),
            crc: field!(bytes, CRC, u32),
            attributes: field!(bytes, ATTRIBUTES, i16),
            last_offset_delta: field!(bytes, LAST_OFFSET_DELTA, i32),
            base_timestamp: field!(bytes, BASE_TIMESTAMP, i64),
            max_timestamp: field!(bytes, MAX_TIMESTAMP, i64),
            producer_id: field!(bytes, PRODUCER_ID, i64),
            producer_epoch: field!(bytes, PRODUCER_EPOCH, i16),
            base_sequence: field!(bytes, BASE_SEQUENCE, i32),
            record_count: field!(bytes, RECORD_COUNT, i32),
            size_bytes,
        })
    }

    /// Writes every field, the CRC too; `out` is the whole header.
    pub(super) fn encode(&self, out: &mut [u8; HEADER_BYTES]) {
        out[BASE_OFFSET].copy_from_slice(&self.base_offset.to_be_bytes());
        out[LENGTH].copy_from_slice(&((self.size_bytes - PREFIX_BYTES) as i32).to_be_bytes());
        out[LEADER_EPOCH].copy_from_slice(&self.leader_epoch.to_be_bytes());
        out[MAGIC_AT] = MAGIC;
        out[CRC].copy_from_slice(&self.crc.to_be_bytes());
        out[ATTRIBUTES].copy_from_slice(&self.attributes.to_be_bytes());
        out[LAST_OFFSET_DELTA].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[BASE_TIMESTAMP].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[MAX_TIMESTAMP].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[PRODUCER_ID].copy_from_slice(&self.producer_id.to_be_bytes());
        out[PRODUCER_EPOCH].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[BASE_SEQUENCE].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[RECORD_COUNT].copy_from_slice(&self.record_count.to_be_bytes());
    }

    /// The offset of the last record. (A compacted batch may not hold that record any more.)
    pub fn last_offset(&self) -> Offset {
        self.base_offset.wrapping_add(self.last_offset_delta as i64)
    }

    /// The offset after the last record.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().wrapping_add(1)
    }

    /// The codec of the records; an error for the numbers that name none.
    pub fn codec(&self) -> Result<Codec, RecordError> {
        Codec::from_id((self.attributes & CODEC_BITS) as u8)
    }

    pub fn is_compressed(&self) -> bool {
        self.attributes & CODEC_BITS != 0
    }

    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes & LOG_APPEND_TIME_BIT {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// A batch of one control record (transaction marker, KRaft), which consumers do not see.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Compaction's: from when on a tombstone or marker in this batch may go (KIP-534).
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON_BIT != 0).then_some(self.base_timestamp)
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// The sequence number of the last record: wraps from `i32::MAX` to 0. -1 when the batch is not idempotent.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence {
            NO_SEQUENCE => NO_SEQUENCE,
            base => add_sequence(base, self.last_offset_delta),
        }
    }

    fn set_attribute(&mut self, bit: i16, on: bool) {
        self.attributes = if on {
            self.attributes | bit
        } else {
            self.attributes & !bit
        };
    }

    pub(super) fn set_codec(&mut self, codec: Codec) {
        self.attributes = self.attributes & !CODEC_BITS | codec as i16;
    }

    pub(super) fn set_transactional(&mut self) {
        self.set_attribute(TRANSACTIONAL_BIT, true);
    }

    pub(super) fn set_control(&mut self) {
        self.set_attribute(CONTROL_BIT, true);
    }

    pub(super) fn set_timestamp_type(&mut self, kind: TimestampType) {
        self.set_attribute(LOG_APPEND_TIME_BIT, kind == TimestampType::LogAppendTime);
    }
}

/// `sequence + increment` as producers count: after `i32::MAX` comes 0. Both must not be negative.
pub fn add_sequence(sequence: i32, increment: i32) -> i32 {
    ((sequence as i64 + increment as i64) & i32::MAX as i64) as i32
}

/// The whole size of the batch that starts at `bytes[0]`, from its length field; the batch itself need not be there.
/// [`RecordError::Truncated`] when not even the length field is.
pub fn size_of_batch(bytes: &[u8]) -> Result<usize, RecordError> {
    if bytes.len() < PREFIX_BYTES {
        return Err(RecordError::Truncated {
            size: PREFIX_BYTES,
            have: bytes.len(),
        });
    }
    let length = field!(bytes, LENGTH, i32);
    // The least that any format ever had (Kafka's LegacyRecord.RECORD_OVERHEAD_V0): below it not even a magic follows.
    if length < 14 {
        return Err(RecordError::Length { length });
    }
    Ok(PREFIX_BYTES + length as usize)
}

/// Offsets that run backwards or beyond the last number there is would make every search in a log wrong.
pub(super) fn check_offsets(header: &Header) -> Result<(), RecordError> {
    let (base_offset, last_offset_delta) = (header.base_offset, header.last_offset_delta);
    match base_offset >= 0 && last_offset_delta >= 0 && base_offset < Offset::MAX - last_offset_delta as i64 {
        true => Ok(()),
        false => Err(RecordError::Offsets {
            base_offset,
            last_offset_delta,
        }),
    }
}

/// Computes the CRC anew and writes it.
pub(super) fn seal(header: &mut Header, bytes: &mut [u8]) {
    header.crc = crc32c(&bytes[OUTSIDE_CRC_BYTES..]);
    bytes[CRC].copy_from_slice(&header.crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(add_sequence(i32::MAX, 1), 0);
        assert_eq!(add_sequence(i32::MAX - 1, 1), i32::MAX);
        assert_eq!(add_sequence(5, 0), 5);
    }
}
