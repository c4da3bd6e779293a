//! A client of the protocol that says exactly what a test wants it to say, wrong things included.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tidemill::error::ErrorCode;
use tidemill::record::scan::Depth;
use tidemill::record::{BatchBuilder, Records, Scan};
use tidemill::wire::api::Request;
use tidemill::wire::frame;
use tidemill::wire::offsets::*;
use tidemill::wire::produce_fetch::*;
use tidemill::wire::topics::*;

use crate::broker::PATIENCE;

/// Named by topic name, not by id, and the newest such version.
const PRODUCE: i16 = 12;
pub const FETCH: i16 = 12;

/// One connection.
pub struct Client {
    socket: TcpStream,
    sent: i32,
}

impl Client {
    pub fn connect(address: &str) -> Client {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { socket, sent: 0 }
    }

    /// Asks and waits for the answer.
    #[track_caller]
    pub fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.ask(request, version);
        self.answer::<R>(version)
    }

    /// Asks and does not wait.
    #[track_caller]
    pub fn ask<R: Request>(&mut self, request: &R, version: i16) {
        self.sent += 1;
        let bytes = frame::request(request, version, self.sent, Some("test")).unwrap();
        self.send(&bytes);
    }

    /// The answer to the only question that has none yet.
    #[track_caller]
    pub fn answer<R: Request>(&mut self, version: i16) -> R::Response {
        let answer = self.frame().expect("the connection was closed");
        let (correlation_id, response) = frame::decode_response::<R>(&answer, version).unwrap();
        assert_eq!(correlation_id, self.sent);
        response
    }

    /// Bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Bytes as they are, to a broker that may have had enough. `false`: it has.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// The same connection once more, for another thread.
    pub fn twin(&self) -> Client {
        Client {
            socket: self.socket.try_clone().unwrap(),
            sent: self.sent,
        }
    }

    /// Ends the connection, its twin's too.
    pub fn shut(&self) {
        self.socket.shutdown(Shutdown::Both).unwrap();
    }

    /// A whole request: its header in the old, plain form, then this body.
    #[track_caller]
    pub fn send_request(&mut self, api: i16, version: i16, body: &[u8]) {
        let header = [
            &api.to_be_bytes()[..],
            &version.to_be_bytes(),
            &7i32.to_be_bytes(),
            &(-1i16).to_be_bytes(),
        ];
        let request = [&header.concat(), body].concat();
        self.send(&[&(request.len() as i32).to_be_bytes()[..], &request].concat());
    }

    /// The next frame without its length, `None` when the connection is closed instead.
    #[track_caller]
    pub fn frame(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        let mut body = Vec::new();
        let mut read = || -> std::io::Result<()> {
            self.socket.read_exact(&mut length)?;
            body.resize(i32::from_be_bytes(length) as usize, 0);
            self.socket.read_exact(&mut body)
        };
        match read() {
            Ok(()) => Some(body.into()),
            Err(error) if is_close(error.kind()) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether it is closed by now; what arrives until then is an error.
    pub fn is_closed(&mut self, wait: Duration) -> bool {
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let read = self.socket.read(&mut [0]);
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        match read {
            Ok(0) => true,
            Ok(_) => panic!("an answer instead of a close"),
            Err(error) => is_close(error.kind()),
        }
    }

    #[track_caller]
    pub fn expect_closed(&mut self) {
        assert!(self.is_closed(PATIENCE), "the connection stays open");
    }

    // What many tests ask for.

    #[track_caller]
    pub fn create(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        let created = self.try_create(topic, partitions, configs);
        assert_eq!(created.error_code, 0, "{topic}: {:?}", created.error_message);
    }

    #[track_caller]
    pub fn try_create(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatableTopicResult {
        let config = |&(name, value): &(&str, &str)| CreatableTopicConfig {
            name: name.into(),
            value: Some(value.into()),
        };
        let topic = CreatableTopic {
            name: topic.into(),
            num_partitions: partitions,
            replication_factor: -1,
            configs: configs.iter().map(config).collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            ..Default::default()
        };
        self.call(&request, 7).topics.remove(0)
    }

    /// Produces one batch to each of these partitions of a topic, in one request.
    #[track_caller]
    pub fn produce(&mut self, topic: &str, batches: &[(i32, Bytes)]) -> Vec<PartitionProduceResponse> {
        self.ask_produce(topic, batches);
        self.answer::<ProduceRequest>(PRODUCE)
            .responses
            .remove(0)
            .partition_responses
    }

    /// [`Client::produce`] that does not wait.
    #[track_caller]
    pub fn ask_produce(&mut self, topic: &str, batches: &[(i32, Bytes)]) {
        let partition = |(index, records): &(i32, Bytes)| PartitionProduceData {
            index: *index,
            records: Some(records.clone()),
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 20_000,
            topic_data: vec![TopicProduceData {
                name: topic.into(),
                partition_data: batches.iter().map(partition).collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        self.ask(&request, PRODUCE);
    }

    /// One record that must be taken; its offset.
    #[track_caller]
    pub fn append(&mut self, topic: &str, value: &str) -> i64 {
        let answer = self.produce(topic, &[(0, batch(&[value]))]).remove(0);
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        answer.base_offset
    }

    /// What a fetch from partition 0 says, without waiting for more.
    #[track_caller]
    pub fn fetch(&mut self, topic: &str, offset: i64) -> PartitionData {
        let request = fetch_request(topic, [0], offset);
        self.call(&request, FETCH).responses.remove(0).partitions.remove(0)
    }

    /// The first offset of partition 0, by ListOffsets.
    #[track_caller]
    pub fn earliest(&mut self, topic: &str) -> i64 {
        let partition = ListOffsetsPartition {
            timestamp: -2,
            ..Default::default()
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: topic.into(),
                partitions: vec![partition],
            }],
            ..Default::default()
        };
        let answer = self.call(&request, 7).topics.remove(0).partitions.remove(0);
        assert_eq!(answer.error_code, 0);
        answer.offset
    }

    /// Deletes the records of partition 0 below `offset`.
    #[track_caller]
    pub fn delete_below(&mut self, topic: &str, offset: i64) {
        let partition = DeleteRecordsPartition {
            partition_index: 0,
            offset,
        };
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: topic.into(),
                partitions: vec![partition],
            }],
            timeout_ms: 30_000,
        };
        let answer = self.call(&request, 2).topics.remove(0).partitions.remove(0);
        assert_eq!((answer.error_code, answer.low_watermark), (0, offset));
    }

    /// The values in partition 0 from `offset` to its end, each with its offset.
    #[track_caller]
    pub fn values(&mut self, topic: &str, mut offset: i64) -> Vec<(i64, String)> {
        let mut values = Vec::new();
        loop {
            let answer = self.fetch(topic, offset);
            assert_eq!(
                answer.error_code,
                0,
                "{topic} at {offset}: {:?}",
                ErrorCode::from_code(answer.error_code)
            );
            if offset >= answer.high_watermark {
                return values;
            }
            let bytes = answer.records.unwrap();
            let mut scan = Scan::new(&bytes, Depth::Crc);
            let mut next = offset;
            for view in scan.by_ref() {
                next = view.header.next_offset();
                for record in Records::of(&view.slice_of(&bytes), 64 << 20).unwrap() {
                    let record = record.unwrap();
                    if record.offset >= offset {
                        let value = record.value.unwrap();
                        values.push((record.offset, String::from_utf8(value.to_vec()).unwrap()));
                    }
                }
            }
            assert!(
                next > offset,
                "{topic}: nothing at {offset}, the high watermark is {}: {:?}",
                answer.high_watermark,
                scan.stop()
            );
            offset = next;
        }
    }
}

fn is_close(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    )
}

/// The clock's time in milliseconds: records that a test writes are young, or retention deletes them.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A fetch of all that there is in these partitions from `offset` on, that does not wait for more.
pub fn fetch_request(topic: &str, partitions: impl IntoIterator<Item = i32>, offset: i64) -> FetchRequest {
    let partition = |partition| FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 64 << 20,
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.into(),
            partitions: partitions.into_iter().map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A correct batch of these values.
pub fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    let now_ms = now_ms();
    values
        .iter()
        .for_each(|value| builder.push(now_ms, None, Some(value.as_bytes()), &[]));
    builder.build().freeze()
}

/// Somebody else on the same broker, with one connection from beginning to end, who must not notice what a test does.
pub struct Neighbour {
    client: Client,
    sent: i64,
}

impl Neighbour {
    pub const TOPIC: &str = "neighbour";

    pub fn new(address: &str) -> Neighbour {
        let mut client = Client::connect(address);
        client.create(Self::TOPIC, 1, &[]);
        Neighbour { client, sent: 0 }
    }

    /// Produces and reads back a record.
    #[track_caller]
    pub fn is_served(&mut self) {
        let value = format!("record {}", self.sent);
        assert_eq!(self.client.append(Self::TOPIC, &value), self.sent);
        assert_eq!(self.client.values(Self::TOPIC, self.sent), [(self.sent, value)]);
        self.sent += 1;
    }

    /// Reads back all that it ever wrote.
    #[track_caller]
    pub fn reads(&mut self) {
        let values = self.client.values(Self::TOPIC, 0);
        assert_eq!(values.len() as i64, self.sent);
        assert!(
            values
                .iter()
                .all(|(offset, value)| *value == format!("record {offset}"))
        );
    }
}
