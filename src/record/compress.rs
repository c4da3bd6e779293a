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

use bytes::buf::Writer;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::error::RecordError;

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

/// A codec and how hard it tries, in the codec's own numbers. Snappy and lz4 have one level here; gzip's -1 is its default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compression {
    pub codec: Codec,
    pub level: i32,
}

impl From<Codec> for Compression {
    /// At the level that is Kafka's default.
    fn from(codec: Codec) -> Compression {
        let level = match codec {
            Codec::Gzip => -1,
            Codec::Lz4 => 9,
            Codec::Zstd => 3,
            Codec::None | Codec::Snappy => 0,
        };
        Compression { codec, level }
    }
}

impl Compression {
    /// The most memory that compressing takes, however much that is: see [`ZSTD_WINDOW_LOG_WRITE`].
    pub fn memory_bytes_max(self) -> usize {
        match (self.codec, self.level) {
            (Codec::Zstd, 9..) => 40 * MIB,
            (Codec::Zstd, 7..) => 10 * MIB,
            (Codec::Zstd, _) => 7 * MIB,
            _ => MIB,
        }
    }
}

const MIB: usize = 1024 * 1024;

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
const LZ4_BLOCK_BYTES_MAX: usize = 4 * MIB;
const LZ4_END_MARK: [u8; 4] = [0; 4];

const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Levels from 9 on would look back further than 2 MiB, up to 128, and ready tables in proportion: 750 MB at level 22, which
/// any client may set on a topic. Few batches are larger than this, so it costs hardly any of them a byte.
const ZSTD_WINDOW_LOG_WRITE: u32 = 21;

/// Records coming out of a codec, piece by piece, up to a bound. Those that are not compressed come out as they are.
pub(super) struct Inflate<'a> {
    codec: Codec,
    source: Source<'a>,
    room: usize,
    bytes_max: usize,
}

enum Source<'a> {
    Plain(&'a [u8]),
    Gzip(MultiGzDecoder<&'a [u8]>),
    Snappy(Snappy<'a>),
    Lz4(Lz4<'a>),
    Zstd(zstd::Decoder<'static, &'a [u8]>),
}

impl<'a> Inflate<'a> {
    pub fn new(codec: Codec, input: &'a [u8], bytes_max: usize) -> Result<Inflate<'a>, RecordError> {
        let refuse = |what: String| RecordError::Inflate { codec, what };
        let source = match codec {
            Codec::None => Source::Plain(input),
            Codec::Gzip => Source::Gzip(MultiGzDecoder::new(input)),
            Codec::Snappy => Source::Snappy(Snappy::new(input)),
            Codec::Lz4 => {
                let frame = Lz4::new(input).map_err(refuse)?;
                // Its decoder fills the memory of a whole block before it gives the first byte.
                if frame.block_bytes > bytes_max {
                    return Err(RecordError::InflatedTooLarge { max: bytes_max });
                }
                Source::Lz4(frame)
            }
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
            Source::Plain(rest) => rest.read(out).map_err(|e| e.to_string()),
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
            None => {
                self.room = 0;
                return Err(RecordError::InflatedTooLarge { max: self.bytes_max });
            }
        }
        Ok(read)
    }

    /// Fills `out`, or what is left goes into it.
    fn fill(&mut self, out: &mut [u8]) -> Result<usize, RecordError> {
        let mut end = 0;
        while end < out.len() {
            match self.read(&mut out[end..])? {
                0 => break,
                read => end += read,
            }
        }
        Ok(end)
    }

    /// What may still be read.
    pub fn room(&self) -> usize {
        self.room
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

    /// The most that one of its blocks claims to hold. A claim that cannot be true is refused when it is read.
    fn block_bytes_max(mut self) -> usize {
        let mut largest = 0;
        while let Ok(Some(block)) = self.next_block() {
            let claimed = snap::raw::decompress_len(block).unwrap_or(0);
            largest = largest.max(claimed.min(block.len().saturating_mul(SNAPPY_RATIO_MAX)));
        }
        largest
    }

    /// More than `room` says that the next block has no room, and that nothing was read.
    fn read(&mut self, out: &mut [u8], room: usize) -> Result<usize, String> {
        while self.taken == self.block.len() {
            let Some(block) = self.next_block()? else { return Ok(0) };
            let claimed = snap::raw::decompress_len(block).map_err(|e| e.to_string())?;
            if claimed > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
                return Err(format!("a block of {} bytes claims to hold {claimed}", block.len()));
            }
            if claimed > room {
                return Ok(room + 1);
            }
            self.block.resize(claimed, 0);
            snap::raw::Decoder::new()
                .decompress(block, &mut self.block)
                .map_err(|e| e.to_string())?;
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
    /// The most that one of its blocks holds.
    block_bytes: usize,
    decoder: FrameDecoder<&'a [u8]>,
}

impl<'a> Lz4<'a> {
    fn new(input: &'a [u8]) -> Result<Lz4<'a>, String> {
        match input {
            [_, _, _, _, flags, sizes, ..] if input.starts_with(&LZ4_MAGIC) => match flags & LZ4_FLAG_INDEPENDENT {
                0 => Err("a frame of linked blocks, which Java's client cannot read".into()),
                _ => Ok(Lz4 {
                    input,
                    // 4 to 7 are 64 KiB to 4 MiB; the decoder refuses the others.
                    block_bytes: 256 << (2 * (sizes >> 4 & 7)),
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
    let mut deflate = Deflate::new(to, out, records.len());
    deflate.write(records);
    deflate.finish();
}

/// Appends the records of a batch, inflated piece by piece and compressed anew, to `out`. `inflated_bytes` is what they
/// inflate to, as a check has found. When the result is larger than `bytes_max`, so is what is in `out`, and it ends there.
pub fn transcode(
    from: Codec,
    records: &[u8],
    inflated_bytes: usize,
    to: Compression,
    bytes_max: usize,
    out: &mut BytesMut,
) -> Result<(), RecordError> {
    // An lz4 block's room is asked for whatever is in it.
    let mut source = Inflate::new(from, records, inflated_bytes.max(LZ4_BLOCK_BYTES_MAX))?;
    let mut piece = vec![0; PIECE_BYTES.min(inflated_bytes)];
    let mut deflate = Deflate::new(to, out, inflated_bytes);
    let mut left = inflated_bytes;
    while left > 0 {
        let bytes = source.fill(&mut piece)?;
        if bytes == 0 || bytes > left {
            let what = format!("its length is not the {inflated_bytes} bytes that the check found");
            return Err(RecordError::Inflate { codec: from, what });
        }
        deflate.write(&piece[..bytes]);
        left -= bytes;
        if deflate.written() > bytes_max {
            return Ok(());
        }
    }
    deflate.finish();
    Ok(())
}

/// What inflating `records` piece by piece takes, beyond them. They may be any bytes.
pub fn inflate_memory_bytes(codec: Codec, records: &[u8]) -> usize {
    match codec {
        Codec::None | Codec::Gzip => MIB / 8,
        Codec::Snappy => Snappy::new(records).block_bytes_max(),
        // The decoder keeps a block as it came and as it is.
        Codec::Lz4 => Lz4::new(records).map_or(0, |frame| 2 * frame.block_bytes),
        Codec::Zstd => zstd_window_bytes_max(records),
    }
}

/// The largest window that a zstd frame in `bytes` asks for, with the block that comes beside it.
fn zstd_window_bytes_max(mut bytes: &[u8]) -> usize {
    let mut largest = 0;
    while let Ok(frame_bytes) = zstd::zstd_safe::find_frame_compressed_size(bytes)
        && frame_bytes > 0
    {
        let content = zstd::zstd_safe::get_frame_content_size(bytes).ok().flatten();
        let window = match bytes {
            // RFC 8878, 3.1.1.1: the window's size follows unless the frame is a single segment, as large as its content.
            [_, _, _, _, descriptor, window, ..] if descriptor & 1 << 5 == 0 => {
                let base = 1u64 << (10 + (window >> 3));
                base + base / 8 * u64::from(window & 7)
            }
            _ => u64::MAX,
        };
        let needed = content.unwrap_or(u64::MAX).min(window).min(1 << ZSTD_WINDOW_LOG_MAX);
        largest = largest.max(needed as usize + ZSTD_BLOCKS_BYTES);
        bytes = &bytes[frame_bytes..];
    }
    largest
}

/// What a decoder needs beside its window.
const ZSTD_BLOCKS_BYTES: usize = MIB / 2;

/// What of a batch that is recompressed is in memory at a time: whole blocks of every codec's.
const PIECE_BYTES: usize = 128 * 1024;
const MEMORY: &str = "writing to memory does not fail";

/// Records going into a codec, piece by piece; the last one is the only one that is not whole blocks.
enum Deflate<'a> {
    Plain(&'a mut BytesMut),
    Gzip(GzEncoder<Writer<&'a mut BytesMut>>),
    Snappy(&'a mut BytesMut),
    Lz4(FrameEncoder<Writer<&'a mut BytesMut>>),
    Zstd(zstd::Encoder<'static, Writer<&'a mut BytesMut>>),
}

impl<'a> Deflate<'a> {
    /// `size` is that of all pieces, which are all written before [`Deflate::finish`].
    fn new(to: Compression, out: &'a mut BytesMut, size: usize) -> Deflate<'a> {
        match to.codec {
            Codec::None => Deflate::Plain(out),
            Codec::Gzip => {
                let level = match to.level {
                    -1 => flate2::Compression::default(),
                    level => flate2::Compression::new(level.clamp(1, 9) as u32),
                };
                Deflate::Gzip(GzEncoder::new(out.writer(), level))
            }
            Codec::Snappy => {
                out.extend_from_slice(&XERIAL_HEADER);
                Deflate::Snappy(out)
            }
            Codec::Lz4 => {
                let frame = FrameInfo::new()
                    .block_mode(BlockMode::Independent)
                    .block_size(BlockSize::Max64KB);
                Deflate::Lz4(FrameEncoder::with_frame_info(frame, out.writer()))
            }
            Codec::Zstd => {
                let mut encoder = zstd::Encoder::new(out.writer(), to.level).expect("any level is clamped by zstd");
                if to.level >= 9 {
                    let window = encoder.window_log(ZSTD_WINDOW_LOG_WRITE);
                    window.expect("it is within zstd's bounds");
                }
                // zstd fits its tables to it; and the frame says how much room whoever reads it needs.
                let size = encoder.set_pledged_src_size(Some(size as u64));
                size.expect("nothing was written yet");
                Deflate::Zstd(encoder)
            }
        }
    }

    fn write(&mut self, records: &[u8]) {
        match self {
            Deflate::Plain(out) => out.extend_from_slice(records),
            Deflate::Gzip(encoder) => encoder.write_all(records).expect(MEMORY),
            Deflate::Snappy(out) => {
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
            Deflate::Lz4(encoder) => encoder.write_all(records).expect(MEMORY),
            Deflate::Zstd(encoder) => encoder.write_all(records).expect(MEMORY),
        }
    }

    /// What has come out so far, with what was there before.
    fn written(&self) -> usize {
        match self {
            Deflate::Plain(out) | Deflate::Snappy(out) => out.len(),
            Deflate::Gzip(encoder) => encoder.get_ref().get_ref().len(),
            Deflate::Lz4(encoder) => encoder.get_ref().get_ref().len(),
            Deflate::Zstd(encoder) => encoder.get_ref().get_ref().len(),
        }
    }

    fn finish(self) {
        match self {
            Deflate::Plain(_) | Deflate::Snappy(_) => {}
            Deflate::Gzip(encoder) => drop(encoder.finish().expect(MEMORY)),
            Deflate::Lz4(encoder) => drop(encoder.finish().expect(MEMORY)),
            Deflate::Zstd(encoder) => drop(encoder.finish().expect(MEMORY)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 1 << 20;

    fn deflated(codec: Codec, records: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        deflate(codec.into(), records, &mut out);
        out.to_vec()
    }

    fn inflated(codec: Codec, bytes: &[u8]) -> Result<Bytes, RecordError> {
        inflate(codec, Bytes::copy_from_slice(bytes), MAX)
    }

    fn text() -> Vec<u8> {
        (0..100_000u32)
            .map(|i| b"tide mill"[(i * (1 + i / 1000) % 9) as usize])
            .collect()
    }

    #[test]
    fn names_and_numbers() {
        for (id, name) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
            let codec = Codec::from_id(id as u8).unwrap();
            assert_eq!((codec.name(), Codec::from_name(name)), (name, Some(codec)));
        }
        assert_eq!(Codec::from_id(5), Err(RecordError::UnknownCompression { id: 5 }));
        assert_eq!(Codec::from_name("producer"), None);
    }

    #[test]
    fn every_cut_is_noticed() {
        for codec in &Codec::ALL[1..] {
            let bytes = deflated(*codec, &text()[..5000]);
            assert_eq!(inflated(*codec, &bytes).unwrap(), text()[..5000]);
            for cut in 0..bytes.len() {
                if let Ok(short) = inflated(*codec, &bytes[..cut]) {
                    // Framed snappy has no end of its own: a cut between blocks is found by the records' count.
                    assert!(*codec == Codec::Snappy && short.is_empty(), "{codec} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn nothing_may_follow() {
        for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
            let mut bytes = deflated(codec, b"records");
            bytes.extend_from_slice(b"more");
            assert!(inflated(codec, &bytes).is_err(), "{codec}");
        }
    }

    #[test]
    fn streams_in_a_row_are_one() {
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Zstd] {
            let mut bytes = deflated(codec, b"one and ");
            bytes.extend(deflated(codec, b"two"));
            assert_eq!(inflated(codec, &bytes).unwrap(), &b"one and two"[..], "{codec}");
        }
        let mut bytes = deflated(Codec::Lz4, b"one and ");
        bytes.extend(deflated(Codec::Lz4, b"two"));
        assert!(inflated(Codec::Lz4, &bytes).is_err(), "Java would see only the first");
    }

    #[test]
    fn snappy_without_framing() {
        let raw = snap::raw::Encoder::new().compress_vec(&text()).unwrap();
        assert_eq!(inflated(Codec::Snappy, &raw).unwrap(), text());
        // 5 bytes that claim to be 4 GiB.
        assert!(inflated(Codec::Snappy, &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F]).is_err());
    }

    #[test]
    fn what_an_encoder_takes_is_bounded_at_every_level() {
        use zstd::zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, zstd_sys::ZSTD_EndDirective};
        for level in [-7, 1, 3, 6, 8, 9, 13, 19, 22] {
            let to = Compression {
                codec: Codec::Zstd,
                level,
            };
            // As `Deflate::new` sets it up, for the largest batch.
            let mut encoder = CCtx::create();
            encoder.set_parameter(CParameter::CompressionLevel(level)).unwrap();
            if level >= 9 {
                encoder
                    .set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG_WRITE))
                    .unwrap();
            }
            encoder.set_pledged_src_size(Some(100 << 20)).unwrap();
            let mut out = [0; 1024];
            let (mut from, mut to_buffer) = (InBuffer::around(b"x"), OutBuffer::around(&mut out[..]));
            let directive = ZSTD_EndDirective::ZSTD_e_continue;
            encoder.compress_stream2(&mut to_buffer, &mut from, directive).unwrap();
            let (bytes, bound) = (encoder.sizeof(), to.memory_bytes_max());
            assert!(bytes <= bound, "level {level}: {bytes} of {bound}");
        }
    }

    #[test]
    fn what_a_decoder_takes_is_known_before_it_does() {
        let zeros = vec![0; 24 << 20];
        let mut wide = zstd::Encoder::new(Vec::new(), 1).unwrap();
        wide.window_log(27).unwrap();
        wide.write_all(&zeros).unwrap();
        let wide = wide.finish().unwrap();
        assert_eq!(
            inflate_memory_bytes(Codec::Zstd, &wide),
            (128 << 20) + ZSTD_BLOCKS_BYTES
        );
        // Where it is not the first frame, too.
        let both = [deflated(Codec::Zstd, b"small"), wide].concat();
        assert!(inflate_memory_bytes(Codec::Zstd, &both) > 128 << 20);
        let sized = deflated(Codec::Zstd, &zeros);
        assert!((2 << 20..3 << 20).contains(&inflate_memory_bytes(Codec::Zstd, &sized)));
        let raw = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
        assert_eq!(inflate_memory_bytes(Codec::Snappy, &raw), zeros.len());
        assert_eq!(
            inflate_memory_bytes(Codec::Snappy, &deflated(Codec::Snappy, &zeros)),
            XERIAL_BLOCK_BYTES
        );
        assert_eq!(
            inflate_memory_bytes(Codec::Lz4, &deflated(Codec::Lz4, &zeros)),
            128 << 10
        );
        for codec in Codec::ALL {
            assert!(inflate_memory_bytes(codec, b"no stream at all") <= MIB);
        }
    }

    #[test]
    fn lz4_that_java_cannot_read() {
        let frame = |info: FrameInfo| {
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(&text()).unwrap();
            encoder.finish().unwrap()
        };
        assert!(inflated(Codec::Lz4, &frame(FrameInfo::new().block_mode(BlockMode::Linked))).is_err());
        let mut legacy = frame(FrameInfo::new().block_mode(BlockMode::Independent));
        legacy[..4].copy_from_slice(&0x184C_2102u32.to_le_bytes());
        assert!(inflated(Codec::Lz4, &legacy).is_err());
        let all = FrameInfo::new()
            .block_mode(BlockMode::Independent)
            .block_size(BlockSize::Max256KB)
            .block_checksums(true)
            .content_checksum(true)
            .content_size(Some(text().len() as u64));
        assert_eq!(inflated(Codec::Lz4, &frame(all)).unwrap(), text());
    }

    #[test]
    fn the_bound_is_exact() {
        for codec in &Codec::ALL[1..] {
            let bytes = Bytes::from(deflated(*codec, &text()));
            assert_eq!(inflate(*codec, bytes.clone(), text().len()).unwrap(), text());
            let max = text().len() - 1;
            assert_eq!(
                inflate(*codec, bytes, max),
                Err(RecordError::InflatedTooLarge { max }),
                "{codec}"
            );
        }
    }

    proptest! {
        #[test]
        fn round_trip(
            codec in prop::sample::select(&Codec::ALL[..]),
            level in -3..8i32,
            records in prop::collection::vec(0..9u8, 0..3000),
        ) {
            let mut out = BytesMut::new();
            deflate(Compression { codec, level }, &records, &mut out);
            prop_assert_eq!(inflated(codec, &out).unwrap(), records);
        }

        #[test]
        fn any_bytes_are_taken_or_refused(
            codec in prop::sample::select(&Codec::ALL[..]),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let _ = inflated(codec, &bytes);
            let mut near = deflated(codec, &bytes);
            for (at, byte) in flips {
                let at = at.index(near.len().max(1));
                if let Some(place) = near.get_mut(at) {
                    *place = byte;
                }
            }
            let _ = inflated(codec, &near);
        }
    }
}
