//! Control records: what the broker itself writes into logs, in batches with attribute bit 5.
//!
//! The key is two 16-bit numbers, version 0 and the type. The value is the message, whose version Kafka fixes at 0; only
//! the value of a transaction's marker begins with its version.

use bytes::Bytes;

use super::api::Declaration;
use super::codec::{Reader, WireError, Writer};
use super::declare::{Message, messages};
use crate::types::Uuid;

/// A control record of a type that we know.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlRecord {
    Abort(EndTxnMarker),
    Commit(EndTxnMarker),
    LeaderChange(LeaderChangeMessage),
    SnapshotHeader(SnapshotHeaderRecord),
    SnapshotFooter(SnapshotFooterRecord),
    KRaftVersion(KRaftVersionRecord),
    KRaftVoters(VotersRecord),
}

const VERSION: i16 = 0;

impl ControlRecord {
    pub const fn kind(&self) -> i16 {
        match self {
            ControlRecord::Abort(_) => 0,
            ControlRecord::Commit(_) => 1,
            ControlRecord::LeaderChange(_) => 2,
            ControlRecord::SnapshotHeader(_) => 3,
            ControlRecord::SnapshotFooter(_) => 4,
            ControlRecord::KRaftVersion(_) => 5,
            ControlRecord::KRaftVoters(_) => 6,
        }
    }

    /// Key and value.
    pub fn encode(&self) -> Result<(Bytes, Bytes), WireError> {
        let mut key = Writer::new();
        key.i16(VERSION);
        key.i16(self.kind());
        let mut value = Writer::new();
        match self {
            ControlRecord::Abort(marker) | ControlRecord::Commit(marker) => {
                value.i16(VERSION);
                marker.encode(&mut value, VERSION)?;
            }
            ControlRecord::LeaderChange(message) => message.encode(&mut value, VERSION)?,
            ControlRecord::SnapshotHeader(message) => message.encode(&mut value, VERSION)?,
            ControlRecord::SnapshotFooter(message) => message.encode(&mut value, VERSION)?,
            ControlRecord::KRaftVersion(message) => message.encode(&mut value, VERSION)?,
            ControlRecord::KRaftVoters(message) => message.encode(&mut value, VERSION)?,
        }
        Ok((key.into_inner().freeze(), value.into_inner().freeze()))
    }

    /// Reads key and value. What a later version has put behind what we know is left unread, as in Kafka.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<ControlRecord, WireError> {
        let mut key = Reader::new(key);
        let version = key.i16()?;
        if version < 0 {
            return Err(WireError::Unknown {
                what: "control record key version",
                value: version.into(),
            });
        }
        let kind = key.i16()?;
        let r = &mut Reader::new(value);
        Ok(match kind {
            0 => ControlRecord::Abort(marker(r)?),
            1 => ControlRecord::Commit(marker(r)?),
            2 => ControlRecord::LeaderChange(Message::decode(r, VERSION)?),
            3 => ControlRecord::SnapshotHeader(Message::decode(r, VERSION)?),
            4 => ControlRecord::SnapshotFooter(Message::decode(r, VERSION)?),
            5 => ControlRecord::KRaftVersion(Message::decode(r, VERSION)?),
            6 => ControlRecord::KRaftVoters(Message::decode(r, VERSION)?),
            _ => {
                return Err(WireError::Unknown {
                    what: "control record type",
                    value: kind.into(),
                });
            }
        })
    }
}

fn marker(r: &mut Reader<'_>) -> Result<EndTxnMarker, WireError> {
    let version = r.i16()?;
    if version < 0 {
        return Err(WireError::Unknown {
            what: "transaction marker version",
            value: version.into(),
        });
    }
    EndTxnMarker::decode(r, VERSION)
}

/// Every declaration, for tests.
pub const CONTROL_RECORDS: &[Declaration] = &[
    Declaration::of::<EndTxnMarker>(),
    Declaration::of::<LeaderChangeMessage>(),
    Declaration::of::<SnapshotHeaderRecord>(),
    Declaration::of::<SnapshotFooterRecord>(),
    Declaration::of::<KRaftVersionRecord>(),
    Declaration::of::<VotersRecord>(),
];

messages! {
    /// `LeaderChangeMessage`.
    LeaderChangeMessage "0-1", flexible "0+" {
        version: i16, "0+";
        leader_id: i32, "0+";
        voters: Vec<LeaderChangeVoter>, "0+";
        granting_voters: Vec<LeaderChangeVoter>, "0+";
    }

    LeaderChangeVoter {
        voter_id: i32, "0+";
        voter_directory_id: Uuid, "1+";
    }

    /// `SnapshotHeaderRecord`.
    SnapshotHeaderRecord "0", flexible "0+" {
        version: i16, "0+";
        last_contained_log_timestamp: i64, "0+";
    }

    /// `SnapshotFooterRecord`.
    SnapshotFooterRecord "0", flexible "0+" {
        version: i16, "0+";
    }

    /// `KRaftVersionRecord`.
    KRaftVersionRecord "0", flexible "0+" {
        version: i16, "0+";
        kraft_version: i16, "0+";
    }

    /// `VotersRecord`.
    VotersRecord "0", flexible "0+" {
        version: i16, "0+";
        voters: Vec<VotersRecordVoter>, "0+";
    }

    VotersRecordVoter {
        voter_id: i32, "0+";
        voter_directory_id: Uuid, "0+";
        endpoints: Vec<VotersRecordEndpoint>, "0+";
        kraft_version_feature: KRaftVersionRange, "0+";
    }

    VotersRecordEndpoint {
        name: String, "0+";
        host: String, "0+";
        port: u16, "0+";
    }

    KRaftVersionRange {
        min_supported_version: i16, "0+";
        max_supported_version: i16, "0+";
    }

    /// `EndTxnMarker`.
    EndTxnMarker "0", flexible "none" {
        coordinator_epoch: i32, "0+";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_records_round_trip() {
        let voter = VotersRecordVoter {
            voter_id: 1,
            voter_directory_id: Uuid([9; 16]),
            ..Default::default()
        };
        for record in [
            ControlRecord::Abort(EndTxnMarker { coordinator_epoch: 3 }),
            ControlRecord::Commit(EndTxnMarker { coordinator_epoch: 4 }),
            ControlRecord::LeaderChange(LeaderChangeMessage {
                leader_id: 1,
                ..Default::default()
            }),
            ControlRecord::SnapshotHeader(SnapshotHeaderRecord {
                version: 0,
                last_contained_log_timestamp: 5,
            }),
            ControlRecord::SnapshotFooter(SnapshotFooterRecord::default()),
            ControlRecord::KRaftVersion(KRaftVersionRecord {
                version: 0,
                kraft_version: 1,
            }),
            ControlRecord::KRaftVoters(VotersRecord {
                version: 0,
                voters: vec![voter],
            }),
        ] {
            let (key, value) = record.encode().unwrap();
            assert_eq!(ControlRecord::decode(&key, &value), Ok(record));
        }
    }

    #[test]
    fn a_commit_marker_has_kafkas_bytes() {
        let (key, value) = ControlRecord::Commit(EndTxnMarker { coordinator_epoch: 258 })
            .encode()
            .unwrap();
        assert_eq!((&key[..], &value[..]), (&[0, 0, 0, 1][..], &[0, 0, 0, 0, 1, 2][..]));
    }

    #[test]
    fn an_unknown_type_is_named() {
        assert_eq!(
            ControlRecord::decode(&[0, 0, 0, 7], &[]),
            Err(WireError::Unknown {
                what: "control record type",
                value: 7
            })
        );
    }
}
