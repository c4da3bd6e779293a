//! The connection's side of a produce: split by owning shard, ask each once, answer in the request's order.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::BytesMut;

use crate::error::ErrorCode;
use crate::types::{LogId, ShardId, TopicId};
use crate::wire::WireError;
use crate::wire::codec::Text;
use crate::wire::header::RequestHeader;
use crate::wire::produce::{self, Produce, ProducePartition};
use crate::wire::produce_fetch::{BatchIndexAndErrorMessage, PartitionProduceResponse, TopicRef};

use super::message::{Answer, AppendItem, AppendOutcome, Ask, FlowId};
use super::requests::Request;
use super::{Flow, Shard};

pub struct Producing {
    request: Request,
    acks: i16,
    /// In the request's order.
    partitions: Vec<Produced>,
    /// By place in `partitions`.
    outcomes: Vec<Option<AppendOutcome>>,
    outstanding: usize,
}

struct Produced {
    topic: Text,
    topic_id: TopicId,
    index: i32,
}

impl Shard {
    pub(super) fn produce(
        &mut self,
        request: Request,
        header: &RequestHeader,
        frame: BytesMut,
    ) -> Result<(), WireError> {
        let body = Produce::decode(frame, header)?;
        let refused = produce_refused(&body);
        let mut partitions = Vec::with_capacity(body.partitions.len());
        let mut outcomes = Vec::with_capacity(body.partitions.len());
        let mut by_shard: Vec<Vec<AppendItem>> = (0..self.config.shards).map(|_| Vec::new()).collect();
        for (slot, partition) in each_once(body.partitions).into_iter().enumerate() {
            let ProducePartition {
                topic,
                topic_id,
                index,
                records,
                ..
            } = partition;
            let found = self.produced_to(request.version, &topic, topic_id, index);
            match found.and_then(|found| refused.map_or(Ok(found), Err)) {
                Ok((shard, log)) => {
                    outcomes.push(None);
                    let records = records.unwrap_or_default();
                    let zstd_allowed = request.version >= 7;
                    by_shard[usize::from(shard.0)].push(AppendItem {
                        slot,
                        log,
                        records,
                        zstd_allowed,
                    });
                }
                Err(error) => outcomes.push(Some(AppendOutcome::refused(slot, error, None))),
            }
            partitions.push(Produced { topic, topic_id, index });
        }
        let outstanding = by_shard.iter().filter(|items| !items.is_empty()).count();
        let producing = Producing {
            request,
            acks: body.acks,
            partitions,
            outcomes,
            outstanding,
        };
        if outstanding == 0 {
            self.respond_produce(producing);
            return Ok(());
        }
        let flow = FlowId(self.new_id());
        self.flows.insert(flow, Flow::Producing(producing));
        let deadline_us = self.now.mono_us + u64::from(body.timeout_ms.max(0).unsigned_abs()) * 1000;
        for (shard, items) in by_shard.into_iter().enumerate() {
            if !items.is_empty() {
                self.ask(
                    flow,
                    ShardId(shard as u16),
                    Ask::Append {
                        conn: request.conn,
                        acks: body.acks,
                        deadline_us,
                        items,
                    },
                );
            }
        }
        Ok(())
    }

    fn produced_to(
        &self,
        version: i16,
        name: &str,
        id: TopicId,
        partition: i32,
    ) -> Result<(ShardId, LogId), ErrorCode> {
        if version < 13 {
            return self.locate(name, partition);
        }
        let topic = self.image.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId)?;
        if !topic.partitions.contains_key(&partition) {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        let log = topic.log_id(partition);
        Ok((self.owner(log), log))
    }

    pub(super) fn produce_answered(&mut self, flow: FlowId, mut producing: Producing, answer: Answer) {
        let Answer::Append { items } = answer else {
            unreachable!("a produce asks for appends, not {answer:?}")
        };
        for outcome in items {
            let slot = outcome.slot;
            producing.outcomes[slot] = Some(outcome);
        }
        producing.outstanding -= 1;
        if producing.outstanding > 0 {
            self.flows.insert(flow, Flow::Producing(producing));
        } else {
            self.respond_produce(producing);
        }
    }

    fn respond_produce(&mut self, producing: Producing) {
        let Producing {
            request,
            acks,
            partitions,
            outcomes,
            ..
        } = producing;
        let mut outcomes = outcomes
            .into_iter()
            .map(|outcome| outcome.expect("every shard has answered"));
        if acks == 0 {
            // Nobody reads an answer; the closed connection is how the client learns that something was refused.
            let refused = outcomes.find(|outcome| !outcome.error.is_none());
            match refused {
                Some(outcome) => self.close(
                    request.conn,
                    format!("a produce with acks=0 was refused: {}", outcome.error),
                ),
                None => self.finish(request, Vec::new()),
            }
            return;
        }
        let answers: Vec<(TopicRef<'_>, PartitionProduceResponse)> = (partitions.iter())
            .zip(outcomes)
            .map(|(produced, outcome)| {
                let topic = TopicRef {
                    name: &produced.topic,
                    id: produced.topic_id,
                };
                (topic, answer_of(produced.index, outcome))
            })
            .collect();
        match produce::response(request.version, request.correlation_id, 0, &answers, &[]) {
            Ok(frame) => self.finish(request, vec![frame]),
            Err(error) => self.close(
                request.conn,
                format!("the answer to a produce cannot be written: {error}"),
            ),
        }
    }
}

/// Of a partition that is named more than once the last records count, as in Kafka.
fn each_once(partitions: Vec<ProducePartition>) -> Vec<ProducePartition> {
    if partitions.len() == 1 {
        return partitions;
    }
    let mut slots = BTreeMap::new();
    let mut each: Vec<ProducePartition> = Vec::with_capacity(partitions.len());
    for partition in partitions {
        match slots.entry((partition.topic.clone(), partition.topic_id, partition.index)) {
            Entry::Occupied(slot) => each[*slot.get()] = partition,
            Entry::Vacant(entry) => {
                entry.insert(each.len());
                each.push(partition);
            }
        }
    }
    each
}

fn answer_of(index: i32, outcome: AppendOutcome) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: outcome.error.code(),
        base_offset: outcome.base_offset,
        log_append_time_ms: outcome.log_append_time_ms,
        log_start_offset: outcome.log_start,
        record_errors: (outcome.record_index.into_iter())
            .map(|batch_index| BatchIndexAndErrorMessage {
                batch_index,
                batch_index_error_message: outcome.message.clone(),
            })
            .collect(),
        error_message: outcome.message,
        ..Default::default()
    }
}

/// What is wrong with the request as a whole: every partition is told.
fn produce_refused(body: &Produce) -> Option<ErrorCode> {
    if !(-1..=1).contains(&body.acks) {
        return Some(ErrorCode::InvalidRequiredAcks);
    }
    // Transactions need their coordinator, which this broker does not have yet.
    body.transactional_id.as_ref().map(|_| ErrorCode::InvalidTxnState)
}
