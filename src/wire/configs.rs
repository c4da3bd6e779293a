//! Configs, quotas and SCRAM credentials.

use bytes::Bytes;

use super::declare::messages;

messages! {
    /// `DescribeConfigsRequest`, API key 32.
    DescribeConfigsRequest "1-4", flexible "4+" {
        resources: Vec<DescribeConfigsResource>, "0+";
        include_synonyms: bool, "1+";
        include_documentation: bool, "3+";
    }

    DescribeConfigsResource {
        resource_type: i8, "0+";
        resource_name: String, "0+";
        configuration_keys: Option<Vec<String>>, "0+", null "0+";
    }

    /// `DescribeConfigsResponse`, API key 32.
    DescribeConfigsResponse "1-4", flexible "4+" {
        throttle_time_ms: i32, "0+";
        results: Vec<DescribeConfigsResult>, "0+";
    }

    DescribeConfigsResult {
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
        resource_type: i8, "0+";
        resource_name: String, "0+";
        configs: Vec<DescribeConfigsResourceResult>, "0+";
    }

    DescribeConfigsResourceResult {
        name: String, "0+";
        value: Option<String>, "0+", null "0+";
        read_only: bool, "0+";
        config_source: i8 = -1, "1+", ignorable;
        is_sensitive: bool, "0+";
        synonyms: Vec<DescribeConfigsSynonym>, "1+", ignorable;
        config_type: i8, "3+", ignorable;
        documentation: Option<String>, "3+", null "0+", ignorable;
    }

    DescribeConfigsSynonym {
        name: String, "1+";
        value: Option<String>, "1+", null "0+";
        source: i8, "1+";
    }

    /// `AlterConfigsRequest`, API key 33.
    AlterConfigsRequest "0-2", flexible "2+" {
        resources: Vec<AlterConfigsResource>, "0+";
        validate_only: bool, "0+";
    }

    AlterConfigsResource {
        resource_type: i8, "0+";
        resource_name: String, "0+";
        configs: Vec<AlterConfigsAlterableConfig>, "0+";
    }

    AlterConfigsAlterableConfig {
        name: String, "0+";
        value: Option<String>, "0+", null "0+";
    }

    /// `AlterConfigsResponse`, API key 33.
    AlterConfigsResponse "0-2", flexible "2+" {
        throttle_time_ms: i32, "0+";
        responses: Vec<AlterConfigsResourceResponse>, "0+";
    }

    AlterConfigsResourceResponse {
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
        resource_type: i8, "0+";
        resource_name: String, "0+";
    }

    /// `IncrementalAlterConfigsRequest`, API key 44.
    IncrementalAlterConfigsRequest "0-1", flexible "1+" {
        resources: Vec<IncrementalAlterConfigsResource>, "0+";
        validate_only: bool, "0+";
    }

    IncrementalAlterConfigsResource {
        resource_type: i8, "0+";
        resource_name: String, "0+";
        configs: Vec<IncrementalAlterConfigsAlterableConfig>, "0+";
    }

    IncrementalAlterConfigsAlterableConfig {
        name: String, "0+";
        config_operation: i8, "0+";
        value: Option<String>, "0+", null "0+";
    }

    /// `IncrementalAlterConfigsResponse`, API key 44.
    IncrementalAlterConfigsResponse "0-1", flexible "1+" {
        throttle_time_ms: i32, "0+";
        responses: Vec<IncrementalAlterConfigsResourceResponse>, "0+";
    }

    IncrementalAlterConfigsResourceResponse {
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
        resource_type: i8, "0+";
        resource_name: String, "0+";
    }

    /// `ListConfigResourcesRequest`, API key 74.
    ListConfigResourcesRequest "0-1", flexible "0+" {
        resource_types: Vec<i8>, "1+";
    }

    /// `ListConfigResourcesResponse`, API key 74.
    ListConfigResourcesResponse "0-1", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        config_resources: Vec<ConfigResource>, "0+";
    }

    ConfigResource {
        resource_name: String, "0+";
        resource_type: i8 = 16, "1+", ignorable;
    }

    /// `DescribeClientQuotasRequest`, API key 48.
    DescribeClientQuotasRequest "0-1", flexible "1+" {
        components: Vec<ComponentData>, "0+";
        strict: bool, "0+";
    }

    ComponentData {
        entity_type: String, "0+";
        match_type: i8, "0+";
        r#match: Option<String>, "0+", null "0+";
    }

    /// `DescribeClientQuotasResponse`, API key 48.
    DescribeClientQuotasResponse "0-1", flexible "1+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
        entries: Option<Vec<DescribeClientQuotasEntryData>>, "0+", null "0+";
    }

    DescribeClientQuotasEntryData {
        entity: Vec<DescribeClientQuotasEntityData>, "0+";
        values: Vec<ValueData>, "0+";
    }

    DescribeClientQuotasEntityData {
        entity_type: String, "0+";
        entity_name: Option<String>, "0+", null "0+";
    }

    ValueData {
        key: String, "0+";
        value: f64, "0+";
    }

    /// `AlterClientQuotasRequest`, API key 49.
    AlterClientQuotasRequest "0-1", flexible "1+" {
        entries: Vec<AlterClientQuotasRequestEntryData>, "0+";
        validate_only: bool, "0+";
    }

    AlterClientQuotasRequestEntryData {
        entity: Vec<AlterClientQuotasRequestEntityData>, "0+";
        ops: Vec<OpData>, "0+";
    }

    AlterClientQuotasRequestEntityData {
        entity_type: String, "0+";
        entity_name: Option<String>, "0+", null "0+";
    }

    OpData {
        key: String, "0+";
        value: f64, "0+";
        remove: bool, "0+";
    }

    /// `AlterClientQuotasResponse`, API key 49.
    AlterClientQuotasResponse "0-1", flexible "1+" {
        throttle_time_ms: i32, "0+";
        entries: Vec<AlterClientQuotasResponseEntryData>, "0+";
    }

    AlterClientQuotasResponseEntryData {
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
        entity: Vec<AlterClientQuotasResponseEntityData>, "0+";
    }

    AlterClientQuotasResponseEntityData {
        entity_type: String, "0+";
        entity_name: Option<String>, "0+", null "0+";
    }

    /// `DescribeUserScramCredentialsRequest`, API key 50.
    DescribeUserScramCredentialsRequest "0", flexible "0+" {
        users: Option<Vec<UserName>>, "0+", null "0+";
    }

    UserName {
        name: String, "0+";
    }

    /// `DescribeUserScramCredentialsResponse`, API key 50.
    DescribeUserScramCredentialsResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
        results: Vec<DescribeUserScramCredentialsResult>, "0+";
    }

    DescribeUserScramCredentialsResult {
        user: String, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
        credential_infos: Vec<CredentialInfo>, "0+";
    }

    CredentialInfo {
        mechanism: i8, "0+";
        iterations: i32, "0+";
    }

    /// `AlterUserScramCredentialsRequest`, API key 51.
    AlterUserScramCredentialsRequest "0", flexible "0+" {
        deletions: Vec<ScramCredentialDeletion>, "0+";
        upsertions: Vec<ScramCredentialUpsertion>, "0+";
    }

    ScramCredentialDeletion {
        name: String, "0+";
        mechanism: i8, "0+";
    }

    ScramCredentialUpsertion {
        name: String, "0+";
        mechanism: i8, "0+";
        iterations: i32, "0+";
        salt: Bytes, "0+";
        salted_password: Bytes, "0+";
    }

    /// `AlterUserScramCredentialsResponse`, API key 51.
    AlterUserScramCredentialsResponse "0", flexible "0+" {
        throttle_time_ms: i32, "0+";
        results: Vec<AlterUserScramCredentialsResult>, "0+";
    }

    AlterUserScramCredentialsResult {
        user: String, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
    }
}
