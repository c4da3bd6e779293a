//! DescribeConfigs, from an image and what `config` knows of every setting.

use std::collections::BTreeSet;

use crate::config::{self, Described, Overrides};
use crate::error::ErrorCode;
use crate::types::Excerpt;
use crate::wire::configs::*;

use super::decide::ApiError;
use super::image::{ConfigResource, Image, ResourceKind};
use super::names;

pub fn describe_configs(image: &Image, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    // Each once, however often it is named: an answer is thousands of times as long as its question.
    let mut seen = BTreeSet::new();
    let asked = (request.resources.iter())
        .filter(|resource| seen.insert((resource.resource_type, resource.resource_name.as_str())));
    let results = asked.map(|resource| {
        let entries = described(image, resource);
        let error = entries.as_ref().err().cloned();
        DescribeConfigsResult {
            error_code: error.as_ref().map_or(0, |e| e.code.code()),
            // Empty, not null, where there is nothing to say.
            error_message: Some(error.and_then(|e| e.message).unwrap_or_default()),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            configs: entries
                .into_iter()
                .flatten()
                .map(|entry| result(entry, request))
                .collect(),
        }
    });
    DescribeConfigsResponse {
        results: results.collect(),
        ..DescribeConfigsResponse::default()
    }
}

fn described(image: &Image, resource: &DescribeConfigsResource) -> Result<Vec<Described>, ApiError> {
    let invalid = |why: String| Err(ApiError::new(ErrorCode::InvalidRequest, why));
    let name = resource.resource_name.as_str();
    let mut entries = match ResourceKind::from_code(resource.resource_type) {
        Some(ResourceKind::Topic) => {
            names::check(name).map_err(|why| ApiError::new(ErrorCode::InvalidTopicException, why))?;
            if image.topic(name).is_none() {
                return Err(ApiError::bare(ErrorCode::UnknownTopicOrPartition));
            }
            let none = Overrides::new();
            let overrides = image.topic_overrides(name).map_or(&none, |overrides| &**overrides);
            config::describe_topic(&image.broker_config, overrides)
        }
        Some(ResourceKind::Broker) if name.is_empty() => config::describe_cluster_default(&image.broker_config),
        Some(ResourceKind::Broker) => {
            let ours = image.node_id;
            match ConfigResource::broker_id(name) {
                None => return invalid(format!("Broker id must be an integer, but it is: {}", Excerpt(name))),
                Some(id) if id != ours => {
                    let name = Excerpt(name);
                    let why = format!("Unexpected broker id, expected {ours} or empty string, but received {name}");
                    return invalid(why);
                }
                Some(_) => config::describe_broker(&image.broker_config),
            }
        }
        // There are none of these, which is not an error.
        Some(ResourceKind::BrokerLogger | ResourceKind::ClientMetrics | ResourceKind::Group) => Vec::new(),
        None => {
            let kind = resource.resource_type;
            return invalid(format!(
                "Unexpected resource type {kind} for resource {}",
                Excerpt(name)
            ));
        }
    };
    if let Some(keys) = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
        let keys: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
        entries.retain(|entry| keys.contains(entry.name));
    }
    Ok(entries)
}

fn result(entry: Described, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let synonyms = entry.synonyms.into_iter().filter(|_| request.include_synonyms);
    let synonyms = synonyms.map(|synonym| DescribeConfigsSynonym {
        name: synonym.name.to_owned(),
        value: Some(synonym.value),
        source: synonym.source as i8,
    });
    DescribeConfigsResourceResult {
        name: entry.name.to_owned(),
        value: entry.value,
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_sensitive: false,
        synonyms: synonyms.collect(),
        config_type: entry.kind.code(),
        documentation: request.include_documentation.then(|| entry.documentation.to_owned()),
    }
}
