//! Topics and partitions: create, delete, grow, elect, reassign.

use super::declare::messages;
use crate::types::Uuid;

messages! {
    /// `CreateTopicsRequest`, API key 19.
    CreateTopicsRequest "2-7", flexible "5+" {
        topics: Vec<CreatableTopic>, "0+";
        timeout_ms: i32 = 60000, "0+";
        validate_only: bool, "1+";
    }

    CreatableTopic {
        name: String, "0+";
        num_partitions: i32, "0+";
        replication_factor: i16, "0+";
        assignments: Vec<CreatableReplicaAssignment>, "0+";
        configs: Vec<CreatableTopicConfig>, "0+";
    }

    CreatableReplicaAssignment {
        partition_index: i32, "0+";
        broker_ids: Vec<i32>, "0+";
    }

    CreatableTopicConfig {
        name: String, "0+";
        value: Option<String>, "0+", null "0+";
    }

    /// `CreateTopicsResponse`, API key 19.
    CreateTopicsResponse "2-7", flexible "5+" {
        throttle_time_ms: i32, "2+", ignorable;
        topics: Vec<CreatableTopicResult>, "0+";
    }

    CreatableTopicResult {
        name: String, "0+";
        topic_id: Uuid, "7+", ignorable;
        error_code: i16, "0+";
        error_message: Option<String>, "1+", null "0+", ignorable;
        num_partitions: i32 = -1, "5+", ignorable;
        replication_factor: i16 = -1, "5+", ignorable;
        configs: Option<Vec<CreatableTopicConfigs>>, "5+", null "5+", ignorable;
        @0 topic_config_error_code: i16, "5+", ignorable;
    }

    CreatableTopicConfigs {
        name: String, "5+";
        value: Option<String>, "5+", null "5+";
        read_only: bool, "5+";
        config_source: i8 = -1, "5+", ignorable;
        is_sensitive: bool, "5+";
    }

    /// `DeleteTopicsRequest`, API key 20.
    DeleteTopicsRequest "1-6", flexible "4+" {
        topics: Vec<DeleteTopicState>, "6+";
        topic_names: Vec<String>, "0-5", ignorable;
        timeout_ms: i32, "0+";
    }

    DeleteTopicState {
        name: Option<String> = None, "6+", null "6+";
        topic_id: Uuid, "6+";
    }

    /// `DeleteTopicsResponse`, API key 20.
    DeleteTopicsResponse "1-6", flexible "4+" {
        throttle_time_ms: i32, "1+", ignorable;
        responses: Vec<DeletableTopicResult>, "0+";
    }

    DeletableTopicResult {
        name: Option<String>, "0+", null "6+";
        topic_id: Uuid, "6+", ignorable;
        error_code: i16, "0+";
        error_message: Option<String> = None, "5+", null "5+", ignorable;
    }

    /// `CreatePartitionsRequest`, API key 37.
    CreatePartitionsRequest "0-3", flexible "2+" {
        topics: Vec<CreatePartitionsTopic>, "0+";
        timeout_ms: i32, "0+";
        validate_only: bool, "0+";
    }

    CreatePartitionsTopic {
        name: String, "0+";
        count: i32, "0+";
        assignments: Option<Vec<CreatePartitionsAssignment>>, "0+", null "0+";
    }

    CreatePartitionsAssignment {
        broker_ids: Vec<i32>, "0+";
    }

    /// `CreatePartitionsResponse`, API key 37.
    CreatePartitionsResponse "0-3", flexible "2+" {
        throttle_time_ms: i32, "0+";
        results: Vec<CreatePartitionsTopicResult>, "0+";
    }

    CreatePartitionsTopicResult {
        name: String, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
    }

    /// `ElectLeadersRequest`, API key 43.
    ElectLeadersRequest "0-2", flexible "2+" {
        election_type: i8, "1+";
        topic_partitions: Option<Vec<ElectLeadersTopicPartitions>>, "0+", null "0+";
        timeout_ms: i32 = 60000, "0+";
    }

    ElectLeadersTopicPartitions {
        topic: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// `ElectLeadersResponse`, API key 43.
    ElectLeadersResponse "0-2", flexible "2+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "1+";
        replica_election_results: Vec<ReplicaElectionResult>, "0+";
    }

    ReplicaElectionResult {
        topic: String, "0+";
        partition_result: Vec<ElectLeadersPartitionResult>, "0+";
    }

    ElectLeadersPartitionResult {
        partition_id: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
    }

    /// `AlterPartitionReassignmentsRequest`, API key 45.
    AlterPartitionReassignmentsRequest "0-1", flexible "0+" {
        timeout_ms: i32 = 60000, "0+";
        allow_replication_factor_change: bool = true, "1+";
        topics: Vec<ReassignableTopic>, "0+";
    }

    ReassignableTopic {
        name: String, "0+";
        partitions: Vec<ReassignablePartition>, "0+";
    }

    ReassignablePartition {
        partition_index: i32, "0+";
        replicas: Option<Vec<i32>> = None, "0+", null "0+";
    }

    /// `AlterPartitionReassignmentsResponse`, API key 45.
    AlterPartitionReassignmentsResponse "0-1", flexible "0+" {
        throttle_time_ms: i32, "0+";
        allow_replication_factor_change: bool = true, "1+", ignorable;
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
        responses: Vec<ReassignableTopicResponse>, "0+";
    }

    ReassignableTopicResponse {
        name: String, "0+";
        partitions: Vec<ReassignablePartitionResponse>, "0+";
    }

    ReassignablePartitionResponse {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
    }

    /// `ListPartitionReassignmentsRequest`, API key 46.
    ListPartitionReassignmentsRequest "0", flexible "0+" {
        timeout_ms: i32 = 60000, "0+";
        topics: Option<Vec<ListPartitionReassignmentsTopics>> = None, "0+", null "0+";
    }

    ListPartitionReassignmentsTopics {
        name: String, "0+";
        partition_indexes: Vec<i32>, "0+";
    }

    /// `ListPartitionReassignmentsResponse`, API key 46.
    ListPartitionReassignmentsResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
        topics: Vec<OngoingTopicReassignment>, "0+";
    }

    OngoingTopicReassignment {
        name: String, "0+";
        partitions: Vec<OngoingPartitionReassignment>, "0+";
    }

    OngoingPartitionReassignment {
        partition_index: i32, "0+";
        replicas: Vec<i32>, "0+";
        adding_replicas: Vec<i32>, "0+";
        removing_replicas: Vec<i32>, "0+";
    }
}
