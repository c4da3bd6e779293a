//! Fetch, as the broker answers it: the record bytes of the response are the very slices that were read.
//! [`produce_fetch`](super::produce_fetch) has the same messages as plain values.

use std::ops::Range;

use bytes::Bytes;

use super::api::ApiKey;
use super::codec::{WireError, Writer};
use super::declare::{Message, Version, Wire};
use super::frame;
use super::header::ResponseHeader;
use super::produce_fetch::{FetchNodeEndpoint, FetchResponse, PartitionData, TopicRef};

/// From this version on topics are named by id (KIP-516).
const BY_TOPIC_ID: i16 = 13;

/// Slices up to this size are copied next to their header: a piece of their own costs the kernel more than the copy.
pub const COPY_BYTES_MAX: usize = 512;

/// What a Fetch response says beside its partitions.
#[derive(Clone, Debug, Default)]
pub struct FetchHead<'a> {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub session_id: i32,
    /// Where the leaders live that partitions name as their current ones (KIP-951, version 16).
    pub node_endpoints: &'a [FetchNodeEndpoint],
}

/// One partition of a Fetch response.
#[derive(Clone, Debug)]
pub struct FetchedPartition<'a> {
    pub topic: TopicRef<'a>,
    /// Its `records` are not used.
    pub data: PartitionData,
    /// The record batches, in any number of slices.
    pub records: Vec<Bytes>,
}

/// A whole response frame, prefix included, in as many pieces as there are long record slices, and one more around each.
/// Partitions of one topic must be next to each other.
pub fn response(
    version: i16,
    correlation_id: i32,
    head: &FetchHead<'_>,
    partitions: &[FetchedPartition<'_>],
) -> Result<Vec<Bytes>, WireError> {
    let version = FetchResponse::version(version)?;
    let mut out = Pieces {
        w: frame::begin(64 + partitions.len() * 96),
        shared: Vec::new(),
        shared_bytes: 0,
    };
    ResponseHeader { correlation_id }.encode(&mut out.w, ApiKey::Fetch.response_header(version.number));
    out.w.i32(head.throttle_time_ms);
    if version.number >= 7 {
        out.w.i16(head.error_code);
        out.w.i32(head.session_id);
    }
    let topics = || partitions.chunk_by(|a, b| a.topic == b.topic);
    out.w.count(Some(topics().count()), version.flexible)?;
    for topic in topics() {
        topic[0].topic.write(&mut out.w, version, BY_TOPIC_ID)?;
        out.w.count(Some(topic.len()), version.flexible)?;
        for partition in topic {
            write_partition(&mut out, version, partition)?;
        }
        if version.flexible {
            out.w.uvarint(0);
        }
    }
    if version.flexible {
        let endpoints = if version.number >= 16 { head.node_endpoints } else { &[] };
        out.w.uvarint(u32::from(!endpoints.is_empty()));
        if !endpoints.is_empty() {
            out.w.tagged_field(0, |w| {
                w.count(Some(endpoints.len()), true)?;
                endpoints
                    .iter()
                    .try_for_each(|endpoint| endpoint.write(w, version, false))
            })?;
        }
    }
    out.finish()
}

fn write_partition(out: &mut Pieces, version: Version, partition: &FetchedPartition<'_>) -> Result<(), WireError> {
    let data = &partition.data;
    let w = &mut out.w;
    w.i32(data.partition_index);
    w.i16(data.error_code);
    w.i64(data.high_watermark);
    w.i64(data.last_stable_offset);
    if version.number >= 5 {
        w.i64(data.log_start_offset);
    }
    data.aborted_transactions.write(w, version, true)?;
    if version.number >= 11 {
        w.i32(data.preferred_read_replica);
    }
    w.bytes_length(Some(partition.records.iter().map(Bytes::len).sum()), version.flexible)?;
    for slice in &partition.records {
        out.records(slice);
    }
    if version.flexible {
        let w = &mut out.w;
        let known = [
            data.diverging_epoch != Default::default(),
            data.current_leader != Default::default(),
            data.snapshot_id != Default::default(),
        ];
        w.uvarint(known.iter().map(|known| u32::from(*known)).sum());
        if known[0] {
            w.tagged_field(0, |w| data.diverging_epoch.write(w, version, false))?;
        }
        if known[1] {
            w.tagged_field(1, |w| data.current_leader.write(w, version, false))?;
        }
        if known[2] {
            w.tagged_field(2, |w| data.snapshot_id.write(w, version, false))?;
        }
    }
    Ok(())
}

/// One buffer for everything that is written here, and the slices that stand between its parts.
struct Pieces {
    w: Writer,
    /// Each with the position in the buffer at which it stands, ascending.
    shared: Vec<(usize, Bytes)>,
    shared_bytes: usize,
}

impl Pieces {
    fn records(&mut self, slice: &Bytes) {
        if slice.len() <= COPY_BYTES_MAX {
            self.w.raw(slice);
        } else {
            self.shared_bytes += slice.len();
            self.shared.push((self.w.len(), slice.clone()));
        }
    }

    fn finish(self) -> Result<Vec<Bytes>, WireError> {
        let own = frame::finish(self.w, self.shared_bytes)?.freeze();
        let mut pieces = Vec::with_capacity(2 * self.shared.len() + 1);
        let push = |range: Range<usize>| {
            let piece = own.slice(range);
            (!piece.is_empty()).then_some(piece)
        };
        let mut at = 0;
        for (position, slice) in self.shared {
            pieces.extend(push(at..position));
            pieces.push(slice);
            at = position;
        }
        pieces.extend(push(at..own.len()));
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Uuid;
    use crate::wire::produce_fetch::{
        AbortedTransaction, EpochEndOffset, FetchLeaderIdAndEpoch, FetchRequest, FetchableTopicResponse,
    };

    fn example(version: i16) -> Vec<FetchedPartition<'static>> {
        let partition = |topic, index, records: Vec<Bytes>| FetchedPartition {
            topic,
            data: PartitionData {
                partition_index: index,
                high_watermark: 10,
                last_stable_offset: 9,
                log_start_offset: if version >= 5 { 1 } else { -1 },
                aborted_transactions: (index == 1).then(|| {
                    vec![AbortedTransaction {
                        producer_id: 1,
                        first_offset: 2,
                    }]
                }),
                diverging_epoch: if version >= 12 && index == 1 {
                    EpochEndOffset {
                        epoch: 1,
                        end_offset: 2,
                    }
                } else {
                    Default::default()
                },
                current_leader: if version >= 12 && index == 0 {
                    FetchLeaderIdAndEpoch {
                        leader_id: 1,
                        leader_epoch: 2,
                    }
                } else {
                    Default::default()
                },
                ..Default::default()
            },
            records,
        };
        let a = TopicRef {
            name: "a",
            id: Uuid([1; 16]),
        };
        let b = TopicRef {
            name: "b",
            id: Uuid([2; 16]),
        };
        vec![
            partition(
                a,
                0,
                vec![
                    Bytes::from(vec![5; 3000]),
                    Bytes::from_static(b"small"),
                    Bytes::from(vec![6; 600]),
                ],
            ),
            partition(a, 1, vec![]),
            partition(b, 0, vec![Bytes::from(vec![7; 700])]),
        ]
    }

    #[test]
    fn the_pieces_together_are_what_the_declaration_says() {
        for version in 4..=18 {
            let partitions = example(version);
            let endpoint = FetchNodeEndpoint {
                node_id: 1,
                host: "h".into(),
                port: 2,
                rack: Some("r".into()),
            };
            let node_endpoints = if version >= 16 { vec![endpoint] } else { vec![] };
            let session_id = if version >= 7 { 77 } else { 0 };
            let head = FetchHead {
                throttle_time_ms: 1,
                error_code: 0,
                session_id,
                node_endpoints: &node_endpoints,
            };
            let pieces = response(version, 4, &head, &partitions).unwrap();
            let declared = FetchResponse {
                throttle_time_ms: 1,
                session_id,
                responses: partitions
                    .chunk_by(|a, b| a.topic == b.topic)
                    .map(|topic| FetchableTopicResponse {
                        topic: topic[0].topic.name.into(),
                        topic_id: topic[0].topic.id,
                        partitions: topic
                            .iter()
                            .map(|p| PartitionData {
                                records: Some(p.records.concat().into()),
                                ..p.data.clone()
                            })
                            .collect(),
                    })
                    .collect(),
                node_endpoints: node_endpoints.clone(),
                ..Default::default()
            };
            let whole = frame::response(ApiKey::Fetch, version, 4, &declared).unwrap();
            assert_eq!(pieces.concat(), whole, "version {version}");
            // Long slices are the caller's own memory; the short one went into the buffer. Tags end flexible versions.
            assert_eq!(pieces.len(), if version >= 12 { 7 } else { 6 });
            assert_eq!(pieces[1].as_ptr(), partitions[0].records[0].as_ptr());
            let back = frame::decode_response::<FetchRequest>(&whole.slice(4..), version)
                .unwrap()
                .1;
            assert_eq!(back.responses.len(), 2);
        }
    }

    #[test]
    fn an_empty_response_is_one_piece() {
        let pieces = response(
            17,
            1,
            &FetchHead {
                error_code: 70,
                ..Default::default()
            },
            &[],
        )
        .unwrap();
        assert_eq!(pieces.len(), 1);
        let (_, back) = frame::decode_response::<FetchRequest>(&pieces[0].slice(4..), 17).unwrap();
        assert_eq!((back.error_code, back.responses.len()), (70, 0));
    }
}
