//! The check that every produced batch passes: CRC and walk of the records, in time and bytes a second.
//!
//!     cargo bench --bench record

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidemill::record::{Batch, BatchBuilder, Codec, Limits};

const NOW: i64 = 1_700_000_000_000;

fn batch(records: usize, value_bytes: usize, codec: Codec) -> BytesMut {
    let mut builder = BatchBuilder::new().producer(1, 0, 0).compression(codec);
    for i in 0..records {
        // Words rather than noise, so that the codecs have their usual work.
        let value: Vec<u8> = (0..value_bytes)
            .map(|j| b"the tide mill turns "[(i + j * (1 + j / 50)) % 20])
            .collect();
        builder.push(NOW + i as i64 / 10, None, Some(&value), &[]);
    }
    builder.build()
}

fn check(c: &mut Criterion) {
    let limits = Limits::default();
    let mut group = c.benchmark_group("check");
    for (records, value_bytes) in [(1, 100), (160, 100), (64, 1024), (900, 1024)] {
        let bytes = batch(records, value_bytes, Codec::None);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("{records}x{value_bytes}"), |b| {
            b.iter_batched(
                || bytes.clone(),
                |bytes| Batch::check(black_box(bytes), &limits, NOW).unwrap(),
                BatchSize::LargeInput,
            )
        });
    }
    for codec in &Codec::ALL[1..] {
        let bytes = batch(64, 1024, *codec);
        group.throughput(Throughput::Bytes(64 * 1024));
        group.bench_function(format!("64x1024 {codec}"), |b| {
            b.iter_batched(
                || bytes.clone(),
                |bytes| Batch::check(black_box(bytes), &limits, NOW).unwrap(),
                BatchSize::LargeInput,
            )
        });
    }
    group.finish();
}

criterion_group!(benches, check);
criterion_main!(benches);
