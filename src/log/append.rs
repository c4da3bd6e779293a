//! The way in: a batch gets its offsets and its place.

use bytes::{Bytes, BytesMut};

use crate::error::ErrorCode;
use crate::record::{Batch, StampedBatch};
use crate::types::{LeaderEpoch, Now, Offset, Position};

use super::Log;
use super::producers::{ProducerError, Verdict};
use super::tail::{Incoming, SHARED_BYTES_MAX};

/// A batch at its place, for the journal's frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub segment_base: Offset,
    /// Of its first byte in the segment.
    pub position: Position,
    pub bytes: Bytes,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// The batch is in the log already. It is answered as the original was, once the log is durable beyond `last_offset`.
    #[error("the batch is in the log already, at offsets {base_offset} to {last_offset}")]
    Duplicate {
        base_offset: Offset,
        last_offset: Offset,
        /// The original's max timestamp.
        timestamp: i64,
    },
    #[error(transparent)]
    Producer(#[from] ProducerError),
    #[error("the batch has {size} bytes, a segment of the topic {max} (segment.bytes)")]
    LargerThanSegment { size: usize, max: u64 },
    #[error("acknowledged records at the end of the log were lost, so it takes no new ones: see the broker's log")]
    ReadOnly,
}

impl AppendError {
    pub fn code(&self) -> ErrorCode {
        match self {
            AppendError::Duplicate { .. } => ErrorCode::None,
            AppendError::Producer(error) => error.code(),
            AppendError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
            AppendError::ReadOnly => ErrorCode::KafkaStorageError,
        }
    }
}

impl Log {
    /// A producer's batch, or the broker's own: checks its sequence, gives it the next offsets and the leader's epoch.
    /// `arena` is the shard's memory for small batches: it grows and is given away piece by piece.
    pub fn append_leader(
        &mut self,
        now: Now,
        batch: Batch,
        epoch: LeaderEpoch,
        arena: &mut BytesMut,
    ) -> Result<Appended, AppendError> {
        if self.is_read_only {
            return Err(AppendError::ReadOnly);
        }
        if let Verdict::Duplicate(original) = self.producers.check(&batch)? {
            return Err(AppendError::Duplicate {
                base_offset: original.first_offset(),
                last_offset: original.last_offset,
                timestamp: original.timestamp,
            });
        }
        if batch.size_bytes as u64 > self.config.segment_bytes {
            return Err(AppendError::LargerThanSegment {
                size: batch.size_bytes,
                max: self.config.segment_bytes,
            });
        }
        let stamped = batch.stamp(self.end(), epoch);
        Ok(self.append(now, stamped, Some(arena)))
    }

    /// A leader's batch keeps its offsets and epoch; gaps before it are fine, its sequence is not questioned.
    ///
    /// # Panics
    /// When it does not begin at or after the log's end: the fetcher checks that.
    pub fn append_follower(&mut self, now: Now, batch: StampedBatch, arena: &mut BytesMut) -> Appended {
        assert!(!self.is_read_only, "{}: an append to a log that takes none", self.name);
        self.append(now, batch, Some(arena))
    }

    fn append(&mut self, now: Now, batch: StampedBatch, arena: Option<&mut BytesMut>) -> Appended {
        let header = *batch.header();
        assert!(
            header.base_offset >= self.end(),
            "{}: a batch at {} before the end {}",
            self.name,
            header.base_offset,
            self.end()
        );
        self.has_gaps |= header.base_offset > self.end();
        if self.active().must_roll(&self.config, &header, now.wall_ms) {
            self.roll(now);
        }
        if header.leader_epoch >= 0 {
            self.epochs.assign(header.leader_epoch, header.base_offset);
        }
        self.producers.append(&batch);
        let (bytes, shared) = match arena {
            Some(arena) if header.size_bytes < SHARED_BYTES_MAX => {
                arena.extend_from_slice(batch.bytes());
                (arena.split().freeze(), true)
            }
            _ => (batch.into_bytes(), false),
        };
        let segment = self.active_mut();
        let (segment_base, position) = (segment.base, segment.size);
        segment.note(&header, now.wall_ms);
        self.saving.note_bytes(header.size_bytes);
        self.tail.push(Incoming {
            segment_base,
            position,
            base: header.base_offset,
            next: header.next_offset(),
            bytes: bytes.clone(),
            shared,
        });
        Appended {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            leader_epoch: header.leader_epoch,
            segment_base,
            position,
            bytes,
        }
    }
}
