//! Disk operations of one shard.
//!
//! Reads, writes, syncs and truncations of files go through glommio's ring, by a fixed pool of tasks: what is in flight
//! is bounded, and no operation is ever dropped half-way. Everything that blocks goes to worker threads
//! ([`blocking`](super::blocking)). Each operation ends in exactly one [`Event::Disk`].
//!
//! Everything is aligned to [`BLOCK_BYTES`], whatever the device says (glommio looks partitions up under the wrong number).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use glommio::GlommioError;
use glommio::io::{DmaFile, OpenOptions};
use hashbrown::HashMap;

use super::blocking::{Folder, disk_error};
use super::events::Events;
use super::inbox::{Inbox, Mail};
use super::lent::Lender;
use super::workers::{Workers, caught};
use crate::shard::effect::{BLOCK_BYTES, DiskError, DiskOp, DiskReply, Event, File, OPERATION_BYTES_MAX};
use crate::types::{FileId, OpId, Position, ShardId};

/// Tasks of each lane. A commit of the usual size has fewer pieces than that, and no read or checkpoint stands before it.
const COMMIT_TASKS: usize = 20;
const READ_TASKS: usize = 16;
const OTHER_TASKS: usize = 16;

type Outcome = Result<DiskReply, DiskError>;

pub(super) struct Disk {
    folder: Arc<Folder>,
    workers: Arc<Workers>,
    removers: Arc<Workers>,
    inboxes: Arc<[Inbox]>,
    id: ShardId,
    events: Rc<Events>,
    files: Files,
    lender: Lender,
    /// What acknowledgements wait for: the journal's writes.
    commits: Lane,
    /// What fetches wait for.
    reads: Lane,
    other: Lane,
}

/// Operations that wait for a task, or tasks that wait for an operation.
#[derive(Default)]
struct Lane {
    queue: RefCell<VecDeque<(OpId, DiskOp)>>,
    idle: RefCell<Vec<Waker>>,
}

impl Lane {
    fn push(&self, op: OpId, what: DiskOp) {
        self.queue.borrow_mut().push_back((op, what));
        if let Some(task) = self.idle.borrow_mut().pop() {
            task.wake();
        }
    }

    async fn next(&self) -> (OpId, DiskOp) {
        poll_fn(|cx| match self.queue.borrow_mut().pop_front() {
            Some(next) => Poll::Ready(next),
            None => {
                self.idle.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

impl Disk {
    pub(super) fn start(
        folder: Arc<Folder>,
        workers: Arc<Workers>,
        removers: Arc<Workers>,
        inboxes: Arc<[Inbox]>,
        id: ShardId,
        events: Rc<Events>,
        open_files_max: usize,
    ) -> Rc<Disk> {
        let disk = Rc::new(Disk {
            files: Files::new(folder.clone(), open_files_max),
            folder,
            workers,
            removers,
            inboxes,
            id,
            events,
            lender: Lender::default(),
            commits: Lane::default(),
            reads: Lane::default(),
            other: Lane::default(),
        });
        disk.clone().serve(COMMIT_TASKS, |disk| &disk.commits);
        disk.clone().serve(READ_TASKS, |disk| &disk.reads);
        disk.clone().serve(OTHER_TASKS, |disk| &disk.other);
        disk
    }

    fn serve(self: Rc<Disk>, tasks: usize, lane: fn(&Disk) -> &Lane) {
        for _ in 0..tasks {
            let disk = self.clone();
            glommio::spawn_local(async move {
                loop {
                    let (op, what) = lane(&disk).next().await;
                    let result = disk.perform(what).await;
                    disk.events.push(Event::Disk { op, result });
                }
            })
            .detach();
        }
    }

    pub(super) fn submit(&self, op: OpId, what: DiskOp) {
        match what {
            DiskOp::Write { durable: true, .. } => self.commits.push(op, what),
            DiskOp::Read { .. } => self.reads.push(op, what),
            DiskOp::Write { durable: false, .. }
            | DiskOp::Sync { .. }
            | DiskOp::Truncate { .. }
            | DiskOp::CheckName { .. } => {
                self.other.push(op, what);
            }
            DiskOp::Close { file } => {
                self.files.forget(file.id);
                self.events.push(Event::Disk {
                    op,
                    result: Ok(DiskReply::Done),
                });
            }
            what => {
                let (folder, inboxes, id) = (self.folder.clone(), self.inboxes.clone(), usize::from(self.id.0));
                let workers = match what {
                    DiskOp::RemoveLargeFile { .. } => &self.removers,
                    _ => &self.workers,
                };
                workers.give(move || {
                    let result = caught(|| folder.perform(&what)).unwrap_or_else(|panic| {
                        Err(DiskError::Io {
                            message: format!("a disk worker panicked: {panic}"),
                        })
                    });
                    inboxes[id].post(Mail::DiskDone { op, result });
                });
            }
        }
    }

    async fn perform(&self, what: DiskOp) -> Outcome {
        match what {
            DiskOp::Write {
                file,
                position,
                slices,
                durable,
            } => self.write(&file, position, &slices, durable).await,
            DiskOp::Read { file, position, len } => self.read(&file, position, len).await,
            DiskOp::Sync { file } => {
                let open = self.files.get(&file, Way::Plain).await?;
                open.fdatasync().await.map_err(|error| failed("sync", &file, error))?;
                Ok(DiskReply::Done)
            }
            DiskOp::Truncate { file, len } => {
                let open = self.files.get(&file, Way::Plain).await?;
                open.truncate(len)
                    .await
                    .map_err(|error| failed("truncate", &file, error))?;
                Ok(DiskReply::Done)
            }
            DiskOp::CheckName { file } => {
                // Whether it can be opened is the answer when no operation holds it open.
                let open = self.files.find(file.id, Way::Durable);
                let open = open.or_else(|| self.files.find(file.id, Way::Plain));
                let path = (self.folder.path(&file.path)).map_err(|error| disk_error("open", &file.path, &error))?;
                let named = DmaFile::open(path).await;
                let named = named.map_err(|error| failed("open", &file, error))?;
                let is_same = open.is_none_or(|open| open.is_same(&named));
                let _ = named.close().await;
                match is_same {
                    true => Ok(DiskReply::Done),
                    false => Err(DiskError::NotFound {
                        path: file.path.to_string(),
                    }),
                }
            }
            // Not submitted to a lane, see `submit`.
            other => self.folder.perform(&other),
        }
    }

    /// Gathers the slices into one aligned buffer, the only copy on a record's way to the device.
    async fn write(&self, file: &File, position: Position, slices: &[Bytes], durable: bool) -> Outcome {
        let len: usize = slices.iter().map(Bytes::len).sum();
        let padded = len.next_multiple_of(BLOCK_BYTES as usize);
        assert!(
            padded <= OPERATION_BYTES_MAX && position.is_multiple_of(BLOCK_BYTES),
            "{}: {len} at {position}",
            file.path
        );
        let open = self
            .files
            .get(file, if durable { Way::Durable } else { Way::Plain })
            .await?;
        let mut written = 0;
        while written < padded {
            let mut buffer = open.alloc_dma_buffer(padded - written);
            gather(slices, written, buffer.as_bytes_mut());
            let more = open.write_at(buffer, position + written as u64).await;
            let more = more.map_err(|error| failed("write", file, error))?;
            // A short write goes on where the last whole block ends; a write of nothing never gets anywhere.
            let whole = more - more % BLOCK_BYTES as usize;
            if whole == 0 {
                let message = format!(
                    "cannot write {}: the system wrote only {more} bytes of a block",
                    file.path
                );
                return Err(DiskError::Io { message });
            }
            written += whole;
        }
        Ok(DiskReply::Done)
    }

    async fn read(&self, file: &File, position: Position, len: usize) -> Outcome {
        let aligned = position.is_multiple_of(BLOCK_BYTES) && len.is_multiple_of(BLOCK_BYTES as usize);
        assert!(
            aligned && len <= OPERATION_BYTES_MAX,
            "{}: {len} at {position}",
            file.path
        );
        if len == 0 {
            return Ok(DiskReply::Bytes(Bytes::new()));
        }
        let open = self.files.get(file, Way::Plain).await?;
        let mut found = Vec::new();
        loop {
            let more = open
                .read_at_aligned(position + found.len() as u64, len - found.len())
                .await;
            let more = more.map_err(|error| failed("read", file, error))?;
            // Less than a whole number of blocks is where the file ends.
            let is_all =
                found.len() + more.len() >= len || more.is_empty() || !more.len().is_multiple_of(BLOCK_BYTES as usize);
            if is_all && found.is_empty() {
                return Ok(DiskReply::Bytes(self.lender.lend(more)));
            }
            found.extend_from_slice(&more);
            if is_all {
                return Ok(DiskReply::Bytes(found.into()));
            }
        }
    }
}

/// Copies the slices' bytes from `skip` on into `buffer`, and zeros behind them.
fn gather(slices: &[Bytes], mut skip: usize, buffer: &mut [u8]) {
    let mut filled = 0;
    for slice in slices {
        if skip >= slice.len() {
            skip -= slice.len();
            continue;
        }
        let slice = &slice[std::mem::take(&mut skip)..];
        buffer[filled..filled + slice.len()].copy_from_slice(slice);
        filled += slice.len();
    }
    buffer[filled..].fill(0);
}

fn failed(verb: &str, file: &File, error: GlommioError<()>) -> DiskError {
    let error = match error.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => error.into(),
    };
    disk_error(verb, &file.path, &error)
}

/// How a file is open: writes through the second way are on the device when they complete.
#[derive(Clone, Copy)]
enum Way {
    Plain,
    Durable,
}

/// Open descriptors, by an id that is never used again, so that a path with a new meaning never meets an old descriptor.
/// A descriptor that an operation uses outlives its entry.
struct Files {
    folder: Arc<Folder>,
    open_max: usize,
    open: RefCell<HashMap<FileId, OpenFile>>,
    /// Rises with each use; the entry with the lowest is the one to close.
    uses: Cell<u64>,
}

struct OpenFile {
    plain: Option<Rc<DmaFile>>,
    durable: Option<Rc<DmaFile>>,
    used: u64,
}

impl Files {
    fn new(folder: Arc<Folder>, open_max: usize) -> Files {
        Files {
            folder,
            // An entry may hold two descriptors.
            open_max: (open_max / 2).max(8),
            open: RefCell::default(),
            uses: Cell::new(0),
        }
    }

    fn find(&self, id: FileId, way: Way) -> Option<Rc<DmaFile>> {
        self.uses.set(self.uses.get() + 1);
        let mut open = self.open.borrow_mut();
        let file = open.get_mut(&id)?;
        file.used = self.uses.get();
        match way {
            Way::Plain => file.plain.clone(),
            Way::Durable => file.durable.clone(),
        }
    }

    async fn get(&self, file: &File, way: Way) -> Result<Rc<DmaFile>, DiskError> {
        if let Some(found) = self.find(file.id, way) {
            return Ok(found);
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        options.custom_flags(match way {
            Way::Plain => libc::O_NOFOLLOW,
            Way::Durable => libc::O_NOFOLLOW | libc::O_DSYNC,
        });
        let path = self
            .folder
            .path(&file.path)
            .map_err(|error| disk_error("open", &file.path, &error))?;
        let opened = options.dma_open(path).await;
        let opened = Rc::new(opened.map_err(|error| failed("open", file, error))?);
        // Somebody else may have opened it meanwhile: then there is one too many, closed when this operation ends.
        let mut open = self.open.borrow_mut();
        if open.len() >= self.open_max && !open.contains_key(&file.id) {
            let oldest = open.iter().min_by_key(|(_, file)| file.used).map(|(id, _)| *id);
            oldest.and_then(|id| open.remove(&id));
        }
        let used = self.uses.get();
        let entry = open.entry(file.id).or_insert(OpenFile {
            plain: None,
            durable: None,
            used,
        });
        match way {
            Way::Plain => entry.plain = Some(opened.clone()),
            Way::Durable => entry.durable = Some(opened.clone()),
        }
        Ok(opened)
    }

    fn forget(&self, id: FileId) {
        self.open.borrow_mut().remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::inbox::Taken;
    use glommio::timer::Timer;
    use glommio::{LocalExecutorBuilder, Placement};
    use std::collections::VecDeque;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    /// A disk on an executor of its own that performs what it is sent, one after the other.
    fn serve(root: std::path::PathBuf, asked: Receiver<DiskOp>, answers: Sender<Outcome>) {
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(1 << 20)
            .make()
            .unwrap();
        executor.run(async move {
            let folder = Arc::new(Folder::open(&root).unwrap());
            let inboxes: Arc<[Inbox]> = [Inbox::new(1)].into();
            let events = Rc::new(Events::default());
            let workers = Arc::new(Workers::start("test", 2).unwrap());
            drop(
                DmaFile::open(root.join(super::super::folder_lock::LOCK_FILE))
                    .await
                    .unwrap(),
            );
            let disk = Disk::start(
                folder,
                workers.clone(),
                workers,
                inboxes.clone(),
                ShardId(0),
                events.clone(),
                16,
            );
            let (mut taken, mut round) = (Taken::default(), VecDeque::new());
            while let Ok(what) = asked.recv() {
                disk.submit(OpId(1), what);
                let result = loop {
                    Timer::new(Duration::from_micros(50)).await;
                    inboxes[0].take(&mut taken);
                    events.swap(&mut round);
                    if let Some(Mail::DiskDone { result, .. }) = taken.mail.pop() {
                        break result;
                    }
                    if let Some(Event::Disk { result, .. }) = round.pop_front() {
                        break result;
                    }
                };
                // What was read is this executor's memory.
                let result = result.map(|reply| match reply {
                    DiskReply::Bytes(bytes) => DiskReply::Bytes(Bytes::copy_from_slice(&bytes)),
                    other => other,
                });
                answers.send(result).unwrap();
            }
        });
    }

    fn on_a_real_disk(root: &std::path::Path, script: impl FnOnce(&mut dyn FnMut(DiskOp) -> Outcome)) {
        let _lock = super::super::folder_lock::take(root).unwrap();
        let (ask, asked) = channel();
        let (answers, answer) = channel();
        let root = root.to_path_buf();
        let thread = std::thread::spawn(move || serve(root, asked, answers));
        script(&mut |what| {
            ask.send(what).unwrap();
            answer.recv().unwrap()
        });
        drop(ask);
        thread.join().unwrap();
    }

    #[test]
    fn the_real_disk_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        on_a_real_disk(folder.path(), |perform| crate::shard::contract::run(perform));
    }

    #[test]
    fn more_files_than_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        on_a_real_disk(folder.path(), |perform| {
            let file = |i: u64| File {
                id: FileId(i),
                path: format!("{i}.log").into(),
            };
            for i in 0..40 {
                perform(DiskOp::Reserve { file: file(i), len: 0 }).unwrap();
                let slices = vec![Bytes::from(vec![i as u8; 4096])];
                perform(DiskOp::Write {
                    file: file(i),
                    position: 0,
                    slices,
                    durable: true,
                })
                .unwrap();
            }
            for i in 0..40 {
                match perform(DiskOp::Read {
                    file: file(i),
                    position: 0,
                    len: 4096,
                }) {
                    Ok(DiskReply::Bytes(bytes)) => assert_eq!(bytes, vec![i as u8; 4096]),
                    other => panic!("{other:?}"),
                }
            }
        });
    }
}
