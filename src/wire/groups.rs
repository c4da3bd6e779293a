//! Classic consumer groups and committed offsets.

use bytes::Bytes;

use super::declare::messages;
use crate::types::Uuid;

messages! {
    /// `JoinGroupRequest`, API key 11.
    JoinGroupRequest "0-9", flexible "6+" {
        group_id: String, "0+";
        session_timeout_ms: i32, "0+";
        rebalance_timeout_ms: i32 = -1, "1+", ignorable;
        member_id: String, "0+";
        group_instance_id: Option<String> = None, "5+", null "5+";
        protocol_type: String, "0+";
        protocols: Vec<JoinGroupRequestProtocol>, "0+";
        reason: Option<String> = None, "8+", null "8+", ignorable;
    }

    JoinGroupRequestProtocol {
        name: String, "0+";
        metadata: Bytes, "0+";
    }

    /// `JoinGroupResponse`, API key 11.
    JoinGroupResponse "0-9", flexible "6+" {
        throttle_time_ms: i32, "2+", ignorable;
        error_code: i16, "0+";
        generation_id: i32 = -1, "0+";
        protocol_type: Option<String> = None, "7+", null "7+", ignorable;
        protocol_name: Option<String>, "0+", null "7+";
        leader: String, "0+";
        skip_assignment: bool, "9+";
        member_id: String, "0+";
        members: Vec<JoinGroupResponseMember>, "0+";
    }

    JoinGroupResponseMember {
        member_id: String, "0+";
        group_instance_id: Option<String> = None, "5+", null "5+", ignorable;
        metadata: Bytes, "0+";
    }

    /// `SyncGroupRequest`, API key 14.
    SyncGroupRequest "0-5", flexible "4+" {
        group_id: String, "0+";
        generation_id: i32, "0+";
        member_id: String, "0+";
        group_instance_id: Option<String> = None, "3+", null "3+";
        protocol_type: Option<String> = None, "5+", null "5+", ignorable;
        protocol_name: Option<String> = None, "5+", null "5+", ignorable;
        assignments: Vec<SyncGroupRequestAssignment>, "0+";
    }

    SyncGroupRequestAssignment {
        member_id: String, "0+";
        assignment: Bytes, "0+";
    }

    /// `SyncGroupResponse`, API key 14.
    SyncGroupResponse "0-5", flexible "4+" {
        throttle_time_ms: i32, "1+", ignorable;
        error_code: i16, "0+";
        protocol_type: Option<String> = None, "5+", null "5+", ignorable;
        protocol_name: Option<String> = None, "5+", null "5+", ignorable;
        assignment: Bytes, "0+";
    }

    /// `HeartbeatRequest`, API key 12.
    HeartbeatRequest "0-4", flexible "4+" {
        group_id: String, "0+";
        generation_id: i32, "0+";
        member_id: String, "0+";
        group_instance_id: Option<String> = None, "3+", null "3+";
    }

    /// `HeartbeatResponse`, API key 12.
    HeartbeatResponse "0-4", flexible "4+" {
        throttle_time_ms: i32, "1+", ignorable;
        error_code: i16, "0+";
    }

    /// `LeaveGroupRequest`, API key 13.
    LeaveGroupRequest "0-5", flexible "4+" {
        group_id: String, "0+";
        member_id: String, "0-2";
        members: Vec<MemberIdentity>, "3+";
    }

    MemberIdentity {
        member_id: String, "3+";
        group_instance_id: Option<String> = None, "3+", null "3+";
        reason: Option<String> = None, "5+", null "5+", ignorable;
    }

    /// `LeaveGroupResponse`, API key 13.
    LeaveGroupResponse "0-5", flexible "4+" {
        throttle_time_ms: i32, "1+", ignorable;
        error_code: i16, "0+";
        members: Vec<MemberResponse>, "3+";
    }

    MemberResponse {
        member_id: String, "3+";
        group_instance_id: Option<String>, "3+", null "3+";
        error_code: i16, "3+";
    }

    /// `DescribeGroupsRequest`, API key 15.
    DescribeGroupsRequest "0-6", flexible "5+" {
        groups: Vec<String>, "0+";
        include_authorized_operations: bool, "3+";
    }

    /// `DescribeGroupsResponse`, API key 15.
    DescribeGroupsResponse "0-6", flexible "5+" {
        throttle_time_ms: i32, "1+", ignorable;
        groups: Vec<DescribedGroup>, "0+";
    }

    DescribedGroup {
        error_code: i16, "0+";
        error_message: Option<String> = None, "6+", null "6+";
        group_id: String, "0+";
        group_state: String, "0+";
        protocol_type: String, "0+";
        protocol_data: String, "0+";
        members: Vec<DescribedGroupMember>, "0+";
        authorized_operations: i32 = i32::MIN, "3+";
    }

    DescribedGroupMember {
        member_id: String, "0+";
        group_instance_id: Option<String> = None, "4+", null "4+", ignorable;
        client_id: String, "0+";
        client_host: String, "0+";
        member_metadata: Bytes, "0+";
        member_assignment: Bytes, "0+";
    }

    /// `ListGroupsRequest`, API key 16.
    ListGroupsRequest "0-5", flexible "3+" {
        states_filter: Vec<String>, "4+";
        types_filter: Vec<String>, "5+";
    }

    /// `ListGroupsResponse`, API key 16.
    ListGroupsResponse "0-5", flexible "3+" {
        throttle_time_ms: i32, "1+", ignorable;
        error_code: i16, "0+";
        groups: Vec<ListedGroup>, "0+";
    }

    ListedGroup {
        group_id: String, "0+";
        protocol_type: String, "0+";
        group_state: String, "4+", ignorable;
        group_type: String, "5+", ignorable;
    }

    /// `DeleteGroupsRequest`, API key 42.
    DeleteGroupsRequest "0-3", flexible "2+" {
        groups_names: Vec<String>, "0+";
    }

    /// `DeleteGroupsResponse`, API key 42.
    DeleteGroupsResponse "0-3", flexible "2+" {
        throttle_time_ms: i32, "0+";
        results: Vec<DeletableGroupResult>, "0+";
    }

    DeletableGroupResult {
        group_id: String, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "3+", null "3+", ignorable;
    }

    /// `OffsetCommitRequest`, API key 8.
    OffsetCommitRequest "2-10", flexible "8+" {
        group_id: String, "0+";
        generation_id_or_member_epoch: i32 = -1, "1+", ignorable;
        member_id: String, "1+", ignorable;
        group_instance_id: Option<String> = None, "7+", null "7+";
        retention_time_ms: i64 = -1, "2-4", ignorable;
        topics: Vec<OffsetCommitRequestTopic>, "0+";
    }

    OffsetCommitRequestTopic {
        name: String, "0-9", ignorable;
        topic_id: Uuid, "10+", ignorable;
        partitions: Vec<OffsetCommitRequestPartition>, "0+";
    }

    OffsetCommitRequestPartition {
        partition_index: i32, "0+";
        committed_offset: i64, "0+";
        committed_leader_epoch: i32 = -1, "6+", ignorable;
        committed_metadata: Option<String>, "0+", null "0+";
    }

    /// `OffsetCommitResponse`, API key 8.
    OffsetCommitResponse "2-10", flexible "8+" {
        throttle_time_ms: i32, "3+", ignorable;
        topics: Vec<OffsetCommitResponseTopic>, "0+";
    }

    OffsetCommitResponseTopic {
        name: String, "0-9", ignorable;
        topic_id: Uuid, "10+", ignorable;
        partitions: Vec<OffsetCommitResponsePartition>, "0+";
    }

    OffsetCommitResponsePartition {
        partition_index: i32, "0+";
        error_code: i16, "0+";
    }

    /// `OffsetFetchRequest`, API key 9.
    OffsetFetchRequest "1-10", flexible "6+" {
        group_id: String, "0-7";
        topics: Option<Vec<OffsetFetchRequestTopic>>, "0-7", null "2-7";
        groups: Vec<OffsetFetchRequestGroup>, "8+";
        require_stable: bool, "7+";
    }

    OffsetFetchRequestTopic {
        name: String, "0-7";
        partition_indexes: Vec<i32>, "0-7";
    }

    OffsetFetchRequestGroup {
        group_id: String, "8+";
        member_id: Option<String> = None, "9+", null "9+", ignorable;
        member_epoch: i32 = -1, "9+", ignorable;
        topics: Option<Vec<OffsetFetchRequestTopics>>, "8+", null "8+";
    }

    OffsetFetchRequestTopics {
        name: String, "8-9", ignorable;
        topic_id: Uuid, "10+", ignorable;
        partition_indexes: Vec<i32>, "8+";
    }

    /// `OffsetFetchResponse`, API key 9.
    OffsetFetchResponse "1-10", flexible "6+" {
        throttle_time_ms: i32, "3+", ignorable;
        topics: Vec<OffsetFetchResponseTopic>, "0-7";
        error_code: i16, "2-7", ignorable;
        groups: Vec<OffsetFetchResponseGroup>, "8+";
    }

    OffsetFetchResponseTopic {
        name: String, "0-7";
        partitions: Vec<OffsetFetchResponsePartition>, "0-7";
    }

    OffsetFetchResponsePartition {
        partition_index: i32, "0-7";
        committed_offset: i64, "0-7";
        committed_leader_epoch: i32 = -1, "5-7", ignorable;
        metadata: Option<String>, "0-7", null "0-7";
        error_code: i16, "0-7";
    }

    OffsetFetchResponseGroup {
        group_id: String, "8+";
        topics: Vec<OffsetFetchResponseTopics>, "8+";
        error_code: i16, "8+";
    }

    OffsetFetchResponseTopics {
        name: String, "8-9", ignorable;
        topic_id: Uuid, "10+", ignorable;
        partitions: Vec<OffsetFetchResponsePartitions>, "8+";
    }

    OffsetFetchResponsePartitions {
        partition_index: i32, "8+";
        committed_offset: i64, "8+";
        committed_leader_epoch: i32 = -1, "8+", ignorable;
        metadata: Option<String>, "8+", null "8+";
        error_code: i16, "8+";
    }

    /// `OffsetDeleteRequest`, API key 47.
    OffsetDeleteRequest "0", flexible "none" {
        group_id: String, "0+";
        topics: Vec<OffsetDeleteRequestTopic>, "0+";
    }

    OffsetDeleteRequestTopic {
        name: String, "0+";
        partitions: Vec<OffsetDeleteRequestPartition>, "0+";
    }

    OffsetDeleteRequestPartition {
        partition_index: i32, "0+";
    }

    /// `OffsetDeleteResponse`, API key 47.
    OffsetDeleteResponse "0", flexible "none" {
        error_code: i16, "0+";
        throttle_time_ms: i32, "0+", ignorable;
        topics: Vec<OffsetDeleteResponseTopic>, "0+";
    }

    OffsetDeleteResponseTopic {
        name: String, "0+";
        partitions: Vec<OffsetDeleteResponsePartition>, "0+";
    }

    OffsetDeleteResponsePartition {
        partition_index: i32, "0+";
        error_code: i16, "0+";
    }
}
