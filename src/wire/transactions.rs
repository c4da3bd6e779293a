//! Producer ids and transactions.

use super::declare::messages;
use crate::types::Uuid;

messages! {
    /// `InitProducerIdRequest`, API key 22.
    InitProducerIdRequest "0-6", flexible "2+" {
        transactional_id: Option<String>, "0+", null "0+";
        transaction_timeout_ms: i32, "0+";
        producer_id: i64 = -1, "3+";
        producer_epoch: i16 = -1, "3+";
        enable2_pc: bool, "6+";
        keep_prepared_txn: bool, "6+";
    }

    /// `InitProducerIdResponse`, API key 22.
    InitProducerIdResponse "0-6", flexible "2+" {
        throttle_time_ms: i32, "0+", ignorable;
        error_code: i16, "0+";
        producer_id: i64 = -1, "0+";
        producer_epoch: i16, "0+";
        ongoing_txn_producer_id: i64 = -1, "6+";
        ongoing_txn_producer_epoch: i16 = -1, "6+";
    }

    /// `AddPartitionsToTxnRequest`, API key 24.
    AddPartitionsToTxnRequest "0-5", flexible "3+" {
        transactions: Vec<AddPartitionsToTxnTransaction>, "4+";
        v3_and_below_transactional_id: String, "0-3";
        v3_and_below_producer_id: i64, "0-3";
        v3_and_below_producer_epoch: i16, "0-3";
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic>, "0-3";
    }

    AddPartitionsToTxnTransaction {
        transactional_id: String, "4+";
        producer_id: i64, "4+";
        producer_epoch: i16, "4+";
        verify_only: bool, "4+";
        topics: Vec<AddPartitionsToTxnTopic>, "4+";
    }

    AddPartitionsToTxnTopic {
        name: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// `AddPartitionsToTxnResponse`, API key 24.
    AddPartitionsToTxnResponse "0-5", flexible "3+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "4+", ignorable;
        results_by_transaction: Vec<AddPartitionsToTxnResult>, "4+";
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult>, "0-3";
    }

    AddPartitionsToTxnResult {
        transactional_id: String, "4+";
        topic_results: Vec<AddPartitionsToTxnTopicResult>, "4+";
    }

    AddPartitionsToTxnTopicResult {
        name: String, "0+";
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult>, "0+";
    }

    AddPartitionsToTxnPartitionResult {
        partition_index: i32, "0+";
        partition_error_code: i16, "0+";
    }

    /// `AddOffsetsToTxnRequest`, API key 25.
    AddOffsetsToTxnRequest "0-4", flexible "3+" {
        transactional_id: String, "0+";
        producer_id: i64, "0+";
        producer_epoch: i16, "0+";
        group_id: String, "0+";
    }

    /// `AddOffsetsToTxnResponse`, API key 25.
    AddOffsetsToTxnResponse "0-4", flexible "3+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
    }

    /// `EndTxnRequest`, API key 26.
    EndTxnRequest "0-5", flexible "3+" {
        transactional_id: String, "0+";
        producer_id: i64, "0+";
        producer_epoch: i16, "0+";
        committed: bool, "0+";
    }

    /// `EndTxnResponse`, API key 26.
    EndTxnResponse "0-5", flexible "3+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        producer_id: i64 = -1, "5+", ignorable;
        producer_epoch: i16 = -1, "5+", ignorable;
    }

    /// `WriteTxnMarkersRequest`, API key 27.
    WriteTxnMarkersRequest "1-2", flexible "1+" {
        markers: Vec<WritableTxnMarker>, "0+";
    }

    WritableTxnMarker {
        producer_id: i64, "0+";
        producer_epoch: i16, "0+";
        transaction_result: bool, "0+";
        topics: Vec<WritableTxnMarkerTopic>, "0+";
        coordinator_epoch: i32, "0+";
        transaction_version: i8, "2+", ignorable;
    }

    WritableTxnMarkerTopic {
        name: String, "0+";
        partition_indexes: Vec<i32>, "0+";
    }

    /// `WriteTxnMarkersResponse`, API key 27.
    WriteTxnMarkersResponse "1-2", flexible "1+" {
        markers: Vec<WritableTxnMarkerResult>, "0+";
    }

    WritableTxnMarkerResult {
        producer_id: i64, "0+";
        topics: Vec<WritableTxnMarkerTopicResult>, "0+";
    }

    WritableTxnMarkerTopicResult {
        name: String, "0+";
        partitions: Vec<WritableTxnMarkerPartitionResult>, "0+";
    }

    WritableTxnMarkerPartitionResult {
        partition_index: i32, "0+";
        error_code: i16, "0+";
    }

    /// `TxnOffsetCommitRequest`, API key 28.
    TxnOffsetCommitRequest "0-6", flexible "3+" {
        transactional_id: String, "0+";
        group_id: String, "0+";
        producer_id: i64, "0+";
        producer_epoch: i16, "0+";
        generation_id_or_member_epoch: i32 = -1, "3+";
        member_id: String, "3+";
        group_instance_id: Option<String> = None, "3+", null "3+";
        topics: Vec<TxnOffsetCommitRequestTopic>, "0+";
    }

    TxnOffsetCommitRequestTopic {
        name: String, "0-5", ignorable;
        topic_id: Uuid, "6+", ignorable;
        partitions: Vec<TxnOffsetCommitRequestPartition>, "0+";
    }

    TxnOffsetCommitRequestPartition {
        partition_index: i32, "0+";
        committed_offset: i64, "0+";
        committed_leader_epoch: i32 = -1, "2+", ignorable;
        committed_metadata: Option<String>, "0+", null "0+";
    }

    /// `TxnOffsetCommitResponse`, API key 28.
    TxnOffsetCommitResponse "0-6", flexible "3+" {
        throttle_time_ms: i32, "0+";
        topics: Vec<TxnOffsetCommitResponseTopic>, "0+";
    }

    TxnOffsetCommitResponseTopic {
        name: String, "0-5", ignorable;
        topic_id: Uuid, "6+", ignorable;
        partitions: Vec<TxnOffsetCommitResponsePartition>, "0+";
    }

    TxnOffsetCommitResponsePartition {
        partition_index: i32, "0+";
        error_code: i16, "0+";
    }

    /// `DescribeProducersRequest`, API key 61.
    DescribeProducersRequest "0", flexible "0+" {
        topics: Vec<DescribeProducersTopicRequest>, "0+";
    }

    DescribeProducersTopicRequest {
        name: String, "0+";
        partition_indexes: Vec<i32>, "0+";
    }

    /// `DescribeProducersResponse`, API key 61.
    DescribeProducersResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        topics: Vec<TopicResponse>, "0+";
    }

    TopicResponse {
        name: String, "0+";
        partitions: Vec<PartitionResponse>, "0+";
    }

    PartitionResponse {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null "0+";
        active_producers: Vec<ProducerState>, "0+";
    }

    ProducerState {
        producer_id: i64, "0+";
        producer_epoch: i32, "0+";
        last_sequence: i32 = -1, "0+";
        last_timestamp: i64 = -1, "0+";
        coordinator_epoch: i32, "0+";
        current_txn_start_offset: i64 = -1, "0+";
    }

    /// `DescribeTransactionsRequest`, API key 65.
    DescribeTransactionsRequest "0", flexible "0+" {
        transactional_ids: Vec<String>, "0+";
    }

    /// `DescribeTransactionsResponse`, API key 65.
    DescribeTransactionsResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        transaction_states: Vec<DescribeTransactionsTransactionState>, "0+";
    }

    DescribeTransactionsTransactionState {
        error_code: i16, "0+";
        transactional_id: String, "0+";
        transaction_state: String, "0+";
        transaction_timeout_ms: i32, "0+";
        transaction_start_time_ms: i64, "0+";
        producer_id: i64, "0+";
        producer_epoch: i16, "0+";
        topics: Vec<DescribeTransactionsTopicData>, "0+";
    }

    DescribeTransactionsTopicData {
        topic: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// `ListTransactionsRequest`, API key 66.
    ListTransactionsRequest "0-2", flexible "0+" {
        state_filters: Vec<String>, "0+";
        producer_id_filters: Vec<i64>, "0+";
        duration_filter: i64 = -1, "1+";
        transactional_id_pattern: Option<String> = None, "2+", null "2+";
    }

    /// `ListTransactionsResponse`, API key 66.
    ListTransactionsResponse "0-2", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        unknown_state_filters: Vec<String>, "0+";
        transaction_states: Vec<ListTransactionsTransactionState>, "0+";
    }

    ListTransactionsTransactionState {
        transactional_id: String, "0+";
        producer_id: i64, "0+";
        transaction_state: String, "0+";
    }

    /// `AllocateProducerIdsRequest`, API key 67.
    AllocateProducerIdsRequest "0", flexible "0+" {
        broker_id: i32, "0+";
        broker_epoch: i64 = -1, "0+";
    }

    /// `AllocateProducerIdsResponse`, API key 67.
    AllocateProducerIdsResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        producer_id_start: i64, "0+";
        producer_id_len: i32, "0+";
    }
}
