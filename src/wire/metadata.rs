//! Where things are: brokers, topics, partitions and their leaders, coordinators.

use super::declare::messages;
use crate::types::Uuid;

messages! {
    /// `MetadataRequest`, API key 3.
    MetadataRequest "0-13", flexible "9+" {
        topics: Option<Vec<MetadataRequestTopic>>, "0+", null "1+";
        allow_auto_topic_creation: bool = true, "4+";
        include_cluster_authorized_operations: bool, "8-10";
        include_topic_authorized_operations: bool, "8+";
    }

    MetadataRequestTopic {
        topic_id: Uuid, "10+", ignorable;
        name: Option<String>, "0+", null "10+";
    }

    /// `MetadataResponse`, API key 3.
    MetadataResponse "0-13", flexible "9+" {
        throttle_time_ms: i32, "3+", ignorable;
        brokers: Vec<MetadataResponseBroker>, "0+";
        cluster_id: Option<String> = None, "2+", null "2+", ignorable;
        controller_id: i32 = -1, "1+", ignorable;
        topics: Vec<MetadataResponseTopic>, "0+";
        cluster_authorized_operations: i32 = i32::MIN, "8-10";
        error_code: i16, "13+", ignorable;
    }

    MetadataResponseBroker {
        node_id: i32, "0+";
        host: String, "0+";
        port: i32, "0+";
        rack: Option<String> = None, "1+", null "1+", ignorable;
    }

    MetadataResponseTopic {
        error_code: i16, "0+";
        name: Option<String>, "0+", null "12+";
        topic_id: Uuid, "10+", ignorable;
        is_internal: bool, "1+", ignorable;
        partitions: Vec<MetadataResponsePartition>, "0+";
        topic_authorized_operations: i32 = i32::MIN, "8+";
    }

    MetadataResponsePartition {
        error_code: i16, "0+";
        partition_index: i32, "0+";
        leader_id: i32, "0+";
        leader_epoch: i32 = -1, "7+", ignorable;
        replica_nodes: Vec<i32>, "0+";
        isr_nodes: Vec<i32>, "0+";
        offline_replicas: Vec<i32>, "5+", ignorable;
    }

    /// `DescribeTopicPartitionsRequest`, API key 75.
    DescribeTopicPartitionsRequest "0", flexible "0+" {
        topics: Vec<DescribeTopicPartitionsTopicRequest>, "0+";
        response_partition_limit: i32 = 2000, "0+";
        cursor: Option<DescribeTopicPartitionsRequestCursor> = None, "0+", null "0+";
    }

    DescribeTopicPartitionsTopicRequest {
        name: String, "0+";
    }

    DescribeTopicPartitionsRequestCursor {
        topic_name: String, "0+";
        partition_index: i32, "0+";
    }

    /// `DescribeTopicPartitionsResponse`, API key 75.
    DescribeTopicPartitionsResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+", ignorable;
        topics: Vec<DescribeTopicPartitionsResponseTopic>, "0+";
        next_cursor: Option<DescribeTopicPartitionsResponseCursor> = None, "0+", null "0+";
    }

    DescribeTopicPartitionsResponseTopic {
        error_code: i16, "0+";
        name: Option<String>, "0+", null "0+";
        topic_id: Uuid, "0+", ignorable;
        is_internal: bool, "0+", ignorable;
        partitions: Vec<DescribeTopicPartitionsResponsePartition>, "0+";
        topic_authorized_operations: i32 = i32::MIN, "0+";
    }

    DescribeTopicPartitionsResponsePartition {
        error_code: i16, "0+";
        partition_index: i32, "0+";
        leader_id: i32, "0+";
        leader_epoch: i32 = -1, "0+", ignorable;
        replica_nodes: Vec<i32>, "0+";
        isr_nodes: Vec<i32>, "0+";
        eligible_leader_replicas: Option<Vec<i32>> = None, "0+", null "0+";
        last_known_elr: Option<Vec<i32>> = None, "0+", null "0+";
        offline_replicas: Vec<i32>, "0+", ignorable;
    }

    DescribeTopicPartitionsResponseCursor {
        topic_name: String, "0+";
        partition_index: i32, "0+";
    }

    /// `DescribeClusterRequest`, API key 60.
    DescribeClusterRequest "0-2", flexible "0+" {
        include_cluster_authorized_operations: bool, "0+";
        endpoint_type: i8 = 1, "1+";
        include_fenced_brokers: bool, "2+";
    }

    /// `DescribeClusterResponse`, API key 60.
    DescribeClusterResponse "0-2", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        endpoint_type: i8 = 1, "1+";
        cluster_id: String, "0+";
        controller_id: i32 = -1, "0+";
        brokers: Vec<DescribeClusterBroker>, "0+";
        cluster_authorized_operations: i32 = i32::MIN, "0+";
    }

    DescribeClusterBroker {
        broker_id: i32, "0+";
        host: String, "0+";
        port: i32, "0+";
        rack: Option<String> = None, "0+", null "0+";
        is_fenced: bool, "2+";
    }

    /// `FindCoordinatorRequest`, API key 10.
    FindCoordinatorRequest "0-6", flexible "3+" {
        key: String, "0-3";
        key_type: i8, "1+";
        coordinator_keys: Vec<String>, "4+";
    }

    /// `FindCoordinatorResponse`, API key 10.
    FindCoordinatorResponse "0-6", flexible "3+" {
        throttle_time_ms: i32, "1+", ignorable;
        error_code: i16, "0-3";
        error_message: Option<String>, "1-3", null "1-3", ignorable;
        node_id: i32, "0-3";
        host: String, "0-3";
        port: i32, "0-3";
        coordinators: Vec<Coordinator>, "4+";
    }

    Coordinator {
        key: String, "4+";
        node_id: i32, "4+";
        host: String, "4+";
        port: i32, "4+";
        error_code: i16, "4+";
        error_message: Option<String>, "4+", null "4+", ignorable;
    }
}
