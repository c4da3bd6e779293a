//! Between brokers and controllers: registration, heartbeats, in-sync sets, features.

use bytes::Bytes;

use super::declare::messages;
use crate::types::Uuid;

messages! {
    /// `BrokerRegistrationRequest`, API key 62.
    BrokerRegistrationRequest "0-4", flexible "0+" {
        broker_id: i32, "0+";
        cluster_id: String, "0+";
        incarnation_id: Uuid, "0+";
        listeners: Vec<BrokerRegistrationListener>, "0+";
        features: Vec<BrokerRegistrationFeature>, "0+";
        rack: Option<String>, "0+", null "0+";
        is_migrating_zk_broker: bool, "1+";
        log_dirs: Vec<Uuid>, "2+", ignorable;
        previous_broker_epoch: i64 = -1, "3+", ignorable;
    }

    BrokerRegistrationListener {
        name: String, "0+";
        host: String, "0+";
        port: u16, "0+";
        security_protocol: i16, "0+";
    }

    BrokerRegistrationFeature {
        name: String, "0+";
        min_supported_version: i16, "0+";
        max_supported_version: i16, "0+";
    }

    /// `BrokerRegistrationResponse`, API key 62.
    BrokerRegistrationResponse "0-4", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        broker_epoch: i64 = -1, "0+";
    }

    /// `BrokerHeartbeatRequest`, API key 63.
    BrokerHeartbeatRequest "0-2", flexible "0+" {
        broker_id: i32, "0+";
        broker_epoch: i64 = -1, "0+";
        current_metadata_offset: i64, "0+";
        want_fence: bool, "0+";
        want_shut_down: bool, "0+";
        @0 offline_log_dirs: Vec<Uuid>, "1+";
        @1 cordoned_log_dirs: Option<Vec<Uuid>> = None, "2+", null "2+";
    }

    /// `BrokerHeartbeatResponse`, API key 63.
    BrokerHeartbeatResponse "0-2", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        is_caught_up: bool, "0+";
        is_fenced: bool = true, "0+";
        should_shut_down: bool, "0+";
    }

    /// `ControllerRegistrationRequest`, API key 70.
    ControllerRegistrationRequest "0", flexible "0+" {
        controller_id: i32, "0+";
        incarnation_id: Uuid, "0+";
        zk_migration_ready: bool, "0+";
        listeners: Vec<ControllerRegistrationListener>, "0+";
        features: Vec<ControllerRegistrationFeature>, "0+";
    }

    ControllerRegistrationListener {
        name: String, "0+";
        host: String, "0+";
        port: u16, "0+";
        security_protocol: i16, "0+";
    }

    ControllerRegistrationFeature {
        name: String, "0+";
        min_supported_version: i16, "0+";
        max_supported_version: i16, "0+";
    }

    /// `ControllerRegistrationResponse`, API key 70.
    ControllerRegistrationResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
    }

    /// `UnregisterBrokerRequest`, API key 64.
    UnregisterBrokerRequest "0", flexible "0+" {
        broker_id: i32, "0+";
    }

    /// `UnregisterBrokerResponse`, API key 64.
    UnregisterBrokerResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
    }

    /// `UpdateFeaturesRequest`, API key 57.
    UpdateFeaturesRequest "0-2", flexible "0+" {
        timeout_ms: i32 = 60000, "0+";
        feature_updates: Vec<FeatureUpdateKey>, "0+";
        validate_only: bool, "1+";
    }

    FeatureUpdateKey {
        feature: String, "0+";
        max_version_level: i16, "0+";
        allow_downgrade: bool, "0";
        upgrade_type: i8 = 1, "1+";
    }

    /// `UpdateFeaturesResponse`, API key 57.
    UpdateFeaturesResponse "0-2", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
        results: Vec<UpdatableFeatureResult>, "0-1", ignorable;
    }

    UpdatableFeatureResult {
        feature: String, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
    }

    /// `AlterPartitionRequest`, API key 56.
    AlterPartitionRequest "2-3", flexible "0+" {
        broker_id: i32, "0+";
        broker_epoch: i64 = -1, "0+";
        topics: Vec<AlterPartitionRequestTopicData>, "0+";
    }

    AlterPartitionRequestTopicData {
        topic_id: Uuid, "2+", ignorable;
        partitions: Vec<AlterPartitionRequestPartitionData>, "0+";
    }

    AlterPartitionRequestPartitionData {
        partition_index: i32, "0+";
        leader_epoch: i32, "0+";
        new_isr: Vec<i32>, "0-2";
        new_isr_with_epochs: Vec<BrokerState>, "3+";
        leader_recovery_state: i8, "1+";
        partition_epoch: i32, "0+";
    }

    BrokerState {
        broker_id: i32, "3+";
        broker_epoch: i64 = -1, "3+";
    }

    /// `AlterPartitionResponse`, API key 56.
    AlterPartitionResponse "2-3", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        topics: Vec<AlterPartitionResponseTopicData>, "0+";
    }

    AlterPartitionResponseTopicData {
        topic_id: Uuid, "2+", ignorable;
        partitions: Vec<AlterPartitionResponsePartitionData>, "0+";
    }

    AlterPartitionResponsePartitionData {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        leader_id: i32, "0+";
        leader_epoch: i32, "0+";
        isr: Vec<i32>, "0+";
        leader_recovery_state: i8, "1+", ignorable;
        partition_epoch: i32, "0+";
    }

    /// `EnvelopeRequest`, API key 58.
    EnvelopeRequest "0", flexible "0+" {
        request_data: Bytes, "0+";
        request_principal: Option<Bytes>, "0+", null "0+";
        client_host_address: Bytes, "0+";
    }

    /// `EnvelopeResponse`, API key 58.
    EnvelopeResponse "0", flexible "0+" {
        response_data: Option<Bytes> = None, "0+", null "0+";
        error_code: i16, "0+";
    }
}
