//! Requests that ask several partitions one small thing each, and wait for all of them: ListOffsets, OffsetForLeaderEpoch,
//! DeleteRecords, DescribeLogDirs.
//!
//! Partitions are numbered through all topics of the request, in its order; the answer goes through the request again and
//! takes the outcomes in that order.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::ErrorCode;
use crate::types::{LogId, Map, Offset, ShardId};
use crate::wire::log_dirs::*;
use crate::wire::offsets::*;

use super::message::{
    Answer, Ask, Asker, DeleteItem, DeleteOutcome, EpochItem, EpochOutcome, FlowId, ListItem, ListOutcome, LogSize,
    Message,
};
use super::requests::Request;
use super::{Flow, Shard};

/// One such request under way.
pub struct Gathering {
    request: Request,
    outstanding: usize,
    what: Gather,
}

enum Gather {
    ListOffsets {
        body: ListOffsetsRequest,
        outcomes: Vec<Option<ListOutcome>>,
    },
    EpochEnds {
        body: OffsetForLeaderEpochRequest,
        outcomes: Vec<Option<EpochOutcome>>,
    },
    DeleteRecords {
        body: DeleteRecordsRequest,
        outcomes: Vec<Option<DeleteOutcome>>,
    },
    LogDirs {
        body: DescribeLogDirsRequest,
        sizes: Map<LogId, u64>,
    },
}

impl Gathering {
    pub fn is_listing(&self) -> bool {
        matches!(self.what, Gather::ListOffsets { .. })
    }
}

impl Shard {
    pub(super) fn list_offsets(&mut self, request: Request, mut body: ListOffsetsRequest) {
        let mut outcomes = Vec::new();
        let mut by_shard = self.by_shard();
        let repeated = listed_once(&mut body.topics);
        for topic in &body.topics {
            for partition in &topic.partitions {
                let slot = outcomes.len();
                let found = if repeated.contains(&slot) {
                    Err(ErrorCode::InvalidRequest)
                } else if request.version < first_version(partition.timestamp) {
                    Err(ErrorCode::UnsupportedVersion)
                } else {
                    self.locate(&topic.name, partition.partition_index)
                };
                outcomes.push(found.err().map(|error| ListOutcome {
                    slot,
                    error,
                    timestamp: -1,
                    offset: -1,
                    leader_epoch: -1,
                }));
                if let Ok((shard, log)) = found {
                    by_shard[usize::from(shard.0)].push(ListItem {
                        slot,
                        log,
                        leader_epoch: partition.current_leader_epoch,
                        timestamp: partition.timestamp,
                        read_committed: body.isolation_level == 1,
                    });
                }
            }
        }
        let what = Gather::ListOffsets { body, outcomes };
        self.gather(request, what, by_shard, |items| Ask::ListOffsets { items });
    }

    /// The lookups that it asked for are not done.
    pub(super) fn abandon_listing(&mut self, flow: FlowId) {
        self.flows.remove(&flow);
        for shard in (0..self.config.shards).map(ShardId) {
            if shard == self.config.id {
                self.forget(Asker { shard, flow });
            } else {
                self.tell(shard, Message::Forget { flow });
            }
        }
    }

    pub(super) fn epoch_ends(&mut self, request: Request, body: OffsetForLeaderEpochRequest) {
        let mut outcomes = Vec::new();
        let mut by_shard = self.by_shard();
        for topic in &body.topics {
            for partition in &topic.partitions {
                let slot = outcomes.len();
                let found = self.locate(&topic.topic, partition.partition);
                outcomes.push(found.err().map(|error| EpochOutcome {
                    slot,
                    error,
                    leader_epoch: -1,
                    end_offset: -1,
                }));
                if let Ok((shard, log)) = found {
                    by_shard[usize::from(shard.0)].push(EpochItem {
                        slot,
                        log,
                        current_leader_epoch: partition.current_leader_epoch,
                        leader_epoch: partition.leader_epoch,
                    });
                }
            }
        }
        let what = Gather::EpochEnds { body, outcomes };
        self.gather(request, what, by_shard, |items| Ask::EpochEnd { items });
    }

    pub(super) fn delete_records(&mut self, request: Request, mut body: DeleteRecordsRequest) {
        body.topics = each_once(body.topics);
        let mut outcomes = Vec::new();
        let mut by_shard = self.by_shard();
        for topic in &body.topics {
            for partition in &topic.partitions {
                let slot = outcomes.len();
                let found = self.locate(&topic.name, partition.partition_index);
                outcomes.push(found.err().map(|error| DeleteOutcome {
                    slot,
                    error,
                    low_watermark: -1,
                }));
                if let Ok((shard, log)) = found {
                    let before = partition.offset;
                    by_shard[usize::from(shard.0)].push(DeleteItem { slot, log, before });
                }
            }
        }
        let what = Gather::DeleteRecords { body, outcomes };
        self.gather(request, what, by_shard, |items| Ask::DeleteRecords { items });
    }

    pub(super) fn describe_log_dirs(&mut self, request: Request, body: DescribeLogDirsRequest) {
        let what = Gather::LogDirs {
            body,
            sizes: Map::default(),
        };
        let by_shard = self.by_shard().into_iter().map(|_: Vec<()>| vec![()]).collect();
        self.gather(request, what, by_shard, |_| Ask::LogSizes);
    }

    fn by_shard<T>(&self) -> Vec<Vec<T>> {
        (0..self.config.shards).map(|_| Vec::new()).collect()
    }

    /// Where a partition lives, by its topic's name.
    pub(super) fn locate(&self, topic: &str, partition: i32) -> Result<(ShardId, LogId), ErrorCode> {
        let topic = self.image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if !topic.partitions.contains_key(&partition) {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        let log = topic.log_id(partition);
        Ok((self.owner(log), log))
    }

    fn gather<T>(&mut self, request: Request, what: Gather, by_shard: Vec<Vec<T>>, ask: fn(Vec<T>) -> Ask) {
        let flow = FlowId(self.new_id());
        let outstanding = by_shard.iter().filter(|items| !items.is_empty()).count();
        if outstanding == 0 {
            return self.gathered(request, what);
        }
        self.begins_flow(request.conn, flow);
        self.flows.insert(
            flow,
            Flow::Gathering(Gathering {
                request,
                outstanding,
                what,
            }),
        );
        for (shard, items) in by_shard.into_iter().enumerate() {
            if !items.is_empty() {
                self.ask(flow, ShardId(shard as u16), ask(items));
            }
        }
    }

    pub(super) fn gather_answered(&mut self, flow: FlowId, mut gathering: Gathering, answer: Answer) {
        match (&mut gathering.what, answer) {
            (Gather::ListOffsets { outcomes, .. }, Answer::ListOffsets { items }) => {
                fill(outcomes, items, |item| item.slot)
            }
            (Gather::EpochEnds { outcomes, .. }, Answer::EpochEnd { items }) => fill(outcomes, items, |item| item.slot),
            (Gather::DeleteRecords { outcomes, .. }, Answer::DeleteRecords { items }) => {
                fill(outcomes, items, |item| item.slot)
            }
            (Gather::LogDirs { sizes, .. }, Answer::LogSizes { logs }) => {
                sizes.extend(logs.into_iter().map(|LogSize { log, size_bytes }| (log, size_bytes)));
            }
            (_, answer) => unreachable!("an answer of another kind: {answer:?}"),
        }
        gathering.outstanding -= 1;
        if gathering.outstanding == 0 {
            self.gathered(gathering.request, gathering.what);
        } else {
            self.flows.insert(flow, Flow::Gathering(gathering));
        }
    }

    fn gathered(&mut self, request: Request, what: Gather) {
        match what {
            Gather::ListOffsets { body, outcomes } => {
                let mut outcomes = outcomes.into_iter().flatten();
                let topics = body.topics.into_iter().map(|topic| ListOffsetsTopicResponse {
                    name: topic.name,
                    partitions: (topic.partitions.iter())
                        .zip(outcomes.by_ref())
                        .map(|(partition, outcome)| ListOffsetsPartitionResponse {
                            partition_index: partition.partition_index,
                            error_code: outcome.error.code(),
                            timestamp: outcome.timestamp,
                            offset: outcome.offset,
                            // Older clients have no place for it.
                            leader_epoch: if request.version >= 4 { outcome.leader_epoch } else { -1 },
                        })
                        .collect(),
                });
                let response = ListOffsetsResponse {
                    topics: topics.collect(),
                    ..Default::default()
                };
                self.respond(request, &response);
            }
            Gather::EpochEnds { body, outcomes } => {
                let mut outcomes = outcomes.into_iter().flatten();
                let topics = body.topics.into_iter().map(|topic| OffsetForLeaderTopicResult {
                    topic: topic.topic,
                    partitions: (topic.partitions.iter())
                        .zip(outcomes.by_ref())
                        .map(|(partition, outcome)| OffsetForLeaderEpochEndOffset {
                            error_code: outcome.error.code(),
                            partition: partition.partition,
                            leader_epoch: outcome.leader_epoch,
                            end_offset: outcome.end_offset,
                        })
                        .collect(),
                });
                let response = OffsetForLeaderEpochResponse {
                    topics: topics.collect(),
                    ..Default::default()
                };
                self.respond(request, &response);
            }
            Gather::DeleteRecords { body, outcomes } => {
                let mut outcomes = outcomes.into_iter().flatten();
                let topics = body.topics.into_iter().map(|topic| DeleteRecordsTopicResult {
                    name: topic.name,
                    partitions: (topic.partitions.iter())
                        .zip(outcomes.by_ref())
                        .map(|(partition, outcome)| DeleteRecordsPartitionResult {
                            partition_index: partition.partition_index,
                            low_watermark: outcome.low_watermark,
                            error_code: outcome.error.code(),
                        })
                        .collect(),
                });
                let response = DeleteRecordsResponse {
                    topics: topics.collect(),
                    ..Default::default()
                };
                self.respond(request, &response);
            }
            Gather::LogDirs { body, sizes } => {
                let response = self.log_dirs(&body, &sizes);
                self.respond(request, &response);
            }
        }
    }

    fn log_dirs(&self, body: &DescribeLogDirsRequest, sizes: &Map<LogId, u64>) -> DescribeLogDirsResponse {
        let named = body.topics.as_ref().map(|topics| {
            let partitions = |topic: &DescribableLogDirTopic| topic.partitions.clone().into_iter();
            let each = topics
                .iter()
                .flat_map(|topic| partitions(topic).map(|partition| (&*topic.topic, partition)));
            each.collect::<BTreeSet<_>>()
        });
        let wanted = |name, partition| named.as_ref().is_none_or(|named| named.contains(&(name, partition)));
        let topics = self.image.topics().filter_map(|topic| {
            let partitions: Vec<DescribeLogDirsPartition> = (topic.partitions.keys())
                .filter(|&&partition| wanted(&topic.name, partition))
                .filter_map(|&partition| {
                    Some(DescribeLogDirsPartition {
                        partition_size: *sizes.get(&topic.log_id(partition))? as i64,
                        partition_index: partition,
                        ..Default::default()
                    })
                })
                .collect();
            let name = topic.name.to_string();
            (!partitions.is_empty()).then_some(DescribeLogDirsTopic { name, partitions })
        });
        let result = DescribeLogDirsResult {
            log_dir: self.config.data_dir.to_string(),
            topics: topics.collect(),
            total_bytes: self.space.total_bytes.map_or(-1, |bytes| bytes as i64),
            usable_bytes: self.space.free_bytes.map_or(-1, |bytes| bytes as i64),
            ..Default::default()
        };
        DescribeLogDirsResponse {
            results: vec![result],
            ..Default::default()
        }
    }
}

/// Of a partition that is named more than once the last offset counts and is answered, as in Kafka: each would cost a frame
/// of the journal.
fn each_once(topics: Vec<DeleteRecordsTopic>) -> Vec<DeleteRecordsTopic> {
    let mut offsets: BTreeMap<String, BTreeMap<i32, Offset>> = BTreeMap::new();
    for topic in topics {
        let partitions = topic.partitions.into_iter().map(|p| (p.partition_index, p.offset));
        offsets.entry(topic.name).or_default().extend(partitions);
    }
    offsets.retain(|_, partitions| !partitions.is_empty());
    let partition = |(partition_index, offset)| DeleteRecordsPartition {
        partition_index,
        offset,
    };
    let topics = offsets.into_iter().map(|(name, partitions)| DeleteRecordsTopic {
        name,
        partitions: partitions.into_iter().map(partition).collect(),
    });
    topics.collect()
}

/// Leaves each partition once, and those of a topic together. Returns those that were named more than once, by their place:
/// Kafka lists no offset of them.
fn listed_once(topics: &mut Vec<ListOffsetsTopic>) -> BTreeSet<usize> {
    let mut named: BTreeMap<String, BTreeMap<i32, (ListOffsetsPartition, bool)>> = BTreeMap::new();
    for topic in topics.drain(..) {
        let of_topic = named.entry(topic.name).or_default();
        for partition in topic.partitions {
            let index = partition.partition_index;
            let is_repeated = of_topic.contains_key(&index);
            of_topic.insert(index, (partition, is_repeated));
        }
    }
    let all = named.values().flat_map(BTreeMap::values).enumerate();
    let repeated = all
        .filter(|(_, (_, is_repeated))| *is_repeated)
        .map(|(slot, _)| slot)
        .collect();
    named.retain(|_, partitions| !partitions.is_empty());
    topics.extend(named.into_iter().map(|(name, partitions)| ListOffsetsTopic {
        name,
        partitions: partitions.into_values().map(|(partition, _)| partition).collect(),
    }));
    repeated
}

/// The first version of ListOffsets in which this timestamp means something (KIP-734, KIP-405, KIP-1005, KIP-1023).
fn first_version(timestamp: i64) -> i16 {
    match timestamp {
        -3 => 7,
        -4 => 8,
        -5 => 9,
        -6 => 11,
        _ => 0,
    }
}

/// Puts each outcome in its place in the request.
fn fill<T>(outcomes: &mut [Option<T>], items: Vec<T>, slot: fn(&T) -> usize) {
    for item in items {
        let slot = slot(&item);
        outcomes[slot] = Some(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_a_partition_that_is_named_twice_are_not_listed() {
        let topic = |name: &str, partitions: &[i32]| ListOffsetsTopic {
            name: name.into(),
            partitions: (partitions.iter())
                .map(|&partition_index| ListOffsetsPartition {
                    partition_index,
                    ..Default::default()
                })
                .collect(),
        };
        let mut topics = vec![
            topic("b", &[1, 0, 1]),
            topic("c", &[]),
            topic("a", &[1]),
            topic("b", &[2]),
        ];
        assert_eq!(listed_once(&mut topics), BTreeSet::from([2]));
        assert_eq!(topics, [topic("a", &[1]), topic("b", &[0, 1, 2])]);
    }

    #[test]
    fn the_last_offset_of_a_partition_counts() {
        let topic = |name: &str, offsets: &[(i32, i64)]| DeleteRecordsTopic {
            name: name.into(),
            partitions: (offsets.iter())
                .map(|&(partition_index, offset)| DeleteRecordsPartition {
                    partition_index,
                    offset,
                })
                .collect(),
        };
        let asked = vec![
            topic("b", &[(1, 10), (0, 20), (1, 30)]),
            topic("a", &[(1, 1)]),
            topic("b", &[(0, 5), (2, 6)]),
        ];
        let expected = [topic("a", &[(1, 1)]), topic("b", &[(0, 5), (1, 30), (2, 6)])];
        assert_eq!(each_once(asked), expected);
    }
}
