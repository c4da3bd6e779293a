//! The one table of APIs: key, messages, and the versions that are served.

use super::acls::*;
use super::brokers::*;
use super::codec::{Reader, WireError, Writer};
use super::configs::*;
use super::connect::*;
use super::consumer_groups::*;
use super::declare::{Message, Struct, Versions};
use super::groups::*;
use super::header::HeaderVersion;
use super::log_dirs::*;
use super::metadata::*;
use super::offsets::*;
use super::produce_fetch::*;
use super::quorum::*;
use super::share::*;
use super::topics::*;
use super::transactions::*;

/// A request that has a row in the table.
pub trait Request: Message {
    const KEY: ApiKey;
    type Response: Message;
}

/// A message's declaration as a value, for tools and tests that go through all of them.
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    pub name: &'static str,
    /// All that can be read and written; a broker may serve fewer.
    pub versions: Versions,
    pub flexible: Versions,
    pub fields: &'static Struct,
}

/// Decodes a message and encodes what was understood: for tests of every message there is.
pub type Recode = fn(&mut Reader<'_>, &mut Writer, i16) -> Result<(), WireError>;

#[inline]
pub(super) fn recode<M: Message>(r: &mut Reader<'_>, w: &mut Writer, version: i16) -> Result<(), WireError> {
    M::decode(r, version)?.encode(w, version)
}

impl Declaration {
    pub const fn of<M: Message>() -> Declaration {
        Declaration {
            name: M::NAME,
            versions: M::VERSIONS,
            flexible: M::FLEXIBLE,
            fields: M::STRUCT,
        }
    }
}

macro_rules! apis {
    ($($name:ident = $key:literal, $request:ident => $response:ident, serves $served:literal;)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $key,)*
        }

        impl ApiKey {
            /// Every API that has a declaration, by ascending key.
            pub const ALL: &'static [ApiKey] = &[$(ApiKey::$name,)*];

            pub const fn from_code(code: i16) -> Option<ApiKey> {
                match code {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// The versions that clients are told of and may use; none for what only controllers speak.
            pub const fn served(self) -> Versions {
                match self {
                    $(ApiKey::$name => const { Versions::parse($served) },)*
                }
            }

            pub const fn request(self) -> Declaration {
                match self {
                    $(ApiKey::$name => const { Declaration::of::<$request>() },)*
                }
            }

            pub const fn response(self) -> Declaration {
                match self {
                    $(ApiKey::$name => const { Declaration::of::<$response>() },)*
                }
            }

            /// Of the request and the response. Inline, because it calls for the code of every message.
            #[inline]
            pub fn recode(self) -> (Recode, Recode) {
                match self {
                    $(ApiKey::$name => (recode::<$request>, recode::<$response>),)*
                }
            }

            /// Whether requests and responses of this version are flexible (KIP-482); they always agree.
            pub const fn is_flexible(self, version: i16) -> bool {
                match self {
                    $(ApiKey::$name => <$request as Message>::FLEXIBLE.contains(version),)*
                }
            }
        }

        $(impl Request for $request {
            const KEY: ApiKey = ApiKey::$name;
            type Response = $response;
        })*
    };
}

// What Kafka 4.1's broker serves with default settings.
apis! {
    Produce = 0, ProduceRequest => ProduceResponse, serves "0-13";
    Fetch = 1, FetchRequest => FetchResponse, serves "4-18";
    ListOffsets = 2, ListOffsetsRequest => ListOffsetsResponse, serves "1-10";
    Metadata = 3, MetadataRequest => MetadataResponse, serves "0-13";
    OffsetCommit = 8, OffsetCommitRequest => OffsetCommitResponse, serves "2-9";
    OffsetFetch = 9, OffsetFetchRequest => OffsetFetchResponse, serves "1-9";
    FindCoordinator = 10, FindCoordinatorRequest => FindCoordinatorResponse, serves "0-6";
    JoinGroup = 11, JoinGroupRequest => JoinGroupResponse, serves "0-9";
    Heartbeat = 12, HeartbeatRequest => HeartbeatResponse, serves "0-4";
    LeaveGroup = 13, LeaveGroupRequest => LeaveGroupResponse, serves "0-5";
    SyncGroup = 14, SyncGroupRequest => SyncGroupResponse, serves "0-5";
    DescribeGroups = 15, DescribeGroupsRequest => DescribeGroupsResponse, serves "0-6";
    ListGroups = 16, ListGroupsRequest => ListGroupsResponse, serves "0-5";
    SaslHandshake = 17, SaslHandshakeRequest => SaslHandshakeResponse, serves "0-1";
    ApiVersions = 18, ApiVersionsRequest => ApiVersionsResponse, serves "0-4";
    CreateTopics = 19, CreateTopicsRequest => CreateTopicsResponse, serves "2-7";
    DeleteTopics = 20, DeleteTopicsRequest => DeleteTopicsResponse, serves "1-6";
    DeleteRecords = 21, DeleteRecordsRequest => DeleteRecordsResponse, serves "0-2";
    InitProducerId = 22, InitProducerIdRequest => InitProducerIdResponse, serves "0-5";
    OffsetForLeaderEpoch = 23, OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse, serves "2-4";
    AddPartitionsToTxn = 24, AddPartitionsToTxnRequest => AddPartitionsToTxnResponse, serves "0-5";
    AddOffsetsToTxn = 25, AddOffsetsToTxnRequest => AddOffsetsToTxnResponse, serves "0-4";
    EndTxn = 26, EndTxnRequest => EndTxnResponse, serves "0-5";
    WriteTxnMarkers = 27, WriteTxnMarkersRequest => WriteTxnMarkersResponse, serves "1";
    TxnOffsetCommit = 28, TxnOffsetCommitRequest => TxnOffsetCommitResponse, serves "0-5";
    DescribeAcls = 29, DescribeAclsRequest => DescribeAclsResponse, serves "1-3";
    CreateAcls = 30, CreateAclsRequest => CreateAclsResponse, serves "1-3";
    DeleteAcls = 31, DeleteAclsRequest => DeleteAclsResponse, serves "1-3";
    DescribeConfigs = 32, DescribeConfigsRequest => DescribeConfigsResponse, serves "1-4";
    AlterConfigs = 33, AlterConfigsRequest => AlterConfigsResponse, serves "0-2";
    AlterReplicaLogDirs = 34, AlterReplicaLogDirsRequest => AlterReplicaLogDirsResponse, serves "1-2";
    DescribeLogDirs = 35, DescribeLogDirsRequest => DescribeLogDirsResponse, serves "1-4";
    SaslAuthenticate = 36, SaslAuthenticateRequest => SaslAuthenticateResponse, serves "0-2";
    CreatePartitions = 37, CreatePartitionsRequest => CreatePartitionsResponse, serves "0-3";
    CreateDelegationToken = 38, CreateDelegationTokenRequest => CreateDelegationTokenResponse, serves "1-3";
    RenewDelegationToken = 39, RenewDelegationTokenRequest => RenewDelegationTokenResponse, serves "1-2";
    ExpireDelegationToken = 40, ExpireDelegationTokenRequest => ExpireDelegationTokenResponse, serves "1-2";
    DescribeDelegationToken = 41, DescribeDelegationTokenRequest => DescribeDelegationTokenResponse, serves "1-3";
    DeleteGroups = 42, DeleteGroupsRequest => DeleteGroupsResponse, serves "0-2";
    ElectLeaders = 43, ElectLeadersRequest => ElectLeadersResponse, serves "0-2";
    IncrementalAlterConfigs = 44, IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse, serves "0-1";
    AlterPartitionReassignments = 45, AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse, serves "0-1";
    ListPartitionReassignments = 46, ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse, serves "0";
    OffsetDelete = 47, OffsetDeleteRequest => OffsetDeleteResponse, serves "0";
    DescribeClientQuotas = 48, DescribeClientQuotasRequest => DescribeClientQuotasResponse, serves "0-1";
    AlterClientQuotas = 49, AlterClientQuotasRequest => AlterClientQuotasResponse, serves "0-1";
    DescribeUserScramCredentials = 50, DescribeUserScramCredentialsRequest => DescribeUserScramCredentialsResponse, serves "0";
    AlterUserScramCredentials = 51, AlterUserScramCredentialsRequest => AlterUserScramCredentialsResponse, serves "0";
    Vote = 52, VoteRequest => VoteResponse, serves "none";
    BeginQuorumEpoch = 53, BeginQuorumEpochRequest => BeginQuorumEpochResponse, serves "none";
    EndQuorumEpoch = 54, EndQuorumEpochRequest => EndQuorumEpochResponse, serves "none";
    DescribeQuorum = 55, DescribeQuorumRequest => DescribeQuorumResponse, serves "0-2";
    AlterPartition = 56, AlterPartitionRequest => AlterPartitionResponse, serves "none";
    UpdateFeatures = 57, UpdateFeaturesRequest => UpdateFeaturesResponse, serves "0-2";
    Envelope = 58, EnvelopeRequest => EnvelopeResponse, serves "none";
    FetchSnapshot = 59, FetchSnapshotRequest => FetchSnapshotResponse, serves "none";
    DescribeCluster = 60, DescribeClusterRequest => DescribeClusterResponse, serves "0-2";
    DescribeProducers = 61, DescribeProducersRequest => DescribeProducersResponse, serves "0";
    BrokerRegistration = 62, BrokerRegistrationRequest => BrokerRegistrationResponse, serves "none";
    BrokerHeartbeat = 63, BrokerHeartbeatRequest => BrokerHeartbeatResponse, serves "none";
    UnregisterBroker = 64, UnregisterBrokerRequest => UnregisterBrokerResponse, serves "0";
    DescribeTransactions = 65, DescribeTransactionsRequest => DescribeTransactionsResponse, serves "0";
    ListTransactions = 66, ListTransactionsRequest => ListTransactionsResponse, serves "0-2";
    AllocateProducerIds = 67, AllocateProducerIdsRequest => AllocateProducerIdsResponse, serves "none";
    ConsumerGroupHeartbeat = 68, ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse, serves "0-1";
    ConsumerGroupDescribe = 69, ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse, serves "0-1";
    ControllerRegistration = 70, ControllerRegistrationRequest => ControllerRegistrationResponse, serves "none";
    GetTelemetrySubscriptions = 71, GetTelemetrySubscriptionsRequest => GetTelemetrySubscriptionsResponse, serves "none";
    PushTelemetry = 72, PushTelemetryRequest => PushTelemetryResponse, serves "none";
    AssignReplicasToDirs = 73, AssignReplicasToDirsRequest => AssignReplicasToDirsResponse, serves "none";
    ListConfigResources = 74, ListConfigResourcesRequest => ListConfigResourcesResponse, serves "0-1";
    DescribeTopicPartitions = 75, DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse, serves "0";
    ShareGroupHeartbeat = 76, ShareGroupHeartbeatRequest => ShareGroupHeartbeatResponse, serves "1";
    ShareGroupDescribe = 77, ShareGroupDescribeRequest => ShareGroupDescribeResponse, serves "1";
    ShareFetch = 78, ShareFetchRequest => ShareFetchResponse, serves "1";
    ShareAcknowledge = 79, ShareAcknowledgeRequest => ShareAcknowledgeResponse, serves "1";
    AddRaftVoter = 80, AddRaftVoterRequest => AddRaftVoterResponse, serves "0";
    RemoveRaftVoter = 81, RemoveRaftVoterRequest => RemoveRaftVoterResponse, serves "0";
    UpdateRaftVoter = 82, UpdateRaftVoterRequest => UpdateRaftVoterResponse, serves "none";
    InitializeShareGroupState = 83, InitializeShareGroupStateRequest => InitializeShareGroupStateResponse, serves "0";
    ReadShareGroupState = 84, ReadShareGroupStateRequest => ReadShareGroupStateResponse, serves "0";
    WriteShareGroupState = 85, WriteShareGroupStateRequest => WriteShareGroupStateResponse, serves "0";
    DeleteShareGroupState = 86, DeleteShareGroupStateRequest => DeleteShareGroupStateResponse, serves "0";
    ReadShareGroupStateSummary = 87, ReadShareGroupStateSummaryRequest => ReadShareGroupStateSummaryResponse, serves "0";
    StreamsGroupHeartbeat = 88, StreamsGroupHeartbeatRequest => StreamsGroupHeartbeatResponse, serves "none";
    StreamsGroupDescribe = 89, StreamsGroupDescribeRequest => StreamsGroupDescribeResponse, serves "none";
    DescribeShareGroupOffsets = 90, DescribeShareGroupOffsetsRequest => DescribeShareGroupOffsetsResponse, serves "0";
    AlterShareGroupOffsets = 91, AlterShareGroupOffsetsRequest => AlterShareGroupOffsetsResponse, serves "0";
    DeleteShareGroupOffsets = 92, DeleteShareGroupOffsetsRequest => DeleteShareGroupOffsetsResponse, serves "0";
}

impl ApiKey {
    pub const fn code(self) -> i16 {
        self as i16
    }

    pub const fn request_header(self, version: i16) -> HeaderVersion {
        if self.is_flexible(version) {
            HeaderVersion::Flexible
        } else {
            HeaderVersion::Plain
        }
    }

    /// The answer to ApiVersions must be understood by a client that does not know yet what we speak, so that its header
    /// is never flexible (KIP-511).
    pub const fn response_header(self, version: i16) -> HeaderVersion {
        match self {
            ApiKey::ApiVersions => HeaderVersion::Plain,
            _ => self.request_header(version),
        }
    }

    /// What ApiVersions answers.
    pub fn advertised() -> impl Iterator<Item = ApiVersion> {
        ApiKey::ALL
            .iter()
            .map(|api| (api, api.served()))
            .filter(|(_, served)| *served != Versions::NONE)
            .map(|(api, served)| ApiVersion {
                api_key: api.code(),
                min_version: served.min,
                max_version: served.max,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn served_versions_can_be_read_and_written() {
        for api in ApiKey::ALL {
            assert_eq!(ApiKey::from_code(api.code()), Some(*api));
            let (request, response) = (api.request(), api.response());
            assert_eq!(request.name, format!("{api:?}Request"));
            assert_eq!(response.name, format!("{api:?}Response"));
            assert_eq!(request.versions, response.versions, "{api:?}");
            let served = api.served();
            for version in served.min..=served.max {
                assert!(request.versions.contains(version), "{api:?} {version}");
                assert_eq!(
                    request.flexible.contains(version),
                    response.flexible.contains(version),
                    "{api:?}"
                );
            }
        }
    }
}
