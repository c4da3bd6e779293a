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

// The versions that Kafka 4.4 serves, of what this broker has; coordinators, ACLs, quotas and the quorum's APIs come later and
// are not advertised, as by a broker that lacks them.
apis! {
    Produce = 0, ProduceRequest => ProduceResponse, serves "0-13";
    Fetch = 1, FetchRequest => FetchResponse, serves "4-18";
    ListOffsets = 2, ListOffsetsRequest => ListOffsetsResponse, serves "1-11";
    Metadata = 3, MetadataRequest => MetadataResponse, serves "0-13";
    OffsetCommit = 8, OffsetCommitRequest => OffsetCommitResponse, serves "none";
    OffsetFetch = 9, OffsetFetchRequest => OffsetFetchResponse, serves "none";
    FindCoordinator = 10, FindCoordinatorRequest => FindCoordinatorResponse, serves "0-6";
    JoinGroup = 11, JoinGroupRequest => JoinGroupResponse, serves "none";
    Heartbeat = 12, HeartbeatRequest => HeartbeatResponse, serves "none";
    LeaveGroup = 13, LeaveGroupRequest => LeaveGroupResponse, serves "none";
    SyncGroup = 14, SyncGroupRequest => SyncGroupResponse, serves "none";
    DescribeGroups = 15, DescribeGroupsRequest => DescribeGroupsResponse, serves "none";
    ListGroups = 16, ListGroupsRequest => ListGroupsResponse, serves "none";
    SaslHandshake = 17, SaslHandshakeRequest => SaslHandshakeResponse, serves "none";
    ApiVersions = 18, ApiVersionsRequest => ApiVersionsResponse, serves "0-5";
    CreateTopics = 19, CreateTopicsRequest => CreateTopicsResponse, serves "2-7";
    DeleteTopics = 20, DeleteTopicsRequest => DeleteTopicsResponse, serves "1-6";
    DeleteRecords = 21, DeleteRecordsRequest => DeleteRecordsResponse, serves "0-2";
    InitProducerId = 22, InitProducerIdRequest => InitProducerIdResponse, serves "0-5";
    OffsetForLeaderEpoch = 23, OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse, serves "2-4";
    AddPartitionsToTxn = 24, AddPartitionsToTxnRequest => AddPartitionsToTxnResponse, serves "none";
    AddOffsetsToTxn = 25, AddOffsetsToTxnRequest => AddOffsetsToTxnResponse, serves "none";
    EndTxn = 26, EndTxnRequest => EndTxnResponse, serves "none";
    WriteTxnMarkers = 27, WriteTxnMarkersRequest => WriteTxnMarkersResponse, serves "none";
    TxnOffsetCommit = 28, TxnOffsetCommitRequest => TxnOffsetCommitResponse, serves "none";
    DescribeAcls = 29, DescribeAclsRequest => DescribeAclsResponse, serves "none";
    CreateAcls = 30, CreateAclsRequest => CreateAclsResponse, serves "none";
    DeleteAcls = 31, DeleteAclsRequest => DeleteAclsResponse, serves "none";
    DescribeConfigs = 32, DescribeConfigsRequest => DescribeConfigsResponse, serves "1-4";
    AlterConfigs = 33, AlterConfigsRequest => AlterConfigsResponse, serves "0-2";
    AlterReplicaLogDirs = 34, AlterReplicaLogDirsRequest => AlterReplicaLogDirsResponse, serves "none";
    DescribeLogDirs = 35, DescribeLogDirsRequest => DescribeLogDirsResponse, serves "1-5";
    SaslAuthenticate = 36, SaslAuthenticateRequest => SaslAuthenticateResponse, serves "none";
    CreatePartitions = 37, CreatePartitionsRequest => CreatePartitionsResponse, serves "0-3";
    CreateDelegationToken = 38, CreateDelegationTokenRequest => CreateDelegationTokenResponse, serves "none";
    RenewDelegationToken = 39, RenewDelegationTokenRequest => RenewDelegationTokenResponse, serves "none";
    ExpireDelegationToken = 40, ExpireDelegationTokenRequest => ExpireDelegationTokenResponse, serves "none";
    DescribeDelegationToken = 41, DescribeDelegationTokenRequest => DescribeDelegationTokenResponse, serves "none";
    DeleteGroups = 42, DeleteGroupsRequest => DeleteGroupsResponse, serves "none";
    ElectLeaders = 43, ElectLeadersRequest => ElectLeadersResponse, serves "none";
    IncrementalAlterConfigs = 44, IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse, serves "0-1";
    AlterPartitionReassignments = 45, AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse, serves "none";
    ListPartitionReassignments = 46, ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse, serves "none";
    OffsetDelete = 47, OffsetDeleteRequest => OffsetDeleteResponse, serves "none";
    DescribeClientQuotas = 48, DescribeClientQuotasRequest => DescribeClientQuotasResponse, serves "none";
    AlterClientQuotas = 49, AlterClientQuotasRequest => AlterClientQuotasResponse, serves "none";
    DescribeUserScramCredentials = 50, DescribeUserScramCredentialsRequest => DescribeUserScramCredentialsResponse, serves "none";
    AlterUserScramCredentials = 51, AlterUserScramCredentialsRequest => AlterUserScramCredentialsResponse, serves "none";
    Vote = 52, VoteRequest => VoteResponse, serves "none";
    BeginQuorumEpoch = 53, BeginQuorumEpochRequest => BeginQuorumEpochResponse, serves "none";
    EndQuorumEpoch = 54, EndQuorumEpochRequest => EndQuorumEpochResponse, serves "none";
    DescribeQuorum = 55, DescribeQuorumRequest => DescribeQuorumResponse, serves "none";
    AlterPartition = 56, AlterPartitionRequest => AlterPartitionResponse, serves "none";
    UpdateFeatures = 57, UpdateFeaturesRequest => UpdateFeaturesResponse, serves "none";
    Envelope = 58, EnvelopeRequest => EnvelopeResponse, serves "none";
    FetchSnapshot = 59, FetchSnapshotRequest => FetchSnapshotResponse, serves "none";
    DescribeCluster = 60, DescribeClusterRequest => DescribeClusterResponse, serves "0-2";
    DescribeProducers = 61, DescribeProducersRequest => DescribeProducersResponse, serves "none";
    BrokerRegistration = 62, BrokerRegistrationRequest => BrokerRegistrationResponse, serves "none";
    BrokerHeartbeat = 63, BrokerHeartbeatRequest => BrokerHeartbeatResponse, serves "none";
    UnregisterBroker = 64, UnregisterBrokerRequest => UnregisterBrokerResponse, serves "none";
    DescribeTransactions = 65, DescribeTransactionsRequest => DescribeTransactionsResponse, serves "none";
    ListTransactions = 66, ListTransactionsRequest => ListTransactionsResponse, serves "none";
    AllocateProducerIds = 67, AllocateProducerIdsRequest => AllocateProducerIdsResponse, serves "none";
    ConsumerGroupHeartbeat = 68, ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse, serves "none";
    ConsumerGroupDescribe = 69, ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse, serves "none";
    ControllerRegistration = 70, ControllerRegistrationRequest => ControllerRegistrationResponse, serves "none";
    GetTelemetrySubscriptions = 71, GetTelemetrySubscriptionsRequest => GetTelemetrySubscriptionsResponse, serves "none";
    PushTelemetry = 72, PushTelemetryRequest => PushTelemetryResponse, serves "none";
    AssignReplicasToDirs = 73, AssignReplicasToDirsRequest => AssignReplicasToDirsResponse, serves "none";
    ListConfigResources = 74, ListConfigResourcesRequest => ListConfigResourcesResponse, serves "none";
    DescribeTopicPartitions = 75, DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse, serves "0";
    ShareGroupHeartbeat = 76, ShareGroupHeartbeatRequest => ShareGroupHeartbeatResponse, serves "none";
    ShareGroupDescribe = 77, ShareGroupDescribeRequest => ShareGroupDescribeResponse, serves "none";
    ShareFetch = 78, ShareFetchRequest => ShareFetchResponse, serves "none";
    ShareAcknowledge = 79, ShareAcknowledgeRequest => ShareAcknowledgeResponse, serves "none";
    AddRaftVoter = 80, AddRaftVoterRequest => AddRaftVoterResponse, serves "none";
    RemoveRaftVoter = 81, RemoveRaftVoterRequest => RemoveRaftVoterResponse, serves "none";
    UpdateRaftVoter = 82, UpdateRaftVoterRequest => UpdateRaftVoterResponse, serves "none";
    InitializeShareGroupState = 83, InitializeShareGroupStateRequest => InitializeShareGroupStateResponse, serves "none";
    ReadShareGroupState = 84, ReadShareGroupStateRequest => ReadShareGroupStateResponse, serves "none";
    WriteShareGroupState = 85, WriteShareGroupStateRequest => WriteShareGroupStateResponse, serves "none";
    DeleteShareGroupState = 86, DeleteShareGroupStateRequest => DeleteShareGroupStateResponse, serves "none";
    ReadShareGroupStateSummary = 87, ReadShareGroupStateSummaryRequest => ReadShareGroupStateSummaryResponse, serves "none";
    StreamsGroupHeartbeat = 88, StreamsGroupHeartbeatRequest => StreamsGroupHeartbeatResponse, serves "none";
    StreamsGroupDescribe = 89, StreamsGroupDescribeRequest => StreamsGroupDescribeResponse, serves "none";
    DescribeShareGroupOffsets = 90, DescribeShareGroupOffsetsRequest => DescribeShareGroupOffsetsResponse, serves "none";
    AlterShareGroupOffsets = 91, AlterShareGroupOffsetsRequest => AlterShareGroupOffsetsResponse, serves "none";
    DeleteShareGroupOffsets = 92, DeleteShareGroupOffsetsRequest => DeleteShareGroupOffsetsResponse, serves "none";
    StreamsGroupTopologyDescriptionUpdate = 93, StreamsGroupTopologyDescriptionUpdateRequest => StreamsGroupTopologyDescriptionUpdateResponse, serves "none";
    UnregisterController = 94, UnregisterControllerRequest => UnregisterControllerResponse, serves "none";
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
