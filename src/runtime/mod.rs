//! The only asynchronous part: executors, sockets, disk, queues between shards, clocks, signals.
//!
//! One pinned glommio executor per core drives one [`Shard`](crate::shard::Shard): it gathers events, lets the shard
//! handle them, and performs the effects. Everything that decides is in the shard; everything that waits is here.
//!
//! | File | What it does |
//! |---|---|
//! | `drive`, `reactor` | one shard's loop: gather, handle, perform, sleep; its executor |
//! | `net`, `frame`, `pipeline`, `socket`, `budget` | connections: frames in, replies out, memory and time limits |
//! | `disk`, `lent`, `blocking`, `workers` | disk operations, on the ring or on threads |
//! | `inbox` | queues between shards and from other threads |
//! | `listen`, `accept`, `guests`, `signals`, `folder_lock`, `preflight`, `file_system`, `clock` | the process: listener, stop, data folder, host, time |
//! | `repair` | a start that writes nothing, and the way past what it would refuse |

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use glommio::LocalExecutorBuilder;

use crate::config::{BrokerConfig, Cores};
use crate::shard::effect::COMPUTE_WORKERS;
use crate::shard::format::{self, Format, FormatError};
use crate::shard::survey::{Survey, way_out};
use crate::shard::{ShardConfig, ring_path};
use crate::types::ShardId;

mod accept;
mod blocking;
mod budget;
mod clock;
mod complaints;
mod disk;
mod drive;
mod events;
mod file_system;
mod folder_lock;
mod frame;
mod guests;
mod inbox;
mod lent;
mod listen;
mod net;
mod outbox;
mod pipeline;
mod preflight;
mod reactor;
mod repair;
mod signals;
mod socket;
mod workers;

pub use preflight::{Line, Needs, Verdict, preflight};
pub use repair::repair;

use accept::Acceptor;
use blocking::Folder;
use clock::Clock;
use complaints::Complaints;
use drive::{Report, Seat};
use folder_lock::FolderLock;
use guests::Guests;
use inbox::{Inbox, Mail, lock};
use net::Limits;
use repair::Reader;
use signals::Signals;
use workers::{Workers, caught};

/// Threads per shard for what blocks in the file system.
const DISK_WORKERS: usize = 4;
/// Open segments and other files of a shard, at most.
const FILES_PER_SHARD: u64 = 4096;
/// Descriptors that are neither connections nor segments: rings, folders, standard streams.
const FILES_KEPT: u64 = 128;

/// A second signal this soon is the first one's echo.
const SAME_SIGNAL: Duration = Duration::from_millis(200);
/// Replies of one connection that wait for a slow reader; beyond this, its requests are not read.
const OUTGOING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the runtime knows and a shard's configuration needs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub id: ShardId,
    pub shards: u16,
    /// Where the broker listens, with the port that the system chose. Nowhere when it only seals.
    pub address: SocketAddr,
    /// For this shard's random numbers.
    pub seed: u64,
    /// Recover, write everything to its segments, and stop.
    pub only_seal: bool,
    /// The last stop was clean.
    pub was_clean: bool,
    /// Go on without what is damaged.
    pub accepts_loss: bool,
}

/// A broker that runs.
pub struct Broker {
    address: SocketAddr,
    cores: Vec<usize>,
    inboxes: Arc<[Inbox]>,
    reports: Receiver<Report>,
    guests: Arc<Guests>,
    complaints: Arc<Complaints>,
    listener: Option<listen::Bound>,
    acceptor: Arc<Mutex<Option<Acceptor>>>,
    running: usize,
    /// Of the shards that have stopped, each wrote everything to its place.
    is_clean: bool,
    /// Until the process ends, or whoever sealed the folder passes it on.
    lock: FolderLock,
}

/// Runs a broker until it is told to stop; its exit code.
pub fn run(config: &BrokerConfig, shard_config: impl Fn(Place) -> ShardConfig) -> ExitCode {
    match try_run(config, shard_config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(config: &BrokerConfig, shard_config: impl Fn(Place) -> ShardConfig) -> Result<(), String> {
    // Before any thread starts, so that all inherit it.
    let signals = Signals::take().map_err(|error| format!("cannot take signals: {error}"))?;
    let mut broker = start(config, shard_config)?;
    let stopper = broker.stopper();
    let wait = move || {
        let first = signals.wait();
        tracing::info!("stopping on signal {first}; a second one stops at once");
        stopper.stop();
        let told = Instant::now();
        let mut second = signals.wait();
        // timeout(1) and some supervisors tell the process and then its group: that is one wish.
        while told.elapsed() < SAME_SIGNAL {
            second = signals.wait();
        }
        tracing::warn!("stopped at once on signal {second}");
        std::process::exit(128 + second);
    };
    let thread = std::thread::Builder::new().name("signals".into()).spawn(wait);
    thread.map_err(|error| format!("cannot start: {error}"))?;
    if let Some(ready) = broker.wait_ready()? {
        tracing::info!("{ready}, data in {}", config.data_dir());
    }
    broker.wait_stopped()?;
    broker.complaints.end();
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
        let (address, cores) = (self.address, &self.cores);
        match cores[..] {
            [core] => write!(f, "ready on {address}: 1 shard on core {core}, buffers {registered}"),
            _ => write!(
                f,
                "ready on {address}: {} shards on cores {cores:?}, buffers {registered}",
                cores.len()
            ),
        }
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

/// The cores that get a shard each.
pub fn cores(wanted: &Cores) -> Result<Vec<usize>, String> {
    let allowed: Vec<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .iter()
        .map(|core| core.id)
        .collect();
    match wanted {
        Cores::Auto if allowed.is_empty() => {
            Err("the system does not say on which cores this process may run; name them with --cores".into())
        }
        Cores::Auto => Ok(allowed),
        Cores::List(cores) => match cores.iter().find(|core| !allowed.contains(core)) {
            Some(core) => Err(format!(
                "this process may not run on core {core}, only on {allowed:?}; choose among these with --cores"
            )),
            None => Ok(cores.clone()),
        },
    }
}

/// What [`run`] would fail on, in the order in which a start meets it. Nothing is made or changed.
pub fn check(config: &BrokerConfig) -> Vec<Line> {
    let line = |what, found: Result<String, String>| Line {
        what,
        verdict: found.map_or_else(Verdict::Refuse, Verdict::Ok),
    };
    let cores = match cores(&config.cores) {
        Ok(cores) => cores,
        Err(todo) => return vec![line("cores", Err(todo))],
    };
    let mut lines = vec![line("cores", Ok(format!("{cores:?}, one shard on each")))];
    lines.extend(preflight(&Needs::of(config, cores.len() as u16)));
    let folder = Path::new(config.data_dir());
    let free = folder_lock::look(folder).and_then(|()| repair::look(folder));
    lines.push(line(
        "data folder",
        free.map(|()| format!("{} is used by no other process", folder.display())),
    ));
    let listens = listen::bind(config).and_then(listen::Bound::listen);
    lines.push(line("port", listens.map(|_| format!("{} is free", config.listeners))));
    lines
}

/// `1 shard`, `2 shards`.
fn counted(shards: u16) -> String {
    match shards {
        1 => "1 shard".into(),
        _ => format!("{shards} shards"),
    }
}

/// Starts the shards. `shard_config` is called once for each, on this thread.
///
/// Journals that another number of shards has written are replayed, written out and retired first.
pub fn start(config: &BrokerConfig, shard_config: impl Fn(Place) -> ShardConfig) -> Result<Broker, String> {
    let cores = cores(&config.cores)?;
    let folder = Path::new(config.data_dir());
    // The folder stays locked from the first shard that seals to the last one that serves: between the two, another process
    // would append to journals that are being removed.
    let mut lock = None;
    if let Some(format @ Format { shards, .. }) = folder_format(folder)?
        && usize::from(shards) != cores.len()
    {
        tracing::info!(
            "the journals of {} are retired, there are {} now",
            counted(shards),
            cores.len()
        );
        let held = seal(config, false, &shard_config)?;
        retire(folder, format, cores.len() as u16, &held)
            .map_err(|error| format!("cannot retire the journals of {}: {error}", counted(shards)))?;
        lock = Some(held);
    }
    start_on(config, cores, Purpose::Serve, shard_config, lock)
}

/// What a start is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Serve,
    /// Everything is written to its segments.
    Seal {
        accepts_loss: bool,
    },
}

/// Recovers a folder that nobody serves, with the shards that wrote it, and writes every record to its segment. Nobody else may
/// touch the folder for as long as the caller keeps what it is given.
pub fn seal(
    config: &BrokerConfig,
    accepts_loss: bool,
    shard_config: &impl Fn(Place) -> ShardConfig,
) -> Result<FolderLock, String> {
    let folder = Path::new(config.data_dir());
    let cores = cores(&config.cores)?;
    let shards = match folder_format(folder)? {
        Some(Format { shards, .. }) => shards,
        // A folder of Kafka's.
        None if accepts_loss => cores.len() as u16,
        None => return Err(format!("{} is not a data folder of Tidemill", folder.display())),
    };
    let places = (0..usize::from(shards))
        .map(|shard| cores[shard % cores.len()])
        .collect();
    let mut broker = start_on(config, places, Purpose::Seal { accepts_loss }, shard_config, None)?;
    broker.wait_stopped()?;
    match folder.join(format::CLEAN_SHUTDOWN).exists() {
        true => Ok(broker.lock),
        false => Err(format!(
            "{}: not everything could be written out, see the lines above",
            folder.display()
        )),
    }
}

/// Who wrote the folder's journals; `None` for a folder that is not there or not formatted yet.
fn folder_format(folder: &Path) -> Result<Option<Format>, String> {
    match std::fs::read(folder.join(format::FILE)) {
        Ok(content) => match format::decode(&content) {
            Ok(format) => Ok(Some(format)),
            Err(error @ FormatError::Newer { .. }) => Err(error.to_string()),
            Err(error) => {
                let dir = folder.display().to_string();
                Err(format!("{dir}: {error}. {}", way_out(&dir)))
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(folder_lock::cannot_read(folder, format::FILE, &error)),
    }
}

/// The journals are empty after a clean stop: the next start makes new ones, as many as it has shards.
///
/// The file that names their number says first that they may be missing, and names the new number last, when they are gone for
/// certain. A crash before that leaves a folder of the old number, which makes the journals that it lacks.
fn retire(folder: &Path, format: Format, shards: u16, _: &FolderLock) -> std::io::Result<()> {
    for step in retirement(format, shards) {
        match step {
            Retire::Format(format) => {
                let fresh = folder.join(format!("{}.tmp", format::FILE));
                let mut file = blocking::create(&fresh)?;
                file.write_all(&format::encode(format))?;
                file.sync_all()?;
                std::fs::rename(fresh, folder.join(format::FILE))?;
            }
            Retire::Rings(rings) => {
                for ring in rings {
                    match std::fs::remove_file(folder.join(ring)) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
            }
        }
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

enum Retire {
    Format(Format),
    Rings(Vec<String>),
}

/// What is done and then synced, in the order in which it must be.
fn retirement(format: Format, shards: u16) -> [Retire; 3] {
    let may_lack_journals = Format {
        has_journals: false,
        ..format
    };
    let rings = (0..format.shards).map(ShardId).map(ring_path);
    [
        Retire::Format(may_lack_journals),
        Retire::Rings(rings.collect()),
        Retire::Format(Format {
            shards,
            ..may_lack_journals
        }),
    ]
}

fn start_on(
    config: &BrokerConfig,
    cores: Vec<usize>,
    purpose: Purpose,
    shard_config: impl Fn(Place) -> ShardConfig,
    lock: Option<FolderLock>,
) -> Result<Broker, String> {
    let (only_seal, accepts_loss) = match purpose {
        Purpose::Serve => (false, false),
        Purpose::Seal { accepts_loss } => (true, accepts_loss),
    };
    let shards = u16::try_from(cores.len()).map_err(|_| "too many cores".to_string())?;
    let mut refusals = Vec::new();
    for line in preflight(&Needs::of(config, shards)) {
        match line.verdict {
            Verdict::Ok(_) => {}
            Verdict::Advise(todo) => tracing::warn!("{}: {todo}", line.what),
            Verdict::Refuse(todo) => refusals.push(format!("{}: {todo}", line.what)),
        }
    }
    if !refusals.is_empty() {
        return Err(refusals.join("; "));
    }
    blocking::set_umask(config.umask);
    let root = std::path::absolute(config.data_dir()).map_err(|error| format!("{}: {error}", config.data_dir()))?;
    let lock = match lock {
        Some(held) => held,
        None => folder_lock::take(&root)?,
    };
    let system = |error: std::io::Error| format!("cannot start: {error}");
    let folder = Arc::new(Folder::open(&root).map_err(system)?);
    let survey = Survey::of(&mut Reader(&folder))?;
    if let Some(refusal) = survey.refusal(&root.to_string_lossy()) {
        return Err(refusal);
    }
    // Who only seals serves nobody.
    let listener = if only_seal { None } else { Some(listen::bind(config)?) };
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let address = listener
        .as_ref()
        .map_or(Ok(nowhere), listen::Bound::address)
        .map_err(system)?;

    let files = preflight::raise_files().saturating_sub(FILES_KEPT);
    let segment_files = (files / 2).min(FILES_PER_SHARD * u64::from(shards));
    let connections_max = config.max_connections.min((files - segment_files) as usize);
    let guests = Arc::new(Guests::new(cores.len(), connections_max, config.max_connections_per_ip));
    let complaints = Arc::new(Complaints::default());
    let clock = Clock::start();
    let limits = config.limits(shards);
    let inboxes: Arc<[Inbox]> = (0..shards).map(|_| Inbox::new(shards)).collect();
    let (report, reports) = channel();
    let removers = Arc::new(Workers::start_detached("remove").map_err(system)?);
    let large_jobs = Arc::new(Workers::start("compute-large", 1).map_err(system)?);
    for (id, &core) in (0..shards).map(ShardId).zip(&cores) {
        let seat = Seat {
            config: shard_config(Place {
                id,
                shards,
                address,
                seed: seed(),
                only_seal,
                was_clean: survey.is_clean,
                accepts_loss,
            }),
            clock,
            limits: Limits {
                frame_bytes_max: config.socket_request_max_bytes,
                outgoing_bytes_max: OUTGOING_BYTES_MAX,
                unsent_bytes_max: limits.unsent_bytes,
                request_memory_bytes: limits.request_bytes,
                waiting_bytes_max: limits.waiting_bytes,
                idle_us: (config.connections_max_idle_ms.max(0) as u64).saturating_mul(1000),
                stall_us: (config.frame_timeout_ms.max(0) as u64).saturating_mul(1000),
            },
            folder: folder.clone(),
            removers: removers.clone(),
            disk_workers: Arc::new(Workers::start("disk", DISK_WORKERS).map_err(system)?),
            compute_workers: Arc::new(Workers::start("compute", COMPUTE_WORKERS).map_err(system)?),
            large_jobs: large_jobs.clone(),
            open_files_max: (segment_files / u64::from(shards)) as usize,
            inboxes: inboxes.clone(),
            guests: guests.clone(),
            complaints: complaints.clone(),
            reports: report.clone(),
        };
        // What spinning is for, messages of other shards, a single shard never gets; sockets and the disk may wake it.
        let spin_us = if shards > 1 { config.spin_us } else { 0 };
        let executor = reactor::executor(core, spin_us, preflight::io_memory_bytes(shards));
        let thread = std::thread::Builder::new().name(format!("shard-{}", id.0));
        thread.spawn(move || run_shard(executor, seat)).map_err(system)?;
    }
    Ok(Broker {
        running: cores.len(),
        is_clean: true,
        cores,
        address,
        guests,
        complaints,
        inboxes,
        reports,
        listener,
        acceptor: Arc::default(),
        lock,
    })
}

/// A shard's thread. The others cannot go on without it, so its panic ends the process.
fn run_shard(executor: LocalExecutorBuilder, seat: Seat) {
    let (id, reports) = (seat.config.id, seat.reports.clone());
    let trouble = match caught(move || executor.make().map(|executor| executor.run(drive::drive(seat)))) {
        Ok(Ok(())) => return,
        Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOMEM) => {
            format!("cannot start shard {}: {}", id.0, preflight::NO_LOCKABLE_MEMORY)
        }
        Ok(Err(error)) => format!("cannot start shard {}: {error}", id.0),
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
                Report::Stopped { is_clean } => {
                    self.one_stopped(is_clean);
                    return Ok(None);
                }
                Report::Fatal(message) => return Err(message),
            }
        }
        let Some(listener) = self.listener.take() else {
            return Err("the broker was already waited for".into());
        };
        let acceptor = Acceptor::start(
            listener.listen()?,
            self.inboxes.clone(),
            self.guests.clone(),
            self.complaints.clone(),
        );
        *lock(&self.acceptor) = Some(acceptor.map_err(|error| format!("cannot start accepting: {error}"))?);
        Ok(Some(Ready {
            address: self.address,
            cores: self.cores.clone(),
            buffers_registered: all_registered,
        }))
    }

    /// Waits until every shard has stopped; an error when a record is not in its place by then.
    pub fn wait_stopped(&mut self) -> Result<(), String> {
        while self.running > 0 {
            match self.next_report()? {
                Report::Ready { .. } => {}
                Report::Stopped { is_clean } => self.one_stopped(is_clean),
                Report::Fatal(message) => return Err(message),
            }
        }
        match self.is_clean {
            true => Ok(()),
            false => Err(
                "stopped, but not cleanly: not everything could be written to its place, see the lines above. What is \
                          missing there is in the journals, or beside them, and the next start reads it"
                    .into(),
            ),
        }
    }

    fn one_stopped(&mut self, is_clean: bool) {
        self.running -= 1;
        self.is_clean &= is_clean;
    }

    fn next_report(&self) -> Result<Report, String> {
        self.reports
            .recv()
            .map_err(|_| "every shard ended without a word".to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Format = Format {
        shards: 2,
        has_journals: true,
        has_metadata: true,
    };

    #[test]
    fn journals_are_retired_before_the_file_that_names_their_number() {
        let [first, rings, last] = retirement(OLD, 3);
        let none = Format {
            has_journals: false,
            ..OLD
        };
        // Whenever it is cut off, journals that are still there have their number beside them.
        assert!(matches!(first, Retire::Format(format) if format == none));
        assert!(matches!(rings, Retire::Rings(rings) if rings == [ring_path(ShardId(0)), ring_path(ShardId(1))]));
        assert!(matches!(last, Retire::Format(format) if format == Format { shards: 3, ..none }));
    }

    #[test]
    fn retiring_goes_on_where_a_crash_cut_it_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path(&ring_path(ShardId(1))), "").unwrap();
        std::fs::write(path(format::FILE), "").unwrap();
        std::fs::write(path("other"), "").unwrap();
        let lock = folder_lock::take(folder.path()).unwrap();
        retire(folder.path(), OLD, 3, &lock).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, [folder_lock::LOCK_FILE, "other", format::FILE]);
        assert_eq!(
            folder_format(folder.path()).unwrap().map(|format| format.shards),
            Some(3)
        );
    }
}
