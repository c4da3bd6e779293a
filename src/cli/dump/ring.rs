//! A journal: its superblocks, then its commits from the anchor on, as far as each continues the one before.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use bytes::Bytes;

use super::DumpError;
use super::batches::{Detail, show_records};
use crate::journal::format::{CommitHeader, Superblock, SuperblockRead};
use crate::journal::{BLOCK, Body, RING_START, RingPosition, frame, recent};
use crate::record::StampedBatch;

pub fn show(file: &mut File, records: bool, out: &mut impl Write) -> Result<(), DumpError> {
    let mut newest: Option<Superblock> = None;
    for copy in 0..2 {
        let block = read_at(file, copy * BLOCK, BLOCK)?;
        match Superblock::decode(&block) {
            SuperblockRead::Valid(superblock) => {
                writeln!(out, "{superblock}")?;
                newest = newest
                    .filter(|other| other.generation > superblock.generation)
                    .or(Some(superblock));
            }
            SuperblockRead::Zeros => writeln!(out, "superblock never written")?,
            SuperblockRead::Newer { version } => writeln!(out, "superblock of a newer format, {version}")?,
            SuperblockRead::Damaged => writeln!(out, "superblock damaged")?,
        }
    }
    let Some(superblock) = newest else {
        return Err(DumpError::Damaged(
            "no superblock can be read, so no commit can be found".into(),
        ));
    };
    let ring = Ring { file, superblock };
    ring.show_commits(records, out)
}

struct Ring<'a> {
    file: &'a mut File,
    superblock: Superblock,
}

impl Ring<'_> {
    fn show_commits(mut self, records: bool, out: &mut impl Write) -> Result<(), DumpError> {
        let mut expected = self.superblock.anchor;
        // More than one lap cannot be there.
        let end = expected.position + self.superblock.ring_bytes;
        while expected.position < end {
            let block = self.read(expected.position, BLOCK)?;
            let Some((commit, checksum)) = CommitHeader::decode(&block, self.superblock.nonce) else {
                break;
            };
            let continues = commit.position == expected.position
                && commit.sequence == expected.sequence
                && commit.previous == expected.previous
                && commit.length <= self.superblock.ring_bytes;
            if !continues {
                break;
            }
            writeln!(out, "{commit}")?;
            self.show_frames(&commit, records, out)?;
            expected.position += commit.ring_bytes();
            expected.sequence += 1;
            expected.previous = checksum;
        }
        writeln!(out, "no commit {} at {}", expected.sequence, expected.position)?;
        Ok(())
    }

    fn show_frames(&mut self, commit: &CommitHeader, records: bool, out: &mut impl Write) -> Result<(), DumpError> {
        let bytes = self.read(commit.position, commit.ring_bytes())?;
        match commit.list_in(&bytes, self.superblock.nonce) {
            Some((_, list)) => {
                for entry in recent::decode(list, commit.sequence) {
                    writeln!(out, "  before it: {entry}")?;
                }
            }
            None if commit.list.is_some() => writeln!(out, "  its list of earlier changes is torn or damaged")?,
            None => {}
        }
        let mut at = commit.frames_at();
        for _ in 0..commit.frames {
            let rest = bytes.slice(at.min(bytes.len())..);
            let Some(decoded) = frame::decode(&rest, self.superblock.nonce) else {
                writeln!(out, "  no frame {at} bytes into the commit: torn or damaged")?;
                return Ok(());
            };
            let set = if decoded.in_set { " (restated)" } else { "" };
            writeln!(out, "  {}{set}", decoded.frame)?;
            if let Body::Append(append) = &decoded.frame.body {
                match StampedBatch::check(append.bytes.clone()) {
                    Ok(batch) if records => show_records(&batch, Detail::Records, out)?,
                    Ok(_) => {}
                    Err(why) => writeln!(out, "  its batch is torn or damaged: {why}")?,
                }
            }
            at += decoded.ring_bytes;
        }
        Ok(())
    }

    /// Bytes of the ring, which may go round its end.
    fn read(&mut self, from: RingPosition, len: u64) -> Result<Bytes, DumpError> {
        let start = from % self.superblock.ring_bytes;
        let first = len.min(self.superblock.ring_bytes - start);
        let mut bytes = read_at(self.file, RING_START + start, first)?;
        bytes.extend(read_at(self.file, RING_START, len - first)?);
        Ok(bytes.into())
    }
}

/// What the file does not have is left out.
fn read_at(file: &mut File, position: u64, len: u64) -> Result<Vec<u8>, DumpError> {
    file.seek(SeekFrom::Start(position))?;
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::journal::format::COMMIT_HEADER_BYTES;
    use crate::journal::{Append, Config, Frame, Journal};
    use crate::record::BatchBuilder;
    use crate::types::{LogId, ShardId};

    /// A ring with one commit of an append and a truncation.
    fn ring() -> File {
        let mut file = tempfile::tempfile().unwrap();
        let mut journal = Journal::create(Config::new(1 << 20, ShardId(0), 1), 77);
        let mut write = |position, slices: &[Bytes]| {
            file.seek(SeekFrom::Start(position)).unwrap();
            slices.iter().for_each(|slice| file.write_all(slice).unwrap());
        };
        while let Some(superblock) = journal.begin_superblock() {
            write(superblock.position, &[superblock.block]);
            journal.superblock_done();
        }
        let batch = BatchBuilder::new()
            .record(5, Some(b"k"), Some(b"v"))
            .build_stamped(0, 1);
        let append = Append {
            segment_base: 0,
            position: 0,
            base_offset: 0,
            last_offset: 0,
            leader_epoch: 1,
            bytes: batch.bytes().clone(),
        };
        journal
            .push(
                Frame {
                    log: LogId::METADATA,
                    body: Body::Append(append),
                },
                true,
            )
            .unwrap();
        journal
            .push(
                Frame {
                    log: LogId::METADATA,
                    body: Body::Truncate { to: 0 },
                },
                true,
            )
            .unwrap();
        let commit = journal.begin_commit().unwrap();
        commit
            .writes
            .iter()
            .for_each(|piece| write(piece.position, &piece.slices));
        file
    }

    fn dump(file: &mut File) -> String {
        let mut out = Vec::new();
        show(file, true, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn commits_frames_and_records_are_shown() {
        let text = dump(&mut ring());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("superblock "), "{text}");
        assert!(lines[2].starts_with("commit 1 at 0 "), "{text}");
        assert!(
            lines[3].starts_with("  append AAAAAAAAAAAAAAAAAAAAAQ-0 0..=0 epoch 1 "),
            "{text}"
        );
        assert_eq!(lines[4], r#"  0 5 "k": "v""#);
        assert_eq!(lines[5], "  truncate AAAAAAAAAAAAAAAAAAAAAQ-0 to 0");
        assert!(lines[6].starts_with("no commit 2 at "), "{text}");
    }

    #[test]
    fn a_damaged_frame_is_said() {
        let mut file = ring();
        file.seek(SeekFrom::Start(RING_START + COMMIT_HEADER_BYTES as u64 + 20))
            .unwrap();
        file.write_all(&[0xFF]).unwrap();
        assert!(dump(&mut file).contains("no frame 96 bytes into the commit: torn or damaged"));
    }

    #[test]
    fn a_file_that_is_no_journal_is_refused() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"something else").unwrap();
        let mut out = Vec::new();
        assert!(show(&mut file, false, &mut out).is_err());
    }
}
