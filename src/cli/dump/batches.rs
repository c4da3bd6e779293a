//! Segments and metadata snapshots: record batches one after another.

use std::io::{Read, Write};

use bytes::Bytes;

use super::DumpError;
use crate::record::scan::{Depth, Scan, Stop};
use crate::record::{Record, Records, StampedBatch};
use crate::wire::control_records::ControlRecord;
use crate::wire::metadata_records::MetadataRecord;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    Batches,
    /// Keys and values as text, bytes that are none escaped.
    Records,
    /// Records of the cluster's metadata, decoded.
    Metadata,
}

/// A file is read in pieces of this size, or of one batch where that is larger.
const PIECE_BYTES: usize = 8 * 1024 * 1024;

/// A batch that inflates to more is shown without its records.
const INFLATED_BYTES_MAX: usize = 256 * 1024 * 1024;

pub fn show(file: &mut impl Read, detail: Detail, out: &mut impl Write) -> Result<(), DumpError> {
    // Bytes of the file from `position` on that are not shown yet.
    let mut left: Vec<u8> = Vec::new();
    let mut position = 0u64;
    let mut wanted = PIECE_BYTES;
    loop {
        let missing = wanted.saturating_sub(left.len()) as u64;
        let read = file.by_ref().take(missing).read_to_end(&mut left)?;
        let is_last = (read as u64) < missing;
        let piece = Bytes::from(std::mem::take(&mut left));
        let mut scan = Scan::new(&piece, Depth::Crc);
        for view in scan.by_ref() {
            writeln!(out, "{} at {}", view.header, position + view.position as u64)?;
            show_records(&view.slice_of(&piece), detail, out)?;
        }
        let rest = piece.slice(scan.position()..);
        position += scan.position() as u64;
        match scan.stop() {
            Some(Stop::Torn { size, .. }) if !is_last => {
                wanted = (*size).max(PIECE_BYTES);
                left = rest.to_vec();
            }
            Some(Stop::End) | None if is_last => return Ok(()),
            Some(Stop::End) | None => wanted = PIECE_BYTES,
            Some(Stop::Zeros { .. }) => return show_zeros(file, position, rest.len(), out),
            Some(Stop::Torn { size, .. }) => {
                let have = rest.len();
                return Err(DumpError::Damaged(format!(
                    "the batch at {position} is cut off: {have} of {size} bytes"
                )));
            }
            Some(Stop::Corrupt { why, .. }) => {
                return Err(DumpError::Damaged(format!("no batch at {position}: {why}")));
            }
        }
    }
}

/// Space that was reserved or padded: zeros to the end of the file.
fn show_zeros(file: &mut impl Read, from: u64, known: usize, out: &mut impl Write) -> Result<(), DumpError> {
    let mut position = from + known as u64;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            writeln!(out, "zeros {from}..{position}")?;
            return Ok(());
        }
        if let Some(at) = piece[..read].iter().position(|&byte| byte != 0) {
            let at = position + at as u64;
            return Err(DumpError::Damaged(format!(
                "zeros from {from} on, then something else at {at}"
            )));
        }
        position += read as u64;
    }
}

pub fn show_records(batch: &StampedBatch, detail: Detail, out: &mut impl Write) -> Result<(), DumpError> {
    if detail == Detail::Batches {
        return Ok(());
    }
    let records = match Records::of(batch, INFLATED_BYTES_MAX) {
        Ok(records) => records,
        Err(why) => return Ok(writeln!(out, "  its records cannot be read: {why}")?),
    };
    for record in records {
        let record = match record {
            Ok(record) => record,
            Err(why) => return Ok(writeln!(out, "  a record cannot be read: {why}")?),
        };
        write!(out, "  {} ", record.offset)?;
        match detail {
            _ if batch.header().is_control() => show_control(&record, out)?,
            Detail::Metadata => show_metadata(&record, out)?,
            _ => show_record(&record, out)?,
        }
    }
    Ok(())
}

fn show_control(record: &Record, out: &mut impl Write) -> Result<(), DumpError> {
    let (key, value) = (
        record.key.as_deref().unwrap_or_default(),
        record.value.as_deref().unwrap_or_default(),
    );
    match ControlRecord::decode(key, value) {
        Ok(control) => writeln!(out, "{control:?}")?,
        Err(why) => writeln!(out, "a control record that cannot be read: {why}")?,
    }
    Ok(())
}

fn show_metadata(record: &Record, out: &mut impl Write) -> Result<(), DumpError> {
    match record.value.as_ref().map(MetadataRecord::decode) {
        Some(Ok(metadata)) => writeln!(out, "{metadata:?}")?,
        Some(Err(why)) => writeln!(out, "a metadata record that cannot be read: {why}")?,
        None => writeln!(out, "a metadata record without a value")?,
    }
    Ok(())
}

fn show_record(record: &Record, out: &mut impl Write) -> Result<(), DumpError> {
    let text = |bytes: &Option<Bytes>| match bytes {
        Some(bytes) => format!("\"{}\"", bytes.escape_ascii()),
        None => "null".to_owned(),
    };
    write!(
        out,
        "{} {}: {}",
        record.timestamp,
        text(&record.key),
        text(&record.value)
    )?;
    for (key, value) in &record.headers {
        write!(out, " [{}={}]", key.escape_ascii(), text(value))?;
    }
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, Codec};
    use crate::wire::metadata_records::{FeatureLevelRecord, METADATA_VERSION};

    fn dump(bytes: &[u8], detail: Detail) -> (String, Result<(), String>) {
        let mut out = Vec::new();
        let result = show(&mut &bytes[..], detail, &mut out).map_err(|e| e.to_string());
        (String::from_utf8(out).unwrap(), result)
    }

    fn segment() -> Vec<u8> {
        let first = BatchBuilder::new().record_with_headers(5, Some(b"k"), Some(b"v\x01"), &[("h", None)]);
        let second = BatchBuilder::new()
            .compression(Codec::Zstd)
            .producer(7, 1, 3)
            .record(6, None, None);
        let batches = [first.build_stamped(0, 2), second.build_stamped(1, 2)];
        batches.iter().flat_map(|batch| batch.bytes().to_vec()).collect()
    }

    #[test]
    fn batches_and_their_records() {
        let (text, result) = dump(&segment(), Detail::Records);
        assert_eq!(result, Ok(()));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "batch 0..=0 epoch 2 (74 bytes, 1 records, none) CreateTime 5..=5 at 0"
        );
        assert_eq!(lines[1], r#"  0 5 "k": "v\x01" [h=null]"#);
        assert!(
            lines[2].contains("zstd) CreateTime 6..=6 producer 7 epoch 1 sequences 3..=3 at 74"),
            "{text}"
        );
        assert_eq!(lines[3], "  1 6 null: null");
        assert_eq!(dump(&segment(), Detail::Batches).0.lines().count(), 2);
    }

    #[test]
    fn what_is_wrong_with_a_segment_is_said_with_its_place() {
        let whole = segment();
        let padded = [whole.clone(), vec![0; 4096]].concat();
        let (text, result) = dump(&padded, Detail::Batches);
        assert_eq!(result, Ok(()));
        let end = whole.len();
        assert_eq!(
            text.lines().last(),
            Some(format!("zeros {end}..{}", end + 4096).as_str())
        );

        let (text, result) = dump(&whole[..whole.len() - 1], Detail::Batches);
        assert_eq!(text.lines().count(), 1);
        assert!(result.unwrap_err().starts_with("the batch at 74 is cut off: "));

        let mut flipped = whole.clone();
        flipped[100] ^= 1;
        assert!(
            dump(&flipped, Detail::Batches)
                .1
                .unwrap_err()
                .starts_with("no batch at 74: ")
        );
        let mut hole = padded;
        *hole.last_mut().unwrap() = 1;
        assert!(dump(&hole, Detail::Batches).1.is_err());
    }

    #[test]
    fn metadata_is_decoded() {
        let record = FeatureLevelRecord {
            name: "metadata.version".into(),
            feature_level: 27,
        };
        let value = MetadataRecord::from(record).encode(METADATA_VERSION).unwrap();
        let batch = BatchBuilder::new().record(5, None, Some(&value)).build_stamped(3, 1);
        let (text, result) = dump(batch.bytes(), Detail::Metadata);
        assert_eq!(result, Ok(()));
        assert!(text.contains("\n  3 FeatureLevel(FeatureLevelRecord {"), "{text}");
    }

    #[test]
    fn a_batch_across_two_pieces_is_one_batch() {
        let large = BatchBuilder::new()
            .record(5, None, Some(&vec![7; PIECE_BYTES]))
            .build_stamped(2, 2);
        let bytes = [segment(), large.bytes().to_vec(), large.bytes().to_vec()].concat();
        let (text, result) = dump(&bytes, Detail::Batches);
        assert_eq!(result, Ok(()));
        assert_eq!(text.lines().count(), 4);
    }
}
