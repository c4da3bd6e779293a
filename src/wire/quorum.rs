//! The metadata quorum: votes, epochs, snapshots, voters (KIP-595, KIP-630, KIP-853).

use bytes::Bytes;

use super::declare::messages;
use crate::types::Uuid;

messages! {
    /// `VoteRequest`, API key 52.
    VoteRequest "0-2", flexible "0+" {
        cluster_id: Option<String> = None, "0+", null "0+";
        voter_id: i32 = -1, "1+", ignorable;
        topics: Vec<VoteRequestTopicData>, "0+";
    }

    VoteRequestTopicData {
        topic_name: String, "0+";
        partitions: Vec<VoteRequestPartitionData>, "0+";
    }

    VoteRequestPartitionData {
        partition_index: i32, "0+";
        replica_epoch: i32, "0+";
        replica_id: i32, "0+";
        replica_directory_id: Uuid, "1+", ignorable;
        voter_directory_id: Uuid, "1+", ignorable;
        last_offset_epoch: i32, "0+";
        last_offset: i64, "0+";
        pre_vote: bool, "2+";
    }

    /// `VoteResponse`, API key 52.
    VoteResponse "0-2", flexible "0+" {
        error_code: i16, "0+";
        topics: Vec<VoteResponseTopicData>, "0+";
        @0 node_endpoints: Vec<VoteNodeEndpoint>, "1+";
    }

    VoteResponseTopicData {
        topic_name: String, "0+";
        partitions: Vec<VoteResponsePartitionData>, "0+";
    }

    VoteResponsePartitionData {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        leader_id: i32, "0+";
        leader_epoch: i32, "0+";
        vote_granted: bool, "0+";
    }

    VoteNodeEndpoint {
        node_id: i32, "1+";
        host: String, "1+";
        port: u16, "1+";
    }

    /// `BeginQuorumEpochRequest`, API key 53.
    BeginQuorumEpochRequest "0-1", flexible "1+" {
        cluster_id: Option<String> = None, "0+", null "0+";
        voter_id: i32 = -1, "1+", ignorable;
        topics: Vec<BeginQuorumEpochRequestTopicData>, "0+";
        leader_endpoints: Vec<BeginQuorumEpochLeaderEndpoint>, "1+", ignorable;
    }

    BeginQuorumEpochRequestTopicData {
        topic_name: String, "0+";
        partitions: Vec<BeginQuorumEpochRequestPartitionData>, "0+";
    }

    BeginQuorumEpochRequestPartitionData {
        partition_index: i32, "0+";
        voter_directory_id: Uuid, "1+", ignorable;
        leader_id: i32, "0+";
        leader_epoch: i32, "0+";
    }

    BeginQuorumEpochLeaderEndpoint {
        name: String, "1+";
        host: String, "1+";
        port: u16, "1+";
    }

    /// `BeginQuorumEpochResponse`, API key 53.
    BeginQuorumEpochResponse "0-1", flexible "1+" {
        error_code: i16, "0+";
        topics: Vec<BeginQuorumEpochResponseTopicData>, "0+";
        @0 node_endpoints: Vec<BeginQuorumEpochNodeEndpoint>, "1+";
    }

    BeginQuorumEpochResponseTopicData {
        topic_name: String, "0+";
        partitions: Vec<BeginQuorumEpochResponsePartitionData>, "0+";
    }

    BeginQuorumEpochResponsePartitionData {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        leader_id: i32, "0+";
        leader_epoch: i32, "0+";
    }

    BeginQuorumEpochNodeEndpoint {
        node_id: i32, "1+";
        host: String, "1+";
        port: u16, "1+";
    }

    /// `EndQuorumEpochRequest`, API key 54.
    EndQuorumEpochRequest "0-1", flexible "1+" {
        cluster_id: Option<String> = None, "0+", null "0+";
        topics: Vec<EndQuorumEpochRequestTopicData>, "0+";
        leader_endpoints: Vec<EndQuorumEpochLeaderEndpoint>, "1+", ignorable;
    }

    EndQuorumEpochRequestTopicData {
        topic_name: String, "0+";
        partitions: Vec<EndQuorumEpochRequestPartitionData>, "0+";
    }

    EndQuorumEpochRequestPartitionData {
        partition_index: i32, "0+";
        leader_id: i32, "0+";
        leader_epoch: i32, "0+";
        preferred_successors: Vec<i32>, "0", ignorable;
        preferred_candidates: Vec<ReplicaInfo>, "1+", ignorable;
    }

    ReplicaInfo {
        candidate_id: i32, "1+";
        candidate_directory_id: Uuid, "1+";
    }

    EndQuorumEpochLeaderEndpoint {
        name: String, "1+";
        host: String, "1+";
        port: u16, "1+";
    }

    /// `EndQuorumEpochResponse`, API key 54.
    EndQuorumEpochResponse "0-1", flexible "1+" {
        error_code: i16, "0+";
        topics: Vec<EndQuorumEpochResponseTopicData>, "0+";
        @0 node_endpoints: Vec<EndQuorumEpochNodeEndpoint>, "1+";
    }

    EndQuorumEpochResponseTopicData {
        topic_name: String, "0+";
        partitions: Vec<EndQuorumEpochResponsePartitionData>, "0+";
    }

    EndQuorumEpochResponsePartitionData {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        leader_id: i32, "0+";
        leader_epoch: i32, "0+";
    }

    EndQuorumEpochNodeEndpoint {
        node_id: i32, "1+";
        host: String, "1+";
        port: u16, "1+";
    }

    /// `DescribeQuorumRequest`, API key 55.
    DescribeQuorumRequest "0-2", flexible "0+" {
        topics: Vec<DescribeQuorumRequestTopicData>, "0+";
    }

    DescribeQuorumRequestTopicData {
        topic_name: String, "0+";
        partitions: Vec<DescribeQuorumRequestPartitionData>, "0+";
    }

    DescribeQuorumRequestPartitionData {
        partition_index: i32, "0+";
    }

    /// `DescribeQuorumResponse`, API key 55.
    DescribeQuorumResponse "0-2", flexible "0+" {
        error_code: i16, "0+";
        error_message: Option<String>, "2+", null "2+", ignorable;
        topics: Vec<DescribeQuorumResponseTopicData>, "0+";
        nodes: Vec<Node>, "2+";
    }

    DescribeQuorumResponseTopicData {
        topic_name: String, "0+";
        partitions: Vec<DescribeQuorumResponsePartitionData>, "0+";
    }

    DescribeQuorumResponsePartitionData {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "2+", null "2+", ignorable;
        leader_id: i32, "0+";
        leader_epoch: i32, "0+";
        high_watermark: i64, "0+";
        current_voters: Vec<DescribeQuorumReplicaState>, "0+";
        observers: Vec<DescribeQuorumReplicaState>, "0+";
    }

    Node {
        node_id: i32, "2+";
        listeners: Vec<DescribeQuorumListener>, "2+";
    }

    DescribeQuorumListener {
        name: String, "2+";
        host: String, "2+";
        port: u16, "2+";
    }

    DescribeQuorumReplicaState {
        replica_id: i32, "0+";
        replica_directory_id: Uuid, "2+";
        log_end_offset: i64, "0+";
        last_fetch_timestamp: i64 = -1, "1+", ignorable;
        last_caught_up_timestamp: i64 = -1, "1+", ignorable;
    }

    /// `FetchSnapshotRequest`, API key 59.
    FetchSnapshotRequest "0-1", flexible "0+" {
        replica_id: i32 = -1, "0+";
        max_bytes: i32 = i32::MAX, "0+";
        topics: Vec<FetchSnapshotRequestTopicSnapshot>, "0+";
        @0 cluster_id: Option<String> = None, "0+", null "0+";
    }

    FetchSnapshotRequestTopicSnapshot {
        name: String, "0+";
        partitions: Vec<FetchSnapshotRequestPartitionSnapshot>, "0+";
    }

    FetchSnapshotRequestPartitionSnapshot {
        partition: i32, "0+";
        current_leader_epoch: i32, "0+";
        snapshot_id: FetchSnapshotRequestSnapshotId, "0+";
        position: i64, "0+";
        @0 replica_directory_id: Uuid, "1+", ignorable;
    }

    FetchSnapshotRequestSnapshotId {
        end_offset: i64, "0+";
        epoch: i32, "0+";
    }

    /// `FetchSnapshotResponse`, API key 59.
    FetchSnapshotResponse "0-1", flexible "0+" {
        throttle_time_ms: i32, "0+", ignorable;
        error_code: i16, "0+";
        topics: Vec<FetchSnapshotResponseTopicSnapshot>, "0+";
        @0 node_endpoints: Vec<FetchSnapshotNodeEndpoint>, "1+";
    }

    FetchSnapshotResponseTopicSnapshot {
        name: String, "0+";
        partitions: Vec<FetchSnapshotResponsePartitionSnapshot>, "0+";
    }

    FetchSnapshotResponsePartitionSnapshot {
        index: i32, "0+";
        error_code: i16, "0+";
        snapshot_id: FetchSnapshotResponseSnapshotId, "0+";
        size: i64, "0+";
        position: i64, "0+";
        unaligned_records: Bytes, "0+";
        @0 current_leader: FetchSnapshotLeaderIdAndEpoch, "0+";
    }

    FetchSnapshotResponseSnapshotId {
        end_offset: i64, "0+";
        epoch: i32, "0+";
    }

    FetchSnapshotLeaderIdAndEpoch {
        leader_id: i32, "0+";
        leader_epoch: i32, "0+";
    }

    FetchSnapshotNodeEndpoint {
        node_id: i32, "1+";
        host: String, "1+";
        port: u16, "1+";
    }

    /// `AddRaftVoterRequest`, API key 80.
    AddRaftVoterRequest "0-1", flexible "0+" {
        cluster_id: Option<String>, "0+", null "0+";
        timeout_ms: i32, "0+";
        voter_id: i32, "0+";
        voter_directory_id: Uuid, "0+";
        listeners: Vec<AddRaftVoterListener>, "0+";
        ack_when_committed: bool = true, "1+";
    }

    AddRaftVoterListener {
        name: String, "0+";
        host: String, "0+";
        port: u16, "0+";
    }

    /// `AddRaftVoterResponse`, API key 80.
    AddRaftVoterResponse "0-1", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+", ignorable;
    }

    /// `RemoveRaftVoterRequest`, API key 81.
    RemoveRaftVoterRequest "0", flexible "0+" {
        cluster_id: Option<String>, "0+", null "0+";
        voter_id: i32, "0+";
        voter_directory_id: Uuid, "0+";
    }

    /// `RemoveRaftVoterResponse`, API key 81.
    RemoveRaftVoterResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+", ignorable;
    }

    /// `UpdateRaftVoterRequest`, API key 82.
    UpdateRaftVoterRequest "0", flexible "0+" {
        cluster_id: Option<String>, "0+", null "0+";
        current_leader_epoch: i32, "0+";
        voter_id: i32, "0+";
        voter_directory_id: Uuid, "0+";
        listeners: Vec<UpdateRaftVoterListener>, "0+";
        kraft_version_feature: UpdateRaftVoterKRaftVersionFeature, "0+";
    }

    UpdateRaftVoterListener {
        name: String, "0+";
        host: String, "0+";
        port: u16, "0+";
    }

    UpdateRaftVoterKRaftVersionFeature {
        min_supported_version: i16, "0+";
        max_supported_version: i16, "0+";
    }

    /// `UpdateRaftVoterResponse`, API key 82.
    UpdateRaftVoterResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        @0 current_leader: CurrentLeader, "0+";
    }

    CurrentLeader {
        leader_id: i32 = -1, "0+";
        leader_epoch: i32 = -1, "0+";
        host: String, "0+";
        port: i32, "0+";
    }

    /// `UnregisterControllerRequest`, API key 94.
    UnregisterControllerRequest "0", flexible "0+" {
        controller_id: i32, "0+";
    }

    /// `UnregisterControllerResponse`, API key 94.
    UnregisterControllerResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
    }
}
