//! The rows. Each declares a field of a typed struct and its [`Setting`]; rows without a field are settings of Kafka's
//! that have one value here (see [`Setting::fixed`]).
//!
//! A row: doc comment (which is what DescribeConfigs and the README say), `field: Type`, key, Kafka's type, default,
//! bounds, and for a topic's setting the broker's settings that give its default, for a broker's whether it can be
//! altered at run time.

use super::setting::{Bounds, Bounds::*, FromBroker, Kind::*, Scope, Setting};
use super::value::{CleanupPolicy, CompressionType, Cores, Endpoint, LogLevel, TimestampType, Umask, Value};

const DYNAMIC: bool = true;
const STATIC: bool = false;

/// The topic's key of [`CleanupPolicy`], and the broker's.
pub const CLEANUP_POLICY: &str = "cleanup.policy";
pub const LOG_CLEANUP_POLICY: &str = "log.cleanup.policy";

const NO_COMPACTION: &str = "compaction is not available yet";
const NO_REMOTE: &str = "tiered storage is not available";
const NO_SHARE_GROUPS: &str = "share groups are not available yet";
const NO_REPLICATION: &str = "replication is not available yet";

/// The broker's name of a topic's setting, with the same unit and default.
const fn broker(key: &'static str, default: &'static str) -> FromBroker {
    FromBroker {
        key,
        scale: 1,
        default: Some(default),
        dynamic: true,
    }
}

/// As [`broker`], not set by default.
const fn unset(key: &'static str) -> FromBroker {
    FromBroker {
        key,
        scale: 1,
        default: None,
        dynamic: true,
    }
}

/// A coarser unit of the same thing, which cannot be altered at run time.
const fn in_units(scale: i64, key: &'static str, default: Option<&'static str>) -> FromBroker {
    FromBroker {
        key,
        scale,
        default,
        dynamic: false,
    }
}

/// A key and why its value is refused.
pub(super) type BadSetting = (&'static str, String);

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

macro_rules! topic_settings {
    ($($(#[doc = $doc:literal])+ $field:ident: $ty:ty =
        $key:literal, $kind:expr, $default:literal, $bounds:expr, [$($from:expr),*];)*) => {
        /// How one topic's logs behave: every value resolved (see the module's order of sources).
        #[derive(Clone, Debug, PartialEq)]
        pub struct TopicConfig {
            $($(#[doc = $doc])+ pub $field: $ty,)*
            /// What happens to old records. A person can choose deletion only; the others come with a folder of Kafka's.
            pub cleanup_policy: CleanupPolicy,
        }

        impl TopicConfig {
            /// Builds it from `text_of`, which gives a row's checked text. An error is the row's key and the reason.
            pub(super) fn read(mut text_of: impl FnMut(&'static str) -> String) -> Result<TopicConfig, BadSetting> {
                Ok(TopicConfig {
                    $($field: <$ty as Value>::read(&text_of($key)).map_err(|reason| ($key, reason))?,)*
                    cleanup_policy: CleanupPolicy::of(&text_of(CLEANUP_POLICY)),
                })
            }
        }

        fn topic_rows() -> Vec<Setting> {
            vec![$(Setting {
                key: $key,
                scope: Scope::Topic,
                kind: $kind,
                default: Some($default),
                bounds: $bounds,
                doc: concat!($($doc),+).trim_ascii(),
                field: Some(stringify!($field)),
                fixed: None,
                dynamic: true,
                from_broker: const { &[$($from),*] },
            },)*]
        }
    };
}

macro_rules! broker_settings {
    ($($(#[doc = $doc:literal])+ $field:ident: $ty:ty =
        $key:literal, $kind:expr, $default:expr, $bounds:expr, $dynamic:expr;)*) => {
        /// The broker's own settings.
        #[derive(Clone, Debug, PartialEq)]
        pub struct BrokerSettings {
            $($(#[doc = $doc])+ pub $field: $ty,)*
        }

        impl BrokerSettings {
            /// Builds it from `text_of`, which gives a row's checked text, empty when it is not set and has no default.
            /// The error is everything that is wrong.
            pub(super) fn read(
                mut text_of: impl FnMut(&'static str) -> Result<String, String>,
            ) -> Result<BrokerSettings, Vec<BadSetting>> {
                let mut bad = Vec::new();
                $(let $field = text_of($key)
                    .and_then(|text| match text.is_empty() {
                        false => <$ty as Value>::read(&text),
                        true => <$ty as Value>::unset().ok_or_else(|| "A value is needed".into()),
                    })
                    .map_err(|reason| bad.push(($key, reason)));)*
                match ($($field,)*) {
                    ($(Ok($field),)*) => Ok(BrokerSettings { $($field,)* }),
                    _ => Err(bad),
                }
            }
        }

        fn broker_rows() -> Vec<Setting> {
            vec![$(Setting {
                key: $key,
                scope: Scope::Broker,
                kind: $kind,
                default: $default,
                bounds: $bounds,
                doc: concat!($($doc),+).trim_ascii(),
                field: Some(stringify!($field)),
                fixed: None,
                dynamic: $dynamic,
                from_broker: &[],
            },)*]
        }
    };
}

topic_settings! {
    /// The codec that batches are stored with: producer keeps each batch as its producer sent it; another value
    /// recompresses what does not use that codec.
    compression_type: CompressionType = "compression.type", Text, "producer", OneOf(CompressionType::NAMES),
        [broker("compression.type", "producer")];
    /// The level for batches that the broker compresses with gzip; -1 is the codec's own default.
    compression_gzip_level: i32 = "compression.gzip.level", Int, "-1", BetweenOr(1, 9, -1),
        [broker("compression.gzip.level", "-1")];
    /// The level for batches that the broker compresses with zstd.
    compression_zstd_level: i32 = "compression.zstd.level", Int, "3", Between(-131_072, 22),
        [broker("compression.zstd.level", "3")];
    /// How long a file of a deleted segment or partition stays on disk before it is removed, in milliseconds.
    file_delete_delay_ms: i64 = "file.delete.delay.ms", Long, "60000", AtLeast(0),
        [broker("log.segment.delete.delay.ms", "60000")];
    /// After so many records of a partition they are flushed to the device before the last of them is acknowledged. At
    /// 1, the default, every acknowledged record is on the device; above it, the newest acknowledged ones, always fewer
    /// than this, survive the broker's end but not the machine's.
    flush_messages: i64 = "flush.messages", Long, "1", AtLeast(1), [broker("log.flush.interval.messages", "1")];
    /// How long an acknowledged record may stay unflushed, in milliseconds, when flush.messages is above 1.
    flush_ms: i64 = "flush.ms", Long, "9223372036854775807", AtLeast(0), [unset("log.flush.interval.ms")];
    /// How many bytes of log lie between two entries of the offset and time index.
    index_interval_bytes: u64 = "index.interval.bytes", Int, "4096", AtLeast(0),
        [broker("log.index.interval.bytes", "4096")];
    /// The largest record of a compressed batch that is produced, in bytes as it is inflated; a batch with a larger one is
    /// refused. What a whole batch may inflate to follows from max.message.bytes: a hundred times that.
    max_decompressed_message_bytes: usize = "max.decompressed.message.bytes", Int, "2147483639", Between(1, 2147483639),
        [broker("max.decompressed.message.bytes", "2147483639")];
    /// The largest batch, as it arrives and as it is stored, in bytes.
    max_message_bytes: usize = "max.message.bytes", Int, "1048588", AtLeast(0),
        [broker("message.max.bytes", "1048588")];
    /// How far a record's timestamp may lie in the future of the broker's clock, in milliseconds; a batch beyond is
    /// refused. Has no effect when the broker stamps the time.
    message_timestamp_after_max_ms: i64 = "message.timestamp.after.max.ms", Long, "3600000", AtLeast(0),
        [broker("log.message.timestamp.after.max.ms", "3600000")];
    /// How far a record's timestamp may lie in the past of the broker's clock, in milliseconds; a batch beyond is
    /// refused. Has no effect when the broker stamps the time.
    message_timestamp_before_max_ms: i64 = "message.timestamp.before.max.ms", Long, "9223372036854775807", AtLeast(0),
        [broker("log.message.timestamp.before.max.ms", "9223372036854775807")];
    /// Whether a record's timestamp is the producer's (CreateTime) or the broker's at append (LogAppendTime).
    message_timestamp_type: TimestampType = "message.timestamp.type", Text, "CreateTime", OneOf(TimestampType::NAMES),
        [broker("log.message.timestamp.type", "CreateTime")];
    /// How many in-sync replicas, the leader among them, a produce with acks=all needs; with fewer it is refused. At most as many as there are replicas.
    min_insync_replicas: i32 = "min.insync.replicas", Int, "1", AtLeast(1), [broker("min.insync.replicas", "1")];
    /// The size above which a partition's oldest segments are deleted, in bytes; -1 is no limit.
    retention_bytes: Option<i64> = "retention.bytes", Long, "-1", Any, [broker("log.retention.bytes", "-1")];
    /// The age above which a partition's segments are deleted, in milliseconds since their newest record; -1 is no
    /// limit.
    retention_ms: Option<i64> = "retention.ms", Long, "604800000", AtLeast(-1),
        [
            unset("log.retention.ms"),
            in_units(MINUTE_MS, "log.retention.minutes", None),
            in_units(HOUR_MS, "log.retention.hours", Some("168"))
        ];
    /// The size at which a segment is closed and the next one begins, in bytes.
    segment_bytes: u64 = "segment.bytes", Int, "1073741824", AtLeast(1024 * 1024),
        [broker("log.segment.bytes", "1073741824")];
    /// A random part of up to this many milliseconds is taken off segment.ms, so that partitions do not all roll at
    /// once.
    segment_jitter_ms: i64 = "segment.jitter.ms", Long, "0", AtLeast(0),
        [unset("log.roll.jitter.ms"), in_units(HOUR_MS, "log.roll.jitter.hours", Some("0"))];
    /// The age at which a segment is closed even though it is not full, in milliseconds.
    segment_ms: i64 = "segment.ms", Long, "604800000", AtLeast(1),
        [unset("log.roll.ms"), in_units(HOUR_MS, "log.roll.hours", Some("168"))];
}

broker_settings! {
    /// Where clients are told to connect; the listener's own address when not set. One listener, and the controller's.
    advertised_listeners: Option<Endpoint> = "advertised.listeners", Text, None, Any, STATIC;
    /// Whether a topic that does not exist is created when a client asks for its metadata and allows it.
    auto_create_topics_enable: bool = "auto.create.topics.enable", Boolean, Some("true"), Any, STATIC;
    /// The rack of this broker, told to clients.
    broker_rack: Option<String> = "broker.rack", Text, None, Any, STATIC;
    /// How long a connection may do nothing before it is closed, in milliseconds.
    connections_max_idle_ms: i64 = "connections.max.idle.ms", Long, Some("600000"), AtLeast(0), STATIC;
    /// The replication factor of topics that are created without one.
    default_replication_factor: i32 = "default.replication.factor", Int, Some("1"), AtLeast(1), STATIC;
    /// Whether topics can be deleted.
    delete_topic_enable: bool = "delete.topic.enable", Boolean, Some("true"), Any, STATIC;
    /// The most bytes of records in a fetch response, whatever the client asks for.
    fetch_max_bytes: usize = "fetch.max.bytes", Int, Some("57671680"), AtLeast(1024), STATIC;
    /// Where to listen: one listener for clients; port 0 takes a free one. The controller's, as Kafka's files have them, are
    /// not opened.
    listeners: Endpoint = "listeners", Text, Some("PLAINTEXT://127.0.0.1:9092"), Any, STATIC;
    /// The data folder, when log.dirs is not set.
    log_dir: String = "log.dir", Text, Some("./tidemill-data"), Any, STATIC;
    /// The data folder; one only.
    log_dirs: Option<String> = "log.dirs", Text, None, Any, STATIC;
    /// How often segments are looked over for ones that retention deletes, in milliseconds.
    log_retention_check_interval_ms: i64 = "log.retention.check.interval.ms", Long, Some("300000"), AtLeast(1), STATIC;
    /// The most connections at a time; further ones are closed at once.
    max_connections: usize = "max.connections", Int, Some("2147483647"), AtLeast(0), STATIC;
    /// The most connections at a time from one address; further ones are closed at once.
    max_connections_per_ip: usize = "max.connections.per.ip", Int, Some("2147483647"), AtLeast(0), STATIC;
    /// How many fetch sessions are kept; a client without one sends the whole list of partitions with each fetch.
    max_incremental_fetch_session_cache_slots: usize = "max.incremental.fetch.session.cache.slots",
        Int, Some("1000"), AtLeast(0), STATIC;
    /// The most partitions in one DescribeTopicPartitions response.
    max_request_partition_size_limit: i32 = "max.request.partition.size.limit", Int, Some("2000"), AtLeast(1), STATIC;
    /// How many bytes of the metadata log are written before the next snapshot of it.
    metadata_log_max_record_bytes_between_snapshots: u64 = "metadata.log.max.record.bytes.between.snapshots",
        Long, Some("20971520"), AtLeast(1), STATIC;
    /// How long the metadata log may hold changes that no snapshot has, in milliseconds; 0 is no limit.
    metadata_log_max_snapshot_interval_ms: i64 = "metadata.log.max.snapshot.interval.ms",
        Long, Some("3600000"), AtLeast(0), STATIC;
    /// The size at which a segment of the metadata log is closed, in bytes.
    metadata_log_segment_bytes: u64 = "metadata.log.segment.bytes",
        Int, Some("1073741824"), AtLeast(8 * 1024 * 1024), STATIC;
    /// This broker's number in its cluster.
    node_id: i32 = "node.id", Int, Some("1"), AtLeast(0), STATIC;
    /// The number of partitions of topics that are created without one.
    num_partitions: i32 = "num.partitions", Int, Some("1"), AtLeast(1), STATIC;
    /// How often idempotent producers are looked over for ones to forget, in milliseconds.
    producer_id_expiration_check_interval_ms: i64 = "producer.id.expiration.check.interval.ms",
        Int, Some("600000"), AtLeast(1), STATIC;
    /// How long a partition remembers an idempotent producer that sends nothing, in milliseconds. Of more than 16384
    /// producers it forgets those first that sent nothing for longest.
    producer_id_expiration_ms: i64 = "producer.id.expiration.ms", Int, Some("86400000"), AtLeast(1), DYNAMIC;
    /// Memory for requests that arrived and are not answered, of all shards together, in bytes. When it is used up,
    /// sockets are not read; one request that is larger than what is left is let in at a time.
    queued_max_request_bytes: usize = "queued.max.request.bytes", Long, Some("33554432"), AtLeast(1024 * 1024), STATIC;
    /// How many connections may wait to be accepted; the system's net.core.somaxconn bounds it. A client that comes while
    /// so many wait tries again a second later.
    socket_listen_backlog_size: i32 = "socket.listen.backlog.size", Int, Some("4096"), AtLeast(1), STATIC;
    /// The kernel's receive buffer of a connection, in bytes; -1 leaves the system's default.
    socket_receive_buffer_bytes: Option<usize> = "socket.receive.buffer.bytes", Int, Some("-1"), AtLeast(-1), STATIC;
    /// The largest request, in bytes; a larger one closes its connection.
    socket_request_max_bytes: usize = "socket.request.max.bytes", Int, Some("104857600"), AtLeast(1), STATIC;
    /// The kernel's send buffer of a connection, in bytes; -1 leaves the system's default.
    socket_send_buffer_bytes: Option<usize> = "socket.send.buffer.bytes", Int, Some("-1"), AtLeast(-1), STATIC;
    /// Memory that keeps recently written records for consumers, of all shards together, in bytes; at least 4 MiB a
    /// shard. Half as much again, and 16 MiB a shard, is for replies that clients take slowly.
    cache_bytes: u64 = "tidemill.cache.bytes", Long, Some("134217728"), AtLeast(0), STATIC;
    /// The cores that get a shard each: auto for every core that the process may use, or numbers and ranges such as
    /// 0,2-3.
    cores: Cores = "tidemill.cores", Text, Some("auto"), Any, STATIC;
    /// Memory for records that are not yet in their segments, of all shards together, in bytes; at least 16 MiB a
    /// shard. When it is used up, appends wait.
    dirty_bytes: u64 = "tidemill.dirty.bytes", Long, Some("100663296"), AtLeast(1024 * 1024), STATIC;
    /// Free space below which the data folder counts as full: produces are refused until there is more, in bytes.
    disk_reserve_bytes: u64 = "tidemill.disk.reserve.bytes", Long, Some("268435456"), AtLeast(0), STATIC;
    /// How long a request that has begun to arrive may take to arrive in full, in milliseconds; then its connection is
    /// closed.
    frame_timeout_ms: i64 = "tidemill.frame.timeout.ms", Long, Some("30000"), AtLeast(1), STATIC;
    /// The size of each shard's journal, in bytes, a multiple of 4096. Journals of another size are made anew by the
    /// first start after a clean stop.
    journal_bytes: u64 = "tidemill.journal.bytes", Long, Some("134217728"), AtLeast(8 * 1024 * 1024), STATIC;
    /// Which events are logged: those of this level and worse.
    log_level: LogLevel = "tidemill.log.level", Text, Some("info"), OneOf(LogLevel::NAMES), STATIC;
    /// How long an idle shard looks for messages of the others before it sleeps, in microseconds; 0 sleeps at once, and so does a single shard.
    spin_us: u64 = "tidemill.spin.us", Long, Some("50"), Between(0, 10_000), STATIC;
    /// The permissions that new folders and files do not get, in octal as the shell's umask: with 077 they are their
    /// owner's only, with 027 his group reads them. What exists already stays as it is.
    umask: Umask = "tidemill.umask", Text, Some("077"), Any, STATIC;
}

/// Settings of topics that Kafka has and that have one value here.
fn fixed_topic_rows() -> Vec<Setting> {
    let row = |key, kind, default, bounds, from_broker, fixed, doc| Setting {
        key,
        scope: Scope::Topic,
        kind,
        default: Some(default),
        bounds,
        doc,
        field: None,
        fixed: Some(fixed),
        dynamic: true,
        from_broker,
    };
    const MAX: &str = "9223372036854775807";
    vec![
        row(
            CLEANUP_POLICY,
            List,
            "delete",
            OneOf(&["compact", "delete"]),
            const { &[broker(LOG_CLEANUP_POLICY, "delete")] },
            NO_COMPACTION,
            "What happens to old segments; delete removes them as retention says.",
        ),
        row(
            "compression.lz4.level",
            Int,
            "9",
            Between(1, 17),
            const { &[broker("compression.lz4.level", "9")] },
            "the broker's lz4 has one level",
            "The level for batches that the broker compresses with lz4.",
        ),
        row(
            "delete.retention.ms",
            Long,
            "86400000",
            AtLeast(0),
            const { &[broker("log.cleaner.delete.retention.ms", "86400000")] },
            NO_COMPACTION,
            "How long compaction keeps tombstones, in milliseconds.",
        ),
        row(
            "errors.deadletterqueue.group.enable",
            Boolean,
            "false",
            Any,
            &[],
            NO_SHARE_GROUPS,
            "Whether share groups may put records here that nobody could process.",
        ),
        row(
            "follower.replication.throttled.replicas",
            List,
            "",
            Any,
            &[],
            NO_REPLICATION,
            "Replicas whose replication is throttled on the follower's side.",
        ),
        row(
            "leader.replication.throttled.replicas",
            List,
            "",
            Any,
            &[],
            NO_REPLICATION,
            "Replicas whose replication is throttled on the leader's side.",
        ),
        row(
            "local.retention.bytes",
            Long,
            "-2",
            AtLeast(-2),
            const { &[broker("log.local.retention.bytes", "-2")] },
            NO_REMOTE,
            "The part of retention.bytes that stays on the broker's disk with tiered storage; -2 is all of it.",
        ),
        row(
            "local.retention.ms",
            Long,
            "-2",
            AtLeast(-2),
            const { &[broker("log.local.retention.ms", "-2")] },
            NO_REMOTE,
            "The part of retention.ms that stays on the broker's disk with tiered storage; -2 is all of it.",
        ),
        row(
            "max.compaction.lag.ms",
            Long,
            MAX,
            AtLeast(1),
            const { &[broker("log.cleaner.max.compaction.lag.ms", MAX)] },
            NO_COMPACTION,
            "The longest that a record may stay uncompacted, in milliseconds.",
        ),
        row(
            "min.cleanable.dirty.ratio",
            Double,
            "0.5",
            Fraction,
            const { &[broker("log.cleaner.min.cleanable.ratio", "0.5")] },
            NO_COMPACTION,
            "The part of a log that must be uncompacted before it is compacted again.",
        ),
        row(
            "min.compaction.lag.ms",
            Long,
            "0",
            AtLeast(0),
            const { &[broker("log.cleaner.min.compaction.lag.ms", "0")] },
            NO_COMPACTION,
            "The shortest that a record stays uncompacted, in milliseconds.",
        ),
        row(
            "preallocate",
            Boolean,
            "false",
            Any,
            const { &[broker("log.preallocate", "false")] },
            "a segment's space is always reserved, without changing the size of its file",
            "Whether a new segment's file gets its full size at once.",
        ),
        row(
            "remote.copy.lag.bytes",
            Long,
            "-1",
            AtLeast(-2),
            const { &[broker("log.remote.copy.lag.bytes", "-1")] },
            NO_REMOTE,
            "How much of a closed segment's log must follow it before it is copied to tiered storage; -1 is none.",
        ),
        row(
            "remote.copy.lag.ms",
            Long,
            "0",
            AtLeast(-2),
            const { &[broker("log.remote.copy.lag.ms", "0")] },
            NO_REMOTE,
            "How old a closed segment must be before it is copied to tiered storage.",
        ),
        row(
            "remote.log.copy.disable",
            Boolean,
            "false",
            Any,
            &[],
            NO_REMOTE,
            "Whether tiered storage stops copying segments.",
        ),
        row(
            "remote.log.delete.on.disable",
            Boolean,
            "false",
            Any,
            &[],
            NO_REMOTE,
            "Whether tiered data is deleted when tiered storage is switched off.",
        ),
        row(
            "remote.storage.enable",
            Boolean,
            "false",
            Any,
            &[],
            NO_REMOTE,
            "Whether segments are copied to tiered storage.",
        ),
        row(
            "segment.index.bytes",
            Int,
            "10485760",
            AtLeast(4),
            const { &[broker("log.index.size.max.bytes", "10485760")] },
            "indexes are in memory and take no file",
            "The largest size of a segment's index file, in bytes.",
        ),
        row(
            "unclean.leader.election.enable",
            Boolean,
            "false",
            Any,
            const { &[broker("unclean.leader.election.enable", "false")] },
            NO_REPLICATION,
            "Whether a replica that is not in sync may become leader, losing records, when no other is left.",
        ),
    ]
}

/// Settings of the broker that Kafka has and that have one value here.
fn fixed_broker_rows() -> Vec<Setting> {
    let row = |key, kind, default, bounds, fixed, doc| Setting {
        key,
        scope: Scope::Broker,
        kind,
        default: Some(default),
        bounds,
        doc,
        field: None,
        fixed: Some(fixed),
        dynamic: false,
        from_broker: &[],
    };
    vec![
        row(
            "inter.broker.listener.name",
            Text,
            "PLAINTEXT",
            Any,
            "there is one listener",
            "The listener that other brokers connect to.",
        ),
        row(
            "process.roles",
            List,
            "broker,controller",
            OneOf(&["broker", "controller"]),
            "a node is its own controller",
            "The roles of this process.",
        ),
        row(
            "security.inter.broker.protocol",
            Text,
            "PLAINTEXT",
            Any,
            "there is one listener, in plain text",
            "The protocol between brokers.",
        ),
    ]
}

/// Kafka's settings that say which of its listeners is opened ([`super::listeners`]).
fn listener_rows() -> Vec<Setting> {
    let row = |key, default, doc| Setting {
        key,
        scope: Scope::Broker,
        kind: Text,
        default,
        bounds: Any,
        doc,
        field: None,
        fixed: None,
        dynamic: false,
        from_broker: &[],
    };
    vec![
        row(
            "controller.listener.names",
            None,
            "Which names in listeners and advertised.listeners are the controller's. These are not opened: this node's \
             controller speaks to no other.",
        ),
        row(
            "listener.security.protocol.map",
            Some("PLAINTEXT:PLAINTEXT"),
            "The protocol of each listener by its name; the one for clients must have PLAINTEXT.",
        ),
    ]
}

/// The broker's settings that give topics their defaults: same type, bounds and sentence as the topic's.
fn broker_rows_of_topics(topics: &[Setting]) -> Vec<Setting> {
    let mut rows: Vec<Setting> = Vec::new();
    for topic in topics {
        for from in topic.from_broker {
            let doc = match from.scale {
                MINUTE_MS => {
                    "The same as the setting of this name in milliseconds, in minutes, where that one is not set."
                }
                HOUR_MS => "The same as the setting of this name in milliseconds, in hours, where no finer one is set.",
                _ => topic.doc,
            };
            rows.push(Setting {
                key: from.key,
                scope: Scope::Broker,
                kind: if from.scale == 1 { topic.kind } else { Int },
                default: from.default,
                bounds: if from.scale == 1 {
                    topic.bounds
                } else {
                    coarse_bounds(topic.bounds)
                },
                doc,
                field: topic.field,
                fixed: topic.fixed,
                dynamic: from.dynamic,
                from_broker: &[],
            });
        }
    }
    rows
}

/// "No limit" stays -1 in every unit, and the least number above zero stays 1.
fn coarse_bounds(bounds: Bounds) -> Bounds {
    match bounds {
        AtLeast(min) if min > 1 => AtLeast(1),
        other => other,
    }
}

pub(super) fn all() -> Vec<Setting> {
    let mut topics = [topic_rows(), fixed_topic_rows()].concat();
    topics.sort_by_key(|s| s.key);
    let mut brokers = [
        broker_rows(),
        listener_rows(),
        fixed_broker_rows(),
        broker_rows_of_topics(&topics),
    ]
    .concat();
    brokers.sort_by_key(|s| s.key);
    [topics, brokers].concat()
}
