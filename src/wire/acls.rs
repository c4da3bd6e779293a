//! Access control lists and delegation tokens.

use bytes::Bytes;

use super::declare::messages;

messages! {
    /// `DescribeAclsRequest`, API key 29.
    DescribeAclsRequest "1-3", flexible "2+" {
        resource_type_filter: i8, "0+";
        resource_name_filter: Option<String>, "0+", null "0+";
        pattern_type_filter: i8 = 3, "1+";
        principal_filter: Option<String>, "0+", null "0+";
        host_filter: Option<String>, "0+", null "0+";
        operation: i8, "0+";
        permission_type: i8, "0+";
    }

    /// `DescribeAclsResponse`, API key 29.
    DescribeAclsResponse "1-3", flexible "2+" {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
        resources: Vec<DescribeAclsResource>, "0+";
    }

    DescribeAclsResource {
        resource_type: i8, "0+";
        resource_name: String, "0+";
        pattern_type: i8 = 3, "1+";
        acls: Vec<AclDescription>, "0+";
    }

    AclDescription {
        principal: String, "0+";
        host: String, "0+";
        operation: i8, "0+";
        permission_type: i8, "0+";
    }

    /// `CreateAclsRequest`, API key 30.
    CreateAclsRequest "1-3", flexible "2+" {
        creations: Vec<AclCreation>, "0+";
    }

    AclCreation {
        resource_type: i8, "0+";
        resource_name: String, "0+";
        resource_pattern_type: i8 = 3, "1+";
        principal: String, "0+";
        host: String, "0+";
        operation: i8, "0+";
        permission_type: i8, "0+";
    }

    /// `CreateAclsResponse`, API key 30.
    CreateAclsResponse "1-3", flexible "2+" {
        throttle_time_ms: i32, "0+";
        results: Vec<AclCreationResult>, "0+";
    }

    AclCreationResult {
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
    }

    /// `DeleteAclsRequest`, API key 31.
    DeleteAclsRequest "1-3", flexible "2+" {
        filters: Vec<DeleteAclsFilter>, "0+";
    }

    DeleteAclsFilter {
        resource_type_filter: i8, "0+";
        resource_name_filter: Option<String>, "0+", null "0+";
        pattern_type_filter: i8 = 3, "1+";
        principal_filter: Option<String>, "0+", null "0+";
        host_filter: Option<String>, "0+", null "0+";
        operation: i8, "0+";
        permission_type: i8, "0+";
    }

    /// `DeleteAclsResponse`, API key 31.
    DeleteAclsResponse "1-3", flexible "2+" {
        throttle_time_ms: i32, "0+";
        filter_results: Vec<DeleteAclsFilterResult>, "0+";
    }

    DeleteAclsFilterResult {
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
        matching_acls: Vec<DeleteAclsMatchingAcl>, "0+";
    }

    DeleteAclsMatchingAcl {
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null "0+";
        resource_type: i8, "0+";
        resource_name: String, "0+";
        pattern_type: i8 = 3, "1+";
        principal: String, "0+";
        host: String, "0+";
        operation: i8, "0+";
        permission_type: i8, "0+";
    }

    /// `CreateDelegationTokenRequest`, API key 38.
    CreateDelegationTokenRequest "1-3", flexible "2+" {
        owner_principal_type: Option<String>, "3+", null "3+";
        owner_principal_name: Option<String>, "3+", null "3+";
        renewers: Vec<CreatableRenewers>, "0+";
        max_lifetime_ms: i64, "0+";
    }

    CreatableRenewers {
        principal_type: String, "0+";
        principal_name: String, "0+";
    }

    /// `CreateDelegationTokenResponse`, API key 38.
    CreateDelegationTokenResponse "1-3", flexible "2+" {
        error_code: i16, "0+";
        principal_type: String, "0+";
        principal_name: String, "0+";
        token_requester_principal_type: String, "3+";
        token_requester_principal_name: String, "3+";
        issue_timestamp_ms: i64, "0+";
        expiry_timestamp_ms: i64, "0+";
        max_timestamp_ms: i64, "0+";
        token_id: String, "0+";
        hmac: Bytes, "0+";
        throttle_time_ms: i32, "0+";
    }

    /// `RenewDelegationTokenRequest`, API key 39.
    RenewDelegationTokenRequest "1-2", flexible "2+" {
        hmac: Bytes, "0+";
        renew_period_ms: i64, "0+";
    }

    /// `RenewDelegationTokenResponse`, API key 39.
    RenewDelegationTokenResponse "1-2", flexible "2+" {
        error_code: i16, "0+";
        expiry_timestamp_ms: i64, "0+";
        throttle_time_ms: i32, "0+";
    }

    /// `ExpireDelegationTokenRequest`, API key 40.
    ExpireDelegationTokenRequest "1-2", flexible "2+" {
        hmac: Bytes, "0+";
        expiry_time_period_ms: i64, "0+";
    }

    /// `ExpireDelegationTokenResponse`, API key 40.
    ExpireDelegationTokenResponse "1-2", flexible "2+" {
        error_code: i16, "0+";
        expiry_timestamp_ms: i64, "0+";
        throttle_time_ms: i32, "0+";
    }

    /// `DescribeDelegationTokenRequest`, API key 41.
    DescribeDelegationTokenRequest "1-3", flexible "2+" {
        owners: Option<Vec<DescribeDelegationTokenOwner>>, "0+", null "0+";
    }

    DescribeDelegationTokenOwner {
        principal_type: String, "0+";
        principal_name: String, "0+";
    }

    /// `DescribeDelegationTokenResponse`, API key 41.
    DescribeDelegationTokenResponse "1-3", flexible "2+" {
        error_code: i16, "0+";
        tokens: Vec<DescribedDelegationToken>, "0+";
        throttle_time_ms: i32, "0+";
    }

    DescribedDelegationToken {
        principal_type: String, "0+";
        principal_name: String, "0+";
        token_requester_principal_type: String, "3+";
        token_requester_principal_name: String, "3+";
        issue_timestamp: i64, "0+";
        expiry_timestamp: i64, "0+";
        max_timestamp: i64, "0+";
        token_id: String, "0+";
        hmac: Bytes, "0+";
        renewers: Vec<DescribedDelegationTokenRenewer>, "0+";
    }

    DescribedDelegationTokenRenewer {
        principal_type: String, "0+";
        principal_name: String, "0+";
    }
}
