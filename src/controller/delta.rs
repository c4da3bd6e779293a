//! What lies between two images, for whoever holds logs.

use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::image::{Image, PartitionRegistration, Topic};

/// The way from one image to a later one. Costs what changed, not what is there.
///
/// To be followed in the order of its fields: a topic that was deleted and made again under its name is another topic
/// (another id), and its name is free once the deletion is done.
#[derive(Debug, Default)]
pub struct Delta {
    /// Topics that are gone, as they were.
    pub deleted: Vec<Arc<Topic>>,
    pub created: Vec<PartitionCreated>,
    pub changed: Vec<PartitionChanged>,
    /// Topics that were there and whose resolved configuration is another now.
    pub reconfigured: Vec<Arc<Topic>>,
    /// A broker came, went, or changed.
    pub brokers_changed: bool,
    /// The broker's own configuration, defaults of topics included, is another.
    pub broker_reconfigured: bool,
}

#[derive(Clone, Debug)]
pub struct PartitionCreated {
    pub topic: Arc<Topic>,
    pub partition: i32,
    pub registration: Arc<PartitionRegistration>,
}

#[derive(Clone, Debug)]
pub struct PartitionChanged {
    pub topic: Arc<Topic>,
    pub partition: i32,
    pub before: Arc<PartitionRegistration>,
    pub after: Arc<PartitionRegistration>,
}

impl Delta {
    pub fn between(old: &Image, new: &Image) -> Delta {
        let mut delta = Delta {
            brokers_changed: old.brokers != new.brokers,
            broker_reconfigured: !Arc::ptr_eq(&old.broker_config, &new.broker_config),
            ..Delta::default()
        };
        for item in old.topics.diff(&new.topics) {
            match item {
                DiffItem::Remove(_, topic) => delta.deleted.push(topic.clone()),
                DiffItem::Add(_, topic) => {
                    for (&partition, registration) in &topic.partitions {
                        delta.created(topic, partition, registration);
                    }
                }
                DiffItem::Update {
                    old: (_, before),
                    new: (_, after),
                } => delta.topic_changed(before, after),
            }
        }
        delta
    }

    fn created(&mut self, topic: &Arc<Topic>, partition: i32, registration: &Arc<PartitionRegistration>) {
        self.created.push(PartitionCreated {
            topic: topic.clone(),
            partition,
            registration: registration.clone(),
        });
    }

    fn topic_changed(&mut self, before: &Arc<Topic>, after: &Arc<Topic>) {
        if !Arc::ptr_eq(&before.config, &after.config) && before.config != after.config {
            self.reconfigured.push(after.clone());
        }
        for item in before.partitions.diff(&after.partitions) {
            match item {
                // Partitions only go with their topic.
                DiffItem::Remove(..) => {}
                DiffItem::Add(&partition, registration) => self.created(after, partition, registration),
                DiffItem::Update {
                    old: (_, old),
                    new: (&partition, new),
                } => self.changed.push(PartitionChanged {
                    topic: after.clone(),
                    partition,
                    before: old.clone(),
                    after: new.clone(),
                }),
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        let Delta {
            deleted,
            created,
            changed,
            reconfigured,
            brokers_changed,
            broker_reconfigured,
        } = self;
        deleted.is_empty()
            && created.is_empty()
            && changed.is_empty()
            && reconfigured.is_empty()
            && !brokers_changed
            && !broker_reconfigured
    }
}
