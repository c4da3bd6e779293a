//! The connection's side of a produce: split by owning shard, ask each once, answer in the request's order.

use bytes::BytesMut;

use crate::error::ErrorCode;
use crate::types::{LogId, ShardId, TopicId};
use crate::wire::WireError;
use crate::wire::header::RequestHeader;
use crate::wire::produce_fetch::*;

use super::message::{Answer, AppendItem, AppendOutcome, Ask, FlowId};
use super::requests::{Request, decode};
use super::{Flow, Shard};

pub struct Producing {
    request: Request,
    acks: i16,
    topics: Vec<ProducedTopic>,
    /// By place in the request, through all topics.
    outcomes: Vec<Option<AppendOutcome>>,
    outstanding: usize,
}

struct ProducedTopic {
    name: String,
    id: TopicId,
    partitions: Vec<i32>,
}

impl Shard {
    pub(super) fn produce(&mut self, request: Request, header: &RequestHeader, frame: BytesMut) -> Result<(), WireError> {
        let body: ProduceRequest = decode(&frame.freeze().slice(header.body_at..), request.version)?;
        let refused = self.produce_request_refused(&body);
        let mut topics = Vec::with_capacity(body.topic_data.len());
        let mut outcomes = Vec::new();
        let mut by_shard: Vec<Vec<AppendItem>> = (0..self.config.shards).map(|_| Vec::new()).collect();
        for topic in body.topic_data {
            let mut partitions = Vec::with_capacity(topic.partition_data.len());
            for partition in topic.partition_data {
                let slot = outcomes.len();
                partitions.push(partition.index);
                let found = match refused {
                    Some(error) => Err(error),
                    None => self.produced_to(request.version, &topic.name, topic.topic_id, partition.index),
                };
                match found {
                    Ok((shard, log)) => {
                        outcomes.push(None);
                        let records = BytesMut::from(&partition.records.unwrap_or_default()[..]);
                        let zstd_allowed = request.version >= 7;
                        by_shard[usize::from(shard.0)].push(AppendItem { slot, log, records, zstd_allowed });
                    }
                    Err(error) => outcomes.push(Some(AppendOutcome::refused(slot, error, None))),
                }
            }
            topics.push(ProducedTopic { name: topic.name, id: topic.topic_id, partitions });
        }
        let outstanding = by_shard.iter().filter(|items| !items.is_empty()).count();
        let producing = Producing { request, acks: body.acks, topics, outcomes, outstanding };
        if outstanding == 0 {
            self.respond_produce(producing);
            return Ok(());
        }
        let flow = FlowId(self.new_id());
        self.flows.insert(flow, Flow::Producing(producing));
        let deadline_us = self.now.mono_us + u64::from(body.timeout_ms.max(0).unsigned_abs()) * 1000;
        for (shard, items) in by_shard.into_iter().enumerate() {
            if !items.is_empty() {
                self.ask(flow, ShardId(shard as u16), Ask::Append { acks: body.acks, deadline_us, items });
            }
        }
        Ok(())
    }

    /// What is wrong with the request as a whole: every partition is told.
    fn produce_request_refused(&self, body: &ProduceRequest) -> Option<ErrorCode> {
        match body.acks {
            -1..=1 => {}
            _ => return Some(ErrorCode::InvalidRequiredAcks),
        }
        // Transactions need their coordinator, which this broker does not have yet.
        body.transactional_id.as_ref().map(|_| ErrorCode::InvalidTxnState)
    }

    fn produced_to(&self, version: i16, name: &str, id: TopicId, partition: i32) -> Result<(ShardId, LogId), ErrorCode> {
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
        let Answer::Append { items } = answer else { unreachable!("a produce asks for appends, not {answer:?}") };
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
        let Producing { request, acks, topics, outcomes, .. } = producing;
        let mut outcomes = outcomes.into_iter().map(|outcome| outcome.expect("every shard has answered"));
        if acks == 0 {
            // Nobody reads an answer; the closed connection is how the client learns that something was refused.
            let refused = outcomes.find(|outcome| !outcome.error.is_none());
            match refused {
                Some(outcome) => self.close(request.conn, format!("a produce with acks=0 was refused: {}", outcome.error)),
                None => self.finish(request, Vec::new()),
            }
            return;
        }
        let responses = topics.into_iter().map(|topic| TopicProduceResponse {
            name: topic.name,
            topic_id: topic.id,
            partition_responses: (topic.partitions.into_iter())
                .zip(outcomes.by_ref())
                .map(|(index, outcome)| PartitionProduceResponse {
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
                })
                .collect(),
        });
        let response = ProduceResponse { responses: responses.collect(), ..Default::default() };
        self.respond(request, &response);
    }
}
