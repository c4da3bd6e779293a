//! What a log knows of idempotent producers and of open transactions: Kafka's `ProducerStateManager` and
//! `ProducerAppendInfo` (KIP-98, KIP-360, KIP-447, KIP-890).
//!
//! In two steps: [`Producers::check`] judges a produced batch and changes nothing; [`Producers::append`] takes in a batch
//! that is being appended, whoever judged it (leader, follower, replay), and cannot fail. State therefore is a function of
//! the batches in the log, and a rebuild gives the same.
//!
//! Invariants: a producer remembers its last five batches, of its current epoch only, in order; `ongoing` holds exactly
//! the first offsets of the entries' open transactions.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::ErrorCode;
use crate::record::crc::crc32c;
use crate::record::header::{NO_SEQUENCE, NO_TIMESTAMP, add_sequence};
use crate::record::varint::{read_int, read_long, write_int, write_long};
use crate::record::{Header, Records, StampedBatch};
use crate::types::{Offset, ProducerEpoch, ProducerId};

/// Clients keep at most five requests in flight, so any batch that is sent again is one of the last five.
pub const BATCHES_REMEMBERED: usize = 5;

/// Producers that one log remembers. Any client may invent ids, and each costs some hundred bytes of memory and of the
/// recovery point, which is encoded in one go and must stay small enough to be read.
pub const PRODUCERS_MAX: usize = 16_384;

const NO_EPOCH: ProducerEpoch = -1;
/// A marker's batch has one record of a few bytes; more than this is not a marker.
const MARKER_BYTES_MAX: usize = 64 * 1024;

/// A batch that a producer wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    pub last_sequence: i32,
    pub last_offset: Offset,
    pub offset_delta: i32,
    /// Its max timestamp: what the broker answers as log append time when the batch is sent again.
    pub timestamp: i64,
}

impl Written {
    pub fn first_offset(&self) -> Offset {
        self.last_offset.wrapping_sub(self.offset_delta as i64)
    }

    pub fn first_sequence(&self) -> i32 {
        // Backwards over the wrap: i32::MAX comes before 0.
        ((self.last_sequence as i64 - self.offset_delta as i64) & i32::MAX as i64) as i32
    }
}

/// One producer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Producer {
    pub epoch: ProducerEpoch,
    /// Of the transaction coordinator that sent the last marker; -1 before the first.
    pub coordinator_epoch: i32,
    /// Of the last batch or marker, by the client's clock.
    pub last_timestamp: i64,
    idle: Idle,
    /// The first offset of the open transaction.
    pub transaction_start: Option<Offset>,
    /// Oldest first.
    written: VecDeque<Written>,
}

/// Since when a producer has sent nothing, by our clock: a client's may be anything, and records that are copied from elsewhere
/// are old when they arrive. Known to this process only: after a start, every producer is one that has just sent something.
/// Not part of what makes two states equal, which the batches of a log decide.
#[derive(Clone, Copy, Debug, Default)]
enum Idle {
    /// It sent something after the last look.
    #[default]
    No,
    Since {
        mono_us: u64,
    },
}

impl PartialEq for Idle {
    fn eq(&self, _: &Idle) -> bool {
        true
    }
}

impl Eq for Idle {}

impl Producer {
    fn new() -> Producer {
        Producer {
            epoch: NO_EPOCH,
            coordinator_epoch: -1,
            last_timestamp: NO_TIMESTAMP,
            idle: Idle::default(),
            transaction_start: None,
            written: VecDeque::new(),
        }
    }

    pub fn last_sequence(&self) -> i32 {
        self.written.back().map_or(NO_SEQUENCE, |written| written.last_sequence)
    }

    pub fn written(&self) -> impl Iterator<Item = &Written> {
        self.written.iter()
    }

    fn enter_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.written.clear();
            self.epoch = epoch;
        }
    }

    fn remember(&mut self, written: Written) {
        if self.written.len() == BATCHES_REMEMBERED {
            self.written.pop_front();
        }
        self.written.push_back(written);
    }
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {} last timestamp {}", self.epoch, self.last_timestamp)?;
        for written in &self.written {
            write!(
                f,
                ", sequences {}..={} at {}..={}",
                written.first_sequence(),
                written.last_sequence,
                written.first_offset(),
                written.last_offset
            )?;
        }
        match self.transaction_start {
            Some(start) => write!(f, ", in a transaction since {start}"),
            None => Ok(()),
        }
    }
}

/// What [`Producers::check`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Append it.
    New,
    /// It is in the log already. Answer as for the original, once that is durable.
    Duplicate(Written),
}

/// Why a batch may not be appended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProducerError {
    #[error("epoch {epoch} of producer {producer_id} is older than {current}, the last one seen")]
    InvalidEpoch {
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        current: ProducerEpoch,
    },
    #[error("producer {producer_id} sent sequence {sequence} after {last_sequence}")]
    OutOfOrder {
        producer_id: ProducerId,
        sequence: i32,
        last_sequence: i32,
    },
    #[error("producer {producer_id} began epoch {epoch} at sequence {sequence}, not 0")]
    EpochNotFromZero {
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        sequence: i32,
    },
    #[error("producer {producer_id} sent a batch outside of its open transaction")]
    NotInTransaction { producer_id: ProducerId },
}

impl ProducerError {
    pub fn code(&self) -> ErrorCode {
        match self {
            ProducerError::InvalidEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            ProducerError::OutOfOrder { .. } | ProducerError::EpochNotFromZero { .. } => {
                ErrorCode::OutOfOrderSequenceNumber
            }
            ProducerError::NotInTransaction { .. } => ErrorCode::InvalidTxnState,
        }
    }
}

/// A transaction that a marker just ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
    /// Of the marker.
    pub last_offset: Offset,
    pub aborted: bool,
}

/// All producers of one log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Producers {
    producers: BTreeMap<ProducerId, Producer>,
    /// First offsets of open transactions.
    ongoing: BTreeMap<Offset, ProducerId>,
    /// First offset to marker's offset of transactions that ended, until the high watermark has passed the marker.
    ended: BTreeMap<Offset, Offset>,
}

impl Producers {
    pub fn new() -> Producers {
        Producers::default()
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty() && self.ended.is_empty()
    }

    pub fn len(&self) -> usize {
        self.producers.len()
    }

    pub fn get(&self, id: ProducerId) -> Option<&Producer> {
        self.producers.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.producers.iter().map(|(id, producer)| (*id, producer))
    }

    /// Judges a client's batch, which is not yet at an offset.
    pub fn check(&self, batch: &Header) -> Result<Verdict, ProducerError> {
        if !batch.has_producer_id() {
            return Ok(Verdict::New);
        }
        // A producer without state may begin anywhere: its records may have been deleted, or its state expired (KIP-360).
        let Some(producer) = self.producers.get(&batch.producer_id) else {
            return Ok(Verdict::New);
        };
        let (producer_id, epoch, sequence) = (batch.producer_id, batch.producer_epoch, batch.base_sequence);
        if epoch == producer.epoch {
            let same = |written: &&Written| {
                written.first_sequence() == sequence && written.last_sequence == batch.last_sequence()
            };
            if let Some(original) = producer.written.iter().find(same) {
                return Ok(Verdict::Duplicate(*original));
            }
        }
        if epoch < producer.epoch {
            return Err(ProducerError::InvalidEpoch {
                producer_id,
                epoch,
                current: producer.epoch,
            });
        }
        if epoch > producer.epoch {
            if sequence != 0 && producer.epoch != NO_EPOCH {
                return Err(ProducerError::EpochNotFromZero {
                    producer_id,
                    epoch,
                    sequence,
                });
            }
        } else {
            let last_sequence = producer.last_sequence();
            let follows = match last_sequence {
                NO_SEQUENCE => sequence == 0,
                last => sequence == add_sequence(last, 1),
            };
            if !follows && epoch != NO_EPOCH {
                return Err(ProducerError::OutOfOrder {
                    producer_id,
                    sequence,
                    last_sequence,
                });
            }
        }
        if producer.transaction_start.is_some() && !batch.is_transactional() {
            return Err(ProducerError::NotInTransaction { producer_id });
        }
        Ok(Verdict::New)
    }

    /// Takes in a batch that is appended at its offset: data or marker, from a client, a leader or a replay. Gives the
    /// transaction that it ended.
    pub fn append(&mut self, batch: &StampedBatch) -> Option<EndedTransaction> {
        if !batch.has_producer_id() {
            return None;
        }
        if batch.is_control() {
            return self.append_marker(batch);
        }
        self.make_room(batch.producer_id);
        let producer = self.producers.entry(batch.producer_id).or_insert_with(Producer::new);
        producer.enter_epoch(batch.producer_epoch);
        // The coordinators' own batches carry a producer but no sequence; Kafka remembers them alike.
        producer.remember(Written {
            last_sequence: batch.last_sequence(),
            last_offset: batch.last_offset(),
            offset_delta: batch.last_offset_delta,
            timestamp: batch.max_timestamp,
        });
        producer.last_timestamp = batch.max_timestamp;
        producer.idle = Idle::No;
        if batch.is_transactional() && producer.transaction_start.is_none() {
            producer.transaction_start = Some(batch.base_offset);
            self.ongoing.insert(batch.base_offset, batch.producer_id);
        }
        None
    }

    fn append_marker(&mut self, batch: &StampedBatch) -> Option<EndedTransaction> {
        let marker = Marker::of(batch)?;
        self.make_room(batch.producer_id);
        let producer = self.producers.entry(batch.producer_id).or_insert_with(Producer::new);
        producer.enter_epoch(batch.producer_epoch);
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.last_timestamp = marker.timestamp;
        producer.idle = Idle::No;
        let first_offset = producer.transaction_start.take()?;
        self.ongoing.remove(&first_offset);
        self.ended.insert(first_offset, batch.base_offset);
        Some(EndedTransaction {
            producer_id: batch.producer_id,
            first_offset,
            last_offset: batch.base_offset,
            aborted: marker.aborted,
        })
    }

    /// The last stable offset: no record below it belongs to a transaction that is open, or whose marker is not yet below
    /// the high watermark.
    pub fn last_stable_offset(&self, high_watermark: Offset) -> Offset {
        let open = self.ongoing.keys().next().copied();
        let ended = self
            .ended
            .iter()
            .find(|(_, marker)| **marker >= high_watermark)
            .map(|(first, _)| *first);
        let unstable = open.into_iter().chain(ended).min().unwrap_or(high_watermark);
        unstable.min(high_watermark)
    }

    /// Forgets transactions whose markers are below `offset`: the high watermark, or the log's start when that was raised.
    pub fn forget_ended(&mut self, offset: Offset) {
        if !self.ended.is_empty() {
            self.ended.retain(|_, marker| *marker >= offset);
        }
    }

    /// The time of the last batch of the oldest open transaction: one that is much too old was left hanging.
    pub fn oldest_transaction_timestamp(&self) -> Option<i64> {
        let id = self.ongoing.values().next()?;
        self.producers.get(id).map(|producer| producer.last_timestamp)
    }

    /// Forgets producers that wrote nothing for `expiration_us` and have no open transaction. A producer's time runs from the
    /// first look at which it had written nothing since the one before, so it is never shorter than that.
    pub fn expire(&mut self, now_us: u64, expiration_us: u64) {
        self.producers.retain(|_, producer| match producer.idle {
            _ if producer.transaction_start.is_some() => true,
            Idle::No => {
                producer.idle = Idle::Since { mono_us: now_us };
                true
            }
            Idle::Since { mono_us } => now_us.saturating_sub(mono_us) < expiration_us,
        });
    }

    /// Before a new producer: forgets an eighth of those that it may have at most, so that this is rare. Those go that wrote
    /// nothing for the most records, as if they had expired; never those with an open transaction, which only a
    /// coordinator lets in. Timestamps are the clients' own and say nothing here.
    fn make_room(&mut self, id: ProducerId) {
        if self.producers.len() < PRODUCERS_MAX || self.producers.contains_key(&id) {
            return;
        }
        let mut idle: Vec<(Offset, ProducerId)> = (self.producers.iter())
            .filter(|(_, producer)| producer.transaction_start.is_none())
            .map(|(id, producer)| (producer.written.back().map_or(-1, |last| last.last_offset), *id))
            .collect();
        idle.sort_unstable();
        idle.truncate(self.producers.len() - PRODUCERS_MAX / 8 * 7);
        for (_, id) in idle {
            self.producers.remove(&id);
        }
    }

    fn insert(&mut self, id: ProducerId, producer: Producer) {
        if let Some(first) = producer.transaction_start {
            self.ongoing.insert(first, id);
        }
        self.producers.insert(id, producer);
    }
}

/// The end of a transaction. Key: version i16, type i16 (0 abort, 1 commit). Value: version i16, coordinator epoch i32.
struct Marker {
    aborted: bool,
    coordinator_epoch: i32,
    timestamp: i64,
}

impl Marker {
    /// `None` for a batch that compaction has emptied, and for control records that are none of ours.
    fn of(batch: &StampedBatch) -> Option<Marker> {
        let record = Records::of(batch, MARKER_BYTES_MAX).ok()?.next()?.ok()?;
        let aborted = match record.control_type()? {
            0 => true,
            1 => false,
            _ => return None,
        };
        let mut value = record.value?;
        value.try_get_i16().ok()?;
        Some(Marker {
            aborted,
            coordinator_epoch: value.try_get_i32().ok()?,
            timestamp: record.timestamp,
        })
    }
}

/// Why stored producer state was not taken. The state then is rebuilt from the log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the producer snapshot has version {version}, not {SNAPSHOT_VERSION}")]
    Version { version: i16 },
    #[error("the producer snapshot is corrupt: its CRC is {stored:#010x}, its bytes give {computed:#010x}")]
    Crc { stored: u32, computed: u32 },
    #[error("the producer snapshot ends early or goes on too long")]
    Length,
}

const SNAPSHOT_VERSION: i16 = 1;
const SNAPSHOT_HEAD_BYTES: usize = 10;
const SNAPSHOT_ENTRY_BYTES: usize = 46;

/// Kafka's `%020d.snapshot` (big endian):
///
/// | bytes | field |
/// |---|---|
/// | 0..2 | version, 1 |
/// | 2..6 | CRC-32C of everything from byte 6 |
/// | 6..10 | number of entries; then for each, 46 bytes: |
/// | 0..8 | producer id |
/// | 8..10 | producer epoch |
/// | 10..14 | last sequence, -1 for none |
/// | 14..22 | last offset, -1 for none |
/// | 22..26 | offset delta: last minus first offset of the last batch |
/// | 26..34 | timestamp of the last batch or marker |
/// | 34..38 | coordinator epoch, -1 for none |
/// | 38..46 | first offset of the open transaction, -1 for none |
///
/// It keeps one batch of each producer and forgets transactions that ended: it is for Kafka's tools and for a Kafka that
/// takes the folder over. Our own recovery uses [`Producers::encode`].
pub fn encode_snapshot(producers: &Producers) -> Bytes {
    let mut out = BytesMut::with_capacity(SNAPSHOT_HEAD_BYTES + producers.len() * SNAPSHOT_ENTRY_BYTES);
    out.put_i16(SNAPSHOT_VERSION);
    out.put_u32(0);
    out.put_i32(producers.len() as i32);
    for (id, producer) in producers.iter() {
        let last = producer.written.back();
        out.put_i64(id);
        out.put_i16(producer.epoch);
        out.put_i32(producer.last_sequence());
        out.put_i64(last.map_or(-1, |last| last.last_offset));
        out.put_i32(last.map_or(0, |last| last.offset_delta));
        out.put_i64(producer.last_timestamp);
        out.put_i32(producer.coordinator_epoch);
        out.put_i64(producer.transaction_start.unwrap_or(-1));
    }
    let crc = crc32c(&out[6..]);
    out[2..6].copy_from_slice(&crc.to_be_bytes());
    out.freeze()
}

/// Reads what [`encode_snapshot`] or Kafka wrote.
pub fn decode_snapshot(mut bytes: &[u8]) -> Result<Producers, SnapshotError> {
    if bytes.len() < SNAPSHOT_HEAD_BYTES {
        return Err(SnapshotError::Length);
    }
    let version = bytes.get_i16();
    if version != SNAPSHOT_VERSION {
        return Err(SnapshotError::Version { version });
    }
    let stored = bytes.get_u32();
    let computed = crc32c(bytes);
    if stored != computed {
        return Err(SnapshotError::Crc { stored, computed });
    }
    let count = bytes.get_i32();
    if usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(SNAPSHOT_ENTRY_BYTES))
        != Some(bytes.len())
    {
        return Err(SnapshotError::Length);
    }
    let mut producers = Producers::new();
    while bytes.has_remaining() {
        let id = bytes.get_i64();
        let epoch = bytes.get_i16();
        let (last_sequence, last_offset, offset_delta) = (bytes.get_i32(), bytes.get_i64(), bytes.get_i32());
        let last_timestamp = bytes.get_i64();
        let coordinator_epoch = bytes.get_i32();
        let transaction_start = Some(bytes.get_i64()).filter(|&offset| offset >= 0);
        let last = Written {
            last_sequence,
            last_offset,
            offset_delta,
            timestamp: last_timestamp,
        };
        let written = (last_offset >= 0).then_some(last).into_iter().collect();
        producers.insert(
            id,
            Producer {
                epoch,
                coordinator_epoch,
                last_timestamp,
                idle: Idle::No,
                transaction_start,
                written,
            },
        );
    }
    Ok(producers)
}

/// Part of the recovery point, which has a version and a checksum of its own. Zigzag varints throughout:
///
/// * number of producers; for each: id, epoch, coordinator epoch, last timestamp, transaction start (-1 for none), number
///   of batches; for each, oldest first: last sequence, last offset, offset delta, timestamp. Offsets and timestamps are
///   differences from those before them in the same producer (the first ones from 0 and from the last timestamp).
/// * number of ended transactions; for each: first offset, marker's offset.
impl Producers {
    pub fn encode(&self, out: &mut BytesMut) {
        write_int(out, self.producers.len() as i32);
        for (id, producer) in &self.producers {
            write_long(out, *id);
            write_int(out, producer.epoch as i32);
            write_int(out, producer.coordinator_epoch);
            write_long(out, producer.last_timestamp);
            write_long(out, producer.transaction_start.unwrap_or(-1));
            write_int(out, producer.written.len() as i32);
            let mut before = (0, producer.last_timestamp);
            for written in &producer.written {
                write_int(out, written.last_sequence);
                write_long(out, written.last_offset.wrapping_sub(before.0));
                write_int(out, written.offset_delta);
                write_long(out, written.timestamp.wrapping_sub(before.1));
                before = (written.last_offset, written.timestamp);
            }
        }
        write_int(out, self.ended.len() as i32);
        for (first, marker) in &self.ended {
            write_long(out, *first);
            write_long(out, *marker);
        }
    }

    /// Reads what [`Producers::encode`] wrote at `at` and moves `at` behind it.
    pub fn decode(bytes: &[u8], at: &mut usize) -> Result<Producers, SnapshotError> {
        Producers::read(bytes, at).ok_or(SnapshotError::Length)
    }

    fn read(bytes: &[u8], at: &mut usize) -> Option<Producers> {
        let mut all = Producers::new();
        // No count reserves memory: a false one ends at the end of the bytes.
        for _ in 0..read_int(bytes, at)? {
            let id = read_long(bytes, at)?;
            let epoch = ProducerEpoch::try_from(read_int(bytes, at)?).ok()?;
            let coordinator_epoch = read_int(bytes, at)?;
            let last_timestamp = read_long(bytes, at)?;
            let transaction_start = Some(read_long(bytes, at)?).filter(|&offset| offset >= 0);
            let count = read_int(bytes, at).filter(|&count| count as usize <= BATCHES_REMEMBERED)?;
            let mut written = VecDeque::new();
            let mut before = (0i64, last_timestamp);
            for _ in 0..count {
                let last_sequence = read_int(bytes, at)?;
                let last_offset = before.0.wrapping_add(read_long(bytes, at)?);
                let offset_delta = read_int(bytes, at)?;
                let timestamp = before.1.wrapping_add(read_long(bytes, at)?);
                before = (last_offset, timestamp);
                written.push_back(Written {
                    last_sequence,
                    last_offset,
                    offset_delta,
                    timestamp,
                });
            }
            all.insert(
                id,
                Producer {
                    epoch,
                    coordinator_epoch,
                    last_timestamp,
                    idle: Idle::No,
                    transaction_start,
                    written,
                },
            );
        }
        for _ in 0..read_int(bytes, at)? {
            let first = read_long(bytes, at)?;
            all.ended.insert(first, read_long(bytes, at)?);
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;
    use crate::record::build::control_key;
    use crate::record::scan::{Depth, Scan};
    use proptest::prelude::*;

    const ID: ProducerId = 77;

    fn batch(epoch: ProducerEpoch, sequence: i32, records: i32) -> BatchBuilder {
        let mut builder = BatchBuilder::new().producer(ID, epoch, sequence);
        for i in 0..records {
            builder.push(1000 + i as i64, None, Some(b"v"), &[]);
        }
        builder
    }

    fn marker(epoch: ProducerEpoch, commit: bool, coordinator_epoch: i32) -> BatchBuilder {
        let mut value = vec![0, 0];
        value.extend_from_slice(&coordinator_epoch.to_be_bytes());
        let key = control_key(commit as i16);
        let builder = BatchBuilder::new().producer(ID, epoch, -1).transactional().control();
        builder.record(2000, Some(&key), Some(&value))
    }

    fn check(producers: &Producers, builder: BatchBuilder) -> Result<Verdict, ProducerError> {
        producers.check(builder.build_stamped(0, 0).header())
    }

    /// Checks and appends one batch after another, from offset 0.
    fn append_all(producers: &mut Producers, batches: impl IntoIterator<Item = BatchBuilder>) -> Offset {
        let mut offset = 0;
        for builder in batches {
            let batch = builder.build_stamped(offset, 0);
            if !batch.is_control() {
                assert_eq!(producers.check(&batch), Ok(Verdict::New), "at offset {offset}");
            }
            producers.append(&batch);
            offset = batch.next_offset();
        }
        offset
    }

    #[test]
    fn the_last_five_are_recognised() {
        let mut producers = Producers::new();
        append_all(&mut producers, (0..7).map(|i| batch(0, i * 3, 3)));
        for i in 2..7 {
            let Ok(Verdict::Duplicate(original)) = check(&producers, batch(0, i * 3, 3)) else {
                panic!("batch {i} is one of the last five")
            };
            assert_eq!(
                (original.first_offset(), original.last_offset),
                (i as i64 * 3, i as i64 * 3 + 2)
            );
            assert_eq!(original.timestamp, 1002);
        }
        let (producer_id, sequence, last_sequence) = (ID, 3, 20);
        let error = ProducerError::OutOfOrder {
            producer_id,
            sequence,
            last_sequence,
        };
        assert_eq!(check(&producers, batch(0, 3, 3)), Err(error));
        assert!(
            check(&producers, batch(0, 18, 2)).is_err(),
            "the same start and another end is no duplicate"
        );
        assert!(check(&producers, batch(0, 22, 1)).is_err(), "a gap");
        assert_eq!(check(&producers, batch(0, 21, 1)), Ok(Verdict::New));
    }

    #[test]
    fn checking_changes_nothing() {
        let mut producers = Producers::new();
        append_all(&mut producers, [batch(0, 0, 1)]);
        let before = producers.clone();
        for builder in [batch(0, 1, 1), batch(0, 5, 1), batch(1, 0, 1), batch(0, 0, 1)] {
            let _ = check(&producers, builder);
        }
        assert_eq!(producers, before);
    }

    #[test]
    fn epochs_fence() {
        let mut producers = Producers::new();
        append_all(&mut producers, [batch(3, 0, 1), batch(3, 1, 1)]);
        let error = ProducerError::InvalidEpoch {
            producer_id: ID,
            epoch: 2,
            current: 3,
        };
        assert_eq!(check(&producers, batch(2, 2, 1)), Err(error));
        let error = ProducerError::EpochNotFromZero {
            producer_id: ID,
            epoch: 4,
            sequence: 2,
        };
        assert_eq!(check(&producers, batch(4, 2, 1)), Err(error));
        producers.append(&batch(4, 0, 1).build_stamped(2, 0));
        assert!(
            check(&producers, batch(3, 1, 1)).is_err(),
            "batches of the old epoch are forgotten"
        );
        assert_eq!(check(&producers, batch(4, 1, 1)), Ok(Verdict::New));
    }

    #[test]
    fn a_stranger_may_begin_anywhere() {
        assert_eq!(check(&Producers::new(), batch(0, 1234, 1)), Ok(Verdict::New));
        let plain = BatchBuilder::new().record(0, None, None);
        assert_eq!(check(&Producers::new(), plain), Ok(Verdict::New));
    }

    #[test]
    fn sequences_wrap() {
        let mut producers = Producers::new();
        let start = i32::MAX - 1;
        append_all(&mut producers, [batch(0, start, 4)]);
        let Ok(Verdict::Duplicate(original)) = check(&producers, batch(0, start, 4)) else {
            panic!("a duplicate")
        };
        assert_eq!((original.first_sequence(), original.last_sequence), (start, 1));
        assert_eq!(check(&producers, batch(0, 2, 1)), Ok(Verdict::New));
        let mut producers = Producers::new();
        append_all(&mut producers, [batch(0, i32::MAX, 1)]);
        assert_eq!(check(&producers, batch(0, 0, 1)), Ok(Verdict::New));
    }

    #[test]
    fn a_transaction_holds_the_stable_offset_back() {
        let mut producers = Producers::new();
        let end = append_all(&mut producers, [batch(0, 0, 2), batch(0, 2, 2).transactional()]);
        assert_eq!(producers.last_stable_offset(end), 2);
        assert_eq!(producers.last_stable_offset(1), 1);
        let error = ProducerError::NotInTransaction { producer_id: ID };
        assert_eq!(check(&producers, batch(0, 4, 1)), Err(error));
        assert_eq!(producers.oldest_transaction_timestamp(), Some(1001));
        producers.expire(0, 1);
        producers.expire(u64::MAX, 1);
        assert_eq!(
            producers.len(),
            1,
            "a producer with an open transaction does not expire"
        );
        let ended = producers.append(&marker(0, false, 9).build_stamped(4, 0)).unwrap();
        assert_eq!((ended.first_offset, ended.last_offset, ended.aborted), (2, 4, true));
        assert_eq!(
            producers.last_stable_offset(4),
            2,
            "the marker is not below the high watermark"
        );
        assert_eq!(producers.last_stable_offset(5), 5);
        producers.forget_ended(5);
        assert_eq!(producers.last_stable_offset(5), 5);
        assert_eq!(producers.get(ID).unwrap().coordinator_epoch, 9);
        assert_eq!(
            check(&producers, batch(0, 4, 1)),
            Ok(Verdict::New),
            "a marker takes no sequence"
        );
        assert_eq!(
            producers.append(&marker(0, true, 9).build_stamped(5, 0)),
            None,
            "it ends nothing"
        );
    }

    #[test]
    fn idle_producers_expire_by_our_clock_whatever_theirs_says() {
        for timestamp in [NO_TIMESTAMP, 1000, i64::MAX] {
            let mut producers = Producers::new();
            let write = |producers: &mut Producers, sequence: i32| {
                let builder = BatchBuilder::new()
                    .producer(ID, 0, sequence)
                    .record(timestamp, None, None);
                producers.append(&builder.build_stamped(sequence.into(), 0));
            };
            write(&mut producers, 0);
            producers.expire(5_000, 100);
            producers.expire(5_099, 100);
            assert_eq!(producers.len(), 1, "{timestamp}: the first look at it was 99 ago");
            write(&mut producers, 1);
            producers.expire(5_150, 100);
            producers.expire(5_249, 100);
            assert_eq!(producers.len(), 1, "{timestamp}: it wrote meanwhile");
            producers.expire(5_250, 100);
            assert!(producers.is_empty(), "{timestamp}");
        }
    }

    #[test]
    fn the_longest_idle_make_room_for_new_ones() {
        let write = |producers: &mut Producers, id: i64, offset: i64, timestamp: i64| {
            let builder = BatchBuilder::new().producer(id, 0, 0).record(timestamp, None, None);
            producers.append(&builder.build_stamped(offset, 0));
        };
        let mut producers = Producers::new();
        let max = PRODUCERS_MAX as i64;
        // One that claims to come from the future, and one that goes on writing.
        write(&mut producers, 0, 0, i64::MAX);
        for id in 1..max {
            write(&mut producers, id, id, 1000);
        }
        write(&mut producers, 1, max, 1000);
        let all = producers.clone();
        write(&mut producers, 2, max + 1, 1000);
        assert_eq!(producers.len(), all.len(), "a known one needs no room");
        for id in max..10 * max {
            write(&mut producers, id, id + 2, 1000);
            assert!(producers.len() <= PRODUCERS_MAX);
            assert!(producers.get(id).is_some());
            if id < max + 10 {
                assert!(producers.get(1).is_some() && producers.get(2).is_some());
                assert!(producers.get(0).is_none() && producers.get(3).is_none());
            }
        }
        assert!(producers.len() >= PRODUCERS_MAX / 8 * 7);
        let mut bytes = BytesMut::new();
        producers.encode(&mut bytes);
        assert!(bytes.len() < 4 << 20);
    }

    #[test]
    fn snapshots_keep_what_kafka_keeps() {
        let mut producers = Producers::new();
        append_all(&mut producers, [batch(1, 0, 2), batch(1, 2, 3).transactional()]);
        let bytes = encode_snapshot(&producers);
        let back = decode_snapshot(&bytes).unwrap();
        let (was, is) = (producers.get(ID).unwrap(), back.get(ID).unwrap());
        assert_eq!(is.written().collect::<Vec<_>>(), [was.written.back().unwrap()]);
        assert_eq!((is.epoch, is.transaction_start, is.last_timestamp), (1, Some(2), 1002));
        assert_eq!(back.last_stable_offset(5), 2);
        assert_eq!(encode_snapshot(&back), bytes);
        for cut in 0..bytes.len() {
            assert!(decode_snapshot(&bytes[..cut]).is_err());
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1;
            assert!(decode_snapshot(&flipped).is_err(), "flipped at {at}");
        }
    }

    /// A Kafka 4.1 broker's own segments and the snapshots that it took of them: an idempotent producer, and a
    /// transactional one that committed, aborted and was cut off.
    #[test]
    fn kafkas_snapshots_are_our_snapshots() {
        let segments: [(&[u8], &[u8], Offset); 2] = [
            (
                include_bytes!("../../tests/data/kafka/transactions-0.log"),
                include_bytes!("../../tests/data/kafka/transactions-4.snapshot"),
                3,
            ),
            (
                include_bytes!("../../tests/data/kafka/transactions-4.log"),
                include_bytes!("../../tests/data/kafka/transactions-8.snapshot"),
                7,
            ),
        ];
        let mut producers = Producers::new();
        let mut ended = vec![];
        for (segment, snapshot, stable) in segments {
            let segment = Bytes::from_static(segment);
            for view in Scan::new(&segment, Depth::Crc) {
                ended.extend(producers.append(&view.slice_of(&segment)));
            }
            assert_eq!(encode_snapshot(&producers), snapshot);
            producers.forget_ended(Offset::MAX);
            assert_eq!(producers.last_stable_offset(100), stable);
            let loaded = decode_snapshot(snapshot).unwrap();
            assert_eq!(encode_snapshot(&loaded), snapshot);
            assert_eq!(loaded.last_stable_offset(100), stable);
        }
        let ended: Vec<_> = ended
            .iter()
            .map(|it| (it.first_offset, it.last_offset, it.aborted))
            .collect();
        assert_eq!(ended, [(3, 4, false), (5, 6, true)]);
    }

    proptest! {
        /// Whatever was appended, the recovery point holds all of it.
        #[test]
        fn compact_round_trip(steps in prop::collection::vec((0..4i64, 0..3i16, 0..100i32, 1..4i32, 0..3u8), 0..60)) {
            let mut producers = Producers::new();
            let mut offset = 0;
            for (id, epoch, sequence, records, kind) in steps {
                let mut builder = if kind == 2 { marker(epoch, true, 1) } else { batch(epoch, sequence, records) };
                builder = builder.producer(id, epoch, sequence);
                if kind == 1 {
                    builder = builder.transactional();
                }
                let batch = builder.build_stamped(offset, 0);
                producers.append(&batch);
                offset = batch.next_offset();
                let mut bytes = BytesMut::new();
                producers.encode(&mut bytes);
                let mut at = 0;
                prop_assert_eq!(Producers::decode(&bytes, &mut at), Ok(producers.clone()));
                prop_assert_eq!(at, bytes.len());
                for cut in 0..bytes.len() {
                    prop_assert!(Producers::decode(&bytes[..cut], &mut 0).is_err());
                }
            }
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_snapshot(&bytes);
            let _ = Producers::decode(&bytes, &mut 0);
        }
    }
}
