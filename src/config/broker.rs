//! From key-value pairs to the typed structs.

use std::collections::BTreeMap;
use std::ops::Deref;

use super::kafka_keys::{NotHere, not_here};
use super::listeners::Names;
use super::setting::list_items;
use super::setting::{ConfigError, ConfigErrors, Origin, Pair, Scope, Setting, nearest_key, setting};
use super::table::{BadSetting, BrokerSettings, CLEANUP_POLICY, LOG_CLEANUP_POLICY, TopicConfig};

/// Values by key, checked or not: a topic's own, or a broker's of one source.
pub type Overrides = BTreeMap<String, String>;

/// The values that were set, by where they were set. Values were checked when they came in.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Sources {
    /// AlterConfigs on this broker.
    pub dynamic_broker: Overrides,
    /// AlterConfigs on all brokers (resource name "").
    pub dynamic_default: Overrides,
    /// The configuration file and the command line.
    pub static_broker: Overrides,
}

impl Sources {
    /// The text of a broker's setting, from the strongest source that has it; None when only the default is left.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        [&self.dynamic_broker, &self.dynamic_default, &self.static_broker]
            .into_iter()
            .find_map(|source| source.get(key))
            .map(|text| text.trim())
    }
}

/// The whole configuration of this broker: its own settings (by [`Deref`]), the defaults of topics, and what was set
/// where.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    settings: BrokerSettings,
    /// What a topic without overrides has.
    pub topic: TopicConfig,
    pub sources: Sources,
    /// Kafka's keys in the configuration file that have no meaning here.
    pub passed_over: Vec<String>,
}

impl Deref for BrokerConfig {
    type Target = BrokerSettings;

    fn deref(&self) -> &BrokerSettings {
        &self.settings
    }
}

/// For tests and the simulator, whose limits are too small to be accepted from a person.
impl std::ops::DerefMut for BrokerConfig {
    fn deref_mut(&mut self) -> &mut BrokerSettings {
        &mut self.settings
    }
}

impl Default for BrokerConfig {
    /// Nothing set.
    fn default() -> BrokerConfig {
        BrokerConfig::from_pairs(&[]).expect("defaults are values of their settings")
    }
}

impl BrokerConfig {
    /// From a file's lines and the command line's options, weakest first: a later pair replaces an earlier one of its
    /// key. The error is everything that is wrong.
    pub fn from_pairs(pairs: &[Pair]) -> Result<BrokerConfig, ConfigErrors> {
        let mut set = Overrides::new();
        let (mut passed_over, mut problems) = (Vec::new(), Vec::new());
        for pair in pairs {
            let is_known = setting(Scope::Broker, &pair.key).is_some();
            if !is_known && is_from_file(pair) && matches!(not_here(&pair.key), Some(NotHere::NoMeaning(_))) {
                passed_over.push(pair.key.clone());
                continue;
            }
            match check(Scope::Broker, &pair.key, &pair.value, &pair.origin) {
                Ok(()) => _ = set.insert(pair.key.clone(), pair.value.trim().to_owned()),
                Err(problem) => problems.push(problem),
            }
        }
        let sources = Sources {
            static_broker: set,
            ..Sources::default()
        };
        let bad = |(key, reason): BadSetting| {
            let last = pairs.iter().rev().find(|pair| pair.key == key);
            ConfigError::BadValue {
                key: key.to_owned(),
                value: last.map(|pair| pair.value.trim().to_owned()).unwrap_or_default(),
                reason,
                origin: last.map_or(Origin::Option("default"), |pair| pair.origin.clone()),
            }
        };
        match BrokerConfig::from_sources(sources) {
            Ok(config) if problems.is_empty() => Ok(BrokerConfig { passed_over, ..config }),
            Ok(_) => Err(ConfigErrors(problems)),
            Err(more) => {
                problems.extend(more.into_iter().map(bad));
                Err(ConfigErrors(problems))
            }
        }
    }

    /// For the simulator: values as a configuration file would set them, also smaller than the bounds allow, so that a short
    /// history meets every limit.
    pub(crate) fn beyond_bounds(values: impl IntoIterator<Item = (&'static str, i64)>) -> BrokerConfig {
        let static_broker = (values.into_iter())
            .map(|(key, value)| (key.to_owned(), value.to_string()))
            .collect();
        let sources = Sources {
            static_broker,
            ..Sources::default()
        };
        BrokerConfig::from_sources(sources).unwrap_or_else(|bad| panic!("{bad:?}"))
    }

    /// The same with the dynamic values that the metadata log holds now, each already checked.
    pub fn with_dynamic(&self, broker: &Overrides, default: &Overrides) -> Result<BrokerConfig, ConfigError> {
        for (key, value) in default.iter().chain(broker) {
            check(Scope::Broker, key, value, &Origin::Metadata)?;
        }
        let sources = Sources {
            dynamic_broker: broker.clone(),
            dynamic_default: default.clone(),
            static_broker: self.sources.static_broker.clone(),
        };
        let config = BrokerConfig::from_sources(sources).map_err(|mut bad| {
            // One at a time: whoever asks takes the value away that is named, and asks again.
            let (key, reason) = bad.swap_remove(0);
            let value = broker.get(key).or_else(|| default.get(key));
            ConfigError::BadValue {
                key: key.to_owned(),
                value: value.cloned().unwrap_or_default(),
                reason,
                origin: Origin::Metadata,
            }
        })?;
        Ok(BrokerConfig {
            passed_over: self.passed_over.clone(),
            ..config
        })
    }

    /// Whether AlterConfigs may leave `values` set as a broker's own or the cluster's default values. The error is
    /// Kafka's message, for INVALID_REQUEST.
    pub fn check_dynamic(values: &Overrides) -> Result<(), String> {
        for (key, value) in values {
            check(Scope::Broker, key, value, &Origin::Metadata).map_err(|e| e.kafka_message())?;
        }
        let fixed_at_start: Vec<&str> = values
            .keys()
            .filter(|key| setting(Scope::Broker, key).is_some_and(|setting| !setting.dynamic))
            .map(String::as_str)
            .collect();
        if !fixed_at_start.is_empty() {
            return Err(format!(
                "Cannot update these configs dynamically: Set({})",
                fixed_at_start.join(", ")
            ));
        }
        Ok(())
    }

    /// The error is everything that is wrong; not empty.
    fn from_sources(sources: Sources) -> Result<BrokerConfig, Vec<BadSetting>> {
        let text_of = |key| {
            let default = setting(Scope::Broker, key).and_then(|s| s.default);
            sources.get(key).or(default).unwrap_or_default()
        };
        let names = Names {
            controllers: text_of("controller.listener.names"),
            protocols: text_of("listener.security.protocol.map"),
        };
        let settings = BrokerSettings::read(|key| match (key, text_of(key)) {
            ("listeners", text) => names.for_clients(text),
            ("advertised.listeners", text) if !text.is_empty() => names.for_clients(text),
            (_, text) => Ok(text.to_owned()),
        })?;
        let topic = resolve_topic(&sources, &Overrides::new()).map_err(|bad| vec![bad])?;
        let config = BrokerConfig {
            settings,
            topic,
            sources,
            passed_over: Vec::new(),
        };
        config.check_together().map_err(|bad| vec![bad])?;
        Ok(config)
    }

    /// What no single setting can say.
    fn check_together(&self) -> Result<(), BadSetting> {
        if self.advertised_listeners.is_none() && self.listeners.is_wildcard() {
            let reason = format!(
                "clients cannot connect to {}: set advertised.listeners (--advertise) to an address that they can \
                 reach",
                self.listeners.host
            );
            return Err(("listeners", reason));
        }
        for (key, dirs) in [
            ("log.dirs", self.log_dirs.as_deref()),
            ("log.dir", Some(self.log_dir.as_str())),
        ] {
            if dirs.is_some_and(|dirs| list_items(dirs).count() != 1) {
                return Err((key, "expected one folder".into()));
            }
        }
        if !self.journal_bytes.is_multiple_of(4096) {
            return Err(("tidemill.journal.bytes", "Value must be a multiple of 4096".into()));
        }
        self.check_batch_fits(self.topic.max_message_bytes)
            .map_err(|reason| ("message.max.bytes", reason))
    }

    fn check_batch_fits(&self, batch_bytes: usize) -> Result<(), String> {
        let fits = self.limits(1).batch_bytes_max;
        match batch_bytes as u64 <= fits {
            true => Ok(()),
            false => Err(format!(
                "Value must be no more than {fits}, a quarter of tidemill.journal.bytes"
            )),
        }
    }

    /// The data folder.
    pub fn data_dir(&self) -> &str {
        self.log_dirs.as_deref().unwrap_or(&self.log_dir)
    }
}

impl TopicConfig {
    /// A topic's configuration from its own overrides over the broker's.
    pub fn resolve(broker: &BrokerConfig, overrides: &Overrides) -> Result<TopicConfig, ConfigError> {
        for (key, value) in overrides {
            check(Scope::Topic, key, value, &Origin::Metadata)?;
        }
        let bad = |(key, reason): (&str, String)| ConfigError::BadValue {
            key: key.to_owned(),
            value: overrides.get(key).cloned().unwrap_or_default(),
            reason,
            origin: Origin::Metadata,
        };
        let topic = resolve_topic(&broker.sources, overrides).map_err(bad)?;
        broker
            .check_batch_fits(topic.max_message_bytes)
            .map_err(|reason| bad(("max.message.bytes", reason)))?;
        Ok(topic)
    }
}

fn resolve_topic(sources: &Sources, overrides: &Overrides) -> Result<TopicConfig, BadSetting> {
    TopicConfig::read(|key| {
        let setting = setting(Scope::Topic, key).expect("a row of the table");
        topic_text(setting, sources, overrides)
    })
}

/// A topic's value of a setting, as text.
pub(super) fn topic_text(setting: &Setting, sources: &Sources, overrides: &Overrides) -> String {
    if let Some(own) = overrides.get(setting.key) {
        return own.trim().to_owned();
    }
    let from_broker = setting.from_broker.iter().find_map(|from| {
        let text = sources.get(from.key)?;
        match text.parse::<i64>() {
            // -1 is no limit in every unit.
            Ok(number) if from.scale != 1 && number >= 0 => Some(number.saturating_mul(from.scale).to_string()),
            _ => Some(text.to_owned()),
        }
    });
    from_broker.or(setting.default.map(str::to_owned)).unwrap_or_default()
}

/// Whether a pair may be set in its scope at all.
pub(super) fn check(scope: Scope, key: &str, value: &str, origin: &Origin) -> Result<(), ConfigError> {
    let checked = match (setting(scope, key), not_here(key)) {
        (Some(setting), _) => setting.check(value),
        // A value of a key that Kafka has is what is wrong, not its name.
        (None, Some(not_here)) => Err(not_here.reason()),
        (None, _) => {
            return Err(ConfigError::UnknownKey {
                scope,
                key: key.to_owned(),
                nearest: nearest_key(scope, key),
                origin: origin.clone(),
            });
        }
    };
    // What a folder's metadata says of this is never set aside: the default would delete what the topic is to keep.
    if *origin == Origin::Metadata && [CLEANUP_POLICY, LOG_CLEANUP_POLICY].contains(&key) {
        return Ok(());
    }
    checked.map_err(|reason| ConfigError::BadValue {
        key: key.to_owned(),
        value: value.trim().to_owned(),
        reason,
        origin: origin.clone(),
    })
}

fn is_from_file(pair: &Pair) -> bool {
    matches!(pair.origin, Origin::File { .. })
}

/// Whether somebody may set `after` where `before` is set: a policy that came with a folder of Kafka's may stay, and none that is
/// not available may be chosen.
pub fn check_cleanup_policy(before: &Overrides, after: &Overrides) -> Result<(), ConfigError> {
    for (scope, key) in [(Scope::Topic, CLEANUP_POLICY), (Scope::Broker, LOG_CLEANUP_POLICY)] {
        if let Some(value) = after.get(key).filter(|value| before.get(key) != Some(value)) {
            let setting = setting(scope, key).expect("a row of the table");
            setting.check(value).map_err(|reason| ConfigError::BadValue {
                key: key.to_owned(),
                value: value.trim().to_owned(),
                reason,
                origin: Origin::Metadata,
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CleanupPolicy, CompressionType, Cores};

    fn pairs(text: &[(&str, &str)]) -> Vec<Pair> {
        text.iter()
            .map(|(key, value)| Pair {
                key: key.to_string(),
                value: value.to_string(),
                origin: Origin::Option("--set"),
            })
            .collect()
    }

    fn overrides(text: &[(&str, &str)]) -> Overrides {
        text.iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn nothing_set_is_kafkas_defaults_but_flushed() {
        let config = BrokerConfig::default();
        assert_eq!(config.listeners.to_string(), "127.0.0.1:9092");
        assert_eq!(config.data_dir(), "./tidemill-data");
        assert_eq!(config.cores, Cores::Auto);
        assert_eq!(config.topic.flush_messages, 1);
        assert_eq!(config.topic.retention_ms, Some(7 * 24 * 3_600_000));
        assert_eq!(config.topic.retention_bytes, None);
        assert_eq!(config.topic.segment_bytes, 1 << 30);
        assert!(config.auto_create_topics_enable);
    }

    #[test]
    fn a_later_pair_replaces_an_earlier_one() {
        let config = BrokerConfig::from_pairs(&pairs(&[("num.partitions", "3"), ("num.partitions", " 8 ")])).unwrap();
        assert_eq!(config.num_partitions, 8);
    }

    #[test]
    fn the_finest_unit_of_retention_wins() {
        let hours = pairs(&[("log.retention.hours", "2")]);
        assert_eq!(
            BrokerConfig::from_pairs(&hours).unwrap().topic.retention_ms,
            Some(7_200_000)
        );
        let minutes = pairs(&[("log.retention.hours", "2"), ("log.retention.minutes", "3")]);
        assert_eq!(
            BrokerConfig::from_pairs(&minutes).unwrap().topic.retention_ms,
            Some(180_000)
        );
        let forever = pairs(&[("log.retention.hours", "-1")]);
        assert_eq!(BrokerConfig::from_pairs(&forever).unwrap().topic.retention_ms, None);
    }

    #[test]
    fn a_topics_own_value_is_stronger_than_a_dynamic_one_than_a_static_one() {
        let config =
            BrokerConfig::from_pairs(&pairs(&[("log.segment.bytes", "2000000"), ("compression.type", "lz4")])).unwrap();
        let config = config
            .with_dynamic(
                &overrides(&[("log.segment.bytes", "4000000")]),
                &overrides(&[("log.segment.bytes", "3000000")]),
            )
            .unwrap();
        let none = TopicConfig::resolve(&config, &Overrides::new()).unwrap();
        assert_eq!(
            (none.segment_bytes, none.compression_type),
            (4_000_000, CompressionType::Lz4)
        );
        assert_eq!(none, config.topic);
        let own = TopicConfig::resolve(&config, &overrides(&[("segment.bytes", "5000000")])).unwrap();
        assert_eq!(own.segment_bytes, 5_000_000);
    }

    #[test]
    fn errors_say_what_to_change() {
        let error = |text| BrokerConfig::from_pairs(&pairs(text)).unwrap_err().to_string();
        assert_eq!(
            error(&[("num.partition", "3")]),
            r#"--set: unknown setting "num.partition"; did you mean num.partitions?"#
        );
        assert_eq!(
            error(&[("num.partitions", "0")]),
            r#"--set: invalid value "0" for num.partitions: Value must be at least 1"#
        );
        assert!(error(&[("listeners", "PLAINTEXT://0.0.0.0:9092")]).contains("set advertised.listeners"));
        assert!(error(&[("log.dirs", "a,b")]).contains("expected one folder"));
        assert!(error(&[("message.max.bytes", "100000000")]).contains("a quarter of tidemill.journal.bytes"));
        assert!(error(&[("log.cleanup.policy", "compact")]).contains("compaction is not available yet"));
    }

    #[test]
    fn kafkas_keys_are_known_by_name() {
        let from = |origin: Origin, text: &str| {
            let (mut pairs, problems) = crate::config::parse_properties("f", text);
            assert_eq!(problems, []);
            pairs
                .iter_mut()
                .filter(|_| origin != Origin::Metadata)
                .for_each(|pair| pair.origin = origin.clone());
            BrokerConfig::from_pairs(&pairs)
        };
        let file = |text| from(Origin::Metadata, text);
        let text = "num.io.threads=8\nnum.partitions=2\nmetric.reporters=mine\n";
        let config = file(text).unwrap();
        assert_eq!(
            (config.num_partitions, &*config.passed_over.join(" ")),
            (2, "num.io.threads metric.reporters")
        );
        let typed = from(Origin::Option("--set"), text).unwrap_err().to_string();
        assert!(
            typed.contains("for num.io.threads: It has no effect here: there are no thread pools"),
            "{typed}"
        );
        let all = file("ssl.keystore.location=/k\nsegment.byte=1\nlisteners=\ntidemill.cores=x\nlog.retention.ms=1h\n");
        let all = all.unwrap_err().to_string();
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines.len(), 5, "{all}");
        for words in [
            "f:1: invalid value \"/k\" for ssl.keystore.location: It needs authentication of clients",
            "f:2: unknown setting \"segment.byte\"; did you mean log.segment.bytes?",
            "f:3: invalid value \"\" for listeners: expected PLAINTEXT://HOST:PORT",
            "f:4: invalid value \"x\" for tidemill.cores: ",
            "f:5: invalid value \"1h\" for log.retention.ms: Not a number of type LONG, which takes no unit: write 3600000",
        ] {
            assert!(lines.iter().any(|line| line.starts_with(words)), "{words}\n{all}");
        }
    }

    fn value() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;
        prop_oneof![
            ".{0,12}",
            "[-+]?[0-9]{0,20}",
            "[A-Z]{0,9}(://)?[a-z0-9.:,\\[\\]]{0,12}(:[0-9]{0,6})?",
            "([0-9]{0,5}[-, ]?){0,4}",
            proptest::sample::select(vec![
                "",
                " ",
                ",",
                "-1",
                "0",
                "9223372036854775807",
                "-9223372036854775808",
                "2147483647"
            ])
            .prop_map(str::to_owned),
        ]
    }

    proptest::proptest! {
        /// A configuration is refused or works out, whatever its values are.
        #[test]
        fn no_value_is_a_panic(
            set in proptest::collection::vec((0..crate::config::SETTINGS.len(), value()), 0..5),
            alone in 0..crate::config::SETTINGS.len(),
        ) {
            let keys: Vec<&str> = crate::config::SETTINGS.iter().map(|setting| setting.key).collect();
            let mut text: Vec<(&str, &str)> = set.iter().map(|(key, value)| (keys[*key], value.as_str())).collect();
            text.push((keys[alone], ""));
            for upto in 0..=text.len() {
                let Ok(config) = BrokerConfig::from_pairs(&pairs(&text[..upto])) else { continue };
                for shards in [0, 1, 64, u16::MAX] {
                    let limits = config.limits(shards);
                    proptest::prop_assert!(limits.batch_bytes_max >= config.topic.max_message_bytes as u64);
                }
                crate::config::describe_broker(&config);
                crate::config::describe_topic(&config, &Overrides::new());
            }
        }

        #[test]
        fn no_file_is_a_panic(text in ".{0,60}(\n.{0,30}){0,3}") {
            let (pairs, _) = crate::config::parse_properties("f", &text);
            let _ = BrokerConfig::from_pairs(&pairs);
        }
    }

    #[test]
    fn dynamic_values_are_refused_in_kafkas_words() {
        let error = |key, value| BrokerConfig::check_dynamic(&overrides(&[(key, value)])).unwrap_err();
        assert_eq!(
            error("num.partitions", "3"),
            "Cannot update these configs dynamically: Set(num.partitions)"
        );
        assert_eq!(
            error("log.segment.bytes", "5"),
            "Invalid value 5 for configuration log.segment.bytes: Value must be at least 1048576"
        );
        assert_eq!(error("foo", "1"), "Unknown broker config name: foo");
        assert_eq!(
            BrokerConfig::check_dynamic(&overrides(&[("log.roll.ms", "86400000")])),
            Ok(())
        );
    }

    #[test]
    fn a_topic_that_asks_for_what_we_do_not_do_is_refused() {
        let (none, compact) = (Overrides::new(), overrides(&[("cleanup.policy", "compact")]));
        assert_eq!(
            check_cleanup_policy(&none, &compact).unwrap_err().kafka_message(),
            "Invalid value compact for configuration cleanup.policy: Only delete is supported: compaction is not \
             available yet"
        );
        let broker = overrides(&[("log.cleanup.policy", "compact,delete")]);
        assert!(check_cleanup_policy(&none, &broker).is_err());
        // What is there may stay, and go.
        assert_eq!(check_cleanup_policy(&compact, &compact), Ok(()));
        assert_eq!(check_cleanup_policy(&compact, &none), Ok(()));
        let delete = overrides(&[("cleanup.policy", "delete")]);
        assert_eq!(check_cleanup_policy(&compact, &delete), Ok(()));
        assert!(check_cleanup_policy(&compact, &overrides(&[("cleanup.policy", "compact,delete")])).is_err());
    }

    /// Taking the default in place of a policy that is not followed would delete what the topic is to keep.
    #[test]
    fn a_policy_that_the_metadata_has_is_never_set_aside() {
        use CleanupPolicy::*;
        let of_topic = |config: &BrokerConfig, policy| {
            let own = overrides(&[("cleanup.policy", policy)]);
            TopicConfig::resolve(config, &own).unwrap().cleanup_policy
        };
        let plain = BrokerConfig::default();
        for (policy, expected) in [
            ("delete", Delete),
            (" delete ,delete", Delete),
            ("", Keep),
            ("compact", NotFollowed),
            ("compact,delete", NotFollowed),
            ("of a newer Kafka", NotFollowed),
        ] {
            assert_eq!(of_topic(&plain, policy), expected, "{policy:?}");
        }
        let compacts = plain
            .with_dynamic(&Overrides::new(), &overrides(&[("log.cleanup.policy", "compact")]))
            .unwrap();
        let of_none = TopicConfig::resolve(&compacts, &Overrides::new()).unwrap();
        assert_eq!(
            (of_none.cleanup_policy, compacts.topic.cleanup_policy),
            (NotFollowed, NotFollowed)
        );
        assert_eq!(of_topic(&compacts, "delete"), Delete);
    }

    #[test]
    fn a_jitter_may_be_longer_than_the_time_that_it_is_taken_off() {
        let config = BrokerConfig::from_pairs(&pairs(&[("log.roll.jitter.ms", "600000")])).unwrap();
        let topic = TopicConfig::resolve(&config, &overrides(&[("segment.ms", "60000")])).unwrap();
        assert_eq!((topic.segment_ms, topic.segment_jitter_ms), (60_000, 600_000));
    }
}
