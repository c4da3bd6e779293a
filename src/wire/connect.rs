//! What a client says before anything else: versions, authentication, telemetry.

use bytes::Bytes;

use super::declare::messages;
use crate::types::Uuid;

messages! {
    /// `ApiVersionsRequest`, API key 18.
    ApiVersionsRequest "0-5", flexible "3+" {
        client_software_name: String, "3+", ignorable;
        client_software_version: String, "3+", ignorable;
        cluster_id: Option<String> = None, "5+", null "5+", ignorable;
        node_id: i32 = -1, "5+", ignorable;
    }

    /// `ApiVersionsResponse`, API key 18.
    ApiVersionsResponse "0-5", flexible "3+" {
        error_code: i16, "0+";
        api_keys: Vec<ApiVersion>, "0+";
        throttle_time_ms: i32, "1+", ignorable;
        @0 supported_features: Vec<SupportedFeatureKey>, "3+", ignorable;
        @1 finalized_features_epoch: i64 = -1, "3+", ignorable;
        @2 finalized_features: Vec<FinalizedFeatureKey>, "3+", ignorable;
        @3 zk_migration_ready: bool, "3+", ignorable;
    }

    ApiVersion {
        api_key: i16, "0+";
        min_version: i16, "0+";
        max_version: i16, "0+";
    }

    SupportedFeatureKey {
        name: String, "3+";
        min_version: i16, "3+";
        max_version: i16, "3+";
    }

    FinalizedFeatureKey {
        name: String, "3+";
        max_version_level: i16, "3+";
        min_version_level: i16, "3+";
    }

    /// `SaslHandshakeRequest`, API key 17.
    SaslHandshakeRequest "0-1", flexible "none" {
        mechanism: String, "0+";
    }

    /// `SaslHandshakeResponse`, API key 17.
    SaslHandshakeResponse "0-1", flexible "none" {
        error_code: i16, "0+";
        mechanisms: Vec<String>, "0+";
    }

    /// `SaslAuthenticateRequest`, API key 36.
    SaslAuthenticateRequest "0-2", flexible "2+" {
        auth_bytes: Bytes, "0+";
    }

    /// `SaslAuthenticateResponse`, API key 36.
    SaslAuthenticateResponse "0-2", flexible "2+" {
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
        auth_bytes: Bytes, "0+";
        session_lifetime_ms: i64, "1+", ignorable;
    }

    /// `GetTelemetrySubscriptionsRequest`, API key 71.
    GetTelemetrySubscriptionsRequest "0", flexible "0+" {
        client_instance_id: Uuid, "0+";
    }

    /// `GetTelemetrySubscriptionsResponse`, API key 71.
    GetTelemetrySubscriptionsResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        client_instance_id: Uuid, "0+";
        subscription_id: i32, "0+";
        accepted_compression_types: Vec<i8>, "0+";
        push_interval_ms: i32, "0+";
        telemetry_max_bytes: i32, "0+";
        delta_temporality: bool, "0+";
        requested_metrics: Vec<String>, "0+";
    }

    /// `PushTelemetryRequest`, API key 72.
    PushTelemetryRequest "0", flexible "0+" {
        client_instance_id: Uuid, "0+";
        subscription_id: i32, "0+";
        terminating: bool, "0+";
        compression_type: i8, "0+";
        metrics: Bytes, "0+";
    }

    /// `PushTelemetryResponse`, API key 72.
    PushTelemetryResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
    }
}
