//! The records of a batch as values, for coordinators, the metadata log, ListOffsets by time, the dump command and tests.

use bytes::Bytes;

use crate::types::Offset;

use super::batch::{INFLATED_BYTES_MAX, StampedBatch};
use super::error::RecordError;
use super::header::{HEADER_BYTES, Header, TimestampType};
use super::varint::{read_int, read_long};
use super::{compress, walk};

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

/// Of the batch's records at or after `from_offset` the first one that carries their greatest timestamp (ListOffsets -3). In a
/// window of bounded memory.
pub fn newest_record(batch: &StampedBatch, from_offset: Offset) -> Result<Option<(i64, Offset)>, RecordError> {
    let mut newest: Option<(i64, Offset)> = None;
    skim(batch, |timestamp, offset| {
        if offset >= from_offset && newest.is_none_or(|(greatest, _)| timestamp > greatest) {
            newest = Some((timestamp, offset));
        }
        false
    })?;
    Ok(newest)
}

/// The first record at or after `from_offset` whose timestamp is at least `timestamp` (ListOffsets by time). In a window of
/// bounded memory.
pub fn first_record_since(
    batch: &StampedBatch,
    timestamp: i64,
    from_offset: Offset,
) -> Result<Option<(i64, Offset)>, RecordError> {
    let mut first = None;
    skim(batch, |at, offset| {
        if at >= timestamp && offset >= from_offset {
            first = Some((at, offset));
        }
        first.is_some()
    })?;
    Ok(first)
}

/// Shows the timestamp and the offset of each record to `each`, until it has seen enough.
fn skim(batch: &StampedBatch, mut each: impl FnMut(i64, Offset) -> bool) -> Result<(), RecordError> {
    let records = &batch.bytes()[HEADER_BYTES..];
    let appended_at = (batch.timestamp_type() == TimestampType::LogAppendTime).then_some(batch.max_timestamp);
    // The check of its time kept it within its topic's limit, which may be another one by now.
    walk::skim(
        batch.codec()?,
        records,
        INFLATED_BYTES_MAX,
        batch.record_count,
        |timestamp_delta, offset_delta| {
            let timestamp = appended_at.unwrap_or(batch.base_timestamp.wrapping_add(timestamp_delta));
            each(timestamp, batch.base_offset.wrapping_add(offset_delta as i64))
        },
    )
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

#[cfg(test)]
mod tests {
    use super::super::build::BatchBuilder;
    use super::super::compress::Codec;
    use super::super::scan::{Depth, Scan, Stop};
    use super::super::{Batch, Limits};
    use super::*;
    use proptest::prelude::*;

    const INFLATED_MAX: usize = 1 << 20;

    fn all(batch: &StampedBatch) -> Vec<Record> {
        Records::of(batch, INFLATED_MAX)
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }

    /// The 40 records that Java's `MemoryRecords.withRecords` wrote into `tests/data/kafka/java-*.batch`.
    fn javas_records() -> Vec<Record> {
        (0..40)
            .map(|i| Record {
                offset: i,
                timestamp: 1_700_000_000_000 + i * 37 % 11,
                key: (i % 3 != 0).then(|| format!("key-{i}").into()),
                value: (i != 7).then(|| format!("the value of record number {i} the value of record").into()),
                headers: match i % 10 {
                    5 => vec![
                        ("trace".into(), Some(Bytes::from_static(&[1, 2, 3]))),
                        ("none".into(), None),
                    ],
                    _ => vec![],
                },
            })
            .collect()
    }

    #[test]
    fn javas_batches_of_every_codec() {
        let samples: [(Codec, &[u8]); 5] = [
            (Codec::None, include_bytes!("../../tests/data/kafka/java-none.batch")),
            (Codec::Gzip, include_bytes!("../../tests/data/kafka/java-gzip.batch")),
            (
                Codec::Snappy,
                include_bytes!("../../tests/data/kafka/java-snappy.batch"),
            ),
            (Codec::Lz4, include_bytes!("../../tests/data/kafka/java-lz4.batch")),
            (Codec::Zstd, include_bytes!("../../tests/data/kafka/java-zstd.batch")),
        ];
        for (codec, bytes) in samples {
            let batch = Batch::check(bytes.into(), &Limits::default(), 1_700_000_000_000).unwrap();
            assert_eq!(batch.bytes(), bytes, "{codec}: nothing to correct");
            let batch = batch.stamp(0, 0);
            assert_eq!(
                (batch.codec().unwrap(), batch.max_timestamp),
                (codec, 1_700_000_000_010)
            );
            assert_eq!(
                (batch.producer_id, batch.producer_epoch, batch.base_sequence),
                (4000, 2, 17)
            );
            assert_eq!(all(&batch), javas_records(), "{codec}");
            assert_eq!(newest_record(&batch, 0), Ok(Some((1_700_000_000_010, 8))));
        }
    }

    /// What we build without a codec is what Java builds.
    #[test]
    fn javas_bytes_are_our_bytes() {
        let mut builder = BatchBuilder::new().producer(4000, 2, 17);
        for record in javas_records() {
            let headers: Vec<_> = record
                .headers
                .iter()
                .map(|(key, value)| (std::str::from_utf8(key).unwrap(), value.as_deref()))
                .collect();
            builder.push(
                record.timestamp,
                record.key.as_deref(),
                record.value.as_deref(),
                &headers,
            );
        }
        let javas = include_bytes!("../../tests/data/kafka/java-none.batch");
        assert_eq!(builder.build_stamped(0, 0).bytes(), &javas[..]);
    }

    /// kcat 1.7.1 with each codec in turn, 41 records a time, as Kafka 4.1 stored them.
    #[test]
    fn librdkafkas_batches_of_every_codec() {
        let segment = Bytes::from_static(include_bytes!("../../tests/data/kafka/librdkafka.log"));
        let mut codecs = vec![];
        let mut records = vec![];
        let mut scan = Scan::new(&segment, Depth::Crc);
        for view in scan.by_ref() {
            let stamped = view.slice_of(&segment);
            codecs.push(stamped.codec().unwrap());
            records.extend(all(&stamped));
            let mut produced = bytes::BytesMut::from(&stamped.bytes()[..]);
            produced[..8].fill(0);
            assert!(Batch::check(produced, &Limits::default(), stamped.max_timestamp).is_ok());
        }
        assert_eq!(scan.stop(), Some(&Stop::End));
        codecs.dedup();
        assert_eq!(codecs, Codec::ALL);
        assert_eq!(records.len(), 5 * 41);
        for (i, record) in records.iter().enumerate() {
            let n = i % 41;
            assert_eq!(record.offset, i as i64);
            assert_eq!(record.key.as_deref(), Some(format!("key{n}").as_bytes()));
            let value = format!("the value of record number {n} the value of record");
            assert_eq!(record.value.as_deref(), Some(value.as_bytes()));
        }
    }

    #[test]
    fn a_marker_is_a_control_record() {
        let batch = StampedBatch::check(Bytes::from_static(include_bytes!(
            "../../tests/data/kafka/java-marker.batch"
        )));
        let batch = batch.unwrap();
        assert!(batch.is_control() && batch.is_transactional());
        assert_eq!((batch.base_offset, batch.leader_epoch, batch.producer_id), (5, 3, 4000));
        assert_eq!(all(&batch)[0].control_type(), Some(1));
    }

    #[test]
    fn found_by_time() {
        for codec in Codec::ALL {
            let mut builder = BatchBuilder::new().compression(codec);
            for timestamp in [5, 9, 7, 9, 3] {
                builder.push(timestamp, None, Some(&vec![1; 50_000 * (timestamp as usize % 4)]), &[]);
            }
            let batch = builder.build_stamped(100, 0);
            assert_eq!(newest_record(&batch, 100), Ok(Some((9, 101))));
            assert_eq!(newest_record(&batch, 102), Ok(Some((9, 103))));
            assert_eq!(newest_record(&batch, 104), Ok(Some((3, 104))));
            assert_eq!(newest_record(&batch, 105), Ok(None));
            assert_eq!(first_record_since(&batch, 6, 100), Ok(Some((9, 101))));
            assert_eq!(first_record_since(&batch, 6, 102), Ok(Some((7, 102))));
            assert_eq!(first_record_since(&batch, 10, 100), Ok(None));
        }
    }

    type Field = Option<Vec<u8>>;

    fn field() -> impl Strategy<Value = Field> {
        prop::option::of(prop::collection::vec(any::<u8>(), 0..200))
    }

    proptest! {
        #[test]
        fn what_was_built_is_read(
            codec in prop::sample::select(&Codec::ALL[..]),
            records in prop::collection::vec((0..i64::MAX, field(), field(), prop::collection::vec(("\\PC{0,9}", field()), 0..3)), 1..30),
        ) {
            let mut builder = BatchBuilder::new().compression(codec);
            for (timestamp, key, value, headers) in &records {
                let headers: Vec<_> = headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
                builder.push(*timestamp, key.as_deref(), value.as_deref(), &headers);
            }
            let no_bounds = Limits { timestamp_after_ms_max: i64::MAX, ..Limits::default() };
            let batch = Batch::check(builder.build(), &no_bounds, i64::MAX).unwrap().stamp(50, 0);
            let read = all(&batch);
            prop_assert_eq!(read.len(), records.len());
            for (i, (record, (timestamp, key, value, headers))) in read.iter().zip(&records).enumerate() {
                prop_assert_eq!(record.offset, 50 + i as i64);
                prop_assert_eq!(record.timestamp, *timestamp);
                prop_assert_eq!(record.key.as_deref(), key.as_deref());
                prop_assert_eq!(record.value.as_deref(), value.as_deref());
                prop_assert_eq!(record.headers.len(), headers.len());
                for ((key, value), (sent_key, sent_value)) in record.headers.iter().zip(headers) {
                    prop_assert_eq!(&key[..], sent_key.as_bytes());
                    prop_assert_eq!(value.as_deref(), sent_value.as_deref());
                }
            }
        }

        /// A batch whose CRC is right and whose records are noise: refused or taken, and what is taken can be read.
        #[test]
        fn noise_under_a_right_crc(
            codec in prop::sample::select(&Codec::ALL[..]),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut builder = BatchBuilder::new().compression(codec);
            for i in 0..10i64 {
                builder.push(i, Some(b"key"), Some(&[i as u8; 50]), &[("h", Some(b"v"))]);
            }
            let mut bytes = builder.build();
            for (at, byte) in flips {
                let at = 21 + at.index(bytes.len() - 21);
                bytes[at] = byte;
            }
            let crc = crate::record::crc::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            let limits = Limits { inflated_bytes_max: INFLATED_MAX, ..Limits::default() };
            if let Ok(batch) = Batch::check(bytes, &limits, 0) {
                let batch = batch.stamp(0, 0);
                prop_assert_eq!(all(&batch).len(), batch.record_count as usize);
            }
        }
    }
}
