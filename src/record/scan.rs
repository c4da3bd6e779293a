//! Walks batches that lie one after another: in a segment's bytes, in a frame from a leader, in what a read gave.

use bytes::Bytes;

use super::batch::{StampedBatch, check_crc};
use super::error::RecordError;
use super::header::{HEADER_BYTES, Header, PREFIX_BYTES, check_offsets, size_of_batch};

/// How closely a [`Scan`] looks at each batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// Lengths and magic: for bytes that were checked before they were written.
    Headers,
    /// The CRC as well: for bytes from a file after a crash, or from a peer.
    Crc,
}

/// Why a scan ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// At the end of the bytes, with the last batch complete.
    End,
    /// From `position` on there are only zeros: space that was reserved or padded and never filled.
    Zeros { position: usize },
    /// The batch at `position` is longer than what is left. `size` is its whole length, or what is needed to learn it.
    Torn { position: usize, size: usize },
    /// What lies at `position` is not a batch, or not any more.
    Corrupt { position: usize, why: RecordError },
}

/// A complete batch at its place.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub header: Header,
    /// Where it starts within the scanned bytes.
    pub position: usize,
    pub bytes: &'a [u8],
}

impl View<'_> {
    /// Whether its CRC is right, for a [`Depth::Headers`] scan.
    pub fn is_intact(&self) -> bool {
        check_crc(self.bytes, &self.header).is_ok()
    }

    /// The batch as a value of its own: a slice of `scanned`, the bytes that the scan was given.
    pub fn slice_of(&self, scanned: &Bytes) -> StampedBatch {
        StampedBatch::scanned(
            self.header,
            scanned.slice(self.position..self.position + self.header.size_bytes),
        )
    }
}

/// Iterates over the complete batches at the front of some bytes; [`Scan::stop`] then says why there are no more.
#[derive(Debug)]
pub struct Scan<'a> {
    bytes: &'a [u8],
    position: usize,
    depth: Depth,
    stop: Option<Stop>,
}

impl<'a> Scan<'a> {
    pub fn new(bytes: &'a [u8], depth: Depth) -> Scan<'a> {
        Scan {
            bytes,
            position: 0,
            depth,
            stop: None,
        }
    }

    /// Behind the last complete batch.
    pub fn position(&self) -> usize {
        self.position
    }

    /// `None` while there may be more.
    pub fn stop(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    fn step(&mut self) -> Result<View<'a>, Stop> {
        let position = self.position;
        let rest = &self.bytes[position..];
        if rest.is_empty() {
            return Err(Stop::End);
        }
        // Fewer zeros may be the front of a batch with a small offset, whose rest was not given.
        let may_be_zeros = rest.first_chunk::<PREFIX_BYTES>() == Some(&[0; PREFIX_BYTES]);
        if may_be_zeros && rest.iter().all(|&byte| byte == 0) {
            return Err(Stop::Zeros { position });
        }
        let size = match size_of_batch(rest) {
            Ok(size) => size,
            Err(RecordError::Truncated { size, .. }) => return Err(Stop::Torn { position, size }),
            Err(why) => return Err(Stop::Corrupt { position, why }),
        };
        let header = match Header::decode(rest) {
            Ok(header) => header,
            Err(RecordError::Truncated { .. }) => {
                return Err(Stop::Torn {
                    position,
                    size: size.max(HEADER_BYTES),
                });
            }
            Err(why) => return Err(Stop::Corrupt { position, why }),
        };
        let Some(bytes) = rest.get(..size) else {
            return Err(Stop::Torn { position, size });
        };
        if self.depth == Depth::Crc {
            check_crc(bytes, &header).map_err(|why| Stop::Corrupt { position, why })?;
        }
        check_offsets(&header).map_err(|why| Stop::Corrupt { position, why })?;
        Ok(View {
            header,
            position,
            bytes,
        })
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = View<'a>;

    fn next(&mut self) -> Option<View<'a>> {
        if self.stop.is_some() {
            return None;
        }
        match self.step() {
            Ok(view) => {
                self.position += view.bytes.len();
                Some(view)
            }
            Err(stop) => {
                self.stop = Some(stop);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::BatchBuilder;
    use super::*;
    use proptest::prelude::*;

    fn three() -> Vec<u8> {
        let mut bytes = vec![];
        for i in 0..3 {
            let builder = BatchBuilder::new()
                .record(i, None, Some(b"a value"))
                .record(i, None, None);
            bytes.extend_from_slice(builder.build_stamped(i * 2, 0).bytes());
        }
        bytes
    }

    fn scan(bytes: &[u8]) -> (Vec<i64>, Stop) {
        let mut scan = Scan::new(bytes, Depth::Crc);
        let offsets = scan.by_ref().map(|view| view.header.base_offset).collect();
        (offsets, scan.stop().cloned().expect("it has ended"))
    }

    #[test]
    fn ends_where_and_why() {
        let bytes = three();
        let size = bytes.len() / 3;
        assert_eq!(scan(&bytes), (vec![0, 2, 4], Stop::End));
        assert_eq!(scan(&[]), (vec![], Stop::End));
        let mut padded = bytes.clone();
        padded.extend_from_slice(&[0; 5]);
        let more = Stop::Torn {
            position: 3 * size,
            size: PREFIX_BYTES,
        };
        assert_eq!(scan(&padded), (vec![0, 2, 4], more));
        padded.extend_from_slice(&[0; 500]);
        assert_eq!(scan(&padded), (vec![0, 2, 4], Stop::Zeros { position: 3 * size }));
        padded.push(1);
        assert!(
            matches!(scan(&padded).1, Stop::Corrupt { .. }),
            "zeros and then something"
        );
        for cut in 2 * size + 1..3 * size {
            let (offsets, stop) = scan(&bytes[..cut]);
            assert_eq!(offsets, [0, 2], "cut at {cut}");
            let Stop::Torn { position, size: needed } = stop else {
                panic!("cut at {cut}: {stop:?}")
            };
            assert!(
                position == 2 * size && (needed == size || cut < position + PREFIX_BYTES),
                "cut at {cut}"
            );
        }
        let mut flipped = bytes;
        flipped[size + 70] ^= 1;
        let (offsets, stop) = scan(&flipped);
        assert_eq!(offsets, [0]);
        assert!(matches!(stop, Stop::Corrupt { position, why: RecordError::Crc { .. } } if position == size));
        let trusting = Scan::new(&flipped, Depth::Headers).count();
        assert_eq!(trusting, 3);
    }

    #[test]
    fn slices_are_the_batches() {
        let bytes = Bytes::from(three());
        for view in Scan::new(&bytes, Depth::Crc) {
            let batch = view.slice_of(&bytes);
            assert_eq!(StampedBatch::check(batch.bytes().clone()), Ok(batch));
        }
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300), depth in prop::sample::select(vec![Depth::Headers, Depth::Crc])) {
            let mut scan = Scan::new(&bytes, depth);
            let mut position = 0;
            for view in scan.by_ref() {
                prop_assert_eq!(view.position, position);
                position += view.bytes.len();
            }
            prop_assert_eq!(scan.position(), position);
            prop_assert!(scan.stop().is_some());
        }
    }
}
