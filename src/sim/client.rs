//! Clients as they are: they pipeline, time out, retry and reconnect, and tell the oracle what they were told.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::error::ErrorCode;
use crate::record::{BatchBuilder, Codec, Records, Scan, scan::Depth};
use crate::types::{ConnId, LogId, Offset, Random, TopicId};
use crate::wire::api::Request;
use crate::wire::offsets::*;
use crate::wire::produce_fetch::*;
use crate::wire::transactions::{InitProducerIdRequest, InitProducerIdResponse};
use crate::wire::{Reader, frame};

use super::oracle::{Oracle, RecordNumber, value};
use super::world::{Action, FromBroker, World};

/// Topics as all clients of a history know them; `None` while an incarnation of it does not exist.
#[derive(Clone, Debug, Default)]
pub struct Topics {
    pub names: Vec<String>,
    pub ids: Vec<Option<TopicId>>,
    /// Every incarnation that was ever known: it may exist under its name when another one is known by now.
    pub made: BTreeMap<TopicId, Made>,
    pub partitions: Vec<i32>,
    /// The topic's own `flush.messages`, if it has one.
    pub flush_messages: Vec<Option<i64>>,
    /// Those that may be deleted and made again: named by id only, or a late request would reach the next one of the name.
    pub volatile: Vec<usize>,
    /// Somebody changes how long records are kept, and the number of partitions.
    pub is_altered: bool,
}

/// What a topic was made with.
#[derive(Clone, Debug)]
pub struct Made {
    pub name: String,
    /// Its own `flush.messages`, if it has one.
    pub flush_messages: Option<i64>,
}

/// What a client sees of the history while it acts.
pub struct Scene<'a> {
    pub world: &'a mut World,
    pub oracle: &'a mut Oracle,
    pub topics: &'a mut Topics,
    pub client: usize,
    /// Begin nothing new: the history comes to its end.
    pub is_ending: bool,
}

impl Scene<'_> {
    fn act(&mut self, action: Action) {
        self.world.act(self.client, action);
    }

    pub(super) fn random(&mut self) -> &mut Random {
        &mut self.world.random
    }
}

/// The connection of a client: one at a time, requests answered in order.
#[derive(Default)]
pub(super) struct Line {
    pub(super) conn: Option<ConnId>,
    pub(super) is_connecting: bool,
    correlation_id: i32,
    pub(super) tick: u64,
}

impl Line {
    pub(super) fn connect(&mut self, scene: &mut Scene) {
        if !self.is_connecting && self.conn.is_none() {
            self.is_connecting = true;
            scene.act(Action::Connect);
        }
    }

    pub(super) fn send<R: Request>(&mut self, scene: &mut Scene, request: &R, version: i16) -> i32 {
        self.correlation_id += 1;
        let bytes =
            frame::request(request, version, self.correlation_id, Some("sim")).expect("the client fills it rightly");
        let conn = self.conn.expect("connected");
        scene.act(Action::Send(conn, BytesMut::from(&bytes[4..])));
        self.correlation_id
    }

    pub(super) fn tick_in(&mut self, scene: &mut Scene, delay_us: u64) {
        self.tick += 1;
        scene.act(Action::TickIn(delay_us, self.tick));
    }

    fn drop_connection(&mut self, scene: &mut Scene) {
        if let Some(conn) = self.conn.take() {
            scene.act(Action::Close(conn));
        }
    }
}

pub(super) fn response<R: Request>(bytes: &Bytes, version: i16) -> (i32, R::Response) {
    frame::decode_response::<R>(bytes, version)
        .unwrap_or_else(|error| panic!("an answer to {:?} version {version} cannot be read: {error}", R::KEY))
}

pub trait Client {
    fn start(&mut self, scene: &mut Scene);
    fn on(&mut self, scene: &mut Scene, what: FromBroker);
    /// True when nothing of it is outstanding.
    fn is_done(&self) -> bool;
}

// ------------------------------------------------------------------------------------------------------------------
// Producer

struct Sending {
    numbers: Vec<RecordNumber>,
    records: BytesMut,
    sequence: i32,
    /// Of the request that carries it on this connection.
    correlation_id: Option<i32>,
}

/// A producer of one partition: idempotent ones retry for ever, plain ones never.
pub struct Producer {
    pub idempotent: bool,
    topic: usize,
    topic_id: TopicId,
    partition: i32,
    line: Line,
    producer: Option<(i64, i16)>,
    init_sent: Option<i32>,
    next_sequence: i32,
    sending: VecDeque<Sending>,
    batches_left: u64,
    in_flight_max: usize,
    version: i16,
    is_over: bool,
    refused: ErrorCode,
}

impl Producer {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        random: &mut Random,
        idempotent: bool,
        by_id: bool,
        topic: usize,
        topic_id: TopicId,
        partition: i32,
        batches: u64,
    ) -> Producer {
        Producer {
            idempotent,
            topic,
            topic_id,
            partition,
            line: Line::default(),
            producer: None,
            init_sent: None,
            next_sequence: 0,
            sending: VecDeque::new(),
            batches_left: batches,
            in_flight_max: 1 + random.below(5) as usize,
            version: if by_id { 13 } else { 9 + random.below(5) as i16 },
            is_over: false,
            refused: ErrorCode::None,
        }
    }

    fn log(&self) -> LogId {
        LogId {
            topic: self.topic_id,
            partition: self.partition,
        }
    }

    /// Of the partition that it writes to.
    pub fn folder(&self, topics: &Topics) -> String {
        format!("{}-{}/", topics.made[&self.topic_id].name, self.partition)
    }

    fn work(&mut self, scene: &mut Scene) {
        if self.is_done() {
            return;
        }
        if self.line.conn.is_none() {
            return self.line.connect(scene);
        }
        if self.idempotent && self.producer.is_none() {
            if self.init_sent.is_none() {
                let request = InitProducerIdRequest {
                    transactional_id: None,
                    transaction_timeout_ms: 1000,
                    ..Default::default()
                };
                self.init_sent = Some(self.line.send(scene, &request, 4));
            }
            return;
        }
        // What is not on its way goes first, in order.
        for index in 0..self.sending.len() {
            if self.sending[index].correlation_id.is_none() {
                self.send(scene, index);
            }
        }
        while self.sending.len() < self.in_flight_max && self.batches_left > 0 && !scene.is_ending {
            self.batches_left -= 1;
            let sending = self.new_batch(scene);
            self.sending.push_back(sending);
            self.send(scene, self.sending.len() - 1);
            if scene.random().below(3) == 0 {
                break;
            }
        }
    }

    fn new_batch(&mut self, scene: &mut Scene) -> Sending {
        let mut count = 1 + scene.random().below(6) * scene.random().below(4);
        let codec = match scene.random().below(8) {
            0 => Codec::Lz4,
            1 => Codec::Snappy,
            2 => Codec::Gzip,
            3 => Codec::Zstd,
            _ => Codec::None,
        };
        // Snappy makes them no smaller than the topic allows.
        let long = !matches!(codec, Codec::None | Codec::Snappy) && scene.random().below(20) == 0;
        if long {
            count = 1;
        }
        let mut builder = BatchBuilder::new().compression(codec);
        if let Some((id, epoch)) = self.producer {
            builder = builder.producer(id, epoch, self.next_sequence);
        }
        let now_ms = scene.world.true_ms();
        let mut numbers = Vec::new();
        let mut bytes = 0;
        for _ in 0..count {
            // Now and then its clock is behind.
            let timestamp = now_ms - (scene.random().below(40) as i64 - 20).max(0);
            let number = (scene.oracle).new_record(scene.client, self.log(), self.idempotent, timestamp, long);
            let value = value(number);
            builder = builder.record(timestamp, None, Some(&value));
            numbers.push(number);
            bytes += value.len();
            if bytes > 5_000 {
                break;
            }
        }
        let sequence = self.next_sequence;
        self.next_sequence += numbers.len() as i32;
        Sending {
            numbers,
            records: builder.build(),
            sequence,
            correlation_id: None,
        }
    }

    fn send(&mut self, scene: &mut Scene, index: usize) {
        let partition_data = vec![PartitionProduceData {
            index: self.partition,
            records: Some(self.sending[index].records.clone().freeze()),
        }];
        let request = ProduceRequest {
            transactional_id: None,
            acks: if scene.random().below(4) == 0 { 1 } else { -1 },
            timeout_ms: 30_000,
            topic_data: vec![TopicProduceData {
                name: scene.topics.names[self.topic].clone(),
                topic_id: self.topic_id,
                partition_data,
            }],
        };
        let request = match self.version {
            13 => ProduceRequest {
                topic_data: request
                    .topic_data
                    .into_iter()
                    .map(|t| TopicProduceData {
                        name: String::new(),
                        ..t
                    })
                    .collect(),
                ..request
            },
            _ => request,
        };
        let correlation_id = self.line.send(scene, &request, self.version);
        self.sending[index].correlation_id = Some(correlation_id);
    }

    fn answered(&mut self, scene: &mut Scene, bytes: &Bytes) {
        if self.idempotent && self.producer.is_none() {
            let (_, answer): (_, InitProducerIdResponse) = response::<InitProducerIdRequest>(bytes, 4);
            self.init_sent = None;
            if answer.error_code == 0 {
                self.producer = Some((answer.producer_id, answer.producer_epoch));
            }
            return;
        }
        let (correlation_id, answer) = response::<ProduceRequest>(bytes, self.version);
        let index = self
            .sending
            .iter()
            .position(|s| s.correlation_id == Some(correlation_id));
        let Some(index) = index else {
            panic!("an answer to nothing: {answer:?}")
        };
        let partition = &answer.responses[0].partition_responses[0];
        let error = ErrorCode::from_code(partition.error_code).expect("a known code");
        match error {
            ErrorCode::None => {
                assert_eq!(index, 0, "answers keep the order of requests");
                let sent = self.sending.pop_front().expect("it is there");
                scene.oracle.acked(self.log(), partition.base_offset, &sent.numbers);
                scene.world.count("produce acknowledged");
            }
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => {
                let gone =
                    scene.topics.ids[self.topic] != Some(self.topic_id) || scene.oracle.may_be_deleted(self.log());
                if gone || !self.idempotent {
                    // The topic was deleted: nothing of it is promised any more.
                    self.give_up(scene);
                } else {
                    self.retry(scene);
                }
            }
            ErrorCode::OutOfOrderSequenceNumber if scene.oracle.has_forgotten => {
                // What came before was acknowledged and never flushed; a real producer takes a new epoch.
                scene.world.count("sequence lost with the power");
                self.give_up(scene);
            }
            ErrorCode::OutOfOrderSequenceNumber
                if scene.is_ending && scene.world.has_counted("segments deleted, their producers not saved") =>
            {
                // What came before was in a segment that is deleted, and the disk was too full to write down who wrote it.
                scene.world.count("sequence lost with a deleted segment");
                self.give_up(scene);
            }
            _ => {
                self.refused = error;
                scene.world.count("produce refused");
                if scene.is_ending && scene.oracle.may_be_read_only(self.log()) {
                    return self.give_up(scene);
                }
                if self.idempotent {
                    assert!(
                        !matches!(
                            error,
                            ErrorCode::CorruptMessage | ErrorCode::InvalidRecord | ErrorCode::UnknownServerError
                        ),
                        "{error}: {partition:?}"
                    );
                    self.retry(scene);
                } else {
                    self.sending.remove(index);
                }
            }
        }
    }

    /// Everything that is outstanding will be sent again, in order, on a new connection.
    fn retry(&mut self, scene: &mut Scene) {
        scene.world.count("produce retried");
        self.line.drop_connection(scene);
        self.lost_connection(scene);
    }

    fn lost_connection(&mut self, scene: &mut Scene) {
        self.init_sent = None;
        if self.idempotent {
            self.sending.iter_mut().for_each(|s| s.correlation_id = None);
        } else {
            self.sending.clear();
        }
        let delay = 1000 + scene.random().below(50_000);
        self.line.tick_in(scene, delay);
    }

    fn give_up(&mut self, scene: &mut Scene) {
        self.is_over = true;
        self.sending.clear();
        self.line.drop_connection(scene);
    }
}

impl Client for Producer {
    fn start(&mut self, scene: &mut Scene) {
        self.work(scene);
    }

    fn on(&mut self, scene: &mut Scene, what: FromBroker) {
        match what {
            FromBroker::Connected(conn) => {
                self.line.is_connecting = false;
                self.line.conn = Some(conn);
                // A request that is never answered: after a while the client gives the connection up.
                self.line.tick_in(scene, 5_000_000);
            }
            FromBroker::Refused => {
                self.line.is_connecting = false;
                self.line.tick_in(scene, 20_000);
                return;
            }
            FromBroker::Response(conn, bytes) if Some(conn) == self.line.conn => {
                self.answered(scene, &bytes);
                if self.line.conn.is_some() && scene.random().below(200) == 0 {
                    scene.world.count("client gave up its connection");
                    self.retry_or_drop(scene);
                }
            }
            FromBroker::Closed(conn) if Some(conn) == self.line.conn => {
                self.line.conn = None;
                self.lost_connection(scene);
            }
            FromBroker::Tick(token) if token == self.line.tick => {
                if self.line.conn.is_some() && (!self.sending.is_empty() || self.init_sent.is_some()) {
                    scene.world.count("client timed out");
                    self.retry_or_drop(scene);
                }
            }
            _ => return,
        }
        self.work(scene);
    }

    fn is_done(&self) -> bool {
        self.is_over || (self.batches_left == 0 && self.sending.is_empty())
    }
}

impl Producer {
    fn retry_or_drop(&mut self, scene: &mut Scene) {
        self.line.drop_connection(scene);
        self.lost_connection(scene);
    }

    /// Nothing new is begun; what is outstanding is still seen through.
    pub fn wind_up(&mut self) {
        self.batches_left = 0;
    }

    pub fn describe(&self) -> String {
        format!(
            "producer of {} with {} batches left, sequences {:?}, last refused with {}",
            self.log(),
            self.batches_left,
            self.sending.iter().map(|s| s.sequence).collect::<Vec<_>>(),
            self.refused
        )
    }
}

// ------------------------------------------------------------------------------------------------------------------
// Consumer

/// Reads one partition from its start, over and over or once, with and without a fetch session.
pub struct Consumer {
    topic: usize,
    topic_id: TopicId,
    partition: i32,
    line: Line,
    offset: Option<Offset>,
    start: Offset,
    version: i16,
    use_session: bool,
    session: (i32, i32),
    is_listing: bool,
    /// A time that it asks for, and the offset of a record that has it.
    looking_up: Option<(i64, Offset)>,
    outstanding: Option<i32>,
    pub found: BTreeMap<Offset, Vec<u8>>,
    /// Read once from the start to the end that is there, keeping everything.
    once: bool,
    end: Option<Offset>,
    done: bool,
    pub errors: u64,
}

impl Consumer {
    pub fn new(random: &mut Random, topic: usize, topic_id: TopicId, partition: i32, once: bool) -> Consumer {
        Consumer {
            topic,
            topic_id,
            partition,
            line: Line::default(),
            offset: None,
            start: 0,
            version: 12 + random.below(7) as i16,
            use_session: random.below(2) == 0,
            session: (0, 0),
            is_listing: false,
            looking_up: None,
            outstanding: None,
            found: BTreeMap::new(),
            once,
            end: None,
            done: false,
            errors: 0,
        }
    }

    pub fn log(&self) -> LogId {
        LogId {
            topic: self.topic_id,
            partition: self.partition,
        }
    }

    /// The topic was deleted, or its deletion was asked for and nobody heard the answer.
    fn is_gone(&self, scene: &Scene) -> bool {
        scene.topics.ids[self.topic] != Some(self.topic_id) || scene.oracle.may_be_deleted(self.log())
    }

    /// Where the log began and ended, of a reading that is done.
    pub fn range(&self) -> (Offset, Offset) {
        (self.start, self.end.unwrap_or(self.start))
    }

    fn work(&mut self, scene: &mut Scene) {
        if self.done || self.outstanding.is_some() {
            return;
        }
        if self.line.conn.is_none() {
            return self.line.connect(scene);
        }
        if self.version < 13 && scene.topics.ids[self.topic] != Some(self.topic_id) {
            // Its name may be another one by now, and a session would go on with both.
            self.done = true;
            return;
        }
        self.looking_up = None;
        let Some(offset) = self.offset else {
            return self.list(scene, -2);
        };
        if !self.once && scene.random().below(8) == 0 {
            self.looking_up = (scene.oracle)
                .some_record(self.log(), &mut scene.world.random)
                .map(|(offset, timestamp)| (timestamp, offset));
            if let Some((timestamp, _)) = self.looking_up {
                return self.list(scene, timestamp);
            }
        }
        let (name, topic_id) = match self.version {
            13.. => (String::new(), self.topic_id),
            _ => (scene.topics.names[self.topic].clone(), TopicId::ZERO),
        };
        let request = FetchRequest {
            max_wait_ms: if self.once { 0 } else { scene.random().below(20) as i32 },
            min_bytes: scene.random().below(3) as i32,
            max_bytes: 1 + scene.random().below(200_000) as i32,
            session_id: self.session.0,
            session_epoch: if self.use_session { self.session.1 } else { -1 },
            topics: vec![FetchTopic {
                topic: name,
                topic_id,
                partitions: vec![FetchPartition {
                    partition: self.partition,
                    fetch_offset: offset,
                    partition_max_bytes: 1 + scene.random().below(100_000) as i32,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        self.is_listing = false;
        self.outstanding = Some(self.line.send(scene, &request, self.version));
    }

    fn list(&mut self, scene: &mut Scene, timestamp: i64) {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: scene.topics.names[self.topic].clone(),
                partitions: vec![ListOffsetsPartition {
                    partition_index: self.partition,
                    timestamp,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        self.is_listing = true;
        self.outstanding = Some(self.line.send(scene, &request, 7));
    }

    fn listed(&mut self, scene: &mut Scene, bytes: &Bytes) {
        let (_, answer) = response::<ListOffsetsRequest>(bytes, 7);
        let partition = &answer.topics[0].partitions[0];
        match ErrorCode::from_code(partition.error_code).expect("a known code") {
            ErrorCode::None if self.looking_up.is_some() => {
                let (wanted, promised) = self.looking_up.expect("just seen");
                // By name, the answer may be of a topic that was made anew meanwhile.
                if !self.is_gone(scene) {
                    scene.world.count("time looked up");
                    (scene.oracle).looked_up(self.log(), wanted, promised, partition.offset, partition.timestamp);
                }
            }
            ErrorCode::None => {
                self.offset = Some(partition.offset);
                self.start = partition.offset;
                let true_ms = scene.world.true_ms();
                if !scene.topics.volatile.contains(&self.topic)
                    && scene.oracle.begins_at(self.log(), partition.offset, true_ms)
                {
                    scene.world.count("records gone for their age");
                }
            }
            _ if self.is_gone(scene) => self.done = true,
            _ => self.failed(scene),
        }
    }

    fn failed(&mut self, scene: &mut Scene) {
        self.errors += 1;
        if self.once && self.errors > 20 {
            // A damaged log answers with errors for ever; the oracle says whether that may be.
            self.end = self.offset;
            self.done = true;
        }
        self.line.drop_connection(scene);
        self.session = (0, 0);
        self.line.tick_in(scene, 20_000);
    }

    fn fetched(&mut self, scene: &mut Scene, bytes: &Bytes) {
        let (_, answer) = response::<FetchRequest>(bytes, self.version);
        if answer.error_code != 0 {
            scene.world.count("fetch session refused");
            self.session = (0, 0);
            return;
        }
        if self.use_session {
            if self.session.0 != 0 && self.session.0 == answer.session_id {
                scene.world.count("fetch session continued");
            }
            self.session = match answer.session_id {
                0 => (0, 0),
                id => (id, self.session.1 + 1),
            };
        }
        // A session remembers a name that the topic has left.
        let name = &scene.topics.names[self.topic];
        let is_asked = |topic: &&FetchableTopicResponse| topic.topic_id == self.topic_id || topic.topic == *name;
        let asked = answer.responses.iter().find(is_asked);
        let Some(partition) = asked.and_then(|topic| topic.partitions.first()) else {
            scene.world.count("fetch answered with nothing new");
            return;
        };
        match ErrorCode::from_code(partition.error_code).expect("a known code") {
            ErrorCode::None => {}
            ErrorCode::OffsetOutOfRange => {
                scene.world.count("fetch out of range");
                self.offset = None;
                self.found.clear();
                return;
            }
            _ if self.is_gone(scene) => {
                self.done = true;
                return;
            }
            _ => return self.failed(scene),
        }
        let log = self.log();
        if self.version >= 13 {
            scene.oracle.high_watermark(log, partition.high_watermark);
        }
        let records = partition.records.clone().unwrap_or_default();
        let before = self.offset.expect("fetching");
        let mut offset = before;
        let mut scan = Scan::new(&records, Depth::Crc);
        for view in scan.by_ref() {
            let batch = view.slice_of(&records);
            for record in Records::of(&batch, 16 << 20).expect("what was checked can be read") {
                let record = record.expect("what was checked can be read");
                if record.offset < before {
                    continue;
                }
                assert_eq!(record.offset, offset, "{log}: offsets are dense");
                assert!(
                    record.offset < partition.high_watermark,
                    "{log}: a record beyond the high watermark is visible"
                );
                let bytes = record.value.expect("every record has a value");
                // By name, the answer may be of a topic that was made anew meanwhile.
                if self.version >= 13 || scene.topics.ids[self.topic] == Some(self.topic_id) {
                    scene.oracle.saw(log, record.offset, &bytes);
                    if self.once {
                        self.found.insert(record.offset, bytes.to_vec());
                    }
                }
                offset += 1;
            }
        }
        self.offset = Some(offset);
        if offset >= partition.high_watermark && self.once {
            self.end = Some(offset);
            self.done = true;
        } else if !self.once && scene.random().below(30) == 0 {
            scene.world.count("consumer started over");
            self.offset = None;
        }
    }
}

impl Client for Consumer {
    fn start(&mut self, scene: &mut Scene) {
        self.work(scene);
    }

    fn on(&mut self, scene: &mut Scene, what: FromBroker) {
        match what {
            FromBroker::Connected(conn) => {
                self.line.is_connecting = false;
                self.line.conn = Some(conn);
                self.session = (0, 0);
            }
            FromBroker::Refused => {
                self.line.is_connecting = false;
                self.line.tick_in(scene, 20_000);
                return;
            }
            FromBroker::Response(conn, bytes) if Some(conn) == self.line.conn => {
                self.outstanding = None;
                if self.is_listing {
                    self.listed(scene, &bytes);
                } else {
                    self.fetched(scene, &bytes);
                }
                if scene.is_ending && !self.once {
                    self.done = true;
                }
                if self.line.conn.is_none() {
                    return;
                }
            }
            FromBroker::Closed(conn) if Some(conn) == self.line.conn => {
                self.line.conn = None;
                self.outstanding = None;
                self.line.tick_in(scene, 20_000);
                return;
            }
            FromBroker::Tick(token) if token == self.line.tick => {
                self.outstanding = None;
            }
            _ => return,
        }
        if scene.is_ending && !self.once {
            self.done = true;
        }
        self.work(scene);
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

/// Reads a response's correlation id; every response has one.
pub fn correlation_id(bytes: &Bytes) -> i32 {
    Reader::new(bytes).i32().expect("a response has a header")
}
