//! Kafka's framing on the way in: four bytes of length, then that many bytes.
//!
//! Every frame gets an allocation of exactly its own: parts of a produce stay in memory until they are checkpointed, and
//! must not keep a whole read buffer alive. Small frames are copied out of the shard's scratch buffer (which stays in the
//! processor's cache); a frame of [`DIRECT_BYTES`] or more is received straight into its own memory.

use bytes::{BufMut, BytesMut};

/// Frames from this size on are received directly into their own allocation.
pub(super) const DIRECT_BYTES: usize = 16 * 1024;

/// Memory for a frame is reserved up to this at once, and beyond it only in proportion to what has arrived.
const RESERVE_BYTES: usize = 1024 * 1024;

const PREFIX_BYTES: usize = 4;

/// The bytes of one connection, cut into frames.
pub(super) struct Frames {
    max: usize,
    prefix: [u8; PREFIX_BYTES],
    prefix_filled: usize,
    /// The frame that is being received and its full length.
    frame: Option<(BytesMut, usize)>,
    /// The last frame was received directly, so the next one probably wants to be.
    last_was_direct: bool,
}

/// The connection sent a length that no request has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.words())]
pub(super) struct BadLength {
    claimed: i32,
    max: usize,
}

impl BadLength {
    /// People send other protocols here by mistake; those that they are most likely to send are called by their names.
    fn words(&self) -> String {
        match &self.claimed.to_be_bytes() {
            b"GET " | b"POST" | b"PUT " | b"HEAD" | b"DELE" | b"OPTI" | b"PATC" | b"CONN" | b"TRAC" | b"PRI " => {
                "it sent an HTTP request, and this port speaks Kafka's protocol: check the address that was meant"
                    .into()
            }
            // A record of a handshake, TLS 1.0 to 1.3 by its outer version.
            [0x16, 0x03, 0..=4, _] => "it began a TLS handshake, and this listener is plain text: set \
                                       security.protocol=PLAINTEXT in the client"
                .into(),
            _ => format!(
                "its frame claims {} bytes, allowed are 1 to {} (socket.request.max.bytes)",
                self.claimed, self.max
            ),
        }
    }
}

/// What to receive next.
pub(super) enum Want<'a> {
    /// Up to this many bytes into the scratch buffer, for [`Frames::feed`].
    Scratch(usize),
    /// Up to this many bytes appended to this buffer, then [`Frames::received`].
    Direct(&'a mut BytesMut, usize),
}

impl Frames {
    pub(super) fn new(max: usize) -> Frames {
        Frames {
            max,
            prefix: [0; PREFIX_BYTES],
            prefix_filled: 0,
            frame: None,
            last_was_direct: false,
        }
    }

    /// A frame has begun and is not complete.
    pub(super) fn is_partial(&self) -> bool {
        self.frame.is_some() || self.prefix_filled > 0
    }

    /// How much has arrived of the frame that is being received.
    pub(super) fn partial_bytes(&self) -> usize {
        self.frame.as_ref().map_or(0, |(bytes, _)| bytes.len())
    }

    /// `granted` is how many bytes may be received, at least 1.
    pub(super) fn want(&mut self, granted: usize, scratch: usize) -> Want<'_> {
        match &mut self.frame {
            Some((bytes, len)) if *len - bytes.len() >= DIRECT_BYTES || self.last_was_direct => {
                // The next frame's length comes along: a pipelining client then costs one call per frame.
                let left = (*len + PREFIX_BYTES - bytes.len()).min(granted);
                reserve(bytes, *len);
                let room = bytes.capacity() - bytes.len();
                Want::Direct(bytes, left.min(room))
            }
            Some(_) => Want::Scratch(scratch.min(granted)),
            None if self.last_was_direct => Want::Scratch((PREFIX_BYTES - self.prefix_filled).min(granted)),
            None => Want::Scratch(scratch.min(granted)),
        }
    }

    /// Bytes that were appended to the buffer of [`Want::Direct`].
    pub(super) fn received(&mut self, out: &mut impl FnMut(BytesMut)) -> Result<(), BadLength> {
        let Some((bytes, len)) = &mut self.frame else {
            return Ok(());
        };
        if bytes.len() < *len {
            return Ok(());
        }
        let (mut bytes, len) = self.frame.take().expect("just seen");
        let mut next = [0; PREFIX_BYTES];
        let extra = bytes.len() - len;
        next[..extra].copy_from_slice(&bytes[len..]);
        bytes.truncate(len);
        self.last_was_direct = len >= DIRECT_BYTES;
        out(bytes);
        self.feed(&next[..extra], out)
    }

    /// Bytes that arrived in the scratch buffer.
    pub(super) fn feed(&mut self, mut bytes: &[u8], out: &mut impl FnMut(BytesMut)) -> Result<(), BadLength> {
        loop {
            if self.frame.is_none() {
                let take = (PREFIX_BYTES - self.prefix_filled).min(bytes.len());
                self.prefix[self.prefix_filled..][..take].copy_from_slice(&bytes[..take]);
                self.prefix_filled += take;
                bytes = &bytes[take..];
                if self.prefix_filled < PREFIX_BYTES {
                    return Ok(());
                }
                let claimed = i32::from_be_bytes(self.prefix);
                let len = usize::try_from(claimed).ok().filter(|&len| len > 0 && len <= self.max);
                let len = len.ok_or(BadLength { claimed, max: self.max })?;
                self.prefix_filled = 0;
                let mut frame = BytesMut::new();
                reserve(&mut frame, len);
                self.frame = Some((frame, len));
            }
            let Some((frame, len)) = &mut self.frame else {
                return Ok(());
            };
            let take = (*len - frame.len()).min(bytes.len());
            if frame.capacity() - frame.len() < take {
                reserve(frame, *len);
            }
            frame.put_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if frame.len() < *len {
                return Ok(());
            }
            let (frame, len) = self.frame.take().expect("just seen");
            self.last_was_direct = len >= DIRECT_BYTES;
            out(frame);
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }
}

/// Room for more of a frame: all of it when it is of usual size, else in proportion to what is there.
fn reserve(frame: &mut BytesMut, len: usize) {
    if frame.capacity() == frame.len() || frame.capacity() == 0 {
        // A direct read also takes the next length, see `want`.
        let extra = if len >= DIRECT_BYTES { PREFIX_BYTES } else { 0 };
        let room = (len + extra - frame.len()).min(RESERVE_BYTES.max(frame.len()));
        frame.reserve(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(frames: &[Vec<u8>]) -> Vec<u8> {
        let with_length = |frame: &Vec<u8>| [&(frame.len() as i32).to_be_bytes(), &frame[..]].concat();
        frames.iter().flat_map(with_length).collect()
    }

    /// Receives `wire` as a socket would give it, at most `piece` bytes a call.
    fn receive(mut wire: &[u8], piece: usize, max: usize) -> Result<Vec<Vec<u8>>, BadLength> {
        let mut frames = Frames::new(max);
        let mut got = Vec::new();
        while !wire.is_empty() {
            let mut out = |frame: BytesMut| got.push(frame.to_vec());
            match frames.want(usize::MAX, 64 * 1024) {
                Want::Scratch(len) => {
                    let (now, later) = wire.split_at(len.min(piece).min(wire.len()));
                    wire = later;
                    frames.feed(now, &mut out)?;
                }
                Want::Direct(bytes, len) => {
                    assert!(len > 0 && len <= bytes.capacity() - bytes.len());
                    let (now, later) = wire.split_at(len.min(piece).min(wire.len()));
                    wire = later;
                    bytes.put_slice(now);
                    frames.received(&mut out)?;
                }
            }
        }
        assert!(!frames.is_partial());
        Ok(got)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_split_of_the_bytes_gives_the_same_frames(
            lens in prop::collection::vec(prop_oneof![1..40usize, 16_000..17_000usize, 60_000..140_000usize], 1..12),
            piece in prop_oneof![1..9usize, 1000..200_000usize],
        ) {
            let frames: Vec<Vec<u8>> =
                lens.iter().enumerate().map(|(i, &len)| (0..len).map(|j| (i * 7 + j) as u8).collect()).collect();
            let piece = if lens.iter().sum::<usize>() > 200_000 { piece.max(100) } else { piece };
            prop_assert_eq!(receive(&wire(&frames), piece, 1 << 20).unwrap(), frames);
        }
    }

    #[test]
    fn a_frame_beyond_the_first_reservation_is_whole() {
        let frames = vec![
            (0..5_000_000u32).map(|i| (i % 251) as u8).collect::<Vec<u8>>(),
            vec![7; 3],
        ];
        assert_eq!(receive(&wire(&frames), 300_000, 10_000_000).unwrap(), frames);
    }

    #[test]
    fn a_claimed_length_reserves_little() {
        let mut frames = Frames::new(100 << 20);
        frames.feed(&(100i32 << 20).to_be_bytes(), &mut |_| ()).unwrap();
        let (frame, _) = frames.frame.as_ref().unwrap();
        assert!(frame.capacity() <= RESERVE_BYTES);
    }

    #[test]
    fn other_protocols_are_called_by_their_names() {
        let words = |first: [u8; 4]| {
            let refused = Frames::new(100 << 20).feed(&first, &mut |_| ());
            refused.unwrap_err().to_string()
        };
        assert!(words(*b"GET ").contains("HTTP"));
        assert!(words([0x16, 3, 1, 2]).contains("TLS"));
        assert!(words(*b"SSH-").starts_with("its frame claims 1397966893 bytes"));
    }

    #[test]
    fn lengths_that_no_request_has_are_refused() {
        for claimed in [0, -1, i32::MIN, 1001, i32::MAX] {
            let mut frames = Frames::new(1000);
            assert_eq!(
                frames.feed(&claimed.to_be_bytes(), &mut |_| ()),
                Err(BadLength { claimed, max: 1000 })
            );
        }
    }
}
