//! The connection's side of a fetch: resolve, ask each owner once, answer when there is enough or the time is up.
//!
//! Owners answer within their grant; only this side applies the request's min and max bytes, in the client's order. When
//! there is too little it asks once more and leaves its interest behind; a wake asks the shard that woke it again.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::record::Header;
use crate::types::{LogId, Offset, ShardId, client_map};
use crate::wire::fetch::{self as wire, FetchHead, FetchedPartition};
use crate::wire::produce_fetch::*;

use super::message::{Answer, Ask, FlowId, Message, ReadItem, ReadOutcome};
use super::requests::Request;
use super::sessions::{self, Context, PartitionName, Told, TopicName, Wanted};
use super::{Asker, Flow, Shard};

pub struct Fetching {
    request: Request,
    context: Context,
    names: Vec<PartitionName>,
    /// By place in `names`.
    outcomes: Vec<Option<ReadOutcome>>,
    /// What each shard is asked for; the index is the shard.
    items: Vec<Vec<ReadItem>>,
    bytes_min: usize,
    bytes_max: usize,
    deadline_us: u64,
    outstanding: usize,
    is_parked: bool,
    /// A shard was short of memory: what there is will do.
    is_short: bool,
    /// Shards that had something new while an answer was still missing.
    woken: Vec<ShardId>,
}

impl Shard {
    pub(super) fn fetch(&mut self, request: Request, body: &FetchRequest) {
        let by_id = request.version >= 13;
        let topic_name = |topic: &str, id| match by_id {
            true => TopicName::Id(id),
            false => TopicName::Name(Arc::from(topic)),
        };
        // A partition that is named twice is one, as the last naming says.
        let mut partitions = client_map(&mut self.random);
        for topic in &body.topics {
            let name = topic_name(&topic.topic, topic.topic_id);
            for partition in &topic.partitions {
                let wanted = Wanted {
                    offset: partition.fetch_offset,
                    bytes_max: partition.partition_max_bytes,
                    leader_epoch: partition.current_leader_epoch,
                    last_fetched_epoch: partition.last_fetched_epoch,
                };
                let name = PartitionName {
                    topic: name.clone(),
                    partition: partition.partition,
                };
                partitions.insert(name, wanted);
            }
        }
        let mut forgotten = Vec::new();
        for topic in &body.forgotten_topics_data {
            let name = topic_name(&topic.topic, topic.topic_id);
            forgotten.extend(topic.partitions.iter().map(|&partition| PartitionName {
                topic: name.clone(),
                partition,
            }));
        }
        let asked = sessions::Request {
            conn: request.conn,
            session_id: body.session_id,
            epoch: body.session_epoch,
            by_id,
            partitions: partitions.into_iter().collect(),
            forgotten,
        };
        let begun = self.sessions.begin(self.now.mono_us, &mut self.random, asked);
        let (context, wanted) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                let response = FetchResponse {
                    error_code: error.code(),
                    ..Default::default()
                };
                return self.respond(request, &response);
            }
        };
        let read_committed = body.isolation_level == 1;
        // A follower asks for its own replica; this broker has no followers yet, so that only consumers may read.
        let is_replica = body.replica_id >= 0 || body.replica_state.replica_id >= 0;
        let mut items: Vec<Vec<ReadItem>> = (0..self.config.shards).map(|_| Vec::new()).collect();
        let mut names = Vec::with_capacity(wanted.len());
        let mut outcomes = Vec::with_capacity(wanted.len());
        for (slot, (name, wanted)) in wanted.into_iter().enumerate() {
            let found = match is_replica {
                true => Err(ErrorCode::NotLeaderOrFollower),
                false => self.resolve(&name),
            };
            outcomes.push(found.err().map(|error| ReadOutcome::without_records(slot, error)));
            names.push(name);
            if let Ok(log) = found {
                items[usize::from(self.owner(log).0)].push(ReadItem {
                    slot,
                    log,
                    offset: wanted.offset,
                    bytes_max: wanted.bytes_max.max(0) as usize,
                    // Below zero says nothing here, elsewhere only -1.
                    leader_epoch: wanted.leader_epoch.max(-1),
                    last_fetched_epoch: wanted.last_fetched_epoch,
                    read_committed,
                });
            }
        }
        let bytes_max = (body.max_bytes.max(0) as usize).min(self.config.broker.fetch_max_bytes);
        let wait_us = u64::from(body.max_wait_ms.max(0).unsigned_abs()) * 1000;
        let fetching = Fetching {
            request,
            context,
            names,
            outcomes,
            items,
            // No wait brings more than the most that is given, and whoever waits holds what there is.
            bytes_min: (body.min_bytes.max(0) as usize)
                .min(bytes_max)
                .min(self.outgoing.parked_bytes_max()),
            bytes_max,
            deadline_us: self.now.mono_us + wait_us,
            outstanding: 0,
            is_parked: false,
            is_short: false,
            woken: Vec::new(),
        };
        let flow = FlowId(self.new_id());
        self.begins_flow(request.conn, flow);
        let shards = (0..self.config.shards).map(ShardId).collect();
        self.ask_owners(flow, Box::new(fetching), shards);
    }

    fn resolve(&self, name: &PartitionName) -> Result<LogId, ErrorCode> {
        let (topic, missing) = match &name.topic {
            TopicName::Id(id) => (self.image.topic_by_id(*id), ErrorCode::UnknownTopicId),
            TopicName::Name(name) => (self.image.topic(name), ErrorCode::UnknownTopicOrPartition),
        };
        let topic = topic.ok_or(missing)?;
        if !topic.partitions.contains_key(&name.partition) {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        Ok(topic.log_id(name.partition))
    }

    /// Asks these shards, as far as the fetch wants anything of them.
    fn ask_owners(&mut self, flow: FlowId, mut fetching: Box<Fetching>, shards: Vec<ShardId>) {
        let asks: Vec<(ShardId, Ask)> = (shards.into_iter())
            .map(|shard| (shard, fetching.items[usize::from(shard.0)].clone()))
            .filter(|(_, items)| !items.is_empty())
            .map(|(shard, items)| {
                (
                    shard,
                    Ask::Read {
                        items,
                        bytes_max: fetching.bytes_max,
                        park: fetching.is_parked,
                    },
                )
            })
            .collect();
        fetching.outstanding += asks.len();
        if asks.is_empty() && fetching.outstanding == 0 {
            return self.consider(flow, fetching);
        }
        self.flows.insert(flow, Flow::Fetching(fetching));
        for (shard, ask) in asks {
            self.ask(flow, shard, ask);
        }
    }

    pub(super) fn fetch_answered(&mut self, flow: FlowId, mut fetching: Box<Fetching>, from: ShardId, answer: Answer) {
        let Answer::Read { items, is_short } = answer else {
            unreachable!("a fetch asks for reads, not {answer:?} of {from:?}")
        };
        for outcome in items {
            let slot = outcome.slot;
            fetching.outcomes[slot] = Some(outcome);
        }
        fetching.is_short |= is_short;
        fetching.outstanding -= 1;
        if fetching.outstanding > 0 {
            self.flows.insert(flow, Flow::Fetching(fetching));
        } else {
            self.consider(flow, fetching);
        }
    }

    /// Every answer is there: respond, or wait.
    fn consider(&mut self, flow: FlowId, mut fetching: Box<Fetching>) {
        if fetching.is_enough() || self.now.mono_us >= fetching.deadline_us || self.is_stopping() {
            return self.respond_fetch(flow, *fetching);
        }
        if !fetching.is_parked {
            fetching.is_parked = true;
            self.deadlines.insert((fetching.deadline_us, flow));
            let shards = (0..self.config.shards).map(ShardId).collect();
            return self.park_or_ask(flow, fetching, shards);
        }
        let woken = std::mem::take(&mut fetching.woken);
        self.park_or_ask(flow, fetching, woken);
    }

    fn park_or_ask(&mut self, flow: FlowId, fetching: Box<Fetching>, shards: Vec<ShardId>) {
        if shards
            .iter()
            .any(|shard| !fetching.items[usize::from(shard.0)].is_empty())
        {
            self.ask_owners(flow, fetching, shards);
        } else {
            self.flows.insert(flow, Flow::Fetching(fetching));
        }
    }

    /// One of the shards that this fetch waits for has something new.
    pub(super) fn woken(&mut self, flow: FlowId, from: ShardId) {
        let Some(Flow::Fetching(fetching)) = self.flows.get_mut(&flow) else {
            return;
        };
        if fetching.outstanding > 0 {
            if !fetching.woken.contains(&from) {
                fetching.woken.push(from);
            }
            return;
        }
        let Some(Flow::Fetching(fetching)) = self.flows.remove(&flow) else {
            unreachable!("just seen")
        };
        self.ask_owners(flow, fetching, vec![from]);
    }

    pub(super) fn fetch_expired(&mut self, flow: FlowId) {
        // With answers under way, the last of them finds the deadline passed.
        if let Some(Flow::Fetching(fetching)) = self.flows.get(&flow)
            && fetching.outstanding == 0
            && let Some(Flow::Fetching(fetching)) = self.flows.remove(&flow)
        {
            self.respond_fetch(flow, *fetching);
        }
    }

    pub(super) fn abandon_fetch(&mut self, flow: FlowId) {
        if let Some(Flow::Fetching(fetching)) = self.flows.remove(&flow) {
            self.forget_everywhere(flow, &fetching);
        }
    }

    fn forget_everywhere(&mut self, flow: FlowId, fetching: &Fetching) {
        if !fetching.is_parked {
            return;
        }
        self.deadlines.remove(&(fetching.deadline_us, flow));
        for (shard, items) in fetching.items.iter().enumerate() {
            let shard = ShardId(shard as u16);
            if items.is_empty() {
                continue;
            }
            if shard == self.config.id {
                self.forget_interest(Asker { shard, flow });
            } else {
                self.tell(shard, Message::Forget { flow });
            }
        }
    }

    fn respond_fetch(&mut self, flow: FlowId, fetching: Fetching) {
        self.forget_everywhere(flow, &fetching);
        let Fetching {
            request,
            context,
            names,
            outcomes,
            items,
            bytes_max,
            ..
        } = fetching;
        let mut asked: Vec<Option<&ReadItem>> = vec![None; names.len()];
        items.iter().flatten().for_each(|item| asked[item.slot] = Some(item));
        let mut answers = Vec::with_capacity(names.len());
        let (mut bytes_left, mut has_any) = (bytes_max, false);
        for ((name, outcome), asked) in names.iter().zip(outcomes).zip(asked) {
            let mut outcome = outcome.expect("every shard has answered");
            let bytes: usize = outcome.slices.iter().map(Bytes::len).sum();
            // Only the first partition that has anything may exceed a limit; who finds no room is served next time.
            let limit = asked.map_or(0, |asked| asked.bytes_max.min(bytes_left));
            if bytes > limit && has_any {
                outcome.slices.clear();
            }
            has_any |= !outcome.slices.is_empty();
            bytes_left = bytes_left.saturating_sub(outcome.slices.iter().map(Bytes::len).sum());
            let told = Told {
                high_watermark: outcome.high_watermark,
                log_start: outcome.log_start,
            };
            let is_error = !outcome.error.is_none() || outcome.diverging.is_some();
            if !self
                .sessions
                .answer(context, name, told, !outcome.slices.is_empty(), is_error)
            {
                continue;
            }
            // As in Kafka an error comes without offsets.
            let offset = |offset| if outcome.error.is_none() { offset } else { -1 };
            let aborted_transactions = match outcome.error {
                ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => Some(Vec::new()),
                ErrorCode::None if asked.is_some_and(|asked| asked.read_committed) => Some(Vec::new()),
                // Nobody hears of transactions who reads uncommitted records.
                _ => None,
            };
            let mut data = PartitionData {
                partition_index: name.partition,
                error_code: outcome.error.code(),
                high_watermark: offset(outcome.high_watermark),
                last_stable_offset: offset(outcome.last_stable_offset),
                log_start_offset: offset(outcome.log_start),
                aborted_transactions,
                ..Default::default()
            };
            if let Some((epoch, end_offset)) = outcome.diverging {
                data.diverging_epoch = EpochEndOffset { epoch, end_offset };
            }
            let topic = match &name.topic {
                TopicName::Name(name) => TopicRef {
                    name,
                    id: Default::default(),
                },
                TopicName::Id(id) => TopicRef { name: "", id: *id },
            };
            answers.push(FetchedPartition {
                topic,
                data,
                records: outcome.slices,
            });
        }
        let head = FetchHead {
            session_id: context.session_id(),
            ..Default::default()
        };
        match wire::response(request.version, request.correlation_id, &head, &answers) {
            Ok(slices) => self.finish(request, slices),
            Err(error) => self.close(
                request.conn,
                format!("the answer to a fetch cannot be written: {error}"),
            ),
        }
    }
}

impl Fetching {
    /// Enough bytes, or something that the client must hear of at once.
    fn is_enough(&self) -> bool {
        let mut bytes = 0;
        for outcome in self.outcomes.iter().flatten() {
            if !outcome.error.is_none() || outcome.diverging.is_some() {
                return true;
            }
            bytes += outcome.slices.iter().map(Bytes::len).sum::<usize>();
        }
        let is_enough = bytes >= self.bytes_min || bytes > 0 && (self.is_short || self.is_cut());
        is_enough || self.names.is_empty()
    }

    /// Whether a partition has more than came of it, for a limit of the partition, of a batch or of one read: no wait
    /// brings that, and whoever waits for the least number of bytes would wait in vain.
    fn is_cut(&self) -> bool {
        self.items.iter().flatten().any(|item| {
            let Some(outcome) = &self.outcomes[item.slot] else {
                return false;
            };
            let upto = match item.read_committed {
                true => outcome.last_stable_offset,
                false => outcome.high_watermark,
            };
            outcome.slices.last().map_or(item.offset, next_offset) < upto
        })
    }
}

/// The offset behind whole batches.
fn next_offset(batches: &Bytes) -> Offset {
    let mut at = 0;
    let headers = std::iter::from_fn(|| {
        let header = Header::decode(batches.get(at..)?).ok()?;
        at += header.size_bytes;
        Some(header)
    });
    headers.last().map_or(Offset::MAX, |header| header.next_offset())
}
