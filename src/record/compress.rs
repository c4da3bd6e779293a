//! The four codecs, as Java's client, librdkafka and sarama write and read them; both ways, and bounded on the way out.
//!
//! * gzip: RFC 1952; several members in a row are one stream, as for Java's `GZIPInputStream`.
//! * snappy: Java writes blocks in the framing of xerial's snappy-java, librdkafka and sarama one raw block; we read both
//!   and write the first, as Kafka does.
//! * lz4: one frame of independent blocks with the header checksum where the specification has it (KIP-57). Java reads
//!   neither linked blocks nor dictionaries, so a frame with them is refused here too: its consumers would fail on it.
//! * zstd: frames with or without their size. Windows up to 128 MiB, the most that level 22 asks for.

use std::fmt;
use std::io::{Read, Write};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::batch::RecordError;

/// How the records of a batch are compressed: bits 0-2 of its attributes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Codec {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Codec {
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    pub fn from_id(id: u8) -> Result<Codec, RecordError> {
        Codec::ALL
            .get(id as usize)
            .copied()
            .ok_or(RecordError::UnknownCompression { id })
    }

    /// By the name that `compression.type` uses.
    pub fn from_name(name: &str) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A codec and how hard it tries. Snappy and lz4 have one level here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compression {
    pub codec: Codec,
    pub level: i32,
}

impl From<Codec> for Compression {
    /// At the level that is Kafka's default.
    fn from(codec: Codec) -> Compression {
        let level = match codec {
            Codec::Gzip => 6,
            Codec::Lz4 => 9,
            Codec::Zstd => 3,
            Codec::None | Codec::Snappy => 0,
        };
        Compression { codec, level }
    }
}

/// snappy-java's stream header: magic, version 1, compatible with version 1.
const XERIAL_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
/// What snappy-java puts into one block.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// Snappy's densest element makes 64 bytes of 3; a claim beyond this is a lie, found out before memory is reserved for it.
const SNAPPY_RATIO_MAX: usize = 22;

const LZ4_MAGIC: [u8; 4] = 0x184D_2204u32.to_le_bytes();
const LZ4_FLAG_INDEPENDENT: u8 = 1 << 5;
const LZ4_FLAG_CONTENT_CHECKSUM: u8 = 1 << 2;
const LZ4_END_MARK: [u8; 4] = [0; 4];

const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Records coming out of a codec, piece by piece, up to a bound.
pub(super) struct Inflate<'a> {
    codec: Codec,
    source: Source<'a>,
    room: usize,
    bytes_max: usize,
}

enum Source<'a> {
    Gzip(MultiGzDecoder<&'a [u8]>),
    Snappy(Snappy<'a>),
    Lz4(Lz4<'a>),
    Zstd(zstd::Decoder<'static, &'a [u8]>),
}

impl<'a> Inflate<'a> {
    /// `codec` must not be `None`.
    pub fn new(codec: Codec, input: &'a [u8], bytes_max: usize) -> Result<Inflate<'a>, RecordError> {
        let refuse = |what: String| RecordError::Inflate { codec, what };
        let source = match codec {
            Codec::None => unreachable!("records that are not compressed are walked in place"),
            Codec::Gzip => Source::Gzip(MultiGzDecoder::new(input)),
            Codec::Snappy => Source::Snappy(Snappy::new(input)),
            Codec::Lz4 => Source::Lz4(Lz4::new(input).map_err(refuse)?),
            Codec::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(input).map_err(|e| refuse(e.to_string()))?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG_MAX)
                    .map_err(|e| refuse(e.to_string()))?;
                Source::Zstd(decoder)
            }
        };
        Ok(Inflate {
            codec,
            source,
            room: bytes_max,
            bytes_max,
        })
    }

    /// Fills some of `out`, which must not be empty; 0 is the end of a complete stream behind which nothing follows.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, RecordError> {
        let read = match &mut self.source {
            Source::Gzip(decoder) => decoder.read(out).map_err(|e| e.to_string()),
            Source::Snappy(blocks) => blocks.read(out, self.room),
            Source::Lz4(frame) => frame.read(out),
            Source::Zstd(decoder) => decoder.read(out).map_err(|e| e.to_string()),
        };
        let read = read.map_err(|what| RecordError::Inflate {
            codec: self.codec,
            what,
        })?;
        match self.room.checked_sub(read) {
            Some(room) => self.room = room,
            None => return Err(RecordError::InflatedTooLarge { max: self.bytes_max }),
        }
        Ok(read)
    }
}

/// Raw or xerial-framed snappy, one block at a time.
struct Snappy<'a> {
    rest: &'a [u8],
    raw: bool,
    block: Vec<u8>,
    /// How much of `block` was handed out.
    taken: usize,
}

impl<'a> Snappy<'a> {
    fn new(input: &'a [u8]) -> Snappy<'a> {
        Snappy {
            rest: input,
            raw: !input.starts_with(XERIAL_MAGIC),
            block: Vec::new(),
            taken: 0,
        }
    }

    fn read(&mut self, out: &mut [u8], room: usize) -> Result<usize, String> {
        while self.taken == self.block.len() {
            let Some(block) = self.next_block()? else { return Ok(0) };
            let claimed = snap::raw::decompress_len(block).map_err(|e| e.to_string())?;
            if claimed > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
                return Err(format!("a block of {} bytes claims to hold {claimed}", block.len()));
            }
            // One byte more than there is room for is enough to be refused by our caller, without inflating the rest.
            if claimed > room {
                self.block = vec![0; (room + 1).min(out.len())];
            } else {
                self.block.resize(claimed, 0);
                snap::raw::Decoder::new()
                    .decompress(block, &mut self.block)
                    .map_err(|e| e.to_string())?;
            }
            self.taken = 0;
        }
        let pieces = &self.block[self.taken..];
        let bytes = pieces.len().min(out.len());
        out[..bytes].copy_from_slice(&pieces[..bytes]);
        self.taken += bytes;
        Ok(bytes)
    }

    fn next_block(&mut self) -> Result<Option<&'a [u8]>, String> {
        if self.raw {
            return Ok((!self.rest.is_empty()).then(|| std::mem::take(&mut self.rest)));
        }
        // Streams that were written one after another are one stream, each with its own header.
        while self.rest.starts_with(XERIAL_MAGIC) {
            self.rest = self
                .rest
                .get(XERIAL_HEADER.len()..)
                .ok_or("the stream header is cut off")?;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let length = self.rest.try_get_u32().map_err(|_| "a block length is cut off")? as usize;
        let block = self.rest.get(..length).ok_or("a block is cut off")?;
        self.rest = &self.rest[length..];
        Ok(Some(block))
    }
}

/// One lz4 frame that Java could read, too.
struct Lz4<'a> {
    input: &'a [u8],
    decoder: FrameDecoder<&'a [u8]>,
}

impl<'a> Lz4<'a> {
    fn new(input: &'a [u8]) -> Result<Lz4<'a>, String> {
        match input {
            [_, _, _, _, flags, ..] if input.starts_with(&LZ4_MAGIC) => match flags & LZ4_FLAG_INDEPENDENT {
                0 => Err("a frame of linked blocks, which Java's client cannot read".into()),
                _ => Ok(Lz4 {
                    input,
                    decoder: FrameDecoder::new(input),
                }),
            },
            _ => Err("not an lz4 frame".into()),
        }
    }

    fn read(&mut self, out: &mut [u8]) -> Result<usize, String> {
        let read = self.decoder.read(out).map_err(|e| e.to_string())?;
        if read == 0 {
            self.check_end()?;
        }
        Ok(read)
    }

    /// The decoder ends alike at the end mark, at an empty block and where the input ends: only the first is right.
    fn check_end(&self) -> Result<(), String> {
        if !self.decoder.get_ref().is_empty() {
            return Err("bytes follow the frame".into());
        }
        let checksum_bytes = if self.input[4] & LZ4_FLAG_CONTENT_CHECKSUM == 0 {
            0
        } else {
            4
        };
        match self.input[..self.input.len() - checksum_bytes].ends_with(&LZ4_END_MARK) {
            true => Ok(()),
            false => Err("the frame has no end mark".into()),
        }
    }
}

/// The records of a batch, inflated as one piece; a slice of `records` when there is no codec. The memory grows with what
/// was inflated, up to `bytes_max`.
pub fn inflate(codec: Codec, records: Bytes, bytes_max: usize) -> Result<Bytes, RecordError> {
    if codec == Codec::None {
        return Ok(records);
    }
    let mut source = Inflate::new(codec, &records, bytes_max)?;
    let mut out = vec![0; (records.len().saturating_mul(4)).clamp(4096, bytes_max.max(4096))];
    let mut end = 0;
    loop {
        let read = source.read(&mut out[end..])?;
        if read == 0 {
            out.truncate(end);
            return Ok(out.into());
        }
        end += read;
        if end == out.len() {
            out.resize(end * 2, 0);
        }
    }
}

/// Appends `records`, compressed, to `out`.
pub fn deflate(to: Compression, records: &[u8], out: &mut BytesMut) {
    const MEMORY: &str = "writing to memory does not fail";
    match to.codec {
        Codec::None => out.extend_from_slice(records),
        Codec::Gzip => {
            let level = flate2::Compression::new(to.level.clamp(1, 9) as u32);
            let mut encoder = GzEncoder::new(out.writer(), level);
            encoder.write_all(records).expect(MEMORY);
            encoder.finish().expect(MEMORY);
        }
        Codec::Snappy => {
            out.extend_from_slice(&XERIAL_HEADER);
            let mut encoder = snap::raw::Encoder::new();
            for block in records.chunks(XERIAL_BLOCK_BYTES) {
                let length_at = out.len();
                out.put_u32(0);
                out.put_bytes(0, snap::raw::max_compress_len(block.len()));
                let bytes = encoder
                    .compress(block, &mut out[length_at + 4..])
                    .expect("the room is what it asks for");
                out[length_at..length_at + 4].copy_from_slice(&(bytes as u32).to_be_bytes());
                out.truncate(length_at + 4 + bytes);
            }
        }
        Codec::Lz4 => {
            let frame = FrameInfo::new()
                .block_mode(BlockMode::Independent)
                .block_size(BlockSize::Max64KB);
            let mut encoder = FrameEncoder::with_frame_info(frame, out.writer());
            encoder.write_all(records).expect(MEMORY);
            encoder.finish().expect(MEMORY);
        }
        Codec::Zstd => {
            let mut encoder = zstd::Encoder::new(out.writer(), to.level).expect("any level is clamped by zstd");
            encoder.write_all(records).expect(MEMORY);
            encoder.finish().expect(MEMORY);
        }
    }
}
