//! `tidemill.format`: what a data folder of ours needs of who opens it. Text, so that a person can read it:
//!
//! ```text
//! version=1
//! shards=2        the journals' shards; another number of cores needs them written out and retired first
//! journals=made   every shard has its journal: one that is missing was lost. none, or no such line: they may not be made yet
//! ```

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
}

pub fn encode(format: Format) -> Bytes {
    let journals = if format.has_journals { "made" } else { "none" };
    format!("version={VERSION}\nshards={}\njournals={journals}\n", format.shards).into()
}

/// What the folder was written by, or why it cannot be opened.
pub fn decode(content: &[u8]) -> Result<Format, String> {
    let text = std::str::from_utf8(content).map_err(|_| format!("{FILE} is not text"))?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let number = |key: &str| {
        value(key)
            .and_then(|value| value.trim().parse::<u32>().ok())
            .ok_or_else(|| format!("{FILE} has no {key}"))
    };
    let version = number("version")?;
    if version > VERSION {
        return Err(format!(
            "the data folder was written by a newer version of Tidemill (its format is {version}, this one knows {VERSION}): \
             use that version"
        ));
    }
    let shards = u16::try_from(number("shards")?).ok().filter(|&shards| shards > 0);
    Ok(Format {
        shards: shards.ok_or_else(|| format!("{FILE} has a bad number of shards"))?,
        has_journals: value("journals") == Some("made"),
    })
}

/// May `shards` shards open the folder?
pub fn check(content: &[u8], shards: u16) -> Result<Format, String> {
    let format = decode(content)?;
    match format.shards {
        found if found == shards => Ok(format),
        found => Err(format!(
            "the folder's journals belong to {found} shards, not {shards}: they were not retired"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_apart() {
        for has_journals in [false, true] {
            let format = Format {
                shards: 3,
                has_journals,
            };
            assert_eq!(check(&encode(format), 3), Ok(format));
            assert!(check(&encode(format), 2).is_err());
        }
        let older = Format {
            shards: 3,
            has_journals: false,
        };
        assert_eq!(decode(b"version=1\nshards=3\n"), Ok(older));
        assert!(decode(b"version=2\nshards=1\n").unwrap_err().contains("newer version"));
        assert!(decode(b"shards=1\n").is_err());
        assert!(decode(b"version=1\nshards=0\n").is_err());
        assert!(decode(&[0xff]).is_err());
    }
}
