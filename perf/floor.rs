//! The floor: the least that a broker on one core can do for a flushed produce request, to see how far Tidemill is from it.
//!
//! One glommio loop receives, checks the CRC, copies once into an aligned buffer, writes it with O_DIRECT and O_DSYNC into
//! a ring in group commits (one in flight, the next one filling) and answers Produce v9 with success. No topics, no
//! offsets, no recovery, no limits: it is driven by `load produce` and serves nothing else. With `--segments` it also
//! writes every batch once more, to files in the background as a broker with a journal does: the same for that design.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use clap::Parser;
use futures_lite::AsyncReadExt;
use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use glommio::net::TcpStream;
use glommio::{LocalExecutorBuilder, Placement};

#[derive(Parser)]
struct Options {
    #[arg(long, default_value = "127.0.0.1:9092")]
    listen: String,
    #[arg(long, default_value = "floor.ring")]
    ring: PathBuf,
    #[arg(long, default_value_t = 256)]
    ring_mb: u64,
    /// Write the batches to segments as well, in this folder.
    #[arg(long)]
    segments: Option<PathBuf>,
    #[arg(long, default_value_t = 0)]
    core: usize,
}

/// The largest single write, and the fastest (shared with the broker's journal).
const PIECE_BYTES: usize = 256 * 1024;
const COMMIT_BYTES: usize = 4 * 1024 * 1024;
const BLOCK_BYTES: usize = 4096;
/// Segments: as large as in perf/compare, as many are kept; synced after so much; in memory before they are written.
const SEGMENT_BYTES: u64 = 256 << 20;
const SEGMENTS_KEPT: u64 = 4;
const SYNC_BYTES: u64 = 16 << 20;
const DIRTY_BYTES: usize = 64 << 20;
const SEGMENT_WRITES: usize = 2;
/// What a journal would write beside a batch.
const FRAME_BYTES: usize = 64;

/// A reply that waits for its commit.
struct Waiting {
    replies: Rc<std::net::TcpStream>,
    bytes: Vec<u8>,
}

/// What arrives while a commit is in flight.
struct Filling {
    pieces: Vec<DmaBuffer>,
    used: usize,
    waiting: Vec<Waiting>,
}

/// What goes to the segments, in whole pieces.
#[derive(Default)]
struct Dirty {
    filling: Option<DmaBuffer>,
    used: usize,
    full: VecDeque<DmaBuffer>,
    /// The task that writes them, when there was nothing to write.
    idle: Option<Waker>,
}

struct Journal {
    filling: RefCell<Filling>,
    dirty: Option<RefCell<Dirty>>,
    /// The commit task, when there was nothing to commit.
    idle: RefCell<Option<Waker>>,
    /// Connections that found no room.
    full: RefCell<Vec<Waker>>,
    file: DmaFile,
}

impl Journal {
    fn fresh(&self) -> Filling {
        Filling {
            pieces: Vec::new(),
            used: 0,
            waiting: Vec::new(),
        }
    }

    /// The one copy. False when the batch does not fit any more.
    fn append(&self, batch: &[u8], waiting: &mut Option<Waiting>) -> bool {
        let mut filling = self.filling.borrow_mut();
        let bytes = FRAME_BYTES + batch.len();
        if filling.used + bytes > COMMIT_BYTES {
            return false;
        }
        if let Some(dirty) = &self.dirty
            && !self.append_to_segment(&mut dirty.borrow_mut(), batch)
        {
            return false;
        }
        let header = [0u8; FRAME_BYTES];
        for mut source in [&header[..], batch] {
            while !source.is_empty() {
                let at = filling.used % PIECE_BYTES;
                if filling.used / PIECE_BYTES == filling.pieces.len() {
                    filling.pieces.push(self.file.alloc_dma_buffer(PIECE_BYTES));
                }
                let piece = filling.pieces.last_mut().expect("just pushed").as_bytes_mut();
                let n = source.len().min(PIECE_BYTES - at);
                piece[at..at + n].copy_from_slice(&source[..n]);
                filling.used += n;
                source = &source[n..];
            }
        }
        filling.waiting.extend(waiting.take());
        if let Some(waker) = self.idle.borrow_mut().take() {
            waker.wake();
        }
        true
    }

    /// The other copy. False when too much is to be written already.
    fn append_to_segment(&self, dirty: &mut Dirty, mut batch: &[u8]) -> bool {
        if dirty.full.len() * PIECE_BYTES >= DIRTY_BYTES {
            return false;
        }
        while !batch.is_empty() {
            let at = dirty.used;
            let piece = dirty
                .filling
                .get_or_insert_with(|| self.file.alloc_dma_buffer(PIECE_BYTES));
            let n = batch.len().min(PIECE_BYTES - at);
            piece.as_bytes_mut()[at..at + n].copy_from_slice(&batch[..n]);
            dirty.used += n;
            batch = &batch[n..];
            if dirty.used == PIECE_BYTES {
                dirty.used = 0;
                let piece = dirty.filling.take().expect("it was filled");
                dirty.full.push_back(piece);
                dirty.idle.take().into_iter().for_each(Waker::wake);
            }
        }
        true
    }

    async fn dirty_pieces(&self, dirty: &RefCell<Dirty>) -> Vec<DmaBuffer> {
        let pieces = poll_fn(|context| {
            let mut dirty = dirty.borrow_mut();
            if dirty.full.is_empty() {
                dirty.idle = Some(context.waker().clone());
                return Poll::Pending;
            }
            let many = dirty.full.len().min(SEGMENT_WRITES);
            Poll::Ready(dirty.full.drain(..many).collect())
        })
        .await;
        self.full.borrow_mut().drain(..).for_each(Waker::wake);
        pieces
    }

    async fn room(&self) {
        let mut waited = false;
        poll_fn(|context| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            self.full.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    async fn next_commit(&self) -> Filling {
        poll_fn(|context| {
            if self.filling.borrow().used == 0 {
                *self.idle.borrow_mut() = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        let commit = self.filling.replace(self.fresh());
        self.full.borrow_mut().drain(..).for_each(Waker::wake);
        commit
    }
}

fn main() {
    let options = Options::parse();
    LocalExecutorBuilder::new(Placement::Fixed(options.core))
        .io_memory(16 << 20)
        .ring_depth(512)
        .preempt_timer(Duration::from_millis(1))
        .spawn(move || serve(options))
        .expect("io_uring")
        .join()
        .expect("the loop does not panic");
}

async fn serve(options: Options) {
    let ring_bytes = options.ring_mb << 20;
    let journal = Rc::new(Journal {
        filling: RefCell::new(Filling {
            pieces: Vec::new(),
            used: 0,
            waiting: Vec::new(),
        }),
        dirty: options.segments.is_some().then(RefCell::default),
        idle: RefCell::default(),
        full: RefCell::default(),
        file: open_ring(&options.ring, ring_bytes).await,
    });
    if let Some(folder) = options.segments {
        glommio::spawn_local(segments(journal.clone(), folder)).detach();
    }
    let listener = TcpListener::bind(&options.listen).expect("the port is free");
    listener.set_nonblocking(true).expect("a listening socket");
    glommio::spawn_local(commits(journal.clone(), ring_bytes)).detach();
    println!("ready {}", listener.local_addr().expect("bound"));
    loop {
        match listener.accept() {
            Ok((stream, _)) => glommio::spawn_local(connection(stream, journal.clone())).detach(),
            // Connections come at the start only; asking now and then costs nothing that would be measured.
            Err(_) => {
                glommio::timer::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
    }
}

/// Overwriting blocks that were written before changes no metadata, so that a flush is the data alone.
async fn open_ring(path: &PathBuf, bytes: u64) -> DmaFile {
    let chunk = vec![0xA5u8; 1 << 20];
    let mut plain = std::fs::File::create(path).expect("the ring's folder exists");
    for _ in 0..bytes >> 20 {
        plain.write_all(&chunk).expect("room for the ring");
    }
    plain.sync_all().expect("the ring can be flushed");
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DSYNC)
        .dma_open(path)
        .await
        .expect("direct I/O")
}

async fn commits(journal: Rc<Journal>, ring_bytes: u64) {
    let journal_file = Rc::new(journal.file.dup().expect("a descriptor"));
    let mut position = 0;
    loop {
        let commit = journal.next_commit().await;
        let bytes = commit.used.next_multiple_of(BLOCK_BYTES);
        if position + bytes as u64 > ring_bytes {
            position = 0;
        }
        let writes: Vec<_> = commit
            .pieces
            .into_iter()
            .enumerate()
            .map(|(index, mut piece)| {
                let start = index * PIECE_BYTES;
                piece.trim_to_size(PIECE_BYTES.min(bytes - start));
                let (file, at) = (journal_file.clone(), position + start as u64);
                glommio::spawn_local(async move { file.write_at(piece, at).await })
            })
            .collect();
        for write in writes {
            write.await.expect("the ring can be written");
        }
        position += bytes as u64;
        answer(commit.waiting);
    }
}

/// Writes what is dirty, piece after piece: space reserved, the size set ahead, flushed now and then, old files removed.
async fn segments(journal: Rc<Journal>, folder: PathBuf) {
    let dirty = journal.dirty.as_ref().expect("there are segments");
    let path = |number: u64| folder.join(format!("{number:020}.log"));
    for number in 0.. {
        let file = DmaFile::create(path(number)).await.expect("a new segment");
        let reserved = file.pre_allocate(SEGMENT_BYTES, true).await;
        reserved.expect("room for a segment");
        let file = Rc::new(file);
        let (mut position, mut size, mut synced) = (0, 0, 0);
        while position < SEGMENT_BYTES {
            let pieces = journal.dirty_pieces(dirty).await;
            if position + (PIECE_BYTES * SEGMENT_WRITES) as u64 > size {
                size += SYNC_BYTES;
                file.truncate(size).await.expect("a size");
            }
            let mut writes = Vec::new();
            for piece in pieces {
                let (file, at) = (file.clone(), position);
                position += PIECE_BYTES as u64;
                writes.push(glommio::spawn_local(async move { file.write_at(piece, at).await }));
            }
            for write in writes {
                write.await.expect("a segment can be written");
            }
            if position - synced >= SYNC_BYTES {
                file.fdatasync().await.expect("a segment can be flushed");
                synced = position;
            }
        }
        if number >= SEGMENTS_KEPT {
            let old = path(number - SEGMENTS_KEPT);
            glommio::executor()
                .spawn_blocking(move || std::fs::remove_file(old))
                .await
                .expect("it was there");
        }
    }
}

/// All replies of a commit, one send per connection.
fn answer(mut waiting: Vec<Waiting>) {
    waiting.sort_by_key(|w| Rc::as_ptr(&w.replies));
    for group in waiting.chunk_by(|a, b| Rc::ptr_eq(&a.replies, &b.replies)) {
        let bytes: Vec<u8> = group.iter().flat_map(|w| &w.bytes).copied().collect();
        // Replies are a few bytes; a client that lets its socket fill with them is gone.
        let _ = (&*group[0].replies).write(&bytes);
    }
}

async fn connection(stream: std::net::TcpStream, journal: Rc<Journal>) {
    stream.set_nodelay(true).expect("a connected socket");
    stream.set_nonblocking(true).expect("a connected socket");
    let replies = Rc::new(stream.try_clone().expect("a descriptor"));
    let mut stream = TcpStream::from(socket2::Socket::from(stream));
    let mut buffer = vec![0u8; 2 * 1024 * 1024];
    let (mut start, mut end) = (0, 0);
    loop {
        while let Some(frame) = whole_frame(&buffer[start..end]) {
            let (batch, reply) = produce(frame).expect("a Produce v9 request with one batch");
            let mut waiting = Some(Waiting {
                replies: replies.clone(),
                bytes: reply,
            });
            start += frame.len();
            while !journal.append(batch, &mut waiting) {
                journal.room().await;
            }
        }
        buffer.copy_within(start..end, 0);
        (start, end) = (0, end - start);
        match stream.read(&mut buffer[end..]).await {
            Ok(0) | Err(_) => return,
            Ok(n) => end += n,
        }
    }
}

fn whole_frame(bytes: &[u8]) -> Option<&[u8]> {
    let prefix = bytes.first_chunk::<4>()?;
    bytes.get(..4 + u32::from_be_bytes(*prefix) as usize)
}

/// The batch of a request, its CRC checked, and the reply.
fn produce(frame: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let correlation = frame.get(8..12)?;
    let client = u16::from_be_bytes(*frame.get(12..)?.first_chunk()?) as usize;
    // Header's tagged fields, transactional id, acks, timeout, topic count; all of fixed length here.
    let topic = frame.get(14 + client + 1 + 1 + 2 + 4 + 1..)?;
    let name = topic.get(..*topic.first()? as usize)?;
    let partition = topic.get(name.len() + 1..)?;
    let mut batch = partition.get(4..)?;
    while batch.first()? & 0x80 != 0 {
        batch = &batch[1..];
    }
    batch = batch.get(1..)?;
    let length = 12 + u32::from_be_bytes(*batch.get(8..)?.first_chunk()?) as usize;
    let batch = batch.get(..length)?;
    let crc = u32::from_be_bytes(*batch.get(17..)?.first_chunk()?);
    if crc != tidemill::record::crc::crc32c(&batch[21..]) {
        return None;
    }
    let mut reply = vec![0; 4];
    reply.extend_from_slice(correlation);
    // Tagged fields, one topic, its name, one partition: index, error, base offset, append time, log start; no record
    // errors, no message, tagged fields three times around the throttle time.
    reply.extend_from_slice(&[0, 2]);
    reply.extend_from_slice(name);
    reply.push(2);
    reply.extend_from_slice(&partition[..4]);
    reply.extend_from_slice(&[0; 2 + 8 + 8 + 8]);
    reply.extend_from_slice(&[1, 0, 0, 0]);
    reply.extend_from_slice(&[0; 4 + 1]);
    let bytes = (reply.len() - 4) as u32;
    reply[..4].copy_from_slice(&bytes.to_be_bytes());
    Some((batch, reply))
}
