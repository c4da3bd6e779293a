//! Every setting, once: its key, type, default, bounds, scope and one sentence.
//!
//! [`SETTINGS`] is the one source: help, validation, DescribeConfigs, AlterConfigs and the README's table read it, and
//! the typed structs [`BrokerConfig`] and [`TopicConfig`] are declared by the same rows (`table.rs`). Keys are Kafka's
//! wherever Kafka has the setting; ours begin with `tidemill.`. A key that is in the table acts, or is *fixed*: shown with
//! the one value that describes what we do, any other refused. Every other key of Kafka's is known by name: it has no meaning
//! here, or means something that we do not have yet (`kafka_keys.rs`).
//!
//! A topic's value comes from, in this order: its own override, the broker's dynamic configuration, the cluster's
//! dynamic default, the file or command line (each by the broker's name of the setting), the default.

mod broker;
mod describe;
mod kafka_keys;
mod limits;
mod listeners;
mod markdown;
mod properties;
mod setting;
mod table;
mod value;

pub use broker::{BrokerConfig, Overrides, Sources, check_cleanup_policy};
pub use describe::{ConfigSource, Described, Synonym, describe_broker, describe_cluster_default, describe_topic};
pub use kafka_keys::{NotHere, not_here};
pub use limits::Limits;
pub use markdown::{markdown_table, settings_of};
pub use properties::parse_properties;
pub use setting::{
    Bounds, ConfigError, ConfigErrors, Kind, Origin, Pair, SETTINGS, Scope, Setting, nearest_key, setting,
};
pub use table::{BrokerSettings, TopicConfig};
pub use value::{CleanupPolicy, CompressionType, Cores, Endpoint, LogLevel, TimestampType, Umask};
