//! The small files of a KRaft data folder, as bytes.
//!
//! ```text
//! meta.properties                      version=1, cluster.id, node.id, directory.id
//! bootstrap.checkpoint                 a snapshot with the feature levels that the folder was formatted with
//! __cluster_metadata-0/
//!   quorum-state                       JSON: leaderId, leaderEpoch, votedId, votedDirectoryId, data_version
//!   %020d-%010d.checkpoint             snapshots: see `snapshot`
//! ```
//!
//! quorum-state is read with serde_json: Kafka writes it with Jackson, in any order of fields and with any escapes, and a
//! parser for that is not ours to write.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::config::parse_properties;
use crate::types::{LeaderEpoch, NodeId, Uuid};

pub const META_PROPERTIES: &str = "meta.properties";
pub const BOOTSTRAP_CHECKPOINT: &str = "bootstrap.checkpoint";
pub const METADATA_FOLDER: &str = "__cluster_metadata-0";
/// In [`METADATA_FOLDER`].
pub const QUORUM_STATE: &str = "quorum-state";

/// A file that is not what it should be. Nothing may be overwritten then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {what}")]
pub struct FileError {
    pub file: &'static str,
    pub what: String,
}

/// Whose the folder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    pub cluster_id: String,
    pub node_id: NodeId,
    pub directory_id: Uuid,
}

impl MetaProperties {
    pub fn encode(&self) -> Bytes {
        let MetaProperties {
            cluster_id,
            node_id,
            directory_id,
        } = self;
        let text = format!("#\nnode.id={node_id}\ndirectory.id={directory_id}\nversion=1\ncluster.id={cluster_id}\n");
        text.into()
    }

    pub fn decode(bytes: &[u8]) -> Result<MetaProperties, FileError> {
        let bad = |what: String| FileError {
            file: META_PROPERTIES,
            what,
        };
        let text = std::str::from_utf8(bytes).map_err(|_| bad("it is not text".into()))?;
        let (pairs, problems) = parse_properties(META_PROPERTIES, text);
        if let Some(problem) = problems.first() {
            return Err(bad(problem.to_string()));
        }
        let value = |key: &str| {
            let pair = pairs.iter().rev().find(|pair| pair.key == key);
            pair.map(|pair| pair.value.trim())
                .ok_or_else(|| bad(format!("{key} is missing")))
        };
        match value("version")? {
            "1" => {}
            other => return Err(bad(format!("version {other} is not 1, the one of KRaft folders"))),
        }
        let node_id = value("node.id")?;
        let directory_id = value("directory.id")?;
        Ok(MetaProperties {
            cluster_id: value("cluster.id")?.to_owned(),
            node_id: node_id
                .parse()
                .map_err(|_| bad(format!("node.id {node_id} is not a number")))?,
            directory_id: Uuid::parse(directory_id)
                .ok_or_else(|| bad(format!("directory.id {directory_id} is not an id")))?,
        })
    }
}

/// The last election, as KRaft remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumState {
    /// -1 when there was none.
    pub leader_id: NodeId,
    pub leader_epoch: LeaderEpoch,
    /// -1 when this voter did not vote in that epoch.
    pub voted_id: NodeId,
    pub voted_directory_id: Uuid,
}

impl QuorumState {
    pub(super) fn leader(node: NodeId, epoch: LeaderEpoch) -> QuorumState {
        QuorumState {
            leader_id: node,
            leader_epoch: epoch,
            voted_id: -1,
            voted_directory_id: Uuid::ZERO,
        }
    }

    /// data_version 1.
    pub fn encode(&self) -> Bytes {
        let state = json!({
            "leaderId": self.leader_id,
            "leaderEpoch": self.leader_epoch,
            "votedId": self.voted_id,
            "votedDirectoryId": self.voted_directory_id.to_string(),
            "data_version": 1,
        });
        state.to_string().into()
    }

    /// data_version 0 or 1.
    pub fn decode(bytes: &[u8]) -> Result<QuorumState, FileError> {
        let bad = |what: String| FileError {
            file: QUORUM_STATE,
            what,
        };
        let state: Value = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        let number = |key: &str| {
            let number = state
                .get(key)
                .and_then(Value::as_i64)
                .and_then(|number| i32::try_from(number).ok());
            number.ok_or_else(|| bad(format!("{key} is missing or not a number")))
        };
        let version = number("data_version")?;
        let voted_directory_id = match version {
            0 => Uuid::ZERO,
            1 => state
                .get("votedDirectoryId")
                .and_then(Value::as_str)
                .and_then(Uuid::parse)
                .ok_or_else(|| bad("votedDirectoryId is missing or not an id".into()))?,
            newer => {
                return Err(bad(format!(
                    "data_version {newer} is unknown: it was written by newer software"
                )));
            }
        };
        Ok(QuorumState {
            leader_id: number("leaderId")?,
            leader_epoch: number("leaderEpoch")?,
            voted_id: number("votedId")?,
            voted_directory_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_properties_of_kafka_are_read() {
        let kafkas = b"#\n#Sun Nov 22 15:07:14 UTC 2026\nnode.id=1\ndirectory.id=1eRtptuxRROtnVNzKzdWbQ\nversion=1\n\
                       cluster.id=ShebkK84TwaBbQVsBdmZ1g\n";
        let meta = MetaProperties::decode(kafkas).unwrap();
        assert_eq!((meta.node_id, meta.cluster_id.as_str()), (1, "ShebkK84TwaBbQVsBdmZ1g"));
        assert_eq!(MetaProperties::decode(&meta.encode()), Ok(meta));
        let error = MetaProperties::decode(b"version=0\nbroker.id=1\n")
            .unwrap_err()
            .to_string();
        assert_eq!(error, "meta.properties: version 0 is not 1, the one of KRaft folders");
        assert!(MetaProperties::decode(b"version=1\n").is_err());
        assert!(MetaProperties::decode(&[0xff, 0xfe]).is_err());
    }

    #[test]
    fn quorum_state_of_both_versions_is_read() {
        let kafkas = br#"{"leaderId":1,"leaderEpoch":2,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
        let state = QuorumState::decode(kafkas).unwrap();
        assert_eq!(state, QuorumState::leader(1, 2));
        assert_eq!(QuorumState::decode(&state.encode()), Ok(state));
        let old = br#"{"clusterId":"","leaderId":1,"leaderEpoch":3,"votedId":1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}"#;
        assert_eq!(QuorumState::decode(old).unwrap().leader_epoch, 3);
        for bad in [
            &b"{}"[..],
            b"",
            b"[1]",
            b"{\"data_version\":2}",
            b"{\"data_version\":0,\"leaderId\":99999999999}",
        ] {
            assert!(QuorumState::decode(bad).is_err());
        }
    }
}
