//! What an append costs from the batch to the bytes that the device would read: check, log, journal, commit, the one copy.
//! The disk itself is left out: a write is the copy into the buffer that the runtime would hand to it.
//!
//!     cargo bench --bench journal

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidemill::config::BrokerConfig;
use tidemill::journal::{self, Body, Frame, Journal};
use tidemill::log::{Log, LogConfig};
use tidemill::record::{Batch, BatchBuilder, Limits};
use tidemill::types::{LogId, Now, ShardId, Uuid};

const NOW: Now = Now {
    mono_us: 0,
    wall_ms: 1_700_000_000_000,
};
const RING_BYTES: u64 = 128 << 20;
/// Appends that one commit takes, as when so many requests arrive while the one before it is written.
const APPENDS: usize = 16;

/// One shard's logs and journal, with a device that has always just finished.
struct Device {
    journal: Journal,
    logs: Vec<Log>,
    arena: BytesMut,
    limits: Limits,
    buffer: Vec<u8>,
}

impl Device {
    fn new(partitions: i32) -> Device {
        let journal = Journal::create(journal::Config::new(RING_BYTES, ShardId(0), 1), 7);
        let mut device = Device {
            journal,
            logs: (0..partitions).map(log).collect(),
            arena: BytesMut::new(),
            limits: Limits::default(),
            buffer: Vec::with_capacity(512 * 1024),
        };
        device.write_superblocks();
        device
    }

    fn write_superblocks(&mut self) {
        while self.journal.begin_superblock().is_some() {
            self.journal.superblock_done();
        }
    }

    /// Appends one batch to each of some logs, from `first` on, and commits them together.
    fn commit(&mut self, first: usize, batches: Vec<BytesMut>) {
        let logs = self.logs.len();
        for (i, bytes) in batches.into_iter().enumerate() {
            let log = &mut self.logs[(first + i) % logs];
            let batch = Batch::check(bytes, &self.limits, NOW.wall_ms).expect("a good batch");
            let appended = log.append_leader(NOW, batch, 0, &mut self.arena).expect("room");
            log.committed(appended.last_offset + 1);
            let (id, end) = (log.id(), appended.last_offset + 1);
            let frame = Frame {
                log: id,
                body: Body::Append(appended.into()),
            };
            self.journal.push(frame, true).expect("room");
            // As if a checkpoint had written it already, so that the ring goes round.
            self.journal.applied(id, end);
        }
        while let Some(commit) = self.journal.begin_commit() {
            for write in &commit.writes {
                self.buffer.clear();
                write
                    .slices
                    .iter()
                    .for_each(|slice| self.buffer.extend_from_slice(slice));
                black_box(&self.buffer);
            }
            self.journal.commit_done();
        }
        self.write_superblocks();
        // A log that keeps everything in memory would measure the allocator: each starts anew once it is long.
        for i in 0..APPENDS {
            let at = (first + i) % logs;
            if self.logs[at].size_bytes() > 4 << 20 {
                self.logs[at] = log(at as i32);
                self.journal.forget(self.logs[at].id());
            }
        }
    }
}

fn log(partition: i32) -> Log {
    let config = LogConfig::from(&BrokerConfig::default().topic);
    let id = LogId {
        topic: Uuid([1; 16]),
        partition,
    };
    let mut log = Log::create(id, "bench", "bench", config, NOW);
    log.become_leader(0);
    log
}

fn batch(records: usize, value_bytes: usize) -> BytesMut {
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        builder.push(NOW.wall_ms, None, Some(&vec![b'x'; value_bytes]), &[]);
    }
    builder.build()
}

fn append_and_commit(c: &mut Criterion) {
    let mut group = c.benchmark_group("append and commit");
    for (records, value_bytes, partitions) in [
        (1, 1024, 10),
        (1, 1024, 1000),
        (160, 100, 1),
        (64, 1024, 1),
        (900, 1024, 1),
    ] {
        let bytes = batch(records, value_bytes);
        group.throughput(Throughput::Bytes((bytes.len() * APPENDS) as u64));
        let name = format!("{APPENDS} of {records} x {value_bytes} B over {partitions} partitions");
        let mut device = Device::new(partitions);
        let mut first = 0;
        group.bench_function(name, |b| {
            b.iter_batched(
                || vec![bytes.clone(); APPENDS],
                |batches| {
                    device.commit(first, batches);
                    first += APPENDS;
                },
                BatchSize::LargeInput,
            )
        });
    }
    group.finish();
}

criterion_group!(benches, append_and_commit);
criterion_main!(benches);
