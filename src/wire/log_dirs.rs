//! Folders that hold logs, and which replica is in which.

use super::declare::messages;
use crate::types::Uuid;

messages! {
    /// `DescribeLogDirsRequest`, API key 35.
    DescribeLogDirsRequest "1-5", flexible "2+" {
        topics: Option<Vec<DescribableLogDirTopic>>, "0+", null "0+";
    }

    DescribableLogDirTopic {
        topic: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// `DescribeLogDirsResponse`, API key 35.
    DescribeLogDirsResponse "1-5", flexible "2+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "3+", ignorable;
        results: Vec<DescribeLogDirsResult>, "0+";
    }

    DescribeLogDirsResult {
        error_code: i16, "0+";
        log_dir: String, "0+";
        topics: Vec<DescribeLogDirsTopic>, "0+";
        total_bytes: i64 = -1, "4+", ignorable;
        usable_bytes: i64 = -1, "4+", ignorable;
        is_cordoned: bool, "5+", ignorable;
    }

    DescribeLogDirsTopic {
        name: String, "0+";
        partitions: Vec<DescribeLogDirsPartition>, "0+";
    }

    DescribeLogDirsPartition {
        partition_index: i32, "0+";
        partition_size: i64, "0+";
        offset_lag: i64, "0+";
        is_future_key: bool, "0+";
    }

    /// `AlterReplicaLogDirsRequest`, API key 34.
    AlterReplicaLogDirsRequest "1-2", flexible "2+" {
        dirs: Vec<AlterReplicaLogDir>, "0+";
    }

    AlterReplicaLogDir {
        path: String, "0+";
        topics: Vec<AlterReplicaLogDirTopic>, "0+";
    }

    AlterReplicaLogDirTopic {
        name: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// `AlterReplicaLogDirsResponse`, API key 34.
    AlterReplicaLogDirsResponse "1-2", flexible "2+" {
        throttle_time_ms: i32, "0+";
        results: Vec<AlterReplicaLogDirTopicResult>, "0+";
    }

    AlterReplicaLogDirTopicResult {
        topic_name: String, "0+";
        partitions: Vec<AlterReplicaLogDirPartitionResult>, "0+";
    }

    AlterReplicaLogDirPartitionResult {
        partition_index: i32, "0+";
        error_code: i16, "0+";
    }

    /// `AssignReplicasToDirsRequest`, API key 73.
    AssignReplicasToDirsRequest "0", flexible "0+" {
        broker_id: i32, "0+";
        broker_epoch: i64 = -1, "0+";
        directories: Vec<AssignReplicasToDirsRequestDirectoryData>, "0+";
    }

    AssignReplicasToDirsRequestDirectoryData {
        id: Uuid, "0+";
        topics: Vec<AssignReplicasToDirsRequestTopicData>, "0+";
    }

    AssignReplicasToDirsRequestTopicData {
        topic_id: Uuid, "0+";
        partitions: Vec<AssignReplicasToDirsRequestPartitionData>, "0+";
    }

    AssignReplicasToDirsRequestPartitionData {
        partition_index: i32, "0+";
    }

    /// `AssignReplicasToDirsResponse`, API key 73.
    AssignReplicasToDirsResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        directories: Vec<AssignReplicasToDirsResponseDirectoryData>, "0+";
    }

    AssignReplicasToDirsResponseDirectoryData {
        id: Uuid, "0+";
        topics: Vec<AssignReplicasToDirsResponseTopicData>, "0+";
    }

    AssignReplicasToDirsResponseTopicData {
        topic_id: Uuid, "0+";
        partitions: Vec<AssignReplicasToDirsResponsePartitionData>, "0+";
    }

    AssignReplicasToDirsResponsePartitionData {
        partition_index: i32, "0+";
        error_code: i16, "0+";
    }
}
