//! What DescribeConfigs says: each setting's value, where it comes from, and the names by which it could have been set.

use super::broker::{Overrides, topic_text};
use super::markdown::settings_of;
use super::setting::{Kind, Scope, Setting};
use super::{BrokerConfig, Sources};

/// Where a value was set (`ConfigSource` of DescribeConfigs).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum ConfigSource {
    DynamicTopic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
}

/// One entry of a DescribeConfigs response.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    pub name: &'static str,
    /// None is null: not set.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub read_only: bool,
    pub kind: Kind,
    pub documentation: &'static str,
    /// The strongest first, the one in force among them.
    pub synonyms: Vec<Synonym>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Synonym {
    pub name: &'static str,
    pub value: String,
    pub source: ConfigSource,
}

/// Every setting of a topic with these overrides.
pub fn describe_topic(broker: &BrokerConfig, overrides: &Overrides) -> Vec<Described> {
    settings_of(Scope::Topic)
        .map(|setting| {
            let own = overrides.get(setting.key).map(|value| Synonym {
                name: setting.key,
                value: value.trim().to_owned(),
                source: ConfigSource::DynamicTopic,
            });
            let names: Vec<_> = setting
                .from_broker
                .iter()
                .map(|from| (from.key, from.default))
                .collect();
            let value = topic_text(setting, &broker.sources, overrides);
            described(
                setting,
                Some(value),
                own.into_iter().chain(synonyms(&broker.sources, &names)).collect(),
            )
        })
        .collect()
}

/// Every setting of the broker.
pub fn describe_broker(broker: &BrokerConfig) -> Vec<Described> {
    settings_of(Scope::Broker)
        .map(|setting| {
            let value = broker.sources.get(setting.key).or(setting.default).map(str::to_owned);
            described(setting, value, synonyms(&broker.sources, &names_of(setting)))
        })
        .collect()
}

/// The cluster's dynamic defaults (the broker resource with the empty name): only what is set there.
pub fn describe_cluster_default(broker: &BrokerConfig) -> Vec<Described> {
    settings_of(Scope::Broker)
        .filter_map(|setting| {
            let value = broker.sources.dynamic_default.get(setting.key)?.clone();
            let mut synonyms = synonyms(&broker.sources, &names_of(setting));
            synonyms.retain(|synonym| synonym.source == ConfigSource::DynamicDefaultBroker);
            Some(described(setting, Some(value), synonyms))
        })
        .collect()
}

fn described(setting: &'static Setting, value: Option<String>, synonyms: Vec<Synonym>) -> Described {
    Described {
        name: setting.key,
        value,
        source: synonyms.first().map_or(ConfigSource::Default, |synonym| synonym.source),
        read_only: !setting.dynamic,
        kind: setting.kind,
        documentation: setting.doc,
        synonyms,
    }
}

/// The names under which a broker's setting can be set: itself, then the coarser units of the same thing.
fn names_of(setting: &'static Setting) -> Vec<(&'static str, Option<&'static str>)> {
    let units =
        settings_of(Scope::Topic).find(|topic| topic.from_broker.first().is_some_and(|from| from.key == setting.key));
    match units {
        Some(topic) => topic.from_broker.iter().map(|from| (from.key, from.default)).collect(),
        None => vec![(setting.key, setting.default)],
    }
}

/// Kafka's order: source by source, and in each the names from the finest unit on. A coarser unit's default is left
/// out, as Kafka does, unless something is set.
fn synonyms(sources: &Sources, names: &[(&'static str, Option<&'static str>)]) -> Vec<Synonym> {
    let set = [
        (&sources.dynamic_broker, ConfigSource::DynamicBroker),
        (&sources.dynamic_default, ConfigSource::DynamicDefaultBroker),
        (&sources.static_broker, ConfigSource::StaticBroker),
    ];
    let mut found: Vec<Synonym> = set
        .into_iter()
        .flat_map(|(values, source)| {
            names.iter().filter_map(move |&(name, _)| {
                values.get(name).map(|value| Synonym {
                    name,
                    value: value.clone(),
                    source,
                })
            })
        })
        .collect();
    for (i, &(name, default)) in names.iter().enumerate() {
        if let Some(value) = default
            && (i == 0 || !found.is_empty())
        {
            found.push(Synonym {
                name,
                value: value.to_owned(),
                source: ConfigSource::Default,
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Origin, Pair};

    fn entry<'a>(entries: &'a [Described], name: &str) -> &'a Described {
        entries.iter().find(|entry| entry.name == name).unwrap()
    }

    #[test]
    fn a_topic_shows_its_own_value_before_the_brokers() {
        let pair = Pair {
            key: "log.retention.ms".into(),
            value: "5".into(),
            origin: Origin::Option("--set"),
        };
        let broker = BrokerConfig::from_pairs(&[pair]).unwrap();
        let own = Overrides::from([("retention.ms".into(), "1000".into())]);
        let entries = describe_topic(&broker, &own);
        let retention = entry(&entries, "retention.ms");
        assert_eq!(retention.value.as_deref(), Some("1000"));
        assert_eq!(retention.source, ConfigSource::DynamicTopic);
        let names: Vec<_> = retention
            .synonyms
            .iter()
            .map(|s| (s.name, s.value.as_str(), s.source as i8))
            .collect();
        assert_eq!(
            names,
            [
                ("retention.ms", "1000", 1),
                ("log.retention.ms", "5", 4),
                ("log.retention.hours", "168", 5)
            ]
        );
    }

    #[test]
    fn defaults_are_shown_as_kafka_shows_them() {
        let entries = describe_topic(&BrokerConfig::default(), &Overrides::new());
        assert!(entry(&entries, "retention.ms").synonyms.is_empty());
        assert_eq!(
            entry(&entries, "retention.bytes").synonyms[0].name,
            "log.retention.bytes"
        );
        assert_eq!(entry(&entries, "cleanup.policy").value.as_deref(), Some("delete"));
        let entries = describe_broker(&BrokerConfig::default());
        assert_eq!(entry(&entries, "log.retention.ms").value, None);
        assert!(entry(&entries, "log.retention.hours").read_only);
        assert!(!entry(&entries, "log.retention.ms").read_only);
        assert!(describe_cluster_default(&BrokerConfig::default()).is_empty());
    }
}
