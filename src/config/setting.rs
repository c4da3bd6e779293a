//! What a row of the table says, and the checks that follow from it.

use std::fmt;
use std::sync::LazyLock;

use super::table;
use crate::types::Excerpt;

/// Every setting of the broker and of topics, topics first, each scope in the order of its table.
pub static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(table::all);

/// One setting. Two of the same key may exist: one per scope.
#[derive(Clone, Debug)]
pub struct Setting {
    pub key: &'static str,
    pub scope: Scope,
    pub kind: Kind,
    /// None is Kafka's null: not set, and something else decides.
    pub default: Option<&'static str>,
    pub bounds: Bounds,
    /// What it does, in one or two sentences.
    pub doc: &'static str,
    /// The field that holds it; None for a fixed setting.
    pub field: Option<&'static str>,
    /// Why no value but the default is accepted.
    pub fixed: Option<&'static str>,
    /// A broker's setting that AlterConfigs may change while it runs. (A topic's always may.)
    pub dynamic: bool,
    /// For a topic's setting: the broker's settings that give its default, the strongest first.
    pub from_broker: &'static [FromBroker],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    Topic,
    Broker,
}

/// A broker's setting that gives a topic's setting its default.
#[derive(Clone, Copy, Debug)]
pub struct FromBroker {
    pub key: &'static str,
    /// Multiplies the broker's number into the topic's unit (hours into milliseconds).
    pub scale: i64,
    pub default: Option<&'static str>,
    /// Kafka alters all of these at run time but the ones in hours and minutes.
    pub dynamic: bool,
}

/// Kafka's types of settings (`ConfigDef.Type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Boolean,
    Text,
    Int,
    Long,
    Double,
    List,
}

impl Kind {
    /// The number in DescribeConfigs responses (`ConfigType`).
    pub fn code(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::Text => 2,
            Kind::Int => 3,
            Kind::Long => 5,
            Kind::Double => 6,
            Kind::List => 7,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "BOOLEAN",
            Kind::Text => "STRING",
            Kind::Int => "INT",
            Kind::Long => "LONG",
            Kind::Double => "DOUBLE",
            Kind::List => "LIST",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which values of its type a setting takes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Bounds {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// Between the first two, or exactly the third.
    BetweenOr(i64, i64, i64),
    /// Of fractions.
    Fraction,
    OneOf(&'static [&'static str]),
}

impl fmt::Display for Bounds {
    /// As Kafka's documentation writes them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bounds::Any => Ok(()),
            Bounds::AtLeast(min) => write!(f, "[{min},...]"),
            Bounds::Between(min, max) => write!(f, "[{min},...,{max}]"),
            Bounds::BetweenOr(min, max, or) => write!(f, "[{min},...,{max}] or {or}"),
            Bounds::Fraction => f.write_str("[0,...,1]"),
            Bounds::OneOf(values) => write!(f, "[{}]", values.join(", ")),
        }
    }
}

impl Setting {
    /// Whether `text` is a value of this setting; the error is the reason, in Kafka's words where Kafka has them.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let text = text.trim();
        self.check_kind_and_bounds(text)?;
        match self.fixed {
            Some(why) if !self.same_value(text) => Err(format!(
                "Only {} is supported: {why}",
                self.default.filter(|d| !d.is_empty()).unwrap_or("the empty value")
            )),
            _ => Ok(()),
        }
    }

    fn check_kind_and_bounds(&self, text: &str) -> Result<(), String> {
        match self.kind {
            Kind::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "false" => Ok(()),
                _ => Err("Expected value to be either true or false".into()),
            },
            Kind::Int => {
                let number: i32 = text.parse().map_err(|_| self.not_a_number(text))?;
                self.check_number(i64::from(number))
            }
            Kind::Long => {
                let number: i64 = text.parse().map_err(|_| self.not_a_number(text))?;
                self.check_number(number)
            }
            Kind::Double => {
                let number: f64 = text.parse().map_err(|_| self.not_a_number(text))?;
                match self.bounds {
                    Bounds::Fraction if number < 0.0 => Err("Value must be at least 0".into()),
                    Bounds::Fraction if number > 1.0 => Err("Value must be no more than 1".into()),
                    _ => Ok(()),
                }
            }
            Kind::Text => self.check_one_of(text),
            Kind::List => list_items(text).try_for_each(|item| self.check_one_of(item)),
        }
    }

    /// In Kafka's words, and the number that was meant by one with a unit.
    fn not_a_number(&self, text: &str) -> String {
        let meant = without_unit(self.key, text).map(|number| format!(", which takes no unit: write {number}"));
        format!("Not a number of type {}{}", self.kind, meant.unwrap_or_default())
    }

    fn check_number(&self, number: i64) -> Result<(), String> {
        match self.bounds {
            Bounds::AtLeast(min) | Bounds::Between(min, _) if number < min => {
                Err(format!("Value must be at least {min}"))
            }
            Bounds::Between(_, max) if number > max => Err(format!("Value must be no more than {max}")),
            Bounds::BetweenOr(min, max, or) if number != or && !(min..=max).contains(&number) => {
                Err(format!("Value must be between {min} and {max} or equal to {or}"))
            }
            _ => Ok(()),
        }
    }

    fn check_one_of(&self, text: &str) -> Result<(), String> {
        match self.bounds {
            Bounds::OneOf(values) if !values.contains(&text) => {
                Err(format!("String must be one of: {}", values.join(", ")))
            }
            _ => Ok(()),
        }
    }

    fn same_value(&self, text: &str) -> bool {
        let default = self.default.unwrap_or("");
        match self.kind {
            Kind::Boolean => text.eq_ignore_ascii_case(default),
            Kind::Int | Kind::Long => text.parse::<i64>().ok() == default.parse().ok(),
            Kind::Double => text.parse::<f64>().ok() == default.parse().ok(),
            Kind::List => list_items(text).eq(list_items(default)),
            Kind::Text => text == default,
        }
    }
}

/// What `1h` is in a setting in milliseconds, and `1G` in one in bytes.
fn without_unit(key: &str, text: &str) -> Option<i64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = unit.trim().to_ascii_lowercase();
    let time_ms = match unit.as_str() {
        "ms" => Some(1),
        "s" | "sec" => Some(1000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let bytes = match unit.as_str() {
        "b" => Some(1),
        "k" | "kb" | "kib" => Some(1 << 10),
        "m" | "mb" | "mib" => Some(1 << 20),
        "g" | "gb" | "gib" => Some(1 << 30),
        "t" | "tb" | "tib" => Some(1 << 40),
        _ => None,
    };
    let (unit_of_text, unit_of_key) = match key.rsplit('.').next() {
        Some("ms") => (time_ms?, 1),
        Some("minutes") => (time_ms?, 60_000),
        Some("hours") => (time_ms?, 3_600_000),
        _ if key.contains("bytes") => (bytes?, 1),
        _ => return None,
    };
    let meant = number.parse::<i64>().ok()?.checked_mul(unit_of_text)?;
    (meant % unit_of_key == 0).then_some(meant / unit_of_key)
}

/// The items of a list value: separated by commas, blanks around them do not count.
pub(super) fn list_items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// The row of a key.
pub fn setting(scope: Scope, key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.scope == scope && s.key == key)
}

/// The known key that is fewest edits away from `key`, if it is close enough to be what was meant.
pub fn nearest_key(scope: Scope, key: &str) -> Option<&'static str> {
    // Counting the edits costs as much as both lengths multiplied, and a client may send thousands of long names.
    if key.len() > MISSPELT_BYTES_MAX {
        return None;
    }
    let renamed = match key {
        "broker.id" => Some("node.id"),
        "port" | "host.name" => Some("listeners"),
        "advertised.host.name" | "advertised.port" => Some("advertised.listeners"),
        _ => None,
    };
    // The other scope's name for the same thing is as likely a mistake as a typing error, or both at once.
    let names = SETTINGS.iter().flat_map(|s| {
        let own = (s.scope == scope).then_some((s.key, s.key));
        let others = s.from_broker.iter().map(move |from| match scope {
            Scope::Broker => (s.key, from.key),
            Scope::Topic => (from.key, s.key),
        });
        own.into_iter().chain(others)
    });
    let nearest = || {
        names
            .map(|(name, meant)| (edit_distance(key, name), meant))
            .min_by_key(|near| near.0)
    };
    let is_near = |&(distance, _): &(usize, _)| distance <= 2 + key.len() / 5;
    renamed.or_else(|| nearest().filter(is_near).map(|(_, meant)| meant))
}

/// No key is so long, however misspelt.
const MISSPELT_BYTES_MAX: usize = 100;

/// Levenshtein's distance, with a swap of neighbours counted as one edit.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before_last: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// Where a pair was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A configuration file and the line in it, counted from 1.
    File { path: String, line: usize },
    /// An option of the command line, as typed: `--set`, `--listen`.
    Option(&'static str),
    /// A record of the metadata log, or a request.
    Metadata,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{path}:{line}"),
            Origin::Option(option) => f.write_str(option),
            Origin::Metadata => f.write_str("metadata"),
        }
    }
}

/// One `key=value` and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

/// Why a configuration is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{origin}: unknown setting {key:?}{}", did_you_mean(*nearest))]
    UnknownKey {
        scope: Scope,
        key: String,
        nearest: Option<&'static str>,
        origin: Origin,
    },
    #[error("{origin}: invalid value {value:?} for {key}: {reason}")]
    BadValue {
        key: String,
        value: String,
        reason: String,
        origin: Origin,
    },
    /// A line of a file that is not `key=value`, or a command line option that is not.
    #[error("{origin}: {reason}")]
    BadLine { reason: String, origin: Origin },
}

/// Everything that is wrong with a configuration, one problem a line. Not empty.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ConfigError::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<ConfigError>);

fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest.map(|key| format!("; did you mean {key}?")).unwrap_or_default()
}

impl ConfigError {
    /// The error of an AlterConfigs or CreateTopics request, in Kafka's words (`ConfigException`).
    pub fn kafka_message(&self) -> String {
        match self {
            ConfigError::UnknownKey {
                scope, key, nearest, ..
            } => {
                let scope = match scope {
                    Scope::Topic => "topic",
                    Scope::Broker => "broker",
                };
                let key = Excerpt(key);
                format!("Unknown {scope} config name: {key}{}", did_you_mean(*nearest))
            }
            ConfigError::BadValue { key, value, reason, .. } => {
                let (key, value) = (Excerpt(key), Excerpt(value));
                format!("Invalid value {value} for configuration {key}: {reason}")
            }
            ConfigError::BadLine { reason, .. } => reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("retention.ms", "retention.ms"), 0);
        assert_eq!(edit_distance("retenton.ms", "retention.ms"), 1);
        assert_eq!(edit_distance("listenres", "listeners"), 1);
    }

    #[test]
    fn nearest_key_is_what_was_meant_or_nothing() {
        assert_eq!(nearest_key(Scope::Broker, "num.partition"), Some("num.partitions"));
        assert_eq!(nearest_key(Scope::Broker, "retention.ms"), Some("log.retention.ms"));
        assert_eq!(
            nearest_key(Scope::Broker, "flush.mesages"),
            Some("log.flush.interval.messages")
        );
        assert_eq!(nearest_key(Scope::Topic, "log.retention.hours"), Some("retention.ms"));
        assert_eq!(nearest_key(Scope::Broker, "broker.id"), Some("node.id"));
        assert_eq!(nearest_key(Scope::Broker, "completely.different.thing"), None);
    }

    #[test]
    fn values_are_checked_in_kafkas_words() {
        let check = |key, value| setting(Scope::Topic, key).unwrap().check(value);
        assert_eq!(check("retention.ms", "soon").unwrap_err(), "Not a number of type LONG");
        assert_eq!(
            check("retention.ms", "1h").unwrap_err(),
            "Not a number of type LONG, which takes no unit: write 3600000"
        );
        assert_eq!(
            check("segment.bytes", "1 GiB").unwrap_err(),
            "Not a number of type INT, which takes no unit: write 1073741824"
        );
        assert_eq!(check("retention.ms", "1G").unwrap_err(), "Not a number of type LONG");
        assert_eq!(without_unit("log.retention.hours", "7d"), Some(168));
        assert_eq!(without_unit("log.retention.hours", "90m"), None);
        assert_eq!(without_unit("retention.ms", "99999999999999999d"), None);
        assert_eq!(check("retention.ms", "-2").unwrap_err(), "Value must be at least -1");
        assert_eq!(
            check("max.message.bytes", "3000000000").unwrap_err(),
            "Not a number of type INT"
        );
        assert_eq!(
            check("preallocate", "maybe").unwrap_err(),
            "Expected value to be either true or false"
        );
        assert!(
            check("compression.type", "brotli")
                .unwrap_err()
                .starts_with("String must be one of: ")
        );
        assert_eq!(check("retention.ms", " 5 "), Ok(()));
    }

    #[test]
    fn a_fixed_setting_takes_its_default_only() {
        let check = |key, value| setting(Scope::Topic, key).unwrap().check(value);
        assert_eq!(check("cleanup.policy", "delete"), Ok(()));
        let refused = check("cleanup.policy", "compact").unwrap_err();
        assert!(refused.starts_with("Only delete is supported: "), "{refused}");
        assert!(check("cleanup.policy", "compact,delete").is_err());
        assert!(
            check("cleanup.policy", "shred")
                .unwrap_err()
                .starts_with("String must be one of: ")
        );
        assert_eq!(check("min.cleanable.dirty.ratio", "0.50"), Ok(()));
    }

    #[test]
    fn every_default_is_a_value_of_its_setting() {
        for setting in SETTINGS.iter() {
            if let Some(default) = setting.default {
                assert_eq!(setting.check(default), Ok(()), "{}", setting.key);
            }
            assert!(setting.doc.ends_with('.'), "{}: {:?}", setting.key, setting.doc);
        }
    }

    #[test]
    fn a_key_is_declared_once_in_its_scope() {
        for (i, s) in SETTINGS.iter().enumerate() {
            assert!(
                !SETTINGS[..i].iter().any(|t| t.scope == s.scope && t.key == s.key),
                "{} twice",
                s.key
            );
        }
    }
}
