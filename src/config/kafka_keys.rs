//! Kafka's keys that no row of the table has, in two classes, each with the reason that people are told.
//!
//! What has no meaning here is tuning: of threads, queues and pools that do not exist, or of a part of Kafka whose use is
//! refused by itself (a group, a transaction, a second replica). Kafka's own files are full of it, and nothing that somebody
//! relies on goes missing with it. What is missing would be: who may do what, what is limited, where data goes. Such a line is
//! never passed over.
//!
//! A test compares both, and the table, with the keys of Kafka's own definitions: none is unknown.

/// Why a key of Kafka's is not a setting here. The text goes behind "it has no effect here: " or "it needs ".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotHere {
    /// A file may have it; on the command line it is a mistake.
    NoMeaning(&'static str),
    /// Refused wherever it stands.
    Missing(&'static str),
}

use NotHere::{Missing, NoMeaning};

/// One that ends in a dot stands for all keys that begin with it. The first that fits counts.
const KEYS: &[(NotHere, &[&str])] = &[
    (
        Missing("authentication of clients (TLS or SASL), which is not available yet"),
        &[
            "ssl.",
            "sasl.",
            "listener.name.",
            "connections.max.reauth.ms",
            "principal.builder.class",
            "security.providers",
            "delegation.token.",
        ],
    ),
    (
        Missing("access control lists, which are not available yet"),
        &[
            "authorizer.class.name",
            "super.users",
            "allow.everyone.if.no.acl.found",
            "early.start.listeners",
        ],
    ),
    (
        Missing("quotas, which are not available yet"),
        &[
            "client.quota.callback.class",
            "max.connection.creation.rate",
            "max.connections.per.ip.overrides",
        ],
    ),
    (
        Missing("tiered storage, which is not available"),
        &["remote.", "log.remote.", "follower.fetch.last.tiered.offset.enable"],
    ),
    (
        Missing("code that is loaded into the broker, which is not available"),
        &[
            "alter.config.policy.class.name",
            "create.topic.policy.class.name",
            "config.providers",
            "group.streams.topology.description.plugin.class",
        ],
    ),
    (
        Missing("several data folders, and there is one (log.dirs)"),
        &["metadata.log.dir", "cordoned.log.dirs"],
    ),
    (
        Missing("dead letter queues of share groups, which are not available"),
        &["errors.deadletterqueue."],
    ),
    (Missing("another name, node.id"), &["broker.id"]),
    (
        Missing("ZooKeeper, which Kafka 4 does without too; remove the line"),
        &["zookeeper."],
    ),
    (
        NoMeaning("there are no thread pools and no queues between them: each core has a shard"),
        &[
            "num.network.threads",
            "num.io.threads",
            "num.recovery.threads.per.data.dir",
            "num.replica.alter.log.dirs.threads",
            "background.threads",
            "queued.max.requests",
        ],
    ),
    (
        NoMeaning("waiting requests take no purging"),
        &[
            "delete.records.purgatory.purge.interval.requests",
            "fetch.purgatory.purge.interval.requests",
            "producer.purgatory.purge.interval.requests",
            "share.fetch.purgatory.purge.interval.requests",
        ],
    ),
    (
        NoMeaning("this node's controller speaks to no other"),
        &[
            "controller.",
            "broker.heartbeat.interval.ms",
            "broker.session.timeout.ms",
            "controlled.shutdown.enable",
            "initial.broker.registration.timeout.ms",
            "metadata.log.segment.ms",
            "metadata.max.",
            "request.timeout.ms",
            "socket.connection.setup.",
        ],
    ),
    (
        NoMeaning("each partition has one replica"),
        &[
            "auto.leader.rebalance.enable",
            "leader.imbalance.",
            "num.replica.fetchers",
            "replica.",
            "replication.quota.",
            "alter.log.dirs.",
        ],
    ),
    (
        NoMeaning("there are no groups yet"),
        &["group.", "offsets.", "offset.metadata.max.bytes", "share."],
    ),
    (
        NoMeaning("there are no transactions yet"),
        &["transaction.", "transactional.", "add.partitions.to.txn."],
    ),
    (NoMeaning("nothing is compacted yet"), &["log.cleaner."]),
    (NoMeaning("there are no quotas yet"), &["quota."]),
    (
        NoMeaning("what is acknowledged is on the device, and no scheduler flushes"),
        &[
            "log.flush.scheduler.interval.ms",
            "log.flush.offset.checkpoint.interval.ms",
            "log.flush.start.offset.checkpoint.interval.ms",
        ],
    ),
    (
        NoMeaning("a failed device is told at once"),
        &["log.dir.failure.timeout.ms"],
    ),
    (
        NoMeaning("nobody logs in"),
        &["connection.failed.authentication.delay.ms"],
    ),
    (
        NoMeaning("metrics are not kept by a Java library"),
        &["metric.", "metrics.", "kafka.metrics.", "telemetry."],
    ),
];

/// What is to be said of a key of Kafka's that the table does not have; `None` for one that Kafka does not have either.
pub fn not_here(key: &str) -> Option<NotHere> {
    let fits = |known: &&str| *known == key || (known.ends_with('.') && key.starts_with(*known));
    KEYS.iter()
        .find(|(_, keys)| keys.iter().any(&fits))
        .map(|(what, _)| *what)
}

impl NotHere {
    /// Why a value is refused.
    pub fn reason(self) -> String {
        match self {
            NoMeaning(why) => format!("It has no effect here: {why}"),
            Missing(what) => format!("It needs {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SETTINGS;

    #[test]
    fn families_and_names() {
        assert!(matches!(not_here("num.io.threads"), Some(NoMeaning(_))));
        assert!(matches!(not_here("ssl.keystore.location"), Some(Missing(_))));
        assert!(matches!(
            not_here("listener.name.internal.sasl.enabled.mechanisms"),
            Some(Missing(_))
        ));
        assert_eq!(not_here("num.io.threads.more"), None);
        assert_eq!(not_here("ssl"), None);
        assert_eq!(not_here(""), None);
    }

    #[test]
    fn what_the_table_has_is_not_named_here() {
        let both = |key: &str| KEYS.iter().any(|(_, keys)| keys.contains(&key));
        assert_eq!(SETTINGS.iter().map(|setting| setting.key).find(|key| both(key)), None);
    }
}
