//! Groups whose assignment the broker computes (KIP-848), and those of Kafka Streams (KIP-1071).

use super::declare::messages;
use crate::types::Uuid;

messages! {
    /// `ConsumerGroupHeartbeatRequest`, API key 68.
    ConsumerGroupHeartbeatRequest "0-1", flexible "0+" {
        group_id: String, "0+";
        member_id: String, "0+";
        member_epoch: i32, "0+";
        instance_id: Option<String> = None, "0+", null "0+";
        rack_id: Option<String> = None, "0+", null "0+";
        rebalance_timeout_ms: i32 = -1, "0+";
        subscribed_topic_names: Option<Vec<String>> = None, "0+", null "0+";
        subscribed_topic_regex: Option<String> = None, "1+", null "1+";
        server_assignor: Option<String> = None, "0+", null "0+";
        topic_partitions: Option<Vec<ConsumerGroupHeartbeatRequestTopicPartitions>> = None, "0+", null "0+";
    }

    ConsumerGroupHeartbeatRequestTopicPartitions {
        topic_id: Uuid, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// `ConsumerGroupHeartbeatResponse`, API key 68.
    ConsumerGroupHeartbeatResponse "0-1", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        member_id: Option<String> = None, "0+", null "0+";
        member_epoch: i32, "0+";
        heartbeat_interval_ms: i32, "0+";
        assignment: Option<ConsumerGroupHeartbeatAssignment> = None, "0+", null "0+";
    }

    ConsumerGroupHeartbeatAssignment {
        topic_partitions: Vec<ConsumerGroupHeartbeatResponseTopicPartitions>, "0+";
    }

    ConsumerGroupHeartbeatResponseTopicPartitions {
        topic_id: Uuid, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// `ConsumerGroupDescribeRequest`, API key 69.
    ConsumerGroupDescribeRequest "0-1", flexible "0+" {
        group_ids: Vec<String>, "0+";
        include_authorized_operations: bool, "0+";
    }

    /// `ConsumerGroupDescribeResponse`, API key 69.
    ConsumerGroupDescribeResponse "0-1", flexible "0+" {
        throttle_time_ms: i32, "0+";
        groups: Vec<DescribedConsumerGroup>, "0+";
    }

    DescribedConsumerGroup {
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        group_id: String, "0+";
        group_state: String, "0+";
        group_epoch: i32, "0+";
        assignment_epoch: i32, "0+";
        assignor_name: String, "0+";
        members: Vec<ConsumerGroupDescribeMember>, "0+";
        authorized_operations: i32 = i32::MIN, "0+";
    }

    ConsumerGroupDescribeMember {
        member_id: String, "0+";
        instance_id: Option<String> = None, "0+", null "0+";
        rack_id: Option<String> = None, "0+", null "0+";
        member_epoch: i32, "0+";
        client_id: String, "0+";
        client_host: String, "0+";
        subscribed_topic_names: Vec<String>, "0+";
        subscribed_topic_regex: Option<String> = None, "0+", null "0+";
        assignment: ConsumerGroupDescribeAssignment, "0+";
        target_assignment: ConsumerGroupDescribeAssignment, "0+";
        member_type: i8 = -1, "1+", ignorable;
    }

    ConsumerGroupDescribeTopicPartitions {
        topic_id: Uuid, "0+";
        topic_name: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    ConsumerGroupDescribeAssignment {
        topic_partitions: Vec<ConsumerGroupDescribeTopicPartitions>, "0+";
    }

    /// `StreamsGroupHeartbeatRequest`, API key 88.
    StreamsGroupHeartbeatRequest "0-1", flexible "0+" {
        group_id: String, "0+";
        member_id: String, "0+";
        member_epoch: i32, "0+";
        endpoint_information_epoch: i32, "0+";
        instance_id: Option<String> = None, "0+", null "0+";
        rack_id: Option<String> = None, "0+", null "0+";
        rebalance_timeout_ms: i32 = -1, "0+";
        topology: Option<StreamsGroupHeartbeatTopology> = None, "0+", null "0+";
        active_tasks: Option<Vec<StreamsGroupHeartbeatRequestTaskIds>> = None, "0+", null "0+";
        standby_tasks: Option<Vec<StreamsGroupHeartbeatRequestTaskIds>> = None, "0+", null "0+";
        warmup_tasks: Option<Vec<StreamsGroupHeartbeatRequestTaskIds>> = None, "0+", null "0+";
        process_id: Option<String> = None, "0+", null "0+";
        user_endpoint: Option<StreamsGroupHeartbeatRequestEndpoint> = None, "0+", null "0+";
        client_tags: Option<Vec<StreamsGroupHeartbeatKeyValue>> = None, "0+", null "0+";
        task_offsets: Option<Vec<StreamsGroupHeartbeatTaskOffset>> = None, "0+", null "0+";
        task_end_offsets: Option<Vec<StreamsGroupHeartbeatTaskOffset>> = None, "0+", null "0+";
        shutdown_application: bool, "0+";
    }

    StreamsGroupHeartbeatTopology {
        epoch: i32, "0+";
        subtopologies: Vec<StreamsGroupHeartbeatSubtopology>, "0+";
    }

    StreamsGroupHeartbeatSubtopology {
        subtopology_id: String, "0+";
        source_topics: Vec<String>, "0+";
        source_topic_regex: Vec<String>, "0+";
        state_changelog_topics: Vec<StreamsGroupHeartbeatTopicInfo>, "0+";
        repartition_sink_topics: Vec<String>, "0+";
        repartition_source_topics: Vec<StreamsGroupHeartbeatTopicInfo>, "0+";
        copartition_groups: Vec<CopartitionGroup>, "0+";
    }

    CopartitionGroup {
        source_topics: Vec<i16>, "0+";
        source_topic_regex: Vec<i16>, "0+";
        repartition_source_topics: Vec<i16>, "0+";
    }

    StreamsGroupHeartbeatKeyValue {
        key: String, "0+";
        value: String, "0+";
    }

    StreamsGroupHeartbeatTopicInfo {
        name: String, "0+";
        partitions: i32, "0+";
        replication_factor: i16, "0+";
        topic_configs: Vec<StreamsGroupHeartbeatKeyValue>, "0+";
    }

    StreamsGroupHeartbeatRequestEndpoint {
        host: String, "0+";
        port: u16, "0+";
    }

    StreamsGroupHeartbeatTaskOffset {
        subtopology_id: String, "0+";
        partition: i32, "0+";
        offset: i64, "0+";
    }

    StreamsGroupHeartbeatRequestTaskIds {
        subtopology_id: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// `StreamsGroupHeartbeatResponse`, API key 88.
    StreamsGroupHeartbeatResponse "0-1", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        member_id: String, "0+";
        member_epoch: i32, "0+";
        heartbeat_interval_ms: i32, "0+";
        acceptable_recovery_lag_legacy: i32, "0";
        task_offset_interval_ms: i32, "0+";
        acceptable_recovery_lag: i64 = -1, "1+", ignorable;
        status: Option<Vec<Status>>, "0+", null "0+";
        active_tasks: Option<Vec<StreamsGroupHeartbeatResponseTaskIds>> = None, "0+", null "0+";
        standby_tasks: Option<Vec<StreamsGroupHeartbeatResponseTaskIds>> = None, "0+", null "0+";
        warmup_tasks: Option<Vec<StreamsGroupHeartbeatResponseTaskIds>> = None, "0+", null "0+";
        topology_description_required: bool, "1+";
        endpoint_information_epoch: i32, "0+";
        partitions_by_user_endpoint: Option<Vec<EndpointToPartitions>> = None, "0+", null "0+";
    }

    EndpointToPartitions {
        user_endpoint: StreamsGroupHeartbeatResponseEndpoint, "0+";
        active_partitions: Vec<TopicPartition>, "0+";
        standby_partitions: Vec<TopicPartition>, "0+";
    }

    Status {
        status_code: i8, "0+";
        status_detail: String, "0+";
    }

    TopicPartition {
        topic: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    StreamsGroupHeartbeatResponseTaskIds {
        subtopology_id: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    StreamsGroupHeartbeatResponseEndpoint {
        host: String, "0+";
        port: u16, "0+";
    }

    /// `StreamsGroupDescribeRequest`, API key 89.
    StreamsGroupDescribeRequest "0-1", flexible "0+" {
        group_ids: Vec<String>, "0+";
        include_authorized_operations: bool, "0+";
        include_topology_description: bool, "1+";
    }

    /// `StreamsGroupDescribeResponse`, API key 89.
    StreamsGroupDescribeResponse "0-1", flexible "0+" {
        throttle_time_ms: i32, "0+";
        groups: Vec<DescribedStreamsGroup>, "0+";
    }

    DescribedStreamsGroup {
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        group_id: String, "0+";
        group_state: String, "0+";
        group_epoch: i32, "0+";
        assignment_epoch: i32, "0+";
        topology: Option<StreamsGroupDescribeTopology> = None, "0+", null "0+";
        members: Vec<StreamsGroupDescribeMember>, "0+";
        authorized_operations: i32 = i32::MIN, "0+";
        topology_description: Option<StreamsGroupDescribeTopologyDescription> = None, "1+", null "1+";
        topology_description_status: i8, "1+";
        assignor_name: Option<String> = None, "1+", null "1+", ignorable;
    }

    StreamsGroupDescribeTopology {
        epoch: i32, "0+";
        subtopologies: Option<Vec<StreamsGroupDescribeSubtopology>> = None, "0+", null "0+";
    }

    StreamsGroupDescribeSubtopology {
        subtopology_id: String, "0+";
        source_topics: Vec<String>, "0+";
        repartition_sink_topics: Vec<String>, "0+";
        state_changelog_topics: Vec<StreamsGroupDescribeTopicInfo>, "0+";
        repartition_source_topics: Vec<StreamsGroupDescribeTopicInfo>, "0+";
    }

    StreamsGroupDescribeMember {
        member_id: String, "0+";
        member_epoch: i32, "0+";
        instance_id: Option<String> = None, "0+", null "0+";
        rack_id: Option<String> = None, "0+", null "0+";
        client_id: String, "0+";
        client_host: String, "0+";
        topology_epoch: i32, "0+";
        process_id: String, "0+";
        user_endpoint: Option<StreamsGroupDescribeEndpoint> = None, "0+", null "0+";
        client_tags: Vec<StreamsGroupDescribeKeyValue>, "0+";
        task_offsets: Vec<StreamsGroupDescribeTaskOffset>, "0+";
        task_end_offsets: Vec<StreamsGroupDescribeTaskOffset>, "0+";
        assignment: StreamsGroupDescribeAssignment, "0+";
        target_assignment: StreamsGroupDescribeAssignment, "0+";
        is_classic: bool, "0+";
    }

    StreamsGroupDescribeEndpoint {
        host: String, "0+";
        port: u16, "0+";
    }

    StreamsGroupDescribeTaskOffset {
        subtopology_id: String, "0+";
        partition: i32, "0+";
        offset: i64, "0+";
    }

    StreamsGroupDescribeTopicPartitions {
        topic_id: Uuid, "0+";
        topic_name: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    StreamsGroupDescribeAssignment {
        active_tasks: Vec<StreamsGroupDescribeTaskIds>, "0+";
        standby_tasks: Vec<StreamsGroupDescribeTaskIds>, "0+";
        warmup_tasks: Vec<StreamsGroupDescribeTaskIds>, "0+";
    }

    StreamsGroupDescribeTaskIds {
        subtopology_id: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    StreamsGroupDescribeKeyValue {
        key: String, "0+";
        value: String, "0+";
    }

    StreamsGroupDescribeTopicInfo {
        name: String, "0+";
        partitions: i32, "0+";
        replication_factor: i16, "0+";
        topic_configs: Vec<StreamsGroupDescribeKeyValue>, "0+";
    }

    StreamsGroupDescribeTopologyDescription {
        subtopologies: Vec<StreamsGroupDescribeTopologyDescriptionSubtopology>, "1+";
        global_stores: Vec<StreamsGroupDescribeTopologyDescriptionGlobalStore>, "1+";
    }

    StreamsGroupDescribeTopologyDescriptionSubtopology {
        subtopology_id: String, "1+";
        nodes: Vec<StreamsGroupDescribeTopologyDescriptionNode>, "1+";
    }

    StreamsGroupDescribeTopologyDescriptionNode {
        name: String, "1+";
        node_type: i8, "1+";
        source_topics: Vec<String>, "1+";
        sink_topic: Option<String> = None, "1+", null "1+";
        stores: Vec<String>, "1+";
        successors: Vec<String>, "1+";
    }

    StreamsGroupDescribeTopologyDescriptionGlobalStore {
        source: StreamsGroupDescribeTopologyDescriptionNode, "1+";
        processor: StreamsGroupDescribeTopologyDescriptionNode, "1+";
    }

    /// `StreamsGroupTopologyDescriptionUpdateRequest`, API key 93.
    StreamsGroupTopologyDescriptionUpdateRequest "0", flexible "0+" {
        group_id: String, "0+";
        member_id: String, "0+";
        topology_epoch: i32, "0+";
        topology_description: TopologyDescription, "0+";
    }

    TopologyDescription {
        subtopologies: Vec<TopologyDescriptionSubtopology>, "0+";
        global_stores: Vec<TopologyDescriptionGlobalStore>, "0+";
    }

    TopologyDescriptionSubtopology {
        subtopology_id: String, "0+";
        nodes: Vec<TopologyDescriptionNode>, "0+";
    }

    TopologyDescriptionNode {
        name: String, "0+";
        node_type: i8, "0+";
        source_topics: Vec<String>, "0+";
        sink_topic: Option<String> = None, "0+", null "0+";
        stores: Vec<String>, "0+";
        successors: Vec<String>, "0+";
    }

    TopologyDescriptionGlobalStore {
        source: TopologyDescriptionNode, "0+";
        processor: TopologyDescriptionNode, "0+";
    }

    /// `StreamsGroupTopologyDescriptionUpdateResponse`, API key 93.
    StreamsGroupTopologyDescriptionUpdateResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
    }
}
