//! Batches as text: good ones, and ones with any field made wrong.
//!
//! `batch(3)` is a good batch of three records, `batch(3 count=4)` one that claims a fourth. Several are joined with `+`.
//! Words: `ts=` and `step=` for the records' timestamps, `size=` for their values, `codec=`, `pid=`, `epoch=`, `seq=`; fields of
//! the header as they shall read: `base=`, `length=`, `leader=`, `magic=`, `attributes=`, `last=`, `first_ts=`, `max_ts=`, `count=`;
//! `crc=`, which is right otherwise; `cut=` bytes at the end, or so many zeros more with `tail=`. `message(1)` is a message in the
//! format that its number names, from before there were batches.

use bytes::{BufMut, Bytes, BytesMut};
use tidemill::record::header::{HEADER_BYTES, OUTSIDE_CRC_BYTES};
use tidemill::record::scan::Depth;
use tidemill::record::{BatchBuilder, Codec, Scan, crc::crc32c};

use super::notation::Names;

pub fn build(text: &str, names: &Names) -> Bytes {
    let mut bytes = BytesMut::new();
    let parts = text.split('+').filter(|_| !text.is_empty());
    for part in parts.fold(Vec::<String>::new(), join_parts) {
        let (kind, words) = part
            .strip_suffix(')')
            .and_then(|part| part.split_once('('))
            .expect("a call");
        let mut words = words.split_whitespace();
        let first = words.next().expect("a number");
        match kind {
            "batch" => bytes.put(batch(names.number(first), words, names)),
            "message" => bytes.put(message(names.number(first), names.now_ms)),
            _ => panic!("no such records: {part}"),
        }
    }
    bytes.freeze()
}

/// A `+` within parentheses joins nothing.
fn join_parts(mut parts: Vec<String>, part: &str) -> Vec<String> {
    match parts.last_mut() {
        Some(last) if !last.ends_with(')') => *last = format!("{last}+{part}"),
        _ => parts.push(part.to_owned()),
    }
    parts
}

fn batch<'a>(records: usize, words: impl Iterator<Item = &'a str>, names: &Names) -> BytesMut {
    let (mut ts, mut step, mut size) = (names.now_ms, 1, 1);
    let (mut pid, mut epoch, mut seq) = (-1, -1, -1);
    let mut codec = Codec::None;
    let mut patches: Vec<(usize, Vec<u8>)> = Vec::new();
    let (mut crc, mut cut, mut tail) = (None, 0, 0);
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or_else(|| panic!("no value: {word}"));
        let int = || names.number::<i32>(value).to_be_bytes().to_vec();
        let long = || names.number::<i64>(value).to_be_bytes().to_vec();
        match key {
            "ts" => ts = names.number(value),
            "step" => step = names.number(value),
            "size" => size = names.number(value),
            "pid" => pid = names.number(value),
            "epoch" => epoch = names.number(value),
            "seq" => seq = names.number(value),
            "codec" => codec = codec_of(value),
            "base" => patches.push((0, long())),
            "length" => patches.push((8, int())),
            "leader" => patches.push((12, int())),
            "magic" => patches.push((16, vec![names.number(value)])),
            "attributes" => patches.push((21, names.number::<i16>(value).to_be_bytes().to_vec())),
            "last" => patches.push((23, int())),
            "first_ts" => patches.push((27, long())),
            "max_ts" => patches.push((35, long())),
            "count" => patches.push((57, int())),
            "crc" => crc = Some(int()),
            "cut" => cut = names.number(value),
            "tail" => tail = names.number(value),
            _ => panic!("no such word: {word}"),
        }
    }
    let mut builder = BatchBuilder::new().compression(codec).producer(pid, epoch, seq);
    let value = vec![b'v'; size];
    (0..records).for_each(|i| builder.push(ts + i as i64 * step, None, Some(&value), &[]));
    let mut bytes = builder.build();
    for (at, patch) in patches {
        bytes[at..at + patch.len()].copy_from_slice(&patch);
    }
    bytes.truncate(bytes.len() - cut);
    if bytes.len() > OUTSIDE_CRC_BYTES {
        let right = crc32c(&bytes[OUTSIDE_CRC_BYTES..]).to_be_bytes().to_vec();
        bytes[17..OUTSIDE_CRC_BYTES].copy_from_slice(&crc.unwrap_or(right));
    }
    bytes.put_bytes(0, tail);
    bytes
}

fn codec_of(name: &str) -> Codec {
    match name {
        "gzip" => Codec::Gzip,
        "snappy" => Codec::Snappy,
        "lz4" => Codec::Lz4,
        "zstd" => Codec::Zstd,
        _ => panic!("no such codec: {name}"),
    }
}

/// Of Kafka 0.8 (0) or 0.10 (1).
fn message(magic: i8, time_ms: i64) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_i8(magic);
    body.put_i8(0);
    if magic > 0 {
        body.put_i64(time_ms);
    }
    body.put_i32(-1);
    body.put_i32(1);
    body.put_u8(b'v');
    let mut bytes = BytesMut::new();
    bytes.put_i64(0);
    bytes.put_i32(4 + body.len() as i32);
    bytes.put_u32(crc32fast::hash(&body));
    bytes.put(body);
    bytes
}

/// One line for each whole batch. Where a reply is cut off within a batch is the broker's affair.
pub fn describe<'a>(bytes: &'a Bytes, names: &'a Names) -> impl Iterator<Item = String> + 'a {
    Scan::new(bytes, Depth::Crc).map(|view| {
        let header = &view.header;
        let producer = names.numbers.iter().find(|(_, id)| **id == header.producer_id);
        let producer = producer.map_or(header.producer_id.to_string(), |(name, _)| format!("${name}"));
        format!(
            "{}-{} leader={} attributes={} ts={}..{} pid={producer} epoch={} seq={} count={} bytes={}",
            header.base_offset,
            header.last_offset(),
            header.leader_epoch,
            header.attributes,
            names.time_word(header.base_timestamp),
            names.time_word(header.max_timestamp),
            header.producer_epoch,
            header.base_sequence,
            header.record_count,
            header.size_bytes - HEADER_BYTES,
        )
    })
}
