//! The broker's own registration: what a process appends to the metadata log before anybody is served.
//!
//! It comes after every shard has recovered its logs with the metadata of the process before: whatever keeps a journal full
//! can then be written to its segments, so that a start finds room whatever a crash left.

use std::collections::VecDeque;

use crate::controller::files;
use crate::controller::start::Start;
use crate::record::Batch;
use crate::replica::{Leader, Replica};
use crate::types::{LogId, Offset};

use super::Shard;
use super::disk::Op;
use super::effect::{DiskError, DiskOp, DiskReply};
use super::kraft::METADATA_DIR;
use super::metadata::FileOp;

pub enum Registration {
    /// Until every shard holds the metadata up to `replayed`, its logs recovered.
    Recovering {
        start: Box<Start>,
        replayed: Offset,
    },
    /// The quorum's new epoch is on its way to the device.
    Electing {
        start: Box<Start>,
    },
    /// In the order of their offsets; what is left waits for room in the journal.
    Appending {
        batches: VecDeque<Batch>,
        broker_epoch: i64,
    },
    /// Until the metadata is durable up to `registered`, and then the folder's format, which says from now on that journals and
    /// metadata were made: before anybody is served, so that what is acknowledged is never lost without a word.
    Marking {
        registered: Offset,
        is_writing: bool,
    },
    Done,
}

impl Shard {
    /// Every shard has recovered its logs: this process becomes the leader of the metadata log.
    pub(super) fn elect_if_recovered(&mut self) {
        let metadata = self.metadata.as_mut().expect("only the controller's shard registers");
        let held = metadata.held_by_all();
        let start = match std::mem::replace(&mut metadata.registration, Registration::Done) {
            Registration::Recovering { start, replayed } if held >= replayed => start,
            other => {
                metadata.registration = other;
                return;
            }
        };
        let path = format!("{METADATA_DIR}/{}", files::QUORUM_STATE);
        let content = start.quorum_state.encode();
        metadata.registration = Registration::Electing { start };
        self.disk(Op::Metadata(FileOp::QuorumState), DiskOp::ReplaceFile { path, content });
    }

    /// The new epoch is on the device: no process before this one appends any more.
    pub(super) fn elected(&mut self, result: Result<DiskReply, DiskError>) {
        if let Err(error) = result {
            return self.fatal(format!("cannot write the quorum's new epoch: {error}"));
        }
        if !self.is_serving() {
            return;
        }
        let metadata = self.metadata.as_mut().expect("only the controller's shard registers");
        let Registration::Electing { start } = std::mem::replace(&mut metadata.registration, Registration::Done) else {
            unreachable!("one process is elected once")
        };
        metadata.registration = Registration::Appending {
            batches: start.batches.into(),
            broker_epoch: start.broker_epoch,
        };
        let partition = self.partition_mut(LogId::METADATA);
        let high_watermark = partition.replica.high_watermark();
        let leader = Leader {
            in_sync: vec![],
            in_sync_min: 0,
        };
        partition.replica = Replica::leader(leader, start.epoch, 0, high_watermark);
        self.enter_epoch(LogId::METADATA, start.epoch);
        self.append_registration();
    }

    /// Appends what the journal has room for; called again whenever there may be more.
    pub(super) fn append_registration(&mut self) {
        loop {
            let Some(metadata) = &mut self.metadata else { return };
            let Registration::Appending { batches, broker_epoch } = &mut metadata.registration else {
                return;
            };
            let Some(batch) = batches.pop_front() else {
                metadata.broker_epoch = *broker_epoch;
                metadata.registration = Registration::Marking {
                    registered: metadata.replay.next_offset(),
                    is_writing: false,
                };
                return;
            };
            let bytes = batch.size_bytes as u64;
            if !self.metadata_log_has_room(bytes) {
                self.stats.registrations_delayed += 1;
                self.journal.want(bytes);
                let metadata = self.metadata.as_mut().expect("just seen");
                if let Registration::Appending { batches, .. } = &mut metadata.registration {
                    batches.push_front(batch);
                }
                return;
            }
            if !self.append_metadata_batch(batch) {
                return self
                    .fatal("the metadata log does not take the broker's own registration; see the line above".into());
            }
        }
    }

    /// The metadata is durable up to `durable`.
    pub(super) fn mark_if_registered(&mut self, durable: Offset) {
        if let Some(metadata) = &mut self.metadata
            && let Registration::Marking { registered, is_writing } = &mut metadata.registration
            && !*is_writing
            && *registered <= durable
        {
            *is_writing = true;
            let format = self.write_format(true, true);
            self.disk(Op::Metadata(FileOp::Format), format);
        }
    }

    pub(super) fn format_written(&mut self, result: Result<DiskReply, DiskError>) {
        if let Err(error) = result {
            return self.fatal(format!("cannot write the folder's format: {error}"));
        }
        let metadata = self.metadata.as_mut().expect("only the controller's shard registers");
        let Registration::Marking { registered, .. } = metadata.registration else {
            unreachable!("one process is registered once")
        };
        metadata.registration = Registration::Done;
        metadata.publish_from = registered;
        self.metadata_durable();
    }
}
