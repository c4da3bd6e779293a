//! Configurations: altered one key at a time or all at once. Codes and texts are those of Kafka 4.4 (`ConfigAdminManager`,
//! `ConfigurationControlManager`).
//!
//! A value is checked before it becomes a record, together with everything else that is set on its resource. What we keep
//! but could not act on (client metrics, groups, log levels) is refused.

use std::collections::BTreeSet;

use crate::config::{BrokerConfig, ConfigError, Kind, Overrides, Scope, TopicConfig, check_cleanup_policy, setting};
use crate::error::ErrorCode;
use crate::types::Excerpt;
use crate::types::NodeId;
use crate::wire::configs::*;
use crate::wire::metadata_records::{ConfigRecord, MetadataRecord};

use super::decide::{ApiError, Controller, Decision};
use super::image::{ConfigResource, Image, ResourceKind};
use super::names;

/// A record's string has a length of 15 bits in the protocol's older versions.
const VALUE_BYTES_MAX: usize = i16::MAX as usize;

const MIN_ISR: &str = "min.insync.replicas";
const ELR_FEATURE: &str = "eligible.leader.replicas.version";

/// `AlterConfigOp.OpType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    fn from_code(code: i8) -> Result<Operation, ApiError> {
        match code {
            0 => Ok(Operation::Set),
            1 => Ok(Operation::Delete),
            2 => Ok(Operation::Append),
            3 => Ok(Operation::Subtract),
            other => Err(invalid_request(format!("Unknown operations type {other}"))),
        }
    }
}

/// What a request wants with one resource; the same for both requests.
struct Wanted<'a> {
    kind: i8,
    name: &'a str,
    changes: Vec<(&'a str, Operation, Option<&'a str>)>,
    /// What is set now and not named by the request is removed (the old AlterConfigs).
    replaces: bool,
}

impl Controller {
    pub fn alter_configs(&self, image: &Image, request: &AlterConfigsRequest) -> Decision<AlterConfigsResponse> {
        let wanted = request.resources.iter().map(|resource| {
            let changes = resource
                .configs
                .iter()
                .map(|c| (c.name.as_str(), Operation::Set, c.value.as_deref()));
            Ok(Wanted {
                kind: resource.resource_type,
                name: &resource.resource_name,
                changes: changes.collect(),
                replaces: true,
            })
        });
        let (records, results) = self.alter(image, wanted.collect());
        let responses = request
            .resources
            .iter()
            .zip(results)
            .map(|(resource, error)| AlterConfigsResourceResponse {
                error_code: error.as_ref().map_or(0, |e| e.code.code()),
                error_message: error.and_then(|e| e.message),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
            });
        Decision {
            records: if request.validate_only { Vec::new() } else { records },
            reply: AlterConfigsResponse {
                responses: responses.collect(),
                ..AlterConfigsResponse::default()
            },
        }
    }

    pub fn incremental_alter_configs(
        &self,
        image: &Image,
        request: &IncrementalAlterConfigsRequest,
    ) -> Decision<IncrementalAlterConfigsResponse> {
        let wanted = request.resources.iter().map(|resource| {
            let changes = resource.configs.iter().map(|c| {
                Ok((
                    c.name.as_str(),
                    Operation::from_code(c.config_operation)?,
                    c.value.as_deref(),
                ))
            });
            Ok(Wanted {
                kind: resource.resource_type,
                name: &resource.resource_name,
                changes: changes.collect::<Result<_, ApiError>>()?,
                replaces: false,
            })
        });
        let (records, results) = self.alter(image, wanted.collect());
        let responses =
            request
                .resources
                .iter()
                .zip(results)
                .map(|(resource, error)| IncrementalAlterConfigsResourceResponse {
                    error_code: error.as_ref().map_or(0, |e| e.code.code()),
                    error_message: error.and_then(|e| e.message),
                    resource_type: resource.resource_type,
                    resource_name: resource.resource_name.clone(),
                });
        Decision {
            records: if request.validate_only { Vec::new() } else { records },
            reply: IncrementalAlterConfigsResponse {
                responses: responses.collect(),
                ..IncrementalAlterConfigsResponse::default()
            },
        }
    }

    /// One result for each resource, `None` for success. A resource is changed as a whole or not at all.
    fn alter(
        &self,
        image: &Image,
        wanted: Vec<Result<Wanted<'_>, ApiError>>,
    ) -> (Vec<MetadataRecord>, Vec<Option<ApiError>>) {
        let mut seen = BTreeSet::new();
        let resources = wanted.iter().flatten().map(|wanted| (wanted.kind, wanted.name));
        let repeated: BTreeSet<_> = resources.filter(|&resource| !seen.insert(resource)).collect();
        let mut records = Vec::new();
        let mut results = Vec::new();
        for wanted in &wanted {
            let altered = match wanted {
                Err(error) => Err(error.clone()),
                Ok(wanted) if repeated.contains(&(wanted.kind, wanted.name)) => {
                    Err(invalid_request("Each resource must appear at most once."))
                }
                Ok(wanted) => self.alter_resource(image, wanted),
            };
            results.push(altered.as_ref().err().cloned());
            records.extend(altered.into_iter().flatten());
        }
        (records, results)
    }

    fn alter_resource(&self, image: &Image, wanted: &Wanted<'_>) -> Result<Vec<MetadataRecord>, ApiError> {
        let mut keys = BTreeSet::new();
        if !wanted.changes.iter().all(|(key, ..)| keys.insert(*key)) {
            return Err(invalid_request("Error due to duplicate config keys"));
        }
        let without_value = wanted
            .changes
            .iter()
            .filter(|(_, op, value)| *op != Operation::Delete && value.is_none());
        let without_value: Vec<&str> = without_value.map(|(key, ..)| *key).collect();
        if !without_value.is_empty() {
            return Err(invalid_request(format!(
                "Null value not supported for : {}",
                joined(&without_value)
            )));
        }
        let resource = self.resource(image, wanted)?;
        let now: Overrides = image.overrides(&resource).map(|o| (**o).clone()).unwrap_or_default();
        let mut then = now.clone();
        if wanted.replaces {
            then.retain(|key, _| keys.contains(key.as_str()));
        }
        for &(key, operation, value) in &wanted.changes {
            let value = value.unwrap_or_default();
            match operation {
                Operation::Set => then.insert(key.to_owned(), value.to_owned()),
                Operation::Delete => then.remove(key),
                Operation::Append | Operation::Subtract => {
                    let list = altered_list(resource.kind, key, now.get(key), operation, value)?;
                    then.insert(key.to_owned(), list)
                }
            };
        }
        self.check_resource(image, &resource, &now, &then, &keys)?;

        let record = |key: &str, value: Option<&String>| {
            MetadataRecord::from(ConfigRecord {
                resource_type: resource.kind.code(),
                resource_name: resource.name.to_string(),
                name: key.to_owned(),
                value: value.cloned(),
            })
        };
        // A broker's value is written even when it stays: it makes brokers read files again that it names (KAFKA-14136).
        let always = resource.kind == ResourceKind::Broker;
        let altered = wanted.changes.iter().map(|(key, ..)| *key);
        let altered = altered.filter(|key| always || now.get(*key) != then.get(*key));
        let removed = now
            .keys()
            .map(String::as_str)
            .filter(|key| wanted.replaces && !keys.contains(key));
        Ok(altered.chain(removed).map(|key| record(key, then.get(key))).collect())
    }

    /// Which resource is meant, if it can be altered at all.
    fn resource(&self, image: &Image, wanted: &Wanted<'_>) -> Result<ConfigResource, ApiError> {
        let kind = ResourceKind::from_code(wanted.kind)
            .ok_or_else(|| invalid_request(format!("Unknown resource type {}", wanted.kind)))?;
        let name = wanted.name;
        match kind {
            ResourceKind::Topic => {
                if name.is_empty() {
                    return Err(invalid_request("Default topic resources are not allowed."));
                }
                names::check(name).map_err(|why| ApiError::new(ErrorCode::InvalidTopicException, why))?;
                if image.topic(name).is_none() {
                    let why = format!("The topic '{name}' does not exist.");
                    return Err(ApiError::new(ErrorCode::UnknownTopicOrPartition, why));
                }
            }
            ResourceKind::Broker if name.is_empty() => {}
            ResourceKind::Broker => check_broker_name(name, self.node_id)?,
            ResourceKind::BrokerLogger => {
                return Err(invalid_request("Log levels cannot be altered through this API."));
            }
            ResourceKind::ClientMetrics => return Err(invalid_request("Client metrics are not available here.")),
            ResourceKind::Group => return Err(invalid_request("Configurations of groups are not available here.")),
        }
        Ok(ConfigResource {
            kind,
            name: name.into(),
        })
    }

    /// Whether the resource may have all of `then`, of which `keys` are what the request names.
    fn check_resource(
        &self,
        image: &Image,
        resource: &ConfigResource,
        now: &Overrides,
        then: &Overrides,
        keys: &BTreeSet<&str>,
    ) -> Result<(), ApiError> {
        let invalid_config = |why: String| ApiError::new(ErrorCode::InvalidConfig, why);
        then.values().try_for_each(|value| check_value_size(value))?;
        if resource.kind == ResourceKind::Topic {
            return check_topic(image, now, then).map_err(|error| invalid_config(error.kafka_message()));
        }
        check_cleanup_policy(now, then).map_err(|error| invalid_request(error.kafka_message()))?;
        let of_all_brokers = resource.name.is_empty();
        if image.features.get(ELR_FEATURE).is_some_and(|&level| level > 0) {
            if !of_all_brokers && keys.contains(MIN_ISR) {
                let why = format!("Broker-level {MIN_ISR} cannot be altered while ELR is enabled.");
                return Err(invalid_config(why));
            }
            if of_all_brokers && now.contains_key(MIN_ISR) && !then.contains_key(MIN_ISR) {
                let why = format!("Cluster-level {MIN_ISR} cannot be removed while ELR is enabled.");
                return Err(invalid_config(why));
            }
        }
        let fixed_at_start = keys.iter().copied().filter(|key| {
            then.contains_key(*key) && setting(Scope::Broker, key).is_some_and(|setting| !setting.dynamic)
        });
        let fixed_at_start: Vec<&str> = fixed_at_start.collect();
        if !fixed_at_start.is_empty() {
            let why = format!(
                "Cannot update these configs dynamically: Set({})",
                joined(&fixed_at_start)
            );
            return Err(invalid_request(why));
        }
        self.broker_config_with(image, resource, then)
            .map(|_| ())
            .map_err(|error| invalid_request(error.kafka_message()))
    }

    fn broker_config_with(
        &self,
        image: &Image,
        resource: &ConfigResource,
        then: &Overrides,
    ) -> Result<BrokerConfig, ConfigError> {
        let none = Overrides::new();
        let set = |resource: &ConfigResource| image.overrides(resource).map_or(&none, |overrides| &**overrides);
        let (own, default) = (ConfigResource::broker(self.node_id), ConfigResource::default_broker());
        match resource.name.is_empty() {
            true => image.broker_config.with_dynamic(set(&own), then),
            false => image.broker_config.with_dynamic(then, set(&default)),
        }
    }
}

/// Names for a message, as many of a client's as one has room for.
fn joined(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(20).map(|name| Excerpt(name).to_string()).collect();
    let more = if names.len() > shown.len() { ", ..." } else { "" };
    shown.join(", ") + more
}

/// Whether a topic may have `then` in place of `now`. What stays as it was is not held against the request: a folder that Kafka
/// wrote may have settings that this broker does without.
fn check_topic(image: &Image, now: &Overrides, then: &Overrides) -> Result<(), ConfigError> {
    check_cleanup_policy(now, then)?;
    let mut checked = then.clone();
    loop {
        let error = match TopicConfig::resolve(&image.broker_config, &checked) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        match &error {
            ConfigError::UnknownKey { key, .. } | ConfigError::BadValue { key, .. }
                if now.contains_key(key) && now.get(key) == then.get(key) && checked.remove(key).is_some() => {}
            _ => return Err(error),
        }
    }
}

fn invalid_request(why: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, why)
}

/// Kafka 4.4's bound on a value.
pub(super) fn check_value_size(value: &str) -> Result<(), ApiError> {
    match value.len() > VALUE_BYTES_MAX {
        false => Ok(()),
        true => Err(ApiError::new(
            ErrorCode::InvalidConfig,
            format!(
                "The configuration value cannot be added because it exceeds the maximum value size of {VALUE_BYTES_MAX} \
                 bytes."
            ),
        )),
    }
}

/// A broker alters only itself.
fn check_broker_name(name: &str, node_id: NodeId) -> Result<(), ApiError> {
    match ConfigResource::broker_id(name) {
        None => Err(invalid_request(format!(
            "Node id must be an integer, but it is: {}",
            Excerpt(name)
        ))),
        Some(id) if id != node_id => Err(invalid_request(format!(
            "Unexpected broker id, expected {node_id}, but received {}",
            Excerpt(name)
        ))),
        Some(_) => Ok(()),
    }
}

/// The list with `items` put behind it or taken out of it.
fn altered_list(
    kind: ResourceKind,
    key: &str,
    now: Option<&String>,
    operation: Operation,
    items: &str,
) -> Result<String, ApiError> {
    let scope = match kind {
        ResourceKind::Topic => Scope::Topic,
        _ => Scope::Broker,
    };
    let Some(setting) = setting(scope, key).filter(|setting| setting.kind == Kind::List) else {
        let operation = if operation == Operation::Append {
            "APPEND"
        } else {
            "SUBTRACT"
        };
        let key = Excerpt(key);
        let why = format!("Can't {operation} to key {key} because its type is not LIST.");
        return Err(ApiError::new(ErrorCode::InvalidConfig, why));
    };
    let now = now.map(String::as_str).or(setting.default).unwrap_or_default();
    let mut list: Vec<&str> = now.split(',').filter(|item| !item.is_empty()).collect();
    if operation == Operation::Append {
        let mut there: BTreeSet<&str> = list.iter().copied().collect();
        list.extend(items.split(',').filter(|item| there.insert(item)));
    } else {
        let gone: BTreeSet<&str> = items.split(',').collect();
        list.retain(|item| !gone.contains(item));
    }
    Ok(list.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_added_to_and_taken_from() {
        let now = "b,a".to_owned();
        let altered = |now: Option<&String>, operation, items| {
            altered_list(ResourceKind::Topic, "cleanup.policy", now, operation, items).unwrap()
        };
        assert_eq!(altered(Some(&now), Operation::Append, "c,a,c,d"), "b,a,c,d");
        assert_eq!(altered(Some(&now), Operation::Subtract, "c,b,b"), "a");
        assert_eq!(altered(None, Operation::Append, "x"), "delete,x", "to the default");
    }
}
