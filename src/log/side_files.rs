//! Kafka's small files beside the segments: their names, encode, decode. All are text, and all are derived: in doubt they
//! are written again, except `partition.metadata`, which says whose folder it is.
//!
//! | file | where | content |
//! |---|---|---|
//! | `partition.metadata` | partition's folder | `version: 0`, newline, `topic_id: ` and the id's 22 characters; no newline at the end |
//! | `leader-epoch-checkpoint` | partition's folder | a checkpoint whose lines are `epoch start-offset` |
//! | `%020d.snapshot` | partition's folder | producer state: [`encode_snapshot`](super::producers::encode_snapshot) |
//! | `recovery-point-offset-checkpoint` | data folder | a checkpoint of `topic partition offset`: everything below is flushed |
//! | `replication-offset-checkpoint` | data folder | the same, of high watermarks |
//! | `log-start-offset-checkpoint` | data folder | the same, of log starts that are not a segment's base offset |
//! | `.kafka_cleanshutdown` | data folder | `{"version":0,"brokerEpoch":N}`; older brokers left it empty |
//!
//! A checkpoint is line 1: version `0`, line 2: the number of entries, then a line for each, every line with its newline.
//! An empty file is an empty checkpoint.

use std::fmt::Write;

use bytes::Bytes;

use crate::types::{Offset, TopicId, Uuid};

use super::epochs::{EpochStart, Epochs};

pub const PARTITION_METADATA: &str = "partition.metadata";
pub const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";
pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
pub const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
pub const LOG_STARTS: &str = "log-start-offset-checkpoint";
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

/// The producers' snapshot that holds everything below `offset`.
pub fn producer_snapshot_name(offset: Offset) -> String {
    format!("{offset:020}.snapshot")
}

/// Why a side file was not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SideFileError {
    #[error("it is not text")]
    NotText,
    #[error("it has version {version:?}, only 0 is known")]
    Version { version: String },
    #[error("line {line} should be {expected}, not {found:?}")]
    Line {
        line: usize,
        expected: &'static str,
        found: String,
    },
    #[error("it announces {announced} entries and holds {found}")]
    Count { announced: usize, found: usize },
}

pub fn partition_metadata(topic: TopicId) -> Bytes {
    format!("version: 0\ntopic_id: {topic}").into()
}

pub fn parse_partition_metadata(bytes: &[u8]) -> Result<TopicId, SideFileError> {
    let mut lines = text(bytes)?.lines();
    let version = lines.next().unwrap_or("");
    match version.strip_prefix("version:").map(str::trim) {
        Some("0") => {}
        Some(other) => {
            return Err(SideFileError::Version {
                version: excerpt(other),
            });
        }
        None => {
            return Err(SideFileError::Line {
                line: 1,
                expected: "\"version: 0\"",
                found: excerpt(version),
            });
        }
    }
    let id = lines.next().unwrap_or("");
    let parsed = id.strip_prefix("topic_id:").and_then(|id| Uuid::parse(id.trim()));
    // Kafka refuses the zero id, too: it is what a topic without an id would have.
    parsed.filter(|id| !id.is_zero()).ok_or_else(|| SideFileError::Line {
        line: 2,
        expected: "\"topic_id: \" and an id",
        found: excerpt(id),
    })
}

pub fn leader_epochs(epochs: &Epochs) -> Bytes {
    checkpoint(
        epochs.entries().iter().map(|entry| (entry.epoch, entry.start)),
        |out, (epoch, start)| write!(out, "{epoch} {start}"),
    )
}

pub fn parse_leader_epochs(bytes: &[u8]) -> Result<Epochs, SideFileError> {
    let entries = parse_checkpoint(bytes, "an epoch and its start offset", |words| match words {
        [epoch, start] => Some(EpochStart {
            epoch: natural(epoch)?,
            start: natural(start)?,
        }),
        _ => None,
    })?;
    Ok(entries.into_iter().collect())
}

/// A partition by its topic's name, and an offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionOffset {
    pub topic: String,
    pub partition: i32,
    pub offset: Offset,
}

/// The content of [`RECOVERY_POINTS`], [`HIGH_WATERMARKS`] or [`LOG_STARTS`].
pub fn offsets(entries: &[PartitionOffset]) -> Bytes {
    checkpoint(entries.iter(), |out, entry| {
        write!(out, "{} {} {}", entry.topic, entry.partition, entry.offset)
    })
}

pub fn parse_offsets(bytes: &[u8]) -> Result<Vec<PartitionOffset>, SideFileError> {
    parse_checkpoint(bytes, "a topic, a partition and an offset", |words| match words {
        [topic, partition, offset] => Some(PartitionOffset {
            topic: topic.to_string(),
            partition: natural(partition)?,
            offset: natural(offset)?,
        }),
        _ => None,
    })
}

/// `broker_epoch` is that of the registration under which the broker stopped.
pub fn clean_shutdown(broker_epoch: i64) -> Bytes {
    format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}").into()
}

/// The broker epoch; `None` from the empty file of a broker that did not know it.
pub fn parse_clean_shutdown(bytes: &[u8]) -> Result<Option<i64>, SideFileError> {
    let compact: String = text(bytes)?.split_ascii_whitespace().collect();
    if compact.is_empty() {
        return Ok(None);
    }
    let line = || SideFileError::Line {
        line: 1,
        expected: "{\"version\":0,\"brokerEpoch\":N}",
        found: excerpt(&compact),
    };
    let fields = compact
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .ok_or_else(line)?;
    let mut epoch = None;
    for field in fields.split(',') {
        match field.split_once(':').ok_or_else(line)? {
            ("\"version\"", "0") => {}
            ("\"version\"", version) => {
                return Err(SideFileError::Version {
                    version: excerpt(version),
                });
            }
            ("\"brokerEpoch\"", number) => epoch = Some(number.parse().map_err(|_| line())?),
            _ => {}
        }
    }
    epoch.map(Some).ok_or_else(line)
}

fn checkpoint<T>(
    entries: impl ExactSizeIterator<Item = T>,
    write_entry: impl Fn(&mut String, T) -> std::fmt::Result,
) -> Bytes {
    let mut out = format!("0\n{}\n", entries.len());
    for entry in entries {
        write_entry(&mut out, entry).expect("writing to memory does not fail");
        out.push('\n');
    }
    out.into()
}

fn parse_checkpoint<T>(
    bytes: &[u8],
    expected: &'static str,
    parse_entry: impl Fn(&[&str]) -> Option<T>,
) -> Result<Vec<T>, SideFileError> {
    let mut lines = text(bytes)?.lines();
    match lines.next().map(str::trim) {
        None => return Ok(vec![]),
        Some("0") => {}
        Some(version) => {
            return Err(SideFileError::Version {
                version: excerpt(version),
            });
        }
    }
    let count = lines.next().unwrap_or("");
    let announced = natural(count.trim()).ok_or_else(|| SideFileError::Line {
        line: 2,
        expected: "the number of entries",
        found: excerpt(count),
    })?;
    let mut entries = vec![];
    for (at, line) in lines.enumerate() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let entry = parse_entry(&words);
        entries.push(entry.ok_or_else(|| SideFileError::Line {
            line: at + 3,
            expected,
            found: excerpt(line),
        })?);
    }
    match entries.len() == announced {
        true => Ok(entries),
        false => Err(SideFileError::Count {
            announced,
            found: entries.len(),
        }),
    }
}

/// A number that is not negative, in digits only.
fn natural<N: std::str::FromStr>(word: &str) -> Option<N> {
    word.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| word.parse().ok())?
}

fn text(bytes: &[u8]) -> Result<&str, SideFileError> {
    std::str::from_utf8(bytes).map_err(|_| SideFileError::NotText)
}

/// As much of what was found as fits into a line of a log.
fn excerpt(found: &str) -> String {
    found.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kafkas_own_files() {
        // Written by a Kafka 4.1.0 broker.
        let id = Uuid::parse("xasH2qwqTOa2XcbYCTTF9g").unwrap();
        let file = b"version: 0\ntopic_id: xasH2qwqTOa2XcbYCTTF9g";
        assert_eq!(
            (partition_metadata(id), parse_partition_metadata(file)),
            (file[..].into(), Ok(id))
        );

        let epochs: Epochs = [EpochStart { epoch: 0, start: 0 }].into_iter().collect();
        let file = b"0\n1\n0 0\n";
        assert_eq!(
            (leader_epochs(&epochs), parse_leader_epochs(file)),
            (file[..].into(), Ok(epochs))
        );

        assert_eq!(
            (offsets(&[]), parse_offsets(b"0\n0\n")),
            (b"0\n0\n"[..].into(), Ok(vec![]))
        );
        let entry = PartitionOffset {
            topic: "__transaction_state".into(),
            partition: 42,
            offset: 7,
        };
        let file = b"0\n1\n__transaction_state 42 7\n";
        assert_eq!(
            (offsets(std::slice::from_ref(&entry)), parse_offsets(file)),
            (file[..].into(), Ok(vec![entry]))
        );
        assert_eq!(
            parse_offsets(b""),
            Ok(vec![]),
            "cleaner-offset-checkpoint before there was a cleaner"
        );

        let file = b"{\"version\":0,\"brokerEpoch\":15}";
        assert_eq!(
            (clean_shutdown(15), parse_clean_shutdown(file)),
            (file[..].into(), Ok(Some(15)))
        );
        assert_eq!(parse_clean_shutdown(b""), Ok(None));
        assert_eq!(producer_snapshot_name(8), "00000000000000000008.snapshot");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let said = |error: SideFileError| error.to_string();
        let metadata = |bytes: &[u8]| said(parse_partition_metadata(bytes).unwrap_err());
        assert_eq!(
            metadata(b"version: 1\ntopic_id: x"),
            "it has version \"1\", only 0 is known"
        );
        assert_eq!(
            metadata(b"version: 0\n"),
            "line 2 should be \"topic_id: \" and an id, not \"\""
        );
        assert_eq!(
            metadata(b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA")
                .lines()
                .count(),
            1
        );
        assert_eq!(metadata(&[0xFF]), "it is not text");
        let epochs = |bytes: &[u8]| said(parse_leader_epochs(bytes).unwrap_err());
        assert_eq!(epochs(b"0\n2\n0 0\n"), "it announces 2 entries and holds 1");
        assert_eq!(
            epochs(b"0\n1\n0 -5\n"),
            "line 3 should be an epoch and its start offset, not \"0 -5\""
        );
        assert_eq!(
            epochs(b"0\nmany\n"),
            "line 2 should be the number of entries, not \"many\""
        );
        assert_eq!(epochs(b"1\n0\n"), "it has version \"1\", only 0 is known");
        assert!(parse_clean_shutdown(b"{}").is_err());
        assert!(parse_clean_shutdown(b"{\"version\":1,\"brokerEpoch\":15}").is_err());
        assert!(parse_clean_shutdown(b"{\"version\":0}").is_err());
    }

    proptest! {
        #[test]
        fn round_trips(
            topic in "[a-zA-Z0-9._-]{1,20}",
            entries in prop::collection::vec((0..i32::MAX, 0..i64::MAX), 0..9),
            epoch: i64,
        ) {
            let list: Vec<_> = entries.iter().map(|&(partition, offset)| PartitionOffset { topic: topic.clone(), partition, offset }).collect();
            prop_assert_eq!(parse_offsets(&offsets(&list)), Ok(list));
            let epochs: Epochs = entries.iter().map(|&(epoch, start)| EpochStart { epoch, start }).collect();
            prop_assert_eq!(parse_leader_epochs(&leader_epochs(&epochs)), Ok(epochs));
            prop_assert_eq!(parse_clean_shutdown(&clean_shutdown(epoch)), Ok(Some(epoch)));
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(prop::sample::select(&b"0123 -\n{}\":,version\xFF"[..]), 0..60)) {
            let _ = parse_partition_metadata(&bytes);
            let _ = parse_leader_epochs(&bytes);
            let _ = parse_offsets(&bytes);
            let _ = parse_clean_shutdown(&bytes);
        }
    }
}
