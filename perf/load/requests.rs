//! The few requests that the load generator sends, encoded by hand so that it owes nothing to what it measures.
//!
//! Produce v9 (the first flexible version; 9 to 12 have one layout), Fetch v11, CreateTopics v4, DeleteTopics v1, ListOffsets v1,
//! ApiVersions v0: each is served by Kafka 4.1 and 4.4.

use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const CLIENT_ID: &str = "load";

/// Where the correlation id is in a request, length prefix included.
const CORRELATION_AT: usize = 8;

/// A request that is whole but for its length prefix.
struct Encoder(Vec<u8>);

impl Encoder {
    fn request(api_key: i16, version: i16) -> Encoder {
        let mut e = Encoder(vec![0; 4]);
        e.i16(api_key).i16(version).i32(0).string(CLIENT_ID);
        e
    }

    fn i8(&mut self, v: i8) -> &mut Self {
        self.0.extend(v.to_be_bytes());
        self
    }

    fn i16(&mut self, v: i16) -> &mut Self {
        self.0.extend(v.to_be_bytes());
        self
    }

    fn i32(&mut self, v: i32) -> &mut Self {
        self.0.extend(v.to_be_bytes());
        self
    }

    fn i64(&mut self, v: i64) -> &mut Self {
        self.0.extend(v.to_be_bytes());
        self
    }

    fn string(&mut self, v: &str) -> &mut Self {
        self.i16(v.len() as i16);
        self.0.extend(v.as_bytes());
        self
    }

    fn uvarint(&mut self, mut v: u64) -> &mut Self {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
        self
    }

    fn varint(&mut self, v: i64) -> &mut Self {
        self.uvarint(((v << 1) ^ (v >> 63)) as u64)
    }

    fn compact_string(&mut self, v: &str) -> &mut Self {
        self.uvarint(v.len() as u64 + 1);
        self.0.extend(v.as_bytes());
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let bytes = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&bytes.to_be_bytes());
        self.0
    }
}

/// One record batch (magic 2, no compression, no producer id) of equal records with values that do not compress.
fn batch(records: usize, size: usize) -> Vec<u8> {
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let value: Vec<u8> = (0..size)
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random as u8
        })
        .collect();
    let now_ms = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_millis() as i64;
    let mut body = Encoder(Vec::new());
    // Attributes, last offset delta, base and max timestamp, producer id, epoch and sequence, record count.
    body.i16(0).i32(records as i32 - 1).i64(now_ms).i64(now_ms);
    body.i64(-1).i16(-1).i32(-1).i32(records as i32);
    for index in 0..records {
        let mut record = Encoder(Vec::new());
        record
            .i8(0)
            .varint(0)
            .varint(index as i64)
            .varint(-1)
            .varint(size as i64);
        record.0.extend(&value);
        record.varint(0);
        body.varint(record.0.len() as i64);
        body.0.extend(record.0);
    }
    let mut batch = Encoder(Vec::new());
    // Base offset, length of what follows, partition leader epoch, magic, CRC.
    batch.i64(0).i32(body.0.len() as i32 + 9).i32(-1).i8(2);
    batch.0.extend(crc32c(&body.0).to_be_bytes());
    batch.0.extend(body.0);
    batch.0
}

/// Bit by bit: it runs once per template.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    })
}

#[derive(Clone)]
pub struct ProduceTemplate {
    bytes: Vec<u8>,
    partition_at: usize,
    error_at: usize,
    /// Bytes of record values in one request.
    pub value_bytes: u64,
}

impl ProduceTemplate {
    pub fn new(topic: &str, acks: i16, records: usize, size: usize) -> ProduceTemplate {
        let mut e = Encoder::request(0, 9);
        // Header's tagged fields, no transactional id, acks, timeout, one topic with one partition.
        e.uvarint(0).uvarint(0).i16(acks).i32(30_000);
        e.uvarint(2).compact_string(topic).uvarint(2);
        let partition_at = e.0.len();
        let batch = batch(records, size);
        e.i32(0).uvarint(batch.len() as u64 + 1);
        e.0.extend(batch);
        e.uvarint(0).uvarint(0).uvarint(0);
        ProduceTemplate {
            bytes: e.finish(),
            partition_at,
            // Correlation id, tagged fields, topic count, name, partition count, partition.
            error_at: 4 + 1 + 1 + 1 + topic.len() + 1 + 4,
            value_bytes: (records * size) as u64,
        }
    }

    pub fn request(&mut self, correlation: i32, partition: i32) -> &[u8] {
        self.bytes[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation.to_be_bytes());
        self.bytes[self.partition_at..self.partition_at + 4].copy_from_slice(&partition.to_be_bytes());
        &self.bytes
    }

    /// The error code of the one partition in a response frame.
    pub fn error(&self, frame: &[u8]) -> i16 {
        let code = frame.get(self.error_at..self.error_at + 2).unwrap_or(&[0xFF, 0xFF]);
        i16::from_be_bytes([code[0], code[1]])
    }
}

pub struct FetchTemplate {
    bytes: Vec<u8>,
    partition_at: usize,
    offset_at: usize,
}

impl FetchTemplate {
    pub fn new(topic: &str, max_bytes: i32) -> FetchTemplate {
        let mut e = Encoder::request(1, 11);
        // Replica, wait, min and max bytes, isolation, no session, one topic with one partition.
        e.i32(-1).i32(500).i32(1).i32(max_bytes).i8(0).i32(0).i32(-1);
        e.i32(1).string(topic).i32(1);
        let partition_at = e.0.len();
        e.i32(0).i32(-1);
        let offset_at = e.0.len();
        e.i64(0).i64(-1).i32(max_bytes);
        // No forgotten topics, no rack.
        e.i32(0).string("");
        FetchTemplate {
            bytes: e.finish(),
            partition_at,
            offset_at,
        }
    }

    pub fn request(&mut self, correlation: i32, partition: i32, offset: i64) -> &[u8] {
        self.bytes[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation.to_be_bytes());
        self.bytes[self.partition_at..self.partition_at + 4].copy_from_slice(&partition.to_be_bytes());
        self.bytes[self.offset_at..self.offset_at + 8].copy_from_slice(&offset.to_be_bytes());
        &self.bytes
    }
}

/// What a fetch response says about its one partition.
pub struct Reply {
    pub error: i16,
    pub record_bytes: u64,
    /// Of the first whole batch.
    pub first_offset: Option<i64>,
    /// After the last whole batch; `None` when there was none, or when nothing follows it.
    pub next_offset: Option<i64>,
}

impl Reply {
    pub fn parse_fetch(frame: &[u8]) -> Option<Reply> {
        let mut d = Decoder(frame);
        // Correlation id, throttle time, error, session.
        d.skip(4 + 4)?;
        let error = d.i16()?;
        d.skip(4)?;
        if error != 0 || d.i32()? != 1 {
            return Some(Reply {
                error,
                record_bytes: 0,
                first_offset: None,
                next_offset: None,
            });
        }
        d.string()?;
        d.skip(4 + 4)?;
        let error = d.i16()?;
        let high_watermark = d.i64()?;
        d.skip(8 + 8)?;
        for _ in 0..d.i32()?.max(0) {
            d.skip(16)?;
        }
        d.skip(4)?;
        let bytes = d.i32()?.max(0) as usize;
        let mut records = d.0.get(..bytes)?;
        let (mut first_offset, mut next_offset) = (None, None);
        while records.len() >= 61 {
            let base = i64::from_be_bytes(records[..8].try_into().ok()?);
            let length = 12 + u32::from_be_bytes(records[8..12].try_into().ok()?) as usize;
            let last_delta = i32::from_be_bytes(records[23..27].try_into().ok()?);
            if length > records.len() {
                break;
            }
            first_offset = first_offset.or(Some(base));
            next_offset = Some(base + i64::from(last_delta) + 1).filter(|next| *next < high_watermark);
            records = &records[length..];
        }
        Some(Reply {
            error,
            record_bytes: bytes as u64,
            first_offset,
            next_offset,
        })
    }
}

struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    fn i16(&mut self) -> Option<i16> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i16::from_be_bytes(*first))
    }

    fn i64(&mut self) -> Option<i64> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i64::from_be_bytes(*first))
    }

    fn i32(&mut self) -> Option<i32> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i32::from_be_bytes(*first))
    }

    /// Nullable; null reads as "".
    fn string(&mut self) -> Option<&'a str> {
        let bytes = self.i16()?.max(0) as usize;
        let (text, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

fn exchange(stream: &mut TcpStream, request: Vec<u8>) -> Result<Vec<u8>> {
    stream.write_all(&request)?;
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// ApiVersions v0, what every client says first.
pub fn greet(stream: &mut TcpStream) -> Result<()> {
    exchange(stream, Encoder::request(18, 0).finish()).map(drop)
}

const TOPIC_ALREADY_EXISTS: i16 = 36;

/// Creates the topic unless it exists, and waits until every partition has a leader.
pub fn create_topic(addr: &str, topic: &str, partitions: i32, configs: &[String]) -> Result<()> {
    let mut stream = TcpStream::connect(addr)?;
    greet(&mut stream)?;
    let mut e = Encoder::request(19, 4);
    e.i32(1)
        .string(topic)
        .i32(partitions)
        .i16(1)
        .i32(0)
        .i32(configs.len() as i32);
    for config in configs {
        let (key, value) = config
            .split_once('=')
            .ok_or_else(|| other("--config wants KEY=VALUE"))?;
        e.string(key).string(value);
    }
    e.i32(30_000).i8(0);
    let frame = exchange(&mut stream, e.finish())?;
    let mut d = Decoder(&frame);
    let created = (|| {
        d.skip(4 + 4 + 4)?;
        d.string()?;
        Some((d.i16()?, d.string()?.to_string()))
    })();
    match created {
        Some((0 | TOPIC_ALREADY_EXISTS, _)) => {}
        Some((code, message)) => return Err(other(&format!("code {code}: {message}"))),
        None => return Err(other("a CreateTopics response that makes no sense")),
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_led(&mut stream, topic, partitions)? {
        if Instant::now() > deadline {
            return Err(other("no leader after a minute"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

pub fn delete_topic(addr: &str, topic: &str) -> Result<()> {
    let mut e = Encoder::request(20, 1);
    e.i32(1).string(topic).i32(30_000);
    exchange(&mut TcpStream::connect(addr)?, e.finish()).map(drop)
}

/// Asks the partitions themselves: Kafka's Metadata names a leader before that leader has taken over.
fn is_led(stream: &mut TcpStream, topic: &str, partitions: i32) -> Result<bool> {
    let mut e = Encoder::request(2, 1);
    e.i32(-1).i32(1).string(topic).i32(partitions);
    for partition in 0..partitions {
        e.i32(partition).i64(-1);
    }
    let frame = exchange(stream, e.finish())?;
    let mut d = Decoder(&frame);
    let led = (|| {
        d.skip(4 + 4)?;
        d.string()?;
        let mut led = 0;
        for _ in 0..d.i32()? {
            d.skip(4)?;
            led += i32::from(d.i16()? == 0);
            d.skip(8 + 8)?;
        }
        Some(led == partitions)
    })();
    led.ok_or_else(|| other("a ListOffsets response that makes no sense"))
}

fn other(message: &str) -> Error {
    Error::other(message.to_string())
}
