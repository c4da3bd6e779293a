//! FindCoordinator: this node coordinates all groups, and nothing else yet.
//!
//! That the API is served lets librdkafka use LZ4, which it believes older brokers not to know. Groups are not there yet, and
//! yet their coordinator is named: librdkafka looks for it for every consumer that has a group's name, also for one that is
//! assigned its partitions and never joins. An error here would reach that one (INVALID_REQUEST), or nobody ever
//! (COORDINATOR_NOT_AVAILABLE, at which clients ask again for as long as they live, and a subscriber seems to wait for
//! records). So a client finds the coordinator, finds that it cannot be joined, and says that.

use crate::error::ErrorCode;
use crate::wire::metadata::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};

use super::Shard;
use super::requests::Request;

/// `FindCoordinatorRequest.CoordinatorType`: groups, then transactions and share groups.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

impl Shard {
    pub(super) fn find_coordinator(&mut self, request: Request, body: FindCoordinatorRequest) {
        let (host, port) = self.config.advertised.clone();
        let this_node = Coordinator {
            key: String::new(),
            node_id: self.config.broker.node_id,
            host,
            port: port.into(),
            error_code: ErrorCode::None.code(),
            error_message: None,
        };
        let found = match body.key_type {
            GROUP => this_node,
            TRANSACTION => refusal("This broker has no transactions yet"),
            _ => refusal("This broker coordinates groups only"),
        };
        self.respond(request, &answer(request.version, body, found));
    }
}

/// A code after which Java's clients give up, with this message. (librdkafka asks for a transaction's until its own deadline, at
/// every code that is not about authorization.)
fn refusal(why: &str) -> Coordinator {
    Coordinator {
        node_id: -1,
        port: -1,
        error_code: ErrorCode::InvalidRequest.code(),
        error_message: Some(why.into()),
        ..Default::default()
    }
}

/// The same for each key that was asked for; from version 4 on these may be many (KIP-699).
fn answer(version: i16, body: FindCoordinatorRequest, found: Coordinator) -> FindCoordinatorResponse {
    if version < 4 {
        return FindCoordinatorResponse {
            error_code: found.error_code,
            error_message: found.error_message,
            node_id: found.node_id,
            host: found.host,
            port: found.port,
            ..Default::default()
        };
    }
    let coordinators = body
        .coordinator_keys
        .into_iter()
        .map(|key| Coordinator { key, ..found.clone() });
    FindCoordinatorResponse {
        coordinators: coordinators.collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_answer() {
        let body = FindCoordinatorRequest {
            key: "old".into(),
            coordinator_keys: vec!["a".into(), "b".into()],
            ..Default::default()
        };
        let many = answer(4, body.clone(), refusal("no"));
        let keys: Vec<_> = many
            .coordinators
            .iter()
            .map(|found| (&*found.key, found.error_code))
            .collect();
        assert_eq!(keys, [("a", 42), ("b", 42)]);
        let one = answer(3, body, refusal("no"));
        assert_eq!(
            (one.error_code, one.node_id, one.error_message.as_deref()),
            (42, -1, Some("no"))
        );
        assert!(one.coordinators.is_empty());
    }
}
