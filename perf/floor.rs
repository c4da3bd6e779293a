//! The floor: the least that a broker on one core can do for a flushed produce request, to see how far Tidemill is from it.
//!
//! One glommio loop receives, checks the CRC, copies once into an aligned buffer, writes it with O_DIRECT and O_DSYNC into
//! a ring in group commits (one in flight, the next one filling) and answers Produce v9 with success. No topics, no
//! offsets, no recovery, no segments, no limits: it is driven by `load produce` and serves nothing else.

use std::cell::RefCell;
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
    #[arg(long, default_value_t = 0)]
    core: usize,
}

/// The largest single write, and the fastest (shared with the broker's journal).
const PIECE_BYTES: usize = 256 * 1024;
const COMMIT_BYTES: usize = 4 * 1024 * 1024;
const BLOCK_BYTES: usize = 4096;
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

struct Journal {
    filling: RefCell<Filling>,
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
        idle: RefCell::default(),
        full: RefCell::default(),
        file: open_ring(&options.ring, ring_bytes).await,
    });
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
