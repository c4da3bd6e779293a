//! `tidemill.format`: what a data folder of ours needs of who opens it. Text, so that a person can read it:
//!
//! ```text
//! version=1
//! shards=2        the journals' shards; another number of cores needs them written out and retired first
//! ```

use bytes::Bytes;

/// There when the last stop was clean.
pub use crate::log::side_files::CLEAN_SHUTDOWN;

pub const FILE: &str = "tidemill.format";

/// Raised when an older version could not read the folder any more.
pub const VERSION: u32 = 1;

pub fn encode(shards: u16) -> Bytes {
    format!("version={VERSION}\nshards={shards}\n").into()
}

/// The number of shards that the folder's journals were written by, or why it cannot be opened.
pub fn decode(content: &[u8]) -> Result<u16, String> {
    let text = std::str::from_utf8(content).map_err(|_| format!("{FILE} is not text"))?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.and_then(|value| value.trim().parse::<u32>().ok())
            .ok_or_else(|| format!("{FILE} has no {key}"))
    };
    let version = value("version")?;
    if version > VERSION {
        return Err(format!(
            "the data folder was written by a newer version of Tidemill (its format is {version}, this one knows {VERSION}): \
             use that version"
        ));
    }
    u16::try_from(value("shards")?)
        .ok()
        .filter(|&shards| shards > 0)
        .ok_or_else(|| format!("{FILE} has a bad number of shards"))
}

/// May `shards` shards open the folder?
pub fn check(content: &[u8], shards: u16) -> Result<(), String> {
    match decode(content)? {
        found if found == shards => Ok(()),
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
        assert_eq!(decode(&encode(3)), Ok(3));
        assert!(check(&encode(3), 2).is_err());
        assert!(decode(b"version=2\nshards=1\n").unwrap_err().contains("newer version"));
        assert!(decode(b"shards=1\n").is_err());
        assert!(decode(b"version=1\nshards=0\n").is_err());
        assert!(decode(&[0xff]).is_err());
    }
}
