//! What a shard does with the bytes of the two hot requests: taking a Produce frame apart, putting a Fetch answer together.
//!
//!     cargo bench --bench wire

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidemill::wire::fetch::{self, FetchHead, FetchedPartition};
use tidemill::wire::frame;
use tidemill::wire::header::RequestHeader;
use tidemill::wire::produce::Produce;
use tidemill::wire::produce_fetch::{PartitionData, PartitionProduceData, ProduceRequest, TopicProduceData, TopicRef};

/// A frame without its length prefix, as the runtime hands it over.
fn produce_frame(partitions: i32, record_bytes: usize) -> BytesMut {
    let data = |index| PartitionProduceData {
        index,
        records: Some(Bytes::from(vec![7; record_bytes])),
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: "orders".into(),
            partition_data: (0..partitions).map(data).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let bytes = frame::request(&request, 9, 1, Some("bench")).expect("a request of that version");
    BytesMut::from(&bytes[4..])
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode produce");
    for (partitions, record_bytes) in [(1, 1024), (1, 64 * 1024), (16, 1024), (100, 1024)] {
        let bytes = produce_frame(partitions, record_bytes);
        group.throughput(Throughput::Elements(partitions as u64));
        group.bench_function(format!("{partitions} partitions of {record_bytes} B"), |b| {
            b.iter_batched(
                || bytes.clone(),
                |frame| {
                    let header = RequestHeader::decode(&frame).unwrap();
                    Produce::decode(black_box(frame), &header).unwrap()
                },
                BatchSize::LargeInput,
            )
        });
    }
    group.finish();
}

fn assemble(c: &mut Criterion) {
    let mut group = c.benchmark_group("assemble fetch");
    for (partitions, slices, slice_bytes) in [(1, 16, 64 * 1024), (16, 4, 16 * 1024), (100, 4, 200)] {
        let fetched: Vec<FetchedPartition> = (0..partitions)
            .map(|index| FetchedPartition {
                topic: TopicRef {
                    name: "orders",
                    id: Default::default(),
                },
                data: PartitionData {
                    partition_index: index,
                    high_watermark: 1_000_000,
                    ..Default::default()
                },
                records: vec![Bytes::from(vec![7; slice_bytes]); slices],
            })
            .collect();
        group.throughput(Throughput::Bytes((partitions as usize * slices * slice_bytes) as u64));
        group.bench_function(
            format!("{partitions} partitions, {slices} x {slice_bytes} B each"),
            |b| b.iter(|| fetch::response(12, 1, &FetchHead::default(), black_box(&fetched)).unwrap()),
        );
    }
    group.finish();
}

criterion_group!(benches, decode, assemble);
criterion_main!(benches);
