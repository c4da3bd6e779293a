//! Requests about metadata: answered from the image, or sent to the controller's shard.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::controller::describe::{self, Asked};
use crate::controller::start::{SHOWN_FEATURES, SUPPORTED_FEATURES};
use crate::controller::{TOPICS_CREATED_MAX, describe_configs};
use crate::error::ErrorCode;
use crate::types::ProducerId;
use crate::wire::configs::*;
use crate::wire::connect::{ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey};
use crate::wire::metadata::*;
use crate::wire::transactions::{InitProducerIdRequest, InitProducerIdResponse};
use crate::wire::{ApiKey, WireError};

use super::message::{AdminReply, AdminRequest, Answer, Ask, FlowId};
use super::requests::{Request, decode};
use super::{CONTROLLER, Flow, Shard};

/// The only listener there is.
pub const LISTENER: &str = "PLAINTEXT";

/// A request whose answer the controller gives.
pub struct Administering {
    request: Request,
    then: Then,
}

enum Then {
    Respond,
    /// Topics were made for this Metadata request, or could not be: answer it from the image now.
    Metadata(MetadataRequest),
    ProducerIds,
}

/// This shard's block of producer ids, and who waits for the next one.
#[derive(Default)]
pub struct ProducerIds {
    next: ProducerId,
    left: i32,
    waiting: VecDeque<Request>,
    is_asked: bool,
}

impl Shard {
    /// What this broker works with, and what the cluster has agreed on (KIP-584).
    pub(super) fn describe_features(&self, version: i16, response: &mut ApiVersionsResponse) {
        let is_shown = |name: &str| SHOWN_FEATURES.contains(&name);
        response.supported_features = (SUPPORTED_FEATURES.iter())
            .filter(|(name, ..)| is_shown(name))
            // A level 0 at the low end came with version 4 (KAFKA-17011): Java clients before 3.9 throw when they see one.
            .filter(|&&(_, min, _)| version >= 4 || min > 0)
            .map(|&(name, min, max)| SupportedFeatureKey {
                name: name.into(),
                min_version: min,
                max_version: max,
            })
            .collect();
        response.finalized_features_epoch = self.image.reached.offset;
        let kraft = ("kraft.version", self.image.kraft_version);
        let levels = self.image.features.iter().map(|(name, &level)| (name.as_str(), level));
        response.finalized_features = levels
            .filter(|(name, _)| is_shown(name))
            .chain((kraft.1 > 0).then_some(kraft))
            .map(|(name, level)| FinalizedFeatureKey {
                name: name.into(),
                max_version_level: level,
                min_version_level: level,
            })
            .collect();
    }

    pub(super) fn metadata(&mut self, request: Request, body: MetadataRequest) {
        let reply = describe::metadata(&self.image, &body, asked(request));
        if reply.missing.is_empty() {
            return self.respond(request, &reply.response);
        }
        if reply.missing.len() > TOPICS_CREATED_MAX {
            // What the controller would say of each, without asking it.
            let refused = reply.missing.into_iter().map(|name| (name, ErrorCode::PolicyViolation));
            return self.respond(request, &with_refusals(reply.response, refused.collect()));
        }
        self.administer_by(request, Then::Metadata(body), AdminRequest::AutoCreate(reply.missing));
    }

    /// Topics were made for it, or could not be.
    fn metadata_again(&mut self, request: Request, body: &MetadataRequest, created: Vec<(String, ErrorCode)>) {
        let response = describe::metadata(&self.image, body, asked(request)).response;
        self.respond(request, &with_refusals(response, created));
    }

    pub(super) fn describe_cluster(&mut self, request: Request, body: &DescribeClusterRequest) {
        let response = describe::describe_cluster(&self.image, body, asked(request));
        self.respond(request, &response);
    }

    pub(super) fn describe_topic_partitions(&mut self, request: Request, body: &DescribeTopicPartitionsRequest) {
        let response = describe::describe_topic_partitions(&self.image, body, asked(request));
        self.respond(request, &response);
    }

    pub(super) fn describe_configs(&mut self, request: Request, body: &DescribeConfigsRequest) {
        let response = describe_configs(&self.image, body);
        self.respond(request, &response);
    }

    /// Everything that the controller decides.
    pub(super) fn administer(&mut self, request: Request, body: &Bytes) -> Result<(), WireError> {
        let version = request.version;
        let asked = match request.api {
            ApiKey::CreateTopics => AdminRequest::CreateTopics(decode(body, version)?),
            ApiKey::DeleteTopics => AdminRequest::DeleteTopics(decode(body, version)?, version),
            ApiKey::CreatePartitions => AdminRequest::CreatePartitions(decode(body, version)?),
            ApiKey::AlterConfigs => AdminRequest::AlterConfigs(decode(body, version)?),
            ApiKey::IncrementalAlterConfigs => AdminRequest::IncrementalAlterConfigs(decode(body, version)?),
            other => unreachable!("{other:?} is not the controller's"),
        };
        self.administer_by(request, Then::Respond, asked);
        Ok(())
    }

    fn administer_by(&mut self, request: Request, then: Then, asked: AdminRequest) {
        let flow = FlowId(self.new_id());
        self.flows
            .insert(flow, Flow::Administering(Administering { request, then }));
        self.ask(flow, CONTROLLER, Ask::Admin(asked));
    }

    pub(super) fn admin_answered(&mut self, administering: Administering, answer: Answer) {
        let Answer::Admin(reply) = answer else {
            unreachable!("the controller answers as such, not {answer:?}")
        };
        let request = administering.request;
        match (administering.then, *reply) {
            (Then::Metadata(body), AdminReply::AutoCreate(created)) => self.metadata_again(request, &body, created),
            (Then::Metadata(body), _) => self.metadata_again(request, &body, Vec::new()),
            (Then::ProducerIds, AdminReply::ProducerIds(block)) => self.producer_ids_arrived(block),
            (Then::ProducerIds, _) => self.producer_ids_arrived(Err(ErrorCode::CoordinatorLoadInProgress)),
            (Then::Respond, AdminReply::CreateTopics(response)) => self.respond(request, &response),
            (Then::Respond, AdminReply::DeleteTopics(response)) => self.respond(request, &response),
            (Then::Respond, AdminReply::CreatePartitions(response)) => self.respond(request, &response),
            (Then::Respond, AdminReply::AlterConfigs(response)) => self.respond(request, &response),
            (Then::Respond, AdminReply::IncrementalAlterConfigs(response)) => self.respond(request, &response),
            (Then::Respond, _) => {
                // No answer can carry one code for all its parts; without one the client asks again elsewhere.
                self.close(request.conn, "the metadata log takes nothing: see the log above".into());
            }
        }
    }

    pub(super) fn init_producer_id(&mut self, request: Request, body: InitProducerIdRequest) {
        let has_half_an_id = (body.producer_id == -1) != (body.producer_epoch == -1);
        if body.transactional_id.as_deref() == Some("") || has_half_an_id {
            return self.respond_producer_id(request, Err(ErrorCode::InvalidRequest));
        }
        if body.transactional_id.is_some() {
            // Transactions need their coordinator, which this broker does not have yet.
            return self.respond_producer_id(request, Err(ErrorCode::CoordinatorNotAvailable));
        }
        self.producer_ids.waiting.push_back(request);
        self.hand_out_producer_ids(request);
    }

    fn hand_out_producer_ids(&mut self, request: Request) {
        while self.producer_ids.left > 0
            && let Some(waiting) = self.producer_ids.waiting.pop_front()
        {
            let id = self.producer_ids.next;
            self.producer_ids.next += 1;
            self.producer_ids.left -= 1;
            self.respond_producer_id(waiting, Ok(id));
        }
        if !self.producer_ids.waiting.is_empty() && !self.producer_ids.is_asked {
            self.producer_ids.is_asked = true;
            self.administer_by(request, Then::ProducerIds, AdminRequest::ProducerIds);
        }
    }

    fn producer_ids_arrived(&mut self, block: Result<ProducerId, ErrorCode>) {
        self.producer_ids.is_asked = false;
        match block {
            Ok(first) => {
                self.producer_ids.next = first;
                self.producer_ids.left = crate::controller::producer_ids::BLOCK_IDS;
                if let Some(&request) = self.producer_ids.waiting.front() {
                    self.hand_out_producer_ids(request);
                }
            }
            Err(error) => {
                for request in std::mem::take(&mut self.producer_ids.waiting) {
                    self.respond_producer_id(request, Err(error));
                }
            }
        }
    }

    fn respond_producer_id(&mut self, request: Request, id: Result<ProducerId, ErrorCode>) {
        let response = match id {
            Ok(producer_id) => InitProducerIdResponse {
                producer_id,
                producer_epoch: 0,
                ..Default::default()
            },
            Err(error) => InitProducerIdResponse {
                error_code: error.code(),
                producer_epoch: -1,
                ..Default::default()
            },
        };
        self.respond(request, &response);
    }
}

/// Topics that are not there have the error for which they were not made.
fn with_refusals(mut response: MetadataResponse, created: Vec<(String, ErrorCode)>) -> MetadataResponse {
    let created: BTreeMap<String, ErrorCode> = created.into_iter().collect();
    for topic in &mut response.topics {
        let refused = topic.name.as_ref().and_then(|name| created.get(name)).copied();
        if let Some(error) = refused.filter(|error| !error.is_none())
            && topic.error_code == ErrorCode::UnknownTopicOrPartition.code()
        {
            topic.error_code = error.code();
        }
    }
    response
}

fn asked(request: Request) -> Asked<'static> {
    Asked {
        version: request.version,
        listener: LISTENER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_has_the_reason_for_which_it_was_not_made() {
        let topic = |name: &str, error: ErrorCode| MetadataResponseTopic {
            name: Some(name.into()),
            error_code: error.code(),
            ..Default::default()
        };
        use ErrorCode::*;
        let response = MetadataResponse {
            topics: vec![
                topic("refused", UnknownTopicOrPartition),
                topic("made meanwhile", None),
                topic("made", UnknownTopicOrPartition),
                topic("never asked for", UnknownTopicOrPartition),
            ],
            ..Default::default()
        };
        let created = [
            ("made", None),
            ("made meanwhile", TopicAlreadyExists),
            ("refused", PolicyViolation),
        ];
        let created = created.map(|(name, error)| (name.to_owned(), error));
        let codes: Vec<_> = (with_refusals(response, created.to_vec()).topics.iter())
            .map(|topic| topic.error_code)
            .collect();
        let expected = [PolicyViolation, None, UnknownTopicOrPartition, UnknownTopicOrPartition];
        assert_eq!(codes, expected.map(|error| error.code()));
    }
}
