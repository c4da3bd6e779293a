//! Offsets by time and by leader epoch, and deletion up to an offset.

use super::declare::messages;

messages! {
    /// `ListOffsetsRequest`, API key 2.
    ListOffsetsRequest "1-11", flexible "6+" {
        replica_id: i32, "0+";
        isolation_level: i8, "2+";
        topics: Vec<ListOffsetsTopic>, "0+";
        timeout_ms: i32, "10+", ignorable;
    }

    ListOffsetsTopic {
        name: String, "0+";
        partitions: Vec<ListOffsetsPartition>, "0+";
    }

    ListOffsetsPartition {
        partition_index: i32, "0+";
        current_leader_epoch: i32 = -1, "4+", ignorable;
        timestamp: i64, "0+";
    }

    /// `ListOffsetsResponse`, API key 2.
    ListOffsetsResponse "1-11", flexible "6+" {
        throttle_time_ms: i32, "2+", ignorable;
        topics: Vec<ListOffsetsTopicResponse>, "0+";
    }

    ListOffsetsTopicResponse {
        name: String, "0+";
        partitions: Vec<ListOffsetsPartitionResponse>, "0+";
    }

    ListOffsetsPartitionResponse {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        timestamp: i64 = -1, "1+";
        offset: i64 = -1, "1+";
        leader_epoch: i32 = -1, "4+";
    }

    /// `OffsetForLeaderEpochRequest`, API key 23.
    OffsetForLeaderEpochRequest "2-4", flexible "4+" {
        replica_id: i32 = -2, "3+", ignorable;
        topics: Vec<OffsetForLeaderTopic>, "0+";
    }

    OffsetForLeaderTopic {
        topic: String, "0+";
        partitions: Vec<OffsetForLeaderPartition>, "0+";
    }

    OffsetForLeaderPartition {
        partition: i32, "0+";
        current_leader_epoch: i32 = -1, "2+", ignorable;
        leader_epoch: i32, "0+";
    }

    /// `OffsetForLeaderEpochResponse`, API key 23.
    OffsetForLeaderEpochResponse "2-4", flexible "4+" {
        throttle_time_ms: i32, "2+", ignorable;
        topics: Vec<OffsetForLeaderTopicResult>, "0+";
    }

    OffsetForLeaderTopicResult {
        topic: String, "0+";
        partitions: Vec<OffsetForLeaderEpochEndOffset>, "0+";
    }

    OffsetForLeaderEpochEndOffset {
        error_code: i16, "0+";
        partition: i32, "0+";
        leader_epoch: i32 = -1, "1+", ignorable;
        end_offset: i64 = -1, "0+";
    }

    /// `DeleteRecordsRequest`, API key 21.
    DeleteRecordsRequest "0-2", flexible "2+" {
        topics: Vec<DeleteRecordsTopic>, "0+";
        timeout_ms: i32, "0+";
    }

    DeleteRecordsTopic {
        name: String, "0+";
        partitions: Vec<DeleteRecordsPartition>, "0+";
    }

    DeleteRecordsPartition {
        partition_index: i32, "0+";
        offset: i64, "0+";
    }

    /// `DeleteRecordsResponse`, API key 21.
    DeleteRecordsResponse "0-2", flexible "2+" {
        throttle_time_ms: i32, "0+";
        topics: Vec<DeleteRecordsTopicResult>, "0+";
    }

    DeleteRecordsTopicResult {
        name: String, "0+";
        partitions: Vec<DeleteRecordsPartitionResult>, "0+";
    }

    DeleteRecordsPartitionResult {
        partition_index: i32, "0+";
        low_watermark: i64, "0+";
        error_code: i16, "0+";
    }
}
