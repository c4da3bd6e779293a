//! Share groups (KIP-932).

use bytes::Bytes;

use super::declare::messages;
use crate::types::Uuid;

messages! {
    /// `ShareGroupHeartbeatRequest`, API key 76.
    ShareGroupHeartbeatRequest "1", flexible "0+" {
        group_id: String, "0+";
        member_id: String, "0+";
        member_epoch: i32, "0+";
        rack_id: Option<String> = None, "0+", null "0+";
        subscribed_topic_names: Option<Vec<String>> = None, "0+", null "0+";
    }

    /// `ShareGroupHeartbeatResponse`, API key 76.
    ShareGroupHeartbeatResponse "1", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        member_id: Option<String> = None, "0+", null "0+";
        member_epoch: i32, "0+";
        heartbeat_interval_ms: i32, "0+";
        assignment: Option<ShareGroupHeartbeatAssignment> = None, "0+", null "0+";
    }

    ShareGroupHeartbeatAssignment {
        topic_partitions: Vec<ShareGroupHeartbeatTopicPartitions>, "0+";
    }

    ShareGroupHeartbeatTopicPartitions {
        topic_id: Uuid, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// `ShareGroupDescribeRequest`, API key 77.
    ShareGroupDescribeRequest "1", flexible "0+" {
        group_ids: Vec<String>, "0+";
        include_authorized_operations: bool, "0+";
    }

    /// `ShareGroupDescribeResponse`, API key 77.
    ShareGroupDescribeResponse "1", flexible "0+" {
        throttle_time_ms: i32, "0+";
        groups: Vec<DescribedShareGroup>, "0+";
    }

    DescribedShareGroup {
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        group_id: String, "0+";
        group_state: String, "0+";
        group_epoch: i32, "0+";
        assignment_epoch: i32, "0+";
        assignor_name: String, "0+";
        members: Vec<ShareGroupDescribeMember>, "0+";
        authorized_operations: i32 = i32::MIN, "0+";
    }

    ShareGroupDescribeMember {
        member_id: String, "0+";
        rack_id: Option<String> = None, "0+", null "0+";
        member_epoch: i32, "0+";
        client_id: String, "0+";
        client_host: String, "0+";
        subscribed_topic_names: Vec<String>, "0+";
        assignment: ShareGroupDescribeAssignment, "0+";
    }

    ShareGroupDescribeTopicPartitions {
        topic_id: Uuid, "0+";
        topic_name: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    ShareGroupDescribeAssignment {
        topic_partitions: Vec<ShareGroupDescribeTopicPartitions>, "0+";
    }

    /// `ShareFetchRequest`, API key 78.
    ShareFetchRequest "1-2", flexible "0+" {
        group_id: Option<String> = None, "0+", null "0+";
        member_id: Option<String>, "0+", null "0+";
        share_session_epoch: i32, "0+";
        max_wait_ms: i32, "0+";
        min_bytes: i32, "0+";
        max_bytes: i32 = i32::MAX, "0+";
        max_records: i32, "1+";
        batch_size: i32, "1+";
        share_acquire_mode: i8, "2+", ignorable;
        is_renew_ack: bool, "2+";
        topics: Vec<ShareFetchTopic>, "0+";
        forgotten_topics_data: Vec<ShareFetchForgottenTopic>, "0+";
    }

    ShareFetchTopic {
        topic_id: Uuid, "0+";
        partitions: Vec<ShareFetchPartition>, "0+";
    }

    ShareFetchPartition {
        partition_index: i32, "0+";
        partition_max_bytes: i32, "0";
        acknowledgement_batches: Vec<ShareFetchAcknowledgementBatch>, "0+";
    }

    ShareFetchAcknowledgementBatch {
        first_offset: i64, "0+";
        last_offset: i64, "0+";
        acknowledge_types: Vec<i8>, "0+";
    }

    ShareFetchForgottenTopic {
        topic_id: Uuid, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// `ShareFetchResponse`, API key 78.
    ShareFetchResponse "1-2", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        acquisition_lock_timeout_ms: i32, "1+";
        responses: Vec<ShareFetchableTopicResponse>, "0+";
        node_endpoints: Vec<ShareFetchNodeEndpoint>, "0+";
    }

    ShareFetchableTopicResponse {
        topic_id: Uuid, "0+";
        partitions: Vec<ShareFetchPartitionData>, "0+";
    }

    ShareFetchPartitionData {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        acknowledge_error_code: i16, "0+";
        acknowledge_error_message: Option<String> = None, "0+", null "0+";
        current_leader: ShareFetchLeaderIdAndEpoch, "0+";
        records: Option<Bytes>, "0+", null "0";
        acquired_records: Vec<AcquiredRecords>, "0+";
    }

    ShareFetchLeaderIdAndEpoch {
        leader_id: i32, "0+";
        leader_epoch: i32, "0+";
    }

    AcquiredRecords {
        first_offset: i64, "0+";
        last_offset: i64, "0+";
        delivery_count: i16, "0+";
    }

    ShareFetchNodeEndpoint {
        node_id: i32, "0+";
        host: String, "0+";
        port: i32, "0+";
        rack: Option<String> = None, "0+", null "0+";
    }

    /// `ShareAcknowledgeRequest`, API key 79.
    ShareAcknowledgeRequest "1-2", flexible "0+" {
        group_id: Option<String> = None, "0+", null "0+";
        member_id: Option<String>, "0+", null "0+";
        share_session_epoch: i32, "0+";
        is_renew_ack: bool, "2+";
        topics: Vec<AcknowledgeTopic>, "0+";
    }

    AcknowledgeTopic {
        topic_id: Uuid, "0+";
        partitions: Vec<AcknowledgePartition>, "0+";
    }

    AcknowledgePartition {
        partition_index: i32, "0+";
        acknowledgement_batches: Vec<ShareAcknowledgementBatch>, "0+";
    }

    ShareAcknowledgementBatch {
        first_offset: i64, "0+";
        last_offset: i64, "0+";
        acknowledge_types: Vec<i8>, "0+";
    }

    /// `ShareAcknowledgeResponse`, API key 79.
    ShareAcknowledgeResponse "1-2", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        acquisition_lock_timeout_ms: i32, "2+", ignorable;
        responses: Vec<ShareAcknowledgeTopicResponse>, "0+";
        node_endpoints: Vec<ShareAcknowledgeNodeEndpoint>, "0+";
    }

    ShareAcknowledgeTopicResponse {
        topic_id: Uuid, "0+";
        partitions: Vec<ShareAcknowledgePartitionData>, "0+";
    }

    ShareAcknowledgePartitionData {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        current_leader: ShareAcknowledgeLeaderIdAndEpoch, "0+";
    }

    ShareAcknowledgeLeaderIdAndEpoch {
        leader_id: i32, "0+";
        leader_epoch: i32, "0+";
    }

    ShareAcknowledgeNodeEndpoint {
        node_id: i32, "0+";
        host: String, "0+";
        port: i32, "0+";
        rack: Option<String> = None, "0+", null "0+";
    }

    /// `DescribeShareGroupOffsetsRequest`, API key 90.
    DescribeShareGroupOffsetsRequest "0-1", flexible "0+" {
        groups: Vec<DescribeShareGroupOffsetsRequestGroup>, "0+";
    }

    DescribeShareGroupOffsetsRequestGroup {
        group_id: String, "0+";
        topics: Option<Vec<DescribeShareGroupOffsetsRequestTopic>>, "0+", null "0+";
    }

    DescribeShareGroupOffsetsRequestTopic {
        topic_name: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// `DescribeShareGroupOffsetsResponse`, API key 90.
    DescribeShareGroupOffsetsResponse "0-1", flexible "0+" {
        throttle_time_ms: i32, "0+";
        groups: Vec<DescribeShareGroupOffsetsResponseGroup>, "0+";
    }

    DescribeShareGroupOffsetsResponseGroup {
        group_id: String, "0+";
        topics: Vec<DescribeShareGroupOffsetsResponseTopic>, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
    }

    DescribeShareGroupOffsetsResponseTopic {
        topic_name: String, "0+";
        topic_id: Uuid, "0+";
        partitions: Vec<DescribeShareGroupOffsetsResponsePartition>, "0+";
    }

    DescribeShareGroupOffsetsResponsePartition {
        partition_index: i32, "0+";
        start_offset: i64, "0+";
        leader_epoch: i32, "0+";
        lag: i64 = -1, "1+", ignorable;
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
    }

    /// `AlterShareGroupOffsetsRequest`, API key 91.
    AlterShareGroupOffsetsRequest "0", flexible "0+" {
        group_id: String, "0+";
        topics: Vec<AlterShareGroupOffsetsRequestTopic>, "0+";
    }

    AlterShareGroupOffsetsRequestTopic {
        topic_name: String, "0+";
        partitions: Vec<AlterShareGroupOffsetsRequestPartition>, "0+";
    }

    AlterShareGroupOffsetsRequestPartition {
        partition_index: i32, "0+";
        start_offset: i64, "0+";
    }

    /// `AlterShareGroupOffsetsResponse`, API key 91.
    AlterShareGroupOffsetsResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        responses: Vec<AlterShareGroupOffsetsResponseTopic>, "0+";
    }

    AlterShareGroupOffsetsResponseTopic {
        topic_name: String, "0+";
        topic_id: Uuid, "0+";
        partitions: Vec<AlterShareGroupOffsetsResponsePartition>, "0+";
    }

    AlterShareGroupOffsetsResponsePartition {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
    }

    /// `DeleteShareGroupOffsetsRequest`, API key 92.
    DeleteShareGroupOffsetsRequest "0", flexible "0+" {
        group_id: String, "0+";
        topics: Vec<DeleteShareGroupOffsetsRequestTopic>, "0+";
    }

    DeleteShareGroupOffsetsRequestTopic {
        topic_name: String, "0+";
    }

    /// `DeleteShareGroupOffsetsResponse`, API key 92.
    DeleteShareGroupOffsetsResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        responses: Vec<DeleteShareGroupOffsetsResponseTopic>, "0+";
    }

    DeleteShareGroupOffsetsResponseTopic {
        topic_name: String, "0+";
        topic_id: Uuid, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
    }

    /// `InitializeShareGroupStateRequest`, API key 83.
    InitializeShareGroupStateRequest "0", flexible "0+" {
        group_id: String, "0+";
        topics: Vec<InitializeStateData>, "0+";
    }

    InitializeStateData {
        topic_id: Uuid, "0+";
        partitions: Vec<InitializeShareGroupStatePartitionData>, "0+";
    }

    InitializeShareGroupStatePartitionData {
        partition: i32, "0+";
        state_epoch: i32, "0+";
        start_offset: i64, "0+";
    }

    /// `InitializeShareGroupStateResponse`, API key 83.
    InitializeShareGroupStateResponse "0", flexible "0+" {
        results: Vec<InitializeStateResult>, "0+";
    }

    InitializeStateResult {
        topic_id: Uuid, "0+";
        partitions: Vec<InitializeShareGroupStatePartitionResult>, "0+";
    }

    InitializeShareGroupStatePartitionResult {
        partition: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
    }

    /// `ReadShareGroupStateRequest`, API key 84.
    ReadShareGroupStateRequest "0", flexible "0+" {
        group_id: String, "0+";
        topics: Vec<ReadStateData>, "0+";
    }

    ReadStateData {
        topic_id: Uuid, "0+";
        partitions: Vec<ReadShareGroupStatePartitionData>, "0+";
    }

    ReadShareGroupStatePartitionData {
        partition: i32, "0+";
        leader_epoch: i32, "0+";
    }

    /// `ReadShareGroupStateResponse`, API key 84.
    ReadShareGroupStateResponse "0", flexible "0+" {
        results: Vec<ReadStateResult>, "0+";
    }

    ReadStateResult {
        topic_id: Uuid, "0+";
        partitions: Vec<ReadShareGroupStatePartitionResult>, "0+";
    }

    ReadShareGroupStatePartitionResult {
        partition: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        state_epoch: i32, "0+";
        start_offset: i64, "0+";
        state_batches: Vec<ReadShareGroupStateBatch>, "0+";
    }

    ReadShareGroupStateBatch {
        first_offset: i64, "0+";
        last_offset: i64, "0+";
        delivery_state: i8, "0+";
        delivery_count: i16, "0+";
    }

    /// `WriteShareGroupStateRequest`, API key 85.
    WriteShareGroupStateRequest "0-1", flexible "0+" {
        group_id: String, "0+";
        topics: Vec<WriteStateData>, "0+";
    }

    WriteStateData {
        topic_id: Uuid, "0+";
        partitions: Vec<WriteShareGroupStatePartitionData>, "0+";
    }

    WriteShareGroupStatePartitionData {
        partition: i32, "0+";
        state_epoch: i32, "0+";
        leader_epoch: i32, "0+";
        start_offset: i64, "0+";
        delivery_complete_count: i32 = -1, "1+", ignorable;
        state_batches: Vec<WriteShareGroupStateBatch>, "0+";
    }

    WriteShareGroupStateBatch {
        first_offset: i64, "0+";
        last_offset: i64, "0+";
        delivery_state: i8, "0+";
        delivery_count: i16, "0+";
    }

    /// `WriteShareGroupStateResponse`, API key 85.
    WriteShareGroupStateResponse "0-1", flexible "0+" {
        results: Vec<WriteStateResult>, "0+";
    }

    WriteStateResult {
        topic_id: Uuid, "0+";
        partitions: Vec<WriteShareGroupStatePartitionResult>, "0+";
    }

    WriteShareGroupStatePartitionResult {
        partition: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
    }

    /// `DeleteShareGroupStateRequest`, API key 86.
    DeleteShareGroupStateRequest "0", flexible "0+" {
        group_id: String, "0+";
        topics: Vec<DeleteStateData>, "0+";
    }

    DeleteStateData {
        topic_id: Uuid, "0+";
        partitions: Vec<DeleteShareGroupStatePartitionData>, "0+";
    }

    DeleteShareGroupStatePartitionData {
        partition: i32, "0+";
    }

    /// `DeleteShareGroupStateResponse`, API key 86.
    DeleteShareGroupStateResponse "0", flexible "0+" {
        results: Vec<DeleteStateResult>, "0+";
    }

    DeleteStateResult {
        topic_id: Uuid, "0+";
        partitions: Vec<DeleteShareGroupStatePartitionResult>, "0+";
    }

    DeleteShareGroupStatePartitionResult {
        partition: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
    }

    /// `ReadShareGroupStateSummaryRequest`, API key 87.
    ReadShareGroupStateSummaryRequest "0-1", flexible "0+" {
        group_id: String, "0+";
        topics: Vec<ReadStateSummaryData>, "0+";
    }

    ReadStateSummaryData {
        topic_id: Uuid, "0+";
        partitions: Vec<ReadShareGroupStateSummaryPartitionData>, "0+";
    }

    ReadShareGroupStateSummaryPartitionData {
        partition: i32, "0+";
        leader_epoch: i32, "0+";
    }

    /// `ReadShareGroupStateSummaryResponse`, API key 87.
    ReadShareGroupStateSummaryResponse "0-1", flexible "0+" {
        results: Vec<ReadStateSummaryResult>, "0+";
    }

    ReadStateSummaryResult {
        topic_id: Uuid, "0+";
        partitions: Vec<ReadShareGroupStateSummaryPartitionResult>, "0+";
    }

    ReadShareGroupStateSummaryPartitionResult {
        partition: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        state_epoch: i32, "0+";
        leader_epoch: i32, "0+";
        start_offset: i64, "0+";
        delivery_complete_count: i32 = -1, "1+", ignorable;
    }
}
