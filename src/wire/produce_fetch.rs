//! The messages that carry records, as plain values: for clients, tests and everything that is not in a hurry.
//! The broker reads and writes the hot ones by hand.

use bytes::Bytes;

use super::codec::{WireError, Writer};
use super::declare::{Version, messages};
use crate::types::{TopicId, Uuid};

messages! {
    /// `ProduceRequest`, API key 0.
    ProduceRequest "0-13", flexible "9+" {
        transactional_id: Option<String> = None, "3+", null "3+";
        acks: i16, "0+";
        timeout_ms: i32, "0+";
        topic_data: Vec<TopicProduceData>, "0+";
    }

    TopicProduceData {
        name: String, "0-12", ignorable;
        topic_id: Uuid, "13+", ignorable;
        partition_data: Vec<PartitionProduceData>, "0+";
    }

    PartitionProduceData {
        index: i32, "0+";
        records: Option<Bytes>, "0+", null "0+";
    }

    /// `ProduceResponse`, API key 0.
    ProduceResponse "0-13", flexible "9+" {
        responses: Vec<TopicProduceResponse>, "0+";
        throttle_time_ms: i32, "1+", ignorable;
        @0 node_endpoints: Vec<ProduceNodeEndpoint>, "10+";
    }

    TopicProduceResponse {
        name: String, "0-12", ignorable;
        topic_id: Uuid, "13+", ignorable;
        partition_responses: Vec<PartitionProduceResponse>, "0+";
    }

    PartitionProduceResponse {
        index: i32, "0+";
        error_code: i16, "0+";
        base_offset: i64, "0+";
        log_append_time_ms: i64 = -1, "2+", ignorable;
        log_start_offset: i64 = -1, "5+", ignorable;
        record_errors: Vec<BatchIndexAndErrorMessage>, "8+", ignorable;
        error_message: Option<String> = None, "8+", null "8+", ignorable;
        @0 current_leader: ProduceLeaderIdAndEpoch, "10+";
    }

    BatchIndexAndErrorMessage {
        batch_index: i32, "8+";
        batch_index_error_message: Option<String> = None, "8+", null "8+";
    }

    ProduceLeaderIdAndEpoch {
        leader_id: i32 = -1, "10+";
        leader_epoch: i32 = -1, "10+";
    }

    ProduceNodeEndpoint {
        node_id: i32, "10+";
        host: String, "10+";
        port: i32, "10+";
        rack: Option<String> = None, "10+", null "10+";
    }

    /// `FetchRequest`, API key 1.
    FetchRequest "4-18", flexible "12+" {
        replica_id: i32 = -1, "0-14";
        max_wait_ms: i32, "0+";
        min_bytes: i32, "0+";
        max_bytes: i32 = i32::MAX, "3+", ignorable;
        isolation_level: i8, "4+", ignorable;
        session_id: i32, "7+", ignorable;
        session_epoch: i32 = -1, "7+", ignorable;
        topics: Vec<FetchTopic>, "0+";
        forgotten_topics_data: Vec<ForgottenTopic>, "7+";
        rack_id: String, "11+", ignorable;
        @0 cluster_id: Option<String> = None, "12+", null "12+", ignorable;
        @1 replica_state: ReplicaState, "15+";
    }

    ReplicaState {
        replica_id: i32 = -1, "15+";
        replica_epoch: i64 = -1, "15+";
    }

    FetchTopic {
        topic: String, "0-12", ignorable;
        topic_id: Uuid, "13+", ignorable;
        partitions: Vec<FetchPartition>, "0+";
    }

    FetchPartition {
        partition: i32, "0+";
        current_leader_epoch: i32 = -1, "9+", ignorable;
        fetch_offset: i64, "0+";
        last_fetched_epoch: i32 = -1, "12+";
        log_start_offset: i64 = -1, "5+", ignorable;
        partition_max_bytes: i32, "0+";
        @0 replica_directory_id: Uuid, "17+", ignorable;
        @1 high_watermark: i64 = i64::MAX, "18+", ignorable;
    }

    ForgottenTopic {
        topic: String, "7-12", ignorable;
        topic_id: Uuid, "13+", ignorable;
        partitions: Vec<i32>, "7+";
    }

    /// `FetchResponse`, API key 1.
    FetchResponse "4-18", flexible "12+" {
        throttle_time_ms: i32, "1+", ignorable;
        error_code: i16, "7+", ignorable;
        session_id: i32, "7+";
        responses: Vec<FetchableTopicResponse>, "0+";
        @0 node_endpoints: Vec<FetchNodeEndpoint>, "16+";
    }

    FetchableTopicResponse {
        topic: String, "0-12", ignorable;
        topic_id: Uuid, "13+", ignorable;
        partitions: Vec<PartitionData>, "0+";
    }

    PartitionData {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        high_watermark: i64, "0+";
        last_stable_offset: i64 = -1, "4+", ignorable;
        log_start_offset: i64 = -1, "5+", ignorable;
        aborted_transactions: Option<Vec<AbortedTransaction>>, "4+", null "4+", ignorable;
        preferred_read_replica: i32 = -1, "11+";
        records: Option<Bytes>, "0+", null "0+";
        @0 diverging_epoch: EpochEndOffset, "12+";
        @1 current_leader: FetchLeaderIdAndEpoch, "12+";
        @2 snapshot_id: FetchSnapshotId, "12+";
    }

    EpochEndOffset {
        epoch: i32 = -1, "12+";
        end_offset: i64 = -1, "12+";
    }

    FetchLeaderIdAndEpoch {
        leader_id: i32 = -1, "12+";
        leader_epoch: i32 = -1, "12+";
    }

    FetchSnapshotId {
        end_offset: i64 = -1, "0+";
        epoch: i32 = -1, "0+";
    }

    AbortedTransaction {
        producer_id: i64, "4+";
        first_offset: i64, "4+";
    }

    FetchNodeEndpoint {
        node_id: i32, "16+";
        host: String, "16+";
        port: i32, "16+";
        rack: Option<String> = None, "16+", null "16+";
    }
}

/// How Produce and Fetch name a topic: by name in older versions, by id in newer ones (KIP-516).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRef<'a> {
    pub name: &'a str,
    pub id: TopicId,
}

impl TopicRef<'_> {
    /// Writes the one of the two that the version carries.
    pub(super) fn write(self, w: &mut Writer, version: Version, by_id_from: i16) -> Result<(), WireError> {
        if version.number >= by_id_from {
            w.uuid(self.id);
            return Ok(());
        }
        w.str(Some(self.name), version.flexible)
    }
}
