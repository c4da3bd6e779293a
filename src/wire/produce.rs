//! Produce, as the broker reads and answers it: record bytes are split out of the request's frame, never copied.
//! [`produce_fetch`](super::produce_fetch) has the same messages as plain values.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::api::ApiKey;
use super::codec::{Reader, Text, WireError};
use super::declare::{Message, Version, Wire};
use super::frame;
use super::header::{RequestHeader, ResponseHeader};
use super::produce_fetch::{PartitionProduceResponse, ProduceNodeEndpoint, ProduceRequest, ProduceResponse, TopicRef};
use crate::types::{TopicId, Uuid};

/// From this version on topics are named by id (KIP-516).
const BY_TOPIC_ID: i16 = 13;

/// A Produce request in pieces of its frame.
#[derive(Debug)]
pub struct Produce {
    pub transactional_id: Option<Text>,
    pub acks: i16,
    pub timeout_ms: i32,
    /// In the client's order; those of one topic are next to each other.
    pub partitions: Vec<ProducePartition>,
}

/// What is to be appended to one partition.
#[derive(Debug)]
pub struct ProducePartition {
    /// Empty from version 13 on.
    pub topic: Text,
    /// Zero before version 13.
    pub topic_id: TopicId,
    pub index: i32,
    /// Whatever the client claims to be record batches.
    pub records: Option<BytesMut>,
    topic_at: Range<usize>,
    records_at: Option<Range<usize>>,
}

impl ProducePartition {
    pub fn topic_ref(&self) -> TopicRef<'_> {
        TopicRef {
            name: self.topic.as_str(),
            id: self.topic_id,
        }
    }
}

impl Produce {
    /// Takes the frame apart. `header` was read from its beginning. One allocation, for `partitions`, besides the
    /// count of references that the pieces share.
    pub fn decode(frame: BytesMut, header: &RequestHeader) -> Result<Produce, WireError> {
        let version = ProduceRequest::version(header.version)?;
        let mut r = Reader::new(&frame);
        r.take(header.body_at)?;
        let transactional_at = if version.number >= 3 {
            r.str_range(version.flexible)?
        } else {
            None
        };
        let acks = r.i16()?;
        let timeout_ms = r.i32()?;
        let mut partitions = Vec::new();
        for _ in 0..count(&mut r, version)? {
            let (topic_id, topic_at) = if version.number >= BY_TOPIC_ID {
                (r.uuid()?, 0..0)
            } else {
                let at = r.at();
                (
                    Uuid::ZERO,
                    r.str_range(version.flexible)?.ok_or(WireError::UnexpectedNull { at })?,
                )
            };
            for _ in 0..count(&mut r, version)? {
                let index = r.i32()?;
                let records_at = r.bytes_range(version.flexible)?;
                partitions.push(ProducePartition {
                    topic: Text::default(),
                    topic_id,
                    index,
                    records: None,
                    topic_at: topic_at.clone(),
                    records_at,
                });
                skip_tags(&mut r, version)?;
            }
            skip_tags(&mut r, version)?;
        }
        skip_tags(&mut r, version)?;

        let mut rest = Rest { bytes: frame, at: 0 };
        let transactional_id = transactional_at.map(|at| rest.text(at)).transpose()?;
        let mut topic = (0..0, Text::default());
        for partition in &mut partitions {
            if partition.topic_at != topic.0 {
                topic = (partition.topic_at.clone(), rest.text(partition.topic_at.clone())?);
            }
            partition.topic = topic.1.clone();
            partition.records = partition.records_at.clone().map(|at| rest.split(at));
        }
        Ok(Produce {
            transactional_id,
            acks,
            timeout_ms,
            partitions,
        })
    }
}

/// What is left of a frame whose pieces are split off in their order.
struct Rest {
    bytes: BytesMut,
    /// Where in the frame `bytes` begins.
    at: usize,
}

impl Rest {
    fn split(&mut self, range: Range<usize>) -> BytesMut {
        let _gap = self.bytes.split_to(range.start - self.at);
        self.at = range.end;
        self.bytes.split_to(range.len())
    }

    fn text(&mut self, range: Range<usize>) -> Result<Text, WireError> {
        let at = range.start;
        Text::new(self.split(range).freeze()).ok_or(WireError::Utf8 { at })
    }
}

fn count(r: &mut Reader<'_>, version: Version) -> Result<usize, WireError> {
    let at = r.at();
    r.count(version.flexible, 2)?.ok_or(WireError::UnexpectedNull { at })
}

fn skip_tags(r: &mut Reader<'_>, version: Version) -> Result<(), WireError> {
    if version.flexible {
        r.skip_tagged_fields()
    } else {
        Ok(())
    }
}

/// A whole response frame, prefix included. Partitions of one topic must be next to each other.
pub fn response(
    version: i16,
    correlation_id: i32,
    throttle_time_ms: i32,
    partitions: &[(TopicRef<'_>, PartitionProduceResponse)],
    node_endpoints: &[ProduceNodeEndpoint],
) -> Result<Bytes, WireError> {
    let version = ProduceResponse::version(version)?;
    let mut w = frame::begin(64 + partitions.len() * 64);
    ResponseHeader { correlation_id }.encode(&mut w, ApiKey::Produce.response_header(version.number));
    let topics = || partitions.chunk_by(|a, b| a.0 == b.0);
    w.count(Some(topics().count()), version.flexible)?;
    for topic in topics() {
        topic[0].0.write(&mut w, version, BY_TOPIC_ID)?;
        w.count(Some(topic.len()), version.flexible)?;
        for (_, partition) in topic {
            partition.write(&mut w, version, false)?;
        }
        if version.flexible {
            w.uvarint(0);
        }
    }
    if version.number >= 1 {
        w.i32(throttle_time_ms);
    }
    if version.flexible {
        let endpoints = if version.number >= 10 { node_endpoints } else { &[] };
        w.uvarint(u32::from(!endpoints.is_empty()));
        if !endpoints.is_empty() {
            w.tagged_field(0, |w| {
                w.count(Some(endpoints.len()), true)?;
                endpoints
                    .iter()
                    .try_for_each(|endpoint| endpoint.write(w, version, false))
            })?;
        }
    }
    Ok(frame::finish(w, 0)?.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::produce_fetch::{
        PartitionProduceData, ProduceLeaderIdAndEpoch, TopicProduceData, TopicProduceResponse,
    };

    fn example(version: i16) -> ProduceRequest {
        let partition = |index, records: Option<&'static [u8]>| PartitionProduceData {
            index,
            records: records.map(Bytes::from_static),
        };
        let topic = |name: &str, id: u8, partition_data| TopicProduceData {
            name: if version < 13 { name.into() } else { String::new() },
            topic_id: if version < 13 { Uuid::ZERO } else { Uuid([id; 16]) },
            partition_data,
        };
        ProduceRequest {
            transactional_id: (version >= 3).then(|| "tx".into()),
            acks: -1,
            timeout_ms: 1500,
            topic_data: vec![
                topic(
                    "one",
                    1,
                    vec![
                        partition(0, Some(b"first")),
                        partition(7, None),
                        partition(2, Some(b"")),
                    ],
                ),
                topic("none", 2, vec![]),
                topic("two", 3, vec![partition(0, Some(b"last"))]),
            ],
        }
    }

    #[test]
    fn partitions_are_pieces_of_the_frame() {
        for version in 0..=13 {
            let bytes = frame::request(&example(version), version, 1, Some("c")).unwrap();
            let frame = BytesMut::from(&bytes[4..]);
            let memory = frame.as_ptr() as usize..frame.as_ptr() as usize + frame.len();
            let header = RequestHeader::decode(&frame).unwrap();
            let produce = Produce::decode(frame, &header).unwrap();
            assert_eq!(produce.transactional_id.as_deref(), (version >= 3).then_some("tx"));
            assert_eq!((produce.acks, produce.timeout_ms), (-1, 1500));
            let seen: Vec<_> = produce
                .partitions
                .iter()
                .map(|p| (p.topic.as_str(), p.topic_id.0[0], p.index, p.records.as_deref()))
                .collect();
            let (one, two) = if version < 13 {
                (("one", 0), ("two", 0))
            } else {
                (("", 1), ("", 3))
            };
            assert_eq!(
                seen,
                [
                    (one.0, one.1, 0, Some(&b"first"[..])),
                    (one.0, one.1, 7, None),
                    (one.0, one.1, 2, Some(&b""[..])),
                    (two.0, two.1, 0, Some(&b"last"[..])),
                ],
                "version {version}"
            );
            assert!(memory.contains(&(produce.partitions[0].records.as_ref().unwrap().as_ptr() as usize)));
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        for version in [3, 9, 13] {
            let bytes = frame::request(&example(version), version, 1, None).unwrap();
            let header = RequestHeader::decode(&bytes[4..]).unwrap();
            for end in 4 + header.body_at..bytes.len() {
                assert!(
                    Produce::decode(BytesMut::from(&bytes[4..end]), &header).is_err(),
                    "{version} {end}"
                );
            }
        }
    }

    #[test]
    fn the_answer_is_what_the_declaration_says() {
        let partition = |index, error_code, leader_id| PartitionProduceResponse {
            index,
            error_code,
            base_offset: 5,
            current_leader: ProduceLeaderIdAndEpoch {
                leader_id,
                leader_epoch: leader_id,
            },
            error_message: (error_code != 0).then(|| "no".into()),
            ..Default::default()
        };
        for version in 0..=13 {
            let leader = if version >= 10 { 4 } else { -1 };
            let topics = [
                ("a", 1, vec![partition(0, 0, -1), partition(1, 6, leader)]),
                ("b", 2, vec![partition(0, 0, -1)]),
            ];
            let endpoint = ProduceNodeEndpoint {
                node_id: 4,
                host: "h".into(),
                port: 9,
                rack: None,
            };
            let endpoints = if version >= 10 { vec![endpoint] } else { vec![] };
            let declared = ProduceResponse {
                responses: topics
                    .iter()
                    .map(|(name, id, partitions)| TopicProduceResponse {
                        name: name.to_string(),
                        topic_id: Uuid([*id; 16]),
                        partition_responses: partitions.clone(),
                    })
                    .collect(),
                throttle_time_ms: 3,
                node_endpoints: endpoints.clone(),
            };
            let flat: Vec<_> = topics
                .iter()
                .flat_map(|(name, id, partitions)| {
                    partitions.iter().map(|p| {
                        (
                            TopicRef {
                                name,
                                id: Uuid([*id; 16]),
                            },
                            p.clone(),
                        )
                    })
                })
                .collect();
            assert_eq!(
                response(version, 9, 3, &flat, &endpoints).unwrap(),
                frame::response(ApiKey::Produce, version, 9, &declared).unwrap(),
                "version {version}"
            );
        }
    }
}
