//! Requests: from a frame to the flow that answers it, and the answers' way back in order.

use bytes::{Bytes, BytesMut};

use crate::error::ErrorCode;
use crate::types::ConnId;
use crate::wire::connect::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::declare::Message as WireMessage;
use crate::wire::header::RequestHeader;
use crate::wire::produce_fetch::FetchRequest;
use crate::wire::{ApiKey, Reader, WireError, frame};

use super::connection::{Connection, RequestNumber};
use super::effect::Effect;
use super::message::FlowId;
use super::{Flow, Shard};

/// A request that was started: what its answer needs.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub conn: ConnId,
    pub number: RequestNumber,
    pub api: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
}

impl Shard {
    pub(super) fn connected(&mut self, conn: ConnId) {
        self.connections.insert(conn, Connection::default());
        if !self.is_serving() {
            self.close(conn, String::new());
        }
    }

    pub(super) fn closed(&mut self, conn: ConnId) {
        if let Some(flow) = self.connections.remove(&conn).and_then(|connection| connection.flow) {
            self.abandon(flow);
        }
        self.sessions.closed(conn);
    }

    /// What waits for others on behalf of a connection is found by it when it closes.
    pub(super) fn begins_flow(&mut self, conn: ConnId, flow: FlowId) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.flow = Some(flow);
        }
    }

    /// The client is gone: nothing waits for it any more.
    fn abandon(&mut self, flow: FlowId) {
        match self.flows.get(&flow) {
            Some(Flow::Fetching(_)) => self.abandon_fetch(flow),
            Some(Flow::Gathering(gathering)) if gathering.is_listing() => self.abandon_listing(flow),
            _ => {}
        }
    }

    pub(super) fn received(&mut self, conn: ConnId, frame: BytesMut) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        connection.push(frame);
        self.touched.push(conn);
    }

    /// Starts what may start and sends what is complete, on every connection where something happened.
    pub(super) fn run_connections(&mut self) {
        while let Some(conn) = self.touched.pop() {
            // A stopping broker sees through what was begun.
            while !self.is_stopping()
                && let Some((number, frame)) = self.connections.get_mut(&conn).and_then(Connection::start)
            {
                self.start_request(conn, number, frame);
            }
            while let Some(slices) = self.connections.get_mut(&conn).and_then(Connection::next_reply) {
                self.emit(Effect::Reply { conn, slices });
            }
        }
    }

    fn start_request(&mut self, conn: ConnId, number: RequestNumber, frame: BytesMut) {
        let header = match RequestHeader::decode(&frame) {
            Ok(header) => header,
            Err(error) => return self.close(conn, format!("the request's header cannot be read: {error}")),
        };
        let request = Request {
            conn,
            number,
            api: header.api,
            version: header.version,
            correlation_id: header.correlation_id,
        };
        if !header.is_served() {
            return self.api_versions_unsupported(request);
        }
        if let Err(error) = self.serve(request, &header, frame) {
            let (api, version) = (header.api, header.version);
            self.close(
                conn,
                format!("a request {api:?} version {version} cannot be read: {error}"),
            );
        }
    }

    /// One arm per API that is served.
    fn serve(&mut self, request: Request, header: &RequestHeader, frame: BytesMut) -> Result<(), WireError> {
        use ApiKey::*;
        if request.api == Produce {
            return self.produce(request, header, frame);
        }
        let bytes = frame.len() + frame::PREFIX_BYTES;
        let body = frame.freeze().slice(header.body_at..);
        match request.api {
            Fetch => {
                let mut fetch: FetchRequest = decode(&body, request.version)?;
                // A request counts against its shard's memory until it is answered, and all wait for a large one.
                if bytes > self.limits.waiting_bytes {
                    fetch.max_wait_ms = 0;
                }
                self.fetch(request, &fetch);
            }
            ListOffsets => self.list_offsets(request, decode(&body, request.version)?),
            OffsetForLeaderEpoch => self.epoch_ends(request, decode(&body, request.version)?),
            DeleteRecords => self.delete_records(request, decode(&body, request.version)?),
            DescribeLogDirs => self.describe_log_dirs(request, decode(&body, request.version)?),
            ApiVersions => self.api_versions(request, decode(&body, request.version)?),
            Metadata => self.metadata(request, decode(&body, request.version)?),
            DescribeCluster => self.describe_cluster(request, &decode(&body, request.version)?),
            DescribeTopicPartitions => self.describe_topic_partitions(request, &decode(&body, request.version)?),
            DescribeConfigs => self.describe_configs(request, &decode(&body, request.version)?),
            FindCoordinator => self.find_coordinator(request, decode(&body, request.version)?),
            InitProducerId => self.init_producer_id(request, decode(&body, request.version)?),
            CreateTopics | DeleteTopics | CreatePartitions | AlterConfigs | IncrementalAlterConfigs => {
                self.administer(request, &body)?;
            }
            other => unreachable!("{other:?} is in the table of served APIs and has no arm here"),
        }
        Ok(())
    }

    fn api_versions(&mut self, request: Request, body: ApiVersionsRequest) {
        // Version 3 made the client's name and version mandatory, in a narrow alphabet (KIP-511).
        let named = |text: &str| {
            let inner = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
            let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            text.chars().all(inner) && ends(text.chars().next()) && ends(text.chars().last())
        };
        let is_named = named(&body.client_software_name) && named(&body.client_software_version);
        // Whom the client means to talk to, both or neither (KIP-1242): another node may have been given the address since.
        let error = match (&body.cluster_id, body.node_id) {
            _ if request.version >= 3 && !is_named => ErrorCode::InvalidRequest,
            (None, -1) => ErrorCode::None,
            (None, _) | (Some(_), -1) => ErrorCode::InvalidRequest,
            (Some(cluster), node) if **cluster == *self.image.cluster_id && node == self.config.broker.node_id => {
                ErrorCode::None
            }
            (Some(_), _) => ErrorCode::RebootstrapRequired,
        };
        let mut response = ApiVersionsResponse {
            error_code: error.code(),
            ..Default::default()
        };
        if error.is_none() {
            response.api_keys = ApiKey::advertised().collect();
            self.describe_features(request.version, &mut response);
        }
        self.respond(request, &response);
    }

    /// The client speaks a version that we do not know: version 0 tells it what we do (KIP-511).
    fn api_versions_unsupported(&mut self, request: Request) {
        let response = ApiVersionsResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            api_keys: ApiKey::advertised()
                .filter(|api| api.api_key == ApiKey::ApiVersions.code())
                .collect(),
            ..Default::default()
        };
        self.respond(Request { version: 0, ..request }, &response);
    }

    pub(super) fn respond(&mut self, request: Request, response: &impl WireMessage) {
        match frame::response(request.api, request.version, request.correlation_id, response) {
            Ok(bytes) => self.finish(request, vec![bytes]),
            // Ours to mend: a field was filled that this version cannot carry.
            Err(error) => {
                debug_assert!(false, "{:?} version {}: {error}", request.api, request.version);
                self.close(request.conn, format!("the answer cannot be written: {error}"));
            }
        }
    }

    /// `slices` is the whole frame, prefix included; empty when there is no answer.
    pub(super) fn finish(&mut self, request: Request, slices: Vec<Bytes>) {
        // The connection may be gone by now.
        if let Some(connection) = self.connections.get_mut(&request.conn) {
            connection.finish(request.number, slices);
            self.touched.push(request.conn);
        }
    }

    /// Ends a connection; replies that are complete are sent first.
    pub(super) fn close(&mut self, conn: ConnId, why: String) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        if connection.is_closing() {
            return;
        }
        let mut replies = Vec::new();
        while let Some(slices) = connection.next_reply() {
            replies.push(slices);
        }
        connection.close();
        for slices in replies {
            self.emit(Effect::Reply { conn, slices });
        }
        self.emit(Effect::Close { conn, why });
    }
}

/// Reads a request. Bytes behind it are passed over, as in Kafka: librdkafka 2.2 to 2.16 sends three of them when it asks
/// for the metadata of all topics (versions 9 and newer).
pub(super) fn decode<M: WireMessage>(body: &Bytes, version: i16) -> Result<M, WireError> {
    M::decode(&mut Reader::sharing(body), version)
}
