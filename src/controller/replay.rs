//! Applies the metadata log, batch by batch: the only way in which an [`Image`] changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::BrokerConfig;
use crate::record::{RecordError, Records, StampedBatch};
use crate::types::{NodeId, Offset, TopicId, Uuid};
use crate::wire::WireError;
use crate::wire::control_records::{ControlRecord, VotersRecord};
use crate::wire::metadata_records::MetadataRecord;

use super::image::{Image, Reached};

/// Metadata batches are not compressed by Kafka 4.4 or by us; one that is may inflate to no more than this.
const INFLATED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The metadata log cannot be followed beyond this point, and nothing may be served on less than all of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("metadata batch at offset {offset}: {why}")]
    Batch { offset: Offset, why: RecordError },
    #[error("metadata record at offset {offset}: {why}")]
    Record { offset: Offset, why: WireError },
    #[error("metadata record at offset {offset}: {what}")]
    Contradiction { offset: Offset, what: String },
    #[error("metadata batch at offset {found} where {expected} should be")]
    Gap { expected: Offset, found: Offset },
}

/// The state of the metadata log's reader: the image, an open transaction, and what the log says about its own voters.
#[derive(Clone, Debug)]
pub struct Replay {
    image: Image,
    /// The image as it will be when the open transaction ends; `None` outside of one (KIP-868).
    transaction: Option<Image>,
    /// The last KRaftVoters control record.
    pub(super) voters: Option<VotersRecord>,
    /// See [`Replay::is_fresh`].
    is_fresh: bool,
    /// Of the next record.
    next_offset: Offset,
    /// Configurations of topics that could not be resolved, and why; in force is what is left without the bad values.
    complaints: Vec<String>,
}

impl Replay {
    /// Before the first record. `config` is this broker's own, from its file and command line.
    pub fn new(cluster_id: &str, node_id: NodeId, config: Arc<BrokerConfig>) -> Replay {
        Replay {
            image: Image::empty(cluster_id, node_id, config),
            transaction: None,
            voters: None,
            is_fresh: true,
            next_offset: 0,
            complaints: Vec::new(),
        }
    }

    /// Without the records of a transaction that has not ended.
    pub fn image(&self) -> &Image {
        &self.image
    }

    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The quorum's only voter and its directory, if the log names one.
    pub fn voter(&self) -> Option<(NodeId, Uuid)> {
        match self.voters.as_ref()?.voters.as_slice() {
            [voter] => Some((voter.voter_id, voter.voter_directory_id)),
            _ => None,
        }
    }

    /// What lies below `offset` and was not applied is given up.
    pub fn skip_to(&mut self, offset: Offset) {
        if offset > self.next_offset {
            self.next_offset = offset;
            self.newest().reached.offset = offset - 1;
        }
    }

    /// A transaction was begun and neither ended nor aborted.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// No metadata record of the log counts: the folder was formatted and never used, or its first transaction did not end.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// What a fresh folder was formatted with, beside what its first snapshot says; Kafka before 4.2 has it in
    /// `bootstrap.checkpoint`.
    pub fn format(&mut self, formatted: &Replay) {
        if self.is_fresh && self.image.features.is_empty() {
            self.image.features = formatted.image.features.clone();
            self.image.carried = formatted.image.carried.clone();
        }
    }

    /// What was found in the log that this broker cannot act on, each said once.
    pub fn take_complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }

    /// Applies the next batch of the log. After an error the state must not be used.
    pub fn apply(&mut self, batch: &StampedBatch) -> Result<(), ReplayError> {
        if batch.base_offset != self.next_offset {
            return Err(ReplayError::Gap {
                expected: self.next_offset,
                found: batch.base_offset,
            });
        }
        self.apply_records(batch)?;
        self.next_offset = batch.next_offset();
        let reached = Reached {
            offset: batch.last_offset(),
            epoch: batch.leader_epoch,
            timestamp_ms: batch.max_timestamp,
        };
        // A snapshot must not end inside a transaction.
        match &mut self.transaction {
            Some(image) => image.reached = reached,
            None => self.image.reached = reached,
        }
        Ok(())
    }

    /// A snapshot is applied: the log goes on behind what it contains.
    pub(super) fn start_behind(&mut self, reached: Reached) {
        self.next_offset = reached.offset + 1;
        self.is_fresh = self.next_offset == 0;
        self.image.reached = reached;
    }

    /// The records of a batch of a log or of a snapshot, whatever its offsets. Gives back the control records.
    pub(super) fn apply_records(&mut self, batch: &StampedBatch) -> Result<Vec<ControlRecord>, ReplayError> {
        let failed = |why| ReplayError::Batch {
            offset: batch.base_offset,
            why,
        };
        let mut touched = BTreeSet::new();
        let mut control = Vec::new();
        for record in Records::of(batch, INFLATED_BYTES_MAX).map_err(failed)? {
            let record = record.map_err(failed)?;
            let refused = |why| ReplayError::Record {
                offset: record.offset,
                why,
            };
            let value = record
                .value
                .as_ref()
                .ok_or(refused(WireError::UnexpectedNull { at: 0 }))?;
            if batch.is_control() {
                let key = record.key.as_deref().unwrap_or_default();
                let decoded = ControlRecord::decode(key, value).map_err(refused)?;
                self.apply_control(&decoded);
                control.push(decoded);
            } else {
                let decoded = MetadataRecord::decode(value).map_err(refused)?;
                self.apply_one(&decoded, &mut touched)
                    .map_err(|what| ReplayError::Contradiction {
                        offset: record.offset,
                        what,
                    })?;
            }
        }
        self.resolve(&mut touched);
        Ok(control)
    }

    fn apply_control(&mut self, record: &ControlRecord) {
        match record {
            ControlRecord::KRaftVersion(record) => {
                self.image.kraft_version = record.kraft_version;
                self.newest().kraft_version = record.kraft_version;
            }
            ControlRecord::KRaftVoters(record) => self.voters = Some(record.clone()),
            _ => {}
        }
    }

    fn apply_one(&mut self, record: &MetadataRecord, touched: &mut BTreeSet<Touched>) -> Result<(), String> {
        match (record, self.transaction.is_some()) {
            (MetadataRecord::BeginTransaction(_), true) => return Err("a transaction begins inside another".into()),
            (MetadataRecord::BeginTransaction(_), false) => {
                self.resolve(touched);
                self.transaction = Some(self.image.clone());
            }
            (MetadataRecord::EndTransaction(_) | MetadataRecord::AbortTransaction(_), false) => {
                return Err("a transaction ends that was not begun".into());
            }
            (MetadataRecord::EndTransaction(_), true) => {
                self.resolve(touched);
                self.image = self.transaction.take().expect("a transaction is open");
                self.is_fresh = false;
            }
            (MetadataRecord::AbortTransaction(_), true) => {
                touched.clear();
                self.transaction = None;
            }
            (MetadataRecord::NoOp(_), _) => {}
            (_, in_transaction) => {
                self.is_fresh &= in_transaction;
                self.newest().apply(record, touched)?;
            }
        }
        Ok(())
    }

    fn newest(&mut self) -> &mut Image {
        self.transaction.as_mut().unwrap_or(&mut self.image)
    }

    fn resolve(&mut self, touched: &mut BTreeSet<Touched>) {
        let complaints = self.newest().resolve(std::mem::take(touched));
        self.complaints.extend(complaints);
    }
}

/// The topics that a batch of the metadata log deletes, as far as it can be read.
pub fn topics_removed(batch: &StampedBatch) -> Vec<TopicId> {
    if batch.is_control() {
        return Vec::new();
    }
    let records = Records::of(batch, INFLATED_BYTES_MAX).into_iter().flatten().flatten();
    let removed = |value: Bytes| match MetadataRecord::decode(&value) {
        Ok(MetadataRecord::RemoveTopic(record)) => Some(record.topic_id),
        _ => None,
    };
    records.filter_map(|record| record.value).filter_map(removed).collect()
}

/// A configuration that has to be resolved again once a batch is applied. In the order in which that must happen: a
/// topic's builds on the broker's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Touched {
    Broker,
    Topic(Arc<str>),
}
