//! The client that changes what there is: topics, their partitions and settings, and where their records begin.

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::types::{LogId, TopicId};
use crate::wire::configs::*;
use crate::wire::offsets::*;
use crate::wire::topics::*;

use super::client::{Client, Line, Made, Scene, response};
use super::world::FromBroker;

/// Creates, deletes and re-creates topics, grows them, deletes records, says how long records are kept; one request at a time.
pub struct Administrator {
    line: Line,
    outstanding: Option<Asked>,
    requests_left: u64,
}

enum Asked {
    /// To so many partitions.
    Grow(usize, i32),
    Keep,
    Create(usize),
    Delete(usize),
    DeleteRecords(usize, i32),
    Describe,
}

const PARTITIONS_MAX: i32 = 6;

impl Administrator {
    pub fn new(requests: u64) -> Administrator {
        Administrator {
            line: Line::default(),
            outstanding: None,
            requests_left: requests,
        }
    }

    /// Nothing new is asked for.
    pub fn wind_up(&mut self) {
        self.requests_left = 0;
    }

    fn work(&mut self, scene: &mut Scene) {
        let missing = (0..scene.topics.names.len()).find(|&t| scene.topics.ids[t].is_none());
        let wanted = self.requests_left > 0 || missing.is_some() && !scene.is_ending;
        if self.outstanding.is_some() || !wanted {
            return;
        }
        if self.line.conn.is_none() {
            return self.line.connect(scene);
        }
        self.requests_left = self.requests_left.saturating_sub(1);
        // A topic that does not exist yet is made first, however often that takes: without one nothing happens.
        if let Some(topic) = missing {
            let request = CreateTopicsRequest {
                topics: vec![CreatableTopic {
                    name: scene.topics.names[topic].clone(),
                    num_partitions: scene.topics.partitions[topic],
                    replication_factor: 1,
                    configs: (scene.topics.flush_messages[topic].iter())
                        .map(|messages| CreatableTopicConfig {
                            name: "flush.messages".into(),
                            value: Some(messages.to_string()),
                        })
                        .collect(),
                    ..Default::default()
                }],
                ..Default::default()
            };
            self.line.send(scene, &request, 7);
            self.outstanding = Some(Asked::Create(topic));
            return;
        }
        let count = scene.topics.names.len() as u64;
        let topic = scene.random().below(count) as usize;
        let id = scene.topics.ids[topic].expect("every topic exists");
        if scene.topics.volatile.contains(&topic) && scene.random().below(3) == 0 {
            let request = DeleteTopicsRequest {
                topics: vec![DeleteTopicState {
                    name: None,
                    topic_id: id,
                }],
                ..Default::default()
            };
            for partition in 0..scene.topics.partitions[topic] {
                scene.oracle.deleting_topic(LogId { topic: id, partition });
            }
            self.line.send(scene, &request, 6);
            self.outstanding = Some(Asked::Delete(topic));
            return;
        }
        if scene.topics.is_altered && !scene.topics.volatile.contains(&topic) && scene.random().below(3) == 0 {
            return self.alter(scene, topic, id);
        }
        let count = scene.topics.partitions[topic] as u64;
        let partition = scene.random().below(count) as i32;
        if scene.random().below(2) == 0 {
            let request = ListOffsetsRequest {
                replica_id: -1,
                topics: vec![ListOffsetsTopic {
                    name: scene.topics.names[topic].clone(),
                    partitions: vec![ListOffsetsPartition {
                        partition_index: partition,
                        timestamp: -1,
                        ..Default::default()
                    }],
                }],
                ..Default::default()
            };
            self.line.send(scene, &request, 7);
            self.outstanding = Some(Asked::Describe);
            return;
        }
        let offset = scene.random().below(200) as i64;
        scene.oracle.deleting_records(LogId { topic: id, partition }, offset);
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: scene.topics.names[topic].clone(),
                partitions: vec![DeleteRecordsPartition {
                    partition_index: partition,
                    offset,
                }],
            }],
            timeout_ms: 1000,
        };
        self.line.send(scene, &request, 2);
        self.outstanding = Some(Asked::DeleteRecords(topic, partition));
    }

    /// Another number of partitions, or another time for which records are kept.
    fn alter(&mut self, scene: &mut Scene, topic: usize, id: TopicId) {
        let name = scene.topics.names[topic].clone();
        let count = scene.topics.partitions[topic] + 1;
        if count <= PARTITIONS_MAX && scene.random().below(2) == 0 {
            let request = CreatePartitionsRequest {
                topics: vec![CreatePartitionsTopic {
                    name,
                    count,
                    assignments: None,
                }],
                timeout_ms: 1000,
                validate_only: false,
            };
            self.line.send(scene, &request, 3);
            self.outstanding = Some(Asked::Grow(topic, count));
            return;
        }
        let retention_ms = [-1, 100, 1_000, 60_000][scene.random().below(4) as usize];
        if retention_ms >= 0 {
            scene.oracle.keeping_for(id, retention_ms);
        }
        let request = IncrementalAlterConfigsRequest {
            resources: vec![IncrementalAlterConfigsResource {
                resource_type: 2,
                resource_name: name,
                configs: vec![IncrementalAlterConfigsAlterableConfig {
                    name: "retention.ms".into(),
                    config_operation: 0,
                    value: Some(retention_ms.to_string()),
                }],
            }],
            validate_only: false,
        };
        self.line.send(scene, &request, 1);
        self.outstanding = Some(Asked::Keep);
    }

    fn answered(&mut self, scene: &mut Scene, bytes: &Bytes) {
        match self.outstanding.take().expect("an answer to something") {
            Asked::Grow(topic, count) => {
                let (_, answer) = response::<CreatePartitionsRequest>(bytes, 3);
                match ErrorCode::from_code(answer.results[0].error_code).expect("a known code") {
                    ErrorCode::None => {
                        scene.world.count("partition added");
                        scene.topics.partitions[topic] = count;
                    }
                    // An earlier try that went unanswered.
                    ErrorCode::InvalidPartitions => scene.topics.partitions[topic] = count,
                    _ => {}
                }
            }
            Asked::Keep => {
                let (_, answer) = response::<IncrementalAlterConfigsRequest>(bytes, 1);
                if answer.responses[0].error_code == 0 {
                    scene.world.count("retention changed");
                }
            }
            Asked::Create(topic) => {
                let (_, answer) = response::<CreateTopicsRequest>(bytes, 7);
                let result = &answer.topics[0];
                match ErrorCode::from_code(result.error_code).expect("a known code") {
                    ErrorCode::None => {
                        scene.world.count("topic created");
                        scene.topics.ids[topic] = Some(result.topic_id);
                        let made = Made {
                            name: scene.topics.names[topic].clone(),
                            flush_messages: scene.topics.flush_messages[topic],
                        };
                        scene.topics.made.insert(result.topic_id, made);
                    }
                    // An earlier try that went unanswered.
                    ErrorCode::TopicAlreadyExists => {
                        scene.world.count("topic created unseen");
                        let twin = format!("{}x", scene.topics.names[topic]);
                        scene.topics.names[topic] = twin;
                    }
                    _ => {}
                }
            }
            Asked::Delete(topic) => {
                let (_, answer) = response::<DeleteTopicsRequest>(bytes, 6);
                let error = ErrorCode::from_code(answer.responses[0].error_code).expect("a known code");
                if matches!(error, ErrorCode::None | ErrorCode::UnknownTopicId) {
                    scene.world.count("topic deleted");
                    scene.topics.ids[topic] = None;
                }
            }
            Asked::DeleteRecords(topic, partition) => {
                let (_, answer) = response::<DeleteRecordsRequest>(bytes, 2);
                let result = &answer.topics[0].partitions[0];
                if result.error_code == 0
                    && let Some(id) = scene.topics.ids[topic]
                {
                    scene.world.count("records deleted");
                    scene
                        .oracle
                        .deleted_records(LogId { topic: id, partition }, result.low_watermark);
                }
            }
            Asked::Describe => {
                let (_, answer) = response::<ListOffsetsRequest>(bytes, 7);
                assert_eq!(answer.topics.len(), 1);
            }
        }
    }
}

impl Client for Administrator {
    fn start(&mut self, scene: &mut Scene) {
        self.work(scene);
    }

    fn on(&mut self, scene: &mut Scene, what: FromBroker) {
        match what {
            FromBroker::Connected(conn) => {
                self.line.is_connecting = false;
                self.line.conn = Some(conn);
            }
            FromBroker::Refused => {
                self.line.is_connecting = false;
                self.line.tick_in(scene, 20_000);
                return;
            }
            FromBroker::Response(conn, bytes) if Some(conn) == self.line.conn => {
                self.answered(scene, &bytes);
                // Now and then at once: what the last request began is still under way.
                let pause = match scene.random().below(3) {
                    0 => 1,
                    _ => 1 + scene.random().below(30_000),
                };
                self.line.tick_in(scene, pause);
                return;
            }
            FromBroker::Closed(conn) if Some(conn) == self.line.conn => {
                self.line.conn = None;
                if let Some(Asked::Delete(topic)) = self.outstanding.take() {
                    // Perhaps done: nothing is promised of it any more, so it is made anew.
                    scene.topics.ids[topic] = None;
                }
                self.line.tick_in(scene, 10_000);
                return;
            }
            FromBroker::Tick(token) if token == self.line.tick => {}
            _ => return,
        }
        self.work(scene);
    }

    fn is_done(&self) -> bool {
        self.requests_left == 0 && self.outstanding.is_none()
    }
}
