//! One record batch: the check that a producer's batch must pass, and the stamp that makes it ours.

use std::ops::Deref;

use bytes::{Bytes, BytesMut};

use crate::types::{LeaderEpoch, Offset};

use super::compress::{self, Codec, Compression};
use super::crc::crc32c;
use super::error::RecordError;
use super::header::{
    ATTRIBUTES, BASE_OFFSET, HEADER_BYTES, Header, LEADER_EPOCH, MAGIC_AT, MAX_TIMESTAMP, OUTSIDE_CRC_BYTES,
    PREFIX_BYTES, TimestampType, check_offsets, seal,
};
use super::walk::{self, Rules};

/// The most that a batch may inflate to, whatever its topic allows: what is stored is within it.
pub const INFLATED_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// What the batches of a topic may inflate to, by its `max.message.bytes`: a hundredfold, and small ones to a few megabytes.
/// Records of real data stay far below.
pub fn inflated_bytes_max(batch_bytes_max: usize) -> usize {
    batch_bytes_max
        .saturating_mul(100)
        .clamp(16 * 1024 * 1024, INFLATED_BYTES_MAX)
}

/// What a topic demands of a producer's batch.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `max.message.bytes`: the size of the batch as it arrives.
    pub batch_bytes_max: usize,
    /// What its records may inflate to.
    pub inflated_bytes_max: usize,
    /// `max.decompressed.message.bytes`: the size of one record of a compressed batch, inflated (Kafka 4.4).
    pub inflated_record_bytes_max: usize,
    /// The topic is compacted: every record must have a key.
    pub keys_required: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how old a record's timestamp may be; `i64::MAX` is no bound.
    pub timestamp_before_ms_max: i64,
    /// `message.timestamp.after.max.ms`: how far ahead of our clock it may be.
    pub timestamp_after_ms_max: i64,
    /// False for Produce requests before version 7, whose consumers would not know zstd (KIP-110).
    pub zstd_allowed: bool,
}

impl Default for Limits {
    /// Kafka's defaults for a topic, and room for a batch that compressed by a hundred.
    fn default() -> Limits {
        Limits {
            batch_bytes_max: 1024 * 1024 + PREFIX_BYTES,
            inflated_bytes_max: 128 * 1024 * 1024,
            inflated_record_bytes_max: usize::MAX,
            keys_required: false,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_ms_max: i64::MAX,
            timestamp_after_ms_max: 3_600_000,
            zstd_allowed: true,
        }
    }
}

/// A producer's batch that passed the check, not yet at an offset.
#[derive(Debug)]
pub struct Batch {
    header: Header,
    bytes: BytesMut,
    /// What its records inflate to.
    inflated_bytes: usize,
}

impl Batch {
    /// Checks `bytes`, which must be exactly one batch, as Kafka's `LogValidator` does for a client: length, magic, size,
    /// CRC, base offset 0, counts, no control records, sequence; then every record, inflating compressed ones in a bounded
    /// window: its length, its fields, its place, its key, its timestamp; and nothing after the last one.
    ///
    /// What the broker decides about time is written here: the max timestamp where the producer's was wrong, or `now_ms`
    /// when the topic says `LogAppendTime`.
    pub fn check(bytes: BytesMut, limits: &Limits, now_ms: i64) -> Result<Batch, RecordError> {
        let mut room = limits.inflated_bytes_max;
        let (header, newest) = check_records(&bytes, limits, now_ms, &mut room)?;
        let batch = Batch::of(header, bytes, limits.inflated_bytes_max - room);
        Ok(batch.timed(newest, limits, now_ms))
    }

    /// [`Batch::check`] for whoever may not take long: a batch that inflates to more than `room` comes back as it was, unless
    /// `limits` allow no more either. What was inflated is taken off `room`.
    pub fn check_within(
        bytes: BytesMut,
        limits: &Limits,
        now_ms: i64,
        room: &mut usize,
    ) -> Result<Result<Batch, RecordError>, BytesMut> {
        let allowed = limits.inflated_bytes_max.min(*room);
        let mut left = allowed;
        let checked = check_records(&bytes, limits, now_ms, &mut left);
        *room -= allowed - left;
        match checked {
            Ok((header, newest)) => Ok(Ok(
                Batch::of(header, bytes, allowed - left).timed(newest, limits, now_ms)
            )),
            Err(RecordError::InflatedTooLarge { max }) if max < limits.inflated_bytes_max => Err(bytes),
            Err(error) => Ok(Err(error)),
        }
    }

    /// `room_taken` is what compressed records inflated to, and nothing for others.
    fn of(header: Header, bytes: BytesMut, room_taken: usize) -> Batch {
        let inflated_bytes = if header.is_compressed() {
            room_taken
        } else {
            bytes.len() - HEADER_BYTES
        };
        Batch {
            header,
            bytes,
            inflated_bytes,
        }
    }

    /// Writes what the broker decides about time.
    fn timed(mut self, newest: i64, limits: &Limits, now_ms: i64) -> Batch {
        let max_timestamp = match limits.timestamp_type {
            TimestampType::CreateTime => newest,
            TimestampType::LogAppendTime => now_ms,
        };
        let header = &mut self.header;
        let stale = header.max_timestamp != max_timestamp || header.timestamp_type() != limits.timestamp_type;
        header.max_timestamp = max_timestamp;
        header.set_timestamp_type(limits.timestamp_type);
        if stale {
            self.bytes[MAX_TIMESTAMP].copy_from_slice(&header.max_timestamp.to_be_bytes());
            self.bytes[ATTRIBUTES].copy_from_slice(&header.attributes.to_be_bytes());
            seal(header, &mut self.bytes);
        }
        self
    }

    /// The same records under another codec, for a topic whose `compression.type` names one. The result may be larger than
    /// `limits` allow, which is an error.
    pub fn recompress(self, to: Compression, limits: &Limits) -> Result<Batch, RecordError> {
        let mut header = self.header;
        header.set_codec(to.codec);
        let mut bytes = BytesMut::zeroed(HEADER_BYTES);
        compress::transcode(
            self.header.codec()?,
            &self.bytes[HEADER_BYTES..],
            self.inflated_bytes,
            to,
            limits.batch_bytes_max,
            &mut bytes,
        )?;
        header.size_bytes = bytes.len();
        if header.size_bytes > limits.batch_bytes_max {
            return Err(RecordError::TooLarge {
                size: header.size_bytes,
                max: limits.batch_bytes_max,
            });
        }
        header.encode(bytes.first_chunk_mut().expect("the header was reserved"));
        seal(&mut header, &mut bytes);
        Ok(Batch {
            header,
            bytes,
            inflated_bytes: self.inflated_bytes,
        })
    }

    /// Gives the batch its place in the log. Neither field is under the CRC.
    pub fn stamp(mut self, base_offset: Offset, leader_epoch: LeaderEpoch) -> StampedBatch {
        self.header.base_offset = base_offset;
        self.header.leader_epoch = leader_epoch;
        self.bytes[BASE_OFFSET].copy_from_slice(&base_offset.to_be_bytes());
        self.bytes[LEADER_EPOCH].copy_from_slice(&leader_epoch.to_be_bytes());
        StampedBatch {
            header: self.header,
            bytes: self.bytes.freeze(),
        }
    }

    /// For the broker's own batches (coordinators, metadata), which need no check.
    pub(super) fn built(header: Header, bytes: BytesMut, inflated_bytes: usize) -> Batch {
        Batch {
            header,
            bytes,
            inflated_bytes,
        }
    }

    /// The bytes as they are now.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Deref for Batch {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.header
    }
}

/// A batch with its offsets and its leader epoch: what a log holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StampedBatch {
    header: Header,
    bytes: Bytes,
}

impl StampedBatch {
    /// Checks `bytes` as a journal's frame, a segment or a leader gives them: exactly one batch, with its CRC. The records
    /// were walked when they were produced.
    pub fn check(bytes: Bytes) -> Result<StampedBatch, RecordError> {
        let header = Header::decode(&bytes)?;
        check_whole(&bytes, &header)?;
        check_crc(&bytes, &header)?;
        check_offsets(&header)?;
        Ok(StampedBatch { header, bytes })
    }

    /// For bytes that a [`Scan`](super::Scan) has checked.
    pub(super) fn scanned(header: Header, bytes: Bytes) -> StampedBatch {
        StampedBatch { header, bytes }
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// What inflating its records piece by piece takes, beyond the batch.
    pub fn inflate_memory_bytes(&self) -> usize {
        let codec = self.header.codec().unwrap_or(Codec::None);
        compress::inflate_memory_bytes(codec, &self.bytes[HEADER_BYTES..])
    }

    /// The same in memory of its own.
    pub fn copied(&self) -> StampedBatch {
        StampedBatch {
            header: self.header,
            bytes: Bytes::copy_from_slice(&self.bytes),
        }
    }
}

impl Deref for StampedBatch {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.header
    }
}

fn check_whole(bytes: &[u8], header: &Header) -> Result<(), RecordError> {
    match bytes.len() {
        have if have < header.size_bytes => Err(RecordError::Truncated {
            size: header.size_bytes,
            have,
        }),
        have if have > header.size_bytes => Err(RecordError::MoreThanOneBatch {
            extra: have - header.size_bytes,
        }),
        _ => Ok(()),
    }
}

/// `bytes` must be the whole batch.
pub fn check_crc(bytes: &[u8], header: &Header) -> Result<(), RecordError> {
    let computed = crc32c(&bytes[OUTSIDE_CRC_BYTES..header.size_bytes]);
    match header.crc == computed {
        true => Ok(()),
        false => Err(RecordError::Crc {
            stored: header.crc,
            computed,
        }),
    }
}

/// The header and the greatest timestamp of a batch that is right. What its records inflate to is taken off `room`.
fn check_records(bytes: &[u8], limits: &Limits, now_ms: i64, room: &mut usize) -> Result<(Header, i64), RecordError> {
    if bytes.is_empty() {
        return Err(RecordError::Empty);
    }
    // A single message of an old format may be shorter than a header.
    if let Some(&magic @ (0 | 1)) = bytes.get(MAGIC_AT) {
        return Err(RecordError::OldFormat { magic });
    }
    let header = Header::decode(bytes)?;
    check_header(bytes, &header, limits)?;
    let rules = Rules {
        count: header.record_count,
        base_timestamp: header.base_timestamp,
        inflated_record_bytes_max: limits.inflated_record_bytes_max,
        keys_required: limits.keys_required,
        timestamps: (limits.timestamp_type == TimestampType::CreateTime).then(|| {
            let earliest = now_ms.saturating_sub(limits.timestamp_before_ms_max);
            let latest = now_ms.saturating_add(limits.timestamp_after_ms_max);
            (earliest, latest)
        }),
    };
    let records = &bytes[HEADER_BYTES..];
    let newest = match header.codec()? {
        Codec::None => walk::walk(records, &rules)?,
        Codec::Zstd if !limits.zstd_allowed => return Err(RecordError::ZstdNotAllowed),
        codec => walk::walk_compressed(codec, records, room, &rules)?,
    };
    Ok((header, newest))
}

/// In Kafka's order, so that a batch with two faults gets Kafka's answer.
fn check_header(bytes: &[u8], header: &Header, limits: &Limits) -> Result<(), RecordError> {
    check_whole(bytes, header)?;
    if header.base_offset != 0 {
        return Err(RecordError::BaseOffset {
            base_offset: header.base_offset,
        });
    }
    if header.size_bytes > limits.batch_bytes_max {
        return Err(RecordError::TooLarge {
            size: header.size_bytes,
            max: limits.batch_bytes_max,
        });
    }
    check_crc(bytes, header)?;
    if header.record_count <= 0 || header.last_offset_delta != header.record_count - 1 {
        return Err(RecordError::Count {
            count: header.record_count,
            last_offset_delta: header.last_offset_delta,
        });
    }
    if header.is_control() {
        return Err(RecordError::Control);
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        let (base_sequence, producer_id) = (header.base_sequence, header.producer_id);
        return Err(RecordError::Sequence {
            base_sequence,
            producer_id,
        });
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(RecordError::AppendTimeFromProducer);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::build::BatchBuilder;
    use super::super::header::{CRC, LAST_OFFSET_DELTA, LENGTH, NO_TIMESTAMP, RECORD_COUNT};
    use super::*;
    use crate::error::ErrorCode;

    const NOW: i64 = 1_700_000_000_000;

    fn three() -> BatchBuilder {
        BatchBuilder::new()
            .record(NOW, Some(b"k"), Some(b"value"))
            .record(NOW + 7, None, Some(b"second"))
            .record_with_headers(NOW + 3, Some(b""), None, &[("h", Some(b"1")), ("n", None)])
    }

    fn check(bytes: BytesMut) -> Result<Batch, RecordError> {
        Batch::check(bytes, &Limits::default(), NOW)
    }

    /// Changes the header or the records and makes the CRC right again.
    fn changed(mut bytes: BytesMut, change: impl FnOnce(&mut [u8])) -> BytesMut {
        change(&mut bytes);
        let crc = crc32c(&bytes[OUTSIDE_CRC_BYTES..]);
        bytes[CRC].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn refused(bytes: BytesMut, limits: &Limits) -> (RecordError, ErrorCode) {
        let error = Batch::check(bytes, limits, NOW).expect_err("it must be refused");
        let code = error.code();
        (error, code)
    }

    #[test]
    fn checked_then_stamped() {
        for codec in Codec::ALL {
            let bytes = three().producer(9, 1, i32::MAX - 1).compression(codec).build();
            let sent = bytes.clone();
            let batch = check(bytes).unwrap();
            assert_eq!(batch.bytes(), &sent[..], "a batch that is right is not changed");
            let stamped = batch.stamp(1000, 5);
            assert_eq!(
                (stamped.base_offset, stamped.last_offset(), stamped.next_offset()),
                (1000, 1002, 1003)
            );
            assert_eq!(
                (stamped.leader_epoch, stamped.record_count, stamped.codec().unwrap()),
                (5, 3, codec)
            );
            assert_eq!((stamped.base_timestamp, stamped.max_timestamp), (NOW, NOW + 7));
            assert_eq!(
                (stamped.producer_id, stamped.producer_epoch, stamped.last_sequence()),
                (9, 1, 0)
            );
            assert_eq!(StampedBatch::check(stamped.bytes().clone()), Ok(stamped));
        }
    }

    #[test]
    fn anything_cut_off_or_flipped_is_corrupt() {
        let bytes = three().build();
        for cut in 1..bytes.len() {
            let (_, code) = refused(bytes[..cut].into(), &Limits::default());
            assert_eq!(code, ErrorCode::CorruptMessage, "cut at {cut}");
        }
        for at in OUTSIDE_CRC_BYTES..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(
                matches!(refused(flipped, &Limits::default()).0, RecordError::Crc { .. }),
                "flipped at {at}"
            );
        }
        assert_eq!(refused(BytesMut::new(), &Limits::default()).1, ErrorCode::InvalidRecord);
    }

    #[test]
    fn what_a_client_may_not_claim() {
        let limits = Limits::default();
        let bytes = three().producer(1, 0, 0).build();
        let mut two = bytes.clone();
        two.extend_from_slice(&bytes);
        assert_eq!(
            refused(two, &limits).0,
            RecordError::MoreThanOneBatch { extra: bytes.len() }
        );
        let mut old = bytes.clone();
        old[MAGIC_AT] = 1;
        assert_eq!(
            refused(old, &limits),
            (RecordError::OldFormat { magic: 1 }, ErrorCode::InvalidRecord)
        );
        let mut new = bytes.clone();
        new[MAGIC_AT] = 3;
        assert_eq!(refused(new, &limits).1, ErrorCode::CorruptMessage);
        let mut placed = bytes.clone();
        placed[7] = 1;
        assert_eq!(refused(placed, &limits).0, RecordError::BaseOffset { base_offset: 1 });
        for (count, last_offset_delta) in [(2, 2), (4, 2), (0, -1), (-1, -2), (3, 3), (3, i32::MAX)] {
            let lied = changed(bytes.clone(), |bytes| {
                bytes[RECORD_COUNT].copy_from_slice(&i32::to_be_bytes(count));
                bytes[LAST_OFFSET_DELTA].copy_from_slice(&i32::to_be_bytes(last_offset_delta));
            });
            assert_eq!(
                refused(lied, &limits).0,
                RecordError::Count {
                    count,
                    last_offset_delta
                }
            );
        }
        for (count, code) in [(2, ErrorCode::InvalidRecord), (4, ErrorCode::InvalidRecord)] {
            let lied = changed(bytes.clone(), |bytes| {
                bytes[RECORD_COUNT].copy_from_slice(&i32::to_be_bytes(count));
                bytes[LAST_OFFSET_DELTA].copy_from_slice(&i32::to_be_bytes(count - 1));
            });
            assert_eq!(refused(lied, &limits).1, code);
        }
        assert_eq!(refused(three().control().build(), &limits).0, RecordError::Control);
        let (base_sequence, producer_id) = (-1, 1);
        let error = refused(three().producer(1, 0, -1).build(), &limits).0;
        assert_eq!(
            error,
            RecordError::Sequence {
                base_sequence,
                producer_id
            }
        );
        assert_eq!(
            refused(three().log_append_time().build(), &limits).0,
            RecordError::AppendTimeFromProducer
        );
        let unknown = changed(bytes.clone(), |bytes| bytes[22] |= 5);
        assert_eq!(refused(unknown, &limits).1, ErrorCode::UnsupportedCompressionType);
        let zstd = three().compression(Codec::Zstd).build();
        let before_version_7 = Limits {
            zstd_allowed: false,
            ..Limits::default()
        };
        assert_eq!(refused(zstd, &before_version_7).0, RecordError::ZstdNotAllowed);
    }

    #[test]
    fn what_a_topic_demands() {
        for codec in Codec::ALL {
            let bytes = three().compression(codec).build();
            let compacted = Limits {
                keys_required: true,
                ..Limits::default()
            };
            assert_eq!(
                refused(bytes.clone(), &compacted).0,
                RecordError::KeyMissing { index: 1 }
            );
            let small = Limits {
                batch_bytes_max: bytes.len() - 1,
                ..Limits::default()
            };
            assert_eq!(refused(bytes.clone(), &small).1, ErrorCode::MessageTooLarge);
            let exact = Limits {
                batch_bytes_max: bytes.len(),
                ..Limits::default()
            };
            assert!(Batch::check(bytes.clone(), &exact, NOW).is_ok());
            let (earliest, latest) = (NOW - 1000, NOW + 6);
            let bounds = Limits {
                timestamp_before_ms_max: 1000,
                timestamp_after_ms_max: 6,
                ..Limits::default()
            };
            let error = RecordError::TimestampOutOfRange {
                index: 1,
                timestamp: NOW + 7,
                earliest,
                latest,
            };
            assert_eq!(refused(bytes.clone(), &bounds), (error, ErrorCode::InvalidTimestamp));
            let none = BatchBuilder::new()
                .compression(codec)
                .record(NO_TIMESTAMP, None, None)
                .build();
            assert_eq!(Batch::check(none, &bounds, NOW).unwrap().max_timestamp, NO_TIMESTAMP);
        }
    }

    #[test]
    fn the_broker_has_the_last_word_on_time() {
        let wrong = changed(three().build(), |bytes| bytes[MAX_TIMESTAMP].fill(0x11));
        let right = check(wrong).unwrap().stamp(0, 0);
        assert_eq!(right.max_timestamp, NOW + 7);
        assert_eq!(StampedBatch::check(right.bytes().clone()), Ok(right));
        let limits = Limits {
            timestamp_type: TimestampType::LogAppendTime,
            ..Limits::default()
        };
        let ours = Batch::check(three().build(), &limits, NOW + 99).unwrap().stamp(0, 0);
        assert_eq!(
            (ours.max_timestamp, ours.timestamp_type()),
            (NOW + 99, TimestampType::LogAppendTime)
        );
        assert_eq!(StampedBatch::check(ours.bytes().clone()), Ok(ours));
    }

    #[test]
    fn recompressed_records_are_the_same() {
        let limits = Limits::default();
        for from in Codec::ALL {
            for to in Codec::ALL {
                let sent = three().compression(from).build();
                let batch = check(sent).unwrap().recompress(to.into(), &limits).unwrap().stamp(0, 0);
                assert_eq!(batch.codec(), Ok(to));
                assert_eq!(StampedBatch::check(batch.bytes().clone()), Ok(batch.clone()));
                let records: Result<Vec<_>, _> = super::super::Records::of(&batch, 1 << 20).unwrap().collect();
                let plain = three().build_stamped(0, 0);
                let expected: Result<Vec<_>, _> = super::super::Records::of(&plain, 1 << 20).unwrap().collect();
                assert_eq!(records, expected);
            }
        }
        let batch = check(three().build()).unwrap();
        let tight = Limits {
            batch_bytes_max: 10,
            ..limits
        };
        assert_eq!(
            batch.recompress(Codec::Lz4.into(), &tight).unwrap_err().code(),
            ErrorCode::MessageTooLarge
        );
    }

    #[test]
    fn a_bomb_is_refused() {
        let zeros = vec![0; 8 << 20];
        let limits = Limits {
            inflated_bytes_max: 1 << 20,
            ..Limits::default()
        };
        for codec in &Codec::ALL[1..] {
            let bytes = BatchBuilder::new()
                .compression(*codec)
                .record(NOW, None, Some(&zeros))
                .build();
            let (_, code) = refused(bytes, &limits);
            assert!(
                matches!(code, ErrorCode::MessageTooLarge | ErrorCode::InvalidRecord),
                "{codec}: {code}"
            );
            let small = b"small".repeat(300_000);
            let bytes = BatchBuilder::new()
                .compression(*codec)
                .record(NOW, None, Some(&small[..900_000]))
                .record(NOW, None, Some(&small[..900_000]))
                .build();
            assert_eq!(
                refused(bytes, &limits).0,
                RecordError::InflatedTooLarge { max: 1 << 20 },
                "{codec}"
            );
        }
    }

    #[test]
    fn offsets_do_not_run_backwards() {
        let stamped = three().build_stamped(0, 0);
        for (base_offset, taken) in [
            (-1, false),
            (i64::MAX - 3, true),
            (i64::MAX - 2, false),
            (i64::MIN, false),
        ] {
            let mut moved = BytesMut::from(&stamped.bytes()[..]);
            moved[BASE_OFFSET].copy_from_slice(&i64::to_be_bytes(base_offset));
            assert_eq!(StampedBatch::check(moved.freeze()).is_ok(), taken, "{base_offset}");
        }
    }

    #[test]
    fn a_batch_that_takes_long_comes_back_as_it_was() {
        const ROOM: usize = 256 * 1024;
        let zeros = vec![0; 100_000];
        let of_records = |codec, count| {
            let mut builder = BatchBuilder::new().compression(codec);
            (0..count).for_each(|_| builder.push(NOW, None, Some(&zeros), &[]));
            builder.build()
        };
        let limits = Limits::default();
        for codec in &Codec::ALL[1..] {
            let mut room = ROOM;
            assert!(
                Batch::check_within(of_records(*codec, 2), &limits, NOW, &mut room).is_ok_and(|batch| batch.is_ok())
            );
            let inflated = ROOM - room;
            assert!((200_000..201_000).contains(&inflated), "{codec}: {inflated}");
            let bomb = of_records(*codec, 3);
            let mut room = ROOM;
            let back = Batch::check_within(bomb.clone(), &limits, NOW, &mut room).expect_err("it takes long");
            assert_eq!((back, room), (bomb.clone(), 0), "{codec}");
            // Where no more is allowed it need not come back.
            let tight = Limits {
                inflated_bytes_max: ROOM,
                ..Limits::default()
            };
            let refused =
                Batch::check_within(bomb, &tight, NOW, &mut ROOM.clone()).expect("nothing is left to find out");
            assert_eq!(
                refused.err(),
                Some(RecordError::InflatedTooLarge { max: ROOM }),
                "{codec}"
            );
        }
        // What is not compressed is walked in place, however long it is.
        let mut room = 0;
        assert!(
            Batch::check_within(of_records(Codec::None, 3), &limits, NOW, &mut room).is_ok_and(|batch| batch.is_ok())
        );
    }

    /// Go's clients write lz4 in blocks of 4 MiB, and the decoder fills as much memory for the smallest of them.
    #[test]
    fn a_large_lz4_block_takes_long() {
        let plain = three().build();
        let frame = lz4_flex::frame::FrameInfo::new()
            .block_mode(lz4_flex::frame::BlockMode::Independent)
            .block_size(lz4_flex::frame::BlockSize::Max4MB);
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, plain[..HEADER_BYTES].to_vec());
        std::io::Write::write_all(&mut encoder, &plain[HEADER_BYTES..]).unwrap();
        let mut bytes = encoder.finish().unwrap();
        let length = (bytes.len() - PREFIX_BYTES) as i32;
        bytes[LENGTH].copy_from_slice(&length.to_be_bytes());
        let bytes = changed(BytesMut::from(&bytes[..]), |bytes| bytes[22] |= Codec::Lz4 as u8);
        assert!(check(bytes.clone()).is_ok());
        assert!(Batch::check_within(bytes, &Limits::default(), NOW, &mut (256 * 1024)).is_err());
    }

    /// A record that is longer than the window is walked in pieces, and with the same eyes.
    #[test]
    fn a_long_record_with_any_byte_changed() {
        let value = vec![b'v'; 150_000];
        let headers = [("trace", Some(&b"1"[..])), ("", None)];
        let plain = BatchBuilder::new()
            .record_with_headers(NOW, Some(b"key"), Some(&value), &headers)
            .record_with_headers(NOW + 7, None, Some(&value), &headers)
            .build();
        let second = HEADER_BYTES + (plain.len() - HEADER_BYTES) / 2;
        let near = |at: usize| at.saturating_sub(24).max(HEADER_BYTES)..(at + 24).min(plain.len());
        let mut refusals = std::collections::BTreeSet::new();
        for at in near(HEADER_BYTES).chain(near(second)).chain(near(plain.len())) {
            for byte in [0, 1, 2, 3, 0x7f, 0x80, 0xff] {
                let wrong = changed(plain.clone(), |bytes| bytes[at] = byte);
                let packed = {
                    let mut packed = BytesMut::from(&wrong[..HEADER_BYTES]);
                    compress::deflate(Codec::Zstd.into(), &wrong[HEADER_BYTES..], &mut packed);
                    let length = (packed.len() - PREFIX_BYTES) as i32;
                    packed[LENGTH].copy_from_slice(&length.to_be_bytes());
                    changed(packed, |bytes| bytes[22] |= Codec::Zstd as u8)
                };
                let [plainly, packed] = [wrong, packed].map(|bytes| check(bytes).map(|batch| batch.max_timestamp));
                let brief = |error: &RecordError| (error.code(), error.record_index());
                assert_eq!(
                    plainly.as_ref().map_err(brief),
                    packed.as_ref().map_err(brief),
                    "byte {at} is {byte}: {plainly:?} {packed:?}"
                );
                if let Err(RecordError::Record { what, .. }) = packed {
                    refusals.insert(what);
                }
            }
        }
        assert!(refusals.len() >= 7, "{refusals:?}");
    }

    #[test]
    fn a_record_that_inflates_to_more_than_the_topic_allows() {
        let value = vec![7; 1000];
        let built = |codec| {
            let builder = BatchBuilder::new().compression(codec).record(NOW, None, Some(b"small"));
            builder.record(NOW, None, Some(&value)).build()
        };
        let limits = |inflated_record_bytes_max| Limits {
            inflated_record_bytes_max,
            ..Limits::default()
        };
        // Five fields of a byte each, and the value with a length of two.
        let (index, length, max) = (1, 1007, 1006);
        let refused = Batch::check(built(Codec::Gzip), &limits(max), NOW).unwrap_err();
        assert_eq!(refused, RecordError::RecordTooLarge { index, length, max });
        assert_eq!(refused.code(), ErrorCode::InvalidRecord);
        assert!(Batch::check(built(Codec::Gzip), &limits(length), NOW).is_ok());
        // Nobody inflates this one: `max.message.bytes` is its bound.
        assert!(Batch::check(built(Codec::None), &limits(max), NOW).is_ok());
    }
}
