//! The load generator: the same pre-encoded requests against Tidemill, Apache Kafka or the floor program.
//!
//! A produce request is encoded once per connection; sending it again patches the correlation id and the partition, which
//! no checksum covers. One thread per connection (two when paced) with blocking sockets, all on one core, so that what
//! is measured is the server. Latency in the closed loop runs from handing the request to the socket until its reply is
//! read; in the paced mode from the moment the request was due, so a stalled server cannot hide the requests that it
//! held up (coordinated omission).
//!
//! Prints one line of `key=value` pairs, made for `perf/compare`.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;

#[path = "load/requests.rs"]
mod requests;

use requests::{FetchTemplate, ProduceTemplate, Reply};

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Mode {
    /// Produce as fast as the server answers (or at `--rate`).
    Produce,
    /// Fetch what is in the partitions from the beginning, again and again.
    Fetch,
    /// Create the topic, so that its making is no part of what is measured.
    Create,
    /// Delete the topic.
    Delete,
    /// Open the connections and leave them alone.
    Idle,
}

#[derive(Parser, Clone)]
struct Options {
    mode: Mode,
    #[arg(long, default_value = "127.0.0.1:9092")]
    addr: String,
    #[arg(long, default_value = "load")]
    topic: String,
    #[arg(long, default_value_t = 1)]
    partitions: i32,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 5)]
    depth: usize,
    /// Records in each produce request.
    #[arg(long, default_value_t = 64)]
    records: usize,
    /// Bytes of each record's value.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    #[arg(long, default_value_t = 1)]
    acks: i16,
    /// Requests per second over all connections; without it the loop is closed.
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds that are driven before measuring starts.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Ends after this many MB, whatever `--seconds` says.
    #[arg(long)]
    total_mb: Option<u64>,
    /// Bytes that one fetch may return.
    #[arg(long, default_value_t = 1 << 20)]
    fetch_bytes: i32,
    /// KEY=VALUE of the topic, when it is created.
    #[arg(long)]
    config: Vec<String>,
    /// Pin every thread to this core.
    #[arg(long)]
    core: Option<usize>,
}

/// What one connection measured.
struct Measured {
    latency_us: Histogram<u64>,
    requests: u64,
    /// Record values of the requests that count.
    bytes: u64,
    /// Of all requests, the warm-up's too: what the server's CPU time is divided by.
    bytes_in_all: u64,
    errors: u64,
    first_error: Option<i16>,
}

impl Measured {
    fn new() -> Measured {
        Measured {
            latency_us: Histogram::new_with_bounds(1, 120_000_000, 3).expect("constant bounds"),
            requests: 0,
            bytes: 0,
            bytes_in_all: 0,
            errors: 0,
            first_error: None,
        }
    }

    fn count(&mut self, phase: &Phase, due: Instant, now: Instant, bytes: u64, error: i16) {
        self.bytes_in_all += bytes;
        if error != 0 {
            self.errors += 1;
            self.first_error.get_or_insert(error);
        }
        if now >= phase.measure_from && now < phase.end {
            self.requests += 1;
            self.bytes += bytes;
            self.latency_us
                .saturating_record(now.duration_since(due).as_micros() as u64);
        }
    }

    fn add(&mut self, other: Measured) {
        self.latency_us.add(&other.latency_us).expect("equal bounds");
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.bytes_in_all += other.bytes_in_all;
        self.errors += other.errors;
        self.first_error = self.first_error.or(other.first_error);
    }
}

/// When measuring starts and ends, the same for all connections.
#[derive(Clone, Copy)]
struct Phase {
    start: Instant,
    measure_from: Instant,
    end: Instant,
}

/// Bytes still to be sent in a run that ends by volume.
static BYTES_LEFT: AtomicU64 = AtomicU64::new(u64::MAX);

fn take_bytes(bytes: u64) -> bool {
    BYTES_LEFT
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes))
        .is_ok()
}

fn main() {
    let options = Options::parse();
    pin(&options);
    match options.mode {
        Mode::Produce => produce(&options),
        Mode::Fetch => fetch(&options),
        Mode::Idle => idle(&options),
        Mode::Create => requests::create_topic(&options.addr, &options.topic, options.partitions, &options.config)
            .unwrap_or_else(|e| fail(&format!("creating {}: {e}", options.topic))),
        Mode::Delete => requests::delete_topic(&options.addr, &options.topic)
            .unwrap_or_else(|e| fail(&format!("deleting {}: {e}", options.topic))),
    }
}

fn fail(message: &str) -> ! {
    eprintln!("load: {message}");
    std::process::exit(1)
}

fn pin(options: &Options) {
    if let Some(id) = options.core {
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
}

fn connect(options: &Options) -> TcpStream {
    let stream =
        TcpStream::connect(&options.addr).unwrap_or_else(|e| fail(&format!("connecting to {}: {e}", options.addr)));
    stream.set_nodelay(true).expect("a connected socket");
    stream
}

fn phase(options: &Options) -> Phase {
    let start = Instant::now() + Duration::from_millis(50);
    let measure_from = start + Duration::from_secs_f64(options.warmup);
    let seconds = if options.total_mb.is_some() {
        86_400.0
    } else {
        options.seconds
    };
    Phase {
        start,
        measure_from,
        end: measure_from + Duration::from_secs_f64(seconds),
    }
}

fn run(options: &Options, work: impl Fn(usize, TcpStream, Phase) -> Measured + Sync) {
    if let Some(mb) = options.total_mb {
        BYTES_LEFT.store(mb * 1_000_000, Ordering::Relaxed);
    }
    let streams: Vec<TcpStream> = (0..options.connections).map(|_| connect(options)).collect();
    let cpu_before = cpu_seconds();
    let phase = phase(options);
    let mut all = Measured::new();
    thread::scope(|scope| {
        let threads: Vec<_> = streams
            .into_iter()
            .enumerate()
            .map(|(index, stream)| {
                let work = &work;
                scope.spawn(move || {
                    pin(options);
                    thread::sleep(phase.start.saturating_duration_since(Instant::now()));
                    work(index, stream, phase)
                })
            })
            .collect();
        for thread in threads {
            all.add(thread.join().expect("a connection's thread does not panic"));
        }
    });
    let now = Instant::now();
    let seconds = (now.min(phase.end) - phase.measure_from).as_secs_f64();
    let busy = (cpu_seconds() - cpu_before) / (now - phase.start).as_secs_f64();
    report(&all, seconds, busy);
    if all.errors > 0 {
        fail(&format!(
            "{} requests failed, the first with code {}",
            all.errors,
            all.first_error.unwrap_or(0)
        ));
    }
}

/// `busy` is the share of its core that this process used.
fn report(all: &Measured, seconds: f64, busy: f64) {
    let at = |quantile| all.latency_us.value_at_quantile(quantile);
    println!(
        "mb_s={:.1} requests_s={:.0} p50_us={} p99_us={} p999_us={} max_us={} requests={} seconds={:.2} mb_in_all={:.1} \
         errors={} load_cpu={:.2}",
        all.bytes as f64 / 1e6 / seconds,
        all.requests as f64 / seconds,
        at(0.5),
        at(0.99),
        at(0.999),
        all.latency_us.max(),
        all.requests,
        seconds,
        all.bytes_in_all as f64 / 1e6,
        all.errors,
        busy,
    );
}

/// Processor time of this process so far. The core that it runs on being busy all the time means that it, and not the
/// server, is what was measured.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / TICKS_PER_SECOND
}

/// USER_HZ, which Linux fixed for everybody long ago.
const TICKS_PER_SECOND: f64 = 100.0;

fn produce(options: &Options) {
    let template = ProduceTemplate::new(&options.topic, options.acks, options.records, options.size);
    run(options, |index, stream, phase| match options.rate {
        None => produce_closed(options, template.clone(), index, stream, phase),
        Some(rate) => produce_paced(options, template.clone(), index, stream, phase, rate),
    })
}

/// Which partition the `turn`-th request of a connection goes to: together the connections visit all of them evenly.
fn partition(options: &Options, connection: usize, turn: u64) -> i32 {
    ((connection as u64 + turn * options.connections as u64) % options.partitions as u64) as i32
}

/// Requests below this go out together, one system call for all that are due.
const COALESCE_BELOW: usize = 16 * 1024;

fn produce_closed(
    options: &Options,
    mut template: ProduceTemplate,
    index: usize,
    mut stream: TcpStream,
    phase: Phase,
) -> Measured {
    let mut measured = Measured::new();
    let mut replies = Replies::new(64 * 1024);
    let mut sent_at: VecDeque<Instant> = VecDeque::with_capacity(options.depth);
    let mut out = Vec::with_capacity(COALESCE_BELOW * 2);
    let mut turn = 0u64;
    let mut open = true;
    loop {
        while open && sent_at.len() < options.depth {
            let now = Instant::now();
            open = now < phase.end && take_bytes(template.value_bytes);
            if !open {
                break;
            }
            let request = template.request(turn as i32, partition(options, index, turn));
            turn += 1;
            sent_at.push_back(now);
            if request.len() < COALESCE_BELOW {
                out.extend_from_slice(request);
                if out.len() < COALESCE_BELOW {
                    continue;
                }
                send(&mut stream, &out);
                out.clear();
            } else {
                send(&mut stream, request);
            }
        }
        if !out.is_empty() {
            send(&mut stream, &out);
            out.clear();
        }
        if sent_at.is_empty() {
            return measured;
        }
        replies.receive(&mut stream);
        let now = Instant::now();
        while let Some(frame) = replies.next() {
            let due = sent_at
                .pop_front()
                .unwrap_or_else(|| fail("a reply that nobody asked for"));
            measured.count(&phase, due, now, template.value_bytes, template.error(frame));
        }
    }
}

fn produce_paced(
    options: &Options,
    template: ProduceTemplate,
    index: usize,
    mut stream: TcpStream,
    phase: Phase,
    rate: f64,
) -> Measured {
    let interval = Duration::from_secs_f64(options.connections as f64 / rate);
    // Connections take turns, so that requests are evenly spread and do not come in bursts of one per connection.
    let first = phase.start + interval.mul_f64(index as f64 / options.connections as f64);
    let due = move |turn: u64| first + interval.mul_f64(turn as f64);
    let requests = ((phase.end - first).as_secs_f64() / interval.as_secs_f64()).max(0.0) as u64;
    let mut sender = stream.try_clone().expect("a socket can be duplicated");
    let value_bytes = template.value_bytes;
    let reader = template.clone();
    thread::scope(|scope| {
        scope.spawn(move || {
            pin(options);
            sleep_precisely();
            let mut template = template;
            for turn in 0..requests {
                thread::sleep(due(turn).saturating_duration_since(Instant::now()));
                send(
                    &mut sender,
                    template.request(turn as i32, partition(options, index, turn)),
                );
            }
        });
        let mut measured = Measured::new();
        let mut replies = Replies::new(64 * 1024);
        let mut answered = 0;
        while answered < requests {
            replies.receive(&mut stream);
            let now = Instant::now();
            while let Some(frame) = replies.next() {
                measured.count(&phase, due(answered), now, value_bytes, reader.error(frame));
                answered += 1;
            }
        }
        measured
    })
}

/// The kernel rounds a thread's sleeps up by its timer slack, 50 us unless told otherwise.
fn sleep_precisely() {
    let _ = std::fs::write("/proc/thread-self/timerslack_ns", "1");
}

fn send(stream: &mut TcpStream, bytes: &[u8]) {
    if let Err(e) = stream.write_all(bytes) {
        fail(&format!("sending: {e}"));
    }
}

/// Splits what arrives into frames; the bytes stay where they were read to.
struct Replies {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Replies {
    fn new(capacity: usize) -> Replies {
        Replies {
            buffer: vec![0; capacity],
            start: 0,
            end: 0,
        }
    }

    /// Waits for more bytes.
    fn receive(&mut self, stream: &mut TcpStream) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if let Some(frame) = self.frame_bytes()
            && frame > self.buffer.len()
        {
            self.buffer.resize(frame, 0);
        }
        match stream.read(&mut self.buffer[self.end..]) {
            Ok(0) => fail("the server closed the connection"),
            Ok(n) => self.end += n,
            Err(e) => fail(&format!("receiving: {e}")),
        }
    }

    /// The next whole frame, without its length.
    fn next(&mut self) -> Option<&[u8]> {
        let frame = self.frame_bytes().filter(|bytes| *bytes <= self.end - self.start)?;
        let start = self.start + 4;
        self.start += frame;
        Some(&self.buffer[start..self.start])
    }

    fn frame_bytes(&self) -> Option<usize> {
        let prefix = self.buffer[self.start..self.end].first_chunk::<4>()?;
        Some(4 + u32::from_be_bytes(*prefix) as usize)
    }
}

fn fetch(options: &Options) {
    run(options, |index, mut stream, phase| {
        let mut measured = Measured::new();
        let mut template = FetchTemplate::new(&options.topic, options.fetch_bytes);
        let mut replies = Replies::new(options.fetch_bytes as usize + 64 * 1024);
        let partition = index as i32 % options.partitions;
        let mut offset = 0;
        let mut turn = 0;
        loop {
            let due = Instant::now();
            if due >= phase.end {
                return measured;
            }
            send(&mut stream, template.request(turn, partition, offset));
            turn += 1;
            let reply = loop {
                replies.receive(&mut stream);
                if let Some(frame) = replies.next() {
                    break Reply::parse_fetch(frame).unwrap_or_else(|| fail("a fetch response that makes no sense"));
                }
            };
            if reply.first_offset.is_some_and(|first| first != offset) {
                fail("a fetch was answered with other records than those asked for");
            }
            measured.count(&phase, due, Instant::now(), reply.record_bytes, reply.error);
            // From the beginning again at the end of the log.
            offset = reply.next_offset.unwrap_or(0);
        }
    })
}

fn idle(options: &Options) {
    let streams: Vec<TcpStream> = (0..options.connections)
        .map(|_| {
            let mut stream = connect(options);
            requests::greet(&mut stream).unwrap_or_else(|e| fail(&format!("ApiVersions: {e}")));
            stream
        })
        .collect();
    println!("connections={}", streams.len());
    thread::sleep(Duration::from_secs_f64(options.seconds));
}
