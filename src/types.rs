//! Identifiers and numbers that every part of the broker shares. Imports nothing of ours.

use std::fmt;
use std::sync::Arc;

/// A Kafka offset: the number of a record in its partition's log.
pub type Offset = i64;

/// A byte in a file. Never mixed with [`Offset`].
pub type Position = u64;

/// A leader epoch (KIP-101). -1 means "unknown" on the wire.
pub type LeaderEpoch = i32;

pub type ProducerId = i64;
pub type ProducerEpoch = i16;
pub type NodeId = i32;

/// 16 random bytes, printed as Kafka does: URL-safe base64 without padding, 22 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

/// Topic ids identify a topic for ever; a name may be used again after a deletion (KIP-516).
pub type TopicId = Uuid;

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    pub const ZERO: Uuid = Uuid([0; 16]);
    /// The id of `__cluster_metadata`, `UUID(0, 1)`.
    pub const METADATA_TOPIC: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    pub const fn is_zero(self) -> bool {
        u128::from_be_bytes(self.0) == 0
    }

    /// Reads the 22 characters that [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Uuid> {
        if text.len() != 22 {
            return None;
        }
        let mut bits: u128 = 0;
        for (i, c) in text.bytes().enumerate() {
            let six = BASE64_URL.iter().position(|&b| b == c)? as u128;
            // 22 characters carry 132 bits: the last one carries only two that count.
            bits = if i == 21 { bits << 2 | six >> 4 } else { bits << 6 | six };
        }
        Some(Uuid(bits.to_be_bytes()))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let mut text = [0u8; 22];
        for (i, c) in text.iter_mut().enumerate() {
            let six = if i == 21 { bits << 4 } else { bits >> (122 - 6 * i) };
            *c = BASE64_URL[(six & 63) as usize];
        }
        f.write_str(std::str::from_utf8(&text).expect("base64 is ASCII"))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One partition of one topic, by id: the key of its log wherever names could be reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LogId {
    pub topic: TopicId,
    pub partition: i32,
}

impl LogId {
    pub const METADATA: LogId = LogId {
        topic: Uuid::METADATA_TOPIC,
        partition: 0,
    };
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A hash map whose iteration order and hashes are the same in every run, so that a seed replays.
pub type Map<K, V> = hashbrown::HashMap<K, V, foldhash::fast::FixedState>;

/// Keys that clients choose, in the order of their insertion. Nobody can choose keys that collide, since each map hashes in
/// its own way.
pub type ClientMap<K, V> = indexmap::IndexMap<K, V, foldhash::fast::FixedState>;

pub fn client_map<K, V>(random: &mut Random) -> ClientMap<K, V> {
    ClientMap::with_hasher(foldhash::fast::FixedState::with_seed(random.next_u64()))
}

/// The time, as the core is told it. Deadlines use `mono_us`; record and retention time use `wall_ms`, which may jump back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Microseconds since an arbitrary start; never goes back.
    pub mono_us: u64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
}

/// One core's share of the broker, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u16);

/// A client connection of one shard; never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

/// A disk or compute operation of one shard; never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OpId(pub u64);

/// An open file of one shard; never reused within a process, so that a path that is used again never meets an old descriptor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId(pub u64);

/// Gives out a shard's file ids, each once.
#[derive(Debug, Default)]
pub struct FileIds(u64);

impl FileIds {
    #[allow(clippy::should_implement_trait)] // It never ends, and nobody iterates over ids.
    pub fn next(&mut self) -> FileId {
        self.0 += 1;
        FileId(self.0)
    }
}

/// A file, by an id that is never reused and the path (relative to the data folder) by which it is opened when its
/// descriptor is not in the runtime's cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub id: FileId,
    pub path: Arc<str>,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub is_dir: bool,
    /// 0 for a folder.
    pub size_bytes: u64,
}

/// Everything on disk that is written in place has this unit: positions and lengths of reads of segments and of every
/// write are multiples of it (a write is padded with zeros at its end by whoever performs it).
pub const BLOCK_BYTES: u64 = 4096;

/// The largest single disk operation (larger direct operations have hung processes; 256 KiB is the fastest).
pub const OPERATION_BYTES_MAX: usize = 512 * 1024;

/// Random numbers for ids and jitter, from a seed that the runtime takes from the system and the simulator from its own
/// (SplitMix64: Steele, Lea, Flood 2014). Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0 .. bound`; `bound` must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    /// A random (version 4) id, never one of Kafka's reserved first 100, and never starting with a dash, which
    /// command-line tools would take for an option.
    pub fn uuid(&mut self) -> Uuid {
        loop {
            let mut bytes = (((self.next_u64() as u128) << 64) | self.next_u64() as u128).to_be_bytes();
            bytes[6] = bytes[6] & 0x0F | 0x40;
            bytes[8] = bytes[8] & 0x3F | 0x80;
            let id = Uuid(bytes);
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }
}

/// A text of a client's in a message or a line of the log: of a long one the beginning and its length, so that an answer is
/// not much larger than what it answers.
pub struct Excerpt<'a>(pub &'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WHOLE_BYTES_MAX: usize = 300;
        const BYTES: usize = 100;
        let Excerpt(text) = self;
        match text.len() {
            ..=WHOLE_BYTES_MAX => f.write_str(text),
            length => write!(f, "{}... ({length} bytes)", &text[..text.floor_char_boundary(BYTES)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_says_of_what() {
        assert_eq!(Excerpt("name").to_string(), "name");
        let long = "ä".repeat(20_000);
        assert_eq!(
            Excerpt(&long).to_string(),
            format!("{}... (40000 bytes)", "ä".repeat(50))
        );
    }

    #[test]
    fn uuid_text_is_kafkas() {
        // UUID(0, 1), as Kafka's own Uuid.METADATA_TOPIC_ID prints it.
        assert_eq!(Uuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        let id = Uuid(*b"0123456789abcdef");
        assert_eq!(Uuid::parse(&id.to_string()), Some(id));
        assert_eq!(Uuid::parse("too short"), None);
        assert_eq!(Uuid::parse("!!!!!!!!!!!!!!!!!!!!!!"), None);
    }
}
