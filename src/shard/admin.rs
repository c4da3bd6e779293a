//! Requests about metadata: answered from the image, or sent to the controller's shard.

use bytes::Bytes;

use crate::controller::describe;
use crate::error::ErrorCode;
use crate::types::ProducerId;
use crate::wire::configs::*;
use crate::wire::connect::ApiVersionsResponse;
use crate::wire::metadata::*;
use crate::wire::topics::*;
use crate::wire::transactions::{InitProducerIdRequest, InitProducerIdResponse};
use crate::wire::{ApiKey, WireError};

use super::message::{AdminReply, AdminRequest, Answer, Ask, FlowId};
use super::requests::{Request, decode};
use super::{CONTROLLER, Flow, Shard};

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
    waiting: Vec<Request>,
    is_asked: bool,
}

impl Shard {
    pub(super) fn describe_features(&self, response: &mut ApiVersionsResponse) {
        describe::features(&self.image, response);
    }

    pub(super) fn metadata(&mut self, request: Request, body: MetadataRequest) {
        // Before version 4 a client could not forbid it.
        let may_create = body.allow_auto_topic_creation || request.version < 4;
        let missing: Vec<String> = match (&body.topics, may_create && self.config.broker.auto_create_topics_enable) {
            (Some(topics), true) => (topics.iter())
                .filter_map(|topic| topic.name.clone())
                .filter(|name| !name.is_empty() && self.image.topic(name).is_none())
                .collect(),
            _ => Vec::new(),
        };
        if missing.is_empty() {
            return self.respond_metadata(request, &body);
        }
        self.administer_by(request, Then::Metadata(body), AdminRequest::AutoCreate(missing));
    }

    fn respond_metadata(&mut self, request: Request, body: &MetadataRequest) {
        let response = describe::metadata(&self.image, body, request.version);
        self.respond(request, &response);
    }

    pub(super) fn describe_cluster(&mut self, request: Request, body: &DescribeClusterRequest) {
        let response = describe::cluster(&self.image, body);
        self.respond(request, &response);
    }

    pub(super) fn describe_topic_partitions(&mut self, request: Request, body: &DescribeTopicPartitionsRequest) {
        let response = describe::topic_partitions(&self.image, body);
        self.respond(request, &response);
    }

    pub(super) fn describe_configs(&mut self, request: Request, body: &DescribeConfigsRequest) {
        let response = describe::configs(&self.image, body);
        self.respond(request, &response);
    }

    /// Everything that the controller decides.
    pub(super) fn administer(&mut self, request: Request, body: &Bytes) -> Result<(), WireError> {
        let version = request.version;
        let asked = match request.api {
            ApiKey::CreateTopics => AdminRequest::CreateTopics(decode(body, version)?),
            ApiKey::DeleteTopics => {
                AdminRequest::DeleteTopics(decode(body, version)?, version)
            }
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
        self.flows.insert(flow, Flow::Administering(Administering { request, then }));
        self.ask(flow, CONTROLLER, Ask::Admin(asked));
    }

    pub(super) fn admin_answered(&mut self, administering: Administering, answer: Answer) {
        let Answer::Admin(reply) = answer else { unreachable!("the controller answers as such, not {answer:?}") };
        let request = administering.request;
        match (administering.then, *reply) {
            (Then::Metadata(body), _) => self.respond_metadata(request, &body),
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
        if body.transactional_id.is_some() {
            // Transactions need their coordinator, which this broker does not have yet.
            return self.respond_producer_id(request, Err(ErrorCode::CoordinatorNotAvailable));
        }
        self.producer_ids.waiting.push(request);
        self.hand_out_producer_ids(request);
    }

    fn hand_out_producer_ids(&mut self, request: Request) {
        while self.producer_ids.left > 0 && !self.producer_ids.waiting.is_empty() {
            let waiting = self.producer_ids.waiting.remove(0);
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
                if let Some(&request) = self.producer_ids.waiting.first() {
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
            Ok(producer_id) => InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() },
            Err(error) => InitProducerIdResponse { error_code: error.code(), ..Default::default() },
        };
        self.respond(request, &response);
    }
}
