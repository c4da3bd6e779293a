//! What goes into a shard and what comes out: the whole seam between the synchronous core and the world.
//!
//! `runtime` performs these on glommio, `sim` on seeded fakes. The effects of one round are unordered, except that
//! replies of one connection and messages between one pair of shards keep their order. What must follow a disk operation
//! waits for its [`Event::Disk`].

use bytes::{Bytes, BytesMut};

pub use crate::types::{BLOCK_BYTES, Entry, File, OPERATION_BYTES_MAX};

use crate::log::DiskRead;
use crate::types::{ConnId, OpId, Position, ShardId};

use super::message::Message;

/// What [`DiskOp::ReadFile`] reads at most: small files only, anything larger is read in pieces. A recovery point, which is two
/// copies, may be as large as one of the first version, which was one of up to 64 MiB.
pub const READ_FILE_BYTES_MAX: u64 = 2 * 64 * 1024 * 1024;

#[derive(Debug)]
pub enum Event {
    Connected {
        conn: ConnId,
    },
    /// One frame, without its length prefix. The memory is the frame's own or a piece of a read buffer; it is ours to change.
    Request {
        conn: ConnId,
        frame: BytesMut,
    },
    /// The connection is gone, whoever closed it. Nothing for it may be emitted after this.
    Closed {
        conn: ConnId,
    },
    FromShard {
        from: ShardId,
        message: Message,
    },
    /// Exactly one for each [`Effect::Disk`].
    Disk {
        op: OpId,
        result: Result<DiskReply, DiskError>,
    },
    /// Exactly one for each [`Effect::Compute`].
    Computed {
        op: OpId,
        result: ComputeReply,
    },
    /// Stop cleanly: answer what is in flight, write everything to its segment, mark the folder clean, then [`Effect::Stopped`].
    Stop,
}

#[derive(Debug)]
pub enum Effect {
    /// The answer to the oldest unanswered request of this connection, without the length prefix's four bytes missing:
    /// `slices` is what goes on the wire, prefix included. Empty for a request that has no answer (acks=0); it still
    /// gives the request's memory back. Exactly one per request, in order.
    Reply {
        conn: ConnId,
        slices: Vec<Bytes>,
    },
    /// Close once every earlier reply of this connection is sent. `why` is logged, once, when it is not empty.
    Close {
        conn: ConnId,
        why: String,
    },
    ToShard {
        to: ShardId,
        message: Message,
    },
    Disk {
        op: OpId,
        what: DiskOp,
    },
    Compute {
        op: OpId,
        what: Compute,
    },
    /// Recovery is complete: the runtime may accept connections once every shard said so.
    Ready,
    /// The runtime may end this shard. A stop is clean when everything is written and synced; otherwise what is missing is in
    /// the journal, or beside it, and somebody was told why.
    Stopped {
        is_clean: bool,
    },
    /// The process must not go on (damage that cannot be contained, an unknown format). Logged; exit code 1.
    Fatal {
        message: String,
    },
}

/// Paths are relative to the data folder and use `/`. None of these waits for another: the core orders them by events.
#[derive(Debug, Clone)]
pub enum DiskOp {
    /// Overwrites or extends. `position` is a multiple of [`BLOCK_BYTES`], the slices' total is at most
    /// [`OPERATION_BYTES_MAX`] and is padded with zeros to a multiple of it. With `durable`, the bytes (and the size) are
    /// on the device when it completes (O_DSYNC); without, only a later [`DiskOp::Sync`] makes them so.
    Write {
        file: File,
        position: Position,
        slices: Vec<Bytes>,
        durable: bool,
    },
    /// fdatasync: every earlier completed write to this file, its size included, is on the device when it completes.
    Sync {
        file: File,
    },
    /// Bytes `position .. position + len`, fewer at the end of the file. `position` and `len` are multiples of
    /// [`BLOCK_BYTES`]; `len` is at most [`OPERATION_BYTES_MAX`].
    Read {
        file: File,
        position: Position,
        len: usize,
    },
    /// Creates the file when it is missing and reserves space up to `len` without changing its size. The new name counts
    /// only after [`DiskOp::SyncDir`] of its folder. Fails with [`DiskError::Full`] when there is no room.
    Reserve {
        file: File,
        len: u64,
    },
    /// Creates the file when it is missing, writes zeros until its size is `len`, and syncs it: the ring's blocks then
    /// are written blocks, and overwriting them changes no metadata.
    Fill {
        file: File,
        len: u64,
    },
    /// Whether the file's name still leads to the file that operations with this id change; [`DiskError::NotFound`] when it
    /// does not: somebody removed or replaced it, or a folder above it.
    CheckName {
        file: File,
    },
    /// Sets the size; what it grows by reads as zeros, and growing keeps what was reserved. Durable only after
    /// [`DiskOp::Sync`].
    Truncate {
        file: File,
        len: u64,
    },
    /// Forget the descriptor. The id is not used again.
    Close {
        file: File,
    },
    /// Creates one folder; fine when it exists.
    CreateDir {
        path: String,
    },
    /// fsync of a folder: names made in it, renamed into it or removed from it are durable when it completes. "" is the data folder.
    SyncDir {
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    /// Fine when it does not exist.
    RemoveFile {
        path: String,
    },
    /// The same for a file of any size that nobody is in a hurry to see gone: its space is given back in slices, each on
    /// the device before the next, since a file system that tells its device of freed blocks (`discard`) holds up every
    /// flush meanwhile. Whoever lists the folder may see the file smaller than it was.
    RemoveLargeFile {
        path: String,
    },
    /// Removes one empty folder; fine when it does not exist.
    RemoveDir {
        path: String,
    },
    /// Names in a folder; `DiskReply::Entries`, sorted by name. A missing folder is [`DiskError::NotFound`].
    List {
        path: String,
    },
    /// The whole of a small file (at most 64 MiB); [`DiskError::NotFound`] when it does not exist.
    ReadFile {
        path: String,
    },
    /// Replaces or creates a small file atomically and durably: a temporary file `<path>.tmp` in the same folder, written,
    /// synced, renamed, folder synced. After a crash the file holds either the old or the new content.
    ReplaceFile {
        path: String,
        content: Bytes,
    },
    /// Free and total bytes of the file system; `DiskReply::Space`.
    Space,
}

impl From<&DiskRead> for DiskOp {
    fn from(read: &DiskRead) -> DiskOp {
        DiskOp::Read {
            file: read.file.clone(),
            position: read.position,
            len: read.len,
        }
    }
}

#[derive(Debug, Clone)]
pub enum DiskReply {
    Done,
    /// Of `Read` and `ReadFile`. What a `Read` brings is the shard's own memory: it is copied before it goes to another.
    Bytes(Bytes),
    Entries(Vec<Entry>),
    Space {
        free_bytes: u64,
        total_bytes: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    #[error("{path}: no such file or folder")]
    NotFound { path: String },
    #[error("{path}: no space left on the device")]
    Full { path: String },
    /// The system's own words with what was tried and where.
    #[error("{message}")]
    Io { message: String },
}

/// A shard asks for so much [`Effect::Compute`] at a time, and there are as many threads for it.
pub const COMPUTE_WORKERS: usize = 2;

/// Work in proportion to bytes that must not hold up the shard's loop; done on a worker thread.
#[derive(Debug)]
pub enum Compute {
    /// Check a compressed batch's records, recompress it, or search it: the closure is plain code over owned bytes.
    Run(ComputeJob),
}

/// A closure over owned bytes; it must not panic and must be bounded.
pub struct ComputeJob {
    pub run: Box<dyn FnOnce() -> ComputeReply + Send>,
    /// It takes more than [`JOB_BYTES_MAX`] of memory: one such job of all shards runs at a time, whatever it takes then.
    pub is_large: bool,
}

/// What a job takes, beyond the batch that it is about, to run beside others.
pub const JOB_BYTES_MAX: usize = 8 * 1024 * 1024;

impl std::fmt::Debug for ComputeJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ComputeJob")
    }
}

pub type ComputeReply = Box<dyn std::any::Any + Send>;

/// The reply of a job that panicked, with the panic's words.
#[derive(Debug)]
pub struct ComputePanicked(pub String);
