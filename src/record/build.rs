//! Builds batches: for the broker's own logs, for clients and for tests.

use bytes::{BufMut, BytesMut};

use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use super::batch::{Batch, StampedBatch};
use super::compress::{self, Compression};
use super::header::{HEADER_BYTES, Header, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, TimestampType, seal};
use super::varint;

/// One batch in the making. Records get the offsets that follow one another.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: Header,
    compression: Compression,
    records: BytesMut,
}

impl Default for BatchBuilder {
    fn default() -> BatchBuilder {
        BatchBuilder::new()
    }
}

impl BatchBuilder {
    /// An empty batch: not compressed, not idempotent, base offset 0, no leader epoch.
    pub fn new() -> BatchBuilder {
        BatchBuilder {
            header: Header {
                base_offset: 0,
                leader_epoch: -1,
                crc: 0,
                attributes: 0,
                last_offset_delta: -1,
                base_timestamp: NO_TIMESTAMP,
                max_timestamp: NO_TIMESTAMP,
                producer_id: NO_PRODUCER_ID,
                producer_epoch: -1,
                base_sequence: NO_SEQUENCE,
                record_count: 0,
                size_bytes: HEADER_BYTES,
            },
            compression: Compression::default(),
            records: BytesMut::new(),
        }
    }

    pub fn compression(mut self, compression: impl Into<Compression>) -> BatchBuilder {
        self.compression = compression.into();
        self
    }

    /// An idempotent producer's batch.
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> BatchBuilder {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    pub fn transactional(mut self) -> BatchBuilder {
        self.header.set_transactional();
        self
    }

    /// Its records are control records: see [`control_key`].
    pub fn control(mut self) -> BatchBuilder {
        self.header.set_control();
        self
    }

    pub fn log_append_time(mut self) -> BatchBuilder {
        self.header.set_timestamp_type(TimestampType::LogAppendTime);
        self
    }

    /// A record without headers.
    pub fn record(self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> BatchBuilder {
        self.record_with_headers(timestamp, key, value, &[])
    }

    pub fn record_with_headers(
        mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> BatchBuilder {
        self.push(timestamp, key, value, headers);
        self
    }

    /// [`BatchBuilder::record_with_headers`] for loops.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        if self.header.record_count == 0 {
            self.header.base_timestamp = timestamp;
        }
        let timestamp_delta = timestamp.wrapping_sub(self.header.base_timestamp);
        let offset_delta = self.header.record_count;
        let length = 1
            + varint::long_bytes(timestamp_delta)
            + varint::int_bytes(offset_delta)
            + nullable_bytes(key)
            + nullable_bytes(value)
            + varint::int_bytes(headers.len() as i32)
            + headers
                .iter()
                .map(|(key, value)| nullable_bytes(Some(key.as_bytes())) + nullable_bytes(*value))
                .sum::<usize>();
        let out = &mut self.records;
        out.reserve(length + varint::INT_BYTES_MAX);
        varint::write_int(out, length as i32);
        out.put_u8(0);
        varint::write_long(out, timestamp_delta);
        varint::write_int(out, offset_delta);
        write_nullable(out, key);
        write_nullable(out, value);
        varint::write_int(out, headers.len() as i32);
        for (key, value) in headers {
            write_nullable(out, Some(key.as_bytes()));
            write_nullable(out, *value);
        }
        self.header.max_timestamp = self.header.max_timestamp.max(timestamp);
        self.header.record_count += 1;
        self.header.last_offset_delta += 1;
    }

    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// What the batch would weigh without compression.
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The batch as a producer sends it. It must hold a record.
    pub fn build(self) -> BytesMut {
        self.finish().1
    }

    /// The batch at its place, for a log that is written without a producer.
    pub fn build_stamped(self, base_offset: Offset, leader_epoch: LeaderEpoch) -> StampedBatch {
        self.build_checked().stamp(base_offset, leader_epoch)
    }

    /// The batch as if it had passed [`Batch::check`], for the broker's own appends through the road of produced ones.
    pub fn build_checked(self) -> Batch {
        let inflated_bytes = self.records.len();
        let (header, bytes) = self.finish();
        Batch::built(header, bytes, inflated_bytes)
    }

    fn finish(self) -> (Header, BytesMut) {
        let mut header = self.header;
        assert!(header.record_count > 0, "a batch holds at least one record");
        header.set_codec(self.compression.codec);
        let mut bytes = BytesMut::zeroed(HEADER_BYTES);
        compress::deflate(self.compression, &self.records, &mut bytes);
        header.size_bytes = bytes.len();
        header.encode(bytes.first_chunk_mut().expect("the header was reserved"));
        seal(&mut header, &mut bytes);
        (header, bytes)
    }
}

/// The key of a control record: version 0 and its type (0 abort, 1 commit, 2 leader change, 3 snapshot header, 4 snapshot
/// footer, 5 KRaft version, 6 KRaft voters).
pub fn control_key(kind: i16) -> [u8; 4] {
    let [high, low] = kind.to_be_bytes();
    [0, 0, high, low]
}

fn nullable_bytes(bytes: Option<&[u8]>) -> usize {
    match bytes {
        None => 1,
        Some(bytes) => varint::int_bytes(bytes.len() as i32) + bytes.len(),
    }
}

fn write_nullable(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::write_int(out, -1),
        Some(bytes) => {
            varint::write_int(out, bytes.len() as i32);
            out.put_slice(bytes);
        }
    }
}
