//! The only asynchronous part: executors, sockets, disk, queues between shards, clocks, signals.
//!
//! One pinned glommio executor per core drives one [`Shard`](crate::shard::Shard): it gathers events, lets the shard
//! handle them, and performs the effects. Everything that decides is in the shard; everything that waits is here.
//!
//! | File | What it does |
//! |---|---|
//! | `drive` | one shard's loop: gather, handle, perform, sleep |
//! | `net`, `frame`, `socket`, `budget` | connections: frames in, replies out, memory and time limits |
//! | `disk`, `blocking`, `workers` | disk operations, on the ring or on threads |
//! | `inbox` | queues between shards and from other threads |
//! | `accept`, `signals`, `folder_lock`, `preflight`, `clock` | the process: listener, stop, data folder, host, time |

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};

use crate::shard::ShardConfig;
use crate::types::ShardId;

mod accept;
mod blocking;
mod budget;
mod clock;
mod disk;
mod drive;
mod events;
mod folder_lock;
mod frame;
mod inbox;
mod net;
mod preflight;
mod signals;
mod socket;
mod workers;

pub use preflight::{Line, Needs, Verdict, preflight};

use accept::{Acceptor, Door};
use blocking::Folder;
use clock::Clock;
use drive::{Report, Seat};
use folder_lock::FolderLock;
use inbox::{Inbox, Mail, lock};
use net::Limits;
use signals::Signals;
use workers::{Workers, caught};

/// Submission queue entries of a shard's rings. The kernel is entered once per round, with all that a round wants.
const RING_DEPTH: usize = 512;
/// A shard that computes without a pause looks at its sockets and disks this often.
const PREEMPT: Duration = Duration::from_micros(250);
/// Threads per shard for what blocks in the file system, and for long computations.
const DISK_WORKERS: usize = 4;
const COMPUTE_WORKERS: usize = 1;
/// Descriptors that are neither connections nor segments: rings, folders, standard streams.
const FILES_KEPT: u64 = 128;

/// How a broker runs on its host.
#[derive(Clone, Debug)]
pub struct Options {
    pub data_dir: PathBuf,
    /// `host:port`; port 0 lets the system choose.
    pub listen: String,
    /// One shard for each; empty for every core that this process may use.
    pub cores: Vec<usize>,
    /// `socket.request.max.bytes`
    pub frame_bytes_max: usize,
    /// Requests of one shard that were read and are not answered.
    pub request_memory_bytes: usize,
    /// Replies of one connection that wait for a slow reader; beyond it, its requests are not read.
    pub outgoing_bytes_max: usize,
    /// `connections.max.idle.ms`
    pub idle_ms: u64,
    /// A request that has begun and is not complete after this time ends its connection.
    pub stall_ms: u64,
    /// `max.connections`
    pub connections_max: usize,
    /// Free bytes that a start needs.
    pub free_bytes: u64,
}

/// What the runtime knows and a shard's configuration needs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub id: ShardId,
    pub shards: u16,
    /// Where the broker listens, with the port that the system chose.
    pub address: SocketAddr,
    /// For this shard's random numbers.
    pub seed: u64,
}

/// A broker that runs.
pub struct Broker {
    address: SocketAddr,
    cores: Vec<usize>,
    inboxes: Arc<[Inbox]>,
    reports: Receiver<Report>,
    listening: Option<(std::net::TcpListener, Vec<Door>, usize)>,
    acceptor: Arc<Mutex<Option<Acceptor>>>,
    running: usize,
    _lock: FolderLock,
}

/// Runs a broker until it is told to stop; its exit code.
pub fn run(options: &Options, config: impl Fn(Place) -> ShardConfig) -> ExitCode {
    match try_run(options, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(options: &Options, config: impl Fn(Place) -> ShardConfig) -> Result<(), String> {
    // Before any thread starts, so that all inherit it.
    let signals = Signals::take().map_err(|error| format!("cannot take signals: {error}"))?;
    let mut broker = start(options, config)?;
    let stopper = broker.stopper();
    let wait = move || {
        let first = signals.wait();
        tracing::info!("stopping on signal {first}; a second one stops at once");
        stopper.stop();
        let second = signals.wait();
        tracing::warn!("stopped at once on signal {second}");
        std::process::exit(128 + second);
    };
    let thread = std::thread::Builder::new().name("signals".into()).spawn(wait);
    thread.map_err(|error| format!("cannot start: {error}"))?;
    if let Some(ready) = broker.wait_ready()? {
        tracing::info!("{ready}, data in {}", options.data_dir.display());
    }
    broker.wait_stopped()?;
    tracing::info!("stopped cleanly");
    Ok(())
}

/// What the ready line says.
#[derive(Clone, Debug)]
pub struct Ready {
    pub address: SocketAddr,
    pub cores: Vec<usize>,
    pub buffers_registered: bool,
}

impl std::fmt::Display for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let registered = if self.buffers_registered {
            "registered"
        } else {
            "not registered (see `tidemill check`)"
        };
        let (address, shards, cores) = (self.address, self.cores.len(), &self.cores);
        write!(
            f,
            "ready on {address}: {shards} shards on cores {cores:?}, buffers {registered}"
        )
    }
}

/// Asks a broker to stop; may be sent to other threads.
#[derive(Clone)]
pub struct Stopper {
    inboxes: Arc<[Inbox]>,
    acceptor: Arc<Mutex<Option<Acceptor>>>,
}

impl Stopper {
    /// The shards answer what is in flight, write everything to its place, and end.
    pub fn stop(&self) {
        drop(lock(&self.acceptor).take());
        for inbox in &*self.inboxes {
            inbox.post(Mail::Stop);
        }
    }
}

/// The cores to run on, from a list that may be empty.
pub fn cores(wanted: &[usize]) -> Result<Vec<usize>, String> {
    let allowed: Vec<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .iter()
        .map(|core| core.id)
        .collect();
    if wanted.is_empty() {
        let all = if allowed.is_empty() { vec![0] } else { allowed };
        return Ok(all.into_iter().take(usize::from(u16::MAX)).collect());
    }
    for (i, core) in wanted.iter().enumerate() {
        if !allowed.contains(core) {
            return Err(format!(
                "core {core} is not among those that this process may use ({allowed:?}); choose others with --cores"
            ));
        }
        if wanted[..i].contains(core) {
            return Err(format!("core {core} is named twice in --cores"));
        }
    }
    Ok(wanted.to_vec())
}

/// Starts the shards. `config` is called once for each, on this thread.
pub fn start(options: &Options, config: impl Fn(Place) -> ShardConfig) -> Result<Broker, String> {
    let cores = cores(&options.cores)?;
    let shards = cores.len() as u16;
    let needs = Needs {
        data_dir: options.data_dir.clone(),
        shards,
        free_bytes: options.free_bytes,
    };
    for line in preflight(&needs) {
        match line.verdict {
            Verdict::Ok(_) => {}
            Verdict::Advise(todo) => tracing::warn!("{}: {todo}", line.what),
            Verdict::Refuse(todo) => return Err(format!("{}: {todo}", line.what)),
        }
    }
    let folder_lock = folder_lock::take(&options.data_dir)?;
    let listener = accept::bind(&options.listen)?;
    let system = |error: std::io::Error| format!("cannot start: {error}");
    let address = listener.local_addr().map_err(system)?;
    let root = std::path::absolute(&options.data_dir).map_err(system)?;
    let folder = Arc::new(Folder::open(&root).map_err(system)?);

    let files = preflight::raise_files();
    let segment_files = (files.saturating_sub(FILES_KEPT) / 2).min(4096 * u64::from(shards));
    let connections_max = options
        .connections_max
        .min((files.saturating_sub(FILES_KEPT) - segment_files) as usize);
    let clock = Clock::start();
    let inboxes: Arc<[Inbox]> = (0..shards).map(|_| Inbox::new(shards)).collect();
    let (report, reports) = channel();
    let mut doors = Vec::new();
    for (number, &core) in cores.iter().enumerate() {
        let id = ShardId(number as u16);
        let open = Arc::new(AtomicUsize::new(0));
        doors.push(Door {
            inboxes: inboxes.clone(),
            shard: number,
            open: open.clone(),
        });
        let seat = Seat {
            config: config(Place {
                id,
                shards,
                address,
                seed: seed(),
            }),
            clock,
            limits: Limits {
                frame_bytes_max: options.frame_bytes_max,
                outgoing_bytes_max: options.outgoing_bytes_max,
                request_memory_bytes: options.request_memory_bytes,
                idle_us: options.idle_ms.saturating_mul(1000),
                stall_us: options.stall_ms.saturating_mul(1000),
            },
            folder: folder.clone(),
            disk_workers: Arc::new(Workers::start("disk", DISK_WORKERS).map_err(system)?),
            compute_workers: Arc::new(Workers::start("compute", COMPUTE_WORKERS).map_err(system)?),
            open_files_max: (segment_files / u64::from(shards)) as usize,
            inboxes: inboxes.clone(),
            open,
            reports: report.clone(),
        };
        let thread = std::thread::Builder::new().name(format!("shard-{number}"));
        let io_memory = preflight::io_memory_bytes(shards);
        thread.spawn(move || run_shard(core, io_memory, seat)).map_err(system)?;
    }
    Ok(Broker {
        address,
        running: cores.len(),
        cores,
        inboxes,
        reports,
        listening: Some((listener, doors, connections_max)),
        acceptor: Arc::default(),
        _lock: folder_lock,
    })
}

/// A shard's thread. The others cannot go on without it, so its panic ends the process.
fn run_shard(core: usize, io_memory: usize, seat: Seat) {
    let (id, reports) = (seat.config.id, seat.reports.clone());
    let ran = caught(move || {
        let executor = LocalExecutorBuilder::new(Placement::Fixed(core))
            .io_memory(io_memory)
            .ring_depth(RING_DEPTH)
            .preempt_timer(PREEMPT)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
            .make();
        executor.map(|executor| executor.run(drive::drive(seat)))
    });
    let trouble = match ran {
        Ok(Ok(())) => return,
        Ok(Err(error)) => format!("cannot start shard {} on core {core}: {error}", id.0),
        Err(panic) => format!("shard {} panicked: {panic}", id.0),
    };
    let _ = reports.send(Report::Fatal(trouble));
}

/// A number that differs between starts and between shards.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

impl Broker {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn stopper(&self) -> Stopper {
        Stopper {
            inboxes: self.inboxes.clone(),
            acceptor: self.acceptor.clone(),
        }
    }

    /// Waits until every shard has recovered, and then accepts connections. `None` when it was stopped before.
    pub fn wait_ready(&mut self) -> Result<Option<Ready>, String> {
        let mut all_registered = true;
        let mut ready = 0;
        while ready < self.cores.len() {
            match self.next_report()? {
                Report::Ready { registered } => {
                    ready += 1;
                    all_registered &= registered;
                }
                Report::Stopped => {
                    self.running -= 1;
                    return Ok(None);
                }
                Report::Fatal(message) => return Err(message),
            }
        }
        let Some((listener, doors, connections_max)) = self.listening.take() else {
            return Err("the broker was already waited for".into());
        };
        let acceptor = Acceptor::start(listener, doors, connections_max);
        *lock(&self.acceptor) = Some(acceptor.map_err(|error| format!("cannot start accepting: {error}"))?);
        Ok(Some(Ready {
            address: self.address,
            cores: self.cores.clone(),
            buffers_registered: all_registered,
        }))
    }

    /// Waits until every shard has stopped.
    pub fn wait_stopped(&mut self) -> Result<(), String> {
        while self.running > 0 {
            match self.next_report()? {
                Report::Ready { .. } => {}
                Report::Stopped => self.running -= 1,
                Report::Fatal(message) => return Err(message),
            }
        }
        Ok(())
    }

    fn next_report(&self) -> Result<Report, String> {
        self.reports
            .recv()
            .map_err(|_| "every shard ended without a word".to_string())
    }
}
