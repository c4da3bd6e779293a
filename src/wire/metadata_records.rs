//! The records of `__cluster_metadata`, as Kafka 4.4 knows them.
//!
//! A record's value is `1` (the frame's version), the record's type and its version, each as an unsigned varint, and then
//! the flexible body, with nothing behind it. Its key is null. What we do not know stops us: state without one of its
//! records would be another state.

use bytes::Bytes;

use super::api::Declaration;
use super::codec::{Reader, WireError, Writer};
use super::declare::{Message, messages};
use crate::types::Uuid;

const FRAME_VERSION: u32 = 1;

/// The levels of `metadata.version` that we can write at: 22 is Kafka 4.0-IV0, 33 is 4.4-IV2.
pub const METADATA_VERSION_MIN: i16 = 22;
pub const METADATA_VERSION: i16 = 33;

macro_rules! metadata_records {
    ($($name:ident = $kind:literal, $record:ident, written as $version:literal $(, $newer:literal from $level:literal)*;)*) => {
        /// Any of the records.
        #[derive(Clone, Debug, PartialEq)]
        pub enum MetadataRecord {
            $($name($record),)*
        }

        $(impl From<$record> for MetadataRecord {
            fn from(record: $record) -> MetadataRecord {
                MetadataRecord::$name(record)
            }
        })*

        impl MetadataRecord {
            /// The record's type, and the version in which it is written at this level of `metadata.version`.
            pub const fn kind(&self, metadata_version: i16) -> (u32, i16) {
                match self {
                    $(MetadataRecord::$name(_) => {
                        let version = $version;
                        $(let version = if metadata_version >= $level { $newer } else { version };)*
                        ($kind, version)
                    })*
                }
            }

            /// Reads a record's value.
            pub fn decode(value: &Bytes) -> Result<MetadataRecord, WireError> {
                let mut r = Reader::sharing(value);
                let frame = r.uvarint()?;
                if frame != FRAME_VERSION {
                    return Err(WireError::Unknown { what: "metadata record frame version", value: frame.into() });
                }
                let kind = r.uvarint()?;
                let version = r.uvarint()?;
                // A number that is too large for a version is one that no record has.
                let version = i16::try_from(version).unwrap_or(i16::MAX);
                let record = match kind {
                    $($kind => MetadataRecord::$name($record::decode(&mut r, version)?),)*
                    _ => return Err(WireError::Unknown { what: "metadata record type", value: kind.into() }),
                };
                r.finish()?;
                Ok(record)
            }

            /// Writes the record's value as a log of this level of `metadata.version` has it, so that each release that knows
            /// the level reads it.
            pub fn encode(&self, metadata_version: i16) -> Result<Bytes, WireError> {
                let (kind, version) = self.kind(metadata_version);
                let mut w = Writer::new();
                w.uvarint(FRAME_VERSION);
                w.uvarint(kind);
                w.uvarint(version as u32);
                match self {
                    $(MetadataRecord::$name(record) => record.encode(&mut w, version)?,)*
                }
                Ok(w.into_inner().freeze())
            }
        }

        /// Every declaration with its type, for tests.
        pub const METADATA_RECORDS: &[(u32, Declaration)] = &[$(($kind, Declaration::of::<$record>()),)*];
    };
}

metadata_records! {
    RegisterBroker = 0, RegisterBrokerRecord, written as 3, 4 from 30;
    UnregisterBroker = 1, UnregisterBrokerRecord, written as 0;
    Topic = 2, TopicRecord, written as 0;
    Partition = 3, PartitionRecord, written as 1, 2 from 23;
    Config = 4, ConfigRecord, written as 0;
    PartitionChange = 5, PartitionChangeRecord, written as 1, 2 from 23;
    FenceBroker = 7, FenceBrokerRecord, written as 0;
    UnfenceBroker = 8, UnfenceBrokerRecord, written as 0;
    RemoveTopic = 9, RemoveTopicRecord, written as 0;
    DelegationToken = 10, DelegationTokenRecord, written as 0;
    UserScramCredential = 11, UserScramCredentialRecord, written as 0;
    FeatureLevel = 12, FeatureLevelRecord, written as 0;
    ClientQuota = 14, ClientQuotaRecord, written as 0;
    ProducerIds = 15, ProducerIdsRecord, written as 0;
    BrokerRegistrationChange = 17, BrokerRegistrationChangeRecord, written as 2, 3 from 30;
    AccessControlEntry = 18, AccessControlEntryRecord, written as 0;
    RemoveAccessControlEntry = 19, RemoveAccessControlEntryRecord, written as 0;
    NoOp = 20, NoOpRecord, written as 0;
    ZkMigrationState = 21, ZkMigrationStateRecord, written as 0;
    RemoveUserScramCredential = 22, RemoveUserScramCredentialRecord, written as 0;
    BeginTransaction = 23, BeginTransactionRecord, written as 0;
    EndTransaction = 24, EndTransactionRecord, written as 0;
    AbortTransaction = 25, AbortTransactionRecord, written as 0;
    RemoveDelegationToken = 26, RemoveDelegationTokenRecord, written as 0;
    RegisterController = 27, RegisterControllerRecord, written as 0;
    ClearElr = 28, ClearElrRecord, written as 0;
    UnregisterController = 29, UnregisterControllerRecord, written as 0;
}

messages! {
    /// `RegisterBrokerRecord`, type 0.
    RegisterBrokerRecord "0-4", flexible "0+" {
        broker_id: i32, "0+";
        is_migrating_zk_broker: bool, "2+";
        incarnation_id: Uuid, "0+";
        broker_epoch: i64, "0+";
        end_points: Vec<BrokerEndpoint>, "0+";
        features: Vec<BrokerFeature>, "0+";
        rack: Option<String>, "0+", null "0+";
        fenced: bool = true, "0+";
        in_controlled_shutdown: bool, "1+";
        @0 log_dirs: Vec<Uuid>, "3+";
        @1 cordoned_log_dirs: Option<Vec<Uuid>> = None, "4+", null "4+";
    }

    BrokerEndpoint {
        name: String, "0+";
        host: String, "0+";
        port: u16, "0+";
        security_protocol: i16, "0+";
    }

    BrokerFeature {
        name: String, "0+";
        min_supported_version: i16, "0+";
        max_supported_version: i16, "0+";
    }

    /// `UnregisterBrokerRecord`, type 1.
    UnregisterBrokerRecord "0", flexible "0+" {
        broker_id: i32, "0+";
        broker_epoch: i64, "0+";
    }

    /// `TopicRecord`, type 2.
    TopicRecord "0", flexible "0+" {
        name: String, "0+";
        topic_id: Uuid, "0+";
    }

    /// `PartitionRecord`, type 3.
    PartitionRecord "0-2", flexible "0+" {
        partition_id: i32 = -1, "0+";
        topic_id: Uuid, "0+";
        replicas: Vec<i32>, "0+";
        isr: Vec<i32>, "0+";
        removing_replicas: Vec<i32>, "0+";
        adding_replicas: Vec<i32>, "0+";
        leader: i32 = -1, "0+";
        leader_epoch: i32 = -1, "0+";
        partition_epoch: i32 = -1, "0+";
        directories: Vec<Uuid>, "1+";
        @0 leader_recovery_state: i8, "0+";
        @1 eligible_leader_replicas: Option<Vec<i32>> = None, "2+", null "2+";
        @2 last_known_elr: Option<Vec<i32>> = None, "2+", null "2+";
    }

    /// `ConfigRecord`, type 4.
    ConfigRecord "0", flexible "0+" {
        resource_type: i8, "0+";
        resource_name: String, "0+";
        name: String, "0+";
        value: Option<String>, "0+", null "0+";
    }

    /// `PartitionChangeRecord`, type 5.
    PartitionChangeRecord "0-2", flexible "0+" {
        partition_id: i32 = -1, "0+";
        topic_id: Uuid, "0+";
        @0 isr: Option<Vec<i32>> = None, "0+", null "0+";
        @1 leader: i32 = -2, "0+";
        @2 replicas: Option<Vec<i32>> = None, "0+", null "0+";
        @3 removing_replicas: Option<Vec<i32>> = None, "0+", null "0+";
        @4 adding_replicas: Option<Vec<i32>> = None, "0+", null "0+";
        @5 leader_recovery_state: i8 = -1, "0+";
        @6 eligible_leader_replicas: Option<Vec<i32>> = None, "2+", null "2+";
        @7 last_known_elr: Option<Vec<i32>> = None, "2+", null "2+";
        @8 directories: Option<Vec<Uuid>> = None, "1+", null "1+";
    }

    /// `FenceBrokerRecord`, type 7.
    FenceBrokerRecord "0", flexible "0+" {
        id: i32, "0+";
        epoch: i64, "0+";
    }

    /// `UnfenceBrokerRecord`, type 8.
    UnfenceBrokerRecord "0", flexible "0+" {
        id: i32, "0+";
        epoch: i64, "0+";
    }

    /// `RemoveTopicRecord`, type 9.
    RemoveTopicRecord "0", flexible "0+" {
        topic_id: Uuid, "0+";
    }

    /// `DelegationTokenRecord`, type 10.
    DelegationTokenRecord "0", flexible "0+" {
        owner: String, "0+";
        requester: String, "0+";
        renewers: Vec<String>, "0+";
        issue_timestamp: i64, "0+";
        max_timestamp: i64, "0+";
        expiration_timestamp: i64, "0+";
        token_id: String, "0+";
    }

    /// `UserScramCredentialRecord`, type 11.
    UserScramCredentialRecord "0", flexible "0+" {
        name: String, "0+";
        mechanism: i8, "0+";
        salt: Bytes, "0+";
        stored_key: Bytes, "0+";
        server_key: Bytes, "0+";
        iterations: i32, "0+";
    }

    /// `FeatureLevelRecord`, type 12.
    FeatureLevelRecord "0", flexible "0+" {
        name: String, "0+";
        feature_level: i16, "0+";
    }

    /// `ClientQuotaRecord`, type 14.
    ClientQuotaRecord "0", flexible "0+" {
        entity: Vec<ClientQuotaEntityData>, "0+";
        key: String, "0+";
        value: f64, "0+";
        remove: bool, "0+";
    }

    ClientQuotaEntityData {
        entity_type: String, "0+";
        entity_name: Option<String>, "0+", null "0+";
    }

    /// `ProducerIdsRecord`, type 15.
    ProducerIdsRecord "0", flexible "0+" {
        broker_id: i32, "0+";
        broker_epoch: i64 = -1, "0+";
        next_producer_id: i64, "0+";
    }

    /// `BrokerRegistrationChangeRecord`, type 17.
    BrokerRegistrationChangeRecord "0-3", flexible "0+" {
        broker_id: i32, "0+";
        broker_epoch: i64, "0+";
        @0 fenced: i8, "0+";
        @1 in_controlled_shutdown: i8, "1+";
        @2 log_dirs: Vec<Uuid>, "2+";
        @3 cordoned_log_dirs: Option<Vec<Uuid>> = None, "3+", null "3+";
    }

    /// `AccessControlEntryRecord`, type 18.
    AccessControlEntryRecord "0", flexible "0+" {
        id: Uuid, "0+";
        resource_type: i8, "0+";
        resource_name: String, "0+";
        pattern_type: i8, "0+";
        principal: String, "0+";
        host: String, "0+";
        operation: i8, "0+";
        permission_type: i8, "0+";
    }

    /// `RemoveAccessControlEntryRecord`, type 19.
    RemoveAccessControlEntryRecord "0", flexible "0+" {
        id: Uuid, "0+";
    }

    /// `NoOpRecord`, type 20.
    NoOpRecord "0", flexible "0+" {}

    /// `ZkMigrationStateRecord`, type 21.
    ZkMigrationStateRecord "0", flexible "0+" {
        zk_migration_state: i8, "0+";
    }

    /// `RemoveUserScramCredentialRecord`, type 22.
    RemoveUserScramCredentialRecord "0", flexible "0+" {
        name: String, "0+";
        mechanism: i8, "0+";
    }

    /// `BeginTransactionRecord`, type 23.
    BeginTransactionRecord "0", flexible "0+" {
        @0 name: Option<String> = None, "0+", null "0+";
    }

    /// `EndTransactionRecord`, type 24.
    EndTransactionRecord "0", flexible "0+" {}

    /// `AbortTransactionRecord`, type 25.
    AbortTransactionRecord "0", flexible "0+" {
        @0 reason: Option<String> = None, "0+", null "0+";
    }

    /// `RemoveDelegationTokenRecord`, type 26.
    RemoveDelegationTokenRecord "0", flexible "0+" {
        token_id: String, "0+";
    }

    /// `RegisterControllerRecord`, type 27.
    RegisterControllerRecord "0", flexible "0+" {
        controller_id: i32, "0+";
        incarnation_id: Uuid, "0+";
        zk_migration_ready: bool, "0+";
        end_points: Vec<ControllerEndpoint>, "0+";
        features: Vec<ControllerFeature>, "0+";
    }

    ControllerEndpoint {
        name: String, "0+";
        host: String, "0+";
        port: u16, "0+";
        security_protocol: i16, "0+";
    }

    ControllerFeature {
        name: String, "0+";
        min_supported_version: i16, "0+";
        max_supported_version: i16, "0+";
    }

    /// `ClearElrRecord`, type 28.
    ClearElrRecord "0", flexible "0+" {
        topic_name: String, "0+";
    }

    /// `UnregisterControllerRecord`, type 29.
    UnregisterControllerRecord "0", flexible "0+" {
        controller_id: i32, "0+";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_record_has_kafkas_bytes() {
        let record = MetadataRecord::from(TopicRecord {
            name: "foo".into(),
            topic_id: Uuid([7; 16]),
        });
        let value = record.encode(METADATA_VERSION).unwrap();
        assert_eq!(value[..], [&[1u8, 2, 0, 4][..], b"foo", &[7; 16], &[0]].concat());
        assert_eq!(MetadataRecord::decode(&value), Ok(record));
    }

    #[test]
    fn tagged_fields_are_written_only_when_they_say_something() {
        let change = PartitionChangeRecord {
            leader: 3,
            isr: Some(vec![3]),
            ..Default::default()
        };
        let value = MetadataRecord::from(change.clone()).encode(METADATA_VERSION).unwrap();
        let tags = [2, 0, 5, 2, 0, 0, 0, 3, 1, 4, 0, 0, 0, 3];
        assert_eq!(
            value[..],
            [&[1u8, 5, 2, 255, 255, 255, 255][..], &[0; 16], &tags].concat()
        );
        assert_eq!(MetadataRecord::decode(&value), Ok(change.into()));
    }

    #[test]
    fn a_record_is_written_in_the_version_of_its_logs_level() {
        let broker = MetadataRecord::from(RegisterBrokerRecord {
            cordoned_log_dirs: Some(Vec::new()),
            ..Default::default()
        });
        // Kafka 4.1 does not know that folders can be cordoned.
        let unknown = broker.encode(29);
        assert!(
            matches!(unknown, Err(WireError::FieldNotInVersion { .. })),
            "{unknown:?}"
        );
        assert_eq!(broker.encode(30).unwrap()[..3], [1, 0, 4]);
        assert_eq!(MetadataRecord::decode(&broker.encode(30).unwrap()), Ok(broker));
        let partition = MetadataRecord::from(PartitionChangeRecord::default());
        for (level, version) in [(METADATA_VERSION_MIN, 1), (23, 2), (METADATA_VERSION, 2)] {
            assert_eq!(partition.encode(level).unwrap()[..3], [1, 5, version]);
        }
    }

    #[test]
    fn what_is_unknown_is_refused_by_name() {
        let decode = |bytes: &'static [u8]| MetadataRecord::decode(&Bytes::from_static(bytes));
        assert_eq!(
            decode(&[0, 2, 0]),
            Err(WireError::Unknown {
                what: "metadata record frame version",
                value: 0
            })
        );
        assert_eq!(
            decode(&[1, 99, 0]),
            Err(WireError::Unknown {
                what: "metadata record type",
                value: 99
            })
        );
        assert_eq!(
            decode(&[1, 20, 1, 0]),
            Err(WireError::UnsupportedVersion {
                message: "NoOpRecord",
                version: 1
            })
        );
        assert_eq!(
            decode(&[1, 20, 0, 0, 5]),
            Err(WireError::TrailingBytes { at: 4, left: 1 })
        );
        assert!(decode(&[]).is_err());
    }
}
