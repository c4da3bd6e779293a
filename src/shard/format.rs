//! `tidemill.format`: what a data folder of ours needs of who opens it. Text, so that a person can read it:
//!
//! ```text
//! version=1
//! shards=2        the journals' shards; another number of cores needs them written out and retired first
//! journals=made   every shard has its journal: one that is missing was lost. none: they may not be made yet
//! metadata=made   the metadata log holds at least one start: one that is empty was lost. none: nothing was served yet
//! crc=0123abcd    CRC-32 of every line above, their ends included, in hexadecimal
//! ```
//!
//! Files from before December 2026 have neither `metadata` nor `crc`. What a file does not say of journals and metadata counts
//! as made, because only that can make a loss known.

use bytes::Bytes;

/// There when the last stop was clean.
pub use crate::log::side_files::CLEAN_SHUTDOWN;

pub const FILE: &str = "tidemill.format";

/// Raised when an older version could not read the folder any more.
pub const VERSION: u32 = 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    pub shards: u16,
    /// A process has served the folder with a journal of every shard: one that is missing now was lost.
    pub has_journals: bool,
    /// A process has registered itself in the metadata log: one without records was lost.
    pub has_metadata: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormatError {
    #[error(
        "the data folder was written by a newer version of Tidemill (its format is {version}, this one knows {VERSION}): use \
         that version"
    )]
    Newer { version: u32 },
    #[error("{FILE} is damaged: {0}")]
    Damaged(&'static str),
}

pub fn encode(format: Format) -> Bytes {
    let word = |is_made| if is_made { "made" } else { "none" };
    let mut text = format!(
        "version={VERSION}\nshards={}\njournals={}\nmetadata={}\n",
        format.shards,
        word(format.has_journals),
        word(format.has_metadata)
    );
    let crc = crc32fast::hash(text.as_bytes());
    text.push_str(&format!("crc={crc:08x}\n"));
    text.into()
}

/// What the folder was written by, or why it cannot be opened.
pub fn decode(content: &[u8]) -> Result<Format, FormatError> {
    let damaged = |why| Err(FormatError::Damaged(why));
    let Ok(text) = std::str::from_utf8(content) else {
        return damaged("it is not text");
    };
    if !text.ends_with('\n') {
        return damaged("its last line is cut off");
    }
    let mut pairs = Vec::new();
    for line in text.lines() {
        match line.split_once('=') {
            Some(pair) => pairs.push(pair),
            None => return damaged("a line is not KEY=VALUE"),
        }
    }
    let value = |key: &str| pairs.iter().find(|(found, _)| *found == key).map(|(_, value)| *value);
    let number = |key: &str| value(key).and_then(|value| value.parse::<u32>().ok());
    let Some(version) = number("version") else {
        return damaged("it has no version");
    };
    match pairs.last() {
        Some(("crc", crc)) => {
            let covered = &content[..content.len() - "crc=\n".len() - crc.len()];
            if *crc != format!("{:08x}", crc32fast::hash(covered)) {
                return damaged("its checksum is wrong");
            }
        }
        _ if version > VERSION => {}
        _ => {
            let is_old = |(key, _): &(&str, &str)| ["version", "shards", "journals"].contains(key);
            if !pairs.iter().all(is_old) {
                return damaged("its checksum is missing");
            }
        }
    }
    if version > VERSION {
        return Err(FormatError::Newer { version });
    }
    let made = |key: &str, unsaid| match value(key) {
        Some("none") => Ok(false),
        Some("made") => Ok(true),
        Some(_) => Err(FormatError::Damaged("a value is neither made nor none")),
        None => Ok(unsaid),
    };
    let Some(shards) = number("shards").and_then(|n| u16::try_from(n).ok()).filter(|&n| n > 0) else {
        return damaged("it has no number of shards");
    };
    let has_journals = made("journals", true)?;
    Ok(Format {
        shards,
        has_journals,
        has_metadata: made("metadata", has_journals)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_apart() {
        for has_journals in [false, true] {
            for has_metadata in [false, true] {
                let format = Format {
                    shards: 3,
                    has_journals,
                    has_metadata,
                };
                assert_eq!(decode(&encode(format)), Ok(format));
            }
        }
        let older = |is_made| Format {
            shards: 3,
            has_journals: is_made,
            has_metadata: is_made,
        };
        assert_eq!(decode(b"version=1\nshards=3\n"), Ok(older(true)));
        assert_eq!(decode(b"version=1\nshards=3\njournals=none\n"), Ok(older(false)));
        assert_eq!(decode(b"version=1\nshards=3\njournals=made\n"), Ok(older(true)));
        let newer = decode(b"version=2\nshards=1\nanything=else\n").unwrap_err();
        assert!(newer.to_string().contains("newer version"));
        for bad in [
            &b""[..],
            b"shards=1\n",
            b"version=1\nshards=0\n",
            b"version=1\nshards=70000\n",
            b"version=1\nshards=1\njournals=mada\n",
            b"version=1\nshards=1\njournals=made\nmetadata=made\n",
            &[0xff],
        ] {
            assert!(matches!(decode(bad), Err(FormatError::Damaged(_))), "{bad:?}");
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_taken_for_another_format() {
        let format = Format {
            shards: 2,
            has_journals: true,
            has_metadata: true,
        };
        let good = encode(format);
        for at in 0..good.len() {
            // What is left may be an older file, which says no more and so excuses nothing.
            assert!(
                decode(&good[..at]).is_err() || decode(&good[..at]) == Ok(format),
                "cut at {at}"
            );
            for bit in 0..8 {
                let mut bytes = good.to_vec();
                bytes[at] ^= 1 << bit;
                assert!(decode(&bytes).is_err(), "bit {bit} of byte {at}");
            }
        }
    }
}
