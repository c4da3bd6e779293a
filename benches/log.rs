//! A partition's log without a disk: check, append, commit, and reading the tail back.
//!
//!     cargo bench --bench log

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidemill::config::BrokerConfig;
use tidemill::log::{Log, LogConfig, ReadPlan};
use tidemill::record::{Batch, BatchBuilder, Limits};
use tidemill::types::{LogId, Now, Uuid};

const NOW: Now = Now {
    mono_us: 0,
    wall_ms: 1_700_000_000_000,
};
/// Appends per measurement: the log grows meanwhile as it does between two checkpoints.
const APPENDS: usize = 64;

fn batch(records: usize, value_bytes: usize) -> BytesMut {
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        builder.push(NOW.wall_ms, None, Some(&vec![b'x'; value_bytes]), &[]);
    }
    builder.build()
}

fn log() -> Log {
    let id = LogId {
        topic: Uuid([1; 16]),
        partition: 0,
    };
    let config = LogConfig::from(&BrokerConfig::default().topic);
    let mut log = Log::create(id, "bench-0", "bench-0", config, NOW);
    log.become_leader(0);
    log
}

fn append_all(log: &mut Log, batches: Vec<BytesMut>) {
    let limits = Limits::default();
    let mut arena = BytesMut::new();
    for bytes in batches {
        let batch = Batch::check(bytes, &limits, NOW.wall_ms).expect("a good batch");
        let appended = log.append_leader(NOW, batch, 0, &mut arena).expect("room");
        log.committed(appended.last_offset + 1);
    }
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("check, append, commit");
    for (records, value_bytes) in [(1, 100), (160, 100), (64, 1024), (900, 1024)] {
        let bytes = batch(records, value_bytes);
        group.throughput(Throughput::Bytes((bytes.len() * APPENDS) as u64));
        group.bench_function(format!("{records} x {value_bytes} B"), |b| {
            b.iter_batched(
                || (log(), vec![bytes.clone(); APPENDS]),
                |(mut log, batches)| {
                    append_all(&mut log, black_box(batches));
                    log
                },
                BatchSize::LargeInput,
            )
        });
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("read the tail");
    for (records, value_bytes) in [(1, 100), (64, 1024)] {
        let mut log = log();
        append_all(&mut log, vec![batch(records, value_bytes); APPENDS]);
        let end = log.end();
        group.bench_function(format!("{APPENDS} batches of {records} x {value_bytes} B"), |b| {
            b.iter(|| match log.read(black_box(0), 8 << 20, true, end).unwrap() {
                ReadPlan::Memory(slices) => slices.len(),
                ReadPlan::Disk(_) => panic!("nothing was written to a disk"),
            })
        });
    }
    group.finish();
}

criterion_group!(benches, append, read);
criterion_main!(benches);
